/*
 * Environments: one per file and process, whatever the number of handles, because LMDB forbids
 * opening a file twice in a process. Opening and closing, growing the map, and the read views on
 * which every read stands.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static mf__env *table; /* the library's only global state */

/*
 * Address space is reserved, not disk, and it is not endless either: a process has 128 TiB and may
 * open many stores. What cannot be mapped is halved until it can be, and a file that outgrows its
 * map gets a larger one.
 */
static const uint64_t map_file = (uint64_t)1 << 36;
static const uint64_t map_memory = (uint64_t)1 << 34;
static const uint64_t map_least = (uint64_t)1 << 24;

/* LMDB's lock file has 128 bytes, and 64 for each reader. */
enum { most_readers = 510, lock_file_size = most_readers * 64 + 128 };

int64_t mf__thread_id(void) {
  static _Thread_local char here;
  return (int64_t)(intptr_t)&here;
}

/* ---- the map ---- */

static uint64_t used_bytes(const mf__env *env, uint64_t *mapped) {
  MDB_envinfo info;
  mdb_env_info(env->db, &info);
  *mapped = info.me_mapsize;
  return ((uint64_t)info.me_last_pgno + 1) * env->page_size;
}

/* LMDB gives a memory store its full size at once, which a limit on files (ulimit -f) would end
 * with a signal. */
static uint64_t most_of(const mf__env *env) {
  return env->memory_fd >= 0 ? mf__file_limit() : UINT64_MAX;
}

/*
 * Maps anew, with room for `wanted` bytes in all. The caller keeps every reader and writer out.
 * LMDB unmaps before it maps, and could not go back: so the new size is tried first.
 */
static int remap(mf__env *env, uint64_t wanted, uint64_t mapped) {
  uint64_t size = mapped;
  while (size < wanted)
    size *= 2;
  if (!mf__can_map(size) || size > most_of(env))
    size = (wanted + map_least - 1) / map_least * map_least;
  bool possible = mf__can_map(size) && size <= most_of(env);
  if (possible) mf__cold_forget(env);
  return possible ? mdb_env_set_mapsize(env->db, size) : ENOMEM;
}

int mf__env_make_room(mf__env *env, uint64_t bytes, mf_error *error) {
  uint64_t mapped, used = used_bytes(env, &mapped);
  if (used + bytes <= mapped) return MF_OK;
  if (mf__reads_here(env))
    return mf__fail(
        error, MF_BUSY,
        "%s: the map must grow, and would wait for the read transaction that this thread "
        "has open: end it first",
        env->path);
  pthread_rwlock_wrlock(&env->gate);
  int rc = remap(env, used + bytes, mapped);
  pthread_rwlock_unlock(&env->gate);
  if (rc == 0) return MF_OK;
  return mf__fail(error, MF_NO_MEMORY,
                  "%s: the file needs %llu bytes of address space and the process may not have "
                  "them (%s): raise its limit (ulimit -v)",
                  env->path, (unsigned long long)(used + bytes), mdb_strerror(rc));
}

/* Another process has grown the file beyond this process's map. */
static int follow_growth(mf__env *env, mf_error *error) {
  bool mine = env->writer == mf__thread_id();
  if (!mine) pthread_mutex_lock(&env->writing);
  int status = mf__env_make_room(env, 0, error);
  if (!mine) pthread_mutex_unlock(&env->writing);
  return status;
}

/*
 * A process that was killed while it read left its place in the table of readers, which keeps every
 * page that it could see: the file would grow with each commit. So whoever makes it grow looks for
 * dead readers now and then.
 */
static void sweep_readers(mf__env *env, uint64_t pages) {
  enum { EVERY = 256 };
  int dead;
  if (pages < env->swept_pages + EVERY) return;
  mdb_reader_check(env->db, &dead);
  env->swept_pages = pages;
}

void mf__env_settle(mf__env *env) {
  if (env->memory_fd >= 0) return;
  uint64_t mapped, used = used_bytes(env, &mapped);
  if (used / env->page_size <= env->extended_pages) return;
  mdb_filehandle_t fd;
  mf__file_id id;
  uint64_t size;
  bool regular;
  if (mdb_env_get_fd(env->db, &fd) != 0 || mf__file_stat(fd, &id, &size, &regular) != 0) return;
  /* A failure is no harm: mf__check_file() can tell such a file from a truncated one, at the cost
   * of a walk. */
  if (size < used) mf__file_extend(fd, size, used);
  env->extended_pages = used / env->page_size;
  sweep_readers(env, env->extended_pages);
}

/* ---- views ---- */

static void slot_free(mf__slot *slot) {
  if (slot->log) mdb_cursor_close(slot->log);
  if (slot->postings) mdb_cursor_close(slot->postings);
  if (slot->txn) mdb_txn_abort(slot->txn);
  free(slot);
}

static mf__slot *slot_take(mf__env *env) {
  pthread_mutex_lock(&env->slots_lock);
  mf__slot *slot = env->slots;
  if (slot) env->slots = slot->next;
  pthread_mutex_unlock(&env->slots_lock);
  return slot;
}

static void slot_give(mf__env *env, mf__slot *slot) {
  pthread_mutex_lock(&env->slots_lock);
  slot->next = env->slots;
  env->slots = slot;
  pthread_mutex_unlock(&env->slots_lock);
}

static int slot_renew(mf__env *env, mf__slot *slot) {
  int rc =
      slot->txn ? mdb_txn_renew(slot->txn) : mdb_txn_begin(env->db, NULL, MDB_RDONLY, &slot->txn);
  if (rc != 0) return rc;
  rc = slot->log ? mdb_cursor_renew(slot->txn, slot->log)
                 : mdb_cursor_open(slot->txn, env->log, &slot->log);
  if (rc != 0) return rc;
  return slot->postings ? mdb_cursor_renew(slot->txn, slot->postings)
                        : mdb_cursor_open(slot->txn, env->postings, &slot->postings);
}

int mf__view_begin(mf__env *env, mf__view *view, mf_error *error) {
  mf__slot *slot = slot_take(env);
  if (!slot) slot = calloc(1, sizeof *slot);
  if (!slot) return mf__fail(error, MF_NO_MEMORY, "%s: no memory to read", env->path);
  int rc;
  for (int tries = 0;; tries++) {
    pthread_rwlock_rdlock(&env->gate);
    rc = slot_renew(env, slot);
    if (rc == 0) break;
    pthread_rwlock_unlock(&env->gate);
    int dead;
    if (tries == 3) break;
    if (rc == MDB_MAP_RESIZED && follow_growth(env, NULL) == MF_OK) continue;
    if (rc == MDB_READERS_FULL && mdb_reader_check(env->db, &dead) == 0 && dead > 0) continue;
    break;
  }
  if (rc != 0) {
    slot_free(slot);
    return mf__fail_db(error, rc, env->path);
  }
  *view = (mf__view){env, slot->txn, slot->log, slot->postings, NULL, slot, NULL};
  mf__cold_begin(view);
  return MF_OK;
}

void mf__view_end(mf__view *view) {
  if (!view->slot) return;
  mdb_txn_reset(view->slot->txn);
  slot_give(view->env, view->slot);
  pthread_rwlock_unlock(&view->env->gate);
  view->slot = NULL;
}

/* ---- opening a file ---- */

static int open_databases(mf__env *env, MDB_txn *txn, unsigned create) {
  int rc = mdb_dbi_open(txn, "log", create | MDB_INTEGERKEY, &env->log);
  if (rc == 0) rc = mdb_dbi_open(txn, "streams", create, &env->streams);
  if (rc == 0) rc = mdb_dbi_open(txn, "names", create | MDB_INTEGERKEY, &env->names);
  if (rc == 0) rc = mdb_dbi_open(txn, "postings", create, &env->postings);
  if (rc == 0) rc = mdb_dbi_open(txn, "types", create | MDB_INTEGERKEY, &env->types);
  if (rc == 0) rc = mdb_dbi_open(txn, "ids", create, &env->ids);
  return rc;
}

static MDB_val record_key(void) {
  static char key[] = "moonfold";
  MDB_val value = {8, key};
  return value;
}

static int write_store_record(mf__env *env, MDB_txn *txn, MDB_dbi main) {
  uint8_t bytes[MF__STORE_RECORD_SIZE];
  uint64_t seed = env->record.seed ? env->record.seed : mf__random_u64();
  mf__store_record record = {MF__FORMAT_VERSION, env->record.flags, seed, mf__clock_now()};
  mf__store_record_write(&record, bytes);
  MDB_val key = record_key(), value = {sizeof bytes, bytes};
  env->record = record;
  return mdb_put(txn, main, &key, &value, 0);
}

static int read_store_record(mf__env *env, MDB_txn *txn, MDB_dbi main, mf_error *error) {
  MDB_val key = record_key(), value;
  int rc = mdb_get(txn, main, &key, &value);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  bool fine = mf__store_record_read(mf__bytes(value.mv_data, value.mv_size), &env->record);
  if (fine && (env->record.version > MF__FORMAT_VERSION ||
               (env->record.flags & ~(uint32_t)MF__KNOWN_STORE_FLAGS) != 0))
    return mf__fail(error, MF_INCOMPATIBLE_FORMAT,
                    "%s: the store has format %u, this program knows format %d: use a newer "
                    "Moonfold",
                    env->path, env->record.version, MF__FORMAT_VERSION);
  if (!fine) return mf__fail(error, MF_CORRUPT, "%s: the store's own record is damaged", env->path);
  return MF_OK;
}

/* Opens the databases, and creates them and our record where they are missing and `create` allows
 * it. */
static int open_in(mf__env *env, MDB_txn *txn, bool create, bool *created, mf_error *error) {
  MDB_dbi main;
  MDB_val key = record_key(), value;
  int rc = mdb_dbi_open(txn, NULL, 0, &main);
  *created = rc == 0 && create && mdb_get(txn, main, &key, &value) == MDB_NOTFOUND;
  if (rc == 0) rc = open_databases(env, txn, *created ? MDB_CREATE : 0);
  if (rc == 0) rc = mf__beside_open(env, txn, *created ? MDB_CREATE : 0);
  if (rc == 0 && *created) rc = write_store_record(env, txn, main);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  return *created ? MF_OK : read_store_record(env, txn, main, error);
}

/* Everything that a new file needs is made in one commit; another process may have been faster. */
static int prepare_once(mf__env *env, bool create, mf_error *error) {
  MDB_txn *txn;
  bool created;
  int rc = mdb_txn_begin(env->db, NULL, create ? 0 : MDB_RDONLY, &txn);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  int status = open_in(env, txn, create, &created, error);
  if (status != MF_OK) {
    mdb_txn_abort(txn);
    return status;
  }
  rc = mdb_txn_commit(txn);
  if (rc == 0 && created && env->memory_fd < 0) mf__env_settle(env);
  return mf__fail_db(error, rc, env->path);
}

/*
 * mf__check_file() may have seen the commit that creates the store a moment before LMDB tells its
 * readers of it. A write transaction waits for that commit; who may only read looks again.
 */
static int prepare(mf__env *env, bool create, mf_error *error) {
  int status = prepare_once(env, create, error);
  if (status != MF_CORRUPT || create) return status;
  if (!env->read_only) return prepare_once(env, true, error);
  for (int tries = 0; status == MF_CORRUPT && tries < 100; tries++) {
    mf__pause(1000);
    status = prepare_once(env, false, error);
  }
  return status;
}

/*
 * LMDB maps its lock file, with a table of readers, and writes to it in memory: on a full disk the
 * first touch of a page of it would be a SIGBUS. Closing a descriptor of it drops the locks that
 * this process has on it, but the process has none: it does not have the store open.
 */
static int reserve_lock_file(const mf__env *env, mf_error *error) {
  char lock_path[4096 + 8];
  snprintf(lock_path, sizeof lock_path, "%s-lock", env->path);
  int rc = mf__file_reserve(lock_path, lock_file_size);
  if (rc == EACCES || rc == EROFS || rc == EPERM) return MF_OK; /* LMDB tells */
  return mf__fail_db(error, rc, lock_path);
}

static int open_lmdb(mf__env *env, uint64_t file_size, mf_error *error) {
  unsigned flags = MDB_NOSUBDIR | MDB_NOTLS;
  if (env->read_only) flags |= MDB_RDONLY;
  /* A memory store has one user: no lock file, and the pages are written in place. Never so on a
     file: WRITEMAP makes durable commits slower and a full disk a SIGBUS. */
  if (env->memory_fd >= 0) flags |= MDB_NOLOCK | MDB_WRITEMAP | MDB_NOSYNC;
  int rc = ENOMEM;
  if (env->memory_fd < 0) {
    int status = reserve_lock_file(env, error);
    if (status != MF_OK) return status;
  }
  uint64_t most = env->memory_fd >= 0 ? map_memory : map_file;
  while (most < 4 * file_size)
    most *= 2;
  while (most > most_of(env) && most > map_least)
    most /= 2;
  for (uint64_t size = most; size >= map_least; size /= 2) {
    rc = mdb_env_create(&env->db);
    if (rc != 0) break;
    mdb_env_set_maxdbs(env->db, 16);
    mdb_env_set_maxreaders(env->db, most_readers);
    mdb_env_set_mapsize(env->db, size);
    rc = mdb_env_open(env->db, env->path, flags, 0666);
    if (rc == 0) break;
    mdb_env_close(env->db);
    env->db = NULL;
    if (rc != ENOMEM && rc != EFBIG && rc != EINVAL) break;
  }
  if (rc == EACCES || rc == EROFS || rc == EPERM)
    return mf__fail(error, MF_IO,
                    "%s-lock may not be written by this user, and readers register there: %s; "
                    "read a copy where you may write",
                    env->path, mdb_strerror(rc));
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  MDB_stat stat;
  mdb_env_stat(env->db, &stat);
  env->page_size = stat.ms_psize;
  int dead;
  if (env->memory_fd < 0) mdb_reader_check(env->db, &dead);
  return MF_OK;
}

bool mf__pinned_meta(const mf__source *source, size_t txn, mf__meta *meta) {
  mf__metas metas = mf__metas_read(source);
  *meta = metas.meta[txn % 2];
  return metas.readable[txn % 2] && meta->txn == txn;
}

/* Looks at the pages of a read transaction that has just begun. MF_DONE: it is no longer to be
 * had, for others have committed twice. */
static int check_pinned(const mf__env *env, MDB_txn *txn, bool all, mf_error *error) {
  mdb_filehandle_t fd;
  mf__file_id id;
  mf__meta meta, again;
  bool regular;
  int rc = mdb_env_get_fd(env->db, &fd);
  mf__source source = {rc == 0 ? fd : -1, NULL, 0};
  if (rc == 0) rc = mf__file_stat(fd, &id, &source.size, &regular);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  if (!mf__pinned_meta(&source, mdb_txn_id(txn), &meta)) return MF_DONE;
  /* mf__check_file() may have seen the store's creation before LMDB tells its readers of it. */
  if (meta.main.root == MF__NO_PAGE) return MF_OK;
  int status = mf__check_pages(&source, &meta, all, env->path, error);
  /* The meta page may have been read while it was written over. */
  bool same = mf__pinned_meta(&source, mdb_txn_id(txn), &again) &&
              again.main.root == meta.main.root && again.free.root == meta.free.root;
  return status == MF_OK || same ? status : MF_DONE;
}

/* Before LMDB enters a tree: a damaged page would lead it anywhere. */
static int check_trees(mf__env *env, bool all, mf_error *error) {
  for (int tries = 0; tries < 1000; tries++) {
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->db, NULL, MDB_RDONLY, &txn);
    if (rc != 0) return mf__fail_db(error, rc, env->path);
    int status = check_pinned(env, txn, all, error);
    mdb_txn_abort(txn);
    if (status != MF_DONE) return status;
    mf__yield();
  }
  return mf__fail(error, MF_CORRUPT, "%s is damaged in its first pages; restore a backup",
                  env->path);
}

static void env_free(mf__env *env) {
  bool mine =
      mf__born_here(&env->birthmark); /* a fork's copy of LMDB's state is not to be touched */
  if (env->txn) mf__txn_memory_free(env->txn);
  while (env->slots) {
    mf__slot *slot = env->slots;
    env->slots = slot->next;
    if (mine)
      slot_free(slot);
    else
      free(slot);
  }
  if (env->db && mine) mdb_env_close(env->db);
  mf__cold_forget(env);
  mf__birthmark_free(&env->birthmark);
  mf__file_close(env->file_fd); /* after LMDB, with the claim */
  if (env->memory_fd >= 0) mf__file_close(env->memory_fd);
  for (size_t i = 0; i < MF__TYPE_PAGES && env->type_pages[i]; i++) {
    for (size_t j = 0; j < MF__TYPE_PAGE; j++)
      free(env->type_pages[i][j]);
    free(env->type_pages[i]);
  }
  for (size_t i = 0; env->names_cache && i < MF__NAME_CACHE; i++)
    free(env->names_cache[i].name);
  free(env->names_cache);
  mf__map_free(&env->type_ids);
  pthread_rwlock_destroy(&env->gate);
  pthread_mutex_destroy(&env->writing);
  pthread_mutex_destroy(&env->slots_lock);
  pthread_mutex_destroy(&env->queue_lock);
  pthread_cond_destroy(&env->queue_moved);
  pthread_mutex_destroy(&env->names_lock);
  pthread_mutex_destroy(&env->commit_lock);
  pthread_cond_destroy(&env->committed);
  free(env->path);
  free(env);
}

static mf__env *env_new(const char *path) {
  mf__env *env = calloc(1, sizeof *env);
  if (!env) return NULL;
  env->memory_fd = -1;
  env->file_fd = -1;
  env->references = 1;
  env->birthmark = mf__birthmark_new();
  pthread_rwlock_init(&env->gate, NULL);
  pthread_mutex_init(&env->writing, NULL);
  pthread_mutex_init(&env->slots_lock, NULL);
  pthread_mutex_init(&env->queue_lock, NULL);
  pthread_cond_init(&env->queue_moved, NULL);
  env->queue_end = &env->queue;
  pthread_mutex_init(&env->names_lock, NULL);
  pthread_mutex_init(&env->commit_lock, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&env->committed, &attributes);
  pthread_condattr_destroy(&attributes);
  size_t size = strlen(path) + 1;
  env->path = malloc(size);
  if (env->path)
    memcpy(env->path, path, size);
  else {
    env_free(env);
    env = NULL;
  }
  return env;
}

static mf__env *table_find(mf__file_id id) {
  for (mf__env *env = table; env; env = env->next)
    if (env->id.device == id.device && env->id.inode == id.inode && mf__born_here(&env->birthmark))
      return env;
  return NULL;
}

static void table_remove(mf__env *env) {
  for (mf__env **at = &table; *at; at = &(*at)->next)
    if (*at == env) {
      *at = env->next;
      return;
    }
}

static void env_release(mf__env *env) {
  pthread_mutex_lock(&table_lock);
  if (--env->references == 0) {
    table_remove(env);
    env_free(env); /* under the lock: the file must not be opened anew while LMDB closes it */
  }
  pthread_mutex_unlock(&table_lock);
}

static int refuse_kind(mf__file_kind kind, const char *path, uint32_t version, mf_error *error) {
  switch (kind) {
  case MF__FILE_FOREIGN:
    return mf__fail(error, MF_INCOMPATIBLE_FORMAT,
                    "%s is not a Moonfold file: it was left as it is; choose another path", path);
  case MF__FILE_TRUNCATED:
    return mf__fail(error, MF_CORRUPT,
                    "%s is truncated: it is shorter than its own records say; restore a backup",
                    path);
  case MF__FILE_DAMAGED:
    return mf__fail(error, MF_CORRUPT, "%s is damaged in its first pages; restore a backup", path);
  case MF__FILE_UNSEEN:
    return mf__fail(error, MF_NO_MEMORY, "%s: no memory to look at its pages", path);
  default:
    if (version > MF__FORMAT_VERSION)
      return mf__fail(error, MF_INCOMPATIBLE_FORMAT,
                      "%s has format %u, this program knows format %d: use a newer Moonfold", path,
                      version, MF__FORMAT_VERSION);
    return MF_OK;
  }
}

/* Makes the databases in the new, empty file that `env` names, which nobody else knows of, and
 * syncs it. */
static int fill_new_file(mf__env *env, mf_error *error) {
  MDB_txn *txn;
  bool created;
  int rc = mdb_env_create(&env->db);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  mdb_env_set_maxdbs(env->db, 16);
  mdb_env_set_mapsize(env->db, map_least);
  rc = mdb_env_open(env->db, env->path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0666);
  if (rc == 0) rc = mdb_txn_begin(env->db, NULL, 0, &txn);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  int status = open_in(env, txn, true, &created, error);
  if (status != MF_OK) {
    mdb_txn_abort(txn);
    return status;
  }
  rc = mdb_txn_commit(txn);
  if (rc == 0) rc = mdb_env_sync(env->db, 1);
  return mf__fail_db(error, rc, env->path);
}

/* Gives the file that was made under another name its own. Somebody else may have been faster: that
 * is fine. */
static int publish_new_file(mf__env *env, const char *path, mf_error *error) {
  int status = fill_new_file(env, error);
  if (status != MF_OK) return status;
  int rc = mf__file_publish(env->path, path);
  return rc == EEXIST ? MF_OK : mf__fail_db(error, rc, path);
}

/*
 * The name of a store must outlive a power cut before anything in it is acknowledged. Who created
 * the file may have been killed, or met an error, before it had synced that: so everybody who opens
 * a store to which nothing was written yet does it; unless it is somebody else's, in a folder that
 * they may not read.
 */
static int settle_name(const mf__env *env, bool created, mf_error *error) {
  MDB_envinfo info;
  mdb_env_info(env->db, &info);
  if (env->read_only || info.me_last_txnid > 1) return MF_OK;
  int rc = mf__folder_sync(env->path);
  return rc == EACCES && !created ? MF_OK : mf__fail_db(error, rc, env->path);
}

/* What the store will be like, should it be created. */
static void set_birth(mf__env *env, const mf_open_options *options) {
  env->record.seed = options->seed;
  env->record.flags = options->tamper_evident ? MF__CHAINED : 0;
}

/*
 * A new store is made under another name, synced, and then given its own: a power cut leaves all of
 * it or nothing, and nobody sees it half made. Returns an errno when no file can be made in the
 * folder; *status tells of what follows.
 */
static int create_file(const char *path, const mf_open_options *options, int *status,
                       mf_error *error) {
  size_t size = strlen(path) + 32;
  char *temporary = malloc(size);
  if (!temporary) return ENOMEM;
  snprintf(temporary, size, "%s.new-%016llx", path, (unsigned long long)mf__random_u64());
  mf__env *env = env_new(temporary);
  int fd, rc = env ? mf__file_create_new(temporary, &fd) : ENOMEM;
  if (rc == 0) {
    set_birth(env, options);
    mf__file_close(fd);
    *status = publish_new_file(env, path, error);
    mf__file_remove(temporary);
  }
  if (env) env_free(env);
  free(temporary);
  return rc;
}

static int replaced(const mf__env *env, mf_error *error) {
  return mf__fail(error, MF_BUSY, "%s was replaced while it was being opened: open it again",
                  env->path);
}

/* Opens the file whose claims the environment holds. MF_BUSY: it is another one than it was. */
static int open_claimed(const mf__env *env, int *fd, mf_error *error) {
  mf__file_id id;
  uint64_t size;
  bool regular;
  int rc = mf__file_open(env->path, !env->read_only, false, fd);
  if (rc == 0) rc = mf__file_stat(*fd, &id, &size, &regular);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  return id.inode == env->id.inode && id.device == env->id.device ? MF_OK : replaced(env, error);
}

/* Before LMDB opens it: who replaces the file must find that it is in use. */
static int claim_file(mf__env *env, mf_error *error) {
  int status = open_claimed(env, &env->file_fd, error);
  int rc = status == MF_OK ? mf__claim(env->file_fd) : 0;
  if (rc == EAGAIN || rc == EACCES)
    return mf__fail(error, MF_BUSY, "%s is being compacted: open it when that is done", env->path);
  return status != MF_OK ? status : mf__fail_db(error, rc, env->path);
}

/* Makes sure that it is the same file still, and that whoever has it open has it open with the same
 * lock file. */
static int claim_lock_file(mf__env *env, mf_error *error) {
  char lock_path[4096 + 8];
  int fd = -1;
  int status = open_claimed(env, &fd, error);
  mf__file_close(fd);
  if (status != MF_OK) return status;
  snprintf(lock_path, sizeof lock_path, "%s-lock", env->path);
  int rc = mf__claim_lock_file(env->file_fd, lock_path);
  if (rc == EBUSY)
    return mf__fail(
        error, MF_BUSY,
        "%s is open under another name (a hard link, or it was renamed since): two lock "
        "files cannot guard one store; use one name, or close the other",
        env->path);
  return mf__fail_db(error, rc, env->path);
}

/* The environment of an open file: the one this process has, or a new one. Called with the table
 * locked. */
static int env_for_file(const char *path, int fd, bool writable, bool create,
                        const mf_open_options *options, mf__env **out, mf_error *error) {
  mf__file_id id;
  uint64_t size;
  bool regular;
  uint32_t version = MF__FORMAT_VERSION;
  int rc = mf__file_stat(fd, &id, &size, &regular);
  if (rc != 0) return mf__fail_db(error, rc, path);
  if (!regular) return mf__fail(error, MF_INVALID_ARGUMENT, "%s is not a regular file", path);
  *out = table_find(id);
  if (*out) {
    if (writable && (*out)->read_only)
      return mf__fail(error, MF_BUSY,
                      "%s is open read-only in this process without permission to write: close "
                      "that handle first",
                      path);
    if ((*out)->claimed)
      return mf__fail(error, MF_BUSY, "%s is being compacted: open it when that is done", path);
    (*out)->references++;
    return MF_OK;
  }
  mf__file_kind kind = mf__check_file(fd, &version);
  int status = refuse_kind(kind, path, version, error);
  if (status != MF_OK) return status;
  if (kind == MF__FILE_NEW && !create)
    return mf__fail(error, MF_INCOMPATIBLE_FORMAT, "%s is empty: not a Moonfold file", path);
  /* Behind symbolic links: the lock file stands beside the file itself, whatever name it was opened
   * by. */
  char *real = mf__real_path(path);
  mf__env *env = real ? env_new(real) : NULL;
  free(real);
  if (!env) return mf__fail(error, MF_NO_MEMORY, "%s: no memory to open it", path);
  env->id = id;
  env->read_only = !writable;
  set_birth(env, options);
  status = claim_file(env, error);
  if (status == MF_OK) status = open_lmdb(env, size, error);
  if (status == MF_OK) status = claim_lock_file(env, error);
  if (status == MF_OK && kind != MF__FILE_NEW)
    status = check_trees(env, options->check_pages, error);
  if (status == MF_OK) status = prepare(env, kind == MF__FILE_NEW, error);
  if (status == MF_OK) status = settle_name(env, kind == MF__FILE_NEW, error);
  if (status != MF_OK) {
    env_free(env);
    return status;
  }
  env->next = table;
  table = env;
  *out = env;
  return MF_OK;
}

static int open_file(mf_store *store, const char *path, const mf_open_options *options,
                     mf_error *error) {
  bool writable = true, create = !options->no_create && !options->read_only;
  int rc = mf__file_open(path, true, false, &store->fd);
  if (rc == ENOENT && create) {
    int status = MF_OK;
    rc = create_file(path, options, &status, error);
    if (status != MF_OK) return status;
    /* Creating again is for what create_file() cannot do: a link to nowhere, a name too long to be
     * added to. */
    if (rc == 0 || rc == ENAMETOOLONG) rc = mf__file_open(path, true, true, &store->fd);
  }
  if (options->read_only && (rc == EACCES || rc == EROFS || rc == EPERM)) {
    writable = false;
    rc = mf__file_open(path, false, false, &store->fd);
  }
  int reading = rc == EACCES ? mf__file_open(path, false, false, &store->fd) : rc;
  if (rc == EACCES && reading == 0)
    return mf__fail(error, MF_READ_ONLY,
                    "%s may not be written by this user: open it read-only, or change its mode",
                    path);
  if (rc == EACCES && reading == ENOENT)
    return mf__fail(error, MF_IO, "%s may not be created by this user: %s", path, mdb_strerror(rc));
  if (rc == EACCES || rc == EPERM)
    return mf__fail(error, MF_IO, "%s may not be read by this user (%s)", path, mdb_strerror(rc));
  if (rc == EISDIR)
    return mf__fail(error, MF_INVALID_ARGUMENT, "%s is a folder: name a file in it", path);
  if (rc == ENOENT && !create)
    return mf__fail(error, MF_NOT_FOUND, "%s does not exist, and was not to be created", path);
  if (rc == ENOENT)
    return mf__fail(error, MF_NOT_FOUND, "%s: its folder does not exist; create that first", path);
  if (rc != 0) return mf__fail_db(error, rc, path);
  pthread_mutex_lock(&table_lock);
  int status = env_for_file(path, store->fd, writable, create, options, &store->env, error);
  pthread_mutex_unlock(&table_lock);
  return status;
}

static int open_memory(mf_store *store, const mf_open_options *options, mf_error *error) {
  char path[64];
  int fd;
  int rc = mf__memory_file(&fd, path);
  if (rc != 0) return mf__fail_db(error, rc, ":memory:");
  mf__env *env = env_new(path);
  if (!env) {
    mf__file_close(fd);
    return mf__fail(error, MF_NO_MEMORY, ":memory:: no memory to open it");
  }
  env->memory_fd = fd;
  set_birth(env, options);
  int status = open_lmdb(env, 0, error);
  if (status == MF_OK) status = prepare(env, true, error);
  if (status == MF_OK) {
    strcpy(env->path, ":memory:"); /* shorter than what stood there: for messages */
    store->env = env;
  } else
    env_free(env);
  return status;
}

/* ---- durability ---- */

static const struct {
  int lock;
  mf_durability level;
} levels[] = {{MF__LOCK_NONE, MF_NONE}, {MF__LOCK_FULL, MF_FULL}, {MF__LOCK_RELAXED, MF_RELAXED}};

static mf_durability present_level(int fd) {
  for (size_t i = 0; i < 3; i++)
    if (mf__lock_held_by_other(fd, levels[i].lock)) return levels[i].level;
  return MF_FULL;
}

static bool excluded(int fd, mf_durability level) {
  if (level != MF_NONE) return mf__lock_held_by_other(fd, MF__LOCK_NONE);
  return mf__lock_held_by_other(fd, MF__LOCK_FULL) || mf__lock_held_by_other(fd, MF__LOCK_RELAXED);
}

/* Each opener first takes its own lock, then looks for the others': two that race see each other.
 */
static int take_level(mf_store *store, const char *path, mf_durability wanted, mf_error *error) {
  for (int tries = 0; tries < 100; tries++) {
    store->durability = wanted == MF_DURABILITY_ANY ? present_level(store->fd) : wanted;
    store->lock = store->durability == MF_FULL      ? MF__LOCK_FULL
                  : store->durability == MF_RELAXED ? MF__LOCK_RELAXED
                                                    : MF__LOCK_NONE;
    int rc = mf__lock_shared(store->fd, store->lock);
    if (rc != 0) return mf__fail_db(error, rc, path);
    if (!excluded(store->fd, store->durability)) return MF_OK;
    mf__unlock(store->fd, store->lock);
    if (wanted != MF_DURABILITY_ANY) break;
  }
  return mf__fail(error, MF_BUSY,
                  wanted == MF_NONE
                      ? "%s is open for writing with durability full or relaxed: a writer with "
                        "none would void its guarantee; name no durability, or wait"
                      : "%s is open for writing with durability none, which guarantees nothing: "
                        "name no durability to join it, or wait",
                  path);
}

/* ---- handles ---- */

int mf_open(const char *path, const mf_open_options *given, mf_store **out, mf_error *error) {
  mf_open_options options = {.size = sizeof options};
  *out = NULL;
  if (given) memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
  if (!path || !*path)
    return mf__fail(error, MF_INVALID_ARGUMENT, "the path is empty: name a file, or \":memory:\"");
  bool memory = strcmp(path, ":memory:") == 0;
  if (memory && (options.read_only || options.no_create))
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "\":memory:\" is always new and empty: it cannot be opened read-only, or "
                    "without being created");
  mf_store *store = calloc(1, sizeof *store);
  if (!store) return mf__fail(error, MF_NO_MEMORY, "%s: no memory to open it", path);
  store->fd = -1;
  store->references = 1;
  store->read_only = options.read_only;
  store->clock = options.clock;
  store->clock_context = options.clock_context;
  store->durability = MF_NONE;
  int status =
      memory ? open_memory(store, &options, error) : open_file(store, path, &options, error);
  if (status == MF_OK && !memory && !options.read_only) {
    status = take_level(store, path, options.durability, error);
    if (status != MF_OK) env_release(store->env);
  }
  if (status != MF_OK) {
    mf__file_close(store->fd);
    free(store);
    return status;
  }
  *out = store;
  return MF_OK;
}

void mf__store_retain(mf_store *store) {
  store->references++;
}

void mf__store_release(mf_store *store) {
  if (--store->references > 0) return;
  env_release(store->env);
  mf__file_close(store->fd); /* and with it the durability lock */
  free(store);
}

int mf_close(mf_store *store) {
  if (!store || store->closed) return MF_OK;
  mf__env *env = store->env;
  bool mine = mf__born_here(&env->birthmark);
  if (mine && env->writer == mf__thread_id() && env->txn && env->txn->store == store)
    return MF_BUSY;
  int status = MF_OK;
  if (mine && store->durability == MF_NONE && !store->read_only && env->memory_fd < 0)
    status = mf__fail_db(NULL, mdb_env_sync(env->db, 1), env->path);
  store->closed = true;
  /* Readers that are still open keep the handle, but not its claim on the file. */
  if (mine && store->fd >= 0 && !store->read_only) mf__unlock(store->fd, store->lock);
  mf__store_release(store);
  return status;
}

int mf__env_claim_alone(mf_store *store, int *claim) {
  mf__env *env = store->env;
  pthread_mutex_lock(&table_lock);
  bool alone = env->references == 1 && env->file_fd >= 0 && mf__claim_alone(env->file_fd) == 0 &&
               mf__file_duplicate(env->file_fd, claim) == 0;
  if (alone) env->claimed = true;
  pthread_mutex_unlock(&table_lock);
  return alone ? MF_OK : MF_BUSY;
}

mf_durability mf_store_durability(const mf_store *store) {
  return store->durability;
}

bool mf_store_read_only(const mf_store *store) {
  return store->read_only;
}

int64_t mf_now(const mf_store *store) {
  return store->clock ? store->clock(store->clock_context) : mf__clock_now();
}

uint64_t mf_store_seed(const mf_store *store) {
  return store->env->record.seed;
}

int mf__store_usable(const mf_store *store, mf_error *error) {
  if (store->closed) return mf__fail(error, MF_CLOSED, "the store is closed");
  if (!mf__born_here(&store->env->birthmark))
    return mf__fail(error, MF_CLOSED,
                    "%s was opened before fork(): open it anew in the child process",
                    store->env->path);
  return MF_OK;
}
