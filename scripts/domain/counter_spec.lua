local moonfold = require "moonfold"
local counter = require "counter"
local given = require("moonfold.spec")(counter)

local command = moonfold.command

local function counted(by) return moonfold.event("Counted", { by = by }) end

local reset = moonfold.event("Reset")

describe("a counter", function()
  it("begins at zero", function()
    given {}:expect_state(0)
  end)

  it("counts by one", function()
    given {}:when(command("Count")):expect { counted(1) }:expect_state(1)
  end)

  it("counts by as many as it is told", function()
    given { counted(1), counted(1) }:when(command("Count", { by = 40 })):expect { counted(40) }:expect_state(42)
  end)

  it("counts down by a negative number", function()
    given { counted(3) }:when(command("Count", { by = -5 })):expect { counted(-5) }:expect_state(-2)
  end)

  it("starts over after a reset", function()
    given { counted(3) }:when(command("Reset")):expect { reset }:expect_state(0)
    given { counted(3), reset, counted(2) }:expect_state(2)
  end)

  it("has nothing to reset at zero", function()
    given {}:when(command("Reset")):expect_nothing()
  end)

  it("handles commands in order", function()
    given {}
      :when { command("Count"), command("Reset"), command("Reset"), command("Count", { by = 7 }) }
      :expect { counted(1), reset, counted(7) }
      :expect_state(7)
  end)

  it("refuses what it does not know", function()
    given {}:when(command("Explode")):expect_rejected("unknown_command")
  end)
end)
