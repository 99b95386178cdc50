local moonfold = require "moonfold"
local inventory = require "inventory"
local given = require("moonfold.spec")(inventory)

local command, event = moonfold.command, moonfold.event

local function added(slot, item, count) return event("ItemsAdded", { slot = slot, item = item, count = count }) end
local function removed(slot, count) return event("ItemsRemoved", { slot = slot, count = count }) end
local function swapped(from, to) return event("SlotsSwapped", { from = from, to = to }) end

local function pick_up(item, count) return command("PickUp", { item = item, count = count }) end
local function drop(slot, count) return command("Drop", { slot = slot, count = count }) end
local function move(from, to, count) return command("Move", { from = from, to = to, count = count }) end

--- Slots as the state has them: stacks by the number of the slot.
local function slots(stacks) return { slots = stacks } end
local function stack(item, count) return { item = item, count = count } end

describe("picking up", function()
  it("takes the first empty slot", function()
    given {}:when(pick_up("sword")):expect { added(1, "sword", 1) }:expect_state(slots { stack("sword", 1) })
    given { added(1, "sword", 1), added(3, "bow", 1) }
      :when(pick_up("helmet"))
      :expect { added(2, "helmet", 1) }
  end)

  it("fills stacks first, then empty slots", function()
    given { added(2, "arrow", 15), added(4, "arrow", 19) }
      :when(pick_up("arrow", 30))
      :expect { added(2, "arrow", 5), added(4, "arrow", 1), added(1, "arrow", 20), added(3, "arrow", 4) }
  end)

  it("does not put two of what does not stack into one slot", function()
    given { added(1, "sword", 1) }:when(pick_up("sword", 2)):expect { added(2, "sword", 1), added(3, "sword", 1) }
  end)

  it("takes all or nothing", function()
    given { added(1, "potion", 4) }:when(pick_up("potion", 37)):expect_rejected("inventory_full")
    given { added(1, "potion", 4) }:when(pick_up("sword", 8)):expect_rejected("inventory_full")
      :expect_state(slots { stack("potion", 4) })
  end)

  it("takes at least one, and whole ones", function()
    given {}:when(pick_up("potion", 0)):expect_rejected("invalid_count")
    given {}:when(pick_up("potion", 1.5)):expect_error("command.data.count: an integer is needed")
  end)
end)

describe("dropping", function()
  local three = given { added(3, "potion", 4) }

  it("empties a slot, which is nil then", function()
    three:when(drop(3)):expect { removed(3, 4) }:expect_state(slots {})
  end)

  it("leaves what is not dropped where it is", function()
    three:when(drop(3, 1)):expect { removed(3, 1) }:expect_state(slots { [3] = stack("potion", 3) })
  end)

  it("needs as many, in a slot that there is", function()
    three:when(drop(3, 5)):expect_rejected("not_enough")
    three:when(drop(3, 0)):expect_rejected("invalid_count")
    three:when(drop(2)):expect_rejected("slot_empty")
    three:when(drop(9)):expect_rejected("no_such_slot")
    three:when(drop("3")):expect_error('command.data.slot: an integer is needed, this is the string "3"')
  end)
end)

describe("moving", function()
  local bag = given { added(1, "arrow", 18), added(2, "sword", 1), added(5, "arrow", 12) }

  it("goes to an empty slot", function()
    bag:when(move(2, 8))
      :expect { removed(2, 1), added(8, "sword", 1) }
      :expect_state(slots { [1] = stack("arrow", 18), [5] = stack("arrow", 12), [8] = stack("sword", 1) })
  end)

  it("splits a stack", function()
    bag:when(move(5, 6, 5)):expect { removed(5, 5), added(6, "arrow", 5) }
  end)

  it("joins stacks as far as there is room", function()
    bag:when(move(5, 1)):expect { removed(5, 2), added(1, "arrow", 2) }
    given { added(1, "arrow", 20), added(5, "arrow", 12) }:when(move(5, 1)):expect_nothing()
  end)

  it("lets different items change places", function()
    bag:when(move(1, 2))
      :expect { swapped(1, 2) }
      :expect_state(slots { stack("sword", 1), stack("arrow", 18), [5] = stack("arrow", 12) })
    bag:when(move(1, 2, 3)):expect_rejected("slot_taken")
  end)

  it("changes nothing on the spot", function()
    bag:when(move(1, 1)):expect_nothing()
  end)

  it("needs slots that there are, and something to move", function()
    bag:when(move(1, 0)):expect_rejected("no_such_slot")
    bag:when(move(3, 4)):expect_rejected("slot_empty")
    bag:when(move(5, 6, 13)):expect_rejected("not_enough")
  end)
end)
