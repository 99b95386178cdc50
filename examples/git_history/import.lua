--- Turns commits into events, every commit once.
--
-- Each file has a stream and each author has one. A commit is one event in its author's stream and one in the stream
-- of every file it touches. A file's stream is named after the path at which the file was born, and a rename
-- continues it; a file that is deleted and later created again at the same path continues it too. When the first owner
-- of a name has moved on and another file is born there, the newcomer's stream gets the commit's id behind its name.

local moonfold = require "moonfold"

-- Commits in one transaction. More make the import hardly faster, and an interrupted one loses more.
local BATCH = 500

-- A stream's name has at most 400 bytes, a path up to 4096. Beyond this length the hash tells them apart, and leaves
-- room for the commit's id.
local LONGEST = 380

local function stream_name(prefix, text)
  local name = prefix .. text
  if #name > LONGEST then
    name = name:sub(1, 300) .. "~" .. moonfold.hash(text)
  end
  return name
end

-- People change their names more often than their addresses.
local function author_of(commit)
  for _, key in ipairs { commit.email:lower(), commit.name } do
    if key ~= "" then
      return key
    end
  end
  return "unknown"
end

-- The importer's memory: which commits are here, which stream a path leads to, and where a stream's file is now.
local function new_memory()
  return { commits = {}, count = 0, streams = {}, paths = {} }
end

local function remember(memory, stream, event)
  local data = event.data
  if event.type == "Committed" then
    memory.commits[data.commit] = true
    memory.count = memory.count + 1
    return
  end
  memory.streams[data.path] = stream
  -- On a branch that has not yet heard of a rename, a file may still change under its old name: it has not moved back.
  if not memory.paths[stream] or event.type == "FileRenamed" then
    memory.paths[stream] = data.path
  end
end

local OURS = { "Committed", "FileCreated", "FileChanged", "FileRenamed", "FileDeleted" }

-- All there is to remember is in the log, so nothing else has to be kept, nor can it disagree.
local function recall(store)
  local memory = new_memory()
  for event in store:all_events { types = OURS } do
    remember(memory, event.stream_name, event)
  end
  return memory
end

local function file_stream(memory, commit, change)
  local stream = memory.streams[change.from or change.path]
  local moved_on = change.type == "FileCreated" and memory.paths[stream] ~= change.path
  if stream and not moved_on then
    return stream
  end
  local name = stream_name("file-", change.path)
  return memory.paths[name] and name .. "@" .. commit.id:sub(1, 12) or name
end

local function file_event(commit, author, number, change)
  return {
    type = change.type,
    -- Should two imports run at once, the ids let each commit in only once.
    message_id = commit.id .. ":" .. number,
    data = {
      commit = commit.id,
      author = author,
      time = commit.time,
      path = change.path,
      from = change.from,
      added = change.added,
      removed = change.removed,
      binary = change.binary or nil,
    },
  }
end

local function commit_event(commit, author)
  local added, removed = 0, 0
  for _, change in ipairs(commit.changes) do
    added = added + (change.added or 0)
    removed = removed + (change.removed or 0)
  end
  return {
    type = "Committed",
    message_id = commit.id,
    data = {
      commit = commit.id,
      author = author,
      name = commit.name,
      time = commit.time,
      subject = commit.subject,
      parents = commit.parents,
      files = #commit.changes,
      added = added,
      removed = removed,
    },
  }
end

local function append(store, memory, stream, event)
  store:append_to_stream(stream, event)
  remember(memory, stream, event)
end

local function append_commit(store, memory, commit)
  local author = author_of(commit)
  append(store, memory, stream_name("author-", author), commit_event(commit, author))
  for number, change in ipairs(commit.changes) do
    append(store, memory, file_stream(memory, commit, change), file_event(commit, author, number, change))
  end
end

-- What git has to say is read before the transaction begins: nobody waits for git with the store locked.
local function append_commits(store, memory, commits)
  store:transaction(function()
    for _, commit in ipairs(commits) do
      append_commit(store, memory, commit)
    end
  end)
end

local function not_in(memory, ids)
  local missing = {}
  for _, id in ipairs(ids) do
    if not memory.commits[id] then
      missing[#missing + 1] = id
    end
  end
  return missing
end

--- Appends what the store does not have yet; progress(done, total) is called after each transaction.
--- Returns the number of new commits, and how many of the store's commits the repository's HEAD does not reach.
local function import(store, repository, progress)
  local memory = recall(store)
  local ids = repository:ids()
  local missing = not_in(memory, ids)
  local strays = memory.count - (#ids - #missing)
  if #missing == 0 then
    return 0, strays
  end
  if memory.count > 0 and strays == memory.count then
    error("The store holds the history of another repository, or all of this one's was rewritten: not one of its "
      .. "commits is here. Name another STORE, or delete it.", 0)
  end

  local batch, done = {}, 0
  progress(done, #missing)
  for commit in repository:commits(missing) do
    batch[#batch + 1] = commit
    if #batch == BATCH or done + #batch == #missing then
      append_commits(store, memory, batch)
      done, batch = done + #batch, {}
      progress(done, #missing)
    end
  end
  return done, strays
end

return import
