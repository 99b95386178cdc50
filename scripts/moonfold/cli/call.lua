-- One call of a command: what main.lua hands to the command's function.
--
--     call.command                its entry in commands.lua
--     call.arguments              by lower-case name: call.arguments.store
--     call.options                by name: call.options.max, call.options["dry-run"]
--     call.host                   the C functions of the binary
--     call.out                    see output.lua
--     call:open([options])        the store that the argument STORE names
--     call:write(options, f)      runs f(store) on the store, which is created when it is missing
--     call:note(text)             says something on standard error
--     call:usage(text)            ends with "called wrongly"
--     call:fail(code, text)       ends with a failure
--     call.is_store(path)         whether a file is a store, by its content
--     call:json(text, what)       parses JSON that the user gave

local moonfold = require "moonfold"
local arguments = require "moonfold.cli.arguments"
local output = require "moonfold.cli.output"

local Call = {}
Call.__index = Call

local call = {}

function call.new(host, command, argv, i)
  local given, options = arguments.parse(host, command, argv, i)
  return setmetatable({
    host = host, command = command, arguments = given, options = options, out = output.new(host, options),
  }, Call)
end

--- Whether the file is a store: LMDB's mark stands where its first page has it. Opening it tells the rest.
function call.is_store(path)
  local file <close> = io.open(path, "rb")
  local head = file and file:read(20)
  return head ~= nil and (head:sub(17) == "\xde\xc0\xef\xbe" or head:sub(17) == "\xbe\xef\xc0\xde")
end

Call.is_store = call.is_store

function Call:note(...)
  self.out:flush()
  io.stderr:write("moonfold: ", table.concat({ ... }), "\n")
end

function Call:usage(message)
  arguments.usage(message, self.command)
end

function Call:fail(code, message, fields) -- luacheck: no self
  local failure = fields or {}
  failure.code, failure.message = code, message
  error(failure, 0)
end

--- Runs f(store), which writes to the store that the argument names, and returns what it returns. A store that is
--- missing is created, and that is said: but not before f has succeeded on a store in memory, so that what is refused
--- creates nothing.
function Call:write(options, f)
  if not self.host.kind(self.arguments.store) then
    local trial <close> = moonfold.open(":memory:", { clock = options.clock })
    f(trial)
  end
  options.create = true
  local store <close> = self:open(options)
  return f(store)
end

--- Opens the store. It must exist, but for `create = true`, when a missing one is made, and that is said. Every other
--- option is one of moonfold.open; reading alone opens it read_only.
function Call:open(options)
  options = options or {}
  local path = self.arguments.store
  if path == ":memory:" then self:usage("a store in memory would be gone at once: name a file") end
  local kind = self.host.kind(path)
  if kind == "folder" then self:fail("invalid_argument", ("%s is a folder, and a store is a file"):format(path)) end
  local create = options.create and not kind
  if not kind and not create then self:fail("not_found", ("there is no store %s"):format(path)) end
  options.create = create or false
  local store = moonfold.open(path, options)
  if create then self:note("created the store ", path) end
  return store
end

--- All of standard input.
function Call:read_all()
  local parts = {}
  repeat
    local bytes, ended = self.host.read(io.stdin, 1 << 16)
    if not bytes then self:fail("io", "reading standard input: " .. ended) end
    parts[#parts + 1] = bytes
  until ended
  return table.concat(parts)
end

--- Parses JSON that the user gave as an argument; "-" reads it from standard input. nil when nothing was given.
function Call:json(given, what)
  if not given then return nil end
  local origin = what
  if given == "-" then
    given, origin = self:read_all(), what .. " on standard input"
    if given == "" then self:fail("invalid_argument", origin .. ": there is nothing") end
  end
  local fine, value = pcall(self.host.parse_json, (given:gsub("^\xef\xbb\xbf", ""))) -- a byte order mark
  if fine then return value end
  local message = type(value) == "table" and (value.message:gsub("^text: ", "")) or tostring(value)
  self:fail("invalid_argument", ("%s: %s"):format(origin, message))
end

return call
