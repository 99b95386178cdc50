/*
 * Fuzzes an ordinary open of a file, reading all of it, and appending to it: what LMDB meets there
 * must not make it crash. The input is a whole file. Where verify finds nothing wrong with it, it
 * must open, every event must be read, and verify must find nothing wrong after the append, too.
 */
#include "../../store/internal.h"
#include "file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64], lock_path[80];

static void clean(void) {
  unlink(path);
  unlink(lock_path);
}

static void make_file(const uint8_t *data, size_t size) {
  if (!*path) {
    snprintf(path, sizeof path, "/dev/shm/moonfold-fuzz-%d", (int)getpid());
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    atexit(clean);
  }
  clean();
  write_file(path, data, size);
}

static void problem(void *context, const mf_problem *found) {
  snprintf(context, 300, "%s", found->message);
}

/* Whether verify finds nothing; else what it found is in `why`. */
static bool is_sound(const mf__source *source, mf_verify_report *report, char why[300]) {
  mf_verify_options options = {sizeof options, NULL, problem, why, NULL, 0};
  return mf__verify(source, NULL, path, &options, report, NULL) == MF_OK;
}

static bool file_is_sound(char why[300]) {
  mf__source source = {-1, NULL, 0};
  mf_verify_report report;
  mf__file_id id;
  bool regular;
  if (mf__file_open(path, false, false, &source.fd) != 0 ||
      mf__file_stat(source.fd, &id, &source.size, &regular) != 0)
    exit(2);
  bool sound = is_sound(&source, &report, why);
  mf__file_close(source.fd);
  return sound;
}

static void finding(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  abort();
}

/* How many events were read before something was wrong. */
static int64_t read_events(mf_store *store, mf_bytes stream, bool backwards) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  char id[MF_ID_MAX + 1];
  int64_t count = 0;
  options.stream = stream;
  options.backwards = backwards;
  if (mf_reader_open(store, NULL, &options, &reader, NULL) != MF_OK) return -1;
  for (; count < 10000 && mf_reader_next(reader, &event, NULL) == MF_OK; count++) {
    mf_message_id(mf_store_seed(store), &event, id);
    mf_event_decision(&event, MF_DECISION_CODE);
  }
  mf_reader_close(reader);
  return count;
}

static void read_streams(mf_store *store, bool sound) {
  mf_streams *streams;
  mf_bytes name;
  int64_t version;
  char copy[MF_STREAM_NAME_MAX];
  if (mf_streams_open(store, NULL, (mf_bytes){"", 0}, &streams, NULL) != MF_OK) return;
  for (int i = 0; i < 1000 && mf_streams_next(streams, &name, &version, NULL) == MF_OK; i++) {
    memcpy(copy, name.data, name.size);
    int64_t count = read_events(store, (mf_bytes){copy, name.size}, i % 2);
    if (sound && count != version) finding("not every event of a stream is read", path);
  }
  mf_streams_close(streams);
}

static void read_beside(mf_store *store, bool sound) {
  mf_code_record code;
  mf_commands *commands;
  mf_kept_command kept;
  mf_snapshot_stats digests[8];
  mf_snapshot snapshot;
  mf_stats stats = {.size = sizeof stats};
  mf_beside_stats beside;
  uint8_t after[MF_DIGEST_SIZE];
  size_t count = 0;
  int status = MF_OK;
  for (int i = 0; (status = mf_next_code(store, i ? after : NULL, &code, NULL)) == MF_OK; i++) {
    memcpy(after, code.digest, sizeof after);
    mf_free(code.code);
  }
  if (sound && status != MF_DONE) finding("not all code is read", path);
  if (mf_commands_open(store, INT64_MIN, (mf_bytes){NULL, 0}, &commands, NULL) == MF_OK) {
    while ((status = mf_commands_next(commands, &kept, NULL)) == MF_OK)
      count += kept.command.size;
    if (sound && status != MF_DONE) finding("not every kept command is read", path);
    mf_commands_close(commands);
  }
  if (mf_snapshots_by_digest(store, digests, 8, &count, NULL) != MF_OK) count = 0;
  for (size_t i = 0; i < count; i++)
    if (mf_find_snapshot(store, NULL, mf__bytes("stream", 6), digests[i].digest, MF_LAST, &snapshot,
                         NULL) == MF_OK)
      mf_free(snapshot.state);
  mf_stats_of(store, &stats, NULL);
  mf_beside(store, &beside, NULL);
}

static void append_to_all(mf_txn *txn) {
  mf_new_event events[40];
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_kept_command kept = {1700000000000000, {"stream", 6}, {"\xc0", 1}};
  static const uint8_t digest[MF_DIGEST_SIZE] = "digest";
  for (int i = 0; i < 40; i++)
    events[i] = (mf_new_event){{"T", 1}, {"data that is not short", 22}, {NULL, 0}, {NULL, 0}};
  events[0].message_id = mf__bytes("id-2", 4);
  options.command_id = mf__bytes("command-3", 9);
  mf_append(txn, mf__bytes("stream", 6), events, 40, &options, NULL, NULL);
  mf_append(txn, mf__bytes("another", 7), events + 1, 2, NULL, NULL, NULL);
  mf_put_code(txn, digest, mf__bytes("\xc0", 1), NULL, NULL);
  mf_put_snapshot(txn, mf__bytes("stream", 6), digest, 1, mf__bytes("\xc0", 1), NULL);
  mf_bound_commands(txn, 3, INT64_MIN);
  mf_keep_command(txn, &kept, NULL);
}

static bool append(mf_store *store) {
  mf_txn *txn;
  if (mf_begin(store, &txn, NULL) != MF_OK) return false;
  append_to_all(txn);
  if (mf_commit(txn, NULL) != MF_OK) return false;
  mf_new_event event = {{"T", 1}, {"x", 1}, {NULL, 0}, {NULL, 0}};
  return mf_append_to_stream(store, mf__bytes("stream", 6), &event, 1, NULL, NULL, NULL) == MF_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mf_open_options options;
  mf__source source = {-1, data, size};
  mf_verify_report report;
  mf_store *store;
  mf_error error;
  char why[300] = "";
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.no_create = true;
  options.durability = MF_NONE;
  bool sound = is_sound(&source, &report, why);
  make_file(data, size);
  if (mf_open(path, &options, &store, &error) != MF_OK) {
    if (sound && report.pages > 0) finding("verify finds it sound, but", error.message);
    return 0;
  }
  int64_t count = read_events(store, mf__bytes(NULL, 0), false);
  if (sound && (count != report.events || read_events(store, mf__bytes(NULL, 0), true) != count))
    finding("not every event is read", path);
  read_streams(store, sound);
  read_beside(store, sound);
  bool appended = append(store);
  mf_close(store);
  if (sound && appended && !file_is_sound(why)) finding("an append has damaged it", why);
  return 0;
}
