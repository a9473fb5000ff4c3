-- uses: window.lua
-- uses: path.lua
-- uses: ask.lua
-- admit.lua : rates, then a slot, else a place in the queue. All is checked before anything is counted.
-- in  : see ask.lua
-- out : {1, …} admitted, see figures in ask.lua
--       {2, known, counted at, arrival} waits
--       {3, known, which rate (those of KEYS, then rpm, tpm, ipm), used, microseconds until it fits} refused
--       {4, known, calls and tokens that wait, calls and tokens of this account, microseconds until the first of all and
--        the first of this account give up (-1: nobody waits)} refused: no place
--       known: 0 where the process had no lease
local p = read_path(KEYS[1], process_of(call), ARGV[3], now)
tidy(p)
local cap = tonumber(ARGV[7])
if p.cap ~= cap then
  p.cap = cap
  redis.call('HSET', p.base, 'cap', cap)
end
hand_over(p)
local known = keep_lease(p)

local of_account, of_model = account_rates(), model_rates()
local refused = refusal(of_account)
if refused then return {3, known, refused[1], refused[2], refused[3]} end
refused = refusal(of_model)
if refused then return {3, known, #of_account + refused[1], refused[2], refused[3]} end

-- Who waits while it heals is not overtaken.
local is_held_up = now < p.heal and redis.call('ZCARD', p.queue) > 0
if p.in_flight < p.cap and not is_held_up then
  count_all(of_account)
  count_all(of_model)
  take(p, call, now)
  return figures(p, known, now, of_account, of_model)
end

-- As rules.check_place decides.
local queue_s, most_calls, most_tokens = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local f = redis.call('HMGET', p.loads, 't', account, account .. 't')
local calls, waiting = redis.call('ZCARD', p.queue), tonumber(f[1] or '0')
local own_calls, own_waiting = tonumber(f[2] or '0'), tonumber(f[3] or '0')
local has_place = queue_s > 0 and most_calls > 0 and calls < most_calls and waiting + tokens <= most_tokens
  and own_calls < math.max(1, math.floor(most_calls / 2))
  and (own_calls == 0 or own_waiting + tokens <= math.floor(most_tokens / 2))
if has_place then
  count_all(of_account)
  count_all(of_model)
  -- Nobody arrives with another: two calls of one microsecond stay in order.
  local arrival = math.max(now, p.last + 1)
  redis.call('HSET', p.base, 'last', arrival)
  join(p, call, arrival, account, tokens, now, now + queue_s)
  return {2, known, now, arrival}
end

local first, own_first = -1, -1
for _, each in ipairs(redis.call('ZRANGE', p.queue, 0, own_calls > 0 and -1 or 0)) do
  local whose, deadline = string.match(redis.call('HGET', p.waits, each), '^(%S+) %d+ %d+ (%d+)$')
  local wait = math.max(0, tonumber(deadline) - now)
  if first < 0 then first = wait end
  if whose == account then
    own_first = wait
    break
  end
end
return {4, known, calls, waiting, own_calls, own_waiting, first, own_first}
