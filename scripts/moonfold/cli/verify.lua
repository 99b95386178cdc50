-- verify STORE: a verdict for each part of the store, and what is wrong.

local moonfold = require "moonfold"
local share = require "moonfold.cli.share"
local text = require "moonfold.cli.text"

local PARTS = { "pages", "log", "streams", "types", "ids", "chain", "beside" }

local function checked(report)
  return {
    pages = ("%s, %s of them free"):format(text.plural(report.pages, "page"), text.number(report.free_pages)),
    log = ("%s in %s"):format(text.plural(report.events, "event"), text.plural(report.commits, "commit")),
    streams = text.plural(report.streams, "stream"),
    types = text.plural(report.types, "type"),
    ids = text.plural(report.ids, "id"),
    chain = report.link or (report.tamper_evident and "empty" or "none: the store is not tamper-evident"),
    beside = ("%s of code, snapshots and commands"):format(text.plural(report.beside, "record")),
  }
end

local function where(problem)
  local parts = {}
  if problem.position then parts[#parts + 1] = ("position %d"):format(problem.position) end
  if problem.stream then parts[#parts + 1] = ("stream %q"):format(problem.stream) end
  if problem.page then parts[#parts + 1] = ("page %d"):format(problem.page) end
  return #parts > 0 and table.concat(parts, ", ") .. ": " or ""
end

return function(call)
  local progress, clear = share.progress(call, "verifying")
  local report = moonfold.verify(call.arguments.store, { progress = progress, link = call.options.link })
  clear()
  if call.options.json then
    call.out:json(report)
  else
    local what = checked(report)
    for _, part in ipairs(PARTS) do
      local count = report.parts[part]
      call.out:line(("%-8s %-8s %s"):format(part, count == 0 and "fine" or "DAMAGED", what[part]):match("^(.-)%s*$"))
    end
    for _, problem in ipairs(report.problems) do
      call.out:line(("%s: %s%s"):format(problem.part, where(problem), problem.message))
    end
    if report.problem_count > #report.problems then
      call.out:line(("... and %s more"):format(text.number(report.problem_count - #report.problems)))
    end
  end
  if report.sound then return end
  call:fail("corrupt", ("%s is damaged: %s; restore a backup, or recover what can be read with \"moonfold salvage\"")
    :format(call.arguments.store, text.plural(report.problem_count, "problem")))
end
