/* Waiting for what others append, and copying a store while they do. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- wait ---- */

static int64_t remaining(int64_t deadline) {
  if (deadline < 0) return -1;
  int64_t left = deadline - mf__clock_monotonic();
  return left > 0 ? left : 0;
}

static int reached(mf_store *store, int64_t position, mf_error *error) {
  int64_t last;
  int status = mf_last_position(store, NULL, &last, error);
  if (status != MF_OK) return status;
  return last >= position ? MF_OK : MF_DONE;
}

/* A memory store has no file to follow: its writers are threads of this process. */
static int wait_in_process(mf_store *store, int64_t position, int64_t deadline, mf_error *error) {
  mf__env *env = store->env;
  int status;
  pthread_mutex_lock(&env->commit_lock);
  while ((status = reached(store, position, error)) == MF_DONE) {
    int64_t left = remaining(deadline);
    if (left == 0) break;
    /* In slices, so that a signal's handler gets its turn: a condition does not return for one. */
    int64_t until = mf__clock_monotonic() + (left < 0 || left > 100000 ? 100000 : left);
    struct timespec time = {(time_t)(until / 1000000), (long)(until % 1000000) * 1000};
    pthread_cond_timedwait(&env->committed, &env->commit_lock, &time);
    if (left < 0 || left > 100000) {
      pthread_mutex_unlock(&env->commit_lock);
      return MF_BUSY; /* "ask again" */
    }
  }
  pthread_mutex_unlock(&env->commit_lock);
  return status;
}

/*
 * A commit's last write to the file comes a moment before LMDB tells readers of it in the lock
 * file: who is woken by the write may look too early, and no second write follows. So after a
 * wake-up the looks follow one another, at first quickly; and there is one every second in any
 * case.
 */
static int follow(mf_store *store, int fd, int64_t position, int64_t deadline, bool *interrupted,
                  mf_error *error) {
  const int64_t soon = 100, seldom = 1000000;
  int64_t pause = soon;
  int status;
  while ((status = reached(store, position, error)) == MF_DONE) {
    int64_t left = remaining(deadline);
    if (left == 0) break;
    bool written;
    int rc = mf__follow_wait(fd, left >= 0 && left < pause ? left : pause, &written);
    if (rc == EINTR) {
      *interrupted = true;
      break;
    }
    if (rc != 0) return mf__fail_db(error, rc, "following the file");
    pause = written ? soon : pause * 4 < seldom ? pause * 4 : seldom;
  }
  return status;
}

static int wait_until(mf_store *store, int64_t position, int64_t deadline, bool *interrupted,
                      mf_error *error) {
  int fd;
  if (store->env->memory_fd >= 0) {
    int status = wait_in_process(store, position, deadline, error);
    *interrupted = status == MF_BUSY;
    return status == MF_BUSY ? MF_DONE : status;
  }
  int rc = mf__follow_open(store->fd, &fd);
  if (rc != 0) return mf__fail_db(error, rc, "following the file");
  int status = follow(store, fd, position, deadline, interrupted, error);
  mf__file_close(fd);
  return status;
}

int mf_wait(mf_store *store, int64_t position, int64_t *timeout, bool *interrupted,
            mf_error *error) {
  bool ignored;
  if (!interrupted) interrupted = &ignored;
  *interrupted = false;
  int status = reached(store, position, error);
  if (status != MF_DONE || (timeout && *timeout <= 0)) return status;
  int64_t deadline = timeout ? mf__clock_monotonic() + *timeout : -1;
  status = wait_until(store, position, deadline, interrupted, error);
  if (timeout) *timeout = remaining(deadline);
  return status;
}

/* ---- backup ---- */

int mf__copy_store(mf__env *env, const char *temporary, mf_error *error) {
  int fd;
  int rc = mf__file_create_new(temporary, &fd);
  if (rc != 0) return mf__fail_db(error, rc, temporary);
  for (int tries = 0; tries < 2; tries++) {
    pthread_rwlock_rdlock(&env->gate); /* it reads the map: that must not move */
    rc = mdb_env_copyfd2(env->db, fd, MDB_CP_COMPACT);
    pthread_rwlock_unlock(&env->gate);
    mf__view view;
    /* Another process has grown the file: beginning a view follows. */
    if (rc != MDB_MAP_RESIZED || mf__view_begin(env, &view, NULL) != MF_OK) break;
    mf__view_end(&view);
  }
  if (rc == 0) rc = mf__file_sync(fd);
  mf__file_close(fd);
  int status = mf__fail_db(error, rc, temporary);
  if (status != MF_CORRUPT && rc != EFAULT) return status;
  /* EFAULT: LMDB was led behind the file's end. */
  return mf__fail(error, MF_CORRUPT,
                  "%s is damaged, and no copy of it can be made: \"moonfold verify\" tells more, "
                  "\"moonfold salvage\" recovers what can be read",
                  env->path);
}

/* A copy of what is damaged, or one that the disk has damaged, is no backup. */
static int verify_copy(const mf_store *store, const char *temporary, char *lock, size_t size,
                       mf_error *error) {
  mf_error found;
  mf_verify_report report;
  int status = mf_verify(temporary, NULL, &report, &found);
  snprintf(lock, size, "%s-lock", temporary);
  mf__file_remove(lock); /* verify has made it */
  if (status == MF_OK) return MF_OK;
  return mf__fail(error, status, "the copy of %s is not sound, so there is no backup: %.300s",
                  store->env->path, found.message);
}

int mf_backup(mf_store *store, const char *path, mf_error *error) {
  int status = mf__store_usable(store, error);
  if (status != MF_OK) return status;
  if (!path || !*path)
    return mf__fail(error, MF_INVALID_ARGUMENT, "a backup needs the path of a new file");
  if (mf__file_exists(path))
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "%s exists already: a backup overwrites nothing; choose another path", path);
  size_t size = strlen(path) + 40;
  char *temporary = malloc(2 * size); /* and the name of its lock file */
  if (!temporary) return mf__fail(error, MF_NO_MEMORY, "no memory for a backup");
  /* Under another name until it is complete: what stands at `path` is a whole backup, or nothing.
   */
  snprintf(temporary, size, "%s.partial-%016llx", path, (unsigned long long)mf__random_u64());
  status = mf__copy_store(store->env, temporary, error);
  if (status == MF_OK) status = verify_copy(store, temporary, temporary + size, size, error);
  if (status == MF_OK) {
    int rc = mf__file_publish_synced(temporary, path);
    if (rc == EEXIST)
      status =
          mf__fail(error, MF_INVALID_ARGUMENT,
                   "%s exists already: a backup overwrites nothing; choose another path", path);
    else
      status = mf__fail_db(error, rc, path);
  }
  if (status != MF_OK) mf__file_remove(temporary);
  free(temporary);
  return status;
}
