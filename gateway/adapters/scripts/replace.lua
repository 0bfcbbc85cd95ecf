-- Replaces a record, or writes a new one, if no other change came first; a revoked token stays revoked. records.lua
-- comes before this.
--
-- KEYS[1] the record, KEYS[2] the revocation set, KEYS[3] the history
-- ARGV[1] the id, ARGV[2] the old record or '', ARGV[3] the new one, ARGV[4] the entry of the history or ''
-- Returns 1, or 0 if the record is not the old one, or -1 if the token is revoked.
--
-- If it is sent twice, because the connection broke before the answer, both calls return 1, and the history has one
-- entry: the digest of a new record is unique, so an equal record is the same creation.

if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then
  return -1
end
local record = redis.call('GET', KEYS[1]) or ''
if is_same(record, ARGV[3]) then
  return 1
end
if not is_same(record, ARGV[2]) then
  return 0
end
note(KEYS[3], ARGV[4])
put(KEYS[1], record, ARGV[3])
return 1
