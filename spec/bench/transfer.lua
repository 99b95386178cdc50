-- export, import and printing on the command line, a process each: against a program in Lua that reads the log, or that
-- appends the same events. What a process takes to start is small among so many events.

local moonfold = require "moonfold"
local bench = require "bench"

local count = bench.quick and 50000 or 500000
local program = os.getenv("MOONFOLD")
local path, copy, lines = bench.folder .. "/log.fold", bench.folder .. "/copy.fold", bench.folder .. "/lines"

local function fill(file)
  local store <close> = moonfold.open(file, { durability = "none" })
  for first = 1, count, 10000 do
    store:transaction(function()
      for i = first, first + 9999 do store:append_to_stream("stream-" .. i * 7919 % (count // 10), bench.event(i)) end
    end)
  end
end

local function remove(file) os.execute(("rm -f '%s' '%s-lock'"):format(file, file)) end

-- Nanoseconds of CPU an event that the command takes, counted by the shell.
local function command_cost(command)
  local pipe = assert(io.popen(("%s 2>/dev/null; times"):format(command)))
  local output = pipe:read("a")
  pipe:close()
  local sum = 0
  for minutes, seconds in output:match("\n(.*)$"):gmatch("(%d+)m([%d.]+)s") do
    sum = sum + tonumber(minutes) * 60 + tonumber(seconds)
  end
  return sum * 1e9 / count
end

local function command(arguments, to)
  return function() return command_cost(("'%s' %s >'%s'"):format(program, arguments, to or "/dev/null")) end
end

fill(path)
command("export " .. path, lines)()

local export, json, fields, import, read, append = bench.interleave {
  command("export " .. path),
  command("log --json " .. path),
  command("log " .. path),
  function()
    remove(copy)
    return command(("import %s %s"):format(copy, lines))()
  end,
  function()
    local store <close> = moonfold.open(path)
    return bench.cost(count, function()
      for event in store:all_events() do local _ = event.data end
    end)
  end,
  function()
    remove(copy)
    return bench.cost(count, function() fill(copy) end)
  end,
}
bench.report("transfer", "export", "ns", export, "a loop in Lua", read)
bench.report("transfer", "log --json", "ns", json, "a loop in Lua", read)
bench.report("transfer", "log in a pipe", "ns", fields, "a loop in Lua", read)
bench.report("transfer", "import", "ns", import, "appends in Lua", append)
