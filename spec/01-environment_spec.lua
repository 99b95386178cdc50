local moonfold = require "moonfold"
local support = require "support"

local function printed(code)
  local run = support.lua(code)
  assert.equal("", run.stderr)
  return run.stdout
end

describe("the environment of the specs", function()
  it("is Lua 5.4", function()
    assert.equal("Lua 5.4", _VERSION)
  end)
end)

describe("the module", function()
  it("loads in a stock lua5.4 and tells its version", function()
    assert.matches("^Moonfold %d+%.%d+%.%d+\n$", printed [[print(require("moonfold")._VERSION)]])
  end)

  it("brings no Lua of its own", function()
    local libraries = support.shell("ldd " .. support.quote(package.searchpath("moonfold", package.cpath)))
    assert.equal(0, libraries.status)
    assert.matches("liblmdb", libraries.stdout, 1, true)
    assert.not_matches("liblua", libraries.stdout, 1, true)
  end)

  it("finds its own Lua parts from any folder", function()
    local elsewhere = support.lua_in(support.folder(), [[assert(require "moonfold.spec")]])
    assert.same({ stdout = "", stderr = "", status = 0 }, elsewhere)
  end)

  it("has Lua parts that can be required before the module itself", function()
    assert.equal("cart\n", printed [[print(require("moonfold.domain.cart").name)]])
  end)

  for name in ("open reject event command array hash to_json from_json"):gmatch("%S+") do
    it("has a function " .. name, function()
      assert.equal("function", type(moonfold[name]))
    end)
  end

  it("has a constant for JSON's null", function()
    assert.equal("userdata", type(moonfold.null))
    assert.equal(moonfold.null, require("moonfold").null)
  end)

  it("has the expectations as strings, so that a typo is found", function()
    assert.equal("STREAM_EXISTS", moonfold.STREAM_EXISTS)
    assert.equal("STREAM_DOES_NOT_EXIST", moonfold.STREAM_DOES_NOT_EXIST)
    assert.equal("NO_CONCURRENCY_CHECK", moonfold.NO_CONCURRENCY_CHECK)
  end)

  it("makes stores that have every method of the contract", function()
    local store <close> = moonfold.open(":memory:")
    for method in ([[close append_to_stream read_stream events all_events aggregate_stream stream_exists
        stream_version streams handle attempt decide transaction wait backup]]):gmatch("%S+") do
      assert.equal("function", type(store[method]), method)
    end
  end)
end)

describe("the program", function()
  it("runs a Lua file with the same module, from inside itself", function()
    local run = support.moonfold([[print(_VERSION, require("moonfold")._VERSION, #arg, arg[1])]], "argument")
    assert.same({ stderr = "", status = 0, stdout = ("Lua 5.4\t%s\t1\targument\n"):format(moonfold._VERSION) }, run)
  end)
end)

describe("a process that uses the module", function()
  it("keeps its global variables", function()
    assert.equal("", printed [[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      local store <close> = require("moonfold").open(":memory:")
      for name in pairs(_G) do if not before[name] then print(name) end end
    ]])
  end)

  it("keeps its locale", function()
    assert.equal("C\n", printed [[
      local store <close> = require("moonfold").open(":memory:")
      store:append_to_stream("a", { type = "A", data = 1.5 })
      print(os.setlocale())
    ]])
  end)

  it("keeps its signal handlers", function()
    assert.equal("", printed [[
      local function handlers()
        for line in io.lines("/proc/self/status") do
          if line:find("^SigCgt") then return line end
        end
      end
      local before = handlers()
      local store <close> = require("moonfold").open(":memory:")
      store:append_to_stream("a", { type = "A" })
      store:wait(1, 0)
      if handlers() ~= before then print(before, handlers()) end
    ]])
  end)

  it("sees nothing printed", function()
    assert.equal("", printed [[
      local moonfold = require "moonfold"
      local store <close> = moonfold.open(":memory:")
      store:append_to_stream("a", { type = "A" })
      pcall(store.append_to_stream, store, "a", { type = "A" }, { expected_stream_version = 0 })
      pcall(moonfold.open, "/dev/null/no/store")
    ]])
  end)
end)
