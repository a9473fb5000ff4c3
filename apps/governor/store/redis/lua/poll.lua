-- uses: window.lua
-- uses: slots.lua
-- poll.lua : what became of calls that wait? Catches up with messages that were lost, and with processes that died.
-- in  : KEYS base of the model's keys; ARGV now, concurrency, calls...
-- out : for each call: 0 it waits, 1 it has a slot, 2 it is not known
local base = KEYS[1]
local now = clock(ARGV[1])
clean_up(base, now)
hand_over(base, tonumber(ARGV[2]), now)
local states = {}
for i = 3, #ARGV do
  if redis.call('HEXISTS', base .. ':slots', ARGV[i]) == 1 then
    states[#states + 1] = 1
  else
    states[#states + 1] = redis.call('HEXISTS', base .. ':waiting', ARGV[i]) == 1 and 0 or 2
  end
end
return states
