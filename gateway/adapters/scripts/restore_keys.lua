-- Brings keys of a backup back, all at one instant. What is there already stays: a record, a field, an entry.
--
-- KEYS[i]   a key; the revocations of a bucket come before its records
-- ARGV[i]   its type and value, JSON; of a hash also whether it is one record, which comes back whole or not at all
-- Returns for each key whether anything of it was written: 1 or 0.

local WRITE = {}

function WRITE.string(key, value)
  return redis.call('SET', key, value, 'NX') and 1 or 0
end

function WRITE.set(key, members)
  local written = 0
  for _, member in ipairs(members) do
    written = written + redis.call('SADD', key, member)
  end
  return written
end

function WRITE.hash(key, fields, is_record)
  local written = 0
  if is_record and redis.call('EXISTS', key) == 1 then
    return written
  end
  for field, value in pairs(fields) do
    if field == '' then -- the last number that was given: no lower one comes back
      local there = tonumber(redis.call('HGET', key, '') or 0)
      if there < tonumber(value) then
        written = written + 1
        redis.call('HSET', key, '', value)
      end
    else
      written = written + redis.call('HSETNX', key, field, value)
    end
  end
  return written
end

function WRITE.stream(key, entries)
  local written = 0
  local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if last then
    return written
  end
  for _, entry in ipairs(entries) do
    redis.call('XADD', key, entry[1], unpack(entry[2]))
    written = written + 1
  end
  return written
end

local outcomes = {}
for i, key in ipairs(KEYS) do
  local kind, value, is_record = unpack(cjson.decode(ARGV[i]))
  outcomes[i] = WRITE[kind](key, value, is_record) > 0 and 1 or 0
end
return outcomes
