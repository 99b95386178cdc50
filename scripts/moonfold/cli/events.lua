-- Events as the commands print them: read, log, tail, handle.

local values = require "moonfold.values"

local events = {}

local columns = {
  stream = {
    { title = "#", right = true, style = "dim" }, { title = "time", style = "dim" }, { title = "type", style = "cyan" },
    { title = "data", wide = true, json = true },
  },
  log = {
    { title = "position", right = true, style = "dim" }, { title = "stream", style = "green" },
    { title = "#", right = true, style = "dim" }, { title = "time", style = "dim" }, { title = "type", style = "cyan" },
    { title = "data", wide = true, json = true },
  },
  lines = { {}, {}, {}, {}, {}, { json = true }, { json = true } },
}

--- The iterator over a stream, or (nil) over the log.
function events.list(store, stream, range)
  if stream then return store:events(stream, range) end
  return store:all_events(range)
end

--- A printer of events, but not for JSON: add(event), finish(nothing). `one_stream`: the table need not name the
--- stream.
function events.printer(out, one_stream)
  local host = out.host
  local printer = {}
  local layout = out.mode == "lines" and "lines" or one_stream and "stream" or "log"
  local rows = out:rows(columns[layout])
  local function json(value)
    if values.is_foreign(value) then return tostring(value) end
    return value == nil and "" or host.json(value)
  end
  function printer:add(event) -- luacheck: no self
    if layout == "lines" then
      return rows:add { event.global_position, event.stream_name, event.stream_position, host.time(event.recorded_at),
        event.type, json(event.data), json(event.metadata) }
    end
    local seconds = host.time(event.recorded_at):sub(1, 19) .. "Z"
    if layout == "stream" then
      return rows:add { event.stream_position, seconds, event.type, json(event.data) }
    end
    rows:add { event.global_position, event.stream_name, event.stream_position, seconds, event.type, json(event.data) }
  end
  function printer:finish(nothing) rows:finish(nothing) end -- luacheck: no self
  return printer
end

--- A recorded event as JSON shows it.
function events.record(host, event)
  return {
    type = event.type, data = event.data, metadata = event.metadata, message_id = event.message_id,
    stream_name = event.stream_name, stream_position = event.stream_position, global_position = event.global_position,
    recorded_at = event.recorded_at and host.time(event.recorded_at), code_digest = event.code_digest,
  }
end

return events
