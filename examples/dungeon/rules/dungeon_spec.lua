-- The rules of the dungeon, by themselves: no screen, no file.

local dungeon = require "dungeon"
local given = require("moonfold.spec")(dungeon)
local moonfold = require "moonfold"

local rows = {
  "#######",
  "#.....#",
  "#....>#",
  "#######",
}

local function entered(more)
  local data = {
    depth = 1, x = 2, y = 2, map = rows,
    monsters = more and more.monsters or moonfold.array {}, items = more and more.items or moonfold.array {},
  }
  return moonfold.event("LevelEntered", data)
end

local begun = moonfold.event("GameBegan", { name = "Ada" })
local turn_ended = moonfold.event("TurnEnded")

local function move(direction)
  return moonfold.command("Move", { direction = direction })
end

describe("the dungeon", function()
  it("lets the hero walk, and counts the turn", function()
    given { begun, entered() }:when(move "east")
      :expect { moonfold.event("HeroMoved", { x = 3, y = 2 }), turn_ended }
  end)

  it("has walls", function()
    given { begun, entered() }:when(move "north"):expect_rejected "wall"
  end)

  it("gives the hero what lies in the way", function()
    given { begun, entered { items = { { kind = "gold", amount = 7, x = 3, y = 2 } } } }:when(move "east")
      :expect {
        moonfold.event("HeroMoved", { x = 3, y = 2 }),
        moonfold.event("ItemTaken", { kind = "gold", amount = 7 }),
        turn_ended,
      }
  end)

  it("ends when the amulet is taken", function()
    given { begun, entered { items = { { kind = "amulet", amount = 1, x = 3, y = 2 } } } }:when(move "east")
      :expect {
        moonfold.event("HeroMoved", { x = 3, y = 2 }),
        moonfold.event("ItemTaken", { kind = "amulet", amount = 1 }),
        moonfold.event "GameWon",
      }
  end)

  it("turns a step towards a monster into a blow, and what lives strikes back", function()
    local store <close> = moonfold.open(":memory:")
    local troll = { id = 1, kind = "troll", x = 3, y = 2, health = 24 }
    store:append_to_stream("dungeon-1", { begun, entered { monsters = { troll } } })
    local result = store:handle("dungeon-1", dungeon, move "east")
    assert.equal("MonsterHit", result.events[1].type)
    assert.equal("HeroHit", result.events[2].type)
    assert.equal(24 - result.events[1].data.damage, result.state.monsters[1].health)
    assert.equal(20 - result.events[2].data.damage, result.state.hero.health)
  end)

  it("kills no one twice: a dead monster is gone", function()
    given {
      begun, entered { monsters = { { id = 1, kind = "rat", x = 3, y = 2, health = 4 } } },
      moonfold.event("MonsterHit", { id = 1, kind = "rat", damage = 4 }),
      moonfold.event("MonsterKilled", { id = 1, kind = "rat", experience = 2 }),
    }:when(move "east"):expect { moonfold.event("HeroMoved", { x = 3, y = 2 }), turn_ended }
  end)

  it("has stairs where there are stairs only", function()
    given { begun, entered() }:when(moonfold.command "Descend"):expect_rejected "no_stairs"
  end)

  it("does not go on after the end", function()
    given { begun, entered(), moonfold.event("HeroDied", { by = "rat" }) }:when(move "east")
      :expect_rejected "game_over"
  end)

  it("does not waste a potion", function()
    given { begun, entered() }:when(moonfold.command "Drink"):expect_rejected "healthy"
  end)

  it("takes a turn back by going on from an older version, in a new stream", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("dungeon-1", { begun, entered() })
    store:handle("dungeon-1", dungeon, move "east")
    local resume = moonfold.command("Resume", { stream = "dungeon-1", version = 2 })
    local back = store:handle("dungeon-2", dungeon, resume).state
    assert.equal(moonfold.hash(store:aggregate_stream("dungeon-1", dungeon, { to = 2 }).state), moonfold.hash(back))
    assert.equal(2, back.hero.x)
    assert.equal(4, store:handle("dungeon-2", dungeon, { move "east", move "east" }).state.hero.x)
  end)
end)
