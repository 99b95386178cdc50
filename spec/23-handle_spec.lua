local moonfold = require "moonfold"
local support = require "support"

local event, command = moonfold.event, moonfold.command
local pluck = support.pluck

--- The cart of the cases, with all that may happen to it.
local script = [[
local moonfold = require "moonfold"
local event = moonfold.event
local cart = { initial_state = { status = "Opened", items = 0, total = 0 }, evolve = {}, decide = {} }

function cart.evolve.ProductItemAdded(state, added)
  state.items = state.items + 1
  state.total = state.total + added.data.qty * added.data.price
end

function cart.evolve.DiscountApplied(state, discount)
  state.total = math.max(state.total * (1 - discount.data.percent / 100), 0)
end

function cart.evolve.Confirmed(state) state.status = "Confirmed" end
function cart.evolve.Cancelled(state) state.status = "Cancelled" end
cart.evolve.LimitReached = false

function cart.decide.Add(add, state)
  if add.data.product == "gold" then moonfold.reject("out_of_stock", "there is no gold") end
  if add.data.max and state.items >= add.data.max then return event("LimitReached", { max = add.data.max }) end
  return event("ProductItemAdded", { product = add.data.product, qty = add.data.qty, price = add.data.price })
end

function cart.decide.AddAtDiscount(add, state)
  return { cart.decide.Add(add, state), event("DiscountApplied", { percent = 10 }) }
end

function cart.decide.AddAndConfirm(add, state)
  return { cart.decide.Add(add, state), event("Confirmed") }
end

function cart.decide.Confirm(_, state)
  if state.total == 0 then moonfold.reject("empty", "an empty cart cannot be confirmed") end
  if state.status ~= "Confirmed" then return event("Confirmed") end
end

function cart.decide.Cancel(_, state)
  if state.status == "Cancelled" then return {} end
  return { event("Cancelled") }
end

function cart.decide.Stumble() error "validation failed" end

return cart
]]

--- The same as a table, for what looks into it.
local plain = assert(load(script, "=decider.lua"))()

local function add(product, max)
  return command("Add", { product = product or "shoes", qty = 10, price = 3, max = max })
end

local confirm, cancel, stumble = command "Confirm", command "Cancel", command "Stumble"

--- A decider with one handler for every command, and a function that tells how often it ran.
local function deciding(decide, evolve)
  local decider = { initial_state = 0, evolve = evolve or { Done = function(n) return n + 1 end } }
  local runs = 0
  function decider.decide(...)
    runs = runs + 1
    return decide(...)
  end
  return decider, function() return runs end
end

support.both(script, function(cart)
  support.everywhere(function(open)
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function handle(...) return store:handle("cart-1", ...) end

    local function types() return pluck("type", store:events("cart-1")) end

    describe("handling a command", function()
      it("records the event, tells the state and creates the stream (case 52)", function()
        local result = handle(cart, add())
        assert.is_true(result.created_new_stream)
        assert.equal(1, #result.events)
        assert.equal(30, result.state.total)
        assert.equal(1, result.next_expected_stream_version)
        assert.equal(1, result.last_event_global_position)
        assert.same({ "ProductItemAdded" }, types())
      end)

      it("may expect that the stream does not exist (case 53)", function()
        local options = { expected_stream_version = moonfold.STREAM_DOES_NOT_EXIST }
        local result = handle(cart, add(), options)
        assert.is_true(result.created_new_stream)
        assert.equal(1, #result.events)
        assert.equal(30, result.state.total)
        assert.equal(1, result.next_expected_stream_version)
      end)

      it("that comes to nothing records nothing and creates no stream (case 54)", function()
        for _, nothing in ipairs { function() return {} end, function() end, function() return nil end } do
          local result = handle(deciding(nothing), command "Do")
          assert.same({}, result.events)
          assert.equal(0, result.state)
          assert.equal(0, result.next_expected_stream_version)
          assert.is_false(result.created_new_stream)
          assert.is_nil(result.last_event_global_position)
          assert.is_false(store:stream_exists("cart-1"))
        end
      end)

      it("may record several events at once (case 55)", function()
        local result = handle(cart, command("AddAndConfirm", add().data))
        assert.equal(2, #result.events)
        assert.equal(2, result.next_expected_stream_version)
        assert.equal("Confirmed", result.state.status)
        assert.same({ "ProductItemAdded", "Confirmed" }, types())
      end)

      it("that has happened already records nothing the second time (case 56)", function()
        handle(cart, add())
        assert.equal(2, handle(cart, confirm).next_expected_stream_version)
        local again = handle(cart, confirm)
        assert.same({}, again.events)
        assert.equal("Confirmed", again.state.status)
        assert.equal(2, again.next_expected_stream_version)
        assert.is_false(again.created_new_stream)
        assert.is_nil(again.last_event_global_position)
      end)

      it("may answer with an empty list the second time (case 57)", function()
        handle(cart, cancel)
        local again = handle(cart, cancel)
        assert.same({}, again.events)
        assert.equal("Cancelled", again.state.status)
        assert.equal(1, again.next_expected_stream_version)
        assert.same({ "Cancelled" }, types())
      end)

      it("takes the version that the last result told as its expectation (case 58)", function()
        local first = handle(cart, add())
        local second = handle(cart, add(), { expected_stream_version = first.next_expected_stream_version })
        assert.equal(2, second.next_expected_stream_version)
        assert.is_false(second.created_new_stream)
        assert.equal(60, second.state.total)
      end)

      it("writes to the stream that was named, whatever the id it is made of (case 59)", function()
        local id = 7
        store:handle(("shopping_cart-%d"):format(id), cart, add())
        assert.same({ ["shopping_cart-7"] = 1 }, support.versions(store))
      end)

      it("works in a coroutine (case 60)", function()
        local result = coroutine.wrap(function() return handle(cart, add()) end)()
        assert.equal(30, result.state.total)
        assert.equal(1, store:stream_version("cart-1"))
      end)

      it("does not decide at all when the expectation fails (case 61)", function()
        handle(cart, add())
        local decider, runs = deciding(function() return event "Done" end)
        support.refuses(store, "version_conflict", { stream = "cart-1", current = 1 },
          handle, decider, command "Do", { expected_stream_version = "STREAM_DOES_NOT_EXIST" })
        assert.equal(0, runs())
      end)

      it("decides once, and lets a conflict that the decision met come out (case 3)", function()
        local decider, runs = deciding(function(_, _, context)
          context:aggregate_stream("other", cart, { expected_stream_version = 1 })
        end)
        support.refuses(store, "version_conflict", { stream = "other", expected = 1, current = 0 },
          handle, decider, command "Do", { expected_stream_version = "STREAM_DOES_NOT_EXIST" })
        assert.equal(1, runs())
      end)

      it("lets the errors of decide come out, and refusals, too (case 67)", function()
        local failure = support.refuses(store, "script_error", { stream = "cart-1", command_type = "Stumble" },
          handle, cart, stumble)
        assert.matches("validation failed", failure.message, 1, true)
        handle(cart, add())
        failure = support.refuses(store, "script_error", { command_type = "Stumble" }, handle, cart, stumble)
        assert.is_nil(failure.position)
        assert.is_nil(failure.event_type)
        assert.matches("decider.lua:", failure.traceback, 1, true)
        support.refuses(store, "rejected", { stream = "cart-2", reason = "empty", message = "an empty cart" },
          store.handle, store, "cart-2", cart, confirm)
      end)

      it("folds the events that it decided on, in order (case 68)", function()
        local result = handle(cart, command("AddAtDiscount", add().data))
        assert.equal(27, result.state.total)
        assert.equal(2, result.next_expected_stream_version)
      end)

      it("decides on what has happened so far", function()
        handle(cart, add("shoes"))
        handle(cart, add("socks"))
        local seen
        handle(deciding(function(_, state) seen = state end, {
          ProductItemAdded = function(state, added) return state + added.data.qty end,
        }), command "Look")
        assert.equal(20, seen)
      end)
    end)

    describe("a list of commands", function()
      it("is handled in order, each on the state that the ones before it left", function()
        local states = {}
        local decider = deciding(function(given, state)
          states[#states + 1] = given.type .. state
          return { event "Done", event "Done" }
        end)
        local result = handle(decider, { command "A", command "B", command "C" })
        assert.same({ "A0", "B2", "C4" }, states)
        assert.equal(6, result.state)
        assert.equal(6, #result.events)
        assert.same({ 1, 2, 3, 4, 5, 6 }, pluck("stream_position", result.events))
        assert.equal(6, result.next_expected_stream_version)
        assert.is_true(result.created_new_stream)
      end)

      it("is refused as a whole when one of it is refused, and the rest is not decided (case 70)", function()
        local decided = {}
        local watched = { initial_state = plain.initial_state, evolve = plain.evolve }
        function watched.decide(given, state)
          decided[#decided + 1] = given.type
          return plain.decide[given.type](given, state)
        end
        support.refuses(store, "rejected", { reason = "out_of_stock" },
          handle, watched, { add(), add("gold"), confirm })
        assert.same({ "Add", "Add" }, decided)
        assert.is_false(store:stream_exists("cart-1"))
        assert.same(plain.initial_state, store:aggregate_stream("cart-1", cart).state)
      end)

      it("is refused as a whole when one of it fails (case 74)", function()
        support.refuses(store, "script_error", { command_type = "Stumble" }, handle, cart, { add(), add(), stumble })
        assert.is_false(store:stream_exists("cart-1"))
      end)

      it("may come to nothing in parts", function()
        local result = handle(cart, { cancel, cancel, add(), cancel })
        assert.same({ "Cancelled", "ProductItemAdded" }, pluck("type", result.events))
        assert.equal(2, result.next_expected_stream_version)
      end)

      it("of one is the same as that one", function()
        local result = handle(cart, { add() })
        assert.equal(1, #result.events)
        assert.equal(30, result.state.total)
      end)

      it("is checked before the first is decided", function()
        local decider, runs = deciding(function() return event "Done" end)
        local bad = { type = "Do", data = print }
        support.refuses(store, "invalid_argument", nil, handle, decider, { command "Do", bad })
        support.refuses(store, "invalid_argument", nil, handle, decider, { command "Do", "Do" })
        assert.equal(0, runs())
      end)
    end)

    describe("commands in a transaction", function()
      --- Handles one after the other, each in the transaction, as `each` says.
      local function in_transaction(commands, each)
        store:transaction(function()
          for _, given in ipairs(commands) do
            if each(given) == "stop" then return end
          end
        end)
      end

      it("may stop at the first refusal and keep what came before it (case 71)", function()
        local zero = command("Add", { product = "air", qty = 1, price = 0 })
        in_transaction({ zero, confirm, add() }, function(given)
          return store:attempt("cart-1", cart, given) == nil and "stop" or nil
        end)
        assert.same({ "ProductItemAdded" }, types())
      end)

      it("may skip what is refused and keep all others (case 72)", function()
        in_transaction({ add(), add("gold"), confirm }, function(given)
          store:attempt("cart-1", cart, given)
        end)
        assert.same({ "ProductItemAdded", "Confirmed" }, types())
      end)

      it("may stop after an event that was recorded (case 73)", function()
        in_transaction({ add("shoes", 1), add("socks", 1), add("hat", 1) }, function(given)
          local result = handle(cart, given)
          return result.events[1].type == "LimitReached" and "stop" or nil
        end)
        assert.same({ "ProductItemAdded", "LimitReached" }, types())
        assert.equal(1, store:aggregate_stream("cart-1", cart).state.items)
      end)

      it("are all forgotten when one fails and nobody catches it", function()
        support.refuses(store, "script_error", nil, in_transaction, { add(), stumble }, function(given)
          handle(cart, given)
        end)
        assert.is_false(store:stream_exists("cart-1"))
      end)
    end)

    describe("what decide receives", function()
      local function received(given)
        local seen
        handle(deciding(function(...) seen = table.pack(...) end), given)
        return seen
      end

      it("is the command, the state and a context", function()
        local seen = received {
          type = "Do", data = { n = 1 }, metadata = { by = "Ada" }, command_id = "id-1", time = 5,
        }
        assert.equal(3, seen.n)
        local given = seen[1]
        assert.equal("Do", given.type)
        assert.same({ n = 1 }, given.data)
        assert.same({ by = "Ada" }, given.metadata)
        assert.equal("id-1", given.command_id)
        assert.equal(5, given.time)
        assert.equal(0, seen[2])
      end)

      it("lacks what the command lacks, but never the time", function()
        local given = received { type = "Do" }[1]
        assert.is_nil(given.data)
        assert.is_nil(given.metadata)
        assert.is_nil(given.command_id)
        assert.equal("integer", math.type(given.time))
      end)

      it("gets its time from the store's clock, once for each call", function()
        local now = 1000
        local clocked <close> = open { clock = function() now = now + 1 return now end }
        local times = {}
        local decider = deciding(function(given) times[#times + 1] = given.time return event "Done" end)
        clocked:handle("a", decider, { command "Do", command "Do", { type = "Do", time = 7 } })
        assert.same({ 1001, 1001, 7 }, times)
        assert.equal(1001, now)
        assert.same({ 1001, 1001, 1001 }, pluck("recorded_at", clocked:events("a")))
      end)

      it("may be nested as deep as what can be stored", function()
        local function nested(depth)
          local value = {}
          for _ = 2, depth do value = { value } end
          return value
        end
        local keeps = deciding(function(given) return event("Done", given.data, given.metadata) end)
        for _, given in ipairs { { data = nested(128) }, { metadata = { nested(127) } } } do
          given.type, given.command_id = "Do", "id-" .. store:stream_version("cart-1")
          handle(keeps, given)
          local kept = handle(keeps, given).events[1]
          assert.equal(moonfold.hash(given.data or given.metadata[1]), moonfold.hash(kept.data or kept.metadata[1]))
        end
        support.refuses(store, "invalid_argument", nil, handle, keeps, { type = "Do", data = nested(129) })
        assert.equal(2, store:stream_version("cart-1"))
      end)

      it("does not touch the caller's command", function()
        local given = { type = "Do", data = { list = { 1 } } }
        handle(deciding(function(mine) assert(mine.time) end), given)
        assert.same({ type = "Do", data = { list = { 1 } } }, given)
      end)
    end)

    describe("what decide returns", function()
      local function refused(code, fields, returned)
        return support.refuses(store, code, fields, handle, deciding(function() return returned end), command "Do")
      end

      it("must be an event, a list of events, or nothing", function()
        for _, value in ipairs { false, true, 1, "Done", print } do
          refused("script_error", { stream = "cart-1", command_type = "Do" }, value)
        end
        local wrong = { { data = 1 }, { type = 1 }, { type = "" }, { event "Done", 1 }, { { event "Done" } } }
        for _, value in ipairs(wrong) do
          refused("invalid_argument", nil, value)
        end
      end)

      it("must be storable", function()
        local failure = refused("invalid_argument", nil, { event "Done", event("Done", { items = { 1, print } }) })
        assert.matches("data.items[2]", failure.path, 1, true)
      end)

      it("may not have a key that no event has", function()
        local failure = refused("invalid_argument", nil, { type = "Done", dta = 1 })
        assert.matches('did you mean "data"?', failure.message, 1, true)
      end)

      it("must be known to the table evolve: a typo is not kept for ever", function()
        local typo = { event "Done", event "Doen" }
        local failure = refused("unknown_event_type", { type = "Doen", stream = "cart-1" }, typo)
        assert.matches("Doen", failure.message, 1, true)
        assert.is_false(store:stream_exists("cart-1"))
      end)

      it("is known to the table evolve as false, too", function()
        handle(deciding(function() return event "Seen" end, { Seen = false }), command "Do")
        assert.same({ "Seen" }, types())
      end)

      it("may be of any type when evolve is a function", function()
        local counting = deciding(function() return event "Whatever" end, function(n) return n + 1 end)
        local result = handle(counting, command "Do")
        assert.equal(1, result.state)
        assert.same({ "Whatever" }, types())
      end)

      it("stays as it was: the runtime adds nothing to the decider's own tables", function()
        local constant = { type = "Done", data = { n = 1 }, metadata = { by = "Ada" } }
        local decider = deciding(function() return { constant, constant } end)
        handle(decider, { type = "Do", command_id = "id-1" })
        handle(decider, { type = "Do", command_id = "id-2" })
        assert.same({ type = "Done", data = { n = 1 }, metadata = { by = "Ada" } }, constant)
        assert.same({ "id-1", "id-1", "id-2", "id-2" }, pluck("causation_id",
          pluck("metadata", store:read_stream("cart-1").events)))
      end)
    end)

    describe("a command of a type that the table decide lacks", function()
      it("is refused by its name", function()
        local failure = support.refuses(store, "unknown_command_type", { type = "Cnofirm", stream = "cart-1" },
          handle, cart, command "Cnofirm")
        assert.matches("Cnofirm", failure.message, 1, true)
      end)

      it("takes the whole list with it", function()
        support.refuses(store, "unknown_command_type", { type = "Cnofirm" }, handle, cart, { add(), command "Cnofirm" })
        assert.is_false(store:stream_exists("cart-1"))
      end)
    end)

    describe("an evolve that fails on what was decided", function()
      local broken = {
        initial_state = {},
        evolve = { Done = function() error "cannot be folded" end },
        decide = function() return event "Done" end,
      }

      it("refuses the append", function()
        local failure = support.refuses(store, "script_error", { stream = "cart-1", event_type = "Done" },
          handle, broken, command "Do")
        assert.matches("cannot be folded", failure.message, 1, true)
        assert.equal(1, failure.position)
        assert.is_nil(failure.command_type)
        assert.is_false(store:stream_exists("cart-1"))
      end)

      it("refuses it also when nobody wants the state", function()
        support.refuses(store, "script_error", { stream = "cart-1", event_type = "Done" },
          handle, broken, command "Do", { state = false })
        assert.is_false(store:stream_exists("cart-1"))
      end)
    end)

    describe("the result of handling", function()
      it("has the events as they were recorded", function()
        store:append_to_stream("other", support.ticks(2))
        handle(cart, add())
        local recorded = handle(cart, command("AddAtDiscount", add().data)).events
        local read = store:read_stream("cart-1", { from = 2 }).events
        assert.equal(2, #recorded)
        for i, one in ipairs(recorded) do
          for _, field in ipairs { "type", "data", "metadata", "stream_name", "stream_position", "global_position",
                                   "message_id", "recorded_at" } do
            assert.same(read[i][field], one[field], field)
          end
        end
        assert.same({ 4, 5 }, pluck("global_position", recorded))
      end)

      it("has exactly the fields that are promised", function()
        local keys = {}
        for key in pairs(handle(cart, add())) do keys[#keys + 1] = key end
        table.sort(keys)
        assert.same({ "created_new_stream", "events", "last_event_global_position", "next_expected_stream_version",
                      "state" }, keys)
      end)

      it("has no state when nobody wants it", function()
        local result = handle(cart, add(), { state = false })
        assert.is_nil(result.state)
        assert.equal(1, #result.events)
        assert.equal(1, result.next_expected_stream_version)
        assert.equal(30, handle(cart, cancel, { state = true }).state.total)
      end)

      it("has a state that the caller may change", function()
        handle(cart, add()).state.total = 0
        assert.equal(60, handle(cart, add()).state.total)
        assert.same({ status = "Opened", items = 0, total = 0 }, plain.initial_state)
      end)
    end)

    describe("the metadata of a decided event", function()
      local function metadata(given, own)
        handle(deciding(function() return event("Done", nil, own) end), given)
        return store:read_stream("cart-1", { backwards = true, max_count = 1 }).events[1].metadata
      end

      it("names the command as its cause, when the command has an id (case 34)", function()
        assert.same({ causation_id = "id-1" }, metadata { type = "Do", command_id = "id-1" })
      end)

      it("passes the correlation id on (case 34)", function()
        assert.same({ correlation_id = "trip" },
          metadata { type = "Do", metadata = { correlation_id = "trip", by = "Ada" } })
        assert.same({ causation_id = "id-1", correlation_id = "trip" },
          metadata { type = "Do", command_id = "id-1", metadata = { correlation_id = "trip" } })
      end)

      it("is not invented when the command has neither", function()
        assert.is_nil(metadata { type = "Do" })
        assert.is_nil(metadata { type = "Do", metadata = { by = "Ada" } })
      end)

      it("keeps what decide has put there", function()
        assert.same({ by = "Ada", causation_id = "id-1" },
          metadata({ type = "Do", command_id = "id-1" }, { by = "Ada" }))
        assert.same({ by = "Ada" }, metadata({ type = "Do" }, { by = "Ada" }))
      end)
    end)

    describe("a command with an id", function()
      local function once(id, data)
        return { type = "Do", data = data or { n = 1 }, command_id = id }
      end

      local decider, runs
      before_each(function()
        decider, runs = deciding(function(given)
          if given.data.refuse then moonfold.reject "no" end
          if given.data.nothing then return nil end
          return { event("Done", given.data), event "Done" }
        end)
      end)

      --- A result as plain values.
      local function values_of(result)
        return {
          ids = pluck("message_id", result.events), data = pluck("data", result.events),
          positions = pluck("global_position", result.events), times = pluck("recorded_at", result.events),
          state = result.state, version = result.next_expected_stream_version,
          created = result.created_new_stream, last = result.last_event_global_position,
        }
      end

      it("that comes again answers with the original result and is not decided again", function()
        local first = handle(decider, once "id-1")
        local second = handle(decider, once "id-1")
        assert.same(values_of(first), values_of(second))
        assert.equal(1, runs())
        assert.equal(2, store:stream_version("cart-1"))
      end)

      it("answers so also when other things have happened since", function()
        local first = handle(decider, once "id-1")
        handle(decider, once "id-2")
        store:append_to_stream("other", support.ticks(3))
        assert.same(values_of(first), values_of(handle(decider, once "id-1")))
        assert.equal(4, store:stream_version("cart-1"))
      end)

      it("answers so whatever is expected, for the answer to the first may be lost", function()
        local options = { expected_stream_version = 0 }
        local first = handle(decider, once "id-1", options)
        assert.same(values_of(first), values_of(handle(decider, once "id-1", options)))
      end)

      it("answers so in another handle, and in another process", function()
        local file <close>, path = support.open()
        file:handle("cart-1", decider, once "id-1")
        do
          local other <close> = moonfold.open(path)
          other:handle("cart-1", decider, once "id-1")
        end
        local peer <close> = support.peer()
        assert.equal(2, peer:run([[
          local store <close> = moonfold.open(...)
          local again = { initial_state = 0, evolve = { Done = false }, decide = function() error "decided again" end }
          return #store:handle("cart-1", again, { type = "Do", data = { n = 1 }, command_id = "id-1" }).events
        ]], path))
        assert.equal(2, file:stream_version("cart-1"))
        assert.equal(1, runs())
      end)

      it("without its state when nobody wants it", function()
        handle(decider, once "id-1")
        local second = handle(decider, once "id-1", { state = false })
        assert.is_nil(second.state)
        assert.equal(2, #second.events)
      end)

      it("is the same command whatever the order of its keys", function()
        local data, reversed = {}, {}
        for i = 1, 40 do data["key" .. i] = i end
        for i = 40, 1, -1 do reversed["key" .. i] = i end
        handle(decider, once("id-1", data))
        handle(decider, once("id-1", reversed))
        assert.equal(2, store:stream_version("cart-1"))
      end)

      it("is the same command when it comes later", function()
        local now = 1
        local clocked <close> = open { clock = function() now = now + 1 return now end }
        clocked:handle("a", decider, once "id-1")
        clocked:handle("a", decider, once "id-1")
        assert.equal(2, clocked:stream_version("a"))
      end)

      it("conflicts with another command of that id", function()
        handle(decider, once "id-1")
        for _, other in ipairs {
          { type = "Undo", data = { n = 1 }, command_id = "id-1" },
          once("id-1", { n = 2 }), once("id-1", { n = 1.0 }), { type = "Do", command_id = "id-1" },
          { type = "Do", data = { n = 1 }, metadata = { by = "Ada" }, command_id = "id-1" },
        } do
          support.refuses(store, "id_conflict", { id = "id-1", stream = "cart-1" }, handle, decider, other)
        end
        assert.equal(1, runs())
      end)

      it("has nothing to do with that id in another stream", function()
        handle(decider, once "id-1")
        local elsewhere = store:handle("cart-2", decider, once "id-1")
        assert.equal("cart-2", elsewhere.events[1].stream_name)
        assert.same({ ["cart-1"] = 2, ["cart-2"] = 2 }, support.versions(store))
      end)

      it("has nothing to do with a message of that id", function()
        store:append_to_stream("cart-1", { type = "Done", message_id = "id-1" })
        assert.equal(3, handle(decider, once "id-1").next_expected_stream_version)
      end)

      it("that was refused is decided again", function()
        support.refuses(store, "rejected", nil, handle, decider, once("id-1", { refuse = true }))
        support.refuses(store, "rejected", nil, handle, decider, once("id-1", { refuse = true }))
        assert.equal(2, runs())
        assert.equal(2, #handle(decider, once("id-1", { n = 2 })).events)
      end)

      it("that came to nothing is decided again", function()
        handle(decider, once("id-1", { nothing = true }))
        handle(decider, once("id-1", { nothing = true }))
        assert.equal(2, runs())
        assert.equal(2, #handle(decider, once "id-1").events)
      end)

      it("that was undone with its transaction is decided again", function()
        pcall(store.transaction, store, function()
          handle(decider, once "id-1")
          error "no"
        end)
        assert.equal(2, #handle(decider, once "id-1").events)
        assert.equal(2, runs())
      end)

      it("is known within the transaction that handles it", function()
        store:transaction(function()
          local first = handle(decider, once "id-1")
          assert.same(values_of(first), values_of(handle(decider, once "id-1")))
        end)
        assert.equal(2, store:stream_version("cart-1"))
      end)

      it("may have an id of 1 to 200 bytes, and of any bytes", function()
        for _, id in ipairs { "x", ("x"):rep(200), "\0", "\255" } do
          handle(decider, once(id))
          handle(decider, once(id))
        end
        assert.equal(8, store:stream_version("cart-1"))
        for _, id in ipairs { "", ("x"):rep(201), 1, true } do
          support.refuses(store, "invalid_argument", { path = "command.command_id" }, handle, decider, once(id))
        end
      end)
    end)

    describe("a list of commands with ids", function()
      local decider, runs
      before_each(function()
        decider, runs = deciding(function(given) return event("Done", given.data) end)
      end)

      local function list(...)
        local commands = {}
        for i, id in ipairs { ... } do commands[i] = { type = "Do", data = id, command_id = id } end
        return commands
      end

      it("that comes again answers with the original result", function()
        local first = handle(decider, list("1", "2", "3"))
        handle(decider, list("4"))
        local second = handle(decider, list("1", "2", "3"))
        assert.same(pluck("message_id", first.events), pluck("message_id", second.events))
        assert.equal(3, second.next_expected_stream_version)
        assert.equal(3, second.state)
        assert.equal(4, runs())
      end)

      it("names for each event the command that caused it", function()
        handle(decider, list("1", "2"))
        assert.same({ "1", "2" }, pluck("causation_id", pluck("metadata", store:read_stream("cart-1").events)))
      end)

      it("that came to nothing in parts and comes again records nothing more", function()
        local half = deciding(function(given)
          if given.data ~= "2" then return event("Done", given.data) end
        end)
        local first = handle(half, list("1", "2", "3"))
        local second = handle(half, list("1", "2", "3"))
        assert.same({ "1", "3" }, pluck("data", first.events))
        assert.same(pluck("message_id", first.events), pluck("message_id", second.events))
        assert.equal(2, store:stream_version("cart-1"))
      end)

      it("handles a command once that it has twice", function()
        local result = handle(decider, list("1", "2", "1"))
        assert.same({ "1", "2" }, pluck("data", result.events))
        assert.equal(2, result.state)
        assert.equal(2, store:stream_version("cart-1"))
        assert.equal(2, runs())
      end)

      it("is refused when one of it has the id of another command", function()
        handle(decider, list("1"))
        local commands = list("2", "1")
        commands[2].data = "changed"
        support.refuses(store, "id_conflict", { id = "1", stream = "cart-1" }, handle, decider, commands)
        support.refuses(store, "id_conflict", { id = "3", stream = "cart-1" }, handle, decider,
          { { type = "Do", command_id = "3" }, { type = "Do", data = "other", command_id = "3" } })
      end)
    end)

    describe("handling for many streams", function()
      it("keeps their states apart", function()
        for round = 1, 5 do
          for i = 1, 20 do
            local result = store:handle("cart-" .. i, cart, add())
            assert.equal(30 * round, result.state.total)
            assert.equal(round, result.next_expected_stream_version)
          end
        end
        assert.equal(100, support.count(store))
      end)

      it("keeps deciders apart that fold the same stream", function()
        local counting = deciding(function() end, { ProductItemAdded = function(n) return n + 1 end })
        for i = 1, 5 do
          assert.equal(30 * i, handle(cart, add()).state.total)
          assert.equal(i, handle(counting, command "Look").state)
        end
      end)
    end)
  end)

  describe("a decision after another writer's", function()
    it("rests on what that one has written", function()
      local store <close>, path = support.open()
      local other <close> = moonfold.open(path)
      local peer <close> = support.peer()
      store:handle("cart-1", cart, add())
      other:append_to_stream("cart-1", event("DiscountApplied", { percent = 50 }))
      assert.equal(45, store:handle("cart-1", cart, add()).state.total)
      peer:run([[
        local store <close> = moonfold.open(...)
        store:append_to_stream("cart-1", { type = "DiscountApplied", data = { percent = 100 } })
      ]], path)
      assert.equal(30, store:handle("cart-1", cart, add()).state.total)
    end)
  end)

  describe("handling in a read-only store", function()
    it("is refused without deciding", function()
      local store, path = support.open()
      store:append_to_stream("a", event "Done")
      store:close()
      local reader <close> = moonfold.open(path, { read_only = true })
      local decider, runs = deciding(function() return event "Done" end)
      support.fails("read_only", nil, reader.handle, reader, "a", decider, command "Do")
      assert.equal(0, runs())
    end)
  end)
end)
