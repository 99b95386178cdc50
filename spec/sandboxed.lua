--- Runs pieces of Lua in the sandbox, for specs: local sandboxed = require "sandboxed".

local moonfold = require "moonfold"
local support = require "support"

local sandboxed = {}

local frame = [[
local moonfold = require "moonfold"
local top = ...
%s
local function run(command, state, context)
%s
end
local function check()
%s
end
local function pack(...) return { n = select("#", ...), ... } end
local function done(results)
  for i = 1, results.n do
    if results[i] == nil then results[i] = moonfold.null end
  end
  return moonfold.event("Done", { results = moonfold.array { table.unpack(results, 1, results.n) } })
end
return {
  initial_state = %s,
  evolve = { Done = function(state, event) end },
  decide = {
    Run = function(command, state, context) return done(pack(run(command, state, context))) end,
    Check = function() return done(pack(check())) end,
  },
}
]]

--- A loaded script whose decide runs `body`, a function's body with command, state and context in scope. `options`:
--- before = text at the top of the file, state = text of the initial state, check = body of a second function, files =
--- { name = text } and links = { name = target } beside it, and the options of load_decider.
function sandboxed.load(body, options)
  options = options or {}
  local folder = support.folder()
  for name, text in pairs(options.files or {}) do support.write(folder .. "/" .. name, text) end
  for name, target in pairs(options.links or {}) do
    assert(os.execute(("ln -s %s %s"):format(support.quote(target), support.quote(folder .. "/" .. name))))
  end
  local text = frame:format(options.before or "", body, options.check or "", options.state or "{}")
  local path = support.write(folder .. "/script.lua", text)
  return moonfold.load_decider(path, { params = options.params, budget = options.budget, memory = options.memory })
end

local function call(script, command)
  local store <close> = moonfold.open(":memory:")
  local result = store:decide("spec-1", script, command)
  local results = result.events[1].data.results
  local count = #results
  for i = 1, count do
    if results[i] == moonfold.null then results[i] = nil end
  end
  return table.unpack(results, 1, count)
end

--- Calls a script made by load() with the data of a command, and returns the results of its body.
function sandboxed.call(script, data) return call(script, moonfold.command("Run", data)) end

--- The same with the second function.
function sandboxed.check(script) return call(script, moonfold.command("Check")) end

--- What the body returns, or raises.
function sandboxed.run(body, options) return sandboxed.call(sandboxed.load(body, options)) end

--- The error that the body raises; fails when there is none.
function sandboxed.fails(body, options)
  local fine, problem = pcall(sandboxed.run, body, options)
  if fine then error("it ran: " .. body, 2) end
  return problem
end

return sandboxed
