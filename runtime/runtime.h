/*
 * Moonfold's runtime: domain scripts in Lua, over the streams of a store.
 *
 * This header is the manual; whatever it does not promise may change. A host needs no Lua headers
 * and writes no Lua: it loads scripts, hands commands to them, and reads states, as JSON text. The
 * scripts run in a sandbox (see SECURITY in the README).
 *
 * CAVEATS, first:
 *  - A runtime belongs to one thread at a time. Make one for each thread; any number of runtimes
 * may share a store, whose handle is made for that (store.h).
 *  - Every string that goes in is UTF-8 and ends with a NUL, but where a size is asked for; every
 *    string that comes out is the same, and belongs to what it came out of: an mf_result until
 *    mf_result_free(), what mf_runtime_error() returns until the next call on the runtime.
 *  - While a command is handled the store's write transaction is open, and other writers of the
 * file wait. A script is bounded by its budget, so they do not wait for long.
 *  - The log callback and functions of the host run in the middle of that. The runtime refuses to
 *    be called from them, and they must not use the store.
 *  - A refusal is no error: MF_REJECTED is positive, and the reason stands in the result.
 *  - Free a runtime before its store is closed, and not from one of its callbacks.
 *
 * JSON: integers keep 64 bits and stay integers; a float is written with a point or an exponent, so
 * that it comes back as one. A key that is an integer in Lua comes out as text. Bytes that are no
 * UTF-8 come out as {"$base64": "..."}, and go in like that.
 *
 * A host, without its error handling (examples/embed has it all):
 *
 *     mf_store *store;
 *     mf_runtime *runtime;
 *     mf_command command = MF_COMMAND_INIT;
 *     mf_result result;
 *     mf_open("game.fold", NULL, &store, NULL);
 *     mf_runtime_new(store, NULL, &runtime, NULL);
 *     mf_load(runtime, "rules", NULL, NULL);
 *     command.type = "AcceptQuest";
 *     command.data = "{\"quest\": \"dragon\"}";
 *     if (mf_handle(runtime, "hero-1", &command, &result, NULL) == MF_OK) puts(result.state);
 *     mf_result_free(&result);
 *     mf_runtime_free(runtime);
 *     mf_close(store);
 */
#ifndef MOONFOLD_RUNTIME_H
#define MOONFOLD_RUNTIME_H

#include "store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- values without text ---- */

/*
 * Values cross as JSON text, which is easy to write and to read. Where a host handles a command in
 * every frame, it can spare the text: the functions here read and make values in the encoding that
 * the store keeps (MessagePack, integers and floats apart, map keys sorted), without an allocation
 * for reading. `make bench` measures both ways.
 *
 * READING. An mf_value is borrowed: it points into bytes that somebody else owns (mf_event.data,
 * the result of a call, a builder) and is valid for as long as they are. Pass it by value; there is
 * nothing to free. A value that is not there (a missing field, an element past the end, a field of
 * what is no map) is absent, and every question about it has an answer; so a chain of questions
 * needs one check at its end, or none:
 *
 *     mf_value hero = mf_value_field(state, "hero");
 *     int64_t health = mf_value_integer(mf_value_field(hero, "health"), 0);
 */
typedef struct mf_value {
  const uint8_t *at; /* NULL: absent */
  const uint8_t *end;
} mf_value;

typedef enum mf_kind {
  MF_ABSENT,
  MF_NULL,
  MF_BOOLEAN,
  MF_INTEGER,
  MF_FLOAT,
  MF_STRING,
  MF_LIST,
  MF_MAP
} mf_kind;

/*
 * The value that these bytes encode; absent when they encode none, or more than one. It looks at
 * every byte, once: afterwards no question can run out of them. Values that were not made by
 * Moonfold may be refused: the encoding is canonical, and nested at most 128 deep.
 */
MF_API mf_value mf_value_of(mf_bytes encoded);

/* The bytes of a value, to be kept, compared (equal values have equal bytes) or appended as an
 * event's data. */
MF_API mf_bytes mf_value_bytes(mf_value value);

MF_API mf_kind mf_value_kind(mf_value value);

/* What the value is, or `otherwise` when it is of another kind. A float that is a whole number is
 * no integer, but an integer is taken for a number. */
MF_API bool mf_value_boolean(mf_value value, bool otherwise);
MF_API int64_t mf_value_integer(mf_value value, int64_t otherwise);
MF_API double mf_value_number(mf_value value, double otherwise);

/* The text, not NUL-terminated; data is NULL when the value is no string. */
MF_API mf_bytes mf_value_string(mf_value value);

/* Whether the value is this string. */
MF_API bool mf_value_is(mf_value value, const char *text);

/* How many elements or fields; 0 for what is no list and no map. */
MF_API size_t mf_value_count(mf_value value);

/* A field of a map by name, or by integer key. It walks the map: keep what you need twice. */
MF_API mf_value mf_value_field(mf_value map, const char *name);
MF_API mf_value mf_value_slot(mf_value map, int64_t key);

/*
 * Walks a list or a map, in order:
 *
 *     for (mf_each each = mf_value_each(monsters); mf_each_next(&each);)
 *       draw(mf_value_field(each.value, "x"), mf_value_field(each.value, "y"));
 *
 * In a map each.key is the field's name (or integer key); in a list it is absent and each.index
 * counts from 0.
 */
typedef struct mf_each {
  mf_value key, value;
  size_t index;
  /* private */
  const uint8_t *next, *end;
  size_t left;
  bool map;
} mf_each;

MF_API mf_each mf_value_each(mf_value value);
MF_API bool mf_each_next(mf_each *each);

/*
 * MAKING. A builder takes a value piece by piece, as JSON would be written, and owns its memory,
 * which is used again after mf_build_reset():
 *
 *     mf_builder *b = mf_builder_new();
 *     mf_build_map(b);
 *     mf_build_key(b, "direction");  mf_build_text(b, "north");
 *     mf_build_end(b);
 *     mf_value data = mf_builder_value(b);
 *     ...
 *     mf_builder_free(b);
 *
 * Mistakes (a value where a key is due, an end too many, NaN, two equal keys, more than 128 levels)
 * and lack of memory are remembered, so that only the end needs a check: mf_builder_value() is
 * absent then, and mf_builder_problem() says why. Keys may come in any order. A builder belongs to
 * one thread at a time.
 */
typedef struct mf_builder mf_builder;

MF_API mf_builder *mf_builder_new(void);          /* NULL: no memory */
MF_API void mf_builder_free(mf_builder *builder); /* NULL is allowed */
MF_API void mf_build_reset(mf_builder *builder);  /* begins anew, and keeps the memory */
MF_API void mf_build_null(mf_builder *builder);
MF_API void mf_build_boolean(mf_builder *builder, bool value);
MF_API void mf_build_integer(mf_builder *builder, int64_t value);
MF_API void mf_build_number(mf_builder *builder,
                            double value); /* stays a float, also when it is whole */
MF_API void mf_build_string(mf_builder *builder, mf_bytes value);
MF_API void mf_build_text(mf_builder *builder, const char *value);
MF_API void mf_build_value(mf_builder *builder, mf_value value); /* a copy of one that was read */
MF_API void mf_build_list(mf_builder *builder);
MF_API void mf_build_map(mf_builder *builder);
MF_API void mf_build_key(mf_builder *builder, const char *name);
MF_API void mf_build_slot(mf_builder *builder, int64_t key); /* an integer key */
MF_API void mf_build_end(mf_builder *builder);               /* of the innermost list or map */

/* The finished value: valid until the builder is used again. Absent when it is not finished, or
 * went wrong. */
MF_API mf_value mf_builder_value(const mf_builder *builder);
MF_API const char *
mf_builder_problem(const mf_builder *builder); /* static text; NULL: none so far */

/* ---- runtimes ---- */

typedef struct mf_runtime mf_runtime;

/* A line that a script has printed. All of it is borrowed, for the time of the call. */
typedef struct mf_log_line {
  const char *text; /* without a newline; NUL-terminated, and may hold NULs before that */
  size_t size;
  const char
      *phase; /* what runs: "decide", "evolve", "upcast", "initial_state"; or NULL: loading */
  const char *stream; /* NULL when there is none */
  int64_t position;   /* of the event in its stream; 0 when no event is being folded */
} mf_log_line;

typedef struct mf_runtime_options {
  size_t size; /* sizeof(mf_runtime_options) */
  /* What one call may use; 0 stands for the default. Instructions are those of Lua's machine (ten
   * million; 2,000 more for every event that is folded), memory is what each sandbox holds at most,
   * in bytes (64 MiB). Beyond them: MF_BUDGET_EXCEEDED, and nothing is recorded. */
  int64_t budget;
  size_t memory;
  /* Results hold values (state_value and its like) in place of JSON text. */
  bool values;
  /* Where `print` of scripts goes; NULL: nowhere. Called in the thread of the call that runs. */
  void (*log)(void *context, const mf_log_line *line);
  void *log_context;
  /* Each function of the host (mf_add_function) is called twice, and a difference fails the call.
   */
  bool check_functions;
  /* Where the sandboxes take their memory from, which is nearly all that a runtime holds; NULL:
   * malloc. `pointer` is NULL for a new block, `size` 0 to free one, old_size what the block had.
   * It returns NULL where there is none, and then MF_NO_MEMORY comes of it and nothing is recorded.
   * Making a block smaller should not fail. Called by the thread that calls the runtime, or, in
   * mf_handle(), by one that writes for all. */
  void *(*allocate)(void *context, void *pointer, size_t old_size, size_t size);
  void *allocate_context;
  /* Every command is kept in the store, with what came of it: what `keep_commands` is in Lua. A
   * handled one in the transaction of its events, and through a queue with their write; a refused
   * one, too, in command.txn or else in a transaction of its own. `moonfold check --decide` and
   * store:commands() read them. With bounds, the oldest go: beyond keep_count commands, and those
   * that are older than keep_age microseconds; 0: no bound. Negative ones: MF_INVALID_ARGUMENT. */
  bool keep_commands;
  int64_t keep_count, keep_age;
} mf_runtime_options;

/*
 * Makes a runtime on an open store. It is made in well under a millisecond, and holds a few hundred
 * KiB for each load. `options` may be NULL. The store must stay open until mf_runtime_free().
 *
 * Errors: MF_NO_MEMORY, MF_INVALID_ARGUMENT.
 */
MF_API int mf_runtime_new(mf_store *store, const mf_runtime_options *options, mf_runtime **runtime,
                          mf_error *error);

/* Frees the runtime with everything that was loaded. NULL is allowed. Results live on. */
MF_API void mf_runtime_free(mf_runtime *runtime);

/* ---- loading scripts ---- */

/*
 * Loads the decider that a script file returns, or those of all scripts in a folder (files that end
 * in _spec.lua are left out, and a script that returns no decider is a library for `require`). A
 * decider of the category "cart" owns the streams "cart-*" from then on; where two categories fit,
 * the longer one does. What is loaded together stands in one sandbox.
 *
 * `params` is JSON that every script receives as `...`, or NULL. Loading is all or nothing: after a
 * failure the runtime is as it was. Two deciders of one category are refused.
 *
 * Errors: MF_NOT_FOUND, MF_IO, MF_SCRIPT_ERROR (a syntax error, or the script failed: see
 * mf_runtime_error() for file and line), MF_BUDGET_EXCEEDED, MF_INVALID_ARGUMENT (it returned no
 * proper decider; no decider has a category; the category is taken; params are no JSON),
 * MF_NO_MEMORY.
 */
MF_API int mf_load(mf_runtime *runtime, const char *path, const char *params, mf_error *error);

/* The same for a script in memory. `name` is what messages call it ("cart.lua"); it has no folder,
 * so it can require only what comes with Moonfold. */
MF_API int mf_load_string(mf_runtime *runtime, const char *name, const char *source, size_t size,
                          const char *params, mf_error *error);

/*
 * Loads what has changed on disk since it was loaded: for a host that runs while its rules are
 * edited. The next command uses the new code, and states are folded anew by it; nothing else
 * changes hands, and what was recorded stays. All or nothing, over all that was loaded: when one
 * script does not load, the old code goes on everywhere, the error says why, and mf_runtime_error()
 * where; it is told once, and the next edit is tried again. `changed` (may be NULL): whether there
 * is other code now.
 *
 * It looks at each file that was read, and at the folder, with one stat: a few microseconds, so a
 * game can call it in every frame. Loading itself takes milliseconds. A file that is being written
 * is waited for: what has changed within 100 ms of the last look may be taken over that much later.
 * What mf_load_string() has loaded has no file, and stays.
 *
 * Errors: those of mf_load(); MF_INVALID_ARGUMENT also where a category has lost its decider.
 */
MF_API int mf_reload(mf_runtime *runtime, bool *changed, mf_error *error);

/* ---- functions of the host, for scripts ---- */

/*
 * Scripts find functions of their host in the table `host`:
 *
 *     static int path_length(void *map, mf_value arguments, mf_builder *result, mf_error *error) {
 *       mf_value from = mf_value_slot(arguments, 1), to = mf_value_slot(arguments, 2);
 *       mf_build_integer(result, shortest(map, from, to));
 *       return MF_OK;
 *     }
 *     ...
 *     mf_host_function function = {sizeof function, "path_length", "1", 2000, path_length, map};
 *     mf_add_function(runtime, &function, &error);          before mf_load()
 *
 *     if host.path_length(hero, exit) > hero.steps then moonfold.reject "too_far" end
 *
 * PURE. What a function returns may depend on its arguments alone, for ever: a state is folded
 * again from its events, on other machines and in other years, and must come out the same. So it
 * reads no clock, no file and nothing that changes, and has no effect: an effect would be repeated
 * by each fold, and happen for commands that are not recorded. What a function did is none of
 * Moonfold's business, so this is a promise of yours; check_functions of mf_runtime_options, on
 * while you develop, finds most of what breaks it. When what it computes changes, change its
 * version.
 *
 * ELSEWHERE a function is missing: the program moonfold, its REPL and its check have none of yours.
 * What evolve calls can be folded only by hosts that have it; what decide calls bothers nobody
 * else.
 *
 * VERSIONS. The names and versions of the functions that a script uses are part of its digests:
 * with another version states that were kept are folded anew, and events tell which code decided
 * them.
 *
 * VALUES cross as copies: arguments as a list (nil as null), borrowed for the time of the call; the
 * result from the builder, which is empty at first, and nil when it is left so. A status other than
 * MF_OK fails the script like error() does, with error->message. It must return: no longjmp, no
 * exception of C++ through it. It runs in the thread that runs the script, in the middle of a
 * transaction: the runtime refuses to be called from it (MF_INVALID_ARGUMENT), and the store must
 * not be.
 */
typedef struct mf_host_function {
  size_t size;         /* sizeof(mf_host_function) */
  const char *name;    /* letters, digits and _, at most 40; copied */
  const char *version; /* of what it computes: any text; NULL: "". Copied */
  int64_t cost;        /* of a call, in instructions of Lua's machine (some 5 ns); 0: 100 */
  int (*call)(void *context, mf_value arguments, mf_builder *result, mf_error *error);
  void *context;
} mf_host_function;

/* Gives scripts a function, those that are loaded later. Errors: MF_INVALID_ARGUMENT (no name; one
 * that is taken; something is loaded already), MF_NO_MEMORY. */
MF_API int mf_add_function(mf_runtime *runtime, const mf_host_function *function, mf_error *error);

/* ---- commands ---- */

/* A command, and how it is to be handled. Begin with MF_COMMAND_INIT, then set what you need. */
typedef struct mf_command {
  size_t size;      /* sizeof(mf_command) */
  const char *type; /* required: "AddItem" */
  const char *data; /* JSON; NULL: none */
  const char
      *metadata;  /* a JSON object; NULL: none. Its correlation_id is passed on to the events */
  const char *id; /* 1 to 200 bytes; NULL: none. Makes the command safe to repeat: see below */
  int64_t time;   /* microseconds since 1970; MF_NOW: the store's clock */
  int64_t expected_version; /* of the stream; MF_NO_CONCURRENCY_CHECK and its siblings of store.h */
  bool dry_run;             /* decide, and record nothing: works on a read-only store, too */
  bool no_state;            /* leave the state out of the result: spares its JSON */
  mf_txn *txn; /* handle it in this transaction of the same store; NULL: in one of its own */
  mf_value data_value, metadata_value; /* in place of data and metadata, which are then NULL */
} mf_command;

#define MF_COMMAND_INIT                                                                            \
  {                                                                                                \
    sizeof(mf_command), NULL, NULL, NULL, NULL, MF_NOW, MF_NO_CONCURRENCY_CHECK, false, false,     \
        NULL, {NULL, NULL}, {                                                                      \
      NULL, NULL                                                                                   \
    }                                                                                              \
  }

/* What came of a call. All strings are its own; those that do not apply are NULL. */
typedef struct mf_result {
  char *events; /* a JSON array of what was recorded, as events are read */
  char *state;  /* JSON: the state after them */
  size_t event_count;
  int64_t version; /* of the stream now; of an aggregate: the version that the state stands at */
  int64_t last_position; /* in the log, of the last event; 0 when nothing was recorded */
  bool created;          /* the events began the stream */
  bool exists;           /* of an aggregate: the stream has events */
  /* MF_REJECTED: why. The reason is a short word for programs, the message a sentence for people,
   * the detail JSON, or NULL. */
  char *reason, *message, *detail;
  /* With mf_runtime_options.values, in place of events, state and detail: values, which live until
   * mf_result_free(). */
  mf_value events_value, state_value, detail_value;
} mf_result;

/*
 * Lets the decider that owns the stream decide on a command, and records what it decides on.
 * Folding, deciding and recording are one transaction: there is no conflict to handle and nothing
 * to retry. What fails on the way records nothing, and the result was made before the commit, so
 * what is recorded is always told.
 *
 * With an `id`, the same command to the same stream answers with the original result; another
 * command under that id is MF_ID_CONFLICT. In a transaction (`txn`) a call that fails leaves no
 * trace of itself, and the transaction goes on, unless the store's own trouble has doomed it.
 *
 * Returns MF_OK; MF_REJECTED, with reason, message and detail in the result; or an error, and then
 * the result is empty: MF_VERSION_CONFLICT, MF_ID_CONFLICT, MF_UNKNOWN_COMMAND_TYPE,
 * MF_UNKNOWN_EVENT_TYPE (decide made an event that evolve does not know), MF_SCRIPT_ERROR,
 * MF_BUDGET_EXCEEDED, MF_INVALID_ARGUMENT (also: no decider owns the stream), MF_READ_ONLY, and
 * what mf_begin() and mf_commit() return. The result is filled in any case and may always be freed.
 *
 * On a store that syncs (full or relaxed durability), commands that several threads wait for share
 * one commit, each with a runtime of its own: the script then runs, and the log function is called,
 * on whichever of those threads writes for all, while the others sleep. When the commit of many
 * fails, each is decided again on its own.
 */
MF_API int mf_handle(mf_runtime *runtime, const char *stream, const mf_command *command,
                     mf_result *result, mf_error *error);

/* ---- states ---- */

/*
 * Folds a stream into its state, by the decider that owns it, up to and with the version `to`
 * (MF_LAST: all of it; 0: before the first event). A stream that does not exist has its decider's
 * initial state. Only state, version and exists of the result are set.
 *
 * Errors: MF_SCRIPT_ERROR, MF_BUDGET_EXCEEDED, MF_INVALID_ARGUMENT (no decider owns the stream,
 * `to` is negative), MF_CORRUPT, MF_BUSY, MF_IO, MF_NO_MEMORY.
 */
MF_API int mf_aggregate(mf_runtime *runtime, const char *stream, int64_t to, mf_result *result,
                        mf_error *error);

/* Frees the strings of a result and empties it. NULL is allowed, and so is doing it twice. */
MF_API void mf_result_free(mf_result *result);

/* ---- commands that do not wait for the disk ---- */

/*
 * A durable commit waits for the disk: a few milliseconds, now and then many. A game cannot. A
 * queue decides a command at once, on the newest state, which its own decisions are part of before
 * they are written; a thread of the queue's writes them to the store, in order, many in one commit.
 *
 *     mf_queue_new(store, NULL, &queue, &error);
 *     ...
 *     status = mf_queue_handle(queue, runtime, "hero-1", &command, &result, &ticket, &error);
 *     ...                                      later, in any frame
 *     if (mf_queue_durable(queue) >= ticket) show_that_it_is_saved();
 *     ...
 *     mf_queue_free(queue);                    writes what is left, and waits for it
 *
 * WHAT MAY BE LOST. Until its ticket is durable, a command may be lost when the process or the
 * system dies: it and everything behind it, never one in the middle. What a ticket that is durable
 * survives is what the store's durability says.
 *
 * ONE WRITER. While a queue has something to write, nobody else may write to the store: not another
 * process, not another handle, not mf_handle() on this one. Positions and versions were told
 * already, and decisions were made on them. When somebody does write, the queue notices, writes
 * nothing more and reports MF_VERSION_CONFLICT: what was decided since is not recorded.
 *
 * THREADS. A queue may be used from any number of threads, each with a runtime of its own on the
 * same store (the very handle); its calls wait for each other, never for the disk. The store must
 * stay open until mf_queue_free(). The thread that writes takes no signals. After fork() the child
 * has the queue's memory and not its thread: it must leave the queue alone, mf_queue_free() too.
 *
 * OTHERS see a command when it is written: other processes, mf_handle() and mf_aggregate(), readers
 * and subscriptions.
 */
typedef struct mf_queue mf_queue;

typedef struct mf_queue_options {
  size_t size;  /* sizeof(mf_queue_options) */
  size_t limit; /* of commands that are not durable yet; 0: 256. Beyond it: MF_BUSY */
} mf_queue_options;

/* Starts a queue and its thread. Errors: MF_READ_ONLY, MF_NO_MEMORY, MF_CLOSED. */
MF_API int mf_queue_new(mf_store *store, const mf_queue_options *options, mf_queue **queue,
                        mf_error *error);

/*
 * mf_handle(), without the wait: the result is the same, and `ticket` (may be NULL) is the number
 * of the write that will make it durable, from 1; 0 when nothing was recorded. (With keep_commands
 * every command is recorded, refused ones, too.) command->txn must be NULL.
 *
 * Errors: those of mf_handle() but for the commit's; MF_BUSY when the limit is reached (draw the
 * frame, try again in the next one, or mf_queue_flush()); and, once a write has failed, that
 * failure, until mf_queue_flush() has succeeded.
 */
MF_API int mf_queue_handle(mf_queue *queue, mf_runtime *runtime, const char *stream,
                           const mf_command *command, mf_result *result, int64_t *ticket,
                           mf_error *error);

/* mf_aggregate() that sees what is queued. */
MF_API int mf_queue_aggregate(mf_queue *queue, mf_runtime *runtime, const char *stream, int64_t to,
                              mf_result *result, mf_error *error);

/* The ticket up to which everything is durable. Never waits: for every frame. */
MF_API int64_t mf_queue_durable(const mf_queue *queue);

/* How many commands wait to be written. */
MF_API size_t mf_queue_length(mf_queue *queue);

/*
 * Waits until everything that is queued is durable, for at most *timeout microseconds (NULL: for
 * ever). After a failed write it is what tries again. Returns MF_OK; MF_DONE when the time is up;
 * or why writing failed: MF_DISK_FULL, MF_IO, MF_NO_MEMORY (all is still queued: make room and call
 * it again), MF_VERSION_CONFLICT (somebody else wrote: what was queued cannot be recorded any more,
 * and is dropped).
 */
MF_API int mf_queue_flush(mf_queue *queue, int64_t *timeout, mf_error *error);

/* mf_queue_flush(), and the end of the thread. The queue is freed whatever is returned, and what
 * could not be written is lost. NULL is allowed. */
MF_API int mf_queue_free(mf_queue *queue, mf_error *error);

/* ---- what is appended: subscriptions ---- */

/*
 * A subscription hands out the events of the log, one by one and in order, from a position on, and
 * goes on with what is appended later, by this process or another. It holds no transaction while it
 * waits, and remembers nothing in the store: keep mf_subscription_position() where your read model
 * is kept, and begin behind it next time.
 *
 * Either ask for events with mf_subscription_next(), or give a callback and let mf_step() call it.
 * A subscription belongs to one thread at a time; the store must stay open until it is freed.
 */
typedef struct mf_subscription mf_subscription;

typedef struct mf_subscription_options {
  size_t size;   /* sizeof(mf_subscription_options) */
  int64_t after; /* begin behind this position; 0: with the first event; MF_LAST: with what is
                    appended from now on */
  const mf_bytes *types; /* only events of these types, as stored; NULL: all */
  size_t type_count;
  mf_bytes prefix; /* only streams whose names begin so; absent: all */
  /* The runtime whose mf_step() calls `deliver`; it must live until the subscription is freed. */
  mf_runtime *runtime;
  /* Called by mf_step(). The event is borrowed for the time of the call, which may use the store
   * and the runtime, but must not free the subscription. Anything but MF_OK stops mf_step(), which
   * returns it; the event will be handed out again. */
  int (*deliver)(void *context, const mf_event *event);
  void *context;
} mf_subscription_options;

/* Options may be NULL: everything, from the beginning. Errors: MF_NO_MEMORY, MF_CLOSED, MF_CORRUPT.
 */
MF_API int mf_subscribe(mf_store *store, const mf_subscription_options *options,
                        mf_subscription **subscription, mf_error *error);

/* The next event, or MF_DONE: there is none for now (mf_wait() waits for one). The event is
 * borrowed until the next call. Never blocks. */
MF_API int mf_subscription_next(mf_subscription *subscription, mf_event *event, mf_error *error);

/* The position up to which everything was handed out, or was not asked for. */
MF_API int64_t mf_subscription_position(const mf_subscription *subscription);

/* NULL is allowed. */
MF_API void mf_subscription_free(mf_subscription *subscription);

/* ---- work in slices ---- */

/*
 * A frame has a millisecond to spare, not a hundred. What takes long is done in slices:
 *
 *     mf_warm(runtime, "hero-1", NULL);             the save was loaded: its stream is long
 *     ...
 *     each frame:  mf_step(runtime, 1000, &error);  at most a millisecond of it
 *
 * mf_step() folds what mf_warm() has asked for and hands out what subscriptions wait for, one event
 * after the other, and looks at the clock after each: it is late by no more than one event's
 * handler (or callback). When the fold is done, a command or a state of that stream finds it warm.
 */

/* Asks for the stream's state to be folded by mf_step(), by the decider that owns the stream.
 * Asking twice is fine. Errors: MF_INVALID_ARGUMENT (no decider owns it), MF_NO_MEMORY. */
MF_API int mf_warm(mf_runtime *runtime, const char *stream, mf_error *error);

/*
 * Works for at most so many microseconds. Returns MF_OK when something is left to do, MF_DONE when
 * nothing is. An error is that of one piece of work: a fold that fails (MF_SCRIPT_ERROR and its
 * like) is given up; what a subscription's callback returned comes back unchanged.
 */
MF_API int mf_step(mf_runtime *runtime, int64_t max_microseconds, mf_error *error);

/* ---- errors ---- */

/*
 * mf_error of store.h has the code and a message, which is all that a log needs. This is the rest,
 * for hosts that show scripts to their authors. Strings that are not known are NULL, numbers 0.
 */
typedef struct mf_script_error {
  int code;
  const char *message;
  const char *file; /* of the script, relative to what was loaded */
  int line;
  const char *stream;
  int64_t position; /* of the event in its stream */
  const char *event_type, *command_type;
  const char *path; /* MF_INVALID_ARGUMENT: of the bad value, such as "command.data.qty" */
  const char *traceback;
} mf_script_error;

/* About the last call on this runtime that failed. Never NULL; valid until the next call. */
MF_API const mf_script_error *mf_runtime_error(const mf_runtime *runtime);

/* ---- hosts that embed Lua themselves ---- */

struct lua_State;

/*
 * The opener of the Lua module. Register it,
 *
 *     luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
 *     lua_pop(L, 1);
 *
 * and scripts of that state find `require "moonfold"` and everything that comes with it
 * ("moonfold.spec", "moonfold.domain.cart", ...). The module keeps no state outside the lua_State:
 * any number of states may have it, each used by one thread at a time. It raises errors as Lua
 * does, by longjmp: call it in a protected call. A state that is inside a write transaction (in the
 * function given to store:transaction) must not be abandoned: the transaction belongs to the
 * thread, and other writers of the file wait for it. Effect on the stack: [-0, +1].
 */
MF_API int luaopen_moonfold(struct lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
