-- Short aggregates of streams picked at random of many: against C that reads the same ten payloads, from bare LMDB and
-- through the store's reader.

local moonfold = require "moonfold"
local bench = require "bench"
local yardstick = require "yardstick"

local streams = bench.quick and 20000 or 100000
local reads = bench.quick and 5000 or 20000
local path = bench.folder .. "/cold.fold"
local store <close> = moonfold.open(path, { durability = "none" })

local function name_of(i) return ("stream-%06d"):format(i) end

for first = 0, streams - 1, 1000 do
  store:transaction(function()
    for i = first, first + 999 do
      local events = {}
      for version = 1, 10 do events[version] = bench.event(i + version) end
      store:append_to_stream(name_of(i), events)
    end
  end)
end
yardstick.open(path, bench.folder .. "/cold.mdb")

local decider = bench.aggregate_of(bench.aggregates[1])

local function aggregate_at_random()
  return bench.cost(reads, function()
    for _ = 1, reads do store:aggregate_stream(name_of(math.random(0, streams - 1)), decider) end
  end)
end

-- The names and numbers are not what is measured.
local function names_alone()
  return bench.cost(reads, function()
    for _ = 1, reads do name_of(math.random(0, streams - 1)) end
  end)
end

local ours, names, bare, reader = bench.interleave {
  aggregate_at_random,
  names_alone,
  function() return yardstick.bare_read(streams, reads) end,
  function() return yardstick.store_read(streams, reads) end,
}
for i in ipairs(ours) do ours[i] = ours[i] - names[i] end
bench.report("cold", "aggregate, 10 events, cold", "ns", ours, "LMDB", bare)
bench.report("cold", "aggregate, 10 events, cold", "ns", ours, "C reader", reader)
bench.report("cold", "read from C, 10 events, cold", "ns", reader, "LMDB", bare)
yardstick.close()
