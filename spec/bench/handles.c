/*
 * Commands that several threads let a script decide on, each with a runtime of its own: commands a
 * second, against one thread. Where commits are synced, those that wait together share one.
 */
#include "bench.h"
#include "runtime.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS_MAX 16

static const char script[] = "return { category = 'account', initial_state = { balance = 0 },\n"
                             "  evolve = { Deposited = function(account, event)\n"
                             "    account.balance = account.balance + event.data.amount end },\n"
                             "  decide = { Deposit = function(command)\n"
                             "    return { type = 'Deposited', data = command.data } end } }\n";

typedef struct worker {
  mf_runtime *runtime;
  int round, number;
  double until; /* by the wall clock */
  uint64_t handled;
} worker;

static void *handle_until(void *argument) {
  worker *w = argument;
  mf_error failure;
  while (wall() < w->until) {
    mf_command command = MF_COMMAND_INIT;
    mf_result result;
    char stream[64]; /* a new one for every 20 commands, so that folding stays short */
    snprintf(stream, sizeof stream, "account-%d-%d-%d", w->round, w->number, (int)w->handled / 20);
    command.type = "Deposit";
    command.data = "{\"amount\":1}";
    command.no_state = true;
    MF(mf_handle(w->runtime, stream, &command, &result, &failure));
    mf_result_free(&result);
    w->handled++;
  }
  return NULL;
}

/* Commands a second. */
static double rate(worker *workers, int count, double seconds) {
  static int rounds;
  pthread_t threads[THREADS_MAX];
  double start = wall();
  uint64_t handled = 0;
  rounds++;
  for (int i = 0; i < count; i++) {
    workers[i].round = rounds;
    workers[i].number = i;
    workers[i].until = start + seconds * 1e9;
    workers[i].handled = 0;
    if (pthread_create(&threads[i], NULL, handle_until, &workers[i]) != 0)
      fail("thread", "none left");
  }
  for (int i = 0; i < count; i++) {
    pthread_join(threads[i], NULL);
    handled += workers[i].handled;
  }
  return (double)handled / (wall() - start) * 1e9;
}

static void measure(const bench *b, mf_durability durability, const char *level) {
  static const int counts[] = {1, 4, THREADS_MAX};
  samples rates[3];
  worker workers[THREADS_MAX];
  mf_error failure;
  const char *path = file_in(b, "handles.fold");
  mf_store *store = open_store(path, durability);
  for (int i = 0; i < THREADS_MAX; i++) {
    MF(mf_runtime_new(store, NULL, &workers[i].runtime, &failure));
    MF(mf_load_string(workers[i].runtime, "account.lua", script, strlen(script), NULL, &failure));
  }
  double seconds = b->quick ? 0.04 : 0.2;
  rate(workers, THREADS_MAX, seconds / 4); /* warm up */
  for (int run = 0; run < b->runs; run++)
    for (int i = 0; i < 3; i++)
      rates[i].of[run] = rate(workers, counts[i], seconds);
  for (int i = 0; i < 3; i++)
    report(b, "handles", &rates[i], "commands/s", i ? &rates[0] : NULL, i ? "1 thread" : "",
           "%s, handle, %d thread%s", level, counts[i], i ? "s" : "");
  for (int i = 0; i < THREADS_MAX; i++)
    mf_runtime_free(workers[i].runtime);
  close_store(store);
  unlink(path);
}

int main(int argc, char **argv) {
  bench b = bench_start(argc, argv);
  measure(&b, MF_FULL, "full");
  measure(&b, MF_RELAXED, "relaxed");
  measure(&b, MF_NONE, "none");
  return 0;
}
