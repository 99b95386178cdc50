/*
 * Commands that do not wait for the disk. What was decided and not written yet is a list of
 * appends. A command is decided in a read transaction into which that list is staged first, so it
 * sees what the store will be once the list is written; what it decides becomes the list's next
 * entry. The writer's thread takes the whole list, appends it in one transaction and commits.
 *
 * Staging the list anew for each command costs about a microsecond an event. In return there is no
 * second notion of what a store holds: one that was written and one that will be are read alike.
 */
#include "loaded.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LIMIT = 256, CODES = 8 };

/* One command's append, with all that it points to behind it. */
typedef struct entry {
  struct entry *next;
  int64_t ticket;
  int64_t base_position, last_position; /* of the log, before and after it */
  int64_t recorded_at;
  mf_bytes stream, envelope;
  uint8_t digest[MF_DIGEST_SIZE];
  mf_bytes code; /* of that digest, to be kept with the events; absent: it is, or will be */
  size_t count;  /* 0: nothing but a command is kept */
  mf_new_event *events;
  mf_kept_command kept; /* no stream: none */
  mfr_keeping keeping;
  mf_snapshot snapshot; /* of the stream, behind these events; version 0: none */
  uint8_t fold[MF_DIGEST_SIZE];
} entry;

struct mf_queue {
  mf_store *store;
  size_t limit;
  pthread_t writer;
  pthread_mutex_t deciding; /* held while a command is decided: one after the other */
  pthread_mutex_t lock;     /* guards what follows */
  pthread_cond_t changed;
  entry *first, **end; /* not durable yet; the writer works on the first ones */
  size_t length;
  int64_t tickets;
  _Atomic(int64_t) durable;
  int64_t epoch; /* another one after each conflict: what was folded before is worth nothing */
  bool ending, failed;
  mf_error failure;
  /* Digests of code that is kept, or queued to be: the last ones. Guarded by `deciding`. */
  uint8_t codes[CODES][MF_DIGEST_SIZE];
  unsigned code_count;
};

static int fail(mf_error *error, int code, const char *message) {
  if (!error) return code;
  *error = (mf_error){code, 0, SIZE_MAX, ""};
  snprintf(error->message, sizeof error->message, "%s", message);
  return code;
}

/* ---- staging what is queued ---- */

static int append_entry(mf_txn *txn, const entry *e, mf_error *error) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  options.recorded_at = e->recorded_at;
  options.envelope = e->envelope;
  int status = mf_append(txn, e->stream, e->events, e->count, &options, NULL, error);
  if (status == MF_OK && e->code.data) status = mf_put_code(txn, e->digest, e->code, NULL, error);
  return status;
}

/* What stands beside the events: the command and the snapshot. */
static int keep_rest(mf_txn *txn, const entry *e, mf_error *error) {
  int status = MF_OK;
  if (e->kept.stream.data) {
    status = mf_keep_command(txn, &e->kept, error);
    if (status == MF_OK) mfr_kept_bound(txn, &e->keeping, e->kept.time);
  }
  if (status == MF_OK && e->snapshot.version > 0)
    status =
        mf_put_snapshot(txn, e->stream, e->fold, e->snapshot.version, e->snapshot.state, error);
  return status == MF_DONE ? MF_OK : status;
}

static bool same(mf_bytes a, mf_bytes b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/*
 * MF_OK: the log holds the entry where it was meant to stand, or does not reach so far yet (*there
 * false). Looked at before an entry is staged, because the writer may have committed it already.
 */
static int find_entry(mf_queue *queue, mf_txn *txn, const entry *e, int64_t position, bool *there,
                      mf_error *error) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  const mf_new_event *last = &e->events[e->count - 1];
  *there = position >= e->last_position;
  if (position == e->base_position) return MF_OK;
  bool fine = *there;
  if (fine) {
    options.from = options.to = e->last_position;
    int status = mf_reader_open(queue->store, txn, &options, &reader, error);
    if (status != MF_OK) return status;
    status = mf_reader_next(reader, &event, error);
    fine = status == MF_OK && same(event.stream, e->stream) && same(event.type, last->type) &&
           same(event.data, last->data) && event.recorded_at == e->recorded_at;
    mf_reader_close(reader);
    if (status < 0) return status;
  }
  if (fine) return MF_OK;
  return fail(error, MF_VERSION_CONFLICT,
              "somebody else has written to the store while commands were queued: what was decided "
              "since cannot be recorded");
}

/* Appends the events of the entries from `e` on that the transaction does not see yet; up to
 * `last`, or all. `keep`: what stands beside them, too, which no decision needs. */
static int append_entries(mf_queue *queue, mf_txn *txn, const entry *e, const entry *last,
                          bool keep, mf_error *error) {
  int64_t position;
  int status = mf_last_position(queue->store, txn, &position, error);
  for (; status == MF_OK && e; e = e == last ? NULL : e->next) {
    bool there = false;
    if (e->count > 0) status = find_entry(queue, txn, e, position, &there, error);
    if (status != MF_OK || there) continue;
    if (e->count > 0) {
      status = append_entry(txn, e, error);
      position = e->last_position;
    }
    if (status == MF_OK && keep) status = keep_rest(txn, e, error);
  }
  return status;
}

/*
 * A read transaction that sees the store as it will be. The lock is held from before it begins: the
 * writer drops an entry, under the lock, only after its commit, so each is seen in the store or
 * stands in the list.
 */
static int begin(mf_queue *queue, mf_runtime *runtime, mf_txn **txn, mf_error *error) {
  pthread_mutex_lock(&queue->lock);
  int status = queue->failed ? queue->failure.code : MF_OK;
  if (status != MF_OK && error) *error = queue->failure;
  if (status == MF_OK) status = mf_begin_read(queue->store, txn, error);
  if (status == MF_OK) status = append_entries(queue, *txn, queue->first, NULL, false, error);
  int64_t epoch = queue->epoch;
  bool empty = !queue->first;
  pthread_mutex_unlock(&queue->lock);
  if (status == MF_OK)
    mfr_runtime_join_queue(runtime, *txn, epoch, empty);
  else {
    mf_abort(*txn);
    *txn = NULL;
  }
  return status;
}

static void end(mf_runtime *runtime, mf_txn *txn) {
  mfr_runtime_leave_queue(runtime);
  mf_abort(txn);
}

/* ---- entries ---- */

/* Memory that an entry is cut from: once to measure, once to fill. */
typedef struct cutter {
  uint8_t *at; /* NULL: measuring */
  size_t size;
} cutter;

static void *cut(cutter *c, size_t size) {
  size = (size + 15) & ~(size_t)15;
  c->size += size;
  if (!c->at) return NULL;
  void *p = c->at;
  c->at += size;
  return p;
}

static mf_bytes cut_copy(cutter *c, mf_bytes bytes) {
  if (!bytes.data) return bytes;
  void *p = cut(c, bytes.size + 1);
  if (p && bytes.size) memcpy(p, bytes.data, bytes.size);
  return (mf_bytes){p, bytes.size};
}

static void free_entry(entry *e) {
  mf_free(e->code);
  free(e);
}

/* The code that decided on the entry was staged in the transaction, which is thrown away. */
static int take_code(mf_queue *queue, mf_txn *txn, entry *e, mf_error *error) {
  static const uint8_t none[MF_DIGEST_SIZE];
  mf_code_record record;
  if (memcmp(e->digest, none, sizeof none) == 0) return MF_OK;
  unsigned known = queue->code_count < CODES ? queue->code_count : CODES;
  for (unsigned i = 0; i < known; i++)
    if (memcmp(queue->codes[i], e->digest, MF_DIGEST_SIZE) == 0) return MF_OK;
  int status = mf_find_code(queue->store, txn, e->digest, &record, error);
  if (status == MF_OK) e->code = record.code;
  memcpy(queue->codes[queue->code_count++ % CODES], e->digest, MF_DIGEST_SIZE);
  return status < 0 ? status : MF_OK;
}

/* Copies events first.. of the stream, as the transaction has them. `e` NULL: only measures. */
static int copy_events(mf_txn *txn, mf_store *store, mf_bytes stream, int64_t first, size_t count,
                       cutter *c, entry *e, mf_error *error) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  mf_new_event ignored;
  options.stream = stream;
  options.from = first;
  int status = mf_reader_open(store, txn, &options, &reader, error);
  if (status != MF_OK) return status;
  for (size_t i = 0; i < count && (status = mf_reader_next(reader, &event, error)) == MF_OK; i++) {
    mf_new_event *out = e ? &e->events[i] : &ignored;
    out->type = cut_copy(c, event.type);
    out->data = cut_copy(c, event.data);
    out->metadata = cut_copy(c, event.metadata);
    out->message_id = cut_copy(c, event.message_id);
    mf_bytes envelope = i == 0 ? cut_copy(c, event.envelope) : (mf_bytes){NULL, 0};
    if (!e) continue;
    mf_bytes code = mf_event_decision(&event, MF_DECISION_CODE);
    if (i == 0) e->envelope = envelope;
    if (code.size == MF_DIGEST_SIZE) memcpy(e->digest, code.data, code.size);
    e->recorded_at = event.recorded_at;
    e->last_position = event.position;
  }
  mf_reader_close(reader);
  return status < 0 ? status : MF_OK;
}

/* What a command has just added to the transaction. */
typedef struct added {
  mf_bytes stream;
  int64_t first; /* version of the first event */
  size_t count;
  mf_kept_command kept; /* no stream: none */
  mf_snapshot snapshot; /* version 0: none */
  uint8_t fold[MF_DIGEST_SIZE];
} added;

static int make_entry(mf_queue *queue, mf_txn *txn, const added *a, entry **out, mf_error *error) {
  mf_bytes stream = a->stream;
  int64_t first = a->first;
  size_t count = a->count;
  cutter c = {NULL, 0};
  int status = copy_events(txn, queue->store, stream, first, count, &c, NULL, error);
  if (status != MF_OK) return status;
  cut(&c, sizeof(entry));
  cut(&c, count * sizeof(mf_new_event));
  cut_copy(&c, stream);
  cut_copy(&c, a->kept.command);
  cut_copy(&c, a->snapshot.state);
  uint8_t *memory = malloc(c.size);
  if (!memory) return fail(error, MF_NO_MEMORY, "no memory to queue a command");
  c = (cutter){memory, 0};
  entry *e = cut(&c, sizeof *e);
  memset(e, 0, sizeof *e);
  e->count = count;
  e->events = cut(&c, count * sizeof *e->events);
  e->stream = cut_copy(&c, stream);
  if (a->kept.stream.data)
    e->kept = (mf_kept_command){a->kept.time, e->stream, cut_copy(&c, a->kept.command)};
  e->snapshot = a->snapshot;
  e->snapshot.state = cut_copy(&c, a->snapshot.state);
  memcpy(e->fold, a->fold, sizeof e->fold);
  status = copy_events(txn, queue->store, stream, first, count, &c, e, error);
  e->base_position = e->last_position - (int64_t)count;
  if (status == MF_OK) status = take_code(queue, txn, e, error);
  if (status != MF_OK) {
    free_entry(e);
    return status;
  }
  *out = e;
  return MF_OK;
}

static int64_t add_entry(mf_queue *queue, entry *e) {
  pthread_mutex_lock(&queue->lock);
  e->next = NULL;
  e->ticket = ++queue->tickets;
  int64_t ticket = e->ticket; /* once it is in the list, the writer may free it */
  *queue->end = e;
  queue->end = &e->next;
  queue->length++;
  pthread_cond_broadcast(&queue->changed);
  pthread_mutex_unlock(&queue->lock);
  return ticket;
}

/* ---- the writer ---- */

/* Frees the entries up to and with the one that has this ticket. The lock is held. */
static void drop_entries(mf_queue *queue, int64_t ticket) {
  while (queue->first && queue->first->ticket <= ticket) {
    entry *e = queue->first;
    queue->first = e->next;
    queue->length--;
    free_entry(e);
  }
  if (!queue->first) queue->end = &queue->first;
}

/* Writes the entries from `first` to `last`, which nobody else frees. */
static int write_entries(mf_queue *queue, const entry *first, const entry *last, mf_error *error) {
  mf_txn *txn;
  int status = mf_begin(queue->store, &txn, error);
  if (status != MF_OK) return status;
  status = append_entries(queue, txn, first, last, true, error);
  if (status == MF_OK) return mf_commit(txn, error);
  mf_abort(txn);
  return status;
}

static entry *last_of(entry *e) {
  while (e->next)
    e = e->next;
  return e;
}

static void *write_queue(void *argument) {
  mf_queue *queue = argument;
  pthread_mutex_lock(&queue->lock);
  for (;;) {
    while (!queue->ending && (!queue->first || queue->failed))
      pthread_cond_wait(&queue->changed, &queue->lock);
    if (!queue->first || queue->failed) break; /* it is ending */
    entry *first = queue->first, *last = last_of(first);
    int64_t ticket = last->ticket;
    pthread_mutex_unlock(&queue->lock);
    mf_error error;
    int status = write_entries(queue, first, last, &error);
    pthread_mutex_lock(&queue->lock);
    if (status == MF_OK) {
      drop_entries(queue, ticket);
      queue->durable = ticket;
    } else {
      queue->failed = true;
      queue->failure = error;
    }
    pthread_cond_broadcast(&queue->changed);
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

/* Signals are for the host's own threads. */
static bool start_writer(mf_queue *queue) {
  sigset_t all, before;
  sigfillset(&all);
  if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
  int rc = pthread_create(&queue->writer, NULL, write_queue, queue);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc == 0;
}

/* ---- the host's side ---- */

static void destroy(mf_queue *queue) {
  pthread_mutex_destroy(&queue->deciding);
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->changed);
  free(queue);
}

int mf_queue_new(mf_store *store, const mf_queue_options *given, mf_queue **out, mf_error *error) {
  mf_queue_options options = {sizeof options, 0};
  pthread_condattr_t attributes;
  *out = NULL;
  if (given && given->size <= sizeof options) memcpy(&options, given, given->size);
  if (mf_store_read_only(store))
    return fail(error, MF_READ_ONLY, "the store was opened for reading only");
  mf_queue *queue = calloc(1, sizeof *queue);
  if (!queue) return fail(error, MF_NO_MEMORY, "no memory for a queue");
  queue->store = store;
  queue->limit = options.limit ? options.limit : LIMIT;
  queue->end = &queue->first;
  queue->epoch = mfr_monotonic() * 1000; /* so that a queue is not taken for one before it */
  pthread_mutex_init(&queue->deciding, NULL);
  pthread_mutex_init(&queue->lock, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&queue->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  if (!start_writer(queue)) {
    destroy(queue);
    return fail(error, MF_NO_MEMORY, "no thread could be started for a queue");
  }
  *out = queue;
  return MF_OK;
}

static int check_room(mf_queue *queue, mf_error *error) {
  pthread_mutex_lock(&queue->lock);
  int status = queue->length < queue->limit ? MF_OK : MF_BUSY;
  pthread_mutex_unlock(&queue->lock);
  if (status == MF_OK) return MF_OK;
  return fail(error, status,
              "as many commands are queued as may be: wait for the disk, or flush the queue");
}

/* Decides the command in the transaction, and makes an entry of what that has added to it. */
static int decide(mf_queue *queue, mf_runtime *runtime, const char *stream, mf_command *command,
                  mf_result *result, entry **e, mf_error *error) {
  int64_t before, after;
  added a;
  int status = mf_last_position(queue->store, command->txn, &before, error);
  if (status == MF_OK) status = mf_handle(runtime, stream, command, result, error);
  if (status != MF_OK && status != MF_REJECTED) return status;
  memset(&a, 0, sizeof a);
  a.stream = (mf_bytes){stream, strlen(stream)};
  int made = mf_last_position(queue->store, command->txn, &after, error);
  if (made == MF_OK && status == MF_OK) a.count = (size_t)(after - before);
  a.first = result->version - (int64_t)a.count + 1;
  if (made == MF_OK) made = mf_staged_command(command->txn, 0, &a.kept, error);
  bool anything = made == MF_OK || (made == MF_DONE && a.count > 0);
  if (anything) made = mf_staged_snapshot(command->txn, 0, a.fold, &a.snapshot, error);
  if (anything && made >= 0) made = make_entry(queue, command->txn, &a, e, error);
  if (*e) (*e)->keeping = mfr_runtime_keeping(runtime);
  if (made >= 0) return status;
  mfr_runtime_forget_queued(runtime); /* states hold what will never be */
  return made;
}

/* What is to be known before anything waits for a lock. */
static int check_runtime(const mf_queue *queue, const mf_runtime *runtime, mf_error *error) {
  int status = mfr_runtime_is_inside(runtime, error);
  if (status == MF_OK && mfr_runtime_store(runtime) != queue->store)
    return fail(error, MF_INVALID_ARGUMENT, "the runtime is one of another store than the queue");
  return status;
}

int mf_queue_handle(mf_queue *queue, mf_runtime *runtime, const char *stream,
                    const mf_command *given, mf_result *result, int64_t *ticket, mf_error *error) {
  mf_command command = MF_COMMAND_INIT;
  entry *e = NULL;
  memset(result, 0, sizeof *result);
  if (ticket) *ticket = 0;
  if (given->size <= sizeof command) memcpy(&command, given, given->size);
  if (command.txn)
    return fail(error, MF_INVALID_ARGUMENT, "command.txn: a queue has transactions of its own");
  int status = check_runtime(queue, runtime, error);
  if (status == MF_OK) status = check_room(queue, error);
  if (status != MF_OK) return status;
  pthread_mutex_lock(&queue->deciding);
  status = begin(queue, runtime, &command.txn, error);
  if (status == MF_OK) status = decide(queue, runtime, stream, &command, result, &e, error);
  end(runtime, command.txn);
  int64_t number = e ? add_entry(queue, e) : 0;
  pthread_mutex_unlock(&queue->deciding);
  if (ticket) *ticket = number;
  if (status < 0) mf_result_free(result);
  return status;
}

int mf_queue_aggregate(mf_queue *queue, mf_runtime *runtime, const char *stream, int64_t to,
                       mf_result *result, mf_error *error) {
  mf_txn *txn = NULL;
  memset(result, 0, sizeof *result);
  int status = check_runtime(queue, runtime, error);
  if (status != MF_OK) return status;
  pthread_mutex_lock(&queue->deciding);
  status = begin(queue, runtime, &txn, error);
  if (status == MF_OK) status = mf_aggregate(runtime, stream, to, result, error);
  end(runtime, txn);
  pthread_mutex_unlock(&queue->deciding);
  return status;
}

int64_t mf_queue_durable(const mf_queue *queue) {
  return queue->durable;
}

size_t mf_queue_length(mf_queue *queue) {
  pthread_mutex_lock(&queue->lock);
  size_t length = queue->length;
  pthread_mutex_unlock(&queue->lock);
  return length;
}

/* ---- flushing ---- */

static struct timespec after(int64_t microseconds) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  int64_t nanoseconds = at.tv_nsec + microseconds % 1000000 * 1000;
  at.tv_sec += (time_t)(microseconds / 1000000 + nanoseconds / 1000000000);
  at.tv_nsec = (long)(nanoseconds % 1000000000);
  return at;
}

/* The lock is held. False: the time is up. */
static bool wait_for_writer(mf_queue *queue, const struct timespec *deadline) {
  while (queue->first && !queue->failed) {
    int rc = deadline ? pthread_cond_timedwait(&queue->changed, &queue->lock, deadline)
                      : pthread_cond_wait(&queue->changed, &queue->lock);
    if (rc != 0) return !queue->first || queue->failed;
  }
  return true;
}

/* What was decided on a past that is none cannot be recorded. No command may be decided meanwhile.
 */
static void give_up_after_conflict(mf_queue *queue) {
  pthread_mutex_lock(&queue->deciding);
  pthread_mutex_lock(&queue->lock);
  if (queue->failed && queue->failure.code == MF_VERSION_CONFLICT) { /* nobody else was faster */
    drop_entries(queue, INT64_MAX);
    queue->failed = false;
    queue->epoch++;
    queue->code_count = 0;
  }
  pthread_mutex_unlock(&queue->lock);
  pthread_mutex_unlock(&queue->deciding);
}

int mf_queue_flush(mf_queue *queue, int64_t *timeout, mf_error *error) {
  struct timespec deadline = after(timeout ? *timeout : 0);
  int status = MF_OK;
  pthread_mutex_lock(&queue->lock);
  if (queue->failed && queue->failure.code != MF_VERSION_CONFLICT) {
    queue->failed = false; /* try again */
    pthread_cond_broadcast(&queue->changed);
  }
  if (!wait_for_writer(queue, timeout ? &deadline : NULL)) status = MF_DONE;
  if (queue->failed) {
    status = queue->failure.code;
    if (error) *error = queue->failure;
  }
  pthread_mutex_unlock(&queue->lock);
  if (status == MF_VERSION_CONFLICT) give_up_after_conflict(queue);
  return status;
}

int mf_queue_free(mf_queue *queue, mf_error *error) {
  if (!queue) return MF_OK;
  int status = mf_queue_flush(queue, NULL, error);
  pthread_mutex_lock(&queue->lock);
  queue->ending = true;
  pthread_cond_broadcast(&queue->changed);
  pthread_mutex_unlock(&queue->lock);
  pthread_join(queue->writer, NULL);
  drop_entries(queue, INT64_MAX);
  destroy(queue);
  return status;
}
