/* Files that something was made from: whether one of them has changed since. */
#include "loaded.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

/* What is all zero stands for a file that is not there. */
struct mfr_stamp {
  char *path;
  int64_t modified, changed; /* nanoseconds */
  int64_t size;
  uint64_t inode;
  bool young; /* it was written just before: another write might leave no trace */
};

static int64_t nanoseconds(struct timespec time) {
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void look(const char *path, mfr_stamp *stamp) {
  enum { YOUNG = 100 * 1000 * 1000 }; /* some file systems count time in steps of 10 ms */
  struct stat status;
  struct timespec now;
  memset(stamp, 0, sizeof *stamp);
  if (stat(path, &status) != 0) return;
  clock_gettime(CLOCK_REALTIME, &now);
  stamp->modified = nanoseconds(status.st_mtim);
  stamp->changed = nanoseconds(status.st_ctim);
  stamp->size = (int64_t)status.st_size;
  stamp->inode = (uint64_t)status.st_ino;
  stamp->young = nanoseconds(now) - stamp->changed < YOUNG;
}

void mfr_watch_add(mfr_watch *watch, const char *path) {
  for (size_t i = 0; i < watch->count; i++)
    if (strcmp(watch->stamps[i].path, path) == 0) return;
  mfr_stamp *more = realloc(watch->stamps, (watch->count + 1) * sizeof *more);
  if (more) watch->stamps = more;
  char *copy = more ? strdup(path) : NULL;
  if (!copy) {
    watch->lost = true;
    return;
  }
  look(path, &watch->stamps[watch->count]);
  watch->stamps[watch->count++].path = copy;
}

mfr_change mfr_watch_changed(const mfr_watch *watch, bool in_doubt) {
  mfr_change change = MFR_SAME;
  if (watch->lost) return MFR_CHANGED;
  for (size_t i = 0; i < watch->count; i++) {
    const mfr_stamp *then = &watch->stamps[i];
    mfr_stamp now;
    look(then->path, &now);
    if (now.modified != then->modified || now.changed != then->changed || now.size != then->size ||
        now.inode != then->inode)
      return MFR_CHANGED;
    if (then->young && (in_doubt || !now.young)) change = MFR_IN_DOUBT;
  }
  return change;
}

void mfr_watch_move(mfr_watch *watch, mfr_watch *from) {
  mfr_watch_free(watch);
  *watch = *from;
  *from = (mfr_watch){NULL, 0, false};
}

void mfr_watch_merge(mfr_watch *watch, mfr_watch *from) {
  for (size_t i = 0; i < watch->count; i++)
    mfr_watch_add(from, watch->stamps[i].path);
  mfr_watch_move(watch, from);
}

void mfr_watch_free(mfr_watch *watch) {
  for (size_t i = 0; i < watch->count; i++)
    free(watch->stamps[i].path);
  free(watch->stamps);
  *watch = (mfr_watch){NULL, 0, false};
}
