-- Keeps content, what it was encoded to, or a piece of either, beside its digest and for as long as that is there.
--
-- KEYS[1]   where the digest is
-- ARGV[1]   the digest, ARGV[2] the field, ARGV[3] what it holds
-- Returns whether it was kept: where the content is gone, or another one by now, it is of no use.

if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
