/*
 * Two stores, four runtimes, four threads: for so many seconds (the argument; 2) each thread does
 * whatever a host may do, at once with the others. The threads of the first store handle commands
 * that share commits, those of the second have a queue; all subscribe to both stores, load rules
 * again that are edited meanwhile, and call a function of the host. In the end the sums are right.
 * Prints TAP. Meant for ThreadSanitizer.
 */
#include "check.h"
#include "runtime.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STORES = 2, THREADS = 4, STREAMS = 3 };

static char folder[] = "/tmp/moonfold-threads-XXXXXX";
static mf_store *stores[STORES];
static mf_queue *queue; /* of the second store */
static time_t end;
static atomic_int edits;

__attribute__((noreturn)) static void give_up(const char *what, const mf_error *error) {
  printf("not ok %d - %s: %s\n", ++number, what, error->message);
  exit(1);
}

static int add(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)context;
  (void)error;
  mf_build_integer(result, mf_value_integer(mf_value_slot(arguments, 1), 0) +
                               mf_value_integer(mf_value_slot(arguments, 2), 0));
  return MF_OK;
}

/* An editor writes a new file and renames it. */
static void write_rules(int edit) {
  char path[300], fresh[300];
  snprintf(path, sizeof path, "%s/rules/counter.lua", folder);
  snprintf(fresh, sizeof fresh, "%s/counter.new", folder);
  FILE *file = fopen(fresh, "w");
  if (!file) exit(2);
  fprintf(file,
          "local moonfold = require 'moonfold'\n"
          "local edit = %d\n"
          "return { category = 'counter', initial_state = { n = 0 },\n"
          "  evolve = { Counted = function(s, e) s.n = host.add(s.n, e.data.by) end },\n"
          "  decide = { Count = function(command)\n"
          "    return moonfold.event('Counted', { by = command.data, edit = edit }) end } }\n",
          edit);
  fclose(file);
  if (rename(fresh, path) != 0) exit(2);
}

typedef struct worker {
  int index;
  mf_store *store;
  mf_runtime *runtime;
  mf_subscription *subscriptions[STORES];
  int64_t counted, busy, seen[STORES], reloads;
  int wrong;
} worker;

static mf_runtime *new_runtime(mf_store *store) {
  mf_runtime_options options = {.size = sizeof options, .values = true};
  mf_host_function function = {sizeof function, "add", "1", 0, add, NULL};
  mf_runtime *runtime;
  mf_error error;
  char path[300];
  snprintf(path, sizeof path, "%s/rules", folder);
  if (mf_runtime_new(store, &options, &runtime, &error) != MF_OK ||
      mf_add_function(runtime, &function, &error) != MF_OK ||
      mf_load(runtime, path, NULL, &error) != MF_OK)
    give_up("a runtime is made", &error);
  return runtime;
}

static void act(worker *w, int i) {
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  mf_error error;
  char stream[32];
  snprintf(stream, sizeof stream, "counter-%d", i % STREAMS);
  command.type = "Count";
  command.data = "1";
  int status = w->store == stores[1]
                   ? mf_queue_handle(queue, w->runtime, stream, &command, &result, NULL, &error)
                   : mf_handle(w->runtime, stream, &command, &result, &error);
  if (status == MF_BUSY) {
    w->busy++;
    if (mf_queue_flush(queue, NULL, &error) != MF_OK) give_up("the queue is flushed", &error);
  } else if (status != MF_OK)
    give_up("a command is handled", &error);
  else {
    w->counted++;
    if (mf_value_integer(mf_value_field(result.state_value, "n"), -1) != result.version) w->wrong++;
  }
  mf_result_free(&result);
}

static void look(worker *w, int i) {
  mf_result result;
  mf_error error;
  char stream[32];
  snprintf(stream, sizeof stream, "counter-%d", i % STREAMS);
  int status = w->store == stores[1]
                   ? mf_queue_aggregate(queue, w->runtime, stream, MF_LAST, &result, &error)
                   : mf_aggregate(w->runtime, stream, MF_LAST, &result, &error);
  if (status != MF_OK) give_up("a state is folded", &error);
  if (mf_value_integer(mf_value_field(result.state_value, "n"), -1) != result.version) w->wrong++;
  mf_result_free(&result);
}

/* Positions follow one another, whoever writes. */
static void follow(worker *w) {
  mf_event event;
  mf_error error;
  for (int k = 0; k < STORES; k++) {
    int status = MF_OK;
    for (int i = 0; i < 20; i++) {
      status = mf_subscription_next(w->subscriptions[k], &event, &error);
      if (status != MF_OK) break;
      if (event.position != ++w->seen[k]) w->wrong++;
    }
    if (status < 0) give_up("a subscription reads", &error);
  }
}

static void reload(worker *w) {
  bool changed;
  mf_error error;
  if (w->index == 0) write_rules(++edits);
  if (mf_reload(w->runtime, &changed, &error) != MF_OK) give_up("rules are loaded again", &error);
  w->reloads += changed;
}

static void *work(void *argument) {
  worker *w = argument;
  mf_error error;
  w->runtime = new_runtime(w->store);
  for (int k = 0; k < STORES; k++)
    if (mf_subscribe(stores[k], NULL, &w->subscriptions[k], &error) != MF_OK)
      give_up("a subscription is made", &error);
  for (int i = 0; time(NULL) < end; i++) {
    act(w, i);
    if (i % 3 == 0) look(w, i);
    follow(w);
    if (i % 40 == 39) reload(w);
    if (i % 100 == 99) mf_warm(w->runtime, "counter-1", NULL);
    if (mf_step(w->runtime, 200, &error) < 0) give_up("a step is made", &error);
  }
  for (int k = 0; k < STORES; k++)
    mf_subscription_free(w->subscriptions[k]);
  mf_runtime_free(w->runtime);
  return NULL;
}

static int64_t last_position(mf_store *store) {
  int64_t position = -1;
  mf_last_position(store, NULL, &position, NULL);
  return position;
}

int main(int argc, char **argv) {
  static const mf_durability levels[STORES] = {MF_RELAXED, MF_FULL};
  worker workers[THREADS];
  pthread_t threads[THREADS];
  char path[300], command[300];
  int64_t counted[STORES] = {0, 0}, wrong = 0, reloads = 0;
  mf_error error;
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/rules", folder);
  if (mkdir(path, 0700) != 0) return 2;
  write_rules(0);
  for (int k = 0; k < STORES; k++) {
    mf_open_options options = {.size = sizeof options, .durability = levels[k]};
    snprintf(path, sizeof path, "%s/%d.fold", folder, k);
    if (mf_open(path, &options, &stores[k], &error) != MF_OK) give_up("a store is opened", &error);
  }
  if (mf_queue_new(stores[1], NULL, &queue, &error) != MF_OK) give_up("a queue is made", &error);
  end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 2);
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (worker){.index = i, .store = stores[i / (THREADS / STORES)]};
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) return 2;
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    counted[i / (THREADS / STORES)] += workers[i].counted;
    wrong += workers[i].wrong;
    reloads += workers[i].reloads;
  }
  int status = mf_queue_free(queue, &error);
  check(wrong == 0, "every state and every position that a thread was given is right");
  check(status == MF_OK && counted[0] > 0 && counted[1] > 0 &&
            last_position(stores[0]) == counted[0] && last_position(stores[1]) == counted[1],
        "every command was recorded once");
  check(edits > 0 && reloads > 0, "rules were edited and loaded again meanwhile");
  printf("# %lld and %lld commands, %lld reloads\n", (long long)counted[0], (long long)counted[1],
         (long long)reloads);
  for (int k = 0; k < STORES; k++)
    mf_close(stores[k]);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) failures++;
  printf("1..%d\n", number);
  return failures > 0;
}
