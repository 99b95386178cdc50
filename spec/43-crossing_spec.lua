--- What crosses the border between a program and a sandbox: values, events, errors; and that a decider does the same
--- on both sides of it.

local moonfold = require "moonfold"
local support = require "support"

local command, event = moonfold.command, moonfold.event

--- Hands back what the command says, in an event and in the state.
local echo = [[
  local moonfold = require "moonfold"
  return {
    initial_state = false,
    evolve = { Said = function(_, event) return event.data end },
    decide = {
      Say = function(command) return { type = "Said", data = command.data, metadata = command.metadata } end,
      Refuse = function(command) moonfold.reject("no", "I will not", command.data) end,
      Raise = function(command) error(command.data) end,
      RaiseObject = function() error(setmetatable({}, { __tostring = function() return "an object" end })) end,
      RaiseCode = function() error { code = "rejected", message = "not really" } end,
      Many = function(command)
        local events = {}
        for i = 1, command.data do events[i] = { type = "Said", data = i } end
        return events
      end,
      Keep = function() return { type = "Said", data = { f = print } } end,
    },
  }
]]

local values = {
  0, -1, 1.5, 2.0, -0.0, math.maxinteger, math.mininteger, 9007199254740993, 1e300, true, false, "", "text", "\0\xff",
  "\u{1F319}", {}, { 1, 2, 3 }, { a = 1 }, { [3] = "slot", [-7] = "hidden" }, { 1, nil, 3 }, { { { {} } } },
  ("x"):rep(100000), moonfold.null, moonfold.array(), { moonfold.null, moonfold.array { moonfold.array() } },
}

support.everywhere(function(open)
  local store, decider
  before_each(function()
    store = open()
    decider = support.load(echo)
  end)
  after_each(function() store:close() end)

  describe("a value", function()
    it("comes back as it went in: in events, states and what is folded later", function()
      for i, value in ipairs(values) do
        local stream = "echo-" .. i
        local result = store:handle(stream, decider, command("Say", value, { value }))
        for _, back in ipairs {
          result.events[1].data, result.events[1].metadata[1], result.state,
          store:aggregate_stream(stream, decider).state, store:read_stream(stream).events[1].data,
        } do
          assert.equal(moonfold.hash(value), moonfold.hash(back))
          assert.equal(math.type(value), math.type(back))
        end
      end
    end)

    it("may be nested as deep as what can be stored, and no deeper", function()
      local function nested(depth)
        local value = {}
        for _ = 2, depth do value = { value } end
        return value
      end
      assert.equal(moonfold.hash(nested(128)),
        moonfold.hash(store:handle("a", decider, command("Say", nested(128))).state))
      support.refuses(store, "invalid_argument", nil, store.handle, store, "a", decider, command("Say", nested(129)))
    end)

    it("that cannot be stored is refused where it comes from", function()
      support.refuses(store, "invalid_argument", { path = "command.data.f" },
        store.handle, store, "a", decider, command("Say", { f = print }))
      support.refuses(store, "invalid_argument", { path = "events[1].data.f" },
        store.handle, store, "a", decider, command "Keep")
    end)

    it("may be large", function()
      local list = {}
      for i = 1, 20000 do list[i] = { n = i, text = ("x"):rep(i % 50) } end
      local result = store:handle("a", decider, command("Say", list))
      assert.equal(moonfold.hash(list), moonfold.hash(result.state))
    end)
  end)

  describe("an event of a result", function()
    it("is as it is read, with all that the store has added", function()
      store:append_to_stream("other", event "First")
      local made = store:handle("a", decider, { type = "Say", data = { 1 }, command_id = "c-1" }).events[1]
      local read = store:read_stream("a").events[1]
      local function fields_of(one)
        local fields = {}
        for name, value in pairs(one) do fields[name] = moonfold.hash(value) end
        return fields
      end
      assert.same(fields_of(read), fields_of(made))
      assert.equal(2, made.global_position)
      assert.equal("c-1", made.metadata.causation_id)
      store:append_to_stream("b", made)
    end)

    it("is one of many, in order", function()
      local result = store:handle("a", decider, command("Many", 3000))
      assert.equal(3000, #result.events)
      for i, one in ipairs(result.events) do
        assert.equal(i, one.data)
        assert.equal(i, one.stream_position)
      end
      assert.equal(3000, result.state)
    end)
  end)

  describe("an error", function()
    it("that is a refusal brings reason, message, detail and stream", function()
      for _, detail in ipairs { 5, "text", { list = { 1, 2 } }, false } do
        local _, rejection = store:attempt("a", decider, command("Refuse", detail))
        assert.equal("rejected", rejection.code)
        assert.equal("no", rejection.reason)
        assert.equal("I will not", rejection.message)
        assert.same(detail, rejection.detail)
        assert.equal("a", rejection.stream)
      end
    end)

    it("keeps what was raised as its cause, where that can cross", function()
      for _, raised in ipairs { "text", { a = 1 }, 7 } do
        local failure = support.fails("script_error", { stream = "a", command_type = "Raise" },
          store.handle, store, "a", decider, command("Raise", raised))
        if type(raised) == "string" then
          assert.matches(raised, failure.cause, 1, true)
        else
          assert.same(raised, failure.cause)
        end
      end
      local failure = support.fails("script_error", nil, store.handle, store, "a", decider, command "RaiseObject")
      assert.is_not_nil(failure.message)
    end)

    it("cannot be forged by a script: only moonfold.reject refuses", function()
      support.fails("script_error", nil, store.attempt, store, "a", decider, command "RaiseCode")
    end)

    it("is what the library has made of it: a script that changes its code or message deceives nobody", function()
      local forger = support.load [[
        local moonfold = require "moonfold"
        return { initial_state = 0, evolve = { Done = false }, decide = function(command)
          local _, problem = pcall(moonfold.reject, "no")
          problem.code, problem.message = command.data.code, command.data.message
          error(problem)
        end }]]
      for _, code in ipairs { "ok", "done", "disk_full", "no_memory", "budget_exceeded", 7, "nonsense", false } do
        for _, options in ipairs { { state = false }, {} } do
          local failure = support.refuses(store, "script_error", { stream = "a" },
            store.handle, store, "a", forger, command("Do", { code = code }), options)
          assert.is_string(failure.message)
        end
      end
      support.fails("rejected", { reason = "no" },
        store.handle, store, "a", forger, command("Do", { code = "rejected", message = {} }))
    end)

    it("is of the library's kind, reads well, and can be told by its code", function()
      local ok, failure = pcall(store.handle, store, "a", decider, command("Raise", "why"))
      assert.is_false(ok)
      assert.equal(getmetatable(select(2, pcall(moonfold.open, 5))), getmetatable(failure))
      assert.matches("^decider%.lua:%d+: script_error: decide of command Raise on stream \"a\" failed: ",
        tostring(failure))
    end)
  end)
end)

-- ## The same on both sides

--- A decider with a little of everything.
local script = [[
local moonfold = require "moonfold"
local other = {
  initial_state = 0,
  evolve = { Added = function(n) return n + 1 end, Named = function(n) return n + 100 end },
}
return {
  name = "both", category = "both",
  initial_state = function() return { sum = 0, names = {}, rolls = moonfold.array() } end,
  evolve = {
    Added = function(state, event)
      if event.data == 13 then error "thirteen" end
      state.sum = state.sum + event.data
    end,
    Named = function(state, event) state.names[#state.names + 1] = event.data.name end,
    Rolled = function(state, event) table.insert(state.rolls, event.data) end,
    Ignored = false,
  },
  upcast = {
    OldAdded = function(event) return { type = "Added", data = event.data.n, metadata = event.metadata } end,
  },
  invariant = function(state) return state.sum < 500, "too much" end,
  commands = { Name = { name = "string" } },
  decide = {
    Add = function(command, state)
      if state.sum > 300 then moonfold.reject("enough", "it is enough", { sum = state.sum }) end
      return moonfold.event("Added", command.data)
    end,
    AddTwice = function(command)
      return { moonfold.event("Added", command.data), moonfold.event("Ignored"), moonfold.event("OldAdded", { n = 1 }) }
    end,
    Name = function(command) return moonfold.event("Named", { name = command.data.name }, { by = "both" }) end,
    Roll = function(_, _, context) return moonfold.event("Rolled", context:random(1, 1000000)) end,
    Look = function(command, _, context)
      local seen = context:aggregate_stream(command.data, other)
      return moonfold.event("Added", seen.state + seen.current_stream_version)
    end,
    Typo = function() return moonfold.event("Addde") end,
    Nothing = function() end,
  },
}
]]

--- What a call came to, as something that can be compared: ids and places differ, the rest must not.
local function outcome(ok, result, rejection)
  local failure = not ok and result or rejection
  if not failure then
    local events = {}
    for i, one in ipairs(result.events or {}) do
      events[i] = { one.type, one.data, one.metadata, one.stream_position, one.global_position, one.recorded_at }
    end
    return moonfold.hash {
      events, result.state, result.next_expected_stream_version or result.current_stream_version,
      result.created_new_stream or false, result.last_event_global_position or 0,
    }
  end
  local told = {}
  for _, name in ipairs { "code", "stream", "position", "event_type", "command_type", "reason", "path", "expected",
    "current", "id", "type" } do
    told[name] = failure[name]
  end
  told.message = failure.message:gsub("^(.-failed: )[^:]+:%d+: ", "%1")
  if failure.detail ~= nil then told.detail = failure.detail end
  return told
end

describe("a decider as a table and loaded", function()
  it("answers the same to whatever is asked of it", function()
    local seed = os.time()
    math.randomseed(seed)
    local time = 0
    local function clock() time = time + 1 return time end
    local stores, times = {}, {}
    local deciders = { assert(load(script, "=decider.lua"))(), support.load(script) }
    for i = 1, 2 do stores[i] = moonfold.open(":memory:", { clock = function() return times[i] end }) end

    local function some_command()
      local kinds = { "Add", "AddTwice", "Name", "Roll", "Look", "Typo", "Nothing", "Unknown", "Add", "Add" }
      local made = { type = kinds[math.random(#kinds)], data = math.random(20) }
      if made.type == "Name" then made.data = { name = math.random(5) > 1 and "Ada" or 5 } end
      if made.type == "Look" then made.data = "both-" .. math.random(3) end
      if math.random(4) == 1 then made.command_id = "id-" .. math.random(5) end
      if math.random(4) == 1 then made.metadata = { correlation_id = "k" .. math.random(3) } end
      return made
    end

    local function some_call()
      local stream = "both-" .. math.random(3)
      local options = {}
      if math.random(5) == 1 then options.expected_stream_version = math.random(0, 8) end
      local kind = math.random(8)
      if kind == 1 then
        if math.random(2) == 1 then options = { to = math.random(0, 6) } end
        return function(store, decider) return store:aggregate_stream(stream, decider, options) end
      elseif kind == 2 then
        local old = event("OldAdded", { n = math.random(3) })
        return function(store) store:append_to_stream(stream, old) return { events = {} } end
      end
      if math.random(4) == 1 then options.state = false end
      if math.random(4) == 1 then options.check_invariant = true end
      local commands = some_command()
      if math.random(3) == 1 then commands = { commands, some_command() } end
      local method = ({ "handle", "attempt", "decide" })[math.random(3)]
      return function(store, decider) return store[method](store, stream, decider, commands, options) end
    end

    for step = 1, 1500 do
      local now = clock()
      local call, outcomes = some_call(), {}
      local in_transaction = math.random(6) == 1
      for i = 1, 2 do
        times[i] = now
        if in_transaction then
          stores[i]:transaction(function() outcomes[i] = outcome(pcall(call, stores[i], deciders[i])) end)
        else
          outcomes[i] = outcome(pcall(call, stores[i], deciders[i]))
        end
      end
      assert.same(outcomes[1], outcomes[2], ("seed %d, step %d"):format(seed, step))
    end
    for i = 1, 2 do stores[i]:close() end
  end)
end)

describe("a program's store", function()
  it("is not harmed by a garbage collector that runs at every step", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load(script)
    collectgarbage("generational")
    for i = 1, 300 do
      collectgarbage("step")
      store:handle("both-1", decider, { type = "Roll", command_id = "c" .. i })
    end
    collectgarbage("incremental")
    assert.equal(300, #store:aggregate_stream("both-1", decider).state.rolls)
  end)

  it("can be used from a coroutine", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load(script, { log = print })
    local result = coroutine.wrap(function() return store:handle("both-1", decider, command("Add", 3)) end)()
    assert.equal(3, result.state.sum)
  end)

  it("answers what was recorded, whatever the size of the answer, before it is committed", function()
    local store <close> = moonfold.open(":memory:")
    local decider = support.load [[
      return { initial_state = 0, evolve = { Done = function(n) return n + 1 end },
        decide = function() return { type = "Done" } end,
        upcast = {} }]]
    -- A state that cannot cross fails the call, and nothing of it is recorded.
    local broken = support.load [[
      return { initial_state = {}, evolve = { Done = function(state) state.f = print end },
        decide = function() return { type = "Done" } end }]]
    support.refuses(store, "invalid_argument", { path = "state.f" },
      store.handle, store, "a", broken, command "Do")
    assert.equal(1, store:handle("a", decider, command "Do").state)
  end)
end)
