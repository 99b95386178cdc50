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
  local timed = options.since or options["until"]
  local range = {
    from = options.from, to = options.to, backwards = options.backwards, types = options.types,
    max_count = not timed and options.max or nil,
  }
  if call.out.mode == "json" and not timed then
    lines.write(call.out, store, stream, range, false)
    return
  end
  local printer = events.printer(call.out, stream ~= nil)
  local iterate, state, control, closing
  if stream then
    iterate, state, control, closing = store:events(stream, range)
  else
    iterate, state, control, closing = store:all_events(range)
  end
  if timed then iterate, state, control, closing = within(options, iterate, state, control, closing) end
  for event in iterate, state, control, closing do printer:add(event) end
  printer:finish("no events")
end
