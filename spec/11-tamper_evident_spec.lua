local moonfold = require "moonfold"
local support = require "support"

--- Writes the same history to a new store: events alone, a commit of many, a command's.
local function write(store, changed)
  for i = 1, 30 do
    store:append_to_stream("s-" .. i % 4, { type = "Noted", data = i == 7 and changed or i, metadata = { i } })
  end
  store:transaction(function()
    for i = 1, 200 do store:append_to_stream("t-" .. i % 9, { type = "Many" .. i % 3, data = ("x"):rep(i) }) end
  end)
  store:append_to_stream("s-1", { { type = "A", message_id = "m" }, { type = "B" } })
end

local function history(changed, options)
  options = options or {}
  options.tamper_evident, options.clock = true, function() return 1 end
  local store <close>, path = support.open(options)
  write(store, changed or 7)
  return path
end

describe("a tamper-evident store", function()
  it("has a link that stands for its history", function()
    local path = history()
    local report = moonfold.verify(path)
    assert.same({}, report.problems)
    assert.is_true(report.tamper_evident)
    assert.matches("^232:%x+$", report.link)
    assert.equal(4 + 64, #report.link)
    assert.is_true(moonfold.verify(path, { link = report.link }).sound)
  end)

  it("has the same link as another with the same history, and another one after any change", function()
    local link = moonfold.verify(history()).link
    assert.equal(link, moonfold.verify(history()).link)
    assert.equal(link, moonfold.verify(history(nil, { durability = "none" })).link)
    assert.not_equal(link, moonfold.verify(history(8)).link)
  end)

  it("proves an old link when history has gone on", function()
    local path = history()
    local link = moonfold.verify(path).link
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("later", support.ticks(500))
    end
    local report = moonfold.verify(path, { link = link })
    assert.same({}, report.problems)
    assert.not_equal(link, report.link)
  end)

  it("is found out when its history is another one, however well that is made", function()
    local link = moonfold.verify(history()).link
    local report = moonfold.verify(history(8), { link = link })
    assert.same({ false, 1 }, { report.sound, report.parts.chain })
    assert.matches("written down", report.problems[1].message)
    assert.equal(232, report.problems[1].position)
  end)

  it("is found out when its end was cut off, and a store without a chain when a link is asked of it", function()
    local link = moonfold.verify(history()).link
    local store, path = support.open { tamper_evident = true }
    store:append_to_stream("s-1", { type = "Noted" })
    store:close()
    assert.equal(1, moonfold.verify(path, { link = link }).parts.chain)
    store, path = support.open()
    store:append_to_stream("s-1", { type = "Noted" })
    store:close()
    assert.equal(1, moonfold.verify(path, { link = link }).parts.chain)
    assert.is_false(moonfold.verify(path).tamper_evident)
  end)

  it("keeps its link in a backup, and through salvage when nothing is lost", function()
    local path = history()
    local link = moonfold.verify(path).link
    do
      local store <close> = moonfold.open(path)
      store:backup(path .. ".copy")
    end
    assert.equal(link, moonfold.verify(path .. ".copy").link)
    moonfold.salvage(path, path .. ".new")
    assert.equal(link, moonfold.verify(path .. ".new").link)
  end)

  it("goes on with its chain from process to process, and in many small commits", function()
    local path = history()
    for i = 1, 20 do
      local store <close> = moonfold.open(path)
      store:append_to_stream("s", { type = "T", data = ("y"):rep(i * 37) })
    end
    assert.same({}, moonfold.verify(path).problems)
  end)

  it("tells its link in stats, and verify takes it", function()
    local path = history()
    local stats = support.shell(support.program() .. " stats " .. support.quote(path))
    local link = stats.stdout:match("232:%x+")
    assert.equal(moonfold.verify(path).link, link)
    local verify = support.program() .. " verify " .. support.quote(path) .. " --link "
    assert.equal(0, support.shell(verify .. link).status)
    assert.equal(1, support.shell(verify .. link:gsub("%x$", function(c) return c == "0" and "1" or "0" end)).status)
    support.fails("invalid_argument", { path = "options.link" }, moonfold.verify, path, { link = "232:abc" })
  end)
end)
