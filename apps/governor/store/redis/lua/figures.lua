-- uses: window.lua
-- uses: path.lua
-- figures.lua : the load of one model, over all processes.
-- in  : KEYS base of the model's keys; ARGV now, channel prefix
-- out : {slots, in flight, calls and tokens that wait, requests, tokens and images of the minute}
local now = clock(ARGV[1])
local p = read_path(KEYS[1], '', ARGV[2], now)
tidy(p)
hand_over(p)
local function used(name)
  return read_window(p.base .. name, now).used
end
return {p.cap, p.in_flight, redis.call('ZCARD', p.queue), tonumber(redis.call('HGET', p.loads, 't') or '0'),
  used(':rpm'), used(':tpm'), used(':ipm')}
