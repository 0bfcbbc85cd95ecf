-- What an admission would find of a token, at one instant and without a trace: nothing here writes. quotas.lua
-- and charging.lua stand before this, and charge nothing that may not be charged.
--
-- KEYS[1]   the record
-- ARGV[1]   the terms of the rule that its quotas are looked at for, JSON (core/policies/terms.py), or ''
-- ARGV[2]   the client's network, for the quotas that count it
-- Returns the time in Unix milliseconds, the record or '', whether it is revoked, then what charging.lua reports.

local bucket, id = string.sub(KEYS[1], 1, BUCKET_LENGTH), string.sub(KEYS[1], BUCKET_LENGTH + 7)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local raw = redis.call('GET', KEYS[1]) or ''
local reply = { now, raw, redis.call('SISMEMBER', bucket .. 'revoked', id) }
if raw ~= '' and ARGV[1] ~= '' then
  local record, terms = cjson.decode(raw), cjson.decode(ARGV[1])
  local plan = record[RECORD_POLICY] == terms.policy and terms.plans[record[RECORD_PLAN]]
  if plan then
    charge(bucket, record, terms, plan, ARGV[2], '', false, now, reply)
  end
end
return reply
