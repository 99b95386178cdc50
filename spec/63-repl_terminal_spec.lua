--- The REPL in a real terminal, which tmux plays: typing, completion, history, Ctrl-C, resizing, pasting.
--
-- Nothing here waits for a time: a spec waits until a text is on the screen. When it never is, it shows the screen.

local lfs = require "lfs"
local moonfold = require "moonfold"
local support = require "support"

local quote = support.quote

local DEADLINE <const> = 60   -- seconds, for a machine that has much else to do


local Terminal = {}
Terminal.__index = Terminal

local count = 0

--- A terminal in which a command runs, at home in a folder.
local function terminal(folder, command, settings)
  count = count + 1
  local self = setmetatable({ socket = ("%s/tmux-%d"):format(folder, count), folder = folder }, Terminal)
  local programs = quote(support.program():match("^(.*)/"))
  local line = ("cd %s; unset LD_PRELOAD XDG_STATE_HOME; PATH=%s:$PATH HOME=%s LC_ALL=C.UTF-8 NO_COLOR=1 %s %s;")
    :format(quote(folder), programs, quote(folder), settings or "", command)
  self:tmux("-f /dev/null new-session -d -x 80 -y 24 " .. quote(line .. ' echo "[left with $?]"; exec cat'))
  return self
end

function Terminal:tmux(command)
  return support.shell(("tmux -S %s %s"):format(quote(self.socket), command)).stdout
end

function Terminal:screen() return self:tmux("capture-pane -p -J -S -200") end

--- Waits until f(screen) is true.
function Terminal:wait(f, what)
  local start = os.time()
  while os.time() - start <= DEADLINE do
    local screen = self:screen()
    if f(screen) then return screen end
    os.execute("sleep 0.02")
  end
  error(("%s is not on the screen:\n%s"):format(what, self:screen()), 2)
end

--- Waits for a text, behind all that was waited for before.
function Terminal:expect(wanted)
  return self:wait(function(screen) return screen:find(wanted, 1, true) end, wanted)
end

--- Waits until the screen ends with this line, such as a prompt.
function Terminal:expect_last(wanted)
  return self:wait(function(screen) return screen:gsub("%s+$", ""):sub(-#wanted) == wanted end, wanted)
end

--- Types text as it is.
function Terminal:type(text) self:tmux("send-keys -l " .. quote(text)) end

--- Presses keys: "Enter", "Tab", "C-c", ...
function Terminal:press(...)
  for _, key in ipairs { ... } do self:tmux("send-keys " .. key) end
end

function Terminal:enter(text)
  self:type(text)
  self:press "Enter"
end

function Terminal.__close(self) self:tmux("kill-server") end

--- A folder with a store of two carts, and rules for them.
local function stage()
  local folder = support.folder()
  local store <close> = moonfold.open(folder .. "/shop.fold")
  local function added(product, qty, price)
    return moonfold.event("ProductItemAdded", { product = product, qty = qty, price = price })
  end
  store:append_to_stream("cart-1", { added("tea", 2, 350), added("cup", 1, 900) })
  store:append_to_stream("cart-2", added("tea", 9, 350))
  support.write(folder .. "/cart.lua", support.read("scripts/domain/cart.lua"))
  return folder
end

describe("the REPL in a terminal", function()
  if not os.execute("command -v tmux >/dev/null 2>&1") then
    return pending("tmux is not installed")
  end

  it("greets, completes with Tab, and leaves with Ctrl-D", function()
    local shell <close> = terminal(stage(), "moonfold shop.fold")
    shell:expect("shop.fold: 3 events in 2 streams")
    shell:expect_last("shop>")
    shell:type(".strea")
    shell:press "Tab"
    shell:expect_last("shop> .streams")
    shell:press "Enter"
    shell:expect("2 streams")
    shell:enter(".use cart.lua")
    shell:expect("streams cart-*")
    shell:type(".why ca")
    shell:press "Tab"
    shell:expect_last("shop> .why cart-")
    shell:press "Tab"
    shell:expect("cart-1  cart-2")
    shell:type("1 to")
    shell:press "Tab"
    shell:expect_last("shop> .why cart-1 total")
    shell:press "Enter"
    shell:expect("~ total = 1600   was 700")
    shell:type('store:read_str')
    shell:press "Tab"
    shell:expect_last("shop> store:read_stream")
    shell:press("C-u", "C-d")
    shell:expect("[left with 0]")
  end)

  it("stops a script with Ctrl-C, not itself, as often as one likes", function()
    local shell <close> = terminal(stage(), "moonfold repl shop.fold")
    shell:expect_last("shop>")
    for round = 1, 3 do
      shell:enter(("print('round', %d) while true do end"):format(round))
      shell:wait(function(screen) return screen:find(("\nround%%s+%d"):format(round)) end, "round")
      shell:press "C-c"
      shell:wait(function(screen) return select(2, screen:gsub("stopped", "")) == round end, "stopped")
    end
    shell:enter("print('waiting') store:wait(99)")
    shell:wait(function(screen) return screen:find("\nwaiting") end, "waiting")
    shell:press "C-c"
    shell:wait(function(screen) return select(2, screen:gsub("stopped", "")) == 4 end, "stopped")
    shell:enter("while true do pcall(function() print('caught') while true do end end) end")
    shell:wait(function(screen) return screen:find("\ncaught") end, "caught")
    shell:press "C-c"
    shell:expect("^Ccaught")
    shell:press "C-c"
    shell:wait(function(screen) return select(2, screen:gsub("stopped", "")) == 5 end, "stopped")
    shell:enter("for event in store:all_events() do print(event.type) end")
    shell:expect("ProductItemAdded")
    shell:expect_last("shop>")
  end)

  it("stops coroutines with Ctrl-C, whoever resumes them, and leaves coroutines as they are", function()
    local shell <close> = terminal(stage(), "moonfold repl shop.fold")
    shell:expect_last("shop>")
    local endless = "function() while true do end end"
    for round, line in ipairs {
      "coroutine.wrap(%s)()", "coroutine.resume(coroutine.create(%s))",
      "while true do coroutine.resume(coroutine.create(%s)) end",
      "coroutine.wrap(function() coroutine.wrap(%s)() end)()",
    } do
      shell:enter(("print('round', %d) "):format(round) .. line:format(endless))
      shell:wait(function(screen) return screen:find(("\nround%%s+%d"):format(round)) end, "round")
      shell:press "C-c"
      shell:wait(function(screen) return select(2, screen:gsub("stopped", "")) == round end, "stopped")
    end
    shell:enter("for n in coroutine.wrap(function() coroutine.yield(7) coroutine.yield(8) end) do print(n * 3) end")
    shell:expect("21\n24\n")
    shell:enter("coroutine.wrap(function() error('over there') end)()")
    shell:expect("over there")
    shell:enter("coroutine.resume(coroutine.create(function(...) return select('#', ...), ... end), 1, nil)")
    shell:expect("true\n2\n1\nnil\n")
  end)

  it("gives up the line, or the lines, that one types when Ctrl-C is pressed", function()
    local shell <close> = terminal(stage(), "moonfold repl shop.fold")
    shell:expect_last("shop>")
    shell:type("half a line")
    shell:press "C-c"
    shell:enter("for i = 1, 2 do")
    shell:expect_last("...>")
    shell:press "C-c"
    shell:enter("20 + 22")
    shell:expect("\n42\n")
    shell:expect_last("shop>")
  end)

  it("remembers what was typed, in this session and the next, but no secrets", function()
    local folder = stage()
    do
      local shell <close> = terminal(folder, "moonfold repl shop.fold")
      shell:expect_last("shop>")
      shell:enter("'first ' .. 'line'")
      shell:expect('"first line"')
      shell:enter("password = 'swordfish'")
      shell:expect_last("shop>")
      shell:press("Up", "Up", "Enter")
      shell:wait(function(screen) return select(2, screen:gsub('"first line"', "")) == 2 end, "the line again")
      shell:press "C-d"
      shell:expect("[left with 0]")
    end
    local path = folder .. "/.local/state/moonfold/history"
    assert.equal("rw-------", lfs.attributes(path, "permissions"))
    assert.is_nil(support.read(path):find("swordfish", 1, true))
    local shell <close> = terminal(folder, "moonfold repl shop.fold")
    shell:expect_last("shop>")
    shell:press "Up"
    shell:expect_last("shop> 'first ' .. 'line'")
    shell:press "C-c"
    shell:enter("'second line'")
    shell:expect('"second line"')
    shell:press "C-r"
    shell:type("irst")
    shell:press "Enter"
    shell:expect('"first line"')
  end)

  it("fits what it prints to the terminal, also when that is resized", function()
    local shell <close> = terminal(stage(), "moonfold repl shop.fold")
    shell:expect_last("shop>")
    local function print_numbers()
      shell:enter("{ ('a'):rep(20), ('b'):rep(20) }")
    end
    print_numbers()
    shell:expect('{ "aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb" }')
    shell:tmux("resize-window -x 40 -y 12")
    print_numbers()
    shell:expect('{\n  "aaaaaaaaaaaaaaaaaaaa",\n  "bbbbbbbbbbbbbbbbbbbb"\n}')
    shell:enter(".streams cart")
    shell:expect("\nstream  events  last\ncart-1       2  20")
    shell:enter("'" .. ("x"):rep(60) .. "'")   -- a line that the terminal breaks
    shell:expect('"' .. ("x"):rep(60) .. '"')
  end)

  it("takes many lines at once, as they are pasted, tabs and all", function()
    local shell <close> = terminal(stage(), "moonfold repl shop.fold")
    shell:expect_last("shop>")
    local lines = { "function sum()", "\tlocal n = 0" }
    for i = 1, 300 do lines[#lines + 1] = ("\tn = n + %d"):format(i) end
    lines[#lines + 1] = "\treturn n\nend\nsum() .. ' is the sum'\n"
    local file = support.write(shell.folder .. "/paste", table.concat(lines, "\n"))
    shell:tmux(("load-buffer %s"):format(quote(file)))
    shell:tmux("paste-buffer")
    shell:expect('"45150 is the sum"')
  end)

  it("takes text of any script, and edits it by its characters", function()
    local shell <close> = terminal(stage(), "moonfold repl shop.fold")
    shell:expect_last("shop>")
    shell:type("'žluťoučký 月 x'")
    shell:press("Left", "Left", "BSpace")
    shell:type("y")
    shell:press "Enter"
    shell:wait(function(screen) return screen:find('"žluťoučký 月yx"', 1, true) end, "the text")
  end)

  it("shows what others record above the line that one types", function()
    local folder = stage()
    local shell <close> = terminal(folder, "moonfold repl shop.fold")
    shell:expect_last("shop>")
    shell:enter(".watch cart-2")
    shell:expect("watching cart-2")
    shell:type("1 + 2")
    shell:expect_last("shop> 1 + 2")
    local store <close> = moonfold.open(folder .. "/shop.fold")
    store:append_to_stream("cart-1", moonfold.event("Unseen"))
    store:append_to_stream("cart-2", moonfold.event("CartConfirmed", { total = 3150 }))
    shell:expect("cart-2@2 CartConfirmed { total = 3150 }")
    shell:expect_last("shop> 1 + 2")
    assert.is_nil(shell:screen():find("Unseen", 1, true))
    shell:press "Enter"
    shell:expect("\n3\n")
  end)

  it("shows a page at a time, as far as one wants to see", function()
    local folder = stage()
    local store <close> = moonfold.open(folder .. "/shop.fold")
    store:append_to_stream("long", support.ticks(1000))
    local shell <close> = terminal(folder, "moonfold repl shop.fold")
    shell:expect_last("shop>")
    shell:enter(".events long")
    shell:expect_last("-- more: any key; q ends --")
    shell:press "Space"
    shell:expect("Ticked  40")
    shell:expect_last("-- more: any key; q ends --")
    shell:press "q"
    shell:expect_last("shop>")
    shell:enter(".events long")
    shell:expect_last("-- more: any key; q ends --")
    shell:press "C-c"
    shell:expect("\nstopped\nshop>")
    assert.is_nil(shell:screen():find("Ticked  1000", 1, true))
  end)

  it("loads rules anew when their file changes, and keeps the old ones when it does not load", function()
    local folder = stage()
    local shell <close> = terminal(folder, "moonfold repl shop.fold --use cart.lua")
    shell:expect_last("shop>")
    shell:enter(".try cart-1 CancelCart")
    shell:expect('~ status = "cancelled"   was "open"')
    local script = support.read(folder .. "/cart.lua")
    support.write(folder .. "/cart.lua", (script:gsub('cart.status = "cancelled"', 'cart.status = "given up"')))
    shell:enter(".try cart-1 CancelCart")
    shell:expect("cart.lua has changed, and was loaded anew")
    shell:expect('~ status = "given up"   was "open"')
    support.write(folder .. "/cart.lua", "return {")
    shell:enter(".try cart-2 CancelCart")
    shell:expect("cart.lua has changed and does not load, so the rules of before stay")
    shell:wait(function(screen) return select(2, screen:gsub("given up", "")) == 2 end, "the old rules")
  end)

  it("works on a dumb terminal", function()
    local shell <close> = terminal(stage(), "moonfold repl shop.fold", "TERM=dumb")
    shell:expect_last("shop>")
    shell:enter("20 + 22")
    shell:expect("\n42\n")
    shell:press "C-d"
    shell:expect("[left with 0]")
  end)

  it("reads a settings file first", function()
    local folder = stage()
    support.write(folder .. "/.moonfoldrc.lua", ".mode json\nfunction twice(n) return 2 * n end\n")
    local shell <close> = terminal(folder, "moonfold repl shop.fold")
    shell:expect_last("shop>")
    shell:enter("{ twice(21) }")
    shell:expect("[42]")
  end)
end)
