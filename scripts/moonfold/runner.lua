--- Runs spec files: `moonfold spec PATH...`. They are written with describe and it, as for busted, which runs the same
--- files; or they are plain programs that raise an error when something is wrong.
--
--     local status = runner.main({ "shop" }, { kind = ..., list = ..., write = io.write })
--
-- A spec finds the modules that stand in its own folder: `require "quest"` in shop/quest_spec.lua is shop/quest.lua.
-- Every file has globals of its own, and modules that it required are forgotten after it.
--
--     describe(name, f)  context(name, f)           a group
--     it(name, f)  test(name, f)  pending(name)     a test; one that is not written yet
--     before_each(f)  after_each(f)                 around every test of the group
--     setup(f)  teardown(f)                         around the group
--     finally(f)                                    after the test that calls it
--     assert                                        see assertions.lua

local moonfold = require "moonfold"
local assertions = require "moonfold.assertions"

local runner = {}

-- ## Finding files

local function join(folder, name)
  return folder == "." and name or folder:gsub("/+$", "") .. "/" .. name
end

local function add_folder(host, files, folder)
  for _, name in ipairs(host.list(folder)) do
    local path = join(folder, name)
    local kind = host.kind(path)
    if kind == "folder" and not name:find("^%.") then add_folder(host, files, path) end
    if kind == "file" and name:find("_spec%.lua$") then files[#files + 1] = path end
  end
end

--- The spec files of files and folders; nil and what is wrong with a path.
local function find(host, paths)
  local files = {}
  for _, path in ipairs(paths) do
    local kind, before = host.kind(path), #files
    if not kind then return nil, ("there is no file or folder %s"):format(path) end
    if kind == "folder" then add_folder(host, files, path) else files[#files + 1] = path end
    if #files == before then return nil, ("no specs in %s: their names end in _spec.lua"):format(path) end
  end
  return files
end

-- ## Reading a file: a tree of groups and tests

local PENDING <const> = {}   -- what pending() raises in a test

local function new_group(name, parent)
  return { name = name, parent = parent, before_each = {}, after_each = {}, setup = {}, teardown = {} }
end

--- "file:line" of the caller's caller.
local function line_of_caller()
  local frame = debug.getinfo(3, "Sl")
  return frame and ("%s:%d"):format(frame.short_src, frame.currentline)
end

--- What went wrong, and where: { message, where }.
local function problem_of(problem)
  if problem == PENDING then return problem end
  if assertions.is_failure(problem) then return problem end
  if type(problem) == "string" then return { message = debug.traceback(problem, 2) } end
  if type(problem) ~= "table" then return { message = ("an error that is a %s"):format(type(problem)) } end
  return { message = tostring(problem) .. (problem.traceback and "\n" .. problem.traceback or "") }
end

--- The words of a spec file, as globals of its own. `file.group` is the one that is being read.
local function vocabulary(file)
  local words = { assert = assertions.assert }

  function words.describe(name, f)
    local group = new_group(name, file.group)
    group.where = line_of_caller()
    table.insert(file.group, group)
    file.group = group
    local fine, problem = xpcall(f, problem_of)
    file.group = group.parent
    if not fine then table.insert(group, { name = "is read", where = group.where, problem = problem }) end
  end

  function words.it(name, f)
    table.insert(file.group, { name = name, where = line_of_caller(), f = f, pending = f == nil })
  end

  function words.pending(name)
    if file.running then error(PENDING, 0) end
    table.insert(file.group, { name = name, where = line_of_caller(), pending = true })
  end

  for _, when in ipairs { "before_each", "after_each", "setup", "teardown" } do
    words[when] = function(f) table.insert(file.group[when], f) end
  end

  function words.finally(f) file.running.finally = f end

  words.context, words.insulate, words.expose = words.describe, words.describe, words.describe
  words.test, words.spec = words.it, words.it
  words.lazy_setup, words.lazy_teardown = words.setup, words.teardown
  words.strict_setup, words.strict_teardown = words.setup, words.teardown
  return setmetatable(words, { __index = _G })
end

-- ## Running it

local function each(functions)
  for _, f in ipairs(functions) do f() end
end

local function outer_first(group, when)
  if group.parent then outer_first(group.parent, when) end
  each(group[when])
end

local function inner_first(group, when)
  each(group[when])
  if group.parent then inner_first(group.parent, when) end
end

--- A test with all that stands around it: nil, or what went wrong first.
local function run_test(file, group, test)
  if test.problem or test.pending then return test.problem or PENDING end
  local first
  local function try(f, ...)
    local fine, problem = xpcall(f, problem_of, ...)
    if not fine then first = first or problem end
    return fine
  end
  file.running = test
  if try(outer_first, group, "before_each") then try(test.f) end
  if test.finally then try(test.finally) end
  try(inner_first, group, "after_each")
  file.running = nil
  return first
end

local function run_group(file, group, report)
  local ready, problem = xpcall(each, problem_of, group.setup)
  for _, part in ipairs(group) do
    if part.before_each then
      if ready then run_group(file, part, report) end
    else
      report(group, part, not ready and problem or ready and run_test(file, group, part) or nil)
    end
  end
  if not ready and #group == 0 then report(group, { name = "setup" }, problem) end
  local torn, failure = xpcall(each, problem_of, group.teardown)
  if not torn then report(group, { name = "teardown" }, failure) end
end

local function is_decider(value)
  return type(value) == "table" and value.evolve ~= nil and value.initial_state ~= nil
end

--- A searcher of modules that loads deciders as a program does that uses them: in a sandbox.
local function sandbox_searcher(templates)
  return function(name)
    local path = package.searchpath(name, templates)
    if not path then return nil end
    return function()
      local value = assert(loadfile(path, "t"))(name, path)
      return is_decider(value) and moonfold.load_decider(path) or value
    end, path
  end
end

--- Lets the file see the modules beside it, and forgets them afterwards.
local function with_folder(path, sandbox, f)
  local folder, old_path, loaded = path:match("^(.*/)") or "./", package.path, {}
  for name in pairs(package.loaded) do loaded[name] = true end
  local templates = ("%s?.lua;%s?/init.lua"):format(folder, folder)
  package.path = templates .. ";" .. old_path
  if sandbox then table.insert(package.searchers, 2, sandbox_searcher(templates)) end
  f()
  if sandbox then table.remove(package.searchers, 2) end
  package.path = old_path
  for name in pairs(package.loaded) do
    if not loaded[name] then package.loaded[name] = nil end
  end
end

local function run_file(path, sandbox, report)
  local root = new_group()
  local file = { group = root }
  with_folder(path, sandbox, function()
    local chunk, problem = loadfile(path, "t", vocabulary(file))
    if not chunk then return report(root, { name = path }, { message = problem }) end
    local fine, failure = xpcall(chunk, problem_of)
    -- A file without tests is a program, and is itself the test.
    if not fine or #root == 0 then report(root, { name = path }, failure) end
    run_group(file, root, report)
  end)
end

-- ## Telling what came of it

local function full_name(group, test)
  local names = { test.name }
  while group and group.name do
    table.insert(names, 1, group.name)
    group = group.parent
  end
  return table.concat(names, " ")
end

local function indented(text, indent)
  return indent .. text:gsub("\n", "\n" .. indent)
end

--- Without the levels of this file and of C, which tell a reader nothing about his own.
local function shortened(text)
  local head, traceback = text:match("^(.-)\nstack traceback:\n(.*)$")
  if not head then return text end
  local kept = {}
  for line in traceback:gmatch("[^\n]+") do
    if line:find("moonfold/runner.lua", 1, true) then break end
    if not line:find("^\t%[C%]") and not line:find("^\tscripts/moonfold/") then kept[#kept + 1] = line end
  end
  -- One line that the message begins with says nothing new.
  local first = #kept == 1 and kept[1]:match("^\t(.-:%d+): ")
  if first and head:find(first, 1, true) == 1 then return head end
  return #kept > 0 and head .. "\nstack traceback:\n" .. table.concat(kept, "\n") or head
end

--- What went wrong, with the place unless the message begins with it.
local function problem_text(problem)
  local text = shortened(problem.message)
  if not problem.where or text:find(problem.where, 1, true) == 1 then return text end
  return problem.where .. (text:find("\n", 1, true) and ":\n" or ": ") .. text
end

local function plural(count, word)
  return ("%d %s%s"):format(count, word, count == 1 and "" or "s")
end

local function new_plain(write)
  local plain = {}
  function plain.failed(name, test, problem)
    write(("FAILED %s%s\n%s\n\n"):format(test.where and test.where .. ": " or "", name,
      indented(problem_text(problem), "  ")))
  end
  function plain.pending(name, test)
    write(("pending %s%s\n"):format(test.where and test.where .. ": " or "", name))
  end
  function plain.passed() end
  function plain.finish(sums)
    local pending = sums.pending > 0 and (", %d pending"):format(sums.pending) or ""
    write(("%d passed, %d failed%s (%s)\n"):format(sums.passed, sums.failed, pending, plural(sums.files, "file")))
  end
  return plain
end

--- The Test Anything Protocol, version 13 (testanything.org).
local function new_tap(write)
  local tap, count = {}, 0
  local function line(result, name, rest)
    count = count + 1
    write(("%s %d - %s%s\n"):format(result, count, name:gsub("[\n#]", " "), rest or ""))
  end
  function tap.passed(name) line("ok", name) end
  function tap.pending(name) line("ok", name, " # SKIP pending") end
  function tap.failed(name, test, problem)
    line("not ok", name)
    write(indented(problem_text(problem), "# "), "\n")
    if test.where then write("# ", test.where, "\n") end
  end
  function tap.finish() write(("1..%d\n"):format(count)) end
  return tap
end

--- Runs the spec files of `paths`. `host` has kind(path) -> "file", "folder" or nil; list(folder) -> sorted names;
--- write(...); and perhaps tap = true, for the Test Anything Protocol; sandbox = true, to load deciders there; and
--- interrupted() -> whether to stop. Returns the exit status: 0 when no test failed, 1 when one did, 2 when a path is
--- wrong, and then what is wrong with it.
function runner.main(paths, host)
  local files, complaint = find(host, paths)
  if not files then return 2, complaint end
  local out = (host.tap and new_tap or new_plain)(host.write)
  local sums = { passed = 0, failed = 0, pending = 0, files = #files }
  local function report(group, test, problem)
    if host.interrupted and host.interrupted() then error("interrupted", 0) end   -- it may have ended a test
    local outcome = problem == PENDING and "pending" or problem and "failed" or "passed"
    sums[outcome] = sums[outcome] + 1
    out[outcome](full_name(group, test), test, problem)
  end
  for _, path in ipairs(files) do run_file(path, host.sandbox, report) end
  out.finish(sums)
  return sums.failed == 0 and 0 or 1
end

return runner
