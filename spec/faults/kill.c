/*
 * kill -9. Processes with several threads each append through the same file and tell the parent,
 * through a pipe, what they are about to do and what was acknowledged. They are killed one after
 * the other at random moments; those that are left must go on; and the store that is left must keep
 * what it acknowledged, and nothing by halves.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES = 2, THREADS = 2, KILLS = 12 };

typedef struct line {
  uint32_t writer, number;
  int32_t status; /* 1: about to be sent; else what the append returned */
  int32_t unused;
  int64_t position;
} line;

typedef struct child {
  pid_t pid;
  int pipe;
  size_t acknowledged;
} child;

typedef struct writer_job {
  mf_store *store;
  int pipe;
  uint64_t seed;
  uint32_t writer, number;
} writer_job;

static void say(int pipe, line l) {
  if (write(pipe, &l, sizeof l) != sizeof l)
    _exit(1); /* shorter than PIPE_BUF: whole, or not at all */
}

static void *write_for_ever(void *argument) {
  writer_job *j = argument;
  mf_error error;
  int64_t position;
  for (;; j->number++) {
    operation op;
    make_op(j->seed, j->writer, j->number, &op);
    say(j->pipe, (line){j->writer, j->number, 1, 0, 0});
    int status = run_op(j->store, &op, &position, &error);
    say(j->pipe, (line){j->writer, j->number, status, 0, position});
    if (status != MF_OK) {
      fprintf(stderr, "# operation %u.%u: %s\n", j->writer, j->number, error.message);
      _exit(1);
    }
  }
  return NULL;
}

static void run_child(const char *path, int pipe, int process, const witness *w,
                      mf_durability durability) {
  mf_open_options options = {.size = sizeof options,
                             .durability = durability,
                             .tamper_evident = is_tamper_evident(w->seed)};
  writer_job jobs[THREADS];
  pthread_t threads[THREADS];
  mf_store *store;
  mf_error error;
  if (mf_open(path, &options, &store, &error) != MF_OK) {
    fprintf(stderr, "# opening: %s\n", error.message);
    _exit(1);
  }
  for (int i = 0; i < THREADS; i++) {
    uint32_t writer = (uint32_t)(process * THREADS + i);
    jobs[i] = (writer_job){store, pipe, w->seed, writer, w->writers[writer].count};
    if (pthread_create(&threads[i], NULL, write_for_ever, &jobs[i]) != 0) _exit(1);
  }
  pthread_join(threads[0], NULL);
  _exit(1);
}

static child start(const char *path, int process, const witness *w, mf_durability durability) {
  int ends[2];
  child c = {0, -1, 0};
  if (pipe(ends) != 0) abort();
  c.pid = fork();
  if (c.pid == 0) {
    close(ends[0]);
    run_child(path, ends[1], process, w, durability);
  }
  close(ends[1]);
  c.pipe = ends[0];
  return c;
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Takes one line; false at the end. */
static bool hear(child *c, witness *w) {
  line l;
  ssize_t n = read(c->pipe, &l, sizeof l);
  if (n != sizeof l) return false;
  if (l.status == 1)
    witness_sent(w, l.writer, l.number);
  else {
    witness_told(w, l.writer, l.number, l.status, l.position);
    c->acknowledged++;
  }
  return true;
}

/* Hears all living children until `until`, or until child `one` was acknowledged so many. */
static bool hear_all(child *children, witness *w, int64_t until, int one, size_t wanted) {
  for (;;) {
    struct pollfd fds[PROCESSES];
    int64_t left = until - now();
    if (one >= 0 && children[one].acknowledged >= wanted) return true;
    if (left <= 0) return one < 0;
    for (int i = 0; i < PROCESSES; i++)
      fds[i] = (struct pollfd){children[i].pipe, POLLIN, 0}; /* a negative one is ignored */
    struct timespec limit = {(time_t)(left / 1000000), (long)(left % 1000000) * 1000};
    if (ppoll(fds, PROCESSES, &limit, NULL) < 0 && errno != EINTR) return false;
    for (int i = 0; i < PROCESSES; i++)
      if ((fds[i].revents & (POLLIN | POLLHUP)) && !hear(&children[i], w)) return false;
  }
}

/* Returns whether it was alive until now. */
static bool finish(child *c, witness *w) {
  int status;
  kill(c->pid, SIGKILL);
  while (hear(c, w)) {
  }
  close(c->pipe);
  c->pipe = -1;
  waitpid(c->pid, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* What was written by the killed, and never committed, is not to be salvaged. */
static bool salvages_the_same(const char *path, char *why, size_t size) {
  char target[300];
  mf_salvage_report salvaged;
  mf_verify_report known;
  mf_error error;
  snprintf(target, sizeof target, "%s.salvaged", path);
  int status = mf_verify(path, NULL, &known, &error);
  if (status == MF_OK) status = mf_salvage(path, target, NULL, &salvaged, &error);
  remove_store(target);
  bool fine = status == MF_OK && salvaged.lost == 0 && salvaged.events == known.events;
  if (status != MF_OK)
    snprintf(why, size, "salvage: %s", error.message);
  else if (!fine)
    snprintf(why, size,
             "salvage has brought back %" PRId64 " events and lost %" PRId64 " of %" PRId64,
             salvaged.events, salvaged.lost, known.events);
  return fine;
}

static bool kill_round(const char *path, witness *w, mf_durability durability, chance *dice,
                       char *why, size_t size) {
  child children[PROCESSES];
  bool fine = true;
  for (int i = 0; i < PROCESSES; i++)
    children[i] = start(path, i, w, durability);
  /* Each lives to see an append, or two processes that only start would be killed. */
  for (int i = 0; fine && i < PROCESSES; i++)
    fine = hear_all(children, w, now() + 30000000, i, 1);
  if (fine) fine = hear_all(children, w, now() + (int64_t)chance_below(dice, 20000), -1, 0);
  for (int i = 0; i < PROCESSES; i++) {
    bool alive = finish(&children[i], w);
    fine = fine && alive;
    int next = i + 1;
    if (fine && next < PROCESSES)
      fine = hear_all(children, w, now() + 30000000, next,
                      children[next].acknowledged + 1 + (size_t)chance_below(dice, 8));
    if (!fine) snprintf(why, size, "a writer failed, or stood still after another was killed");
  }
  return fine && salvages_the_same(path, why, size) && check_store(path, w, OWES_ALL, why, size);
}

static int kill_at(mf_durability durability, const char *sentence) {
  char path[256], why[768] = "";
  witness w = {0};
  chance dice = {seed};
  bool fine = true;
  size_t appended = 0;
  w.seed = seed + (uint64_t)durability; /* one of the two is tamper-evident */
  fresh_store(path);
  int kills = 0;
  for (; fine && kills < KILLS * rounds; kills++)
    fine = kill_round(path, &w, durability, &dice, why, sizeof why);
  for (int i = 0; i < WRITERS_MAX; i++)
    appended += w.writers[i].count;
  int failures = tell(fine, sentence, why);
  printf("# %d rounds, %zu operations\n", kills, appended);
  remove_store(path);
  witness_free(&w);
  return failures;
}

/* ---- in the middle of what is done to a whole store ---- */

enum { WHOLE_KILLS = 10 };

/* Backs the store up, keeps things beside the log, or compacts it, again and again, until it is
 * killed; each time it tells that it is at work. */
static void work_on_whole(const char *path, bool compacts, int pipe) {
  static char text[5000];
  mf_store *store = NULL;
  mf_error error = {0};
  mf_bytes all = {text, sizeof text};
  char target[300];
  operation first; /* whose stream is there, whatever the seed */
  make_op(seed, 0, 0, &first);
  mf_bytes stream = {first.streams[0], strlen(first.streams[0])};
  if (!compacts && mf_open(path, NULL, &store, &error) != MF_OK) _exit(1);
  for (uint32_t n = 0;; n++) {
    uint8_t digest[MF_DIGEST_SIZE] = {(uint8_t)n};
    int status = MF_OK;
    say(pipe, (line){0, 0, 1, 0, 0});
    if (compacts)
      status = mf_compact(path, &error);
    else {
      mf_txn *txn;
      memset(text, 'a' + (int)(n % 26), sizeof text);
      mf_kept_command command = {n, stream, all};
      snprintf(target, sizeof target, "%s.backup-%u", path, n);
      if (mf_begin(store, &txn, &error) != MF_OK || mf_put_code(txn, digest, all, NULL, &error) ||
          mf_put_snapshot(txn, stream, digest, 1, all, &error) ||
          mf_keep_command(txn, &command, &error) || mf_commit(txn, &error))
        status = error.code;
      else
        status = mf_backup(store, target, &error);
    }
    if (status != MF_OK) {
      fprintf(stderr, "# %s\n", error.message);
      _exit(1);
    }
  }
}

/* Whatever has the name of a backup is a whole one. What else is left has a name that tells. */
static bool look_at_files(const char *path, witness *w, int *backups, char *why, size_t size) {
  char name[600];
  const char *base = strrchr(path, '/') + 1;
  DIR *listing = opendir(folder);
  struct dirent *file;
  bool fine = listing != NULL;
  while (fine && (file = readdir(listing))) {
    const char *rest = file->d_name + strlen(base);
    if (strncmp(file->d_name, base, strlen(base)) != 0 || !*rest || strcmp(rest, "-lock") == 0)
      continue;
    snprintf(name, sizeof name, "%s/%s", folder, file->d_name);
    if (strncmp(rest, ".backup-", 8) == 0 && !strchr(rest + 8, '.') && !strchr(rest + 8, '-')) {
      ++*backups;
      fine = check_apart(name, w, OWES_ALL, why, size);
    } else if (!strstr(rest, ".partial-") && !strstr(rest, ".compact-") && !strstr(rest, "-lock")) {
      fine = false;
      snprintf(why, size, "%s is left", name);
    }
    remove_store(name); /* and the lock file that looking at it made */
  }
  if (listing) closedir(listing);
  return fine;
}

static bool kill_whole(const char *path, witness *w, bool compacts, chance *dice, int *backups,
                       char *why, size_t size) {
  int ends[2], status;
  line l;
  if (pipe(ends) != 0) abort();
  pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    work_on_whole(path, compacts, ends[1]);
  }
  close(ends[1]);
  /* It is in the middle of the nth. */
  bool fine = true;
  for (uint64_t n = 1 + chance_below(dice, 3); fine && n > 0; n--)
    fine = read(ends[0], &l, sizeof l) == sizeof l;
  usleep((useconds_t)chance_below(dice, 15000));
  kill(pid, SIGKILL);
  close(ends[0]);
  waitpid(pid, &status, 0);
  fine = fine && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  if (!fine) snprintf(why, size, "it failed before it was killed");
  return fine && look_at_files(path, w, backups, why, size) &&
         check_store(path, w, OWES_ALL, why, size);
}

static int kill_wholes(bool compacts, const char *sentence) {
  mf_open_options options = {
      .size = sizeof options, .durability = MF_NONE, .tamper_evident = is_tamper_evident(seed)};
  char path[256], why[768] = "";
  witness w = {.seed = seed};
  chance dice = {seed ^ 77};
  mf_store *store;
  mf_error error;
  int64_t position;
  fresh_store(path);
  bool fine = mf_open(path, &options, &store, &error) == MF_OK;
  for (uint32_t i = 0; fine && i < 30; i++) {
    operation op;
    make_op(w.seed, 0, i, &op);
    witness_sent(&w, 0, i);
    int status = run_op(store, &op, &position, &error);
    witness_told(&w, 0, i, status, position);
  }
  if (fine) mf_close(store);
  int kills = 0, backups = 0;
  for (; fine && kills < WHOLE_KILLS * rounds; kills++)
    fine = kill_whole(path, &w, compacts, &dice, &backups, why, sizeof why);
  int failed = tell(fine && (compacts || backups > 0), sentence, why);
  printf("# %d kills, %d whole backups\n", kills, backups);
  remove_store(path);
  witness_free(&w);
  return failed;
}

int kill_writers(void) {
  return kill_at(MF_FULL,
                 "writers that are killed leave everything acknowledged, and nothing by halves") +
         kill_at(MF_NONE, "so they do when nothing is synced") +
         kill_wholes(false, "a killed backup leaves the store, and no backup or a whole one") +
         kill_wholes(true, "a killed compaction leaves the store, as the old file or the new one");
}
