/* The code that decided: kept for ever, by its digest. */
#include "internal.h"

enum { TIME_SIZE = 8 }; /* when it was first seen; then comes the code */

/* False: no memory. */
static bool read_code(mf_bytes key, mf_bytes value, mf_code_record *record) {
  memcpy(record->digest, key.data, MF_DIGEST_SIZE);
  record->first_seen = (int64_t)mf__u64_read(value.data);
  return mf__copy(mf__bytes((const uint8_t *)value.data + TIME_SIZE, value.size - TIME_SIZE),
                  &record->code);
}

static bool find_staged(const mf_txn *txn, mf_bytes digest, mf_bytes *value) {
  const mf__beside_puts *puts = &txn->beside[MF__CODE];
  for (size_t i = puts->count; i-- > 0;)
    if (memcmp(puts->list[i].key, digest.data, MF_DIGEST_SIZE) == 0)
      return mf__beside_unseal(&puts->list[i],
                               mf__seal_seed(txn->view.env->record.seed, MF__IN_BESIDE + MF__CODE),
                               value);
  return false;
}

int mf_put_code(mf_txn *txn, const uint8_t digest[MF_DIGEST_SIZE], mf_bytes code, bool *committed,
                mf_error *error) {
  mf_bytes key = mf__bytes(digest, MF_DIGEST_SIZE), value;
  uint8_t first_seen[TIME_SIZE];
  bool found;
  int status = mf__txn_usable(txn, error);
  if (status != MF_OK) return status;
  status = mf__beside_get(&txn->view, MF__CODE, key, &value, &found, error);
  if (committed) *committed = found;
  if (status == MF_OK && !found && !find_staged(txn, key, &value)) {
    mf__u64_write(first_seen, (uint64_t)mf_now(txn->store));
    status = mf__beside_stage(txn, MF__CODE, key, mf__bytes(first_seen, TIME_SIZE), code, error);
  }
  return mf__txn_note(txn, status);
}

static int find(mf__view *view, const mf_txn *txn, const uint8_t *digest, mf_code_record *record,
                mf_error *error) {
  mf_bytes key = mf__bytes(digest, MF_DIGEST_SIZE), value;
  bool found = txn && find_staged(txn, key, &value);
  int status = found ? MF_OK : mf__beside_get(view, MF__CODE, key, &value, &found, error);
  if (status != MF_OK || !found) return status == MF_OK ? MF_DONE : status;
  if (!mf__beside_fits(MF__CODE, key, value))
    return mf__corrupt_index(error, view->env, "the code that is kept");
  if (read_code(key, value, record)) return MF_OK;
  return mf__fail(error, MF_NO_MEMORY, "no memory for code");
}

int mf_find_code(mf_store *store, mf_txn *txn, const uint8_t digest[MF_DIGEST_SIZE],
                 mf_code_record *record, mf_error *error) {
  MF__IN_VIEW(store, txn, view, error, find(view, txn, digest, record, error));
}

static int next(mf__view *view, const uint8_t *after, mf_code_record *record, mf_error *error) {
  mf__env *env = view->env;
  MDB_cursor *cursor;
  MDB_val key = {after ? MF_DIGEST_SIZE : 0, (void *)(uintptr_t)after}, value;
  if (!env->has_beside) return MF_DONE;
  int rc = mdb_cursor_open(view->db, env->beside[MF__CODE], &cursor);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  rc = mdb_cursor_get(cursor, &key, &value, after ? MDB_SET_RANGE : MDB_FIRST);
  if (rc == 0 && after && key.mv_size == MF_DIGEST_SIZE &&
      memcmp(key.mv_data, after, MF_DIGEST_SIZE) == 0)
    rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
  mdb_cursor_close(cursor);
  if (rc == MDB_NOTFOUND) return MF_DONE;
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  mf_bytes bytes = mf__bytes(value.mv_data, value.mv_size);
  mf_bytes digest = mf__bytes(key.mv_data, key.mv_size);
  if (!mf__unseal(&bytes, digest, mf__seal_seed(env->record.seed, MF__IN_BESIDE + MF__CODE)) ||
      !mf__beside_fits(MF__CODE, digest, bytes))
    return mf__corrupt_index(error, env, "the code that is kept");
  if (read_code(digest, bytes, record)) return MF_OK;
  return mf__fail(error, MF_NO_MEMORY, "no memory for code");
}

int mf_next_code(mf_store *store, const uint8_t after[MF_DIGEST_SIZE], mf_code_record *record,
                 mf_error *error) {
  mf_txn *none = NULL;
  MF__IN_VIEW(store, none, view, error, next(view, after, record, error));
}
