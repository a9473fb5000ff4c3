-- uses: window.lua
-- uses: slots.lua
-- uses: rates.lua
-- admit.lua : a call at the door: its rates, then a slot, else a place in the queue. A refusal counts nothing.
-- in  : KEYS base of the model's keys, base of the account's keys
--       ARGV now ('' for Redis' clock), call, process, account, key, model, tokens, images,
--       limits (account, key, key and model, rpm, tpm, ipm: '' for none), concurrency, seconds in the queue, its length,
--       its tokens, lease (microseconds)
-- out : {0, now, in flight, used and microseconds until the oldest leaves, of each rate}   it has a slot
--       {1, now, which rate, used, microseconds until it fits}                              refused by a rate
--       {2, now, which bound of the queue, its value, used, microseconds until a place is free or -1}  refused a place
--       {3, now}                                                                            it waits
local base, account_base = KEYS[1], KEYS[2]
local now = clock(ARGV[1])
local call, process, account = ARGV[2], ARGV[3], ARGV[4]
local tokens, images = tonumber(ARGV[7]), tonumber(ARGV[8])
local limits = {account = ARGV[9], key = ARGV[10], key_model = ARGV[11], rpm = ARGV[12], tpm = ARGV[13], ipm = ARGV[14]}
local concurrency, queue_for = tonumber(ARGV[15]), tonumber(ARGV[16])
local queue_length, queue_tokens = tonumber(ARGV[17]), tonumber(ARGV[18])

local rates = read_rates(base, account_base, ARGV[5], ARGV[6], limits, tokens, images, now)
for _, rate in ipairs(rates) do
  -- Who makes no image is not refused for images.
  local asks = rate.index ~= 6 or rate.asked > 0
  if asks and rate.window.used + rate.asked > rate.limit then
    return {1, now, rate.index, rate.window.used, wait_for(rate.window, rate.asked, rate.limit, now)}
  end
end

local function count_all()
  for _, rate in ipairs(rates) do count(rate.window, rate.asked, now) end
end

redis.call('ZADD', base .. ':leases', now + tonumber(ARGV[19]), process)
local in_flight = redis.call('HLEN', base .. ':slots')
local queued = redis.call('ZCARD', base .. ':queue')
if in_flight >= concurrency or queued > 0 then
  clean_up(base, now)
  hand_over(base, concurrency, now)
  in_flight = redis.call('HLEN', base .. ':slots')
end
if in_flight < concurrency then
  count_all()
  redis.call('HSET', base .. ':slots', call, process .. ' ' .. string.format('%d', now))
  return tell_rates({0, now, in_flight + 1}, rates, now)
end

-- As rules.check_place: an account takes at most half of the queue, but always one place.
if queue_for == 0 or queue_length == 0 then return {2, now, 1, concurrency, concurrency, -1} end
local load = redis.call('HMGET', base .. ':load', 'calls', 'tokens', 'c' .. account, 't' .. account)
for i = 1, 4 do load[i] = tonumber(load[i] or '0') end
local bound, value, used
local half_calls, half_tokens = math.max(1, math.floor(queue_length / 2)), math.floor(queue_tokens / 2)
if load[1] >= queue_length then
  bound, value, used = 2, queue_length, load[1]
elseif load[2] + tokens > queue_tokens then
  bound, value, used = 3, queue_tokens, load[2]
elseif load[3] >= half_calls then
  bound, value, used = 4, half_calls, load[3]
elseif load[3] > 0 and load[4] + tokens > half_tokens then
  bound, value, used = 5, half_tokens, load[4]
end
if bound then
  -- Whoever is first now has a slot or has given up by its deadline: then a place is free.
  local free_in = -1
  for _, waiting in ipairs(redis.call('ZRANGE', base .. ':queue', 0, bound < 4 and 0 or -1)) do
    local waiter = read_waiter(redis.call('HGET', base .. ':waiting', waiting))
    if bound < 4 or waiter.account == account then
      free_in = math.max(0, waiter.deadline - now)
      break
    end
  end
  return {2, now, bound, value, used, free_in}
end
count_all()
redis.call('ZADD', base .. ':queue', now, call)
redis.call('HSET', base .. ':waiting', call, string.format('%s %d %s %d %d', process, now, account, tokens,
  now + queue_for))
add_load(base, account, 1, tokens)
return {3, now}
