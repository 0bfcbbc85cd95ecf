-- The heads of a document that a variant is to be made of. exports.lua stands before this.
--
-- KEYS[1]   the document
-- KEYS[2..] for each group of the variant: the instant of its last purge. What was asked for before that is ended: the
--           document may be in none of these groups, as it was asked for by another variant's request
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
