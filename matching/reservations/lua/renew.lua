#!lua
-- Let a reservation last from now on.
-- ARGV     3 reservation id, 4 for how many ms, "" = as long as asked at first
-- Returns  the reservation; nil where it is gone

if not filled() then
    return UNFILLED
end
local now = time_now()
local held = live(ARGV[3], now)
if not held then
    return nil
end
local id, job, miner, ttl_ms = unpack(held)
drop(held)
return put(id, job, miner, ttl_ms, now + (tonumber(ARGV[4]) or ttl_ms) * 1000, now)
