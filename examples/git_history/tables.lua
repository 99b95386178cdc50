--- Tables of text that line up on a terminal, whatever the names in them are made of.

local tables = {}

-- Controls would move the cursor, and the marks for writing from right to left would turn the rest of the line round.
local function is_unsafe(code)
  return code < 0x20 or code >= 0x7F and code < 0xA0 or code >= 0x2028 and code <= 0x202E
    or code >= 0x2066 and code <= 0x2069
end

local SHORT = { ["\n"] = "\\n", ["\t"] = "\\t" }

local function escape(char)
  local code = utf8.codepoint(char)
  return is_unsafe(code) and (SHORT[char] or ("\\u{%X}"):format(code)) or char
end

--- The text with all that is not fit for a terminal spelled out: control characters, and bytes that are no UTF-8.
function tables.printable(text)
  local parts, start = {}, 1
  repeat
    local _, bad = utf8.len(text, start)
    parts[#parts + 1] = text:sub(start, (bad or 0) - 1):gsub(utf8.charpattern, escape)
    if bad then
      parts[#parts + 1] = ("\\x%02X"):format(text:byte(bad))
      start = bad + 1
    end
  until not bad
  return table.concat(parts)
end

-- The common cases of Unicode's rules: accents that stand on the letter before them, and what is two columns wide.
local NARROW = { { 0x300, 0x36F }, { 0x200B, 0x200F }, { 0x20D0, 0x20FF }, { 0xFE00, 0xFE0F } }
local WIDE = { { 0x1100, 0x115F }, { 0x2E80, 0xA4CF }, { 0xAC00, 0xD7A3 }, { 0xF900, 0xFAFF }, { 0xFE30, 0xFE6F },
  { 0xFF00, 0xFF60 }, { 0xFFE0, 0xFFE6 }, { 0x1F300, 0x1FAFF }, { 0x20000, 0x3FFFD } }

local function within(ranges, code)
  for _, range in ipairs(ranges) do
    if code >= range[1] and code <= range[2] then
      return true
    end
  end
  return false
end

local function columns_of(code)
  if code < 0x300 then
    return 1
  end
  return within(NARROW, code) and 0 or within(WIDE, code) and 2 or 1
end

local function width_of(text)
  local width = 0
  for _, code in utf8.codes(text) do
    width = width + columns_of(code)
  end
  return width
end

-- The last characters of the text that fit into the width.
local function tail(text, width)
  local start = #text + 1
  while start > 1 do
    local before = utf8.offset(text, -1, start)
    width = width - columns_of(utf8.codepoint(text, before))
    if width < 0 then
      break
    end
    start = before
  end
  return text:sub(start)
end

local function head(text, width)
  for at, code in utf8.codes(text) do
    width = width - columns_of(code)
    if width < 0 then
      return text:sub(1, at - 1)
    end
  end
  return text
end

--- Cuts the text to the width. What matters in a path is its end: with keep = "end" the beginning goes.
function tables.cut(text, width, keep)
  if width_of(text) <= width then
    return text
  end
  return keep == "end" and "…" .. tail(text, width - 1) or head(text, width - 1) .. "…"
end

--- 1234567 as "1,234,567".
function tables.thousands(number)
  local digits = tostring(number):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (digits:gsub("^(%-?),", "%1"))
end

local function text_of(value)
  return math.type(value) == "integer" and tables.thousands(value) or tables.printable(tostring(value))
end

local function pad(text, width, right)
  local space = (" "):rep(width - width_of(text))
  return right and space .. text or text .. space
end

-- Every column is as wide as its widest cell, up to its max; the first one gives up what the others need.
local function widths_of(columns, rows, width)
  local widths, rest = {}, width
  for i, column in ipairs(columns) do
    widths[i] = 0
    for _, row in ipairs(rows) do
      widths[i] = math.max(widths[i], math.min(width_of(row[i]), column.max or width))
    end
    rest = i > 1 and rest - widths[i] - 2 or rest
  end
  widths[1] = math.min(widths[1], rest)
  return widths
end

local function line(columns, widths, cells)
  local padded = {}
  for i, column in ipairs(columns) do
    padded[i] = pad(tables.cut(cells[i], widths[i], column.keep), widths[i], column.right)
  end
  return (table.concat(padded, "  "):gsub(" +$", ""))
end

local function texts_of(columns, row)
  local cells = {}
  for i = 1, #columns do
    cells[i] = text_of(row[i])
  end
  return cells
end

local function titles_of(columns)
  local titles = {}
  for i, column in ipairs(columns) do
    titles[i] = column.title
  end
  return titles
end

--- The table as one string. columns: { title=, right=true for numbers, max=, keep="end" }; rows: lists of values.
function tables.render(columns, rows, width)
  local lines = { titles_of(columns) }
  for _, row in ipairs(rows) do
    lines[#lines + 1] = texts_of(columns, row)
  end
  local widths = widths_of(columns, lines, width)
  for i, cells in ipairs(lines) do
    lines[i] = line(columns, widths, cells)
  end
  return table.concat(lines, "\n") .. "\n"
end

return tables
