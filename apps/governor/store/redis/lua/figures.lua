-- uses: window.lua
-- uses: slots.lua
-- figures.lua : the load of one model.
-- in  : KEYS base of the model's keys; ARGV now
-- out : {in flight, queued, queued tokens, requests, tokens, images in the minute}
local base = KEYS[1]
local now = clock(ARGV[1])
clean_up(base, now)
local load = redis.call('HMGET', base .. ':load', 'calls', 'tokens')
return {redis.call('HLEN', base .. ':slots'), tonumber(load[1] or '0'), tonumber(load[2] or '0'),
  read_window(base .. ':rpm', now).used, read_window(base .. ':tpm', now).used, read_window(base .. ':ipm', now).used}
