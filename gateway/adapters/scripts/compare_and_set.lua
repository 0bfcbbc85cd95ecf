-- Changes a key where it still says what its changer has seen of it, or wrote: a lease of a fetch, a claim.
--
-- KEYS[1] the key; ARGV[1] what was seen of it, ARGV[2] what it shall say, '' to end it, ARGV[3] for how many milliseconds
-- Returns 1, or 0 where it says something else by now.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
