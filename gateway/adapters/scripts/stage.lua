-- Begins to stage long content, if there is room for it. exports.lua comes before this.
--
-- KEYS[1]   the key of the staged content
-- ARGV[1]   the digest, ARGV[2] for how many milliseconds it is kept, ARGV[3] the bytes that follow
-- ARGV[4]   how many bytes an entitlement may store, ARGV[5] the percent of its memory that Redis may use; 0 for any
-- Returns '', or why there is no room: 'full' or 'large'.

local refusal = find_refusal(tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
if not refusal then
  redis.call('HSET', KEYS[1], 'digest', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return refusal or ''
