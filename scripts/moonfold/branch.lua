--- Branches: what-ifs on top of a real store. A branch is the list of what was done in it. When it is looked at, all
--- of that is done again in a dry run on the store as it then is. So it costs nothing while nobody looks, pins nothing,
--- and sees what others record meanwhile.

local moonfold = require "moonfold"
local failures = require "moonfold.failures"
local fixture = require "moonfold.fixture"
local values = require "moonfold.values"

-- Returns the function that makes a branch of a history. A branch knows all that a history knows, told of the branch.
return function(History)
  local Branch = setmetatable({}, { __index = History })
  Branch.__index = Branch

  --- A new branch of a history, or of another branch.
  local function new_branch(past)
    local done = table.move(past.done or {}, 1, #(past.done or {}), 1, {})
    return setmetatable({ store = past.store, deciders = past.deciders, done = done, position = past.position }, Branch)
  end

  local function last_position(store)
    local next_event, events, _, closing <close> = store:all_events { backwards = true, max_count = 1 }
    local event = next_event(events, closing)
    return event and event.global_position or 0
  end

  local function copy(value)
    if type(value) ~= "table" then return value end
    local new = {}
    for key, part in pairs(value) do new[key] = copy(part) end
    return values.is_list(value) and moonfold.array(new) or new
  end

  local function copy_event(event)
    return { type = event.type, data = copy(event.data), metadata = copy(event.metadata),
      message_id = rawget(event, "message_id") }
  end

  local function copy_events(events)
    local list = {}
    for i, event in ipairs(events.type and { events } or events) do list[i] = copy_event(event) end
    return list
  end

  --- The time by the store's clock: that of an event which is not recorded.
  local function now(store)
    return store:transaction(function()
      store:append_to_stream("now", { type = "Now" })
      return store:read_stream("now", { backwards = true, max_count = 1 }).events[1].recorded_at
    end, { dry_run = true })
  end

  local function no_longer(act, number, problem)
    if not failures.is(problem) then error(problem, 0) end
    local what = act.command and act.command.type or "an append"
    local fields = { stream = act.stream, act = number, cause = problem }
    failures.raise(problem.code, fields, "act %d of this branch (%s on %s) is no longer possible: %s", number, what,
      act.stream, problem.message)
  end

  --- Does an act again. A command is decided anew when the store is not what it was.
  local function redo(branch, store, act, unchanged)
    if act.refused then return end
    if unchanged or not act.command then
      store:append_to_stream(act.stream, act.events)
    else
      act.events = copy_events(store:handle(act.stream, branch:decider(act.stream), act.command).events)
    end
  end

  --- Calls f with a store on which everything was done that was done in this branch, and which nobody else sees.
  function Branch:run(f)
    return self.store:transaction(function(store)
      local position = last_position(store)
      local unchanged = position == self.position
      for number, act in ipairs(self.done) do
        local done, problem = pcall(redo, self, store, act, unchanged)
        if not done then no_longer(act, number, problem) end
      end
      self.position = position
      return f(store)
    end, { dry_run = true })
  end

  --- Appends events in the branch. As store:append_to_stream.
  function Branch:append_to_stream(stream, events, options)
    local result = self:run(function(store) return store:append_to_stream(stream, events, options) end)
    self.done[#self.done + 1] = { stream = stream, events = copy_events(events) }
    return result
  end

  local function timed(branch, command)
    if type(command) ~= "table" or command.time or command.type == nil then return command end
    local new = {}
    for key, value in pairs(command) do new[key] = value end
    new.time = now(branch.store)
    return new
  end

  --- Handles a command in the branch, at the time when it was first given. As store:handle.
  function Branch:handle(stream, command, options)
    local given = timed(self, command)
    local result = self:run(function(store) return store:handle(stream, self:decider(stream), given, options) end)
    self.done[#self.done + 1] = { stream = stream, command = copy(given), events = copy_events(result.events) }
    return result
  end

  --- handle, but a refusal is returned. It is remembered, too: it makes a spec.
  function Branch:attempt(stream, command, options)
    local given = timed(self, command)
    local handled, result = pcall(self.handle, self, stream, given, options)
    if handled then return result end
    if not failures.is(result) or result.code ~= "rejected" then error(result, 0) end
    self.done[#self.done + 1] = { stream = stream, command = copy(given), refused = true }
    return nil, result
  end

  --- The streams that were written to, sorted.
  local function touched(branch)
    local streams = {}
    for _, act in ipairs(branch.done) do
      if not act.refused then streams[act.stream] = true end
    end
    return values.keys(streams)
  end

  local function look(past, stream)
    return past:run(function(store)
      local result = store:aggregate_stream(stream, past:decider(stream))
      return result.state, result.current_stream_version
    end)
  end

  --- What is different from the real store: a list of { stream_name, real_version, version, events, changes }.
  function Branch:compare()
    local found = {}
    local real = setmetatable({ store = self.store, deciders = self.deciders }, History)
    for i, stream in ipairs(touched(self)) do
      local before, real_version = look(real, stream)
      local after, version = look(self, stream)
      local events = self:run(function(store) return store:read_stream(stream, { from = real_version + 1 }).events end)
      found[i] = { stream_name = stream, real_version = real_version, version = version, events = events,
        changes = values.changes(before, after) }
    end
    return found
  end

  --- Forgets everything that was done.
  function Branch:drop() self.done = {} end

  --- Runs f on what the branch looked like before one of its acts.
  local function before_act(branch, number, f)
    local earlier = new_branch(branch)
    earlier.done = table.move(branch.done, 1, number - 1, 1, {})
    return earlier:run(f)
  end

  --- The names of the streams that a table of functions looks at through its context.
  local function reads_of_table(store, stream, decider, command)
    local names = {}
    local function spy(decide)
      return function(given, state, context)
        local watched = {}
        function watched.aggregate_stream(_, name, ...)
          names[name] = true
          return context:aggregate_stream(name, ...)
        end
        function watched.stream_exists(_, name)
          names[name] = true
          return context:stream_exists(name)
        end
        function watched.random(_, ...) return context:random(...) end
        return decide(given, state, watched)
      end
    end
    local spied = {}
    for key, value in pairs(decider) do spied[key] = value end
    spied.decide = type(decider.decide) == "function" and spy(decider.decide) or {}
    if type(spied.decide) == "table" then
      for name, decide in pairs(decider.decide) do spied.decide[name] = spy(decide) end
    end
    pcall(store.decide, store, stream, spied, command)
    return names
  end

  --- What a script looks at: it is loaded once more, to keep its commands, and decides in a store that has only what is
  --- known so far that it looks at, until it looks at nothing else.
  local function reads_of_script(store, stream, decider, command)
    local names, more = {}, true
    local loaded, keeping = pcall(moonfold.load_decider, decider.path, { keep_commands = true })
    if not loaded or keeping.digest ~= decider.digest then return names end
    while more do
      more = false
      local scratch <close> = moonfold.open(":memory:")
      scratch:append_to_stream(stream, copy_events(store:read_stream(stream).events))
      for name in pairs(names) do scratch:append_to_stream(name, copy_events(store:read_stream(name).events)) end
      pcall(scratch.attempt, scratch, stream, keeping, command)
      for kept in scratch:commands() do
        for name in pairs(kept.reads or {}) do
          more = more or not names[name]
          names[name] = true
        end
      end
    end
    names[stream] = nil
    return names
  end

  --- The streams that deciding looks at through its context, with their events.
  local function looked_at(store, stream, decider, command)
    local reads = type(decider) == "table" and reads_of_table or reads_of_script
    local names, others = reads(store, stream, decider, command), {}
    for _, name in ipairs(values.keys(names)) do
      local events = copy_events(store:read_stream(name).events)
      if #events > 0 and name ~= fixture.stream_of(decider) then
        others[#others + 1] = { name = name, events = events }
      end
    end
    return others
  end

  local function scene_of(branch, number)
    local act = branch.done[number]
    local decider = branch:decider(act.stream)
    return before_act(branch, number, function(store)
      local version = store:stream_version(act.stream)
      local decided, outcome = pcall(store.decide, store, act.stream, decider, act.command)
      if not decided then
        outcome = { rejection = outcome, state = store:aggregate_stream(act.stream, decider).state }
      end
      local others = looked_at(store, act.stream, decider, act.command)
      return fixture.scene(store, act.stream, decider, version, act.command, outcome, others)
    end)
  end

  local spec_keys <const> = { script = true }

  --- The commands of the branch on a stream as the text of a spec that passes.
  function Branch:spec(stream, options)
    options = failures.check_options(options, "options", spec_keys)
    local scenes = {}
    for number, act in ipairs(self.done) do
      if act.stream == stream and act.command then scenes[#scenes + 1] = scene_of(self, number) end
    end
    if #scenes == 0 then
      failures.refuse("stream", "no command was handled on the stream %q in this branch", stream)
    end
    local comment = ("What if, on top of the stream %s."):format(stream)
    return fixture.text(self:decider(stream), stream, comment, scenes, options)
  end

  for _, name in ipairs { "run", "append_to_stream", "handle", "attempt", "compare", "spec" } do
    Branch[name] = failures.blaming(Branch[name])
  end
  return new_branch
end
