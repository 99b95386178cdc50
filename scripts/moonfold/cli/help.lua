-- The help texts, made from commands.lua.

local commands = require "moonfold.cli.commands"
local status = require "moonfold.cli.status"
local text = require "moonfold.cli.text"

local help = {}

local WIDTH = 78

-- Two columns: what, and its text, wrapped.
local function entries(list, lines)
  local widest = 0
  for _, entry in ipairs(list) do widest = math.max(widest, text.width(entry[1])) end
  widest = math.min(widest, 28)
  for _, entry in ipairs(list) do
    local wrapped = text.wrap(entry[2], WIDTH - widest - 4)
    local label = entry[1]
    if text.width(label) > widest then
      lines[#lines + 1] = "  " .. label
      label = ""
    end
    for i, line in ipairs(wrapped) do
      lines[#lines + 1] = ("  %s%s  %s"):format(i == 1 and label or "",
        (" "):rep(widest - (i == 1 and text.width(label) or 0)), line)
    end
  end
end

--- "append STORE STREAM TYPE [JSON]"
function help.synopsis(command)
  local words = { command.name }
  for _, argument in ipairs(command.arguments or {}) do
    local word = argument.rest and argument[1] .. "..." or argument[1]
    words[#words + 1] = argument.optional and "[" .. word .. "]" or word
  end
  return table.concat(words, " ")
end

--- "-n, --max N"
function help.option_label(option)
  return ("%s--%s%s"):format(option.short and "-" .. option.short .. ", " or "", option.name,
    option.value and " " .. option.value or "")
end

--- The help of one command.
function help.of(command)
  local lines = {}
  local has_options = command.options and #command.options > 0
  lines[1] = ("usage: moonfold %s%s"):format(help.synopsis(command), has_options and " [OPTIONS]" or "")
  lines[2] = ""
  lines[3] = command.summary:sub(1, 1):upper() .. command.summary:sub(2) .. "."
  for _, paragraph in ipairs(command.text or {}) do
    lines[#lines + 1] = ""
    for _, line in ipairs(text.wrap(paragraph, WIDTH)) do lines[#lines + 1] = line end
  end
  local list = {}
  for _, argument in ipairs(command.arguments or {}) do list[#list + 1] = { argument[1], argument[2] } end
  if #list > 0 then
    lines[#lines + 1] = ""
    entries(list, lines)
  end
  list = {}
  for _, option in ipairs(command.options or {}) do list[#list + 1] = { help.option_label(option), option.text } end
  list[#list + 1] = { "-h, --help", "print this" }
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Options:"
  entries(list, lines)
  if command.examples then
    lines[#lines + 1] = ""
    lines[#lines + 1] = #command.examples > 1 and "Examples:" or "Example:"
    for _, example in ipairs(command.examples) do
      lines[#lines + 1] = "  " .. example[1]
      lines[#lines + 1] = "      " .. example[2]
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

--- The help of the program.
function help.overview()
  local lines = {
    "Moonfold: an event store that runs your Lua rules.", "",
    "usage: moonfold COMMAND ...       moonfold COMMAND --help tells more",
    "       moonfold FILE.lua ...      run a Lua program",
    "       moonfold STORE             explore a store",
    "       moonfold --version", "", "Commands:",
  }
  local list = {}
  for _, command in ipairs(commands) do
    if not command.hidden then list[#list + 1] = { command.name, command.summary } end
  end
  entries(list, lines)
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Exit status:"
  list = {}
  for _, meaning in ipairs(status.meanings) do list[#list + 1] = { tostring(meaning[1]), meaning[2] } end
  entries(list, lines)
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Environment:"
  entries(help.environment, lines)
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Example:"
  lines[#lines + 1] = "  moonfold run examples/shopping_cart/main.lua"
  return table.concat(lines, "\n") .. "\n"
end

help.environment = {
  { "NO_COLOR", "anything but empty: no colours, also on a terminal" },
  { "LUA_PATH, LUA_CPATH", "where other Lua packages are found" },
  { "MOONFOLD_SCRIPTS", "a folder to read Moonfold's own Lua files from, instead of from the program" },
}

return help
