-- Changes the claim of a name, if it still is what the caller has read: only one of several callers succeeds.
--
-- KEYS[1] the index; ARGV[1] the name, ARGV[2] the claim that was read or '', ARGV[3] the new claim, '' to delete it
-- ARGV[4..] names and their claims, which are added to an index that lacks them
-- Returns 1, or 0 if the claim has changed.

for i = 4, #ARGV, 2 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
end
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
