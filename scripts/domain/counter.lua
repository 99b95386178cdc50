--- The smallest decider: a number that can be counted up, and set back to zero.
--
-- `evolve` and `decide` are single functions here, and the state is a plain number. With more than a few types of
-- events and commands, tables of functions read better: see account.lua and cart.lua.

local moonfold = require "moonfold"

return {
  name = "counter",
  category = "counter",   -- it owns the streams counter-*
  initial_state = 0,

  --- What an event makes of the state. It does not ask whether: that was decided before. Returning nothing, as for
  --- events of other types, keeps the state.
  evolve = function(count, event)
    if event.type == "Counted" then return count + event.data.by end
    if event.type == "Reset" then return 0 end
  end,

  --- What a command leads to: an event, a list of events, or nothing at all.
  decide = function(command, count)
    if command.type == "Count" then
      return moonfold.event("Counted", { by = command.data and command.data.by or 1 })
    end
    if command.type == "Reset" then
      if count == 0 then return nil end
      return moonfold.event("Reset")
    end
    moonfold.reject("unknown_command", ("a counter cannot %s"):format(command.type))
  end,
}
