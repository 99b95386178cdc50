--- Code that is loaded again while the program runs.

local moonfold = require "moonfold"
local support = require "support"

local command, event = moonfold.command, moonfold.event

local function script(step, price)
  return ([[
local rules = require "rules"
return {
  category = "till", initial_state = 0,
  evolve = { Paid = function(sum, event) return sum + %s * event.data end },
  decide = { Pay = function(command) return { type = "Paid", data = command.data * %s + rules.fee } end },
}
]]):format(step, price)
end

describe("a decider", function()
  local store, folder, decider, log

  local function write(text, rules)
    support.write(folder .. "/till.lua", text)
    support.write(folder .. "/rules.lua", rules or "return { fee = 0 }")
  end

  local function load(options)
    options = options or {}
    options.log = function(line, place) log[#log + 1] = (place.phase or "") .. ": " .. line end
    return moonfold.load_decider(folder .. "/till.lua", options)
  end

  local function pay(amount) return store:handle("till-1", decider, command("Pay", amount)).state end

  before_each(function()
    store, log = support.open(), {}
    folder = support.folder()
    write(script(1, 1))
    decider = load()
  end)
  after_each(function() store:close() end)

  it("is another after its file has changed and it was loaded again", function()
    assert.equal(5, pay(5))
    write(script(1, 2))
    assert.equal(10, pay(5))
    local before = { decider.digest, decider.fold_digest }
    assert.is_true(decider:reload())
    assert.equal(20, pay(5))
    assert.is_not.equal(before[1], decider.digest)
    assert.equal(before[2], decider.fold_digest)
    assert.equal(decider.digest, store:read_stream("till-1").events[3].code_digest)
  end)

  it("folds anew with another fold", function()
    pay(5)
    write(script(-1, 1))
    decider:reload()
    assert.equal(-5, store:aggregate_stream("till-1", decider).state)
    assert.equal(-7, pay(2))
  end)

  it("stays the same when nothing has changed", function()
    assert.is_false(decider:reload())
    write(script(1, 1))
    assert.is_false(decider:reload())
  end)

  it("is another when a module has changed, or its parameters' use of it", function()
    write(script(1, 1), "return { fee = 3 }")
    assert.is_true(decider:reload())
    assert.equal(8, pay(5))
  end)

  it("keeps its options", function()
    decider = load { params = { 1 }, keep_commands = true, budget = 5000000 }
    write("local params = ...\n" .. script(1, 1):gsub("rules.fee", "params[1]"))
    decider:reload()
    assert.equal(6, pay(5))
    assert.equal(1, store:kept().commands)
  end)

  it("goes on as it was when its file does not load, and says why", function()
    pay(5)
    local digest = decider.digest
    local misspelt = "return { evolve = {}, initial_state = {}, decied = {} }"
    for _, broken in ipairs { "return {", "return 5", "error 'no'", misspelt } do
      write(broken)
      local ok, failure = pcall(decider.reload, decider)
      assert.is_false(ok)
      assert.equal(failure.message, decider.reload_problem)
      assert.equal(digest, decider.digest)
    end
    assert.matches("did you mean", decider.reload_problem)
    assert.equal(10, pay(5))
    os.remove(folder .. "/till.lua")
    support.fails("not_found", nil, function() decider:reload() end)
    assert.equal(15, pay(5))
    write(script(1, 2))
    decider:reload()
    assert.is_nil(decider.reload_problem)
    assert.equal(25, pay(5))
  end)

  it("finds its kept states again when its code comes back", function()
    store:append_to_stream("till-1", { event("Paid", 1), event("Paid", 2) })
    pay(5)
    local digest = decider.digest
    write(script(1, 2))
    decider:reload()
    pay(5)
    write(script(1, 1))
    assert.is_true(decider:reload())
    assert.equal(digest, decider.digest)
    assert.equal(23, pay(5))
    for _ = 1, 3 do
      for price = 2, 7 do
        write(script(1, price))
        assert.is_true(decider:reload())
      end
    end
    assert.equal(23 + 7, pay(1))
  end)

  it("is not loaded again while it runs", function()
    local failure
    decider = moonfold.load_decider(folder .. "/till.lua",
      { log = function() failure = support.fails("invalid_argument", nil, function() decider:reload() end) end })
    write("print 'loading'\n" .. script(1, 1):gsub("return { type", "print 'hello' return { type"))
    pay(1)
    decider:reload()
    failure = nil
    pay(1)
    assert.matches("cannot be loaded again", failure.message)
  end)

  it("keeps up with its files when that was asked for", function()
    decider = load { reload = true }
    assert.equal(5, pay(5))
    write(script(1, 2))
    assert.equal(15, pay(5))
    write(script(1, 2), "return { fee = 1 }")
    assert.equal(16, store:decide("till-1", decider, command("Pay", 0)).state)
    write(script(-1, 1))
    assert.equal(-15, store:aggregate_stream("till-1", decider).state)
  end)

  it("keeps up, and goes on with the old code for as long as the new does not load", function()
    decider = load { reload = true }
    pay(5)
    write("return {")
    assert.equal(10, pay(5))
    assert.matches("^reload: the old code goes on: till.lua:", log[1])
    assert.matches("till.lua", decider.reload_problem)
    write(script(1, 3))
    assert.equal(25, pay(5))
    assert.is_nil(decider.reload_problem)
  end)

  it("keeps up inside of a transaction, whose events it still sees", function()
    decider = load { reload = true }
    store:transaction(function()
      pay(5)
      write(script(1, 10))
      assert.equal(55, pay(5))
    end)
    assert.equal(55, store:aggregate_stream("till-1", decider).state)
  end)
end)

describe("a domain in use", function()
  it("is loaded again as a whole, and finds what is new", function()
    local store <close> = support.open()
    local folder = support.folder()
    local function counter(category, by)
      support.write(("%s/%s.lua"):format(folder, category), ([[return {
        category = %q, initial_state = 0, evolve = { Counted = function(n) return n + %d end },
        decide = { Count = function() return { type = "Counted" } end } }]]):format(category, by))
    end
    counter("one", 1)
    local domain = store:use(folder, { reload = true })
    local first = domain:decider_of "one-1"
    assert.equal(1, store:handle("one-1", command "Count").state)
    counter("one", 10)
    counter("two", 2)
    assert.equal(2, store:handle("two-1", command "Count").state)
    assert.equal(20, store:handle("one-1", command "Count").state)
    assert.equal(first, domain:decider_of "one-1")
    assert.equal(2, #domain.deciders)
    counter("one", 100)
    assert.is_true(domain:reload())
    assert.is_false(domain:reload())
    assert.equal(300, store:handle("one-1", command "Count").state)
    os.remove(folder .. "/two.lua")
    assert.has_error(function() domain:reload() end)
    assert.matches("two.lua", domain.reload_problem)
    assert.equal(4, store:handle("two-1", command "Count").state)
  end)

  it("cannot take a category over that another domain of the same store has", function()
    local store <close> = support.open()
    local ours, theirs, log = support.folder(), support.folder(), {}
    local function counter(folder, file, category)
      support.write(("%s/%s.lua"):format(folder, file), ([[return {
        category = %q, initial_state = 0, evolve = { Counted = function(n) return n + 1 end },
        decide = { Count = function() return { type = "Counted" } end } }]]):format(category))
    end
    counter(ours, "one", "one")
    counter(theirs, "two", "two")
    local domain = store:use(ours, { reload = true, log = function(line) log[#log + 1] = line end })
    store:use(theirs)
    store:handle("one-1", command "Count")
    counter(ours, "one", "two")
    local failure = support.fails("invalid_argument", nil, domain.reload, domain)
    assert.matches('the category "two" is in use: .*two%.lua has it, and so has .*one%.lua', failure.message)
    assert.equal(failure.message, domain.reload_problem)
    assert.equal("one", domain.deciders[1].category)
    assert.equal(2, store:handle("one-1", command "Count").state)
    assert.equal(1, store:handle("two-1", command "Count").state)
    counter(ours, "new", "two")
    counter(ours, "one", "one")
    assert.equal(3, store:handle("one-1", command "Count").state)
    assert.matches("the old code goes on: .*new%.lua", log[#log])
  end)

  it("can take a category over that was given up, or that another store's domain has", function()
    local store <close> = support.open()
    local other <close> = support.open()
    local ours, theirs = support.folder(), support.folder()
    local function counter(folder, category)
      local text = ("return { category = %q, initial_state = 0, evolve = {} }"):format(category)
      support.write(folder .. "/it.lua", text)
    end
    counter(ours, "one")
    counter(theirs, "two")
    local domain, second = store:use(ours), store:use(theirs)
    counter(theirs, "three")
    counter(ours, "two")
    support.fails("invalid_argument", nil, domain.reload, domain)
    assert.is_true(second:reload())
    assert.is_true(domain:reload())
    assert.equal("two", domain.deciders[1].category)
    counter(theirs, "two")
    support.fails("invalid_argument", nil, second.reload, second)
    local apart = other:use(theirs)
    assert.equal("two", apart.deciders[1].category)
    counter(theirs, "one")
    assert.is_true(apart:reload())
  end)
end)
