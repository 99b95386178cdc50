--- How the program behaves among others: pipes that end, Ctrl-C, other processes, terminals, big stores.

local moonfold = require "moonfold"
local support = require "support"

local quote, shell = support.quote, support.shell
local program = quote(support.program())

local function run(arguments, ...)
  return shell(("unset LUA_CPATH LD_PRELOAD; exec timeout -s KILL 60 %s %s"):format(program, arguments:format(...)))
end

-- Starts the program: its lines can be read one by one; stop() sends a signal and returns its exit status and
-- what else it wrote.
local function start(arguments, input)
  local command = "unset LUA_CPATH LD_PRELOAD; echo $$; exec %s %s <%s"
  local pipe = assert(io.popen(command:format(program, arguments, input or "/dev/null")))
  local process = pipe:read("n", "L")
  return {
    line = function() return pipe:read("l") end,
    stop = function(signal)
      os.execute(("kill -%s %d"):format(signal, process))
      local rest = pipe:read("a")
      local _, how, number = pipe:close()
      return how == "signal" and 128 + number or number, rest
    end,
  }
end

local function filled(count)
  local path = support.path()
  local store <close> = moonfold.open(path, { durability = "none" })
  store:transaction(function()
    for i = 1, count do
      store:append_to_stream("cart-" .. i * 7919 % math.max(count // 10, 1),
        { type = "ItemAdded", data = { sku = "apple", qty = i, note = "so that it takes some room" } })
    end
  end)
  return path
end

describe("a pipe whose reader leaves", function()
  it("is no error", function()
    local path = filled(20000)
    for _, command in ipairs { "log %s", "log %s --json", "log %s --table", "export %s", "streams %s", "log %s -r" } do
      local script = ("set -o pipefail; %s %s 2>/dev/null | head -n 1"):format(program, command:format(quote(path)))
      local result = shell("unset LUA_CPATH LD_PRELOAD; exec bash -c " .. quote(script))
      assert.are.equal(0, result.status, command)
      assert.matches("^[^\n]+\n$", result.stdout)
    end
  end)

  it("ends a program that prints for ever", function()
    local script = support.write(support.path("forever.lua"), "while true do print('again') end")
    local result = shell(("unset LUA_CPATH LD_PRELOAD; timeout -s KILL 60 %s run %s | head -n 1")
      :format(program, quote(script)))
    assert.are.equal("again\n", result.stdout)
    assert.are.equal("", result.stderr)
  end)

  it("ends tail -f, also when nothing is recorded any more", function()
    local path = filled(3)
    local result = shell(("unset LUA_CPATH LD_PRELOAD; timeout -s KILL 60 %s tail -f %s | head -n 1")
      :format(program, quote(path)))
    assert.are.equal(0, result.status)
    assert.matches("ItemAdded", result.stdout, 1, true)
  end)
end)

describe("standard files that are closed", function()
  it("do not lend their numbers to a store, over which output would be written", function()
    local path = filled(20000)
    local before = run("log %s", quote(path)).stdout
    local noisy = support.write(support.path("noisy.lua"), ([[
      local store <close> = require("moonfold").open(%q)
      for i = 1, 1000 do print(("loud"):rep(100)) io.stderr:write(("louder"):rep(100)) end
      io.stdout:flush()
    ]]):format(path))
    for _, command in ipairs { "log %s", "log %s --json", "export %s", "streams %s", "run " .. quote(noisy) } do
      for _, closed in ipairs { ">&-", "2>&- >&-", "<&-", "<&- >&- 2>&-" } do
        local result = run("%s %s", command:format(quote(path)), closed)
        assert.are_not.equal(137, result.status, command .. closed)
      end
    end
    assert.is_true(moonfold.verify(path).sound)
    assert.are.equal(before, run("log %s", quote(path)).stdout)
  end)

  it("cannot be written to, which is said", function()
    local result = run("log %s >&-", quote(filled(1)))
    assert.are.equal(1, result.status)
    assert.are.equal("moonfold: io: writing output: Bad file descriptor\n", result.stderr)
  end)
end)

describe("data with backslashes", function()
  it("is JSON in tables and in lines, whatever command prints it", function()
    local path = support.path()
    local store <close> = moonfold.open(path)
    store:append_to_stream("s", { type = "T", data = 'a\tb\\c\127\u{9b}', metadata = { of = "a\tb" } })
    for _, command in ipairs { "log", "tail" } do
      assert.matches("\t\"a\\tb\\\\c\\u007f\u{9b}\"\t{\"of\":\"a\\tb\"}\n",
        run("%s %s", command, quote(path)).stdout, 1, true)
      assert.matches("  \"a\\tb\\\\c\\u007f\\u009b\"\n", run("%s %s --table", command, quote(path)).stdout, 1, true)
    end
  end)
end)

describe("tail -f", function()
  it("shows what another process records, as soon as it is recorded", function()
    local path = filled(2)
    local tail = start("tail -f -n 1 " .. quote(path))
    assert.matches("^2\tcart%-", tail.line())
    local peer <close> = support.peer()
    for i = 1, 3 do
      peer:run([[
        local path, i = ...
        local store <close> = moonfold.open(path)
        store:append_to_stream("other", { type = "Happened", data = i })
      ]], path, i)
      assert.matches(("^%d\tother\t%d\t[^\t]+\tHappened\t%d\t"):format(i + 2, i, i), tail.line())
    end
    assert.are.equal(130, tail.stop("INT"))
  end)

  it("follows a stream that is yet to begin, and only that", function()
    local path = filled(2)
    local store <close> = moonfold.open(path)
    local tail = start("tail -f --json " .. quote(path) .. " new-1")
    store:append_to_stream("other", { type = "Happened" })
    store:append_to_stream("new-1", { type = "Begun" })
    assert.matches('"stream_name":"new%-1","stream_position":1,"type":"Begun"', tail.line())
    assert.are.equal(130, tail.stop("INT"))
  end)
end)

describe("Ctrl-C", function()
  it("ends a program with 130, after its stores were closed", function()
    local folder = support.folder()
    local script = support.write(folder .. "/program.lua", ([[
      local store <close> = require("moonfold").open(%q)
      local mark <close> = setmetatable({}, { __close = function() print("closed") end })
      print("running")
      io.stdout:flush()
      while true do end
    ]]):format(folder .. "/store.fold"))
    local running = start("run " .. quote(script) .. " 2>&1")
    assert.are.equal("running", running.line())
    local status, rest = running.stop("INT")
    assert.are.equal(130, status)
    assert.matches("^closed\nmoonfold: [^\n]*interrupted\n", rest)
  end)

  -- An import is fed a part of an export, then ended by a signal, then repeated with the whole of it.
  local function interrupted_import(signal, status)
    local path = filled(60000)
    local folder = support.folder()
    local file, copy, fifo = folder .. "/all.jsonl", folder .. "/copy.fold", folder .. "/fifo"
    local exported = shell(("unset LUA_CPATH LD_PRELOAD; %s export %s 2>/dev/null >%s; mkfifo %s"):format(program,
      quote(path), quote(file), quote(fifo)))
    assert.are.equal(0, exported.status)
    local running = start("import " .. quote(copy) .. " 2>&1", quote(fifo))
    local writer = assert(io.open(fifo, "wb"))
    writer:write(support.read(file):sub(1, 13 << 20))
    writer:flush()
    assert.matches("created the store", running.line())
    local store <close> = moonfold.open(copy)
    assert.is_true(store:wait(1, 30))
    local stopped, told = running.stop(signal)
    assert.are.equal(status, stopped)
    assert.are.equal(signal == "INT", told:find("repeat the import to go on", 1, true) ~= nil)
    writer:close()
    local there = support.count(store)
    assert.is_true(there > 0 and there < 60000)
    local again = run("import %s %s", quote(copy), quote(file))
    assert.are.equal(0, again.status)
    assert.matches(" were there already", again.stderr, 1, true)
    local compared = shell(("unset LUA_CPATH LD_PRELOAD; %s export %s 2>/dev/null | cmp - %s")
      :format(program, quote(copy), quote(file)))
    assert.are.equal("", compared.stdout)
    assert.are.equal(0, compared.status)
  end

  it("leaves whole batches of an import, which goes on when it is repeated", function()
    interrupted_import("INT", 130)
  end)

  it("leaves no less of it than kill -9", function()
    interrupted_import("KILL", 137)
  end)
end)

describe("a page that cannot be read", function()
  it("ends the program, which says why", function()
    local path = filled(20000)
    local script = support.write(support.path("cut.lua"), [[
      local path = arg[1]
      local store = require("moonfold").open(path)
      assert(os.execute("truncate -s 20480 '" .. path .. "'")) -- a disk that fails is not at hand
      for event in store:all_events() do assert(event) end
    ]])
    local result = run("run %s %s", quote(script), quote(path))
    assert.are.equal(128 + 7, result.status) -- SIGBUS
    assert.matches("^moonfold: io: a page of the store's file cannot be read: [^\n]*moonfold verify[^\n]*\n",
      result.stderr)
  end)
end)

describe("an import that fails on its way", function()
  it("says which lines are in, and where the rest begins", function()
    local lines, folder = {}, support.folder()
    local line = '{"stream_name":"cart-%d","type":"ItemAdded","data":"' .. ("x"):rep(100) .. '"}'
    for i = 1, 50000 do lines[i] = line:format(i % 9) end
    lines[49000] = '{"stream_name":"cart-1","typ":"ItemAdded"}'
    local file = support.write(folder .. "/events.jsonl", table.concat(lines, "\n") .. "\n")
    local result = run("import %s/shop.fold %s", quote(folder), quote(file))
    local last, count, first = result.stderr:match(
      "\nmoonfold: lines 1 to (%d+) are imported, which recorded ([%d,]+) events: the rest begins at line (%d+)\n")
    assert.is_truthy(last, result.stderr)
    assert.matches("line 49000, column 25: unknown key \"typ\"", result.stderr, 1, true)
    assert.are.equal(last, (count:gsub(",", "")))
    assert.are.equal(tonumber(last) + 1, tonumber(first))
    lines[49000] = line:format(1)
    local rest = support.write(folder .. "/rest.jsonl", table.concat(lines, "\n", tonumber(first)) .. "\n")
    assert.are.equal(0, run("import %s/shop.fold %s", quote(folder), quote(rest)).status)
    local store <close> = moonfold.open(folder .. "/shop.fold", { create = false })
    assert.are.equal(50000, support.count(store))
  end)
end)

describe("colours", function()
  local function on_terminal(setting, path)
    local command = ("%s exec %s streams %s"):format(setting, program, quote(path))
    local terminal = "unset LUA_CPATH LD_PRELOAD NO_COLOR; export TERM=xterm; script -qec %s /dev/null"
    return shell(terminal:format(quote(command))).stdout
  end

  it("are for terminals that have them, unless NO_COLOR is set", function()
    local path = filled(1)
    assert.matches("\27[", on_terminal("", path), 1, true)
    assert.matches("\27[", on_terminal("NO_COLOR=", path), 1, true)
    assert.not_matches("\27[", on_terminal("NO_COLOR=1", path), 1, true)
    assert.not_matches("\27[", on_terminal("TERM=dumb", path), 1, true)
    assert.not_matches("\27[", run("streams %s --table", quote(path)).stdout, 1, true)
  end)
end)

describe("export and import", function()
  local random = math.random

  local function any_string()
    local bytes = {}
    for i = 1, random(0, 12) do bytes[i] = string.char(random(0, 255)) end
    return random(3) == 1 and table.concat(bytes) or ({ "a", "$map", "$base64", "ä€", "x\ny\0", "" })[random(6)]
  end

  local function any_value(depth)
    local kind = random(depth > 3 and 6 or 8)
    if kind == 1 then return random(0) end
    if kind == 2 then return ({ 0, -1, math.maxinteger, math.mininteger, 127, 128, -32, -33, 65536 })[random(9)] end
    if kind == 3 then return ({ 0.1, -0.0, 1e308, 5e-324, 2.0, 1 / 3 })[random(6)] end
    if kind == 4 then return random(2) == 1 end
    if kind == 5 then return any_string() end
    if kind == 6 then return moonfold.null end
    local t = {}
    if kind == 7 then
      for i = 1, random(0, 4) do t[i] = any_value(depth + 1) end
      return random(2) == 1 and moonfold.array(t) or t
    end
    for _ = 1, random(0, 4) do
      t[random(2) == 1 and any_string() or random(-3, 300)] = any_value(depth + 1)
    end
    return t
  end

  it("give the same store byte for byte, whatever its values are", function()
    local seed = tonumber(os.getenv("SEED")) or os.time()
    math.randomseed(seed)
    local path, folder = support.path(), support.folder()
    local time = 0
    local store <close> = moonfold.open(path, { durability = "none", clock = function() return time end })
    for i = 1, 400 do
      time = ({ 0, -1, random(0) >> 12, -(random(0) >> 12), 253402300800000000, -62167219200000001, i })[random(7)]
      local events = {}
      for k = 1, random(3) do
        events[k] = { type = any_string() .. "t", data = random(5) > 1 and any_value(0) or nil,
          metadata = random(3) == 1 and { [any_string() .. "k"] = any_value(0) } or nil,
          message_id = random(4) == 1 and ("id-%d-%d"):format(i, k) .. any_string() or nil }
      end
      store:append_to_stream("s" .. any_string(), events)
    end
    local decider = {
      initial_state = 0, evolve = { Counted = function(n) return n + 1 end },
      decide = { Count = function(command)
        local events = {}
        for i = 1, command.data do events[i] = moonfold.event("Counted", i) end
        return events
      end },
    }
    for i = 1, 20 do
      time = i
      store:handle("counter-" .. i % 3, decider, { type = "Count", data = random(4), command_id = "c" .. i })
    end
    local copy, lines = folder .. "/copy.fold", folder .. "/lines"
    local exported = shell(("unset LUA_CPATH LD_PRELOAD; %s export %s >%s"):format(program, quote(path), quote(lines)))
    assert.are.equal(0, exported.status, exported.stderr)
    local imported = run("import %s %s", quote(copy), quote(lines))
    assert.are.equal(0, imported.status, "seed " .. seed .. ": " .. imported.stderr)
    local other <close> = moonfold.open(copy)
    local theirs, state, control = other:all_events()
    for event in store:all_events() do
      local their = theirs(state, control)
      assert.are.equal(moonfold.hash(event), moonfold.hash(their), "seed " .. seed)
    end
    assert.is_nil(theirs(state, control))
    -- A command that was handled before is known to the copy, too.
    local before = support.count(other)
    other:handle("counter-1", decider, { type = "Count", data = 1, command_id = "c900" })
    assert.are.equal(before + 1, support.count(other))
    for i = 1, 20 do
      support.fails("id_conflict", nil, other.handle, other, "counter-" .. i % 3, decider,
        { type = "Count", data = 7, command_id = "c" .. i })
    end
    local again = shell(("unset LUA_CPATH LD_PRELOAD; %s export %s --to %d | cmp - %s")
      :format(program, quote(copy), before, quote(lines)))
    assert.are.equal("", again.stdout)
  end)

  it("keep payloads that the runtime did not write, and refuse none", function()
    local path = support.path()
    local result = run("import %s %s", quote(path), quote(support.write(support.path("lines"),
      '{"stream_name":"s","type":"T","data_base64":"wQ=="}\n{"stream_name":"s","type":"T","metadata_base64":""}\n')))
    assert.are.equal(0, result.status, result.stderr)
    local exported = run("export %s", quote(path)).stdout
    assert.matches('"data_base64":"wQ=="', exported, 1, true)
    assert.matches('"metadata_base64":""', exported, 1, true)
    assert.matches('"data_base64":"wQ=="', run("log %s --json", quote(path)).stdout, 1, true)
    support.fails("corrupt", nil, function()
      local store <close> = moonfold.open(path)
      store:read_stream("s")
    end)
  end)

  it("keep code and commands", function()
    local path, folder = support.path(), support.folder()
    local lines = support.write(folder .. "/lines", table.concat({
      '{"stream_name":"s","type":"T"}',
      '{"kept_code":"00112233445566778899aabbccddeeff","data":{"sources":["return {}"]}}',
      '{"kept_code":"10112233445566778899aabbccddeeff","data_base64":"wQ=="}',
      '{"kept_command":true,"stream_name":"s","recorded_at":"2026-11-25T00:00:00.000000Z","data":{"type":"Count"}}', "",
    }, "\n"))
    for _ = 1, 2 do assert.are.equal(0, run("import %s %s", quote(path), quote(lines)).status) end
    local exported = run("export %s", quote(path)).stdout
    assert.are.equal(support.read(lines):match("\n(.*)$"), exported:match("\n[^\n]*\n[^\n]*\n(.*)$"))
    assert.matches("\nkept commands\t1,", run("stats %s", quote(path)).stdout)
    assert.matches("\ncode\t2,", run("stats %s", quote(path)).stdout)
    for _, line in ipairs { '{"kept_code":"001","data":""}', '{"kept_code":"00112233445566778899aabbccddeeff"}',
      '{"kept_command":true,"stream_name":"s"}', '{"kept_command":true,"stream_name":"s","data":1}' } do
      local bad = run("import %s %s", quote(path), quote(support.write(folder .. "/bad", line)))
      assert.are.equal(1, bad.status)
      assert.matches("line 1, column %d+: ", bad.stderr)
    end
  end)
end)

describe("times", function()
  local function recorded(time)
    local path = support.path()
    local result = run("append %s s T --time %s", quote(path), quote(time))
    if result.status ~= 0 then return result.status end
    return run("log %s", quote(path)).stdout:match("^1\ts\t1\t(%S+)")
  end

  it("are read as ISO 8601 and printed as such", function()
    for given, printed in pairs {
      ["2026-11-25"] = "2026-11-25T00:00:00.000000Z",
      ["2024-02-29T23:59"] = "2024-02-29T23:59:00.000000Z",
      ["2026-11-25 18:30:15.5"] = "2026-11-25T18:30:15.500000Z",
      ["2026-11-25T18:30:15.1234567Z"] = "2026-11-25T18:30:15.123456Z",
      ["2026-01-01T00:30+01:00"] = "2025-12-31T23:30:00.000000Z",
      ["1969-12-31T20:00-0500"] = "1970-01-01T01:00:00.000000Z",
      ["0000-03-01"] = "0000-03-01T00:00:00.000000Z",
      ["9999-12-31T23:59:59.999999Z"] = "9999-12-31T23:59:59.999999Z",
    } do
      assert.are.equal(printed, recorded(given), given)
    end
  end)

  it("are refused when there is no such time", function()
    for _, given in ipairs { "2026-02-29", "2026-13-01", "2026-00-10", "2026-1-1", "2026-11-25T24:00", "2026-11-25T10",
      "2026-11-25T10:00:60", "2026-11-25T10:00+24:00", "2026-11-25T10:00 ", "25.11.2026", "", "now",
      "2026-11-25T10:00:00." } do
      assert.are.equal(2, recorded(given), given)
    end
  end)
end)

describe("stats", function()
  it("names the processes that hold old pages, and what they hold", function()
    local path = filled(2000)
    local store <close> = moonfold.open(path)
    local peer <close> = support.peer()
    peer:send([[
      local store <close> = moonfold.open((...))
      store:transaction(function()
        answer("reading")
        io.stdin:read("n", "L") -- until the next request comes
      end, { dry_run = true })
    ]], path)
    assert.are.equal("reading", peer:receive())
    for i = 1, 5 do store:append_to_stream("s", { type = "T", data = i }) end
    local facts = moonfold.from_json(run("stats %s --json", quote(path)).stdout)
    assert.are.equal(1, facts.readers)
    assert.are.same({ { process = peer.id, commits_behind = 5 } }, facts.reading)
    assert.is_true(facts.pinned_bytes > 0 and facts.pinned_bytes <= facts.free_bytes)
    assert.matches(("readers of old pages\t%d\t5\n"):format(peer.id), run("stats %s", quote(path)).stdout, 1, true)
    peer:kill()
    facts = moonfold.from_json(run("stats %s --json", quote(path)).stdout)
    assert.are.equal(2005, facts.events)
    assert.are.equal(201, facts.streams)
    assert.are.same({ { name = "ItemAdded", events = 2000, bytes = facts.event_types[1].bytes },
      { name = "T", events = 5, bytes = 5 } }, facts.event_types)
  end)
end)

describe("a store of many events in many streams", function()
  -- MOONFOLD_BIG=1 makes it a million events in 100,000 streams.
  local count = os.getenv("MOONFOLD_BIG") and 1000000 or 50000

  it("is shown from its first line on, in little memory", function()
    if os.getenv("LD_PRELOAD") then return pending("sanitizers need more memory than this allows") end
    local path = filled(count)
    -- The file is mapped and not counted; a list of all events would take some hundred bytes for each.
    local limited = "unset LUA_CPATH LD_PRELOAD; ulimit -d 24576; exec timeout -s KILL 600 %s %s | %s"
    for command, last in pairs {
      ["log %s"] = ("%d\tcart"):format(count), ["log %s --json"] = ('{"global_position":%d,'):format(count),
      ["log %s --table"] = ("%8d  cart"):format(count), ["log %s -r"] = "1\tcart",
      ["streams %s"] = "10\tcart", ["streams %s --json"] = '{"stream_name"',
      ["export %s 2>/dev/null"] = ('{"global_position":%d,'):format(count),
      ["stats %s"] = "hottest streams",
    } do
      local result = shell(limited:format(program, command:format(quote(path)), "tail -n 1"))
      assert.are.equal(last, result.stdout:sub(1, #last), command .. ": " .. result.stderr)
    end
    local copy = support.path()
    local copied = shell(("unset LUA_CPATH LD_PRELOAD; %s export %s 2>/dev/null | ( ulimit -d 65536; %s import %s )")
      :format(program, quote(path), program, quote(copy)))
    assert.are.equal(0, copied.status, copied.stderr)
    local store <close> = moonfold.open(copy)
    assert.is_true(store:wait(count, 0))
  end)
end)
