local moonfold = require "moonfold"
local support = require "support"

--- The seed of the random values; MOONFOLD_SEED=n plays a failed run again.
local SEED = tonumber(os.getenv "MOONFOLD_SEED") or os.time()

--- Equal to the last bit: integers apart from floats, 0.0 apart from -0.0, empty lists apart from empty maps.
local function identical(a, b)
  if type(a) ~= type(b) or math.type(a) ~= math.type(b) then return false end
  if type(a) == "number" then return a == b and 1 / a == 1 / b end
  if type(a) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not identical(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return next(a) ~= nil or moonfold.to_json(a) == moonfold.to_json(b)
end

local function keeps(store, value)
  store:append_to_stream("values", { type = "Value", data = value, metadata = { value } })
  local read = store:read_stream("values", { backwards = true, max_count = 1 }).events[1]
  for _, copy in ipairs { read.data, read.metadata[1] } do
    if not identical(value, copy) then
      require("busted").fail(("stored %s, but read %s"):format(support.literal(value), support.literal(copy)), 2)
    end
  end
  return read.data
end

describe("a value that is stored", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  it("may be a string of any bytes", function()
    local all = {}
    for byte = 0, 255 do all[#all + 1] = string.char(byte) end
    for _, text in ipairs { "", "\0", "a\0b", "\255\254", "Grüße, 月", "\xed\xa0\x80", table.concat(all) } do
      keeps(store, text)
      keeps(store, { [text] = text })
    end
  end)

  it("may be a string of any length", function()
    for _, length in ipairs { 31, 32, 255, 256, 65535, 65536, 1000003 } do
      local text = ("moon\0"):rep(length // 5 + 1):sub(1, length)
      assert.is_true(keeps(store, text) == text)
    end
  end)

  it("may be an integer of 64 bits, and stays an integer", function()
    for bits = 0, 62 do
      local n = 1 << bits
      keeps(store, n)
      keeps(store, -n)
      keeps(store, n - 1)
      keeps(store, n + 1)
      keeps(store, -n - 1)
    end
    keeps(store, math.maxinteger)
    keeps(store, math.mininteger)
  end)

  it("may be a float, and stays a float", function()
    for _, x in ipairs { 0.0, -0.0, 1.0, 0.1, 1 / 3, math.pi, 1e15, 2.0 ^ 53, 2.0 ^ 63, 1e308, 5e-324, 2.5e-310 } do
      keeps(store, x)
      keeps(store, { x, -x })
    end
  end)

  it("may be true and false, also in tables", function()
    keeps(store, true)
    keeps(store, false)
    keeps(store, { false, true, a = false })
  end)

  it("may be null, which is not nil", function()
    assert.is_true(keeps(store, moonfold.null) == moonfold.null)
    local data = keeps(store, { moonfold.null, 1, a = moonfold.null })
    assert.is_true(data[1] == moonfold.null and data.a == moonfold.null)
    assert.is_not_nil(data.a)
    assert.is_nil(data.b)
  end)

  it("may be a list, which ends at the first nil", function()
    keeps(store, { 1 })
    keeps(store, { "a", { "b", { "c" } } })
    local read = keeps(store, { 1, 2, 3, nil })
    assert.equal(3, #read)
  end)

  it("may be a list of any length", function()
    for _, n in ipairs { 15, 16, 17, 65535, 65536 } do
      local list = {}
      for i = 1, n do list[i] = i % 7 end
      assert.equal(n, #keeps(store, list))
    end
  end)

  it("may be a map with text as keys", function()
    keeps(store, { a = 1 })
    keeps(store, { [""] = 1, ["1"] = 2, ["a b"] = 3, ["\0"] = 4, ["end"] = 5 })
  end)

  it("may be a map of any size", function()
    for _, n in ipairs { 15, 16, 17, 65535, 65536 } do
      local map = {}
      for i = 1, n do map["key" .. i] = i end
      keeps(store, map)
    end
  end)

  it("may be a map with integers as keys, which stay integers", function()
    keeps(store, { [3] = "sword" })
    keeps(store, { [0] = 0 })
    keeps(store, { [-1] = -1, [0] = 0, [1] = 1, [2] = 2 })
    keeps(store, { [1] = "a", [3] = "c" })
    keeps(store, { [math.maxinteger] = 1, [math.mininteger] = 2, [1 << 53] = 3 })
    local slots = keeps(store, { slots = { [3] = "sword", [7] = "shield" } }).slots
    assert.equal("sword", slots[3])
    assert.is_nil(slots["3"])
  end)

  it("may be a list with a hole, which is a map and loses nothing", function()
    keeps(store, { "a", nil, "c" })
    keeps(store, { "a", "b", nil, "d" })
    keeps(store, { nil, "b" })
    keeps(store, { nil, nil, "c", [-5] = "minus five", [10] = "ten" })
    local holes = {}
    for i = 1, 100 do holes[i] = i end
    for i = 2, 100, 3 do holes[i] = nil end
    keeps(store, holes)
  end)

  it("may be a map with both, and keeps 1 apart from \"1\"", function()
    keeps(store, { "first", "second", name = "mixed" })
    keeps(store, { [1] = "integer", ["1"] = "text" })
    keeps(store, { [10] = 1, ["10"] = 2, [2] = 3, ["2"] = 4, a = 5 })
  end)

  it("may use a float as a key where Lua makes an integer of it", function()
    local data = keeps(store, { [2.0] = "two" })
    assert.equal("integer", math.type(next(data)))
  end)

  it("may be an empty table, which is a map", function()
    assert.equal("{}", moonfold.to_json(keeps(store, {})))
    assert.equal('{"a":{}}', moonfold.to_json(keeps(store, { a = {} })))
  end)

  it("may be an empty list, which stays a list", function()
    assert.equal("[]", moonfold.to_json(keeps(store, moonfold.array())))
    local read = keeps(store, { items = moonfold.array {}, list = { moonfold.array() } })
    assert.equal('{"items":[],"list":[[]]}', moonfold.to_json(read))
    assert.equal('{"items":[],"list":[[]]}', moonfold.to_json(keeps(store, read)))
  end)

  it("may hold one table in two places, which are two tables afterwards", function()
    local shared = { n = 1 }
    local read = keeps(store, { shared, shared, { shared } })
    assert.is_false(rawequal(read[1], read[2]))
    read[1].n = 2
    assert.equal(1, read[2].n)
    assert.equal(1, read[3][1].n)
  end)

  it("may be nested 128 levels deep and not 129", function()
    local function lists(depth)
      local value = moonfold.array()
      for _ = 2, depth do value = { value } end
      return value
    end
    local function maps(depth)
      local value = {}
      for _ = 2, depth do value = { a = value } end
      return value
    end
    for _, nested in ipairs { lists, maps } do
      store:append_to_stream("deep", { type = "Value", data = nested(128), metadata = { a = nested(127) } })
      local read = store:read_stream("deep", { backwards = true, max_count = 1 }).events[1]
      assert.is_true(identical(nested(128), read.data))
      assert.is_true(identical({ a = nested(127) }, read.metadata))
      support.refuses(store, "invalid_argument", nil, store.append_to_stream, store, "deep",
        { type = "Value", data = nested(129) })
      support.refuses(store, "invalid_argument", nil, store.append_to_stream, store, "deep",
        { type = "Value", metadata = { a = nested(128) } })
    end
  end)

  it("may have many shapes one after the other", function()
    for i = 1, 300 do
      local map = {}
      for key = 1, i % 20 do map["k" .. (i * key) % 97] = { [key] = i } end
      keeps(store, map)
    end
  end)
end)

-- ## Random values

local specials = {
  0, 1, -1, math.maxinteger, math.mininteger, 0.0, -0.0, 0.5, -1e300, 5e-324, "", "\0", "é", "\255", "1", true, false,
  moonfold.null,
}

local function random_text(random)
  local bytes = {}
  for i = 1, random(0, 40) do bytes[i] = string.char(random(0, 255)) end
  return table.concat(bytes)
end

local function random_scalar(random)
  local kind = random(5)
  if kind == 1 then return specials[random(#specials)] end
  if kind == 2 then return random(0) >> random(0, 63) end
  if kind == 3 then return (random() - 0.5) * 10.0 ^ random(-300, 300) end
  if kind == 4 then return random_text(random) end
  return ("key"):rep(random(0, 3))
end

local function random_key(random)
  if random(3) == 1 then return random(-3, 20) end
  if random(5) == 1 then return random(0) >> random(0, 63) end
  return random(2) == 1 and "k" .. random(30) or random_text(random)
end

local function random_value(random, depth)
  local kind = depth > 0 and random(4) or 1
  if kind <= 2 then return random_scalar(random) end
  local value = {}
  for i = 1, random(0, 8) do
    value[kind == 3 and i or random_key(random)] = random_value(random, depth - 1)
  end
  if kind == 3 then return moonfold.array(value) end
  return value
end

--- The same value, built in another order.
local function rebuilt(value, random)
  if type(value) ~= "table" then return value end
  local keys, copy = {}, {}
  for key in pairs(value) do table.insert(keys, random(#keys + 1), key) end
  for _, key in ipairs(keys) do copy[key] = rebuilt(value[key], random) end
  if #keys == 0 and moonfold.to_json(value) == "[]" then return moonfold.array(copy) end
  return copy
end

local function shuffled(seed)
  math.randomseed(seed)
  return math.random
end

describe("random values, seed " .. SEED .. ",", function()
  local random
  before_each(function() random = shuffled(SEED) end)

  it("come back as they were", function()
    local store <close> = moonfold.open(":memory:")
    local values, events = {}, {}
    for i = 1, 1500 do
      values[i] = { random_value(random, 5) }
      events[i] = { type = "Value", data = values[i][1], metadata = { v = values[i][1] } }
    end
    store:append_to_stream("values", events)
    local count = 0
    for event in store:events("values") do
      count = count + 1
      local value = values[count][1]
      assert.is_true(identical(value, event.data) and identical({ v = value }, event.metadata),
        ("value %d of seed %d came back as %s"):format(count, SEED, support.literal(event.data)))
    end
    assert.equal(1500, count)
  end)

  it("have the same hash in whatever order they were built, and after they were stored", function()
    local store <close> = moonfold.open(":memory:")
    for i = 1, 300 do
      local value = random_value(random, 4)
      local hash = moonfold.hash(value)
      assert.equal(hash, moonfold.hash(rebuilt(value, random)), ("value %d of seed %d"):format(i, SEED))
      store:append_to_stream("values", { type = "Value", data = value })
      assert.equal(hash, moonfold.hash(store:read_stream("values", { from = i }).events[1].data))
    end
  end)

  it("have another hash when they differ", function()
    local seen = {}
    for _ = 1, 1000 do
      local value = random_value(random, 3)
      local hash = moonfold.hash(value)
      local twin = seen[hash]
      assert.is_true(twin == nil or identical(twin[1], value), ("two values of seed %d share a hash"):format(SEED))
      seen[hash] = { value }
    end
  end)

  it("survive as the state of a decider", function()
    local store <close> = moonfold.open(":memory:")
    local keeper = {
      initial_state = 0,
      evolve = { Kept = function(_, event) return event.data.value end },
      decide = function(keep) return { type = "Kept", data = keep.data } end,
    }
    for i = 1, 200 do
      local value = random_value(random, 4)
      local result = store:handle("keeper", keeper, { type = "Keep", data = { value = value } })
      assert.is_true(identical(value, result.state), ("value %d of seed %d as a state"):format(i, SEED))
    end
  end)
end)

describe("a hash", function()
  local hash = moonfold.hash

  it("is text, the same for equal values", function()
    assert.equal("string", type(hash(1)))
    assert.equal(hash { a = 1, b = { 2, 3 } }, hash { b = { 2, 3 }, a = 1 })
    assert.equal(hash("moon"), hash("mo" .. "on"))
  end)

  it("tells values apart that are merely alike", function()
    local alike = {
      1, 1.0, "1", true, { 1 }, { 1.0 }, { "1" }, { ["1"] = 1 }, { [2] = 1 }, { 1, 2 }, { 2, 1 }, { { 1 } },
      0, 0.0, -0.0, "", "0", false, "false", moonfold.null, "null", {}, moonfold.array(), { {} }, { moonfold.array() },
      { a = 1 }, { a = 2 }, { b = 1 }, { a = 1, b = 1 }, { a = { b = 1 } }, "\0", "\0\0",
    }
    local seen = {}
    for i, value in ipairs(alike) do
      local text = hash(value)
      assert.is_nil(seen[text], ("values %s and %d have the same hash"):format(seen[text], i))
      seen[text] = i
    end
  end)

  it("does not depend on the history of a table", function()
    local grown = {}
    for i = 1, 1000 do grown["key" .. i] = i end
    for i = 4, 1000 do grown["key" .. i] = nil end
    assert.equal(hash { key1 = 1, key2 = 2, key3 = 3 }, hash(grown))
    local filled = { [3] = 3, [2] = 2 }
    filled[1] = 1
    assert.equal(hash { 1, 2, 3 }, hash(filled))
    local keys = { math.mininteger, -1 << 32, -1, 0, 1 << 31, 1 << 32, 1 << 53, math.maxinteger }
    local forwards, backwards = {}, {}
    for i = 1, #keys do
      forwards[keys[i]] = true
      backwards[keys[#keys + 1 - i]] = true
    end
    assert.equal(hash(forwards), hash(backwards))
  end)

  it("is the same in every process", function()
    local run = support.lua [[
      local moonfold = require "moonfold"
      print(moonfold.hash { a = { 1, 2.5, "x" }, [3] = true, n = moonfold.null, e = moonfold.array() })
    ]]
    local value = { a = { 1, 2.5, "x" }, [3] = true, n = moonfold.null, e = moonfold.array() }
    assert.equal(hash(value) .. "\n", run.stdout, run.stderr)
  end)

  it("of a list does not need its mark", function()
    assert.equal(hash { 1, 2 }, hash(moonfold.array { 1, 2 }))
  end)
end)

describe("moonfold.array", function()
  it("returns the table that it marks", function()
    local list = { 1, 2 }
    assert.is_true(rawequal(list, moonfold.array(list)))
    assert.equal(2, #moonfold.array(list))
  end)

  it("makes a new table each time when none is given", function()
    assert.same({}, moonfold.array())
    assert.is_false(rawequal(moonfold.array(), moonfold.array()))
  end)
end)
