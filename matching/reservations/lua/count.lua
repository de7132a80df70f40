#!lua
-- How many reservations live.

if not filled() then
    return UNFILLED
end
return redis.call('ZCOUNT', ENDS, string.format('%.0f', time_now() + 1), '+inf')
