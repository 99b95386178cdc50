-- The commands of the program: the one source of --help, of the manual page moonfold(1) and of bash completion.
--
-- A command is an entry here and a module that does it. An entry has
--     name       what one types; the module is moonfold.cli.NAME unless `module` names another
--     summary    a line for the list of commands
--     arguments  list of { NAME, text, optional =, rest = }. `rest` takes all that follows, uninterpreted,
--                or with rest = "mixed" all but options. The names
--                tell completion what to offer: STORE, STREAM, TYPE, SCRIPT, FILE
--     options    list of { name =, short =, value = NAME, kind =, text = }; without `value` it is a switch. Kinds:
--                string (the default), count, expectation, list, time, moment (a count or a time), bytes
--     text       paragraphs of what else is worth knowing
--     examples   list of { command line, what it does }
--     takes_over true: a Lua program runs in the command's place, and a pipe that nobody reads ends it as it ends any
--     hidden     true keeps it out of the help: not for people
--
-- The module returns function(call) -> exit status or nil (fine). See call.lua for what `call` offers.

local function option(name, value, kind, text, short)
  return { name = name, value = value, kind = kind, text = text, short = short }
end

local json = option("json", nil, nil, "print JSON: one object, or one a line (JSON Lines) where there may be many;"
  .. " failures, too")
local tables = option("table", nil, nil, "print a table also where the output is no terminal")

local store = { "STORE", "the file of the store" }
local stream = { "STREAM", "the name of the stream" }
local script = { "SCRIPT", "a Lua file that returns a decider, or a folder of them" }
local data = { "JSON", "the data, as JSON; - reads it from standard input", optional = true }

local expect = option("expect", "N|exists|absent|any", "expectation",
  "write only if the stream is at version N, exists, or does not exist; else exit with 4")
local params = option("params", "JSON", "string", "parameters of the script: what it receives as `...`")
local at_time = option("time", "TIME", "time", "the time to record, instead of now")

local range = {
  option("from", "N", "count", "begin at this position (the first is 1)"),
  option("to", "N", "count", "end at this position"),
  option("max", "N", "count", "at most so many events", "n"),
  option("backwards", nil, nil, "the newest first", "r"),
  option("types", "A,B", "list", "only events of these types", "t"),
  option("since", "TIME", "time", "only what was recorded at this time or later"),
  option("until", "TIME", "time", "only what was recorded before this time"),
  json, tables,
}

local commands = {
  {
    name = "complete", hidden = true,
    summary = "what may stand at the place of the cursor, for the shell's completion",
    arguments = { { "POSITION", "the index of the word, from 0" }, { "WORDS", "the command line", rest = true } },
  },
  {
    name = "run", module = "moonfold.cli.run", takes_over = true,
    summary = "run a Lua program",
    arguments = {
      { "FILE", "the program; - reads it from standard input" },
      { "ARGS", "its arguments, in `arg` and in `...`", optional = true, rest = true },
    },
    text = { 'In the program require "moonfold" works. Ctrl-C raises an error in it, so that its stores are closed;'
      .. " a second one ends it at once. \"moonfold FILE.lua\" is the same." },
    examples = { { "moonfold run examples/shopping_cart/main.lua", "run an example" } },
  },
  {
    name = "repl", module = "moonfold.cli.repl",
    summary = "explore a store with Lua, interactively",
    arguments = { { "STORE", "the file of the store, which is then `store`", optional = true } },
    options = {
      option("read-only", nil, nil, "open the store for reading only", "r"),
      option("use", "SCRIPT", nil, "load rules first: a script or a folder of them", "u"),
    },
    text = { '"moonfold STORE" is the same. Without a store it is a scratch store in memory. In a pipe the lines are'
      .. " read without a prompt; the exit status is 1 when one of them failed." },
    examples = {
      { "moonfold repl shop.fold", "look around in a store" },
      { "echo '.streams' | moonfold repl shop.fold", "one command, in a pipe" },
    },
  },
  {
    name = "append", module = "moonfold.cli.append",
    summary = "record an event",
    arguments = { store, stream, { "TYPE", "the type of the event" }, data },
    options = {
      expect,
      option("metadata", "JSON", "string", "metadata of the event"),
      option("id", "ID", "string", "the event's message id: appending it again changes nothing"),
      at_time, json,
    },
    text = { "A store that is missing is created, which is said." },
    examples = {
      { [[moonfold append shop.fold cart-1 ItemAdded '{"sku": "apple", "qty": 2}']], "record an event" },
      { [[jq -c .order order.json | moonfold append shop.fold order-7 OrderPlaced - --expect absent]],
        "data from standard input; the stream must not exist" },
    },
  },
  {
    name = "read", module = "moonfold.cli.read",
    summary = "print the events of a stream",
    arguments = { store, stream }, options = range,
    examples = {
      { "moonfold read shop.fold cart-1", "all of it" },
      { "moonfold read shop.fold cart-1 --backwards --max 3", "the last three events" },
      { "moonfold read shop.fold cart-1 --json | jq .data.qty", "for machines" },
    },
  },
  {
    name = "log", module = "moonfold.cli.read",
    summary = "print the events of all streams, in the order in which they were recorded",
    arguments = { store }, options = range,
    examples = {
      { "moonfold log shop.fold --types OrderPlaced,OrderPaid", "only two types" },
      { "moonfold log shop.fold --since 2026-11-01 --until 2026-12-01", "what happened in November" },
    },
  },
  {
    name = "tail", module = "moonfold.cli.tail",
    summary = "print the last events, and follow what is recorded",
    arguments = { store, { "STREAM", "only this stream", optional = true } },
    options = {
      option("follow", nil, nil, "go on with what is recorded, by whatever process, until Ctrl-C", "f"),
      option("max", "N", "count", "begin with so many events (10)", "n"),
      option("types", "A,B", "list", "only events of these types", "t"),
      json, tables,
    },
    examples = {
      { "moonfold tail shop.fold", "the last ten events" },
      { "moonfold tail -f -n 0 shop.fold --json", "every event from now on, as JSON" },
    },
  },
  {
    name = "streams", module = "moonfold.cli.streams",
    summary = "list the streams and their versions",
    arguments = { store, { "PREFIX", "only those whose names begin with it", optional = true } },
    options = { option("max", "N", "count", "at most so many streams", "n"), json, tables },
    examples = { { "moonfold streams shop.fold cart-", "all carts" } },
  },
  {
    name = "state", module = "moonfold.cli.state",
    summary = "fold a stream and print its state",
    arguments = { store, script, stream },
    options = {
      option("at", "N|TIME", "moment", "the state as it was after event N, or at a time"), params,
      json,
    },
    examples = {
      { "moonfold state shop.fold cart.lua cart-1", "how it stands now" },
      { "moonfold state shop.fold cart.lua cart-1 --at 2026-11-25T18:00:00Z", "how it stood then" },
    },
  },
  {
    name = "handle", module = "moonfold.cli.handle",
    summary = "let a decider decide a command, and record what it decides",
    arguments = { store, script, stream, { "TYPE", "the type of the command" }, data },
    options = {
      expect,
      option("metadata", "JSON", "string", "metadata of the command"),
      option("id", "ID", "string", "the command's id: sending it again changes nothing"),
      at_time, params,
      option("keep", nil, nil, "keep the command with what comes of it, refused or not, for check --decide"),
      option("dry-run", nil, nil, "decide, but record nothing"),
      json,
    },
    text = { "A store that is missing is created, which is said. A command that the decider refuses exits with 3 and"
      .. " records nothing." },
    examples = {
      { [[moonfold handle shop.fold cart.lua cart-1 AddItem '{"sku": "apple", "qty": 2}']], "add to a cart" },
      { [[moonfold handle shop.fold cart.lua cart-1 Checkout --dry-run]], "what would happen?" },
    },
  },
  {
    name = "code", module = "moonfold.cli.code",
    summary = "show the code that decided an event, as it was then",
    arguments = {
      store,
      { "EVENT", "STREAM@VERSION, its position in the log, or the digest of the code", optional = true },
    },
    options = { json, tables },
    text = { "Without EVENT: all code that has decided something here. Its sources are kept in the store, with what"
      .. " they require and their parameters. The digest of an event's code is in its JSON, too: read --json." },
    examples = {
      { "moonfold code shop.fold", "whose code has decided something?" },
      { "moonfold code shop.fold cart-1@3 > then.lua", "which code decided this?" },
    },
  },
  {
    name = "check", module = "moonfold.cli.check",
    summary = "tell what is wrong with the rules, and what an edit of them would change",
    arguments = { store, script },
    options = {
      option("against", "OLD", nil, "fold with the old rules, too: which streams end in different states, from which"
        .. " event on, and how"),
      option("decide", nil, nil, "decide every kept command again, at the version at which it was decided; with"
        .. " --against by both"),
      option("since", "TIME", "time", "only streams in which something was recorded, and commands that were handled,"
        .. " at this time or later"),
      option("stream", "PREFIX", nil, "only streams whose names begin with it"),
      params,
      option("against-params", "JSON", "string", "the same for the old rules"),
      option("max", "N", "count", "list at most so many findings of a kind (20)", "n"),
      option("jobs", "N", "count", "processes that share the work; else one for each processor", "j"),
      json, tables,
    },
    text = {
      "Each stream is folded in states of their own: at once and in pieces, in one order and the other. What is looked"
        .. " for: states that differ (nondeterministic, hidden_state), handlers that write to their event"
        .. " (mutated_event), fail (failing) or are missing (no_handler), a broken invariant, events without their"
        .. " shape, and ^, which differs between processors (inexact).",
      "The store is only read, and others may use it meanwhile: its log in order, once for every 65,536 events, however"
        .. " scattered the streams are. The exit status is 0 when nothing is found, 6 when something is.",
    },
    examples = {
      { "moonfold check shop.fold rules", "is all well?" },
      { "moonfold check shop.fold cart.new.lua --against cart.lua", "what would this edit change?" },
      { "moonfold check shop.fold rules --decide --since 2026-11-01", "would we decide again what we decided?" },
    },
  },
  {
    name = "export",
    summary = "write all events, with everything that belongs to them, as JSON Lines",
    arguments = { store },
    options = {
      option("from", "N", "count", "begin at this position of the log"),
      option("to", "N", "count", "end at this position of the log"),
    },
    text = { "What comes out goes to import, which makes the same store of it: ids, times, integer keys, bytes that"
      .. " are no UTF-8. Progress is on standard error." },
    examples = {
      { "moonfold export shop.fold | zstd > shop.jsonl.zst", "all of it, compressed" },
      { "moonfold export shop.fold --from 1001 > news.jsonl", "what came after event 1000" },
    },
  },
  {
    name = "import",
    summary = "record the events that export wrote, or any others",
    arguments = { store, { "FILE", "JSON Lines; standard input where it is not given", optional = true } },
    options = {
      option("as-new", nil, nil, "record an export behind the events of another store, as new ones; their message ids"
        .. " are kept, so that it can be repeated, and which code decided them is not"),
    },
    text = {
      "A store that is missing is created, which is said. An import that was interrupted goes on when it is repeated:"
        .. " what is there already is compared and not recorded again.",
      'Lines without the first line of an export are new events: {"stream_name": "cart-1", "type": "ItemAdded", "data":'
        .. ' {...}}, with "metadata", "message_id" and "recorded_at" where wanted.',
      "A line that cannot be used is named by its number and column. The batch that it is in is not recorded; earlier"
        .. " batches are.",
    },
    examples = {
      { "zstd -dc shop.jsonl.zst | moonfold import copy.fold", "make the store anew" },
      { "moonfold import shop.fold events.jsonl", "record events from elsewhere" },
    },
  },
  {
    name = "timeline",
    summary = "draw what happened: a lane for each stream, a mark for each event, as SVG",
    arguments = { store, { "GLOB", "only streams like this; it may have * and ?", optional = true } },
    text = { "Marks are coloured by the type of their event; over a mark, the mouse tells what it was. A lane with very"
      .. " many events has bars. Of very many streams, the busiest have a lane of their own." },
    examples = {
      { "moonfold timeline shop.fold > timeline.svg", "a picture for a browser" },
      { "moonfold timeline shop.fold 'cart-*' > carts.svg", "of some streams" },
    },
  },
  {
    name = "stats",
    summary = "tell what a store holds, where the space goes, and who reads it",
    arguments = { store }, options = { json, tables },
    text = {
      "Hottest streams: those with most of the last 10,000 events. Bytes of a type: of data and metadata.",
      "Free pages are reused by what is written next; a backup goes without them. Readers of old pages are processes"
        .. " that have been reading for long: what they may still look at cannot be reused.",
    },
    examples = { { "moonfold stats shop.fold", "an overview" } },
  },
  {
    name = "new", module = "moonfold.cli.new",
    summary = "begin a domain: a folder with a decider, its spec, and types for editors",
    arguments = { { "NAME", "the folder to make; its name is the decider's, and its category" } },
    options = {
      option("like", "MODEL", nil, "copy one of: account, cart, counter, inventory, pricing, quest"),
    },
    text = { "What it makes passes its own spec. Nothing is written over." },
    examples = {
      { "moonfold new shop", "the smallest decider that does something" },
      { "moonfold new dungeon --like quest", "looks at another stream, at the time, and rolls dice" },
    },
  },
  {
    name = "spec", module = "moonfold.cli.spec",
    summary = "run the specs of deciders",
    arguments = {
      { "PATH", "a spec, or a folder, where they end in _spec.lua; else this folder", optional = true, rest = "mixed" },
    },
    options = {
      option("sandbox", nil, nil, "load the deciders that specs require as moonfold.load_decider does"),
      option("tap", nil, nil, "print the Test Anything Protocol"),
    },
    text = { "Specs are written with describe and it, as for busted, which runs them as well. A spec finds the modules"
      .. " of its own folder. Exit status 1: one failed." },
    examples = { { "moonfold spec shop", "run what \"moonfold new shop\" made" } },
  },
  {
    name = "backup", module = "moonfold.cli.backup",
    summary = "copy a store while others use it",
    arguments = { store, { "DEST", "the new file: it must not exist" } },
    text = { "The copy is consistent and compacted. It is made beside DEST and appears there when it is complete." },
    examples = { { "moonfold backup shop.fold shop-$(date +%F).fold", "a copy for today" } },
  },
  {
    name = "compact",
    summary = "give the free pages of a store's file back",
    arguments = { store },
    text = { "The file is replaced by a compacted copy of it, which was verified. Nobody may have the store open."
      .. " There must be room for both files." },
    examples = { { "moonfold compact shop.fold", "after much was rewritten" } },
  },
  {
    name = "verify",
    summary = "check every page and every checksum of a store",
    arguments = { store },
    options = {
      option("link", "LINK", "string", "a link of the hash chain that was written down: history must still lead to it"),
      json,
    },
    text = { "Each part of the store gets a verdict; problems are named with position, stream and page, the first of"
      .. " them at least: of a stream whose index differs from the log, the first version that does. Others may use the"
      .. " store meanwhile. The exit status is 0 when nothing is wrong, 1 when the store is damaged." },
    examples = {
      { "moonfold verify shop.fold", "is everything as it was recorded?" },
      { "moonfold verify ledger.fold --link \"$(cat ledger.link)\"", "is history what it was when that was written?" },
    },
  },
  {
    name = "salvage",
    summary = "make a new store of what can be read of a damaged one",
    arguments = { store, { "NEW", "the new file: it must not exist" } },
    options = { json },
    text = {
      "The damaged file is not changed, and nobody may write to it meanwhile. Commits come back whole or not at all.",
      "A log has no holes: what stands behind lost commits moves up and gets smaller positions, and smaller versions in"
        .. " streams that lost events; message ids and times stay. What is missing is listed in the old numbers. The"
        .. " exit status is 0 when nothing is lost, 5 when something is.",
    },
    examples = { { "moonfold salvage broken.fold rescued.fold", "save what can be saved" } },
  },
}

return commands
