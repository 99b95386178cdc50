-- append STORE STREAM TYPE [JSON]

local text = require "moonfold.cli.text"

return function(call)
  local arguments, options = call.arguments, call.options
  local event = {
    type = arguments.type,
    data = call:json(arguments.json, "JSON"),
    metadata = call:json(options.metadata, "--metadata"),
    message_id = options.id,
  }
  local clock = options.time and function() return options.time end
  local result = call:write({ clock = clock }, function(store)
    return store:append_to_stream(arguments.stream, event, { expected_stream_version = options.expect })
  end)
  local out = call.out
  if out.mode == "json" then
    out:json(result)
  elseif out.mode == "table" then
    out:line(("%s is event %s of %s, and event %s of the log"):format(out.host.printable(arguments.type),
      text.number(result.next_expected_stream_version), out.host.printable(arguments.stream),
      text.number(result.last_event_global_position)))
  else
    out:line(result.next_expected_stream_version, "\t", result.last_event_global_position)
  end
end
