--- Help, the manual page and completion come from one table: what is in it is in all of them, and works.

local moonfold = require "moonfold"
local support = require "support"
local commands = require "moonfold.cli.commands"
local complete = require "moonfold.cli.complete"
local help = require "moonfold.cli.help"
local pages = require "moonfold.cli.pages"
local status = require "moonfold.cli.status"

local quote, shell = support.quote, support.shell
local program = quote(support.program())

local function run(arguments)
  return shell(("unset LUA_CPATH LD_PRELOAD; exec timeout -s KILL 60 %s %s"):format(program, arguments))
end

local function shown()
  local list = {}
  for _, command in ipairs(commands) do
    if not command.hidden then list[#list + 1] = command end
  end
  return list
end

describe("the table of commands", function()
  it("is complete: every command has a module, a summary, examples, and text for all that it takes", function()
    local names = {}
    for _, command in ipairs(shown()) do
      assert.is_nil(names[command.name], command.name .. " twice")
      names[command.name] = true
      assert.is_not_nil(package.searchpath(command.module or "moonfold.cli." .. command.name, "scripts/?.lua"),
        command.name)
      assert.matches("^%l.*[^.]$", command.summary, command.name)
      assert.is_true(#(command.examples or {}) > 0, command.name .. " has no example")
      for _, list in ipairs { command.arguments or {}, command.examples or {} } do
        for _, entry in ipairs(list) do
          assert.is_true(#entry[1] > 0 and #entry[2] > 0, command.name .. ": " .. entry[1])
        end
      end
      for _, option in ipairs(command.options or {}) do
        assert.is_true(#option.text > 0, command.name .. " --" .. option.name)
      end
    end
  end)

  it("has only examples that the program would take", function()
    local folder = support.folder()
    for _, command in ipairs(shown()) do
      for _, example in ipairs(command.examples) do
        -- In an empty folder they fail, but never as calls that make no sense.
        local result = shell(("unset LUA_CPATH LD_PRELOAD; export PATH=%s:$PATH; cd %s; %s")
          :format(quote(support.program():match("^(.*)/")), quote(folder),
            "timeout 2 " .. example[1]:gsub("^.*| *", "")))
        assert.is_true(result.status ~= status.usage, example[1] .. ": " .. result.stderr)
      end
    end
  end)
end)

describe("help", function()
  it("lists every command, and every exit status", function()
    local overview = run("--help")
    assert.are.equal(0, overview.status)
    assert.are.equal(help.overview(), overview.stdout)
    for _, command in ipairs(shown()) do
      assert.matches("\n  " .. command.name .. " ", overview.stdout, 1, true)
    end
    for _, meaning in ipairs(status.meanings) do
      assert.matches(("\n  %s +%s"):format(meaning[1], meaning[2]:sub(1, 20):gsub("%p", "%%%0")), overview.stdout)
    end
  end)

  it("is there for every command, and fits 80 columns", function()
    for _, command in ipairs(shown()) do
      for _, form in ipairs { "%s --help", "help %s", "%s -h" } do
        local result = run(form:format(command.name))
        assert.are.equal(0, result.status, command.name)
        assert.are.equal(help.of(command), result.stdout)
      end
      for line in help.of(command):gmatch("[^\n]+") do
        local example = line:find("^  moonfold ") or line:find("|", 1, true)
        assert.is_true(#line <= 80 or example ~= nil, line)
      end
    end
  end)
end)

describe("the manual page", function()
  it("tells of every command, argument, option and example", function()
    local plain = pages.man("1.2"):gsub("\\f.", ""):gsub("\\%-", "-"):gsub("\\e", "\\"):gsub("\\&", "")
    for _, command in ipairs(shown()) do
      local part = plain:match("\n%.SS " .. command.name .. "\n(.-)\n%.S")
      assert.is_not_nil(part, command.name)
      for _, argument in ipairs(command.arguments or {}) do assert.matches(argument[1] .. "\n", part, 1, true) end
      for _, option in ipairs(command.options or {}) do assert.matches("--" .. option.name, part, 1, true) end
      for _, example in ipairs(command.examples) do assert.matches("\n" .. example[1] .. "\n", part, 1, true) end
    end
  end)

  it("is one that man understands", function()
    if not os.execute("command -v groff >/dev/null 2>&1") then return pending("groff is not installed") end
    local file = support.write(support.path("moonfold.1"), pages.man("1.2"))
    local formatted = shell(("unset LD_PRELOAD; groff -man -Tutf8 -ww %s"):format(quote(file)))
    assert.are.equal("", formatted.stderr)
    assert.matches("EXIT STATUS", formatted.stdout:gsub(".\b", ""), 1, true)
  end)
end)

describe("completion", function()
  local path

  before_each(function()
    path = support.path()
    local store <close> = moonfold.open(path)
    for _, name in ipairs { "cart-1", "cart-2", "order 7", "account-ada" } do
      store:append_to_stream(name, { { type = "ItemAdded" }, { type = "ItemRemoved" } })
    end
    store:append_to_stream("cart-1", { type = "Confirmed" })
  end)

  -- The candidates for the last of these words.
  local function candidates(...)
    local words = { [0] = "moonfold", ... }
    return complete.candidates(words, #words)
  end

  it("knows commands, options and what options take", function()
    assert.are.same({ "repl", "read" }, candidates("re"))
    assert.are.same({ "--types" }, candidates("log", path, "--ty"))
    assert.are.same({ "absent", "any" }, candidates("append", path, "cart-1", "ItemAdded", "--expect", "a"))
    assert.are.same({ "ItemAdded,ItemRemoved" }, candidates("log", path, "--types", "ItemAdded,ItemR"))
    assert.are.same({ ":files" }, candidates("check", path, "rules.lua", "--against", "old"))
    assert.are.same({ ":files" }, candidates("repl", "--use", ""))
    assert.are.same({ "cart-1", "cart-2" }, candidates("check", path, "rules.lua", "--stream", "cart"))
  end)

  it("knows the streams and the types of events of the store on the line", function()
    assert.are.same({ "cart-1", "cart-2" }, candidates("read", path, "cart"))
    assert.are.same({ "cart-1", "cart-2" }, candidates("read", "--max", "3", path, "cart"))
    assert.are.same({ "Confirmed", "ItemAdded", "ItemRemoved" }, candidates("append", path, "cart-1", ""))
    assert.are.same({ "ItemRemoved" }, candidates("append", path, "cart-1", "ItemR"))
    assert.are.same({ "account-ada" }, candidates("state", path, "account.lua", "acc"))
  end)

  it("knows the commands of the decider on the line", function()
    local script = "scripts/domain/account.lua"
    assert.are.same({ "Close", "Deposit", "Withdraw" }, candidates("handle", path, script, "account-ada", ""))
    assert.are.same({ "Deposit" }, candidates("handle", path, script, "account-ada", "De"))
    assert.are.same({}, candidates("handle", path, "missing.lua", "account-ada", ""))
  end)

  it("offers files where files are meant, and nothing where nothing is", function()
    assert.are.same({ ":files" }, candidates("read", ""))
    assert.are.same({ ":files" }, candidates("state", path, ""))
    assert.are.same({ ":files" }, candidates("run", "x"))
    assert.are.same({}, candidates("read", path, "cart-1", ""))
    assert.are.same({}, candidates("read", "missing.fold", "ca"))
  end)

  it("works in bash, with names that need quotes", function()
    local file = support.write(support.path("moonfold.bash"), pages.completion())
    local script = ([[
      source %s; compopt() { :; }
      COMP_WORDS=(%s read %s or); COMP_CWORD=3
      _moonfold; printf '<%%s>' "${COMPREPLY[@]}"
      COMP_WORDS=(%s stre); COMP_CWORD=1
      _moonfold; printf '<%%s>' "${COMPREPLY[@]}"
    ]]):format(quote(file), program, quote(path), program)
    local result = shell("unset LUA_CPATH LD_PRELOAD; exec bash -c " .. quote(script))
    assert.are.equal("", result.stderr)
    assert.are.equal("<order\\ 7><streams>", result.stdout)
  end)
end)
