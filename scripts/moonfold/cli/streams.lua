-- streams STORE [PREFIX]

local Streams = {}

local columns = { { title = "events", right = true, style = "dim" }, { title = "stream" } }

local function run(call)
  local options = call.options
  local store <close> = call:open { read_only = true }
  local out = call.out
  local rows = out.mode ~= "json" and out:rows(columns)
  local left = options.max or math.huge
  if left > 0 then
    for name, version in store:streams(call.arguments.prefix or "") do
      if rows then rows:add { version, name } else out:json { stream_name = name, version = version } end
      left = left - 1
      if left <= 0 then break end
    end
  end
  if rows then rows:finish("no streams") end
end

-- How many names of streams are looked at for the nearest one.
local NEAREST_OF = 10000

-- A stream whose name is like the one given: of those that begin with the same letter, else of all.
local function nearest(call, store, stream)
  for _, prefix in ipairs { stream:sub(1, 1), "" } do
    local names = {}
    for name in store:streams(prefix) do
      names[#names + 1] = name:find("\0", 1, true) and "" or name
      if #names == NEAREST_OF then break end
    end
    local found = call.host.nearest(stream, names)
    if found then return found end
  end
end

--- not_found, with the nearest name, when there is no such stream.
function Streams.must_exist(call, store, stream)
  if store:stream_exists(stream) then return end
  local near = nearest(call, store, stream)
  call:fail("not_found", ("there is no stream %q%s"):format(stream, near and (": did you mean %q?"):format(near) or ""))
end

Streams.nearest = nearest

return setmetatable(Streams, { __call = function(_, call) return run(call) end })
