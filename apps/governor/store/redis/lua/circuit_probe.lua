-- uses: window.lua
-- uses: circuit.lua
-- circuit_probe.lua : may a call go to this route now? Where its circuit is half-open, one asker becomes the probe.
-- in  : KEYS base of the route's keys; ARGV now, probe lost (microseconds)
-- out : {may call, tripped, microseconds until it may be probed}
local now = clock(ARGV[1])
local circuit = read_circuit(KEYS[1])
local may_call = 1
if circuit.is_tripped then
  local is_out = circuit.probe_at and now - circuit.probe_at <= tonumber(ARGV[2])
  if now < circuit.opened_at + circuit.open_for or is_out then
    may_call = 0
  else
    redis.call('HSET', KEYS[1], 'b', now)
  end
end
local told = tell_circuit(circuit, now)
return {may_call, told[1], told[2]}
