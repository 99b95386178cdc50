-- Values as the REPL prints them: Lua source as far as it goes, sorted keys, what is too much cut and counted, cycles
-- named, and never an address.

local failures = require "moonfold.failures"
local text = require "moonfold.cli.text"
local values = require "moonfold.values"

local show = {}

local LIMITS <const> = { depth = 4, items = 30, bytes = 200 }

-- ## What is no table

local function cut_string(value, limits)
  if #value <= limits.bytes then return values.scalar(value) end
  local last = limits.bytes
  while last > limits.bytes - 4 and value:find("^[\128-\191]", last + 1) do last = last - 1 end   -- not inside a letter
  return ("%s ... %s more"):format(values.scalar(value:sub(1, last)), text.plural(#value - last, "byte"))
end

--- What tostring says, unless that is an address.
local function opaque(value)
  local shown = tostring(value)
  if shown:find("0x%x+") then return ("<%s>"):format(io.type(value) and "file" or type(value)) end
  return shown
end

local function scalar(value, limits)
  if type(value) == "string" then return cut_string(value, limits) end
  if type(value) == "number" or type(value) == "boolean" or value == nil then return values.scalar(value) end
  local stored = values.scalar(value)
  return stored:find("0x%x+") and opaque(value) or stored
end

-- ## Tables

local render

local function render_key(key, limits)
  if values.is_name(key) then return key end
  return ("[%s]"):format(scalar(key, limits))
end

--- The parts of a table, as text, without what is too much.
local function parts_of(value, indent, place)
  local limits, parts = place.limits, {}
  local keys = values.keys(value)
  local list = #keys > 0 and values.is_list(value)
  for i, key in ipairs(keys) do
    if i > limits.items then
      parts[i] = ("... %d more"):format(#keys - limits.items)
      break
    end
    local prefix = list and "" or render_key(key, limits) .. " = "
    parts[i] = prefix .. render(value[key], indent, place, key, #prefix)
  end
  return parts
end

local function count(value)
  local n = 0
  for _ in pairs(value) do n = n + 1 end
  return n
end

local function render_table(value, indent, place, used)
  if place.seen[value] then
    local path = place.seen[value]
    return path == "" and "<the whole again>" or ("<%s again>"):format(path)
  end
  if failures.is(value) then return tostring(value) end
  if next(value) == nil and not getmetatable(value) then return "{}" end
  if place.depth >= place.limits.depth then
    local size = count(value)
    return size == 0 and "{}" or ("{ ... %d }"):format(size)
  end
  place.seen[value], place.depth = place.path, place.depth + 1
  local parts = parts_of(value, indent .. "  ", place)
  place.seen[value], place.depth = nil, place.depth - 1
  if #parts == 0 then return "{}" end
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #indent + used + text.width(line) <= place.width and not line:find("\n", 1, true) then return line end
  return ("{\n%s%s\n%s}"):format(indent .. "  ", table.concat(parts, ",\n" .. indent .. "  "), indent)
end

function render(value, indent, place, key, used)
  if type(value) ~= "table" then return scalar(value, place.limits) end
  local outer = place.path
  place.path = key == nil and "" or values.step(outer, type(key) == "table" and "?" or key)
  local shown = render_table(value, indent, place, used or 0)
  place.path = outer
  return shown
end

--- A value as text for lines of so many columns. `limits`: see above; nothing is left out with `all`.
function show.value(value, width, all)
  local limits = all and { depth = 128, items = math.huge, bytes = math.huge } or LIMITS
  return render(value, "", { limits = limits, seen = {}, depth = 0, path = "", width = width or 80 })
end

--- A value in so many columns of one line.
function show.short(value, room)
  local line = show.value(value, math.huge):gsub("\n%s*", " ")
  return text.fit(line, room or math.huge)
end

-- ## Counts over time

local BARS <const> = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" }
local PLAIN <const> = { ".", ":", "-", "=", "+", "*", "#", "@" }

--- Counts as a row of bars; a blank where there is nothing.
function show.sparkline(counts, plain)
  local most, bars = 0, {}
  for _, n in ipairs(counts) do most = math.max(most, n) end
  for i, n in ipairs(counts) do
    bars[i] = n == 0 and " " or (plain and PLAIN or BARS)[math.max(1, (n * 8 + most - 1) // most)]
  end
  return table.concat(bars)
end

return show
