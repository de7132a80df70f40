#!lua
-- Begin to fill the store: at most one caller does, and starts from nothing.
-- ARGV     3 token of the caller, 4 how many ms the caller may be silent
-- Returns  "filled" where there is nothing to do, "busy" where another caller fills, "begun"

if filled() then
    return 'filled'
end
if not redis.call('SET', LOCK, ARGV[3] .. run_id(), 'NX', 'PX', ARGV[4]) then
    return 'busy'
end
redis.call('UNLINK', RECORDS, JOBS, ENDS, SLOTS)
return 'begun'
