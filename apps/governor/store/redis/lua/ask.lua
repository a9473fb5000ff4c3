-- ask.lua : one call at the door, as all scripts about it are told. Not a script: others begin with it.
-- KEYS base of the model's keys, then the windows of account, key, key and model, those that have a limit
-- ARGV now ('' for Redis' clock), call, channel prefix, account, tokens, images, slots, rpm, tpm, ipm ('' where none),
--      queue_s in microseconds, queue_length, queue_tokens, then the limits of the windows in KEYS
local now = clock(ARGV[1])
local call, account, tokens, images = ARGV[2], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

local function rate(key, asked, limit)
  return {window = read_window(key, now), asked = asked, limit = tonumber(limit)}
end

-- The account's half: its requests, its key's, its key's on this model.
local function account_rates()
  local rates = {}
  for i = 2, #KEYS do rates[i - 1] = rate(KEYS[i], 1, ARGV[12 + i]) end
  return rates
end

-- The model's half: requests, tokens, images.
local function model_rates()
  local rates = {rate(KEYS[1] .. ':rpm', 1, ARGV[8]), rate(KEYS[1] .. ':tpm', tokens, ARGV[9])}
  if ARGV[10] ~= '' then rates[3] = rate(KEYS[1] .. ':ipm', images, ARGV[10]) end
  return rates
end

-- The first that refuses: its place, its use, how long until the call fits. Who asks for nothing is not refused.
local function refusal(rates)
  for i, each in ipairs(rates) do
    local used = each.window.used
    if each.asked > 0 and used + each.asked > each.limit then
      return {i, used, wait_for(each.window, each.asked, each.limit, now)}
    end
  end
end

local function count_all(rates)
  for _, each in ipairs(rates) do count(each.window, each.asked, now) end
end

local function refund_all(rates, counted_at)
  for _, each in ipairs(rates) do refund(each.window, each.asked, counted_at) end
end

local function left(each)
  return math.max(0, each.limit - each.window.used)
end

-- What an admission tells: {1, known, counted at, in flight, left and microseconds until more of rpm and of tpm, left of
-- ipm (-1: no limit) and of the account, then limit, left and microseconds of the requests that leave least}
local function figures(p, known, counted_at, of_account, of_model)
  local rpm, tpm, ipm = of_model[1], of_model[2], of_model[3]
  local least = rpm
  for _, each in ipairs(of_account) do
    if left(each) < left(least) then least = each end
  end
  return {1, known, counted_at, p.in_flight, left(rpm), leaves_in(rpm.window, now), left(tpm),
    leaves_in(tpm.window, now), ipm and left(ipm) or -1, left(of_account[1]), least.limit, left(least),
    leaves_in(least.window, now)}
end
