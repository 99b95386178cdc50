--- What `make install` puts where, used from there: by a stock lua5.4, by LuaJIT, by programs in C and C++, shared and
--- static.

local support = require "support"

local program = [[
#include <moonfold/runtime.h>
#include <stdio.h>
int main(void) {
  mf_store *store;
  mf_runtime *runtime;
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  mf_error error;
  const char rules[] = "return { category = 'door', initial_state = { open = false },"
    "  evolve = { Opened = function(door) door.open = true end },"
    "  decide = { Open = function() return { type = 'Opened' } end } }";
  if (mf_open(":memory:", NULL, &store, &error) != MF_OK) return 1;
  if (mf_runtime_new(store, NULL, &runtime, &error) != MF_OK) return 2;
  if (mf_load_string(runtime, "door.lua", rules, sizeof rules - 1, NULL, &error) != MF_OK) return 3;
  command.type = "Open";
  if (mf_handle(runtime, "door-1", &command, &result, &error) != MF_OK) return 4;
  puts(result.state);
  mf_result_free(&result);
  mf_runtime_free(runtime);
  return mf_close(store) == MF_OK ? 0 : 5;
}
]]

describe("make install", function()
  local folder, prefix

  lazy_setup(function()
    folder = support.shell("mktemp -d").stdout:gsub("\n", "")
    prefix = folder .. "/prefix"
    local installed = support.shell("unset LD_PRELOAD; make -s BUILD=build install PREFIX=" .. prefix)
    assert.equal(0, installed.status, installed.stderr)
    local file = assert(io.open(folder .. "/door.c", "w"))
    file:write(program)
    file:close()
    support.shell(("cp %s/door.c %s/door.cc"):format(folder, folder))
  end)

  lazy_teardown(function()
    assert.matches("^/tmp/", folder)
    support.shell("rm -rf " .. support.quote(folder))
  end)

  local function run(command)
    local result = support.shell(("unset LD_PRELOAD; export PKG_CONFIG_PATH=%s/lib/pkgconfig; cd %s && %s")
      :format(prefix, folder, command))
    return result
  end

  local function prints(expected, command)
    local result = run(command)
    assert.equal("", result.stderr)
    assert.equal(expected, result.stdout)
    assert.equal(0, result.status)
  end

  it("builds C programs with pkg-config, against the shared library", function()
    prints('{"open":true}\n', "cc -std=c11 -Wall -Wextra -Werror -pedantic door.c -o door "
      .. "$(pkg-config --cflags --libs moonfold) && LD_LIBRARY_PATH=prefix/lib ./door")
  end)

  it("builds C++ programs with pkg-config", function()
    prints('{"open":true}\n', "g++ -Wall -Wextra -Werror door.cc -o door++ "
      .. "$(pkg-config --cflags --libs moonfold) && LD_LIBRARY_PATH=prefix/lib ./door++")
  end)

  it("builds programs that contain the library", function()
    prints('{"open":true}\n', "mkdir -p static && cp prefix/lib/libmoonfold.a static && "
      .. "cc door.c -o door-static -Lstatic $(pkg-config --static --cflags --libs moonfold | "
      .. "sed 's|-L[^ ]*prefix/lib||') && ./door-static")
    assert.equal("", run("ldd door-static | grep moonfold").stdout)
  end)

  it("gives the shared library a soname, and it is smaller than 1 MiB", function()
    assert.matches("libmoonfold%.so%.0", run("readelf -d prefix/lib/libmoonfold.so | grep SONAME").stdout)
    assert.is_true(tonumber(run("strip -o stripped prefix/lib/libmoonfold.so.0 && wc -c < stripped").stdout) < 2 ^ 20)
  end)

  it("exports the public names alone", function()
    local names = run("nm -D --defined-only prefix/lib/libmoonfold.so").stdout
    for name in names:gmatch("%x+ %u ([^\n]+)") do
      if name ~= "main" then assert.is_truthy(name:find("^mf_") or name:find("^luaopen_moonfold"), name) end
    end
  end)

  it("puts the module where a stock lua5.4 finds it", function()
    prints("Moonfold 0.1.0\n", [[LUA_CPATH="prefix/lib/lua/5.4/?.so" lua5.4 -e 'print(require("moonfold")._VERSION)']])
  end)

  it("puts the module for LuaJIT beside it", function()
    prints("1\n", [[MOONFOLD_LIB=prefix/lib/libmoonfold.so LUA_PATH="prefix/share/lua/5.1/?.lua" luajit -e '
      local store = require("moonfold.ffi").open(":memory:")
      print(store:append_to_stream("s", { type = "T" }).next_expected_stream_version)']])
  end)

  it("puts the program, its manual page and its completion where they belong", function()
    assert.matches("^Moonfold 0%.1%.0", run("prefix/bin/moonfold --version").stdout)
    assert.matches("MOONFOLD", run("head -5 prefix/share/man/man1/moonfold.1").stdout)
    assert.equal(0, run("bash -n prefix/share/bash-completion/completions/moonfold").status)
  end)

  it("respects DESTDIR", function()
    local command = "unset LD_PRELOAD; make -s BUILD=build install PREFIX=/usr DESTDIR=%s/stage"
    local installed = support.shell(command:format(folder))
    assert.equal(0, installed.status)
    assert.matches("prefix=/usr\n", run("cat stage/usr/lib/pkgconfig/moonfold.pc").stdout)
    assert.equal(0, run("test -x stage/usr/bin/moonfold").status)
  end)

  it("has a rockspec that the packaged luarocks installs", function()
    local command = "unset LD_PRELOAD; luarocks --lua-version 5.4 --tree %s/rocks make "
      .. "runtime/moonfold-0.1.0-1.rockspec"
    local made = support.shell(command:format(folder))
    assert.equal(0, made.status, made.stderr)
    prints("Moonfold 0.1.0\n",
      [[LUA_CPATH="$(ls -d rocks/lib/lua/5.4)/?.so" lua5.4 -e 'print(require("moonfold")._VERSION)']])
  end)
end)
