local moonfold = require "moonfold"
local hostile = require "hostile"
local sandboxed = require "sandboxed"

-- What stands beside the hostile function in its script: harmless work that shows any trace of what the other left.
local witness = [[
  local t = { 3, 1, 2, x = ("abc"):upper() }
  table.sort(t)
  local keys = {}
  for k, v in pairs(t) do keys[#keys + 1] = tostring(k) .. tostring(v) end
  return table.concat(keys, " "), ("a-b"):gsub("-", "+"), #string.format("%s", {}), select("#", pcall(error, "x"))
]]
local seen = { "11 22 33 xABC", "a+b", 5, 2 }

local function witnessed(script)
  local results = { sandboxed.check(script) }
  assert.same(seen, results)
end

local function outcome(fine, problem)
  if fine then return "ends" end
  local code = type(problem) == "table" and problem.code or tostring(problem)
  return (code == "script_error" or code == "invalid_argument") and "fails" or code
end

local function explain(attempt, script)
  local fine, problem = pcall(sandboxed.call, script)
  assert.equal(attempt.outcome, outcome(fine, problem), tostring(problem))
  if attempt.says then
    assert.truthy(problem.message:find(attempt.says), problem.message .. " does not say " .. attempt.says)
  end
  if not fine then assert.falsy(problem.message:find("0x%x%x%x%x"), problem.message) end
end

describe("a script that tries", function()
  for _, attempt in ipairs(hostile) do
    it(attempt.what .. ": " .. attempt.outcome .. ", and leaves no trace", function()
      attempt.check = witness
      local fine, script = pcall(sandboxed.load, attempt.body, attempt)
      if attempt.loading then
        assert.falsy(fine)
        assert.equal(attempt.outcome, outcome(fine, script), tostring(script))
        return
      end
      assert.truthy(fine, tostring(script))
      witnessed(script)
      explain(attempt, script)
      witnessed(script)
      explain(attempt, script)
      witnessed(script)
    end)
  end
end)

describe("a hostile script", function()
  it("records nothing", function()
    local store <close> = moonfold.open(":memory:")
    local script = sandboxed.load("if command.data then while true do end end", {})
    store:handle("spec-1", script, moonfold.command("Run"))
    local before = store:stream_version("spec-1")
    assert.equal("budget_exceeded", select(2, pcall(store.handle, store, "spec-1", script,
      moonfold.command("Run", {}))).code)
    assert.equal(before, store:stream_version("spec-1"))
    store:handle("spec-1", script, moonfold.command("Run"))
    assert.equal(before + 1, store:stream_version("spec-1"))
  end)

  it("is stopped while it loads, too", function()
    local files = { ["loop.lua"] = "while true do end" }
    for _, before in ipairs { "while true do end", "local t = {} while true do t[#t + 1] = {} end",
      "local function f() pcall(f) pcall(f) end f()", "require('loop')" } do
      local fine, problem = pcall(sandboxed.load, "", { before = before, files = files })
      assert.falsy(fine)
      assert.equal("budget_exceeded", problem.code)
    end
  end)

  it("is stopped while its text is compiled", function()
    local text = {} -- each name is looked for in all the functions around it
    for _ = 1, 150 do
      text[#text + 1] = "local function f() local a0"
      for i = 1, 190 do text[#text + 1] = ",a" .. i end
      text[#text + 1] = " "
    end
    local before = table.concat(text) .. ("z=z "):rep(60000) .. ("end "):rep(150)
    local fine, problem = pcall(sandboxed.load, "", { before = "do " .. before .. "end" })
    assert.falsy(fine)
    assert.equal("budget_exceeded", problem.code)
  end)

  it("has all that there is, where its host says so", function()
    local store <close> = moonfold.open(":memory:")
    local script = sandboxed.load("return 1", { budget = math.maxinteger, memory = math.maxinteger })
    for _ = 1, 3 do store:append_to_stream("s-1", { { type = "Done" }, { type = "Done" } }) end
    assert.equal(6, store:aggregate_stream("s-1", script).current_stream_version)
    assert.equal(1, sandboxed.call(script))
  end)

  it("is stopped where its state is large, and leaves no trace", function()
    local script = sandboxed.load([[
      local t = {}
      if command.data == "garbage" then while true do t = { { {} } } end end
      if command.data == "list" then while true do t[#t + 1] = {} end end
      if command.data == "strings" then while true do t[#t + 1] = ("x"):rep(1000) .. #t end end
      if command.data == "old" then for i = 1, math.maxinteger do t[i % 100000] = { i } end end]],
      { state = "function() local l = {} for i = 1, 100000 do l[i] = {} end return l end" })
    local store <close> = moonfold.open(":memory:")
    for _, deed in ipairs { "garbage", "list", "strings", "old" } do
      for _ = 1, 2 do
        local fine, problem = pcall(store.decide, store, "spec-1", script, moonfold.command("Run", deed))
        assert.falsy(fine)
        assert.equal("budget_exceeded", problem.code, tostring(problem))
        assert.equal(1, #store:decide("spec-1", script, moonfold.command("Run", "nothing"), { state = false }).events)
      end
    end
  end)

  it("is stopped by limits of one's own", function()
    local body = "for i = 1, command.data do end"
    local script = sandboxed.load(body, { budget = 100000 })
    assert.has_no.errors(function() sandboxed.call(script, 10000) end)
    assert.equal("budget_exceeded", select(2, pcall(sandboxed.call, script, 1000000)).code)
    script = sandboxed.load("local t = {} for i = 1, command.data do t[i] = {} end", { memory = 2 << 20 })
    assert.has_no.errors(function() sandboxed.call(script, 1000) end)
    assert.equal("budget_exceeded", select(2, pcall(sandboxed.call, script, 100000)).code)
  end)
end)

describe("a handler that tries, in a fold of many events,", function()
  local function decider(body, before, initial_state)
    return sandboxed.load("", { before = ([[
      %s
      local function evolve(state, event) %s end
      do return { initial_state = %s, evolve = { Ticked = evolve }, decide = {} } end
    ]]):format(before or "", body, initial_state or "{ n = 0 }") })
  end
  local count = "state.n = state.n + event.data "
  local handlers = {
    ["a loop"] = { count .. "if state.n > 400 then while true do end end" },
    ["a loop with goto"] = { count .. "::top:: if state.n > 400 then goto top end" },
    ["a call that loops"] = { count .. "f(state.n)", "local function f(n) while n > 400 do end end" },
    ["a metamethod that loops"] = { count .. "if state.n > 400 then local x = state.x end",
      "local class = { __index = function() while true do end end }",
      "function() return setmetatable({ n = 0 }, class) end" },
    ["a string that doubles"] = { count .. "state.s = (state.s or 'x') .. (state.s or 'x')" },
    ["comparisons of long strings"] = { "state.n = event.data " .. ("state.x = state.n .. a == state.n .. b "):rep(400),
      "local a, b = ('x'):rep(1000000), ('x'):rep(1000000)" },
  }
  for what, handler in pairs(handlers) do
    it(what .. ": budget_exceeded", function()
      local store <close> = moonfold.open(":memory:")
      local script = decider(table.unpack(handler, 1, 3))
      for _ = 1, 20 do
        local events = {}
        for i = 1, 20 do events[i] = { type = "Ticked", data = i } end
        store:append_to_stream("s-1", events)
      end
      local fine, problem = pcall(store.aggregate_stream, store, "s-1", script)
      assert.falsy(fine)
      assert.equal("budget_exceeded", problem.code, tostring(problem))
      assert.equal(0, store:aggregate_stream("s-2", script).current_stream_version)
    end)
  end

  it("but all is well where handlers do their work", function()
    local store <close> = moonfold.open(":memory:")
    local script = decider(count)
    local events = {}
    for i = 1, 2000 do events[i] = { type = "Ticked", data = i } end
    store:append_to_stream("s-1", events)
    assert.equal(2001000, store:aggregate_stream("s-1", script).state.n)
  end)
end)
