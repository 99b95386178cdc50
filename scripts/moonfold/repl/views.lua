-- How dot commands print events, steps and changes.

local moonfold = require "moonfold"
local show = require "moonfold.repl.show"
local values = require "moonfold.values"

local views = {}

--- Bytes of a C host are, in JSON, the string that they are.
local function payload(self, value)
  return self.mode == "json" and values.is_foreign(value) and value.bytes or value
end

function views.event_record(self, event)
  return {
    global_position = event.global_position, stream_name = event.stream_name, version = event.stream_position,
    time = self:time(event.recorded_at), type = event.type, data = payload(self, event.data),
    metadata = payload(self, event.metadata),
  }
end

function views.change_text(self, change)
  local room = math.max(20, self:width() - #change.path - 12)
  local before, after = show.short(change.before, room // 2), show.short(change.after, room // 2)
  local path = change.path == "" and "state" or change.path
  local paint = function(...) return self.out:paint(...) end
  if change.kind == "added" then
    return ("%s %s = %s"):format(paint("green", "+"), path, show.short(change.after, room))
  elseif change.kind == "removed" then
    return ("%s %s   was %s"):format(paint("red", "-"), path, show.short(change.before, room))
  end
  return ("%s %s = %s   was %s"):format(paint("yellow", "~"), path, after, before)
end

function views.print_changes(self, changes, indent)
  for _, change in ipairs(changes) do self:say("%s%s", indent or "", views.change_text(self, change)) end
  if #changes == 0 then self:say("%s%s", indent or "", self.out:paint("dim", "no difference")) end
end

--- Changes as records, for modes that are not for people.
function views.records_of(steps)
  local records = moonfold.array()
  for i, step in ipairs(steps) do
    local changes = moonfold.array()
    for k, change in ipairs(step.changes) do
      changes[k] = { kind = change.kind, path = change.path, before = change.before, after = change.after }
    end
    local kind = step.event and step.event.type
    records[i] = { version = step.version, type = kind, changes = changes, state = step.state }
  end
  return records
end

function views.step_title(self, step)
  local event = step.event
  local title = ("%d"):format(step.version)
  if not event then return ("%s  before the first event"):format(title) end
  local kind = self.host.printable(event.type)
  local head = ("%s  %s  %s "):format(title, self:time(event.recorded_at), kind)
  local room = math.max(20, self:width() - #head)
  return ("%s  %s  %s%s"):format(title, self.out:paint("dim", self:time(event.recorded_at)),
    self.out:paint("cyan", kind), event.data ~= nil and " " .. show.short(event.data, room) or "")
end

return views
