-- Writes a changed record and its new successor together, or neither. Both are in one lineage, so in one slot.
-- records.lua comes before this.
--
-- KEYS[1] the record, KEYS[2] the successor's, KEYS[3] the revocation set, KEYS[4] the history
-- ARGV[1] the id, ARGV[2] the old record, ARGV[3] the new one, ARGV[4] the successor's id, ARGV[5] its record,
-- ARGV[6] the entry of the history or ''
-- Returns 1, or 0 if the record is not the old one, or -1 if the token is revoked, or -2 if the successor exists
-- already or is revoked.
--
-- If it is sent twice, because the connection broke before the answer, both calls return 1: the digest of the
-- successor's record is unique.

local record, successor = redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or ''
if is_same(record, ARGV[3]) and is_same(successor, ARGV[5]) then
  return 1
end
if redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 1 then
  return -1
end
if not is_same(record, ARGV[2]) then
  return 0
end
if successor ~= '' or redis.call('SISMEMBER', KEYS[3], ARGV[4]) == 1 then
  return -2
end
note(KEYS[4], ARGV[6])
put(KEYS[1], record, ARGV[3])
put(KEYS[2], '', ARGV[5])
return 1
