-- Whose turn it is to ask the backend. exports.lua stands before this.
--
-- KEYS[1]   the lease, KEYS[2] the export
-- ARGV[1]   the time, or '' for Redis' own clock, ARGV[2] who asks, ARGV[3] for how long the lease is
-- Returns the time, what the lease says ('' where it is now the asker's), and the heads that are stored meanwhile.

local now = clock(ARGV[1])
local said = redis.call('GET', KEYS[1])
if not said then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return { now, said or '', redis.call('HVALS', KEYS[2]) }
