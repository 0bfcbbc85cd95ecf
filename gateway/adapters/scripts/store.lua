-- Stores an answer, head and content at one instant, in all its groups. exports.lua stands before this.
--
-- KEYS[1]   the export, KEYS[2] the lease of its fetch, then for each group: its index, the instant of its last purge
-- ARGV[1]   the time, or '' for Redis' own clock
-- ARGV[2]   when the fetch began, ARGV[3] how long to keep the answer
-- ARGV[4]   the variant, ARGV[5] its head, ARGV[6] the digest of its content
-- ARGV[7]   the content, or '' with ARGV[8] = '0' where it is stored already and only the head changes
-- ARGV[9]   the holder of the lease, or ''
-- ARGV[10]  how many variants an export may have, ARGV[11] for how long purges are remembered
-- Returns whether it was stored: an answer whose fetch began before a purge of one of its groups is not.

local now = clock(ARGV[1])
local began, milliseconds, variant, has_content = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[8] == '1'
local export, content = KEYS[1], content_key(KEYS[1], variant)

release(KEYS[2], ARGV[9])
if now - began > tonumber(ARGV[11]) then
  return 0
end
for i = 4, #KEYS, 2 do
  local purged = redis.call('GET', KEYS[i])
  if purged and tonumber(purged) >= began then
    return 0
  end
end
if has_content then
  redis.call('HSET', content, 'digest', ARGV[6], 'content', ARGV[7])
elseif redis.call('HGET', content, 'digest') ~= ARGV[6] then
  return 0
end
redis.call('PEXPIRE', content, milliseconds)
redis.call('HSET', export, variant, ARGV[5])
keep(export, milliseconds)

if redis.call('HLEN', export) > tonumber(ARGV[10]) then
  local heads, oldest, since = redis.call('HGETALL', export), nil, nil
  for i = 1, #heads, 2 do
    local stored = tonumber(string.sub(heads[i + 1], 1, MARK_LENGTH)) or 0
    if heads[i] ~= variant and (not since or stored < since) then
      oldest, since = heads[i], stored
    end
  end
  redis.call('HDEL', export, oldest)
  redis.call('DEL', content_key(export, oldest))
end

for i = 3, #KEYS, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  redis.call('ZADD', KEYS[i], now + redis.call('PTTL', export), export)
  keep(KEYS[i], milliseconds)
end
return 1
