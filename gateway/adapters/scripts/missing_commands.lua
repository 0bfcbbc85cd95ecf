-- Returns the commands of ARGV that the user of this connection may not run; none in Redis before 7, which cannot tell.
-- Commands that this Redis does not have are left out.

local missing = {}
for _, command in ipairs(redis.acl_check_cmd and ARGV or {}) do
  local is_known, may_run = pcall(redis.acl_check_cmd, command)
  if is_known and not may_run then
    missing[#missing + 1] = command
  end
end
return missing
