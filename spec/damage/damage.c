/*
 * Damages a store in thousands of ways and looks at what happens to it: damage [SEED [ROUNDS]]
 *
 * Bytes and pages are flipped, zeroed, swapped and copied over others, and the file is cut off. For
 * each variant a child process opens and reads the file, another one verifies it:
 *   - nobody crashes, and nobody runs for ever;
 *   - who opens and reads it is told that it is damaged, or gets everything right;
 *   - what is not read back whole, verify has found;
 *   - what salvage brings back is whole commits, as they were recorded.
 * Prints TAP.
 */
#include "sample.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* LESS: what came back is right, but not all of it did, in silence. */
enum { RIGHT = 0, TOLD = 10, WRONG = 20, LESS = 21, STRANGE = 30 };

static char path[300], lock_path[320], salvaged[320];
static int64_t *recovered; /* shared with the children */
static uint8_t *original, *damaged;
static size_t original_size, damaged_size;
static uint64_t random_state;
static char what[200];
static bool checked; /* opening looks at all pages of the trees */

static uint32_t pick(size_t below) {
  return sample_random(&random_state) % (uint32_t)below;
}

/* ---- a child's work ---- */

static int outcome(int status) {
  if (status == MF_OK || status == MF_DONE) return RIGHT;
  return status == MF_CORRUPT || status == MF_INCOMPATIBLE_FORMAT ? TOLD : STRANGE;
}

static int read_log(mf_store *store, int64_t events) {
  mf_reader *reader;
  mf_event event;
  int64_t position = 0;
  int status = mf_reader_open(store, NULL, NULL, &reader, NULL);
  if (status != MF_OK) return outcome(status);
  while ((status = mf_reader_next(reader, &event, NULL)) == MF_OK) {
    if (!sample_is(&event, event.position)) return WRONG;
    if (event.position != ++position) return LESS;
  }
  mf_reader_close(reader);
  if (status != MF_DONE) return outcome(status);
  return position == events ? RIGHT : LESS;
}

static int read_stream(mf_store *store, mf_bytes name, int64_t *events) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  int64_t version = 0;
  options.stream = name;
  int status = mf_reader_open(store, NULL, &options, &reader, NULL);
  if (status != MF_OK) return outcome(status);
  while ((status = mf_reader_next(reader, &event, NULL)) == MF_OK) {
    if (!sample_is(&event, event.position)) return WRONG;
    if (event.version != ++version) return LESS;
  }
  mf_reader_close(reader);
  *events += version;
  return outcome(status);
}

static int read_streams(mf_store *store) {
  mf_streams *streams;
  mf_bytes name;
  int64_t version, events = 0;
  char copy[MF_STREAM_NAME_MAX];
  int status = mf_streams_open(store, NULL, sample_bytes("", 0), &streams, NULL);
  if (status != MF_OK) return outcome(status);
  while ((status = mf_streams_next(streams, &name, &version, NULL)) == MF_OK) {
    memcpy(copy, name.data, name.size);
    int seen = read_stream(store, sample_bytes(copy, name.size), &events);
    if (seen != RIGHT) return seen;
  }
  mf_streams_close(streams);
  if (status != MF_DONE) return outcome(status);
  return events == sample_store.events ? RIGHT : LESS;
}

/* Every stream of a salvaged store is dense, and they have all of its events. */
static int read_all_streams_of_any(mf_store *store, int64_t count) {
  mf_streams *streams;
  mf_bytes name;
  mf_reader *reader;
  mf_event event;
  int64_t version, events = 0;
  char copy[MF_STREAM_NAME_MAX];
  int status = mf_streams_open(store, NULL, sample_bytes("", 0), &streams, NULL);
  if (status != MF_OK) return WRONG;
  while ((status = mf_streams_next(streams, &name, &version, NULL)) == MF_OK) {
    mf_read_options options = MF_READ_OPTIONS_INIT;
    memcpy(copy, name.data, name.size);
    options.stream = sample_bytes(copy, name.size);
    if (mf_reader_open(store, NULL, &options, &reader, NULL) != MF_OK) return WRONG;
    for (int64_t i = 1; (status = mf_reader_next(reader, &event, NULL)) == MF_OK; i++, events++)
      if (event.version != i) return WRONG;
    mf_reader_close(reader);
    if (status != MF_DONE) return WRONG;
  }
  mf_streams_close(streams);
  return events == count ? RIGHT : WRONG;
}

/* What was appended with ids is known, and is not recorded twice; then something new is, and old
 * commands make room for new ones. */
static int append_again(mf_store *store) {
  mf_txn *txn;
  mf_error error;
  int64_t last;
  int status = mf_begin(store, &txn, &error);
  if (status != MF_OK) return outcome(status);
  for (int64_t position = 2; status == MF_OK && position <= sample_store.events; position += 7)
    status = sample_append(txn, position, &error);
  for (int64_t position = 3; status == MF_OK && position <= sample_store.events; position += 11)
    status = sample_append(txn, position, &error);
  if (status == MF_OK) status = mf_last_position(store, txn, &last, &error);
  if (status == MF_OK && last != sample_store.events) return LESS;
  if (status == MF_OK) status = sample_append(txn, sample_store.events + 1, &error);
  if (status == MF_OK) status = sample_beside(txn, sample_store.events + 1, &error);
  mf_bound_commands(txn, 10, INT64_MIN);
  if (status != MF_OK) {
    mf_abort(txn);
    return outcome(status);
  }
  return outcome(mf_commit(txn, &error));
}

static int read_all(void) {
  mf_open_options options;
  mf_store *store;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.no_create = true;
  options.check_pages = checked;
  options.durability = MF_NONE;
  int status = mf_open(path, &options, &store, NULL);
  if (status != MF_OK) return outcome(status);
  int seen = read_log(store, sample_store.events);
  if (seen == RIGHT) seen = read_streams(store);
  /* What is written takes pages that are said to be free: nothing may stand in them. */
  bool appended = seen == RIGHT;
  if (appended) seen = append_again(store);
  if (appended && seen == RIGHT) {
    seen = read_log(store, sample_store.events + 1);
    if (seen != RIGHT) seen = LESS;
  }
  mf_close(store);
  return seen;
}

static int verify(void) {
  return outcome(mf_verify(path, NULL, NULL, NULL));
}

/* Whether the salvaged store holds only what was recorded, in order, and commits as a whole. */
static int check_salvaged(mf_store *store, const mf_salvage_report *report) {
  static bool there[SAMPLE_LARGE + 2];
  memset(there, 0, sizeof there);
  mf_reader *reader;
  mf_event event;
  int64_t position = 0, before = 0;
  int status = mf_reader_open(store, NULL, NULL, &reader, NULL);
  if (status != MF_OK) return WRONG;
  while ((status = mf_reader_next(reader, &event, NULL)) == MF_OK) {
    int64_t original_position = sample_position(&event);
    if (event.position != ++position || original_position <= before ||
        original_position > sample_store.events || !sample_is(&event, original_position))
      return WRONG;
    if (!report->renumbered && original_position != position) return WRONG;
    before = original_position;
    there[original_position] = true;
  }
  mf_reader_close(reader);
  if (status != MF_DONE || position != report->events) return WRONG;
  for (int64_t p = 2; p <= sample_store.events; p++)
    if (sample_commit(p - 1) > 1 && there[p] != there[p - 1]) return WRONG;
  return read_all_streams_of_any(store, position);
}

static int salvage(void) {
  mf_salvage_report report;
  mf_open_options options;
  mf_store *store;
  mf_error error;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.read_only = true;
  unlink(salvaged);
  int status = mf_salvage(path, salvaged, NULL, &report, &error);
  if (status == MF_CORRUPT && strstr(error.message, "nowhere")) return TOLD;
  if (status != MF_OK) {
    printf("# salvage: %s\n", error.message);
    fflush(stdout);
    return STRANGE;
  }
  if (mf_open(salvaged, &options, &store, &error) != MF_OK) return WRONG;
  int seen = check_salvaged(store, &report);
  mf_close(store);
  if (seen == RIGHT) *recovered += report.events;
  return seen;
}

/* Runs a piece of work in a child. Its outcome, or minus the signal that ended it. */
static int in_child(int (*work)(void)) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(work());
  }
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- damage ---- */

static void write_damaged(void) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || write(fd, damaged, damaged_size) != (ssize_t)damaged_size) exit(2);
  close(fd);
  unlink(lock_path);
}

static void damage_somehow(void) {
  const size_t page = 4096, pages = original_size / page;
  size_t at = pick(original_size), n, a = pick(pages) * page, b = pick(pages) * page;
  memcpy(damaged, original, original_size);
  damaged_size = original_size;
  /* Half of all single bytes in the head of a page or in its table, where they hurt most. */
  if (pick(2)) at = at / page * page + pick(64);
  switch (pick(10)) {
  case 0:
  case 1:
  case 2:
  case 3:
    damaged[at] ^= (uint8_t)(1 << pick(8));
    snprintf(what, sizeof what, "a bit of byte %zu is flipped", at);
    break;
  case 4:
    damaged[at] = (uint8_t)pick(256);
    snprintf(what, sizeof what, "byte %zu has another value", at);
    break;
  case 5:
    n = 1 + pick(600);
    if (n > original_size - at) n = original_size - at;
    memset(damaged + at, pick(2) ? 0 : 255, n);
    snprintf(what, sizeof what, "%zu bytes from %zu on are overwritten", n, at);
    break;
  case 6:
    memset(damaged + a, 0, page);
    snprintf(what, sizeof what, "page %zu is zeros", a / page);
    break;
  case 7:
    memcpy(damaged + a, original + b, page);
    memcpy(damaged + b, original + a, page);
    snprintf(what, sizeof what, "pages %zu and %zu are swapped", a / page, b / page);
    break;
  case 8:
    memcpy(damaged + a, original + b, page);
    snprintf(what, sizeof what, "page %zu holds what page %zu does", a / page, b / page);
    break;
  default:
    damaged_size = pick(3) ? a : at;
    snprintf(what, sizeof what, "the file ends after %zu bytes", damaged_size);
  }
}

/* ---- telling ---- */

static struct {
  const char *sentence;
  int failures;
} claims[] = {
    {"no damage makes an ordinary open and read crash, where opening looks at the trees", 0},
    {"no damage brings back an event that differs, or less than was recorded, in silence", 0},
    {"no damage makes an ordinary open and read fail with another code than it should", 0},
    {"no damage makes verify crash, or run for ever", 0},
    {"verify finds the damage of every file that cannot be read whole", 0},
    {"salvage brings back whole commits as they were recorded, and nothing else", 0},
    {"salvage brings back all of a file that is read whole", 0}};

static void fail(int claim, int reading, int verifying) {
  if (claims[claim].failures++ < 5)
    printf("# %s: %s (reading %d, verify %d)\n", claims[claim].sentence, what, reading, verifying);
}

static void judge(int *told, int *found) {
  int reading = in_child(read_all);
  write_damaged();
  int verifying = in_child(verify);
  if (reading < 0 && checked) fail(0, reading, verifying);
  /* Behind pages of trees that nobody has looked at, something may be missing. */
  if (reading == WRONG || (reading == LESS && checked)) fail(1, reading, verifying);
  if (reading == STRANGE && checked) fail(2, reading, verifying);
  if (verifying < 0 || verifying == STRANGE) fail(3, reading, verifying);
  if (reading != RIGHT && verifying == RIGHT) fail(4, reading, verifying);
  int64_t before = *recovered;
  int salvaging = in_child(salvage);
  if (salvaging != RIGHT && salvaging != TOLD) fail(5, reading, salvaging);
  if (reading == RIGHT && *recovered - before != sample_store.events) fail(6, reading, salvaging);
  *told += reading == TOLD;
  *found += verifying == TOLD;
}

static void load(void) {
  struct stat st;
  int fd = open(path, O_RDONLY);
  if (fd < 0 || fstat(fd, &st) != 0) exit(2);
  original_size = (size_t)st.st_size;
  free(original);
  free(damaged);
  original = malloc(original_size);
  damaged = malloc(original_size);
  if (!original || !damaged || read(fd, original, original_size) != (ssize_t)original_size) exit(2);
  close(fd);
}

/* Many rounds on one kind of store. False: it is not even right without damage. */
static bool run(const char *kind, uint64_t seed, long rounds) {
  int told = 0, found = 0;
  *recovered = 0;
  unlink(path);
  unlink(lock_path);
  sample_build(path, MF_NONE);
  load();
  int verifying = in_child(verify), reading = in_child(read_all);
  bool sound = verifying == RIGHT && reading == RIGHT && in_child(verify) == RIGHT;
  for (long round = 0; sound && round < rounds; round++) {
    checked = !sample_store.large || round % 2 == 0;
    random_state = seed * 1000003 + (uint64_t)round;
    damage_somehow();
    write_damaged();
    judge(&told, &found);
  }
  printf("# %s, a file of %zu bytes, %ld rounds: told %d readers, found %d; salvage brought back "
         "%.2f %% of the events\n",
         kind, original_size, rounds, told, found,
         100.0 * (double)*recovered / ((double)rounds * (double)sample_store.events));
  fflush(stdout);
  return sound;
}

int main(int argc, char **argv) {
  char folder[] = "/tmp/moonfold-damage-XXXXXX", command[320];
  uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
  long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 2000;
  int failures = 0;
  if (!mkdtemp(folder)) return 2;
  snprintf(path, sizeof path, "%s/store.fold", folder);
  snprintf(lock_path, sizeof lock_path, "%s-lock", path);
  snprintf(salvaged, sizeof salvaged, "%s-salvaged", path);
  recovered =
      mmap(NULL, sizeof *recovered, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (recovered == MAP_FAILED) return 2;
  printf("# seed %llu\n", (unsigned long long)seed);
  bool sound = run("a store", seed, rounds / 2);
  sample_store.tamper_evident = true;
  sound = run("a tamper-evident store", seed + 1, rounds / 2) && sound;
  sample_store.large = true;
  sample_store.events = SAMPLE_LARGE;
  sound = run("a store with more pages of trees than opening looks at", seed, rounds / 60) && sound;
  printf("%sok 1 - a store without damage is read whole, and verify finds nothing\n",
         sound ? "" : "not ");
  size_t count = sizeof claims / sizeof *claims;
  for (size_t i = 0; i < count; i++) {
    printf("%sok %zu - %s\n", claims[i].failures ? "not " : "", i + 2, claims[i].sentence);
    failures += claims[i].failures;
  }
  printf("1..%zu\n", count + 1);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) return 2;
  return !sound || failures > 0;
}
