--- A shopping cart: items are added and removed, discounts applied, and in the end it is confirmed or cancelled.
--
-- Confirming looks at other streams: what the cart asks for must be on the shelf at that very moment. `decide` runs
-- inside the transaction that records its events, so nobody can empty the shelf in between. Prices are in cents.

local moonfold = require "moonfold"

-- ## What the cart knows of the inventory

--- How many units of a product are on the shelf. Of the streams inventory-PRODUCT a cart understands only this.
local shelf = {
  initial_state = 0,
  evolve = {
    GoodsReceived = function(units, event) return units + event.data.qty end,
    GoodsReserved = function(units, event) return units - event.data.qty end,
  },
}

-- ## What events make of a cart

local evolve = {}

function evolve.ProductItemAdded(cart, event)
  local data = event.data
  local item = { product = data.product, qty = data.qty, price = data.price, amount = data.qty * data.price }
  table.insert(cart.items, item)
  cart.total = cart.total + item.amount
end

function evolve.ProductItemRemoved(cart, event)
  local item = table.remove(cart.items, event.data.line)
  cart.total = cart.total - item.amount
end

--- A discount is for what is in the cart now, not for what is added later. Amounts stay whole cents, rounded down.
function evolve.DiscountApplied(cart, event)
  cart.total = 0
  for _, item in ipairs(cart.items) do
    item.amount = math.max(0, item.amount * (100 - event.data.percent) // 100)
    cart.total = cart.total + item.amount
  end
end

function evolve.CartConfirmed(cart)
  cart.status = "confirmed"
end

function evolve.CartCancelled(cart)
  cart.status = "cancelled"
end

-- ## What commands lead to

local function must_be_open(cart)
  if cart.status ~= "open" then moonfold.reject("cart_closed", ("the cart is %s"):format(cart.status)) end
end

local function must_be_at_least(least, name, number)
  if number < least then moonfold.reject("invalid_" .. name, ("%s must be at least %d"):format(name, least)) end
end

--- The line that holds a product: the one that was added last.
local function line_of(cart, product)
  for line = #cart.items, 1, -1 do
    if cart.items[line].product == product then return line end
  end
end

local function quantity_of(cart, product)
  local qty = 0
  for _, item in ipairs(cart.items) do
    if item.product == product then qty = qty + item.qty end
  end
  return qty
end

local function must_be_available(cart, product, context)
  local wanted = quantity_of(cart, product)
  local available = context:aggregate_stream("inventory-" .. product, shelf).state
  if wanted > available then
    moonfold.reject("out_of_stock", ("%d %s wanted, %d available"):format(wanted, product, available),
      { product = product, wanted = wanted, available = available })
  end
end

local decide = {}

function decide.AddProductItem(command, cart)
  must_be_open(cart)
  must_be_at_least(1, "qty", command.data.qty)
  must_be_at_least(0, "price", command.data.price)
  return moonfold.event("ProductItemAdded", command.data)
end

function decide.RemoveProductItem(command, cart)
  must_be_open(cart)
  local product = command.data.product
  local line = line_of(cart, product)
  if not line then moonfold.reject("not_in_cart", ("there is no %s in the cart"):format(product)) end
  return moonfold.event("ProductItemRemoved", { product = product, line = line })
end

function decide.ApplyDiscount(command, cart)
  must_be_open(cart)
  must_be_at_least(1, "percent", command.data.percent)
  return moonfold.event("DiscountApplied", command.data)
end

--- Doing again what is done already is no failure: it just changes nothing.
function decide.ConfirmCart(_, cart, context)
  if cart.status == "confirmed" then return nil end
  must_be_open(cart)
  if #cart.items == 0 then moonfold.reject("cart_empty", "there is nothing in the cart") end
  for _, item in ipairs(cart.items) do must_be_available(cart, item.product, context) end
  return moonfold.event("CartConfirmed", { total = cart.total })
end

function decide.CancelCart(_, cart)
  if cart.status == "cancelled" then return nil end
  must_be_open(cart)
  return moonfold.event("CartCancelled")
end

return {
  name = "cart",
  category = "cart",
  initial_state = function()
    return { status = "open", items = moonfold.array(), total = 0 }
  end,
  evolve = evolve,
  decide = decide,

  -- What data looks like. A command's data may go into an event as it came, because nothing else can be in it.
  commands = {
    AddProductItem = { product = "string", qty = "integer", price = "integer" },
    RemoveProductItem = { product = "string" },
    ApplyDiscount = { percent = "integer" },
    ConfirmCart = {},
    CancelCart = {},
  },
  events = {
    ProductItemAdded = { product = "string", qty = "integer", price = "integer" },
    ProductItemRemoved = { product = "string", line = "integer" },
    DiscountApplied = { percent = "integer" },
    CartConfirmed = { total = "integer" },
    CartCancelled = {},
  },

  --- What is true of every cart. Specs ask after every event.
  invariant = function(cart)
    local total = 0
    for _, item in ipairs(cart.items) do total = total + item.amount end
    return total == cart.total, "the total is not the sum of the items"
  end,
}
