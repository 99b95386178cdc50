-- The dot commands, thin views of the library. An entry has
--     name, usage     as one types it
--     summary         a line for .help
--     text            what else is worth knowing
--     takes           what its words are, for completion: see complete.lua
--     example         for .help NAME
--     run             function(session, rest, words): the line after the name, and its words
-- They stand in look.lua, travel.lua, what_if.lua and settings.lua; here are help, and finding and running one.

local nearest = require "moonfold.nearest"
local reference = require "moonfold.reference"
local session = require "moonfold.repl.session"

local fail = session.fail
local dots = {}

for _, name in ipairs { "look", "travel", "what_if", "settings" } do
  for _, dot in ipairs(require("moonfold.repl." .. name)) do dots[#dots + 1] = dot end
end

-- ## Help

local function find(name)
  for _, dot in ipairs(dots) do
    if dot.name == name then return dot end
  end
end

local groups <const> = {
  { "look", "streams", "events", "types", "timeline", "watch" },
  { "travel in time", "use", "state", "diff", "step", "why", "find", "code" },
  { "what if", "try", "branch", "do", "fixture" },
  { "the shell", "open", "save", "source", "once", "mode", "timer", "tutorial", "help", "quit" },
}

local function print_dot(self, dot)
  self:say("%s", self.out:paint("bold", dot.usage))
  self:say("  %s", dot.summary)
  if dot.text then self:say("\n  %s", (dot.text:gsub("\n", "\n  "))) end
  if dot.example then self:say("\n  Example: %s", dot.example) end
end

local function print_overview(self)
  for _, group in ipairs(groups) do
    self:say("%s", self.out:paint("bold", group[1]))
    for i = 2, #group do
      local dot = find(group[i])
      if dot then self:say("  %-13s %s", "." .. dot.name, dot.summary) end
    end
  end
  self:say("%s", self.out:paint("bold", "everything else is Lua"))
  self:say("  store is the store, _ the last result, v(n) the nth. past travels in time, such as")
  self:say("  past:at(\"cart-1\", 3).state. ?name tells about a name, such as ?append_to_stream.")
end

local function search(self, word)
  local found = 0
  for _, dot in ipairs(dots) do
    if not dot.hidden and (dot.summary .. " " .. (dot.text or "")):lower():find(word:lower(), 1, true) then
      self:say("  %-13s %s", "." .. dot.name, dot.summary)
      found = found + 1
    end
  end
  return found
end

dots[#dots + 1] = {
  name = "help", usage = ".help [COMMAND|WORD]", takes = { "DOT" },
  summary = "what there is; about a command; what has to do with a word",
  run = function(self, _, words)
    local word = words[1]
    if not word then return print_overview(self) end
    local dot = find((word:gsub("^%.", "")))
    if dot then return print_dot(self, dot) end
    local found = search(self, word)
    local page = reference.page(word, self:width())
    if page then
      if found > 0 then self:say("") end
      return self.out:write(page)
    end
    if found == 0 then fail("nothing has to do with %q: .help alone tells all that there is", word) end
  end,
}

dots[#dots + 1] = {
  name = "tutorial", usage = ".tutorial [off]", takes = { "off" },
  summary = "a tour of twelve steps, in a store of its own",
  run = function(self, _, words) require("moonfold.repl.tutorial").run(self, words[1]) end,
}

-- ## Running one

--- The page of the reference about a name.
function dots.page(self, name)
  local dot = name:find("^%.") and find(name:sub(2))
  if dot then return print_dot(self, dot) end
  local page, hint = reference.page(name, self:width())
  if not page then fail("%s", hint) end
  self.out:write(page)
end

--- Whether there is a dot command of this name.
function dots.has(name) return find(name) ~= nil end

--- Runs a line that begins with a dot.
function dots.run(self, line)
  local name, rest = line:match("^%s*%.(%S*)%s*(.-)%s*$")
  local dot = find(name)
  if not dot then
    local names = {}
    for _, one in ipairs(dots) do
      if not one.hidden then names[#names + 1] = one.name end
      if not one.hidden and name ~= "" and one.name:sub(1, #name) == name then
        names.beginning = not names.beginning and one.name or false
      end
    end
    local near = names.beginning or nearest.of(name, names)
    if name == "" then near = nil end
    local hint = near and ("did you mean .%s?"):format(near) or ".help tells which there are"
    fail("there is no command .%s: %s", name, hint)
  end
  local words = {}
  for word in rest:gmatch("%S+") do words[#words + 1] = word end
  dot.run(self, rest, words)
end

return dots
