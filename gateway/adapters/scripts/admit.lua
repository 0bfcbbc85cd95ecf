-- One round trip for the admissions of one event-loop tick. quotas.lua and charging.lua stand before this.
--
-- KEYS[i]   the record of admission i
-- ARGV[1]   the time in Unix milliseconds, or '' for Redis' own clock (tests set it)
-- ARGV[2]   n, the number of different terms
-- ARGV[3..] n terms: what a rule asks and its plans grant, JSON (core/policies/terms.py)
-- then, for each admission: its digest or '' where the rule is public, the number of its terms, its export key or '',
-- the project that its path names or '', the client's network where one is counted or '', its lease or ''
--
-- Returns the time, then for each admission {record or '', revoked, charged, stored head or '', used, resets_at, ...}
-- with what charging.lua reports of the quotas. A refused request charges nothing; an unknown, revoked, disabled or
-- outdated token leaves no trace at all. core/decision.py makes the verdict from this.

local function is_in_use(record, digest, policy, now)
  local not_before, expires_at = record[RECORD_NOT_BEFORE], record[RECORD_EXPIRES_AT]
  return record[RECORD_DIGEST] == digest and record[RECORD_POLICY] == policy and record[RECORD_IS_ACTIVE]
    and not (not_before ~= cjson.null and now < not_before * 1000)
    and not (expires_at ~= cjson.null and now >= expires_at * 1000)
end

local function is_of_project(record, project)
  return record[RECORD_PROJECT] == '' or project == '' or record[RECORD_PROJECT] == project
end

local function holds_scopes(record, needed)
  local held = ' ' .. record[RECORD_SCOPES] .. ' '
  for _, grants in ipairs(needed) do
    local found = false
    for _, scope in ipairs(grants) do
      found = found or string.find(held, ' ' .. scope .. ' ', 1, true)
    end
    if not found then
      return false
    end
  end
  return true
end

local function note_use(bucket, id, resolution, now)
  local seconds = math.floor(now / 1000)
  local last = redis.call('ZSCORE', bucket .. 'last_used', id)
  if not last or seconds - tonumber(last) >= resolution then
    redis.call('ZADD', bucket .. 'last_used', seconds, id)
  end
end

local function stored_head(terms, record, id, export_key)
  local who = 'everybody'
  if terms.shared_by ~= 'public' then
    who = ({ project = record[RECORD_PROJECT], owner = record[RECORD_OWNER], token = id })[terms.shared_by]
  end
  if who == '' then
    return ''
  end
  local key = table.concat({ VERSION, 'export', terms.shared_by, #who, who, export_key }, ':')
  return redis.call('HGET', key, 'head') or ''
end

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local all_terms = {}
for i = 1, tonumber(ARGV[2]) do
  all_terms[i] = cjson.decode(ARGV[2 + i])
end

local replies = { now }
local argument = 2 + #all_terms
for i, key in ipairs(KEYS) do
  local digest, terms = ARGV[argument + 1], all_terms[tonumber(ARGV[argument + 2])]
  local export_key, project = ARGV[argument + 3], ARGV[argument + 4]
  local address, lease = ARGV[argument + 5], ARGV[argument + 6]
  argument = argument + 6
  local bucket, id = string.sub(key, 1, BUCKET_LENGTH), string.sub(key, BUCKET_LENGTH + 7)
  local raw, revoked = '', 0
  if not terms.is_public then
    raw, revoked = redis.call('GET', key) or '', redis.call('SISMEMBER', bucket .. 'revoked', id)
  end
  local reply = { raw, revoked, 0, '' }
  if terms.is_public then
    if charge(bucket, nil, terms, terms.plans[''], address, lease, true, now, reply) then
      reply[3] = 1
      if export_key ~= '' then
        reply[4] = stored_head(terms, nil, id, export_key)
      end
    end
  elseif raw ~= '' and revoked == 0 then
    local record = cjson.decode(raw)
    if is_in_use(record, digest, terms.policy, now) then
      note_use(bucket, id, terms.resolution, now)
      local plan = terms.plans[record[RECORD_PLAN]] or { permits = false, quotas = {} }
      local may_charge = plan.permits and is_of_project(record, project) and holds_scopes(record, terms.needed)
      if charge(bucket, record, terms, plan, address, lease, may_charge, now, reply) then
        reply[3] = 1
        if export_key ~= '' then
          reply[4] = stored_head(terms, record, id, export_key)
        end
      end
    end
  end
  replies[i + 1] = reply
end
return replies
