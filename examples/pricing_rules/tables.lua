--- Price lists as they come from a spreadsheet: prices.csv and discounts.csv in a folder become the rules that the
--- script of the quotes is given as its `params`. What cannot be read is told by file and line.

local tables = {}

--- The records of a file: a list of { field = text, line = "prices.csv:2" }. A cell has no comma in it.
local function records(path)
  local file <close> = assert(io.open(path))
  local fields, list, number = nil, {}, 0
  for line in file:lines() do
    number = number + 1
    local cells = {}
    for cell in (line:gsub("\r$", "") .. ","):gmatch("%s*([^,]-)%s*,") do cells[#cells + 1] = cell end
    if not fields then
      fields = cells
    elseif line:find("[^%s,]") then
      local record = { line = ("%s:%d"):format(path, number) }
      if #cells ~= #fields then
        error(("%s: there are %d cells, and %d titles above them: has an amount a comma in it?"):format(record.line,
          #cells, #fields), 0)
      end
      for i, field in ipairs(fields) do record[field] = cells[i] ~= "" and cells[i] or nil end
      list[#list + 1] = record
    end
  end
  return list
end

--- "3.20" -> 320. Money is counted in cents: sums of fractions are never exact.
local function cents(record, field)
  local whole, fraction = (record[field] or ""):match("^(%d+)%.?(%d?%d?)$")
  if not whole then
    error(("%s: %s is %s, and not an amount such as 3.20"):format(record.line, field, record[field] or "missing"), 0)
  end
  return math.tointeger(whole) * 100 + math.tointeger((fraction .. "00"):sub(1, 2))
end

local function count(record, field)
  local n = math.tointeger(tonumber(record[field]))
  if not n then
    error(("%s: %s is %s, and not a whole number"):format(record.line, field, record[field] or "missing"), 0)
  end
  return n
end

--- The rules in a folder.
function tables.rules(folder)
  local rules = { prices = {}, discounts = {} }
  for _, record in ipairs(records(folder .. "/prices.csv")) do
    local product = record.product or error(("%s: the product is missing"):format(record.line), 0)
    if rules.prices[product] then error(("%s: %s has a price already"):format(record.line, product), 0) end
    rules.prices[product] = cents(record, "price")
  end
  for i, record in ipairs(records(folder .. "/discounts.csv")) do
    rules.discounts[i] = {
      name = record.name, product = record.product,
      from = record.from and count(record, "from"), total = record.total and cents(record, "total"),
      percent = count(record, "percent"),
    }
  end
  return rules
end

return tables
