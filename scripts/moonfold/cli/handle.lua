-- handle STORE SCRIPT STREAM TYPE [JSON]

local deciders = require "moonfold.cli.deciders"
local events = require "moonfold.cli.events"

-- Events that were only decided have no positions yet.
local function print_decided(out, decided)
  local rows = out:rows { { title = "type", style = "cyan" }, { title = "data", wide = true } }
  for _, event in ipairs(decided) do
    rows:add { event.type, event.data == nil and "" or out.host.json(event.data) }
  end
  rows:finish("nothing to record")
end

return function(call)
  local arguments, options = call.arguments, call.options
  local dry = options["dry-run"]
  local command = {
    type = arguments.type,
    data = call:json(arguments.json, "JSON"),
    metadata = call:json(options.metadata, "--metadata"),
    command_id = options.id,
    time = options.time,
  }
  local clock = options.time and function() return options.time end
  local decider = deciders.load(call, arguments.script, arguments.stream)
  local function handle(store)
    local act = dry and store.decide or store.handle
    return act(store, arguments.stream, decider, command, { expected_stream_version = options.expect })
  end
  local result
  if dry then
    local store <close> = call:open { read_only = true }
    result = handle(store)
  else
    result = call:write({ clock = clock }, handle)
  end
  local out = call.out
  if out.mode == "json" then
    local list = {}
    for i, event in ipairs(result.events) do list[i] = events.record(out.host, event) end
    result.events = setmetatable(list, getmetatable(result.events))
    if #list == 0 then result.events = require("moonfold").array() end
    out:json(result)
  elseif dry then
    print_decided(out, result.events)
  else
    local printer = events.printer(out, true)
    for _, event in ipairs(result.events) do printer:add(event) end
    printer:finish("nothing to record")
  end
end
