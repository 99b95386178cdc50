-- A garden that remembers: love examples/love
--
-- A click plants a seed or picks a flower, space waters. The slider below is the garden's whole past: drag it, or use
-- the arrow keys, and click to go on from there... in the present: the past does not change.
--
-- Moonfold comes in through LuaJIT's FFI (moonfold.ffi); the rules in rules/ run in its sandbox.

local folder = love.filesystem.getSource()
local moonfold = require "moonfold.ffi"

local STREAM = "garden-1"
local SLIDER = { x = 60, y = 560, width = 680 }

local store, garden, present, version, newest, notice

local function look_at(wanted)
  version = math.max(0, math.min(wanted, newest))
  garden = store:aggregate_stream(STREAM, { to = version }).state
  present = version < newest and store:aggregate_stream(STREAM).state or garden
end

--- Everything that the player does is a command; what the rules say to it is shown.
local function handle(type, data)
  local result, rejection = store:attempt(STREAM, { type = type, data = data })
  notice = rejection and rejection.message or ""
  newest = store:stream_version(STREAM)
  if result then look_at(newest) end
end

-- With --demo FILE a garden is made, seen when it was younger, and its picture written to FILE.
local function demonstrate(file)
  local time = 0
  local function act(type, data)
    time = time + 1
    store:handle(STREAM, { type = type, data = data, time = time })
  end
  for i = 1, 40 do
    act("Touch", { x = 60 + i * 37 % 680, y = 60 + i * 61 % 420 })
    if i % 5 == 0 then act "Water" end
  end
  newest = store:stream_version(STREAM)
  look_at(math.floor(newest * 3 / 4))
  love.graphics.captureScreenshot(function(image)
    local out = assert(io.open(file, "wb"))
    out:write(image:encode("png"):getString())
    out:close()
    love.event.quit()
  end)
end

function love.load(arguments)
  local demo = arguments[1] == "--demo" and arguments[2]
  store = moonfold.open(demo and ":memory:" or folder .. "/garden.fold", { durability = "relaxed" })
  store:use(folder .. "/rules")
  newest = store:stream_version(STREAM)
  notice = ""
  look_at(newest)
  if demo then demonstrate(demo) end
end

--- Rules that are edited while the game runs are taken over; of a mistake in them is told, and the old ones go on.
function love.update()
  local fine, changed = pcall(store.reload, store)
  if not fine then notice = tostring(changed) end
  if fine and changed then
    notice = "the rules have changed"
    look_at(version)
  end
end

function love.quit()
  store:close()
end

-- ## Drawing

local function hue(degrees)
  local function channel(offset)
    local k = (offset + degrees / 60) % 6
    return 1 - math.max(0, math.min(k, 4 - k, 1)) * 0.8
  end
  return channel(5), channel(3), channel(1)
end

local function draw_leaves(plant, alpha)
  love.graphics.setColor(0.3, 0.62, 0.3, alpha)
  for i = 1, plant.height - 1 do
    local side = i % 2 == 0 and -1 or 1
    love.graphics.ellipse("fill", plant.x + 6 * side, plant.y - 8 * i, 6, 3)
  end
end

local function draw_flower(plant, alpha)
  local red, green, blue = hue(plant.hue)
  love.graphics.setColor(red, green, blue, alpha)
  for i = 0, 4 do
    local angle = i * 2 * math.pi / 5
    love.graphics.circle("fill", plant.x + 7 * math.cos(angle), plant.y - 34 + 7 * math.sin(angle), 6)
  end
  love.graphics.setColor(1, 0.9, 0.3, alpha)
  love.graphics.circle("fill", plant.x, plant.y - 34, 5)
end

local function draw_plant(plant, alpha)
  love.graphics.setColor(0.25, 0.5, 0.25, alpha)
  love.graphics.setLineWidth(3)
  love.graphics.line(plant.x, plant.y, plant.x, plant.y - 8 * plant.height)
  draw_leaves(plant, alpha)
  if plant.height == 4 then draw_flower(plant, alpha) end
end

local function draw_slider()
  local at = newest > 0 and version / newest or 1
  love.graphics.setColor(0.35, 0.3, 0.25)
  love.graphics.rectangle("fill", SLIDER.x, SLIDER.y, SLIDER.width, 6, 3)
  love.graphics.setColor(0.95, 0.75, 0.3)
  love.graphics.rectangle("fill", SLIDER.x, SLIDER.y, SLIDER.width * at, 6, 3)
  love.graphics.circle("fill", SLIDER.x + SLIDER.width * at, SLIDER.y + 3, 10)
  love.graphics.setColor(1, 1, 1)
  local when = version < newest and "as it was at event " or "as it is, at event "
  local text = ("%s%d of %d, %d picked   %s"):format(when, version, newest, garden.picked, notice)
  love.graphics.print(text, SLIDER.x, 578)
end

function love.draw()
  love.graphics.clear(0.13, 0.16, 0.12)
  if present ~= garden then -- what is still to come, faintly
    for _, plant in ipairs(present.plants) do draw_plant(plant, 0.12) end
  end
  for _, plant in ipairs(garden.plants) do draw_plant(plant, 1) end
  draw_slider()
end

-- ## Acting

local function slide_to(x)
  look_at(math.floor((x - SLIDER.x) / SLIDER.width * newest + 0.5))
end

function love.mousepressed(x, y)
  if y > SLIDER.y - 16 then
    slide_to(x)
  else
    handle("Touch", { x = math.floor(x), y = math.floor(y) })
  end
end

function love.mousemoved(x, y)
  if love.mouse.isDown(1) and y > SLIDER.y - 40 then slide_to(x) end
end

function love.keypressed(key)
  if key == "left" then look_at(version - 1) end
  if key == "right" then look_at(version + 1) end
  if key == "space" then handle "Water" end
  if key == "escape" then love.event.quit() end
end
