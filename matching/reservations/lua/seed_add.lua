#!lua
-- Write reservations into a store that is being filled. Those that are over are left out; of two for one job the one
-- that ends later stays.
-- ARGV     3 token of the caller, 4 how many ms the caller may be silent,
--          then id, job, miner, ttl_ms, ends of each reservation
-- Returns  how many were written; UNFILLED where the lock has passed on

if redis.call('GET', LOCK) ~= ARGV[3] .. run_id() then
    return UNFILLED
end
redis.call('PEXPIRE', LOCK, ARGV[4])
local now, written = time_now(), 0
for i = 5, #ARGV, 5 do
    local id, job, ends = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 4])
    local other = kept(redis.call('HGET', JOBS, job) or MARK)
    if ends > now and not (other and other[5] >= ends) then
        if other then
            drop(other)
        end
        put(id, job, ARGV[i + 2], tonumber(ARGV[i + 3]), ends, 0)
        written = written + 1
    end
end
return written
