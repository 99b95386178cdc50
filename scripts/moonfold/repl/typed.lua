-- Reading the words behind a dot command.

local nearest = require "moonfold.nearest"
local session = require "moonfold.repl.session"
local values = require "moonfold.values"

local fail = session.fail
local typed = {}

function typed.need(word, what, usage)
  if word == nil or word == "" then fail("%s is missing: %s", what, usage) end
  return word
end

--- "@7" is a version, "@2026-11-25" a time (a blank may stand before the hour); nothing is now.
function typed.moment(word)
  if not word or word == "" then return nil end
  local at = word:gsub("^@", "")
  local version = math.tointeger(at)
  if version then return version end
  if at:find("^%d%d%d%d%-") then return { time = at } end
  fail("%q is neither a version (@7) nor a time (@2026-11-25T18:30)", word)
end

--- "cart-1@7" and "cart-1 @7" are a stream and a moment.
function typed.stream_and_moment(rest, usage)
  local stream, at = typed.need(rest, "the stream", usage):match("^(%S-)%s*@(.+)$")
  if stream and stream ~= "" then return stream, typed.moment(at) end
  return rest:match("^%S+")
end

--- "3..7", "3..", "..7", "3": versions from and to.
function typed.range(word)
  if not word then return nil, nil end
  local from, to = word:match("^(%d*)%.%.(%d*)$")
  if from then return math.tointeger(from), math.tointeger(to) end
  local one = word:match("^%d+$")
  if not one then fail("%q is no range of versions: write 3..7, 3.. or ..7", word) end
  return math.tointeger(one), math.tointeger(one)
end

--- The value of Lua source, such as { qty = 2 }.
function typed.value_of(self, source, what)
  if not source or source == "" then return nil end
  local chunk, problem = load("return " .. source, "=" .. what, "t", self.env)
  if not chunk then fail("%s is no Lua value: %s", what, (problem:gsub("^[^:]*:%d+: ", ""))) end
  return chunk()
end

function typed.must_exist(self, stream)
  if self.store:stream_exists(stream) then return end
  self:past():at(stream, 0)   -- raises not_found, with the nearest
end

--- Whether a file is a store, by the mark that LMDB's files bear.
local function is_store(path)
  local file <close> = io.open(path, "rb")
  local size = file and file:seek("end")   -- a terminal has no end, and would be waited for
  local head = size and size > 0 and file:seek("set") and file:read(20) or ""
  return head:sub(17) == "\xDE\xC0\xEF\xBE" or head:sub(17) == "\xBE\xEF\xC0\xDE"
end

--- A file to write into: what it held is lost, so no store is taken for one.
function typed.file(path)
  if is_store(path) then fail("%s is a store, which would be lost: choose another name", path) end
  local file, problem = io.open(path, "w")
  if not file then fail("%s", problem) end
  return file
end

function typed.write_file(path, content)
  local file = typed.file(path)
  local written, problem = file:write(content)
  local closed, late = file:close()
  if not (written and closed) then fail("%s: %s", path, problem or late) end
end

--- What to say of a path that is not in a state: the nearest there is, or what there is where it ends. "" for neither.
function typed.hint_of_path(state, path)
  local keys, parent = values.parse_path(path) or {}, state
  for i, key in ipairs(keys) do
    local part = type(parent) == "table" and parent[key]
    if part == nil or part == false and i < #keys or type(parent) ~= "table" then
      local known, place = {}, table.move(keys, 1, i - 1, 1, {})
      for _, name in ipairs(type(parent) == "table" and values.keys(parent) or {}) do
        if type(name) == "string" then known[#known + 1] = name end
      end
      if #known == 0 then return "" end
      local near = nearest.of(tostring(key), known)
      if near then
        place[i] = near
        return (": did you mean %s?"):format(values.path(place))
      end
      local MOST <const> = 12
      if #known > MOST then known[MOST], known[MOST + 1] = "...", nil end
      local names = table.concat(known, ", ", 1, math.min(#known, MOST))
      return i == 1 and (": it has %s"):format(names) or (": %s has %s"):format(values.path(place), names)
    end
    parent = part
  end
  return ""
end

return typed
