-- What long work on pages shows on a terminal: how much of it is done.

local share = {}

--- A function for options.progress, which shows a line on a terminal, and one that wipes it.
function share.progress(call, doing)
  local terminal, last = call.host.is_terminal(2), call.host.monotonic()
  local function progress(done, total)
    local now = call.host.monotonic()
    if not terminal or now - last < 0.2 then return end
    last = now
    io.stderr:write(("\r\27[Kmoonfold: %s: %d %%"):format(doing, done * 100 // math.max(total, 1)))
  end
  local function clear()
    if terminal then io.stderr:write("\r\27[K") end
  end
  return progress, clear
end

return share
