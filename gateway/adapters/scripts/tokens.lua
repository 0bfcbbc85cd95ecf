-- What is alike in admit.lua and inspect.lua, which stand after this: a token's record, and those that bound it.

-- The record with what it leaves out: a lineage of one is named by the token itself.
local function read_record(raw, id)
  local record = cjson.decode(raw)
  if record[RECORD_LINEAGE] == '' then
    record[RECORD_LINEAGE] = id
  end
  return record
end

-- Whether it is enabled and within its dates.
local function may_act(record, now)
  local not_before, expires_at = record[RECORD_NOT_BEFORE], record[RECORD_EXPIRES_AT]
  return record[RECORD_IS_ACTIVE]
    and not (not_before ~= cjson.null and now < not_before * 1000)
    and not (expires_at ~= cjson.null and now >= expires_at * 1000)
end

-- {status, scopes in the project that the request is about, or false, plan or false}; nil where nothing is known of an owner.
-- core/tokens/owners.py: standing_in.
local function read_owner(bucket, record, project)
  if record[RECORD_OWNER] == '' then
    return nil
  end
  local about = project ~= '' and project or record[RECORD_PROJECT]
  local key = table.concat({ bucket, 'owner:', record[RECORD_POLICY], ':', record[RECORD_OWNER] })
  local found = redis.call('HMGET', key, 'status', 'in:' .. about, 'in:*', 'plan')
  return found[1] and { found[1], found[2] or found[3], found[4] } or nil
end

-- Gives the record the plan that counts, after its parent's was read. core/policies/model.py: plan_of.
local function bind_plan(record, owner, rule)
  local own, owners = record[RECORD_PLAN], owner and owner[3]
  if owners and not (rule.own_plans and own ~= '') then
    record[RECORD_PLAN] = owners
  elseif own == '' then
    record[RECORD_PLAN] = rule.plan
  end
end

-- {record or '', revoked}; nil where the token is no child, which is then bound by it. core/tokens/lifecycle.py: bound_by.
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

-- What a reply tells of owner and parent: '' where there is nothing to tell.
local function build_restrictions(owner, parent)
  if not owner and not parent then
    return ''
  end
  return {
    owner and owner[1] or '', owner and owner[2] or false, parent and parent[1] or '', parent and parent[2] or 0,
    owner and owner[3] or '',
  }
end

-- Whether the store has never held a token, or has lost what it held: then an unknown token may be a good one.
local has_lost_all
local function is_lost()
  if has_lost_all == nil then
    has_lost_all = redis.call('EXISTS', VERSION .. ':marker') == 0
  end
  return has_lost_all
end

-- A token's record or '', and whether it is revoked: 1 or 0, or -1 where that may have been lost with the record.
local function find(key, bucket, id)
  local raw, revoked = redis.call('GET', key) or '', redis.call('SISMEMBER', bucket .. 'revoked', id)
  return raw, raw == '' and revoked == 0 and is_lost() and -1 or revoked
end
