-- Puts a changed record and its new successor there together, or neither. Both are of one lineage, so of one slot.
-- records.lua stands before this.
--
-- KEYS[1] the record, KEYS[2] the successor's, KEYS[3] the revocation set, KEYS[4] the history
-- ARGV[1] the id, ARGV[2] the old record, ARGV[3] the new one, ARGV[4] the successor's id, ARGV[5] its record,
-- ARGV[6] the entry of the history or ''
-- Returns 1, or 0 when the record is not the old one, or -1 when the token is revoked, or -2 when the successor is
-- there already or revoked.
--
-- Sent twice, because the connection went before the answer came, it says 1 twice: the successor's record holds a
-- digest that nobody else has drawn.

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
