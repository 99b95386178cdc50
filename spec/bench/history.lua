-- The history library and the REPL, on a store of 1,000,000 events in 100,000 streams (quick: a tenth of it).

local complete = require "moonfold.repl.complete"
local history = require "moonfold.history"
local moonfold = require "moonfold"
local bench = require "bench"

local path = bench.folder .. "/history.fold"
local store <close> = moonfold.open(path, { durability = "none" })
local streams = bench.quick and 10000 or 100000
local LONG <const> = 10000

local counter = {
  category = "counter",
  initial_state = function() return { total = 0, seen = {} } end,
  evolve = {
    ItemAdded = function(state, event)
      state.total = state.total + event.data.price
      state.seen[event.data.product] = true
    end,
  },
}

local function fill()
  local events = {}
  for i = 1, 10 do events[i] = bench.event(i) end
  for first = 1, streams, 1000 do
    store:transaction(function()
      for i = first, first + 999 do store:append_to_stream(("cart-%06d"):format(i), events) end
    end)
  end
  bench.fill(store, "counter-1", LONG)
end

local function milliseconds(work)
  return function() return bench.cost(1, work) / 1e6 end
end

-- ## Programs that are started: what a start costs, in CPU

--- Seconds of CPU that ended children took: clock ticks, of which there are 100 in a second.
local function children()
  local file <close> = assert(io.open("/proc/self/stat"))
  local fields = {}
  for word in file:read("a"):gsub("^.*%) ", ""):gmatch("%S+") do fields[#fields + 1] = word end
  return (fields[14] + fields[15]) / 100
end

local STARTS <const> = 20

local function started(command)
  return function()
    local before = children()
    for _ = 1, STARTS do assert(os.execute(command)) end
    return (children() - before) / STARTS * 1000
  end
end

local program = arg[-1] or arg[0]
local moonfold_program = os.getenv("MOONFOLD") or program

local function repl(typed, rest)
  return started(("echo '%s' | %s repl '%s' %s >/dev/null"):format(typed, moonfold_program, path, rest or ""))
end

-- ## What is measured

local past = history.of(store, counter)
local world = {
  env = _G,
  dots = function() return { { name = "why", takes = { "STREAM" } } } end,
  streams = function(prefix)
    local names = {}
    for name in store:streams(prefix) do
      names[#names + 1] = name
      if #names == 100 then break end
    end
    return names
  end,
}

fill()
local why, find, halved, fold, completion, start, screen, version = bench.interleave {
  milliseconds(function() assert(#past:why("counter-1", "total") > LONG / 2) end),
  milliseconds(function() past:find("counter-1", function(total) return total < 0 end, { path = "total" }) end),
  milliseconds(function() past:find("counter-1", function(state) return state.total < 0 end, { monotonic = true }) end),
  milliseconds(function() store:aggregate_stream("counter-1", counter) end),
  milliseconds(function() assert(#complete(".why cart-0", 11, world) == 100) end),
  repl("1 + 1"),
  repl(".streams", "| head -n 24"),
  started(moonfold_program .. " --version >/dev/null"),
}
bench.report("history", "why, 10000 events", "ms", why, "a fold", fold)
bench.report("history", "find by a part, 10000 events", "ms", find, "a fold", fold)
bench.report("history", "find by halving, 10000 events", "ms", halved, "a fold", fold)
bench.report("history", ("completion, %d streams"):format(streams), "ms", completion)
bench.report("history", ("REPL started, %d streams"):format(streams), "ms", start, "moonfold --version", version)
bench.report("history", ("first screen of .streams, of %d"):format(streams), "ms", screen, "moonfold --version",
  version)
