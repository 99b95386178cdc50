--- A hero finds gold and spends it. The host knows nothing of this: it hands over commands, as text.

local moonfold = require "moonfold"

return {
  category = "hero",
  initial_state = { gold = 0, bag = moonfold.array() },

  evolve = {
    GoldFound = function(hero, event) hero.gold = hero.gold + event.data.gold end,
    ItemBought = function(hero, event)
      hero.gold = hero.gold - event.data.price
      table.insert(hero.bag, event.data.item)
    end,
  },

  commands = { PickUp = { gold = "integer" }, Buy = { item = "string", price = "integer" } },

  decide = {
    PickUp = function(command) return moonfold.event("GoldFound", command.data) end,
    Buy = function(command, hero)
      local price = command.data.price
      if price > hero.gold then
        moonfold.reject("too_expensive", ("%d gold wanted, %d in the purse"):format(price, hero.gold))
      end
      return moonfold.event("ItemBought", command.data)
    end,
  },
}
