--- The story of a shopping cart: decisions, a refusal, two writers at once, and a look into the past.
--
--     moonfold run examples/shopping_cart/main.lua [STORE]
--
-- Its rules are scripts/domain/cart.lua. Without STORE, the name of a new file, the story is told on a temporary one.

local moonfold = require "moonfold"
local cart = require "moonfold.domain.cart"

local command, event, to_json = moonfold.command, moonfold.event, moonfold.to_json

-- ## Telling

local function say(text, ...) io.write(text:format(...), "\n") end

local function heading(text) say("\n%s\n%s", text, ("-"):rep(#text)) end

local function money(cents) return ("%d.%02d"):format(cents // 100, cents % 100) end

local function data_of(message) return message.data and " " .. to_json(message.data) or "" end

local function tell_command(who, request) say("\n%s> %s%s", who, request.type, data_of(request)) end

local function tell_events(events)
  for _, recorded in ipairs(events) do
    say("  recorded  %s %d: %s%s", recorded.stream_name, recorded.stream_position, recorded.type, data_of(recorded))
  end
end

local function tell_refusal(rejection)
  say("  refused   %s: %s", rejection.reason, rejection.message)
  if rejection.detail then say("            %s", to_json(rejection.detail)) end
end

local function tell_cart(store, stream)
  local result = store:aggregate_stream(stream, cart)
  say("\n  %s, version %d, %s", stream, result.current_stream_version, result.state.status)
  for _, item in ipairs(result.state.items) do
    say("  %4d %-8s at %5s %8s", item.qty, item.product, money(item.price), money(item.amount))
  end
  say("  %31s", "total " .. money(result.state.total))
end

-- ## The clock of the story, so that it is the same every time

local now = 0

local function clock() return now end

local function at(hour, minute)
  now = 1714521600000000 + (hour * 60 + minute) * 60000000   -- on the first of May, 2024
end

-- ## What one can do in the shop

local function add(product, qty, price)
  return command("AddProductItem", { product = product, qty = qty, price = price })
end

local function discount(percent) return command("ApplyDiscount", { percent = percent }) end

local confirm = command("ConfirmCart")

local function deliver(store, product, qty)
  store:append_to_stream("inventory-" .. product, event("GoodsReceived", { qty = qty }))
  tell_events(store:read_stream("inventory-" .. product, { backwards = true, max_count = 1 }).events)
end

--- Lets the cart decide. A refusal is an answer like any other; everything else that could go wrong raises an error.
local function ask(store, who, stream, request)
  tell_command(who, request)
  local result, rejection = store:attempt(stream, cart, request)
  if result then tell_events(result.events) else tell_refusal(rejection) end
  return result
end

local function reserve(store, items)
  for _, item in ipairs(items) do
    store:append_to_stream("inventory-" .. item.product, event("GoodsReserved", { qty = item.qty }))
    say("  reserved  %d %s", item.qty, item.product)
  end
end

--- Confirms a cart and takes its goods off the shelf: a transaction does both, or nothing.
local function check_out(store, who, stream)
  store:transaction(function()
    local result = ask(store, who, stream, confirm)
    if result and #result.events > 0 then reserve(store, result.state.items) end
  end)
end

-- ## The story

local function fill_the_shelf(store)
  at(8, 0)
  heading("A delivery arrives")
  deliver(store, "tea", 15)
  deliver(store, "cup", 4)
end

local function fill_the_cart(store)
  at(9, 0)
  heading("Ada fills her cart")
  ask(store, "ada", "cart-ada", add("tea", 10, 300))
  at(9, 5)
  ask(store, "ada", "cart-ada", add("tea", 10, 300))
  at(9, 6)
  ask(store, "ada", "cart-ada", discount(10))
  tell_cart(store, "cart-ada")
end

local function ask_for_too_much(store)
  at(9, 10)
  heading("A decision looks at another stream")
  say("Confirming reads inventory-tea in the transaction that would record the confirmation.")
  ask(store, "ada", "cart-ada", confirm)
end

--- Two handles on one file stand for two programs; each wants to change only the cart that it has on its screen.
local function write_at_once(phone, laptop)
  at(9, 20)
  heading("Two writers at once")
  local seen = { expected_stream_version = phone:stream_version("cart-ada") }
  say("Phone and laptop both show version %d.", seen.expected_stream_version)

  local remove = command("RemoveProductItem", { product = "tea" })
  tell_command("phone", remove)
  tell_events(phone:handle("cart-ada", cart, remove, seen).events)

  tell_command("laptop", discount(20))
  local _, conflict = pcall(laptop.handle, laptop, "cart-ada", cart, discount(20), seen)
  say("  %s: expected version %d, but it is %d", conflict.code, conflict.expected, conflict.current)
  tell_cart(laptop, "cart-ada")
  say("\nWithout an expectation there is nothing to conflict: the cart decides on what is there.")
  ask(laptop, "laptop", "cart-ada", add("cup", 1, 450))
end

local function confirm_carts(store)
  at(9, 30)
  heading("All or nothing")
  check_out(store, "ada", "cart-ada")
  ask(store, "bob", "cart-bob", add("tea", 6, 300))
  check_out(store, "bob", "cart-bob")
end

local function travel_in_time(store)
  heading("The cart as it was")
  for version = 1, store:stream_version("cart-ada") do
    local past = store:aggregate_stream("cart-ada", cart, { to = version }).state
    say("  version %d: %d in the cart, total %5s, %s", version, #past.items, money(past.total), past.status)
  end
end

local function look_into_the_file(store)
  heading("What is in the file")
  for name, version in store:streams() do
    say("  %-14s version %d", name, version)
  end
  say("")
  for recorded in store:all_events() do
    say("%s", to_json {
      global_position = recorded.global_position, stream_name = recorded.stream_name,
      stream_position = recorded.stream_position, type = recorded.type, data = recorded.data,
      recorded_at = os.date("!%H:%M", recorded.recorded_at // 1000000),
    })
  end
end

local function tell(path)
  local store <close> = moonfold.open(path, { clock = clock })
  local laptop <close> = moonfold.open(path, { clock = clock })
  for name in store:streams() do
    error(("%s has a stream %q already: give the name of a new file"):format(path, name), 0)
  end
  say("The story of a shopping cart")
  fill_the_shelf(store)
  fill_the_cart(store)
  ask_for_too_much(store)
  write_at_once(store, laptop)
  confirm_carts(store)
  travel_in_time(store)
  look_into_the_file(store)
end

local function tell_on_a_temporary_file()
  local name = os.tmpname()
  local path = name .. ".fold"
  local told, problem = pcall(tell, path)
  for _, file in ipairs { name, path, path .. "-lock" } do os.remove(file) end
  if not told then error(problem, 0) end
end

local path = ...
local told, problem = pcall(path and tell or tell_on_a_temporary_file, path)
if not told then
  io.stderr:write(tostring(problem), "\n")
  os.exit(false, true)
end
