--- The smallest C host, built as its README says against what `make install` installs, and run.

local support = require "support"

local example = "examples/embed/"
local readme = support.read(example .. "README.md")

--- The indented blocks of a text: of each, its lines.
local function blocks(text)
  local found, current = {}, nil
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    local code = line:match("^    (.*)")
    if code and not current then
      current = {}
      found[#found + 1] = current
    end
    if code then current[#current + 1] = code else current = nil end
  end
  return found
end

local commands, prints = table.unpack(blocks(readme))

describe("examples/embed", function()
  local folder, environment

  lazy_setup(function()
    folder = support.shell("mktemp -d").stdout:gsub("\n", "")
    local install = ("make -s BUILD=build install PREFIX=%s/prefix"):format(folder)
    assert.equal(0, support.shell(install).status)
    assert.equal(0, support.shell(("cp -r %s %s/embed"):format(example, folder)).status)
    environment = ("export PKG_CONFIG_PATH=%s/prefix/lib/pkgconfig LD_LIBRARY_PATH=%s/prefix/lib; unset LD_PRELOAD; ")
      :format(folder, folder)
  end)

  lazy_teardown(function()
    assert.matches("^/tmp/", folder)
    support.shell("rm -rf " .. support.quote(folder))
  end)

  local function run(command)
    return support.shell(("%s cd %s/embed && %s"):format(environment, folder, command))
  end

  it("is built by its own Makefile, without a warning, and needs no header of Lua", function()
    local built = run("make CFLAGS='-Werror -std=c11 -pedantic'")
    assert.equal("", built.stderr)
    assert.equal(0, built.status)
    assert.is_nil(built.stdout:find("lua", 1, true))
  end)

  it("prints what its README shows", function()
    local shown = {}
    for _, command in ipairs(commands) do
      if command:find("^%./embed") then
        for line in run(command).stdout:gmatch("[^\n]+") do shown[#shown + 1] = line end
      end
    end
    assert.same(prints, shown)
    assert.equal(4, #shown)
  end)

  it("tells what is wrong with a rule, and where", function()
    run("sed -i 's/hero.gold + event/hero.gold + evnt/' rules/hero.lua")
    local failed = run([[./embed hero-ada PickUp '{"gold": 5}']])
    assert.equal(1, failed.status)
    assert.matches("script_error: .*hero.lua:%d+: .*evnt", failed.stderr)
  end)

  it("is taken by a C++ compiler, too", function()
    support.write(folder .. "/host.cpp", [[
#include <moonfold/runtime.h>
int main() {
  mf_command command = MF_COMMAND_INIT;
  mf_runtime *runtime = nullptr;
  mf_result result;
  mf_error error;
  command.type = "PickUp";
  mf_store *store = nullptr;
  if (mf_open(":memory:", nullptr, &store, &error) != MF_OK) return 1;
  if (mf_runtime_new(store, nullptr, &runtime, &error) != MF_OK) return 2;
  int status = mf_handle(runtime, "hero-1", &command, &result, &error);
  mf_result_free(&result);
  mf_runtime_free(runtime);
  mf_close(store);
  return status == MF_INVALID_ARGUMENT ? 0 : 3;
}
]])
    local built = run("c++ -Wall -Wextra -Werror ../host.cpp -o ../host $(pkg-config --cflags --libs moonfold)")
    assert.equal("", built.stderr)
    assert.equal(0, run("../host").status)
  end)
end)
