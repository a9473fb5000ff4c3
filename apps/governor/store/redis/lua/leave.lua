-- uses: window.lua
-- uses: path.lua
-- uses: ask.lua
-- leave.lua : a call that is not wanted any more gives back its slot or its place, and its rates. Harmless where it has
-- neither: `admit` never ran, or its process was forgotten meanwhile.
-- in  : see ask.lua     out : nothing
local p = read_path(KEYS[1], process_of(call), ARGV[3], now)
local counted_at = free(p, call) or leave(p, call)
if counted_at then
  refund_all(account_rates(), counted_at)
  refund_all(model_rates(), counted_at)
end
tidy(p)
hand_over(p)
