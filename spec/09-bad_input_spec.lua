local moonfold = require "moonfold"
local support = require "support"
local sorted = require("pl.tablex").sort

local decider = {
  initial_state = {},
  evolve = { Went = false },
  decide = { Go = function() return { type = "Went" } end },
}
local go, went = { type = "Go" }, { type = "Went" }
local long = ("x"):rep(401)

--- method -> { path of the bad value, arguments ... }
local bad_calls = {
  append_to_stream = {
    { "stream", nil, went }, { "stream", 1, went }, { "stream", "", went }, { "stream", long, went },
    { "stream", {}, went },
    { "events", "a", nil }, { "events", "a", "Went" }, { "events", "a", print },
    { "events[1]", "a", { "Went" } }, { "events[2]", "a", { went, 7 } },
    { "events[1].type", "a", { {} } }, { "events[2].type", "a", { went, { data = 1 } } },
    { "events[1].type", "a", { { type = 1 } } }, { "events[1].type", "a", { { type = "" } } },
    { "events[1].type", "a", { { type = ("x"):rep(201) } } },
    { "events[1].metadata", "a", { { type = "Went", metadata = "by Ada" } } },
    { "events[1].message_id", "a", { { type = "Went", message_id = 1 } } },
    { "events[1].message_id", "a", { { type = "Went", message_id = "" } } },
    { "events[1].message_id", "a", { { type = "Went", message_id = ("x"):rep(201) } } },
    { "options", "a", went, "fast" },
    { "options.expected_stream_version", "a", went, { expected_stream_version = -1 } },
  },
  read_stream = {
    { "stream", nil }, { "stream", "" }, { "stream", long }, { "stream", 7 },
    { "options", "a", 1 },
    { "options.from", "a", { from = -1 } }, { "options.from", "a", { from = "1" } },
    { "options.from", "a", { from = 1.5 } },
    { "options.to", "a", { to = -1 } }, { "options.to", "a", { to = {} } },
    { "options.max_count", "a", { max_count = -1 } }, { "options.max_count", "a", { max_count = "all" } },
    { "options.types", "a", { types = 1 } }, { "options.types[2]", "a", { types = { "Went", 1 } } },
    { "options.backwards", "a", { backwards = 1 } },
    { "options.upcast", "a", { upcast = "new" } }, { "options.upcast.Went", "a", { upcast = { Went = 1 } } },
  },
  events = {
    { "stream", nil }, { "stream", "" }, { "options", "a", 1 }, { "options.from", "a", { from = -1 } },
  },
  all_events = {
    { "options", "a" }, { "options.from", { from = -1 } }, { "options.to", { to = 0.5 } },
    { "options.max_count", { max_count = -1 } },
  },
  aggregate_stream = {
    { "stream", nil, decider }, { "stream", "", decider },
    { "aggregate", "a", nil }, { "aggregate", "a", "counter" },
    { "aggregate.evolve", "a", { initial_state = 0 } },
    { "aggregate.evolve", "a", { initial_state = 0, evolve = 1 } },
    { "aggregate.evolve.Went", "a", { initial_state = 0, evolve = { Went = 1 } } },
    { "aggregate.initial_state", "a", { evolve = {} } },
    { "aggregate.upcast", "a", { initial_state = 0, evolve = {}, upcast = 1 } },
    { "options", "a", decider, 1 }, { "options.to", "a", decider, { to = -1 } },
    { "options.backwards", "a", decider, { backwards = true } },
  },
  stream_exists = { { "stream", nil }, { "stream", "" }, { "stream", 1 }, { "stream", long } },
  stream_version = { { "stream", nil }, { "stream", "" }, { "stream", 1 }, { "stream", long } },
  streams = { { "prefix", 1 }, { "prefix", {} } },
  handle = {
    { "stream", nil, decider, go }, { "stream", "", decider, go }, { "stream", long, decider, go },
    { "decider", "a", nil, go }, { "decider", "a", "cart", go },
    { "decider.decide", "a", { initial_state = 0, evolve = {} }, go },
    { "decider.evolve", "a", { initial_state = 0, decide = {} }, go },
    { "command", "a", decider, nil }, { "command", "a", decider, "Go" },
    { "options", "a", decider, go, 1 }, { "options.state", "a", decider, go, { state = "yes" } },
  },
  wait = {
    { "position", nil }, { "position", "1" }, { "position", -1 }, { "position", 0.5 },
    { "timeout", 1, "1" }, { "timeout", 1, -1 }, { "timeout", 1, 0 / 0 },
  },
  backup = { { "path", nil }, { "path", 1 }, { "path", "copy\0.fold" } },
}
bad_calls.attempt = bad_calls.handle
bad_calls.decide = bad_calls.handle

describe("a store's", function()
  local store
  before_each(function()
    store = moonfold.open(":memory:")
    store:append_to_stream("a", went)
  end)
  after_each(function() store:close() end)

  for method, calls in sorted(bad_calls) do
    it(method .. " refuses wrong arguments and names each", function()
      for _, call in ipairs(calls) do
        support.refuses(store, "invalid_argument", { path = call[1] },
          store[method], store, table.unpack(call, 2, 5))
      end
    end)
  end

  it("transaction needs a function", function()
    for _, value in ipairs { false, 1, "f", {} } do
      support.refuses(store, "invalid_argument", nil, store.transaction, store, value or nil)
    end
  end)

  it("methods are called with a colon", function()
    for _, value in ipairs { false, 1, "store", {}, io.stdout } do
      support.refuses(store, "invalid_argument", nil, store.stream_version, value or nil, "a")
      support.refuses(store, "invalid_argument", nil, store.append_to_stream, value or nil, "a", went)
      support.refuses(store, "invalid_argument", nil, store.close, value or nil)
    end
  end)

  it("streams may have names of 1 to 400 bytes, and types of 1 to 200", function()
    for _, name in ipairs { "x", ("x"):rep(400) } do
      store:append_to_stream(name, { type = ("T"):rep(200) })
      assert.equal(1, store:stream_version(name))
    end
    store:append_to_stream("a", { type = "T" })
    assert.equal(("T"):rep(200), store:read_stream("x").events[1].type)
  end)

  it("calls blame the line that was wrong", function()
    local failure = support.fails("invalid_argument", { path = "stream" }, function()
      store:append_to_stream(1, went)
    end)
    local line = debug.getinfo(1, "l").currentline - 2
    assert.matches("09-bad_input_spec.lua:" .. line, failure.where, 1, true)
    assert.equal(("%s: invalid_argument: %s"):format(failure.where, failure.message), tostring(failure))
  end)
end)

describe("an unknown name", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  local function guessed(unknown, known, f, ...)
    local failure = support.refuses(store, "invalid_argument", nil, f, ...)
    assert.matches('"' .. unknown .. '"', failure.message, 1, true)
    assert.matches('did you mean "' .. known .. '"?', failure.message, 1, true)
  end

  it("among the options of open is answered with the nearest", function()
    guessed("durabilty", "durability", moonfold.open, ":memory:", { durabilty = "full" })
    guessed("readonly", "read_only", moonfold.open, ":memory:", { readonly = true })
  end)

  it("among the options of a method is answered with the nearest", function()
    guessed("expected_stream_vesrion", "expected_stream_version",
      store.append_to_stream, store, "a", went, { expected_stream_vesrion = 1 })
    guessed("max_cuont", "max_count", store.read_stream, store, "a", { max_cuont = 1 })
    guessed("form", "from", store.events, store, "a", { form = 1 })
    guessed("backward", "backwards", store.all_events, store, { backward = true })
    guessed("too", "to", store.aggregate_stream, store, "a", decider, { too = 1 })
    guessed("stat", "state", store.handle, store, "a", decider, go, { stat = false })
    guessed("stat", "state", store.attempt, store, "a", decider, go, { stat = false })
    guessed("stat", "state", store.decide, store, "a", decider, go, { stat = false })
  end)

  it("in an event is answered with the nearest", function()
    guessed("dta", "data", store.append_to_stream, store, "a", { type = "Went", dta = 1 })
    guessed("meta_data", "metadata", store.append_to_stream, store, "a", { went, { type = "Went", meta_data = 1 } })
  end)

  it("in a decider is answered with the nearest", function()
    guessed("evolv", "evolve", store.aggregate_stream, store, "a", { initial_state = {}, evolv = {} })
    guessed("decid", "decide", store.handle, store, "a", { initial_state = {}, evolve = {}, decid = {} }, go)
  end)

  it("in a command is answered with the nearest", function()
    guessed("comand_id", "command_id", store.handle, store, "a", decider, { type = "Go", comand_id = "1" })
  end)

  it("that is like nothing is named all the same", function()
    local failure = support.fails("invalid_argument", nil, store.read_stream, store, "a", { ["#!?"] = 1 })
    assert.matches('"#!?"', failure.message, 1, true)
  end)

  it("that is no string is refused", function()
    support.fails("invalid_argument", nil, store.read_stream, store, "a", { 1, 2 })
  end)
end)

describe("a function of the module", function()
  local bad = {
    { "path", "open", nil }, { "path", "open", 1 }, { "path", "open", {} },
    { "options", "open", ":memory:", true },
    { "options.create", "open", ":memory:", { create = 1 } },
    { "options.read_only", "open", ":memory:", { read_only = "yes" } },
    { "options.durability", "open", ":memory:", { durability = "ful" } },
    { "options.durability", "open", ":memory:", { durability = 1 } },
    { "options.clock", "open", ":memory:", { clock = 12 } },
    { "reason", "reject", nil }, { "reason", "reject", 1 }, { "reason", "reject", "" },
    { "event.type", "event", nil }, { "event.type", "event", 1 },
    { "command.type", "command", nil }, { "command.type", "command", 1 },
    { "value", "hash", print }, { "value", "hash", 0 / 0 },
    { "value", "to_json", print }, { "value", "to_json", 0 / 0 },
    { "text", "from_json", nil }, { "text", "from_json", {} },
  }
  for _, call in ipairs(bad) do
    local path, name = call[1], call[2]
    it(("%s refuses a wrong %s: %s"):format(name, path, support.literal(call[4] or call[3])), function()
      support.fails("invalid_argument", { path = path }, moonfold[name], table.unpack(call, 3, 4))
    end)
  end

  it("array takes a table or nothing", function()
    for _, value in ipairs { 1, "list", print } do
      support.fails("invalid_argument", nil, moonfold.array, value)
    end
  end)

  it("open names the levels of durability", function()
    local failure = support.fails("invalid_argument", nil, moonfold.open, ":memory:", { durability = "fast" })
    for _, level in ipairs { "full", "relaxed", "none" } do
      assert.matches(level, failure.message, 1, true)
    end
  end)

  it("open blames the line that called it", function()
    local run = support.lua [[
      local _, failure = pcall(function()
        return (require("moonfold").open(1))
      end)
      print(failure.where)
    ]]
    assert.matches("script.lua:2", run.stdout, 1, true)
  end)
end)
