-- The quotas of one request, charged together or not at all. quotas.lua stands before this.
--
-- They count against one or several holders: the token's lineage, whose counters are in the token's own bucket, and
-- those that share a counter (core/partitions.py). A quota in shadow is decided on by itself: it is charged where it
-- has room, and refuses nothing.

local OVERRIDE_COUNTER, OVERRIDE_LIMIT, OVERRIDE_CAPACITY, OVERRIDE_UNTIL = 1, 2, 3, 4
local EXACT = 2 ^ 52

local function fits_at(window, quota, cost, now)
  if window.used + cost <= quota[CAPACITY] then
    return now
  end
  return cost > quota[CAPACITY] and now + quota[WINDOW] or window.algorithm.fits_at(window, quota, cost)
end

local function resets_at(window, quota, now)
  if window.used == 0 then
    return now
  end
  return fits_at(window, quota, max(0, quota[CAPACITY] - window.used) + 1, now)
end

-- The quota with a token's own limit; its tick and ticks as in core/quotas.py.
local function override(quota, limit, capacity)
  local tick, product = 1, max(limit, capacity) * quota[WINDOW]
  while product / tick > EXACT do
    tick = tick * 2
  end
  local algorithm = quota[ALGORITHM] or 'fixed-window'
  return { quota[COUNTER], capacity, quota[WINDOW], algorithm, tick, ceil(quota[WINDOW] / tick), limit, quota[SHADOW] }
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

-- The counters of some quotas, worked out once for all requests of a call that have the same terms.
local function counters_of(quotas)
  if not quotas.counters then
    local counters = {}
    for i = 1, #quotas do
      counters[i] = quotas[i][COUNTER]
    end
    quotas.counters = counters
  end
  return quotas.counters
end

-- Reads the quotas of a holder behind those that are there already; gives the key of its hash.
local function read(prefix, holder, quotas, windows, now)
  local number, counters = #windows, counters_of(quotas)
  local key = prefix .. 'quota:' .. holder
  local states = call('HMGET', key, unpack(counters))
  for i = 1, #quotas do
    local quota = quotas[i]
    local algorithm = ALGORITHMS[quota[ALGORITHM]] or fixed
    local own_key = algorithm.kind and table.concat({ prefix, algorithm.kind, holder, ':', counters[i] })
    local window = algorithm.read(quota, states[i], now, own_key)
    window.algorithm = algorithm -- a fixed window has it: a table that grows costs more
    windows[number + i] = window
  end
  return key
end

-- Charges the quotas of a holder, from the first to the last of all.
local function write(key, quotas, windows, first, last, cost, lease, now)
  local changes, count, longest = { nil, nil }, 0, 0 -- with room for one: a table that grows costs more
  for i = first, last do
    local quota, window = quotas[i], windows[i]
    local algorithm = window.algorithm
    if not window.is_full and (cost > 0 or algorithm.takes) then
      local field, needed = algorithm.take(window, quota, cost, now, lease)
      if field then
        changes[count + 1], changes[count + 2] = quota[COUNTER], field
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

-- Reads the quotas that others share behind `all`: gives their hashes' keys, and up to where each goes.
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

-- Appends to `reply`: used and resets_at of each quota, then, where something was not charged, fits_at of each that was
-- not, and false for the others.
local function report(quotas, windows, cost, charged, is_whole, now, reply)
  local number, length = #quotas, #reply
  for i = 1, number do
    local window = windows[i]
    reply[length + 1], reply[length + 2] = window.used, window.resets_at or resets_at(window, quotas[i], now)
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

-- Charges what a request takes from the quotas of a plan, if it `may_charge` and all that are enforced have room; gives
-- whether it did. `record` is nil under a public rule, `lease` is '' where nobody counts what is in flight.
local function charge(bucket, record, terms, plan, address, lease, may_charge, now, reply)
  local own, shared, cost = plan.quotas, plan.shared, terms.cost
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
    keys, ends = read_shared(shared, record, terms.policy, address, quotas, windows, now)
  end
  local has_room, is_whole = true, true
  for i = 1, #windows do
    local quota, window = quotas[i], windows[i]
    if window.used + (window.algorithm.takes or cost) > quota[CAPACITY] then
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
