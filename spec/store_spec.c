/*
 * Specs of store/ alone, in C: what the Lua specs cannot reach, above all threads. Prints TAP and
 * ends with status 1 when one fails. `make test` runs it plain and under ThreadSanitizer.
 */
#include "check.h"
#include "store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[256];

static mf_bytes bytes(const char *text) {
  return (mf_bytes){text, strlen(text)};
}

static void fresh_path(const char *folder) {
  static int files;
  snprintf(path, sizeof path, "%s/%d.fold", folder, ++files);
}

static mf_store *open_or_die(const char *name) {
  mf_open_options options = {.size = sizeof options};
  mf_store *store;
  mf_error error;
  if (strcmp(name, ":memory:") != 0) options.durability = MF_NONE;
  if (mf_open(name, &options, &store, &error) == MF_OK) return store;
  fprintf(stderr, "open: %s\n", error.message);
  exit(2);
}

/* ---- many threads append and read through one handle ---- */

enum { WRITERS = 4, READERS = 2, ROUNDS = 300 };

typedef struct job {
  mf_store *store;
  int writer;
  int wrong;
  _Atomic(int) *stop;
} job;

static void *write_events(void *argument) {
  job *j = argument;
  for (int i = 0; i < ROUNDS; i++) {
    char stream[32];
    mf_append_options options = MF_APPEND_OPTIONS_INIT;
    mf_new_event event = {bytes("Counted"), bytes("payload"), {NULL, 0}, {NULL, 0}};
    mf_append_result result;
    snprintf(stream, sizeof stream, "writer-%d", j->writer);
    options.expected_version = i;
    if (mf_append_to_stream(j->store, bytes(stream), &event, 1, &options, &result, NULL) != MF_OK ||
        result.version != i + 1)
      j->wrong++;
    if (mf_append_to_stream(j->store, bytes("shared"), &event, 1, NULL, &result, NULL) != MF_OK)
      j->wrong++;
  }
  return NULL;
}

static void *read_events(void *argument) {
  job *j = argument;
  int64_t last = 0;
  while (!*j->stop) {
    mf_read_options options = MF_READ_OPTIONS_INIT;
    mf_reader *reader;
    mf_event event;
    int64_t next = 1;
    int status;
    if (mf_reader_open(j->store, NULL, &options, &reader, NULL) != MF_OK) {
      j->wrong++;
      break;
    }
    while ((status = mf_reader_next(reader, &event, NULL)) == MF_OK)
      if (event.position != next++) j->wrong++;
    if (status != MF_DONE || mf_reader_version(reader) < last) j->wrong++;
    last = mf_reader_version(reader);
    mf_reader_close(reader);
  }
  return NULL;
}

static void threads_share_a_handle(mf_store *store, const char *sentence) {
  pthread_t writers[WRITERS], readers[READERS];
  job jobs[WRITERS + READERS];
  _Atomic(int) stop = 0;
  int wrong = 0;
  for (int i = 0; i < WRITERS + READERS; i++)
    jobs[i] = (job){store, i, 0, &stop};
  for (int i = 0; i < READERS; i++)
    pthread_create(&readers[i], NULL, read_events, &jobs[WRITERS + i]);
  for (int i = 0; i < WRITERS; i++)
    pthread_create(&writers[i], NULL, write_events, &jobs[i]);
  for (int i = 0; i < WRITERS; i++)
    pthread_join(writers[i], NULL);
  stop = 1;
  for (int i = 0; i < READERS; i++)
    pthread_join(readers[i], NULL);
  for (int i = 0; i < WRITERS + READERS; i++)
    wrong += jobs[i].wrong;
  int64_t version, position;
  mf_stream_version(store, NULL, bytes("shared"), &version, NULL);
  mf_last_position(store, NULL, &position, NULL);
  check(wrong == 0 && version == WRITERS * ROUNDS && position == 2 * WRITERS * ROUNDS, sentence);
}

/* ---- appends that share a commit ---- */

enum { RIVALS = 8, VERSIONS = 200 };

typedef struct rival {
  mf_store *store;
  int wins[VERSIONS], wrong;
} rival;

/* Tries to be the one that writes each version of a stream that all rivals want. */
static void *compete(void *argument) {
  rival *r = argument;
  mf_new_event event = {bytes("Won"), {NULL, 0}, {NULL, 0}, {NULL, 0}};
  for (int64_t version = 0; version < VERSIONS;) {
    mf_append_options options = MF_APPEND_OPTIONS_INIT;
    mf_append_result result;
    mf_error error;
    options.expected_version = version;
    int status =
        mf_append_to_stream(r->store, bytes("prize"), &event, 1, &options, &result, &error);
    if (status == MF_OK) {
      r->wins[version]++;
      if (result.version != version + 1) r->wrong++;
    } else if (status != MF_VERSION_CONFLICT || error.current_version <= version)
      r->wrong++;
    version = status == MF_OK ? result.version : error.current_version;
  }
  return NULL;
}

static void rivals_win_each_version_once(mf_store *store, const char *sentence) {
  static rival rivals[RIVALS];
  pthread_t threads[RIVALS];
  int fine = 1;
  memset(rivals, 0, sizeof rivals);
  for (int i = 0; i < RIVALS; i++) {
    rivals[i].store = store;
    pthread_create(&threads[i], NULL, compete, &rivals[i]);
  }
  for (int i = 0; i < RIVALS; i++)
    pthread_join(threads[i], NULL);
  for (int v = 0; v < VERSIONS; v++) {
    int wins = 0;
    for (int i = 0; i < RIVALS; i++)
      wins += rivals[i].wins[v];
    fine = fine && wins == 1;
  }
  for (int i = 0; i < RIVALS; i++)
    fine = fine && rivals[i].wrong == 0;
  check(fine, sentence);
}

/* ---- waiting ---- */

static void *append_one(void *argument) {
  mf_new_event event = {bytes("Ticked"), {NULL, 0}, {NULL, 0}, {NULL, 0}};
  mf_append_to_stream(argument, bytes("clock"), &event, 1, NULL, NULL, NULL);
  return NULL;
}

static void waiting_sees_another_thread(mf_store *store, const char *sentence) {
  pthread_t thread;
  int64_t position;
  mf_last_position(store, NULL, &position, NULL);
  pthread_create(&thread, NULL, append_one, store);
  int status;
  bool interrupted;
  int64_t timeout = 60000000;
  do
    status = mf_wait(store, position + 1, &timeout, &interrupted, NULL);
  while (interrupted);
  pthread_join(thread, NULL);
  check(status == MF_OK, sentence);
}

/* ---- transactions ---- */

static void a_rollback_takes_back_what_came_after(mf_store *store) {
  mf_txn *txn;
  mf_new_event event = {bytes("Done"), bytes("x"), {NULL, 0}, bytes("id-1")};
  mf_new_event other = {bytes("Undone"), bytes("x"), {NULL, 0}, bytes("id-2")};
  mf_append_result result;
  int64_t a, b, position, before;
  mf_last_position(store, NULL, &before, NULL);
  int fine = mf_begin(store, &txn, NULL) == MF_OK;
  fine = fine && mf_append(txn, bytes("a"), &event, 1, NULL, &result, NULL) == MF_OK;
  mf_savepoint savepoint = mf_save(txn);
  fine = fine && mf_append(txn, bytes("a"), &other, 1, NULL, &result, NULL) == MF_OK;
  other.message_id = bytes("id-3");
  fine = fine && mf_append(txn, bytes("b"), &other, 1, NULL, &result, NULL) == MF_OK;
  mf_rollback(txn, savepoint);
  fine = fine && mf_stream_version(store, txn, bytes("b"), &b, NULL) == MF_OK && b == 0;
  other.message_id = bytes("id-2"); /* known no more */
  fine = fine && mf_append(txn, bytes("c"), &other, 1, NULL, &result, NULL) == MF_OK;
  fine = fine && !result.repeated && result.last_position == before + 2;
  fine = fine && mf_commit(txn, NULL) == MF_OK;
  mf_stream_version(store, NULL, bytes("a"), &a, NULL);
  mf_last_position(store, NULL, &position, NULL);
  check(fine && a == 1 && position == before + 2,
        "a rollback to a savepoint takes back what came after it, and nothing else");
}

static void one_thread_has_one_transaction(mf_store *store) {
  mf_txn *txn, *second;
  mf_error error;
  int fine = mf_begin(store, &txn, NULL) == MF_OK;
  fine =
      fine && mf_begin(store, &second, &error) == MF_BUSY && strstr(error.message, "this thread");
  fine = fine && mf_close(store) == MF_BUSY;
  mf_abort(txn);
  check(fine, "a second transaction on the same thread is refused, and so is closing under it");
}

static void a_reading_thread_does_not_wait_for_itself(mf_store *memory) {
  mf_txn *reading, *writing;
  int fine = mf_begin_read(memory, &reading, NULL) == MF_OK;
  fine = fine && mf_begin(memory, &writing, NULL) == MF_BUSY;
  mf_abort(reading);
  fine = fine && mf_begin(memory, &writing, NULL) == MF_OK;
  mf_abort(writing);
  check(fine, "in memory, a thread that reads may not write: its commit would wait for itself");
}

static void a_read_transaction_looks_ahead(mf_store *store) {
  mf_txn *txn;
  mf_new_event event = {bytes("Imagined"), bytes("x"), {NULL, 0}, {NULL, 0}};
  mf_append_result result;
  int64_t inside, outside;
  int fine = mf_begin_read(store, &txn, NULL) == MF_OK;
  fine = fine && mf_append(txn, bytes("dream"), &event, 1, NULL, &result, NULL) == MF_OK;
  fine = fine && mf_stream_version(store, txn, bytes("dream"), &inside, NULL) == MF_OK;
  fine = fine && mf_stream_version(store, NULL, bytes("dream"), &outside, NULL) == MF_OK;
  fine = fine && inside == 1 && outside == 0 && mf_commit(txn, NULL) == MF_READ_ONLY;
  mf_stream_version(store, NULL, bytes("dream"), &outside, NULL);
  check(fine && outside == 0,
        "what is appended in a read transaction is seen in it, and never recorded");
}

static int in_child(mf_store *store, mf_txn *txn) {
  mf_new_event event = {bytes("Forked"), {NULL, 0}, {NULL, 0}, {NULL, 0}};
  mf_reader *reader;
  int64_t version;
  return mf_append(txn, bytes("a"), &event, 1, NULL, NULL, NULL) == MF_CLOSED &&
         mf_append_to_stream(store, bytes("a"), &event, 1, NULL, NULL, NULL) == MF_CLOSED &&
         mf_reader_open(store, NULL, NULL, &reader, NULL) == MF_CLOSED &&
         mf_stream_version(store, NULL, bytes("a"), &version, NULL) == MF_CLOSED &&
         mf_commit(txn, NULL) == MF_CLOSED;
}

static void a_fork_has_no_store(mf_store *store) {
  mf_txn *txn;
  mf_new_event event = {bytes("Kept"), {NULL, 0}, {NULL, 0}, {NULL, 0}};
  int status = -1;
  int64_t version;
  int fine = mf_begin(store, &txn, NULL) == MF_OK;
  fine = fine && mf_append(txn, bytes("forked"), &event, 1, NULL, NULL, NULL) == MF_OK;
  pid_t child = fork();
  if (child == 0) _exit(in_child(store, txn) ? 0 : 1);
  fine = fine && waitpid(child, &status, 0) == child && status == 0;
  fine = fine && mf_commit(txn, NULL) == MF_OK;
  mf_stream_version(store, NULL, bytes("forked"), &version, NULL);
  check(fine && version == 1,
        "after fork every call in the child is refused, and the parent goes on");
}

/* ---- long posting lists ---- */

static bool same_bytes(mf_bytes a, mf_bytes b) {
  return a.size == b.size && !a.data == !b.data && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

static int read_stream(mf_store *store, const char *stream, bool backwards, int64_t events,
                       int64_t from) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  options.stream = bytes(stream);
  options.backwards = backwards;
  options.from = from;
  if (mf_reader_open(store, NULL, &options, &reader, NULL) != MF_OK) return 0;
  int64_t expected = backwards ? events : from, count = 0;
  int fine = 1;
  while (mf_reader_next(reader, &event, NULL) == MF_OK) {
    if (event.version != expected || memcmp(event.data.data, stream, event.data.size) != 0)
      fine = 0;
    expected += backwards ? -1 : 1;
    count++;
  }
  mf_reader_close(reader);
  return fine && count == events - from + 1;
}

static void interleaved_streams_come_back(mf_store *store) {
  enum { STREAMS = 7, EVENTS = 4000 };
  char names[STREAMS][32];
  mf_txn *txn = NULL;
  int fine = 1;
  for (int s = 0; s < STREAMS; s++)
    snprintf(names[s], sizeof names[s], "interleaved-%d", s);
  for (int i = 0; i < STREAMS * EVENTS; i++) {
    const char *name = names[i % STREAMS];
    mf_new_event event = {bytes("Woven"), bytes(name), {NULL, 0}, {NULL, 0}};
    if (i % 500 == 0) fine = fine && mf_begin(store, &txn, NULL) == MF_OK;
    fine = fine && mf_append(txn, bytes(name), &event, 1, NULL, NULL, NULL) == MF_OK;
    if (i % 500 == 499) fine = fine && mf_commit(txn, NULL) == MF_OK;
  }
  for (int s = 0; s < STREAMS; s++) {
    fine = fine && read_stream(store, names[s], false, EVENTS, 1);
    fine = fine && read_stream(store, names[s], true, EVENTS, 1);
    fine = fine && read_stream(store, names[s], false, EVENTS, EVENTS - 3);
    fine = fine && read_stream(store, names[s], false, EVENTS, EVENTS / 2);
  }
  check(fine, "streams whose postings fill many chunks come back whole, both ways, from anywhere");
}

/* Whether the reader gives the events of the stream from version to version, and no more. */
static bool gives(mf_reader *reader, const char *stream, int64_t from, int64_t to) {
  mf_event event;
  bool fine = true;
  int64_t version = from;
  for (mf_reader_rewind(reader, from, to); mf_reader_next(reader, &event, NULL) == MF_OK; version++)
    fine = fine && event.version == version && same_bytes(event.stream, bytes(stream)) &&
           same_bytes(event.data, bytes(stream)) && same_bytes(event.type, bytes("Woven"));
  mf_reader_close(reader);
  return fine && version == to + 1;
}

/* Of the streams above. */
static void streams_are_read_at_once(mf_store *store) {
  enum { STREAMS = 5, EVENTS = 4000 };
  const char *names[STREAMS] = {"interleaved-3", "interleaved-0", "nowhere", "interleaved-6",
                                "interleaved-1"};
  const int64_t to[STREAMS] = {MF_LAST, 77, MF_LAST, EVENTS, 0};
  mf_bytes streams[STREAMS];
  mf_reader *readers[STREAMS];
  bool fine;
  for (int i = 0; i < STREAMS; i++)
    streams[i] = bytes(names[i]);
  fine = mf_readers_open(store, NULL, streams, to, STREAMS, 64 << 20, readers, NULL) == MF_OK &&
         gives(readers[0], names[0], 1, EVENTS) && gives(readers[0], names[0], 1234, 1239) &&
         gives(readers[0], names[0], EVENTS, EVENTS) && gives(readers[0], names[0], 5, 4) &&
         gives(readers[0], names[0], EVENTS + 1, EVENTS) && gives(readers[1], names[1], 2, 77) &&
         gives(readers[2], names[2], 1, 0) && gives(readers[3], names[3], 1, EVENTS) &&
         gives(readers[4], names[4], 1, 0) && mf_reader_version(readers[1]) == EVENTS;
  for (int i = 0; i < STREAMS; i++)
    mf_reader_close(readers[i]);
  check(fine, "several streams are read at once, each as far as was asked for, and from anywhere");

  fine = mf_readers_open(store, NULL, streams, to, STREAMS, 64 << 10, readers, NULL) == MF_OK &&
         !readers[0] && !readers[3] && readers[1] && gives(readers[1], names[1], 1, 77);
  for (int i = 0; i < STREAMS; i++)
    mf_reader_close(readers[i]);
  streams[3] = bytes("");
  fine = fine && mf_readers_open(store, NULL, streams, to, STREAMS, 64 << 20, readers, NULL) ==
                     MF_INVALID_ARGUMENT;
  for (int i = 0; i < STREAMS; i++)
    fine = fine && !readers[i];
  check(fine, "a stream for which there is no room has no reader, and none has where one is wrong");
}

/* ---- events that stand alone between those of other streams ---- */

enum { SPARSE = 40, SPARSE_EVENTS = 200 }; /* streams, and events of each */

/* The data of a version of a stream: alike, or of sizes that differ a little, a lot, or once in a
 * while. It holds what every record has before its data, so that it looks like one. */
static mf_bytes sparse_data(int kind, int stream, int version, uint8_t out[5000]) {
  uint32_t random = (uint32_t)(stream * SPARSE_EVENTS + version) * 2654435761u;
  size_t sizes[] = {100, 80 + random % 40, random >> 8 & 1023, random % 97 == 0 ? 5000 : 60};
  for (size_t i = 0; i < sizes[kind]; i++)
    out[i] = (uint8_t)(i % 3 ? version : stream + 1);
  return (mf_bytes){out, sizes[kind]};
}

static bool fill_sparse(mf_store *store, int kind) {
  static uint8_t data[5000];
  mf_txn *txn;
  bool fine = mf_begin(store, &txn, NULL) == MF_OK;
  for (int i = 0; fine && i < SPARSE * SPARSE_EVENTS; i++) {
    char name[32];
    int stream = i % SPARSE, version = i / SPARSE + 1;
    snprintf(name, sizeof name, "sparse-%d", stream);
    mf_bytes type = bytes(version % 2 ? "Odd" : "Even");
    mf_new_event event = {type, sparse_data(kind, stream, version, data), {NULL, 0}, {NULL, 0}};
    fine = mf_append(txn, bytes(name), &event, 1, NULL, NULL, NULL) == MF_OK;
  }
  return fine && mf_commit(txn, NULL) == MF_OK;
}

/* Five versions of a stream, from one on; every second one when they are picked by their type. */
static bool gives_sparse(mf_store *store, int kind, int stream, int from, bool backwards,
                         bool even) {
  static uint8_t data[5000];
  char name[32];
  mf_bytes types[] = {bytes("Even")};
  mf_read_options options = MF_READ_OPTIONS_INIT;
  snprintf(name, sizeof name, "sparse-%d", stream);
  options.stream = bytes(name);
  options.from = from;
  options.to = from + 4;
  options.backwards = backwards;
  if (even) options.types = types, options.type_count = 1;
  mf_reader *reader;
  mf_event event;
  if (mf_reader_open(store, NULL, &options, &reader, NULL) != MF_OK) return false;
  int version = backwards ? from + 4 : from, step = backwards ? -1 : 1, left = 5;
  bool fine = true;
  for (; fine && left > 0; left--, version += step) {
    if (even && version % 2) continue;
    fine = mf_reader_next(reader, &event, NULL) == MF_OK && event.version == version &&
           same_bytes(event.data, sparse_data(kind, stream, version, data));
  }
  fine = fine && mf_reader_next(reader, &event, NULL) == MF_DONE;
  mf_reader_close(reader);
  return fine;
}

/* Opened anew again and again: a large file is read in another way where it was not read before. */
static void sparse_events_are_found(const char *folder) {
  bool fine = true;
  uint32_t random = 1;
  for (int kind = 0; kind < 4; kind++) {
    fresh_path(folder);
    mf_store *store = open_or_die(path);
    fine = fine && fill_sparse(store, kind) && mf_close(store) == MF_OK;
    for (int opened = 0; fine && opened < 8; opened++) {
      store = open_or_die(path);
      for (int i = 0; fine && i < 100; i++) {
        random = random * 1664525u + 1013904223u;
        int stream = (int)((random >> 4) % SPARSE), from = (int)((random >> 12) % 196) + 1;
        fine = gives_sparse(store, kind, stream, from, random >> 30 & 1, random >> 31);
      }
      fine = mf_close(store) == MF_OK && fine;
    }
  }
  check(fine, "events between many others are found, whether these are alike or of any size");
}

/* Of which one stands in the log in one piece. */
static void a_long_stream_is_not_read_beyond_the_room(mf_store *store) {
  enum { EVENTS = 2000 };
  static mf_new_event events[EVENTS];
  const mf_bytes streams[2] = {bytes("in-one-piece"), bytes("interleaved-2")};
  const int64_t to[2] = {MF_LAST, 700};
  mf_reader *readers[2];
  for (int i = 0; i < EVENTS; i++)
    events[i] = (mf_new_event){bytes("Woven"), streams[0], {NULL, 0}, {NULL, 0}};
  bool fine = mf_append_to_stream(store, streams[0], events, EVENTS, NULL, NULL, NULL) == MF_OK &&
              mf_readers_open(store, NULL, streams, to, 2, 1 << 20, readers, NULL) == MF_OK &&
              gives(readers[0], "in-one-piece", 1, EVENTS) &&
              gives(readers[1], "interleaved-2", 1, 700);
  for (int i = 0; i < 2; i++)
    mf_reader_close(readers[i]);
  fine = fine && mf_readers_open(store, NULL, streams, to, 2, 64 << 10, readers, NULL) == MF_OK &&
         !readers[0] && readers[1] && gives(readers[1], "interleaved-2", 1, 700);
  for (int i = 0; i < 2; i++)
    mf_reader_close(readers[i]);
  check(fine, "a stream that stands in one piece is read as far as there is room, not to its end");
}

/* ---- a command that is sent again ---- */

static int send_command(mf_store *store, const char *stream, int digest, mf_append_result *result) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_new_event events[2] = {{.type = bytes("A")}, {.type = bytes("B")}};
  options.command_id = bytes("sent");
  memset(options.command_digest, digest, sizeof options.command_digest);
  return mf_append_to_stream(store, bytes(stream), events, 2, &options, result, NULL);
}

static void a_command_is_recorded_once(mf_store *store) {
  mf_append_result first = {0}, again = {0}, other = {0};
  bool fine = send_command(store, "sent-1", 7, &first) == MF_OK && !first.repeated &&
              send_command(store, "sent-1", 7, &again) == MF_OK && again.repeated &&
              again.last_position == first.last_position && again.version == 2;
  check(fine, "a command's id makes its events be recorded once");
  fine = send_command(store, "sent-1", 8, &other) == MF_ID_CONFLICT &&
         send_command(store, "sent-2", 8, &other) == MF_OK && !other.repeated;
  check(fine, "another command of the same id is a conflict, and in another stream it is none");
}

/* ---- copies, and facts about a file ---- */

/* Appends the two events of a command, with everything that can stand beside them. */
static void append_command(mf_store *store) {
  mf_new_event events[2] = {{bytes("A"), bytes("a"), {NULL, 0}, {NULL, 0}},
                            {bytes("B"), bytes("b"), bytes("m"), bytes("given id")}};
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  options.recorded_at = 42;
  options.command_id = bytes("command-1");
  memset(options.command_digest, 7, sizeof options.command_digest);
  options.extension = bytes("extension");
  options.code = bytes("0123456789abcdef");
  options.reads = bytes("what it read");
  options.seed = bytes("seed");
  mf_append_to_stream(store, bytes("copied"), events, 2, &options, NULL, NULL);
}

/* Reads the last two events of the log; their bytes stay valid while the readers are open. */
static void read_last_two(mf_store *store, mf_reader *readers[2], mf_event events[2]) {
  for (int i = 0; i < 2; i++) {
    mf_read_options options = MF_READ_OPTIONS_INIT;
    options.stream = bytes("copied");
    options.from = options.to = i + 1;
    mf_reader_open(store, NULL, &options, &readers[i], NULL);
    mf_reader_next(readers[i], &events[i], NULL);
  }
}

static void a_copy_is_the_same(void) {
  mf_store *source = open_or_die(":memory:"), *copy;
  mf_open_options seeded = {.size = sizeof seeded, .seed = mf_store_seed(source)};
  mf_reader *readers[4];
  mf_event old[2], new[2];
  append_command(source);
  read_last_two(source, readers, old);
  int fine = mf_open(":memory:", &seeded, &copy, NULL) == MF_OK;
  check(fine && mf_store_seed(copy) == mf_store_seed(source), "a store can be made with a seed");
  mf_new_event events[2];
  for (int i = 0; i < 2; i++)
    events[i] = (mf_new_event){old[i].type, old[i].data, old[i].metadata, old[i].message_id};
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  options.recorded_at = old[0].recorded_at;
  options.envelope = old[0].envelope;
  fine = mf_append_to_stream(copy, bytes("copied"), events, 2, &options, NULL, NULL) == MF_OK;
  read_last_two(copy, readers + 2, new);
  char ids[2][MF_ID_MAX + 1];
  for (int i = 0; i < 2; i++) {
    mf_message_id(mf_store_seed(source), &old[i], ids[0]);
    mf_message_id(mf_store_seed(copy), &new[i], ids[1]);
    fine = fine && same_bytes(old[i].envelope, new[i].envelope) && strcmp(ids[0], ids[1]) == 0 &&
           old[i].recorded_at == new[i].recorded_at;
  }
  check(fine && same_bytes(new[0].command_id, bytes("command-1")) && !new[1].command_id.data,
        "an append that is repeated with its envelope is the same, down to generated ids");
  mf_append_result result = {0};
  append_command(copy);
  int64_t last;
  mf_last_position(copy, NULL, &last, NULL);
  check(last == 2, "a command that came with an envelope is known");
  options.envelope = bytes("\1\377");
  fine = mf_append_to_stream(copy, bytes("copied"), events, 1, &options, &result, NULL);
  check(fine == MF_INVALID_ARGUMENT, "an envelope that is none is refused");
  for (int i = 0; i < 4; i++)
    mf_reader_close(readers[i]);
  mf_close(source);
  mf_close(copy);
}

static void facts_are_told(mf_store *store) {
  mf_stats stats = {.size = sizeof stats};
  mf_new_event event = {bytes("T"), bytes("t"), {NULL, 0}, {NULL, 0}};
  mf_txn *reading;
  int64_t last;
  mf_last_position(store, NULL, &last, NULL);
  int fine = mf_stats_of(store, &stats, NULL) == MF_OK && stats.events == last;
  fine = fine && stats.readers == 0 && stats.pinned_bytes == 0 && stats.streams > 0;
  fine = fine && stats.log_bytes + stats.index_bytes + stats.free_bytes <= stats.used_bytes &&
         stats.used_bytes <= stats.file_bytes;
  check(fine, "what a store holds is told, and its parts are not more than the file");
  mf_begin_read(store, &reading, NULL);
  for (int i = 0; i < 3; i++)
    mf_append_to_stream(store, bytes("facts"), &event, 1, NULL, NULL, NULL);
  fine = mf_stats_of(store, &stats, NULL) == MF_OK && stats.readers == 1;
  fine = fine && stats.reading[0].process == getpid() && stats.reading[0].commits_behind == 3;
  check(fine && stats.pinned_bytes > 0 && stats.pinned_bytes <= stats.free_bytes,
        "a reader is told, how far behind it is, and that it holds pages");
  mf_abort(reading);
  fine = mf_stats_of(store, &stats, NULL) == MF_OK && stats.readers == 0;
  check(fine && stats.pinned_bytes == 0, "a reader that has ended holds nothing");
}

static void snapshots_are_counted(mf_store *store) {
  uint8_t digests[2][MF_DIGEST_SIZE] = {{1}, {2}};
  const char *streams[] = {"one", "two"}, *states[] = {"1", "22", "333"};
  mf_new_event event = {bytes("T"), bytes("t"), {NULL, 0}, {NULL, 0}};
  mf_snapshot_stats list[3];
  mf_txn *txn;
  size_t count;
  int fine = mf_begin(store, &txn, NULL) == MF_OK;
  for (int i = 0; i < 3; i++) {
    mf_append(txn, bytes(streams[i % 2]), &event, 1, NULL, NULL, NULL);
    fine = fine && mf_put_snapshot(txn, bytes(streams[i % 2]), digests[i / 2], 1, bytes(states[i]),
                                   NULL) == MF_OK;
  }
  fine = fine && mf_commit(txn, NULL) == MF_OK;
  fine = fine && mf_snapshots_by_digest(store, list, 3, &count, NULL) == MF_OK && count == 2;
  int first = fine && list[0].digest[0] == 2;
  fine = fine && list[first].snapshots == 2 && list[first].bytes == 3;
  fine = fine && list[!first].snapshots == 1 && list[!first].bytes == 3;
  check(fine, "snapshots are counted by the digest of their code");
  fine = mf_snapshots_by_digest(store, list, 1, &count, NULL) == MF_OK && count == 1;
  check(fine, "and no more digests are told than there is room for");
}

/* ---- pieces of work that share a commit ---- */

enum { WORKERS = 6, PIECES = 100 };

typedef struct piece {
  mf_store *store;
  int fails, wrong;
} piece;

/* Reads, then appends what the reading led to; then it may fail. */
static int count_up(mf_txn *txn, void *context, mf_error *error) {
  const piece *p = context;
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_new_event event = {.type = bytes("Counted"), .data = bytes("payload")};
  mf_append_result result;
  if (mf_stream_version(p->store, txn, bytes("work"), &options.expected_version, error) != MF_OK)
    return MF_IO;
  int status = mf_append(txn, bytes("work"), &event, 1, &options, &result, error);
  return status == MF_OK && p->fails ? MF_REJECTED : status;
}

static void *do_pieces(void *argument) {
  piece *p = argument;
  mf_new_event event = {.type = bytes("Noted")};
  for (int i = 0; i < PIECES; i++) {
    p->fails = i % 3 == 0;
    if (mf_transact(p->store, count_up, p, NULL) != (p->fails ? MF_REJECTED : MF_OK)) p->wrong++;
    if (mf_append_to_stream(p->store, bytes("notes"), &event, 1, NULL, NULL, NULL) != MF_OK)
      p->wrong++;
  }
  return NULL;
}

static void work_shares_commits(mf_store *store) {
  pthread_t threads[WORKERS];
  piece pieces[WORKERS];
  int wrong = 0, done = 0;
  for (int i = 0; i < PIECES; i++)
    done += i % 3 != 0;
  for (int i = 0; i < WORKERS; i++) {
    pieces[i] = (piece){store, 0, 0};
    if (pthread_create(&threads[i], NULL, do_pieces, &pieces[i]) != 0) exit(2);
  }
  for (int i = 0; i < WORKERS; i++) {
    pthread_join(threads[i], NULL);
    wrong += pieces[i].wrong;
  }
  int64_t worked, noted;
  mf_stream_version(store, NULL, bytes("work"), &worked, NULL);
  mf_stream_version(store, NULL, bytes("notes"), &noted, NULL);
  check(wrong == 0 && worked == WORKERS * done && noted == WORKERS * PIECES,
        "pieces of work see one another, and one that fails leaves nothing behind");
}

int main(void) {
  char folder[] = "/tmp/moonfold-spec-XXXXXX", command[300];
  if (!mkdtemp(folder)) return 2;
  const char *kinds[] = {"in a file", "in memory"};
  for (int i = 0; i < 2; i++) {
    char sentence[128];
    fresh_path(folder);
    mf_store *store = open_or_die(i == 0 ? path : ":memory:");
    snprintf(sentence, sizeof sentence,
             "%s, threads append and read through one handle, and nothing is lost or out of order",
             kinds[i]);
    threads_share_a_handle(store, sentence);
    snprintf(sentence, sizeof sentence,
             "%s, of threads that expect the same version exactly one succeeds", kinds[i]);
    rivals_win_each_version_once(store, sentence);
    work_shares_commits(store);
    snprintf(sentence, sizeof sentence, "%s, who waits sees what another thread appends", kinds[i]);
    waiting_sees_another_thread(store, sentence);
    a_rollback_takes_back_what_came_after(store);
    one_thread_has_one_transaction(store);
    a_read_transaction_looks_ahead(store);
    a_fork_has_no_store(store);
    if (i == 1) a_reading_thread_does_not_wait_for_itself(store);
    interleaved_streams_come_back(store);
    streams_are_read_at_once(store);
    a_long_stream_is_not_read_beyond_the_room(store);
    a_command_is_recorded_once(store);
    if (i == 0) facts_are_told(store);
    snapshots_are_counted(store);
    check(mf_close(store) == MF_OK, "closing succeeds");
  }
  a_copy_is_the_same();
  sparse_events_are_found(folder);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) return 2;
  printf("1..%d\n", number);
  return failures != 0;
}
