local moonfold = require "moonfold"
local support = require "support"

local event, command = moonfold.event, moonfold.command
local pluck = support.pluck

--- A box that holds at most three things.
local script = [[
local moonfold = require "moonfold"
local event = moonfold.event

return {
  initial_state = { count = 0 },
  evolve = {
    Put = function(state, put) state.count = state.count + put.data.n end,
    Shaken = false,
    Broken = function() error "the box is broken" end,
  },
  decide = {
    Put = function(put, state)
      local free = 3 - state.count
      if put.data.n > free then
        moonfold.reject("full", "the box holds 3 things", { free = free, wanted = { put.data.n } })
      end
      return event("Put", { n = put.data.n })
    end,
    Shake = function() return event "Shaken" end,
    Wait = function() end,
    Break = function() return event "Broken" end,
    Typo = function() return event "Shakne" end,
    Fail = function() error "cannot decide" end,
    Refuse = function() return moonfold.reject "never" end,
  },
}
]]

local function put(n) return command("Put", { n = n }) end

support.both(script, function(box)
  support.everywhere(function(open)
    local store
    before_each(function() store = open() end)
    after_each(function() store:close() end)

    describe("attempting a command", function()
      it("is handling it, when it is not refused", function()
        local result, rejection = store:attempt("box", box, put(2))
        assert.is_nil(rejection)
        assert.equal(2, result.state.count)
        assert.equal(1, result.next_expected_stream_version)
        assert.is_true(result.created_new_stream)
        assert.equal(1, store:stream_version("box"))
      end)

      it("returns a refusal with all that was said in it", function()
        store:handle("box", box, put(2))
        local result, rejection = store:attempt("box", box, put(2))
        assert.is_nil(result)
        assert.equal("rejected", rejection.code)
        assert.equal("full", rejection.reason)
        assert.equal("the box holds 3 things", rejection.message)
        assert.same({ free = 1, wanted = { 2 } }, rejection.detail)
        assert.equal("box", rejection.stream)
      end)

      it("returns a refusal that reads well", function()
        local _, rejection = store:attempt("box", box, put(4))
        assert.matches("rejected: ", tostring(rejection), 1, true)
        assert.matches("the box holds 3 things", tostring(rejection), 1, true)
      end)

      it("returns the same that handle raises", function()
        local raised = support.refuses(store, "rejected", nil, store.handle, store, "box", box, put(4))
        local _, returned = store:attempt("box", box, put(4))
        for _, field in ipairs { "code", "reason", "message", "detail", "stream" } do
          assert.same(raised[field], returned[field], field)
        end
      end)

      it("records nothing when it is refused", function()
        store:attempt("box", box, put(4))
        assert.is_false(store:stream_exists("box"))
        assert.equal(0, support.count(store))
      end)

      it("records nothing of a list when one of it is refused", function()
        local result, rejection = store:attempt("box", box, { put(2), command "Shake", put(2) })
        assert.is_nil(result)
        assert.same({ free = 1, wanted = { 2 } }, rejection.detail)
        assert.is_false(store:stream_exists("box"))
      end)

      it("that comes to nothing is no refusal", function()
        local result, rejection = store:attempt("box", box, command "Wait")
        assert.same({}, result.events)
        assert.is_nil(rejection)
      end)

      it("raises everything else", function()
        store:append_to_stream("box", event("Put", { n = 1 }))
        local function raises(code, given, options)
          support.refuses(store, code, nil, store.attempt, store, "box", box, given, options)
        end
        raises("script_error", command "Fail")
        raises("script_error", command "Break")
        raises("unknown_command_type", command "Kick")
        raises("unknown_event_type", command "Typo")
        raises("version_conflict", put(1), { expected_stream_version = 0 })
        raises("invalid_argument", put(print))
        raises("invalid_argument", put(1), { expected_version = 1 })
      end)

      it("knows the options of handle", function()
        assert.is_nil(store:attempt("box", box, put(1), { state = false, expected_stream_version = 0 }).state)
      end)
    end)

    describe("deciding without recording", function()
      local function decide(given, options) return store:decide("box", box, given, options) end

      it("tells what would happen", function()
        store:handle("box", box, put(1))
        local result = decide(put(2))
        assert.same({ "Put" }, pluck("type", result.events))
        assert.same({ { n = 2 } }, pluck("data", result.events))
        assert.same({ count = 3 }, result.state)
      end)

      it("records nothing, however often", function()
        for _ = 1, 3 do
          assert.same({ count = 3 }, decide(put(3)).state)
        end
        assert.is_false(store:stream_exists("box"))
        assert.equal(0, support.count(store))
        assert.same({ count = 3 }, store:handle("box", box, put(3)).state)
      end)

      it("looks ahead over a list of commands", function()
        local result = decide { put(1), command "Wait", put(2), command "Shake" }
        assert.same({ "Put", "Put", "Shaken" }, pluck("type", result.events))
        assert.same({ count = 3 }, result.state)
        support.refuses(store, "rejected", { reason = "full" }, decide, { put(2), put(2) })
      end)

      it("over a list tells what handling would, also where a decision looks at its own stream", function()
        local looking = {
          initial_state = 0,
          evolve = { Looked = function(n) return n + 1 end },
          decide = function(_, state, context)
            local count = { initial_state = 0, evolve = function(n) return n + 1 end }
            local seen = context:aggregate_stream("looking", count)
            return event("Looked", { state = state, seen = seen.state, exists = context:stream_exists("looking") })
          end,
        }
        local commands = { command "Look", command "Look", command "Look" }
        local ahead = store:decide("looking", looking, commands)
        local recorded = store:handle("looking", looking, commands)
        assert.same({
          { state = 0, seen = 0, exists = false }, { state = 1, seen = 1, exists = true },
          { state = 2, seen = 2, exists = true },
        }, pluck("data", ahead.events))
        assert.same(pluck("data", ahead.events), pluck("data", recorded.events))
      end)

      it("has recorded nothing, and so tells no position in the log", function()
        assert.is_nil(decide(put(1)).last_event_global_position)
      end)

      it("fails as handling would", function()
        store:append_to_stream("box", event("Put", { n = 1 }))
        support.refuses(store, "rejected", { reason = "full" }, decide, put(3))
        support.refuses(store, "rejected", { reason = "never" }, decide, command "Refuse")
        support.refuses(store, "script_error", { command_type = "Fail" }, decide, command "Fail")
        support.refuses(store, "script_error", { event_type = "Broken" }, decide, command "Break")
        support.refuses(store, "script_error", { event_type = "Broken" }, decide, command "Break", { state = false })
        support.refuses(store, "unknown_command_type", { type = "Kick" }, decide, command "Kick")
        support.refuses(store, "unknown_event_type", { type = "Shakne" }, decide, command "Typo")
        support.refuses(store, "version_conflict", { current = 1 }, decide, put(1), { expected_stream_version = 2 })
      end)

      it("has no state when nobody wants it", function()
        assert.is_nil(decide(put(1), { state = false }).state)
      end)

      it("sees what its transaction has written, and leaves nothing in it", function()
        store:transaction(function()
          store:handle("box", box, put(2))
          assert.same({ count = 3 }, decide(put(1)).state)
          support.fails("rejected", { reason = "full" }, decide, put(2))
        end)
        assert.equal(1, store:stream_version("box"))
      end)

      it("does not use up a command's id", function()
        decide { type = "Put", data = { n = 1 }, command_id = "id-1" }
        local result = store:handle("box", box, { type = "Put", data = { n = 2 }, command_id = "id-1" })
        assert.equal(1, #result.events)
      end)

      it("looks into other streams, too", function()
        local follower = {
          initial_state = 0, evolve = { Followed = false },
          decide = function(_, _, context)
            return event("Followed", context:aggregate_stream("box", box).state)
          end,
        }
        store:handle("box", box, put(2))
        assert.same({ count = 2 }, store:decide("follower", follower, command "Follow").events[1].data)
      end)
    end)
  end)

  describe("deciding without recording", function()
    it("works on a read-only store", function()
      local store, path = support.open()
      store:handle("box", box, put(1))
      store:close()
      local reader <close> = moonfold.open(path, { read_only = true })
      assert.same({ count = 3 }, reader:decide("box", box, put(2)).state)
      support.fails("rejected", { reason = "full" }, reader.decide, reader, "box", box, put(3))
      support.fails("read_only", nil, reader.handle, reader, "box", box, put(1))
      assert.equal(1, reader:stream_version("box"))
    end)

    it("does not wait for a writer", function()
      local store <close>, path = support.open()
      local peer <close> = support.peer()
      store:handle("box", box, put(1))
      peer:send([[
        local store <close> = moonfold.open(...)
        store:transaction(function()
          store:append_to_stream("box", { type = "Put", data = { n = 2 } })
          answer("written")
          io.stdin:read(1)
        end)
      ]], path)
      assert.equal("written", peer:receive())
      assert.same({ count = 3 }, store:decide("box", box, put(2)).state)
      peer.requests:write("\n")
      peer.requests:flush()
      peer:receive()
      support.fails("rejected", { reason = "full" }, store.decide, store, "box", box, put(1))
    end)
  end)

  describe("a refusal", function()
    it("is an error object that anything may raise", function()
      local detail = { list = { 1 } }
      local failure = support.fails("rejected", { reason = "no", detail = detail },
        moonfold.reject, "no", "not today", detail)
      assert.equal("not today", failure.message)
    end)

    it("needs a reason only", function()
      local failure = support.fails("rejected", { reason = "no" }, moonfold.reject, "no")
      assert.is_nil(failure.detail)
      assert.matches("no", tostring(failure), 1, true)
    end)

    it("may have any value as its detail", function()
      for _, detail in ipairs { 1, 0.5, "text", true, {}, { a = { 1 } } } do
        support.fails("rejected", { detail = detail }, moonfold.reject, "no", nil, detail)
      end
    end)

    it("is the same with and without 'return' in front", function()
      local store <close> = moonfold.open(":memory:")
      for _, decide in ipairs {
        function() moonfold.reject("no", "not today") end,
        function() return moonfold.reject("no", "not today") end,
        function() do return moonfold.reject("no", "not today"), "more" end end,
      } do
        local decider = { initial_state = 0, evolve = {}, decide = decide }
        local result, rejection = store:attempt("a", decider, command "Do")
        assert.is_nil(result)
        assert.equal("no", rejection.reason)
      end
    end)

    it("without a reason is a mistake of the script", function()
      local store <close> = moonfold.open(":memory:")
      local seen
      local decider = { initial_state = 0, evolve = {}, decide = function()
        local _, failure = pcall(moonfold.reject)
        seen = failure.code
      end }
      store:attempt("a", decider, command "Do")
      assert.equal("invalid_argument", seen)
    end)

    it("from the depth of a script comes out as it was", function()
      local store <close> = moonfold.open(":memory:")
      local function check(depth)
        if depth == 0 then moonfold.reject("deep", "down here", { depth = depth }) end
        check(depth - 1)
        return depth
      end
      local decider = { initial_state = 0, evolve = {}, decide = function() check(50) end }
      local _, rejection = store:attempt("a", decider, command "Do")
      assert.equal("deep", rejection.reason)
      assert.same({ depth = 0 }, rejection.detail)
    end)

    it("in the decider of another stream keeps that stream's name", function()
      local store <close> = moonfold.open(":memory:")
      store:transaction(function()
        store:append_to_stream("one", event("Put", { n = 3 }))
        local _, rejection = store:attempt("one", box, put(1))
        assert.equal("one", rejection.stream)
        _, rejection = store:attempt("two", box, put(4))
        assert.equal("two", rejection.stream)
      end)
    end)
  end)
end)
