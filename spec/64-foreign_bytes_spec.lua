--- Events of C hosts whose bytes are not MessagePack: people are shown that they are there, and what needs their value
--- says what it is.

local moonfold = require "moonfold"
local support = require "support"

local quote, shell = support.quote, support.shell
local program = quote(support.program())

local MARK <const>, OTHER_MARK <const> = "<14 bytes, not MessagePack>", "<1 byte, not MessagePack>"

local rules <const> = [[
return {
  category = "cart",
  initial_state = { n = 0 },
  evolve = {
    Started = function(cart, event) cart.n = cart.n + event.data.n end,
    Drawn = %s,
    Ended = function(cart) cart.n = cart.n + 1 end,
  },
  decide = { End = function() return { type = "Ended" } end },
}
]]

describe("bytes of a C host that are not MessagePack", function()
  local path, reading, ignoring
  before_each(function()
    path = support.path("foreign.fold")
    local lines = {
      '{"stream_name":"cart-1","type":"Started","data":{"n":1}}',
      '{"stream_name":"cart-1","type":"Drawn","data_base64":"/////////////wECAwQ="}',
      '{"stream_name":"cart-1","type":"Noted","data":2,"metadata_base64":"wQ=="}',
      '{"stream_name":"cart-1","type":"Ended"}',
    }
    local input = support.write(support.path("lines"), table.concat(lines, "\n") .. "\n")
    local result = shell(("unset LUA_CPATH LD_PRELOAD; %s import %s %s"):format(program, quote(path), quote(input)))
    assert.equal(0, result.status, result.stderr)
    local reads = "function(cart, event) cart.drawn = event.data end"
    reading = support.write(support.path("reading.lua"), rules:format(reads))
    ignoring = support.write(support.path("ignoring.lua"), rules:format("false"))
  end)

  local function run(arguments, input)
    local command = ("unset LUA_CPATH LD_PRELOAD; printf %%s %s | %s %s")
    return shell(command:format(quote(input or ""), program, arguments))
  end

  --- What a command prints on a terminal.
  local function shown(arguments)
    local command = quote(("%s %s"):format(program, arguments))
    return shell(("unset LUA_CPATH LD_PRELOAD; export NO_COLOR=1 TERM=xterm; script -qec %s /dev/null </dev/null")
      :format(command)).stdout
  end

  --- What the REPL prints for a line.
  local function typed(line) return run("repl " .. quote(path), line .. "\n").stdout end

  local function tells_all(output, mark)
    assert.matches(mark or MARK, output, 1, true)
    for _, kind in ipairs { "Started", "Drawn", "Noted", "Ended" } do assert.matches(kind, output, 1, true) end
    assert.not_matches("corrupt", output, 1, true)
  end

  --- Says where the bytes are, whose they are, and what to do.
  local function explains(output)
    for _, part in ipairs { "corrupt", "position 2", "cart-1@2", "Drawn", "C host", "moonfold export", "false" } do
      assert.matches(part, output, 1, true)
    end
  end

  it("stand in the tables of log, read and tail", function()
    tells_all(shown("log " .. quote(path)))
    tells_all(shown(("read %s cart-1"):format(quote(path))))
    tells_all(shown("tail " .. quote(path)))
  end)

  it("stand in a timeline", function()
    local result = run("timeline " .. quote(path))
    assert.equal(0, result.status, result.stderr)
    tells_all(result.stdout, "&lt;14 bytes, not MessagePack&gt;")
  end)

  it("stand in what the REPL shows", function()
    tells_all(typed ".events cart-1")
    tells_all(typed ".events")
    local all = typed 'store:read_stream("cart-1")'
    tells_all(all)
    assert.matches("metadata = " .. OTHER_MARK, all, 1, true)
    assert.matches("cart-1", typed ".streams", 1, true)
    assert.not_matches("corrupt", typed ".streams", 1, true)
  end)

  it("are the string that they are where the REPL writes JSON, and for who asks for it", function()
    tells_all(typed ".mode json\n.events cart-1", '"data":{"$base64":"/////////////wECAwQ="}')
    assert.matches('"\\255\\255\\255', typed 'store:read_stream("cart-1").events[2].data.bytes', 1, true)
  end)

  it("are no value: who needs one is told where they are and what to do", function()
    explains(typed 'store:read_stream("cart-1").events[2].data.sku')
    explains(typed 'store:append_to_stream("other", store:read_stream("cart-1").events[2])')
    assert.equal("4", run("repl " .. quote(path), "store:stream_version 'cart-1'\n").stdout:match("%d+"))
    for _, line in ipairs { ".state cart-1", ".diff cart-1 1 4", ".why cart-1 n", ".find cart-1 state.n > 1",
      ".try cart-1 End", ".fixture cart-1" } do
      explains(typed((".use %s\n%s"):format(reading, line)))
    end
    for _, arguments in ipairs { "state %s %s cart-1", "handle %s %s cart-1 End", "check %s %s" } do
      local result = run(arguments:format(quote(path), quote(reading)))
      assert.not_equal(0, result.status)
      explains(result.stderr)
    end
  end)

  it("are nothing to a decider that leaves them out", function()
    local result = run(("state %s %s cart-1"):format(quote(path), quote(ignoring)))
    assert.equal(0, result.status, result.stderr)
    assert.matches("2", result.stdout, 1, true)
  end)

  it("are told of in a program that is run, as in any other Lua", function()
    local text = 'local store <close> = require("moonfold").open(arg[1]) store:read_stream("cart-1")'
    local file = support.write(support.path("program.lua"), text)
    explains(run(("run %s %s"):format(quote(file), quote(path))).stderr)
    local store <close> = moonfold.open(path)
    explains(tostring(support.fails("corrupt", nil, store.read_stream, store, "cart-1")))
  end)
end)
