-- spec [PATH...]: runs spec files.

local runner = require "moonfold.runner"

return function(call)
  local paths = call.arguments.path
  local host = { kind = call.host.kind, list = call.host.list, tap = call.options.tap,
    sandbox = call.options.sandbox }
  function host.interrupted() return call.host.interrupts() > 0 end
  function host.write(...)
    call.out:write(...)
    call.out:flush()   -- specs print, too
  end
  local status, text = runner.main(#paths > 0 and paths or { "." }, host)
  if text then call:usage(text) end
  return status
end
