-- What the scripts of the cache have in common. Times are Unix milliseconds.

local CONTENT = VERSION .. ':content'

local function content_key(export, variant)
  return CONTENT .. string.sub(export, EXPORT_LENGTH + 1) .. ':' .. variant
end

-- When a stored answer was asked for: its head begins with it.
local function stored_at(head)
  return tonumber(string.sub(head, 1, MARK_LENGTH)) or 0
end

-- Ends one variant of an export.
local function drop(export, variant)
  redis.call('HDEL', export, variant)
  redis.call('UNLINK', content_key(export, variant))
end

-- A key is kept for as long as the longest of what is in it.
local function keep(key, milliseconds)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, milliseconds)
  end
end

local function release(lease, holder)
  if holder ~= '' and redis.call('GET', lease) == holder then
    redis.call('DEL', lease)
  end
end
