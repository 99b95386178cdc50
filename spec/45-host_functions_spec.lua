--- Functions that a Lua host gives its scripts: the option `host` of moonfold.load_decider and store:use.

local moonfold = require "moonfold"
local support = require "support"

local command = moonfold.command

local hero = [[
local moonfold = require "moonfold"
return {
  category = "hero",
  initial_state = { steps = 0, at = { 0, 0 } },
  evolve = {
    Walked = function(state, event)
      state.steps = state.steps + host.distance(state.at, event.data)
      state.at = event.data
    end,
  },
  decide = {
    Walk = function(command, state)
      if host.distance(state.at, command.data) > 10 then moonfold.reject("too_far") end
      return moonfold.event("Walked", command.data)
    end,
    Call = function(command) return moonfold.event("Walked", { host[command.data](1, nil, 3), 0 }) end,
  },
}
]]

local function distance(a, b) return math.abs(a[1] - b[1]) + math.abs(a[2] - b[2]) end

describe("functions of a Lua host", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  local function load(host, options)
    options = options or {}
    options.host = host
    return support.load(hero, options, "hero.lua")
  end

  it("are called by evolve and decide, with copies of their arguments", function()
    local decider = load { distance = distance }
    assert.equal(7, store:handle("hero-1", decider, command("Walk", { 3, 4 })).state.steps)
    assert.equal("too_far", select(2, store:attempt("hero-1", decider, command("Walk", { 9, 9 }))).reason)
    assert.equal(7, store:aggregate_stream("hero-1", decider).state.steps)
  end)

  it("are there for a whole folder, and after it was loaded again", function()
    local folder = support.path("rules")
    os.execute("mkdir " .. folder)
    support.write(folder .. "/hero.lua", hero)
    local domain = store:use(folder, { host = { distance = distance } })
    assert.equal(7, store:handle("hero-1", command("Walk", { 3, 4 })).state.steps)
    support.write(folder .. "/hero.lua", (hero:gsub("> 10", "> 1000000")))
    assert.is_true(domain:reload())
    assert.equal(507, store:handle("hero-1", command("Walk", { 253, 254 })).state.steps)
  end)

  it("get null for nil, and return nil for nothing", function()
    local got
    local decider = load { distance = distance, look = function(...) got = table.pack(...) return 5 end }
    store:handle("hero-1", decider, command("Call", "look"))
    assert.same({ 1, moonfold.null, 3, n = 3 }, got)
    decider = load { distance = distance, nothing = function() end }
    support.fails("script_error", {}, store.handle, store, "hero-2", decider, command("Call", "nothing"))
  end)

  it("fail the script that calls them when they fail, or return what is no value", function()
    local decider = load {
      distance = distance,
      fail = function() error("no map", 0) end,
      make = function() return print end,
    }
    local err = support.fails("script_error", { file = "hero.lua", line = 16 },
      store.handle, store, "hero-1", decider, command("Call", "fail"))
    assert.matches("host.fail: no map", err.message, 1, true)
    err = support.fails("script_error", {}, store.handle, store, "hero-1", decider, command("Call", "make"))
    assert.matches("host.make: ", err.message, 1, true)
    assert.equal(7, store:handle("hero-1", decider, command("Walk", { 3, 4 })).state.steps)
  end)

  it("may not use the store", function()
    local decider = load { distance = distance, look = function() return store:stream_version("hero-1") end }
    local err = support.fails("script_error", {}, store.handle, store, "hero-1", decider, command("Call", "look"))
    assert.matches("a function of the host", err.message, 1, true)
  end)

  it("are found out when they are not pure, where that is asked for", function()
    local calls = 0
    local function toss() calls = calls + 1 return calls end
    local decider = load({ distance = distance, toss = toss }, { check_host = true })
    local err = support.fails("script_error", {}, store.handle, store, "hero-1", decider, command("Call", "toss"))
    assert.matches("host.toss is not pure", err.message, 1, true)
    assert.equal(2, calls)
    assert.equal(0, store:stream_version("hero-1"))
  end)

  it("are part of the digests of scripts that use them", function()
    local one, same = load { distance = distance }, load { distance = distance }
    local other = load({ distance = distance }, { host_version = "2" })
    assert.equal(one.digest, same.digest)
    assert.equal(one.fold_digest, same.fold_digest)
    assert.not_equal(one.digest, other.digest)
    assert.not_equal(one.fold_digest, other.fold_digest)
    local alone = [[return { category = "a", initial_state = 0, evolve = {} }]]
    local unused = support.load(alone, { host = { f = distance }, host_version = "3" })
    assert.equal(support.load(alone).digest, unused.digest)
  end)

  it("are called by scripts while they load", function()
    local source = [[
      local size <const> = host.size()
      return { category = "a", initial_state = size, evolve = {} }]]
    local decider = support.load(source, { host = { size = function() return 12 end } })
    assert.equal(12, store:aggregate_stream("a-1", decider).state)
  end)

  it("are checked when they are given", function()
    local path = support.write(support.path("hero.lua"), hero)
    local function refused(options, pattern)
      local err = support.fails("invalid_argument", {}, moonfold.load_decider, path, options)
      assert.matches(pattern, err.message)
    end
    refused({ host = 5 }, "a table of functions")
    refused({ host = { distance = 5 } }, "distance: a function is needed")
    refused({ host = { ["no name"] = distance } }, "no name")
    refused({ host = { distance } }, "names of functions")
    refused({ host_version = 2 }, "host_version")
  end)

  it("are missed with a message that says who has to give them", function()
    local err = support.fails("script_error", {}, store.handle, store, "hero-1", support.load(hero),
      command("Walk", { 1, 1 }))
    assert.matches("option host of moonfold.load_decider", err.message, 1, true)
  end)

  it("are let go with their decider", function()
    local weak = setmetatable({}, { __mode = "v" })
    local decider = load { distance = (function()
      local big = {}
      weak[1] = big
      return function(a, b) return #big + distance(a, b) end
    end)() }
    store:handle("hero-1", decider, command("Walk", { 3, 4 }))
    decider = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
  end)
end)
