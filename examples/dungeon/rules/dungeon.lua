--- A dungeon: one stream is one hero's story, `dungeon-NAME`. A command is what the player wants; a turn is all that
--- follows from it, recorded together: the hero's step, the blows, the monsters' answer.

local moonfold = require "moonfold"
local bestiary = require "bestiary"
local level = require "level"

local dungeon -- the decider, which resuming a game looks at another stream with

-- ## What events make of a game

local evolve = {}

local function monster_of(game, id)
  for i, monster in ipairs(game.monsters) do
    if monster.id == id then return monster, i end
  end
end

function evolve.GameBegan(_, event)
  local hero = bestiary.hero
  return {
    hero = {
      name = event.data.name, x = 0, y = 0, health = hero.health, most_health = hero.health,
      attack = hero.attack, defence = hero.defence, level = 1, experience = 0, gold = 0, potions = 1,
    },
    depth = 0, turn = 0, map = moonfold.array {}, monsters = moonfold.array {}, items = moonfold.array {},
    status = "playing",
  }
end

function evolve.LevelEntered(game, event)
  local data = event.data
  game.depth, game.map, game.monsters, game.items = data.depth, data.map, data.monsters, data.items
  game.hero.x, game.hero.y = data.x, data.y
end

function evolve.HeroMoved(game, event)
  game.hero.x, game.hero.y = event.data.x, event.data.y
end

function evolve.MonsterMoved(game, event)
  local monster = monster_of(game, event.data.id)
  monster.x, monster.y = event.data.x, event.data.y
end

function evolve.MonsterHit(game, event)
  local monster = monster_of(game, event.data.id)
  monster.health = monster.health - event.data.damage
end

function evolve.MonsterKilled(game, event)
  local _, i = monster_of(game, event.data.id)
  table.remove(game.monsters, i)
  game.hero.experience = game.hero.experience + event.data.experience
end

function evolve.HeroHit(game, event)
  game.hero.health = game.hero.health - event.data.damage
end

function evolve.HeroRose(game, event)
  local hero = game.hero
  hero.level = event.data.level
  hero.most_health = hero.most_health + 5
  hero.health = hero.most_health
  hero.attack = hero.attack + 1
end

local take = {
  gold = function(hero, amount) hero.gold = hero.gold + amount end,
  potion = function(hero, amount) hero.potions = hero.potions + amount end,
  sword = function(hero, amount) hero.attack = hero.attack + 2 * amount end,
  armour = function(hero, amount) hero.defence = hero.defence + amount end,
  amulet = function() end,
}

function evolve.ItemTaken(game, event)
  for i, item in ipairs(game.items) do
    if item.x == game.hero.x and item.y == game.hero.y then
      table.remove(game.items, i)
      break
    end
  end
  take[event.data.kind](game.hero, event.data.amount)
end

function evolve.PotionDrunk(game, event)
  game.hero.potions = game.hero.potions - 1
  game.hero.health = game.hero.health + event.data.healed
end

function evolve.TurnEnded(game)
  game.turn = game.turn + 1
end

function evolve.HeroDied(game, event)
  game.status = "dead"
  game.killed_by = event.data.by
end

function evolve.GameWon(game)
  game.status = "won"
end

--- Another game, as it stood at some version, goes on in this stream.
function evolve.GameResumed(_, event)
  return event.data.game
end

-- ## A turn
--
-- A turn is decided step by step, and each step must see what the one before did. So it works on a copy of the game,
-- to which every event is applied as it is decided.

local function copy(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, part in pairs(value) do result[key] = copy(part) end
  return result
end

local Turn = {}
Turn.__index = Turn

local function new_turn(game, context)
  return setmetatable({ game = copy(game), context = context, events = {} }, Turn)
end

function Turn:record(type, data)
  local event = moonfold.event(type, data)
  self.events[#self.events + 1] = event
  self.game = evolve[type](self.game, copy(event)) or self.game
end

function Turn:random(from, to)
  return self.context:random(from, to)
end

--- From half of the attack to all of it, less what the defence stops; a blow that lands does some harm.
function Turn:damage(attack, defence)
  return math.max(1, self:random((attack + 1) // 2, attack) - defence)
end

function Turn:enter(depth)
  self:record("LevelEntered", level.make(depth, function(from, to) return self:random(from, to) end))
end

function Turn:monster_at(x, y)
  for _, monster in ipairs(self.game.monsters) do
    if monster.x == x and monster.y == y then return monster end
  end
end

function Turn:strike(monster)
  local kind = bestiary.monsters[monster.kind]
  local damage = self:damage(self.game.hero.attack, kind.defence)
  self:record("MonsterHit", { id = monster.id, kind = monster.kind, damage = damage })
  if damage < monster.health then return end
  self:record("MonsterKilled", { id = monster.id, kind = monster.kind, experience = kind.experience })
  local hero = self.game.hero
  if hero.experience >= bestiary.next_level(hero.level) then self:record("HeroRose", { level = hero.level + 1 }) end
end

function Turn:take_what_lies_here()
  local hero = self.game.hero
  for _, item in ipairs(self.game.items) do
    if item.x == hero.x and item.y == hero.y then
      self:record("ItemTaken", { kind = item.kind, amount = item.amount })
      if item.kind == "amulet" then self:record("GameWon") end
      return
    end
  end
end

function Turn:is_over()
  return self.game.status ~= "playing"
end

function Turn:monster_strikes(monster)
  local hero = self.game.hero
  local damage = self:damage(bestiary.monsters[monster.kind].attack, hero.defence)
  self:record("HeroHit", { id = monster.id, kind = monster.kind, damage = damage })
  if self.game.hero.health <= 0 then self:record("HeroDied", { by = monster.kind }) end
end

local function sign(number)
  return number > 0 and 1 or number < 0 and -1 or 0
end

function Turn:is_open(x, y)
  local hero = self.game.hero
  return level.is_floor(self.game.map, x, y) and not self:monster_at(x, y) and not (hero.x == x and hero.y == y)
end

function Turn:move_monster(monster, dx, dy)
  if (dx ~= 0 or dy ~= 0) and self:is_open(monster.x + dx, monster.y + dy) then
    self:record("MonsterMoved", { id = monster.id, x = monster.x + dx, y = monster.y + dy })
    return true
  end
end

--- A monster that is near comes nearer, along the longer side first.
function Turn:approach(monster)
  local hero = self.game.hero
  local dx, dy = hero.x - monster.x, hero.y - monster.y
  local x_first = math.abs(dx) >= math.abs(dy)
  if x_first and self:move_monster(monster, sign(dx), 0) then return end
  if self:move_monster(monster, 0, sign(dy)) then return end
  if not x_first then self:move_monster(monster, sign(dx), 0) end
end

function Turn:act(monster)
  local hero = self.game.hero
  local distance = math.abs(hero.x - monster.x) + math.abs(hero.y - monster.y)
  if bestiary.monsters[monster.kind].erratic and self:random(1, 2) == 1 then
    self:move_monster(monster, self:random(-1, 1), self:random(-1, 1))
  elseif distance == 1 then
    self:monster_strikes(monster)
  elseif distance <= 8 then
    self:approach(monster)
  end
end

--- The others' half of the turn.
function Turn:finish()
  for _, monster in ipairs(copy(self.game.monsters)) do
    if self:is_over() then break end
    local now = monster_of(self.game, monster.id)
    if now then self:act(now) end
  end
  self:record("TurnEnded")
  return self.events
end

-- ## What commands lead to

local decide = {}

local directions = { north = { 0, -1 }, south = { 0, 1 }, west = { -1, 0 }, east = { 1, 0 } }

local function must_be_playing(game)
  if not game.status then moonfold.reject("no_game", "begin a game first") end
  if game.status ~= "playing" then moonfold.reject("game_over", "this game is over") end
end

function decide.Begin(command, game, context)
  if game.status == "playing" then moonfold.reject("playing", "a game is being played") end
  local turn = new_turn(game, context)
  turn:record("GameBegan", { name = command.data.name })
  turn:enter(1)
  return turn.events
end

function decide.Move(command, game, context)
  must_be_playing(game)
  local step = directions[command.data.direction]
  if not step then moonfold.reject("no_direction", "go north, south, west or east") end
  local x, y = game.hero.x + step[1], game.hero.y + step[2]
  if not level.is_floor(game.map, x, y) then moonfold.reject("wall", "there is a wall") end
  local turn = new_turn(game, context)
  local monster = turn:monster_at(x, y)
  if monster then
    turn:strike(monster)
  else
    turn:record("HeroMoved", { x = x, y = y })
    turn:take_what_lies_here()
    if turn:is_over() then return turn.events end
  end
  return turn:finish()
end

function decide.Rest(_, game, context)
  must_be_playing(game)
  return new_turn(game, context):finish()
end

function decide.Drink(_, game, context)
  must_be_playing(game)
  local hero = game.hero
  if hero.potions == 0 then moonfold.reject("no_potion", "there is no potion left") end
  if hero.health == hero.most_health then moonfold.reject("healthy", "you are in the best of health") end
  local turn = new_turn(game, context)
  turn:record("PotionDrunk", { healed = math.min(bestiary.potion_heals, hero.most_health - hero.health) })
  return turn:finish()
end

function decide.Descend(_, game, context)
  must_be_playing(game)
  if not level.is_stairs(game.map, game.hero.x, game.hero.y) then
    moonfold.reject("no_stairs", "there are no stairs here")
  end
  local turn = new_turn(game, context)
  turn:enter(game.depth + 1)
  turn:record("TurnEnded")
  return turn.events
end

--- Taking a turn back: nothing is ever removed, so the game goes on in a new stream, from an older version of this one.
function decide.Resume(command, game, context)
  if game.status then moonfold.reject("playing", "a game can be resumed in a new stream only") end
  local from = context:aggregate_stream(command.data.stream, dungeon, { to = command.data.version })
  if not from.stream_exists then moonfold.reject("no_game", "there is no such game") end
  return moonfold.event("GameResumed",
    { stream = command.data.stream, version = command.data.version, game = from.state })
end

dungeon = {
  name = "dungeon",
  category = "dungeon",
  initial_state = {},
  evolve = evolve,
  decide = decide,
}

return dungeon
