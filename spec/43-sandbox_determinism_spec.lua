local support = require "support"

--- A script whose handlers do all that could come out differently in another process.
local disorder = [[
local moonfold = require "moonfold"

local words = {}
for word in ("the quick brown fox jumps over the lazy dog and runs away from here"):gmatch("%a+") do
  words[#words + 1] = word
end
local colours = { red = 1, green = 2, blue = 3, [1] = "one", [2.5] = "half", [true] = "yes" }

local function show(table)
  local parts = {}
  for key, value in pairs(table) do parts[#parts + 1] = tostring(key) .. "=" .. tostring(value) end
  return moonfold.array and ("%s"):format(#parts) .. ":" .. moonfold.to_json(parts)
end

local evolve = {}

-- Which border of a list with holes # tells, after names have come and gone in the same table.
local function borders(n)
  local list, told, x = {}, {}, n
  local function some(most)
    x = (x * 1103515245 + 12345) % 2147483648
    return (x >> 8) % most + 1
  end
  for i = 1, 300 do
    local key = some(2) == 1 and "k" .. some(12) or some(40)
    list[key] = some(3) > 1 and i or nil
    told[i] = #list + rawlen(list) + select("#", table.unpack(list))
  end
  return moonfold.hash(told)
end

function evolve.Stirred(state, event)
  state.borders = borders(event.data.n)
  state.fields = ""
  for field in pairs(event) do state.fields = state.fields .. field .. " " end
  local n = event.data.n
  for i, word in ipairs(words) do
    state[word .. n % 7] = (state[word .. n % 7] or 0) + i
    if (i + n) % 3 == 0 then state[word .. (n + 1) % 7] = nil end
  end
  for key in pairs(state) do
    if #key % 5 == n % 5 then
      state[key] = nil
      break
    end
  end
  local sorted = {}
  for i, word in ipairs(words) do sorted[i] = { word = word, size = #word, i = i } end
  table.sort(sorted, function(a, b) return a.size < b.size end)
  state.order = ""
  for _, entry in ipairs(sorted) do state.order = state.order .. entry.i .. "," end
  table.sort(sorted, function(a, b) return (a.i * n) % 3 < (b.i + n) % 5 end)
  state.disorder = ""
  for _, entry in ipairs(sorted) do state.disorder = state.disorder .. entry.i .. "," end
  state.texts = tostring(sorted) .. tostring(evolve) .. tostring(print) .. ("%s %s"):format({}, show)
  state.first, state.following = next(colours), next(colours, "green")
  state.shown = show(colours)
  state.float = ("%.17g %s %s %g"):format(n / 7, n / 3, tostring(0 / 0), -(0 / 0))
  state.compared = ("a" < "B") and 1 or 0
  local _, problem = pcall(function() return n + {} end)
  state.problem = problem
  _, problem = pcall(error, { sorted })
  state.kind = type(problem)
end

return { name = "disorder", initial_state = {}, evolve = evolve, decide = { Roll = function(command, state, context)
  local rolls = {}
  for i = 1, 20 do rolls[i] = context:random(1, 1000000) end
  return moonfold.event("Stirred", { n = context:random(100), rolls = rolls, seen = next(state), time = command.time })
end } }
]]

local job = [[
  local moonfold = require "moonfold"
  local store <close> = moonfold.open(":memory:")
  local decider = moonfold.load_decider(arg[1])
  for i = 1, 200 do store:append_to_stream("stir-1", { type = "Stirred", data = { n = i } }) end
  local hashes = {}
  for to = 10, 200, 38 do
    hashes[#hashes + 1] = moonfold.hash(store:aggregate_stream("stir-1", decider, { to = to }).state)
  end
  for i = 1, 10 do
    local result = store:handle("stir-1", decider, { type = "Roll", data = i, command_id = "c" .. i, time = i })
    hashes[#hashes + 1] = moonfold.hash { result.events[1].data, result.state }
  end
  io.write(moonfold.to_json(hashes))
]]

it("the same events and the same script give the same states in every process", function()
  local path = support.write(support.path("disorder.lua"), disorder)
  local first
  for _ = 1, 12 do
    local run = support.lua(job, path)
    assert.equal(0, run.status, run.stderr)
    first = first or run.stdout
    assert.truthy(#first > 500)
    assert.equal(first, run.stdout)
  end
  local run = support.moonfold(job, path)
  assert.equal(first, run.stdout, run.stderr)
end)

--- A locale of German numbers, made for the spec; nil where that cannot be done.
local function german()
  local folder = support.folder()
  local made = os.execute(("localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >%s/log 2>&1"):format(folder, folder))
  return made and folder or nil
end

it("the host's locale makes no difference", function()
  local folder = german()
  if not folder then return pending("no locale can be made here: localedef, /usr/share/i18n") end
  local path = support.write(support.path("disorder.lua"), disorder)
  local local_job = "assert(os.setlocale('de_DE.UTF-8')) assert(tostring(1.5) == '1,5') " .. job
  local plain = support.lua(job, path)
  local run = support.shell(("export LOCPATH=%s; %s"):format(folder, support.command(local_job, path)))
  assert.equal(0, run.status, run.stderr)
  assert.equal(plain.stdout, run.stdout)
end)
