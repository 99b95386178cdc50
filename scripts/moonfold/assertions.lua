--- The `assert` of spec files that `moonfold spec` runs: the everyday part of what busted offers, by the same names.
--
--     assert(value, message)                   Lua's own
--     assert.equal(expected, actual)           the same value, by ==
--     assert.same(expected, actual)            tables with the same content
--     assert.is_true, is_false, is_nil, truthy, falsy, is_string, is_table, ...
--     assert.matches(pattern, text)            a Lua pattern; with `true` as the fourth argument, plain text
--     assert.has_error(f [, expected])         f raises something, or this
--     assert.near(expected, actual, tolerance)
--
-- Words that only make it read well may stand between, and "not" or "no" turns the meaning round: assert.are.same,
-- assert.is_not_nil, assert.has_no_error. Every assertion takes a message as its last argument.

local nearest = require "moonfold.nearest"
local values = require "moonfold.values"

local assertions = {}

--- What an assertion that fails raises.
local Failure = {}
Failure.__index = Failure

function Failure:__tostring() return self.message end

function assertions.is_failure(problem) return getmetatable(problem) == Failure end

local this_file = debug.getinfo(1, "S").source

--- "file:line" of the spec that is at work: the nearest Lua code that stands elsewhere.
local function caller()
  local level = 2
  local frame = debug.getinfo(level, "Sl")
  while frame and (frame.source == this_file or frame.currentline < 0) do
    level = level + 1
    frame = debug.getinfo(level, "Sl")
  end
  return frame and ("%s:%d"):format(frame.short_src, frame.currentline)
end

local function fail(text, message)
  if message ~= nil then text = ("%s\n%s"):format(tostring(message), text) end
  error(setmetatable({ message = text, where = caller() }, Failure), 0)
end

-- ## Values as text: what cannot be stored is shown, too

local function shown(value, seen)
  if type(value) ~= "table" then return values.scalar(value) end
  seen = seen or {}
  if seen[value] then return "..." end
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__tostring then return tostring(value) end
  seen[value] = true
  for key, part in pairs(value) do
    if type(key) == "table" or type(part) == "table" and shown(part, seen) == "..." then return tostring(value) end
  end
  seen[value] = nil
  return values.literal(value, "          ")
end

-- ## The assertions: { how many arguments, f(...) -> whether it holds, the text for when it does not }

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  if rawequal(a, b) then return true end
  for key, part in pairs(a) do
    if b[key] == nil or not same(part, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function two(expected, actual)
  return ("expected  %s\nactual    %s"):format(shown(expected), shown(actual))
end

--- Large values are compared part by part.
local function differences(expected, actual)
  local text = two(expected, actual)
  if not text:find("\n.*\n") then return text end
  local lines = {}
  for _, change in ipairs(values.changes(expected, actual)) do
    if change.path == "" then return text end
    lines[#lines + 1] = ("%s\n  expected  %s\n  actual    %s"):format(change.path, shown(change.before),
      shown(change.after))
  end
  return #lines > 0 and table.concat(lines, "\n") or text
end

local function is(what, test)
  return { 1, test, function(value) return ("expected  %s\nactual    %s"):format(what, shown(value)) end }
end

local function has_error(f, expected)
  local fine, problem = pcall(f)
  if fine then return false end
  return expected == nil or same(expected, problem)
    or type(problem) == "string" and type(expected) == "string" and problem:gsub("^[^\n]-:%d+: ", "") == expected
end

local function error_text(f, expected)
  local fine, problem = pcall(f)
  if fine then return "expected  an error\nactual    none" end
  return ("expected  the error %s\nactual    the error %s"):format(shown(expected), shown(problem))
end

local known = {
  equal = { 2, function(a, b) return a == b end, two },
  same = { 2, same, differences },
  ["true"] = is("true", function(value) return value == true end),
  ["false"] = is("false", function(value) return value == false end),
  truthy = is("neither false nor nil", function(value) return value and true or false end),
  falsy = is("false or nil", function(value) return not value end),
  matches = {
    2, function(pattern, text, init, plain)
      return type(text) == "string" and text:find(pattern, init, plain) ~= nil
    end,
    function(pattern, text) return ("expected  a match of %s\nactual    %s"):format(shown(pattern), shown(text)) end,
    4,
  },
  error = { 1, has_error, error_text, 2 },
  near = {
    3, function(a, b, tolerance) return math.abs(a - b) <= tolerance end,
    function(a, b, tolerance) return ("expected  %s, give or take %s\nactual    %s"):format(a, tolerance, b) end,
  },
}

for _, name in ipairs { "string", "number", "boolean", "table", "function", "userdata", "thread", "nil" } do
  known[name] = is("a " .. name, function(value) return type(value) == name end)
end
known["nil"][3] = is("nil")[3]

local other_names = { equals = "equal", match = "matches", errors = "error", True = "true", False = "false" }
local filler = {}
for word in ("is are was were has have does do a an be"):gmatch("%a+") do filler[word] = true end

--- Reads "is_not_nil", or the words gathered so far: the assertion, and whether it is turned round.
local function read(words)
  local negated, rest = false, {}
  for i = 1, #words do   -- ipairs would ask __index for one more
    local word = words[i]
    if word == "not" or word == "no" then negated = not negated
    elseif not filler[word] then rest[#rest + 1] = word end
  end
  local name = table.concat(rest, "_")
  return known[other_names[name] or name], negated, name
end

--- What to say of an assertion that holds and should not.
local function opposite(name, value, ...)
  if name:find("^error") then
    local _, problem = pcall(value, ...)
    return "expected  no error\nactual    the error " .. shown(problem)
  end
  return "expected  anything but " .. shown(value)
end

local function check(words, ...)
  local assertion, negated, name = read(words)
  if not assertion then
    local names = {}
    for each in pairs(known) do names[#names + 1] = each end
    table.sort(names)
    local meant = nearest.of(name, names)
    fail(("there is no assertion %s%s"):format(name, meant and ": did you mean " .. meant .. "?" or ""))
  end
  local holds = assertion[2](...)
  if (holds and true or false) ~= negated then return ... end
  local message = select((assertion[4] or assertion[1]) + 1, ...)
  fail(negated and opposite(name, ...) or assertion[3](...), message)
end

-- ## assert.are_not.same: words are gathered until it is called

local Words = {}

local function with(words, more)
  local longer = table.move(words, 1, #words, 1, setmetatable({}, Words))
  for word in more:gmatch("[^_]+") do longer[#longer + 1] = word end
  return longer
end

function Words:__index(word) return with(self, word) end

function Words:__call(...)
  if #self > 0 then return check(self, ...) end
  local value, message = ...
  if value then return ... end
  if type(message) == "string" or message == nil then fail(message or "assertion failed!") end
  error(message, 0)
end

assertions.assert = setmetatable({}, Words)

return assertions
