/*
 * Appends by several threads through one handle: events a second, against one thread. Those that
 * wait together share a commit, so that what a sync costs is divided; without sync the threads take
 * turns at the one write lock. Each thread has a stream of its own, or all write to 10,000.
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS_MAX 16

typedef struct work {
  mf_store *store;
  size_t batch;     /* events in an append */
  uint64_t streams; /* shared by the threads; 1: each has its own */
  uint64_t most;    /* events, lest the disk fills up */
  double until;     /* by the wall clock */
  _Atomic uint64_t appended;
  _Atomic uint64_t started; /* threads */
} work;

static void *append_until(void *argument) {
  work *w = argument;
  mf_error failure;
  mf_new_event events[BATCH_MAX];
  char name[32];
  uint64_t number = atomic_fetch_add(&w->started, 1), turn = number * 7919;
  while (wall() < w->until && w->appended < w->most) {
    mf_bytes stream = stream_name(name, w->streams == 1 ? number : turn++ % w->streams);
    for (size_t i = 0; i < w->batch; i++)
      events[i] = new_event(turn + i);
    MF(mf_append_to_stream(w->store, stream, events, w->batch, NULL, NULL, &failure));
    atomic_fetch_add(&w->appended, w->batch);
  }
  return NULL;
}

/* Events a second. */
static double rate(mf_store *store, size_t batch, uint64_t streams, int count, double seconds) {
  pthread_t threads[THREADS_MAX];
  double start = wall();
  work w = {store, batch, streams, 100000, start + seconds * 1e9, 0, 0};
  for (int i = 0; i < count; i++)
    if (pthread_create(&threads[i], NULL, append_until, &w) != 0) fail("thread", "none left");
  for (int i = 0; i < count; i++)
    pthread_join(threads[i], NULL);
  return (double)w.appended / (wall() - start) * 1e9;
}

static void measure(const bench *b, mf_durability durability, const char *level, uint64_t streams,
                    size_t batch) {
  static const int counts[] = {1, 4, THREADS_MAX};
  samples rates[3];
  const char *path = file_in(b, "threads.fold");
  writer w = {open_store(path, MF_NONE), streams == 1 ? THREADS_MAX : streams, 0};
  append_events(&w, w.streams, BATCH_MAX); /* the streams exist */
  close_store(w.store);
  mf_store *store = open_store(path, durability);
  double seconds = b->quick ? 0.04 : 0.2;
  rate(store, batch, streams, THREADS_MAX, seconds / 4); /* warm up */
  for (int run = 0; run < b->runs; run++)
    for (int i = 0; i < 3; i++)
      rates[i].of[run] = rate(store, batch, streams, counts[i], seconds);
  for (int i = 0; i < 3; i++)
    report(b, "threads", &rates[i], "events/s", i ? &rates[0] : NULL, i ? "1 thread" : "",
           "%s, %s, %zu a commit, %d thread%s", level,
           streams == 1 ? "a stream each" : "10000 streams", batch, counts[i], i ? "s" : "");
  close_store(store);
  unlink(path);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    mf_durability durability;
  } levels[] = {{"full", MF_FULL}, {"relaxed", MF_RELAXED}, {"none", MF_NONE}};
  static const uint64_t streams[] = {1, 10000};
  static const size_t batches[] = {1, 10, 100, 1000};
  bench b = bench_start(argc, argv);
  for (size_t l = 0; l < 3; l++)
    for (size_t s = 0; s < 2; s++)
      for (size_t i = 0; i < 4; i += b.quick ? 3 : 1)
        measure(&b, levels[l].durability, levels[l].name, streams[s], batches[i]);
  return 0;
}
