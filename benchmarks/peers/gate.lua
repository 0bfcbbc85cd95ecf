-- What a careful team writes into nginx: tokens, a quota, a cache and problem details. `check` runs in the access phase
-- of what is proxied, `serve` answers from the cache of the worker.

local function first_of(...)
  for _, name in ipairs({...}) do
    local is_there, module = pcall(require, name)
    if is_there then
      return module
    end
  end
  error('none of these modules is there: ' .. table.concat({...}, ', '))
end

-- Debian has the modules of OpenResty under names of its own.
local redis = first_of('resty.redis', 'nginx.redis')
local sha256 = first_of('resty.sha256', 'nginx.sha256')
local to_hex = first_of('resty.string', 'nginx.string').to_hex
local lrucache = require('resty.lrucache')

local ngx, math, tonumber = ngx, math, tonumber
local cache = lrucache.new(1000)
local FRESH_SECONDS = 3600
local REASONS = {
  [401] = {'Unauthorized', 'invalid_token'},
  [403] = {'Forbidden', 'insufficient_scope'},
  [429] = {'Too Many Requests', 'quota_exceeded'},
  [502] = {'Bad Gateway', 'upstream_unreachable'},
  [503] = {'Service Unavailable', 'store_unavailable'},
}
local gate = {}
local script, script_sha, redis_port

-- Called once, before there are workers.
function gate.set_up(path, port)
  local file = assert(io.open(path))
  script, redis_port = file:read('*a'), port
  file:close()
end

local function refuse(status, retry_after)
  local title, reason = REASONS[status][1], REASONS[status][2]
  local header = ngx.header
  ngx.status = status
  ngx.var.reason = reason
  header['Content-Type'] = 'application/problem+json'
  header['Cache-Control'] = 'no-store'
  if status == 401 or status == 403 then
    header['WWW-Authenticate'] = 'Bearer realm="bench", error="' .. reason .. '"'
  end
  if retry_after then
    header['Retry-After'] = retry_after
  end
  local body = '{"type":"about:blank","title":"' .. title .. '","status":' .. status
    .. ',"reason":"' .. reason .. '","request_id":"' .. ngx.var.request_id .. '"}'
  header['Content-Length'] = #body
  ngx.print(body)
  return ngx.exit(status)
end

-- Returns what admit.lua says of the token; nothing if Redis does not answer.
local function ask(digest, now)
  local connection = redis:new()
  connection:set_timeouts(5000, 5000, 5000)
  if not connection:connect('127.0.0.1', redis_port) then
    return nil
  end
  if not script_sha then
    script_sha = connection:script('load', script)
  end
  local reply, message = connection:evalsha(
    script_sha, 3, 'peer:token:' .. digest, 'peer:revoked', 'peer:count:' .. digest .. ':', digest, now)
  if not reply and message and message:find('NOSCRIPT', 1, true) then
    reply = connection:eval(
      script, 3, 'peer:token:' .. digest, 'peer:revoked', 'peer:count:' .. digest .. ':', digest, now)
  end
  if reply then
    connection:set_keepalive(60000, 64)
  end
  return reply
end

function gate.check()
  local credentials = ngx.var.http_authorization
  local token = credentials and credentials:match('^[Bb]earer +([^ ]+)$')
  if not token then
    return refuse(401)
  end
  local hash = sha256:new()
  hash:update(token)
  local digest, now = to_hex(hash:final()), math.floor(ngx.now())
  local found = ask(digest, now)
  if not found then
    return refuse(503, 1)
  end
  if #found == 0 or found[6] == 1 or tonumber(found[3]) <= now then
    return refuse(401)
  end
  local var = ngx.var
  var.token_id, var.owner = digest:sub(1, 24), found[1]
  if not (' ' .. found[2] .. ' '):find(' read ', 1, true) then
    return refuse(403)
  end
  local limit, window = tonumber(found[4]), tonumber(found[5])
  local left, wait = limit - found[7], window - now % window
  ngx.header['RateLimit-Policy'] = '"minute";q=' .. found[4] .. ';w=' .. found[5]
  ngx.header['RateLimit'] = '"minute";r=' .. (left > 0 and left or 0) .. ';t=' .. wait
  if left < 0 then
    return refuse(429, wait)
  end
end

local function fetch(path)
  local answer = ngx.location.capture('/_backend' .. path)
  if answer.status ~= 200 then
    return nil
  end
  local stored = {
    content = answer.body,
    kind = answer.header['Content-Type'],
    tag = 'W/"' .. ngx.md5(answer.body) .. '"',
    stored_at = ngx.now(),
  }
  cache:set(path, stored, FRESH_SECONDS)
  return stored
end

-- Weak comparison with each member of If-None-Match (RFC 9110 13.1.2).
local function matches(condition, tag)
  local opaque = tag:sub(3)
  return condition == tag or condition == '*' or condition:find(opaque, 1, true) ~= nil
end

function gate.serve()
  local path = ngx.var.uri
  local stored = cache:get(path) or fetch(path)
  if not stored then
    return refuse(502)
  end
  local header, condition = ngx.header, ngx.var.http_if_none_match
  local age = math.floor(ngx.now() - stored.stored_at)
  header['ETag'] = stored.tag
  header['Cache-Control'] = 'private, no-cache'
  header['Vary'] = 'Accept-Encoding'
  header['Age'] = age
  header['Cache-Status'] = 'nginx; hit; ttl=' .. (FRESH_SECONDS - age)
  if condition and matches(condition, stored.tag) then
    ngx.status = 304
    return ngx.send_headers() -- ngx.exit would take the entity tag away
  end
  header['Content-Type'] = stored.kind
  header['Content-Length'] = #stored.content
  ngx.print(stored.content)
end

return gate
