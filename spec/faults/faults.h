/*
 * The fault harness: it works on a store, breaks something, and looks at what is left.
 *
 *   disk.c         between the store and the system: journals writes and syncs, makes calls fail
 *   work.c         operations made from a seed: who knows (seed, writer, number) knows every byte
 *   check.c        compares a store with the witness: who sent what, and what was acknowledged
 *   power.c        builds the files that power cuts would have left, at every sync and at random
 *   errors.c       makes every call of the system fail in turn; a disk that really fills up
 *   operations.c   the same in the middle of backups, compactions, salvages, and beside the log
 *   kill.c         kills writing processes
 *   concurrency.c  processes and threads that work on one store, and what each of them sees
 *   history.c      whether that could be what they saw of one log
 *   main.c         faults MODE [--seed N] [--rounds N]; prints TAP
 *
 * The witness is kept outside the store: in the memory of a process that survives.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "store.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* ---- chance ---- */

typedef struct chance {
  uint64_t state;
} chance;

uint64_t chance_next(chance *c);
uint64_t chance_below(chance *c, uint64_t limit); /* 0 <= result < limit */

/* ---- work.c ---- */

enum {
  PARTS_MAX = 4,
  WRITERS_MAX = 64,
  PROBE = WRITERS_MAX - 1, /* the writer that the checker appends as */
  TEXT_MAX = 40000
};

typedef enum op_kind { OP_PLAIN, OP_IDS, OP_COMMAND, OP_EXPECTED, OP_TRANSACTION } op_kind;

/* One operation: its appends commit together. */
typedef struct operation {
  uint64_t seed;
  uint32_t writer, number;
  op_kind kind;
  uint32_t parts, total; /* appends; events in all */
  uint32_t counts[PARTS_MAX];
  char streams[PARTS_MAX][32];
} operation;

/* An event of an operation, with the memory for its texts. */
typedef struct made_event {
  mf_new_event event;
  char type[16], id[48], metadata[64], data[TEXT_MAX];
} made_event;

/* Every other seed stands for a store with a hash chain. */
bool is_tamper_evident(uint64_t seed);
void make_op(uint64_t seed, uint32_t writer, uint32_t number, operation *out);
void make_event(const operation *op, uint32_t index, made_event *out);
/* Reads back which operation and event `data` belongs to; false: it was never made by us. */
bool read_header(mf_bytes data, uint32_t *writer, uint32_t *number, uint32_t *index);
/* Runs it and returns its status. *position: of its last event. */
int run_op(mf_store *store, const operation *op, int64_t *position, mf_error *error);
/* Makes the same operation again, which must be answered and not recorded; only for kinds with ids.
 */
bool repeats_op(mf_store *store, const operation *op, int64_t position, char *why, size_t size);

/* ---- the witness ---- */

enum { UNSENT, SENT, ACKNOWLEDGED, FAILED };

typedef struct fate {
  uint8_t state;
  int64_t position; /* of its last event, as it was acknowledged */
  size_t moment;    /* length of the journal when it was acknowledged */
} fate;

typedef struct witness {
  uint64_t seed;
  struct {
    uint32_t count, capacity;
    fate *fates;
  } writers[WRITERS_MAX];
} witness;

fate *witness_of(witness *w, uint32_t writer, uint32_t number); /* made when it is missing */
void witness_sent(witness *w, uint32_t writer, uint32_t number);
void witness_told(witness *w, uint32_t writer, uint32_t number, int status, int64_t position);
void witness_free(witness *w);

/* ---- check.c ---- */

typedef struct expectation {
  size_t moment; /* only what was acknowledged before this moment of the journal is owed */
  uint64_t
      prefix; /* a bit for each writer: what it was told may be missing, but only the last ones */
  bool strict_fails; /* an operation that failed must not be there */
} expectation;

#define OWES_ALL                                                                                   \
  (expectation) {                                                                                  \
    SIZE_MAX, 0, false                                                                             \
  }

/* Opens the store at `path` and checks everything that was promised. False: `why` tells. */
bool check_store(const char *path, witness *w, expectation owed, char *why, size_t size);
/* The same on an open handle; the next append is not tried. */
bool check_open_store(mf_store *store, witness *w, expectation owed, char *why, size_t size);
/* check_store in a process of its own, so that a crash is a failed check. The probe's fate is not
 * kept. */
bool check_apart(const char *path, witness *w, expectation owed, char *why, size_t size);

/* ---- disk.c ---- */

/* realloc for the harness itself, which no fault reaches. */
void *sure_realloc(void *p, size_t size);

typedef enum entry_kind {
  ENTRY_WRITE,
  ENTRY_SYNC,
  ENTRY_SIZE,
  ENTRY_NAMED, /* a finished file got the store's name */
  ENTRY_FOLDER /* the folder was synced, and with it the name */
} entry_kind;

typedef struct entry {
  entry_kind kind;
  bool durable; /* a write through a descriptor that syncs each write */
  uint64_t offset;
  size_t size;
  uint8_t *data;
} entry;

/* Journals what happens to the file at `path` from now on, and before it got that name; NULL stops.
 */
void journal_follow(const char *path);
size_t journal_length(void);
const entry *journal_entry(size_t i);
void journal_free(void);
/* From now on the process is killed when it is about to sync the folder of the file that is
 * followed: what it has named there may lose that name. */
void die_before_naming(void);

/* From now on: whether every file was synced before it got a name, and the name was, too. */
void promises_begin(void);
bool promises_kept(char *why, size_t size);

typedef enum fault_kind {
  FAULT_NONE,
  FAULT_WRITE_EIO,
  FAULT_WRITE_ENOSPC,
  FAULT_WRITE_SHORT,
  FAULT_SYNC_EIO,
  FAULT_GROW,
  FAULT_OPEN,
  FAULT_MEMORY,
  FAULT_MAP,
  FAULT_KINDS
} fault_kind;

extern const char *const fault_names[FAULT_KINDS];

/* The nth call of the kind from now on fails, and when `lasting` all after it. */
void fault_arm(fault_kind kind, size_t nth, bool lasting);
/* Stops failing; returns whether any call did. */
bool fault_disarm(void);

/* ---- errors.c ---- */

/* Work with one fault, at the nth call. *happened false: there are not so many calls. */
typedef bool fault_work(const void *context, fault_kind kind, size_t nth, bool lasting,
                        bool *happened, char *why, size_t size);
/* Each of the first `every` calls fails in turn, of the others a part, each time in a process of
 * its own. *faults is added to. */
bool fault_sweep(fault_work *work_on, const void *context, size_t every, fault_kind kind,
                 bool lasting, size_t *faults, char *why, size_t size);
/* Whether a failure's status is one that such a fault may have, and its message one that a person
 * can use. */
bool told(int status, const mf_error *error, char *why, size_t size);

/* ---- history.c ---- */

enum { HISTORY_STREAMS = 4, HISTORY_LOG = HISTORY_STREAMS };

typedef enum call_kind { CALL_APPEND, CALL_VERSION, CALL_LOG, CALL_SNAPSHOT } call_kind;

/* A call and what it returned. */
typedef struct call {
  int64_t began, ended; /* nanoseconds */
  int64_t expected;     /* of an append; negative: nothing */
  int64_t version;      /* of the stream; of an append that was refused: the one it was told */
  int64_t position;     /* of an append's last event; of the end of the log that was seen */
  int32_t stream, status;
  int32_t events; /* of an append */
  call_kind kind; /* CALL_SNAPSHOT: version and position, as they were at the same moment */
} call;

/* Whether the calls are what could have been seen of one log. */
bool history_holds(const call *calls, size_t count, char *why, size_t size);

/* ---- modes; each returns the number of failures ---- */

extern const char *folder; /* where the stores are made */
extern uint64_t seed;
extern int rounds;

int power(void);
int errors(void);
int operations(void);
int small_disk(void);
int kill_writers(void);
int concurrency(void);
int checker(void);

/* Prints a line of TAP; returns 1 when it failed. */
int tell(bool fine, const char *sentence, const char *why);
void fresh_store(char path[256]);
void remove_store(const char *path);

#endif
