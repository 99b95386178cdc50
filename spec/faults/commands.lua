-- kill -9 for commands: what scripts decide, with snapshots, kept commands and transactions.
--   moonfold run spec/faults/commands.lua [ROUNDS] [SEED] [FOLDER]
--
-- Two processes handle commands and tell on their standard outputs what was acknowledged. They are killed at random
-- moments; then the store must hold what was told, every state from caches and snapshots must be that of a plain fold,
-- kept commands must stand beside the events that they led to, and nothing may be there by halves. Prints TAP.

local moonfold = require "moonfold"

local STREAMS = 6
local script = [[
local moonfold = require "moonfold"
return {
  name = "purse", category = "purse", initial_state = function() return { sum = 0, coins = {}, moves = 0 } end,
  evolve = {
    CoinAdded = function(purse, event)
      purse.sum = purse.sum + event.data.value
      purse.coins[#purse.coins % 50 + 1] = { value = event.data.value, note = event.data.note }
    end,
    Moved = function(purse, event) purse.moves = purse.moves + 1; purse.sum = purse.sum + event.data.by end,
  },
  decide = {
    Add = function(command)
      local events = {}
      for i = 1, command.data.count do
        events[i] = moonfold.event("CoinAdded", { value = command.data.value, note = command.data.note, i = i })
      end
      return events
    end,
    Move = function(command, purse)
      if purse.sum + command.data.by < 0 then moonfold.reject "empty" end
      return moonfold.event("Moved", command.data)
    end,
  },
}
]]

local folder = arg[3] or "build"

-- ## The process that is killed: moonfold run spec/faults/commands.lua worker STORE SCRIPT SEED

local function work(path, script_path, seed)
  math.randomseed(seed)
  io.stdout:setvbuf "no"
  local pid = io.open("/proc/self/stat"):read "n"
  local decider = moonfold.load_decider(script_path, { keep_commands = { max_count = 500 } })
  local store = moonfold.open(path)
  io.write("pid ", pid, "\n")
  local function say(result, stream)
    if result then io.write(("told %s %d\n"):format(stream, result.next_expected_stream_version)) end
  end
  for n = 1, math.maxinteger do
    local stream = "purse-" .. math.random(STREAMS)
    local dice = math.random(10)
    local id = ("%d-%d"):format(seed, n)
    if dice <= 6 then
      -- Now and then so many that snapshots are due.
      local count = math.random(8) == 1 and math.random(300) or math.random(3)
      local data = { value = math.random(9), count = count, note = ("x"):rep(math.random(300)) }
      say(store:attempt(stream, decider, { type = "Add", data = data, command_id = id }), stream)
    elseif dice <= 8 then
      say(store:attempt(stream, decider, { type = "Move", data = { by = math.random(-20, 5) } }), stream)
    else -- from one to another: both or neither
      local other = "purse-" .. math.random(STREAMS)
      local by = math.random(5)
      local results
      pcall(store.transaction, store, function()
        local out = store:handle(stream, decider, { type = "Move", data = { by = -by, pair = id } })
        results = { out, store:handle(other, decider, { type = "Move", data = { by = by, pair = id } }) }
      end)
      if results then
        say(results[1], stream)
        say(results[2], other)
      end
    end
  end
end

-- ## The one that looks at what is left

local function quote(text)
  return "'" .. text .. "'"
end

local function table_decider()
  return assert(load(script, "=purse"))()
end

--- What is wrong, or nothing.
local function look(path, script_path, told)
  local plain = table_decider()
  local store <close> = moonfold.open(path)
  local loaded = moonfold.load_decider(script_path)
  for stream, version in pairs(told) do
    local now = store:stream_version(stream)
    if now < version then return ("%s is at version %d, told was %d"):format(stream, now, version) end
  end
  local pairs_seen = {}
  for stream, version in store:streams "purse-" do
    local folded = store:aggregate_stream(stream, plain)
    local kept = store:aggregate_stream(stream, loaded)
    if moonfold.hash(folded.state) ~= moonfold.hash(kept.state) or kept.current_stream_version ~= version then
      return stream .. ": its kept state is not that of a plain fold"
    end
    for event in store:events(stream, { types = { "Moved" } }) do
      local pair = event.data.pair
      if pair then pairs_seen[pair] = (pairs_seen[pair] or 0) + 1 end
    end
  end
  for pair, count in pairs(pairs_seen) do
    if count ~= 2 then return "transaction " .. pair .. " is there by half" end
  end
  for command in store:commands() do
    local events = 0
    if command.outcome == "accepted" and command.events > 0 then
      local from = command.first_position
      for event in store:all_events { from = from, to = from + command.events - 1 } do
        if event.stream_name == command.stream_name then events = events + 1 end
      end
    end
    if events ~= (command.events or 0) then return "a kept command has lost its events" end
  end
  local report = moonfold.verify(path)
  if not report.sound then return "verify: " .. tostring(report.problems[1] and report.problems[1].message) end
end

-- A process that is at work: its output and its id.
local function start(path, script_path, seed)
  local command = ("exec build/moonfold run spec/faults/commands.lua worker %s %s %d"):format(
    quote(path), quote(script_path), seed)
  local pipe = assert(io.popen(command))
  return { pipe = pipe, pid = tonumber((pipe:read "l" or ""):match "^pid (%d+)") }
end

-- Hears what it tells next; false at the end. Its last line may be half of one.
local function hear(worker, told)
  local line = worker.pipe:read "L"
  local stream, version = (line or ""):match "^told (%S+) (%d+)\n$"
  if stream then told[stream] = math.max(told[stream] or 0, tonumber(version)) end
  return stream ~= nil
end

local function round(path, script_path, seed, told)
  local workers = { start(path, script_path, 2 * seed), start(path, script_path, 2 * seed + 1) }
  local problem
  for _, worker in ipairs(workers) do
    if not worker.pid then return "a process did not start" end
    for _ = 1, math.random(1, 80) do
      if not hear(worker, told) then problem = "a process ended by itself" end
    end
    os.execute("kill -9 " .. worker.pid)
    while hear(worker, told) do end
    worker.pipe:close()
  end
  return problem or look(path, script_path, told)
end

local function clean(path, script_path)
  for _, name in ipairs { path, path .. "-lock", script_path } do os.remove(name) end
end

local function main(rounds, seed)
  local path, script_path = ("%s/commands-%d.fold"):format(folder, seed), ("%s/commands-%d.lua"):format(folder, seed)
  clean(path, script_path)
  local file = assert(io.open(script_path, "w"))
  file:write(script)
  file:close()
  math.randomseed(seed)
  print(("# seed %d, %d rounds"):format(seed, rounds))
  local told, problem = {}, nil
  for i = 1, rounds do
    problem = round(path, script_path, seed + i, told)
    if problem then break end
  end
  if not problem then
    local store <close> = moonfold.open(path)
    local kept = store:kept()
    print(("# %d snapshots, %d kept commands"):format(kept.snapshots, kept.commands))
    if rounds >= 8 and (kept.snapshots == 0 or kept.commands == 0) then
      problem = "no snapshot was taken, or no command kept"
    end
  end
  print(("%s 1 - commands that were acknowledged outlive kill -9, with their states, transactions and records"):format(
    problem and "not ok" or "ok"))
  if problem then print("# " .. problem) end
  print "1..1"
  if problem then os.exit(false) end -- what was found stays for a look
  clean(path, script_path)
  os.exit(true)
end

if arg[1] == "worker" then
  work(arg[2], arg[3], tonumber(arg[4]))
else
  main(tonumber(arg[1] or "10"), tonumber(arg[2] or os.time()))
end
