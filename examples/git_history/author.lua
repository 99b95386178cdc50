--- What the stream of one author adds up to.

local evolve = {}

function evolve.Committed(state, event)
  local data = event.data
  state.author = data.author
  state.name = data.name -- the one last used
  state.commits = state.commits + 1
  if data.parents > 1 then
    state.merges = state.merges + 1
  end
  state.added = state.added + data.added
  state.removed = state.removed + data.removed
  if data.time then -- commits come in the order of the graph, not of the clocks they were made by
    state.first = math.min(state.first or data.time, data.time)
    state.last = math.max(state.last or data.time, data.time)
  end
end

return {
  name = "author",
  category = "author",
  initial_state = { commits = 0, merges = 0, added = 0, removed = 0 },
  evolve = evolve,
}
