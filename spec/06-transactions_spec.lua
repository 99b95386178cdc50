local moonfold = require "moonfold"
local support = require "support"

local counter = {
  initial_state = 0,
  evolve = { Ticked = function(state) return state + 1 end },
  decide = {
    Tick = function() return { type = "Ticked" } end,
    Refuse = function() return moonfold.reject("not now") end,
  },
}

support.everywhere(function(open)
  describe("a transaction", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function append(stream, n)
      return store:append_to_stream(stream, support.ticks(n or 1))
    end

    it("writes to many streams at once", function()
      store:transaction(function()
        append("a")
        append("b", 2)
        append("a")
      end)
      assert.same({ a = 2, b = 2 }, support.versions(store))
      assert.same({ "a", "b", "b", "a" }, support.pluck("stream_name", store:all_events()))
    end)

    it("writes nothing when its function fails (case 29)", function()
      append("a")
      assert.has_error(function()
        store:transaction(function()
          append("a")
          append("b", 2)
          error("fake error", 0)
        end)
      end, "fake error")
      assert.same({ a = 1 }, support.versions(store))
      assert.equal(1, support.count(store))
    end)

    it("lets the next append take the positions that a failed one gave back", function()
      pcall(store.transaction, store, function() append("a", 5) error "no" end)
      local result = append("a")
      assert.equal(1, result.next_expected_stream_version)
      assert.equal(1, result.last_event_global_position)
      assert.is_true(result.created_new_stream)
    end)

    it("counts positions over its appends (case 23)", function()
      store:transaction(function()
        local first, second = append("a", 2), append("a", 2)
        assert.same({ 2, 2, true },
          { first.next_expected_stream_version, first.last_event_global_position, first.created_new_stream })
        assert.same({ 4, 4, false },
          { second.next_expected_stream_version, second.last_event_global_position, second.created_new_stream })
        assert.same({ 1, 2, 3, 4 }, support.pluck("stream_position", store:events("a")))
      end)
      assert.same({ 1, 2, 3, 4 }, support.pluck("stream_position", store:events("a")))
    end)

    it("gives its function the store itself", function()
      store:transaction(function(given)
        assert.is_true(rawequal(store, given))
      end)
    end)

    it("returns what its function returns", function()
      local results = table.pack(store:transaction(function() return 1, nil, "three", nil end))
      assert.same({ n = 4, 1, nil, "three", nil }, results)
      assert.equal(0, select("#", store:transaction(function() end)))
    end)

    it("may do nothing", function()
      store:transaction(function() end)
      assert.equal(1, append("a").last_event_global_position)
    end)

    it("is given up when its function overflows the stack or asks for too much memory", function()
      local function endless() return 1 + endless() end
      local function greedy() return ("x"):rep(1 << 40) end
      for _, fails in ipairs { endless, greedy } do
        assert.is_false((pcall(store.transaction, store, function() append("a") fails() end)))
        assert.is_false(store:stream_exists("a"))
        assert.matches("%(open%)$", tostring(store))
      end
    end)

    it("lets its function's own error out, unchanged", function()
      local mine = setmetatable({}, { __tostring = function() return "mine" end })
      for _, value in ipairs { mine, "text", 7, false } do
        local returned, raised = pcall(store.transaction, store, function() append("a") error(value, 0) end)
        assert.is_false(returned)
        assert.is_true(rawequal(value, raised))
      end
      assert.is_false(store:stream_exists("a"))
    end)
  end)

  describe("every call inside a transaction", function()
    local store
    before_each(function()
      store = open()
      store:append_to_stream("a", support.ticks(2))
    end)
    after_each(function() store:close() end)

    local function tick(stream)
      return store:append_to_stream(stream, { type = "Ticked" })
    end

    it("sees what was appended before it", function()
      store:transaction(function()
        tick("a")
        tick("b")
        assert.equal(3, store:stream_version("a"))
        assert.is_true(store:stream_exists("b"))
        assert.equal(3, #store:read_stream("a").events)
        assert.equal(3, store:aggregate_stream("a", counter).state)
        assert.same({ a = 3, b = 1 }, support.versions(store))
        assert.same({ 1, 2, 3, 4 }, support.pluck("global_position", store:all_events()))
        assert.same({ 1, 2, 3 }, support.pluck("stream_position", store:events("a")))
      end)
    end)

    it("joins it, whether it uses the argument or not", function()
      pcall(store.transaction, store, function(same)
        same:append_to_stream("a", { type = "Ticked" })
        tick("a")
        store:handle("a", counter, { type = "Tick" })
        same:handle("b", counter, { type = "Tick" })
        error "no"
      end)
      assert.same({ a = 2 }, support.versions(store))
    end)

    it("joins it from a coroutine, too", function()
      pcall(store.transaction, store, function()
        coroutine.wrap(function() tick("a") end)()
        error "no"
      end)
      assert.equal(2, store:stream_version("a"))
    end)

    it("may handle commands, which see each other's events", function()
      local states = {}
      store:transaction(function()
        for i = 1, 3 do states[i] = store:handle("b", counter, { type = "Tick" }).state end
      end)
      assert.same({ 1, 2, 3 }, states)
      assert.equal(3, store:stream_version("b"))
    end)

    it("checks its expectation against what was appended inside", function()
      store:transaction(function()
        tick("a")
        store:append_to_stream("a", { type = "Ticked" }, { expected_stream_version = 3 })
        support.fails("version_conflict", { expected = 3, current = 4 },
          store.append_to_stream, store, "a", { type = "Ticked" }, { expected_stream_version = 3 })
      end)
      assert.equal(4, store:stream_version("a"))
    end)
  end)

  describe("a call that fails inside a transaction", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    --- Appends around a call that fails and is caught: only what stands around it is written.
    local function leaves_no_trace(code, call)
      store:transaction(function()
        store:append_to_stream("a", { type = "Before" })
        support.fails(code, nil, call)
        assert.same({ a = 1 }, support.versions(store))
        assert.equal(1, support.count(store))
        store:append_to_stream("a", { type = "After" })
      end)
      assert.same({ "Before", "After" }, support.pluck("type", store:all_events()))
      assert.same({ 1, 2 }, support.pluck("global_position", store:all_events()))
    end

    it("for a bad value leaves no trace, and the transaction goes on", function()
      leaves_no_trace("invalid_argument", function()
        store:append_to_stream("b", { { type = "Good" }, { type = "Bad", data = print } })
      end)
    end)

    it("for an expectation leaves no trace, and the transaction goes on", function()
      leaves_no_trace("version_conflict", function()
        store:append_to_stream("a", { { type = "X" }, { type = "Y" } }, { expected_stream_version = 7 })
      end)
    end)

    it("for an id leaves no trace, and the transaction goes on", function()
      leaves_no_trace("id_conflict", function()
        store:append_to_stream("b", { { type = "X", message_id = "1" }, { type = "X", message_id = "1" } })
      end)
    end)

    it("for a refusal leaves no trace, and the transaction goes on", function()
      leaves_no_trace("rejected", function()
        store:handle("b", counter, { { type = "Tick" }, { type = "Refuse" } })
      end)
    end)

    it("for an error in a decider leaves no trace, and the transaction goes on", function()
      leaves_no_trace("script_error", function()
        store:handle("b", {
          initial_state = {},
          evolve = { Ticked = function() error "broken" end },
          decide = function() return { type = "Ticked" } end,
        }, { type = "Tick" })
      end)
    end)

    it("takes the transaction with it when nobody catches its error", function()
      support.refuses(store, "version_conflict", { stream = "a" }, store.transaction, store, function()
        store:append_to_stream("a", { type = "Before" })
        store:append_to_stream("a", { type = "Lost" }, { expected_stream_version = 7 })
      end)
      assert.is_false(store:stream_exists("a"))
    end)

    it("may be a refusal that attempt returned", function()
      store:transaction(function()
        local result, rejection = store:attempt("a", counter, { type = "Refuse" })
        assert.is_nil(result)
        assert.equal("not now", rejection.reason)
        store:append_to_stream("a", { type = "Ticked" })
      end)
      assert.equal(1, store:stream_version("a"))
    end)
  end)

  describe("inside a transaction", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    --- The call is refused, and what the transaction appends around it is written all the same.
    local function refused(call)
      store:transaction(function()
        store:append_to_stream("a", { type = "Before" })
        support.fails("invalid_argument", nil, call)
        store:append_to_stream("a", { type = "After" })
      end)
      assert.same({ "Before", "After" }, support.pluck("type", store:all_events()))
    end

    it("another transaction is refused", function()
      refused(function() store:transaction(function() end) end)
    end)

    it("closing is refused", function()
      refused(function() store:close() end)
    end)

    it("waiting is refused", function()
      refused(function() store:wait(1, 0) end)
    end)

    it("a backup is refused", function()
      local folder = support.folder()
      refused(function() store:backup(folder .. "/copy.fold") end)
      assert.equal("", support.files(folder))
    end)

    it("a yield is refused, and nothing is written", function()
      local thread = coroutine.create(function()
        store:transaction(function()
          store:append_to_stream("a", { type = "A" })
          coroutine.yield()
        end)
      end)
      local resumed, failure = coroutine.resume(thread)
      assert.is_false(resumed)
      assert.matches("yield", tostring(failure), 1, true)
      assert.is_false(store:stream_exists("a"))
      store:append_to_stream("a", { type = "A" })
    end)

    it("an iterator ends when the transaction ends", function()
      store:append_to_stream("a", support.ticks(5))
      local next_event, state, first
      store:transaction(function()
        next_event, state, first = store:events("a")
        first = next_event(state, first)
        assert.equal(1, first.stream_position)
      end)
      assert.is_nil(next_event(state, first))
      assert.matches("%(open%)$", tostring(store))
    end)

    it("an iterator made before goes on", function()
      store:append_to_stream("a", support.ticks(3))
      local seen = {}
      for event in store:events("a") do
        seen[#seen + 1] = event.data
        store:transaction(function() store:append_to_stream("b", { type = "B", data = event.data }) end)
      end
      assert.same({ 1, 2, 3 }, seen)
      assert.equal(3, store:stream_version("b"))
    end)
  end)
end)

describe("a transaction on one store", function()
  it("says nothing about another store", function()
    local one <close> = moonfold.open(":memory:")
    local other <close> = moonfold.open(":memory:")
    pcall(one.transaction, one, function()
      one:append_to_stream("a", { type = "A" })
      other:append_to_stream("a", { type = "A" })
      other:transaction(function() other:append_to_stream("b", { type = "B" }) end)
      error "no"
    end)
    assert.same({}, support.versions(one))
    assert.same({ a = 1, b = 1 }, support.versions(other))
  end)

  it("is invisible to another process until it is done", function()
    local store <close>, path = support.open()
    local peer <close> = support.peer()
    peer:run("store = moonfold.open(...)", path)
    store:transaction(function()
      store:append_to_stream("a", { type = "A" })
      assert.equal(0, peer:run("return store:stream_version('a')"))
    end)
    assert.equal(1, peer:run("return store:stream_version('a')"))
  end)

  it("is given up when the program ends inside it", function()
    local path = support.path()
    local run = support.lua([[
      local store = require("moonfold").open(arg[1])
      store:append_to_stream("a", { type = "Before" })
      store:transaction(function()
        store:append_to_stream("a", { type = "Lost" })
        os.exit(7, true)
      end)
    ]], path)
    assert.same({ stdout = "", stderr = "", status = 7 }, run)
    local store <close> = moonfold.open(path)
    assert.same({ "Before" }, support.pluck("type", store:all_events()))
  end)

  it("makes another handle on the same file busy, instead of waiting for itself", function()
    local run = support.lua([[
      local moonfold = require "moonfold"
      local one <close> = moonfold.open(arg[1])
      local other <close> = moonfold.open(arg[1])
      one:append_to_stream("a", { type = "A" })
      one:transaction(function()
        one:append_to_stream("a", { type = "A" })
        local _, failure = pcall(other.append_to_stream, other, "b", { type = "B" })
        print(failure.code, other:stream_version("a"))
      end)
      print(other:stream_version("a"), other:stream_exists("b"))
    ]], support.path())
    assert.same({ stdout = "busy\t1\n2\tfalse\n", stderr = "", status = 0 }, run)
  end)
end)
