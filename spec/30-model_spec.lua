--- Random operations, done to a store and to a model of it in plain tables: both must always agree. The store is one
--- file that two handles of this process and one of another process have open, which is killed now and then.
--
-- MOONFOLD_MODEL_OPS=n does so many operations, `make model` very many; MOONFOLD_SEED=n plays a failed run again.

local moonfold = require "moonfold"
local support = require "support"

local SEED = tonumber(os.getenv "MOONFOLD_SEED") or os.time()
local OPERATIONS = tonumber(os.getenv "MOONFOLD_MODEL_OPS") or 4000

--- Where most things happen; some happen to a new stream, or have a new type.
local STREAMS = { "a", "a-1", "a-2", "b", "b\0", "\255" }
local TYPES = { "Added", "Noted", "Old" }

-- ## The rules that both follow

--- As a text, because the other process needs it too.
local DECIDER = [[
local decider = { initial_state = { sum = 0, count = 0 }, evolve = { Noted = false }, decide = {} }

function decider.evolve.Added(state, added)
  state.sum = state.sum + added.data
  state.count = state.count + 1
end

function decider.decide.Add(add)
  local events = {}
  for i = 1, add.data.count do events[i] = { type = i % 2 == 1 and "Added" or "Noted", data = add.data.n + i } end
  return events
end

function decider.decide.Refuse() require("moonfold").reject "never" end
function decider.decide.Typo() return { type = "Adedd" } end
return decider
]]

local decider = assert(load(DECIDER))()

local function fold(events, to)
  local state = { sum = 0, count = 0 }
  for i = 1, math.min(to, #events) do
    if events[i].type == "Added" then decider.evolve.Added(state, events[i]) end
  end
  return state
end

-- ## The model: a log, and the same events by stream

local Model = {}
Model.__index = Model

local function new_model()
  return setmetatable({ log = {}, streams = {}, ids = {}, commands = {} }, Model)
end

function Model:events(stream)
  return self.streams[stream] or {}
end

--- Forgets all events after this position.
function Model:rollback(position)
  while #self.log > position do
    local event = table.remove(self.log)
    local events = self.streams[event.stream]
    events[#events] = nil
    if #events == 0 then self.streams[event.stream] = nil end
    if event.message_id then self.ids[event.message_id] = nil end
    if event.command_key then self.commands[event.command_key] = nil end
  end
end

function Model:met(stream, expected)
  local version = #self:events(stream)
  if expected == nil or expected == moonfold.NO_CONCURRENCY_CHECK then return true end
  if expected == moonfold.STREAM_EXISTS then return version > 0 end
  if expected == moonfold.STREAM_DOES_NOT_EXIST then return version == 0 end
  return expected == version
end

--- The last event of a batch that was recorded before, in one piece; nil for a new batch; "id_conflict".
function Model:recorded(stream, batch)
  local known, last = 0, nil
  for _, event in ipairs(batch) do
    local old = event.message_id and self.ids[event.message_id]
    if old then
      if old.stream ~= stream or old.type ~= event.type or old.data ~= event.data then return "id_conflict" end
      if last and old.version ~= last.version + 1 then return "id_conflict" end
      known, last = known + 1, old
    end
  end
  if known > 0 and known < #batch then return "id_conflict" end
  return last
end

function Model:record(stream, batch, command_key)
  local created = self.streams[stream] == nil and #batch > 0
  for _, event in ipairs(batch) do
    local events = self:events(stream)
    local new = {
      stream = stream, type = event.type, data = event.data, message_id = event.message_id,
      version = #events + 1, position = #self.log + 1, command_key = command_key,
    }
    self.streams[stream] = events
    events[new.version], self.log[new.position] = new, new
    if new.message_id then self.ids[new.message_id] = new end
  end
  return {
    version = #self:events(stream), created = created, position = #batch > 0 and #self.log or nil,
  }
end

--- Both return { version=, created=, position= } (for what was recorded before, without `created`), or a code.

function Model:append(stream, batch, expected)
  local old = self:recorded(stream, batch)
  if old == "id_conflict" then return nil, old end
  if old then return { version = old.version, position = old.position } end
  if not self:met(stream, expected) then return nil, "version_conflict" end
  return self:record(stream, batch)
end

local function same_command(a, b)
  return a.type == b.type and a.data.n == b.data.n and a.data.count == b.data.count
end

function Model:handle(stream, command, expected)
  local key = command.command_id and stream .. "/" .. command.command_id
  local done = key and self.commands[key]
  if done then
    if not same_command(done.command, command) then return nil, "id_conflict" end
    return { version = done.version, position = done.position, state = fold(self:events(stream), done.version) }
  end
  if not self:met(stream, expected) then return nil, "version_conflict" end
  if command.type == "Refuse" then return nil, "rejected" end
  if command.type == "Typo" then return nil, "unknown_event_type" end
  local result = self:record(stream, decider.decide.Add(command), key)
  result.state = fold(self:events(stream), result.version)
  if key and result.position then
    self.commands[key] = { command = command, version = result.version, position = result.position }
  end
  return result
end

--- The positions in the log that a read returns.
function Model:read(stream, options)
  local events, wanted = stream and self:events(stream) or self.log, nil
  if options.types then
    wanted = {}
    for _, type in ipairs(options.types) do wanted[type] = true end
  end
  local first, last, step = math.max(options.from or 1, 1), math.min(options.to or #events, #events), 1
  if options.backwards then first, last, step = last, first, -1 end
  local positions = {}
  for i = first, last, step do
    if #positions == options.max_count then break end
    if not wanted or wanted[events[i].type] then positions[#positions + 1] = events[i].position end
  end
  return positions
end

-- ## A store of another process, with the methods that are used here; what iterates is fetched at once

local Remote = {}

local function remote(path)
  local peer = support.peer()
  peer:run("local path, text = ... decider = load(text)() store = moonfold.open(path, { durability = 'none' })", path,
    DECIDER)
  return setmetatable({ peer = peer }, Remote)
end

local ITERATE = [[
  local method, argument, options = ...
  local list = {}
  for a, b in store[method](store, argument, options) do list[#list + 1] = { a, b } end
  return list
]]

local CALL = [[
  local method, stream, argument, options = ...
  if method == "handle" then return store:handle(stream, decider, argument, options) end
  if method == "aggregate_stream" then return store:aggregate_stream(stream, decider, argument) end
  return store[method](store, stream, argument, options)
]]

function Remote:__index(method)
  local peer = rawget(self, "peer")
  if method == "events" or method == "all_events" or method == "streams" then
    return function(_, ...)
      local list, at = peer:run(ITERATE, method, ...), 0
      return function()
        at = at + 1
        if list[at] then return list[at][1], list[at][2] end
      end
    end
  elseif method == "handle" or method == "aggregate_stream" then
    return function(_, stream, _, ...) return peer:run(CALL, method, stream, ...) end
  end
  return function(_, ...) return peer:run(CALL, method, ...) end
end

-- ## The world: both side by side, and what may happen in it

local World = {}
World.__index = World

local random = math.random

local function any(list) return list[random(#list)] end

--- One of a list, or now and then something new for it.
local function any_or_new(list)
  if random(25) == 1 then list[#list + 1] = ("%s+%d"):format(any(list):match "^[^+]*", #list) end
  return any(list)
end

local function new_world()
  local path = support.path()
  local function open() return moonfold.open(path, { durability = "none" }) end
  return setmetatable({
    model = new_model(), open = open, stores = { open(), open() }, path = path, remote = remote(path),
    names = table.move(STREAMS, 1, #STREAMS, 1, {}), types = table.move(TYPES, 1, #TYPES, 1, {}),
    batches = {}, commands = {}, walks = {}, serial = 0,
  }, World)
end

local function agree(expected, actual, what)
  if not require("pl.tablex").deepcompare(expected, actual) then
    error(("%s: expected %s, got %s"):format(what, support.literal(expected), support.literal(actual)), 0)
  end
end

--- Compares what a call did with what the model did.
local function compare(result, code, called, outcome)
  if code then
    agree(code, called and "no error" or type(outcome) == "table" and outcome.code or tostring(outcome), "outcome")
    return
  end
  if not called then error("raised " .. tostring(outcome), 0) end
  agree(result.version, outcome.next_expected_stream_version, "version")
  agree(result.position, outcome.last_event_global_position, "position")
  if result.created ~= nil then agree(result.created, outcome.created_new_stream, "created") end
  agree(result.state, outcome.state, "state")
end

--- One of the handles on the file; a transaction's calls go through the first.
function World:store()
  if self.inside then return self.stores[1] end
  local which = random(5)
  return which == 5 and self.remote or self.stores[which % 2 + 1]
end

function World:stream() return any_or_new(self.names) end

function World:number()
  self.serial = self.serial + 1
  return self.serial
end

function World:expectation(stream)
  local version = #self.model:events(stream)
  local kind = random(12)
  if kind <= 5 then return nil end
  if kind <= 9 then return version end
  return ({
    moonfold.STREAM_EXISTS, moonfold.STREAM_DOES_NOT_EXIST, math.max(version + any { -1, 1, 100 }, 0),
  })[kind - 9]
end

function World:batch()
  local batch, with_ids = {}, random(3) == 1
  for i = 1, random(4) == 1 and random(0, 40) or random(3) do
    local n = self:number()
    batch[i] = { type = any_or_new(self.types), data = n, message_id = with_ids and "id-" .. n or nil }
  end
  return batch
end

function World:append_batch(stream, batch)
  local expected = self:expectation(stream)
  local result, code = self.model:append(stream, batch, expected)
  compare(result, code, pcall(function()
    return self:store():append_to_stream(stream, batch, { expected_stream_version = expected })
  end))
end

function World:event(position, event)
  local expected = self.model.log[position]
  agree({ expected.stream, expected.version, expected.position, expected.type, expected.data, expected.message_id },
    { event.stream_name, event.stream_position, event.global_position, event.type, event.data,
      expected.message_id and event.message_id }, "event " .. position)
end

function World:read_options(last)
  local types = random(3) == 1 and { any(self.types), any(self.types) } or nil
  return {
    from = random(2) == 1 and random(0, last + 2) or nil, to = random(2) == 1 and random(0, last + 2) or nil,
    max_count = random(3) == 1 and random(0, 30) or nil, backwards = random(2) == 1, types = types,
  }
end

function World:log_agrees()
  for _, store in ipairs { self.stores[1], self.stores[2], self.remote } do
    local position = 0
    for event in store:all_events() do
      position = position + 1
      self:event(position, event)
    end
    agree(#self.model.log, position, "events in the log")
  end
end

-- Each operation does one thing to both, and compares.

local operations = {}

function operations.append(world)
  local batch = world:batch()
  if #batch > 0 and batch[1].message_id then table.insert(world.batches, batch) end
  world:append_batch(world:stream(), batch)
end

--- A batch with ids comes again: the same, to any stream, with another content, or together with a new event.
function operations.repeat_append(world)
  if #world.batches == 0 then return end
  local batch, kind = table.move(any(world.batches), 1, 1000, 1, {}), random(6)
  local known = world.model.ids[batch[1].message_id]
  local stream = known and random(5) > 1 and known.stream or world:stream()
  if kind == 1 then
    batch[1] = { type = batch[1].type, data = -batch[1].data, message_id = batch[1].message_id }
  elseif kind == 2 then
    table.insert(batch, random(#batch + 1), { type = "Noted", data = 0, message_id = "id-" .. world:number() })
  end
  world:append_batch(stream, batch)
end

function operations.handle(world)
  local stream, kind = world:stream(), random(8)
  local command = { type = "Add", data = { n = world:number(), count = random(0, 3) } }
  if kind == 1 then command.type = any { "Refuse", "Typo" } end
  if random(2) == 1 then
    command.command_id = "command-" .. command.data.n
    table.insert(world.commands, command)
  end
  if kind >= 6 and #world.commands > 0 then command = any(world.commands) end
  if kind == 8 then
    command = { type = "Add", data = { n = -1, count = random(0, 2) }, command_id = command.command_id }
  end
  local expected = world:expectation(stream)
  local result, code = world.model:handle(stream, command, expected)
  compare(result, code, pcall(function()
    return world:store():handle(stream, decider, command, { expected_stream_version = expected })
  end))
end

function operations.read(world)
  local stream = world:stream()
  local version = #world.model:events(stream)
  local options = world:read_options(version)
  local result = world:store():read_stream(stream, options)
  local positions = world.model:read(stream, options)
  agree(positions, support.pluck("global_position", result.events), "events of " .. support.literal(options))
  for i, position in ipairs(positions) do world:event(position, result.events[i]) end
  agree({ version, version > 0 }, { result.current_stream_version, result.stream_exists }, "stream")
end

function operations.read_log(world)
  local options = world:read_options(#world.model.log)
  local positions, count = world.model:read(nil, options), 0
  for event in world:store():all_events(options) do
    count = count + 1
    world:event(positions[count] or error("more events than expected", 0), event)
  end
  agree(#positions, count, "events of " .. support.literal(options))
end

function operations.look(world)
  local prefix, expected = any { "", "a", "a-", "b", "\255", "c" }, {}
  for stream, events in pairs(world.model.streams) do
    if stream:sub(1, #prefix) == prefix then expected[#expected + 1] = { stream, #events } end
  end
  table.sort(expected, function(x, y) return x[1] < y[1] end)
  local streams = {}
  for name, version in world:store():streams(prefix) do streams[#streams + 1] = { name, version } end
  agree(expected, streams, "streams")
  local stream = world:stream()
  local version = #world.model:events(stream)
  agree({ version, version > 0 }, { world:store():stream_version(stream), world:store():stream_exists(stream) }, stream)
end

function operations.aggregate(world)
  local stream = world:stream()
  local events = world.model:events(stream)
  local to = random(2) == 1 and random(0, #events + 1) or nil
  local result = world:store():aggregate_stream(stream, decider, { to = to })
  agree(fold(events, to or #events), result.state, "state")
  agree(math.min(to or #events, #events), result.current_stream_version, "version of the state")
end

--- A walk that goes on while other things happen.
function operations.begin_walk(world)
  if world.inside or #world.walks > 10 then return end
  local stream = random(3) > 1 and world:stream() or nil
  local options = world:read_options(stream and #world.model:events(stream) or #world.model.log)
  local store = random(2)
  local walk = { store = store, positions = world.model:read(stream, options), at = 0 }
  if stream then
    walk.next, walk.state, walk.event, walk.iterator = world.stores[store]:events(stream, options)
  else
    walk.next, walk.state, walk.event, walk.iterator = world.stores[store]:all_events(options)
  end
  table.insert(world.walks, walk)
end

local function end_walk(world, i)
  local _ <close> = table.remove(world.walks, i).iterator
end

function operations.walk_on(world)
  if #world.walks == 0 then return end
  local i = random(#world.walks)
  local walk = world.walks[i]
  for _ = 1, random(20) do
    walk.event = walk.next(walk.state, walk.event)
    walk.at = walk.at + 1
    local position = walk.positions[walk.at]
    if walk.event and position then
      world:event(position, walk.event)
    else
      agree({ nil, nil }, { walk.event, position }, "end of a walk")
      return end_walk(world, i)
    end
  end
end

function operations.leave_walk(world)
  if #world.walks > 0 then end_walk(world, random(#world.walks)) end
end

--- Every event of a walk is answered by another, until the loop is left one way or another.
function operations.append_while_walking(world)
  local from, to, left = world:stream(), world:stream(), {}
  local events = #world.model:events(from)
  local steps = random(0, 5)
  local function walk()
    local count = 0
    for event in world:store():events(from) do
      if count == steps then error(left) end
      count = count + 1
      world:event(world.model:events(from)[count].position, event)
      world:append_batch(to, { { type = "Noted", data = world:number() } })
    end
    agree(events, count, "events while appending")
  end
  local _, raised = pcall(walk)
  if raised ~= nil and raised ~= left then error(raised, 0) end
end

local inside_too = { "append", "append", "repeat_append", "handle", "handle", "read", "read_log", "look", "aggregate",
                     "walk_on", "append_while_walking" }

--- A transaction that commits, or fails by its own error, or by a call that nobody catches.
function operations.transaction(world)
  local before, ending, mine = #world.model.log, random(5), {}
  world.inside = true
  local _, raised = pcall(function()
    return world.stores[1]:transaction(function(store)
      for _ = 1, random(0, 8) do operations[any(inside_too)](world) end
      if ending == 1 then error(mine) end
      if ending == 2 then store:append_to_stream("a", {}, { expected_stream_version = 1 << 40 }) end
    end)
  end)
  world.inside = false
  if ending <= 2 then
    world.model:rollback(before)
    if ending == 1 and raised == mine or ending == 2 and raised.code == "version_conflict" then return end
  end
  if raised ~= nil then error(raised, 0) end
end

--- One of the handles is closed and opened again; its walks are told so.
function operations.reopen(world)
  local which = random(2)
  world.stores[which]:close()
  for i = #world.walks, 1, -1 do
    local walk = world.walks[i]
    if walk.store == which then
      local stepped, failure = pcall(walk.next, walk.state, walk.event)
      agree({ false, "closed" }, { stepped, stepped or failure.code }, "a walk after closing")
      end_walk(world, i)
    end
  end
  world.stores[which] = world.open()
end

local TRANSACTION = [[
  local appends, ending = ...
  store:transaction(function()
    for _, append in ipairs(appends) do store:append_to_stream(append.stream, append.batch) end
    if ending == "wait" then answer "inside" io.read("l") end
    if ending == "fail" then error({ code = "mine", message = "this one fails" }) end
  end)
]]

function World:appends()
  local appends = {}
  for i = 1, random(4) do
    local batch = {}
    for k = 1, random(30) do batch[k] = { type = any(TYPES), data = self:number() } end
    appends[i] = { stream = self:stream(), batch = batch }
  end
  return appends
end

--- The other process appends in a transaction, which commits or fails.
function operations.remote_transaction(world)
  local appends, ending = world:appends(), any { "commit", "commit", "fail" }
  local called, raised = pcall(world.remote.peer.run, world.remote.peer, TRANSACTION, appends, ending)
  if ending == "fail" then
    return agree({ false, "mine" }, { called, called or raised.code }, "a transaction that fails")
  end
  if not called then error(raised, 0) end
  for _, append in ipairs(appends) do world.model:record(append.stream, append.batch) end
end

--- The other process dies in a transaction: nothing of it stays, and nobody is held up by it.
function operations.kill(world)
  world.remote.peer:send(TRANSACTION, world:appends(), "wait")
  agree("inside", world.remote.peer:receive(), "the other process")
  world.remote.peer:kill()
  world.remote = remote(world.path)
end

local weighted = {}
for name, weight in pairs {
  append = 8, repeat_append = 4, handle = 8, read = 4, read_log = 1, look = 3, aggregate = 3, begin_walk = 2,
  walk_on = 3, leave_walk = 1, append_while_walking = 1, transaction = 4, reopen = 1, remote_transaction = 2,
  kill = 0.1,
} do
  for _ = 1, 10 * weight do table.insert(weighted, name) end
end
table.sort(weighted)

function World:run(count)
  for i = 1, count do
    local name = any(weighted)
    local done, failure = pcall(operations[name], self)
    if not done then
      error(("operation %d (%s) of seed %d: %s"):format(i, name, SEED, tostring(failure)), 0)
    end
  end
end

function World:close()
  while #self.walks > 0 do end_walk(self, 1) end
  for _, store in ipairs(self.stores) do store:close() end
  self.remote.peer:close()
end

World.__close = World.close

describe(("a store and its model, after %d operations of seed %d,"):format(OPERATIONS, SEED), function()
  it("agree on everything", function()
    math.randomseed(SEED)
    local world <close> = new_world()
    world:run(OPERATIONS)
    world:log_agrees()
    world:close()
    world.stores, world.remote = { world.open(), world.open() }, remote(world.path)
    world:log_agrees()
  end)
end)
