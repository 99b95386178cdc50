local moonfold = require "moonfold"
local cart = require "cart"
local given = require("moonfold.spec")(cart)

local command, event = moonfold.command, moonfold.event

-- What happened, and what is wanted, in the words of the shop.

local function item(product, qty, price) return { product = product, qty = qty, price = price } end
local function added(...) return event("ProductItemAdded", item(...)) end
local function removed(product, line) return event("ProductItemRemoved", { product = product, line = line }) end
local function discounted(percent) return event("DiscountApplied", { percent = percent }) end
local function confirmed(total) return event("CartConfirmed", { total = total }) end
local function received(qty) return event("GoodsReceived", { qty = qty }) end
local function reserved(qty) return event("GoodsReserved", { qty = qty }) end

local cancelled = event("CartCancelled")

local function add(...) return command("AddProductItem", item(...)) end
local function remove(product) return command("RemoveProductItem", { product = product }) end
local function discount(percent) return command("ApplyDiscount", { percent = percent }) end

local confirm, cancel = command("ConfirmCart"), command("CancelCart")

-- A line of the cart: its amount is what it adds to the total.
local function line(product, qty, price, amount)
  return { product = product, qty = qty, price = price, amount = amount }
end

local function open(items, total) return { status = "open", items = items, total = total } end

describe("adding an item", function()
  it("puts it into an empty cart", function()
    given {}
      :when(add("tea", 10, 3))
      :expect { added("tea", 10, 3) }
      :expect_state(open({ line("tea", 10, 3, 30) }, 30))
  end)

  it("makes a line of its own for the same product", function()
    given { added("tea", 10, 3) }
      :when(add("tea", 10, 3))
      :expect { added("tea", 10, 3) }
      :expect_state(open({ line("tea", 10, 3, 30), line("tea", 10, 3, 30) }, 60))
  end)

  it("needs whole numbers", function()
    given {}:when(add("tea", 0, 3)):expect_rejected("invalid_qty")
    given {}:when(add("tea", 1.5, 3)):expect_error("command.data.qty: an integer is needed")
    given {}:when(add("tea", 1, -3)):expect_rejected("invalid_price")
    given {}:when(add("tea", 1, "3")):expect_error("command.data.price: an integer is needed")
  end)

  it("takes gifts, which cost nothing", function()
    given {}:when(add("sticker", 1, 0)):expect { added("sticker", 1, 0) }
  end)
end)

describe("removing an item", function()
  it("takes it out of the total", function()
    given { added("tea", 10, 3), added("cup", 1, 500) }
      :when(remove("tea"))
      :expect { removed("tea", 1) }
      :expect_state(open({ line("cup", 1, 500, 500) }, 500))
  end)

  it("takes the line that was added last", function()
    given { added("tea", 10, 3), added("cup", 1, 500), added("tea", 2, 3) }
      :when(remove("tea"))
      :expect { removed("tea", 3) }
  end)

  it("takes out what the item costs after discounts", function()
    given { added("tea", 10, 3), added("cup", 1, 500), discounted(10) }
      :when(remove("cup"))
      :expect_state(open({ line("tea", 10, 3, 27) }, 27))
  end)

  it("leaves an empty list, not an empty map", function()
    given { added("tea", 10, 3) }:when(remove("tea")):expect_state(open(moonfold.array(), 0))
  end)

  it("needs the item to be there", function()
    given { added("tea", 10, 3) }:when(remove("cup")):expect_rejected("not_in_cart")
  end)
end)

describe("a discount", function()
  it("lowers the total", function()
    given { added("tea", 10, 3) }
      :when(discount(10))
      :expect { discounted(10) }
      :expect_state(open({ line("tea", 10, 3, 27) }, 27))
  end)

  it("is not for what is added later", function()
    given { added("tea", 10, 3), discounted(50) }
      :when(add("tea", 10, 3))
      :expect_state(open({ line("tea", 10, 3, 15), line("tea", 10, 3, 30) }, 45))
  end)

  it("rounds down to whole cents", function()
    given { added("tea", 1, 99) }:when(discount(50)):expect_state(open({ line("tea", 1, 99, 49) }, 49))
  end)

  it("never makes the shop pay", function()
    given { added("tea", 10, 3) }:when(discount(150)):expect_state(open({ line("tea", 10, 3, 0) }, 0))
  end)

  it("needs a whole number of percent", function()
    given { added("tea", 10, 3) }:when(discount(0)):expect_rejected("invalid_percent")
    given { added("tea", 10, 3) }:when(discount(2.5)):expect_error("command.data.percent: an integer is needed")
  end)
end)

describe("confirming", function()
  local full = given { added("tea", 10, 3), added("cup", 1, 500), added("tea", 2, 3) }

  it("records the total", function()
    full
      :and_stream("inventory-tea", { received(20), reserved(8) })
      :and_stream("inventory-cup", { received(1) })
      :when(confirm)
      :expect { confirmed(536) }
  end)

  it("needs every product on the shelf", function()
    full
      :and_stream("inventory-tea", { received(20) })
      :and_stream("inventory-cup", { received(1), reserved(1) })
      :when(confirm)
      :expect_rejected("out_of_stock")
  end)

  it("needs as much of a product as all its lines ask for", function()
    full
      :and_stream("inventory-tea", { received(20), reserved(9) })
      :and_stream("inventory-cup", { received(1) })
      :when(confirm)
      :expect_rejected("out_of_stock")
  end)

  it("needs products that the inventory has heard of", function()
    full:when(confirm):expect_rejected("out_of_stock")
  end)

  it("needs something in the cart", function()
    given {}:when(confirm):expect_rejected("cart_empty")
  end)

  it("changes nothing the second time", function()
    given { added("tea", 10, 3), confirmed(30) }:when(confirm):expect_nothing()
  end)

  it("cannot follow a cancellation", function()
    given { added("tea", 10, 3), cancelled }:when(confirm):expect_rejected("cart_closed")
  end)
end)

describe("cancelling", function()
  it("closes the cart", function()
    given { added("tea", 10, 3) }
      :when(cancel)
      :expect { cancelled }
      :expect_state { status = "cancelled", items = { line("tea", 10, 3, 30) }, total = 30 }
  end)

  it("changes nothing the second time", function()
    given { cancelled }:when(cancel):expect_nothing()
  end)

  it("cannot follow a confirmation", function()
    given { added("tea", 10, 3), confirmed(30) }:when(cancel):expect_rejected("cart_closed")
  end)
end)

describe("a closed cart", function()
  it("stays as it is", function()
    for _, late in ipairs { add("cup", 1, 500), remove("tea"), discount(10) } do
      given { added("tea", 10, 3), confirmed(30) }:when(late):expect_rejected("cart_closed")
      given { added("tea", 10, 3), cancelled }:when(late):expect_rejected("cart_closed")
    end
  end)
end)
