-- repl [STORE]: see scripts/moonfold/repl.

local moonfold = require "moonfold"
local shell = require "moonfold.repl.shell"

--- What lines are read from on a terminal that can be edited on; nil in a pipe.
local function reader_of(host)
  if not host.is_terminal(0) or not host.is_terminal(1) then return nil end
  return require("moonfold.repl.reader").new(host)
end

local function open(call)
  local options = call.options
  local folder = call.arguments.store and call.host.kind(call.arguments.store) == "folder"
  if folder or not call.arguments.store then   -- a folder of rules is tried on a scratch store
    return moonfold.open(":memory:"), { scratch = true, use = options.use or call.arguments.store }
  end
  local read_only = options["read-only"] or false
  local place = { path = call.arguments.store, read_only = read_only, use = options.use }
  return call:open { read_only = read_only }, place
end

return function(call)
  local store, place = open(call)
  local well = shell.run(call.host, store, place, reader_of(call.host))
  return well and 0 or 1
end
