--- Playing transcripts of the REPL, for specs.
--
--     local repl = require "repl"
--     assert.are.equal(transcript, repl.play(transcript, repl.stage()))

local lfs = require "lfs"
local moonfold = require "moonfold"
local support = require "support"

local repl = {}

local quote = support.quote

--- What is typed in a line of a transcript; nil when it is output.
function repl.typed(line)
  if line:find("^ *%.%.%.> ?") then return (line:gsub("^ *%.%.%.> ?", "")) end
  return line:match("^[%w_-]+> ?(.*)$") or line:match("^[%w_-]+ %(what if%)> ?(.*)$")
end

local note_lua <const> = [[
-- A note: what it says last counts.
local moonfold = require "moonfold"

return {
  name = "note",
  category = "note",
  initial_state = { text = "" },
  evolve = { Written = function(note, event) note.text = event.data.text end },
  decide = { Write = function(command) return moonfold.event("Written", command.data) end },
}
]]

--- A small shop, on a day long ago.
local function make_shop(folder)
  local MINUTE <const> = 60000000
  local time = 1736503200000000   -- 2025-01-10 10:00
  local store <close> = moonfold.open(folder .. "/shop.fold", { clock = function() return time end })
  local function handle(minutes, stream, decider, kind, data)
    time = time + minutes * MINUTE
    store:handle(stream, decider, moonfold.command(kind, data))
  end
  local function append(minutes, stream, ...)
    time = time + minutes * MINUTE
    store:append_to_stream(stream, moonfold.event(...))
  end
  local account = moonfold.load_decider(folder .. "/rules/account.lua")
  local cart = moonfold.load_decider(folder .. "/rules/cart.lua")
  handle(0, "account-ada", account, "Deposit", { cents = 10000 })
  append(7, "inventory-tea", "GoodsReceived", { qty = 5 })
  handle(21, "cart-1", cart, "AddProductItem", { product = "tea", qty = 2, price = 350 })
  handle(3, "cart-1", cart, "AddProductItem", { product = "cup", qty = 1, price = 900 })
  handle(30, "cart-2", cart, "AddProductItem", { product = "tea", qty = 9, price = 350 })
  handle(12, "account-ada", account, "Withdraw", { cents = 2500 })
  handle(45, "cart-1", cart, "ApplyDiscount", { percent = 10 })
  append(8, "account-ada", "MoneyDeposited", { euros = 12.5 })
  append(60, "cart-1", "Seen", { by = "bob" }, { source = "web" })
  handle(5, "note-1", moonfold.load_decider(folder .. "/note.lua"), "Write", { text = "call Ada" })
end

--- A folder with shop.fold, rules/ and what else sessions need: run(command) -> what it writes.
function repl.stage()
  local folder = support.folder()
  local setting = ([[cd %s
    unset LUA_PATH LUA_INIT LUA_CPATH LD_PRELOAD
    export PATH=%s:$PATH NO_COLOR=1 LC_ALL=C.UTF-8 HOME=%s
    exec 2>&1
  ]]):format(quote(folder), quote(support.program():match("^(.*)/")), quote(folder))
  lfs.mkdir(folder .. "/rules")
  for _, name in ipairs { "account", "cart" } do
    support.write(folder .. "/rules/" .. name .. ".lua", support.read("scripts/domain/" .. name .. ".lua"))
  end
  support.write(folder .. "/broken.lua", "return {\n  initial_state = 0,\n  evolve = { = },\n}\n")
  support.write(folder .. "/session.txt", ".streams\n1 +\n1\n")
  support.write(folder .. "/noise.fold", ("no store at all\n"):rep(1000))
  support.write(folder .. "/note.lua", note_lua)
  support.write(folder .. "/helper.lua", "return function(n) return n end\n")
  support.write(folder .. "/tables.lua", "return { prices = {} }\n")
  make_shop(folder)
  return function(command)
    local result = support.shell(setting .. command)
    return result.stdout .. (result.status ~= 0 and ("[exit status %d]\n"):format(result.status) or "")
  end, folder
end

--- The events of shop.fold are of one day long ago: any other time is that of the run.
local function without_now(output)
  local text = output:gsub("%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d", function(time)
    return not time:find("^2025%-01%-10") and "yyyy-mm-dd hh:mm:ss" or nil
  end)
  text = text:gsub("%f[%w]" .. ("%x"):rep(32) .. "%f[%W]", "<digest>")
  return (text:gsub("\n%d+%.%d%d%d s\n", "\n0.000 s\n"))
end

--- Plays a transcript again and returns it as it really happens.
function repl.play(transcript, run)
  local first, rest = transcript:match("^(%$ [^\n]*)\n(.*)$")
  assert(first, "a transcript begins with \"$ \" and its command")
  local typed = {}
  for line in rest:gmatch("([^\n]*)\n") do typed[#typed + 1] = repl.typed(line) end
  local input = ".echo on\n" .. table.concat(typed, "\n") .. "\n"
  local output = run(("printf %%s %s | %s"):format(quote(input), first:sub(3)))
  return first .. "\n" .. without_now(output)
end

return repl
