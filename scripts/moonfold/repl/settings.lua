-- Dot commands of the shell itself: open, save, mode, timer, ... See dots.lua.

local nearest = require "moonfold.nearest"
local session = require "moonfold.repl.session"
local text = require "moonfold.cli.text"
local timeline = require "moonfold.timeline"
local typed = require "moonfold.repl.typed"

local fail = session.fail
local dots = {}

local function on_or_off(word, now, usage)
  if word == nil then return not now end
  if word == "on" or word == "off" then return word == "on" end
  fail("%q is neither on nor off: %s", word, usage)
end

dots[#dots + 1] = {
  name = "watch", usage = ".watch [STREAM|off]", takes = { "STREAM|off" },
  summary = "show what is recorded from now on, by whomever, above the prompt",
  example = ".watch cart-1",
  run = function(self, _, words)
    if words[1] == "off" or not words[1] and self.watching then
      self.watching = nil
      return self:say("not watching any more")
    end
    self.watching = { stream = words[1], position = self:last_position() }
    self:say("watching %s: .watch off ends it", words[1] or "all streams")
  end,
}

dots[#dots + 1] = {
  name = "mode", usage = ".mode table|line|json|lua", takes = { "table|line|json|lua" },
  summary = "how values and lists are printed",
  run = function(self, _, words)
    local modes = { "table", "line", "json", "lua" }
    if not words[1] then return self:say("%s", self.mode) end
    for _, mode in ipairs(modes) do
      if mode == words[1] then self.mode = mode return end
    end
    local near = nearest.of(words[1], modes)
    fail("there is no mode %q: %s", words[1], near and ("did you mean %s?"):format(near) or "table, line, json, lua")
  end,
}

dots[#dots + 1] = {
  name = "once", usage = ".once FILE", takes = { "FILE" },
  summary = "print what comes next into a file",
  run = function(self, rest)
    local path = typed.need(rest, "the file", ".once FILE")
    if self.once then self.once:close() end
    self.once = typed.file(path)
  end,
}

dots[#dots + 1] = {
  name = "timer", usage = ".timer [on|off]", takes = { "on|off" },
  summary = "tell how long everything takes",
  run = function(self, _, words)
    self.timer = on_or_off(words[1], self.timer, ".timer on|off")
    self:say("timer %s", self.timer and "on" or "off")
  end,
}

dots[#dots + 1] = {
  name = "echo", usage = ".echo [on|off]", takes = { "on|off" }, hidden = true,
  summary = "in a pipe, print each line that is read, with its prompt",
  run = function(self, _, words) self.echo = on_or_off(words[1], self.echo, ".echo on|off") end,
}

dots[#dots + 1] = {
  name = "source", usage = ".source FILE", takes = { "FILE" },
  summary = "read lines from a file as if they were typed",
  run = function(self, rest)
    local path = typed.need(rest, "the file", ".source FILE")
    local file <close>, problem = io.open(path)
    if not file then fail("%s", problem) end
    self.run_lines(function() return file:read("L") end)
  end,
}

dots[#dots + 1] = {
  name = "open", usage = ".open [FILE] [read-only]", takes = { "FILE", "read-only" },
  summary = "look at another store; without a name, a scratch store",
  run = function(self, _, words)
    local position = self.place.scratch and not self.aside and self:last_position() or 0
    if position > 0 and self.warned ~= position then
      self.warned = position
      fail("the scratch store has %s that would be lost: .save FILE keeps it, the same .open again drops it",
        text.plural(position, "event"))
    end
    if not words[1] then
      self:scratch()
      return self:say("a scratch store, empty; .save FILE keeps it")
    end
    if words[2] and words[2] ~= "read-only" then fail("%q is nothing that .open knows: read-only", words[2]) end
    self:open(words[1], { read_only = words[2] == "read-only" })
    self:say("%s", self:overview())
  end,
}

dots[#dots + 1] = {
  name = "save", usage = ".save FILE", takes = { "FILE" },
  summary = "copy the store to a new file; a scratch store becomes that file",
  run = function(self, rest)
    local path = typed.need(rest, "the file", ".save FILE")
    self.store:backup(path)
    if not self.place.scratch then return self:say("copied to %s", path) end
    self:open(path, {})
    self:say("saved: the store is %s from now on", path)
  end,
}

dots[#dots + 1] = {
  name = "timeline", usage = ".timeline FILE [GLOB]", takes = { "FILE", "STREAM" },
  summary = "draw the streams into a picture: lanes, marks, a time axis",
  text = "FILE gets an SVG picture, which a browser shows. GLOB chooses streams, as for .streams.",
  example = ".timeline shop.svg cart-*",
  run = function(self, _, words)
    local path = typed.need(words[1], "the file", ".timeline FILE [GLOB]")
    if self.host.kind(path) == "folder" then fail("%s is a folder, and a picture is a file", path) end
    local title = self.place.path and self.place.path:match("([^/]+)$") or "a scratch store"
    typed.write_file(path, timeline(self.store, { streams = words[2], title = title }))
    self:say("drawn into %s", path)
  end,
}

dots[#dots + 1] = {
  name = "quit", usage = ".quit", summary = "leave (Ctrl-D does, too)",
  run = function(self) self.done = true end,
}
dots[#dots + 1] = {
  name = "exit", usage = ".exit", summary = "leave", hidden = true,
  run = function(self) self.done = true end,
}

return dots
