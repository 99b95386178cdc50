--- What a player carries: numbered slots, each empty or with a stack of one item.
--
-- `inventory.slots[3]` is the third slot, or nil when it is empty. Keys may be integers: a table with holes is stored
-- and read as it is. A command that needs several slots leads to one event for each of them, all or nothing.

local moonfold = require "moonfold"
local event = moonfold.event

local SLOTS <const> = 8

--- How many of an item fit into one slot; of what is not named here, one.
local stack_size = { arrow = 20, potion = 5, coin = 100 }

local function limit(item) return stack_size[item] or 1 end

-- ## What events make of an inventory

local evolve = {}

function evolve.ItemsAdded(inventory, added)
  local data = added.data
  local stack = inventory.slots[data.slot] or { item = data.item, count = 0 }
  stack.count = stack.count + data.count
  inventory.slots[data.slot] = stack
end

function evolve.ItemsRemoved(inventory, removed)
  local slots, data = inventory.slots, removed.data
  local stack = slots[data.slot]
  stack.count = stack.count - data.count
  if stack.count == 0 then slots[data.slot] = nil end
end

function evolve.SlotsSwapped(inventory, swapped)
  local slots, a, b = inventory.slots, swapped.data.from, swapped.data.to
  slots[a], slots[b] = slots[b], slots[a]
end

-- ## What commands lead to

local function must_be_slot(number)
  if number < 1 or number > SLOTS then
    moonfold.reject("no_such_slot", ("there are the slots 1 to %d"):format(SLOTS))
  end
end

local function must_be_positive(count)
  if count < 1 then moonfold.reject("invalid_count", "it takes at least one") end
end

--- The stack in a slot, which must hold so many.
local function stack_at(inventory, slot, count)
  must_be_slot(slot)
  local stack = inventory.slots[slot]
  if not stack then moonfold.reject("slot_empty", ("slot %d is empty"):format(slot)) end
  if count and count > stack.count then
    moonfold.reject("not_enough", ("there are %d, not %d"):format(stack.count, count))
  end
  return stack
end

local function added(slot, item, count) return event("ItemsAdded", { slot = slot, item = item, count = count }) end
local function removed(slot, count) return event("ItemsRemoved", { slot = slot, count = count }) end

local decide = {}

--- Fills stacks that were begun, then empty slots, from the first on.
function decide.PickUp(command, inventory)
  local item, left = command.data.item, command.data.count or 1
  must_be_positive(left)
  local events = {}
  local function put(slot, room)
    local count = math.min(room, left)
    if count > 0 then events[#events + 1] = added(slot, item, count) end
    left = left - count
  end
  for slot = 1, SLOTS do
    local stack = inventory.slots[slot]
    if stack and stack.item == item then put(slot, limit(item) - stack.count) end
  end
  for slot = 1, SLOTS do
    if not inventory.slots[slot] then put(slot, limit(item)) end
  end
  if left > 0 then moonfold.reject("inventory_full", ("no room for %d %s"):format(left, item), { left = left }) end
  return events
end

--- Drops some of a stack, or all of it.
function decide.Drop(command, inventory)
  local slot, count = command.data.slot, command.data.count
  local stack = stack_at(inventory, slot, count)
  must_be_positive(count or 1)
  return removed(slot, count or stack.count)
end

--- Moves some of a stack, or all of it. Onto the same item as many go as there is room; a whole stack that meets
--- another item changes places with it.
function decide.Move(command, inventory)
  local from, to, count = command.data.from, command.data.to, command.data.count
  local stack = stack_at(inventory, from, count)
  must_be_slot(to)
  must_be_positive(count or 1)
  if from == to then return nil end
  local target, moving = inventory.slots[to], count or stack.count
  if target and target.item ~= stack.item then
    if moving < stack.count then moonfold.reject("slot_taken", ("slot %d holds %s"):format(to, target.item)) end
    return event("SlotsSwapped", { from = from, to = to })
  end
  moving = math.min(moving, limit(stack.item) - (target and target.count or 0))
  if moving == 0 then return nil end
  return { removed(from, moving), added(to, stack.item, moving) }
end

return {
  name = "inventory",
  category = "inventory",
  initial_state = { slots = {} },
  evolve = evolve,
  decide = decide,

  commands = {
    PickUp = { item = "string", count = "integer?" },
    Drop = { slot = "integer", count = "integer?" },
    Move = { from = "integer", to = "integer", count = "integer?" },
  },
  events = {
    ItemsAdded = { slot = "integer", item = "string", count = "integer" },
    ItemsRemoved = { slot = "integer", count = "integer" },
    SlotsSwapped = { from = "integer", to = "integer" },
  },

  invariant = function(inventory)
    for slot, stack in pairs(inventory.slots) do
      if slot < 1 or slot > SLOTS then return false, ("there is no slot %d"):format(slot) end
      if stack.count < 1 or stack.count > limit(stack.item) then
        return false, ("slot %d holds %d %s"):format(slot, stack.count, stack.item)
      end
    end
  end,
}
