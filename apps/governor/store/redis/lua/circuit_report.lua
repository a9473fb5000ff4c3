-- uses: window.lua
-- uses: circuit.lua
-- circuit_report.lua : learn how calls of one route ended, as rules.Circuit does.
-- in  : KEYS base of the route's keys; ARGV now ('' for Redis' clock), channel, route, successes told late, outcome of
--       one call ('ok', 'failed' or ''), its age, window, least calls, failed percent, open for, open at most
--       (microseconds where they are times)
-- out : {tripped, microseconds until it may be probed}
local now = clock(ARGV[1])
local channel, route, late, outcome = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local circuit = read_circuit(KEYS[1])
if circuit.opened_at and now - tonumber(ARGV[6]) < circuit.opened_at then
  outcome = ''  -- it began before the last opening and says nothing about the route today
end
if not circuit.is_tripped then
  local calls = read_window(KEYS[1] .. ':calls', now, tonumber(ARGV[7]))
  count(calls, late + (outcome == '' and 0 or 1), now)
  if outcome == 'failed' then
    local failed = read_window(KEYS[1] .. ':failed', now, tonumber(ARGV[7]))
    count(failed, 1, now)
    if calls.used >= tonumber(ARGV[8]) and failed.used * 100 >= calls.used * tonumber(ARGV[9]) then
      open_circuit(KEYS[1], circuit, now, tonumber(ARGV[10]), channel, route)
    end
  end
elseif circuit.probe_at and outcome == 'ok' then
  close_circuit(KEYS[1], circuit, now, channel, route)
elseif circuit.probe_at and outcome == 'failed' then
  open_circuit(KEYS[1], circuit, now, math.min(circuit.open_for * 2, tonumber(ARGV[11])), channel, route)
end
return tell_circuit(circuit, now)
