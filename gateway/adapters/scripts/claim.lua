-- Lets one of several have a name: who has seen what the index says of it now.
--
-- KEYS[1] the index; ARGV[1] the name, ARGV[2] what was seen of it or '', ARGV[3] what it shall say, '' to end it
-- ARGV[4..] names and what they say, for an index that begins with this
-- Returns 1, or 0 where the index says something else by now.

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
