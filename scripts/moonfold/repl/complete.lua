-- Completion: a pure function of the line, the place of the cursor, and the world.
--
--     complete(line, cursor, world) -> words, from
--
-- `cursor` is how many bytes stand before it; `words` may stand in place of what is between byte `from` and the cursor.
-- The world tells what there is:
--     world.dots()              the dot commands: { name =, takes = { "STREAM", "PATH", ... } }
--     world.streams(prefix)     names of streams, not too many
--     world.types()             types of events          world.commands(stream)   of commands
--     world.fields(stream)      fields of its state      world.files(prefix)      paths
--     world.options(name)       options of a function     world.env              the names that Lua sees

local values = require "moonfold.values"

local MOST <const> = 100

local keywords <const> = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not",
  "or", "repeat", "return", "then", "true", "until", "while",
}

local function beginning_with(prefix, words)
  local found, seen = {}, {}
  for _, word in ipairs(words) do
    if #found < MOST and not seen[word] and word:sub(1, #prefix) == prefix then
      seen[word] = true
      found[#found + 1] = word
    end
  end
  table.sort(found)
  return found
end

-- ## Names of Lua

--- The names in a table, and in what its metatable looks up; text only.
local function names_in(object)
  local names = {}
  local function take(t)
    for key in next, t do
      if values.is_name(key) then names[#names + 1] = key end
    end
  end
  for _ = 1, 5 do
    if type(object) == "table" then take(object) end
    local meta = type(object) ~= "string" and debug.getmetatable(object)
    local index = type(meta) == "table" and rawget(meta, "__index")
    if type(object) == "string" then index = string end
    if type(index) ~= "table" then break end
    object = index
  end
  return names
end

--- One step into a value, without running anything that belongs to somebody else.
local function look_up(object, key)
  for _ = 1, 5 do
    if type(object) == "table" then
      local found = rawget(object, key)
      if found ~= nil then return found end
    end
    local meta = debug.getmetatable(object)
    local index = type(meta) == "table" and rawget(meta, "__index")
    if type(index) ~= "table" then return nil end
    object = index
  end
end

--- The value of a chain such as `past.store` or `_.items[2]`; nil when it is none, or is not there.
local function value_of(chain, env)
  local keys = values.parse_path(chain)
  if not keys or #keys == 0 then return nil end
  local object = env
  for _, key in ipairs(keys) do
    object = look_up(object, key)
    if object == nil then return nil end
  end
  return object
end

--- The function whose table of options is being written, where the next name is one of them: what stands before the
--- cursor is `name(..., { key = value, wor`.
local function options_of(before)
  local open = {}
  local plain = before:gsub('\\.', "__"):gsub('"[^"]*"', function(quoted) return ("_"):rep(#quoted) end)
    :gsub("'[^']*'", function(quoted) return ("_"):rep(#quoted) end)
  for at, bracket in plain:gmatch("()([%(%){}])") do
    if bracket == "(" or bracket == "{" then open[#open + 1] = at else open[#open] = nil end
  end
  local at = open[#open]
  if not at or plain:sub(at, at) ~= "{" then return nil end
  if not plain:sub(at + 1):gsub("^.*[,;]", ""):find("^%s*[%w_]*$") then return nil end   -- a value is being written
  local called = plain:sub(1, at - 1):match("([%a_][%w_]*)%s*$")
  local call = open[#open - 1]
  if called or not call or plain:sub(call, call) ~= "(" then return called end
  return plain:sub(1, call - 1):match("([%a_][%w_]*)%s*$")
end

local function complete_name(before, world)
  local chain, separator, word = before:match("([%a_][%w_%.%[%]\"]*)([.:])([%w_]*)$")
  if chain then
    local object = value_of(chain, world.env)
    if object == nil then return {}, #before - #word + 1 end
    local names = names_in(object)
    if separator == ":" then
      local methods = {}
      for _, name in ipairs(names) do
        if type(look_up(object, name)) == "function" then methods[#methods + 1] = name end
      end
      names = methods
    end
    return beginning_with(word, names), #before - #word + 1
  end
  word = before:match("[%a_][%w_]*$") or ""
  local called = options_of(before)
  local options = called and world.options(called) or {}
  if #options > 0 then return beginning_with(word, options), #before - #word + 1 end
  if word == "" then return {}, #before + 1 end
  local names = names_in(world.env)
  table.move(keywords, 1, #keywords, #names + 1, names)
  return beginning_with(word, names), #before - #word + 1
end

-- ## Text in quotes

--- Where the text that the cursor is in begins (its quote), or nil.
local function open_quote(before)
  local quote, at
  local i = 1
  while i <= #before do
    local c = before:sub(i, i)
    if quote then
      if c == "\\" then i = i + 1 elseif c == quote then quote, at = nil, nil end
    elseif c == '"' or c == "'" then
      quote, at = c, i
    end
    i = i + 1
  end
  return at
end

local function complete_text(before, at, world)
  local word, call = before:sub(at + 1), before:sub(1, at - 1)
  if call:find("event%s*%(?%s*$") or call:find("types%s*=%s*{[^}]*$") then
    return beginning_with(word, world.types()), at + 1
  end
  if call:find("command%s*%(?%s*$") then
    local stream = call:match("[\"']([^\"']*)[\"'][^\"']*$")
    return beginning_with(word, world.commands(stream)), at + 1
  end
  if call:find("require%s*%(?%s*$") then
    return beginning_with(word, { "moonfold", "moonfold.history", "moonfold.spec" }), at + 1
  end
  local path_of = call:match("[\"']([^\"']*)[\"']%s*,%s*$")
  if path_of and call:find("why%s*%(") then return beginning_with(word, world.fields(path_of)), at + 1 end
  return beginning_with(word, world.streams(word)), at + 1
end

-- ## Dot commands

local offers <const> = {
  STREAM = function(word, world)
    local name = word:match("^[^@]*")
    return name == word and world.streams(word) or {}
  end,
  PATH = function(_, world, words) return world.fields(words[2]) end,
  EXPRESSION = function(_, world, words) return world.fields(words[2]) end,
  COMMAND = function(_, world, words) return world.commands(words[2]) end,
  FILE = function(word, world) return world.files(word) end,
  TYPE = function(_, world) return world.types() end,
  DOT = function(_, world)
    local names = {}
    for _, dot in ipairs(world.dots()) do names[#names + 1] = dot.name end
    return names
  end,
}

local function words_of(before)
  local words = {}
  for word in before:gmatch("%S+") do words[#words + 1] = word end
  if before:find("%s$") or #words == 0 then words[#words + 1] = "" end
  return words
end

local function complete_dot(before, world)
  local words = words_of(before)
  local word = words[#words]
  local from = #before - #word + 1
  if #words == 1 then
    local names = {}
    for _, dot in ipairs(world.dots()) do names[#names + 1] = "." .. dot.name end
    return beginning_with(word, names), from
  end
  for _, dot in ipairs(world.dots()) do
    if "." .. dot.name == words[1] then
      local takes = dot.takes or {}
      local kind = takes[#words - 1] or takes.rest
      if kind == "EXPRESSION" then   -- it may have blanks: the word is what looks like a name
        word = before:match("[%w_]*$")
        from = #before - #word + 1
      end
      local offered = {}
      for name in (kind or ""):gmatch("[^|]+") do
        local offer = offers[name]
        local list = offer and offer(word, world, words) or { name }
        table.move(list, 1, #list, #offered + 1, offered)
      end
      return beginning_with(word, offered), from
    end
  end
  return {}, from
end

return function(line, cursor, world)
  local before = line:sub(1, cursor)
  if before:find("^%s*%.[%a]*") and not before:find("^%s*%.%.") then
    local indent = before:match("^%s*")
    local words, from = complete_dot(before:sub(#indent + 1), world)
    return words, from + #indent
  end
  if before:find("^%s*%?") then
    local word = before:match("[%w_.:]*$")
    return beginning_with(word, world.pages()), #before - #word + 1
  end
  local quote = open_quote(before)
  if quote then return complete_text(before, quote, world) end
  return complete_name(before, world)
end
