--- transaction(f, { dry_run = true }): a what-if that sees its own writes, and of which nothing stays.

local moonfold = require "moonfold"
local support = require "support"

local counter = {
  initial_state = 0,
  evolve = { Ticked = function(count, event) return count + event.data end },
  decide = {
    Tick = function(command, count)
      if count + command.data > 100 then moonfold.reject("too_many") end
      return moonfold.event("Ticked", command.data)
    end,
  },
}

local dry <const> = { dry_run = true }

support.everywhere(function(open)
  describe("a dry run", function()
    local store
    before_each(function()
      store = open()
      store:append_to_stream("a", support.ticks(3))
    end)
    after_each(function() store:close() end)

    it("returns what its function returns", function()
      assert.same({ 1, nil, "two", n = 3 },
        table.pack(store:transaction(function() return 1, nil, "two" end, dry)))
    end)

    it("sees what it appended and decided, and keeps none of it", function()
      local seen = table.pack(store:transaction(function(dreamt)
        assert.equal(4, dreamt:append_to_stream("b", support.ticks(4)).next_expected_stream_version)
        local result = dreamt:handle("a", counter, moonfold.command("Tick", 10))
        return result.state, dreamt:stream_version("b"), support.count(dreamt),
          dreamt:aggregate_stream("a", counter).state
      end, dry))
      assert.same({ 16, 4, 8, 16, n = 4 }, seen)
      assert.same({ a = 3 }, support.versions(store))
      assert.equal(3, store:append_to_stream("a", {}).next_expected_stream_version)
    end)

    it("leaves ids and types as new as they were", function()
      local function append() return store:append_to_stream("b", { type = "Odd", message_id = "id" }) end
      store:transaction(append, dry)
      assert.is_true(append().created_new_stream)
    end)

    it("raises its function's error unchanged, and keeps nothing then either", function()
      local failure = {}
      local returned, raised = pcall(store.transaction, store, function()
        store:append_to_stream("a", support.ticks(1))
        error(failure)
      end, dry)
      assert.is_false(returned)
      assert.equal(failure, raised)
      assert.same({ a = 3 }, support.versions(store))
    end)

    it("lets a refusal inside be caught", function()
      local _, rejection = store:transaction(function()
        return store:attempt("a", counter, moonfold.command("Tick", 1000))
      end, dry)
      assert.equal("too_many", rejection.reason)
    end)

    it("refuses what a transaction refuses", function()
      store:transaction(function()
        support.fails("invalid_argument", nil, store.transaction, store, function() end, dry)
        support.fails("invalid_argument", nil, store.close, store)
        support.fails("invalid_argument", nil, store.wait, store, 1, 0)
      end, dry)
    end)
  end)
end)

describe("a dry run of a file", function()
  it("works on a read-only store, where a real transaction does not", function()
    local store, path = support.open()
    store:append_to_stream("a", support.ticks(3))
    store:close()
    local reader <close> = moonfold.open(path, { read_only = true })
    local function tick() return reader:handle("a", counter, moonfold.command("Tick", 1)).state end
    assert.equal(7, reader:transaction(tick, dry))
    support.fails("read_only", nil, reader.transaction, reader, tick)
    support.fails("read_only", nil, tick)
  end)

  it("does not wait for a writer, nor a writer for it, and does not see what is written meanwhile", function()
    local store <close>, path = support.open()
    local peer <close> = support.peer()
    store:append_to_stream("a", support.ticks(1))
    peer:run("store = moonfold.open(...)", path)
    store:transaction(function()
      store:append_to_stream("a", support.ticks(1))
      peer:run("store:append_to_stream('a', support.ticks(5))")
      assert.equal(2, store:stream_version("a"))
    end, dry)
    assert.equal(6, store:stream_version("a"))
  end)
end)
