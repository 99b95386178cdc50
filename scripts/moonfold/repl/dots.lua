-- The dot commands, thin views of the library. An entry has
--     name, usage     as one types it
--     summary         a line for .help
--     text            what else is worth knowing
--     takes           what its words are, for completion: see complete.lua
--     example         for .help NAME
--     run             function(session, rest, words): the line after the name, and its words

local glob = require "moonfold.glob"
local moonfold = require "moonfold"
local evaluate = require "moonfold.repl.evaluate"
local nearest = require "moonfold.nearest"
local reference = require "moonfold.reference"
local session = require "moonfold.repl.session"
local show = require "moonfold.repl.show"
local text = require "moonfold.cli.text"
local values = require "moonfold.values"

local fail = session.fail
local dots = {}

local function add(dot) dots[#dots + 1] = dot end

-- ## Reading what one typed

local function need(word, what, usage)
  if word == nil or word == "" then fail("%s is missing: %s", what, usage) end
  return word
end

--- "@7" is a version, "@2026-11-25" a time (a blank may stand before the hour); nothing is now.
local function moment(word)
  if not word or word == "" then return nil end
  local at = word:gsub("^@", "")
  local version = math.tointeger(at)
  if version then return version end
  if at:find("^%d%d%d%d%-") then return { time = at } end
  fail("%q is neither a version (@7) nor a time (@2026-11-25T18:30)", word)
end

--- "cart-1@7" and "cart-1 @7" are a stream and a moment.
local function stream_and_moment(rest, usage)
  local stream, at = need(rest, "the stream", usage):match("^(%S-)%s*@(.+)$")
  if stream and stream ~= "" then return stream, moment(at) end
  return rest:match("^%S+")
end

--- "3..7", "3..", "..7", "3": versions from and to.
local function range(word)
  if not word then return nil, nil end
  local from, to = word:match("^(%d*)%.%.(%d*)$")
  if from then return math.tointeger(from), math.tointeger(to) end
  local one = word:match("^%d+$")
  if not one then fail("%q is no range of versions: write 3..7, 3.. or ..7", word) end
  return math.tointeger(one), math.tointeger(one)
end

--- The value of Lua source, such as { qty = 2 }.
local function value_of(self, source, what)
  if not source or source == "" then return nil end
  local chunk, problem = load("return " .. source, "=" .. what, "t", self.env)
  if not chunk then fail("%s is no Lua value: %s", what, (problem:gsub("^[^:]*:%d+: ", ""))) end
  return chunk()
end

local function must_exist(self, stream)
  if self.store:stream_exists(stream) then return end
  self:past():at(stream, 0)   -- raises not_found, with the nearest
end

-- ## Looking around

local BARS <const> = 16

--- The times of the log's first and last event.
local function span(store)
  local first, last
  for event in store:all_events { max_count = 1 } do first = event.recorded_at end
  for event in store:all_events { max_count = 1, backwards = true } do last = event.recorded_at end
  return first, last
end

local function time_at(store, stream, version)
  return store:read_stream(stream, { from = version, to = version }).events[1].recorded_at
end

--- How many events there were in each of so many parts of a span of time. Of a long stream only some events are read.
local function activity(store, stream, version, first, last)
  local counts, width = {}, (last - first) / BARS
  for i = 1, BARS do counts[i] = 0 end
  local MOST <const> = 200
  local stride = math.max(1, version // MOST)
  for at = 1, version, stride do
    local time = time_at(store, stream, at)
    local i = width == 0 and BARS or math.min(BARS, math.max(1, (time - first) // width + 1))
    i = math.tointeger(i)
    counts[i] = counts[i] + 1
  end
  return counts
end

local function sparkline(self, ...) return show.sparkline(activity(self.store, ...), self.plain) end

local stream_columns <const> = {
  { key = "stream_name", title = "stream", style = "green" },
  { key = "version", title = "events", right = true },
  { key = "first", title = "first" },
  { key = "last", title = "last" },
  { key = "activity", title = "", style = "cyan" },
}

add {
  name = "streams", usage = ".streams [GLOB]", takes = { "STREAM" },
  summary = "the streams: how many events, when, and a picture of their activity",
  text = "GLOB may have * and ?; without them it is what the names begin with.",
  example = ".streams cart-*",
  run = function(self, _, words)
    local store, count = self.store, 0
    local wanted, prefix = glob(words[1])
    local first, last = span(store)
    local list = self:list(stream_columns)
    for name, version in store:streams(prefix) do
      if wanted(name) then
        count = count + 1
        list:add {
          stream_name = name, version = version, first = self:time(time_at(store, name, 1)),
          last = self:time(time_at(store, name, version)),
          activity = self.mode == "table" and sparkline(self, name, version, first, last) or nil,
        }
      end
    end
    list:finish(words[1] and "no stream is like that" or "there are no streams yet")
    if count > 1 and self.mode == "table" then self:remark("%s", text.plural(count, "stream")) end
  end,
}

local event_columns <const> = {
  { key = "version", title = "#", right = true, style = "dim" },
  { key = "time", title = "time", style = "dim" },
  { key = "type", title = "type", style = "cyan" },
  { key = "data", title = "data", wide = true, show = show.short },
}
local log_columns <const> = {
  { key = "global_position", title = "position", right = true, style = "dim" },
  { key = "stream_name", title = "stream", style = "green" },
  table.unpack(event_columns),
}

local function event_record(self, event)
  return {
    global_position = event.global_position, stream_name = event.stream_name, version = event.stream_position,
    time = self:time(event.recorded_at), type = event.type, data = event.data, metadata = event.metadata,
  }
end

add {
  name = "events", usage = ".events [STREAM] [FROM..TO]", takes = { "STREAM" },
  summary = "the events of a stream, or of all",
  example = ".events cart-1 3..7",
  run = function(self, _, words)
    local stream = words[1]
    if stream and stream:find("^%d*%.%.%d*$") then
      table.insert(words, 1, false)
      stream = nil
    end
    local from, to = range(words[2])
    if stream then must_exist(self, stream) end
    local list = self:list(stream and event_columns or log_columns)
    local function print_from(store)
      local events, object, _, closing <close> = (stream and store.events or store.all_events)(store,
        stream or { from = from, to = to }, stream and { from = from, to = to } or nil)
      for event in events, object, nil, closing do list:add(event_record(self, event)) end
    end
    if self.branch then
      -- Inside a branch an iterator would end with the dry run: the events are few enough, or a range was asked for.
      local events = self.branch:run(function(store)
        if stream then return store:read_stream(stream, { from = from, to = to }).events end
        local all = {}
        for event in store:all_events { from = from, to = to } do all[#all + 1] = event end
        return all
      end)
      for _, event in ipairs(events) do list:add(event_record(self, event)) end
    else
      print_from(self.store)
    end
    list:finish("no events")
  end,
}

local function census(self)
  local types, codes, last = {}, {}, self:last_position()
  for from = 1, last, 1000000 do self.host.census(self.store, from, math.min(last, from + 999999), types, codes) end
  local list = {}
  for name, sums in pairs(types) do list[#list + 1] = { type = name, events = sums.events, bytes = sums.bytes } end
  table.sort(list, function(a, b)
    if a.events ~= b.events then return a.events > b.events end
    return a.type < b.type
  end)
  return list
end

add {
  name = "types", usage = ".types", summary = "the types of events, with their counts",
  run = function(self)
    local list = self:list {
      { key = "type", title = "type", style = "cyan" }, { key = "events", title = "events", right = true },
      { key = "bytes", title = "bytes", right = true, show = text.bytes }, { key = "bar", title = "", style = "cyan" },
    }
    local types = census(self)
    for _, one in ipairs(types) do
      local part = one.events / types[1].events
      one.bar = self.mode == "table" and ((self.plain and "#" or "█"):rep(math.max(1, math.floor(part * 20)))) or nil
      list:add(one)
    end
    list:finish("there are no events yet")
  end,
}

-- ## Rules

local function keys_of(t)
  return t and table.concat(values.keys(t), ", ") or "any"
end

add {
  name = "use", usage = ".use [SCRIPT|FOLDER]", takes = { "FILE" },
  summary = "load the rules: a decider, or a folder of them",
  text = "A script that is written to is loaded anew before the next command; one that does not load leaves the rules\n"
    .. "of before in place. Without a name it tells what is loaded.",
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
            script = decider.path or decider.name, streams = decider.category and decider.category .. "-*" or "any",
            commands = keys_of(decider.command_types or type(decider.decide) == "table" and decider.decide or nil),
          }
        end
      end
      return list:finish("no rules are loaded: .use SCRIPT or .use FOLDER")
    end
    local domain = self:use(rest)
    for _, decider in ipairs(domain.deciders) do
      self:say("%s: %s, commands %s", decider.path or rest,
        decider.category and "streams " .. decider.category .. "-*" or "any stream", keys_of(decider.command_types))
    end
  end,
}

-- ## Travelling in time

local function change_text(self, change)
  local room = math.max(20, self:width() - #change.path - 12)
  local before, after = show.short(change.before, room // 2), show.short(change.after, room // 2)
  local path = change.path == "" and "state" or change.path
  local paint = function(...) return self.out:paint(...) end
  if change.kind == "added" then
    return ("%s %s = %s"):format(paint("green", "+"), path, show.short(change.after, room))
  elseif change.kind == "removed" then
    return ("%s %s   was %s"):format(paint("red", "-"), path, show.short(change.before, room))
  end
  return ("%s %s = %s   was %s"):format(paint("yellow", "~"), path, after, before)
end

local function print_changes(self, changes, indent)
  for _, change in ipairs(changes) do self:say("%s%s", indent or "", change_text(self, change)) end
  if #changes == 0 then self:say("%s%s", indent or "", self.out:paint("dim", "no difference")) end
end

--- Changes as records, for modes that are not for people.
local function records_of(steps)
  local records = moonfold.array()
  for i, step in ipairs(steps) do
    local changes = moonfold.array()
    for k, change in ipairs(step.changes) do
      changes[k] = { kind = change.kind, path = change.path, before = change.before, after = change.after }
    end
    local kind = step.event and step.event.type
    records[i] = { version = step.version, type = kind, changes = changes, state = step.state }
  end
  return records
end

local function step_title(self, step)
  local event = step.event
  local title = ("%d"):format(step.version)
  if not event then return ("%s  before the first event"):format(title) end
  local head = ("%s  %s  %s "):format(title, self:time(event.recorded_at), event.type)
  local room = math.max(20, self:width() - #head)
  return ("%s  %s  %s%s"):format(title, self.out:paint("dim", self:time(event.recorded_at)),
    self.out:paint("cyan", event.type), event.data ~= nil and " " .. show.short(event.data, room) or "")
end

add {
  name = "state", usage = ".state STREAM[@VERSION|@TIME]", takes = { "STREAM" },
  summary = "the state of a stream, now or then",
  text = "TIME is UTC, such as 2026-11-25 or 2026-11-25T18:30.",
  example = ".state cart-1@3",
  run = function(self, rest)
    local stream, at = stream_and_moment(rest, ".state STREAM@VERSION")
    local step = self:past():at(stream, at)
    self:remember(step.state)
    self:show(step.state)
    if self.mode == "table" then self:remark("%s at version %d", stream, step.version) end
  end,
}

add {
  name = "diff", usage = ".diff STREAM [FROM..TO]  or  .diff STREAM@A STREAM@B", takes = { "STREAM", "STREAM" },
  summary = "what is different between two versions, or two streams",
  example = ".diff cart-1 2..5",
  run = function(self, _, words)
    local first = need(words[1], "the stream", ".diff STREAM FROM..TO")
    local left, right
    if words[2] and not words[2]:find("^%d*%.%.%d*$") then
      local a, b = { stream_and_moment(first) }, { stream_and_moment(words[2]) }
      left = { stream = a[1], version = math.type(a[2]) and a[2], time = type(a[2]) == "table" and a[2].time or nil }
      right = { stream = b[1], version = math.type(b[2]) and b[2], time = type(b[2]) == "table" and b[2].time or nil }
    else
      local from, to = range(words[2])
      must_exist(self, first)
      local stream_version = self:past():run(function(store) return store:stream_version(first) end)
      left = { stream = first, version = from or math.max(0, (to or stream_version) - 1) }
      right = { stream = first, version = to }
    end
    left.version, right.version = left.version or nil, right.version or nil
    local changes, before, after = self:past():diff(left, right)
    self:remember(changes)
    if self.mode ~= "table" then return self:show(records_of { { changes = changes } }[1].changes) end
    self:remark("%s@%d -> %s@%d", before.stream_name, before.version, after.stream_name, after.version)
    print_changes(self, changes)
  end,
}

local function print_step(self, step)
  self:remember(step)
  if self.mode ~= "table" then return self:show(records_of({ step })[1]) end
  self:say("%s", step_title(self, step))
  print_changes(self, step.changes, "  ")
end

add {
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
    local stream, at = stream_and_moment(rest)
    self.walk = self:past():walk(stream)
    if at == nil then return print_step(self, self.walk:next()) end
    print_step(self, self.walk:go(type(at) == "table" and self:past():at(stream, at).version or at))
  end,
}

add {
  name = "why", usage = ".why STREAM PATH", takes = { "STREAM", "PATH" },
  summary = "which events made a part of the state what it is",
  example = ".why cart-1 items[2].qty",
  run = function(self, rest, words)
    local stream = need(words[1], "the stream", ".why STREAM PATH")
    local path = rest:match("^%S+%s+(.+)$") or ""
    local steps = self:past():why(stream, path)
    self:remember(steps)
    if self.mode ~= "table" then return self:show(records_of(steps)) end
    for _, step in ipairs(steps) do
      self:say("%s", step_title(self, step))
      print_changes(self, step.changes, "  ")
    end
    if #steps > 0 then return end
    local state = self:past():at(stream).state
    local near = type(state) == "table" and nearest.of(path, values.keys(state))
    local present = values.get(state, values.parse_path(path) or {}) ~= nil
    if present then return self:say("no event changed %s: it is as it began", path) end
    self:say("there never was %s in the state of %s%s", path, stream,
      near and (": did you mean %s?"):format(near) or "")
  end,
}

add {
  name = "find", usage = ".find STREAM EXPRESSION", takes = { "STREAM", rest = "EXPRESSION" },
  summary = "the first event after which something holds",
  text = "The expression is Lua. Its names are fields of the state; `state` is all of it.",
  example = ".find cart-1 total > 1000 and #items >= 2",
  run = function(self, rest, words)
    local stream = need(words[1], "the stream", ".find STREAM EXPRESSION")
    local source = need(rest:match("^%S+%s+(.+)$"), "the expression", ".find STREAM EXPRESSION")
    local past = self:past()
    must_exist(self, stream)
    local predicate, problem = evaluate.predicate(source, self.env)
    if not predicate then fail("that is no expression: %s", problem) end
    local field = evaluate.only_field(source, past:at(stream).state)
    local step = past:find(stream, field and function(part) return predicate { [field] = part } end or predicate,
      { path = field and { field } or nil })
    if not step then return self:say("it holds after no event of %s", stream) end
    print_step(self, step)
  end,
}

-- ## What if

local function command_of(self, rest, usage)
  local stream = need(rest:match("^%S+"), "the stream", usage)
  local kind = need(rest:match("^%S+%s+([^%s{(]+)"), "the command", usage)
  local source = rest:match("^%S+%s+[^%s{(]+%s*(.*)$")
  return stream, moonfold.command(kind, value_of(self, source, "the data of the command"))
end

local function print_outcome(self, outcome)
  self:remember(outcome)
  if self.mode ~= "table" then
    local events = moonfold.array()
    for i, event in ipairs(outcome.events) do events[i] = event_record(self, event) end
    return self:show { events = events, state = outcome.state, rejection = outcome.rejection and
      { reason = outcome.rejection.reason, message = outcome.rejection.message } }
  end
  local rejection = outcome.rejection
  if rejection then return self:say("%s", self.out:paint("yellow", self:explain(rejection))) end
  if #outcome.events == 0 then return self:say("nothing would happen") end
  for _, event in ipairs(outcome.events) do
    local data = event.data ~= nil and " " .. show.short(event.data, self:width() - #event.type - 1) or ""
    self:say("%s%s", self.out:paint("cyan", event.type), data)
  end
  print_changes(self, outcome.changes, "  ")
end

add {
  name = "try", usage = ".try STREAM COMMAND [DATA]", takes = { "STREAM", "COMMAND" },
  summary = "what would be decided, and what state would follow",
  text = "Nothing is recorded. DATA is a Lua value.",
  example = '.try cart-1 AddProductItem { product = "tea", qty = 2, price = 350 }',
  run = function(self, rest)
    local stream, command = command_of(self, rest, ".try STREAM COMMAND DATA")
    print_outcome(self, self:past():try(stream, command))
  end,
}

add {
  name = "do", usage = ".do STREAM COMMAND [DATA]", takes = { "STREAM", "COMMAND" },
  summary = "handle a command: for real, or on the branch where there is one",
  example = '.do cart-1 AddProductItem { product = "tea", qty = 2, price = 350 }',
  run = function(self, rest)
    local stream, command = command_of(self, rest, ".do STREAM COMMAND DATA")
    local decider = self:decider(stream)
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

local function write_file(path, content)
  local file <close>, problem = io.open(path, "w")
  if not file then fail("%s", problem) end
  assert(file:write(content))
end

local function save_branch(self, path)
  local branch, streams = self.branch, {}
  for _, act in ipairs(branch.done) do
    if act.command then streams[act.stream] = true end
  end
  local names = values.keys(streams)
  if #names == 0 then fail("no command was handled on this branch: .do STREAM COMMAND") end
  for i, stream in ipairs(names) do
    local target = i == 1 and path or path:gsub("_spec%.lua$", "") .. "_" .. stream:gsub("[^%w]", "_") .. "_spec.lua"
    write_file(target, branch:spec(stream))
    self:say("wrote %s", target)
  end
end

add {
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
    if what == "save" then return save_branch(self, need(words[2], "the file", ".branch save FILE")) end
    if what then fail("%q is nothing that a branch can do: save FILE, or drop", what) end
    local differences = self.branch:compare()
    if #differences == 0 then return self:say("nothing is different from the store") end
    for _, difference in ipairs(differences) do
      self:say("%s  %s", self.out:paint("green", difference.stream_name),
        text.plural(difference.version - difference.real_version, "event") .. " more")
      print_changes(self, difference.changes, "  ")
    end
  end,
}

add {
  name = "fixture", usage = ".fixture STREAM[@VERSION] [FILE]", takes = { "STREAM", "FILE" },
  summary = "a spec from recorded history, with as few events as still show the state",
  example = ".fixture cart-1 cart-1_spec.lua",
  run = function(self, _, words)
    local stream, at = stream_and_moment(words[1], ".fixture STREAM")
    local options = { version = math.type(at) and at or nil, time = type(at) == "table" and at.time or nil }
    local spec = self:past():fixture(stream, options)
    if not words[2] then return self.out:write(spec) end
    write_file(words[2], spec)
    self:say("wrote %s", words[2])
  end,
}

-- ## Which code

--- The event that STREAM@VERSION or a position of the log names.
local function event_of(self, word)
  local position = math.tointeger(word)
  if position then
    for event in self.store:all_events { from = position, to = position } do return event end -- luacheck: ignore
    fail("there is no event %d: the log has %s", position, text.plural(self:last_position(), "event"))
  end
  local stream, version = word:match("^(.+)@(%d+)$")
  if not stream then fail("%q is no event: write STREAM@VERSION, or its position in the log", word) end
  must_exist(self, stream)
  version = math.tointeger(version)
  local event = self.store:read_stream(stream, { from = version, to = version }).events[1]
  if not event then fail("%s has no event %d", stream, version) end
  return event
end

add {
  name = "code", usage = ".code STREAM@VERSION  or  .code POSITION", takes = { "STREAM" },
  summary = "the script that decided an event",
  example = ".code cart-1@3",
  run = function(self, _, words)
    local event = event_of(self, need(words[1], "the event", ".code STREAM@VERSION"))
    local digest = event.code_digest
    if not digest then
      return self:say("%s was not decided by a script: it was appended, or decided by a table of functions",
        event.type)
    end
    local code = self.store:code(digest)
    self:remark("%s@%d %s was decided by %s (%s)", event.stream_name, event.stream_position, event.type,
      code and code.path or "a script", digest)
    if not code then return self:say("its source is not in this store") end
    for _, source in ipairs(code.sources) do
      if #code.sources > 1 then self:remark("-- %s", source.path) end
      self.out:write(source.text, source.text:find("\n$") and "" or "\n")
    end
  end,
}

-- ## The shell

local function on_or_off(word, now, usage)
  if word == nil then return not now end
  if word == "on" or word == "off" then return word == "on" end
  fail("%q is neither on nor off: %s", word, usage)
end

add {
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

add {
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

add {
  name = "once", usage = ".once FILE", takes = { "FILE" },
  summary = "print what comes next into a file",
  run = function(self, rest)
    local path = need(rest, "the file", ".once FILE")
    local file, problem = io.open(path, "w")
    if not file then fail("%s", problem) end
    self.once = file
  end,
}

add {
  name = "timer", usage = ".timer [on|off]", takes = { "on|off" },
  summary = "tell how long everything takes",
  run = function(self, _, words)
    self.timer = on_or_off(words[1], self.timer, ".timer on|off")
    self:say("timer %s", self.timer and "on" or "off")
  end,
}

add {
  name = "echo", usage = ".echo [on|off]", takes = { "on|off" }, hidden = true,
  summary = "in a pipe, print each line that is read, with its prompt",
  run = function(self, _, words) self.echo = on_or_off(words[1], self.echo, ".echo on|off") end,
}

add {
  name = "source", usage = ".source FILE", takes = { "FILE" },
  summary = "read lines from a file as if they were typed",
  run = function(self, rest)
    local path = need(rest, "the file", ".source FILE")
    local file <close>, problem = io.open(path)
    if not file then fail("%s", problem) end
    self.run_lines(function() return file:read("L") end)
  end,
}

add {
  name = "open", usage = ".open [FILE] [read-only]", takes = { "FILE", "read-only" },
  summary = "look at another store; without a name, a scratch store",
  run = function(self, _, words)
    if not words[1] then
      self:scratch()
      return self:say("a scratch store, empty; .save FILE keeps it")
    end
    if words[2] and words[2] ~= "read-only" then fail("%q is nothing that .open knows: read-only", words[2]) end
    self:open(words[1], { read_only = words[2] == "read-only" })
    self:say("%s", self:overview())
  end,
}

add {
  name = "save", usage = ".save FILE", takes = { "FILE" },
  summary = "copy the store to a new file; a scratch store becomes that file",
  run = function(self, rest)
    local path = need(rest, "the file", ".save FILE")
    self.store:backup(path)
    if not self.place.scratch then return self:say("copied to %s", path) end
    self:open(path, {})
    self:say("saved: the store is %s from now on", path)
  end,
}

add {
  name = "quit", usage = ".quit", summary = "leave (Ctrl-D does, too)",
  run = function(self) self.done = true end,
}
add { name = "exit", usage = ".exit", summary = "leave", hidden = true, run = function(self) self.done = true end }

-- ## Help

local function find(name)
  for _, dot in ipairs(dots) do
    if dot.name == name then return dot end
  end
end

local groups <const> = {
  { "look", "streams", "events", "types", "watch" },
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
  self:say("  The store is `store`. `_` is the last result, v(n) the nth. past and branch travel in time:")
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

add {
  name = "help", usage = ".help [COMMAND|WORD]", takes = { "DOT" },
  summary = "what there is; about a command; what has to do with a word",
  run = function(self, _, words)
    local word = words[1]
    if not word then return print_overview(self) end
    local dot = find((word:gsub("^%.", "")))
    if dot then return print_dot(self, dot) end
    local found = search(self, word)
    local page = reference.page(word)
    if page then
      if found > 0 then self:say("") end
      return self.out:write(page)
    end
    if found == 0 then fail("nothing has to do with %q: .help alone tells all that there is", word) end
  end,
}

add {
  name = "tutorial", usage = ".tutorial [off]", takes = { "off" },
  summary = "a tour of ten steps, in a store of its own",
  run = function(self, _, words) require("moonfold.repl.tutorial").run(self, words[1]) end,
}

-- ## Running one

--- The page of the reference about a name.
function dots.page(self, name)
  local dot = name:find("^%.") and find(name:sub(2))
  if dot then return print_dot(self, dot) end
  local page, hint = reference.page(name)
  if not page then fail("%s", hint) end
  self.out:write(page)
end

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
