-- The common parts of replace.lua and rotate.lua, which come after this: using a token does not count as a change of
-- its record. The last use in Redis stays, because only admit.lua writes it. See without_use in core/tokens/records.py.

local LAST_USE_END = LAST_USE_OFFSET + LAST_USE_WIDTH

local function without_use(raw)
  return string.sub(raw, LAST_USE_END + 1)
end

-- Returns whether two records are equal, their last use aside; '' is no record.
local function is_same(one, other)
  return without_use(one) == without_use(other)
end

-- Writes a record over the one that was found, or a new one. The record of a job's token still goes when it should.
local function put(key, found, new)
  redis.call('SET', key, string.sub(found ~= '' and found or new, 1, LAST_USE_END) .. without_use(new), 'KEEPTTL')
end
