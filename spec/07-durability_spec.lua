local moonfold = require "moonfold"
local support = require "support"

local levels = { "full", "relaxed", "none" }

local function tick(store)
  return store:append_to_stream("a", { type = "Ticked" })
end

--- Opens a second store on the file of a first one: it may.
local function mix(first, second)
  local one <close>, path = support.open { durability = first }
  local other <close> = moonfold.open(path, { durability = second })
  tick(one)
  tick(other)
  assert.equal(2, one:stream_version("a"))
end

--- Opens a second store on the file of a first one: it may not.
local function exclude(first, second)
  local one <close>, path = support.open { durability = first }
  support.fails("busy", nil, moonfold.open, path, { durability = second })
  tick(one)
  assert.equal(1, one:stream_version("a"))
end

for _, level in ipairs(levels) do
  describe("a store with the durability " .. level, function()
    it("keeps its events when it is closed and opened", function()
      local store, path = support.open { durability = level }
      store:append_to_stream("a", support.ticks(100))
      store:close()
      local again <close> = moonfold.open(path)
      assert.equal(100, again:stream_version("a"))
    end)

    it("keeps its events when its process is killed", function()
      local path = support.path()
      local peer <close> = support.peer()
      peer:run([[
        local path, level = ...
        store = moonfold.open(path, { durability = level })
        for i = 1, 50 do store:append_to_stream("a", { type = "Ticked", data = i }) end
      ]], path, level)
      peer:kill()
      local store <close> = moonfold.open(path)
      assert.equal(50, store:stream_version("a"))
      assert.equal(50, store:read_stream("a", { from = 50 }).events[1].data)
    end)

    it("shares its file with another of the same level", function()
      mix(level, level)
    end)

    it("shares its file with an opener that names no level", function()
      mix(level, nil)
    end)

    it("is not disturbed by a reader", function()
      local writer <close>, path = support.open { durability = level }
      for _, named in ipairs(levels) do
        local reader <close> = moonfold.open(path, { read_only = true, durability = named })
        tick(writer)
        assert.equal(writer:stream_version("a"), reader:stream_version("a"))
      end
    end)

    it("is not kept out by a reader that came first", function()
      local path = support.path()
      moonfold.open(path):close()
      local reader <close> = moonfold.open(path, { read_only = true })
      local writer <close> = moonfold.open(path, { durability = level })
      tick(writer)
      assert.equal(1, reader:stream_version("a"))
    end)
  end)
end

describe("stores of several durabilities on one file", function()
  it("mix when they are full and relaxed", function()
    mix("full", "relaxed")
    mix("relaxed", "full")
  end)

  it("exclude each other when one of them is none", function()
    exclude("none", "full")
    exclude("none", "relaxed")
    exclude("full", "none")
    exclude("relaxed", "none")
  end)

  it("take none for full's place once the full one is closed", function()
    local one, path = support.open { durability = "full" }
    support.fails("busy", nil, moonfold.open, path, { durability = "none" })
    one:close()
    local other <close> = moonfold.open(path, { durability = "none" })
    tick(other)
    support.fails("busy", nil, moonfold.open, path, { durability = "full" })
  end)

  it("take a default opener for a full one when it is alone", function()
    exclude(nil, "none")
  end)

  it("take a default opener for none beside none", function()
    local none <close>, path = support.open { durability = "none" }
    local joined <close> = moonfold.open(path)
    tick(joined)
    none:close()
    support.fails("busy", nil, moonfold.open, path, { durability = "full" })
    local again <close> = moonfold.open(path, { durability = "none" })
    tick(again)
    assert.equal(2, joined:stream_version("a"))
  end)
end)

describe("two processes on one file", function()
  local path, peer
  before_each(function()
    path, peer = support.path(), support.peer()
  end)
  after_each(function() peer:close() end)

  local function peer_opens(level)
    peer:run("local path, level = ... store = moonfold.open(path, { durability = level })", path, level)
  end

  local function excluded(level)
    support.fails("busy", nil, moonfold.open, path, { durability = level })
  end

  it("mix full and relaxed", function()
    peer_opens "relaxed"
    local store <close> = moonfold.open(path, { durability = "full" })
    tick(store)
    peer:run("store:append_to_stream('a', { type = 'Ticked' })")
    assert.equal(2, store:stream_version("a"))
  end)

  it("keep full and relaxed away from none", function()
    peer_opens "none"
    excluded "full"
    excluded "relaxed"
  end)

  it("keep none away from full", function()
    peer_opens "full"
    excluded "none"
  end)

  it("keep none away from relaxed", function()
    peer_opens "relaxed"
    excluded "none"
  end)

  it("share none", function()
    peer_opens "none"
    local store <close> = moonfold.open(path, { durability = "none" })
    tick(store)
    assert.equal(1, peer:run("return store:stream_version('a')"))
  end)

  it("let an opener that names no level join none", function()
    peer_opens "none"
    local store <close> = moonfold.open(path)
    tick(store)
    assert.equal(1, peer:run("return store:stream_version('a')"))
  end)

  it("let a reader in beside none", function()
    peer_opens "none"
    local store <close> = moonfold.open(path, { read_only = true })
    peer:run("store:append_to_stream('a', { type = 'Ticked' })")
    assert.equal(1, store:stream_version("a"))
  end)

  it("forget a level when its process closes the store", function()
    peer_opens "none"
    peer:run("store:close()")
    local store <close> = moonfold.open(path, { durability = "full" })
    tick(store)
  end)

  it("forget a level when its process is killed", function()
    peer_opens "none"
    peer:kill()
    local store <close> = moonfold.open(path, { durability = "full" })
    tick(store)
  end)
end)
