local moonfold = require "moonfold"
local support = require "support"
local sorted = require("pl.tablex").sort

local function size(path)
  return #support.read(path)
end

describe("opening", function()
  it("creates a file that is missing, with a lock file beside it", function()
    local folder = support.folder()
    local store <close> = moonfold.open(folder .. "/game.fold")
    assert.is_false(store:stream_exists("a"))
    assert.equal("game.fold game.fold-lock", support.files(folder))
    assert.is_true(size(folder .. "/game.fold") > 0)
  end)

  it("finds what was written before", function()
    local path = support.path()
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("cart-1", { type = "Opened", data = { by = "Ada" } })
    end
    local store <close> = moonfold.open(path)
    assert.same({ by = "Ada" }, store:read_stream("cart-1").events[1].data)
  end)

  it("creates nothing when it is told so", function()
    local folder = support.folder()
    support.fails("not_found", nil, moonfold.open, folder .. "/store.fold", { create = false })
    assert.equal("", support.files(folder))
  end)

  it("finds an existing file when it is told to create nothing", function()
    local store <close>, path = support.open()
    local again <close> = moonfold.open(path, { create = false })
    assert.equal(0, again:stream_version("a"))
    assert.equal(0, store:stream_version("a"))
  end)

  it("creates no folders", function()
    local folder = support.folder()
    support.fails("not_found", nil, moonfold.open, folder .. "/missing/store.fold")
    assert.equal("", support.files(folder))
  end)

  it("takes a name with blanks, quotes and bytes beyond ASCII", function()
    local folder = support.folder()
    local store <close> = moonfold.open(folder .. "/it's a \"M\u{f6}nd\".fold")
    store:append_to_stream("a", { type = "A" })
    assert.is_true(size(folder .. "/it's a \"M\u{f6}nd\".fold") > 0)
  end)

  it("refuses a name with a zero byte, at which C would cut it", function()
    local folder = support.folder()
    support.fails("invalid_argument", { path = "path" }, moonfold.open, folder .. "/store.fold\0.txt")
    assert.equal("", support.files(folder))
  end)
end)

describe("a store in memory", function()
  it("keeps nothing", function()
    do
      local store <close> = moonfold.open(":memory:")
      store:append_to_stream("a", { type = "A" })
    end
    local store <close> = moonfold.open(":memory:")
    assert.is_false(store:stream_exists("a"))
  end)

  it("is alone, however many there are", function()
    local one <close> = moonfold.open(":memory:")
    local other <close> = moonfold.open(":memory:")
    one:append_to_stream("a", { type = "A" })
    assert.is_false(other:stream_exists("a"))
  end)

  it("does not mind three hundred others", function()
    local run = support.lua [[
      local moonfold, stores = require "moonfold", {}
      for i = 1, 300 do
        stores[i] = moonfold.open(":memory:")
        stores[i]:append_to_stream("a", { type = "A", data = i })
      end
      for i, store in ipairs(stores) do assert(store:read_stream("a").events[1].data == i) end
      print "fine"
    ]]
    assert.same({ stdout = "fine\n", stderr = "", status = 0 }, run)
  end)

  it("is given back by the collector before there is no room for another", function()
    local run = support.lua [[
      local moonfold = require "moonfold"
      for i = 1, 2000 do moonfold.open(":memory:"):append_to_stream("a", { type = "A" }) end
      print "fine"
    ]]
    assert.same({ stdout = "fine\n", stderr = "", status = 0 }, run)
  end)

  it("leaves no file", function()
    local folder = support.folder()
    local run = support.lua_in(folder, [[
      local store <close> = require("moonfold").open(":memory:")
      store:append_to_stream("a", { type = "A" })
    ]])
    assert.same({ stdout = "", stderr = "", status = 0 }, run)
    assert.equal("", support.files(folder))
  end)
end)

describe("a store in little address space", function()
  -- The sanitizers themselves need terabytes of it.
  local it = (os.getenv "LD_PRELOAD" or ""):find("asan", 1, true) and pending or it

  for _, kilobytes in ipairs { 200000, 2000000 } do
    it("works in " .. kilobytes // 1000 .. " MB", function()
      local run = support.lua_in_address_space(kilobytes, [[
        local store <close> = require("moonfold").open(arg[1])
        for _ = 1, 20 do store:append_to_stream("a", { type = "A", data = ("x"):rep(1 << 20) }) end
        print(store:stream_version("a"))
      ]], support.path())
      assert.same({ stdout = "20\n", stderr = "", status = 0 }, run)
    end)
  end
end)

describe("a store that was opened read-only", function()
  local function read_only_store()
    local path = support.path()
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("a", { type = "A" })
    end
    return moonfold.open(path, { read_only = true })
  end

  it("must exist", function()
    local folder = support.folder()
    support.fails("not_found", nil, moonfold.open, folder .. "/store.fold", { read_only = true })
    assert.equal("", support.files(folder))
  end)

  it("is read like any other", function()
    local store <close> = read_only_store()
    assert.same({ "A" }, support.pluck("type", store:events("a")))
    assert.is_true(store:stream_exists("a"))
    assert.same({ a = 1 }, support.versions(store))
  end)

  it("refuses to append", function()
    local store <close> = read_only_store()
    support.fails("read_only", nil, store.append_to_stream, store, "a", { type = "A" })
    assert.equal(1, store:stream_version("a"))
  end)

  it("refuses to handle a command", function()
    local store <close> = read_only_store()
    local decider = {
      initial_state = {},
      evolve = { A = false },
      decide = function() return { type = "A" } end,
    }
    support.fails("read_only", nil, store.handle, store, "a", decider, { type = "Go" })
    assert.equal(1, store:stream_version("a"))
  end)
end)

describe("the clock of a store", function()
  it("gives events the time at which they were recorded", function()
    local now = 1000000
    local store <close> = moonfold.open(":memory:", { clock = function() now = now + 1 return now end })
    store:append_to_stream("a", { { type = "A" }, { type = "B" } })
    store:append_to_stream("a", { type = "C" })
    assert.same({ 1000001, 1000001, 1000002 }, support.pluck("recorded_at", store:events("a")))
  end)

  it("is the computer's, in microseconds, when none is given", function()
    local store <close> = moonfold.open(":memory:")
    local before = os.time() * 1000000
    store:append_to_stream("a", { type = "A" })
    local recorded_at = store:read_stream("a").events[1].recorded_at
    assert.equal("integer", math.type(recorded_at))
    -- os.time is cut to seconds, and of a clock that lags a tick behind the one that events are stamped with.
    local tick = 10000
    assert.is_true(before <= recorded_at and recorded_at <= (os.time() + 1) * 1000000 + tick)
  end)

  for name, clock in sorted {
    ["text"] = function() return "noon" end,
    ["nothing"] = function() end,
    ["a fraction"] = function() return 0.5 end,
  } do
    it("may not tell " .. name, function()
      local store <close> = moonfold.open(":memory:", { clock = clock })
      support.fails("invalid_argument", nil, store.append_to_stream, store, "a", { type = "A" })
      assert.is_false(store:stream_exists("a"))
    end)
  end

  it("may not use the store", function()
    local store
    store = moonfold.open(":memory:", { clock = function() return store:stream_version("a") end })
    local closing <close> = store
    support.fails("invalid_argument", nil, store.append_to_stream, store, "a", { type = "A" })
    assert.is_false(closing:stream_exists("a"))
  end)

  it("lets its own error out, and nothing is written", function()
    local broken = {}
    local store <close> = moonfold.open(":memory:", { clock = function() error(broken) end })
    local _, raised = pcall(store.append_to_stream, store, "a", { type = "A" })
    assert.equal(broken, raised)
    assert.is_false(store:stream_exists("a"))
  end)
end)
