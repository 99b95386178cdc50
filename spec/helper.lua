--- Loaded by busted before all specs: a spec that leaves a store, an iterator or a transaction open
--- fails, with the name of what it left.
--
-- moonfold.open is wrapped to remember the stores that a spec opens. Stores that a file opens outside
-- of its specs, in a setup, may stay open until the file ends, but idle between its specs.

local busted = require "busted"
local moonfold = require "moonfold"
local support = require "support"

local open = moonfold.open
local of_file, of_spec = {}, nil
local running

moonfold.open = function(...)
  local store = open(...)
  table.insert(of_spec or of_file, store)
  return store
end

local function state(store)
  return tostring(store):match("%(([^()]*)%)$")
end

--- What a store still holds: nil when it is closed and nothing is left of it.
local function left(store)
  if state(store) ~= "closed" then return tostring(store) end
end

--- What a store that may stay open holds beyond being open.
local function busy(store)
  if state(store) ~= "open" then return left(store) end
end

local function leaks(stores, remains)
  local found = {}
  for _, store in ipairs(stores) do
    found[#found + 1] = remains(store)
  end
  return #found > 0 and "left behind: " .. table.concat(found, "; ") or nil
end

local function close(stores)
  for _, store in ipairs(stores) do pcall(store.close, store) end
end

local function report(element, message)
  local where = element.trace or { short_src = element.name, currentline = 0, traceback = "" }
  busted.publish({ "error", element.descriptor }, element, busted.parent(element), message, where)
end

busted.subscribe({ "test", "start" }, function(element)
  running = element
  return nil, true
end)

busted.before_each(function()
  of_spec = {}
end)

busted.after_each(function()
  local message = leaks(of_spec, left) or leaks(of_file, busy)
  close(of_spec)
  of_spec = nil
  support.clean()
  if message then report(running, message) end
end)

busted.subscribe({ "file", "end" }, function(element)
  local message = leaks(of_file, left)
  close(of_file)
  of_file = {}
  support.clean()
  if message then report(element, message) end
  return nil, true
end)
