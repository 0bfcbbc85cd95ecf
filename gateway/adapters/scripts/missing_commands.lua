-- Which of the commands ARGV the user of this connection may not run. Redis before 7 cannot tell: then none is named.
-- Neither is a command that this Redis does not have.

local missing = {}
for _, command in ipairs(redis.acl_check_cmd and ARGV or {}) do
  local is_known, may_run = pcall(redis.acl_check_cmd, command)
  if is_known and not may_run then
    missing[#missing + 1] = command
  end
end
return missing
