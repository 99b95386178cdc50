local moonfold = require "moonfold"
local support = require "support"
local sorted = require("pl.tablex").sort

local decider = {
  initial_state = {},
  evolve = { Went = false },
  decide = function() return { type = "Went" } end,
}

--- Every method with arguments that would be right on an open store.
local calls = {
  append_to_stream = { "a", { type = "A" } },
  read_stream = { "a" },
  events = { "a" },
  all_events = {},
  aggregate_stream = { "a", decider },
  stream_exists = { "a" },
  stream_version = { "a" },
  streams = {},
  handle = { "a", decider, { type = "Go" } },
  attempt = { "a", decider, { type = "Go" } },
  decide = { "a", decider, { type = "Go" } },
  transaction = { function() end },
  wait = { 1, 0 },
}

describe("closing", function()
  it("may be done twice", function()
    local store = moonfold.open(":memory:")
    store:close()
    store:close()
    assert.matches("%(closed%)$", tostring(store))
  end)

  it("happens at the end of a block", function()
    local kept
    do
      local store <close> = moonfold.open(":memory:")
      kept = store
      assert.matches("%(open%)$", tostring(kept))
    end
    assert.matches("%(closed%)$", tostring(kept))
  end)

  it("happens when an error leaves the block", function()
    local kept
    pcall(function()
      local store <close> = moonfold.open(":memory:")
      kept = store
      error "out"
    end)
    assert.matches("%(closed%)$", tostring(kept))
  end)

  for method, arguments in sorted(calls) do
    it("makes " .. method .. " raise closed", function()
      local store = support.open()
      store:close()
      support.fails("closed", nil, store[method], store, table.unpack(arguments))
    end)
  end

  it("makes backup raise closed, and no file", function()
    local folder = support.folder()
    local store = moonfold.open(":memory:")
    store:close()
    support.fails("closed", nil, store.backup, store, folder .. "/copy.fold")
    assert.equal("", support.files(folder))
  end)

  it("counts the iterators that were left", function()
    local store = moonfold.open(":memory:")
    store:append_to_stream("a", support.ticks(3))
    local _, _, _, one = store:events("a")
    local _, _, _, other = store:all_events()
    assert.matches("%(open, 2 iterators%)$", tostring(store))
    store:close()
    assert.matches("%(closed, 2 iterators left%)$", tostring(store))
    for _, iterator in ipairs { one, other } do
      local _ <close> = iterator
    end
    assert.matches("%(closed%)$", tostring(store))
  end)
end)

describe("a store that nobody refers to any more", function()
  it("is closed by the collector", function()
    local run = support.lua([[
      local moonfold = require "moonfold"
      moonfold.open(arg[1], { durability = "none" })
      collectgarbage() collectgarbage()
      local store <close> = moonfold.open(arg[1], { durability = "full" })
      store:append_to_stream("a", { type = "A" })
      print(store:stream_version("a"))
    ]], support.path())
    assert.same({ stdout = "1\n", stderr = "", status = 0 }, run)
  end)

  it("is closed at the end of the program", function()
    local path = support.path()
    local run = support.lua([[
      store = require("moonfold").open(arg[1])
      store:append_to_stream("a", { type = "A" })
    ]], path)
    assert.same({ stdout = "", stderr = "", status = 0 }, run)
    local store <close> = moonfold.open(path)
    assert.equal(1, store:stream_version("a"))
  end)
end)

describe("a store as text", function()
  it("tells its path and that it is open", function()
    local store <close>, path = support.open()
    assert.equal(('moonfold store "%s" (open)'):format(path), tostring(store))
  end)

  it("tells of a transaction", function()
    local store <close> = moonfold.open(":memory:")
    store:transaction(function()
      assert.equal('moonfold store ":memory:" (open, in a transaction)', tostring(store))
    end)
    assert.equal('moonfold store ":memory:" (open)', tostring(store))
  end)
end)
