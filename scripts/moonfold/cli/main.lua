-- The command line: finds the command, runs it, and turns what it raises into a message and an exit status.
--
-- To add a command, write an entry in commands.lua and the module that the entry names.

local call = require "moonfold.cli.call"
local commands = require "moonfold.cli.commands"
local help = require "moonfold.cli.help"
local nearest = require "moonfold.nearest"
local output = require "moonfold.cli.output"
local status = require "moonfold.cli.status"

local function find(name)
  for _, command in ipairs(commands) do
    if command.name == name then return command end
  end
end

local function complain(message)
  io.stdout:flush()
  io.stderr:write("moonfold: ", message, "\n")
end

-- ## What went wrong

local function interrupted(failure)
  return type(failure) == "string" and failure:find("interrupted$") ~= nil
end

-- A message as one would read it: the code, a refusal's reason, and what happened.
local function describe(failure)
  if type(failure) ~= "table" then return tostring(failure) end
  local code, message = failure.code or "failure", failure.message or tostring(failure)
  if failure.reason and failure.reason ~= message then message = failure.reason .. ": " .. message end
  return code .. ": " .. message
end

-- The fields of a failure that are plain values, for machines. Which line of ours made the call is nobody's business.
local function as_json(host, failure)
  local fields = {}
  for name, value in pairs(failure) do
    if type(name) == "string" and pcall(host.json, value) then fields[name] = value end
  end
  if type(fields.where) == "string" and fields.where:find("^scripts/moonfold/") then fields.where = nil end
  return host.json(fields)
end

local function report(host, failure, json)
  if failure == output.BROKEN_PIPE then return status.fine end
  if interrupted(failure) and host.interrupts() > 0 then
    if host.is_terminal(2) then io.stderr:write("\r\27[K") end -- the line of a progress that was shown
    return status.interrupted
  end
  if type(failure) == "table" and failure.usage then
    complain(failure.usage)
    io.stderr:write("Try: moonfold ", failure.command and failure.command.name .. " " or "", "--help\n")
    return status.usage
  end
  if json and type(failure) == "table" then
    io.stdout:flush()
    io.stderr:write(as_json(host, failure), "\n")
  else
    complain(describe(failure))
  end
  return type(failure) == "table" and status.of_code[failure.code] or status.failed
end

-- With the traceback where the error is ours and not one that the library describes.
local function with_traceback(failure)
  if type(failure) == "string" and not interrupted(failure) then return debug.traceback(failure, 2) end
  return failure
end

-- ## Running a command

-- A command returns its exit status (nil: fine); `run` returns nil and a program that takes over. `seen` gets the
-- call, for when it fails.
local function run(host, seen, command, argv, i)
  local this = call.new(host, command, argv, i)
  seen.call = this
  if this.options.help then
    this.out:write(help.of(command))
    return status.fine
  end
  if not command.takes_over then
    host.ignore_broken_pipes()
    host.show_foreign() -- a program that is run is told, as in any other Lua
  end
  local result = table.pack(require(command.module or "moonfold.cli." .. command.name)(this))
  this.out:flush()
  return table.unpack(result, 1, result.n)
end

local function protected(host, ...)
  local seen = {}
  local result = table.pack(xpcall(run, with_traceback, host, seen, ...))
  if not result[1] then return report(host, result[2], seen.call and seen.call.options.json) end
  if result[2] == nil and result[3] == nil then return status.fine end
  return table.unpack(result, 2, result.n)
end

-- What a first argument that names no command is: a store or a folder is explored, any other file is run.
local function by_content(host, path)
  local kind = host.kind(path)
  if kind == "folder" then return "repl" end
  if kind == "file" then return call.is_store(path) and "repl" or "run" end
  if path:find("%.lua$") then return "run" end
end

local function unknown(word)
  local names = {}
  for _, command in ipairs(commands) do names[#names + 1] = command.name end
  if word:find("^%-") then names = { "--help", "--version" } end
  local near = nearest.of(word, names)
  local what = word:find("^%-") and "unknown option %s" or word:find("[/.]") and "there is no file %s"
    or "there is neither a command nor a file %q"
  complain(what:format(word) .. (near and (": did you mean %s?"):format(near) or ""))
  io.stderr:write("Try: moonfold --help\n")
  return status.usage
end

local function print_help(name)
  local command = name and find(name)
  if name and not command then return unknown(name) end
  io.stdout:write(command and help.of(command) or help.overview())
  return status.fine
end

local function main(host, argv)
  host.catch_interrupts()
  local first = argv[1]
  if not first then
    io.stdout:write(help.overview())
    return status.usage
  end
  if first == "--help" or first == "-h" then return print_help() end
  if first == "help" then return print_help(argv[2]) end
  if first == "--version" or first == "-v" then
    io.stdout:write(host.version, "\n")
    return status.fine
  end
  local command = find(first)
  if command then return protected(host, command, argv, 2) end
  local name = by_content(host, first)
  if name then return protected(host, find(name), argv, 1) end
  return unknown(first)
end

return main
