-- import STORE [FILE]: what export wrote, or any JSON Lines of events.
--
-- Batches of whole lines go to the store in one transaction each. What the store has already is compared, so that an
-- import which was interrupted goes on when it is repeated.

local moonfold = require "moonfold"
local progress = require "moonfold.cli.progress"
local text = require "moonfold.cli.text"

-- How many bytes are read at once: the lines in them make a batch, unless one is longer than that.
local CHUNK = 1 << 22

local function input_of(call)
  local file = call.arguments.file
  if not file or file == "-" then return io.stdin, "standard input" end
  if not call.host.kind(file) then call:fail("not_found", ("there is no file %s"):format(file)) end
  if call.is_store(file) then
    call:fail("invalid_argument", ("%s is a store: what moonfold export %s writes can be imported"):format(file, file))
  end
  local input, problem = io.open(file, "rb")
  if not input then call:fail("io", problem) end
  return input, file
end

-- The first line of an export, or nil when it is an event already.
local function header_of(call, line, name)
  local fine, header = pcall(call.host.parse_json, line)
  if not fine or type(header) ~= "table" or header.moonfold_export == nil then return nil end
  if header.moonfold_export ~= 1 then
    call:fail("incompatible_format", ("%s, line 1: this export has format %s, this program knows format 1: use a"
      .. " newer Moonfold"):format(name, tostring(header.moonfold_export)))
  end
  local seed_fine = type(header.seed) == "string" and #header.seed == 16 and not header.seed:find("[^%x]")
  if not seed_fine or math.type(header.from) ~= "integer" or math.type(header.to) ~= "integer" then
    call:fail("invalid_argument", name .. ", line 1, column 1: this is no first line of an export")
  end
  return header
end

-- What the library says about a line, with the name of the input.
local function fail_at(failure, name)
  if type(failure) == "table" and type(failure.message) == "string" then
    failure.message = failure.message:gsub("^text: ", name .. ", ")
  end
  error(failure, 0)
end

-- A store that is missing is not created when its first events would be refused: they are tried in memory.
local function try_first(call, lines, name, line, as_new)
  if call.host.kind(call.arguments.store) then return end
  local trial <close> = moonfold.open(":memory:")
  local fine, failure = pcall(call.host["import"], trial, lines, line, as_new)
  if not fine then fail_at(failure, name) end
end

-- Opens the store, or creates it with the seed of the one that was exported.
local function open(call, header, as_new)
  local path = call.arguments.store
  if call.host.kind(path) or not header or as_new then return call:open { create = true } end
  call.host.create(path, header.seed)
  call:note("created the store ", path)
  return moonfold.open(path, { create = false })
end

local function check_seed(call, store, header)
  if not header or call.host.seed(store) == header.seed then return end
  call:fail("invalid_argument", ("%s is not the store that was exported: import into a new file, or record the events"
    .. " as new ones with --as-new"):format(call.arguments.store))
end

-- Reads on until there is a whole line; returns the bytes and whether they are the last. A last line need not end.
local function read_more(call, input, rest, name)
  local parts = { rest }
  while true do
    local chunk, ended = call.host.read(input, CHUNK)
    if not chunk then call:fail("io", ("reading %s: %s"):format(name, ended)) end
    parts[#parts + 1] = chunk
    if ended or chunk:find("\n", 1, true) then
      local bytes = table.concat(parts)
      if ended and bytes ~= "" and bytes:sub(-1) ~= "\n" then bytes = bytes .. "\n" end
      return bytes, ended
    end
  end
end

-- Takes all there is. `done` tells how far it has come, also when it fails: `line`, the next one; the numbers of events
-- that were `recorded`, and of those that were there already, `repeated`.
local function take(call, store, input, name, rest, ended, done, shown, as_new)
  while true do
    local bytes, lines, new, known = call.host["import"](store, rest, done.line, as_new)
    rest, done.line = rest:sub(bytes + 1), done.line + lines
    done.recorded, done.repeated = done.recorded + new, done.repeated + known
    shown:at(done.recorded + done.repeated)
    if ended then break end
    rest, ended = read_more(call, input, rest, name)
  end
  if rest ~= "" then
    call:fail("invalid_argument", ("text: line %d: the input ends within the events of one append; nothing of these was"
      .. " recorded"):format(done.line))
  end
end

-- What an import that did not come to its end has left, and how to go on with it.
local function tell_what_is_there(call, done, repeatable)
  if done.recorded == 0 then return end
  call:note(("lines 1 to %d are imported, which recorded %s: "):format(done.line - 1,
    text.plural(done.recorded, "event")), repeatable and "repeat the import to go on"
    or ("the rest begins at line %d"):format(done.line))
end

return function(call)
  local input, name = input_of(call)
  local rest, ended = read_more(call, input, "", name)
  if rest:find("^%s*$") and ended then call:fail("invalid_argument", name .. " is empty: nothing was imported") end
  rest = rest:gsub("^\xef\xbb\xbf", "", 1) -- a byte order mark
  local header = header_of(call, rest:match("^[^\n]*"), name)
  if header then rest = rest:gsub("^[^\n]*\n", "", 1) end
  local as_new = call.options["as-new"] or not header
  local done = { line = header and 2 or 1, recorded = 0, repeated = 0 }
  try_first(call, rest, name, done.line, as_new)
  local store <close> = open(call, header, as_new)
  if not as_new then check_seed(call, store, header) end
  local shown = progress.new(call, "importing", header and header.to - header.from + 1)
  local fine, failure = pcall(take, call, store, input, name, rest, ended, done, shown, as_new)
  if not fine then
    shown:clear()
    tell_what_is_there(call, done, header ~= nil)
    fail_at(failure, name)
  end
  local recorded, repeated = done.recorded, done.repeated
  shown:finish("imported", recorded, repeated > 0 and (", %s were there already"):format(text.number(repeated)) or nil)
  if header and recorded + repeated < header.to - header.from + 1 then
    call:fail("invalid_argument", ("%s ends early: it has %s of %s"):format(name, text.number(recorded + repeated),
      text.plural(header.to - header.from + 1, "event")))
  end
end
