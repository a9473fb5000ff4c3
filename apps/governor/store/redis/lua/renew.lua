-- uses: window.lua
-- uses: path.lua
-- renew.lua : a process prolongs its lease on a model and tells what it holds there. What it does not name is given back;
-- what Redis has forgotten is taken up again, in the order it came.
-- in  : KEYS base of the model's keys; ARGV now, process, channel prefix, slots by the policy, how many calls are on
--       their way and how many hold slots, then the numbers of the calls on their way, of each that holds a slot number
--       and when it was counted, of each that waits number, arrival, account, tokens, when it was counted, deadline
-- out : the numbers of those that wait and were granted a slot
local now, process = clock(ARGV[1]), ARGV[2]
local p = read_path(KEYS[1], process, ARGV[3], now)
tidy(p)
local was_known = keep_lease(p)
if p.cap == 0 then
  p.cap = tonumber(ARGV[4])
  redis.call('HSET', p.base, 'cap', p.cap)
end

local on_their_way, with_slots = tonumber(ARGV[5]), tonumber(ARGV[6])
local i, named, held, waiting = 7, {}, {}, {}
for _ = 1, on_their_way do
  named[process .. ':' .. ARGV[i]] = true
  i = i + 1
end
for _ = 1, with_slots do
  local call = process .. ':' .. ARGV[i]
  named[call], held[call] = true, tonumber(ARGV[i + 1])
  i = i + 2
end
while i <= #ARGV do
  local call = process .. ':' .. ARGV[i]
  named[call] = true
  table.insert(waiting, {call = call, number = tonumber(ARGV[i]), arrival = tonumber(ARGV[i + 1]),
    account = ARGV[i + 2], tokens = tonumber(ARGV[i + 3]), counted_at = tonumber(ARGV[i + 4]),
    deadline = tonumber(ARGV[i + 5])})
  i = i + 6
end

for _, call in ipairs(redis.call('HKEYS', p.slots)) do
  if process_of(call) == process and not named[call] then free(p, call) end
end
for _, call in ipairs(redis.call('HKEYS', p.waits)) do
  if process_of(call) == process and not named[call] then leave(p, call) end
end
local has_forgotten = false
for call, counted_at in pairs(held) do
  if redis.call('HEXISTS', p.slots, call) == 0 then
    take(p, call, counted_at)
    -- What was counted nowhere was admitted without Redis.
    has_forgotten = has_forgotten or counted_at > 0
  end
end
for _, each in ipairs(waiting) do
  if redis.call('HEXISTS', p.slots, each.call) == 0 and redis.call('HEXISTS', p.waits, each.call) == 0 then
    join(p, each.call, each.arrival, each.account, each.tokens, each.counted_at, each.deadline)
    has_forgotten = has_forgotten or was_known == 0
  end
end
if has_forgotten and now >= p.heal then
  p.heal = now + HEAL
  redis.call('HSET', p.base, 'heal', p.heal)
end
hand_over(p)
for _, key in ipairs({p.base, p.slots, p.queue, p.waits, p.loads}) do redis.call('PEXPIRE', key, KEPT_MS) end

local granted = {}
for _, each in ipairs(waiting) do
  if redis.call('HEXISTS', p.slots, each.call) == 1 then table.insert(granted, each.number) end
end
return granted
