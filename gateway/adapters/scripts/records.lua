-- What is alike in replace.lua and rotate.lua, which stand after this: using a token is no change of its record. The last
-- use that Redis has stays, as admit.lua alone writes it. It does what without_use of core/tokens/records.py does.

local LAST_USE_END = LAST_USE_OFFSET + LAST_USE_WIDTH

local function without_use(raw)
  return string.sub(raw, LAST_USE_END + 1)
end

-- Whether two records say the same; '' is none.
local function is_same(one, other)
  return without_use(one) == without_use(other)
end

-- Writes a record in the place of the one that was found, or of none.
local function put(key, found, new)
  redis.call('SET', key, string.sub(found ~= '' and found or new, 1, LAST_USE_END) .. without_use(new))
end
