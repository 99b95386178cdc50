local moonfold = require "moonfold"
local support = require "support"

--- What stats tells of the readers of a store.
local function stats(path)
  local run = support.shell(("%s stats %s --json"):format(support.program(), support.quote(path)))
  assert.equal("", run.stderr)
  return moonfold.from_json(run.stdout)
end

--- A peer that reads the store as it was, and does not end; and the store, which has gone on since.
local function long_reader(path)
  local peer = support.peer()
  peer:send([[
    store = moonfold.open(..., { read_only = true })
    store:transaction(function()
      answer(support.count(store))
      for _ = 1, math.huge do store:stream_version("a") end
    end, { dry_run = true })
  ]], path)
  assert.equal(50, peer:receive())
  return peer
end

describe("a long reader", function()
  local path, store
  before_each(function()
    store, path = support.open { durability = "none" }
    store:append_to_stream("a", support.ticks(50))
  end)
  after_each(function() store:close() end)

  it("is shown by stats, with its process and how far behind it is", function()
    local peer <close> = long_reader(path)
    for _ = 1, 30 do store:append_to_stream("a", { type = "Ticked", data = ("x"):rep(500) }) end
    local found = stats(path)
    assert.equal(1, found.readers)
    assert.equal(peer.id, found.reading[1].process)
    assert.equal(30, found.reading[1].commits_behind)
    assert.is_true(found.pinned_bytes > 0)
    peer:kill()
  end)

  it("that was killed holds nothing once the file is opened again", function()
    local peer = long_reader(path)
    for _ = 1, 30 do store:append_to_stream("a", { type = "Ticked", data = ("x"):rep(500) }) end
    peer:kill()
    local again <close> = moonfold.open(path)
    local found = stats(path)
    assert.same({ 0, 0 }, { found.readers, found.pinned_bytes })
    assert.equal(80, again:stream_version("a"))
  end)
end)
