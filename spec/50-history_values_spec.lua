--- moonfold.values and moonfold.nearest: values as text, paths, differences, names that were misspelt.

local moonfold = require "moonfold"
local nearest = require "moonfold.nearest"
local values = require "moonfold.values"

describe("a value as Lua source", function()
  local function same(value) return assert(load("local moonfold = ... return " .. values.literal(value)))(moonfold) end

  it("has sorted keys, numbers first", function()
    assert.equal('{ [-1] = 2, [3] = 1, a = true, ["b c"] = moonfold.null, ["end"] = 0 }',
      values.literal { a = true, ["b c"] = moonfold.null, [3] = 1, [-1] = 2, ["end"] = 0 })
  end)

  it("reads back as the same value", function()
    local value = {
      list = { 1, 2.0, { 0.1, 1e300, -3 } }, empty = {}, none = moonfold.array(), text = 'a "quoted"\nline\t\0\255é',
      [7] = false, null = moonfold.null, deep = { { { x = math.mininteger, y = -2.0^63 } } },
    }
    assert.equal(moonfold.hash(value), moonfold.hash(same(value)))
  end)

  it("goes over several lines when it is too long for one", function()
    assert.equal("{\n  a = 1,\n  b = {\n    1,\n    2,\n  },\n}", values.literal({ a = 1, b = { 1, 2 } }, "", 5))
  end)
end)

describe("a path", function()
  it("is written as one would write it in Lua, and read back", function()
    for _, case in ipairs {
      { "", {} }, { "total", { "total" } }, { "items[2].qty", { "items", 2, "qty" } },
      { '["a key"].b', { "a key", "b" } }, { "slots[-1]", { "slots", -1 } }, { "[3][1]", { 3, 1 } },
      { '["end"]', { "end" } },
    } do
      assert.same(case[2], values.parse_path(case[1]), case[1])
      assert.equal(case[1], values.path(case[2]))
    end
  end)

  it("may begin with a dot, and name an index after one", function()
    assert.same({ "items", 2 }, values.parse_path(".items.2"))
  end)

  it("tells where it is none", function()
    for text, at in pairs { ["a..b"] = 2, ["items["] = 6, ["a b"] = 2, ["a[x]"] = 2, ["3a"] = 1, ["a]"] = 2 } do
      assert.same({ nil, at, n = 2 }, table.pack(values.parse_path(text)), text)
    end
  end)

  it("leads to a part of a value, or nowhere", function()
    local value = { items = { { qty = 4 } }, none = false }
    assert.equal(4, values.get(value, { "items", 1, "qty" }))
    assert.equal(value, values.get(value, {}))
    assert.is_false(values.get(value, { "none" }))
    assert.is_nil(values.get(value, { "items", 2, "qty" }))
    assert.is_nil(values.get(value, { "none", "x" }))
    assert.is_nil(values.get(7, { "x" }))
  end)
end)

describe("the difference of two values", function()
  local function told(before, after)
    local lines = {}
    for i, change in ipairs(values.changes(before, after)) do
      assert.equal(change.path, values.path(change.keys))
      lines[i] = ("%s %s: %s -> %s"):format(change.kind, change.path, values.literal(change.before),
        values.literal(change.after))
    end
    return table.concat(lines, "; ")
  end

  it("is nothing when they are the same", function()
    local value = { 1, { a = moonfold.null, b = { moonfold.array(), {} } }, "x" }
    assert.equal("", told(value, value))
    assert.equal("", told({ a = 1, b = { 2 } }, { b = { 2 }, a = 1 }))
  end)

  it("names what was added, removed and changed, in the order of the paths", function()
    assert.equal("removed a: 1 -> nil; changed b.c: 2 -> 3; added d: nil -> { 4 }",
      told({ a = 1, b = { c = 2 } }, { b = { c = 3 }, d = { 4 } }))
  end)

  it("is exact: integers and floats, lists and maps, null and nothing, false and nothing", function()
    assert.equal("changed n: 1 -> 1.0", told({ n = 1 }, { n = 1.0 }))
    assert.equal("changed n: {} -> moonfold.array()", told({ n = {} }, { n = moonfold.array() }))
    assert.equal("removed n: moonfold.null -> nil", told({ n = moonfold.null, m = 1 }, { m = 1 }))
    assert.equal("added n: nil -> false", told({ m = 1 }, { n = false, m = 1 }))
    assert.equal("changed : 1 -> { a = 1 }", told(1, { a = 1 }))
    assert.equal("changed n: { a = 1 } -> { 1 }", told({ n = { a = 1 } }, { n = { 1 } }))
    assert.equal("added n.a: nil -> 1", told({ n = {} }, { n = { a = 1 } }))
  end)

  it("knows what was put into a list or taken out, at either end or in the middle", function()
    assert.equal("removed [1]: 1 -> nil", told({ 1, 2, 3 }, { 2, 3 }))
    assert.equal("removed [2]: 2 -> nil", told({ 1, 2, 3 }, { 1, 3 }))
    assert.equal("added [2]: nil -> 9", told({ 1, 2 }, { 1, 9, 2 }))
    assert.equal("added [3]: nil -> false", told({ 1, 2 }, { 1, 2, false }))
    assert.equal("changed [2].q: 1 -> 2", told({ 0, { q = 1 }, 5 }, { 0, { q = 2 }, 5 }))
    assert.equal("removed items[1]: 1 -> nil", told({ items = { 1 } }, { items = moonfold.array() }))
    assert.equal("added items[1]: nil -> 1", told({ items = moonfold.array() }, { items = { 1 } }))
  end)

  it("takes integer keys with holes for a map", function()
    assert.equal("removed slots[3]: 1 -> nil; added slots[5]: nil -> 1",
      told({ slots = { [1] = 0, [3] = 1 } }, { slots = { [1] = 0, [5] = 1 } }))
  end)

  it("agrees with moonfold.hash on what is equal", function()
    local some = { 0, 0.0, -1, "", "0", true, false, moonfold.null, {}, moonfold.array(), { 1 }, { 1.0 }, { a = {} },
      { a = moonfold.array() }, { [1] = 1, [3] = 1 }, { 1, 1 } }
    for _, a in ipairs(some) do
      for _, b in ipairs(some) do
        local equal = moonfold.hash(a) == moonfold.hash(b)
        assert.equal(equal, values.equal(a, b), values.literal(a) .. " and " .. values.literal(b))
        assert.equal(equal, #values.changes(a, b) == 0)
      end
    end
  end)
end)

describe("the nearest name", function()
  it("is the one with the fewest letters to change, and capitals hardly count", function()
    assert.equal("cart-12", nearest.of("crat-12", { "cart-1", "cart-12", "cart-13" }))
    assert.equal("ItemAdded", nearest.of("itemadded", { "ItemAdder", "ItemAdded" }))
  end)

  it("is none when no name looks like it", function()
    assert.is_nil(nearest.of("account-ada", { "cart-1", "quest-dragon" }))
    assert.is_nil(nearest.of("x", {}))
  end)

  it("may come from an iterator", function()
    assert.equal("beta", nearest.of("bata", ("alpha beta gamma"):gmatch("%a+")))
  end)

  it("is the same with and without a limit on the steps", function()
    local words = { "", "a", "ab", "abc", "acb", "cart", "crat", "cart-1", "trac", "inventory", "inventroy" }
    for _, a in ipairs(words) do
      for _, b in ipairs(words) do
        local steps = nearest.distance(a, b)
        for limit = 0, 10 do
          local found = nearest.distance(a, b, limit)
          assert.is_true(steps <= limit and found == steps or steps > limit and found > limit, a .. " " .. b)
        end
      end
    end
  end)
end)
