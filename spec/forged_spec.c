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

/* Two streams by turns, in one commit. */
static void make_long(int events) {
  mf_open_options options = {.size = sizeof options, .durability = MF_NONE};
  mf_new_event event = {.type = bytes("Counted")};
  mf_store *store;
  mf_txn *txn;
  mf_error error;
  unlink(path);
  if (mf_open(path, &options, &store, &error) != MF_OK || mf_begin(store, &txn, &error) != MF_OK)
    die(error.message);
  for (int i = 1; i <= events; i++)
    if (mf_append(txn, bytes(i % 2 ? "odd" : "even"), &event, 1, NULL, NULL, &error) != MF_OK)
      die(error.message);
  if (mf_commit(txn, &error) != MF_OK) die(error.message);
  mf_close(store);
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

/* The index of a stream's events as a list: the position of version v is in list[v - 1]. */
enum { VERSIONS_MOST = 20000 };
static uint64_t list[VERSIONS_MOST + 1];
static size_t listed;

typedef struct index {
  MDB_env *env;
  MDB_txn *txn;
  MDB_dbi streams, postings;
  uint64_t seed;
  mf_bytes name;
  mf__head head;
} stream_index;

static void list_runs(mf_bytes runs, uint64_t *position) {
  const uint8_t *p = runs.data, *limit = p + runs.size;
  uint64_t gap, length;
  while (p < limit) {
    if (!(p = mf__varint_read(p, limit, &gap)) || !(p = mf__varint_read(p, limit, &length)))
      die("runs");
    for (*position += gap; length > 0 && listed <= VERSIONS_MOST; length--)
      list[listed++] = ++*position;
  }
}

static void chunk_key(const stream_index *index, uint64_t version, uint8_t key[16]) {
  mf__be64_write(key, index->head.id);
  mf__be64_write(key + 8, version);
}

static mf_bytes get_sealed(const stream_index *index, MDB_dbi dbi, int database, MDB_val key) {
  MDB_val found;
  if (mdb_get(index->txn, dbi, &key, &found) != 0) return mf__bytes(NULL, 0);
  mf_bytes value = mf__bytes(found.mv_data, found.mv_size);
  if (!mf__unseal(&value, mf__bytes(key.mv_data, key.mv_size),
                  mf__seal_seed(index->seed, database)))
    die("a seal");
  return value;
}

/* `value` has room for the seal. */
static void put_sealed(const stream_index *index, MDB_dbi dbi, int database, MDB_val key,
                       uint8_t *value, size_t size) {
  MDB_val data = {size + MF__SEAL, value};
  mf__seal(value, size, mf__bytes(key.mv_data, key.mv_size), mf__seal_seed(index->seed, database));
  if (mdb_put(index->txn, dbi, &key, &data, 0) != 0) die("put");
}

static mf_bytes read_chunk(const stream_index *index, uint64_t version, uint64_t *base) {
  uint8_t key[16];
  chunk_key(index, version, key);
  mf_bytes value = get_sealed(index, index->postings, MF__IN_POSTINGS, (MDB_val){sizeof key, key});
  if (!value.data) die("a chunk");
  const uint8_t *p = mf__varint_read(value.data, (const uint8_t *)value.data + value.size, base);
  return mf__bytes(p, value.size - (size_t)(p - (const uint8_t *)value.data));
}

static void drop_chunk(const stream_index *index, uint64_t version) {
  uint8_t key[16];
  chunk_key(index, version, key);
  if (mdb_del(index->txn, index->postings, &(MDB_val){sizeof key, key}, NULL) != 0) die("del");
}

static void put_chunk(const stream_index *index, uint64_t version, uint64_t base, mf_bytes runs) {
  uint8_t key[16], value[2000];
  size_t size = (size_t)(mf__varint_write(value, base) - value);
  chunk_key(index, version, key);
  memcpy(value + size, runs.data, runs.size);
  put_sealed(index, index->postings, MF__IN_POSTINGS, (MDB_val){sizeof key, key}, value,
             size + runs.size);
}

static void open_index(stream_index *index, const char *name) {
  index->txn = begin(&index->env);
  index->seed = seed_of(index->txn);
  index->name = bytes(name);
  if (mdb_dbi_open(index->txn, "streams", 0, &index->streams) != 0 ||
      mdb_dbi_open(index->txn, "postings", 0, &index->postings) != 0)
    die("an index");
  mf_bytes head = get_sealed(index, index->streams, MF__IN_STREAMS,
                             (MDB_val){strlen(name), (void *)(uintptr_t)name});
  if (!head.data || !mf__head_read(head, &index->head)) die("a head");
}

/* Takes it out of the file, to the list. */
static void begin_index(stream_index *index, const char *name) {
  open_index(index, name);
  uint64_t base, position = 0;
  listed = 0;
  while (listed + 1 < index->head.chunk_version) {
    uint64_t first = listed + 1;
    list_runs(read_chunk(index, first, &base), &position);
    drop_chunk(index, first);
  }
  uint8_t last[20];
  uint8_t *end =
      mf__varint_write(mf__varint_write(last, index->head.last_gap), index->head.last_length);
  list_runs(index->head.runs, &position);
  list_runs(mf__bytes(last, (size_t)(end - last)), &position);
}

/* The runs of versions `from` to `to` - 1; returns their size. */
static size_t write_runs(uint64_t from, uint64_t to, uint8_t *out) {
  uint8_t *p = out;
  for (uint64_t v = from; v < to; v++) {
    uint64_t before = v > 1 ? list[v - 2] : 0;
    p = mf__varint_write(mf__varint_write(p, list[v - 1] - before - 1), 1);
  }
  return (size_t)(p - out);
}

/* Writes the list as the store would, chunk by chunk and the head, which all fit each other. */
static void end_index(stream_index *index) {
  enum { CHUNK = 50 };
  uint8_t runs[2000], value[2000];
  mf__head *head = &index->head;
  head->chunk_version = 1;
  while (head->chunk_version + CHUNK < listed) {
    uint64_t first = head->chunk_version;
    put_chunk(index, first, first > 1 ? list[first - 2] : 0,
              mf__bytes(runs, write_runs(first, first + CHUNK, runs)));
    head->chunk_version += CHUNK;
  }
  head->version = listed;
  head->chunk_base = head->chunk_version > 1 ? list[head->chunk_version - 2] : 0;
  head->last_position = list[listed - 1];
  head->last_gap = list[listed - 1] - (listed > 1 ? list[listed - 2] : 0) - 1;
  head->last_length = 1;
  head->runs = mf__bytes(runs, write_runs(head->chunk_version, listed, runs));
  put_sealed(index, index->streams, MF__IN_STREAMS,
             (MDB_val){index->name.size, (void *)(uintptr_t)index->name.data}, value,
             mf__head_write(head, value));
  end(index->env, index->txn);
}

/* Takes `drop` versions out of a stream's index, and puts a position there, unless it is 0. */
static void forge(const char *name, uint64_t version, size_t drop, uint64_t position) {
  stream_index index;
  begin_index(&index, name);
  uint64_t *at = list + version - 1;
  size_t put = position ? 1 : 0, behind = listed - (size_t)(version - 1) - drop;
  memmove(at + put, at + drop, behind * sizeof *at);
  if (position) *at = position;
  listed = listed + put - drop;
  end_index(&index);
}

/* ---- what verify tells ---- */

static char told[8192];
static int64_t positions[16];
static size_t count;

static void on_problem(void *context, const mf_problem *problem) {
  (void)context;
  size_t used = strlen(told);
  snprintf(told + used, sizeof told - used, "%s: %.*s%s%s\n", mf_part_name(problem->part),
           (int)problem->stream.size,
           problem->stream.size ? (const char *)problem->stream.data : "",
           problem->stream.size ? ": " : "", problem->message);
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

/* ---- the index of events ---- */

static bool tells(int64_t problems, const char *what) {
  mf_verify_report report;
  int status = verify(path, NULL, 0, &report);
  bool fine = status == (problems ? MF_CORRUPT : MF_OK) &&
              report.problems[MF_PART_STREAMS] == problems && (size_t)problems == count &&
              has(told, what);
  if (!fine) printf("# %lld problems:\n# %s", (long long)report.problems[MF_PART_STREAMS], told);
  return fine;
}

/* How many events of "odd" come back; -1: one of them is wrong, or the end is no verdict. */
static int64_t read_right(void) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_store *store;
  mf_reader *reader;
  mf_event event;
  mf_error error;
  bool fine = true;
  int64_t v = 1;
  int status;
  options.stream = bytes("odd");
  if (mf_open(path, NULL, &store, &error) != MF_OK ||
      mf_reader_open(store, NULL, &options, &reader, &error) != MF_OK)
    die(error.message);
  for (; (status = mf_reader_next(reader, &event, &error)) == MF_OK; v++)
    fine = fine && event.version == v && event.position == 2 * v - 1;
  mf_reader_close(reader);
  mf_close(store);
  return fine && (status == MF_DONE || status == MF_CORRUPT) ? v - 1 : -1;
}

/* Version v of "odd" is at position 2v - 1, of "even" at 2v. */
static void check_indexes(void) {
  make_long(400);
  forge("odd", 10, 0, 0);
  check(tells(0, "") && read_right() == 200,
        "an index that is written as the store would have done it is sound");
  forge("odd", 10, 1, 20);
  check(
      tells(1, "streams: odd: version 10 is at position 19 in the log, and at 20 in the index") &&
          positions[0] == 19,
      "a wrong position in the index of events is named, with stream, version and both positions");
  forge("odd", 10, 1, 19);
  check(tells(0, ""), "and is none any more when it was put right");
  forge("even", 199, 1, 397);
  check(tells(1, "even: version 199 is at position 398 in the log, and at 397 in the index"),
        "so is one in the head of a stream");
  make_long(400);
  forge("odd", 120, 1, 0);
  check(tells(1, "odd: version 120 is at position 239 in the log, and at 241 in the index"),
        "a run that is missing from the index makes a version differ");
  make_long(400);
  forge("odd", 200, 1, 0);
  check(tells(1, "odd: version 200 is at position 399 in the log, and missing from the index"),
        "the last one does not: its version is missing");
  make_long(400);
  forge("even", 1, 0, 1);
  check(tells(1, "even: version 1 is at position 2 in the log, and at 1 in the index"),
        "a run too much makes a version differ");
  make_long(400);
  forge("odd", 201, 0, 400);
  check(tells(1, "odd: version 201 is not in the log, and at position 400 in the index") &&
            positions[0] == 0,
        "at the end it is a version that the log does not have");
  make_long(400);
  forge("odd", 77, 1, 154);
  forge("even", 77, 1, 153);
  check(tells(2, "odd: version 77 is at position 153 in the log, and at 154 in the index") &&
            has(told, "even: version 77 is at position 154 in the log, and at 153 in the index"),
        "a pair that was swapped between two streams is named in both");
  forge("odd", 33, 2, 66);
  check(tells(2, "odd: version 33 is at position 65 in the log, and at 66 in the index"),
        "of several versions that differ, the first is named");
}

static void check_rounds(void) {
  make_long(2 * VERSIONS_MOST);
  forge("even", 18345, 1, 36689);
  forge("odd", VERSIONS_MOST, 1, 0);
  check(
      tells(2, "even: version 18345 is at position 36690 in the log, and at 36689 in the index") &&
          has(told, "odd: version 20000 is at position 39999 in the log, and missing from"),
      "in long streams it is found, too");
  forge("even", 16384, 1, 32767);
  check(tells(2, "even: version 16384 is at position 32768 in the log, and at 32767 in the index"),
        "and the first of several");
  forge("odd", 11, 1, 20);
  forge("odd", 12, 1, 24);
  check(tells(2, "odd: version 11 is at position 21 in the log, and at 20 in the index"),
        "of two that stand next to each other, too");
}

/* Chunks of 50 versions, as forge() writes them, and the head. */
static void check_chunks(void) {
  stream_index index;
  uint64_t base, other;
  uint8_t first[2000], last[2000];
  make_long(400);
  forge("odd", 1, 0, 0);
  open_index(&index, "odd");
  drop_chunk(&index, 1);
  end(index.env, index.txn);
  check(tells(2, "odd: version 1 is at position 1 in the log, and missing from the index") &&
            has(told, "does not follow the one before it"),
        "a chunk of the index that is missing is told once, with its first version");
  make_long(400);
  forge("odd", 1, 0, 0);
  open_index(&index, "odd");
  mf_bytes a = read_chunk(&index, 1, &base);
  memcpy(first, a.data, a.size);
  first[a.size] = 0;
  first[a.size + 1] = 1;
  put_chunk(&index, 1, base, mf__bytes(first, a.size + 2));
  end(index.env, index.txn);
  check(tells(3, "odd: version 51 is at position 101 in the log, and at 100 in the index"),
        "of a version that is in two chunks of the index, the first is told");
  make_long(400);
  forge("odd", 1, 0, 0);
  open_index(&index, "odd");
  a = read_chunk(&index, 51, &base);
  mf_bytes b = read_chunk(&index, 101, &other);
  memcpy(first, a.data, a.size);
  memcpy(last, b.data, b.size);
  put_chunk(&index, 51, other, mf__bytes(last, b.size));
  put_chunk(&index, 101, base, mf__bytes(first, a.size));
  end(index.env, index.txn);
  check(tells(3, "odd: version 51 is at position 101 in the log, and at 201 in the index"),
        "so it is of chunks that were swapped");
  make_long(400);
  forge("odd", 1, 0, 0);
  open_index(&index, "odd");
  a = read_chunk(&index, 51, &base);
  memcpy(first, a.data, a.size);
  first[a.size] = 3;
  put_chunk(&index, 51, base, mf__bytes(first, a.size + 1));
  end(index.env, index.txn);
  check(tells(2, "does not follow the one before it") && has(told, "odd: the index of its events"),
        "a run that is cut off is found, and its stream named");
  make_long(400);
  forge("odd", 1, 0, 0);
  open_index(&index, "odd");
  a = read_chunk(&index, 1, &base);
  memcpy(first, a.data, a.size);
  index.head.id = 3;
  put_chunk(&index, 1, base, mf__bytes(first, a.size));
  end(index.env, index.txn);
  check(tells(1, "belongs to stream number 3, which has no name"),
        "a chunk that belongs to no stream is found");
}

/* Changes the list somewhere; it stays in order. */
static void change_list(uint64_t *random) {
  *random = *random * 6364136223846793005u + 1442695040888963407u;
  size_t kind = (size_t)(*random >> 33) % 3, i = (size_t)(*random >> 40) % (listed - 2);
  if (kind == 0) memmove(list + i, list + i + 1, (--listed - i) * sizeof *list);
  if (kind == 0 || list[i] + 1 == list[i + 1]) return;
  if (kind == 2) {
    memmove(list + i + 1, list + i, (listed - i) * sizeof *list);
    listed++;
    i++;
  }
  list[i]++;
}

static void check_at_random(void) {
  stream_index index;
  uint64_t random = 1;
  bool fine = true, right = true;
  for (int round = 0; fine && round < 60; round++) {
    char expected[100] = "";
    make_long(400);
    begin_index(&index, "odd");
    for (int changes = 1 + round % 3; changes > 0; changes--)
      change_list(&random);
    uint64_t version = 1;
    while (version <= listed && version <= 200 && list[version - 1] == 2 * version - 1)
      version++;
    bool same = version == listed + 1 && version == 201;
    if (!same)
      snprintf(expected, sizeof expected, "odd: version %llu is", (unsigned long long)version);
    end_index(&index);
    fine = tells(same ? 0 : 1, expected);
    right = right && read_right() >= 0;
  }
  check(fine, "whatever is changed in the index of a stream, the first version is named");
  check(right, "and who reads the stream gets events that are right, or is told");
}

static void drop_database(const char *name) {
  MDB_env *env;
  MDB_dbi dbi;
  MDB_txn *txn = begin(&env);
  if (mdb_dbi_open(txn, name, 0, &dbi) != 0 || mdb_drop(txn, dbi, 1) != 0) die(name);
  end(env, txn);
}

static void check_missing(void) {
  mf_verify_report report;
  make(false);
  drop_database("postings");
  check(verify(path, NULL, 0, &report) == MF_CORRUPT && count == 1 &&
            has(told, "postings: there is no such database"),
        "that there is no index of older events is told");
  make(false);
  drop_database("ids");
  check(verify(path, NULL, 0, &report) == MF_CORRUPT && report.problems[MF_PART_PAGES] == 1 &&
            report.problems[MF_PART_IDS] == 6 && has(told, "its message id \"id-1\""),
        "so it is where there is no index of ids, and the first that are missing are named");
}

/* Replaces bytes wherever they stand in the file. */
static void patch_file(const char *from, const char *to, size_t size) {
  static char text[1 << 20];
  FILE *file = fopen(path, "r+b");
  if (!file) die(path);
  size_t read = fread(text, 1, sizeof text, file);
  for (size_t at = 0; at + size <= read; at++)
    if (memcmp(text + at, from, size) == 0) memcpy(text + at, to, size);
  rewind(file);
  if (fwrite(text, 1, read, file) != read || fclose(file) != 0) die(path);
}

/* LMDB takes names of any bytes, and C strings end at the first zero. */
static void check_names(void) {
  MDB_env *env;
  MDB_dbi dbi;
  mf_verify_report report;
  make(false);
  drop_database("log");
  MDB_txn *txn = begin(&env);
  MDB_val key = {1, (char[]){"k"}};
  if (mdb_dbi_open(txn, "logX", MDB_CREATE, &dbi) != 0 || mdb_put(txn, dbi, &key, &key, 0) != 0)
    die("logX");
  end(env, txn);
  patch_file("logX", "log", 4);
  check(verify(path, NULL, 0, &report) == MF_CORRUPT && report.events == 0 &&
            has(told, "it names a database that no Moonfold file has") &&
            has(told, "log: there is no such database"),
        "a database whose name ends with a zero is none of a store's");
}

/* Each of `streams` streams has two events. */
static void check_many(int streams) {
  mf_open_options options = {.size = sizeof options, .durability = MF_NONE};
  mf_new_event event = {.type = bytes("Counted")};
  mf_store *store;
  mf_error error;
  char name[32];
  unlink(path);
  if (mf_open(path, &options, &store, &error) != MF_OK) die(error.message);
  for (int i = 0; i < 2 * streams; i++) {
    snprintf(name, sizeof name, "stream-%d", i % streams);
    if (mf_append_to_stream(store, bytes(name), &event, 1, NULL, NULL, &error) != MF_OK)
      die(error.message);
  }
  mf_close(store);
  for (int i = 0; i < streams; i++) {
    snprintf(name, sizeof name, "stream-%d", i);
    forge(name, 2, 1, 0);
  }
  bool fine = tells(streams, "stream-4: version 2 is at position 13 in the log, and missing from");
  int named = 0;
  for (const char *at = told; (at = strstr(at, ": version 2 is at")); at++)
    named++;
  check(fine && named == 5, "of many streams that differ all are told, and in five the version");
}

static int again; /* how often on_progress was told the same as before */

static bool on_progress(void *context, uint64_t done, uint64_t total) {
  static uint64_t last;
  (void)context;
  (void)total;
  again += done == last;
  last = done;
  return again == 0;
}

static void check_stopping(void) {
  mf_verify_options options = {sizeof options, on_progress, on_problem, NULL, NULL, 0};
  make_long(400);
  forge("odd", 120, 1, 0);
  told[0] = '\0';
  check(mf_verify(path, &options, NULL, NULL) == MF_DONE && again == 1 && !has(told, "odd"),
        "the second look at what differs can be stopped, too");
}

/* A block so far behind the log's end that an index may tell of more events than can be counted. */
static void check_counts(void) {
  mf_verify_report report;
  stream_index index;
  MDB_dbi log;
  MDB_cursor *cursor;
  MDB_val first, block, far = {sizeof(size_t), &(size_t){((size_t)1 << 60) - 10}};
  uint8_t runs[40], copy[65536];
  make_long(400);
  forge("odd", 1, 0, 0);
  open_index(&index, "odd");
  if (mdb_dbi_open(index.txn, "log", MDB_INTEGERKEY, &log) != 0) die("log");
  mdb_cursor_open(index.txn, log, &cursor);
  if (mdb_cursor_get(cursor, &first, &block, MDB_FIRST) != 0 || block.mv_size > sizeof copy)
    die("a block");
  memcpy(copy, block.mv_data, block.mv_size);
  mdb_cursor_close(cursor);
  block.mv_data = copy;
  if (mdb_put(index.txn, log, &far, &block, 0) != 0) die("put");
  uint8_t *p = mf__varint_write(mf__varint_write(runs, 0), (uint64_t)1 << 59);
  put_chunk(&index, 1, 0, mf__bytes(runs, (size_t)(p - runs)));
  end(index.env, index.txn);
  alarm(60);
  check(verify(path, NULL, 0, &report) == MF_CORRUPT && report.problems[MF_PART_LOG] > 0 &&
            report.problems[MF_PART_STREAMS] > 0,
        "an index that tells of more events than can be counted keeps nobody for ever");
  alarm(0);
}

/* ---- salvage ---- */

static void forge_head(const char *name, uint64_t last_position) {
  stream_index index;
  uint8_t value[MF__HEAD_MAX + MF__SEAL];
  open_index(&index, name);
  index.head.last_position = last_position;
  uint8_t runs[2000];
  memcpy(runs, index.head.runs.data, index.head.runs.size);
  index.head.runs.data = runs;
  put_sealed(&index, index.streams, MF__IN_STREAMS,
             (MDB_val){index.name.size, (void *)(uintptr_t)index.name.data}, value,
             mf__head_write(&index.head, value));
  end(index.env, index.txn);
}

static void check_salvage(void) {
  static const uint64_t positions_told[] = {UINT64_MAX, UINT64_MAX - 1, (uint64_t)1 << 63,
                                            (uint64_t)1 << 60, 1000000};
  mf_salvage_report report;
  mf_error error = {0};
  bool fine = true;
  for (size_t i = 0; i < sizeof positions_told / sizeof *positions_told; i++) {
    make(false);
    forge_head("odd", positions_told[i]);
    unlink(older);
    alarm(60);
    fine = mf_salvage(path, older, NULL, &report, &error) == MF_OK && report.events == 40 && fine;
    alarm(0);
  }
  check(fine, "a stream that is told to end where no log does keeps salvage from nothing");
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
  if (status == MF_OK) mf_free(found.state);
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
  check_indexes();
  check_rounds();
  check_chunks();
  check_at_random();
  check_many(8);
  check_missing();
  check_names();
  check_stopping();
  check_counts();
  check_salvage();
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
