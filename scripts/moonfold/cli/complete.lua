-- What may stand at the place of the cursor: for bash, which calls `moonfold complete POSITION WORDS...` and gets a
-- candidate a line; ":files" stands for the names of files.

local moonfold = require "moonfold"
local commands = require "moonfold.cli.commands"

local MOST = 200      -- names of streams that are offered
local RECENT = 1000   -- events whose types are offered

local complete = {}

local function starting(list, prefix)
  local found = {}
  for _, word in ipairs(list) do
    if word:sub(1, #prefix) == prefix then found[#found + 1] = word end
  end
  return found
end

local function with_store(path, f)
  local found = {}
  local fine, store = pcall(moonfold.open, path, { create = false, read_only = true })
  if not fine then return found end
  pcall(f, store, found)
  store:close()
  return found
end

local function streams(path, prefix)
  return with_store(path, function(store, found)
    for name in store:streams(prefix) do
      found[#found + 1] = name
      if #found == MOST then break end
    end
  end)
end

local function types(path, prefix)
  return with_store(path, function(store, found)
    local seen = {}
    for event in store:all_events { backwards = true, max_count = RECENT } do
      if not seen[event.type] then
        seen[event.type] = true
        found[#found + 1] = event.type
      end
    end
    table.sort(found)
    table.move(starting(found, prefix), 1, #found, 1, found)
  end)
end

-- The types of commands that the decider of a stream knows.
local function command_types(script, stream, prefix)
  local found = {}
  pcall(function()
    local memory <close> = moonfold.open(":memory:")
    local domain = memory:use(script)
    local decider = domain:decider_of(stream) or (#domain.deciders == 1 and domain.deciders[1])
    for name in pairs(decider.command_types) do found[#found + 1] = name end
  end)
  table.sort(found)
  return starting(found, prefix)
end

-- By the name of an argument: f(word, given), where `given` has the arguments before it.
local offers = {
  STREAM = function(word, given) return streams(given.STORE, word) end,
  PREFIX = function(word, given) return streams(given.STORE, word) end,
  EVENT = function(word, given)
    local found = streams(given.STORE, word)
    for i, name in ipairs(found) do found[i] = name .. "@" end
    return found
  end,
  TYPE = function(word, given)
    if given.SCRIPT then return command_types(given.SCRIPT, given.STREAM, word) end
    return types(given.STORE, word)
  end,
  JSON = function() return {} end,
}

-- By the kind of an option's value.
local values = {
  expectation = function(word) return starting({ "absent", "any", "exists" }, word) end,
  list = function(word, given)
    local before, last = word:match("^(.*,)([^,]*)$")
    local found = given.STORE and types(given.STORE, last or word) or {}
    for i, name in ipairs(found) do found[i] = (before or "") .. name end
    return found
  end,
}

-- By the name of an option's value, where its kind tells nothing.
local named = {
  OLD = function() return { ":files" } end,
  SCRIPT = function() return { ":files" } end,
  PREFIX = function(word, given) return given.STORE and streams(given.STORE, word) or {} end,
}

local function find(list, field, value)
  for _, entry in ipairs(list or {}) do
    if entry[field] == value then return entry end
  end
end

local function option_of(command, word)
  if not word then return nil end
  if word:find("^%-%-") then return find(command.options, "name", word:sub(3)) end
  return word:find("^%-.$") and find(command.options, "short", word:sub(2))
end

-- The arguments that stand before the cursor, and how many there are.
local function given_before(command, words, from, to)
  local given, count, i = {}, 0, from
  while i < to do
    local option = option_of(command, words[i])
    if option and option.value then
      i = i + 1
    elseif not words[i]:find("^%-.") then
      count = count + 1
      local argument = command.arguments and command.arguments[count]
      if argument then given[argument[1]] = words[i] end
    end
    i = i + 1
  end
  return given, count
end

--- The candidates for words[position] (the program is words[0]).
function complete.candidates(words, position)
  local word = words[position] or ""
  if position <= 1 then
    local names = { "--help", "--version" }
    for _, command in ipairs(commands) do
      if not command.hidden then names[#names + 1] = command.name end
    end
    local found = starting(names, word)
    return #found > 0 and word ~= "" and found or table.move({ ":files" }, 1, 1, #found + 1, found)
  end
  local command = find(commands, "name", words[1])
  if not command then return { ":files" } end
  local given, count = given_before(command, words, 2, position)
  local option = option_of(command, words[position - 1])
  if option and option.value then
    if option.choices then return starting(option.choices, word) end
    local offer = values[option.kind] or named[option.value]
    return offer and offer(word, given) or {}
  end
  if word:find("^%-") then
    local names = { "--help" }
    for _, each in ipairs(command.options or {}) do names[#names + 1] = "--" .. each.name end
    return starting(names, word)
  end
  local argument = command.arguments and command.arguments[count + 1]
  if not argument then return {} end
  local offer = offers[argument[1]]
  if offer and (argument[1] == "JSON" or given.STORE) then return offer(word, given) end
  return { ":files" }
end

return setmetatable(complete, { __call = function(_, call)
  local words, position = call.arguments.words or {}, tonumber(call.arguments.position) or 1
  table.move(words, 1, #words, 0)
  words[#words] = nil
  for _, candidate in ipairs(complete.candidates(words, position)) do
    if not candidate:find("[%c]") then call.out:line(candidate) end
  end
end })
