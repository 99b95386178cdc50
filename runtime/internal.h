/*
 * What the files of the runtime share.
 *
 *   errors.c     error objects, and how misuse is reported
 *   arguments.c  reading arguments and options tables; the nearest name for a misspelt one
 *   codec.c      Lua values <-> MessagePack, and hashes of values
 *   canonical.c  encoded values looked at without decoding them
 *   value.c      the C host's way to read and make values
 *   json.c       Lua values <-> JSON
 *   events.c     events from Lua to the store and back; upcasting
 *   usage.c      what a handler does with its event: whether it keeps it, which fields it reads
 *   fold.c       aggregate_stream: folding the events of a stream into a state
 *   many.c       aggregate_streams: many folds, for which the log is read once
 *   inspect.c    a fold that lists what is wrong with it
 *   past.c       streams as they were
 *   shapes.c     shapes of the data of events and commands; invariants of states
 *   handle.c     handle, attempt, decide
 *   context.c    what a decide function may look at
 *   iterators.c  events, all_events, streams
 *   stores.c     opening a store and the methods that remain
 *   module.c     the module's table
 *   cache.c      states that were folded before; snapshots
 *   tokens.c     a lexer of Lua: source texts without comments and layout
 *   digest.c     what code is: digests of loaded deciders
 *   sandbox.c    scripts in a Lua state of their own; library.h has the files that belong to it
 *   scripts.c    the Lua files of scripts/ inside the binary
 *   host.h       what the command line needs beyond the public Lua API, in files of its own
 *
 * A Lua error is a longjmp. What must be released on the way out is recorded in a C structure
 * (mfr_call) and the work runs in a protected call; see mfr_protect().
 */
#ifndef MF_RUNTIME_INTERNAL_H
#define MF_RUNTIME_INTERNAL_H

#include "runtime.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
  MFR_PATH_MAX = 96,     /* of the path of a value, as messages show it */
  MFR_DEPTH_MAX = 128,   /* nesting of values */
  MFR_KEY_SLOTS = 512,   /* of the cache of map keys */
  MFR_KEY_MAX = 24,      /* bytes of a key that is cached */
  MFR_UPCASTS_MAX = 100, /* upcasters in a row for one event */
  MFR_USED_MAX = 24,     /* fields of data that a handler is known to read */
  MFR_PLANS = 16         /* event types that a fold remembers at once */
};

typedef struct mfr_buffer {
  char *data;
  size_t size, capacity;
} mfr_buffer;

typedef struct mfr_key {
  uint8_t size;
  char bytes[MFR_KEY_MAX];
} mfr_key;

/* Per lua_State. A userdata; upvalue 1 of every function of the module. References are into the
 * registry. */
typedef struct mfr_state {
  mfr_buffer spare; /* memory of the last borrowed buffer, for the next */
  int null_ref, array_ref, error_ref, key_cache_ref, buffer_ref;
  int usage_ref; /* weak table: handler -> mfr_usage, or false */
  int store_ref, event_iterator_ref, stream_iterator_ref, context_ref;
  int shapes_ref;              /* the tables of shapes that were found well-formed */
  int run_hooks_ref;           /* an empty Lua function: calling it lets a pending debug hook run */
  int decider_ref, domain_ref; /* loaded ones */
  uint64_t stores;             /* that were opened: each has a number */
  const void *null;
  bool shows_foreign;          /* payloads that are no encoded values are shown, and do not raise */
  const char *calling;         /* "evolve", "decide", ... while such a function runs; else NULL */
  struct mfr_sandbox *sandbox; /* NULL: this is a host's own state. See sandbox.h */
  mfr_key keys[MFR_KEY_SLOTS];
  struct mfr_cache *cache;  /* of a sandbox; may be NULL */
  struct mfr_call *keeping; /* the call whose command is decided, when its record is kept */
} mfr_state;

mfr_state *mfr_of(lua_State *L);   /* from upvalue 1 */
mfr_state *mfr_find(lua_State *L); /* of a state in which the module is open; else NULL. No raise */

/* ---- errors.c ---- */

void mfr_errors_open(lua_State *L, mfr_state *state);
/* Pushes an error object; its fields can be added before lua_error(). [-0, +1] */
void mfr_push_error(lua_State *L, const mfr_state *state, int status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void mfr_set_string(lua_State *L, const char *field, const char *value, size_t size); /* of top */
void mfr_set_integer(lua_State *L, const char *field, lua_Integer value);
/* The system has no memory: not Lua's own message, which in a sandbox stands for its limit. */
int mfr_raise_no_memory(lua_State *L);
/* invalid_argument about `path` ("options.from", "events[2].data"). Does not return. */
int mfr_misuse(lua_State *L, const mfr_state *state, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Pushes the error of a failed call of the store. `expected`: index of the expectation as given, or
 * 0. [-0, +1] */
void mfr_push_store_error(lua_State *L, const mfr_state *state, const mf_error *error,
                          const char *stream, size_t stream_size, int expected);
/* Raises it, where no stream is at fault. Does not return. */
int mfr_raise_store_error(lua_State *L, const mfr_state *state, const mf_error *error);
/* id_conflict: adds the id of the event at fault to the error on top. */
void mfr_set_event_id(lua_State *L, const mf_error *error, const mf_new_event *events);
bool mfr_is_error(lua_State *L, const mfr_state *state, int index);
/* The `code` of the error object at `index`, or "" when it is another value. */
const char *mfr_error_code(lua_State *L, const mfr_state *state, int index);

/* ---- arguments.c ---- */

typedef struct mfr_text {
  const char *data;
  size_t size;
} mfr_text;

/* Whether the value has the metatable with this reference into the registry. */
bool mfr_has_metatable(lua_State *L, int index, int ref);
/* The userdata at index, or NULL when it is none of this class. */
void *mfr_to_class(lua_State *L, int index, int ref);
/* Sets every raw field of one table in another; the indices are absolute. [-0, +0] */
void mfr_copy_fields(lua_State *L, int from, int to);
/* "string", "number", ... or "nothing" for a missing argument. */
const char *mfr_type_name(lua_State *L, int index);
/* The nearest of `names` (NULL-terminated), or NULL when none is near. */
const char *mfr_nearest(const char *name, const char *const *names);
mfr_text mfr_check_string(lua_State *L, const mfr_state *state, int index, const char *what);
/* A path: not empty, without NULs. */
mfr_text mfr_check_path(lua_State *L, const mfr_state *state, int index, const char *what);
mfr_text mfr_check_stream(lua_State *L, const mfr_state *state, int index);
/* Whether the name is one of the list, which ends with NULL. */
bool mfr_among(const char *name, const char *const *names);
/* path.name, for messages: it is made for every field of every command and event, so not by printf.
 * What is too long is cut. */
void mfr_join(char out[MFR_PATH_MAX], const char *path, const char *name);
/* Checks that the table (or nothing) at index has only the named keys. False: there is nothing. */
bool mfr_check_options(lua_State *L, const mfr_state *state, int index, const char *what,
                       const char *const *names);
bool mfr_option_boolean(lua_State *L, const mfr_state *state, int index, const char *name,
                        bool otherwise);
int64_t mfr_option_count(lua_State *L, const mfr_state *state, int index, const char *name,
                         int64_t otherwise);
int64_t mfr_check_expected(lua_State *L, const mfr_state *state, int index);

/* ---- verify.c ---- */

/* moonfold.verify, moonfold.salvage, moonfold.compact */
int mfr_verify(lua_State *L);
int mfr_salvage(lua_State *L);
int mfr_compact(lua_State *L);
/* A link of a hash chain, as text: "POSITION:HEX". [-0, +1] */
void mfr_push_link(lua_State *L, int64_t position, const uint8_t link[MF_LINK_SIZE]);

/* ---- codec.c ---- */

void mfr_buffer_free(mfr_buffer *buffer);
bool mfr_buffer_reserve(mfr_buffer *buffer, size_t more);
/*
 * Pushes a buffer to encode into: [-0, +1]. It is a userdata, so that an error frees it; and each
 * use has one of its own, because any allocation may run a finalizer, and that may use the module.
 */
mfr_buffer *mfr_borrow(lua_State *L, mfr_state *state);
/* Gives the buffer's memory back for the next one; its bytes are gone. The userdata stays on the
 * stack. */
void mfr_give_back(mfr_state *state, mfr_buffer *buffer);
/* Appends the encoding of the value at index. `path` names the value in errors, which raise. */
void mfr_encode(lua_State *L, mfr_state *state, mfr_buffer *out, int index, const char *path);
/*
 * The same of a state that is folded on: a list that was marked as an array, and is not empty yet,
 * keeps its mark. For mfr_decode_exactly() alone. A script is charged nothing for it: no table may
 * stand in two places, and what would take much more memory than the sandbox does, as one string in
 * many places would, raises.
 */
void mfr_encode_exactly(lua_State *L, mfr_state *state, mfr_buffer *out, int index,
                        const char *path);
/* mfr_encode() of what stands at `path`.`field`. */
void mfr_encode_field(lua_State *L, mfr_state *state, mfr_buffer *out, int index, const char *path,
                      const char *field);
/* The same of an event, whose data may be nested as deep as any value is. */
void mfr_encode_event(lua_State *L, mfr_state *state, mfr_buffer *out, int index);
/* What stands for an absent value, where encodings follow one another to be hashed. */
void mfr_encode_absent(lua_State *L, mfr_state *state, mfr_buffer *out);
/* Pushes the value. False (and nothing pushed) when the bytes are no encoding. [-0, +1|0] */
bool mfr_decode(lua_State *L, mfr_state *state, const void *data, size_t size);
bool mfr_decode_exactly(lua_State *L, mfr_state *state, const void *data, size_t size);
struct mfr_usage;
/*
 * Sets in the table at `table` those fields of an encoded map that `usage` names, all others are
 * skipped; names that the map lacks become nil. `names`: stack index of a table that has the names
 * from index `first` on. Returns 1, 0 when the value is no map, -1 when the bytes are no encoding.
 */
int mfr_decode_fields(lua_State *L, mfr_state *state, const void *data, size_t size,
                      const struct mfr_usage *usage, int table, int names, int first);
void mfr_codec_open(lua_State *L, mfr_state *state);
void mfr_check_value(lua_State *L, const mfr_state *state, int index); /* not nil */
/* moonfold.hash, moonfold.array */
int mfr_hash(lua_State *L);
int mfr_array(lua_State *L);
/* Whether a builder has been given anything. value.c */
bool mfr_builder_begun(const mf_builder *builder);
/* The end of the value that begins at p, in an encoding that is canonical. */
const uint8_t *mfr_skip(const uint8_t *p);
/* Whether the bytes are one value as mfr_encode() writes it, and nothing else. */
bool mfr_is_canonical(const void *data, size_t size);
void mfr_hash_bytes(const void *data, size_t size, uint8_t digest[16]);
bool mfr_is_utf8(const char *text, size_t size);
bool mfr_is_name(const char *text, size_t size); /* short, and written without quotes in Lua */
/* Replaces an event with metatable (top of the stack) by a plain table of all its fields. [-1, +1]
 */
void mfr_flatten_event(lua_State *L);
/* Copies a plain value: [-0, +1]. */
void mfr_copy_value(lua_State *L, const mfr_state *state, int index, const char *path);

/* ---- readonly.c ---- */

/* When the table at index is a read-only one of a sandbox (what scripts see of the tables that they
 * made while they loaded, and of states in decide): replaces it by the table behind it. */
bool mfr_see_through(lua_State *L, int index);
/* Pushes the value, or what decide is given of it in a sandbox: a read-only view. [-0, +1] */
void mfr_push_view(lua_State *L, mfr_state *state, int index);
/* In a sandbox: replaces a script's decider at index by one of plain tables. */
bool mfr_plain_decider(lua_State *L, mfr_state *state, int index);

/* ---- meter.c ---- */

/* Work done in C for a script, in instructions of some 5 ns: raises budget_exceeded. In a host's
 * state nothing happens, here and below. */
void mfr_sandbox_charge(lua_State *L, const mfr_state *state, int64_t instructions);
/* How many bytes the state's sandbox holds. 0: there is no sandbox. */
size_t mfr_sandbox_used(const mfr_state *state);
/* Collects all garbage of a sandbox at once; the script is not charged for it. */
void mfr_sandbox_collect(const mfr_state *state);
/* Whether a decision looks at a stream beside its own; and not for the first time. */
typedef enum mfr_looking { MFR_LOOKS_NOT, MFR_LOOKS, MFR_LOOKS_AGAIN } mfr_looking;
/* The budget grows with each event of a fold, its time also by what decoding it takes. Events that
 * a decision looks at in other streams count as well, but once, and not without end. */
void mfr_sandbox_credit(lua_State *L, const mfr_state *state, const mf_event *event,
                        mfr_looking looking);
/* The call is over, as far as its scripts can tell: raises what its end would. What follows is
 * measured as another one. */
void mfr_sandbox_renew(lua_State *L, const mfr_state *state);
/* Before a function of a script that takes at most so many instructions (0: nobody knows), after
 * it, with what the first returned, and after the last of them: the hook, which costs time, runs
 * where it is needed. */
int64_t mfr_sandbox_enter(lua_State *L, const mfr_state *state, int instructions);
void mfr_sandbox_return(const mfr_state *state, int64_t outer);
void mfr_sandbox_leave(const mfr_state *state);
/* Pushes the value at index as text, without addresses. [-0, +1] */
void mfr_sandbox_tostring(lua_State *L, int index);

/* ---- json.c ---- */

/*
 * What JSON has no form for can be written as an object that stands for it: {"$base64": "..."} for
 * bytes that are no UTF-8, {"$map": [[key, value], ...]} for a map with a key that is no text.
 */
enum {
  MFR_JSON_PLAIN,  /* nothing of it: such bytes must not occur, integer keys become text */
  MFR_JSON_TAGGED, /* bytes; integer keys become text */
  MFR_JSON_EXACT   /* everything: it reads back as the same value */
};

/* Appends the JSON of an encoding that is canonical. Raises no_memory. */
void mfr_json_write(lua_State *L, const mfr_state *state, mfr_buffer *out, const void *encoded,
                    int tags);
/* The object that stands for bytes. */
void mfr_json_write_bytes(lua_State *L, const mfr_state *state, mfr_buffer *out, mf_bytes bytes);
/* A string, or the object that stands for bytes. */
void mfr_json_write_string(lua_State *L, const mfr_state *state, mfr_buffer *out, mf_bytes text);
/* Pushes the JSON of the value at index: [-0, +1]. */
int mfr_push_json(lua_State *L, mfr_state *state, int index, int tags);
/* Pushes the value, or raises invalid_argument with line and column: [-0, +1]. `tags`: the objects
 * above are read as what they stand for. `line`: the number of the first line. */
void mfr_parse_json(lua_State *L, mfr_state *state, const char *text, size_t size, bool tags,
                    size_t line);
void mfr_base64_write(char *out, const uint8_t *bytes, size_t size);
#define mfr_base64_size(size) (((size) + 2) / 3 * 4)
/* Pushes the bytes; false, and nothing pushed, when it is no base64. */
bool mfr_push_base64(lua_State *L, const char *text, size_t size);
int mfr_to_json(lua_State *L);
int mfr_from_json(lua_State *L);

/* ---- stores ---- */

struct mfr_iterator;

/* What becomes of events that are not committed yet: see cache.c. */
typedef struct mfr_outcome mfr_outcome;
mfr_outcome *mfr_outcome_new(mfr_outcome *parent); /* NULL: no memory */
/* It is known: the holder's reference goes. Nothing happens to NULL. */
void mfr_outcome_end(mfr_outcome **outcome, bool committed);

typedef struct mfr_store {
  mf_store *store;      /* NULL: closed */
  mf_txn *txn;          /* the open transaction, which every call joins */
  mfr_outcome *outcome; /* of that; NULL: nobody will tell */
  bool dry_run;         /* it is a read transaction */
  uint64_t seed;
  uint64_t number; /* among the stores that this state has opened */
  int iterators;   /* that are open */
  struct mfr_iterator *in_transaction;
  char path[];
} mfr_store;

/* User values of a store: 1 the clock function or nil, 2 the metatable of its events, 3 type names
 * by type id, 4 the domains in use: a list, or nil. */
enum {
  MFR_STORE_CLOCK = 1,
  MFR_STORE_EVENTS,
  MFR_STORE_TYPES,
  MFR_STORE_DOMAINS,
  MFR_STORE_VALUES = 4
};

/* Pushes a store that is not open. `path`: for messages. [-0, +1] */
mfr_store *mfr_new_store(lua_State *L, const mfr_state *state, mfr_text path);

/* The open store at index; raises `closed`, or invalid_argument inside evolve and its like. */
mfr_store *mfr_check_store(lua_State *L, mfr_state *state, int index);
/* The handle, looked at again after what may have run a finalizer that closed it: raises `closed`.
 */
mf_store *mfr_live(lua_State *L, const mfr_state *state, const mfr_store *store);
/* The time: the store's clock function called, or MF_NOW. `index`: the store. */
int64_t mfr_clock(lua_State *L, mfr_state *state, int index);

/*
 * A call that holds things which an error must not leak. mfr_protect() runs `body` in a protected
 * call with this structure as its first argument, before those that are on the stack ([-arguments,
 * +results]); on an error it rolls back or aborts what the call has begun, closes its reader, and
 * raises the error again.
 */
typedef struct mfr_call {
  mfr_store *store;
  mf_txn *txn;               /* what the call reads and writes in; may be NULL */
  bool own;                  /* the transaction was begun by this call */
  bool write;                /* it may write */
  bool saved;                /* `savepoint` is set: the transaction is somebody else's */
  mfr_looking looking;       /* a decision looks at another stream: */
  struct mfr_call *decision; /* that of this call, */
  bool lasting; /* with a decider that is the same table for as long as the sandbox lives */
  bool past;    /* the log is taken to end at `as_of` */
  int64_t as_of;
  int bounded;      /* instructions that the next function called takes at most; 0: not known */
  int64_t deadline; /* by mfr_monotonic(): a fold stops there; 0: at its end */
  const struct mfr_loaded *loaded; /* the decider whose script runs; NULL: a table's */
  mf_savepoint savepoint;
  mfr_outcome *outcome; /* of what the call itself stages; made when somebody wants to know */
  mf_reader *reader;
  mf_reader *gathered; /* has the stream's events in memory; NULL: they are read. Not the call's */
  struct mfr_context *context; /* the one that is valid, while decide runs */
  struct mfr_rolls *rolls;     /* what its chance gives; NULL: what the seed says */
  /* For messages: which script function runs, and on what. */
  const char *phase;
  mf_event event; /* while evolve or upcast runs */
  mfr_text stream, command_type;
  mfr_buffer refusal;  /* the record of a command that the script refuses; freed by the call */
  int64_t recorded_at; /* of that */
  char event_type[MF_TYPE_MAX]; /* after a failure: that of `event`, whose own is gone */
} mfr_call;

/* Adds stream, position and types to the error on top, from what the call knows. */
void mfr_describe_failure(lua_State *L, const mfr_call *call);
int mfr_protect(lua_State *L, mfr_state *state, mfr_call *call, lua_CFunction body, int arguments,
                int results);
void mfr_call_begin(lua_State *L, mfr_state *state, mfr_call *call, bool write);
/* Takes back what the call has staged, and lets go of what it holds. */
void mfr_call_release(mfr_call *call);
void mfr_call_commit(lua_State *L, mfr_state *state, mfr_call *call);
/* Calls a script function: [-(arguments + 1), +results], with the phase set for messages. */
void mfr_call_script(lua_State *L, mfr_state *state, mfr_call *call, const char *phase,
                     int arguments, int results);

/* ---- events.c ---- */

/* What an event that was read consists of. */
typedef enum mfr_field {
  MFR_TYPE,
  MFR_DATA,
  MFR_METADATA,
  MFR_MESSAGE_ID,
  MFR_STREAM_NAME,
  MFR_STREAM_POSITION,
  MFR_GLOBAL_POSITION,
  MFR_RECORDED_AT,
  MFR_CODE_DIGEST,
  MFR_FIELDS
} mfr_field;

const char *mfr_field_name(mfr_field field);
void mfr_events_open(lua_State *L, uint64_t seed); /* pushes the metatable of a store's events */
/* Push a field's name, a stream's name, data or metadata (nil for none): [-0, +1]. `events`: stack
 * index of the metatable. */
void mfr_push_field_name(lua_State *L, int events, mfr_field field);
void mfr_push_stream_name(lua_State *L, int events, mf_bytes name);
void mfr_push_data(lua_State *L, mfr_state *state, const mf_event *event);
void mfr_push_metadata(lua_State *L, mfr_state *state, const mf_event *event);
/* The digest of the code that decided it, or nil. Scripts do not see it, because an event that is
 * folded before it is recorded has none. */
void mfr_push_code_digest(lua_State *L, const mfr_state *state, int events, const mf_event *event);
/* Raises when the value is what the program shows instead of a payload that is no encoded value. */
void mfr_refuse_foreign(lua_State *L, const mfr_state *state, int index);
/* Pushes an event: [-0, +1]. `events`, `types`: stack indices of the store's user values. */
void mfr_push_event(lua_State *L, mfr_state *state, const mf_event *event, int events, int types);
/* Replaces the event on top by what the table of upcasters at `upcast` makes of it. */
void mfr_upcast(lua_State *L, mfr_state *state, mfr_call *call, int upcast);
/*
 * Reads the event or list of events at index into `out`, whose bytes all stand in the buffer. The
 * array is a userdata left on the stack: [-0, +1].
 */
size_t mfr_check_events(lua_State *L, mfr_state *state, mfr_buffer *buffer, int index,
                        const char *what, mf_new_event **out);
int mfr_event(lua_State *L);   /* moonfold.event */
int mfr_command(lua_State *L); /* moonfold.command */
int mfr_reject(lua_State *L);  /* moonfold.reject */
/* Checks an upcast table at index (or nothing). */
void mfr_check_upcast(lua_State *L, const mfr_state *state, int index, const char *path);

/* ---- reading ---- */

typedef struct mfr_range {
  mf_read_options options;
  int expected; /* stack index of the expectation as given; 0: none */
} mfr_range;

extern const char *const mfr_read_options[], *const mfr_log_options[]; /* of a stream, of the log */
/* Options of the reading functions, which are called `names`. Leaves two values on the stack: [-0,
 * +2]. */
void mfr_check_range(lua_State *L, mfr_state *state, int index, const char *const *names,
                     mfr_range *range);
void mfr_open_reader(lua_State *L, mfr_state *state, mfr_call *call, const mfr_range *range);
void mfr_close_reader(mfr_call *call);
/* The next event of call->reader; false at the end. Raises. */
bool mfr_next(lua_State *L, mfr_state *state, mfr_call *call, mf_event *event);

/* ---- usage.c ---- */

/* What a handler that does not keep its event reads of it. A userdata. */
typedef struct mfr_usage {
  unsigned fields;  /* bits 1 << mfr_field: those of the event */
  bool data_kept;   /* it does more with data than reading the fields below: data must be fresh */
  int instructions; /* that a call takes at most, without metamethods; 0: it cannot be told */
  int count;
  mfr_text names[MFR_USED_MAX];
} mfr_usage;

/* Its user values: the list of names; see push_lasting_plan(). */
enum { MFR_USAGE_NAMES = 1, MFR_USAGE_PLAN, MFR_USAGE_VALUES = 2 };

void mfr_usage_open(lua_State *L, mfr_state *state);
/* Pushes the usage of the function at index; or false, and returns NULL, when it may keep the
 * event. [-0, +1] */
const mfr_usage *mfr_usage_of(lua_State *L, mfr_state *state, int index);

/* ---- fold.c ---- */

/* How events of a type are given to their handler, when it is known not to keep them. */
typedef struct mfr_plan {
  uint32_t type_id; /* 0: none */
  const mfr_usage *usage;
  bool data_set; /* the event's `data` is the table that is used again */
} mfr_plan;

/* The parts of a decider, as stack indices. */
typedef struct mfr_decider {
  int initial_state, evolve, decide, upcast;   /* 0: none */
  int event_shapes, command_shapes, invariant; /* 0: none */
  int handlers;  /* a table: type id -> handler, or plan of one, filled as events come */
  int64_t given; /* events that were given to handlers in this fold; see fold.c */
  mfr_plan plans[MFR_PLANS];
  int state;         /* where the state stands */
  int events, types; /* the store's user values */
  int trace; /* where the keys of the part to watch, what was found, and two buffers stand */
  bool evolve_is_table;
  bool alone;  /* one event is folded, which a command has led to */
  bool behind; /* the fold ends before the stream does */
  /* Of a loaded decider, for what is kept of its states; see cache.c. */
  const struct mfr_loaded *loaded;
  const void *identity;               /* NULL: nothing is kept */
  bool snapshots;                     /* they are used */
  int64_t snapshot;                   /* version of the newest one that is known */
  int64_t due;                        /* version before which there is no point in another one */
  bool check_shapes, check_invariant; /* of every event that is folded */
  int findings; /* stack index of what an inspection has found, two buffers behind it; 0: none */
} mfr_decider;

/* Checks the decider at index and pushes its parts. */
void mfr_check_decider(lua_State *L, mfr_state *state, int index, const char *what, bool decides);
void mfr_unpack_decider(lua_State *L, int index, int store, mfr_decider *decider);
void mfr_initial_state(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *decider);
/* Folds what call->reader has left into the state; returns the version of the last event, or
 * `version`. */
int64_t mfr_fold(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *decider,
                 int64_t version);
/* Folds one event that was not read but is about to be recorded. */
void mfr_fold_one(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *decider,
                  const mf_event *event);
int mfr_aggregate_stream(lua_State *L);
/* Aggregates call->stream in an open call; the others are stack indices. [-0, +1] */
void mfr_aggregate(lua_State *L, mfr_state *state, mfr_call *call, int store, int decider,
                   int options);
extern const char *const mfr_aggregate_options[];
/* Folds call->stream up to a version, from its beginning or from what is kept of it; returns the
 * version of the state. Leaves behind whatever, then the state and what an inspection has found, or
 * nil, on top. `store`, `decider`: stack indices. */
int64_t mfr_fold_stream(lua_State *L, mfr_state *state, mfr_call *call, int store, int decider,
                        int64_t to, bool inspect);

/* ---- many.c ---- */

int mfr_aggregate_streams(lua_State *L);

/* ---- inspect.c ---- */

/* Folds call->event as any fold does, and notes what is wrong. The answer of push_handler() is on
 * top: [-1, +0]. */
void mfr_inspect_event(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *decider);
/* Whether a handler that does not keep its event, the one at an index, cannot have written to it
 * either: it is known to read fields, and what it reads of this one holds no table. */
bool mfr_only_reads(lua_State *L, const mfr_decider *decider, const mfr_usage *usage, int event);
/* Notes it when the invariant does not hold. */
void mfr_inspect_state(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *decider);

/* ---- past.c ---- */

/* The version that the call's stream had when the log had come to call->as_of; MF_LAST where the
 * call is no look at the past. */
int64_t mfr_past_version(lua_State *L, mfr_state *state, mfr_call *call);

/* ---- shapes.c ---- */

void mfr_shapes_open(lua_State *L, mfr_state *state);
/* Checks the `field` (events, commands) of the decider at an index, if it has one: well-formed, and
 * only of types that its `handlers` (evolve, decide) have. Once for each table. */
void mfr_check_shapes(lua_State *L, const mfr_state *state, int decider, const char *what,
                      const char *field, const char *handlers);
/* Whether a type's data has the shape that is declared for it, if any. When not: [-0, +2] the path
 * of what is wrong, which begins with "data", and what is wrong. */
bool mfr_has_shape(lua_State *L, const mfr_state *state, int shapes, mfr_text type, int value);
/* Calls the decider's invariant with the state. False when it does not hold: [-0, +1] why. */
bool mfr_invariant_holds(lua_State *L, mfr_state *state, mfr_call *call,
                         const mfr_decider *decider);
/* The same, but raises script_error. */
void mfr_check_invariant(lua_State *L, mfr_state *state, mfr_call *call,
                         const mfr_decider *decider);

/* ---- handle.c, context.c, iterators.c, stores.c, scripts.c ---- */

int mfr_handle(lua_State *L);
int mfr_attempt(lua_State *L);
int mfr_decide(lua_State *L);

/* The option `rolls`: what context:random returns, one after the other, where a spec says it. */
typedef struct mfr_rolls {
  size_t count, next;
  struct {
    bool is_integer;
    int64_t integer;
    double number;
  } values[];
} mfr_rolls;

/* Pushes the rolls that the options at an index give, or nil, and returns NULL. [-0, +1] */
mfr_rolls *mfr_check_rolls(lua_State *L, const mfr_state *state, int index);
/* Raises when some are left: a decision rolled less often than the spec says. */
void mfr_check_rolled(lua_State *L, const mfr_state *state, const mfr_rolls *rolls);

/* What decide is given: a userdata whose user values are the store, and the versions of the streams
 * that it has looked at, and which it has begun to look at: tables by name, or nil. */
typedef struct mfr_context {
  mfr_call *call; /* NULL: the decision is over */
  uint64_t random[4];
  bool chance; /* it was asked for a random number, and has made the generator's seed */
  void (*make_seed)(lua_State *L, mfr_state *state, const mfr_call *call, uint8_t seed[16]);
} mfr_context;

enum { MFR_CONTEXT_STORE = 1, MFR_CONTEXT_READS, MFR_CONTEXT_LOOKED };

/* Pushes the context for one call of decide, and makes it valid until mfr_end_context(). */
void mfr_push_context(lua_State *L, mfr_state *state, mfr_call *call, int store,
                      void (*make_seed)(lua_State *L, mfr_state *state, const mfr_call *call,
                                        uint8_t seed[16]));
void mfr_end_context(mfr_call *call);
void mfr_context_open(lua_State *L, mfr_state *state);

int mfr_events_iterator(lua_State *L);
int mfr_all_events(lua_State *L);
int mfr_streams(lua_State *L);
int mfr_commands(lua_State *L); /* store:commands */
/* Pushes a kept command as a table. [-0, +1] */
void mfr_push_kept(lua_State *L, mfr_state *state, const mf_kept_command *kept);
void mfr_kept_reject(lua_State *L, mfr_state *state);
void mfr_iterators_open(lua_State *L, mfr_state *state);
void mfr_end_iterators(mfr_store *store); /* those that were made in the transaction */

int mfr_open(lua_State *L);
void mfr_stores_open(lua_State *L, mfr_state *state);
/* Pushes a new metatable with the functions as methods, each with the state as upvalue 1. [-0, +1]
 */
void mfr_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);
void mfr_set_functions(lua_State *L, const luaL_Reg *functions); /* upvalue 1 copied */

/* A Lua file inside the binary; the list ends with an empty one. build/embedded.c holds it. */
typedef struct mfr_script {
  const char *module; /* "moonfold.spec" */
  const char *path;   /* "scripts/moonfold/spec.lua": also the chunk's name */
  const char *source;
  size_t size;
} mfr_script;

extern const mfr_script mfr_scripts[];

void mfr_scripts_open(lua_State *L);
/* Runs a script as require would, after the module itself. [-0, +1] */
int mfr_open_script(lua_State *L, int index);

#endif
