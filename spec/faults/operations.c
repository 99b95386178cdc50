/*
 * Errors in the middle of what is done to a whole store, and of what is kept beside the log. A
 * backup, a compaction, a salvage: the source is as it was and can be used, nothing stands under
 * the target's name but a whole store, synced before it got that name, which is synced, too, and
 * nothing by halves is left beside it. Code, snapshots and kept commands: what was committed is
 * there, byte for byte, what failed is not. In each case the same call succeeds when the trouble is
 * over.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPERATIONS = 12, ROUNDS = 6, TEXT = 9000 };

typedef struct work_place {
  char path[256], target[300];
  witness w;
  char *why;
  size_t size;
} work_place;

__attribute__((format(printf, 2, 3))) static bool wrong(work_place *p, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(p->why, p->size, format, arguments);
  va_end(arguments);
  return false;
}

static const expectation all = {SIZE_MAX, 0, true};

/* ---- files ---- */

static void copy_file(const char *from, const char *to) {
  char bytes[65536];
  ssize_t n;
  int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_TRUNC | O_WRONLY, 0666);
  if (in < 0 || out < 0) abort();
  while ((n = read(in, bytes, sizeof bytes)) > 0)
    if (write(out, bytes, (size_t)n) != n) abort();
  close(in);
  close(out);
}

/* A file beside the store that has its name and more, and is neither its lock file nor the target,
 * nor that one's. Removes it, when it is asked to. */
static bool is_left(const char *path, bool remove, char name[300]) {
  char own[256];
  const char *base = strrchr(path, '/');
  base = base ? base + 1 : path;
  snprintf(own, sizeof own, "%s-lock", base);
  DIR *listing = opendir(folder);
  struct dirent *file;
  bool left = false;
  while (listing && (file = readdir(listing))) {
    if (strncmp(file->d_name, base, strlen(base)) != 0 || strcmp(file->d_name, base) == 0 ||
        strcmp(file->d_name, own) == 0)
      continue;
    left = true;
    snprintf(name, 300, "%s/%s", folder, file->d_name);
    if (remove) unlink(name);
  }
  if (listing) closedir(listing);
  return left;
}

static bool is_sound(work_place *p, const char *path) {
  mf_error error;
  return mf_verify(path, NULL, NULL, &error) == MF_OK || wrong(p, "%s", error.message);
}

/* A sound store of exactly what the witness knows, as it is without a change to it. */
static bool is_whole(work_place *p, const char *path) {
  mf_open_options options = {.size = sizeof options, .read_only = true};
  mf_store *store;
  mf_error error;
  if (!is_sound(p, path)) return false;
  if (mf_open(path, &options, &store, &error) != MF_OK) return wrong(p, "%s", error.message);
  bool fine = check_open_store(store, &p->w, all, p->why, p->size);
  mf_close(store);
  return fine;
}

/* ---- what is done to a whole store ---- */

static int do_backup(mf_store *store, const work_place *p, mf_error *error) {
  return mf_backup(store, p->target, error);
}

static int do_compact(mf_store *store, const work_place *p, mf_error *error) {
  (void)store;
  return mf_compact(p->path, error);
}

static int do_salvage(mf_store *store, const work_place *p, mf_error *error) {
  (void)store;
  return mf_salvage(p->path, p->target, NULL, NULL, error);
}

typedef struct whole {
  const char *name;
  int (*act)(mf_store *store, const work_place *p, mf_error *error);
  bool open, target; /* it is done to an open store; it makes a new file */
} whole;

static const whole wholes[] = {{"a backup", do_backup, true, true},
                               {"a compaction", do_compact, false, false},
                               {"a salvage", do_salvage, false, true}};

static bool exists(const char *path) {
  return access(path, F_OK) == 0;
}

/* After a call that has failed, or not. */
static bool left_well(const whole *what, work_place *p, int status) {
  char name[300];
  if (what->target && status == MF_OK && !is_whole(p, p->target)) return false;
  if (what->target && status != MF_OK && exists(p->target))
    return wrong(p, "it failed, and %s is there", p->target);
  remove_store(p->target);
  if (is_left(p->path, false, name)) return wrong(p, "%s is left", name);
  return is_whole(p, p->path);
}

static bool whole_round(const whole *what, work_place *p, fault_kind kind, size_t nth, bool lasting,
                        bool *happened) {
  mf_store *store = NULL;
  mf_error error = {0};
  if (what->open && mf_open(p->path, NULL, &store, &error) != MF_OK)
    return wrong(p, "opening: %s", error.message);
  promises_begin();
  fault_arm(kind, nth, lasting);
  int status = what->act(store, p, &error);
  *happened = fault_disarm();
  if (status == MF_OK && !promises_kept(p->why, p->size)) return false;
  if (status != MF_OK && !told(status, &error, p->why, p->size)) return false;
  if (!left_well(what, p, status)) return false;
  if (store && !check_open_store(store, &p->w, all, p->why, p->size)) return false;
  status = what->act(store, p, &error);
  if (status != MF_OK) return wrong(p, "when the trouble is over: %s", error.message);
  if (!left_well(what, p, status)) return false;
  if (store && mf_close(store) != MF_OK) return wrong(p, "closing failed");
  return is_sound(p, p->path) && check_store(p->path, &p->w, all, p->why, p->size);
}

/* ---- what is kept beside the log ---- */

/* A round puts a piece of code, a snapshot and a command beside an event of its own. */
typedef struct beside {
  bool kept[ROUNDS + 1];
  char text[TEXT];
} beside;

static const char beside_stream[] = "beside";

static mf_bytes text_of(beside *b, uint32_t round, char kind) {
  size_t size = 100 + round * 1400u; /* from a part of a page to several */
  memset(b->text, kind + (int)round, size);
  return (mf_bytes){b->text, size};
}

static void digest_of(uint8_t digest[MF_DIGEST_SIZE], uint32_t round, int kind) {
  memset(digest, (int)round * 4 + kind, MF_DIGEST_SIZE);
}

static int put_beside(mf_store *store, beside *b, uint32_t round, mf_error *error) {
  uint8_t digest[MF_DIGEST_SIZE], fold[MF_DIGEST_SIZE];
  mf_bytes stream = {beside_stream, sizeof beside_stream - 1};
  mf_new_event event = {.type = {"Kept", 4}};
  mf_append_result result;
  mf_txn *txn;
  int status = mf_begin(store, &txn, error);
  if (status != MF_OK) return status;
  digest_of(digest, round, 1);
  digest_of(fold, 0, 2);
  status = mf_append(txn, stream, &event, 1, NULL, &result, error);
  if (status == MF_OK) status = mf_put_code(txn, digest, text_of(b, round, 'A'), NULL, error);
  if (status == MF_OK) /* the only one of its digest: it takes the place of the one before */
    status = mf_put_snapshot(txn, stream, fold, result.version, text_of(b, round, 'a'), error);
  mf_kept_command command = {1000 + round, stream, text_of(b, round, '0')};
  if (status == MF_OK) status = mf_keep_command(txn, &command, error);
  if (status == MF_OK) return mf_commit(txn, error);
  mf_abort(txn);
  if (status == MF_DONE) { /* a program goes on without the snapshot; here it is all or nothing */
    status = error->code = MF_NO_MEMORY;
    snprintf(error->message, sizeof error->message, "no memory for the snapshot");
  }
  return status;
}

static bool same_text(mf_bytes found, mf_bytes wanted) {
  return found.size == wanted.size && memcmp(found.data, wanted.data, found.size) == 0;
}

static bool code_is_kept(mf_store *store, beside *b, uint32_t round) {
  uint8_t digest[MF_DIGEST_SIZE];
  mf_code_record record;
  digest_of(digest, round, 1);
  int status = mf_find_code(store, NULL, digest, &record, NULL);
  if (status != MF_OK) return status == MF_DONE && !b->kept[round];
  bool same = same_text(record.code, text_of(b, round, 'A'));
  mf_free(record.code);
  return same && b->kept[round];
}

static bool commands_are_kept(mf_store *store, beside *b) {
  mf_commands *commands;
  mf_kept_command command;
  uint32_t round = 0;
  if (mf_commands_open(store, 0, (mf_bytes){"", 0}, &commands, NULL) != MF_OK) return false;
  bool fine = true;
  int status = MF_OK;
  while (fine && (status = mf_commands_next(commands, &command, NULL)) == MF_OK) {
    while (round <= ROUNDS && !b->kept[round])
      round++;
    fine = round <= ROUNDS && command.time == 1000 + round &&
           same_text(command.command, text_of(b, round, '0'));
    round++;
  }
  mf_commands_close(commands);
  while (round <= ROUNDS && !b->kept[round])
    round++;
  return fine && status == MF_DONE && round == ROUNDS + 1;
}

/* A snapshot is never owed; but one that is found is right. */
static bool snapshot_is_right(mf_store *store, beside *b) {
  uint8_t fold[MF_DIGEST_SIZE];
  mf_snapshot snapshot;
  mf_bytes stream = {beside_stream, sizeof beside_stream - 1};
  uint32_t last = 0;
  int64_t version = 0;
  for (uint32_t round = 0; round <= ROUNDS; round++)
    if (b->kept[round]) {
      last = round;
      version++;
    }
  digest_of(fold, 0, 2);
  int status = mf_find_snapshot(store, NULL, stream, fold, INT64_MAX, &snapshot, NULL);
  if (status != MF_OK) return status == MF_DONE && version == 0;
  bool same = snapshot.version == version && same_text(snapshot.state, text_of(b, last, 'a'));
  mf_free(snapshot.state);
  return same;
}

static bool beside_is_right(work_place *p, mf_store *store, beside *b, const char *when) {
  for (uint32_t round = 0; round <= ROUNDS; round++)
    if (!code_is_kept(store, b, round)) return wrong(p, "%s: the code of round %u", when, round);
  if (!commands_are_kept(store, b)) return wrong(p, "%s: the kept commands", when);
  if (!snapshot_is_right(store, b)) return wrong(p, "%s: the snapshot", when);
  return true;
}

static bool beside_round(work_place *p, fault_kind kind, size_t nth, bool lasting, bool *happened) {
  static beside b;
  mf_store *store;
  mf_error error = {0};
  int status = MF_OK;
  if (mf_open(p->path, NULL, &store, &error) != MF_OK)
    return wrong(p, "opening: %s", error.message);
  fault_arm(kind, nth, lasting);
  for (uint32_t round = 0; round < ROUNDS; round++) {
    status = put_beside(store, &b, round, &error);
    b.kept[round] = status == MF_OK;
    if (status != MF_OK && !told(status, &error, p->why, p->size)) return false;
    if (round == 2) { /* all of it can be made again */
      status = mf_drop_snapshots(store, NULL, NULL, &error);
      if (status != MF_OK && !told(status, &error, p->why, p->size)) return false;
    }
  }
  *happened = fault_disarm();
  /* A handle whose file could not be written may stay unusable: opened again, it works. */
  status = put_beside(store, &b, ROUNDS, &error);
  b.kept[ROUNDS] = status == MF_OK;
  if (status != MF_OK && !told(status, &error, p->why, p->size)) return false;
  int64_t last;
  bool usable = mf_last_position(store, NULL, &last, &error) == MF_OK;
  if (usable && !beside_is_right(p, store, &b, "in the same handle")) return false;
  if (mf_close(store) != MF_OK && b.kept[ROUNDS]) return wrong(p, "closing failed");
  if (mf_open(p->path, NULL, &store, &error) != MF_OK)
    return wrong(p, "opening again: %s", error.message);
  if (!b.kept[ROUNDS]) {
    status = put_beside(store, &b, ROUNDS, &error);
    if (status != MF_OK) return wrong(p, "when the trouble is over: %s", error.message);
    b.kept[ROUNDS] = true;
  }
  bool fine = beside_is_right(p, store, &b, "opened again");
  mf_close(store);
  return fine && is_sound(p, p->path);
}

/* ---- sweeps ---- */

typedef struct job {
  const whole *what; /* NULL: what is kept beside the log */
  const char *model; /* a store made before, */
  const witness *w;  /* and who knows what it holds */
} job;

static bool operation_round(const void *context, fault_kind kind, size_t nth, bool lasting,
                            bool *happened, char *why, size_t size) {
  const job *j = context;
  work_place p = {.w = *j->w, .why = why, .size = size};
  fresh_store(p.path);
  snprintf(p.target, sizeof p.target, "%s.target", p.path);
  copy_file(j->model, p.path);
  bool fine = j->what ? whole_round(j->what, &p, kind, nth, lasting, happened)
                      : beside_round(&p, kind, nth, lasting, happened);
  char name[300];
  while (is_left(p.path, true, name)) {
  }
  remove_store(p.path);
  return fine;
}

static void make_model(const char *path, witness *w, bool tamper_evident) {
  mf_open_options options = {
      .size = sizeof options, .durability = MF_NONE, .tamper_evident = tamper_evident};
  mf_store *store;
  mf_error error;
  int64_t position;
  if (mf_open(path, &options, &store, &error) != MF_OK) abort();
  for (uint32_t i = 0; i < (w ? OPERATIONS : 0); i++) {
    operation op;
    make_op(w->seed, 0, i, &op);
    witness_sent(w, 0, i);
    int status = run_op(store, &op, &position, &error);
    witness_told(w, 0, i, status, position);
  }
  if (mf_close(store) != MF_OK) abort();
}

static int sweeps(const job *j, const char *sentence) {
  char why[768] = "";
  size_t faults = 0;
  bool fine = true;
  for (fault_kind kind = FAULT_NONE + 1; fine && kind < FAULT_KINDS; kind++)
    for (int lasting = 0; fine && lasting < 2; lasting++)
      fine = fault_sweep(operation_round, j, (size_t)rounds * 12, kind, lasting, &faults, why,
                         sizeof why);
  int failures = tell(fine && faults > 0, sentence, fine ? "no call failed" : why);
  printf("# %zu faults\n", faults);
  return failures;
}

int operations(void) {
  int failures = 0;
  for (size_t i = 0; i <= sizeof wholes / sizeof *wholes; i++) {
    const whole *what = i < sizeof wholes / sizeof *wholes ? &wholes[i] : NULL;
    char model[256], sentence[160];
    witness w = {.seed = seed + i};
    fresh_store(model);
    make_model(model, what ? &w : NULL, is_tamper_evident(w.seed));
    job j = {what, model, &w};
    if (what)
      snprintf(sentence, sizeof sentence,
               "%s that fails leaves the store as it was, and no half file", what->name);
    else
      snprintf(sentence, sizeof sentence,
               "code, snapshots and commands are kept whole or not at all, whatever fails");
    failures += sweeps(&j, sentence);
    remove_store(model);
    witness_free(&w);
  }
  return failures;
}
