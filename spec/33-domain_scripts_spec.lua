--- The domain scripts pass their specs in the sandbox, too: what newcomers copy is fit for moonfold.load_decider.

local moonfold = require "moonfold"
local support = require "support"
local scenario_of = require "moonfold.spec"

local folder = "scripts/domain/"

describe("in the sandbox:", function()
  for _, name in ipairs { "account", "cart", "counter", "inventory", "quest" } do
    package.loaded[name] = moonfold.load_decider(folder .. name .. ".lua")
    assert(loadfile(folder .. name .. "_spec.lua", "t", _ENV))()
    package.loaded[name] = nil
  end
end)

describe("a spec for a loaded decider", function()
  local function loaded(source)
    return scenario_of(moonfold.load_decider(support.write(support.path("counter.lua"), source)))
  end

  local counter = [[
    local moonfold = require "moonfold"
    return {
      category = "counter",
      initial_state = 0,
      evolve = {
        Counted = function(count, event) return count + event.data.by end,
        Kept = function(count) count = count + 1 end,
        Seen = false,
      },
      decide = {
        Count = function(command) return moonfold.event("Counted", command.data) end,
        Roll = function(_, _, context) return moonfold.event("Counted", { by = context:random(1, 6) }) end,
      },
      events = { Counted = { by = "integer" } },
      commands = { Roll = {} },
      invariant = function(count) return count < 10, "too many" end,
    }
  ]]

  local event, command = moonfold.event, moonfold.command

  local function failure(f)
    local passed, message = pcall(f)
    assert.is_false(passed)
    return message
  end

  it("checks shapes of given and decided events and of commands", function()
    local given = loaded(counter)
    given {}:when(command("Count", { by = 1.5 })):expect_error("events%[1%].data.by: an integer is needed")
    given {}:when(command("Roll", { by = 1 })):expect_error("command.data.by: there is no such field")
    support.fails("invalid_argument", { path = "events[1].data.by" }, given, { event("Counted", { by = "1" }) })
  end)

  it("checks the invariant after every event", function()
    local given = loaded(counter)
    given { event("Counted", { by = 9 }) }:when(command("Count", { by = 1 }))
      :expect_error("invariant of event 2 %(Counted%) .* too many")
    given { event("Counted", { by = 12 }), event("Counted", { by = -12 }) }:expect_error("invariant of event 1 ")
  end)

  it("lets no invariant change the state", function()
    loaded [[
      return {
        initial_state = { count = 0 }, evolve = { Counted = function(state) state.count = state.count + 1 end },
        invariant = function(state) state.count = 7 end,
      }
    ]] { event("Counted") }:expect_error("^script_error: invariant ")
  end)

  it("tells the dice what to show", function()
    local given = loaded(counter)
    given {}:rolling(4):when(command("Roll")):expect(event("Counted", { by = 4 })):expect_state(4)
    given {}:rolling(7):when(command("Roll")):expect_error("random%(1, 6%) is asked")
  end)

  it("checks tables that the script made when it was loaded", function()
    local given = loaded [[
      local moonfold = require "moonfold"
      local item = { name = "string", tags = { "string" }, ["slots?"] = { ["[integer]"] = { size = "integer" } } }
      local gift = { name = "sticker", tags = { "gift", "paper" }, slots = { [3] = { size = 1 } } }
      local wrong = { { name = "sticker", tags = { "gift", 7 } } }
      local given = moonfold.event("Given", { gift })
      return {
        initial_state = 0, evolve = { Given = function(count) return count + 1 end },
        decide = {
          Give = function() return given end,
          Fail = function() return { given, moonfold.event("Given", wrong) } end,
        },
        events = { Given = { item } },
      }
    ]]
    given {}:when(command("Give")):expect_state(1)
    given {}:when(command("Fail")):expect_error(
      "events%[2%].data%[1%].tags%[2%]: a string is needed, this is the integer 7$")
  end)

  it("pays for checks of shapes that take long", function()
    local decider = moonfold.load_decider(support.write(support.path("long.lua"), [[
      local moonfold = require "moonfold"
      local fields, list = {}, {}
      for i = 1, 5000 do fields["f" .. i .. "?"] = "any" end
      for i = 1, 5000 do list[i] = {} end
      return {
        initial_state = 0, evolve = { Listed = false },
        decide = function() return moonfold.event("Listed", list) end,
        events = { Listed = { fields } },
      }
    ]]))
    local store <close> = moonfold.open(":memory:")
    support.fails("budget_exceeded", nil, store.handle, store, "s", decider, command("List"))
    assert.is_false(store:stream_exists("s"))
  end)

  it("points out handlers that change nothing", function()
    local given = loaded(counter)
    local scenario = given { event("Seen"), event("Kept"), event("Conuted") }
    local message = failure(function() scenario:expect_state(1) end)
    assert.matches("note: evolve.Kept changed nothing at event 2, Kept: is a return missing?", message, 1, true)
    assert.matches("note: event 3, Conuted, has no handler in evolve: did you mean Counted?", message, 1, true)
    assert.is_nil(message:find("Seen", 1, true))
  end)
end)

describe("rules that are not in the script", function()
  it("are told to be wrong when the script is loaded, in words for people who do not program", function()
    local params = { prices = { tea = 300 }, discounts = { { name = "spring", percent = 120 } } }
    local problem = support.fails("script_error", nil, moonfold.load_decider, folder .. "pricing.lua",
      { params = params })
    assert.matches('the price list has mistakes:\n  discount 1, "spring": "percent" is 120; it must be a whole number '
      .. "from 1 to 100", problem.message, 1, true)
  end)

  it("make a decider of one script", function()
    local pricing = moonfold.load_decider(folder .. "pricing.lua", { params = { prices = { tea = 300 } } })
    scenario_of(pricing) {}
      :when(moonfold.command("AddLine", { product = "tea", quantity = 2 }))
      :expect(moonfold.event("LineAdded", { product = "tea", quantity = 2, amount = 600 }))
  end)
end)
