--- moonfold new and moonfold spec: a domain folder that passes its own specs, and the runner that says so.

local support = require "support"
local moonfold = require "moonfold"

local quote = support.quote

local here = support.shell("pwd").stdout:gsub("\n", "")

local function absolute(path) return path:find("^/") and path or here .. "/" .. path end

-- The program, in a folder: { stdout=, stderr=, status= }.
local function run(folder, arguments)
  return support.shell(("cd %s && exec %s %s"):format(quote(folder), quote(support.program()), arguments))
end

local function exists(path)
  local file <close> = io.open(path)
  return file ~= nil
end

-- Where a busted that runs elsewhere finds the module under test.
local cpath = absolute(assert(package.searchpath("moonfold", package.cpath)):match("^(.*)/[^/]*$")) .. "/?.so"

describe("moonfold new", function()
  local function passes(folder, name)
    local ours = run(folder, "spec " .. name)
    assert.are.equal(0, ours.status, ours.stdout)
    assert.matches("^%d+ passed, 0 failed %(1 file%)\n$", ours.stdout)
    local busted = support.shell(("cd %s && busted --lua=lua5.4 --cpath=%s . 2>&1"):format(
      quote(folder .. "/" .. name), quote(cpath)))
    local passed = ours.stdout:match("^%d+")
    assert.matches(("\n%s successes / 0 failures / 0 errors"):format(passed), busted.stdout)
  end

  -- Commands of the README that was made, run as it says.
  local function try_readme(folder, name)
    for line in support.read(folder .. "/" .. name .. "/README.md"):gmatch("\n    moonfold ([^\n]*)") do
      local done = run(folder .. "/" .. name, line)
      assert.are.equal(0, done.status, line .. "\n" .. done.stderr)
    end
  end

  it("makes a domain that passes its own spec, by us and by busted", function()
    local folder = support.folder()
    local made = run(folder, "new shop")
    assert.are.equal(0, made.status, made.stderr)
    assert.are.equal([[
made
  shop/shop.lua
  shop/shop_spec.lua
  shop/README.md
  shop/.luarc.json
  shop/.types/moonfold.d.lua
Next: moonfold spec shop
]], made.stdout)
    passes(folder, "shop")
    try_readme(folder, "shop")
    local decider = moonfold.load_decider(folder .. "/shop/shop.lua")
    assert.are.equal("shop", decider.category)
  end)

  for _, model in ipairs { "account", "cart", "counter", "inventory", "pricing", "quest" } do
    it("makes one like " .. model, function()
      local folder = support.folder()
      local made = run(folder, "new my-game --like " .. model)
      assert.are.equal(0, made.status, made.stderr)
      passes(folder, "my-game")
      try_readme(folder, "my-game")
      assert.matches('category = "my_game"', support.read(folder .. "/my-game/my_game.lua"), 1, true)
    end)
  end

  it("makes a folder that a store can use", function()
    local folder = support.folder()
    run(folder, "new dungeon --like quest")
    local store <close> = moonfold.open(":memory:")
    store:use(folder .. "/dungeon")
    local offer = { title = "Rats", foes = 1, strength = 1, level = 1, hours = 1 }
    store:handle("dungeon-1", moonfold.command("OfferQuest", offer))
    assert.are.equal("offered", store:aggregate_stream("dungeon-1").state.status)
  end)

  it("tells editors the types of this version, in settings that are JSON", function()
    local folder = support.folder()
    run(folder, "new shop")
    local types = support.read(folder .. "/shop/.types/moonfold.d.lua")
    assert.are.equal(require("moonfold.reference").types(), types)
    local settings = moonfold.from_json(support.read(folder .. "/shop/.luarc.json"))
    assert.are.same({ ".types" }, settings["workspace.library"])
    for name in support.read(folder .. "/shop/shop.lua"):gmatch("%-%-%-@type [^\n]-moonfold%.(%u%a+)") do
      assert.matches(("\n%%-%%-%%-@%%a+ moonfold%%.%s%%f[%%W]"):format(name), types)
    end
  end)

  it("makes its folder where the path says", function()
    local folder = support.folder()
    support.shell("mkdir " .. quote(folder .. "/rules"))
    assert.are.equal(0, run(folder, "new rules/My-Shop/").status)
    assert.is_true(exists(folder .. "/rules/My-Shop/my_shop_spec.lua"))
    local nowhere = run(folder, "new no/such/shop")
    assert.are.equal(1, nowhere.status)
    assert.are.equal("moonfold: io: no/such/shop: No such file or directory\n", nowhere.stderr)
  end)

  it("writes over nothing", function()
    local folder = support.folder()
    support.shell("mkdir " .. quote(folder .. "/shop"))
    support.write(folder .. "/shop/README.md", "mine")
    local refused = run(folder, "new shop")
    assert.are.equal(1, refused.status)
    assert.are.equal("moonfold: io: shop/README.md is there already: nothing was written\n", refused.stderr)
    assert.are.equal("README.md", support.files(folder .. "/shop"))
    assert.are.equal("mine", support.read(folder .. "/shop/README.md"))
    support.write(folder .. "/file", "")
    assert.are.equal("moonfold: io: file is a file\n", run(folder, "new file").stderr)
  end)

  it("refuses names that make no module, and says why", function()
    local folder = support.folder()
    local function complaint(arguments)
      local refused = run(folder, "new " .. arguments)
      assert.are.equal(2, refused.status)
      return refused.stderr:match("^moonfold: ([^\n]*)\n")
    end
    assert.are.equal('"end" is no good name: it is a word of Lua\'s own', complaint("end"))
    assert.are.equal('"string" is no good name: a Lua module is called so', complaint("string"))
    assert.are.equal('"moonfold" is no good name: a Lua module is called so', complaint("moonfold"))
    assert.are.equal('"7up" is no good name: it begins with a digit', complaint("7up"))
    assert.are.equal('"x_spec" is no good name: specs end in _spec', complaint("x_spec"))
    assert.are.equal('"a b" is no good name: it has letters, digits, "-" and "_"', complaint("'a b'"))
    assert.are.equal('"a.b" is no good name: it has letters, digits, "-" and "_"', complaint("a.b"))
    assert.are.equal('"" is no good name: it has letters, digits, "-" and "_"', complaint("''"))
    assert.are.equal('there is no "qest" to be like: did you mean quest?', complaint("x --like qest"))
    assert.are.equal('there is no "xyzzy" to be like: there are account, cart, counter, inventory, pricing, quest',
      complaint("x --like xyzzy"))
    assert.are.equal("", support.files(folder))
  end)
end)

describe("moonfold spec", function()
  -- A folder with these files, { name = text }, and what the runner says of it.
  local function spec(files, arguments)
    local folder = support.folder()
    for name, text in pairs(files) do
      if name:find("/") then support.shell("mkdir -p " .. quote(folder .. "/" .. name:match("^(.*)/"))) end
      support.write(folder .. "/" .. name, text)
    end
    return run(folder, "spec " .. (arguments or ""))
  end

  local function says(expected, status, files, arguments)
    local result = spec(files, arguments)
    assert.are.equal(expected, result.stdout .. result.stderr)
    assert.are.equal(status, result.status)
  end

  it("runs tests in groups, with what stands around them", function()
    says("outer setup\nouter before\ninner before\n1\nfinally\ninner after\nouter after\nouter before\n2\nouter after\n"
      .. "outer teardown\n2 passed, 0 failed (1 file)\n", 0, { ["a_spec.lua"] = [[
      describe("outer", function()
        setup(function() print "outer setup" end)
        teardown(function() print "outer teardown" end)
        before_each(function() print "outer before" end)
        after_each(function() print "outer after" end)
        describe("inner", function()
          before_each(function() print "inner before" end)
          after_each(function() print "inner after" end)
          it("1", function() finally(function() print "finally" end) print "1" end)
        end)
        it("2", function() print "2" end)
      end)
    ]] })
  end)

  it("tells file and line, names and difference of what fails", function()
    says([[
FAILED a_spec.lua:2: sums are right
  a_spec.lua:2:
  expected  3
  actual    2

FAILED a_spec.lua:3: sums raise
  a_spec.lua:3: attempt to perform arithmetic on a nil value (global 'x')

FAILED a_spec.lua:4: sums are explained
  a_spec.lua:4:
  because
  expected  true
  actual    false

FAILED a_spec.lua:5: sums are compared in depth
  a_spec.lua:5:
  expected  { a = { b = 1 } }
  actual    { a = { b = 2 } }

1 passed, 4 failed (1 file)
]], 1, { ["a_spec.lua"] = [[
describe("sums", function()
  it("are right", function() assert.equal(3, 1 + 1) end)
  it("raise", function() return 1 + x end)
  it("are explained", function() assert.is_true(false, "because") end)
  it("are compared in depth", function() assert.are.same({ a = { b = 1 } }, { a = { b = 2 } }) end)
  it("go on", function() end)
end)
]] })
  end)

  it("shows a failed scenario as busted does, without the insides", function()
    says([[
FAILED lamp_spec.lua:3: is lit
  lamp_spec.lua:5: the events are not what was expected
    events[1].data
      expected  { by = "me" }
      actual    nil

0 passed, 1 failed (1 file)
]], 1, {
      ["lamp.lua"] = [[
local moonfold = require "moonfold"
return {
  initial_state = {}, evolve = { Lit = false },
  decide = function() return moonfold.event("Lit") end,
}
]], ["lamp_spec.lua"] = [[
local moonfold = require "moonfold"
local given = require("moonfold.spec")(require "lamp")
it("is lit", function()
  local lit = moonfold.event("Lit", { by = "me" })
  given {}:when(moonfold.command("Light")):expect(lit)
end)
]] })
  end)

  it("finds specs in folders, in order, and each its own modules", function()
    says("one\ntwo\nthree\n3 passed, 0 failed (3 files)\n", 0, {
      ["a_spec.lua"] = 'print((require "word"))', ["word.lua"] = 'return "one"', ["other.lua"] = "error()",
      ["b/b_spec.lua"] = 'print((require "word"))', ["b/word.lua"] = 'return "two"', [".hidden/x_spec.lua"] = "error()",
      ["b/c/c_spec.lua"] = 'print((require "word"))', ["b/c/word.lua"] = 'return "three"',
    })
    says("1\n1 passed, 0 failed (1 file)\n", 0, { ["check.lua"] = "print(1)" }, "check.lua")
  end)

  it("keeps what a file sets from the next", function()
    says("2 passed, 0 failed (2 files)\n", 0, {
      ["a_spec.lua"] = 'x = 1; require "m"', ["m.lua"] = "return 1",
      ["b_spec.lua"] = 'assert(x == nil); assert(package.loaded.m == nil); assert(_G.describe == nil)',
    })
  end)

  it("goes on after a file or a group that cannot be read", function()
    says([[
FAILED a_spec.lua
  a_spec.lua:1: unexpected symbol near '='

FAILED b_spec.lua:1: group is read
  b_spec.lua:1: boo

2 passed, 2 failed (3 files)
]], 1, {
      ["a_spec.lua"] = "x = = 1",
      ["b_spec.lua"] = 'describe("group", function() it("a", function() end) error("boo") end)',
      ["c_spec.lua"] = "assert(true)",
    })
  end)

  it("blames a setup on all that stands on it, and a teardown on itself", function()
    local result = spec { ["a_spec.lua"] = [[
      describe("a", function() setup(function() error("no") end) it("x", function() print("never") end) end)
      describe("b", function() teardown(function() error("no") end) it("x", function() end) end)
      describe("c", function() after_each(function() error("no") end) it("x", function() end) end)
      it("d", function() end)
    ]] }
    assert.are.equal("FAILED a_spec.lua:1: a x\nFAILED b teardown\nFAILED a_spec.lua:3: c x\n",
      (result.stdout:gsub("\n  [^\n]*", ""):gsub("\n\n", "\n"):gsub("%d+ passed.*", "")))
    assert.matches("\n2 passed, 3 failed ", result.stdout)
  end)

  it("tells what is pending", function()
    says("pending a_spec.lua:1: later\npending a_spec.lua:2: now\n0 passed, 0 failed, 2 pending (1 file)\n", 0,
      { ["a_spec.lua"] = 'it("later")\nit("now", function() pending("not yet") end)' })
  end)

  it("loads deciders in the sandbox on request", function()
    local files = {
      ["clock.lua"] = [[
local moonfold = require "moonfold"
return {
  category = "clock", initial_state = require("zero"), evolve = { Rang = false },
  decide = function() return moonfold.event("Rang", os.time()) end,
}
]], ["zero.lua"] = "return 0", ["clock_spec.lua"] = [[
local moonfold = require "moonfold"
local given = require("moonfold.spec")(require "clock")
assert(require "zero" == 0)
given {}:when(moonfold.command("Ring")):expect_error("os")
]] }
    assert.matches("^FAILED clock_spec.lua\n", spec(files).stdout)
    says("1 passed, 0 failed (1 file)\n", 0, files, "--sandbox .")
  end)

  it("ends at Ctrl-C, which is no failure of a test", function()
    local result = spec { ["a_spec.lua"] = [[
      it("a", function()
        io.popen("kill -INT $PPID"):close()
        for _ = 1, 1000000000 do end
      end)
      it("b", function() print "never" end)
    ]] }
    assert.are.equal(130, result.status)
    assert.are.equal("", result.stdout)
  end)

  it("prints the Test Anything Protocol", function()
    says([[
ok 1 - a b
not ok 2 - a c
# a_spec.lua:3: no
# a_spec.lua:3
ok 3 - a d # SKIP pending
1..3
]], 1, { ["a_spec.lua"] = [[
describe("a", function()
  it("b", function() end)
  it("c", function() assert(false, "no") end)
  it("d")
end)]] }, "--tap")
  end)

  it("says when there is nothing to run", function()
    says("moonfold: no specs in .: their names end in _spec.lua\nTry: moonfold spec --help\n", 2, { ["a.lua"] = "" })
    says("moonfold: there is no file or folder nix\nTry: moonfold spec --help\n", 2, {}, "nix")
  end)
end)

describe("the assertions of moonfold spec", function()
  local ours = require("moonfold.assertions")
  local check = ours.assert

  local function holds(words, ...) assert.is_true((pcall(words, ...))) end
  local function fails(words, ...)
    local fine, problem = pcall(words, ...)
    assert.is_false(fine)
    assert.is_true(ours.is_failure(problem))
    return problem.message
  end

  it("hold and fail as busted's do", function()
    local t = {}
    for _, case in ipairs {
      { "equal", { 1, 1 }, { 1, 2 } }, { "equal", { t, t }, { {}, {} } },
      { "same", { { 1, { a = t } }, { 1, { a = {} } } }, { { 1 }, { 1, 2 } } },
      { "is_true", { true }, { 1 } }, { "is_false", { false }, { nil } }, { "truthy", { 0 }, { false } },
      { "falsy", { nil }, { 0 } }, { "is_nil", { nil }, { false } }, { "is_string", { "" }, { 1 } },
      { "is_table", { {} }, { "" } }, { "matches", { "^a+$", "aaa" }, { "^a+$", "ab" } },
      { "has_error", { error }, { function() end } }, { "near", { 1, 1.1, 0.2 }, { 1, 1.5, 0.2 } },
    } do
      local name, good, bad = table.unpack(case)
      local function fails_too(f, ...) assert.is_false((pcall(f, ...))) end
      for _, each in ipairs { { check, holds, fails }, { assert, holds, fails_too } } do
        local set, right, wrong = table.unpack(each)
        right(set[name], table.unpack(good, 1, 3))
        wrong(set[name], table.unpack(bad, 1, 3))
        local not_name = name:find("_") and name:gsub("_", "_not_", 1) or "is_not_" .. name
        if name ~= "has_error" and name ~= "near" then
          right(set[not_name], table.unpack(bad, 1, 3))
          wrong(set[not_name], table.unpack(good, 1, 3))
        end
      end
    end
  end)

  it("read well in several words", function()
    holds(check.are.equal, 1, 1)
    holds(check.is_not.equal, 1, 2)
    holds(check.are_not.same, { 1 }, { 2 })
    holds(check.has_no.errors, function() end)
    holds(check.is_not_nil, false)
    holds(check, 1, "message")
    assert.are.equal("assertion failed!", fails(check, nil))
    assert.are.equal("because", fails(check, false, "because"))
  end)

  it("say what was expected", function()
    assert.are.equal("expected  1\nactual    2", fails(check.equal, 1, 2))
    assert.are.equal("expected  anything but 1", fails(check.are_not.equal, 1, 1))
    assert.are.equal('expected  a match of "x"\nactual    "y"', fails(check.matches, "x", "y"))
    assert.matches("^expected  no error\nactual    the error .*boo",
      fails(check.has_no_error, function() error("boo") end))
    assert.are.equal('expected  a string\nactual    { 1 }', fails(check.is_string, { 1 }))
    assert.are.equal("it hurts\nexpected  nil\nactual    1", fails(check.is_nil, 1, "it hurts"))
    assert.are.equal("there is no assertion eqaul: did you mean equal?", fails(check.eqaul, 1, 1))
    local cycle = {}
    cycle.self = cycle
    assert.matches("^expected  1\nactual    table: ", fails(check.equal, 1, cycle))
  end)

  it("take an error with its message, or as it is", function()
    holds(check.has_error, function() error("boo") end, "boo")
    holds(check.has_error, function() error({ code = 1 }) end, { code = 1 })
    fails(check.has_error, function() error("boo") end, "foo")
  end)
end)
