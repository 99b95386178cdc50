local moonfold = require "moonfold"
local support = require "support"

local function data(i) return ("payload " .. i .. " "):rep(12) end

--- A closed store: 60 events alone, then a commit of 40, then 20 alone. Some have ids.
local function written()
  local store <close>, path = support.open { clock = function() return 1000 end }
  local function append(i)
    store:append_to_stream("stream-" .. i % 3, {
      type = "Noted" .. i % 2, data = data(i), message_id = i % 10 == 0 and "id-" .. i or nil,
    })
  end
  for i = 1, 60 do append(i) end
  store:transaction(function()
    for i = 61, 100 do append(i) end
  end)
  for i = 101, 120 do append(i) end
  return path
end

local function damage(path, i)
  local bytes = support.read(path)
  local file <close> = assert(io.open(path, "r+b"))
  for at in bytes:gmatch("()payload " .. i .. " payload " .. i .. " ") do
    file:seek("set", at - 1)
    file:write("X")
  end
end

local function numbers(store)
  local found = {}
  for event in store:all_events() do
    local i = tonumber(event.data:match("%d+"))
    assert.equal(data(i), event.data)
    assert.same({ "stream-" .. i % 3, "Noted" .. i % 2, 1000 }, { event.stream_name, event.type, event.recorded_at })
    found[#found + 1] = i
  end
  return found
end

--- 1 to 120 without some.
local function all_but(first, last)
  local list = {}
  for i = 1, 120 do
    if i < first or i > last then list[#list + 1] = i end
  end
  return list
end

local function salvaged(path)
  local report = moonfold.salvage(path, path .. ".new")
  return report, moonfold.open(path .. ".new")
end

describe("salvage", function()
  it("of a store without damage makes the same store", function()
    local path = written()
    local report, store = salvaged(path)
    local old <close> = moonfold.open(path)
    local new <close> = store
    assert.same({ 120, 81, 0, false, {} },
      { report.events, report.commits, report.lost_events, report.renumbered, report.losses })
    for field in ("type stream_name stream_position global_position recorded_at message_id data"):gmatch("%S+") do
      assert.same(support.pluck(field, old:all_events()), support.pluck(field, new:all_events()), field)
    end
    assert.is_true(moonfold.verify(path .. ".new").sound)
  end)

  it("leaves out an event that is damaged, and moves what follows up", function()
    local path = written()
    damage(path, 31)
    local before = {}
    do
      local old <close> = moonfold.open(path, { read_only = true })
      for event in old:all_events({ from = 32 }) do before[#before + 1] = event.message_id end
    end
    local report, store <close> = salvaged(path)
    assert.same(all_but(31, 31), numbers(store))
    assert.same({ 1, true }, { report.lost_events, report.renumbered })
    assert.same({ from = 31, to = 31, why = "it cannot be read" }, report.losses[1])
    assert.same({ from = 11, to = 11, stream = "stream-1" }, report.losses[2])
    assert.same(before, support.pluck("message_id", store:all_events { from = 31 }))
  end)

  it("leaves out the whole commit of an event that is damaged", function()
    local path = written()
    damage(path, 75)
    local report, store <close> = salvaged(path)
    assert.same(all_but(61, 100), numbers(store))
    assert.equal(40, report.lost_events)
  end)

  it("keeps all numbers when only the end is lost", function()
    local path = written()
    damage(path, 120)
    local report, store <close> = salvaged(path)
    assert.same(all_but(120, 120), numbers(store))
    assert.is_false(report.renumbered)
    local old <close> = moonfold.open(path, { read_only = true })
    assert.same(support.pluck("message_id", old:all_events { to = 119 }),
      support.pluck("message_id", store:all_events()))
  end)

  -- A killed writer leaves pages that no meta page leads to: its commit never was.
  local function interrupted()
    local path = written()
    local before = support.read(path)
    do
      local store <close> = moonfold.open(path)
      store:transaction(function()
        store:append_to_stream("stream-1", { type = "Never", data = data(121) })
        store:append_to_stream("never", { type = "Never", data = data(122) })
      end)
    end
    local after = support.read(path)
    support.write(path, before:sub(1, 2 * 4096) .. after:sub(2 * 4096 + 1))
    assert.is_true(moonfold.verify(path).sound)
    return path
  end

  it("brings nothing back that was written and never committed", function()
    local path = interrupted()
    local report, store <close> = salvaged(path)
    assert.same(all_but(0, 0), numbers(store))
    assert.same({ 120, 81, 0, false, {} },
      { report.events, report.commits, report.lost_events, report.renumbered, report.losses })
    assert.is_false(store:stream_exists("never"))
  end)

  it("nor does it miss that where something else is lost", function()
    local path = interrupted()
    damage(path, 31)
    local report, store <close> = salvaged(path)
    assert.same(all_but(31, 31), numbers(store))
    assert.same({ { from = 31, to = 31, why = "it cannot be read" }, { from = 11, to = 11, stream = "stream-1" } },
      report.losses)
  end)

  it("takes an event from a copy that was never committed, and not what that has behind it", function()
    local path = interrupted()
    local bytes = support.read(path)
    local places = {}
    for at in bytes:gmatch("()payload 120 payload 120 ") do places[#places + 1] = at end
    assert.is_true(#places > 1)
    local found = 0
    for _, at in ipairs(places) do -- whichever of them the log leads to
      support.write(path, bytes:sub(1, at - 1) .. "X" .. bytes:sub(at + 1))
      if not moonfold.verify(path).sound then
        found = found + 1
        os.remove(path .. ".new")
        local report, store <close> = salvaged(path)
        assert.same(all_but(0, 0), numbers(store))
        assert.equal(0, report.lost_events)
      end
    end
    assert.is_true(found > 0)
  end)

  it("finds the events of a file whose trees are lost", function()
    local path = written()
    local bytes = support.read(path)
    -- Every leaf of the log is gone: its keys are the positions of blocks, eight bytes each.
    local leaves = 0
    local file <close> = assert(io.open(path, "r+b"))
    for page = 2, #bytes // 4096 - 1 do
      local at = page * 4096
      local flags, lower = ("<I2"):unpack(bytes, at + 11), ("<I2"):unpack(bytes, at + 13)
      local node = flags == 2 and lower > 16 and at + ("<I2"):unpack(bytes, at + 17)
      if node and ("<I2"):unpack(bytes, node + 7) == 8 and ("<I2"):unpack(bytes, node + 5) == 1 then
        file:seek("set", at)
        file:write(("\0"):rep(4096))
        leaves = leaves + 1
      end
    end
    file:flush()
    assert.is_true(leaves > 0)
    support.fails("corrupt", nil, moonfold.open, path)
    local report, store <close> = salvaged(path)
    assert.same(all_but(0, 0), numbers(store))
    assert.equal(0, report.lost_events)
  end)

  it("knows the ids again, and answers a command that was handled", function()
    local path = support.path()
    local decider = { initial_state = 0, evolve = function(n) return n + 1 end,
      decide = function() return { { type = "Decided" }, { type = "Decided" } } end }
    local command = { type = "Decide", command_id = "c1" }
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("s", { type = "A", message_id = "m1" })
      store:handle("s", decider, command)
    end
    local _, store <close> = salvaged(path)
    assert.equal(3, store:handle("s", decider, command).next_expected_stream_version)
    support.fails("id_conflict", nil, store.append_to_stream, store, "s", { type = "B", message_id = "m1" })
    assert.equal(3, store:stream_version("s"))
  end)

  it("takes over kept code", function()
    local path = support.path()
    local script = support.write(support.path("counter.lua"), [[
      return { category = "counter", initial_state = 0, evolve = { Counted = function(n) return n + 1 end },
        decide = { Count = function() return { type = "Counted" } end } }]])
    do
      local store <close> = moonfold.open(path)
      store:handle("counter-1", moonfold.load_decider(script), { type = "Count" })
    end
    local _, store = salvaged(path)
    store:close()
    assert.equal(moonfold.verify(path).beside, moonfold.verify(path .. ".new").beside)
  end)

  it("overwrites nothing, and leaves nothing half made", function()
    local path = written()
    local folder = support.folder()
    support.write(folder .. "/there", "precious")
    support.fails("invalid_argument", nil, moonfold.salvage, path, folder .. "/there")
    assert.equal("precious", support.read(folder .. "/there"))
    pcall(moonfold.salvage, path, folder .. "/new", { progress = function() error("enough") end })
    support.fails("corrupt", nil, moonfold.salvage, support.write(support.path(), ("x"):rep(9000)), folder .. "/new")
    support.fails("not_found", nil, moonfold.salvage, support.path(), folder .. "/new")
    assert.equal("there", support.files(folder))
  end)

  it("is a command that lists what is lost", function()
    local path = written()
    damage(path, 31)
    local run = support.shell(("%s salvage %s %s"):format(support.program(), support.quote(path),
      support.quote(path .. ".new")))
    assert.equal("lost: position 31: it cannot be read\nlost: version 11 of stream stream-1\n", run.stdout)
    assert.matches("recovered 119 events in 80 commits", run.stderr, 1, true)
    assert.equal(5, run.status)
  end)
end)
