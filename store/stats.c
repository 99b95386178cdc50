/* Where the space of a file goes, and who holds old pages of it. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- readers ---- */

/* A line of mdb_reader_list(): process, thread, and the transaction that it reads, "-" when it is
 * idle. */
static int take_reader(const char *line, void *context) {
  mf_stats *stats = context;
  long long process;
  unsigned long long thread, txn;
  if (sscanf(line, "%lld %llx %llu", &process, &thread, &txn) != 3) return 0;
  if (stats->readers < MF_READERS_TOLD)
    stats->reading[stats->readers] = (mf_reading){process, (int64_t)txn};
  stats->readers++;
  return 0;
}

/* Turns the transactions that are read into how many commits they lie behind. Returns the oldest.
 */
static uint64_t measure_readers(mf_stats *stats, uint64_t newest) {
  uint64_t oldest = newest;
  int told = stats->readers < MF_READERS_TOLD ? stats->readers : MF_READERS_TOLD;
  for (int i = 0; i < told; i++) {
    uint64_t txn = (uint64_t)stats->reading[i].commits_behind;
    if (txn < oldest) oldest = txn;
    stats->reading[i].commits_behind = (int64_t)(newest - (txn < newest ? txn : newest));
  }
  return oldest;
}

/* ---- pages ---- */

/*
 * LMDB's list of free pages: transaction that freed them -> their count and their numbers. A reader
 * may still look at those that were freed after the transaction that it reads.
 */
static int count_free(mf_stats *stats, MDB_txn *txn, uint64_t oldest, uint64_t page_size) {
  MDB_cursor *cursor;
  MDB_val key, value;
  int rc = mdb_cursor_open(txn, 0, &cursor);
  if (rc != 0) return rc;
  while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
    size_t freed_by, count;
    if (key.mv_size != sizeof freed_by || value.mv_size < sizeof count) continue;
    memcpy(&freed_by, key.mv_data, sizeof freed_by);
    memcpy(&count, value.mv_data, sizeof count);
    stats->free_bytes += count * page_size;
    if (freed_by > oldest) stats->pinned_bytes += count * page_size;
  }
  mdb_cursor_close(cursor);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

static int add_tree(MDB_txn *txn, MDB_dbi dbi, uint64_t *bytes, uint64_t *entries) {
  MDB_stat stat;
  int rc = mdb_stat(txn, dbi, &stat);
  if (rc != 0) return rc;
  *bytes += (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) *
            (uint64_t)stat.ms_psize;
  if (entries) *entries = stat.ms_entries;
  return 0;
}

static int count_trees(mf_stats *stats, const mf__env *env, MDB_txn *txn) {
  uint64_t streams = 0, types = 0;
  int rc = add_tree(txn, env->log, &stats->log_bytes, NULL);
  if (rc == 0) rc = add_tree(txn, env->streams, &stats->index_bytes, &streams);
  if (rc == 0) rc = add_tree(txn, env->names, &stats->index_bytes, NULL);
  if (rc == 0) rc = add_tree(txn, env->postings, &stats->index_bytes, NULL);
  if (rc == 0) rc = add_tree(txn, env->types, &stats->index_bytes, &types);
  if (rc == 0) rc = add_tree(txn, env->ids, &stats->index_bytes, NULL);
  stats->streams = (int64_t)streams;
  stats->types = (int64_t)types;
  return rc;
}

static int count(mf_stats *stats, mf_store *store, mf__view *view, mf_error *error) {
  const mf__env *env = view->env;
  MDB_envinfo info;
  mf__file_id id;
  bool regular;
  mdb_env_info(env->db, &info);
  uint64_t oldest = measure_readers(stats, mdb_txn_id(view->db));
  stats->page_size = (int64_t)env->page_size;
  stats->used_bytes = ((uint64_t)info.me_last_pgno + 1) * env->page_size;
  stats->reader_slots = (int)info.me_maxreaders;
  stats->created_at = env->record.created_at;
  stats->format = (int)env->record.version;
  int rc =
      mf__file_stat(store->fd >= 0 ? store->fd : env->memory_fd, &id, &stats->file_bytes, &regular);
  if (rc == 0) rc = count_trees(stats, env, view->db);
  if (rc == 0) rc = count_free(stats, view->db, oldest, env->page_size);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  int status = mf__view_last_position(view, &stats->events, error);
  stats->tamper_evident = (env->record.flags & MF__CHAINED) != 0;
  if (status != MF_OK || !stats->tamper_evident || stats->events == 0) return status;
  mf__block last;
  status = mf__view_block(view, stats->events, NULL, &last, error);
  if (status == MF_OK && !mf__last_link(&last, stats->link))
    status =
        mf__corrupt_event(error, env, stats->events, "its commit has no link in the hash chain");
  return status;
}

int mf_stats_of(mf_store *store, mf_stats *out, mf_error *error) {
  mf_stats stats = {.size = sizeof stats};
  mf__view view;
  size_t size = out->size < sizeof stats ? out->size : sizeof stats;
  int status = mf__store_usable(store, error);
  if (status != MF_OK) return status;
  /* Before this call reads, too. */
  if (mdb_reader_list(store->env->db, take_reader, &stats) < 0)
    return mf__fail(error, MF_IO, "%s: its readers cannot be listed", store->env->path);
  status = mf__view_begin(store->env, &view, error);
  if (status != MF_OK) return status;
  status = count(&stats, store, &view, error);
  mf__view_end(&view);
  if (status != MF_OK) return status;
  stats.size = size;
  memcpy(out, &stats, size);
  return MF_OK;
}

/* ---- snapshots ---- */

/* Where the digest stands in the list; NULL when it does not and there is no room. */
static mf_snapshot_stats *place_of(const uint8_t *digest, mf_snapshot_stats *list, size_t room,
                                   size_t *count) {
  for (size_t i = 0; i < *count; i++)
    if (memcmp(list[i].digest, digest, MF_DIGEST_SIZE) == 0) return &list[i];
  if (*count == room) return NULL;
  mf_snapshot_stats *place = &list[(*count)++];
  memset(place, 0, sizeof *place);
  memcpy(place->digest, digest, MF_DIGEST_SIZE);
  return place;
}

/* Keys are stream id, digest, version; a value is two u64, the state and the seal. */
static int count_snapshots(mf__view *view, mf_snapshot_stats *list, size_t room, size_t *count) {
  enum { KEY = 8 + MF_DIGEST_SIZE + 8, FRAME = 16 + MF__SEAL };
  MDB_cursor *cursor;
  MDB_val key, value;
  int rc = mdb_cursor_open(view->db, view->env->beside[MF__SNAPSHOTS], &cursor);
  if (rc != 0) return rc;
  while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
    if (key.mv_size != KEY || value.mv_size < FRAME) continue;
    mf_snapshot_stats *place = place_of((const uint8_t *)key.mv_data + 8, list, room, count);
    if (!place) continue;
    place->snapshots++;
    place->bytes += (int64_t)(value.mv_size - FRAME);
  }
  mdb_cursor_close(cursor);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

int mf_snapshots_by_digest(mf_store *store, mf_snapshot_stats *list, size_t room, size_t *count,
                           mf_error *error) {
  mf__view view;
  *count = 0;
  int status = mf__store_usable(store, error);
  if (status == MF_OK) status = mf__view_begin(store->env, &view, error);
  if (status != MF_OK) return status;
  int rc = view.env->has_beside ? count_snapshots(&view, list, room, count) : 0;
  mf__view_end(&view);
  return rc == 0 ? MF_OK : mf__fail_db(error, rc, store->env->path);
}
