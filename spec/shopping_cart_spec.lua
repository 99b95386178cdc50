--- The shopping cart at work: its story in examples/, time travel, and what handling its commands answers.

local moonfold = require "moonfold"
local support = require "support"
local cart = require "moonfold.domain.cart"

local command, event = moonfold.command, moonfold.event

local function add(product, qty, price)
  return command("AddProductItem", { product = product, qty = qty, price = price })
end

local discount = command("ApplyDiscount", { percent = 10 })
local confirm, cancel = command("ConfirmCart"), command("CancelCart")

describe("the example", function()
  local folder = "examples/shopping_cart/"

  local function tell(...)
    local words = { support.quote(support.program()), "run", folder .. "main.lua" }
    for _, argument in ipairs { ... } do words[#words + 1] = support.quote(argument) end
    return support.shell("exec timeout -s KILL 60 " .. table.concat(words, " "))
  end

  it("tells the story in transcript.txt", function()
    local told = tell()
    assert.equal("", told.stderr)
    assert.equal(0, told.status)
    assert.equal(support.read(folder .. "transcript.txt"), told.stdout)
  end)

  it("tells it the same on a store that is kept", function()
    local path = support.path()
    assert.equal(support.read(folder .. "transcript.txt"), tell(path).stdout)
    local store <close> = moonfold.open(path)
    assert.equal("confirmed", store:aggregate_stream("cart-ada", cart).state.status)
    assert.same({ ["cart-ada"] = 6, ["cart-bob"] = 1, ["inventory-cup"] = 2, ["inventory-tea"] = 2 },
      support.versions(store))
  end)

  it("does not tell it twice on one store", function()
    local path = support.path()
    tell(path)
    local again = tell(path)
    assert.is_true(again.status ~= 0)
    assert.matches("give the name of a new file", again.stderr, 1, true)
    local store <close> = moonfold.open(path)
    assert.equal(11, support.count(store))
  end)
end)

describe("a cart's history", function()
  local item = { product = "tea", qty = 10, price = 3 }

  -- The cart at each version: { version, items, total }.
  local function check_history(aggregate)
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("cart-1", event("ProductItemAdded", item))
    store:append_to_stream("cart-1", event("ProductItemAdded", item))
    store:append_to_stream("cart-1", event("DiscountApplied", { percent = 10 }))
    for version, expected in ipairs { { 1, 30 }, { 2, 60 }, { 2, 54 } } do
      local past = store:aggregate_stream("cart-1", aggregate, { to = version })
      assert.equal(version, past.current_stream_version)
      assert.same(expected, { #past.state.items, past.state.total })
    end
  end

  it("can be visited at every version (cases 1, 11 to 13)", function()
    check_history(cart)
  end)

  it("is the same for an evolve that looks at where an event was recorded (case 2)", function()
    check_history {
      initial_state = cart.initial_state,
      evolve = function(state, recorded)
        assert.equal("cart-1", recorded.stream_name)
        assert.equal(recorded.global_position, recorded.stream_position)
        return cart.evolve[recorded.type](state, recorded)
      end,
    }
  end)
end)

describe("handling", function()
  local store

  before_each(function()
    store = moonfold.open(":memory:")
    store:append_to_stream("inventory-tea", event("GoodsReceived", { qty = 100 }))
  end)

  after_each(function() store:close() end)

  local function handle(...) return store:handle("cart-1", cart, ...) end

  it("a first command creates the stream (cases 52, 53)", function()
    local result = handle(add("tea", 10, 3), { expected_stream_version = moonfold.STREAM_DOES_NOT_EXIST })
    assert.is_true(result.created_new_stream)
    assert.equal(1, #result.events)
    assert.equal(30, result.state.total)
    assert.equal(1, result.next_expected_stream_version)
    assert.equal(2, result.last_event_global_position)
  end)

  it("no commands records nothing and creates nothing (case 54)", function()
    local result = handle {}
    assert.same({}, result.events)
    assert.same(cart.initial_state(), result.state)
    assert.equal(0, result.next_expected_stream_version)
    assert.is_false(result.created_new_stream)
    assert.is_nil(result.last_event_global_position)
    assert.is_false(store:stream_exists("cart-1"))
  end)

  it("a list of commands records the events of all (cases 55, 68)", function()
    local result = handle { add("tea", 10, 3), discount, confirm }
    assert.same({ "ProductItemAdded", "DiscountApplied", "CartConfirmed" }, support.pluck("type", result.events))
    assert.equal(3, result.next_expected_stream_version)
    assert.equal(27, result.state.total)
    assert.equal("confirmed", result.state.status)
  end)

  it("a command again, with nothing left to do, keeps the version (cases 56, 57)", function()
    for _, last in ipairs { confirm, cancel } do
      local stream = "cart-" .. last.type
      store:handle(stream, cart, { add("tea", 10, 3), last })
      local again = store:handle(stream, cart, last)
      assert.same({}, again.events)
      assert.equal(2, again.next_expected_stream_version)
      assert.is_false(again.created_new_stream)
      assert.equal(2, store:stream_version(stream))
    end
  end)

  it("a command at the version that the last one left goes on from there (case 58)", function()
    local first = handle(add("tea", 10, 3))
    local second = handle(discount, { expected_stream_version = first.next_expected_stream_version })
    assert.equal(2, second.next_expected_stream_version)
    assert.is_false(second.created_new_stream)
  end)

  it("a refused command raises the refusal, which attempt returns", function()
    handle(add("tea", 101, 3))
    local refusal = support.refuses(store, "rejected", { reason = "out_of_stock", stream = "cart-1" },
      handle, confirm)
    assert.same({ product = "tea", wanted = 101, available = 100 }, refusal.detail)
    local result, rejection = store:attempt("cart-1", cart, confirm)
    assert.is_nil(result)
    assert.equal("101 tea wanted, 100 available", rejection.message)
  end)
end)
