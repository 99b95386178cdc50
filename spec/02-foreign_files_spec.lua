local moonfold = require "moonfold"
local support = require "support"
local sorted = require("pl.tablex").sort

--- Opens what is no Moonfold file: it must be refused, stay as it is, and get nothing beside it.
local function refused(codes, bytes, options)
  local folder = support.folder()
  local path = support.write(folder .. "/file", bytes)
  local opened, failure = pcall(moonfold.open, path, options)
  assert.is_false(opened)
  assert.is_truthy(codes[failure.code], tostring(failure))
  assert.matches(path, failure.message, 1, true)
  assert.equal("file", support.files(folder))
  assert.is_true(support.read(path) == bytes, "the file has changed")
end

local foreign = { incompatible_format = true }
local damaged = { corrupt = true }
local either = { corrupt = true, incompatible_format = true }

--- The bytes of a store with some events.
local function stored()
  local store, path = support.open()
  for i = 1, 20 do
    store:append_to_stream("stream-" .. i, support.ticks(50))
  end
  store:close()
  return support.read(path)
end

local foreign_lmdb = [[
#include <lmdb.h>
#include <stddef.h>
int main(int count, char **arguments) {
  MDB_env *env; MDB_txn *txn; MDB_dbi dbi; MDB_val key = {3, "key"}, value = {5, "value"};
  return count != 2 || mdb_env_create(&env) || mdb_env_open(env, arguments[1], MDB_NOSUBDIR, 0644)
    || mdb_txn_begin(env, NULL, 0, &txn) || mdb_dbi_open(txn, NULL, 0, &dbi)
    || mdb_put(txn, dbi, &key, &value, 0) || mdb_txn_commit(txn);
}]]

local fresh_lmdb = [[
#include <lmdb.h>
int main(int count, char **arguments) {
  MDB_env *env;
  return count != 2 || mdb_env_create(&env) || mdb_env_open(env, arguments[1], MDB_NOSUBDIR, 0644);
}]]

describe("opening what is no Moonfold file", function()
  for name, bytes in sorted {
    ["a line of text"] = "Dear diary, today I wrote a file.\n",
    ["a long text"] = ("All work and no play makes Jack a dull boy.\n"):rep(3000),
    ["zeros"] = ("\0"):rep(100000),
    ["a page of ones"] = ("\255"):rep(4096),
    ["an SQLite file"] = "SQLite format 3\0" .. ("\16\0\1\1\0\64\32\32"):rep(2000),
  } do
    it("refuses " .. name, function()
      refused(foreign, bytes)
    end)

    it("refuses " .. name .. ", also read-only", function()
      refused(foreign, bytes, { read_only = true })
    end)
  end

  it("refuses somebody else's LMDB file", function()
    if not support.compiler() then pending "needs a C compiler, to make such a file" end
    local program = support.compile(foreign_lmdb, "-llmdb")
    local path = support.path("theirs.mdb")
    assert.equal(0, support.shell(program .. " " .. support.quote(path)).status)
    refused(foreign, support.read(path))
  end)

  it("refuses a folder", function()
    local folder = support.folder()
    support.fails("invalid_argument", { message = folder }, moonfold.open, folder)
    assert.equal("", support.files(folder))
  end)

  it("refuses a pipe, without waiting for somebody at its other end", function()
    local folder = support.folder()
    assert(os.execute("mkfifo " .. support.quote(folder .. "/pipe")))
    local run = support.lua([[
      local _, failure = pcall(require("moonfold").open, arg[1])
      print(failure.code)
    ]], folder .. "/pipe")
    assert.same({ stdout = "invalid_argument\n", stderr = "", status = 0 }, run)
    assert.equal("pipe", support.files(folder))
  end)

  it("refuses a device", function()
    support.fails("invalid_argument", { message = "/dev/null" }, moonfold.open, "/dev/null")
    assert.is_nil(io.open("/dev/null-lock"))
  end)
end)

describe("opening a file without permission", function()
  --- What somebody is told about a store on which all have these permissions.
  local function told(mode, options)
    local path = support.path()
    moonfold.open(path):close()
    os.execute(("chmod %s %s; chmod 755 %s"):format(mode, support.quote(path), support.quote(path:match("^(.*)/"))))
    local run = support.lua_as_nobody([[
      local _, failure = pcall(require("moonfold").open, arg[1], arg[2])
      print(failure.code, failure.message:find(arg[1], 1, true) ~= nil)
    ]], path, options)
    assert.equal("", run.stderr)
    return run.stdout
  end

  it("says read_only to a writer who may read it", function()
    assert.equal("read_only\ttrue\n", told("444"))
  end)

  it("says what may not be done to one who may not create a file in its folder", function()
    local folder = support.folder()
    os.execute("chmod 555 " .. support.quote(folder))
    local run = support.lua_as_nobody([[
      local _, failure = pcall(require("moonfold").open, arg[1] .. "/new.fold")
      print(failure.code, failure.message:match("may not be .*"))
    ]], folder)
    assert.equal("", run.stderr)
    assert.equal("io\tmay not be created by this user: Permission denied\n", run.stdout)
  end)

  it("works for a writer who may not list its folder, also when nothing was written to it yet", function()
    local path = support.path()
    moonfold.open(path):close()
    os.execute(("chmod 666 %s*; chmod 711 %s"):format(support.quote(path), support.quote(path:match("^(.*)/"))))
    local run = support.lua_as_nobody([[
      local moonfold = require("moonfold")
      print(pcall(function()
        moonfold.open(arg[1]):append_to_stream("a", moonfold.event("Noted"))
      end))
    ]], path)
    assert.equal("", run.stderr)
    assert.matches("^true", run.stdout)
  end)

  it("says io to a reader who may not read it", function()
    assert.equal("io\ttrue\n", told("000", { read_only = true }))
  end)
end)

describe("opening an empty file", function()
  it("makes a store of it, as if it were missing", function()
    local path = support.write(support.path(), "")
    local store <close> = moonfold.open(path)
    store:append_to_stream("a", { type = "A" })
    assert.equal(1, store:stream_version("a"))
  end)

  it("refuses it when nothing may be created", function()
    refused({ not_found = true, corrupt = true, incompatible_format = true }, "", { create = false })
  end)
end)

describe("opening a file whose creator was killed before its first commit", function()
  it("makes the store that it was to become", function()
    if not support.compiler() then pending "needs a C compiler, to make such a file" end
    local program, path = support.compile(fresh_lmdb, "-llmdb"), support.path()
    assert.equal(0, support.shell(program .. " " .. support.quote(path)).status)
    local store <close> = moonfold.open(path)
    store:append_to_stream("a", { type = "A" })
    assert.equal(1, store:stream_version("a"))
  end)
end)

describe("opening a damaged store", function()
  it("refuses a file cut off within its first pages", function()
    local bytes = stored()
    for _, length in ipairs { 1, 100, 4095, 4096, 8191 } do
      refused(either, bytes:sub(1, length))
    end
  end)

  it("refuses a file that lost its tail", function()
    local bytes = stored()
    refused(damaged, bytes:sub(1, #bytes // 2))
  end)

  it("refuses a file whose first pages were overwritten", function()
    refused(foreign, ("x"):rep(8192) .. stored():sub(8193))
  end)
end)
