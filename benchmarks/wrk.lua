-- Makes wrk send the head that it is given, with each token in turn, count every status (its own count of errors begins
-- at 400) and print a `Load` (load.py) as JSON. Arguments: head, file of tokens, repeats, first turn; see load.Order.

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

-- Plain replacement: '%' is special in Lua's patterns and in its replacements.
local function split(text, word)
  local first, last = text:find(word, 1, true)
  if not first then
    return text, ''
  end
  return text:sub(1, first - 1), text:sub(last + 1)
end

function init(arguments)
  statuses = {}
  local head, file, repeats, start = arguments[1], arguments[2], tonumber(arguments[3]), arguments[4]
  local requests = {}
  local before, after = split(head, '%TOKEN%')
  if file == '' then
    requests[1] = head
  else
    for token in io.lines(file) do
      requests[#requests + 1] = before .. token .. after
    end
  end
  local count, last = #requests, 0
  if repeats == 0 then
    request = function()
      last = last % count + 1
      return requests[last]
    end
    return
  end
  local ends, turn, rounds = {}, 0, 0
  for number, text in ipairs(requests) do
    requests[number], ends[number] = split(text, '%TURN%')
  end
  local word = start .. '-' .. turn
  request = function()
    if last == count then
      last, rounds = 0, rounds + 1
      if rounds % repeats == 0 then
        turn = turn + 1
        word = start .. '-' .. turn
      end
    end
    last = last + 1
    return requests[last] .. word .. ends[last]
  end
end

function response(status, _, _)
  local name = tostring(status)
  statuses[name] = (statuses[name] or 0) + 1
end

function done(summary, latency, _)
  local total, parts = {}, {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get('statuses')) do
      total[status] = (total[status] or 0) + count
    end
  end
  for status, count in pairs(total) do
    parts[#parts + 1] = string.format('"%s":%d', status, count)
  end
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write('\nLOAD ', string.format(
    '{"statuses":{%s},"errors":%d,"seconds":%.6f,"p50_us":%.1f,"p95_us":%.1f,"p99_us":%.1f}',
    table.concat(parts, ','), failed, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)), '\n')
end
