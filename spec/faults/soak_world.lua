-- What the soak works on: a store, what was acknowledged of it, and what its work has cost.
--
--   local world = dofile("spec/faults/soak_world.lua").world(path, costs, fail, planted)
--   world:work()                         -- one operation of some kind
--   world.costs["read of 20 events"]     -- { seconds of CPU, units }
--
-- Streams of a category live for so many commands, are ended, and begun anew under another name. What was acknowledged
-- of those that live is remembered in memory; what has ended goes to a file.

local moonfold = require "moonfold"

-- The kinds of work that are accounted for, and what the cost of each may grow by. A tree of the file gets deeper by a
-- level now and then, and more of it misses the caches: the bounds leave room for that. What happens a few times only
-- is measured less well.
local OFTEN <const>, SELDOM <const> = 1.5, 2.5
local accounts = {
  { "command to account", OFTEN },
  { "command to cart", OFTEN },
  { "command to inventory", OFTEN },
  { "command to counter", OFTEN }, -- takes snapshots
  { "append of one event", OFTEN },
  { "append of many, for each", OFTEN },
  { "transaction", OFTEN },
  { "read of 20 events", OFTEN },
  { "state of today", OFTEN },
  { "state of the past", OFTEN },
  { "stream's event that is read", SELDOM },
  { "opening", SELDOM },
  { "backup, by the MiB", SELDOM },
  { "verification, by the MiB", SELDOM },
}

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

local world = {}
world.__index = world

--- What nothing has been spent on yet.
local function no_costs()
  local costs = {}
  for _, kind in ipairs(accounts) do costs[kind[1]] = { 0, 0 } end
  return costs
end

local function new(path, costs, fail, planted)
  local self = setmetatable({
    path = path, costs = costs, fail = fail, planted = planted,
    versions = {}, sums = {}, names = {}, -- of streams that live
    events = 0, payload = 0, accepted = 0, refused = 0,
    ended = assert(io.open(path .. ".ended", "w+")), ended_count = 0,
    living = {}, -- kind and number -> the stream of the moment
    generation = 0,
    deciders = {},
  }, world)
  for _, name in ipairs(kind_names) do
    self.deciders[name] = moonfold.load_decider("scripts/domain/" .. name .. ".lua",
      { keep_commands = { max_count = 1000 }, cache = 200 }) -- full soon, with states of streams that have ended
  end
  self.store = moonfold.open(path)
  for i = 1, PRODUCTS do
    local event = { type = "GoodsReceived", data = { qty = 1 << 50 } }
    self.store:append_to_stream("inventory-p" .. i, event)
    self:note("inventory-p" .. i, { event })
  end
  return self
end

--- Removes a store and its lock file.
function world.remove_store(path)
  os.remove(path)
  os.remove(path .. "-lock")
end

function world:remove()
  self.ended:close()
  self.store:close()
  self.remove_store(self.path)
  os.remove(self.path .. ".ended")
end

-- ## The witness: what was acknowledged

function world.add(sum, event)
  return moonfold.hash { sum or "", event.type, event.data or moonfold.null }
end

function world:note(stream, events)
  if not self.versions[stream] then
    self.names[#self.names + 1] = stream
    self.versions[stream] = 0
  end
  for _, event in ipairs(events) do
    self.versions[stream] = self.versions[stream] + 1
    self.sums[stream] = self.add(self.sums[stream], event)
    self.payload = self.payload + #moonfold.to_json(event.data or moonfold.null) + #event.type
  end
  self.events = self.events + #events
end

--- The stream is complete: what it holds goes to the file.
function world:bury(stream)
  self.ended:write(stream, " ", self.versions[stream], " ", self.sums[stream], "\n")
  self.ended_count = self.ended_count + 1
  for i, name in ipairs(self.names) do
    if name == stream then
      self.names[i] = self.names[#self.names]
      self.names[#self.names] = nil
      break
    end
  end
  self.versions[stream], self.sums[stream] = nil, nil
end

function world:any_stream()
  return self.names[math.random(#self.names)]
end

-- ## What it costs

function world:account(what, since, units)
  local cost = self.costs[what]
  cost[1], cost[2] = cost[1] + os.clock() - since, cost[2] + units
end

--- Calls f, whose CPU time is accounted for as that of so many units.
function world:timed(what, units, f, ...)
  local since = os.clock()
  local result, more = f(...)
  self:account(what, since, units)
  return result, more
end

-- ## The work

local work = {}

function world:living_stream(kind)
  local place = kind .. math.random(kinds[kind].streams)
  local life = self.living[place]
  if not life then
    self.generation = self.generation + 1
    local left = kinds[kind].commands * (0.5 + math.random())
    life = { place = place, stream = ("%s-%d"):format(kind, self.generation), left = left }
    self.living[place] = life
  end
  return life
end

function world:attempt(stream, kind, command)
  local since = os.clock()
  local fine, result, rejection = pcall(self.store.attempt, self.store, stream, self.deciders[kind], command)
  self:account(("command to %s"):format(kind), since, 1)
  if not fine then self.fail("%s on %s: %s", command.type, stream, tostring(result)) end
  if result then self:note(stream, result.events) end
  return result or rejection
end

function work:command()
  local kind = kind_names[math.random(#kind_names)]
  local life = self:living_stream(kind)
  local result = self:attempt(life.stream, kind, kinds[kind].command())
  if result.code then self.refused = self.refused + 1 else self.accepted = self.accepted + 1 end
  life.left = life.left - 1
  if life.left > 0 or self.planted == "slow" then return end
  local last = kinds[kind].last
  local data = kind == "inventory" and { item = "rope" } or nil
  self:attempt(life.stream, kind, { type = last[math.random(#last)], data = data })
  if self.versions[life.stream] then self:bury(life.stream) end
  self.living[life.place] = nil
end

local function noise(size)
  local bytes = {}
  for i = 1, size do bytes[i] = string.char(math.random(32, 126)) end
  return table.concat(bytes)
end

function world.plain_events(count)
  local events = {}
  for i = 1, count do
    events[i] = { type = "Noted" .. math.random(5), data = { text = noise(math.random(20, 200)), n = i } }
  end
  return events
end

local function note_stream() return "note-" .. math.random(50) end

function work:append()
  local stream, count = note_stream(), math.random(5) == 1 and math.random(2, 100) or 1
  local events = self.plain_events(count)
  self:timed(count == 1 and "append of one event" or "append of many, for each", count, self.store.append_to_stream,
    self.store, stream, events, { expected_stream_version = self.versions[stream] or 0 })
  self:note(stream, events)
end

function work:transaction()
  local parts = {}
  local wanted = math.random(3) > 1
  for i = 1, math.random(4) do parts[i] = { note_stream(), self.plain_events(math.random(3)) } end
  local fine, problem = self:timed("transaction", 1, pcall, self.store.transaction, self.store, function()
    for _, part in ipairs(parts) do self.store:append_to_stream(part[1], part[2]) end
    if not wanted then error("changed my mind", 0) end
  end)
  if fine ~= wanted then self.fail("a transaction: %s", tostring(problem)) end
  if not fine then return end
  for _, part in ipairs(parts) do self:note(part[1], part[2]) end
end

--- The end of a stream: what a read takes must not grow with what was written.
function work:read()
  local stream = self:any_stream()
  local version = self.versions[stream]
  local result = self:timed("read of 20 events", 1, self.store.read_stream, self.store, stream,
    { backwards = true, max_count = self.planted ~= "scan" and 20 or nil })
  local wanted = self.planted ~= "scan" and math.min(20, version) or version
  if result.current_stream_version ~= version or #result.events ~= wanted then
    self.fail("stream %s is at version %d, acknowledged was %d", stream, result.current_stream_version, version)
  end
end

function world:state(what, stream, kind, to)
  local options = to and { to = to }
  local result = self:timed(what, 1, self.store.aggregate_stream, self.store, stream, self.deciders[kind], options)
  local wanted = to or self.versions[stream]
  if result.current_stream_version ~= wanted then
    self.fail("the state of %s stands at %d of %d", stream, result.current_stream_version, wanted)
  end
end

--- A state of today, and one of the past, which is folded from the first event on: so it is an early one.
function work:past()
  local kind = kind_names[math.random(#kind_names)]
  local stream = self:living_stream(kind).stream
  local version = self.versions[stream]
  if not version then return end
  self:state("state of today", stream, kind)
  self:state("state of the past", stream, kind, math.random(math.min(50, version)))
end

local share = { "command", "command", "command", "command", "append", "append", "transaction", "read", "past" }

function world:work()
  work[share[math.random(#share)]](self)
end

-- ## What happens now and then

--- The stream holds what was acknowledged.
function world:check_stream(stream)
  local version, since, got, there = self.versions[stream], os.clock(), nil, 0
  for event in self.store:events(stream) do
    there = event.stream_position
    got = self.add(got, event)
  end
  self:account("stream's event that is read", since, version)
  if there ~= version then
    self.fail("stream %s is at version %d, acknowledged was %d", stream, there, version)
  end
  if got ~= self.sums[stream] then self.fail("stream %s came back changed", stream) end
end

local function mebibytes(path)
  local file <close> = assert(io.open(path))
  return file:seek "end" / 2 ^ 20
end

--- A store, its file, and what the copy is called.
function world:copy(store, path, copy)
  self:timed("backup, by the MiB", mebibytes(path), store.backup, store, copy)
  local report = self:timed("verification, by the MiB", mebibytes(copy), moonfold.verify, copy)
  if not report.sound then self.fail("a backup is not whole") end
end

function world:backup(copy)
  local last = self.store:stream_version "backup-marks"
  self.store:append_to_stream("backup-marks", { type = "Marked" })
  self:note("backup-marks", { { type = "Marked" } })
  self:copy(self.store, self.path, copy)
  local other <close> = moonfold.open(copy, { read_only = true })
  if other:stream_version "backup-marks" ~= last + 1 then self.fail("a backup is not the newest") end
end

function world:reopen()
  self.store:close()
  self.store = self:timed("opening", 1, moonfold.open, self.path)
  for _ = 1, 5 do self:check_stream(self:any_stream()) end
end

return { world = new, no_costs = no_costs, remove_store = world.remove_store, kinds = accounts }
