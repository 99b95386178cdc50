--- Every command of the program at work: the transcripts in spec/transcripts, run again and compared.
--
-- Behind "$ " stands a command whose output goes into a pipe, behind "% " one that runs on a terminal of 80 columns;
-- what it writes follows (standard output and errors), and "[exit status N]" when that is not 0; "-- " begins a remark.
-- The commands of one file run in one new folder, which holds shop.jsonl (an export) and rules/ (some domain scripts).
-- MOONFOLD_WRITE=1 in the environment writes the transcripts anew: read the difference before you keep it.

local lfs = require "lfs"
local support = require "support"

local quote = support.quote
local folder_of_transcripts = "spec/transcripts"

-- A folder for one transcript: run(command, terminal) -> what it writes.
local function stage()
  local folder = support.folder()
  local setting = ([[cd %s
    unset LUA_PATH LUA_INIT LUA_CPATH LD_PRELOAD
    export PATH=%s:$PATH NO_COLOR=1 TERM=xterm LC_ALL=C.UTF-8
  ]]):format(quote(folder), quote(support.program():match("^(.*)/")))
  lfs.mkdir(folder .. "/rules")
  for _, name in ipairs { "account", "cart", "counter" } do
    support.write(folder .. "/rules/" .. name .. ".lua", support.read("scripts/domain/" .. name .. ".lua"))
  end
  support.write(folder .. "/shop.jsonl", support.read(folder_of_transcripts .. "/shop.jsonl"))
  return function(command, terminal)
    local run = "exec 2>&1\n" .. command
    if terminal then
      support.write(folder .. "/.command", setting .. "stty cols 80 rows 24\n" .. command)
      run = "script -qec 'exec bash .command' /dev/null 2>&1"
    end
    local result = support.shell(setting .. run)
    local output = result.stdout:gsub("\r\n", "\n")
    if result.status ~= 0 then output = output .. ("[exit status %d]\n"):format(result.status) end
    return output
  end
end

local function played(transcript)
  local run, parts = stage(), {}
  for line in transcript:gmatch("[^\n]+") do
    local mark, command = line:match("^([$%%]) (.*)$")
    if mark then parts[#parts + 1] = line .. "\n" .. run(command, mark == "%") end
    if line:find("^%-%- ") then parts[#parts + 1] = line .. "\n" end
  end
  return table.concat(parts)
end

describe("the command line", function()
  for name in lfs.dir(folder_of_transcripts) do
    if name:find("%.txt$") then
      it("does what " .. name .. " shows", function()
        local path = folder_of_transcripts .. "/" .. name
        local transcript = support.read(path)
        local really = played(transcript)
        if os.getenv("MOONFOLD_WRITE") then return support.write(path, really) end
        assert.are.equal(transcript, really)
      end)
    end
  end
end)
