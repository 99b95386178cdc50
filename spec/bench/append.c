/*
 * Appending without sync, CPU time for each event: against bare LMDB, which puts the same bytes
 * with MDB_APPEND in the same number of commits.
 */
#include "bench.h"

/* Commits in a run, so that every size of a batch takes about the same time. */
static uint64_t commits(const bench *b, size_t batch) {
  uint64_t normal = batch >= 1000 ? 60 : batch >= 100 ? 300 : batch >= 10 ? 1500 : 3000;
  return b->quick ? normal / 3 : normal;
}

static void measure(const bench *b, writer *w, bare *yard, size_t batch) {
  samples ours, bare_puts;
  uint64_t events = commits(b, batch) * batch;
  append_events(w, events / 10 + batch, batch); /* warm up */
  bare_append(yard, events / 10 + batch, batch);
  for (int run = 0; run < b->runs; run++) {
    double start = cpu();
    append_events(w, events, batch);
    double middle = cpu();
    bare_append(yard, events, batch);
    ours.of[run] = (middle - start) / (double)events;
    bare_puts.of[run] = (cpu() - middle) / (double)events;
  }
  report(b, "append", &ours, "ns/event", &bare_puts, "LMDB", "append, %llu stream%s, %zu a commit",
         (unsigned long long)w->streams, w->streams == 1 ? "" : "s", batch);
}

int main(int argc, char **argv) {
  static const uint64_t streams[] = {1, 10000};
  static const size_t batches[] = {1, 10, 100, 1000};
  bench b = bench_start(argc, argv);
  for (size_t s = 0; s < 2; s++) {
    char name[32];
    snprintf(name, sizeof name, "append-%zu.fold", s);
    writer w = {open_store(file_in(&b, name), MF_NONE), streams[s], 0};
    snprintf(name, sizeof name, "append-%zu.mdb", s);
    bare yard = bare_open(file_in(&b, name), MDB_NOSYNC);
    append_events(&w, streams[s], BATCH_MAX); /* the streams exist */
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
      measure(&b, &w, &yard, batches[i]);
    close_store(w.store);
    bare_close(&yard);
  }
  return 0;
}
