--- A garden: seeds are planted, water makes them grow, and what is grown can be picked. One stream is one garden.

local moonfold = require "moonfold"

local SIZE, APART, FULL_GROWN = 800, 24, 4

local evolve = {}

function evolve.SeedPlanted(garden, event)
  local data = event.data
  table.insert(garden.plants, { x = data.x, y = data.y, hue = data.hue, height = 1 })
end

function evolve.GardenWatered(garden)
  for _, plant in ipairs(garden.plants) do plant.height = math.min(plant.height + 1, FULL_GROWN) end
end

function evolve.FlowerPicked(garden, event)
  table.remove(garden.plants, event.data.plant)
  garden.picked = garden.picked + 1
end

local function plant_near(garden, x, y)
  for i, plant in ipairs(garden.plants) do
    if (plant.x - x) * (plant.x - x) + (plant.y - y) * (plant.y - y) < APART * APART then return i, plant end
  end
end

local decide = {}

--- A touch plants where there is room, and picks what is grown.
function decide.Touch(command, garden, context)
  local x, y = command.data.x, command.data.y
  if x < 0 or y < 0 or x > SIZE or y > SIZE then moonfold.reject("outside", "the garden ends here") end
  local i, plant = plant_near(garden, x, y)
  if not plant then return moonfold.event("SeedPlanted", { x = x, y = y, hue = context:random(0, 359) }) end
  if plant.height < FULL_GROWN then moonfold.reject("too_young", "it is too young to be picked: water it") end
  return moonfold.event("FlowerPicked", { plant = i })
end

function decide.Water(_, garden)
  for _, plant in ipairs(garden.plants) do
    if plant.height < FULL_GROWN then return moonfold.event "GardenWatered" end
  end
end

return {
  name = "garden",
  category = "garden",
  initial_state = function() return { plants = moonfold.array {}, picked = 0 } end,
  evolve = evolve,
  decide = decide,
  events = {
    SeedPlanted = { x = "integer", y = "integer", hue = "integer" },
    FlowerPicked = { plant = "integer" },
  },
  commands = { Touch = { x = "integer", y = "integer" } },
}
