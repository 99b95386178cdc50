-- code STORE [EVENT]

local decided = require "moonfold.decided"
local streams = require "moonfold.cli.streams"

local columns = {
  { title = "digest" }, { title = "first seen", style = "dim" }, { title = "script", wide = true },
}

local function list(call, store)
  local rows = call.out.mode ~= "json" and call.out:rows(columns)
  for _, code in ipairs(store:codes()) do
    local time = call.host.time(code.first_seen)
    if rows then
      rows:add { code.digest, time, code.path }
    else
      code.first_seen = time
      call.out:json(code)
    end
  end
  if rows then rows:finish("no script has decided anything here") end
end

local function event_of(call, store, word)
  local event, number, stream = decided.event(store, word)
  if event then return event end
  if not number then
    call:usage(("%q is no event: write STREAM@VERSION, its position in the log, or a digest"):format(word))
  end
  if stream then streams.must_exist(call, store, stream) end
  call:fail("not_found", ("%s has no event %d"):format(stream or "the log", number))
end

local function digest_of(call, store, word)
  if word:find("^%x+$") and #word == 32 then return word:lower() end
  local event = event_of(call, store, word)
  return event.code_digest or call:fail("not_found",
    ("%s was not decided by a script: it was appended, or decided by a table of functions"):format(word))
end

local function show(call, store, word)
  local digest = digest_of(call, store, word)
  local code = store:code(digest)
  if not code then call:fail("not_found", ("the code %s is not in this store"):format(digest)) end
  local seen = call.host.time(code.first_seen)
  if call.out.mode == "json" then
    code.first_seen = seen
    return call.out:json(code)
  end
  call:note(("%s, first seen %s (%s)"):format(code.path, seen, digest))
  if code.params ~= nil then call:note("its parameters: " .. call.host.json(code.params)) end
  decided.write_sources(code, function(...) call.out:write(...) end, function(path) call.out:line("-- ", path) end)
end

return function(call)
  local store <close> = call:open { read_only = true }
  if call.arguments.event then return show(call, store, call.arguments.event) end
  list(call, store)
end
