--- A fold gives one event again and again to a handler that is known not to keep it. Nobody may ever see a difference:
--- here handlers do all that Lua lets them do, and the outcome is that of a loop over a list of events.

local moonfold = require "moonfold"

local EVENTS = 90

local function event(i)
  local data
  if i % 11 == 0 then
    data = "text " .. i
  elseif i % 13 == 0 then
    data = { i, i + 1, { a = i } }
  elseif i % 17 ~= 0 then
    data = { a = i, list = { i, i * 2 }, name = "name " .. i % 5, [i] = "integer key", ["a key"] = i % 3 == 0 }
    if i % 4 == 0 then data.a = nil end
    if i % 5 == 0 then data.inner = { deep = { i } } end
  end
  return { type = i % 3 == 0 and "B" or "A", data = data, metadata = i % 2 == 0 and { by = i } or nil,
    message_id = i % 7 == 0 and "id " .. i or nil }
end

--- Builds a handler from the body of `function(s, e)`. It sees keep(value), which remembers a value, and later(f),
--- which remembers a function that is called after the fold.
local function build(body)
  local kept, functions = {}, {}
  local environment = setmetatable({
    keep = function(value) kept[#kept + 1] = value == nil and "nothing" or value end,
    later = function(f) functions[#functions + 1] = f end,
    moonfold = moonfold, last = false,
  }, { __index = _G })
  local handler = assert(load("local up; return function(s, e) " .. body .. "\nend", "=handler", "t", environment))()
  return handler, function()
    local results = {}
    for i, f in ipairs(functions) do results[i] = { pcall(f) } end
    return { kept = kept, later = results, last = environment.last }
  end
end

local function failed(message) return (tostring(message):gsub("^.-failed: ", ""):gsub("\n.*", "")) end

local function by_hand(store, body)
  local handler, rest = build(body)
  local state = {}
  local ok, message = pcall(function()
    for _, e in ipairs(store:read_stream("a").events) do
      local new = handler(state, e)
      if new ~= nil then state = new end
    end
  end)
  return moonfold.hash { ok, ok and state or failed(message), rest() }
end

local function folded(store, body, evolve)
  local handler, rest = build(body)
  local ok, result = pcall(store.aggregate_stream, store, "a", { initial_state = {}, evolve = evolve(handler) })
  return moonfold.hash { ok, ok and result.state or failed(result.message), rest() }
end

local function as_function(handler) return handler end
local function as_table(handler) return { A = handler, B = handler } end

describe("a fold over many events", function()
  local store
  setup(function()
    store = moonfold.open(":memory:")
    for i = 1, EVENTS do store:append_to_stream("a", event(i)) end
  end)
  teardown(function() store:close() end)

  local function agrees(body)
    local expected = by_hand(store, body)
    assert(folded(store, body, as_function) == expected, "evolve is a function: " .. body)
    assert(folded(store, body, as_table) == expected, "evolve is a table: " .. body)
  end

  for name, body in pairs {
    ["keeps nothing"] = "s.n = (s.n or 0) + e.stream_position",
    ["reads fields of data"] = "if type(e.data) == 'table' then s[#s + 1] = e.data.a or e.data.name end",
    ["reads fields of what may be no table"] = "s[#s + 1] = e.data.a",
    ["keeps the event"] = "s[#s + 1] = e",
    ["keeps data"] = "s[#s + 1] = e.data",
    ["keeps data through a local"] = "local d = e.data; s[#s + 1] = d or 0",
    ["keeps data on one path only"] = "local d = e.data; if e.stream_position % 30 == 0 then s.d = d end",
    ["keeps metadata"] = "s[#s + 1] = e.metadata",
    ["keeps tables inside data"] = "if type(e.data) == 'table' then s[#s + 1] = e.data.list; s.deep = e.data.inner end",
    ["keeps the event in a closure"] = "later(function() return e end)",
    ["keeps data in a closure"] = "local d = e.data; later(function() return d end)",
    ["assigns to a local that a closure has"] =
      "local d; later(function() return d end); d = e.data; s.n = d and 1 or 2",
    ["has a closure in a closure"] = "later(function() return (function() return e.data end)() end)",
    ["passes the event on"] = "keep(e)",
    ["passes data on"] = "keep(e.data)",
    ["returns the event"] = "return { e }",
    ["returns data"] = "if type(e.data) == 'table' then return e.data end",
    ["calls it in a tail"] = "return keep(e)",
    ["puts it into a table"] = "s.t = { e, x = e.data }",
    ["puts it into a long table"] = "s.t = { 1, 2, e.data, e }",
    ["uses it as a key"] = "s.seen = s.seen or {}; keep(s.seen[e] == nil); keep(s.seen[e.data or 1] == nil)",
    ["compares it"] = "keep(e == s.last); keep(e.data == s.data)",
    ["counts it"] = "if type(e.data) == 'table' then keep(#e.data) end",
    ["goes through it"] = "for k, v in pairs(e) do s[k] = v end",
    ["goes through data"] = "if type(e.data) == 'table' then for k, v in pairs(e.data) do s[k] = v end end",
    ["goes through data with next"] = "if type(e.data) == 'table' then for k, v in next, e.data do s[k] = v end end",
    ["writes to the event"] = "keep(e.mark); e.mark = e.stream_position; keep(e.mark)",
    ["writes to data"] = "if type(e.data) == 'table' then keep(e.data.mark); e.data.mark = 1; s.m = e.data.mark end",
    ["writes to the event's own fields"] = "keep(e.type); e.type = 'X'; keep(e.type)",
    ["indexes it by a value"] = "local k = 'data'; keep(e[k]); keep(e['ty' .. 'pe'])",
    ["indexes data by a number"] = "if type(e.data) == 'table' then keep(e.data[1]) end",
    ["returns data that it never reads"] = "local d = e.data; if d and d.a then return d end",
    ["returns data among others"] = "local d = e.data; if d and d.a then return d, 1 end",
    ["keeps data in a global"] = "if e.stream_position == 60 then last = e.data end",
    ["keeps data in an upvalue"] = "if e.stream_position == 60 then up = e.data; later(function() return up end) end",
    ["reads one by number"] = "if e.data then s[#s + 1] = e.data[40] or 0 end",
    ["reads its length"] = "if e.data then s[#s + 1] = #e.data end",
    ["goes through it with next alone"] = "local d = e.data; if d and d.a then for k, v in next, d do s[k] = v end end",
    ["goes through it with a local of next"] =
      "local d, next = e.data, next; if d and d.a then for k, v in next, d do s[k] = v end end",
    ["indexes data by a long name"] = "if type(e.data) == 'table' then keep(e.data." .. ("x"):rep(60) .. ") end",
    ["asks what is there"] = "if e.data then s.n = (s.n or 0) + 1 end; if not e.metadata then s.m = (s.m or 0) + 1 end",
    ["asks for nil"] = "if e.data == nil then keep(e.stream_position) end",
    ["reads all that the store adds"] = [[keep(e.message_id); keep(e.stream_name); keep(e.global_position)
      keep(e.recorded_at > 0); keep(e.type); keep(e.no_such_field)]],
    ["reads the id alone"] = "keep(e.message_id)",
    ["chooses with and, or"] = "local d = e.metadata or e.data; s[#s + 1] = d or 0",
    ["gives the parameter another value"] = "e = e.data; keep(e)",
    ["gives the parameter another value and keeps it"] = "s[#s + 1] = e.type; e = { e.type, e }; s.x = e",
    ["loops"] = "local d = s; for i = 1, 3 do if i == 3 then keep(d) end; d = e.data end",
    ["loops backwards with goto"] = [[local n, d = 0, 0
      ::again:: if n == 2 then keep(d) else d = e.data; n = n + 1 goto again end]],
    ["calls a method of data"] = "if e.data and e.data.upper then keep(e.data:upper()) end",
    ["joins text"] = "keep(e.type .. e.stream_name .. e.stream_position)",
    ["uses data in arithmetic"] = "keep(pcall(function() end)); s.n = (s.n or 0) + e.data",
    ["has an upvalue for a handler's local"] = [[local list = {}
      for _, v in ipairs { 1, 2 } do local d = e.data; list[v] = function() return d end end
      later(list[1])]],
    ["makes events of it"] = "keep(moonfold.event(e.type, e.data))",
    ["closes"] =
      "local x <close> = setmetatable({}, { __close = function() s.n = (s.n or 0) + 1 end }); s.e = e.data",
    ["reads a list of data in a numeric loop"] = [[if type(e.data) == 'table' and e.data.list then
      for i = e.data.list[1], e.data.list[2] do s.sum = (s.sum or 0) + i end end]],
  } do
    it("is right where a handler " .. name, function() agrees(body) end)
  end

  it("is right where a handler takes any number of arguments", function()
    local kept = {}
    local evolve = function(...) kept[#kept + 1] = select(2, ...) end
    local result = store:aggregate_stream("a", { initial_state = {}, evolve = evolve })
    assert.equal(EVENTS, result.current_stream_version)
    for i, e in ipairs(kept) do assert.equal(i, e.stream_position) end
  end)

  it("is right where a handler takes the state only", function()
    local result = store:aggregate_stream("a", { initial_state = { n = 0 }, evolve = function(s) s.n = s.n + 1 end })
    assert.equal(EVENTS, result.state.n)
  end)

  it("is right where a handler is a function of C", function()
    local result = store:aggregate_stream("a", { initial_state = {}, evolve = rawlen and table.insert })
    assert.equal(EVENTS, #result.state)
    for i, e in ipairs(result.state) do assert.equal(i, e.stream_position) end
  end)

  it("is right where more types have handlers than are remembered at once", function()
    local sum, list = 0, {}
    for i = 1, 2000 do list[i] = { type = "T" .. i % 40, data = { a = i } } end
    store:append_to_stream("many", list)
    local result = store:aggregate_stream("many", { initial_state = {}, evolve = function(s, e)
      s[e.type] = (s[e.type] or 0) + e.data.a
    end })
    for _, n in pairs(result.state) do sum = sum + n end
    assert.equal(2000 * 2001 // 2, sum)
  end)

  it("gives a handler that keeps nothing one event, and a fresh one to others", function()
    local function addresses(handler)
      local seen, count = {}, 0
      local function look() -- what a debugger sees
        local _, value = debug.getlocal(3, 2)
        local address = ("%p"):format(value)
        if not seen[address] then count = count + 1 end
        seen[address] = true
      end
      store:aggregate_stream("a", { initial_state = {}, evolve = handler(function() look() end) })
      return count
    end
    local keeping = {}
    local few = addresses(function(look)
      return function(s, e) s.n = e.stream_position; look() return nil end
    end)
    assert.is_true(few < 40)
    assert.equal(EVENTS, addresses(function(look)
      return function(_, e) keeping[#keeping + 1] = e; look() return nil end
    end))
  end)

  --- Random handlers. A seed in MOONFOLD_SEED repeats a run.

  local seed = tonumber(os.getenv("MOONFOLD_SEED")) or os.time()
  local expressions = { "e", "e.data", "d", "x", "e.type", "e.stream_position", "e.metadata", "(d or e.data)",
    "(e.data and d)", "s.v", "e.message_id", "(type(d) == 'table' and d.a)",
    "(type(e.data) == 'table' and e.data.name)",
    "(type(e.data) == 'table' and e.data.list)", "(type(d) == 'table' and d.inner)", "not e.data", "{ d }", "#e.type" }

  local function pick(list) return list[math.random(#list)] end

  local statements

  local function statement(depth)
    local a, b = pick(expressions), pick(expressions)
    local simple = {
      "local d = " .. a, "d = " .. a, "x = " .. a, "s.v = " .. a, "keep(" .. a .. ")", "x, d = " .. a .. ", " .. b,
      "do local x <const> = " .. a .. "; keep(x) end", "later(function() return " .. a .. " end)",
      "s.t = { " .. a .. ", n = " .. b .. " }",
      "do local e = " .. a .. "; keep(e) end", "x = " .. a .. " == " .. b, "d = " .. a .. " or " .. b,
      "if type(d) == 'table' then s.n = d.a end", "if d == e then keep(1) end", "s.w = e.data and e.type",
    }
    if depth > 0 and math.random() < 0.4 then
      local inner = statements(depth - 1)
      return pick {
        "if " .. a .. " then " .. inner .. " end",
        "if " .. a .. " then " .. inner .. " else " .. statements(depth - 1) .. " end",
        "for i = 1, 2 do " .. inner .. " end", "do " .. inner .. " end", "repeat " .. inner .. " until true",
        "for _, v in ipairs { " .. a .. " } do d = v; " .. inner .. " end",
      }
    end
    return pick(simple)
  end

  function statements(depth)
    local list = {}
    for i = 1, math.random(3) do list[i] = statement(depth) end
    return table.concat(list, "; ")
  end

  it("is right for random handlers (seed " .. seed .. ")", function()
    math.randomseed(seed)
    for _ = 1, tonumber(os.getenv("MOONFOLD_HANDLERS")) or 300 do agrees("local d, x; " .. statements(2)) end
  end)
end)
