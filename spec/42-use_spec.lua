--- store:use: a folder of deciders is a domain, whose streams find their decider by category.

local lfs = require "lfs"
local moonfold = require "moonfold"
local support = require "support"

local command, event = moonfold.command, moonfold.event

--- A decider of a category, which counts in steps of its own.
local function rules(category, step)
  return ([[
    local moonfold = require "moonfold"
    return {
      category = %q,
      initial_state = 0,
      evolve = { Done = function(n) return n + %d end },
      decide = { Do = function() return moonfold.event("Done") end },
    }]]):format(category, step)
end

--- A folder of these files: { ["cart.lua"] = text, ... }
local function folder_of(files)
  local folder = support.folder()
  for name, text in pairs(files) do support.write(folder .. "/" .. name, text) end
  return folder
end

local go = command "Do"

describe("a domain in use", function()
  local store, folder
  before_each(function()
    store = moonfold.open(":memory:")
    folder = folder_of {
      ["cart.lua"] = rules("cart", 1), ["gift.lua"] = rules("cart-gift", 10), ["account.lua"] = rules("account", 100),
    }
  end)
  after_each(function() store:close() end)

  it("serves every call without a decider", function()
    store:use(folder)
    assert.equal(1, store:handle("cart-1", go).state)
    assert.equal(2, store:attempt("cart-1", go).state)
    assert.equal(3, store:decide("cart-1", go).state)
    assert.equal(2, store:aggregate_stream("cart-1").state)
    assert.equal(100, store:handle("account-1", go).state)
  end)

  it("takes options and lists as ever", function()
    store:use(folder)
    assert.is_nil(store:handle("cart-1", go, { state = false }).state)
    assert.equal(3, store:handle("cart-1", { go, go }).state)
    assert.equal(3, store:handle("cart-1", {}).state)
    assert.is_nil(store:handle("cart-1", {}, { state = false }).state)
    assert.equal(1, store:aggregate_stream("cart-1", { to = 1 }).state)
    assert.equal(3, store:aggregate_stream("cart-1", {}).state)
    assert.equal(2, store:aggregate_stream("cart-1", nil, { to = 2 }).state)
    support.fails("version_conflict", { expected = 7, current = 3 },
      store.handle, store, "cart-1", go, { expected_stream_version = 7 })
    support.fails("invalid_argument", { path = "options.sate" }, store.handle, store, "cart-1", go, { sate = false })
    support.fails("invalid_argument", { path = "options.form" }, store.aggregate_stream, store, "cart-1", { form = 1 })
  end)

  it("gives a stream to the longest category that fits", function()
    store:use(folder)
    assert.equal(1, store:handle("cart-1", go).state)
    assert.equal(10, store:handle("cart-gift-1", go).state)
    assert.equal(1, store:handle("cart-gifts-1", go).state)
  end)

  it("gives way to a decider that is named", function()
    store:use(folder)
    local other = support.load(rules("cart", 1000))
    assert.equal(1000, store:handle("cart-1", other, go).state)
    assert.equal(1000, store:aggregate_stream("cart-1", other).state)
    local sum = { initial_state = 5, evolve = { Done = function(n) return n + 5 end } }
    assert.equal(10, store:aggregate_stream("cart-1", sum).state)
    support.fails("invalid_argument", { path = "decider.evolv" },
      store.handle, store, "cart-1", { evolv = {}, initial_state = 0 }, go)
  end)

  it("works in a transaction", function()
    store:use(folder)
    store:transaction(function()
      store:handle("cart-1", go)
      store:handle("account-1", go)
      assert.equal(1, store:aggregate_stream("cart-1").state)
    end)
    pcall(store.transaction, store, function()
      store:handle("cart-1", go)
      error "no"
    end)
    assert.same({ ["cart-1"] = 1, ["account-1"] = 1 }, support.versions(store))
  end)

  it("tells what it is made of", function()
    local domain = store:use(folder)
    assert.equal(folder, domain.path)
    assert.same({ "account", "cart", "cart-gift" }, support.pluck("category", domain.deciders))
    assert.equal(folder .. "/gift.lua", domain:decider_of("cart-gift-1").path)
    assert.equal(domain.deciders[2], domain:decider_of("cart-1"))
    assert.is_nil(domain:decider_of("quest-1"))
    assert.is_nil(domain.nothing)
    assert.equal(('moonfold domain "%s" (account, cart, cart-gift)'):format(folder), tostring(domain))
    assert.equal(1, store:handle("cart-1", domain:decider_of("cart-1"), go).state)
  end)

  it("lives as long as the store uses it", function()
    store:use(folder)
    collectgarbage()
    collectgarbage()
    assert.equal(1, store:handle("cart-1", go).state)
  end)

  it("names the nearest category for a stream of an unknown one, and all there are", function()
    store:use(folder)
    local failure = support.fails("invalid_argument", { path = "stream" }, store.handle, store, "crat-1", go)
    assert.matches('did you mean "cart-..."?', failure.message, 1, true)
    assert.matches("account, cart, cart-gift", failure.message, 1, true)
    failure = support.fails("invalid_argument", { path = "stream" }, store.aggregate_stream, store, "zzz-1")
    assert.is_nil(failure.message:find("did you mean", 1, true))
    assert.matches("account, cart, cart-gift", failure.message, 1, true)
    failure = support.fails("invalid_argument", { path = "stream" }, store.handle, store, "cart", go)
    assert.matches('"cart-..."', failure.message, 1, true)
  end)

  it("may be one of several, as long as no category is in two", function()
    store:use(folder)
    store:use(folder_of { ["quest.lua"] = rules("quest", 7) })
    assert.equal(7, store:handle("quest-1", go).state)
    assert.equal(1, store:handle("cart-1", go).state)
    local failure = support.fails("invalid_argument", { path = "path" },
      store.use, store, folder_of { ["basket.lua"] = rules("cart", 2) })
    assert.matches("basket.lua", failure.message, 1, true)
    assert.matches("cart.lua", failure.message, 1, true)
    assert.equal(2, store:handle("cart-1", go).state)
  end)

  it("is loaded anew when its path is used again", function()
    store:use(folder)
    support.write(folder .. "/cart.lua", rules("cart", 5))
    store:use(folder)
    assert.equal(5, store:handle("cart-1", go).state)
  end)

  it("that does not load any more leaves the one in use", function()
    store:use(folder)
    support.write(folder .. "/cart.lua", "return {")
    support.fails("script_error", { file = "cart.lua", line = 1 }, store.use, store, folder)
    assert.equal(1, store:handle("cart-1", go).state)
  end)

  it("may be a single file", function()
    local domain = store:use(folder .. "/cart.lua")
    assert.equal(1, #domain.deciders)
    assert.equal(1, store:handle("cart-1", go).state)
    support.fails("invalid_argument", { path = "stream" }, store.handle, store, "account-1", go)
  end)

  it("belongs to its store alone", function()
    store:use(folder)
    local other <close> = moonfold.open(":memory:")
    support.fails("invalid_argument", { path = "decider" }, other.handle, other, "cart-1", go)
    support.fails("invalid_argument", { path = "aggregate" }, other.aggregate_stream, other, "cart-1")
  end)
end)

describe("the scripts of a folder", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  it("may require one another, and look at each other's streams", function()
    local folder = folder_of {
      ["stock.lua"] = [[
        return { category = "stock", initial_state = 0,
          evolve = { Put = function(n, event) return n + event.data end },
          decide = { Put = function(command) return { type = "Put", data = command.data } end } }]],
      ["order.lua"] = [[
        local moonfold, stock, names = require "moonfold", require "stock", require "lib.names"
        return { category = "order", initial_state = 0, evolve = { Ordered = false },
          decide = { Order = function(command, _, context)
            local stocked = context:aggregate_stream(names.stock .. command.data.product, stock).state
            if stocked < command.data.count then moonfold.reject("sold_out", nil, stocked) end
            return moonfold.event("Ordered", command.data)
          end } }]],
    }
    assert(lfs.mkdir(folder .. "/lib"))
    support.write(folder .. "/lib/names.lua", "return { stock = 'stock-' }")
    store:use(folder)
    store:handle("stock-tea", command("Put", 3))
    local order = command("Order", { product = "tea", count = 4 })
    local _, rejection = store:attempt("order-1", order)
    assert.equal("sold_out", rejection.reason)
    assert.equal(3, rejection.detail)
    store:handle("stock-tea", command("Put", 1))
    assert.equal("Ordered", store:handle("order-1", order).events[1].type)
  end)

  it("that are no deciders are libraries, and specs are left out", function()
    local domain = store:use(folder_of {
      ["cart.lua"] = [[local tax = require "tax" assert(tax.rate == 19)]] .. rules("cart", 1),
      ["tax.lua"] = "return { rate = 19 }", ["words.lua"] = "return 'hello'", ["cart_spec.lua"] = "error 'a spec'",
      ["notes.txt"] = "this is no Lua", [".hidden.lua"] = "error 'hidden'",
    })
    assert.same({ "cart" }, support.pluck("category", domain.deciders))
  end)

  it("load all, or none is in use", function()
    local folder = folder_of { ["a.lua"] = rules("a", 1), ["b.lua"] = "return {\n\n  x = }" }
    support.fails("script_error", { file = "b.lua", line = 3 }, store.use, store, folder)
    support.fails("invalid_argument", { path = "decider" }, store.handle, store, "a-1", go)
  end)

  it("cannot be two of one category", function()
    local failure = support.fails("invalid_argument", nil,
      store.use, store, folder_of { ["a.lua"] = rules("cart", 1), ["b.lua"] = rules("cart", 2) })
    for _, word in ipairs { "a.lua", "b.lua", '"cart"' } do assert.matches(word, failure.message, 1, true) end
  end)

  it("without a category are found by nobody: that is told", function()
    local failure = support.fails("invalid_argument", nil,
      store.use, store, folder_of { ["a.lua"] = "return { initial_state = 0, evolve = {}, decide = {} }" })
    assert.matches("a.lua has no category", failure.message, 1, true)
    failure = support.fails("invalid_argument", nil, store.use, store, folder_of { ["a.lua"] = "return {}" })
    assert.matches("there is no decider in the folder", failure.message, 1, true)
    support.fails("invalid_argument", nil, store.use, store, folder_of {})
    support.fails("not_found", nil, store.use, store, support.path("none"))
  end)

  it("that look like deciders and are none are mistakes", function()
    support.fails("invalid_argument", { file = "a.lua", path = "decider.evolve" },
      store.use, store, folder_of { ["a.lua"] = "return { category = 'a', initial_state = 0 }" })
    support.fails("invalid_argument", { file = "a.lua", path = "decider.category" },
      store.use, store, folder_of { ["a.lua"] = "return { category = '', initial_state = 0, evolve = {} }" })
  end)

  it("receive params, each of them", function()
    local text = [[
      local params = ...
      return { category = %q, initial_state = params.start, evolve = {} }]]
    store:use(folder_of { ["a.lua"] = text:format("a"), ["b.lua"] = text:format("b") }, { params = { start = 5 } })
    assert.equal(5, store:aggregate_stream("a-1").state)
    assert.equal(5, store:aggregate_stream("b-1").state)
  end)
end)

describe("the domain that comes with Moonfold", function()
  it("is used as it stands", function()
    local store <close> = moonfold.open(":memory:")
    local files = {}
    for _, name in ipairs { "cart.lua", "account.lua", "quest.lua", "inventory.lua" } do
      files[name] = support.read("scripts/domain/" .. name)
    end
    store:use(folder_of(files))
    local add = command("AddProductItem", { product = "tea", qty = 2, price = 3 })
    assert.equal(6, store:handle("cart-1", add).state.total)
    store:append_to_stream("inventory-tea", event("GoodsReceived", { qty = 1 }))
    local _, rejection = store:attempt("cart-1", command "ConfirmCart")
    assert.equal("out_of_stock", rejection.reason)
    assert.same({ product = "tea", wanted = 2, available = 1 }, rejection.detail)
  end)
end)
