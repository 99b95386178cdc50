-- Events as lines, made in C: read, log and tail where the output is no table, export.

local lines = {}

--- Writes the events of a range, of a stream or (nil) of the log, as it is now. `range` is that of store:events, but
--- for max_count; how = { style = "fields" | "json" | "exact", max =, since =, ["until"] = }, of which "exact" is what
--- import needs. progress(count), optional, is called for every chunk. Returns the count.
function lines.write(out, store, stream, range, how, progress)
  local left, sum = how.max or math.maxinteger, 0
  local from, to = range.from or 1, range.to or math.maxinteger
  to = math.min(to, stream and store:stream_version(stream) or lines.last_position(store))
  while left > 0 and from <= to do
    how.max = left
    local text, count, last, more = out.host.lines(store, stream,
      { from = from, to = to, backwards = range.backwards, types = range.types }, how)
    out:write(text)
    left, sum = left - count, sum + count
    if not more then break end
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

--- The style of lines for an output; nil where it is a table.
function lines.style_of(out)
  return out.mode == "json" and "json" or out.mode == "lines" and "fields" or nil
end

return lines
