--- The given/when/expect DSL: what passes, what fails, and how a failure reads.

local moonfold = require "moonfold"
local support = require "support"
local scenario_of = require "moonfold.spec"

local event, command = moonfold.event, moonfold.command

-- A decider that records what it is told to, and remembers it.
local recorder
recorder = {
  category = "recorder",
  initial_state = function() return { seen = moonfold.array() } end,
  evolve = {
    Seen = function(state, seen) table.insert(state.seen, seen.data) end,
    Noted = false,
    Poisoned = function() error("this event is poison") end,
  },
  decide = {
    Record = function(request) return request.data end,
    Refuse = function(request) moonfold.reject("refused", "because I can", request.data) end,
    Fail = function() error("something broke") end,
    Tell = function(request) return event("Seen", request.time) end,
    Look = function(_, _, context) return event("Seen", context:aggregate_stream("other-1", recorder).state.seen) end,
  },
}

local given = scenario_of(recorder)

local function seen(data, metadata) return event("Seen", data, metadata) end
local function record(...) return command("Record", { ... }) end

--- The text of an expectation that fails.
local function failure(expect, scenario, ...)
  local passed, message = pcall(expect, scenario, ...)
  assert.is_false(passed, "the expectation passed")
  assert.is_string(message)
  return message
end

--- The same without the line to blame.
local function differences(...)
  return (failure(...):gsub("^[^\n]*\n", ""))
end

describe("expected events", function()
  it("are those that the command leads to", function()
    given {}:when(record(seen(1), event("Noted"))):expect { seen(1), event("Noted") }
  end)

  it("may be events that were read, as may the given ones", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("recorder-9", { seen(1), seen(2) })
    local events = store:read_stream("recorder-9").events
    given { events[1] }:when(record(seen(2))):expect { events[2] }:expect_state { seen = { 1, 2 } }
  end)

  it("may be one, written as a table", function()
    given { type = "Noted" }:when(record(seen(1))):expect { type = "Seen", data = 1 }
  end)

  it("are decided on the given ones", function()
    given { seen(1), seen(2) }:when(record(seen(3))):expect_state { seen = { 1, 2, 3 } }
  end)

  it("are those of a whole list of commands", function()
    given {}:when { record(seen(1)), record(seen(2), seen(3)) }:expect { seen(1), seen(2), seen(3) }
  end)

  it("are missed one by one", function()
    local scenario = given {}:when(record(seen(1), seen(3)))
    assert.equal([[
  events[2]
    expected  Seen 2
    actual    nothing]], differences(scenario.expect, scenario, { seen(1), seen(2), seen(3) }))
  end)

  it("fail for one too many (case 76)", function()
    local scenario = given {}:when(record(event("Noted"), seen(1)))
    assert.equal([[
  events[1]
    expected  nothing
    actual    Noted]], differences(scenario.expect, scenario, { seen(1) }))
    assert.equal([[
  events[1]
    expected  nothing
    actual    Noted
  events[2]
    expected  nothing
    actual    Seen 1]], differences(scenario.expect, scenario, {}))
  end)

  it("fail for one that comes twice", function()
    local scenario = given {}:when(record(seen(1), seen(1)))
    assert.equal([[
  events[2]
    expected  nothing
    actual    Seen 1]], differences(scenario.expect, scenario, { seen(1) }))
  end)

  it("come in their order", function()
    local scenario = given {}:when(record(seen(1), event("Noted")))
    assert.equal([[
  events[1]
    expected  Noted
    actual    Seen 1
  events[2]
    expected  Seen 1
    actual    Noted]], differences(scenario.expect, scenario, { event("Noted"), seen(1) }))
  end)

  it("differ by path, with sorted keys", function()
    local scenario = given {}:when(record(seen { b = { 1, 2 }, a = "x", ["odd key"] = true, ["end"] = 2, [7] = 1 }))
    assert.equal([[
  events[1].data[7]
    expected  nil
    actual    1
  events[1].data.a
    expected  "y"
    actual    "x"
  events[1].data.b[2]
    expected  3
    actual    2
  events[1].data["end"]
    expected  nil
    actual    2
  events[1].data["odd key"]
    expected  false
    actual    true]], differences(scenario.expect, scenario, { seen { b = { 1, 3 }, a = "y", ["odd key"] = false } }))
  end)

  it("are not there when the command is refused", function()
    local scenario = given {}:when(command("Refuse"))
    assert.equal([[
  outcome
    expected  Seen 1
              Seen { 2 }
    actual    rejected "refused": because I can]], differences(scenario.expect, scenario, { seen(1), seen { 2 } }))
  end)

  it("are not there when the decider fails, and its error is shown", function()
    local scenario = given {}:when(command("Fail"))
    local text = failure(scenario.expect, scenario, {})
    assert.matches("expected  nothing\n    actual    error script_error: .*something broke\n +stack traceback:", text)
    assert.matches("in function <.-given_when_then_spec.lua:%d+>$", text)
  end)

  it("may be written as the store would refuse them, which is refused here as well", function()
    local scenario = given {}:when(record(seen(1)))
    support.fails("invalid_argument", { message = 'did you mean "data"' }, scenario.expect, scenario, {
      { type = "Seen", dta = 1 },
    })
    support.fails("invalid_argument", { path = "events[2].data" }, scenario.expect, scenario, { seen(1), seen(0 / 0) })
    support.fails("invalid_argument", nil, scenario.expect, scenario, nil)
  end)
end)

describe("a comparison", function()
  local function tells(expected, actual, difference)
    local scenario = given {}:when(record(seen { actual }))
    assert.equal("  events[1].data[1]\n" .. difference, differences(scenario.expect, scenario, { seen { expected } }))
    given {}:when(record(seen { actual })):expect { seen { actual } }
  end

  it("tells an integer from a float", function()
    tells(1, 1.0, "    expected  1\n    actual    1.0")
    tells(2 ^ 53, 1 << 53, "    expected  9007199254740992.0\n    actual    9007199254740992")
  end)

  it("tells floats that differ in the last bit", function()
    tells(0.3, 0.1 + 0.2, "    expected  0.3\n    actual    0.30000000000000004")
  end)

  it("tells an empty list from an empty map", function()
    tells({}, moonfold.array(), "    expected  {}\n    actual    moonfold.array()")
  end)

  it("shows the whole of what should be empty, and of what should not be", function()
    tells({}, { a = { 1 } }, "    expected  {}\n    actual    { a = { 1 } }")
    tells({ a = { 1 } }, {}, "    expected  { a = { 1 } }\n    actual    {}")
  end)

  it("tells a number from its digits", function()
    tells("1", 1, '    expected  "1"\n    actual    1')
  end)

  it("tells bytes that look alike", function()
    tells("a\0b", "a\nb", '    expected  "a\\0b"\n    actual    "a\\nb"')
    tells("\xff", "\xfe", '    expected  "\\255"\n    actual    "\\254"')
  end)

  it("knows null, which is not absent (case 80)", function()
    given {}:when(record(seen { moonfold.null })):expect { seen { moonfold.null } }
    tells(moonfold.null, false, "    expected  moonfold.null\n    actual    false")
    local scenario = given {}:when(record(seen { a = moonfold.null, b = 1 }))
    assert.equal("  events[1].data.a\n    expected  nil\n    actual    moonfold.null",
      differences(scenario.expect, scenario, { seen { b = 1 } }))
  end)

  it("shows what does not fit into a line over several", function()
    local scenario = given {}:when(record(seen { list = { ("x"):rep(60), ("y"):rep(60) } }))
    assert.equal(([[
  events[1]
    expected  Noted
    actual    Seen {
                list = {
                  "%s",
                  "%s",
                },
              }]]):format(("x"):rep(60), ("y"):rep(60)), differences(scenario.expect, scenario, { event("Noted") }))
  end)
end)

describe("metadata", function()
  local request = { type = "Record", data = { seen(1, { user = "ada", role = "cook" }) }, command_id = "c-1" }
  local scenario = given {}:when(request)

  it("counts only where the expectation names it", function()
    scenario:expect { seen(1) }
    scenario:expect { seen(1, { user = "ada" }) }
    scenario:expect { seen(1, { user = "ada", role = "cook", causation_id = "c-1" }) }
  end)

  it("counts exactly where it is named", function()
    assert.equal([[
  events[1].metadata.user
    expected  "bob"
    actual    "ada"]], differences(scenario.expect, scenario, { seen(1, { user = "bob", role = "cook" }) }))
    assert.equal([[
  events[1].metadata.tenant
    expected  1
    actual    nil]], differences(scenario.expect, scenario, { seen(1, { tenant = 1 }) }))
  end)

  it("is missed where there is none", function()
    local bare = given {}:when(record(seen(1)))
    assert.equal([[
  events[1].metadata
    expected  { user = "ada" }
    actual    nil]], differences(bare.expect, bare, { seen(1, { user = "ada" }) }))
  end)
end)

describe("a message_id", function()
  local scenario = given {}:when(record({ type = "Noted", message_id = "m-1" }, event("Noted")))

  it("counts only where the expectation names it", function()
    scenario:expect { event("Noted"), event("Noted") }
    scenario:expect { { type = "Noted", message_id = "m-1" }, event("Noted") }
    local other = { type = "Noted", message_id = "m-2" }
    assert.equal([[
  events[1].message_id
    expected  "m-2"
    actual    "m-1"]], differences(scenario.expect, scenario, { other, event("Noted") }))
  end)
end)

describe("expecting nothing", function()
  it("passes when nothing is recorded (case 77)", function()
    given {}:when(record()):expect_nothing()
    given {}:when(record()):expect {}
    given {}:when {}:expect_nothing()
  end)

  it("fails for an event (case 77)", function()
    local scenario = given {}:when(record(seen(1), event("Noted")))
    assert.equal([[
  outcome
    expected  nothing
    actual    Seen 1
              Noted]], differences(scenario.expect_nothing, scenario))
  end)

  it("fails for a refusal", function()
    local scenario = given {}:when(command("Refuse"))
    failure(scenario.expect_nothing, scenario)
  end)
end)

describe("expecting a refusal", function()
  local refused = given { seen(1) }:when(command("Refuse"))

  it("passes for its reason, or for any", function()
    refused:expect_rejected("refused"):expect_rejected()
  end)

  it("fails for another reason", function()
    assert.equal([[
  outcome
    expected  rejected "sold_out"
    actual    rejected "refused": because I can]], differences(refused.expect_rejected, refused, "sold_out"))
  end)

  it("fails when the command is not refused", function()
    local scenario = given {}:when(record())
    assert.equal("  outcome\n    expected  rejected\n    actual    nothing",
      differences(scenario.expect_rejected, scenario))
  end)

  it("fails for an error", function()
    local scenario = given {}:when(command("Fail"))
    assert.matches("something broke", failure(scenario.expect_rejected, scenario))
  end)

  it("refuses a reason that turns out to be nil", function()
    support.fails("invalid_argument", { path = "reason" }, refused.expect_rejected, refused, nil)
  end)
end)

describe("expecting an error", function()
  it("passes when its text matches (case 78)", function()
    given {}:when(command("Fail")):expect_error("something %l+")
    given {}:when(command("Fail")):expect_error("script_error")
    given {}:when(command("Recrod")):expect_error("unknown_command_type")
    given {}:when(record(event("Sene"))):expect_error("unknown_event_type")
  end)

  it("does not take the name of the spec's file for a part of the error", function()
    local scenario = given {}:when(command("Recrod"))
    failure(scenario.expect_error, scenario, "given_when_then_spec")
  end)

  it("passes for given events that cannot be folded", function()
    given { event("Poisoned") }:expect_error("poison")
    given { event("Poisoned") }:when(record()):expect_error("poison")
  end)

  it("fails when the text does not match (case 78)", function()
    local scenario = given {}:when(command("Fail"))
    assert.matches('expected  an error that matches "nothing broke"\n    actual    error script_error',
      failure(scenario.expect_error, scenario, "nothing broke"))
  end)

  it("fails when nothing is raised (case 78)", function()
    local scenario = given {}:when(record(seen(1)))
    assert.matches("actual    Seen 1", failure(scenario.expect_error, scenario, "."))
    scenario = given { seen(1) }
    assert.matches("actual    no error", failure(scenario.expect_error, scenario, "."))
  end)

  it("fails for a refusal, which is no error", function()
    local scenario = given {}:when(command("Refuse"))
    failure(scenario.expect_error, scenario, ".")
  end)

  it("needs a pattern", function()
    local scenario = given {}:when(command("Fail"))
    support.fails("invalid_argument", { path = "pattern" }, scenario.expect_error, scenario, nil)
  end)
end)

describe("the expected state", function()
  it("is that of the given events when there is no command", function()
    given {}:expect_state { seen = moonfold.array() }
    given { seen(1), event("Noted") }:expect_state { seen = { 1 } }
  end)

  it("is that after the decided events", function()
    given { seen(1) }:when(record(seen(2))):expect { seen(2) }:expect_state { seen = { 1, 2 } }
  end)

  it("may be asked for before and after", function()
    given { seen(1) }
      :expect_state { seen = { 1 } }
      :when(record(seen(2)))
      :expect_state { seen = { 1, 2 } }
  end)

  it("differs by path", function()
    local scenario = given { seen { a = 1 }, seen(2) }
    assert.equal([[
  state.seen[1].a
    expected  1.0
    actual    1
  state.seen[3]
    expected  3
    actual    nil]], differences(scenario.expect_state, scenario, { seen = { { a = 1.0 }, 2, 3 } }))
  end)

  it("may be any value", function()
    local flag = scenario_of { initial_state = false, evolve = { Raised = function() return true end } }
    flag {}:expect_state(false)
    flag { event("Raised") }:expect_state(true)
    local scenario = flag {}
    assert.equal("  state\n    expected  true\n    actual    false", differences(scenario.expect_state, scenario, true))
  end)

  it("stays as it was after a refusal or an error that was expected", function()
    given { seen(1) }:when(command("Refuse")):expect_rejected():expect_state { seen = { 1 } }
    given { seen(1) }:when(command("Fail")):expect_error("broke"):expect_state { seen = { 1 } }
  end)

  it("does not hide a refusal or an error that was not expected", function()
    for _, scenario in ipairs { given { seen(1) }:when(command("Refuse")), given { seen(1) }:when(command("Fail")) } do
      assert.matches("expected  no refusal and no error", failure(scenario.expect_state, scenario, { seen = { 1 } }))
    end
  end)

  it("must be one that could be stored", function()
    local scenario = given {}
    support.fails("invalid_argument", nil, scenario.expect_state, scenario, { seen = print })
    local looped = scenario_of {
      initial_state = function() return {} end,
      evolve = { Seen = function(state) state.self = state end },
    }
    looped {}:expect_state {}
    looped { seen(1) }:expect_error("invalid_argument")
  end)
end)

describe("another stream", function()
  it("is there for the decision", function()
    given {}:and_stream("other-1", { seen(7) }):when(command("Look")):expect { seen { 7 } }
    given {}:when(command("Look")):expect { seen(moonfold.array()) }
  end)

  it("is one of several", function()
    given {}
      :and_stream("other-2", { seen(8) })
      :and_stream("other-1", { seen(7) })
      :and_stream("other-1", { seen(9) })
      :when(command("Look"))
      :expect { seen { 7, 9 } }
  end)

  it("is folded where its decider is known, so that it cannot be nonsense", function()
    local scenario = given {}
    scenario:and_stream("other-1", { seen(7) }, recorder)
    support.fails("script_error", { message = "poison" }, scenario.and_stream, scenario, "other-1",
      { event("Poisoned") }, recorder)
  end)

  it("shares the store, and its rules, with the given events", function()
    local scenario = given { { type = "Noted", message_id = "m-1" } }
    support.fails("id_conflict", { message = "m-1" }, scenario.and_stream, scenario, "other-1",
      { { type = "Noted", message_id = "m-1" } })
  end)

  it("is not the stream that decides", function()
    local scenario = given {}
    support.fails("invalid_argument", { path = "name" }, scenario.and_stream, scenario, "recorder-1", {})
  end)
end)

describe("the clock", function()
  it("stands at 0 unless told otherwise", function()
    given {}:when(command("Tell")):expect { seen(0) }
    given {}:at(1000):when(command("Tell")):expect { seen(1000) }
    given {}:when(command("Tell")):at(1000):expect { seen(1000) }
  end)

  it("stands at 0 while the given events are recorded", function()
    local diary = scenario_of {
      initial_state = -1,
      evolve = { Seen = function(_, entry) return entry.recorded_at end },
      decide = { Record = function(request) return request.data end },
    }
    diary { seen(1) }:at(1000):expect_state(0)
    diary { seen(1) }:at(1000):when(record(seen(2))):expect_state(1000)
  end)

  it("takes integers", function()
    local scenario = given {}
    support.fails("invalid_argument", { path = "time" }, scenario.at, scenario, 1.5)
  end)
end)

describe("the dice", function()
  local die = scenario_of {
    category = "die",
    initial_state = 0,
    evolve = { Rolled = false },
    decide = function(request, _, context)
      local sum = 0
      for _ = 1, request.data.times do sum = sum + context:random(1, 6) end
      if request.data.fraction then sum = sum + context:random() end
      return event("Rolled", sum)
    end,
  }

  local function roll(times, fraction) return command("Roll", { times = times, fraction = fraction }) end

  it("show what they are told to", function()
    die {}:rolling(4):when(roll(1)):expect(event("Rolled", 4))
    die {}:rolling { 6, 1, 5 }:when(roll(3)):expect(event("Rolled", 12))
    die {}:rolling { 6, 1, 5 }:when { roll(1), roll(2) }:expect { event("Rolled", 6), event("Rolled", 6) }
    die {}:rolling { 2, 0.25 }:when(roll(1, true)):expect(event("Rolled", 2.25))
  end)

  it("show the same for the same command without being told", function()
    local scenario = die {}:when(roll(5))
    assert.equal(failure(scenario.expect, scenario, event("Rolled", 0)):match("actual.*"),
      failure(scenario.expect, die {}:when(roll(5)), event("Rolled", 0)):match("actual.*"))
  end)

  it("show only what they can, exactly as often as they are rolled", function()
    die {}:rolling(7):when(roll(1)):expect_error(
      "options.rolls%[1%]: random%(1, 6%) is asked: an integer between them is needed$")
    die {}:rolling(2.5):when(roll(1)):expect_error("options.rolls%[1%]: ")
    die {}:rolling { 1, 1 }:when(roll(1, true)):expect_error("options.rolls%[2%]: random%(%) is asked")
    die {}:rolling(1):when(roll(2)):expect_error("options.rolls: decide rolls once more than the 1 that are given$")
    die {}:rolling { 1, 2, 3 }:when(roll(2)):expect_error("options.rolls: 3 are given, and decide rolled 2 times$")
  end)

  it("are numbers", function()
    support.fails("invalid_argument", { path = "rolls[1]" }, function() die {}:rolling() end)
    support.fails("invalid_argument", { path = "rolls[2]" }, function() die {}:rolling { 1, "2" } end)
    local store <close> = moonfold.open(":memory:")
    for path, rolls in pairs { ["options.rolls"] = 1, ["options.rolls[1]"] = { "1" } } do
      local options = { rolls = rolls }
      support.fails("invalid_argument", { path = path }, store.handle, store, "s", recorder, record(), options)
    end
  end)
end)

describe("a scenario", function()
  it("may be the beginning of several", function()
    local beginning = given { seen(1) }
    beginning:when(record(seen(2))):expect_state { seen = { 1, 2 } }
    beginning:and_stream("other-1", { seen(7) }):when(command("Look")):expect_state { seen = { 1, { 7 } } }
    beginning:when(command("Look")):expect_state { seen = { 1, moonfold.array() } }
    beginning:at(5):when(command("Tell")):expect_state { seen = { 1, 5 } }
    beginning:when(command("Tell")):expect_state { seen = { 1, 0 } }
  end)

  it("is decided once, however many expectations there are", function()
    local decisions = 0
    local counting = scenario_of {
      initial_state = 0,
      evolve = {},
      decide = function() decisions = decisions + 1 end,
    }
    counting {}:when(command("Anything")):expect_nothing():expect {}:expect_state(0)
    assert.equal(1, decisions)
  end)

  it("rolls the same dice every time", function()
    local dice = scenario_of {
      initial_state = 0,
      evolve = { Rolled = function(_, rolled) return rolled.data end },
      decide = function(_, _, context) return event("Rolled", context:random(1 << 40)) end,
    }
    local rolled
    local scenario = dice {}:when(command("Roll"))
    rolled = tonumber(failure(scenario.expect_state, scenario, 0):match("actual    (%d+)"))
    dice {}:when(command("Roll")):expect { event("Rolled", rolled) }
  end)

  it("has at most one :when, and one before what is decided", function()
    local scenario = given {}
    local undecided = { path = "command", message = ":when" }
    support.fails("invalid_argument", undecided, scenario.expect, scenario, {})
    support.fails("invalid_argument", undecided, scenario.expect_nothing, scenario)
    support.fails("invalid_argument", undecided, scenario.expect_rejected, scenario)
    support.fails("invalid_argument", { path = "command" }, function()
      scenario:when(record()):when(record())
    end)
    support.fails("invalid_argument", { path = "command" }, scenario.when, scenario, nil)
  end)

  it("needs a decider, and events that could be recorded", function()
    support.fails("invalid_argument", nil, scenario_of, nil)
    support.fails("invalid_argument", nil, scenario_of, { evolve = {} })
    support.fails("invalid_argument", nil, given, nil)
    support.fails("invalid_argument", { message = 'did you mean "data"' }, given, { { type = "Seen", dta = 1 } })
  end)

  it("leaves no store open, whatever happens", function()
    local open, stores = moonfold.open, {}
    moonfold.open = function(...)
      stores[#stores + 1] = open(...)
      return stores[#stores]
    end
    finally(function() moonfold.open = open end)
    local scenarios = {
      given {}:when(record()), given {}:when(command("Refuse")), given {}:when(command("Fail")),
      given { event("Poisoned") }, given {}:when(record(event("Sene"))),
    }
    for _, scenario in ipairs(scenarios) do pcall(scenario.expect, scenario, { seen(1) }) end
    pcall(given, { { type = "Seen", dta = 1 } })
    assert.is_true(#stores > 10)
    for _, store in ipairs(stores) do assert.matches("%(closed%)$", tostring(store)) end
  end)
end)

describe("what a decider declares", function()
  local function counter(changes)
    local decider = {
      category = "counter",
      initial_state = 0,
      evolve = { Counted = function(count, counted) return count + counted.data.by end, Seen = false },
      decide = { Count = function(request) return event("Counted", request.data) end },
      events = { Counted = { by = "integer" }, Seen = {} },
      invariant = function(count) return count < 10, "too many: " .. count end,
    }
    for key, value in pairs(changes or {}) do decider[key] = value end
    return scenario_of(decider)
  end

  local function counted(by) return event("Counted", { by = by }) end
  local function count(by) return command("Count", { by = by }) end

  it("is checked after every event: the invariant", function()
    counter() { counted(4), counted(5) }:when(count(-9)):expect { counted(-9) }:expect_state(0)
    local decided = counter() { counted(9) }:when(count(1))
    decided:expect_error("invariant of event 2 %(Counted%) .* too many: 10$")
    assert.equal([[
  outcome
    expected  Counted { by = 1 }
    actual    error script_error: invariant of event 2 (Counted) of stream "counter-1" failed: too many: 10]],
      (differences(decided.expect, decided, counted(1)):gsub("\n%s+stack traceback.*", "")))
  end)

  it("is checked where the given events lead, before the command", function()
    local broken = counter() { counted(12), counted(-12) }
    broken:when(count(1)):expect_error("invariant of event 1 ")
    failure(broken.expect_state, broken, 0)
  end)

  it("is checked of decided events: their shape", function()
    counter() {}:when(count(1.5)):expect_error("events%[1%].data.by: an integer is needed, this is the float 1.5")
  end)

  it("is checked of given events: they must be possible, after upcast", function()
    local problem = support.fails("invalid_argument", { path = "events[2].data.bye" }, function()
      counter() { counted(1), event("Counted", { bye = 2 }) }
    end)
    assert.matches('data.bye: there is no such field: did you mean "by"?', problem.message, 1, true)
    assert.matches("given_when_then_spec.lua:%d+$", problem.where)
    support.fails("invalid_argument", { path = "events.data.by" }, counter(), event("Counted"))
    local upcast = { Counted = function(old) return type(old.data) == "number" and counted(old.data) or old end }
    counter { upcast = upcast } { event("Counted", 3) }:expect_state(3)
  end)

  it("is checked of events in another stream, with its decider", function()
    local given_counter = counter()
    local other = { initial_state = 0, evolve = {}, events = {} }
    other.evolve.Moved, other.events.Moved = false, { x = "integer" }
    given_counter {}:and_stream("robot-1", event("Moved", { x = 1 }), other)
    support.fails("script_error", { path = "data.y" }, function()
      given_counter {}:and_stream("robot-1", event("Moved", { x = 1, y = 2 }), other)
    end)
  end)
end)

describe("a handler that changes nothing", function()
  local function counter(evolve, options)
    return scenario_of({
      category = "counter",
      initial_state = 0,
      evolve = evolve,
      decide = function(request) return event("Counted", request.data) end,
    }, options)
  end

  local forgetful = {
    Counted = function(count, counted) count = count + counted.data end,   -- luacheck: ignore
    Reset = function() return 0 end,
    Seen = false,
  }

  it("is pointed out when its scenario fails", function()
    local scenario = counter(forgetful) { event("Seen"), event("Counted", 1) }:when(command("Count", 2))
    assert.equal([[
  state
    expected  3
    actual    0
  note: evolve.Counted changed nothing at event 2, Counted: is a return missing? If it is to change nothing, say ]]
      .. "evolve.Counted = false", differences(scenario.expect_state, scenario, 3))
    scenario:expect { event("Counted", 2) }
  end)

  it("is pointed out where evolve is a function, too", function()
    local scenario = counter(function() end) { event("Counted", 1) }
    assert.matches("\n  note: evolve changed nothing at event 1, Counted: is a return missing%?$",
      failure(scenario.expect_state, scenario, 1))
  end)

  it("may be missing: the nearest type is named", function()
    local scenario = counter(forgetful) { event("Conted", 1) }
    assert.matches("\n  note: event 1, Conted, has no handler in evolve: did you mean Counted%?$",
      failure(scenario.expect_state, scenario, 1))
  end)

  it("is nothing to speak of when evolve says so, or when the state is another", function()
    local scenario = counter { Counted = function(count, counted) return count + counted.data end, Seen = false }
    scenario = scenario { event("Seen"), event("Counted", 1) }
    assert.is_nil(failure(scenario.expect_state, scenario, 2):find("note", 1, true))
  end)

  it("fails its scenario with the option strict", function()
    local scenario = counter(forgetful, { strict = true }) { event("Seen"), event("Counted", 1) }
    assert.matches("^[^\n]*an event changed nothing\n  note: evolve.Counted changed nothing at event 2",
      failure(scenario.expect_state, scenario, 0))
    local when = scenario:when(command("Count", 1))
    assert.matches("an event changed nothing", failure(when.expect, when, event("Counted", 1)))
    counter(forgetful, { strict = true }) { event("Seen") }:expect_state(0)
    counter(forgetful, { strict = false }) { event("Counted", 1) }:expect_state(0)
  end)

  it("is an option among no others", function()
    support.fails("invalid_argument", { path = "options.strikt" }, counter, forgetful, { strikt = true })
    support.fails("invalid_argument", { path = "options.strict" }, counter, forgetful, { strict = 1 })
    support.fails("invalid_argument", { path = "options" }, counter, forgetful, true)
  end)
end)

describe("the blame", function()
  local guilty

  local function next_line_is_guilty() guilty = debug.getinfo(2, "l").currentline + 1 end

  local function check_blame(f)
    local _, problem = pcall(f)
    assert.equal(guilty, tonumber(tostring(problem):match("given_when_then_spec%.lua:(%d+): ")))
  end

  it("falls on the line of the expectation", function()
    check_blame(function()
      next_line_is_guilty()
      given {}:when(record(seen(1))):expect { seen(2) }
    end)
    check_blame(function()
      local scenario = given {}
      next_line_is_guilty()
      scenario:expect_state { 1 }
    end)
  end)

  it("falls on the line that makes no sense", function()
    check_blame(function()
      next_line_is_guilty()
      local scenario = given { { type = "Seen", dta = 1 } }
      scenario:expect_state {}
    end)
    check_blame(function()
      local scenario = given {}
      next_line_is_guilty()
      scenario = scenario:at("noon")
      scenario:expect_state {}
    end)
    check_blame(function()
      local scenario = given {}:when(record())
      next_line_is_guilty()
      scenario:expect_rejected(nil)
    end)
  end)

  it("falls on a line of Lua where C makes the call", function()
    local _, message
    local scenario = given {}
    next_line_is_guilty()
    _, message = pcall(scenario.expect_state, scenario, { 1 })
    check_blame(function() error(message, 0) end)
  end)

  it("falls on the line that calls, where the function of the spec is gone from the stack", function()
    local function last_call() return given {}:expect_state { 1 } end
    check_blame(function()
      next_line_is_guilty()
      local _ = last_call()
    end)
  end)
end)

describe("without busted", function()
  it("a failed expectation is an error like any other", function()
    local run = support.lua [[
      local moonfold = require "moonfold"
      local given = require("moonfold.spec") {
        initial_state = 0,
        evolve = { Counted = function(count) return count + 1 end },
        decide = function() return moonfold.event("Counted", 1) end,
      }
      given {}:when(moonfold.command("Count")):expect { moonfold.event("Counted", 1) }:expect_state(1)
      given {}:when(moonfold.command("Count")):expect { moonfold.event("Counted", 2) }
    ]]
    assert.equal("", run.stdout)
    assert.matches("script.lua:8: the events are not what was expected", run.stderr, 1, true)
    assert.matches("events[1].data\n    expected  2\n    actual    1\n", run.stderr, 1, true)
    assert.equal(1, run.status)
  end)
end)
