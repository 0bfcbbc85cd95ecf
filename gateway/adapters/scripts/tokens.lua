-- What is alike in admit.lua and standing.lua, which stand after this: a token's record, and those that bound it.

-- The record with what it leaves out: a lineage of one is named by the token itself.
local function read_record(raw, id)
  local record = cjson.decode(raw)
  if record[RECORD_LINEAGE] == '' then
    record[RECORD_LINEAGE] = id
  end
  return record
end
