#!lua
-- The live reservation of a job.
-- ARGV     3 job
-- Returns  the reservation; nil without one

if not filled() then
    return UNFILLED
end
return live(redis.call('HGET', JOBS, ARGV[3]) or MARK, time_now())
