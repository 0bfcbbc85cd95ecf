-- Refunds units of answered requests: one call for all pending refunds of a worker. quotas.lua comes before this.
--
-- KEYS[i]   the key of a counter, for each refund
-- ARGV[1]   the time in Unix milliseconds, or '' for Redis' own clock (tests set it)
-- ARGV[2]   n, the number of different quotas
-- ARGV[3..] n quotas, JSON (core/policies/script_rules.py)
-- then, for each key: the number of its quota, the units, and the time at which they were charged
--
-- A counter that has expired meanwhile is not created again. Returns the time.

local now = clock(ARGV[1])
local quotas = {}
for i = 1, tonumber(ARGV[2]) do
  quotas[i] = cjson.decode(ARGV[2 + i])
end

local function refund(key, quota, units, charged_at)
  local algorithm = algorithm_of(quota)
  if algorithm.kind then
    algorithm.refund(quota, nil, units, charged_at, now, key)
    return
  end
  local field = quota[FIELD] or quota[COUNTER]
  local found = call('HGET', key, field)
  if not found then
    return
  end
  local state, others = split(found, algorithm.mark)
  local changed = state and algorithm.refund(quota, state, units, charged_at, now)
  if changed then
    call('HSET', key, field, join(algorithm.mark, changed, others))
  end
end

local argument = 2 + #quotas
for i, key in ipairs(KEYS) do
  local quota, units, charged_at = ARGV[argument + 1], ARGV[argument + 2], ARGV[argument + 3]
  refund(key, quotas[tonumber(quota)], tonumber(units), tonumber(charged_at))
  argument = argument + 3
end
return now
