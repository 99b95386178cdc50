/*
 * Transactions. A write transaction stages what is appended: encoded events, the heads of the
 * streams that they belong to, new types and ids. Reads inside it see the staging on top of the
 * file. The commit writes everything at once: each stream's head and each block of the log once,
 * however many appends there were. Until then nothing has been written, so a call that fails leaves
 * no trace, and the map can still grow.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>

/* ---- beginning and ending ---- */

int mf__txn_note(mf_txn *txn, int status) {
  if (txn && txn->write && mf__dooms(status)) txn->doomed = status;
  return status;
}

int mf__txn_usable(mf_txn *txn, mf_error *error) {
  int status = mf__store_usable(txn->store, error);
  if (status != MF_OK) return status;
  if (txn->doomed)
    return mf__fail(error, txn->doomed,
                    "the transaction has failed earlier (%s) and records nothing: end it",
                    mf_strerror(txn->doomed));
  return MF_OK;
}

static void free_arrays(mf_txn *txn) {
  free(txn->events);
  free(txn->digests);
  free(txn->streams);
  free(txn->created);
  free(txn->types);
  free(txn->id_keys);
  free(txn->id_values);
  free(txn->undo);
  txn->events = NULL;
  txn->digests = NULL;
  txn->digest_capacity = 0;
  txn->streams = NULL;
  txn->created = NULL;
  txn->types = NULL;
  txn->id_keys = txn->id_values = NULL;
  txn->undo = NULL;
  txn->event_capacity = txn->stream_capacity = txn->created_capacity = 0;
  txn->type_capacity = txn->id_capacity = txn->undo_capacity = 0;
}

static void clear_staging(mf_txn *txn) {
  txn->stream_count = txn->created_count = txn->event_count = txn->type_count = txn->id_count = 0;
  txn->undo_count = 0;
  txn->last_type_id = 0;
  txn->bytes.size = 0;
  if (txn->bytes.capacity > (size_t)1 << 20) mf__buffer_free(&txn->bytes);
  mf__map_clear(&txn->stream_index);
  mf__map_clear(&txn->type_ids);
  mf__map_clear(&txn->ids);
  mf__arena_reset(&txn->arena);
  mf__beside_rollback(txn, (const size_t[MF__BESIDE]){0});
  txn->dropped = false;
  txn->doomed = 0;
}

void mf__txn_memory_free(mf_txn *txn) {
  clear_staging(txn);
  mf__buffer_free(&txn->bytes);
  mf__map_free(&txn->stream_index);
  mf__map_free(&txn->type_ids);
  mf__map_free(&txn->ids);
  mf__arena_free(&txn->arena);
  mf__beside_free(txn);
  free_arrays(txn);
  free(txn);
}

/* How LMDB syncs is a flag of the environment; only the one write transaction that there is looks
 * at it. */
static void set_durability(mf__env *env, mf_durability level) {
  if (env->memory_fd >= 0) return;
  mdb_env_set_flags(env->db, MDB_NOSYNC, level == MF_NONE);
  mdb_env_set_flags(env->db, MDB_NOMETASYNC, level == MF_RELAXED);
}

/* Begins LMDB's transaction and opens the cursors of the view that every append needs. */
static int begin_db(mf_txn *txn, mf_error *error) {
  mf__env *env = txn->view.env;
  int rc;
  for (int tries = 0;; tries++) {
    rc = mdb_txn_begin(env->db, NULL, 0, &txn->view.db);
    if (rc != MDB_MAP_RESIZED || tries == 3) break;
    int status = mf__env_make_room(env, 0, error);
    if (status != MF_OK) return status;
  }
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  rc = mdb_cursor_open(txn->view.db, env->log, &txn->view.log);
  if (rc == 0) rc = mdb_cursor_open(txn->view.db, env->streams, &txn->view.heads);
  if (rc == 0) return MF_OK;
  mdb_txn_abort(txn->view.db);
  return mf__fail_db(error, rc, env->path);
}

static int read_base(mf_txn *txn, mf_error *error) {
  mf__view stored = txn->view;
  stored.staged = NULL;
  int status = mf__view_last_position(&stored, &txn->base_position, error);
  if (status != MF_OK) return status;
  if (txn->base_position > 0) {
    /* What is appended goes on from here: the last event's checksum vouches for its position. */
    mf__record last;
    status = mf__view_record(&stored, txn->base_position, &last, error);
    if (status != MF_OK) return status;
  }
  txn->base_type_id = txn->base_stream_id = MF__NOT_KNOWN;
  return MF_OK;
}

/* How many streams there are: asked when one is created. Nobody else creates any meanwhile. */
static int know_streams(mf_txn *txn, mf_error *error) {
  MDB_stat stat;
  if (txn->base_stream_id != MF__NOT_KNOWN) return MF_OK;
  int rc = mdb_stat(txn->view.db, txn->view.env->names, &stat);
  if (rc != 0) return mf__fail_db(error, rc, txn->view.env->path);
  txn->base_stream_id = stat.ms_entries;
  return MF_OK;
}

static void let_go(mf_txn *txn) {
  enum { KEPT_EVENTS = 65536 }; /* room that the next transaction may find */
  mf__env *env = txn->view.env;
  mf_store *store = txn->store;
  clear_staging(txn);
  if (txn->event_capacity > KEPT_EVENTS) free_arrays(txn);
  txn->store = NULL;
  env->writer = 0;
  pthread_mutex_unlock(&env->writing);
  mf__store_release(store);
}

/* Room for a transaction of ordinary size; where address space is scarce, for a small one. */
static int make_headroom(mf__env *env, mf_error *error) {
  if (mf__env_make_room(env, (uint64_t)64 << 20, NULL) == MF_OK) return MF_OK;
  return mf__env_make_room(env, (uint64_t)1 << 20, error);
}

bool mf__reads_here(mf__env *env) {
  pthread_mutex_lock(&env->slots_lock);
  const mf_txn *txn = env->reading;
  while (txn && txn->thread != mf__thread_id())
    txn = txn->next;
  pthread_mutex_unlock(&env->slots_lock);
  return txn != NULL;
}

static void note_reading(mf__env *env, mf_txn *txn) {
  pthread_mutex_lock(&env->slots_lock);
  txn->thread = mf__thread_id();
  txn->next = env->reading;
  env->reading = txn;
  pthread_mutex_unlock(&env->slots_lock);
}

static void note_read(mf__env *env, mf_txn *txn) {
  pthread_mutex_lock(&env->slots_lock);
  mf_txn **at = &env->reading;
  while (*at && *at != txn)
    at = &(*at)->next;
  if (*at) *at = txn->next;
  pthread_mutex_unlock(&env->slots_lock);
}

int mf__check_writable(mf_store *store, mf_error *error) {
  int status = mf__store_usable(store, error);
  if (status != MF_OK) return status;
  mf__env *env = store->env;
  if (store->read_only)
    return mf__fail(error, MF_READ_ONLY, "%s was opened for reading only", env->path);
  if (env->writer == mf__thread_id())
    return mf__fail(error, MF_BUSY,
                    "%s: this thread has a write transaction open on this file already", env->path);
  if (env->memory_fd >= 0 && mf__reads_here(env))
    return mf__fail(error, MF_BUSY,
                    "%s: this thread has a read transaction open, which a commit to a memory store "
                    "would wait for: end it first",
                    env->path);
  return MF_OK;
}

int mf__begin(mf_store *store, bool wait, mf_txn **out, mf_error *error) {
  *out = NULL;
  int status = mf__check_writable(store, error);
  if (status != MF_OK) return status;
  mf__env *env = store->env;
  mf__store_retain(store); /* before the wait, during which another thread may close it */
  if (!wait && pthread_mutex_trylock(&env->writing) != 0) {
    mf__store_release(store);
    return mf__fail(error, MF_BUSY, "%s: another thread is writing", env->path);
  }
  if (wait) pthread_mutex_lock(&env->writing);
  env->writer = mf__thread_id();
  if (!env->txn) env->txn = calloc(1, sizeof *env->txn);
  mf_txn *txn = env->txn;
  if (!txn) {
    env->writer = 0;
    pthread_mutex_unlock(&env->writing);
    mf__store_release(store);
    return mf__fail(error, MF_NO_MEMORY, "%s: no memory for a transaction", env->path);
  }
  txn->store = store;
  txn->write = true;
  txn->durability = store->durability;
  txn->commands_most = -1;
  txn->commands_oldest = INT64_MIN;
  txn->view = (mf__view){env, NULL, NULL, NULL, NULL, NULL, txn};
  txn->stream_index.seed = env->record.seed;
  status = mf__store_usable(store, error);
  if (status == MF_OK && !env->has_beside) status = mf__beside_create(env, error);
  if (status == MF_OK) status = make_headroom(env, error);
  if (status == MF_OK) status = begin_db(txn, error);
  if (status == MF_OK && (status = read_base(txn, error)) != MF_OK) mdb_txn_abort(txn->view.db);
  if (status != MF_OK) {
    let_go(txn);
    return status;
  }
  *out = txn;
  return MF_OK;
}

int mf_begin(mf_store *store, mf_txn **txn, mf_error *error) {
  return mf__begin(store, true, txn, error);
}

int mf_try_begin(mf_store *store, mf_txn **txn, mf_error *error) {
  return mf__begin(store, false, txn, error);
}

void mf_relax(mf_txn *txn) {
  if (txn->durability == MF_FULL) txn->durability = MF_RELAXED;
}

int mf_begin_read(mf_store *store, mf_txn **out, mf_error *error) {
  *out = NULL;
  int status = mf__store_usable(store, error);
  if (status != MF_OK) return status;
  mf_txn *txn = calloc(1, sizeof *txn);
  if (!txn) return mf__fail(error, MF_NO_MEMORY, "no memory for a transaction");
  txn->store = store;
  txn->stream_index.seed = store->env->record.seed;
  status = mf__view_begin(store->env, &txn->view, error);
  if (status != MF_OK) {
    free(txn);
    return status;
  }
  mf__store_retain(store);
  note_reading(store->env, txn);
  *out = txn;
  return MF_OK;
}

void mf_abort(mf_txn *txn) {
  if (!txn) return;
  bool mine = mf__born_here(&txn->view.env->birthmark);
  if (!txn->write) {
    mf_store *store = txn->store;
    if (mine) {
      note_read(store->env, txn);
      mf__view_end(&txn->view);
    }
    mf__txn_memory_free(txn);
    mf__store_release(store);
    return;
  }
  if (!mine) return; /* a fork's copy: the transaction is the parent's */
  mdb_txn_abort(txn->view.db);
  let_go(txn);
}

/* ---- checking what is appended ---- */

int mf__check_name(mf_bytes name, mf_error *error) {
  if (name.data && name.size >= 1 && name.size <= MF_STREAM_NAME_MAX) return MF_OK;
  return mf__fail(error, MF_INVALID_ARGUMENT, "a stream's name has 1 to %d bytes, this one has %zu",
                  MF_STREAM_NAME_MAX, name.size);
}

static int bad_event(mf_error *error, size_t index, int status) {
  if (error) error->event_index = index;
  return status;
}

static int check_event(const mf_new_event *event, size_t i, mf_error *error) {
  int status = MF_OK;
  if (!event->type.data || event->type.size < 1 || event->type.size > MF_TYPE_MAX)
    status =
        mf__fail(error, MF_INVALID_ARGUMENT, "an event's type has 1 to %d bytes, this one has %zu",
                 MF_TYPE_MAX, event->type.size);
  else if (event->message_id.data &&
           (event->message_id.size < 1 || event->message_id.size > MF_ID_MAX))
    status =
        mf__fail(error, MF_INVALID_ARGUMENT, "a message id has 1 to %d bytes, this one has %zu",
                 MF_ID_MAX, event->message_id.size);
  else if (event->data.size > MF_EVENT_MAX || event->metadata.size > MF_EVENT_MAX ||
           event->data.size + event->metadata.size > MF_EVENT_MAX)
    status =
        mf__fail(error, MF_INVALID_ARGUMENT,
                 "an event's data and metadata may have %zu bytes (64 MiB) encoded, these have %zu",
                 MF_EVENT_MAX, event->data.size + event->metadata.size);
  return status == MF_OK ? MF_OK : bad_event(error, i, status);
}

static int check_options(const mf_append_options *options, mf_error *error) {
  if (options->command_id.data &&
      (options->command_id.size < 1 || options->command_id.size > MF_ID_MAX))
    return mf__fail(error, MF_INVALID_ARGUMENT, "a command id has 1 to %d bytes, this one has %zu",
                    MF_ID_MAX, options->command_id.size);
  if (options->extension.size > MF_EXTENSION_MAX)
    return mf__fail(error, MF_INVALID_ARGUMENT, "an extension may have %zu bytes, this one has %zu",
                    MF_EXTENSION_MAX, options->extension.size);
  if (options->envelope.data &&
      (options->envelope.size > MF__EXTENSION_MOST || !mf__extension_valid(options->envelope)))
    return mf__fail(error, MF_INVALID_ARGUMENT, "the envelope is not one that an event came with");
  if (options->code.data && options->code.size != MF_DIGEST_SIZE)
    return mf__fail(error, MF_INVALID_ARGUMENT, "a digest of code has %d bytes, this one has %zu",
                    MF_DIGEST_SIZE, options->code.size);
  if (options->reads.size > MF_EXTENSION_MAX || options->seed.size > MF__SEED_MAX)
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "what a decision read may have %zu bytes, and its seed %d: these have %zu and "
                    "%zu",
                    MF_EXTENSION_MAX, MF__SEED_MAX, options->reads.size, options->seed.size);
  if (options->expected_version < MF_STREAM_EXISTS)
    return mf__fail(error, MF_INVALID_ARGUMENT, "%lld is no stream version",
                    (long long)options->expected_version);
  return MF_OK;
}

int mf__check_expectation(mf_bytes stream, int64_t expected, int64_t current, mf_error *error) {
  char quoted[MF__QUOTED];
  bool met = expected == MF_NO_CONCURRENCY_CHECK ||
             (expected == MF_STREAM_EXISTS ? current > 0 : expected == current);
  if (met) return MF_OK;
  mf__quote(stream, quoted);
  int status;
  if (expected == MF_STREAM_EXISTS)
    status = mf__fail(error, MF_VERSION_CONFLICT, "stream %s was expected to exist, and does not",
                      quoted);
  else if (expected == 0)
    status = mf__fail(error, MF_VERSION_CONFLICT,
                      "stream %s was expected not to exist, and is at version %lld", quoted,
                      (long long)current);
  else if (current == 0)
    status = mf__fail(error, MF_VERSION_CONFLICT,
                      "stream %s was expected at version %lld, and does not exist", quoted,
                      (long long)expected);
  else
    status = mf__fail(error, MF_VERSION_CONFLICT,
                      "stream %s was expected at version %lld, and is at version %lld: read it "
                      "again and decide anew",
                      quoted, (long long)expected, (long long)current);
  if (error) error->current_version = current;
  return status;
}

/* ---- ids ---- */

static mf_bytes message_key(mf_bytes id, uint8_t key[1 + MF_ID_MAX]) {
  key[0] = 'm';
  memcpy(key + 1, id.data, id.size);
  return mf__bytes(key, 1 + id.size);
}

static mf_bytes command_key(uint64_t stream_id, mf_bytes id, uint8_t key[9 + MF_ID_MAX]) {
  key[0] = 'c';
  mf__be64_write(key + 1, stream_id);
  memcpy(key + 9, id.data, id.size);
  return mf__bytes(key, 9 + id.size);
}

static int id_conflict(mf_error *error, size_t index, mf_bytes id, const char *why) {
  char quoted[MF__QUOTED];
  return bad_event(error, index,
                   mf__fail(error, MF_ID_CONFLICT, "message id %s %s", mf__quote(id, quoted), why));
}

/* The position at which a message id is recorded or staged; 0 when it is new. */
static int find_message(mf_txn *txn, mf_bytes id, size_t index, int64_t *position,
                        mf_error *error) {
  uint8_t key[1 + MF_ID_MAX];
  mf_bytes value;
  bool found;
  int64_t last;
  *position = mf__generated_position(txn->view.env->record.seed, id);
  if (*position > 0) {
    int status = mf__view_last_position(&txn->view, &last, error);
    if (status == MF_OK && *position > last)
      return id_conflict(error, index, id, "is kept for an event that the store will record");
    return status;
  }
  int status = mf__view_id(&txn->view, message_key(id, key), &value, &found, error);
  if (status != MF_OK || !found) return status;
  if (value.size != 8) return mf__corrupt_index(error, txn->view.env, "the index of ids");
  *position = (int64_t)mf__u64_read(value.data);
  return MF_OK;
}

static bool same_content(uint64_t seed, const mf_new_event *new, const mf_event *old) {
  if (!mf__same(new->type, old->type) || !mf__same(new->data, old->data) ||
      !mf__same(new->metadata, old->metadata) || !new->metadata.data != !old->metadata.data)
    return false;
  if (!new->message_id.data) return !old->message_id.data;
  char text[MF_ID_MAX + 1];
  size_t size = mf_message_id(seed, old, text);
  return mf__same(new->message_id, mf__bytes(text, size));
}

/* Whether the whole batch stands in the stream from version `first` on. */
static int compare_batch(mf_txn *txn, mf_bytes stream, const mf_new_event *events, size_t count,
                         int64_t first, bool *same, size_t *differs, mf_append_result *result,
                         mf_error *error) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  *same = first >= 1;
  if (!*same) return MF_OK;
  options.stream = stream;
  options.from = first;
  options.to = first + (int64_t)count - 1;
  int status = mf_reader_open(txn->store, txn, &options, &reader, error);
  if (status != MF_OK) return status;
  size_t i = 0;
  while (*same && (status = mf_reader_next(reader, &event, error)) == MF_OK) {
    *differs = i;
    *same = same_content(txn->view.env->record.seed, &events[i++], &event);
    *result = (mf_append_result){event.version, first, event.position, first == 1, true};
  }
  *same = *same && i == count;
  mf_reader_close(reader);
  return status == MF_DONE ? MF_OK : status;
}

/* Are all ids of the batch new (*known false), or is the batch recorded already (*known true)? */
static int check_message_ids(mf_txn *txn, mf_bytes stream, uint64_t stream_id,
                             const mf_new_event *events, size_t count, bool *known,
                             mf_append_result *result, mf_error *error) {
  mf__map seen = {0};
  int64_t at = 0, found_at = 0;
  size_t found_index = 0, new_count = 0, found_count = 0;
  int status = MF_OK;
  *known = false;
  for (size_t i = 0; status == MF_OK && i < count; i++) {
    uint64_t other;
    if (!events[i].message_id.data) continue;
    if (mf__map_get(&seen, events[i].message_id, &other))
      status = id_conflict(error, i, events[i].message_id, "stands twice in one append");
    else if (!mf__map_reserve(&seen, 1))
      status = mf__fail(error, MF_NO_MEMORY, "no memory to compare message ids");
    if (status != MF_OK) break;
    mf__map_set(&seen, events[i].message_id, i);
    status = find_message(txn, events[i].message_id, i, &at, error);
    if (status != MF_OK) break;
    if (at > 0) {
      if (found_count++ == 0) {
        found_at = at;
        found_index = i;
      }
    } else
      new_count++;
  }
  mf__map_free(&seen);
  if (status != MF_OK || found_count == 0) return status;
  mf_bytes id = events[found_index].message_id;
  if (new_count > 0)
    return id_conflict(error, found_index, id,
                       "is recorded already, and others of this append are not: append the new "
                       "ones alone");
  mf__record record;
  status = mf__view_record(&txn->view, found_at, &record, error);
  if (status != MF_OK) return status;
  if (record.stream_id != stream_id)
    return id_conflict(error, found_index, id, "is recorded already, in another stream");
  bool same;
  size_t differs = found_index;
  status = compare_batch(txn, stream, events, count, (int64_t)record.version - (int64_t)found_index,
                         &same, &differs, result, error);
  if (status == MF_OK && !same) {
    if (!events[differs].message_id.data) differs = found_index;
    return id_conflict(error, differs, events[differs].message_id,
                       "is recorded already, with another content or in another batch");
  }
  *known = true;
  return status;
}

static bool read_command(mf_bytes value, mf_command_record *record) {
  const uint8_t *p = value.data, *limit = p + value.size;
  uint64_t first, last, position;
  if (value.size < 16) return false;
  memcpy(record->digest, p, 16);
  if (!(p = mf__varint_read(p + 16, limit, &first)) || !(p = mf__varint_read(p, limit, &last)) ||
      !mf__varint_read(p, limit, &position))
    return false;
  record->first_version = (int64_t)first;
  record->last_version = (int64_t)last;
  record->last_position = (int64_t)position;
  return true;
}

static int find_command(mf_txn *txn, uint64_t stream_id, mf_bytes id, mf_command_record *record,
                        mf_error *error) {
  uint8_t key[9 + MF_ID_MAX];
  mf_bytes value;
  bool found;
  if (stream_id == 0) return MF_DONE;
  int status = mf__view_id(&txn->view, command_key(stream_id, id, key), &value, &found, error);
  if (status != MF_OK) return status;
  if (!found) return MF_DONE;
  if (!read_command(value, record))
    return mf__corrupt_index(error, txn->view.env, "the index of ids");
  return MF_OK;
}

int mf_find_command(mf_txn *txn, mf_bytes stream, mf_bytes command_id, mf_command_record *record,
                    mf_error *error) {
  mf__head head;
  bool found;
  int status = mf__txn_usable(txn, error);
  if (status == MF_OK) status = mf__check_name(stream, error);
  if (status != MF_OK) return status;
  if (!command_id.data || command_id.size < 1 || command_id.size > MF_ID_MAX)
    return mf__fail(error, MF_INVALID_ARGUMENT, "a command id has 1 to %d bytes, this one has %zu",
                    MF_ID_MAX, command_id.size);
  status = mf__view_head(&txn->view, stream, &head, &found, error);
  if (status == MF_OK) status = find_command(txn, head.id, command_id, record, error);
  return mf__txn_note(txn, status);
}

/* ---- staging ---- */

/* Grows an array, given by the address of its pointer, so that one more element fits. */
static bool grow(void *array, size_t *capacity, size_t count, size_t element) {
  void *p;
  if (count < *capacity) return true;
  size_t larger = *capacity ? *capacity * 2 : 16;
  memcpy(&p, array, sizeof p); /* its type is the caller's: only bytes may be touched here */
  p = realloc(p, larger * element);
  if (!p) return false;
  memcpy(array, &p, sizeof p);
  *capacity = larger;
  return true;
}

#define GROW(array, capacity, count) grow(&(array), &(capacity), count, sizeof *(array))

const uint8_t *mf__staged_record(const mf_txn *txn, int64_t position, size_t *size) {
  const mf__staged_event *event = &txn->events[position - txn->base_position - 1];
  *size = event->size;
  return txn->bytes.data + event->offset;
}

const mf__staged_stream *mf__staged_find(const mf_txn *txn, mf_bytes stream) {
  uint64_t i;
  return mf__map_get(&txn->stream_index, stream, &i) ? &txn->streams[i] : NULL;
}

/* Notes how a stream's staging is now, for mf_rollback(). */
static bool note_undo(mf_txn *txn, size_t i) {
  const mf__staged_stream *stream = &txn->streams[i];
  if (!GROW(txn->undo, txn->undo_capacity, txn->undo_count)) return false;
  txn->undo[txn->undo_count++] = (mf__undo){i, stream->runs.size, stream->head};
  return true;
}

mf_savepoint mf_save(const mf_txn *txn) {
  return (mf_savepoint){
      txn->event_count,  txn->bytes.size,
      txn->stream_count, txn->created_count,
      txn->type_count,   txn->id_count,
      txn->undo_count,   {txn->beside[0].count, txn->beside[1].count, txn->beside[2].count}};
}

void mf_rollback(mf_txn *txn, mf_savepoint to) {
  while (txn->undo_count > to.undo) {
    const mf__undo *undo = &txn->undo[--txn->undo_count];
    txn->streams[undo->stream].head = undo->head;
    txn->streams[undo->stream].runs.size = undo->runs_size;
  }
  while (txn->stream_count > to.streams) {
    mf__staged_stream *stream = &txn->streams[--txn->stream_count];
    mf__map_remove(&txn->stream_index, stream->name);
  }
  while (txn->type_count > to.types)
    mf__map_remove(&txn->type_ids, txn->types[--txn->type_count]);
  while (txn->id_count > to.ids)
    mf__map_remove(&txn->ids, txn->id_keys[--txn->id_count]);
  txn->created_count = to.created;
  txn->event_count = to.events;
  txn->bytes.size = to.bytes;
  mf__beside_rollback(txn, to.beside);
}

/* Makes room for more runs; what they had before stays in the arena until the end. */
static bool reserve_runs(mf_txn *txn, mf__runs *runs, size_t more) {
  if (runs->capacity - runs->size >= more) return true;
  size_t capacity = runs->capacity ? 2 * runs->capacity : 32;
  while (capacity - runs->size < more)
    capacity *= 2;
  uint8_t *data = mf__arena_alloc(&txn->arena, capacity);
  if (!data) return false;
  if (runs->size) memcpy(data, runs->data, runs->size);
  runs->data = data;
  runs->capacity = capacity;
  return true;
}

static bool add_runs(mf_txn *txn, mf__runs *runs, const void *data, size_t size) {
  if (size == 0) return true;
  if (!reserve_runs(txn, runs, size)) return false;
  memcpy(runs->data + runs->size, data, size);
  runs->size += size;
  return true;
}

static mf__staged_stream *stage_stream(mf_txn *txn, mf_bytes name, uint64_t hash,
                                       const mf__head *head) {
  bool create = head->version == 0;
  void *copy = mf__arena_copy(&txn->arena, name.data, name.size);
  mf__staged_stream staged = {mf__bytes(copy, name.size), *head, {NULL, 0, 0}, head->version, hash};
  if (!copy || !GROW(txn->streams, txn->stream_capacity, txn->stream_count) ||
      !mf__map_reserve(&txn->stream_index, 1) ||
      (create && !GROW(txn->created, txn->created_capacity, txn->created_count)) ||
      !add_runs(txn, &staged.runs, head->runs.data, head->runs.size))
    return NULL;
  if (create) {
    staged.head.id = txn->base_stream_id + txn->created_count + 1;
    staged.head.chunk_version = 1;
    txn->created[txn->created_count++] = txn->stream_count;
  }
  mf__map_set_hashed(&txn->stream_index, staged.name, hash, txn->stream_count);
  txn->streams[txn->stream_count] = staged;
  return &txn->streams[txn->stream_count++];
}

/* Most events are of the type of the one before. */
static void remember_type(mf_txn *txn, uint32_t id) {
  const mf__type *type = id <= txn->base_type_id ? mf__type_by_id(txn->view.env, id) : NULL;
  if (!type) return;
  txn->last_type = mf__bytes(type->name, type->size);
  txn->last_type_id = id;
}

/* *fresh: no event has it yet. */
static int stage_type(mf_txn *txn, mf_bytes name, uint32_t *id, bool *fresh, mf_error *error) {
  *fresh = false;
  if (txn->last_type_id && mf__same(name, txn->last_type)) {
    *id = txn->last_type_id;
    return MF_OK;
  }
  int status = mf__type_id(&txn->view, name, id, error);
  if (status == MF_OK && *id != 0) remember_type(txn, *id);
  if (status != MF_OK || *id != 0) return status;
  /* The look-up has just loaded all that are stored. */
  if (txn->base_type_id == MF__NOT_KNOWN) txn->base_type_id = txn->view.env->type_count;
  uint64_t next = txn->base_type_id + txn->type_count + 1;
  if (next > MF_TYPES_MAX)
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "a store may have %d types of events: put what varies into the data",
                    MF_TYPES_MAX);
  void *copy = mf__arena_copy(&txn->arena, name.data, name.size);
  if (!copy || !GROW(txn->types, txn->type_capacity, txn->type_count) ||
      !mf__map_reserve(&txn->type_ids, 1))
    return mf__fail(error, MF_NO_MEMORY, "no memory for an event type");
  txn->types[txn->type_count++] = mf__bytes(copy, name.size);
  mf__map_set(&txn->type_ids, mf__bytes(copy, name.size), next);
  *id = (uint32_t)next;
  *fresh = true;
  return MF_OK;
}

static bool stage_id(mf_txn *txn, mf_bytes key, const uint8_t *value, size_t size) {
  size_t keys = txn->id_capacity, values = txn->id_capacity;
  if (!GROW(txn->id_keys, keys, txn->id_count) || !GROW(txn->id_values, values, txn->id_count))
    return false;
  txn->id_capacity = values;
  void *key_copy = mf__arena_copy(&txn->arena, key.data, key.size);
  void *value_copy = mf__arena_copy(&txn->arena, value, size);
  if (!key_copy || !value_copy || !mf__map_reserve(&txn->ids, 1)) return false;
  txn->id_keys[txn->id_count] = mf__bytes(key_copy, key.size);
  txn->id_values[txn->id_count] = mf__bytes(value_copy, size);
  mf__map_set(&txn->ids, txn->id_keys[txn->id_count], txn->id_count);
  txn->id_count++;
  return true;
}

/* Notes that the stream's next event stands at `position`. */
static bool add_posting(mf_txn *txn, mf__staged_stream *stream, uint64_t position) {
  mf__head *head = &stream->head;
  head->version++;
  if (head->last_length > 0 && position == head->last_position + 1) {
    head->last_length++;
    head->last_position = position;
    return true;
  }
  if (head->last_length > 0) {
    uint8_t run[20];
    uint8_t *end = mf__varint_write(mf__varint_write(run, head->last_gap), head->last_length);
    if (!add_runs(txn, &stream->runs, run, (size_t)(end - run))) return false;
  }
  head->last_gap = position - head->last_position - 1;
  head->last_length = 1;
  head->last_position = position;
  return true;
}

static bool stage_event(mf_txn *txn, mf__staged_stream *stream, const mf_new_event *event,
                        uint32_t type_id, bool names_type, int64_t recorded_at,
                        mf_bytes extension) {
  int64_t position = txn->base_position + (int64_t)txn->event_count + 1;
  if (!add_posting(txn, stream, (uint64_t)position)) return false;
  mf__record record = {0,
                       recorded_at,
                       stream->head.id,
                       stream->head.version,
                       type_id,
                       event->data,
                       event->metadata,
                       event->message_id,
                       extension,
                       names_type ? event->type : mf__bytes(NULL, 0),
                       0};
  size_t size = mf__record_size(&record);
  if (!mf__buffer_reserve(&txn->bytes, size) ||
      !GROW(txn->events, txn->event_capacity, txn->event_count))
    return false;
  mf__record_write(&record, txn->view.env->record.seed, position,
                   txn->bytes.data + txn->bytes.size);
  if (txn->view.env->record.flags & MF__CHAINED) {
    if (!GROW(txn->digests, txn->digest_capacity, txn->event_count)) return false;
    mf__event_digest(&record, stream->name, event->type, txn->digests[txn->event_count]);
  }
  txn->events[txn->event_count++] = (mf__staged_event){txn->bytes.size, size};
  txn->bytes.size += size;
  if (!event->message_id.data) return true;
  uint8_t key[1 + MF_ID_MAX], value[8];
  mf__u64_write(value, (uint64_t)position);
  return stage_id(txn, message_key(event->message_id, key), value, sizeof value);
}

/* What stands with an event of an append, in the arena; most of it with the first one only. */
static bool make_extension(mf_txn *txn, const mf_append_options *options, bool first,
                           mf_bytes *extension) {
  uint8_t command[16 + MF_ID_MAX];
  const mf_bytes id = options->command_id, none = {NULL, 0};
  const struct {
    uint8_t tag;
    mf_bytes bytes;
  } parts[] = {{MF__EXT_COMMAND, first && id.data ? mf__bytes(command, 16 + id.size) : none},
               {MF__EXT_CALLER, first ? options->extension : none},
               {MF_DECISION_CODE, options->code},
               {MF_DECISION_READS, first ? options->reads : none},
               {MF_DECISION_SEED, first ? options->seed : none}};
  enum { PARTS = sizeof parts / sizeof *parts };
  size_t size = 0;
  for (int i = 0; i < PARTS; i++)
    size += parts[i].bytes.data ? mf__extension_size(parts[i].bytes.size) : 0;
  *extension = first ? options->envelope : none;
  if (extension->data) return true;
  if (size == 0) return true;
  uint8_t *p = mf__arena_alloc(&txn->arena, size);
  if (!p) return false;
  *extension = mf__bytes(p, size);
  memcpy(command, options->command_digest, 16);
  if (id.data) memcpy(command + 16, id.data, id.size);
  for (int i = 0; i < PARTS; i++)
    if (parts[i].bytes.data) p = mf__extension_write(p, parts[i].tag, parts[i].bytes);
  return true;
}

static bool stage_command(mf_txn *txn, uint64_t stream_id, const mf_append_options *options,
                          const mf_append_result *result) {
  uint8_t key[9 + MF_ID_MAX], value[16 + 3 * 10];
  if (!options->command_id.data) return true;
  memcpy(value, options->command_digest, 16);
  uint8_t *p = mf__varint_write(value + 16, (uint64_t)result->first_version);
  p = mf__varint_write(p, (uint64_t)result->version);
  p = mf__varint_write(p, (uint64_t)result->last_position);
  return stage_id(txn, command_key(stream_id, options->command_id, key), value,
                  (size_t)(p - value));
}

/* Where an append goes: the stream as it is, and its place in the staging, if it has one. */
typedef struct target {
  mf_bytes name;
  uint64_t hash, index;
  bool staged;
  mf__head head;
} target;

static int find_target(mf_txn *txn, mf_bytes name, target *t, mf_error *error) {
  bool found;
  t->name = name;
  t->hash = mf__hash(name, txn->view.env->record.seed);
  t->staged = mf__map_get_hashed(&txn->stream_index, name, t->hash, &t->index);
  if (!t->staged) return mf__stored_head(&txn->view, name, t->hash, &t->head, &found, error);
  t->head = txn->streams[t->index].head;
  return MF_OK;
}

static mf__staged_stream *stage_target(mf_txn *txn, const target *t) {
  if (!t->staged) return stage_stream(txn, t->name, t->hash, &t->head);
  return note_undo(txn, t->index) ? &txn->streams[t->index] : NULL;
}

static int stage_append(mf_txn *txn, const target *t, const mf_new_event *events, size_t count,
                        const mf_append_options *options, mf_append_result *result,
                        mf_error *error) {
  int64_t recorded_at = options->recorded_at == MF_NOW ? mf_now(txn->store) : options->recorded_at;
  mf_bytes extension;
  mf__staged_stream *stream = stage_target(txn, t);
  bool fine = stream && make_extension(txn, options, true, &extension);
  for (size_t i = 0; fine && i < count; i++) {
    uint32_t type_id;
    bool fresh;
    int status = stage_type(txn, events[i].type, &type_id, &fresh, error);
    if (status != MF_OK) return bad_event(error, i, status);
    fine = stage_event(txn, stream, &events[i], type_id, fresh, recorded_at, extension);
    if (i == 0 && count > 1) fine = fine && make_extension(txn, options, false, &extension);
  }
  if (fine) {
    result->version = (int64_t)stream->head.version;
    result->first_version = result->version - (int64_t)count + 1;
    result->last_position = (int64_t)stream->head.last_position;
    result->created = result->first_version == 1;
    fine = stage_command(txn, stream->head.id, options, result);
  }
  return fine ? MF_OK : mf__fail(error, MF_NO_MEMORY, "no memory to stage an append");
}

static int append(mf_txn *txn, mf_bytes stream, const mf_new_event *events, size_t count,
                  const mf_append_options *options, mf_append_result *result, mf_error *error) {
  target to;
  bool ids = false, known = false;
  int status = find_target(txn, stream, &to, error);
  if (status != MF_OK) return status;
  if (options->command_id.data && count > 0) {
    mf_command_record record;
    status = find_command(txn, to.head.id, options->command_id, &record, error);
    if (status == MF_OK && memcmp(record.digest, options->command_digest, 16) != 0) {
      char quoted[MF__QUOTED];
      return mf__fail(error, MF_ID_CONFLICT,
                      "command id %s is recorded already, for another command",
                      mf__quote(options->command_id, quoted));
    }
    if (status == MF_OK) {
      *result = (mf_append_result){record.last_version, record.first_version, record.last_position,
                                   record.first_version == 1, true};
      return MF_OK;
    }
    if (status != MF_DONE) return status;
  }
  for (size_t i = 0; i < count; i++)
    ids = ids || events[i].message_id.data;
  if (ids) {
    status = check_message_ids(txn, stream, to.head.id, events, count, &known, result, error);
    if (status != MF_OK || known) return status;
  }
  status =
      mf__check_expectation(stream, options->expected_version, (int64_t)to.head.version, error);
  if (status != MF_OK) return status;
  *result = (mf_append_result){(int64_t)to.head.version, 0, 0, false, false};
  if (count == 0) return MF_OK;
  if (to.head.version == 0 && (status = know_streams(txn, error)) != MF_OK) return status;
  mf_savepoint before = mf_save(txn);
  status = stage_append(txn, &to, events, count, options, result, error);
  if (status != MF_OK) mf_rollback(txn, before);
  return status;
}

/* From its first append on, a read transaction has a staging of its own, which nobody will ever
 * write. */
static int stage_on_read(mf_txn *txn, mf_error *error) {
  int status = mf__load_types(&txn->view, error);
  if (status == MF_OK) status = read_base(txn, error);
  if (status != MF_OK) return status;
  txn->base_type_id = txn->view.env->type_count; /* others may add more, which are not seen here */
  txn->view.staged = txn;
  return MF_OK;
}

/* The command that an envelope tells of is recorded as if it were given; its code is that of the
 * whole append. */
static void take_envelope(mf_append_options *options) {
  mf__command command = mf__command_of(options->envelope);
  options->command_id = command.id;
  if (command.digest) memcpy(options->command_digest, command.digest, 16);
  options->code = mf__extension_find(options->envelope, MF_DECISION_CODE);
}

int mf_append(mf_txn *txn, mf_bytes stream, const mf_new_event *events, size_t count,
              const mf_append_options *given, mf_append_result *result, mf_error *error) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_append_result ignored;
  if (given) memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
  int status = mf__txn_usable(txn, error);
  if (status == MF_OK && !txn->write && !txn->view.staged) status = stage_on_read(txn, error);
  if (status == MF_OK) status = mf__check_name(stream, error);
  if (status == MF_OK) status = check_options(&options, error);
  for (size_t i = 0; status == MF_OK && i < count; i++)
    status = check_event(&events[i], i, error);
  if (status != MF_OK) return status;
  if (options.envelope.data) take_envelope(&options);
  status = append(txn, stream, events, count, &options, result ? result : &ignored, error);
  return mf__txn_note(txn, status);
}

/* ---- committing ---- */

typedef struct block_plan {
  size_t first_event, events; /* which staged events go into the block */
  size_t content;             /* its header and content in bytes, without the offsets */
  uint32_t count;
} block_plan;

/* As many events as the block may hold, and a trailer of so many bytes: at least one, where the
 * block is empty. */
static void plan_block(const mf_txn *txn, size_t limit, size_t trailer, block_plan *plan) {
  while (plan->first_event + plan->events < txn->event_count && plan->count < UINT16_MAX) {
    size_t more = txn->events[plan->first_event + plan->events].size;
    size_t size = plan->content + more + trailer + 2 * ((size_t)plan->count + 1);
    if (plan->count > 0 && size > limit) return;
    plan->content += more;
    plan->count++;
    plan->events++;
  }
}

/* What stands behind the last event that a commit puts into a block; where the commit is one event,
 * only its link, if there is a chain. */
static uint8_t *write_trailer(const mf_txn *txn, const block_plan *plan, uint64_t hash,
                              const uint8_t *link, uint8_t *p) {
  size_t done = plan->first_event + plan->events;
  bool end = done == txn->event_count;
  mf__trailer trailer = {end ? MF__TRAILER_END : MF__TRAILER_MORE, done, hash, end ? link : NULL};
  if (txn->event_count == 1) trailer.kind = 0;
  return mf__trailer_write(&trailer, p);
}

/* *hash goes on over the checksums of the block's events. */
static int put_block(mf_txn *txn, size_t first, const block_plan *plan, const mf__block *tail,
                     uint64_t *hash, const uint8_t *link) {
  uint8_t trailer[MF__TRAILER_MAX];
  for (size_t i = 0; i < plan->events; i++)
    *hash = mf__commit_hash(*hash, txn->bytes.data + txn->events[plan->first_event + i].offset);
  size_t trailer_size = (size_t)(write_trailer(txn, plan, *hash, link, trailer) - trailer);
  size_t content = plan->content + trailer_size;
  size_t size = content + 2 * (size_t)plan->count;
  uint32_t kept = tail ? tail->count : 0;
  MDB_val key = {sizeof first, &first}, value = {size, NULL};
  int rc = mdb_cursor_put(txn->view.log, &key, &value, MDB_RESERVE | (tail ? 0 : MDB_APPEND));
  if (rc != 0) return rc;
  uint8_t *start = value.mv_data, *p = start + MF__BLOCK_HEADER;
  uint8_t *offsets = start + content;
  mf__block_header_write(start, plan->count, content);
  if (tail) {
    memcpy(p, tail->data + MF__BLOCK_HEADER, tail->content - MF__BLOCK_HEADER);
    memcpy(offsets, tail->data + tail->content, 2 * (size_t)kept);
    p = start + tail->content;
  }
  for (size_t i = 0; i < plan->events; i++) {
    const mf__staged_event *event = &txn->events[plan->first_event + i];
    mf__u16_write(offsets + 2 * (kept + i), (uint32_t)(p - start));
    memcpy(p, txn->bytes.data + event->offset, event->size);
    p += event->size;
  }
  memcpy(p, trailer, trailer_size);
  return 0;
}

/* The last block, copied, when a commit may go on filling it. */
static int open_tail(mf_txn *txn, size_t limit, size_t needed, uint8_t copy[MF__BLOCK_SMALL],
                     mf__block *tail, bool *usable) {
  size_t first;
  MDB_val key, value;
  *usable = false;
  int rc = mdb_cursor_get(txn->view.log, &key, &value, MDB_LAST);
  if (rc == MDB_NOTFOUND) return 0;
  if (rc != 0) return rc;
  memcpy(&first, key.mv_data, sizeof first);
  if (value.mv_size + needed > limit || value.mv_size > MF__BLOCK_SMALL) return 0;
  memcpy(copy, value.mv_data,
         value.mv_size); /* the put below may move what stands in a leaf page */
  if (!mf__block_parse(first, mf__bytes(copy, value.mv_size), tail)) return MDB_CORRUPTED;
  *usable = true;
  return 0;
}

/* The commit's link: behind that of the commit which the log ends with. */
static int make_link(mf_txn *txn, uint8_t link[MF_LINK_SIZE]) {
  MDB_val key, value;
  mf__block block;
  mf__chain chain;
  size_t first;
  int rc = mdb_cursor_get(txn->view.log, &key, &value, MDB_LAST);
  memset(link, 0, MF_LINK_SIZE);
  if (rc == 0) {
    memcpy(&first, key.mv_data, sizeof first);
    if (!mf__block_parse(first, mf__bytes(value.mv_data, value.mv_size), &block) ||
        !mf__last_link(&block, link))
      return MDB_CORRUPTED;
  } else if (rc != MDB_NOTFOUND)
    return rc;
  mf__chain_begin(&chain, link);
  for (size_t i = 0; i < txn->event_count; i++)
    mf__chain_add(&chain, txn->digests[i]);
  mf__chain_end(&chain, link);
  return 0;
}

static int write_log(mf_txn *txn) {
  uint8_t copy[MF__BLOCK_SMALL];
  mf__block tail;
  bool usable;
  size_t n = txn->event_count;
  uint8_t link[MF_LINK_SIZE];
  bool chained = (txn->view.env->record.flags & MF__CHAINED) != 0;
  size_t trailer = n > 1 || chained ? MF__TRAILER_MAX : 0;
  uint64_t hash = txn->view.env->record.seed;
  size_t limit = txn->bytes.size > MF__LARGE_COMMIT ? MF__BLOCK_LARGE : MF__BLOCK_SMALL;
  size_t needed = txn->events[0].size + 2 + trailer;
  int rc = chained ? make_link(txn, link) : 0;
  if (rc == 0) rc = open_tail(txn, limit, needed, copy, &tail, &usable);
  for (size_t done = 0; rc == 0 && done < n; usable = false) {
    block_plan plan = {done, 0, usable ? tail.content : MF__BLOCK_HEADER, usable ? tail.count : 0};
    plan_block(txn, limit, trailer, &plan);
    size_t first = usable ? (size_t)tail.first : (size_t)txn->base_position + done + 1;
    rc = put_block(txn, first, &plan, usable ? &tail : NULL, &hash, chained ? link : NULL);
    done += plan.events;
  }
  return rc;
}

static int put_head(mf_txn *txn, const mf__staged_stream *stream) {
  uint8_t value[MF__HEAD_MAX];
  size_t size = mf__head_write(&stream->head, value);
  mf__seal_hashed(value, size, stream->hash);
  MDB_val db_key = {stream->name.size, (void *)(uintptr_t)stream->name.data};
  MDB_val db_value = {size + MF__SEAL, value};
  return mdb_cursor_put(txn->view.heads, &db_key, &db_value, 0);
}

static int put_sealed(mf_txn *txn, MDB_dbi dbi, int database, mf_bytes key, const uint8_t *data,
                      size_t size, unsigned flags) {
  uint8_t value[MF_STREAM_NAME_MAX + MF__HEAD_MAX + MF__SEAL];
  memcpy(value, data, size);
  mf__seal(value, size, key, mf__seal_seed(txn->view.env->record.seed, database));
  MDB_val db_key = {key.size, (void *)(uintptr_t)key.data}, db_value = {size + MF__SEAL, value};
  return mdb_put(txn->view.db, dbi, &db_key, &db_value, flags);
}

static int put_posting(mf_txn *txn, const mf__head *head, const uint8_t *runs, size_t size) {
  uint8_t key[16], value[10 + MF__CHUNK_MAX + 20];
  mf__be64_write(key, head->id);
  mf__be64_write(key + 8, head->chunk_version);
  uint8_t *p = mf__varint_write(value, head->chunk_base);
  memcpy(p, runs, size);
  return put_sealed(txn, txn->view.env->postings, MF__IN_POSTINGS, mf__bytes(key, sizeof key),
                    value, (size_t)(p - value) + size, 0);
}

/* Moves the oldest runs of a head that has grown too long into chunks of their own. */
static int spill_runs(mf_txn *txn, mf__staged_stream *stream) {
  mf__head *head = &stream->head;
  static const uint8_t none;
  const uint8_t *start = stream->runs.size ? stream->runs.data : &none;
  const uint8_t *limit = start + stream->runs.size;
  while (limit - start > MF__CHUNK_MAX) {
    const uint8_t *p = start;
    uint64_t gap, length, events = 0, base = head->chunk_base;
    while (p - start <= MF__CHUNK_MAX - 20) {
      p = mf__run_read(p, limit, &gap, &length);
      if (!p) return MDB_CORRUPTED;
      base += gap + length;
      events += length;
    }
    int rc = put_posting(txn, head, start, (size_t)(p - start));
    if (rc != 0) return rc;
    head->chunk_version += events;
    head->chunk_base = base;
    start = p;
  }
  head->runs = mf__bytes(start, (size_t)(limit - start));
  return 0;
}

static int write_stream(mf_txn *txn, mf__staged_stream *stream) {
  if (stream->head.version == stream->stored_version) return 0;
  int rc = spill_runs(txn, stream);
  return rc != 0 ? rc : put_head(txn, stream);
}

/* The names of the streams that are new, by their ids. */
static int write_names(mf_txn *txn) {
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < txn->created_count; i++) {
    const mf__staged_stream *stream = &txn->streams[txn->created[i]];
    size_t id = (size_t)stream->head.id;
    if (stream->head.version > 0)
      rc = put_sealed(txn, txn->view.env->names, MF__IN_NAMES, mf__bytes(&id, sizeof id),
                      stream->name.data, stream->name.size, MDB_APPEND);
  }
  return rc;
}

static int compare_streams(const void *a, const void *b) {
  const mf__staged_stream *x = a, *y = b;
  size_t least = x->name.size < y->name.size ? x->name.size : y->name.size;
  int order = memcmp(x->name.data, y->name.data, least);
  return order ? order : (x->name.size > y->name.size) - (x->name.size < y->name.size);
}

/* Heads, by their names: those that share a page are found from one another, and written while it
 * is in the cache. The order of txn->streams means nothing any more after this. */
static int write_streams(mf_txn *txn) {
  int rc = write_names(txn);
  bool sorted = true;
  for (size_t i = 1; i < txn->stream_count && sorted; i++)
    sorted = compare_streams(&txn->streams[i - 1], &txn->streams[i]) < 0;
  if (!sorted) qsort(txn->streams, txn->stream_count, sizeof *txn->streams, compare_streams);
  for (size_t i = 0; rc == 0 && i < txn->stream_count; i++)
    rc = write_stream(txn, &txn->streams[i]);
  return rc;
}

static int write_staging(mf_txn *txn) {
  mf__env *env = txn->view.env;
  int rc = txn->event_count > 0 ? write_log(txn) : 0;
  for (size_t i = 0; rc == 0 && i < txn->type_count; i++) {
    size_t id = (size_t)txn->base_type_id + i + 1;
    rc = put_sealed(txn, env->types, MF__IN_TYPES, mf__bytes(&id, sizeof id), txn->types[i].data,
                    txn->types[i].size, MDB_APPEND);
  }
  if (rc == 0) rc = write_streams(txn);
  for (size_t i = 0; rc == 0 && i < txn->id_count; i++)
    rc = put_sealed(txn, env->ids, MF__IN_IDS, txn->id_keys[i], txn->id_values[i].data,
                    txn->id_values[i].size, 0);
  return rc == 0 ? mf__beside_write(txn) : rc;
}

static bool anything_staged(const mf_txn *txn) {
  return txn->event_count > 0 || mf__beside_any(txn);
}

/* Makes sure that the commit fits the map, which can only grow while LMDB has no write transaction.
 */
static int ensure_room(mf_txn *txn, mf_error *error) {
  mf__env *env = txn->view.env;
  uint64_t touched = txn->stream_count * 3 + txn->id_count + txn->type_count + 16;
  for (int i = 0; i < MF__BESIDE; i++)
    touched += 3 * txn->beside[i].count;
  uint64_t bytes = txn->bytes.size + txn->beside_bytes;
  uint64_t needed = bytes + bytes / 8 + touched * 2 * env->page_size;
  if (needed <= (uint64_t)32 << 20) return MF_OK; /* mf_begin() has seen to that, or tried */
  MDB_envinfo info;
  mdb_env_info(env->db, &info);
  if (((uint64_t)info.me_last_pgno + 1) * env->page_size + needed <= info.me_mapsize) return MF_OK;
  size_t id = mdb_txn_id(txn->view.db);
  mdb_txn_abort(txn->view.db);
  txn->view.db = NULL;
  int status = mf__env_make_room(env, needed, error);
  if (status == MF_OK) status = begin_db(txn, error);
  if (status != MF_OK) {
    txn->view.db = NULL;
    return status;
  }
  if (mdb_txn_id(txn->view.db) == id) return MF_OK;
  return mf__fail(error, MF_BUSY,
                  "%s: the map had to grow for this transaction, and another process wrote "
                  "meanwhile: nothing was recorded, repeat it",
                  env->path);
}

/*
 * LMDB takes a write that was cut short for EIO, which is how a disk that fills up may show first.
 * Whether it is full is found out by asking for the room.
 */
static int commit_failure(mf_txn *txn, int rc, uint64_t needed, mf_error *error) {
  mf__env *env = txn->view.env;
  mdb_filehandle_t fd;
  mf__file_id id;
  uint64_t size;
  bool regular;
  if (rc == EIO && env->memory_fd < 0 && mdb_env_get_fd(env->db, &fd) == 0 &&
      mf__file_stat(fd, &id, &size, &regular) == 0) {
    int full = mf__file_extend(fd, size, size + needed);
    if (full == ENOSPC || full == EDQUOT || full == EFBIG) rc = full;
  }
  return mf__fail_db(error, rc, env->path);
}

/*
 * A memory store has no lock file, so LMDB does not know its readers: the commit waits until the
 * batches that are being read are done, and pages that they looked at may be used again after it.
 */
static int commit_db(mf_txn *txn) {
  mf__env *env = txn->view.env;
  set_durability(env, txn->durability);
  if (env->memory_fd < 0) return mdb_txn_commit(txn->view.db);
  pthread_rwlock_wrlock(&env->gate);
  int rc = mdb_txn_commit(txn->view.db);
  pthread_rwlock_unlock(&env->gate);
  return rc;
}

static void announce(mf__env *env) {
  pthread_mutex_lock(&env->commit_lock);
  pthread_cond_broadcast(&env->committed);
  pthread_mutex_unlock(&env->commit_lock);
}

int mf_commit(mf_txn *txn, mf_error *error) {
  if (!txn->write || !mf__born_here(&txn->view.env->birthmark)) {
    int status = mf__txn_usable(txn, error);
    if (status == MF_OK && anything_staged(txn))
      status = mf__fail(error, MF_READ_ONLY, "a read transaction records nothing: abort it");
    mf_abort(txn);
    return status;
  }
  mf__env *env = txn->view.env;
  int status = txn->doomed ? mf__txn_usable(txn, error) : MF_OK;
  bool nothing = !anything_staged(txn);
  /* What was dropped directly is in LMDB's transaction already, which must stay the same. */
  if (status == MF_OK && !nothing && !txn->dropped) status = ensure_room(txn, error);
  if (status != MF_OK || nothing) {
    if (txn->view.db) mdb_txn_abort(txn->view.db);
    let_go(txn);
    return status;
  }
  int rc = write_staging(txn);
  if (rc == 0)
    rc = commit_db(txn);
  else
    mdb_txn_abort(txn->view.db);
  if (rc == 0) mf__env_settle(env);
  status = rc == 0 ? MF_OK : commit_failure(txn, rc, txn->bytes.size + 65536, error);
  let_go(txn);
  if (status == MF_OK) announce(env);
  return status;
}
