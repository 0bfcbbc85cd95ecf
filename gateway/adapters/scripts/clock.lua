-- Every script begins with this: the time in Unix milliseconds, the one that is `given` (tests set it) or Redis' own.

local function clock(given)
  if tonumber(given) then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

