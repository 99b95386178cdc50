local moonfold = require "moonfold"
local support = require "support"

--- A closed store with something of everything, and its path.
local function written()
  local store <close>, path = support.open()
  for i = 1, 60 do
    local data = ("payload " .. i .. " "):rep(20)
    store:append_to_stream("stream-" .. i % 7, { type = "Noted", data = data, message_id = "m" .. i })
  end
  store:transaction(function()
    for i = 1, 200 do
      store:append_to_stream("many-" .. i % 50, { type = "Counted" .. i % 3, data = ("x"):rep(100) })
    end
  end)
  local decider = { initial_state = 0, evolve = function(n) return n + 1 end,
    decide = function() return { { type = "Decided" }, { type = "Decided" } } end }
  store:handle("decided", decider, { type = "Decide", command_id = "c1" })
  return path
end

local function overwrite(path, offset, bytes)
  local file <close> = assert(io.open(path, "r+b"))
  file:seek("set", offset)
  file:write(bytes)
end

describe("verify", function()
  it("finds nothing in a store without damage, and tells what is in it", function()
    local report = moonfold.verify(written())
    assert.same({}, report.problems)
    assert.is_true(report.sound)
    assert.same({ 262, 62, 58, 5, 61, 0 },
      { report.events, report.commits, report.streams, report.types, report.ids, report.problem_count })
  end)

  it("finds nothing in an empty store", function()
    local store, path = support.open()
    store:close()
    local report = moonfold.verify(path)
    assert.same({ true, 0, 0 }, { report.sound, report.events, report.streams })
  end)

  it("names the position and the page of an event that is damaged", function()
    local path = written()
    local report
    for at in support.read(path):gmatch("()payload 31 payload 31") do overwrite(path, at - 1, "x") end
    report = moonfold.verify(path)
    assert.is_false(report.sound)
    assert.equal(1, report.parts.log)
    local problem = report.problems[1]
    assert.same({ "log", 31, true }, { problem.part, problem.position, problem.page > 1 })
    assert.matches("checksum", problem.message)
  end)

  it("names the stream whose index is damaged", function()
    local path = written()
    for at in support.read(path):gmatch("stream%-3()") do overwrite(path, at + 1, "\255") end
    local report = moonfold.verify(path)
    assert.is_true(report.parts.streams > 0)
    local named = 0
    for _, problem in ipairs(report.problems) do
      if problem.stream == "stream-3" then named = named + 1 end
    end
    assert.equal(1, named)
  end)

  it("works while others read and write, on the store as it was when it began", function()
    local path = written()
    local peer <close> = support.peer()
    peer:run("store = moonfold.open(..., { durability = 'none' })", path)
    peer:send([[
      for i = 1, 3000 do store:append_to_stream("busy-" .. i % 100, { type = "Ticked", data = ("x"):rep(i % 300) }) end
    ]])
    local before = 0
    for _ = 1, 20 do
      local report = moonfold.verify(path)
      assert.same({}, report.problems)
      assert.is_true(report.events >= before)
      before = report.events
    end
    peer:receive()
    assert.equal(3262, moonfold.verify(path).events)
  end)

  it("gives no verdict on a store that is written to and cannot be held still", function()
    local path = written()
    local peer <close> = support.peer()
    peer:run("store = moonfold.open(..., { durability = 'none' })", path)
    -- Readers register in the lock file: nobody else can, as if it were another user's.
    assert(os.rename(path .. "-lock", path .. "-theirs"))
    assert(os.execute("mkdir " .. support.quote(path .. "-lock")))
    local failure = support.fails("io", nil, moonfold.verify, path)
    assert.matches("is written to", failure.message, 1, true)
    peer:run("store:close()")
    assert.same({}, moonfold.verify(path).problems) -- a copy in a folder where one may only read
  end)

  it("may verify a store that this process has open", function()
    local store <close>, path = support.open()
    store:append_to_stream("a", { type = "A" })
    assert.equal(1, moonfold.verify(path).events)
    store:append_to_stream("a", { type = "A" })
    assert.equal(2, moonfold.verify(path).events)
  end)

  it("tells how far it is, and ends with the error of who is told", function()
    local path = written()
    local last, total = 0, nil
    moonfold.verify(path, { progress = function(done, of)
      assert(done >= last and done <= of)
      last, total = done, of
    end })
    assert.is_true(total > 10 and last > total // 2)
    local returned, failure = pcall(moonfold.verify, path, { progress = function() error("enough", 0) end })
    assert.same({ false, "enough" }, { returned, failure })
  end)

  it("refuses what is no store", function()
    support.fails("not_found", nil, moonfold.verify, support.path())
    support.fails("incompatible_format", nil, moonfold.verify, support.write(support.path(), ("hello "):rep(2000)))
    support.fails("invalid_argument", nil, moonfold.verify, support.folder())
    support.fails("invalid_argument", { path = "path" }, moonfold.verify, "")
    support.fails("invalid_argument", nil, moonfold.verify, "x", { progres = print })
  end)

  it("is a command that gives a verdict for each part and ends with its exit status", function()
    local path = written()
    local command = support.program() .. " verify " .. support.quote(path)
    local run = support.shell(command)
    assert.same({ 0, "" }, { run.status, run.stderr })
    assert.matches("log +fine +262 events in 62 commits", run.stdout)
    for at in support.read(path):gmatch("()payload 31 payload 31") do overwrite(path, at - 1, "x") end
    run = support.shell(command)
    assert.equal(1, run.status)
    assert.matches("log +DAMAGED", run.stdout)
    assert.matches("log: position 31, page %d+: its checksum differs", run.stdout)
    assert.matches("corrupt", run.stderr)
    assert.matches('"sound":false', support.shell(command .. " --json").stdout, 1, true)
  end)
end)
