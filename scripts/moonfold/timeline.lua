--- A picture of what happened: a lane for each stream, a mark for each event, coloured by its type, over time.
--
--     local timeline = require "moonfold.timeline"
--     io.write(timeline(store, { streams = "cart-*", title = "shop.fold" }))
--
-- The picture is SVG. A lane with few events has a dot for each, which tells its type, time and data when the mouse is
-- over it; a lane with many has bars, as high as there are many, coloured by the share of each type. Of very many
-- streams the busiest have a lane of their own, and the others share one. The log is read twice, and never kept.

local glob = require "moonfold.glob"
local show = require "moonfold.repl.show"
local text = require "moonfold.cli.text"
local values = require "moonfold.values"

local WIDTH <const>, LABELS <const>, MARGIN <const> = 1200, 210, 24
local LANE <const>, MOST_LANES <const> = 30, 40
local MOST_DOTS <const>, BIN <const> = 120, 4   -- events of a lane with dots; the width of a bar
local COLOURS <const> = {
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c564b", "#7f3c8d", "#b5bd00", "#3969ac",
}
local OTHER <const> = "#9aa0a6"

local LEFT <const>, RIGHT <const> = MARGIN + LABELS, WIDTH - MARGIN

-- ## Counting

--- Calls f(event) for every event of the streams wanted.
local function each_event(store, wanted, prefix, f)
  if prefix == "" and wanted("") then
    for event in store:all_events() do f(event) end
    return
  end
  for name in store:streams(prefix) do
    if wanted(name) then
      for event in store:events(name) do f(event) end
    end
  end
end

local function count(store, wanted, prefix)
  local sums = { events = 0, streams = {}, types = {}, began = {}, order = 0 }
  each_event(store, wanted, prefix, function(event)
    local name, kind, time = event.stream_name, event.type, event.recorded_at
    sums.events = sums.events + 1
    sums.streams[name] = (sums.streams[name] or 0) + 1
    sums.types[kind] = (sums.types[kind] or 0) + 1
    if not sums.began[name] then
      sums.order = sums.order + 1
      sums.began[name] = sums.order
    end
    sums.first = math.min(sums.first or time, time)
    sums.last = math.max(sums.last or time, time)
  end)
  return sums
end

--- The keys of a table of counts, the greatest first.
local function by_count(counts)
  local keys = values.keys(counts)
  local place = {}
  for i, key in ipairs(keys) do place[key] = i end
  table.sort(keys, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return place[a] < place[b]
  end)
  return keys
end

--- The lanes, in the order in which their streams began; the last one may be that of all other streams.
local function lanes_of(sums)
  local names, lanes, lane_of = by_count(sums.streams), {}, {}
  local own = #names <= MOST_LANES and #names or MOST_LANES - 1
  for i = 1, own do lanes[i] = { name = names[i], events = sums.streams[names[i]] } end
  table.sort(lanes, function(a, b) return sums.began[a.name] < sums.began[b.name] end)
  for _, lane in ipairs(lanes) do lane_of[lane.name] = lane end
  if own < #names then
    local rest = { name = ("%s more"):format(text.plural(#names - own, "stream")), events = 0, shared = true }
    for i = own + 1, #names do rest.events = rest.events + sums.streams[names[i]] end
    lanes[#lanes + 1] = rest
    setmetatable(lane_of, { __index = function() return rest end })
  end
  for i, lane in ipairs(lanes) do
    lane.dots = lane.events <= MOST_DOTS and not lane.shared
    lane.bins, lane.marks, lane.number = {}, {}, i
  end
  return lanes, lane_of
end

local function colours_of(types)
  local colours = {}
  for i, name in ipairs(by_count(types)) do colours[name] = COLOURS[i] or OTHER end
  return colours
end

-- ## Time

local SECOND <const> = 1000000
local steps <const> = { 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800 }

--- Year, month and day of a day since 1970-01-01.
local function date_of(day)
  local z = day + 719468
  local era = z // 146097
  local doe = z - era * 146097
  local yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
  local doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
  local month = (5 * doy + 2) // 153
  local year = yoe + era * 400 + (month >= 10 and 1 or 0)
  return year, month < 10 and month + 3 or month - 9, doy - (153 * month + 2) // 5 + 1
end

local function time_text(time)
  local seconds = time // SECOND
  local year, month, day = date_of(seconds // 86400)
  local rest = seconds % 86400
  return ("%04d-%02d-%02d %02d:%02d:%02d"):format(year, month, day, rest // 3600, rest // 60 % 60, rest % 60)
end

--- The distance of the marks on the axis: about ten of them.
local function step_of(span)
  local wanted = span / SECOND / 10
  for _, step in ipairs(steps) do
    if step >= wanted then return step * SECOND end
  end
  return math.ceil(wanted / 604800) * 604800 * SECOND
end

local function label_of(time, step)
  local full = time_text(time)
  if step >= 86400 * SECOND then return full:sub(1, 10) end
  if time % (86400 * SECOND) == 0 then return full:sub(6, 10) end
  return step >= 60 * SECOND and full:sub(12, 16) or full:sub(12, 19)
end

-- ## Drawing

local function escape(line)
  if not utf8.len(line) then line = line:gsub("[\128-\255]", "?") end
  return (line:gsub("[%c]", " "):gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

local Picture = {}
Picture.__index = Picture

function Picture:draw(format, ...) self[#self + 1] = format:format(...) end

function Picture:x(time)
  if self.last == self.first then return (LEFT + RIGHT) / 2 end
  return LEFT + 8 + (time - self.first) / (self.last - self.first) * (RIGHT - LEFT - 16)
end

function Picture:y(lane) return self.top + (lane.number - 1) * LANE end

--- Swatches and names of the types, as many rows as they need. Returns the height.
function Picture:legend(sums, y)
  local names = by_count(sums.types)
  local x, top = MARGIN, y
  local others, kinds = 0, 0
  local function entry(colour, label)
    local width = 36 + math.ceil(7.4 * text.width(label))
    if x + width > RIGHT and x > MARGIN then x, y = MARGIN, y + 22 end
    self:draw('<circle cx="%d" cy="%d" r="6" fill="%s"/><text x="%d" y="%d">%s</text>', x + 6, y - 4, colour, x + 18, y,
      escape(label))
    x = x + width
  end
  for i, name in ipairs(names) do
    if i <= #COLOURS then
      entry(COLOURS[i], ("%s  %s"):format(text.fit(name, 40), text.number(sums.types[name])))
    else
      others, kinds = others + sums.types[name], kinds + 1
    end
  end
  if kinds > 0 then entry(OTHER, ("%s  %s"):format(text.plural(kinds, "other type"), text.number(others))) end
  return y - top + 22
end

function Picture:axis(bottom)
  local step = step_of(self.last - self.first)
  if self.last == self.first then
    self:draw('<text x="%.1f" y="%d" class="quiet" text-anchor="middle">%s</text>', self:x(self.first), bottom + 18,
      time_text(self.first))
    return
  end
  for time = -(-self.first // step) * step, self.last, step do
    local x = self:x(time)
    self:draw('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" class="grid"/>', x, self.top, x, bottom)
    self:draw('<text x="%.1f" y="%d" class="quiet" text-anchor="middle">%s</text>', x, bottom + 18,
      label_of(time, step))
  end
end

function Picture:lane(lane)
  local y = self:y(lane)
  if lane.number % 2 == 1 then
    self:draw('<rect x="%d" y="%d" width="%d" height="%d" class="stripe"/>', MARGIN, y, RIGHT - MARGIN, LANE)
  end
  self:draw('<text x="%d" y="%d"%s>%s<title>%s: %s</title></text>', MARGIN + 6, y + LANE // 2 + 4,
    lane.shared and ' class="quiet"' or "", escape(text.fit(lane.name, 22)), escape(lane.name),
    text.plural(lane.events, "event"))
  self:draw('<text x="%d" y="%d" class="quiet" text-anchor="end">%s</text>', LEFT - 8, y + LANE // 2 + 4,
    text.number(lane.events))
end

--- A dot that stands beside another one, at the same place, is moved a little.
function Picture:dot(lane, event, colour)
  local x = self:x(event.recorded_at)
  local bin = math.floor(x / 7)
  local above = lane.marks[bin] or 0
  lane.marks[bin] = above + 1
  local y = self:y(lane) + LANE / 2 + ({ 0, -7, 7, -3.5, 3.5 })[above % 5 + 1]
  local data = event.data ~= nil and " " .. show.short(event.data, 80) or ""
  self:draw('<circle cx="%.1f" cy="%.1f" r="4.5" fill="%s" class="dot"><title>%s</title></circle>', x, y, colour,
    escape(("%d %s%s\n%s"):format(event.stream_position, event.type, data, time_text(event.recorded_at))))
end

local function add_to_bin(picture, lane, event)
  local bin = math.floor((picture:x(event.recorded_at) - LEFT) / BIN)
  local sums = lane.bins[bin] or { events = 0, types = {} }
  lane.bins[bin] = sums
  sums.events = sums.events + 1
  sums.types[event.type] = (sums.types[event.type] or 0) + 1
  lane.most = math.max(lane.most or 0, sums.events)
end

--- A bar: as high as there are many events, on a scale that keeps one event visible; its colours are shares.
function Picture:bar(lane, bin, sums, colours)
  local room = LANE - 6
  local height = room * (0.35 + 0.65 * math.log(sums.events) / math.max(math.log(lane.most), 1))
  local y, x = self:y(lane) + LANE - 3, LEFT + bin * BIN
  local names = {}
  for i, name in ipairs(by_count(sums.types)) do names[i] = ("%s %s"):format(text.number(sums.types[name]), name) end
  self:draw("<g><title>%s</title>", escape(table.concat(names, ", ")))
  local shares = {}
  for name, n in pairs(sums.types) do shares[colours[name]] = (shares[colours[name]] or 0) + n end
  for _, colour in ipairs(by_count(shares)) do
    local part = height * shares[colour] / sums.events
    y = y - part
    self:draw('<rect x="%d" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>', x, y, BIN - 0.5, part, colour)
  end
  self:draw("</g>")
end

local style <const> = [[
<style>
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #202124 }
.title { font-size: 18px; font-weight: 600 }
.quiet { fill: #6b7177; font-size: 12px }
.grid { stroke: #d5d9dd; stroke-width: 1 }
.stripe { fill: #f4f6f8 }
.dot { stroke: #ffffff; stroke-width: 1 }
</style>]]

local function paint(store, wanted, prefix, sums, title)
  local picture = setmetatable({ first = sums.first, last = sums.last }, Picture)
  local lanes, lane_of = lanes_of(sums)
  local colours = colours_of(sums.types)
  picture:draw('<text x="%d" y="36" class="title">%s</text>', MARGIN, escape(title))
  local streams = 0
  for _ in pairs(sums.streams) do streams = streams + 1 end
  picture:draw('<text x="%d" y="56" class="quiet">%s in %s, %s to %s UTC</text>', MARGIN,
    text.plural(sums.events, "event"), text.plural(streams, "stream"), time_text(sums.first), time_text(sums.last))
  picture.top = 88 + picture:legend(sums, 84)
  local bottom = picture.top + #lanes * LANE
  for _, lane in ipairs(lanes) do picture:lane(lane) end
  picture:axis(bottom)
  each_event(store, wanted, prefix, function(event)
    local lane = lane_of[event.stream_name]
    if not lane then return end   -- it began while the picture was drawn
    if lane.dots then picture:dot(lane, event, colours[event.type] or OTHER) else add_to_bin(picture, lane, event) end
  end)
  for _, lane in ipairs(lanes) do
    for _, bin in ipairs(values.keys(lane.bins)) do picture:bar(lane, bin, lane.bins[bin], colours) end
  end
  return picture, bottom + 32
end

--- The picture of a store, as SVG. Options: streams, a pattern for their names; title.
return function(store, options)
  options = options or {}
  local wanted, prefix = glob(options.streams)
  local sums = count(store, wanted, prefix)
  local title = options.title or "Timeline"
  local picture, height
  if sums.events == 0 then
    picture, height = setmetatable({}, Picture), 90
    picture:draw('<text x="%d" y="36" class="title">%s</text>', MARGIN, escape(title))
    picture:draw('<text x="%d" y="62" class="quiet">no events</text>', MARGIN)
  else
    picture, height = paint(store, wanted, prefix, sums, title)
  end
  return table.concat({
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">'):format(WIDTH, height, WIDTH,
      height),
    style,
    ('<rect width="%d" height="%d" fill="#ffffff"/>'):format(WIDTH, height),
    table.concat(picture, "\n"),
    "</svg>\n",
  }, "\n")
end
