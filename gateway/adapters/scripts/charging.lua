-- Charges the quotas of one request together, or none of them. quotas.lua comes before this.
--
-- They count against one or several holders: the token's lineage, whose counters are in the token's own bucket, and the
-- holders of shared counters (core/quotas/partitions.py). A quota in shadow is charged if it has room, and never
-- refuses a request.

local OVERRIDE_COUNTER, OVERRIDE_LIMIT, OVERRIDE_CAPACITY, OVERRIDE_UNTIL = 1, 2, 3, 4
local EXACT = 2 ^ 52

local function own_fits_at(window, quota, cost, now)
  if window.used + cost <= quota[CAPACITY] then
    return now
  end
  return cost > quota[CAPACITY] and now + quota[WINDOW] or window.algorithm.fits_at(window, quota, cost)
end

-- Returns when the cost fits. Units that other algorithms have counted are assumed to end together, at the latest time.
local function fits_at(window, quota, cost, now)
  local own = own_fits_at(window, quota, cost, now)
  if window.elsewhere and window.used + window.elsewhere + cost > quota[CAPACITY] then
    return max(own, window.elsewhere_until)
  end
  return own
end

local function resets_at(window, quota, now)
  local own = window.resets_at or now
  if not window.resets_at and window.used > 0 then
    own = own_fits_at(window, quota, max(0, quota[CAPACITY] - window.used) + 1, now)
  end
  return window.elsewhere and max(own, window.elsewhere_until) or own
end

-- Returns the quota with another limit, and another algorithm if one is given; tick and ticks as in
-- core/quotas/model.py.
local function override(quota, limit, capacity, algorithm)
  local tick, product = 1, max(limit, capacity) * quota[WINDOW]
  while product / tick > EXACT do
    tick = tick * 2
  end
  algorithm = algorithm or quota[ALGORITHM] or 'fixed-window'
  local ticks, field = ceil(quota[WINDOW] / tick), quota[FIELD] or quota[COUNTER]
  return { quota[COUNTER], capacity, quota[WINDOW], algorithm, tick, ticks, limit, field, quota[SHADOW] }
end

local function effective(quotas, overrides, now)
  local limits, found = {}, {}
  for i = 1, #overrides do
    local one = overrides[i]
    if now < one[OVERRIDE_UNTIL] * 1000 then
      limits[one[OVERRIDE_COUNTER]] = one
    end
  end
  for i = 1, #quotas do
    local one = limits[quotas[i][COUNTER]]
    found[i] = one and override(quotas[i], one[OVERRIDE_LIMIT], one[OVERRIDE_CAPACITY]) or quotas[i]
  end
  return found
end

-- Returns the fields of some quotas, computed once for all requests of a call with the same rule.
local function fields_of(quotas)
  if not quotas.fields then
    local fields = {}
    for i = 1, #quotas do
      fields[i] = quotas[i][FIELD] or quotas[i][COUNTER]
    end
    quotas.fields = fields
  end
  return quotas.fields
end

-- Adds to a window the units that other algorithms have counted for the same limit, and keeps their parts while they
-- count. Processes load a changed policy file at different times: together they still stay within the limit.
local function add_others(window, quota, others, prefix, holder, now)
  local limit, kept = quota[LIMIT] or quota[CAPACITY], {}
  for mark, state in string.gmatch(others, '(%a?)(%S+)') do
    local name, algorithm = find_marked(mark)
    local log
    if algorithm and algorithm.kind then
      local of, suffix = match(quota[FIELD] or quota[COUNTER], '^([^:]+:%d+)(.*)$')
      log = table.concat({ prefix, algorithm.kind, holder, ':', of, ':', name, suffix })
    end
    if not algorithm then
      kept[#kept + 1] = mark .. state
    elseif limit > 0 and (not log or tonumber(state) > now) then
      local same = override(quota, limit, quota[CAPACITY], name)
      local found = algorithm.read(same, state, now, log)
      if found.used > 0 then
        window.elsewhere = (window.elsewhere or 0) + found.used
        window.elsewhere_until = max(window.elsewhere_until or 0, algorithm.ends_at(found, same))
      end
      if found.used > 0 or log then
        kept[#kept + 1] = mark .. state
      end
    end
  end
  window.others = #kept > 0 and table.concat(kept, ' ') or nil
end

-- Reads the quotas of a holder and appends their windows; returns the key of its hash.
local function read(prefix, holder, quotas, windows, now)
  local number = #windows
  local key = prefix .. 'quota:' .. holder
  local fields = call('HMGET', key, unpack(fields_of(quotas)))
  for i = 1, #quotas do
    local quota, state, others = quotas[i], fields[i], nil
    local algorithm = algorithm_of(quota)
    if state then
      state, others = split(state, algorithm.mark)
    end
    local own_key = algorithm.kind and table.concat({ prefix, algorithm.kind, holder, ':', quota[COUNTER] })
    local window = algorithm.read(quota, state, now, own_key)
    window.algorithm = algorithm -- fixed windows have it already, as adding a field costs more
    if others then
      add_others(window, quota, others, prefix, holder, now)
    end
    windows[number + i] = window
  end
  return key
end

-- Charges the quotas of a holder, which are those from `first` to `last`.
local function write(key, quotas, windows, first, last, cost, lease, now)
  local changes, count, longest = { nil, nil }, 0, 0 -- allocated for one quota, as growing a table costs more
  for i = first, last do
    local quota, window = quotas[i], windows[i]
    local algorithm = window.algorithm
    if not window.is_full and (cost > 0 or algorithm.takes) then
      local field, needed = algorithm.take(window, quota, cost, now, lease)
      if field then
        changes[count + 1] = quota[FIELD] or quota[COUNTER]
        changes[count + 2] = join(algorithm.mark, field, window.others)
        count = count + 2
      end
      if needed and needed > longest then
        longest = needed
      end
    end
  end
  if count > 0 then
    call('HSET', key, unpack(changes, 1, count))
    if longest > 0 and call('PTTL', key) < longest then
      call('PEXPIRE', key, longest)
    end
  end
end

-- Reads the shared quotas and appends them to `all`; returns the keys of their hashes, and the last index of each.
local function read_shared(shared, record, policy, address, all, windows, now)
  local keys, ends = {}, {}
  for i = 1, #shared do
    local per, quotas = shared[i][1], shared[i][2]
    local who = address
    if per == 'plan' then
      who = record[RECORD_PLAN]
    elseif per ~= 'address' then
      who = record[per == 'owner' and RECORD_OWNER or RECORD_PROJECT]
    end
    local holder = table.concat({ per, #who, policy, who }, ':')
    keys[i] = read(VERSION .. ':', holder, quotas, windows, now)
    for j = 1, #quotas do
      all[#all + 1] = quotas[j]
    end
    ends[i] = #all
  end
  return keys, ends
end

-- Appends used and resets_at of each quota to `reply`. If a quota was not charged, appends fits_at for each that was
-- not, and false for the others.
local function report(quotas, windows, cost, charged, is_whole, now, reply)
  local number, length = #quotas, #reply
  for i = 1, number do
    local window = windows[i]
    reply[length + 1] = window.used + (window.elsewhere or 0)
    reply[length + 2] = not window.elsewhere and window.resets_at or resets_at(window, quotas[i], now)
    length = length + 2
  end
  if not is_whole then
    for i = 1, number do
      local window = windows[i]
      reply[length + i] = (not charged or window.is_full or false)
        and fits_at(window, quotas[i], window.algorithm.takes or cost, now)
    end
  end
end

-- Charges a request to the quotas of a plan, if it `may_charge` and all enforced ones have room; returns whether it
-- did. `record` is nil under a public rule; `lease` is '' if no quota counts requests in flight.
local function charge(bucket, record, rule, plan, address, lease, may_charge, now, reply)
  local own, shared, cost = plan.quotas, plan.shared, rule.cost
  if #own == 0 and not shared then
    return may_charge
  end
  local windows, key, keys, ends = {}, nil, nil, nil
  if #own > 0 then
    local overrides = record[RECORD_OVERRIDES]
    own = overrides and #overrides > 0 and effective(own, overrides, now) or own
    key = read(bucket, record[RECORD_LINEAGE], own, windows, now)
  end
  local quotas = own
  if shared then
    quotas = { unpack(own) }
    keys, ends = read_shared(shared, record, rule.policy, address, quotas, windows, now)
  end
  local has_room, is_whole = true, true
  for i = 1, #windows do
    local quota, window = quotas[i], windows[i]
    if window.used + (window.elsewhere or 0) + (window.algorithm.takes or cost) > quota[CAPACITY] then
      window.is_full, is_whole = true, false
      has_room = has_room and quota[SHADOW] or false
    end
  end
  local charged = may_charge and has_room
  if charged and (cost > 0 or lease ~= '') then
    local number = #own
    if key then
      write(key, quotas, windows, 1, number, cost, lease, now)
    end
    for i = 1, shared and #shared or 0 do
      write(keys[i], quotas, windows, number + 1, ends[i], cost, lease, now)
      number = ends[i]
    end
  end
  report(quotas, windows, cost, charged, is_whole and charged, now, reply)
  return charged
end
