-- state STORE SCRIPT STREAM

local deciders = require "moonfold.cli.deciders"
local streams = require "moonfold.cli.streams"

-- The last version that was recorded at a time or before it.
local function version_at(store, stream, time)
  local version = 0
  for event in store:events(stream) do
    if event.recorded_at > time then break end
    version = event.stream_position
  end
  return version
end

return function(call)
  local arguments, at = call.arguments, call.options.at
  local store <close> = call:open { read_only = true }
  local decider = deciders.load(call, arguments.script, arguments.stream)
  streams.must_exist(call, store, arguments.stream)
  local to = at and (at.position or version_at(store, arguments.stream, at.time))
  local result = store:aggregate_stream(arguments.stream, decider, { to = to })
  if call.out.mode == "json" then
    call.out:json { state = result.state, current_stream_version = result.current_stream_version }
  else
    call.out:value(result.state)
  end
end
