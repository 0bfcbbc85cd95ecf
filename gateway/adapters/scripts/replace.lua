-- Puts a record in the place of another, or of none: nothing else can change it in between, and a revoked token
-- stays revoked whatever is written.
--
-- KEYS[1] the record, KEYS[2] the revocation set; ARGV[1] the id, ARGV[2] the old record or '', ARGV[3] the new one
-- Returns 1, or 0 when the record is not the old one, or -1 when the token is revoked.

if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then
  return -1
end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[3])
return 1
