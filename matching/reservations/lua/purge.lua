#!lua flags=allow-oom
-- Free the memory of what is over; take frees some too, but a server without memory refuses to take.
-- Returns  how many are left

if not filled() then
    return UNFILLED
end
local now = time_now()
purge(now)
return redis.call('ZCOUNT', ENDS, '-inf', now)
