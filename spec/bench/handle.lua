-- Commands and appends from Lua, one a commit, no sync: against bare LMDB, one put in a commit.

local moonfold = require "moonfold"
local bench = require "bench"
local yardstick = require "yardstick"

local path = bench.folder .. "/handle.fold"
local store <close> = moonfold.open(path, { durability = "none" })
local decider = bench.aggregate_of(bench.aggregates[2])
local added = bench.event(1)

function decider.decide(_, state)
  if state.count < 1 then return moonfold.reject("empty") end
  return added
end

-- Streams of `length` events, so many that a run's commands lengthen none of them by more than one.
local function fill(length, streams)
  for i = 1, streams do bench.fill(store, ("of-%d-%d"):format(length, i), length) end
end

-- The same with shapes: of the command's data and of the event's.
local shape = { product = "string", qty = "integer", price = "integer" }
local shaped = bench.aggregate_of(bench.aggregates[2])
shaped.decide, shaped.commands, shaped.events = decider.decide, { Add = shape }, { [added.type] = shape }

local command = { type = "Add" }
local command_with_data = { type = "Add", data = added.data }
local without_state = { state = false }

local function handle(length, streams, options, rules, wanted)
  rules, wanted = rules or decider, wanted or command
  local names = {}
  for i = 1, streams do names[i] = ("of-%d-%d"):format(length, i) end
  return function()
    return bench.cost(streams, function()
      for _, name in ipairs(names) do store:handle(name, rules, wanted, options) end
    end)
  end
end

-- ## The same decider as a script

local function write(name, text)
  local file <close> = assert(io.open(bench.folder .. "/" .. name, "w"))
  file:write(text)
  return bench.folder .. "/" .. name
end

local rules = write("rules.lua", [[
local moonfold = require "moonfold"
return {
  initial_state = { count = 0, total = 0 },
  evolve = {
    ItemAdded = function(state, event)
      local data = event.data
      state.count = state.count + data.qty
      state.total = state.total + data.qty * data.price
    end,
    DiscountApplied = function(state) state.count = state.count + 1 end,
  },
  decide = {
    Add = function(command, state)
      if state.count < 1 then return moonfold.reject("empty") end
      return moonfold.event("ItemAdded", command.data)
    end,
  },
}
]])
local loaded, same = moonfold.load_decider(rules), dofile(rules)

local function append(batch, commits)
  local events = {}
  for i = 1, batch do events[i] = bench.event(i) end
  return function()
    return bench.cost(batch * commits, function()
      for _ = 1, commits do store:append_to_stream("appended", events) end
    end)
  end
end

local few, many = bench.quick and 500 or 2000, bench.quick and 50 or 200
fill(10, few)
fill(1000, many)
yardstick.open(path, bench.folder .. "/handle.mdb")
local ten, ten_stateless, thousand, unshaped, with_shapes, plain, scripted, one, batch, bare = bench.interleave {
  handle(10, few),
  handle(10, few, without_state),
  handle(1000, many),
  handle(10, few, without_state, decider, command_with_data),
  handle(10, few, without_state, shaped, command_with_data),
  handle(10, few, nil, same, command_with_data),
  handle(10, few, nil, loaded, command_with_data),
  append(1, few),
  append(1000, 20),
  function() return yardstick.commit(few) end,
}
bench.report("handle", "handle, 10 events", "ns", ten, "LMDB", bare)
bench.report("handle", "handle, 10 events, state=false", "ns", ten_stateless, "LMDB", bare)
bench.report("handle", "handle, 1000 events", "ns", thousand, "LMDB", bare)
bench.report("handle", "handle, 10 events, shapes declared", "ns", with_shapes, "none declared", unshaped)
bench.report("handle", "handle, 10 events, a script", "ns", scripted, "a table", plain)
bench.report("handle", "append from Lua, 1 a commit", "ns/event", one, "LMDB", bare)
bench.report("handle", "append from Lua, 1000 a commit", "ns/event", batch)
yardstick.close()
