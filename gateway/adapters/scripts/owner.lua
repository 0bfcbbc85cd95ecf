-- Puts an owner's record where it belongs, all places at one instant, unless there is a newer one.
--
-- KEYS      the owner's own record, or its copies in buckets; behind them the history, where there is an entry for it
-- ARGV[1]   the version that must be there (0 where there must be none), or '' where any older one will do
-- ARGV[2]   the version of the record, ARGV[3] the entry of the history or '', ARGV[4..] the record's fields and values
-- Returns the number of places that were written. Sent twice, because the connection went before the answer came, it
-- says 0 for the second time.

local function put(key)
  redis.call('DEL', key)
  for i = 4, #ARGV, 1000 do -- as many as unpack is sure to take
    redis.call('HSET', key, unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
end

local written = 0
local places = #KEYS - (ARGV[3] ~= '' and 1 or 0)
for i = 1, places do
  local key = KEYS[i]
  local there = redis.call('HGET', key, 'version') or '0'
  if there == ARGV[1] or ARGV[1] == '' and tonumber(there) < tonumber(ARGV[2]) then
    note(KEYS[#KEYS], ARGV[3])
    put(key)
    written = written + 1
  end
end
return written
