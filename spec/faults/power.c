/*
 * Power cuts. A run is journalled: every write with its bytes, every sync, and the moments at which
 * operations were acknowledged. Then the power is cut at every sync and at random moments between:
 * what was synced is on the disk; of what was not, each sector may be there or not, as a disk with
 * a cache of its own may leave it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECTOR = 512, OPERATIONS = 60 };

typedef struct image {
  uint8_t *bytes;
  uint64_t size, capacity;
} image;

static void reserve(image *m, uint64_t size) {
  if (size > m->capacity) {
    uint64_t capacity = 2 * size;
    m->bytes = sure_realloc(m->bytes, capacity);
    memset(m->bytes + m->capacity, 0, capacity - m->capacity);
    m->capacity = capacity;
  }
  if (size > m->size) m->size = size;
}

static void apply(image *m, const entry *e) {
  if (e->kind == ENTRY_SIZE) reserve(m, e->offset);
  if (e->kind != ENTRY_WRITE) return;
  reserve(m, e->offset + e->size);
  memcpy(m->bytes + e->offset, e->data, e->size);
}

/* What survives of writes that were not synced. */
typedef enum cut { CUT_NOTHING, CUT_ALL, CUT_WRITES, CUT_SECTORS, CUT_LAST, CUTS } cut;

static void apply_sectors(image *m, const entry *e, chance *c) {
  for (size_t at = 0; at < e->size; at += SECTOR) {
    size_t size = e->size - at < SECTOR ? e->size - at : SECTOR;
    if (chance_below(c, 2) == 0) continue;
    reserve(m, e->offset + at + size);
    memcpy(m->bytes + e->offset + at, e->data + at, size);
  }
}

static void apply_pending(image *m, const entry *e, cut how, bool last, chance *c) {
  if (how == CUT_ALL || (how == CUT_WRITES && chance_below(c, 2)) || (how == CUT_LAST && last))
    apply(m, e);
  if (how == CUT_SECTORS && e->kind == ENTRY_WRITE) apply_sectors(m, e, c);
}

/* `durable` holds what was synced before entry `synced`; the rest up to `end` is pending. */
static void cut_at(image *out, const image *durable, size_t synced, size_t end, cut how,
                   chance *c) {
  out->size = 0;
  reserve(out, durable->capacity); /* with its zeros */
  memcpy(out->bytes, durable->bytes, durable->capacity);
  memset(out->bytes + durable->capacity, 0, out->capacity - durable->capacity);
  out->size = durable->size;
  for (size_t i = synced; i < end; i++) {
    const entry *e = journal_entry(i);
    if (e->kind == ENTRY_WRITE && e->durable)
      apply(out, e);
    else
      apply_pending(out, e, how, i + 1 == end, c);
  }
}

static void write_image(const char *path, const image *m) {
  int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0666);
  uint64_t done = 0;
  while (fd >= 0 && done < m->size) {
    ssize_t n = write(fd, m->bytes + done, m->size - done);
    if (n <= 0) abort();
    done += (uint64_t)n;
  }
  if (fd < 0) abort();
  close(fd);
}

/* A run whose every write is journalled. */
static void record(const char *path, witness *w, mf_durability durability, uint64_t from) {
  mf_open_options options = {
      .size = sizeof options, .durability = durability, .tamper_evident = is_tamper_evident(from)};
  mf_store *store;
  mf_error error;
  int64_t position;
  w->seed = from;
  journal_follow(path);
  if (mf_open(path, &options, &store, &error) != MF_OK) {
    fprintf(stderr, "%s\n", error.message);
    abort();
  }
  for (uint32_t i = 0; i < OPERATIONS; i++) {
    operation op;
    make_op(from, 0, i, &op);
    witness_sent(w, 0, i);
    int status = run_op(store, &op, &position, &error);
    witness_told(w, 0, i, status, position);
  }
  mf_close(store);
}

/* ---- threads of both kinds on one file ---- */

enum { MIXED = 4, MIXED_OPERATIONS = 20, RELAXED_WRITERS = 2 | 8 };

typedef struct mixed_writer {
  mf_store *store;
  witness *w;
  uint32_t number;
} mixed_writer;

static pthread_mutex_t witness_lock = PTHREAD_MUTEX_INITIALIZER;

static void *write_mixed(void *argument) {
  const mixed_writer *m = argument;
  mf_error error;
  int64_t position;
  for (uint32_t i = 0; i < MIXED_OPERATIONS; i++) {
    operation op;
    make_op(m->w->seed, m->number, i, &op);
    pthread_mutex_lock(&witness_lock);
    witness_sent(m->w, m->number, i);
    pthread_mutex_unlock(&witness_lock);
    int status = run_op(m->store, &op, &position, &error);
    pthread_mutex_lock(&witness_lock);
    witness_told(m->w, m->number, i, status, position);
    pthread_mutex_unlock(&witness_lock);
  }
  return NULL;
}

/* Two handles, full and relaxed, and threads that take turns with them. */
static void record_mixed(const char *path, witness *w, uint64_t from) {
  mf_store *stores[2];
  mixed_writer writers[MIXED];
  pthread_t threads[MIXED];
  mf_error error;
  w->seed = from;
  journal_follow(path);
  for (int i = 0; i < 2; i++) {
    mf_open_options options = {.size = sizeof options,
                               .durability = i ? MF_RELAXED : MF_FULL,
                               .tamper_evident = is_tamper_evident(from)};
    if (mf_open(path, &options, &stores[i], &error) != MF_OK) {
      fprintf(stderr, "%s\n", error.message);
      abort();
    }
  }
  for (uint32_t i = 0; i < MIXED; i++) {
    writers[i] = (mixed_writer){stores[i % 2], w, i};
    if (pthread_create(&threads[i], NULL, write_mixed, &writers[i]) != 0) abort();
  }
  for (uint32_t i = 0; i < MIXED; i++)
    pthread_join(threads[i], NULL);
  mf_close(stores[0]);
  mf_close(stores[1]);
}

static size_t cuts_made;

/* Cuts the power after entry `end`, in several ways. */
static bool survives(const char *path, witness *w, uint64_t relaxed, const image *durable,
                     size_t synced, size_t end, chance *c, char *why, size_t size) {
  static image m;
  expectation owed = {end, relaxed, false};
  for (cut how = CUT_NOTHING; how < CUTS; how++) {
    char reason[512];
    cut_at(&m, durable, synced, end, how, c);
    if (m.size == 0) continue; /* no file yet */
    write_image(path, &m);
    cuts_made++;
    bool fine = check_apart(path, w, owed, reason, sizeof reason);
    remove_store(path);
    if (!fine) {
      snprintf(why, size, "cut %d after entry %zu of the journal: %s", (int)how, end, reason);
      return false;
    }
  }
  return true;
}

/* The store has its name, for ever, before anything in it is acknowledged. *named becomes the entry
 * that named it, unless it had that name before. */
static bool is_named(const witness *w, bool had_name, size_t *named, char *why, size_t size) {
  size_t folder_synced = 0, first = SIZE_MAX;
  *named = had_name;
  for (uint32_t i = 0; i < w->writers[0].count; i++)
    if (w->writers[0].fates[i].state == ACKNOWLEDGED && w->writers[0].fates[i].moment < first)
      first = w->writers[0].fates[i].moment;
  for (size_t i = 0; i < journal_length(); i++) {
    if (journal_entry(i)->kind == ENTRY_NAMED) *named = i + 1;
    if (journal_entry(i)->kind == ENTRY_FOLDER && *named && !folder_synced) folder_synced = i + 1;
  }
  bool fine = *named && folder_synced && folder_synced <= first;
  if (!fine) snprintf(why, size, "the store's name was not synced before the first append");
  return fine;
}

static bool cut_everywhere(const char *path, witness *w, uint64_t relaxed, uint64_t from, char *why,
                           size_t size) {
  image durable = {0};
  size_t synced = 0, named, length = journal_length();
  chance c = {from ^ 0x706f776572u};
  bool fine = is_named(w, false, &named, why, size);
  for (size_t end = 1; fine && end <= length; end++) {
    bool sync = journal_entry(end - 1)->kind == ENTRY_SYNC;
    bool before = end < length && journal_entry(end)->kind == ENTRY_SYNC;
    bool dice = chance_below(&c, 8) == 0;
    if (sync) {
      for (; synced < end; synced++)
        apply(&durable, journal_entry(synced));
    }
    if (end < named) continue; /* nothing has the name yet */
    if (sync || before || dice)
      fine = survives(path, w, relaxed, &durable, synced, end, &c, why, size);
  }
  free(durable.bytes);
  return fine;
}

typedef struct level {
  mf_durability durability; /* MF_DURABILITY_ANY: see record_mixed() */
  uint64_t relaxed;         /* a bit for each writer */
  const char *sentence;
} level;

static bool power_round(const level *l, uint64_t from, char *why, size_t size) {
  char path[256], copy[256];
  witness w = {0};
  fresh_store(path);
  fresh_store(copy);
  if (l->durability == MF_DURABILITY_ANY)
    record_mixed(path, &w, from);
  else
    record(path, &w, l->durability, from);
  bool fine = cut_everywhere(copy, &w, l->relaxed, from, why, size);
  journal_follow(NULL);
  remove_store(path);
  witness_free(&w);
  return fine;
}

/* A process that creates the store, and is killed before it has synced the name. */
static bool leave_unsynced(const char *path) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    mf_store *store;
    die_before_naming();
    mf_open(path, NULL, &store, NULL);
    _exit(0);
  }
  return waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
         WTERMSIG(status) == SIGKILL && access(path, F_OK) == 0;
}

static bool next_opener(char *why, size_t size) {
  char path[256];
  size_t named;
  witness w = {0};
  fresh_store(path);
  journal_follow(path);
  bool fine = leave_unsynced(path);
  if (fine) {
    record(path, &w, MF_FULL, seed);
    fine = is_named(&w, true, &named, why, size);
  } else
    snprintf(why, size, "its creator was not killed between naming it and syncing the name");
  journal_follow(NULL);
  remove_store(path);
  witness_free(&w);
  return fine;
}

int power(void) {
  static const level levels[] = {
      {MF_FULL, 0, "with durability full, a power cut takes nothing that was acknowledged"},
      {MF_RELAXED, UINT64_MAX,
       "with durability relaxed, a power cut leaves a prefix of what was appended"},
      {MF_DURABILITY_ANY, RELAXED_WRITERS,
       "where threads with the one and the other share commits, each has what it was promised"}};
  int failures = 0;
  for (size_t n = 0; n < sizeof levels / sizeof *levels; n++) {
    char why[768] = "";
    bool fine = true;
    cuts_made = 0;
    for (int i = 0; fine && i < rounds; i++)
      fine = power_round(&levels[n], seed + (uint64_t)i + n, why, sizeof why);
    failures += tell(fine && cuts_made > 0, levels[n].sentence, fine ? "no power was cut" : why);
    printf("# %zu power cuts\n", cuts_made);
  }
  char why[768] = "";
  bool fine = next_opener(why, sizeof why);
  failures += tell(fine,
                   "a new store whose creator was killed has its name, for ever, before its next "
                   "opener acknowledges anything",
                   why);
  return failures;
}
