--- moonfold.check: a divergence of every kind is planted, and found; what is sound, and what comes with Moonfold, is
--- found sound.

local check = require "moonfold.check"
local moonfold = require "moonfold"
local support = require "support"

local event, command = moonfold.event, moonfold.command

-- What was found, in a line each.
local function found(report)
  local lines = {}
  for i, finding in ipairs(report.findings) do lines[i] = check.describe(finding) end
  return lines
end

local function script(source, name)
  return support.write(support.path(name or "rules.lua"), 'local moonfold = require "moonfold"\n' .. source)
end

local SOUND <const> = [[
return {
  category = "cart",
  initial_state = function() return { total = 0, lines = moonfold.array() } end,
  evolve = {
    Added = function(cart, event)
      cart.total = cart.total + event.data.price
      cart.lines[#cart.lines + 1] = event.data
    end,
    Raised = function(cart) cart.lines[#cart.lines].price = 0 end,
    Seen = false,
  },
  decide = {
    Add = function(command, cart)
      if cart.total + command.data.price > 100 then moonfold.reject("full", "the cart is full") end
      return moonfold.event("Added", command.data)
    end,
    Roll = function(_, _, context) return moonfold.event("Added", { price = context:random(1, 6) }) end,
    Look = function(_, _, context)
      local other = context:aggregate_stream("cart-2", {
        initial_state = 0, evolve = { Added = function(n) return n + 1 end },
      })
      return moonfold.event("Seen", { other.state, other.current_stream_version, context:stream_exists("cart-3") })
    end,
  },
  events = { Added = { price = "integer" } },
  invariant = function(cart) return cart.total >= 0, "the total is negative" end,
}
]]

-- The sound rules with one thing replaced.
local function edited(old, new, name)
  local from, to = SOUND:find(old, 1, true)
  return script(SOUND:sub(1, from - 1) .. new .. SOUND:sub(to + 1), name)
end

local ADDED <const> = "cart.total = cart.total + event.data.price"

describe("a check of rules", function()
  local store
  before_each(function()
    store = support.open()
    for i = 1, 3 do
      local events = {}
      for k = 1, 10 do events[k] = event("Added", { price = k }) end
      events[11] = event "Raised"
      store:append_to_stream("cart-" .. i, events)
    end
    store:append_to_stream("user-1", event "Registered")
  end)
  after_each(function() store:close() end)

  local function run(rules, options) return check.run(store, rules, options) end

  it("finds nothing where nothing is wrong, and tells what it has looked at", function()
    local report = run(script(SOUND))
    assert.same({}, found(report))
    assert.same({ true, 3, 33, 1 }, { report.sound, report.streams, report.events, report.streams_without_rules })
  end)

  it("finds nothing wrong with a table, a list, a function and a folder of deciders, either", function()
    local path = script(SOUND)
    local function table_decider() return dofile(path) end
    for _, rules in ipairs { table_decider(), { table_decider() }, table_decider, path:match("^(.*)/") } do
      local report = run(rules)
      assert.same({}, found(report))
      assert.equal(3, report.streams)
    end
  end)

  it("finds handlers that write to their event", function()
    local report = run(edited(ADDED, ADDED .. " if event.data.price == 4 then event.data.price = 5 end"))
    assert.equal("mutated_event: cart-1, event 4 (Added): data.price: 4 -> 5", found(report)[1])
    assert.same({ mutated_event = 3 }, report.counts)
    for _, writing in ipairs { "event.new = 1", "event.type = 'x'", "event.stream_position = 99",
      "event.stream_name = 'x'", "event.metadata = {}", "event.recorded_at = 1" } do
      assert.same({ mutated_event = 3 }, run(edited(ADDED, ADDED .. "; " .. writing)).counts, writing)
    end
  end)

  it("finds handlers that write to their event what cannot be stored", function()
    for writing, told in pairs {
      ["event.f = print"] = "f: nothing -> \"a function that cannot be stored\"",
      ["event.me = event"] = "me: nothing -> \"a table that cannot be stored\"",
      ["event.data = { f = print }"] = "data: { price = 4 } -> \"a table that cannot be stored\"",
      ["event.data.price = 0 / 0"] = "data: { price = 4 } -> \"a table that cannot be stored\"",
    } do
      local path = edited(ADDED, ADDED .. (" if event.stream_position == 4 then %s end"):format(writing))
      path = support.write(path, (support.read(path):gsub("cart.lines%[#cart.lines %+ 1%] = event.data",
        "cart.lines[#cart.lines + 1] = {}")))
      for _, rules in ipairs { path, dofile(path) } do
        local report = run(rules)
        assert.same({ mutated_event = 3 }, report.counts, writing)
        assert.equal("mutated_event: cart-1, event 4 (Added): " .. told, found(report)[1])
      end
    end
  end)

  it("finds functions that fail beside evolve, and where", function()
    local function first(old, new) return found(run(edited(old, new)))[1] end
    assert.matches("^failing: cart%-1, the beginning: invariant .*nil value",
      first("return cart.total >= 0", "return cart.nothing.total >= 0"))
    assert.matches("^failing: cart%-1, event 11 %(Raised%): invariant .*nil value",
      first("return cart.total >= 0", "return #cart.lines < 10 or cart.lines[10].price > 0 or cart.x.y"))
    assert.matches("^failing: cart%-1, the beginning: initial_state .*no start",
      first("return { total = 0", "error 'no start' return { total = 0"))
    assert.matches("^failing: cart%-1, event 1 %(Added%): upcast .*old",
      first("events = {", "upcast = { Added = function() error 'old' end }, events = {"))
  end)

  it("finds handlers that write to an event that was upcast", function()
    local upcasting = [[
      upcast = { Added = function(e) return { type = "Added", data = { price = e.data.price, n = 1 } } end },
      events = { Added = { price = "integer", n = "integer" } },]]
    assert.same({}, run(edited('events = { Added = { price = "integer" } },', upcasting)).counts)
    local path = edited('events = { Added = { price = "integer" } },', upcasting)
    support.write(path, (support.read(path):gsub("cart%.total = cart%.total", "event.data.n = 2; %0")))
    assert.equal("mutated_event: cart-1, event 1 (Added): data.n: 1 -> 2; 10 times in this stream", found(run(path))[1])
  end)

  -- Of long streams, the events are not looked at where the handler's code shows that it only reads fields.
  it("finds handlers of long streams that write to what stands in their event", function()
    local events = {}
    for i = 1, 100 do
      events[i] = event("Added", { price = 1, tags = i > 80 and { "a", i } or "none" }, i > 90 and { by = "x" } or nil)
    end
    store:append_to_stream("cart-long", events)
    local shape = 'events = { Added = { price = "integer" } },'
    assert.same({}, run(edited(shape, ""), { stream = "cart-long" }).counts)
    for writing, position in pairs {
      ["local tags = event.data.tags; if tags ~= 'none' then tags[2] = 0 end"] = 81,
      ["local data = event.data; if data.tags ~= 'none' then data.tags.new = 1 end"] = 81,
      ["local by = event.metadata; if by then by.new = 1 end"] = 91,
      ["if event.stream_position == 50 then event.data.price = 2 end"] = 50,
      ["if event.stream_position == 51 then local e = event; e.type = 'x' end"] = 51,
      ["if event.stream_position == 52 then rawset(event, 'new', 1) end"] = 52,
      ["if event.stream_position == 53 then table.insert(event.data, 1) end"] = 53,
    } do
      local source = SOUND:gsub(shape:gsub("%p", "%%%0"), ""):gsub("cart%.total = cart%.total", writing .. "; %0")
      local report = run(script(source), { stream = "cart-long" })
      assert.same({ mutated_event = 1 }, report.counts, writing)
      assert.equal(position, report.findings[1].position, writing)
    end
  end)

  it("finds states that break the invariant, with the first event after which they do", function()
    local report = run(edited("cart.total >= 0", "cart.total < 28"))
    assert.equal("invariant: cart-1, event 7 (Added): the total is negative; 5 times in this stream", found(report)[1])
    assert.same({ invariant = 3 }, report.counts)
    assert.equal("invariant: cart-1, the beginning: the total is negative; 12 times in this stream",
      found(run(edited("cart.total >= 0", "cart.total < 0")))[1])
  end)

  it("finds them in long streams, too, whose handlers only read their events", function()
    local events = {}
    for i = 1, 100 do events[i] = event("Added", { price = i }) end
    store:append_to_stream("cart-long", events)
    local path = script [[
      return { category = "cart", initial_state = { last = 0 }, evolve = {
        Added = function(cart, event) cart.last = event.data.price end, Raised = false, Seen = false,
      }, invariant = function(cart) return cart.last < 60, "too much" end }]]
    for _, rules in ipairs { path, dofile(path) } do
      local report = run(rules, { stream = "cart-long" })
      assert.same({ "invariant: cart-long, event 60 (Added): too much; 41 times in this stream" }, found(report))
    end
  end)

  it("finds events without their shape", function()
    store:append_to_stream("cart-2", { event("Added", { price = 1, color = "red" }), event("Added", { price = 1.5 }) })
    local report = run(script(SOUND))
    local problem = "data.color: there is no such field: there is price; 2 times in this stream"
    assert.same({ "shape: cart-2, event 12 (Added): " .. problem },
      found(report))
  end)

  it("finds each type of events without a handler", function()
    store:append_to_stream("cart-2", { event "Lost", event "Seen", event "Won", event "Lost" })
    assert.same({
      "no_handler: cart-2, event 12 (Lost): evolve has no handler; write Lost = false if it changes nothing; "
        .. "2 times in this stream",
      "no_handler: cart-2, event 14 (Won): evolve has no handler; write Won = false if it changes nothing",
    }, found(run(script(SOUND))))
  end)

  it("finds folds that fail, with event and reason, and goes on with the other streams", function()
    store:append_to_stream("cart-2", event("Added", { price = "two" }))
    local report = run(script(SOUND))
    assert.same({ failing = 1 }, report.counts)
    assert.equal(3, report.streams)
    local finding = report.findings[1]
    assert.same({ "cart-2", 12, "Added" }, { finding.stream_name, finding.position, finding.event_type })
    assert.matches("attempt to add a 'number' with a 'string'", finding.message)
  end)

  it("finds states that cannot be stored, with the first event after which they cannot", function()
    for value, problem in pairs {
      ["function() end"] = "a function cannot be stored",
      ["0 / 0"] = "NaN cannot be stored",
      ["1 / 0"] = "an infinite number cannot be stored",
    } do
      local path = edited(ADDED, "if event.stream_position == 4 then cart.f = " .. value .. " end")
      for _, rules in ipairs { path, dofile(path) } do
        local report = run(rules)
        assert.same({ failing = 3 }, report.counts)
        assert.equal(("failing: cart-1, event 4 (Added): state.f: %s"):format(problem), found(report)[1])
      end
    end
  end)

  it("finds what is kept outside of the state, in the sandbox", function()
    local report = run(script("local seen = 0\n" .. SOUND:gsub("cart%.total = cart%.total",
      "if event.data.price > 4 then seen = seen + 1 end %0")))
    assert.same({ hidden_state = 3 }, report.counts)
    assert.same({ 5, "Added" }, { report.findings[1].position, report.findings[1].event_type })
    assert.matches('the local variable "seen"', report.findings[1].message, 1, true)
  end)

  -- What a sandbox does not let happen at all, tables can do.
  local function hiding()
    local seen = 0
    return { category = "cart", initial_state = { n = 0 }, evolve = function(state, given)
      if given.data and given.data.price > 4 then seen = seen + 1 end
      state.n = seen
    end }
  end

  it("finds what is kept outside of the state by a table, also where there is one stream", function()
    local report = run(hiding)
    assert.same({ hidden_state = 3 }, report.counts)
    local one = run(hiding, { stream = "cart-3" })
    assert.same({ hidden_state = 1 }, one.counts)
    assert.same({ 1, "n" }, { one.findings[1].position, one.findings[1].changes[1].path })
  end)

  it("finds states that chance or an address decides", function()
    local report = run(function()
      return { category = "cart", initial_state = {}, evolve = function(state, given)
        if given.stream_position == 7 then state.dice = math.random() end
      end }
    end)
    assert.same({ nondeterministic = 3 }, report.counts)
    for _, finding in ipairs(report.findings) do
      assert.same({ 7, "Added", "dice" }, { finding.position, finding.event_type, finding.changes[1].path })
    end
    assert.same({ nondeterministic = 3 }, run(function()
      return { category = "cart", initial_state = 0, evolve = function() return tostring({}) end }
    end).counts)
  end)

  it("finds loaded rules that differ each time they are loaded", function()
    local loads = 0
    local path = script("local n = ...\n" .. SOUND:gsub("cart%.total = cart%.total", "cart.n = n %0"))
    local report = run(function()
      loads = loads + 1
      return moonfold.load_decider(path, { params = loads })
    end)
    assert.same({ nondeterministic = 3 }, report.counts)
    assert.same({ 1, "n" }, { report.findings[1].position, report.findings[1].changes[1].path })
  end)

  it("finds powers, which differ between processors, and no squares", function()
    local report = run(edited(ADDED, ADDED .. "\n local x = 2 ^ 0.5 -- ^\n local y = '^' .. x^2\n local z = 3^2^x"))
    assert.same({ "inexact: rules.lua:8: ^ differs in the last bit between processors; multiply where that will do",
      "inexact: rules.lua:10: ^ differs in the last bit between processors; multiply where that will do",
    }, found(report))
  end)

  it("looks at some streams only, when it is asked to", function()
    local function streams(options) return run(script(SOUND), options).streams end
    assert.equal(1, streams { stream = "cart-2" })
    assert.equal(0, streams { stream = "cart-4" })
    local last = store:read_stream("cart-2").events[11].recorded_at
    store:append_to_stream("cart-2", event("Added", { price = 1 }))
    local recorded = store:read_stream("cart-2").events[12].recorded_at
    assert.equal(1, streams { since = math.max(recorded, last + 1) })
    assert.equal(3, streams { since = 0 })
    local sum = 0
    for i = 1, 4 do sum = sum + streams { share = { index = i, count = 4 } } end
    assert.equal(3, sum)
  end)

  it("hands findings over one by one, and says how far it has come", function()
    local findings, events = {}, 0
    local report = run(edited("cart.total >= 0", "cart.total < 28"), {
      finding = function(finding) findings[#findings + 1] = finding.stream_name end,
      progress = function(done) events = events + done end,
    })
    assert.same({ "cart-1", "cart-2", "cart-3" }, findings)
    assert.same({ {}, 33 }, { report.findings, events })
  end)

  it("refuses what it cannot work with", function()
    support.fails("invalid_argument", { path = "rules" }, function() run(7) end)
    support.fails("not_found", nil, function() run("nowhere.lua") end)
    support.fails("script_error", nil, function() run(script("return {")) end)
    support.fails("invalid_argument", { path = "options.share" }, function()
      run(script(SOUND), { share = { index = 3, count = 2 } })
    end)
    support.fails("invalid_argument", { path = "options.since" }, function() run(script(SOUND), { since = "now" }) end)
  end)

  describe("against the old ones", function()
    local function against(new, old) return run(new, { against = old or script(SOUND) }) end

    it("finds nothing where they fold alike", function()
      assert.same({}, found(against(edited("> 100", "> 50"))))
      assert.same({}, found(against(edited(ADDED, "cart.total = event.data.price + cart.total"))))
    end)

    it("tells which streams end in other states, from which event on, and how they differ", function()
      store:append_to_stream("cart-2", event("Added", { price = 20 }))
      local report = against(edited(ADDED, ADDED .. " + event.data.price // 11"))
      assert.same({ "different: cart-2, event 12 (Added): total: 75 -> 76" }, found(report))
      assert.same({ different = 1 }, report.counts)
      assert.same({ 75, 76 }, { report.findings[1].changes[1].before, report.findings[1].changes[1].after })
    end)

    it("tells of states that begin differently", function()
      local report = against(edited("total = 0", "total = 1000"))
      assert.equal("different: cart-1, the beginning: total: 55 -> 1055", found(report)[1])
    end)

    it("passes over what comes to the same in the end", function()
      assert.same({}, found(against(edited(ADDED,
        "cart.total = event.stream_position < 10 and 0 or 55"))))
    end)

    it("tells of rules that fail now, and of those that failed", function()
      local broken = edited(ADDED, ADDED .. " if event.data.price == 6 then error('six') end")
      local report = against(broken)
      assert.same({ failing = 3, different = 3 }, report.counts)
      assert.matches("the new rules fail: .*six", found(report)[2])
      assert.equal(6, report.findings[2].position)
      assert.matches("the old rules fail: .*six", found(against(script(SOUND), broken))[1])
    end)

    it("compares tables, too", function()
      local old, new = dofile(script(SOUND)), dofile(edited("price = 0", "price = 1"))
      assert.equal("different: cart-1, event 11 (Raised): lines[10].price: 0 -> 1", found(against(new, old))[1])
    end)
  end)
end)

describe("a check of decisions", function()
  local store, now
  before_each(function()
    now = 1000
    store = support.open { clock = function()
      now = now + 1
      return now
    end }
    local decider = moonfold.load_decider(script(SOUND), { keep_commands = true })
    for i = 1, 20 do
      store:attempt("cart-1", decider, command("Add", { price = i }))
      store:handle("cart-2", decider, { type = "Add", data = { price = 1 }, command_id = "c-" .. i })
      store:attempt("cart-1", decider, command "Roll")
      store:handle("cart-1", decider, { type = "Look", metadata = { correlation_id = "x" } })
    end
    store:handle("cart-3", decider, command("Add", { price = 1 }))
  end)
  after_each(function() store:close() end)

  local function run(rules, options)
    options = options or {}
    options.decide = true
    return check.run(store, rules, options)
  end

  it("decides as it was decided then: with the same state, the same other streams, the same chance", function()
    local report = run(script(SOUND))
    assert.same({}, found(report))
    assert.same({ 81, 81, 0 }, { report.commands, report.same_decisions, report.commands_left_out })
    assert.same({}, run(script(SOUND), { against = script(SOUND) }).counts)
  end)

  it("finds commands that lead to other events", function()
    local report = run(edited("random(1, 6)", "random(1, 6) + 100"))
    assert.same({ other_events = 20 }, report.counts)
    local finding = report.findings[1]
    assert.same({ "cart-1", "Roll", 1 }, { finding.stream_name, finding.command_type, finding.position })
    assert.equal("[1].data.price", finding.changes[1].path)
    assert.equal(100, finding.changes[1].after - finding.changes[1].before)
    assert.same({ "accepted", "accepted" }, { finding.old.outcome, finding.new.outcome })
  end)

  it("finds commands that are newly refused, newly accepted, or refused for another reason", function()
    local strict = run(edited("> 100", "> 15"))
    assert.is_true(strict.counts.newly_refused > 0)
    assert.same({ newly_refused = strict.counts.newly_refused }, strict.counts)
    assert.matches("^newly_refused: cart%-%d, Add at version %d+: Added %-> full %(the cart is full%)$",
      found(strict)[1])
    local lax = run(edited("> 100", "> 1000"))
    assert.is_true(lax.counts.newly_accepted > 0)
    assert.is_nil(lax.counts.newly_refused)
    local worded = run(edited('"full"', '"too_full"'))
    assert.same({ other_refusal = lax.counts.newly_accepted }, worded.counts)
    assert.matches("full %(the cart is full%) %-> too_full %(the cart is full%)$", found(worded)[1])
    assert.same({}, run(edited('"the cart is full"', '"full"')).counts)
  end)

  it("finds decisions that fail", function()
    local report = run(edited("context:random(1, 6)", "nothing.at.all"))
    assert.same({ newly_failing = 20 }, report.counts)
    assert.matches("decide of command Roll", found(report)[1])
    assert.same({ newly_failing = 20 }, run(edited("Roll = ", "Rull = ")).counts)
  end)

  it("compares with what the old rules decide, and not with what is recorded, when there are old rules", function()
    local changed = edited("random(1, 6)", "random(1, 6) + 100")
    assert.same({}, run(changed, { against = changed }).counts)
    assert.same({ other_events = 20 }, run(script(SOUND), { against = changed }).counts)
  end)

  it("takes the commands of a time, and of some streams", function()
    assert.equal(20, run(script(SOUND), { stream = "cart-2" }).commands)
    local last = store:read_stream("cart-3").events[1].recorded_at
    assert.equal(1, run(script(SOUND), { since = last }).commands)
    assert.equal(0, run(script(SOUND), { since = last + 1 }).commands)
    local sum = 0
    for i = 1, 3 do sum = sum + run(script(SOUND), { share = { index = i, count = 3 } }).commands end
    assert.equal(81, sum)
  end)

  it("leaves out what rested on commands that were refused with it", function()
    local decider = moonfold.load_decider(script(SOUND), { keep_commands = true })
    pcall(store.handle, store, "cart-3", decider, { command "Roll", command("Add", { price = 1000 }) })
    store:handle("cart-3", decider, command "Roll")
    local report = run(script(SOUND))
    assert.same({ {}, 82, 1 }, { report.counts, report.commands, report.commands_left_out })
  end)
end)

describe("deciding in the past", function()
  it("sees the log as it was, whatever has happened since", function()
    local store <close> = support.open()
    local decider = moonfold.load_decider(script(SOUND))
    for i = 1, 50 do
      store:handle("cart-1", decider, command("Add", { price = 1 }))
      if i % 7 == 0 then store:handle("cart-2", decider, command("Add", { price = 1 })) end
    end
    store:handle("cart-3", decider, command("Add", { price = 1 }))
    local positions = {}
    for each in store:events("cart-1") do positions[#positions + 1] = each.global_position end
    for _, version in ipairs { 0, 1, 2, 25, 49, 50 } do
      local at = positions[version] or 0
      local result = store:decide("cart-1", decider, command "Look", { as_of = at })
      assert.same({ version // 7 - (version % 7 == 0 and version > 0 and 1 or 0),
        version // 7 - (version % 7 == 0 and version > 0 and 1 or 0), false }, result.events[1].data)
      assert.same({ version + 1, version + 1 },
        { result.events[1].stream_position, result.next_expected_stream_version })
      assert.equal(version, result.state.total)
    end
    local present = store:decide("cart-1", decider, command "Look", { as_of = 1000 })
    assert.same({ 7, 7, true }, present.events[1].data)
    assert.equal(52, store:decide("cart-1", decider, { command "Look", command "Look" }).next_expected_stream_version)
  end)

  it("checks expectations against the past", function()
    local store <close> = support.open()
    local decider = dofile(script(SOUND))
    for _ = 1, 3 do store:handle("cart-1", decider, command("Add", { price = 1 })) end
    local function decide(as_of, expected)
      return store:decide("cart-1", decider, command("Add", { price = 1 }),
        { as_of = as_of, expected_stream_version = expected })
    end
    assert.equal(3, decide(2, 2).next_expected_stream_version)
    assert.equal(1, decide(0, moonfold.STREAM_DOES_NOT_EXIST).next_expected_stream_version)
    assert.equal(2, decide(1, moonfold.STREAM_EXISTS).next_expected_stream_version)
    support.fails("version_conflict", { current = 2 }, decide, 2, 3)
    support.fails("version_conflict", { current = 0 }, decide, 0, moonfold.STREAM_EXISTS)
    support.fails("version_conflict", { current = 1 }, decide, 1, moonfold.STREAM_DOES_NOT_EXIST)
  end)

  it("decides a command again whose id was recorded later", function()
    local store <close> = support.open()
    local decider = moonfold.load_decider(script(SOUND))
    local given = { type = "Add", data = { price = 7 }, command_id = "once" }
    store:handle("cart-1", decider, command("Add", { price = 1 }))
    store:handle("cart-1", decider, given)
    local again = store:decide("cart-1", decider, given, { as_of = 1 })
    assert.same({ 2, 8 }, { again.events[1].stream_position, again.state.total })
    given.data.price = 8
    assert.equal(9, store:decide("cart-1", decider, given, { as_of = 1 }).state.total)
    support.fails("id_conflict", nil, store.decide, store, "cart-1", decider, given)
  end)
end)

describe("the rules that come with Moonfold", function()
  local HOUR <const> = 3600 * 1000000
  local function any(...)
    local list = { ... }
    return list[math.random(#list)]
  end
  local function n(low, high) return math.random(low, high) end

  -- Random commands, of which many are refused: path -> { streams, how many, command }
  local worlds = {
    { "scripts/domain/account.lua", "account", function()
      return any(command("Deposit", { cents = n(1, 500) }), command("Withdraw", { cents = n(1, 500) }),
        n(1, 20) == 1 and command "Close" or command("Deposit", { cents = n(0, 9) }))
    end },
    { "scripts/domain/cart.lua", "cart", function()
      return any(command("AddProductItem", { product = any("tea", "cup"), qty = n(0, 5), price = n(1, 900) }),
        command("RemoveProductItem", { product = any("tea", "cup") }), command("ApplyDiscount", { percent = n(0, 50) }),
        n(1, 20) > 1 and command("ApplyDiscount", { percent = n(0, 50) })
          or any(command "ConfirmCart", command "CancelCart"))
    end },
    { "scripts/domain/counter.lua", "counter", function()
      return any(command("Count", { by = n(-5, 5) }), command "Count", command "Reset", command "Jump")
    end },
    { "scripts/domain/inventory.lua", "inventory", function()
      return any(command("PickUp", { item = any("arrow", "sword"), count = n(1, 40) }),
        command("Drop", { slot = n(1, 9), count = n(1, 9) }),
        command("Move", { from = n(1, 9), to = n(1, 9), count = n(1, 9) }))
    end },
    { "scripts/domain/pricing.lua", "quote", function()
      return any(command("AddLine", { product = any("tea", "cup", "hat"), quantity = n(0, 30) }),
        n(1, 20) == 1 and command "Confirm" or command("AddLine", { product = "tea", quantity = 12 }))
    end, { prices = { tea = 300, cup = 500 }, discounts = { { name = "a dozen", from = 12, percent = 10 } } } },
    { "scripts/domain/quest.lua", "quest", function()
      local rats = { title = "rats", foes = n(0, 3), strength = n(1, 15), level = n(0, 1), hours = 9 }
      return any(command("OfferQuest", rats),
        command("AcceptQuest", { hero = any("ada", "bob") }), command "Fight", command "Fight")
    end },
    { "examples/dungeon/rules", "dungeon", function()
      return any(command("Begin", { name = "ada" }), command "Rest", command "Drink", command "Descend",
        command("Move", { direction = any("north", "south", "east", "west") }),
        command("Move", { direction = any("north", "south", "east", "west") }))
    end },
    { "examples/embed/rules/hero.lua", "hero", function()
      return any(command("PickUp", { gold = n(1, 9) }), command("Buy", { item = "rope", price = n(1, 20) }))
    end },
    { "examples/love/rules/garden.lua", "garden", function()
      return any(command("Touch", { x = n(-50, 850), y = n(0, 200) }), command "Water")
    end },
  }

  for _, world in ipairs(worlds) do
    local path, category, give, params = table.unpack(world)

    it(("fold and decide as they did: %s"):format(path), function()
      math.randomseed(7, #path)
      local now = 0
      local store <close> = support.open { durability = "none", clock = function()
        now = now + HOUR // n(1, 9)
        return now
      end }
      local domain = store:use(path, { params = params, keep_commands = true })
      for _ = 1, 300 do store:attempt(category .. "-" .. n(1, 4), give()) end
      assert.is_true(store:wait(15, 0), "hardly anything has happened")
      local report = check.run(store, path, { params = params, decide = true })
      assert.same({}, found(report))
      assert.same({ 300, 300 }, { report.commands, report.same_decisions })
      assert.equal(4, report.streams)
      assert.equal(path, domain.path)
    end)
  end
end)
