--- The dungeon: built against the installed headers, and played, by keys from a pipe and by its bot.

local support = require "support"

local folder

local function run(arguments, keys)
  local input = keys and ("printf %s | "):format(support.quote(keys)) or ""
  return support.shell(("unset LD_PRELOAD; %sbuild/dungeon %s"):format(input, arguments:gsub("%$", folder)))
end

--- What the screen showed at the end.
local function last_screen(output)
  local lines = {}
  for line in output:gmatch("[^\n]*") do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - 21))
end

local function turn_of(screen)
  return tonumber(screen:match("turn (%d+)"))
end

describe("examples/dungeon", function()
  lazy_setup(function()
    folder = support.shell("mktemp -d").stdout:gsub("\n", "")
    local built = support.shell("make -s CC=gcc CFLAGS=-Werror build/dungeon")
    assert.equal("", built.stderr)
    assert.equal(0, built.status)
  end)

  lazy_teardown(function()
    assert.matches("^/tmp/", folder)
    support.shell("rm -rf " .. support.quote(folder))
  end)

  it("is played with keys, and the save goes on where it was left", function()
    local first = last_screen(run("$/play.fold", "....q").stdout)
    assert.equal(4, turn_of(first))
    assert.matches("@", first)
    local second = last_screen(run("$/play.fold", "..q").stdout)
    assert.equal(6, turn_of(second))
  end)

  it("says why the rules refuse", function()
    assert.matches("there are no stairs here", run("$/refuse.fold", ">q").stdout)
  end)

  it("takes turns back, as far as one likes, and loses nothing by it", function()
    assert.equal(2, turn_of(last_screen(run("$/back.fold", "...uu.q").stdout)))
    assert.equal(1, turn_of(last_screen(run("$/back.fold", "uq").stdout)))
    assert.equal(0, turn_of(last_screen(run("$/back.fold", "uq").stdout)))
    assert.matches("nothing to take back", last_screen(run("$/back.fold", "uq").stdout))
    assert.equal(0, run("--replay $/back.fold", "q").status)
    local streams = support.shell(("build/moonfold streams %s/back.fold"):format(folder)).stdout
    assert.matches("dungeon%-1", streams)
    assert.matches("dungeon%-3", streams)
  end)

  it("takes rules that are edited while it is played, and tells of mistakes in them", function()
    local out = support.shell(([[
      set -e
      cd %s
      cp -r $OLDPWD/examples/dungeon/rules edited
      mkfifo keys
      unset LD_PRELOAD
      $OLDPWD/build/dungeon --rules edited edited.fold < keys > out &
      exec 3> keys
      press() {
        printf %%s "$1" >&3
        n=0
        until grep -q "$2" out; do n=$((n + 1)); [ $n -lt 10000 ] || { echo "no $2"; exit 1; }; done
      }
      press . 'turn 1 .*attack 4 '
      sed -i 's/attack = 4, defence = 1 }/attack = 77, defence = 1 }/' edited/bestiary.lua
      press . 'turn 2 .*attack 77 '
      echo 'oops' >> edited/bestiary.lua
      press . 'The old rules go on.*bestiary.lua:'
      press . 'turn 4 .*attack 77 '
      sed -i '$d; s/attack = 77/attack = 88/' edited/bestiary.lua
      press . 'turn 5 .*attack 88 '
      press q ''
      wait
      cat out
    ]]):format(folder)).stdout
    assert.matches("The rules have changed.", out, 1, true)
  end)

  it("replays a game turn by turn, and goes on from any of them", function()
    run("$/replay.fold", ".....q")
    assert.equal(3, turn_of(last_screen(run("--replay $/replay.fold", "hhq").stdout)))
    assert.equal(1, turn_of(last_screen(run("--replay $/replay.fold", "0lq").stdout)))
    assert.equal(3, turn_of(last_screen(run("$/replay.fold", "r0lp..q").stdout)))
  end)

  it("plays the same game wherever its bot plays it: the states have one hash", function()
    local one, other = run("--bot 10000 $/one.fold"), run("--bot 10000 $/other.fold")
    assert.matches("^%x+\n$", one.stdout)
    assert.equal(one.stdout, other.stdout)
    assert.equal(0, one.status)
    assert.equal("the same game", run("--compare $/one.fold $/other.fold").stdout:match("^[^:]+"))
  end)

  it("says where two games diverge", function()
    run("--bot 50 $/short.fold")
    run("--bot 60 $/long.fold")
    local compared = run("--compare $/short.fold $/long.fold")
    assert.equal(1, compared.status)
    assert.matches("^the same up to event %d+; then\n.*short.fold: ends\n.*long.fold: %u%a+\n$", compared.stdout)
  end)

  it("shows its help, and refuses what it does not know", function()
    assert.matches("^usage: dungeon", run("--help").stdout)
    assert.equal(2, run("--fly").status)
    assert.equal(2, run("--compare $/one.fold").status)
    assert.matches("not_found", run("--rules nowhere $/new.fold").stderr)
  end)
end)
