-- Reads a part of a piece of content, so that who takes it slowly is kept no more of it.
--
-- KEYS[1]   where the digest is
-- ARGV[1]   the digest, ARGV[2] the field, ARGV[3] the first byte, from 1, ARGV[4] the last one
-- Returns the part; nothing where the content is gone, or another one by now.

local found = redis.call('HMGET', KEYS[1], 'digest', ARGV[2])
return found[1] == ARGV[1] and found[2] and string.sub(found[2], ARGV[3], ARGV[4])
