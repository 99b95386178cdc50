/*
 * Specs of queued commands (runtime.h). Prints TAP. Also built under ThreadSanitizer.
 */
#include "check.h"
#include "runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[256];

static const char counter[] =
    "local moonfold = require 'moonfold'\n"
    "local other = { initial_state = 0, evolve = { Counted = function(n) return n + 1 end } }\n"
    "return {\n"
    "  category = 'counter', initial_state = { n = 0 },\n"
    "  evolve = { Counted = function(state, event) state.n = state.n + event.data.by end,\n"
    "    Blown = false },\n"
    "  decide = {\n"
    "    Count = function(command) return moonfold.event('Counted', { by = command.data }) end,\n"
    "    Follow = function(command, state, context)\n"
    "      return moonfold.event('Counted', "
    "{ by = context:aggregate_stream(command.data, other).state })\n"
    "    end,\n"
    "    Refuse = function() moonfold.reject('no') end,\n"
    "    Nothing = function() end,\n"
    "    Blow = function() return moonfold.event('Blown', ('x'):rep(2000)) end,\n"
    "  },\n"
    "}\n";

typedef struct world {
  mf_store *store;
  mf_runtime *runtime;
  mf_queue *queue;
} world;

static mf_runtime *new_runtime(mf_store *store) {
  mf_runtime_options options = {.size = sizeof options, .values = true};
  mf_runtime *runtime;
  mf_error error;
  if (mf_runtime_new(store, &options, &runtime, &error) != MF_OK ||
      mf_load_string(runtime, "counter.lua", counter, sizeof counter - 1, NULL, &error) != MF_OK) {
    fprintf(stderr, "%s\n", error.message);
    exit(2);
  }
  return runtime;
}

static world begin_world(const char *name, mf_durability durability, size_t limit) {
  mf_open_options how = {.size = sizeof how, .durability = durability};
  mf_queue_options options = {sizeof options, limit};
  mf_error error;
  world w;
  if (mf_open(name, &how, &w.store, &error) != MF_OK ||
      mf_queue_new(w.store, &options, &w.queue, &error) != MF_OK) {
    fprintf(stderr, "%s\n", error.message);
    exit(2);
  }
  w.runtime = new_runtime(w.store);
  return w;
}

static int end_world(world *w) {
  int status = mf_queue_free(w->queue, NULL);
  mf_runtime_free(w->runtime);
  mf_close(w->store);
  return status;
}

/* Queues a command and returns the state's n, or -1 - status. */
static int64_t count(mf_queue *queue, mf_runtime *runtime, const char *stream, const char *type,
                     const char *data, int64_t *ticket) {
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  command.type = type;
  command.data = data;
  int status = mf_queue_handle(queue, runtime, stream, &command, &result, ticket, NULL);
  int64_t n =
      status == MF_OK ? mf_value_integer(mf_value_field(result.state_value, "n"), -1) : -1 - status;
  mf_result_free(&result);
  return n;
}

/* How many commands the store keeps, and how many of them tell of `outcome` (NULL: any). */
static int kept(mf_store *store, const char *outcome) {
  mf_commands *commands;
  mf_kept_command command;
  int n = 0;
  size_t size = outcome ? strlen(outcome) : 0;
  if (mf_commands_open(store, INT64_MIN + 1, (mf_bytes){NULL, 0}, &commands, NULL) != MF_OK)
    return -1;
  while (mf_commands_next(commands, &command, NULL) == MF_OK)
    n += !outcome || memmem(command.command.data, command.command.size, outcome, size) != NULL;
  mf_commands_close(commands);
  return n;
}

static mf_runtime *keeping_runtime(mf_store *store, int64_t most, int64_t age) {
  mf_runtime_options options = {.size = sizeof options,
                                .values = true,
                                .keep_commands = true,
                                .keep_count = most,
                                .keep_age = age};
  mf_runtime *runtime;
  if (mf_runtime_new(store, &options, &runtime, NULL) != MF_OK ||
      mf_load_string(runtime, "counter.lua", counter, sizeof counter - 1, NULL, NULL) != MF_OK)
    exit(2);
  return runtime;
}

static int64_t version_of(mf_store *store, const char *stream) {
  int64_t version = -1;
  mf_stream_version(store, NULL, (mf_bytes){stream, strlen(stream)}, &version, NULL);
  return version;
}

static void sees_itself(const char *name) {
  world w = begin_world(name, MF_FULL, 0);
  int64_t ticket = 0, last = 0;
  int fine = 1;
  for (int i = 1; i <= 100; i++) {
    fine =
        fine && count(w.queue, w.runtime, "counter-1", "Count", "1", &ticket) == i && ticket == i;
    last = ticket;
  }
  check(fine, "a command sees at once what was queued before it, and gets the next ticket");
  check(count(w.queue, w.runtime, "counter-2", "Follow", "\"counter-1\"", NULL) == 100,
        "so does a decision that looks at another stream");
  mf_result result;
  fine = mf_queue_aggregate(w.queue, w.runtime, "counter-1", MF_LAST, &result, NULL) == MF_OK &&
         mf_value_integer(mf_value_field(result.state_value, "n"), 0) == 100 &&
         result.version == 100;
  mf_result_free(&result);
  check(fine, "so does a state that is asked for");
  check(count(w.queue, w.runtime, "counter-1", "Refuse", NULL, &ticket) == -1 - MF_REJECTED &&
            ticket == 0 &&
            count(w.queue, w.runtime, "counter-1", "Nothing", NULL, &ticket) == 100 &&
            ticket == 0 &&
            count(w.queue, w.runtime, "counter-1", "Nonsense", NULL, &ticket) ==
                -1 - MF_UNKNOWN_COMMAND_TYPE,
        "what records nothing has no ticket");
  check(mf_queue_flush(w.queue, NULL, NULL) == MF_OK && mf_queue_durable(w.queue) == last + 1 &&
            mf_queue_length(w.queue) == 0 && version_of(w.store, "counter-1") == 100 &&
            version_of(w.store, "counter-2") == 1,
        "after a flush everything is in the store");
  check(end_world(&w) == MF_OK, "closing succeeds");
}

static void repeats(const char *name) {
  world w = begin_world(name, MF_NONE, 0);
  mf_command command = MF_COMMAND_INIT;
  mf_result first, second;
  int64_t one, two;
  command.type = "Count";
  command.data = "5";
  command.id = "the same";
  int fine =
      mf_queue_handle(w.queue, w.runtime, "counter-1", &command, &first, &one, NULL) == MF_OK &&
      mf_queue_handle(w.queue, w.runtime, "counter-1", &command, &second, &two, NULL) == MF_OK &&
      one == 1 && two == 0 && second.version == 1;
  mf_result_free(&first);
  mf_result_free(&second);
  fine = fine && mf_queue_flush(w.queue, NULL, NULL) == MF_OK &&
         mf_handle(w.runtime, "counter-1", &command, &first, NULL) == MF_OK && first.version == 1;
  mf_result_free(&first);
  check(fine, "a command id that is queued is known, and stays known when it is written");
  command.id = NULL;
  command.dry_run = true;
  fine = mf_queue_handle(w.queue, w.runtime, "counter-1", &command, &first, &one, NULL) == MF_OK &&
         one == 0 && mf_value_integer(mf_value_field(first.state_value, "n"), 0) == 10;
  mf_result_free(&first);
  check(fine && mf_queue_length(w.queue) == 0, "a dry run queues nothing");
  end_world(&w);
}

/* Another thread holds the write lock, so that nothing can be written. */
static void back_pressure(const char *name) {
  world w = begin_world(name, MF_NONE, 3);
  mf_txn *txn;
  mf_begin(w.store, &txn, NULL);
  int fine = 1;
  for (int i = 1; i <= 3; i++)
    fine = fine && count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == i;
  check(fine && count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == -1 - MF_BUSY,
        "when as many commands are queued as may be, the next is refused as busy");
  int64_t timeout = 1000;
  check(mf_queue_flush(w.queue, &timeout, NULL) == MF_DONE && mf_queue_durable(w.queue) == 0,
        "a flush tells when the time is up");
  mf_abort(txn);
  check(mf_queue_flush(w.queue, NULL, NULL) == MF_OK &&
            count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == 4,
        "and it goes on when there is room");
  end_world(&w);
}

static void conflict(const char *name) {
  world w = begin_world(name, MF_NONE, 0);
  mf_txn *txn;
  mf_error error;
  mf_new_event event = {.type = {"Counted", 7},
                        .data = {"\x81\xa2"
                                 "by\x01",
                                 5}};
  count(w.queue, w.runtime, "counter-1", "Count", "1", NULL);
  mf_queue_flush(w.queue, NULL, NULL);
  mf_begin(w.store, &txn, NULL);
  count(w.queue, w.runtime, "counter-1", "Count", "10", NULL);
  count(w.queue, w.runtime, "counter-2", "Count", "10", NULL);
  mf_append(txn, (mf_bytes){"counter-3", 9}, &event, 1, NULL, NULL, NULL);
  int fine = mf_commit(txn, NULL) == MF_OK &&
             mf_queue_flush(w.queue, NULL, &error) == MF_VERSION_CONFLICT &&
             strstr(error.message, "somebody else") && mf_queue_durable(w.queue) == 1;
  check(fine && version_of(w.store, "counter-1") == 1 && version_of(w.store, "counter-2") == 0,
        "when somebody else writes, nothing that was decided before is recorded, and that is told");
  check(count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == 2 &&
            mf_queue_flush(w.queue, NULL, NULL) == MF_OK && version_of(w.store, "counter-1") == 2,
        "and the queue goes on from the store as it is");
  end_world(&w);
}

/* What was decided by a queue says which code decided it, and the store has that code. */
static void keeps_code(const char *name) {
  world w = begin_world(name, MF_NONE, 0);
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_code_record record = {{0}, 0, {NULL, 0}};
  mf_reader *reader;
  mf_event event;
  count(w.queue, w.runtime, "counter-1", "Count", "1", NULL);
  count(w.queue, w.runtime, "counter-1", "Count", "1", NULL);
  mf_queue_flush(w.queue, NULL, NULL);
  int fine = 1, events = 0;
  mf_reader_open(w.store, NULL, &options, &reader, NULL);
  for (; mf_reader_next(reader, &event, NULL) == MF_OK; events++) {
    mf_bytes code = mf_event_decision(&event, MF_DECISION_CODE);
    fine = fine && code.size == MF_DIGEST_SIZE &&
           mf_find_code(w.store, NULL, code.data, &record, NULL) == MF_OK;
    if (fine) mf_free(record.code);
  }
  mf_reader_close(reader);
  check(fine && events == 2, "the code that decided is kept in the store");
  end_world(&w);
}

/* Two runtimes take turns, each of which has folded what the other has not yet seen. */
static void two_runtimes(const char *name) {
  world w = begin_world(name, MF_FULL, 100000);
  mf_runtime *other = new_runtime(w.store);
  int fine = 1;
  for (int i = 1; i <= 300; i++)
    fine = fine && count(w.queue, i % 3 ? w.runtime : other, "counter-1", "Count", "1", NULL) == i;
  check(fine, "two runtimes that take turns see each other's commands");
  fine = mf_queue_flush(w.queue, NULL, NULL) == MF_OK;
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  command.type = "Count";
  command.data = "1";
  fine = fine && mf_handle(other, "counter-1", &command, &result, NULL) == MF_OK &&
         mf_value_integer(mf_value_field(result.state_value, "n"), 0) == 301;
  mf_result_free(&result);
  check(fine && count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == 302,
        "what was queued, and what was not, are one past");
  mf_runtime_free(other);
  end_world(&w);
}

/* Queues commands until one, or a flush, fails. Returns how; *n commands were tried. */
static int blow_until_full(world *w, int *n, int64_t *last, mf_error *error) {
  int status = MF_OK;
  for (int end = *n + 5000; *n < end && status == MF_OK; ++*n) {
    mf_command command = MF_COMMAND_INIT;
    mf_result result;
    int64_t ticket;
    command.type = "Blow";
    status = mf_queue_handle(w->queue, w->runtime, "counter-1", &command, &result, &ticket, error);
    mf_result_free(&result);
    if (status == MF_OK) *last = ticket;
  }
  return status == MF_OK ? mf_queue_flush(w->queue, NULL, error) : status;
}

/* A file system that is full: a file may not grow, which is the same to the writer. */
static void full_disk(const char *name) {
  struct rlimit before, small;
  mf_error error;
  world w = begin_world(name, MF_RELAXED, 100000);
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &before);
  small = before;
  small.rlim_cur = 1 << 20;
  setrlimit(RLIMIT_FSIZE, &small);
  int64_t last = 0;
  int n = 0, status = blow_until_full(&w, &n, &last, &error);
  int64_t durable = mf_queue_durable(w.queue);
  check(status == MF_DISK_FULL && durable < last,
        "when the disk is full, that is told by the next command, or by a flush");
  /* What did not fit may fit when it is tried again, when no reader pins old pages any more: then
   * there is room for some more. */
  for (int again = 0; again < 100 && mf_queue_flush(w.queue, NULL, &error) == MF_OK; again++)
    blow_until_full(&w, &n, &last, &error);
  check(mf_queue_flush(w.queue, NULL, &error) == MF_DISK_FULL &&
            mf_queue_flush(w.queue, NULL, &error) == MF_DISK_FULL &&
            mf_queue_durable(w.queue) >= durable && mf_queue_length(w.queue) > 0,
        "and again by every flush, as long as it is; what is queued stays");
  setrlimit(RLIMIT_FSIZE, &before);
  check(mf_queue_flush(w.queue, NULL, &error) == MF_OK && mf_queue_durable(w.queue) == last &&
            version_of(w.store, "counter-1") == last,
        "when there is room again, a flush writes all of it");
  check(count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == 1, "and the queue goes on");
  end_world(&w);
}

static void misuse(const char *name) {
  mf_open_options how = {.size = sizeof how, .read_only = true};
  mf_queue *queue;
  mf_store *store;
  mf_error error;
  mf_open(name, &how, &store, NULL);
  check(mf_queue_new(store, NULL, &queue, &error) == MF_READ_ONLY && !queue,
        "a store that is read-only has no queue");
  mf_close(store);
  check(mf_queue_free(NULL, NULL) == MF_OK, "freeing nothing is fine");
  world w = begin_world(":memory:", MF_NONE, 0), other = begin_world(":memory:", MF_NONE, 0);
  mf_result result;
  check(count(w.queue, other.runtime, "counter-1", "Count", "1", NULL) ==
                -1 - MF_INVALID_ARGUMENT &&
            mf_queue_aggregate(w.queue, other.runtime, "counter-1", MF_LAST, &result, NULL) ==
                MF_INVALID_ARGUMENT,
        "a runtime of another store is refused");
  end_world(&w);
  end_world(&other);
}

/* ---- threads ---- */

enum { THREADS = 4, COMMANDS = 60 };

typedef struct job {
  world *w;
  int wrong;
} job;

static void *queue_commands(void *argument) {
  job *j = argument;
  mf_runtime *runtime = new_runtime(j->w->store);
  for (int i = 0; i < COMMANDS; i++)
    if (count(j->w->queue, runtime, "counter-shared", "Count", "1", NULL) < 1) j->wrong++;
  mf_runtime_free(runtime);
  return NULL;
}

static void threads(const char *name) {
  world w = begin_world(name, MF_RELAXED, 100000);
  pthread_t ids[THREADS];
  job jobs[THREADS];
  int wrong = 0;
  for (int i = 0; i < THREADS; i++) {
    jobs[i] = (job){&w, 0};
    pthread_create(&ids[i], NULL, queue_commands, &jobs[i]);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(ids[i], NULL);
    wrong += jobs[i].wrong;
  }
  check(wrong == 0 &&
            count(w.queue, w.runtime, "counter-shared", "Count", "1", NULL) ==
                THREADS * COMMANDS + 1 &&
            end_world(&w) == MF_OK,
        "threads with runtimes of their own share a queue");
}

/* ---- a crash ---- */

/* In the child: queues for ever, and tells what it was told to be durable. */
static void queue_for_ever(const char *name, int pipe) {
  world w = begin_world(name, MF_RELAXED, 64);
  for (;;) {
    count(w.queue, w.runtime, "counter-1", "Count", "1", NULL);
    int64_t durable = mf_queue_durable(w.queue);
    if (write(pipe, &durable, sizeof durable) != sizeof durable) _exit(1);
  }
}

static void crashes(const char *folder) {
  int fine = 1;
  for (int round = 0; fine && round < 10; round++) {
    char name[300];
    int ends[2];
    int64_t durable = 0, told = 0;
    snprintf(name, sizeof name, "%s/crash-%d.fold", folder, round);
    if (pipe(ends) != 0) exit(2);
    pid_t child = fork();
    if (child == 0) queue_for_ever(name, ends[1]);
    close(ends[1]);
    for (int i = 0; i < 50 + 37 * round && read(ends[0], &told, sizeof told) == sizeof told; i++)
      durable = told;
    kill(child, 9);
    while (read(ends[0], &told, sizeof told) == sizeof told)
      durable = told;
    close(ends[0]);
    waitpid(child, NULL, 0);
    mf_store *store;
    mf_open(name, NULL, &store, NULL);
    mf_runtime *runtime = new_runtime(store);
    mf_result result;
    fine = mf_aggregate(runtime, "counter-1", MF_LAST, &result, NULL) == MF_OK &&
           result.version >= durable &&
           mf_value_integer(mf_value_field(result.state_value, "n"), -1) == result.version;
    mf_result_free(&result);
    mf_runtime_free(runtime);
    mf_close(store);
  }
  check(fine, "what is lost when the process is killed is the end of the queue, and nothing that "
              "was told durable");
}

/* Of a save that was played through a queue alone, the next start folds only the end. */
static void keeps_snapshots(const char *name) {
  world w = begin_world(name, MF_NONE, 4096);
  mf_beside_stats before, after;
  int fine = 1;
  for (int i = 1; fine && i <= 1100; i++)
    fine = count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == i;
  fine = fine && mf_queue_flush(w.queue, NULL, NULL) == MF_OK &&
         mf_beside(w.store, &before, NULL) == MF_OK;
  mf_runtime_free(w.runtime);
  w.runtime = new_runtime(w.store);
  mf_result result;
  fine = fine && mf_aggregate(w.runtime, "counter-1", MF_LAST, &result, NULL) == MF_OK &&
         mf_value_integer(mf_value_field(result.state_value, "n"), 0) == 1100 &&
         count(w.queue, w.runtime, "counter-1", "Count", "1", NULL) == 1101 &&
         mf_queue_flush(w.queue, NULL, NULL) == MF_OK && mf_beside(w.store, &after, NULL) == MF_OK;
  mf_result_free(&result);
  check(fine && before.snapshots == 1 && after.snapshots == 1,
        "a snapshot that is due is written with the queue, and met by the next runtime");
  end_world(&w);
}

static void keeps_commands(const char *name) {
  world w = begin_world(name, MF_FULL, 0);
  mf_command look = MF_COMMAND_INIT;
  mf_result result;
  int64_t ticket = 0, second = 0, third = 0;
  mf_runtime *keeping = keeping_runtime(w.store, 0, 0);
  check(count(w.queue, keeping, "counter-1", "Count", "1", &ticket) == 1 &&
            count(w.queue, keeping, "counter-1", "Refuse", NULL, &second) == -1 - MF_REJECTED &&
            count(w.queue, keeping, "counter-1", "Nothing", NULL, &third) == 1 && ticket == 1 &&
            second == 2 && third == 3,
        "of commands that are kept, those that record nothing else have tickets, too");
  look.type = "Count";
  look.data = "1";
  look.dry_run = true;
  mf_queue_handle(w.queue, keeping, "counter-1", &look, &result, &ticket, NULL);
  mf_result_free(&result);
  count(w.queue, w.runtime, "counter-1", "Count", "1", NULL);
  check(ticket == 0 && mf_queue_flush(w.queue, NULL, NULL) == MF_OK && kept(w.store, NULL) == 3 &&
            kept(w.store, "accepted") == 2 && kept(w.store, "rejected") == 1 &&
            version_of(w.store, "counter-1") == 2,
        "they are written with the queue: what was handled and what was refused, not what was "
        "looked at, and nothing of a runtime that keeps none");
  check(count(w.queue, keeping, "counter-1", "Refuse", NULL, NULL) == -1 - MF_REJECTED &&
            mf_handle(w.runtime, "counter-2",
                      &(mf_command){.size = sizeof(mf_command),
                                    .type = "Count",
                                    .data = "1",
                                    .time = MF_NOW,
                                    .expected_version = MF_NO_CONCURRENCY_CHECK},
                      &result, NULL) == MF_OK &&
            mf_queue_flush(w.queue, NULL, NULL) == MF_OK && kept(w.store, "rejected") == 2,
        "a refusal that is queued is kept whatever others write meanwhile");
  mf_result_free(&result);
  mf_runtime *bounded = keeping_runtime(w.store, 2, 0);
  for (int i = 0; i < 5; i++)
    count(w.queue, bounded, "counter-1", "Count", "1", NULL);
  check(mf_queue_flush(w.queue, NULL, NULL) == MF_OK && kept(w.store, NULL) == 2,
        "a bound on their number holds for what is queued");
  mf_runtime_free(keeping);
  mf_runtime_free(bounded);
  end_world(&w);
}

int main(void) {
  char folder[] = "/tmp/moonfold-queue-XXXXXX", command[300];
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/1.fold", folder);
  sees_itself(path);
  sees_itself(":memory:");
  snprintf(path, sizeof path, "%s/2.fold", folder);
  repeats(path);
  snprintf(path, sizeof path, "%s/3.fold", folder);
  back_pressure(path);
  snprintf(path, sizeof path, "%s/4.fold", folder);
  conflict(path);
  misuse(path);
  snprintf(path, sizeof path, "%s/6.fold", folder);
  keeps_code(path);
  snprintf(path, sizeof path, "%s/7.fold", folder);
  two_runtimes(path);
  snprintf(path, sizeof path, "%s/8.fold", folder);
  full_disk(path);
  snprintf(path, sizeof path, "%s/9.fold", folder);
  keeps_commands(path);
  snprintf(path, sizeof path, "%s/10.fold", folder);
  keeps_snapshots(path);
  snprintf(path, sizeof path, "%s/5.fold", folder);
  threads(path);
  crashes(folder);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) failures++;
  printf("1..%d\n", number);
  return failures > 0;
}
