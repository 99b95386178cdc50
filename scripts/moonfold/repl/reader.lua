-- Reads lines from a terminal: with libedit where the binary has it, else as they come.

local reader = {}

local MOST_LINES <const> = 1000

--- Lines that are not for a file: those that begin with a blank, and those that look like a secret.
local function secret(line)
  local lower = line:lower()
  if line:find("^%s") or line == "" then return true end
  for _, word in ipairs { "password", "passwd", "secret", "token", "api_key", "apikey", "credential" } do
    if lower:find(word, 1, true) then return true end
  end
  return false
end

local function history_path(host)
  local state = os.getenv("XDG_STATE_HOME")
  local home = os.getenv("HOME")
  if not state or state == "" then
    if not home or home == "" then return nil end
    state = home .. "/.local/state"
  end
  local path = ""
  for part in (state .. "/moonfold"):gmatch("[^/]+") do
    path = path .. "/" .. part
    if not host.kind(path) then host.make_folder(path) end
  end
  return host.kind(path) == "folder" and path .. "/history" or nil
end

local function read_history(path)
  local lines = {}
  local file <close> = path and io.open(path)
  for line in file and file:lines() or function() end do lines[#lines + 1] = line end
  return table.move(lines, math.max(1, #lines - MOST_LINES + 1), #lines, 1, {}), #lines
end

--- The history that this user had, in the editor; returns the file that it goes on in, or nil.
local function open_history(host)
  local path = history_path(host)
  if not path then return nil end
  local lines, count = read_history(path)
  for _, line in ipairs(lines) do host.edit_remember(line) end
  if not host.private_file(path) then return nil end
  local file = io.open(path, count > 2 * MOST_LINES and "w" or "a")
  if file and count > 2 * MOST_LINES then file:write(table.concat(lines, "\n"), "\n") end
  if file then file:setvbuf("line") end
  return file
end

--- Asks whether to go on; any key but q does.
local function asker(host)
  return function()
    io.stdout:write("-- more: any key; q ends --")
    io.stdout:flush()
    -- Ctrl-C raises in here; what is written in its way is removed, too.
    local _ <close> = setmetatable({}, { __close = function()
      io.stdout:write("\r\27[K")
      io.stdout:flush()
    end })
    local key = host.read_key()
    return key ~= nil and key ~= "q" and key ~= "Q" and key ~= "\3" and key ~= "\4" and key ~= "\27"
  end
end

local function plain(host)
  local this = {}
  function this.read(prompt)
    io.stdout:write(prompt)
    io.stdout:flush()
    local line = io.stdin:read("L")
    if line then return (line:gsub("\r?\n$", "")) end
    if host.interrupts() > 0 then return nil, "interrupted" end
    io.stdout:write("\n")
    return nil, "end"
  end
  return this
end

--- A reader for the terminal that the program runs on.
function reader.new(host)
  if not host.edit or os.getenv("TERM") == "dumb" or not os.getenv("TERM") then return plain(host) end
  local file = open_history(host)
  local this = { height = host.height, more = asker(host) }
  function this.start(complete, idle) host.edit_start(complete, idle) end
  function this.read(prompt)
    local line, why = host.edit(prompt)
    if not line and why == "end" then io.stdout:write("\n") end
    return line and (line:gsub("\r?\n$", "")), why
  end
  function this.remember(line)
    if line:find("^%s*$") then return end
    host.edit_remember(line)
    if file and not secret(line) then file:write(line, "\n") end
  end
  return this
end

return reader
