local moonfold = require "moonfold"
local support = require "support"

support.everywhere(function(open)
  describe("a backup", function()
    local store, path
    before_each(function()
      store, path = open(), support.path("copy.fold")
      store:append_to_stream("a", { { type = "A", data = { 1, 2 }, message_id = "id-1" }, { type = "B" } })
      store:append_to_stream("b", { type = "C", metadata = { by = "Ada" } })
    end)
    after_each(function() store:close() end)

    it("is a store with the same events", function()
      store:backup(path)
      local copy <close> = moonfold.open(path, { create = false })
      for field in ("type stream_name stream_position global_position recorded_at message_id"):gmatch("%S+") do
        assert.same(support.pluck(field, store:all_events()), support.pluck(field, copy:all_events()), field)
      end
      assert.same({ 1, 2 }, copy:read_stream("a").events[1].data)
      assert.same({ by = "Ada" }, copy:read_stream("b").events[1].metadata)
      assert.same({ a = 2, b = 1 }, support.versions(copy))
    end)

    it("is one file, complete without another", function()
      store:backup(path)
      assert.equal("copy.fold", support.files(path:match("^(.*)/")))
    end)

    it("lives its own life afterwards", function()
      store:backup(path)
      local copy <close> = moonfold.open(path)
      copy:append_to_stream("a", { type = "X" })
      store:append_to_stream("b", { type = "Y" })
      assert.same({ a = 3, b = 1 }, support.versions(copy))
      assert.same({ a = 2, b = 2 }, support.versions(store))
    end)

    it("knows the message ids again", function()
      store:backup(path)
      local copy <close> = moonfold.open(path)
      support.fails("id_conflict", { id = "id-1", stream = "a" },
        copy.append_to_stream, copy, "a", { type = "X", message_id = "id-1" })
    end)

    it("never overwrites a file", function()
      support.write(path, "precious")
      local returned, failure = pcall(store.backup, store, path)
      assert.is_false(returned)
      assert.equal("string", type(failure.code))
      assert.matches(path, failure.message, 1, true)
      assert.equal("precious", support.read(path))
      assert.equal("copy.fold", support.files(path:match("^(.*)/")))
    end)

    it("leaves nothing where its folder is missing", function()
      support.fails("not_found", nil, store.backup, store, path .. "/missing/copy.fold")
      assert.equal("", support.files(path:match("^(.*)/")))
    end)

    it("leaves the store as it was", function()
      store:backup(path)
      assert.matches("%(open%)$", tostring(store))
      assert.equal(3, store:append_to_stream("a", { type = "A" }).next_expected_stream_version)
    end)
  end)
end)

describe("a backup of a file", function()
  it("never overwrites the store itself", function()
    local store <close>, path = support.open()
    store:append_to_stream("a", support.ticks(10))
    assert.is_false((pcall(store.backup, store, path)))
    assert.equal(10, store:stream_version("a"))
  end)

  it("may be made by a reader", function()
    local writer <close>, path = support.open()
    writer:append_to_stream("a", support.ticks(10))
    local reader <close> = moonfold.open(path, { read_only = true })
    reader:backup(path .. ".copy")
    local copy <close> = moonfold.open(path .. ".copy")
    assert.equal(10, copy:stream_version("a"))
  end)

  it("is no larger than the store", function()
    local store <close>, path = support.open()
    for i = 1, 200 do store:append_to_stream("stream-" .. i % 7, support.ticks(3)) end
    store:backup(path .. ".copy")
    assert.is_true(#support.read(path .. ".copy") <= #support.read(path))
  end)

  it("of an empty store is an empty store", function()
    local store <close>, path = support.open()
    store:backup(path .. ".copy")
    local copy <close> = moonfold.open(path .. ".copy", { create = false })
    assert.equal(1, copy:append_to_stream("a", { type = "A" }).last_event_global_position)
  end)

  it("is consistent while another process writes", function()
    local store <close>, path = support.open()
    local peer <close> = support.peer()
    peer:run("store = moonfold.open(..., { durability = 'relaxed' })", path)
    peer:send([[
      for i = 1, 1000 do
        store:transaction(function()
          store:append_to_stream("left", { type = "Moved", data = i })
          store:append_to_stream("right", { type = "Moved", data = i })
        end)
      end
    ]])
    for i = 1, 5 do
      store:wait(i * 20, 30)
      local copy_path = path .. ".copy" .. i
      store:backup(copy_path)
      local copy <close> = moonfold.open(copy_path)
      local versions = support.versions(copy)
      assert.is_true(versions.left >= i * 10)
      assert.equal(versions.left, versions.right)
      assert.equal(2 * versions.left, support.count(copy))
      assert.equal(versions.left, copy:read_stream("left", { from = versions.left }).events[1].data)
    end
    peer:receive()
  end)
end)
