--- Help for the specs: folders that vanish, fresh stores, readable failures, other processes.
--
--     local support = require "support"
--     local store <close> = support.open()                    -- a new file in a new folder
--     support.fails("closed", nil, function() ... end)         -- this error object and no other
--     local peer <close> = support.peer()                     -- another process to talk to
--
-- What a spec makes through this module is removed after the spec (see helper.lua).

local moonfold = require "moonfold"

local support = {}

local folders, peers = {}, {}

-- ## Text

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- A value as Lua source: plain tables, and text in place of what cannot be written down.
local function literal(value)
  if type(value) ~= "table" then
    local plain = type(value) == "function" or type(value) == "userdata" or type(value) == "thread"
    return string.format("%q", plain and tostring(value) or value)
  end
  local parts = {}
  for key, part in pairs(value) do
    parts[#parts + 1] = "[" .. literal(key) .. "]=" .. literal(part)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function unliteral(text)
  return assert(load("return " .. text, "=message", "t", {}))()
end

support.quote, support.literal = quote, literal

-- ## Folders and files

local function shell(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

--- A new empty folder, removed after the spec.
function support.folder()
  local folder = shell("mktemp -d")
  assert(folder:find("^/.+/tmp%.%w+$"), "mktemp gave no folder: " .. folder)
  folders[#folders + 1] = folder
  return folder
end

--- A path to nothing yet, in a new folder.
function support.path(name)
  return support.folder() .. "/" .. (name or "store.fold")
end

--- The names in a folder, sorted, joined by blanks; "" when there are none.
function support.files(folder)
  return (shell("LC_ALL=C ls -A " .. quote(folder)):gsub("\n", " "))
end

function support.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

--- Writes a file and returns its path.
function support.write(path, bytes)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  return path
end

-- ## Stores and events

--- A fresh store in a file of its own, and the file's path.
function support.open(options)
  local path = support.path()
  return moonfold.open(path, options), path
end

--- Runs a block of specs for a store in memory and for a store in a file: open([options]) -> store.
function support.everywhere(block)
  local busted = require "busted"
  busted.describe("in memory", function()
    block(function(options) return moonfold.open(":memory:", options) end)
  end)
  busted.describe("in a file", function()
    block(function(options) return (support.open(options)) end)
  end)
end

--- The decider that this source text returns, loaded into a sandbox.
function support.load(source, options, name)
  return moonfold.load_decider(support.write(support.path(name or "decider.lua"), source), options)
end

--- Describes the same behaviour with a decider as a table and loaded into a sandbox: block(decider, kind).
function support.both(source, block)
  local busted = require "busted"
  busted.describe("with a table as the decider", function() block(assert(load(source, "=decider.lua"))(), "table") end)
  busted.describe("with a loaded decider", function() block(support.load(source), "loaded") end)
end

--- n events of type "Ticked" whose data are first, first + 1, ...
function support.ticks(n, first)
  local events = {}
  for i = 1, n do
    events[i] = { type = "Ticked", data = (first or 1) + i - 1 }
  end
  return events
end

--- One field of every element of a list, or of every event that an iterator gives.
function support.pluck(field, events, ...)
  local values = {}
  if type(events) == "table" then
    for i, event in ipairs(events) do values[i] = event[field] end
  else
    for event in events, ... do values[#values + 1] = event[field] end
  end
  return values
end

--- The streams of a store with their versions.
function support.versions(store)
  local versions = {}
  for name, version in store:streams() do versions[name] = version end
  return versions
end

--- The number of events in the log.
function support.count(store)
  return #support.pluck("global_position", store:all_events())
end

-- ## Failures

--- Fails the running spec, at the line that called into this module.
local function fail(message)
  local level = 2
  while debug.getinfo(level, "S").source:find("support.lua", 1, true) do level = level + 1 end
  require("busted").fail(message, level)
end

local function same(expected, actual)
  return require("pl.tablex").deepcompare(expected, actual)
end

local function described(failure)
  if type(failure) ~= "table" then return ("%s %s"):format(type(failure), tostring(failure)) end
  local lines = { tostring(failure) }
  for key, value in pairs(failure) do
    if key ~= "message" and key ~= "code" then
      lines[#lines + 1] = ("    %s = %s"):format(key, literal(value))
    end
  end
  table.sort(lines, function(a, b) return a == lines[1] or (b ~= lines[1] and a < b) end)
  return table.concat(lines, "\n")
end

local function differs(failure, field, expected)
  local actual = failure[field]
  if field == "message" then return not tostring(actual):find(expected, 1, true) end
  return not same(expected, actual)
end

--- Calls f(...), which must raise moonfold's error object with this code and these fields; returns
--- the error object. `message` is a part of the message, the other fields are compared as a whole.
function support.fails(code, fields, f, ...)
  local returned, failure = pcall(f, ...)
  if returned then fail(("expected %s to be raised, but the call returned"):format(code)) end
  if type(failure) ~= "table" or failure.code ~= code then
    fail(("expected %s to be raised, but got:\n%s"):format(code, described(failure)))
  end
  for field, expected in pairs(fields or {}) do
    if differs(failure, field, expected) then
      fail(("expected %s with %s = %s, but got:\n%s"):format(code, field, literal(expected), described(failure)))
    end
  end
  if type(failure.message) ~= "string" or not tostring(failure):find(failure.message, 1, true) then
    fail("expected an error object with a message that its text shows, but got:\n" .. described(failure))
  end
  return failure
end

--- Like fails, and afterwards the store is as it was: same streams, no transaction, ready for work.
function support.refuses(store, code, fields, f, ...)
  local before, count = support.versions(store), support.count(store)
  local failure = support.fails(code, fields, f, ...)
  if not same(before, support.versions(store)) or support.count(store) ~= count then
    fail(("expected nothing to be written, but there are now %s"):format(literal(support.versions(store))))
  end
  if not tostring(store):find("(open)", 1, true) then
    fail("expected the store to be open and idle, but it is " .. tostring(store))
  end
  local rolled_back = {}
  local _, raised = pcall(store.transaction, store, function()
    store:append_to_stream("probe", { type = "Probed" })
    error(rolled_back)
  end)
  if raised ~= rolled_back then
    fail("expected the store to work on, but appending fails:\n" .. described(raised))
  end
  return failure
end

-- ## Other processes

local here = shell("pwd")

--- A search path that means the same in every folder.
local function absolute(paths)
  return (paths:gsub("[^;]+", function(path)
    return path:find("^/") and path or here .. "/" .. path
  end))
end

local function module() return assert(package.searchpath("moonfold", package.cpath)) end

--- The command that runs a script file in a stock Lua, with this module.
local function lua(script, cpath, runner)
  return ("LUA_CPATH=%s LUA_PATH=%s exec %stimeout -s KILL 60 lua5.4 %s"):format(
    quote(cpath or absolute(package.cpath)), quote(absolute("spec/?.lua;" .. package.path)), runner or "",
    quote(script))
end

--- The moonfold program that belongs to the module under test.
function support.program()
  return (absolute(module()):gsub("%.so$", ""))
end

--- Runs a shell command to its end: { stdout=, stderr=, status= }, status 128 + n after signal n.
function support.shell(command)
  local folder = support.folder()
  local out, err = folder .. "/stdout", folder .. "/stderr"
  local _, how, status = os.execute(("( %s\n) </dev/null >%s 2>%s"):format(command, quote(out), quote(err)))
  if how == "signal" then status = status + 128 end
  return { stdout = support.read(out), stderr = support.read(err), status = status }
end

local function script(code, ...)
  local arguments = literal({ ... })
  return support.write(support.path("script.lua"), "local arg = " .. arguments .. " " .. code)
end

--- The shell command that runs a piece of Lua in a stock lua5.4, where `arg` holds the values that follow.
function support.command(code, ...)
  return lua(script(code, ...))
end

--- Runs a piece of Lua in a stock lua5.4, where `arg` holds the values that follow.
function support.lua(code, ...)
  return support.shell(support.command(code, ...))
end

--- The same in another folder.
function support.lua_in(folder, code, ...)
  return support.shell(("cd %s && %s"):format(quote(folder), support.command(code, ...)))
end

--- The same for a user who may do nothing that is not allowed to all: root becomes nobody, who may not look into root's
--- home and gets a copy of the module; others stay who they are.
function support.lua_as_nobody(code, ...)
  local file = script(code, ...)
  local folder = file:match("^(.*)/")
  assert(os.execute(("cp %s %s && chmod -R a+rX %s"):format(quote(module()), quote(folder), quote(folder))))
  local root = shell("id -u") == "0"
  local nobody = root and "setpriv --reuid=65534 --regid=65534 --clear-groups " or ""
  return support.shell(lua(file, folder .. "/?.so", nobody))
end

--- The same in a process whose files may grow to so many bytes and no further: a full disk.
function support.lua_on_a_full_disk(bytes, code, ...)
  return support.shell(("trap '' XFSZ; ulimit -f %d; %s"):format(bytes // 512, support.command(code, ...)))
end

--- The same in a process that has so much address space and no more.
function support.lua_in_address_space(kilobytes, code, ...)
  return support.shell(("ulimit -v %d; %s"):format(kilobytes, support.command(code, ...)))
end

--- Runs a piece of Lua in the moonfold program.
function support.moonfold(code, ...)
  local command = "unset LUA_CPATH; exec timeout -s KILL 60 %s run %s"
  return support.shell(command:format(quote(support.program()), quote(script(code, ...))))
end

--- Whether a C compiler is at hand; specs that need one are pending without it.
function support.compiler()
  return (os.execute("command -v cc >/dev/null 2>&1"))
end

--- Compiles C and returns the path of what came out of it; flags may use shell substitution.
function support.compile(source, flags)
  local folder = support.folder()
  local file, out = support.write(folder .. "/source.c", source), folder .. "/compiled.so"
  local built = support.shell(("cc -O1 -o %s %s %s"):format(quote(out), quote(file), flags))
  assert(built.status == 0, built.stderr)
  return out
end

-- A peer reads requests on its standard input and answers on its standard output, both as
-- "SIZE\nLUA SOURCE". A request is { code, arguments... }, an answer { true, results... } or
-- { false, error }.

local function send(file, message)
  local text = literal(message)
  assert(file:write(#text, "\n", text))
  file:flush()
end

local function receive(file)
  local size = file:read("n", "L")
  return size and unliteral(file:read(size))
end

local function process_id()
  local file <close> = assert(io.open("/proc/self/stat"))
  return file:read("n")
end

--- The peer's side: answers requests until there are no more. Globals stay from one to the next.
function support.serve()
  local globals = setmetatable({ moonfold = moonfold, support = support }, { __index = _G })
  globals.answer = function(...) send(io.stdout, { true, ... }) end
  send(io.stdout, { true, process_id() })
  for request in receive, io.stdin do
    local chunk = assert(load(request[1], "=peer", "t", globals))
    send(io.stdout, { pcall(chunk, table.unpack(request, 2)) })
  end
end

local Peer = {}
Peer.__index = Peer

--- Another process, alive until it is closed or killed.
function support.peer()
  local folder = support.folder()
  local replies, errors = folder .. "/replies", folder .. "/errors"
  assert(os.execute("mkfifo " .. quote(replies)))
  local serve = support.write(folder .. "/serve.lua", 'require("support").serve()')
  local requests = assert(io.popen(("%s >%s 2>%s"):format(lua(serve), quote(replies), quote(errors)), "w"))
  local peer = setmetatable({ requests = requests, replies = assert(io.open(replies)), errors = errors }, Peer)
  peers[#peers + 1] = peer
  peer.id = peer:receive()
  return peer
end

--- Lets the peer run a piece of Lua, without waiting for its answer.
function Peer:send(code, ...)
  send(self.requests, { code, ... })
end

--- Waits for the next answer and returns its values, or raises its error.
function Peer:receive()
  local reply = receive(self.replies)
  if not reply then error("the peer died: " .. support.read(self.errors), 2) end
  if reply[1] then return table.unpack(reply, 2) end
  local failure = reply[2]
  if type(failure) == "table" then
    setmetatable(failure, { __tostring = function() return ("%s: %s"):format(failure.code, failure.message) end })
  end
  error(failure, 0)
end

--- Lets the peer run a piece of Lua and returns its values.
function Peer:run(code, ...)
  self:send(code, ...)
  return self:receive()
end

--- Kills the peer with SIGKILL, if it is alive, and waits for its end.
function Peer:kill()
  if not self.requests then return end
  assert(os.execute("kill -9 " .. self.id))
  self:close()
end

--- Ends the peer and waits for it; a peer that was closed may be closed again.
function Peer:close()
  if not self.requests then return end
  self.requests:close()
  self.replies:close()
  self.requests = nil
end

Peer.__close = Peer.close

--- Ends the peers and removes the folders of the spec that just ran.
function support.clean()
  for _, peer in ipairs(peers) do peer:kill() end
  for _, folder in ipairs(folders) do os.execute("rm -rf -- " .. quote(folder)) end
  folders, peers = {}, {}
end

return support
