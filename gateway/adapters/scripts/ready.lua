-- Writes what a revocation writes, an entry of a history and a member of a set, and removes both: if Redis refuses to
-- write (full, read-only, a user without the command), this script fails as a revocation would.
--
-- KEYS[1] a set, KEYS[2] a stream, both of no token

note(KEYS[2], 'ready')
redis.call('SADD', KEYS[1], 'ready')
redis.call('DEL', KEYS[1], KEYS[2])
