local moonfold = require "moonfold"
local support = require "support"

local event, command = moonfold.event, moonfold.command
local pluck = support.pluck

local FIELDS = {
  "data", "global_position", "message_id", "metadata", "recorded_at", "stream_name", "stream_position", "type",
}

support.everywhere(function(open)
  describe("an event that was read", function()
    local store
    before_each(function()
      store = open()
      store:append_to_stream("other", support.ticks(2))
      store:append_to_stream("a", {
        { type = "Opened", data = { list = { 1, 2 } }, metadata = { by = "Ada" }, message_id = "id-1" },
        { type = "Closed" },
      })
    end)
    after_each(function() store:close() end)

    local function first() return store:read_stream("a").events[1] end

    it("knows what was appended, where it stands, and when it was recorded", function()
      local opened = first()
      assert.equal("Opened", opened.type)
      assert.same({ list = { 1, 2 } }, opened.data)
      assert.same({ by = "Ada" }, opened.metadata)
      assert.equal("id-1", opened.message_id)
      assert.equal("a", opened.stream_name)
      assert.equal(1, opened.stream_position)
      assert.equal(3, opened.global_position)
      assert.equal("integer", math.type(opened.recorded_at))
    end)

    it("has its type, data and metadata as plain fields", function()
      local opened = first()
      assert.equal("Opened", rawget(opened, "type"))
      assert.same({ list = { 1, 2 } }, rawget(opened, "data"))
      assert.same({ by = "Ada" }, rawget(opened, "metadata"))
    end)

    it("shows all its fields to pairs, each once", function()
      local keys, values = {}, {}
      for key, value in pairs(first()) do
        keys[#keys + 1] = key
        values[key] = value
      end
      table.sort(keys)
      assert.same(FIELDS, keys)
      for _, key in ipairs(FIELDS) do assert.same(first()[key], values[key], key) end
    end)

    it("shows to pairs no data and no metadata when it has none", function()
      local values = {}
      for key, value in pairs(store:read_stream("a").events[2]) do values[key] = value end
      assert.is_nil(values.data)
      assert.is_nil(values.metadata)
      assert.equal("Closed", values.type)
      assert.equal(4, values.global_position)
      assert.equal("string", type(values.message_id))
    end)

    it("has no other fields", function()
      assert.is_nil(first().version)
      assert.is_nil(first().position)
      assert.is_nil(first()[1])
    end)

    it("may be changed, which changes no other event and no history", function()
      local opened, closed = table.unpack(store:read_stream("a").events)
      opened.stream_position, opened.mine, opened.type = 99, "mine", "Changed"
      opened.data.list[1] = "changed"
      assert.equal(99, opened.stream_position)
      assert.equal("mine", opened.mine)
      assert.equal(2, closed.stream_position)
      assert.is_nil(closed.mine)
      assert.equal("Opened", first().type)
      assert.equal(1, first().stream_position)
      assert.same({ list = { 1, 2 } }, first().data)
    end)

    it("may be kept, however many come after it", function()
      store:append_to_stream("a", support.ticks(3000))
      local kept = {}
      for one in store:all_events() do kept[#kept + 1] = one end
      collectgarbage()
      for i, one in ipairs(kept) do
        assert.equal(i, one.global_position)
        assert.equal(i <= 2 and "other" or "a", one.stream_name)
      end
      assert.equal("id-1", kept[3].message_id)
      assert.same({ list = { 1, 2 } }, kept[3].data)
      assert.equal(3000, kept[#kept].data)
    end)

    it("may be kept longer than its store is open", function()
      local opened, closed = table.unpack(store:read_stream("a").events)
      local id = store:read_stream("a").events[2].message_id
      store:close()
      collectgarbage()
      assert.equal("id-1", opened.message_id)
      assert.equal(id, closed.message_id)
      assert.same({ "a", 1, 3 }, { opened.stream_name, opened.stream_position, opened.global_position })
    end)
  end)

  describe("the same event", function()
    it("reads the same by every way of reading", function()
      local store <close> = open()
      local recorded = store:handle("a", {
        initial_state = {},
        evolve = { Done = false },
        decide = function() return event("Done", { n = 1 }, { by = "Ada" }) end,
      }, command "Do").events[1]
      local ways = { recorded }
      for _, backwards in ipairs { false, true } do
        ways[#ways + 1] = store:read_stream("a", { backwards = backwards }).events[1]
      end
      for one in store:events("a") do ways[#ways + 1] = one end
      for one in store:all_events() do ways[#ways + 1] = one end
      store:aggregate_stream("a", { initial_state = 0, evolve = function(_, one) ways[#ways + 1] = one end })
      assert.equal(6, #ways)
      for _, field in ipairs(FIELDS) do
        for _, one in ipairs(ways) do assert.same(recorded[field], one[field], field) end
      end
    end)
  end)

  describe("the type of an event", function()
    it("is its own, also when another new type was undone before it", function()
      local store <close> = open()
      local function undone(stream, type)
        pcall(store.transaction, store, function()
          store:append_to_stream(stream, { type = type })
          assert.same({ type }, pluck("type", store:events(stream)))
          store:aggregate_stream(stream, { initial_state = 0, evolve = { [type] = function() end } })
          error "no"
        end)
      end
      undone("x", "Undone")
      store:append_to_stream("a", { type = "Done" })
      undone("y", "Undone")
      store:append_to_stream("b", { type = "Seen" })
      assert.same({ "Done", "Seen" }, pluck("type", store:all_events()))
      assert.same({ "a", "b" }, pluck("stream_name", store:all_events()))
      assert.equal("Done", store:read_stream("a").events[1].type)
      local types = store:aggregate_stream("b", {
        initial_state = {},
        evolve = {
          Undone = function(state) state[#state + 1] = "Undone" end,
          Seen = function(state) state[#state + 1] = "Seen" end,
        },
      }).state
      assert.same({ "Seen" }, types)
      assert.equal(0, #store:read_stream("a", { types = { "Undone" } }).events)
      assert.equal(1, #store:read_stream("a", { types = { "Done" } }).events)
    end)

    it("is one of any number", function()
      local store <close> = open()
      local events, types = {}, {}
      for i = 1, 3000 do
        types[i] = "Type" .. i
        events[i] = { type = types[i] }
      end
      store:append_to_stream("a", events)
      assert.same(types, pluck("type", store:events("a")))
      assert.same({ 2999 }, pluck("stream_position", store:read_stream("a", { types = { "Type2999" } }).events))
    end)
  end)

  describe("the time of an event", function()
    it("is the clock's, asked once for each append", function()
      local now = 1000
      local store <close> = open { clock = function() now = now + 1 return now end }
      store:append_to_stream("a", support.ticks(3))
      store:transaction(function()
        store:append_to_stream("a", support.ticks(1))
        store:append_to_stream("b", support.ticks(1))
      end)
      assert.same({ 1001, 1001, 1001, 1002, 1003 }, pluck("recorded_at", store:all_events()))
    end)

    it("is in microseconds since 1970 when no clock was given", function()
      local store <close> = open()
      local before = os.time()
      store:append_to_stream("a", support.ticks(1))
      local after = os.time() + 1.01 -- its clock may lag a tick behind
      local recorded_at = store:read_stream("a").events[1].recorded_at
      assert.is_true(before * 1000000 <= recorded_at and recorded_at <= after * 1000000)
    end)

    it("may go backwards, for a clock may be set", function()
      local times = { 2000, 1000, 0, -5, math.maxinteger }
      local i = 0
      local store <close> = open { clock = function() i = i + 1 return times[i] end }
      for _ = 1, #times do store:append_to_stream("a", support.ticks(1)) end
      assert.same(times, pluck("recorded_at", store:events("a")))
    end)

    it("must be an integer, or nothing is recorded", function()
      for _, time in ipairs { 1.5, "1000", {}, false } do
        local store <close> = open { clock = function() return time or nil end }
        assert.is_false(pcall(store.append_to_stream, store, "a", support.ticks(1)))
        assert.is_false(store:stream_exists("a"))
      end
    end)

    it("comes from a clock that may fail, and then nothing is recorded", function()
      local store <close> = open { clock = function() error "the clock has stopped" end }
      local appended, failure = pcall(store.append_to_stream, store, "a", support.ticks(1))
      assert.is_false(appended)
      assert.matches("the clock has stopped", tostring(failure), 1, true)
      assert.is_false(store:stream_exists("a"))
    end)
  end)

  describe("an event that was read and is appended again", function()
    local store, read
    before_each(function()
      store = open()
      store:append_to_stream("a", {
        event("Opened", { list = moonfold.array(), [3] = 0.0 }, { by = "Ada" }), event "Closed",
      })
      read = store:read_stream("a").events
    end)
    after_each(function() store:close() end)

    it("is a new event with the same type, data and metadata", function()
      store:append_to_stream("b", read)
      local copies = store:read_stream("b").events
      assert.same(pluck("type", read), pluck("type", copies))
      assert.equal(moonfold.hash(read[1].data), moonfold.hash(copies[1].data))
      assert.same({ by = "Ada" }, copies[1].metadata)
      assert.is_nil(copies[2].data)
      assert.same({ 3, 4 }, pluck("global_position", copies))
      assert.not_equal(read[1].message_id, copies[1].message_id)
    end)

    it("may be changed first", function()
      read[1].type = "Reopened"
      read[1].data.by = "Bob"
      read[2].data = 7
      store:append_to_stream("a", read)
      local copies = store:read_stream("a", { from = 3 }).events
      assert.same({ "Reopened", "Closed" }, pluck("type", copies))
      assert.equal("Bob", copies[1].data.by)
      assert.equal(7, copies[2].data)
    end)

    it("may be given an id of its own", function()
      read[1].message_id = "id-1"
      store:append_to_stream("b", read[1])
      store:append_to_stream("b", read[1])
      assert.equal(1, store:stream_version("b"))
      assert.equal("id-1", store:read_stream("b").events[1].message_id)
    end)

    it("may come from another store", function()
      local other <close> = moonfold.open(":memory:")
      other:append_to_stream("copy", read)
      assert.same({ "Opened", "Closed" }, pluck("type", other:events("copy")))
    end)

    it("may be what a decision returns", function()
      local result = store:handle("a", {
        initial_state = {},
        evolve = function(state, one) state[#state + 1] = one end,
        decide = function(_, state) return state[1] end,
      }, command "Repeat")
      assert.same({ "Opened" }, pluck("type", result.events))
      assert.equal(3, result.events[1].stream_position)
      assert.equal(moonfold.hash(read[1].data), moonfold.hash(result.events[1].data))
    end)
  end)
end)

describe("generated message ids", function()
  it("are unique over streams, appends, transactions and stores", function()
    local seen, count = {}, 0
    for _ = 1, 2 do
      local store <close> = moonfold.open(":memory:")
      for i = 1, 10 do store:append_to_stream("s" .. i % 3, support.ticks(500)) end
      store:transaction(function() store:append_to_stream("t", support.ticks(500)) end)
      for one in store:all_events() do
        assert.equal("string", type(one.message_id))
        seen[one.message_id] = true
      end
    end
    for _ in pairs(seen) do count = count + 1 end
    assert.equal(11000, count)
  end)

  it("are the same in another process and after a backup", function()
    local store <close>, path = support.open()
    store:append_to_stream("a", support.ticks(3))
    local copy = support.path("copy.fold")
    store:backup(copy)
    local peer <close> = support.peer()
    for _, file in ipairs { path, copy } do
      assert.same(pluck("message_id", store:events("a")), { peer:run([[
        local store <close> = moonfold.open(...)
        return table.unpack(support.pluck("message_id", store:events("a")))
      ]], file) })
    end
  end)
end)

describe("moonfold.event and moonfold.command", function()
  it("make plain tables with the fields that were given", function()
    assert.same({ type = "Opened" }, event "Opened")
    assert.same({ type = "Opened", data = 1, metadata = { by = "Ada" } }, event("Opened", 1, { by = "Ada" }))
    assert.same({ type = "Open", data = { n = 1 } }, command("Open", { n = 1 }))
    assert.same({ type = "Open", data = false }, command("Open", false))
    assert.is_nil(getmetatable(event "Opened"))
    assert.is_nil(getmetatable(command "Open"))
  end)

  it("do not copy what they are given", function()
    local data = {}
    assert.is_true(rawequal(data, event("Opened", data).data))
  end)
end)
