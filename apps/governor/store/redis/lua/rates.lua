-- rates.lua : the windows that one call counts in. Not a script: others begin with it, after window.lua.
--
-- The account half and the model half touch keys of one tag each, so that they can become two scripts where Redis is
-- sharded. Which windows there are is told by limits: '' is none.
local function read_rates(base, account_base, key, model, limits, tokens, images, now)
  local rates = {}
  local function add(name, index, asked, limit)
    if limit ~= '' then
      local window = read_window(name, now)
      rates[#rates + 1] = {index = index, window = window, asked = asked, limit = tonumber(limit)}
    end
  end
  add(account_base .. ':rpm', 1, 1, limits.account)
  add(account_base .. ':key:' .. key, 2, 1, limits.key)
  add(account_base .. ':key:' .. key .. ':' .. model, 3, 1, limits.key_model)
  add(base .. ':rpm', 4, 1, limits.rpm)
  add(base .. ':tpm', 5, tokens, limits.tpm)
  add(base .. ':ipm', 6, images, limits.ipm)
  return rates
end

-- What is told of them: pairs of used and microseconds until the oldest leaves, at each one's place; -1 for none.
local function tell_rates(reply, rates, now)
  for i = 1, 12 do reply[#reply + 1] = -1 end
  local start = #reply - 12
  for _, rate in ipairs(rates) do
    reply[start + 2 * rate.index - 1] = rate.window.used
    reply[start + 2 * rate.index] = leaves_in(rate.window, now)
  end
  return reply
end
