-- Says which versions of policies a process serves, and asks who serves which.
--
-- KEYS[1]   process -> its end in Unix milliseconds, a colon, what it serves
-- ARGV[1]   the time, or '' for Redis' own clock; ARGV[2] the process, or '' where one only asks; ARGV[3] what it
--           serves, or '' where it stops; ARGV[4] for how many milliseconds that holds if nothing more is heard of it
-- Returns each process with what it serves, one after the other. Those that were not heard of are forgotten.

local now, process, serves, keep = clock(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
if process ~= '' and serves == '' then
  redis.call('HDEL', KEYS[1], process)
elseif process ~= '' then
  redis.call('HSET', KEYS[1], process, string.format('%.0f:%s', now + keep, serves))
  redis.call('PEXPIRE', KEYS[1], keep)
end
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local ends, told = string.match(all[i + 1], '^(%d+):(.*)$')
  if tonumber(ends) > now then
    found[#found + 1] = all[i]
    found[#found + 1] = told
  elseif process ~= '' then
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return found
