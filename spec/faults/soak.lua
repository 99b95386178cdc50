-- A soak: mixed work on one store for a long time.
--   moonfold run spec/faults/soak.lua SECONDS [SEED] [FOLDER] [PLANT]
--
-- Commands by the domain scripts, appends alone and in batches, transactions (some of which fail), reads, states of the
-- past, snapshots, reopening, backups that are verified, and a second process that writes as well.
--
-- The log must grow; nothing else may. Streams of a category live for so many commands, are ended, and begun anew under
-- another name, so that their states are of the same size for ever. What was acknowledged is remembered outside of the
-- store: streams that live in memory, those that have ended in a file. It must all be there in the end; some of it is
-- looked at whenever the store is opened again.
--
-- Ten windows are measured, and the last ones compared with the first ones: the rate of the work, with that of appends
-- to a store that is always new as a yardstick beside it, because machines are not level themselves; the memory that is
-- the process's own; and what the file grows by for each event. Backups, checks and reopening are outside of the rate:
-- what they take grows with the log.
--
-- PLANT spoils the run, to see that it is noticed: lost (an event that was never appended), leak (of memory), slow
-- (states that grow), pin (a reader that never ends).

local moonfold = require "moonfold"

local WINDOWS <const> = 10
local seconds = tonumber(arg[1] or "600")
local seed = tonumber(arg[2] or os.time())
local folder = arg[3] or "build"
local planted = arg[4]
local path = ("%s/soak-%d.fold"):format(folder, seed)
math.randomseed(seed)
print(("# seed %d, %d seconds, %s%s"):format(seed, seconds, path, planted and ", planted: " .. planted or ""))
io.stdout:setvbuf "line"

local function remove_store(name)
  os.remove(name)
  os.remove(name .. "-lock")
end

local function finish(fine)
  for _, suffix in ipairs { "", ".copy", ".yardstick" } do remove_store(path .. suffix) end
  os.remove(path .. ".ended")
  os.exit(fine)
end

local function fail(...)
  io.stderr:write("not ok - ", string.format(...), "\n")
  os.exit(1) -- what was found stays for a look
end

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

-- ## The witness: what was acknowledged

local versions, sums = {}, {} -- of streams that live
local names = {}
local events_written, payload = 0, 0
local ended = assert(io.open(path .. ".ended", "w+"))
local ended_count = 0

local function add(sum, event)
  return moonfold.hash { sum or "", event.type, event.data or moonfold.null }
end

local function note(stream, events)
  if not versions[stream] then
    names[#names + 1] = stream
    versions[stream] = 0
  end
  for _, event in ipairs(events) do
    versions[stream] = versions[stream] + 1
    sums[stream] = add(sums[stream], event)
    payload = payload + #moonfold.to_json(event.data or moonfold.null) + #event.type
  end
  events_written = events_written + #events
end

local function check_stream(store, stream, version, sum)
  local got, there = nil, 0
  for event in store:events(stream) do
    there = event.stream_position
    got = add(got, event)
  end
  if there ~= version then fail("stream %s is at version %d, acknowledged was %d", stream, there, version) end
  if got ~= sum then fail("stream %s came back changed", stream) end
end

--- The stream is complete: what it holds goes to the file.
local function bury(stream)
  ended:write(stream, " ", versions[stream], " ", sums[stream], "\n")
  ended_count = ended_count + 1
  for i = 1, #names do
    if names[i] == stream then
      names[i] = names[#names]
      names[#names] = nil
      break
    end
  end
  versions[stream], sums[stream] = nil, nil
end

-- ## The work

local deciders = {}
for _, name in ipairs { "account", "cart", "counter", "inventory" } do
  deciders[name] = moonfold.load_decider("scripts/domain/" .. name .. ".lua",
    { keep_commands = { max_count = 1000 }, cache = 200 }) -- full soon, with states of streams that have ended
end

local PRODUCTS <const> = 5
local items = { "arrow", "potion", "coin", "sword", "rope" }

-- How many streams of a kind live at a time, for how many commands (about), what they are told, and what ends them.
local kinds = {
  account = {
    streams = 40, commands = 60, last = { "Close" },
    command = function()
      return { type = math.random(3) == 1 and "Withdraw" or "Deposit", data = { cents = math.random(100) } }
    end,
  },
  cart = {
    streams = 60, commands = 15, last = { "ConfirmCart", "CancelCart" },
    command = function()
      local dice, product = math.random(10), "p" .. math.random(PRODUCTS)
      if dice == 1 then return { type = "ApplyDiscount", data = { percent = math.random(50) } } end
      if dice < 4 then return { type = "RemoveProductItem", data = { product = product } } end
      return { type = "AddProductItem", data = { product = product, qty = math.random(3), price = math.random(500) } }
    end,
  },
  counter = { -- few and long: they get snapshots
    streams = 3, commands = 2500, last = { "Reset" },
    command = function() return { type = "Count", data = { by = math.random(5) } } end,
  },
  inventory = {
    streams = 40, commands = 40, last = { "PickUp" },
    command = function()
      if math.random(2) == 1 then return { type = "Drop", data = { slot = math.random(8) } } end
      return { type = "PickUp", data = { item = items[math.random(#items)], count = math.random(20) } }
    end,
  },
}
local kind_names = { "account", "cart", "counter", "inventory" }

local living = {} -- kind and number -> the stream of the moment
local generation = 0

local function living_stream(kind)
  local place = kind .. math.random(kinds[kind].streams)
  local life = living[place]
  if not life then
    generation = generation + 1
    local left = kinds[kind].commands * (0.5 + math.random())
    life = { place = place, stream = ("%s-%d"):format(kind, generation), left = left }
    living[place] = life
  end
  return life
end

local function attempt(store, stream, decider, command)
  local fine, result, rejection = pcall(store.attempt, store, stream, decider, command)
  if not fine then fail("%s on %s: %s", command.type, stream, tostring(result)) end
  if result then note(stream, result.events) end
  return result or rejection
end

local work = {}
local refused, accepted = 0, 0

function work.command(store)
  local kind = kind_names[math.random(#kind_names)]
  local life = living_stream(kind)
  local result = attempt(store, life.stream, deciders[kind], kinds[kind].command())
  if result.code then refused = refused + 1 else accepted = accepted + 1 end
  life.left = life.left - 1
  if life.left > 0 or planted == "slow" then return end
  local last = kinds[kind].last
  local data = kind == "inventory" and { item = "rope" } or nil
  attempt(store, life.stream, deciders[kind], { type = last[math.random(#last)], data = data })
  if versions[life.stream] then bury(life.stream) end
  living[life.place] = nil
end

local function noise(size)
  local bytes = {}
  for i = 1, size do bytes[i] = string.char(math.random(32, 126)) end
  return table.concat(bytes)
end

local function plain_events(count)
  local events = {}
  for i = 1, count do
    events[i] = { type = "Noted" .. math.random(5), data = { text = noise(math.random(20, 200)), n = i } }
  end
  return events
end

local function note_stream() return "note-" .. math.random(50) end

function work.append(store)
  local stream, events = note_stream(), plain_events(math.random(5) == 1 and math.random(100) or 1)
  store:append_to_stream(stream, events, { expected_stream_version = versions[stream] or 0 })
  note(stream, events)
end

function work.transaction(store)
  local parts = {}
  local wanted = math.random(3) > 1
  local fine, problem = pcall(store.transaction, store, function()
    for i = 1, math.random(4) do
      parts[i] = { note_stream(), plain_events(math.random(3)) }
      store:append_to_stream(parts[i][1], parts[i][2])
    end
    if not wanted then error("changed my mind", 0) end
  end)
  if fine ~= wanted then fail("a transaction: %s", tostring(problem)) end
  if not fine then return end
  for _, part in ipairs(parts) do note(part[1], part[2]) end
end

--- The end of a stream: what a read takes must not grow with what was written.
function work.read(store)
  if #names == 0 then return end
  local stream = names[math.random(#names)]
  local result = store:read_stream(stream, { backwards = true, max_count = 20 })
  if result.current_stream_version ~= versions[stream] or #result.events ~= math.min(20, versions[stream]) then
    fail("stream %s is at version %d, acknowledged was %d", stream, result.current_stream_version, versions[stream])
  end
end

--- A state of today, and one of the past, which is folded from the first event on: so it is an early one.
function work.past(store)
  local kind = kind_names[math.random(#kind_names)]
  local stream = living_stream(kind).stream
  local version = versions[stream]
  if not version then return end
  local to = math.random(math.min(50, version))
  local warm = store:aggregate_stream(stream, deciders[kind]).current_stream_version
  if warm ~= version then fail("the state of %s stands at %d of %d", stream, warm, version) end
  if store:aggregate_stream(stream, deciders[kind], { to = to }).current_stream_version ~= to then
    fail("the state of %s at %d is another", stream, to)
  end
end

local share = { "command", "command", "command", "command", "append", "append", "transaction", "read", "past" }
local leaked = {}

local function work_a_little(store)
  for _ = 1, 50 do work[share[math.random(#share)]](store) end
  if planted == "leak" then leaked[#leaked + 1] = ("x"):rep(30000) .. #leaked end
  return 50
end

-- ## The yardstick: the same appends to a store that has just been made

local yardstick
local function renew_yardstick()
  if yardstick then yardstick:close() end
  remove_store(path .. ".yardstick")
  yardstick = moonfold.open(path .. ".yardstick")
end

local yard_event = { type = "Measured", data = { text = ("x"):rep(100) } }
local function measure()
  for i = 1, 10 do yardstick:append_to_stream("yard-" .. i, yard_event) end
end

-- ## What happens now and then

local function backup(store)
  local copy = path .. ".copy"
  local last = store:stream_version "backup-marks"
  store:append_to_stream("backup-marks", { type = "Marked" })
  note("backup-marks", { { type = "Marked" } })
  store:backup(copy)
  local report = moonfold.verify(copy)
  if not report.sound then fail("a backup is not whole") end
  do
    local other <close> = moonfold.open(copy, { read_only = true })
    if other:stream_version "backup-marks" ~= last + 1 then fail("a backup is not the newest") end
  end
  remove_store(copy)
end

local function reopen(store)
  store:close()
  store = moonfold.open(path)
  for _ = 1, 5 do
    local stream = names[math.random(#names)]
    check_stream(store, stream, versions[stream], sums[stream])
  end
  return store
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

renew_yardstick()
local store = moonfold.open(path)
for i = 1, PRODUCTS do
  store:append_to_stream("inventory-p" .. i, { type = "GoodsReceived", data = { qty = 1 << 50 } })
  note("inventory-p" .. i, { { type = "GoodsReceived", data = { qty = 1 << 50 } } })
end
local other = start_writer()
local pin

local windows = {}
local started = now()
local window_ends, reopen_at, backup_at = started + seconds / WINDOWS, started + seconds / 20, started + seconds / 12
local worked, measured, operations, measures, cpu = 0, 0, 0, 0, 0

local function end_window(time)
  local facts = stats()
  local before = windows[#windows] or { file = 0, events = 0 }
  local window = {
    rate = operations / worked, relative = (operations / worked) / (measures / measured),
    cpu = cpu / operations * 1e6, memory = memory(), events = facts.events,
    file = facts.file_bytes, free = facts.free_bytes, pinned = facts.pinned_bytes,
    log = facts.log_bytes, index = facts.index_bytes,
  }
  window.grown = (window.file - before.file) / math.max(1, window.events - before.events)
  windows[#windows + 1] = window
  print(("# %4.0f s %6.0f operations/s, %5.2f of the yardstick, %4.0f us of CPU each; %6d KiB of memory"):format(
    time - started, window.rate, window.relative, window.cpu, window.memory))
  print(("#        %8d events, file %.1f MiB (log %.1f, index %.1f, free %.1f, pinned %.1f), %.0f bytes more an event")
    :format(window.events, window.file / 2 ^ 20, window.log / 2 ^ 20, window.index / 2 ^ 20, window.free / 2 ^ 20,
      window.pinned / 2 ^ 20, window.grown))
  worked, measured, operations, measures, cpu = 0, 0, 0, 0, 0
  window_ends = window_ends + seconds / WINDOWS
  renew_yardstick()
  ticks:close()
  ticks = moonfold.open ":memory:"
end

while #windows < WINDOWS do
  local a, cpu_a = now(), os.clock()
  local done = work_a_little(store)
  local b, cpu_b = now(), os.clock()
  measure()
  local c = now()
  worked, measured, cpu = worked + b - a, measured + c - b, cpu + cpu_b - cpu_a
  operations, measures = operations + done, measures + 10
  if c >= window_ends then end_window(c) end
  if c >= backup_at then
    backup(store)
    backup_at = backup_at + seconds / 12
  end
  if c >= reopen_at then
    store = reopen(store)
    reopen_at = reopen_at + seconds / 20
  end
  if planted == "pin" and not pin and c >= started + seconds / 4 then pin = start_pin() end
  if planted == "lost" and #windows == WINDOWS then note("note-1", plain_events(1)) end
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
for event in store:all_events() do
  if event.global_position ~= position + 1 then fail("after position %d comes %d", position, event.global_position) end
  position = event.global_position
  local stream = event.stream_name
  if event.type == "Written" then
    written = written + 1
  else
    seen[stream], found[stream] = (seen[stream] or 0) + 1, add(found[stream], event)
  end
end
local function compare(stream, version, sum)
  if (seen[stream] or 0) ~= version then
    fail("lost: stream %s is at version %d, acknowledged was %d", stream, seen[stream] or 0, version)
  end
  if found[stream] ~= sum then fail("stream %s came back changed", stream) end
  seen[stream] = nil
end
for _, stream in ipairs(names) do compare(stream, versions[stream], sums[stream]) end
ended:seek "set"
for line in ended:lines() do
  local stream, version, sum = line:match "^(%S+) (%d+) (%S+)$"
  compare(stream, tonumber(version), sum)
end
ended:close()
if next(seen) then fail("stream %s was never acknowledged", next(seen)) end
check(position == events_written + written, "%d streams hold exactly what was acknowledged, and %d positions are dense",
  #names + ended_count, position)
check(written > 0, "the other process has written %d", written)
check(accepted > refused, "%d commands were accepted, %d refused", accepted, refused)
for _, stream in ipairs(names) do check_stream(store, stream, versions[stream], sums[stream]) end
store:close()
yardstick:close()
check(moonfold.verify(path).sound, "verify finds nothing")

-- The first window warms up; of the others the first three are compared with the last three.
local function compared(field)
  local function median(a, b, c)
    local list = { windows[a][field], windows[b][field], windows[c][field] }
    table.sort(list)
    return list[2]
  end
  return median(2, 3, 4), median(WINDOWS - 2, WINDOWS - 1, WINDOWS)
end
local early, late = compared "relative"
local cpu_early, cpu_late = compared "cpu"
local rate_early, rate_late = compared "rate"
-- The log's trees get deeper by a level now and then, and machines are busy: the bounds leave room for that.
check(late > 0.6 * early or rate_late > 0.6 * rate_early,
  "the rate stays level: %.0f operations/s, then %.0f (%.2f of the yardstick, then %.2f)", rate_early, rate_late, early,
  late)
check(cpu_late < 1.5 * cpu_early, "what an operation costs stays level: %.0f us of CPU, then %.0f", cpu_early, cpu_late)
early, late = compared "memory"
check(late < 1.25 * early + 4096, "memory stays level: %.0f KiB, then %.0f", early, late)
early, late = compared "grown"
check(late < 1.5 * early + 50, "the file grows evenly: %.0f bytes an event, then %.0f", early, late)
local last = windows[WINDOWS]
local bound = 1.25 * payload + last.events * 150 + 2 ^ 23
check(last.file < bound, "the file is bounded by what was recorded: %.1f MiB, of at most %.1f", last.file / 2 ^ 20,
  bound / 2 ^ 20)
check(last.free - last.pinned < 0.2 * last.file + 2 ^ 22 and last.pinned < 2 ^ 22,
  "free pages are used again: %.1f MiB of %.1f are free, and %.1f pinned", last.free / 2 ^ 20, last.file / 2 ^ 20,
  last.pinned / 2 ^ 20)
finish(failures == 0)
