/*
 * What the fuzz targets have found in files that only a hostile program can write, because every
 * checksum in them is right: each as a behaviour. Prints TAP. Those that take no checksum are in
 * spec/12-fuzz_findings_spec.lua.
 */
#include "../store/internal.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64], lock_path[80], new_path[80];

static mf_bytes bytes(const char *text) {
  return mf__bytes(text, strlen(text));
}

static mf_store *open_new(void) {
  mf_store *store;
  mf_open_options options = {.size = sizeof options, .durability = MF_NONE};
  unlink(path);
  unlink(lock_path);
  unlink(new_path);
  if (mf_open(path, &options, &store, NULL) != MF_OK) exit(2);
  return store;
}

static int append(mf_store *store, const char *stream, const char *message_id) {
  mf_new_event event = {bytes("Noted"), bytes("data"), {NULL, 0}, {NULL, 0}};
  if (message_id) event.message_id = bytes(message_id);
  return mf_append_to_stream(store, bytes(stream), &event, 1, NULL, NULL, NULL);
}

/* Puts a value past everything that looks at it. */
static bool put(mf_store *store, MDB_dbi dbi, mf_bytes key, mf_bytes value) {
  mf_txn *txn;
  if (mf_begin(store, &txn, NULL) != MF_OK) return false;
  MDB_val db_key = {key.size, (void *)(uintptr_t)key.data};
  MDB_val db_value = {value.size, (void *)(uintptr_t)value.data};
  int rc = mdb_put(txn->view.db, dbi, &db_key, &db_value, 0);
  txn->dropped = true; /* something is to be committed */
  return mf_commit(txn, NULL) == MF_OK && rc == 0;
}

static bool put_id(mf_store *store, const char *key, uint64_t position) {
  uint8_t value[8 + MF__SEAL];
  mf__u64_write(value, position);
  mf__seal(value, 8, bytes(key), mf__seal_seed(store->env->record.seed, MF__IN_IDS));
  return put(store, store->env->ids, bytes(key), mf__bytes(value, sizeof value));
}

/* Puts a block with one event at a position; `record` needs no checksum. */
static bool put_block(mf_store *store, uint64_t position, const mf__record *record) {
  uint8_t block[1024];
  size_t size = mf__record_size(record);
  mf__record_write(record, store->env->record.seed, (int64_t)position, block + MF__BLOCK_HEADER);
  mf__block_header_write(block, 1, MF__BLOCK_HEADER + size);
  mf__u16_write(block + MF__BLOCK_HEADER + size, MF__BLOCK_HEADER);
  return put(store, store->env->log, mf__bytes(&position, sizeof position),
             mf__bytes(block, MF__BLOCK_HEADER + size + 2));
}

static void an_id_may_lead_beyond_the_log(void) {
  mf_store *store = open_new();
  mf_txn *txn;
  bool fine = append(store, "a", NULL) == MF_OK && put_id(store, "mmine", 2);
  mf_new_event event = {bytes("Noted"), bytes("data"), {NULL, 0}, bytes("mine")};
  mf_new_event other = {bytes("Noted"), bytes("data"), {NULL, 0}, {NULL, 0}};
  /* What an aborted transaction has staged at that position is not to be found. */
  fine = fine && mf_begin(store, &txn, NULL) == MF_OK;
  mf_append(txn, bytes("a"), &other, 1, NULL, NULL, NULL);
  mf_abort(txn);
  fine = fine && mf_begin(store, &txn, NULL) == MF_OK;
  fine = fine && mf_append(txn, bytes("a"), &event, 1, NULL, NULL, NULL) == MF_CORRUPT;
  mf_abort(txn);
  check(fine, "an id whose position is behind the log's end is corrupt");
  mf_close(store);
}

static mf__record record_of(const char *message_id) {
  mf__record record = {.recorded_at = 1700000000000000, .stream_id = 1, .version = 2, .type_id = 1};
  record.data = bytes("data");
  record.message_id = bytes(message_id);
  return record;
}

static void salvage_goes_on_behind_what_may_not_be_appended(void) {
  mf_salvage_report report;
  mf_store *store = open_new();
  mf__record record = record_of(""); /* an empty id is none */
  bool fine = append(store, "a", NULL) == MF_OK && put_block(store, 2, &record);
  mf_close(store);
  fine = fine && mf_salvage(path, new_path, NULL, &report, NULL) == MF_OK;
  check(fine && report.events == 1 && report.lost == 1,
        "salvage leaves out an event that may not be appended, and goes on");
}

static void on_problem(void *context, const mf_problem *problem) {
  if (has(problem->message, "its type has another name than it says")) (*(int *)context)++;
}

/* The first event of a type names it. */
static void an_event_may_name_its_type_wrongly(void) {
  int told = 0;
  mf_verify_options options = {.size = sizeof options, .problem = on_problem, .context = &told};
  mf_store *store = open_new();
  mf__record record = record_of("id");
  record.type_name = bytes("Noted");
  bool fine = append(store, "a", NULL) == MF_OK && put_block(store, 2, &record);
  fine = fine && mf_verify(path, &options, NULL, NULL) == MF_CORRUPT && told == 0;
  record.version = 3;
  record.type_name = bytes("Other");
  fine = fine && put_block(store, 3, &record);
  fine = fine && mf_verify(path, &options, NULL, NULL) == MF_CORRUPT && told == 1;
  mf_close(store);
  check(fine, "an event that names its type otherwise than the table of types is told by verify");
}

static void a_key_may_lead_to_nothing(void) {
  mf_salvage_report report;
  mf_store *store = open_new();
  mf__record record = record_of("mine");
  bool fine = append(store, "a", NULL) == MF_OK && put_block(store, (uint64_t)1 << 30, &record);
  mf_close(store);
  fine = fine && mf_salvage(path, new_path, NULL, &report, NULL) == MF_OK;
  check(fine && report.events == 1 && report.lost < 100,
        "salvage takes no position that no file of this size reaches for the log's end");
}

static bool put_code(mf_store *store, const char *key, const char *value) {
  uint8_t sealed[64];
  memcpy(sealed, value, strlen(value));
  mf__seal(sealed, strlen(value), bytes(key),
           mf__seal_seed(store->env->record.seed, MF__IN_BESIDE + MF__CODE));
  return put(store, store->env->beside[MF__CODE], bytes(key),
             mf__bytes(sealed, strlen(value) + MF__SEAL));
}

static void what_is_kept_may_be_odd(void) {
  mf_salvage_report report;
  mf_verify_report verdict;
  mf_code_record code;
  mf_store *store = open_new();
  bool fine = append(store, "a", NULL) == MF_OK &&
              put_code(store, "0123456789abcdef", "01234567+") &&
              put_code(store, "a key of 18 bytes.", "01234567+") &&
              put_code(store, "fedcba9876543210", "short");
  mf_close(store);
  fine = fine && mf_verify(path, NULL, &verdict, NULL) == MF_CORRUPT &&
         verdict.problems[MF_PART_BESIDE] == 2;
  check(fine, "verify tells what stands beside the log and cannot be read");
  fine = mf_salvage(path, new_path, NULL, &report, NULL) == MF_OK && report.events == 1 &&
         mf_open(new_path, NULL, &store, NULL) == MF_OK &&
         mf_next_code(store, NULL, &code, NULL) == MF_OK && code.code.size == 1;
  check(fine, "salvage takes over what can be, and leaves out the rest");
  if (!fine) return;
  mf_free(code.code);
  mf_close(store);
  strcat(new_path, "-lock");
  unlink(new_path);
  new_path[strlen(new_path) - 5] = '\0';
}

static void a_list_of_commands_ends(void) {
  static const uint8_t last_key[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                                       255, 255, 255, 255, 255, 255, 255, 255};
  uint8_t sealed[8] = {1, 'a', 'c'};
  mf_commands *commands;
  mf_kept_command kept;
  mf_bytes key = mf__bytes(last_key, sizeof last_key);
  int count = 0;
  mf_store *store = open_new();
  mf__seal(sealed, 3, key, mf__seal_seed(store->env->record.seed, MF__IN_BESIDE + MF__COMMANDS));
  bool fine = put(store, store->env->beside[MF__COMMANDS], key, mf__bytes(sealed, 3 + MF__SEAL)) &&
              mf_commands_open(store, INT64_MIN, bytes(""), &commands, NULL) == MF_OK;
  while (fine && count < 5 && mf_commands_next(commands, &kept, NULL) == MF_OK)
    count++;
  check(fine && count == 1,
        "a list of kept commands ends, also with the last key that there can be");
  if (fine) mf_commands_close(commands);
  mf_close(store);
}

/* Lowers the second key of every page that leads to others and has keys of 8 bytes, where that key
 * is `key`. Returns the largest such key. */
static uint64_t lower_branch_keys(uint64_t key, uint64_t by) {
  enum { BRANCH = 1, PAGE = 4096 };
  uint64_t largest = 0;
  uint8_t page[PAGE];
  FILE *file = fopen(path, "r+b");
  for (long at = 2 * PAGE; file && fseek(file, at, SEEK_SET) == 0; at += PAGE) {
    if (fread(page, PAGE, 1, file) != 1) break;
    uint32_t node = mf__u16_read(page + 18);
    if (mf__u16_read(page + 10) != BRANCH || node > PAGE - 16 || mf__u16_read(page + node + 6) != 8)
      continue;
    uint64_t found = mf__u64_read(page + node + 8);
    if (found > largest) largest = found;
    if (found != key) continue;
    mf__u64_write(page + node + 8, key - by);
    fseek(file, at, SEEK_SET);
    fwrite(page, PAGE, 1, file);
  }
  if (file) fclose(file);
  return largest;
}

static int read_at(mf_store *store, int64_t position) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader = NULL;
  mf_event event;
  options.from = options.to = position;
  int status = mf_reader_open(store, NULL, &options, &reader, NULL);
  if (status == MF_OK) status = mf_reader_next(reader, &event, NULL);
  mf_reader_close(reader);
  return status;
}

static void a_key_may_lead_past_its_block(void) {
  enum { BLOCKS = 400 };
  static const char data[5000];
  mf_store *store = open_new();
  mf_new_event event = {bytes("Noted"), mf__bytes(data, sizeof data), {NULL, 0}, {NULL, 0}};
  bool fine = true;
  char name[32];
  for (int i = 1; i <= BLOCKS; i++) {
    snprintf(name, sizeof name, "a-stream-%d", i);
    fine = fine && mf_append_to_stream(store, bytes(name), &event, 1, NULL, NULL, NULL) == MF_OK;
  }
  int64_t first = (int64_t)lower_branch_keys(0, 0); /* of the log, not of the names */
  lower_branch_keys((uint64_t)first, 20);
  snprintf(name, sizeof name, "a-stream-%d", (int)first - 10);
  const mf_bytes streams[2] = {bytes(name), bytes("a-stream-400")};
  const int64_t ends[2] = {MF_LAST, MF_LAST};
  mf_reader *readers[2];
  mf_event found;
  fine = fine && first > 20 && read_at(store, first) == MF_OK &&
         read_at(store, first - 21) == MF_OK && read_at(store, first - 10) == MF_CORRUPT;
  check(fine, "an event that a damaged key leads past is corrupt, and nothing else is read for it");
  fine = mf_readers_open(store, NULL, streams, ends, 2, SIZE_MAX, readers, NULL) == MF_OK &&
         !readers[0] && readers[1] && mf_reader_next(readers[1], &found, NULL) == MF_OK;
  check(fine, "of streams that are read at once, a damaged one has no reader, and the others have");
  if (fine) mf_reader_close(readers[1]);
  mf_close(store);
}

/* As if the file had had so many pages before it was cut off. */
static bool tell_pages(uint64_t pages) {
  enum { PAGE = 4096, LAST_PAGE = 16 + 24 + 2 * 48 };
  uint8_t last[8];
  bool fine = true;
  FILE *file = fopen(path, "r+b");
  mf__u64_write(last, pages - 1);
  for (long meta = 0; file && meta < 2; meta++)
    fine = fine && fseek(file, meta * PAGE + LAST_PAGE, SEEK_SET) == 0 &&
           fwrite(last, sizeof last, 1, file) == 1;
  return file && fclose(file) == 0 && fine;
}

static void a_stream_may_have_a_large_number(void) {
  mf_salvage_report report;
  uint64_t id = (uint64_t)1 << 33;
  uint8_t name[1 + MF__SEAL] = {'b'};
  mf_store *store = open_new();
  mf_bytes key = mf__bytes(&id, sizeof id);
  mf__seal(name, 1, key, mf__seal_seed(store->env->record.seed, MF__IN_NAMES));
  bool fine = append(store, "a", NULL) == MF_OK &&
              put(store, store->env->names, key, mf__bytes(name, sizeof name));
  mf_close(store);
  fine = fine && tell_pages((uint64_t)1 << 28);
  fine = fine && mf_salvage(path, new_path, NULL, &report, NULL) == MF_OK;
  check(fine && report.events == 1, "salvage needs no more memory where a number is large");
}

/* Gives each branch of a tree a last key of one byte, at the end of its page. */
static int shorten_keys(void) {
  enum { PAGE = 4096 };
  uint8_t page[PAGE];
  int count = 0;
  FILE *file = fopen(path, "r+b");
  for (uint64_t at = 0; file && fread(page, PAGE, 1, file) == 1; at++) {
    bool branch = at > 1 && mf__u64_read(page) == at && mf__u16_read(page + 10) == 1;
    if (!branch) continue;
    uint8_t *last = page + mf__u16_read(page + 12) - 2, *node = page + PAGE - 9;
    memmove(node, page + mf__u16_read(last), 6); /* the page that it leads to */
    mf__u16_write(node + 6, 1);
    mf__u16_write(last, PAGE - 9);
    fseek(file, (long)(at * PAGE), SEEK_SET);
    count += fwrite(page, PAGE, 1, file) == 1;
    fseek(file, (long)((at + 1) * PAGE), SEEK_SET);
  }
  return file && fclose(file) == 0 ? count : 0;
}

static void a_branch_may_have_a_short_key(void) {
  enum { BLOCKS = 400 };
  static const uint8_t data[5000];
  mf_store *store = open_new();
  mf_new_event event = {bytes("Noted"), mf__bytes(data, sizeof data), {NULL, 0}, {NULL, 0}};
  bool fine = true;
  for (int i = 0; fine && i < BLOCKS; i++)
    fine = mf_append_to_stream(store, bytes("a"), &event, 1, NULL, NULL, NULL) == MF_OK;
  mf_close(store);
  fine = fine && shorten_keys() > 0; /* the log's, which has enough entries for a branch */
  fine = fine && mf_verify(path, NULL, NULL, NULL) == MF_CORRUPT;
  fine = fine && mf_salvage(path, new_path, NULL, NULL, NULL) == MF_OK;
  check(fine, "a key of a branch that is too short for a number is not read as one");
}

int main(void) {
  const char *shm = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  snprintf(path, sizeof path, "%s/moonfold-findings-%d", shm, (int)getpid());
  snprintf(lock_path, sizeof lock_path, "%s-lock", path);
  snprintf(new_path, sizeof new_path, "%s.new", path);
  an_id_may_lead_beyond_the_log();
  salvage_goes_on_behind_what_may_not_be_appended();
  an_event_may_name_its_type_wrongly();
  a_key_may_lead_to_nothing();
  what_is_kept_may_be_odd();
  a_list_of_commands_ends();
  a_key_may_lead_past_its_block();
  a_stream_may_have_a_large_number();
  a_branch_may_have_a_short_key();
  unlink(path);
  unlink(lock_path);
  unlink(new_path);
  printf("1..%d\n", number);
  return failures != 0;
}
