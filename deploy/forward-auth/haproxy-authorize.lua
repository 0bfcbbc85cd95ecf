-- The action gateway-authorize: asks the gateway whether the request may pass. Where it may, the request goes on with
-- the identity fields of the answer; where it may not, the answer goes to the client as it is. Nobody passes while the
-- gateway is away.

local TIMEOUT_MILLISECONDS = 2000

-- About the message and its connection, not about who asks: HAProxy's client sets its own.
local NOT_ASKED = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true, ["keep-alive"] = true,
  ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

-- Fields for the client beside the backend's answer, and the variables in which haproxy.cfg finds them.
local FOR_CLIENT = {
  ["ratelimit-policy"] = "txn.gateway_ratelimit_policy",
  ["ratelimit"] = "txn.gateway_ratelimit",
  ["x-token-expires-at"] = "txn.gateway_expires_at",
}

-- The values of a field in their order: HAProxy counts them from 0.
local function in_order(values)
  local list = {}
  for index = 0, #values do
    list[#list + 1] = values[index]
  end
  return list
end

local function subrequest_fields(txn)
  local fields = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not NOT_ASKED[name] then
      fields[name] = in_order(values)
    end
  end
  -- Set, not added: what a client says of these is replaced.
  fields["x-forwarded-method"] = { txn.f:method() }
  fields["x-forwarded-uri"] = { txn.f:pathq() }
  fields["x-forwarded-host"] = { txn.f:req_fhdr("host") }
  return fields
end

local function refuse(txn, status, headers, content)
  local reply = txn:reply({ status = status })
  for name, values in pairs(headers) do
    if not NOT_ASKED[name] then
      for _, value in ipairs(in_order(values)) do
        reply:add_header(name, value)
      end
    end
  end
  reply:set_body(content)
  txn:done(reply)
end

core.register_action("gateway-authorize", { "http-req" }, function(txn, url)
  local answer = core.httpclient():get({
    url = url, headers = subrequest_fields(txn), timeout = TIMEOUT_MILLISECONDS,
  })
  if answer == nil or answer.status == nil or answer.status == 0 then
    refuse(txn, 503, { ["retry-after"] = { [0] = "1" } }, "")
  elseif answer.status ~= 200 then
    refuse(txn, answer.status, answer.headers, answer.body)
  else
    for name, values in pairs(answer.headers) do
      if name:find("^x%-gateway%-") or name == "x-request-id" then
        txn.http:req_set_header(name, values[0])
      elseif FOR_CLIENT[name] then
        txn:set_var(FOR_CLIENT[name], values[0])
      end
    end
  end
end, 1)
