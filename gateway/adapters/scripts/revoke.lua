-- Revokes tokens of one bucket, and with each its whole lineage if that is requested, at one instant: successors that
-- were written before are found by the records, and none can be written afterwards.
--
-- KEYS[1] the bucket's revocation set, KEYS[2] its history
-- ARGV[1] 'alone' for the tokens without their lineage; 'project' or 'owner' if they must be bound to one; or ''
-- ARGV[2] the policy of that project or owner, ARGV[3] its id; ARGV[4] the entry of the history for each of them, or ''
-- ARGV[5..] ids; those without a record are skipped, but with 'alone' they are revoked too
-- Returns the ids that were not revoked before.

local bucket = string.sub(KEYS[1], 1, BUCKET_LENGTH)
local position = ({ project = RECORD_PROJECT, owner = RECORD_OWNER })[ARGV[1]]
local is_alone = ARGV[1] == 'alone'
local revoked, seen = {}, { [''] = true }

local function is_meant(record)
  return not position or record[RECORD_POLICY] == ARGV[2] and record[position] == ARGV[3]
end

-- Returns the entry with the names of the token.
local function complete(id, record)
  if ARGV[4] == '' then
    return ''
  end
  local entry = cjson.decode(ARGV[4])
  entry.target, entry.policy, entry.name = id, record[RECORD_POLICY], record[RECORD_NAME]
  entry.project, entry.owner = record[RECORD_PROJECT], record[RECORD_OWNER]
  return cjson.encode(entry)
end

local function revoke(id, record)
  if redis.call('SISMEMBER', KEYS[1], id) == 0 then
    note(KEYS[2], complete(id, record))
    redis.call('SADD', KEYS[1], id)
    revoked[#revoked + 1] = id
  end
end

local pending = {}
for i = 5, #ARGV do
  pending[i - 4] = ARGV[i]
end
while #pending > 0 do
  local id = table.remove(pending)
  local raw = not seen[id] and redis.call('GET', bucket .. 'token:' .. id)
  local record = raw and cjson.decode(raw)
  if is_alone and not seen[id] then
    revoke(id, record or {})
  elseif record and is_meant(record) then
    revoke(id, record)
    pending[#pending + 1] = record[RECORD_PREDECESSOR] or ''
    pending[#pending + 1] = record[RECORD_SUCCESSOR] or ''
  end
  seen[id] = true
end
return revoked
