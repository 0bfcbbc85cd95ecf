-- Ends a lease or renews it, where it is the asker's.
--
-- KEYS[1]   the lease
-- ARGV[1]   who asks, ARGV[2] what it shall say from now on, or '' for nothing, ARGV[3] for how long
-- Returns whether it was the asker's.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
