-- Appends an entry to a history, in the script that makes the change and before it: neither is there without the other.

local function note(stream, entry)
  if entry ~= '' then
    redis.call('XADD', stream, 'MAXLEN', '~', AUDIT_LENGTH, '*', 'entry', entry)
  end
end
