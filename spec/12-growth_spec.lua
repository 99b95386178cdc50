--- How a file grows: with what is recorded in it. Pages that hold nothing any more are used again.

local moonfold = require "moonfold"
local support = require "support"

local PAYLOAD = ("x"):rep(200)

local function size(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:seek("end")
end

describe("a file that is written one event at a time", function()
  local path, store
  before_each(function()
    path = support.path()
    store = moonfold.open(path, { durability = "none" })
  end)
  after_each(function() store:close() end)

  local function append(count)
    for i = 1, count do store:append_to_stream("stream-" .. i % 50, { type = "Happened", data = PAYLOAD }) end
  end

  --- By how much the file grows for each byte of `count` events' data.
  local function growth(count)
    append(500) -- what a new file takes at first, or what was pinned until now, is not counted
    local before = size(path)
    append(count)
    return (size(path) - before) / (count * #PAYLOAD)
  end

  it("grows by little more than the data", function()
    assert.is_true(growth(4000) < 1.35)
  end)

  it("grows no more where every event is refused", function()
    append(500)
    local before = size(path)
    for i = 1, 2000 do
      pcall(store.append_to_stream, store, "stream-" .. i % 50, { type = "Happened", data = PAYLOAD },
        { expected_stream_version = 0 })
      pcall(store.transaction, store, function()
        store:append_to_stream("stream-1", { type = "Happened", data = PAYLOAD })
        error("not this time")
      end)
    end
    assert.equal(before, size(path))
  end)

  it("grows so while iterators on it wait for their consumers", function()
    append(500)
    local iterators = {}
    for i = 1, 20 do
      local next, state, event, closing = store:all_events()
      next(state, event)
      iterators[i] = closing
    end
    assert.is_true(growth(3000) < 1.35)
    for _, iterator in ipairs(iterators) do getmetatable(iterator).__close(iterator) end
  end)

  it("grows so when a process was killed that held old pages, and does not while it lives", function()
    local peer <close> = support.peer()
    append(100)
    peer:run("store = moonfold.open(...)", path)
    peer:send [[
      store:decide("stream-1", { initial_state = 0, evolve = function() end, decide = function()
        answer "inside"
        io.read "l"
      end }, { type = "Wait" })
    ]]
    assert.equal("inside", peer:receive())
    local held = growth(1500)
    peer:kill()
    local free = growth(3000)
    assert.is_true(held > 2, "the snapshot of a living process was overwritten: " .. held)
    assert.is_true(free < 1.35, "pages of a dead process stay pinned: " .. free)
  end)
end)
