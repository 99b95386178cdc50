--- Specs from recorded history: the text of a given/when/expect spec, with as few given events as still show the state.

local moonfold = require "moonfold"
local failures = require "moonfold.failures"
local scenario_of = require "moonfold.spec"
local values = require "moonfold.values"

local fixture = {}

-- ## The fewest events that fold into the same state

--- Folds are counted, so that a long history is made smaller for a while and then left as it is.
local MOST_FOLDED <const> = 1000000

local function without(events, first, last)
  local rest = table.move(events, 1, first - 1, 1, {})
  return table.move(events, last + 1, #events, first, rest)
end

--- Leaves out runs of events: halves, quarters, ... and at last single ones. `try(fewer)` gives `fewer` when they still
--- show what they should, and raises an error when enough was tried.
local function without_runs(events, try)
  local size = #events
  while size >= 1 do
    local at, less = 1, false
    while at <= #events do
      local fewer = try(without(events, at, math.min(at + size - 1, #events)))
      if fewer then events, less = fewer, true else at = at + size end
    end
    size = (size > 1 and size // 2) or (less and 1 or 0)
  end
  return events
end

--- Leaves out two events that undo each other, and the same again.
local function without_pairs(events, try)
  for first = 1, #events - 1 do
    for second = first + 1, #events do
      local fewer = try(without(without(events, second, second), first, first))
      if fewer then return without_pairs(fewer, try) end
    end
  end
  return events
end

--- The fewest events for which same(events) is true, as far as they are found before so many events were folded.
local function smallest(events, same)
  local folded, enough = 0, {}
  local function try(fewer)
    folded = folded + #fewer + 1
    if folded > MOST_FOLDED then error(enough, 0) end
    if not same(fewer) then return nil end
    events = fewer
    return fewer
  end
  local done, problem = pcall(function() without_pairs(without_runs(events, try), try) end)
  if not done and problem ~= enough then error(problem, 0) end
  return events
end

--- Only what the caller of an append would give: positions and times are the store's.
local function plain(event, metadata) return { type = event.type, data = event.data, metadata = metadata } end

--- A function that tells whether events fold into a state.
local function folds_into(scratch, stream, decider, state)
  local wanted = moonfold.hash(state)
  return function(events)
    local folded, hash = pcall(scratch.transaction, scratch, function(store)
      store:append_to_stream(stream, events)
      return moonfold.hash(store:aggregate_stream(stream, decider).state)
    end, { dry_run = true })
    return folded and hash == wanted
  end
end

local function cannot(stream, why, ...)
  failures.raise("invalid_argument", { stream = stream }, "no spec shows the stream %q: " .. why, stream, ...)
end

--- Events of a stream up to a version that fold into the state there, in a stream of the decider's own: as few as can
--- be found; and that state.
local function given_events(store, stream, decider, version)
  local scratch <close> = moonfold.open(":memory:", { clock = function() return 0 end })
  local result = store:aggregate_stream(stream, decider, { to = version, trace = {} })
  local same = folds_into(scratch, fixture.stream_of(decider), decider, result.state)
  local all, changing, bare = {}, {}, {}
  for _, event in ipairs(store:read_stream(stream, { to = version }).events) do
    all[#all + 1] = plain(event, event.metadata)
  end
  for i, change in ipairs(result.trace) do
    changing[i] = all[change.version]
    bare[i] = plain(changing[i])
  end
  for _, events in ipairs { bare, changing, all } do
    if same(events) then return smallest(events, same), result.state end
  end
  cannot(stream, "its events do not fold into the same state elsewhere, so evolve looks at more than their data")
end

--- The stream that scenarios of a decider are played on.
function fixture.stream_of(decider) return (decider.category or "scenario") .. "-1" end

-- ## Text

local INDENT <const> = "      "

--- The call that makes an event or a command.
local function made_by(maker, message, indent)
  local parts = { values.scalar(message.type) }
  if message.data ~= nil or message.metadata ~= nil then parts[2] = values.literal(message.data, indent) end
  if message.metadata ~= nil then parts[3] = values.literal(message.metadata, indent) end
  return ("%s(%s)"):format(maker, table.concat(parts, ", "))
end

local function events_text(events, indent)
  if #events == 0 then return "{}" end
  local inner, lines = indent .. "  ", { "{" }
  for _, event in ipairs(events) do lines[#lines + 1] = inner .. made_by("event", event, inner) .. "," end
  return table.concat(lines, "\n") .. "\n" .. indent .. "}"
end

--- A value as the argument of a call: a table needs no parentheses.
local function argument(value)
  local text = values.literal(value, INDENT)
  return text:find("^{") and " " .. text or ("(%s)"):format(text)
end

--- One `it` of a spec. `scene`: given, others, time, command, events, rejection, state.
local function scene_text(scene)
  local lines = {
    ("  it(%s, function()"):format(values.scalar(scene.title)),
    "    given " .. events_text(scene.given, "    "),
  }
  local function say(format, ...) lines[#lines + 1] = "      " .. format:format(...) end
  for _, other in ipairs(scene.others or {}) do
    say(":and_stream(%s, %s)", values.scalar(other.name), events_text(other.events, INDENT))
  end
  if scene.time then say(":at(%d)", scene.time) end
  if scene.command then say(":when(%s)", made_by("command", scene.command, INDENT)) end
  if scene.rejection then
    say(":expect_rejected(%s)", values.scalar(scene.rejection.reason))
  elseif scene.command then
    say("%s", #scene.events == 0 and ":expect_nothing()" or ":expect " .. events_text(scene.events, INDENT))
  end
  say(":expect_state%s", argument(scene.state))
  lines[#lines + 1] = "  end)"
  return table.concat(lines, "\n")
end

local function base_name(path) return path:match("([^/]+)$") end

--- The file that a spec loads its decider from, beside it.
local function script_of(decider, options)
  if options.script then return options.script end
  local path = type(decider) == "userdata" and decider.path or type(decider) == "table" and rawget(decider, "path")
  if type(path) == "string" then return base_name(path) end
  return (decider.name or decider.category or "decider") .. ".lua"
end

--- A Lua name for the decider in the text.
local function local_name(decider)
  local name = decider.name or decider.category or "decider"
  return values.is_name(name) and name or "decider"
end

local function file_text(decider, title, comment, scenes, options)
  local name = local_name(decider)
  local commands = false
  for _, scene in ipairs(scenes) do commands = commands or scene.command ~= nil end
  local lines = {
    "--- " .. comment,
    "",
    'local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"',
    "",
    'local moonfold = require "moonfold"',
    ("local %s = dofile(folder .. %s)"):format(name, values.scalar(script_of(decider, options))),
    ('local given = require("moonfold.spec")(%s)'):format(name),
    "",
    commands and "local event, command = moonfold.event, moonfold.command" or "local event = moonfold.event",
    "",
    ("describe(%s, function()"):format(values.scalar(title)),
  }
  for i, scene in ipairs(scenes) do
    if i > 1 then lines[#lines + 1] = "" end
    lines[#lines + 1] = scene_text(scene)
  end
  lines[#lines + 1] = "end)\n"
  return table.concat(lines, "\n")
end

-- ## What a spec is made of

--- Plays a scene as the spec will: raises when it does not pass.
local function play(decider, scene)
  local scenario = scenario_of(decider)(scene.given)
  for _, other in ipairs(scene.others or {}) do scenario = scenario:and_stream(other.name, other.events) end
  if scene.time then scenario = scenario:at(scene.time) end
  if scene.command then scenario = scenario:when(scene.command) end
  if scene.rejection then
    scenario:expect_rejected(scene.rejection.reason)
  elseif scene.command and #scene.events == 0 then
    scenario:expect_nothing()
  elseif scene.command then
    scenario:expect(scene.events)
  end
  scenario:expect_state(scene.state)
end

fixture.keys = { version = true, time = true, script = true }

--- The text of a spec that shows the state of a stream at a version.
function fixture.of_stream(store, stream, decider, version, options)
  local given, state = given_events(store, stream, decider, version)
  local scene = { title = ("stands like this at version %d"):format(version), given = given, state = state }
  play(decider, scene)
  local comment = ("Recorded: the stream %s at version %d. %d of its events show%s its state.")
    :format(stream, version, #given, #given == 1 and "s" or "")
  return file_text(decider, stream, comment, { scene }, options)
end

--- A scene for a command that was decided on a stream at a version of a store. `others`: the streams that it looked at.
function fixture.scene(store, stream, decider, version, command, outcome, others)
  local scene = {
    title = ("%s at version %d%s"):format(command.type, version, outcome.rejection and " is refused" or ""),
    given = given_events(store, stream, decider, version),
    others = others,
    command = { type = command.type, data = command.data, metadata = command.metadata },
    rejection = outcome.rejection,
    state = outcome.state,
    events = {},
  }
  for i, event in ipairs(outcome.events or {}) do scene.events[i] = plain(event) end
  if not pcall(play, decider, scene) then
    scene.time = command.time
    local passed, problem = pcall(play, decider, scene)
    if not passed then
      cannot(stream, "the decision depends on its name, on chance, or on streams that are not known\n%s", problem)
    end
  end
  return scene
end

fixture.text = file_text

return fixture
