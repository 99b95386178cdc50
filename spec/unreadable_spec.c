/*
 * Sectors that a disk cannot read any more. Every page of a file in turn is one: reading it fails
 * with EIO. That is more than bytes that differ, for nothing at all is left of the page, and it
 * asks of the format that no page is worth much more than what stands in it.
 */
#include "check.h"
#include "damage/sample.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char path[300], new_path[300];
static ino_t file;                /* the one with the bad page */
static uint64_t bad = UINT64_MAX; /* page; UINT64_MAX: none */

ssize_t __real_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *buffer, size_t size, off_t offset);

/* Like a disk: what stands before the bad sector is read. */
ssize_t __wrap_pread(int fd, void *buffer, size_t size, off_t offset) {
  struct stat status;
  uint64_t from = bad * PAGE, start = (uint64_t)offset;
  if (bad == UINT64_MAX || start >= from + PAGE || start + size <= from ||
      fstat(fd, &status) != 0 || status.st_ino != file)
    return __real_pread(fd, buffer, size, offset);
  if (start < from) return __real_pread(fd, buffer, (size_t)(from - start), offset);
  errno = EIO;
  return -1;
}

/* Whether every event of a store is one of the sample's, in the order of these. */
static bool all_true(const char *name) {
  mf_open_options options = {.size = sizeof options};
  mf_read_options everything = MF_READ_OPTIONS_INIT;
  mf_store *store;
  mf_reader *reader;
  mf_event event;
  if (mf_open(name, &options, &store, NULL) != MF_OK) return false;
  bool fine = mf_reader_open(store, NULL, &everything, &reader, NULL) == MF_OK;
  int64_t before = 0, status = MF_DONE;
  while (fine && (status = mf_reader_next(reader, &event, NULL)) == MF_OK) {
    int64_t original = sample_position(&event);
    fine = original > before && sample_is(&event, original);
    before = original;
  }
  mf_reader_close(reader);
  return mf_close(store) == MF_OK && fine && status == MF_DONE;
}

static void remove_new(void) {
  char lock[320];
  snprintf(lock, sizeof lock, "%s-lock", new_path);
  unlink(new_path);
  unlink(lock);
}

static void lose_each_page(uint64_t pages) {
  int64_t most = 0;
  bool told = true, recovered = true, right = true;
  for (bad = 0; bad < pages; bad++) {
    mf_verify_report verified;
    mf_salvage_report salvaged;
    int status = mf_verify(path, NULL, &verified, NULL);
    recovered = recovered && mf_salvage(path, new_path, NULL, &salvaged, NULL) == MF_OK &&
                salvaged.events + salvaged.lost == SAMPLE_EVENTS;
    told = told && (status == MF_OK ? salvaged.lost == 0 : status == MF_CORRUPT);
    right = right && all_true(new_path);
    if (salvaged.lost > most) most = salvaged.lost;
    remove_new();
  }
  bad = UINT64_MAX;
  check(told, "verify tells of a page that cannot be read, where something is lost with it");
  check(recovered, "salvage goes on without a page that cannot be read, whichever it is");
  check(right, "what it recovers then is as it was recorded");
  /* A block of two pages, and the commit of 150 events that may begin or end in it. */
  check(most > 0 && most < 400, "no page is worth more than the commits of a block");
  if (most >= 400) printf("# %lld of %d events\n", (long long)most, SAMPLE_EVENTS);
}

int main(void) {
  char folder[] = "/tmp/moonfold-unreadable-XXXXXX", lock[320];
  struct stat status;
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/store.fold", folder);
  snprintf(new_path, sizeof new_path, "%s/new.fold", folder);
  for (int chained = 0; chained < 2; chained++) {
    sample_store.tamper_evident = chained;
    sample_build(path, MF_NONE);
    if (stat(path, &status) != 0) return 2;
    file = status.st_ino;
    printf("# %s\n", chained ? "a tamper-evident store" : "a plain store");
    lose_each_page((uint64_t)status.st_size / PAGE);
    unlink(path);
    snprintf(lock, sizeof lock, "%s-lock", path);
    unlink(lock);
  }
  rmdir(folder);
  return failures > 0;
}
