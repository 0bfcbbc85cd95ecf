-- Which of the commands ARGV the user of this connection may not run. Redis before 7 cannot tell: then none is named.

local missing = {}
for _, command in ipairs(redis.acl_check_cmd and ARGV or {}) do
  if not redis.acl_check_cmd(command) then
    missing[#missing + 1] = command
  end
end
return missing
