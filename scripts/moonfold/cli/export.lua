-- export STORE: every event with all that belongs to it, as JSON Lines. The first line tells what this is.

local lines = require "moonfold.cli.lines"
local progress = require "moonfold.cli.progress"

-- Code and commands that the store keeps.
local function write_beside(call, store)
  local line, digest
  repeat
    line, digest = call.host.code_line(store, digest)
    if line then call.out:write(line) end
  until not line
  call.host.command_lines(store, function(text) call.out:write(text) end)
end

return function(call)
  local options, out = call.options, call.out
  local store <close> = call:open { read_only = true }
  local last = call.host.span(store)
  local from, to = math.max(options.from or 1, 1), math.min(options.to or last, last)
  out:write(('{"moonfold_export":1,"seed":"%s","from":%d,"to":%d}\n'):format(call.host.seed(store), from,
    math.max(to, from - 1)))
  local shown = progress.new(call, "exporting", to - from + 1, out.terminal)
  local count = lines.write(out, store, nil, { from = from, to = to }, { style = "exact" },
    function(sum) shown:at(sum) end)
  if to == last then write_beside(call, store) end
  out:flush()
  shown:finish("exported", count)
end
