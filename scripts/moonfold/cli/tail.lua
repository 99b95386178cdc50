-- tail STORE [STREAM] [-f]

local events = require "moonfold.cli.events"
local lines = require "moonfold.cli.lines"
local streams = require "moonfold.cli.streams"

local SHOWN = 10
local SLICE = 1 -- seconds

local function list(store, stream, range)
  if stream then return store:events(stream, range) end
  return store:all_events(range)
end

-- Prints the last events; returns the positions that stand at the end: of the log, and of the stream.
local function print_last(store, stream, options, printer)
  local last = {}
  for event in list(store, stream, { backwards = true, max_count = options.max or SHOWN, types = options.types }) do
    last[#last + 1] = event
  end
  for i = #last, 1, -1 do printer:add(last[i]) end
end

return function(call)
  local options, stream = call.options, call.arguments.stream
  local store <close> = call:open { read_only = true }
  if stream and not options.follow then streams.must_exist(call, store, stream) end
  local printer = events.printer(call.out, stream ~= nil)
  local log = lines.last_position(store)
  local version = stream and store:stream_version(stream)
  print_last(store, stream, options, printer)
  printer:finish(not options.follow and "no events" or nil)
  while options.follow do
    call.out:flush()
    -- In slices, to see that nobody reads any more. A commit ends one at once.
    while not store:wait(log + 1, SLICE) do
      if call.host.reader_gone() then return end
    end
    local reached = lines.last_position(store)
    local range = stream and { from = version + 1, types = options.types }
      or { from = log + 1, to = reached, types = options.types }
    if stream then version = store:stream_version(stream) range.to = version end
    for event in list(store, stream, range) do printer:add(event) end
    log = reached
  end
end
