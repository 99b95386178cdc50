-- Text for people and back: times, numbers, names that hold any bytes.

local text = {}

-- ## Times: microseconds since the epoch <-> ISO 8601

local DAY = 86400

-- Days since 1970-01-01 of a date of the proleptic Gregorian calendar; years begin in March for this.
local function days_of(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
end

local function date_of(days)
  days = days + 719468
  local era = days // 146097
  local of_era = days - era * 146097
  local year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
  local of_year = of_era - (365 * year + year // 4 - year // 100)
  local month = (5 * of_year + 2) // 153
  local day = of_year - (153 * month + 2) // 5 + 1
  month = month + (month < 10 and 3 or -9)
  return year + era * 400 + (month <= 2 and 1 or 0), month, day
end

--- "2026-11-25T18:28:40.123456Z"
function text.time(microseconds)
  local seconds, fraction = microseconds // 1000000, microseconds % 1000000
  local year, month, day = date_of(seconds // DAY)
  local of_day = seconds % DAY
  return ("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ"):format(year, month, day, of_day // 3600, of_day // 60 % 60,
    of_day % 60, fraction)
end

local lengths = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function valid_date(year, month, day)
  if month < 1 or month > 12 or day < 1 then return false end
  local leap = month == 2 and (year % 4 == 0 and year % 100 ~= 0 or year % 400 == 0)
  return day <= lengths[month] + (leap and 1 or 0)
end

local function zone_of(zone)
  if zone == "" or zone == "Z" or zone == "z" then return 0 end
  local sign, hours, minutes = zone:match("^([+-])(%d%d):?(%d%d)$")
  if not sign or tonumber(hours) > 23 or tonumber(minutes) > 59 then return nil end
  local offset = tonumber(hours) * 3600 + tonumber(minutes) * 60
  return sign == "+" and offset or -offset
end

local function clock_of(rest)
  if rest == "" then return 0, 0, "" end
  local hour, minute, more = rest:match("^[Tt ](%d%d):(%d%d)(.*)$")
  if not hour then return nil end
  local second, fraction, zone = more:match("^:(%d%d)(%.?%d*)(.*)$")
  if not second then second, fraction, zone = "0", "", more end
  if fraction == "." or (fraction ~= "" and not fraction:find("^%.")) then return nil end
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if hour > 23 or minute > 59 or second > 59 then return nil end
  local micros = tonumber((fraction:sub(2, 7) .. "000000"):sub(1, 6))
  return hour * 3600 + minute * 60 + second, micros, zone
end

--- Microseconds of "2026-11-25", "2026-11-25T18:28", "2026-11-25T18:28:40.5+01:00"; without a zone it is UTC. nil
--- when it is no time.
function text.parse_time(given)
  local year, month, day, rest = given:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  if not year then return nil end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  if not valid_date(year, month, day) then return nil end
  local seconds, micros, zone = clock_of(rest)
  local offset = seconds and zone_of(zone)
  if not offset then return nil end
  return (days_of(year, month, day) * DAY + seconds - offset) * 1000000 + micros
end

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

-- ## Names

local function hex(byte) return ("\\x%02x"):format(byte:byte()) end

--- A name on one line: what is no printable UTF-8, and the backslash, are escaped. Unescaped names stay as they are.
function text.printable(name)
  if not name:find("[%c\\\127-\255]") then return name end
  name = name:gsub("\\", "\\\\"):gsub("[%c\127]", function(c)
    return c == "\n" and "\\n" or c == "\t" and "\\t" or hex(c)
  end)
  if utf8.len(name) then return name end
  local parts, at = {}, 1
  while at <= #name do
    local _, bad = utf8.len(name, at)
    local stop = bad or #name + 1
    parts[#parts + 1] = name:sub(at, stop - 1)
    if bad then parts[#parts + 1] = hex(name:sub(bad, bad)) end
    at = stop + 1
  end
  return table.concat(parts)
end

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
