--- The sandbox's own matcher against Lua's: thousands of random patterns on random texts, all functions, same answers.

local sandboxed = require "sandboxed"

local atoms = { "a", "b", "c", "%a", "%d", "%s", "%w", "%p", "%l", "%u", "%x", "%g", "%c", "%A", "%D", "%W", ".",
  "[abc]", "[^ab]", "[a-c%d]", "[%]%-]", "[]a]", "[^]a]", "[a-]", "(", ")", "()", "%1", "%2", "%b()", "%bab", "%f[%a]",
  "%f[^a]", "^", "$", "%%", "%.", "-", "x", "(a)", "(.-)", "(%w+)", "[%", "[", "%" }
local suffixes = { "", "", "", "*", "+", "-", "?" }
local texts = { "a", "b", "c", " ", "1", "(", ")", "x", "-", ".", "A", "%", "\n", "\0", "\xe9", "ab", "aab" }
local replacements = { "<%0>", "%1", "%%", "x", "%2y", "", "%9", "%", "%a" }

local function pick(list) return list[math.random(#list)] end

local function many(list, least, most, more)
  local parts = {}
  for i = 1, math.random(least, most) do parts[i] = pick(list) .. (more and pick(more) or "") end
  return table.concat(parts)
end

local function random_case()
  local anchor, ending = math.random(5) == 1 and "^" or "", math.random(5) == 1 and "$" or ""
  return { many(texts, 0, 12), anchor .. many(atoms, 1, 6, suffixes) .. ending, pick(replacements), math.random(-5, 8) }
end

local judge = [[
local function all(cases)
  local answers = {}
  local function add(fine, ...)
    local parts = { tostring(fine), ... }
    for i = 1, select("#", ...) + 1 do parts[i] = tostring(parts[i]):gsub("^script.lua:%d+: ", "") end
    answers[#answers + 1] = table.concat(parts, ",")
  end
  for _, case in ipairs(cases) do
    local text, pattern, replacement, init = table.unpack(case)
    add(pcall(string.find, text, pattern, init))
    add(pcall(string.match, text, pattern, init))
    add(pcall(string.gsub, text, pattern, replacement))
    add(pcall(string.gsub, text, pattern, replacement, 2))
    add(pcall(string.gsub, text, pattern, function(_, b) return b end))
    add(pcall(string.gsub, text, pattern, { a = "Z", ab = 1, b = false }))
    add(pcall(function()
      local found = {}
      for a, b in string.gmatch(text, pattern, init) do found[#found + 1] = tostring(a) .. tostring(b) end
      return table.concat(found, "|")
    end))
  end
  return answers
end
]]
local ways = 7 -- answers for each case

it("patterns mean in the sandbox what they mean in Lua", function()
  local seed = os.time()
  math.randomseed(seed)
  local plain = load(judge .. "return all", "@script.lua")()
  local script = sandboxed.load("return all(command.data)", { before = judge })
  for _ = 1, 40 do
    local cases = {}
    for i = 1, 100 do cases[i] = random_case() end
    local expected, got = plain(cases), sandboxed.call(script, cases)
    for i, answer in ipairs(expected) do
      local case = cases[(i - 1) // ways + 1]
      assert.equal(answer, got[i], ("seed %d: way %d of text %q, pattern %q, replacement %q, init %d"):format(seed,
        (i - 1) % ways + 1, table.unpack(case)))
    end
  end
end)
