-- uses: window.lua
-- uses: slots.lua
-- uses: rates.lua
-- leave.lua : a call is no more: it waited in vain, its caller went, or nobody knows what its admission came to. What it
--             has is given back: place, slot, and all that it counted. A call that is not known changes nothing.
-- in  : KEYS base of the model's keys, base of the account's keys
--       ARGV now, call, concurrency, key, model, tokens, images, limits (as admit.lua)
-- out : in flight
local base, account_base = KEYS[1], KEYS[2]
local now = clock(ARGV[1])
local call = ARGV[2]
local since
local waiter = take_out(base, call)
if waiter then
  since = waiter.since
else
  local slot = redis.call('HGET', base .. ':slots', call)
  if slot then
    since = tonumber(slot:match('(%d+)$'))
    redis.call('HDEL', base .. ':slots', call)
    redis.call('ZREM', base .. ':granted', call)
  end
end
if since then
  local limits = {account = ARGV[8], key = ARGV[9], key_model = ARGV[10], rpm = ARGV[11], tpm = ARGV[12],
    ipm = ARGV[13]}
  local rates = read_rates(base, account_base, ARGV[4], ARGV[5], limits, tonumber(ARGV[6]), tonumber(ARGV[7]), now)
  for _, rate in ipairs(rates) do refund(rate.window, rate.asked, since) end
  hand_over(base, tonumber(ARGV[3]), now)
end
return redis.call('HLEN', base .. ':slots')
