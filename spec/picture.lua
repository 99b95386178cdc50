--- Pictures of terminal sessions: what a program printed, colours and all, as SVG.
--
--     local picture = require "picture"
--     picture.of_session("$ moonfold repl shop.fold\nshop> .streams\n...")
--
-- The README's picture of the REPL is made by spec/65-pictures_spec.lua from the transcript beside it, with
-- MOONFOLD_WRITE=1 in the environment; without, the spec fails when the picture is not what would be made today.

local repl = require "repl"

local picture = {}

local LINE <const>, CHARACTER <const>, MARGIN <const>, TOP <const> = 20, 8.43, 20, 52

local style <const> = [[
<style>
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #d6dee8; white-space: pre }
.title { fill: #8b98a8; text-anchor: middle }
.prompt { fill: #7aa2f7 } .typed { fill: #ffffff; font-weight: 600 }
.c1 { fill: #ffffff; font-weight: 600 } .c2 { fill: #7d8899 } .c31 { fill: #ff7b72 }
.c32 { fill: #7ee787 } .c33 { fill: #f0c674 } .c36 { fill: #79c0ff }
</style>]]

local function escape(line)
  return (line:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function span(class, line)
  if line == "" then return "" end
  if not class then return escape(line) end
  return ('<tspan class="%s">%s</tspan>'):format(class, escape(line))
end

--- A line that a program printed: its escape sequences become classes.
local function printed(line)
  local parts, class, at = {}, nil, 1
  while true do
    local from, to, code = line:find("\27%[(%d*)m", at)
    parts[#parts + 1] = span(class, line:sub(at, (from or 0) - 1))
    if not from then return table.concat(parts) end
    class = code ~= "0" and code ~= "" and "c" .. code or nil
    at = to + 1
  end
end

local function typed(line)
  local what = repl.typed(line)
  if not what then return nil end
  return span("prompt", line:sub(1, #line - #what)) .. span("typed", what)
end

--- The picture of a session: a line "$ command", then what stood on the terminal.
function picture.of_session(session)
  local lines, widest = {}, 60
  for line in session:gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
    widest = math.max(widest, utf8.len((line:gsub("\27%[%d*m", ""))))
  end
  local command = table.remove(lines, 1):sub(3)
  local width, height = math.ceil(widest * CHARACTER + 2 * MARGIN), TOP + #lines * LINE + MARGIN
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">'):format(width, height, width,
      height),
    style,
    ('<rect width="%d" height="%d" rx="10" fill="#161b22"/>'):format(width, height),
    '<circle cx="22" cy="20" r="6" fill="#ff5f57"/><circle cx="42" cy="20" r="6" fill="#febc2e"/>'
      .. '<circle cx="62" cy="20" r="6" fill="#28c840"/>',
    ('<text x="%d" y="25" class="title">%s</text>'):format(width // 2, escape(command)),
  }
  for i, line in ipairs(lines) do
    out[#out + 1] = ('<text x="%d" y="%d" xml:space="preserve">%s</text>'):format(MARGIN, TOP + i * LINE - 6,
      typed(line) or printed(line))
  end
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

return picture
