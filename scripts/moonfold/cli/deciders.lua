-- The deciders that SCRIPT names: a file, or a folder of them.

local moonfold = require "moonfold"

local deciders = {}

--- The decider for a stream.
function deciders.load(call, path)
  local kind = call.host.kind(path)
  if not kind then call:fail("not_found", ("there is no script %s"):format(path)) end
  if moonfold.load_decider then return moonfold.load_decider(path) end
  local chunk, problem = loadfile(path, "t")
  if not chunk then call:fail("script_error", problem) end
  return chunk()
end

return deciders
