/*
 * Checks everything that is in a file, on the walker of walk.c. The log is read first, once, from
 * its first position to its last: what it tells of each stream and each id is summed up in a few
 * bytes, and what the indexes say must come to the same sums.
 */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* What is known of a stream: what the log tells, and what the index does. */
typedef struct stream_sum {
  uint64_t name;                     /* hash of its name; 0: it has none */
  uint64_t events, positions;        /* in the log: how many, and a hash of where */
  uint64_t indexed, index_positions; /* in the index */
  uint64_t index_last;               /* the last position that the index has told so far */
} stream_sum;

enum { NAMED_MOST = 5 }; /* of a kind: the first tell where to look */

/* A stream whose index does not fit the log, which is looked at once more to tell where. */
typedef struct differing {
  mf_bytes name; /* this and the head's runs are in the arena */
  uint64_t page; /* of its head; with the message it is told where no version differs */
  const char *message;
  mf__head head;

  uint64_t from, end, width;  /* the versions in question, and how many share a sum */
  uint64_t told;              /* the last version that the index has told in this round */
  uint64_t *logged, *indexed; /* sums over them; of one version: its position, or 0 */
} differing;

typedef struct verification {
  mf__walk walk;
  mf__contents contents;
  mf_verify_options options;
  mf_verify_report *report;
  uint64_t seed;
  const char *database; /* that is being walked */
  mf_part part;
  bool no_memory, stopped; /* stopped: by options.progress, in a second look */

  stream_sum *streams; /* by id */
  size_t stream_capacity;
  uint64_t names; /* how many streams have a name */
  differing differing[NAMED_MOST];
  size_t differing_count;
  mf__map type_names; /* owned copies, in the arena */
  mf__arena arena;
  uint64_t types;

  uint64_t next;            /* the position that the log must go on with */
  uint64_t open, open_hash; /* events of a commit that began in an earlier block, and their hash */
  bool log_damaged;
  uint64_t unreadable;                 /* events so far */
  uint64_t messages, commands, id_sum; /* in the log; the index's are subtracted from id_sum */
  uint64_t index_messages, index_commands;

  bool chained, link_known; /* link_known: of the commit before, so that the next can be compared */
  mf__chain chain;
  uint8_t link[MF_LINK_SIZE];
  bool link_met;          /* the position of options.link was the end of a commit */
  mf_bytes *stream_names; /* by id; only where there is a chain */
  size_t stream_name_capacity;
  mf_bytes *types_by_id;
  size_t type_capacity;
} verification;

const char *mf_part_name(mf_part part) {
  static const char *const names[MF_PARTS] = {"pages", "log",   "streams", "types",
                                              "ids",   "chain", "beside"};
  return part < MF_PARTS ? names[part] : "unknown";
}

/* ---- telling ---- */

static void tell(verification *v, const mf_problem *problem) {
  v->report->problems[problem->part]++;
  if (v->options.problem) v->options.problem(v->options.context, problem);
}

__attribute__((format(printf, 5, 6))) static void
wrong(verification *v, mf_part part, int64_t position, uint64_t page, const char *format, ...) {
  char message[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  mf_problem problem = {part, position, {NULL, 0}, page, message};
  if (part == MF_PART_LOG) v->log_damaged = true;
  tell(v, &problem);
}

static void wrong_stream(verification *v, mf_bytes stream, int64_t position, uint64_t page,
                         const char *message) {
  mf_problem problem = {MF_PART_STREAMS, position, stream, page, message};
  tell(v, &problem);
}

static void page_problem(void *context, uint64_t page, const char *why) {
  verification *v = context;
  wrong(v, MF_PART_PAGES, 0, page, "%s: %s", v->database, why);
  /* What stood there is missing in what the others are compared with. */
  if (v->part == MF_PART_LOG) v->log_damaged = true;
}

/* ---- sums ---- */

static uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 29;
}

/* NULL: it has no name. Names are read before all else. */
static stream_sum *stream_of(const verification *v, uint64_t id) {
  return id >= 1 && id <= v->stream_capacity && v->streams[id - 1].name ? &v->streams[id - 1]
                                                                        : NULL;
}

/* NULL: no memory, or an id that no file of this size can have. */
static stream_sum *new_stream(verification *v, uint64_t id) {
  if (id == 0 || id > v->walk.pages * v->walk.meta.page_size / 16) return NULL;
  if (id > v->stream_capacity) {
    size_t capacity = v->stream_capacity ? v->stream_capacity * 2 : 1024;
    while (capacity < id)
      capacity *= 2;
    stream_sum *streams = realloc(v->streams, capacity * sizeof *streams);
    if (!streams) {
      v->no_memory = true;
      return NULL;
    }
    memset(streams + v->stream_capacity, 0, (capacity - v->stream_capacity) * sizeof *streams);
    v->streams = streams;
    v->stream_capacity = capacity;
  }
  return &v->streams[id - 1];
}

static uint64_t message_sum(mf_bytes id, uint64_t position) {
  return mf__hash(id, mix(1, position));
}

static uint64_t command_sum(uint64_t stream, mf_bytes id, const uint8_t *digest, uint64_t version,
                            uint64_t position) {
  return mf__hash(mf__bytes(digest, 16), mf__hash(id, mix(mix(mix(2, stream), version), position)));
}

static bool unseal(const verification *v, int database, mf_bytes key, mf_bytes *value) {
  return value->data && mf__unseal(value, key, mf__seal_seed(v->seed, database));
}

/* ---- names of streams and types ---- */

/* Keeps a copy of a name, for the chain's hashes. */
static void keep_name(verification *v, mf_bytes **names, size_t *capacity, uint64_t id,
                      mf_bytes name) {
  if (id >= *capacity) {
    size_t larger = (size_t)id * 2 + 64;
    mf_bytes *list = realloc(*names, larger * sizeof *list);
    if (!list) {
      v->no_memory = true;
      return;
    }
    memset(list + *capacity, 0, (larger - *capacity) * sizeof *list);
    *names = list;
    *capacity = larger;
  }
  void *copy = mf__arena_copy(&v->arena, name.data, name.size);
  if (copy)
    (*names)[id] = mf__bytes(copy, name.size);
  else
    v->no_memory = true;
}

static bool check_name(void *context, const mf__entry *entry) {
  verification *v = context;
  uint64_t id = mf__u64_read(entry->key.data);
  mf_bytes name = entry->value;
  if (id != v->names + 1)
    wrong(v, MF_PART_STREAMS, 0, entry->page, "the number of stream %llu is followed by %llu",
          (unsigned long long)v->names, (unsigned long long)id);
  v->names = id;
  if (!unseal(v, MF__IN_NAMES, entry->key, &name) || name.size < 1 ||
      name.size > MF_STREAM_NAME_MAX) {
    wrong(v, MF_PART_STREAMS, 0, entry->page, "the name of stream number %llu is damaged",
          (unsigned long long)id);
    return true;
  }
  stream_sum *stream = new_stream(v, id);
  if (stream) stream->name = mf__hash(name, 0) | 1;
  if (stream && v->chained) keep_name(v, &v->stream_names, &v->stream_name_capacity, id, name);
  return !v->no_memory;
}

static bool check_type(void *context, const mf__entry *entry) {
  verification *v = context;
  uint64_t id = mf__u64_read(entry->key.data), other;
  mf_bytes name = entry->value;
  if (id != v->types + 1)
    wrong(v, MF_PART_TYPES, 0, entry->page, "the number of type %llu is followed by %llu",
          (unsigned long long)v->types, (unsigned long long)id);
  v->types = id;
  if (!unseal(v, MF__IN_TYPES, entry->key, &name) || name.size < 1 || name.size > MF_TYPE_MAX) {
    wrong(v, MF_PART_TYPES, 0, entry->page, "the name of type number %llu is damaged",
          (unsigned long long)id);
    return true;
  }
  if (mf__map_get(&v->type_names, name, &other))
    wrong(v, MF_PART_TYPES, 0, entry->page, "types %llu and %llu have the same name",
          (unsigned long long)other, (unsigned long long)id);
  void *copy = mf__arena_copy(&v->arena, name.data, name.size);
  if (!copy || !mf__map_reserve(&v->type_names, 1)) {
    v->no_memory = true;
    return false;
  }
  mf__map_set(&v->type_names, mf__bytes(copy, name.size), id);
  if (v->chained && id <= MF_TYPES_MAX) keep_name(v, &v->types_by_id, &v->type_capacity, id, name);
  return !v->no_memory;
}

/* ---- the log ---- */

static void sum_ids(verification *v, const mf__record *r, uint64_t position) {
  if (r->message_id.data) {
    v->messages++;
    v->id_sum += message_sum(r->message_id, position);
  }
  mf_bytes command = mf__extension_find(r->extension, MF__EXT_COMMAND);
  if (command.data && command.size > 16) {
    const uint8_t *digest = command.data;
    v->commands++;
    v->id_sum += command_sum(r->stream_id, mf__bytes(digest + 16, command.size - 16), digest,
                             r->version, position);
  }
}

/* Whether an event that names its type may be right; a name of the table that is damaged was told.
 */
static bool may_be_named(const verification *v, uint64_t type, mf_bytes name) {
  uint64_t id;
  if (mf__map_get(&v->type_names, name, &id)) return id == type;
  return v->type_names.count < v->types;
}

static void check_event(verification *v, const mf__record *r, int64_t position, uint64_t page) {
  if (r->type_id < 1 || r->type_id > v->types)
    wrong(v, MF_PART_LOG, position, page, "its type has no name");
  else if (r->type_name.data && !may_be_named(v, r->type_id, r->type_name))
    wrong(v, MF_PART_LOG, position, page, "its type has another name than it says");
  stream_sum *stream = stream_of(v, r->stream_id);
  if (!stream) {
    wrong(v, MF_PART_LOG, position, page, "its stream has no name");
    return;
  }
  bool missing =
      r->version > stream->events + 1 && r->version - stream->events - 1 <= v->unreadable;
  if (r->version != stream->events + 1 && !missing) /* what is missing was told */
    wrong(v, MF_PART_LOG, position, page,
          "it has version %llu in its stream, and the one before it has %llu",
          (unsigned long long)r->version, (unsigned long long)stream->events);
  stream->events = r->version;
  stream->positions = mix(stream->positions, (uint64_t)position);
  sum_ids(v, r, (uint64_t)position);
}

/* ---- the hash chain ---- */

/* Until the next link that stands in the file, nothing can be compared. */
static void lose_link(verification *v) {
  v->link_known = false;
}

static void chain_event(verification *v, const mf__record *record) {
  uint8_t digest[MF_LINK_SIZE];
  if (!v->chained || !v->link_known) return;
  if (record->stream_id >= v->stream_name_capacity || record->type_id >= v->type_capacity) {
    lose_link(v); /* told already */
    return;
  }
  mf__event_digest(record, v->stream_names[record->stream_id], v->types_by_id[record->type_id],
                   digest);
  mf__chain_add(&v->chain, digest);
}

/* Behind an event stands the link of its commit. */
static void chain_link(verification *v, const uint8_t *link, int64_t position, uint64_t page) {
  uint8_t computed[MF_LINK_SIZE];
  if (!v->chained) return;
  if (v->link_known) {
    mf__chain_end(&v->chain, computed);
    if (memcmp(computed, link, MF_LINK_SIZE) != 0)
      wrong(v, MF_PART_CHAIN, position, page,
            "the link of the commit that ends here is not the one that history leads to");
  }
  memcpy(v->link, link, MF_LINK_SIZE);
  v->link_known = true;
  mf__chain_begin(&v->chain, link);
  if (!v->options.link || position != v->options.link_position) return;
  v->link_met = true;
  if (memcmp(link, v->options.link, MF_LINK_SIZE) != 0)
    wrong(v, MF_PART_CHAIN, position, page,
          "history up to here is not the one whose link was written down");
}

static void begin_chain(verification *v) {
  v->chained = (v->contents.record.flags & MF__CHAINED) != 0;
  v->link_known = v->chained;
  mf__chain_begin(&v->chain, v->link);
}

static void end_chain(verification *v) {
  if (v->chained && v->link_known && v->chain.count > 0)
    wrong(v, MF_PART_CHAIN, (int64_t)v->next - 1, 0, "the last commit has no link");
  if (v->options.link && !v->chained)
    wrong(v, MF_PART_CHAIN, 0, 0, "the store has no hash chain, and a link of one was given");
  else if (v->options.link && !v->link_met)
    wrong(v, MF_PART_CHAIN, v->options.link_position, 0,
          "no commit ends at the position whose link was written down");
}

/* A trailer behind event i of a block, of which events from `start` on have none yet. */
static void check_trailer(verification *v, const mf__block *block, uint32_t start, uint32_t i,
                          const mf__trailer *trailer, uint64_t page) {
  int64_t position = (int64_t)(block->first + i);
  uint64_t here = (uint64_t)i + 1 - start, before = start == 0 ? v->open : 0;
  uint64_t hash = v->seed;
  uint32_t from = start;
  if (before > 0) {
    hash = v->open_hash;
    if (trailer->count != before + here) {
      wrong(v, MF_PART_LOG, position, page, "a commit ends here that has lost its beginning");
      return;
    }
  } else if (trailer->count > here) {
    wrong(v, MF_PART_LOG, position, page, "a commit ends here that has lost its beginning");
    return;
  } else
    from = i + 1 - (uint32_t)trailer->count;
  mf_bytes one;
  for (uint32_t k = from; k <= i; k++) {
    if (!mf__block_slice(block, k, k, &one) || one.size < 8) return; /* told already */
    hash = mf__commit_hash(hash, one.data);
  }
  if (hash != trailer->hash)
    wrong(v, MF_PART_LOG, position, page, "the checksum of the commit that ends here differs");
  if (trailer->kind == MF__TRAILER_END) {
    v->report->commits += 1 - (int64_t)trailer->count; /* its events were counted one by one */
    return;
  }
  if (i + 1 != block->count)
    wrong(v, MF_PART_LOG, position, page, "a commit goes on here, and others follow it");
}

static void check_block(verification *v, const mf__block *block, uint64_t page) {
  uint32_t start = 0;
  uint64_t open = 0, open_hash = 0;
  for (uint32_t i = 0; i < block->count; i++) {
    int64_t position = (int64_t)(block->first + i);
    mf_bytes slice;
    mf__record record;
    mf__trailer trailer = {0, 0, 0, NULL};
    if (!mf__block_slice(block, i, i, &slice)) {
      wrong(v, MF_PART_LOG, position, page, "its block's table of offsets makes no sense");
      lose_link(v);
      v->unreadable++;
      continue;
    }
    const uint8_t *p = slice.data, *limit = p + slice.size;
    if (!mf__record_parse(p, limit, &record) || !mf__record_verify(p, &record, v->seed, position)) {
      wrong(v, MF_PART_LOG, position, page, "its checksum differs");
      lose_link(v);
      v->unreadable++;
      continue;
    }
    check_event(v, &record, position, page);
    chain_event(v, &record);
    if (!mf__trailer_parse(p + record.size, limit, &trailer))
      wrong(v, MF_PART_LOG, position, page, "what stands behind it makes no sense");
    if (trailer.link) chain_link(v, trailer.link, position, page);
    if (trailer.kind == 0) continue;
    check_trailer(v, block, start, i, &trailer, page);
    start = i + 1;
    v->open = 0;
    if (trailer.kind == MF__TRAILER_MORE) {
      open = trailer.count;
      open_hash = trailer.hash;
    }
  }
  if (v->open > 0)
    wrong(v, MF_PART_LOG, (int64_t)block->first, page,
          "the commit that began before it is not ended");
  v->open = open;
  v->open_hash = open_hash;
}

static bool check_log_entry(void *context, const mf__entry *entry) {
  verification *v = context;
  uint64_t first = mf__u64_read(entry->key.data);
  uint64_t page = entry->overflow ? entry->overflow : entry->page;
  mf__block block;
  if (first != v->next) lose_link(v);
  if (first > v->next && first <= (uint64_t)1 << 60) {
    wrong(v, MF_PART_LOG, (int64_t)v->next, entry->page,
          "positions %llu to %llu are missing from the log", (unsigned long long)v->next,
          (unsigned long long)(first - 1));
    v->unreadable += first - v->next;
    v->open = 0;
  } else if (first < v->next)
    wrong(v, MF_PART_LOG, (int64_t)first, entry->page, "two blocks hold its position");
  if (entry->missing || !entry->value.data || !mf__block_parse(first, entry->value, &block)) {
    wrong(v, MF_PART_LOG, first <= (uint64_t)1 << 60 ? (int64_t)first : 0, page,
          "the block that begins with it cannot be read");
    lose_link(v);
    if (first >= v->next && first <= (uint64_t)1 << 60) {
      v->next = first + 1;
      v->unreadable++;
    }
    v->open = 0;
    return true;
  }
  v->report->events += block.count;
  v->report->commits += block.count;
  check_block(v, &block, page);
  v->next = first + block.count;
  return !v->no_memory;
}

/* ---- once more, to name what does not fit ---- */

static void ignore_problem(void *context, uint64_t page, const char *why) {
  (void)context;
  (void)page;
  (void)why;
}

/* A second look is no further progress, but may be stopped. */
static bool progress_again(void *context, uint64_t done, uint64_t total) {
  verification *v = context;
  (void)done;
  (void)total;
  v->stopped = v->stopped || !v->options.progress(v->options.context, v->walk.done, v->walk.pages);
  return !v->stopped;
}

/* Walks a tree that was walked before, from which all problems were told. */
static bool walk_again(verification *v, const char *database,
                       bool (*entry)(void *, const mf__entry *), void *context) {
  mf__visitor visitor = {context, entry, ignore_problem, true, false};
  const mf__tree *tree = mf__contents_find(&v->contents, database);
  mf__walk walk;
  if (!tree) return true; /* told already */
  bool memory = mf__walk_begin(&walk, &v->walk.source, &v->walk.meta, MF__WALK_ALL);
  v->no_memory = v->no_memory || !memory;
  if (!memory) return false;
  if (v->options.progress) walk.progress = progress_again;
  walk.progress_context = v;
  bool whole = mf__walk_tree(&walk, tree, MF__OWNER_FIRST, &visitor);
  v->no_memory = v->no_memory || walk.no_memory;
  mf__walk_end(&walk);
  return whole;
}

typedef struct event_visitor {
  void (*event)(void *context, const mf__record *record, uint64_t position);
  void *context;
} event_visitor;

static bool visit_events(void *context, const mf__entry *entry) {
  const event_visitor *visitor = context;
  mf__block block;
  if (entry->missing || !entry->value.data ||
      !mf__block_parse(mf__u64_read(entry->key.data), entry->value, &block))
    return true;
  for (uint32_t i = 0; i < block.count; i++) {
    mf_bytes slice;
    mf__record record;
    if (!mf__block_slice(&block, i, i, &slice)) continue;
    const uint8_t *p = slice.data;
    if (mf__record_parse(p, p + slice.size, &record))
      visitor->event(visitor->context, &record, block.first + i);
  }
  return true;
}

static void events_again(verification *v,
                         void (*event)(void *context, const mf__record *record, uint64_t position),
                         void *context) {
  event_visitor visitor = {event, context};
  walk_again(v, "log", visit_events, &visitor);
}

/* ---- the index of each stream's events ---- */

/* Adds runs of positions to what the index has told of a stream. */
static bool add_runs(verification *v, stream_sum *stream, mf_bytes runs) {
  const uint8_t *p = runs.data, *limit = p + runs.size;
  while (p < limit) {
    uint64_t gap, length;
    if (!(p = mf__run_read(p, limit, &gap, &length))) return false;
    uint64_t room = v->next - 1 - stream->index_last; /* to the log's end */
    if (stream->index_last >= v->next || length == 0 || gap > room || length > room - gap)
      return false;
    uint64_t position = stream->index_last + gap;
    stream->index_last = position + length;
    stream->indexed += length;
    /* Of more than the log has, or where that is not known, the positions are not compared. */
    if (v->log_damaged || stream->indexed > stream->events) continue;
    while (position < stream->index_last)
      stream->index_positions = mix(stream->index_positions, ++position);
  }
  return true;
}

/* Whether a chunk goes on where the one before it has ended. If not, it is taken at its word, so
 * that one that is missing is told once. */
static bool goes_on(const verification *v, stream_sum *stream, uint64_t first, uint64_t base) {
  bool fine = first == stream->indexed + 1 && base == stream->index_last;
  if (first > stream->indexed && first < v->next) stream->indexed = first - 1;
  if (base > stream->index_last && base < v->next) stream->index_last = base;
  return fine;
}

static bool check_posting(void *context, const mf__entry *entry) {
  verification *v = context;
  const uint8_t *key = entry->key.data;
  mf_bytes value = entry->value;
  uint64_t base;
  if (entry->key.size != 16 || !unseal(v, MF__IN_POSTINGS, entry->key, &value)) {
    wrong(v, MF_PART_STREAMS, 0, entry->page, "an entry of the index of events is damaged");
    return true;
  }
  stream_sum *stream = stream_of(v, mf__be64_read(key));
  if (!stream) {
    wrong(v, MF_PART_STREAMS, 0, entry->page,
          "an entry of the index of events belongs to stream number %llu, which has no name",
          (unsigned long long)mf__be64_read(key));
    return true;
  }
  const uint8_t *p = value.data, *limit = p + value.size;
  p = mf__varint_read(p, limit, &base);
  bool fine = p && goes_on(v, stream, mf__be64_read(key + 8), base);
  if (p && add_runs(v, stream, mf__bytes(p, (size_t)(limit - p))) && fine) return true;
  stream->index_positions = mix(stream->index_positions, 0); /* so that the stream is named */
  wrong(v, MF_PART_STREAMS, 0, entry->page,
        "an entry of the index of events does not follow the one before it");
  return true;
}

/* What does not fit in a stream; the first of them are looked at again, to tell where. */
static void tell_differing(verification *v, mf_bytes name, const mf__head *head, uint64_t page,
                           const char *message) {
  if (v->log_damaged || v->differing_count == NAMED_MOST) {
    wrong_stream(v, name, 0, page, message);
    return;
  }
  differing *d = &v->differing[v->differing_count];
  *d = (differing){.name = name, .page = page, .message = message, .head = *head};
  d->name.data = mf__arena_copy(&v->arena, name.data, name.size);
  d->head.runs.data = mf__arena_copy(&v->arena, head->runs.data, head->runs.size);
  if (d->name.data && d->head.runs.data)
    v->differing_count++;
  else
    v->no_memory = true;
}

static bool check_head(void *context, const mf__entry *entry) {
  verification *v = context;
  mf_bytes value = entry->value, name = entry->key;
  mf__head head;
  v->report->streams++;
  if (!unseal(v, MF__IN_STREAMS, name, &value) || !mf__head_read(value, &head)) {
    wrong_stream(v, name, 0, entry->page, "its head is damaged");
    return true;
  }
  stream_sum *stream = stream_of(v, head.id);
  if (!stream || stream->name != (mf__hash(name, 0) | 1)) {
    wrong_stream(v, name, 0, entry->page, "its number belongs to another name");
    return true;
  }
  uint8_t last[20];
  uint8_t *end = mf__varint_write(mf__varint_write(last, head.last_gap), head.last_length);
  if (head.chunk_version != stream->indexed + 1 || head.chunk_base != stream->index_last ||
      !add_runs(v, stream, head.runs) ||
      !add_runs(v, stream, mf__bytes(last, (size_t)(end - last))) ||
      stream->indexed != head.version || stream->index_last != head.last_position)
    tell_differing(v, name, &head, entry->page, "its head and the index of its events do not fit");
  else if (!v->log_damaged &&
           (stream->events != head.version || stream->positions != stream->index_positions))
    tell_differing(v, name, &head, entry->page, "the index of its events and the log differ");
  return !v->no_memory;
}

/*
 * The first version at which they differ. However many the stream has, a bounded number of sums is
 * kept, each over as many versions that follow one another: of those that differ first, the next
 * round has sums over fewer, until each is of one version. Two rounds for 268,000,000 versions.
 */
enum { SUMS = 16384 };
#define FAR ((uint64_t)1 << 60) /* no log reaches so far */

static differing *differing_of(verification *v, uint64_t id) {
  for (size_t i = 0; i < v->differing_count; i++)
    if (v->differing[i].head.id == id && v->differing[i].from < v->differing[i].end)
      return &v->differing[i];
  return NULL;
}

static void add_version(const differing *d, uint64_t *sums, uint64_t version, uint64_t position) {
  if (version < d->from || version >= d->end) return;
  sums[(version - d->from) / d->width] += d->width == 1 ? position : mix(mix(3, version), position);
}

static void add_logged(void *context, const mf__record *record, uint64_t position) {
  const differing *d = differing_of(context, record->stream_id);
  if (d) add_version(d, d->logged, record->version, position);
}

/* A run whose first event comes after `position` and has `version`; both move on. What the index
 * tells of a version twice is as it tells it first. */
static bool add_run(differing *d, uint64_t *version, uint64_t *position, uint64_t gap,
                    uint64_t length) {
  if (*version >= d->end || *position > FAR || gap > FAR || length > FAR) return false;
  *position += gap;
  uint64_t known = *version <= d->told ? d->told + 1 - *version : 0;
  for (uint64_t i = known; i < length && *version + i < d->end; i++) {
    d->told = *version + i;
    add_version(d, d->indexed, d->told, *position + i + 1);
  }
  *version += length;
  *position += length;
  return true;
}

static bool add_chunk(differing *d, uint64_t *version, uint64_t *position, mf_bytes runs) {
  const uint8_t *p = runs.data, *limit = p + runs.size;
  uint64_t gap, length;
  while (p < limit) {
    p = mf__run_read(p, limit, &gap, &length);
    if (!p || !add_run(d, version, position, gap, length)) return false;
  }
  return true;
}

static void add_head(differing *d) {
  const mf__head *head = &d->head;
  uint64_t version = head->chunk_version, position = head->chunk_base;
  if (add_chunk(d, &version, &position, head->runs))
    add_run(d, &version, &position, head->last_gap, head->last_length);
}

static bool add_posting_again(void *context, const mf__entry *entry) {
  verification *v = context;
  const uint8_t *key = entry->key.data;
  mf_bytes value = entry->value;
  uint64_t position;
  differing *d = entry->key.size == 16 ? differing_of(v, mf__be64_read(key)) : NULL;
  if (!d || !unseal(v, MF__IN_POSTINGS, entry->key, &value)) return true;
  const uint8_t *start = value.data, *limit = start + value.size;
  const uint8_t *p = mf__varint_read(start, limit, &position);
  uint64_t version = mf__be64_read(key + 8);
  if (p) add_chunk(d, &version, &position, mf__bytes(p, (size_t)(limit - p)));
  return true;
}

/* The position beside the log's is 0 where the index, or the log, has no such version. */
static void tell_version(verification *v, const differing *d, uint64_t version, uint64_t logged,
                         uint64_t indexed) {
  unsigned long long number = version, here = logged, there = indexed;
  char message[160];
  if (!indexed)
    snprintf(message, sizeof message,
             "version %llu is at position %llu in the log, and missing from the index of its "
             "events",
             number, here);
  else if (!logged)
    snprintf(message, sizeof message,
             "version %llu is not in the log, and at position %llu in the index of its events",
             number, there);
  else
    snprintf(message, sizeof message,
             "version %llu is at position %llu in the log, and at %llu in the index of its events",
             number, here, there);
  wrong_stream(v, d->name, (int64_t)logged, 0, message);
}

static bool begin_round(verification *v) {
  bool any = false;
  for (size_t i = 0; i < v->differing_count; i++) {
    differing *d = &v->differing[i];
    if (d->from >= d->end) continue;
    if (!d->logged) d->logged = calloc(2 * SUMS, sizeof *d->logged);
    if (!d->logged) {
      v->no_memory = true;
      return false;
    }
    d->indexed = d->logged + SUMS;
    memset(d->logged, 0, 2 * SUMS * sizeof *d->logged);
    d->width = (d->end - d->from - 1) / SUMS + 1;
    d->told = 0;
    any = true;
  }
  return any;
}

static void end_round(verification *v, differing *d) {
  uint64_t i = 0, count = (d->end - d->from - 1) / d->width + 1;
  while (i < count && d->logged[i] == d->indexed[i])
    i++;
  if (i == count)
    wrong_stream(v, d->name, 0, d->page, d->message);
  else if (d->width == 1)
    tell_version(v, d, d->from + i, d->logged[i], d->indexed[i]);
  if (i == count || d->width == 1) {
    d->from = d->end; /* it has been told */
    return;
  }
  d->from += i * d->width;
  if (d->end > d->from + d->width) d->end = d->from + d->width;
}

static void name_versions(verification *v) {
  for (size_t i = 0; i < v->differing_count; i++) {
    v->differing[i].from = 1;
    v->differing[i].end =
        stream_of(v, v->differing[i].head.id)->events + 2; /* one more than it has */
  }
  while (begin_round(v)) {
    events_again(v, add_logged, v);
    walk_again(v, "postings", add_posting_again, v);
    if (v->no_memory || v->stopped) break;
    for (size_t i = 0; i < v->differing_count; i++) {
      differing *d = &v->differing[i];
      if (d->from >= d->end) continue;
      add_head(d);
      end_round(v, d);
    }
  }
  for (size_t i = 0; i < v->differing_count; i++)
    free(v->differing[i].logged);
}

static void check_streams_all(verification *v) {
  if (v->names != (uint64_t)v->report->streams)
    wrong(v, MF_PART_STREAMS, 0, 0, "there are %llu names of streams, and %lld streams",
          (unsigned long long)v->names, (long long)v->report->streams);
  name_versions(v);
}

/* ---- ids ---- */

/* The sum over an entry of the index of ids. False: it makes no sense. */
static bool read_id(verification *v, const mf__entry *entry, uint64_t *sum, mf_bytes *id,
                    uint64_t *position) {
  mf_bytes key = entry->key, value = entry->value;
  const uint8_t *k = key.data;
  if (!unseal(v, MF__IN_IDS, key, &value)) return false;
  if (k[0] == 'm' && key.size > 1 && value.size == 8) {
    *id = mf__bytes(k + 1, key.size - 1);
    *position = mf__u64_read(value.data);
    *sum = message_sum(*id, *position);
    return true;
  }
  uint64_t first, last;
  const uint8_t *p = value.data, *limit = p + value.size;
  if (k[0] != 'c' || key.size < 10 || value.size < 16) return false;
  if (!(p = mf__varint_read(p + 16, limit, &first)) || !(p = mf__varint_read(p, limit, &last)) ||
      !mf__varint_read(p, limit, position) || first < 1 || last < first || *position >= v->next ||
      *position <= last - first)
    return false;
  *position -= last - first;
  *id = mf__bytes(k + 9, key.size - 9);
  *sum = command_sum(mf__be64_read(k + 1), *id, value.data, first, *position);
  return true;
}

static bool check_id(void *context, const mf__entry *entry) {
  verification *v = context;
  mf_bytes id;
  uint64_t sum, position;
  v->report->ids++;
  if (!read_id(v, entry, &sum, &id, &position)) {
    wrong(v, MF_PART_IDS, 0, entry->page, "an entry of the index of ids is damaged");
    return true;
  }
  v->id_sum -= sum;
  if (((const uint8_t *)entry->key.data)[0] == 'm')
    v->index_messages++;
  else
    v->index_commands++;
  return true;
}

/* Compares the ids one by one, to tell which they are; the sums have told only that they differ. */
typedef struct id_search {
  verification *v;
  uint64_t *sums; /* of the index, in order */
  bool *met;      /* in the log */
  size_t count, capacity;
  int named;
} id_search;

static bool collect_id(void *context, const mf__entry *entry) {
  id_search *search = context;
  mf_bytes id;
  uint64_t sum, position;
  if (!read_id(search->v, entry, &sum, &id, &position)) return true;
  if (search->count == search->capacity) {
    size_t capacity = search->capacity ? 2 * search->capacity : 1024;
    uint64_t *sums = realloc(search->sums, capacity * sizeof *sums);
    search->v->no_memory = !sums;
    if (!sums) return false;
    search->sums = sums;
    search->capacity = capacity;
  }
  search->sums[search->count++] = sum;
  return true;
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static bool *find_sum(const id_search *search, uint64_t sum) {
  const uint64_t *found =
      search->count ? bsearch(&sum, search->sums, search->count, sizeof sum, by_size) : NULL;
  return found ? &search->met[found - search->sums] : NULL;
}

static void find_in_index(id_search *search, const char *kind, mf_bytes id, uint64_t sum,
                          const mf__record *record, uint64_t position) {
  char quoted[MF__QUOTED];
  bool *met = find_sum(search, sum);
  if (met) *met = true;
  if (met || search->named++ >= NAMED_MOST) return;
  wrong(search->v, MF_PART_IDS, (int64_t)position, 0,
        "its %s id %s (version %llu of stream number %llu) is not in the index of ids", kind,
        mf__quote(id, quoted), (unsigned long long)record->version,
        (unsigned long long)record->stream_id);
}

static void find_ids_of(void *context, const mf__record *record, uint64_t position) {
  id_search *search = context;
  mf__command command = mf__command_of(record->extension);
  if (record->message_id.data)
    find_in_index(search, "message", record->message_id, message_sum(record->message_id, position),
                  record, position);
  if (command.id.data && command.id.size)
    find_in_index(
        search, "command", command.id,
        command_sum(record->stream_id, command.id, command.digest, record->version, position),
        record, position);
}

static bool find_in_log(void *context, const mf__entry *entry) {
  id_search *search = context;
  char quoted[MF__QUOTED];
  mf_bytes id;
  uint64_t sum, position;
  if (!read_id(search->v, entry, &sum, &id, &position)) return true;
  const bool *met = find_sum(search, sum);
  if (met && !*met && search->named++ < NAMED_MOST)
    wrong(search->v, MF_PART_IDS, (int64_t)position, entry->page,
          "the index of ids has %s here, and the log does not", mf__quote(id, quoted));
  return true;
}

static void name_ids(verification *v) {
  id_search search = {.v = v};
  if (walk_again(v, "ids", collect_id, &search)) {
    search.met = calloc(search.count + 1, sizeof *search.met);
    v->no_memory = !search.met;
  }
  if (search.met) {
    if (search.count) qsort(search.sums, search.count, sizeof *search.sums, by_size);
    events_again(v, find_ids_of, &search);
    search.named = 0;
    walk_again(v, "ids", find_in_log, &search);
  }
  free(search.sums);
  free(search.met);
}

static void check_ids_all(verification *v) {
  if (v->log_damaged || v->report->problems[MF_PART_IDS] > 0) return;
  if (v->id_sum == 0 && v->messages == v->index_messages && v->commands == v->index_commands)
    return;
  wrong(v, MF_PART_IDS, 0, 0,
        "the log has %llu message ids and %llu command ids, their index %llu and %llu: they are "
        "not the same",
        (unsigned long long)v->messages, (unsigned long long)v->commands,
        (unsigned long long)v->index_messages, (unsigned long long)v->index_commands);
  name_ids(v);
}

/* ---- what stands beside the log ---- */

static bool fits(verification *v, int which, mf_bytes key, mf_bytes value) {
  if (!mf__beside_fits(which, key, value)) return false;
  if (which != MF__SNAPSHOTS) return true;
  const uint8_t *k = key.data;
  const stream_sum *stream = stream_of(v, mf__be64_read(k));
  uint64_t version = mf__be64_read(k + 24);
  return stream && version >= 1 && (v->log_damaged || version <= stream->events);
}

static bool check_beside(void *context, const mf__entry *entry) {
  verification *v = context;
  mf_bytes value = entry->value;
  const mf__database *kind = mf__database_find(mf__bytes(v->database, strlen(v->database)));
  v->report->beside++;
  if (entry->missing || !kind) return true; /* told already; of a later version */
  if (kind->sealed < 0 || !unseal(v, kind->sealed, entry->key, &value))
    wrong(v, MF_PART_BESIDE, 0, entry->page, "%s: an entry's checksum differs", v->database);
  else if (!fits(v, kind->sealed - MF__IN_BESIDE, entry->key, value))
    wrong(v, MF_PART_BESIDE, 0, entry->page, "%s: an entry makes no sense, or belongs to nothing",
          v->database);
  return !v->no_memory;
}

/* ---- all of it ---- */

/* In this order: who is compared comes after what it is compared with. */
static const struct step {
  const char *database;
  mf_part part;
  bool (*entry)(void *, const mf__entry *);
  void (*end)(verification *);
} steps[] = {
    {"names", MF_PART_STREAMS, check_name, NULL},
    {"types", MF_PART_TYPES, check_type, NULL},
    {"log", MF_PART_LOG, check_log_entry, NULL},
    {"postings", MF_PART_STREAMS, check_posting, NULL},
    {"streams", MF_PART_STREAMS, check_head, check_streams_all},
    {"ids", MF_PART_IDS, check_id, check_ids_all},
};
enum { STEPS = sizeof steps / sizeof *steps };

static bool is_step(const char *name) {
  for (size_t i = 0; i < STEPS; i++)
    if (strcmp(steps[i].database, name) == 0) return true;
  return false;
}

static bool walk_database(verification *v, const char *name, mf_part part,
                          bool (*entry)(void *, const mf__entry *)) {
  mf__visitor visitor = {v, entry, page_problem, true, false};
  const mf__tree *tree = mf__contents_find(&v->contents, name);
  v->database = name;
  v->part = part;
  if (!tree) {
    page_problem(v, 0, "there is no such database");
    return true;
  }
  size_t i = 0;
  while (&v->contents.databases[i].tree != tree)
    i++;
  return mf__walk_tree(&v->walk, tree, (uint8_t)(MF__OWNER_FIRST + i), &visitor);
}

static bool walk_databases(verification *v) {
  for (size_t i = 0; i < STEPS; i++) {
    if (!walk_database(v, steps[i].database, steps[i].part, steps[i].entry)) return false;
    if (steps[i].end) steps[i].end(v);
    if (v->stopped || v->no_memory) return false;
    if (steps[i].part == MF_PART_LOG && v->open > 0)
      wrong(v, MF_PART_LOG, (int64_t)v->next - 1, 0, "the last commit is not ended");
  }
  for (size_t i = 0; i < v->contents.count; i++) {
    const char *name = v->contents.databases[i].name;
    if (!is_step(name) && !walk_database(v, name, MF_PART_BESIDE, check_beside)) return false;
  }
  return true;
}

static bool walk_all(verification *v) {
  mf__visitor visitor = {v, NULL, page_problem, true, false};
  v->database = "the list of databases";
  v->part = MF_PART_PAGES;
  if (!mf__walk_main(&v->walk, &v->contents, &visitor)) return false;
  if (!v->contents.found) {
    wrong(v, MF_PART_PAGES, 0, 0,
          "the store's own record is damaged, without which nothing can be "
          "checked");
    return true;
  }
  v->seed = v->contents.record.seed;
  v->next = 1;
  begin_chain(v);
  if (!walk_databases(v)) return false;
  end_chain(v);
  v->database = "the free list";
  v->part = MF_PART_PAGES;
  int64_t before = v->report->problems[MF_PART_PAGES];
  if (!mf__walk_free(&v->walk, &visitor)) return false;
  /* Where a tree was cut off, its pages are missing, too. */
  if (before == 0 && v->report->problems[MF_PART_PAGES] == 0)
    mf__walk_unaccounted(&v->walk, &visitor);
  return true;
}

static int conclude(const verification *v, const char *path, mf_error *error) {
  int64_t problems = 0;
  mf_part first = MF_PARTS;
  for (int i = MF_PARTS - 1; i >= 0; i--) {
    problems += v->report->problems[i];
    if (v->report->problems[i] > 0) first = (mf_part)i;
  }
  if (problems == 0) return MF_OK;
  return mf__fail(error, MF_CORRUPT, "%s is damaged: %lld problem%s, the first of them in its %s",
                  path, (long long)problems, problems == 1 ? "" : "s", mf_part_name(first));
}

int mf__verify(const mf__source *source, const mf__meta *meta, const char *path,
               const mf_verify_options *given, mf_verify_report *report, mf_error *error) {
  verification v;
  mf_verify_report ignored;
  memset(&v, 0, sizeof v);
  v.report = report ? report : &ignored;
  memset(v.report, 0, sizeof *v.report);
  if (given)
    memcpy(&v.options, given, given->size < sizeof v.options ? given->size : sizeof v.options);
  mf__metas metas = mf__metas_read(source);
  if (!meta && !metas.sound)
    wrong(&v, MF_PART_PAGES, 0, 0, "the meta pages, which tell where everything is, are damaged");
  if (!meta && !metas.readable[metas.newest]) return conclude(&v, path, error);
  if (!meta) meta = &metas.meta[metas.newest];
  v.report->bytes = source->size;
  bool memory = mf__walk_begin(&v.walk, source, meta, MF__WALK_ALL);
  bool whole = false;
  if (memory) {
    v.walk.progress = v.options.progress;
    v.walk.progress_context = v.options.context;
    whole = walk_all(&v);
    memory = !v.no_memory && !v.walk.no_memory;
    v.report->types = (int64_t)v.types;
    v.report->pages = v.walk.pages;
    v.report->free_pages = v.walk.free;
    v.report->tamper_evident = v.chained;
    memcpy(v.report->link, v.link, MF_LINK_SIZE);
  }
  mf__walk_end(&v.walk);
  mf__map_free(&v.type_names);
  mf__arena_free(&v.arena);
  free(v.streams);
  free(v.stream_names);
  free(v.types_by_id);
  if (!memory) return mf__fail(error, MF_NO_MEMORY, "%s: no memory to verify it", path);
  return whole ? conclude(&v, path, error) : MF_DONE;
}

/* ---- of a file ---- */

/* While others write, a read transaction keeps the pages as they are. */
static int verify_pinned(mf_store *store, mf__source *source, const char *path,
                         const mf_verify_options *options, mf_verify_report *report,
                         mf_error *error) {
  for (int tries = 0; tries < 1000; tries++) {
    mf_txn *txn;
    mf__meta meta, again;
    mf__file_id id;
    bool regular;
    int status = mf_begin_read(store, &txn, error);
    if (status != MF_OK) return status;
    size_t number = mdb_txn_id(txn->view.db);
    mf__file_stat(source->fd, &id, &source->size, &regular);
    bool pinned = mf__pinned_meta(source, number, &meta) &&
                  mf__pinned_meta(source, number, &again) && again.main.root == meta.main.root &&
                  again.free.root == meta.free.root;
    if (pinned) status = mf__verify(source, &meta, path, options, report, error);
    mf_abort(txn);
    if (pinned) return status;
    mf__yield();
  }
  return mf__fail(error, MF_BUSY, "%s is written to without a pause: verify it again", path);
}

static int refuse(mf__file_kind kind, uint32_t version, const char *path, mf_error *error) {
  if (kind == MF__FILE_FOREIGN || kind == MF__FILE_NEW)
    return mf__fail(error, MF_INCOMPATIBLE_FORMAT, "%s is not a Moonfold file", path);
  if (version > MF__FORMAT_VERSION)
    return mf__fail(error, MF_INCOMPATIBLE_FORMAT,
                    "%s has format %u, this program knows format %d: use a newer Moonfold", path,
                    version, MF__FORMAT_VERSION);
  return MF_OK;
}

static bool is_written_to(const mf__source *source) {
  return mf__lock_held_by_other(source->fd, MF__LOCK_FULL) ||
         mf__lock_held_by_other(source->fd, MF__LOCK_RELAXED) ||
         mf__lock_held_by_other(source->fd, MF__LOCK_NONE);
}

/*
 * Without a place among the readers, because of `why`: what is read may be written over meanwhile,
 * and look damaged. So nobody else may have the file open for writing.
 */
static int verify_unpinned(const mf__source *source, const mf_error *why, const char *path,
                           const mf_verify_options *options, mf_verify_report *report,
                           mf_error *error) {
  if (is_written_to(source))
    return mf__fail(error, why->code, "%s is written to, and cannot be held still: %.300s", path,
                    why->message);
  mf__metas before = mf__metas_read(source);
  int status = mf__verify(source, NULL, path, options, report, error);
  mf__metas after = mf__metas_read(source);
  if (!is_written_to(source) && after.meta[after.newest].txn == before.meta[before.newest].txn)
    return status;
  return mf__fail(error, MF_BUSY, "%s was written to meanwhile: verify it again", path);
}

int mf_verify(const char *path, const mf_verify_options *options, mf_verify_report *report,
              mf_error *error) {
  mf__source source = {-1, NULL, 0};
  mf_open_options opening = {.size = sizeof opening, .no_create = true, .read_only = true};
  mf_verify_report ignored;
  mf__file_id id;
  mf_store *store;
  uint32_t version = MF__FORMAT_VERSION;
  bool regular = false;
  if (!report) report = &ignored;
  memset(report, 0, sizeof *report);
  if (!path || !*path)
    return mf__fail(error, MF_INVALID_ARGUMENT, "the path is empty: name a store's file");
  int rc = mf__file_open(path, false, false, &source.fd);
  if (rc == 0) rc = mf__file_stat(source.fd, &id, &source.size, &regular);
  int status = mf__fail_db(error, rc, path);
  if (status == MF_OK && !regular)
    status = mf__fail(error, MF_INVALID_ARGUMENT, "%s is not a regular file", path);
  if (status == MF_OK) status = refuse(mf__check_file(source.fd, &version), version, path, error);
  if (status == MF_OK) {
    mf_error why;
    status = mf_open(path, &opening, &store, &why);
    if (status == MF_OK) {
      status = verify_pinned(store, &source, path, options, report, error);
      mf_close(store);
    } else if (status == MF_CORRUPT || status == MF_INCOMPATIBLE_FORMAT)
      /* Where the damage keeps it from being opened, nobody else can write to it either. */
      status = mf__verify(&source, NULL, path, options, report, error);
    else
      status = verify_unpinned(&source, &why, path, options, report, error);
  }
  mf__file_close(source.fd);
  return status;
}
