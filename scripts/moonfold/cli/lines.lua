-- Events as JSON Lines, made in C: read and log with --json, export.

local lines = {}

-- How many bytes of lines are made at once.
local CHUNK = 1 << 18

--- Writes the events of a range, of a stream or (nil) of the log, as it is now. `range` is that of store:events;
--- `exact` writes them as import needs them; progress(count), optional, is called for every chunk. Returns the count.
function lines.write(out, store, stream, range, exact, progress)
  local left, sum = range.max_count or math.maxinteger, 0
  local from, to = range.from or 1, range.to or math.maxinteger
  to = math.min(to, stream and store:stream_version(stream) or lines.last_position(store))
  while left > 0 and from <= to do
    local text, count, last, more = out.host.lines(store, stream,
      { from = from, to = to, max_count = left, backwards = range.backwards, types = range.types }, exact, CHUNK)
    out:write(text)
    left, sum = left - count, sum + count
    if not more or count == 0 then break end
    if range.backwards then to = last - 1 else from = last + 1 end
    if progress then progress(sum) end
  end
  return sum
end

--- The position of the log's last event, 0 when there is none.
function lines.last_position(store)
  local position = 0
  for event in store:all_events { backwards = true, max_count = 1 } do position = event.global_position end
  return position
end

return lines
