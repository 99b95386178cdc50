--- Moonfold for LuaJIT (LÖVE, OpenResty, Neovim): `local moonfold = require "moonfold.ffi"`.
--
-- The same names as in the Lua module, for stores and domains, on top of the C library through LuaJIT's FFI. Domain
-- scripts run in the library's own Lua 5.4, in their sandbox; the host is LuaJIT and never sees it.
--
-- What is different:
--   * Numbers. A whole number is stored as an integer. An integer that comes back and is too large for a double
--     (beyond 2^53) is an int64_t, `9007199254740993LL`, so that nothing is lost; int64_t is also taken when writing.
--     moonfold.float(2) stores the float 2.0.
--   * Events are plain tables with all their fields.
--   * There is no `<close>` in LuaJIT: call store:close(), or leave it to the garbage collector.
--
-- The library is found as libmoonfold.so by the system, or where MOONFOLD_LIB says.

local ffi = require "ffi"

ffi.cdef(require "moonfold.ffi_declarations")

--- The library brings Lua 5.4, whose functions have the names of LuaJIT's: RTLD_DEEPBIND makes each call its own.
local function load_library()
  local name = os.getenv "MOONFOLD_LIB" or "libmoonfold.so.0"
  local now, deepbind = 2, 8
  ffi.cdef "void *dlopen(const char *, int); char *dlerror(void);"
  if ffi.C.dlopen(name, now + deepbind) == nil then
    error(("moonfold.ffi: %s (is Moonfold installed? MOONFOLD_LIB names its library)"):format(
      ffi.string(ffi.C.dlerror())), 0)
  end
  return ffi.load(name)
end

local C = load_library()

local moonfold = {
  STREAM_EXISTS = "STREAM_EXISTS",
  STREAM_DOES_NOT_EXIST = "STREAM_DOES_NOT_EXIST",
  NO_CONCURRENCY_CHECK = "NO_CONCURRENCY_CHECK",
}

local int64, uint64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"
local bytes_type, error_type, event_type = ffi.typeof "mf_bytes", ffi.typeof "mf_error", ffi.typeof "mf_event"

local EXACT = 2 ^ 53 -- whole numbers below it are exact in a double
local NO_CHECK, EXISTS = -1, -2
local LAST, NOW = 0x7fffffffffffffffLL, -0x7fffffffffffffffLL - 1
local OK, REJECTED = 0, 2

-- Errors ------------------------------------------------------------------------------------------------------

local Error = {}
Error.__index = Error

function Error:__tostring()
  return self.code .. ": " .. self.message
end

local function raise(code, message, fields)
  fields = fields or {}
  fields.code, fields.message = code, message
  error(setmetatable(fields, Error), 0)
end

--- Misuse blames the caller of the function that the user called.
local function misuse(path, message, ...)
  local at = path .. ": " .. message:format(...)
  for level = 3, 20 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.short_src and not info.short_src:find("ffi.lua", 1, true) and info.currentline > 0 then
      at = ("%s:%d: %s"):format(info.short_src, info.currentline, at)
      break
    end
  end
  raise("invalid_argument", at, { path = path })
end

local function text_of(bytes)
  return bytes.data ~= nil and ffi.string(bytes.data, bytes.size) or nil
end

local function text_at(pointer)
  return pointer ~= nil and ffi.string(pointer) or nil
end

local function raise_status(err, fields)
  fields = fields or {}
  local code = ffi.string(C.mf_code(err.code))
  if code == "version_conflict" then fields.current = tonumber(err.current_version) end
  raise(code, ffi.string(err.message), fields)
end

-- Values: LuaJIT's own reading of the encoding (it compiles), the library's builder for writing -----------------

local null = setmetatable({}, { __tostring = function() return "null" end, __newindex = function() end })
local array_mark, float_mark = {}, {}

moonfold.null = null

--- Marks a table as a list, so that it stays one when it is empty.
function moonfold.array(list)
  return setmetatable(list or {}, array_mark)
end

--- A number that is stored as a float even when it is whole.
function moonfold.float(number)
  return setmetatable({ number }, float_mark)
end

local function bytes_of(text)
  return bytes_type(ffi.cast("const char *", text), #text)
end

local put

local function put_string(builder, text)
  if text:find("\0", 1, true) then
    C.mf_build_string(builder, bytes_of(text))
  else
    C.mf_build_text(builder, text)
  end
end

local function put_number(builder, number, path)
  if number == math.floor(number) and number > -EXACT and number < EXACT then
    C.mf_build_integer(builder, number)
  elseif number ~= number or number == math.huge or number == -math.huge then
    misuse(path, "%s cannot be stored", number ~= number and "NaN" or "an infinite number")
  else
    C.mf_build_number(builder, number)
  end
end

--- Whether the keys are 1 to n, and how many there are.
local function shape_of(list, path)
  local count, length = 0, #list
  local is_list = true
  for key in pairs(list) do
    count = count + 1
    if type(key) == "number" then
      if key ~= math.floor(key) then misuse(path, "a key is a float: keys are strings and integers") end
      if key < 1 or key > length then is_list = false end
    elseif type(key) == "string" then
      is_list = false
    else
      misuse(path, "a key is a %s: keys are strings and integers", type(key))
    end
  end
  return is_list and count == length, count
end

local function put_table(builder, value, path, depth)
  if value == null then return C.mf_build_null(builder) end
  local mark = getmetatable(value)
  if mark == float_mark then return C.mf_build_number(builder, value[1]) end
  if depth > 128 then misuse(path, "it is nested more than 128 tables deep, or contains itself") end
  local is_list, count = shape_of(value, path)
  if count > 0 and is_list or count == 0 and mark == array_mark then
    C.mf_build_list(builder)
    for i = 1, count do put(builder, value[i], path .. "[" .. i .. "]", depth + 1) end
  else
    C.mf_build_map(builder)
    for key, part in pairs(value) do
      if type(key) == "string" then
        if key:find("\0", 1, true) then misuse(path, "a key holds a NUL byte") end
        C.mf_build_key(builder, key)
        put(builder, part, path .. "." .. key, depth + 1)
      else
        C.mf_build_slot(builder, key)
        put(builder, part, path .. "[" .. key .. "]", depth + 1)
      end
    end
  end
  C.mf_build_end(builder)
end

function put(builder, value, path, depth)
  local kind = type(value)
  if kind == "number" then return put_number(builder, value, path) end
  if kind == "string" then return put_string(builder, value) end
  if kind == "boolean" then return C.mf_build_boolean(builder, value) end
  if kind == "table" then return put_table(builder, value, path, depth) end
  if kind == "cdata" and ffi.istype(int64, value) then return C.mf_build_integer(builder, value) end
  if kind == "cdata" and ffi.istype(uint64, value) and value <= 0x7fffffffffffffffULL then
    return C.mf_build_integer(builder, ffi.cast(int64, value))
  end
  misuse(path, "a %s cannot be stored", kind)
end

local builder = ffi.gc(C.mf_builder_new(), C.mf_builder_free)

--- The encoding of a value, as a string.
local function encode(value, path)
  C.mf_build_reset(builder)
  put(builder, value, path, 1)
  local problem = C.mf_builder_problem(builder)
  if problem ~= nil then misuse(path, "%s", ffi.string(problem)) end
  return text_of(C.mf_value_bytes(C.mf_builder_value(builder)))
end

local number_box = ffi.new "union { uint64_t bits; double number; }"

local function unsigned(p, at, size)
  local n = 0
  for i = at, at + size - 1 do n = n * 256 + p[i] end
  return n
end

local function wide(p, at)
  local n = 0ULL
  for i = at, at + 7 do n = n * 256 + p[i] end
  return n
end

local function signed(p, at, size)
  if size == 8 then
    local n = ffi.cast(int64, wide(p, at))
    local number = tonumber(n)
    return (number > -EXACT and number < EXACT) and number or n
  end
  local n = unsigned(p, at, size)
  local limit = 2 ^ (8 * size)
  return n >= limit / 2 and n - limit or n
end

local get

local function get_list(p, at, count)
  local list = {}
  for i = 1, count do list[i], at = get(p, at) end
  return count == 0 and moonfold.array(list) or list, at
end

local function get_map(p, at, count)
  local map = {}
  for _ = 1, count do
    local key, value
    key, at = get(p, at)
    value, at = get(p, at)
    map[key] = value
  end
  return map, at
end

local function get_string(p, at, size)
  return ffi.string(p + at, size), at + size
end

local function get_scalar(p, at, tag)
  if tag == 0xc0 then return null, at end
  if tag == 0xc2 or tag == 0xc3 then return tag == 0xc3, at end
  if tag == 0xcb then
    number_box.bits = wide(p, at)
    return number_box.number, at + 8
  end
  if tag == 0xcf then
    local n = wide(p, at)
    return n < 0x20000000000000ULL and tonumber(n) or ffi.cast(int64, n), at + 8
  end
  if tag >= 0xcc and tag <= 0xce then
    local size = 2 ^ (tag - 0xcc)
    return unsigned(p, at, size), at + size
  end
  local size = 2 ^ (tag - 0xd0)
  return signed(p, at, size), at + size
end

--- The value at `at`, and where the next one is. The library checks events before it hands them out.
function get(p, at)
  local tag = p[at]
  at = at + 1
  if tag < 0x80 then return tag, at end
  if tag >= 0xe0 then return tag - 256, at end
  if tag <= 0x8f then return get_map(p, at, tag - 0x80) end
  if tag <= 0x9f then return get_list(p, at, tag - 0x90) end
  if tag <= 0xbf then return get_string(p, at, tag - 0xa0) end
  if tag >= 0xd9 and tag <= 0xdb then
    local size = 2 ^ (tag - 0xd9)
    return get_string(p, at + size, unsigned(p, at, size))
  end
  if tag >= 0xc4 and tag <= 0xc6 then
    local size = 2 ^ (tag - 0xc4)
    return get_string(p, at + size, unsigned(p, at, size))
  end
  if tag >= 0xdc then
    local size = (tag == 0xdc or tag == 0xde) and 2 or 4
    local count = unsigned(p, at, size)
    if tag >= 0xde then return get_map(p, at + size, count) end
    return get_list(p, at + size, count)
  end
  return get_scalar(p, at, tag)
end

--- nil for what is absent.
local function decode(bytes)
  if bytes.data == nil or bytes.size == 0 then return nil end
  local value = C.mf_value_of(bytes)
  if value.at == nil then
    raise("corrupt", "a payload is not MessagePack: a C host has recorded bytes that only it can read")
  end
  return (get(value.at, 0))
end

-- Arguments ---------------------------------------------------------------------------------------------------

local function check_options(options, known, path)
  if options == nil then return {} end
  if type(options) ~= "table" then misuse(path, "a table is needed, this is a %s", type(options)) end
  for key in pairs(options) do
    if not known[key] then
      local names = {}
      for name in pairs(known) do names[#names + 1] = name end
      table.sort(names)
      misuse(path, "unknown option %q: there are %s", tostring(key), table.concat(names, ", "))
    end
  end
  return options
end

local function names(...)
  local set = {}
  for i = 1, select("#", ...) do set[select(i, ...)] = true end
  return set
end

local function check_stream(stream)
  if type(stream) ~= "string" then misuse("stream", "a string is needed, this is a %s", type(stream)) end
  return bytes_of(stream)
end

--- What C takes as text that ends with a NUL: one in the middle would cut it off.
local function check_text(value, path)
  if type(value) ~= "string" then misuse(path, "a string is needed, this is a %s", type(value)) end
  if value:find("\0", 1, true) then misuse(path, "it holds a NUL byte") end
  return value
end

local function check_count(value, path, otherwise)
  if value == nil then return otherwise end
  if ffi.istype(int64, value) then return value end
  if type(value) ~= "number" or value ~= math.floor(value) then misuse(path, "an integer is needed") end
  if value < 0 then misuse(path, "%d is negative", value) end
  return value
end

local expectations = { STREAM_EXISTS = EXISTS, STREAM_DOES_NOT_EXIST = 0, NO_CONCURRENCY_CHECK = NO_CHECK }

local function check_expected(value)
  if value == nil then return NO_CHECK end
  if type(value) == "string" then
    return expectations[value] or misuse("options.expected_stream_version",
      "unknown expectation %q: there are STREAM_EXISTS, STREAM_DOES_NOT_EXIST, NO_CONCURRENCY_CHECK", value)
  end
  return check_count(value, "options.expected_stream_version")
end

-- Events ------------------------------------------------------------------------------------------------------

local event_keys = names("type", "data", "metadata", "message_id",
  "stream_name", "stream_position", "global_position", "recorded_at") -- the last four are the store's: ignored

function moonfold.event(type, data, metadata)
  return { type = type, data = data, metadata = metadata }
end

moonfold.command = moonfold.event

local function optional_text(value, path)
  if value ~= nil and type(value) ~= "string" then misuse(path, "a string is needed, this is a %s", type(value)) end
  return value
end

--- Fills the C event; `keep` holds what it points to.
local function fill_event(out, event, path, keep)
  if type(event) ~= "table" then misuse(path, "an event is a table, this is a %s", type(event)) end
  for key in pairs(event) do
    if not event_keys[key] then misuse(path, "unknown key %q", tostring(key)) end
  end
  if type(event.type) ~= "string" then misuse(path .. ".type", "a string is needed, this is a %s", type(event.type)) end
  local function set(field, text)
    if not text then return end
    keep[#keep + 1] = text
    out[field] = bytes_of(text)
  end
  set("type", event.type)
  set("data", event.data ~= nil and encode(event.data, path .. ".data"))
  set("metadata", event.metadata ~= nil and encode(event.metadata, path .. ".metadata"))
  set("message_id", optional_text(event.message_id, path .. ".message_id"))
end

local function check_events(events)
  if type(events) ~= "table" then misuse("events", "an event or a list of events is needed") end
  local list = events.type ~= nil and { events } or events
  if list == events and not shape_of(events, "events") then
    misuse("events", "an event has a type; a list of events has the keys 1 to n and no others")
  end
  local keep, count = {}, #list
  local out = ffi.new("mf_new_event[?]", math.max(count, 1))
  for i = 1, count do
    fill_event(out[i - 1], list[i], list == events and "events[" .. i .. "]" or "event", keep)
  end
  return out, count, keep
end

local id_text = ffi.new "char[201]"

local function event_of(event, seed)
  return {
    type = text_of(event.type), data = decode(event.data), metadata = decode(event.metadata),
    message_id = ffi.string(id_text, C.mf_message_id(seed, event, id_text)),
    stream_name = text_of(event.stream), stream_position = tonumber(event.version),
    global_position = tonumber(event.position), recorded_at = tonumber(event.recorded_at),
  }
end

-- Stores ------------------------------------------------------------------------------------------------------

local Store = {}
Store.__index = Store

local durabilities = { full = C.MF_FULL, relaxed = C.MF_RELAXED, none = C.MF_NONE }
local open_options = names("create", "read_only", "durability")

function moonfold.open(path, options)
  check_text(path, "path")
  options = check_options(options, open_options, "options")
  local c = ffi.new "mf_open_options"
  c.size = ffi.sizeof(c)
  c.no_create = options.create == false
  c.read_only = options.read_only == true
  if options.durability then
    c.durability = durabilities[options.durability] or misuse("options.durability",
      "unknown durability %q: there are full, relaxed, none", tostring(options.durability))
  end
  local out, err = ffi.new "mf_store *[1]", error_type()
  if C.mf_open(path, c, out, err) ~= OK then raise_status(err) end
  local handle = ffi.gc(out[0], C.mf_close)
  return setmetatable({ pointer = handle, path = path, seed = C.mf_store_seed(handle) }, Store)
end

function Store:__tostring()
  return ("moonfold.store (%s): %s"):format(self.pointer and "open" or "closed", self.path)
end

local function live(store)
  if getmetatable(store) ~= Store then misuse("store", "a store is needed: is it store:method(...), with a colon?") end
  if not store.pointer then raise("closed", ("the store %q is closed"):format(store.path)) end
  return store.pointer
end

local function refuse_in_transaction(store, method)
  if store.txn then misuse("store", "%s cannot be called inside a transaction: call it after", method) end
end

function Store:close()
  if not self.pointer then return end
  refuse_in_transaction(self, "close")
  if self.runtime then C.mf_runtime_free(ffi.gc(self.runtime, nil)) end
  C.mf_close(ffi.gc(self.pointer, nil))
  self.pointer, self.runtime = nil, nil
end

local append_options = names("expected_stream_version")

function Store:append_to_stream(stream, events, options)
  local handle, name = live(self), check_stream(stream)
  options = check_options(options, append_options, "options")
  local list, count, keep = check_events(events)
  local c, result, err = ffi.new "mf_append_options", ffi.new "mf_append_result", error_type()
  c.size = ffi.sizeof(c)
  c.expected_version = check_expected(options.expected_stream_version)
  c.recorded_at = NOW
  local status
  if self.txn then
    status = C.mf_append(self.txn, name, list, count, c, result, err)
  else
    status = C.mf_append_to_stream(handle, name, list, count, c, result, err)
  end
  keep[1] = nil -- it had to live until here
  if status ~= OK then raise_status(err, { stream = stream, expected = options.expected_stream_version }) end
  local last = tonumber(result.last_position)
  return {
    next_expected_stream_version = tonumber(result.version), created_new_stream = result.created,
    last_event_global_position = last > 0 and last or nil,
  }
end

local read_options = names("from", "to", "max_count", "types", "backwards", "expected_stream_version")

local function open_reader(store, stream, options)
  local handle = live(store)
  local c, out, err = ffi.new "mf_read_options", ffi.new "mf_reader *[1]", error_type()
  options = check_options(options, read_options, "options")
  c.size = ffi.sizeof(c)
  if stream then c.stream = check_stream(stream) end
  c.from = check_count(options.from, "options.from", 1)
  c.to = check_count(options.to, "options.to", LAST)
  c.max_count = check_count(options.max_count, "options.max_count", -1)
  c.backwards = options.backwards == true
  c.expected_version = check_expected(options.expected_stream_version)
  local types
  if options.types then
    types = ffi.new("mf_bytes[?]", #options.types + 1)
    for i, type in ipairs(options.types) do types[i - 1] = bytes_of(type) end
    c.types, c.type_count = types, #options.types
  end
  if C.mf_reader_open(handle, store.txn, c, out, err) ~= OK then
    raise_status(err, { stream = stream, expected = options.expected_stream_version })
  end
  return ffi.gc(out[0], C.mf_reader_close)
end

local function close_reader(reader)
  C.mf_reader_close(ffi.gc(reader, nil))
end

--- Calls `use` with every event.
local function each_event(store, reader, use)
  local event, err = event_type(), error_type()
  local status = C.mf_reader_next(reader, event, err)
  while status == OK do
    use(event_of(event, store.seed))
    status = C.mf_reader_next(reader, event, err)
  end
  local version = tonumber(C.mf_reader_version(reader))
  close_reader(reader)
  if status < 0 then raise_status(err) end
  return version
end

function Store:read_stream(stream, options)
  local events = {}
  local version = each_event(self, open_reader(self, stream, options), function(event) events[#events + 1] = event end)
  return { events = events, current_stream_version = version, stream_exists = version > 0 }
end

local function iterator(store, reader)
  local event, err = event_type(), error_type()
  return function()
    if not reader then return nil end
    local status = C.mf_reader_next(reader, event, err)
    if status == OK then return event_of(event, store.seed) end
    close_reader(reader)
    reader = nil
    if status < 0 then raise_status(err) end
  end
end

function Store:events(stream, options)
  check_stream(stream)
  return iterator(self, open_reader(self, stream, options))
end

function Store:all_events(options)
  return iterator(self, open_reader(self, nil, options))
end

function Store:stream_version(stream)
  local version, err = ffi.new "int64_t[1]", error_type()
  if C.mf_stream_version(live(self), self.txn, check_stream(stream), version, err) ~= OK then raise_status(err) end
  return tonumber(version[0])
end

function Store:stream_exists(stream)
  return self:stream_version(stream) > 0
end

function Store:streams(prefix)
  local out, err = ffi.new "mf_streams *[1]", error_type()
  if prefix ~= nil and type(prefix) ~= "string" then misuse("prefix", "a string is needed") end
  if C.mf_streams_open(live(self), self.txn, bytes_of(prefix or ""), out, err) ~= OK then raise_status(err) end
  local streams = ffi.gc(out[0], C.mf_streams_close)
  local name, version = bytes_type(), ffi.new "int64_t[1]"
  return function()
    if not streams then return nil end
    local status = C.mf_streams_next(streams, name, version, err)
    if status == OK then return text_of(name), tonumber(version[0]) end
    C.mf_streams_close(ffi.gc(streams, nil))
    streams = nil
    if status < 0 then raise_status(err) end
  end
end

--- Everything in it commits together, or nothing does.
function Store:transaction(work)
  local handle = live(self)
  refuse_in_transaction(self, "transaction")
  if type(work) ~= "function" then misuse("function", "a function is needed, this is a %s", type(work)) end
  local out, err = ffi.new "mf_txn *[1]", error_type()
  if C.mf_begin(handle, out, err) ~= OK then raise_status(err) end
  self.txn = out[0]
  local function finish(fine, ...)
    local txn = self.txn
    self.txn = nil
    if not fine then
      C.mf_abort(txn)
      error((...), 0)
    end
    if C.mf_commit(txn, err) ~= OK then raise_status(err) end
    return ...
  end
  return finish(pcall(work, self))
end

--- Waits until the log has reached the position, for at most `timeout` seconds; whether it has.
function Store:wait(position, timeout)
  refuse_in_transaction(self, "wait")
  local left = timeout and ffi.new("int64_t[1]", timeout * 1e6) or nil
  local interrupted, err = ffi.new "bool[1]", error_type()
  position = check_count(position, "position")
  repeat -- a signal ends the wait, and its handler has had its turn by now
    local status = C.mf_wait(live(self), position, left, interrupted, err)
    if status < 0 then raise_status(err) end
    if status == OK then return true end
  until not interrupted[0] or left and left[0] <= 0
  return false
end

function Store:backup(path)
  refuse_in_transaction(self, "backup")
  local err = error_type()
  if C.mf_backup(live(self), check_text(path, "path"), err) ~= OK then raise_status(err) end
end

-- Domains: scripts in the library's sandbox ----------------------------------------------------------------------

local use_options = names("params", "budget", "memory", "keep_commands")
local keep_options = names("max_count", "max_age")

-- true, or bounds: { max_count=, max_age= }, the age in seconds.
local function set_keeping(how, given)
  if given == nil or type(given) == "boolean" then
    how.keep_commands = given or false
    return
  end
  check_options(given, keep_options, "options.keep_commands")
  for name, bound in pairs(given) do
    if type(bound) ~= "number" or not (bound > 0 and bound < 9e9) then
      misuse("options.keep_commands." .. name, "a number above 0 is needed")
    end
  end
  how.keep_commands = true
  how.keep_count, how.keep_age = math.floor(given.max_count or 0), math.ceil((given.max_age or 0) * 1e6)
end

--- Loads a decider, or a folder of them; then handle, attempt, decide and aggregate_stream find theirs by the stream.
-- options.params is JSON text. The first call's budget, memory and keep_commands hold for all that are loaded.
function Store:use(path, options)
  local handle, err = live(self), error_type()
  check_text(path, "path")
  options = check_options(options, use_options, "options")
  if not self.runtime then
    local out, how = ffi.new "mf_runtime *[1]", ffi.new "mf_runtime_options"
    how.size = ffi.sizeof(how)
    how.values = true
    how.budget, how.memory = options.budget or 0, options.memory or 0
    set_keeping(how, options.keep_commands)
    if C.mf_runtime_new(handle, how, out, err) ~= OK then raise_status(err) end
    self.runtime = ffi.gc(out[0], C.mf_runtime_free)
  end
  if C.mf_load(self.runtime, path, optional_text(options.params, "options.params"), err) ~= OK then
    local detail = C.mf_runtime_error(self.runtime)
    raise_status(err, { file = text_at(detail.file), line = detail.line > 0 and detail.line or nil })
  end
  return self
end

local function runtime_of(store)
  live(store)
  return store.runtime or misuse("store", "no domain is in use: call store:use(folder) first")
end

local function raise_script_error(store, err, fields)
  local detail = C.mf_runtime_error(store.runtime)
  fields.file, fields.traceback = text_at(detail.file), text_at(detail.traceback)
  fields.event_type, fields.command_type = text_at(detail.event_type), text_at(detail.command_type)
  if detail.line > 0 then fields.line = detail.line end
  raise_status(err, fields)
end

--- Loads what was edited since it was loaded, all or nothing; whether there is other code now. Cheap enough for every
-- frame. What does not load raises, once, and the old code goes on.
function Store:reload()
  local changed, err = ffi.new "bool[1]", error_type()
  if C.mf_reload(runtime_of(self), changed, err) ~= OK then raise_script_error(self, err, {}) end
  return changed[0]
end

local command_keys = names("type", "data", "metadata", "command_id", "time")
local handle_options = names("expected_stream_version", "state")

--- The command in C; `keep` holds what it points to.
local function fill_command(store, command, options, dry_run, keep)
  if type(command) ~= "table" then misuse("command", "a table { type = ..., data = ... } is needed") end
  check_options(command, command_keys, "command")
  check_text(command.type, "command.type")
  if command.command_id ~= nil then check_text(command.command_id, "command.command_id") end
  local c = ffi.new "mf_command"
  local function value_of(field)
    if command[field] == nil then return end
    local text = encode(command[field], "command." .. field)
    keep[#keep + 1] = text
    c[field .. "_value"] = C.mf_value_of(bytes_of(text))
  end
  c.size = ffi.sizeof(c)
  c.type, c.id = command.type, command.command_id
  keep[#keep + 1], keep[#keep + 2] = command.type, command.command_id
  value_of "data"
  value_of "metadata"
  c.time = command.time or NOW
  c.expected_version = check_expected(options.expected_stream_version)
  c.dry_run, c.no_state, c.txn = dry_run, options.state == false, store.txn
  return c
end

local function value_or_nil(value)
  if value.at == nil then return nil end
  return (get(value.at, 0))
end

local function result_of(result, dry_run)
  local last = tonumber(result.last_position)
  return {
    events = value_or_nil(result.events_value), state = value_or_nil(result.state_value),
    next_expected_stream_version = tonumber(result.version), created_new_stream = result.created,
    last_event_global_position = not dry_run and last > 0 and last or nil,
  }
end

--- The result; or nil and the refusal.
local function handle(store, stream, command, options, dry_run)
  local runtime, keep = runtime_of(store), {}
  check_text(stream, "stream")
  options = check_options(options, handle_options, "options")
  local c = fill_command(store, command, options, dry_run, keep)
  local result, err = ffi.new "mf_result", error_type()
  local status = C.mf_handle(runtime, stream, c, result, err)
  keep[1] = nil -- it had to live until here
  if status < 0 then raise_script_error(store, err, { stream = stream }) end
  if status == REJECTED then
    local rejection = setmetatable({
      code = "rejected", stream = stream, reason = text_at(result.reason), message = text_at(result.message),
      detail = value_or_nil(result.detail_value),
    }, Error)
    C.mf_result_free(result)
    return nil, rejection
  end
  local answer = result_of(result, dry_run)
  C.mf_result_free(result)
  return answer
end

function Store:attempt(stream, command, options)
  return handle(self, stream, command, options, false)
end

local function or_raise(result, rejection)
  return result or error(rejection, 0)
end

function Store:handle(stream, command, options)
  return or_raise(handle(self, stream, command, options, false))
end

function Store:decide(stream, command, options)
  return or_raise(handle(self, stream, command, options, true))
end

--- An aggregate in plain LuaJIT: { initial_state =, evolve = }.
local function fold(store, stream, aggregate, options)
  local state = aggregate.initial_state
  if type(state) == "function" then
    state = state()
  elseif type(state) == "table" then
    state = get(ffi.cast("const uint8_t *", encode(state, "initial_state")), 0)
  end
  local evolve, last = aggregate.evolve, 0
  local version = each_event(store, open_reader(store, stream, options), function(event)
    local handler = type(evolve) == "table" and evolve[event.type] or type(evolve) == "function" and evolve
    last = event.stream_position
    if not handler then return end
    local result = handler(state, event)
    if result ~= nil then state = result end
  end)
  local whole = not options or not (options.to or options.max_count or options.types)
  return { state = state, current_stream_version = whole and version or last, stream_exists = version > 0 }
end

--- Folds a stream, by the aggregate that is given, or by the decider of the domain that owns the stream.
-- Without an aggregate the options are { to = }.
function Store:aggregate_stream(stream, aggregate, options)
  check_stream(stream)
  if type(aggregate) == "table" and aggregate.evolve then return fold(self, stream, aggregate, options) end
  local runtime = runtime_of(self)
  check_text(stream, "stream")
  options = check_options(aggregate, names("to"), "options")
  local result, err = ffi.new "mf_result", error_type()
  local status = C.mf_aggregate(runtime, stream, check_count(options.to, "options.to", LAST), result, err)
  if status ~= OK then raise_script_error(self, err, { stream = stream }) end
  local answer = {
    state = value_or_nil(result.state_value), current_stream_version = tonumber(result.version),
    stream_exists = result.exists,
  }
  C.mf_result_free(result)
  return answer
end

moonfold._VERSION = "Moonfold for LuaJIT"

return moonfold
