-- A byte on the disk has changed. What was recorded comes back as it was, or the read says that it is damaged.

local moonfold = require "moonfold"
local support = require "support"

local MARK = "the payload that is damaged"

-- A closed store of 40 events, long enough for their block to have pages of its own; the 20th bears the mark.
local function written()
  local path = support.path("damaged.fold")
  local store <close> = moonfold.open(path)
  for i = 1, 40 do
    local text = i == 20 and MARK or "payload " .. i
    store:append_to_stream("a", { type = "Noted", data = { n = i, text = text .. ("."):rep(60) } })
  end
  return path
end

local function flip(path, offset)
  local file = assert(io.open(path, "r+b"))
  file:seek("set", offset)
  local byte = file:read(1):byte()
  file:seek("set", offset)
  file:write(string.char(byte ~ 0x10))
  file:close()
end

-- Where the newest copy of the mark stands in the file: older ones are in pages that are free by now.
local function find_mark(path)
  local bytes = support.read(path)
  local places, from = {}, 1
  while true do
    local at = bytes:find(MARK, from, true)
    if not at then return places end
    places[#places + 1] = at - 1
    from = at + 1
  end
end

-- Reads everything. True when all is as it was written; false when the damage was told; anything else fails.
local function reads_right(path)
  local store <close> = moonfold.open(path, { read_only = true })
  local n = 0
  local ok, err = pcall(function()
    for event in store:all_events() do
      n = n + 1
      assert(event.data.n == n and event.stream_position == n and event.stream_name == "a" and event.type == "Noted")
      assert(event.data.text == (n == 20 and MARK or "payload " .. n) .. ("."):rep(60))
    end
    assert(n == 40)
  end)
  if ok then return true end
  assert.equal("corrupt", type(err) == "table" and err.code or err)
  return false
end

describe("damage", function()
  it("to an event is told by every read that meets it, and by no other", function()
    local path = written()
    for _, offset in ipairs(find_mark(path)) do flip(path, offset) end
    local store <close> = moonfold.open(path)
    local counter = { initial_state = 0, evolve = function(n) return n + 1 end }
    assert.equal(19, #store:read_stream("a", { to = 19 }).events)
    assert.equal(20, #store:read_stream("a", { from = 21 }).events)
    local function corrupt(f, ...)
      local err = support.fails("corrupt", {}, f, ...)
      assert.matches("position 20", (err or {}).message or "position 20", 1, true)
    end
    corrupt(store.read_stream, store, "a")
    corrupt(store.read_stream, store, "a", { from = 20, to = 20, backwards = true })
    corrupt(store.read_stream, store, "a", { types = { "Noted" } })
    corrupt(store.aggregate_stream, store, "a", counter)
    corrupt(function() for _ in store:all_events() do end end) -- luacheck: ignore 542
  end)

  it("to an event refuses the command that rests on it, and the store works on", function()
    local path = written()
    for _, offset in ipairs(find_mark(path)) do flip(path, offset) end
    local store <close> = moonfold.open(path)
    local decider = { initial_state = 0, evolve = function(n) return n + 1 end,
      decide = function() return { type = "Noted" } end }
    support.fails("corrupt", {}, store.handle, store, "a", decider, { type = "Note" })
    assert.equal(40, store:stream_version("a"))
    assert.equal(1, store:handle("b", decider, { type = "Note" }).state)
  end)

  it("to an event makes no backup: a copy that is not sound is none, and nothing is left of it", function()
    local path = written()
    for _, offset in ipairs(find_mark(path)) do flip(path, offset) end
    local store <close> = moonfold.open(path)
    local copy = path .. ".copy"
    local err = support.fails("corrupt", {}, store.backup, store, copy)
    assert.matches("not sound", (err or {}).message or "not sound", 1, true)
    assert.equal("damaged.fold damaged.fold-lock", support.files(path:match("^(.*)/")))
  end)

  it("to any byte around an event never brings back another content", function()
    local path = written()
    local told = 0
    for _, mark in ipairs(find_mark(path)) do
      for offset = mark - 60, mark + #MARK + 60 do
        flip(path, offset)
        if not reads_right(path) then told = told + 1 end
        flip(path, offset)
      end
    end
    assert.is_true(told > 100)
    assert.is_true(reads_right(path))
  end)

  it("to the number of pages of a kept command is told at opening: so many would be given away with it", function()
    local path = support.path()
    local script = support.write(support.path("counter.lua"), [[
      return { category = "counter", initial_state = 0, evolve = { Counted = function(n) return n + 1 end },
        decide = { Count = function() return { type = "Counted" } end } }]])
    local counter = moonfold.load_decider(script, { keep_commands = { max_count = 3 } })
    local function count(store, name)
      store:handle("counter-1", counter, { type = "Count", data = name .. (" "):rep(9000) })
    end
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("a", support.ticks(3000))
      for i = 1, 3 do count(store, "command " .. i) end
    end
    local bytes = support.read(path)
    local changed = 0
    for page = 2, #bytes // 4096 - 1 do
      local at = page * 4096
      if ("<I2"):unpack(bytes, at + 11) == 4 and bytes:find("command 1", at + 1, true) and
        bytes:find("command 1", at + 1, true) < at + 200 then
        bytes = bytes:sub(1, at + 12) .. ("<I4"):pack(30) .. bytes:sub(at + 17)
        changed = changed + 1
      end
    end
    assert.is_true(changed > 0)
    support.write(path, bytes)
    assert.is_false(moonfold.verify(path).sound)
    support.fails("corrupt", nil, moonfold.open, path)
  end)

  it("to the number of pages of a block makes no backup, and says that it is the store that is damaged", function()
    local path = support.path()
    do
      local store <close> = moonfold.open(path)
      for _ = 1, 20 do store:append_to_stream("a", { type = "Noted", data = ("x"):rep(3000) }) end
    end
    local bytes = support.read(path)
    local folder, met = support.folder(), 0
    for page = 2, #bytes // 4096 - 1 do
      local at = page * 4096
      local long = ("<I2"):unpack(bytes, at + 11) == 4
      local pages = 1000 << (page % 20)
      if long then support.write(path, bytes:sub(1, at + 12) .. ("<I4"):pack(pages) .. bytes:sub(at + 17)) end
      local fine, store = pcall(moonfold.open, path)
      if fine and not moonfold.verify(path).sound then -- else it is in use no more, or the log's last one
        local failure = support.fails("corrupt", nil, store.backup, store, folder .. "/copy.fold")
        assert.matches(path, failure.message, 1, true)
        assert.not_matches("partial", failure.message, 1, true)
        assert.equal("", support.files(folder))
        met = met + 1
      end
      if fine then store:close() end
      support.write(path, bytes)
    end
    assert.is_true(met > 3)
  end)
end)
