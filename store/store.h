/*
 * Moonfold's store: streams of events in one LMDB file.
 *
 * This header is the manual; whatever it does not promise may change. The library is useful without
 * the rest of Moonfold: it knows nothing of Lua, and the payload of an event is opaque bytes to it.
 *
 * CAVEATS, first:
 *  - One machine. LMDB maps the file into memory; network filesystems are not supported.
 *  - Not across fork(): in the child every call on a handle from the parent returns MF_CLOSED. Open
 * anew.
 *  - Opening one file twice in a process is fine: both handles share one environment. Copying or
 * replacing the file while it is open is not; use mf_backup().
 *  - A write transaction belongs to the thread that began it, and while it is open every other
 * writer of the file, in this process or another, waits. Keep it short. Readers never wait for
 * writers, nor writers for readers.
 *  - What a reader returns is borrowed: valid until the next call on the same reader.
 *  - The library prints nothing, installs no signal handler, calls no setlocale.
 *
 * THE MODEL: an event belongs to one stream, where it has a version (1, 2, 3, ...), and to the
 * store's log, where it has a position (1, 2, 3, ... without gaps, in commit order). A stream
 * exists once it has an event; a stream that does not exist has version 0. Events are never changed
 * and never removed.
 *
 * THREADS: a handle may be used by any number of threads; a transaction or a reader by one at a
 * time. Close a handle when no other thread uses it any more.
 *
 * STATUS: functions that can fail return an int: 0 (MF_OK), a positive value for an outcome that is
 * no error (MF_DONE), a negative one for a failure. Where a function takes an mf_error, NULL is
 * allowed; otherwise it is filled on failure.
 */
#ifndef MOONFOLD_STORE_H
#define MOONFOLD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MF_API __attribute__((visibility("default")))
#else
#define MF_API
#endif

#define MF_VERSION "0.1.0"

/* ---- status ---- */

/*
 * Every status there is: X(NAME, value, "code", "meaning"). Values are never renumbered. The codes
 * are those of the Lua API's error objects. The ones that only scripts can cause stand here too, so
 * that there is one set.
 */
#define MF_STATUS_MAP(X)                                                                           \
  X(OK, 0, "ok", "success")                                                                        \
  X(DONE, 1, "done", "nothing is left, or the time is up")                                         \
  X(REJECTED, 2, "rejected", "the decider refused the command")                                    \
  X(VERSION_CONFLICT, -1, "version_conflict", "the stream is not at the expected version")         \
  X(SCRIPT_ERROR, -2, "script_error", "a script failed")                                           \
  X(BUDGET_EXCEEDED, -3, "budget_exceeded", "a script used more time or memory than it may")       \
  X(INVALID_ARGUMENT, -4, "invalid_argument", "an argument cannot be used")                        \
  X(UNKNOWN_EVENT_TYPE, -5, "unknown_event_type", "no handler for this type of event")             \
  X(UNKNOWN_COMMAND_TYPE, -6, "unknown_command_type", "no handler for this type of command")       \
  X(ID_CONFLICT, -7, "id_conflict", "this id was used before, for something else")                 \
  X(NOT_FOUND, -8, "not_found", "it does not exist")                                               \
  X(READ_ONLY, -9, "read_only", "the store was opened for reading only")                           \
  X(CLOSED, -10, "closed", "the store is closed")                                                  \
  X(BUSY, -11, "busy", "somebody else holds what is needed")                                       \
  X(CORRUPT, -12, "corrupt", "the file is damaged")                                                \
  X(DISK_FULL, -13, "disk_full", "no space is left")                                               \
  X(NO_MEMORY, -14, "no_memory", "memory or address space is exhausted")                           \
  X(IO, -15, "io", "the operating system reported an error")                                       \
  X(INCOMPATIBLE_FORMAT, -16, "incompatible_format",                                               \
    "not a Moonfold file, or one of a newer version")

enum {
#define MF_STATUS_ENUM(name, value, code, text) MF_##name = (value),
  MF_STATUS_MAP(MF_STATUS_ENUM)
#undef MF_STATUS_ENUM
};

/* What went wrong, in detail. Owned by the caller; nothing in it needs freeing. */
typedef struct mf_error {
  int code;                /* one of the negative statuses */
  int64_t current_version; /* MF_VERSION_CONFLICT: the version that the stream really has */
  size_t event_index; /* MF_INVALID_ARGUMENT, MF_ID_CONFLICT: the event of the batch, from 0; else
                         SIZE_MAX */
  char message[512];  /* a sentence for people: what, where, and what to do */
} mf_error;

/* The code of a status as text ("version_conflict"), and its meaning. Static; never NULL. */
MF_API const char *mf_code(int status);
MF_API const char *mf_strerror(int status);

/* Borrowed bytes. data == NULL means "absent" wherever a field is optional. */
typedef struct mf_bytes {
  const void *data;
  size_t size;
} mf_bytes;

/* ---- limits ---- */

#define MF_STREAM_NAME_MAX 400             /* bytes; at least 1; any bytes */
#define MF_TYPE_MAX 200                    /* bytes; at least 1; any bytes */
#define MF_ID_MAX 200                      /* bytes of a message id or a command id; at least 1 */
#define MF_EVENT_MAX ((size_t)64 << 20)    /* bytes of data and metadata of one event together */
#define MF_EXTENSION_MAX ((size_t)1 << 16) /* bytes */
#define MF_TYPES_MAX 1048576               /* distinct event types in one store */

/*
 * Bytes of a link of the hash chain (BLAKE2b) that a tamper-evident store has over its commits.
 * Each commit's link stands for everything that was recorded up to it. Who has the file can rewrite
 * it, links included: it is a link written down elsewhere (mf_stats.link, with mf_stats.events)
 * that proves by mf_verify() that the history up to it is what it was then. Equal histories,
 * committed in the same pieces, have equal links. It does not stand for what is kept beside the
 * log: who suspects forgery drops the snapshots. A commit takes 33 bytes more, and each event a
 * hash.
 */
#define MF_LINK_SIZE 32

/* ---- opening, closing ---- */

/*
 * DAMAGE: every event has a checksum that each read verifies; every other value has one, too.
 * Before LMDB enters the trees of a file, mf_open() has walked them with a walker of its own, as
 * long as they have at most 2048 pages: damage there is MF_CORRUPT. In a larger file mf_verify()
 * finds it, and LMDB, which trusts its pages, may crash on it. mf_salvage() makes a new store of
 * what is left.
 */

/*
 * What an acknowledged append survives:
 *   MF_FULL     a killed process, a crashed system, a power cut. Two flushes a commit.
 *   MF_RELAXED  a killed process. After a system crash or a power cut the last commits may be
 * missing, but what is there is a consistent prefix of the log: never a hole, never half an append.
 * One flush a commit. MF_NONE     a killed process. After a system crash or a power cut the file
 * may be damaged. No flush until mf_close(). For tests, imports that can be repeated, and caches.
 * Openers at MF_FULL and MF_RELAXED mix, each keeping its own promise. A writer at MF_NONE would
 * void the promise of the others, so it and they exclude each other (MF_BUSY). MF_DURABILITY_ANY
 * joins the level at which others have the file open, and is MF_FULL where nobody does. Read-only
 * openers do not count.
 */
typedef enum mf_durability { MF_DURABILITY_ANY = 0, MF_FULL, MF_RELAXED, MF_NONE } mf_durability;

typedef struct mf_store mf_store;
typedef struct mf_txn mf_txn;
typedef struct mf_reader mf_reader;
typedef struct mf_streams mf_streams;

typedef struct mf_open_options {
  size_t size;              /* sizeof(mf_open_options) */
  bool no_create;           /* a missing file is MF_NOT_FOUND instead of being created */
  bool read_only;           /* appends return MF_READ_ONLY; implies no_create */
  mf_durability durability; /* see above */
  /* Microseconds since the epoch, called once for each append that names no time; NULL: the
   * system's clock. */
  int64_t (*clock)(void *context);
  void *clock_context;
  /* The seed of a store that this call creates: with that of another store, an import of all its
   * events gives the same generated ids. 0: a random one. Not looked at when the store exists. */
  uint64_t seed;
  /* A store that this call creates gets a hash chain over its commits, see MF_LINK_SIZE. Not looked
   * at when the store exists. */
  bool tamper_evident;
  /* Every page of the trees is looked at before anything is read through them, also in a file with
   * more than 2048 of them, where opening else looks at none: about 5 microseconds each. Not done
   * where this process has the file open already. mf_verify() looks at all else, too. */
  bool check_pages;
} mf_open_options;

/*
 * Opens the store in the file `path`, creating it when it is missing, or with ":memory:" a new
 * store that is gone when it is closed. `options` may be NULL. Beside the file stands its lock
 * file, `path`-lock; leave it there.
 *
 * Errors: MF_NOT_FOUND (missing, and not to be created), MF_INCOMPATIBLE_FORMAT (not a Moonfold
 * file: it is not touched, and nothing is left beside it; or a newer format), MF_CORRUPT (truncated
 * or damaged), MF_BUSY (durability, see above), MF_READ_ONLY (no permission to write), MF_DISK_FULL
 * (for a new file, or for a lock file, which readers need, too), MF_IO, MF_NO_MEMORY,
 * MF_INVALID_ARGUMENT.
 */
MF_API int mf_open(const char *path, const mf_open_options *options, mf_store **store,
                   mf_error *error);

/*
 * Closes the handle. NULL is allowed. Readers that are still open return MF_CLOSED from then on and
 * must still be closed. A write transaction that is still open keeps the handle open: MF_BUSY, end
 * it first. A store at MF_NONE is synced: MF_IO or MF_DISK_FULL tell that this failed (the handle
 * is closed nevertheless).
 */
MF_API int mf_close(mf_store *store);

/* Facts about an open handle. The durability that it has; whether it may write. */
MF_API mf_durability mf_store_durability(const mf_store *store);
MF_API bool mf_store_read_only(const mf_store *store);

/* The time by the store's clock, in microseconds since the epoch. */
MF_API int64_t mf_now(const mf_store *store);

/* ---- transactions ---- */

/*
 * Begins a write transaction: what is appended in it becomes visible and durable together, at
 * mf_commit(), or not at all. It waits for other writers. It belongs to the calling thread, which
 * must end it. Reads that are given the transaction see what it has appended. Appends are staged in
 * memory until the commit.
 *
 * Errors: MF_BUSY (this thread has a write transaction open on the same file already, or a read
 * transaction on the same ":memory:" store, for which the commit would wait), MF_READ_ONLY,
 * MF_CLOSED, MF_IO, MF_NO_MEMORY.
 */
MF_API int mf_begin(mf_store *store, mf_txn **txn, mf_error *error);

/*
 * Begins a read transaction: every read that is given it sees the store as it was now. It pins old
 * pages of the file, which then cannot be reused: keep it short. End it with mf_abort().
 *
 * It may be appended to, for a look ahead: reads in it see what was appended, nobody else ever
 * does, and mf_commit() of it is MF_READ_ONLY.
 *
 * Errors: MF_BUSY (no reader slot is free), MF_CLOSED, MF_IO, MF_NO_MEMORY.
 */
MF_API int mf_begin_read(mf_store *store, mf_txn **txn, mf_error *error);

/*
 * Commits, and frees the transaction whatever is returned. On failure nothing of it was recorded.
 * Errors: MF_DISK_FULL, MF_IO, MF_NO_MEMORY, MF_CORRUPT; and what doomed the transaction earlier:
 * after one of these four, every later call in the transaction and its commit return the same.
 * MF_BUSY: the address space is limited (ulimit -v), the map had to grow, and another process wrote
 * meanwhile: repeat.
 */
MF_API int mf_commit(mf_txn *txn, mf_error *error);

/*
 * A place in a write transaction to go back to: mf_rollback() takes back what was appended since,
 * and nothing else. Readers that were opened since must be closed first. A savepoint is spent when
 * an earlier one is rolled back to, and when the transaction ends. It owns nothing.
 */
typedef struct mf_savepoint {
  size_t events, bytes, streams, created, types, ids, undo, beside[3];
} mf_savepoint;

MF_API mf_savepoint mf_save(const mf_txn *txn);
MF_API void mf_rollback(mf_txn *txn, mf_savepoint savepoint);

/* Drops the transaction and all that was appended in it. NULL is allowed. */
MF_API void mf_abort(mf_txn *txn);

/* ---- appending ---- */

/* What may be expected of a stream: an exact version (0: it does not exist), or one of these. */
#define MF_NO_CONCURRENCY_CHECK ((int64_t)-1)
#define MF_STREAM_EXISTS ((int64_t)-2)
#define MF_STREAM_DOES_NOT_EXIST ((int64_t)0)

#define MF_NOW INT64_MIN /* "ask the clock" */

/* An event to append. */
typedef struct mf_new_event {
  mf_bytes type;       /* required */
  mf_bytes data;       /* absent and empty are the same */
  mf_bytes metadata;   /* optional */
  mf_bytes message_id; /* optional: unique in the store (see mf_append); without it the event gets a
                          generated one */
} mf_new_event;

typedef struct mf_append_options {
  size_t size;              /* sizeof(mf_append_options) */
  int64_t expected_version; /* MF_NO_CONCURRENCY_CHECK and its siblings, or a version */
  int64_t recorded_at;      /* microseconds since the epoch, or MF_NOW */
  mf_bytes command_id; /* optional: the id of the command that these events answer; unique in the
                          stream */
  uint8_t
      command_digest[16]; /* with command_id: what tells this command from another of the same id */
  mf_bytes extension;     /* optional: bytes kept with the first event (mf_event.extension); for the
                             runtime */
  mf_bytes envelope;      /* optional, and instead of the others that say how the events came to be:
                             mf_event.envelope of an event of another store, whose append is repeated
                             here. MF_INVALID_ARGUMENT when it is none */
  /* How the events came to be; see mf_event_decision(). Each is optional. */
  mf_bytes code;  /* which code decided: a digest of MF_DIGEST_SIZE bytes, kept with every event */
  mf_bytes reads; /* what the decision read; kept with the first event, like `extension` */
  mf_bytes seed;  /* of its chance, at most 64 bytes; kept with the first event */
} mf_append_options;

#define MF_APPEND_OPTIONS_INIT                                                                     \
  {                                                                                                \
    sizeof(mf_append_options), MF_NO_CONCURRENCY_CHECK, MF_NOW, {NULL, 0}, {0}, {NULL, 0},         \
        {NULL, 0}, {NULL, 0}, {NULL, 0}, {                                                         \
      NULL, 0                                                                                      \
    }                                                                                              \
  }

typedef struct mf_append_result {
  int64_t version;       /* of the stream after the last event of this append */
  int64_t first_version; /* of the first event of this append; 0 when nothing was recorded */
  int64_t
      last_position; /* in the log, of the last event of this append; 0 when nothing was recorded */
  bool created;      /* the append created the stream */
  bool repeated; /* the same append had been recorded before; the other fields tell of that one */
} mf_append_result;

/*
 * Appends `count` events to a stream inside a transaction. All of them or none: a call that
 * fails leaves no trace. Zero events check the expectation and record nothing. `options` may be
 * NULL.
 *
 * Ids: when events carry message ids, either all of those ids are new, or the whole batch is stored
 * already, in the same stream, with the same types and bytes: then nothing is recorded and the
 * result tells of the earlier append
 * (`repeated`). Anything else is MF_ID_CONFLICT. The same for a command id within its stream, with
 * the same digest. Ids are looked at before the expectation.
 *
 * Errors: MF_VERSION_CONFLICT, MF_ID_CONFLICT, MF_INVALID_ARGUMENT (a name, type, id or event that
 * is too large or empty), and what dooms the transaction.
 */
MF_API int mf_append(mf_txn *txn, mf_bytes stream, const mf_new_event *events, size_t count,
                     const mf_append_options *options, mf_append_result *result, mf_error *error);

/* mf_begin(), mf_append(), mf_commit() in one. */
MF_API int mf_append_to_stream(mf_store *store, mf_bytes stream, const mf_new_event *events,
                               size_t count, const mf_append_options *options,
                               mf_append_result *result, mf_error *error);

/*
 * Runs `work` in a write transaction and commits it: mf_begin(), work, mf_commit() in one. What a
 * sync costs is shared: calls that wait together, and appends by mf_append_to_stream(), are written
 * in one transaction, in the order in which they came. Each succeeds or fails on its own and sees
 * those before it.
 *
 * While this thread waits, `work` may run on another one that writes to the same file. It returns
 * MF_OK to have recorded what it did, or anything else to have it taken back. It may run again,
 * when the commit of many has failed and each is tried on its own: then what it did before is gone,
 * and its context must be as at first. It may not end the transaction, nor wait for somebody who
 * writes.
 *
 * Returns what work returned, with *error as work left it; or, when nothing was recorded because of
 * them, the errors of mf_begin() and mf_commit().
 */
typedef int mf_work(mf_txn *txn, void *context, mf_error *error);
MF_API int mf_transact(mf_store *store, mf_work *work, void *context, mf_error *error);

/* What was recorded for a command id in a stream. */
typedef struct mf_command_record {
  uint8_t digest[16];
  int64_t first_version;
  int64_t last_version;
  int64_t last_position;
} mf_command_record;

/* Looks a command id up. Returns MF_OK, or MF_DONE where the stream has recorded nothing for it. */
MF_API int mf_find_command(mf_txn *txn, mf_bytes stream, mf_bytes command_id,
                           mf_command_record *record, mf_error *error);

/* ---- reading ---- */

#define MF_LAST INT64_MAX /* "to the end" */

typedef struct mf_read_options {
  size_t size;           /* sizeof(mf_read_options) */
  mf_bytes stream;       /* absent: the log of the whole store */
  int64_t from;          /* first version (or position) to return; 0 is the same as 1 */
  int64_t to;            /* last version (or position) to return, inclusive; MF_LAST for all */
  int64_t max_count;     /* at most so many events; -1 for all; 0 for none */
  bool backwards;        /* start at `to`, go down to `from` */
  const mf_bytes *types; /* only events of these types (as stored); NULL for all */
  size_t type_count;
  int64_t expected_version; /* of the stream; MF_NO_CONCURRENCY_CHECK for no check */
} mf_read_options;

#define MF_READ_OPTIONS_INIT                                                                       \
  { sizeof(mf_read_options), {NULL, 0}, 1, MF_LAST, -1, false, NULL, 0, MF_NO_CONCURRENCY_CHECK }

/* An event as it was recorded. Borrowed: valid until the next call on the reader that returned it.
 */
typedef struct mf_event {
  mf_bytes stream;
  mf_bytes type;
  mf_bytes data;
  mf_bytes metadata;   /* absent when the event has none */
  mf_bytes message_id; /* the one that the caller gave; absent when it was generated: see
                          mf_message_id() */
  mf_bytes extension;  /* what mf_append_options.extension held, on the first event of an append;
                          else absent */
  mf_bytes
      command_id;    /* of the command that the append answered, on its first event; else absent */
  mf_bytes envelope; /* all that was recorded beside the event, in the store's own form; absent when
                        there is nothing. To copy it into another store (mf_append_options) */
  int64_t version;   /* in its stream */
  int64_t position;  /* in the log */
  int64_t recorded_at; /* microseconds since the epoch */
  /* The same for equal types of one store, for ever; from 1. 0: the type is not committed yet. */
  uint32_t type_id;
} mf_event;

/* What mf_append_options said of a decision. */
typedef enum mf_decision_part {
  MF_DECISION_CODE = 3,
  MF_DECISION_READS,
  MF_DECISION_SEED
} mf_decision_part;

/* One part of what is known of the event's decision, or absent. Borrowed like the event itself. */
MF_API mf_bytes mf_event_decision(const mf_event *event, mf_decision_part part);

/* Writes an envelope that says no more than which code decided, for an event that was appended and
 * not read back. */
#define MF_CODE_ENVELOPE 18 /* bytes */
MF_API mf_bytes mf_code_envelope(mf_bytes code, uint8_t out[MF_CODE_ENVELOPE]);

/*
 * Opens a reader. With a transaction it sees what the transaction sees and must be closed before
 * that ends; without (txn NULL) it fixes its end now (what is appended later is not returned), and
 * holds no transaction between calls: it fetches a batch, copies it, lets go. Errors:
 * MF_VERSION_CONFLICT, MF_INVALID_ARGUMENT, MF_CLOSED, MF_BUSY (no reader slot), MF_CORRUPT,
 * MF_NO_MEMORY.
 */
MF_API int mf_reader_open(mf_store *store, mf_txn *txn, const mf_read_options *options,
                          mf_reader **reader, mf_error *error);

/* The next event: MF_OK, or MF_DONE after the last. Every event's checksum is verified: MF_CORRUPT
 * names the event. */
MF_API int mf_reader_next(mf_reader *reader, mf_event *event, mf_error *error);

/* The version of the stream (or the last position of the log) when the reader was opened, whatever
 * its range. */
MF_API int64_t mf_reader_version(const mf_reader *reader);

/*
 * Opens readers of several streams at once, each from its first event to version to[i] (MF_LAST: to
 * its end), and reads their events in the order of the log: a block that holds events of many of
 * them is read once, where one reader after the other would read it for each. All that they return
 * is in memory, at most about `most` bytes and 2^18 events: a stream for which there is no room
 * gets no reader, NULL, and neither does one that is damaged, of which mf_reader_open() tells more.
 * A stream that does not exist gets one without events. Each name once.
 * Errors: those of mf_reader_open(); then there is no reader.
 */
MF_API int mf_readers_open(mf_store *store, mf_txn *txn, const mf_bytes *streams, const int64_t *to,
                           size_t count, size_t most, mf_reader **readers, mf_error *error);

/* The next events of such a reader will be those from version `from` to version `to`, both
 * inclusive. It must be closed once more for every time. */
MF_API void mf_reader_rewind(mf_reader *reader, int64_t from, int64_t to);

/* NULL is allowed. */
MF_API void mf_reader_close(mf_reader *reader);

/*
 * The text of an event's message id, given or generated, NUL-terminated, and its length (given ids
 * may hold NULs). Generated ids are computed from the store's seed and the event's position, which
 * is all that is needed of the event.
 */
MF_API size_t mf_message_id(uint64_t seed, const mf_event *event, char text[MF_ID_MAX + 1]);
MF_API uint64_t mf_store_seed(const mf_store *store);

/* The version of a stream, 0 when it does not exist. txn may be NULL. */
MF_API int mf_stream_version(mf_store *store, mf_txn *txn, mf_bytes stream, int64_t *version,
                             mf_error *error);

/* The last position of the log, 0 when the store is empty. txn may be NULL. */
MF_API int mf_last_position(mf_store *store, mf_txn *txn, int64_t *position, mf_error *error);

/*
 * The streams whose names begin with `prefix` (all, when it is empty), in byte order, that exist
 * now. Like a reader it holds no transaction between calls. Each version is the one at the time of
 * the call that returns it.
 */
MF_API int mf_streams_open(mf_store *store, mf_txn *txn, mf_bytes prefix, mf_streams **streams,
                           mf_error *error);
MF_API int mf_streams_next(mf_streams *streams, mf_bytes *name, int64_t *version, mf_error *error);
MF_API void mf_streams_close(mf_streams *streams);

/* ---- beside the log ---- */

/*
 * Three things that belong to a store and are no events: the code that decided, snapshots of folded
 * states, and the commands that were handled. To the store each is opaque bytes. What is put in a
 * transaction is committed, rolled back and aborted with it. Reading sees what is committed, and in
 * a transaction what that has put; the two listings see what is committed. Backups contain all.
 *
 * What these functions return in an mf_bytes is memory of the caller's, to be given to mf_free().
 */
#define MF_DIGEST_SIZE 16 /* of code, whatever computes it */

MF_API void mf_free(mf_bytes bytes);

/* A piece of code, kept for ever: "which code decided this?" has an answer years later. */
typedef struct mf_code_record {
  uint8_t digest[MF_DIGEST_SIZE];
  int64_t first_seen; /* microseconds since the epoch */
  mf_bytes code;
} mf_code_record;

/*
 * Keeps the code of a digest; where it is kept already nothing happens. *committed (may be NULL)
 * tells whether it is, for good, so that the caller need not ask again. Errors: what dooms a
 * transaction.
 */
MF_API int mf_put_code(mf_txn *txn, const uint8_t digest[MF_DIGEST_SIZE], mf_bytes code,
                       bool *committed, mf_error *error);

/* Looks a digest up: MF_OK, or MF_DONE where its code is not kept. txn may be NULL. */
MF_API int mf_find_code(mf_store *store, mf_txn *txn, const uint8_t digest[MF_DIGEST_SIZE],
                        mf_code_record *record, mf_error *error);

/* The code that follows `after` (NULL: the first) in the order of the digests: MF_OK or MF_DONE. */
MF_API int mf_next_code(mf_store *store, const uint8_t after[MF_DIGEST_SIZE],
                        mf_code_record *record, mf_error *error);

/*
 * A snapshot is a state of a stream, folded by code with a digest: it spares the fold. It can be
 * missing at any time, and whatever is odd about one (a checksum, a version that the stream has
 * not, another event where it was taken) makes it missing: it is never an error. A stream keeps the
 * newest snapshot of each of the MF_SNAPSHOTS_KEPT digests whose snapshots were put last.
 */
#define MF_SNAPSHOTS_KEPT 4

typedef struct mf_snapshot {
  int64_t version; /* of the stream, at which the state stands */
  int64_t taken_at;
  mf_bytes state;
} mf_snapshot;

/* Keeps a snapshot, instead of an older one of the same digest: MF_OK, or MF_DONE where there is a
 * newer one, or disk or memory has no room to spare for it, and the transaction goes on without it.
 * Errors: MF_INVALID_ARGUMENT (the stream has no such version), and what dooms a transaction. */
MF_API int mf_put_snapshot(mf_txn *txn, mf_bytes stream, const uint8_t digest[MF_DIGEST_SIZE],
                           int64_t version, mf_bytes state, mf_error *error);

/* The snapshot that the transaction has put, counted from 0, and not committed yet. Borrowed until
 * it puts another one or ends. MF_DONE: there are not so many. */
MF_API int mf_staged_snapshot(const mf_txn *txn, size_t number, uint8_t digest[MF_DIGEST_SIZE],
                              mf_snapshot *snapshot, mf_error *error);

/* The newest snapshot at `most` or before: MF_OK, or MF_DONE where there is none. txn may be NULL.
 */
MF_API int mf_find_snapshot(mf_store *store, mf_txn *txn, mf_bytes stream,
                            const uint8_t digest[MF_DIGEST_SIZE], int64_t most,
                            mf_snapshot *snapshot, mf_error *error);

/* Drops the snapshots of a digest (NULL: all), in a transaction of its own; *count (may be NULL)
 * tells how many there were. Errors: those of mf_begin() and mf_commit(). */
MF_API int mf_drop_snapshots(mf_store *store, const uint8_t digest[MF_DIGEST_SIZE], int64_t *count,
                             mf_error *error);

/* A command that was handled, whatever came of it: opaque bytes, with what one looks for. */
typedef struct mf_kept_command {
  int64_t time; /* microseconds since the epoch, or MF_NOW */
  mf_bytes stream;
  mf_bytes command;
} mf_kept_command;

/* Keeps a command. Errors: MF_INVALID_ARGUMENT (the stream's name), and what dooms a transaction.
 */
MF_API int mf_keep_command(mf_txn *txn, const mf_kept_command *command, mf_error *error);

/*
 * Bounds what is kept, from the transaction's commit on: at most `count` commands (negative: any
 * number), none from before `oldest` (INT64_MIN: any age). A commit drops only a little more than
 * it adds, so that a bound that has become tighter is reached step by step.
 */
MF_API void mf_bound_commands(mf_txn *txn, int64_t count, int64_t oldest);

/* The command that the transaction has kept, counted from 0, and not committed yet. Borrowed until
 * it keeps another one or ends. MF_DONE: there are not so many. */
MF_API int mf_staged_command(const mf_txn *txn, size_t number, mf_kept_command *command,
                             mf_error *error);

typedef struct mf_commands mf_commands;

/*
 * Lists kept commands in the order of their time, from `since` on, of streams whose names begin
 * with `prefix`. Like a reader it holds no transaction between calls. What mf_commands_next()
 * returns is borrowed until the next call.
 */
MF_API int mf_commands_open(mf_store *store, int64_t since, mf_bytes prefix, mf_commands **commands,
                            mf_error *error);
MF_API int mf_commands_next(mf_commands *commands, mf_kept_command *command, mf_error *error);
MF_API void mf_commands_close(mf_commands *commands); /* NULL is allowed */

/* How much stands beside the log: entries, and bytes of the file that they take. */
typedef struct mf_beside_stats {
  int64_t codes, code_bytes, snapshots, snapshot_bytes, commands, command_bytes;
} mf_beside_stats;

MF_API int mf_beside(mf_store *store, mf_beside_stats *stats, mf_error *error);

/* The transaction's commit may be lost by a power cut, as with MF_RELAXED, for what can be made
 * again: one flush less. */
MF_API void mf_relax(mf_txn *txn);

/* mf_begin(), but MF_BUSY where another thread of this process is writing. */
MF_API int mf_try_begin(mf_store *store, mf_txn **txn, mf_error *error);

/* ---- other operations ---- */

/*
 * Waits until the log has reached `position`, whoever writes it, for at most *timeout microseconds
 * (NULL: for ever). Returns MF_OK, or MF_DONE when the time is up, or MF_DONE with *interrupted
 * (may be NULL) true when a signal arrived; *timeout is then what is left, so that the call can be
 * repeated.
 */
MF_API int mf_wait(mf_store *store, int64_t position, int64_t *timeout, bool *interrupted,
                   mf_error *error);

/*
 * Writes a consistent, compacted copy to the new file `path`, synced and verified as mf_verify()
 * does, while others read and write. An existing file is never overwritten (MF_INVALID_ARGUMENT).
 * On failure nothing is left at `path`; who is killed meanwhile leaves `path`.partial-NUMBER beside
 * it, which can be removed; MF_CORRUPT: the copy is not sound, as the store itself is
 * then, or the disk that it was written to.
 */
MF_API int mf_backup(mf_store *store, const char *path, mf_error *error);

/*
 * Replaces the file of a store by a compacted copy, as mf_backup() makes one: without free pages,
 * the pages of each tree in order. The copy is synced and verified before it takes the file's
 * place, with its mode and owner; a power cut leaves the one or the other, and perhaps a file
 * `path`.compact-NUMBER, which can be removed. There must be room for both.
 *
 * Nobody else may have the store open, in this process or another: MF_BUSY. Who opens it meanwhile
 * is told MF_BUSY. Other errors: those of mf_open(), mf_backup() and mf_verify().
 */
MF_API int mf_compact(const char *path, mf_error *error);

/* ---- facts about the file ---- */

/* Somebody who reads the store at this moment. While he does, the pages that were replaced since
 * are kept. */
typedef struct mf_reading {
  int64_t process;
  int64_t commits_behind; /* the commits since the one that he sees */
} mf_reading;

#define MF_READERS_TOLD 32

typedef struct mf_stats {
  size_t size;           /* sizeof(mf_stats), set by the caller */
  int64_t events;        /* the last position of the log */
  int64_t streams;       /* that exist */
  int64_t types;         /* of events that were ever recorded */
  int64_t created_at;    /* microseconds since the epoch */
  int format;            /* version of the file's format */
  int64_t page_size;     /* bytes, like all that follows */
  uint64_t file_bytes;   /* the file's size */
  uint64_t used_bytes;   /* of it, up to the last page that was ever used */
  uint64_t free_bytes;   /* of these, in free pages: reused by what is written next; a copy made by
                            mf_backup() goes without them */
  uint64_t pinned_bytes; /* of these, not before readers of old states are done */
  uint64_t log_bytes;    /* in pages of the log of events */
  uint64_t index_bytes;  /* in pages of the streams, types and ids */
  int reader_slots;      /* how many may read at the same time, over all processes */
  int readers;           /* how many do now */
  mf_reading reading[MF_READERS_TOLD]; /* the first of them */
  bool tamper_evident;                 /* it has a hash chain, and this is */
  uint8_t link[MF_LINK_SIZE];          /* the link of the last commit */
} mf_stats;

/*
 * Fills *stats, whose size the caller has set. It takes time that grows with the number of free
 * pages, not with that of events. Errors: MF_CLOSED, MF_BUSY (no reader slot), MF_IO, MF_CORRUPT.
 */
MF_API int mf_stats_of(mf_store *store, mf_stats *stats, mf_error *error);

/* The snapshots that one digest has. */
typedef struct mf_snapshot_stats {
  uint8_t digest[MF_DIGEST_SIZE];
  int64_t snapshots;
  int64_t bytes; /* of their states */
} mf_snapshot_stats;

/*
 * Counts the snapshots of each digest: of the first `room` digests that are met, in no order.
 * *count tells how many of the list were filled. It looks at every snapshot. Errors: those of
 * mf_stats_of().
 */
MF_API int mf_snapshots_by_digest(mf_store *store, mf_snapshot_stats *list, size_t room,
                                  size_t *count, mf_error *error);

/* ---- verifying ---- */

/* The parts of a store, each of which gets a verdict. */
typedef enum mf_part {
  MF_PART_PAGES,   /* meta pages, trees of pages, the free list: each page has exactly one use */
  MF_PART_LOG,     /* positions are dense; the checksum of every event and every commit */
  MF_PART_STREAMS, /* names, versions are dense, and the index agrees with the log */
  MF_PART_TYPES,   /* the names of event types */
  MF_PART_IDS,     /* message ids and command ids agree with the log */
  MF_PART_CHAIN,   /* the hash chain over commits, of a tamper-evident store */
  MF_PART_BESIDE,  /* code, snapshots and commands that are kept beside the log */
  MF_PARTS
} mf_part;

/* "pages", "log", ... Static. */
MF_API const char *mf_part_name(mf_part part);

/* Something that is wrong. Valid during the call that tells it. */
typedef struct mf_problem {
  mf_part part;
  int64_t position;    /* of the event; 0: it is not about one event */
  mf_bytes stream;     /* absent: it is not about one stream */
  uint64_t page;       /* of the file; 0: it is not about one page */
  const char *message; /* a sentence without an end, for people */
} mf_problem;

typedef struct mf_verify_options {
  size_t size; /* sizeof(mf_verify_options) */
  /* Called now and then with the pages seen so far and those that there are. False: stop. */
  bool (*progress)(void *context, uint64_t done, uint64_t total);
  void (*problem)(void *context, const mf_problem *problem); /* called for every one */
  void *context;
  /* A link of a tamper-evident store that was written down, and the position of the log that it was
   * the link of: history up to it must lead to it. NULL: none. */
  const uint8_t *link;
  int64_t link_position;
} mf_verify_options;

typedef struct mf_verify_report {
  int64_t events, commits, streams, types, ids;
  int64_t beside;                    /* entries of MF_PART_BESIDE */
  uint64_t bytes, pages, free_pages; /* of the file */
  bool tamper_evident;
  uint8_t link[MF_LINK_SIZE]; /* of the last commit */
  int64_t problems[MF_PARTS];
} mf_verify_report;

/*
 * Checks everything in the file `path`: every page, every checksum, and that the log and its
 * indexes agree. Of the first five streams whose index differs from the log, the message names the
 * first version that does and the position that each has for it; problem.position is the log's.
 * To find those, the log is read once or twice again. It does not go through LMDB and takes nothing
 * for granted: whatever bytes the file holds, it neither crashes nor loops. Others may read and
 * write meanwhile: it looks at the store as it was when it began, and like a read transaction pins
 * those pages until it returns. Memory: about 50 bytes a stream, and a byte for each 4 KiB of the
 * file. Only the file is read, but its lock file is made where it is missing.
 *
 * MF_OK: all is well. MF_CORRUPT: something is wrong, which options->problem was told. MF_DONE:
 * options->progress stopped it. Other errors: MF_NOT_FOUND, MF_INCOMPATIBLE_FORMAT (not a Moonfold
 * file, or a newer format), MF_INVALID_ARGUMENT, MF_IO, MF_NO_MEMORY; where it cannot register as a
 * reader (a lock file of another user's) and others write, why it cannot; MF_BUSY. `options` may be
 * NULL.
 */
MF_API int mf_verify(const char *path, const mf_verify_options *options, mf_verify_report *report,
                     mf_error *error);

/* ---- salvaging ---- */

/* What could not be recovered: positions of the log, or versions of a stream. Valid during the call
 * that tells it. */
typedef struct mf_loss {
  int64_t first,
      last;        /* positions; with a stream: its versions. As they were in the damaged file */
  mf_bytes stream; /* absent: positions of the log */
  const char *why; /* absent (NULL) with a stream */
} mf_loss;

typedef struct mf_salvage_options {
  size_t size; /* sizeof(mf_salvage_options) */
  /* Called now and then with the events seen so far and those that there are. False: stop. */
  bool (*progress)(void *context, uint64_t done, uint64_t total);
  void (*lost)(void *context, const mf_loss *loss);
  void *context;
} mf_salvage_options;

typedef struct mf_salvage_report {
  int64_t events, commits; /* recovered */
  int64_t lost;            /* events that the log had, and that are not recovered */
  bool renumbered;         /* some are recovered behind others that are lost: see below */
} mf_salvage_report;

/*
 * Makes a new store at `new_path` of what can be read of a damaged one, which is not changed, and
 * which nobody may write to meanwhile. Commits come back whole or not at all: one that has lost an
 * event is lost, and so are events of which it cannot be told whether their commit is whole.
 * Nothing comes back that differs from what was recorded, and nothing that was never committed,
 * unless the damage hides where the log ended. Where the trees of the file are damaged,
 * every page of it is looked at for blocks of the log; lost pages of the index cost nothing, it is
 * made anew. Code and kept commands are taken over as far as they can be read, snapshots are not.
 *
 * A log has no holes. When commits are recovered behind others that are lost, they move up:
 * positions, and versions in the streams that have lost events, are then others than they were
 * (`renumbered`), and every event keeps the message id that it had as a given one. What is missing
 * is told by options->lost, in the old numbers. Without a loss, or where only the end is lost,
 * everything has the numbers that it had.
 *
 * The result is verified before it appears at `new_path`, which must not exist. MF_OK, also with
 * losses; MF_DONE: options->progress stopped it. Errors: MF_NOT_FOUND, MF_INVALID_ARGUMENT
 * (new_path exists), MF_INCOMPATIBLE_FORMAT, MF_CORRUPT (nothing at all can be recovered), and
 * those of writing a store. `options` and `report` may be NULL.
 */
MF_API int mf_salvage(const char *path, const char *new_path, const mf_salvage_options *options,
                      mf_salvage_report *report, mf_error *error);

#ifdef __cplusplus
}
#endif
#endif
