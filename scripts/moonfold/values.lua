--- Plain values, as people read them: Lua source with sorted keys, paths such as `items[2].qty`, and differences.
--
-- For the scripts that come with Moonfold: the spec DSL, the history library, the REPL.

local moonfold = require "moonfold"

local values = {}

--- Whether a value stands for the bytes of a C host, which are no encoded value: tostring tells how many, `bytes` has
--- them.
function values.is_foreign(value) return type(value) == "userdata" and value ~= moonfold.null end

-- ## Lua source

local function number_text(value)
  if math.type(value) == "integer" then
    return value == math.mininteger and "math.mininteger" or tostring(value)   -- its digits would be read as a float
  end
  local text
  for digits = 14, 17 do
    text = ("%%.%dg"):format(digits):format(value)
    if tonumber(text) == value then break end
  end
  return text:find("[.en]") and text or text .. ".0"
end

local function string_text(value)
  local text = ("%q"):format(value):gsub("\\\n", "\\n")
  if utf8.len(value) then return text end
  return (text:gsub("[\128-\255]", function(byte) return ("\\%03d"):format(byte:byte()) end))
end

--- Anything but a table, as Lua source where it is a value that can be stored.
function values.scalar(value)
  if value == moonfold.null then return "moonfold.null" end
  if type(value) == "number" then return number_text(value) end
  if type(value) == "string" then return string_text(value) end
  return tostring(value)
end

local scalar = values.scalar

--- Whether a key may be written without brackets and quotes.
function values.is_name(key)
  return type(key) == "string" and key:find("^[%a_][%w_]*$") ~= nil and load("local " .. key) ~= nil
end

local is_name = values.is_name

local ranks <const> = { number = 1, string = 2, boolean = 3 }

local function in_order(a, b)
  local left, right = ranks[type(a)] or 4, ranks[type(b)] or 4
  if left ~= right then return left < right end
  if left > 2 then return tostring(a) < tostring(b) end
  return a < b
end

--- The keys of a table, or of two: numbers first, then text.
function values.keys(a, b)
  local keys = {}
  for key in pairs(a) do keys[#keys + 1] = key end
  for key in pairs(b or {}) do
    if a[key] == nil then keys[#keys + 1] = key end
  end
  table.sort(keys, in_order)
  return keys
end

local list_mark <const> = getmetatable(moonfold.array())

--- Whether a table is a list: it has the keys 1 to n, or it is empty and marked by moonfold.array.
function values.is_list(t)
  local count = 0
  for _ in pairs(t) do count = count + 1 end
  if count == 0 then return getmetatable(t) == list_mark end
  return count == #t
end

local literal

--- "key = value" for every field, and without the keys for a list.
local function fields(map, indent, width)
  local keys, parts = values.keys(map), {}
  for i, key in ipairs(keys) do
    local name = is_name(key) and key or ("[%s]"):format(scalar(key))
    local prefix = #map == #keys and "" or name .. " = "
    parts[i] = prefix .. literal(map[key], indent, width)
  end
  return parts
end

function literal(value, indent, width)
  if type(value) ~= "table" then return scalar(value) end
  local inner = indent .. "  "
  local parts = fields(value, inner, width)
  if #parts == 0 then return values.is_list(value) and "moonfold.array()" or "{}" end
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #indent + #line <= width and not line:find("\n", 1, true) then return line end
  return ("{\n%s%s,\n%s}"):format(inner, table.concat(parts, ",\n" .. inner), indent)
end

--- A value as Lua source, with sorted keys; what does not fit into a line goes over several, indented so far.
function values.literal(value, indent, width) return literal(value, indent or "", width or 96) end

-- ## Paths

--- The path of a part of a value: "items" and 2 are `items[2]`.
function values.step(path, key)
  if is_name(key) then return path == "" and key or path .. "." .. key end
  return ("%s[%s]"):format(path, scalar(key))
end

function values.path(keys)
  local path = ""
  for _, key in ipairs(keys) do path = values.step(path, key) end
  return path
end

-- What a path may go on with: a pattern for what stands there, and what makes a key of it.
local function name_of(text) return text end
local steps <const> = {
  { "^%.?([%a_][%w_]*)()", name_of },
  { "^%[(-?%d+)%]()", math.tointeger },
  { "^%.(-?%d+)()", math.tointeger },
  { '^%["([^"\\]*)"%]()', name_of },
  { "^%['([^'\\]*)'%]()", name_of },
}

--- The keys that a path is made of: `items[2].qty`, `slots[-1]`, `["a key"]`; the whole value is "". A list of keys is
--- taken as it is. What is no path gives nil and the place of the first byte that is wrong.
function values.parse_path(path)
  if type(path) == "table" then return path end
  local keys, at = {}, 1
  while at <= #path do
    local rest, found = path:sub(at), nil
    for _, step in ipairs(steps) do
      local text, after = rest:match(step[1])
      if text and not (at > 1 and step[2] == name_of and rest:find("^[%a_]")) then
        keys[#keys + 1], found = step[2](text), after
        break
      end
    end
    if not found then return nil, at end
    at = at + found - 1
  end
  return keys
end

--- The part of a value that keys lead to; nil where they lead nowhere.
function values.get(value, keys)
  for _, key in ipairs(keys) do
    if type(value) ~= "table" then return nil end
    value = value[key]
  end
  return value
end

-- ## Differences

local function same_scalar(a, b)
  return a == b and math.type(a) == math.type(b)
end

--- Whether two values are the same to the store: 1 is not 1.0, an empty list is no empty map.
function values.equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return same_scalar(a, b) end
  if next(a) == nil and next(b) == nil then return values.is_list(a) == values.is_list(b) end
  for key, part in pairs(a) do
    if b[key] == nil or not values.equal(part, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local compare

local function note(found, keys, before, after)
  local kind = before == nil and "added" or after == nil and "removed" or "changed"
  local path = table.move(keys, 1, #keys, 1, {})
  found[#found + 1] = { kind = kind, path = values.path(path), keys = path, before = before, after = after }
end

local function compare_at(found, keys, key, before, after)
  keys[#keys + 1] = key
  compare(found, keys, before, after)
  keys[#keys] = nil
end

local function up_to(list, last, i)
  if i <= last then return list[i] end
end

--- What agrees at both ends is left out, so that an element which was inserted or removed is one difference.
local function compare_lists(found, keys, before, after)
  local common, head, tail = math.min(#before, #after), 0, 0
  while head < common and values.equal(before[head + 1], after[head + 1]) do head = head + 1 end
  while head + tail < common and values.equal(before[#before - tail], after[#after - tail]) do tail = tail + 1 end
  for i = head + 1, math.max(#before, #after) - tail do
    compare_at(found, keys, i, up_to(before, #before - tail, i), up_to(after, #after - tail, i))
  end
end

function compare(found, keys, before, after)
  local tables = type(before) == "table" and type(after) == "table"
  local lists = tables and values.is_list(before)
  if not tables or lists ~= values.is_list(after) then
    if not values.equal(before, after) then note(found, keys, before, after) end
  elseif lists then
    compare_lists(found, keys, before, after)
  else
    for _, key in ipairs(values.keys(before, after)) do compare_at(found, keys, key, before[key], after[key]) end
  end
end

--- How one value became another: a list of { kind = "added" | "removed" | "changed", path, keys, before, after }, in
--- the order of the paths. The index of what was removed from a list is the one that it had, of what was added the one
--- that it has.
function values.changes(before, after)
  local found = {}
  compare(found, {}, before, after)
  return found
end

return values
