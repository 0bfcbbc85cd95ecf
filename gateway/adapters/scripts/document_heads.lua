-- Returns the heads of the document for a variant. exports.lua comes before this.
--
-- KEYS[1]   the document
-- KEYS[2..] for each group of the variant: the time of its last purge. Heads that were requested before it are dropped
--           here: the document may be in none of these groups, because another variant's request has stored it
-- Returns the heads that are left.

local since = 0
for i = 2, #KEYS do
  since = math.max(since, tonumber(redis.call('GET', KEYS[i]) or 0))
end
local found, left = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #found, 2 do
  if stored_at(found[i + 1]) > since then
    table.insert(left, found[i + 1])
  else
    drop(KEYS[1], found[i])
  end
end
return left
