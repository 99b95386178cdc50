--- Travel in time: how a state came to be, and what would happen if.
--
--     local history = require "moonfold.history"
--     local past = history.of(store, cart)
--
--     past:at("cart-1", 3).state                           -- the state at version 3
--     past:why("cart-1", "items[2].qty")                   -- the events that made that what it is
--     past:find("cart-1", function(cart) return cart.total > 100 end)
--
--     local branch = past:branch()                         -- a what-if on top of the real store
--     branch:handle("cart-1", moonfold.command("ConfirmCart"))
--     print(branch:spec("cart-1"))                         -- as a spec that passes
--
-- It is made of the calls that every program has. Nothing here holds a transaction between calls: a branch is a list of
-- what was done in it, done again on a snapshot whenever it is looked at.

local fixture = require "moonfold.fixture"
local failures = require "moonfold.failures"
local nearest = require "moonfold.nearest"
local values = require "moonfold.values"

local blaming, check_options, fail, refuse = failures.blaming, failures.check_options, failures.raise, failures.refuse

local history = {}

-- ## Arguments

local function check_version(version, path)
  if math.type(version) ~= "integer" or version < 0 then
    refuse(path, "a version is needed, an integer from 0 on: this is %s", values.literal(version))
  end
  return version
end

--- The keys of a path, which may be given as such a list, too.
local function check_path(path)
  if type(path) == "table" then return path end
  if type(path) ~= "string" then refuse("path", "one such as \"items[2].qty\" is needed, this is a %s", type(path)) end
  local keys, wrong = values.parse_path(path)
  if keys then return keys end
  refuse("path", "%q is no path, from %q on: write it as in %q", path, path:sub(wrong), 'items[2].qty')
end

-- ## Time

--- Days from 1970-01-01 to a date of the Gregorian calendar.
local function days_until(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
end

--- Microseconds since 1970 of "2026-11-25", "2026-11-25 18:30" or "2026-11-25T18:30:05.25Z", all of them UTC; nil when
--- the text is none of these.
local function microseconds(text)
  local year, month, day, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  if not year or month < "01" or month > "12" or day < "01" or day > "31" then return nil end
  local hour, minute, seconds = rest:match("^[T ](%d%d):(%d%d)(.*)$")
  seconds = rest == "" and "" or seconds
  if not seconds then return nil end
  seconds = seconds:gsub("Z$", "")
  local second, fraction = seconds:match("^:(%d%d)(.*)$")
  local digits = (fraction or ""):match("^%.(%d+)$")
  if seconds ~= "" and not (second and (fraction == "" or digits)) then return nil end
  local days = days_until(math.tointeger(year), math.tointeger(month), math.tointeger(day))
  local time = days * 86400 + (hour or 0) * 3600 + (minute or 0) * 60 + (second or 0)
  return math.tointeger(time) * 1000000 + math.tointeger(((digits or "") .. "000000"):sub(1, 6))
end

local function check_time(time, path)
  local parsed = type(time) == "string" and microseconds(time) or time
  if math.type(parsed) ~= "integer" then
    refuse(path, "a time is needed, microseconds since 1970 or text such as %q: this is %s", "2026-11-25 18:30",
      values.literal(time))
  end
  return parsed
end

-- ## Streams and their rules

--- Whether a value is one decider, and no list of them.
local function is_decider(value)
  return type(value) == "userdata" or type(value) == "table" and rawget(value, 1) == nil
end

local function owner(deciders, stream)
  local best
  for _, decider in ipairs(deciders) do
    local category = decider.category
    local owns = category and stream:sub(1, #category + 1) == category .. "-"
    if owns and (not best or #category > #best.category) then best = decider end
  end
  return best
end

local function no_rules(deciders, stream)
  local categories = {}
  for _, decider in ipairs(deciders) do categories[#categories + 1] = decider.category end
  table.sort(categories)
  local known = #categories > 0 and "they own " .. table.concat(categories, "-*, ") .. "-*" or "there are none"
  fail("not_found", { stream = stream }, "no decider owns the stream %q: %s", stream, known)
end

--- Names that may be meant by the name of a stream that does not exist: the nearest of its category, or of all; and a
--- few that there are.
local function similar_streams(store, stream)
  local MOST <const>, FEW <const> = 20000, 3
  local function search(prefix)
    local names = {}
    for name in store:streams(prefix) do
      names[#names + 1] = name
      if #names == MOST then break end
    end
    return nearest.of(stream, names), names
  end
  local category = stream:match("^[^-]*%-")
  local near, names
  if category then near, names = search(category) end
  if not near and (not names or #names == 0) then near, names = search("") end
  local few = {}
  for i = 1, math.min(#names, FEW) do few[i] = ("%q"):format(names[i]) end
  if #names > FEW then few[#few + 1] = "..." end
  return near, few
end

local function no_stream(store, stream)
  local near, few = similar_streams(store, stream)
  local hint = ", the store is empty"
  if near then
    hint = (": did you mean %q?"):format(near)
  elseif #few > 0 then
    hint = (": there %s %s"):format(#few == 1 and "is" or "are", table.concat(few, ", "))
  end
  fail("not_found", { stream = stream, nearest = near }, "there is no stream %q%s", stream, hint)
end

-- ## The history of a store

local History = {}
History.__index = History

local new_branch = require("moonfold.branch")(History)

--- The rules of a stream.
function History:decider(stream)
  local deciders = self.deciders
  if type(deciders) == "function" then return deciders(stream) or no_rules({}, stream) end
  local domain = type(deciders) == "userdata" and deciders.decider_of
  if domain then return domain(deciders, stream) or no_rules(deciders.deciders, stream) end
  if is_decider(deciders) then return deciders end
  return owner(deciders, stream) or no_rules(deciders, stream)
end

--- Calls f with the store to read from. A branch has one of its own.
function History:run(f) return f(self.store) end

local function existing(store, stream)
  local version = store:stream_version(stream)
  if version == 0 then no_stream(store, stream) end
  return version
end

--- The upcasters to read events with. A loaded decider keeps its own to itself.
local function upcast_of(decider)
  local upcast = decider.upcast
  return type(upcast) == "table" and upcast or nil
end

local function event_at(store, stream, decider, version)
  if version == 0 then return nil end
  return store:read_stream(stream, { from = version, to = version, upcast = upcast_of(decider) }).events[1]
end

--- The last version that was recorded no later than a time. Times are taken to rise with the versions, as clocks do.
local function version_at(store, stream, time, version)
  local low, high = 0, version
  while low < high do
    local middle = (low + high + 1) // 2
    local event = store:read_stream(stream, { from = middle, to = middle }).events[1]
    if event.recorded_at <= time then low = middle else high = middle - 1 end
  end
  return low
end

--- The version that a moment means: a version, { version = } or { time = }, or nothing for now.
local function moment_version(store, stream, moment, current)
  if moment == nil then return current end
  if type(moment) ~= "table" then moment = { version = moment } end
  if moment.time ~= nil then return version_at(store, stream, check_time(moment.time, "time"), current) end
  local version = check_version(moment.version or current, "version")
  if version <= current then return version end
  refuse("version", "the stream %q has %d event%s, there is no version %d yet", stream, current,
    current == 1 and "" or "s", version)
end

-- ## A fold that can be asked for any version

local Fold = {}
Fold.__index = Fold

local MOST_KEPT <const> = 32

local function fold_of(store, stream, decider)
  return setmetatable({ store = store, stream = stream, decider = decider, kept = {}, versions = {} }, Fold)
end

--- The state at a version, from that at an earlier one; nothing of it is shared.
local function advance(fold, from, state, to)
  local options = { from = from + 1, to = to, initial_state = state }
  return fold.store:aggregate_stream(fold.stream, fold.decider, options).state
end

--- Keeps a state, and forgets every other one when there are too many.
local function keep(fold, version, state)
  if fold.kept[version] ~= nil then return end
  local versions = fold.versions
  local at = #versions + 1
  while at > 1 and versions[at - 1] > version do at = at - 1 end
  table.insert(versions, at, version)
  fold.kept[version] = state
  if #versions <= MOST_KEPT then return end
  for i = #versions - 1, 2, -2 do fold.kept[table.remove(versions, i)] = nil end
end

--- The latest version no later than this one whose state is kept, and that state.
local function kept_before(fold, version)
  local versions = fold.versions
  for i = #versions, 1, -1 do
    if versions[i] <= version then return versions[i], fold.kept[versions[i]] end
  end
  return 0, nil
end

--- The state at a version, to be left as it is. On a long way states are kept, so that going back is short.
local function private_state(fold, version)
  if fold.last_version == version then return fold.last_state end
  local from, state = kept_before(fold, version)
  local last = fold.last_version
  if last and last < version and last > from then from, state = last, fold.last_state end
  local stride = math.max(64, (version - from) // MOST_KEPT + 1)
  repeat
    local to = math.min(from + stride, version)
    state = advance(fold, from, state, to)
    if to % stride == 0 or to - from == stride then keep(fold, to, state) end
    from = to
  until from == version
  fold.last_version, fold.last_state = version, state
  return state
end

--- A copy of the state at a version, for the caller.
function Fold:state(version) return advance(self, version, private_state(self, version), version) end

--- What became of the stream at a version: { version, event, state, changes }.
local function step_at(fold, version)
  local before = version > 0 and private_state(fold, version - 1)
  local after = private_state(fold, version)
  return {
    stream_name = fold.stream,
    version = version,
    event = event_at(fold.store, fold.stream, fold.decider, version),
    state = fold:state(version),
    changes = version > 0 and values.changes(before, after) or {},
  }
end

-- ## at, diff

--- The state at a version or a time, the event that led to it, and what that changed.
function History:at(stream, moment)
  return self:run(function(store)
    local version = moment_version(store, stream, moment, existing(store, stream))
    return step_at(fold_of(store, stream, self:decider(stream)), version)
  end)
end

local place_keys <const> = { stream = true, version = true, time = true, decider = true }

--- A place is a stream's name, or { stream =, version =, time =, decider = }. Stream and decider are those of the other
--- place when this one does not name them.
local function check_place(place, path, other)
  if type(place) == "string" then place = { stream = place } end
  place = check_options(place, path, place_keys)
  local stream = place.stream or other and other.stream
  if type(stream) ~= "string" then refuse(path .. ".stream", "the name of a stream is needed") end
  local decider = place.decider or other and other.decider
  return { stream = stream, version = place.version, time = place.time, decider = decider }
end

local function visit(past, store, place)
  local stream = place.stream
  local version = moment_version(store, stream, place, existing(store, stream))
  local decider = place.decider or past:decider(stream)
  local state = store:aggregate_stream(stream, decider, { to = version }).state
  return { stream_name = stream, version = version, state = state }
end

--- What is different between two places. Returns the changes, and both places with their states.
function History:diff(left, right)
  left = check_place(left, "left")
  right = check_place(right, "right", left)
  return self:run(function(store)
    local before, after = visit(self, store, left), visit(self, store, right)
    return values.changes(before.state, after.state), before, after
  end)
end

-- ## why

--- How many values there are in a value, as far as `most`.
local function size_of(value, most)
  if type(value) ~= "table" then return 1 end
  local size = 1
  for _, part in pairs(value) do
    size = size + size_of(part, most - size)
    if size >= most then return size end
  end
  return size
end

--- As many events at a time as keep what is in memory bounded, however large the part is.
local function batch_size(part)
  local MOST_VALUES <const>, MOST_EVENTS <const> = 200000, 1000
  return math.max(1, math.min(MOST_EVENTS, MOST_VALUES // size_of(part, MOST_VALUES)))
end

--- Calls f(version, before, after) for every event that changed a part of the state, until it returns true.
local function each_change(store, stream, decider, keys, from, to, f)
  local state = store:aggregate_stream(stream, decider, { to = from - 1 }).state
  local part = values.get(state, keys)
  while from <= to do
    local last = math.min(to, from + batch_size(part) - 1)
    local options = { from = from, to = last, initial_state = state, trace = keys }
    local result = store:aggregate_stream(stream, decider, options)
    for _, change in ipairs(result.trace) do
      if f(change.version, part, change.value) then return end
      part = change.value
    end
    state, from = result.state, last + 1
  end
end

--- Changes of a part, with paths from the whole state.
local function changes_of_part(keys, before, after)
  local found = values.changes(before, after)
  for _, change in ipairs(found) do
    change.keys = table.move(change.keys, 1, #change.keys, #keys + 1, table.move(keys, 1, #keys, 1, {}))
    change.path = values.path(change.keys)
  end
  return found
end

local range_keys <const> = { from = true, to = true }

local function check_range(options, current)
  local from = check_version(options.from or 1, "options.from")
  local to = check_version(options.to or current, "options.to")
  return math.max(from, 1), math.min(to, current)
end

--- Every event that changed a part of the state: a list of { version, event, changes }.
function History:why(stream, path, options)
  local keys = check_path(path)
  options = check_options(options, "options", range_keys)
  return self:run(function(store)
    local from, to = check_range(options, existing(store, stream))
    local decider, found = self:decider(stream), {}
    each_change(store, stream, decider, keys, from, to, function(version, before, after)
      found[#found + 1] = {
        stream_name = stream,
        version = version,
        event = event_at(store, stream, decider, version),
        changes = changes_of_part(keys, before, after),
      }
    end)
    return found
  end)
end

-- ## find

--- The first version at which the predicate holds, when it holds from then on: by halving. The state at the lower end
--- is kept, so that no event is folded more than twice.
local function bisect(fold, predicate, from, to)
  local low, state = from - 1, fold.store:aggregate_stream(fold.stream, fold.decider, { to = from - 1 }).state
  local function holds(version) return predicate(advance(fold, low, state, version), version) end
  if to <= low or not holds(to) then return nil end
  while to - low > 1 do
    local middle = (low + to) // 2
    if holds(middle) then
      to = middle
    else
      low, state = middle, advance(fold, low, state, middle)
    end
  end
  return to
end

--- The first version at which the predicate holds, of all.
local function scan(fold, predicate, from, to, keys)
  local state = fold.store:aggregate_stream(fold.stream, fold.decider, { to = from - 1 }).state
  if from <= to and predicate(values.get(advance(fold, from - 1, state, from), keys), from) then return from end
  local found
  each_change(fold.store, fold.stream, fold.decider, keys, from + 1, to, function(version, _, part)
    found = predicate(part, version) and version or nil
    return found ~= nil
  end)
  return found
end

--- The same for a predicate that is given some fields of the state: only what changes of them is handed over, which
--- takes a fold for each of them.
local function scan_fields(fold, predicate, from, to, fields)
  local state = fold.store:aggregate_stream(fold.stream, fold.decider, { to = from - 1 }).state
  local first, parts = from, {}
  for _, field in ipairs(fields) do parts[field] = values.get(state, { field }) end
  while from <= to do
    local last = fields[1] and math.min(to, from + batch_size(parts) - 1) or to
    local changed, after = {}, nil
    for _, field in ipairs(fields) do
      local options = { from = from, to = last, initial_state = state, trace = { field } }
      local result = fold.store:aggregate_stream(fold.stream, fold.decider, options)
      for _, change in ipairs(result.trace) do
        local those = changed[change.version] or {}
        changed[change.version] = those
        those[#those + 1] = { field = field, value = change.value }
      end
      after = result.state
    end
    for version = from, last do
      for _, change in ipairs(changed[version] or {}) do parts[change.field] = change.value end
      if (changed[version] or version == first) and predicate(parts) then return version end
    end
    state, from = after, last + 1
  end
  return nil
end

local find_keys <const> = { from = true, to = true, monotonic = true, path = true, fields = true }

local function check_fields(options)
  local fields = options.fields
  if fields == nil then return nil end
  if type(fields) ~= "table" then
    refuse("options.fields", "a list of fields is needed, such as { \"total\" }: this is a %s", type(fields))
  end
  for _, other in ipairs { "path", "monotonic" } do
    if options[other] then refuse("options.fields", "it is given instead of %s", other) end
  end
  return fields
end

--- The first event after which predicate(state) holds; nil when it never does.
function History:find(stream, predicate, options)
  if type(predicate) ~= "function" then refuse("predicate", "a function is needed, this is a %s", type(predicate)) end
  options = check_options(options, "options", find_keys)
  local keys, fields = check_path(options.path or ""), check_fields(options)
  return self:run(function(store)
    local from, to = check_range(options, existing(store, stream))
    local fold = fold_of(store, stream, self:decider(stream))
    local version
    if fields then
      version = scan_fields(fold, predicate, from, to, fields)
    elseif options.monotonic then
      version = bisect(fold, function(state) return predicate(values.get(state, keys)) end, from, to)
    else
      version = scan(fold, predicate, from, to, keys)
    end
    return version and step_at(fold, version) or nil
  end)
end

-- ## walk

local Walk = {}
Walk.__index = Walk

--- A walk through a stream, event by event. It stands before its first event.
function History:walk(stream, options)
  options = check_options(options, "options", range_keys)
  return self:run(function(store)
    local from, to = check_range(options, existing(store, stream))
    local walk = { past = self, stream_name = stream, first = from, last = to, version = from - 1 }
    walk.fold = fold_of(store, stream, self:decider(stream))
    return setmetatable(walk, Walk)
  end)
end

local function stand(walk, version)
  return walk.past:run(function(store)
    walk.fold.store = store
    local step = step_at(walk.fold, version)
    walk.version = version
    return step
  end)
end

--- The next step, or nil at the end.
function Walk:next()
  if self.version >= self.last then return nil end
  return stand(self, self.version + 1)
end

--- The step before, or nil at the beginning.
function Walk:previous()
  if self.version <= self.first then return nil end
  return stand(self, self.version - 1)
end

--- The step at a version.
function Walk:go(version)
  check_version(version, "version")
  if version < self.first or version > self.last then
    refuse("version", "this walk goes from version %d to %d, %d is outside", self.first, self.last, version)
  end
  return stand(self, version)
end

--- for step in walk do ... end
Walk.__call = Walk.next

-- ## try

--- What would be decided on a command now, and what state would follow. Nothing is recorded.
function History:try(stream, command)
  return self:run(function(store)
    local decider = self:decider(stream)
    local before = store:aggregate_stream(stream, decider).state
    local decided, result = pcall(store.decide, store, stream, decider, command)
    if not decided then
      if not failures.is(result) or result.code ~= "rejected" then error(result, 0) end
      return { events = {}, rejection = result, state = before, changes = {} }
    end
    return { events = result.events, state = result.state, changes = values.changes(before, result.state) }
  end)
end

-- ## branch, fixture

--- A what-if on top of the store.
function History:branch() return new_branch(self) end

--- A spec from recorded history.
function History:fixture(stream, options)
  options = check_options(options, "options", fixture.keys)
  return self:run(function(store)
    local version = moment_version(store, stream, options, existing(store, stream))
    return fixture.of_stream(store, stream, self:decider(stream), version, options)
  end)
end

--- Errors inside these are to blame the caller.
local function blame_callers(class, names)
  for _, name in ipairs(names) do class[name] = blaming(class[name]) end
end

blame_callers(History, { "at", "diff", "why", "find", "walk", "try", "branch", "fixture", "decider" })
blame_callers(Walk, { "next", "previous", "go" })
Walk.__call = Walk.next

--- The history of a store. `deciders`: a decider, a list of them (a stream belongs to the one that has its category),
--- what store:use returned, or a function(stream) -> decider.
history.of = blaming(function(store, deciders)
  if type(store) ~= "userdata" then refuse("store", "a store is needed, this is a %s", type(store)) end
  if type(deciders) ~= "table" and type(deciders) ~= "userdata" and type(deciders) ~= "function" then
    refuse("deciders", "a decider, a list of deciders or a function(stream) is needed, this is a %s", type(deciders))
  end
  return setmetatable({ store = store, deciders = deciders }, History)
end)

--- What is different between two values.
history.changes = values.changes

return history
