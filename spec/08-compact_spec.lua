local moonfold = require "moonfold"
local support = require "support"

--- A closed store with many free pages, and its path.
local function written()
  local store <close>, path = support.open { durability = "none" }
  for i = 1, 300 do
    store:append_to_stream("s-" .. i % 10, { type = "Noted", data = ("x"):rep(200), message_id = "m" .. i })
  end
  return path
end

local function contents(path)
  local store <close> = moonfold.open(path, { create = false })
  return support.pluck("message_id", store:all_events())
end

describe("compact", function()
  it("gives free pages back, and changes nothing else", function()
    local path = written()
    local before, size = contents(path), #support.read(path)
    assert.is_true(moonfold.verify(path).free_pages > 0)
    moonfold.compact(path)
    assert.is_true(#support.read(path) < size)
    assert.equal(0, moonfold.verify(path).free_pages)
    assert.same(before, contents(path))
    assert.equal("store.fold store.fold-lock", support.files(path:match("^(.*)/")))
  end)

  it("leaves a store that can be written to", function()
    local path = written()
    moonfold.compact(path)
    local store <close> = moonfold.open(path)
    assert.equal(301, store:append_to_stream("new", { type = "A" }).last_event_global_position)
    support.fails("id_conflict", nil, store.append_to_stream, store, "new", { type = "B", message_id = "m7" })
  end)

  it("is refused while the store is open here", function()
    local path = written()
    local store <close> = moonfold.open(path)
    support.fails("busy", nil, moonfold.compact, path)
    store:append_to_stream("a", { type = "A" })
    assert.equal(301, support.count(store))
  end)

  it("is refused while another process has it open, a reader as well", function()
    for _, options in ipairs { { read_only = true }, {} } do
      local path = written()
      local peer <close> = support.peer()
      peer:run("local path, options = ... store = moonfold.open(path, options)", path, options)
      support.fails("busy", nil, moonfold.compact, path)
      assert.equal(300, peer:run("return support.count(store)"))
      peer:run("store:close()")
      moonfold.compact(path)
    end
  end)

  it("keeps the file's mode, also behind a symbolic link", function()
    local path = written()
    local link = support.path("link.fold")
    assert(os.execute(("chmod 640 %s && ln -s %s %s"):format(support.quote(path), support.quote(path),
      support.quote(link))))
    moonfold.compact(link)
    assert.equal("640 ", support.shell("stat -c '%a ' " .. support.quote(path)).stdout:gsub("\n", ""))
    assert.equal("link.fold", support.files(link:match("^(.*)/")))
    assert.equal(300, #contents(link))
  end)

  it("loses nothing while others try to open and append", function()
    local path = written()
    local peer <close> = support.peer()
    peer:send([[
      local path, done = ..., 0
      local deadline = os.time() + 60
      while done < 200 and os.time() < deadline do
        local fine, opened = pcall(moonfold.open, path, { durability = "none" })
        if fine then
          opened:append_to_stream("peer", { type = "Ticked" })
          opened:close()
          done = done + 1
        elseif opened.code ~= "busy" then error(opened) end
      end
      return done
    ]], path)
    local compacted = 0
    while compacted < 20 do
      local fine, failure = pcall(moonfold.compact, path)
      if fine then compacted = compacted + 1 else assert.equal("busy", failure.code) end
    end
    local done = peer:receive()
    assert.is_true(done > 0)
    local store <close> = moonfold.open(path)
    assert.equal(done, store:stream_version("peer"))
    assert.equal(300 + done, support.count(store))
    assert.is_true(moonfold.verify(path).sound)
  end)

  it("refuses what is damaged, and leaves it as it is", function()
    local path = written()
    local bytes = support.read(path)
    local at = bytes:find(("x"):rep(200), 1, true)
    for place in bytes:gmatch("()" .. ("x"):rep(200)) do at = place end
    local file = assert(io.open(path, "r+b"))
    file:seek("set", at + 50)
    file:write("y")
    file:close()
    local damaged = support.read(path)
    if moonfold.verify(path).sound then return end -- that copy was in a free page
    support.fails("corrupt", nil, moonfold.compact, path)
    assert.is_true(damaged == support.read(path))
  end)

  it("is a command", function()
    local path = written()
    local run = support.shell(support.program() .. " compact " .. support.quote(path))
    assert.same({ 0, "" }, { run.status, run.stdout })
    assert.matches("it was", run.stderr, 1, true)
    assert.equal(0, moonfold.verify(path).free_pages)
  end)
end)
