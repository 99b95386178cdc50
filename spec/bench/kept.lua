-- What kept states and snapshots are worth: commands on streams of any length, against what a command must do to the
-- file, in C on bare LMDB; and the first look at a long stream, against its fold.

local moonfold = require "moonfold"
local bench = require "bench"
local yardstick = require "yardstick"

local store <close> = moonfold.open(bench.folder .. "/kept.fold", { durability = "none" })
moonfold.open(bench.folder .. "/none.fold", { durability = "none" }):close()

local path = bench.folder .. "/kept.lua"
do
  local file <close> = assert(io.open(path, "w"))
  file:write [[
return {
  initial_state = { count = 0, total = 0, large = {} },
  evolve = {
    ItemAdded = function(state, event)
      local data = event.data
      state.count = state.count + data.qty
      state.total = state.total + data.qty * data.price
    end,
    DiscountApplied = function(state) state.count = state.count + 1 end,
    Grown = function(state, event)
      for i = 1, event.data do state.large[#state.large + 1] = ("entry %d of a large state"):format(i) end
    end,
  },
  decide = {
    Add = function(command, state)
      if state.count >= 0 then return { type = "ItemAdded", data = command.data } end
    end,
  },
}
]]
end

local function load(keeping)
  return moonfold.load_decider(path, { cache = keeping, snapshots = keeping, memory = 1 << 29 })
end

local long = bench.quick and 100000 or 1000000
local lengths = { 1000, long }
for _, length in ipairs(lengths) do bench.fill(store, "of-" .. length, length) end
bench.fill(store, "large", 1000)
store:append_to_stream("large", { type = "Grown", data = 34000 }) -- 1 MB, encoded

local decider = load(true)
local command = { type = "Add", data = bench.event(1).data }
local commands = bench.quick and 2000 or 10000

local function handle(stream, options, rules)
  return function()
    return bench.cost(commands, function()
      for _ = 1, commands do store:handle(stream, rules or decider, command, options) end
    end)
  end
end

--- The first look of each of `times` deciders.
local function look(keeping, times)
  return function()
    local fresh = {}
    for i = 1, times do fresh[i] = load(keeping) end
    return bench.cost(times, function()
      for i = 1, times do store:aggregate_stream("of-" .. long, fresh[i]) end
    end)
  end
end

store:aggregate_stream("of-" .. long, decider) -- takes the snapshot
yardstick.open(bench.folder .. "/none.fold", bench.folder .. "/kept.mdb")
yardstick.fill(long * 80 // 8000) -- a log as long as ours: 80 bytes for an event
local short, far, stateless, large, bare = bench.interleave {
  handle("of-1000"), handle("of-" .. long), handle("of-1000", { state = false }),
  handle("large", { state = false }, load(true)),
  function() return yardstick.handle(commands) end,
}
bench.report("kept", "warm handle, 1000 events", "ns", short, "LMDB", bare)
bench.report("kept", ("warm handle, %d events"):format(long), "ns", far, "LMDB", bare)
bench.report("kept", "warm handle, 1000 events, state=false", "ns", stateless, "LMDB", bare)
bench.report("kept", "warm handle, a state of 1 MB, state=false", "ns", large, "LMDB", bare)
local found, folded = bench.interleave { look(true, 20), look(false, 1) }
bench.report("kept", ("first look at %d events, a snapshot"):format(long), "ns", found, "a fold", folded)
yardstick.close()
