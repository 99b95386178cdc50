/*
 * Errors of the system: each call that may fail is made to fail in turn, at first once, then from
 * there on. What failed was not recorded, what was acknowledged is there, and when the trouble is
 * over the store works again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPERATIONS = 12, ROUND_KINDS = 4 };

static bool clear_status(int status) {
  return status == MF_IO || status == MF_DISK_FULL || status == MF_NO_MEMORY || status == MF_BUSY;
}

bool told(int status, const mf_error *error, char *why, size_t size) {
  bool fine = clear_status(status) && error->code == status && error->message[0] &&
              !strstr(error->message, "MDB_PANIC");
  if (!fine)
    snprintf(why, size, "status %d (%s), error code %d: %s", status, mf_code(status), error->code,
             error->message);
  return fine;
}

static bool work(const char *path, witness *w, bool tamper_evident, uint32_t first, char *why,
                 size_t size) {
  mf_open_options options = {.size = sizeof options, .tamper_evident = tamper_evident};
  mf_store *store;
  mf_error error = {0};
  int64_t position;
  int status = mf_open(path, &options, &store, &error);
  if (status != MF_OK) return told(status, &error, why, size);
  bool fine = true;
  for (uint32_t i = first; fine && i < first + OPERATIONS; i++) {
    operation op;
    make_op(w->seed, 0, i, &op);
    witness_sent(w, 0, i);
    memset(&error, 0, sizeof error);
    status = run_op(store, &op, &position, &error);
    witness_told(w, 0, i, status, position);
    fine = status == MF_OK || told(status, &error, why, size);
  }
  mf_close(store);
  return fine;
}

static bool fault_round(const void *context, fault_kind kind, size_t nth, bool lasting,
                        bool *happened, char *why, size_t size) {
  char path[256], reason[512];
  witness w = {0};
  (void)context;
  w.seed = seed;
  fresh_store(path);
  /* ROUND_KINDS: half of the rounds meet a store that exists, half of each one that is
   * tamper-evident. */
  bool fine = nth % 2 == 0 || work(path, &w, nth % 4 > 1, 0, reason, sizeof reason);
  fault_arm(kind, nth, lasting);
  if (fine) fine = work(path, &w, nth % 4 > 1, OPERATIONS, reason, sizeof reason);
  *happened = fault_disarm();
  expectation owed = {SIZE_MAX, 0, true};
  if (fine) fine = check_store(path, &w, owed, reason, sizeof reason);
  if (!fine) snprintf(why, size, "%s", reason);
  remove_store(path);
  witness_free(&w);
  return fine;
}

bool fault_sweep(fault_work *work_on, const void *context, size_t every, fault_kind kind,
                 bool lasting, size_t *faults, char *why, size_t size) {
  size_t step = 1, past = 0;
  for (size_t nth = 1;; nth += step) {
    int pipe_ends[2];
    bool happened = false, fine;
    if (pipe(pipe_ends) != 0) abort();
    /* In a process of its own: a failed call may leave LMDB in a state that only a new process is
     * rid of. */
    pid_t child = fork();
    if (child == 0) {
      char answer[768] = "";
      alarm(60);
      fine = work_on(context, kind, nth, lasting, &happened, answer + 2, sizeof answer - 2);
      answer[0] = fine ? 'y' : 'n';
      answer[1] = happened ? 'y' : 'n';
      _exit(write(pipe_ends[1], answer, sizeof answer) == sizeof answer ? 0 : 1);
    }
    close(pipe_ends[1]);
    char answer[768] = "nnthe process died";
    ssize_t n = read(pipe_ends[0], answer, sizeof answer);
    close(pipe_ends[0]);
    waitpid(child, NULL, 0);
    if (answer[0] == 'n')
      snprintf(why, size, "%s, call %zu%s: %s", fault_names[kind], nth,
               lasting ? " and all after it" : "", n > 0 ? answer + 2 : "the process died");
    if (answer[0] == 'n') return false;
    /* Past the last call, of every kind of round. */
    past = answer[1] == 'n' ? past + 1 : 0;
    if (past == ROUND_KINDS) return true;
    if (past > 0) continue;
    ++*faults;
    /* Every call at first; where there are thousands, by growing steps, which `rounds` makes
     * smaller. */
    if (nth > every) step = nth / (every / 2);
  }
}

int errors(void) {
  int failures = 0;
  for (fault_kind kind = FAULT_NONE + 1; kind < FAULT_KINDS; kind++) {
    for (int lasting = 0; lasting < 2; lasting++) {
      char why[768] = "", sentence[160];
      size_t faults = 0;
      bool fine = fault_sweep(fault_round, NULL, (size_t)rounds * 40, kind, lasting, &faults, why,
                              sizeof why);
      snprintf(sentence, sizeof sentence,
               "when %s%s, nothing acknowledged is lost and nothing failed is there",
               fault_names[kind], lasting ? " for good" : "");
      failures += tell(fine && faults > 0, sentence, faults ? why : "no call failed");
      printf("# %zu faults\n", faults);
    }
  }
  return failures;
}

/* ---- a filesystem that is really full ---- */

static bool make_small_disk(char *at, size_t size) {
  snprintf(at, size, "%s/small", folder);
  mkdir(at, 0777);
  if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
  return mount("none", at, "tmpfs", 0, "size=2m") == 0;
}

/* A snapshot for which the disk has no room does not take the event along that it comes with. */
static bool snapshot_gives_way(const char *at, char *why, size_t size) {
  static char state[1 << 20];
  char path[300];
  mf_store *store;
  mf_txn *txn;
  mf_error error;
  mf_snapshot found;
  mf_bytes stream = {"snapped", 7};
  mf_new_event event = {.type = {"Kept", 4}};
  uint8_t digest[MF_DIGEST_SIZE] = {1};
  snprintf(path, sizeof path, "%s/snapshots.fold", at);
  if (mf_open(path, NULL, &store, &error) != MF_OK) {
    snprintf(why, size, "%s", error.message);
    return false;
  }
  int put = MF_OK, status = mf_begin(store, &txn, &error);
  if (status == MF_OK) {
    status = mf_append(txn, stream, &event, 1, NULL, NULL, &error);
    if (status == MF_OK)
      put = mf_put_snapshot(txn, stream, digest, 1, (mf_bytes){state, sizeof state}, &error);
    status = mf_commit(txn, &error);
  }
  bool fine = put == MF_DONE && status == MF_OK &&
              mf_find_snapshot(store, NULL, stream, digest, INT64_MAX, &found, &error) == MF_DONE;
  if (!fine) snprintf(why, size, "with a snapshot (%d): %s", put, status ? error.message : "kept");
  mf_close(store);
  unlink(path);
  return fine;
}

/* Uses up what the disk has left, to the last page. */
static bool fill_up(const char *path) {
  static char page[4096];
  int fd = open(path, O_CREAT | O_WRONLY, 0666);
  if (fd < 0) return false;
  while (write(fd, page, sizeof page) > 0) {
  }
  close(fd);
  return true;
}

/* The first to open a store makes its lock file, which is mapped: without room that is told. */
static bool lock_file_has_no_room(const char *at, char *why, size_t size) {
  char path[300], lock[320], rest[300];
  mf_store *store;
  mf_error error;
  snprintf(path, sizeof path, "%s/unlocked.fold", at);
  snprintf(lock, sizeof lock, "%s-lock", path);
  snprintf(rest, sizeof rest, "%s/rest", at);
  int made = mf_open(path, NULL, &store, &error);
  if (made == MF_OK) mf_close(store);
  unlink(lock);
  bool fine = made == MF_OK && fill_up(rest);
  if (!fine) snprintf(why, size, "no store to be opened: %s", error.message);
  for (int read_only = 0; fine && read_only < 2; read_only++) {
    mf_open_options options = {.size = sizeof options, .read_only = read_only};
    int status = mf_open(path, &options, &store, &error);
    fine = status == MF_DISK_FULL && strstr(error.message, "-lock");
    if (!fine) snprintf(why, size, "without room for a lock file: %s", mf_code(status));
  }
  unlink(rest);
  if (fine && mf_open(path, NULL, &store, &error) != MF_OK) {
    snprintf(why, size, "with room for a lock file: %s", error.message);
    return false;
  }
  if (fine) mf_close(store);
  unlink(path);
  unlink(lock);
  return fine;
}

static bool fill(const char *at, witness *w, char *why, size_t size) {
  char path[300], ballast[300];
  mf_store *store;
  mf_error error;
  int64_t position;
  snprintf(path, sizeof path, "%s/store.fold", at);
  snprintf(ballast, sizeof ballast, "%s/ballast", at);
  int fd = open(ballast, O_CREAT | O_RDWR, 0666);
  if (fd < 0 || ftruncate(fd, 0) != 0 || posix_fallocate(fd, 0, 1 << 20) != 0) {
    snprintf(why, size, "the ballast could not be made");
    return false;
  }
  close(fd);
  if (!snapshot_gives_way(at, why, size)) return false;
  if (!lock_file_has_no_room(at, why, size)) return false;
  if (mf_open(path, NULL, &store, &error) != MF_OK) {
    snprintf(why, size, "%s", error.message);
    return false;
  }
  int full = 0;
  uint32_t i = 0;
  for (; full < 5 && i < 5000; i++) {
    operation op;
    make_op(w->seed, 0, i, &op);
    witness_sent(w, 0, i);
    int status = run_op(store, &op, &position, &error);
    witness_told(w, 0, i, status, position);
    if (status != MF_OK && status != MF_DISK_FULL) {
      snprintf(why, size, "operation %u: %s", i, error.message);
      return false;
    }
    full += status == MF_DISK_FULL;
  }
  expectation owed = {SIZE_MAX, 0, true};
  bool fine = full == 5;
  if (!fine) snprintf(why, size, "the disk was never full");
  fine = fine && check_open_store(store, w, owed, why, size);
  unlink(ballast); /* there is room again: the same handle goes on */
  for (uint32_t end = i + 5; fine && i < end; i++) {
    operation op;
    make_op(w->seed, 0, i, &op);
    witness_sent(w, 0, i);
    int status = run_op(store, &op, &position, &error);
    witness_told(w, 0, i, status, position);
    fine = status == MF_OK;
    if (!fine) snprintf(why, size, "with room again, operation %u: %s", i, error.message);
  }
  mf_close(store);
  return fine && check_store(path, w, owed, why, size);
}

int small_disk(void) {
  char why[768] = "the process died";
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) abort();
  pid_t child = fork();
  if (child == 0) {
    char at[256], answer[768] = "";
    witness w = {0};
    w.seed = seed;
    bool fine = make_small_disk(at, sizeof at);
    if (!fine) snprintf(answer, sizeof answer, "no filesystem of our own could be mounted");
    fine = fine && fill(at, &w, answer, sizeof answer);
    if (write(pipe_ends[1], answer, sizeof answer) != sizeof answer) _exit(2);
    _exit(fine ? 0 : 1);
  }
  int status = 0;
  close(pipe_ends[1]);
  if (read(pipe_ends[0], why, sizeof why) < 0) why[0] = '\0';
  close(pipe_ends[0]);
  waitpid(child, &status, 0);
  return tell(WIFEXITED(status) && WEXITSTATUS(status) == 0,
              "on a filesystem that is full, appends say disk_full, and go on when there is room",
              why);
}
