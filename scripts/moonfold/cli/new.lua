-- new NAME: a folder with a decider, its spec, and what editors need.

local new = require "moonfold.new"

return function(call)
  local host = { kind = call.host.kind, make_folder = call.host.make_folder, like = call.options.like }
  local status, text = new.main({ call.arguments.name }, host)
  if status == 2 then call:usage(text) end
  if status == 1 then call:fail("io", text) end
  call.out:write(text)
end
