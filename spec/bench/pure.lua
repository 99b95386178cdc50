-- P, the yardstick of aggregates: pure Lua folds the same events as tables that are already in memory. In a process of
-- its own, so that a million tables do not burden the collector of the other. Called with bench.lua's arguments and
-- the number of events; prints nanoseconds for an event, a line for each aggregate: the median of
-- three folds.

local bench = require "bench"

local count = tonumber(arg[4])
local events = {}
for i = 1, count do events[i] = bench.event(i) end
collectgarbage()

local function by_function(evolve, state)
  for i = 1, count do
    local new = evolve(state, events[i])
    if new ~= nil then state = new end
  end
  return state
end

local function by_table(evolve, state)
  for i = 1, count do
    local event = events[i]
    local handler = evolve[event.type]
    if handler then
      local new = handler(state, event)
      if new ~= nil then state = new end
    end
  end
  return state
end

for _, aggregate in ipairs(bench.aggregates) do
  local fold = type(aggregate.evolve) == "function" and by_function or by_table
  local costs = {}
  for i = 1, 3 do costs[i] = bench.cost(count, function() fold(aggregate.evolve, aggregate.initial_state()) end) end
  table.sort(costs)
  print(costs[2])
end
