-- Text for people: numbers, sizes, columns.

local text = {}

-- ## Numbers

--- 1234567 -> "1,234,567"
function text.number(n)
  local digits = ("%d"):format(n)
  local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (grouped:gsub("^(%-?),", "%1"))
end

--- 1536 -> "1.5 KiB"
function text.bytes(n)
  local units = { "B", "KiB", "MiB", "GiB", "TiB" }
  local unit = 1
  local value = n
  while value >= 1024 and unit < #units do value, unit = value / 1024, unit + 1 end
  return unit == 1 and ("%d B"):format(n) or ("%.1f %s"):format(value, units[unit])
end

--- plural(1, "event") -> "1 event", plural(2000, "event") -> "2,000 events"
function text.plural(n, noun)
  return text.number(n) .. " " .. noun .. (n == 1 and "" or "s")
end

-- ## Columns

-- Characters that a terminal shows two columns wide, roughly: East Asian scripts and emoji.
local function wide(code)
  return code >= 0x1100 and (code <= 0x115f or code >= 0x2e80 and code <= 0xa4cf or code >= 0xac00 and code <= 0xd7a3
    or code >= 0xf900 and code <= 0xfaff or code >= 0xfe30 and code <= 0xfe6f or code >= 0xff00 and code <= 0xff60
    or code >= 0x1f300 and code <= 0x1faff or code >= 0x20000 and code <= 0x3fffd)
end

local function columns(code)
  if code >= 0x300 and (code <= 0x36f or code >= 0x200b and code <= 0x200f or code >= 0xfe00 and code <= 0xfe0f) then
    return 0 -- combining marks and joiners
  end
  return wide(code) and 2 or 1
end

--- How many columns a text takes on a terminal.
function text.width(line)
  if not line:find("[\128-\255]") then return #line end
  local sum = 0
  for _, code in utf8.codes(line) do sum = sum + columns(code) end
  return sum
end

--- The beginning of a text that fits so many columns, with an ellipsis where something is left out.
function text.fit(line, room)
  if #line <= room or text.width(line) <= room then return line end
  local sum = 0
  for at, code in utf8.codes(line) do
    sum = sum + columns(code)
    if sum > room - 1 then return line:sub(1, at - 1) .. "…" end
  end
  return line
end

--- Breaks a paragraph into lines of at most `room` columns.
function text.wrap(paragraph, room)
  local lines, line = {}, nil
  for word in paragraph:gmatch("%S+") do
    if line and text.width(line) + 1 + text.width(word) <= room then
      line = line .. " " .. word
    else
      lines[#lines + 1] = line
      line = word
    end
  end
  lines[#lines + 1] = line
  return lines
end

return text
