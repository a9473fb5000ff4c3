-- uses: window.lua
-- uses: slots.lua
-- renew.lua : a process lives, and has these calls. Redis may have forgotten it, or know of calls that it has not.
-- in  : KEYS base of the model's keys
--       ARGV now, process, lease (microseconds), concurrency, age from which an unknown call is nobody's (microseconds;
--       -1: the calls are not told), then call and when it was counted, of each call that has a slot
-- out : whether the process was known
local KEPT_MS = 120000
local base = KEYS[1]
local now = clock(ARGV[1])
local process = ARGV[2]
local was_known = redis.call('ZADD', base .. ':leases', now + tonumber(ARGV[3]), process) == 0 and 1 or 0
clean_up(base, now)
local oldest = tonumber(ARGV[5])
if oldest >= 0 then
  local has = {}
  for i = 6, #ARGV, 2 do
    has[ARGV[i]] = true
    redis.call('HSETNX', base .. ':slots', ARGV[i], process .. ' ' .. ARGV[i + 1])
  end
  local slots = redis.call('HGETALL', base .. ':slots')
  for i = 1, #slots, 2 do
    local owner, since = slots[i + 1]:match('^(%S+) (%d+)$')
    if owner == process and not has[slots[i]] and tonumber(since) <= now - oldest
      and not redis.call('ZSCORE', base .. ':granted', slots[i]) then
      redis.call('HDEL', base .. ':slots', slots[i])
    end
  end
end
hand_over(base, tonumber(ARGV[4]), now)
for _, name in ipairs({'slots', 'leases', 'queue', 'waiting', 'load', 'granted'}) do
  redis.call('PEXPIRE', base .. ':' .. name, KEPT_MS)
end
return was_known
