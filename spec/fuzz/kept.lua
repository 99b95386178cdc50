-- Fuzzes code and kept commands, and the keys of all that stands beside the log: the input is the kind, the size of
-- the key, the key, and the bytes of the value. They are refused as corrupt, or what the command line exports of them
-- is imported as the same.

local moonfold, host, tools = ...

local CODE, SNAPSHOTS, COMMANDS = 0, 1, 2
local store = moonfold.open(":memory:")

local function code_lines(from)
  local lines = {}
  local line, digest
  repeat
    line, digest = host.code_line(from, digest)
    lines[#lines + 1] = line
  until not line
  return table.concat(lines)
end

local function command_lines(from)
  local lines = {}
  host.command_lines(from, function(line) lines[#lines + 1] = line end)
  return table.concat(lines)
end

local function list_commands(options)
  for command in store:commands(options) do
    if type(command.stream_name) ~= "string" then tools.fail("a command without a stream") end
  end
end

-- The answer; nil when it was refused as it should be.
local function ask(f, ...)
  local fine, answer = pcall(f, ...)
  if fine then return answer end
  if answer.code ~= "corrupt" then tools.fail(answer) end
end

local function imports_again(lines, export)
  if not lines or lines == "" then return end
  local other <close> = moonfold.open(":memory:")
  host["import"](other, lines, 1, false)
  local again = export(other)
  if again ~= lines then tools.fail(lines .. "became\n" .. again) end
end

return function(input)
  if #input < 2 then return end
  local wanted, size = input:byte() % 3, input:byte(2) % 40
  local key, value = input:sub(3, 2 + size), input:sub(3 + size)
  for _, kind in ipairs { CODE, SNAPSHOTS, COMMANDS } do
    local given = kind == wanted
    local name, bytes = ("k"):rep(16), "\0\0\0\0\0\0\0\0\xc0"
    if given then name, bytes = key, value end
    if not tools.put(store, kind, name, bytes) then return end
  end
  ask(store.codes, store)
  ask(list_commands)
  ask(list_commands, { since = 1, prefix = "a" })
  ask(store.kept, store)
  ask(host.stats, store)
  if #key == 16 then
    ask(store.code, store, (key:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)))
  end
  if wanted == CODE then imports_again(ask(code_lines, store), code_lines) end
  if wanted == COMMANDS then imports_again(ask(command_lines, store), command_lines) end
end
