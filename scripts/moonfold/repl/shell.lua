-- The loop of the REPL: reads lines, evaluates them, prints. What it reads from is a `reader`:
--
--     reader.read(prompt)      a line without its end; nil and "end", or nil and "interrupted"
--     reader.remember(line)    puts a line into the history          (optional)
--     reader.height()          lines of the terminal, nil for none   (optional)
--     reader.more()            whether the user wants to see more    (with height)
--
-- Between two lines nothing is held: no transaction, no iterator.

local complete = require "moonfold.repl.complete"
local dots = require "moonfold.repl.dots"
local evaluate = require "moonfold.repl.evaluate"
local reference = require "moonfold.reference"
local sessions = require "moonfold.repl.session"
local show = require "moonfold.repl.show"
local text = require "moonfold.cli.text"
local values = require "moonfold.values"

local shell = {}

-- ## One line

local function interrupted(problem) return type(problem) == "string" and problem:find("interrupted$") ~= nil end

--- Calls f with the user's lines: what goes wrong is told, and nothing else happens. Returns whether it went well.
local function protected(session, f, ...)
  session.out.lines, session.out.file, session.once = 0, session.once, nil
  local start = session.host.monotonic()
  local fine, problem = session.host.guard(f, ...)
  if session.out.file then
    local closed, why = session.out.file:close()
    session.out.file = nil
    if fine and not closed then fine, problem = false, { message = why } end   -- a full disk may show only now
  end
  if not fine and interrupted(problem) then
    session.out.unpaged = true
    session:say("%s", session.out:paint("yellow", "stopped"))
    session.out.unpaged = nil
  elseif not fine and problem ~= sessions.STOP then
    session:complain(problem)
  end
  local seconds = session.host.monotonic() - start
  if session.timer or session.out.terminal and seconds > 0.5 then session:remark("%.3f s", seconds) end
  return fine or problem == sessions.STOP
end

--- Whether values are what `for ... in` takes from a store: store:streams() and the like.
local function is_iterator(results)
  return results.n == 4 and type(results[1]) == "function" and type(results[2]) == "userdata"
    and results[3] == nil and results[4] == results[2]
end

--- An event in one line, with its time where that is given.
local function event_line(session, event, time)
  local paint = function(style, piece) return session.out:paint(style, session.host.printable(piece)) end
  local plain = ("%s%s@%d %s "):format(time and time .. " " or "", session.host.printable(event.stream_name),
    event.stream_position, session.host.printable(event.type))
  local room = math.max(20, session:width() - text.width(plain))
  local data = event.data ~= nil and " " .. show.short(event.data, room) or ""
  return ("%s%s@%d %s%s"):format(time and paint("dim", time) .. " " or "", paint("green", event.stream_name),
    event.stream_position, paint("cyan", event.type), data)
end

--- An event as one reads it, and anything else as it is.
local function one_line(session, value)
  if type(value) == "table" and value.stream_position and value.type then return event_line(session, value) end
  return type(value) == "string" and values.scalar(value) or show.short(value, session:width())
end

--- An iterator that one types alone is gone through as far as a reader would, and closed.
local function show_iterator(session, next_one, object, _, closing)
  local MOST <const>, found, more = 30, {}, false
  for first, second in next_one, object, nil, closing do
    more = #found == MOST
    if more then break end
    found[#found + 1] = first
    session:say("%s%s", one_line(session, first), second ~= nil and "  " .. show.short(second) or "")
  end
  session:remember(found)
  if #found == 0 then session:remark("nothing") end
  if more then session:remark("... and more: for one in ... do ... end goes through all") end
end

local function evaluate_chunk(session, chunk)
  local results = table.pack(chunk())
  if is_iterator(results) then return show_iterator(session, table.unpack(results, 1, 4)) end
  for i = 1, results.n do
    if i == 1 then session:remember(results[1]) end
    session:show(results[i])
  end
end

--- The dot command that a line of one word means: strangers type help, exit or quit().
local function dot_meant(session, line)
  local word = line:match("^%s*(%a+)%s*%(?%s*%)?%s*$")
  if not word then return line:match("^%s*help%s+%.?%w+%s*$") and "." .. line:match("%S.*") or nil end
  return dots.has(word) and session.env[word] == nil and "." .. word or nil
end

--- Does what a line says, or what it and those before it say; returns whether all went well. session.pending holds what
--- lacks an end.
local function feed(session, line)
  local source = session.pending and session.pending .. "\n" .. line or line
  if not session.pending then
    if line:find("^%s*$") then
      if session.stepping then return protected(session, dots.run, session, ".step next") end
      return true
    end
    session.stepping = line:find("^%s*%.step") ~= nil
    if line:find("^%s*%.%a") or line:find("^%s*%.$") then
      return protected(session, function()
        session:reload()
        dots.run(session, line)
      end)
    end
    local name = line:match("^%s*%?%s*(.*)$") or line:match("^%s*([%w_.:]+)%?%s*$")
    if name then return protected(session, dots.page, session, name) end
  end
  local dot = not session.pending and dot_meant(session, line)
  if dot then return protected(session, dots.run, session, dot) end
  local chunk, incomplete, problem = evaluate.compile(source, session.env)
  session.pending = incomplete and source or nil
  if incomplete then return true end
  return protected(session, function()
    session:reload()
    if not chunk then
      local word = line:match("^%s*(%a+)%s")
      local hint = word and dots.has(word) and (" (commands begin with a dot: .%s)"):format(word) or ""
      error({ message = problem .. hint }, 0)
    end
    evaluate_chunk(session, chunk)
  end)
end

-- ## What is said in the beginning

--- How long ago a time was; of another day, the day.
local function ago(session, time)
  local seconds = (session.host.now() - time) // 1000000
  if seconds >= 86400 then return "on " .. session:time(time):sub(1, 10) end
  for _, unit in ipairs { { 3600, "hour" }, { 60, "minute" }, { 1, "second" } } do
    if seconds >= unit[1] then return text.plural(seconds // unit[1], unit[2]) .. " ago" end
  end
  return "just now"
end

local function overview(session)
  local name = session.place.path or "a scratch store"
  local facts = session.host.stats(session.store)
  if facts.events == 0 then return ("%s: no events yet"):format(name) end
  local _, _, last = session.host.span(session.store)
  return ("%s: %s in %s, the last one %s%s"):format(name, text.plural(facts.events, "event"),
    text.plural(facts.streams, "stream"), ago(session, last), session.place.read_only and "; read-only" or "")
end

local function greet(session)
  local paint = function(...) return session.out:paint(...) end
  if session.place.scratch then
    session:say("%s. A scratch store: nothing in it stays, unless you .save it.",
      paint("bold", "Moonfold " .. reference.version()))
    session:say("New here? Type %s. Otherwise .open FILE, %s, or any Lua.", paint("bold", ".tutorial"),
      paint("bold", ".help"))
  else
    session:say("%s, %s.", paint("bold", "Moonfold " .. reference.version()), overview(session))
    session:say("%s shows what is in it, %s tells the rest. Tab completes.", paint("bold", ".streams"),
      paint("bold", ".help"))
    if #session.loaded == 0 then
      local kept = #session.store:codes() > 0
      session:say("%s loads its rules%s.", paint("bold", kept and ".use kept" or ".use SCRIPT"),
        kept and ", which are kept in it" or "")
    end
  end
end

local function prompt_of(session)
  local name = session.place.path and session.place.path:match("([^/]+)$"):gsub("%.fold$", "") or "moonfold"
  if session.pending then return (" "):rep(math.max(0, text.width(name) - 2)) .. "...> " end
  if session.branch then return name .. " (what if)> " end
  return name .. "> "
end

-- ## Watching

--- What was recorded since the last look, as lines; "" when nothing was.
local function watched(session)
  local watching = session.watching
  if not watching then return "" end
  local MOST <const> = 1000
  local lines = {}
  local last = session:last_position()
  if last <= watching.position then return "" end
  if last - watching.position > MOST then
    lines[1] = ("... %s"):format(text.plural(last - MOST - watching.position, "event"))
    watching.position = last - MOST
  end
  for event in session.store:all_events { from = watching.position + 1, to = last } do
    if not watching.stream or event.stream_name == watching.stream then
      lines[#lines + 1] = event_line(session, event, session:time(event.recorded_at))
    end
  end
  watching.position = last
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or ""
end

-- ## The world, for completion

local MOST_NAMES <const> = 100

local function world_of(session)
  local world = { env = session:names() }
  function world.dots()
    local list = {}
    for _, dot in ipairs(dots) do
      if not dot.hidden then list[#list + 1] = dot end
    end
    return list
  end
  function world.streams(prefix)
    local names = {}
    for name in session.store:streams(prefix) do
      if not name:find("[%c%s]") then names[#names + 1] = name end
      if #names >= MOST_NAMES then break end
    end
    return names
  end
  function world.types()
    local types, codes, last = {}, {}, session:last_position()
    session.host.census(session.store, math.max(1, last - 19999), last, types, codes)
    return values.keys(types)
  end
  function world.fields(stream)
    stream = stream and stream:match("^[^@]*")
    local decider = stream and session:find_decider(stream)
    if not decider then return {} end
    local fine, state = pcall(function() return session.store:aggregate_stream(stream, decider).state end)
    local names = {}
    for _, key in ipairs(fine and type(state) == "table" and values.keys(state) or {}) do
      names[#names + 1] = values.step("", key)
    end
    return names
  end
  function world.commands(stream)
    local names = {}
    local function take(decider)
      for name in pairs(decider.command_types or type(decider.decide) == "table" and decider.decide or {}) do
        names[#names + 1] = name
      end
    end
    local decider = stream and session:find_decider(stream)
    if decider then
      take(decider)
    else
      for _, loaded in ipairs(session.loaded) do
        for _, one in ipairs(loaded.domain.deciders) do take(one) end
      end
    end
    return names
  end
  function world.files(prefix)
    local folder, names = prefix:match("^(.*/)") or "", {}
    for _, name in ipairs(session.host.list(folder == "" and "." or folder) or {}) do
      if not name:find("^%.") then
        local path = folder .. name
        names[#names + 1] = session.host.kind(path) == "folder" and path .. "/" or path
      end
    end
    return names
  end
  world.options = reference.options
  function world.pages()
    local names = {}
    for _, name in ipairs(reference.names()) do
      names[#names + 1] = name
      names[#names + 1] = name:match("[^.:]+$")
    end
    return names
  end
  return world
end

--- What may stand at the cursor: see complete.lua. Never raises.
function shell.complete(session, line, cursor)
  local fine, words, from = pcall(function() return complete(line, cursor, world_of(session)) end)
  if not fine then return {}, cursor + 1 end
  return words, from
end

-- ## The loop

--- Lets the tour say what comes next.
local function guide(session, line)
  if session.tour and not session.pending then protected(session, session.tour, line) end
end

--- Feeds every line that next_line gives; returns whether all went well.
local function feed_all(session, next_line)
  local well = true
  for line in next_line do
    if session.done then break end
    line = line:gsub("\r?\n$", "")
    if session.echo then session:say("%s%s", prompt_of(session), line) end
    well = feed(session, line) and well
    guide(session, line)
  end
  if session.pending then
    session:complain("the input ends before what it begins")
    session.pending, well = nil, false
  end
  return well
end

--- A file of Lua or dot commands in the user's home that is read first.
local function read_settings(session)
  local home = os.getenv("HOME")
  local path = home and home .. "/.moonfoldrc.lua"
  local file <close> = path and io.open(path)
  if file then feed_all(session, function() return file:read("L") end) end
end

--- Reads a line and does what it says; false at the end.
local function turn(session, reader)
  session.out:flush()
  local line, why = reader.read(prompt_of(session))
  if why == "end" then return false end
  if line then
    if reader.remember then reader.remember(line) end
    feed(session, line)
    guide(session, line)
  end
  local news = watched(session)
  if news ~= "" then session.out:write(news) end
  return line ~= nil
end

local function talk(session, reader)
  while not session.done do
    local fine, going_on = pcall(turn, session, reader)
    if not fine and not interrupted(going_on) then error(going_on, 0) end
    if fine and not going_on and session.host.interrupts() == 0 then break end
    if not (fine and going_on) then   -- Ctrl-C: what was begun is given up
      session.pending = nil
      session.host.catch_interrupts()
    end
  end
end

--- Runs a REPL on a store until its input ends. Returns whether all went well.
function shell.run(host, store, place, reader)
  local session = sessions.new(host, store, place, reader)
  session.plain = session.out.terminal and not (os.getenv("LC_ALL") or os.getenv("LC_CTYPE") or os.getenv("LANG")
    or ""):upper():find("UTF%-?8")
  function session.run_lines(next_line)
    local echo = session.echo
    session.echo = false
    feed_all(session, next_line)
    session.echo = echo
  end
  function session.overview(_) return overview(session) end
  local well
  local fine, problem = pcall(function()
    if place.use then protected(session, function() session:use(place.use) end) end
    if not reader then
      well = feed_all(session, function() return io.stdin:read("L") end)
      return
    end
    read_settings(session)
    greet(session)
    if reader.start then reader.start(function(...) return shell.complete(session, ...) end, function()
      return session.watching and watched(session)   -- nil: nobody watches
    end) end
    talk(session, reader)
    well = true
  end)
  if session.aside then session.aside.store:close() end
  if session.store then session.store:close() end
  session.out:flush()
  if not fine then error(problem, 0) end
  return well
end

return shell
