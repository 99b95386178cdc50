/*
 * What processes and threads see of each other. Each call is recorded with the time at which it
 * began and ended; then the history is checked: a stream is a counter that every append increments,
 * so versions tell the order in which the appends took effect, and that order must fit the times of
 * every call that appended, read or was refused (Herlihy and Wing's linearizability; for a counter
 * whose values are all different the check is linear). The same for the log.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES = 3, THREADS = 2, CALLS = 250, STREAMS = 4, LOG = STREAMS };

typedef struct call {
  int64_t began, ended; /* nanoseconds */
  int64_t expected, version, position;
  int32_t stream; /* LOG: the whole log */
  int32_t status;
  bool append;
} call;

typedef struct worker {
  const char *path;
  mf_store *store;
  call *calls;
  uint64_t seed;
  bool disordered;
} worker;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static mf_bytes stream_name(int32_t stream, char name[16]) {
  int size = snprintf(name, 16, "s%d", stream);
  return (mf_bytes){name, (size_t)size};
}

static void append(worker *w, call *c, int64_t known[STREAMS], chance *dice) {
  char name[16];
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_append_result result = {0};
  mf_new_event event = {.type = {"Counted", 7}};
  mf_error error = {0};
  c->append = true;
  if (chance_below(dice, 3) > 0) options.expected_version = known[c->stream];
  c->expected = options.expected_version;
  c->began = now();
  c->status = mf_append_to_stream(w->store, stream_name(c->stream, name), &event, 1, &options,
                                  &result, &error);
  c->ended = now();
  c->version = c->status == MF_OK ? result.version : error.current_version;
  c->position = result.last_position;
  known[c->stream] = c->version;
}

static void look(worker *w, call *c, int64_t known[STREAMS]) {
  char name[16];
  c->began = now();
  c->status = mf_stream_version(w->store, NULL, stream_name(c->stream, name), &c->version, NULL);
  c->ended = now();
  known[c->stream] = c->version;
}

/* Reads the log's end: positions come in order, without gaps, up to what the reader says is the
 * end. */
static void read_log(worker *w, call *c) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  int64_t last = 0;
  c->stream = LOG;
  c->began = now();
  c->status = mf_last_position(w->store, NULL, &last, NULL);
  options.from = last > 20 ? last - 20 : 1;
  int64_t next = options.from;
  if (c->status == MF_OK) c->status = mf_reader_open(w->store, NULL, &options, &reader, NULL);
  if (c->status != MF_OK) return;
  c->ended = now(); /* the end was fixed when the reader was opened */
  c->version = mf_reader_version(reader);
  while (mf_reader_next(reader, &event, NULL) == MF_OK)
    if (event.position != next++) w->disordered = true;
  if (next != c->version + 1) w->disordered = true;
  mf_reader_close(reader);
}

static void *work(void *argument) {
  worker *w = argument;
  chance dice = {w->seed};
  int64_t known[STREAMS] = {0};
  for (int i = 0; i < CALLS; i++) {
    call *c = &w->calls[i];
    c->stream = (int32_t)chance_below(&dice, STREAMS);
    switch (chance_below(&dice, 5)) {
    case 0:
      look(w, c, known);
      break;
    case 1:
      read_log(w, c);
      break;
    default:
      append(w, c, known, &dice);
    }
  }
  return NULL;
}

static int run_process(const char *path, int process, call *calls) {
  mf_store *store;
  mf_error error;
  pthread_t threads[THREADS];
  worker workers[THREADS];
  int wrong = 0;
  mf_open_options options = {.size = sizeof options, .tamper_evident = is_tamper_evident(seed)};
  if (mf_open(path, &options, &store, &error) != MF_OK) return 1;
  for (int i = 0; i < THREADS; i++) {
    int n = process * THREADS + i;
    workers[i] = (worker){path, store, calls + n * CALLS, seed + (uint64_t)n, false};
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) return 1;
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    wrong += workers[i].disordered;
  }
  return wrong + (mf_close(store) != MF_OK);
}

/* ---- the checker ---- */

/* When the increments of one counter began and ended, by value. */
typedef struct counter {
  int64_t count;
  int64_t *began, *ended;            /* of the increment to value i */
  int64_t *last_began, *first_ended; /* the latest beginning up to i; the earliest end from i on */
} counter;

static bool collect(counter *k, const call *calls, size_t n, int32_t stream, char *why,
                    size_t size) {
  memset(k, 0, sizeof *k);
  k->began = calloc(n + 3, sizeof *k->began);
  k->ended = calloc(n + 3, sizeof *k->ended);
  k->last_began = calloc(n + 3, sizeof *k->last_began);
  k->first_ended = calloc(n + 3, sizeof *k->first_ended);
  if (!k->began || !k->ended || !k->last_began || !k->first_ended) abort();
  for (size_t i = 0; i < n; i++) {
    const call *c = &calls[i];
    if (!c->append || c->status != MF_OK || (stream != LOG && c->stream != stream)) continue;
    int64_t value = stream == LOG ? c->position : c->version;
    if (value < 1 || value > (int64_t)n || k->began[value]) {
      snprintf(why, size, "value %" PRId64 " of counter %d was given twice, or never could be",
               value, stream);
      return false;
    }
    k->began[value] = c->began;
    k->ended[value] = c->ended;
    k->count++;
  }
  k->first_ended[k->count + 1] = INT64_MAX;
  for (int64_t v = k->count; v >= 1; v--)
    k->first_ended[v] = k->ended[v] < k->first_ended[v + 1] ? k->ended[v] : k->first_ended[v + 1];
  for (int64_t v = 1; v <= k->count; v++) {
    k->last_began[v] = k->began[v] > k->last_began[v - 1] ? k->began[v] : k->last_began[v - 1];
    if (!k->began[v] || k->first_ended[v + 1] < k->began[v]) {
      snprintf(why, size,
               "counter %d: value %" PRId64 " is missing, or a later one ended before it began",
               stream, v);
      return false;
    }
  }
  return true;
}

static void counter_free(counter *k) {
  free(k->began);
  free(k->ended);
  free(k->last_began);
  free(k->first_ended);
}

/* Whether there was a moment between `began` and `ended` at which the counter may have had this
 * value. */
static bool could_see(const counter *k, int64_t value, int64_t began, int64_t ended) {
  return value >= 0 && value <= k->count && k->last_began[value] <= ended &&
         k->first_ended[value + 1] >= began;
}

static bool fits(const counter *k, const call *c, char *why, size_t size) {
  bool fine;
  if (!c->append)
    fine = c->status == MF_OK && could_see(k, c->version, c->began, c->ended);
  else if (c->status == MF_OK)
    fine = c->expected < 0 || c->version == c->expected + 1;
  else
    fine = c->status == MF_VERSION_CONFLICT && c->version != c->expected &&
           could_see(k, c->version, c->began, c->ended);
  if (!fine)
    snprintf(why, size,
             "a call on counter %d with status %d saw version %" PRId64 ", which it could not",
             c->stream, c->status, c->version);
  return fine;
}

static bool history_holds(const call *calls, size_t n, char *why, size_t size) {
  for (int32_t stream = 0; stream <= LOG; stream++) {
    counter k;
    bool fine = collect(&k, calls, n, stream, why, size);
    for (size_t i = 0; fine && i < n; i++)
      if (calls[i].stream == stream) fine = fits(&k, &calls[i], why, size);
    counter_free(&k);
    if (!fine) return false;
  }
  return true;
}

static bool concurrency_round(char *why, size_t size) {
  char path[256];
  size_t n = (size_t)PROCESSES * THREADS * CALLS;
  call *calls =
      mmap(NULL, n * sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t children[PROCESSES];
  bool fine = true;
  if (calls == MAP_FAILED) abort();
  fresh_store(path);
  for (int i = 0; i < PROCESSES; i++) {
    children[i] = fork();
    if (children[i] == 0) _exit(run_process(path, i, calls));
  }
  for (int i = 0; i < PROCESSES; i++) {
    int status = 0;
    waitpid(children[i], &status, 0);
    fine = fine && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  if (!fine)
    snprintf(why, size, "a reader saw the log out of order or with a gap, or a process failed");
  fine = fine && history_holds(calls, n, why, size);
  mf_error error;
  if (fine && mf_verify(path, NULL, NULL, &error) != MF_OK) {
    snprintf(why, size, "verify: %s", error.message);
    fine = false;
  }
  munmap(calls, n * sizeof *calls);
  remove_store(path);
  return fine;
}

int concurrency(void) {
  char why[768] = "";
  bool fine = true;
  for (int i = 0; fine && i < 4 * rounds; i++) {
    fine = concurrency_round(why, sizeof why);
    seed++;
  }
  return tell(fine, "what processes and threads see is one history per stream, and one of the log",
              why);
}
