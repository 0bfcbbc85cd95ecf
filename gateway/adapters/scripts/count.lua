-- Adds the counts of a worker since its last call to counters; each is a field of a hash.
--
-- KEYS[i] the hash of counter i; ARGV[1] the seconds for which a hash that expires is kept
-- ARGV[2..] for each counter: its field, the number to add, and '1' if its hash expires
-- Returns the new values of the counters; false for one that Redis refuses to change.
--
-- Each new field of a hash renews the expiry: its fields are hours, or the hash is that of one hour.

local reached = {}
for i, key in ipairs(KEYS) do
  local field, number, ends = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local total = redis.pcall('HINCRBY', key, field, number)
  reached[i] = type(total) == 'number' and total
  if ends == '1' and total == tonumber(number) then
    redis.call('EXPIRE', key, ARGV[1])
  end
end
return reached
