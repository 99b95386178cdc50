-- Progress of long work, on standard error: a line that is rewritten on a terminal, and one at the end.

local text = require "moonfold.cli.text"

local Progress = {}
Progress.__index = Progress

local progress = {}

local EVERY = 0.2          -- seconds
local WORTH_TELLING = 1    -- second of work

--- `doing`: "exporting"; `total`: how many events it will be, where that is known; `quiet`: only the last line.
function progress.new(call, doing, total, quiet)
  local now = call.host.monotonic()
  return setmetatable({
    call = call, doing = doing, total = total, began = now, shown = now,
    terminal = call.host.is_terminal(2) and not quiet,
  }, Progress)
end

local function rate(count, seconds)
  return text.number(math.floor(count / math.max(seconds, 1e-3)))
end

local function duration(seconds)
  seconds = math.ceil(seconds)
  return seconds < 100 and ("%d s"):format(seconds) or ("%d min"):format((seconds + 59) // 60)
end

--- So many are done.
function Progress:at(count)
  local now = self.call.host.monotonic()
  if not self.terminal or now - self.shown < EVERY then return end
  self.shown = now
  local share, left = "", ""
  if self.total and self.total > 0 and count <= self.total then
    share = (", %d %%"):format(count * 100 // self.total)
    if count > 0 then left = (", %s left"):format(duration((self.total - count) * (now - self.began) / count)) end
  end
  io.stderr:write(("\r\27[Kmoonfold: %s: %s%s, %s a second%s"):format(self.doing, text.plural(count, "event"), share,
    rate(count, now - self.began), left))
end

--- Wipes the line.
function Progress:clear()
  if self.terminal then io.stderr:write("\r\27[K") end
end

--- Says what was done: "exported".
function Progress:finish(done, count, more)
  self:clear()
  local seconds = self.call.host.monotonic() - self.began
  local took = seconds >= WORTH_TELLING and (" in %.1f s, %s a second"):format(seconds, rate(count, seconds)) or ""
  self.call:note(("%s %s%s%s"):format(done, text.plural(count, "event"), took, more or ""))
end

return progress
