/*
 * Specs of verify: files that were changed by somebody who knows the format, so that every
 * checksum is right. Prints TAP.
 */
#include "check.h"
#include "../store/internal.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[300], older[320];

static mf_bytes bytes(const char *text) {
  return (mf_bytes){text, strlen(text)};
}

static void die(const char *what) {
  printf("# %s\n", what);
  exit(2);
}

static void append(mf_store *store, int from, int to) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_error error;
  char id[32], data[32];
  for (int i = from; i <= to; i++) {
    snprintf(id, sizeof id, "id-%d", i);
    snprintf(data, sizeof data, "%d of them", i % 10);
    mf_new_event event = {.type = bytes("Counted"), .data = bytes(data), .message_id = bytes(id)};
    options.recorded_at = i;
    if (mf_append_to_stream(store, bytes(i % 2 ? "odd" : "even"), &event, 1, &options, NULL,
                            &error) != MF_OK)
      die(error.message);
  }
}

static void make(bool tamper_evident) {
  mf_open_options options = {
      .size = sizeof options, .durability = MF_NONE, .tamper_evident = tamper_evident};
  mf_store *store;
  mf_error error;
  unlink(path);
  unlink(older);
  if (mf_open(path, &options, &store, &error) != MF_OK) die(error.message);
  append(store, 1, 20);
  if (mf_backup(store, older, &error) != MF_OK) die(error.message);
  append(store, 21, 40);
  mf_close(store);
}

/* ---- the forger, who goes through LMDB ---- */

static MDB_txn *begin(MDB_env **env) {
  MDB_txn *txn;
  mdb_env_create(env);
  mdb_env_set_maxdbs(*env, 16);
  if (mdb_env_open(*env, path, MDB_NOSUBDIR, 0666) != 0) die("lmdb");
  if (mdb_txn_begin(*env, NULL, 0, &txn) != 0) die("lmdb");
  return txn;
}

static void end(MDB_env *env, MDB_txn *txn) {
  if (mdb_txn_commit(txn) != 0) die("commit");
  mdb_env_close(env);
}

static uint64_t seed_of(MDB_txn *txn) {
  MDB_dbi main;
  MDB_val key = {8, (char[]){"moonfold"}}, value;
  mf__store_record record;
  if (mdb_dbi_open(txn, NULL, 0, &main) != 0 || mdb_get(txn, main, &key, &value) != 0 ||
      !mf__store_record_read(mf__bytes(value.mv_data, value.mv_size), &record))
    die("the store's record");
  return record.seed;
}

/* Writes other data into an event that was appended alone, and the checksum that belongs to it. */
static void rewrite(uint64_t position) {
  static uint8_t copy[65536];
  MDB_env *env;
  MDB_dbi log;
  MDB_cursor *cursor;
  MDB_val key, value;
  MDB_txn *txn = begin(&env);
  uint64_t seed = seed_of(txn);
  if (mdb_dbi_open(txn, "log", MDB_INTEGERKEY, &log) != 0) die("log");
  mdb_cursor_open(txn, log, &cursor);
  while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
    mf__block block;
    mf_bytes slice;
    mf__record record;
    uint64_t first = mf__u64_read(key.mv_data);
    memcpy(copy, value.mv_data, value.mv_size);
    if (!mf__block_parse(first, mf__bytes(copy, value.mv_size), &block)) die("a block");
    if (position < first || position >= first + block.count) continue;
    uint32_t i = (uint32_t)(position - first);
    if (!mf__block_slice(&block, i, i, &slice)) die("a slice");
    uint8_t *p = copy + ((const uint8_t *)slice.data - copy);
    if (!mf__record_parse(p, p + slice.size, &record)) die("an event");
    uint8_t data[32];
    memcpy(data, record.data.data, record.data.size);
    data[0] = data[0] == '9' ? '8' : '9';
    record.data.data = data;
    static uint8_t written[1024];
    mf__record_write(&record, seed, (int64_t)position, written);
    memcpy(p, written, record.size);
    value.mv_data = copy;
    if (mdb_cursor_put(cursor, &key, &value, MDB_CURRENT) != 0) die("put");
    break;
  }
  mdb_cursor_close(cursor);
  end(env, txn);
}

static void forget_id(const char *id) {
  MDB_env *env;
  MDB_dbi ids;
  MDB_txn *txn = begin(&env);
  char text[40];
  snprintf(text, sizeof text, "m%s", id);
  MDB_val key = {strlen(text), text};
  if (mdb_dbi_open(txn, "ids", 0, &ids) != 0 || mdb_del(txn, ids, &key, NULL) != 0) die("ids");
  end(env, txn);
}

/* ---- what verify tells ---- */

static char told[4096];
static int64_t positions[16];
static size_t count;

static void on_problem(void *context, const mf_problem *problem) {
  (void)context;
  size_t used = strlen(told);
  snprintf(told + used, sizeof told - used, "%s: %s\n", mf_part_name(problem->part),
           problem->message);
  if (count < 16) positions[count] = problem->position;
  count++;
}

static int verify(const char *file, const uint8_t *link, int64_t position,
                  mf_verify_report *report) {
  mf_verify_options options = {sizeof options, NULL, on_problem, NULL, link, position};
  told[0] = '\0';
  count = 0;
  return mf_verify(file, &options, report, NULL);
}

static void check_rewriting(void) {
  mf_verify_report report, after;
  make(true);
  check(verify(path, NULL, 0, &report) == MF_OK, "a store that nobody has forged is sound");
  rewrite(17);
  check(verify(path, NULL, 0, &after) == MF_CORRUPT && after.problems[MF_PART_CHAIN] == 1 &&
            count == 1 && positions[0] == 17,
        "an event that was rewritten with its checksum is found by the chain, at its position");
  check(verify(older, report.link, 40, &after) == MF_CORRUPT &&
            after.problems[MF_PART_CHAIN] == 1 && after.events == 20,
        "a history that was cut off is found by the link that was written down");
  check(verify(older, NULL, 0, &after) == MF_OK,
        "which nothing else can tell: it is as it was when it was shorter");
  make(false);
  rewrite(17);
  check(verify(path, NULL, 0, &after) == MF_OK,
        "without a chain a forger is not found: checksums find accidents");
}

static void check_ids(void) {
  mf_verify_report report;
  make(false);
  forget_id("id-7");
  check(verify(path, NULL, 0, &report) == MF_CORRUPT && report.problems[MF_PART_IDS] == 2 &&
            positions[1] == 7 && strstr(told, "\"id-7\" (version 4 of stream number 1)"),
        "an id that its index has lost is named, with its position, stream and version");
  make(false);
  rewrite(17);
  for (int i = 1; i <= 20; i++) {
    char id[32];
    snprintf(id, sizeof id, "id-%d", i);
    forget_id(id);
  }
  check(verify(path, NULL, 0, &report) == MF_CORRUPT && report.problems[MF_PART_IDS] == 6 &&
            strstr(told, "40 message ids and 0 command ids, their index 20 and 0"),
        "of many the first are named, and all are counted");
}

static int snapshot(bool put) {
  static const uint8_t digest[MF_DIGEST_SIZE] = {1};
  mf_store *store;
  mf_txn *txn;
  mf_snapshot found;
  mf_error error;
  if (mf_open(path, NULL, &store, &error) != MF_OK) die(error.message);
  if (put && (mf_begin(store, &txn, &error) != MF_OK ||
              mf_put_snapshot(txn, bytes("odd"), digest, 9, bytes("nine"), &error) != MF_OK ||
              mf_commit(txn, &error) != MF_OK))
    die(error.message);
  int status = mf_find_snapshot(store, NULL, bytes("odd"), digest, INT64_MAX, &found, &error);
  mf_close(store);
  return status;
}

static void check_snapshots(void) {
  make(false);
  bool fine = snapshot(true) == MF_OK;
  rewrite(19);
  fine = fine && snapshot(false) == MF_OK;
  rewrite(17); /* the ninth event of the stream */
  check(fine && snapshot(false) == MF_DONE,
        "a snapshot is missing where another event stands than the one that it was taken at");
}

int main(void) {
  char folder[] = "/tmp/moonfold-forged-XXXXXX", lock[340];
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/store.fold", folder);
  snprintf(older, sizeof older, "%s/older.fold", folder);
  check_rewriting();
  check_ids();
  check_snapshots();
  unlink(path);
  unlink(older);
  snprintf(lock, sizeof lock, "%s-lock", path);
  unlink(lock);
  snprintf(lock, sizeof lock, "%s-lock", older);
  unlink(lock);
  rmdir(folder);
  return failures > 0;
}
