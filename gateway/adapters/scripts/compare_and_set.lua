-- Changes a key if it still has the value that the caller has read or written: the lease of a fetch, or a claim.
--
-- KEYS[1] the key; ARGV[1] the old value, ARGV[2] the new one, '' to delete the key, ARGV[3] its milliseconds
-- Returns 1, or 0 if the value has changed.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
