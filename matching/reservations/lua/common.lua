-- The beginning of every script: what is kept where, and the few ways to touch it.
--
-- KEYS, the same for all scripts, under one hash tag
--   1 records  hash: reservation id -> msgpack of {job, miner, ttl_ms, ends, revision}; its field "" is the mark, see
--              filled()
--   2 jobs     hash: job -> reservation id
--   3 ends     sorted set: reservation id by ends
--   4 slots    sorted set, every score 0: miner \0 ends \0 reservation id, so that one range is a miner's live ones
--   5 lock     names who fills the store, and the server process that is filled
--   6 told     how many events were told
--   7 events   the stream that processes follow; left out, nothing is told
-- ARGV
--   1 now; "" = by the clock of the server, the only one that all processes share
--   2 about how many events the stream keeps
-- Times are whole microseconds since the epoch. What ends at or before now is over, whether it is still kept or not.
-- A reservation is returned as {id, job, miner, ttl_ms, ends, revision}, none as nil. Its revision is the time of its
-- last change, so that it grows beyond a loss of the data too.

local RECORDS, JOBS, ENDS, SLOTS, LOCK, TOLD, EVENTS = unpack(KEYS)
local MARK = ''
local PURGED_AT_ONCE = 100  -- bounds the time of one call
local TELLER = 0  -- the store's number among the writers of events
local UNFILLED = redis.error_reply('UNFILLED this server does not hold the reservations')

local function time_now()
    if ARGV[1] ~= '' then
        return tonumber(ARGV[1])
    end
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A restart or a fail-over may bring back older data: only the server process that was filled is trusted.
local function run_id()
    return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- Whether everything is here: nothing was flushed, deleted, evicted or restored from an older state.
local function filled()
    if redis.call('HGET', RECORDS, MARK) ~= run_id() then
        return false
    end
    local held = redis.call('HLEN', RECORDS) - 1
    return redis.call('HLEN', JOBS) == held
        and redis.call('ZCARD', ENDS) == held
        and redis.call('ZCARD', SLOTS) == held
end

local function slot(miner, ends, id)
    return string.format('%s\0%016.0f\0%s', miner, ends, id)
end

local function live_on(miner, now)
    local first = string.format('[%s\0%016.0f', miner, now + 1)
    return redis.call('ZLEXCOUNT', SLOTS, first, '(' .. miner .. '\1')
end

-- Have the processes that follow the stream count it from now on; ends = 0: no more.
local function tell(id, job, miner, ttl_ms, ends, revision)
    if not EVENTS then
        return
    end
    local event = string.format(
        '{"id":%s,"job_id":%s,"miner_id":%s,"ttl_ms":%.0f,"expires_at":%.6f,"revision":%.0f}',
        cjson.encode(id), cjson.encode(job), cjson.encode(miner), ttl_ms, ends / 1000000, revision)
    local number = redis.call('INCR', TOLD)
    redis.call('XADD', EVENTS, 'MAXLEN', '~', ARGV[2], '*', 'w', TELLER, 'n', number, 'k', 'reservation', 'p', event)
end

local function put(id, job, miner, ttl_ms, ends, revision)
    redis.call('HSET', RECORDS, id, cmsgpack.pack({job, miner, ttl_ms, ends, revision}))
    redis.call('HSET', JOBS, job, id)
    redis.call('ZADD', ENDS, ends, id)
    redis.call('ZADD', SLOTS, 0, slot(miner, ends, id))
    tell(id, job, miner, ttl_ms, ends, revision)
    return {id, job, miner, ttl_ms, ends, revision}
end

local function kept(id)
    local packed = id ~= MARK and redis.call('HGET', RECORDS, id)
    if not packed then
        return nil
    end
    return {id, unpack(cmsgpack.unpack(packed))}
end

local function drop(held)
    local id, job, miner, _, ends = unpack(held)
    redis.call('HDEL', RECORDS, id)
    redis.call('HDEL', JOBS, job)
    redis.call('ZREM', ENDS, id)
    redis.call('ZREM', SLOTS, slot(miner, ends, id))
end

local function live(id, now)
    local held = kept(id)
    return held and held[5] > now and held or nil
end

-- Free the memory of some that are over.
local function purge(now)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, PURGED_AT_ONCE)) do
        drop(kept(id))
    end
end
