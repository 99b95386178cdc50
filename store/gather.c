/*
 * Finds what is left in a damaged file: the blocks of the log, and the names without which their
 * events say little. What the trees lead to comes first. Where a tree is cut off, every page of the
 * file is looked at on its own: leaves that nothing leads to, leaves of earlier days that were
 * never written over, and at last blocks whose leaf is lost, whose position is then found out: the
 * checksum of an event is right for one position alone.
 */
#include "internal.h"

#include <stdlib.h>

enum { MOST_ENTRIES = 4096 }; /* of a page */

static bool grow(void *array, size_t *capacity, size_t index, size_t element) {
  void *p;
  if (index < *capacity) return true;
  size_t larger = *capacity ? *capacity * 2 : 256;
  while (larger <= index)
    larger *= 2;
  memcpy(&p, array, sizeof p); /* its type is the caller's: only bytes may be touched here */
  /* Not realloc: what is never touched takes no memory, however large an index is. */
  void *moved = larger <= SIZE_MAX / element ? calloc(larger, element) : NULL;
  if (!moved) return false;
  if (p) memcpy(moved, p, *capacity * element);
  free(p);
  memcpy(array, &moved, sizeof moved);
  *capacity = larger;
  return true;
}

/* ---- single finds ---- */

/* Ids that no file of this size can have are damage. What a meta page tells of a file that was cut
 * off is believed as far as tables of so many ids are no burden. */
static bool plausible(const mf__remains *r, uint64_t id) {
  enum { MOST_BELIEVED = 1 << 24 };
  uint64_t most = r->source.size / 16, told = r->room / 16;
  if (told > MOST_BELIEVED) told = MOST_BELIEVED;
  return id >= 1 && id <= (most > told ? most : told);
}

/* An event takes 18 bytes at least: a position that no file of this size reaches is damage. */
static bool plausible_position(const mf__remains *r, uint64_t position) {
  return position >= 1 && position <= r->room / 18;
}

static mf_bytes keep(mf__remains *r, mf_bytes bytes) {
  void *copy = mf__arena_copy(&r->arena, bytes.data, bytes.size);
  if (!copy) r->no_memory = true;
  return mf__bytes(copy, copy ? bytes.size : 0);
}

static mf__lost_stream *stream_of(mf__remains *r, uint64_t id) {
  if (!plausible(r, id)) return NULL;
  if (grow(&r->streams, &r->stream_capacity, (size_t)id, sizeof *r->streams))
    return &r->streams[id];
  r->no_memory = true;
  return NULL;
}

static bool unseal(const mf__remains *r, int database, mf_bytes key, mf_bytes *value) {
  return value->data && mf__unseal(value, key, mf__seal_seed(r->record.seed, database));
}

/* Each of these tells whether it has understood the entry. */

static bool find_name(mf__remains *r, const mf__entry *entry) {
  mf_bytes name = entry->value;
  if (entry->key.size != 8 || !unseal(r, MF__IN_NAMES, entry->key, &name)) return false;
  mf__lost_stream *stream = stream_of(r, mf__u64_read(entry->key.data));
  if (!stream || name.size < 1 || name.size > MF_STREAM_NAME_MAX) return false;
  if (!stream->name.data) stream->name = keep(r, name);
  return true;
}

static bool find_head(mf__remains *r, const mf__entry *entry) {
  mf_bytes value = entry->value;
  mf__head head;
  if (!unseal(r, MF__IN_STREAMS, entry->key, &value) || !mf__head_read(value, &head) ||
      entry->key.size > MF_STREAM_NAME_MAX)
    return false;
  mf__lost_stream *stream =
      plausible_position(r, head.last_position) && head.version <= head.last_position
          ? stream_of(r, head.id)
          : NULL;
  if (!stream) return false;
  if (!stream->name.data) stream->name = keep(r, entry->key);
  if (r->end_known && head.last_position > r->last) return true; /* it was never committed */
  if (head.version > stream->version) stream->version = head.version;
  if (head.last_position > r->last) r->last = head.last_position;
  return true;
}

bool mf__remains_type(mf__remains *r, uint64_t id, mf_bytes name) {
  if (!plausible(r, id) || id > MF_TYPES_MAX || name.size < 1 || name.size > MF_TYPE_MAX)
    return false;
  if (!grow(&r->types, &r->type_capacity, (size_t)id, sizeof *r->types))
    r->no_memory = true;
  else if (!r->types[id].data)
    r->types[id] = keep(r, name);
  return true;
}

static bool find_type(mf__remains *r, const mf__entry *entry) {
  mf_bytes name = entry->value;
  return entry->key.size == 8 && unseal(r, MF__IN_TYPES, entry->key, &name) &&
         mf__remains_type(r, mf__u64_read(entry->key.data), name);
}

static bool find_command(mf__remains *r, const mf__entry *entry) {
  mf_bytes value = entry->value, key = entry->key;
  uint64_t first, last, known;
  if (key.size < 10 || *(const uint8_t *)key.data != 'c' || !unseal(r, MF__IN_IDS, key, &value) ||
      value.size < 16)
    return false;
  const uint8_t *p = value.data, *limit = p + value.size;
  if (!(p = mf__varint_read(p + 16, limit, &first)) || !mf__varint_read(p, limit, &last) ||
      last < first || mf__map_get(&r->commands, key, &known))
    return false;
  mf_bytes copy = keep(r, key);
  if (!copy.data || !mf__map_reserve(&r->commands, 1))
    r->no_memory = true;
  else
    mf__map_set(&r->commands, copy, last - first + 1);
  return true;
}

static void add_piece(mf__remains *r, mf__pieces *pieces, mf__piece piece) {
  if (!grow(&pieces->list, &pieces->capacity, pieces->count, sizeof *pieces->list)) {
    r->no_memory = true;
    return;
  }
  pieces->list[pieces->count++] = piece;
  if (piece.count > pieces->longest) pieces->longest = piece.count;
}

/* A block's header; false when there is none. */
static bool read_header(const mf__remains *r, uint64_t place, uint64_t size, uint64_t *count) {
  uint8_t header[MF__BLOCK_HEADER];
  if (size < MF__BLOCK_HEADER || size > MF_EVENT_MAX * 2) return false;
  if (mf__source_read(&r->source, header, sizeof header, place) != (ssize_t)sizeof header)
    return false;
  *count = mf__u16_read(header + 2);
  return header[0] == 1 && *count > 0 && mf__u32_read(header + 4) + 2 * *count == size;
}

/* ---- what the trees lead to ---- */

typedef bool (*finder)(mf__remains *, const mf__entry *);

typedef struct following {
  mf__remains *remains;
  finder find;
  bool whole; /* nothing is damaged so far */
} following;

static bool follow_entry(void *context, const mf__entry *entry) {
  following *f = context;
  if (entry->missing || !f->find(f->remains, entry)) f->whole = false;
  return !f->remains->no_memory;
}

static void follow_problem(void *context, uint64_t page, const char *why) {
  following *f = context;
  (void)page;
  (void)why;
  f->remains->damaged = true;
  f->whole = false;
}

static bool find_block(mf__remains *r, const mf__entry *entry) {
  uint64_t count = 0, first = mf__u64_read(entry->key.data);
  if (!plausible_position(r, first) || entry->size > MF_EVENT_MAX * 2) return false;
  bool fine = read_header(r, entry->place, entry->size, &count);
  mf__piece piece = {first, count, entry->place, (uint32_t)entry->size};
  add_piece(r, &r->log, piece);
  return fine;
}

static const struct {
  const char *database;
  finder find;
  bool values;
} finders[] = {{"log", find_block, false},
               {"names", find_name, true},
               {"streams", find_head, true},
               {"types", find_type, true},
               {"ids", find_command, true}};

static void follow_trees(mf__remains *r, mf__walk *walk) {
  for (size_t i = 0; i < sizeof finders / sizeof *finders; i++) {
    following f = {r, finders[i].find, true};
    mf__visitor visitor = {&f, follow_entry, follow_problem, finders[i].values, false};
    const mf__tree *tree = mf__contents_find(&r->contents, finders[i].database);
    if (!tree)
      r->damaged = true;
    else if (mf__walk_tree(walk, tree, (uint8_t)(MF__OWNER_FIRST + i), &visitor) && f.whole) {
      r->log_whole = r->log_whole || finders[i].find == find_block;
      r->streams_whole = r->streams_whole || finders[i].find == find_head;
    }
  }
  r->no_memory = r->no_memory || walk->no_memory;
}

/* The main database of one of the meta pages, if our record is in it. */
static bool enter(mf__remains *r, const mf__meta *meta) {
  mf__walk walk;
  following f = {r, NULL, true};
  mf__visitor visitor = {&f, NULL, follow_problem, true, false};
  if (!mf__walk_begin(&walk, &r->source, meta, MF__WALK_TREES)) {
    r->no_memory = true;
    return false;
  }
  mf__walk_main(&walk, &r->contents, &visitor);
  bool found = r->contents.found;
  if (found) {
    r->record = r->contents.record;
    r->page_size = meta->page_size;
    r->meta = *meta;
    follow_trees(r, &walk);
  }
  mf__walk_end(&walk);
  return found;
}

/* A meta page tells how many pages there were. */
static uint64_t room_of(const mf__source *source, const mf__metas *metas) {
  enum { MOST_SHIFT = 40 }; /* what a damaged one tells is believed up to a TiB */
  uint64_t room = source->size;
  for (int i = 0; i < 2; i++) {
    const mf__meta *meta = &metas->meta[i];
    uint64_t most = ((uint64_t)1 << MOST_SHIFT) / (meta->page_size ? meta->page_size : 1);
    uint64_t pages = meta->last_page < most ? meta->last_page + 1 : most;
    if (metas->readable[i] && pages * meta->page_size > room) room = pages * meta->page_size;
  }
  return room;
}

static bool enter_newest(mf__remains *r) {
  mf__metas metas = mf__metas_read(&r->source);
  r->room = room_of(&r->source, &metas);
  if (!metas.sound) r->damaged = true;
  bool entered = metas.readable[metas.newest] && enter(r, &metas.meta[metas.newest]);
  if (!metas.sound || !entered) r->log_whole = r->streams_whole = false;
  if (entered) return true;
  r->damaged = true;
  /* The other one is a commit older. What has been committed since is found page by page. */
  int other = 1 - metas.newest;
  entered = metas.readable[other] && enter(r, &metas.meta[other]);
  r->log_whole = r->streams_whole = false;
  return entered;
}

/* ---- what stands elsewhere ---- */

typedef struct search {
  mf__remains *remains;
  uint8_t *page;
  mf__entry *entries;
  uint8_t *reached; /* a bit for each page */
} search;

/* Whether the tree of the log leads to the block that begins in this page. */
static bool reached(const search *s, uint64_t number) {
  return (s->reached[number / 8] & 1 << number % 8) != 0;
}

static void mark_reached(search *s) {
  const mf__remains *r = s->remains;
  for (size_t i = 0; i < r->log.count; i++) {
    uint64_t number = r->log.list[i].place / r->page_size;
    uint8_t *eight = &s->reached[number / 8];
    if (r->log.list[i].place % r->page_size == 16) *eight = (uint8_t)(*eight | 1 << number % 8);
  }
}

static void search_leaf(search *s, uint64_t number) {
  mf__remains *r = s->remains;
  uint32_t count =
      mf__leaf_entries(&r->source, r->page_size, number, s->page, s->entries, MOST_ENTRIES);
  for (uint32_t i = 0; i < count && !r->no_memory; i++) {
    const mf__entry *entry = &s->entries[i];
    uint64_t events;
    if (entry->tree) continue;
    if (!entry->overflow) {
      find_name(r, entry);
      find_head(r, entry);
      find_type(r, entry);
      find_command(r, entry);
    }
    if (entry->key.size != 8) continue;
    uint64_t first = mf__u64_read(entry->key.data);
    if (!plausible_position(r, first)) continue;
    if (entry->overflow && reached(s, entry->overflow)) continue;
    if (!read_header(r, entry->place, entry->size, &events)) continue;
    mf__piece piece = {first, events, entry->place, (uint32_t)entry->size};
    add_piece(r, &r->others, piece);
  }
}

/* A block whose leaf is lost: its position is not known yet. */
static void search_long_value(search *s, uint64_t number) {
  mf__remains *r = s->remains;
  uint8_t header[16 + MF__BLOCK_HEADER];
  uint64_t start = number * r->page_size, count;
  if (reached(s, number)) return;
  if (mf__source_read(&r->source, header, sizeof header, start) != (ssize_t)sizeof header ||
      !mf__is_long_value(header))
    return;
  uint64_t size = mf__u32_read(header + 16 + 4) + 2 * (uint64_t)mf__u16_read(header + 16 + 2);
  if (size > r->source.size - start || !read_header(r, start + 16, size, &count)) return;
  mf__piece piece = {0, count, start + 16, (uint32_t)size};
  add_piece(r, &r->others, piece);
}

static void search_pages(mf__remains *r) {
  uint64_t pages = r->source.size / r->page_size;
  search s = {r, malloc((size_t)r->page_size), malloc(MOST_ENTRIES * sizeof *s.entries),
              calloc((size_t)pages / 8 + 1, 1)};
  if (!s.page || !s.entries || !s.reached)
    r->no_memory = true;
  else
    mark_reached(&s);
  for (uint64_t i = 2; i < pages && !r->no_memory; i++) {
    search_leaf(&s, i);
    search_long_value(&s, i);
  }
  free(s.page);
  free(s.entries);
  free(s.reached);
}

/* Our record, in any leaf: without its seed no checksum can be verified. */
static bool search_record(mf__remains *r) {
  static const uint64_t sizes[] = {4096, 16384, 8192, 65536, 32768, 2048, 1024, 512};
  uint8_t *page = malloc(65536);
  mf__entry *entries = malloc(MOST_ENTRIES * sizeof *entries);
  bool found = false;
  if (!page || !entries) r->no_memory = true;
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes && !found && !r->no_memory; k++)
    for (uint64_t i = 2; i < r->source.size / sizes[k] && !found; i++) {
      uint32_t count = mf__leaf_entries(&r->source, sizes[k], i, page, entries, MOST_ENTRIES);
      for (uint32_t j = 0; j < count && !found; j++)
        found = entries[j].value.data && mf__same(entries[j].key, mf__bytes("moonfold", 8)) &&
                mf__store_record_read(entries[j].value, &r->record);
      if (found) r->page_size = sizes[k];
    }
  free(page);
  free(entries);
  return found;
}

/* ---- the positions of blocks whose leaf is lost ---- */

static int by_position(const void *a, const void *b) {
  const mf__piece *x = a, *y = b;
  if (x->first != y->first) return x->first < y->first ? -1 : 1;
  return (x->place > y->place) - (x->place < y->place);
}

/* The positions that no block of the log is known for. */
typedef struct gaps {
  struct {
    uint64_t first, last;
  } * list;
  size_t count, capacity;
} gaps;

static bool find_gaps(const mf__remains *r, gaps *g) {
  uint64_t at = 1, last = r->last;
  for (size_t i = 0; r->damaged && !r->end_known && i < r->others.count; i++) /* perhaps its end */
    last += r->others.list[i].first == 0 ? r->others.list[i].count : 0;
  for (size_t i = 0; i <= r->log.count; i++) {
    const mf__piece *piece = i < r->log.count ? &r->log.list[i] : NULL;
    uint64_t until = piece ? piece->first : last + 1;
    if (until > at) {
      if (!grow(&g->list, &g->capacity, g->count, sizeof *g->list)) return false;
      g->list[g->count].first = at;
      g->list[g->count++].last = until - 1;
    }
    if (piece && piece->first + piece->count > at) at = piece->first + piece->count;
  }
  return true;
}

static bool stands_at(const mf__remains *r, const uint8_t *event, const mf__record *record,
                      uint64_t position) {
  return mf__record_verify(event, record, r->record.seed, (int64_t)position);
}

/* Blocks are often written one behind the other: the place behind the last find is tried first.
 * `work` is what may still be spent. */
static uint64_t position_of(const mf__remains *r, const gaps *g, const uint8_t *event,
                            const mf__record *record, uint64_t guess, uint64_t *work) {
  uint64_t cost = 128 + record->size; /* of a try: it is hashed anew */
  if (stands_at(r, event, record, guess)) return guess;
  for (size_t i = 0; i < g->count; i++)
    for (uint64_t p = g->list[i].first; p <= g->list[i].last; p++) {
      if (*work < cost) return 0;
      *work -= cost;
      if (stands_at(r, event, record, p)) return p;
    }
  return 0;
}

/* False: no memory. */
static bool place_blocks(mf__remains *r) {
  gaps g = {NULL, 0, 0};
  mf__buffer block = {NULL, 0, 0};
  uint64_t guess = 1, work = (uint64_t)1 << 36; /* bytes: seconds, even where there is no end */
  bool fine = find_gaps(r, &g);
  for (size_t i = 0; fine && g.count > 0 && i < r->others.count; i++) {
    mf__piece *piece = &r->others.list[i];
    mf__record record;
    if (piece->first != 0) continue;
    block.size = 0;
    fine = mf__buffer_reserve(&block, piece->size);
    if (!fine ||
        mf__source_read(&r->source, block.data, piece->size, piece->place) != (ssize_t)piece->size)
      continue;
    const uint8_t *event = block.data + MF__BLOCK_HEADER, *limit = block.data + piece->size;
    if (!mf__record_parse(event, limit, &record)) continue;
    piece->first = position_of(r, &g, event, &record, guess, &work);
    if (piece->first) guess = piece->first + piece->count;
  }
  mf__buffer_free(&block);
  free(g.list);
  return fine;
}

/* ---- all of it ---- */

/* Whether any event of a block is the one of its position. If none is, the key is damaged, or all
 * of the block: then it would only stand in the way of others. */
static bool holds(const mf__remains *r, const mf__piece *piece, mf__buffer *buffer) {
  mf__block block;
  mf__record record;
  mf_bytes slice;
  buffer->size = 0;
  if (!mf__buffer_reserve(buffer, (size_t)piece->size + 1)) return true;
  if (mf__source_read(&r->source, buffer->data, piece->size, piece->place) != (ssize_t)piece->size)
    return false;
  const uint8_t *first = buffer->data + MF__BLOCK_HEADER, *end = buffer->data + piece->size;
  if (first < end && mf__record_parse(first, end, &record) &&
      stands_at(r, first, &record, piece->first))
    return true;
  if (!mf__block_parse(piece->first, mf__bytes(buffer->data, piece->size), &block)) return false;
  for (uint32_t i = 0; i < block.count; i++) {
    if (!mf__block_slice(&block, i, i, &slice)) continue;
    const uint8_t *p = slice.data;
    if (mf__record_parse(p, p + slice.size, &record) && stands_at(r, p, &record, block.first + i))
      return true;
  }
  return false;
}

static void drop_ruins(mf__remains *r) {
  mf__buffer buffer = {NULL, 0, 0};
  size_t kept = 0;
  for (size_t i = 0; i < r->log.count; i++)
    if (holds(r, &r->log.list[i], &buffer)) r->log.list[kept++] = r->log.list[i];
  if (kept < r->log.count) {
    r->damaged = true;
    r->log_whole = false;
  }
  r->log.count = kept;
  mf__buffer_free(&buffer);
}

static void sort(mf__pieces *pieces) {
  if (pieces->count) qsort(pieces->list, pieces->count, sizeof *pieces->list, by_position);
}

/*
 * Where the log ends: the last block tells, and so does the newest head of a stream. What pages
 * hold behind that was written by who was killed, or failed, before it was committed.
 */
static void find_end(mf__remains *r) {
  uint64_t heads = r->last, log = 0;
  for (size_t i = 0; i < r->log.count; i++) {
    const mf__piece *piece = &r->log.list[i];
    uint64_t end = piece->first + (piece->count ? piece->count : 1) - 1;
    if (end > log && end <= (uint64_t)1 << 60) log = end;
  }
  r->end_known = r->log_whole && r->streams_whole ? heads == log : r->log_whole || r->streams_whole;
  if (!r->end_known)
    r->last = heads > log ? heads : log;
  else
    r->last = r->streams_whole ? heads : log;
}

int mf__gather(const mf__source *source, mf__remains *r, const char *path, mf_error *error) {
  memset(r, 0, sizeof *r);
  r->source = *source;
  bool found = enter_newest(r) || (!r->no_memory && search_record(r));
  if (found) {
    drop_ruins(r);
    sort(&r->log);
    find_end(r);
    /* Where only a block's content is damaged, an older copy of it may still be somewhere. */
    search_pages(r);
    if (!r->no_memory && !place_blocks(r)) r->no_memory = true;
    sort(&r->others);
  }
  if (r->no_memory) return mf__fail(error, MF_NO_MEMORY, "%s: no memory to salvage it", path);
  if (found) return MF_OK;
  return mf__fail(error, MF_CORRUPT,
                  "%s: the store's own record is nowhere to be found, and without it no event can "
                  "be told from noise",
                  path);
}

void mf__remains_free(mf__remains *r) {
  free(r->log.list);
  free(r->others.list);
  free(r->streams);
  free(r->types);
  mf__map_free(&r->commands);
  mf__arena_free(&r->arena);
}
