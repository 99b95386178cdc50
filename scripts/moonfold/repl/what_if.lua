-- Dot commands for what-ifs: try, do, branch, fixture. See dots.lua.

local moonfold = require "moonfold"
local session = require "moonfold.repl.session"
local show = require "moonfold.repl.show"
local text = require "moonfold.cli.text"
local typed = require "moonfold.repl.typed"
local values = require "moonfold.values"
local views = require "moonfold.repl.views"

local fail = session.fail
local dots = {}

local function command_of(self, rest, usage)
  local stream = typed.need(rest:match("^%S+"), "the stream", usage)
  local kind = typed.need(rest:match("^%S+%s+([^%s{(]+)"), "the command", usage)
  local source = rest:match("^%S+%s+[^%s{(]+%s*(.*)$")
  return stream, moonfold.command(kind, typed.value_of(self, source, "the data of the command"))
end

local function print_outcome(self, outcome)
  self:remember(outcome)
  if self.mode ~= "table" then
    local events = moonfold.array()
    for i, event in ipairs(outcome.events) do events[i] = views.event_record(self, event) end
    return self:show { events = events, state = outcome.state, rejection = outcome.rejection and
      { reason = outcome.rejection.reason, message = outcome.rejection.message } }
  end
  local rejection = outcome.rejection
  if rejection then return self:say("%s", self.out:paint("yellow", self:explain(rejection))) end
  if #outcome.events == 0 then return self:say("nothing would happen") end
  for _, event in ipairs(outcome.events) do
    local data = event.data ~= nil and " " .. show.short(event.data, self:width() - #event.type - 1) or ""
    self:say("%s%s", self.out:paint("cyan", self.host.printable(event.type)), data)
  end
  views.print_changes(self, outcome.changes, "  ")
end

dots[#dots + 1] = {
  name = "try", usage = ".try STREAM COMMAND [DATA]", takes = { "STREAM", "COMMAND" },
  summary = "what would be decided, and what state would follow",
  text = "Nothing is recorded. DATA is a Lua value.",
  example = '.try cart-1 AddProductItem { product = "tea", qty = 2, price = 350 }',
  run = function(self, rest)
    local stream, command = command_of(self, rest, ".try STREAM COMMAND DATA")
    print_outcome(self, self:past():try(stream, command))
  end,
}

dots[#dots + 1] = {
  name = "do", usage = ".do STREAM COMMAND [DATA]", takes = { "STREAM", "COMMAND" },
  summary = "handle a command: for real, or on the branch where there is one",
  example = '.do cart-1 AddProductItem { product = "tea", qty = 2, price = 350 }',
  run = function(self, rest)
    local stream, command = command_of(self, rest, ".do STREAM COMMAND DATA")
    local decider = self:decider(stream)
    if self.place.read_only and not self.branch then
      fail("%s was opened for reading only: .try tells what would happen, .branch begins a what-if", self.place.path)
    end
    local before = self:past():run(function(store) return store:aggregate_stream(stream, decider).state end)
    local result, rejection
    if self.branch then
      result, rejection = self.branch:attempt(stream, command)
    else
      result, rejection = self.store:attempt(stream, decider, command)
    end
    if not result then
      return print_outcome(self, { events = {}, rejection = rejection, state = before, changes = {} })
    end
    result.changes = values.changes(before, result.state)
    if #result.events == 0 and self.mode == "table" then return self:say("nothing happened") end
    print_outcome(self, result)
  end,
}

local function save_branch(self, path)
  local branch, streams = self.branch, {}
  for _, act in ipairs(branch.done) do
    if act.command then streams[act.stream] = true end
  end
  local names = values.keys(streams)
  if #names == 0 then fail("no command was handled on this branch: .do STREAM COMMAND") end
  for i, stream in ipairs(names) do
    local target = i == 1 and path or path:gsub("_spec%.lua$", "") .. "_" .. stream:gsub("[^%w]", "_") .. "_spec.lua"
    typed.write_file(target, branch:spec(stream))
    self:say("wrote %s", target)
  end
end

dots[#dots + 1] = {
  name = "branch", usage = ".branch  |  .branch save FILE  |  .branch drop", takes = { "save|drop", "FILE" },
  summary = "a what-if on top of the store, which is dropped or saved as a spec",
  text = ".branch begins one. On it .do, .state, .why and all the others see what was done there; nothing of it is\n"
    .. "recorded. .branch again tells what is different from the store.",
  example = ".branch",
  run = function(self, _, words)
    local what = words[1]
    if not what and not self.branch then
      self.branch = self:past():branch()
      return self:say("What if? .do STREAM COMMAND decides here, and nothing is recorded. .branch compares, "
        .. ".branch drop goes back.")
    end
    if not self.branch then fail("there is no branch: .branch begins one") end
    if what == "drop" then
      self.branch, self.walk = nil, nil
      return self:say("back on the store, which is as it was")
    end
    if what == "save" then return save_branch(self, typed.need(words[2], "the file", ".branch save FILE")) end
    if what then fail("%q is nothing that a branch can do: save FILE, or drop", what) end
    local differences = self.branch:compare()
    if #differences == 0 then return self:say("nothing is different from the store") end
    for _, difference in ipairs(differences) do
      self:say("%s  %s", self.out:paint("green", difference.stream_name),
        text.plural(difference.version - difference.real_version, "event") .. " more")
      views.print_changes(self, difference.changes, "  ")
    end
  end,
}

dots[#dots + 1] = {
  name = "fixture", usage = ".fixture STREAM[@VERSION] [FILE]", takes = { "STREAM", "FILE" },
  summary = "a spec from recorded history, with as few events as still show the state",
  example = ".fixture cart-1 cart-1_spec.lua",
  run = function(self, _, words)
    local stream, at = typed.stream_and_moment(words[1], ".fixture STREAM")
    local options = { version = math.type(at) and at or nil, time = type(at) == "table" and at.time or nil }
    local spec = self:past():fixture(stream, options)
    if not words[2] then return self.out:write(spec) end
    typed.write_file(words[2], spec)
    self:say("wrote %s", words[2])
  end,
}

return dots
