--- Which code decided this? Digests of loaded deciders, in events and in the store.

local moonfold = require "moonfold"
local support = require "support"

local command = moonfold.command

local script <const> = [[
local rules = require "rules"
local params = ...
return {
  name = "till", category = "till",
  initial_state = { sum = 0 },
  evolve = {
    Paid = function(state, event)
      state.sum = state.sum + event.data.amount * rules.factor
    end,
  },
  decide = {
    Pay = function(command, _, context)
      local amount = command.data + (params and params.fee or 0)
      if command.metadata and command.metadata.lucky then amount = amount + context:random(6) end
      return { { type = "Paid", data = { amount = amount } }, { type = "Paid", data = { amount = 1 } } }
    end,
  },
}
]]

describe("the digests of a loaded decider", function()
  local folder
  local function load(text, rules, params)
    support.write(folder .. "/till.lua", text)
    support.write(folder .. "/rules.lua", rules or "return { factor = 1, price = 5 }")
    return moonfold.load_decider(folder .. "/till.lua", { params = params })
  end

  --- Whether the digests of the whole script and of the fold are those of the first script.
  local function same(first, other)
    return first.digest == other.digest, first.fold_digest == other.fold_digest
  end

  local first
  before_each(function()
    folder = support.folder()
    first = load(script)
  end)

  it("are 32 hexadecimal digits, and stand for the fold without doubt", function()
    assert.matches("^%x+$", first.digest)
    assert.equal(32, #first.digest)
    assert.matches("^%x+$", first.fold_digest)
    assert.is_nil(first.fold_doubt)
    assert.is_not.equal(first.digest, first.fold_digest)
  end)

  it("stay with comments, with layout and with the path", function()
    local path = support.write(folder .. "/copy.lua", "-- a comment\n" .. script:gsub("    ", "\t"))
    assert.same({ true, true }, { same(first, moonfold.load_decider(path)) })
  end)

  it("change with a price in decide: the script's, not the fold's", function()
    assert.same({ false, true }, { same(first, load((script:gsub("amount = 1 ", "amount = 2 ")))) })
  end)

  it("change with a handler of evolve: both", function()
    assert.same({ false, false }, { same(first, load((script:gsub("state.sum %+", "state.sum -")))) })
  end)

  it("change with what evolve reaches in a module", function()
    assert.same({ false, false }, { same(first, load(script, "return { factor = 2, price = 5 }")) })
  end)

  it("change with parameters, which only decide reaches here", function()
    assert.same({ false, true }, { same(first, load(script, nil, { fee = 1 })) })
    assert.same({ true, true }, { same(load(script, nil, { fee = 1 }), load(script, nil, { fee = 1 })) })
    assert.same({ false, true }, { same(load(script, nil, { fee = 1 }), load(script, nil, { fee = 1.0 })) })
  end)

  it("are the same in every process", function()
    local peer <close> = support.peer()
    local digests = peer:run(([[
      local d = require("moonfold").load_decider(%q)
      return d.digest .. d.fold_digest
    ]]):format(folder .. "/till.lua"))
    assert.equal(first.digest .. first.fold_digest, digests)
  end)

  --- A script whose fold reaches the module "rules" in this way.
  local function reaching(above, factor)
    return above .. "\nreturn { initial_state = 0, evolve = {\nPaid = function(sum, event)\nreturn sum + event.data * "
      .. factor .. "\nend } }"
  end

  it("change with a module, by whatever name the fold gets hold of it", function()
    for above, factor in pairs {
      ["local load = require load 'rules'"] = "load('rules').factor",
      ["local t = { load = require } t.load 'rules'"] = "t.load('rules').factor",
      ["local t = { require = require } t.require 'rules'"] = "t.require('rules').factor",
      ["require 'rules'"] = "_ENV.require('rules').factor",
      ["require 'rules' -- "] = "_ENV['req' .. 'uire']('rules').factor",
      ["require 'rules' local all = _ENV"] = "all.require('rules').factor",
      ["require 'rules' local all = { { _ENV } }"] = "all[1][1].require('rules').factor",
      ["local _ENV = require 'rules'"] = "factor",
      ["local _ENV = setmetatable({}, { __index = require 'rules' })"] = "factor",
    } do
      local text = reaching(above, factor)
      assert.same({ false, false }, { same(load(text), load(text, "return { factor = 2 }")) }, above)
    end
  end)

  it("change when code moves to where a constant's name means another one", function()
    local inside = [[
      local c <const> = 1
      %s
      do local c <const> = 2 %s end
      if not c then local c <const> = 3 %s else local d <const> = 4 %s end
      repeat local c <const> = 5 until %s
      return { initial_state = 0, evolve = { Paid = f } }
    ]]
    local f <const>, seen = "\nf = function()\nreturn c\nend\n", {}
    inside = "local f\n" .. inside
    for i = 1, 5 do
      local moved = { "", "", "", "", "true" }
      moved[i] = i == 5 and "(function()" .. f .. "return true end)()" or f
      local decider = load(inside:format(table.unpack(moved)))
      assert.is_nil(seen[decider.fold_digest], "place " .. i)
      seen[decider.fold_digest] = true
    end
  end)

  it("stay with a constant that only decide sees, whatever else has its name", function()
    local text = [[
      return { initial_state = 0,
        evolve = { Paid = function(sum) local c <const> = 1
          return sum + c end },
        decide = { Pay = function() local c <const> = 7
          return { type = "Paid", data = c } end } }
    ]]
    assert.same({ false, true }, { same(load(text), load((text:gsub("7", "8")))) })
  end)

  it("stay when only lines move: what pcall catches tells none", function()
    local text = [[
      local moonfold = require "moonfold"
      local function caught(...) return select(2, pcall(...)) end
      return { initial_state = {}, evolve = { Paid = function(state)
        state.text, state.number = caught(error, "x"), caught(function() error("x") end)
        state.rejected = tostring(caught(function() moonfold.reject "no" end))
        state.operation = caught(function() return nil + 1 end)
        state.library = caught(function() return string.rep() end)
      end } }
    ]]
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("a", { type = "Paid" })
    local before, after = load(text), load("\n\n-- a comment\n" .. text)
    assert.same({ true, true }, { same(before, after) })
    local state = store:aggregate_stream("a", before).state
    assert.same(state, store:aggregate_stream("a", after).state)
    assert.same({ text = "x", number = "x", rejected = "rejected: no",
      operation = "attempt to perform arithmetic on a nil value",
      library = "bad argument #1 to 'rep' (string expected, got no value)" }, state)
  end)

  it("say in words why the fold's stands for the whole script", function()
    local doubtful = load("function step() return 1 end\n" .. script:gsub("rules.factor", "step()"))
    assert.matches("globals", doubtful.fold_doubt)
  end)

  it("are told on the command line, and so is the code itself: also of copies of the store", function()
    local store <close>, path = support.open()
    local decider = load(script, nil, { fee = 3 })
    store:append_to_stream("till-1", { type = "Paid", data = { amount = 3 } })
    store:handle("till-1", decider, command("Pay", 7))
    local copies <const>, program <const> = support.folder(), support.quote(support.program())
    store:backup(copies .. "/backup.fold")
    local function run(line, ...)
      local result = support.shell(line:format(...))
      assert.equal(0, result.status, result.stderr)
      return result.stdout
    end
    run("%s export %s | %s import %s/imported.fold", program, support.quote(path), program, copies)
    for _, copy in ipairs { path, copies .. "/backup.fold", copies .. "/imported.fold" } do
      for _, lines in ipairs { "read %s till-1 --json", "log %s --json" } do
        local digests = {}
        for line in run(program .. " " .. lines, support.quote(copy)):gmatch("[^\n]+") do
          digests[#digests + 1] = tostring(moonfold.from_json(line).code_digest)
        end
        assert.same({ "nil", decider.digest, decider.digest }, digests)
      end
      local listed = run("%s code %s", program, support.quote(copy))
      assert.matches("^" .. decider.digest .. "\t[%dTZ.:-]+\t%S+\n$", listed)
      for _, asking in ipairs { "echo .code till-1@2 | %s %s", "%s code %s till-1@2 2>&1", "%s code %s 3 2>&1",
        "%s code %s " .. decider.digest .. " 2>&1" } do
        local told = run(asking, program, support.quote(copy))
        for _, part in ipairs { decider.digest, '{"fee":3}', script, "return { factor = 1, price = 5 }" } do
          assert.truthy(told:find(part, 1, true), part)
        end
      end
      local whole = moonfold.from_json(run("%s code %s till-1@2 --json", program, support.quote(copy)))
      assert.same({ decider.digest, { fee = 3 }, script }, { whole.digest, whole.params, whole.sources[1].text })
    end
  end)

  it("are asked for clearly, or it is said what is missing", function()
    local store <close>, path = support.open()
    store:append_to_stream("till-1", { type = "Paid" })
    for asked, answer in pairs {
      ["till-1@1"] = { "^moonfold: not_found: till%-1@1 was not decided by a script: it was appended", 1 },
      ["till-1@2"] = { "^moonfold: not_found: till%-1 has no event 2\n$", 1 },
      ["2"] = { "^moonfold: not_found: the log has no event 2\n$", 1 },
      ["tall-1@1"] = { 'there is no stream "tall%-1": did you mean "till%-1"', 1 },
      ["till-1"] = { '^moonfold: "till%-1" is no event: write STREAM@VERSION', 2 },
      [("0"):rep(32)] = { "the code 0+ is not in this store", 1 },
    } do
      local result = support.shell(("%s code %s %s"):format(support.program(), support.quote(path), asked))
      assert.equal(answer[2], result.status)
      assert.matches(answer[1], result.stderr)
      assert.equal("", result.stdout)
    end
  end)

  support.everywhere(function(open)
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    it("are in every event that it records, and in no other", function()
      store:append_to_stream("till-1", { type = "Paid", data = { amount = 3 } })
      local result = store:handle("till-1", first, command("Pay", 7))
      assert.equal(first.digest, result.events[1].code_digest)
      local digests = {}
      for event in store:events("till-1") do digests[#digests + 1] = tostring(event.code_digest) end
      assert.same({ "nil", first.digest, first.digest }, digests)
      local seen = {}
      for key in pairs(store:read_stream("till-1").events[2]) do seen[key] = true end
      assert.is_true(seen.code_digest)
    end)

    it("lead to the sources, as long as the store lives", function()
      assert.is_nil(store:code(first.digest))
      assert.same({}, store:codes())
      store:handle("till-1", first, command("Pay", 7))
      local second = load((script:gsub("amount = 1 ", "amount = 2 ")), nil, { fee = 3 })
      store:handle("till-1", second, command("Pay", 7))
      store:handle("till-1", first, command("Pay", 7))
      local code = store:code(second.digest)
      assert.equal("till", code.name)
      assert.equal("till.lua", code.path)
      assert.same({ fee = 3 }, code.params)
      assert.same({ { path = "till.lua", text = script:gsub("amount = 1 ", "amount = 2 "), nil },
        { path = "rules.lua", module = "rules", text = "return { factor = 1, price = 5 }" } }, code.sources)
      assert.is_true(code.first_seen > 0)
      assert.equal(script, store:code(first.digest).sources[1].text)
      local list = store:codes()
      assert.same({ first.digest, second.digest }, { list[1].digest, list[2].digest })
      assert.is_nil(list[1].sources)
    end)

    it("are not kept when nothing is recorded", function()
      store:decide("till-1", first, command("Pay", 7))
      pcall(store.transaction, store, function()
        store:handle("till-1", first, command("Pay", 7))
        assert.is_truthy(store:code(first.digest))
        error "no"
      end)
      assert.is_nil(store:code(first.digest))
      store:transaction(function() store:handle("till-1", first, command("Pay", 7)) end)
      assert.is_truthy(store:code(first.digest))
    end)

    it("must be digests where code is asked for", function()
      support.fails("invalid_argument", nil, function() store:code("abc") end)
      support.fails("invalid_argument", nil, function() store:code(("g"):rep(32)) end)
    end)
  end)
end)
