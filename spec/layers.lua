-- The rules of the layers, checked on the source itself: lua5.4 spec/layers.lua
-- Each rule says where it holds, what must not stand there, and why.

local function files(pattern)
  local found = {}
  local list = assert(io.popen("ls -d " .. pattern .. " 2>/dev/null"))
  for path in list:lines() do found[#found + 1] = path end
  list:close()
  return found
end

local rules = {
  { "store/*.[ch]", "#include%s*[<\"]l[ua][a-z]*%.h", "store/ knows nothing of Lua" },
  { "store/*.[ch]", "lua_State", "store/ knows nothing of Lua" },
  { "runtime/*.[ch] examples/*/*.[ch]", "#include%s*[<\"]lmdb%.h", "LMDB is reached only through store.h" },
  { "runtime/*.[ch]", "MDB_", "LMDB's codes never leave store/" },
  { "runtime/*.[ch]", "store/internal", "runtime/ uses the store's public header" },
  { "store/*.[ch]", "%f[%w_]f?printf%s*%(", "the library prints nothing", except = { "__attribute__" } },
  { "store/*.[ch] runtime/*.[ch]", "setlocale%s*%(", "the library calls no setlocale",
    except_file = "runtime/repl.c" },
  { "store/*.[ch]", "%f[%w_]signal%s*%(", "the library installs no signal handler" },
  { "store/*.[ch]", "%f[%w_]sigaction%s*%(", "the library installs no signal handler" },
  { "runtime/*.[ch]", "%f[%w_]sigaction%s*%(", "only the binary handles signals", except_file = "runtime/main.c" },
  { "runtime/*.[ch]", "%f[%w_]f?printf%s*%(", "the library prints nothing", except = { "__attribute__" },
    except_file = { ["runtime/main.c"] = true, ["runtime/repl.c"] = true } },
  { "store/*.[ch]", "#include%s*<sys/inotify%.h>", "what depends on the platform stands in one file",
    except_file = "store/platform.c" },
  { "store/*.[ch]", "#include%s*<fcntl%.h>", "what depends on the platform stands in one file",
    except_file = "store/platform.c" },
  { "store/*.[ch]", "#include%s*<unistd%.h>", "what depends on the platform stands in one file",
    except_file = "store/platform.c" },
  { "store/*.c", "mdb_strerror", "LMDB's codes are translated in one place",
    except_file = { ["store/status.c"] = true, ["store/env.c"] = true } },
  { "examples/*/*.lua scripts/*/*.lua scripts/*/*/*.lua", "require%s*%(?[\"']moonfold%.internal",
    "only the public Lua API is used" },
  { "examples/*/*.c", "internal%.h", "examples use installed headers only" },
}

local function excepted(rule, path, line)
  local file = rule.except_file
  if file == path or (type(file) == "table" and file[path]) then return true end
  for _, text in ipairs(rule.except or {}) do
    if line:find(text, 1, true) then return true end
  end
  return false
end

local broken = 0
for _, rule in ipairs(rules) do
  for _, path in ipairs(files(rule[1])) do
    local number = 0
    for line in io.lines(path) do
      number = number + 1
      if line:find(rule[2]) and not excepted(rule, path, line) then
        io.write(("%s:%d: %s\n  %s\n"):format(path, number, rule[3], line))
        broken = broken + 1
      end
    end
  end
end

-- No other top-level folder.
local allowed = { runtime = true, store = true, scripts = true, spec = true, examples = true, build = true }
for _, path in ipairs(files("*/")) do
  if not allowed[path:match("^[^/]+")] then
    io.write(path, ": no other top-level folder\n")
    broken = broken + 1
  end
end

os.exit(broken == 0)
