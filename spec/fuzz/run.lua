-- Runs the fuzz targets one after the other and says what came of each: run.lua PROGRAM FOLDER SECONDS TARGET...
-- The folder has them, and gets the inputs that they find interesting (corpus/TARGET), what they print (TARGET.log) and
-- what they find (TARGET-crash-..., TARGET-timeout-..., TARGET-oom-...).

-- Everything that decodes bytes which others may have written, and the target that attacks it. In this build every
-- checksum is the same, so that what is changed is looked at behind the checksums.
local targets = {
  record = "blocks, events, trailers, extensions, heads, seals, generated ids (store/record.c)",
  verify = "a whole file: pages, trees, free list, metas, all that verify knows (store/walk.c, verify.c, check.c)",
  open = "a whole file, opened through LMDB, read and appended to: what verify finds sound is read and stays sound",
  gather = "a whole damaged file: what is left in it (store/gather.c)",
  salvage = "a whole damaged file: the store that is made of it is sound (store/salvage.c)",
  payload = "MessagePack onto a Lua stack, and back to the same bytes (runtime/codec.c, canonical.c)",
  value = "MessagePack as C hosts read it, and what builders make (runtime/value.c)",
  json = "JSON, which is printed and read as the same value (runtime/json.c)",
  tokens = "Lua source texts: every one that Lua compiles (runtime/tokens.c)",
  snapshot = "snapshots, and the folds that go on from them (store/snapshots.c, runtime/cache.c)",
  kept = "code, kept commands and their keys; as lines, and back (store/code.c, commands.c, runtime/lines.c)",
  import = "files for moonfold import; an export of them is imported as the same (runtime/import.c, lines.c)",
  fold = "payloads decoded into scripts, and values and errors that come out of them (runtime/events.c, crossing.c)",
  usage = "no bytes, but random deciders: what they do with events, in the sandbox and in plain Lua (runtime/usage.c)",
  text = "times, digests, ids, links, base64, words of a command line (runtime/iso_time.c, cli/arguments.lua)",
}

-- In these a Lua state lives on from run to run, which looks like a leak to a check after each.
local has_state = { payload = true, json = true, snapshot = true, kept = true, import = true, fold = true, text = true,
  value = true }

local program, folder, seconds = arg[1], arg[2], math.tointeger(tonumber(arg[3]))
local names = table.move(arg, 4, #arg, 1, {})
if not seconds or #names == 0 then error("usage: run.lua PROGRAM FOLDER SECONDS TARGET...", 0) end

local function number(n)
  return (("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a" or ""
end

local function last(text, pattern)
  local found
  for match in text:gmatch(pattern) do found = match end
  return found
end

-- What the target says about its finding: the line before the stack.
local function complaint(log)
  return log:match "\n([^\n]*runtime error: [^\n]*)" or log:match "\n[^\n]*ERROR: ([^\n]*Sanitizer: [^\n]*)"
    or log:match "\n([^\n#=]+)\nstack traceback" or last(log, "\n([^\n]+)\n==%d+== ERROR")
    or log:match "\nSUMMARY: ([^\n]*)" or "it ended before its time"
end

-- Runs a command whose output goes to a log; returns the log and whether it ended well.
local function execute(name, command)
  local path = ("%s/%s.log"):format(folder, name)
  local _, how, status = os.execute(("%s >%s 2>&1"):format(command, path))
  if how == "signal" or status == 130 then os.exit(130) end -- Ctrl-C
  return read(path), status == 0
end

local function say_found(name, what)
  print("FOUND: " .. what)
  print(("%9s the log:   %s/%s.log"):format("", folder, name))
end

local function run_usage()
  local log, fine = execute("usage", ("%s run spec/fuzz/usage.lua %d"):format(program, seconds))
  io.write(("%14s deciders      "):format(number(tonumber(last(log, "(%d+) deciders") or 0))))
  if fine then
    print "nothing found"
  else
    say_found("usage", log:match "FOUND[^:]*: ([^\n]*)" or "it ended before its time")
  end
  return fine
end

local function run(name)
  local log, fine = execute(name, ("%s/%s -max_total_time=%d -max_len=400000 -rss_limit_mb=4096 -timeout=60"
    .. " -print_final_stats=1 %s -artifact_prefix=%s/%s- %s/corpus/%s"):format(folder, name, seconds,
    has_state[name] and "-detect_leaks=0" or "", folder, name, folder, name))
  local runs, edges = last(log, "number_of_executed_units:%s*(%d+)"), last(log, "cov: (%d+)")
  io.write(("%14s runs %6s edges   "):format(number(tonumber(runs or 0)), number(tonumber(edges or 0))))
  if fine then
    print "nothing found"
    return true
  end
  say_found(name, complaint("\n" .. log))
  local artifact = last(log, "Test unit written to (%S+)")
  if artifact then print(("%9s the input: %s   again: %s/%s %s"):format("", artifact, folder, name, artifact)) end
  return false
end

local minutes = math.ceil(#names * (seconds + 2) / 60)
print(("fuzzing %d targets, %d seconds each, one after the other, about %d min; everything stands in %s"):format(#names,
  seconds, minutes, folder))
local found = 0
for _, name in ipairs(names) do
  local what = targets[name] or error(("%s has no line in spec/fuzz/run.lua that says what it decodes"):format(name), 0)
  print(("%-9s %s"):format(name, what))
  io.stdout:flush()
  if not (name == "usage" and run_usage() or name ~= "usage" and run(name)) then found = found + 1 end
end
if found > 0 then
  print(("%d of %d targets have found something"):format(found, #names))
  os.exit(1)
end
print(("%d targets have found nothing"):format(#names))
