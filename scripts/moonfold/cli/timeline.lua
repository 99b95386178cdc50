-- timeline STORE [GLOB]

local timeline = require "moonfold.timeline"

return function(call)
  if call.out.terminal then
    call:usage(("a picture is for a file: moonfold timeline %s > timeline.svg"):format(call.arguments.store))
  end
  local store <close> = call:open { read_only = true }
  local name = call.arguments.store:match("([^/]+)$")
  call.out:write(timeline(store, { streams = call.arguments.glob, title = name }))
end
