-- Reads a part of a piece of content, so that no more is held for a slow client.
--
-- KEYS[1]   where the digest is
-- ARGV[1]   the digest, ARGV[2] the field, ARGV[3] the first byte, from 1, ARGV[4] the last one
-- Returns the part; nothing if the content is gone or has changed.

local found = redis.call('HMGET', KEYS[1], 'digest', ARGV[2])
return found[1] == ARGV[1] and found[2] and string.sub(found[2], ARGV[3], ARGV[4])
