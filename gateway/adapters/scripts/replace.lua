-- Puts a record in the place of another, or of none: nothing else can change it in between, and a revoked token
-- stays revoked whatever is written. records.lua stands before this.
--
-- KEYS[1] the record, KEYS[2] the revocation set, KEYS[3] the history
-- ARGV[1] the id, ARGV[2] the old record or '', ARGV[3] the new one, ARGV[4] the entry of the history or ''
-- Returns 1, or 0 when the record is not the old one, or -1 when the token is revoked.
--
-- Sent twice, because the connection went before the answer came, a change or a creation is noted once and says 1
-- twice: a new record holds a digest that nobody else has drawn, so the same record is the same creation.

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
