-- Keeps what a content was encoded to beside it, for as long as the content itself.
--
-- KEYS[1]   the content
-- ARGV[1]   its digest, ARGV[2] the coding, ARGV[3] the content in this coding
-- Returns whether it was kept: where the content is gone, or another one by now, it is of no use.

if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
