-- Reading the words behind a dot command.

local session = require "moonfold.repl.session"

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

return typed
