local moonfold = require "moonfold"
local support = require "support"

local event, command = moonfold.event, moonfold.command
local pluck = support.pluck

--- Three generations of the same event, and how the first two become the third.
--
-- At first a price was text and a day was text; then the event was called ItemAdded and the price was cents.
local script = [[
local moonfold = require "moonfold"
local event = moonfold.event

local upcast = {
  ItemAdded = function(old)
    return event("ProductItemAdded", { price = old.data.price, day = old.data.day }, old.metadata)
  end,
  ProductItemAdded = function(old)
    local data = old.data
    if type(data.price) == "string" then data.price = math.tointeger(tonumber(data.price)) end
    if type(data.day) == "string" then
      local year, month, day = data.day:match("^(%d+)-(%d+)-(%d+)")
      data.day = { year = tonumber(year), month = tonumber(month), day = tonumber(day) }
    end
    return old
  end,
}

return {
  initial_state = { total = 0, days = {} },
  evolve = {
    ProductItemAdded = function(state, added)
      state.total = state.total + added.data.price
      table.insert(state.days, added.data.day)
    end,
  },
  upcast = upcast,
}
]]

--- The same as a table, for what looks into it.
local plain = assert(load(script, "=decider.lua"))()

local today = { year = 2024, month = 2, day = 29 }

support.both(script, function(cart)
  local upcast = cart.upcast

  support.everywhere(function(open)
    describe("upcasting", function()
      local store
      before_each(function()
        store = open()
        store:append_to_stream("cart-1", {
          event("ProductItemAdded", { price = "30", day = "2024-02-29" }, { by = "Ada" }),
          event("ProductItemAdded", { price = 12, day = today }),
        })
      end)
      after_each(function() store:close() end)

      local function reads_well(events)
        assert.same({ { price = 30, day = today }, { price = 12, day = today } }, pluck("data", events))
        assert.equal("integer", math.type(events[1].data.price))
      end

      it("turns old shapes into new ones when a stream is folded (case 69)", function()
        assert.same({ total = 42, days = { today, today } }, store:aggregate_stream("cart-1", cart).state)
      end)

      it("turns old shapes into new ones when a stream is read (case 69)", function()
        reads_well(store:read_stream("cart-1", { upcast = upcast }).events)
      end)

      it("keeps 64-bit integers that were text (case 69)", function()
        store:append_to_stream("big", event("ProductItemAdded", { price = "9007199254740993", day = today }))
        local read = store:read_stream("big", { upcast = upcast }).events[1]
        assert.equal(9007199254740993, read.data.price)
        assert.equal(9007199254740993, store:aggregate_stream("big", cart).state.total)
      end)

      it("happens wherever events are read", function()
        local function collected(...)
          local events = {}
          for one in ... do events[#events + 1] = one end
          return events
        end
        reads_well(collected(store:events("cart-1", { upcast = upcast })))
        reads_well(collected(store:all_events { upcast = upcast }))
        local backwards = store:read_stream("cart-1", { upcast = upcast, backwards = true }).events
        reads_well { backwards[2], backwards[1] }
      end)

      it("happens wherever a stream is folded", function()
        local seen = {}
        local decider = {
          initial_state = plain.initial_state, evolve = plain.evolve, upcast = upcast,
          decide = function(_, state, context)
            seen[#seen + 1] = state.total
            seen[#seen + 1] = context:aggregate_stream("cart-1", cart).state.total
          end,
        }
        for _, method in ipairs { "handle", "attempt", "decide" } do
          local result = store[method](store, "cart-1", decider, command "Look")
          seen[#seen + 1] = result.state.total
        end
        assert.same({ 42, 42, 42, 42, 42, 42, 42, 42, 42 }, seen)
      end)

      it("changes no history", function()
        store:read_stream("cart-1", { upcast = upcast })
        store:aggregate_stream("cart-1", cart)
        local event_as_stored = store:read_stream("cart-1").events[1]
        assert.same({ price = "30", day = "2024-02-29" }, event_as_stored.data)
      end)

      it("may change the type, and the event is folded as what it has become", function()
        store:append_to_stream("cart-2", event("ItemAdded", { price = 7, day = today }))
        local read = store:read_stream("cart-2", { upcast = upcast }).events[1]
        assert.equal("ProductItemAdded", read.type)
        assert.same({ price = 7, day = today }, read.data)
        assert.equal(7, store:aggregate_stream("cart-2", cart).state.total)
      end)

      it("keeps what the store knows about an event, also when its upcaster made a new table", function()
        store:append_to_stream("cart-2", event("ItemAdded", { price = 7, day = today }, { by = "Bob" }))
        local stored = store:read_stream("cart-2").events[1]
        local read = store:read_stream("cart-2", { upcast = upcast }).events[1]
        for _, field in ipairs { "stream_name", "stream_position", "global_position", "message_id", "recorded_at" } do
          assert.equal(stored[field], read[field], field)
        end
        assert.same({ by = "Bob" }, read.metadata)
      end)

      it("shows the upcaster all that the store knows", function()
        local seen
        store:read_stream("cart-1", { max_count = 1, upcast = {
          ProductItemAdded = function(old)
            seen = { old.type, old.stream_name, old.stream_position, old.global_position, old.metadata.by }
            return old
          end,
        } })
        assert.same({ "ProductItemAdded", "cart-1", 1, 1, "Ada" }, seen)
      end)

      it("leaves events of other types alone", function()
        store:append_to_stream("cart-2", event("Confirmed", { price = "30" }))
        local read = store:read_stream("cart-2", { upcast = upcast }).events[1]
        assert.equal("Confirmed", read.type)
        assert.same({ price = "30" }, read.data)
      end)

      it("is not asked about events that were not wanted: types names what was stored", function()
        store:append_to_stream("cart-2",
          { event("ItemAdded", { price = 7 }), event("ProductItemAdded", { price = 8 }) })
        local function prices(types)
          local events = store:read_stream("cart-2", { types = types, upcast = upcast }).events
          return pluck("price", pluck("data", events))
        end
        assert.same({ 8 }, prices { "ProductItemAdded" })
        assert.same({ 7 }, prices { "ItemAdded" })
        assert.equal(7, store:aggregate_stream("cart-2", cart, { types = { "ItemAdded" } }).state.total)
      end)

      it("may turn a type that evolve lacks into one that it has, and the other way round", function()
        store:append_to_stream("cart-2", { event("Unknown", 5), event("Known", 100) })
        local function total(upcasters)
          return store:aggregate_stream("cart-2", {
            initial_state = 0,
            evolve = { Known = function(sum, known) return sum + known.data end },
            upcast = upcasters,
          }).state
        end
        assert.equal(105, total { Unknown = function(old) return event("Known", old.data) end })
        assert.equal(0, total { Known = function(old) return event("Forgotten", old.data) end })
      end)

      it("goes on from type to type, until a type stays what it is", function()
        store:append_to_stream("cart-2", { event("First", 1), event("Second", 2), event("Third", 3) })
        local generations = {
          First = function(old) return event("Second", old.data * 10) end,
          Second = function(old) return event("Third", old.data + 5) end,
          Third = function(old) return event("Third", -old.data) end,
        }
        local read = store:read_stream("cart-2", { upcast = generations }).events
        assert.same({ "Third", "Third", "Third" }, pluck("type", read))
        assert.same({ -15, -7, -3 }, pluck("data", read))
      end)

      it("in a circle of types is a mistake of the script, and no endless loop", function()
        local circle = {
          ProductItemAdded = function(old) return event("Other", old.data) end,
          Other = function(old) return event("ProductItemAdded", old.data) end,
        }
        support.refuses(store, "script_error", { stream = "cart-1", position = 1 },
          store.read_stream, store, "cart-1", { upcast = circle })
      end)

      it("may return one and the same table for many events, which stay apart all the same", function()
        local constant = { type = "Constant", data = { n = 1 } }
        local constantly = { ProductItemAdded = function() return constant end }
        local function apart(events)
          assert.same({ "Constant", "Constant" }, pluck("type", events))
          assert.same({ 1, 2 }, pluck("stream_position", events))
          assert.same({ type = "Constant", data = { n = 1 } }, constant)
          assert.is_nil(getmetatable(constant))
        end
        apart(store:read_stream("cart-1", { upcast = constantly }).events)
        local kept = {}
        for one in store:events("cart-1", { upcast = constantly }) do kept[#kept + 1] = one end
        apart(kept)
        apart(store:aggregate_stream("cart-1", {
          initial_state = {},
          evolve = function(state, one) state[#state + 1] = one end,
          upcast = constantly,
        }).state)
      end)

      it("has an event that was changed in place appear changed to evolve", function()
        local state = store:aggregate_stream("cart-1", {
          initial_state = {},
          evolve = function(types, one) table.insert(types, one.type .. one.stream_position) end,
          upcast = { ProductItemAdded = function(old) old.type = "Renamed" return old end },
        }).state
        assert.same({ "Renamed1", "Renamed2" }, state)
      end)

      it("that fails is told with stream, position and the type that was stored", function()
        local broken = { ProductItemAdded = function(old)
          if old.stream_position == 2 then error "cannot be upcast" end
          return old
        end }
        local fields = { stream = "cart-1", position = 2, event_type = "ProductItemAdded" }
        for _, read in ipairs {
          function() store:read_stream("cart-1", { upcast = broken }) end,
          function() support.pluck("type", store:events("cart-1", { upcast = broken })) end,
          function() support.pluck("type", store:all_events { upcast = broken }) end,
          function()
            store:aggregate_stream("cart-1", { initial_state = 0, evolve = function() end, upcast = broken })
          end,
          function()
            store:handle("cart-1", {
              initial_state = 0, evolve = function() end, upcast = broken,
              decide = function() return event "Done" end,
            }, command "Do")
          end,
        } do
          local failure = support.refuses(store, "script_error", fields, read)
          assert.matches("cannot be upcast", failure.message, 1, true)
        end
      end)

      it("must return an event", function()
        for _, wrong in ipairs { false, 7, "ProductItemAdded", {}, { type = 7 } } do
          local failure = support.refuses(store, "script_error", { stream = "cart-1", position = 1 },
            store.read_stream, store, "cart-1", { upcast = { ProductItemAdded = function() return wrong end } })
          assert.matches("upcast", failure.message, 1, true)
        end
        support.refuses(store, "script_error", { stream = "cart-1", position = 1 },
          store.read_stream, store, "cart-1", { upcast = { ProductItemAdded = function() end } })
      end)
    end)
  end)

  describe("mixed generations in one long stream", function()
    it("fold as if they had always been of the last", function()
      local store <close> = moonfold.open(":memory:")
      local total = 0
      store:transaction(function()
        for i = 1, 3000 do
          local price = i % 3 == 0 and tostring(i) or i
          local kind = i % 2 == 0 and "ItemAdded" or "ProductItemAdded"
          store:append_to_stream("cart-1", event(kind, { price = price, day = today }))
          total = total + i
        end
      end)
      local result = store:aggregate_stream("cart-1", cart)
      assert.equal(total, result.state.total)
      assert.equal(3000, #result.state.days)
    end)
  end)
end)

describe("an upcaster of a loaded decider", function()
  it("is given data that is nested as deep as it may be, on every path that reads", function()
    local store <close> = moonfold.open(":memory:")
    local decider = moonfold.load_decider(support.write(support.folder() .. "/deep.lua", [[return {
      initial_state = {},
      evolve = { New = function(state, new) state.old = new.type end },
      upcast = { Old = function(old) return { type = "New", data = old.data } end },
    }]]))
    local deep = {}
    for _ = 2, 128 do deep = { deep } end
    store:append_to_stream("s-1", event("Old", deep, { deep[1] }))
    assert.equal("New", store:aggregate_stream("s-1", decider).state.old)
    for read in store:events("s-1", { upcast = decider.upcast }) do
      assert.equal("New", read.type)
      assert.equal(moonfold.hash(deep), moonfold.hash(read.data))
    end
  end)
end)
