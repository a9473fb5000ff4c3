-- slots.lua : the slots and the queue of one model. Not a script: others begin with it, after window.lua.
--
-- Under the model's base B:
--   B:slots   hash   call -> "process since": who has a slot, and when it was counted
--   B:leases  zset   process -> until when it lives; a process renews its own every second
--   B:queue   zset   call -> when it came: first come, first served
--   B:waiting hash   call -> "process since account tokens deadline"
--   B:load    hash   calls, tokens, and "c"/"t" .. account: what waits, of all and of each account
--   B:granted zset   call -> until when it may take up the slot that it was handed
-- `process` is the name of the channel on which it hears of its turns. Times are microseconds.
local GRANT = 1000000

local function add_load(base, account, calls, tokens)
  redis.call('HINCRBY', base .. ':load', 'calls', calls)
  redis.call('HINCRBY', base .. ':load', 'tokens', string.format('%d', tokens))
  if redis.call('HINCRBY', base .. ':load', 'c' .. account, calls) == 0 then
    redis.call('HDEL', base .. ':load', 'c' .. account, 't' .. account)
  else
    redis.call('HINCRBY', base .. ':load', 't' .. account, string.format('%d', tokens))
  end
end

local function read_waiter(text)
  local process, since, account, tokens, deadline = text:match('^(%S+) (%d+) (%S+) (%d+) (%d+)$')
  return {process = process, since = tonumber(since), account = account, tokens = tonumber(tokens),
    deadline = tonumber(deadline)}
end

-- Take a call out of the queue; what it was, or nil where it does not wait.
local function take_out(base, call)
  local text = redis.call('HGET', base .. ':waiting', call)
  if not text then return nil end
  local waiter = read_waiter(text)
  redis.call('HDEL', base .. ':waiting', call)
  redis.call('ZREM', base .. ':queue', call)
  add_load(base, waiter.account, -1, -waiter.tokens)
  return waiter
end

local function is_alive(base, process, now)
  local until_when = redis.call('ZSCORE', base .. ':leases', process)
  return until_when and tonumber(until_when) > now
end

-- Give free slots to those who wait. Each hears of it on its process' channel and has a second to take it up.
local function hand_over(base, concurrency, now)
  while redis.call('HLEN', base .. ':slots') < concurrency do
    local first = redis.call('ZRANGE', base .. ':queue', 0, 0)[1]
    if not first then return end
    local waiter = take_out(base, first)
    if not waiter then
      redis.call('ZREM', base .. ':queue', first)
    elseif waiter.deadline > now and is_alive(base, waiter.process, now) then
      redis.call('HSET', base .. ':slots', first, waiter.process .. ' ' .. string.format('%d', waiter.since))
      redis.call('ZADD', base .. ':granted', now + GRANT, first)
      redis.call('PUBLISH', waiter.process, first)
    end
  end
end

-- Free what nobody took up, and what belonged to processes that are gone.
local function clean_up(base, now)
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', base .. ':granted', '-inf', string.format('%d', now))) do
    redis.call('ZREM', base .. ':granted', call)
    redis.call('HDEL', base .. ':slots', call)
  end
  local gone = redis.call('ZRANGEBYSCORE', base .. ':leases', '-inf', string.format('%d', now))
  if #gone == 0 then return end
  local is_gone = {}
  for _, process in ipairs(gone) do
    is_gone[process] = true
    redis.call('ZREM', base .. ':leases', process)
  end
  local slots = redis.call('HGETALL', base .. ':slots')
  for i = 1, #slots, 2 do
    if is_gone[slots[i + 1]:match('^%S+')] then
      redis.call('HDEL', base .. ':slots', slots[i])
      redis.call('ZREM', base .. ':granted', slots[i])
    end
  end
  local waiting = redis.call('HGETALL', base .. ':waiting')
  for i = 1, #waiting, 2 do
    if is_gone[waiting[i + 1]:match('^%S+')] then take_out(base, waiting[i]) end
  end
end
