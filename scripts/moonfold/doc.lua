-- The one source of Moonfold's documentation: a plain table with an entry for every public name.
--
-- reference.lua renders it three ways: the API reference in README.md, the type annotations for editors
-- (moonfold.d.lua) and the page that the REPL shows for `?name`. spec/documentation_spec.lua compares it with
-- what the library really exports and runs every example, so an entry that goes stale fails the build.
--
-- An entry has
--     name        as one would look it up: "moonfold.open", "store:close", "RecordedEvent", "busy"
--     signature   as one would write it
--     summary     one sentence
--     text        what else is worth knowing; paragraphs are separated by an empty line
--     parameters  list of { name, type, text, optional, default }
--     options     list of { name, type, default, unit, text }, the keys of the trailing options table
--     fields      list of { name, type, text, optional, unit }, for shapes and error codes
--     returns     list of { name, type, text }
--     iterates    list of { name, type }, instead of `returns`: what a generic `for` over the call yields
--     errors      codes that this call in particular may raise
--     touches     "read" or "write": it may also raise what every read or every write may (see `error_groups`)
--     example     runs after `prelude`; what it prints stands behind `-->`
--     files       list of { name, text }: files that the example needs
--     since       the version that brought it
-- and, for the type annotations only,
--     class       the name of a shape's class, and extends, that of the class it refines
--     options_class  the name of the class of the options; one class has the same options everywhere
--     overloads   further signatures
-- Types are written as the Lua language server writes them, with our own classes as capitalised words.

local since = "0.1"

-- Options that several calls share ---------------------------------------------------------------------------

local function option(name, type, default, text, unit)
  return { name = name, type = type, default = default, text = text, unit = unit }
end

local expected_when_writing = option("expected_stream_version", "Expectation", [["NO_CONCURRENCY_CHECK"]],
  "what the stream must look like for the write to happen: a version, `moonfold.STREAM_EXISTS` or "
  .. "`moonfold.STREAM_DOES_NOT_EXIST`; version 0 means that it does not exist")
local expected_when_reading = option("expected_stream_version", "Expectation", [["NO_CONCURRENCY_CHECK"]],
  "what the stream must look like; compared with its real version, whatever the range")
local from = option("from", "integer", "1", "first position, inclusive; past the end gives no events")
local to = option("to", "integer", "the end", "last position, inclusive")
local max_count = option("max_count", "integer", "all", "at most so many events; 0 means none")
local types = option("types", "string[]", "all", "only events of these types, as they were stored (before upcast)")
local backwards = option("backwards", "boolean", "false", "start at `to` and go down to `from`")
local only_forwards = option("backwards", "boolean", "false", "true is refused: a state is folded forwards")
local upcast = option("upcast", "table<string, Upcast>", "none",
  "by event type, a function that turns an old event into a present one")

local initial_state = option("initial_state", "any", "the decider's",
  "go on from this state, one of an earlier fold, which stays as it is; `from` says with which event")

local trace = option("trace", "Key[]", "none",
  "keys that lead to a part of the state, such as `{ \"items\", 2 }`, or `{}` for all of it: the result tells when it "
  .. "changed")
local check_shapes = option("check_shapes", "boolean", "false",
  "each event, after upcast, must have the shape that the decider's `events` declares; otherwise `script_error`")
local rolls = option("rolls", "number[]", "by chance",
  "for specs: what `context:random` returns, one after the other; each must be possible, and all are used")
local check_invariant = option("check_invariant", "boolean", "false",
  "the decider's `invariant` must hold after every event; otherwise `script_error`")

local inspect = option("inspect", "boolean", "false",
  "the result lists what is wrong with the fold: shapes, invariant, handlers that write to their event or are missing; "
  .. "nothing of it raises")
local as_of = option("as_of", "integer", "the end of the log",
  "a global position: decides as if the log had ended there, for this stream and all that the decision looks at; "
  .. "chance is what it was")

-- Options of what loads scripts.
local load_options = {
  option("params", "Value", "none", "what the scripts receive as `...`: rule tables, settings; copied"),
  option("budget", "integer", "10,000,000",
    "what a call may run, and the time that so much takes (60 ms of the processor's, and up to 20 ms for collecting "
    .. "garbage); 2,000 more for each event that it folds", "instructions of Lua's machine"),
  option("memory", "integer", "64 MiB", "what the sandbox may hold", "bytes"),
  option("keep_commands", "boolean|table", "false",
    "every command is kept with what came of it, see `store:commands`; `{ max_count =, max_age = }` bounds the "
    .. "number and the age in seconds of those that the store keeps, whoever has handled them"),
  option("cache", "integer|boolean", "4,096 states, and half of the memory",
    "how many folded states are kept, so that a command on a stream in use folds only what is new; false: none"),
  option("snapshots", "boolean", "true", "states of long streams are kept in the store; see `store:drop_snapshots`"),
  option("reload", "boolean", "false",
    "the scripts are loaded again, before a call, when a file has changed; what does not load leaves the old code "
    .. "running, tells the log, and stands in `decider.reload_problem`"),
  option("host", "table<string, fun(...): Value?>", "none",
    "functions that scripts call as `host.name(...)`; arguments and the result are copied. They must be pure, because "
    .. "a state is folded again and again: nothing but their arguments counts, and they have no effect"),
  option("host_version", "string", "\"\"",
    "of what those functions compute: part of the digests of scripts that use them, so that no state of another "
    .. "version is taken for one of this"),
  option("check_host", "boolean", "false",
    "each of those functions is called twice, and a difference fails the call: finds what is not pure"),
  option("log", "fun(line: string, place: table)", "nobody listens",
    "receives what scripts `print`, with a table of `phase`, `stream`, `position`, `event_type`, `command_type`, as "
    .. "far as they are known"),
}

-- A decider's file, for examples.
local counter_file = { name = "counter.lua", text = [[
local moonfold = require "moonfold"

return {
  category = "counter",
  initial_state = { count = 0 },
  evolve = { Counted = function(state, event) state.count = state.count + event.data end },
  decide = { Count = function(command) return moonfold.event("Counted", command.data) end },
}
]] }

local expectation_constant = "A value for the option `expected_stream_version`."

return {
  version = since,

  -- Codes that are not worth repeating at every call. `every` holds for every method of a store.
  error_groups = {
    every = { "invalid_argument", "closed", "no_memory" },
    read = { "busy", "corrupt", "io" },
    write = { "busy", "corrupt", "io", "read_only", "disk_full" },
  },

  -- What every example stands on.
  prelude = [[
local moonfold = require "moonfold"
local store <close> = moonfold.open(":memory:")

local cart = {
  initial_state = { total = 0 },
  evolve = {
    ItemAdded = function(state, event) state.total = state.total + event.data.price end,
  },
  decide = {
    AddItem = function(command, state)
      if state.total + command.data.price > 100 then
        moonfold.reject("cart_full", "a cart holds at most 100")
      end
      return moonfold.event("ItemAdded", command.data)
    end,
  },
}
]],

  -- Names for types that are no classes.
  aliases = {
    { name = "Value", type = "boolean|integer|number|string|table|lightuserdata|nil",
      text = "What can be stored: booleans, integers, floats, strings, `moonfold.null`, and tables of these." },
    { name = "Key", type = "string|integer", text = "A key of a table that can be stored." },
    { name = "Expectation", type = [[integer|"STREAM_EXISTS"|"STREAM_DOES_NOT_EXIST"|"NO_CONCURRENCY_CHECK"]],
      text = "What a stream must look like." },
    { name = "Evolve", type = "fun(state: any, event: RecordedEvent): any",
      text = "Folds one event into the state. Returning nothing keeps the state passed in." },
    { name = "Decide", type = "fun(command: Command, state: any, context: Context): Event|Event[]|nil",
      text = "Says what happens when a command arrives." },
    { name = "Upcast", type = "fun(event: RecordedEvent): Event",
      text = "Turns an old event into a present one." },
    { name = "Shape", type = "string|table",
      text = "What data must look like. A kind: `string`, `integer`, `number`, `boolean`, `table`, `null`, `any`; or "
        .. "several of them and texts in quotes: `\"integer|'all'\"`. A table of fields, and no others; a list, "
        .. "`{ \"string\" }`; a map, `{ [\"*\"] = \"integer\" }`, or with `\"[integer]\"` or `\"[string]\"` for the "
        .. "type of its keys. What may be absent ends in `?`: `note = \"string?\"`, `[\"address?\"] = { ... }`." },
    { name = "Invariant", type = "fun(state: any): boolean|string|nil, string?",
      text = "Says whether a state makes sense." },
    { name = "Rules", type = "string|Decider|LoadedDecider|Decider[]|fun(): Decider|Decider[]",
      text = "The path of a script or of a folder; or deciders; or a function that makes them anew." },
    { name = "Moment", type = "integer|{ version: integer? }|{ time: integer|string }",
      text = "A version, or a time: microseconds since 1970, or text such as `2026-11-25 18:30`, in UTC." },
    { name = "Given", type = "fun(events: Event|Event[]): Scenario",
      text = "Begins a scenario with what happened before." },
    { name = "Spec", type = "fun(decider: Decider|LoadedDecider, options?: SpecOptions): Given",
      text = "What `require \"moonfold.spec\"` returns." },
  },

  sections = {

    { name = "module", title = "The module", text = [[
`local moonfold = require "moonfold"`. Every function takes its options in one trailing table. Every option is
optional. An unknown one is an error that names its nearest neighbour.]],
      entries = {

        { name = "moonfold.open", kind = "function", since = since,
          signature = "moonfold.open(path [, options]) -> store",
          summary = "Opens a store: one file, created if it is missing.",
          text = [[
The path `":memory:"` opens a store that keeps nothing: for tests, for trying things. Opening one path twice in
a process is fine; both stores share one file and see each other's events at once. Processes may share a file,
too.

A store can be a to-be-closed variable (`local store <close> = ...`). One that is forgotten is closed by the
garbage collector.

The levels of durability: `"full"` promises that an append which has returned survives a power loss. `"relaxed"`
promises that the file is never corrupt, but the last appends may be lost with the power (not when just the
process dies). `"none"` promises nothing about power losses: for tests and caches. An opener that names no level
joins the one in use. Writers of `"none"` and writers of the other levels exclude each other.]],
          parameters = {
            { name = "path", type = "string", text = [[where the file is, or `":memory:"`]] },
          },
          options_class = "OpenOptions",
          options = {
            option("create", "boolean", "true", "make the file when it is missing; otherwise that is `not_found`"),
            option("read_only", "boolean", "false", "refuse every write with `read_only`"),
            option("durability", [["full"|"relaxed"|"none"]], [["full"]], "what survives a power loss"),
            option("clock", "fun(): integer", "the system's clock",
              "where `recorded_at` and a command's `time` come from; called once for each append or handle",
              "microseconds since 1970"),
            option("tamper_evident", "boolean", "false",
              "a store that is made gets a hash chain over its commits: see `moonfold.verify`"),
          },
          returns = { { name = "store", type = "Store" } },
          errors = { "invalid_argument", "not_found", "busy", "incompatible_format", "corrupt", "read_only", "io",
            "disk_full", "no_memory" },
          example = [[
local diary <close> = moonfold.open("diary.fold", { durability = "relaxed" })
diary:append_to_stream("today", { type = "Written", data = "It rained." })
print(diary:stream_version("today"))          --> 1
]] },

        { name = "moonfold.load_decider", kind = "function", since = since,
          signature = "moonfold.load_decider(path [, options]) -> decider",
          summary = "Loads a decider from a script file, to run in a sandbox.",
          text = [[
The script returns a decider. It runs in a Lua state of its own, where it can harm nobody: it reaches no file, no
clock and nothing of the program, `require` finds the modules of its own folder, and `budget` and `memory` bound
what a call may use (`budget_exceeded`). Commands, events and states cross as copies.

The object that is returned is taken wherever a decider is, and tells `name`, `category`, `path` and `upcast`.]],
          parameters = { { name = "path", type = "string", text = "the script file" } },
          options_class = "LoadOptions",
          options = load_options,
          returns = { { name = "decider", type = "LoadedDecider" } },
          errors = { "not_found", "io", "script_error", "budget_exceeded" },
          files = { counter_file },
          example = [[
local counter = moonfold.load_decider("counter.lua")
print(counter)                                                --> moonfold decider "counter" (counter.lua)
local result = store:handle("counter-1", counter, moonfold.command("Count", 2))
print(result.events[1].type, result.state.count)              --> Counted 2
]] },

        { name = "moonfold.verify", kind = "function", since = since,
          signature = "moonfold.verify(path [, options]) -> report",
          summary = "Checks everything in a store's file: pages, checksums, and that the log and its indexes agree.",
          text = [[
Others may read and write meanwhile. Damage is no error but a result: `report.sound` is false then, and
`report.problems` tells what is wrong and where. Whatever bytes the file holds, `verify` neither crashes nor loops.
Of a stream whose index differs from the log it names the first version that does, with the positions that log and
index have for it; so it does of the first five such streams, and of the others that they differ.

A store that was made with `tamper_evident = true` has a hash chain (BLAKE2b) over its commits: `report.link` stands
for all of its history. Write it down elsewhere. As long as `verify` with that `link` finds nothing, history up to it
is what it was then, whoever had the file meanwhile; without it, who can write the file can rewrite history.]],
          parameters = { { name = "path", type = "string", text = "the store's file" } },
          options_class = "VerifyOptions",
          options = {
            option("progress", "fun(done: integer, total: integer)", "none",
              "called now and then, with the pages seen so far and those that there are; an error in it ends the work"),
            option("link", "string", "none",
              "a link of a tamper-evident store that was written down: history must still lead to it"),
          },
          returns = { { name = "report", type = "VerifyReport" } },
          errors = { "not_found", "incompatible_format", "io", "no_memory" },
          example = [[
store:append_to_stream("cart-1", { moonfold.event("ItemAdded"), moonfold.event("ItemAdded") })
store:backup("copy.fold")
local report = moonfold.verify("copy.fold")
print(report.sound, report.events, report.commits, #report.problems)     --> true 2 1 0
]] },

        { name = "moonfold.salvage", kind = "function", since = since,
          signature = "moonfold.salvage(path, new_path [, options]) -> report",
          summary = "Makes a new store of what can be read of a damaged one, which is not changed.",
          text = [[
Commits come back whole or not at all, and nothing comes back that differs from what was recorded. It works on files
that cannot be opened any more: every page is looked at. Nobody may write to the damaged file meanwhile.

A log has no holes: commits behind lost ones move up. `report.renumbered` tells that this happened; then every event
keeps the `message_id` that it had, and positions, and versions in streams that lost events, are smaller than they
were. `report.losses` names what is missing, in the old numbers.]],
          parameters = {
            { name = "path", type = "string", text = "the damaged file" },
            { name = "new_path", type = "string", text = "the new store; it must not exist" },
          },
          options_class = "SalvageOptions",
          options = {
            option("progress", "fun(done: integer, total: integer)", "none",
              "called now and then, with how far it is; an error in it ends the work, and leaves no new store"),
          },
          returns = { { name = "report", type = "SalvageReport" } },
          errors = { "not_found", "corrupt", "disk_full", "io", "no_memory" },
          example = [[
store:append_to_stream("cart-1", { moonfold.event("ItemAdded"), moonfold.event("ItemAdded") })
store:backup("copy.fold")
local report = moonfold.salvage("copy.fold", "new.fold")
print(report.events, report.lost_events, report.renumbered)              --> 2 0 false
]] },

        { name = "moonfold.compact", kind = "function", since = since,
          signature = "moonfold.compact(path)",
          summary = "Replaces a store's file by a compacted copy, which is verified first.",
          text = [[
Free pages go; they come from what was rewritten, and would be used again. Nobody may have the store open, in this
process or another: that is `busy`, and so is opening it meanwhile. There must be room for both files. A power cut
leaves the one or the other.]],
          parameters = { { name = "path", type = "string", text = "the store's file" } },
          returns = {},
          errors = { "not_found", "busy", "corrupt", "disk_full", "io", "no_memory" },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))
store:backup("copy.fold")
moonfold.compact("copy.fold")
print(moonfold.verify("copy.fold").free_pages)                           --> 0
]] },

        { name = "moonfold.event", kind = "function", since = since,
          signature = "moonfold.event(type [, data [, metadata]]) -> event",
          summary = "Makes an event: short for writing the table.",
          parameters = {
            { name = "type", type = "string", text = "what happened, in the past tense; 1 to 200 bytes" },
            { name = "data", type = "Value", optional = true, text = "the facts" },
            { name = "metadata", type = "Value", optional = true, text = "facts about the fact" },
          },
          returns = { { name = "event", type = "Event" } },
          errors = { "invalid_argument" },
          example = [[
local event = moonfold.event("ItemAdded", { price = 30 })
print(event.type, event.data.price)           --> ItemAdded 30
]] },

        { name = "moonfold.command", kind = "function", since = since,
          signature = "moonfold.command(type [, data [, metadata]]) -> command",
          summary = "Makes a command: short for writing the table.",
          parameters = {
            { name = "type", type = "string", text = "what is wanted, as an order; 1 to 200 bytes" },
            { name = "data", type = "Value", optional = true, text = "its arguments" },
            { name = "metadata", type = "Value", optional = true,
              text = "`correlation_id` is passed on to the events" },
          },
          returns = { { name = "command", type = "Command" } },
          errors = { "invalid_argument" },
          example = [[
local command = moonfold.command("AddItem", { price = 30 })
print(command.type, command.data.price)       --> AddItem 30
]] },

        { name = "moonfold.reject", kind = "function", since = since,
          signature = "moonfold.reject(reason [, message [, detail]])",
          summary = "Refuses the command that is being decided: nothing is recorded.",
          text = [[
It raises the error `rejected` and so never returns. `store:attempt` hands it back as a value instead. A refusal
is an everyday outcome, no accident: give it a reason that a program can compare and a message that a person can
read.]],
          parameters = {
            { name = "reason", type = "string", text = "a short, stable word for programs" },
            { name = "message", type = "string", optional = true, text = "a sentence for people" },
            { name = "detail", type = "Value", optional = true, text = "whatever else the caller should know" },
          },
          returns = {},
          errors = { "rejected", "invalid_argument" },
          example = [[
local door = {
  initial_state = { open = true },
  evolve = { Closed = function(state) state.open = false end },
  decide = {
    Close = function(_, state)
      if not state.open then moonfold.reject("already_closed") end
      return moonfold.event("Closed")
    end,
  },
}
store:handle("door", door, moonfold.command("Close"))
local _, rejection = store:attempt("door", door, moonfold.command("Close"))
print(rejection.reason)                       --> already_closed
]] },

        { name = "moonfold.null", kind = "constant", type = "lightuserdata", since = since,
          signature = "moonfold.null",
          summary = "JSON's null, a value that says \"nothing\" where nil would say \"absent\".",
          text = "It stays what it is when it is stored and read. Compare it with `==`.",
          example = [[
store:append_to_stream("note", moonfold.event("Edited", { title = moonfold.null }))
print(store:read_stream("note").events[1].data.title == moonfold.null)   --> true
]] },

        { name = "moonfold.array", kind = "function", since = since,
          signature = "moonfold.array([t]) -> t",
          summary = "Marks a table as a list, so that it stays a list when it is empty.",
          text = [[
A table with the keys 1 to n is a list by itself. Only an empty one is in doubt: unmarked it is stored as a map,
`{}` in JSON; marked it is a list, `[]`. An empty list that was read is marked already.]],
          parameters = {
            { name = "t", type = "table", optional = true, text = "the table to mark; a new one when absent" },
          },
          returns = { { name = "t", type = "table", text = "the same table" } },
          errors = { "invalid_argument" },
          example = [[
print(moonfold.to_json({ items = {} }))                     --> {"items":{}}
print(moonfold.to_json({ items = moonfold.array() }))       --> {"items":[]}
]] },

        { name = "moonfold.hash", kind = "function", since = since,
          signature = "moonfold.hash(value) -> string",
          summary = "Hashes a value's canonical encoding: equal values have equal hashes.",
          text = "The order in which a table's keys were set does not matter. `1` and `1.0` are different values.",
          parameters = { { name = "value", type = "Value", text = "anything that can be stored" } },
          returns = { { name = "hash", type = "string" } },
          errors = { "invalid_argument" },
          example = [[
print(moonfold.hash({ a = 1, b = 2 }) == moonfold.hash({ b = 2, a = 1 }))   --> true
print(moonfold.hash({ a = 1 }) == moonfold.hash({ a = 1.0 }))               --> false
]] },

        { name = "moonfold.to_json", kind = "function", since = since,
          signature = "moonfold.to_json(value) -> string",
          summary = "Writes a value as JSON: sorted keys, no spaces.",
          text = [[
Integers are exact, to 64 bits. Floats always have a `.` or an `e`, so that they come back as floats. Integer
keys of a map become strings. JSON has no NaN, no infinities and no text but UTF-8: these are refused, with the
path of the value.]],
          parameters = { { name = "value", type = "Value", text = "anything that can be stored" } },
          returns = { { name = "text", type = "string" } },
          errors = { "invalid_argument" },
          example = [[
print(moonfold.to_json({ name = "Ada", seen = 9007199254740993, ratio = 1.0 }))
--> {"name":"Ada","ratio":1.0,"seen":9007199254740993}
]] },

        { name = "moonfold.from_json", kind = "function", since = since,
          signature = "moonfold.from_json(text) -> value",
          summary = "Reads a value from JSON; null becomes `moonfold.null`.",
          parameters = { { name = "text", type = "string", text = "one JSON value" } },
          returns = { { name = "value", type = "Value" } },
          errors = { "invalid_argument" },
          example = [[
local value = moonfold.from_json('{"items":[],"price":2.50,"note":null}')
print(value.price, value.note == moonfold.null, #value.items)   --> 2.5 true 0
]] },

        { name = "moonfold.STREAM_EXISTS", kind = "constant", type = "\"STREAM_EXISTS\"", since = since,
          signature = "moonfold.STREAM_EXISTS",
          summary = "The expectation that the stream has at least one event.",
          text = expectation_constant,
          example = [[
local ok, err = pcall(store.append_to_stream, store, "cart-1", moonfold.event("ItemAdded"),
  { expected_stream_version = moonfold.STREAM_EXISTS })
print(ok, err.code, err.current)              --> false version_conflict 0
]] },

        { name = "moonfold.STREAM_DOES_NOT_EXIST", kind = "constant", type = "\"STREAM_DOES_NOT_EXIST\"", since = since,
          signature = "moonfold.STREAM_DOES_NOT_EXIST",
          summary = "The expectation that the stream has no event yet: this write begins it.",
          text = expectation_constant,
          example = [[
local options = { expected_stream_version = moonfold.STREAM_DOES_NOT_EXIST }
store:append_to_stream("user-ada", moonfold.event("Registered"), options)
print(pcall(store.append_to_stream, store, "user-ada", moonfold.event("Registered"), options) == false)   --> true
]] },

        { name = "moonfold.NO_CONCURRENCY_CHECK", kind = "constant", type = "\"NO_CONCURRENCY_CHECK\"", since = since,
          signature = "moonfold.NO_CONCURRENCY_CHECK",
          summary = "The expectation that is always met; the default.",
          text = expectation_constant,
          example = [[
local options = { expected_stream_version = moonfold.NO_CONCURRENCY_CHECK }
print(store:append_to_stream("log", moonfold.event("Noted"), options).created_new_stream)   --> true
]] },

        { name = "moonfold._VERSION", kind = "constant", type = "string", since = since,
          signature = "moonfold._VERSION",
          summary = "The library's name and version.",
          example = [[
print(moonfold._VERSION)                      --> Moonfold 0.1.0
]] },
      } },

    { name = "store", title = "The store", class = "Store", text = [[
What `moonfold.open` returns. Positions, versions and times are integers. The first event of a stream has
position 1; a stream's version is the position of its last event; a stream that does not exist has version 0.]],
      entries = {

        { name = "store:append_to_stream", kind = "method", since = since, touches = "write",
          signature = "store:append_to_stream(stream, events [, options]) -> result",
          summary = "Records events at the end of a stream: all of them, or none.",
          text = [[
The stream begins with its first event; there is nothing to create. An empty list records nothing and is no
error, but its expectation is checked.

Events can carry a `message_id` of your own. It is unique in the store: appending the same event to the same
stream again changes nothing and answers with the original positions, so a retry is safe. Anything else under
that id is `id_conflict`.]],
          parameters = {
            { name = "stream", type = "string", text = "the stream's name, 1 to 400 bytes" },
            { name = "events", type = "Event|Event[]", text = "one event or a list" },
          },
          options_class = "AppendOptions",
          options = { expected_when_writing },
          returns = { { name = "result", type = "AppendResult" } },
          errors = { "version_conflict", "id_conflict" },
          example = [[
local result = store:append_to_stream("cart-1", {
  { type = "ItemAdded", data = { price = 30 } },
  { type = "ItemAdded", data = { price = 12 } },
})
print(result.next_expected_stream_version, result.created_new_stream)   --> 2 true
]] },

        { name = "store:read_stream", kind = "method", since = since, touches = "read",
          signature = "store:read_stream(stream [, options]) -> result",
          summary = "Reads events of one stream into a list.",
          text = [[
A stream that does not exist gives an empty list. `current_stream_version` is the stream's real version,
whatever the range.]],
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          options_class = "ReadOptions",
          options = { from, to, max_count, types, backwards, expected_when_reading, upcast },
          returns = { { name = "result", type = "ReadResult" } },
          errors = { "version_conflict", "script_error" },
          example = [[
for price = 1, 5 do store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = price })) end
local last = store:read_stream("cart-1", { backwards = true, max_count = 2 })
print(last.events[1].data.price, last.events[2].data.price)   --> 5 4
print(#last.events, last.current_stream_version)              --> 2 5
]] },

        { name = "store:events", kind = "method", since = since, touches = "read",
          signature = "for event in store:events(stream [, options]) do ... end",
          summary = "Walks through the events of one stream, a batch at a time.",
          text = [[
It needs little memory, however long the stream. It ends at the version that the stream had at the start:
appending inside the loop is allowed. Leaving early, by `break`, `return` or an error, leaves nothing behind.]],
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          options_class = "ReadOptions",
          options = { from, to, max_count, types, backwards, expected_when_reading, upcast },
          iterates = { { name = "event", type = "RecordedEvent" } },
          errors = { "version_conflict", "script_error" },
          example = [[
store:append_to_stream("cart-1", { moonfold.event("ItemAdded"), moonfold.event("Paid") })
for event in store:events("cart-1") do
  print(event.stream_position, event.type)
end
--> 1 ItemAdded
--> 2 Paid
]] },

        { name = "store:all_events", kind = "method", since = since, touches = "read",
          signature = "for event in store:all_events([options]) do ... end",
          summary = "Walks through everything that ever happened, in the order in which it was committed.",
          text = "Global positions are 1, 2, 3 and so on, without gaps. `from` and `to` are global positions here.",
          parameters = {},
          options_class = "AllEventsOptions",
          options = { from, to, max_count, types, backwards, upcast },
          iterates = { { name = "event", type = "RecordedEvent" } },
          errors = { "script_error" },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))
store:append_to_stream("cart-2", moonfold.event("ItemAdded"))
for event in store:all_events({ from = 2 }) do
  print(event.global_position, event.stream_name)             --> 2 cart-2
end
]] },

        { name = "store:aggregate_stream", kind = "method", since = since, touches = "read",
          signature = "store:aggregate_stream(stream, aggregate [, options]) -> result",
          summary = "Folds the events of a stream into a state.",
          text = [[
With `to`, it travels in time: the state as it was then. `current_stream_version` is the version at which that
state stands, while `expected_stream_version` is compared with the stream's real version.]],
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "aggregate", type = "Aggregate|Decider|LoadedDecider",
              text = "`initial_state`, `evolve` and perhaps `upcast`" },
          },
          options_class = "AggregateOptions",
          options = { from, to, max_count, types, only_forwards, expected_when_reading, upcast, initial_state, trace,
            check_shapes, check_invariant, inspect },
          returns = { { name = "result", type = "AggregateResult" } },
          errors = { "version_conflict", "script_error" },
          example = [[
store:append_to_stream("cart-1", {
  moonfold.event("ItemAdded", { price = 30 }), moonfold.event("ItemAdded", { price = 12 }),
})
print(store:aggregate_stream("cart-1", cart).state.total)                 --> 42
print(store:aggregate_stream("cart-1", cart, { to = 1 }).state.total)     --> 30
]] },

        { name = "store:aggregate_streams", kind = "method", since = since, touches = "read",
          signature = "store:aggregate_streams(folds [, options]) -> results",
          summary = "Folds many streams, and reads the log once for all of them.",
          text = [[
The events of all these streams are read in the order of the log, each block of it once, and are in memory while they
are folded: up to 32 MiB and 262,144 events; streams for which there is no room are read one by one. So a few thousand
short streams are a good number, and so is folding a stream several times. The folds are done in the order of the list,
each as by `store:aggregate_stream`. One that fails raises nothing: its error is its result's `failure`.]],
          parameters = {
            { name = "folds", type = "Fold[]", text = "what to fold, by which rules, how far" },
          },
          options_class = "AggregateStreamsOptions",
          options = {
            option("state", "boolean", "true", "return the states; false spares the copies"),
            option("hash", "boolean", "false", "return `moonfold.hash` of the states, which must be storable then"),
          },
          returns = { { name = "results", type = "FoldResult[]", text = "one for each fold, in their order" } },
          errors = {},
          example = [[
for i = 1, 2 do store:append_to_stream("cart-" .. i, moonfold.event("ItemAdded", { price = 21 * i })) end
local results = store:aggregate_streams { { stream = "cart-1", decider = cart }, { stream = "cart-2", decider = cart } }
print(results[1].state.total, results[2].state.total)         --> 21 42
]] },

        { name = "store:stream_exists", kind = "method", since = since, touches = "read",
          signature = "store:stream_exists(stream) -> boolean",
          summary = "Tells whether a stream has events.",
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          returns = { { name = "exists", type = "boolean" } },
          errors = {},
          example = [[
print(store:stream_exists("cart-1"))          --> false
]] },

        { name = "store:stream_version", kind = "method", since = since, touches = "read",
          signature = "store:stream_version(stream) -> integer",
          summary = "Tells how many events a stream has; 0 when it does not exist.",
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          returns = { { name = "version", type = "integer" } },
          errors = {},
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))
print(store:stream_version("cart-1"), store:stream_version("cart-2"))   --> 1 0
]] },

        { name = "store:streams", kind = "method", since = since, touches = "read",
          signature = "for name, version in store:streams([prefix]) do ... end",
          summary = "Walks through the streams whose names begin with a prefix, in byte order.",
          parameters = { { name = "prefix", type = "string", optional = true, text = "all streams when absent" } },
          iterates = { { name = "name", type = "string" }, { name = "version", type = "integer" } },
          errors = {},
          example = [[
store:append_to_stream("user-ada", moonfold.event("Registered"))
store:append_to_stream("cart-2", moonfold.event("ItemAdded"))
store:append_to_stream("cart-1", { moonfold.event("ItemAdded"), moonfold.event("Paid") })
for name, version in store:streams("cart-") do print(name, version) end
--> cart-1 2
--> cart-2 1
]] },

        { name = "store:handle", kind = "method", since = since, touches = "write",
          signature = "store:handle(stream [, decider], command [, options]) -> result",
          summary = "Lets a decider decide on a command, and records the events it decides on.",
          text = [[
Folding, deciding and recording are one transaction: nobody can write in between. So there is no conflict to
handle and nothing to retry.

A list of commands is handled in order, each on the state that the ones before it left, and is appended at once:
all or nothing. The decided events are folded before they are recorded. An event type that `evolve` does not
know is `unknown_event_type`: a typo must not be kept for ever.

A command can carry a `command_id`. The same command again, to the same stream, answers with the original
result. Every event gets `metadata.causation_id`, the command's id, when it has one, and its `correlation_id`.]],
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "decider", type = "Decider|LoadedDecider",
              text = "the rules of the stream; left out after `store:use`" },
            { name = "command", type = "Command|Command[]", text = "one command or a list" },
          },
          overloads = {
            "fun(self: Store, stream: string, command: Command|Command[], options?: HandleOptions): HandleResult",
          },
          options_class = "HandleOptions",
          options = {
            expected_when_writing,
            option("state", "boolean", "true", "put the new state into the result; false spares the copy"),
            check_invariant, rolls,
          },
          returns = { { name = "result", type = "HandleResult" } },
          errors = { "rejected", "version_conflict", "unknown_command_type", "unknown_event_type", "id_conflict",
            "script_error" },
          example = [[
local result = store:handle("cart-1", cart, moonfold.command("AddItem", { price = 30 }))
print(result.events[1].type, result.state.total)              --> ItemAdded 30
]] },

        { name = "store:attempt", kind = "method", since = since, touches = "write",
          signature = "store:attempt(stream [, decider], command [, options]) -> result | nil, rejection",
          summary = "Is `store:handle`, but a refusal is returned instead of raised.",
          text = "Everything else that can go wrong still raises.",
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "decider", type = "Decider|LoadedDecider",
              text = "the rules of the stream; left out after `store:use`" },
            { name = "command", type = "Command|Command[]", text = "one command or a list" },
          },
          overloads = {
            "fun(self: Store, stream: string, command: Command|Command[], options?: HandleOptions): "
              .. "HandleResult?, Error?",
          },
          options_class = "HandleOptions",
          options = {
            expected_when_writing,
            option("state", "boolean", "true", "put the new state into the result; false spares the copy"),
            check_invariant, rolls,
          },
          returns = {
            { name = "result", type = "HandleResult?" },
            { name = "rejection", type = "Error?", text = "the error object of `rejected`" },
          },
          errors = { "version_conflict", "unknown_command_type", "unknown_event_type", "id_conflict",
            "script_error" },
          example = [[
local result, rejection = store:attempt("cart-1", cart, moonfold.command("AddItem", { price = 500 }))
print(result, rejection.reason)               --> nil cart_full
print(rejection.message)                      --> a cart holds at most 100
]] },

        { name = "store:decide", kind = "method", since = since, touches = "read",
          signature = "store:decide(stream [, decider], command [, options]) -> result",
          summary = "Is `store:handle`, but records nothing: what would happen?",
          text = [[
For buttons to grey out, and for looking ahead. It works on a snapshot and on a read-only store, and writes
nothing.]],
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "decider", type = "Decider|LoadedDecider",
              text = "the rules of the stream; left out after `store:use`" },
            { name = "command", type = "Command|Command[]", text = "one command or a list" },
          },
          overloads = {
            "fun(self: Store, stream: string, command: Command|Command[], options?: DecideOptions): HandleResult",
          },
          options_class = "DecideOptions",
          options = {
            expected_when_writing,
            option("state", "boolean", "true", "put the new state into the result; false spares the copy"),
            check_invariant, rolls, as_of,
          },
          returns = { { name = "result", type = "HandleResult" } },
          errors = { "rejected", "version_conflict", "unknown_command_type", "unknown_event_type", "id_conflict",
            "script_error" },
          example = [[
local result = store:decide("cart-1", cart, moonfold.command("AddItem", { price = 30 }))
print(result.state.total, store:stream_exists("cart-1"))      --> 30 false
]] },

        { name = "store:use", kind = "method", since = since,
          signature = "store:use(path [, options]) -> domain",
          summary = "Loads a folder of deciders, which this store's streams then find by their category.",
          text = [[
A decider of the category `"cart"` owns the streams `cart-*`; of two that fit, the one with the longer category.
From then on `handle`, `attempt`, `decide` and `aggregate_stream` do without a decider. A decider that is given
nevertheless comes first.

Every script of the folder that returns a decider is loaded, all of them into one sandbox; `*_spec.lua` is not, and
other scripts are there for `require`. Either everything loads, or nothing is in use. The path may name one file.
Using the same path again loads it anew; two deciders of one category are refused.]],
          parameters = { { name = "path", type = "string", text = "a folder of scripts, or one script" } },
          options_class = "LoadOptions",
          options = load_options,
          returns = { { name = "domain", type = "Domain" } },
          errors = { "not_found", "io", "script_error", "budget_exceeded" },
          files = { { name = "rules/counter.lua", text = counter_file.text } },
          example = [[
local domain = store:use("rules")
print(domain)                                                 --> moonfold domain "rules" (counter)
store:handle("counter-1", moonfold.command("Count", 2))
print(store:aggregate_stream("counter-1").state.count)        --> 2
local ok, err = pcall(store.aggregate_stream, store, "conter-1")
print(err.message)
--> stream: no decider in use has the category of "conter-1": did you mean "counter-..."?; there is counter
]] },

        { name = "store:transaction", kind = "method", since = since, touches = "write",
          signature = "store:transaction(function(store) ... end [, options]) -> its results",
          summary = "Runs a function whose writes all commit together, or not at all.",
          text = [[
Every call on the store inside the function joins, through the argument or not. It reads what it wrote. When the
function raises, nothing stays and its error comes out unchanged. A call that fails inside leaves no trace of
itself, so you may catch its error and go on.

With `dry_run` it is a what-if: the function sees a snapshot and what it wrote itself, and in the end none of it is
kept. It waits for no writer, nobody else ever sees anything of it, and it works on a read-only store, too.

Refused inside: another transaction, a yield out of the function, `close`, `wait` and `backup`. `disk_full`,
`io`, `corrupt` and `no_memory` doom the transaction: they cannot be caught and forgotten.]],
          parameters = {
            { name = "f", type = "fun(store: Store): ...", text = "what to do; it receives the store" },
          },
          options_class = "TransactionOptions",
          options = {
            option("dry_run", "boolean", "false", "keep nothing of it in the end"),
          },
          returns = { { name = "...", type = "any", text = "what the function returned" } },
          errors = {},
          example = [[
store:transaction(function()
  store:append_to_stream("account-ada", moonfold.event("Withdrawn", { amount = 10 }))
  store:append_to_stream("account-bob", moonfold.event("Deposited", { amount = 10 }))
end)
print(store:stream_version("account-ada"), store:stream_version("account-bob"))   --> 1 1
]] },

        { name = "store:wait", kind = "method", since = since, touches = "read",
          signature = "store:wait(position [, timeout]) -> boolean",
          summary = "Waits until the log has reached a global position, whoever writes it.",
          parameters = {
            { name = "position", type = "integer", text = "a global position" },
            { name = "timeout", type = "number", optional = true,
              text = "in seconds; 0 only looks; for ever when absent" },
          },
          returns = { { name = "reached", type = "boolean", text = "false when the time ran out first" } },
          errors = {},
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))
print(store:wait(1), store:wait(2, 0.01))     --> true false
]] },

        { name = "store:backup", kind = "method", since = since, touches = "read",
          signature = "store:backup(path)",
          summary = "Writes a consistent, compacted copy of the store to a new file, while others go on writing.",
          text = "The copy is synced, and verified as `moonfold.verify` does, before it takes its name.",
          parameters = { { name = "path", type = "string", text = "where the copy goes" } },
          returns = {},
          errors = { "disk_full" },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))
store:backup("copy.fold")
local copy <close> = moonfold.open("copy.fold", { read_only = true })
print(copy:stream_version("cart-1"))          --> 1
]] },

        { name = "store:code", kind = "method", since = since, touches = "read",
          signature = "store:code(digest) -> code or nil",
          summary = "The code that decided an event: its sources, as they were then.",
          text = [[
Every event that a loaded decider records carries the digest of its script, and the store keeps the sources of every
digest that it has seen. So "which code decided this?" has an answer years later, whatever has become of the files.]],
          parameters = {
            { name = "digest", type = "string", text = "32 hexadecimal digits, as in `event.code_digest`" },
          },
          returns = { { name = "code", type = "Code", optional = true, text = "nil when the store has not seen it" } },
          errors = { "invalid_argument" },
          files = { counter_file },
          example = [[
local counter = moonfold.load_decider("counter.lua")
local event = store:handle("counter-1", counter, moonfold.command("Count", 2)).events[1]
local code = store:code(event.code_digest)
print(code.path, #code.sources, event.code_digest == counter.digest)   --> counter.lua 1 true
]] },

        { name = "store:codes", kind = "method", since = since, touches = "read",
          signature = "store:codes() -> list of code",
          summary = "All code that has decided something in this store, the oldest first, without its sources.",
          parameters = {},
          returns = { { name = "codes", type = "Code[]" } },
          errors = {},
          files = { counter_file },
          example = [[
store:handle("counter-1", moonfold.load_decider("counter.lua"), moonfold.command("Count", 2))
print(#store:codes(), store:codes()[1].path)  --> 1 counter.lua
]] },

        { name = "store:commands", kind = "method", since = since, touches = "read",
          signature = "store:commands([options]) -> iterator",
          summary = "The commands that were kept, in the order of their time.",
          text = [[
A decider that was loaded with `keep_commands` keeps every command that it handles with the decision: accepted in the
transaction of its events, refused in one of its own (or the one that is open). What failed, and what
`store:decide` only looked at, is not kept.]],
          parameters = {},
          options = {
            option("since", "integer", "all", "the first time", "microseconds since 1970"),
            option("prefix", "string", "all", "what the names of their streams begin with"),
          },
          options_class = "CommandsOptions",
          returns = { { name = "iterator", type = "fun(): KeptCommand?" } },
          errors = { "invalid_argument" },
          files = { counter_file },
          example = [[
local counter = moonfold.load_decider("counter.lua", { keep_commands = true })
store:handle("counter-1", counter, moonfold.command("Count", 2))
for kept in store:commands { prefix = "counter-" } do
  print(kept.type, kept.data, kept.outcome, kept.events)      --> Count 2 accepted 1
end
]] },

        { name = "store:kept", kind = "method", since = since, touches = "read",
          signature = "store:kept() -> counts",
          summary = "How much stands in the store beside its events: code, snapshots, commands.",
          parameters = {},
          returns = { { name = "counts", type = "table",
            text = "`codes`, `code_bytes`, `snapshots`, `snapshot_bytes`, `commands`, `command_bytes`" } },
          errors = {},
          example = [[
print(store:kept().codes, store:kept().snapshots)             --> 0 0
]] },

        { name = "store:drop_snapshots", kind = "method", since = since, touches = "write",
          signature = "store:drop_snapshots([fold_digest]) -> count",
          summary = "Drops the snapshots of one fold, or all of them.",
          text = [[
A snapshot is a folded state that spares folding a long stream again. Loaded deciders take and find them by
themselves: one is taken when 1,000 events (in a read: 10,000) have been folded since the last, and its size is at most
16 bytes for each of these. It takes the place of the last one of its fold, and
a stream keeps those of four folds: when one more comes, which may be that of another process, the one that was taken
first goes. Whatever is odd about one makes it as good as missing, so that dropping them costs nothing but time.]],
          parameters = {
            { name = "fold_digest", type = "string", optional = true, text = "`decider.fold_digest`; without it: all" },
          },
          returns = { { name = "count", type = "integer", text = "how many there were" } },
          errors = { "read_only" },
          example = [[
print(store:drop_snapshots())                 --> 0
]] },

        { name = "store:close", kind = "method", since = since,
          signature = "store:close()",
          summary = "Closes the store; closing twice is fine.",
          text = [[
A to-be-closed variable and the garbage collector do it, too. After it every call raises `closed`.]],
          parameters = {},
          returns = {},
          errors = {},
          example = [[
store:close()
store:close()
local ok, err = pcall(store.stream_exists, store, "cart-1")
print(ok, err.code)                           --> false closed
]] },
      } },

    { name = "history", title = "History: travel in time", class = "History", text = [[
`local history = require "moonfold.history"` tells how a state came to be, and what would happen if. A history is
made of a store and its rules. It only reads.]],
      entries = {

        { name = "history.of", kind = "function", since = since,
          signature = "history.of(store, deciders) -> past",
          summary = "Makes the history of a store.",
          text = [[
With several deciders, a stream belongs to the one whose category its name begins with: `cart-1` to the category
`cart`.]],
          parameters = {
            { name = "store", type = "Store", text = "the store" },
            { name = "deciders", type = "Decider|Decider[]|Domain|fun(stream: string): Decider",
              text = "the rules: a decider, a list of them, what `store:use` returned, or a function that gives the "
                .. "one for a stream" },
          },
          returns = { { name = "past", type = "History" } },
          errors = { "invalid_argument" },
          example = [[
local history = require "moonfold.history"
store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = 30 }))
print(history.of(store, cart):at("cart-1").state.total)       --> 30
]] },

        { name = "history.changes", kind = "function", since = since,
          signature = "history.changes(before, after) -> changes",
          summary = "Tells how one value became another.",
          parameters = {
            { name = "before", type = "any", text = "a value" },
            { name = "after", type = "any", text = "what became of it" },
          },
          returns = {
            { name = "changes", type = "Change[]", text = "in the order of their paths; empty when they are equal" },
          },
          errors = {},
          example = [[
local history = require "moonfold.history"
for _, change in ipairs(history.changes({ items = { "tea", "cup" }, total = 3 }, { items = { "cup" }, total = 0 })) do
  print(change.kind, change.path, change.before)
end
--> removed items[1] tea
--> changed total 3
]] },

        { name = "history:at", kind = "method", since = since, touches = "read",
          signature = "past:at(stream [, moment]) -> step",
          summary = "Tells the state at a version or a time, the event that led to it, and what that changed.",
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "moment", type = "Moment", optional = true, text = "a version, or a time; now when absent" },
          },
          returns = { { name = "step", type = "Step" } },
          errors = { "not_found", "script_error" },
          example = [[
local past = require("moonfold.history").of(store, cart)
store:append_to_stream("cart-1", { moonfold.event("ItemAdded", { price = 30 }), moonfold.event("Paid") })
print(past:at("cart-1", 1).state.total, past:at("cart-1", 1).event.type)              --> 30 ItemAdded
print(past:at("cart-1", { time = "2000-01-01 12:00" }).state.total)                   --> 0
]] },

        { name = "history:diff", kind = "method", since = since, touches = "read",
          signature = "past:diff(left, right) -> changes, left, right",
          summary = "Tells what is different between two versions, two streams or two scripts.",
          parameters = {
            { name = "left", type = "string|Place", text = "a stream, or a place: a stream, a moment, a decider" },
            { name = "right", type = "string|Place",
              text = "what it does not say is as in `left`; without a moment: now" },
          },
          returns = {
            { name = "changes", type = "Change[]" },
            { name = "left", type = "table", text = "`{ stream_name, version, state }`" },
            { name = "right", type = "table", text = "the same for the right side" },
          },
          errors = { "not_found", "script_error" },
          example = [[
local past = require("moonfold.history").of(store, cart)
for price = 1, 3 do store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = price })) end
local changes = past:diff({ stream = "cart-1", version = 1 }, { version = 3 })
print(changes[1].path, changes[1].before, changes[1].after)   --> total 1 6
]] },

        { name = "history:why", kind = "method", since = since, touches = "read",
          signature = "past:why(stream, path [, options]) -> steps",
          summary = "Tells every event that changed a part of the state, and how.",
          text = [[
A path is written as in Lua: `total`, `items[2].qty`, `slots[-1]["a key"]`; the empty path is the whole state. A
list of keys will do, too. The steps have no `state`.]],
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "path", type = "string|Key[]", text = "the part of the state" },
          },
          options_class = "RangeOptions",
          options = { from, to },
          returns = { { name = "steps", type = "Step[]", text = "empty when nothing ever changed it" } },
          errors = { "not_found", "script_error" },
          example = [[
local past = require("moonfold.history").of(store, cart)
store:append_to_stream("cart-1", { moonfold.event("Seen"), moonfold.event("ItemAdded", { price = 30 }) })
for _, step in ipairs(past:why("cart-1", "total")) do
  print(step.version, step.event.type, step.changes[1].before, step.changes[1].after)   --> 2 ItemAdded 0 30
end
]] },

        { name = "history:find", kind = "method", since = since, touches = "read",
          signature = "past:find(stream, predicate [, options]) -> step | nil",
          summary = "Finds the first event after which predicate(state) holds.",
          text = [[
All states are looked at, one after the other. A predicate that goes on to hold once it does is `monotonic`: then
about as many states are looked at as the number of events has binary digits. With `path` the predicate is given
that part of the state, and only where it changes: that is much faster when the state is large. With `fields` it is
given a table that has only these, and only where one of them changes.]],
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "predicate", type = "fun(state: any): boolean", text = "what should hold" },
          },
          options_class = "FindOptions",
          options = {
            from, to,
            option("monotonic", "boolean", "false", "once it holds, it holds from then on"),
            option("path", "string|Key[]", "the whole state", "what the predicate is given"),
            option("fields", "Key[]", "all", "what the table has that the predicate is given"),
          },
          returns = { { name = "step", type = "Step?" } },
          errors = { "not_found", "script_error" },
          example = [[
local past = require("moonfold.history").of(store, cart)
for price = 1, 9 do store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = price })) end
print(past:find("cart-1", function(state) return state.total > 10 end).version)        --> 5
print(past:find("cart-1", function(total) return total < 0 end, { path = "total" }))   --> nil
]] },

        { name = "history:walk", kind = "method", since = since, touches = "read",
          signature = "past:walk(stream [, options]) -> walk",
          summary = "Begins a walk through a stream, event by event, forth and back.",
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          options_class = "RangeOptions",
          options = { from, to },
          returns = { { name = "walk", type = "Walk", text = "for a `for` loop, or to be led by hand" } },
          errors = { "not_found" },
          example = [[
local past = require("moonfold.history").of(store, cart)
store:append_to_stream("cart-1", { moonfold.event("ItemAdded", { price = 30 }), moonfold.event("Paid") })
for step in past:walk("cart-1") do print(step.event.type, #step.changes, step.state.total) end
--> ItemAdded 1 30
--> Paid 0 30
]] },

        { name = "history:try", kind = "method", since = since, touches = "read",
          signature = "past:try(stream, command) -> outcome",
          summary = "Tells what would be decided on a command now, and what would become of the state.",
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "command", type = "Command|Command[]", text = "one command or a list" },
          },
          returns = {
            { name = "outcome", type = "table",
              text = "`{ events, state, changes, rejection }`, the last one when the decider refuses" },
          },
          errors = { "unknown_command_type", "unknown_event_type", "script_error" },
          example = [[
local past = require("moonfold.history").of(store, cart)
local outcome = past:try("cart-1", moonfold.command("AddItem", { price = 30 }))
print(outcome.events[1].type, outcome.state.total)            --> ItemAdded 30
print(past:try("cart-1", moonfold.command("AddItem", { price = 300 })).rejection.reason)   --> cart_full
]] },

        { name = "history:fixture", kind = "method", since = since, touches = "read",
          signature = "past:fixture(stream [, options]) -> text",
          summary = "Makes a spec from recorded history: with as few events as still show the state.",
          text = [[
The text is a file for `moonfold.spec` and busted. It loads the decider's script from its own folder.]],
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          options_class = "FixtureOptions",
          options = {
            option("version", "integer", "the last", "the version whose state is shown"),
            option("time", "integer|string", "now", "the time whose state is shown, instead"),
            option("script", "string", "the decider's name and `.lua`",
              "the file that the spec loads the decider from"),
          },
          returns = { { name = "text", type = "string" } },
          errors = { "not_found", "script_error" },
          example = [[
local past = require("moonfold.history").of(store, cart)
store:append_to_stream("cart-1", { moonfold.event("ItemAdded", { price = 30 }), moonfold.event("Seen") })
local text = past:fixture("cart-1")
print(text:match("given {%s+(.-),%s+}"))                      --> event("ItemAdded", { price = 30 })
]] },

        { name = "history:branch", kind = "method", since = since,
          signature = "past:branch() -> branch",
          summary = "Makes a branch: a what-if on top of the store.",
          parameters = {},
          returns = { { name = "branch", type = "Branch" } },
          errors = {},
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
branch:handle("cart-1", moonfold.command("AddItem", { price = 30 }))
print(branch:at("cart-1").state.total, store:stream_exists("cart-1"))   --> 30 false
]] },

        { name = "history:decider", kind = "method", since = since,
          signature = "past:decider(stream) -> decider",
          summary = "Gives the rules of a stream.",
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          returns = { { name = "decider", type = "Decider" } },
          errors = { "not_found" },
          example = [[
local past = require("moonfold.history").of(store, cart)
print(past:decider("cart-1") == cart)                         --> true
]] },

        { name = "history:run", kind = "method", since = since,
          signature = "past:run(function(store) ... end) -> its results",
          summary = "Calls a function with the store that this history tells of; a branch gives what it makes of it.",
          parameters = { { name = "f", type = "fun(store: Store): ...", text = "what to do; it receives the store" } },
          returns = { { name = "...", type = "any", text = "what the function returned" } },
          errors = {},
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
branch:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = 30 }))
print(branch:run(function(dreamt) return dreamt:stream_version("cart-1") end))   --> 1
print(store:stream_version("cart-1"))                         --> 0
]] },
      } },

    { name = "walk", title = "A walk", class = "Walk", text = [[
What `past:walk` returns. It stands before its first event; `for step in walk do` goes to the end. Its field
`version` tells where it stands.]],
      entries = {

        { name = "walk:next", kind = "method", since = since, touches = "read",
          signature = "walk:next() -> step | nil",
          summary = "Goes to the next event; nil at the end.",
          parameters = {},
          returns = { { name = "step", type = "Step?" } },
          errors = { "script_error" },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = 30 }))
local walk = require("moonfold.history").of(store, cart):walk("cart-1")
print(walk:next().state.total, walk:next())                   --> 30 nil
]] },

        { name = "walk:previous", kind = "method", since = since, touches = "read",
          signature = "walk:previous() -> step | nil",
          summary = "Goes back to the event before; nil at the beginning.",
          parameters = {},
          returns = { { name = "step", type = "Step?" } },
          errors = { "script_error" },
          example = [[
for price = 1, 3 do store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = price })) end
local walk = require("moonfold.history").of(store, cart):walk("cart-1")
walk:go(3)
print(walk:previous().state.total, walk:previous().state.total, walk:previous())   --> 3 1 nil
]] },

        { name = "walk:go", kind = "method", since = since, touches = "read",
          signature = "walk:go(version) -> step",
          summary = "Goes to the event with this version.",
          parameters = { { name = "version", type = "integer", text = "where to go" } },
          returns = { { name = "step", type = "Step" } },
          errors = { "script_error" },
          example = [[
for price = 1, 3 do store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = price })) end
print(require("moonfold.history").of(store, cart):walk("cart-1"):go(2).state.total)   --> 3
]] },
      } },

    { name = "branch", title = "A branch", class = "Branch", text = [[
What `past:branch` returns. It has every method of a history, told of the branch. A branch is the list of what was
done in it; when it is looked at, all of that is done again on the store as it then is. Commands are decided anew
when somebody has written meanwhile. Nothing of it is ever recorded, and nothing is held open.]],
      entries = {

        { name = "branch:append_to_stream", kind = "method", since = since, touches = "read",
          signature = "branch:append_to_stream(stream, events [, options]) -> result",
          summary = "Is `store:append_to_stream`, in the branch.",
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "events", type = "Event|Event[]", text = "one event or a list" },
          },
          options_class = "AppendOptions",
          options = { expected_when_writing },
          returns = { { name = "result", type = "AppendResult" } },
          errors = { "version_conflict", "id_conflict" },
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
branch:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = 30 }))
print(branch:at("cart-1").version)                            --> 1
]] },

        { name = "branch:handle", kind = "method", since = since, touches = "read",
          signature = "branch:handle(stream, command [, options]) -> result",
          summary = "Lets the stream's decider decide, in the branch; as `store:handle`.",
          text = "However often it is decided again, the command keeps the time at which it was first given.",
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "command", type = "Command", text = "the command" },
          },
          options_class = "HandleOptions",
          options = {
            expected_when_writing,
            option("state", "boolean", "true", "put the new state into the result; false spares the copy"),
            check_invariant, rolls,
          },
          returns = { { name = "result", type = "HandleResult" } },
          errors = { "rejected", "version_conflict", "unknown_command_type", "unknown_event_type", "id_conflict",
            "script_error" },
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
print(branch:handle("cart-1", moonfold.command("AddItem", { price = 30 })).state.total)   --> 30
]] },

        { name = "branch:attempt", kind = "method", since = since, touches = "read",
          signature = "branch:attempt(stream, command [, options]) -> result | nil, rejection",
          summary = "Is `branch:handle`, but a refusal is returned, and remembered for a spec.",
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "command", type = "Command", text = "the command" },
          },
          options_class = "HandleOptions",
          options = {
            expected_when_writing,
            option("state", "boolean", "true", "put the new state into the result; false spares the copy"),
            check_invariant, rolls,
          },
          returns = {
            { name = "result", type = "HandleResult?" },
            { name = "rejection", type = "Error?", text = "the error object of `rejected`" },
          },
          errors = { "version_conflict", "unknown_command_type", "unknown_event_type", "id_conflict", "script_error" },
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
local _, rejection = branch:attempt("cart-1", moonfold.command("AddItem", { price = 500 }))
print(rejection.reason)                                       --> cart_full
]] },

        { name = "branch:compare", kind = "method", since = since, touches = "read",
          signature = "branch:compare() -> differences",
          summary = "Tells what is different from the real store.",
          parameters = {},
          returns = {
            { name = "differences", type = "table[]",
              text = "for each stream that was written to: `{ stream_name, real_version, version, events, changes }`" },
          },
          errors = { "script_error" },
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
branch:handle("cart-1", moonfold.command("AddItem", { price = 30 }))
local difference = branch:compare()[1]
print(difference.stream_name, difference.real_version, difference.version)   --> cart-1 0 1
print(difference.changes[1].path, difference.changes[1].after)               --> total 30
]] },

        { name = "branch:spec", kind = "method", since = since, touches = "read",
          signature = "branch:spec(stream [, options]) -> text",
          summary = "Gives the commands of the branch on a stream as a given/when/expect spec that passes.",
          text = [[
Each command becomes one scenario, with the events before it, what was decided, and the state that followed. Streams
that the decider looks at through its context are part of the scenario.]],
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          options_class = "BranchSpecOptions",
          options = {
            option("script", "string", "the decider's name and `.lua`",
              "the file that the spec loads the decider from"),
          },
          returns = { { name = "text", type = "string" } },
          errors = { "script_error" },
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
branch:handle("cart-1", moonfold.command("AddItem", { price = 30 }))
print(branch:spec("cart-1"):match(":when[^\n]*"))             --> :when(command("AddItem", { price = 30 }))
]] },

        { name = "branch:drop", kind = "method", since = since,
          signature = "branch:drop()",
          summary = "Forgets all that was done: the branch is the store again.",
          parameters = {},
          returns = {},
          errors = {},
          example = [[
local branch = require("moonfold.history").of(store, cart):branch()
branch:handle("cart-1", moonfold.command("AddItem", { price = 30 }))
branch:drop()
print(#branch:compare())                                      --> 0
]] },
      } },

    { name = "check", title = "Check: what would this edit change?", class = "Check", text = [[
`local check = require "moonfold.check"` folds what a store holds with some rules and tells what is wrong with them, and
what is different from other rules. It only reads. `moonfold check` is the same as a command, on all processors.]],
      entries = {

        { name = "check.run", kind = "function", since = since, touches = "read",
          signature = "check.run(store, rules [, options]) -> report",
          summary = "Folds all streams in several fresh states, decides kept commands again, and tells what it found.",
          text = [[
Each stream is folded under inspection (option `inspect` of `store:aggregate_stream`), and again in another state, in
another order and in pieces, as the store does it every day. The log is read in its order, once for all folds of every
65,536 events (see `store:aggregate_streams`). Where two folds end differently, fresh states tell whether
the rules are nondeterministic or hide a state. For that, rules are made anew: from a path, by a function. A decider
that is given as a table has no fresh states, so that all its divergences count as nondeterministic.

With `against` every stream is folded by the old rules, too, unless their `fold_digest` is the same: the findings tell
the event from which on the states differ, and how they differ in the end. With `decide` every kept command is decided
again at the version at which it was decided, on what the log held then; without `against` the decision is compared with
the one that was made.

A finding is no error: `report.sound` is false then.]],
          parameters = {
            { name = "store", type = "Store", text = "the store" },
            { name = "rules", type = "Rules",
              text = "the path of a script or a folder; or deciders; or a function that makes them. A stream belongs "
                .. "to the decider whose category its name begins with; to a single one without a category all do" },
          },
          options_class = "CheckOptions",
          options = {
            option("against", "Rules", "none", "the old rules"),
            option("decide", "boolean", "false", "decide kept commands again; see `store:commands`"),
            option("params", "Value", "none", "what scripts receive as `...`"),
            option("against_params", "Value", "none", "the same for the old rules"),
            option("since", "integer", "all",
              "only streams in which something was recorded, and commands that were handled, at this time or later",
              "microseconds since 1970"),
            option("stream", "string", "all", "what the names of the streams begin with"),
            option("share", "{ index: integer, count: integer }", "all",
              "looks only at this one of so many parts of the streams, for processes that share the work"),
            option("progress", "fun(events: integer)", "none", "called now and then, with what was done since"),
            option("finding", "fun(finding: Finding)", "none", "receives the findings, which are not listed then"),
          },
          returns = { { name = "report", type = "CheckReport" } },
          errors = { "not_found", "script_error" },
          example = [[
local check = require "moonfold.check"
store:append_to_stream("cart-1", { moonfold.event("ItemAdded", { price = 30 }), moonfold.event("Paid") })
local dearer = {
  initial_state = { total = 0 },
  evolve = { ItemAdded = function(state, event) state.total = state.total + event.data.price * 2 end, Paid = false },
}
for _, finding in ipairs(check.run(store, dearer, { against = cart }).findings) do print(check.describe(finding)) end
--> different: cart-1, event 1 (ItemAdded): total: 30 -> 60
]] },

        { name = "check.describe", kind = "function", since = since,
          signature = "check.describe(finding) -> text",
          summary = "A finding in one line.",
          parameters = { { name = "finding", type = "Finding", text = "of a report" } },
          returns = { { name = "text", type = "string" } },
          errors = {},
          example = [[
local check = require "moonfold.check"
store:append_to_stream("cart-1", moonfold.event("Paid"))
print(check.describe(check.run(store, cart).findings[1]))
--> no_handler: cart-1, event 1 (Paid): evolve has no handler; write Paid = false if it changes nothing
]] },

        { name = "check.place", kind = "function", since = since,
          signature = "check.place(finding) -> text",
          summary = "Where a finding was made: its event, its command or its line of code.",
          parameters = { { name = "finding", type = "Finding", text = "of a report" } },
          returns = { { name = "text", type = "string" } },
          errors = {},
          example = [[
print(require("moonfold.check").place { kind = "failing", position = 3, event_type = "Paid" })   --> event 3 (Paid)
]] },

        { name = "check.text", kind = "function", since = since,
          signature = "check.text(finding) -> text",
          summary = "What a finding says, without its kind and its place.",
          parameters = { { name = "finding", type = "Finding", text = "of a report" } },
          returns = { { name = "text", type = "string" } },
          errors = {},
          example = [[
print(require("moonfold.check").text { kind = "invariant", message = "too low" })   --> too low
]] },

        { name = "check.kinds", kind = "constant", type = "string[][]", since = since,
          signature = "check.kinds",
          summary = "The kinds of findings, in the order of their weight: a list of `{ kind, what it means }`.",
          example = [[
print(require("moonfold.check").kinds[2][1])  --> nondeterministic
]] },
      } },

    { name = "context", title = "The context of a decision", class = "Context", text = [[
The third argument of `decide`. It looks into other streams, inside the same transaction: one decision may rest
on several streams and still be consistent. It cannot write.]],
      entries = {

        { name = "context:aggregate_stream", kind = "method", since = since, touches = "read",
          signature = "context:aggregate_stream(stream, decider [, options]) -> result",
          summary = "Folds another stream, as `store:aggregate_stream` does.",
          parameters = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "decider", type = "Aggregate|Decider|LoadedDecider",
              text = "`initial_state`, `evolve` and perhaps `upcast`" },
          },
          options_class = "AggregateOptions",
          options = { from, to, max_count, types, only_forwards, expected_when_reading, upcast, initial_state, trace,
            check_shapes, check_invariant, inspect },
          returns = { { name = "result", type = "AggregateResult" } },
          errors = { "version_conflict", "script_error" },
          example = [[
local stock = { initial_state = 0, evolve = { Delivered = function(count, event) return count + event.data end } }
local order = {
  initial_state = {},
  evolve = { Ordered = false },
  decide = function(command, _, context)
    if context:aggregate_stream("stock-tea", stock).state < command.data then moonfold.reject("sold_out") end
    return moonfold.event("Ordered", command.data)
  end,
}
store:append_to_stream("stock-tea", moonfold.event("Delivered", 2))
print(store:attempt("order-1", order, moonfold.command("Order", 3)) == nil)            --> true
print(#store:handle("order-1", order, moonfold.command("Order", 2)).events)           --> 1
]] },

        { name = "context:stream_exists", kind = "method", since = since, touches = "read",
          signature = "context:stream_exists(stream) -> boolean",
          summary = "Tells whether a stream has events.",
          parameters = { { name = "stream", type = "string", text = "the stream's name" } },
          returns = { { name = "exists", type = "boolean" } },
          errors = {},
          example = [[
local friend = {
  initial_state = {},
  evolve = { Invited = false },
  decide = function(command, _, context)
    if not context:stream_exists("user-" .. command.data) then moonfold.reject("nobody") end
    return moonfold.event("Invited", command.data)
  end,
}
local _, rejection = store:attempt("friend-1", friend, moonfold.command("Invite", "bob"))
print(rejection.reason)                       --> nobody
]] },

        { name = "context:random", kind = "method", since = since,
          signature = "context:random([m [, n]]) -> number",
          summary = "Rolls dice as `math.random` does: the same command at the same version rolls the same.",
          text = [[
Without arguments a float from 0 up to 1, with one an integer from 1 to m, with two one from m to n. The seed is
made of the stream, its version and the command, so a decision can be repeated. Record what was rolled in the
event: `evolve` has no dice.]],
          parameters = {
            { name = "m", type = "integer", optional = true },
            { name = "n", type = "integer", optional = true },
          },
          returns = { { name = "number", type = "number" } },
          overloads = {
            "fun(self: Context): number", "fun(self: Context, m: integer): integer",
            "fun(self: Context, m: integer, n: integer): integer",
          },
          errors = {},
          example = [[
local dice = {
  initial_state = {},
  evolve = { Rolled = false },
  decide = function(_, _, context) return moonfold.event("Rolled", context:random(1, 6)) end,
}
local roll = { type = "Roll", time = 0 }
local first = store:decide("dice", dice, roll).events[1].data
local again = store:decide("dice", dice, roll).events[1].data
print(first == again, first >= 1 and first <= 6)              --> true true
]] },
      } },

    { name = "shapes", title = "Shapes", text = [[
Tables that go in and come out. What goes in is checked: an unknown key is an error that names its nearest
neighbour.]],
      entries = {

        { name = "Event", kind = "shape", class = "Event", since = since,
          signature = "{ type, data, metadata, message_id }",
          summary = "Something that happened, about to be recorded.",
          text = [[
Only `type` is required. An event that was read can be appended again: what the store had added to it is
ignored.]],
          fields = {
            { name = "type", type = "string", text = "what happened; 1 to 200 bytes" },
            { name = "data", type = "Value", optional = true, text = "the facts" },
            { name = "metadata", type = "Value", optional = true, text = "facts about the fact: who, why" },
            { name = "message_id", type = "string", optional = true,
              text = "an id of your own, unique in the store; 1 to 200 bytes" },
          },
          example = [[
store:append_to_stream("cart-1", { type = "ItemAdded", data = { price = 30 }, metadata = { user = "ada" } })
]] },

        { name = "RecordedEvent", kind = "shape", class = "RecordedEvent", extends = "Event", since = since,
          signature = "{ type, data, metadata, stream_name, stream_position, global_position, message_id, "
            .. "recorded_at, code_digest }",
          summary = "An event that was read: what was appended, and where and when it was recorded.",
          text = "It is yours: keep it, change it. The store's copy cannot be changed.",
          fields = {
            { name = "type", type = "string", text = "what happened" },
            { name = "data", type = "Value", optional = true, text = "the facts" },
            { name = "metadata", type = "Value", optional = true, text = "facts about the fact" },
            { name = "stream_name", type = "string", text = "its stream" },
            { name = "stream_position", type = "integer", text = "its place in the stream, from 1" },
            { name = "global_position", type = "integer",
              text = "its place in the whole log, from 1, without gaps" },
            { name = "message_id", type = "string", text = "its id; made by the store if you gave none" },
            { name = "recorded_at", type = "integer", unit = "microseconds since 1970",
              text = "when it was recorded" },
            { name = "code_digest", type = "string", optional = true,
              text = "the digest of the loaded decider that decided it; see `store:code`" },
          },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = 30 }))
local event = store:read_stream("cart-1").events[1]
print(event.stream_name, event.stream_position, event.global_position)   --> cart-1 1 1
]] },

        { name = "Command", kind = "shape", class = "Command", since = since,
          signature = "{ type, data, metadata, command_id, time }",
          summary = "Something that is wanted.",
          fields = {
            { name = "type", type = "string", text = "what is wanted; 1 to 200 bytes" },
            { name = "data", type = "Value", optional = true, text = "its arguments" },
            { name = "metadata", type = "Value", optional = true,
              text = "`correlation_id` is passed on to the events" },
            { name = "command_id", type = "string", optional = true,
              text = "makes a retry safe: the same command again answers with the original result; 1 to 200 bytes" },
            { name = "time", type = "integer", optional = true, unit = "microseconds since 1970",
              text = "when it was given; filled in by the store's clock" },
          },
          example = [[
local command = { type = "AddItem", data = { price = 30 }, command_id = "click-1" }
store:handle("cart-1", cart, command)
store:handle("cart-1", cart, command)         -- the same click, sent twice
print(store:stream_version("cart-1"))         --> 1
]] },

        { name = "Decider", kind = "shape", class = "Decider", extends = "Aggregate", since = since,
          signature = "{ name, category, initial_state, evolve, decide, upcast, events, commands, invariant }",
          summary = "The rules of one kind of stream: how events become a state, how commands become events.",
          text = [[
Only what a call needs must be there: `decide` for handling, `evolve` and `initial_state` for folding.

An old event whose type the table `evolve` lacks leaves the state as it is. An entry `false` says: recorded,
changes nothing. When `evolve` is a function, it receives every event. `decide` returns an event, a list, or
nothing; it refuses with `moonfold.reject`.

`decide` and `invariant` only look at the state. Those of a script that was loaded are given a read-only view of it: a
write raises `script_error`, with the path. Those of a table are given the state itself and must not write to it: what
they changed would be seen by the rest of the call.

`events` and `commands` declare by type what data looks like. Declared once, it need not be asked about again: a
command of another shape is `invalid_argument` before `decide` sees it, an event that `decide` made of another shape is
`script_error`, and nothing is recorded. The message names the field, and the nearest one for a misspelt name. A type
that is not declared is not checked; `Closed = {}` says that there is no data. `store:append_to_stream` asks no decider
and checks no shape.

`invariant` says what is true of every state. It is asked after every event by specs, and by the option
`check_invariant`; nothing else pays for it. It is broken when it returns false, a message, or both, or raises an error.
All is well when it returns true or nothing.]],
          fields = {
            { name = "name", type = "string", optional = true, text = "for messages and tools" },
            { name = "category", type = "string", optional = true,
              text = "`\"cart\"`: it owns the streams `cart-*`" },
            { name = "initial_state", type = "any",
              text = "a value, copied for each fold, or a function that makes one; not nil" },
            { name = "evolve", type = "Evolve|table<string, Evolve|false>",
              text = "`(state, event) -> state`, or a table of such functions by event type; returning nil keeps the "
                .. "state passed in" },
            { name = "decide", type = "Decide|table<string, Decide>", optional = true,
              text = "`(command, state, context) -> event, list or nil`, or a table of such functions by command "
                .. "type" },
            { name = "upcast", type = "table<string, Upcast>", optional = true,
              text = "by event type, a function that turns an old event into a present one; may change the type, too" },
            { name = "events", type = "table<string, Shape>", optional = true,
              text = "by event type, the shape of its data" },
            { name = "commands", type = "table<string, Shape>", optional = true,
              text = "by command type, the shape of its data" },
            { name = "invariant", type = "Invariant", optional = true,
              text = "`(state) -> true`, or false and a message, for what is true of every state" },
          },
          example = [[
local counter = {
  initial_state = 0,
  evolve = { Counted = function(count, event) return count + event.data.by end },
  decide = { Count = function(command) return moonfold.event("Counted", { by = command.data.by }) end },
  commands = { Count = { by = "integer" } },
  invariant = function(count) return count >= 0, "it counts up only" end,
}
print(store:handle("counter-1", counter, moonfold.command("Count", { by = 2 })).state)   --> 2
local ok, err = pcall(store.handle, store, "counter-1", counter, moonfold.command("Count", { bye = 2 }))
print(err.message)                            --> command.data.bye: there is no such field: did you mean "by"?
]] },

        { name = "LoadedDecider", kind = "shape", class = "LoadedDecider", since = since,
          signature = "{ name, category, path, upcast, event_types, command_types, digest, fold_digest }",
          summary = "A decider that was loaded from a script; taken wherever a decider is.",
          text = [[
It cannot be changed but by its script. `initial_state`, `evolve` and `decide` stay in the sandbox.

Its digests are taken over the tokens of the code, so that comments and layout do not change them, and everything that
can change an outcome does. Caches and snapshots are kept by `fold_digest`: no state that another code has folded is
ever used. Where what a fold reaches cannot be told from the rest, it stands for the whole script.]],
          fields = {
            { name = "name", type = "string", optional = true, text = "as the script says" },
            { name = "category", type = "string", optional = true, text = "as the script says" },
            { name = "path", type = "string", text = "the script's file" },
            { name = "digest", type = "string",
              text = "of the script, of all that it requires, and of its parameters" },
            { name = "fold_digest", type = "string",
              text = "of what a state depends on: `initial_state`, `evolve`, `upcast` and what they reach" },
            { name = "fold_doubt", type = "string", optional = true,
              text = "why `fold_digest` stands for the whole script" },
            { name = "reload", type = "fun(self: LoadedDecider): boolean",
              text = "loads its files again, all or nothing, and tells whether there is other code now; what does not "
                .. "load raises, and the old code goes on. Code that comes back finds the states that it had kept" },
            { name = "reload_problem", type = "string", optional = true,
              text = "why the last attempt to load its files again has failed" },
            { name = "snapshot_refusal", type = "string", optional = true,
              text = "why the last state that was worth a snapshot could not be stored: aliases, metatables" },
            { name = "inexact", type = "table[]",
              text = "where the code uses `^`, which differs in the last bit between processors: a list of "
                .. "`{ path, line }`; squares, `x^2`, are exact" },
            { name = "upcast", type = "table<string, Upcast>", optional = true,
              text = "for the option `upcast` of what reads events" },
            { name = "event_types", type = "table<string, boolean>", optional = true,
              text = "where `evolve` is a table: the types that it knows; false for those that change nothing" },
            { name = "command_types", type = "table<string, boolean>", optional = true,
              text = "where `decide` is a table: the types that it knows" },
          },
          files = { counter_file },
          example = [[
local counter = moonfold.load_decider("counter.lua")
print(counter.name, counter.category, counter.path)           --> nil counter counter.lua
print(counter.event_types.Counted, counter.command_types.Count)   --> true true
]] },

        { name = "KeptCommand", kind = "shape", class = "KeptCommand", extends = "Command", since = since,
          signature = "{ type, data, metadata, command_id, time, stream_name, recorded_at, outcome, ... }",
          summary = "A command that was handled, and what came of it.",
          fields = {
            { name = "stream_name", type = "string", text = "the stream that it was for" },
            { name = "recorded_at", type = "integer", unit = "microseconds since 1970", text = "when it was handled" },
            { name = "outcome", type = "string", text = '`"accepted"` or `"rejected"`' },
            { name = "events", type = "integer", optional = true, text = "accepted: how many were recorded" },
            { name = "first_position", type = "integer", optional = true,
              text = "accepted: the global position of the first one" },
            { name = "reason", type = "string", optional = true, text = "rejected: the reason" },
            { name = "message", type = "string", optional = true, text = "rejected: for people" },
            { name = "detail", type = "Value", optional = true, text = "rejected: what else was said" },
            { name = "stream_version", type = "integer", text = "the stream's version that was decided on" },
            { name = "global_position", type = "integer", text = "how far the log had come" },
            { name = "reads", type = "table<string, integer>", optional = true,
              text = "the versions of other streams that the decision looked at" },
            { name = "seed", type = "string", text = "of its chance" },
            { name = "code_digest", type = "string", text = "the code that decided; see `store:code`" },
          },
          files = { counter_file },
          example = [[
local counter = moonfold.load_decider("counter.lua", { keep_commands = { max_count = 1000, max_age = 86400 } })
store:handle("counter-1", counter, moonfold.command("Count", 2))
for kept in store:commands() do print(kept.stream_version, kept.first_position) end   --> 0 1
]] },

        { name = "Code", kind = "shape", class = "Code", since = since,
          signature = "{ digest, name, path, first_seen, params, sources }",
          summary = "Code that has decided something.",
          fields = {
            { name = "digest", type = "string", text = "of the whole script" },
            { name = "name", type = "string", optional = true, text = "as the script says" },
            { name = "path", type = "string", text = "the script's file" },
            { name = "first_seen", type = "integer", unit = "microseconds since 1970",
              text = "when it first decided something in this store" },
            { name = "params", type = "Value", optional = true, text = "what it was loaded with" },
            { name = "sources", type = "table[]",
              text = "`{ path, module, text }` of the script, then of the modules that it required" },
          },
          files = { counter_file },
          example = [[
local counter = moonfold.load_decider("counter.lua")
store:handle("counter-1", counter, moonfold.command("Count", 2))
print(store:code(counter.digest).sources[1].path)             --> counter.lua
]] },

        { name = "Domain", kind = "shape", class = "Domain", since = since,
          signature = "{ path, deciders, decider_of, reload }",
          summary = "What `store:use` has loaded.",
          fields = {
            { name = "path", type = "string", text = "what was loaded" },
            { name = "deciders", type = "LoadedDecider[]", text = "in the order of their files" },
            { name = "reload", type = "fun(self: Domain): boolean",
              text = "as in a loaded decider, for all of them; a category that another domain in use has is refused" },
            { name = "decider_of", type = "fun(self: Domain, stream: string): LoadedDecider?",
              text = "the decider that owns a stream" },
          },
          files = { { name = "rules/counter.lua", text = counter_file.text } },
          example = [[
local domain = store:use("rules")
print(domain.path, #domain.deciders)                          --> rules 1
print(domain:decider_of("counter-1").category, domain:decider_of("cart-1"))   --> counter nil
]] },

        { name = "Aggregate", kind = "shape", class = "Aggregate", since = since,
          signature = "{ initial_state, evolve, upcast }",
          summary = "The half of a decider that folds; every decider is one.",
          fields = {
            { name = "initial_state", type = "any",
              text = "a value, copied for each fold, or a function that makes one; not nil" },
            { name = "evolve", type = "Evolve|table<string, Evolve|false>", text = "as in a decider" },
            { name = "upcast", type = "table<string, Upcast>", optional = true, text = "as in a decider" },
          },
          example = [[
local latest = { initial_state = "", evolve = function(_, event) return event.type end }
store:append_to_stream("door", { moonfold.event("Opened"), moonfold.event("Closed") })
print(store:aggregate_stream("door", latest).state)           --> Closed
]] },

        { name = "AppendResult", kind = "shape", class = "AppendResult", since = since,
          signature = "{ next_expected_stream_version, created_new_stream, last_event_global_position }",
          summary = "What `store:append_to_stream` returns.",
          fields = {
            { name = "next_expected_stream_version", type = "integer",
              text = "the stream's version after the append" },
            { name = "created_new_stream", type = "boolean", text = "whether this append began the stream" },
            { name = "last_event_global_position", type = "integer", optional = true,
              text = "of the last event recorded; nil when none was" },
          },
          example = [[
local result = store:append_to_stream("cart-1", {})
print(result.next_expected_stream_version, result.last_event_global_position)   --> 0 nil
]] },

        { name = "ReadResult", kind = "shape", class = "ReadResult", since = since,
          signature = "{ events, current_stream_version, stream_exists }",
          summary = "What `store:read_stream` returns.",
          fields = {
            { name = "events", type = "RecordedEvent[]", text = "in the order asked for" },
            { name = "current_stream_version", type = "integer",
              text = "the stream's version, whatever the range" },
            { name = "stream_exists", type = "boolean", text = "whether the stream has events at all" },
          },
          example = [[
local result = store:read_stream("cart-1")
print(#result.events, result.current_stream_version, result.stream_exists)   --> 0 0 false
]] },

        { name = "AggregateResult", kind = "shape", class = "AggregateResult", since = since,
          signature = "{ state, current_stream_version, stream_exists, trace, findings }",
          summary = "What `store:aggregate_stream` returns.",
          fields = {
            { name = "state", type = "any", text = "what the events fold into" },
            { name = "current_stream_version", type = "integer",
              text = "the version at which the state stands" },
            { name = "stream_exists", type = "boolean", text = "whether the stream has events at all" },
            { name = "trace", type = "table[]", optional = true,
              text = "with the option `trace`: a list of `{ version, value }`, one for each event that changed the "
                .. "part; no value means that it was not there any more" },
            { name = "findings", type = "table<string, Finding>", optional = true,
              text = "with the option `inspect`: the first of each kind, and of each type without a handler" },
          },
          example = [[
store:append_to_stream("cart-1", { moonfold.event("ItemAdded", { price = 1 }), moonfold.event("Paid") })
print(store:aggregate_stream("cart-1", cart, { to = 1 }).current_stream_version)   --> 1
]] },

        { name = "Fold", kind = "shape", class = "Fold", since = since,
          signature = "{ stream, decider, to, inspect }",
          summary = "What `store:aggregate_streams` is to fold.",
          fields = {
            { name = "stream", type = "string", text = "the stream's name" },
            { name = "decider", type = "Aggregate|Decider|LoadedDecider", text = "the rules" },
            { name = "to", type = "integer", optional = true, text = "the last version to fold; else all" },
            { name = "inspect", type = "boolean", optional = true,
              text = "as the option `inspect` of `store:aggregate_stream`" },
          },
          example = [[
store:append_to_stream("cart-1", { moonfold.event("ItemAdded", { price = 1 }), moonfold.event("Paid") })
local folds = { { stream = "cart-1", decider = cart, to = 1 }, { stream = "cart-1", decider = cart, inspect = true } }
print(store:aggregate_streams(folds)[2].findings["no_handler Paid"].position)   --> 2
]] },

        { name = "FoldResult", kind = "shape", class = "FoldResult", since = since,
          signature = "{ state, hash, current_stream_version, findings, failure }",
          summary = "What came of one of the folds of `store:aggregate_streams`.",
          fields = {
            { name = "state", type = "any", optional = true, text = "what the events fold into" },
            { name = "hash", type = "string", optional = true, text = "of the state, with the option `hash`" },
            { name = "current_stream_version", type = "integer", optional = true,
              text = "the version at which the state stands" },
            { name = "findings", type = "table<string, Finding>", optional = true, text = "of an inspection" },
            { name = "failure", type = "any", optional = true,
              text = "what the fold raised; the other fields are absent then" },
          },
          example = [[
local broken = { initial_state = 0, evolve = function() error("no") end }
store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = 1 }))
local results = store:aggregate_streams { { stream = "cart-1", decider = broken }, { stream = "x", decider = cart } }
print(results[1].failure.code, results[2].current_stream_version)   --> script_error 0
]] },

        { name = "HandleResult", kind = "shape", class = "HandleResult", since = since,
          signature = "{ events, state, next_expected_stream_version, created_new_stream, last_event_global_position }",
          summary = "What `store:handle`, `store:attempt` and `store:decide` return.",
          fields = {
            { name = "events", type = "RecordedEvent[]",
              text = "the events decided on; empty when nothing happened" },
            { name = "state", type = "any", optional = true,
              text = "the state after them; nil with the option `state = false`" },
            { name = "next_expected_stream_version", type = "integer",
              text = "the stream's version after them" },
            { name = "created_new_stream", type = "boolean", text = "whether they began the stream" },
            { name = "last_event_global_position", type = "integer", optional = true,
              text = "of the last event recorded; nil when none was" },
          },
          example = [[
local add = moonfold.command("AddItem", { price = 30 })
local result = store:handle("cart-1", cart, { add, add }, { state = false })
print(#result.events, result.state)           --> 2 nil
]] },

        { name = "VerifyReport", kind = "shape", class = "VerifyReport", since = since,
          signature = "{ sound, problems, parts, events, commits, streams, ... }",
          summary = "What `moonfold.verify` returns.",
          fields = {
            { name = "sound", type = "boolean", text = "whether nothing is wrong" },
            { name = "problems", type = "table[]",
              text = "the first 100: `{ part, message, position, stream, page }`; the last three may be nil" },
            { name = "problem_count", type = "integer", text = "how many there are" },
            { name = "parts", type = "table<string, integer>",
              text = "how many there are of each part: `pages`, `log`, `streams`, `types`, `ids`, `chain`, `beside`" },
            { name = "tamper_evident", type = "boolean", text = "whether the store has a hash chain over its commits" },
            { name = "link", type = "string", optional = true,
              text = "that of the last commit, `POSITION:HEX`; nil without a chain, or without events" },
            { name = "events", type = "integer", text = "in the log" },
            { name = "commits", type = "integer", text = "that recorded them" },
            { name = "streams", type = "integer", text = "in the index" },
            { name = "types", type = "integer", text = "of events" },
            { name = "ids", type = "integer", text = "of messages and commands, in the index" },
            { name = "beside", type = "integer", text = "what is kept beside the log: code, snapshots, commands" },
            { name = "bytes", type = "integer", text = "of the file" },
            { name = "pages", type = "integer", text = "of the file" },
            { name = "free_pages", type = "integer", text = "of those: they are used for what is recorded next" },
          },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))
store:backup("copy.fold")
print(moonfold.verify("copy.fold").parts.log)                            --> 0
]] },

        { name = "Step", kind = "shape", class = "Step", since = since,
          signature = "{ stream_name, version, event, state, changes }",
          summary = "What became of a stream at one version.",
          fields = {
            { name = "stream_name", type = "string", text = "the stream" },
            { name = "version", type = "integer", text = "the version; 0 is before the first event" },
            { name = "event", type = "RecordedEvent", optional = true, text = "the event; nil at version 0" },
            { name = "state", type = "any", optional = true, text = "the state after it" },
            { name = "changes", type = "Change[]", text = "what it changed" },
          },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded", { price = 30 }))
local step = require("moonfold.history").of(store, cart):at("cart-1")
print(step.version, step.event.type, step.changes[1].path)    --> 1 ItemAdded total
]] },

        { name = "Change", kind = "shape", class = "Change", since = since,
          signature = "{ kind, path, keys, before, after }",
          summary = "One difference between two values.",
          text = [[
In lists, what agrees at both ends is left out, so an element that was taken out is one change. The index of what was
removed is the one that it had, the index of what was added the one that it has.]],
          fields = {
            { name = "kind", type = [["added"|"removed"|"changed"]], text = "what happened" },
            { name = "path", type = "string", text = "where, such as `items[2].qty`; empty for the whole value" },
            { name = "keys", type = "Key[]", text = "the path as a list" },
            { name = "before", type = "any", optional = true, text = "nil when it was added" },
            { name = "after", type = "any", optional = true, text = "nil when it was removed" },
          },
          example = [[
local change = require("moonfold.history").changes({ items = { "tea", "cup" } }, { items = { "cup" } })[1]
print(change.kind, change.path, change.before, change.after)  --> removed items[1] tea nil
]] },

        { name = "Finding", kind = "shape", class = "Finding", since = since,
          signature = "{ kind, stream_name, position, event_type, count, path, line, message, changes, old, new, ... }",
          summary = "Something that `check.run` has found.",
          text = [[
A finding about decisions has what the kept command has beside: `command_type`, `data`, `command_id`, `time`,
`recorded_at`, `code_digest`.]],
          fields = {
            { name = "kind", type = "string", text = "one of `check.kinds`" },
            { name = "stream_name", type = "string", optional = true, text = "the stream" },
            { name = "position", type = "integer", optional = true,
              text = "of the event; 0: before the first. Of a decision: the stream's version" },
            { name = "event_type", type = "string", optional = true, text = "the type of that event" },
            { name = "count", type = "integer", optional = true, text = "how often it was found in the stream" },
            { name = "path", type = "string", optional = true, text = "the part of the event; of code: the file" },
            { name = "line", type = "integer", optional = true, text = "of code: the line" },
            { name = "message", type = "string", optional = true, text = "what is wrong, for people" },
            { name = "changes", type = "Change[]", optional = true,
              text = "between the two states, or the events of two decisions, or of an event that was written to" },
            { name = "old", type = "table", optional = true,
              text = "of a decision: `{ outcome, events, reason, message, detail }` as it was, or by the old rules; an "
                .. "outcome is `accepted`, `rejected` or `failed`" },
            { name = "new", type = "table", optional = true, text = "the same by the rules that are checked" },
          },
          example = [[
store:append_to_stream("cart-1", moonfold.event("Paid"))
print(store:aggregate_stream("cart-1", cart, { inspect = true }).findings["no_handler Paid"].position)   --> 1
]] },

        { name = "CheckReport", kind = "shape", class = "CheckReport", since = since,
          signature = "{ sound, findings, counts, streams, events, commands, ... }",
          summary = "What `check.run` returns.",
          fields = {
            { name = "sound", type = "boolean", text = "nothing was found" },
            { name = "findings", type = "Finding[]", text = "what was found; empty with the option `finding`" },
            { name = "counts", type = "table<string, integer>", text = "how many findings there are of each kind" },
            { name = "streams", type = "integer", text = "that were folded" },
            { name = "events", type = "integer", text = "that they hold" },
            { name = "streams_without_rules", type = "integer", text = "that no decider owns" },
            { name = "commands", type = "integer", text = "that were decided again" },
            { name = "same_decisions", type = "integer", text = "of which so many came to the same" },
            { name = "commands_left_out", type = "integer",
              text = "that cannot be decided again: what stood before them in a refused list was never recorded" },
          },
          example = [[
local report = require("moonfold.check").run(store, cart)
print(report.sound, report.streams)           --> true 0
]] },

        { name = "Place", kind = "shape", class = "Place", since = since,
          signature = "{ stream, version, time, decider }",
          summary = "A state to compare: of a stream, at a moment, by some rules.",
          fields = {
            { name = "stream", type = "string", optional = true, text = "the stream" },
            { name = "version", type = "integer", optional = true, text = "at this version" },
            { name = "time", type = "integer|string", optional = true,
              text = "or at this time: microseconds since 1970, or text such as `2026-11-25 18:30`, in UTC" },
            { name = "decider", type = "Aggregate|Decider", optional = true,
              text = "rules other than those of the history" },
          },
          example = [[
store:append_to_stream("cart-1", { moonfold.event("ItemAdded", { price = 30 }), moonfold.event("Paid") })
local past = require("moonfold.history").of(store, cart)
print(#past:diff({ stream = "cart-1", version = 0 }, { version = 2 }))   --> 1
]] },

        { name = "SalvageReport", kind = "shape", class = "SalvageReport", since = since,
          signature = "{ events, commits, lost_events, renumbered, losses, loss_count }",
          summary = "What `moonfold.salvage` returns.",
          fields = {
            { name = "events", type = "integer", text = "that were recovered" },
            { name = "commits", type = "integer", text = "that recorded them" },
            { name = "lost_events", type = "integer", text = "that are lost, as far as can be known" },
            { name = "renumbered", type = "boolean", text = "whether events were recovered behind lost ones" },
            { name = "losses", type = "table[]",
              text = "the first 1000: `{ from, to, why }` for positions, `{ from, to, stream }` for versions" },
            { name = "loss_count", type = "integer", text = "how many there are" },
          },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))
store:backup("copy.fold")
print(#moonfold.salvage("copy.fold", "new.fold").losses)                 --> 0
]] },

        { name = "Error", kind = "shape", class = "Error", since = since,
          signature = "{ code, message, where, ... }",
          summary = "What every failure raises: a table that reads well as text.",
          text = [[
`tostring(err)` is `file:line: code: message`, with the line of the Lua code that called. The message says what,
where, and what to do. Programs compare `code`; the further fields depend on it, see "Error codes".]],
          fields = {
            { name = "code", type = "ErrorCode", text = "what kind of failure it is" },
            { name = "message", type = "string", text = "a sentence for people" },
            { name = "where", type = "string", optional = true, text = "`file:line` of the caller" },
          },
          example = [[
local ok, err = pcall(store.read_stream, store, "cart-1", { max_cuont = 1 })
print(ok, err.code)                           --> false invalid_argument
print(err.path)                               --> options.max_cuont
print(err.message)                            --> unknown option "max_cuont": did you mean "max_count"?
]] },
      } },

    { name = "errors", title = "Error codes", text = [[
Failures raise an error object, so a lost write cannot pass silently because nobody looked at a return value.
Catch it with `pcall` and compare its `code`.]],
      entries = {

        { name = "version_conflict", kind = "error", since = since,
          signature = "version_conflict { stream, expected, current }",
          summary = "The stream is not at the version that `expected_stream_version` asked for; nothing was written.",
          text = "Read the stream again and decide again. Better: use `store:handle`, which needs no expectation.",
          fields = {
            { name = "stream", type = "string", text = "the stream" },
            { name = "expected", type = "Expectation", text = "what was asked for, as it was given" },
            { name = "current", type = "integer", text = "the stream's real version" },
          },
          example = [[
local ok, err = pcall(store.append_to_stream, store, "cart-1", moonfold.event("Paid"), { expected_stream_version = 3 })
print(ok, err.code, err.expected, err.current)                --> false version_conflict 3 0
]] },

        { name = "rejected", kind = "error", since = since,
          signature = "rejected { reason, detail, stream }",
          summary = "The decider refused the command with `moonfold.reject`; nothing was written.",
          text = "Use `store:attempt` where refusals are everyday.",
          fields = {
            { name = "reason", type = "string", text = "a short, stable word for programs" },
            { name = "detail", type = "Value", optional = true, text = "whatever else the decider said" },
            { name = "stream", type = "string", optional = true,
              text = "the stream that the command was meant for" },
          },
          example = [[
local ok, err = pcall(store.handle, store, "cart-1", cart, moonfold.command("AddItem", { price = 500 }))
print(ok, err.code, err.reason)               --> false rejected cart_full
]] },

        { name = "script_error", kind = "error", since = since,
          signature = "script_error { stream, position, event_type, command_type, path, traceback }",
          summary = "A function of a decider raised an error, or its events or states are not what it declares.",
          text = "Nothing was written. The message carries the original one. The fields say at which event or command "
            .. "it happened.",
          fields = {
            { name = "stream", type = "string", optional = true, text = "the stream being folded" },
            { name = "position", type = "integer", optional = true,
              text = "the event's position in its stream" },
            { name = "event_type", type = "string", optional = true,
              text = "in evolve, upcast and invariant: the event's type" },
            { name = "command_type", type = "string", optional = true, text = "in decide: the command's type" },
            { name = "file", type = "string", optional = true, text = "of a loaded script: relative to its folder" },
            { name = "line", type = "integer", optional = true, text = "in that file" },
            { name = "path", type = "string", optional = true,
              text = "of data that has not the declared shape: `events[1].data.sku`" },
            { name = "traceback", type = "string", optional = true, text = "where in the script" },
            { name = "cause", type = "any", optional = true, text = "the original error" },
          },
          example = [[
store:append_to_stream("cart-1", moonfold.event("ItemAdded"))   -- no data: evolve will stumble
local ok, err = pcall(store.aggregate_stream, store, "cart-1", cart)
print(ok, err.code, err.position, err.event_type)             --> false script_error 1 ItemAdded
]] },

        { name = "budget_exceeded", kind = "error", since = since,
          signature = "budget_exceeded { stream, position, event_type, command_type }",
          summary = "A loaded script used more time or memory than it may; nothing was written.",
          text = "The limits are options of `moonfold.load_decider` and `store:use`. Only loaded scripts have them.",
          fields = {
            { name = "stream", type = "string", optional = true, text = "the stream" },
            { name = "position", type = "integer", optional = true, text = "the event's position in its stream" },
            { name = "event_type", type = "string", optional = true,
              text = "in evolve and upcast: the event's type" },
            { name = "command_type", type = "string", optional = true, text = "in decide: the command's type" },
          } },

        { name = "invalid_argument", kind = "error", since = since,
          signature = "invalid_argument { path }",
          summary = "An argument has a wrong type, a wrong value or an unknown name; nothing was done.",
          fields = {
            { name = "path", type = "string", optional = true,
              text = "where the bad value is: `stream`, `options.from`, `events[2].data.items[3]`" },
          },
          example = [[
local ok, err = pcall(store.append_to_stream, store, "cart-1", moonfold.event("ItemAdded", { price = 0 / 0 }))
print(ok, err.code, err.path)                 --> false invalid_argument events.data.price
]] },

        { name = "unknown_event_type", kind = "error", since = since,
          signature = "unknown_event_type { type, stream }",
          summary = "`decide` returned an event that the table `evolve` does not know; nothing was written.",
          text = "Most often a typo. If the event is to change nothing, say so: `evolve.Name = false`.",
          fields = {
            { name = "type", type = "string", text = "the event's type" },
            { name = "stream", type = "string", text = "the stream it was meant for" },
          },
          example = [[
local typo = { initial_state = 0, evolve = { Counted = false }, decide = function() return { type = "Conuted" } end }
local ok, err = pcall(store.handle, store, "counter-1", typo, moonfold.command("Count"))
print(ok, err.code, err.type)                 --> false unknown_event_type Conuted
]] },

        { name = "unknown_command_type", kind = "error", since = since,
          signature = "unknown_command_type { type, stream }",
          summary = "The table `decide` does not know the command; nothing was written.",
          fields = {
            { name = "type", type = "string", text = "the command's type" },
            { name = "stream", type = "string", text = "the stream it was meant for" },
          },
          example = [[
local ok, err = pcall(store.handle, store, "cart-1", cart, moonfold.command("AddItme"))
print(ok, err.code, err.type)                 --> false unknown_command_type AddItme
]] },

        { name = "id_conflict", kind = "error", since = since,
          signature = "id_conflict { id, stream }",
          summary = "A `message_id` or `command_id` is already in use for something else; nothing was written.",
          fields = {
            { name = "id", type = "string", text = "the id" },
            { name = "stream", type = "string", text = "the stream of the refused write" },
          },
          example = [[
store:append_to_stream("cart-1", { type = "Paid", message_id = "payment-7" })
local ok, err = pcall(store.append_to_stream, store, "cart-2", { type = "Paid", message_id = "payment-7" })
print(ok, err.code, err.id)                   --> false id_conflict payment-7
]] },

        { name = "not_found", kind = "error", since = since,
          signature = "not_found",
          summary = "There is no such file.",
          example = [[
local ok, err = pcall(moonfold.open, "nowhere.fold", { create = false })
print(ok, err.code)                           --> false not_found
]] },

        { name = "read_only", kind = "error", since = since,
          signature = "read_only",
          summary = "The store was opened read-only, or the file may not be written.",
          example = [[
moonfold.open("ledger.fold"):close()
local ledger <close> = moonfold.open("ledger.fold", { read_only = true })
local ok, err = pcall(ledger.append_to_stream, ledger, "cart-1", moonfold.event("Paid"))
print(ok, err.code)                           --> false read_only
]] },

        { name = "closed", kind = "error", since = since,
          signature = "closed",
          summary = "The store was closed, or it was opened before a fork: open it anew in the child process.",
          example = [[
store:close()
local ok, err = pcall(store.stream_version, store, "cart-1")
print(ok, err.code)                           --> false closed
]] },

        { name = "busy", kind = "error", since = since,
          signature = "busy",
          summary = "The file cannot be used right now: another durability is in use, or no reader slot is free.",
          text = "Close what else is open, or try again.",
          example = [[
local first <close> = moonfold.open("cache.fold", { durability = "none" })
local ok, err = pcall(moonfold.open, "cache.fold", { durability = "full" })
print(ok, err.code)                           --> false busy
]] },

        { name = "corrupt", kind = "error", since = since,
          signature = "corrupt",
          summary = "A checksum or the file's structure is wrong: the file was damaged.",
          text = [[
Keep the file, and go back to a backup. Moonfold never hands out an event whose checksum is wrong.

Nothing is damaged where the message tells of a C host: through `store.h` it may record bytes that are not MessagePack,
which only it can read. The commands and the REPL show `<23 bytes, not MessagePack>` in their place, `export` and
`import` carry them over, and an `evolve` that is a table leaves them out by `false` for their type.]] },

        { name = "disk_full", kind = "error", since = since,
          signature = "disk_full",
          summary = "The disk has no room; nothing was written.",
          text = "Make room and do it again. What was recorded before is safe." },

        { name = "no_memory", kind = "error", since = since,
          signature = "no_memory",
          summary = "The process has no memory left; nothing was written." },

        { name = "io", kind = "error", since = since,
          signature = "io",
          summary = "The operating system failed to read or write; the message says what it said.",
          example = [[
local ok, err = pcall(moonfold.open, "no/such/folder/shop.fold")
print(ok, err.code == "io" or err.code == "not_found")        --> false true
]] },

        { name = "incompatible_format", kind = "error", since = since,
          signature = "incompatible_format",
          summary = "The file is no Moonfold store, or a newer Moonfold wrote it; it was left as it was." },
      } },

    { name = "spec", title = "Specs for deciders", class = "Scenario", text = [[
`require "moonfold.spec"` tests a decider by examples: given these events, when this command, expect those
events. It works inside busted and alone. Every scenario is played on a store in memory, by the calls that a program
makes, with the clock at 0. An expectation that fails raises an error that shows the difference.

Scenarios are values: every method returns one, so that one beginning can be shared by many ends.]],
      entries = {

        { name = "moonfold.spec", kind = "function", since = since,
          signature = "require(\"moonfold.spec\")(decider [, options]) -> given",
          summary = "Makes the function that begins a scenario for a decider.",
          text = [[
`given { events }` says what happened before. `given {}` is a stream that does not exist yet. The stream's name is the
decider's category and `-1`, such as `cart-1`; without a category it is `scenario-1`.

What the decider declares is checked on the way: the shapes of given events (after upcast) and of decided ones, and
the invariant after every event. A failure tells which handlers changed nothing, because a `return` may be missing;
`evolve.Name = false` says that an event is to change nothing.]],
          parameters = { { name = "decider", type = "Decider", text = "the decider to test" } },
          options_class = "SpecOptions",
          options = {
            option("strict", "boolean", "false", "a handler that changes nothing fails its scenario"),
          },
          returns = { { name = "given", type = "Given" } },
          errors = { "invalid_argument" },
          example = [[
local given = require("moonfold.spec")(cart)
given { moonfold.event("ItemAdded", { price = 90 }) }
  :when(moonfold.command("AddItem", { price = 10 }))
  :expect { moonfold.event("ItemAdded", { price = 10 }) }
]] },

        { name = "scenario:and_stream", kind = "method", since = since,
          signature = "given { events }:and_stream(name, events [, decider]) -> scenario",
          summary = "Puts events into another stream, for a decision that looks into it through its context.",
          parameters = {
            { name = "name", type = "string", text = "that stream's name" },
            { name = "events", type = "Event|Event[]", text = "what happened in it" },
            { name = "decider", type = "Aggregate|Decider|LoadedDecider", optional = true,
              text = "its decider: to check at once that these events can be folded" },
          },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = { "invalid_argument" },
          example = [[
local order = {
  initial_state = {}, evolve = { Ordered = false },
  decide = function(_, _, context)
    if not context:stream_exists("user-ada") then moonfold.reject("who_are_you") end
    return moonfold.event("Ordered")
  end,
}
local given = require("moonfold.spec")(order)
given {}:and_stream("user-ada", { moonfold.event("Registered") })
  :when(moonfold.command("Order")):expect { moonfold.event("Ordered") }
]] },

        { name = "scenario:at", kind = "method", since = since,
          signature = "given { events }:at(time) -> scenario",
          summary = "Says when the command arrives: its `time`, 0 otherwise.",
          parameters = { { name = "time", type = "integer", text = "microseconds since 1970" } },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = { "invalid_argument" },
          example = [[
local alarm = {
  initial_state = {}, evolve = { Rang = false },
  decide = function(command) return moonfold.event("Rang", { at = command.time }) end,
}
local given = require("moonfold.spec")(alarm)
given {}:at(1000):when(moonfold.command("Ring")):expect { moonfold.event("Rang", { at = 1000 }) }
]] },

        { name = "scenario:rolling", kind = "method", since = since,
          signature = "given { events }:rolling(rolls) -> scenario",
          summary = "Says what the dice show: `context:random` returns this number, or these, one after the other.",
          text = [[
Without it chance is what it is elsewhere: the same for the same command to the same stream at the same time. A number
that could not be rolled, one too few and one too many are an error of the scenario.]],
          parameters = { { name = "rolls", type = "number|number[]", text = "what is rolled" } },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = { "invalid_argument" },
          example = [[
local die = {
  initial_state = {}, evolve = { Rolled = false },
  decide = function(_, _, context) return moonfold.event("Rolled", context:random(1, 6)) end,
}
local given = require("moonfold.spec")(die)
given {}:rolling(4):when(moonfold.command("Roll")):expect { moonfold.event("Rolled", 4) }
]] },

        { name = "scenario:when", kind = "method", since = since,
          signature = "given { events }:when(command) -> scenario",
          summary = "Says which command arrives; a list is handled in order.",
          parameters = { { name = "command", type = "Command|Command[]", text = "one command or a list" } },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = { "invalid_argument" },
          example = [[
local given = require("moonfold.spec")(cart)
given {}:when(moonfold.command("AddItem", { price = 1 })):expect_state { total = 1 }
]] },

        { name = "scenario:expect", kind = "method", since = since,
          signature = "...:expect { events }",
          summary = "Expects exactly these events, in this order.",
          text = [[
Types and data are compared exactly: `1` is not `1.0`, and an empty list is no empty map. Of the metadata only what the
expectation names is compared, because the store and the caller add to it. So is a `message_id`.]],
          parameters = { { name = "events", type = "Event|Event[]", text = "what the decision should record" } },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = {},
          example = [[
local given = require("moonfold.spec")(cart)
local add = moonfold.command("AddItem", { price = 30 })
local wrong = moonfold.event("ItemAdded", { price = 31 })
print(pcall(function() given {}:when(add):expect { wrong } end) == false)   --> true
]] },

        { name = "scenario:expect_nothing", kind = "method", since = since,
          signature = "...:expect_nothing()",
          summary = "Expects that the command records nothing, and is not refused.",
          parameters = {},
          returns = { { name = "scenario", type = "Scenario" } },
          errors = {},
          example = [[
local lamp = { initial_state = {}, evolve = {}, decide = { Look = function() end } }
require("moonfold.spec")(lamp) {}:when(moonfold.command("Look")):expect_nothing()
]] },

        { name = "scenario:expect_rejected", kind = "method", since = since,
          signature = "...:expect_rejected([reason])",
          summary = "Expects that the decider refuses, for this reason.",
          parameters = { { name = "reason", type = "string", optional = true, text = "any reason when absent" } },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = {},
          example = [[
local given = require("moonfold.spec")(cart)
given {}:when(moonfold.command("AddItem", { price = 500 })):expect_rejected("cart_full")
]] },

        { name = "scenario:expect_error", kind = "method", since = since,
          signature = "...:expect_error(pattern)",
          summary = "Expects an error (no refusal) whose `code: message` matches a Lua pattern.",
          parameters = { { name = "pattern", type = "string", text = "a Lua pattern" } },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = {},
          example = [[
local given = require("moonfold.spec")(cart)
given {}:when(moonfold.command("AddItme")):expect_error("unknown_command_type")
]] },

        { name = "scenario:expect_state", kind = "method", since = since,
          signature = "...:expect_state(state)",
          summary = "Expects the state after the decided events; without a command, the state of the given ones.",
          text = "A refusal or an error must be expected first: `:expect_rejected(reason):expect_state(state)`.",
          parameters = { { name = "state", type = "any", text = "the whole state" } },
          returns = { { name = "scenario", type = "Scenario" } },
          errors = {},
          example = [[
local given = require("moonfold.spec")(cart)
local filled = given { moonfold.event("ItemAdded", { price = 30 }) }
filled:expect_state { total = 30 }
filled:when(moonfold.command("AddItem", { price = 71 })):expect_rejected("cart_full"):expect_state { total = 30 }
]] },
      } },
  },
}
