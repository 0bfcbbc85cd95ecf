-- Appends an entry to a history, in the script that makes the change and before it: neither exists without the other.
-- Returns the entry's id in the stream.

local function note(stream, entry)
  if entry ~= '' then
    return redis.call('XADD', stream, 'MAXLEN', '~', AUDIT_LENGTH, '*', 'entry', entry)
  end
end
