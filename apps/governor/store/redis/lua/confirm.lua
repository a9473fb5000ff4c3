-- uses: window.lua
-- uses: rates.lua
-- confirm.lua : take up a slot that was handed over.
-- in  : KEYS base of the model's keys, base of the account's keys
--       ARGV now, call, key, model, limits (as admit.lua)
-- out : as admit.lua's {0, ...}; {4} where it was too late and somebody else has it
local base, account_base = KEYS[1], KEYS[2]
local now = clock(ARGV[1])
if redis.call('HEXISTS', base .. ':slots', ARGV[2]) == 0 then return {4} end
redis.call('ZREM', base .. ':granted', ARGV[2])
local limits = {account = ARGV[5], key = ARGV[6], key_model = ARGV[7], rpm = ARGV[8], tpm = ARGV[9], ipm = ARGV[10]}
local rates = read_rates(base, account_base, ARGV[3], ARGV[4], limits, 0, 0, now)
return tell_rates({0, now, redis.call('HLEN', base .. ':slots')}, rates, now)
