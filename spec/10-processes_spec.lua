local moonfold = require "moonfold"
local support = require "support"

local function dense(n)
  local positions = {}
  for i = 1, n do positions[i] = i end
  return positions
end

describe("processes that append to one file", function()
  local store, path, peers
  before_each(function()
    store, path = support.open { durability = "relaxed" }
    peers = { support.peer(), support.peer() }
    for i, peer in ipairs(peers) do
      peer:run("path, name = ... store = moonfold.open(path, { durability = 'relaxed' })", path, "own-" .. i)
    end
  end)
  after_each(function()
    for _, peer in ipairs(peers) do peer:close() end
    store:close()
  end)

  local function both(code)
    for _, peer in ipairs(peers) do peer:send(code) end
    for _, peer in ipairs(peers) do peer:receive() end
  end

  it("lose nothing and leave no gap", function()
    both [[
      for i = 1, 300 do
        store:append_to_stream(name, { type = "Ticked", data = i })
        store:append_to_stream("shared", { { type = "Ticked", data = i }, { type = "Ticked", data = i } })
      end
    ]]
    assert.same({ ["own-1"] = 300, ["own-2"] = 300, shared = 1200 }, support.versions(store))
    assert.same(dense(1800), support.pluck("global_position", store:all_events()))
    assert.same(dense(1200), support.pluck("stream_position", store:events("shared")))
    assert.same(dense(300), support.pluck("data", store:events("own-1")))
    assert.same(dense(300), support.pluck("data", store:events("own-2")))
  end)

  it("keep the events of one call together", function()
    both [[
      for _ = 1, 100 do
        store:append_to_stream("shared", { { type = name }, { type = name }, { type = name } })
      end
    ]]
    local types = support.pluck("type", store:events("shared"))
    assert.equal(600, #types)
    for i = 1, 600, 3 do
      assert.same({ types[i], types[i] }, { types[i + 1], types[i + 2] })
    end
  end)

  it("let one of them win when both expect the same version", function()
    both [[
      won, lost = 0, 0
      while store:stream_version("shared") < 200 do
        local version = store:stream_version("shared")
        local written, failure = pcall(store.append_to_stream, store, "shared",
          { type = "Ticked", data = version + 1 }, { expected_stream_version = version })
        if written then won = won + 1
        elseif failure.code == "version_conflict" and failure.current > version then lost = lost + 1
        else error(failure) end
      end
    ]]
    local version = store:stream_version("shared")
    assert.same(dense(version), support.pluck("data", store:events("shared")))
    assert.equal(version, peers[1]:run("return won") + peers[2]:run("return won"))
  end)

  it("decide one after the other, without a conflict", function()
    both [[
      local counter = {
        initial_state = 0,
        evolve = { Counted = function(_, event) return event.data end },
        decide = function(_, state) return { type = "Counted", data = state + 1 } end,
      }
      for _ = 1, 150 do store:handle("shared", counter, { type = "Count" }) end
    ]]
    assert.same(dense(300), support.pluck("data", store:events("shared")))
  end)

  it("never show a reader a position before all lower ones", function()
    for _, peer in ipairs(peers) do
      peer:send [[for i = 1, 300 do store:append_to_stream(name, { type = "Ticked", data = i }) end]]
    end
    local seen = 0
    while seen < 600 do
      for event in store:all_events { from = seen + 1 } do
        seen = seen + 1
        assert.equal(seen, event.global_position)
      end
      assert.is_true(store:wait(math.min(seen + 1, 600), 30))
    end
    for _, peer in ipairs(peers) do peer:receive() end
  end)
end)

describe("processes that open a file", function()
  it("may create it at the same moment", function()
    local folder = support.folder()
    local command = support.command([[
      local store <close> = require("moonfold").open(arg[1] .. "/" .. os.getenv("ROUND"), { durability = "relaxed" })
      store:append_to_stream(os.getenv("NAME"), { type = "Opened" })
    ]], folder)
    local run = support.shell(([[
      for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        for name in a b c d e f; do ( ROUND=$round NAME=$name %s ) & done; wait
      done]]):format(command))
    assert.equal("", run.stderr)
    for round = 1, 20 do
      local store <close> = moonfold.open(folder .. "/" .. round, { create = false })
      assert.same({ a = 1, b = 1, c = 1, d = 1, e = 1, f = 1 }, support.versions(store))
      assert.same(dense(6), support.pluck("global_position", store:all_events()))
    end
  end)
end)

describe("a process that is killed", function()
  local path, peer
  before_each(function()
    path, peer = support.path(), support.peer()
    peer:run("store = moonfold.open(...)", path)
  end)
  after_each(function() peer:close() end)

  it("inside a transaction leaves nothing of it, and the next writer does not wait", function()
    peer:run("store:append_to_stream('a', { type = 'Before' })")
    peer:send([[
      store:transaction(function()
        store:append_to_stream("a", { type = "Lost" })
        answer "inside"
        io.read("l")
      end)
    ]])
    assert.equal("inside", peer:receive())
    peer:kill()
    local store <close> = moonfold.open(path)
    assert.equal(2, store:append_to_stream("a", { type = "After" }).next_expected_stream_version)
    assert.same({ "Before", "After" }, support.pluck("type", store:all_events()))
  end)

  it("inside a transaction lets a writer go on that has the file open already", function()
    local store <close> = moonfold.open(path)
    peer:send("store:transaction(function() answer 'inside' io.read('l') end)")
    assert.equal("inside", peer:receive())
    peer:kill()
    assert.equal(1, store:append_to_stream("a", { type = "After" }).next_expected_stream_version)
  end)

  it("anywhere in a thousand commits leaves whole transactions only", function()
    local watching <close> = moonfold.open(path, { read_only = true })
    for round = 1, 5 do
      local writer <close> = support.peer()
      writer:run("store = moonfold.open(...)", path)
      writer:send([[
        for i = 1, 1000000 do
          store:transaction(function()
            store:append_to_stream("left", { type = "Moved" })
            store:append_to_stream("right", { type = "Moved", data = ("x"):rep(i % 3000) })
          end)
        end
      ]])
      local before = watching:stream_version("left")
      assert.is_true(watching:wait(2 * before + 37 * round, 30))
      writer:kill()
      local store <close> = moonfold.open(path)
      local versions = support.versions(store)
      assert.is_true(versions.left > before)
      assert.equal(versions.left, versions.right)
      assert.same(dense(2 * versions.left), support.pluck("global_position", store:all_events()))
    end
  end)

  it("while it waits or iterates holds nobody up", function()
    local store <close> = moonfold.open(path)
    store:append_to_stream("a", support.ticks(1000))
    peer:run("next_event, state = store:events('a') next_event(state)")
    peer:send("answer 'waiting' store:wait(1000000)")
    assert.equal("waiting", peer:receive())
    peer:kill()
    assert.equal(1001, store:append_to_stream("a", { type = "A" }).next_expected_stream_version)
  end)
end)
