-- The manual page and bash completion, made from commands.lua while Moonfold is built:
--     LUA_PATH=scripts/?.lua lua5.4 scripts/moonfold/cli/pages.lua man VERSION | completion

local commands = require "moonfold.cli.commands"
local help = require "moonfold.cli.help"
local status = require "moonfold.cli.status"

local pages = {}

-- Text for roff: a backslash, a hyphen that is to stay one, and what would begin a request at the start of a line.
local function roff(words)
  words = words:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("`([^`]*)`", "\\fB%1\\fR")
  return (words:gsub("^([.'])", "\\&%1"))
end

local function entry(add, label, words)
  add(".TP")
  add(label)
  add(roff(words))
end

local function synopsis(command)
  local words = {}
  for word in help.synopsis(command):gmatch("%S+") do
    words[#words + 1] = word:gsub("%u[%u%-]+", "\\fI%0\\fR")
  end
  words[1] = "\\fB" .. words[1] .. "\\fR"
  return table.concat(words, " ")
end

local function sentence(words)
  return words:sub(1, 1):upper() .. words:sub(2) .. "."
end

local function describe(add, command)
  add(".SS " .. command.name)
  add("\\fBmoonfold\\fR " .. synopsis(command))
  add(".PP")
  add(roff(sentence(command.summary)))
  for _, paragraph in ipairs(command.text or {}) do
    add(".PP")
    add(roff(paragraph))
  end
  for _, argument in ipairs(command.arguments or {}) do
    entry(add, "\\fI" .. argument[1] .. "\\fR", argument[2])
  end
  for _, option in ipairs(command.options or {}) do
    entry(add, "\\fB" .. roff(help.option_label(option):gsub(" .*$", "")) .. "\\fR"
      .. (option.short and " \\fB" .. roff("--" .. option.name) .. "\\fR" or "")
      .. (option.value and " \\fI" .. option.value .. "\\fR" or ""), option.text)
  end
  for _, example in ipairs(command.examples or {}) do
    add(".PP")
    local title = roff(sentence(example[2])):gsub("%?%.$", "?"):gsub("%.$", ":")
    add(title)
    add(".PP")
    add(".RS")
    add(".nf")
    add(roff(example[1]))
    add(".fi")
    add(".RE")
  end
end

--- moonfold(1)
function pages.man(version)
  local lines = {}
  local function add(line) lines[#lines + 1] = line end
  add('.\\" Made by scripts/moonfold/cli/pages.lua from commands.lua.')
  add(('.TH MOONFOLD 1 "" "Moonfold %s" "User Commands"'):format(version))
  add(".SH NAME")
  add("moonfold \\- an event store that runs your Lua rules")
  add(".SH SYNOPSIS")
  add(".B moonfold")
  add("\\fICOMMAND\\fR ...")
  add(".br")
  add(".B moonfold")
  add("\\fIFILE.lua\\fR ...")
  add(".br")
  add(".B moonfold")
  add("\\fISTORE\\fR")
  add(".SH DESCRIPTION")
  add(roff("A store is one file that remembers everything that happened, as events in streams. This program records and"
    .. " reads events, folds them into states, and lets deciders written in Lua handle commands. What is no command is"
    .. " looked at: a store is opened in the REPL, any other file is run as a Lua program."))
  add(".PP")
  add(roff("On a terminal lists are tables. In a pipe every record is a line with tabs between its fields: for events"
    .. " the position in the log, the stream, the position in the stream, the time, the type, the data and the metadata"
    .. " as JSON. With --json they are JSON Lines. Bytes that are no UTF-8 are {\"$base64\": \"...\"} in JSON, also"
    .. " where JSON is read. Times are ISO 8601; without a zone they are UTC."))
  add(".SH COMMANDS")
  for _, command in ipairs(commands) do
    if not command.hidden then describe(add, command) end
  end
  add(".SH EXIT STATUS")
  for _, meaning in ipairs(status.meanings) do entry(add, tostring(meaning[1]), sentence(meaning[2])) end
  add(".SH ENVIRONMENT")
  for _, variable in ipairs(help.environment) do entry(add, "\\fB" .. variable[1] .. "\\fR", sentence(variable[2])) end
  return table.concat(lines, "\n") .. "\n"
end

--- What bash reads. The program itself knows what may stand where.
function pages.completion()
  return [[
# Completion for moonfold in bash. Made by scripts/moonfold/cli/pages.lua.
_moonfold() {
  local word=${COMP_WORDS[COMP_CWORD]} line
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = :files ]; then
      compopt -o filenames
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
    else
      COMPREPLY+=("$(printf %q "$line")")
    fi
  done < <("${COMP_WORDS[0]}" complete "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null)
}
complete -F _moonfold moonfold
]]
end

if arg and arg[1] == "man" then
  io.write(pages.man(arg[2]))
elseif arg and arg[1] == "completion" then
  io.write(pages.completion())
end

return pages
