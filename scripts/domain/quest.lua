--- A quest: it is offered, accepted by a hero who is up to it, fought with dice, and ends with gold or in disgrace.
--
-- A decision may look at three things beside its own stream:
--   another stream   context:aggregate_stream: the hero's level, in the same transaction, so it cannot change meanwhile
--   the time         command.time, in microseconds; a script has no clock
--   chance           context:random: dice whose seed is the command. evolve has none: what was rolled is in the event

local moonfold = require "moonfold"
local event = moonfold.event

local HOUR <const> = 3600 * 1000000
local WOUNDS <const> = 3   -- as many end the quest

-- ## What a quest knows of its hero

--- A hero's level. Of the streams hero-NAME a quest understands only this.
local level = {
  initial_state = 1,
  evolve = { LevelReached = function(_, reached) return reached.data.level end },
}

local function level_of(hero, context)
  return context:aggregate_stream("hero-" .. hero, level).state
end

-- ## What events make of a quest

local evolve = {}

function evolve.QuestOffered(quest, offered)
  quest.status = "offered"
  quest.offer = offered.data
end

function evolve.QuestAccepted(quest, accepted)
  quest.status = "accepted"
  quest.hero = accepted.data.hero
  quest.deadline = accepted.data.deadline
end

function evolve.FoeBeaten(quest)
  quest.beaten = quest.beaten + 1
end

function evolve.HeroWounded(quest)
  quest.wounds = quest.wounds + 1
end

function evolve.QuestCompleted(quest, completed)
  quest.status = "completed"
  quest.gold = completed.data.gold
end

function evolve.QuestFailed(quest)
  quest.status = "failed"
end

-- ## What commands lead to

local function must_be(status, quest)
  if quest.status ~= status then
    moonfold.reject("not_" .. status, ("the quest is %s"):format(quest.status))
  end
end

local decide = {}

function decide.OfferQuest(command, quest)
  must_be("new", quest)
  if command.data.foes < 1 then moonfold.reject("no_foes", "a quest has at least one foe") end
  return event("QuestOffered", command.data)
end

--- Only a hero of the level that the offer asks for may accept; from then on the clock is ticking.
function decide.AcceptQuest(command, quest, context)
  must_be("offered", quest)
  local hero, offer = command.data.hero, quest.offer
  if level_of(hero, context) < offer.level then
    moonfold.reject("too_weak", ("%s must reach level %d first"):format(hero, offer.level))
  end
  return event("QuestAccepted", { hero = hero, deadline = command.time + offer.hours * HOUR })
end

--- A die with twenty sides and the hero's level against the foe. A deadline that has passed is no refusal, but a fact:
--- it is recorded, and the quest has failed.
function decide.Fight(command, quest, context)
  must_be("accepted", quest)
  if command.time > quest.deadline then return event("QuestFailed", { reason = "too late" }) end
  local roll = context:random(1, 20)
  if roll + level_of(quest.hero, context) < quest.offer.strength then
    local wounded = event("HeroWounded", { roll = roll })
    if quest.wounds + 1 < WOUNDS then return wounded end
    return { wounded, event("QuestFailed", { reason = "wounds" }) }
  end
  local beaten = event("FoeBeaten", { roll = roll })
  if quest.beaten + 1 < quest.offer.foes then return beaten end
  return { beaten, event("QuestCompleted", { gold = context:random(10, 100) * quest.offer.foes }) }
end

return {
  name = "quest",
  category = "quest",   -- it owns the streams quest-*
  initial_state = { status = "new", beaten = 0, wounds = 0 },
  evolve = evolve,
  decide = decide,

  --- What data looks like. What has another shape is refused before anything is decided or recorded.
  commands = {
    OfferQuest = { title = "string", foes = "integer", strength = "integer", level = "integer", hours = "integer" },
    AcceptQuest = { hero = "string" },
    Fight = {},
  },
  events = {
    QuestOffered = { title = "string", foes = "integer", strength = "integer", level = "integer", hours = "integer" },
    QuestAccepted = { hero = "string", deadline = "integer" },
    FoeBeaten = { roll = "integer" },
    HeroWounded = { roll = "integer" },
    QuestCompleted = { gold = "integer" },
    QuestFailed = { reason = "'too late'|'wounds'" },
  },

  --- What is true of every quest, whatever happened. Specs ask after every event.
  invariant = function(quest)
    if quest.wounds > WOUNDS then return false, "the hero fought on with too many wounds" end
    local won = quest.offer ~= nil and quest.beaten == quest.offer.foes
    if won ~= (quest.status == "completed") and quest.status ~= "accepted" then
      return false, "a quest is completed when every foe is beaten, and only then"
    end
  end,
}
