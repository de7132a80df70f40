#!lua
-- Take a slot of the first place that has one.
-- ARGV     3 job, 4 the id of a new reservation, 5 ttl_ms, then miner and limit of each place, best first
-- Returns  the reservation that the job has already, or else the new one; nil where every place is full

if not filled() then
    return UNFILLED
end
local now, job, ttl_ms = time_now(), ARGV[3], tonumber(ARGV[5])
purge(now)
local before = kept(redis.call('HGET', JOBS, job) or MARK)
if before and before[5] > now then
    return before
end
for i = 6, #ARGV, 2 do
    if live_on(ARGV[i], now) < tonumber(ARGV[i + 1]) then
        if before then
            drop(before)
        end
        return put(ARGV[4], job, ARGV[i], ttl_ms, now + ttl_ms * 1000, now)
    end
end
return nil
