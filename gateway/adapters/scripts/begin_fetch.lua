-- Takes the lease of a fetch, if it is free: its holder asks the backend. exports.lua comes before this.
--
-- KEYS[1]   the lease, KEYS[2] the export
-- ARGV[1]   the time, or '' for Redis' own clock, ARGV[2] the caller, ARGV[3] the milliseconds of the lease
-- Returns the time, the value of the lease ('' if the caller has it now), and the heads that are stored by now.

local now = clock(ARGV[1])
local said = redis.call('GET', KEYS[1])
if not said then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return { now, said or '', redis.call('HVALS', KEYS[2]) }
