-- One round trip for the admissions of one event-loop tick.
--
-- KEYS[i]   the record of admission i
-- ARGV[1]   the time in Unix milliseconds, or '' for Redis' own clock (tests set it)
-- ARGV[2]   n, the number of different terms
-- ARGV[3..] n terms: what a rule asks and its plans grant, JSON (core/policies/compiling.py)
-- then, for each admission: its digest, the number of its terms, its export key or ''
--
-- Returns the time, then for each admission {record or '', revoked, charged, stored head or '', used, resets_at, ...}
-- with a pair for each quota of the token's plan. A refused request charges nothing; an unknown, revoked, disabled or
-- outdated token leaves no trace at all. core/decision.py makes the verdict from this.

local function parse_window(state, now)
  if state then
    local resets_at, used = string.match(state, '^(%d+):(%d+)$')
    if resets_at and tonumber(resets_at) > now then
      return tonumber(resets_at), tonumber(used), false
    end
  end
  return nil, 0, true
end

local function is_in_use(record, digest, policy, now)
  local not_before, expires_at = record[RECORD_NOT_BEFORE], record[RECORD_EXPIRES_AT]
  return record[RECORD_DIGEST] == digest and record[RECORD_POLICY] == policy and record[RECORD_IS_ACTIVE]
    and not (not_before ~= cjson.null and now < not_before * 1000)
    and not (expires_at ~= cjson.null and now >= expires_at * 1000)
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

-- Fixed windows: all quotas are charged or none. Appends used and resets_at of each to `reply`.
local function charge(key, quotas, cost, may_charge, now, reply)
  if #quotas == 0 then
    return may_charge
  end
  local counters = {}
  for i, quota in ipairs(quotas) do
    counters[i] = quota[1]
  end
  local states = redis.call('HMGET', key, unpack(counters))
  local windows, has_room = {}, true
  for i, quota in ipairs(quotas) do
    local resets_at, used, is_new = parse_window(states[i], now)
    windows[i] = { resets_at or now + quota[3], used, is_new }
    has_room = has_room and used + cost <= quota[2]
  end
  local charged = may_charge and has_room
  local changes, longest = {}, 0
  for i, window in ipairs(windows) do
    if charged then
      window[2] = window[2] + cost
      changes[#changes + 1] = counters[i]
      changes[#changes + 1] = string.format('%.0f:%.0f', window[1], window[2])
      if window[3] then
        longest = math.max(longest, quotas[i][3])
      end
    end
    reply[#reply + 1] = window[2]
    reply[#reply + 1] = window[1]
  end
  if charged then
    redis.call('HSET', key, unpack(changes))
    if longest > 0 and redis.call('PTTL', key) < longest then
      redis.call('PEXPIRE', key, longest)
    end
  end
  return charged
end

local function stored_head(terms, record, id, export_key)
  local who = ({ project = record[RECORD_PROJECT], owner = record[RECORD_OWNER], token = id })[terms.shared_by]
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
  local digest, terms, export_key = ARGV[argument + 1], all_terms[tonumber(ARGV[argument + 2])], ARGV[argument + 3]
  argument = argument + 3
  local bucket, id = string.sub(key, 1, BUCKET_LENGTH), string.sub(key, BUCKET_LENGTH + 7)
  local raw = redis.call('GET', key) or ''
  local revoked = redis.call('SISMEMBER', bucket .. 'revoked', id)
  local reply = { raw, revoked, 0, '' }
  if raw ~= '' and revoked == 0 then
    local record = cjson.decode(raw)
    if is_in_use(record, digest, terms.policy, now) then
      note_use(bucket, id, terms.resolution, now)
      local plan = terms.plans[record[RECORD_PLAN]] or { permits = false, quotas = {} }
      local may_charge = plan.permits and holds_scopes(record, terms.needed)
      local quota_key = bucket .. 'quota:' .. record[RECORD_LINEAGE]
      if charge(quota_key, plan.quotas, terms.cost, may_charge, now, reply) then
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
