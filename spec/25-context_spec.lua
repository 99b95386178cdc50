local moonfold = require "moonfold"
local support = require "support"

local event, command = moonfold.event, moonfold.command

local script = [[
return {
  initial_state = { count = 0 },
  evolve = {
    Delivered = function(state, delivered) state.count = state.count + delivered.data end,
    Broken = function() error "broken stock" end,
  },
}
]]

--- A decider with one handler for everything, which may record "Done".
local function deciding(decide)
  return { initial_state = 0, evolve = { Done = function(n) return n + 1 end }, decide = decide }
end

support.both(script, function(stock)
  support.everywhere(function(open)
    local store
    before_each(function()
      store = open()
      store:append_to_stream("stock-tea", { event("Delivered", 2), event("Delivered", 3), event("Delivered", 5) })
    end)
    after_each(function() store:close() end)

    --- What f(context) returns inside of a decision for the stream "order".
    local function with_context(f, given)
      local results
      store:handle("order", deciding(function(_, _, context)
        results = table.pack(f(context))
        return event "Done"
      end), given or command "Do")
      return table.unpack(results, 1, results.n)
    end

    describe("the context", function()
      it("folds other streams", function()
        local result = with_context(function(context) return context:aggregate_stream("stock-tea", stock) end)
        assert.same({ state = { count = 10 }, current_stream_version = 3, stream_exists = true }, result)
      end)

      it("folds other streams with options", function()
        with_context(function(context)
          assert.same({ count = 5 }, context:aggregate_stream("stock-tea", stock, { to = 2 }).state)
          assert.same({ count = 8 }, context:aggregate_stream("stock-tea", stock, { from = 2 }).state)
          assert.same({ count = 2 }, context:aggregate_stream("stock-tea", stock, { max_count = 1 }).state)
          local failure = support.fails("invalid_argument", nil,
            context.aggregate_stream, context, "stock-tea", stock, { too = 2 })
          assert.matches('did you mean "to"?', failure.message, 1, true)
          support.fails("invalid_argument", nil, context.aggregate_stream, context, 1, stock)
        end)
      end)

      it("folds a stream that does not exist", function()
        local result = with_context(function(context) return context:aggregate_stream("stock-gold", stock) end)
        assert.same({ state = { count = 0 }, current_stream_version = 0, stream_exists = false }, result)
      end)

      it("folds the stream of the decision itself, as it was recorded", function()
        store:append_to_stream("order", { event "Done", event "Done" })
        local result = with_context(function(context) return context:aggregate_stream("order", deciding()) end)
        assert.equal(2, result.state)
      end)

      it("knows which streams exist", function()
        with_context(function(context)
          assert.is_true(context:stream_exists("stock-tea"))
          assert.is_false(context:stream_exists("stock-gold"))
          assert.is_false(context:stream_exists("order"))
          support.fails("invalid_argument", { path = "stream" }, context.stream_exists, context, "")
        end)
      end)

      it("compares an expectation with the other stream's version", function()
        with_context(function(context)
          local result = context:aggregate_stream("stock-tea", stock, { to = 1, expected_stream_version = 3 })
          assert.equal(1, result.current_stream_version)
          support.fails("version_conflict", { stream = "stock-tea", expected = 2, current = 3 },
            context.aggregate_stream, context, "stock-tea", stock, { expected_stream_version = 2 })
        end)
      end)

      it("sees what the transaction around the decision has written", function()
        store:transaction(function()
          store:append_to_stream("stock-tea", event("Delivered", 90))
          store:append_to_stream("stock-coffee", event("Delivered", 1))
          with_context(function(context)
            assert.same({ count = 100 }, context:aggregate_stream("stock-tea", stock).state)
            assert.is_true(context:stream_exists("stock-coffee"))
          end)
        end)
      end)

      it("sees the latest, also when it has looked there before", function()
        for i = 1, 4 do
          store:append_to_stream("stock-tea", event("Delivered", 1))
          with_context(function(context)
            for _ = 1, 2 do
              assert.same({ count = 10 + i }, context:aggregate_stream("stock-tea", stock).state)
            end
          end)
        end
      end)

      it("hands out states that may be changed without changing the next", function()
        with_context(function(context)
          context:aggregate_stream("stock-tea", stock).state.count = 0
          assert.same({ count = 10 }, context:aggregate_stream("stock-tea", stock).state)
        end)
      end)

      it("lets a decision rest on many streams", function()
        for i = 1, 100 do store:append_to_stream("stock-" .. i, event("Delivered", i)) end
        local sum = with_context(function(context)
          local total = 0
          for i = 1, 100 do total = total + context:aggregate_stream("stock-" .. i, stock).state.count end
          return total
        end)
        assert.equal(5050, sum)
      end)

      it("tells of an error in the other stream, in the other stream's name", function()
        store:append_to_stream("stock-tea", event "Broken")
        local failure = support.refuses(store, "script_error",
          { stream = "stock-tea", position = 4, event_type = "Broken" },
          store.handle, store, "order", deciding(function(_, _, context)
            context:aggregate_stream("stock-tea", stock)
          end), command "Do")
        assert.matches("broken stock", failure.message, 1, true)
      end)

      it("lets a decision catch an error and go on", function()
        store:append_to_stream("stock-tea", event "Broken")
        with_context(function(context)
          support.fails("script_error", nil, context.aggregate_stream, context, "stock-tea", stock)
          assert.is_true(context:stream_exists("stock-tea"))
        end)
        assert.equal(1, store:stream_version("order"))
      end)

      it("cannot be changed", function()
        with_context(function(context)
          assert.is_false(pcall(function() context.stream = "changed" end))
          assert.is_false(pcall(function() context.random = function() return 4 end end))
        end)
      end)

      it("has nothing that writes", function()
        with_context(function(context)
          for _, name in ipairs { "append_to_stream", "handle", "attempt", "transaction", "close", "backup" } do
            local found, value = pcall(function() return context[name] end)
            assert.is_true(not found or value == nil, name)
          end
        end)
      end)

      it("is over when the decision is over", function()
        local kept = with_context(function(context) return context end)
        assert.is_false(pcall(function() return kept:aggregate_stream("stock-tea", stock) end))
        assert.is_false(pcall(function() return kept:stream_exists("stock-tea") end))
        store:transaction(function()
          assert.is_false(pcall(function() return kept:stream_exists("stock-tea") end))
        end)
      end)
    end)

    describe("a call on the store itself", function()
      --- Tries every call that a store has; each must be refused as misuse.
      local function tries_everything()
        local calls = {
          append_to_stream = { "a", event "Done" }, read_stream = { "a" }, events = { "a" }, all_events = {},
          aggregate_stream = { "a", stock }, stream_exists = { "a" }, stream_version = { "a" }, streams = {},
          handle = { "a", deciding(function() end), command "Do" },
          attempt = { "a", deciding(function() end), command "Do" },
          decide = { "a", deciding(function() end), command "Do" },
          transaction = { function() end }, wait = { 1, 0 }, backup = { "copy.fold" }, close = {},
        }
        local refused = 0
        for name, arguments in pairs(calls) do
          support.fails("invalid_argument", nil, store[name], store, table.unpack(arguments))
          refused = refused + 1
        end
        return refused
      end

      it("from decide is refused: look through the context", function()
        local refused = with_context(function()
          local failure = support.fails("invalid_argument", nil, store.stream_exists, store, "a")
          assert.matches("context", failure.message, 1, true)
          return tries_everything()
        end)
        assert.equal(15, refused)
        assert.same({ order = 1, ["stock-tea"] = 3 }, support.versions(store))
      end)

      it("from evolve is refused", function()
        local refused
        store:aggregate_stream("stock-tea", {
          initial_state = 0,
          evolve = function() refused = tries_everything() end,
        })
        assert.equal(15, refused)
      end)

      it("from the evolve of another stream is refused", function()
        local refused
        with_context(function(context)
          context:aggregate_stream("stock-tea", {
            initial_state = 0,
            evolve = function() refused = tries_everything() end,
          })
        end)
        assert.equal(15, refused)
      end)

      it("that was begun before, an iterator, is refused its next step, and goes on afterwards", function()
        local next_event, state, _, iterator <close> = store:events("stock-tea")
        local next_stream, streams, _, listing <close> = store:streams()
        assert.equal(1, next_event(state).stream_position)
        store:aggregate_stream("stock-tea", { initial_state = 0, evolve = function()
          support.fails("invalid_argument", nil, next_event, state)
          support.fails("invalid_argument", nil, next_stream, streams)
        end })
        assert.equal(2, next_event(state).stream_position)
        assert.equal("stock-tea", next_stream(streams))
        assert.is_true(iterator ~= nil and listing ~= nil)
      end)

      it("from a function initial_state is refused", function()
        local refused
        store:aggregate_stream("stock-tea", {
          initial_state = function() refused = tries_everything() return 0 end,
          evolve = {},
        })
        assert.equal(15, refused)
      end)

      it("from upcast is refused", function()
        local refused
        local upcast = { Delivered = function(delivered) refused = tries_everything() return delivered end }
        store:read_stream("stock-tea", { upcast = upcast })
        assert.equal(15, refused)
        refused = nil
        for _ in store:events("stock-tea", { upcast = upcast }) do
          assert.equal(15, refused)
          refused = nil
        end
      end)

      it("from the clock is refused", function()
        local refused, mine
        local clocked <close> = open { clock = function()
          if mine then
            support.fails("invalid_argument", nil, mine.stream_exists, mine, "a")
            support.fails("invalid_argument", nil, mine.append_to_stream, mine, "a", event "Done")
            refused = (refused or 0) + 1
          end
          return 1
        end }
        mine = clocked
        clocked:append_to_stream("a", event "Done")
        clocked:handle("a", deciding(function() return event "Done" end), command "Do")
        assert.equal(2, refused)
        assert.equal(2, clocked:stream_version("a"))
      end)

      it("is free again afterwards, also when the script failed", function()
        for _ = 1, 3 do
          pcall(store.handle, store, "order", deciding(function() error "no" end), command "Do")
          pcall(store.handle, store, "order", deciding(function() return store:stream_exists("a") end), command "Do")
          pcall(store.read_stream, store, "stock-tea", { upcast = { Delivered = function() error "no" end } })
        end
        store:append_to_stream("a", event "Done")
        assert.equal(1, store:stream_version("a"))
      end)

      it("from the loop over an iterator is no such thing", function()
        for delivered in store:events("stock-tea", { upcast = { Delivered = function(e) return e end } }) do
          store:append_to_stream("copy", delivered)
        end
        assert.equal(3, store:stream_version("copy"))
      end)
    end)
  end)

  describe("the dice of a decision", function()
    local store
    before_each(function() store = moonfold.open(":memory:") end)
    after_each(function() store:close() end)

    --- The numbers that a decision rolls, without recording anything.
    local function rolls(stream, given, n, ...)
      local numbers, arguments = {}, table.pack(...)
      store:decide(stream, deciding(function(_, _, context)
        for i = 1, n do numbers[i] = context:random(table.unpack(arguments, 1, arguments.n)) end
      end), given)
      return numbers
    end

    local function roll(fields)
      local given = { type = "Roll", data = { sides = 6 }, time = 1000 }
      for key, value in pairs(fields or {}) do given[key] = value end
      return given
    end

    it("roll the same for the same command at the same version", function()
      assert.same(rolls("a", roll(), 20, 1, 1000000), rolls("a", roll(), 20, 1, 1000000))
    end)

    it("roll the same when looked ahead and when recorded", function()
      local decider = deciding(function(_, _, context) return event("Done", context:random(1, 1000000000)) end)
      local ahead = store:decide("a", decider, roll()).events[1].data
      assert.equal(ahead, store:handle("a", decider, roll()).events[1].data)
    end)

    it("roll the same in every process, and in every store", function()
      local run = support.lua [[
        local moonfold = require "moonfold"
        local store <close> = moonfold.open(":memory:")
        store:decide("a", { initial_state = 0, evolve = {}, decide = function(_, _, context)
          for _ = 1, 20 do io.write(context:random(1, 1000000), "\n") end
        end }, { type = "Roll", data = { sides = 6 }, time = 1000 })
      ]]
      assert.equal(table.concat(rolls("a", roll(), 20, 1, 1000000), "\n") .. "\n", run.stdout, run.stderr)
    end)

    it("roll differently for each thing that tells two decisions apart", function()
      local seen, first = {}, rolls("a", roll(), 3, 1, 1000000000)
      local function is_new(numbers)
        local text = table.concat(numbers, " ")
        assert.is_nil(seen[text])
        seen[text] = true
      end
      is_new(first)
      is_new(rolls("b", roll(), 3, 1, 1000000000))
      is_new(rolls("a", roll { type = "Throw" }, 3, 1, 1000000000))
      is_new(rolls("a", roll { data = { sides = 7 } }, 3, 1, 1000000000))
      is_new(rolls("a", roll { data = { sides = 6.0 } }, 3, 1, 1000000000))
      is_new(rolls("a", roll { metadata = { by = "Ada" } }, 3, 1, 1000000000))
      is_new(rolls("a", roll { command_id = "id-1" }, 3, 1, 1000000000))
      is_new(rolls("a", roll { time = 1001 }, 3, 1, 1000000000))
      store:append_to_stream("a", event "Done")
      is_new(rolls("a", roll(), 3, 1, 1000000000))
    end)

    it("care for nothing else that happens in the store", function()
      local before = rolls("a", roll(), 5, 1, 1000000)
      store:append_to_stream("b", support.ticks(3))
      assert.same(before, rolls("a", roll(), 5, 1, 1000000))
    end)

    it("are those of math.random: a float without bounds", function()
      for _, number in ipairs(rolls("a", roll(), 200)) do
        assert.equal("float", math.type(number))
        assert.is_true(number >= 0 and number < 1)
      end
    end)

    it("are those of math.random: from 1 with one bound", function()
      local seen = {}
      for _, number in ipairs(rolls("a", roll(), 600, 6)) do
        assert.equal("integer", math.type(number))
        seen[number] = (seen[number] or 0) + 1
      end
      for side = 1, 6 do assert.is_true(seen[side] > 50 and seen[side] < 150) end
      assert.equal(6, #seen)
    end)

    it("are those of math.random: between two bounds, both included", function()
      local seen = {}
      for _, number in ipairs(rolls("a", roll(), 100, -1, 1)) do seen[number] = true end
      assert.same({ [-1] = true, [0] = true, [1] = true }, seen)
      assert.same({ 7, 7, 7 }, rolls("a", roll(), 3, 7, 7))
    end)

    it("are those of math.random: over all integers", function()
      local negative = 0
      for _, number in ipairs(rolls("a", roll(), 100, math.mininteger, math.maxinteger)) do
        assert.equal("integer", math.type(number))
        if number < 0 then negative = negative + 1 end
      end
      assert.is_true(negative > 20 and negative < 80)
    end)

    it("refuse an empty range", function()
      local refused = 0
      store:decide("a", deciding(function(_, _, context)
        for _, bounds in ipairs { { 2, 1 }, { -1 }, { 1.5 }, { "six" } } do
          if not pcall(context.random, context, table.unpack(bounds)) then refused = refused + 1 end
        end
      end), roll())
      assert.equal(4, refused)
    end)

    it("are not those that the program itself rolls with", function()
      math.randomseed(42)
      local expected = { math.random(1000), math.random(1000) }
      math.randomseed(42)
      local first = math.random(1000)
      rolls("a", roll(), 10, 6)
      assert.same(expected, { first, math.random(1000) })
    end)
  end)
end)
