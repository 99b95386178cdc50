/*
 * Between the store and the system. The linker puts these functions before the real ones (--wrap),
 * for the store and for LMDB, which is linked as an archive for that reason.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t __real_pwrite(int, const void *, size_t, off_t);
ssize_t __real_write(int, const void *, size_t);
ssize_t __real_writev(int, const struct iovec *, int);
int __real_fdatasync(int);
int __real_fsync(int);
int __real_ftruncate(int, off_t);
int __real_fallocate(int, int, off_t, off_t);
int __real_open(const char *, int, ...);
int __real_link(const char *, const char *);
int __real_rename(const char *, const char *);
void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
int __real_posix_memalign(void **, size_t, size_t);
char *__real_strdup(const char *);

ssize_t __wrap_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_write(int, const void *, size_t);
ssize_t __wrap_writev(int, const struct iovec *, int);
int __wrap_fdatasync(int);
int __wrap_fsync(int);
int __wrap_ftruncate(int, off_t);
int __wrap_fallocate(int, int, off_t, off_t);
int __wrap_open(const char *, int, ...);
int __wrap_link(const char *, const char *);
int __wrap_rename(const char *, const char *);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
int __wrap_posix_memalign(void **, size_t, size_t);
char *__wrap_strdup(const char *);

/* ---- failing ---- */

const char *const fault_names[FAULT_KINDS] = {"nothing",
                                              "a write fails (EIO)",
                                              "a write finds the disk full",
                                              "a write is cut short",
                                              "a sync fails (EIO)",
                                              "a file cannot grow",
                                              "a file cannot be opened",
                                              "memory is refused",
                                              "address space is refused"};

static struct {
  fault_kind kind;
  size_t left; /* calls until it fails */
  bool lasting, happened;
} fault;

/* In all threads: LMDB copies a store with two. */
static atomic_bool armed;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

void fault_arm(fault_kind kind, size_t nth, bool lasting) {
  fault.kind = kind;
  fault.left = nth;
  fault.lasting = lasting;
  fault.happened = false;
  armed = true;
}

bool fault_disarm(void) {
  armed = false;
  return fault.happened;
}

static bool fails(fault_kind kind) {
  if (!armed || fault.kind != kind) return false;
  pthread_mutex_lock(&fault_lock);
  bool due = fault.left == 0 || --fault.left == 0;
  bool fail = due && (fault.lasting || !fault.happened);
  fault.happened = fault.happened || fail;
  pthread_mutex_unlock(&fault_lock);
  return fail;
}

/* What has no room for a write has none to reserve. */
static bool disk_is_full(void) {
  return armed && fault.happened && fault.lasting &&
         (fault.kind == FAULT_WRITE_ENOSPC || fault.kind == FAULT_WRITE_SHORT);
}

/* The harness's own memory, which never fails. */
void *sure_realloc(void *p, size_t size) {
  void *moved = __real_realloc(p, size);
  if (!moved) abort();
  return moved;
}

/* ---- promises about new files ---- */

static pthread_mutex_t journal_lock = PTHREAD_MUTEX_INITIALIZER;

enum { DIRTY_MAX = 32 };

static struct {
  struct {
    dev_t device;
    ino_t inode;
  } dirty[DIRTY_MAX]; /* files with something that is not synced */
  size_t count;
  bool too_early; /* a file got its name before it was synced */
  bool unsettled; /* and a name was not synced yet */
} promises;

void promises_begin(void) {
  pthread_mutex_lock(&journal_lock);
  memset(&promises, 0, sizeof promises);
  pthread_mutex_unlock(&journal_lock);
}

bool promises_kept(char *why, size_t size) {
  if (promises.too_early) snprintf(why, size, "a file got its name before it was synced");
  if (promises.unsettled) snprintf(why, size, "the name of a new file was not synced");
  return !promises.too_early && !promises.unsettled;
}

/* Where it stands in the list, or the list's end. */
static size_t dirty_place(const struct stat *st) {
  size_t i = 0;
  while (i < promises.count &&
         (promises.dirty[i].inode != st->st_ino || promises.dirty[i].device != st->st_dev))
    i++;
  return i;
}

static void note_dirty(int fd, bool dirty) {
  struct stat st;
  int before = errno;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
    pthread_mutex_lock(&journal_lock);
    size_t i = dirty_place(&st);
    bool known = i < promises.count;
    if (dirty && !known && promises.count < DIRTY_MAX) {
      promises.dirty[promises.count].device = st.st_dev;
      promises.dirty[promises.count++].inode = st.st_ino;
    }
    if (!dirty && known) promises.dirty[i] = promises.dirty[--promises.count];
    pthread_mutex_unlock(&journal_lock);
  }
  errno = before;
}

static void note_name(const char *to) {
  struct stat st;
  int before = errno;
  pthread_mutex_lock(&journal_lock);
  promises.too_early =
      promises.too_early || (stat(to, &st) == 0 && dirty_place(&st) < promises.count);
  promises.unsettled = true;
  pthread_mutex_unlock(&journal_lock);
  errno = before;
}

/* ---- the journal ---- */

static entry *entries;
static size_t entry_count, entry_capacity;
static char followed[256];
static dev_t device;
static ino_t inode;

void journal_follow(const char *path) {
  journal_free();
  snprintf(followed, sizeof followed, "%s", path ? path : "");
  inode = 0;
}

size_t journal_length(void) {
  pthread_mutex_lock(&journal_lock);
  size_t n = entry_count;
  pthread_mutex_unlock(&journal_lock);
  return n;
}

const entry *journal_entry(size_t i) {
  return &entries[i];
}

void journal_free(void) {
  for (size_t i = 0; i < entry_count; i++)
    free(entries[i].data);
  free(entries);
  entries = NULL;
  entry_count = entry_capacity = 0;
}

/* The file is known by its inode, once a descriptor of it has been seen under the store's name or a
 * beginning of it. */
static bool is_followed(int fd) {
  struct stat st;
  char link_path[64], name[512];
  if (!followed[0] || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return false;
  if (inode == 0) {
    snprintf(link_path, sizeof link_path, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link_path, name, sizeof name - 1);
    if (size < 0) return false;
    name[size] = '\0';
    if (strncmp(name, followed, strlen(followed)) != 0 || strstr(name, "-lock")) return false;
    device = st.st_dev;
    inode = st.st_ino;
  }
  return st.st_dev == device && st.st_ino == inode;
}

static bool is_its_folder(int fd) {
  struct stat st, of_path;
  char path[256];
  snprintf(path, sizeof path, "%s", followed);
  char *slash = strrchr(path, '/');
  if (!slash || fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode)) return false;
  *slash = '\0';
  return stat(path, &of_path) == 0 && of_path.st_ino == st.st_ino && of_path.st_dev == st.st_dev;
}

static void note(entry e, const void *data) {
  pthread_mutex_lock(&journal_lock);
  if (entry_count == entry_capacity) {
    entry_capacity = entry_capacity ? 2 * entry_capacity : 256;
    entries = sure_realloc(entries, entry_capacity * sizeof *entries);
  }
  if (data) {
    e.data = sure_realloc(NULL, e.size);
    memcpy(e.data, data, e.size);
  }
  entries[entry_count++] = e;
  pthread_mutex_unlock(&journal_lock);
}

static void note_write(int fd, const void *data, ssize_t done, uint64_t offset) {
  int before = errno;
  if (done > 0 && (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) == 0) note_dirty(fd, true);
  if (done > 0 && is_followed(fd)) {
    bool durable = (fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) != 0;
    note((entry){ENTRY_WRITE, durable, offset, (size_t)done, NULL}, data);
  }
  errno = before;
}

/* ---- what the store and LMDB call ---- */

/* False: the call fails, with errno set. A write may also be cut short. */
static bool write_goes_on(size_t *size) {
  if (fails(FAULT_WRITE_EIO)) {
    errno = EIO;
    return false;
  }
  if (fails(FAULT_WRITE_ENOSPC)) {
    errno = ENOSPC;
    return false;
  }
  if (fails(FAULT_WRITE_SHORT)) *size = *size > 1 ? *size / 2 : *size;
  return true;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset) {
  if (!write_goes_on(&size)) return -1;
  ssize_t done = __real_pwrite(fd, data, size, offset);
  note_write(fd, data, done, (uint64_t)offset);
  return done;
}

ssize_t __wrap_write(int fd, const void *data, size_t size) {
  if (!write_goes_on(&size)) return -1;
  off_t offset = lseek(fd, 0, SEEK_CUR);
  ssize_t done = __real_write(fd, data, size);
  if (offset >= 0) note_write(fd, data, done, (uint64_t)offset);
  return done;
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count) {
  off_t offset = lseek(fd, 0, SEEK_CUR);
  ssize_t done = 0;
  size_t wanted = 0;
  for (int i = 0; i < count; i++)
    wanted += parts[i].iov_len;
  size_t allowed = wanted;
  if (!write_goes_on(&allowed)) return -1;
  if (allowed < wanted)
    done = __real_pwrite(fd, parts[0].iov_base, parts[0].iov_len / 2, offset);
  else
    done = __real_writev(fd, parts, count);
  ssize_t left = done;
  for (int i = 0; i < count && left > 0; i++) {
    ssize_t size = (ssize_t)parts[i].iov_len < left ? (ssize_t)parts[i].iov_len : left;
    note_write(fd, parts[i].iov_base, size, (uint64_t)offset);
    offset += size;
    left -= size;
  }
  return done;
}

static bool dies_before_naming;

void die_before_naming(void) {
  dies_before_naming = true;
}

static bool is_folder(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static int sync_file(int fd, int (*real)(int)) {
  if (dies_before_naming && is_its_folder(fd)) kill(getpid(), SIGKILL);
  if (fails(FAULT_SYNC_EIO)) {
    errno = EIO;
    return -1;
  }
  int rc = real(fd);
  if (rc == 0) note_dirty(fd, false);
  if (rc == 0 && is_folder(fd)) promises.unsettled = false;
  if (rc == 0 && is_followed(fd)) note((entry){ENTRY_SYNC, true, 0, 0, NULL}, NULL);
  if (rc == 0 && is_its_folder(fd)) note((entry){ENTRY_FOLDER, true, 0, 0, NULL}, NULL);
  return rc;
}

int __wrap_fdatasync(int fd) {
  return sync_file(fd, __real_fdatasync);
}

int __wrap_fsync(int fd) {
  return sync_file(fd, __real_fsync);
}

int __wrap_ftruncate(int fd, off_t size) {
  if (fails(FAULT_GROW)) {
    errno = ENOSPC;
    return -1;
  }
  int rc = __real_ftruncate(fd, size);
  if (rc == 0 && is_followed(fd)) note((entry){ENTRY_SIZE, false, (uint64_t)size, 0, NULL}, NULL);
  return rc;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size) {
  if (disk_is_full() || fails(FAULT_GROW)) {
    errno = ENOSPC;
    return -1;
  }
  int rc = __real_fallocate(fd, mode, offset, size);
  if (rc == 0 && is_followed(fd))
    note((entry){ENTRY_SIZE, false, (uint64_t)(offset + size), 0, NULL}, NULL);
  return rc;
}

int __wrap_open(const char *path, int flags, ...) {
  int mode = 0;
  if (flags & O_CREAT) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, int);
    va_end(arguments);
  }
  if (fails(FAULT_OPEN)) {
    errno = EMFILE;
    return -1;
  }
  return __real_open(path, flags, mode);
}

int __wrap_link(const char *from, const char *to) {
  int rc = __real_link(from, to);
  if (rc == 0) note_name(to);
  if (rc == 0 && followed[0] && strcmp(to, followed) == 0)
    note((entry){ENTRY_NAMED, true, 0, 0, NULL}, NULL);
  return rc;
}

int __wrap_rename(const char *from, const char *to) {
  int rc = __real_rename(from, to);
  if (rc == 0) note_name(to);
  return rc;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
  if (fails(FAULT_MAP)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return __real_mmap(at, size, protection, flags, fd, offset);
}

static bool memory_fails(void) {
  if (!fails(FAULT_MEMORY)) return false;
  errno = ENOMEM;
  return true;
}

void *__wrap_malloc(size_t size) {
  return memory_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return memory_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size) {
  return memory_fails() ? NULL : __real_realloc(p, size);
}

int __wrap_posix_memalign(void **p, size_t alignment, size_t size) {
  return memory_fails() ? ENOMEM : __real_posix_memalign(p, alignment, size);
}

char *__wrap_strdup(const char *text) {
  return memory_fails() ? NULL : __real_strdup(text);
}
