-- What an admission would find of a token, at one instant and without a trace: nothing here writes. quotas.lua and
-- charging.lua, which charge nothing that may not be charged, and tokens.lua stand before this.
--
-- KEYS[1]   the record
-- ARGV[1]   the terms of the rule that its quotas are looked at for, JSON (core/policies/terms.py), or ''
-- ARGV[2]   the project that the request's path names, or ''
-- ARGV[3]   the client's network, for the quotas that count it
-- Returns the time in Unix milliseconds, the record or '', whether it is revoked, its kin as admit.lua tells them, then
-- what charging.lua reports.

local bucket, id = string.sub(KEYS[1], 1, BUCKET_LENGTH), string.sub(KEYS[1], BUCKET_LENGTH + 7)
local now = clock()
local raw = redis.call('GET', KEYS[1]) or ''
local reply = { now, raw, redis.call('SISMEMBER', bucket .. 'revoked', id), '' }
if raw ~= '' then
  local record = read_record(raw, id)
  local parent, owner = read_parent(bucket, record), read_owner(bucket, record, ARGV[2])
  reply[4] = tell_kin(owner, parent)
  local terms = ARGV[1] ~= '' and cjson.decode(ARGV[1])
  local plan = terms and record[RECORD_POLICY] == terms.policy and terms.plans[record[RECORD_PLAN]]
  if plan then
    charge(bucket, record, terms, plan, ARGV[3], '', false, now, reply)
  end
end
return reply
