local moonfold = require "moonfold"
local quest = require "quest"
local given = require("moonfold.spec")(quest)

local command, event = moonfold.command, moonfold.event

local HOUR = 3600 * 1000000

local function offer(strength, foes)
  return { title = "Rats in the cellar", foes = foes or 2, strength = strength, level = 3, hours = 24 }
end

local function offered(...) return event("QuestOffered", offer(...)) end
local function accepted(deadline) return event("QuestAccepted", { hero = "ada", deadline = deadline or 24 * HOUR }) end
local function beaten(roll) return event("FoeBeaten", { roll = roll }) end
local function wounded(roll) return event("HeroWounded", { roll = roll }) end
local function completed(gold) return event("QuestCompleted", { gold = gold }) end
local function failed(reason) return event("QuestFailed", { reason = reason }) end
local function reached(level) return event("LevelReached", { level = level }) end

local accept, fight = command("AcceptQuest", { hero = "ada" }), command("Fight")
local weak, giant = 2, 100

describe("a quest", function()
  it("is offered once", function()
    given {}:when(command("OfferQuest", offer(weak))):expect { offered(weak) }
    given { offered(weak) }:when(command("OfferQuest", offer(giant))):expect_rejected("not_new")
  end)

  it("has something to fight", function()
    given {}:when(command("OfferQuest", offer(weak, 0))):expect_rejected("no_foes")
  end)

  it("says what it is made of", function()
    local wrong = offer(weak)
    wrong.strength = "strong"
    given {}:when(command("OfferQuest", wrong))
      :expect_error('command.data.strength: an integer is needed, this is the string "strong"')
  end)
end)

describe("accepting a quest", function()
  it("starts the clock", function()
    given { offered(weak) }:and_stream("hero-ada", { reached(2), reached(3) }):at(5 * HOUR)
      :when(accept)
      :expect { event("QuestAccepted", { hero = "ada", deadline = 29 * HOUR }) }
  end)

  it("takes a hero of its level", function()
    given { offered(weak) }:when(accept):expect_rejected("too_weak")
    given { offered(weak) }:and_stream("hero-ada", { reached(2) }):when(accept):expect_rejected("too_weak")
    given { offered(weak) }:and_stream("hero-bob", { reached(9) }):when(accept):expect_rejected("too_weak")
  end)

  it("is for one hero", function()
    given { offered(weak), accepted() }:when(accept):expect_rejected("not_offered")
    given {}:when(accept):expect_rejected("not_offered")
  end)
end)

describe("a fight", function()
  it("is won by a roll and a level that make up the strength of the foe", function()
    given { offered(10), accepted() }:rolling(8):when(fight):expect { wounded(8) }
    given { offered(10), accepted() }:rolling(9):when(fight):expect { beaten(9) }
  end)

  it("adds the hero's level, as it is now, to the roll", function()
    given { offered(10), accepted() }:and_stream("hero-ada", reached(9)):rolling(1):when(fight):expect { beaten(1) }
    given { offered(10), accepted() }:and_stream("hero-ada", reached(8)):rolling(1):when(fight):expect { wounded(1) }
  end)

  it("completes the quest when the last foe is beaten, for gold", function()
    given { offered(weak), accepted(), beaten(15) }
      :rolling { 16, 93 }
      :when(fight)
      :expect { beaten(16), completed(186) }
  end)

  it("fails the quest with the third wound", function()
    given { offered(giant), accepted(), wounded(1), wounded(2) }
      :rolling(20)
      :when(fight)
      :expect { wounded(20), failed("wounds") }
  end)

  it("comes too late after the deadline: the quest has failed", function()
    given { offered(weak), accepted(10 * HOUR) }:at(10 * HOUR + 1):when(fight):expect { failed("too late") }
    given { offered(weak, 5), accepted(10 * HOUR) }:at(10 * HOUR):rolling(2):when(fight):expect { beaten(2) }
  end)

  it("is for accepted quests that are not over", function()
    given { offered(weak) }:when(fight):expect_rejected("not_accepted")
    given { offered(weak, 1), accepted(), beaten(4), completed(50) }:when(fight):expect_rejected("not_accepted")
    given { offered(weak), accepted(), failed("too late") }:when(fight):expect_rejected("not_accepted")
  end)
end)
