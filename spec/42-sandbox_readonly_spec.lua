local moonfold = require "moonfold"
local sandboxed = require "sandboxed"

local run = sandboxed.run

--- The body run with this state, given as text.
local function with(state, body, before) return run(body, { state = state, before = before }) end

describe("the state that decide is given", function()
  local state = [[{
    name = 'x', items = { { n = 1 }, { n = 2 } }, by = { [3] = 'c', a = 'A' }, empty = moonfold.array {},
  }]]

  it("reads like a table", function()
    assert.same({ "x", 2, 1, "c", "A" }, { with(state,
      "return state.name, #state.items, state.items[1].n, state.by[3], state.by.a") })
    assert.equal("table", with(state, "return type(state.items)"))
    assert.is_nil((with(state, "return state.nothing")))
  end)

  it("is gone through in order", function()
    assert.equal("by empty items name", with(state, [[
      local names = {}
      for name in pairs(state) do names[#names + 1] = name end
      return table.concat(names, " ")]]))
    assert.same({ 3, "c" }, { with(state, "return next(state.by)") })
    assert.same({ "a", "A" }, { with(state, "return next(state.by, 3)") })
    assert.equal(3, with(state, [[
      local sum = 0
      for _, item in ipairs(state.items) do sum = sum + item.n end
      return sum]]))
    assert.is_nil((with(state, "return next(state.empty)")))
  end)

  it("goes through the functions of table, which leave it as it is", function()
    assert.same({ "a,b", "b", 2, "a", "b" }, { with("{ l = { 'a', 'b' } }", [[
      return table.concat(state.l, ","), state.l[2], #table.pack(table.unpack(state.l)), table.unpack(state.l)]]) })
    assert.equal("1,2,3", with("{ 3, 1, 2 }", [[
      local copy = table.move(state, 1, #state, 1, {})
      table.sort(copy)
      return table.concat(copy, ",")]]))
  end)

  it("has one identity for each of its tables", function()
    assert.same({ true, true, false }, { with("function() local t = {} return { a = t, b = t, c = {} } end", [[
      local seen = { [state.a] = true }
      return state.a == state.a and state.a == state.b, seen[state.b], state.a == state.c]]) })
  end)

  it("may be part of an event", function()
    local store <close> = moonfold.open(":memory:")
    local script = sandboxed.load("return state.items, state, { state.by }", { state = state })
    local results = store:decide("s-1", script, moonfold.command("Run")).events[1].data.results
    local whole = { name = "x", items = { { n = 1 }, { n = 2 } }, by = { [3] = "c", a = "A" }, empty = {} }
    assert.same({ whole.items, whole, { whole.by } }, results)
    assert.equal("[]", moonfold.to_json(results[2].empty))
  end)

  it("has the hash of what it stands for", function()
    assert.is_true(with(state, "return moonfold.hash(state) == moonfold.hash(top_state())",
      "function top_state() return " .. state .. " end"))
    assert.equal('{"a":[1]}', with("{ a = { 1 } }", "return moonfold.to_json(state)"))
  end)

  it("keeps the methods and operators of its class", function()
    local class = [[
      local Cart = {}
      Cart.__index = Cart
      Cart.__add = function(a, b) return a.n + b end
      Cart.__call = function(self, x) return self.n * x end
      Cart.__len = function() return 42 end
      Cart.__tostring = function(self) return "cart of " .. self.n end
      function Cart:total() return self.n + self.more.n end
    ]]
    assert.same({ 3, 11, 10, 42, "cart of 1" }, { with(
      "function() return setmetatable({ n = 1, more = { n = 2 } }, Cart) end",
      "return state:total(), state + 10, state(10), #state, tostring(state)", class) })
  end)

  it("is not changed by a refused write, even one that pcall has stopped", function()
    local store <close> = moonfold.open(":memory:")
    local script = sandboxed.load([[
      local fine, problem = pcall(function() state.items[1].n = 5 end)
      return fine, problem]], { state = state })
    local result = store:handle("s-1", script, moonfold.command("Run"))
    assert.same({ false, "decide must not change the state (state.items[1].n): return an event, and let evolve do it" },
      result.events[1].data.results)
    assert.equal(1, result.state.items[1].n)
  end)

  it("says where it was written to", function()
    for path, write in pairs {
      ["state.x"] = "state.x = 1", ["state.items[2].n"] = "state.items[2].n = 1",
      ["state.items"] = "table.insert(state.items, 1)", ["state.by[3]"] = "state.by[3] = nil",
    } do
      local problem = sandboxed.fails(write, { state = state })
      assert.equal("script_error", problem.code)
      assert.truthy(problem.message:find("(" .. path .. ")", 1, true), problem.message)
    end
  end)
end)

describe("what a script made while it loaded", function()
  it("reads like what it was", function()
    assert.same({ 3, "A,b", "x", 1, "table", true }, { run([[
      local keys = {}
      for k in pairs(map) do keys[#keys + 1] = k end
      return #list, table.concat(keys, ","), map.A, list[1], type(map), rawequal(list, map.b)]], {
      before = "local list = { 1, 2, 3 } local map = { A = 'x', b = list }" }) })
  end)

  it("may be part of an event, or all of it", function()
    assert.same({ { 1, { a = {} } } }, { run("return t", { before = "local t = { 1, { a = moonfold.array {} } }" }) })
    local store <close> = moonfold.open(":memory:")
    local script = sandboxed.load("", { before = [[
      local constant = { type = "Done", data = { 1 }, metadata = { by = "spec" } }
      do return { initial_state = {}, evolve = { Done = function(_, event) return event.data end },
        decide = { One = function() return constant end, List = function() return { constant, constant } end } } end
    ]] })
    local one = store:handle("s-1", script, { type = "One", command_id = "1" })
    assert.same({ 1 }, one.state)
    assert.equal("spec", one.events[1].metadata.by)
    assert.equal("1", one.events[1].metadata.causation_id)
    assert.equal(2, #store:handle("s-1", script, moonfold.command("List")).events)
  end)

  it("serves as a class", function()
    assert.same({ 5, "5", true, 7 }, { run([[
      local p = Point.new(2, 3)
      return p:sum(), tostring(p), getmetatable(p) == Point, (p + p) - 3]], { before = [[
      local Point = {}
      Point.__index = Point
      function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
      function Point:sum() return self.x + self.y end
      Point.__tostring = function(self) return tostring(self:sum()) end
      Point.__add = function(a, b) return a:sum() + b:sum() end
    ]] }) })
  end)

  it("may inherit, and have objects of its own", function()
    assert.same({ "base", "derived", "base", 3 }, { run([[
      return object:who(), object:me(), constant.kind, constant + 1]], { before = [[
      local Base = { kind = "base" }
      Base.__index = Base
      function Base:who() return self.kind end
      local Derived = setmetatable({}, Base)
      Derived.__index = Derived
      function Derived:me() return "derived" end
      local object = setmetatable({}, Derived)
      local constant = setmetatable({ n = 2 }, { __index = Base, __add = function(a, b) return a.n + b end })
    ]] }) })
  end)

  it("has metamethods that came after setmetatable", function()
    assert.same({ "late", 9 }, { run("return o.x, #setmetatable({}, mt)", { before = [[
      local mt = {}
      local o = setmetatable({}, mt)
      mt.__index = function() return "late" end
      mt.__len = function() return 9 end
    ]] }) })
  end)

  it("is read-only for evolve, too, which says what to do", function()
    local store <close> = moonfold.open(":memory:")
    local script = sandboxed.load("", { before = [[
      local default = { n = 0 }
      do return { initial_state = function() return default end, decide = function() return moonfold.event("Done") end,
        evolve = { Done = function(state) state.n = state.n + 1 end } } end
    ]] })
    local fine, problem = pcall(store.handle, store, "s-1", script, moonfold.command("Run"))
    assert.falsy(fine)
    assert.truthy(problem.message:find("read-only since: keep what changes in the state", 1, true), problem.message)
    assert.equal(0, store:stream_version("s-1"))
  end)

  it("is copied where it is the initial state itself", function()
    local store <close> = moonfold.open(":memory:")
    local script = sandboxed.load("", { before = [[
      local default = { n = 0, list = {} }
      do return { initial_state = default, decide = function() return moonfold.event("Done") end,
        evolve = { Done = function(state) state.n = state.n + 1 table.insert(state.list, state.n) end } } end
    ]] })
    for i = 1, 3 do assert.equal(i, store:handle("s-1", script, moonfold.command("Run")).state.n) end
    assert.same({ 1 }, store:handle("s-2", script, moonfold.command("Run")).state.list)
  end)
end)

describe("a script", function()
  it("has globals of its own making, read-only after it loaded", function()
    assert.same({ 1, 2 }, { run("return one, two()", { before = "one = 1 function two() return 2 end" }) })
    local problem = sandboxed.fails("one = 2", { before = "one = 1" })
    assert.truthy(problem.message:find('a global "one" is written here', 1, true), problem.message)
    assert.truthy(problem.message:find('was "local one" meant?', 1, true), problem.message)
    assert.truthy(problem.message:find("script.lua:5", 1, true), problem.message)
  end)

  it("is told the nearest global, and what to use instead of what is missing", function()
    for body, says in pairs {
      ["return strnig.rep"] = 'there is no global "strnig": did you mean "string"?',
      ["return tabel"] = 'did you mean "table"?',
      ["return totals"] = 'did you mean "total"?',
      ["return os.time()"] = "use command.time",
      ["return math.random(6)"] = "use context:random(m, n) in decide",
      ["return math.sin(1)"] = "differs between processors",
      ["return io.open('x')"] = "commands and events",
      ["return load('x')"] = "use require",
      ["return unpack"] = "it is table.unpack",
    } do
      local problem = sandboxed.fails(body, { before = "total = 1" })
      assert.truthy(problem.message:find(says, 1, true), problem.message)
    end
  end)

  it("finds modules in its folder, which share its globals while they load", function()
    local files = { ["money.lua"] = "rate = 3 return { double = function(n) return n * 2 end }",
      ["deep.lua"] = "return 'deep'", ["quiet.lua"] = "local _ = 1" }
    assert.same({ 8, 3, "deep", true, true }, { run([[
      return money.double(4), rate, require "deep", quiet, money == require "money"]], {
      before = "local money = require 'money' require 'deep' local quiet = require 'quiet'", files = files }) })
  end)

  it("loads its modules with itself, not later", function()
    local problem = sandboxed.fails("return require 'late'", { files = { ["late.lua"] = "return 1" } })
    assert.truthy(problem.message:find("at the top of the file", 1, true), problem.message)
  end)

  it("is told which module is missing, and why", function()
    for name, says in pairs {
      ["nothing"] = "there is no such file", ["../script"] = "letters, digits", ["/etc/passwd"] = "letters",
      ["a..b"] = "letters", [""] = "letters", ["loop"] = "requires itself", ["link"] = "leads out of",
      ["folder"] = "leads out of",
    } do
      local fine, problem = pcall(sandboxed.load, "", { before = ("require %q"):format(name),
        files = { ["loop.lua"] = "require 'loop'" },
        links = { ["link.lua"] = "/etc/passwd", ["folder.lua"] = "/tmp" } })
      assert.falsy(fine)
      assert.truthy(problem.message:find(says, 1, true), problem.message)
    end
  end)
end)

it("an invariant cannot change the state it looks at", function()
  local store <close> = moonfold.open(":memory:")
  local script = sandboxed.load("", { before = [[
    do return { initial_state = { n = 0 }, decide = function() return moonfold.event("Done") end,
      evolve = { Done = function(state) state.n = state.n + 1 end },
      invariant = function(state) state.n = 0 return true end } end
  ]] })
  local fine, problem = pcall(store.handle, store, "s-1", script, moonfold.command("Run"), { check_invariant = true })
  assert.falsy(fine)
  assert.truthy(problem.message:find("invariant must not change the state (state.n)", 1, true), problem.message)
end)
