/* Kept commands: what was handled, in the order of time, with bounds on age and number. */
#include "internal.h"

#include <stdlib.h>

enum { KEY_SIZE = 16, NUMBER_BITS = 24, BATCH = 256, BATCH_BYTES = 1 << 18 };

/* Times are signed, keys are sorted as bytes. */
static void write_key(uint8_t key[KEY_SIZE], int64_t time, uint64_t number) {
  mf__be64_write(key, (uint64_t)time ^ (uint64_t)1 << 63);
  mf__be64_write(key + 8, number);
}

static int64_t time_of(const uint8_t *key) {
  return (int64_t)(mf__be64_read(key) ^ (uint64_t)1 << 63);
}

/* ---- keeping ---- */

int mf_keep_command(mf_txn *txn, const mf_kept_command *command, mf_error *error) {
  uint8_t key[KEY_SIZE], head[10 + MF_STREAM_NAME_MAX];
  int status = mf__txn_usable(txn, error);
  if (status == MF_OK) status = mf__check_name(command->stream, error);
  if (status != MF_OK) return status;
  uint64_t id = mdb_txn_id(txn->view.db);
  int64_t time = command->time == MF_NOW ? mf_now(txn->store) : command->time;
  write_key(key, time, id << NUMBER_BITS | txn->beside[MF__COMMANDS].count);
  uint8_t *p = mf__varint_write(head, command->stream.size);
  memcpy(p, command->stream.data, command->stream.size);
  p += command->stream.size;
  status = mf__beside_stage(txn, MF__COMMANDS, mf__bytes(key, KEY_SIZE),
                            mf__bytes(head, (size_t)(p - head)), command->command, error);
  return mf__txn_note(txn, status);
}

/* An entry of the database, unsealed. False: it makes no sense. */
static bool read_command(mf_bytes key, mf_bytes value, mf_kept_command *command) {
  const uint8_t *limit = (const uint8_t *)value.data + value.size;
  uint64_t size;
  if (!mf__beside_fits(MF__COMMANDS, key, value)) return false;
  const uint8_t *p = mf__varint_read(value.data, limit, &size);
  *command = (mf_kept_command){time_of(key.data), mf__bytes(p, (size_t)size),
                               mf__bytes(p + size, (size_t)(limit - p) - (size_t)size)};
  return true;
}

int mf_staged_command(const mf_txn *txn, size_t number, mf_kept_command *command, mf_error *error) {
  const mf__env *env = txn->view.env;
  const mf__beside_puts *puts = &txn->beside[MF__COMMANDS];
  if (number >= puts->count) return MF_DONE;
  const mf__beside_put *put = &puts->list[number];
  mf_bytes value;
  if (!mf__beside_unseal(put, mf__seal_seed(env->record.seed, MF__IN_BESIDE + MF__COMMANDS),
                         &value) ||
      !read_command(mf__bytes(put->key, put->key_size), value, command))
    return mf__corrupt_index(error, env, "a command that is kept");
  return MF_OK;
}

void mf_bound_commands(mf_txn *txn, int64_t count, int64_t oldest) {
  txn->commands_most = count;
  txn->commands_oldest = oldest;
}

/* Drops the oldest that the bounds do not allow, but not many more than were added. */
static int drop_oldest(mf_txn *txn) {
  MDB_dbi dbi = txn->view.env->beside[MF__COMMANDS];
  MDB_stat stat;
  MDB_cursor *cursor;
  MDB_val key, value;
  if (txn->commands_most < 0 && txn->commands_oldest == INT64_MIN) return 0;
  int rc = mdb_stat(txn->view.db, dbi, &stat);
  if (rc == 0) rc = mdb_cursor_open(txn->view.db, dbi, &cursor);
  if (rc != 0) return rc;
  size_t left = 2 * txn->beside[MF__COMMANDS].count + 16, entries = stat.ms_entries;
  rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
  for (; rc == 0 && left > 0; left--, entries--) {
    bool many = txn->commands_most >= 0 && entries > (uint64_t)txn->commands_most;
    bool old = key.mv_size == KEY_SIZE && time_of(key.mv_data) < txn->commands_oldest;
    if (!many && !old) break;
    rc = mdb_cursor_del(cursor, 0);
    if (rc == 0) rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
  }
  mdb_cursor_close(cursor);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

int mf__commands_write(mf_txn *txn) {
  const mf__beside_puts *puts = &txn->beside[MF__COMMANDS];
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < puts->count; i++) {
    MDB_val key = {KEY_SIZE, puts->list[i].key}, value = {puts->list[i].size, puts->list[i].value};
    rc = mdb_put(txn->view.db, txn->view.env->beside[MF__COMMANDS], &key, &value, 0);
  }
  return rc == 0 && puts->count > 0 ? drop_oldest(txn) : rc;
}

/* ---- listing ---- */

typedef struct listed {
  int64_t time;
  size_t stream, stream_size, command, command_size; /* in `bytes` */
} listed;

struct mf_commands {
  mf_store *store;
  mf_bytes prefix;
  uint8_t next_key[KEY_SIZE]; /* where the next batch begins */
  uint8_t last_key[KEY_SIZE]; /* what is kept later is not listed */
  bool done;
  mf__buffer bytes;
  listed list[BATCH];
  size_t count, at;
};

/* Adds an entry to the batch if its stream is wanted. */
static int list_one(mf_commands *c, mf_bytes key, mf_bytes value, mf_error *error) {
  const mf__env *env = c->store->env;
  mf_kept_command found;
  if (!mf__unseal(&value, key, mf__seal_seed(env->record.seed, MF__IN_BESIDE + MF__COMMANDS)) ||
      !read_command(key, value, &found))
    return mf__corrupt_index(error, env, "a command that is kept");
  mf_bytes name = found.stream, prefix = c->prefix;
  if (name.size < prefix.size || (prefix.size && memcmp(name.data, prefix.data, prefix.size) != 0))
    return MF_OK;
  size_t start = c->bytes.size; /* the command stands behind the name */
  if (!mf__buffer_add(&c->bytes, name.data, name.size + found.command.size))
    return mf__fail(error, MF_NO_MEMORY, "no memory for kept commands");
  c->list[c->count++] =
      (listed){found.time, start, name.size, start + name.size, found.command.size};
  return MF_OK;
}

/* The smallest key behind this one; false where there is none. */
static bool increment(uint8_t key[KEY_SIZE]) {
  for (int i = KEY_SIZE; i-- > 0;)
    if (++key[i] != 0) return true;
  return false;
}

static int fill(mf_commands *c, mf__view *view, mf_error *error) {
  mf__env *env = view->env;
  MDB_cursor *cursor;
  MDB_val key = {KEY_SIZE, c->next_key}, value;
  c->count = c->at = 0;
  c->bytes.size = 0;
  if (!env->has_beside) return MF_DONE;
  int rc = mdb_cursor_open(view->db, env->beside[MF__COMMANDS], &cursor);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  int status = MF_OK, seen = 0;
  rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  while (rc == 0 && status == MF_OK && c->count < BATCH && c->bytes.size < BATCH_BYTES) {
    if (key.mv_size == KEY_SIZE && memcmp(key.mv_data, c->last_key, KEY_SIZE) > 0) break;
    status = list_one(c, mf__bytes(key.mv_data, key.mv_size),
                      mf__bytes(value.mv_data, value.mv_size), error);
    if (key.mv_size == KEY_SIZE) memcpy(c->next_key, key.mv_data, KEY_SIZE);
    if (++seen == 16 * BATCH) break; /* few are wanted: let go of the transaction now and then */
    rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(cursor);
  if (rc != 0 && rc != MDB_NOTFOUND) return mf__fail_db(error, rc, env->path);
  c->done = seen == 0 || !increment(c->next_key);
  return status;
}

static int find_last(mf_commands *c, mf__view *view, mf_error *error) {
  mf__env *env = view->env;
  MDB_cursor *cursor;
  MDB_val key, value;
  c->done = true;
  if (!env->has_beside) return MF_OK;
  int rc = mdb_cursor_open(view->db, env->beside[MF__COMMANDS], &cursor);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
  if (rc == 0 && key.mv_size == KEY_SIZE) {
    memcpy(c->last_key, key.mv_data, KEY_SIZE);
    c->done = false;
  }
  mdb_cursor_close(cursor);
  return rc == MDB_NOTFOUND ? MF_OK : mf__fail_db(error, rc, env->path);
}

static int with_view(mf_commands *c, int (*work)(mf_commands *, mf__view *, mf_error *),
                     mf_error *error) {
  mf_txn *none = NULL;
  MF__IN_VIEW(c->store, none, view, error, work(c, view, error));
}

int mf_commands_open(mf_store *store, int64_t since, mf_bytes prefix, mf_commands **out,
                     mf_error *error) {
  *out = NULL;
  mf_commands *c = calloc(1, sizeof *c);
  if (!c || !mf__copy(prefix, &c->prefix)) {
    free(c);
    return mf__fail(error, MF_NO_MEMORY, "no memory to list kept commands");
  }
  c->store = store;
  write_key(c->next_key, since, 0);
  mf__store_retain(store);
  int status = with_view(c, find_last, error);
  if (status == MF_OK)
    *out = c;
  else
    mf_commands_close(c);
  return status;
}

int mf_commands_next(mf_commands *c, mf_kept_command *command, mf_error *error) {
  while (c->at == c->count) {
    int status = c->done ? MF_DONE : with_view(c, fill, error);
    if (status != MF_OK) return status;
  }
  const listed *l = &c->list[c->at++];
  command->time = l->time;
  command->stream = mf__bytes(c->bytes.data + l->stream, l->stream_size);
  command->command = mf__bytes(c->bytes.data + l->command, l->command_size);
  return MF_OK;
}

void mf_commands_close(mf_commands *c) {
  if (!c) return;
  mf__store_release(c->store);
  mf_free(c->prefix);
  mf__buffer_free(&c->bytes);
  free(c);
}
