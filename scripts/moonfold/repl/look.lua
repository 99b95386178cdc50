-- Dot commands that look around: streams, events, types, which code decided. See dots.lua.

local decided = require "moonfold.decided"
local glob = require "moonfold.glob"
local session = require "moonfold.repl.session"
local show = require "moonfold.repl.show"
local text = require "moonfold.cli.text"
local typed = require "moonfold.repl.typed"
local views = require "moonfold.repl.views"

local fail = session.fail
local dots = {}

local BARS <const> = 16

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

--- How wide the first names are that will be listed.
local function widest_name(store, wanted, prefix)
  local FIRST <const> = 200
  local widest, looked = #"stream", 0
  for name in store:streams(prefix) do
    looked = looked + 1
    if wanted(name) then widest = math.max(widest, text.width(name)) end
    if looked == FIRST then break end
  end
  return widest
end

--- On a terminal that is too narrow the picture goes first, then the time of the first event.
local function columns_that_fit(self, wanted, prefix)
  local COUNT <const>, TIME <const> = 9, 21
  local columns = table.move(stream_columns, 1, #stream_columns, 1, {})
  if self.mode ~= "table" then return columns end
  local room = self:width() - widest_name(self.store, wanted, prefix) - COUNT
  if room < 2 * TIME + BARS + 1 then table.remove(columns) end
  if room < 2 * TIME then table.remove(columns, 3) end
  if room < TIME then table.remove(columns) end
  return columns
end

dots[#dots + 1] = {
  name = "streams", usage = ".streams [GLOB]", takes = { "STREAM" },
  summary = "the streams: how many events, when, and a picture of their activity",
  text = "GLOB may have * and ?; without them it is what the names begin with.",
  example = ".streams cart-*",
  run = function(self, _, words)
    local store, count = self.store, 0
    local wanted, prefix = glob(words[1])
    local _, first, last = self.host.span(store)
    local list = self:list(columns_that_fit(self, wanted, prefix))
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


dots[#dots + 1] = {
  name = "events", usage = ".events [STREAM] [FROM..TO]", takes = { "STREAM" },
  summary = "the events of a stream, or of all",
  example = ".events cart-1 3..7",
  run = function(self, _, words)
    local stream = words[1]
    if stream and stream:find("^%d*%.%.%d*$") then
      table.insert(words, 1, false)
      stream = nil
    end
    local from, to = typed.range(words[2])
    if stream then typed.must_exist(self, stream) end
    local list = self:list(stream and event_columns or log_columns)
    local function print_from(store)
      local events, object, _, closing <close> = (stream and store.events or store.all_events)(store,
        stream or { from = from, to = to }, stream and { from = from, to = to } or nil)
      for event in events, object, nil, closing do list:add(views.event_record(self, event)) end
    end
    if self.branch then
      -- Inside a branch an iterator would end with the dry run: the events are few enough, or a range was asked for.
      local events = self.branch:run(function(store)
        if stream then return store:read_stream(stream, { from = from, to = to }).events end
        local all = {}
        for event in store:all_events { from = from, to = to } do all[#all + 1] = event end
        return all
      end)
      for _, event in ipairs(events) do list:add(views.event_record(self, event)) end
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

dots[#dots + 1] = {
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

-- ## Which code

local function event_of(self, word)
  local event, number, stream = decided.event(self.store, word)
  if event then return event end
  if not number then fail("%q is no event: write STREAM@VERSION, or its position in the log", word) end
  if not stream then
    fail("there is no event %d: the log has %s", number, text.plural(self:last_position(), "event"))
  end
  typed.must_exist(self, stream)
  fail("%s has no event %d", stream, number)
end

dots[#dots + 1] = {
  name = "code", usage = ".code STREAM@VERSION  or  .code POSITION", takes = { "STREAM" },
  summary = "the script that decided an event",
  example = ".code cart-1@3",
  run = function(self, _, words)
    local event = event_of(self, typed.need(words[1], "the event", ".code STREAM@VERSION"))
    local digest = event.code_digest
    if not digest then
      return self:say("%s was not decided by a script: it was appended, or decided by a table of functions",
        self.host.printable(event.type))
    end
    local code = self.store:code(digest)
    self:remark("%s@%d %s was decided by %s (%s)", self.host.printable(event.stream_name),
      event.stream_position, self.host.printable(event.type),
      code and code.path or "a script", digest)
    if not code then return self:say("its source is not in this store") end
    if code.params ~= nil then self:remark("-- its parameters: %s", self.host.json(code.params)) end
    decided.write_sources(code, function(...) self.out:write(...) end, function(path) self:remark("-- %s", path) end)
  end,
}

return dots
