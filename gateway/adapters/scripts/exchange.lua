-- Creates the token that a job gets for its ID token, unless the ID token was exchanged before: both at one instant, so
-- that of two workers one creates a token. audit.lua comes before this.
--
-- KEYS[1] what is remembered of the ID token, KEYS[2] the record, KEYS[3] the bucket's history, KEYS[4] the tokens of the
-- lineage that jobs have
-- ARGV[1] the token's id, ARGV[2] its record, ARGV[3] the entry of the history
-- ARGV[4] for how long the ID token is remembered and ARGV[5] for how long the record is kept, in milliseconds
-- ARGV[6] the token as its lineage lists it, ARGV[7] the Unix second at which its record goes, ARGV[8] now
-- Returns {1 if the token exists now, else 0, or -1 if the store has no marker: it may have forgotten the ID token; then those of the lineage whose records are gone}.
--
-- If it is sent twice, because the connection broke before the answer, both calls return 1, and there is one entry.

if redis.call('EXISTS', VERSION .. ':marker') == 0 then
  return { -1 }
end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[4]) then
  return { redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0 }
end
note(KEYS[3], ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[5])
local gone = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[8], 'LIMIT', 0, 100)
if #gone > 0 then
  redis.call('ZREM', KEYS[4], unpack(gone))
end
redis.call('ZADD', KEYS[4], ARGV[7], ARGV[6])
return { 1, unpack(gone) }
