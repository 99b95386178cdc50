--- A shop whose prices are edited by people who do not program: see README.md.
--
--     moonfold run main.lua sell STORE FOLDER      customers ask for quotes, by the price list in the folder
--     moonfold run main.lua audit STORE QUOTE      which rules made this quote?
--     moonfold run main.lua try STORE NEW OLD      what would other rules have made of what customers asked?
--     moonfold run main.lua params FOLDER          a price list as JSON, for moonfold check --params

local moonfold = require "moonfold"
local check = require "moonfold.check"

package.path = (arg[0]:match("^(.*/)") or "./") .. "?.lua;" .. package.path
local tables = require "tables"

local SCRIPT <const> = (arg[0]:match("^(.*/)") or "./") .. "quote/quote.lua"

local function money(cents) return ("%d.%02d"):format(cents // 100, cents % 100) end

local function count(map)
  local n = 0
  for _ in pairs(map) do n = n + 1 end
  return n
end

-- ## What customers asked for in a month: the same every time

local asked <const> = {
  { "quote-1", "tea", 2 }, { "quote-1", "cup", 2 }, { "quote-2", "tea", 12 }, { "quote-3", "pot", 1 },
  { "quote-4", "cup", 20 }, { "quote-2", "pot", 1 }, { "quote-5", "hat", 1 }, { "quote-5", "tea", 24 },
}

local commands = {}

function commands.sell(path, folder)
  local store <close> = moonfold.open(path)
  local quotes = moonfold.load_decider(SCRIPT, { params = tables.rules(folder), keep_commands = true })
  for _, line in ipairs(asked) do
    local stream, product, quantity = table.unpack(line)
    local result, refused = store:attempt(stream, quotes,
      moonfold.command("AddLine", { product = product, quantity = quantity }))
    print(("%s: %d %s: %s"):format(stream, quantity, product,
      result and money(result.events[1].data.amount) or refused.message))
  end
end

-- Every event knows the code that decided it, and the store keeps that code with its parameters: the price list of
-- that day, whatever has become of the files.
function commands.audit(path, stream)
  local store <close> = moonfold.open(path, { read_only = true })
  for event in store:events(stream) do
    local code = store:code(event.code_digest)
    local line, rules = event.data, code.params
    print(("%d %s for %s: %s each then%s (%s, %d products in the list)"):format(line.quantity, line.product,
      money(line.amount), money(rules.prices[line.product]), line.discount and ", " .. line.discount or "",
      code.path:match("[^/]*$"), count(rules.prices)))
  end
end

-- A rule set is tried before it goes live: every command of the month is decided again by both.
function commands.try(path, new, old)
  local store <close> = moonfold.open(path, { read_only = true })
  local report = check.run(store, SCRIPT, {
    params = tables.rules(new), against = SCRIPT, against_params = tables.rules(old), decide = true,
  })
  local gained = 0
  for _, finding in ipairs(report.findings) do
    print(check.describe(finding))
    if finding.kind == "other_events" then
      gained = gained + finding.new.events[1].data.amount - finding.old.events[1].data.amount
    end
  end
  print(("%d of %d decided the same; what both would sell brings %s%s"):format(report.same_decisions, report.commands,
    gained < 0 and "-" or "+", money(math.abs(gained))))
end

function commands.params(folder)
  print(moonfold.to_json(tables.rules(folder)))
end

local takes <const> = { sell = "STORE FOLDER", audit = "STORE QUOTE", try = "STORE NEW OLD", params = "FOLDER" }

local function run(name, ...)
  local needed = takes[name]
  if not needed then error("say one of: sell STORE FOLDER, audit STORE QUOTE, try STORE NEW OLD, params FOLDER", 0) end
  local _, words = needed:gsub("%u+", "")
  if select("#", ...) ~= words then error(("%s takes %s"):format(name, needed), 0) end
  commands[name](...)
end

local fine, problem = pcall(run, table.unpack(arg))
if not fine then
  io.stderr:write(tostring(problem), "\n")
  os.exit(1, true)
end
