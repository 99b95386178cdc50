/*
 * What depends on the operating system. A port of Moonfold is a port of this file (and of LMDB).
 * Linux gives open-file-description locks, inotify and memfd; what stands here for other systems is
 * their plain POSIX counterpart where one exists.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* A process that was begun with standard files closed (`>&-`) would get their numbers for a store,
 * and what it prints would be written over the store. The numbers are taken before that, by files
 * that fail as closed ones do. */
static void take_standard_numbers(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0) return;
}

int mf__file_open(const char *path, bool write, bool create, int *fd) {
  take_standard_numbers();
  *fd = open(path, O_CLOEXEC | (write ? O_RDWR : O_RDONLY) | (create ? O_CREAT : 0), 0666);
  return *fd >= 0 ? 0 : errno;
}

int mf__file_stat(int fd, mf__file_id *id, uint64_t *size, bool *regular) {
  struct stat st;
  if (fstat(fd, &st) != 0) return errno;
  id->device = (uint64_t)st.st_dev;
  id->inode = (uint64_t)st.st_ino;
  *size = (uint64_t)st.st_size;
  *regular = S_ISREG(st.st_mode);
  return 0;
}

ssize_t mf__file_read(int fd, void *buffer, size_t size, uint64_t offset) {
  size_t done = 0;
  while (done < size) {
    ssize_t n = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

int mf__file_extend(int fd, uint64_t from, uint64_t to) {
  /* Not posix_fallocate(): where the filesystem cannot, that writes zeros, perhaps over what
   * another process writes. */
  return fallocate(fd, 0, (off_t)from, (off_t)(to - from)) == 0 ? 0 : errno;
}

int mf__file_reserve(const char *path, uint64_t size) {
  struct stat st;
  if (stat(path, &st) == 0 && (uint64_t)st.st_blocks * 512 >= size) return 0;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return errno;
  int rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0 ? 0 : errno;
  close(fd);
  return rc == EOPNOTSUPP ? 0 : rc; /* a filesystem that cannot promise it */
}

uint64_t mf__file_room(int fd) {
  struct statvfs s;
  bool told = fstatvfs(fd, &s) == 0 && s.f_blocks > 0; /* some filesystems tell nothing */
  return told ? (uint64_t)s.f_bavail * s.f_frsize : UINT64_MAX;
}

void mf__file_close(int fd) {
  if (fd >= 0) close(fd);
}

int mf__file_sync(int fd) {
  return fsync(fd) == 0 ? 0 : errno;
}

int mf__folder_sync(const char *path) {
  const char *slash = strrchr(path, '/');
  char folder[PATH_MAX];
  size_t length = slash ? (size_t)(slash - path) : 0;
  if (length >= sizeof folder) return ENAMETOOLONG;
  if (!slash)
    strcpy(folder, ".");
  else if (length == 0)
    strcpy(folder, "/");
  else {
    memcpy(folder, path, length);
    folder[length] = '\0';
  }
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  int rc = fsync(fd) == 0 || errno == EINVAL ? 0 : errno; /* EINVAL: a filesystem without it */
  close(fd);
  return rc;
}

int mf__file_exists(const char *path) {
  return access(path, F_OK) == 0;
}

int mf__file_create_new(const char *path, int *fd) {
  *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return *fd >= 0 ? 0 : errno;
}

int mf__file_publish(const char *temporary, const char *path) {
  if (link(temporary, path) == 0) return unlink(temporary) == 0 ? 0 : errno;
  if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS) return errno;
  /* A filesystem without hard links: the name is checked first, which leaves a gap nobody can
   * close. */
  if (mf__file_exists(path)) return EEXIST;
  return rename(temporary, path) == 0 ? 0 : errno;
}

int mf__file_publish_synced(const char *temporary, const char *path) {
  int rc = mf__file_publish(temporary, path);
  if (rc == 0 && (rc = mf__folder_sync(path)) != 0) unlink(path);
  return rc;
}

void mf__file_remove(const char *path) {
  unlink(path);
}

int mf__memory_file(int *fd, char path[64]) {
  *fd = memfd_create("moonfold", MFD_CLOEXEC);
  if (*fd < 0) return errno;
  snprintf(path, 64, "/proc/self/fd/%d", *fd);
  return 0;
}

/*
 * Open-file-description locks, not POSIX ones: closing another descriptor of the file must not drop
 * them, and two handles of one process must see each other. They lie far behind the end of any
 * file.
 */
static int lock_bytes(int fd, uint64_t start, uint64_t count, short type, int command,
                      struct flock *lock) {
  memset(lock, 0, sizeof *lock);
  lock->l_type = type;
  lock->l_whence = SEEK_SET;
  lock->l_start = (off_t)start;
  lock->l_len = (off_t)count;
  return fcntl(fd, command, lock) == 0 ? 0 : errno;
}

static const uint64_t level_locks = (uint64_t)1 << 62;
static const uint64_t claim_locks = (uint64_t)1 << 61, claims = (uint64_t)1 << 40;

int mf__lock_shared(int fd, int which) {
  struct flock lock;
  return lock_bytes(fd, level_locks + (uint64_t)which, 1, F_RDLCK, F_OFD_SETLK, &lock);
}

void mf__unlock(int fd, int which) {
  struct flock lock;
  lock_bytes(fd, level_locks + (uint64_t)which, 1, F_UNLCK, F_OFD_SETLK, &lock);
}

static bool held_by_other(int fd, uint64_t start, uint64_t count) {
  struct flock lock;
  if (count == 0 || lock_bytes(fd, start, count, F_WRLCK, F_OFD_GETLK, &lock) != 0) return false;
  return lock.l_type != F_UNLCK;
}

bool mf__lock_held_by_other(int fd, int which) {
  return held_by_other(fd, level_locks + (uint64_t)which, 1);
}

/*
 * LMDB's lock file goes by the file's name. Who opens the same file under another name (a hard
 * link, or after it was renamed) gets another lock file, and nothing would keep the two from
 * writing over each other. So each opener locks a byte of the data file that stands for its lock
 * file's inode, and looks whether a byte beside it is locked.
 */
int mf__claim_lock_file(int fd, const char *lock_path) {
  struct stat st;
  struct flock lock;
  if (stat(lock_path, &st) != 0) return errno == ENOENT ? 0 : errno; /* a read-only filesystem */
  uint64_t own = (uint64_t)st.st_ino % claims;
  int rc = lock_bytes(fd, claim_locks + own, 1, F_RDLCK, F_OFD_SETLK, &lock);
  if (rc != 0) return rc;
  bool others = held_by_other(fd, claim_locks, own) ||
                held_by_other(fd, claim_locks + own + 1, claims - own - 1);
  return others ? EBUSY : 0;
}

/* One byte more is locked by everybody, before LMDB looks at the file. */
int mf__claim(int fd) {
  struct flock lock;
  return lock_bytes(fd, claim_locks + claims, 1, F_RDLCK, F_OFD_SETLK, &lock);
}

int mf__claim_alone(int fd) {
  struct flock lock;
  return lock_bytes(fd, claim_locks, claims + 1, F_WRLCK, F_OFD_SETLK, &lock);
}

int mf__file_duplicate(int fd, int *copy) {
  *copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return *copy >= 0 ? 0 : errno;
}

int mf__file_replace(const char *temporary, const char *path) {
  return rename(temporary, path) == 0 ? 0 : errno;
}

int mf__file_like(const char *path, int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return errno;
  /* Who is not its owner may not give the file away, and keeps it then. */
  if (chown(path, st.st_uid, st.st_gid) != 0 && errno != EPERM) return errno;
  return chmod(path, st.st_mode & 07777) == 0 ? 0 : errno;
}

bool mf__can_map(uint64_t size) {
  if (size > SIZE_MAX) return false;
  void *p = mmap(NULL, (size_t)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  munmap(p, (size_t)size);
  return true;
}

uint64_t mf__file_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return (uint64_t)limit.rlim_cur;
}

char *mf__real_path(const char *path) {
  return realpath(path, NULL);
}

static int64_t microseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t mf__clock_now(void) {
  return microseconds(CLOCK_REALTIME);
}

int64_t mf__clock_monotonic(void) {
  return microseconds(CLOCK_MONOTONIC);
}

void mf__yield(void) {
  sched_yield();
}

void mf__pause(int64_t time) {
  struct timespec rest = {(time_t)(time / 1000000), (long)(time % 1000000) * 1000};
  nanosleep(&rest, NULL);
}

uint64_t mf__random_u64(void) {
  uint64_t value = 0;
  if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
    value = (uint64_t)mf__clock_now() * 0x9e3779b97f4a7c15u ^ (uint64_t)getpid();
  return value;
}

/*
 * A process that forked must not use what it inherited. Asking for its id on every call is a system
 * call; a page that the kernel empties in the child (Linux 4.14) tells the same for nothing.
 */
mf__birthmark mf__birthmark_new(void) {
  mf__birthmark mark = {getpid(), NULL};
  int *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return mark;
  if (madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) == 0) {
    *page = 1;
    mark.page = page;
  } else
    munmap(page, (size_t)sysconf(_SC_PAGESIZE));
  return mark;
}

void mf__birthmark_free(mf__birthmark *mark) {
  if (mark->page) munmap(mark->page, (size_t)sysconf(_SC_PAGESIZE));
  mark->page = NULL;
}

bool mf__born_here(const mf__birthmark *mark) {
  return mark->page ? *mark->page == 1 : mark->process == getpid();
}

int mf__follow_open(int file, int *fd) {
  char path[64];
  *fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (*fd < 0) return errno;
  /* Through the descriptor, so that it is this file that is followed, wherever it has been moved.
   */
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  if (inotify_add_watch(*fd, path, IN_MODIFY) >= 0) return 0;
  int rc = errno;
  close(*fd);
  *fd = -1;
  return rc;
}

int mf__follow_wait(int fd, int64_t timeout, bool *written) {
  struct pollfd poll_fd = {fd, POLLIN, 0};
  struct timespec limit = {(time_t)(timeout / 1000000), (long)(timeout % 1000000) * 1000};
  int n = ppoll(&poll_fd, 1, timeout < 0 ? NULL : &limit, NULL);
  *written = n > 0;
  if (n < 0) return errno;
  char events[4096]; /* what they say does not matter: the caller looks at the store */
  while (n > 0 && read(fd, events, sizeof events) > 0) {
  }
  return 0;
}
