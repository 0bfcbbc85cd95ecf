-- Returns what an admission would find about tokens, at one instant. Nothing here writes: charging.lua charges only
-- what it may. quotas.lua, charging.lua and tokens.lua come before this.
--
-- KEYS[i]   the record of token i
-- ARGV      for each token: the rule whose quotas are reported, JSON (core/policies/script_rules.py), or ''; the
--           project that the request's path names, or ''; the client's network, for the quotas that count it
-- Returns the time in Unix milliseconds, then for each token {record or '', revoked, restrictions, ...} as
-- admit.lua does, and what charging.lua reports.

local now = clock()

local function look(key, rule, project, network)
  local bucket, id = string.sub(key, 1, BUCKET_LENGTH), string.sub(key, BUCKET_LENGTH + 7)
  local raw, revoked = find(key, bucket, id)
  local reply = { raw, revoked, '' }
  if raw ~= '' then
    local record = read_record(raw, id)
    local parent, owner = read_parent(bucket, record), read_owner(bucket, record, project)
    reply[3] = build_restrictions(owner, parent)
    rule = rule ~= '' and cjson.decode(rule)
    local plan
    if rule and record[RECORD_POLICY] == rule.policy then
      bind_plan(record, owner, rule)
      plan = rule.plans[record[RECORD_PLAN]]
    end
    if plan then
      charge(bucket, record, rule, plan, network, '', false, now, reply)
    end
  end
  return reply
end

local replies = { now }
for i, key in ipairs(KEYS) do
  replies[i + 1] = look(key, ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i])
end
return replies
