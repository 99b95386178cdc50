local moonfold = require "moonfold"
local support = require "support"

local ticks, pluck = support.ticks, support.pluck

--- first, first + step, ... last.
local function sequence(first, last, step)
  local numbers = {}
  for n = first, last, step or 1 do numbers[#numbers + 1] = n end
  return numbers
end

support.everywhere(function(open)
  describe("reading a stream of ten events", function()
    local store
    before_each(function()
      store = open()
      store:append_to_stream("other", ticks(3, 100))
      store:append_to_stream("a", ticks(10))
    end)
    after_each(function() store:close() end)

    --- The positions that a read with these options returns, in its order.
    local function positions(options)
      local result = store:read_stream("a", options)
      assert.equal(10, result.current_stream_version)
      assert.is_true(result.stream_exists)
      return pluck("stream_position", result.events)
    end

    it("returns them all, in order", function()
      assert.same(sequence(1, 10), positions())
      assert.same(sequence(1, 10), pluck("data", store:read_stream("a").events))
    end)

    it("includes both ends of a range", function()
      assert.same({ 3, 4, 5 }, positions { from = 3, to = 5 })
      assert.same({ 4 }, positions { from = 4, to = 4 })
      assert.same({ 8, 9, 10 }, positions { from = 8 })
      assert.same({ 1, 2 }, positions { to = 2 })
    end)

    it("begins at the beginning when it is to begin at 0", function()
      assert.same({ 1, 2 }, positions { from = 0, to = 2 })
    end)

    it("returns nothing up to 0", function()
      assert.same({}, positions { to = 0 })
      assert.same({}, positions { from = 0, to = 0 })
      assert.same({}, positions { to = 0, backwards = true })
    end)

    it("returns nothing from past the end", function()
      assert.same({}, positions { from = 11 })
      assert.same({}, positions { from = 11, to = 20 })
      assert.same({}, positions { from = 11, backwards = true })
      assert.same({}, positions { from = math.maxinteger })
    end)

    it("stops at the end when it is to go past it", function()
      assert.same({ 9, 10 }, positions { from = 9, to = 1000 })
      assert.same({ 9, 10 }, positions { from = 9, to = math.maxinteger })
    end)

    it("returns nothing of a range that ends before it begins", function()
      assert.same({}, positions { from = 5, to = 4 })
      assert.same({}, positions { from = 5, to = 4, backwards = true })
    end)

    it("returns exactly max_count events where there are so many", function()
      assert.same({ 1, 2, 3 }, positions { max_count = 3 })
      assert.same({ 4, 5, 6 }, positions { from = 4, max_count = 3 })
      assert.same({ 4, 5 }, positions { from = 4, to = 5, max_count = 3 })
      assert.same(sequence(1, 10), positions { max_count = 10 })
      assert.same(sequence(1, 10), positions { max_count = math.maxinteger })
    end)

    it("returns nothing for a max_count of 0", function()
      assert.same({}, positions { max_count = 0 })
      assert.same({}, positions { from = 3, max_count = 0, backwards = true })
    end)

    it("goes backwards from the end", function()
      assert.same(sequence(10, 1, -1), positions { backwards = true })
      assert.same({ 10, 9 }, positions { backwards = true, max_count = 2 })
    end)

    it("goes backwards from 'to' down to 'from'", function()
      assert.same({ 5, 4, 3 }, positions { from = 3, to = 5, backwards = true })
      assert.same({ 5, 4 }, positions { from = 3, to = 5, backwards = true, max_count = 2 })
      assert.same({ 10, 9 }, positions { from = 9, to = 50, backwards = true })
    end)

    it("goes forwards when backwards is false", function()
      assert.same({ 1, 2 }, positions { to = 2, backwards = false })
    end)
  end)

  describe("reading events of some types", function()
    local store
    before_each(function()
      store = open()
      for i = 1, 3 do
        store:append_to_stream("a", { { type = "Opened", data = i }, { type = "Seen", data = i }, { type = "Closed" } })
      end
    end)
    after_each(function() store:close() end)

    local function positions(options)
      local result = store:read_stream("a", options)
      assert.equal(9, result.current_stream_version)
      return pluck("stream_position", result.events)
    end

    it("leaves out all others", function()
      assert.same({ 1, 4, 7 }, positions { types = { "Opened" } })
      assert.same({ 1, 3, 4, 6, 7, 9 }, positions { types = { "Opened", "Closed" } })
    end)

    it("knows a type by its whole name", function()
      assert.same({}, positions { types = { "Open", "opened", "Opened ", "Opened\0" } })
    end)

    it("returns nothing for a type that was never recorded, nor for no type", function()
      assert.same({}, positions { types = { "Lost" } })
      assert.same({}, positions { types = {} })
    end)

    it("counts for max_count only what it returns", function()
      assert.same({ 3, 6 }, positions { types = { "Closed" }, max_count = 2 })
      assert.same({ 9, 6 }, positions { types = { "Closed" }, max_count = 2, backwards = true })
    end)

    it("keeps to the range", function()
      assert.same({ 2, 5 }, positions { types = { "Seen" }, from = 2, to = 7 })
      assert.same({ 5 }, positions { types = { "Seen" }, from = 3, to = 7, backwards = true })
    end)

    it("allows to name a type twice", function()
      assert.same({ 2, 5, 8 }, positions { types = { "Seen", "Seen" } })
    end)
  end)

  describe("reading a stream that does not exist", function()
    it("returns no events, version 0, and says that it does not exist (case 31)", function()
      local store <close> = open()
      store:append_to_stream("other", ticks(2))
      assert.same({ events = {}, current_stream_version = 0, stream_exists = false }, store:read_stream("a"))
      assert.same({ events = {}, current_stream_version = 0, stream_exists = false },
        store:read_stream("a", { from = 3, to = 9, max_count = 2, backwards = true, types = { "Ticked" } }))
    end)

    it("does not create it", function()
      local store <close> = open()
      store:read_stream("a")
      assert.is_false(store:stream_exists("a"))
      assert.same({}, support.versions(store))
    end)
  end)

  describe("reading two events that were appended together", function()
    it("returns their data, their metadata and their places (case 30)", function()
      local store <close> = open()
      store:append_to_stream("other", ticks(1))
      local appended = store:append_to_stream("cart-1", {
        { type = "ProductItemAdded", data = { product = "shoes", qty = 2, price = 30 }, metadata = { by = "Ada" } },
        { type = "DiscountApplied", data = { percent = 10 }, metadata = { by = "Bob" } },
      })
      local result = store:read_stream("cart-1")
      assert.equal(2, result.current_stream_version)
      assert.is_true(result.stream_exists)
      assert.same({ "ProductItemAdded", "DiscountApplied" }, pluck("type", result.events))
      assert.same({ { product = "shoes", qty = 2, price = 30 }, { percent = 10 } }, pluck("data", result.events))
      assert.same({ { by = "Ada" }, { by = "Bob" } }, pluck("metadata", result.events))
      assert.same({ "cart-1", "cart-1" }, pluck("stream_name", result.events))
      assert.same({ 1, 2 }, pluck("stream_position", result.events))
      assert.same({ 2, 3 }, pluck("global_position", result.events))
      assert.equal(appended.last_event_global_position, result.events[2].global_position)
    end)
  end)
end)

describe("whether a stream exists", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  it("is true for the only stream (case 4)", function()
    store:append_to_stream("a", ticks(1))
    assert.is_true(store:stream_exists("a"))
    assert.equal(1, store:stream_version("a"))
  end)

  it("is false in an empty store (case 5)", function()
    assert.is_false(store:stream_exists("a"))
    assert.equal(0, store:stream_version("a"))
  end)

  it("is true for each of two streams (case 6)", function()
    store:append_to_stream("a", ticks(1))
    store:append_to_stream("b", ticks(1))
    assert.is_true(store:stream_exists("a"))
    assert.is_true(store:stream_exists("b"))
  end)

  it("is false for an unknown stream beside an existing one (case 7)", function()
    store:append_to_stream("a", ticks(1))
    assert.is_true(store:stream_exists("a"))
    for _, name in ipairs { "b", "A", "a ", "aa", "a\0" } do
      assert.is_false(store:stream_exists(name))
      assert.equal(0, store:stream_version(name))
    end
  end)
end)

describe("a read", function()
  it("fails before it returns anything when its expectation fails", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("a", ticks(3))
    support.refuses(store, "version_conflict", { stream = "a", expected = 2, current = 3 },
      store.read_stream, store, "a", { max_count = 0, expected_stream_version = 2 })
    support.refuses(store, "version_conflict",
      { stream = "b", expected = moonfold.STREAM_EXISTS, current = 0 },
      store.read_stream, store, "b", { expected_stream_version = moonfold.STREAM_EXISTS })
  end)

  it("returns fresh tables, so that changing them changes nothing else", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("a", { type = "A", data = { list = { 1, 2 } } })
    local first = store:read_stream("a")
    first.events[1].data.list[1] = "changed"
    first.events[1].type = "Changed"
    first.events[2] = "more"
    local second = store:read_stream("a")
    assert.equal(1, #second.events)
    assert.equal("A", second.events[1].type)
    assert.same({ list = { 1, 2 } }, second.events[1].data)
  end)

  it("sees what another handle and another process have appended", function()
    local store <close>, path = support.open()
    local other <close> = moonfold.open(path)
    local peer <close> = support.peer()
    other:append_to_stream("a", ticks(2))
    assert.equal(2, #store:read_stream("a").events)
    peer:run("local s <close> = moonfold.open(...) s:append_to_stream('a', support.ticks(2, 3))", path)
    assert.same({ 1, 2, 3, 4 }, pluck("data", store:read_stream("a").events))
  end)

  it("works on a read-only store", function()
    local store, path = support.open()
    store:append_to_stream("a", ticks(2))
    store:close()
    local reader <close> = moonfold.open(path, { read_only = true })
    assert.same({ 1, 2 }, pluck("data", reader:read_stream("a").events))
  end)
end)
