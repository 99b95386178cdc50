-- backup STORE DEST

local text = require "moonfold.cli.text"

return function(call)
  local store <close> = call:open { read_only = true }
  local dest = call.arguments.dest
  if call.host.kind(dest) == "folder" then
    call:fail("invalid_argument", ("%s is a folder: name a new file in it"):format(dest))
  end
  store:backup(dest)
  local _, size = call.host.kind(dest)
  call:note(("copied %s to %s, %s"):format(call.arguments.store, dest, text.bytes(size)))
end
