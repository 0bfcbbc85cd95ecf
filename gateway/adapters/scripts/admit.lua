-- Admits the requests of one event-loop tick in one round trip. It needs quotas.lua, charging.lua and tokens.lua.
--
-- KEYS[i]   the record of admission i; then the key of each lease that is changed before
-- ARGV[1]   the time in Unix milliseconds, or '' for Redis' own clock (tests set it)
-- ARGV[2]   m, the number of leases that are changed
-- ARGV[3]   n, the number of different rules
-- ARGV[4..] n rules, JSON: the scopes that each needs, and what its plans grant (core/policies/script_rules.py)
-- then, for each admission: the digest as records have it, or '' if the rule is public; the number of its rule; its
-- export key or ''; the project that its path names or ''; the client's network, or '' if no quota counts it; its lease
-- or ''
-- then, for each lease that is changed: its name, and for how many milliseconds it is renewed, or 0 if it is released
--
-- Returns the time, then for each admission {record or '', revoked (-1: the store has no marker), charged, heads of
-- stored variants or '', restrictions, ...} with what charging.lua reports of the quotas. Restrictions are '' or
-- {status and scopes of the owner, record of the parent or '', revoked, plan of the owner or ''}. A refused request
-- charges nothing. A token that is unknown, revoked, disabled or outside its dates writes nothing at all, nor does a
-- child of such a token. core/admission/decision.py makes the verdict.

local function is_of_project(record, project, owner)
  if record[RECORD_PROJECT] ~= '' and project ~= '' and record[RECORD_PROJECT] ~= project then
    return false
  end
  return not owner or owner[2] or project == '' and record[RECORD_PROJECT] == ''
end

local function grant(scopes, needed)
  local held = ' ' .. scopes .. ' '
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

-- Returns whether the scopes grant all that is needed. Results are kept for the call: most tokens hold the same scopes.
local function holds_scopes(scopes, needed)
  needed.granted = needed.granted or {}
  if needed.granted[scopes] == nil then
    needed.granted[scopes] = grant(scopes, needed)
  end
  return needed.granted[scopes]
end

-- Returns whether the token, its owner and its parent permit the request, plan and quotas aside.
local function is_permitted(record, owner, parent, project, needed)
  return (not owner or owner[1] == 'active')
    and is_of_project(record, project, owner)
    and holds_scopes(record[RECORD_SCOPES], needed)
    and (not owner or holds_scopes(owner[2] or '', needed))
    and (not parent or holds_scopes(parent[3][RECORD_SCOPES], needed))
end

-- Writes the last use in place: the rest of the record stays, and even with a wrong clock the field is not exceeded.
local function note_use(key, record, resolution, now)
  local seconds = math.min(math.floor(now / 1000), 10 ^ LAST_USE_WIDTH - 1)
  local last = record[RECORD_LAST_USE]
  if last == 0 or seconds - last >= resolution then
    redis.call('SETRANGE', key, LAST_USE_OFFSET, string.format('%' .. LAST_USE_WIDTH .. '.0f', seconds))
  end
end

local heads = {}

-- Returns the heads of all variants that are stored for the URI; core/cache/reuse.py selects one of them. They are read
-- once for all requests of the tick: many builds pull the same at once.
local function stored_heads(rule, record, id, export_key)
  local who = 'everybody'
  if rule.shared_by ~= 'public' then
    who = ({ project = record[RECORD_PROJECT], owner = record[RECORD_OWNER], token = id })[rule.shared_by]
  end
  if who == '' then
    return ''
  end
  local key = table.concat({ VERSION, 'export', rule.shared_by, #who, who, export_key }, ':')
  heads[key] = heads[key] or redis.call('HVALS', key)
  return heads[key]
end

local now = clock(ARGV[1])
local rules = {}
for i = 1, tonumber(ARGV[3]) do
  rules[i] = cjson.decode(ARGV[3 + i])
end

local admissions = #KEYS - tonumber(ARGV[2])
local argument = 3 + #rules + 6 * admissions
for i = admissions + 1, #KEYS do
  local lease, lives = ARGV[argument + 1], tonumber(ARGV[argument + 2])
  if lives > 0 then
    leases.renew(KEYS[i], lease, now, lives)
  else
    leases.release(KEYS[i], lease)
  end
  argument = argument + 2
end

local replies = { now }
argument = 3 + #rules
for i = 1, admissions do
  local key = KEYS[i]
  local digest, rule = ARGV[argument + 1], rules[tonumber(ARGV[argument + 2])]
  local export_key, project = ARGV[argument + 3], ARGV[argument + 4]
  local address, lease = ARGV[argument + 5], ARGV[argument + 6]
  argument = argument + 6
  local bucket, id = string.sub(key, 1, BUCKET_LENGTH), string.sub(key, BUCKET_LENGTH + 7)
  local raw, revoked = '', 0
  if not rule.is_public then
    raw, revoked = find(key, bucket, id)
  end
  local reply = { raw, revoked, 0, '', '' }
  if rule.is_public then
    if charge(bucket, nil, rule, rule.plans[''], address, lease, true, now, reply) then
      reply[3] = 1
      if export_key ~= '' then
        reply[4] = stored_heads(rule, nil, id, export_key)
      end
    end
  elseif raw ~= '' and revoked == 0 then
    local record = read_record(raw, id)
    local is_known = record[RECORD_DIGEST] == digest and record[RECORD_POLICY] == rule.policy
    local parent = is_known and read_parent(bucket, record)
    local owner = is_known and read_owner(bucket, record, project)
    reply[5] = build_restrictions(owner, parent)
    local has_parent = not parent or parent[3] and parent[2] == 0 and may_act(parent[3], now)
    if is_known and has_parent and may_act(record, now) then
      note_use(key, record, rule.resolution, now)
      bind_plan(record, owner, rule)
      local plan = rule.plans[record[RECORD_PLAN]] or { permits = false, quotas = {} }
      local may_charge = plan.permits and is_permitted(record, owner, parent, project, rule.needed)
      if charge(bucket, record, rule, plan, address, lease, may_charge, now, reply) then
        reply[3] = 1
        if export_key ~= '' then
          reply[4] = stored_heads(rule, record, id, export_key)
        end
      end
    end
  end
  replies[i + 1] = reply
end
return replies
