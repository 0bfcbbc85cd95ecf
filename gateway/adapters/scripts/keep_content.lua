-- Stores content, its encoded form, or a piece of either, beside its digest and as long as that is stored.
-- exports.lua comes before this.
--
-- KEYS[1]   where the digest is
-- ARGV[1]   the digest, ARGV[2] the field, ARGV[3] its value
-- ARGV[4]   how many bytes an entitlement may store, ARGV[5] the percent of its memory that Redis may use; 0 for any
-- Returns 1, or 0 if the content is gone or has changed, or if there is no room.

if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[1] then
  return 0
end
local more = #ARGV[3] - redis.call('HSTRLEN', KEYS[1], ARGV[2])
local refusal, limit = find_refusal(more, tonumber(ARGV[4]), tonumber(ARGV[5]))
if refusal then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
local is_piece = string.sub(ARGV[2], -3) ~= '/of' -- this field has the number of pieces
if is_piece and string.sub(KEYS[1], 1, #CONTENT) == CONTENT then -- staged content is counted when it is stored
  local held, member = find_held(KEYS[1])
  if redis.call('HGET', held.bytes, member) then
    redis.call('HINCRBY', held.bytes, member, more)
    redis.call('HINCRBY', held.bytes, '', more)
    make_room(held, member, limit)
  end
end
return 1
