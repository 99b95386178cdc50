-- Random deciders that use the event which they are given in every way that Lua has: its fields, all of it, by other
-- names, in closures, varargs, tables, metatables, loops and jumps, changed and kept. Folded in the sandbox, where an
-- event whose handler keeps nothing of it is used again, they must come to the states of plain Lua: also when states
-- are cached between two folds, and when a fold goes on from a snapshot.
--
-- As a program: build/moonfold run spec/fuzz/usage.lua SECONDS [SEED]

local moonfold = require "moonfold"

local usage = {}

local EVENTS, MORE = 60, 10 -- of the short stream: those of the first fold, and of the second
local LONG = 1005           -- of the long one: enough for a snapshot
local SNAPSHOTS_EVERY = 8   -- rounds

local R = math.random
local function pick(list) return list[R(#list)] end

-- ## Writing a decider

local Writer = {}
Writer.__index = Writer

local DEEPEST = 4
local FIELDS = { "type", "data", "metadata", "message_id", "stream_name", "stream_position", "global_position",
  "recorded_at", "missing" }

function Writer:name()
  self.names = self.names + 1
  return "v" .. self.names
end

function Writer:target() return "state." .. pick { "p", "q", "r", "s" } end -- luacheck: no self

local atoms = {
  function() return tostring(R(0, 5)) end,
  function() return pick { '"x"', '"data"', "nil", "true", "false" } end,
  function() return "event" end,
  function() return "event" end,
  function() return "event.data" end,
  function() return "event." .. pick(FIELDS) end,
  function() return ("event[%q]"):format(pick(FIELDS)) end,
  function() return "state.n" end,
  function() return "state." .. pick { "p", "q", "r" } end,
  function(w) return pick(w.variables) end,
  function(w) return pick(w.variables) end,
}

-- Of each: a format, in which every %s is an expression and every %f the name of a field.
local expressions = {
  "field(%s, '%f')", "field(%s, '%f')", "field(field(%s, 't'), '%f')", "(%s and %s or %s)", "(%s or %s)", "(not %s)",
  "(%s == %s)", "rawequal(%s, %s)", "{ %s, k = %s }", "same(%s)", "second(%s, %s)", "(select(2, %s, %s))",
  "(function(...) return ... end)(%s)", "(function(...) local a, b = ... return b end)(%s, %s)",
  "(function() return %s end)()", "(function(a) return function() return a end end)(%s)()", "type(%s)",
  "kept(pcall(function() return %s end))", "kept(pcall(same, %s))", "({ table.unpack({ %s, %s }) })[1]",
  "table.pack(%s, %s)[2]", "({ get = function(self, a) return a end }):get(%s)", "raw(%s, '%f')",
  "field(setmetatable({}, { __index = as_table(%s) }), '%f')", "('it is ' .. type(%s))", "count(%s)",
  "value_of(%s, '%f')",
}

function Writer:expression()
  self.depth = self.depth + 1
  local text
  if self.depth > DEEPEST or R(3) == 1 then
    text = pick(atoms)(self)
  else
    text = pick(expressions):gsub("%%(%a)", function(what)
      return what == "s" and self:expression() or pick { "a", "b", "c", "t", "data", "type" }
    end)
  end
  self.depth = self.depth - 1
  return text
end

-- Of each: a format, in which %s is an expression, %t a target, %b a block, %n a name that is new.
local statements = {
  "%t = %s", "%t = %s", "%t, %t = %s, %s", "state.list[count(state.list) + 1] = %s",
  "if %s then %b else %b end", "for i = 1, 2 do %b end", "do local function g() %b end g() end",
  "for _, %n in ipairs { %s, %s } do %t = %n end", "repeat local %n = %s %t = %n until true",
  "do local %n = %s local function set(x) %n = x end set(%s) %t = %n end",
  "do local %n = 0 ::top%n:: %n = %n + 1 %b if %n < 2 then goto top%n end end",
  "do local %n = event.data if type(%n) == 'table' then %t = %n.t %n.a = %s %t = %n end end",
  "if type(event.data) == 'table' then event.data.b = nil %t = event.data end",
  "event.%f = %s %t = event", "do local %n = { [event] = %s } %t = %n[event] end",
  "for key, %n in pairs(event) do if key == '%f' then %t = %n end end",
  "while true do %b break end", "do local %n <const> = %s %t = %n end",
}

function Writer:fill(format)
  local name
  return (format:gsub("%%(%a)", function(what)
    if what == "s" then return self:expression() end
    if what == "t" then return self:target() end
    if what == "b" then return self:block(2) end
    if what == "f" then return pick { "type", "data", "extra" } end
    name = name or self:name()
    return name
  end))
end

function Writer:statement()
  self.depth = self.depth + 1
  local text
  if R(5) == 1 then
    local value, name = self:expression(), self:name()
    text = ("local %s = %s"):format(name, value)
    self.variables[#self.variables + 1] = name
  else
    text = self:fill(self.depth > DEEPEST and statements[R(4)] or pick(statements))
  end
  self.depth = self.depth - 1
  return text
end

function Writer:block(most)
  local lines, outer = {}, #self.variables
  for i = 1, R(most) do lines[i] = self:statement() end
  for i = #self.variables, outer + 1, -1 do self.variables[i] = nil end
  return table.concat(lines, "\n  ")
end

local prelude = [[
local function same(x) return x end
local function second(_, b) return b end
local function kept(fine, value) if fine then return value end end
local function as_table(x) return type(x) == "table" and x or {} end
local function field(x, name) return as_table(x)[name] end
local function raw(x, name) return rawget(as_table(x), name) end
local function count(x)
  local n = 0
  for _ in pairs(as_table(x)) do n = n + 1 end
  return n
end
local function value_of(x, name)
  local found
  for key, value in pairs(as_table(x)) do if key == name then found = value end end
  return found
end
]]

local function handler()
  local writer = setmetatable({ depth = 0, names = 0, variables = { "event" } }, Writer)
  local last = pick { "", "", "", "return state", "return { n = state.n, list = state.list, p = event }" }
  return ("function(state, event)\n  state.n = state.n + 1\n  %s\n  %s\nend"):format(writer:block(4), last)
end

--- The text of a decider.
function usage.decider()
  return ([[
%s
return {
initial_state = function() return { n = 0, list = {} } end,
decide = function() return { type = "A", data = { a = 1 } } end,
evolve = { A = %s, B = %s },
}
]]):format(prelude, handler(), handler())
end

-- ## Events

local function data()
  local kind = R(8)
  if kind == 1 then return nil end
  if kind == 2 then return R(100) end
  if kind == 3 then return "text" .. R(9) end
  if kind == 4 then return { R(9), R(9) } end
  local map = {}
  if R(2) == 1 then map.a = R(9) end
  if R(2) == 1 then map.b = "b" .. R(9) end
  if R(3) == 1 then map.c = R() end
  if R(2) == 1 then map.t = { a = R(9), t = { R(9) } } end
  if R(3) == 1 then map[R(9)] = R(9) end
  return map
end

local function append(store, stream, count)
  local events = {}
  for i = 1, count do
    events[i] = { type = pick { "A", "B" }, data = data(), metadata = R(4) == 1 and { m = R(9) } or nil }
  end
  store:append_to_stream(stream, events)
end

-- ## Comparing

local load_decider = dofile("spec/fuzz/load_decider.lua")(moonfold)

-- Scripts do not see which code decided an event; a host does.
local function without_code(event)
  if event.code_digest == nil then return event end
  local copy = {}
  for name, value in pairs(event) do copy[name] = value end
  copy.code_digest = nil
  return copy
end

-- A fold without anything of ours but the events: the hash of its state; false and why, where there is none.
local function plain_fold(store, stream, text)
  local decider = load(text)()
  return pcall(function()
    local state = decider.initial_state()
    for event in store:events(stream) do
      local new = decider.evolve[event.type](state, without_code(event))
      if new ~= nil then state = new end
    end
    return moonfold.hash(state)
  end)
end

local function fold(store, stream, decider)
  return pcall(function() return moonfold.hash(store:aggregate_stream(stream, decider).state) end)
end

local function compare(report, text, how, fine, right, well, hash)
  if fine and well then
    report.same = report.same + 1
    if hash == right then return end
  elseif fine == well then
    report.refused = report.refused + 1
    return
  elseif not well and hash.code == "budget_exceeded" then -- plain Lua has none
    return
  end
  table.insert(report.different, ("%s: plain Lua comes to %s, the sandbox to %s\n%s"):format(how, tostring(right),
    tostring(hash), text))
end

local function short_folds(report, text)
  local store <close> = moonfold.open(":memory:")
  local fresh, cached = load_decider(text, { cache = false }), load_decider(text)
  append(store, "s", EVENTS)
  local fine, right = plain_fold(store, "s", text)
  compare(report, text, "without a cache", fine, right, fold(store, "s", fresh))
  compare(report, text, "into the cache", fine, right, fold(store, "s", cached))
  append(store, "s", MORE)
  fine, right = plain_fold(store, "s", text)
  compare(report, text, "from the cache", fine, right, fold(store, "s", cached))
  compare(report, text, "from the cache again", fine, right, fold(store, "s", cached))
end

local function snapshot_folds(report, text, store)
  local before = store:kept().snapshots
  if not pcall(store.handle, store, "long", load_decider(text), { type = "Do" }) then return end
  if store:kept().snapshots == before then return end
  report.snapshots = report.snapshots + 1
  append(store, "long", 1)
  local fine, right = plain_fold(store, "long", text)
  compare(report, text, "from a snapshot", fine, right, fold(store, "long", load_decider(text, { cache = false })))
end

--- Tries so many deciders, or as many as so many seconds of the processor's time allow. Returns a report: folds that
--- came to the `same`, those that were `refused` by both, `snapshots` that were gone on from, and what was `different`.
function usage.run(options)
  local report = { rounds = 0, same = 0, refused = 0, snapshots = 0, different = {} }
  local long <close> = moonfold.open(":memory:")
  local ends = options.seconds and os.clock() + options.seconds
  math.randomseed(options.seed)
  append(long, "long", LONG)
  while #report.different == 0 do
    if report.rounds == options.rounds or ends and os.clock() > ends then break end
    local text = usage.decider()
    report.rounds = report.rounds + 1
    short_folds(report, text)
    if report.rounds % SNAPSHOTS_EVERY == 0 then snapshot_folds(report, text, long) end
    long:drop_snapshots()
  end
  return report
end

if ... and arg and arg[0] and arg[0]:find "usage%.lua$" then
  local seed = tonumber(arg[2]) or os.time()
  local report = usage.run { seconds = assert(tonumber(arg[1]), "usage: usage.lua SECONDS [SEED]"), seed = seed }
  for _, text in ipairs(report.different) do print("FOUND, with the seed " .. seed .. ": " .. text) end
  print(("%d deciders, %d folds came to the state of plain Lua, %d failed in both, %d went on from a snapshot"):format(
    report.rounds, report.same, report.refused, report.snapshots))
  os.exit(#report.different == 0)
end

return usage
