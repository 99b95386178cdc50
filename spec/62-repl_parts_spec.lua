--- The parts of the REPL that need no terminal: completion, printing, evaluating.

local complete = require "moonfold.repl.complete"
local lfs = require "lfs"
local moonfold = require "moonfold"
local reference = require "moonfold.reference"
local support = require "support"
local text = require "moonfold.cli.text"
local evaluate = require "moonfold.repl.evaluate"
local show = require "moonfold.repl.show"

describe("completion", function()
  local store
  before_each(function() store = moonfold.open(":memory:") end)
  after_each(function() store:close() end)

  local function world()
    return {
      env = { store = store, moonfold = moonfold, total = { items = { { qty = 1 } }, sum = 3 }, string = string,
        toast = 1, trap = setmetatable({}, { __index = function() error("completion must run nothing") end }) },
      dots = function()
        return {
          { name = "state", takes = { "STREAM" } }, { name = "streams" },
          { name = "why", takes = { "STREAM", "PATH" } },
          { name = "try", takes = { "STREAM", "COMMAND" } }, { name = "use", takes = { "FILE" } },
          { name = "find", takes = { "STREAM", rest = "EXPRESSION" } },
          { name = "mode", takes = { "table|line|json" } },
          { name = "help", takes = { "DOT" } }, { name = "watch", takes = { "STREAM|off" } },
        }
      end,
      streams = function(prefix)
        local found = {}
        for _, name in ipairs { "cart-1", "cart-2", "quest-7" } do
          if name:sub(1, #prefix) == prefix then found[#found + 1] = name end
        end
        return found
      end,
      types = function() return { "ItemAdded", "ItemRemoved", "Paid" } end,
      commands = function(stream) return stream == "cart-1" and { "AddItem", "Pay" } or {} end,
      fields = function(stream) return stream == "cart-1" and { "items", "total" } or {} end,
      files = function(prefix) return prefix == "ru" and { "rules/" } or {} end,
      options = function(name) return name == "read_stream" and { "from", "max_count", "to" } or {} end,
      pages = function() return { "store:read_stream", "read_stream" } end,
    }
  end

  -- What is offered where the bar stands, and what of the line it would replace.
  local function offered(line)
    local cursor = line:find("|", 1, true) - 1
    local words, from = complete(line:gsub("|", "", 1), cursor, world())
    return table.concat(words, " "), line:sub(from, cursor)
  end

  it("knows the dot commands", function()
    assert.same({ ".state .streams", ".st" }, { offered(".st|") })
    assert.equal(".find .help .mode .state .streams .try .use .watch .why", (offered(".|")))
    assert.equal(".state", (offered("  .sta|")))
    assert.equal("", (offered(".xyz|")))
  end)

  it("knows streams, fields, commands, files and words where a dot command takes them", function()
    assert.same({ "cart-1 cart-2", "ca" }, { offered(".why ca|") })
    assert.equal("cart-1 cart-2 quest-7", (offered(".state |")))
    assert.equal("items total", (offered(".why cart-1 |")))
    assert.same({ "total", "to" }, { offered(".why cart-1 to|") })
    assert.equal("AddItem Pay", (offered(".try cart-1 |")))
    assert.same({ "rules/", "ru" }, { offered(".use ru|") })
    assert.equal("json", (offered(".mode js|")))
    assert.equal("state streams", (offered(".help st|")))
    assert.equal("off", (offered(".watch o|")))
    assert.equal("", (offered(".streams x |")))
    assert.equal("", (offered(".state cart-1@|")))
  end)

  it("knows the fields of the state inside an expression", function()
    assert.same({ "total", "to" }, { offered(".find cart-1 #items > 2 and to|") })
    assert.equal("items", (offered(".find cart-1 #it|")))
  end)

  it("knows the options of a function inside its table", function()
    assert.same({ "from max_count to", "" }, { offered('store:read_stream("cart-1", { |') })
    assert.same({ "max_count", "ma" }, { offered('store:read_stream("cart-1", { from = 1, ma|') })
    assert.same({ "from", "f" }, { offered('for e in store:read_stream("a { \\" (", { f|') })
    assert.same({ "from", "fr" }, { offered("print(store:read_stream { fr|") })
    assert.same({ "total", "to" .. "t" }, { offered('store:read_stream("cart-1", { from = tot|') })
    assert.same({ "total", "tot" }, { offered("nosuch { tot|") })
    assert.same({ "total", "tot" }, { offered("{ { } tot|") })
    assert.same({ "total", "tot" }, { offered(") } tot|") })
  end)

  it("knows names of Lua, and keywords", function()
    assert.equal("toast total", (offered("x = to|")))
    assert.equal("return", (offered("ret|")))
    assert.equal("", (offered("|")))
    assert.equal("", (offered("1 + |")))
  end)

  it("knows the fields and methods of what a name stands for", function()
    assert.equal("items sum", (offered("total.|")))
    assert.equal("qty", (offered("print(total.items[1].q|")))
    assert.equal("read_stream", (offered("store:read_s|")))
    assert.equal("event", (offered("moonfold.even|")))
    assert.equal("sub", (offered("string.su|")))
    assert.equal("", (offered("nothing.|")))
    assert.equal("", (offered("total.sum.|")))
  end)

  it("offers methods behind a colon, and runs nothing to find out", function()
    assert.equal("", (offered("total:|")))
    assert.equal("", (offered("trap.x.|")))
    assert.equal("", (offered("trap:|")))
  end)

  it("knows streams, types and commands inside quotes", function()
    assert.same({ "cart-1 cart-2", "ca" }, { offered('store:read_stream("ca|') })
    assert.equal("cart-1 cart-2 quest-7", (offered("past:at('|")))
    assert.equal("ItemAdded ItemRemoved", (offered('event("Item|')))
    assert.equal("Paid", (offered('store:events("cart-1", { types = { "Pa|')))
    assert.equal("AddItem Pay", (offered('store:handle("cart-1", command("|')))
    assert.equal("items total", (offered('past:why("cart-1", "|')))
    assert.equal("", (offered('print("done") |')))
  end)

  it("looks at the line before the cursor only", function()
    assert.same({ "cart-1 cart-2", "ca" }, { offered(".why ca| total") })
    assert.equal("read_stream", (offered('store:read_s|("cart-1")')))
  end)

  it("knows what has a page", function()
    assert.equal("read_stream", (offered("?read|")))
    assert.equal("store:read_stream", (offered("?store:|")))
  end)

  it("never fails, whatever the line", function()
    local pieces = { ".", "?", '"', "'", "\\", "store", ":", "[", "]", "(", "{", " ", "why", "x", "\255", "%", ".." }
    math.randomseed(7)
    for _ = 1, 3000 do
      local line = {}
      for i = 1, math.random(0, 8) do line[i] = pieces[math.random(#pieces)] end
      line = table.concat(line)
      for cursor = 0, #line do
        local words, from = complete(line, cursor, world())
        assert.is_table(words)
        assert.is_true(from >= 1 and from <= cursor + 1, line)
      end
    end
  end)
end)

describe("a value as the REPL prints it", function()
  it("has sorted keys, and as many lines as it needs", function()
    assert.equal('{ [2] = 1, a = 1, b = { 1, 2 }, ["c d"] = true }',
      show.value { b = { 1, 2 }, a = 1, [2] = 1, ["c d"] = true })
    assert.equal("{\n  a = { 1, 2 },\n  b = 2\n}", show.value({ a = { 1, 2 }, b = 2 }, 20))
    assert.equal("{}", show.value {})
    assert.equal("{}", show.value(moonfold.array()))
  end)

  it("is cut where it is too much, with what is missing counted", function()
    local list = {}
    for i = 1, 100 do list[i] = i end
    assert.matches("30, ... 70 more }$", show.value(list, 1000))
    assert.matches('^"x+" ... 800 bytes more$', show.value(("x"):rep(1000)))
    assert.equal("{ a = { a = { a = { a = { ... 2 } } } } }",
      show.value { a = { a = { a = { a = { 1, 2 } } } } })
    assert.equal(("é"):rep(100), show.value(("é"):rep(150)):match('^"(.-)"'))
  end)

  it("is not cut when all of it is asked for", function()
    local list = {}
    for i = 1, 100 do list[i] = i end
    assert.matches("99, 100 }$", show.value(list, 1000, true))
  end)

  it("names what contains itself", function()
    local value = { list = {} }
    value.list[1] = { back = value, list = value.list }
    assert.equal("{ list = { { back = <the whole again>, list = <list again> } } }", show.value(value))
  end)

  it("never shows an address", function()
    local store <close> = moonfold.open(":memory:")
    local named = setmetatable({}, { __name = "x" })
    local values = { print, io.stdout, coroutine.create(print), store, moonfold, named, { [{}] = 1, [print] = 2 } }
    for _, value in ipairs(values) do
      assert.is_nil(show.value(value):find("0x", 1, true), show.value(value))
    end
    assert.equal('moonfold store ":memory:" (open)', show.value(store))
  end)

  it("shows an error as its text, and an event with all its fields", function()
    local store <close> = moonfold.open(":memory:")
    local _, failure = pcall(store.read_stream, store, "")
    assert.matches("invalid_argument: ", show.value(failure), 1, true)
    store:append_to_stream("a", moonfold.event("Opened", { by = "ada" }))
    assert.matches('stream_name = "a"', show.value(store:read_stream("a").events[1]), 1, true)
  end)

  it("fits one line where that is asked for", function()
    assert.equal("{ a = 1, …", show.short({ a = 1, b = 2 }, 10))
    assert.equal("nil", show.short(nil))
  end)
end)

describe("a sparkline", function()
  it("is as high as the counts, and blank where there is none", function()
    assert.equal("▁▄█ ", show.sparkline { 1, 4, 8, 0 })
    assert.equal(":+@ ", (show.sparkline({ 2, 5, 8, 0 }, true)))
    assert.equal("", show.sparkline {})
    assert.equal("  ", show.sparkline { 0, 0 })
  end)
end)

describe("a line of Lua", function()
  local env = setmetatable({}, { __index = _G })

  it("is an expression, or a statement", function()
    assert.equal(3, evaluate.compile("1 + 2", env)())
    evaluate.compile("x = 5", env)()
    assert.equal(5, env.x)
  end)

  it("goes on where only its end is missing", function()
    for _, line in ipairs { "for i = 1, 2 do", "f(", "{ 1,", "1 +", "x =", "function f()", "[[long", "if x then" } do
      local chunk, why = evaluate.compile(line, env)
      assert.is_nil(chunk)
      assert.equal("incomplete", why, line)
    end
  end)

  it("is refused where it is wrong, for the reason that one would look for", function()
    for line, reason in pairs { ["1 +* 2"] = "near '*'", ["x = = 1"] = "near '='", ["for do"] = "near 'do'" } do
      local chunk, why, message = evaluate.compile(line, env)
      assert.same({ nil, nil, n = 2 }, table.pack(chunk, why))
      assert.matches(reason, message, 1, true)
    end
  end)

  it("may be a predicate over the fields of a state", function()
    local holds = evaluate.predicate("total > 3 and #items == limit", { limit = 2 })
    assert.is_true(holds { total = 4, items = { 1, 2 } })
    assert.is_false(holds { total = 4, items = {} })
    assert.equal(7, evaluate.predicate("state", {})(7))
    assert.is_nil((evaluate.predicate("total >", {})))
  end)

  it("tells the fields that it may look at, unless it looks at the whole state", function()
    assert.same({ "total" }, evaluate.fields("total > 3"))
    assert.same({ "items" }, evaluate.fields("#items > 3 and items[1].total == 2"))
    assert.same({ "total" }, evaluate.fields('total == "items" or total == \'state\''))
    assert.same({ "total", "items", "math" }, evaluate.fields("total > #items and not (math.pi < items.total)"))
    assert.same({}, evaluate.fields("true"))
    assert.is_nil(evaluate.fields("state.total > 1"))
  end)
end)

describe("a page about a name", function()
  it("fits a narrow terminal, but for its code", function()
    for _, name in ipairs { "check", "corrupt", "Event", "read_stream", "store", "" } do
      local page = reference.page(name, 44):gsub("\n  Example\n.*", "\n"):gsub("^[^\n]*\n", "")
      for line in page:gmatch("[^\n]+") do
        assert.is_true(text.width(line) <= 44, name .. ": " .. line)
      end
      assert.are.equal(reference.page(name), reference.page(name, 200))
    end
  end)
end)

describe("looking for a state", function()
  it("sees fields that are gone in the end", function()
    local folder = support.folder()
    support.write(folder .. "/coupon.lua", [[
      return { category = "c", initial_state = { n = 0 }, evolve = {
        Given = function(c) c.coupon = { "a" } end,
        Counted = function(c) c.n = c.n + 1 end,
        Taken = function(c) c.coupon = nil end,
      } }]])
    local store <close> = moonfold.open(folder .. "/coupon.fold")
    for _, kind in ipairs { "Counted", "Given", "Counted", "Taken" } do
      store:append_to_stream("c-1", moonfold.event(kind))
    end
    local program = support.program()
    if not program:find("^/") then program = lfs.currentdir() .. "/" .. program end
    local command = "cd %s && echo '.find c-1 n > 1 and #coupon == 1' | %s repl coupon.fold --use coupon.lua"
    local played = support.shell(command:format(folder, program))
    assert.matches("^3 .*Counted", played.stdout)
  end)
end)
