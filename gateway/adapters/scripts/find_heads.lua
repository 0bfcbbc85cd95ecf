-- What is stored for a URI, where exports have a Redis of their own: else admit.lua finds it.
--
-- KEYS[1]   the export
-- ARGV[1]   the time, or '' for Redis' own clock
-- Returns the time, and the heads.

return { clock(ARGV[1]), redis.call('HVALS', KEYS[1]) }
