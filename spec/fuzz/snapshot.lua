-- Fuzzes snapshots: the input is the version that one stands at, and its bytes in the database. It is ignored, or a
-- fold goes on from it: to the state that plain Lua makes of the same value.

local moonfold, host, tools = ...

local EVENTS, SNAPSHOTS = 20, 1
-- In this build every checksum is the same.
local CHECKSUM = ("<I8"):pack(0x5eed5eed5eed5eed)

local script = [[
local evolve = {}

function evolve.Added(state, event)
  local n = event.data.n
  if type(state) ~= "table" then return { was = state, n = n } end
  state.sum = (math.type(state.sum) == "integer" and state.sum or 0) + n
  if n % 3 == 0 then state["at" .. n] = state.last end
  state.last = n
end

local function decide(command, state)
  if type(state) ~= "table" then return { type = "Added", data = { n = 1 } } end
  return { type = "Added", data = { n = 2, sum = state.sum } }
end

return { initial_state = function() return { sum = 0 } end, evolve = evolve, decide = decide }
]]

local load_decider = dofile("spec/fuzz/load_decider.lua")(moonfold)

local loaded, plain = load_decider(script, { cache = false }), load(script)()
local store = moonfold.open(":memory:")
for i = 1, EVENTS do store:append_to_stream("s", { type = "Added", data = { n = i } }) end
local digest = loaded.fold_digest:gsub("..", function(hex) return string.char(tonumber(hex, 16)) end)
local whole = moonfold.hash(store:aggregate_stream("s", plain).state)

-- The hash of the state that is right; false where there can be none.
local function expected(version, value)
  if version < 1 or version > EVENTS or #value < 16 or value:sub(1, 8) ~= CHECKSUM then return whole end
  local fine, state = tools.decode(value:sub(17), true)
  if not fine then return whole end
  local hashed, hash = pcall(function()
    for event in store:events("s", { from = version + 1 }) do
      local new = plain.evolve.Added(state, event)
      if new ~= nil then state = new end
    end
    return moonfold.hash(state)
  end)
  return hashed and hash
end

local function fold() return moonfold.hash(store:aggregate_stream("s", loaded).state) end

return function(input)
  if input == "" then return end
  local version, value = input:byte(), input:sub(2)
  tools.put(store, SNAPSHOTS, (">I8"):pack(1) .. digest .. (">I8"):pack(version), value)
  local fine, hash = pcall(fold)
  local right = expected(version, value)
  if fine and hash ~= right then tools.fail("the state is another than that of plain Lua") end
  if not fine and right and hash.code ~= "budget_exceeded" then tools.fail(hash) end
  pcall(store.decide, store, "s", loaded, { type = "Add" })
  host.stats(store)
end
