--- moonfold.history: what-ifs, and specs made of what was recorded or tried.

local history = require "moonfold.history"
local moonfold = require "moonfold"
local support = require "support"

local event, command = moonfold.event, moonfold.command

local cart = dofile("scripts/domain/cart.lua")
local account = dofile("scripts/domain/account.lua")

local function add(product, qty) return command("AddProductItem", { product = product, qty = qty, price = 100 }) end
local function added(product, qty) return event("ProductItemAdded", { product = product, qty = qty, price = 100 }) end

--- Runs the text of a spec beside copies of the domain scripts, and returns the names of what passed.
local function run(text)
  local folder = support.folder()
  for _, name in ipairs { "cart.lua", "account.lua" } do
    support.write(folder .. "/" .. name, support.read("scripts/domain/" .. name))
  end
  local passed = {}
  local names = {
    describe = function(_, f) f() end,
    it = function(name, f)
      f()
      passed[#passed + 1] = name
    end,
  }
  local path = support.write(folder .. "/told_spec.lua", text)
  assert(loadfile(path, "t", setmetatable(names, { __index = _G })))()
  return passed
end

describe("a branch", function()
  local store, past, branch
  before_each(function()
    store = moonfold.open(":memory:")
    store:append_to_stream("cart-1", { added("tea", 2), added("cup", 1) })
    store:append_to_stream("inventory-tea", event("GoodsReceived", { qty = 5 }))
    past = history.of(store, { cart, account })
    branch = past:branch()
  end)
  after_each(function() store:close() end)

  it("sees what was done in it; the store does not", function()
    branch:append_to_stream("cart-1", added("mug", 3))
    local result = branch:handle("cart-1", add("pen", 1))
    assert.equal(4, result.next_expected_stream_version)
    assert.equal(700, branch:at("cart-1").state.total)
    assert.equal("mug", branch:at("cart-1", 3).state.items[3].product)
    assert.equal(2, store:stream_version("cart-1"))
    assert.equal(300, past:at("cart-1").state.total)
  end)

  it("knows all that a history knows", function()
    branch:handle("cart-1", add("pen", 1))
    assert.equal(3, #branch:why("cart-1", "total"))
    assert.equal(3, branch:find("cart-1", function(state) return state.total == 400 end).version)
    assert.equal("rejected", branch:try("cart-1", command("ConfirmCart")).rejection.code)
    local totals = {}
    for step in branch:walk("cart-1") do totals[#totals + 1] = step.state.total end
    assert.same({ 200, 300, 400 }, totals)
    assert.equal("total", branch:diff({ stream = "cart-1", version = 2 }, { version = 3 })[2].path)
  end)

  it("may begin a stream, and be looked at with all that a store can do", function()
    branch:append_to_stream("cart-2", added("tea", 1))
    assert.same({ 1, "cart-2" }, branch:run(function(dreamt)
      return { dreamt:stream_version("cart-2"), dreamt:read_stream("cart-2").events[1].stream_name }
    end))
    support.fails("not_found", { nearest = "cart-1" }, past.at, past, "cart-2")
  end)

  it("tells what is different from the store", function()
    branch:handle("cart-1", add("pen", 1))
    branch:append_to_stream("account-ada", event("MoneyDeposited", { cents = 5 }))
    local found = branch:compare()
    assert.same({ "account-ada", "cart-1" }, support.pluck("stream_name", found))
    assert.same({ 0, 2 }, support.pluck("real_version", found))
    assert.same({ 1, 3 }, support.pluck("version", found))
    assert.equal("balance", found[1].changes[1].path)
    assert.equal("pen", found[2].events[1].data.product)
    assert.equal("total", found[2].changes[2].path)
  end)

  it("is the store again when it is dropped", function()
    branch:handle("cart-1", add("pen", 1))
    branch:drop()
    assert.same({}, branch:compare())
    assert.equal(300, branch:at("cart-1").state.total)
  end)

  it("branches itself", function()
    branch:handle("cart-1", add("pen", 1))
    local twig = branch:branch()
    twig:handle("cart-1", add("ink", 1))
    assert.equal(500, twig:at("cart-1").state.total)
    assert.equal(400, branch:at("cart-1").state.total)
  end)

  it("returns refusals or raises them, as a store does", function()
    local result, rejection = branch:attempt("cart-1", command("ConfirmCart"))
    assert.is_nil(result)
    assert.equal("out_of_stock", rejection.reason)
    support.fails("rejected", nil, branch.handle, branch, "cart-1", command("ConfirmCart"))
    assert.equal(400, branch:attempt("cart-1", add("pen", 1)).state.total)
    support.fails("unknown_command_type", nil, branch.attempt, branch, "cart-1", command("Confirm"))
  end)

  it("does everything anew when others have written meanwhile", function()
    branch:handle("cart-1", add("pen", 1))
    store:append_to_stream("cart-1", added("ink", 1))
    assert.equal(500, branch:at("cart-1").state.total)
    assert.same({ "tea", "cup", "ink", "pen" }, support.pluck("product", branch:at("cart-1").state.items))
  end)

  it("says which act is no longer possible then", function()
    branch:append_to_stream("account-ada", event("MoneyDeposited", { cents = 5 }))
    branch:handle("cart-1", add("pen", 1))
    store:append_to_stream("cart-1", event("CartCancelled"))
    local failure = support.fails("rejected", { act = 2, stream = "cart-1" }, branch.at, branch, "cart-1")
    assert.matches("act 2 of this branch (AddProductItem on cart-1) is no longer possible: the cart is cancelled",
      failure.message, 1, true)
    branch:drop()
    assert.equal("cancelled", branch:at("cart-1").state.status)
  end)

  it("gives a command the time at which it was first given", function()
    local time = 1000
    local clocked <close> = moonfold.open(":memory:", { clock = function()
      time = time + 1
      return time
    end })
    local alarm = {
      initial_state = 0, evolve = { Rang = function(_, rang) return rang.data end },
      decide = function(given) return event("Rang", given.time) end,
    }
    local bell = history.of(clocked, alarm):branch()
    local first = bell:handle("alarm", command("Ring")).state
    clocked:append_to_stream("other", event("Tick"))
    assert.equal(first, bell:at("alarm").state)
  end)

  it("does not keep what its caller changes later", function()
    local given, appended = add("pen", 1), added("ink", 1)
    branch:append_to_stream("cart-1", appended)
    branch:handle("cart-1", given)
    given.data.qty, appended.data.qty = 100, 100
    store:append_to_stream("other", event("Tick"))
    assert.equal(500, branch:at("cart-1").state.total)
  end)

  it("works on a file that is open for reading only", function()
    local path = support.path()
    moonfold.open(path):close()
    local reader <close> = moonfold.open(path, { read_only = true })
    local dream = history.of(reader, cart):branch()
    dream:handle("cart-1", add("tea", 1))
    assert.equal(100, dream:at("cart-1").state.total)
  end)

  describe("as a spec", function()
    it("has a scene for each command, and passes", function()
      branch:handle("cart-1", add("pen", 2))
      branch:handle("cart-1", command("ApplyDiscount", { percent = 10 }))
      branch:attempt("cart-1", command("ConfirmCart"))
      local text = branch:spec("cart-1")
      assert.same({
        "AddProductItem at version 2", "ApplyDiscount at version 3", "ConfirmCart at version 4 is refused",
      }, run(text))
      assert.matches('local cart = dofile(folder .. "cart.lua")', text, 1, true)
      assert.matches(':and_stream("inventory-tea", {', text, 1, true)
      assert.matches(':expect_rejected("out_of_stock")', text, 1, true)
    end)

    it("knows what a script looks at, too", function()
      local script = moonfold.load_decider("scripts/domain/cart.lua")
      store:append_to_stream("inventory-cup", event("GoodsReceived", { qty = 9 }))
      local shop = history.of(store, script):branch()
      shop:handle("cart-1", command("ConfirmCart"))
      local text = shop:spec("cart-1")
      assert.matches(':and_stream("inventory-cup", {', text, 1, true)
      assert.matches(':and_stream("inventory-tea", {', text, 1, true)
      assert.same({ "ConfirmCart at version 2" }, run(text))
    end)

    it("fails when the rules change", function()
      branch:handle("cart-1", command("ApplyDiscount", { percent = 10 }))
      local text = branch:spec("cart-1")
      local edited = text:gsub("percent = 10 }%)%)%s+:expect", "percent = 20 }))\n      :expect")
      assert.are_not.equal(text, edited)
      assert.has_error(function() run(edited) end)
    end)

    it("says the time only where a decision depends on it", function()
      local alarm = {
        name = "alarm", initial_state = 0, evolve = { Rang = function(_, rang) return rang.data end },
        decide = { Ring = function(given) return event("Rang", given.time) end,
          Hush = function() return event("Rang", 0) end },
      }
      local bell = history.of(store, alarm):branch()
      bell:handle("alarm-1", { type = "Ring", time = 77 })
      bell:handle("alarm-1", { type = "Hush", time = 78 })
      local text = bell:spec("alarm-1", { script = "bells.lua" })
      assert.matches(":at(77)", text, 1, true)
      assert.is_nil(text:find(":at(78)", 1, true))
      assert.matches('dofile(folder .. "bells.lua")', text, 1, true)
    end)

    it("is refused where there is no command, and where chance decided", function()
      support.fails("invalid_argument", { path = "stream" }, branch.spec, branch, "cart-1")
      local dice = {
        initial_state = 0, evolve = { Rolled = function(_, rolled) return rolled.data end },
        decide = function(_, _, context) return event("Rolled", context:random(1, 1000000000)) end,
      }
      local game = history.of(store, dice):branch()
      game:handle("dice-7", command("Roll"))
      local failure = support.fails("invalid_argument", { stream = "dice-7" }, game.spec, game, "dice-7")
      assert.matches("chance", failure.message, 1, true)
    end)
  end)
end)

describe("a fixture", function()
  local store, past
  before_each(function()
    store = moonfold.open(":memory:")
    past = history.of(store, { cart, account })
  end)
  after_each(function() store:close() end)

  it("is a spec of recorded events that shows its state, and passes", function()
    store:append_to_stream("account-ada", { event("MoneyDeposited", { euros = 12.5 }), event("AccountTerminated") })
    assert.equal([[
--- Recorded: the stream account-ada at version 2. 2 of its events show its state.

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"

local moonfold = require "moonfold"
local account = dofile(folder .. "account.lua")
local given = require("moonfold.spec")(account)

local event = moonfold.event

describe("account-ada", function()
  it("stands like this at version 2", function()
    given {
      event("MoneyDeposited", { euros = 12.5 }),
      event("AccountTerminated"),
    }
      :expect_state { balance = 1250, closed = true }
  end)
end)
]], past:fixture("account-ada"))
    assert.same({ "stands like this at version 2" }, run(past:fixture("account-ada")))
    assert.matches("balance = 1250, closed = false", past:fixture("account-ada", { version = 1 }), 1, true)
  end)

  it("leaves out every event that the state does not need, and metadata that nobody reads", function()
    local events = {}
    for i = 1, 40 do
      events[#events + 1] = { type = "ProductItemAdded", data = { product = "p" .. i, qty = 1, price = i },
        metadata = { user = "ada" } }
      events[#events + 1] = event("Unknown", i)
      local gone = event("ProductItemRemoved", { product = "p" .. i, line = i < 17 and 1 or 2 })
      if i ~= 17 then events[#events + 1] = gone end
    end
    store:append_to_stream("cart-1", events)
    local text = past:fixture("cart-1")
    assert.matches("1 of its events shows its state", text, 1, true)
    assert.matches('given {\n      event("ProductItemAdded", { price = 17, product = "p17", qty = 1 }),\n    }', text,
      1, true)
    assert.same({ "stands like this at version 119" }, run(text))
  end)

  it("keeps metadata that the state comes from", function()
    local log = { category = "log", initial_state = {}, evolve = { Said = function(state, said)
      state[#state + 1] = said.metadata and said.metadata.user or "nobody"
    end } }
    store:append_to_stream("log-1", { event("Said", nil, { user = "ada" }), event("Said") })
    local text = history.of(store, log):fixture("log-1")
    assert.matches('event("Said", nil, { user = "ada" }),\n      event("Said"),', text, 1, true)
  end)

  it("may need no events at all", function()
    store:append_to_stream("cart-1", event("Unknown"))
    assert.matches("given {}\n", past:fixture("cart-1"), 1, true)
    run(past:fixture("cart-1"))
  end)

  it("shows any value that can be stored", function()
    local keeper = { name = "account", category = "keeper", initial_state = {}, evolve = {
      Kept = function(state, kept) state[#state + 1] = kept.data end } }
    local strange = { { [3] = "x", [-1] = 1.5 }, moonfold.null, moonfold.array(), {}, "a\0\255\"%d", math.mininteger }
    for _, value in ipairs(strange) do store:append_to_stream("keeper-1", event("Kept", value)) end
    local text = history.of(store, keeper):fixture("keeper-1")
    assert.matches("6 of its events show its state", text, 1, true)
    assert(load(text))
  end)

  it("is refused where the state comes from more than data", function()
    local nosy = { initial_state = "", evolve = function(_, seen) return seen.stream_name end }
    store:append_to_stream("nosy-77", event("Seen"))
    local failure = support.fails("invalid_argument", { stream = "nosy-77" }, function()
      history.of(store, nosy):fixture("nosy-77")
    end)
    assert.matches("evolve looks at more than their data", failure.message, 1, true)
    support.fails("not_found", nil, past.fixture, past, "cart-404")
    support.fails("invalid_argument", { message = 'did you mean "version"?' }, past.fixture, past, "x", { versoin = 1 })
  end)

  it("is made in bounded time from a long stream", function()
    local function add_up(n, tick) return n + tick.data end
    local sum = { category = "sum", initial_state = 0, evolve = { Ticked = add_up } }
    store:append_to_stream("sum-1", support.ticks(10000))
    local text = history.of(store, sum):fixture("sum-1")
    assert.matches(":expect_state(50005000)", text, 1, true)
  end)
end)
