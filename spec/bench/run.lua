-- The benchmarks: lua5.4 spec/bench/run.lua [--quick|--full] [--keep] [NAME...]
--
-- Builds and runs the programs of this folder, or those that are named (`programs` below). Prints a table of ratios to
-- yardsticks that took turns with what is measured; when all ran, it also writes build/bench.jsonl and draws
-- build/bench/*.svg. --quick takes less than a minute; --full adds a store of 10,000,000 events (3 GB of disk). --keep
-- copies numbers and plots to spec/bench/results, from where README shows them. A goal that is not met is information:
-- the exit status is 0 unless a program fails.
--
-- BUILD=folder, CC=compiler: as in the Makefile. RUNS=5: how often everything is measured.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path
local svg = require "svg"

local build = os.getenv("BUILD") or "build"
local cc = os.getenv("CC") or "cc"
local runs = tonumber(os.getenv("RUNS") or "5")
local programs = {
  "append", "durable", "threads", "handles", "read", "scale", "aggregate", "cold", "handle", "kept", "check",
  "sandbox", "frames", "embed", "transfer", "history", "trust",
}
local in_lua = {
  aggregate = true, cold = true, handle = true, kept = true, check = true, sandbox = true, transfer = true,
  history = true,
}

-- ## The goals. `cost` compares what one takes with what the yardstick takes, `speed` the other way round, `value` is
-- ## the number itself in its unit. Keys are patterns for "name / yardstick".

local goals = {
  { "^append, .* 1000 a commit / LMDB$", "cost", "<=", 3.3 },
  { "^append, .* 1 a commit / LMDB$", "value", "<=", 12000 },
  { "^full, .* 1 a commit / D$", "cost", "<=", 2.1 },
  { "^full, .* 64 a commit / D$", "cost", "<=", 4.1 },
  { "^full, .* 1 a commit, 16 threads / ", "cost", ">=", 5 },
  { "^full, handle, 16 threads / ", "cost", ">=", 5 },
  { "^log, 10*%f[ ] streams? / LMDB cursor$", "value", "<=", 30 },
  { "^log, 10*%f[ ] streams? / checked cursor$", "cost", "<=", 1.6 },
  { "^file, .* 1000 a commit / ", "cost", "<=", 1.25 },
  { "^file, .* 1 a commit / ", "cost", "<=", 1.35 },
  { "^open", "value", "<=", 5000 },
  { "^append, 10000000 events / ", "cost", "<=", 1.5 },
  { "^log read, 10000000 events / ", "cost", "<=", 1.5 },
  { "^scattered read, 10000000 events / ", "cost", "<=", 2.5 },
  { "^append, %d+ events / 1000000 events$", "cost", "<=", 2.5 },
  { "^log read, %d+ events / 1000000 events$", "cost", "<=", 1.5 },
  { "^scattered read, %d+ events / 1000000 events$", "cost", "<=", 4 },
  { "^aggregate, script that reads / P$", "speed", ">=", 0.25 },
  { "^aggregate, script that keeps .* / P$", "speed", ">=", 0.15 },
  { "^aggregate, keeping .* / P$", "speed", ">=", 0.15 },
  { "^handle, .* shapes declared / none declared$", "cost", "<=", 1.1 },
  { "^warm handle, ", "cost", "<=", 2.2 },
  { "^first look at ", "speed", ">=", 500 },
  { "^load of a script of 200 lines", "value", "<=", 2000 },
  { "^a loaded script that waits", "value", "<=", 1024 },
  { "^the longest of hostile scripts", "value", "<=", 100 },
  { "^metered fold, reads fields", "cost", "<=", 1.2 },
  { "^handle, .* a script / a table$", "cost" },
  { "^aggregate, .* evolve / P$", "speed", ">=", 0.18 },
  { "^aggregate, .* / P$", "speed" },
  { "^aggregate, .* / Node$", "speed", ">=", 2 },
  { "^aggregate, 10 events, cold / LMDB$", "cost", "<=", 6 },
  { "^aggregate, %d+ events / a hundredth$", "cost", "<=", 1.25 },
  { "^export / a loop in Lua$", "cost", "<=", 2.5 },
  { "^log .* / a loop in Lua$", "cost", "<=", 2.5 },
  { "^import / appends in Lua$", "cost", "<=", 4 },
  { "^why, 10000 events", "value", "<=", 1000 },
  { "^find by a part", "cost", "<=", 5 },
  { "^find by halving", "cost", "<=", 3 },
  { "^check, %d+ streams of 10, ", "cost", "<=", 2.6 },
  { "^check, %d+ streams of 100, ", "cost", "<=", 1.9 },
  { "^check, a stream", "cost", "<=", 2.8 },
  { "^check %-%-against, ", "cost", "<=", 3.4 },
  { "^memory of a check", "value", "<=", 64 },
  { "^completion, ", "value", "<=", 50 },
  { "^REPL started", "value", "<=", 50 },
  { "^first screen of .streams", "value", "<=", 50 },
  { "^command of 5 fields.* values / JSON$", "cost", "<=", 0.8 },
  { "^store opened, script of 200 lines", "value", "<=", 5000 },
  { "^look for edited rules", "value", "<=", 20 },
  { "^queued command after", "cost", "<=", 1.5 },
  { "^frame, .* 99.9 %% / ", "value", "<=", 16000 },
}

local function goal_of(row)
  local key = row.name .. " / " .. row.yardstick
  for _, goal in ipairs(goals) do
    if key:find(goal[1]) then return { kind = goal[2], relation = goal[3], limit = goal[4] } end
  end
  return { kind = "cost" }
end

-- ## Running

local function shell(command)
  local pipe = assert(io.popen(command, "r"))
  local output = pipe:read("a")
  return pipe:close() and output or nil, output
end

local function need(output, what)
  if output then return output end
  io.stderr:write("bench: ", what, " failed\n")
  os.exit(1, true)
end

local folder -- of the stores; removed at the end

local function clean() if folder then os.execute("rm -rf '" .. folder .. "'") end end

local function compile(output, source, arguments)
  local flags = need(shell("pkg-config --cflags lua5.4 lmdb libb2"), "pkg-config"):gsub("\n", " ")
  need(shell(("%s -std=c11 -O2 -g -Wall -Wextra -D_GNU_SOURCE -Istore -Iruntime %s %s/%s -o %s/bench/%s %s")
    :format(cc, flags, here, source, build, output, arguments)), "compiling " .. source)
end

local function build_program(name)
  local libraries = need(shell("pkg-config --libs lmdb lua5.4 libb2"), "pkg-config"):gsub("\n", " ")
  if in_lua[name] then
    -- The binary brings Lua and the store; LMDB is the yardstick's own.
    compile("yardstick.so", "yardstick.c", "-fPIC -shared -fvisibility=hidden " .. libraries:match("%S*lmdb"))
  else
    compile(name, name .. ".c", ("%s/libmoonfold.a %s -lpthread -lm -ldl"):format(build, libraries))
  end
end

local function numbers(text)
  local list = {}
  for word in text:gmatch("%S+") do list[#list + 1] = tonumber(word) end
  return list
end

local function run_program(name, mode)
  folder = need(shell(("mktemp -d %s/bench/files.XXXXXX"):format(build)), "mktemp"):match("%S+")
  local program = ("%s/bench/%s"):format(build, name)
  if in_lua[name] then
    program = ("LUA_PATH='%s/?.lua;;' LUA_CPATH='%s/bench/?.so;;' MOONFOLD=%s/moonfold %s/moonfold run %s/%s.lua")
      :format(here, build, build, build, here, name)
  end
  local output = shell(("%s %s %d %s"):format(program, folder, runs, mode))
  clean()
  need(output, name)
  local rows = {}
  for section, title, unit, yardstick, values, yard in
    output:gmatch("([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\n") do
    rows[#rows + 1] = { section = section, name = title, unit = unit, yardstick = yardstick,
      values = numbers(values), yard = numbers(yard) }
  end
  return rows
end

-- ## Sums

-- Smallest, median and largest.
local function spread(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local n = #sorted
  return { min = sorted[1], median = (sorted[(n + 1) // 2] + sorted[n // 2 + 1]) / 2, max = sorted[n] }
end

-- The ratio of the medians, and the smallest and largest ratio of a run.
local function ratio_of(row)
  local above, below = row.values, row.yard
  if row.goal.kind == "speed" then above, below = below, above end
  local ratios = {}
  for i in ipairs(above) do ratios[i] = above[i] / below[i] end
  local ratio = spread(ratios)
  ratio.median = spread(above).median / spread(below).median
  return ratio
end

local function finish(row)
  row.goal = goal_of(row)
  row.value = spread(row.values)
  if #row.yard > 0 then
    row.yard_value = spread(row.yard)
    row.ratio = ratio_of(row)
  end
  local limit = row.goal.limit
  if limit then
    local reached = row.goal.kind == "value" and row.value.median or row.ratio.median
    if row.goal.relation == "<=" then row.met = reached <= limit else row.met = reached >= limit end
  end
end

-- ## The table

local function short(value)
  if not value then return "" end
  return (value >= 1000 and "%.0f" or value >= 100 and "%.1f" or "%.3g"):format(value)
end

local function goal_text(row)
  if not row.goal.limit then return "", "" end
  local unit = row.goal.kind == "value" and " " .. row.unit or ""
  return ("%s %g%s"):format(row.goal.relation, row.goal.limit, unit), row.met and "met" or "not met"
end

local function print_rows(rows)
  local format = "%-46s %9s %-12s %9s %-12s %8s %8s %8s  %-18s %s\n"
  local section
  for _, row in ipairs(rows) do
    if row.section ~= section then
      io.write("\n", format:format(row.section, "median", "", "yardstick", "", "min", "ratio", "max", "goal", ""))
    end
    section = row.section
    local ratio = row.ratio or {}
    local goal, met = goal_text(row)
    local name = row.name .. (row.goal.kind == "speed" and " (speed)" or "")
    local line = format:format(name, short(row.value.median), row.unit, short((row.yard_value or {}).median),
      row.yardstick, short(ratio.min), short(ratio.median), short(ratio.max), goal, met)
    io.write((line:gsub(" +\n", "\n")))
  end
  io.flush()
end

-- ## JSON lines

local function json(value)
  if type(value) == "table" then
    local parts = {}
    if #value > 0 then
      for i, item in ipairs(value) do parts[i] = json(item) end
      return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, item in pairs(value) do parts[#parts + 1] = ('"%s":%s'):format(key, json(item)) end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
  elseif type(value) == "string" then
    return '"' .. value:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
  elseif math.type(value) == "float" then
    return ("%.6g"):format(value)
  end
  return tostring(value)
end

local function write_json(path, machine, rows)
  local file = assert(io.open(path, "w"))
  file:write(json(machine), "\n")
  for _, row in ipairs(rows) do
    file:write(json {
      section = row.section, name = row.name, unit = row.unit, values = row.values, median = row.value.median,
      yardstick = row.yardstick ~= "" and row.yardstick or nil, yardstick_values = row.ratio and row.yard or nil,
      yardstick_median = row.ratio and row.yard_value.median or nil, ratio = row.ratio, ratio_of = row.goal.kind,
      goal = row.goal.limit and row.goal.relation .. " " .. row.goal.limit or nil, met = row.met,
    }, "\n")
  end
  file:close()
end

local function machine_of(mode)
  local cpu = shell("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo") or ""
  return {
    date = os.date("!%Y-%m-%d %H:%M UTC"), mode = mode, runs = runs, cpu = cpu:match("[^\n]+") or "unknown",
    cores = tonumber(shell("nproc") or "") or 0, kernel = (shell("uname -sr") or ""):gsub("\n", ""),
  }
end

-- ## Pictures

local function ratio_rows(rows, with_goal)
  local picked = {}
  for _, row in ipairs(rows) do
    local own_plot = row.section == "scale" or row.section == "threads" or row.section == "handles"
    if row.ratio and not own_plot and (row.goal.limit or not with_goal) then
      local kind = row.goal.kind == "speed" and "speed of " or ""
      picked[#picked + 1] = { section = row.section, label = ("%s / %s%s"):format(row.name, kind, row.yardstick),
        min = row.ratio.min, median = row.ratio.median, max = row.ratio.max, met = row.met,
        goal = row.goal.kind ~= "value" and row.goal.limit or
          row.goal.limit and row.goal.limit / row.yard_value.median or nil }
    end
  end
  return picked
end

local function size_series(rows)
  local series = {}
  for _, operation in ipairs { "append", "log read", "scattered read" } do
    local points = {}
    for _, row in ipairs(rows) do
      local events = row.section == "scale" and row.name:match("^" .. operation .. ", (%d+) events")
      if events then
        points[#points + 1] = { x = tonumber(events), min = row.value.min, median = row.value.median,
          max = row.value.max }
      end
    end
    if #points > 0 then series[#series + 1] = { label = operation, points = points } end
  end
  return series
end

local function threads_series(rows)
  local series = {}
  for _, level in ipairs { "full", "relaxed", "none" } do
    local points = {}
    for _, row in ipairs(rows) do
      local pattern = "^" .. level .. ", a stream each, 1 a commit, (%d+)"
      local threads = row.section == "threads" and row.name:match(pattern)
      if threads then
        points[#points + 1] = { x = tonumber(threads), min = row.value.min, median = row.value.median,
          max = row.value.max }
      end
    end
    if #points > 0 then series[#series + 1] = { label = level, points = points } end
  end
  return series
end

local function draw(machine, rows)
  local where = ("%s, %d cores, %s, %s, %d runs"):format(machine.cpu, machine.cores, machine.kernel, machine.date,
    machine.runs)
  for name, only in pairs { ratios = false, goals = true } do
    local picked = ratio_rows(rows, only)
    if #picked > 0 then
      svg.ratios(("%s/bench/%s.svg"):format(build, name), "Ratio to the yardstick", where, picked)
    end
  end
  local series = size_series(rows)
  if #series > 0 then
    svg.lines(build .. "/bench/size.svg", "Cost of an event as the store grows", where, "events in the store",
      "ns of CPU an event, 200 bytes each, interleaved streams", series)
  end
  series = threads_series(rows)
  if #series > 0 then
    svg.lines(build .. "/bench/threads.svg", "Appends of one event by several threads", where, "threads",
      "events a second, by durability", series)
  end
end

-- ## Main

local mode, names, keep = "normal", {}, false
for _, word in ipairs(arg) do
  local known = table.concat(programs, " "):find("%f[%w]" .. word:gsub("%W", "%%%0") .. "%f[%W]")
  if word == "--quick" or word == "--full" then
    mode = word:sub(3)
  elseif word == "--keep" then
    keep = true
  elseif known then
    names[word] = true
  else
    io.stderr:write("usage: lua5.4 spec/bench/run.lua [--quick|--full] [--keep] [",
      table.concat(programs, "] ["), "]\n")
    os.exit(2)
  end
end

os.execute(("mkdir -p %s/bench"):format(build))
local machine, all = machine_of(mode), {}
print(("%s, %d cores, %s, %s; %s, %d runs")
  :format(machine.cpu, machine.cores, machine.kernel, machine.date, mode, runs))
print("ratio: of the medians to the yardstick's; min and max: of the runs. P: pure Lua over tables in memory;")
print("D: the same bytes to a file and fdatasync; LMDB: bare puts or reads of the same payloads.")
for _, name in ipairs(programs) do
  if not next(names) or names[name] then
    build_program(name)
    local rows = run_program(name, mode)
    for _, row in ipairs(rows) do finish(row) end
    print_rows(rows)
    table.move(rows, 1, #rows, #all + 1, all)
  end
end
local files = ""
if not next(names) then
  write_json(build .. "/bench.jsonl", machine, all)
  draw(machine, all)
  files = (" %s/bench.jsonl, %s/bench/*.svg"):format(build, build)
  if keep then
    local results = here .. "/results"
    local copy = ("mkdir -p %s && cp %s/bench.jsonl %s/bench/*.svg %s/"):format(results, build, build, results)
    need(shell(copy), "keeping the results")
  end
end

local met, missed = 0, 0
for _, row in ipairs(all) do
  if row.met then met = met + 1 elseif row.met == false then missed = missed + 1 end
end
print(("\n%d goals met, %d not met.%s"):format(met, missed, files))
