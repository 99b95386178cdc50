-- moonfold.check over many streams of ten events each, and over a long one, in one process: against a plain aggregate
-- of each stream by the same script, with nothing kept. ("moonfold check" has a process for each processor.)

local check = require "moonfold.check"
local moonfold = require "moonfold"
local bench = require "bench"

local streams = bench.quick and 10000 or 100000
local long = bench.quick and 50000 or 500000
local script = assert(package.searchpath("decider", package.path))
local decider = moonfold.load_decider(script, { params = "reads", cache = false, snapshots = false })

local store <close> = moonfold.open(bench.folder .. "/check.fold", { durability = "none" })
for first = 1, streams, 1000 do
  store:transaction(function()
    for i = first, first + 999 do
      local events = {}
      for version = 1, 10 do events[version] = bench.event(i + version) end
      store:append_to_stream("short-" .. i, events)
    end
  end)
end
bench.fill(store, "long", long)

local function plain(prefix, events)
  return function()
    return bench.cost(events, function()
      for name in store:streams(prefix) do store:aggregate_stream(name, decider) end
    end)
  end
end

local function checked(prefix, events, options)
  return function()
    options.stream, options.params = prefix, "reads"
    return bench.cost(events, function()
      local report = check.run(store, script, options)
      assert(report.sound and report.events == events, "it has not looked at all of them")
    end)
  end
end

-- Rules that come to the same with another text, so that nothing is passed over.
local old = bench.folder .. "/old.lua"
do
  local from <close> = assert(io.open(script))
  local to <close> = assert(io.open(old, "w"))
  to:write((from:read("a"):gsub("state%.count %+ 1", "1 + state.count")))
end

local short, against, short_plain, one, one_plain = bench.interleave {
  checked("short-", 10 * streams, {}),
  checked("short-", 10 * streams, { against = old, against_params = "reads" }),
  plain("short-", 10 * streams),
  checked("long", long, {}),
  plain("long", long),
}
local many = ("%d streams of 10"):format(streams)
bench.report("check", "check, " .. many, "ns/event", short, "aggregate", short_plain)
bench.report("check", "check --against, " .. many, "ns/event", against, "aggregate", short_plain)
bench.report("check", ("check, a stream of %d"):format(long), "ns/event", one, "aggregate", one_plain)
