--- Commands that are kept with the decision.

local lfs = require "lfs"
local moonfold = require "moonfold"
local support = require "support"

local command = moonfold.command
local program = support.program()

local script <const> = [[
local moonfold = require "moonfold"
local stock = { initial_state = 0, evolve = { Delivered = function(n, event) return n + event.data end } }
return {
  initial_state = 0,
  evolve = { Done = function(n) return n + 1 end },
  decide = {
    Do = function() return { type = "Done" } end,
    Twice = function() return { { type = "Done" }, { type = "Done" } } end,
    Nothing = function() end,
    Refuse = function(command)
      command.data.changed = true
      moonfold.reject("no", "it is refused", { because = command.data.why })
    end,
    Strange = function() moonfold.reject("strange", nil, { print }) end,
    Catch = function() pcall(moonfold.reject, "caught") return { type = "Done" } end,
    Fail = function() error "no" end,
    Look = function(_, _, context)
      local amount = context:aggregate_stream("stock-tea", stock).state
      if context:stream_exists("stock-none") or amount < 1 then moonfold.reject("sold_out") end
      return { type = "Done", data = context:random(6) }
    end,
  },
}
]]

support.everywhere(function(open)
  describe("kept commands", function()
    local store, decider, path, now
    local function load(keep) return moonfold.load_decider(path, { keep_commands = keep }) end
    before_each(function()
      now = 1000
      store = open { clock = function() return now end }
      path = support.write(support.path("done.lua"), script)
      decider = load(true)
    end)
    after_each(function() store:close() end)

    local function kept(options)
      local list = {}
      for given in store:commands(options) do list[#list + 1] = given end
      return list
    end

    local function handle(...) return store:handle("a", decider, ...) end

    it("tell what was asked, and what came of it", function()
      handle { type = "Do", data = { 1 }, metadata = { user = "ada" }, command_id = "c-1", time = 7 }
      now = 2000
      handle(command "Twice")
      handle(command "Nothing")
      local list = kept()
      assert.equal(3, #list)
      local first = list[1]
      assert.equal(32, #first.seed)
      first.seed = nil
      assert.same({ type = "Do", data = { 1 }, metadata = { user = "ada" }, command_id = "c-1", time = 7,
        stream_name = "a", recorded_at = 1000, outcome = "accepted", events = 1, first_position = 1,
        stream_version = 0, global_position = 0, code_digest = decider.digest }, first)
      assert.same({ "Twice", 2000, 2, 2, 1, 1 }, { list[2].type, list[2].time, list[2].events,
        list[2].first_position, list[2].stream_version, list[2].global_position })
      assert.same({ "Nothing", "accepted", 0 }, { list[3].type, list[3].outcome, list[3].events })
      assert.is_nil(list[3].first_position)
    end)

    it("tell of refusals, although nothing else is recorded", function()
      support.fails("rejected", nil, function() handle(command("Refuse", { why = "so" })) end)
      assert.is_nil((store:attempt("a", decider, command "Strange")))
      local list = kept()
      assert.same({ "rejected", "no", "it is refused", { because = "so" } },
        { list[1].outcome, list[1].reason, list[1].message, list[1].detail })
      assert.same({ why = "so" }, list[1].data)
      assert.is_nil(list[1].events)
      assert.same({ "rejected", "strange" }, { list[2].outcome, list[2].reason })
      assert.is_false(store:stream_exists("a"))
    end)

    it("tell of no refusal that the script has caught", function()
      handle(command "Catch")
      assert.same({ "accepted" }, { kept()[1].outcome, kept()[1].reason })
    end)

    it("tell what the decision has looked at", function()
      store:append_to_stream("stock-tea", { moonfold.event("Delivered", 1), moonfold.event("Delivered", 2) })
      handle(command "Look")
      assert.same({ ["stock-tea"] = 2, ["stock-none"] = 0 }, kept()[1].reads)
      handle(command "Do")
      assert.is_nil(kept()[2].reads)
    end)

    it("are those that were decided: none that failed, was only looked at, or was repeated", function()
      support.fails("script_error", nil, function() handle(command "Fail") end)
      support.fails("version_conflict", nil, function()
        store:handle("a", decider, command "Do", { expected_stream_version = 5 })
      end)
      store:decide("a", decider, command "Do")
      assert.is_nil((pcall(store.decide, store, "a", decider, command("Refuse", {})) or nil))
      assert.same({}, kept())
      for _ = 1, 3 do handle { type = "Do", command_id = "c-1" } end
      assert.equal(1, #kept())
    end)

    it("are those of a list, each for itself; of a list that is refused, the refused one", function()
      handle { command "Do", command "Twice" }
      assert.same({ 1, 2 }, { kept()[1].events, kept()[2].events })
      pcall(handle, { command "Do", command("Refuse", {}), command "Do" })
      assert.same({ 3, "rejected" }, { #kept(), kept()[3].outcome })
    end)

    it("go with the transaction that is open", function()
      store:transaction(function()
        handle(command "Do")
        store:attempt("a", decider, command("Refuse", {}))
      end)
      assert.equal(2, #kept())
      pcall(store.transaction, store, function()
        handle(command "Do")
        store:attempt("a", decider, command("Refuse", {}))
        error "no"
      end)
      assert.equal(2, #kept())
    end)

    it("are found by time and by the beginning of their stream's name", function()
      for i, stream in ipairs { "a-1", "a-2", "b-1" } do
        now = 1000 * i
        store:handle(stream, decider, command "Do")
      end
      local function names(options)
        local list = {}
        for given in store:commands(options) do list[#list + 1] = given.stream_name end
        return table.concat(list, " ")
      end
      assert.equal("a-1 a-2 b-1", names())
      assert.equal("a-2 b-1", names { since = 2000 })
      assert.equal("a-1 a-2", names { prefix = "a-" })
      assert.equal("a-2", names { prefix = "a-", since = 1001 })
    end)

    it("are bounded in number and age when that is asked for", function()
      decider = load { max_count = 5 }
      for i = 1, 30 do
        now = i * 1000000
        handle(command "Do")
      end
      assert.equal(5, #kept())
      decider = load { max_age = 2 }
      for _ = 1, 3 do handle(command "Do") end
      assert.equal(28000000, kept()[1].recorded_at)
      support.fails("invalid_argument", { path = "options.keep_commands.max_age" }, function()
        load { max_age = 0 }
      end)
      support.fails("invalid_argument", nil, function() load { max_cuont = 1 } end)
    end)

    it("are kept by the command line, too, when it is asked to: of a file, and of a folder of rules", function()
      local folder = support.folder()
      assert(lfs.mkdir(folder .. "/rules"))
      local owned = script:gsub("initial_state = 0,\n  evolve = { Done", "category = 'doer', %0")
      support.write(folder .. "/rules/doer.lua", owned)
      local function run(words)
        local line = ("cd %s && exec %s %s"):format(support.quote(folder), support.quote(program), words)
        return support.shell(line).status
      end
      assert.equal(0, run "handle shop.fold rules/doer.lua doer-1 Do")
      assert.equal(0, run "handle shop.fold rules/doer.lua doer-1 Do --keep")
      assert.equal(0, run "handle shop.fold rules doer-1 Do --keep --dry-run")
      assert.equal(3, run "handle shop.fold rules doer-1 Refuse '{}' --keep")
      local given = {}
      local shop <close> = moonfold.open(folder .. "/shop.fold")
      for each in shop:commands() do given[#given + 1] = each.type .. " " .. each.outcome end
      assert.same({ "Do accepted", "Refuse rejected" }, given)
    end)

    it("are none where nobody has asked for them", function()
      decider = load(nil)
      handle(command "Do")
      store:attempt("a", decider, command("Refuse", {}))
      assert.same({}, kept())
      assert.equal(0, store:kept().commands)
    end)
  end)
end)
