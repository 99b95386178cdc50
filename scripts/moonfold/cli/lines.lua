-- Events as lines, made in C: read, log and tail where the output is no table, export.

local lines = {}

--- Writes the events of a range, of a stream or (nil) of the log, as it is now. `range` is that of store:events, but
--- for max_count; how = { style = "fields" | "json" | "exact", max =, since =, ["until"] = }, of which "exact" is what
--- import needs. progress(count), optional, is called for every chunk. Returns the count.
function lines.write(out, store, stream, range, how, progress)
  local left, sum = how.max or math.maxinteger, 0
  local from, to = range.from or 1, range.to or math.maxinteger
  to = math.min(to, stream and store:stream_version(stream) or (out.host.span(store)))
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

--- Where the `count` last events up to `to` begin, or fewer where there are not so many: the version of the first of
--- them in the stream, or (nil) its position in the log; nil when there is none. They are not decoded: a C host may
--- have recorded data of its own.
function lines.reach_back(host, store, stream, to, count, types)
  local first, more = nil, true
  while more and count > 0 and to > 0 do
    local range = { to = to, backwards = true, max_count = count, types = types }
    local shown, last
    shown, last, more = select(2, host.lines(store, stream, range, { style = "fields" }))
    if shown > 0 then first = last end
    count, to = count - shown, last - 1
  end
  return first
end

--- The style of lines for an output; nil where it is a table.
function lines.style_of(out)
  return out.mode == "json" and "json" or out.mode == "lines" and "fields" or nil
end

return lines
