--- Quotes by rules that are not in this file: one script, many price lists.
--
-- A script receives the plain value `params` of moonfold.load_decider as `...`. This one is given prices in cents and
-- discounts, which may be written by people who do not program:
--
--     {
--       prices = { tea = 300, cup = 500 },
--       discounts = {
--         { name = "tea by the dozen", product = "tea", from = 12, percent = 10 },
--         { name = "a big order", total = 10000, percent = 5 },
--       },
--     }
--
-- They are checked when the script is loaded, and every mistake is told at once, in their words.

local moonfold = require "moonfold"

-- ## Reading the rules

local mistakes = {}

local function mistake(where, format, ...)
  mistakes[#mistakes + 1] = ("  %s: %s"):format(where, format:format(...))
end

--- A value as its author wrote it.
local function shown(value)
  if value == nil then return "missing" end
  if type(value) == "string" then return ('the text "%s"'):format(value) end
  if type(value) == "table" then return "a list or a table" end
  return tostring(value)
end

--- A whole number in a range; `right` says what would be right.
local function check_number(where, field, value, least, most, right)
  if math.type(value) == "integer" and value >= least and value <= most then return end
  mistake(where, '"%s" is %s; it must be %s', field, shown(value), right)
end

local function check_text(where, field, value)
  if type(value) == "string" and value ~= "" then return end
  mistake(where, '"%s" is %s; it must be a text, such as "%s"', field, shown(value), "spring sale")
end

local function check_fields(where, fields, known)
  for field in pairs(fields) do
    if not (" " .. known .. " "):find(" " .. tostring(field) .. " ", 1, true) then
      mistake(where, '"%s" is not known here; a discount has %s', tostring(field), (known:gsub(" ", ", ")))
    end
  end
end

local MANY <const> = 1000000000

local function check_discount(discount, number, prices)
  local where = ("discount %d"):format(number)
  if type(discount) ~= "table" then
    return mistake(where, 'it is %s; it must look like { name = "spring sale", percent = 10 }', shown(discount))
  end
  if type(discount.name) == "string" then where = ('%s, "%s"'):format(where, discount.name) end
  check_fields(where, discount, "name product from total percent")
  check_text(where, "name", discount.name)
  check_number(where, "percent", discount.percent, 1, 100, "a whole number from 1 to 100")
  if discount.from ~= nil then check_number(where, "from", discount.from, 1, MANY, "a quantity, such as 12") end
  if discount.total ~= nil then
    check_number(where, "total", discount.total, 1, MANY, "an amount in cents, such as 10000")
  end
  if discount.product ~= nil and not prices[discount.product] then
    mistake(where, '"product" is %s, which has no price in this list', shown(discount.product))
  end
end

--- The rules, as they came, if there is no mistake in them.
local function checked(rules)
  if type(rules) ~= "table" then
    error("a price list is needed: load this script with params = { prices = { ... }, discounts = { ... } }", 0)
  end
  if type(rules.prices) ~= "table" or next(rules.prices) == nil then
    error('the price list has no prices; it must begin like this: { prices = { tea = 300 }, ... }', 0)
  end
  for product, price in pairs(rules.prices) do
    check_number("prices", tostring(product), price, 0, MANY, "an amount in cents, such as 300")
  end
  if rules.discounts ~= nil and type(rules.discounts) ~= "table" then
    mistake("discounts", 'it is %s; it must be a list, such as { { name = "spring sale", percent = 10 } }',
      shown(rules.discounts))
  else
    for number, discount in ipairs(rules.discounts or {}) do check_discount(discount, number, rules.prices) end
  end
  if #mistakes > 0 then error("the price list has mistakes:\n" .. table.concat(mistakes, "\n"), 0) end
  return rules
end

local rules = checked(...)

-- ## Applying the rules

local function applies(discount, product, quantity, amount)
  return (discount.product == nil or discount.product == product)
    and quantity >= (discount.from or 1)
    and amount >= (discount.total or 0)
end

--- The highest discount that applies, or nil; of two that are equal, the one that comes first.
local function best_discount(product, quantity, amount)
  local best
  for _, discount in ipairs(rules.discounts or {}) do
    if applies(discount, product, quantity, amount) and (not best or discount.percent > best.percent) then
      best = discount
    end
  end
  return best
end

local decide = {}

--- The event keeps what the rules said on that day: rules that change later do not change a quote that was given.
function decide.AddLine(command, quote)
  if quote.confirmed then moonfold.reject("quote_confirmed", "the quote was confirmed: begin another") end
  local product, quantity = command.data.product, command.data.quantity
  local price = rules.prices[product]
  if not price then moonfold.reject("no_price", ("%s is not in the price list"):format(product)) end
  if quantity < 1 then moonfold.reject("invalid_quantity", "a quantity is at least one") end
  local amount = price * quantity
  local discount = best_discount(product, quantity, amount)
  local off = discount and amount * discount.percent // 100 or 0
  return moonfold.event("LineAdded", {
    product = product, quantity = quantity, amount = amount - off, discount = discount and discount.name,
  })
end

function decide.Confirm(_, quote)
  if quote.confirmed then return nil end
  if #quote.lines == 0 then moonfold.reject("quote_empty", "there is nothing in the quote") end
  return moonfold.event("QuoteConfirmed", { total = quote.total })
end

local evolve = {}

function evolve.LineAdded(quote, added)
  quote.lines[#quote.lines + 1] = added.data
  quote.total = quote.total + added.data.amount
end

function evolve.QuoteConfirmed(quote)
  quote.confirmed = true
end

return {
  name = "pricing",
  category = "quote",
  initial_state = function()
    return { lines = moonfold.array(), total = 0, confirmed = false }
  end,
  evolve = evolve,
  decide = decide,

  commands = {
    AddLine = { product = "string", quantity = "integer" },
    Confirm = {},
  },
  events = {
    LineAdded = { product = "string", quantity = "integer", amount = "integer", discount = "string?" },
    QuoteConfirmed = { total = "integer" },
  },

  invariant = function(quote)
    local total = 0
    for _, line in ipairs(quote.lines) do total = total + line.amount end
    return total == quote.total, "the total is not the sum of the lines"
  end,
}
