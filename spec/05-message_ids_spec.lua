local moonfold = require "moonfold"
local support = require "support"

support.everywhere(function(open)
  describe("a message id given by the caller", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function append(stream, events, options)
      return store:append_to_stream(stream, events, options)
    end

    local function conflict(id, stream, events, options)
      support.refuses(store, "id_conflict", { id = id, stream = stream }, append, stream, events, options)
    end

    local function opened(id)
      return { type = "Opened", data = { by = "Ada", at = 3 }, metadata = { host = "moon" }, message_id = id }
    end

    it("is the event's id", function()
      append("a", opened("id-1"))
      assert.equal("id-1", store:read_stream("a").events[1].message_id)
    end)

    it("may have any bytes", function()
      append("a", opened("\0\255"))
      append("a", opened("\0\254"))
      assert.same({ "\0\255", "\0\254" }, support.pluck("message_id", store:events("a")))
    end)

    it("may be 1 to 200 bytes long", function()
      append("a", { opened("x"), opened(("x"):rep(200)) })
      append("a", { opened("x"), opened(("x"):rep(200)) })
      assert.equal(2, store:stream_version("a"))
    end)

    it("makes a repeated append a no-op that tells the original positions", function()
      append("b", { type = "B" })
      append("a", opened("id-1"))
      append("a", { type = "Closed" })
      local result = append("a", opened("id-1"))
      assert.equal(1, result.next_expected_stream_version)
      assert.equal(2, result.last_event_global_position)
      assert.same({ a = 2, b = 1 }, support.versions(store))
      assert.equal(3, support.count(store))
    end)

    it("is looked at before the expectation, so that a lost answer may be asked for again", function()
      local first = append("a", opened("id-1"), { expected_stream_version = 0 })
      local second = append("a", opened("id-1"), { expected_stream_version = 0 })
      assert.equal(first.next_expected_stream_version, second.next_expected_stream_version)
      assert.equal(first.last_event_global_position, second.last_event_global_position)
      assert.equal(1, store:stream_version("a"))
    end)

    it("does not save an expectation that fails for a new id", function()
      append("a", opened("id-1"))
      support.refuses(store, "version_conflict", { expected = 0, current = 1 },
        append, "a", opened("id-2"), { expected_stream_version = 0 })
    end)

    it("knows the same content whatever the order of its keys", function()
      local data = {}
      for i = 1, 50 do data["key" .. i] = i end
      append("a", { type = "A", data = data, message_id = "id-1" })
      local reversed = {}
      for i = 50, 1, -1 do reversed["key" .. i] = i end
      append("a", { type = "A", data = reversed, message_id = "id-1" })
      assert.equal(1, store:stream_version("a"))
    end)

    it("is refused in another stream", function()
      append("a", opened("id-1"))
      conflict("id-1", "b", opened("id-1"))
    end)

    it("is refused with another type", function()
      append("a", opened("id-1"))
      local event = opened("id-1")
      event.type = "Closed"
      conflict("id-1", "a", event)
    end)

    it("is refused with other data", function()
      append("a", opened("id-1"))
      local event = opened("id-1")
      event.data.at = 4
      conflict("id-1", "a", event)
    end)

    it("is refused with an integer that became a float", function()
      append("a", opened("id-1"))
      local event = opened("id-1")
      event.data.at = 3.0
      conflict("id-1", "a", event)
    end)

    it("is refused with other metadata", function()
      append("a", opened("id-1"))
      local event = opened("id-1")
      event.metadata = nil
      conflict("id-1", "a", event)
    end)

    it("is refused twice in one append", function()
      conflict("id-1", "a", { opened("id-1"), opened("id-1") })
    end)

    it("is found again after the store was closed and opened", function()
      local file, path = support.open()
      file:append_to_stream("a", opened("id-1"))
      file:close()
      local again <close> = moonfold.open(path)
      again:append_to_stream("a", opened("id-1"))
      assert.equal(1, again:stream_version("a"))
    end)

    it("is free again when its transaction was given up", function()
      pcall(store.transaction, store, function()
        append("a", opened("id-1"))
        error "no"
      end)
      append("b", opened("id-1"))
      assert.same({ b = 1 }, support.versions(store))
    end)

    it("is known within the transaction that appends it", function()
      store:transaction(function()
        append("a", opened("id-1"))
        append("a", opened("id-1"))
        local refused = support.fails("id_conflict", { id = "id-1", stream = "b" }, append, "b", opened("id-1"))
        assert.matches("id-1", refused.message, 1, true)
      end)
      assert.same({ a = 1 }, support.versions(store))
    end)
  end)

  describe("a batch of events with message ids", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function batch(...)
      local events = {}
      for i, id in ipairs { ... } do
        events[i] = { type = "A", data = id, message_id = id }
      end
      return events
    end

    local function conflict(id, events)
      support.refuses(store, "id_conflict", { id = id, stream = "a" },
        store.append_to_stream, store, "a", events)
    end

    it("is a no-op when all of it is known", function()
      store:append_to_stream("a", batch("1", "2", "3"))
      store:append_to_stream("a", { type = "B" })
      local result = store:append_to_stream("a", batch("1", "2", "3"))
      assert.equal(3, result.next_expected_stream_version)
      assert.equal(3, result.last_event_global_position)
      assert.equal(4, store:stream_version("a"))
    end)

    it("is a no-op when all of it is known from several appends, or a part of one is repeated", function()
      store:append_to_stream("a", batch("1"))
      store:append_to_stream("a", batch("2", "3"))
      assert.equal(2, store:append_to_stream("a", batch("1", "2")).next_expected_stream_version)
      assert.equal(2, store:append_to_stream("a", batch("2")).last_event_global_position)
      assert.equal(3, store:stream_version("a"))
    end)

    it("is refused when a part of it is known and a part is new", function()
      store:append_to_stream("a", batch("1", "2"))
      conflict("2", batch("2", "3"))
      conflict("2", batch("3", "2"))
      assert.equal(2, store:stream_version("a"))
    end)

    it("is refused when all ids are known and one content is not", function()
      store:append_to_stream("a", batch("1", "2"))
      local events = batch("1", "2")
      events[2].data = "other"
      conflict("2", events)
    end)
  end)
end)

describe("an id conflict", function()
  it("names the id and what to do about it", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("a", { type = "A", message_id = "id-1" })
    local failure = support.fails("id_conflict", { id = "id-1", stream = "a" },
      store.append_to_stream, store, "a", { type = "B", message_id = "id-1" })
    assert.matches("id-1", failure.message, 1, true)
  end)
end)
