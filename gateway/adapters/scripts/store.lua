-- Stores an answer, head and content at one instant, in all its groups. exports.lua comes before this.
--
-- KEYS[1]   the export, KEYS[2] the lease of its fetch, KEYS[3] the key of its staged long content, or ''
-- KEYS[4..] for each group: its index, the time of its last purge
-- ARGV[1]   the time, or '' for Redis' own clock
-- ARGV[2]   when the fetch began, ARGV[3] how long to keep the answer
-- ARGV[4]   the variant, ARGV[5] its head, ARGV[6] the digest of its content
-- ARGV[7]   the content, or '' with ARGV[8] = '0' if it is staged, or if it is stored already and only the head
--           changes; if the same content is stored already, its encoded forms stay
-- ARGV[9]   the holder of the lease, or ''
-- ARGV[10]  how many variants an export may have, ARGV[11] how long purges are remembered
-- ARGV[12]  the document that the answer was made from, or '': it is purged together with the answer
-- ARGV[13]  the bytes of its content, ARGV[14] how many an entitlement may store, ARGV[15] the percent of its memory
--           that Redis may then use; 0 for any
-- Returns the outcome, and how many older exports of the same entitlement were removed to make room. The outcome is
-- 'stored'; 'outdated' if the fetch began before a purge of one of its groups, or its content has gone meanwhile;
-- 'full' or 'large' if there is no room for it.

local now = clock(ARGV[1])
local began, milliseconds, variant = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local export, content, staged, document = KEYS[1], content_key(KEYS[1], ARGV[4]), KEYS[3], ARGV[12]
local was_there = redis.call('HGET', content, 'digest') == ARGV[6]
local FIRST_GROUP = 4

local function is_outdated()
  if now - began > tonumber(ARGV[11]) then
    return true
  end
  for i = FIRST_GROUP + 1, #KEYS, 2 do
    local purged = redis.call('GET', KEYS[i])
    if purged and tonumber(purged) >= began then
      return true
    end
  end
  return false
end

local function drop_oldest_variant()
  local heads, oldest, since = redis.call('HGETALL', export), nil, nil
  for i = 1, #heads, 2 do
    local stored = stored_at(heads[i + 1])
    if heads[i] ~= variant and (not since or stored < since) then
      oldest, since = heads[i], stored
    end
  end
  drop(export, oldest)
end

local function list(group, name)
  local left = redis.call('PTTL', name)
  if left > 0 then
    redis.call('ZADD', group, now + left, name)
    keep(group, left)
  end
end

-- Counts the stored answer; returns how many older ones were removed to make room.
local function count(limit)
  local held, key = find_held(export)
  local member = key .. ':' .. variant
  for _, ended in ipairs(redis.call('ZRANGEBYSCORE', held.ends, '-inf', now, 'LIMIT', 0, ENDED_AT_ONCE)) do
    forget(held, ended)
  end
  local before = tonumber(redis.call('HGET', held.bytes, member) or 0)
  local bytes = was_there and before > 0 and before or tonumber(ARGV[13]) + #ARGV[5]
  redis.call('HSET', held.bytes, member, bytes)
  redis.call('HINCRBY', held.bytes, '', bytes - before)
  redis.call('ZADD', held.ages, began, member)
  redis.call('ZADD', held.ends, now + milliseconds, member)
  for _, name in pairs(held) do
    keep(name, milliseconds)
  end
  return make_room(held, member, limit)
end

local function put(is_staged)
  redis.call('HSET', export, variant, ARGV[5])
  keep(export, milliseconds)
  if not was_there then
    redis.call('UNLINK', content)
    if is_staged then
      redis.call('RENAME', staged, content)
    else
      redis.call('HSET', content, 'digest', ARGV[6], 'content', ARGV[7])
    end
  end
  redis.call('PEXPIRE', content, milliseconds)
  if redis.call('HLEN', export) > tonumber(ARGV[10]) then
    drop_oldest_variant()
  end
  for i = FIRST_GROUP, #KEYS, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    list(KEYS[i], export)
    if document ~= '' then
      list(KEYS[i], document)
    end
  end
end

local function store()
  local is_staged = staged ~= '' and redis.call('EXISTS', staged) == 1
  if is_outdated() or not (was_there or is_staged or ARGV[8] == '1') then
    return { 'outdated', 0 }
  end
  local more = (was_there or is_staged) and 0 or tonumber(ARGV[13]) -- staged content is in Redis' memory already
  local refusal, limit = find_refusal(more, tonumber(ARGV[14]), tonumber(ARGV[15]))
  if refusal and not was_there then
    return { refusal, 0 }
  end
  put(is_staged)
  return { 'stored', count(limit) }
end

local stored = store()
release(KEYS[2], ARGV[9])
if staged ~= '' then
  redis.call('UNLINK', staged)
end
return stored
