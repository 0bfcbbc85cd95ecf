-- Ends the exports of groups, at most so many of each at once. exports.lua stands before this.
--
-- KEYS      for each group: its index, the instant of its last purge
-- ARGV[1]   the time, or '' for Redis' own clock, ARGV[2] for how long the purge is remembered, ARGV[3] how many at once
-- Returns how many were ended, and whether there may be more.

local now, most = clock(ARGV[1]), tonumber(ARGV[3])
local ended, has_more = 0, 0
for i = 1, #KEYS, 2 do
  redis.call('SET', KEYS[i + 1], string.format('%d', now), 'PX', ARGV[2])
  local exports = redis.call('ZRANGE', KEYS[i], 0, most - 1)
  for _, export in ipairs(exports) do
    for _, variant in ipairs(redis.call('HKEYS', export)) do
      redis.call('UNLINK', content_key(export, variant))  -- megabytes are freed by another thread
    end
    ended = ended + redis.call('DEL', export)
    redis.call('ZREM', KEYS[i], export)
  end
  if #exports == most then
    has_more = 1
  end
end
return { ended, has_more }
