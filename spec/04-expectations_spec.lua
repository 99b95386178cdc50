local moonfold = require "moonfold"
local support = require "support"
local sorted = require("pl.tablex").sort

local EXISTS = moonfold.STREAM_EXISTS
local MISSING = moonfold.STREAM_DOES_NOT_EXIST
local ANY = moonfold.NO_CONCURRENCY_CHECK

local ticks = support.ticks

local counter = {
  initial_state = 0,
  evolve = { Ticked = function(state) return state + 1 end },
  decide = function() return { type = "Ticked" } end,
}

--- Ways to name an expectation: each touches stream "a" and nothing else.
local operations = {
  append_to_stream = function(store, expected)
    return store:append_to_stream("a", { type = "Ticked" }, { expected_stream_version = expected })
  end,
  ["append_to_stream with no events"] = function(store, expected)
    return store:append_to_stream("a", {}, { expected_stream_version = expected })
  end,
  read_stream = function(store, expected)
    return store:read_stream("a", { expected_stream_version = expected })
  end,
  aggregate_stream = function(store, expected)
    return store:aggregate_stream("a", counter, { expected_stream_version = expected })
  end,
  handle = function(store, expected)
    return store:handle("a", counter, { type = "Tick" }, { expected_stream_version = expected })
  end,
  attempt = function(store, expected)
    return store:attempt("a", counter, { type = "Tick" }, { expected_stream_version = expected })
  end,
  decide = function(store, expected)
    return store:decide("a", counter, { type = "Tick" }, { expected_stream_version = expected })
  end,
}

--- A store whose stream "a" stands at this version.
local function at(version)
  local store = moonfold.open(":memory:")
  store:append_to_stream("a", ticks(version))
  return store
end

local function holds(operation, expected, version)
  local store <close> = at(version)
  assert.is_table(operation(store, expected))
end

local function conflicts(operation, expected, version)
  local store <close> = at(version)
  support.refuses(store, "version_conflict", { stream = "a", expected = expected, current = version },
    operation, store, expected)
end

for name, operation in sorted(operations) do
  describe("an expectation given to " .. name, function()
    it("of nothing holds for every stream (case 14)", function()
      for _, version in ipairs { 0, 1, 100 } do
        holds(operation, ANY, version)
        holds(operation, nil, version)
      end
    end)

    it("that the stream does not exist holds for a missing one only (case 15)", function()
      holds(operation, MISSING, 0)
      conflicts(operation, MISSING, 1)
      conflicts(operation, MISSING, 100)
    end)

    it("that the stream exists holds for an existing one only (case 16)", function()
      holds(operation, EXISTS, 1)
      holds(operation, EXISTS, 100)
      conflicts(operation, EXISTS, 0)
    end)

    it("of a version holds at that version (case 17)", function()
      for _, version in ipairs { 0, 1, 100 } do
        holds(operation, version, version)
      end
    end)

    it("of a version fails at every other (case 18)", function()
      conflicts(operation, 100, 0)
      conflicts(operation, 0, 1)
      conflicts(operation, 1, 2)
      conflicts(operation, 0, 100)
    end)

    it("of no version that could be is refused", function()
      local store <close> = at(1)
      for _, expected in ipairs { -1, 0.5, "1", "stream_exists", "ANY", true, {} } do
        support.refuses(store, "invalid_argument", { path = "options.expected_stream_version" },
          operation, store, expected)
      end
    end)
  end)
end

describe("the expectation of an aggregate that stops early", function()
  it("is compared with the stream's version, not with the state's", function()
    local store <close> = at(10)
    local result = store:aggregate_stream("a", counter, { to = 2, expected_stream_version = 10 })
    assert.equal(2, result.current_stream_version)
    support.fails("version_conflict", { expected = 2, current = 10 },
      store.aggregate_stream, store, "a", counter, { to = 2, expected_stream_version = 2 })
  end)
end)

describe("the expectation of a read that takes a part", function()
  it("is compared with the stream's version", function()
    local store <close> = at(10)
    local result = store:read_stream("a", { from = 3, to = 4, expected_stream_version = 10 })
    assert.equal(2, #result.events)
    support.fails("version_conflict", { expected = 4, current = 10 },
      store.read_stream, store, "a", { from = 3, to = 4, expected_stream_version = 4 })
  end)
end)

support.everywhere(function(open)
  describe("a sequence of appends of two events", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function append(expected)
      local events = {
        { type = "ProductItemAdded", data = { product = "shoes", qty = 2, price = 30 }, metadata = { by = "Ada" } },
        { type = "DiscountApplied", data = { percent = 10 }, metadata = { by = "Ada" } },
      }
      return store:append_to_stream("cart", events, { expected_stream_version = expected })
    end

    local function conflict(expected, current)
      support.refuses(store, "version_conflict", { stream = "cart", expected = expected, current = current },
        append, expected)
    end

    it("creates the stream when version 0 is expected (case 19)", function()
      local result = append(0)
      assert.equal(2, result.next_expected_stream_version)
      assert.equal(2, result.last_event_global_position)
      assert.is_true(result.created_new_stream)
    end)

    it("creates the stream when nothing is expected (case 20)", function()
      assert.equal(2, append().next_expected_stream_version)
    end)

    it("goes from 2 to 4 when nothing is expected (case 21)", function()
      assert.equal(2, append().next_expected_stream_version)
      assert.equal(4, append().next_expected_stream_version)
    end)

    it("goes from 2 to 4 when 2 is expected (case 22)", function()
      append()
      assert.equal(4, append(2).next_expected_stream_version)
    end)

    it("fails when version 0 is expected twice (case 24)", function()
      append(0)
      conflict(0, 2)
      assert.equal(2, store:stream_version("cart"))
    end)

    it("fails when version 2 is expected twice (case 25)", function()
      append()
      append(2)
      conflict(2, 4)
      assert.equal(4, store:stream_version("cart"))
    end)

    it("goes from 0 to 2 to 4 when each expects what the last one told (case 26)", function()
      local result = append(0)
      append(result.next_expected_stream_version)
      assert.equal(4, store:stream_version("cart"))
    end)

    it("fails when it expects a version that is still to come (case 27)", function()
      append()
      conflict(4, 2)
      assert.equal(2, store:stream_version("cart"))
    end)
  end)
end)

describe("a version conflict", function()
  it("reads well and blames the line that appended", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("account-7", ticks(2))
    local failure = support.fails("version_conflict", nil, function()
      store:append_to_stream("account-7", { type = "Ticked" }, { expected_stream_version = 51 })
    end)
    local line = debug.getinfo(1, "l").currentline - 2
    assert.matches("04-expectations_spec.lua:" .. line .. ": version_conflict: ", tostring(failure), 1, true)
    assert.matches("account-7", failure.message, 1, true)
    assert.matches("51", failure.message, 1, true)
    assert.matches("%f[%d]2%f[%D]", failure.message)
  end)
end)
