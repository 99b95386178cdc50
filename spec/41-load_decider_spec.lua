--- moonfold.load_decider: what is loaded, what its options do, and what a script's author is told.

local lfs = require "lfs"
local moonfold = require "moonfold"
local support = require "support"

local command, event = moonfold.command, moonfold.event

local counter = [[
local moonfold = require "moonfold"
return {
  name = "the counter",
  category = "counter",
  initial_state = { count = 0 },
  evolve = { Counted = function(state, event) state.count = state.count + event.data end },
  decide = {
    Count = function(command) return moonfold.event("Counted", command.data) end,
    Loop = function() while true do end end,
    Eat = function() local t = {} while true do t[#t + 1] = { t } end end,
    Say = function(command, state) print("count", state.count, command.data) end,
  },
}
]]

--- What loading this text raises.
local function refused(source, code, fields)
  local path = support.write(support.path("rules.lua"), source)
  return support.fails(code, fields, moonfold.load_decider, path)
end

describe("a loaded decider", function()
  local store, decider
  before_each(function()
    store = moonfold.open(":memory:")
    decider = support.load(counter, nil, "counter.lua")
  end)
  after_each(function() store:close() end)

  it("tells its name, its category and its file", function()
    assert.equal("the counter", decider.name)
    assert.equal("counter", decider.category)
    assert.matches("^/.*/counter%.lua$", decider.path)
    assert.equal(('moonfold decider "the counter" (%s)'):format(decider.path), tostring(decider))
    local fields = {}
    for name, value in pairs(decider) do fields[name] = value end
    for _, name in ipairs { "name", "category", "path", "event_types", "command_types" } do
      assert.equal(decider[name], fields[name], name)
    end
    assert.same({ Counted = true }, fields.event_types)
  end)

  it("keeps its functions in the sandbox", function()
    assert.is_nil(decider.evolve)
    assert.is_nil(decider.decide)
    assert.is_nil(decider.initial_state)
  end)

  it("cannot be changed from outside", function()
    support.fails("invalid_argument", { path = "decider" }, function() decider.name = "mine" end)
    assert.equal("the counter", decider.name)
  end)

  it("handles, decides, attempts and folds", function()
    assert.same({ count = 2 }, store:handle("counter-1", decider, command("Count", 2)).state)
    assert.same({ count = 5 }, store:decide("counter-1", decider, command("Count", 3)).state)
    assert.same({ count = 6 }, store:attempt("counter-1", decider, command("Count", 4)).state)
    assert.same({ state = { count = 6 }, current_stream_version = 2, stream_exists = true },
      store:aggregate_stream("counter-1", decider))
  end)

  it("serves several stores, each with its own types and times", function()
    local other <close> = moonfold.open(":memory:", { clock = function() return 7 end })
    other:append_to_stream("x", { event "A", event "B", event "C" })
    for i = 1, 3 do
      assert.same({ count = i }, store:handle("counter-1", decider, command("Count", 1)).state)
      local result = other:handle("counter-1", decider, command("Count", 10))
      assert.same({ count = 10 * i }, result.state)
      assert.equal("Counted", result.events[1].type)
      assert.equal(7, result.events[1].recorded_at)
    end
  end)

  it("may be given to a decision that looks at its stream", function()
    store:handle("counter-1", decider, command("Count", 3))
    local looks = {
      initial_state = 0, evolve = { Seen = false },
      decide = function(_, _, context)
        return event("Seen", context:aggregate_stream("counter-1", decider).state.count)
      end,
    }
    assert.equal(3, store:handle("looker", looks, command "Look").events[1].data)
  end)

  it("goes with its spec", function()
    local given = require("moonfold.spec")(decider)
    given { event("Counted", 1) }:when(command("Count", 2)):expect { event("Counted", 2) }:expect_state { count = 3 }
  end)

  it("is let go of with all that it holds", function()
    local weak = setmetatable({ decider }, { __mode = "v" })
    decider = nil
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
  end)

  it("without decide can be folded, and handles nothing", function()
    local folds = support.load("return { initial_state = 0, evolve = function(n) return n + 1 end }")
    store:append_to_stream("a", { event "X", event "Y" })
    assert.equal(2, store:aggregate_stream("a", folds).state)
    support.fails("invalid_argument", { path = "decider.decide" }, store.handle, store, "a", folds, command "X")
  end)

  it("cannot be used with an upcaster from outside: functions do not cross", function()
    support.fails("invalid_argument", { path = "options.upcast" },
      store.aggregate_stream, store, "counter-1", decider, { upcast = {} })
  end)
end)

describe("options of loading:", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  it("params reach the script as a copy", function()
    local params = { start = 9007199254740993, list = moonfold.array(), none = moonfold.null, rate = 2.0 }
    local decider = support.load([[
      local moonfold = require "moonfold"
      local params = ...
      assert(params.none == moonfold.null and math.type(params.rate) == "float")
      return { initial_state = params.start, evolve = {}, decide = function() end }
    ]], { params = params })
    params.start = 1
    assert.equal(9007199254740993, store:aggregate_stream("a", decider).state)
    support.fails("invalid_argument", { path = "options.params.f" },
      moonfold.load_decider, decider.path, { params = { f = print } })
  end)

  it("budget bounds a call, and the next one has all of it again", function()
    local decider = support.load(counter, { budget = 10000 })
    local failure = support.refuses(store, "budget_exceeded", { stream = "counter-1", command_type = "Loop" },
      store.handle, store, "counter-1", decider, command "Loop")
    assert.matches('^decide of command Loop on stream "counter%-1": ', failure.message)
    assert.same({ count = 1 }, store:handle("counter-1", decider, command("Count", 1)).state)
  end)

  it("nothing of the time that large events take to be decoded counts against the script", function()
    local lists = support.load([[
      return {
        initial_state = { rows = 0 },
        evolve = {
          Listed = function(state, event)
            for i = 1, #event.data, 10 do state.rows = state.rows + 10 end -- so long that the clock is looked at
          end,
        },
      }
    ]], { cache = false }, "lists.lua")
    local list = {}
    for i = 1, 10000 do list[i] = { id = i, name = "name" .. i } end
    for _ = 1, 60 do store:append_to_stream("lists", event("Listed", list)) end
    assert.equal(600000, store:aggregate_stream("lists", lists).state.rows)
  end)

  it("memory bounds the sandbox, and what is beyond it fails the call", function()
    local decider = support.load(counter, { memory = 1000000 })
    for _ = 1, 3 do
      support.refuses(store, "budget_exceeded", { stream = "counter-1", command_type = "Eat" },
        store.handle, store, "counter-1", decider, command "Eat")
    end
    assert.same({ count = 1 }, store:handle("counter-1", decider, command("Count", 1)).state)
  end)

  it("a call that exceeds its budget in a transaction leaves no trace of itself, and the rest stays", function()
    local decider = support.load(counter, { budget = 10000 })
    store:transaction(function()
      store:handle("counter-1", decider, command("Count", 1))
      support.fails("budget_exceeded", nil, store.handle, store, "counter-1", decider,
        { command("Count", 10), command "Loop" })
      store:handle("counter-1", decider, command("Count", 1))
    end)
    assert.same({ count = 2 }, store:aggregate_stream("counter-1", decider).state)
  end)

  it("log receives what scripts print, with the place", function()
    local lines = {}
    local decider = support.load(counter, { log = function(line, place) lines[#lines + 1] = { line, place } end })
    store:handle("counter-1", decider, { command("Count", 2), command("Say", "hello") })
    assert.same({
      { "count\t2\thello", { phase = "decide", stream = "counter-1", command_type = "Say" } },
    }, lines)
  end)

  it("log hears of the event that is being folded, and of loading", function()
    local places = {}
    local decider = support.load([[
      print "loading"
      return { initial_state = 0, evolve = { Ticked = function() print "tick" end } }
    ]], { log = function(line, place) places[#places + 1] = { line, place } end })
    store:append_to_stream("a", { event "Ticked", event "Ticked" })
    store:aggregate_stream("a", decider, { from = 2 })
    assert.same({
      { "loading", {} },
      { "tick", { phase = "evolve", stream = "a", position = 2, event_type = "Ticked" } },
    }, places)
  end)

  it("a log function cannot use the store, and its failure fails nothing", function()
    local problems = {}
    local decider
    decider = support.load(counter, { log = function()
      for _, call in ipairs {
        function() store:append_to_stream("a", event "X") end,
        function() store:handle("counter-1", decider, command("Count", 1)) end,
      } do
        problems[#problems + 1] = support.fails("invalid_argument", nil, call).code
      end
      error "the log is broken"
    end })
    store:handle("counter-1", decider, { command "Say", command("Count", 1) })
    assert.equal(2, #problems)
    assert.same({ ["counter-1"] = 1 }, support.versions(store))
  end)

  it("limits are whole numbers from 1 on", function()
    local path = support.write(support.path("counter.lua"), counter)
    for _, name in ipairs { "budget", "memory" } do
      for _, wrong in ipairs { 0, -1, 1.5, "many" } do
        support.fails("invalid_argument", { path = "options." .. name },
          moonfold.load_decider, path, { [name] = wrong })
      end
    end
  end)
end)

describe("an author of scripts is told", function()
  it("where the syntax is wrong", function()
    local failure = refused("return {\n  initial_state = ,\n}", "script_error", { file = "rules.lua", line = 2 })
    assert.matches("^rules%.lua:2: .* near ','", failure.message)
  end)

  it("where the script failed while it was loaded", function()
    local failure = refused("local x\nlocal y = x.y\nreturn {}", "script_error", { file = "rules.lua", line = 2 })
    assert.matches("^rules%.lua:2: ", failure.message)
  end)

  it("that a comma may be missing", function()
    local failure = refused("return {\n  initial_state = {}\n  evolve = {},\n}", "script_error",
      { file = "rules.lua", line = 3 })
    assert.matches("comma missing", failure.message, 1, true)
  end)

  it("what decide has returned that cannot be recorded: by which command, on which stream", function()
    local store <close> = moonfold.open(":memory:")
    local script = [[return { initial_state = {}, evolve = { Done = false }, decide = {
      Two = function() return { type = "Done" }, { type = "Done" } end,
      Function = function() return { type = "Done", data = { f = print } } end,
      Nameless = function() return { data = 1 } end,
      Word = function() return "Done" end } }]]
    local decider = moonfold.load_decider(support.write(support.path("rules.lua"), script))
    for type, told in pairs {
      Two = { "script_error", "two values: several events are one list" },
      Function = { "invalid_argument", "events[1].data.f: a function cannot be stored", "events[1].data.f" },
      Nameless = { "invalid_argument", "type: a string is needed", "events.type" },
      Word = { "script_error", "it returned a string" },
    } do
      local failure = support.fails(told[1], { stream = "s-1", command_type = type, path = told[3] },
        store.handle, store, "s-1", decider, command(type))
      assert.matches("decide of command " .. type .. ' on stream "s-1"', failure.message, 1, true)
      assert.matches(told[2], failure.message, 1, true)
    end
    assert.falsy(store:stream_exists("s-1"))
  end)

  it("where the names come from that everybody uses", function()
    local store <close> = moonfold.open(":memory:")
    for name, told in pairs {
      moonfold = 'local moonfold = require("moonfold")', reject = "moonfold.reject",
      command = "function(command, state, context)", context = "function(command, state, context)",
      event = "function(state, event)", state = "function(state, event)",
    } do
      local script = ("return { initial_state = {}, evolve = {}, decide = function() return %s.x end }"):format(name)
      local decider = moonfold.load_decider(support.write(support.path("rules.lua"), script))
      local failure = support.fails("script_error", nil, store.handle, store, "s-1", decider, command("Go"))
      assert.matches("there is no " .. name .. " in scripts: ", failure.message, 1, true)
      assert.matches(told, failure.message, 1, true)
    end
  end)

  it("which file has a variable that a call has changed", function()
    local store <close> = moonfold.open(":memory:")
    local script = "local n = 0\nreturn { initial_state = {}, evolve = {}, decide = { Go = function() n = n + 1 end } }"
    local decider = moonfold.load_decider(support.write(support.path("rules.lua"), script))
    local failure = support.fails("script_error", nil, store.handle, store, "s-1", decider, command("Go"))
    assert.matches('^rules.lua: the local variable "n", outside of the functions', failure.message)
  end)

  it("when it returns nothing, or no table, how a decider's script ends", function()
    for _, source in ipairs { "local x = 1", "return 5", "return 'cart'" } do
      local ok, failure = pcall(moonfold.load_decider, support.write(support.path("rules.lua"), source))
      assert.is_false(ok)
      assert.matches("rules.lua", failure.message, 1, true)
      assert.matches("initial_state", failure.message, 1, true)
      assert.matches("evolve", failure.message, 1, true)
    end
  end)

  it("when evolve is missing: which file, which name, and three lines that are right", function()
    local failure = refused("return { initial_state = 0 }", "invalid_argument",
      { path = "decider.evolve", file = "rules.lua" })
    assert.matches("^rules%.lua: decider%.evolve: ", failure.message)
    local example = failure.message:match("evolve = {.*}")
    assert.is_function(load("return {" .. example .. "}"))
  end)

  it("when initial_state is missing", function()
    refused("return { evolve = {} }", "invalid_argument", { path = "decider.initial_state", file = "rules.lua" })
  end)

  it("when a key is misspelt, which is meant", function()
    local failure = refused("return { initial_state = 0, evolve = {}, decied = {} }", "invalid_argument",
      { file = "rules.lua" })
    assert.matches('did you mean "decide"?', failure.message, 1, true)
  end)

  it("when a handler is no function", function()
    refused("return { initial_state = 0, evolve = { Put = 5 } }", "invalid_argument", { path = "decider.evolve.Put" })
  end)

  it("when upcasters lead round in a circle, with the types", function()
    local failure = refused([[
      return { initial_state = 0, evolve = {}, upcast = {
        A = function(event) event.type = "B" return event end,
        B = function(event) return { type = "C", data = event.data } end,
        C = function() return { type = "A" } end,
      } }]], "invalid_argument", { path = "decider.upcast" })
    for _, type in ipairs { "A", "B", "C" } do assert.matches("%f[%w]" .. type .. "%f[%W]", failure.message) end
  end)

  it("nothing of upcasters that need their data, that chain, or that keep the type", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load [[
      return {
        initial_state = {},
        evolve = { Third = function(list, event) list[#list + 1] = event.data.n end },
        upcast = {
          First = function(event) return { type = "Second", data = { n = event.data.n * 10 } } end,
          Second = function(event) return { type = "Third", data = { n = event.data.n + 5 } } end,
          Third = function(event) event.data.n = -event.data.n return event end,
        },
      }]]
    store:append_to_stream("a", { event("First", { n = 1 }), event("Second", { n = 2 }), event("Third", { n = 3 }) })
    assert.same({ -15, -7, -3 }, store:aggregate_stream("a", decider).state)
    local read = store:read_stream("a", { upcast = decider.upcast }).events
    assert.same({ "Third", "Third", "Third" }, support.pluck("type", read))
  end)

  it("which module is missing", function()
    local failure = refused("local x = require 'prices'\nreturn {}", "script_error", { line = 1 })
    assert.matches("prices.lua", failure.message, 1, true)
  end)

  it("the file, line, stream and event of a failure, with file names of its folder", function()
    local store <close> = moonfold.open(":memory:")
    local folder = support.folder()
    support.write(folder .. "/helper.lua", "return { fail = function(data)\n  return data.price.amount\nend }")
    local decider = moonfold.load_decider(support.write(folder .. "/cart.lua", [[
      local helper = require "helper"
      return { initial_state = 0, evolve = { Put = function(_, event)
        local amount = helper.fail(event.data)
        return amount
      end } }]]))
    store:append_to_stream("cart-1", { event("Put", { price = { amount = 1 } }), event("Put", {}) })
    local failure = support.fails("script_error",
      { stream = "cart-1", position = 2, event_type = "Put", file = "helper.lua", line = 2, where = "helper.lua:2" },
      store.aggregate_stream, store, "cart-1", decider)
    assert.matches('^evolve of event 2 %(Put%) of stream "cart%-1" failed: helper%.lua:2: ', failure.message)
    assert.matches("cart.lua:3", failure.traceback, 1, true)
    assert.is_nil(failure.traceback:find(folder, 1, true))
  end)

  it("of misuse of the library, in the script's line", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load([[return {
      initial_state = 0, evolve = {},
      decide = function(_, _, context)
        return context:random("many")
      end }]], nil, "dice.lua")
    support.fails("invalid_argument", { where = "dice.lua:4" }, store.handle, store, "a", decider, command "Roll")
  end)

  it("of its own mistakes in the program's line, when the program makes them", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load(counter)
    local failure = support.fails("unknown_command_type", nil,
      function() store:handle("counter-1", decider, command "Cuont") end)
    assert.matches("41-load_decider_spec.lua:", failure.where, 1, true)
    assert.matches('did you mean "Count"?', failure.message, 1, true)
  end)
end)

describe("a path that names no script", function()
  it("is not found, or is a folder", function()
    support.fails("not_found", nil, moonfold.load_decider, support.path("none.lua"))
    local failure = support.fails("invalid_argument", nil, moonfold.load_decider, lfs.currentdir())
    assert.matches("decider", failure.message, 1, true)
  end)

  it("is refused when it is no string, empty, or has a NUL", function()
    for _, wrong in ipairs { 1, "", "a\0b", {} } do
      support.fails("invalid_argument", { path = "path" }, moonfold.load_decider, wrong)
    end
    support.fails("invalid_argument", { path = "path" }, moonfold.load_decider)
  end)
end)

describe("a script's globals and its host", function()
  it("are two worlds", function()
    local store <close> = moonfold.open(":memory:")
    rawset(string, "secret", "host")
    local decider = support.load [[
      local moonfold = require "moonfold"
      for _, reach in ipairs {
        function() return #string.secret end, function() return io.open("/etc/passwd") end,
        function() return os.time() end, function() return load("return 1")() end,
        function() return moonfold.open(":memory:") end, function() return moonfold.load_decider("x.lua") end,
      } do
        if pcall(reach) then error "it reached the host" end
      end
      return { initial_state = 0, evolve = {}, decide = function() end }]]
    rawset(string, "secret", nil)
    assert.equal(0, store:handle("a", decider, command "X").state)
  end)

  it("share no table: what one side changes, the other does not see", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load [[
      return {
        initial_state = { list = {} },
        evolve = { Put = function(state, event) state.list[#state.list + 1] = event.data end },
        decide = function(command)
          local data = command.data
          data.changed = true
          return { type = "Put", data = data }
        end,
      }]]
    local data = { n = 1 }
    local result = store:handle("a", decider, command("Put", data))
    assert.same({ n = 1 }, data)
    result.state.list[1].n = 99
    result.events[1].data.n = 98
    assert.same({ list = { { n = 1, changed = true } } }, store:aggregate_stream("a", decider).state)
  end)
end)

describe("a program that ends", function()
  it("may use its deciders in finalizers, in vain", function()
    local folder = support.folder()
    support.write(folder .. "/counter.lua", counter)
    local program = support.write(folder .. "/main.lua", [[
      local moonfold = require "moonfold"
      local folder = ...
      local store = moonfold.open(":memory:")
      local late = {}
      -- Made before and after the deciders, so that one of them is finalized later than these.
      local function finally(name)
        setmetatable({}, { __gc = function()
          local ok, problem = pcall(store.handle, store, "counter-1", late.decider, { type = "Count", data = 1 })
          local ok_too, problem_too = pcall(store.handle, store, "counter-1", { type = "Count", data = 1 })
          print(name, ok or problem.code, ok_too or problem_too.code, tostring(late.decider) ~= nil)
        end })
      end
      finally "made first"
      late.decider = moonfold.load_decider(folder .. "/counter.lua")
      store:use(folder .. "/counter.lua")
      finally "made last"
      _G.store, _G.late = store, late
    ]])
    local ended = support.shell(("%s run %s %s"):format(support.program(), program, folder))
    assert.equal("", ended.stderr)
    assert.equal(0, ended.status)
    assert.matches("made last", ended.stdout)
    assert.matches("made first", ended.stdout)
  end)
end)

describe("a large budget", function()
  it("comes with the time that it takes", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load([[return {
      initial_state = 0, evolve = {},
      decide = function(command)
        local n = 0
        for i = 1, command.data do n = n + i % 3 end
      end }]], { budget = 1000000000 })
    assert.same({}, store:handle("a", decider, command("Count", 30000000)).events)
  end)
end)
