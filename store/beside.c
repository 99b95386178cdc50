/* What stands beside the log: code, snapshots, kept commands. Here they are keys and sealed values:
 * staged in a transaction, written by its commit, looked up in a view. */
#include "internal.h"

#include <stdlib.h>

/* ---- databases ---- */

int mf__beside_open(mf__env *env, MDB_txn *txn, unsigned create) {
  static const char *const names[MF__BESIDE] = {"code", "snapshots", "commands"};
  for (int i = 0; i < MF__BESIDE; i++) {
    int rc = mdb_dbi_open(txn, names[i], create, &env->beside[i]);
    if (rc == MDB_NOTFOUND) return 0;
    if (rc != 0) return rc;
  }
  env->has_beside = true;
  return 0;
}

/* LMDB's handles of databases may not come to be while somebody reads: the gate keeps readers out.
 */
int mf__beside_create(mf__env *env, mf_error *error) {
  MDB_txn *txn;
  if (mf__reads_here(env))
    return mf__fail(error, MF_BUSY,
                    "%s was made by an older Moonfold and is adapted first, which would wait for "
                    "the read transaction that this thread has open: end it first",
                    env->path);
  pthread_rwlock_wrlock(&env->gate);
  int rc = mdb_txn_begin(env->db, NULL, 0, &txn);
  if (rc == 0) {
    rc = mf__beside_open(env, txn, MDB_CREATE);
    if (rc == 0)
      rc = mdb_txn_commit(txn);
    else
      mdb_txn_abort(txn);
  }
  if (rc != 0) env->has_beside = false;
  pthread_rwlock_unlock(&env->gate);
  return mf__fail_db(error, rc, env->path);
}

/* ---- staging ---- */

bool mf__copy(mf_bytes from, mf_bytes *to) {
  void *copy = malloc(from.size + 1);
  if (!copy) return false;
  if (from.size) memcpy(copy, from.data, from.size);
  *to = mf__bytes(copy, from.size);
  return true;
}

void mf_free(mf_bytes bytes) {
  free((void *)(uintptr_t)bytes.data);
}

static bool make_put(const mf_txn *txn, int kind, mf_bytes key, mf_bytes head, mf_bytes body,
                     mf__beside_put *put) {
  put->size = head.size + body.size + MF__SEAL;
  put->value = malloc(put->size);
  if (!put->value) return false;
  memcpy(put->key, key.data, key.size);
  put->key_size = key.size;
  if (head.size) memcpy(put->value, head.data, head.size);
  if (body.size) memcpy(put->value + head.size, body.data, body.size);
  mf__seal(put->value, put->size - MF__SEAL, key,
           mf__seal_seed(txn->view.env->record.seed, MF__IN_BESIDE + kind));
  return true;
}

int mf__beside_stage(mf_txn *txn, int kind, mf_bytes key, mf_bytes head, mf_bytes body,
                     mf_error *error) {
  mf__beside_puts *puts = &txn->beside[kind];
  if (puts->count == puts->capacity) {
    size_t capacity = puts->capacity ? 2 * puts->capacity : 8;
    mf__beside_put *list = realloc(puts->list, capacity * sizeof *list);
    if (!list) return mf__fail(error, MF_NO_MEMORY, "no memory to stage what is kept");
    puts->list = list;
    puts->capacity = capacity;
  }
  if (!make_put(txn, kind, key, head, body, &puts->list[puts->count]))
    return mf__fail(error, MF_NO_MEMORY, "no memory to stage what is kept");
  txn->beside_bytes += puts->list[puts->count++].size;
  return MF_OK;
}

void mf__beside_rollback(mf_txn *txn, const size_t counts[MF__BESIDE]) {
  for (int i = 0; i < MF__BESIDE; i++)
    while (txn->beside[i].count > counts[i]) {
      mf__beside_put *put = &txn->beside[i].list[--txn->beside[i].count];
      txn->beside_bytes -= put->size;
      free(put->value);
    }
}

void mf__beside_free(mf_txn *txn) {
  for (int i = 0; i < MF__BESIDE; i++)
    free(txn->beside[i].list);
  memset(txn->beside, 0, sizeof txn->beside);
}

bool mf__beside_any(const mf_txn *txn) {
  for (int i = 0; i < MF__BESIDE; i++)
    if (txn->beside[i].count > 0) return true;
  return txn->dropped;
}

bool mf__beside_unseal(const mf__beside_put *put, uint64_t seed, mf_bytes *value) {
  *value = mf__bytes(put->value, put->size);
  return mf__unseal(value, mf__bytes(put->key, put->key_size), seed);
}

/* ---- what an entry looks like ---- */

bool mf__beside_fits(int kind, mf_bytes key, mf_bytes value) {
  const uint8_t *p = value.data, *limit = p + value.size;
  uint64_t name;
  switch (kind) {
  case MF__CODE: /* a time, the code */
    return key.size == MF_DIGEST_SIZE && value.size >= 8;
  case MF__SNAPSHOTS: /* a checksum, a time, the state */
    return key.size == MF__BESIDE_KEY_MAX && value.size >= 16;
  default: /* a stream's name, the command; a time is not MF_NOW */
    return key.size == 16 && mf__be64_read(key.data) != 0 &&
           (p = mf__varint_read(p, limit, &name)) && name >= 1 && name <= MF_STREAM_NAME_MAX &&
           name <= (uint64_t)(limit - p);
  }
}

/* ---- writing ---- */

static int write_put(mf_txn *txn, int kind, const mf__beside_put *put) {
  MDB_val key = {put->key_size, (void *)(uintptr_t)put->key}, value = {put->size, put->value};
  return mdb_put(txn->view.db, txn->view.env->beside[kind], &key, &value, 0);
}

int mf__beside_write(mf_txn *txn) {
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < txn->beside[MF__CODE].count; i++)
    rc = write_put(txn, MF__CODE, &txn->beside[MF__CODE].list[i]);
  for (size_t i = 0; rc == 0 && i < txn->beside[MF__SNAPSHOTS].count; i++) {
    rc = write_put(txn, MF__SNAPSHOTS, &txn->beside[MF__SNAPSHOTS].list[i]);
    if (rc == 0) rc = mf__snapshots_prune(txn, &txn->beside[MF__SNAPSHOTS].list[i]);
  }
  return rc == 0 ? mf__commands_write(txn) : rc;
}

/* ---- looking up ---- */

int mf__beside_get(mf__view *view, int kind, mf_bytes key, mf_bytes *value, bool *found,
                   mf_error *error) {
  MDB_val db_key = {key.size, (void *)(uintptr_t)key.data}, db_value;
  *found = false;
  if (!view->env->has_beside) return MF_OK;
  int rc = mdb_get(view->db, view->env->beside[kind], &db_key, &db_value);
  if (rc == MDB_NOTFOUND) return MF_OK;
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  *found = true;
  *value = mf__bytes(db_value.mv_data, db_value.mv_size);
  if (mf__unseal(value, key, mf__seal_seed(view->env->record.seed, MF__IN_BESIDE + kind)))
    return MF_OK;
  return mf__corrupt_index(error, view->env, "what is kept beside the log");
}

static int count_entries(mf__view *view, int kind, int64_t *count, int64_t *bytes,
                         mf_error *error) {
  MDB_stat stat;
  int rc = mdb_stat(view->db, view->env->beside[kind], &stat);
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  *count = (int64_t)stat.ms_entries;
  *bytes = (int64_t)((stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) *
                     view->env->page_size);
  return MF_OK;
}

static int count_all(mf__view *view, mf_beside_stats *s, mf_error *error) {
  memset(s, 0, sizeof *s);
  if (!view->env->has_beside) return MF_OK;
  int status = count_entries(view, MF__CODE, &s->codes, &s->code_bytes, error);
  if (status == MF_OK)
    status = count_entries(view, MF__SNAPSHOTS, &s->snapshots, &s->snapshot_bytes, error);
  if (status == MF_OK)
    status = count_entries(view, MF__COMMANDS, &s->commands, &s->command_bytes, error);
  return status;
}

int mf_beside(mf_store *store, mf_beside_stats *stats, mf_error *error) {
  mf_txn *none = NULL;
  MF__IN_VIEW(store, none, view, error, count_all(view, stats, error));
}
