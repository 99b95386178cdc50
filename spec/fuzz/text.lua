-- Fuzzes the short texts that are decoded: times, digests, ids, base64, links, and the words of a command line. What is
-- taken has one form, in which it is taken for the same.

local moonfold, host, tools = ...

package.loaded["moonfold.cli.output"] = {}
local arguments = require "moonfold.cli.arguments"
local commands = require "moonfold.cli.commands"

local function time(text)
  local micros = host.parse_time(text)
  if not micros then return end
  local written = host.time(micros)
  if host.parse_time(written) ~= micros then tools.fail(text) end
  if not text:find("[+-]%d%d:?%d%d$", 11) and written:sub(1, 10) ~= text:sub(1, 10) then
    tools.fail(text .. " is taken for " .. written)
  end
end

local function time_of_bytes(text)
  if #text < 8 then return end
  local micros = ("<i8"):unpack(text)
  local has_form = host.time(micros):find("^%d%d%d%d%-")
  local is_long = has_form and host.time(micros):find("^[1-9]") -- C's years have as many digits as they need
  if is_long and os.date("!%Y-%m-%dT%H:%M:%S", micros // 1000000) ~= host.time(micros):sub(1, 19) then
    tools.fail("another time than C says: " .. host.time(micros))
  end
  if has_form and host.parse_time(host.time(micros)) ~= micros then tools.fail(host.time(micros)) end
end

local function base64(text)
  if tools.bytes(tools.base64(text)) ~= text then tools.fail(tools.base64(text)) end
  local bytes = tools.bytes(text)
  if bytes and tools.bytes(tools.base64(bytes)) ~= bytes then tools.fail(text) end
end

local function id(text)
  local position, generated = tools.generated(text)
  if position and generated ~= text then tools.fail(text .. " is taken for " .. generated) end
end

-- A link that is taken is looked for in a file, and there is none.
local function link(text)
  local _, failure = pcall(moonfold.verify, "/nowhere/at/all", { link = text })
  if failure.code == "not_found" then
    if not text:find("^%s*%+?%d+:[%da-f]+$") then tools.fail(("%q"):format(text)) end
  elseif failure.code ~= "invalid_argument" then
    tools.fail(failure)
  end
end

local function digest(text)
  local store <close> = moonfold.open(":memory:")
  local fine, failure = pcall(store.code, store, text)
  if fine ~= (#text == 32 and not text:find("[^%da-f]")) then tools.fail(tostring(failure)) end
  fine, failure = pcall(host.code_line, store, text)
  if not fine and not tostring(failure):find("no digest") then tools.fail(tostring(failure)) end
end

local function printable(text)
  local line = host.printable(text)
  if line:find("[%c]") or not utf8.len(line) then tools.fail(("%q"):format(line)) end
end

-- Words, each ended by a NUL, of which the first chooses the command.
local function words(text)
  if text == "" then return end
  local argv, command = {}, commands[text:byte() % #commands + 1]
  for word in text:sub(2):gmatch("([^\0]*)\0") do argv[#argv + 1] = word end
  local fine, failure = pcall(arguments.parse, host, command, argv, 1)
  if not fine and (type(failure) ~= "table" or type(failure.usage) ~= "string") then tools.fail(tostring(failure)) end
end

local kinds = { time, time_of_bytes, base64, id, link, digest, printable, words }

return function(input)
  if input == "" then return end
  kinds[input:byte() % #kinds + 1](input:sub(2))
end
