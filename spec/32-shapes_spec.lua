--- Shapes and invariants: what a decider declares about the data of its commands and events, and about its states, is
--- checked before anything is recorded.

local moonfold = require "moonfold"
local support = require "support"

local command, event, null = moonfold.command, moonfold.event, moonfold.null

-- A decider that records what it is told to: command Add { ... } becomes event Added { ... }.
local function echo(shapes)
  return {
    initial_state = 0,
    evolve = { Added = function(count) return count + 1 end, Cleared = false },
    decide = {
      Add = function(given) return event("Added", given.data) end,
      AddTwice = function(given) return { event("Cleared"), event("Added", given.data) } end,
    },
    commands = shapes.commands,
    events = shapes.events,
  }
end

-- Whether a command with this data is taken, when its data has this shape: true, or the error.
local function taken(shape, data)
  local store <close> = moonfold.open(":memory:")
  local ok, problem = pcall(store.handle, store, "s", echo { commands = { Add = shape } }, command("Add", data))
  if ok then return true end
  assert.are.equal("invalid_argument", problem.code)
  assert.is_false(store:stream_exists("s"))
  return problem
end

local function fits(shape, ...)
  for i = 1, select("#", ...) do assert.is_true(taken(shape, (select(i, ...)))) end
end

local function refused(message, shape, data)
  assert.are.equal(message, taken(shape, data).message)
end

describe("a kind", function()
  local values = { text = "a", integer = 1, float = 1.0, flag = false, list = { 1 }, map = { a = 1 }, null = null }
  local accepted = {
    string = { "text" }, integer = { "integer" }, number = { "integer", "float" }, boolean = { "flag" },
    table = { "list", "map" }, null = { "null" }, any = { "text", "integer", "float", "flag", "list", "map", "null" },
  }

  for kind, names in pairs(accepted) do
    it(("%q takes what it says and nothing else"):format(kind), function()
      local takes = {}
      for _, name in ipairs(names) do takes[name] = true end
      for name, value in pairs(values) do
        assert.are.equal(takes[name] or false, taken({ x = kind }, { x = value }) == true, kind .. " and " .. name)
      end
      assert.are_not.equal(true, taken({ x = kind }, {}), "nothing is not " .. kind)
    end)
  end

  it("may stand for the whole of the data", function()
    fits("integer", 1)
    refused('command.data: an integer is needed, this is the string "1"', "integer", "1")
    refused("command.data: it is missing: an integer is needed", "integer", nil)
    fits("integer?", nil)
  end)

  it("may be one of several", function()
    fits({ x = "integer|null" }, { x = 1 }, { x = null })
    fits({ x = " string | boolean ? " }, { x = "a" }, { x = true }, {})
    refused("command.data.x: an integer or moonfold.null is needed, this is the float 1.0", { x = "integer|null" },
      { x = 1.0 })
    refused("command.data.x: it is missing: a string or true or false is needed", { x = "string|boolean" }, {})
  end)

  it("may be a choice of texts, in quotes", function()
    fits({ x = "'red'|\"dark green\"|integer" }, { x = "red" }, { x = "dark green" }, { x = 7 })
    refused('command.data.x: "red" or "green" is needed, this is the string "gren": did you mean "green"?',
      { x = "'red'|'green'" }, { x = "gren" })
    refused('command.data.x: "red" is needed, this is the string "redd": did you mean "red"?', { x = "'red'?" },
      { x = "redd" })
  end)

  it("may be absent when it ends in a question mark, but not null", function()
    fits({ note = "string?" }, {}, { note = "" })
    refused("command.data.note: a string is needed, this is moonfold.null", { note = "string?" }, { note = null })
  end)

  it("tells integers from floats, and text from numbers, however they print", function()
    refused("command.data.n: an integer is needed, this is the float 2.0", { n = "integer" }, { n = 2.0 })
    refused('command.data.n: a number is needed, this is the string "2"', { n = "number" }, { n = "2" })
    refused("command.data.n: a string is needed, this is the integer 2", { n = "string" }, { n = 2 })
    refused("command.data.n: a string is needed, this is a table", { n = "string" }, { n = {} })
    refused("command.data.n: a string is needed, this is false", { n = "string" }, { n = false })
  end)

  it("shows no control characters and no half characters of a text", function()
    refused('command.data.n: an integer is needed, this is the string "?[31m?"', { n = "integer" },
      { n = "\27[31m\255" })
    local cut = ("x"):rep(39) .. "..."
    refused(('command.data.n: an integer is needed, this is the string "%s"'):format(cut), { n = "integer" },
      { n = ("x"):rep(39) .. "ää" })
  end)
end)

describe("a table of fields", function()
  local item = { sku = "string", quantity = "integer", note = "string?", ["address?"] = { street = "string" } }

  it("takes these fields and no others", function()
    fits(item, { sku = "a", quantity = 1 }, { sku = "a", quantity = 1, note = "b", address = { street = "c" } })
    refused("command.data.sku: it is missing: a string is needed", item, { quantity = 1 })
    refused("command.data.colour: there is no such field: there are address, note, quantity, sku", item,
      { sku = "a", quantity = 1, colour = "red" })
    refused("command.data[1]: there is no such field: there are address, note, quantity, sku", item, { "a", 1 })
  end)

  it("names the nearest field for a misspelt one, rather than the one that is missing", function()
    refused('command.data.quantiy: there is no such field: did you mean "quantity"?', item,
      { sku = "a", quantiy = 1 })
    refused('command.data.adress: there is no such field: did you mean "address"?', item,
      { sku = "a", quantity = 1, adress = {} })
  end)

  it("gives the path of what is wrong inside it", function()
    local problem = taken(item, { sku = "a", quantity = 1, address = { street = 7 } })
    assert.are.equal("command.data.address.street", problem.path)
    refused("command.data.address: a table is needed, this is the integer 7", item,
      { sku = "a", quantity = 1, address = 7 })
    refused('command.data["odd key"]: it is missing: a string is needed', { ["odd key"] = "string" }, {})
  end)

  it("may have many fields", function()
    local shape, value = {}, {}
    for i = 1, 500 do
      shape["field" .. i .. (i % 2 == 0 and "?" or "")] = "integer"
      value["field" .. i] = i
    end
    fits(shape, value)
    value.field500, value.filed500 = nil, 500
    assert.are.equal("command.data.filed500", taken(shape, value).path)
    value.filed500, value.field1 = nil, "x"
    assert.matches("^command.data", taken(shape, value).path)
  end)

  it("may be absent as a whole when nothing in it is needed", function()
    fits({}, nil, {})
    fits({ by = "integer?" }, nil, {})
    refused("command.data.by: it is missing: an integer is needed", { by = "integer" }, nil)
    refused("command.data.by: there is no such field: there are none", {}, { by = 1 })
  end)

  it("may contain itself, as a tree does", function()
    local tree = { value = "integer" }
    tree["children?"] = { tree }
    fits(tree, { value = 1, children = { { value = 2 }, { value = 3, children = moonfold.array() } } })
    assert.are.equal("command.data.children[1].children[1].value",
      taken(tree, { value = 1, children = { { value = 2, children = { { value = "x" } } } } }).path)
  end)

  it("goes as deep as values go", function()
    local shape, value = "integer", 1
    for _ = 1, 126 do shape, value = { a = shape }, { a = value } end
    fits(shape, value)
  end)
end)

describe("a list", function()
  it("has one shape for all its elements", function()
    fits({ tags = { "string" } }, { tags = { "a", "b" } }, { tags = moonfold.array() }, { tags = {} })
    refused("command.data.tags[2]: a string is needed, this is the integer 2", { tags = { "string" } },
      { tags = { "a", 2 } })
    refused("command.data.lines[1].sku: it is missing: a string is needed", { lines = { { sku = "string" } } },
      { lines = { {} } })
    refused("command.data.rows[1][2]: an integer is needed, this is true", { rows = { { "integer" } } },
      { rows = { { 1, true } } })
  end)

  it("has the keys 1 to n", function()
    local message = "command.data.tags: a list is needed, which has the keys 1 to n and no others"
    refused(message, { tags = { "string" } }, { tags = { "a", b = "c" } })
    refused(message, { tags = { "string" } }, { tags = { [2] = "a" } })
    refused('command.data.tags: a list is needed, this is the string "a"', { tags = { "string" } }, { tags = "a" })
    refused("command.data.tags: it is missing: a list is needed", { tags = { "string" } }, {})
  end)
end)

describe("a map", function()
  it("takes any key, or only those of a type", function()
    fits({ ["*"] = "integer" }, { a = 1, [3] = 2 }, {}, { 1, 2 })
    fits({ ["[integer]"] = "string" }, { [3] = "sword", [12] = "shield" })
    fits({ ["[string]"] = "string" }, { a = "b" })
    refused('command.data["3"]: its key must be an integer, this is the string "3"', { ["[integer]"] = "string" },
      { ["3"] = "sword" })
    refused("command.data[3]: its key must be a string, this is the integer 3", { ["[string]"] = "string" },
      { [3] = "sword" })
    refused("command.data.a: an integer is needed, this is true", { ["*"] = "integer" }, { a = true, b = false })
  end)

  it("may have named fields beside", function()
    local shape = { size = "integer", ["owner?"] = { "string" }, ["[integer]"] = { item = "string" } }
    fits(shape, { size = 4, [3] = { item = "sword" } }, { size = 4, owner = { "ada" } })
    refused("command.data.size: it is missing: an integer is needed", shape, {})
    refused("command.data[3].item: it is missing: a string is needed", shape, { size = 1, [3] = {} })
    refused("command.data.owner: a list is needed, this is true", shape, { size = 1, owner = true })
  end)
end)

describe("a shape and the values that fit it", function()
  -- The rules once more, as simply as Lua can say them.
  local model

  local kinds = {
    string = function(v) return type(v) == "string" end,
    integer = function(v) return math.type(v) == "integer" end,
    number = function(v) return type(v) == "number" end,
    boolean = function(v) return type(v) == "boolean" end,
    table = function(v) return type(v) == "table" end,
    null = function(v) return v == null end,
    any = function(v) return v ~= nil end,
  }

  local function model_kind(shape, value)
    local text, optional = shape:gsub("%?$", "")
    if value == nil then return optional == 1 end
    for word in text:gmatch("[^|]+") do
      local choice = word:match("^'(.*)'$")
      if choice and choice == value or kinds[word] and kinds[word](value) then return true end
    end
    return false
  end

  local function model_list(shape, value)
    for key, element in pairs(value) do
      if math.type(key) ~= "integer" or key < 1 or key > #value or not model(shape[1], element) then return false end
    end
    return true
  end

  local function model_fields(shape, value)
    local named = {}
    for key, sub in pairs(shape) do
      local name, optional = key:gsub("%?$", "")
      if not key:find("^[%[*]") then
        named[name] = true
        if not (value[name] == nil and optional == 1) and not model(sub, value[name]) then return false end
      end
    end
    local rest = shape["*"] or shape["[integer]"] or shape["[string]"]
    local key_type = shape["*"] and "any" or shape["[integer]"] and "integer" or "string"
    for key, element in pairs(value) do
      if not named[key] and not (rest and kinds[key_type](key) and model(rest, element)) then return false end
    end
    return true
  end

  function model(shape, value)
    if type(shape) == "string" then return model_kind(shape, value) end
    if type(value) ~= "table" then return false end
    if shape[1] ~= nil then return model_list(shape, value) end
    return model_fields(shape, value)
  end

  local names = { "a", "b", "ab" }
  local words = { "string", "integer", "number", "boolean", "table", "null", "any", "'a'", "'b'" }

  local function random_shape(pick, depth)
    local kind = pick(depth > 0 and 6 or 3)
    if kind == 1 then return words[pick(#words)] .. "|" .. words[pick(#words)] end
    if kind <= 3 then return words[pick(#words)] .. (pick(3) == 1 and "?" or "") end
    if kind == 4 then return { random_shape(pick, depth - 1) } end
    local shape = {}
    for _, name in ipairs(names) do
      if pick(2) == 1 then shape[name .. (pick(3) == 1 and "?" or "")] = random_shape(pick, depth - 1) end
    end
    if pick(3) == 1 then shape[({ "*", "[integer]", "[string]" })[pick(3)]] = random_shape(pick, depth - 1) end
    return shape
  end

  local function random_value(pick, depth)
    local simple = { "a", "b", 1, 2.5, true, null }
    if depth == 0 or pick(3) > 1 then return simple[pick(#simple)] end
    local value = {}
    if pick(2) == 1 then
      for i = 1, pick(4) - 1 do value[i] = random_value(pick, depth - 1) end
      return value
    end
    for _, name in ipairs { "a", "b", "ab", 1, 7 } do
      if pick(3) == 1 then value[name] = random_value(pick, depth - 1) end
    end
    return value
  end

  -- A value that mostly fits, so that both answers are common.
  local function near_value(pick, shape, depth)
    if pick(8) == 1 then return random_value(pick, 1) end
    if type(shape) == "string" then
      local samples = { string = "b", integer = 1, number = 2.5, boolean = true, table = { 1 }, null = null, any = "a",
        ["'a'"] = "a", ["'b'"] = "b" }
      local value = samples[shape:match("^[^|?]+")]
      if type(value) == "table" then return { 1 } end
      return value
    end
    local value = {}
    if shape[1] ~= nil then
      for i = 1, pick(3) - 1 do value[i] = near_value(pick, shape[1], depth - 1) end
      return value
    end
    for key, sub in pairs(shape) do
      local name, optional = key:gsub("%?$", "")
      if key == "*" or key == "[integer]" then value[3] = near_value(pick, sub, depth - 1)
      elseif key == "[string]" then value.z = near_value(pick, sub, depth - 1)
      elseif optional == 0 or pick(2) == 1 then value[name] = near_value(pick, sub, depth - 1) end
    end
    return value
  end

  it("are told apart as a naive model tells them", function()
    local seed = tonumber(os.getenv("SEED")) or os.time()
    local store <close> = moonfold.open(":memory:")
    math.randomseed(seed)
    local counts = { [true] = 0, [false] = 0 }
    for round = 1, 3000 do
      local shape = random_shape(math.random, 3)
      local value = near_value(math.random, shape, 3)
      local decider = echo { commands = { Add = { x = shape } } }
      local expected = model({ x = shape }, { x = value })
      local ok, problem = pcall(store.decide, store, "s", decider, command("Add", { x = value }))
      counts[ok] = counts[ok] + 1
      local what = ("seed %d, round %d: shape %s, value %s: %s"):format(seed, round, support.literal(shape),
        support.literal(value), tostring(problem))
      assert(ok == expected, what)
      if not ok then
        assert(problem.code == "invalid_argument", what)
        assert(problem.path:find("^command%.data%.x"), what)
        assert(problem.message:find(problem.path .. ": ", 1, true) == 1, what)
        assert(not problem.message:find("declared shape", 1, true), what)
      end
    end
    assert(counts[true] > 300 and counts[false] > 300, "both answers are common")
  end)
end)

describe("the shape of a command", function()
  it("is checked before decide", function()
    local decider = echo { commands = { Add = { n = "integer" } } }
    local called = false
    function decider.decide.Add() called = true end
    local store <close> = moonfold.open(":memory:")
    for _, method in ipairs { store.handle, store.attempt, store.decide } do
      support.fails("invalid_argument", { path = "command.data.n" }, method, store, "s", decider, command("Add", {}))
    end
    assert.is_false(called)
  end)

  it("names the command of a list, of which none is recorded", function()
    local decider = echo { commands = { Add = { n = "integer" } } }
    local store <close> = moonfold.open(":memory:")
    support.fails("invalid_argument", { path = "commands[2].data.n" }, store.handle, store, "s", decider,
      { command("Add", { n = 1 }), command("Add", {}) })
    assert.is_false(store:stream_exists("s"))
  end)

  it("is not asked of a command that was recorded when it was another", function()
    local store <close> = moonfold.open(":memory:")
    local add = { type = "Add", data = { n = 1 }, command_id = "c-1" }
    local first = store:handle("s", echo {}, add)
    local again = store:handle("s", echo { commands = { Add = { n = "string" } } }, add)
    assert.are.equal(first.last_event_global_position, again.last_event_global_position)
  end)

  it("is not asked where none is declared", function()
    local store <close> = moonfold.open(":memory:")
    store:handle("s", echo { commands = { Add = { n = "integer" } } }, command("AddTwice", "anything"))
    assert.are.equal(2, store:stream_version("s"))
  end)
end)

describe("the shape of an event", function()
  local decider = echo { events = { Added = { n = "integer" }, Cleared = {} } }

  it("is checked when decide has made it: the decider is at fault", function()
    local store <close> = moonfold.open(":memory:")
    local problem = support.fails("script_error", {
      stream = "s", command_type = "AddTwice", event_type = "Added", path = "events[2].data.n",
    }, store.attempt, store, "s", decider, command("AddTwice", { n = 1.5 }))
    assert.are.equal('decide of command AddTwice on stream "s" made an event Added that lacks its declared shape: '
      .. "events[2].data.n: an integer is needed, this is the float 1.5", problem.message)
    assert.is_false(store:stream_exists("s"))
    store:handle("s", decider, command("AddTwice", { n = 1 }))
  end)

  it("is not asked of what is appended, which knows no decider", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("s", event("Added", { n = "old" }))
    assert.are.equal(1, store:aggregate_stream("s", decider).state)
  end)

  it("is asked of what is read, after upcast, with the option check_shapes", function()
    local store <close> = moonfold.open(":memory:")
    local upcasting = echo { events = decider.events }
    upcasting.upcast = { Added = function(old)
      if type(old.data) == "number" then old.data = { n = old.data } end
      return old
    end }
    store:append_to_stream("s", { event("Added", 1), event("Added", { n = 2 }), event("Cleared", { why = "late" }) })
    assert.are.equal(2, store:aggregate_stream("s", upcasting, { to = 2, check_shapes = true }).state)
    local fields = { stream = "s", position = 3, event_type = "Cleared", path = "data.why" }
    local problem = support.fails("script_error", fields, store.aggregate_stream, store, "s", upcasting,
      { check_shapes = true })
    assert.are.equal('event 3 (Cleared) of stream "s" lacks its declared shape: data.why: there is no such field: '
      .. "there are none", problem.message)
    assert.are.equal(1, support.fails("script_error", {}, store.aggregate_stream, store, "s", decider,
      { check_shapes = true }).position)
  end)
end)

describe("a declaration that makes no sense", function()
  local function says(message, shapes, what)
    local store <close> = moonfold.open(":memory:")
    local declared = echo { [what or "events"] = shapes }
    local problem = support.fails("invalid_argument", nil, store.handle, store, "s", declared, command("Add", {}))
    assert.are.equal("decider." .. (what or "events") .. message, problem.message)
  end

  local no_shape = " is no shape: kinds are string, integer, number, boolean, table, null and any; | stands between "
    .. "alternatives, ? at the end, and texts in 'quotes'; a list is { shape }"

  it("is refused with its path and the nearest kind", function()
    says('.Added.n: there is no kind "strnig": did you mean "string"?', { Added = { n = "strnig" } })
    says('.Added.lines[1].sku: there is no kind "integr": did you mean "integer"?',
      { Added = { lines = { { sku = "integr" } } } })
    says('.Added.n: a kind, such as "string", or a table of fields is needed, this is boolean',
      { Added = { n = true } })
    local wrong = { "", "?", "|string", "string|", "string??", "string?|null", "'red", "string integer", "list" }
    for _, text in ipairs(wrong) do
      says(('.Added: "%s"%s'):format(text, no_shape), { Added = text })
    end
    says(".Add: a kind, such as \"string\", or a table of fields is needed, this is number", { Add = 1 }, "commands")
  end)

  it("is refused where its keys are none", function()
    says(": a table of shapes by type is needed, this is string", "Added")
    says(": it maps types to shapes, and one of its keys is a number", { "Added" })
    for _, shape in ipairs { { "string", "string" }, { "string", n = "string" } } do
      says('.Added: the shape of a list has one element, which is for all: { "string" }', { Added = shape })
    end
    says(".Added: a shape's keys are the names of fields, and one is a number", { Added = { [2] = "string" } })
    says('.Added: ["[int]"] is no key of a map: there are ["*"], ["[integer]"] and ["[string]"]',
      { Added = { ["[int]"] = "any" } })
    says('.Added: it has one of ["*"], ["[integer]"] and ["[string]"] at most',
      { Added = { ["*"] = "any", ["[string]"] = "any" } })
    says('.Added: it has the field "n?" twice, with ? and without', { Added = { n = "any", ["n?"] = "any" } })
  end)

  it("is refused for a type that has no function", function()
    says('.Aded: evolve has no function for it: did you mean "Added"?', { Aded = {} })
    says('.Ad: decide has no function for it: did you mean "Add"?', { Ad = {} }, "commands")
    local store <close> = moonfold.open(":memory:")
    store:aggregate_stream("s", { initial_state = 0, evolve = function() end, events = { Whatever = {} } })
  end)

  it("is refused for an invariant that is no function", function()
    local store <close> = moonfold.open(":memory:")
    local problem = support.fails("invalid_argument", { path = "aggregate.invariant" }, store.aggregate_stream, store,
      "s", { initial_state = 0, evolve = {}, invariant = true })
    assert.are.equal("aggregate.invariant: a function of the state is needed, this is boolean", problem.message)
  end)
end)

describe("an invariant", function()
  local function counter(invariant)
    return {
      initial_state = 0,
      evolve = { Counted = function(count, happened) return count + happened.data end, Seen = false },
      decide = {
        Count = function(given)
          local events = {}
          for i, by in ipairs(given.data) do events[i] = event("Counted", by) end
          return events
        end,
      },
      invariant = invariant,
    }
  end

  local function at_most_3(count) return count <= 3, "too many: " .. count end

  local checked = { check_invariant = true }

  it("is asked after every event where it is asked for, and else never", function()
    local store <close> = moonfold.open(":memory:")
    store:handle("s", counter(at_most_3), command("Count", { 1, 2 }), checked)
    local problem = support.fails("script_error", { stream = "s", position = 4, event_type = "Counted",
      cause = "too many: 5" }, store.handle, store, "s", counter(at_most_3), command("Count", { -1, 3, -1 }), checked)
    assert.are.equal('invariant of event 4 (Counted) of stream "s" failed: too many: 5', problem.message)
    assert.are.equal(2, store:stream_version("s"))
    store:handle("s", counter(at_most_3), command("Count", { -1, 3, -1 }))
    assert.are.equal(5, store:stream_version("s"))
    assert.are.equal(4, support.fails("script_error", {}, store.aggregate_stream, store, "s", counter(at_most_3),
      checked).position)
    assert.are.equal(4, store:aggregate_stream("s", counter(at_most_3)).state)
  end)

  it("is not asked by handle of what was recorded before", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("s", event("Counted", 5))
    assert.are.equal(3, store:handle("s", counter(at_most_3), command("Count", { -2 }), checked).state)
    store:append_to_stream("s", event("Counted", 5))
    store:handle("s", counter(at_most_3), command("Count", {}), checked)
  end)

  it("is asked of the state before the first event", function()
    local store <close> = moonfold.open(":memory:")
    local problem = support.fails("script_error", { stream = "s" }, store.aggregate_stream, store, "s",
      counter(function() return false end), checked)
    assert.is_nil(problem.position)
    assert.are.equal('invariant for stream "s" failed: it returned false', problem.message)
  end)

  it("is broken by false, by a message, by both and by an error", function()
    local store <close> = moonfold.open(":memory:")
    local function says(message, invariant)
      local problem = support.fails("script_error", nil, store.aggregate_stream, store, "s", counter(invariant),
        checked)
      assert.matches(message, problem.message)
    end
    says("failed: it returned false$", function() return false end)
    says("failed: why$", function() return false, "why" end)
    says("failed: why$", function() return "why" end)
    says("failed: .*32%-shapes_spec.lua:%d+: why$", function() error("why") end)
    says("failed: .*attempt to index", function(count) return count.total.of end)
  end)

  it("holds when it returns true or nothing", function()
    local store <close> = moonfold.open(":memory:")
    for _, invariant in ipairs { function() return true, "fine" end, function() end } do
      store:aggregate_stream("s", counter(invariant), checked)
    end
    store:aggregate_stream("s", counter(nil), checked)
  end)

  it("is asked by attempt and decide, too", function()
    local store <close> = moonfold.open(":memory:")
    for _, method in ipairs { store.attempt, store.decide } do
      support.fails("script_error", { position = 1 }, method, store, "s", counter(at_most_3), command("Count", { 4 }),
        checked)
    end
    assert.is_false(store:stream_exists("s"))
  end)

  it("cannot call the store", function()
    local store <close> = moonfold.open(":memory:")
    local nosy = counter(function() store:stream_exists("s") end)
    support.fails("invalid_argument", nil, store.aggregate_stream, store, "s", nosy, checked)
  end)
end)
