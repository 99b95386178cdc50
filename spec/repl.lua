--- Playing transcripts of the REPL, for specs.
--
--     local repl = require "repl"
--     assert.are.equal(transcript, repl.play(transcript, repl.stage()))

local lfs = require "lfs"
local support = require "support"

local repl = {}

local quote = support.quote

local function absolute(path)
  return path:find("^/") and path or lfs.currentdir() .. "/" .. path
end

--- What is typed in a line of a transcript; nil when it is output.
function repl.typed(line)
  if line:find("^ *%.%.%.> ?") then return (line:gsub("^ *%.%.%.> ?", "")) end
  return line:match("^[%w_-]+> ?(.*)$") or line:match("^[%w_-]+ %(what if%)> ?(.*)$")
end

--- A folder with shop.fold, rules/ and what else sessions need: run(command) -> what it writes.
function repl.stage()
  local folder = support.folder()
  local setting = ([[cd %s
    unset LUA_PATH LUA_INIT LUA_CPATH LD_PRELOAD
    export PATH=%s:$PATH NO_COLOR=1 LC_ALL=C.UTF-8 HOME=%s
    exec 2>&1
  ]]):format(quote(folder), quote(absolute(support.program()):match("^(.*)/")), quote(folder))
  lfs.mkdir(folder .. "/rules")
  for _, name in ipairs { "account", "cart" } do
    support.write(folder .. "/rules/" .. name .. ".lua", support.read("scripts/domain/" .. name .. ".lua"))
  end
  support.write(folder .. "/broken.lua", "return {\n  initial_state = 0,\n  evolve = { = },\n}\n")
  support.write(folder .. "/session.txt", ".streams\n1 +\n1\n")
  support.write(folder .. "/noise.fold", ("no store at all\n"):rep(1000))
  local run = function(command) return support.shell(setting .. command) end
  local made = run("moonfold import shop.fold " .. quote(absolute("spec/transcripts/repl/shop.jsonl")))
  assert(made.status == 0, made.stdout)
  return function(command)
    local result = run(command)
    return result.stdout .. (result.status ~= 0 and ("[exit status %d]\n"):format(result.status) or "")
  end, folder
end

--- The events of shop.fold are of one day long ago: any other time is that of the run.
local function without_now(output)
  local text = output:gsub("%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d", function(time)
    return not time:find("^2025%-01%-10") and "yyyy-mm-dd hh:mm:ss" or nil
  end)
  return (text:gsub("\n%d+%.%d%d%d s\n", "\n0.000 s\n"))
end

--- Plays a transcript again and returns it as it really happens.
function repl.play(transcript, run)
  local first, rest = transcript:match("^(%$ [^\n]*)\n(.*)$")
  assert(first, "a transcript begins with \"$ \" and its command")
  local typed = {}
  for line in rest:gmatch("([^\n]*)\n") do typed[#typed + 1] = repl.typed(line) end
  local input = ".echo on\n" .. table.concat(typed, "\n") .. "\n"
  local output = run(("printf %%s %s | %s"):format(quote(input), first:sub(3)))
  return first .. "\n" .. without_now(output)
end

return repl
