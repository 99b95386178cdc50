local support = require "support"

local fork_module = [[
#include <lauxlib.h>
#include <sys/wait.h>
#include <unistd.h>
static int l_fork(lua_State *L) { lua_pushinteger(L, fork()); return 1; }
static int l_wait(lua_State *L) { int status = -1; wait(&status); lua_pushinteger(L, status); return 1; }
int luaopen_fork(lua_State *L) {
  luaL_Reg functions[] = {{"fork", l_fork}, {"wait", l_wait}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}]]

--- Runs code in a process and in its forked child: `child` says which one it is.
local function forked(code)
  if not support.compiler() then pending "needs a C compiler, to make a fork" end
  local module = support.compile(fork_module, "-shared -fPIC $(pkg-config --cflags lua5.4)")
  return support.lua([[
    local fork = assert(package.loadlib(arg[1], "luaopen_fork"))()
    local moonfold = require "moonfold"
    local store = moonfold.open(arg[2])
    store:append_to_stream("a", { type = "Before" })
    io.stdout:setvbuf("no")
    local child = fork.fork() == 0
    if not child then assert(fork.wait() == 0, "the child failed") end
  ]] .. code, module, support.path())
end

describe("a store in a forked child", function()
  it("is closed", function()
    local run = forked [[
      if child then
        for _, call in ipairs { store.stream_version, store.read_stream, store.events } do
          local _, failure = pcall(call, store, "a")
          print(failure.code)
        end
        local _, failure = pcall(store.append_to_stream, store, "a", { type = "A" })
        print(failure.code)
        os.exit(true)
      end
    ]]
    assert.equal(("closed\n"):rep(4), run.stdout, run.stderr)
    assert.equal(0, run.status)
  end)

  it("may be closed, which disturbs the parent's in nothing", function()
    local run = forked [[
      if child then
        store:close()
        os.exit(true, true)
      end
      store:append_to_stream("a", { type = "After" })
      print(store:stream_version("a"))
      store:close()
    ]]
    assert.equal("2\n", run.stdout, run.stderr)
    assert.equal(0, run.status)
  end)

  it("may be opened again by the child", function()
    local run = forked [[
      if child then
        local own = moonfold.open(arg[2])
        own:append_to_stream("a", { type = "Child" })
        own:close()
        os.exit(true, true)
      end
      store:append_to_stream("a", { type = "After" })
      for event in store:events("a") do print(event.type) end
      store:close()
    ]]
    assert.equal("Before\nChild\nAfter\n", run.stdout, run.stderr)
    assert.equal(0, run.status)
  end)
end)
