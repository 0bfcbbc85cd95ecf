-- Makes wrk count every status (its own count of errors begins at 400) and print a `Load` (load.py) as JSON. An argument
-- names a file of tokens, which the requests have in turn.

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(arguments)
  statuses = {}
  if arguments[1] then
    local requests, last = {}, 0
    for token in io.lines(arguments[1]) do
      wrk.headers['Authorization'] = 'Bearer ' .. token
      requests[#requests + 1] = wrk.format()
    end
    request = function()
      last = last % #requests + 1
      return requests[last]
    end
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
    '{"statuses":{%s},"errors":%d,"seconds":%.6f,"p50_us":%.1f,"p99_us":%.1f}',
    table.concat(parts, ','), failed, summary.duration / 1e6, latency:percentile(50), latency:percentile(99)), '\n')
end
