-- Which event is meant, and the code that decided it: for the command line and the REPL, which say in their own words
-- what is wrong.

local decided = {}

--- The event that STREAM@VERSION or a position of the log names, nil where there is none; the version or the position,
--- nil where the word is neither; the stream, nil for a position.
function decided.event(store, word)
  local position = math.tointeger(word)
  if position then
    for event in store:all_events { from = position, to = position } do return event, position end -- luacheck: ignore
    return nil, position
  end
  local stream, version = word:match("^(.+)@(%d+)$")
  if not stream then return nil end
  version = math.tointeger(version)
  return store:read_stream(stream, { from = version, to = version }).events[1], version, stream
end

--- Writes the sources of what store:code() returns with write(text); title(path) goes before each where there are many.
function decided.write_sources(code, write, title)
  for _, source in ipairs(code.sources) do
    if #code.sources > 1 then title(source.path) end
    write(source.text, source.text:find("\n$") and "" or "\n")
  end
end

return decided
