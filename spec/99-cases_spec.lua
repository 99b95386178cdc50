--- The cases of the reference (see declined.md) that an event store without processors can have.

local lfs = require "lfs"
local support = require "support"

--- Calls f(path) for each file below a folder whose name ends so.
local function each_file(folder, ending, f)
  for name in lfs.dir(folder) do
    local path = folder .. "/" .. name
    if name:sub(1, 1) ~= "." and lfs.attributes(path, "mode") == "directory" then
      each_file(path, ending, f)
    elseif name:sub(-#ending) == ending then
      f(path)
    end
  end
end

--- The numbers in "12", "12, 13 and 15", "8 to 13" or "8-13".
local function numbers(text)
  local found = {}
  text = text:gsub("%s*to%s*", "-")
  for first, last in text:gmatch("(%d+)%-?(%d*)") do
    for n = tonumber(first), tonumber(last) or tonumber(first) do found[#found + 1] = n end
  end
  return found
end

--- case -> set of the spec files that name it in a sentence.
local function named_in_specs()
  local named = {}
  local function look(path)
    local file = path:match("[^/]+$")
    for list in support.read(path):gmatch("%(cases? ([%d%sto,and%-]+)%)") do
      for _, case in ipairs(numbers(list)) do
        named[case] = named[case] or {}
        named[case][file] = true
      end
    end
  end
  each_file("spec", "_spec.lua", look)
  each_file("scripts", "_spec.lua", look)
  return named
end

--- The rows "| cases | text |" of a section of declined.md: case -> text.
local function rows(section)
  local found = {}
  local text = (support.read("spec/declined.md") .. "\n## "):match("\n## " .. section .. "\n(.-)\n## ")
  for cases, cell in text:gmatch("\n| ([%d, to]+) | ([^\n]+) |") do
    for _, case in ipairs(numbers(cases)) do found[case] = cell end
  end
  return found
end

local function each_case(check)
  for case = 1, 80 do
    if case <= 34 or case >= 52 then check(case) end
  end
end

describe("each case of the reference", function()
  it("is named by a spec or declined with a reason", function()
    local named, declined = named_in_specs(), rows "Declined"
    local forgotten = {}
    each_case(function(case)
      if not named[case] and not declined[case] then forgotten[#forgotten + 1] = case end
    end)
    assert.same({}, forgotten)
  end)

  it("stands in the spec file that the table tells", function()
    local named, declined, told = named_in_specs(), rows "Declined", rows "Where each case stands"
    local wrong = {}
    each_case(function(case)
      local files = 0
      for file in (told[case] or ""):gmatch("[%w_-]+_spec.lua") do
        files = files + 1
        if not (named[case] or {})[file] then wrong[#wrong + 1] = case .. " is not named in " .. file end
      end
      if files == 0 and not declined[case] then wrong[#wrong + 1] = case .. " has no file in the table" end
    end)
    assert.same({}, wrong)
  end)

  it("is counted right in lists and ranges", function()
    assert.same({ 12 }, numbers "12")
    assert.same({ 12, 13, 15 }, numbers "12, 13 and 15")
    assert.same({ 8, 9, 10, 20 }, numbers "8 to 10 and 20")
    assert.same({ 8, 9 }, numbers "8-9")
  end)
end)
