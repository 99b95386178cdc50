local moonfold = require "moonfold"
local support = require "support"
local sorted = require("pl.tablex").sort

local function nested(depth)
  local value = { leaf = true }
  for _ = 2, depth do value = { value } end
  return value
end

local cycle = { name = "cycle" }
cycle.self = cycle

local long_way_round = { { {} } }
long_way_round[1][1][1] = long_way_round

--- What cannot be stored, and where it is found below "data".
local bad_values = {
  ["not a number"] = { 0 / 0, "" },
  ["infinity"] = { { price = math.huge }, ".price" },
  ["minus infinity"] = { { { -math.huge } }, "[1][1]" },
  ["a function"] = { { items = { 1, 2, print } }, ".items[3]" },
  ["a coroutine"] = { { a = { b = coroutine.create(print) } }, ".a.b" },
  ["a file"] = { { io.stdout }, "[1]" },
  ["a table inside itself"] = { cycle, ".self" },
  ["a table inside its grandchild"] = { long_way_round, "[1][1][1]" },
}

local bad_keys = {
  ["a boolean"] = { [true] = 1 },
  ["a fraction"] = { [0.5] = 1 },
  ["a table"] = { [{}] = 1 },
  ["a function"] = { [print] = 1 },
}

support.everywhere(function(open)
  describe("an event", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function refuses(path, event)
      return support.refuses(store, "invalid_argument", { path = path },
        store.append_to_stream, store, "a", { { type = "Good" }, event })
    end

    for name, bad in sorted(bad_values) do
      it("may not have data with " .. name, function()
        local failure = refuses("events[2].data" .. bad[2], { type = "Bad", data = bad[1] })
        assert.matches("events[2].data" .. bad[2], failure.message, 1, true)
      end)

      it("may not have metadata with " .. name, function()
        refuses("events[2].metadata.of" .. bad[2], { type = "Bad", metadata = { of = bad[1] } })
      end)
    end

    for name, data in sorted(bad_keys) do
      it("may not have data with " .. name .. " as a key", function()
        local failure = support.refuses(store, "invalid_argument", nil,
          store.append_to_stream, store, "a", { { type = "Good" }, { type = "Bad", data = { map = data } } })
        assert.matches("^events%[2%]%.data%.map", failure.path)
      end)
    end

    it("may be nested 128 levels deep", function()
      store:append_to_stream("a", { type = "Deep", data = nested(128) })
      assert.same(nested(128), store:read_stream("a").events[1].data)
    end)

    it("may not be nested 129 levels deep", function()
      local failure = support.refuses(store, "invalid_argument", nil,
        store.append_to_stream, store, "a", { type = "Deep", data = nested(129) })
      assert.matches("128", failure.message, 1, true)
    end)

    it("may hold the same table twice, for that is no cycle", function()
      local shared = { 1 }
      store:append_to_stream("a", { type = "A", data = { shared, shared } })
      assert.same({ { 1 }, { 1 } }, store:read_stream("a").events[1].data)
    end)

    it("is named with keys that read well", function()
      refuses('events[2].data["two words"]', { type = "Bad", data = { ["two words"] = print } })
      refuses("events[2].data[7]", { type = "Bad", data = { [7] = print } })
    end)
  end)

  describe("an event's size", function()
    local MiB = 1024 * 1024

    it("may come near to 64 MiB", function()
      local store <close> = open { durability = "none" }
      local data = ("moon"):rep(16 * MiB - 256)
      store:append_to_stream("a", { type = "Big", data = data })
      assert.is_true(store:read_stream("a").events[1].data == data)
    end)

    it("may not go beyond 64 MiB", function()
      local store <close> = open()
      local failure = support.refuses(store, "invalid_argument", { path = "events[2]" },
        store.append_to_stream, store, "a", { { type = "A" }, { type = "Big", data = ("x"):rep(64 * MiB + 1) } })
      assert.matches("64 MiB", failure.message, 1, true)
    end)
  end)
end)

describe("a value given to hash or to_json", function()
  for name, bad in sorted(bad_values) do
    it("may not be " .. name, function()
      support.fails("invalid_argument", { path = "value" .. bad[2] }, moonfold.hash, bad[1])
      support.fails("invalid_argument", { path = "value" .. bad[2] }, moonfold.to_json, bad[1])
    end)
  end
end)

describe("a command's data", function()
  for name, bad in sorted(bad_values) do
    it("may not be " .. name, function()
      local store <close> = moonfold.open(":memory:")
      local decided = 0
      local decider = {
        initial_state = {},
        evolve = { Went = false },
        decide = function() decided = decided + 1 return { type = "Went" } end,
      }
      support.refuses(store, "invalid_argument", { path = "command.data" .. bad[2] },
        store.handle, store, "a", decider, { type = "Go", data = bad[1] })
      assert.equal(0, decided)
    end)
  end
end)
