-- window.lua : rolling windows, as rules.RollingWindow explains them. Not a script: others begin with it.
--
-- A window is a hash. Its calls are kept in buckets of one second, each leaving when its latest call is `span` old:
--   u used in all   h, t first and last bucket   hl latest call of the first   to when the last was opened
--   o<i> opened   l<i> latest call   a<i> amount, of bucket i
-- Times are microseconds of Redis' clock. Nothing is ever above a limit in any `span`.
local BUCKET = 1000000
local MINUTE = 60000000

-- Read a window, less what has left it.
local function read_window(key, now, span)
  local f = redis.call('HMGET', key, 'u', 'h', 't', 'hl', 'to')
  local w = {key = key, span = span or MINUTE, used = 0, head = 1, tail = 0, first = 0, opened = 0}
  if not f[1] then return w end
  w.used, w.head, w.tail = tonumber(f[1]), tonumber(f[2]), tonumber(f[3])
  w.first, w.opened = tonumber(f[4]), tonumber(f[5])
  local has_changed = false
  while w.head <= w.tail and w.first + w.span <= now do
    w.used = w.used - tonumber(redis.call('HGET', key, 'a' .. w.head))
    redis.call('HDEL', key, 'o' .. w.head, 'l' .. w.head, 'a' .. w.head)
    w.head, has_changed = w.head + 1, true
    if w.head <= w.tail then w.first = tonumber(redis.call('HGET', key, 'l' .. w.head)) end
  end
  if w.head > w.tail then
    redis.call('DEL', key)
    w.used, w.head, w.tail = 0, 1, 0
  elseif has_changed then
    redis.call('HSET', key, 'u', w.used, 'h', w.head, 'hl', w.first)
  end
  return w
end

-- Add an amount now. Whoever calls has checked that it fits, or knows that it was used anyway.
local function count(w, amount, now)
  if amount <= 0 then return end
  w.used = w.used + amount
  if w.tail >= w.head and now - w.opened < BUCKET then
    redis.call('HINCRBY', w.key, 'a' .. w.tail, string.format('%d', amount))
    if w.head == w.tail then w.first = now end
    redis.call('HSET', w.key, 'u', w.used, 'l' .. w.tail, now, 'hl', w.first)
    return
  end
  w.tail, w.opened = w.tail + 1, now
  if w.head == w.tail then w.first = now end
  redis.call('HSET', w.key, 'u', w.used, 'h', w.head, 't', w.tail, 'hl', w.first, 'to', now,
    'o' .. w.tail, now, 'l' .. w.tail, now, 'a' .. w.tail, amount)
  redis.call('PEXPIRE', w.key, w.span / 1000 + 5000)
end

-- Take back what was counted at `counted_at`, from the bucket that it is in. What has left has nothing to give back.
local function refund(w, amount, counted_at)
  if amount <= 0 or w.used == 0 then return end
  for i = w.tail, w.head, -1 do
    local opened = redis.call('HGET', w.key, 'o' .. i)
    if opened and tonumber(opened) <= counted_at then
      local left = redis.call('HINCRBY', w.key, 'a' .. i, string.format('%d', -amount))
      w.used = w.used - amount
      redis.call('HSET', w.key, 'u', w.used)
      -- An empty bucket at the front would tell that something leaves when it does.
      while left == 0 and i == w.head do
        redis.call('HDEL', w.key, 'o' .. i, 'l' .. i, 'a' .. i)
        w.head, i = w.head + 1, i + 1
        if w.head > w.tail then
          redis.call('DEL', w.key)
          w.head, w.tail, w.used = 1, 0, 0
          return
        end
        w.first = tonumber(redis.call('HGET', w.key, 'l' .. w.head))
        left = tonumber(redis.call('HGET', w.key, 'a' .. w.head))
        redis.call('HSET', w.key, 'h', w.head, 'hl', w.first)
      end
      return
    end
  end
end

-- How long until `amount` more fits, if nothing else is counted; the whole span where it never will.
local function wait_for(w, amount, limit, now)
  local excess = w.used + amount - limit
  if excess <= 0 then return 0 end
  for i = w.head, w.tail do
    local bucket = redis.call('HMGET', w.key, 'a' .. i, 'l' .. i)
    excess = excess - tonumber(bucket[1])
    if excess <= 0 then return tonumber(bucket[2]) + w.span - now end
  end
  return w.span
end

-- Microseconds until the oldest bucket leaves; 0 where nothing is counted.
local function leaves_in(w, now)
  if w.used == 0 then return 0 end
  return w.first + w.span - now
end

-- What is told of time in the call, else Redis' own clock.
local function clock(told)
  if told ~= '' then return tonumber(told) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end
