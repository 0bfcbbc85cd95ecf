-- What an admission would find of a token, at one instant and without a trace: nothing here writes.
--
-- KEYS[1] the record
-- Returns the time in Unix milliseconds, the record or '', whether it is revoked, its counters and their states in turn.

local bucket, id = string.sub(KEYS[1], 1, BUCKET_LENGTH), string.sub(KEYS[1], BUCKET_LENGTH + 7)
local time = redis.call('TIME')
local raw, counters = redis.call('GET', KEYS[1]) or '', {}
if raw ~= '' then
  counters = redis.call('HGETALL', bucket .. 'quota:' .. cjson.decode(raw)[RECORD_LINEAGE])
end
return { time[1] * 1000 + math.floor(time[2] / 1000), raw, redis.call('SISMEMBER', bucket .. 'revoked', id), counters }
