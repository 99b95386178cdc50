-- repl [STORE]: plain lines of Lua, for where there is nothing better.

local moonfold = require "moonfold"

local function show(...)
  local values = table.pack(...)
  for i = 1, values.n do values[i] = tostring(values[i]) end
  if values.n > 0 then io.stdout:write(table.concat(values, "\t", 1, values.n), "\n") end
end

local function compile(line)
  local chunk = load("return " .. line, "=repl", "t")
  if chunk then return chunk end
  return load(line, "=repl", "t")
end

return function(call)
  local store <close> = call.arguments.store and call:open() or nil
  _G.moonfold, _G.store = moonfold, store
  local interactive = call.host.is_terminal(0)
  local failed = false
  while true do
    if interactive then io.stdout:write("> ") end
    call.out:flush()
    local line = io.stdin:read("L")
    if not line then break end
    local chunk, problem = compile(line)
    if chunk then
      local result = table.pack(pcall(chunk))
      if result[1] then show(table.unpack(result, 2, result.n)) else problem = tostring(result[2]) end
    end
    if problem then
      failed = true
      call:note(problem)
    end
  end
  if interactive then io.stdout:write("\n") end
  return failed and not interactive and 1 or 0
end
