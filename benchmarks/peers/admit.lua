-- The admission of all peers in one call of Redis: record, revocation and one fixed window.
-- KEYS: the token's record, the revoked digests, the start of its counter's name. ARGV: the digest, Unix seconds.
-- Returns nothing for an unknown token, else owner, scopes, expiry, limit, window, 1 if revoked, units used.
local record = redis.call('HMGET', KEYS[1], 'owner', 'scopes', 'expires_at', 'limit', 'window')
if not record[1] then
  return {}
end
record[6] = redis.call('SISMEMBER', KEYS[2], ARGV[1])
record[7] = 0
if record[6] == 0 then
  local window = tonumber(record[5])
  local counter = KEYS[3] .. math.floor(tonumber(ARGV[2]) / window)
  record[7] = redis.call('INCR', counter)
  if record[7] == 1 then
    redis.call('EXPIRE', counter, window)
  end
end
return record
