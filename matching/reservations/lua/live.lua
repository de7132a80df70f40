#!lua
-- A page of the live reservations.
-- ARGV     3 where to begin: those that end then or later, 4 how many at most
-- Returns  reservations, the next to end first

if not filled() then
    return UNFILLED
end
local first = math.max(tonumber(ARGV[3]), time_now() + 1)
local page = {}
for i, id in ipairs(redis.call('ZRANGEBYSCORE', ENDS, string.format('%.0f', first), '+inf', 'LIMIT', 0, ARGV[4])) do
    page[i] = kept(id)
end
return page
