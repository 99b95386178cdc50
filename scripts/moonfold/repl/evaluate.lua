-- Lua as one types it: an expression, or a statement, or the beginning of something longer.

local evaluate = {}

local keywords <const> = { ["break"] = true, ["do"] = true, ["for"] = true, ["function"] = true, ["goto"] = true,
  ["if"] = true, ["local"] = true, ["repeat"] = true, ["return"] = true, ["while"] = true }

-- What is no name.
local words <const> = { ["and"] = true, ["or"] = true, ["not"] = true, ["true"] = true, ["false"] = true,
  ["nil"] = true, ["end"] = true, ["then"] = true, ["else"] = true, ["elseif"] = true, ["in"] = true, ["until"] = true }
for word in pairs(keywords) do words[word] = true end

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

--- Names that an expression may mean fields of the state by, which need not be there yet; nil when it looks at all of
--- the state. Looking at these alone is much faster.
function evaluate.fields(source)
  local plain = source:gsub('"[^"]*"', ""):gsub("'[^']*'", "")
  local names, seen = {}, {}
  for before, name in (" " .. plain):gmatch("([^%w_])([%a_][%w_]*)") do
    if name == "state" or name == "_ENV" then return nil end
    if before ~= "." and before ~= ":" and not words[name] and not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  return names
end

return evaluate
