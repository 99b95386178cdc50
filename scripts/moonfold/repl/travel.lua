-- Dot commands that travel in time: use, state, diff, step, why, find. See dots.lua.

local evaluate = require "moonfold.repl.evaluate"
local session = require "moonfold.repl.session"
local typed = require "moonfold.repl.typed"
local values = require "moonfold.values"
local views = require "moonfold.repl.views"

local fail = session.fail
local dots = {}

local function keys_of(t)
  return t and table.concat(values.keys(t), ", ") or "any"
end

dots[#dots + 1] = {
  name = "use", usage = ".use [SCRIPT|FOLDER|kept]", takes = { "FILE|kept" },
  summary = "load the rules: a decider, or a folder of them",
  text = "A script that is written to is loaded anew before the next command; one that does not load leaves the rules\n"
    .. "of before in place. \"kept\" loads the rules that the store keeps: those that decided its events. Without a\n"
    .. "name it tells what is loaded.",
  example = ".use scripts/domain",
  run = function(self, rest)
    if rest == "" then
      local list = self:list {
        { key = "script", title = "script" }, { key = "streams", title = "streams", style = "green" },
        { key = "commands", title = "commands", wide = true },
      }
      for _, loaded in ipairs(self.loaded) do
        for _, decider in ipairs(loaded.domain.deciders) do
          list:add {
            script = loaded.path and decider.path or (decider.path or decider.name):match("[^/]+$"),
            streams = decider.category and decider.category .. "-*" or "any",
            commands = keys_of(decider.command_types or type(decider.decide) == "table" and decider.decide or nil),
          }
        end
      end
      return list:finish("no rules are loaded: .use SCRIPT or .use FOLDER")
    end
    local domain
    if rest == "kept" and not self.host.kind(rest) then domain = self:use_kept() else domain = self:use(rest) end
    for _, decider in ipairs(domain.deciders) do
      self:say("%s: %s, commands %s", rest == "kept" and decider.path:match("[^/]+$") or decider.path,
        decider.category and "streams " .. decider.category .. "-*" or "any stream", keys_of(decider.command_types))
    end
  end,
}

dots[#dots + 1] = {
  name = "state", usage = ".state STREAM[@VERSION|@TIME]", takes = { "STREAM" },
  summary = "the state of a stream, now or then",
  text = "TIME is UTC, such as 2026-11-25 or 2026-11-25T18:30.",
  example = ".state cart-1@3",
  run = function(self, rest)
    local stream, at = typed.stream_and_moment(rest, ".state STREAM@VERSION")
    local step = self:past():at(stream, at)
    self:remember(step.state)
    self:show(step.state)
    if self.mode == "table" then self:remark("%s at version %d", stream, step.version) end
  end,
}

dots[#dots + 1] = {
  name = "diff", usage = ".diff STREAM [FROM..TO]  or  .diff STREAM@A STREAM@B", takes = { "STREAM", "STREAM" },
  summary = "what is different between two versions, or two streams",
  example = ".diff cart-1 2..5",
  run = function(self, _, words)
    local first = typed.need(words[1], "the stream", ".diff STREAM FROM..TO")
    local left, right
    if words[2] and not words[2]:find("^%d*%.%.%d*$") then
      local a, b = { typed.stream_and_moment(first) }, { typed.stream_and_moment(words[2]) }
      left = { stream = a[1], version = math.type(a[2]) and a[2], time = type(a[2]) == "table" and a[2].time or nil }
      right = { stream = b[1], version = math.type(b[2]) and b[2], time = type(b[2]) == "table" and b[2].time or nil }
    else
      local from, to = typed.range(words[2])
      typed.must_exist(self, first)
      local stream_version = self:past():run(function(store) return store:stream_version(first) end)
      left = { stream = first, version = from or math.max(0, (to or stream_version) - 1) }
      right = { stream = first, version = to }
    end
    left.version, right.version = left.version or nil, right.version or nil
    local changes, before, after = self:past():diff(left, right)
    self:remember(changes)
    if self.mode ~= "table" then return self:show(views.records_of({ { changes = changes } })[1].changes) end
    self:remark("%s@%d -> %s@%d", before.stream_name, before.version, after.stream_name, after.version)
    views.print_changes(self, changes)
  end,
}

local function print_step(self, step)
  self:remember(step)
  if self.mode ~= "table" then return self:show(views.records_of({ step })[1]) end
  self:say("%s", views.step_title(self, step))
  views.print_changes(self, step.changes, "  ")
end

dots[#dots + 1] = {
  name = "step", usage = ".step STREAM[@VERSION]  then  .step next|previous|VERSION",
  takes = { "STREAM|next|previous" },
  summary = "walk through a stream, event by event",
  text = "After a step, Enter alone goes to the next one.",
  example = ".step cart-1",
  run = function(self, rest)
    local version = math.tointeger(rest)
    local moves = { n = "next", next = "next", [""] = "next", p = "previous", prev = "previous", previous = "previous" }
    if moves[rest] or version then
      if not self.walk then fail("no walk has begun: .step STREAM") end
      local step
      if version then step = self.walk:go(version) else step = self.walk[moves[rest]](self.walk) end
      if step then return print_step(self, step) end
      local edge = moves[rest] == "next" and "the last event was version %d" or "there is nothing before version %d"
      return self:remark(edge, self.walk.version)
    end
    local stream, at = typed.stream_and_moment(rest)
    self.walk = self:past():walk(stream)
    if at == nil then return print_step(self, self.walk:next()) end
    print_step(self, self.walk:go(type(at) == "table" and self:past():at(stream, at).version or at))
  end,
}

dots[#dots + 1] = {
  name = "why", usage = ".why STREAM PATH", takes = { "STREAM", "PATH" },
  summary = "which events made a part of the state what it is",
  example = ".why cart-1 items[2].qty",
  run = function(self, rest, words)
    local stream = typed.need(words[1], "the stream", ".why STREAM PATH")
    local path = rest:match("^%S+%s+(.+)$") or ""
    local steps = self:past():why(stream, path)
    self:remember(steps)
    if self.mode ~= "table" then return self:show(views.records_of(steps)) end
    for _, step in ipairs(steps) do
      self:say("%s", views.step_title(self, step))
      views.print_changes(self, step.changes, "  ")
    end
    if #steps > 0 then return end
    local state = self:past():at(stream).state
    local present = values.get(state, values.parse_path(path) or {}) ~= nil
    if present then return self:say("no event changed %s: it is as it began", path) end
    self:say("there never was %s in the state of %s%s", path, stream, typed.hint_of_path(state, path))
  end,
}

--- A predicate that does not hold where it fails: fields come and go. Returns it, and a function that raises the last
--- failure when it failed on the last state.
local function tolerant(self, predicate, source, state)
  local failure
  local function holds(now)
    local fine, result = pcall(predicate, now)
    if not fine and type(result) == "string" and result:find("interrupted$") then error(result, 0) end
    failure = not fine and result or nil
    return fine and result
  end
  local function check()
    holds(state)
    if failure == nil then return end
    local problem = type(failure) == "string" and failure:gsub("^expression:1: ", "") or failure
    for path in source:gsub('"[^"]*"', ""):gsub("'[^']*'", ""):gmatch("[%a_][%w_.]*") do
      local keys = values.parse_path(path)
      local missing = keys and self.env[keys[1]] == nil and values.get(state, keys) == nil
      local hint = missing and typed.hint_of_path(state, path) or ""
      if hint ~= "" then fail("%s. There is no %s in the state%s", problem, path, hint) end
    end
    error(problem, 0)
  end
  return holds, check
end

dots[#dots + 1] = {
  name = "find", usage = ".find STREAM EXPRESSION", takes = { "STREAM", rest = "EXPRESSION" },
  summary = "the first event after which something holds",
  text = "The expression is Lua. Its names are fields of the state; `state` is all of it.",
  example = ".find cart-1 total > 1000 and #items >= 2",
  run = function(self, rest, words)
    local stream = typed.need(words[1], "the stream", ".find STREAM EXPRESSION")
    local source = typed.need(rest:match("^%S+%s+(.+)$"), "the expression", ".find STREAM EXPRESSION")
    local past = self:past()
    typed.must_exist(self, stream)
    local predicate, problem = evaluate.predicate(source, self.env)
    if not predicate then fail("that is no expression: %s", problem) end
    local state = past:at(stream).state
    local holds, check = tolerant(self, predicate, source, state)
    local step = past:find(stream, holds, { fields = type(state) == "table" and evaluate.fields(source) or nil })
    if not step then
      check()
      return self:say("it holds after no event of %s", stream)
    end
    print_step(self, step)
  end,
}

return dots
