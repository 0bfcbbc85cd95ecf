-- Adds to counters what a worker has counted since it last did; each is a field of a hash.
--
-- KEYS[i] the hash of counter i; ARGV[1] for how many seconds a hash is kept that ends at all
-- ARGV[2..] for each counter: its field, what is to be added, and '1' where its hash ends
-- Returns the numbers that the counters have come to; false for one that Redis refuses.
--
-- A hash is written for as long again with each new field of it: its fields are hours, or it is that of one hour.

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
