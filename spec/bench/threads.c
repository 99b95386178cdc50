/*
 * Durable appends of one event by several threads through one handle: events a second, against one
 * thread. Appends that wait together share a commit.
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct job {
  mf_store *store;
  double until; /* by the wall clock */
  int number;
  _Atomic uint64_t *appended;
} job;

static void *append_until(void *argument) {
  const job *j = argument;
  mf_error failure;
  char name[32];
  mf_bytes stream = stream_name(name, (uint64_t)j->number);
  for (uint64_t n = 0; wall() < j->until; n++) {
    mf_new_event event = new_event(n);
    MF(mf_append_to_stream(j->store, stream, &event, 1, NULL, NULL, &failure));
    atomic_fetch_add(j->appended, 1);
  }
  return NULL;
}

/* Appends a second. */
static double rate(mf_store *store, int count, double seconds) {
  pthread_t threads[16];
  job jobs[16];
  _Atomic uint64_t appended = 0;
  double start = wall();
  for (int i = 0; i < count; i++) {
    jobs[i] = (job){store, start + seconds * 1e9, i, &appended};
    if (pthread_create(&threads[i], NULL, append_until, &jobs[i]) != 0) fail("thread", "none left");
  }
  for (int i = 0; i < count; i++)
    pthread_join(threads[i], NULL);
  return (double)appended / (wall() - start) * 1e9;
}

int main(int argc, char **argv) {
  static const int counts[] = {1, 4, 16};
  bench b = bench_start(argc, argv);
  samples rates[3];
  double seconds = b.quick ? 0.15 : 0.6;
  mf_store *store = open_store(file_in(&b, "threads.fold"), MF_FULL);
  rate(store, 16, 0.05); /* warm up */
  for (int run = 0; run < b.runs; run++)
    for (int i = 0; i < 3; i++)
      rates[i].of[run] = rate(store, counts[i], seconds);
  for (int i = 1; i < 3; i++)
    report(&b, "threads", &rates[i], "events/s", &rates[0], "1 thread",
           "full, 1 a commit, %d threads", counts[i]);
  close_store(store);
  return 0;
}
