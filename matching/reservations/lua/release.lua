#!lua flags=allow-oom
-- End a reservation.
-- ARGV     3 reservation id
-- Returns  what it was; nil where it was gone already

if not filled() then
    return UNFILLED
end
local now = time_now()
local held = live(ARGV[3], now)
if held then
    drop(held)
end
-- told even of one that is not here: a server that was filled since may have lost what it told before
tell(ARGV[3], held and held[2] or '', held and held[3] or '', held and held[4] or 0, 0, now)
return held
