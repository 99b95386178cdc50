-- Renders the documentation in doc.lua three ways: markdown for the README, type annotations for editors, and one
-- plain page for a name.
--
--     local reference = require "moonfold.reference"
--     print(reference.page("read_stream"))
--
-- or, from a shell:
--
--     lua5.4 scripts/moonfold/reference.lua markdown > reference.md
--     lua5.4 scripts/moonfold/reference.lua types > moonfold.d.lua
--     lua5.4 scripts/moonfold/reference.lua page read_stream
--     lua5.4 scripts/moonfold/reference.lua readme README.md        rewrites the section between its markers

local MODULE <const> = "moonfold.reference"
local started_as_script = ... ~= MODULE and arg and (arg[0] or ""):find("reference%.lua$")

if started_as_script then
  local folder = arg[0]:match("^(.*/)[^/]*$") or "./"
  package.path = folder .. "../?.lua;" .. package.path
end
local doc = require "moonfold.doc"
local distance = require("moonfold.nearest").distance

local reference = {}

-- Text -------------------------------------------------------------------------------------------------------

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

-- Fills lines up to `width`, each after `indent`; an empty line separates paragraphs.
local function wrap(text, width, indent)
  local paragraphs = {}
  for paragraph in (trim(text) .. "\n\n"):gmatch("(.-)\n%s*\n%s*") do
    local lines, line = {}, indent
    for word in paragraph:gmatch("%S+") do
      local longer = line == indent and indent .. word or line .. " " .. word
      if #longer > width and line ~= indent then
        lines[#lines + 1] = line
        longer = indent .. word
      end
      line = longer
    end
    lines[#lines + 1] = line
    paragraphs[#paragraphs + 1] = table.concat(lines, "\n")
  end
  return table.concat(paragraphs, "\n\n")
end

local function indented(text, indent)
  return (trim(text):gsub("[^\n]+", indent .. "%0"))
end

-- An output that grows line by line.
local function page_of_lines()
  local lines = {}
  local function add(format, ...)
    lines[#lines + 1] = select("#", ...) > 0 and format:format(...) or format
  end
  return add, function() return table.concat(lines, "\n") .. "\n" end
end

-- "a", "a and b", "a, b and c"
local function listing(words)
  if #words < 2 then return words[1] or "" end
  return table.concat(words, ", ", 1, #words - 1) .. " and " .. words[#words]
end

-- Facts that every rendering needs ------------------------------------------------------------------------------

local function each_entry()
  return coroutine.wrap(function()
    for _, section in ipairs(doc.sections) do
      for _, entry in ipairs(section.entries) do coroutine.yield(entry, section) end
    end
  end)
end

-- The unit belongs to the meaning of a value, wherever it is shown.
local function meaning(item)
  return (item.text or "") .. (item.unit and (", in " .. item.unit) or "")
end

-- The codes that a call may raise, each once: its own first, then those of its kind.
local function all_errors(entry)
  local codes, seen = {}, {}
  local function take(list)
    for _, code in ipairs(list or {}) do
      if not seen[code] then
        seen[code] = true
        codes[#codes + 1] = code
      end
    end
  end
  take(entry.errors)
  take(doc.error_groups[entry.touches])
  if entry.kind == "method" and entry.touches then take(doc.error_groups.every) end
  return codes
end

local function iterator_type(entry)
  local types = {}
  for _, item in ipairs(entry.iterates) do types[#types + 1] = item.type end
  return ("fun(): %s"):format(table.concat(types, ", "))
end

-- Markdown -----------------------------------------------------------------------------------------------------

local MARKDOWN_WIDTH <const> = 110

-- As GitHub makes them: lower case, no punctuation, blanks become hyphens.
local function anchor(heading)
  return "#" .. heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-")
end

local function linked(name) return ("[`%s`](%s)"):format(name, anchor(name)) end

local function cell(text) return (text:gsub("|", "\\|")) end

local function codes_as_markdown(codes)
  local quoted = {}
  for i, code in ipairs(codes) do quoted[i] = linked(code) end
  return listing(quoted)
end

local function markdown_table(add, head, rows)
  add("| %s |", table.concat(head, " | "))
  add("|%s", ("---|"):rep(#head))
  for _, row in ipairs(rows) do add("| %s |", table.concat(row, " | ")) end
  add("")
end

local function optional_name(item)
  return ("`%s`"):format(item.name) .. (item.optional and ", optional" or "")
end

local function markdown_items(add, entry)
  local rows = {}
  for _, item in ipairs(entry.fields or entry.parameters or {}) do
    rows[#rows + 1] = { optional_name(item), ("`%s`"):format(cell(item.type)), cell(meaning(item)) }
  end
  if #rows > 0 then markdown_table(add, { entry.fields and "field" or "parameter", "type", "meaning" }, rows) end
end

-- Options are shown where their class comes up first.
local function markdown_options(add, entry, shown)
  if not entry.options then return end
  local first = shown[entry.options_class]
  if first then return add("Options: those of %s.\n", linked(first)) end
  shown[entry.options_class] = entry.name
  local rows = {}
  for _, item in ipairs(entry.options) do
    rows[#rows + 1] = {
      ("`%s`"):format(item.name), ("`%s`"):format(cell(item.type)), cell(item.default), cell(meaning(item)),
    }
  end
  markdown_table(add, { "option", "type", "default", "meaning" }, rows)
end

-- `type`, as a link where it is a shape of the reference.
local function linked_type(type)
  local class = type:match("^%u%l%w*")
  for entry in each_entry() do
    if entry.class == class and class then return ("[`%s`](%s)"):format(type, anchor(class)) end
  end
  return ("`%s`"):format(type)
end

local function markdown_returns(add, entry)
  local items = {}
  for _, item in ipairs(entry.iterates or entry.returns or {}) do
    local text = item.text and ": " .. item.text or ""
    items[#items + 1] = ("`%s` (%s)%s"):format(item.name, linked_type(item.type), text)
  end
  if #items == 0 then return end
  local verb = entry.iterates and "Yields" or "Returns"
  add("%s\n", wrap(("%s %s."):format(verb, listing(items)), MARKDOWN_WIDTH, ""))
end

local kinds_of_access <const> = { read = "what every read may", write = "what every write may" }

local function markdown_errors(add, entry)
  local raised = {}
  if #(entry.errors or {}) > 0 then raised[1] = codes_as_markdown(entry.errors) end
  raised[#raised + 1] = kinds_of_access[entry.touches]
  if #raised > 0 then
    add("%s\n", wrap(("Raises %s."):format(table.concat(raised, ", and ")), MARKDOWN_WIDTH, ""))
  end
end

local function markdown_example(add, entry)
  if not entry.example then return end
  for _, file in ipairs(entry.files or {}) do
    add("```lua\n-- %s\n%s\n```\n", file.name, trim(file.text))
  end
  add("```lua\n%s\n```\n", trim(entry.example))
end

local function markdown_entry(add, entry, shown)
  add("#### `%s`\n", entry.name)
  if entry.signature ~= entry.name then add("`%s`\n", entry.signature) end
  add("%s\n", wrap(entry.summary, MARKDOWN_WIDTH, ""))
  if entry.text then add("%s\n", wrap(entry.text, MARKDOWN_WIDTH, "")) end
  markdown_items(add, entry)
  markdown_options(add, entry, shown)
  markdown_returns(add, entry)
  markdown_errors(add, entry)
  markdown_example(add, entry)
end

local function markdown_aliases(add)
  local rows = {}
  for i, alias in ipairs(doc.aliases) do
    rows[i] = { ("`%s`"):format(alias.name), ("`%s`"):format(cell(alias.type)), cell(alias.text) }
  end
  add("Some types have names, too:\n")
  markdown_table(add, { "type", "is", "meaning" }, rows)
end

local function markdown_contents(add, section)
  local rows = {}
  for i, entry in ipairs(section.entries) do rows[i] = { linked(entry.name), cell(entry.summary) } end
  markdown_table(add, { "name", "in short" }, rows)
end

local function markdown_prelude(add)
  local groups = doc.error_groups
  add("Every example below runs after these lines; what it prints stands behind `-->`.\n")
  add("```lua\n%s\n```\n", trim(doc.prelude))
  local errors = ("Every method of a store may raise %s. Every read may also raise %s. Every write may also raise %s.")
    :format(codes_as_markdown(groups.every), codes_as_markdown(groups.read), codes_as_markdown(groups.write))
  add("%s\n", wrap(errors, MARKDOWN_WIDTH, ""))
end

-- The API reference, as it stands in README.md between its markers.
function reference.markdown()
  local add, text = page_of_lines()
  local shown = {}
  markdown_prelude(add)
  for _, section in ipairs(doc.sections) do
    add("### %s\n", section.title)
    add("%s\n", wrap(section.text, MARKDOWN_WIDTH, ""))
    markdown_contents(add, section)
    if section.name == "shapes" then markdown_aliases(add) end
    for _, entry in ipairs(section.entries) do markdown_entry(add, entry, shown) end
  end
  return trim(text()) .. "\n"
end

local BEGIN <const>, END <const> = "<!-- reference:begin -->", "<!-- reference:end -->"

-- The readme's text with its generated section made anew; nil when it has no such section.
function reference.update_readme(readme)
  local _, first = readme:find(BEGIN, 1, true)
  local last = first and readme:find(END, first, true)
  if not last then return nil end
  return readme:sub(1, first) .. "\n\n" .. reference.markdown() .. "\n" .. readme:sub(last)
end

-- Type annotations ---------------------------------------------------------------------------------------------

-- Our classes are capitalised words in doc.lua and live under `moonfold.` in annotations.
local function annotated(type) return (type:gsub("%f[%w_]%u%l%w*", "moonfold.%0")) end

local function comment(add, ...)
  local paragraphs = {}
  for _, text in ipairs { ... } do paragraphs[#paragraphs + 1] = wrap(text, 100, "") end
  if #paragraphs == 0 then return end
  add((("\n" .. table.concat(paragraphs, "\n\n")):gsub("\n", "\n---"):sub(2)))
end

local function type_field(add, item, optional)
  local default = item.default and (" (default: %s)"):format(item.default) or ""
  add("---@field %s%s %s %s", item.name, optional and "?" or "", annotated(item.type),
    (meaning(item) .. default):gsub("\n", " "))
end

local function type_aliases(add)
  for _, alias in ipairs(doc.aliases) do
    comment(add, alias.text)
    add("---@alias moonfold.%s %s\n", alias.name, annotated(alias.type))
  end
  add("---What kind of failure an error object tells of.")
  add("---@alias moonfold.ErrorCode")
  for entry in each_entry() do
    if entry.kind == "error" then add("---| %q # %s", entry.name, entry.summary) end
  end
  add("")
end

local function type_options(add)
  local done = {}
  for entry in each_entry() do
    local class = entry.options_class
    if class and not done[class] then
      done[class] = true
      add("---@class (exact) moonfold.%s", class)
      for _, item in ipairs(entry.options) do type_field(add, item, true) end
      add("")
    end
  end
end

-- An error object has the fields of its code, so for the annotations it has those of all codes, optionally.
local function error_fields(add, taken)
  local types, order = {}, {}
  for entry in each_entry() do
    for _, item in ipairs(entry.kind == "error" and entry.fields or {}) do
      if not types[item.name] then order[#order + 1] = item end
      types[item.name] = true
    end
  end
  for _, item in ipairs(order) do
    if not taken[item.name] then type_field(add, item, true) end
  end
end

local function type_shapes(add)
  for entry in each_entry() do
    if entry.kind == "shape" then
      comment(add, entry.summary, entry.text)
      add("---@class moonfold.%s%s", entry.class, entry.extends and ": moonfold." .. entry.extends or "")
      local taken = {}
      for _, item in ipairs(entry.fields) do
        taken[item.name] = true
        type_field(add, item, item.optional)
      end
      if entry.class == "Error" then error_fields(add, taken) end
      add("")
    end
  end
end

local function type_returns(add, entry)
  if entry.iterates then return add("---@return %s", annotated(iterator_type(entry))) end
  for _, item in ipairs(entry.returns) do
    add("---@return %s %s%s", annotated(item.type), item.name, item.text and " # " .. item.text or "")
  end
end

local function type_function(add, entry, owner)
  local names = {}
  comment(add, entry.summary, entry.text)
  for _, item in ipairs(entry.parameters) do
    names[#names + 1] = item.name
    add("---@param %s%s %s %s", item.name, item.optional and "?" or "", annotated(item.type), item.text or "")
  end
  if entry.options_class then
    names[#names + 1] = "options"
    add("---@param options? moonfold.%s", entry.options_class)
  end
  type_returns(add, entry)
  for _, overload in ipairs(entry.overloads or {}) do add("---@overload %s", annotated(overload)) end
  add("function %s(%s) end\n", owner, table.concat(names, ", "))
end

local function type_methods(add, section)
  comment(add, section.text)
  add("---@class moonfold.%s", section.class)
  add("local %s = {}\n", section.class)
  for _, entry in ipairs(section.entries) do
    if entry.kind == "method" then
      type_function(add, entry, ("%s:%s"):format(section.class, entry.name:match(":(.+)$")))
    end
  end
end

local function type_module(add)
  add("---@class moonfold")
  add("local moonfold = {}\n")
  for _, entry in ipairs(doc.sections[1].entries) do
    if entry.kind == "function" then
      type_function(add, entry, entry.name)
    else
      comment(add, entry.summary, entry.text)
      add("---@type %s", annotated(entry.type))
      add("%s = nil\n", entry.name)
    end
  end
end

-- moonfold.d.lua: what the Lua language server wants to know. It is valid Lua, and does nothing.
function reference.types()
  local add, text = page_of_lines()
  add("---@meta moonfold")
  add("-- Made from scripts/moonfold/doc.lua by scripts/moonfold/reference.lua: change it there.")
  add("-- luacheck: ignore\n")
  type_aliases(add)
  type_options(add)
  type_shapes(add)
  for _, section in ipairs(doc.sections) do
    if section.class then type_methods(add, section) end
  end
  type_module(add)
  add("return moonfold")
  return text()
end

-- Looking a name up ---------------------------------------------------------------------------------------------

local function plain(text) return (text:gsub("`", "")) end

-- `store:read_stream`, `store.read_stream()` and `?read_stream` all mean the same.
local function normalized(name)
  return (trim(name):gsub("^%?%s*", ""):gsub("%s*%(.*$", ""):gsub(":", "."))
end

local function last_part(name) return name:match("([^.:]+)$") or name end

-- The version that it describes, "0.1".
function reference.version() return doc.version end

-- Every name that has a page, in the order of the reference.
function reference.names()
  local names = {}
  for entry in each_entry() do names[#names + 1] = entry.name end
  return names
end

-- The options and fields by name, each with the entries that have it.
local function items_named(name)
  local found = {}
  for entry in each_entry() do
    for _, list in ipairs { entry.options or {}, entry.fields or {} } do
      for _, item in ipairs(list) do
        if item.name == name then found[#found + 1] = { entry = entry, item = item } end
      end
    end
  end
  return found
end

-- The entries that a name may mean: the very name, else those whose last part it is.
local function find(name)
  local wanted, exact, partial, loose = normalized(name), {}, {}, {}
  for entry in each_entry() do
    local full = normalized(entry.name)
    local list = full == wanted and exact
      or last_part(full) == wanted and partial
      or last_part(full):lower() == last_part(wanted):lower() and loose
    if list then list[#list + 1] = entry end
  end
  table.move(loose, 1, #loose, #partial + 1, partial)
  table.move(partial, 1, #partial, #exact + 1, exact)
  return exact
end

-- The names of the options that a function takes, whose name or whose last part this is.
function reference.options(name)
  local names = {}
  for _, entry in ipairs(find(name)) do
    for _, item in ipairs(entry.options or {}) do names[#names + 1] = item.name end
  end
  return names
end

-- The known name that looks most like this one, or nil when none looks like it at all. One word of a name will do,
-- but a whole name that is as near is preferred.
function reference.nearest(name)
  local wanted = normalized(name):lower()
  local best, least = nil, math.huge
  local function consider(candidate, shown, handicap)
    local steps = distance(wanted, candidate:lower()) + (handicap or 0)
    if steps < least then best, least = shown, steps end
  end
  for entry in each_entry() do
    consider(normalized(entry.name), entry.name)
    consider(last_part(entry.name), entry.name)
    for word in last_part(entry.name):gmatch("%a%a%a%a+") do consider(word, entry.name, 0.5) end
    for _, item in ipairs(entry.options or {}) do consider(item.name, item.name) end
  end
  return least <= math.max(2, #wanted // 3) and best or nil
end

-- Pages ----------------------------------------------------------------------------------------------------------

local PAGE_WIDTH <const>, NARROWEST <const> = 79, 30

local page_width = PAGE_WIDTH -- of the page that is made

-- Rows in columns; the last one is wrapped.
local function columns(add, rows)
  local widths, left = {}, 4
  for _, row in ipairs(rows) do
    for i = 1, #row - 1 do widths[i] = math.min(28, math.max(widths[i] or 0, #row[i])) end
  end
  for _, width in ipairs(widths) do left = left + width + 2 end
  if page_width - left < NARROWEST // 2 then -- the last column has lines of its own
    left = 6
    for i in ipairs(widths) do widths[i] = 0 end
  end
  for _, row in ipairs(rows) do
    local line = "    "
    for i = 1, #row - 1 do line = line .. row[i] .. (" "):rep(widths[i] - #row[i]) .. "  " end
    local text = wrap(plain(row[#row]), page_width, (" "):rep(left))
    if #line > left then
      add((line:gsub("%s+$", "")))
    else
      text = line .. text:sub(#line + 1)
    end
    add((text:gsub("%s+$", "")))
  end
end

local function page_items(add, title, items)
  if #(items or {}) == 0 then return end
  local rows = {}
  for _, item in ipairs(items) do
    local text = meaning(item)
    if item.default then text = ("%s (default: %s)"):format(text, item.default) end
    if item.optional then text = text == "" and "optional" or text .. " (optional)" end
    rows[#rows + 1] = { item.name, item.type, text }
  end
  add("\n  %s", title)
  columns(add, rows)
end

local function page_returns(add, entry)
  if entry.iterates then
    return page_items(add, "Yields", entry.iterates)
  end
  page_items(add, "Returns", entry.returns)
end

local function page_example(add, entry)
  if not entry.example then return end
  add("\n  Example")
  for _, file in ipairs(entry.files or {}) do add("    -- %s\n%s\n", file.name, indented(file.text, "    ")) end
  add(indented(entry.example, "    "))
end

local function see_also(add, entries)
  local names = {}
  for i = 2, #entries do names[#names + 1] = entries[i].name end
  if #names > 0 then add("\n  See also: %s", table.concat(names, ", ")) end
end

local function entry_page(entries)
  local entry = entries[1]
  local add, text = page_of_lines()
  add("%s\n", entry.signature)
  add(wrap(plain(entry.summary), page_width, "  "))
  if entry.text then add("\n%s", wrap(plain(entry.text), page_width, "  ")) end
  page_items(add, "Parameters", entry.parameters)
  page_items(add, "Options", entry.options)
  page_items(add, "Fields", entry.fields)
  page_returns(add, entry)
  local codes = all_errors(entry)
  if #codes > 0 then add("\n  Errors\n%s", wrap(table.concat(codes, ", "), page_width, "    ")) end
  page_example(add, entry)
  see_also(add, entries)
  return text()
end

local function item_page(name, found)
  local add, text = page_of_lines()
  local rows = {}
  for _, place in ipairs(found) do rows[#rows + 1] = { place.entry.name, place.item.type, meaning(place.item) } end
  add("%s, an option or a field of\n", name)
  columns(add, rows)
  return text()
end

local function alias_page(alias)
  local add, text = page_of_lines()
  add("%s\n\n%s\n", alias.name, wrap(plain(alias.text), page_width, "  "))
  add("    %s", alias.type)
  return text()
end

local function section_page(section)
  local add, text = page_of_lines()
  local rows = {}
  for _, entry in ipairs(section.entries) do rows[#rows + 1] = { entry.name, entry.summary } end
  add("%s\n\n%s\n", section.title, wrap(plain(section.text), page_width, "  "))
  columns(add, rows)
  return text()
end

local function contents_page()
  local add, text = page_of_lines()
  local rows = {}
  for _, section in ipairs(doc.sections) do rows[#rows + 1] = { section.name, section.title } end
  add("Moonfold %s\n\n  Ask for one of these, or for any name.\n", doc.version)
  columns(add, rows)
  return text()
end

-- The page for a name: a function, a shape, a type, an error code, an option, or a section ("store", "errors"); without
-- a name the contents. An unknown name gives nil and a line that says which known one looks like it. `width`: that of a
-- narrow terminal, in which lines of code are not broken.
function reference.page(name, width)
  page_width = math.max(NARROWEST, math.min(width or PAGE_WIDTH, PAGE_WIDTH))
  if not name or normalized(name) == "" then return contents_page() end
  local wanted = normalized(name)
  for _, section in ipairs(doc.sections) do
    if section.name == wanted then return section_page(section) end
  end
  for _, alias in ipairs(doc.aliases) do
    if alias.name == wanted then return alias_page(alias) end
  end
  local entries = find(name)
  if #entries > 0 then return entry_page(entries) end
  local items = items_named(wanted)
  if #items > 0 then return item_page(wanted, items) end
  local nearest = reference.nearest(name)
  local hint = nearest and ("did you mean %s?"):format(nearest) or "ask without a name for the contents"
  return nil, ("no page for %q: %s"):format(trim(name), hint)
end

-- The command line ---------------------------------------------------------------------------------------------

local function read_file(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local commands = {
  markdown = reference.markdown,
  types = reference.types,
  page = reference.page,
  readme = function(path)
    local readme = read_file(path or "README.md")
    local updated = reference.update_readme(readme)
    if not updated then return nil, ("%s has no section between %s and %s"):format(path, BEGIN, END) end
    if updated ~= readme then write_file(path, updated) end
    return ""
  end,
}

if started_as_script then
  local command = commands[arg[1]]
  if not command then
    io.stderr:write("usage: lua5.4 reference.lua markdown | types | page [NAME] | readme FILE\n")
    os.exit(2)
  end
  local text, problem = command(arg[2])
  if not text then
    io.stderr:write(problem, "\n")
    os.exit(1)
  end
  io.write(text)
end

return reference
