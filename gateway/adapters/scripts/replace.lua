-- Replaces records of one bucket, or writes new ones, each if no other change came first; a revoked token stays revoked.
-- records.lua comes before this.
--
-- KEYS[1] the revocation set, KEYS[2] the history, then the records
-- ARGV for each record: its id, the old record or '', the new one, the entry of the history or ''
-- Returns for each 1, or 0 if the record is not the old one, or -1 if the token is revoked.
--
-- If it is sent twice, because the connection broke before the answer, both calls return 1, and the history has one
-- entry: the digest of a new record is unique, so an equal record is the same creation.

local function replace(key, id, old, new, entry)
  if redis.call('SISMEMBER', KEYS[1], id) == 1 then
    return -1
  end
  local record = redis.call('GET', key) or ''
  if is_same(record, new) then
    return 1
  end
  if not is_same(record, old) then
    return 0
  end
  note(KEYS[2], entry)
  put(key, record, new)
  return 1
end

local outcomes = {}
for number = 3, #KEYS do
  local first = (number - 3) * 4
  outcomes[number - 2] = replace(KEYS[number], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3], ARGV[first + 4])
end
return outcomes
