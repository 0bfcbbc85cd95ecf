-- Ends the exports of groups, at most so many of each at once. exports.lua and audit.lua stand before this.
--
-- KEYS      for each group: its index, the instant of its last purge; behind them the history, where there is an entry
-- ARGV[1]   the time, or '' for Redis' own clock, ARGV[2] for how long the purge is remembered, ARGV[3] how many at once
-- ARGV[4]   the entry of the history, which says that none have ended, or ''; ARGV[5] how many the calls before
--           this one have ended, ARGV[6] the id of the entry that they left, or ''
-- Returns how many were ended, whether there may be more, and the id of the entry or ''.
--
-- A purge is one entry, however many calls it takes: each puts in the place of the last one's what has ended so far.
-- Sent twice, because the connection went before the answer came, there is one more, with what was left to end.
-- What ends comes before what is written, as a full Redis refuses a script that does not begin with making room.

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
-- In its text, as cjson keeps no order; nobody's text can be taken for it, as that has its quotation marks escaped.
local told = string.format('"ended":[null,%d]', ARGV[5] + ended)
local entry = string.gsub(ARGV[4], '"ended":%[null,0%]', told)
return { ended, has_more, note(KEYS[#KEYS], entry) }
