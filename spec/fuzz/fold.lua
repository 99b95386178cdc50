-- Fuzzes what crosses into scripts and back: the input is the bytes of an event's data, which are also a command's. A
-- script in the sandbox, for which only those fields are decoded that it uses, and the same script in plain Lua must
-- come to the same state, decide the same, and refuse in the same way.

local moonfold, _, tools = ...

local STORE_LASTS = 2000 -- runs; each appends an event

local script = [[
local moonfold = require "moonfold"
local evolve = {}

-- Uses the event by its fields alone, of which one is a part of another.
function evolve.Happened(state, event)
  local data = event.data
  if type(data) ~= "table" then return { whole = data } end
  state.a, state.b, state.deep = event.data.a, event.data["b"], event.data.list
  if type(event.data.list) == "table" then state.first, state.x = event.data.list[1], event.data.list.x end
  state.position = event.stream_position
end

-- Keeps all of it.
function evolve.Kept(state, event)
  state.event = event.data
end

local decide = {}
function decide.Refuse(command) moonfold.reject("no", "a reason", command.data) end
function decide.Raise(command) error(command.data) end
function decide.Fail(command) error(tostring(command.data)) end
function decide.Record(command) return { type = "Kept", data = command.data } end
function decide.Say(command, state)
  return { type = "Kept", data = { state = state.whole or state.a, data = command.data } }
end
function decide.Nothing(command, state, context)
  local t = command.data
  if type(t) == "table" then t.changed = true end
end

return { initial_state = function() return { n = 0 } end, evolve = evolve, decide = decide }
]]

local load_decider = dofile("spec/fuzz/load_decider.lua")(moonfold)

local loaded, plain = load_decider(script, { cache = false }), load(script)()
local cached = load_decider(script)
local store, runs = nil, 0

local function hash_of_fold(decider, stream)
  return moonfold.hash(store:aggregate_stream(stream, decider).state)
end

-- What a decision came to, as a text.
local function decided(decider, stream, command)
  local fine, result = pcall(store.decide, store, stream, decider, command)
  if not fine then
    if result.code == "rejected" then
      local detail = result.detail ~= nil and moonfold.hash(result.detail) or ""
      return "rejected " .. result.reason .. result.message .. detail
    end
    return result.code
  end
  local hashed, hash = pcall(moonfold.hash, result.state) -- plain Lua may hold what cannot leave a script
  if not hashed then return hash.code end
  local parts = { hash }
  for i, event in ipairs(result.events) do
    parts[i + 1] = event.type .. (event.data ~= nil and moonfold.hash(event.data) or "")
  end
  return table.concat(parts, " ")
end

-- Limits of scripts, which plain Lua has not.
local function is_limit(answer)
  local code = type(answer) == "table" and answer.code or answer
  return code == "budget_exceeded"
end

local function compare(stream)
  local fine, right = pcall(hash_of_fold, plain, stream)
  for _, decider in ipairs { loaded, cached, cached } do
    local well, hash = pcall(hash_of_fold, decider, stream)
    if (well ~= fine or fine and hash ~= right) and not is_limit(hash) then
      tools.fail(("plain Lua: %s; a script: %s"):format(tostring(right), tostring(hash)))
    end
  end
end

local kinds = { "Refuse", "Raise", "Fail", "Record", "Say", "Nothing" }

return function(input)
  if input == "" then return end
  if runs % STORE_LASTS == 0 then
    if store then store:close() end
    store = moonfold.open(":memory:")
  end
  runs = runs + 1
  local stream, bytes = "s-" .. runs, input:sub(2)
  tools.append(store, stream, bytes)
  compare(stream)
  if not tools.decode(bytes) then return end
  local kind = kinds[input:byte() % #kinds + 1]
  -- Plain Lua may change what it is given.
  local right = decided(plain, stream, { type = kind, data = select(2, tools.decode(bytes)) })
  local answer = decided(loaded, stream, { type = kind, data = select(2, tools.decode(bytes)) })
  if answer ~= right and not is_limit(answer) then
    tools.fail(("%s: plain Lua: %s; a script: %s"):format(kind, right, answer))
  end
end
