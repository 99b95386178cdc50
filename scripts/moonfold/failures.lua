--- Failures that Lua scripts raise: the library's own kind of error object, which blames the line that called into the
--- scripts of Moonfold. For the scripts that come with it.

local moonfold = require "moonfold"
local nearest = require "moonfold.nearest"
local values = require "moonfold.values"

local failures = {}

local _, sample = pcall(moonfold.reject, "sample")
local class <const> = getmetatable(sample)
local own_scripts <const> = debug.getinfo(1, "S").short_src:gsub("failures%.lua$", "")

--- Whether a value is an error object of the library.
function failures.is(value) return getmetatable(value) == class end

local function is_ours(frame)
  return frame.currentline < 0 or frame.short_src:sub(1, #own_scripts) == own_scripts
end

--- "file:line" of the nearest code on the stack that is no part of Moonfold.
local function caller()
  local level = 3
  local frame = debug.getinfo(level, "Sl")
  while frame and is_ours(frame) do
    level = level + 1
    frame = debug.getinfo(level, "Sl")
  end
  return frame and ("%s:%d"):format(frame.short_src, frame.currentline)
end

--- Raises an error with this code, these fields and this message.
function failures.raise(code, fields, format, ...)
  fields.code, fields.message, fields.where = code, format:format(...), caller()
  error(setmetatable(fields, class), 0)
end

--- Raises invalid_argument about what stands at a path.
function failures.refuse(path, format, ...)
  failures.raise("invalid_argument", { path = path }, "%s: " .. format, path, ...)
end

--- A function that does what f does. An error of the library inside knows our scripts as its caller; it is made to name
--- the real one.
function failures.blaming(f)
  return function(...)
    local results = table.pack(pcall(f, ...))
    if results[1] then return table.unpack(results, 2, results.n) end
    local problem = results[2]
    local where = failures.is(problem) and problem.where
    if where and where:sub(1, #own_scripts) == own_scripts then problem.where = caller() end
    error(problem, 0)
  end
end

--- A table of options, or an empty one for nil. `known`: a table that has their names for keys.
function failures.check_options(options, path, known)
  if options == nil then return {} end
  if type(options) ~= "table" then failures.refuse(path, "a table is needed, this is a %s", type(options)) end
  for key in pairs(options) do
    if not known[key] then
      local names = values.keys(known)
      local near = nearest.of(tostring(key), names)
      local hint = near and ("did you mean %q?"):format(near) or "there are " .. table.concat(names, ", ")
      local fields = { path = ("%s.%s"):format(path, key) }
      failures.raise("invalid_argument", fields, "unknown option %q: %s", tostring(key), hint)
    end
  end
  return options
end

return failures
