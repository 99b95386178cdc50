--- moonfold.history: at, diff, why, find, walk, try.

local history = require "moonfold.history"
local moonfold = require "moonfold"
local support = require "support"
local values = require "moonfold.values"

local event, command = moonfold.event, moonfold.command

local cart = {
  category = "cart",
  initial_state = function() return { items = moonfold.array(), total = 0, slots = {} } end,
  evolve = {
    ItemAdded = function(state, added)
      table.insert(state.items, { sku = added.data.sku, qty = added.data.qty })
      state.total = state.total + added.data.qty
    end,
    ItemRemoved = function(state, removed)
      state.total = state.total - table.remove(state.items, removed.data.line).qty
    end,
    Slotted = function(state, slotted) state.slots[slotted.data.slot] = slotted.data.what end,
    Seen = false,
    Broken = function() error("this event is poison") end,
  },
  decide = {
    Add = function(given, state)
      if state.total + given.data.qty > 10 then moonfold.reject("too_many", "a cart holds 10") end
      return event("ItemAdded", given.data)
    end,
    Look = function() end,
    Stumble = function() error("over my feet") end,
  },
  upcast = {
    ItemPut = function(put) return event("ItemAdded", { sku = put.data, qty = 1 }) end,
  },
}

local function added(sku, qty) return event("ItemAdded", { sku = sku, qty = qty }) end
local function removed(line) return event("ItemRemoved", { line = line }) end
local function slotted(slot, what) return event("Slotted", { slot = slot, what = what }) end

local start <const> = 1000000000000000   -- 2001-09-09 01:46:40 UTC

--- A store whose clock goes on by a minute with each append, and its history.
local function told(streams)
  local time = start
  local store = moonfold.open(":memory:", { clock = function()
    time = time + 60000000
    return time
  end })
  for name, events in pairs(streams) do
    for _, one in ipairs(events) do store:append_to_stream(name, one) end
  end
  return store, history.of(store, cart)
end

local function changes_text(changes)
  local lines = {}
  for i, change in ipairs(changes) do
    lines[i] = ("%s: %s -> %s"):format(change.path, values.literal(change.before), values.literal(change.after))
  end
  return table.concat(lines, "; ")
end

local story <const> = { ["cart-1"] = {
  added("tea", 2), event("Seen"), added("cup", 1), slotted(3, "hat"), removed(1), event("ItemPut", "spoon"),
  slotted(3, nil), slotted(-1, "boot"),
} }

describe("the state of a stream", function()
  local store, past
  before_each(function() store, past = told(story) end)
  after_each(function() store:close() end)

  it("is that of now, of a version, or of none", function()
    assert.equal(2, past:at("cart-1").state.total)
    assert.equal(8, past:at("cart-1").version)
    assert.equal(3, past:at("cart-1", 3).state.total)
    assert.same({ items = {}, total = 0, slots = {} }, past:at("cart-1", 0).state)
    assert.is_nil(past:at("cart-1", 0).event)
  end)

  it("comes with the event that led to it, and what that changed", function()
    local step = past:at("cart-1", 5)
    assert.equal("ItemRemoved", step.event.type)
    assert.equal("cart-1", step.stream_name)
    assert.equal('items[1]: { qty = 2, sku = "tea" } -> nil; total: 3 -> 1', changes_text(step.changes))
    assert.same({}, past:at("cart-1", 2).changes)
  end)

  it("is that of a time, in microseconds or as people write it", function()
    local function version(time) return past:at("cart-1", { time = time }).version end
    assert.equal(0, version(start))
    assert.equal(1, version(start + 60000000))
    assert.equal(1, version(start + 119999999))
    assert.equal(8, version(math.maxinteger))
    assert.equal(0, version("2001-09-09"))
    assert.equal(8, version("2001-09-10"))
    assert.equal(3, version("2001-09-09 01:50"))
    assert.equal(4, version("2001-09-09T01:50:40Z"))
    assert.equal(3, version("2001-09-09 01:50:39.999999"))
    assert.equal(4, version("2001-09-09 01:50:40.5"))
  end)

  it("counts days as the calendar does", function()
    local days = { ["1970-01-01"] = 0, ["2000-02-29"] = 11016, ["2000-03-01"] = 11017, ["2024-12-31"] = 20088 }
    for text, day in pairs(days) do
      local memory <close> = moonfold.open(":memory:", { clock = function() return day * 86400000000 end })
      memory:append_to_stream("cart-1", event("Seen"))
      local one = history.of(memory, cart)
      assert.equal(1, one:at("cart-1", { time = text }).version)
      assert.equal(1, one:at("cart-1", { time = text .. " 00:00" }).version, text)
    end
  end)

  it("is the caller's own: changing it changes nothing later", function()
    past:at("cart-1").state.items[1].sku = "changed"
    assert.equal("cup", past:at("cart-1").state.items[1].sku)
  end)

  it("is read through upcasters, and so is the event", function()
    local step = past:at("cart-1", 6)
    assert.equal("ItemAdded", step.event.type)
    assert.equal("spoon", step.state.items[2].sku)
  end)

  it("is refused where there is none: another version, a time that is none, another stream", function()
    local function at(...) return past.at, past, ... end
    support.fails("invalid_argument", { message = "has 8 events, there is no version 9" }, at("cart-1", 9))
    support.fails("invalid_argument", { path = "version" }, at("cart-1", -1))
    support.fails("invalid_argument", { path = "version" }, at("cart-1", "2"))
    for _, time in ipairs { "yesterday", "2001-13-01", "2001-09-09 01", "2001-09-09 01:50x", "2001-09-09T", 1.5 } do
      support.fails("invalid_argument", { path = "time" }, at("cart-1", { time = time }))
    end
    support.fails("not_found", { message = 'there is no stream "crat-1": did you mean "cart-1"?', nearest = "cart-1" },
      at("crat-1"))
    support.fails("not_found", { message = 'there is no stream "xyzzy"' }, at("xyzzy"))
    assert.is_nil(support.fails("not_found", nil, at("xyzzy")).nearest)
  end)

  it("blames the line that asked", function()
    local failure = support.fails("not_found", nil, function() past:at("crat-1") end)
    assert.matches("^spec/50%-history_spec.lua:%d+$", failure.where)
    local broken = support.fails("invalid_argument", nil, function() past:at("", 1) end)
    assert.matches("^spec/50%-history_spec.lua:%d+$", broken.where)
  end)

  it("cannot be told past an event that evolve fails on, but up to it", function()
    store:append_to_stream("cart-2", { added("tea", 1), event("Broken"), added("tea", 1) })
    assert.equal(1, past:at("cart-2", 1).state.total)
    support.fails("script_error", { position = 2, stream = "cart-2" }, past.at, past, "cart-2")
  end)
end)

describe("the rules of a stream", function()
  local store
  before_each(function()
    store = moonfold.open(":memory:")
    store:append_to_stream("cart-1", added("tea", 1))
    store:append_to_stream("cart-old-1", event("Counted"))
  end)
  after_each(function() store:close() end)

  local counter = { category = "cart-old", initial_state = 0, evolve = { Counted = function(n) return n + 1 end } }

  it("are the decider's whose category it has, the longest one that fits", function()
    local past = history.of(store, { cart, counter })
    assert.equal(1, past:at("cart-1").state.total)
    assert.equal(1, past:at("cart-old-1").state)
    assert.equal(counter, past:decider("cart-old-7"))
  end)

  it("may be those that the store uses", function()
    local domain = store:use("scripts/domain/cart.lua")
    local past = history.of(store, domain)
    assert.equal("cart", past:decider("cart-1").category)
    support.fails("not_found", { message = "they own cart-*" }, past.decider, past, "user-1")
  end)

  it("may be named by a function", function()
    local past = history.of(store, function(stream) return stream == "cart-1" and cart or nil end)
    assert.equal(1, past:at("cart-1").state.total)
    support.fails("not_found", { stream = "cart-old-1" }, past.at, past, "cart-old-1")
  end)

  it("are missed where nobody owns it", function()
    local past = history.of(store, { cart, counter })
    support.fails("not_found", { message = 'no decider owns the stream "user-1": they own cart-*, cart-old-*' },
      past.decider, past, "user-1")
  end)

  it("are needed, as is a store", function()
    support.fails("invalid_argument", { path = "deciders" }, history.of, store)
    support.fails("invalid_argument", { path = "store" }, history.of, {}, cart)
  end)
end)

describe("the difference", function()
  local store, past
  before_each(function()
    store, past = told(story)
    store:append_to_stream("cart-2", added("tea", 2))
  end)
  after_each(function() store:close() end)

  it("of two versions of a stream is what happened between them", function()
    local changes, before, after = past:diff({ stream = "cart-1", version = 3 }, { version = 5 })
    assert.equal('items[1]: { qty = 2, sku = "tea" } -> nil; slots[3]: nil -> "hat"; total: 3 -> 1',
      changes_text(changes))
    assert.same({ 3, 5 }, { before.version, after.version })
    assert.equal("removed", changes[1].kind)
    assert.same({ "items", 1 }, changes[1].keys)
  end)

  it("of two times works as well", function()
    local changes = past:diff({ stream = "cart-1", time = "2001-09-09 01:50" }, {})
    assert.equal("total: 3 -> 2", changes_text { changes[#changes] })
  end)

  it("of two streams compares what they are now", function()
    local changes, before, after = past:diff({ stream = "cart-1", version = 1 }, "cart-2")
    assert.same({}, changes)
    assert.same({ "cart-1", "cart-2" }, { before.stream_name, after.stream_name })
  end)

  it("of two scripts shows what an edit does", function()
    local other = {}
    for key, value in pairs(cart) do other[key] = value end
    other.initial_state = { items = moonfold.array(), total = 100, slots = {} }
    assert.equal("total: 2 -> 102", changes_text((past:diff("cart-1", { decider = other }))))
  end)

  it("of two values is for everybody", function()
    assert.equal("a: 1 -> 2", changes_text(history.changes({ a = 1 }, { a = 2 })))
  end)

  it("names a misspelt key, and needs a stream", function()
    support.fails("invalid_argument", { message = 'unknown option "strem": did you mean "stream"?' }, past.diff, past,
      { strem = "cart-1" })
    support.fails("invalid_argument", { path = "left.stream" }, past.diff, past, {}, "cart-1")
    support.fails("not_found", { nearest = "cart-2" }, past.diff, past, "cart-1", "cart_2")
  end)
end)

describe("why a part of the state is what it is", function()
  local store, past
  before_each(function() store, past = told(story) end)
  after_each(function() store:close() end)

  local function why(path, options)
    local lines = {}
    for i, step in ipairs(past:why("cart-1", path, options)) do
      lines[i] = ("%d %s %s"):format(step.version, step.event.type, changes_text(step.changes))
      assert.equal(step.version, step.event.stream_position)
    end
    return lines
  end

  it("is told by every event that changed it, and no other", function()
    assert.same({ "1 ItemAdded total: 0 -> 2", "3 ItemAdded total: 2 -> 3", "5 ItemRemoved total: 3 -> 1",
      "6 ItemAdded total: 1 -> 2" }, why "total")
  end)

  it("is told of what comes and goes", function()
    assert.same({ '4 Slotted slots[3]: nil -> "hat"', '7 Slotted slots[3]: "hat" -> nil' }, why "slots[3]")
    assert.same({ '8 Slotted slots[-1]: nil -> "boot"' }, why "slots[-1]")
    assert.same({ '1 ItemAdded items[1].sku: nil -> "tea"', '5 ItemRemoved items[1].sku: "tea" -> "cup"' },
      why "items[1].sku")
  end)

  it("is told of lists and maps by what changed in them", function()
    assert.same({ '1 ItemAdded items[1]: nil -> { qty = 2, sku = "tea" }',
      '3 ItemAdded items[2]: nil -> { qty = 1, sku = "cup" }',
      '5 ItemRemoved items[1]: { qty = 2, sku = "tea" } -> nil',
      '6 ItemAdded items[2]: nil -> { qty = 1, sku = "spoon" }' }, why "items")
    assert.same({ '4 Slotted slots[3]: nil -> "hat"' }, why("", { from = 4, to = 4 }))
  end)

  it("takes keys for a path, and a range", function()
    assert.same({ "5 ItemRemoved total: 3 -> 1" }, why({ "total" }, { from = 4, to = 5 }))
    assert.same({}, why("total", { from = 9 }))
  end)

  it("is nothing for a part that never was", function()
    assert.same({}, why "totla")
    assert.same({}, why "total.x")
  end)

  it("needs a path that is one", function()
    local function refused(path)
      return support.fails("invalid_argument", { path = "path" }, past.why, past, "cart-1", path)
    end
    assert.matches('"items[" is no path, from "[" on', refused("items[").message, 1, true)
    refused(nil)
    refused(7)
    support.fails("not_found", { nearest = "cart-1" }, past.why, past, "cart1", "total")
    support.fails("invalid_argument", { message = 'did you mean "from"?' }, past.why, past, "cart-1", "", { form = 1 })
  end)
end)

describe("finding the first event after which something holds", function()
  local store, past
  before_each(function() store, past = told(story) end)
  after_each(function() store:close() end)

  local function version(...)
    local step = past:find("cart-1", ...)
    return step and step.version
  end

  it("gives the step, or nothing when it never does", function()
    local step = past:find("cart-1", function(state) return #state.items == 2 end)
    assert.equal(3, step.version)
    assert.equal("ItemAdded", step.event.type)
    assert.equal(3, step.state.total)
    assert.equal("total: 2 -> 3", changes_text { step.changes[#step.changes] })
    assert.is_nil(version(function() return false end))
  end)

  it("is the first event when it held from the beginning", function()
    assert.equal(1, version(function() return true end))
    assert.equal(2, version(function(state) return state.total == 2 end, { from = 2 }))
  end)

  it("looks at a part only where that is enough", function()
    local asked = 0
    assert.equal(5, version(function(total)
      asked = asked + 1
      return total == 1
    end, { path = "total" }))
    assert.equal(3, asked)
  end)

  it("looks at no more states than halving needs when the predicate is monotonic", function()
    store:append_to_stream("cart-9", support.ticks(1000))
    local long = history.of(store, { initial_state = 0, evolve = { Ticked = function(n) return n + 1 end } })
    for _, limit in ipairs { 1, 2, 499, 500, 501, 999, 1000 } do
      local asked = 0
      local step = long:find("cart-9", function(n)
        asked = asked + 1
        return n >= limit
      end, { monotonic = true })
      assert.equal(limit, step.version)
      assert.is_true(asked <= 11, asked .. " states were looked at")
    end
    assert.is_nil(long:find("cart-9", function(n) return n > 1000 end, { monotonic = true }))
    assert.is_nil(long:find("cart-9", function() return true end, { monotonic = true, from = 1001 }))
  end)

  it("lets an error of the predicate out", function()
    local found, problem = pcall(past.find, past, "cart-1", function(state) return state.no.such end)
    assert.is_false(found)
    assert.matches("attempt to index", problem, 1, true)
    support.fails("invalid_argument", { path = "predicate" }, past.find, past, "cart-1", "total > 3")
  end)
end)

describe("walking through a stream", function()
  local store, past
  before_each(function() store, past = told(story) end)
  after_each(function() store:close() end)

  it("gives every event with its change and the state after it", function()
    local versions, totals = {}, {}
    for step in past:walk("cart-1") do
      versions[#versions + 1] = step.version
      totals[#totals + 1] = step.state.total
      assert.equal(step.version, step.event.stream_position)
    end
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8 }, versions)
    assert.same({ 2, 2, 3, 3, 1, 2, 2, 2 }, totals)
  end)

  it("goes forth and back, and anywhere", function()
    local walk = past:walk("cart-1", { from = 2, to = 6 })
    assert.is_nil(walk:previous())
    assert.equal(2, walk:next().version)
    assert.is_nil(walk:previous())
    assert.equal(6, walk:go(6).version)
    assert.is_nil(walk:next())
    local step = walk:previous()
    assert.equal("total: 3 -> 1", changes_text { step.changes[#step.changes] })
    support.fails("invalid_argument", { message = "from version 2 to 6, 7 is outside" }, walk.go, walk, 7)
  end)

  it("stands where it was after an event that evolve fails on", function()
    store:append_to_stream("cart-2", { added("tea", 1), event("Broken") })
    local walk = past:walk("cart-2")
    walk:next()
    support.fails("script_error", { position = 2 }, walk.next, walk)
    assert.equal(1, walk.version)
  end)

  it("shows at every version of a long stream what a fold shows", function()
    store:append_to_stream("sum-1", support.ticks(3000))
    local sum = { initial_state = { n = 0 }, evolve = { Ticked = function(s, tick) s.n = s.n + tick.data end } }
    local walk = history.of(store, sum):walk("sum-1")
    local function check(version, step)
      assert.equal(version, step.version)
      assert.equal(version * (version + 1) // 2, step.state.n)
      assert.equal(version, step.changes[1].after - step.changes[1].before)
    end
    local versions = { 3000, 1500, 1499, 2, 1, 2999, 64, 63, 65, 1600 }
    for _, version in ipairs(versions) do check(version, walk:go(version)) end
    for version = 1599, 1300, -1 do check(version, walk:previous()) end
    for version = 1301, 1700 do check(version, walk:next()) end
  end)
end)

describe("trying a command", function()
  local store, past
  before_each(function() store, past = told(story) end)
  after_each(function() store:close() end)

  it("tells what would be decided, what state would follow, and what that would change", function()
    local outcome = past:try("cart-1", command("Add", { sku = "mug", qty = 3 }))
    assert.equal("ItemAdded", outcome.events[1].type)
    assert.equal(5, outcome.state.total)
    assert.equal('items[3]: nil -> { qty = 3, sku = "mug" }; total: 2 -> 5', changes_text(outcome.changes))
    assert.equal(8, store:stream_version("cart-1"))
  end)

  it("tells of a refusal, and of a decision to do nothing", function()
    local outcome = past:try("cart-1", command("Add", { sku = "mug", qty = 30 }))
    assert.equal("too_many", outcome.rejection.reason)
    assert.equal(2, outcome.state.total)
    assert.same({ {}, {} }, { outcome.events, outcome.changes })
    assert.same({}, past:try("cart-1", command("Look")).events)
  end)

  it("may begin a stream, but in no other way does what handle does not", function()
    assert.equal(1, past:try("cart-7", command("Add", { sku = "mug", qty = 1 })).state.total)
    support.fails("unknown_command_type", { message = 'did you mean "Add"?' }, past.try, past, "cart-1", command("Adn"))
    support.fails("script_error", { command_type = "Stumble" }, past.try, past, "cart-1", command("Stumble"))
  end)
end)

describe("a stream of 10,000 events", function()
  local store, past
  setup(function()
    store = moonfold.open(":memory:")
    local events = {}
    for i = 1, 10000 do events[i] = added("item-" .. i, 1) end
    store:append_to_stream("cart-1", events)
    past = history.of(store, cart)
  end)
  teardown(function() store:close() end)

  it("is asked why, though its state is large", function()
    local steps = past:why("cart-1", "total")
    assert.equal(10000, #steps)
    assert.equal("total: 9999 -> 10000", changes_text(steps[10000].changes))
    assert.equal(1, #past:why("cart-1", "items[5000].sku"))
  end)

  it("is searched by a part of its state, and by halving", function()
    local function many(total) return total >= 7777 end
    assert.equal(7777, past:find("cart-1", many, { path = "total" }).version)
    assert.equal(7777, past:find("cart-1", many, { path = "total", monotonic = true }).version)
  end)

  it("is walked from its end", function()
    local walk = past:walk("cart-1")
    assert.equal(10000, walk:go(10000).state.total)
    for version = 9999, 9990, -1 do assert.equal(version, walk:previous().state.total) end
  end)
end)
