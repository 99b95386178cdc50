/*
 * Makes a store of what gather.c finds. The log is gone through twice, position by position: first
 * to learn what is lost, then to write, because it decides how things are numbered. An event counts
 * when its checksum is right for its position; a commit, when all of its events do. Which events
 * make a commit is told by the trailers of their blocks (internal.h): a commit of several ends with
 * one, and a block that ends amid a commit says so.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* An event of a block, or the place of one that cannot be read. */
typedef struct found {
  const uint8_t *bytes; /* NULL: it cannot be read */
  mf__record record;
  mf__trailer trailer;
  bool told; /* whether it has a trailer is known */
} found;

/* A block that was read, and its events. */
typedef struct reading {
  mf__buffer bytes;
  found *events;
  size_t capacity;
} reading;

/* An event that waits for its commit to be known. */
typedef struct waiting {
  int64_t position;
  size_t offset, size; /* its bytes, in `bytes`; size 0: it cannot be read */
  bool told;
} waiting;

typedef struct salvage {
  mf__remains *remains;
  const mf_salvage_options *options;
  mf_salvage_report report;
  bool writing; /* the second time */
  bool stopped, conflict;
  int status;
  mf_error *error;

  mf_store *store; /* the new one */
  bool explicit_ids;
  int64_t last_position; /* in the new one */

  uint64_t next;    /* the position that comes next */
  waiting *entries; /* since the last end of a commit */
  size_t count, capacity;
  size_t open; /* of them: those of a commit that began in an earlier block */
  bool broken; /* and whose beginning is lost */
  mf__buffer bytes;

  int64_t loss_first, loss_last; /* not told yet; 0: none */
  const char *loss_why;

  reading block, copy;
  const mf__piece *copied; /* what `copy` holds, and how many events; NULL: nothing */
  size_t copied_count;
  uint64_t copy_work; /* what may still be spent on copies */
  mf_new_event *batch;
  size_t batch_capacity;
  char (*ids)[MF_ID_MAX + 1];
} salvage;

static const char unreadable[] = "it cannot be read";
static const char incomplete[] = "its commit is not whole";
static const char uncertain[] = "it cannot be told whether its commit is whole";
static const char conflicting[] = "it contradicts what else was recorded";
static const char nameless[] = "the name of its stream or its type is lost";

static bool no_memory(salvage *s) {
  s->status = mf__fail(s->error, MF_NO_MEMORY, "no memory to salvage a store");
  return false;
}

static bool progress(salvage *s) {
  uint64_t total = 2 * s->remains->last, done = s->next - 1 + (s->writing ? total / 2 : 0);
  if (s->options->progress &&
      !s->options->progress(s->options->context, done < total ? done : total, total))
    s->stopped = true;
  return !s->stopped;
}

/* ---- losses ---- */

static void tell_loss(salvage *s) {
  if (s->loss_first == 0) return;
  mf_loss loss = {s->loss_first, s->loss_last, {NULL, 0}, s->loss_why};
  if (s->writing && s->options->lost) s->options->lost(s->options->context, &loss);
  s->loss_first = 0;
}

static void lose(salvage *s, int64_t first, int64_t last, const char *why) {
  if (last < first) return;
  s->report.lost += last - first + 1;
  if (s->loss_first && s->loss_last + 1 == first && s->loss_why == why) {
    s->loss_last = last;
    return;
  }
  tell_loss(s);
  s->loss_first = first;
  s->loss_last = last;
  s->loss_why = why;
}

static void lose_versions(salvage *s, mf_bytes stream, uint64_t first, uint64_t last) {
  mf_loss loss = {(int64_t)first, (int64_t)last, stream, NULL};
  if (last < first || !s->writing || !s->options->lost || !stream.data) return;
  tell_loss(s); /* positions first */
  s->options->lost(s->options->context, &loss);
}

/* ---- writing commits ---- */

static mf_bytes stream_name(const salvage *s, uint64_t id) {
  const mf__remains *r = s->remains;
  return id >= 1 && id < r->stream_capacity ? r->streams[id].name : mf__bytes(NULL, 0);
}

static mf_bytes type_name(const salvage *s, uint64_t id) {
  const mf__remains *r = s->remains;
  return id >= 1 && id < r->type_capacity ? r->types[id] : mf__bytes(NULL, 0);
}

static void parse_waiting(const salvage *s, const waiting *w, mf__record *record) {
  const uint8_t *p = s->bytes.data + w->offset;
  mf__record_parse(p, p + w->size, record);
}

/* Whether an event may belong to the append of the one before it: it says nothing of its own. */
static bool continues(const mf__record *first, const mf__record *record, size_t index) {
  mf_bytes code = mf__extension_find(first->extension, MF_DECISION_CODE);
  if (record->stream_id != first->stream_id || record->recorded_at != first->recorded_at ||
      record->version != first->version + index)
    return false;
  if (!record->extension.data) return !code.data;
  return mf__same(mf__extension_find(record->extension, MF_DECISION_CODE), code) && code.data &&
         record->extension.size == mf__extension_size(code.size);
}

/* How many events from `i` on were recorded by one append. It matters where a command's answer
 * names them all: then its record knows. */
static size_t append_length(const salvage *s, size_t i, size_t end) {
  mf__record first, record;
  uint64_t length;
  uint8_t key[9 + MF_ID_MAX];
  parse_waiting(s, &s->entries[i], &first);
  mf_bytes command = mf__extension_find(first.extension, MF__EXT_COMMAND);
  if (command.size <= 16 || command.size > 16 + MF_ID_MAX) return 1;
  key[0] = 'c';
  mf__be64_write(key + 1, first.stream_id);
  memcpy(key + 9, (const uint8_t *)command.data + 16, command.size - 16);
  bool known = mf__map_get(&s->remains->commands, mf__bytes(key, 9 + command.size - 16), &length);
  size_t count = 1;
  for (; i + count < end && (!known || count < length); count++) {
    parse_waiting(s, &s->entries[i + count], &record);
    if (!continues(&first, &record, count)) break;
  }
  return count;
}

static bool grow_batch(salvage *s, size_t count) {
  if (count <= s->batch_capacity) return true;
  mf_new_event *batch = realloc(s->batch, count * sizeof *batch);
  if (batch) s->batch = batch;
  void *ids = realloc(s->ids, count * sizeof *s->ids);
  if (ids) s->ids = ids;
  if (!batch || !ids) return no_memory(s);
  s->batch_capacity = count;
  return true;
}

static bool append(salvage *s, mf_txn *txn, size_t i, size_t count) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_append_result result;
  mf__record record;
  if (!grow_batch(s, count)) return false;
  for (size_t k = 0; k < count; k++) {
    const waiting *w = &s->entries[i + k];
    parse_waiting(s, w, &record);
    s->batch[k] = (mf_new_event){type_name(s, record.type_id), record.data, record.metadata,
                                 record.message_id};
    if (!record.message_id.data && s->explicit_ids) {
      mf__generated_id(s->remains->record.seed, w->position, s->ids[k]);
      s->batch[k].message_id = mf__bytes(s->ids[k], 36);
    }
  }
  parse_waiting(s, &s->entries[i], &record);
  options.recorded_at = record.recorded_at;
  options.envelope = record.extension;
  s->status = mf_append(txn, stream_name(s, record.stream_id), s->batch, count, &options, &result,
                        s->error);
  /* Two commits with the same id cannot both have been recorded, nor what may not be appended. */
  s->conflict = (s->status == MF_OK && result.repeated) || s->status == MF_ID_CONFLICT ||
                s->status == MF_INVALID_ARGUMENT;
  return s->status == MF_OK && !s->conflict;
}

/* Sets *recorded to false where the commit conflicts with what is recovered already. */
static bool write_commit(salvage *s, size_t from, size_t to, bool *recorded) {
  mf_txn *txn;
  s->status = mf_begin(s->store, &txn, s->error);
  if (s->status != MF_OK) return false;
  for (size_t i = from; i < to;) {
    size_t count = append_length(s, i, to);
    if (!append(s, txn, i, count)) {
      mf_abort(txn);
      if (!s->conflict) return false;
      s->status = MF_OK;
      *recorded = false;
      return true;
    }
    i += count;
  }
  s->status = mf_commit(txn, s->error);
  return s->status == MF_OK;
}

/* Notes that the streams go on with these events; what was between is lost. */
static void note_versions(salvage *s, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    mf__record record;
    parse_waiting(s, &s->entries[i], &record);
    mf__lost_stream *stream = &s->remains->streams[record.stream_id];
    lose_versions(s, stream->name, stream->seen + 1, record.version - 1);
    stream->seen = record.version;
  }
}

static bool has_names(const salvage *s, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    mf__record record;
    parse_waiting(s, &s->entries[i], &record);
    if (!stream_name(s, record.stream_id).data || !type_name(s, record.type_id).data) return false;
  }
  return true;
}

/* Entries `from` to `to` are a commit, and all of it. */
static bool recover(salvage *s, size_t from, size_t to) {
  if (!has_names(s, from, to)) {
    lose(s, s->entries[from].position, s->entries[to - 1].position, nameless);
    return true;
  }
  bool recorded = true;
  if (s->writing && !write_commit(s, from, to, &recorded)) return false;
  if (!recorded) {
    lose(s, s->entries[from].position, s->entries[to - 1].position, conflicting);
    return true;
  }
  if (s->entries[from].position != s->last_position + 1) s->report.renumbered = true;
  s->last_position += (int64_t)(to - from);
  s->report.events += (int64_t)(to - from);
  s->report.commits++;
  if (s->writing) note_versions(s, from, to);
  return true;
}

/* ---- which events make a commit ---- */

static void lose_entries(salvage *s, size_t from, size_t to, const char *why) {
  for (size_t i = from; i < to; i++) {
    const waiting *w = &s->entries[i];
    lose(s, w->position, w->position, w->size ? why : unreadable);
  }
}

/* Entries that are commits of one event each. In front of an unreadable one of which it is not
 * known whether a commit ended with it, they may be the beginning of that. */
static bool recover_singles(salvage *s, size_t from, size_t to) {
  size_t certain = from;
  for (size_t i = from; i < to; i++)
    if (!s->entries[i].size && !s->entries[i].told) certain = i + 1;
  lose_entries(s, from, certain, uncertain);
  for (size_t i = certain; i < to; i++) {
    if (!s->entries[i].size)
      lose_entries(s, i, i + 1, unreadable);
    else if (!recover(s, i, i + 1))
      return false;
  }
  return true;
}

static bool all_readable(const salvage *s, size_t from, size_t to) {
  for (size_t i = from; i < to; i++)
    if (!s->entries[i].size) return false;
  return true;
}

static void clear_entries(salvage *s) {
  s->count = s->open = 0;
  s->broken = false;
  s->bytes.size = 0;
}

/* A trailer says that the last `count` entries are a commit. */
static bool end_commit(salvage *s, uint64_t count) {
  size_t from = count < s->count ? s->count - (size_t)count : 0;
  bool whole = count <= s->count && !s->broken && (s->open == 0 || from == 0);
  if (s->open > 0 || s->broken)
    lose_entries(s, 0, from, incomplete);
  else if (!recover_singles(s, 0, from))
    return false;
  if (!whole || !all_readable(s, from, s->count))
    lose_entries(s, from, s->count, incomplete);
  else if (!recover(s, from, s->count))
    return false;
  clear_entries(s);
  return true;
}

/* The block ends, and says that the last `count` entries belong to a commit that goes on. */
static bool go_on(salvage *s, uint64_t count) {
  size_t from = count < s->count ? s->count - (size_t)count : 0;
  if (s->open > 0 || s->broken) {
    s->broken = s->broken || count != s->count;
    s->open = s->count;
    return true;
  }
  if (!recover_singles(s, 0, from)) return false;
  size_t kept = s->count - from;
  memmove(s->entries, s->entries + from, kept * sizeof *s->entries);
  s->broken = count > kept;
  s->count = s->open = kept;
  return true;
}

/* The block ends, and with it every commit; or nobody knows (`told` is false). */
static bool end_block(salvage *s, bool told) {
  if (s->count == 0) {
    clear_entries(s);
    return true;
  }
  if (s->open > 0 || s->broken)
    lose_entries(s, 0, s->count, incomplete);
  else if (!told)
    lose_entries(s, 0, s->count, uncertain);
  else if (!recover_singles(s, 0, s->count))
    return false;
  clear_entries(s);
  return true;
}

static bool add_entry(salvage *s, uint64_t position, const found *f) {
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 256;
    waiting *entries = realloc(s->entries, capacity * sizeof *entries);
    if (!entries) return no_memory(s);
    s->entries = entries;
    s->capacity = capacity;
  }
  size_t size = f->bytes ? f->record.size : 0;
  if (size && f->record.type_name.data)
    mf__remains_type(s->remains, f->record.type_id, f->record.type_name);
  s->entries[s->count++] = (waiting){(int64_t)position, s->bytes.size, size, f->told};
  if (size && !mf__buffer_add(&s->bytes, f->bytes, size)) return no_memory(s);
  s->next = position + 1;
  if (f->trailer.kind == MF__TRAILER_END) return end_commit(s, f->trailer.count);
  return true;
}

/* ---- the events of a block ---- */

static bool read_event(const salvage *s, const uint8_t *p, const uint8_t *limit, uint64_t position,
                       found *f) {
  memset(f, 0, sizeof *f);
  if (!mf__record_parse(p, limit, &f->record)) return false;
  if (!mf__record_verify(p, &f->record, s->remains->record.seed, (int64_t)position)) return false;
  f->bytes = p;
  return true;
}

/* What an unreadable event's slice tells: if the lengths in it still make sense, where it ends, and
 * what stands behind it. */
static void read_ruin(const uint8_t *p, const uint8_t *limit, found *f) {
  mf__record record;
  if (mf__record_parse(p, limit, &record))
    f->told = mf__trailer_parse(p + record.size, limit, &f->trailer);
  if (!f->told) memset(&f->trailer, 0, sizeof f->trailer);
}

/* By the block's own table of offsets. */
static void by_table(const salvage *s, const mf__block *block, found *events, size_t count) {
  for (uint32_t i = 0; i < count; i++) {
    mf_bytes slice;
    found *f = &events[i];
    memset(f, 0, sizeof *f);
    if (!mf__block_slice(block, i, i, &slice)) continue;
    const uint8_t *p = slice.data, *limit = p + slice.size;
    if (read_event(s, p, limit, block->first + i, f))
      f->told = mf__trailer_parse(p + f->record.size, limit, &f->trailer);
    else
      read_ruin(p, limit, f);
  }
}

/* A trailer that nothing ends but itself: where the table is lost. */
static const uint8_t *skip_trailer(const uint8_t *p, const uint8_t *limit, mf__trailer *trailer) {
  for (ptrdiff_t size = 10; size <= MF__TRAILER_MAX && size <= limit - p; size++)
    if (mf__trailer_parse(p, p + size, trailer)) return p + size;
  memset(trailer, 0, sizeof *trailer);
  return p;
}

/* Without the table: events stand one behind the other. Fills what is not known yet. */
static void by_sequence(const salvage *s, uint64_t first, mf_bytes value, found *events,
                        size_t count) {
  const uint8_t *p = (const uint8_t *)value.data + MF__BLOCK_HEADER;
  const uint8_t *limit = (const uint8_t *)value.data + value.size;
  for (size_t i = 0; i < count && p < limit; i++) {
    found one;
    mf__trailer trailer;
    if (!read_event(s, p, limit, first + i, &one)) return;
    const uint8_t *end = p + one.record.size;
    const uint8_t *next = skip_trailer(end, limit, &trailer);
    found after;
    /* The next event tells which it is: it begins behind this one, or behind its trailer. */
    bool plain = i + 1 < count && read_event(s, end, limit, first + i + 1, &after);
    bool behind = next != end && i + 1 < count && read_event(s, next, limit, first + i + 1, &after);
    if (!events[i].bytes) {
      events[i] = one;
      events[i].told = plain || behind;
      if (behind) events[i].trailer = trailer;
    }
    p = behind ? next : end;
  }
}

static bool grow_events(salvage *s, reading *into, size_t count) {
  if (count <= into->capacity) return true;
  found *events = realloc(into->events, count * sizeof *events);
  if (!events) return no_memory(s);
  into->events = events;
  into->capacity = count;
  return true;
}

/* Reads a block of at most so many events (0: as many as it says). */
static bool read_block(salvage *s, reading *into, const mf__piece *piece, size_t *count) {
  mf__block block;
  into->bytes.size = 0;
  if (!mf__buffer_reserve(&into->bytes, (size_t)piece->size + 1)) return no_memory(s);
  ssize_t size = mf__source_read(&s->remains->source, into->bytes.data, piece->size, piece->place);
  mf_bytes value = mf__bytes(into->bytes.data, size > 0 ? (size_t)size : 0);
  bool whole = mf__block_parse(piece->first, value, &block);
  if (whole && (*count == 0 || block.count < *count)) *count = block.count; /* or less is wanted */
  if (!grow_events(s, into, *count)) return false;
  if (*count == 0) return true; /* nor is there room for events then */
  memset(into->events, 0, *count * sizeof *into->events);
  if (whole) by_table(s, &block, into->events, *count);
  if (value.size > MF__BLOCK_HEADER) by_sequence(s, piece->first, value, into->events, *count);
  return true;
}

/* ---- older copies ---- */

/*
 * Reads a copy, unless it was the last that was read. Many copies of many events are looked at once
 * for each event, which in a file that was made for it would never end: when so much has been read,
 * copies have no events.
 */
enum { COPY_FIXED = 4096, COPY_EVENT = 64 }; /* bytes that take as long as it */
static uint64_t copy_most(const mf__source *source) {
  return ((uint64_t)1 << 35) + 16 * source->size;
}

static bool read_copy(salvage *s, const mf__piece *piece, size_t *count) {
  uint64_t cost = COPY_FIXED + piece->size + COPY_EVENT * piece->count;
  *count = s->copied_count;
  if (s->copied == piece) return true;
  s->copied = NULL;
  *count = 0;
  if (s->copy_work < cost) return true;
  s->copy_work -= cost;
  if (!read_block(s, &s->copy, piece, count)) return false;
  s->copied = piece;
  s->copied_count = *count;
  return true;
}

/* The first of the other pieces that begins behind a position. */
static size_t behind(const mf__pieces *pieces, uint64_t position) {
  size_t low = 0, high = pieces->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (pieces->list[middle].first <= position)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/*
 * Of the blocks outside the log's tree that hold a position, the one that has it readable and
 * reaches furthest. Two that have different events there cannot both be right: then there is none.
 */
static const mf__piece *best_copy(salvage *s, uint64_t position) {
  const mf__pieces *others = &s->remains->others;
  const mf__piece *best = NULL;
  uint64_t checksum = 0;
  for (size_t i = behind(others, position); i-- > 0;) {
    const mf__piece *piece = &others->list[i];
    size_t count;
    if (piece->first == 0 || position - piece->first >= others->longest) break;
    if (position - piece->first >= piece->count) continue;
    if (!read_copy(s, piece, &count)) return NULL;
    const found *f =
        position - piece->first < count ? &s->copy.events[position - piece->first] : NULL;
    if (!f || !f->bytes) continue;
    if (best && f->record.checksum != checksum) return NULL;
    checksum = f->record.checksum;
    if (!best || piece->first + piece->count > best->first + best->count) best = piece;
  }
  return best;
}

/* A copy of a block, from the next position on, up to `last`. */
static bool take_copy(salvage *s, const mf__piece *piece, uint64_t last) {
  size_t count = 0;
  if (!read_block(s, &s->block, piece, &count)) return false;
  size_t i = (size_t)(s->next - piece->first);
  for (; i < count && s->next <= last; i++)
    if (!add_entry(s, s->next, &s->block.events[i])) return false;
  const found *end = &s->block.events[count - 1];
  if (i == count && end->trailer.kind == MF__TRAILER_MORE) return go_on(s, end->trailer.count);
  /* The log's end is the end of a commit, whatever a copy that was never committed has behind it.
   */
  bool ends = s->remains->end_known && s->next > s->remains->last;
  return end_block(s, ends || (i == count && end->told));
}

/* Nothing holds the next position: on to the one that some copy holds. */
static bool skip(salvage *s, uint64_t last) {
  size_t i = behind(&s->remains->others, s->next);
  uint64_t until = last;
  if (i < s->remains->others.count && s->remains->others.list[i].first - 1 < last)
    until = s->remains->others.list[i].first - 1;
  if (!end_block(s, true)) return false;
  lose(s, (int64_t)s->next, (int64_t)until, unreadable);
  s->next = until + 1;
  return true;
}

/* Positions that no block of the tree holds, up to `last`; and behind the log's end, where that is
 * not certain, as far as there are copies. */
static bool fill(salvage *s, uint64_t last, bool end) {
  while (s->next <= last || end) {
    const mf__piece *piece = best_copy(s, s->next);
    if (s->status != MF_OK) return false;
    if (!piece && s->next > last) return true;
    bool fine = piece ? take_copy(s, piece, end ? UINT64_MAX : last) : skip(s, last);
    if (!fine || !progress(s)) return false;
  }
  return true;
}

/* ---- the log ---- */

/* An event that cannot be read in its block, from an older copy of that, if there is one. */
static const found *patched(salvage *s, uint64_t position, const found *f) {
  size_t count;
  const mf__piece *copy = f->bytes ? NULL : best_copy(s, position);
  if (!copy || !read_copy(s, copy, &count) || position - copy->first >= count) return f;
  const found *other = &s->copy.events[position - copy->first];
  return other->bytes ? other : f;
}

static bool take_block(salvage *s, const mf__piece *piece, uint64_t end) {
  size_t count = (size_t)(end - piece->first);
  if (count > UINT16_MAX) count = UINT16_MAX;
  if (!read_block(s, &s->block, piece, &count)) return false;
  for (size_t i = 0; i < count; i++) {
    uint64_t position = piece->first + i;
    if (position < s->next) continue; /* two blocks hold it: the first one counts */
    const found *f = patched(s, position, &s->block.events[i]);
    if (s->status != MF_OK || !add_entry(s, position, f)) return false;
    if (i + 1 == count) s->block.events[i] = *f; /* its trailer is looked at below */
  }
  if (count == 0) return end_block(s, true);
  const found *last = &s->block.events[count - 1];
  if (last->trailer.kind == MF__TRAILER_MORE) return go_on(s, last->trailer.count);
  return end_block(s, last->told);
}

static bool go_through_log(salvage *s) {
  const mf__pieces *log = &s->remains->log;
  s->next = 1;
  s->last_position = 0;
  s->copied = NULL;
  s->copy_work = copy_most(&s->remains->source);
  clear_entries(s);
  memset(&s->report, 0, sizeof s->report);
  for (size_t i = 0; i < log->count; i++) {
    const mf__piece *piece = &log->list[i];
    uint64_t end = i + 1 < log->count ? log->list[i + 1].first : s->remains->last + 1;
    if (end < piece->first) end = piece->first;
    if (piece->first > s->next && !fill(s, piece->first - 1, false)) return false;
    if (!take_block(s, piece, end) || !progress(s)) return false;
  }
  if (!fill(s, s->remains->last, s->remains->damaged && !s->remains->end_known)) return false;
  if (!end_block(s, true)) return false;
  tell_loss(s);
  return !s->stopped;
}

static void tell_ends_of_streams(salvage *s) {
  for (size_t id = 1; id < s->remains->stream_capacity; id++) {
    const mf__lost_stream *stream = &s->remains->streams[id];
    lose_versions(s, stream->name, stream->seen + 1, stream->version);
  }
}

/* ---- what stands beside the log ---- */

enum { BESIDE_BATCH = 1000 };

typedef struct copying {
  salvage *s;
  int which;
  mf_txn *txn;
  int in_batch;
} copying;

static bool end_batch(copying *c) {
  salvage *s = c->s;
  if (!c->txn) return true;
  s->status = mf_commit(c->txn, s->error);
  c->txn = NULL;
  c->in_batch = 0;
  return s->status == MF_OK;
}

static bool copy_beside(void *context, const mf__entry *entry) {
  copying *c = context;
  salvage *s = c->s;
  mf_bytes value = entry->value, nothing = {NULL, 0};
  if (entry->missing || !value.data ||
      !mf__unseal(&value, entry->key,
                  mf__seal_seed(s->remains->record.seed, MF__IN_BESIDE + c->which)) ||
      !mf__beside_fits(c->which, entry->key, value))
    return true;
  if (!c->txn && (s->status = mf_begin(s->store, &c->txn, s->error)) != MF_OK) return false;
  s->status = mf__beside_stage(c->txn, c->which, entry->key, value, nothing, s->error);
  if (s->status != MF_OK) return false;
  return ++c->in_batch < BESIDE_BATCH || end_batch(c);
}

static bool copy_all_beside(salvage *s) {
  static const struct {
    const char *name;
    int which;
  } kept[] = {{"code", MF__CODE}, {"commands", MF__COMMANDS}};
  mf__walk walk;
  if (!s->remains->contents.found) return true;
  if (!mf__walk_begin(&walk, &s->remains->source, &s->remains->meta, MF__WALK_TREES))
    return no_memory(s);
  for (int i = 0; i < 2 && s->status == MF_OK; i++) {
    copying c = {s, kept[i].which, NULL, 0};
    mf__visitor visitor = {&c, copy_beside, NULL, true, false};
    const mf__tree *tree = mf__contents_find(&s->remains->contents, kept[i].name);
    if (tree) mf__walk_tree(&walk, tree, (uint8_t)(MF__OWNER_FIRST + i), &visitor);
    if (s->status == MF_OK)
      end_batch(&c);
    else if (c.txn)
      mf_abort(c.txn);
  }
  if (walk.no_memory) no_memory(s);
  mf__walk_end(&walk);
  return s->status == MF_OK;
}

/* ---- all of it ---- */

static int open_new(salvage *s, const char *path) {
  mf_open_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.durability = MF_NONE; /* it is synced when it is closed */
  options.tamper_evident = (s->remains->record.flags & MF__CHAINED) != 0;
  options.seed = s->explicit_ids ? 0 : s->remains->record.seed;
  return mf_open(path, &options, &s->store, s->error);
}

static int write_store(salvage *s, const char *path) {
  s->explicit_ids = s->report.renumbered;
  s->writing = true;
  int status = open_new(s, path);
  if (status != MF_OK) return status;
  bool whole = go_through_log(s);
  if (whole) {
    tell_ends_of_streams(s);
    whole = copy_all_beside(s);
  }
  status = mf_close(s->store);
  if (s->status != MF_OK) return s->status;
  if (!whole) return MF_DONE;
  if (status != MF_OK) return mf__fail(s->error, status, "%s: %s", path, mf_strerror(status));
  mf_verify_report report;
  status = mf_verify(path, NULL, &report, s->error);
  if (status == MF_OK && report.events != s->report.events)
    status = mf__fail(s->error, MF_CORRUPT, "%s: it should hold %lld events, and has %lld", path,
                      (long long)s->report.events, (long long)report.events);
  return status;
}

static int publish(const char *temporary, const char *path, mf_error *error) {
  int rc = mf__file_publish_synced(temporary, path);
  if (rc == EEXIST)
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "%s exists already: salvage overwrites nothing; choose another path", path);
  return mf__fail_db(error, rc, path);
}

static int salvage_source(const mf__source *source, const char *path, const char *new_path,
                          const mf_salvage_options *options, mf_salvage_report *report,
                          mf_error *error) {
  mf__remains remains;
  salvage s;
  memset(&s, 0, sizeof s);
  s.remains = &remains;
  s.options = options;
  s.error = error;
  int status = mf__gather(source, &remains, path, error);
  char *temporary = malloc(strlen(new_path) + 40), *lock = malloc(strlen(new_path) + 48);
  if (status == MF_OK && (!temporary || !lock))
    status = mf__fail(error, MF_NO_MEMORY, "no memory to salvage a store");
  if (status == MF_OK) {
    snprintf(temporary, strlen(new_path) + 40, "%s.partial-%016llx", new_path,
             (unsigned long long)mf__random_u64());
    snprintf(lock, strlen(new_path) + 48, "%s-lock", temporary);
    if (go_through_log(&s))
      status = write_store(&s, temporary);
    else
      status = s.status != MF_OK ? s.status : MF_DONE;
    mf__file_remove(lock);
    if (status == MF_OK) status = publish(temporary, new_path, error);
    if (status != MF_OK) mf__file_remove(temporary);
  }
  if (report) *report = s.report;
  mf__remains_free(&remains);
  mf__buffer_free(&s.bytes);
  mf__buffer_free(&s.block.bytes);
  mf__buffer_free(&s.copy.bytes);
  free(s.block.events);
  free(s.copy.events);
  free(s.entries);
  free(s.batch);
  free(s.ids);
  free(temporary);
  free(lock);
  return status;
}

int mf_salvage(const char *path, const char *new_path, const mf_salvage_options *given,
               mf_salvage_report *report, mf_error *error) {
  mf_salvage_options options;
  mf__source source = {-1, NULL, 0};
  mf__file_id id;
  bool regular = false;
  memset(&options, 0, sizeof options);
  if (given) memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
  if (report) memset(report, 0, sizeof *report);
  if (!path || !*path || !new_path || !*new_path)
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "a path is empty: name the damaged file, and a new "
                    "one");
  if (mf__file_exists(new_path))
    return mf__fail(error, MF_INVALID_ARGUMENT,
                    "%s exists already: salvage overwrites nothing; choose another path", new_path);
  int rc = mf__file_open(path, false, false, &source.fd);
  if (rc == 0) rc = mf__file_stat(source.fd, &id, &source.size, &regular);
  int status = mf__fail_db(error, rc, path);
  if (status == MF_OK && !regular)
    status = mf__fail(error, MF_INVALID_ARGUMENT, "%s is not a regular file", path);
  if (status == MF_OK) status = salvage_source(&source, path, new_path, &options, report, error);
  mf__file_close(source.fd);
  return status;
}
