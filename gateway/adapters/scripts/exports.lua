-- The common parts of the cache's scripts. Times are Unix milliseconds.

local CONTENT = VERSION .. ':content'
-- The share of Redis' memory that one entitlement's exports may have: four others can store as much beside it.
local PART_OF_MEMORY = 1 / 8
-- The most exports that one call removes to make room: it blocks Redis for a millisecond. The next calls remove others.
local ENDED_AT_ONCE = 200

local function content_key(export, variant)
  return CONTENT .. string.sub(export, EXPORT_LENGTH + 1) .. ':' .. variant
end

-- Returns when a stored answer was requested: its head begins with that time.
local function stored_at(head)
  return tonumber(string.sub(head, 1, MARK_LENGTH)) or 0
end

-- Extends the expiry of a key: it is kept as long as its longest member.
local function keep(key, milliseconds)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, milliseconds)
  end
end

-- Returns the three keys with what an entitlement has stored: bytes by member, with '' for the sum, members by age, and
-- members by expiry. `name` is that of an export, of content or of staged content. Also returns the rest of the name
-- after the entitlement, which for content is the member.
local function find_held(name)
  local kind, length, start = string.match(name, '^[^:]+:[^:]+:([^:]+):(%d+):()')
  local last = start + tonumber(length) - 1
  local of = table.concat({ ':', kind, ':', length, ':', string.sub(name, start, last) })
  local held = { bytes = VERSION .. ':held' .. of, ages = VERSION .. ':ages' .. of, ends = VERSION .. ':ends' .. of }
  return held, string.sub(name, last + 2)
end

-- Removes a member from the counts.
local function forget(held, member)
  local bytes = redis.call('HGET', held.bytes, member)
  redis.call('ZREM', held.ages, member)
  redis.call('ZREM', held.ends, member)
  if bytes then
    redis.call('HDEL', held.bytes, member)
    if redis.call('HINCRBY', held.bytes, '', -bytes) <= 0 then
      redis.call('DEL', held.bytes)
    end
  end
end

-- Removes one variant of an export.
local function drop(export, variant)
  redis.call('HDEL', export, variant)
  redis.call('UNLINK', content_key(export, variant))  -- megabytes are freed by another thread
  local held, key = find_held(export)
  forget(held, key .. ':' .. variant)
end

-- Removes an entitlement's oldest exports, except the `newest`, until it has at most `limit` bytes; returns how many.
local function make_room(held, newest, limit)
  local prefix, dropped = string.gsub(held.bytes, ':held:', ':export:', 1) .. ':', 0
  while dropped < ENDED_AT_ONCE and tonumber(redis.call('HGET', held.bytes, '') or 0) > limit do
    local oldest = redis.call('ZRANGE', held.ages, 0, 1)
    local member = oldest[1] == newest and oldest[2] or oldest[1]
    if not member then
      redis.call('DEL', held.bytes)  -- one of the keys was evicted: counting starts again
    elseif member == newest then
      return dropped
    else
      local key, variant = string.match(member, '^(.*):(.-)$')
      drop(prefix .. key, variant)
      dropped = dropped + 1
    end
  end
  return dropped
end

-- Returns the bytes that Redis uses, and its limit: 0 if it has none, or does not tell.
local function memory()
  local told = redis.pcall('INFO', 'memory')
  if type(told) ~= 'string' then
    return 0, 0
  end
  return tonumber(string.match(told, 'used_memory:(%d+)') or 0), tonumber(string.match(told, 'maxmemory:(%d+)') or 0)
end

-- Returns why an entitlement may not store this many more bytes, or nil; and the bytes that it may have. `share` is the
-- percent of its memory that Redis may then use, 0 for any; `limit` is for one entitlement, 0 for any.
local function find_refusal(bytes, limit, share)
  local used, maximum = 0, 0
  if share > 0 then
    used, maximum = memory()
  end
  limit = limit > 0 and limit or math.huge
  if maximum > 0 then
    limit = math.min(limit, maximum * PART_OF_MEMORY)
  end
  if bytes > limit then
    return 'large', limit
  end
  return maximum > 0 and used + bytes > maximum * share / 100 and 'full' or nil, limit
end

local function release(lease, holder)
  if holder ~= '' and redis.call('GET', lease) == holder then
    redis.call('DEL', lease)
  end
end
