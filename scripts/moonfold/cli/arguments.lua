-- The command line read: what a command's entry in commands.lua says of its arguments and options.

local nearest = require "moonfold.nearest"

local arguments = {}

--- What is wrong with the command line. main.lua prints it, with a hint, and exits with 2.
function arguments.usage(message, command)
  error({ usage = message, command = command }, 0)
end

-- ## The kinds of values: f(given, host) -> value; nil: it is none, and the second result says what is needed

local kinds = {}

function kinds.string(given) return given end

function kinds.count(given)
  local digits = given:match("^%d+$")
  local n = digits and math.tointeger(tonumber(digits))
  if not n then return nil, "a whole number from 0 on" end
  return n
end

local expectations = { exists = "STREAM_EXISTS", absent = "STREAM_DOES_NOT_EXIST", any = "NO_CONCURRENCY_CHECK" }

function kinds.expectation(given)
  local value = expectations[given] or kinds.count(given)
  if not value then return nil, "a version, exists, absent or any" end
  return value
end

function kinds.list(given)
  local list = {}
  for item in (given .. ","):gmatch("([^,]*),") do
    if item ~= "" then list[#list + 1] = item end
  end
  if #list == 0 then return nil, "names with commas between them" end
  return list
end

function kinds.time(given, host)
  local time = host.parse_time(given)
  if not time then return nil, "a time as in 2026-11-25 or 2026-11-25T18:30:00Z (UTC where no zone is given)" end
  return time
end

function kinds.moment(given, host)
  local n = kinds.count(given)
  if n then return { position = n } end
  local time = host.parse_time(given)
  if not time then return nil, "a position, or a time as in 2026-11-25T18:30:00Z" end
  return { time = time }
end

function kinds.bytes(given)
  local n, unit = given:match("^(%d+)%s*([KMG]?)i?B?$")
  local factor = n and ({ [""] = 1, K = 1024, M = 1024 ^ 2, G = 1024 ^ 3 })[unit]
  local bytes = factor and math.tointeger(tonumber(n) * factor)
  if not bytes then return nil, "a size as in 4096, 64K or 16M" end
  return bytes
end

-- ## Parsing

local help_option = { name = "help", short = "h" }

local function all_options(command)
  local list = { help_option }
  for _, option in ipairs(command.options or {}) do list[#list + 1] = option end
  return list
end

local function unknown_option(command, given)
  if not given:find("^%-%-") then arguments.usage("unknown option " .. given, command) end
  local names = {}
  for i, option in ipairs(all_options(command)) do names[i] = option.name end
  local near = nearest.of(given:gsub("^%-+", ""), names)
  arguments.usage(("unknown option %s%s"):format(given, near and ": did you mean --" .. near .. "?" or ""), command)
end

local function find(command, field, name)
  for _, option in ipairs(all_options(command)) do
    if option[field] == name then return option end
  end
end

local function set(host, command, options, option, shown, value)
  if not option.value then
    options[option.name] = true
    return
  end
  if options[option.name] ~= nil and not option.many then
    arguments.usage(("%s is given twice"):format(shown), command)
  end
  local result, needed = kinds[option.kind or "string"](value, host)
  if result == nil then arguments.usage(("%s needs %s, this is %q"):format(shown, needed, value), command) end
  if option.choices then
    local known = false
    for _, choice in ipairs(option.choices) do known = known or choice == result end
    if not known then
      arguments.usage(("%s is one of %s, not %q"):format(shown, table.concat(option.choices, ", "), value), command)
    end
  end
  if option.many then
    options[option.name] = options[option.name] or {}
    table.insert(options[option.name], result)
  else
    options[option.name] = result
  end
end

-- Takes one option from argv[i] on; returns how many words it took.
local function take_option(host, command, options, argv, i)
  local word = argv[i]
  local name, inline = word:match("^%-%-([^=]+)=(.*)$")
  local option
  if word:find("^%-%-") then
    name = name or word:sub(3)
    option = find(command, "name", name)
  else
    option = find(command, "short", word:sub(2, 2))
    if option and #word > 2 then
      if option.value then
        inline = word:sub(3) -- -n5
      else -- -fr: several switches in one word
        argv[i] = "-" .. word:sub(3)
        set(host, command, options, option, word:sub(1, 2))
        return 0
      end
    end
  end
  if not option then unknown_option(command, inline and name and "--" .. name or word) end
  local shown = word:find("^%-%-") and "--" .. option.name or "-" .. option.short
  if not option.value then
    if inline then arguments.usage(("%s takes no value"):format(shown), command) end
    set(host, command, options, option, shown)
    return 1
  end
  local value = inline or argv[i + 1]
  if not value then arguments.usage(("%s needs a value: %s"):format(shown, option.value), command) end
  set(host, command, options, option, shown, value)
  return inline and 1 or 2
end

local function named(word) return word:lower():gsub("%W", "_") end

-- Gives the words their places: { store =, stream =, ... }; fewer or more than there are places is an error.
local function place(command, words)
  local given = {}
  for i, argument in ipairs(command.arguments or {}) do
    local key = named(argument[1])
    if argument.rest then
      given[key] = table.move(words, i, #words, 1, {})
      return given
    end
    given[key] = words[i]
    if not words[i] and not argument.optional then
      arguments.usage(("%s is missing: %s"):format(argument[1], argument[2]), command)
    end
  end
  local extra = words[#(command.arguments or {}) + 1]
  if extra then arguments.usage(("%q is one argument too many"):format(extra), command) end
  return given
end

-- At which word the uninterpreted arguments begin, or nil.
local function rest_of(command)
  for i, argument in ipairs(command.arguments or {}) do
    if argument.rest == true then return i end
  end
end

--- Reads argv from index `i` on: arguments by lower-case name, options by name ("dry-run").
function arguments.parse(host, command, argv, i)
  local words, options, rest = {}, {}, rest_of(command)
  while argv[i] do
    local word = argv[i]
    if rest and #words >= rest - 1 then -- from here on all belongs to the program
      words[#words + 1] = word
      i = i + 1
    elseif word == "--" then
      table.move(argv, i + 1, #argv, #words + 1, words)
      break
    elseif word:find("^%-.") and not word:find("^%-%d") then
      i = i + take_option(host, command, options, argv, i)
    else
      words[#words + 1] = word
      i = i + 1
    end
    if options.help then return {}, options end
  end
  return place(command, words), options
end

return arguments
