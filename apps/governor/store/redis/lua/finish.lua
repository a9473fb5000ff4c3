-- uses: window.lua
-- uses: slots.lua
-- finish.lua : a call has ended: its slot goes to the first who waits, its tokens become what they were.
-- in  : KEYS base of the model's keys
--       ARGV now, call, concurrency, when it was counted, tokens too many (below 0: too few), images to give back
local base = KEYS[1]
local now = clock(ARGV[1])
local call, counted_at, spare = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
if spare > 0 then
  refund(read_window(base .. ':tpm', now), spare, counted_at)
elseif spare < 0 then
  -- Above the limit too: they were used.
  count(read_window(base .. ':tpm', now), -spare, now)
end
if ARGV[6] ~= '0' then refund(read_window(base .. ':ipm', now), tonumber(ARGV[6]), counted_at) end
redis.call('HDEL', base .. ':slots', call)
if redis.call('ZCARD', base .. ':queue') > 0 then
  clean_up(base, now)
  hand_over(base, tonumber(ARGV[3]), now)
end
