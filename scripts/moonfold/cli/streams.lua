-- streams STORE [PREFIX]

local nearest = require "moonfold.nearest"

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
local function near(store, stream)
  for _, prefix in ipairs { stream:sub(1, 1), "" } do
    local names = {}
    for name in store:streams(prefix) do
      names[#names + 1] = name
      if #names == NEAREST_OF then break end
    end
    local found = nearest.of(stream, names)
    if found then return found end
  end
end

--- not_found, with the nearest name, when there is no such stream.
function Streams.must_exist(call, store, stream)
  if store:stream_exists(stream) then return end
  local found = near(store, stream)
  local hint = found and (": did you mean %q?"):format(found) or ""
  call:fail("not_found", ("there is no stream %q%s"):format(stream, hint))
end

return setmetatable(Streams, { __call = function(_, call) return run(call) end })
