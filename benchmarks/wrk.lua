-- Asks for manifests as an engine does, and writes what wrk measured as a line of JSON: latencies in microseconds.

wrk.headers["Accept"] = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
  .. "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

-- "unshared": no two requests under way at a time have the same credentials.
-- "cold": six or so cells of the field of 100x100 cells, hardly ever the same twice.
function init(arguments)
  if arguments[1] == "unshared" then
    local count = 0
    function request()
      count = (count + 1) % 64
      wrk.headers["Authorization"] = "Basic client" .. count
      return wrk.format()
    end
  elseif arguments[1] == "cold" then
    math.randomseed(os.time())
    function request()
      local row, column = math.random(0, 94), math.random(0, 94)
      local link = string.format("%d.%d.%d.%d", row, column, row + math.random(0, 4), column)
      local other = string.format("%d.%d.%d.%d", column, row, column, row + math.random(0, 4))
      return wrk.format("GET", wrk.path .. "--" .. link .. "--" .. other)
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
