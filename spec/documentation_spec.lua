--- The documentation and the library agree: every public name has an entry and every entry a public name, options are
--- those that the library takes, examples do what they say, and what is generated from doc.lua is up to date.

local lfs = require "lfs"
local moonfold = require "moonfold"
local support = require "support"
local doc = require "moonfold.doc"
local check = require "moonfold.check"
local history = require "moonfold.history"
local reference = require "moonfold.reference"
local scenario_of = require "moonfold.spec"

local function section(name)
  for _, candidate in ipairs(doc.sections) do
    if candidate.name == name then return candidate end
  end
  error("no section " .. name)
end

local function entries()
  local all = {}
  for _, part in ipairs(doc.sections) do
    for _, entry in ipairs(part.entries) do all[#all + 1] = entry end
  end
  return all
end

-- What a section documents under a prefix such as "store:", without it, sorted.
local function documented(name, prefix)
  local names = {}
  for _, entry in ipairs(section(name).entries) do
    if entry.name:sub(1, #prefix) == prefix then names[#names + 1] = entry.name:sub(#prefix + 1) end
  end
  table.sort(names)
  return names
end

-- The public keys of a table, sorted: what begins with "__" belongs to Lua.
local function public(t)
  local names = {}
  for key in pairs(t) do
    if not key:find("^__") then names[#names + 1] = key end
  end
  table.sort(names)
  return names
end

local function methods(object) return public(getmetatable(object).__index) end

-- Calls f with the context that a decision gets.
local function with_context(store, f)
  store:decide("probe", {
    initial_state = 0,
    evolve = {},
    decide = function(_, _, context) f(context) end,
  }, moonfold.command("Probe"))
end

describe("the documentation", function()
  it("has an entry for every export of the module, and no other", function()
    assert.are.same(public(moonfold), documented("module", "moonfold."))
  end)

  it("has an entry for every method of a store, and no other", function()
    local store <close> = moonfold.open(":memory:")
    assert.are.same(methods(store), documented("store", "store:"))
  end)

  it("has an entry for every method of a context, and no other", function()
    local store <close> = moonfold.open(":memory:")
    with_context(store, function(context)
      assert.are.same(methods(context), documented("context", "context:"))
    end)
  end)

  it("has an entry for every method of a scenario, and no other", function()
    local given = scenario_of { initial_state = 0, evolve = {}, decide = function() end }
    assert.are.same(methods(given {}), documented("spec", "scenario:"))
  end)

  it("has an entry for everything that a history, a walk and a branch can do, and no other", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("s", { type = "Counted" })
    local past = history.of(store, { initial_state = 0, evolve = {} })
    assert.are.same(public(history), documented("history", "history."))
    assert.are.same(methods(past), documented("history", "history:"))
    assert.are.same(methods(past:walk("s")), documented("walk", "walk:"))
    local own = methods(past:branch())
    for i = #own, 1, -1 do   -- it runs functions as every history does, only elsewhere
      if own[i] == "run" then table.remove(own, i) end
    end
    assert.are.same(own, documented("branch", "branch:"))
  end)

  it("has an entry for everything that moonfold.check offers, and no other", function()
    assert.are.same(public(check), documented("check", "check."))
  end)

  it("has an entry for every error code, and no other", function()
    local codes = {}
    for value, code in support.read("store/store.h"):gmatch('X%([%u_]+, (%-?%d+),%s*"([%l_]+)"') do
      if tonumber(value) < 0 or code == "rejected" then codes[#codes + 1] = code end
    end
    table.sort(codes)
    assert.are.same(codes, documented("errors", ""))
  end)

  describe("of", function()
    local codes = {}
    for _, entry in ipairs(section("errors").entries) do codes[entry.name] = true end

    local function check_items(list, ...)
      for _, item in ipairs(list or {}) do
        for _, field in ipairs { "name", "type", ... } do
          assert.is_string(item[field], ("%s lacks its %s"):format(item.name or "an item", field))
        end
      end
    end

    for _, entry in ipairs(entries()) do
      it(entry.name .. " is complete", function()
        assert.is_string(entry.signature)
        assert.is_string(entry.since)
        assert.matches("^%S.*[.?]$", entry.summary)
        assert.is_nil(entry.summary:find("\n"), "the summary is one line")
        check_items(entry.parameters)
        check_items(entry.options, "default", "text")
        check_items(entry.fields, "text")
        check_items(entry.returns or entry.iterates)
        if entry.kind == "function" or entry.kind == "method" then
          assert.is_table(entry.parameters)
          assert.is_table(entry.returns or entry.iterates)
          assert.is_table(entry.errors)
          assert.is_string(entry.example)
        end
        for _, code in ipairs(entry.errors or {}) do assert.is_true(codes[code], "unknown error code " .. code) end
        assert.are.equal(entry.options ~= nil, entry.options_class ~= nil)
      end)
    end
  end)

  it("gives the same options to every class of options", function()
    local seen = {}
    for _, entry in ipairs(entries()) do
      local class = entry.options_class
      if class then
        assert.are.same(seen[class] or entry.options, entry.options)
        seen[class] = entry.options
      end
    end
  end)
end)

describe("documented options", function()
  local counter = {
    initial_state = 0,
    evolve = { Counted = function(count) return count + 1 end },
    decide = { Count = function() return moonfold.event("Counted") end },
  }
  local count = moonfold.command("Count")

  local function script()
    local path = support.path("counter.lua")
    return support.write(path, [[return { category = "counter", initial_state = 0, evolve = {} }]])
  end

  -- The history of a store that has a stream "s".
  local function past_of(store)
    store:append_to_stream("s", { type = "Counted" })
    return history.of(store, counter)
  end

  local function spec_of(store, options)
    local branch = past_of(store):branch()
    branch:handle("s", count)
    branch:spec("s", options)
  end

  -- How to call each function with nothing but options.
  local calls = {
    ["history:why"] = function(store, options) past_of(store):why("s", "", options) end,
    ["history:find"] = function(store, options) past_of(store):find("s", function() end, options) end,
    ["history:walk"] = function(store, options) past_of(store):walk("s", options) end,
    ["history:fixture"] = function(store, options) past_of(store):fixture("s", options) end,
    ["branch:append_to_stream"] = function(store, options)
      history.of(store, counter):branch():append_to_stream("s", { type = "Counted" }, options)
    end,
    ["branch:handle"] = function(store, options) history.of(store, counter):branch():handle("s", count, options) end,
    ["branch:attempt"] = function(store, options) history.of(store, counter):branch():attempt("s", count, options) end,
    ["branch:spec"] = spec_of,
    ["moonfold.open"] = function(_, options) moonfold.open(":memory:", options):close() end,
    ["moonfold.load_decider"] = function(_, options) moonfold.load_decider(script(), options) end,
    ["moonfold.verify"] = function(store, options)
      local path = support.path("copy.fold")
      store:backup(path)
      moonfold.verify(path, options)
    end,
    ["moonfold.salvage"] = function(store, options)
      local path = support.path("copy.fold")
      store:backup(path)
      moonfold.salvage(path, path .. ".new", options)
    end,
    ["store:use"] = function(store, options) store:use(script(), options) end,
    ["store:append_to_stream"] = function(store, options)
      store:append_to_stream("s", { type = "Counted" }, options)
    end,
    ["store:read_stream"] = function(store, options) store:read_stream("s", options) end,
    ["store:commands"] = function(store, options) for _ in store:commands(options) do end end,
    ["store:events"] = function(store, options) for _ in store:events("s", options) do end end,
    ["store:all_events"] = function(store, options) for _ in store:all_events(options) do end end,
    ["store:aggregate_stream"] = function(store, options) store:aggregate_stream("s", counter, options) end,
    ["store:aggregate_streams"] = function(store, options)
      store:aggregate_streams({ { stream = "s", decider = counter } }, options)
    end,
    ["store:handle"] = function(store, options) store:handle("s", counter, count, options) end,
    ["store:attempt"] = function(store, options) store:attempt("s", counter, count, options) end,
    ["check.run"] = function(store, options) check.run(store, counter, options) end,
    ["store:decide"] = function(store, options) store:decide("s", counter, count, options) end,
    ["store:transaction"] = function(store, options) store:transaction(function() end, options) end,
    ["moonfold.spec"] = function(_, options) scenario_of(counter, options) end,
    ["context:aggregate_stream"] = function(store, options)
      with_context(store, function(context) context:aggregate_stream("s", counter, options) end)
    end,
  }

  -- A value that every function with such an option takes.
  local values = {
    create = true, read_only = false, durability = "none", clock = function() return 1 end,
    expected_stream_version = 0, from = 1, to = 1, max_count = 1, types = { "Counted" }, backwards = false, upcast = {},
    state = false, dry_run = true, initial_state = 0, trace = {}, check_shapes = true, check_invariant = true,
    params = {}, budget = 1000000, memory = 8000000, keep_commands = true, log = print, strict = true,
    cache = 2, snapshots = false, reload = true, since = 1, prefix = "s", progress = function() end, rolls = {},
    inspect = true, as_of = 0, against = { initial_state = 0, evolve = {} }, against_params = 1, decide = true,
    stream = "s", share = { index = 1, count = 2 }, finding = function() end,
    version = 1, time = 1, monotonic = true, path = "", script = "counter.lua",
    tamper_evident = true, link = "1:" .. ("0"):rep(64),
    hash = true, fields = {}, host = {}, host_version = "1", check_host = true,
  }

  local function refused(call, options)
    local store <close> = moonfold.open(":memory:")
    return support.fails("invalid_argument", nil, call, store, options)
  end

  for _, entry in ipairs(entries()) do
    local known = {}
    for _, option in ipairs(entry.options or {}) do
      known[option.name] = true

      it(("of %s include %s"):format(entry.name, option.name), function()
        local store <close> = moonfold.open(":memory:")
        calls[entry.name](store, { [option.name] = values[option.name] })
      end)

      it(("of %s name %s when it is misspelt"):format(entry.name, option.name), function()
        local misspelt = option.name .. option.name:sub(-1)
        local failure = refused(calls[entry.name], { [misspelt] = values[option.name] })
        assert.are.equal(("unknown option %q: did you mean %q?"):format(misspelt, option.name), failure.message)
      end)
    end

    if entry.options then
      it(("of %s are all that it takes"):format(entry.name), function()
        for name, value in pairs(values) do
          if not known[name] then
            local failure = refused(calls[entry.name], { [name] = value })
            assert.matches(("unknown option %q"):format(name), failure.message, 1, true)
          end
        end
      end)
    end
  end
end)

describe("the example of", function()
  local home = lfs.currentdir()

  -- What the code prints, a line each, tabs shown as blanks.
  local function printed(code, name)
    local lines = {}
    local function print(...)
      local words = table.pack(...)
      for i = 1, words.n do words[i] = tostring(words[i]) end
      lines[#lines + 1] = table.concat(words, " ")
    end
    local chunk = assert(load(code, "=" .. name, "t", setmetatable({ print = print }, { __index = _G })))
    chunk()
    return lines
  end

  -- What the code says that it prints.
  local function promised(code)
    local lines = {}
    for line in code:gmatch("%-%->%s*([^\n]*)") do lines[#lines + 1] = line end
    return lines
  end

  for _, entry in ipairs(entries()) do
    if entry.example then
      it(entry.name .. " does what it says", function()
        finally(function() lfs.chdir(home) end)
        assert(lfs.chdir(support.folder()))
        for _, file in ipairs(entry.files or {}) do
          lfs.mkdir(file.name:match("^(.*)/") or ".")
          support.write(file.name, file.text)
        end
        assert.are.same(promised(entry.example), printed(doc.prelude .. entry.example, entry.name))
      end)
    end
  end
end)

describe("the reference in README.md", function()
  local readme = support.read("README.md")

  it("is what doc.lua says", function()
    assert.is_true(reference.update_readme(readme) == readme,
      "it is out of date; run: lua5.4 scripts/moonfold/reference.lua readme README.md")
  end)

  it("stays as it is when it is rendered again", function()
    local once = reference.update_readme(readme)
    assert.are.equal(once, reference.update_readme(once))
  end)

  it("needs a readme with both markers", function()
    assert.is_nil(reference.update_readme("nothing here"))
    assert.is_nil(reference.update_readme("<!-- reference:begin -->"))
  end)

  it("has no link that leads nowhere", function()
    local headings = {}
    for heading in ("\n" .. readme):gmatch("\n#+ ([^\n]+)") do
      headings[heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-")] = true
    end
    for target in readme:gmatch("%]%(#([^)]*)%)") do
      assert.is_true(headings[target], "no heading for the link #" .. target)
    end
  end)
end)

describe("moonfold.d.lua", function()
  local types = reference.types()

  it("is valid Lua that does nothing", function()
    local module = assert(load(types, "=moonfold.d.lua", "t", {}))()
    for _, name in ipairs(public(moonfold)) do
      local documented_as = type(moonfold[name]) == "function" and "function" or "nil"
      assert.are.equal(documented_as, type(module[name]), name)
    end
  end)

  it("defines every class that it mentions, once", function()
    local defined = {}
    for name in types:gmatch("\n%-%-%-@class (moonfold%.%w+)") do defined[#defined + 1] = name end
    for name in types:gmatch("\n%-%-%-@class %(exact%) (moonfold%.%w+)") do defined[#defined + 1] = name end
    for name in types:gmatch("\n%-%-%-@alias (moonfold%.%w+)") do defined[#defined + 1] = name end
    local known = {}
    for _, name in ipairs(defined) do
      assert.is_nil(known[name], name .. " is defined twice")
      known[name] = true
    end
    for name in types:gmatch("moonfold%.%u%l%w*") do
      assert.is_true(known[name], name .. " is mentioned, but not defined")
    end
  end)

  it("annotates exactly the parameters of every function", function()
    local annotated = {}
    for line in types:gmatch("[^\n]+") do
      local parameters = line:match("^function .-%((.*)%) end$")
      if parameters then assert.are.equal(parameters, table.concat(annotated, ", "), line) end
      if not line:find("^%-%-%-") then annotated = {} end
      annotated[#annotated + 1] = line:match("^%-%-%-@param ([%w_]+)")
    end
  end)
end)

describe("a page", function()
  it("exists for every name", function()
    for _, name in ipairs(reference.names()) do
      assert.is_string(reference.page(name), name)
    end
  end)

  it("fits a terminal of 80 columns, but for signatures and examples", function()
    for _, entry in ipairs(entries()) do
      local text = reference.page(entry.name):gsub("\n  Example\n.*", ""):gsub("^[^\n]*\n", "")
      for line in text:gmatch("[^\n]+") do
        assert.is_true(#line <= 79, ("%s: %s"):format(entry.name, line))
      end
    end
  end)

  it("is found by a short name, a call or a question", function()
    local page = reference.page("store:read_stream")
    local ways = { "read_stream", "?read_stream", "store.read_stream", "store:read_stream(stream)", " Read_Stream " }
    for _, way in ipairs(ways) do assert.are.equal(page, reference.page(way)) end
  end)

  it("tells which other names could have been meant", function()
    assert.matches("^moonfold%.event%(.*See also: Event", reference.page("event"))
  end)

  it("exists for an option, for a type, for a section and for the contents", function()
    assert.matches("^Expectation\n.*STREAM_EXISTS", reference.page("Expectation"))
    assert.matches("^max_count, .*store:read_stream .*store:events ", reference.page("max_count"))
    assert.matches("^The store\n.*store:append_to_stream ", reference.page("store"))
    assert.matches("errors +Error codes", reference.page())
  end)

  it("names the nearest name for an unknown one", function()
    local function hint(name) return select(2, reference.page(name)) end
    assert.are.equal('no page for "apend": did you mean store:append_to_stream?', hint("apend"))
    assert.are.equal('no page for "?max_cuont": did you mean max_count?', hint("?max_cuont"))
    assert.are.equal('no page for "store:reed_stream": did you mean store:read_stream?', hint("store:reed_stream"))
    assert.are.equal('no page for "xyzzy": ask without a name for the contents', hint("xyzzy"))
  end)
end)

describe("reference.lua as a program", function()
  local function run(arguments) return support.shell("lua5.4 scripts/moonfold/reference.lua " .. arguments) end

  it("writes each rendering to its standard output", function()
    assert.are.equal(reference.markdown(), run("markdown").stdout)
    assert.are.equal(reference.types(), run("types").stdout)
    assert.are.equal(reference.page("busy"), run("page busy").stdout)
  end)

  it("rewrites the section of a readme in place", function()
    local before, after = "before\n<!-- reference:begin -->\n", "\n<!-- reference:end -->\nafter\n"
    local path = support.write(support.path("README.md"), before .. "old" .. after)
    assert.are.equal(0, run("readme " .. support.quote(path)).status)
    assert.are.equal(before .. "\n" .. reference.markdown() .. after, support.read(path))
  end)

  it("says what is wrong and fails", function()
    local unknown = run("page apend")
    assert.are.equal('no page for "apend": did you mean store:append_to_stream?\n', unknown.stderr)
    assert.are.equal(1, unknown.status)
    assert.matches("^usage: ", run("").stderr)
    assert.are.equal(2, run("").status)
  end)
end)
