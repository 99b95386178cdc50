--- Makes the folder of a new domain: `moonfold new NAME [--like quest]`.
--
--     local status, text = new.main({ "shop" }, { kind = ..., make_folder = ..., like = "quest" })
--
-- What it makes passes its own spec at once. Nothing that is there already is written over.

local nearest = require "moonfold.nearest"
local reference = require "moonfold.reference"
local templates = require "moonfold.templates"   -- the files of scripts/domain, by name; made by the build

local new = {}

-- ## Names

--- The name of a decider for the name of a folder: "my-shop" becomes my_shop. nil and why, when it cannot.
local function identifier(name)
  if not name:find("^[%w_%-]+$") or not name:find("%a") then
    return nil, ('%q is no good name: it has letters, digits, "-" and "_"'):format(name)
  end
  local word = name:gsub("%-+", "_"):lower()
  if word:find("^%d") then return nil, ("%q is no good name: it begins with a digit"):format(name) end
  if not load("local " .. word) then return nil, ("%q is no good name: it is a word of Lua's own"):format(name) end
  if package.loaded[word] then return nil, ("%q is no good name: a Lua module is called so"):format(name) end
  if word:find("_spec$") then return nil, ("%q is no good name: specs end in _spec"):format(name) end
  return word
end

--- The names that --like knows, sorted.
function new.models()
  local names = {}
  for file in pairs(templates) do
    local name = file:match("^([%w_]+)%.lua$")
    if name and templates[name .. "_spec.lua"] then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- ## The files

local script = [[
--- NAME: say in a sentence what it is.
--
-- Events say what happened; `evolve` folds them into a state. Commands say what is wanted; `decide` makes events of
-- them, or refuses. A table has one function for each type.

local moonfold = require "moonfold"

---@type table<string, moonfold.Evolve|false>
local evolve = {}

--- What an event makes of the state. It does not ask whether: that was decided before.
function evolve.ItemAdded(state, event)
  state.count = state.count + event.data.quantity
end

---@type table<string, moonfold.Decide>
local decide = {}

--- What a command leads to: an event, a list of events, or nothing.
function decide.AddItem(command, state)
  local room = 10 - state.count
  if command.data.quantity > room then
    moonfold.reject("full", ("there is room for %d more"):format(room), { room = room })
  end
  return moonfold.event("ItemAdded", command.data)
end

---@type moonfold.Decider
return {
  name = "NAME",
  category = "NAME",   -- it owns the streams NAME-*
  initial_state = { count = 0 },
  evolve = evolve,
  decide = decide,

  -- What data looks like: what has another shape is refused before anything is recorded.
  commands = { AddItem = { name = "string", quantity = "integer" } },
  events = { ItemAdded = { name = "string", quantity = "integer" } },

  --- What is true of every state. Specs ask after every event.
  invariant = function(state)
    return state.count <= 10, "there are more than ten"
  end,
}
]]

local spec = [[
local moonfold = require "moonfold"
local NAME = require "NAME"
local given = require("moonfold.spec")(NAME)

local function added(name, quantity) return moonfold.event("ItemAdded", { name = name, quantity = quantity }) end
local function add(name, quantity) return moonfold.command("AddItem", { name = name, quantity = quantity }) end

describe("NAME", function()
  it("begins empty", function()
    given {}:expect_state { count = 0 }
  end)

  it("takes items", function()
    given { added("tea", 3) }
      :when(add("cup", 2))
      :expect { added("cup", 2) }
      :expect_state { count = 5 }
  end)

  it("has room for ten", function()
    given { added("tea", 8) }:when(add("cup", 3)):expect_rejected("full")
  end)

  it("counts in whole numbers", function()
    given {}:when(add("tea", 1.5)):expect_error("command.data.quantity: an integer is needed")
  end)
end)
]]

--- A command to try each model with, as `moonfold handle` takes it.
local first_commands = {
  account = [[Deposit '{"cents": 1000}']],
  cart = [[AddProductItem '{"product": "tea", "qty": 2, "price": 300}']],
  counter = [[Count '{"by": 2}']],
  inventory = [[PickUp '{"item": "arrow", "count": 12}']],
  quest = [[OfferQuest '{"title": "Rats", "foes": 2, "strength": 9, "level": 1, "hours": 24}']],
}

local trying = [[
    moonfold spec .                            # run the examples
    moonfold handle NAME.fold NAME.lua NAME-1 COMMAND
    moonfold state NAME.fold NAME.lua NAME-1   # what became of it
]]

local trying_with_params = [[
    moonfold spec .                            # run the examples

It is loaded with `params`: `moonfold.load_decider("NAME.lua", { params = { ... } })`.
]]

local readme = [[
# NAME

The rules are in `NAME.lua`: which events happen, which commands lead to them. `NAME_spec.lua` shows them by examples.

TRYING
An editor with the Lua language server completes what it knows from `.luarc.json` and `.types/`.
]]

local settings = [[
{
  "runtime.version": "Lua 5.4",
  "workspace.library": [".types"],
  "diagnostics.globals": [
    "describe", "it", "pending", "before_each", "after_each", "setup", "teardown", "finally"
  ]
}
]]

local function with_name(text, name)
  return (text:gsub("NAME", name))
end

local function skeleton(name)
  return with_name(script, name), with_name(spec, name), [[AddItem '{"name": "tea", "quantity": 2}']]
end

--- The files of a model under another name. Its category becomes the name, too.
local function like(model, name)
  local copy = templates[model .. ".lua"]
  copy = copy:gsub('\n  name = "[%w_]+"', '\n  name = "' .. name .. '"')
  copy = copy:gsub('\n  category = "[%w_]+"', '\n  category = "' .. name .. '"')
  copy = copy:gsub("it owns the streams [%w_]+%-%*", "it owns the streams " .. name .. "-*")
  local quoted = ('"%s"'):format(model)
  return copy, templates[model .. "_spec.lua"]:gsub(quoted, ('"%s"'):format(name)), first_commands[model]
end

--- The files of a new domain: { { name, text }, ... }.
local function files_of(name, model)
  local copy, spec_copy, command
  if model then copy, spec_copy, command = like(model, name) else copy, spec_copy, command = skeleton(name) end
  local lines = command and trying:gsub("COMMAND", function() return command end) or trying_with_params
  return {
    { name .. ".lua", copy },
    { name .. "_spec.lua", spec_copy },
    { "README.md", with_name(readme:gsub("TRYING", function() return lines end), name) },
    { ".luarc.json", settings },
    { ".types/moonfold.d.lua", reference.types() },
  }
end

-- ## Writing them

--- true; nil and a message.
local function write(path, text)
  local file <close>, problem = io.open(path, "wb")
  if not file then return nil, problem end
  local written, failure = file:write(text)
  if written then written, failure = file:flush() end
  return written and true, failure and ("%s: %s"):format(path, failure)
end

--- Writes nothing when anything is in the way.
local function write_all(host, folder, files)
  if host.kind(folder) == "file" then return nil, ("%s is a file"):format(folder) end
  for _, file in ipairs(files) do
    local path = folder .. "/" .. file[1]
    if host.kind(path) then return nil, ("%s is there already: nothing was written"):format(path) end
  end
  for _, path in ipairs { folder, folder .. "/.types" } do
    if not host.kind(path) then
      local made, problem = host.make_folder(path)
      if not made then return nil, problem end
    end
  end
  for _, file in ipairs(files) do
    local written, problem = write(folder .. "/" .. file[1], file[2])
    if not written then return nil, problem end
  end
  return true
end

local function unknown_model(model)
  local models = new.models()
  local meant = nearest.of(model, models)
  return ("there is no %q to be like: %s"):format(model,
    meant and ("did you mean %s?"):format(meant) or "there are " .. table.concat(models, ", "))
end

--- Makes the folder that the first argument names; `host` has kind(path) -> "file", "folder" or nil,
--- make_folder(path) -> true, or nil and a message; and `like`, the name of a model, or nil. Returns the exit status
--- and a text: 0 and what to do next, 1 when something is in the way, 2 when it was called wrongly.
function new.main(arguments, host)
  local folder = (arguments[1] or ""):gsub("(.)/+$", "%1")
  local name, complaint = identifier(folder:match("[^/]*$"))
  if not name then return 2, complaint end
  if host.like and not templates[host.like .. "_spec.lua"] then return 2, unknown_model(host.like) end
  local files = files_of(name, host.like)
  local written, problem = write_all(host, folder, files)
  if not written then return 1, problem end
  local lines = {}
  for i, file in ipairs(files) do lines[i] = ("  %s/%s\n"):format(folder, file[1]) end
  return 0, ("made\n%sNext: moonfold spec %s\n"):format(table.concat(lines), folder)
end

return new
