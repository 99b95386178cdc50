--- How far the import is: a bar where somebody may be looking, one line at the end where nobody is.

local tables = require "tables"

local BAR = ("#"):rep(40)

-- Lua does not know a terminal when it sees one; the shell does.
local function on_terminal()
  return os.execute("test -t 2") == true
end

local function draw(done, total)
  local filled = #BAR * done // total
  io.stderr:write(("\r[%s%s] %s of %s commits"):format(BAR:sub(1, filled), (" "):rep(#BAR - filled),
    tables.thousands(done), tables.thousands(total)))
end

--- local progress <close> = new_progress(), then progress(done, total) as often as you like.
local function new_progress()
  local visible = on_terminal()
  local reached, goal = 0, 0
  local function update(_, done, total)
    reached, goal = done, total
    if visible then
      draw(done, total)
    end
  end
  -- Comes here on every way out: also when git fails, and on Ctrl-C.
  local function finish()
    if visible and goal > 0 then
      io.stderr:write("\n")
    elseif goal > 0 then
      io.stderr:write(("Imported %s of %s commits.\n"):format(tables.thousands(reached), tables.thousands(goal)))
    end
    if reached < goal then
      io.stderr:write("What is imported stays; the next run goes on from there.\n")
    end
  end
  return setmetatable({}, { __call = update, __close = finish })
end

return new_progress
