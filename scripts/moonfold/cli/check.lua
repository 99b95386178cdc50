-- check STORE SCRIPT: what is wrong with the rules, and what an edit of them would change. A thin view of
-- moonfold.check: processes share the streams, and send what they find.

local check = require "moonfold.check"
local status = require "moonfold.cli.status"
local text = require "moonfold.cli.text"
local progress = require "moonfold.cli.progress"

local LISTED <const> = 20 -- findings of a kind

local function options_of(call)
  local given = call.options
  if given.jobs == 0 then call:usage("--jobs needs at least 1") end
  local function rules(path)
    if path and not call.host.kind(path) then call:fail("not_found", ("there is no script %s"):format(path)) end
    if path and call.is_store(path) then call:usage(("%s is a store: the order is STORE SCRIPT"):format(path)) end
    return path
  end
  rules(call.arguments.script)
  return {
    against = rules(given.against), decide = given.decide, since = given.since, stream = given.stream,
    params = call:json(given.params, "--params"),
    against_params = call:json(given["against-params"], "--against-params"),
  }
end

-- In a process of its own: looks at its share and sends what it finds, as JSON.
local function work(call, options, index, count, send)
  local host = call.host
  local function tell(message) send(host.json(message)) end
  local store <close> = call:open { read_only = true }
  options.share = { index = index, count = count }
  options.progress = function(done) tell { done = done } end
  options.finding = function(finding)
    tell { finding = {
      kind = finding.kind, stream = finding.stream_name, position = finding.position, place = check.place(finding),
      text = check.text(finding), json = host.json(finding),
    } }
  end
  local fine, result = pcall(check.run, store, call.arguments.script, options)
  if fine then
    result.findings = nil
    tell { report = result }
  else
    local known = type(result) == "table" and result.code
    tell { failure = { code = known or "io", message = known and result.message or tostring(result) } }
  end
end

local function add(sum, report)
  for key, value in pairs(report) do
    if key == "counts" then
      for kind, n in pairs(value) do sum.counts[kind] = (sum.counts[kind] or 0) + n end
    elseif key == "sound" then
      sum.sound = sum.sound and value
    elseif math.type(value) == "integer" then
      sum[key] = (sum[key] or 0) + value
    end
  end
end

-- How many events there are to fold, for the progress; only where somebody sees it.
local function total(call, options)
  if not call.host.is_terminal(2) or options.since then return nil end
  local store <close> = call:open { read_only = true }
  local sum = 0
  for _, version in store:streams(options.stream or "") do sum = sum + version end
  return sum + (options.decide and not options.stream and store:kept().commands or 0)
end

local function before(a, b)
  if (a.stream or "") ~= (b.stream or "") then return (a.stream or "") < (b.stream or "") end
  if (a.position or 0) ~= (b.position or 0) then return (a.position or 0) < (b.position or 0) end
  return a.json < b.json
end

-- Lets processes share the work: the sum of their reports, and the findings.
local function run(call, options)
  local host, count = call.host, call.options.jobs or call.host.cores()
  local workers, sum, findings, failure = {}, { sound = true, counts = {} }, {}, nil
  local closing <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    for _, worker in ipairs(workers) do getmetatable(worker).__close(worker) end
  end })
  for i = 1, count do
    workers[i] = host.fork(function(send) work(call, options, i, count, send) end)
  end
  local bar = progress.new(call, "checking", total(call, options))
  local done = 0
  host.gather(workers, function(message)
    local told = host.parse_json(message)
    if told.done then
      done = done + told.done
      bar:at(done)
    elseif told.finding then
      findings[#findings + 1] = told.finding
    elseif told.report then
      add(sum, told.report)
    else
      failure = failure or told.failure
    end
  end)
  bar:clear()
  if failure then call:fail(failure.code, failure.message) end
  table.sort(findings, before)
  return sum, findings
end

local function print_json(call, sum, findings)
  for _, finding in ipairs(findings) do call.out:line(finding.json) end
  call.out:json(sum)
end

local function print_findings(call, findings)
  local most, listed = call.options.max or LISTED, {}
  local rows = call.out:rows { { title = "finding", style = "yellow" }, { title = "stream", style = "cyan" },
    { title = "place" }, { title = "what" } }
  for _, finding in ipairs(findings) do
    local n = (listed[finding.kind] or 0) + 1
    listed[finding.kind] = n
    if n <= most then rows:add { finding.kind, finding.stream or "", finding.place, finding.text } end
  end
  rows:finish()
  for _, kind in ipairs(check.kinds) do
    local more = (listed[kind[1]] or 0) - most
    if more > 0 then call.out:line(("... and %s more %s"):format(text.number(more), kind[1])) end
  end
end

local function summary(call, sum)
  local parts = { ("%s of %s"):format(text.plural(sum.events, "event"), text.plural(sum.streams, "stream")) }
  if call.options.decide then
    parts[#parts + 1] = ("%s, %s decided the same"):format(text.plural(sum.commands, "kept command"),
      text.number(sum.same_decisions))
  end
  local kinds = {}
  for _, kind in ipairs(check.kinds) do
    local n = sum.counts[kind[1]]
    if n then kinds[#kinds + 1] = ("%s %s"):format(text.number(n), kind[1]) end
  end
  parts[#parts + 1] = kinds[1] and table.concat(kinds, ", ") or "nothing found"
  return table.concat(parts, "; ")
end

-- What was asked for and could not be done.
local function notes(call, sum)
  if sum.streams_without_rules > 0 then
    call:note(("%s left out: no decider of %s owns them"):format(text.plural(sum.streams_without_rules, "stream"),
      call.arguments.script))
  end
  local some = call.options.since or call.options.stream
  if some and sum.streams + sum.streams_without_rules == 0 then
    call:note("--since and --stream leave no stream to look at")
  elseif call.options.decide and sum.commands + sum.commands_left_out == 0 then
    call:note(some and "--since and --stream leave no kept command to decide"
      or "no command was kept: moonfold.load_decider and store:use keep them with keep_commands = true")
  elseif sum.commands_left_out > 0 then
    call:note(("%s left out: of lists that were refused, or of streams that the old rules do not own"):format(
      text.plural(sum.commands_left_out, "command")))
  end
end

return function(call)
  local options = options_of(call)
  call:open({ read_only = true }):close() -- before processes are made, so that a failure is told once
  local sum, findings = run(call, options)
  if sum.streams == 0 and sum.streams_without_rules > 0 then
    call:fail("not_found", ("no decider of %s owns any of the %s"):format(call.arguments.script,
      text.plural(sum.streams_without_rules, "stream")))
  end
  if call.out.mode == "json" then
    print_json(call, sum, findings)
  else
    print_findings(call, findings)
    call.out:line(summary(call, sum))
    notes(call, sum)
  end
  return sum.sound and status.fine or status.found
end
