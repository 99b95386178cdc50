-- tail STORE [STREAM] [-f]

local events = require "moonfold.cli.events"
local lines = require "moonfold.cli.lines"
local streams = require "moonfold.cli.streams"

local SHOWN = 10
local SLICE = 1 -- seconds

-- A function that prints what stands in a range.
local function printer_of(out, store, stream, types)
  local style = lines.style_of(out)
  if style then
    return function(from, to)
      lines.write(out, store, stream, { from = from, to = to, types = types }, { style = style })
    end
  end
  local printer = events.printer(out, stream ~= nil)
  return function(from, to)
    for event in events.list(store, stream, { from = from, to = to, types = types }) do printer:add(event) end
    printer:finish()
  end
end

-- Prints what is recorded from now on, until nobody reads it any more.
local function follow(call, store, stream, log, version, print)
  while true do
    call.out:flush()
    -- In slices, to see that nobody reads any more. A commit ends one at once.
    while not store:wait(log + 1, SLICE) do
      if call.host.reader_gone() then return end
    end
    local from = stream and version + 1 or log + 1
    log = call.host.span(store)
    version = stream and store:stream_version(stream)
    print(from, version or log)
  end
end

return function(call)
  local options, stream = call.options, call.arguments.stream
  local store <close> = call:open { read_only = true }
  if stream and not options.follow then streams.must_exist(call, store, stream) end
  local log = call.host.span(store)
  local version = stream and store:stream_version(stream)
  local first = lines.reach_back(call.host, store, stream, version or log, options.max or SHOWN, options.types)
  local print = printer_of(call.out, store, stream, options.types)
  if first then
    print(first, version or log)
  elseif not options.follow then
    events.printer(call.out, stream ~= nil):finish("no events")
  end
  if options.follow then follow(call, store, stream, log, version, print) end
end
