-- salvage STORE NEW: what can be read of a damaged store, as a new one.

local moonfold = require "moonfold"
local share = require "moonfold.cli.share"
local status = require "moonfold.cli.status"
local text = require "moonfold.cli.text"

local function range(loss, noun)
  if loss.from == loss.to then return ("%s %d"):format(noun, loss.from) end
  return ("%ss %d to %d"):format(noun, loss.from, loss.to)
end

local function line(host, loss)
  if loss.stream then return ("lost: %s of stream %s"):format(range(loss, "version"), host.printable(loss.stream)) end
  return ("lost: %s: %s"):format(range(loss, "position"), loss.why)
end

return function(call)
  local progress, clear = share.progress(call, "salvaging")
  local dest = call.arguments.new
  local report = moonfold.salvage(call.arguments.store, dest, { progress = progress })
  clear()
  if call.options.json then
    call.out:json(report)
  else
    for _, loss in ipairs(report.losses) do call.out:line(line(call.host, loss)) end
    if report.loss_count > #report.losses then
      call.out:line(("... and %s more"):format(text.number(report.loss_count - #report.losses)))
    end
  end
  call.out:flush()
  call:note(("recovered %s in %s to %s; %s lost%s"):format(text.plural(report.events, "event"),
    text.plural(report.commits, "commit"), dest, report.lost_events == 0 and "none" or text.number(report.lost_events),
    report.renumbered and "; what stood behind a loss has other positions now" or ""))
  if report.lost_events > 0 then return status.lossy end
end
