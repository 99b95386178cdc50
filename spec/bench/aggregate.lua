-- aggregate_stream of a long stream in the moonfold binary: speed in P, against Node, and the memory it takes.

local moonfold = require "moonfold"
local bench = require "bench"

local count = bench.quick and 100000 or 1000000
local store <close> = moonfold.open(bench.folder .. "/aggregate.fold", { durability = "none" })
bench.fill(store, "long", count)
bench.fill(store, "short", count // 100)

-- ## Memory: the most that the process has had for itself while it folded, sampled every 500 events

local function own_memory()
  for line in io.lines("/proc/self/status") do
    local kilobytes = line:match("^RssAnon:%s*(%d+)")
    if kilobytes then return kilobytes / 1024 end
  end
end

local function most_memory(stream)
  local most, seen = own_memory(), 0
  store:aggregate_stream(stream, {
    initial_state = 0,
    evolve = function(total, event)
      seen = seen + 1
      if seen % 500 == 0 then most = math.max(most, own_memory()) end
      return total + event.data.qty
    end,
  })
  return most
end

-- All the short ones first: what a long fold keeps must not count as a short one's.
local short = bench.interleave { function() return most_memory("short") end }
local long = bench.interleave { function() return most_memory("long") end }
bench.report("memory", ("aggregate, %d events"):format(count), "MiB", long, "a hundredth", short)

-- ## Speed

local function lines_of(command)
  local pipe = assert(io.popen(command, "r"))
  local numbers = {}
  for line in pipe:lines() do numbers[#numbers + 1] = tonumber(line) end
  pipe:close()
  return numbers
end

local pure = ("%s run %s %s %d x %d")
  :format(os.getenv("MOONFOLD"), arg[0]:gsub("aggregate%.lua$", "pure.lua"), bench.folder, bench.runs, count)
local node = ("node %s %d 2>/dev/null"):format(arg[0]:gsub("aggregate%.lua$", "fold.js"), count)

local ours, p, js = {}, {}, {}
for i in ipairs(bench.aggregates) do ours[i], p[i] = {}, {} end
for run = 1, bench.runs do
  for i, numbers in ipairs(lines_of(pure)) do p[i][run] = numbers end
  js[run] = lines_of(node)[1]
  for i, aggregate in ipairs(bench.aggregates) do
    local decider = bench.aggregate_of(aggregate)
    ours[i][run] = bench.cost(count, function() store:aggregate_stream("long", decider) end)
  end
end
for i, aggregate in ipairs(bench.aggregates) do
  bench.report("aggregate", "aggregate, " .. aggregate.name, "ns/event", ours[i], "P", p[i])
end
if js[1] then bench.report("aggregate", "aggregate, function evolve", "ns/event", ours[1], "Node", js) end
