--- Kept states and snapshots: with them or without, every state and every decision is the same.

local moonfold = require "moonfold"
local support = require "support"

local command, event = moonfold.command, moonfold.event

local script <const> = [[
local moonfold = require "moonfold"
local calls = 0
local other = {
  initial_state = { n = 0 },
  evolve = { Added = function(state, event) state.n = state.n + event.data end },
}
return {
  initial_state = { sum = 0, seen = {}, last = { n = 0 }, tags = moonfold.array {} },
  evolve = {
    Tagged = function(state, event)
      if event.data then return table.insert(state.tags, event.data) end
      while #state.tags > 0 do table.remove(state.tags) end
    end,
    Told = false,
    Added = function(state, event)
      state.sum = state.sum + event.data
      state.seen[event.data % 7 + 1] = event.stream_position
      state.last = { n = state.last.n + 1 }
      if event.data == 99 then error "99" end
    end,
    Cleared = function(state) return { sum = 0, seen = {}, last = state.last, tags = state.tags } end,
    Broken = function(state)
      state.sum = -1
      error "broken"
    end,
    Aliased = function(state) state.seen.a, state.seen.b = state.last, state.last end,
  },
  decide = {
    Add = function(command, state)
      if command.data < 0 and state.sum + command.data < 0 then moonfold.reject("too_little") end
      return { type = "Added", data = command.data }
    end,
    AddAll = function(command)
      local events = {}
      for i, n in ipairs(command.data) do events[i] = { type = "Added", data = n } end
      return events
    end,
    Do = function(command, state) if state.sum >= 0 then return { type = command.data } end end,
    Fail = function() error "decide failed" end,
    Look = function(command, _, context)
      local seen = context:aggregate_stream(command.data, other).state
      return { type = "Added", data = seen.n % 50 }
    end,
    Compare = function(command, _, context)
      local before = context:aggregate_stream(command.data, other, { to = 3 }).state
      local after = context:aggregate_stream(command.data, other).state
      return { type = "Added", data = (before.n + 2 * after.n) % 50 }
    end,
    Tag = function(command) return { type = "Tagged", data = command.data } end,
    Tell = function(_, state) return { type = "Told", data = { state.tags, #state.tags, state.sum } } end,
    Scribble = function(command, _, context) context:aggregate_stream(command.data, other).state.n = 1 end,
    Sneak = function()
      calls = calls + 1 -- told only when all is done
      return { type = "Added", data = 1 }
    end,
    Write = function(_, state) state.sum = 1000000 end,
    Peek = function(_, state, context) return { type = "Added", data = context:random(5) + state.sum % 3 } end,
  },
}
]]

local function load(path, options) return moonfold.load_decider(path, options) end

support.everywhere(function(open)
  describe("a loaded decider", function()
    local store, path, cold
    before_each(function()
      store = open()
      path = support.write(support.path("adder.lua"), script)
      cold = load(path, { cache = false, snapshots = false })
    end)
    after_each(function() store:close() end)

    --- The state is what a plain fold gives.
    local function right(decider, stream)
      stream = stream or "a"
      local expected, found = store:aggregate_stream(stream, cold), store:aggregate_stream(stream, decider)
      assert.same(expected, found)
      return found.state
    end

    local function add(decider, ...)
      return store:handle("a", decider, command("AddAll", { ... }))
    end

    it("has the state that was appended to by others", function()
      local decider = load(path)
      add(decider, 1, 2)
      store:append_to_stream("a", event("Added", 3))
      assert.equal(6, right(decider).sum)
      assert.equal(10, store:handle("a", decider, command("Add", 4)).state.sum)
      right(decider)
    end)

    it("has it after a refusal and after failures of decide", function()
      local decider = load(path)
      add(decider, 5)
      support.fails("rejected", nil, function() store:handle("a", decider, command("Add", -9)) end)
      support.fails("script_error", nil, function() store:handle("a", decider, command "Fail") end)
      support.fails("script_error", nil, function() store:handle("a", decider, command "Write") end)
      support.fails("script_error", nil, function() store:handle("a", decider, command "Sneak") end)
      assert.equal(5, right(decider).sum)
      assert.equal(4, store:handle("a", decider, command("Add", -1)).state.sum)
    end)

    it("has it after an evolve that failed midway", function()
      local decider = load(path)
      add(decider, 5)
      support.fails("script_error", nil, function() store:handle("a", decider, command("Do", "Broken")) end)
      assert.equal(5, right(decider).sum)
      support.fails("script_error", nil, function() add(decider, 1, 99) end)
      assert.equal(5, right(decider).sum)
      assert.equal(6, add(decider, 1).state.sum)
    end)

    it("has it after a transaction that failed, and after one that was a dry run", function()
      local decider = load(path)
      add(decider, 5)
      assert.has_error(function()
        store:transaction(function()
          add(decider, 6)
          assert.equal(11, store:aggregate_stream("a", decider).state.sum)
          add(decider, 7)
          error "no"
        end)
      end)
      assert.equal(5, right(decider).sum)
      store:transaction(function() assert.equal(13, add(decider, 8).state.sum) end, { dry_run = true })
      assert.equal(5, right(decider).sum)
      store:transaction(function()
        add(decider, 1)
        pcall(add, decider, 2, 99)
        assert.equal(6, store:aggregate_stream("a", decider).state.sum)
        assert.equal(9, add(decider, 3).state.sum)
      end)
      assert.equal(9, right(decider).sum)
    end)

    it("has it after commands that were only looked at", function()
      local decider = load(path)
      add(decider, 5)
      for _ = 1, 3 do assert.equal(7, store:decide("a", decider, command("Add", 2)).state.sum) end
      assert.equal(5, right(decider).sum)
      assert.equal(6, store:handle("a", decider, command("Add", 1)).state.sum)
    end)

    it("gives decide a look at other streams that can be kept, and not written to", function()
      local decider = load(path)
      add(decider, 1, 2)
      assert.equal(3, store:handle("b", decider, command("Look", "a")).state.sum)
      support.fails("script_error", nil, function() store:handle("b", decider, command("Scribble", "a")) end)
      add(decider, 4)
      assert.equal(10, store:handle("b", decider, command("Look", "a")).state.sum)
      assert.equal(20, store:handle("b", decider, command("Look", "b")).state.sum)
      pcall(store.transaction, store, function()
        add(decider, 5)
        assert.equal(32, store:handle("b", decider, command("Look", "a")).state.sum)
        error "no"
      end)
      assert.equal(27, store:handle("b", decider, command("Look", "a")).state.sum)
    end)

    it("looks into the past as before", function()
      local decider = load(path)
      add(decider, 1, 2, 3, 4)
      right(decider)
      for to = 0, 5 do
        for _, range in ipairs { { to = to }, { from = to } } do
          assert.same(store:aggregate_stream("a", cold, range), store:aggregate_stream("a", decider, range))
        end
      end
      right(decider)
    end)

    it("answers a repeated command with the state of its time", function()
      local decider = load(path)
      local first = { type = "Add", data = 1, command_id = "c-1" }
      store:handle("a", decider, first)
      add(decider, 2)
      assert.equal(1, store:handle("a", decider, first).state.sum)
      assert.equal(3, right(decider).sum)
    end)

    it("gives states that are the caller's own", function()
      local decider = load(path)
      local state = add(decider, 1).state
      state.sum, state.seen = 100, nil
      assert.equal(1, right(decider).sum)
    end)

    it("keeps the states of two stores apart", function()
      local decider = load(path)
      local other <close> = open()
      add(decider, 1)
      other:append_to_stream("a", { event("Added", 20), event("Added", 30) })
      assert.equal(50, other:aggregate_stream("a", decider).state.sum)
      assert.equal(1, right(decider).sum)
    end)

    it("is charged nothing for what keeps its states", function()
      local large = [[
        return {
          initial_state = { list = {} },
          evolve = { Added = function(state, event)
            if #state.list < 5000 then state.list[#state.list + 1] = { event.data } end
          end },
          decide = { Add = function(command) return { type = "Added", data = command.data } end },
        }
      ]]
      local file, batch = support.write(support.path("large.lua"), large), {}
      for i = 1, 5000 do batch[i] = event("Added", i) end
      store:append_to_stream("a", batch)
      for _, cache in ipairs { false, true } do
        local decider = load(file, { cache = cache, budget = 50000 })
        for _ = 1, 2 do store:decide("a", decider, command("Add", 1), { state = false }) end
      end
    end)

    it("is run again with the memory that states of other streams took, and not for its own stream's", function()
      local runs, hungry = 0, [[
        return {
          initial_state = { list = {} },
          evolve = { Filled = function(state, event) for i = 1, event.data do state.list[i] = i end end },
          decide = { Eat = function(command, state)
            print "run"
            local t = {}
            for i = 1, command.data do t[i] = state.list[1] end
          end },
        }
      ]]
      local file = support.write(support.path("hungry.lua"), hungry)
      local function eat(decider, stream, count)
        runs = 0
        local fine, problem = pcall(store.decide, store, stream, decider, command("Eat", count), { state = false })
        return runs, fine or problem.code
      end
      for _, stream in ipairs { "own", "other", "third" } do store:append_to_stream(stream, event("Filled", 50000)) end
      local decider = load(file, { memory = 4000000, log = function() runs = runs + 1 end })
      assert.same({ 1, true }, { eat(decider, "own", 10) })
      assert.same({ 1, "budget_exceeded" }, { eat(decider, "own", 1000000) })
      assert.same({ 1, true }, { eat(decider, "other", 10) })
      assert.same({ 2, true }, { eat(decider, "own", 70000) })
    end)

    it("needs no more memory for many states than it may have", function()
      local decider = load(path, { memory = 4000000 })
      local big = {}
      for i = 1, 2000 do big[i] = i % 90 end
      for i = 1, 400 do
        store:append_to_stream("s" .. i, event("Added", i % 90))
        store:handle("s" .. i, decider, command("AddAll", big), { state = false })
      end
      for i = 1, 400, 7 do right(decider, "s" .. i) end
    end)
  end)

  describe("a snapshot", function()
    local store, path, cold
    before_each(function()
      store = open()
      path = support.write(support.path("adder.lua"), script)
      cold = load(path, { cache = false, snapshots = false })
      local batch = {}
      for i = 1, 1500 do batch[i] = event("Added", i % 50) end
      for _ = 1, 8 do store:append_to_stream("a", batch) end
    end)
    after_each(function() store:close() end)

    local function snapshots()
      return store:kept().snapshots
    end

    it("is taken by a read of many events, and used by another decider with the same fold", function()
      assert.equal(0, snapshots())
      local first = store:aggregate_stream("a", load(path))
      assert.equal(1, snapshots())
      assert.same(first, store:aggregate_stream("a", load(path)))
      assert.same(first, store:aggregate_stream("a", cold))
    end)

    it("is taken by a command in its own transaction, and goes with it", function()
      local decider = load(path)
      assert.has_error(function()
        store:transaction(function()
          store:handle("a", decider, command("Add", 1))
          error "no"
        end)
      end)
      assert.equal(0, snapshots())
      store:handle("a", decider, command("Add", 1))
      assert.equal(1, snapshots())
      assert.same(store:aggregate_stream("a", cold), store:aggregate_stream("a", load(path)))
    end)

    it("is not used for another fold, and is found again when the code comes back", function()
      store:aggregate_stream("a", load(path))
      local other = script:gsub("state.sum %+ event.data", "state.sum - event.data")
      local changed = support.write(support.path("adder.lua"), other)
      local state = store:aggregate_stream("a", load(changed)).state
      assert.equal(-state.sum, store:aggregate_stream("a", load(path)).state.sum)
      assert.equal(2, snapshots())
    end)

    it("is not taken of a state that cannot be stored as it is, and the decider says why", function()
      local decider = load(path)
      assert.is_nil(decider.snapshot_refusal)
      store:append_to_stream("a", event "Aliased")
      local state = store:aggregate_stream("a", decider).state
      assert.equal(0, snapshots())
      assert.matches("two places", decider.snapshot_refusal)
      assert.same(store:aggregate_stream("a", cold).state, state)
    end)

    it("keeps null, and lists that are marked as arrays: once empty they are [] again", function()
      local text = [[
        local moonfold = require "moonfold"
        return {
          initial_state = { list = moonfold.array {}, lists = {}, nothing = moonfold.null, zero = -0.0 },
          evolve = {
            Added = function(state, event)
              if #state.list < 20 then table.insert(state.list, event.data) end
              table.insert(state.lists, event.stream_position)
              state.lists = moonfold.array(state.lists)
            end,
            Cleared = function(state)
              for i = #state.list, 1, -1 do state.list[i] = nil end
              for i = #state.lists, 1, -1 do state.lists[i] = nil end
            end,
            Told = false,
          },
          decide = { Tell = function(_, state) return { type = "Told", data = state } end },
        }
      ]]
      local file = support.write(support.path("arrays.lua"), text)
      local function fresh() return load(file, { budget = 1000000000 }) end
      local keeps, looks = fresh(), fresh()
      store:aggregate_stream("a", keeps)
      assert.is_nil(keeps.snapshot_refusal)
      assert.equal(1, snapshots())
      store:decide("a", looks, command "Tell") -- what is looked at is put aside, and taken up again
      store:append_to_stream("a", event "Cleared")
      for _, decider in ipairs { keeps, looks, fresh() } do
        local told = store:decide("a", decider, command "Tell").events[1].data
        assert.equal('{"list":[],"lists":[],"nothing":null,"zero":-0.0}', moonfold.to_json(told))
      end
    end)

    it("is not taken of what would come back as something else, and no look changes it either", function()
      local text = [[
        local Class = { __index = { kind = function() return "class" end } }
        return {
          initial_state = { n = 0 },
          evolve = { Added = function(state, event) %s end, Told = false },
          decide = { Tell = function(_, state) return { type = "Told", data = tostring(%s) } end },
        }
      ]]
      for why, code in pairs {
        ["a table in it has a metatable"] = { "state.x = setmetatable({}, Class)", "state.x:kind()" },
        ["a table in it has a metatable, "] = { "state.x = event", "state.x.stream_position" },
        ["a table in it has a metatable, or belongs"] = { "state.x = Class", "state.x.__index.kind()" },
        ["one table stands in two places"] = { "state.x, state.y = state.y or {}, state.x or {}; state.z = state.x",
          "state.x == state.z" },
        ["a number that cannot be stored"] = { "state.x = 0 / 0", "state.x ~= state.x" },
        ["a key or a number"] = { "state.x = { [true] = event.data }", "state.x[true]" },
        ["a key or a number that"] = { "state.x = { [1.5] = event.data }", "state.x[1.5]" },
        ["too large to be copied"] = { "state.text = state.text or ('x'):rep(1 << 20); state.x = {}; "
          .. "for i = 1, 100 do state.x[i] = state.text end", "#state.x" },
      } do
        local file = support.write(support.path("strange.lua"), text:format(code[1], code[2]))
        local off = load(file, { cache = false, snapshots = false })
        local expected, decider = store:decide("a", off, command "Tell", { state = false }), load(file)
        for _ = 1, 3 do
          local told = store:decide("a", decider, command "Tell", { state = false })
          assert.equal(expected.events[1].data, told.events[1].data, why)
        end
        store:handle("a", decider, command "Tell", { state = false })
        assert.equal(0, snapshots())
        assert.matches(why, decider.snapshot_refusal, 1, true)
      end
    end)

    it("can be refused", function()
      store:aggregate_stream("a", load(path, { snapshots = false }))
      assert.equal(0, snapshots())
    end)

    it("is dropped on request", function()
      local decider = load(path)
      store:aggregate_stream("a", decider)
      assert.equal(0, store:drop_snapshots(("0"):rep(32)))
      assert.equal(1, store:drop_snapshots(decider.fold_digest))
      assert.equal(0, snapshots())
      store:aggregate_stream("a", load(path))
      assert.equal(1, store:drop_snapshots())
    end)
  end)
end)

describe("a look at the past", function()
  local source <const> = [[
    return { initial_state = { n = 0 }, evolve = { Noted = function(state) state.n = state.n + 1 end } }
  ]]

  local function note(i) return ("the event of number %04d"):format(i) end

  --- A store with events that can be found in its file, and the file's path.
  local function written(count)
    local store, path = support.open { durability = "none" }
    local events = {}
    for i = 1, count do events[i] = { type = "Noted", data = note(i) } end
    store:append_to_stream("a", events)
    return store, path
  end

  --- From now on who reads the event is told that it is damaged; so it shows what is folded.
  local function damage(path, i)
    local bytes = support.read(path)
    local at = assert(bytes:find(note(i), 1, true))
    while at do
      local file <close> = assert(io.open(path, "r+b"))
      file:seek("set", at - 1)
      file:write "T"
      at = bytes:find(note(i), at + 1, true)
    end
  end

  it("leaves the newest state where it is, and a walk through the past goes on from it", function()
    local store <close>, path = written(9)
    local decider, cold = support.load(source), support.load(source, { cache = false })
    local function state(options, other) return store:aggregate_stream("a", other or decider, options).state.n end
    assert.equal(9, state())
    assert.equal(3, state { to = 3 })
    damage(path, 2)
    support.fails("corrupt", nil, state, { to = 3 }, cold)
    assert.equal(3, state { to = 3 })
    assert.equal(5, state { to = 5 })
    assert.equal(9, state())
    store:append_to_stream("a", { type = "Noted", data = "more" })
    assert.equal(10, state())
    assert.equal(6, state { to = 6 })
    assert.equal(10, state { to = 10 })
    support.fails("corrupt", nil, state, { to = 4 }) -- goes back, and so begins anew
    assert.equal(10, state())
  end)

  it("drops no snapshot of a newer state, which is where the present goes on from", function()
    local store <close>, path = written(25000)
    local function state(options)
      local decider = support.load(source) -- knows nothing yet
      return store:aggregate_stream("a", decider, options).state.n
    end
    assert.equal(25000, state())
    assert.equal(12000, state { to = 12000 })
    assert.equal(1, store:kept().snapshots)
    damage(path, 20000)
    assert.equal(25000, state())
    local decider = support.load(source) -- looks at the past first
    assert.equal(30, store:aggregate_stream("a", decider, { to = 30 }).state.n)
    assert.equal(25000, store:aggregate_stream("a", decider).state.n)
    support.fails("corrupt", nil, state, { to = 21000 })
  end)
end)

describe("beside another process", function()
  it("a loaded decider has the state that both have made", function()
    local store <close>, path = support.open()
    local decider = support.load(script)
    local peer <close> = support.peer()
    peer:run(([[
      local moonfold = require "moonfold"
      store = moonfold.open(%q)
      decider = moonfold.load_decider(%q)
      function add(n) return store:handle("a", decider, moonfold.command("Add", n)).state.sum end
    ]]):format(path, decider.path))
    local function add(n) return store:handle("a", decider, command("Add", n)).state.sum end
    assert.equal(1, add(1))
    assert.equal(3, peer:run "return add(2)")
    assert.equal(6, add(3))
    assert.equal(10, peer:run "return add(4)")
    assert.equal(10, store:aggregate_stream("a", decider).state.sum)
    store:transaction(function()
      assert.equal(16, add(6))
      peer:run "store:append_to_stream('a', { type = 'Added', data = 40 })"
      assert.equal(16, store:aggregate_stream("a", decider).state.sum)
    end, { dry_run = true })
    assert.equal(50, store:aggregate_stream("a", decider).state.sum)
    assert.equal(51, add(1))
    store:transaction(function()
      store:append_to_stream("a", event("Added", 7))
      peer:run "store:append_to_stream('a', { type = 'Added', data = 30 })"
      assert.equal(58, store:aggregate_stream("a", decider).state.sum)
    end, { dry_run = true })
    assert.equal(81, store:aggregate_stream("a", decider).state.sum)
    peer:run "store:close()"
  end)
end)

describe("random commands over random streams", function()
  local STREAMS <const> = 5

  --- One run: every decision and state of deciders that keep what they can is compared with those of one that
  --- keeps nothing.
  local function run(seed)
    local path = support.path()
    local file = support.write(support.path("adder.lua"), script)
    local random = math.random
    math.randomseed(seed)
    local problem
    local options = { durability = "none", clock = function() return 1 end }
    local store, plain = moonfold.open(path, options), moonfold.open(":memory:", { clock = options.clock })
    local cold = load(file, { cache = false, snapshots = false })
    --- Other rules, another fold, and those from before.
    local function rewrite()
      local kind, text = random(3), script
      if kind == 1 then text = script:gsub('data = command.data }', 'data = command.data + 1 }') end
      if kind == 2 then text = script:gsub("state.sum %+ event.data", "state.sum + 2 * event.data") end
      support.write(file, text)
    end

    local function fresh() return load(file, { cache = random(3) == 1 and 2 or true }) end
    local deciders = { fresh(), fresh() }

    local function any_command()
      local kind = random(14)
      if kind == 13 then return command("Tag", random(2) == 1 and random(9) or nil) end
      if kind == 14 then return random(2) == 1 and command "Tell" or command("Compare", "s" .. random(STREAMS)) end
      if kind <= 4 then return command("Add", random(120) - 40) end
      if kind == 5 then return command("Do", ({ "Cleared", "Aliased", "Broken", "Nothing" })[random(4)]) end
      if kind == 6 then return command(({ "Fail", "Write", "Peek", "Sneak" })[random(4)]) end
      if kind == 10 then return command(random(4) == 1 and "Scribble" or "Look", "s" .. random(STREAMS)) end
      if kind == 11 then return { command("Add", random(9)), command("Look", "s" .. random(STREAMS)) } end
      if kind == 7 then return { type = "Add", data = random(9), command_id = "c-" .. random(20) } end
      if kind == 8 then return { command("Add", random(9)), command("Add", random(99) - 60) } end
      local many = {}
      for i = 1, random(kind == 9 and 1500 or 12) do many[i] = random(98) end
      return command("AddAll", many)
    end

    --- What a call comes to: a result, or the error's code.
    local function outcome(f, ...)
      local ok, result = pcall(f, ...)
      if not ok then return result.code end
      local types = {}
      for i, recorded in ipairs(result.events or {}) do
        local data = recorded.data
        types[i] = { recorded.type, data, recorded.stream_position, data and moonfold.hash(data) } -- [] is not {}
      end
      return { types, result.state, result.next_expected_stream_version or result.current_stream_version }
    end

    local function both(name, stream, given)
      local decider = deciders[random(#deciders)]
      local expected = outcome(plain[name], plain, stream, cold, given)
      local found = outcome(store[name], store, stream, decider, given)
      local same, difference = pcall(assert.same, expected, found)
      if same or problem then return end
      problem = ("seed %d: %s of %s: %s"):format(seed, name, stream, tostring(difference))
    end

    local function step()
      local stream = "s" .. random(STREAMS)
      local kind = random(20)
      if kind <= 10 then
        both("handle", stream, any_command())
      elseif kind <= 12 then
        both("decide", stream, any_command())
      elseif kind <= 14 then
        both("aggregate_stream", stream, random(3) == 1 and { to = random(50) } or nil)
      elseif kind == 15 then
        local foreign = event("Added", random(90))
        store:append_to_stream(stream, foreign)
        plain:append_to_stream(stream, foreign)
      elseif kind == 16 then
        deciders[random(#deciders)] = fresh()
      elseif kind == 17 then
        store:close()
        store = moonfold.open(path, options)
        deciders = { fresh(), fresh() }
      elseif kind == 18 then
        store:drop_snapshots()
      elseif kind >= 19 then
        rewrite()
        cold:reload()
        for _, decider in ipairs(deciders) do decider:reload() end
      end
    end

    --- A transaction on both stores, which may fail or be a dry run; steps that close the store are left out.
    local function transaction()
      local fails, dry_run = random(3) == 1, random(4) == 1
      local steps = random(6)
      pcall(plain.transaction, plain, function()
        pcall(store.transaction, store, function()
          for _ = 1, steps do
            local name = random(4) == 1 and "aggregate_stream" or "handle"
            local given = random(2) == 1 and { to = random(50) } or nil
            if name == "handle" then given = any_command() end
            both(name, "s" .. random(STREAMS), given)
          end
          if fails then error "no" end
        end, { dry_run = dry_run })
        if fails then error "no" end
      end, { dry_run = dry_run })
    end

    for _ = 1, 60 do
      if random(4) == 1 then transaction() else step() end
      assert.is_nil(problem)
    end
    for i = 1, STREAMS do
      for _, decider in ipairs(deciders) do
        assert.same(plain:aggregate_stream("s" .. i, cold), store:aggregate_stream("s" .. i, decider), "seed " .. seed)
      end
    end
    store:close()
    plain:close()
  end

  it("are let go when a script has left something behind: what was folded so is wrong", function()
    local store <close> = support.open { durability = "none" }
    local source = [[
      local n = 0
      return { initial_state = 0, evolve = { Counted = function() n = n + 1 return n end, Other = false } }
    ]]
    for _, length in ipairs { 3, 5000 } do
      local stream, decider = "s-" .. length, support.load(source)
      local events = {}
      for i = 1, length do events[i] = { type = "Counted" } end
      store:append_to_stream(stream, events)
      for _ = 1, 2 do
        local failure = support.fails("script_error", nil, store.aggregate_stream, store, stream, decider)
        assert.matches('the local variable "n"', failure.message, 1, true)
      end
      assert.equal(0, store:kept().snapshots)
      store:append_to_stream(stream, { type = "Other" })
      support.fails("script_error", nil, store.aggregate_stream, store, stream, decider)
    end
  end)

  it("are decided as by a plain fold, with evictions, snapshots, reloads, restarts and failures", function()
    local first = tonumber(os.getenv "MOONFOLD_SEED") or os.time()
    for seed = first, first + (tonumber(os.getenv "MOONFOLD_ROUNDS") or 15) - 1 do run(seed) end
  end)
end)
