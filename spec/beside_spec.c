/* Specs of what stands beside the log: code, snapshots, kept commands. Prints TAP. */
#include "check.h"
#include "../store/internal.h"

#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[300];

static mf_bytes bytes(const char *text) {
  return (mf_bytes){text, strlen(text)};
}

static int is(mf_bytes b, const char *text) {
  return b.size == strlen(text) && memcmp(b.data, text, b.size) == 0;
}

static void fresh_path(const char *folder) {
  static int files;
  snprintf(path, sizeof path, "%s/%d.fold", folder, files++);
}

static mf_store *open_or_die(const char *where) {
  mf_store *store;
  mf_error error;
  mf_open_options options = {.size = sizeof options, .durability = MF_NONE};
  if (mf_open(where, &options, &store, &error) != MF_OK) {
    printf("# %s\n", error.message);
    exit(2);
  }
  return store;
}

static mf_txn *begin(mf_store *store) {
  mf_txn *txn;
  if (mf_begin(store, &txn, NULL) != MF_OK) exit(2);
  return txn;
}

static int append(mf_txn *txn, const char *stream, int count) {
  mf_new_event event = {bytes("Done"), bytes("x"), {NULL, 0}, {NULL, 0}};
  int fine = 1;
  for (int i = 0; i < count; i++)
    fine = fine && mf_append(txn, bytes(stream), &event, 1, NULL, NULL, NULL) == MF_OK;
  return fine;
}

/* A digest that is told by one byte. */
static const uint8_t *digest(int i) {
  static uint8_t digests[256][MF_DIGEST_SIZE];
  memset(digests[i], i, MF_DIGEST_SIZE);
  return digests[i];
}

/* ---- code ---- */

static int has_code(mf_store *store, mf_txn *txn, int d, const char *code) {
  mf_code_record record;
  if (mf_find_code(store, txn, digest(d), &record, NULL) != MF_OK) return 0;
  int fine = is(record.code, code) && record.first_seen > 0 &&
             memcmp(record.digest, digest(d), MF_DIGEST_SIZE) == 0;
  mf_free(record.code);
  return fine;
}

static void code_is_kept_once(mf_store *store) {
  bool committed;
  mf_txn *txn = begin(store);
  int fine = mf_put_code(txn, digest(1), bytes("one"), &committed, NULL) == MF_OK && !committed;
  fine = fine && has_code(store, txn, 1, "one") && !has_code(store, NULL, 1, "one");
  mf_savepoint before = mf_save(txn);
  fine = fine && mf_put_code(txn, digest(2), bytes("two"), NULL, NULL) == MF_OK;
  mf_rollback(txn, before);
  fine = fine && !has_code(store, txn, 2, "two") && mf_commit(txn, NULL) == MF_OK;
  txn = begin(store);
  fine =
      fine && mf_put_code(txn, digest(1), bytes("other"), &committed, NULL) == MF_OK && committed;
  fine = fine && mf_put_code(txn, digest(3), bytes("three"), &committed, NULL) == MF_OK;
  mf_abort(txn);
  fine = fine && has_code(store, NULL, 1, "one") && !has_code(store, NULL, 2, "two") &&
         !has_code(store, NULL, 3, "three");
  check(fine,
        "code is kept once, with its transaction, and not when that is rolled back or aborted");
}

static void code_is_listed(mf_store *store) {
  mf_code_record record;
  mf_txn *txn = begin(store);
  int count = 0, fine = mf_put_code(txn, digest(9), bytes(""), NULL, NULL) == MF_OK;
  fine = fine && mf_put_code(txn, digest(5), bytes("five"), NULL, NULL) == MF_OK;
  fine = fine && mf_commit(txn, NULL) == MF_OK;
  uint8_t after[MF_DIGEST_SIZE];
  char seen[8] = "";
  while (mf_next_code(store, count ? after : NULL, &record, NULL) == MF_OK && count < 7) {
    memcpy(after, record.digest, sizeof after);
    seen[count++] = (char)('0' + record.digest[0]);
    mf_free(record.code);
  }
  check(fine && strcmp(seen, "159") == 0, "code is listed in the order of its digests");
}

/* ---- snapshots ---- */

/* The version of the newest snapshot at `most` or before; 0: none. */
static int64_t found_at(mf_store *store, mf_txn *txn, const char *stream, int d, int64_t most) {
  mf_snapshot snapshot;
  char state[32];
  if (mf_find_snapshot(store, txn, bytes(stream), digest(d), most, &snapshot, NULL) != MF_OK)
    return 0;
  snprintf(state, sizeof state, "state of %d at %d", d, (int)snapshot.version);
  int fine = is(snapshot.state, state);
  mf_free(snapshot.state);
  return fine ? snapshot.version : -1;
}

static int put(mf_txn *txn, const char *stream, int d, int64_t version) {
  char state[32];
  snprintf(state, sizeof state, "state of %d at %d", d, (int)version);
  return mf_put_snapshot(txn, bytes(stream), digest(d), version, bytes(state), NULL);
}

static void snapshots_are_found(mf_store *store) {
  mf_txn *txn = begin(store);
  int fine = append(txn, "a", 10) && put(txn, "a", 1, 4) == MF_OK;
  fine = fine && found_at(store, txn, "a", 1, MF_LAST) == 4 && found_at(store, txn, "a", 1, 3) == 0;
  fine = fine && found_at(store, NULL, "a", 1, MF_LAST) == 0 && mf_commit(txn, NULL) == MF_OK;
  fine = fine && found_at(store, NULL, "a", 1, 4) == 4 && found_at(store, NULL, "a", 2, 10) == 0 &&
         found_at(store, NULL, "b", 1, 10) == 0;
  check(fine, "a snapshot is found by stream, digest and version, as soon as its transaction says");
  txn = begin(store);
  fine = put(txn, "a", 1, 8) == MF_OK && found_at(store, txn, "a", 1, 7) == 4;
  mf_savepoint before = mf_save(txn);
  fine = fine && put(txn, "a", 1, 9) == MF_OK && found_at(store, txn, "a", 1, MF_LAST) == 9;
  mf_rollback(txn, before);
  fine = fine && found_at(store, txn, "a", 1, MF_LAST) == 8 && mf_commit(txn, NULL) == MF_OK;
  fine =
      fine && found_at(store, NULL, "a", 1, MF_LAST) == 8 && found_at(store, NULL, "a", 1, 7) == 0;
  check(fine, "a newer one of the same digest takes its place");
  txn = begin(store);
  fine = put(txn, "a", 1, 7) == MF_DONE && put(txn, "a", 1, 10) == MF_OK &&
         put(txn, "a", 1, 9) == MF_DONE && put(txn, "a", 2, 9) == MF_OK;
  fine = fine && mf_commit(txn, NULL) == MF_OK;
  fine = fine && found_at(store, NULL, "a", 1, MF_LAST) == 10 &&
         found_at(store, NULL, "a", 2, MF_LAST) == 9;
  check(fine, "an older one does not, whether the newer one is committed already or not");
  txn = begin(store);
  fine = put(txn, "a", 1, 11) == MF_INVALID_ARGUMENT &&
         put(txn, "a", 1, 0) == MF_INVALID_ARGUMENT &&
         put(txn, "none", 1, 1) == MF_INVALID_ARGUMENT;
  mf_abort(txn);
  check(fine, "a version that the stream does not have has no snapshot");
}

static void few_digests_stay(mf_store *store) {
  int fine = 1;
  for (int d = 10; d < 16; d++) {
    mf_txn *txn = begin(store);
    fine = fine && (d > 10 || append(txn, "few", 3)) && put(txn, "few", d, 3) == MF_OK &&
           mf_commit(txn, NULL) == MF_OK;
    usleep(2);
  }
  int kept = 0;
  for (int d = 10; d < 16; d++)
    kept += found_at(store, NULL, "few", d, 3) == 3;
  fine = fine && kept == MF_SNAPSHOTS_KEPT && found_at(store, NULL, "few", 15, 3) == 3 &&
         found_at(store, NULL, "few", 10, 3) == 0;
  check(fine, "a stream keeps the snapshots of the digests that were used last");
}

static void snapshots_are_dropped(mf_store *store) {
  int64_t count;
  int fine = mf_drop_snapshots(store, digest(15), &count, NULL) == MF_OK && count == 1;
  fine =
      fine && found_at(store, NULL, "few", 15, 3) == 0 && found_at(store, NULL, "few", 14, 3) == 3;
  fine = fine && mf_drop_snapshots(store, digest(15), &count, NULL) == MF_OK && count == 0;
  fine = fine && mf_drop_snapshots(store, NULL, &count, NULL) == MF_OK && count > 1;
  mf_beside_stats stats;
  fine = fine && mf_beside(store, &stats, NULL) == MF_OK && stats.snapshots == 0 && stats.codes > 0;
  check(fine, "snapshots are dropped by digest, or all of them");
}

static void long_streams_have_snapshots(mf_store *store) {
  enum { STREAMS = 5, EVENTS = 3000 };
  mf_txn *txn = NULL;
  char names[STREAMS][20];
  int fine = 1;
  for (int s = 0; s < STREAMS; s++)
    snprintf(names[s], sizeof names[s], "long-%d", s);
  for (int i = 0; i < STREAMS * EVENTS; i++) {
    if (i % 700 == 0) txn = begin(store);
    fine = fine && append(txn, names[i % STREAMS], 1);
    if (i % 700 == 699) fine = fine && mf_commit(txn, NULL) == MF_OK;
    if (i % 700 == 699) txn = NULL;
  }
  if (txn) fine = fine && mf_commit(txn, NULL) == MF_OK;
  for (int64_t version = 1; version <= EVENTS; version += 7) {
    txn = begin(store);
    const char *stream = names[version % STREAMS];
    fine = fine && put(txn, stream, 7, version) == MF_OK && mf_commit(txn, NULL) == MF_OK;
    fine = fine && found_at(store, NULL, stream, 7, version) == version;
  }
  check(fine, "every version of a stream whose postings fill many chunks can have a snapshot");
}

/* ---- kept commands ---- */

static int keep(mf_txn *txn, int64_t time, const char *stream, const char *command) {
  mf_kept_command kept = {time, bytes(stream), bytes(command)};
  return mf_keep_command(txn, &kept, NULL);
}

/* All kept commands as text: "1 a one; 2 b two; ". */
static char *listed(mf_store *store, int64_t since, const char *prefix) {
  static char text[65536];
  mf_commands *commands;
  mf_kept_command c;
  size_t used = 0;
  text[0] = '\0';
  if (mf_commands_open(store, since, bytes(prefix), &commands, NULL) != MF_OK) return text;
  while (mf_commands_next(commands, &c, NULL) == MF_OK && used < sizeof text - 100)
    used += (size_t)snprintf(text + used, 100, "%d %.*s %.*s; ", (int)c.time, (int)c.stream.size,
                             (const char *)c.stream.data, (int)c.command.size,
                             (const char *)c.command.data);
  mf_commands_close(commands);
  return text;
}

static void commands_are_kept(mf_store *store) {
  mf_txn *txn = begin(store);
  int fine = keep(txn, 3, "b", "three") == MF_OK && keep(txn, -1, "a", "before") == MF_OK;
  mf_savepoint before = mf_save(txn);
  fine = fine && keep(txn, 4, "a", "undone") == MF_OK;
  mf_rollback(txn, before);
  fine = fine && keep(txn, 3, "a", "again") == MF_OK && mf_commit(txn, NULL) == MF_OK;
  txn = begin(store);
  fine = fine && keep(txn, 2, "ab", "two") == MF_OK && mf_commit(txn, NULL) == MF_OK;
  txn = begin(store);
  fine = fine && keep(txn, 9, "a", "aborted") == MF_OK;
  mf_abort(txn);
  const char *all = "-1 a before; 2 ab two; 3 b three; 3 a again; ";
  fine = fine && strcmp(listed(store, INT64_MIN, ""), all) == 0;
  check(fine, "commands are kept with their transaction, in the order of their time");
  fine = strcmp(listed(store, 3, ""), "3 b three; 3 a again; ") == 0 &&
         strcmp(listed(store, INT64_MIN, "a"), "-1 a before; 2 ab two; 3 a again; ") == 0 &&
         strcmp(listed(store, 2, "ab"), "2 ab two; ") == 0 && strcmp(listed(store, 4, ""), "") == 0;
  check(fine, "they are listed from a time on, and by the beginning of their stream's name");
}

static void commands_are_bounded(mf_store *store) {
  int fine = 1;
  mf_beside_stats stats;
  for (int i = 0; i < 3000; i++) {
    mf_txn *txn = begin(store);
    fine = fine && keep(txn, 100 + i, "bounded", "x") == MF_OK;
    mf_bound_commands(txn, 1000, INT64_MIN);
    fine = fine && mf_commit(txn, NULL) == MF_OK;
  }
  fine = fine && mf_beside(store, &stats, NULL) == MF_OK && stats.commands == 1000;
  check(fine, "at most so many commands are kept as the bound says, and the oldest go");
  for (int i = 0; i < 200; i++) {
    mf_txn *txn = begin(store);
    fine = fine && keep(txn, 4000 + i, "bounded", "y") == MF_OK;
    mf_bound_commands(txn, -1, 4000);
    fine = fine && mf_commit(txn, NULL) == MF_OK;
  }
  fine = fine && mf_beside(store, &stats, NULL) == MF_OK && stats.commands == 200;
  check(fine, "none is kept that is older than the bound, step by step");
  mf_commands *commands;
  mf_kept_command c;
  int count = 0;
  fine = mf_commands_open(store, INT64_MIN, bytes(""), &commands, NULL) == MF_OK;
  while (mf_commands_next(commands, &c, NULL) == MF_OK && count < 1000) {
    mf_txn *txn = begin(store);
    fine =
        fine && keep(txn, 5000 + count++, "bounded", "z") == MF_OK && mf_commit(txn, NULL) == MF_OK;
  }
  mf_commands_close(commands);
  check(fine && count == 200, "a listing ends where the commands ended when it was made");
}

/* ---- decisions ---- */

static void events_know_their_decision(mf_store *store) {
  mf_new_event events[2] = {{bytes("A"), bytes("1"), {NULL, 0}, {NULL, 0}},
                            {bytes("B"), bytes("2"), {NULL, 0}, {NULL, 0}}};
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_read_options read = MF_READ_OPTIONS_INIT;
  mf_reader *reader = NULL;
  mf_event event;
  options.code = (mf_bytes){digest(3), MF_DIGEST_SIZE};
  options.reads = bytes("what it read");
  options.seed = bytes("seed");
  options.command_id = bytes("c-1");
  options.extension = bytes("extension");
  int fine = mf_append_to_stream(store, bytes("decided"), events, 2, &options, NULL, NULL) == MF_OK;
  read.stream = bytes("decided");
  fine = fine && mf_reader_open(store, NULL, &read, &reader, NULL) == MF_OK;
  fine = fine && mf_reader_next(reader, &event, NULL) == MF_OK;
  mf_bytes code = mf_event_decision(&event, MF_DECISION_CODE);
  fine = fine && code.size == MF_DIGEST_SIZE && memcmp(code.data, digest(3), MF_DIGEST_SIZE) == 0;
  fine = fine && is(mf_event_decision(&event, MF_DECISION_READS), "what it read") &&
         is(mf_event_decision(&event, MF_DECISION_SEED), "seed") &&
         is(event.extension, "extension");
  fine = fine && mf_reader_next(reader, &event, NULL) == MF_OK;
  code = mf_event_decision(&event, MF_DECISION_CODE);
  fine = fine && code.size == MF_DIGEST_SIZE && memcmp(code.data, digest(3), MF_DIGEST_SIZE) == 0;
  fine = fine && !mf_event_decision(&event, MF_DECISION_READS).data && !event.extension.data;
  mf_reader_close(reader);
  check(fine, "every event tells the code that decided it, the first of an append what that read");
  options.code = bytes("short");
  options.command_id = (mf_bytes){NULL, 0};
  fine = mf_append_to_stream(store, bytes("decided"), events, 2, &options, NULL, NULL) ==
         MF_INVALID_ARGUMENT;
  check(fine, "a digest of another size is refused");
}

/* ---- elsewhere ---- */

static int in_child(mf_store *store, mf_txn *txn) {
  mf_commands *commands;
  mf_snapshot snapshot;
  mf_code_record record;
  return mf_put_code(txn, digest(1), bytes("x"), NULL, NULL) == MF_CLOSED &&
         mf_find_code(store, NULL, digest(1), &record, NULL) == MF_CLOSED &&
         mf_find_snapshot(store, NULL, bytes("a"), digest(1), 1, &snapshot, NULL) == MF_CLOSED &&
         mf_commands_open(store, 0, bytes(""), &commands, NULL) == MF_CLOSED &&
         keep(txn, 1, "a", "x") == MF_CLOSED;
}

static void a_fork_has_none(mf_store *store) {
  int status = -1;
  mf_txn *txn = begin(store);
  pid_t child = fork();
  if (child == 0) _exit(in_child(store, txn) ? 0 : 1);
  int fine = waitpid(child, &status, 0) == child && status == 0;
  mf_abort(txn);
  check(fine, "after fork every call in the child is refused");
}

static void a_read_transaction_keeps_nothing(mf_store *store) {
  mf_txn *txn;
  int fine = mf_begin_read(store, &txn, NULL) == MF_OK && append(txn, "dream", 2) &&
             put(txn, "dream", 1, 2) == MF_OK && found_at(store, txn, "dream", 1, 2) == 2;
  fine = fine && mf_put_code(txn, digest(77), bytes("dream"), NULL, NULL) == MF_OK;
  fine = fine && keep(txn, 99999, "dream", "x") == MF_OK && mf_commit(txn, NULL) == MF_READ_ONLY;
  fine = fine && !has_code(store, NULL, 77, "dream") && found_at(store, NULL, "dream", 1, 2) == 0;
  check(fine, "what a look ahead keeps is seen in it, and never recorded");
}

static void another_thread_is_not_waited_for(mf_store *store) {
  mf_txn *txn, *second;
  int fine = mf_try_begin(store, &txn, NULL) == MF_OK;
  mf_relax(txn);
  fine = fine && mf_try_begin(store, &second, NULL) == MF_BUSY && append(txn, "relaxed", 1) &&
         mf_commit(txn, NULL) == MF_OK;
  check(fine, "a transaction that waits for nobody begins or is refused");
}

/* Files: reopened, read-only, backed up, old, damaged. */

static void it_is_there_again(const char *folder) {
  char copy[400];
  mf_store *store = open_or_die(path);
  mf_txn *txn = begin(store);
  int fine = append(txn, "again", 2) && put(txn, "again", 1, 2) == MF_OK &&
             keep(txn, 1, "again", "x") == MF_OK &&
             mf_put_code(txn, digest(1), bytes("one"), NULL, NULL) == MF_OK &&
             mf_commit(txn, NULL) == MF_OK;
  snprintf(copy, sizeof copy, "%s/copy.fold", folder);
  fine = fine && mf_backup(store, copy, NULL) == MF_OK && mf_close(store) == MF_OK;
  mf_open_options options = {.size = sizeof options, .read_only = true};
  const char *files[] = {path, copy};
  for (int i = 0; i < 2; i++) {
    fine = fine && mf_open(files[i], &options, &store, NULL) == MF_OK;
    fine = fine && found_at(store, NULL, "again", 1, 2) == 2 && has_code(store, NULL, 1, "one") &&
           strcmp(listed(store, 0, ""), "1 again x; ") == 0;
    mf_close(store);
  }
  check(fine, "it is there in a store opened again for reading only, and in a backup");
}

static int drop_databases(const char *file) {
  static const char *const names[] = {"code", "snapshots", "commands"};
  MDB_env *env;
  MDB_txn *txn;
  MDB_dbi dbi;
  int rc = mdb_env_create(&env);
  mdb_env_set_maxdbs(env, 16);
  if (rc == 0) rc = mdb_env_open(env, file, MDB_NOSUBDIR, 0666);
  if (rc == 0) rc = mdb_txn_begin(env, NULL, 0, &txn);
  for (int i = 0; rc == 0 && i < 3; i++) {
    rc = mdb_dbi_open(txn, names[i], 0, &dbi);
    if (rc == 0) rc = mdb_drop(txn, dbi, 1);
  }
  if (rc == 0) rc = mdb_txn_commit(txn);
  mdb_env_close(env);
  return rc;
}

static void an_old_file_gets_it(void) {
  mf_store *reading = NULL, *store;
  mf_beside_stats stats;
  int fine = drop_databases(path) == 0;
  mf_open_options options = {.size = sizeof options, .read_only = true};
  fine = fine && mf_open(path, &options, &reading, NULL) == MF_OK;
  fine = fine && found_at(reading, NULL, "again", 1, 2) == 0 &&
         !has_code(reading, NULL, 1, "one") && strcmp(listed(reading, 0, ""), "") == 0 &&
         mf_beside(reading, &stats, NULL) == MF_OK;
  check(fine, "a file of an older version has nothing beside its log, and can be read");
  store = open_or_die(path);
  mf_txn *txn = begin(store);
  fine = put(txn, "again", 1, 2) == MF_OK && mf_commit(txn, NULL) == MF_OK;
  fine = fine && found_at(store, NULL, "again", 1, 2) == 2 &&
         found_at(reading, NULL, "again", 1, 2) == 2;
  mf_close(reading);
  mf_close(store);
  store = open_or_die(path);
  fine = fine && found_at(store, NULL, "again", 1, 2) == 2;
  mf_close(store);
  check(fine, "the first transaction that writes makes room for it");
}

/* Changes one byte of the text wherever it stands in the file. */
static int damage(const char *text) {
  static uint8_t content[1 << 20];
  int fd = open(path, O_RDWR), found = 0;
  ssize_t size = read(fd, content, sizeof content);
  for (ssize_t i = 0; i + (ssize_t)strlen(text) <= size; i++)
    if (memcmp(content + i, text, strlen(text)) == 0) {
      found += pwrite(fd, "#", 1, i) == 1;
    }
  close(fd);
  return found;
}

static void damage_makes_it_missing(void) {
  int fine = damage("state of 1 at 2") > 0;
  mf_store *store = open_or_die(path);
  fine = fine && found_at(store, NULL, "again", 1, 2) == 0;
  mf_txn *txn = begin(store);
  fine = fine && put(txn, "again", 1, 2) == MF_OK && mf_commit(txn, NULL) == MF_OK &&
         found_at(store, NULL, "again", 1, 2) == 2;
  mf_close(store);
  check(fine, "a damaged snapshot is missing, and a new one takes its place");
}

/* ---- values that only another program can have written ---- */

/* Puts a value, sealed, past everything that looks at it. */
static int put_odd(mf_store *store, int kind, mf_bytes key, mf_bytes value) {
  uint8_t sealed[64];
  mf_txn *txn = begin(store);
  memcpy(sealed, value.data, value.size);
  mf__seal(sealed, value.size, key,
           mf__seal_seed(txn->view.env->record.seed, MF__IN_BESIDE + kind));
  MDB_val db_key = {key.size, (void *)(uintptr_t)key.data};
  MDB_val db_value = {value.size + MF__SEAL, sealed};
  txn->dropped = true;
  int rc = mdb_put(txn->view.db, txn->view.env->beside[kind], &db_key, &db_value, 0);
  return mf_commit(txn, NULL) == MF_OK && rc == 0;
}

/* What comes of listing all commands: MF_DONE, or what is wrong. */
static int list_commands(mf_store *store, int64_t *last) {
  mf_commands *commands;
  mf_kept_command kept;
  int status;
  if (mf_commands_open(store, INT64_MIN, bytes(""), &commands, NULL) != MF_OK) return MF_IO;
  while ((status = mf_commands_next(commands, &kept, NULL)) == MF_OK)
    *last = kept.time;
  mf_commands_close(commands);
  return status;
}

static void odd_code_is_corrupt(void) {
  mf_store *store = open_or_die(":memory:");
  mf_code_record record;
  int fine = put_odd(store, MF__CODE, mf__bytes(digest(1), MF_DIGEST_SIZE), bytes("short")) &&
             mf_find_code(store, NULL, digest(1), &record, NULL) == MF_CORRUPT &&
             mf_next_code(store, NULL, &record, NULL) == MF_CORRUPT;
  check(fine, "code that is too short to be any is corrupt, and no lack of memory");
  mf_close(store);
}

static void odd_commands_are_corrupt(void) {
  int64_t last;
  mf_store *store = open_or_die(":memory:");
  int fine = put_odd(store, MF__COMMANDS, bytes("0123456789abcdef"), mf__bytes("\0", 1)) &&
             list_commands(store, &last) == MF_CORRUPT;
  check(fine, "a kept command that names no stream is corrupt");
  mf_close(store);
}

static void no_command_has_no_time(void) {
  int64_t last = 0;
  mf_store *store = open_or_die(":memory:");
  mf_txn *txn = begin(store);
  mf_kept_command kept = {MF_NOW, bytes("a"), bytes("command")};
  int fine = mf_keep_command(txn, &kept, NULL) == MF_OK && mf_commit(txn, NULL) == MF_OK &&
             list_commands(store, &last) == MF_DONE && last > 0;
  check(fine, "a command that is kept at MF_NOW is kept at the time of the clock");
  mf_close(store);
}

int main(void) {
  char folder[] = "/tmp/moonfold-spec-XXXXXX", command[300];
  if (!mkdtemp(folder)) return 2;
  for (int i = 0; i < 2; i++) {
    fresh_path(folder);
    printf("# in %s\n", i == 0 ? "a file" : "memory");
    mf_store *store = open_or_die(i == 0 ? path : ":memory:");
    code_is_kept_once(store);
    code_is_listed(store);
    snapshots_are_found(store);
    few_digests_stay(store);
    snapshots_are_dropped(store);
    long_streams_have_snapshots(store);
    commands_are_kept(store);
    commands_are_bounded(store);
    events_know_their_decision(store);
    a_fork_has_none(store);
    a_read_transaction_keeps_nothing(store);
    another_thread_is_not_waited_for(store);
    mf_close(store);
  }
  fresh_path(folder);
  it_is_there_again(folder);
  an_old_file_gets_it();
  damage_makes_it_missing();
  odd_code_is_corrupt();
  odd_commands_are_corrupt();
  no_command_has_no_time();
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) return 2;
  printf("1..%d\n", number);
  return failures != 0;
}
