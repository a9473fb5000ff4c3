-- path.lua : the slots and the queue of one model. Not a script: others begin with it.
--
-- Keys of a model, from their base:
--   base    hash: cap slots by its policy   last arrival of a call that waits   look when something may lapse next
--           heal until when processes tell again what Redis has forgotten
--           L<process> when its lease ends   G<call> until when the slot it was granted must be confirmed
--   :slots  hash: call -> when it was counted
--   :queue  sorted set: call by arrival   :waits hash: call -> account, tokens, counted at, deadline
--   :loads  hash: <account> its waiting calls, <account>t their tokens, t the tokens of all
-- A call is named <process>:<number>. Times are microseconds. A process that does not renew its lease holds nothing.
local LEASE = 3000000
local GRANT = 1000000
-- Within this time every process has renewed.
local HEAL = 1250000
local KEPT_MS = 120000

local function read_path(base, process, channel, now)
  local f = redis.call('HMGET', base, 'cap', 'last', 'look', 'heal', 'L' .. process)
  local slots = base .. ':slots'
  return {base = base, slots = slots, queue = base .. ':queue', waits = base .. ':waits', loads = base .. ':loads',
    process = process, channel = channel, now = now, in_flight = redis.call('HLEN', slots),
    cap = tonumber(f[1] or '0'), last = tonumber(f[2] or '0'), look = tonumber(f[3] or nil),
    heal = tonumber(f[4] or '0'), lease_ends = tonumber(f[5] or '0')}
end

local function process_of(call)
  return string.match(call, '^[^:]+')
end

local function look_by(p, at)
  if p.look and p.look <= at then return end
  p.look = at
  redis.call('HSET', p.base, 'look', at)
end

-- Take a slot. A key gets its time to live when it is made; renewals prolong it.
local function take(p, call, counted_at)
  redis.call('HSET', p.slots, call, counted_at)
  if p.in_flight == 0 then redis.call('PEXPIRE', p.slots, KEPT_MS) end
  p.in_flight = p.in_flight + 1
end

-- Give a slot back; when its call was counted, or nothing where it held none.
local function free(p, call)
  local counted_at = redis.call('HGET', p.slots, call)
  if not counted_at then return nil end
  redis.call('HDEL', p.slots, call)
  redis.call('HDEL', p.base, 'G' .. call)
  p.in_flight = p.in_flight - 1
  return tonumber(counted_at)
end

local function join(p, call, arrival, account, tokens, counted_at, deadline)
  redis.call('ZADD', p.queue, arrival, call)
  redis.call('HSET', p.waits, call, string.format('%s %.0f %.0f %.0f', account, tokens, counted_at, deadline))
  redis.call('HINCRBY', p.loads, account, 1)
  redis.call('HINCRBY', p.loads, account .. 't', tokens)
  redis.call('HINCRBY', p.loads, 't', tokens)
  for _, key in ipairs({p.queue, p.waits, p.loads}) do redis.call('PEXPIRE', key, KEPT_MS) end
end

-- Free a call's place; when it was counted and its deadline, or nothing where it had no place.
local function leave(p, call)
  local wait = redis.call('HGET', p.waits, call)
  if not wait then return nil end
  local account, tokens, counted_at, deadline = string.match(wait, '^(%S+) (%d+) (%d+) (%d+)$')
  redis.call('HDEL', p.waits, call)
  redis.call('ZREM', p.queue, call)
  local fewer = string.format('%.0f', 0 - tonumber(tokens))
  redis.call('HINCRBY', p.loads, 't', fewer)
  redis.call('HINCRBY', p.loads, account .. 't', fewer)
  if redis.call('HINCRBY', p.loads, account, -1) == 0 then redis.call('HDEL', p.loads, account, account .. 't') end
  if redis.call('HLEN', p.waits) == 0 then redis.call('DEL', p.loads) end
  return tonumber(counted_at), tonumber(deadline)
end

local function forget_process(p, process)
  for _, call in ipairs(redis.call('HKEYS', p.slots)) do
    if process_of(call) == process then free(p, call) end
  end
  for _, call in ipairs(redis.call('HKEYS', p.waits)) do
    if process_of(call) == process then leave(p, call) end
  end
end

-- Forget processes whose lease has ended, and take back what was granted and not confirmed. Looks only when it is time.
local function tidy(p)
  if not p.look or p.now < p.look then return end
  local fields, look = redis.call('HGETALL', p.base), nil
  for i = 1, #fields, 2 do
    local field, at = fields[i], tonumber(fields[i + 1])
    local kind, name = string.sub(field, 1, 1), string.sub(field, 2)
    if kind == 'L' or kind == 'G' then
      if at > p.now then
        look = math.min(look or at, at)
      elseif kind == 'L' then
        redis.call('HDEL', p.base, field)
        forget_process(p, name)
      else
        free(p, name)
      end
    end
  end
  p.look = look
  if look then redis.call('HSET', p.base, 'look', look) else redis.call('HDEL', p.base, 'look') end
end

-- Keep the asking process's lease running; 0 where it had none any more: then it tells what it holds.
local function keep_lease(p)
  if p.lease_ends - p.now > LEASE / 2 then return 1 end
  local was_known = p.lease_ends > p.now and 1 or 0
  p.lease_ends = p.now + LEASE
  redis.call('HSET', p.base, 'L' .. p.process, p.lease_ends)
  redis.call('PEXPIRE', p.base, KEPT_MS)
  look_by(p, p.lease_ends)
  return was_known
end

-- Give free slots to those who wait, in the order they came, and tell their processes. The slot is taken here, not when
-- the waiter hears of it: nobody slips between. Nobody is served while it heals: slots that look free are held by
-- processes that have not said so yet.
local function hand_over(p)
  if p.now < p.heal then return end
  while p.in_flight < p.cap do
    local call = redis.call('ZRANGE', p.queue, 0, 0)[1]
    if not call then return end
    local counted_at, deadline = leave(p, call)
    if p.now < deadline + GRANT then
      take(p, call, counted_at)
      redis.call('HSET', p.base, 'G' .. call, p.now + GRANT)
      look_by(p, p.now + GRANT)
      redis.call('PUBLISH', p.channel .. process_of(call), call)
    end
  end
end
