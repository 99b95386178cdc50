-- What a REPL knows while it runs: the store, the rules, the results, how to print. Commands and Lua both work on it.

local failures = require "moonfold.failures"
local history = require "moonfold.history"
local moonfold = require "moonfold"
local nearest = require "moonfold.nearest"
local output = require "moonfold.cli.output"
local show = require "moonfold.repl.show"
local text = require "moonfold.cli.text"
local values = require "moonfold.values"

local Session = {}
Session.__index = Session

local session = {}

--- The user does not want to see more.
session.STOP = setmetatable({}, { __tostring = function() return "stopped" end })

local PIPE_WIDTH <const> = 100

-- ## Printing

--- Where things are printed: as the command line does it, but always for people, and a page at a time on a terminal.
local function screen_of(host, reader)
  local wide = setmetatable({ width = function() return host.width() or PIPE_WIDTH end }, { __index = host })
  local out = output.new(wide, { table = true })
  local forced = os.getenv("CLICOLOR_FORCE")
  if forced and forced ~= "" and forced ~= "0" then out.color = true end
  out.lines = 0
  local write = out.write
  function out:write(...)
    local piece = table.concat({ ... })
    if self.file then
      assert(self.file:write((piece:gsub("\27%[[%d;]*m", ""))))
      return
    end
    write(self, piece)
    local height = self.terminal and not self.unpaged and reader.height and reader.height()
    if not height then return end
    for _ in piece:gmatch("\n") do self.lines = self.lines + 1 end
    if self.lines < height - 1 then return end
    self.lines = 0
    self:flush()
    if not reader.more() then error(session.STOP, 0) end
  end
  return out
end

--- A session on a store that is open. `place`: { path =, scratch =, read_only = }. `reader`: see shell.lua.
function session.new(host, store, place, reader)
  local self = setmetatable({
    host = host, reader = reader, store = store, place = place, loaded = {}, results = {}, mode = "table",
    timer = false, out = screen_of(host, reader or {}),
  }, Session)
  self:make_env()
  return self
end

function Session:say(format, ...)
  self.out:line(select("#", ...) > 0 and format:format(...) or format)
end

--- A paragraph, broken into lines that fit.
function Session:tell(format, ...)
  for _, line in ipairs(text.wrap(format:format(...), math.min(self:width(), 100))) do self:say("%s", line) end
end

--- A remark, which is no answer.
function Session:remark(format, ...) self:say("%s", self.out:paint("dim", format:format(...))) end

function Session:width() return self.out.host.width() end

--- A time as people read it, in UTC.
function Session:time(microseconds)
  return (self.host.time(microseconds):sub(1, 19):gsub("T", " "))
end

--- Prints a value in the present mode.
function Session:show(value)
  local mode = self.mode
  if mode == "json" then
    local fine, json = pcall(self.host.json, value)
    return self:say("%s", fine and json or show.value(value, self:width()))
  end
  if mode == "lua" then return self:say("%s", show.value(value, self:width(), true)) end
  if mode == "line" and type(value) == "table" and next(value) ~= nil then
    for _, key in ipairs(values.keys(value)) do
      self:say("%s = %s", values.step("", key), show.value(value[key], self:width(), true))
    end
    return
  end
  self:say("%s", show.value(value, self:width()))
end

--- A column: key, title, and how to print its value in a table. `style`, `right`, `wide`: see output.lua.
local function cell(column, value)
  if value == nil then return "" end
  if column.show then return column.show(value) end
  return math.type(value) == "integer" and text.number(value) or tostring(value)
end

--- Prints records as a list: add(record), finish(nothing).
function Session:list(columns)
  local list = {}
  local mode, out = self.mode, self.out
  if mode == "table" then
    local rows = out:rows(columns)
    function list:add(record) -- luacheck: no self
      local row = {}
      for i, column in ipairs(columns) do row[i] = cell(column, record[column.key]) end
      rows:add(row)
    end
    function list:finish(nothing) rows:finish(nothing) end -- luacheck: no self
    return list
  end
  local printed = 0
  function list.add(_, record)
    printed = printed + 1
    if mode == "json" then return out:line(self.host.json(record)) end
    if mode == "lua" then return out:line(show.value(record, math.huge, true)) end
    if printed > 1 then out:line() end
    for _, column in ipairs(columns) do
      local value = record[column.key]
      if value ~= nil then out:line(column.key, " = ", show.value(value, self:width(), true)) end
    end
  end
  function list.finish(_, nothing)
    if printed == 0 and mode == "line" then out:line(nothing) end
  end
  return list
end

-- ## Failures

--- Ends a command with a message.
function session.fail(format, ...) error({ message = format:format(...) }, 0) end

--- What went wrong, as one would read it.
function Session:explain(problem)
  if type(problem) ~= "table" then
    return (tostring(problem):gsub("^input:1: ", ""):gsub("^expression:1: ", ""))
  end
  if type(problem.message) ~= "string" then return show.value(problem, self:width()) end
  local message = problem.message
  if problem.code == "rejected" then message = ("refused (%s): %s"):format(problem.reason, message)
  elseif problem.code and problem.code ~= "not_found" and problem.code ~= "invalid_argument" then
    message = ("%s: %s"):format(problem.code, message)
  end
  return message
end

function Session:complain(problem)
  self.out.unpaged = true
  self:say("%s", self.out:paint("red", self:explain(problem)))
  self.out.unpaged = nil
end

-- ## The store

function Session:close()
  if self.store then self.store:close() end
end

--- Looks at another store from now on.
function Session:open(path, options)
  local kind = self.host.kind(path)
  if kind == "folder" then session.fail("%s is a folder, and a store is a file", path) end
  if not kind then
    session.fail("there is no store %s. To make one: .open a scratch store, and .save %s", path, path)
  end
  options.create = false
  local store = moonfold.open(path, options)
  self:close()
  self.store, self.place = store, { path = path, read_only = options.read_only }
  self.branch, self.walk, self.watching = nil, nil, nil
  self:use_again()
  self:make_env()
end

--- A new store in memory; `options`: those of moonfold.open.
function Session:scratch(options)
  local store = moonfold.open(":memory:", options)
  self:close()
  self.store, self.place = store, { scratch = true }
  self.branch, self.walk, self.watching = nil, nil, nil
  self:use_again()
  self:make_env()
end

--- What is looked at, as a whole: it can be set aside for something else, and taken up again.
local view <const> = { "store", "place", "loaded", "branch", "walk", "watching" }

--- Looks at a scratch store without rules until come_back is called; what is looked at now stays open.
function Session:set_aside(options)
  if not self.aside then
    self.aside = {}
    for _, name in ipairs(view) do self.aside[name] = self[name] end
    self.store = nil
  end
  self.loaded = {}
  self:scratch(options)
end

function Session:come_back()
  self:close()
  for _, name in ipairs(view) do self[name] = self.aside[name] end
  self.aside = nil
  self:make_env()
end

function Session:last_position()
  return (self.host.span(self.store))
end

-- ## The rules

--- Whether a script failed to load as a decider because it is something else: what other scripts require, or a program.
local function is_helper(problem)
  local message = tostring(problem)
  return message:find("returns no decider", 1, true) or message:find("decider: the script returned ", 1, true)
end

--- Where one of many scripts fails, its first line tells enough.
local function first_line(message) return (message:match("^[^\n]*"):gsub(", for example$", "")) end

--- Of a folder in which not everything loads, what does: each script by itself.
local function use_what_loads(self, folder, problem)
  local domain, helpers, last = { path = folder, deciders = {} }, {}, problem
  for _, name in ipairs(self.host.list(folder)) do
    if name:find("%.lua$") and not name:find("_spec%.lua$") then
      local fine, one = pcall(self.store.use, self.store, folder .. "/" .. name)
      if fine then
        table.move(one.deciders, 1, #one.deciders, #domain.deciders + 1, domain.deciders)
      elseif is_helper(one) then
        helpers[#helpers + 1] = name
      else
        last = one
        self:remark("%s", first_line(("%s does not load: %s"):format(name, self:explain(one))))
      end
    end
  end
  if #domain.deciders == 0 then error(last, 0) end
  if #helpers > 0 then self:remark("no deciders: %s", table.concat(helpers, ", ")) end
  return domain
end

--- Loads scripts, or loads them anew. `path`: a file or a folder.
function Session:use(path)
  if not self.host.kind(path) then
    local names = {}
    local folder = path:match("^(.*)/[^/]*$") or "."
    for _, name in ipairs(self.host.list(folder) or {}) do
      if name:find("%.lua$") then names[#names + 1] = folder == "." and name or folder .. "/" .. name end
    end
    local near = nearest.of(path, names)
    session.fail("there is no script %s%s", path, near and (": did you mean %s?"):format(near) or "")
  end
  local fine, domain = pcall(self.store.use, self.store, path)
  if not fine and self.host.kind(path) == "folder" then
    domain = use_what_loads(self, path, domain)
  elseif not fine then   -- a script without a category is for whatever stream one asks about
    domain = { path = path, deciders = { moonfold.load_decider(path) } }
  end
  local stamp = self:stamp(path)
  for i, loaded in ipairs(self.loaded) do
    if loaded.path == path then
      self.loaded[i] = { path = path, domain = domain, stamp = stamp }
      return domain, loaded.domain
    end
  end
  self.loaded[#self.loaded + 1] = { path = path, domain = domain, stamp = stamp }
  return domain
end

--- Writes the sources of code into a folder of their own, calls f with the path of the script there, and removes them.
local function with_sources(self, code, f)
  local folder = os.tmpname()
  os.remove(folder)
  assert(self.host.make_folder(folder))
  local made, folders = {}, { folder }
  local function write()
    for i, source in ipairs(code.sources) do
      local name = source.path:find("..", 1, true) and ("source-%d.lua"):format(i) or source.path:gsub("^/+", "")
      local path = folder
      for part in name:gmatch("([^/]+)/") do
        path = path .. "/" .. part
        if self.host.make_folder(path) then folders[#folders + 1] = path end
      end
      local file <close> = assert(io.open(folder .. "/" .. name, "w"))
      made[i] = folder .. "/" .. name
      assert(file:write(source.text))
    end
    return f(made[1])
  end
  local fine, result = pcall(write)
  for _, path in ipairs(made) do os.remove(path) end
  for i = #folders, 1, -1 do os.remove(folders[i]) end
  if not fine then error(result, 0) end
  return result
end

--- Loads the rules that the store keeps itself: of each script that decided something, the latest.
function Session:use_kept()
  local latest, deciders = {}, {}
  for _, code in ipairs(self.store:codes()) do latest[code.path] = code end
  for _, path in ipairs(values.keys(latest)) do
    local code = self.store:code(latest[path].digest)
    local fine, decider = pcall(with_sources, self, code, function(script)
      return moonfold.load_decider(script, { params = code.params })
    end)
    if fine then
      deciders[#deciders + 1] = decider
    else
      self:remark("%s, as it is kept, does not load: %s", path, self:explain(decider))
    end
  end
  if #deciders == 0 then session.fail("no event of this store was decided by a script") end
  self.loaded = { { domain = { deciders = deciders } } }
  return self.loaded[1].domain
end

--- The rules of before, for a store that was opened just now.
function Session:use_again()
  local paths = self.loaded
  self.loaded = {}
  for _, loaded in ipairs(paths) do
    if loaded.path then pcall(self.use, self, loaded.path) else self.loaded[#self.loaded + 1] = loaded end
  end
end

--- What changes when a script is written to.
function Session:stamp(path)
  local modified = self.host.modified
  if not modified then return nil end
  if self.host.kind(path) ~= "folder" then return modified(path) end
  local stamps = {}
  for _, name in ipairs(self.host.list(path) or {}) do
    if name:find("%.lua$") then stamps[#stamps + 1] = name .. "=" .. tostring(modified(path .. "/" .. name)) end
  end
  return table.concat(stamps, " ")
end

--- The decider of a stream, or nil.
function Session:find_decider(stream)
  local best, only, sum = nil, nil, 0
  for _, loaded in ipairs(self.loaded) do
    for _, decider in ipairs(loaded.domain.deciders) do
      sum, only = sum + 1, decider
      local category = decider.category
      local owns = category and stream:sub(1, #category + 1) == category .. "-"
      if owns and (not best or #category > #best.category) then best = decider end
    end
  end
  if not best and sum == 1 and not only.category then return only end
  return best
end

function Session:decider(stream)
  local decider = self:find_decider(stream)
  if decider then return decider end
  if #self.loaded == 0 then
    local kept = #self.store:codes() > 0 and "; .use kept loads those that are kept in the store" or ""
    session.fail("no rules are loaded: .use SCRIPT or .use FOLDER loads what folds the events%s", kept)
  end
  local categories = {}
  for _, loaded in ipairs(self.loaded) do
    for _, one in ipairs(loaded.domain.deciders) do
      categories[#categories + 1] = one.category and one.category .. "-*"
    end
  end
  session.fail("none of the rules in use is for %q: there are rules for %s", stream, table.concat(categories, ", "))
end

--- Scripts that were written to are loaded anew, before anything is asked of them.
function Session:reload()
  for _, loaded in ipairs(self.loaded) do
    local stamp = loaded.path and self:stamp(loaded.path)
    if stamp ~= loaded.stamp then
      loaded.stamp = stamp
      local fine, domain, before = pcall(self.use, self, loaded.path)
      if fine then
        self:remark("%s has changed, and was loaded anew%s", loaded.path, self:difference(before, domain))
      else
        self:remark("%s has changed and does not load, so the rules of before stay: %s", loaded.path,
          self:explain(domain))
      end
    end
  end
end

--- How many streams fold into something else now: of the first ones that there are, for a while.
function Session:difference(before, after)
  local MOST <const>, SECONDS <const> = 1000, 0.3
  local looked, differ, start = 0, {}, self.host.monotonic()
  for _, decider in ipairs(after.deciders) do
    local old
    for _, one in ipairs(before.deciders) do
      if one.category == decider.category then old = one end
    end
    for name in self.store:streams(decider.category and decider.category .. "-" or "") do
      if looked >= MOST or self.host.monotonic() - start > SECONDS then break end
      looked = looked + 1
      local fine, same = pcall(function()
        local was, is = self.store:aggregate_stream(name, old), self.store:aggregate_stream(name, decider)
        return values.equal(was.state, is.state)
      end)
      if old and not (fine and same) then differ[#differ + 1] = name end
    end
  end
  if #differ == 0 then return "" end
  return (": %s folds differently, such as %s"):format(text.plural(#differ, "stream"), differ[1])
end

-- ## The past

--- The history of the store, or the branch that one is on.
function Session:past()
  if self.branch then return self.branch end
  return history.of(self.store, function(stream) return self:decider(stream) end)
end

-- ## Names for Lua

function Session:make_env()
  local own = { moonfold = moonfold, history = history, store = self.store, event = moonfold.event,
    command = moonfold.command }
  function own.v(n)
    if n == nil then n = -1 end
    return self.results[n < 0 and #self.results + 1 + n or n]
  end
  function own.print(...)
    local words = table.pack(...)
    for i = 1, words.n do words[i] = type(words[i]) == "string" and words[i] or show.value(words[i], self:width()) end
    self:say("%s", table.concat(words, "\t", 1, words.n))
    if self.out.terminal then self.out:flush() end   -- a script that runs for long is seen at work
  end
  self.own = own
  local live = { past = function() return self:past() end, branch = function() return self.branch end,
    _ = function() return self.results[#self.results] end }
  local kept = self.env
  self.env = setmetatable({}, { __index = function(_, name)
    if own[name] ~= nil then return own[name] end
    if live[name] then return live[name]() end
    return _G[name]
  end })
  for name, value in next, kept or {} do rawset(self.env, name, value) end
end

--- Every name that Lua sees, as one table; for completion.
function Session:names()
  local names = {}
  for _, source in ipairs { _G, self.own, self.env } do
    for name, value in next, source do names[name] = value end
  end
  names.past, names.branch, names._ = self:past(), self.branch, self.results[#self.results]
  return names
end

function Session:remember(value)
  local MOST <const> = 1000
  self.results[#self.results + 1] = value
  if #self.results > MOST then table.remove(self.results, 1) end
end

--- Whether an error is one of the library.
Session.is_failure = failures.is

return setmetatable(session, { __index = Session })
