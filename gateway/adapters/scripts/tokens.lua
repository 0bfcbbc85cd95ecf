-- The common parts of admit.lua and inspect.lua, which come after this: a token's record, its owner and its parent.

-- Returns the record. A token without a lineage has its own id as the lineage.
local function read_record(raw, id)
  local record = cjson.decode(raw)
  if record[RECORD_LINEAGE] == '' then
    record[RECORD_LINEAGE] = id
  end
  return record
end

-- Returns whether the token is enabled and within its dates.
local function may_act(record, now)
  local not_before, expires_at = record[RECORD_NOT_BEFORE], record[RECORD_EXPIRES_AT]
  return record[RECORD_IS_ACTIVE]
    and not (not_before ~= cjson.null and now < not_before * 1000)
    and not (expires_at ~= cjson.null and now >= expires_at * 1000)
end

-- Returns {status, scopes in the project of the request or false, plan or false} of the owner; nil if there is no
-- record. See standing_in in core/tokens/owners.py.
local function read_owner(bucket, record, project)
  if record[RECORD_OWNER] == '' then
    return nil
  end
  local about = project ~= '' and project or record[RECORD_PROJECT]
  local key = table.concat({ bucket, 'owner:', record[RECORD_POLICY], ':', record[RECORD_OWNER] })
  local found = redis.call('HMGET', key, 'status', 'in:' .. about, 'in:*', 'plan')
  return found[1] and { found[1], found[2] or found[3], found[4] } or nil
end

-- Sets the plan that counts, after read_parent has set the parent's. See plan_of in core/policies/model.py.
local function bind_plan(record, owner, rule)
  local own, owners = record[RECORD_PLAN], owner and owner[3]
  if owners and not (rule.own_plans and own ~= '') then
    record[RECORD_PLAN] = owners
  elseif own == '' then
    record[RECORD_PLAN] = rule.plan
  end
end

-- Returns {record or '', revoked, parsed record} of the parent, or nil, and sets the child's plan and overrides to the
-- parent's. See bound_by in core/tokens/lifecycle.py.
local function read_parent(bucket, record)
  local id = record[RECORD_PARENT] or ''
  if id == '' then
    return nil
  end
  local raw = redis.call('GET', bucket .. 'token:' .. id) or ''
  local revoked = redis.call('SISMEMBER', bucket .. 'revoked', id)
  if raw == '' then
    return { raw, revoked }
  end
  local parent = read_record(raw, id)
  record[RECORD_PLAN], record[RECORD_OVERRIDES] = parent[RECORD_PLAN], parent[RECORD_OVERRIDES]
  return { raw, revoked, parent }
end

-- Returns owner and parent as a reply has them: '' if there is neither.
local function build_restrictions(owner, parent)
  if not owner and not parent then
    return ''
  end
  return {
    owner and owner[1] or '', owner and owner[2] or false, parent and parent[1] or '', parent and parent[2] or 0,
    owner and owner[3] or '',
  }
end

-- Returns whether the store never had a token, or has lost its data: then an unknown token may be valid.
local has_lost_all
local function is_lost()
  if has_lost_all == nil then
    has_lost_all = redis.call('EXISTS', VERSION .. ':marker') == 0
  end
  return has_lost_all
end

-- Returns a token's record or '', and whether it is revoked: 1 or 0, or -1 if the store may have lost that.
local function find(key, bucket, id)
  local raw, revoked = redis.call('GET', key) or '', redis.call('SISMEMBER', bucket .. 'revoked', id)
  return raw, raw == '' and revoked == 0 and is_lost() and -1 or revoked
end
