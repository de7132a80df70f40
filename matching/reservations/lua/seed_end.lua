#!lua
-- Finish: from now on the store decides, or, given up, the next caller may begin.
-- ARGV     3 token of the caller, 4 "filled" or "given up"
-- Returns  1; UNFILLED where the lock has passed on

local run = run_id()
if redis.call('GET', LOCK) ~= ARGV[3] .. run then
    return UNFILLED
end
if ARGV[4] == 'filled' then
    redis.call('HSET', RECORDS, MARK, run)
end
redis.call('DEL', LOCK)
return 1
