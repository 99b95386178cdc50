--- aggregate_streams: many folds, for which the log is read once. What each of them comes to is what aggregate_stream
--- comes to.

local moonfold = require "moonfold"
local support = require "support"

local event = moonfold.event

local SOURCE <const> = [[
return {
  initial_state = function() return { sum = 0 } end,
  evolve = {
    Added = function(state, event) state.sum = state.sum + event.data.n; state.last = event.data end,
    Broken = function(_, event) error("broken " .. event.data.n) end,
    Spun = function() while true do end end,
    Other = false,
  },
}
]]

local function script(source) return support.write(support.path "many.lua", source or SOURCE) end

describe("folding many streams", function()
  local store, loaded, plain
  before_each(function()
    store = support.open()
    loaded = moonfold.load_decider(script(), { budget = 100000 })
    plain = load(SOURCE)()
  end)
  after_each(function() store:close() end)

  -- Streams written in turn, in stretches of any length.
  local function scatter(streams, events, most)
    local written = 0
    while written < events do
      local list = {}
      for i = 1, math.min(math.random(most), events - written) do
        written = written + 1
        list[i] = event(math.random(9) == 9 and "Other" or "Added", { n = written })
      end
      store:append_to_stream("s-" .. math.random(streams), list)
    end
  end

  -- Compares with folds one by one.
  local function same(folds)
    local results = store:aggregate_streams(folds, { hash = true })
    assert.equal(#folds, #results)
    for i, fold in ipairs(folds) do
      local one = store:aggregate_stream(fold.stream, fold.decider, { to = fold.to })
      assert.same(one.state, results[i].state)
      assert.equal(one.current_stream_version, results[i].current_stream_version)
      assert.equal(moonfold.hash(one.state), results[i].hash)
    end
  end

  local function random_folds(streams, count)
    local folds = {}
    for i = 1, count do
      local stream = "s-" .. math.random(streams + 1)
      local version = store:stream_version(stream)
      folds[i] = { stream = stream, decider = math.random(2) == 1 and loaded or plain,
        to = math.random(3) > 1 and math.random(0, version + 1) or nil }
    end
    return folds
  end

  it("comes to what folding one by one comes to, whatever the order, and however far", function()
    for _ = 1, 10 do
      scatter(20, 400, math.random(8))
      same(random_folds(20, 60))
    end
    same {}
  end)

  it("sees what the transaction has appended", function()
    scatter(5, 50, 3)
    store:transaction(function()
      scatter(8, 50, 3)
      same(random_folds(8, 40))
    end)
    same(random_folds(8, 40))
  end)

  it("reads streams one by one for which there is no room", function()
    local large = ("x"):rep(12 << 20)
    for i = 1, 8 do store:append_to_stream("s-" .. i % 4 + 1, event("Other", { large })) end
    scatter(4, 20, 2)
    same(random_folds(4, 8))
  end)

  it("tells what fails in its place, with stream and event, and folds the others", function()
    store:append_to_stream("a", { event("Added", { n = 1 }), event("Broken", { n = 2 }) })
    store:append_to_stream("b", event("Added", { n = 3 }))
    store:append_to_stream("c", event("Spun"))
    for _, decider in ipairs { loaded, plain } do
      local folds = {}
      for _, stream in ipairs { "a", "b", "c", "a", "b" } do
        if decider == loaded or stream ~= "c" then folds[#folds + 1] = { stream = stream, decider = decider } end
      end
      local results = store:aggregate_streams(folds)
      assert.same({ "script_error", "a", 2, "Broken" }, { results[1].failure.code, results[1].failure.stream,
        results[1].failure.position, results[1].failure.event_type })
      assert.equal(3, results[2].state.sum)
      assert.equal(3, results[#results].state.sum)
      if decider == loaded then assert.equal("budget_exceeded", results[3].failure.code) end
    end
  end)

  it("gives each fold its own budget", function()
    local spending = moonfold.load_decider(script [[
      return { initial_state = 0, evolve = function(n) for _ = 1, 20000 do end return n + 1 end }
    ]], { budget = 30000 })
    local folds = {}
    for i = 1, 50 do
      store:append_to_stream("s-" .. i, event "Added")
      folds[i] = { stream = "s-" .. i, decider = spending }
    end
    for _, result in ipairs(store:aggregate_streams(folds)) do assert.equal(1, result.state) end
    for i = 1, 9 do store:append_to_stream("s-7", event("Added", { i })) end
    assert.equal("budget_exceeded", store:aggregate_streams(folds)[7].failure.code)
    assert.equal(1, store:aggregate_streams(folds)[8].state)
  end)

  it("does not let a script keep what a fold leaves behind", function()
    local hiding = moonfold.load_decider(script [[
      local seen = 0
      return { initial_state = 0, evolve = { Added = function() seen = seen + 1 return seen end, Other = false } } ]])
    store:append_to_stream("a", event "Other")
    store:append_to_stream("b", event "Added")
    local folds = {}
    for i, stream in ipairs { "a", "b", "a", "b" } do folds[i] = { stream = stream, decider = hiding } end
    local results = store:aggregate_streams(folds)
    assert.same({ 0, 0 }, { results[1].state, results[3].state })
    assert.matches('the local variable "seen"', results[2].failure.message, 1, true)
    assert.matches('the local variable "seen"', results[4].failure.message, 1, true)
  end)

  it("tells of a damaged event in the streams that have it", function()
    local path = support.path "damaged.fold"
    do
      local damaged <close> = moonfold.open(path)
      damaged:append_to_stream("a", event("Added", { n = 1 }))
      damaged:append_to_stream("b", event("Added", { n = 1, text = "a text to be found" }))
    end
    local bytes = support.read(path)
    support.write(path, (bytes:gsub("a text to be", "a tExt to be")))
    local damaged <close> = moonfold.open(path)
    local results = damaged:aggregate_streams {
      { stream = "a", decider = loaded }, { stream = "b", decider = loaded }, { stream = "b", decider = plain },
    }
    assert.equal(1, results[1].state.sum)
    assert.same({ "corrupt", "corrupt" }, { results[2].failure.code, results[3].failure.code })
  end)

  it("tells of a stream that is not to be found any more in its place, and folds the others", function()
    local path = support.path "damaged.fold"
    local damaged <close> = moonfold.open(path)
    damaged:append_to_stream("a", event("Added", { n = 1 }))
    damaged:append_to_stream("a stream to be found", event("Added", { n = 2 }))
    local bytes, file <close> = support.read(path), assert(io.open(path, "r+b"))
    for behind in bytes:gmatch "a stream to be found()" do
      file:seek("set", behind - 1)
      file:write(string.char(bytes:byte(behind) ~ 1))
    end
    file:flush()
    local results = damaged:aggregate_streams {
      { stream = "a stream to be found", decider = loaded }, { stream = "a", decider = loaded },
    }
    assert.equal("corrupt", results[1].failure.code)
    assert.equal(1, results[2].state.sum)
  end)

  it("refuses what it cannot fold, and says where", function()
    local function refuses(path, folds)
      support.fails("invalid_argument", { path = path }, store.aggregate_streams, store, folds)
    end
    refuses("folds", 7)
    refuses("folds[1]", { 7 })
    refuses("folds[2].decider", { { stream = "a", decider = plain }, { stream = "a", decider = 7 } })
    refuses("stream", { { decider = plain } })
  end)
end)
