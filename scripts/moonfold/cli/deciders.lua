-- The deciders that SCRIPT names: a file, or a folder of them.

local moonfold = require "moonfold"

local deciders = {}

-- Of a folder, the decider that owns the stream.
local function from_folder(call, path, stream, options)
  local memory <close> = moonfold.open(":memory:") -- the store itself need not be there yet
  local domain = memory:use(path, options)
  local decider = domain:decider_of(stream)
  if decider then return decider end
  local categories = {}
  for _, each in ipairs(domain.deciders) do
    if each.category then categories[#categories + 1] = each.category .. "-..." end
  end
  call:fail("not_found", ("no decider in %s owns the stream %q: %s"):format(path, stream,
    categories[1] and "there are " .. table.concat(categories, ", ") or "none of them has a category"))
end

--- The decider for a stream.
function deciders.load(call, path, stream)
  local options = { params = call:json(call.options.params, "--params"), keep_commands = call.options.keep }
  local kind = call.host.kind(path)
  if not kind then call:fail("not_found", ("there is no script %s"):format(path)) end
  if kind == "folder" then return from_folder(call, path, stream, options) end
  if call.is_store(path) then
    call:usage(("%s is a store: the order is STORE SCRIPT STREAM"):format(path))
  end
  return moonfold.load_decider(path, options)
end

return deciders
