local moonfold = require "moonfold"
local support = require "support"

local ticks, pluck = support.ticks, support.pluck

local function sequence(first, last, step)
  local numbers = {}
  for n = first, last, step or 1 do numbers[#numbers + 1] = n end
  return numbers
end

support.everywhere(function(open)
  describe("walking through a stream", function()
    local store
    before_each(function()
      store = open()
      store:append_to_stream("b", ticks(2, 100))
      store:append_to_stream("a", ticks(10))
    end)
    after_each(function() store:close() end)

    local function positions(options)
      return pluck("stream_position", store:events("a", options))
    end

    it("visits each event once, in order", function()
      assert.same(sequence(1, 10), positions())
      assert.same(sequence(1, 10), pluck("data", store:events("a")))
    end)

    it("knows every option of read_stream", function()
      assert.same({ 3, 4, 5 }, positions { from = 3, to = 5 })
      assert.same({ 1, 2 }, positions { max_count = 2 })
      assert.same({}, positions { max_count = 0 })
      assert.same({}, positions { from = 11 })
      assert.same({ 10, 9 }, positions { backwards = true, max_count = 2 })
      assert.same({}, positions { types = { "Other" } })
      assert.same(sequence(1, 10), positions { expected_stream_version = 10 })
    end)

    it("visits nothing where there is no stream", function()
      assert.same({}, pluck("stream_position", store:events("missing")))
    end)

    it("says at once, not at its first event, that its expectation failed", function()
      support.refuses(store, "version_conflict", { stream = "a", expected = 3, current = 10 },
        store.events, store, "a", { expected_stream_version = 3 })
    end)

    it("stays at its end", function()
      local next_event, state = store:events("a", { max_count = 1 })
      assert.equal(1, next_event(state).stream_position)
      assert.is_nil(next_event(state))
      assert.is_nil(next_event(state))
    end)
  end)

  describe("walking through the log", function()
    local store
    before_each(function()
      store = open()
      for i = 1, 4 do
        store:append_to_stream("a", { type = "A", data = i })
        store:append_to_stream("b", { { type = "B", data = i }, { type = "A", data = -i } })
      end
    end)
    after_each(function() store:close() end)

    local function positions(options)
      return pluck("global_position", store:all_events(options))
    end

    it("visits the events of all streams, in the order of their commits", function()
      assert.same(sequence(1, 12), positions())
      assert.same({ "a", "b", "b", "a", "b", "b" }, pluck("stream_name", store:all_events { to = 6 }))
      assert.same({ 1, 1, 2, 2, 3, 4 }, pluck("stream_position", store:all_events { to = 6 }))
    end)

    it("takes from and to as global positions, both inclusive", function()
      assert.same({ 5, 6, 7 }, positions { from = 5, to = 7 })
      assert.same({ 1, 2 }, positions { from = 0, to = 2 })
      assert.same({}, positions { to = 0 })
      assert.same({}, positions { from = 13 })
      assert.same({ 12 }, positions { from = 12, to = 99 })
    end)

    it("stops after max_count", function()
      assert.same({ 5, 6 }, positions { from = 5, max_count = 2 })
      assert.same({}, positions { max_count = 0 })
    end)

    it("leaves out the types that were not asked for", function()
      assert.same({ 2, 5, 8, 11 }, positions { types = { "B" } })
      assert.same({ 1, 3, 4 }, positions { types = { "A" }, max_count = 3 })
      assert.same(sequence(1, 12), positions { types = { "A", "B", "C" } })
    end)

    it("goes backwards over everything", function()
      assert.same(sequence(12, 1, -1), positions { backwards = true })
      assert.same({ 7, 6, 5 }, positions { backwards = true, from = 5, to = 7 })
      assert.same({ 11, 8 }, positions { backwards = true, types = { "B" }, max_count = 2 })
    end)

    it("visits nothing in an empty store", function()
      local empty <close> = open()
      assert.same({}, pluck("global_position", empty:all_events()))
      assert.same({}, pluck("global_position", empty:all_events { backwards = true }))
    end)
  end)

  describe("walking through the streams", function()
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    local function names(prefix)
      local list = {}
      for name in store:streams(prefix) do list[#list + 1] = name end
      return list
    end

    it("visits them in the order of their bytes, whatever order they were made in", function()
      for _, name in ipairs { "b", "a-10", "\255", "Z", "a-2", "a", "\0", "ab", "a\0", "é" } do
        store:append_to_stream(name, ticks(1))
      end
      assert.same({ "\0", "Z", "a", "a\0", "a-10", "a-2", "ab", "b", "é", "\255" }, names())
    end)

    it("tells each version", function()
      store:append_to_stream("a", ticks(2))
      store:append_to_stream("b", ticks(1))
      store:append_to_stream("a", ticks(1))
      local versions = {}
      for name, version in store:streams() do versions[#versions + 1] = name .. " " .. version end
      assert.same({ "a 3", "b 1" }, versions)
    end)

    it("visits only those that begin with the prefix", function()
      for _, name in ipairs { "cart", "cart-1", "cart-2", "carts", "car", "Cart-1", "\255", "\255\255", "\255a" } do
        store:append_to_stream(name, ticks(1))
      end
      assert.same({ "cart-1", "cart-2" }, names("cart-"))
      assert.same({ "car", "cart", "cart-1", "cart-2", "carts" }, names("car"))
      assert.same({ "cart-2" }, names("cart-2"))
      assert.same({}, names("cart-3"))
      assert.same({ "\255", "\255a", "\255\255" }, names("\255"))
      assert.same({}, names(("x"):rep(400)))
      assert.equal(9, #names(""))
    end)

    it("visits very many", function()
      local expected = {}
      store:transaction(function()
        for i = 1, 3000 do
          expected[i] = ("stream-%05d"):format(i)
          store:append_to_stream(expected[i], ticks(1))
        end
      end)
      assert.same(expected, names("stream-"))
      assert.same({ "stream-02999" }, names("stream-02999"))
    end)

    it("may append to them on the way, and does not come to those that are made meanwhile", function()
      local expected = {}
      store:transaction(function()
        for i = 1, 600 do
          expected[i] = ("a-%03d"):format(i)
          store:append_to_stream(expected[i], ticks(1))
        end
      end)
      local seen = {}
      for name in store:streams("a-") do
        seen[#seen + 1] = name
        if #seen % 100 == 0 then
          store:append_to_stream(name, ticks(1))
          store:append_to_stream(name .. "-new", ticks(1))
          store:append_to_stream("a-9" .. name, ticks(1))
        end
      end
      assert.same(expected, seen)
      assert.equal(612, #names("a-"))
    end)

    it("may be left early", function()
      for i = 1, 5 do store:append_to_stream("a-" .. i, ticks(1)) end
      for name in store:streams() do
        if name == "a-2" then break end
      end
      assert.matches("%(open%)$", tostring(store))
    end)
  end)

  describe("appending while iterating", function()
    local store
    before_each(function()
      store = open()
      store:append_to_stream("a", ticks(5))
    end)
    after_each(function() store:close() end)

    it("does not lengthen the walk through the stream", function()
      local seen = {}
      for event in store:events("a") do
        seen[#seen + 1] = event.data
        store:append_to_stream("a", { type = "Ticked", data = event.data + 100 })
      end
      assert.same({ 1, 2, 3, 4, 5 }, seen)
      assert.equal(10, store:stream_version("a"))
    end)

    it("does not lengthen the walk through the log", function()
      local seen = {}
      for event in store:all_events() do
        seen[#seen + 1] = event.global_position
        store:append_to_stream("b", { type = "Copied" })
      end
      assert.same({ 1, 2, 3, 4, 5 }, seen)
      assert.equal(10, support.count(store))
    end)

    it("does not move the end that a backward walk begins at", function()
      local next_event, state, first, iterator = store:events("a", { backwards = true })
      store:append_to_stream("a", ticks(5, 100))
      assert.same({ 5, 4, 3, 2, 1 }, pluck("data", next_event, state, first, iterator))
    end)

    it("counts the end from when the iterator was made, not from its first step", function()
      local next_event, state, first, iterator = store:events("a", { to = 8 })
      store:append_to_stream("a", ticks(5, 100))
      assert.same({ 1, 2, 3, 4, 5 }, pluck("data", next_event, state, first, iterator))
    end)

    it("may be done with what is being read", function()
      for event in store:events("a") do store:append_to_stream("copy", event) end
      assert.same({ 1, 2, 3, 4, 5 }, pluck("data", store:events("copy")))
    end)
  end)

  describe("an iterator that is left early", function()
    local store
    before_each(function()
      store = open()
      store:append_to_stream("a", ticks(5))
    end)
    after_each(function() store:close() end)

    local function holds_nothing()
      assert.matches("%(open%)$", tostring(store))
    end

    it("by break holds nothing", function()
      for event in store:events("a") do
        assert.matches("1 iterator", tostring(store), 1, true)
        if event.stream_position == 2 then break end
      end
      holds_nothing()
    end)

    it("by return holds nothing", function()
      local function first()
        for event in store:all_events() do return event end -- luacheck: ignore 512
      end
      assert.equal(1, first().data)
      holds_nothing()
    end)

    it("by an error holds nothing, and the error comes out", function()
      local mine = {}
      local _, raised = pcall(function()
        for _ in store:events("a") do error(mine) end
      end)
      assert.equal(mine, raised)
      holds_nothing()
    end)

    it("by goto holds nothing", function()
      for _ in store:events("a") do goto out end -- luacheck: ignore 512
      ::out::
      holds_nothing()
    end)

    it("with a coroutine that is closed holds nothing", function()
      local walk = coroutine.create(function()
        for event in store:events("a") do coroutine.yield(event.data) end
      end)
      assert.same({ true, 1 }, { coroutine.resume(walk) })
      assert.same({ true, 2 }, { coroutine.resume(walk) })
      coroutine.close(walk)
      holds_nothing()
    end)

    it("and forgotten is closed by the garbage collector", function()
      do
        local next_event, state = store:events("a")
        next_event(state)
      end
      collectgarbage()
      collectgarbage()
      holds_nothing()
    end)

    it("outside of a for loop is closed by its fourth value", function()
      do
        local next_event, state, _, iterator <close> = store:events("a")
        assert.is_not_nil(iterator)
        assert.equal(1, next_event(state).data)
        assert.matches("1 iterator", tostring(store), 1, true)
      end
      holds_nothing()
    end)
  end)

  describe("two iterators at once", function()
    it("do not disturb each other", function()
      local store <close> = open()
      store:append_to_stream("a", ticks(3))
      store:append_to_stream("b", ticks(3, 10))
      local pairs_seen = {}
      for outer in store:events("a") do
        for inner in store:events("b", { backwards = true }) do
          assert.matches("2 iterators", tostring(store), 1, true)
          pairs_seen[#pairs_seen + 1] = outer.data .. "/" .. inner.data
        end
      end
      assert.same({ "1/12", "1/11", "1/10", "2/12", "2/11", "2/10", "3/12", "3/11", "3/10" }, pairs_seen)
    end)
  end)

  describe("closing the store while iterating", function()
    it("makes the iterator raise at its next step, and leaves nothing", function()
      local store = open()
      store:append_to_stream("a", ticks(5))
      local seen = 0
      support.fails("closed", nil, function()
        for _ in store:events("a") do
          seen = seen + 1
          store:close()
        end
      end)
      assert.equal(1, seen)
      assert.matches("%(closed%)$", tostring(store))
    end)

    it("does the same to a walk through the streams", function()
      local store = open()
      store:append_to_stream("a", ticks(1))
      store:append_to_stream("b", ticks(1))
      support.fails("closed", nil, function()
        for _ in store:streams() do store:close() end
      end)
      assert.matches("%(closed%)$", tostring(store))
    end)

    it("is fine when the loop ends with it", function()
      local store = open()
      store:append_to_stream("a", ticks(5))
      for _ in store:events("a") do -- luacheck: ignore 512
        store:close()
        break
      end
      assert.matches("%(closed%)$", tostring(store))
    end)

    it("is told in the store's text until the iterator is closed, too", function()
      local store = open()
      store:append_to_stream("a", ticks(5))
      do
        local next_event, state, _, iterator <close> = store:events("a")
        next_event(state)
        store:close()
        assert.is_not_nil(iterator)
        assert.matches("%(closed, 1 iterators? left%)$", tostring(store))
      end
      assert.matches("%(closed%)$", tostring(store))
    end)
  end)
end)

describe("many events", function()
  local N, STREAMS = 12000, 7
  local store

  lazy_setup(function()
    store = moonfold.open(":memory:")
    store:transaction(function()
      for i = 1, N do
        store:append_to_stream("s" .. i % STREAMS, { type = i % 5 == 0 and "Fifth" or "Other", data = i })
      end
    end)
  end)
  lazy_teardown(function() store:close() end)

  --- Walks and checks that the data are first, first + step, ... to last.
  local function walks(first, last, step, ...)
    local expected = first
    for event in ... do
      if event.data ~= expected then assert.equal(expected, event.data) end
      expected = expected + step
    end
    assert.equal(last + step, expected)
  end

  it("come in order over the whole log", function()
    walks(1, N, 1, store:all_events())
  end)

  it("come in order backwards over the whole log", function()
    walks(N, 1, -1, store:all_events { backwards = true })
  end)

  it("come in order in each of several interleaved streams", function()
    for s = 0, STREAMS - 1 do
      local name, first = "s" .. s, s == 0 and STREAMS or s
      local last = first + (store:stream_version(name) - 1) * STREAMS
      walks(first, last, STREAMS, store:events(name))
      walks(last, first, -STREAMS, store:events(name, { backwards = true }))
    end
  end)

  it("come in order when only some types are wanted", function()
    walks(5, N, 5, store:all_events { types = { "Fifth" } })
    walks(N, 5, -5, store:all_events { types = { "Fifth" }, backwards = true })
  end)

  it("come also where the wanted ones are rare", function()
    local rare <close> = moonfold.open(":memory:")
    local events = ticks(40000)
    events[1].type, events[30000].type, events[40000].type = "Rare", "Rare", "Rare"
    rare:append_to_stream("a", events)
    local options = { types = { "Rare" } }
    assert.same({ 1, 30000, 40000 }, pluck("data", rare:all_events(options)))
    assert.same({ 1, 30000, 40000 }, pluck("data", rare:events("a", options)))
    options.backwards = true
    assert.same({ 40000, 30000, 1 }, pluck("data", rare:all_events(options)))
    assert.same({ 30000 }, pluck("data", rare:all_events { types = { "Rare" }, from = 2, to = 39999 }))
  end)

  it("come from any place in the middle", function()
    for _, from in ipairs { 1, 2, 1023, 1024, 1025, 4999, N - 1, N } do
      walks(from, math.min(from + 99, N), 1, store:all_events { from = from, max_count = 100 })
      walks(from, math.max(from - 99, 1), -1, store:all_events { to = from, max_count = 100, backwards = true })
    end
  end)

  it("have positions that agree in the log and in the stream", function()
    local version = 0
    for event in store:events("s3") do
      version = version + 1
      assert.equal(version, event.stream_position)
      assert.equal(event.data, event.global_position)
      assert.equal("s3", event.stream_name)
    end
    assert.equal(store:stream_version("s3"), version)
  end)
end)

describe("the log of very many streams", function()
  it("tells for each event the stream that it belongs to", function()
    local STREAM_COUNT, ROUNDS = 700, 3
    local store <close> = moonfold.open(":memory:")
    store:transaction(function()
      for _ = 1, ROUNDS do
        for i = 1, STREAM_COUNT do store:append_to_stream("stream-" .. i, { type = "Ticked", data = i }) end
      end
    end)
    local count = 0
    for event in store:all_events() do
      count = count + 1
      if event.stream_name ~= "stream-" .. event.data or event.stream_position ~= (count - 1) // STREAM_COUNT + 1 then
        assert.same({ "stream-" .. event.data }, { event.stream_name, event.stream_position })
      end
    end
    assert.equal(STREAM_COUNT * ROUNDS, count)
    assert.same({ 1, 2, 3 }, pluck("stream_position", store:events("stream-650")))
    assert.same({ 3, 2, 1 }, pluck("stream_position", store:events("stream-7", { backwards = true })))
  end)
end)

describe("inside a transaction", function()
  local store
  before_each(function()
    store = moonfold.open(":memory:")
    for _ = 1, 3 do
      store:append_to_stream("a", ticks(100))
      store:append_to_stream("b", ticks(100))
    end
  end)
  after_each(function() store:close() end)

  it("iterators come to what it has appended, right after what was there before", function()
    store:transaction(function()
      for i = 1, 2000 do store:append_to_stream(i % 3 == 0 and "new" or "a", { type = "Added", data = i }) end
      assert.same(sequence(1, 2600), pluck("global_position", store:all_events()))
      assert.same(sequence(2600, 1, -1), pluck("global_position", store:all_events { backwards = true }))
      assert.same(sequence(299, 302), pluck("stream_position", store:events("a", { from = 299, max_count = 4 })))
      assert.same(sequence(302, 299, -1),
        pluck("stream_position", store:events("a", { to = 302, max_count = 4, backwards = true })))
      assert.same(sequence(3, 2000, 3), pluck("data", store:events("new")))
      assert.same({ 1, 2, 4 }, pluck("data", store:events("a", { types = { "Added" }, max_count = 3 })))
      assert.same(sequence(1, 2000), pluck("data", store:all_events { types = { "Added" } }))
    end)
    assert.same(sequence(1, 2600), pluck("global_position", store:all_events()))
  end)

  it("streams are walked through together with those that it has made", function()
    local function names()
      local list = {}
      for name, version in store:streams() do list[#list + 1] = name .. version end
      return table.concat(list, " ")
    end
    store:transaction(function()
      for _, name in ipairs { "c", "aa", "0", "b" } do store:append_to_stream(name, ticks(1)) end
      assert.equal("01 a300 aa1 b301 c1", names())
    end)
    assert.equal("01 a300 aa1 b301 c1", names())
  end)
end)

describe("large events", function()
  it("come one after the other, however many batches they fill", function()
    local store <close> = support.open { durability = "none" }
    local MiB = 1024 * 1024
    for i = 1, 6 do
      local big = ("%d"):format(i):rep(3 * MiB)
      store:append_to_stream("a", { { type = "Big", data = big }, { type = "Small", data = i } })
    end
    local seen = {}
    for event in store:events("a") do
      local data = event.data
      if event.type == "Big" then
        assert.equal(3 * MiB, #data)
        data = data:sub(-1)
      end
      seen[#seen + 1] = data
    end
    assert.same({ "1", 1, "2", 2, "3", 3, "4", 4, "5", 5, "6", 6 }, seen)
  end)
end)

describe("an iterator", function()
  it("does not see what another process appends meanwhile", function()
    local store <close>, path = support.open()
    local peer <close> = support.peer()
    store:append_to_stream("a", ticks(5000))
    local next_event, state, first, iterator = store:all_events()
    peer:run("local s <close> = moonfold.open(...) s:append_to_stream('a', support.ticks(5000))", path)
    assert.same(sequence(1, 5000), pluck("global_position", next_event, state, first, iterator))
    assert.equal(10000, store:stream_version("a"))
  end)

  it("keeps its store open when nothing else does", function()
    local run = support.lua([[
      local moonfold = require "moonfold"
      do
        local store <close> = moonfold.open(arg[1])
        store:append_to_stream("a", require("support").ticks(5000))
      end
      local sum = 0
      for event in moonfold.open(arg[1]):events("a") do
        sum = sum + event.data
        if event.data % 1000 == 0 then collectgarbage() end
      end
      print(sum)
    ]], support.path())
    assert.equal("12502500\n", run.stdout, run.stderr)
  end)
end)
