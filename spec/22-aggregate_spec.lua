local moonfold = require "moonfold"
local support = require "support"

--- The cart of the cases: items cost qty times price, a discount takes some percent off.
local script = [[
return {
  initial_state = { items = {}, total = 0 },
  evolve = {
    ProductItemAdded = function(state, event)
      local item = event.data
      local seen = false
      for _, product in ipairs(state.items) do seen = seen or product == item.product end
      if not seen then table.insert(state.items, item.product) end
      state.total = state.total + item.qty * item.price
    end,
    DiscountApplied = function(state, event)
      state.total = math.max(state.total * (1 - event.data.percent / 100), 0)
    end,
  },
}
]]

--- The same as a table, for what looks into it.
local plain = assert(load(script, "=decider.lua"))()

local function added(qty, price)
  return moonfold.event("ProductItemAdded", { product = "shoes", qty = qty, price = price })
end

local function discount(percent)
  return moonfold.event("DiscountApplied", { percent = percent })
end

--- The sum of all events' data, whatever their types.
local sum = {
  initial_state = 0,
  evolve = function(state, event) return state + event.data end,
}

--- An aggregate whose only handler, for "Ticked", is this function.
local function on_tick(evolve, initial_state)
  return { initial_state = initial_state, evolve = { Ticked = evolve } }
end

support.both(script, function(cart)
  support.everywhere(function(open)
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function aggregate(rules, options)
      return store:aggregate_stream("a", rules, options)
    end

    describe("a cart with two additions and a discount", function()
      before_each(function()
        store:append_to_stream("a", added(10, 3))
        store:append_to_stream("a", added(10, 3))
        store:append_to_stream("a", discount(10))
      end)

      local function travels(cart_of_the_day)
        for version, total in ipairs { 30, 60, 54 } do
          local result = aggregate(cart_of_the_day, { to = version })
          assert.equal(version, result.current_stream_version)
          assert.equal(total, result.state.total)
          assert.same({ "shoes" }, result.state.items)
          assert.is_true(result.stream_exists)
        end
      end

      it("travels in time to versions 1, 2 and 3 (cases 1, 11, 12 and 13)", function()
        travels(cart)
      end)

      it("travels in the same way when evolve uses what the store has recorded (case 2)", function()
        travels {
          initial_state = plain.initial_state,
          evolve = function(state, event)
            assert(event.stream_name == "a" and event.recorded_at > 0 and #event.message_id > 0)
            state.count = (state.count or 0) + 1
            assert(event.stream_position == state.count and event.global_position == state.count)
            return plain.evolve[event.type](state, event)
          end,
        }
      end)

      it("has nothing in it at version 0", function()
        local result = aggregate(cart, { to = 0 })
        assert.same({ items = {}, total = 0 }, result.state)
        assert.equal(0, result.current_stream_version)
      end)

      it("is what it is now without a version, and beyond the last", function()
        for _, options in ipairs { {}, { to = 3 }, { to = 100 }, { to = math.maxinteger } } do
          local result = aggregate(cart, options)
          assert.equal(54, result.state.total)
          assert.equal(3, result.current_stream_version)
        end
      end)
    end)

    describe("a cart", function()
      it("has one product after one was added (case 8)", function()
        store:append_to_stream("a", added(1, 3))
        assert.equal(1, #aggregate(cart).state.items)
      end)

      it("costs 30 with 10 units at 3 (case 9)", function()
        store:append_to_stream("a", added(10, 3))
        assert.equal(30, aggregate(cart).state.total)
      end)

      it("costs 27 with 10 units at 3 and 10 % off (case 10)", function()
        store:append_to_stream("a", { added(10, 3), discount(10) })
        assert.equal(27, aggregate(cart).state.total)
      end)

      it("is empty when its stream does not exist", function()
        assert.same({ state = { items = {}, total = 0 }, current_stream_version = 0, stream_exists = false },
          aggregate(cart))
      end)
    end)

    describe("the initial state", function()
      before_each(function() store:append_to_stream("a", support.ticks(3)) end)

      it("is copied for each fold when it is a table", function()
        local initial = { list = {}, nested = { count = 0 } }
        local mutating = on_tick(function(state)
          table.insert(state.list, 1)
          state.nested.count = state.nested.count + 1
        end, initial)
        for _ = 1, 2 do
          assert.same({ list = { 1, 1, 1 }, nested = { count = 3 } }, aggregate(mutating).state)
        end
        assert.same({ list = {}, nested = { count = 0 } }, initial)
      end)

      it("is not handed out itself when there is nothing to fold", function()
        local initial = { nested = {} }
        local state = store:aggregate_stream("missing", on_tick(function() end, initial)).state
        assert.same(initial, state)
        assert.is_false(rawequal(initial, state))
        assert.is_false(rawequal(initial.nested, state.nested))
      end)

      it("may be a function, called once for each fold", function()
        local calls = 0
        local counting = on_tick(function(state) state.count = state.count + 1 end, function()
          calls = calls + 1
          return { count = 0 }
        end)
        for i = 1, 3 do
          assert.same({ count = 3 }, aggregate(counting).state)
          assert.equal(i, calls)
        end
      end)

      it("may be any value but nil", function()
        local values = { 0, -1, 0.5, "", "text", true, false, moonfold.null, {}, { 1, 2 }, { a = { b = 1 } } }
        for _, value in ipairs(values) do
          assert.same(value, aggregate(on_tick(function() end, value)).state)
          assert.same(value, aggregate(on_tick(function() end, function() return value end)).state)
        end
      end)

      it("that a function leaves nil is a mistake of the script", function()
        local nothing = on_tick(function() end, function() end)
        local failure = support.refuses(store, "script_error", { stream = "a" }, aggregate, nothing)
        assert.matches("initial_state", failure.message, 1, true)
      end)
    end)

    describe("evolve", function()
      before_each(function() store:append_to_stream("a", support.ticks(4)) end)

      it("returns the next state", function()
        assert.equal(10, aggregate(sum).state)
      end)

      it("keeps the state by returning nothing", function()
        assert.equal(7, aggregate(on_tick(function() end, 7)).state)
        assert.equal(7, aggregate(on_tick(function() return nil end, 7)).state)
      end)

      it("may change the state in place", function()
        local state = aggregate(on_tick(function(state, event) state[event.data] = true end, {})).state
        assert.same({ true, true, true, true }, state)
      end)

      it("may return nil for one event and a state for the next", function()
        local every_other = on_tick(function(state, event)
          if event.data % 2 == 0 then return state + event.data end
        end, 0)
        assert.equal(6, aggregate(every_other).state)
      end)

      it("may return false, which is a state like any other", function()
        assert.is_false(aggregate(on_tick(function() return false end, true)).state)
        assert.is_true(aggregate(on_tick(function(state) return not state end, true)).state)
      end)

      it("may be one function that receives events of every type", function()
        store:append_to_stream("a", { type = "Other", data = 5 })
        local types = aggregate({
          initial_state = {},
          evolve = function(state, event) state[#state + 1] = event.type end,
        }).state
        assert.same({ "Ticked", "Ticked", "Ticked", "Ticked", "Other" }, types)
      end)

      it("may be a table in which the events of a type change nothing", function()
        store:append_to_stream("a", { type = "Seen" })
        local aggregated = aggregate { initial_state = 0, evolve = { Ticked = sum.evolve, Seen = false } }
        assert.equal(10, aggregated.state)
        assert.equal(5, aggregated.current_stream_version)
      end)

      it("sees each event once, in order, whatever the number of them", function()
        store:append_to_stream("a", support.ticks(6000, 5))
        local state = aggregate(on_tick(function(last, event)
          assert(event.data == last + 1 and event.stream_position == event.data)
          return event.data
        end, 0)).state
        assert.equal(6004, state)
      end)

      it("may keep the event and its parts", function()
        store:append_to_stream("a", { { type = "Kept", data = { n = 1 } }, { type = "Kept", data = { n = 2 } } })
        local state = aggregate({
          initial_state = {},
          evolve = { Kept = function(state, event) state[#state + 1] = { event, event.data } end },
        }).state
        assert.same({ n = 1 }, state[1][1].data)
        assert.same({ n = 1 }, state[1][2])
        assert.same({ 5, 6 }, { state[1][1].stream_position, state[2][1].stream_position })
        assert.same({ n = 2 }, state[2][1].data)
      end)
    end)

    describe("events of a type that the table evolve lacks", function()
      it("leave the state as it is, but the version counts them", function()
        store:append_to_stream("a", { { type = "Old" }, { type = "Ticked", data = 1 }, { type = "Older", data = {} } })
        local result = aggregate(on_tick(function(state) return state + 1 end, 0))
        assert.equal(1, result.state)
        assert.equal(3, result.current_stream_version)
      end)

      it("are not even decoded", function()
        local many_tables = {}
        for i = 1, 20000 do many_tables[i] = {} end
        store:append_to_stream("a", { { type = "Huge", data = many_tables }, { type = "Ticked" } })
        local nothing = on_tick(function() end, 0)
        aggregate(nothing)
        collectgarbage()
        collectgarbage("stop")
        local before = collectgarbage("count")
        aggregate(nothing)
        local grown = collectgarbage("count") - before
        collectgarbage("restart")
        assert.is_true(grown < 300, ("%.0f KiB were allocated for an event that nobody wanted"):format(grown))
      end)
    end)

    describe("the options of aggregate_stream", function()
      before_each(function()
        for i = 1, 5 do
          store:append_to_stream("a", { { type = "Ticked", data = i }, { type = "Tocked", data = 100 * i } })
        end
      end)

      it("fold a part of the stream", function()
        assert.equal(1 + 100 + 2, aggregate(sum, { to = 3 }).state)
        assert.equal(500, aggregate(sum, { from = 10 }).state)
        assert.equal(200 + 3, aggregate(sum, { from = 4, to = 5 }).state)
        assert.equal(200 + 3, aggregate(sum, { from = 4, max_count = 2 }).state)
        assert.equal(0, aggregate(sum, { max_count = 0 }).state)
        assert.equal(0, aggregate(sum, { from = 11 }).state)
      end)

      it("tell the version that the state stands at", function()
        assert.equal(10, aggregate(sum).current_stream_version)
        assert.equal(2, aggregate(sum, { to = 2 }).current_stream_version)
        assert.equal(10, aggregate(sum, { to = 11 }).current_stream_version)
        assert.equal(3, aggregate(sum, { max_count = 3 }).current_stream_version)
        assert.equal(5, aggregate(sum, { from = 4, max_count = 2 }).current_stream_version)
        assert.equal(10, aggregate(sum, { from = 4 }).current_stream_version)
      end)

      it("tell that the stream exists even where nothing of it was folded", function()
        assert.is_true(aggregate(sum, { to = 0 }).stream_exists)
        assert.is_true(aggregate(sum, { max_count = 0 }).stream_exists)
      end)

      it("leave out the types that were not asked for", function()
        assert.equal(15, aggregate(sum, { types = { "Ticked" } }).state)
        assert.equal(1500, aggregate(sum, { types = { "Tocked", "Lost" } }).state)
        assert.equal(0, aggregate(sum, { types = {} }).state)
      end)

      it("refuse to fold backwards", function()
        local failure = support.refuses(store, "invalid_argument", { path = "options.backwards" },
          aggregate, sum, { backwards = true })
        assert.matches("backwards", failure.message, 1, true)
        assert.equal(1515, aggregate(sum, { backwards = false }).state)
      end)

      it("compare the expectation with the stream's real version (cases 14 to 18)", function()
        assert.equal(2, aggregate(sum, { to = 2, expected_stream_version = 10 }).current_stream_version)
        assert.equal(2, aggregate(sum, { to = 2, expected_stream_version = "STREAM_EXISTS" }).current_stream_version)
        support.refuses(store, "version_conflict", { stream = "a", expected = 2, current = 10 },
          aggregate, sum, { to = 2, expected_stream_version = 2 })
        support.refuses(store, "version_conflict", { stream = "a", expected = "STREAM_DOES_NOT_EXIST", current = 10 },
          aggregate, sum, { to = 0, expected_stream_version = "STREAM_DOES_NOT_EXIST" })
      end)

      it("may be given with a decider, of which only the folding half is used", function()
        local decider = {
          name = "sum", category = "a", initial_state = sum.initial_state, evolve = sum.evolve,
          decide = function() error "nobody asked" end,
        }
        assert.equal(1515, aggregate(decider).state)
      end)
    end)

    describe("a script that fails in a fold", function()
      before_each(function() store:append_to_stream("a", support.ticks(5)) end)

      local function refused(evolve, initial_state)
        return support.refuses(store, "script_error", { stream = "a", position = 3, event_type = "Ticked" },
          aggregate, on_tick(evolve, initial_state or 0))
      end

      it("is told with its stream, position, event type and place in the script", function()
        local function stumble(state, event)
          if event.data == 3 then error "the third is too much" end
          return state
        end
        local line = debug.getinfo(stumble, "S").linedefined + 1
        local failure = refused(stumble)
        assert.matches("the third is too much", failure.message, 1, true)
        assert.matches("22-aggregate_spec.lua:" .. line, failure.message, 1, true)
        assert.matches("22-aggregate_spec.lua:" .. line, failure.traceback, 1, true)
        assert.matches("^.-22%-aggregate_spec%.lua:%d+: script_error: ", tostring(failure))
      end)

      it("may fail with Lua's own errors", function()
        local failure = refused(function(_, event)
          return event.data == 3 and event.metadata.nothing.there
        end)
        assert.matches("metadata", failure.message, 1, true)
      end)

      it("may fail with an error that is no text", function()
        for _, value in ipairs { { "table" }, 7, true, print } do
          refused(function(_, event) if event.data == 3 then error(value) end end)
        end
        refused(function(_, event) if event.data == 3 then error() end end)
        local failure = refused(function(_, event)
          if event.data == 3 then error(setmetatable({}, { __tostring = function() return "reads well" end })) end
        end)
        assert.matches("reads well", failure.message, 1, true)
      end)

      it("has not refused: there is nothing to refuse in what has happened", function()
        refused(function(_, event) if event.data == 3 then moonfold.reject("too late") end end)
      end)

      it("may fail before the first event", function()
        local failure = support.refuses(store, "script_error", { stream = "a" },
          aggregate, on_tick(function() end, function() error "no beginning" end))
        assert.matches("no beginning", failure.message, 1, true)
      end)

      it("by recursion without an end is told, too", function()
        local function endless(state) return 1 + endless(state) end
        refused(function(state, event) return event.data == 3 and endless(state) end)
      end)

      it("does not hinder the next fold", function()
        for _ = 1, 50 do
          pcall(aggregate, on_tick(function() error "again" end, {}))
        end
        assert.equal(15, aggregate(sum).state)
      end)
    end)
  end)

  describe("folding", function()
    it("works in a coroutine", function()
      local store <close> = moonfold.open(":memory:")
      store:append_to_stream("a", support.ticks(3))
      assert.equal(6, coroutine.wrap(function() return store:aggregate_stream("a", sum).state end)())
    end)

    it("works on a read-only store, and creates nothing there", function()
      local store, path = support.open()
      store:append_to_stream("a", support.ticks(3))
      store:close()
      local reader <close> = moonfold.open(path, { read_only = true })
      assert.equal(6, reader:aggregate_stream("a", sum).state)
      assert.equal(0, reader:aggregate_stream("b", sum).state)
      assert.same({ a = 3 }, support.versions(reader))
    end)

    it("sees what was appended since the last fold, by whomever", function()
      local store <close>, path = support.open()
      local other <close> = moonfold.open(path)
      local peer <close> = support.peer()
      store:append_to_stream("a", support.ticks(3))
      assert.equal(6, store:aggregate_stream("a", sum).state)
      other:append_to_stream("a", support.ticks(1, 10))
      assert.equal(16, store:aggregate_stream("a", sum).state)
      peer:run("local s <close> = moonfold.open(...) s:append_to_stream('a', support.ticks(1, 100))", path)
      assert.equal(116, store:aggregate_stream("a", sum).state)
    end)

    it("hands out a state that the caller may change without changing the next one", function()
      local store <close> = moonfold.open(":memory:")
      store:append_to_stream("a", added(10, 3))
      local state = store:aggregate_stream("a", cart).state
      state.total, state.items[1] = 0, "changed"
      assert.same({ items = { "shoes" }, total = 30 }, store:aggregate_stream("a", cart).state)
    end)
  end)

  describe("a fold that goes on from a state of its caller", function()
    local store
    before_each(function()
      store = moonfold.open(":memory:")
      store:append_to_stream("a", { added(10, 3), added(1, 5), discount(10) })
    end)
    after_each(function() store:close() end)

    local function fold(options) return store:aggregate_stream("a", cart, options).state end

    it("comes to what a fold from the beginning comes to, wherever it was interrupted", function()
      for stop = 0, 3 do
        assert.same(fold(), fold { from = stop + 1, initial_state = fold { to = stop } })
      end
    end)

    it("leaves that state as it is, and shares nothing with it", function()
      local before = fold { to = 1 }
      local after = fold { from = 2, to = 2, initial_state = before }
      assert.same({ items = { "shoes" }, total = 30 }, before)
      after.items[1] = "changed"
      assert.same({ items = { "shoes" }, total = 30 }, before)
    end)

    it("may begin with false, and not with a function", function()
      local last = { initial_state = true, evolve = {} }
      assert.is_false(store:aggregate_stream("a", last, { initial_state = false }).state)
      support.fails("invalid_argument", { path = "options.initial_state" }, fold, { initial_state = print })
    end)
  end)

  describe("a fold that traces a part of the state", function()
    local store
    before_each(function()
      store = moonfold.open(":memory:")
      store:append_to_stream("a", { added(10, 3), added(0, 5), discount(10), { type = "Other" }, added(1, 1) })
    end)
    after_each(function() store:close() end)

    local function trace(keys, options)
      options = options or {}
      options.trace = keys
      return store:aggregate_stream("a", cart, options).trace
    end

    it("tells which events changed it, and into what", function()
      assert.same({ { version = 1, value = 30 }, { version = 3, value = 27.0 }, { version = 5, value = 28.0 } },
        trace { "total" })
      assert.same({ { version = 1, value = { "shoes" } } }, trace { "items" })
      assert.same({ { version = 1, value = "shoes" } }, trace { "items", 1 })
    end)

    it("takes the whole state for a part, and finds nothing where nothing ever was", function()
      assert.same({ version = 3, value = { items = { "shoes" }, total = 27.0 } }, trace({})[2])
      for _, keys in ipairs { { "items", 2 }, { "total", "x" }, { "items", 1, "x" }, { "no", "where" }, { 1 } } do
        assert.same({}, trace(keys))
      end
    end)

    it("tells when it went away", function()
      local door = { initial_state = { open = {} }, evolve = function(state, event) state.open = event.data end }
      store:append_to_stream("door", { { type = "Set", data = moonfold.null }, { type = "Set" }, { type = "Set" },
        { type = "Set", data = false } })
      assert.same({ { version = 1, value = moonfold.null }, { version = 2 }, { version = 4, value = false } },
        store:aggregate_stream("door", door, { trace = { "open" } }).trace)
    end)

    it("starts from the state that it starts from", function()
      local before = store:aggregate_stream("a", cart, { to = 1 }).state
      assert.same({ { version = 3, value = 27.0 } }, trace({ "total" }, { from = 2, to = 3, initial_state = before }))
    end)

    it("hands out values that are the caller's own", function()
      local found = trace {}
      found[1].value.items[1] = "changed"
      assert.same({ "shoes" }, found[2].value.items)
    end)

    it("is asked for with a list of keys, and refuses a part that could not be stored", function()
      support.fails("invalid_argument", { path = "options.trace" }, trace, "total")
      local strange = { initial_state = {}, evolve = function(state) state.f = print end }
      support.fails("invalid_argument", { path = "state.f" },
        store.aggregate_stream, store, "a", strange, { trace = {} })
    end)
  end)
end)
