/*
 * Replaces a store's file by a compacted copy of it. Nobody else may have it open, and who opens it
 * meanwhile must meet the old file or the new one, never a mixture with their lock files: so the
 * old file is claimed alone until it has been replaced, and its lock file goes with it.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int in_use(const char *path, mf_error *error) {
  return mf__fail(error, MF_BUSY,
                  "%s is open elsewhere: it can be compacted when all others have closed it; "
                  "backup makes a compacted copy at any time",
                  path);
}

/* The copy is one of all events, and sound; it gets the mode and the owner of the original. */
static int check_copy(const char *temporary, int original, int64_t events, mf_error *error) {
  mf_verify_report report;
  int status = mf_verify(temporary, NULL, &report, error);
  if (status == MF_OK && report.events != events)
    status = mf__fail(error, MF_CORRUPT, "%s: it should hold %lld events, and has %lld", temporary,
                      (long long)events, (long long)report.events);
  if (status != MF_OK) return status;
  return mf__fail_db(error, mf__file_like(temporary, original), temporary);
}

/* From here on the old file is only what `claim` holds. */
static int replace(const char *temporary, const char *path, const char *lock, mf_error *error) {
  mf__file_remove(lock);
  int rc = mf__file_replace(temporary, path);
  if (rc == 0) rc = mf__folder_sync(path);
  return mf__fail_db(error, rc, path);
}

static int compact(mf_store *store, const char *path, char *temporary, char *lock,
                   mf_error *error) {
  int64_t events = 0;
  int claim = -1;
  int status = mf__env_claim_alone(store, &claim);
  if (status != MF_OK) {
    mf_close(store);
    return in_use(path, error);
  }
  status = mf_last_position(store, NULL, &events, error);
  if (status == MF_OK) status = mf__copy_store(store->env, temporary, error);
  /* LMDB lets go of the file before it is replaced, and the claim does not. */
  int closed = mf_close(store);
  if (status == MF_OK && closed != MF_OK)
    status = mf__fail(error, closed, "closing %s: %s", path, mf_strerror(closed));
  if (status == MF_OK) status = check_copy(temporary, claim, events, error);
  if (status == MF_OK) status = replace(temporary, path, lock, error);
  mf__file_close(claim);
  return status;
}

int mf_compact(const char *path, mf_error *error) {
  mf_open_options options;
  mf_store *store;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.no_create = true;
  if (path && strcmp(path, ":memory:") == 0)
    return mf__fail(error, MF_INVALID_ARGUMENT, "a store in memory has no file to compact");
  int status = mf_open(path, &options, &store, error);
  if (status != MF_OK) return status;
  const char *real = store->env->path; /* behind symbolic links */
  size_t size = strlen(real) + 48;
  char *where = malloc(size), *temporary = malloc(size), *lock = malloc(2 * size);
  if (!where || !temporary || !lock) {
    mf_close(store);
    status = mf__fail(error, MF_NO_MEMORY, "%s: no memory to compact it", path);
  } else {
    snprintf(where, size, "%s", real);
    snprintf(temporary, size, "%s.compact-%016llx", real, (unsigned long long)mf__random_u64());
    snprintf(lock, 2 * size, "%s-lock", temporary);
    char *own_lock = lock + strlen(lock) + 1; /* the rest of the room */
    snprintf(own_lock, size, "%s-lock", where);
    status = compact(store, where, temporary, own_lock, error);
    mf__file_remove(lock); /* verify has made it */
    if (status != MF_OK) mf__file_remove(temporary);
  }
  free(where);
  free(temporary);
  free(lock);
  return status;
}
