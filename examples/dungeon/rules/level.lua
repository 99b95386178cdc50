--- Makes a level: rooms, corridors between them, and what is in them. All chance comes from the `random` it is given.

local bestiary = require "bestiary"

local WIDTH, HEIGHT = 60, 18
local ROCK, FLOOR, STAIRS = "#", ".", ">"

local level = { width = WIDTH, height = HEIGHT }

local function solid_rock()
  local map = {}
  for y = 1, HEIGHT do
    map[y] = {}
    for x = 1, WIDTH do map[y][x] = ROCK end
  end
  return map
end

local function centre(room)
  return room.x + room.width // 2, room.y + room.height // 2
end

--- Rooms keep a wall between them.
local function overlap(a, b)
  return a.x <= b.x + b.width and b.x <= a.x + a.width and a.y <= b.y + b.height and b.y <= a.y + a.height
end

local function is_free(room, rooms)
  for _, other in ipairs(rooms) do
    if overlap(room, other) then return false end
  end
  return true
end

local function dig_room(map, room)
  for y = room.y, room.y + room.height - 1 do
    for x = room.x, room.x + room.width - 1 do map[y][x] = FLOOR end
  end
end

--- An L-shaped way from room to room.
local function dig_corridor(map, from, to, random)
  local x, y = centre(from)
  local to_x, to_y = centre(to)
  local horizontal_first = random(1, 2) == 1
  local function walk_x()
    for at = math.min(x, to_x), math.max(x, to_x) do map[y][at] = FLOOR end
    x = to_x
  end
  local function walk_y()
    for at = math.min(y, to_y), math.max(y, to_y) do map[at][x] = FLOOR end
    y = to_y
  end
  if horizontal_first then
    walk_x()
    walk_y()
  else
    walk_y()
    walk_x()
  end
end

local function dig_rooms(map, random)
  local rooms = {}
  for _ = 1, 40 do
    local room = { width = random(4, 12), height = random(3, 6) }
    room.x = random(2, WIDTH - room.width)
    room.y = random(2, HEIGHT - room.height)
    if #rooms < 8 and is_free(room, rooms) then
      dig_room(map, room)
      if #rooms > 0 then dig_corridor(map, rooms[#rooms], room, random) end
      rooms[#rooms + 1] = room
    end
  end
  return rooms
end

--- A place in a room that nothing stands on.
local function free_place(room, taken, random)
  for _ = 1, 20 do
    local x = random(room.x, room.x + room.width - 1)
    local y = random(room.y, room.y + room.height - 1)
    if not taken[y * WIDTH + x] then
      taken[y * WIDTH + x] = true
      return x, y
    end
  end
end

local function kinds_at(depth)
  local kinds = {}
  for kind, monster in pairs(bestiary.monsters) do
    if monster.from <= depth then kinds[#kinds + 1] = kind end
  end
  table.sort(kinds)
  return kinds
end

local function weighted(choices, random)
  local sum = 0
  for _, choice in ipairs(choices) do sum = sum + choice.weight end
  local dice = random(1, sum)
  for _, choice in ipairs(choices) do
    dice = dice - choice.weight
    if dice <= 0 then return choice end
  end
end

local function settle(rooms, depth, taken, random)
  local monsters, items, kinds = {}, {}, kinds_at(depth)
  local function put(room, item)
    item.x, item.y = free_place(room, taken, random)
    if item.x then items[#items + 1] = item end
  end
  for i = 2, #rooms do
    for _ = 1, random(0, 1 + depth // 2) do
      local kind = kinds[random(1, #kinds)]
      local x, y = free_place(rooms[i], taken, random)
      if x then
        local health = bestiary.monsters[kind].health
        monsters[#monsters + 1] = { id = #monsters + 1, kind = kind, x = x, y = y, health = health }
      end
    end
    if random(1, 2) == 1 then put(rooms[i], { kind = "gold", amount = random(1, 10) * depth }) end
    if random(1, 3) == 1 then put(rooms[i], { kind = weighted(bestiary.items, random).kind, amount = 1 }) end
  end
  if depth == bestiary.last_depth then put(rooms[#rooms], { kind = "amulet", amount = 1 }) end
  return monsters, items
end

--- A level at a depth: its map as rows of text, where the hero enters, who lives there and what lies there.
function level.make(depth, random)
  local map = solid_rock()
  local rooms = dig_rooms(map, random)
  local x, y = centre(rooms[1])
  local taken = { [y * WIDTH + x] = true }
  if depth < bestiary.last_depth then
    local stairs_x, stairs_y = centre(rooms[#rooms])
    map[stairs_y][stairs_x] = STAIRS
    taken[stairs_y * WIDTH + stairs_x] = true
  end
  local monsters, items = settle(rooms, depth, taken, random)
  local rows = {}
  for row = 1, HEIGHT do rows[row] = table.concat(map[row]) end
  return { depth = depth, x = x, y = y, map = rows, monsters = monsters, items = items }
end

function level.is_floor(rows, x, y)
  local tile = rows[y] and rows[y]:sub(x, x) or ROCK
  return tile == FLOOR or tile == STAIRS
end

function level.is_stairs(rows, x, y)
  return rows[y]:sub(x, x) == STAIRS
end

return level
