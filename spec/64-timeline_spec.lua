--- Timelines: a picture of what happened.

local moonfold = require "moonfold"
local support = require "support"
local timeline = require "moonfold.timeline"

--- A store whose events are a minute apart.
local function told(f)
  local time = 1736503200000000
  local store = moonfold.open(":memory:", { clock = function()
    time = time + 60000000
    return time
  end })
  f(function(stream, kind, data) store:append_to_stream(stream, { type = kind, data = data }) end)
  return store
end

local function times(picture, pattern) return select(2, picture:gsub(pattern, "")) end

--- Fails unless every tag that opens is closed, in order, and nothing is left unescaped.
local function check_markup(picture)
  local open = {}
  for close, name, rest in picture:gmatch("<(/?)([%w]+)([^<>]*)>") do
    if close == "/" then
      assert.are.equal(name, table.remove(open))
    elseif not rest:find("/$") then
      open[#open + 1] = name
    end
  end
  assert.are.same({}, open)
  assert.is_nil(picture:gsub("&%a+;", ""):find("&", 1, true))
  assert.is_truthy(utf8.len(picture))
end

describe("a timeline", function()
  it("has a lane for each stream and a dot for each event, in the colour of its type", function()
    local store <close> = told(function(append)
      append("cart-1", "ItemAdded", { sku = "tea" })
      append("cart-2", "ItemAdded")
      append("cart-1", "Paid")
    end)
    local picture = timeline(store, { title = "shop.fold" })
    check_markup(picture)
    assert.equal(3, times(picture, 'class="dot"'))
    assert.matches(">shop.fold<", picture, 1, true)
    assert.matches("3 events in 2 streams, 2025-01-10 10:01:00 to 2025-01-10 10:03:00 UTC", picture, 1, true)
    assert.matches(">cart-1<", picture, 1, true)
    assert.matches("ItemAdded  2<", picture, 1, true)
    assert.matches("1 ItemAdded { sku = &quot;tea&quot; } 2025-01-10 10:01:00", picture, 1, true)
    local colours = {}
    for colour in picture:gmatch('r="4.5" fill="(#%x+)"') do colours[#colours + 1] = colour end
    assert.equal(colours[1], colours[2])
    assert.are_not.equal(colours[1], colours[3])
  end)

  it("has dots in the order of time, from left to right", function()
    local store <close> = told(function(append)
      for i = 1, 5 do append("a", "T" .. i % 2) end
    end)
    local last = 0
    for x in timeline(store):gmatch('cx="([%d.]+)" cy="[%d.]+" r="4.5"') do
      assert.is_true(tonumber(x) > last)
      last = tonumber(x)
    end
    assert.is_true(last > 1000)
  end)

  it("has bars for a lane of many events, with what they stand for", function()
    local store <close> = told(function(append)
      for i = 1, 1000 do append("busy", i % 4 == 0 and "Rare" or "Often") end
      append("quiet", "Rare")
    end)
    local picture = timeline(store)
    check_markup(picture)
    assert.equal(1, times(picture, 'class="dot"'))
    local events = 0
    for title in picture:gmatch("<g><title>([^<]*)") do
      for n in title:gmatch("(%d+) %a+") do events = events + n end
    end
    assert.equal(1000, events)
  end)

  it("lets the less busy of many streams share a lane, and counts them", function()
    local store <close> = told(function(append)
      for i = 1, 100 do
        for _ = 1, i > 60 and 3 or 1 do append(("s-%03d"):format(i), "T") end
      end
    end)
    local picture = timeline(store)
    check_markup(picture)
    assert.matches(">61 streams more<", picture, 1, true)
    assert.matches(">s-070<", picture, 1, true)
    assert.is_nil(picture:find(">s-010<", 1, true))
    assert.is_true(#picture < 100000)
  end)

  it("names no more types than there are colours", function()
    local store <close> = told(function(append)
      for i = 1, 15 do append("s", "Type" .. i) end
    end)
    assert.matches("5 other types  5<", timeline(store), 1, true)
  end)

  it("shows only the streams that are asked for", function()
    local store <close> = told(function(append)
      for _, name in ipairs { "cart-1", "cart-2", "user-1" } do append(name, "T") end
    end)
    local function streams(pattern)
      local names = {}
      for name in timeline(store, { streams = pattern }):gmatch(">([%a]+%-%d)<title>") do names[#names + 1] = name end
      return table.concat(names, " ")
    end
    assert.equal("cart-1 cart-2", streams "cart-*")
    assert.equal("cart-1 cart-2", streams "cart")
    assert.equal("cart-1 user-1", streams "*-1")
    assert.equal("user-1", streams "u?er-1")
    assert.matches("no events", timeline(store, { streams = "x*" }), 1, true)
  end)

  it("is a picture of nothing when there is nothing, and of a moment when all is at once", function()
    local empty <close> = moonfold.open(":memory:")
    check_markup(timeline(empty))
    assert.matches("no events", timeline(empty), 1, true)
    local once <close> = moonfold.open(":memory:", { clock = function() return 0 end })
    once:append_to_stream("s", support.ticks(9))
    check_markup(timeline(once))
    assert.matches("1970-01-01 00:00:00", timeline(once), 1, true)
    assert.equal(9, times(timeline(once), 'class="dot"'))
  end)

  it("stands any names, and any data", function()
    local store <close> = told(function(append)
      append("<a&b>\"\255\n", "T<&>\1", { ["]]>"] = "<script>", raw = "\255\0" })
    end)
    check_markup(timeline(store, { title = "<&>" }))
  end)

  it("labels its axis with days, hours or seconds, as the span asks for", function()
    local function labels(minutes)
      local time = 1736503200000000
      local store <close> = moonfold.open(":memory:", { clock = function()
        time = time + math.tointeger(minutes * 60000000)
        return time
      end })
      for _ = 1, 11 do store:append_to_stream("s", { type = "T" }) end
      local first = timeline(store):match('text%-anchor="middle">([^<]*)')
      return first:gsub("%d", "0")
    end
    assert.equal("00:00:00", (labels(0.1)))
    assert.equal("00:00", (labels(10)))
    assert.equal("0000-00-00", (labels(1440)))
    assert.equal("0000-00-00", (labels(1440 * 400)))
  end)
end)

describe("moonfold timeline", function()
  it("writes the picture of a store", function()
    local path = support.path("shop.fold")
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("cart-1", support.ticks(2))
    end
    local made = support.shell(("%s timeline %s 'cart*'"):format(support.quote(support.program()), support.quote(path)))
    assert.equal(0, made.status)
    check_markup(made.stdout)
    assert.matches(">shop.fold<", made.stdout, 1, true)
    assert.equal(2, times(made.stdout, 'class="dot"'))
  end)
end)
