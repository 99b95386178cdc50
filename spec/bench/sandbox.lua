-- What the sandbox costs: its meter in a fold, the views of states in decide, loading a script, a script that waits;
-- and how long the most stubborn of hostile scripts lasts at default limits.

package.path = "spec/?.lua;" .. package.path

local moonfold = require "moonfold"
local bench = require "bench"

local function write(name, text)
  local path = bench.folder .. "/" .. name
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
  return path
end

-- ## The meter: the same handlers as a table in the host's state, where nothing is metered

local handlers = {
  { "reads fields", [[
    local data = event.data
    state.count = state.count + 1
    state.total = state.total + data.qty * data.price]] },
  { "calls a library", [[
    local data = event.data
    state.count = state.count + 1
    state.total = math.max(state.total, data.qty * data.price)
    state.last = data.product:upper()]] },
  { "loops", [[
    local data = event.data
    state.count = state.count + 1
    for i = 1, data.qty do state.total = state.total + i end]] },
}

local script = [[
local function add(state, event)
%s
end
return { initial_state = { count = 0, total = 0 }, evolve = { ItemAdded = add, DiscountApplied = add } }
]]

local count = bench.quick and 50000 or 300000
local store <close> = moonfold.open(bench.folder .. "/sandbox.fold", { durability = "none" })
bench.fill(store, "long", count)

local function fold(decider)
  return function() return bench.cost(count, function() store:aggregate_stream("long", decider) end) end
end

for i, handler in ipairs(handlers) do
  local text = script:format(handler[2])
  local loaded = moonfold.load_decider(write(("meter-%d.lua"):format(i), text), { cache = false, snapshots = false })
  local metered, free = bench.interleave { fold(loaded), fold(load(text)()) }
  bench.report("sandbox", "metered fold, " .. handler[1], "ns/event", metered, "unmetered", free)
end

-- ## Views: decide reads a state of 1000 items through views, evolve reads it itself

local reading = [[
local moonfold = require "moonfold"
local function read(state, times)
  local sum, items = 0, state.items
  for _ = 1, times do
    for i = 1, #items do sum = sum + items[i].n end
  end
  return sum
end
return {
  category = "read",
  initial_state = function()
    local items = {}
    for i = 1, 1000 do items[i] = { n = i } end
    return { items = items }
  end,
  evolve = { Read = function(state, event) read(state, event.data) end },
  decide = { Read = function(command, state)
    if command.data == "view" then read(state, 20) end
    return moonfold.event("Read", command.data == "raw" and 20 or 0)
  end },
}
]]
local reader = moonfold.load_decider(write("read.lua", reading), { cache = false, snapshots = false })

local function decide(how)
  local command = moonfold.command("Read", how)
  return bench.cost(20 * 1000 * 20, function()
    for _ = 1, 20 do store:decide("read-1", reader, command) end
  end)
end

local function beyond_nothing(how)
  return function()
    local nothing = decide("nothing")
    return decide(how) - nothing
  end
end

local view, raw = bench.interleave { beyond_nothing("view"), beyond_nothing("raw") }
bench.report("sandbox", "a field of a table of the state, in decide", "ns", view, "in evolve", raw)

-- ## Loading

local lines = { "local moonfold = require \"moonfold\"", "local evolve, decide = {}, {}" }
for i = 1, 24 do
  lines[#lines + 1] = ([[
function evolve.Changed%d(state, event)
  state.count = state.count + event.data.qty
  state.names[#state.names + 1] = ("%%s of %%d"):format(event.data.name, event.data.qty)
end
function decide.Change%d(command, state)
  if state.count > 100 then return moonfold.reject("too_many", "no more than a hundred") end
  return moonfold.event("Changed%d", command.data)
end]]):format(i, i, i)
end
lines[#lines + 1] = "return { initial_state = { count = 0, names = {} }, evolve = evolve, decide = decide }"
local long_script = write("long.lua", table.concat(lines, "\n"))

local loads = bench.quick and 20 or 100
local loading = bench.interleave { function()
  return bench.cost(loads, function()
    for _ = 1, loads do moonfold.load_decider(long_script) end
  end) / 1000
end }
bench.report("sandbox", "load of a script of 200 lines", "us", loading)

local function own_memory()
  collectgarbage()
  for line in io.lines("/proc/self/status") do
    local kilobytes = line:match("^RssAnon:%s*(%d+)")
    if kilobytes then return tonumber(kilobytes) end
  end
end

local kept = {}
local memory = bench.interleave { function()
  local before = own_memory()
  for _ = 1, 50 do kept[#kept + 1] = moonfold.load_decider(long_script) end
  return (own_memory() - before) / 50
end }
bench.report("sandbox", "a loaded script that waits", "KiB", memory)

-- ## Hostile scripts

local sandboxed = require "sandboxed"
local slowest = {}
for _, attempt in ipairs(require "hostile") do
  local fine, hostile = pcall(sandboxed.load, attempt.body, attempt)
  if fine then
    local took = bench.cost(1e6, function() pcall(sandboxed.call, hostile) end)
    if took > (slowest[1] or 0) then slowest[1] = took end
  end
end
bench.report("sandbox", "the longest of hostile scripts", "ms", slowest)

-- The same where a state of 20 MB is kept: what collecting it takes must give a script no more time.
local deeds = {
  loop = "while true do end",
  garbage = "while true do local t = { {}, {}, {} } end",
  list = "local t = {} while true do t[#t + 1] = {} end",
  strings = "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end",
  old = "local t = {} for i = 1, 1e9 do t[i % 100000] = { i } end",
}
local longest = {}
for what, deed in pairs(deeds) do
  local hoarder = moonfold.load_decider(write("hoarder-" .. what .. ".lua", ([[
    return {
      initial_state = { list = {}, n = 0 },
      evolve = { Grown = function(state)
        for i = state.n + 1, state.n + 100 do state.list[i] = { i } end
        state.n = state.n + 100
      end },
      decide = { Do = function() %s end },
    }]]):format(deed)), { snapshots = false })
  local hoard <close> = moonfold.open(":memory:")
  for _ = 1, 25 do
    local events = {}
    for k = 1, 100 do events[k] = { type = "Grown" } end
    hoard:append_to_stream("hoarder", events)
  end
  hoard:aggregate_stream("hoarder", hoarder)
  for run = 1, 3 do
    local took = bench.cost(1e6, function()
      pcall(hoard.decide, hoard, "hoarder", hoarder, moonfold.command("Do"), { state = false })
    end)
    longest[run] = math.max(longest[run] or 0, took)
  end
end
require("support").clean()
bench.report("sandbox", "the longest of hostile scripts, with a state of 20 MB", "ms", longest)
