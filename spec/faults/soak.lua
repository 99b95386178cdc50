-- A soak: mixed work on one store for a long time. moonfold run spec/faults/soak.lua SECONDS [SEED] [FOLDER]
--
-- Commands by the domain scripts, appends alone and in batches, transactions (some of which fail), reads, states of the
-- past, snapshots, reopening, backups that are verified, and a second process that writes as well. What was
-- acknowledged is remembered outside of the store; in the end, and whenever the store is opened again, it must all be
-- there. Every tenth of the time a line tells the rate, the memory and the size of the file; they must stay level.

local moonfold = require "moonfold"

local seconds = tonumber(arg[1] or "600")
local seed = tonumber(arg[2] or os.time())
local folder = arg[3] or "build"
local path = ("%s/soak-%d.fold"):format(folder, seed)
math.randomseed(seed)
print(("# seed %d, %d seconds, %s"):format(seed, seconds, path))

-- ## What the system tells

local function read_file(name)
  local file = io.open(name, "rb")
  local text = file and file:read("a")
  if file then file:close() end
  return text
end

local function memory() -- KiB that are this process's own
  return tonumber((read_file("/proc/self/status") or ""):match("RssAnon:%s+(%d+)"))
end

local function file_size(name)
  local file = assert(io.open(name, "rb"))
  local size = file:seek("end")
  file:close()
  return size
end

local function now() -- seconds, by a clock that goes on while we sleep
  return tonumber(read_file("/proc/uptime"):match("^[%d.]+"))
end

-- ## The witness: what was acknowledged

local versions = {} -- stream -> version
local sums = {} -- stream -> a hash over its events
local names = {}
local payload = 0 -- bytes, roughly

local function note(stream, events)
  if not versions[stream] then names[#names + 1] = stream end
  for _, event in ipairs(events) do
    versions[stream] = (versions[stream] or 0) + 1
    local content = { sums[stream] or "", event.type, event.data or moonfold.null }
    sums[stream] = moonfold.hash(content)
    payload = payload + #moonfold.to_json(content[3]) + #event.type
  end
end

local function fail(...)
  io.stderr:write("not ok - ", string.format(...), "\n")
  os.exit(1)
end

local function check_stream(store, stream)
  local sum, version = "", 0
  for event in store:events(stream) do
    version = event.stream_position
    sum = moonfold.hash { sum, event.type, event.data or moonfold.null }
  end
  if version ~= versions[stream] then
    fail("stream %s is at version %d, acknowledged was %d", stream, version, versions[stream])
  end
  if sum ~= sums[stream] then fail("stream %s came back changed", stream) end
end

-- ## The work

local domains = { "account", "cart", "counter", "inventory" }
local deciders = {}
for _, name in ipairs(domains) do
  deciders[name] = moonfold.load_decider("scripts/domain/" .. name .. ".lua", { keep_commands = { max_count = 1000 } })
end

local commands = {
  account = function()
    return { type = math.random(3) == 1 and "Withdraw" or "Deposit", data = { amount = math.random(100) } }
  end,
  cart = function()
    local dice = math.random(10)
    if dice == 1 then return { type = "ApplyDiscount", data = { percent = math.random(50) } } end
    if dice < 4 then return { type = "RemoveProductItem", data = { product = "p" .. math.random(5) } } end
    return { type = "AddProductItem", data = { product = "p" .. math.random(5), qty = math.random(3), price = 5 } }
  end,
  counter = function() return { type = "Increase", data = { by = math.random(5) } } end,
  inventory = function()
    return { type = "PickUp", data = { item = "item" .. math.random(9), count = math.random(5) } }
  end,
}

local function random_stream(kind)
  return kind .. "-" .. math.random(200)
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

local work = {}

function work.command(store)
  local kind = domains[math.random(#domains)]
  local stream = random_stream(kind)
  local fine, result = pcall(store.attempt, store, stream, deciders[kind], commands[kind]())
  if fine and result then note(stream, result.events) end
  if not fine and result.code ~= "invalid_argument" and result.code ~= "unknown_command_type" then
    fail("a command on %s: %s", stream, tostring(result))
  end
end

function work.append(store)
  local stream, events = random_stream "note", plain_events(math.random(5) == 1 and math.random(100) or 1)
  store:append_to_stream(stream, events, { expected_stream_version = versions[stream] or 0 })
  note(stream, events)
end

function work.transaction(store)
  local parts = {}
  local wanted = math.random(3) > 1
  local fine, problem = pcall(store.transaction, store, function()
    for i = 1, math.random(4) do
      parts[i] = { random_stream "note", plain_events(math.random(3)) }
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

function work.past(store)
  local kind = domains[math.random(#domains)]
  local stream = random_stream(kind)
  local version = versions[stream]
  if not version then return end
  local to = math.random(version)
  local warm = store:aggregate_stream(stream, deciders[kind]).current_stream_version
  if warm ~= version then fail("the state of %s stands at %d of %d", stream, warm, version) end
  if store:aggregate_stream(stream, deciders[kind], { to = to }).current_stream_version ~= to then
    fail("the state of %s at %d is another", stream, to)
  end
end

local kinds = { "command", "command", "command", "command", "append", "append", "transaction", "read", "past" }

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
  os.remove(copy)
  os.remove(copy .. "-lock")
end

-- ## The other process: appends to its own streams as fast as it may

local other = io.popen(("exec %s run - %s %d >/dev/null 2>&1"):format("build/moonfold", path, seconds), "w")
other:write([[
  local moonfold = require "moonfold"
  local store <close> = moonfold.open(arg[1])
  local ends = os.time() + tonumber(arg[2])
  local n = 0
  while os.time() < ends do
    n = n + 1
    store:append_to_stream("other-" .. n % 50, { type = "Written", data = { n = n, text = ("x"):rep(100) } })
    if n % 20 == 0 then store:wait(1 << 60, 0.05) end
  end
]])
other:flush()

-- ## The run

local store = moonfold.open(path)
local started = now()
local reopen_at, backup_at, report_at = started + seconds / 20, started + seconds / 12, started + seconds / 10
local operations, last_operations, rates, memories = 0, 0, {}, {}

local function report(time)
  local rate = (operations - last_operations) / (seconds / 10)
  rates[#rates + 1], memories[#memories + 1] = rate, memory()
  last_operations = operations
  print(("# %4d s  %8.0f operations/s  %7d KiB of memory  file %6.1f MiB"):format(
    math.floor(time - started), rate, memories[#memories], file_size(path) / 2 ^ 20))
  report_at = report_at + seconds / 10
end

while true do
  for _ = 1, 50 do
    work[kinds[math.random(#kinds)]](store)
    operations = operations + 1
  end
  local time = now()
  if time >= report_at then report(time) end
  if time >= started + seconds then break end
  if time >= backup_at then
    backup(store)
    backup_at = backup_at + seconds / 12
  end
  if time >= reopen_at then
    store:close()
    store = moonfold.open(path)
    for _ = 1, 5 do check_stream(store, names[math.random(#names)]) end
    reopen_at = reopen_at + seconds / 20
  end
end
other:close()

-- ## The verdict

local failures = 0
local function check(fine, sentence)
  print((fine and "ok - " or "not ok - ") .. sentence)
  if not fine then failures = failures + 1 end
end

for _, stream in ipairs(names) do check_stream(store, stream) end
check(true, #names .. " streams hold exactly what was acknowledged")
local position, written = 0, 0
for event in store:all_events() do
  if event.global_position ~= position + 1 then fail("after position %d comes %d", position, event.global_position) end
  position = event.global_position
  if event.type == "Written" then written = written + 100 + 20 end
end
check(true, position .. " positions are dense")
store:close()
check(moonfold.verify(path).sound, "verify finds nothing")
local third = #rates // 3
local function mean(list, first, last)
  local sum = 0
  for i = first, last do sum = sum + list[i] end
  return sum / (last - first + 1)
end
local early, late = mean(rates, 2, 1 + third), mean(rates, #rates - third + 1, #rates)
check(late > 0.6 * early, ("the rate stays level: %.0f operations/s, then %.0f"):format(early, late))
local before, after = mean(memories, 2, 1 + third), mean(memories, #memories - third + 1, #memories)
-- The witness is in this process, too, and its streams stop growing in number early.
check(after < 1.5 * before + 4096, ("memory stays level: %.0f KiB, then %.0f"):format(before, after))
local size = file_size(path)
check(size < 3 * (payload + written) + 2 ^ 24,
  ("the file is bounded by its data: %.1f MiB for %.1f MiB"):format(size / 2 ^ 20, (payload + written) / 2 ^ 20))
os.remove(path)
os.remove(path .. "-lock")
os.exit(failures == 0)
