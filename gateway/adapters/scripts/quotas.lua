-- The algorithms of quotas. core/quotas/algorithms.py is their reference model: it has the table of them, and says what
-- each counts.
--
-- All numbers are whole and below 2^53, so doubles hold them exactly, and a quotient of two of them rounds to the same
-- whole number as in Python. With longs of 64 bits, %d writes them exactly, at half the cost of %.0f.
--
-- A quota is {counter, capacity, window, algorithm, tick, ticks, limit, field, is in shadow}, see
-- core/policies/script_rules.py; a fixed window that is enforced has the first three only, and its counter is its
-- field. The state is in a field of a hash, or under a key of its own, whose name has the `kind`; then the field has
-- the expiry of that key. All algorithms that count the same limit, as while a changed policy file is rolled out, share
-- the field: each has its part there, after its mark. The functions of an algorithm:
--   read       reads the state and returns it, with its units as `used`
--   take       charges units; returns the new field, and the milliseconds that the hash is needed if it might expire
--              before
--   fits_at    returns when units that have no room now will fit, if they are at most the capacity
--   ends_at    returns when the counted units will all be gone, if nothing is charged
--   refund     gives units of an earlier charge back, and leaves no more room than without that charge; returns the new
--              field if that must be written
-- A concurrency limit takes one unit whatever the cost; instead of a refund, its leases are renewed and released.

local COUNTER, CAPACITY, WINDOW, ALGORITHM, TICK, TICKS, LIMIT, FIELD, SHADOW = 1, 2, 3, 4, 5, 6, 7, 8, 9
local MAXIMUM_LATER = 1000 -- newer entries of a moving window that a refund rewrites
local RETRY = 1000 -- milliseconds until a request that found too many in flight may retry
local floor, ceil, min, max, match, format = math.floor, math.ceil, math.min, math.max, string.match, string.format
local call, tonumber, unpack, find_text, byte = redis.call, tonumber, unpack, string.find, string.byte
local NINE = byte('9')

local ALGORITHMS = {
  ['fixed-window'] = { mark = '' },
  ['sliding-window-counter'] = { mark = 's' },
  ['moving-window'] = { mark = 'm', kind = 'log:' },
  ['token-bucket'] = { mark = 'b' },
  ['concurrent'] = { mark = 'l', kind = 'leases:', takes = 1 },
}

-- Returns the algorithm of a quota. An unknown one raises an error: nothing is admitted, and nothing is charged.
local function algorithm_of(quota)
  local algorithm = ALGORITHMS[quota[ALGORITHM] or 'fixed-window']
  return algorithm or error('unknown quota algorithm ' .. tostring(quota[ALGORITHM]), 0)
end

-- Returns name and algorithm of a mark, or nil: another version of the gateway may have more. It is rarely called.
local function find_marked(mark)
  for name, algorithm in pairs(ALGORITHMS) do
    if algorithm.mark == mark and not algorithm.takes then
      return name, algorithm
    end
  end
end

-- Returns an algorithm's part of a field, or nil, and the other parts, or nil: nearly always there is one part.
local function split(field, mark)
  local is_one = not find_text(field, ' ', 1, true)
  if is_one and mark == '' and byte(field) <= NINE then
    return field
  end
  if is_one and mark ~= '' and byte(field) == byte(mark) then
    return string.sub(field, 2)
  end
  local own, others = nil, {}
  for of, state in string.gmatch(field, '(%a?)(%S+)') do
    if of == mark then
      own = state
    else
      others[#others + 1] = of .. state
    end
  end
  return own, #others > 0 and table.concat(others, ' ') or nil
end

local function join(mark, state, others)
  if others then
    return mark .. state .. ' ' .. others
  end
  return mark == '' and state or mark .. state
end

local fixed = ALGORITHMS['fixed-window']

function fixed.read(quota, state, now)
  if state then
    local resets_at, used = match(state, '^(%d+):(%d+)$')
    local at = resets_at and tonumber(resets_at)
    if at and at > now then
      return { used = tonumber(used), resets_at = at, algorithm = fixed }
    end
  end
  return { used = 0, resets_at = now + quota[WINDOW], is_new = true, algorithm = fixed }
end

function fixed.take(window, quota, cost)
  window.used = window.used + cost
  return format('%d:%d', window.resets_at, window.used), window.is_new and quota[WINDOW]
end

function fixed.fits_at(window)
  return window.resets_at
end

function fixed.ends_at(window)
  return window.resets_at
end

function fixed.refund(quota, state, units, charged_at, now)
  local window = fixed.read(quota, state, now)
  if not window.is_new and window.resets_at - quota[WINDOW] <= charged_at then
    return format('%d:%d', window.resets_at, max(0, window.used - units))
  end
end

-- field: start of the window:units of the previous window:units
local sliding = ALGORITHMS['sliding-window-counter']

function sliding.read(quota, state, now)
  local length = quota[WINDOW]
  local window = { start = now - now % length, before = 0, current = 0, is_new = true }
  local start, before, current = match(state or '', '^(%d+):(%d+):(%d+)$')
  if start and tonumber(start) >= window.start then
    window = { start = tonumber(start), before = tonumber(before), current = tonumber(current) }
  elseif start and tonumber(start) + length == window.start then
    window.before = tonumber(current)
  end
  local left = min(ceil((window.start + length - now) / quota[TICK]), quota[TICKS])
  window.used = floor(min(window.before, quota[LIMIT]) * left / quota[TICKS]) + window.current
  return window
end

function sliding.take(window, quota, cost)
  window.used = window.used + cost
  window.current = window.current + cost
  local field = format('%d:%d:%d', window.start, window.before, window.current)
  return field, window.is_new and 2 * quota[WINDOW]
end

function sliding.fits_at(window, quota, cost)
  local units, ends = min(window.before, quota[LIMIT]), window.start + quota[WINDOW]
  local room = quota[LIMIT] - cost - window.current
  if room < 0 then -- it fits only in the next window, for which the units of this one count as previous
    units, ends, room = max(1, min(window.current, quota[LIMIT])), ends + quota[WINDOW], quota[LIMIT] - cost
  end
  local left = min(ceil((room + 1) * quota[TICKS] / units) - 1, quota[TICKS])
  return max(ends - left * quota[TICK], ends - quota[WINDOW])
end

function sliding.ends_at(window, quota)
  return window.start + 2 * quota[WINDOW]
end

function sliding.refund(quota, state, units, charged_at, now)
  local window = sliding.read(quota, state, now)
  local start = charged_at - charged_at % quota[WINDOW]
  if start == window.start then
    window.current = max(0, window.current - units)
  elseif start + quota[WINDOW] == window.start then
    window.before = max(0, window.before - units)
  else
    return
  end
  return format('%d:%d:%d', window.start, window.before, window.current)
end

-- field: expiry of the list that has the state. Its entries: time:units:sum of units up to and including this one.
local moving = ALGORITHMS['moving-window']

local function log_entry(log, index)
  local at, units, total = match(call('LINDEX', log, index) or '', '^(%d+):(%d+):(%d+)$')
  return at and { at = tonumber(at), units = tonumber(units), total = tonumber(total) }
end

-- Returns the first entry whose `name` is at least `least`, and its index. The newest one is. It
-- looks at the oldest ones first.
local function first_entry(log, name, least)
  local low, high, found = -1, 0, log_entry(log, 0)
  while found and found[name] < least do
    low, high = high, 2 * high + 1
    found = log_entry(log, high)
  end
  while high - low > 1 do
    local middle = floor((low + high) / 2)
    local entry = log_entry(log, middle)
    if entry and entry[name] < least then
      low = middle
    else
      high, found = middle, entry
    end
  end
  return found, high
end

function moving.read(quota, _, now, log)
  local window = { log = log, used = 0, newest = log_entry(log, -1) }
  if window.newest and window.newest.at > now - quota[WINDOW] then
    window.oldest, window.gone = first_entry(log, 'at', now - quota[WINDOW] + 1)
    window.base = window.oldest.total - window.oldest.units
    window.used = window.newest.total - window.base
  end
  return window
end

function moving.take(window, quota, cost, now)
  local log, newest, length = window.log, window.newest, quota[WINDOW]
  window.used = window.used + cost
  if not window.oldest then
    if newest then
      call('DEL', log)
    end
    newest, window.base = { at = -length, units = 0, total = 0 }, 0
  elseif window.gone > 0 then
    call('LTRIM', log, window.gone, -1)
  end
  local at, total = max(now, newest.at), newest.total + cost
  if at == newest.at then
    newest.units, newest.total = newest.units + cost, total
    call('LSET', log, -1, format('%d:%d:%d', at, newest.units, total))
  else
    call('RPUSH', log, format('%d:%d:%d', at, cost, total))
  end
  window.oldest = window.oldest or { at = at, units = cost, total = total }
  if floor(at / length) ~= floor(newest.at / length) then -- once in each window: for it and the next one
    call('PEXPIRE', log, 2 * length)
    return format('%d', at + 2 * length), 2 * length -- the expiry of the list
  end
end

function moving.ends_at(window, quota)
  return window.newest and window.newest.at + quota[WINDOW] or 0
end

function moving.fits_at(window, quota, cost)
  local least = window.base + window.used + cost - quota[LIMIT]
  local entry = window.oldest.total >= least and window.oldest or first_entry(window.log, 'total', least)
  return entry.at + quota[WINDOW]
end

function moving.refund(quota, _, units, charged_at, now, log)
  local index, later = -1, {}
  local entry = log_entry(log, index)
  while entry and entry.at > charged_at and #later < MAXIMUM_LATER do
    later[#later + 1], index = entry, index - 1
    entry = log_entry(log, index)
  end
  if not entry or entry.at ~= charged_at or charged_at <= now - quota[WINDOW] then
    return
  end
  local given = min(units, entry.units)
  call('LSET', log, index, format('%d:%d:%d', entry.at, entry.units - given, entry.total - given))
  for i = 1, #later do
    call('LSET', log, -i, format('%d:%d:%d', later[i].at, later[i].units, later[i].total - given))
  end
end

-- field: time:debt at that time:time until which the hash is known to exist
local bucket = ALGORITHMS['token-bucket']

function bucket.read(quota, state, now)
  local at, debt, lives_until = match(state or '', '^(%d+):(%d+):(%d+)$')
  local window = { at = now, debt = 0, lives_until = tonumber(lives_until) or 0 }
  if at then
    at, debt = tonumber(at), min(tonumber(debt), quota[CAPACITY] * quota[TICKS])
    local elapsed = max(0, floor((now - at) / quota[TICK]))
    if elapsed < ceil(debt / quota[LIMIT]) then
      window.at, window.debt = at + elapsed * quota[TICK], debt - elapsed * quota[LIMIT]
    end
  end
  window.used = ceil(window.debt / quota[TICKS])
  return window
end

function bucket.take(window, quota, cost, now)
  local needed
  window.used = window.used + cost
  window.debt = window.debt + cost * quota[TICKS]
  if window.at + ceil(window.debt / quota[LIMIT]) * quota[TICK] > window.lives_until then
    window.lives_until = window.at + 2 * ceil(quota[CAPACITY] * quota[TICKS] / quota[LIMIT]) * quota[TICK]
    needed = window.lives_until - now
  end
  return format('%d:%d:%d', window.at, window.debt, window.lives_until), needed
end

function bucket.fits_at(window, quota, cost)
  local excess = window.debt + (cost - quota[CAPACITY]) * quota[TICKS]
  return window.at + ceil(excess / quota[LIMIT]) * quota[TICK]
end

function bucket.ends_at(window, quota)
  return window.at + ceil(window.debt / quota[LIMIT]) * quota[TICK]
end

function bucket.refund(quota, state, units, charged_at, now)
  local window = bucket.read(quota, state, now)
  local elapsed = max(0, ceil((now - charged_at) / quota[TICK]))
  if window.debt > 0 and elapsed < ceil(units * quota[TICKS] / quota[LIMIT]) then
    local debt = max(0, window.debt - (units * quota[TICKS] - elapsed * quota[LIMIT]))
    return format('%d:%d:%d', window.at, debt, window.lives_until)
  end
end

-- The state is a sorted set: a lease for each request in flight, by its expiry.
local leases = ALGORITHMS['concurrent']

function leases.read(_, _, now, key)
  return { used = call('ZCOUNT', key, format('(%d', now), '+inf'), key = key, now = now }
end

function leases.take(window, quota, _, now, lease)
  window.used = window.used + 1
  call('ZREMRANGEBYSCORE', window.key, '-inf', now)
  leases.renew(window.key, lease, now, quota[WINDOW])
end

function leases.fits_at(window)
  return window.now + RETRY
end

-- Renews a lease, even if it has expired meanwhile: its request is still in flight.
function leases.renew(key, lease, now, lives)
  call('ZADD', key, now + lives, lease)
  call('PEXPIRE', key, 2 * lives)
end

function leases.release(key, lease)
  call('ZREM', key, lease)
end
