--- The REPL where there is much, where others write, and where the file is damaged.
--
-- MOONFOLD_BIG=1 makes it a million events in 100,000 streams ("make big").

local moonfold = require "moonfold"
local support = require "support"

local quote = support.quote
local count = os.getenv("MOONFOLD_BIG") and 1000000 or 20000

local function filled(path)
  local store <close> = moonfold.open(path, { durability = "none" })
  local events = support.ticks(10)
  for first = 1, count // 10, 1000 do
    store:transaction(function()
      for i = first, math.min(first + 999, count // 10) do store:append_to_stream(("tick-%06d"):format(i), events) end
    end)
  end
end

local function repl(path, typed, before)
  local command = "export NO_COLOR=1 LC_ALL=C.UTF-8; unset LUA_CPATH LD_PRELOAD; %s\n"
    .. "printf '%%s\\n' %s | %s repl %s 2>&1"
  return support.shell(command:format(before or "", quote(typed), quote(support.program()), quote(path)))
end

describe("the REPL on a store of many events", function()
  it("prints all of it in little memory", function()
    if os.getenv("LD_PRELOAD") then return pending("sanitizers need more memory than this allows") end
    local path = support.path("many.fold")
    filled(path)
    for typed, last in pairs {
      [".events"] = "%s*[%d,]+  tick%-%d+  10  .*Ticked  10$",
      [".streams"] = "^[%d,]+ streams$",
      [".types"] = "^Ticked ",
      [".streams *9"] = "^[%d,]+ streams$",
    } do
      local result = repl(path, typed, "ulimit -d 32768;")
      assert.are.equal(0, result.status, result.stdout:sub(-500))
      assert.matches(last, result.stdout:match("([^\n]*)\n$"))
    end
  end)

  it("draws its timeline, however many streams there are", function()
    local path = support.path("many.fold")
    filled(path)
    local made = support.shell(("%s timeline %s"):format(quote(support.program()), quote(path)))
    assert.are.equal(0, made.status, made.stderr)
    assert.is_true(#made.stdout < 1000000)
    assert.matches("streams more<", made.stdout, 1, true)
  end)
end)

describe("the REPL", function()
  it("sees what others write, and holds nothing while it waits for its user", function()
    local path = support.path("shared.fold")
    local store <close> = moonfold.open(path)
    store:append_to_stream("a", support.ticks(3))
    local folder = path:match("^(.*)/")
    -- What is typed comes through a pipe, so that this spec writes between two lines.
    local input = assert(io.popen(("unset LUA_CPATH LD_PRELOAD; %s repl %s >%s/out 2>&1"):format(
      quote(support.program()), quote(path), quote(folder)), "w"))
    local function typed(line)
      input:write(line, "\n")
      input:flush()
    end
    local function wait_for(event)
      while not store:stream_exists(event) do store:wait(1 << 40, 0.01) end
    end
    typed('store:stream_version("a")')
    typed('store:append_to_stream("seen-1", event("Seen"))')
    wait_for("seen-1")
    store:append_to_stream("a", support.ticks(2))
    typed('store:stream_version("a")')
    typed('store:append_to_stream("seen-2", event("Seen"))')
    wait_for("seen-2")
    store:append_to_stream("a", support.ticks(1))
    typed(".events a 6..")
    input:close()
    local out = support.read(folder .. "/out")
    assert.matches("^3\n", out)
    assert.matches("\n5\n", out)
    assert.matches("\n6  [^\n]*Ticked  1\n$", out)
  end)

  it("says that an event is damaged, shows what comes before, and goes on", function()
    local path = support.path("damaged.fold")
    do
      local store <close> = moonfold.open(path)
      for i = 1, 40 do store:append_to_stream("s", { type = "T", data = ("payload-%02d-"):format(i):rep(300) }) end
    end
    local bytes = support.read(path)
    -- The newest copy of the event's bytes: LMDB leaves older ones behind.
    local at, last = 1, nil
    repeat
      at = bytes:find(("payload-30-"):rep(20), at, true)
      if at then last, at = at, at + 1 end
    until not at
    support.write(path, bytes:sub(1, last + 50) .. "X" .. bytes:sub(last + 52))
    local result = repl(path, ".events s\n1 + 1\n.events s 30..30\nstore:stream_version('s')")
    assert.matches("corrupt", result.stdout, 1, true)
    assert.matches("\n2\n", result.stdout, 1, true)
    assert.matches("\n40\n$", result.stdout)
    assert.are.equal(1, result.status)
    assert.is_nil(result.stdout:find("traceback", 1, true))
  end)
end)
