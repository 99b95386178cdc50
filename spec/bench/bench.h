/*
 * What the benchmarks in C share: clocks, payloads, bare LMDB as a yardstick, and one line of
 * output for each measure. They use the public header of the store only.
 *
 * Every program is called with a folder for its files, the number of runs, and "quick", "normal" or
 * "full"; run.lua does so. It prints lines of six fields, separated by tabs:
 *
 *   section  name  unit  yardstick  values of the runs  values of the yardstick in the same runs
 *
 * A failure ends the program with a message: there is nobody to recover for.
 */
#ifndef BENCH_H
#define BENCH_H

#include "store.h"

#include <lmdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS_MAX 32
#define PAYLOAD 200 /* bytes of an event's data */
#define BATCH_MAX 1000

typedef struct bench {
  const char *folder;
  int runs;
  bool quick, full;
} bench;

typedef struct samples {
  double of[RUNS_MAX];
} samples;

__attribute__((noreturn)) static inline void fail(const char *what, const char *why) {
  fprintf(stderr, "bench: %s: %s\n", what, why);
  exit(1);
}

/* Calls that return a status of the store, with `mf_error failure` in scope; LMDB's; and C's. */
#define MF(call)                                                                                   \
  do {                                                                                             \
    if ((call) < 0) fail(#call, failure.message);                                                  \
  } while (0)
#define DB(call)                                                                                   \
  do {                                                                                             \
    int rc_ = (call);                                                                              \
    if (rc_ != 0) fail(#call, mdb_strerror(rc_));                                                  \
  } while (0)
#define SYS(call)                                                                                  \
  do {                                                                                             \
    if ((call) < 0) perror(#call), exit(1);                                                        \
  } while (0)

static inline bench bench_start(int argc, char **argv) {
  if (argc != 4) fail(argv[0], "usage: FOLDER RUNS quick|normal|full");
  bench b = {argv[1], atoi(argv[2]), strcmp(argv[3], "quick") == 0, strcmp(argv[3], "full") == 0};
  if (b.runs < 1 || b.runs > RUNS_MAX) fail("RUNS", "a number from 1 to 32");
  return b;
}

/* ---- clocks, in nanoseconds ---- */

static inline double clock_of(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline double cpu(void) {
  return clock_of(CLOCK_PROCESS_CPUTIME_ID);
}

static inline double wall(void) {
  return clock_of(CLOCK_MONOTONIC);
}

static inline int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts. */
static inline double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare_doubles);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* ---- output ---- */

static inline void print_samples(const samples *s, int runs) {
  putchar('\t');
  for (int i = 0; s && i < runs; i++)
    printf(i ? " %.6g" : "%.6g", s->of[i]);
}

/* `yard` may be NULL: a measure without a yardstick. The name is made as by printf. */
__attribute__((format(printf, 7, 8))) static inline void
report(const bench *b, const char *section, const samples *value, const char *unit,
       const samples *yard, const char *yardstick, const char *name, ...) {
  va_list args;
  printf("%s\t", section);
  va_start(args, name);
  vprintf(name, args);
  va_end(args);
  printf("\t%s\t%s", unit, yardstick);
  print_samples(value, b->runs);
  print_samples(yard, b->runs);
  putchar('\n');
  fflush(stdout);
}

/* ---- data ---- */

/* Borrowed: valid until the fourth call from now. */
static inline const char *file_in(const bench *b, const char *name) {
  static char paths[4][600];
  static unsigned turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", b->folder, name);
  return path;
}

static inline uint64_t random_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Bytes that differ from event to event, and that no filesystem can compress. */
static unsigned char payload_bytes[2 * PAYLOAD + 4096];

static inline mf_bytes payload(uint64_t n) {
  static uint64_t seed;
  if (!seed) {
    seed = 88172645463325252u;
    for (size_t i = 0; i < sizeof payload_bytes; i++)
      payload_bytes[i] = (unsigned char)random_next(&seed);
  }
  return (mf_bytes){payload_bytes + n % 4096, PAYLOAD};
}

/* Six digits: "stream-000042". */
static inline mf_bytes stream_name(char buffer[32], uint64_t n) {
  memcpy(buffer, "stream-", 7);
  for (int i = 12; i > 6; i--, n /= 10) /* by hand: snprintf takes as long as a read */
    buffer[i] = (char)('0' + n % 10);
  return (mf_bytes){buffer, 13};
}

/* Whether events have half to one and a half of PAYLOAD. */
static bool sizes_vary;

static inline mf_new_event new_event(uint64_t n) {
  mf_new_event event = {{"Happened", 8}, payload(n), {NULL, 0}, {NULL, 0}};
  if (sizes_vary) event.data.size = PAYLOAD / 2 + (n * 2654435761u >> 16) % (PAYLOAD + 1);
  return event;
}

/* ---- the store ---- */

static inline mf_store *open_store(const char *path, mf_durability durability) {
  mf_error failure;
  mf_store *store;
  mf_open_options options = {.size = sizeof options, .durability = durability};
  MF(mf_open(path, &options, &store, &failure));
  return store;
}

static inline void close_store(mf_store *store) {
  int status = mf_close(store);
  if (status != MF_OK) fail("mf_close", mf_strerror(status));
}

/* Events go to `streams` streams in turn. */
typedef struct writer {
  mf_store *store;
  uint64_t streams;
  uint64_t next;
} writer;

/* One commit of `count` events: one append where there is one stream, else an append each. */
static inline void append_batch(writer *w, size_t count) {
  mf_error failure;
  char name[32];
  mf_new_event events[BATCH_MAX];
  for (size_t i = 0; i < count; i++)
    events[i] = new_event(w->next + i);
  if (w->streams == 1 || count == 1) {
    mf_bytes stream = stream_name(name, w->next % w->streams);
    MF(mf_append_to_stream(w->store, stream, events, count, NULL, NULL, &failure));
  } else {
    mf_txn *txn;
    MF(mf_begin(w->store, &txn, &failure));
    for (size_t i = 0; i < count; i++) {
      mf_bytes stream = stream_name(name, (w->next + i) % w->streams);
      MF(mf_append(txn, stream, &events[i], 1, NULL, NULL, &failure));
    }
    MF(mf_commit(txn, &failure));
  }
  w->next += count;
}

static inline void append_events(writer *w, uint64_t total, size_t batch) {
  for (uint64_t done = 0; done < total; done += batch)
    append_batch(w, total - done < batch ? (size_t)(total - done) : batch);
}

/* Reads a stream (absent: the log) to its end and returns how many events there were. */
static inline uint64_t read_all(mf_store *store, mf_bytes stream, int64_t from, int64_t to) {
  static volatile unsigned char sink;
  mf_error failure;
  mf_reader *reader;
  mf_event event;
  uint64_t count = 0;
  unsigned char sum = 0;
  mf_read_options options = MF_READ_OPTIONS_INIT;
  options.stream = stream;
  options.from = from;
  options.to = to;
  MF(mf_reader_open(store, NULL, &options, &reader, &failure));
  int status;
  while ((status = mf_reader_next(reader, &event, &failure)) == MF_OK) {
    sum = (unsigned char)(sum + ((const unsigned char *)event.data.data)[event.data.size - 1]);
    count++;
  }
  MF(status);
  mf_reader_close(reader);
  sink = sum;
  (void)sink;
  return count;
}

/* ---- bare LMDB: one tree from a number to the payload ---- */

typedef struct bare {
  MDB_env *env;
  MDB_dbi tree;
  uint64_t next;
} bare;

static inline bare bare_open(const char *path, unsigned flags) {
  bare b = {.next = 1};
  MDB_txn *txn;
  DB(mdb_env_create(&b.env));
  DB(mdb_env_set_mapsize(b.env, (size_t)64 << 30));
  DB(mdb_env_open(b.env, path, MDB_NOSUBDIR | MDB_NORDAHEAD | flags, 0644));
  DB(mdb_txn_begin(b.env, NULL, 0, &txn));
  DB(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &b.tree));
  DB(mdb_txn_commit(txn));
  return b;
}

static inline void bare_append(bare *b, uint64_t total, size_t batch) {
  for (uint64_t done = 0; done < total;) {
    MDB_txn *txn;
    DB(mdb_txn_begin(b->env, NULL, 0, &txn));
    for (size_t i = 0; i < batch && done < total; i++, done++) {
      mf_bytes bytes = payload(b->next);
      MDB_val key = {sizeof b->next, &b->next};
      MDB_val value = {bytes.size, (void *)(uintptr_t)bytes.data};
      DB(mdb_put(txn, b->tree, &key, &value, MDB_APPEND));
      b->next++;
    }
    DB(mdb_txn_commit(txn));
  }
}

/* Reads from key `from` to `to` with a cursor. */
static inline uint64_t bare_read(bare *b, uint64_t from, uint64_t to) {
  static volatile unsigned char sink;
  MDB_txn *txn;
  MDB_cursor *cursor;
  MDB_val key = {sizeof from, &from}, value;
  uint64_t count = 0;
  unsigned char sum = 0;
  DB(mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn));
  DB(mdb_cursor_open(txn, b->tree, &cursor));
  int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY);
  while (rc == 0 && count <= to - from) {
    sum = (unsigned char)(sum + ((const unsigned char *)value.mv_data)[value.mv_size - 1]);
    count++;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(cursor);
  mdb_txn_abort(txn);
  sink = sum;
  (void)sink;
  return count;
}

/* Gets every `step`th value from key `from` on, as an index would find a stream's events. */
static inline uint64_t bare_get(bare *b, uint64_t from, uint64_t step) {
  static volatile unsigned char sink;
  MDB_txn *txn;
  uint64_t count = 0;
  unsigned char sum = 0;
  DB(mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn));
  for (uint64_t at = from; at < b->next; at += step, count++) {
    MDB_val key = {sizeof at, &at}, value;
    DB(mdb_get(txn, b->tree, &key, &value));
    sum = (unsigned char)(sum + ((const unsigned char *)value.mv_data)[value.mv_size - 1]);
  }
  mdb_txn_abort(txn);
  sink = sum;
  (void)sink;
  return count;
}

static inline void bare_close(bare *b) {
  mdb_env_close(b->env);
}

#endif
