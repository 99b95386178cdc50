/*
 * Reading from C, warm, CPU time for each event: against a cursor or gets on bare LMDB that holds
 * the same payloads; opening; and the size of the file. Stores of one stream and of 10,000
 * interleaved ones, written in batches of 1000 and one by one.
 */
#include "bench.h"

#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MANY 10000

/* What is done to the store (ours) and to bare LMDB (yard); returns how many events it was. */
typedef struct subject {
  mf_store *store;
  bare *yard;
  uint64_t events, streams;
} subject;

typedef uint64_t operation(const subject *s);

static double cost(operation *operate, const subject *s) {
  double start = cpu();
  uint64_t events = operate(s);
  return (cpu() - start) / (double)events;
}

static void compare(const bench *b, const char *name, operation *ours, const subject *s,
                    operation *theirs, const subject *t, const char *yardstick) {
  samples values, yards;
  ours(s), theirs(t); /* warm up */
  for (int run = 0; run < b->runs; run++) {
    values.of[run] = cost(ours, s);
    yards.of[run] = cost(theirs, t);
  }
  report(b, "read", &values, "ns/event", &yards, yardstick, "%s", name);
}

static uint64_t log_of_store(const subject *s) {
  return read_all(s->store, (mf_bytes){NULL, 0}, 1, MF_LAST);
}

static uint64_t log_of_bare(const subject *s) {
  return bare_read(s->yard, 1, s->yard->next - 1);
}

/* The same with what a reader that holds no transaction and trusts no disk must do besides: copy each
 * payload, and compute a checksum of it. */
static uint64_t log_of_checked(const subject *s) {
  static volatile uint64_t sink;
  static unsigned char copies[1024][256];
  MDB_txn *txn;
  MDB_cursor *cursor;
  MDB_val key, value;
  uint64_t count = 0, sum = 0;
  DB(mdb_txn_begin(s->yard->env, NULL, MDB_RDONLY, &txn));
  DB(mdb_cursor_open(txn, s->yard->tree, &cursor));
  while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
    unsigned char *copy = copies[count++ % 1024];
    memcpy(copy, value.mv_data, PAYLOAD);
    sum += XXH3_64bits_withSeed(copy, PAYLOAD, count);
  }
  mdb_cursor_close(cursor);
  mdb_txn_abort(txn);
  sink = sum;
  (void)sink;
  return count;
}

/* Every stream of up to 500, spread over the store. */
static uint64_t streams_of_store(const subject *s) {
  char name[32];
  uint64_t count = 0;
  for (uint64_t i = 0; i < 500 && i < s->streams; i++)
    count += read_all(s->store, stream_name(name, i * 7919 % s->streams), 1, MF_LAST);
  return count;
}

/* The payloads of the same streams, got one by one by their position. */
static uint64_t streams_of_bare(const subject *s) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < 500 && i < s->streams; i++)
    count += bare_get(s->yard, 1 + i * 7919 % s->streams, s->streams);
  return count;
}

static subject build(const bench *b, const char *name, uint64_t events, uint64_t streams,
                     size_t batch) {
  writer w = {open_store(file_in(b, name), MF_NONE), streams, 0};
  append_events(&w, events, batch);
  return (subject){w.store, NULL, events, streams};
}

static void report_size(const bench *b, const char *name, const subject *s, size_t batch) {
  samples bytes, payloads;
  struct stat file;
  SYS(stat(file_in(b, name), &file));
  for (int run = 0; run < b->runs; run++)
    bytes.of[run] = (double)file.st_size / (double)s->events, payloads.of[run] = PAYLOAD;
  report(b, "size", &bytes, "bytes/event", &payloads, "payload",
         "file, %llu stream%s, %zu a commit", (unsigned long long)s->streams,
         s->streams == 1 ? "" : "s", batch);
}

static bare build_bare(const bench *b, const char *name, uint64_t events) {
  bare yard = bare_open(file_in(b, name), MDB_NOSYNC);
  bare_append(&yard, events, BATCH_MAX);
  return yard;
}

static double open_and_close(const char *path) {
  double start = wall();
  close_store(open_store(path, MF_FULL));
  return (wall() - start) / 1e3;
}

static double open_and_close_bare(const char *path) {
  double start = wall();
  bare yard = bare_open(path, 0);
  bare_close(&yard);
  return (wall() - start) / 1e3;
}

/* The files are closed, and still in the page cache. */
static void measure_open(const bench *b, const char *store, const char *yard, uint64_t events) {
  samples ours, theirs;
  for (int run = 0; run < b->runs; run++) {
    double times[2][9];
    for (int i = 0; i < 9; i++) {
      times[0][i] = open_and_close(file_in(b, store));
      times[1][i] = open_and_close_bare(file_in(b, yard));
    }
    ours.of[run] = median(times[0], 9);
    theirs.of[run] = median(times[1], 9);
  }
  report(b, "open", &ours, "us", &theirs, "LMDB", "open and close, %llu events",
         (unsigned long long)events);
}

int main(int argc, char **argv) {
  bench b = bench_start(argc, argv);
  uint64_t events = b.quick ? 200000 : 1000000, singles = events / 4;
  bare yard = build_bare(&b, "read.mdb", events);
  bare few = build_bare(&b, "few.mdb", 1000);
  subject bare_one = {NULL, &yard, events, 1}, bare_many = {NULL, &yard, events, MANY};
  subject one = build(&b, "one.fold", events, 1, BATCH_MAX);
  subject many = build(&b, "many.fold", events, MANY, BATCH_MAX);
  subject one_single = build(&b, "one-single.fold", singles, 1, 1);
  subject many_single = build(&b, "many-single.fold", singles, MANY, 1);
  subject small = build(&b, "few.fold", 1000, 1, BATCH_MAX);

  report_size(&b, "one.fold", &one, BATCH_MAX);
  report_size(&b, "many.fold", &many, BATCH_MAX);
  report_size(&b, "one-single.fold", &one_single, 1);
  report_size(&b, "many-single.fold", &many_single, 1);
  compare(&b, "log, 1 stream", log_of_store, &one, log_of_bare, &bare_one, "LMDB cursor");
  compare(&b, "log, 10000 streams", log_of_store, &many, log_of_bare, &bare_one, "LMDB cursor");
  compare(&b, "log, 1 stream", log_of_store, &one, log_of_checked, &bare_one, "checked cursor");
  compare(&b, "log, 10000 streams", log_of_store, &many, log_of_checked, &bare_one,
          "checked cursor");
  compare(&b, "stream, 1 stream", streams_of_store, &one, log_of_bare, &bare_one, "LMDB cursor");
  compare(&b, "stream, 10000 interleaved", streams_of_store, &many, streams_of_bare, &bare_many,
          "LMDB gets");
  compare(&b, "log, written one by one", log_of_store, &one_single, log_of_store, &one, "batches");
  compare(&b, "log, 10000 streams, written one by one", log_of_store, &many_single, log_of_store,
          &many, "batches");

  subject all[] = {one, many, one_single, many_single, small};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    close_store(all[i].store);
  bare_close(&yard);
  bare_close(&few);
  measure_open(&b, "few.fold", "few.mdb", 1000);
  measure_open(&b, "many.fold", "read.mdb", events);
  return 0;
}
