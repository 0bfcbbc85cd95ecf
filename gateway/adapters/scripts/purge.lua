-- Removes the exports of groups, at most so many of each in one call. exports.lua and audit.lua come before this.
--
-- KEYS      for each group: its index, the time of its last purge; then the history, if there is an entry
-- ARGV[1]   the time, or '' for Redis' own clock, ARGV[2] how long the purge is remembered, ARGV[3] how many in one
--           call
-- ARGV[4]   the entry of the history, with 0 removed exports, or ''; ARGV[5] how many the calls before this one have
--           removed, ARGV[6] the id of the entry that they wrote, or ''
-- Returns how many were removed, whether there may be more, and the id of the entry or ''.
--
-- A purge has one entry, however many calls it takes: each call replaces the entry of the last one, with the new total.
-- If a call is sent twice, because the connection broke before the answer, there is one more entry, with the remainder.
-- Removing comes before writing: a full Redis refuses a script that writes before it makes room.

local now, most = clock(ARGV[1]), tonumber(ARGV[3])
local is_noted = ARGV[4] ~= ''
local last = #KEYS - (is_noted and 1 or 0)
local ended, has_more = 0, 0
for i = 1, last, 2 do
  local exports = redis.call('ZRANGE', KEYS[i], 0, most - 1)
  for _, export in ipairs(exports) do
    local variants = redis.call('HKEYS', export)
    for _, variant in ipairs(variants) do
      drop(export, variant)
    end
    ended = ended + math.min(#variants, 1)
    redis.call('ZREM', KEYS[i], export)
  end
  if #exports == most then
    has_more = 1
  end
end
for i = 2, last, 2 do
  redis.call('SET', KEYS[i], string.format('%d', now), 'PX', ARGV[2])
end
if not is_noted then
  return { ended, has_more, '' }
end
if ARGV[6] ~= '' then
  redis.call('XDEL', KEYS[#KEYS], ARGV[6])
end
-- Replaced in the text, as cjson keeps no order. No value can look like it: quotation marks in values are escaped.
local told = string.format('"ended":[null,%d]', ARGV[5] + ended)
local entry = string.gsub(ARGV[4], '"ended":%[null,0%]', told)
return { ended, has_more, note(KEYS[#KEYS], entry) }
