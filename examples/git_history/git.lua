--- Reads the history of a repository, through the git command and the pipes of Lua's own library.

local git = {}

local Repository = {}
Repository.__index = Repository

-- Between single quotes a shell leaves everything alone but the single quote.
local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The folder that was asked for counts, not the one that a git hook around us has put into the environment. Of the
-- user's own settings, those are overruled that would change what the parser below gets to see.
local GIT = "unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE; "
  .. "git -c log.showRoot=true -c diff.relative=false -c i18n.logOutputEncoding=UTF-8 -C "

local function command(folder, ...)
  local words = { GIT .. quote(folder) }
  for _, word in ipairs { ... } do
    words[#words + 1] = quote(word)
  end
  return table.concat(words, " ")
end

-- What git answers, or nil and what it complains of.
local function ask(folder, ...)
  local pipe <close> = assert(io.popen(command(folder, ...) .. " 2>&1"))
  local answer = pipe:read("a"):gsub("\n$", "")
  local ok = pipe:close()
  if ok then
    return answer
  end
  return nil, answer
end

--- A repository to read from, by any folder in it. Raises a sentence when there is nothing to read.
function git.open(folder)
  if not ask(".", "--version") then
    error("This reads history through git, and there is no git on the PATH: install it, and run this again.", 0)
  end
  local git_folder, complaint = ask(folder, "rev-parse", "--absolute-git-dir")
  if not git_folder then
    error(("There is no git history to read in %s. An unpacked archive has none: clone the repository, or name "
      .. "another one:\n  moonfold run main.lua REPOSITORY\ngit says: %s"):format(folder, complaint), 0)
  end
  if not ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") then
    error(("The current branch of %s has no commits yet: make one, or check out a branch that has some.")
      :format(folder), 0)
  end
  local shallow = ask(folder, "rev-parse", "--is-shallow-repository") == "true"
  return setmetatable({ folder = folder, git_folder = git_folder, shallow = shallow }, Repository)
end

-- Half a history looks like a whole one: whether git came to its end, only its exit status tells.
local function finish(pipe)
  local ok, how, code = pipe:close()
  if not ok then
    error(("git did not come to the end of the history (%s %d)."):format(how, code), 0)
  end
end

--- The ids of all commits that HEAD reaches, parents before their children.
function Repository:ids()
  local pipe <close> = assert(io.popen(command(self.folder, "rev-list", "--date-order", "--reverse", "HEAD")))
  local ids = {}
  for id in pipe:lines() do
    ids[#ids + 1] = id
  end
  finish(pipe)
  return ids
end

-- With -z everything ends in a zero byte, so that names may hold line breaks, tabs and quotes.
local function fields(pipe)
  local buffer, start = "", 1
  return function()
    local stop = buffer:find("\0", start, true)
    while not stop do
      local more = pipe:read(65536)
      if not more then
        return finish(pipe)
      end
      buffer, start = buffer:sub(start) .. more, 1
      stop = buffer:find("\0", 1, true)
    end
    local field = buffer:sub(start, stop - 1)
    start = stop + 1
    return field
  end
end

local FORMAT = "%H%x00%P%x00%an%x00%ae%x00%at%x00%s"

local TYPES = { A = "FileCreated", C = "FileCreated", D = "FileDeleted", R = "FileRenamed" }

-- ":100644 100644 9405325 0fdf397 R083", then one path, or two after a rename.
local function raw_change(field, next_field)
  local letter = field:match("^\n?:%S+ %S+ %S+ %S+ (%a)")
  if not letter then
    return nil
  end
  local change = { type = TYPES[letter] or "FileChanged", path = next_field() }
  if letter == "R" or letter == "C" then
    change.from, change.path = change.path, next_field()
  end
  return change
end

-- "12 <tab> 3 <tab> path"; after a rename the path is empty and two follow. A binary file has "-" for its numbers.
local function line_counts(field, next_field)
  local added, removed, path = field:match("^(%S+)\t(%S+)\t(.*)$")
  if path == "" then
    next_field()
    path = next_field()
  end
  return path, math.tointeger(tonumber(added)), math.tointeger(tonumber(removed))
end

local function header(id, next_field)
  local _, parents = next_field():gsub("%x+", "")
  return {
    id = id,
    parents = parents,
    name = next_field(),
    email = next_field(),
    time = math.tointeger(tonumber(next_field())), -- nil where the commit's date is none
    subject = next_field(),
    changes = {},
  }
end

-- Reads the changes of one commit: first all that happened to files, then all counts. Returns the field behind them.
local function read_changes(commit, next_field)
  local by_path = {}
  local field = next_field()
  local change = field and raw_change(field, next_field)
  while change do
    commit.changes[#commit.changes + 1] = change
    by_path[change.path] = change
    field = next_field()
    change = field and raw_change(field, next_field)
  end
  while field and field:find("\t", 1, true) do
    local path, added, removed = line_counts(field, next_field)
    local counted = by_path[path]
    counted.added, counted.removed, counted.binary = added, removed, not added
    field = next_field()
  end
  return field
end

local function temporary_file(lines)
  local name = os.tmpname()
  local file <close> = assert(io.open(name, "w"))
  assert(file:write(table.concat(lines, "\n"), "\n"))
  return name
end

--- for commit in repository:commits(ids) do ... end, in the order of ids, which must not be empty.
--- A merge has no changes of its own: what it brings together, its branches' commits have told.
function Repository:commits(ids)
  local log = command(self.folder, "log", "--no-walk=unsorted", "--stdin", "-z", "--raw", "--numstat",
    "--find-renames", "--no-show-signature", "--format=" .. FORMAT)
  -- A pipe is read or written, never both: the ids go to git through a file, which is gone once it is open.
  local list = quote(temporary_file(ids))
  local pipe = assert(io.popen(("{ rm %s; %s; } <%s"):format(list, log, list)))
  local next_field = fields(pipe)
  local id = next_field()
  local function next_commit()
    if not id then
      return nil
    end
    local commit = header(id, next_field)
    id = read_changes(commit, next_field)
    return commit
  end
  return next_commit, nil, nil, pipe
end

return git
