/*
 * Snapshots of folded states. One is found by stream, digest and version, and vouched for by its
 * seal and by the checksum of the event that it was taken at. Whatever is odd about one makes it
 * missing.
 */
#include "internal.h"

enum { KEY_SIZE = 8 + MF_DIGEST_SIZE + 8, HEAD_SIZE = 16 };

static mf_bytes snapshot_key(uint64_t stream_id, const uint8_t *digest, uint64_t version,
                             uint8_t key[KEY_SIZE]) {
  mf__be64_write(key, stream_id);
  memcpy(key + 8, digest, MF_DIGEST_SIZE);
  mf__be64_write(key + 8 + MF_DIGEST_SIZE, version);
  return mf__bytes(key, KEY_SIZE);
}

static uint64_t version_of(const uint8_t *key) {
  return mf__be64_read(key + 8 + MF_DIGEST_SIZE);
}

/* ---- the event that a snapshot was taken at ---- */

/* The position of a version among runs that begin with `first`; 0: not there. */
static uint64_t position_in(mf_bytes runs, uint64_t first, uint64_t base, uint64_t version,
                            uint64_t *next_first, uint64_t *next_base) {
  const uint8_t *p = runs.data, *limit = p ? p + runs.size : p;
  uint64_t gap, length;
  while (p < limit) {
    p = mf__run_read(p, limit, &gap, &length);
    if (!p) break;
    if (version < first + length) return base + gap + 1 + (version - first);
    base += gap + length;
    first += length;
  }
  *next_first = first;
  *next_base = base;
  return 0;
}

static int position_of(mf__view *view, const mf__head *head, uint64_t version, uint64_t *position,
                       mf_error *error) {
  uint64_t first = head->chunk_version, base = head->chunk_base, after, end;
  mf_bytes runs = head->runs;
  if (version < head->chunk_version) {
    int status = mf__view_chunk(view, head->id, version, &first, &base, &runs, error);
    if (status != MF_OK) return status;
  }
  *position = version < first ? 0 : position_in(runs, first, base, version, &after, &end);
  if (*position == 0 && version >= head->chunk_version)
    *position = head->last_position - (head->version - version);
  return MF_OK;
}

static int checksum_at(mf__view *view, const mf__head *head, uint64_t version, uint64_t *checksum,
                       mf_error *error) {
  uint64_t position;
  mf__record record;
  int status = position_of(view, head, version, &position, error);
  if (status == MF_OK) status = mf__view_record(view, (int64_t)position, &record, error);
  if (status != MF_OK) return status;
  if (record.stream_id != head->id || record.version != version)
    return mf__corrupt_index(error, view->env, "the index of a stream's events");
  *checksum = record.checksum;
  return MF_OK;
}

/* ---- what was put ---- */

int mf_staged_snapshot(const mf_txn *txn, size_t number, uint8_t digest[MF_DIGEST_SIZE],
                       mf_snapshot *snapshot, mf_error *error) {
  const mf__env *env = txn->view.env;
  const mf__beside_puts *puts = &txn->beside[MF__SNAPSHOTS];
  mf_bytes value;
  if (number >= puts->count) return MF_DONE;
  const mf__beside_put *put = &puts->list[number];
  if (!mf__beside_unseal(put, mf__seal_seed(env->record.seed, MF__IN_BESIDE + MF__SNAPSHOTS),
                         &value) ||
      value.size < HEAD_SIZE)
    return mf__corrupt_index(error, env, "a snapshot");
  const uint8_t *p = value.data;
  memcpy(digest, put->key + 8, MF_DIGEST_SIZE);
  snapshot->version = (int64_t)mf__be64_read(put->key + 8 + MF_DIGEST_SIZE);
  snapshot->taken_at = (int64_t)mf__u64_read(p + 8);
  snapshot->state = mf__bytes(p + HEAD_SIZE, value.size - HEAD_SIZE);
  return MF_OK;
}

/* The entries of a stream: where the cursor stands, and whether that is one of them. */
static bool in_stream(MDB_val key, const uint8_t *stream) {
  return key.mv_size == KEY_SIZE && memcmp(key.mv_data, stream, 8) == 0;
}

static bool same_digest(const uint8_t *a, const uint8_t *b) {
  return memcmp(a + 8, b + 8, MF_DIGEST_SIZE) == 0;
}

/* One pass over a stream's snapshots: drops the other ones of the same digest, counts those of
 * other digests and finds the oldest of them. */
static int prune_pass(MDB_cursor *cursor, const mf__beside_put *put, int *others,
                      uint8_t oldest[KEY_SIZE]) {
  uint8_t start[KEY_SIZE] = {0};
  int64_t oldest_time = INT64_MAX;
  memcpy(start, put->key, 8);
  MDB_val key = {KEY_SIZE, start}, value;
  *others = 0;
  int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  while (rc == 0 && in_stream(key, put->key)) {
    bool same = same_digest(key.mv_data, put->key);
    if (same && version_of(key.mv_data) != version_of(put->key)) {
      /* After a deletion MDB_NEXT returns what now stands there. */
      rc = mdb_cursor_del(cursor, 0);
      if (rc == 0) rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
      continue;
    }
    int64_t time = value.mv_size < HEAD_SIZE
                       ? INT64_MIN
                       : (int64_t)mf__u64_read((const uint8_t *)value.mv_data + 8);
    if (!same && (++*others == 1 || time < oldest_time)) {
      oldest_time = time;
      memcpy(oldest, key.mv_data, KEY_SIZE);
    }
    rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
  }
  return rc == MDB_NOTFOUND ? 0 : rc;
}

int mf__snapshots_prune(mf_txn *txn, const mf__beside_put *put) {
  MDB_dbi dbi = txn->view.env->beside[MF__SNAPSHOTS];
  MDB_cursor *cursor;
  uint8_t oldest[KEY_SIZE];
  int others = 0;
  int rc = mdb_cursor_open(txn->view.db, dbi, &cursor);
  if (rc != 0) return rc;
  rc = prune_pass(cursor, put, &others, oldest);
  while (rc == 0 && others >= MF_SNAPSHOTS_KEPT) {
    MDB_val key = {KEY_SIZE, oldest};
    rc = mdb_del(txn->view.db, dbi, &key, NULL);
    if (rc == 0) rc = prune_pass(cursor, put, &others, oldest);
  }
  mdb_cursor_close(cursor);
  return rc;
}

/* ---- finding ---- */

/* Whether the entry holds what it should; *snapshot then borrows its state. */
static bool read_snapshot(mf__view *view, const mf__head *head, mf_bytes key, mf_bytes value,
                          mf_snapshot *snapshot) {
  uint64_t checksum, version = version_of(key.data);
  if (!mf__unseal(&value, key,
                  mf__seal_seed(view->env->record.seed, MF__IN_BESIDE + MF__SNAPSHOTS)) ||
      value.size < HEAD_SIZE)
    return false;
  if (version < 1 || version > head->version ||
      checksum_at(view, head, version, &checksum, NULL) != MF_OK)
    return false;
  const uint8_t *p = value.data;
  if (mf__u64_read(p) != checksum) return false;
  snapshot->version = (int64_t)version;
  snapshot->taken_at = (int64_t)mf__u64_read(p + 8);
  snapshot->state = mf__bytes(p + HEAD_SIZE, value.size - HEAD_SIZE);
  return true;
}

/* The newest one that the transaction has put. */
static bool find_staged(mf__view *view, const mf_txn *txn, const mf__head *head,
                        const uint8_t *wanted, mf_snapshot *snapshot) {
  const mf__beside_puts *puts = &txn->beside[MF__SNAPSHOTS];
  bool found = false;
  for (size_t i = puts->count; i-- > 0;) {
    const mf__beside_put *put = &puts->list[i];
    mf_snapshot other;
    if (memcmp(put->key, wanted, 8 + MF_DIGEST_SIZE) != 0) continue;
    if (version_of(put->key) > version_of(wanted)) continue;
    if (!read_snapshot(view, head, mf__bytes(put->key, put->key_size),
                       mf__bytes(put->value, put->size), &other))
      continue;
    if (!found || other.version > snapshot->version) *snapshot = other;
    found = true;
  }
  return found;
}

static bool find_stored(mf__view *view, const mf__head *head, const uint8_t *wanted,
                        mf_snapshot *snapshot) {
  MDB_cursor *cursor;
  MDB_val key = {KEY_SIZE, (void *)(uintptr_t)wanted}, value;
  if (!view->env->has_beside ||
      mdb_cursor_open(view->db, view->env->beside[MF__SNAPSHOTS], &cursor) != 0)
    return false;
  int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  bool exact = rc == 0 && key.mv_size == KEY_SIZE && memcmp(key.mv_data, wanted, KEY_SIZE) == 0;
  if (!exact && (rc == 0 || rc == MDB_NOTFOUND))
    rc = mdb_cursor_get(cursor, &key, &value, rc == 0 ? MDB_PREV : MDB_LAST);
  bool found = false;
  while (rc == 0 && !found && key.mv_size == KEY_SIZE &&
         memcmp(key.mv_data, wanted, 8 + MF_DIGEST_SIZE) == 0) {
    found = read_snapshot(view, head, mf__bytes(key.mv_data, key.mv_size),
                          mf__bytes(value.mv_data, value.mv_size), snapshot);
    if (!found) rc = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
  }
  mdb_cursor_close(cursor);
  return found;
}

static int find(mf__view *view, const mf_txn *txn, mf_bytes stream, const uint8_t *digest,
                int64_t most, mf_snapshot *snapshot, mf_error *error) {
  uint8_t key[KEY_SIZE];
  mf__head head;
  mf_snapshot staged = {0, 0, {NULL, 0}};
  bool found;
  int status = mf__view_head(view, stream, &head, &found, error);
  if (status != MF_OK || !found || most < 1) return status == MF_OK ? MF_DONE : status;
  snapshot_key(head.id, digest, (uint64_t)most, key);
  found = find_stored(view, &head, key, snapshot);
  if (txn && find_staged(view, txn, &head, key, &staged) &&
      (!found || staged.version > snapshot->version)) {
    *snapshot = staged;
    found = true;
  }
  if (!found) return MF_DONE;
  if (mf__copy(snapshot->state, &snapshot->state)) return MF_OK;
  return mf__fail(error, MF_NO_MEMORY, "no memory for a snapshot");
}

int mf_find_snapshot(mf_store *store, mf_txn *txn, mf_bytes stream,
                     const uint8_t digest[MF_DIGEST_SIZE], int64_t most, mf_snapshot *snapshot,
                     mf_error *error) {
  int status = mf__check_name(stream, error);
  if (status != MF_OK) return status;
  MF__IN_VIEW(store, txn, view, error, find(view, txn, stream, digest, most, snapshot, error));
}

/* ---- putting ---- */

/* A snapshot is committed together with events, which may not fail because of it. */
static bool spares_room(const mf_txn *txn, size_t size) {
  const mf__env *env = txn->view.env;
  mdb_filehandle_t fd;
  if (env->memory_fd >= 0 || mdb_env_get_fd(env->db, &fd) != 0) return true;
  return mf__file_room(fd) / 2 > size + ((size_t)1 << 19);
}

/* One of the past would take the place of a newer one, from which more is folded. */
static bool has_newer(mf_txn *txn, const mf__head *head, const uint8_t *digest, uint64_t version) {
  uint8_t key[KEY_SIZE];
  mf_snapshot other;
  snapshot_key(head->id, digest, head->version, key);
  return (find_stored(&txn->view, head, key, &other) && other.version > (int64_t)version) ||
         (find_staged(&txn->view, txn, head, key, &other) && other.version > (int64_t)version);
}

int mf_put_snapshot(mf_txn *txn, mf_bytes stream, const uint8_t digest[MF_DIGEST_SIZE],
                    int64_t version, mf_bytes state, mf_error *error) {
  uint8_t key[KEY_SIZE], value[HEAD_SIZE];
  uint64_t checksum;
  mf__head head;
  bool found;
  int status = mf__txn_usable(txn, error);
  if (status == MF_OK) status = mf__check_name(stream, error);
  if (status != MF_OK) return status;
  status = mf__view_head(&txn->view, stream, &head, &found, error);
  if (status != MF_OK) return mf__txn_note(txn, status);
  if (version < 1 || (uint64_t)version > head.version)
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "the stream has no version %lld to take a snapshot of", (long long)version);
  status = checksum_at(&txn->view, &head, (uint64_t)version, &checksum, error);
  if (status != MF_OK) return mf__txn_note(txn, status);
  if (has_newer(txn, &head, digest, (uint64_t)version) || !spares_room(txn, state.size))
    return MF_DONE;
  mf__u64_write(value, checksum);
  mf__u64_write(value + 8, (uint64_t)mf_now(txn->store));
  mf_bytes at = snapshot_key(head.id, digest, (uint64_t)version, key);
  status = mf__beside_stage(txn, MF__SNAPSHOTS, at, mf__bytes(value, HEAD_SIZE), state, NULL);
  return status == MF_OK ? MF_OK : MF_DONE; /* no memory, and nothing was staged */
}

/* ---- dropping ---- */

static int drop(mf_txn *txn, const uint8_t *digest, int64_t *count) {
  MDB_cursor *cursor;
  MDB_val key, value;
  int rc = mdb_cursor_open(txn->view.db, txn->view.env->beside[MF__SNAPSHOTS], &cursor);
  if (rc != 0) return rc;
  rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
  while (rc == 0) {
    const uint8_t *p = key.mv_data;
    bool unwanted =
        !digest || key.mv_size != KEY_SIZE || memcmp(p + 8, digest, MF_DIGEST_SIZE) == 0;
    if (unwanted) {
      rc = mdb_cursor_del(cursor, 0);
      if (rc != 0) break;
      ++*count;
    }
    /* After a deletion MDB_NEXT returns what now stands there. */
    rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(cursor);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

int mf_drop_snapshots(mf_store *store, const uint8_t digest[MF_DIGEST_SIZE], int64_t *given,
                      mf_error *error) {
  mf_txn *txn;
  int64_t own, *count = given ? given : &own;
  *count = 0;
  int status = mf_begin(store, &txn, error);
  if (status != MF_OK) return status;
  int rc = drop(txn, digest, count);
  if (rc != 0) {
    *count = 0;
    mf_abort(txn);
    return mf__fail_db(error, rc, store->env->path);
  }
  txn->dropped = *count > 0;
  return mf_commit(txn, error);
}
