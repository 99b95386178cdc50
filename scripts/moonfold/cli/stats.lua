-- stats STORE: what is in it, where the space goes, who holds old pages.

local text = require "moonfold.cli.text"

local SHOWN = 5          -- largest and hottest streams
local RECENT = 10000     -- events that tell which streams are hot
local STEP = 1000000     -- events between two looks at Ctrl-C

-- Keeps the `SHOWN` greatest of { name =, events = }.
local function keep_greatest(list, name, events)
  local last = list[#list]
  if #list == SHOWN and events <= last.events then return end
  local at = #list + 1
  while at > 1 and list[at - 1].events < events do at = at - 1 end
  table.insert(list, at, { name = name, events = events })
  list[SHOWN + 1] = nil
end

local function largest(store)
  local list = {}
  for name, version in store:streams() do keep_greatest(list, name, version) end
  return list
end

-- The streams that have most of the log's last events.
local function hottest(call, store, last)
  local counts, names, list = {}, {}, {}
  call.host.busy(store, math.max(1, last - RECENT + 1), last, counts)
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do keep_greatest(list, name, counts[name]) end
  return list
end

local function by_events(a, b)
  if a.events ~= b.events then return a.events > b.events end
  return a.name < b.name
end

local function sorted(census)
  local list = {}
  for name, sums in pairs(census) do list[#list + 1] = { name = name, events = sums.events, bytes = sums.bytes } end
  table.sort(list, by_events)
  return list
end

-- Events by type, and by the digest of the code that decided them.
local function census(call, store, last)
  local types, codes = {}, {}
  for from = 1, last, STEP do
    call.host.census(store, from, math.min(from + STEP - 1, last), types, codes)
  end
  codes[""] = nil
  return sorted(types), sorted(codes)
end

local function collect(call, store)
  local facts, kept = call.host.stats(store), store:kept()
  facts.codes, facts.code_bytes = kept.codes, kept.code_bytes
  facts.snapshots, facts.snapshot_bytes = kept.snapshots, kept.snapshot_bytes
  facts.kept_commands, facts.kept_command_bytes = kept.commands, kept.command_bytes
  local last, first_at, last_at = call.host.span(store)
  facts.event_types, facts.decided_by = census(call, store, last)
  facts.largest_streams = largest(store)
  facts.hottest_streams = hottest(call, store, last)
  facts.first_recorded_at, facts.last_recorded_at = first_at, last_at
  return facts
end

-- ## For machines

local function as_json(call, facts)
  local moonfold = require "moonfold"
  local lists = { "event_types", "decided_by", "snapshots_by_code", "largest_streams", "hottest_streams", "reading" }
  for _, name in ipairs(lists) do
    facts[name] = moonfold.array(facts[name])
  end
  for _, name in ipairs { "created_at", "first_recorded_at", "last_recorded_at" } do
    facts[name] = facts[name] and call.host.time(facts[name])
  end
  call.out:json(facts)
end

-- ## For people: sections of rows; in a pipe each line begins with the name of its section

local function section(out, title, names, rows)
  if #rows == 0 then return end
  local columns = {}
  for i, name in ipairs(names) do columns[i] = { title = name, right = math.type(rows[1][i]) == "integer" } end
  if out.mode == "table" then
    out:line("\n", out:paint("bold", title))
    for _, row in ipairs(rows) do
      for i, value in ipairs(row) do row[i] = math.type(value) and text.number(value) or value end
    end
  else
    table.insert(columns, 1, {})
    for _, row in ipairs(rows) do table.insert(row, 1, title) end
  end
  local list = out:rows(columns)
  for _, row in ipairs(rows) do list:add(row) end
  list:finish()
end

local function streams_of(list)
  local rows = {}
  for i, stream in ipairs(list) do rows[i] = { stream.events, stream.name } end
  return rows
end

local function overview(call, facts)
  local human = call.out.mode == "table"
  local number = human and text.number or tostring
  local bytes = human and text.bytes or tostring
  local rows = {
    { "events", number(facts.events) },
    { "streams", number(facts.streams) },
    { "event types", number(facts.types) },
    { "created", call.host.time(facts.created_at) },
  }
  local function add(name, value) rows[#rows + 1] = { name, value } end
  if facts.first_recorded_at then
    add("first event", call.host.time(facts.first_recorded_at))
    add("last event", call.host.time(facts.last_recorded_at))
  end
  add("file", bytes(facts.file_bytes))
  add("events take", bytes(facts.log_bytes))
  add("indexes take", bytes(facts.index_bytes))
  add("free in the file", bytes(facts.free_bytes))
  if facts.pinned_bytes > 0 then add("of it held by readers", bytes(facts.pinned_bytes)) end
  if facts.codes > 0 then add("code", ("%s, %s"):format(number(facts.codes), bytes(facts.code_bytes))) end
  if facts.snapshots > 0 then
    add("snapshots", ("%s, %s"):format(number(facts.snapshots), bytes(facts.snapshot_bytes)))
  end
  if facts.kept_commands > 0 then
    add("kept commands", ("%s, %s"):format(number(facts.kept_commands), bytes(facts.kept_command_bytes)))
  end
  if facts.link then add("link of the history", facts.link) end
  add("readers now", ("%d of %d"):format(facts.readers, facts.reader_slots))
  return rows
end

local function pinning(facts)
  local rows = {}
  for _, reading in ipairs(facts.reading) do
    if reading.commits_behind > 0 then rows[#rows + 1] = { reading.process, reading.commits_behind } end
  end
  return rows
end

return function(call)
  local store <close> = call:open { read_only = true }
  local facts = collect(call, store)
  local out = call.out
  if out.mode == "json" then return as_json(call, facts) end
  local list = out:rows { {}, { right = out.mode == "table" } }
  for _, row in ipairs(overview(call, facts)) do list:add(row) end
  list:finish()
  local rows = {}
  for i, row in ipairs(facts.event_types) do rows[i] = { row.events, row.bytes, row.name } end
  section(out, "event types", { "events", "bytes", "type" }, rows)
  rows = {}
  for i, row in ipairs(facts.decided_by) do rows[i] = { row.events, row.name } end
  section(out, "decided by code", { "events", "digest" }, rows)
  rows = {}
  for i, row in ipairs(facts.snapshots_by_code) do rows[i] = { row.snapshots, row.bytes, row.digest } end
  section(out, "snapshots by code", { "snapshots", "bytes", "digest" }, rows)
  section(out, "largest streams", { "events", "stream" }, streams_of(facts.largest_streams))
  section(out, "hottest streams", { "events", "stream" }, streams_of(facts.hottest_streams))
  section(out, "readers of old pages", { "process", "commits behind" }, pinning(facts))
end
