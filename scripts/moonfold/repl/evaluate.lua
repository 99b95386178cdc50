-- Lua as one types it: an expression, or a statement, or the beginning of something longer.

local evaluate = {}

local keywords <const> = { ["break"] = true, ["do"] = true, ["for"] = true, ["function"] = true, ["goto"] = true,
  ["if"] = true, ["local"] = true, ["repeat"] = true, ["return"] = true, ["while"] = true }

--- Whether a text that is wrong was meant as a statement.
local function is_statement(source)
  return keywords[source:match("^%s*(%a+)") or ""] or source:find("[^=~<>]=[^=]") ~= nil
end

--- The chunk that a text is. When it only lacks an end: nil, "incomplete" and the message. When it is wrong: nil, nil
--- and the message.
function evaluate.compile(source, env)
  local chunk, wrong_expression = load("return " .. source, "=input", "t", env)
  if chunk then return chunk end
  local statement, problem = load(source, "=input", "t", env)
  if statement then return statement end
  for _, message in ipairs { problem, wrong_expression } do
    if message:find("near <eof>", 1, true) then return nil, "incomplete", message end
  end
  if not is_statement(source) then problem = wrong_expression end
  return nil, nil, (problem:gsub("^input:1: ", ""))
end

--- What an expression says about a state: a function(state). Its names are fields of the state first, and `state` is
--- all of it. nil and a message when it is no expression.
function evaluate.predicate(source, env)
  local now
  local names = setmetatable({}, { __index = function(_, name)
    if name == "state" then return now end
    if type(now) == "table" and now[name] ~= nil then return now[name] end
    return env[name]
  end })
  local chunk, problem = load("return " .. source, "=expression", "t", names)
  if not chunk then return nil, (problem:gsub("^expression:1: ", "")) end
  return function(state)
    now = state
    return chunk()
  end
end

--- The one field of the state that an expression looks at, when it is one: looking at that alone is much faster.
function evaluate.only_field(source, state)
  if type(state) ~= "table" then return nil end
  local plain = source:gsub('"[^"]*"', ""):gsub("'[^']*'", "")
  local found
  for before, name in (" " .. plain):gmatch("([^%w_])([%a_][%w_]*)") do
    if name == "state" or name == "_ENV" then return nil end
    if before ~= "." and before ~= ":" and state[name] ~= nil then
      if found and found ~= name then return nil end
      found = name
    end
  end
  return found
end

return evaluate
