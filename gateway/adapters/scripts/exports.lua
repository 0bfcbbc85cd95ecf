-- What the scripts of the cache have in common. Times are Unix milliseconds.

local CONTENT = VERSION .. ':content'

local function clock(given)
  if tonumber(given) then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function content_key(export, variant)
  return CONTENT .. string.sub(export, EXPORT_LENGTH + 1) .. ':' .. variant
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
