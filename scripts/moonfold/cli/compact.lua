-- compact STORE: the file replaced by a compacted copy.

local moonfold = require "moonfold"
local text = require "moonfold.cli.text"

return function(call)
  local path = call.arguments.store
  local _, before = call.host.kind(path)
  moonfold.compact(path)
  local _, after = call.host.kind(path)
  call:note(("%s: %s, it was %s"):format(path, text.bytes(after), text.bytes(before)))
end
