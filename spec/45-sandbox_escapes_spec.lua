local moonfold = require "moonfold"
local sandboxed = require "sandboxed"
local support = require "support"

local function load(text, options)
  return moonfold.load_decider(support.write(support.folder() .. "/script.lua", text), options)
end

local function ticks(count)
  local events = {}
  for i = 1, count do events[i] = { type = "Ticked", data = i } end
  return events
end

local function failure(...)
  local fine, problem = pcall(...)
  assert.falsy(fine, "it has not failed")
  return problem
end

-- A decider whose decide looks at the stream "ticks" by a fold with this body of evolve.
local function looking(evolve, decide)
  return load(([[
    local looked_at = { initial_state = {}, evolve = { Ticked = function(state, event) %s end } }
    return {
      initial_state = {},
      evolve = { Told = false },
      decide = function(command, state, context) %s end,
    }]]):format(evolve, decide))
end

describe("a decision that looks at other streams", function()
  it("has time for their events, but only once", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("ticks", ticks(20))
    local greedy = looking("for i = 1, 600 do end", "while true do context:aggregate_stream('ticks', looked_at) end")
    assert.equal("budget_exceeded", failure(store.decide, store, "s-1", greedy, { type = "Go" }).code)
    assert.truthy(failure(store.decide, store, "s-1", greedy, { type = "Go" }).message:find("budget of"))
  end)

  it("has time for none whose fold it stops midway, again and again", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("ticks", ticks(20))
    local greedy = looking("if event.data == 20 then error('stop') end",
      "while true do pcall(context.aggregate_stream, context, 'ticks', looked_at) end")
    assert.equal("budget_exceeded", failure(store.decide, store, "s-1", greedy, { type = "Go" }).code)
  end)

  it("cannot go on from a stack that was too deep for their handlers", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("ticks", ticks(1))
    local decider = looking("local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) return t[1]",
      "pcall(context.aggregate_stream, context, 'ticks', looked_at) return { type = 'Told' }")
    assert.truthy(failure(store.handle, store, "s-1", decider, { type = "Go" }).message:find("stack overflow"))
    assert.falsy(store:stream_exists("s-1"))
  end)

  it("is told no addresses by what fails in their handlers", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("ticks", ticks(1))
    local decider = looking("error({})", [[
      local _, problem = pcall(context.aggregate_stream, context, 'ticks', looked_at)
      return { type = 'Told', data = problem.message .. tostring(problem) }]])
    local told = store:handle("s-1", decider, { type = "Go" }).events[1].data
    assert.truthy(told:find("failed: table", 1, true))
    assert.falsy(told:find("0x"), told)
  end)
end)

describe("what a decision has seen of a stream", function()
  it("stays as it was when it looks again", function()
    for _, cache in ipairs { true, false } do
      local store <close> = moonfold.open(":memory:")
      local decider = load([[
        local D
        D = {
          initial_state = { n = 0 },
          evolve = { Ticked = function(state, event) state.n = state.n + event.data end, Told = false },
          decide = function(command, state, context)
            local function look(to) return context:aggregate_stream("ticks", D, { to = to }).state end
            local first, all, past, again = look(2), look(), look(3), look()
            return { type = "Told", data = { first.n, all.n, past.n, again.n } }
          end,
        }
        return D]], { cache = cache })
      store:append_to_stream("ticks", ticks(5))
      for round = 1, 3 do
        local n = 15 + (round - 1)
        assert.same({ 3, n, 6, n }, store:handle("s-1", decider, { type = "Go" }).events[1].data)
        store:append_to_stream("ticks", { type = "Ticked", data = 1 })
      end
    end
  end)
end)

describe("a state that holds", function()
  -- The answers of a decider to the same command three times, each decided on the state of before.
  local function answers(script, cache)
    local store <close> = moonfold.open(":memory:")
    local decider = load(script, { cache = cache })
    store:append_to_stream("s-1", ticks(2))
    local list = {}
    for i = 1, 3 do
      local fine, result = pcall(store.handle, store, "s-1", decider, { type = "Go" }, { state = false })
      list[i] = fine and result.events[1].data or result.message
    end
    return list
  end

  it("an iterator is the same for evolve whether it was kept or folded again", function()
    local script = [[return {
      initial_state = {},
      evolve = {
        Ticked = function(state, event) if event.data == 2 then state.next = ("abc"):gmatch(".") end end,
        Gone = function(state) state.last = state.next() end,
      },
      decide = function(command, state) return { type = "Gone", data = state.last or "none" } end }]]
    assert.same(answers(script, false), answers(script, true))
    assert.truthy(answers(script, true)[1]:find("earlier call", 1, true))
  end)

  local changing = {
    ["a function that evolve has made"] = {
      "local n = 0 state.f = function() n = n + 1 return n end", "state.f()", "state%.f is a function" },
    ["such a function, deep"] = {
      "local n = 0 state.a = { { f = function() n = n + 1 return n end } }", "state.a[1].f()",
      "state%.a%[1%]%.f is a function" },
    ["an iterator"] = { "state.f = pairs { 1, 2 }", "state.f()", "state%.f is a function" },
    ["a metatable with such a function"] = {
      "local n = 0 setmetatable(state, { __index = function() n = n + 1 return n end })", "state.x",
      "metatable with a function" },
    ["an object with such a metatable"] = {
      "local n = 0 state.o = setmetatable({}, { __call = function() n = n + 1 return n end })", "state.o()",
      "metatable with a function" },
    ["such a metatable behind a metatable"] = { [[
      local n = 0
      setmetatable(state, { __index = setmetatable({}, { __index = function() n = n + 1 return n end }) })]], "state.x",
      "metatable with a function" },
  }
  for what, way in pairs(changing) do
    it(what .. " cannot be used by decide to change it", function()
      local script = ([[return {
        initial_state = {},
        evolve = { Ticked = function(state, event) %s end, Told = false },
        decide = function(command, state) return { type = "Told", data = %s } end }]]):format(way[1], way[2])
      for _, answer in ipairs(answers(script, true)) do assert.truthy(answer:find(way[3]), answer) end
      assert.same(answers(script, false), answers(script, true))
    end)
  end

  it("functions that only read what the file has may be used by decide", function()
    local script = [[
      local seven = 7
      return {
        initial_state = function() return { f = function() return seven end, upper = string.upper } end,
        evolve = { Ticked = false, Told = false },
        decide = function(command, state) return { type = "Told", data = state.f() .. state.upper("x") } end }]]
    assert.same({ "7X", "7X", "7X" }, answers(script, true))
  end)

  it("one table in several places names the place that the script has come by", function()
    local script = [[return {
      initial_state = function() local t = {} return { a = t, b = t, c = t, d = t, e = t } end,
      evolve = { Ticked = false, Told = false },
      decide = function(command, state)
        local text = ""
        for _, name in ipairs { "d", "b", "e" } do
          local fresh = state[name]
          text = text .. select(2, pcall(function() fresh.x = 1 end)):match("%((.-)%)") .. " "
        end
        return { type = "Told", data = text }
      end }]]
    local expected = "state.d.x state.d.x state.d.x "
    for _ = 1, 5 do assert.same({ expected, expected, expected }, answers(script, true)) end
  end)

  it("much is refused a write without looking through all of it", function()
    local script = load [[return {
      initial_state = function()
        local numbers, lists = {}, {}
        for i = 1, 100000 do numbers[i] = i end
        for i = 1, 1900 do lists[i] = { numbers } end
        return { a = lists, b = lists, z = { deep = {} } }
      end,
      evolve = {},
      decide = function(command, state) while true do pcall(function() state.z.deep.x = 1 end) end end }]]
    local store <close> = moonfold.open(":memory:")
    local problem = failure(store.decide, store, "s-1", script, { type = "Go" })
    assert.equal("budget_exceeded", problem.code)
  end)
end)

describe("a fold that is stopped", function()
  local script = [[
    local limit = ...
    return {
      initial_state = { list = {}, sum = 0 },
      evolve = {
        Ticked = function(state, event)
          state.sum = state.sum + event.data
          state.list[#state.list + 1] = event.data
        end,
        Burst = function(state, event)
          state.sum = -1
          state.list = { "half" }
          %s
          state.list = { "whole" }
        end,
      },
      decide = function(command, state)
        if command.type == "Burst" then return { type = "Burst" } end
        return { type = "Ticked", data = state.sum }
      end,
    }]]
  local ways = {
    ["at the end of its budget"] = { "while true do end", "budget_exceeded" },
    ["at the end of its memory"] = { "local t = {} while true do t[#t + 1] = { #t } end", "budget_exceeded" },
    ["by an error"] = { "error('midway')", "script_error" },
    ["by a stack that is too deep"] = {
      "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) local _ = t[1]", "script_error" },
  }
  for what, way in pairs(ways) do
    it(what .. " leaves no half state behind: the next call sees what was recorded", function()
      for _, cache in ipairs { true, false } do
        local store <close> = moonfold.open(":memory:")
        local decider = load(script:format(way[1]), { cache = cache })
        store:append_to_stream("s-1", ticks(30))
        local before = store:aggregate_stream("s-1", decider)
        for _ = 1, 3 do
          assert.equal(way[2], failure(store.handle, store, "s-1", decider, { type = "Burst" }).code)
          assert.equal(way[2], failure(store.decide, store, "s-1", decider, { type = "Burst" }).code)
          assert.same(before, store:aggregate_stream("s-1", decider))
          assert.equal(465, store:decide("s-1", decider, { type = "Tick" }).events[1].data)
        end
        store:append_to_stream("s-1", { type = "Burst" })
        assert.equal(way[2], failure(store.aggregate_stream, store, "s-1", decider).code)
        assert.equal(way[2], failure(store.aggregate_stream, store, "s-1", decider).code)
        assert.same(before.state, store:aggregate_stream("s-1", decider, { to = 30 }).state)
      end
    end)
  end
end)

describe("a script", function()
  it("may have a NaN", function()
    assert.equal(true, sandboxed.run("return nan ~= nan", { before = "local nan = 0 / 0" }))
    assert.truthy(sandboxed.fails("nan = 1", { before = "local nan = 0 / 0" }).message:find('"nan", outside', 1, true))
    assert.truthy(sandboxed.fails("n = 0 / 0", { before = "local n = 1" }).message:find('"n", outside', 1, true))
  end)

  it("finds a module that returns false, and is told twice why one fails", function()
    local files = { ["no.lua"] = "return false", ["bad.lua"] = "local x = nil + 1", ["self.lua"] = "require 'self'" }
    assert.equal(false, sandboxed.run("return no", { before = "require 'no' local no = require 'no'", files = files }))
    local before = [[
      local _, first = pcall(require, "bad")
      local _, second = pcall(require, "bad")
      local _, itself = pcall(require, "self")]]
    local first, second, itself = sandboxed.run("return first, second, itself", { before = before, files = files })
    assert.truthy(first:find("^attempt to perform arithmetic"))
    assert.equal(first, second)
    assert.truthy(itself:find("requires itself"))
  end)

  it("is a file, and no pipe or device that never ends", function()
    local folder = support.folder()
    assert(os.execute("mkfifo " .. support.quote(folder .. "/pipe.lua")))
    local store <close> = moonfold.open(":memory:")
    for _, problem in ipairs {
      failure(moonfold.load_decider, folder .. "/pipe.lua"),
      failure(moonfold.load_decider, "/dev/zero"),
      failure(store.use, store, folder),
    } do
      assert.equal("invalid_argument", problem.code)
      assert.truthy(problem.message:find("neither a file nor a folder", 1, true), problem.message)
    end
  end)
end)
