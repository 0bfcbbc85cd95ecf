-- Puts an owner's record where it belongs, all places at one instant, unless there is a newer one.
--
-- KEYS      the owner's own record, or its copies in buckets
-- ARGV[1]   the version that must be there (0 where there must be none), or '' where any older one will do
-- ARGV[2]   the version of the record, ARGV[3..] its fields and values
-- Returns the number of places that were written. Sent twice, because the connection went before the answer came, it
-- says 0 for the second time.

local function put(key)
  redis.call('DEL', key)
  for i = 3, #ARGV, 1000 do -- as many as unpack is sure to take
    redis.call('HSET', key, unpack(ARGV, i, math.min(i + 999, #ARGV)))
  end
end

local written = 0
for _, key in ipairs(KEYS) do
  local there = redis.call('HGET', key, 'version') or '0'
  if there == ARGV[1] or ARGV[1] == '' and tonumber(there) < tonumber(ARGV[2]) then
    put(key)
    written = written + 1
  end
end
return written
