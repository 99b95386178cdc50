local moonfold = require "moonfold"
local scenario_of = require "moonfold.spec"

local command, event = moonfold.command, moonfold.event

--- The decider for a table of rules: what moonfold.load_decider does with its option `params`.
local function pricing(rules)
  local path = assert(package.searchpath("pricing", package.path))
  return assert(loadfile(path))(rules)
end

local price_list = {
  prices = { tea = 300, cup = 550 },
  discounts = {
    { name = "tea by the dozen", product = "tea", from = 12, percent = 10 },
    { name = "a big order", total = 10000, percent = 15 },
    { name = "ten of anything", from = 10, percent = 5 },
  },
}

local given = scenario_of(pricing(price_list))

local function add(product, quantity) return command("AddLine", { product = product, quantity = quantity }) end

local function line(product, quantity, amount, discount)
  return { product = product, quantity = quantity, amount = amount, discount = discount }
end

local function added(...) return event("LineAdded", line(...)) end
local function confirmed(total) return event("QuoteConfirmed", { total = total }) end

describe("a quote", function()
  it("adds up lines at the prices of the list", function()
    given { added("tea", 2, 600) }
      :when(add("cup", 1))
      :expect { added("cup", 1, 550) }
      :expect_state { lines = { line("tea", 2, 600), line("cup", 1, 550) }, total = 1150, confirmed = false }
  end)

  it("knows no other products", function()
    given {}:when(add("coffee", 1)):expect_rejected("no_price")
    given {}:when(add("tea", 0)):expect_rejected("invalid_quantity")
    given {}:when(add("tea", "2")):expect_error("command.data.quantity: an integer is needed")
  end)

  it("gives the highest discount that applies, and its name", function()
    given {}:when(add("tea", 11)):expect { added("tea", 11, 3135, "ten of anything") }
    given {}:when(add("tea", 12)):expect { added("tea", 12, 3240, "tea by the dozen") }
    given {}:when(add("cup", 19)):expect { added("cup", 19, 8883, "a big order") }
    given {}:when(add("cup", 9)):expect { added("cup", 9, 4950) }
  end)

  it("stays as it was when the rules change", function()
    scenario_of(pricing { prices = { tea = 999 } }) { added("tea", 2, 600) }
      :when(command("Confirm"))
      :expect { confirmed(600) }
  end)

  it("is confirmed once, with something in it", function()
    given {}:when(command("Confirm")):expect_rejected("quote_empty")
    given { added("tea", 2, 600) }:when(command("Confirm")):expect { confirmed(600) }
    given { added("tea", 2, 600), confirmed(600) }:when(command("Confirm")):expect_nothing()
    given { added("tea", 2, 600), confirmed(600) }:when(add("tea", 1)):expect_rejected("quote_confirmed")
  end)
end)

describe("a price list", function()
  local function says(message, rules)
    local loaded, problem = pcall(pricing, rules)
    assert.is_false(loaded)
    assert.equal(message, problem)
  end

  local function mistake(message, discount)
    says("the price list has mistakes:\n  " .. message, { prices = { tea = 300 }, discounts = { discount } })
  end

  it("needs no discounts", function()
    scenario_of(pricing { prices = { tea = 300 } }) {}:when(add("tea", 100)):expect { added("tea", 100, 30000) }
  end)

  it("says which rule is wrong, in what, and what would be right", function()
    mistake('discount 1, "spring": "percent" is 120; it must be a whole number from 1 to 100',
      { name = "spring", percent = 120 })
    mistake('discount 1, "spring": "percent" is 2.5; it must be a whole number from 1 to 100',
      { name = "spring", percent = 2.5 })
    mistake('discount 1, "spring": "percent" is missing; it must be a whole number from 1 to 100', { name = "spring" })
    mistake('discount 1, "spring": "from" is the text "12"; it must be a quantity, such as 12',
      { name = "spring", percent = 5, from = "12" })
    mistake('discount 1, "spring": "total" is -1; it must be an amount in cents, such as 10000',
      { name = "spring", percent = 5, total = -1 })
    mistake('discount 1, "spring": "product" is the text "coffee", which has no price in this list',
      { name = "spring", percent = 5, product = "coffee" })
    mistake('discount 1: "name" is missing; it must be a text, such as "spring sale"', { percent = 5 })
    mistake('discount 1: it is 10; it must look like { name = "spring sale", percent = 10 }', 10)
  end)

  it("knows no other fields", function()
    mistake('discount 1, "spring": "until" is not known here; a discount has name, product, from, total, percent',
      { name = "spring", percent = 5, ["until"] = "May" })
  end)

  it("tells every mistake at once", function()
    says([[
the price list has mistakes:
  prices: "tea" is the text "300"; it must be an amount in cents, such as 300
  discount 1, "spring": "percent" is 0; it must be a whole number from 1 to 100
  discount 2: "name" is a list or a table; it must be a text, such as "spring sale"]], {
      prices = { tea = "300" },
      discounts = { { name = "spring", percent = 0 }, { name = {}, percent = 5 } },
    })
  end)

  it("is needed", function()
    says("a price list is needed: load this script with params = { prices = { ... }, discounts = { ... } }", nil)
    says("the price list has no prices; it must begin like this: { prices = { tea = 300 }, ... }", { prices = {} })
    says('the price list has mistakes:\n  discounts: it is the text "none"; it must be a list, such as '
      .. '{ { name = "spring sale", percent = 10 } }', { prices = { tea = 300 }, discounts = "none" })
  end)
end)
