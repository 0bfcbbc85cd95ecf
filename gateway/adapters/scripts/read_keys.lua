-- Returns the type and the value of each key, all at one instant: a bucket of tokens, for a backup.
--
-- KEYS[i]   a key
-- Returns for each {type, value}; the type is `none` if the key has gone.

local READ = {
  string = function(key) return redis.call('GET', key) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  hash = function(key) return redis.call('HGETALL', key) end,
  stream = function(key) return redis.call('XRANGE', key, '-', '+') end,
}

local found = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  found[i] = { kind, READ[kind] and READ[kind](key) or '' }
end
return found
