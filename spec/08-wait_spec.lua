local support = require "support"

local now = require("system").monotime

local function tick(store)
  return store:append_to_stream("a", { type = "Ticked" })
end

support.everywhere(function(open)
  describe("waiting", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    it("for what is there already returns at once", function()
      tick(store)
      tick(store)
      assert.is_true(store:wait(1))
      assert.is_true(store:wait(2))
      assert.is_true(store:wait(2, 0))
    end)

    it("for position 0 returns at once", function()
      assert.is_true(store:wait(0))
    end)

    it("with no time only looks", function()
      assert.is_false(store:wait(1, 0))
      tick(store)
      assert.is_true(store:wait(1, 0))
    end)

    it("gives up when its time is over, and not before", function()
      local start = now()
      assert.is_false(store:wait(1, 0.05))
      assert.is_true(now() - start >= 0.05)
    end)

    it("leaves the store as it was", function()
      store:wait(1, 0)
      assert.matches("%(open%)$", tostring(store))
      assert.equal(1, tick(store).last_event_global_position)
    end)
  end)
end)

describe("waiting for another process", function()
  local store, path, peer
  before_each(function()
    store, path = support.open()
    peer = support.peer()
    peer:run("store = moonfold.open(...)", path)
  end)
  after_each(function()
    store:close()
    peer:kill()
  end)

  it("ends when it appends", function()
    peer:send("store:append_to_stream('a', { type = 'Ticked' })")
    assert.is_true(store:wait(1, 30))
    peer:receive()
  end)

  it("ends when it reaches the position, not sooner", function()
    peer:send("for i = 1, 200 do store:append_to_stream('a', { type = 'Ticked', data = i }) end")
    assert.is_true(store:wait(200, 30))
    assert.equal(200, store:stream_version("a"))
    peer:receive()
  end)

  it("wakes a process that was waiting before the append", function()
    peer:send("answer('waiting') return store:wait(1, 30)")
    assert.equal("waiting", peer:receive())
    tick(store)
    assert.is_true(peer:receive())
  end)

  it("misses none of many appends, one at a time", function()
    peer:send([[
      for i = 1, 100 do
        if not store:wait(2 * i - 1, 30) then return i end
        store:append_to_stream("pong", { type = "Ponged" })
      end
      return "all"
    ]])
    local start = now()
    for i = 1, 100 do
      store:append_to_stream("ping", { type = "Pinged" })
      assert.is_true(store:wait(2 * i, 30))
    end
    assert.equal("all", peer:receive())
    assert.is_true(now() - start < 5, "a commit is seen within milliseconds, not within seconds")
    assert.same({ ping = 100, pong = 100 }, support.versions(store))
  end)

  it("works for a store that was opened read-only", function()
    peer:run("reader = moonfold.open(..., { read_only = true })", path)
    peer:send("answer('waiting') return reader:wait(1, 30)")
    assert.equal("waiting", peer:receive())
    tick(store)
    assert.is_true(peer:receive())
  end)

  it("is interrupted by Ctrl-C", function()
    peer:send("answer('waiting') store:wait(1000000)")
    assert.equal("waiting", peer:receive())
    assert(os.execute("kill -INT " .. peer.id))
    assert.error_matches(function() peer:receive() end, "interrupted!")
  end)

  it("is not ended by a transaction that fails", function()
    peer:run("pcall(store.transaction, store, function() store:append_to_stream('a', { type = 'A' }) error 'no' end)")
    assert.is_false(store:wait(1, 0))
  end)
end)
