local moonfold = require "moonfold"
local support = require "support"

local MiB = 1024 * 1024

--- A store's path, and its file's size, with one event of this many bytes in it.
local function prepared(bytes)
  local store <close>, path = support.open()
  store:append_to_stream("a", { type = "First", data = ("x"):rep(bytes) })
  return path, #support.read(path)
end

--- Runs the code where files may not grow beyond the limit: it prints one line per observation.
local function observed(limit, code, path)
  local run = support.lua_on_a_full_disk(limit, [[
    local moonfold = require "moonfold"
    local store <close> = moonfold.open(arg[1])
    local big = { type = "Big", data = ("x"):rep(4 * 1024 * 1024) }
    local function code(...)
      local returned, failure = pcall(...)
      print(returned and "fine" or failure.code or failure)
    end
  ]] .. code, path)
  assert.equal("", run.stderr)
  assert.equal(0, run.status)
  return run.stdout
end

describe("a full disk", function()
  it("makes an append raise disk_full, and nothing is written", function()
    local path, size = prepared(100)
    assert.equal("disk_full\n1\n", observed(size + 2 * MiB, [[
      code(store.append_to_stream, store, "a", big)
      print(store:stream_version("a"))
    ]], path))
  end)

  it("does not keep what fits from being written afterwards, in the same process", function()
    local path, size = prepared(100)
    assert.equal("disk_full\nfine\n2\n", observed(size + 2 * MiB, [[
      code(store.append_to_stream, store, "a", big)
      code(store.append_to_stream, store, "a", { type = "Small" })
      print(store:stream_version("a"))
    ]], path))
    local store <close> = moonfold.open(path)
    assert.same({ "First", "Small" }, support.pluck("type", store:all_events()))
  end)

  it("makes a transaction raise disk_full, and none of its events is written", function()
    local path, size = prepared(100)
    assert.equal("disk_full\n1\nfalse\nfine\n", observed(size + 2 * MiB, [[
      code(store.transaction, store, function()
        store:append_to_stream("b", { type = "Small" })
        store:append_to_stream("a", big)
      end)
      print(store:stream_version("a"))
      print(store:stream_exists("b"))
      code(store.append_to_stream, store, "b", { type = "Small" })
    ]], path))
  end)

  it("leaves a store whole for the next process", function()
    local path, size = prepared(100)
    observed(size + 2 * MiB, [[ for _ = 1, 5 do code(store.append_to_stream, store, "a", big) end ]], path)
    local store <close> = moonfold.open(path)
    assert.equal(1, store:stream_version("a"))
    local result = store:append_to_stream("a", { type = "Big", data = ("x"):rep(4 * MiB) })
    assert.equal(2, result.next_expected_stream_version)
    assert.equal(2, result.last_event_global_position)
  end)

  it("keeps a store from being created, and leaves nothing half made that a later opening minds", function()
    local path = support.path()
    local run = support.lua_on_a_full_disk(4096, [[
      local returned, failure = pcall(require("moonfold").open, arg[1])
      print(returned, failure.code)
    ]], path)
    assert.equal("false\tdisk_full\n", run.stdout, run.stderr)
    local store <close> = moonfold.open(path)
    assert.equal(1, store:append_to_stream("a", { type = "A" }).last_event_global_position)
  end)

  it("makes a backup raise disk_full and leave no file", function()
    local path, size = prepared(4 * MiB)
    local folder = support.folder()
    local run = support.lua_on_a_full_disk(size // 2, [[
      local store <close> = require("moonfold").open(arg[1], { read_only = true })
      local returned, failure = pcall(store.backup, store, arg[2])
      print(returned, failure.code)
    ]], path, folder .. "/copy.fold")
    assert.equal("false\tdisk_full\n", run.stdout, run.stderr)
    assert.equal("", support.files(folder))
  end)
end)
