--- What is wrong with the rules of a store, and what an edit of them would change.
--
--     local check = require "moonfold.check"
--     local report = check.run(store, "rules/cart.lua")                             -- do they fold as they should?
--     local report = check.run(store, "cart.lua", { against = "cart.old.lua" })     -- which states would differ?
--     local report = check.run(store, "cart.lua", { decide = true })                -- which decisions would?
--     for _, finding in ipairs(report.findings) do print(check.describe(finding)) end
--
-- Every stream is folded twice, in states of their own: once under inspection (see `inspect` of aggregate_streams), in
-- the order of the streams, and once as the store does it every day, in two pieces and the other way round. Where the
-- two come to different ends, fresh states tell why. It only reads, and the log once for each batch of streams: all
-- folds of a batch, those by old rules too, take their events from memory.

local moonfold = require "moonfold"
local failures = require "moonfold.failures"
local values = require "moonfold.values"

local check = {}

local refuse = failures.refuse

-- What is looked at together: the log is read once for so many events, which are held in memory.
local BATCH_EVENTS <const>, BATCH_STREAMS <const> = 1 << 16, 1 << 13
-- Streams whose first pieces are folded before the second ones.
local WOVEN <const> = 64
-- Events that a sandbox has folded before what it folds is compared.
local WARMED <const> = 1024
-- Commands from one report of progress to the next.
local COMMANDS <const> = 64
-- How often a divergence is traced to its event with fresh states, which cost a sandbox each.
local TRACED <const> = 20
-- Fresh states that must agree before a divergence is put down to what was folded before.
local FRESH <const> = 4

--- The kinds of findings, and what each means.
check.kinds = {
  { "failing", "evolve, upcast, initial_state or invariant fails, or the state cannot be stored" },
  { "nondeterministic", "the same events lead to different states" },
  { "hidden_state", "a state depends on what was folded before it" },
  { "mutated_event", "evolve writes to its event" },
  { "invariant", "a state breaks the decider's invariant" },
  { "shape", "an event lacks the shape that is declared for its type" },
  { "no_handler", "evolve has no handler for a type of events: not even `false`" },
  { "inexact", "`^` is used, whose last bit differs between processors" },
  { "different", "a stream ends in another state than with the old rules" },
  { "other_events", "a command leads to other events" },
  { "newly_refused", "a command that was accepted is refused" },
  { "newly_accepted", "a command that was refused is accepted" },
  { "other_refusal", "a command is refused for another reason" },
  { "newly_failing", "a command that was decided fails" },
}

-- ## Rules

local function is_folder(path)
  local file <close> = io.open(path)
  return file ~= nil and select(3, file:read(0)) == 21 -- EISDIR
end

local function load_path(path, options)
  if not is_folder(path) then return { moonfold.load_decider(path, options) } end
  local memory <close> = moonfold.open(":memory:")
  return memory:use(path, options).deciders
end

local function as_list(rules, path)
  if type(rules) == "userdata" or type(rules) == "table" and rawget(rules, 1) == nil then return { rules } end
  if type(rules) == "table" then return rules end
  refuse(path, "a path, a decider, a list of deciders or a function that makes them is needed: this is a %s",
    type(rules))
end

--- A function that makes the deciders anew: make(load options) -> list.
local function maker(rules, params, path)
  if type(rules) == "string" then
    return function(options)
      options.params = params
      return load_path(rules, options)
    end
  end
  if type(rules) == "function" then return function() return as_list(rules(), path) end end
  local list = as_list(rules, path)
  return function() return list end
end

--- The index of the decider that owns a stream: the longest category that fits; one without a category, alone, owns
--- all streams.
local function owner(deciders, stream)
  local best, length
  for i, decider in ipairs(deciders) do
    local category = decider.category
    if category then
      local owns = stream:sub(1, #category + 1) == category .. "-"
      if owns and (not best or #category > length) then best, length = i, #category end
    elseif not deciders[2] then
      return i
    end
  end
  return best
end

-- ## Folding

-- What a fold may fail with that is the rules' fault; anything else ends the check.
local of_rules <const> = {
  script_error = true, budget_exceeded = true, invalid_argument = true, rejected = true, unknown_event_type = true,
  unknown_command_type = true, id_conflict = true,
}

local function failure_of(problem)
  if type(problem) ~= "table" then return { message = tostring(problem) } end
  if not of_rules[problem.code] then error(problem, 0) end
  return { code = problem.code, message = problem.message, position = problem.position,
    event_type = problem.event_type or problem.type }
end

local function failed(problem)
  local failure = failure_of(problem)
  return { failure = failure, hash = "failed: " .. failure.message }
end

--- { findings, hash } or { failure, hash } of a result of aggregate_streams.
local function outcome_of(result)
  return result.failure and failed(result.failure) or result
end

--- { state, hash } or { failure, hash }
local function fold(store, stream, decider, options)
  local fine, result = pcall(store.aggregate_stream, store, stream, decider, options)
  local hash
  if fine then
    fine, hash = pcall(moonfold.hash, result.state)
    if fine then return { state = result.state, hash = hash } end
    result = hash
  end
  return failed(result)
end

--- The first version at which two folds differ, when they do so at `version`: found by halving, so that it is the last
--- time they part where they come together again.
local function parting(left, right, version)
  local function differ(at) return left(at).hash ~= right(at).hash end
  if differ(0) then return 0 end
  local same, different = 0, version
  while different - same > 1 do
    local middle = (same + different) // 2
    if differ(middle) then different = middle else same = middle end
  end
  return different
end

-- ## The run

local Run = {}
Run.__index = Run

local options_known <const> = {
  against = true, against_params = true, params = true, decide = true, since = true, stream = true, share = true,
  progress = true, finding = true,
}

function Run:add(finding)
  local report = self.report
  report.counts[finding.kind] = (report.counts[finding.kind] or 0) + 1
  report.sound = false
  if self.on_finding then self.on_finding(finding) else report.findings[#report.findings + 1] = finding end
end

--- The event at a version, for its type.
function Run:event_type(stream, version)
  if version < 1 then return nil end
  local event = self.store:read_stream(stream, { from = version, to = version }).events[1]
  return event and event.type
end

function Run:fresh(i) return self.make { cache = false, snapshots = false }[i] end

local function is_hidden_state(failure)
  return failure and failure.message:find("outside of the functions, was changed", 1, true) ~= nil
end

--- What an inspection has noted of a stream.
function Run:add_noted(stream, noted)
  local list = {}
  for _, finding in pairs(noted) do list[#list + 1] = finding end
  table.sort(list, function(a, b)
    if a.position ~= b.position then return a.position < b.position end
    return a.kind < b.kind
  end)
  for _, finding in ipairs(list) do
    finding.stream_name = stream
    if finding.kind == "mutated_event" then
      finding.changes = values.changes(finding.before, finding.after)
      finding.before, finding.after = nil, nil
    end
    self:add(finding)
  end
end

--- The first version at which a stream's fold fails so.
function Run:first_failing(stream, i, version, is_so)
  local decider = self.first[i]
  return parting(function() return { hash = false } end, function(at)
    return { hash = not not is_so(fold(self.store, stream, decider, { to = at, inspect = true }).failure) }
  end, version)
end

function Run:add_failure(stream, i, version, outcome)
  local failure = outcome.failure
  local position, kind = failure.position, "failing"
  if is_hidden_state(failure) then
    kind = "hidden_state"
    position = self:first_failing(stream, i, version, is_hidden_state)
  elseif not position then -- the state cannot be stored, which is found out in the end
    position = self:first_failing(stream, i, version, function(problem) return problem end)
  end
  self:add { kind = kind, stream_name = stream, position = position, message = failure.message,
    event_type = failure.event_type or position and self:event_type(stream, position) }
end

--- Two folds of the same events have come to different ends: tells why, and where.
function Run:trace(stream, i, version)
  local folds, kind = {}, "hidden_state"
  for k = 1, FRESH do
    local decider = self:fresh(i)
    folds[k] = function(at) return fold(self.store, stream, decider, { to = at }) end
  end
  local first, left, right = folds[1](version), nil, nil
  for k = 2, FRESH do
    if folds[k](version).hash ~= first.hash then
      kind, left, right = "nondeterministic", folds[1], folds[k]
      break
    end
  end
  local used = folds[1]
  if kind == "hidden_state" and used(version).hash ~= first.hash then
    left = function(at) return fold(self.store, stream, self:fresh(i), { to = at }) end
    right = used
  end
  local finding = { kind = kind, stream_name = stream }
  if left then
    finding.position = parting(left, right, version)
    finding.event_type = self:event_type(stream, finding.position)
    local a, b = left(version), right(version)
    if a.state ~= nil and b.state ~= nil then finding.changes = values.changes(a.state, b.state) end
  end
  return finding
end

function Run:add_divergence(stream, i, version)
  self.traced = self.traced + 1
  if self.traced <= TRACED then
    local finding = self:trace(stream, i, version)
    self.last_kind = finding.kind
    self:add(finding)
  else
    self:add { kind = self.last_kind, stream_name = stream }
  end
end

--- The old rules of a stream, where they may fold it otherwise.
function Run:old_decider(stream, i)
  local decider = self.old and self.old[owner(self.old, stream)]
  if decider and type(decider) == "userdata" and decider.fold_digest == self.first[i].fold_digest then return nil end
  return decider
end

--- Compares with the old rules.
function Run:compare(stream, i, version, decider)
  local function old_at(at) return fold(self.store, stream, decider, { to = at }) end
  local function new_at(at) return fold(self.store, stream, self.first[i], { to = at }) end
  local old, new = old_at(version), new_at(version)
  local finding = { kind = "different", stream_name = stream, position = parting(old_at, new_at, version) }
  finding.event_type = self:event_type(stream, finding.position)
  if old.failure or new.failure then
    finding.message = old.failure and "the old rules fail: " .. old.failure.message
      or "the new rules fail: " .. new.failure.message
  else
    finding.changes = values.changes(old.state, new.state)
  end
  self:add(finding)
end

--- The folds of a batch, a list of { name, version, index of the decider }, for aggregate_streams: `first` under
--- inspection, `old` by the old rules, `second` in pieces and the other way round. Each is a map from the place in the
--- batch to the place in the list.
function Run:plan(batch)
  local folds, first, old, second = {}, {}, {}, {}
  local function add(stream, decider, to, inspect)
    folds[#folds + 1] = { stream = stream, decider = decider, to = to, inspect = inspect }
    return #folds
  end
  for k, each in ipairs(batch) do first[k] = add(each[1], self.first[each[3]], each[2], true) end
  for k, each in ipairs(batch) do
    local decider = self:old_decider(each[1], each[3])
    if decider then old[k] = add(each[1], decider, each[2]) end
  end
  if not self.warm then -- so that even of a single stream the second fold is not the first of its state
    self.warm = true
    local stream, version, i = table.unpack(batch[#batch])
    local decider = self.second[i]
    add(stream, decider, type(decider) == "userdata" and math.min(version, WARMED) or version)
  end
  for last = #batch, 1, -WOVEN do
    local lowest = math.max(last - WOVEN + 1, 1)
    -- In a sandbox a state that is kept stays what it is; one that is given by hand is a copy, which a table decider's
    -- need not survive.
    for k = last, lowest, -1 do
      local stream, version, i = table.unpack(batch[k])
      if type(self.second[i]) == "userdata" and version > 1 then add(stream, self.second[i], version // 2) end
    end
    for k = last, lowest, -1 do
      local stream, version, i = table.unpack(batch[k])
      second[k] = add(stream, self.second[i], version)
    end
  end
  return folds, first, old, second
end

--- Looks at some streams.
function Run:fold_batch(batch)
  local folds, first, old, second = self:plan(batch)
  local results = self.store:aggregate_streams(folds, { state = false, hash = true })
  local events = 0
  for k, each in ipairs(batch) do
    local stream, version, i = table.unpack(each)
    local one, other, before = outcome_of(results[first[k]]), outcome_of(results[second[k]]), results[old[k]]
    events = events + version
    if one.failure then
      self:add_failure(stream, i, version, one)
    else
      self:add_noted(stream, one.findings)
      if one.hash ~= other.hash then self:add_divergence(stream, i, version) end
    end
    if before then
      before = outcome_of(before)
      if before.hash ~= one.hash and not (before.failure and one.failure) then
        self:compare(stream, i, version, folds[old[k]].decider)
      end
    end
  end
  self.report.streams = self.report.streams + #batch
  self.report.events = self.report.events + events
  if self.progress then self.progress(events) end
end

--- Whether this run looks at the stream, of several that share the work.
function Run:is_mine(stream)
  local share = self.share
  if not share then return true end
  return tonumber(moonfold.hash(stream):sub(1, 6), 16) % share.count + 1 == share.index
end

function Run:is_recent(stream)
  if not self.since then return true end
  local last = self.store:read_stream(stream, { backwards = true, max_count = 1 }).events[1]
  return last ~= nil and last.recorded_at >= self.since
end

function Run:fold_all()
  local batch, events = {}, 0
  for stream, version in self.store:streams(self.prefix) do
    if self:is_mine(stream) and self:is_recent(stream) then
      local i = owner(self.first, stream)
      if i then
        batch[#batch + 1] = { stream, version, i }
        events = events + version
        if events >= BATCH_EVENTS or #batch == BATCH_STREAMS then
          self:fold_batch(batch)
          batch, events = {}, 0
        end
      else
        self.report.streams_without_rules = self.report.streams_without_rules + 1
      end
    end
  end
  if batch[1] then self:fold_batch(batch) end
end

--- The code itself; the first of those that share the work looks at it.
function Run:inspect_code()
  if self.share and self.share.index > 1 then return end
  for _, decider in ipairs(self.first) do
    for _, place in ipairs(type(decider) == "userdata" and decider.inexact or {}) do
      self:add { kind = "inexact", path = place.path, line = place.line }
    end
  end
end

-- ## Decisions

local function plain_events(events)
  local list = moonfold.array()
  for i, event in ipairs(events) do
    list[i] = { type = event.type, data = event.data, metadata = event.metadata }
  end
  return list
end

--- What a decider decides on a command that was kept: { outcome =, events =, reason =, message = }; nil when it cannot
--- be decided again.
function Run:decide(decider, kept)
  local command = { type = kept.type, data = kept.data, metadata = kept.metadata, command_id = kept.command_id,
    time = kept.time }
  local fine, result = pcall(self.store.decide, self.store, kept.stream_name, decider, command,
    { as_of = kept.global_position, state = false, expected_stream_version = kept.stream_version })
  if fine then return { outcome = "accepted", events = plain_events(result.events) } end
  if type(result) == "table" and result.code == "version_conflict" then return nil end
  if type(result) == "table" and result.code == "rejected" then
    return { outcome = "rejected", reason = result.reason, message = result.message, detail = result.detail }
  end
  return { outcome = "failed", message = failure_of(result).message }
end

--- What was decided then.
function Run:decided(kept)
  if kept.outcome == "rejected" then
    return { outcome = "rejected", reason = kept.reason, message = kept.message, detail = kept.detail }
  end
  local from = kept.stream_version + 1
  local events = kept.events == 0 and {}
    or self.store:read_stream(kept.stream_name, { from = from, to = from + kept.events - 1 }).events
  return { outcome = "accepted", events = plain_events(events) }
end

--- Of a list of commands that was refused, those before the refused one have left nothing to decide it on.
function Run:was_left_behind(kept)
  if kept.outcome ~= "rejected" or kept.stream_version == 0 then return false end
  local last = self.store:read_stream(kept.stream_name, { from = kept.stream_version, to = kept.stream_version })
  local event = last.events[1]
  return not event or event.global_position > kept.global_position or event.recorded_at > kept.recorded_at
end

local function difference(old, new)
  if new.outcome == "failed" then return old.outcome ~= "failed" and "newly_failing" or nil end
  if new.outcome == "rejected" then
    if old.outcome == "accepted" then return "newly_refused" end
    return (old.outcome == "failed" or old.reason ~= new.reason) and "other_refusal" or nil
  end
  if old.outcome ~= "accepted" then return "newly_accepted" end
  return not values.equal(old.events, new.events) and "other_events" or nil
end

function Run:decide_again(kept, decider, old_decider)
  local old, new = nil, not self:was_left_behind(kept) and self:decide(decider, kept) or nil
  if new and self.old then
    old = old_decider and self:decide(old_decider, kept)
  elseif new then
    old = self:decided(kept)
  end
  local report = self.report
  if not old then
    report.commands_left_out = report.commands_left_out + 1
    return
  end
  report.commands = report.commands + 1
  local kind = difference(old, new)
  if not kind then
    report.same_decisions = report.same_decisions + 1
    return
  end
  self:add {
    kind = kind, stream_name = kept.stream_name, position = kept.stream_version, command_type = kept.type,
    command_id = kept.command_id, time = kept.time, recorded_at = kept.recorded_at, code_digest = kept.code_digest,
    data = kept.data, old = old, new = new,
    changes = old.events and new.events and values.changes(old.events, new.events) or nil,
  }
end

function Run:decide_all()
  local deciders = self.make { snapshots = false }
  local old = self.old and self.make_old { snapshots = false }
  local done = 0
  for kept in self.store:commands { since = self.since, prefix = self.prefix } do
    local i = self:is_mine(kept.stream_name) and owner(deciders, kept.stream_name)
    if i and (type(deciders[i]) == "userdata" or deciders[i].decide) then
      self:decide_again(kept, deciders[i], old and old[owner(old, kept.stream_name)])
      done = done + 1
      if self.progress and done % COMMANDS == 0 then self.progress(COMMANDS) end
    end
  end
end

-- ## The interface

local function check_since(since)
  if since ~= nil and math.type(since) ~= "integer" then
    refuse("options.since", "microseconds since 1970 are needed, an integer: this is %s", values.literal(since))
  end
  return since
end

local function check_share(share)
  if share == nil then return nil end
  local index, count = type(share) == "table" and share.index, type(share) == "table" and share.count
  if math.type(index) ~= "integer" or math.type(count) ~= "integer" or index < 1 or index > count then
    refuse("options.share", "{ index = 1, count = 2 } is needed, for the first of two halves")
  end
  return share
end

check.run = failures.blaming(function(store, rules, options)
  if type(store) ~= "userdata" then refuse("store", "a store is needed, this is a %s", type(store)) end
  options = failures.check_options(options, "options", options_known)
  local run = setmetatable({
    store = store, traced = 0,
    make = maker(rules, options.params, "rules"),
    since = check_since(options.since), prefix = options.stream or "", share = check_share(options.share),
    progress = options.progress, on_finding = options.finding,
    report = {
      sound = true, streams = 0, events = 0, streams_without_rules = 0, commands = 0, same_decisions = 0,
      commands_left_out = 0, counts = {}, findings = {},
    },
  }, Run)
  run.first = run.make { cache = false, snapshots = false }
  run.second = run.make { snapshots = false }
  if options.against ~= nil then
    run.make_old = maker(options.against, options.against_params, "options.against")
    run.old = run.make_old { cache = false, snapshots = false }
  end
  run:inspect_code()
  run:fold_all()
  if options.decide then run:decide_all() end
  return run.report
end)

-- ## In words

local SHOWN <const> = 8      -- changes
local WIDTH <const> = 60     -- of a value

local function short(value)
  if value == nil then return "nothing" end
  local text = values.literal(value, "", math.maxinteger)
  if #text <= WIDTH then return text end
  local cut = utf8.offset(text, -1, WIDTH - 2) or WIDTH - 2
  return text:sub(1, cut - 1) .. "..."
end

local function shown_changes(changes)
  local parts = {}
  for i = 1, math.min(#changes, SHOWN) do
    local change = changes[i]
    local path = change.path == "" and "" or change.path .. ": "
    parts[i] = ("%s%s -> %s"):format(path, short(change.before), short(change.after))
  end
  if #changes > SHOWN then parts[#parts + 1] = ("and %d more"):format(#changes - SHOWN) end
  return table.concat(parts, "; ")
end

local function decision(outcome)
  if outcome.outcome == "rejected" then
    local said = outcome.message and outcome.message ~= outcome.reason
    return said and ("%s (%s)"):format(outcome.reason, outcome.message) or outcome.reason
  end
  if outcome.outcome == "failed" then return outcome.message end
  local types = {}
  for i, event in ipairs(outcome.events) do types[i] = event.type end
  return types[1] and table.concat(types, ", ") or "no events"
end

--- Where a finding was made: "event 3 (ItemAdded)".
function check.place(finding)
  if finding.line then return ("%s:%d"):format(finding.path, finding.line) end
  if finding.command_type then return ("%s at version %d"):format(finding.command_type, finding.position) end
  if not finding.position then return "" end
  if finding.position == 0 then return "the beginning" end
  return ("event %d%s"):format(finding.position, finding.event_type and " (" .. finding.event_type .. ")" or "")
end

--- What a finding says, in one line.
function check.text(finding)
  local parts = {}
  if finding.kind == "shape" then
    parts[1] = ("%s: %s"):format(finding.path, finding.message)
  elseif finding.kind == "inexact" then
    parts[1] = "^ differs in the last bit between processors; multiply where that will do"
  elseif finding.kind == "no_handler" then
    parts[1] = ("evolve has no handler; write %s = false if it changes nothing"):format(finding.event_type)
  elseif finding.message then
    parts[1] = finding.message
  elseif finding.new and not finding.changes then
    parts[1] = ("%s -> %s"):format(decision(finding.old), decision(finding.new))
  end
  if finding.changes then parts[#parts + 1] = shown_changes(finding.changes) end
  if finding.count and finding.count > 1 then parts[#parts + 1] = ("%d times in this stream"):format(finding.count) end
  return (table.concat(parts, "; "):gsub("%c+", " "))
end

--- A finding as a line of text.
function check.describe(finding)
  local place, text = check.place(finding), check.text(finding)
  local where = finding.stream_name and (place == "" and finding.stream_name or finding.stream_name .. ", " .. place)
    or place
  return ("%s: %s%s"):format(finding.kind, where, text == "" and "" or ": " .. text)
end

return check
