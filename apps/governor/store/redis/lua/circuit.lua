-- circuit.lua : the state of one route's circuit. Not a script: others begin with it.
--
-- A hash: p opened and not closed yet (1), o when it last opened, s for how long, b when the probe went out.
-- Kept for an hour after its last change: a circuit that nobody asked about for so long is closed.
local CIRCUIT_KEPT_MS = 3600000

local function read_circuit(key)
  local f = redis.call('HMGET', key, 'p', 'o', 's', 'b')
  return {is_tripped = f[1] == '1', opened_at = tonumber(f[2] or nil), open_for = tonumber(f[3] or '0'),
    probe_at = tonumber(f[4] or nil)}
end

-- {tripped, microseconds until it may be probed}
local function tell_circuit(circuit, now)
  if not circuit.is_tripped then return {0, 0} end
  return {1, math.max(0, circuit.opened_at + circuit.open_for - now)}
end

local function publish_circuit(circuit, now, channel, route)
  local told = tell_circuit(circuit, now)
  redis.call('PUBLISH', channel, told[1] .. ' ' .. string.format('%d', told[2]) .. ' ' .. route)
end

local function open_circuit(key, circuit, now, open_for, channel, route)
  circuit.is_tripped, circuit.opened_at, circuit.open_for, circuit.probe_at = true, now, open_for, nil
  redis.call('HSET', key, 'p', 1, 'o', now, 's', open_for)
  redis.call('HDEL', key, 'b')
  redis.call('PEXPIRE', key, CIRCUIT_KEPT_MS)
  publish_circuit(circuit, now, channel, route)
end

-- What was counted led to the opening: kept, it would open the circuit again at the next failure.
local function close_circuit(key, circuit, now, channel, route)
  circuit.is_tripped, circuit.probe_at = false, nil
  redis.call('HSET', key, 'p', 0)
  redis.call('HDEL', key, 'b')
  redis.call('DEL', key .. ':calls', key .. ':failed')
  publish_circuit(circuit, now, channel, route)
end
