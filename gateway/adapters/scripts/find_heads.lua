-- Returns the stored heads for a URI, if exports have a Redis of their own: otherwise admit.lua returns them.
--
-- KEYS[1]   the export
-- ARGV[1]   the time, or '' for Redis' own clock
-- Returns the time, and the heads.

return { clock(ARGV[1]), redis.call('HVALS', KEYS[1]) }
