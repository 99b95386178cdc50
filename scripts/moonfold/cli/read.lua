-- read STORE STREAM and log STORE

local events = require "moonfold.cli.events"
local lines = require "moonfold.cli.lines"
local streams = require "moonfold.cli.streams"

-- Passes on the events that were recorded in the time asked for, and no more than asked for.
local function within(options, iterate, state, control, closing)
  local left = options.max or math.huge
  local function step()
    if left <= 0 then return nil end
    local event = iterate(state, control)
    while event and (event.recorded_at < (options.since or math.mininteger)
        or options["until"] and event.recorded_at >= options["until"]) do
      event = iterate(state, control)
    end
    left = left - 1
    return event
  end
  return step, nil, nil, closing
end

return function(call)
  local arguments, options = call.arguments, call.options
  local store <close> = call:open { read_only = true }
  local stream = arguments.stream
  if stream then streams.must_exist(call, store, stream) end
  local range = { from = options.from, to = options.to, backwards = options.backwards, types = options.types }
  local style = lines.style_of(call.out)
  if style then
    lines.write(call.out, store, stream, range,
      { style = style, max = options.max, since = options.since, ["until"] = options["until"] })
    return
  end
  local printer = events.printer(call.out, stream ~= nil)
  for event in within(options, events.list(store, stream, range)) do printer:add(event) end
  printer:finish("no events")
end
