--- moonfold.history against a naive model: random streams, told event by event, and everything asked that can be asked.
--
-- MOONFOLD_HISTORY_ROUNDS=n plays so many streams; MOONFOLD_SEED=n plays a failed run again.

local history = require "moonfold.history"
local moonfold = require "moonfold"
local values = require "moonfold.values"

local ROUNDS = tonumber(os.getenv "MOONFOLD_HISTORY_ROUNDS") or 60
local SEED = tonumber(os.getenv "MOONFOLD_SEED") or os.time()

local event, command = moonfold.event, moonfold.command
local random = math.random

-- ## Rules that change lists, maps, scalars, and the shape of what they hold

local function copy(value)
  if type(value) ~= "table" then return value end
  local new = {}
  for key, part in pairs(value) do new[key] = copy(part) end
  return values.is_list(value) and moonfold.array(new) or new
end

local evolve = {
  Pushed = function(state, pushed)
    table.insert(state.list, pushed.data.at % (#state.list + 1) + 1, copy(pushed.data.it))
  end,
  Pulled = function(state, pulled)
    if #state.list > 0 then table.remove(state.list, pulled.data.at % #state.list + 1) end
  end,
  Put = function(state, put) state.map[put.data.key] = copy(put.data.it) end,
  Taken = function(state, taken) state.map[taken.data.key] = nil end,
  Counted = function(state, counted) state.n = state.n + counted.data.by end,
  Turned = function(state) state.n = -state.n end,
  Replaced = function(_, replaced) return { list = moonfold.array(), map = {}, n = 0, was = replaced.data.it } end,
  Flipped = function(state)
    local deep = type(state.flip) ~= "table"
    state.flip = deep and { deep = { moonfold.array { state.n } } } or state.n
  end,
  Ignored = false,
}

local function initial_state() return { list = moonfold.array(), map = {}, n = 0 } end

local rules = {
  category = "thing", initial_state = initial_state, evolve = evolve,
  decide = {
    Count = function(given, state)
      if state.n + given.data.by > 20 then moonfold.reject("too_many", "no more than 20") end
      if given.data.by == 0 then return nil end
      return { event("Counted", { by = given.data.by }), event("Ignored") }
    end,
  },
}

local function some_value()
  local kinds = { 1, 1.0, "tea", "", false, moonfold.null, { a = 1 }, { a = { b = moonfold.array() } },
    moonfold.array { 1, 2 }, moonfold.array(), {} }
  return copy(kinds[random(#kinds)])
end

local keys <const> = { "a", "b", "a key", 3, -1 }

local function some_event()
  local kinds = { "Pushed", "Pushed", "Pulled", "Put", "Put", "Taken", "Counted", "Counted", "Turned", "Flipped",
    "Ignored" }
  local kind = random(40) == 1 and "Replaced" or kinds[random(#kinds)]
  return event(kind, { at = random(0, 9), it = some_value(), key = keys[random(#keys)], by = random(0, 2) })
end

local paths <const> = { "", "list", "list[1]", "list[2].a", "map", "map.a", "map.a.b", 'map["a key"]', "map[3]",
  "map[-1]", "n", "was", "flip", "flip.deep", "flip.deep[1][1]", "never.there" }

-- ## The model: every state, in full

local function tell(events)
  local states = { [0] = initial_state() }
  for version, one in ipairs(events) do
    local state, step = copy(states[version - 1]), evolve[one.type]
    states[version] = step and step(state, one) or state
  end
  return states
end

local function part(value, path) return values.get(value, (values.parse_path(path))) end

local function same(expected, found, what)
  if values.equal(expected, found) then return end
  error(("%s: expected %s, found %s"):format(what, values.literal(expected), values.literal(found)), 0)
end

--- Puts changes into a value, as a reader would: what was removed first, from the end; then what was added, from the
--- beginning. That must give the value after them.
local function apply(value, changes)
  value = copy(value)
  local function container(change)
    local holder = values.get(value, table.move(change.keys, 1, #change.keys - 1, 1, {}))
    return holder, change.keys[#change.keys], values.is_list(holder)
  end
  local function set(change)
    if #change.keys == 0 then
      value = copy(change.after)
      return
    end
    local holder, key = container(change)
    holder[key] = copy(change.after)
  end
  for i = #changes, 1, -1 do
    local change = changes[i]
    if change.kind == "removed" then
      local holder, key, list = container(change)
      if list then table.remove(holder, key) else holder[key] = nil end
    end
  end
  for _, change in ipairs(changes) do
    if change.kind == "added" and #change.keys > 0 then
      local holder, key, list = container(change)
      if list then table.insert(holder, key, copy(change.after)) else holder[key] = copy(change.after) end
    elseif change.kind ~= "removed" then
      set(change)
    end
  end
  return value
end

-- ## Questions

local questions = {}

function questions.at(world)
  local version = random(0, #world.events)
  local step = world.past:at("thing-1", version)
  same(world.states[version], step.state, "at " .. version)
  if version > 0 then
    same(world.states[version], apply(world.states[version - 1], step.changes), "changes at " .. version)
    assert(step.event.type == world.events[version].type)
  end
end

function questions.at_time(world)
  local version = random(0, #world.events)
  local time = world.start + version * 10 + random(0, 9)
  local step = world.past:at("thing-1", { time = time })
  assert(step.version == version, ("time %d is version %d, not %d"):format(time, version, step.version))
end

function questions.diff(world)
  local a, b = random(0, #world.events), random(0, #world.events)
  local changes, before, after = world.past:diff({ stream = "thing-1", version = a }, { version = b })
  same(world.states[a], before.state, "left")
  same(world.states[b], after.state, "right")
  same(world.states[b], apply(world.states[a], changes), ("diff %d to %d"):format(a, b))
end

function questions.why(world)
  local path = paths[random(#paths)]
  local from, to = random(1, #world.events), random(1, #world.events)
  if random(2) == 1 then from, to = 1, #world.events end
  local expected = {}
  for version = from, to do
    if not values.equal(part(world.states[version - 1], path), part(world.states[version], path)) then
      expected[#expected + 1] = version
    end
  end
  local found = {}
  for i, one in ipairs(world.past:why("thing-1", path, { from = from, to = to })) do found[i] = one.version end
  same(expected, found, ("why %q from %d to %d"):format(path, from, to))
end

function questions.find(world)
  local path, version = paths[random(#paths)], random(0, #world.events)
  local wanted = part(world.states[version], path)
  local from, to = random(1, #world.events), random(1, #world.events)
  local expected
  for at = to, from, -1 do
    if values.equal(part(world.states[at], path), wanted) then expected = at end
  end
  local function is_wanted(value) return values.equal(value, wanted) end
  local by_part = world.past:find("thing-1", is_wanted, { path = path, from = from, to = to })
  local by_all = world.past:find("thing-1", function(state) return is_wanted(part(state, path)) end,
    { from = from, to = to })
  same(expected, by_part and by_part.version, ("find by the part %q from %d to %d"):format(path, from, to))
  same(expected, by_all and by_all.version, ("find by all, %q from %d to %d"):format(path, from, to))
  if by_all then same(world.states[expected], by_all.state, "found") end
  local its_keys = values.parse_path(path)
  if its_keys and its_keys[1] then
    local by_fields = world.past:find("thing-1", function(state) return is_wanted(part(state, path)) end,
      { fields = { "never", its_keys[1] }, from = from, to = to })
    same(expected, by_fields and by_fields.version, ("find by fields, %q from %d to %d"):format(path, from, to))
  end
end

function questions.halve(world)
  local from, to, edge = random(1, #world.events), random(1, #world.events), random(1, #world.events + 1)
  local expected
  if math.max(from, edge) <= to then expected = math.max(from, edge) end
  -- The version that a state has is told by a counter of events.
  local counting = history.of(world.store, { category = "thing", initial_state = { n = 0 },
    evolve = function(state) state.n = state.n + 1 end })
  local step = counting:find("thing-1", function(state) return state.n >= edge end,
    { monotonic = true, from = from, to = to })
  same(expected, step and step.version, ("halving from %d to %d for %d"):format(from, to, edge))
end

function questions.walk(world)
  local from = random(1, #world.events)
  local to = random(from, #world.events)
  local walk, version = world.past:walk("thing-1", { from = from, to = to }), from - 1
  for _ = 1, 15 do
    local way = random(3)
    local step, expected
    if way == 1 then
      step, expected = walk:next(), version < to and version + 1 or nil
    elseif way == 2 then
      step, expected = walk:previous(), version > from and version - 1 or nil
    else
      expected = random(from, to)
      step = walk:go(expected)
    end
    same(expected, step and step.version, "walk")
    if step then
      version = expected
      same(world.states[version], step.state, "walk at " .. version)
      same(world.states[version], apply(world.states[version - 1], step.changes), "walk's changes at " .. version)
      step.state.list, step.state.map = nil, nil   -- the caller's own
    end
  end
end

function questions.try(world)
  local by, last = random(0, 30), world.states[#world.events]
  local tried = world.past:try("thing-1", command("Count", { by = by }))
  assert(world.store:stream_version("thing-1") == #world.events)
  if last.n + by > 20 then
    assert(tried.rejection.reason == "too_many")
    return same(last, tried.state, "state of a refusal")
  end
  local after = copy(last)
  after.n = after.n + by
  same(after, tried.state, "state tried")
  same(after, apply(last, tried.changes), "changes tried")
end

function questions.branch(world)
  local branch, events = world.past:branch(), table.move(world.events, 1, #world.events, 1, {})
  for _ = 1, random(0, 6) do
    local one = some_event()
    branch:append_to_stream("thing-1", one)
    events[#events + 1] = one
    local by = random(0, 3)
    if random(2) == 1 and tell(events)[#events].n + by <= 20 then
      branch:handle("thing-1", command("Count", { by = by }))
      if by > 0 then table.move({ event("Counted", { by = by }), event("Ignored") }, 1, 2, #events + 1, events) end
    end
  end
  local inside = { store = world.store, past = branch, events = events, states = tell(events) }
  for _, name in ipairs { "at", "diff", "why", "find", "walk" } do questions[name](inside) end
  assert(world.store:stream_version("thing-1") == #world.events)
  branch:drop()
  questions.at { past = branch, events = world.events, states = world.states }
end

--- A fixture is a program: it is run, and must show this state.
function questions.fixture(world)
  local version = random(0, #world.events)
  local text = world.past:fixture("thing-1", { version = version, script = "rules.lua" })
  local played, passed = 0, 0
  local env = setmetatable({
    describe = function(_, f) f() end,
    it = function(_, f)
      played = played + 1
      f()
      passed = passed + 1
    end,
    dofile = function() return rules end,
  }, { __index = _G })
  assert(load(text, "=fixture", "t", env))()
  assert(played == 1 and passed == 1)
end

local names = values.keys(questions)

local function play(round)
  local size = random(1, 40)
  if random(8) == 1 then size = random(100, 400) end
  if random(20) == 1 then size = random(1001, 1300) end   -- more than what is folded in one go
  local events, time = {}, 1000000
  for i = 1, size do events[i] = some_event() end
  local store <close> = moonfold.open(":memory:", { clock = function()
    time = time + 10
    return time
  end })
  for _, one in ipairs(events) do store:append_to_stream("thing-1", one) end
  local world = { store = store, past = history.of(store, rules), events = events, states = tell(events),
    start = 1000000 }
  for _ = 1, 12 do
    local name = names[random(#names)]
    if name ~= "fixture" or size < 40 then
      local fine, problem = pcall(questions[name], world)
      if not fine then
        error(("%s, round %d of seed %d: %s"):format(name, round, SEED, tostring(problem)), 0)
      end
    end
  end
end

describe(("the history of %d random streams of seed %d"):format(ROUNDS, SEED), function()
  it("is what a naive model tells", function()
    math.randomseed(SEED)
    for round = 1, ROUNDS do play(round) end
    assert.is_true(ROUNDS > 0)
  end)
end)
