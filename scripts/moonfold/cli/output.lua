-- What commands print: a table on a terminal, one record a line with tabs between its fields in a pipe, JSON for
-- machines. Nothing is kept but the rows that decide how wide a table's columns are, so lists of any length may pass.

local text = require "moonfold.cli.text"

local Output = {}
Output.__index = Output

local output = {}

--- An error that ends the program quietly: nobody reads what it prints.
output.BROKEN_PIPE = setmetatable({}, { __tostring = function() return "nobody reads the output" end })

local EPIPE = 32

-- How many rows a table looks at before it prints the first: as many as a tall terminal shows.
local LOOK_AHEAD = 100

--- For host and the options of a command. Output goes to standard output.
function output.new(host, options)
  local terminal = host.is_terminal(1)
  local mode = options.json and "json" or (terminal or options.table) and "table" or "lines"
  local no_color = os.getenv("NO_COLOR")
  local color = terminal and (not no_color or no_color == "") and os.getenv("TERM") ~= "dumb"
  io.stdout:setvbuf("full", 1 << 16)
  return setmetatable({ host = host, mode = mode, terminal = terminal, color = color }, Output)
end

local function check(fine, message, code)
  if fine then return end
  if code == EPIPE then error(output.BROKEN_PIPE, 0) end
  error({ code = "io", message = "writing output: " .. message }, 0)
end

--- Writes text as it is.
function Output:write(...) -- luacheck: no self
  check(io.stdout:write(...))
end

function Output:flush() -- luacheck: no self
  check(io.stdout:flush())
end

function Output:line(...)
  self:write(...)
  self:write("\n")
end

--- One JSON value on a line.
function Output:json(value)
  self:write(self.host.json(value), "\n")
end

-- JSON on many lines, from JSON on one: a list or an object that is not empty stands with one part a line.
local function indented(json)
  local parts, depth, at = {}, 0, 1
  local function break_line() parts[#parts + 1] = "\n" .. ("  "):rep(depth) end
  while at <= #json do
    local c = json:sub(at, at)
    local stop = at
    if c == '"' then
      repeat stop = json:find('"', stop + 1, true) until #json:sub(at, stop - 1):match("\\*$") % 2 == 0
      parts[#parts + 1] = json:sub(at, stop)
    elseif json:find("^[%[{][%]}]", at) then
      stop = at + 1
      parts[#parts + 1] = json:sub(at, stop)
    elseif c == "[" or c == "{" then
      depth = depth + 1
      parts[#parts + 1] = c
      break_line()
    elseif c == "]" or c == "}" then
      depth = depth - 1
      break_line()
      parts[#parts + 1] = c
    elseif c == "," then
      parts[#parts + 1] = c
      break_line()
    elseif c == ":" then
      parts[#parts + 1] = ": "
    else
      stop = json:find('["%[%]{},:]', at) or #json + 1
      stop = stop - 1
      parts[#parts + 1] = json:sub(at, stop)
    end
    at = stop + 1
  end
  return table.concat(parts)
end

--- A value: JSON on one line in a pipe, on many lines on a terminal.
function Output:value(value)
  local json = self.host.json(value)
  self:line(self.mode == "table" and indented(json) or json)
end

local styles = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", cyan = "36" }

--- The text in a style, where there are colours.
function Output:paint(style, words)
  if not self.color or not style then return words end
  return "\27[" .. styles[style] .. "m" .. words .. "\27[0m"
end

-- ## Lists of records

local Rows = {}
Rows.__index = Rows

--- A list. Columns: { title =, right = true (numbers), style =, wide = true (takes the room that is left, is cut),
--- json = true (cells are JSON) }. Cells are strings or integers. In a pipe a row is its cells with tabs between them,
--- and no title.
function Output:rows(columns)
  return setmetatable({ out = self, columns = columns, kept = {}, printed = false }, Rows)
end

local function cell(value)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  return value == nil and "" or value
end

local function pad(value, width, right)
  local missing = width - text.width(value)
  if missing <= 0 then return value end
  return right and (" "):rep(missing) .. value or value .. (" "):rep(missing)
end

function Rows:measure()
  for i, column in ipairs(self.columns) do
    local width = column.least or 0
    if column.title then width = math.max(width, text.width(column.title)) end
    for _, row in ipairs(self.kept) do width = math.max(width, text.width(row[i])) end
    column.width = width
  end
end

function Rows:print_row(row, styled)
  local parts, room = {}, self.room
  for i, column in ipairs(self.columns) do
    local value = row[i]
    local last = i == #self.columns
    if column.wide and room then value = text.fit(value, math.max(room, 8)) end
    local padded = last and not column.right and value or pad(value, column.width, column.right)
    if room then room = room - text.width(padded) - 2 end
    parts[i] = styled and self.out:paint(column.style, padded) or padded
  end
  local line = table.concat(parts, "  ")
  self.out:write((line:gsub(" +$", "")), "\n")
end

function Rows:release()
  if self.printed then return end
  self.printed = true
  self:measure()
  self.room = self.out.host.width()
  local titles = {}
  for i, column in ipairs(self.columns) do titles[i] = column.title or "" end
  if #self.kept > 0 and table.concat(titles) ~= "" then
    for i, column in ipairs(self.columns) do titles[i] = pad(titles[i], column.width, column.right) end
    self.out:write(self.out:paint("bold", (table.concat(titles, "  "):gsub(" +$", ""))), "\n")
  end
  for _, row in ipairs(self.kept) do self:print_row(row, true) end
  self.kept = {}
end

-- JSON stands on one line as it is, and its backslashes mean something. On a terminal, the control characters that it
-- holds as they are (C1) become escapes, too.
local function printable_json(json, in_table)
  if not in_table then return json end
  return (json:gsub("\xc2([\x80-\x9f])", function(c) return ("\\u%04x"):format(c:byte()) end))
end

--- Adds a row: a list of cells.
function Rows:add(row)
  for i, column in ipairs(self.columns) do
    local value = cell(row[i])
    row[i] = column.json and printable_json(value, self.out.mode == "table") or self.out.host.printable(value)
  end
  if self.out.mode ~= "table" then
    self.out:write(table.concat(row, "\t"), "\n")
  elseif self.printed then
    self:print_row(row, true)
  else
    self.kept[#self.kept + 1] = row
    if #self.kept >= LOOK_AHEAD then self:release() end
  end
end

--- Prints what was kept back. `nothing`: what to say on a terminal when there were no rows.
function Rows:finish(nothing)
  if self.out.mode ~= "table" then return end
  if not self.printed and #self.kept == 0 and nothing then self.out:line(self.out:paint("dim", nothing)) end
  self:release()
end

return output
