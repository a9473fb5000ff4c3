-- uses: window.lua
-- uses: path.lua
-- uses: ask.lua
-- confirm.lua : a call that waited takes the slot that it was granted.
-- in  : see ask.lua     out : see figures in ask.lua; {0} where the grant has lapsed, and the next has the slot
local p = read_path(KEYS[1], process_of(call), ARGV[3], now)
tidy(p)
hand_over(p)
local counted_at = redis.call('HGET', p.slots, call)
if not counted_at then return {0} end
redis.call('HDEL', p.base, 'G' .. call)
return figures(p, 1, tonumber(counted_at), account_rates(), model_rates())
