-- uses: window.lua
-- uses: path.lua
-- finish.lua : a call gives its slot back, to the first who waits; its tokens are corrected. Once: a second time it holds
-- no slot.
-- in  : KEYS base of the model's keys; ARGV now, call, channel prefix, tokens it used less than was counted (negative:
--       more), images to give back
-- out : nothing
local now = clock(ARGV[1])
local p = read_path(KEYS[1], process_of(ARGV[2]), ARGV[3], now)
local counted_at = free(p, ARGV[2])
if counted_at then
  local spare, images = tonumber(ARGV[4]), tonumber(ARGV[5])
  if spare > 0 then
    refund(read_window(p.base .. ':tpm', now), spare, counted_at)
  elseif spare < 0 then
    count(read_window(p.base .. ':tpm', now), -spare, now)
  end
  if images > 0 then refund(read_window(p.base .. ':ipm', now), images, counted_at) end
end
tidy(p)
hand_over(p)
