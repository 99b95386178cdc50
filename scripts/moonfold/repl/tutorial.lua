-- The tour: a store of its own with an account and a cart, and steps that each ask for one line to be typed.

local moonfold = require "moonfold"

local fail = require("moonfold.repl.session").fail

local tutorial = {}

--- A clock that began hours ago, and on which some minutes pass with each look: so that the tour has a past.
local function clock_of(host)
  local MINUTE <const> = 60000000
  local time, passed = host.now() - 180 * MINUTE, 0
  return function()
    passed = passed % 7 + 1
    time = math.min(time + (3 * passed + 4) * MINUTE, host.now())
    return time
  end
end

local function fill(store)
  local account, cart = require "moonfold.domain.account", require "moonfold.domain.cart"
  local command = moonfold.command
  local function add(product, qty, price)
    return command("AddProductItem", { product = product, qty = qty, price = price })
  end
  store:handle("account-ada", account, command("Deposit", { cents = 10000 }))
  store:handle("account-ada", account, command("Withdraw", { cents = 2500 }))
  store:append_to_stream("inventory-tea", moonfold.event("GoodsReceived", { qty = 5 }))
  store:handle("cart-1", cart, { add("tea", 2, 350), add("cup", 1, 900) })
  store:handle("cart-1", cart, command("ApplyDiscount", { percent = 10 }))
  store:handle("cart-2", cart, add("tea", 9, 350))
  return { account, cart }
end

local steps <const> = {
  { "This is a small shop. What happened is all there: streams of events, one for each account and each cart.",
    ".streams" },
  { "An event is a fact that never changes. These are the facts about one cart:", ".events cart-1" },
  { "A state is computed from events, by rules: a Lua script with a function for each type of event. The rules of\n"
    .. "carts and accounts are loaded here (.use lists them). So how does the cart stand?", ".state cart-1" },
  { "Nothing was overwritten, so every earlier state is there, too:", ".state cart-1@2" },
  { "Why does it cost what it costs? Ask which events made a part of the state what it is:", ".why cart-1 total" },
  { "Or search: after which event did it first cost more than ten?", ".find cart-1 total > 1000" },
  { "Rules decide what may happen, too. What if somebody confirmed cart 2, with nine teas?",
    ".try cart-2 ConfirmCart" },
  { "Nothing was recorded. A branch is a longer what-if; begin one, and do something on it:", ".branch" },
  { "This decides, but only here:", '.do account-ada Withdraw { cents = 7000 }' },
  { "What is different now from the store?", ".branch" },
  { "Back to what really happened:", ".branch drop" },
  { "All of this is Lua, and the store is `store`:", 'store:stream_version("cart-1")' },
}

local function ask(self)
  local step = steps[self.tour_step]
  if not step then
    self.tour = nil
    self:say("")
    self:tell("Well done: that was the tour. What next? .help tells all commands, ?store all functions; .open FILE "
      .. "opens a store of yours, and \"moonfold new NAME\" in a shell begins rules of your own. .tutorial off goes "
      .. "back to %s.", self.aside.place.path or "the scratch store of before")
    return
  end
  self:say("")
  self:tell("[%d/%d] %s", self.tour_step, #steps, step[1])
  self:say("Type: %s", self.out:paint("bold", step[2]))
end

local function first_word(line) return line:match("^%s*(%S+)") end

--- Begins the tour, or ends it.
function tutorial.run(self, word)
  if word == "off" then
    if not self.aside then fail("no tour has begun: .tutorial begins it") end
    self.tour = nil
    self:come_back()
    return self:say("the tour is over: back on %s", self.place.path or "the scratch store")
  end
  if word then fail("%q is nothing that .tutorial knows: off", word) end
  self:set_aside { clock = clock_of(self.host) }
  local deciders = fill(self.store)
  self.loaded = { { domain = { deciders = deciders } } }
  self.tour_step = 0
  self:tell("A tour, in a store of its own. Type what each step asks for, or anything else; .tutorial off ends it.")
  self.tour_step = 1
  ask(self)
  local fresh = true
  self.tour = function(line)
    if fresh then
      fresh = false
      return
    end
    local step = steps[self.tour_step]
    if step and first_word(line) == first_word(step[2]) then
      self.tour_step = self.tour_step + 1
      ask(self)
    end
  end
end

return tutorial
