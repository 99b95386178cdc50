local moonfold = require "moonfold"
local support = require "support"

support.everywhere(function(open)
  describe("appending", function()
    it("gives the events of a stream the positions 1, 2, 3 (case 30)", function()
      local store <close> = open()
      store:append_to_stream("a", { { type = "A" }, { type = "B" } })
      store:append_to_stream("a", { type = "C" })
      assert.same({ 1, 2, 3 }, support.pluck("stream_position", store:events("a")))
      assert.same({ "A", "B", "C" }, support.pluck("type", store:events("a")))
      assert.same({ "a", "a", "a" }, support.pluck("stream_name", store:events("a")))
    end)

    it("gives the events of the store the positions 1, 2, 3 over all streams", function()
      local store <close> = open()
      store:append_to_stream("a", { type = "A" })
      store:append_to_stream("b", { { type = "B" }, { type = "B" } })
      store:append_to_stream("a", { type = "A" })
      assert.same({ 1, 2, 3, 4 }, support.pluck("global_position", store:all_events()))
      assert.same({ "a", "b", "b", "a" }, support.pluck("stream_name", store:all_events()))
      assert.same({ 1, 4 }, support.pluck("global_position", store:events("a")))
      assert.same({ 1, 2 }, support.pluck("stream_position", store:events("b")))
    end)

    it("tells where the stream and the log stand now", function()
      local store <close> = open()
      assert.same({
        next_expected_stream_version = 2, created_new_stream = true, last_event_global_position = 2,
      }, store:append_to_stream("a", { { type = "A" }, { type = "A" } }))
      assert.same({
        next_expected_stream_version = 1, created_new_stream = true, last_event_global_position = 3,
      }, store:append_to_stream("b", { type = "B" }))
      assert.same({
        next_expected_stream_version = 3, created_new_stream = false, last_event_global_position = 4,
      }, store:append_to_stream("a", { type = "A" }))
    end)

    it("keeps the order of one hundred events, appended in batches of all sizes (case 32)", function()
      local store <close> = open()
      local n = 0
      for _, size in ipairs { 1, 2, 3, 5, 8, 13, 21, 34, 13 } do
        store:append_to_stream("a", support.ticks(size, n + 1))
        n = n + size
      end
      local expected = {}
      for i = 1, 100 do expected[i] = i end
      assert.same(expected, support.pluck("data", store:events("a")))
      assert.same(expected, support.pluck("stream_position", store:events("a")))
    end)

    it("takes many events at once", function()
      local store <close> = open()
      local result = store:append_to_stream("a", support.ticks(10000))
      assert.equal(10000, result.next_expected_stream_version)
      assert.equal(10000, result.last_event_global_position)
      assert.equal(10000, store:read_stream("a", { from = 10000 }).events[1].data)
    end)

    it("is done in one piece: one bad event and none is written", function()
      local store <close> = open()
      local events = support.ticks(50)
      events[50].data = print
      support.refuses(store, "invalid_argument", nil, store.append_to_stream, store, "a", events)
      assert.is_false(store:stream_exists("a"))
    end)

    it("leaves the caller's events as they are", function()
      local store <close> = open()
      local event = { type = "A", data = { list = { 1, 2 } }, metadata = { by = "Ada" } }
      store:append_to_stream("a", { event })
      assert.same({ type = "A", data = { list = { 1, 2 } }, metadata = { by = "Ada" } }, event)
      assert.is_nil(getmetatable(event))
      assert.is_nil(getmetatable(event.data.list))
    end)

    it("copies the events, so that changing them later changes no history", function()
      local store <close> = open()
      local data = { total = 1 }
      store:append_to_stream("a", { type = "A", data = data })
      data.total = 2
      assert.same({ total = 1 }, store:read_stream("a").events[1].data)
    end)
  end)

  describe("appending no events", function()
    it("succeeds and creates no stream (case 28)", function()
      local store <close> = open()
      local result = store:append_to_stream("a", {})
      assert.equal(0, result.next_expected_stream_version)
      assert.is_false(result.created_new_stream)
      assert.is_nil(result.last_event_global_position)
      assert.is_false(store:stream_exists("a"))
    end)

    it("tells the version of a stream that exists", function()
      local store <close> = open()
      store:append_to_stream("a", support.ticks(3))
      local result = store:append_to_stream("a", {})
      assert.equal(3, result.next_expected_stream_version)
      assert.is_false(result.created_new_stream)
      assert.is_nil(result.last_event_global_position)
    end)

    it("takes no position", function()
      local store <close> = open()
      store:append_to_stream("a", {})
      assert.equal(1, store:append_to_stream("b", { type = "B" }).last_event_global_position)
    end)
  end)
end)

describe("an event", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  local function stored(event)
    store:append_to_stream("a", event)
    return store:read_stream("a", { backwards = true, max_count = 1 }).events[1]
  end

  it("needs a type only", function()
    local event = stored { type = "Opened" }
    assert.equal("Opened", event.type)
    assert.is_nil(event.data)
    assert.is_nil(event.metadata)
  end)

  it("keeps data and metadata apart", function()
    local event = stored { type = "Opened", data = { price = 3 }, metadata = { by = "Ada" } }
    assert.same({ price = 3 }, event.data)
    assert.same({ by = "Ada" }, event.metadata)
  end)

  it("may have data that is no table", function()
    for _, data in ipairs { 7, 0.5, "text", "", false, true } do
      assert.equal(data, stored({ type = "Told", data = data }).data)
    end
  end)

  it("may be made by moonfold.event", function()
    local event = stored(moonfold.event("Opened", { price = 3 }, { by = "Ada" }))
    assert.equal("Opened", event.type)
    assert.same({ price = 3 }, event.data)
    assert.same({ by = "Ada" }, event.metadata)
  end)

  it("may have any bytes in its type and in its stream's name", function()
    store:append_to_stream("\0\255 a", { type = "\0\255 T" })
    local event = store:read_stream("\0\255 a").events[1]
    assert.equal("\0\255 T", event.type)
    assert.equal("\0\255 a", event.stream_name)
    assert.same({ ["\0\255 a"] = 1 }, support.versions(store))
  end)

  it("gets an id of its own, the same at each reading", function()
    local one, other = stored { type = "A" }, stored { type = "A" }
    assert.equal("string", type(one.message_id))
    assert.not_equal(one.message_id, other.message_id)
    assert.same({ one.message_id, other.message_id }, support.pluck("message_id", store:events("a")))
  end)

  it("that was read may be appended again, as a new event", function()
    store:append_to_stream("a", { { type = "A", data = { n = 1 }, metadata = { by = "Ada" } }, { type = "B" } })
    store:append_to_stream("b", { type = "B" })
    local read = store:read_stream("a").events
    local result = store:append_to_stream("b", read)
    assert.equal(3, result.next_expected_stream_version)
    assert.equal(5, result.last_event_global_position)
    local copies = store:read_stream("b", { from = 2 }).events
    assert.same({ n = 1 }, copies[1].data)
    assert.same({ by = "Ada" }, copies[1].metadata)
    assert.same({ 2, 3 }, support.pluck("stream_position", copies))
    assert.same({ "b", "b" }, support.pluck("stream_name", copies))
    assert.not_equal(read[1].message_id, copies[1].message_id)
  end)

  it("that was read may be appended again to its own stream", function()
    local read = stored { type = "A" }
    assert.equal(2, store:append_to_stream("a", read).next_expected_stream_version)
  end)
end)

describe("generated ids", function()
  it("outlive the process and the closing of the store", function()
    local store, path = support.open()
    store:append_to_stream("a", support.ticks(3))
    local ids = support.pluck("message_id", store:events("a"))
    store:close()
    local again <close> = moonfold.open(path)
    assert.same(ids, support.pluck("message_id", again:events("a")))
  end)

  it("differ from store to store", function()
    local one <close> = moonfold.open(":memory:")
    local other <close> = moonfold.open(":memory:")
    one:append_to_stream("a", { type = "A" })
    other:append_to_stream("a", { type = "A" })
    assert.not_equal(one:read_stream("a").events[1].message_id, other:read_stream("a").events[1].message_id)
  end)
end)
