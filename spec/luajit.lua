-- Specs of moonfold.ffi, run by LuaJIT itself: MOONFOLD_LIB=build/libmoonfold.so luajit spec/luajit.lua
-- Prints TAP and ends with status 1 when one fails.

package.path = "build/luajit/?.lua;" .. package.path
local ffi = require "ffi"
local moonfold = require "moonfold.ffi"

local number, failures = 0, 0

local function it(sentence, body)
  local store = moonfold.open(":memory:")
  local fine, problem = xpcall(body, function(problem) return debug.traceback(tostring(problem), 2) end, store)
  store:close()
  number = number + 1
  print(("%s %d - %s"):format(fine and "ok" or "not ok", number, sentence))
  if not fine then
    failures = failures + 1
    print("# " .. tostring(problem):gsub("\n", "\n# "))
  end
end

local function equal(expected, actual)
  if expected ~= actual then
    error(("expected %s, got %s"):format(tostring(expected), tostring(actual)), 2)
  end
end

local function raises(code, call, ...)
  local fine, problem = pcall(call, ...)
  if fine then error("nothing was raised", 2) end
  equal(code, type(problem) == "table" and problem.code or problem)
  return problem
end

--- A value as it comes back.
local function back(store, value)
  store:append_to_stream("values", { type = "Kept", data = value })
  return store:read_stream("values", { from = store:stream_version("values") }).events[1].data
end

it("appends and reads, with the names of the Lua module", function(store)
  local result = store:append_to_stream("cart-1", { { type = "Added", data = { qty = 2 } }, { type = "Confirmed" } },
    { expected_stream_version = moonfold.STREAM_DOES_NOT_EXIST })
  equal(2, result.next_expected_stream_version)
  equal(true, result.created_new_stream)
  equal(2, result.last_event_global_position)
  local read = store:read_stream("cart-1", { backwards = true, max_count = 1 })
  equal("Confirmed", read.events[1].type)
  equal(2, read.events[1].stream_position)
  equal("cart-1", read.events[1].stream_name)
  equal(36, #read.events[1].message_id)
  equal(2, read.current_stream_version)
  equal(true, store:stream_exists "cart-1")
  equal(false, store:read_stream("cart-2").stream_exists)
end)

it("keeps integers of 64 bits without loss", function(store)
  equal(42, back(store, 42))
  equal(-42, back(store, -42))
  equal(9007199254740991, back(store, 9007199254740991))
  local large = back(store, 9007199254740993LL)
  equal(true, ffi.istype("int64_t", large))
  equal(true, large == 9007199254740993LL)
  equal(true, back(store, -9223372036854775807LL - 1) == -9223372036854775807LL - 1)
  equal(true, back(store, 9223372036854775807ULL) == 9223372036854775807LL)
  for power = 0, 62 do
    local n = ffi.cast("int64_t", 1) * 1
    for _ = 1, power do n = n * 2 end
    equal(true, ffi.cast("int64_t", back(store, n)) == n)
    equal(true, ffi.cast("int64_t", back(store, -n)) == -n)
    equal(true, ffi.cast("int64_t", back(store, n - 1)) == n - 1)
  end
  raises("invalid_argument", store.append_to_stream, store, "values", { type = "T", data = 0xffffffffffffffffULL })
end)

it("keeps floats, texts, truth, null, lists and maps", function(store)
  equal(1.5, back(store, 1.5))
  equal(-1e300, back(store, -1e300))
  equal("a\0b\255", back(store, "a\0b\255"))
  equal(("x"):rep(70000), back(store, ("x"):rep(70000)))
  equal(false, back(store, false))
  equal(moonfold.null, back(store, { a = moonfold.null }).a)
  local value = back(store,
    { slots = { [3] = "sword", [-1] = "hidden" }, list = { 1, { 2 } }, empty = moonfold.array() })
  equal("sword", value.slots[3])
  equal("hidden", value.slots[-1])
  equal(2, value.list[2][1])
  equal(0, #value.empty)
  local long = {}
  for i = 1, 70000 do long[i] = i end
  long = back(store, long)
  equal(70000, #long)
  equal(70000, long[70000])
end)

it("tells a whole float from an integer when asked to", function(store)
  local function stored(value)
    store:append_to_stream("t", { type = "T", message_id = "same", data = value })
  end
  stored(moonfold.float(2))
  stored(moonfold.float(2))
  raises("id_conflict", stored, 2)
end)

it("refuses what cannot be stored, with its path", function(store)
  local function refused(path, value)
    equal(path, raises("invalid_argument", store.append_to_stream, store, "s", { type = "T", data = value }).path)
  end
  refused("event.data.items[2].n", { items = { { n = 1 }, { n = 0 / 0 } } })
  refused("event.data", 1 / 0)
  refused("event.data.f", { f = print })
  refused("event.data", { [1.5] = 1 })
  local loop = {}
  loop.loop = loop
  raises("invalid_argument", store.append_to_stream, store, "s", { type = "T", data = loop })
  raises("invalid_argument", store.append_to_stream, store, "s", { typ = "T" })
  raises("invalid_argument", store.append_to_stream, store, "s", { type = "T" }, { expected = 1 })
  raises("invalid_argument", store.read_stream, store, "s", { from = -1 })
  raises("invalid_argument", store.append_to_stream, store, 5, { type = "T" })
  equal(false, store:stream_exists "s")
end)

it("blames the line that called it", function(store)
  local line = debug.getinfo(1, "l").currentline + 1
  local problem = raises("invalid_argument", function() store:append_to_stream("s", { type = 5 }) end)
  equal(true, problem.message:find("luajit.lua:" .. line .. ":", 1, true) ~= nil)
end)

it("checks expectations", function(store)
  store:append_to_stream("s", { type = "T" })
  local problem = raises("version_conflict", store.append_to_stream, store, "s", { type = "T" },
    { expected_stream_version = 3 })
  equal(1, problem.current)
  equal(3, problem.expected)
  raises("version_conflict", store.read_stream, store, "s", { expected_stream_version = "STREAM_DOES_NOT_EXIST" })
end)

it("iterates over a stream, the log and the streams, and may be left early", function(store)
  for i = 1, 300 do store:append_to_stream("s-" .. i % 3, { type = i % 2 == 0 and "Even" or "Odd", data = i }) end
  local sum, count = 0, 0
  for event in store:all_events { types = { "Even" } } do sum, count = sum + event.data, count + 1 end
  equal(150, count)
  equal(22650, sum)
  for event in store:events("s-0", { from = 100 }) do equal(300, event.data) end
  local next_event = store:all_events()
  equal(1, next_event().global_position)
  local names = {}
  for name, version in store:streams "s-" do names[#names + 1] = name .. "=" .. version end
  equal("s-0=100 s-1=100 s-2=100", table.concat(names, " "))
end)

it("folds with plain functions", function(store)
  local function add(n) return { type = "Add", data = { n = n } } end
  store:append_to_stream("s", { add(2), { type = "Other" }, add(5) })
  local function evolve(state, event) state.n = state.n + event.data.n end
  local sum = { initial_state = { n = 0 }, evolve = { Add = evolve } }
  equal(7, store:aggregate_stream("s", sum).state.n)
  local early = store:aggregate_stream("s", sum, { to = 1 })
  equal(2, early.state.n)
  equal(1, early.current_stream_version)
  equal(0, sum.initial_state.n)
end)

it("commits a transaction as a whole, or not at all", function(store)
  equal("done", store:transaction(function()
    store:append_to_stream("a", { type = "T" })
    store:append_to_stream("b", { type = "T" })
    return "done"
  end))
  local _, problem = pcall(store.transaction, store, function()
    store:append_to_stream("a", { type = "T" })
    error("own", 0)
  end)
  equal("own", problem)
  equal(1, store:stream_version "a")
  raises("invalid_argument", store.transaction, store, function() store:transaction(function() end) end)
  equal(1, store:stream_version "b")
end)

it("waits, and tells when the time is up", function(store)
  store:append_to_stream("s", { type = "T" })
  equal(true, store:wait(1, 0))
  equal(false, store:wait(2, 0.001))
end)

it("handles commands by the scripts of a domain, in the library's own Lua", function(store)
  store:use "examples/embed/rules"
  local result = store:handle("hero-ada", { type = "PickUp", data = { gold = 5 }, command_id = "c1" })
  equal(5, result.state.gold)
  equal("GoldFound", result.events[1].type)
  local again = store:handle("hero-ada", { type = "PickUp", data = { gold = 5 }, command_id = "c1" })
  equal(1, again.next_expected_stream_version)
  local none, rejection = store:attempt("hero-ada", { type = "Buy", data = { item = "horse", price = 30 } })
  equal(nil, none)
  equal("too_expensive", rejection.reason)
  equal("rejected", rejection.code)
  raises("rejected", store.handle, store, "hero-ada", { type = "Buy", data = { item = "horse", price = 30 } })
  raises("unknown_command_type", store.handle, store, "hero-ada", { type = "Sell" })
  raises("version_conflict", store.handle, store, "hero-ada", { type = "PickUp", data = { gold = 1 } },
    { expected_stream_version = 9 })
  equal(2, store:decide("hero-ada", { type = "Buy", data = { item = "potion", price = 3 } }).state.gold)
  equal(1, store:stream_version "hero-ada")
  equal(nil, store:handle("hero-ada", { type = "PickUp", data = { gold = 1 } }, { state = false }).state)
  equal(5, store:aggregate_stream("hero-ada", { to = 1 }).state.gold)
  equal(6, store:aggregate_stream("hero-ada").state.gold)
end)

it("joins a transaction with what the scripts decide", function(store)
  store:use "examples/embed/rules"
  pcall(store.transaction, store, function()
    store:handle("hero-ada", { type = "PickUp", data = { gold = 1 } })
    error "no"
  end)
  equal(false, store:stream_exists "hero-ada")
end)

it("says what a script that does not load has wrong", function(store)
  raises("not_found", store.use, store, "no/such/folder")
  raises("invalid_argument", store.handle, store, "hero-1", { type = "T" })
end)

it("takes rules that are edited, and keeps the old ones where the new do not load", function(store)
  local path = os.tmpname()
  local function write(by)
    local file = assert(io.open(path, "w"))
    file:write(([[return { category = "counter", initial_state = 0,
      evolve = { Counted = function(n, e) return n + e.data end },
      decide = { Count = function() return { type = "Counted", data = %s } end } }]]):format(by))
    file:close()
  end
  local function count() return store:handle("counter-1", { type = "Count" }).state end
  write "1"
  store:use(path)
  equal(1, count())
  equal(false, store:reload())
  write "1000"
  equal(true, store:reload())
  equal(1001, count())
  write "oops("
  equal(3, raises("script_error", store.reload, store).line)
  equal(2001, count())
  os.remove(path)
end)

it("keeps commands where that is asked for, within bounds", function()
  local function kept_with(options)
    local path = os.tmpname()
    os.remove(path)
    local store = moonfold.open(path)
    store:use("examples/embed/rules", options)
    for _ = 1, 3 do store:handle("hero-1", { type = "PickUp", data = { gold = 1 } }) end
    store:close()
    local pipe = assert(io.popen("build/moonfold stats --json " .. path))
    local stats = pipe:read "*a"
    pipe:close()
    os.remove(path)
    os.remove(path .. "-lock")
    return tonumber(stats:match '"kept_commands": ?(%d+)')
  end
  equal(0, kept_with(nil))
  equal(3, kept_with { keep_commands = true })
  equal(2, kept_with { keep_commands = { max_count = 2, max_age = 3600 } })
  local function refused(keep) raises("invalid_argument", kept_with, { keep_commands = keep }) end
  refused(1)
  refused { max_count = 0 }
  refused { max_age = "day" }
  refused { most = 3 }
end)

it("refuses text that C would cut off", function(store)
  raises("invalid_argument", moonfold.open, "a\0b")
  raises("invalid_argument", store.use, store, "examples/embed/rules\0")
  store:use "examples/embed/rules"
  raises("invalid_argument", store.handle, store, "hero-1\0x", { type = "PickUp", data = { gold = 1 } })
  raises("invalid_argument", store.handle, store, "hero-1", { type = "PickUp\0", data = { gold = 1 } })
  raises("invalid_argument", store.aggregate_stream, store, "hero-1\0x")
  store:append_to_stream("hero-1\0x", { type = "Kept" })
  equal(1, store:stream_version "hero-1\0x")
  equal(0, store:stream_version "hero-1")
end)

it("says that a closed store is closed", function(store)
  store:close()
  raises("closed", store.append_to_stream, store, "s", { type = "T" })
  equal("moonfold.store (closed): :memory:", tostring(store))
end)

print("1.." .. number)
os.exit(failures == 0 and 0 or 1)
