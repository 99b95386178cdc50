-- Writes plots as SVG, with nothing but strings. They are readable on light and on dark pages, and without colours.

local svg = {}

local style = [[
text { font: 12px sans-serif; fill: #24292f } .small { font-size: 10px } .title { font-size: 15px; font-weight: bold }
.section { font-weight: bold } .axis { stroke: #8c959f; stroke-width: 1 } .grid { stroke: #8c959f; stroke-opacity: .3 }
.one { stroke: #24292f; stroke-dasharray: 3 3 } .range { stroke-width: 3; stroke-opacity: .5; fill: none }
.line { stroke-width: 2; fill: none } .goal { stroke: #24292f; stroke-width: 2 }
.c1 { fill: #0969da; stroke: #0969da } .c2 { fill: #bc4c00; stroke: #bc4c00 } .c3 { fill: #8250df; stroke: #8250df }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .one, .goal { stroke: #e6edf3 }
.c1 { fill: #58a6ff; stroke: #58a6ff } .c2 { fill: #f0883e; stroke: #f0883e } .c3 { fill: #bc8cff; stroke: #bc8cff } }
.line, .range { fill: none }
]]

local function escaped(text) return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" })) end

-- ## A drawing: a list of elements

local drawing = {}
drawing.__index = drawing

local function new_drawing(width, height) return setmetatable({ width = width, height = height }, drawing) end

function drawing:add(format, ...) self[#self + 1] = format:format(...) end

function drawing:text(x, y, text, class, anchor)
  self:add('<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>', x, y, class or "", anchor or "start",
    escaped(text))
end

function drawing:line(class, x1, y1, x2, y2)
  self:add('<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>', class, x1, y1, x2, y2)
end

-- Series are told apart by their marks too: a disc, a square, a diamond.
local marks = {
  c1 = '<circle class="c1" cx="%.1f" cy="%.1f" r="4.5"/>',
  c2 = '<path class="c2" d="M%.1f,%.1f m-4,-4 h8 v8 h-8 z"/>',
  c3 = '<path class="c3" d="M%.1f,%.1f m0,-5.5 l5.5,5.5 l-5.5,5.5 l-5.5,-5.5 z"/>',
}

function drawing:mark(class, x, y) self:add(marks[class], x, y) end

function drawing:write(path)
  local file = assert(io.open(path, "w"))
  file:write(('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d">\n')
    :format(self.width, self.height, self.width, self.height))
  file:write("<style>", style, "</style>\n")
  file:write(table.concat(self, "\n"), "\n</svg>\n")
  file:close()
end

-- ## A logarithmic axis

local function log_scale(low, high, from, to)
  local a, b = math.log(low, 10), math.log(high, 10)
  return function(value) return from + (math.log(value, 10) - a) / (b - a) * (to - from) end
end

-- 1, 2, 5, 10, 20, ... from low to high.
local function ticks(low, high, steps)
  local found = {}
  for power = math.floor(math.log(low, 10)) - 1, math.ceil(math.log(high, 10)) do
    for _, step in ipairs(steps) do
      local value = step * 10 ^ power
      if value >= low * 0.999 and value <= high * 1.001 then found[#found + 1] = value end
    end
  end
  return found
end

local function short(value)
  for _, unit in ipairs { { 1e6, " M" }, { 1e3, " k" } } do
    if value >= unit[1] then return ("%g%s"):format(value / unit[1], unit[2]) end
  end
  return ("%g"):format(value)
end

local function extent(list, pick)
  local low, high = math.huge, -math.huge
  for _, item in ipairs(list) do
    for _, value in ipairs(pick(item)) do low, high = math.min(low, value), math.max(high, value) end
  end
  return low, high
end

local function xs(points)
  local list = {}
  for i, point in ipairs(points) do list[i] = point.x end
  return list
end

-- ## Plots

-- Rows of { section=, label=, min=, median=, max=, goal=, met= }: a mark with its range on a logarithmic axis. The goal
-- is a bar across the row.
function svg.ratios(path, title, subtitle, rows)
  local low, high = extent(rows, function(row) return { row.min, row.max, row.goal } end)
  low, high = math.min(low * 0.9, 0.9), math.max(high * 1.1, 1.1)
  local height, section = 70, nil
  for _, row in ipairs(rows) do
    height = height + (row.section ~= section and 40 or 18)
    section = row.section
  end
  local d = new_drawing(860, height + 20)
  local x = log_scale(low, high, 390, 790)
  d:text(10, 22, title, "title")
  d:text(10, 38, subtitle, "small")
  for _, value in ipairs(ticks(low, high, { 1, 2, 5 })) do
    d:line(value == 1 and "one" or "grid", x(value), 56, x(value), height)
    d:text(x(value), 52, short(value), "small", "middle")
  end
  local y
  y, section = 62, nil
  for _, row in ipairs(rows) do
    if row.section ~= section then
      y = y + 22
      d:text(10, y, row.section, "section")
    end
    section = row.section
    y = y + 18
    local class = row.met == nil and "c3" or row.met and "c1" or "c2"
    d:text(20, y, row.label)
    d:line("range " .. class, x(row.min), y - 4, x(row.max), y - 4)
    d:mark(class, x(row.median), y - 4)
    if row.goal then d:line("goal", x(row.goal), y - 12, x(row.goal), y + 3) end
    d:text(850, y, ("%.3g"):format(row.median), "", "end")
  end
  d:mark("c1", 20, height + 9)
  d:text(30, height + 13, "goal met")
  d:mark("c2", 120, height + 9)
  d:text(130, height + 13, "goal not met")
  d:mark("c3", 240, height + 9)
  d:text(250, height + 13, "no goal")
  d:text(330, height + 13, "mark: ratio of medians; line: smallest to largest of the runs; bar: goal", "small")
  d:write(path)
end

-- Names each line at its end; those of lines that end close together are moved apart.
local function label_lines(d, series, x, y)
  local ends = {}
  for i, one in ipairs(series) do
    local last = one.points[#one.points]
    ends[i] = { label = one.label, x = x(last.x) + 12, y = y(last.median) + 4 }
  end
  table.sort(ends, function(a, b) return a.y < b.y end)
  for i, label in ipairs(ends) do
    if i > 1 then label.y = math.max(label.y, ends[i - 1].y + 14) end
    d:text(label.x, label.y, label.label)
  end
end

-- Series of { label=, points = { { x=, min=, median=, max= }, ... } }, at most three, both axes logarithmic.
function svg.lines(path, title, subtitle, x_label, y_label, series)
  local points = {}
  for _, one in ipairs(series) do table.move(one.points, 1, #one.points, #points + 1, points) end
  local left, right = extent(points, function(point) return { point.x } end)
  local low, high = extent(points, function(point) return { point.min, point.max } end)
  low, high = low * 0.7, high * 1.4
  if left == right then left, right = left / 2, right * 2 end
  local d = new_drawing(720, 420)
  local x, y = log_scale(left, right, 70, 560), log_scale(low, high, 360, 72)
  d:text(10, 22, title, "title")
  d:text(10, 38, subtitle, "small")
  d:text(10, 54, y_label, "small")
  d:text(315, 400, x_label, "", "middle")
  for _, value in ipairs(ticks(low, high, { 1, 2, 5 })) do
    d:line("grid", 70, y(value), 560, y(value))
    d:text(64, y(value) + 4, short(value), "small", "end")
  end
  local few = #series[1].points <= 6
  for _, value in ipairs(few and xs(series[1].points) or ticks(left, right, { 1 })) do
    d:line("grid", x(value), 72, x(value), 360)
    d:text(x(value), 376, short(value), "small", "middle")
  end
  d:line("axis", 70, 360, 560, 360)
  for i, one in ipairs(series) do
    local class, places = "c" .. i, {}
    for j, point in ipairs(one.points) do
      places[j] = ("%.1f,%.1f"):format(x(point.x), y(point.median))
      d:line("range " .. class, x(point.x), y(point.min), x(point.x), y(point.max))
      d:mark(class, x(point.x), y(point.median))
    end
    d:add('<polyline class="line %s" points="%s"/>', class, table.concat(places, " "))
  end
  label_lines(d, series, x, y)
  d:write(path)
end

return svg
