/*
 * Reading events and listing streams. A reader fetches a batch in a short read transaction, copies
 * it, and lets the transaction go: what its user does between two calls pins nothing. Whole slices
 * of blocks are copied at once.
 */
#include "internal.h"

#include <stdlib.h>

enum {
  FIRST_BATCH = 64, /* events; a reader that is left early has not copied much */
  MOST_EVENTS = 1024,
  MOST_BYTES = 256 * 1024,
  MOST_SCANNED =
      8192, /* events looked at in one read transaction, when most of them are filtered out */
  NAME_SLOTS = 64
};

/* A run of events of a stream: versions version.. stand at positions position.. */
typedef struct run {
  uint64_t version, position, length;
} run;

typedef struct entry {
  int64_t position;
  uint64_t version; /* that the stream's index tells; 0 when reading the log */
  /* In the batch's bytes, of which there are never 4 GiB: where the record begins, where it ends at
   * the latest, and its stream's name. */
  uint32_t offset, limit, name, name_size;
} entry;

struct mf_reader {
  mf_store *store;
  mf_txn *txn;
  int references;           /* one for each mf_reader_close() that is due */
  int64_t version;          /* of the stream or the log when it was opened */
  uint64_t low, high, next; /* what is left: versions or positions; `next` walks */
  int64_t left;             /* how many may still be returned; -1: no limit */
  bool backwards, finished;
  mf_bytes stream; /* owned copy; size 0: the log */
  uint64_t stream_id;
  uint32_t *types;
  size_t type_count;

  run *runs; /* of the chunk in use, valid for one batch */
  size_t run_count, run_capacity;
  uint64_t chunk_first, chunk_end;

  mf__buffer bytes;
  entry *entries;
  size_t entry_count, entry_capacity, at, batch;
  size_t scanned;
  struct {
    uint64_t id;
    uint32_t offset, size;
  } names[NAME_SLOTS];
  uint8_t stream_name[MF_STREAM_NAME_MAX];
};

static entry entry_of(int64_t position, uint64_t version, size_t offset, size_t size) {
  return (entry){position, version, (uint32_t)offset, (uint32_t)(offset + size), 0, 0};
}

static int no_memory(mf_error *error) {
  return mf__fail(error, MF_NO_MEMORY, "no memory to read events");
}

/* ---- postings ---- */

static bool add_run(mf_reader *r, uint64_t *version, uint64_t *base, uint64_t gap,
                    uint64_t length) {
  if (r->run_count == r->run_capacity) {
    size_t capacity = r->run_capacity ? r->run_capacity * 2 : 32;
    run *runs = realloc(r->runs, capacity * sizeof *runs);
    if (!runs) return false;
    r->runs = runs;
    r->run_capacity = capacity;
  }
  r->runs[r->run_count++] = (run){*version, *base + gap + 1, length};
  *version += length;
  *base += gap + length;
  return true;
}

/* Loads the chunk of postings that holds `version`. */
static int load_chunk(mf_reader *r, mf__view *view, uint64_t wanted, mf_error *error) {
  mf__head head;
  bool found;
  int status = mf__view_head(view, r->stream, &head, &found, error);
  if (status != MF_OK) return status;
  uint64_t version = head.chunk_version, base = head.chunk_base, gap, length;
  mf_bytes runs = head.runs;
  bool newest = wanted >= head.chunk_version;
  if (!newest) status = mf__view_chunk(view, head.id, wanted, &version, &base, &runs, error);
  if (status != MF_OK) return status;
  r->stream_id = head.id;
  r->run_count = 0;
  r->chunk_first = version;
  const uint8_t *p = runs.data, *limit = p ? p + runs.size : p;
  while (p < limit) {
    p = mf__run_read(p, limit, &gap, &length);
    if (!p) return mf__corrupt_index(error, view->env, "the index of a stream's events");
    if (!add_run(r, &version, &base, gap, length)) return no_memory(error);
  }
  if (newest && !add_run(r, &version, &base, head.last_gap, head.last_length))
    return no_memory(error);
  r->chunk_end = version;
  if (wanted < r->chunk_first || wanted >= r->chunk_end)
    return mf__corrupt_index(error, view->env, "the index of a stream's events");
  return MF_OK;
}

static const run *find_run(const mf_reader *r, uint64_t version) {
  size_t low = 0, high = r->run_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (r->runs[middle].version <= version)
      low = middle;
    else
      high = middle;
  }
  return &r->runs[low];
}

/* ---- filling a batch ---- */

static bool wanted_type(const mf_reader *r, uint64_t id) {
  for (size_t i = 0; i < r->type_count; i++)
    if (r->types[i] == id) return true;
  return false;
}

static bool intact(const mf_reader *r, const mf__view *view, const entry *e) {
  const uint8_t *p = r->bytes.data + e->offset;
  mf__record record;
  return mf__record_parse(p, r->bytes.data + e->limit, &record) &&
         mf__record_verify(p, &record, view->env->record.seed, e->position);
}

/* Gives an event of the log its stream's name, which stands once in the batch for many events. */
static int name_entry(mf_reader *r, mf__view *view, entry *e, mf_error *error) {
  const uint8_t *p = r->bytes.data + e->offset, *limit = r->bytes.data + e->limit;
  uint64_t id;
  if (!mf__record_stream_id(p, limit, &id))
    return mf__corrupt_event(error, view->env, e->position, "its record makes no sense");
  size_t slot = (size_t)(id % NAME_SLOTS);
  if (r->names[slot].id != id || id == 0) {
    size_t offset = r->bytes.size;
    int status = mf__stream_name(view, id, &r->bytes, error);
    if (status == MF_CORRUPT && !intact(r, view, e)) /* a wrong id, which leads nowhere */
      return mf__corrupt_event(error, view->env, e->position, "its checksum differs");
    if (status != MF_OK) return status;
    r->names[slot].id = id;
    r->names[slot].offset = (uint32_t)offset;
    r->names[slot].size = (uint32_t)(r->bytes.size - offset);
  }
  e->name = r->names[slot].offset;
  e->name_size = r->names[slot].size;
  return MF_OK;
}

static int add_entry(mf_reader *r, mf__view *view, entry e, mf_error *error) {
  if (r->entry_count == r->entry_capacity) {
    size_t capacity = r->entry_capacity ? r->entry_capacity * 4 : 16;
    entry *entries = realloc(r->entries, capacity * sizeof *entries);
    if (!entries) return no_memory(error);
    r->entries = entries;
    r->entry_capacity = capacity;
  }
  if (r->stream.size == 0) {
    int status = name_entry(r, view, &e, error);
    if (status != MF_OK) return status;
  }
  r->entries[r->entry_count++] = e;
  return MF_OK;
}

/* Copies one event when its type is wanted. */
static int add_filtered(mf_reader *r, mf__view *view, mf_bytes slice, int64_t position,
                        uint64_t version, mf_error *error) {
  mf__record record;
  const uint8_t *p = slice.data;
  r->scanned++;
  if (!mf__record_parse(p, p + slice.size, &record) ||
      !mf__record_verify(p, &record, view->env->record.seed, position))
    return mf__corrupt_event(error, view->env, position, "its checksum differs");
  if (!wanted_type(r, record.type_id)) return MF_OK;
  entry e = entry_of(position, version, r->bytes.size, record.size);
  if (!mf__buffer_add(&r->bytes, p, record.size)) return no_memory(error);
  return add_entry(r, view, e, error);
}

static size_t room(const mf_reader *r) {
  size_t room = r->batch > r->entry_count ? r->batch - r->entry_count : 0;
  if (r->left >= 0 && (uint64_t)r->left - r->entry_count < room)
    room = (size_t)r->left - r->entry_count;
  if (r->bytes.size >= MOST_BYTES || r->scanned >= MOST_SCANNED) room = 0;
  return room;
}

static bool copy_slice(mf_reader *r, mf__view *view, mf_bytes slice) {
  if (!mf__buffer_reserve(&r->bytes, slice.size)) return false;
  uint8_t *copy = r->bytes.data + r->bytes.size;
  if (!mf__cold_read(view, slice.data, slice.size, copy)) memcpy(copy, slice.data, slice.size);
  r->bytes.size += slice.size;
  return true;
}

/* Events i to j of a block, in the reader's direction; `version` is that of event i, or 0. */
static int add_slice(mf_reader *r, mf__view *view, const mf__block *block, uint32_t i, uint32_t j,
                     uint64_t version, mf_error *error) {
  mf_bytes slice, one;
  if (!mf__block_slice(block, i, j, &slice))
    return mf__corrupt_event(error, view->env, (int64_t)(block->first + i), "its block's offsets");
  size_t base = r->bytes.size;
  if (r->type_count == 0 && !copy_slice(r, view, slice)) return no_memory(error);
  const uint8_t *start = slice.data;
  for (uint32_t k = 0; k <= j - i; k++) {
    uint32_t at = r->backwards ? j - k : i + k;
    int64_t position = (int64_t)(block->first + at);
    uint64_t its_version = version ? version + (at - i) : 0;
    int status;
    if (!mf__block_slice(block, at, at, &one))
      return mf__corrupt_event(error, view->env, position, "its block's offsets");
    if (r->type_count > 0) {
      if (room(r) == 0) return MF_OK;
      status = add_filtered(r, view, one, position, its_version, error);
    } else {
      size_t offset = base + (size_t)((const uint8_t *)one.data - start);
      entry e = entry_of(position, its_version, offset, one.size);
      status = add_entry(r, view, e, error);
    }
    if (status != MF_OK) return status;
    r->next += r->backwards ? (uint64_t)-1 : 1;
  }
  return MF_OK;
}

/* One event. */
static int add_record(mf_reader *r, mf__view *view, mf_bytes slice, int64_t position,
                      uint64_t version, mf_error *error) {
  int status;
  if (r->type_count > 0)
    status = add_filtered(r, view, slice, position, version, error);
  else {
    entry e = entry_of(position, version, r->bytes.size, slice.size);
    if (!mf__buffer_add(&r->bytes, slice.data, slice.size)) return no_memory(error);
    status = add_entry(r, view, e, error);
  }
  r->next += r->backwards ? (uint64_t)-1 : 1;
  return status;
}

/* One staged event of the transaction that the reader belongs to. */
static int add_staged(mf_reader *r, mf__view *view, int64_t position, uint64_t version,
                      mf_error *error) {
  mf_bytes slice;
  slice.data = mf__staged_record(view->staged, position, &slice.size);
  return add_record(r, view, slice, position, version, error);
}

/* Adds events at positions first..last, which are all wanted, as many as fit; `version` is that of
 * `first`, or 0. */
static int add_positions(mf_reader *r, mf__view *view, int64_t first, int64_t last,
                         uint64_t version, mf_error *error) {
  while (first <= last && room(r) > 0) {
    int64_t edge = r->backwards ? last : first;
    if (view->staged && edge > view->staged->base_position) {
      uint64_t its_version = version ? version + (uint64_t)(edge - first) : 0;
      int status = add_staged(r, view, edge, its_version, error);
      if (status != MF_OK) return status;
      if (r->backwards)
        last--;
      else {
        first++;
        if (version) version++;
      }
      continue;
    }
    mf__block block;
    mf__sought sought = {r->stream_id, version, {NULL, 0}};
    bool alone = first == last && version > 0;
    int status = mf__view_block(view, edge, alone ? &sought : NULL, &block, error);
    if (status != MF_OK) return status;
    if (sought.record.data) return add_record(r, view, sought.record, edge, version, error);
    int64_t start = (int64_t)block.first, end = start + block.count - 1;
    int64_t from = first > start ? first : start, to = last < end ? last : end;
    int64_t most = r->type_count ? INT32_MAX : (int64_t)room(r);
    if (to - from + 1 > most) {
      if (r->backwards)
        from = to - most + 1;
      else
        to = from + most - 1;
    }
    status = add_slice(r, view, &block, (uint32_t)(from - start), (uint32_t)(to - start),
                       version ? version + (uint64_t)(from - first) : 0, error);
    if (status != MF_OK) return status;
    if (r->backwards)
      last = from - 1;
    else {
      if (version) version += (uint64_t)(to + 1 - first);
      first = to + 1;
    }
  }
  return MF_OK;
}

static int fill_from_log(mf_reader *r, mf__view *view, mf_error *error) {
  if (r->backwards) return add_positions(r, view, (int64_t)r->low, (int64_t)r->next, 0, error);
  return add_positions(r, view, (int64_t)r->next, (int64_t)r->high, 0, error);
}

static int fill_from_stream(mf_reader *r, mf__view *view, mf_error *error) {
  r->chunk_first = r->chunk_end = 0;
  while (r->next >= r->low && r->next <= r->high && room(r) > 0) {
    if (r->next < r->chunk_first || r->next >= r->chunk_end) {
      int status = load_chunk(r, view, r->next, error);
      if (status != MF_OK) return status;
    }
    const run *found = find_run(r, r->next);
    uint64_t from = r->backwards ? found->version : r->next;
    uint64_t to = r->backwards ? r->next : found->version + found->length - 1;
    if (from < r->low) from = r->low;
    if (to > r->high) to = r->high;
    int64_t offset = (int64_t)(found->position - found->version);
    int status = add_positions(r, view, (int64_t)from + offset, (int64_t)to + offset, from, error);
    if (status != MF_OK) return status;
  }
  return MF_OK;
}

static bool exhausted(const mf_reader *r) {
  return r->finished || r->left == 0 || r->low > r->high || r->next < r->low || r->next > r->high;
}

static int fill_in(mf_reader *r, mf__view *view, mf_error *error) {
  r->entry_count = r->at = 0;
  r->bytes.size = 0;
  r->scanned = 0;
  memset(r->names, 0, sizeof r->names);
  int status = mf__load_types(view, error);
  if (status != MF_OK) return status;
  status = r->stream.size ? fill_from_stream(r, view, error) : fill_from_log(r, view, error);
  if (status == MF_OK) r->batch = r->batch * 4 < MOST_EVENTS ? r->batch * 4 : MOST_EVENTS;
  if (r->left > 0) r->left -= (int64_t)r->entry_count;
  return status;
}

static int fill(mf_reader *r, mf_error *error) {
  mf__view view;
  if (r->txn) {
    int status = mf__txn_usable(r->txn, error);
    return status != MF_OK ? status : mf__txn_note(r->txn, fill_in(r, &r->txn->view, error));
  }
  int status = mf__store_usable(r->store, error);
  if (status == MF_OK) status = mf__view_begin(r->store->env, &view, error);
  if (status != MF_OK) return status;
  status = fill_in(r, &view, error);
  mf__view_end(&view);
  return status;
}

/* ---- opening ---- */

static int resolve_types(mf_reader *r, mf__view *view, const mf_read_options *options,
                         mf_error *error) {
  if (!options->types) return MF_OK;
  r->types = malloc((options->type_count + 1) * sizeof *r->types);
  if (!r->types) return no_memory(error);
  for (size_t i = 0; i < options->type_count; i++) {
    uint32_t id;
    int status = mf__type_id(view, options->types[i], &id, error);
    if (status != MF_OK) return status;
    if (id != 0) r->types[r->type_count++] = id;
  }
  if (r->type_count == 0) r->finished = true; /* nobody ever recorded such events */
  return MF_OK;
}

static int resolve(mf_reader *r, mf__view *view, const mf_read_options *options, mf_error *error) {
  mf__head head;
  bool found;
  int status;
  if (r->stream.size) {
    status = mf__view_head(view, r->stream, &head, &found, error);
    if (status == MF_OK) r->version = (int64_t)head.version;
    if (status == MF_OK)
      status = mf__check_expectation(r->stream, options->expected_version, r->version, error);
  } else
    status = mf__view_last_position(view, &r->version, error);
  if (status != MF_OK) return status;
  r->low = options->from > 1 ? (uint64_t)options->from : 1;
  r->high = (uint64_t)(options->to < r->version ? options->to : r->version);
  r->next = r->backwards ? r->high : r->low;
  return resolve_types(r, view, options, error);
}

/* Opens and reads the first batch in one read transaction. */
static int start(mf_reader *r, mf__view *view, const mf_read_options *options, mf_error *error) {
  int status = resolve(r, view, options, error);
  if (status == MF_OK && !exhausted(r)) status = fill_in(r, view, error);
  return status;
}

static int check_read_options(const mf_read_options *o, mf_error *error) {
  if (o->from < 0 || o->to < 0)
    return mf__fail(error, MF_INVALID_ARGUMENT, "a range begins at 1, and %lld is negative",
                    (long long)(o->from < 0 ? o->from : o->to));
  if (o->max_count < -1)
    return mf__fail(error, MF_INVALID_ARGUMENT, "%lld is no count", (long long)o->max_count);
  if (o->expected_version < MF_STREAM_EXISTS)
    return mf__fail(error, MF_INVALID_ARGUMENT, "%lld is no stream version",
                    (long long)o->expected_version);
  return o->stream.data ? mf__check_name(o->stream, error) : MF_OK;
}

/* A reader that has not looked at anything. NULL: no memory. */
static mf_reader *new_reader(mf_store *store, mf_txn *txn, mf_bytes stream) {
  mf_reader *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->store = store;
  r->txn = txn;
  r->references = 1;
  r->left = -1;
  r->batch = FIRST_BATCH;
  memcpy(r->stream_name, stream.data ? stream.data : "", stream.size);
  r->stream = mf__bytes(r->stream_name, stream.size);
  mf__store_retain(store);
  return r;
}

int mf_reader_open(mf_store *store, mf_txn *txn, const mf_read_options *given, mf_reader **out,
                   mf_error *error) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  if (given) memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
  *out = NULL;
  int status = txn ? mf__txn_usable(txn, error) : mf__store_usable(store, error);
  if (status == MF_OK) status = check_read_options(&options, error);
  if (status != MF_OK) return status;
  mf_reader *r = new_reader(store, txn, options.stream);
  if (!r) return no_memory(error);
  r->left = options.max_count;
  r->backwards = options.backwards;
  if (txn)
    status = mf__txn_note(txn, start(r, &txn->view, &options, error));
  else {
    mf__view view;
    status = mf__view_begin(store->env, &view, error);
    if (status == MF_OK) {
      status = start(r, &view, &options, error);
      mf__view_end(&view);
    }
  }
  if (status != MF_OK) {
    mf_reader_close(r);
    return status;
  }
  *out = r;
  return MF_OK;
}

int64_t mf_reader_version(const mf_reader *reader) {
  return reader->version;
}

void mf_reader_close(mf_reader *r) {
  if (!r || --r->references > 0) return;
  mf__store_release(r->store);
  mf__buffer_free(&r->bytes);
  free(r->entries);
  free(r->runs);
  free(r->types);
  free(r);
}

/* ---- next ---- */

static int give(mf_reader *r, const entry *e, mf_event *event, mf_error *error) {
  mf__env *env = r->store->env;
  const uint8_t *p = r->bytes.data + e->offset;
  mf__record record;
  if (!mf__record_parse(p, r->bytes.data + e->limit, &record) ||
      !mf__record_verify(p, &record, env->record.seed, e->position))
    return mf__corrupt_event(error, env, e->position, "its checksum differs");
  if (e->version && (record.version != e->version || record.stream_id != r->stream_id))
    return mf__corrupt_event(error, env, e->position, "it is not the one that the index names");
  event->stream = r->stream.size ? r->stream : mf__bytes(r->bytes.data + e->name, e->name_size);
  event->data = record.data;
  event->metadata = record.metadata;
  event->message_id = record.message_id;
  event->extension = event->command_id = mf__bytes(NULL, 0);
  if (record.extension.data) {
    event->extension = mf__extension_find(record.extension, MF__EXT_CALLER);
    event->command_id = mf__command_of(record.extension).id;
  }
  event->envelope = record.extension;
  event->version = (int64_t)record.version;
  event->position = e->position;
  event->recorded_at = record.recorded_at;
  const mf_txn *staged = r->txn ? r->txn->view.staged : NULL;
  const mf__type *type =
      staged && record.type_id > staged->base_type_id ? NULL : mf__type_by_id(env, record.type_id);
  event->type_id = type ? (uint32_t)record.type_id : 0;
  if (type) {
    event->type = mf__bytes(type->name, type->size);
    return MF_OK;
  }
  if (!r->txn) return mf__corrupt_index(error, env, "the table of event types");
  return mf__type_of(&r->txn->view, record.type_id, &event->type, error);
}

int mf_reader_next(mf_reader *r, mf_event *event, mf_error *error) {
  if (r->store->closed) return mf__store_usable(r->store, error);
  while (r->at >= r->entry_count) {
    if (exhausted(r)) return MF_DONE;
    uint64_t before = r->next;
    int status = fill(r, error);
    if (status == MF_OK && r->entry_count == 0 && r->next == before)
      status = mf__corrupt_index(error, r->store->env, "the order of the log");
    if (status != MF_OK) {
      r->finished = true;
      r->at = r->entry_count = 0;
      return status;
    }
  }
  int status = give(r, &r->entries[r->at++], event, error);
  if (status != MF_OK) {
    r->finished = true;
    r->at = r->entry_count;
  }
  return status;
}

mf_bytes mf_event_decision(const mf_event *event, mf_decision_part part) {
  return mf__extension_find(event->envelope, (uint8_t)part);
}

size_t mf_message_id(uint64_t seed, const mf_event *event, char text[MF_ID_MAX + 1]) {
  if (event->message_id.data) {
    memcpy(text, event->message_id.data, event->message_id.size);
    text[event->message_id.size] = '\0';
    return event->message_id.size;
  }
  mf__generated_id(seed, event->position, text);
  return 36;
}

/* ---- several streams at once ---- */

/* Events of a stream that stand one after the other in the log. */
typedef struct stretch {
  uint64_t position;
  uint32_t length, reader;
} stretch;

typedef struct gathering {
  mf_store *store;
  mf_txn *txn;
  mf__view *view, own;
  mf_reader **readers;
  size_t bytes, most;
  size_t events, looked; /* asked for; since the view was taken */
  stretch *list, *spare;
  size_t count, capacity;
  mf__block block; /* the last one that was looked up in this view; count 0: none */
} gathering;

enum { MOST_GATHERED = 1 << 18 }; /* events */

static bool add_stretch(gathering *g, uint64_t position, uint64_t length, size_t reader) {
  if (g->count == g->capacity) {
    size_t capacity = g->capacity ? g->capacity * 2 : 1024;
    stretch *list = realloc(g->list, capacity * sizeof *list);
    if (!list) return false;
    g->list = list;
    g->capacity = capacity;
  }
  g->list[g->count++] = (stretch){position, (uint32_t)length, (uint32_t)reader};
  return true;
}

/* Where the events of a stream stand. MF_DONE: there are too many. */
static int locate(gathering *g, size_t i, int64_t to, mf_error *error) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *r = g->readers[i];
  options.to = to;
  int status = resolve(r, g->view, &options, error);
  if (status != MF_OK) return status;
  uint64_t events = r->high >= r->low ? r->high - r->low + 1 : 0;
  if (events > MOST_GATHERED - g->events) return MF_DONE;
  g->events += events;
  for (uint64_t version = r->low; version <= r->high;) {
    status = load_chunk(r, g->view, version, error);
    if (status != MF_OK) return status;
    for (const run *one = find_run(r, version), *end = r->runs + r->run_count;
         one < end && version <= r->high; one++) {
      uint64_t last = one->version + one->length - 1;
      if (last > r->high) last = r->high;
      if (!add_stretch(g, one->position + (version - one->version), last - version + 1, i))
        return no_memory(error);
      version = last + 1;
    }
  }
  free(r->runs);
  r->runs = NULL;
  r->run_count = r->run_capacity = 0;
  r->entries = malloc((events + 1) * sizeof *r->entries);
  r->entry_capacity = r->entries ? events + 1 : 0;
  return r->entries ? MF_OK : no_memory(error);
}

/* By position, eleven bits at a time, the lowest first. */
static bool sort_stretches(gathering *g) {
  enum { BITS = 11, DIGITS = 1 << BITS };
  uint64_t highest = 0;
  if (g->count < 2) return true;
  for (size_t i = 0; i < g->count; i++)
    if (g->list[i].position > highest) highest = g->list[i].position;
  g->spare = malloc(g->count * sizeof *g->spare);
  if (!g->spare) return false;
  for (unsigned shift = 0; shift < 64 && highest >> shift != 0; shift += BITS) {
    size_t starts[DIGITS + 1] = {0};
    for (size_t i = 0; i < g->count; i++)
      starts[(g->list[i].position >> shift) % DIGITS + 1]++;
    for (size_t digit = 0; digit < DIGITS; digit++)
      starts[digit + 1] += starts[digit];
    for (size_t i = 0; i < g->count; i++)
      g->spare[starts[(g->list[i].position >> shift) % DIGITS]++] = g->list[i];
    stretch *sorted = g->spare;
    g->spare = g->list;
    g->list = sorted;
  }
  return true;
}

/* No read transaction of our own lasts longer than the one of a reader. */
static int renew_view(gathering *g, mf_error *error) {
  if (g->txn || g->looked < MOST_SCANNED) return MF_OK;
  mf__view_end(g->view);
  g->view = NULL;
  g->looked = 0;
  g->block.count = 0;
  int status = mf__view_begin(g->store->env, &g->own, error);
  if (status == MF_OK) g->view = &g->own;
  return status;
}

/* The next events of a stretch: those that stand in one block, or one that is staged. */
static int copy_some(gathering *g, mf_reader *r, uint64_t *position, uint64_t end,
                     mf_error *error) {
  uint64_t first = *position, last = first;
  int status = MF_OK;
  if (g->view->staged && first > (uint64_t)g->view->staged->base_position)
    status = add_staged(r, g->view, (int64_t)first, r->next, error);
  else {
    if (first < g->block.first || first - g->block.first >= g->block.count) {
      g->block.count = 0;
      status = mf__view_block(g->view, (int64_t)first, NULL, &g->block, error);
      if (status != MF_OK) g->block.count = 0;
      if (status != MF_OK) return status;
    }
    last = g->block.first + g->block.count - 1;
    if (last >= end) last = end - 1;
    status = add_slice(r, g->view, &g->block, (uint32_t)(first - g->block.first),
                       (uint32_t)(last - g->block.first), r->next, error);
  }
  g->looked += last - first + 1;
  *position = last + 1;
  return status;
}

/* MF_DONE: there is no room for it. */
static int copy_stretch(gathering *g, mf_reader *r, const stretch *s, mf_error *error) {
  uint64_t position = s->position, end = s->position + s->length;
  while (position < end) {
    if (g->bytes > g->most) return MF_DONE;
    size_t before = r->bytes.size;
    int status = renew_view(g, error);
    if (status == MF_OK) status = copy_some(g, r, &position, end, error);
    g->bytes += r->bytes.size - before;
    if (status != MF_OK) return status;
  }
  return MF_OK;
}

/* A stream that lacks something goes without: for room, or because of damage, which who reads it
 * alone is told. MF_OK, or what concerns all streams. */
static int go_without(gathering *g, size_t i, int status) {
  if (status != MF_DONE && status != MF_CORRUPT) return status;
  g->bytes -= g->readers[i]->bytes.size;
  mf_reader_close(g->readers[i]);
  g->readers[i] = NULL;
  return MF_OK;
}

/* Reads what stands in the list, in its order. */
static int copy_all(gathering *g, mf_error *error) {
  int status = MF_OK;
  for (size_t k = 0; k < g->count && status == MF_OK; k++) {
    size_t i = g->list[k].reader;
    if (!g->readers[i]) continue;
    status = copy_stretch(g, g->readers[i], &g->list[k], error);
    status = go_without(g, i, status);
  }
  return status;
}

static int gather(gathering *g, const mf_bytes *streams, const int64_t *to, size_t count,
                  mf_error *error) {
  int status = mf__load_types(g->view, error);
  for (size_t i = 0; i < count && status == MF_OK; i++) {
    g->readers[i] = new_reader(g->store, g->txn, streams[i]);
    status = g->readers[i] ? go_without(g, i, locate(g, i, to[i], error)) : no_memory(error);
  }
  if (status == MF_OK && !sort_stretches(g)) status = no_memory(error);
  return status == MF_OK ? copy_all(g, error) : status;
}

int mf_readers_open(mf_store *store, mf_txn *txn, const mf_bytes *streams, const int64_t *to,
                    size_t count, size_t most, mf_reader **readers, mf_error *error) {
  gathering g = {.store = store, .txn = txn, .readers = readers, .most = most};
  memset(readers, 0, count * sizeof(mf_reader *));
  int status = txn ? mf__txn_usable(txn, error) : mf__store_usable(store, error);
  for (size_t i = 0; i < count && status == MF_OK; i++)
    status = mf__check_name(streams[i], error);
  if (status != MF_OK) return status;
  g.view = txn ? &txn->view : &g.own;
  if (!txn) status = mf__view_begin(store->env, &g.own, error);
  if (status != MF_OK) return status;
  status = gather(&g, streams, to, count, error);
  if (txn)
    mf__txn_note(txn, status);
  else if (g.view)
    mf__view_end(g.view);
  free(g.list);
  free(g.spare);
  for (size_t i = 0; i < count && status != MF_OK; i++) {
    mf_reader_close(readers[i]);
    readers[i] = NULL;
  }
  return status;
}

void mf_reader_rewind(mf_reader *r, int64_t from, int64_t to) {
  uint64_t low = from > 1 ? (uint64_t)from : 1, count = r->high - r->low + 1;
  if (r->high < r->low) count = 0;
  r->entry_count = (uint64_t)to < count ? (size_t)to : (size_t)count;
  r->at = low - 1 < r->entry_count ? (size_t)low - 1 : r->entry_count;
  r->references++;
}

/* ---- single look-ups ---- */

static int version_in(mf__view *view, mf_bytes stream, int64_t *version, mf_error *error) {
  mf__head head;
  bool found;
  int status = mf__view_head(view, stream, &head, &found, error);
  *version = status == MF_OK ? (int64_t)head.version : 0;
  return status;
}

int mf_stream_version(mf_store *store, mf_txn *txn, mf_bytes stream, int64_t *version,
                      mf_error *error) {
  int status = mf__check_name(stream, error);
  if (status != MF_OK) return status;
  MF__IN_VIEW(store, txn, view, error, version_in(view, stream, version, error));
}

int mf_last_position(mf_store *store, mf_txn *txn, int64_t *position, mf_error *error) {
  MF__IN_VIEW(store, txn, view, error, mf__view_last_position(view, position, error));
}

/* ---- listing streams ---- */

enum { STREAMS_BATCH = 256 };

typedef struct listed {
  size_t name, size; /* in bytes */
  int64_t version;
} listed;

struct mf_streams {
  mf_store *store;
  mf_txn *txn;
  uint64_t last_id; /* streams that were created later are not listed */
  mf_bytes prefix;
  mf__buffer after; /* the last name of the batch before */
  bool started, finished;
  mf__buffer bytes;
  listed batch[STREAMS_BATCH];
  size_t count, at;
  mf_bytes *staged; /* names of those that the transaction has created, sorted; in its arena */
  size_t staged_count, staged_at;
  uint8_t prefix_bytes[MF_STREAM_NAME_MAX];
};

static bool has_prefix(mf_bytes name, mf_bytes prefix) {
  return name.size >= prefix.size &&
         (prefix.size == 0 || memcmp(name.data, prefix.data, prefix.size) == 0);
}

static int compare_names(mf_bytes a, mf_bytes b) {
  int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_staged(const void *a, const void *b) {
  const mf_bytes *x = a, *y = b;
  return compare_names(*x, *y);
}

static bool list_one(mf_streams *s, mf_bytes name, uint64_t version) {
  s->batch[s->count] = (listed){s->bytes.size, name.size, (int64_t)version};
  if (!mf__buffer_add(&s->bytes, name.data, name.size)) return false;
  s->count++;
  return true;
}

/* The created streams of the transaction that come before `name` (all that are left, when it is
 * absent). */
static bool list_staged_before(mf_streams *s, mf_bytes name) {
  while (s->staged_at < s->staged_count && s->count < STREAMS_BATCH) {
    mf_bytes one = s->staged[s->staged_at];
    if (name.data && compare_names(one, name) > 0) break;
    const mf__staged_stream *staged = mf__staged_find(s->txn, one); /* NULL: rolled back since */
    if (staged && !list_one(s, one, staged->head.version)) return false;
    s->staged_at++;
  }
  return true;
}

static int list_stored(mf_streams *s, mf__view *view, mf_bytes name, mf_bytes value,
                       mf_error *error) {
  mf__head head;
  if (!mf__unseal(&value, name, view->env->record.seed) || !mf__head_read(value, &head)) {
    char quoted[MF__QUOTED];
    return mf__fail(error, MF_CORRUPT, "%s: the head of stream %s is damaged", view->env->path,
                    mf__quote(name, quoted));
  }
  if (head.id > s->last_id) return MF_OK;
  const mf__staged_stream *staged = view->staged ? mf__staged_find(view->staged, name) : NULL;
  if (!list_staged_before(s, name)) return no_memory(error);
  if (s->count == STREAMS_BATCH) return MF_DONE; /* it comes again in the next batch */
  return list_one(s, name, staged ? staged->head.version : head.version) ? MF_OK : no_memory(error);
}

static int fill_streams(mf_streams *s, mf__view *view, mf_error *error) {
  MDB_cursor *cursor;
  mf_bytes from = s->started ? mf__bytes(s->after.data, s->after.size) : s->prefix;
  MDB_val key = {from.size, (void *)(uintptr_t)from.data}, value;
  int rc = mdb_cursor_open(view->db, view->env->streams, &cursor);
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  s->count = s->at = 0;
  s->bytes.size = 0;
  rc = mdb_cursor_get(cursor, &key, &value, from.size ? MDB_SET_RANGE : MDB_FIRST);
  int status = MF_OK;
  while (rc == 0 && s->count < STREAMS_BATCH) {
    mf_bytes name = mf__bytes(key.mv_data, key.mv_size);
    if (!has_prefix(name, s->prefix))
      rc = MDB_NOTFOUND;
    else {
      bool again = s->started && mf__same(name, mf__bytes(s->after.data, s->after.size));
      if (!again)
        status = list_stored(s, view, name, mf__bytes(value.mv_data, value.mv_size), error);
      if (status != MF_OK) break;
      rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
  }
  mdb_cursor_close(cursor);
  if (status < 0) return status;
  if (rc != 0 && rc != MDB_NOTFOUND) return mf__fail_db(error, rc, view->env->path);
  if (rc == MDB_NOTFOUND) {
    if (!list_staged_before(s, mf__bytes(NULL, 0))) return no_memory(error);
    s->finished = s->staged_at == s->staged_count;
  }
  s->started = true;
  return MF_OK;
}

/* The name up to which everything has been listed: the batch's last one. */
static bool remember_place(mf_streams *s) {
  if (s->count == 0) return true;
  const listed *last = &s->batch[s->count - 1];
  s->after.size = 0;
  return mf__buffer_add(&s->after, s->bytes.data + last->name, last->size);
}

static int begin_listing(mf_streams *s, mf__view *view, mf_error *error) {
  MDB_stat stat;
  const mf_txn *txn = view->staged;
  int rc = mdb_stat(view->db, view->env->names, &stat);
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  s->last_id = stat.ms_entries;
  if (!txn || txn->created_count == 0) return MF_OK;
  s->staged = malloc(txn->created_count * sizeof *s->staged);
  if (!s->staged) return no_memory(error);
  for (size_t i = 0; i < txn->created_count; i++) {
    const mf__staged_stream *stream = &txn->streams[txn->created[i]];
    if (stream->head.version > 0 && has_prefix(stream->name, s->prefix))
      s->staged[s->staged_count++] = stream->name;
  }
  qsort(s->staged, s->staged_count, sizeof *s->staged, compare_staged);
  return MF_OK;
}

int mf_streams_open(mf_store *store, mf_txn *txn, mf_bytes prefix, mf_streams **out,
                    mf_error *error) {
  *out = NULL;
  int status = txn ? mf__txn_usable(txn, error) : mf__store_usable(store, error);
  if (status != MF_OK) return status;
  mf_streams *s = calloc(1, sizeof *s);
  if (!s) return no_memory(error);
  s->store = store;
  s->txn = txn;
  s->finished = prefix.size > MF_STREAM_NAME_MAX; /* no stream has such a name */
  mf__store_retain(store);
  if (!s->finished && prefix.size) memcpy(s->prefix_bytes, prefix.data, prefix.size);
  s->prefix = mf__bytes(s->prefix_bytes, s->finished ? 0 : prefix.size);
  mf__view view;
  if (txn)
    status = mf__txn_note(txn, begin_listing(s, &txn->view, error));
  else if ((status = mf__view_begin(store->env, &view, error)) == MF_OK) {
    status = begin_listing(s, &view, error);
    mf__view_end(&view);
  }
  if (status != MF_OK) {
    mf_streams_close(s);
    return status;
  }
  *out = s;
  return MF_OK;
}

static int refill_streams(mf_streams *s, mf_error *error) {
  mf__view view;
  if (!remember_place(s)) return no_memory(error);
  int status = s->txn ? mf__txn_usable(s->txn, error) : mf__store_usable(s->store, error);
  if (status != MF_OK) return status;
  if (s->txn) return mf__txn_note(s->txn, fill_streams(s, &s->txn->view, error));
  status = mf__view_begin(s->store->env, &view, error);
  if (status != MF_OK) return status;
  status = fill_streams(s, &view, error);
  mf__view_end(&view);
  return status;
}

int mf_streams_next(mf_streams *s, mf_bytes *name, int64_t *version, mf_error *error) {
  if (s->store->closed) return mf__store_usable(s->store, error);
  while (s->at >= s->count) {
    if (s->finished) return MF_DONE;
    int status = refill_streams(s, error);
    if (status != MF_OK) {
      s->finished = true;
      s->count = s->at = 0;
      return status;
    }
  }
  const listed *one = &s->batch[s->at++];
  *name = mf__bytes(s->bytes.data + one->name, one->size);
  *version = one->version;
  return MF_OK;
}

void mf_streams_close(mf_streams *s) {
  if (!s) return;
  mf__store_release(s->store);
  mf__buffer_free(&s->after);
  mf__buffer_free(&s->bytes);
  free(s->staged);
  free(s);
}
