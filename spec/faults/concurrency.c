/*
 * What processes and threads see of each other. Each call is recorded with the time at which it
 * began and ended and with what it returned; then the history is checked, see history.c, and the
 * log must hold what was appended, where that was acknowledged.
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

enum { PROCESSES = 3, THREADS = 2, CALLS = 250, STREAMS = HISTORY_STREAMS, BATCH = 3 };

typedef struct worker {
  const char *path;
  mf_store *store;
  call *all, *calls; /* of all workers; of this one */
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
  char name[16], data[BATCH][32];
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_append_result result = {0};
  mf_new_event events[BATCH] = {0};
  mf_error error = {0};
  c->kind = CALL_APPEND;
  c->events = chance_below(dice, 4) ? 1 : 1 + (int32_t)chance_below(dice, BATCH);
  for (int32_t i = 0; i < c->events; i++) {
    int size = snprintf(data[i], sizeof data[i], "%zu.%d", (size_t)(c - w->all), i);
    events[i] = (mf_new_event){.type = {"Counted", 7}, .data = {data[i], (size_t)size}};
  }
  if (chance_below(dice, 3) > 0) options.expected_version = known[c->stream];
  c->expected = options.expected_version;
  c->began = now();
  c->status = mf_append_to_stream(w->store, stream_name(c->stream, name), events, (size_t)c->events,
                                  &options, &result, &error);
  c->ended = now();
  c->version = c->status == MF_OK ? result.version : error.current_version;
  c->position = result.last_position;
  known[c->stream] = c->version;
}

static void look(worker *w, call *c, int64_t known[STREAMS]) {
  char name[16];
  c->kind = CALL_VERSION;
  c->began = now();
  c->status = mf_stream_version(w->store, NULL, stream_name(c->stream, name), &c->version, NULL);
  c->ended = now();
  known[c->stream] = c->version;
}

/* A stream's version and the log's end in one read transaction. */
static void look_at_both(worker *w, call *c) {
  char name[16];
  mf_txn *txn;
  c->kind = CALL_SNAPSHOT;
  c->began = now();
  c->status = mf_begin_read(w->store, &txn, NULL);
  c->ended = now();
  if (c->status != MF_OK) return;
  c->status = mf_stream_version(w->store, txn, stream_name(c->stream, name), &c->version, NULL);
  if (c->status == MF_OK) c->status = mf_last_position(w->store, txn, &c->position, NULL);
  mf_abort(txn);
}

/* Reads the log's end: positions come in order, without gaps, up to what the reader says is the
 * end. */
static void read_log(worker *w, call *c) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  int64_t last = 0;
  c->kind = CALL_LOG;
  c->status = mf_last_position(w->store, NULL, &last, NULL);
  options.from = last > 20 ? last - 20 : 1;
  int64_t next = options.from;
  c->began = now();
  if (c->status == MF_OK) c->status = mf_reader_open(w->store, NULL, &options, &reader, NULL);
  c->ended = now(); /* the end was fixed when the reader was opened */
  if (c->status != MF_OK) return;
  c->position = mf_reader_version(reader);
  while (mf_reader_next(reader, &event, NULL) == MF_OK)
    if (event.position != next++) w->disordered = true;
  if (next != c->position + 1) w->disordered = true;
  mf_reader_close(reader);
}

static void *work(void *argument) {
  worker *w = argument;
  chance dice = {w->seed};
  int64_t known[STREAMS] = {0};
  for (int i = 0; i < CALLS; i++) {
    call *c = &w->calls[i];
    c->stream = (int32_t)chance_below(&dice, STREAMS);
    switch (chance_below(&dice, 7)) {
    case 0:
      look(w, c, known);
      break;
    case 1:
      read_log(w, c);
      break;
    case 2:
      look_at_both(w, c);
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
    workers[i] = (worker){path, store, calls, calls + n * CALLS, seed + (uint64_t)n, false};
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) return 1;
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    wrong += workers[i].disordered;
  }
  return wrong + (mf_close(store) != MF_OK);
}

/* ---- what is left ---- */

/* Every event is that of the append which was told this position. */
static bool is_as_told(const mf_event *event, const call *calls, size_t n) {
  char text[32] = "", name[16];
  size_t number;
  int index;
  if (event->data.size >= sizeof text) return false;
  memcpy(text, event->data.data, event->data.size);
  if (sscanf(text, "%zu.%d", &number, &index) != 2 || number >= n) return false;
  const call *c = &calls[number];
  mf_bytes stream = stream_name(c->stream, name);
  int64_t behind = c->events - 1 - index;
  return c->kind == CALL_APPEND && c->status == MF_OK && index >= 0 && behind >= 0 &&
         event->position == c->position - behind && event->version == c->version - behind &&
         event->stream.size == stream.size &&
         memcmp(event->stream.data, stream.data, stream.size) == 0;
}

static bool log_is_as_told(const char *path, const call *calls, size_t n, char *why, size_t size) {
  mf_store *store;
  mf_reader *reader;
  mf_event event;
  mf_error error;
  int64_t events = 0, told = 0;
  bool fine = true;
  for (size_t i = 0; i < n; i++)
    if (calls[i].kind == CALL_APPEND && calls[i].status == MF_OK) told += calls[i].events;
  int status = mf_open(path, NULL, &store, &error);
  if (status == MF_OK) {
    status = mf_reader_open(store, NULL, NULL, &reader, &error);
    while (status == MF_OK && fine && (status = mf_reader_next(reader, &event, &error)) == MF_OK) {
      fine = is_as_told(&event, calls, n);
      events++;
    }
    if (status >= 0) mf_reader_close(reader);
    mf_close(store);
  }
  if (status < 0)
    snprintf(why, size, "reading the log: %s", error.message);
  else if (!fine)
    snprintf(why, size, "position %" PRId64 " holds what was not acknowledged there", events);
  else if (events != told)
    snprintf(why, size, "%" PRId64 " events are there of %" PRId64, events, told);
  return status >= 0 && fine && events == told;
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
  fine = fine && history_holds(calls, n, why, size) && log_is_as_told(path, calls, n, why, size);
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
