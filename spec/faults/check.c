/* What was promised, checked on a store from the outside, through the public header alone. */
#include "faults.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A stream as the log tells it. */
typedef struct seen_stream {
  char name[32];
  int64_t *positions;
  size_t count, capacity;
} seen_stream;

typedef struct seen {
  witness *w;
  expectation owed;
  seen_stream *streams;
  size_t stream_count, stream_capacity;
  size_t *slots, slot_count; /* by the hash of its name: the number of a stream, from 1; 0: free */
  int64_t last;
  operation current; /* whose events are passing */
  uint32_t next_index;
  int64_t *found[WRITERS_MAX]; /* the last position of each operation, 0: not there */
  char *why;
  size_t why_size;
} seen;

__attribute__((format(printf, 2, 3))) static bool wrong(seen *s, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(s->why, s->why_size, format, arguments);
  va_end(arguments);
  return false;
}

static size_t *slot_of(seen *s, mf_bytes name) {
  uint64_t hash = 14695981039346656037u; /* FNV-1a */
  for (size_t i = 0; i < name.size; i++)
    hash = (hash ^ ((const uint8_t *)name.data)[i]) * 1099511628211u;
  for (;; hash++) {
    size_t *slot = &s->slots[hash & (s->slot_count - 1)];
    const char *found = *slot ? s->streams[*slot - 1].name : NULL;
    if (!found || (strlen(found) == name.size && memcmp(found, name.data, name.size) == 0))
      return slot;
  }
}

static void more_slots(seen *s) {
  s->slot_count = s->slot_count ? 2 * s->slot_count : 256;
  s->slots = sure_realloc(s->slots, s->slot_count * sizeof *s->slots);
  memset(s->slots, 0, s->slot_count * sizeof *s->slots);
  for (size_t i = 0; i < s->stream_count; i++)
    *slot_of(s, (mf_bytes){s->streams[i].name, strlen(s->streams[i].name)}) = i + 1;
}

static seen_stream *stream_named(seen *s, mf_bytes name) {
  if (2 * s->stream_count >= s->slot_count) more_slots(s);
  size_t *slot = slot_of(s, name);
  if (*slot) return &s->streams[*slot - 1];
  if (name.size >= sizeof s->streams->name) return NULL;
  if (s->stream_count == s->stream_capacity) {
    s->stream_capacity = s->stream_capacity ? 2 * s->stream_capacity : 64;
    s->streams = sure_realloc(s->streams, s->stream_capacity * sizeof *s->streams);
  }
  seen_stream *stream = &s->streams[s->stream_count++];
  memset(stream, 0, sizeof *stream);
  memcpy(stream->name, name.data, name.size);
  *slot = s->stream_count;
  return stream;
}

static void add_position(seen_stream *stream, int64_t position) {
  if (stream->count == stream->capacity) {
    stream->capacity = stream->capacity ? 2 * stream->capacity : 16;
    stream->positions =
        sure_realloc(stream->positions, stream->capacity * sizeof *stream->positions);
  }
  stream->positions[stream->count++] = position;
}

static bool same(mf_bytes a, mf_bytes b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* The event belongs to the operation that is passing, and is its next one. */
static bool follows(seen *s, const mf_event *event) {
  uint32_t writer, number, index;
  if (!read_header(event->data, &writer, &number, &index))
    return wrong(s, "position %" PRId64 ": its data were never sent", event->position);
  bool begins = s->next_index == s->current.total;
  if (begins) {
    if (number >= s->w->writers[writer].count || witness_of(s->w, writer, number)->state == UNSENT)
      return wrong(s, "position %" PRId64 ": operation %u.%u was never sent", event->position,
                   writer, number);
    if (s->found[writer][number])
      return wrong(s, "operation %u.%u is recorded twice", writer, number);
    make_op(s->w->seed, writer, number, &s->current);
    s->next_index = 0;
  }
  if (writer != s->current.writer || number != s->current.number || index != s->next_index)
    return wrong(s, "position %" PRId64 ": event %u of %u.%u, where event %u of %u.%u was due",
                 event->position, index, writer, number, s->next_index, s->current.writer,
                 s->current.number);
  s->next_index++;
  s->found[writer][number] = event->position;
  return true;
}

static const char *stream_at(const operation *op, uint32_t index) {
  uint32_t part = 0;
  while (index >= op->counts[part])
    index -= op->counts[part++];
  return op->streams[part];
}

static bool is_as_sent(seen *s, const mf_event *event) {
  static made_event made;
  uint32_t index = s->next_index - 1;
  make_event(&s->current, index, &made);
  const char *name = stream_at(&s->current, index);
  bool fine = same(made.event.type, event->type) && same(made.event.data, event->data) &&
              same(made.event.metadata, event->metadata) &&
              same(made.event.message_id, event->message_id) &&
              same((mf_bytes){name, strlen(name)}, event->stream);
  return fine || wrong(s, "position %" PRId64 ": event %u of operation %u.%u came back changed",
                       event->position, index, s->current.writer, s->current.number);
}

static bool see_event(seen *s, const mf_event *event) {
  if (event->position != s->last + 1)
    return wrong(s, "after position %" PRId64 " comes %" PRId64, s->last, event->position);
  s->last = event->position;
  if (!follows(s, event) || !is_as_sent(s, event)) return false;
  seen_stream *stream = stream_named(s, event->stream);
  if (!stream || event->version != (int64_t)stream->count + 1)
    return wrong(s, "position %" PRId64 ": version %" PRId64 " where %zu was due", event->position,
                 event->version, stream ? stream->count + 1 : 0);
  add_position(stream, event->position);
  return true;
}

static bool read_log(seen *s, mf_store *store) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  mf_error error;
  int status = mf_reader_open(store, NULL, &options, &reader, &error);
  if (status != MF_OK) return wrong(s, "reading the log: %s", error.message);
  bool fine = true;
  while (fine && (status = mf_reader_next(reader, &event, &error)) == MF_OK)
    fine = see_event(s, &event);
  if (fine && status < 0) fine = wrong(s, "reading the log: %s", error.message);
  if (fine && s->last != mf_reader_version(reader))
    fine = wrong(s, "the log ends at %" PRId64 " and says %" PRId64, s->last,
                 mf_reader_version(reader));
  if (fine && s->next_index != s->current.total)
    fine = wrong(s, "operation %u.%u is there in part: %u of %u events", s->current.writer,
                 s->current.number, s->next_index, s->current.total);
  mf_reader_close(reader);
  return fine;
}

/* ---- the witness ---- */

static bool may_miss_last(const seen *s, uint32_t writer) {
  return (s->owed.prefix >> writer & 1) != 0;
}

static bool fate_holds(seen *s, uint32_t writer, uint32_t number, const fate *f) {
  int64_t position = s->found[writer][number];
  if (f->state == ACKNOWLEDGED && position && position != f->position)
    return wrong(s, "operation %u.%u was acknowledged at %" PRId64 " and stands at %" PRId64,
                 writer, number, f->position, position);
  if (f->state == ACKNOWLEDGED && !position && f->position <= s->last)
    return wrong(s, "operation %u.%u was acknowledged at %" PRId64 ", where something else stands",
                 writer, number, f->position);
  if (f->state == ACKNOWLEDGED && !position && f->moment <= s->owed.moment &&
      !may_miss_last(s, writer))
    return wrong(s, "operation %u.%u was acknowledged and is gone", writer, number);
  if (f->state == FAILED && position && s->owed.strict_fails)
    return wrong(s, "operation %u.%u failed and was recorded", writer, number);
  return true;
}

static bool fates_hold(seen *s) {
  for (uint32_t writer = 0; writer < WRITERS_MAX; writer++) {
    bool missing = false;
    for (uint32_t number = 0; number < s->w->writers[writer].count; number++) {
      const fate *f = &s->w->writers[writer].fates[number];
      if (!fate_holds(s, writer, number, f)) return false;
      bool there = s->found[writer][number] != 0;
      if (may_miss_last(s, writer) && writer != PROBE && there && missing)
        return wrong(s, "operation %u.%u is there and one before it is not", writer, number);
      missing = missing || (f->state == ACKNOWLEDGED && !there);
    }
  }
  return true;
}

/* ---- indexes ---- */

static bool reads_stream(seen *s, mf_store *store, const seen_stream *stream, bool backwards) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  mf_error error;
  options.stream = (mf_bytes){stream->name, strlen(stream->name)};
  options.backwards = backwards;
  int status = mf_reader_open(store, NULL, &options, &reader, &error);
  if (status != MF_OK) return wrong(s, "stream %s: %s", stream->name, error.message);
  bool fine = mf_reader_version(reader) == (int64_t)stream->count;
  size_t n = 0;
  while (fine && (status = mf_reader_next(reader, &event, &error)) == MF_OK) {
    size_t i = backwards ? stream->count - 1 - n : n;
    fine = n < stream->count && event.version == (int64_t)i + 1 &&
           event.position == stream->positions[i];
    n++;
  }
  mf_reader_close(reader);
  if (status < 0) return wrong(s, "stream %s: %s", stream->name, error.message);
  fine = fine && n == stream->count;
  return fine || wrong(s, "stream %s and the log disagree at event %zu of %zu", stream->name, n,
                       stream->count);
}

static bool lists_streams(seen *s, mf_store *store) {
  mf_streams *streams;
  mf_bytes name;
  mf_error error;
  int64_t version;
  size_t n = 0;
  int status = mf_streams_open(store, NULL, (mf_bytes){"", 0}, &streams, &error);
  if (status != MF_OK) return wrong(s, "listing streams: %s", error.message);
  bool fine = true;
  while (fine && (status = mf_streams_next(streams, &name, &version, &error)) == MF_OK) {
    size_t before = s->stream_count;
    seen_stream *stream = stream_named(s, name);
    fine = stream && s->stream_count == before && version == (int64_t)stream->count;
    if (!fine)
      wrong(s, "the list of streams and the log disagree about one of %zu bytes", name.size);
    n++;
  }
  mf_streams_close(streams);
  if (!fine) return false;
  if (status < 0) return wrong(s, "listing streams: %s", error.message);
  return n == s->stream_count ||
         wrong(s, "%zu streams are listed, the log has %zu", n, s->stream_count);
}

static bool indexes_agree(seen *s, mf_store *store) {
  for (size_t i = 0; i < s->stream_count; i++)
    if (!reads_stream(s, store, &s->streams[i], false) ||
        !reads_stream(s, store, &s->streams[i], true))
      return false;
  return lists_streams(s, store);
}

/* Ids that were recorded are still known. A sample: the last ones, where damage would be, and some
 * others. */
static bool ids_hold(seen *s, mf_store *store) {
  for (uint32_t writer = 0; writer < PROBE; writer++) {
    uint32_t count = s->w->writers[writer].count;
    uint32_t step = count > 200 ? count / 20 : 10;
    for (uint32_t number = 0; number < count; number++) {
      operation op;
      if (!s->found[writer][number] || (number + 8 < count && number % step != 0)) continue;
      make_op(s->w->seed, writer, number, &op);
      if (!repeats_op(store, &op, s->found[writer][number], s->why, s->why_size)) return false;
    }
  }
  return true;
}

/* A wrong expectation is refused, and the next append lands right behind the last. */
static bool goes_on(seen *s, mf_store *store) {
  operation probe;
  mf_error error;
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  int64_t position, version;
  make_op(s->w->seed, PROBE, s->w->writers[PROBE].count, &probe);
  mf_bytes stream = {probe.streams[0], strlen(probe.streams[0])};
  int status = mf_stream_version(store, NULL, stream, &version, &error);
  if (status != MF_OK) return wrong(s, "asking for a version: %s", error.message);
  options.expected_version = version + 1;
  status = mf_append_to_stream(store, stream, NULL, 0, &options, NULL, &error);
  if (status != MF_VERSION_CONFLICT) return wrong(s, "a wrong expectation gave status %d", status);
  witness_sent(s->w, PROBE, probe.number);
  status = run_op(store, &probe, &position, &error);
  witness_told(s->w, PROBE, probe.number, status, position);
  if (status != MF_OK) return wrong(s, "the next append: %s", error.message);
  return position == s->last + 1 ||
         wrong(s, "the next append landed at %" PRId64 " behind %" PRId64, position, s->last);
}

/* ---- all of it ---- */

static void seen_begin(seen *s, witness *w, expectation owed, char *why, size_t size) {
  memset(s, 0, sizeof *s);
  s->w = w;
  s->owed = owed;
  s->why = why;
  s->why_size = size;
  for (int i = 0; i < WRITERS_MAX; i++) {
    s->found[i] = calloc((size_t)w->writers[i].count + 1, sizeof **s->found);
    if (!s->found[i]) abort();
  }
}

static void seen_end(seen *s) {
  for (size_t i = 0; i < s->stream_count; i++)
    free(s->streams[i].positions);
  free(s->streams);
  free(s->slots);
  for (int i = 0; i < WRITERS_MAX; i++)
    free(s->found[i]);
}

bool check_open_store(mf_store *store, witness *w, expectation owed, char *why, size_t size) {
  seen s;
  seen_begin(&s, w, owed, why, size);
  bool fine = read_log(&s, store) && fates_hold(&s) && indexes_agree(&s, store);
  seen_end(&s);
  return fine;
}

/* What no read has met, such as the hash chain of a tamper-evident store. */
static bool verifies(seen *s, const char *path) {
  mf_error error;
  return mf_verify(path, NULL, NULL, &error) == MF_OK || wrong(s, "verify: %s", error.message);
}

bool check_store(const char *path, witness *w, expectation owed, char *why, size_t size) {
  seen s;
  mf_store *store;
  mf_error error;
  seen_begin(&s, w, owed, why, size);
  bool fine = true;
  if (mf_open(path, NULL, &store, &error) != MF_OK)
    fine = wrong(&s, "opening: %s (%s)", error.message, mf_code(error.code));
  if (fine) {
    fine = read_log(&s, store) && fates_hold(&s) && indexes_agree(&s, store) &&
           ids_hold(&s, store) && goes_on(&s, store);
    if (mf_close(store) != MF_OK && fine) fine = wrong(&s, "closing failed");
    fine = fine && verifies(&s, path);
  }
  seen_end(&s);
  return fine;
}

bool check_apart(const char *path, witness *w, expectation owed, char *why, size_t size) {
  char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) abort();
  strcpy(shared, "the checking process died");
  pid_t child = fork();
  if (child == 0) {
    alarm(60); /* an endless loop is a failed check, too */
    _exit(check_store(path, w, owed, shared, 4096) ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  bool fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!fine) snprintf(why, size, "%s", shared);
  munmap(shared, 4096);
  return fine;
}
