--- The history of a git repository as event streams: one for each file, one for each author.
--
--     moonfold run examples/git_history/main.lua [REPOSITORY] [STORE]

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
package.path = here .. "?.lua;" .. package.path

local moonfold = require "moonfold"
local git = require "git"
local import = require "import"
local new_progress = require "progress"
local report = require "report"
local tables = require "tables"

local function say(sentence, ...)
  io.stderr:write(sentence:format(...), "\n")
end

local function run_import(store, repository)
  local progress <close> = new_progress()
  return import(store, repository, progress)
end

local function main(folder, path)
  local repository = git.open(folder or here)
  path = path or repository.git_folder .. "/history.fold"
  if repository.shallow then
    say("This clone is shallow: its history is cut, and its oldest commits seem to have made all files.\n"
      .. "For the whole of it: git fetch --unshallow, delete %s, and run this again.", path)
  end

  local store <close> = moonfold.open(path)
  local new, strays = run_import(store, repository)
  if new == 0 then
    say("Nothing new since the last run.")
  end
  if strays > 0 then
    say("%s of the store's commits cannot be reached from here: history was rewritten, or this is another branch.\n"
      .. "They still count. For tables without them: delete %s, and run this again.", tables.thousands(strays), path)
  end

  report(store, require "file", require "author")
  io.write(("\nThe store is %s\n"):format(path))
end

local ok, problem = pcall(main, ...)
if not ok then
  say("%s", tostring(problem))
  os.exit(false, true)
end
