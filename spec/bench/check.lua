-- moonfold.check in one process, against a plain aggregate of each stream by the same script, with nothing kept, of
-- three shapes of a log: many short streams and fewer long ones, both written in turn, and a single one. ("moonfold
-- check" has a process for each processor.)

local check = require "moonfold.check"
local moonfold = require "moonfold"
local bench = require "bench"

local scale = bench.quick and 10 or 1
local script = assert(package.searchpath("decider", package.path))
local decider = moonfold.load_decider(script, { params = "reads", cache = false, snapshots = false })

-- `streams` streams of `length` events, an event of each after the other.
local function shape(name, streams, length)
  local store = moonfold.open(("%s/%s.fold"):format(bench.folder, name), { durability = "none" })
  if streams == 1 then bench.fill(store, "s-1", length) end
  for version = 1, streams > 1 and length or 0 do
    for first = 1, streams, 1000 do
      store:transaction(function()
        for i = first, first + 999 do store:append_to_stream("s-" .. i, bench.event(i + version)) end
      end)
    end
  end
  return { store = store, events = streams * length }
end

local short = shape("short", 100000 // scale, 10)
local medium = shape("medium", 10000 // scale, 100)
local long = shape("long", 1, 1000000 // scale)

local function plain(of)
  return function()
    return bench.cost(of.events, function()
      for name in of.store:streams() do of.store:aggregate_stream(name, decider) end
    end)
  end
end

local function checked(of, options)
  return function()
    options.params = "reads"
    return bench.cost(of.events, function()
      local report = check.run(of.store, script, options)
      assert(report.sound and report.events == of.events, "it has not looked at all of them")
    end)
  end
end

local function anonymous_memory()
  for line in io.lines("/proc/self/status") do
    local kilobytes = line:match("^RssAnon:%s*(%d+)")
    if kilobytes then return tonumber(kilobytes) / 1024 end
  end
end

-- Rules that come to the same with another text, so that nothing is passed over.
local old = bench.folder .. "/old.lua"
do
  local from <close> = assert(io.open(script))
  local to <close> = assert(io.open(old, "w"))
  to:write((from:read("a"):gsub("state%.count %+ 1", "1 + state.count")))
end

-- First: what a process has once had it does not give back.
local most, before = 0, anonymous_memory()
check.run(short.store, script, {
  params = "reads", against = old, against_params = "reads",
  progress = function() most = math.max(most, anonymous_memory() - before) end,
})
local many = ("%d streams of 10"):format(100000 // scale)
bench.report("check", ("memory of a check --against, %s"):format(many), "MiB", { most })

local one, one_plain, hundred, hundred_plain, ten, against, ten_plain = bench.interleave {
  checked(long, {}), plain(long),
  checked(medium, {}), plain(medium),
  checked(short, {}), checked(short, { against = old, against_params = "reads" }), plain(short),
}
bench.report("check", ("check, a stream of %d"):format(long.events), "ns/event", one, "aggregate", one_plain)
bench.report("check", ("check, %d streams of 100, in turn"):format(10000 // scale), "ns/event", hundred, "aggregate",
  hundred_plain)
bench.report("check", ("check, %s, in turn"):format(many), "ns/event", ten, "aggregate", ten_plain)
bench.report("check", ("check --against, %s, in turn"):format(many), "ns/event", against, "aggregate", ten_plain)
