--- Specs for deciders, by example: given these events, when this command arrives, expect those events.
--
--     local given = require("moonfold.spec")(cart)
--
--     given { moonfold.event("ProductItemAdded", { product = "tea", qty = 10, price = 3 }) }
--       :when(moonfold.command("ApplyDiscount", { percent = 10 }))
--       :expect { moonfold.event("DiscountApplied", { percent = 10 }) }
--
-- A scenario is played on a store in memory, through the calls that a program makes: how a decision is made is known
-- in one place only, and it is not here. The clock stands at 0 while the given events are recorded and at `at` when the
-- command arrives, so a scenario plays the same every time.
--
-- Scenarios are values: `when`, `at` and `and_stream` make new ones, and many ends may share one beginning. A failed
-- expectation raises text that begins with its file and line; of a call that spans lines, Lua knows only the first.
--
-- What the decider declares is checked on the way: the shapes of given and decided events, and the invariant, after
-- every event.

local moonfold = require "moonfold"
local nearest = require "moonfold.nearest"
local values = require "moonfold.values"

local is_name, literal, sorted_keys, step = values.is_name, values.literal, values.keys, values.step

-- ## Whom to blame

local this_file = debug.getinfo(1, "S").source

--- "file:line" of the spec: the nearest Lua code on the stack that stands in another file.
local function spec_line()
  local level = 2
  local frame = debug.getinfo(level, "Sl")
  while frame and (frame.source == this_file or frame.currentline < 0) do
    level = level + 1
    frame = debug.getinfo(level, "Sl")
  end
  return frame and ("%s:%d"):format(frame.short_src, frame.currentline) or "?"
end

local Misuse = {}

function Misuse:__tostring()
  return ("%s: %s: %s"):format(self.where, self.code, self.message)
end

--- Raises the library's kind of error about a scenario that makes no sense.
local function refuse(path, message)
  local misuse = { code = "invalid_argument", message = message, path = path, where = spec_line() }
  error(setmetatable(misuse, Misuse), 0)
end

--- An error of the library, which knows this file as its caller, as an error about the spec.
local function blame(problem)
  if type(problem) == "table" then problem.where = spec_line() end
  return problem
end

--- Lets the library say what it refuses.
local function check(f)
  local store <close> = moonfold.open(":memory:")
  local accepted, result = pcall(f, store)
  if not accepted then error(blame(result), 0) end
  return result
end

-- ## Events as text

local INDENT = (" "):rep(14)   -- where the texts of a difference begin

local function event_text(event)
  if not event then return "nothing" end
  local text = is_name(event.type) and event.type or values.scalar(event.type)
  if event.data ~= nil then text = text .. " " .. literal(event.data, INDENT) end
  if event.metadata ~= nil then text = text .. " metadata " .. literal(event.metadata, INDENT) end
  return text
end

local function events_text(events)
  local texts = {}
  for i, event in ipairs(events) do texts[i] = event_text(event) end
  return #texts == 0 and "nothing" or table.concat(texts, "\n" .. INDENT)
end

-- ## Differences: a list of { path, expected, actual }, the last two as text

local function add(found, path, expected, actual)
  found[#found + 1] = { path = path, expected = expected, actual = actual }
end

local function compare(found, path, expected, actual)
  local tables = type(expected) == "table" and type(actual) == "table"
  if tables and next(expected) ~= nil and next(actual) ~= nil then
    for _, key in ipairs(sorted_keys(expected, actual)) do
      compare(found, step(path, key), expected[key], actual[key])
    end
    return
  end
  -- Equal text is the exact comparison: it tells 1 from 1.0, an empty list from an empty map, null from nil.
  local wanted, got = literal(expected, INDENT), literal(actual, INDENT)
  if wanted ~= got then add(found, path, wanted, got) end
end

--- Metadata counts only where the expectation names it: the library and the caller add to it.
local function compare_metadata(found, path, expected, actual)
  if type(expected) ~= "table" or type(actual) ~= "table" then
    if expected ~= nil then compare(found, path, expected, actual) end
    return
  end
  for _, key in ipairs(sorted_keys(expected)) do
    compare(found, step(path, key), expected[key], actual[key])
  end
end

local function compare_event(found, path, expected, actual)
  if not expected or not actual or expected.type ~= actual.type then
    add(found, path, event_text(expected), event_text(actual))
    return
  end
  compare(found, path .. ".data", expected.data, actual.data)
  compare_metadata(found, path .. ".metadata", expected.metadata, actual.metadata)
  if expected.message_id then compare(found, path .. ".message_id", expected.message_id, actual.message_id) end
end

local function same_event(expected, actual)
  local found = {}
  compare_event(found, "", expected, actual)
  return #found == 0
end

--- Leaves out what agrees at both ends, so that one missing event is one difference.
local function compare_events(expected, actual)
  local common, head, tail = math.min(#expected, #actual), 0, 0
  while head < common and same_event(expected[head + 1], actual[head + 1]) do head = head + 1 end
  while head + tail < common and same_event(expected[#expected - tail], actual[#actual - tail]) do tail = tail + 1 end
  local found = {}
  for i = head + 1, math.max(#expected, #actual) - tail do
    local wanted, got = i <= #expected - tail and expected[i], i <= #actual - tail and actual[i]
    compare_event(found, ("events[%d]"):format(i), wanted, got)
  end
  return found
end

--- Fails with differences and with notes, each a text.
local function fail(headline, found, notes)
  local lines = { ("%s: %s"):format(spec_line(), headline) }
  for _, difference in ipairs(found) do
    lines[#lines + 1] = "  " .. difference.path
    lines[#lines + 1] = "    expected  " .. difference.expected
    lines[#lines + 1] = "    actual    " .. difference.actual
  end
  for _, note in ipairs(notes) do lines[#lines + 1] = "  note: " .. note end
  error(table.concat(lines, "\n"), 0)
end

-- ## Playing a scenario

local function record(store, past)
  for _, stream in ipairs(past) do store:append_to_stream(stream.name, stream.events) end
end

--- The state in the end. It must be one that could be stored, which can be printed and compared, too.
local function fold(store, stream, decider)
  local state = store:aggregate_stream(stream, decider, { check_invariant = true }).state
  moonfold.hash(state)
  return state
end


--- What became of a scenario: the `state`, and of its command `events`, a `rejection` or an `error`.
local function play(scenario)
  local time, outcome = 0, {}
  local store <close> = moonfold.open(":memory:", { clock = function() return time end })
  record(store, scenario.past)
  time = scenario.time

  local function try(call, ...)
    local done, result, rejection = pcall(call, store, scenario.stream, scenario.decider, ...)
    if done then return result, rejection end
    outcome.error = outcome.error or blame(result)
  end

  try(fold)
  if scenario.command and not outcome.error then
    local result, rejection = try(store.attempt, scenario.command, { check_invariant = true, rolls = scenario.rolls })
    outcome.events, outcome.rejection = result and result.events, rejection
  end
  outcome.state = try(fold)
  return outcome
end

-- ## What may have been overlooked: handlers that change nothing

--- Whether `evolve` says that events of a type change nothing, or has nothing to say about them.
local function says_nothing(evolve, type)
  return evolve[type] == false and "ignored" or evolve[type] == nil and "unknown"
end

local function unknown_note(evolve, event)
  local types = {}
  for type in pairs(evolve) do types[#types + 1] = type end
  table.sort(types)
  local meant = nearest.of(event.type, types)
  return ("event %d, %s, has no handler in evolve%s"):format(event.stream_position, event.type,
    meant and (": did you mean %s?"):format(meant) or "")
end

local function idle_note(event, in_table)
  local note = "%s changed nothing at event %d, %s: is a return missing?"
  if not in_table then return note:format("evolve", event.stream_position, event.type) end
  local handler = "evolve." .. event.type
  return (note .. " If it is to change nothing, say %s = false"):format(handler, event.stream_position, event.type,
    handler)
end

--- A note for every type of event that left the state as it was, though `evolve` does not say that it would.
local function notes_on(scenario)
  local evolve, upcast = scenario.decider.evolve or scenario.decider.event_types, scenario.decider.upcast
  local store <close> = moonfold.open(":memory:", { clock = function() return scenario.time end })
  record(store, scenario.past)
  if scenario.command then
    pcall(store.attempt, store, scenario.stream, scenario.decider, scenario.command, { rolls = scenario.rolls })
  end
  local folded, result = pcall(store.aggregate_stream, store, scenario.stream, scenario.decider, { trace = {} })
  if not folded then return {} end
  local changed, notes, told = {}, {}, {}
  for _, change in ipairs(result.trace) do changed[change.version] = true end
  for event in store:events(scenario.stream, { upcast = upcast }) do
    local silence = type(evolve) == "table" and says_nothing(evolve, event.type)
    if not changed[event.stream_position] and silence ~= "ignored" and not told[event.type] then
      told[event.type] = true
      notes[#notes + 1] = silence and unknown_note(evolve, event) or idle_note(event, type(evolve) == "table")
    end
  end
  return notes
end

--- Played once, however many expectations there are.
local function outcome_of(scenario)
  if scenario.outcome then return scenario.outcome end
  if scenario.strict then
    local notes = notes_on(scenario)
    if #notes > 0 then fail("an event changed nothing", {}, notes) end
  end
  scenario.outcome = play(scenario)
  return scenario.outcome
end

local function decision_of(scenario)
  if not scenario.command then refuse("command", "nothing was decided: say :when(command) before") end
  return outcome_of(scenario)
end

--- An error without its file and line, which are the spec's and would match patterns that mean something else.
local function error_message(problem)
  if type(problem) ~= "table" then return tostring(problem) end
  return ("%s: %s"):format(problem.code, problem.message)
end

--- The decider's own part of a traceback: below it the library runs, and below that this file.
local function decider_traceback(problem)
  local traceback = type(problem) == "table" and problem.traceback
  return traceback and "\n" .. traceback:gsub("\n\t%[C%]: in %?.*", "") or ""
end

local function error_text(problem)
  local text = "error " .. error_message(problem) .. decider_traceback(problem)
  return (text:gsub("\n", "\n" .. INDENT))
end

local function rejection_text(rejection)
  local text = ("rejected %q"):format(rejection.reason)
  return rejection.message and text .. ": " .. rejection.message or text
end

local function outcome_text(outcome)
  if outcome.error then return error_text(outcome.error) end
  if outcome.rejection then return rejection_text(outcome.rejection) end
  return outcome.events and events_text(outcome.events) or "no error"
end

local function fail_outcome(scenario, expected)
  local difference = { path = "outcome", expected = expected, actual = outcome_text(scenario.outcome) }
  fail("the outcome is not what was expected", { difference }, notes_on(scenario))
end

--- The events that the command led to; anything else is not what was expected.
local function decided_events(scenario, expected)
  local outcome = decision_of(scenario)
  if outcome.error or outcome.rejection then fail_outcome(scenario, expected) end
  return outcome.events
end

-- ## Saying what happened before

local Scenario = {}
Scenario.__index = Scenario

--- A scenario that differs from another in one field, and was not played yet.
local function with(scenario, field, value)
  local new = setmetatable({}, Scenario)
  for key, old in pairs(scenario) do new[key] = old end
  new[field], new.outcome = value, nil
  return new
end

--- Events of another stream, for decisions that look there. With its decider it is checked that they can be folded.
function Scenario:and_stream(name, events, decider)
  if name == self.stream then
    refuse("name", ("%q is the stream that decides: its events belong into given { ... }"):format(name))
  end
  local past = table.move(self.past, 1, #self.past, 1, {})
  past[#past + 1] = { name = name, events = events }
  check(function(store)
    record(store, past)
    if decider ~= nil then store:aggregate_stream(name, decider, { check_shapes = true }) end
  end)
  return with(self, "past", past)
end

--- The time at which the command arrives, in microseconds since 1970; 0 when it is not said.
function Scenario:at(time)
  if math.type(time) ~= "integer" then refuse("time", "a time is an integer: microseconds since 1970") end
  return with(self, "time", time)
end

--- What chance gives to the decision: context:random returns this number, or these, one after the other.
function Scenario:rolling(rolls)
  local list = type(rolls) == "table" and rolls or { rolls }
  for i = 1, math.max(1, #list) do
    local kind = type(list[i])
    if kind ~= "number" then refuse(("rolls[%d]"):format(i), "a number is needed, this is " .. kind) end
  end
  return with(self, "rolls", list)
end

--- A command, or a list of them that is handled in order.
function Scenario:when(command)
  if type(command) ~= "table" then refuse("command", "a command is a table such as moonfold.command(type, data)") end
  if self.command then refuse("command", "there is a command already: :when takes a list, too") end
  return with(self, "command", command)
end

-- ## Saying what is expected

--- Expected events as the store would keep them, but with no other message_id than they name.
local function canonical(events)
  local kept = check(function(store)
    store:append_to_stream("expected", events)
    return store:read_stream("expected").events
  end)
  local list = events.type and { events } or events
  for i, event in ipairs(kept) do event.message_id = rawget(list[i], "message_id") or false end
  return kept
end

--- Exactly these events, in this order. Their metadata may hold more than the expectation names.
function Scenario:expect(events)
  local expected = canonical(events)
  local found = compare_events(expected, decided_events(self, events_text(expected)))
  if #found > 0 then fail("the events are not what was expected", found, notes_on(self)) end
  return self
end

function Scenario:expect_nothing()
  if #decided_events(self, "nothing") > 0 then fail_outcome(self, "nothing") end
  return self
end

--- A refusal, for this reason, or without an argument for any.
function Scenario:expect_rejected(...)
  local reason = ...
  if select("#", ...) > 0 and type(reason) ~= "string" then refuse("reason", "a reason is a string") end
  local outcome = decision_of(self)
  local rejection = outcome.rejection
  if not rejection or reason and rejection.reason ~= reason then
    fail_outcome(self, reason and ("rejected %q"):format(reason) or "rejected")
  end
  outcome.acknowledged = true
  return self
end

--- An error, no refusal, whose "code: message" matches a Lua pattern.
function Scenario:expect_error(pattern)
  if type(pattern) ~= "string" then refuse("pattern", "a pattern is a string") end
  local outcome = outcome_of(self)
  if not outcome.error or not error_message(outcome.error):find(pattern) then
    fail_outcome(self, ("an error that matches %q"):format(pattern))
  end
  outcome.acknowledged = true
  return self
end

--- The state in the end, as a whole. A refusal or an error must have been expected before.
function Scenario:expect_state(state)
  check(function() moonfold.hash(state) end)
  local outcome = outcome_of(self)
  if (outcome.rejection or outcome.error) and not outcome.acknowledged then
    fail_outcome(self, "no refusal and no error")
  end
  local found = {}
  compare(found, "state", state, outcome.state)
  if #found > 0 then fail("the state is not what was expected", found, notes_on(self)) end
  return self
end

--- The stream of the decider under test: one of its category, because its events may be dealt with by their stream.
local function stream_of(decider)
  return (decider.category or "scenario") .. "-1"
end

--- What is said to have happened must be what can happen: the given events have the shapes that the decider declares,
--- at least after upcast. Whether they can be folded is for the expectations to tell.
local function check_past(stream, decider, events)
  check(function(store)
    store:append_to_stream(stream, events)
    local fine, problem = pcall(store.aggregate_stream, store, stream, decider, { check_shapes = true })
    if fine or not problem.path then return end
    local event = events.type and "events" or ("events[%d]"):format(problem.position)
    refuse(("%s.%s"):format(event, problem.path), problem.message)
  end)
end

local function check_options(options)
  if options ~= nil and type(options) ~= "table" then
    refuse("options", "a table is needed, this is " .. type(options))
  end
  for name, value in pairs(options or {}) do
    if name ~= "strict" then
      local meant = type(name) == "string" and nearest.of(name, { "strict" })
      refuse("options." .. tostring(name), ("unknown option %q%s"):format(tostring(name),
        meant and (": did you mean %q?"):format(meant) or ": there is strict"))
    end
    if type(value) ~= "boolean" then refuse("options.strict", "true or false is needed, this is " .. type(value)) end
  end
end

--- Makes the `given` for a decider. With the option strict = true, a handler that changes nothing fails its scenario.
return function(decider, options)
  check(function(store) store:aggregate_stream("checked", decider) end)
  if type(options) == "string" then options = nil end   -- scenario_of(require "cart"): require gives a path as well
  check_options(options)
  local strict = options and options.strict or false
  return function(events)
    local stream = stream_of(decider)
    check_past(stream, decider, events)
    local past = { { name = stream, events = events } }
    return setmetatable({ decider = decider, stream = stream, past = past, time = 0, strict = strict }, Scenario)
  end
end
