-- What the benchmarks in Lua share. They run in the moonfold binary, called as those in C are: FOLDER RUNS MODE.

local yardstick = require "yardstick"

local bench = { folder = arg[1], runs = tonumber(arg[2]), quick = arg[3] == "quick", cpu = yardstick.cpu }

local function joined(values)
  local texts = {}
  for i, value in ipairs(values or {}) do texts[i] = ("%.6g"):format(value) end
  return table.concat(texts, " ")
end

-- One line for run.lua. `yard` and `yardstick_name` may be nil.
function bench.report(section, name, unit, values, yardstick_name, yard)
  io.write(table.concat({ section, name, unit, yardstick_name or "", joined(values), joined(yard) }, "\t"), "\n")
  io.flush()
end

-- Nanoseconds of CPU that one of `count` takes.
function bench.cost(count, work)
  local start = bench.cpu()
  work()
  return (bench.cpu() - start) / count
end

-- Calls each of the functions in turn, run by run; a list of values for each.
function bench.interleave(functions)
  local values = {}
  for i = 1, #functions do values[i] = {} end
  for run = 1, bench.runs do
    for i, work in ipairs(functions) do values[i][run] = work() end
  end
  return table.unpack(values)
end

-- ## The events: three fields each, one in ten of another type

function bench.event(i)
  local type = i % 10 == 0 and "DiscountApplied" or "ItemAdded"
  return { type = type, data = { product = "product-" .. i % 100, qty = i % 7 + 1, price = i % 1000 } }
end

-- Appends `count` events to a stream, 1000 a commit.
function bench.fill(store, stream, count)
  for first = 1, count, 1000 do
    local events = {}
    for i = first, math.min(first + 999, count) do events[#events + 1] = bench.event(i) end
    store:append_to_stream(stream, events)
  end
end

-- ## The folds

local function add(state, event)
  local data = event.data
  state.count = state.count + 1
  state.total = state.total + data.qty * data.price
  state.last = data.product
end

-- The same, but the state holds on to the event: each needs tables of its own.
local function add_and_keep(state, event)
  add(state, event)
  state.event = event
end

local function initial_state() return { count = 0, total = 0 } end

bench.aggregates = {
  { name = "function evolve", initial_state = initial_state, evolve = add },
  { name = "keeping function evolve", initial_state = initial_state, evolve = add_and_keep },
  { name = "table evolve", initial_state = initial_state, evolve = { ItemAdded = add, DiscountApplied = add } },
  { name = "table that ignores nine in ten", initial_state = initial_state, evolve = { DiscountApplied = add } },
}

-- The same from a domain script: P runs its handlers as they are, the store loads it into a sandbox, with the meter on.
local script = package.searchpath("decider", package.path)
for _, how in ipairs { "reads", "keeps data", "keeps events" } do
  bench.aggregates[#bench.aggregates + 1] = { name = "script that " .. how, initial_state = initial_state,
    evolve = loadfile(script)(how).evolve, script = script, params = how }
end

function bench.aggregate_of(aggregate)
  if aggregate.script then
    return require("moonfold").load_decider(aggregate.script,
      { params = aggregate.params, cache = false, snapshots = false })
  end
  return { initial_state = aggregate.initial_state, evolve = aggregate.evolve }
end

return bench
