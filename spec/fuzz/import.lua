-- Fuzzes `moonfold import` and `export`. The first byte of the input says what the rest is: a file that is imported, or
-- what is recorded in a store. In both cases an export of that store is imported as the same: positions, times, ids,
-- appends, code and commands.

local moonfold, host, tools = ...

-- What is told on a terminal is not looked at. The store is still open when the end is told.
local at_end
package.loaded["moonfold.cli.progress"] = {
  new = function()
    return { at = function() end, clear = function() end, finish = function() at_end() end }
  end,
}
package.loaded["moonfold.cli.output"] = {}
local import = require "moonfold.cli.import"
local lines = require "moonfold.cli.lines"

local SEED = "0000000000000001" -- tools.reseed()

local function open()
  local store = moonfold.open(":memory:")
  tools.reseed(store)
  return store
end

local function export(store)
  local parts = {}
  local out = { host = host, write = function(_, text) parts[#parts + 1] = text end }
  local last = host.span(store)
  parts[1] = ('{"moonfold_export":1,"seed":"%s","from":1,"to":%d}\n'):format(SEED, last)
  lines.write(out, store, nil, { from = 1, to = last }, { style = "exact" })
  local line, digest
  repeat
    line, digest = host.code_line(store, digest)
    parts[#parts + 1] = line
  until not line
  host.command_lines(store, function(text) parts[#parts + 1] = text end)
  return table.concat(parts)
end

-- Runs the command on a text, which it reads in pieces of so many bytes. finish(store) is called at its end.
local function run(text, piece, finish)
  local at = 1
  local store
  local given = setmetatable({
    kind = function() return "file" end,
    seed = function() return SEED end,
    read = function()
      local chunk = text:sub(at, at + piece - 1)
      at = at + piece
      return chunk, at > #text
    end,
  }, { __index = host })
  at_end = function() finish(store) end
  import {
    arguments = { store = ":memory:" }, options = {}, host = given,
    is_store = function() return false end,
    note = function() end,
    fail = function(_, code, message) error({ code = code, message = message }, 0) end,
    open = function()
      store = open()
      return store
    end,
  }
end

local FINE = { invalid_argument = true, id_conflict = true, incompatible_format = true }

-- An export of the store must make the same store.
local function comes_back(store)
  local text = export(store)
  local again, same
  run(text, 1 << 22, function(other) again, same = export(other), tools.same(store, other) end)
  if again ~= text then tools.fail(text .. "became\n" .. tostring(again)) end
  if not same then tools.fail("what this export made is another store:\n" .. text) end
end

return function(input)
  if input == "" then return end
  local first, rest = input:byte(), input:sub(2)
  if first >= 128 then
    local store <close> = open()
    tools.record(store, rest)
    return comes_back(store)
  end
  local fine, failure = pcall(run, rest, 1 << (first % 24), function(store)
    local well, problem = pcall(comes_back, store)
    if not well then tools.fail(problem) end
  end)
  if not fine and not FINE[failure.code] then tools.fail(failure) end
end
