-- A soak: mixed work on one store for a long time.
--   moonfold run spec/faults/soak.lua SECONDS [SEED] [FOLDER] [PLANT]
--
-- Commands by the domain scripts, appends alone and in batches, transactions (some of which fail), reads, states of
-- today and of the past, snapshots, reopening, backups that are verified, and a second process that writes as well.
-- The work is in soak_world.lua.
--
-- The log must grow; nothing else may: states are of the same size for ever. What was acknowledged is remembered
-- outside of the store. It must all be there in the end; some of it is looked at whenever the store is opened again.
--
-- Ten windows are measured, and the last ones compared with the first ones: what each kind of work costs, the rate of
-- all of it, the memory that is the process's own, and what the file grows by for each event. Machines are not level
-- themselves: where a disk becomes slow, even CPU time rises, because caches become cold. So the same work is done, in
-- turns, on a young store that is made anew again and again, and what a kind of work costs is told as a multiple of
-- what it costs there. Backups go through all that was ever recorded: they are measured by the MiB, beside one of the
-- first backup, and are no part of the rate.
--
-- PLANT spoils the run, to see that it is noticed: lost (an event that was never appended), leak (of memory), slow
-- (states that grow), scan (reads of a stream's end that go through the whole stream), pin (a reader that never ends).

local moonfold = require "moonfold"
local soak = dofile "spec/faults/soak_world.lua"

local WINDOWS <const> = 10
local seconds = tonumber(arg[1] or "600")
local seed = tonumber(arg[2] or "") or os.time()
local folder = arg[3] or "build"
local planted = arg[4]
local path = ("%s/soak-%d.fold"):format(folder, seed)
math.randomseed(seed)
print(("# seed %d, %d seconds, %s%s"):format(seed, seconds, path, planted and ", planted: " .. planted or ""))
io.stdout:setvbuf "line"

local function fail(...)
  io.stderr:write("not ok - ", string.format(...), "\n")
  os.exit(1) -- what was found stays for a look
end

local plants = { lost = true, leak = true, slow = true, scan = true, pin = true }
if planted and not plants[planted] then fail("%s is nothing that can be planted", planted) end

-- ## What the system tells

local function read_all(file)
  local text = file and file:read("a")
  if file then file:close() end
  return text or ""
end

local function memory() -- KiB that are this process's own
  collectgarbage()
  return tonumber(read_all(io.open "/proc/self/status"):match "RssAnon:%s+(%d+)")
end

local function stats() -- in a process of its own: it goes through the whole log
  local text = read_all(io.popen(("build/moonfold stats --json %s"):format(path)))
  return text:find "^{" and moonfold.from_json(text) or fail("moonfold stats said: %s", text)
end

local ticks = moonfold.open ":memory:"

--- Seconds, as exactly as an event tells when it was recorded.
local function now()
  ticks:append_to_stream("now", { type = "Asked" })
  return ticks:read_stream("now", { backwards = true, max_count = 1 }).events[1].recorded_at / 1e6
end

-- ## Other processes

local scripts = 0
local function start(script, ...)
  scripts = scripts + 1
  local name = ("%s.%d.lua"):format(path, scripts)
  local file = assert(io.open(name, "w"))
  file:write(script)
  file:close()
  local command = ("exec build/moonfold run %s %s 2>&1"):format(name, table.concat({ ... }, " "))
  return { pipe = assert(io.popen(command)), name = name }
end

local function wait_for(process)
  local told = process.pipe:read("a")
  if not process.pipe:close() or told ~= "" then fail("another process: %s", told) end
  os.remove(process.name)
end

--- Appends to streams of its own, until the time is over.
local function start_writer()
  return start([[
    local moonfold = require "moonfold"
    local store <close> = moonfold.open(arg[1])
    local ends = os.time() + tonumber(arg[2])
    local n = 0
    while os.time() < ends do
      n = n + 1
      store:append_to_stream("other-" .. n % 50, { type = "Written", data = { n = n, text = ("x"):rep(100) } })
      if n % 20 == 0 then store:wait(1 << 60, 0.05) end
    end
  ]], path, seconds)
end

--- A verification that does not come to its end keeps the pages of the moment at which it began.
local function start_pin()
  return start([[
    local moonfold = require "moonfold"
    local ends = os.time() + tonumber(arg[2])
    moonfold.verify(arg[1], { progress = function() while os.time() < ends do end end })
  ]], path, seconds)
end

-- ## The run

local LIFE <const> = 5000 -- operations
local old = soak.world(path, soak.no_costs(), fail, planted)
local young, young_age
local function renew_young()
  if young then young:remove() end
  young = soak.world(path .. ".young", young and young.costs or soak.no_costs(), fail)
  young_age = 0
end

local first
local function backup()
  local copy = path .. ".copy"
  old:backup(copy)
  if not first then
    first = path .. ".first"
    assert(os.rename(copy, first))
  end
  soak.remove_store(copy)
  local store <close> = moonfold.open(first, { read_only = true })
  young:copy(store, first, copy)
  soak.remove_store(copy)
end

renew_young()
local other = start_writer()
local pin

local OPERATIONS <const>, YOUNG_OPERATIONS <const> = 50, 20 -- in turns
local windows, leaked = {}, {}
local started = now()
local window_ends, reopen_at, backup_at = started + seconds / WINDOWS, started + seconds / 20, started + seconds / 12
local rounds, old_time, young_time = 0, 0, 0

local function end_window(time)
  local facts = stats()
  local before = windows[#windows] or { file = 0, events = 0 }
  local rate = rounds * OPERATIONS / old_time
  local window = {
    rate = rate, relative = rate / (rounds * YOUNG_OPERATIONS / young_time),
    old = old.costs, young = young.costs,
    memory = memory(), events = facts.events, file = facts.file_bytes, free = facts.free_bytes,
    pinned = facts.pinned_bytes, log = facts.log_bytes, index = facts.index_bytes,
  }
  window.grown = (window.file - before.file) / math.max(1, window.events - before.events)
  windows[#windows + 1] = window
  print(("# %4.0f s %6.0f operations/s, %4.2f of a young store's; %6d KiB of memory"):format(time - started,
    window.rate, window.relative, window.memory))
  print(("#        %8d events, file %.1f MiB (log %.1f, index %.1f, free %.1f, pinned %.1f), %.0f bytes more an event")
    :format(window.events, window.file / 2 ^ 20, window.log / 2 ^ 20, window.index / 2 ^ 20, window.free / 2 ^ 20,
      window.pinned / 2 ^ 20, window.grown))
  rounds, old_time, young_time = 0, 0, 0
  window_ends = window_ends + seconds / WINDOWS
  old.costs, young.costs = soak.no_costs(), soak.no_costs()
  ticks:close()
  ticks = moonfold.open ":memory:"
end

while #windows < WINDOWS do
  local a = now()
  for _ = 1, OPERATIONS do old:work() end
  local b = now()
  for _ = 1, YOUNG_OPERATIONS do young:work() end
  local c = now()
  young_age = young_age + YOUNG_OPERATIONS
  if young_age >= LIFE then renew_young() end
  rounds, old_time, young_time = rounds + 1, old_time + b - a, young_time + c - b
  if planted == "leak" then leaked[#leaked + 1] = ("x"):rep(30000) .. #leaked end
  if c >= backup_at then
    backup()
    backup_at = backup_at + seconds / 12
  end
  if c >= reopen_at then
    old:reopen()
    young:reopen()
    reopen_at = reopen_at + seconds / 20
  end
  if c >= window_ends then end_window(c) end
  if planted == "pin" and not pin and c >= started + seconds / 4 then pin = start_pin() end
  if planted == "lost" and #windows == WINDOWS then old:note("note-1", old.plain_events(1)) end
end
wait_for(other)
if pin then wait_for(pin) end

-- ## The verdict

local failures = 0
local function check(fine, sentence, ...)
  print((fine and "ok - " or "not ok - ") .. sentence:format(...))
  if not fine then failures = failures + 1 end
end

--- One pass over the log: a hash over the events of every stream.
local position, written, seen, found = 0, 0, {}, {}
for event in old.store:all_events() do
  if event.global_position ~= position + 1 then fail("after position %d comes %d", position, event.global_position) end
  position = event.global_position
  local stream = event.stream_name
  if event.type == "Written" then
    written = written + 1
  else
    seen[stream], found[stream] = (seen[stream] or 0) + 1, old.add(found[stream], event)
  end
end
local function compare(stream, version, sum)
  if (seen[stream] or 0) ~= version then
    fail("lost: stream %s is at version %d, acknowledged was %d", stream, seen[stream] or 0, version)
  end
  if found[stream] ~= sum then fail("stream %s came back changed", stream) end
  seen[stream] = nil
end
for _, stream in ipairs(old.names) do compare(stream, old.versions[stream], old.sums[stream]) end
old.ended:seek "set"
for line in old.ended:lines() do
  local stream, version, sum = line:match "^(%S+) (%d+) (%S+)$"
  compare(stream, tonumber(version), sum)
end
if next(seen) then fail("stream %s was never acknowledged", next(seen)) end
check(position == old.events + written, "%d streams hold exactly what was acknowledged, and %d positions are dense",
  #old.names + old.ended_count, position)
check(written > 0, "the other process has written %d", written)
check(old.accepted > old.refused, "%d commands were accepted, %d refused", old.accepted, old.refused)
for _, stream in ipairs(old.names) do old:check_stream(stream) end
check(moonfold.verify(path).sound, "verify finds nothing")

-- The first window warms up; of the others the first three are compared with the last three.
local EARLY <const>, LATE <const> = { 2, 3, 4 }, { WINDOWS - 2, WINDOWS - 1, WINDOWS }

local function median(field, which)
  local list = {}
  for i, w in ipairs(which) do list[i] = windows[w][field] end
  table.sort(list)
  return list[2]
end

local function compared(field) return median(field, EARLY), median(field, LATE) end

--- Microseconds of CPU for a unit of a kind of work, in these windows.
local function cost(world, what, which)
  local spent, units = 0, 0
  for _, w in ipairs(which) do
    local one = windows[w][world][what]
    spent, units = spent + one[1], units + one[2]
  end
  return spent / units * 1e6
end

print "# CPU time in microseconds, early and late; the same as multiples of a young store's; what those have grown by"
for _, kind in ipairs(soak.kinds) do
  local what, bound = kind[1], kind[2]
  local early, late = cost("old", what, EARLY), cost("old", what, LATE)
  local early_part, late_part = early / cost("young", what, EARLY), late / cost("young", what, LATE)
  check(late_part < bound * early_part, "%-30s %8.1f %8.1f %8.2f %8.2f %8.2f, of at most %.1f", what, early, late,
    early_part, late_part, late_part / early_part, bound)
end

local early, late = compared "relative"
check(late > 0.6 * early, "the rate stays level: %.0f operations/s, then %.0f (%.2f of a young store's, then %.2f)",
  median("rate", EARLY), median("rate", LATE), early, late)
early, late = compared "memory"
check(late < 1.25 * early + 4096, "memory stays level: %.0f KiB, then %.0f", early, late)
early, late = compared "grown"
check(late < 1.5 * early + 50, "the file grows evenly: %.0f bytes an event, then %.0f", early, late)
local last = windows[WINDOWS]
local bound = 1.25 * old.payload + last.events * 150 + 2 ^ 23
check(last.file < bound, "the file is bounded by what was recorded: %.1f MiB, of at most %.1f", last.file / 2 ^ 20,
  bound / 2 ^ 20)
check(last.free - last.pinned < 0.2 * last.file + 2 ^ 22 and last.pinned < 2 ^ 22,
  "free pages are used again: %.1f MiB of %.1f are free, and %.1f pinned", last.free / 2 ^ 20, last.file / 2 ^ 20,
  last.pinned / 2 ^ 20)
old:remove()
young:remove()
soak.remove_store(first)
ticks:close()
os.exit(failures == 0)
