--- examples/git_history, run on small repositories that git itself has made.

local moonfold = require "moonfold"
local support = require "support"

local quote = support.quote

-- as NAME ARGUMENTS: git in the name of somebody, one day after the last time. commit NAME MESSAGE: all there is.
local PRELUDE = [[
  set -e
  unset $(git rev-parse --local-env-vars)
  export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
  clock=1704067200
  as() {
    clock=$((clock + 86400))
    export GIT_AUTHOR_NAME="$1" GIT_AUTHOR_EMAIL="$(echo "${1%% *}" | tr A-Z a-z)@example.org"
    export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL"
    export GIT_AUTHOR_DATE="$clock +0000" GIT_COMMITTER_DATE="$clock +0000"
    shift
    git "$@"
  }
  commit() {
    git add -A
    as "$1" commit -q --allow-empty -m "$2"
  }
]]

--- Runs a script in a folder, which must succeed, and returns what it prints.
local function git(folder, script)
  local run = support.shell(("cd %s\n%s\n%s"):format(quote(folder), PRELUDE, script))
  assert.equal(0, run.status, run.stderr)
  return (run.stdout:gsub("\n$", ""))
end

--- A repository made by a script.
local function repository(script)
  local folder = support.folder()
  git(folder, "git init -q -b main\n" .. (script or ""))
  return folder
end

local HERE = support.shell("pwd").stdout:gsub("\n", "/")
local MAIN = HERE .. "examples/git_history/main.lua"

local function program() return quote(support.program()) end

--- Runs the example, in a shell of its own whose process it takes over; environment comes before the command.
local function run(folder, store, environment)
  local command = ("%s exec %s run %s %s %s"):format(environment or "", program(), quote(MAIN),
    quote(folder), store and quote(store) or "")
  return support.shell("exec timeout -s KILL 60 sh -c " .. quote(command))
end

--- Runs the example, which must succeed, on a new store. Returns its output and the store's path.
local function history(folder, environment)
  local path = support.path()
  local done = run(folder, path, environment)
  assert.equal(0, done.status, done.stderr)
  return done.stdout, path, done.stderr
end

local function fails(sentence, done)
  assert.equal(1, done.status, done.stderr)
  assert.equal("", done.stdout)
  assert.matches(sentence, done.stderr, 1, true)
end

--- The tables alone: the last line tells where the store is.
local function tables(output)
  return (output:gsub("\nThe store is [^\n]*\n$", ""))
end

local function streams(path)
  local store <close> = moonfold.open(path)
  return support.versions(store)
end

local function log(path)
  local store <close> = moonfold.open(path)
  local events = {}
  for event in store:all_events() do
    events[#events + 1] = ("%s %s"):format(event.type, event.stream_name)
  end
  return events
end

--- All events of a stream, as "Type path".
local function paths(path, stream)
  local store <close> = moonfold.open(path)
  local found = {}
  for event in store:events(stream) do
    found[#found + 1] = event.type .. " " .. event.data.path
  end
  return found
end

--- The id of the commit that was imported first.
local function first_id(path)
  local store <close> = moonfold.open(path)
  return store:read_stream("author-ada@example.org", { max_count = 1 }).events[1].data.commit
end

local POEM = [[
  printf 'one\ntwo\nthree\nfour\nfive\n' > poem.txt
  commit 'Ada Lovelace' 'A poem'
  printf '\0\1\2' > moon.png; echo x > notes
  commit 'Grace Hopper' 'A picture and notes'
  mkdir texts; git mv poem.txt texts; echo six >> texts/poem.txt
  commit 'Grace Hopper' 'Move the poem'
  rm notes
  commit 'Ada Lovelace' 'No notes'
  printf 'y\nz\n' > notes; printf '\0\3' > moon.png
  commit 'Grace Hopper' 'Notes again'
]]

local POEM_TABLES = [[
5 commits by 2 authors to 3 files. Today: 3 files with 8 lines.

File             Lines  Churn  Commits  Bus  Owner         Share
texts/poem.txt       6      6        2    1  Ada Lovelace    83%
notes                2      4        3    1  Grace Hopper   100%
moon.png        binary      0        2    1

Author        Commits  Merges  Added  Removed  Owns  First    Last
Grace Hopper        3       0      4        0     2  2024-01  2024-01
Ada Lovelace        2       0      5        1     1  2024-01  2024-01

Bus factor 1: Ada Lovelace wrote more than half of today's lines.
]]

describe("the git history example", function()
  it("prints what happened to files, and who did it", function()
    assert.equal(POEM_TABLES, tables(history(repository(POEM))))
  end)

  it("shows in its README what it prints", function()
    local sample = POEM_TABLES:gsub("[^\n]+", "    %0")
    assert.matches(sample, support.read((MAIN:gsub("main.lua$", "README.md"))), 1, true)
  end)

  it("gives every file and every author a stream", function()
    local _, path = history(repository(POEM))
    assert.same({
      ["author-ada@example.org"] = 2,
      ["author-grace@example.org"] = 3,
      ["file-poem.txt"] = 2,
      ["file-notes"] = 3,
      ["file-moon.png"] = 2,
    }, streams(path))
  end)

  it("appends a commit's events together, in the order of the commits", function()
    local _, path = history(repository(POEM))
    assert.same({
      "Committed author-ada@example.org", "FileCreated file-poem.txt",
      "Committed author-grace@example.org", "FileCreated file-moon.png", "FileCreated file-notes",
      "Committed author-grace@example.org", "FileRenamed file-poem.txt",
      "Committed author-ada@example.org", "FileDeleted file-notes",
      "Committed author-grace@example.org", "FileChanged file-moon.png", "FileCreated file-notes",
    }, log(path))
  end)

  it("records what git knows of a commit", function()
    local folder = repository(POEM)
    local _, path = history(folder)
    local store <close> = moonfold.open(path)
    local renamed = store:read_stream("file-poem.txt").events[2]
    local id = git(folder, "git rev-parse HEAD~2")
    assert.same({ commit = id, author = "grace@example.org", time = 1704067200 + 3 * 86400, from = "poem.txt",
      path = "texts/poem.txt", added = 1, removed = 0 }, renamed.data)
    assert.same({ commit = id, author = "grace@example.org", name = "Grace Hopper", time = 1704067200 + 3 * 86400,
      subject = "Move the poem", parents = 1, files = 1, added = 1, removed = 0 },
      store:read_stream("author-grace@example.org").events[2].data)
    assert.equal(id, store:read_stream("author-grace@example.org").events[2].message_id)
    assert.equal(id .. ":1", renamed.message_id)
  end)
end)

describe("a file's stream", function()
  it("goes on after a deletion, when the path is created again", function()
    local _, path = history(repository(POEM))
    assert.same({ "FileCreated notes", "FileDeleted notes", "FileCreated notes" }, paths(path, "file-notes"))
  end)

  it("leaves its name to nobody: a file that is born there later gets the commit's id behind it", function()
    local folder = repository(POEM .. "echo other > poem.txt; commit 'Ada Lovelace' 'Another poem'")
    local _, path = history(folder)
    local newcomer = "file-poem.txt@" .. git(folder, "git rev-parse --short=12 HEAD")
    assert.same({ "FileCreated poem.txt" }, paths(path, newcomer))
    assert.same({ "FileCreated poem.txt", "FileRenamed texts/poem.txt" }, paths(path, "file-poem.txt"))
  end)

  it("remembers over runs where its file is", function()
    local folder = repository(POEM)
    local _, path = history(folder)
    git(folder, [[clock=1705000000
      echo seven >> texts/poem.txt; echo other > poem.txt; commit 'Ada Lovelace' 'Two poems'
      git mv texts/poem.txt old; commit 'Ada Lovelace' 'Move again']])
    run(folder, path)
    assert.same({ "FileCreated poem.txt", "FileRenamed texts/poem.txt", "FileChanged texts/poem.txt",
      "FileRenamed old" }, paths(path, "file-poem.txt"))
    assert.same({ "FileCreated poem.txt" },
      paths(path, "file-poem.txt@" .. git(folder, "git rev-parse --short=12 HEAD~1")))
  end)

  it("follows a rename that was made on a branch, while the file changed on another", function()
    local folder = repository [[
      seq 20 > a; commit Ada base
      git checkout -q -b side; git mv a b; commit Ada rename
      git checkout -q main; echo more >> a; commit Bob 'old name'
      as Ada merge -q --no-edit side
      echo end >> b; commit Ada 'new name'
    ]]
    local output, path = history(folder)
    assert.same({ "FileCreated a", "FileRenamed b", "FileChanged a", "FileChanged b" }, paths(path, "file-a"))
    assert.equal([[
5 commits by 2 authors to 1 file. Today: 1 file with 22 lines.

File  Lines  Churn  Commits  Bus  Owner  Share
b        22     22        4    1  Ada      95%

Author  Commits  Merges  Added  Removed  Owns  First    Last
Ada           4       1     21        0     1  2024-01  2024-01
Bob           1       0      1        0     0  2024-01  2024-01

Bus factor 1: Ada wrote more than half of today's lines.
]], tables(output))
  end)

  it("does not move back when another branch still changes it under its old name", function()
    local folder = repository [[
      seq 20 > a; commit Ada base
      git checkout -q -b side; git mv a b; commit Ada rename
      git checkout -q main; echo more >> a; commit Bob 'old name'
      as Ada merge -q --no-edit side
      echo other > a; commit Bob 'another file'
    ]]
    local _, path = history(folder)
    assert.same({ "FileCreated a", "FileRenamed b", "FileChanged a" }, paths(path, "file-a"))
    assert.same({ "FileCreated a" }, paths(path, "file-a@" .. git(folder, "git rev-parse --short=12 HEAD")))
  end)

  it("does not end when another branch deletes a name that it has left", function()
    local output = history(repository [[
      seq 20 > a; commit Ada base
      git checkout -q -b side; git mv a b; commit Ada rename
      git checkout -q main; git rm -q a; commit Bob delete
      git checkout -q side; as Ada merge -q -s ours --no-edit main
    ]])
    assert.matches("4 commits by 2 authors to 1 file. Today: 1 file with ", output, 1, true)
  end)

  it("is not in the tables when the file was deleted, and forgets its owners", function()
    assert.equal([[
3 commits by 2 authors to 2 files. Today: 1 file with 1 line.

File  Lines  Churn  Commits  Bus  Owner  Share
back      1     11        3    1  Bob     100%

Author  Commits  Merges  Added  Removed  Owns  First    Last
Ada           2       0     10       10     0  2024-01  2024-01
Bob           1       0      1        0     1  2024-01  2024-01

Bus factor 1: Bob wrote more than half of today's lines.
]], tables(history(repository [[
      seq 5 > gone; seq 11 15 > back; commit Ada both
      rm gone back; commit Ada none
      echo 1 > back; commit Bob back
    ]])))
  end)
end)

describe("the git history example, on a graph", function()
  it("counts a merge as a commit and its branches' changes once, with three parents too", function()
    local output, path = history(repository [[
      echo 1 > base; commit Ada base
      for name in x y z; do
        git checkout -q -b $name main; echo $name > $name; commit Bob $name
      done
      git checkout -q main; as Ada merge -q -m octopus x y z
    ]])
    assert.matches("5 commits by 2 authors to 4 files. Today: 4 files with 4 lines.", output, 1, true)
    assert.matches("Bob           3       0      3        0     3", output, 1, true)
    assert.matches("Ada           2       1      1        0     1", output, 1, true)
    local store <close> = moonfold.open(path)
    assert.equal(3, store:read_stream("author-ada@example.org").events[2].data.parents)
  end)

  it("takes several roots, and commits that change nothing", function()
    local output = history(repository [[
      echo 1 > one; commit Ada one
      git checkout -q --orphan other; git rm -q -f one; echo 2 > two; commit Bob two
      commit Bob nothing
      git checkout -q main; as Ada merge -q --allow-unrelated-histories -m both other
    ]])
    assert.equal([[
4 commits by 2 authors to 2 files. Today: 2 files with 2 lines.

File  Lines  Churn  Commits  Bus  Owner  Share
one       1      1        1    1  Ada     100%
two       1      1        1    1  Bob     100%

Author  Commits  Merges  Added  Removed  Owns  First    Last
Ada           2       1      1        0     1  2024-01  2024-01
Bob           2       0      1        0     1  2024-01  2024-01

Bus factor 2: Ada and 1 other wrote more than half of today's lines.
]], tables(output))
  end)
end)

describe("the git history example, on clocks that run backwards", function()
  it("takes parents before their children", function()
    local output, path = history(repository [[
      clock=1800000000; echo 1 > file; commit Ada 'from the future'
      clock=1700000000; git checkout -q -b side; echo 2 >> file; commit Ada child
      clock=1710000000; git checkout -q main; echo 3 > other; commit Bob sibling
      clock=1720000000; as Bob merge -q -m both side
    ]])
    assert.same({ "FileCreated file", "FileChanged file" }, paths(path, "file-file"))
    assert.matches("Ada           2       0      2        0     1  2023-11  2027-01\n", output, 1, true)
  end)
end)

describe("the git history example, on odd names", function()
  --- A commit of a file with each of these names, which no shell or file system sees.
  local function named(...)
    local folder, lines = repository(), { "commit refs/heads/main", "committer Ada <ada@example.org> 1704067200 +0000",
      "data 5", "names" }
    for _, name in ipairs { ... } do
      local quoted = name:gsub('[%c"\\]', function(char) return ("\\%03o"):format(char:byte()) end)
      lines[#lines + 1] = ('M 100644 inline "%s"\ndata 2\nx\n'):format(quoted)
    end
    local stream = support.write(support.path("stream"), table.concat(lines, "\n") .. "\n")
    git(folder, "git fast-import --quiet <" .. quote(stream))
    return folder
  end

  it("keeps every byte of a path, and prints what a terminal can take", function()
    local output, path = history(named("caf\xE9", "line\nbreak\t\"q\"", "\27[31mred", "it's", "日本", "-", ":a"))
    assert.same({ ["author-ada@example.org"] = 1, ["file-caf\xE9"] = 1, ["file-line\nbreak\t\"q\""] = 1,
      ["file-\27[31mred"] = 1, ["file-it's"] = 1, ["file-日本"] = 1, ["file--"] = 1, ["file-:a"] = 1 }, streams(path))
    assert.matches([[
File              Lines  Churn  Commits  Bus  Owner  Share
\u{1B}[31mred         1      1        1    1  Ada     100%
-                     1      1        1    1  Ada     100%
:a                    1      1        1    1  Ada     100%
caf\xE9               1      1        1    1  Ada     100%
it's                  1      1        1    1  Ada     100%
line\nbreak\t"q"      1      1        1    1  Ada     100%
日本                  1      1        1    1  Ada     100%
]], output, 1, true)
  end)

  it("tells paths apart that are longer than a stream's name, and shows their ends", function()
    local deep = ("d"):rep(200) .. "/" .. ("e"):rep(200) .. "/"
    local output, path = history(named(deep .. "a.txt", deep .. "b.txt"))
    local names = {}
    for stream in pairs(streams(path)) do
      names[#names + 1] = stream:match("^file%-" .. ("d"):rep(200) .. "/e+~%x+$")
    end
    assert.equal(2, #names)
    assert.matches("\n…e+/a.txt  +1  +1  +1  +1  Ada  +100%%\n…e+/b.txt ", output)
    for line in output:gmatch("[^\n]+") do
      assert.is_true(line:find("^The store is") ~= nil or utf8.len(line) <= 80, line)
    end
  end)

  --- A commit object as it stands here: git would not write most of these.
  local function authored(...)
    local folder = repository()
    local parent = ""
    for _, author in ipairs { ... } do
      local commit = support.write(support.path("commit"),
        ("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n%sauthor %s\ncommitter C <c@c> 1704067200 +0000\n\nodd")
        :format(parent, author))
      parent = "parent " .. git(folder, "git mktree </dev/null >/dev/null; git hash-object -t commit -w --literally "
        .. quote(commit)) .. "\n"
    end
    git(folder, "git update-ref refs/heads/main " .. parent:match("%x+\n"))
    return folder
  end

  it("takes authors without a name, without an address, and with one in two spellings", function()
    local output, path = history(authored(" <> 1704067200 +0000", "No Mail <> 1704067200 +0000",
      "Ada <Ada@Example.org> 1704067200 +0000", "Ada L\xF6velace <ada@example.org> 1704067200 +051800",
      " <noname@example.org> 1704067200 -1234"))
    assert.same({ ["author-unknown"] = 1, ["author-No Mail"] = 1, ["author-ada@example.org"] = 2,
      ["author-noname@example.org"] = 1 }, streams(path))
    assert.equal([[
5 commits by 4 authors to 0 files. Today: 0 files with 0 lines.

Author              Commits  Merges  Added  Removed  Owns  First    Last
Ada L\xF6velace           2       0      0        0     0  2024-01  2024-01
No Mail                   1       0      0        0     0  2024-01  2024-01
noname@example.org        1       0      0        0     0  2024-01  2024-01
unknown                   1       0      0        0     0  2024-01  2024-01
]], tables(output))
  end)

  it("takes dates that are none, or beyond the calendar", function()
    local output, path = history(authored("A <a@a> -86400 +0000", "B <b@b> 9223372036854775807 +0000",
      "C <c@c> 99999999999999999999 +0000", "D <d@d>"))
    assert.matches([[
A             1       0      0        0     0  ?      ?
B             1       0      0        0     0  ?      ?
C             1       0      0        0     0  ?      ?
D             1       0      0        0     0  ?      ?
]], output, 1, true)
    local store <close> = moonfold.open(path)
    assert.equal(math.maxinteger, store:read_stream("author-b@b").events[1].data.time)
    assert.is_nil(store:read_stream("author-c@c").events[1].data.time)
  end)
end)

describe("the git history example, run again", function()
  it("appends nothing when nothing is new, and prints the same", function()
    local folder = repository(POEM)
    local output, path = history(folder)
    local before = log(path)
    local again = run(folder, path)
    assert.equal(output, again.stdout)
    assert.equal("Nothing new since the last run.\n", again.stderr)
    assert.same(before, log(path))
  end)

  it("appends the new commits only", function()
    local folder = repository(POEM)
    local _, path = history(folder)
    local before = #log(path)
    git(folder, "echo more >> notes; commit 'Ada Lovelace' more")
    local again = run(folder, path)
    assert.equal("Imported 1 of 1 commits.\n", again.stderr)
    assert.same({ "Committed author-ada@example.org", "FileChanged file-notes" },
      table.move(log(path), before + 1, before + 3, 1, {}))
  end)

  it("appends a batch of commits as a whole or not at all", function()
    local folder, path = repository(POEM), support.path()
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("mine", { type = "Noted", message_id = git(folder, "git rev-parse HEAD~1") })
    end
    fails("id_conflict", run(folder, path))
    assert.same({ mine = 1 }, streams(path))
  end)

  it("tells that history was rewritten, and keeps what was", function()
    local folder = repository(POEM)
    local _, path = history(folder)
    git(folder, "git reset -q --hard HEAD~2; echo w > notes; commit 'Grace Hopper' 'Other notes'")
    local again = run(folder, path)
    assert.equal(0, again.status)
    assert.matches("2 of the store's commits cannot be reached from here", again.stderr, 1, true)
    assert.matches("\n6 commits by 2 authors", "\n" .. again.stdout, 1, true)
  end)

  it("refuses the store of another repository", function()
    local _, path = history(repository(POEM))
    local before = log(path)
    fails("The store holds the history of another repository", run(repository("commit Ada other"), path))
    assert.same(before, log(path))
  end)
end)

describe("the git history example, on a long history", function()
  local COMMITS = 1200

  local function subject(number)
    return tostring(number):rep(number % 300)
  end

  --- Each commit adds a line to a file.
  local function long()
    local lines, text = {}, ""
    for i = 1, COMMITS do
      text = text .. i % 10 .. "\n"
      lines[i] = ("commit refs/heads/main\ncommitter Ada <ada@example.org> %d +0000\ndata %d\n%s\n"
        .. "M 100644 inline file\ndata %d\n%s"):format(i, #subject(i), subject(i), #text, text)
    end
    local folder = repository()
    local stream = support.write(support.path("stream"), table.concat(lines, "\n"))
    git(folder, "git fast-import --quiet <" .. quote(stream))
    return folder
  end

  --- The store holds every commit once, in order, with all that belongs to it.
  local function is_whole(path)
    local store <close> = moonfold.open(path)
    local commits, changes = store:read_stream("author-ada@example.org").events, store:read_stream("file-file").events
    assert.same({ COMMITS, COMMITS, 2 * COMMITS }, { #commits, #changes, support.count(store) })
    for i = 1, COMMITS do
      local commit, change = commits[i].data, changes[i].data
      assert.same({ commit = commits[i].message_id, author = "ada@example.org", name = "Ada", time = i,
        subject = subject(i), parents = i == 1 and 0 or 1, files = 1, added = 1, removed = 0 }, commit)
      assert.same({ commit = commit.commit, author = "ada@example.org", time = i, path = "file", added = 1,
        removed = 0 }, change)
    end
  end

  it("loses nothing between two reads from the pipe", function()
    local output, path = history(long())
    assert.equal("1,200 commits by 1 author to 1 file. Today: 1 file with 1,200 lines.", output:match("^[^\n]*"))
    is_whole(path)
  end)

  --- A PATH where git log breaks off in the middle, after which the shell command `last` is run.
  local function broken_git(last)
    local real = support.shell("command -v git").stdout:gsub("\n", "")
    local folder = support.folder()
    support.write(folder .. "/git", ([[#!/bin/sh
      case " $* " in
        *" log "*) %s "$@" | head -c 500000; %s;;
        *) exec %s "$@";;
      esac]]):format(real, last, real))
    os.execute("chmod +x " .. quote(folder .. "/git"))
    return ("PATH=%s:$PATH"):format(quote(folder))
  end

  it("leaves no temporary file behind", function()
    local folder = repository(POEM)
    history(folder)
    local id = git(folder, "git rev-parse HEAD")
    assert.equal("", support.shell(("grep -l %s /tmp/lua_*"):format(id)).stdout)
  end)

  for what, last in pairs { ["when git breaks off"] = "exit 3", ["on Ctrl-C"] = "kill -INT $MOONFOLD; exit 3" } do
    it("goes on where it was interrupted: " .. what, function()
      local folder, path = long(), support.path()
      local first = run(folder, path, "export MOONFOLD=$$; export " .. broken_git(last) .. ";")
      fails("What is imported stays; the next run goes on from there.", first)
      local kept = streams(path)["author-ada@example.org"]
      assert.is_true(kept < COMMITS)

      local second = run(folder, path)
      assert.equal(0, second.status, second.stderr)
      assert.equal(("Imported %d of %d commits.\n"):format(COMMITS - kept, COMMITS - kept), second.stderr)
      is_whole(path)
    end)
  end
end)

describe("the git history example, asked for what is not there", function()
  it("says what a folder without git lacks", function()
    fails("There is no git history to read in", run(support.folder()))
    fails("An unpacked archive has none: clone the repository", run(support.folder()))
    fails("git says: fatal:", run("/no/such/folder"))
  end)

  it("says that there is nothing yet in an empty repository", function()
    fails("has no commits yet", run(repository()))
  end)

  it("says that git is missing", function()
    fails("there is no git on the PATH", run(repository(POEM), nil, "PATH=/nonexistent"))
  end)

  it("says that the history of a shallow clone is cut, and shows what there is", function()
    local folder = support.folder()
    git(folder, ("git clone -q --depth 2 file://%s clone"):format(quote(repository(POEM))))
    local output, path, notes = history(folder .. "/clone")
    assert.matches("This clone is shallow", notes, 1, true)
    assert.matches("git fetch --unshallow, delete " .. path, notes, 1, true)
    assert.matches("2 commits by 2 authors to 3 files. Today: 3 files with 8 lines.", output, 1, true)
  end)
end)

describe("the git history example's arguments", function()
  it("are by default the repository it lies in, and a store in that one's git folder", function()
    local folder = repository()
    assert(os.execute(("cp -R %s %s"):format(quote((MAIN:gsub("/main.lua$", ""))), quote(folder .. "/copy"))))
    git(folder, "commit Ada copy")
    local done = support.shell(("cd / && exec %s run %s/copy/main.lua"):format(program(), quote(folder)))
    assert.equal(0, done.status, done.stderr)
    assert.matches("1 commit by 1 author to", done.stdout, 1, true)
    assert.matches("The store is " .. folder .. "/.git/history.fold\n", done.stdout, 1, true)
    assert.equal("", git(folder, "git status --porcelain"))
  end)

  it("may be any folder of a repository, with any name", function()
    local folder = support.folder() .. "/it's a \"folder\" $HOME"
    assert(os.execute("mkdir -p " .. quote(folder .. "/deep")))
    git(folder, "git init -q -b main; echo 1 > deep/file; echo 2 > top; commit Ada both")
    assert.matches("1 commit by 1 author to 2 files", history(folder .. "/deep"), 1, true)
  end)

  it("count more than what git finds in the environment", function()
    local output = history(repository(POEM), "GIT_DIR=/nonexistent GIT_WORK_TREE=/nonexistent")
    assert.matches("5 commits by 2 authors", output, 1, true)
  end)

  it("count more than the user's settings", function()
    local gpg = support.write(support.path("gpg"), [[#!/bin/sh
      cat >/dev/null
      case " $* " in
        *" --verify "*) echo "a good signature" >&2; echo "[GNUPG:] GOODSIG 1 Ada";;
        *) printf '\n[GNUPG:] SIG_CREATED D\n' >&2
          printf '%s\n\n%s\n' '-----BEGIN PGP SIGNATURE-----' '-----END PGP SIGNATURE-----';;
      esac]])
    assert(os.execute("chmod +x " .. quote(gpg)))
    local sign = ("git config gpg.program %s; git config commit.gpgSign true\n"):format(quote(gpg))
    local folder = repository(sign .. POEM)
    git(folder, [[
      git config log.showRoot false; git config diff.relative true; git config diff.renames false
      git config color.ui always; git config i18n.logOutputEncoding UTF-16; git config log.showSignature true
    ]])
    local output, path = history(folder .. "/texts")
    assert.equal(POEM_TABLES, tables(output))
    assert.equal(git(folder, "git rev-list --max-parents=0 HEAD"), first_id(path))
  end)
end)

describe("the git history example's progress", function()
  it("is a line when nobody looks", function()
    local _, _, notes = history(repository(POEM))
    assert.equal("Imported 5 of 5 commits.\n", notes)
  end)

  it("is a bar on a terminal, where there is something to import", function()
    if not os.execute("command -v script >/dev/null") then
      pending("script is not installed")
    end
    local command = ("%s run %s %s"):format(program(), quote(MAIN), quote(repository(POEM)))
    local function watch()
      return support.shell(("script -qec %s /dev/null"):format(quote(command))).stdout
    end
    local bar = "\r[" .. ("#"):rep(40) .. "] 5 of 5 commits\r\n5 commits by"
    assert.matches("\r[" .. (" "):rep(40) .. "] 0 of 5 commits" .. bar, watch(), 1, true)
    assert.matches("Nothing new since the last run.\r\n5 commits by", watch(), 1, true)
  end)
end)
