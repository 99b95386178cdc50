-- Runs everything that CI runs and tells the true sums of every runner: lua5.4 spec/run.lua [check]
--
-- Each step is a command with its own output. A runner that counts (busted) adds its counts; any other step is one
-- test, passed when its exit status is 0. The last line is "N passed, N failed".

local passed, failed = 0, 0

local function say(text)
  io.write(text, "\n")
  io.flush()
end

-- Runs a command, shows what it prints as it comes, and returns whether it succeeded, with its output.
local function run(command)
  local lines = {}
  local pipe = assert(io.popen("( " .. command .. " ) 2>&1", "r"))
  for line in pipe:lines("L") do
    io.write(line)
    io.flush()
    lines[#lines + 1] = line
  end
  local fine = pipe:close()
  return fine == true, table.concat(lines)
end

local function count(fine)
  if fine then passed = passed + 1 else failed = failed + 1 end
end

local function step(title, command)
  say("== " .. title)
  local fine = run(command)
  if not fine then say("FAILED: " .. title) end
  count(fine)
  return fine
end

-- Busted ends with "N successes / N failures / N errors / N pending : seconds".
local function specs(title, command)
  say("== " .. title)
  local fine, output = run(command)
  local sums = { output:match("(%d+) success%a* / (%d+) failure%a* / (%d+) error%a* / (%d+) pending") }
  if not sums[1] then
    say("FAILED: " .. title .. " told no sums")
    return count(false)
  end
  passed = passed + sums[1]
  failed = failed + sums[2] + sums[3]
  if tonumber(sums[4]) > 0 then say(sums[4] .. " pending: they are named above, with the reason") end
  if not fine and sums[2] + sums[3] == 0 then count(false) end
end

-- Programs that print TAP: "ok 1 - ...", "not ok 2 - ...".
local function tap(title, command)
  say("== " .. title)
  local fine, output = run(command)
  local before = failed
  for line in output:gmatch("[^\n]+") do
    if line:find("^ok ") then count(true) end
    if line:find("^not ok ") then count(false) end
  end
  if not fine and failed == before then count(false) end
end

local function check()
  step("luacheck", "luacheck --quiet .")
  step("clang-format", "clang-format --dry-run -Werror "
    .. "store/*.[ch] runtime/*.[ch] spec/*.[ch] spec/faults/*.[ch] spec/damage/*.[ch] spec/fuzz/*.[ch]")
  step("the rules of the layers", "lua5.4 spec/layers.lua")
end

local function build(compiler, folder)
  return step("make without a warning with " .. compiler,
    ("make --no-print-directory -s -j2 CC=%s BUILD=%s CFLAGS=-Werror all"):format(compiler, folder))
end

local what = arg[1]
if what == "check" then
  check()
  if build("gcc", "build") then specs("the documentation", "busted spec/documentation_spec.lua") end
else
  if build("gcc", "build") then
    build("clang", "build/clang")
    check()
    specs("specs", "busted --output=plainTerminal")
    tap("the specs of the domain scripts, without busted", "build/moonfold spec --tap --sandbox scripts/domain")
    tap("the specs of the dungeon's rules", "build/moonfold spec --tap examples/dungeon/rules")
    tap("the module for LuaJIT", "MOONFOLD_LIB=build/libmoonfold.so luajit spec/luajit.lua")
    local make = "make --no-print-directory -s -j2 CC=gcc "
    tap("the lexer, judged by Lua's compiler", make ..
      "build/tokens_spec && build/tokens_spec $(find examples runtime scripts spec -name '*.lua')")
    tap("digests of deciders", make .. "build/digest_spec && "
      .. "cd scripts/domain && ../../build/digest_spec account.lua cart.lua counter.lua inventory.lua quest.lua")
    tap("values for C hosts", make .. "build/value_spec && build/value_spec")
    tap("the sandbox", make .. "build/sandbox_spec && build/sandbox_spec")
    tap("running out of memory", make .. "build/memory_spec && build/memory_spec")
    tap("the runtime in C", make .. "build/runtime_spec && build/runtime_spec")
    tap("queued commands", make .. "build/queue_spec && build/queue_spec")
    tap("what a host gives a runtime, and edits", make .. "build/embedding_spec && build/embedding_spec")
    tap("work in slices, and subscriptions", make .. "build/step_spec && build/step_spec")
    tap("the store in C", make .. "build/store_spec && build/store_spec")
    tap("what stands beside the log", make .. "build/beside_spec && build/beside_spec")
    tap("what fuzzing has found", make .. "build/findings_spec && build/findings_spec")
    tap("sectors that cannot be read", make .. "build/unreadable_spec && build/unreadable_spec")
    tap("files that were forged", make .. "build/forged_spec && build/forged_spec")
    -- ThreadSanitizer does not bear all of the kernel's address randomisation: without it, where that is allowed.
    local plain = "$(setarch -R true 2>/dev/null && echo setarch -R)"
    tap("the store in C, under ThreadSanitizer",
      make .. "build/store_spec_tsan && " .. plain .. " build/store_spec_tsan")
    tap("damage", make .. "build/damage && build/damage 1 1200")
    step("where every file is read as large ones are", make .. "cold")
    for _, name in ipairs { "store_spec", "beside_spec", "findings_spec", "forged_spec", "damage 2 180" } do
      tap(name .. ", where every file is read as large ones are", "build/cold/" .. name)
    end
    specs("specs of reading, where every file is read as large ones are", "MOONFOLD_MODEL_OPS=3000 busted "
      .. "--output=plainTerminal --cpath='build/cold/?.so' spec/20-read_spec.lua spec/21-iterators_spec.lua "
      .. "spec/22-aggregate_many_spec.lua spec/30-model_spec.lua")
    tap("the runtime in C, under ThreadSanitizer",
      make .. "build/runtime_spec_tsan && " .. plain .. " build/runtime_spec_tsan")
    tap("queued commands, under ThreadSanitizer",
      make .. "build/queue_spec_tsan && " .. plain .. " build/queue_spec_tsan")
    tap("subscriptions, under ThreadSanitizer",
      make .. "build/step_spec_tsan && " .. plain .. " build/step_spec_tsan")
    tap("two stores, four runtimes, four threads, under ThreadSanitizer",
      make .. "build/threads_spec_tsan && " .. plain .. " build/threads_spec_tsan")
    for _, name in ipairs { "runtime_spec", "step_spec", "embedding_spec" } do
      tap(name .. " under valgrind", "valgrind -q --error-exitcode=9 --leak-check=full build/" .. name)
    end
    tap("faults", make .. "build/faults/faults && build/faults/faults all --folder build/faults")
    tap("commands and kill -9", "build/moonfold run spec/faults/commands.lua 8")
    tap("planted bugs", "lua5.4 spec/faults/plant.lua build gcc")
  end
end

say(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0)
