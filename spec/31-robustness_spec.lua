-- What a review found: scripts and finalizers that once corrupted an event or crashed the process. A crash would end
-- busted itself, so that the dangerous ones run in a process of their own.

local moonfold = require "moonfold"
local support = require "support"

local function survives(code, ...)
  local run = support.lua(code, ...)
  assert.same({ stdout = "fine\n", stderr = "", status = 0 }, run)
end

describe("a finalizer", function()
  it("that uses the module while an event is being encoded does not change that event", function()
    survives [[
      collectgarbage("generational")
      local m = require "moonfold"
      local store <close> = m.open(":memory:")
      local function trap()
        setmetatable({}, { __gc = function() m.hash { "other", "bytes" } m.from_json '"text"' trap() end })
      end
      trap()
      for i = 1, 4000 do
        store:append_to_stream("a", { { type = "A", data = { n = i, list = { i, { i } } } }, { type = "B", data = i } })
      end
      local n = 0
      for event in store:events("a", { types = { "A" } }) do
        n = n + 1
        assert(event.data.n == n and event.data.list[2][1] == n)
      end
      assert(n == 4000)
      print "fine"
    ]]
  end)

  it("that adds keys to a table while it is being encoded makes it refused, at worst", function()
    survives [[
      collectgarbage("generational")
      local m, t, n = require "moonfold", nil, 0
      local function trap()
        setmetatable({}, { __gc = function()
          if t and n < 400 then for _ = 1, 50 do n = n + 1 t["new" .. n] = 1 end end
          trap()
        end })
      end
      trap()
      for i = 1, 2000 do
        n, t = 0, {}
        for k = 1, 60 do t["k" .. k] = i end
        pcall(m.hash, t)
      end
      print "fine"
    ]]
  end)

  it("that closes a store while a call on it is under way makes that call fail, at worst", function()
    survives [[
      collectgarbage("generational")
      local m = require "moonfold"
      local decider = { initial_state = { 1, { 2 } }, evolve = { A = false },
        decide = function() return { type = "A", data = { 1, 2, 3 } } end }
      for _ = 1, 600 do
        local store = m.open(":memory:")
        setmetatable({}, { __gc = function() pcall(store.close, store) end })
        pcall(function()
          for _ = 1, 20 do
            store:handle("a", decider, { type = "Do" })
            store:read_stream("a", { types = { "A" } })
            store:append_to_stream("a", { type = "A", data = { x = { 1, 2, 3 } } })
          end
        end)
        store:close()
      end
      print "fine"
    ]]
  end)
end)

describe("a decide function", function()
  it("that takes its command apart does not change which command is recorded", function()
    local store <close> = moonfold.open(":memory:")
    local decider = {
      initial_state = 0,
      evolve = { Done = function(n) return n + 1 end },
      decide = function(command)
        command.type, command.command_id = nil, nil
        collectgarbage()
        return { type = "Done" }
      end,
    }
    local id = ("id-"):rep(30) .. os.time()
    local result = store:handle("a", decider, { type = "Do", command_id = id })
    assert.equal(id, result.events[1].metadata.causation_id)
    local again = store:handle("a", decider, { type = "Do", command_id = id })
    assert.equal(1, again.next_expected_stream_version)
  end)

  it("that refuses cannot use its context afterwards", function()
    local store <close> = moonfold.open(":memory:")
    local kept
    local decider = { initial_state = 0, evolve = {}, decide = function(_, _, context)
      kept = context
      moonfold.reject "no"
    end }
    store:attempt("a", decider, { type = "Do" })
    collectgarbage()
    support.fails("invalid_argument", { path = "context" }, kept.stream_exists, kept, "a")
  end)
end)

describe("iterators and metamethods", function()
  it("refuse what is not theirs", function()
    survives [[
      local m = require "moonfold"
      local store <close> = m.open(":memory:")
      store:append_to_stream("a", { type = "A" })
      local event = store:read_stream("a").events[1]
      local events, iterator = store:events("a")
      local streams = store:streams()
      local pair = pairs(event)
      local meta = getmetatable(event)
      for _, call in ipairs {
        function() events(io.stdout) end, function() events(5) end, function() events() end,
        function() streams(iterator) end, function() pair(5) end, function() meta.__index(5, "message_id") end,
        function() meta.__pairs(5) end,
      } do
        local ok, err = pcall(call)
        assert(not ok and err ~= nil)
      end
      for _, class in ipairs { store, iterator } do
        for _, method in pairs(getmetatable(class)) do
          if type(method) == "function" then pcall(method, io.stdout) pcall(method, 5) pcall(method) end
        end
      end
      print "fine"
    ]]
  end)

  it("an upcaster that closes the iterator that runs it is told of by its stream and type", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("a", { type = "Old" })
    local step, iterator
    step, iterator = store:events("a", { upcast = { Old = function()
      getmetatable(iterator).__close(iterator)
      collectgarbage()
      error "no"
    end } })
    support.fails("script_error", { stream = "a", event_type = "Old" }, step, iterator)
  end)

  it("the listing of streams in a transaction bears the creation of many more", function()
    local store <close> = moonfold.open(":memory:")
    local seen = 0
    store:transaction(function()
      for i = 1, 600 do store:append_to_stream("s-" .. i, { type = "A" }) end
      for name in store:streams("s-") do
        seen = seen + 1
        store:append_to_stream("t-" .. name, { type = "A" })
      end
    end)
    assert.equal(600, seen)
  end)
end)

describe("a message id", function()
  it("whose place in the batch cannot be its place in the stream is a conflict", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("a", { type = "A", message_id = "x" })
    support.fails("id_conflict", { id = "x" }, store.append_to_stream, store, "a",
      { { type = "B" }, { type = "B" }, { type = "A", message_id = "x" } })
  end)
end)

describe("one file under two names", function()
  local function other_name(command)
    local path = support.path("real.fold")
    local link = support.path("other.fold")
    local store = moonfold.open(path)
    store:append_to_stream("a", { type = "A" })
    assert(os.execute(("%s %s %s"):format(command, support.quote(path), support.quote(link))))
    return store, link
  end

  it("is one store, through a symbolic link", function()
    local store, link = other_name("ln -s")
    local run = support.lua([[
      local store <close> = require("moonfold").open(arg[1])
      store:append_to_stream("a", { type = "B" })
      print "fine"
    ]], link)
    assert.same({ stdout = "fine\n", stderr = "", status = 0 }, run)
    assert.equal(2, store:stream_version("a"))
    store:close()
  end)

  it("is refused to another process through a hard link, while it is open", function()
    local store, link = other_name("ln")
    local code = [[
      local ok, err = pcall(require("moonfold").open, arg[1])
      print(ok or err.code)
    ]]
    assert.equal("busy\n", support.lua(code, link).stdout)
    store:close()
    assert.equal("true\n", support.lua(code, link).stdout)
  end)
end)

describe("a store that was closed", function()
  it("claims nothing, also when an iterator was left early", function()
    local path = support.path("claimed.fold")
    local store = moonfold.open(path, { durability = "none" })
    store:append_to_stream("a", { { type = "A" }, { type = "A" } })
    local step, iterator = store:events("a")
    step(iterator)
    store:close()
    local other <close> = moonfold.open(path, { durability = "full" })
    assert.equal(2, other:stream_version("a"))
    getmetatable(iterator).__close(iterator)
  end)
end)

describe("a limit on the size of files", function()
  it("does not keep a store in memory from opening", function()
    local run = support.shell("ulimit -f 100000; " .. support.command([[
      local store <close> = require("moonfold").open(":memory:")
      store:append_to_stream("a", { type = "A" })
      print "fine"
    ]]))
    assert.equal("fine\n", run.stdout)
  end)
end)
