-- Writes an owner's record to its keys at one instant, unless a newer one is there.
--
-- KEYS      the owner's own record, or its copies in buckets; then the history, if there is an entry for it
-- ARGV[1]   the version that must be there (0 for none), or '' if any older one may be
-- ARGV[2]   the version of the record, ARGV[3] the entry of the history or '', ARGV[4..] the record's fields and values
-- Returns the number of keys that were written. If it is sent twice, because the connection broke before the answer,
-- the second call returns 0.

local function put(key)
  redis.call('DEL', key)
  for i = 4, #ARGV, 1000 do -- a number that unpack always takes
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
