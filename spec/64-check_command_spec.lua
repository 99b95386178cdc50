--- moonfold check: what it prints, its exit statuses, and the processes that share its work.

local moonfold = require "moonfold"
local support = require "support"

local quote = support.quote
local program = support.program()

local rules <const> = [[
local moonfold = require "moonfold"
local step = ... or 1
return {
  category = "n",
  initial_state = { n = 0 },
  evolve = { Counted = function(state, event) state.n = state.n + event.data * step end },
  decide = { Count = function(command, state)
    if state.n >= 20 then moonfold.reject("enough", "it is enough") end
    return moonfold.event("Counted", command.data)
  end },
}
]]

describe("moonfold check", function()
  local folder
  before_each(function()
    folder = support.folder()
    local path = support.write(folder .. "/rules.lua", rules)
    support.write(folder .. "/lax.lua", (rules:gsub("20", "30")))
    local store <close> = moonfold.open(folder .. "/n.fold", { durability = "none" })
    local decider = moonfold.load_decider(path, { keep_commands = true })
    for i = 1, 30 do
      for k = 1, 8 do store:attempt("n-" .. i, decider, moonfold.command("Count", k)) end
    end
    store:append_to_stream("other", moonfold.event "Seen")
  end)

  local function run(words)
    local result = support.shell(("cd %s && exec %s %s"):format(quote(folder), program, words))
    return result.status, result.stdout, result.stderr
  end

  it("says that there is nothing, and exits with 0", function()
    local status, out, err = run "check n.fold rules.lua"
    assert.same({ 0, "180 events of 30 streams; nothing found\n" }, { status, out })
    assert.equal("moonfold: 1 stream left out: no decider of rules.lua owns them\n", err)
  end)

  it("decides kept commands again", function()
    local _, out = run "check n.fold rules.lua --decide"
    assert.equal("180 events of 30 streams; 240 kept commands, 240 decided the same; nothing found\n", out)
  end)

  it("lists what it has found, sorted, the first of each kind, and exits with 6", function()
    local status, out = run "check n.fold rules.lua --params 2 --against rules.lua --against-params 1 --max 2"
    assert.equal(6, status)
    assert.equal("different\tn-1\tevent 1 (Counted)\tn: 21 -> 42\n"
      .. "different\tn-10\tevent 1 (Counted)\tn: 21 -> 42\n"
      .. "... and 28 more different\n"
      .. "180 events of 30 streams; 30 different\n", out)
  end)

  it("tells what would be decided otherwise", function()
    local status, out = run "check n.fold lax.lua --decide --stream n-30"
    assert.equal(6, status)
    assert.equal("newly_accepted\tn-30\tCount at version 6\tenough (it is enough) -> Counted\n"
      .. "newly_accepted\tn-30\tCount at version 6\tenough (it is enough) -> Counted\n"
      .. "6 events of 1 stream; 8 kept commands, 6 decided the same; 2 newly_accepted\n", out)
    assert.equal(0, run "check n.fold lax.lua --decide --against lax.lua")
  end)

  it("prints JSON, a finding a line and the sum at the end, however many processes there are", function()
    local _, out = run "check n.fold rules.lua --params 2 --against lax.lua --json --jobs 1"
    local lines = {}
    for line in out:gmatch("[^\n]+") do lines[#lines + 1] = moonfold.from_json(line) end
    assert.equal(31, #lines)
    assert.same({ "different", "n-1", 1, "n", 21, 42 }, { lines[1].kind, lines[1].stream_name, lines[1].position,
      lines[1].changes[1].path, lines[1].changes[1].before, lines[1].changes[1].after })
    assert.same({ false, 30, 180, { different = 30 } },
      { lines[31].sound, lines[31].streams, lines[31].events, lines[31].counts })
    for _, jobs in ipairs { 2, 7 } do
      local _, shared = run("check n.fold rules.lua --params 2 --against lax.lua --json --jobs " .. jobs)
      assert.equal(out, shared)
    end
  end)

  it("says what is to be done where rules call functions of their host", function()
    support.write(folder .. "/host.lua", (rules:gsub("event%.data %* step", "host.times(event.data, step)")))
    local status, out = run "check n.fold host.lua --stream n-1"
    assert.equal(6, status)
    assert.matches("there is no host in scripts: .*the tools of the command line have none to give: .*`moonfold run`",
      out)
  end)

  it("says when nothing is left to be looked at", function()
    for words, note in pairs {
      ["--stream x-"] = "leave no stream to look at", ["--since 2999-01-01 --decide"] = "leave no stream to look at",
    } do
      local status, out, err = run("check n.fold rules.lua " .. words)
      assert.equal(0, status)
      assert.matches("^0 events of 0 streams", out)
      assert.matches(note, err, 1, true)
    end
  end)

  it("says when no command was kept", function()
    local store <close> = moonfold.open(folder .. "/bare.fold")
    store:append_to_stream("n-1", moonfold.event("Counted", 1))
    local status, _, err = run "check bare.fold rules.lua --decide"
    assert.equal(0, status)
    assert.matches("no command was kept: .* keep_commands = true", err)
  end)

  it("exits with 1 when it fails, and says why once", function()
    local function fails(words, message)
      local status, out, err = run(words)
      assert.same({ 1, "" }, { status, out })
      assert.matches(message, err)
      assert.equal(1, select(2, err:gsub("moonfold: ", "")))
    end
    fails("check none.fold rules.lua", "not_found: there is no store none.fold")
    fails("check n.fold none.lua", "not_found: there is no script none.lua")
    fails("check n.fold rules.lua --against none.lua", "not_found: there is no script none.lua")
    support.write(folder .. "/other.lua", (rules:gsub('"n"', '"m"')))
    fails("check n.fold other.lua", "not_found: no decider of other.lua owns any of the 31 streams")
    support.write(folder .. "/broken.lua", "return {")
    fails("check n.fold broken.lua", "script_error: .*broken.lua:1")
    local status, out = run "check n.fold broken.lua --json"
    assert.same({ 1, "" }, { status, out })
  end)

  it("exits with 2 when it is called wrongly", function()
    for _, words in ipairs { "check n.fold", "check n.fold n.fold", "check n.fold rules.lua --jobs 0",
      "check n.fold rules.lua --since x" } do
      assert.equal(2, (run(words)), words)
    end
  end)

  --- What a check of two processes says that gets a signal while they are at work: $check, or one of them, $a or $b.
  local function signalled(signal, process)
    support.write(folder .. "/slow.lua", (rules:gsub("state%.n = ", "for _ = 1, 1000000 do end %0")))
    return support.shell(([[
      cd %s
      %s check n.fold slow.lua --jobs 2 > out &
      check=$!
      until [ ! -e /proc/$check ] || { read -r a b < /proc/$check/task/$check/children; [ -n "$b" ]; }; do :; done
      kill -%s %s
      wait $check
      echo $?
      for child in $a $b; do [ -e /proc/$child ] && echo $child is left; done
      cat out
    ]]):format(quote(folder), program, signal, process))
  end

  it("fails when a process that shares the work is killed", function()
    local result = signalled("KILL", "$b")
    assert.equal("1\n", result.stdout)
    assert.matches("a process that shared the work ended: Killed", result.stderr)
  end)

  it("leaves no process behind when it is interrupted", function()
    assert.equal("130\n", signalled("INT", "$check").stdout)
  end)

  it("shows how far it is on a terminal", function()
    local command = ("cd %s && script -qec '%s check n.fold rules.lua' /dev/null"):format(quote(folder), program)
    local result = support.shell(command)
    assert.matches("180 events of 30 streams; nothing found", result.stdout)
  end)
end)
