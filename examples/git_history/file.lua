--- What the stream of one file adds up to.
--
-- Owners are counted by the lines that each author has added since the file was created. What is removed is taken to
-- be removed from everyone in proportion, which leaves the shares as they are.

local evolve = {}

local function touch(state, data)
  local added, removed = data.added or 0, data.removed or 0
  state.path = state.path or data.path -- of the first event, whatever it is: history may be cut
  state.binary = data.binary or false
  state.commits = state.commits + 1
  state.lines = state.lines + added - removed
  state.churn = state.churn + added + removed
  state.authors[data.author] = (state.authors[data.author] or 0) + added
end

function evolve.FileCreated(state, event)
  state.alive = true
  touch(state, event.data)
end

function evolve.FileChanged(state, event)
  touch(state, event.data)
end

function evolve.FileRenamed(state, event)
  state.path = event.data.path
  state.renames = state.renames + 1
  touch(state, event.data)
end

function evolve.FileDeleted(state, event)
  touch(state, event.data)
  -- A branch may delete a name that the file has left on another one.
  if event.data.path == state.path then
    state.alive = false
    state.authors = {}
  end
end

return {
  name = "file",
  category = "file",
  initial_state = { alive = true, binary = false, lines = 0, churn = 0, commits = 0, renames = 0, authors = {} },
  evolve = evolve,
}
