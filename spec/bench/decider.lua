-- A domain script for the benchmarks. Its parameter says what the handlers do with their events: "reads" fields,
-- "keeps data" or "keeps events".

local how = ...

local function reads(state, event)
  local data = event.data
  state.count = state.count + 1
  state.total = state.total + data.qty * data.price
  state.last = data.product
end

local function keeps_data(state, event)
  local data = event.data
  state.count = state.count + 1
  state.total = state.total + data.qty * data.price
  state.last = data
end

local function keeps_events(state, event)
  local data = event.data
  state.count = state.count + 1
  state.total = state.total + data.qty * data.price
  state.last = event
end

local handler = how == "reads" and reads or how == "keeps data" and keeps_data or keeps_events

return {
  name = "benchmark",
  initial_state = { count = 0, total = 0 },
  evolve = { ItemAdded = handler, DiscountApplied = handler },
}
