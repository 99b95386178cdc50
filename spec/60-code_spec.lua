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

  it("say in words why the fold's stands for the whole script", function()
    local doubtful = load("function step() return 1 end\n" .. script:gsub("rules.factor", "step()"))
    assert.matches("globals", doubtful.fold_doubt)
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
