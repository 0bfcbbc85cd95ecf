-- Revokes tokens of one bucket, and with each the whole of its lineage, at one instant: a successor that was written
-- before is found by the records, and none can be written after.
--
-- KEYS[1] the bucket's revocation set
-- ARGV[1] 'project' or 'owner' that the tokens must be bound to, or '' for none, ARGV[2] of this policy, ARGV[3] its id
-- ARGV[4..] ids; those without a record are none of our tokens
-- Returns the ids that were not revoked before.

local bucket = string.sub(KEYS[1], 1, BUCKET_LENGTH)
local position = ({ project = RECORD_PROJECT, owner = RECORD_OWNER })[ARGV[1]]
local revoked, seen = {}, { [''] = true }

local function is_meant(record)
  return not position or record[RECORD_POLICY] == ARGV[2] and record[position] == ARGV[3]
end

local pending = {}
for i = 4, #ARGV do
  pending[i - 3] = ARGV[i]
end
while #pending > 0 do
  local id = table.remove(pending)
  local raw = not seen[id] and redis.call('GET', bucket .. 'token:' .. id)
  seen[id] = true
  local record = raw and cjson.decode(raw)
  if record and is_meant(record) then
    if redis.call('SADD', KEYS[1], id) == 1 then
      revoked[#revoked + 1] = id
    end
    pending[#pending + 1] = record[RECORD_PREDECESSOR] or ''
    pending[#pending + 1] = record[RECORD_SUCCESSOR] or ''
  end
end
return revoked
