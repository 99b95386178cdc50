--- README.md tells the truth: every program in it is written to one folder, every command of every transcript is run
--- there, in the order of the text and with Moonfold installed, and its output is compared.
--
-- What a fenced block holds is told by its language:
--     lua      a program; its first line names its file ("-- bank.lua"). Without a name it is run at once, and what it
--              prints must stand behind "-->"
--     c        a program, whose first line names its file, too
--     console  commands behind "$ ", each followed by what it writes (standard output and errors)
--     repl     a session of the REPL: the command behind "$ ", then what is typed behind prompts, and what it prints
--     sh       commands that a reader may run on his own machine; here only their make targets are looked up
-- The generated reference is left out: its examples are run by documentation_spec.lua.

local lfs = require "lfs"
local repl = require "repl"
local support = require "support"

local readme = support.read("README.md")

-- The readme with its generated section blanked; lines keep their numbers.
local function written_by_hand(text)
  return (text:gsub("<!%-%- reference:begin %-%->.-<!%-%- reference:end %-%->", function(generated)
    return (generated:gsub("[^\n]+", ""))
  end))
end

-- The fenced blocks of a text: { { language =, body =, line = }, ... }
local function blocks_of(text)
  local blocks, block, number = {}, nil, 0
  for line in (text .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local language = line:match("^```(.*)$")
    if not language then
      if block then block.lines[#block.lines + 1] = line end
    elseif block then
      block.body = table.concat(block.lines, "\n") .. "\n"
      blocks[#blocks + 1] = block
      block = nil
    else
      block = { language = language, lines = {}, line = number }
    end
  end
  assert(not block, "a fenced block does not end")
  return blocks
end

local hand_written = blocks_of(written_by_hand(readme))

-- The build folder that the module under test comes from.
local function build_folder()
  local module = assert(package.searchpath("moonfold", package.cpath))
  return (module:gsub("^%./", ""):match("^(.*)/[^/]*$"))
end

-- Installs what was built into a new folder, and builds nothing.
local function install()
  local prefix = support.folder()
  local installed = support.shell(("unset MAKEFLAGS; exec make -s -o all install BUILD=%s PREFIX=%s DESTDIR="):format(
    support.quote(build_folder()), support.quote(prefix)))
  assert(installed.status == 0, installed.stderr)
  return prefix
end

-- Runs commands in a folder, as a reader would who has installed Moonfold: run(command) gives what it writes.
local function shell_in(folder, prefix)
  local setting = ([[
    unset LUA_CPATH LUA_INIT
    export PATH=PREFIX/bin:$PATH LUA_CPATH_5_4='PREFIX/lib/lua/5.4/?.so;;' LUA_PATH_5_4=';;'
    export LUA_PATH='PREFIX/share/lua/5.1/?.lua;;' # LuaJIT's
    export LD_LIBRARY_PATH=PREFIX/lib PKG_CONFIG_PATH=PREFIX/lib/pkgconfig
    exec 2>&1
  ]]):gsub("PREFIX", prefix)
  return function(command)
    return support.shell(("cd %s\n%s%s"):format(support.quote(folder), setting, command)).stdout
  end
end

-- The transcript of a console block as it really happens, without the speed that a slow machine tells.
local function played(block, run)
  local transcript = {}
  for _, line in ipairs(block.lines) do
    local command = line:match("^%$ (.*)$")
    if command then transcript[#transcript + 1] = line .. "\n" .. run(command) end
  end
  return (table.concat(transcript):gsub(" in [%d.]+ s, [%d,]+ a second", ""))
end

-- What a program says that it prints, as its output would be.
local function promised(body)
  local lines = {}
  for line in body:gmatch("%-%->%s*([^\n]*)") do lines[#lines + 1] = line .. "\n" end
  return table.concat(lines)
end

-- A program that links a library with sanitizers in it would have to be compiled with them, too; and they do not go
-- with LuaJIT's way of loading one.
local sanitized = os.getenv("LD_PRELOAD")

-- What to do with a block, by its language: f(block, run, folder).
local actions = {
  lua = function(block, run, folder)
    local name = block.body:match("^%-%- (%S+%.lua)\n")
    lfs.mkdir(folder .. "/" .. ((name or ""):match("^(.*)/") or "."))
    support.write(folder .. "/" .. (name or "unnamed.lua"), block.body)
    if name then return end
    local output = run("lua5.4 unnamed.lua"):gsub("[ \t]+", " ")
    assert.are.equal(promised(block.body), output, "at line " .. block.line)
  end,
  c = function(block, _, folder)
    support.write(folder .. "/" .. block.body:match("^/%* (%S+%.c) %*/\n"), block.body)
  end,
  console = function(block, run)
    if sanitized and (block.body:find("^%$ cc ") or block.body:find("^%$ luajit ")) then return end
    assert.are.equal(block.body, played(block, run), "at line " .. block.line)
  end,
  repl = function(block, run)
    assert.are.equal(block.body, repl.play(block.body, run), "at line " .. block.line)
  end,
  sh = function() end,
}

describe("README.md", function()
  it("shows what really happens", function()
    local folder = support.folder()
    local run = shell_in(folder, install())
    for _, block in ipairs(hand_written) do
      local action = assert(actions[block.language], "a block in an unknown language: " .. block.language)
      action(block, run, folder)
    end
  end)

  it("names only make targets that there are", function()
    local targets = {}
    for line in support.read("Makefile"):gmatch("[^\n]+") do
      for target in (line:match("^([%l][^:=]*):") or ""):gmatch("%S+") do targets[target] = true end
    end
    for _, block in ipairs(hand_written) do
      for target in (block.language == "sh" and "\n" .. block.body or ""):gmatch("\n[sudo ]*make (%l+)") do
        assert.is_true(targets[target], "no make target " .. target)
      end
    end
  end)

  it("names the packages that the Makefile installs, and no other", function()
    local needed, named = {}, {}
    for list in support.read("Makefile"):gmatch("\n%u+_PACKAGES := ([^\n]*)") do
      for package in list:gmatch("%f[%w$][%w.+-]+%f[%s\0]") do needed[package] = true end
    end
    for _, block in ipairs(hand_written) do
      for list in (block.language == "sh" and block.body or ""):gmatch("apt%-get install ([^\n]*)") do
        for package in list:gmatch("%S+") do named[package] = true end
      end
    end
    assert.are.same(needed, named)
  end)

  it("names only files and folders that there are", function()
    for path in written_by_hand(readme):gmatch("`([%l]+/[%w_./]*)`") do
      if not path:find("^build/") then assert.is_truthy(lfs.attributes(path), "no " .. path) end
    end
  end)

  it("gives the limits of the store", function()
    local header = support.read("store/store.h")
    local function limit(name) return tonumber(header:match("#define " .. name .. " (%d+)")) end
    local function says(row) assert.matches(row, readme, 1, true) end
    says(("| a stream's name | 1 to %d bytes"):format(limit("MF_STREAM_NAME_MAX")))
    says(("| an event's or a command's type | 1 to %d bytes"):format(limit("MF_TYPE_MAX")))
    says(("| a `message_id` or a `command_id` | 1 to %d bytes"):format(limit("MF_ID_MAX")))
    says(("| data and metadata of one event | %s MiB"):format(header:match("MF_EVENT_MAX %(%(size_t%)(%d+) << 20%)")))
    says(("| different event types in one store | %s"):format(
      (("%d"):format(limit("MF_TYPES_MAX")):gsub("(%d)(%d%d%d)(%d%d%d)$", "%1,%2,%3"))))
  end)
end)
