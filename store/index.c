/* Lookups in a view: stream heads, postings, blocks of the log, interned names and types, ids. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

static MDB_val db_val(mf_bytes bytes) {
  MDB_val value = {bytes.size, (void *)(uintptr_t)bytes.data};
  return value;
}

static mf_bytes from_db(MDB_val value) {
  return mf__bytes(value.mv_data, value.mv_size);
}

int mf__corrupt_event(mf_error *error, const mf__env *env, int64_t position, const char *why) {
  return mf__fail(error, MF_CORRUPT, "%s: the event at position %lld is damaged (%s)", env->path,
                  (long long)position, why);
}

int mf__corrupt_index(mf_error *error, const mf__env *env, const char *what) {
  return mf__fail(error, MF_CORRUPT, "%s: %s is damaged", env->path, what);
}

/* ---- heads and postings ---- */

int mf__stored_head(mf__view *view, mf_bytes stream, uint64_t hash, mf__head *head, bool *found,
                    mf_error *error) {
  MDB_val key = db_val(stream), value;
  int rc = view->heads ? mdb_cursor_get(view->heads, &key, &value, MDB_SET)
                       : mdb_get(view->db, view->env->streams, &key, &value);
  *found = rc == 0;
  if (rc == MDB_NOTFOUND) {
    memset(head, 0, sizeof *head);
    return MF_OK;
  }
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  mf_bytes bytes = from_db(value);
  if (!mf__unseal_hashed(&bytes, hash) || !mf__head_read(bytes, head)) {
    char quoted[MF__QUOTED];
    return mf__fail(error, MF_CORRUPT, "%s: the head of stream %s is damaged", view->env->path,
                    mf__quote(stream, quoted));
  }
  return MF_OK;
}

int mf__view_head(mf__view *view, mf_bytes stream, mf__head *head, bool *found, mf_error *error) {
  const mf__staged_stream *staged = view->staged ? mf__staged_find(view->staged, stream) : NULL;
  if (!staged) {
    uint64_t hash = mf__hash(stream, view->env->record.seed);
    return mf__stored_head(view, stream, hash, head, found, error);
  }
  *head = staged->head;
  head->runs = mf__bytes(staged->runs.data, staged->runs.size);
  *found = head->version > 0;
  return MF_OK;
}

int mf__view_chunk(mf__view *view, uint64_t stream_id, uint64_t version, uint64_t *first,
                   uint64_t *base, mf_bytes *runs, mf_error *error) {
  uint8_t wanted[16];
  mf__be64_write(wanted, stream_id);
  mf__be64_write(wanted + 8, version);
  MDB_val key = {sizeof wanted, wanted}, value;
  int rc = view->postings ? 0 : mdb_cursor_open(view->db, view->env->postings, &view->postings);
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  rc = mdb_cursor_get(view->postings, &key, &value, MDB_SET_RANGE);
  bool exact = rc == 0 && key.mv_size == 16 && memcmp(key.mv_data, wanted, 16) == 0;
  if (!exact && (rc == 0 || rc == MDB_NOTFOUND))
    rc = mdb_cursor_get(view->postings, &key, &value, rc == 0 ? MDB_PREV : MDB_LAST);
  if (rc != 0 && rc != MDB_NOTFOUND) return mf__fail_db(error, rc, view->env->path);
  if (rc != 0 || key.mv_size != 16 || mf__be64_read(key.mv_data) != stream_id)
    return mf__corrupt_index(error, view->env, "the index of a stream's events");
  *first = mf__be64_read((const uint8_t *)key.mv_data + 8);
  *runs = from_db(value);
  if (!mf__unseal(runs, from_db(key), mf__seal_seed(view->env->record.seed, MF__IN_POSTINGS)))
    return mf__corrupt_index(error, view->env, "the index of a stream's events");
  const uint8_t *p = runs->data, *limit = p + runs->size;
  p = mf__varint_read(p, limit, base);
  if (!p) return mf__corrupt_index(error, view->env, "the index of a stream's events");
  *runs = mf__bytes(p, (size_t)(limit - p));
  return MF_OK;
}

/* ---- the log ---- */

static int last_block(mf__view *view, mf__block *block, bool *found, mf_error *error) {
  MDB_val key, value;
  int rc = mdb_cursor_get(view->log, &key, &value, MDB_LAST);
  *found = rc == 0;
  if (rc == MDB_NOTFOUND) return MF_OK;
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  size_t first;
  memcpy(&first, key.mv_data, sizeof first);
  if (!mf__block_parse(first, from_db(value), block))
    return mf__corrupt_event(error, view->env, (int64_t)first, "its block's header");
  return MF_OK;
}

int mf__view_last_position(mf__view *view, int64_t *position, mf_error *error) {
  if (view->staged) {
    *position = view->staged->base_position + (int64_t)view->staged->event_count;
    return MF_OK;
  }
  mf__block block;
  bool found;
  int status = last_block(view, &block, &found, error);
  *position = status == MF_OK && found ? (int64_t)(block.first + block.count - 1) : 0;
  return status;
}

/*
 * A block of which its own key and the next one's tell how many events it has. Its header would
 * tell as much, but stands on another page than the offsets, and to fetch that is most of what a
 * scattered read costs. What is read in it proves it.
 */
static bool block_between(uint64_t first, uint64_t next, mf_bytes value, mf__block *block) {
  uint64_t count = next - first;
  size_t table = 2 * (size_t)count;
  if (first < 1 || next <= first || count > UINT16_MAX) return false;
  if (value.size <= MF__BLOCK_HEADER + table) return false;
  const uint8_t *start = value.data, *offsets = start + value.size - table;
  *block = (mf__block){start, offsets, value.size, value.size - table, first, (uint32_t)count};
  return true;
}

static bool load_offsets(mf__view *view, mf__block *block) {
  uint8_t *piece = view->slot ? view->slot->piece : NULL;
  if (piece && mf__cold_read(view, block->offsets, 2 * (size_t)block->count, piece))
    block->offsets = piece;
  return mf__u16_read(block->offsets) == MF__BLOCK_HEADER;
}

/* Where event i of a block begins if all are of one size; i may be their number. */
static size_t expected_offset(const mf__block *block, uint32_t i) {
  return MF__BLOCK_HEADER + (block->content - MF__BLOCK_HEADER) * (size_t)i / block->count;
}

static void learn(mf__slot *slot, size_t expected, size_t found) {
  size_t off = found > expected ? found - expected : expected - found;
  slot->astray = slot->astray - slot->astray / 8 + off;
}

/* The event that is sought, in bytes in which it may stand. */
static bool find_event(const mf__view *view, int64_t position, mf_bytes bytes, mf__sought *sought) {
  enum { TRIES = 4 };
  uint8_t name[2 * MF__VARINT_MAX];
  uint8_t *end = mf__varint_write(mf__varint_write(name, sought->stream_id), sought->version);
  size_t size = (size_t)(end - name);
  const uint8_t *p = bytes.data, *limit = p + bytes.size;
  for (int tries = 0; tries < TRIES && (size_t)(limit - p) >= MF__RECORD_FIXED + size; p++) {
    p = memchr(p + MF__RECORD_FIXED, name[0], (size_t)(limit - p) - MF__RECORD_FIXED - size + 1);
    if (!p) return false;
    p -= MF__RECORD_FIXED;
    if (memcmp(p + MF__RECORD_FIXED, name, size) != 0) continue;
    tries++;
    mf__record record;
    if (!mf__record_parse(p, limit, &record)) continue;
    if (!mf__record_verify(p, &record, view->env->record.seed, position)) continue;
    sought->record = mf__bytes(p, record.size);
    return true;
  }
  return false;
}

/*
 * To read the block's offsets first takes as long as to read the event. But where a block's events
 * are much alike, their number tells about where one begins; its stream and version tell it from
 * others there, and its checksum proves it. So a piece is read that is as wide as guesses were
 * wrong lately.
 */
static bool guess_event(mf__view *view, const mf__block *block, int64_t position,
                        mf__sought *sought) {
  mf__slot *slot = view->slot;
  uint32_t i = (uint32_t)((uint64_t)position - block->first);
  size_t start = expected_offset(block, i), end = expected_offset(block, i + 1);
  size_t astray = slot->astray / 8, margin = 3 * astray + 32;
  if (end - start > MF__COLD_MOST) return false;
  size_t most = (MF__COLD_MOST - (end - start)) / 2;
  if (margin > most) margin = most;
  if (astray > margin) return false; /* most guesses would fail */
  size_t from = start > MF__BLOCK_HEADER + margin ? start - margin : MF__BLOCK_HEADER;
  size_t to = block->content - end > margin ? end + margin : block->content;
  if (!mf__cold_read(view, block->data + from, to - from, slot->piece)) return false;
  if (!find_event(view, position, mf__bytes(slot->piece, to - from), sought)) return false;
  learn(slot, start, from + (size_t)((const uint8_t *)sought->record.data - slot->piece));
  return true;
}

int mf__view_block(mf__view *view, int64_t position, mf__sought *sought, mf__block *block,
                   mf_error *error) {
  size_t wanted = (size_t)position, first = 0, next = 0;
  MDB_val key = {sizeof wanted, &wanted}, value;
  int rc = mdb_cursor_get(view->log, &key, &value, MDB_SET_RANGE);
  if (rc == 0) memcpy(&first, key.mv_data, sizeof first);
  if (rc == MDB_NOTFOUND || (rc == 0 && first != wanted)) {
    next = first; /* 0: there is none */
    rc = mdb_cursor_get(view->log, &key, &value, rc == 0 ? MDB_PREV : MDB_LAST);
  }
  if (rc == MDB_NOTFOUND) return mf__corrupt_event(error, view->env, position, "it is missing");
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  memcpy(&first, key.mv_data, sizeof first);
  bool known = block_between(first, next, from_db(value), block);
  bool cold = sought && view->slot && view->env->map;
  if (known && cold && guess_event(view, block, position, sought)) return MF_OK;
  if (!(known && load_offsets(view, block)) && !mf__block_parse(first, from_db(value), block))
    return mf__corrupt_event(error, view->env, position, "its block's header");
  if (wanted < first || wanted - first >= block->count)
    return mf__corrupt_event(error, view->env, position, "it is missing");
  if (cold) {
    uint32_t i = (uint32_t)(wanted - first);
    learn(view->slot, expected_offset(block, i), mf__u16_read(block->offsets + 2 * (size_t)i));
  }
  return MF_OK;
}

int mf__view_record(mf__view *view, int64_t position, mf__record *record, mf_error *error) {
  mf_bytes slice;
  const mf_txn *staged = view->staged;
  if (staged && position > staged->base_position) {
    if ((uint64_t)(position - staged->base_position) > staged->event_count)
      return mf__corrupt_event(error, view->env, position, "it is missing");
    slice.data = mf__staged_record(view->staged, position, &slice.size);
  } else {
    mf__block block;
    int status = mf__view_block(view, position, NULL, &block, error);
    if (status != MF_OK) return status;
    uint32_t i = (uint32_t)((uint64_t)position - block.first);
    if (!mf__block_slice(&block, i, i, &slice))
      return mf__corrupt_event(error, view->env, position, "its block's offsets");
  }
  const uint8_t *p = slice.data;
  if (!mf__record_parse(p, p + slice.size, record) ||
      !mf__record_verify(p, record, view->env->record.seed, position))
    return mf__corrupt_event(error, view->env, position, "its checksum differs");
  return MF_OK;
}

/* ---- ids ---- */

int mf__view_id(mf__view *view, mf_bytes key, mf_bytes *value, bool *found, mf_error *error) {
  uint64_t index;
  if (view->staged && mf__map_get(&view->staged->ids, key, &index)) {
    *value = view->staged->id_values[index];
    *found = true;
    return MF_OK;
  }
  MDB_val db_key = db_val(key), db_value;
  int rc = mdb_get(view->db, view->env->ids, &db_key, &db_value);
  *found = rc == 0;
  if (rc == MDB_NOTFOUND) return MF_OK;
  if (rc != 0) return mf__fail_db(error, rc, view->env->path);
  *value = from_db(db_value);
  if (!mf__unseal(value, key, mf__seal_seed(view->env->record.seed, MF__IN_IDS)))
    return mf__corrupt_index(error, view->env, "the index of ids");
  return MF_OK;
}

/*
 * A generated id is a UUID of version 8 that is computed, not stored: 62 bits of a hash of seed and
 * position, and 60 bits of the position hidden under a hash of those. So it can be made when it is
 * asked for, and recognised.
 */
static uint64_t id_check(uint64_t seed, int64_t position) {
  uint8_t bytes[8];
  mf__u64_write(bytes, (uint64_t)position);
  return mf__hash(mf__bytes(bytes, 8), seed) >> 2;
}

static uint64_t id_mask(uint64_t seed, uint64_t check) {
  uint8_t bytes[8];
  mf__u64_write(bytes, check);
  return mf__hash(mf__bytes(bytes, 8), ~seed) >> 4;
}

void mf__generated_id(uint64_t seed, int64_t position, char text[37]) {
  uint64_t check = id_check(seed, position);
  uint64_t hidden = (uint64_t)position ^ id_mask(seed, check);
  snprintf(text, 37, "%08llx-%04llx-8%03llx-%04llx-%012llx",
           (unsigned long long)(hidden >> 28 & 0xffffffff),
           (unsigned long long)(hidden >> 12 & 0xffff), (unsigned long long)(hidden & 0xfff),
           (unsigned long long)(check >> 48 | 0x8000),
           (unsigned long long)(check & 0xffffffffffff));
}

int64_t mf__generated_position(uint64_t seed, mf_bytes id) {
  char text[37];
  unsigned long long a, b, c, d, e;
  if (id.size != 36) return 0;
  memcpy(text, id.data, 36);
  text[36] = '\0';
  if (sscanf(text, "%8llx-%4llx-8%3llx-%4llx-%12llx", &a, &b, &c, &d, &e) != 5) return 0;
  uint64_t check = (d & 0x3fff) << 48 | e;
  int64_t position = (int64_t)((a << 28 | b << 12 | c) ^ id_mask(seed, check));
  if (position <= 0 || id_check(seed, position) != check) return 0;
  char again[37];
  mf__generated_id(seed, position, again);
  return memcmp(again, text, 36) == 0 ? position : 0;
}

/* ---- types ---- */

const mf__type *mf__type_by_id(mf__env *env, uint64_t id) {
  if (id == 0 || id > atomic_load_explicit(&env->type_count, memory_order_acquire)) return NULL;
  return env->type_pages[(id - 1) / MF__TYPE_PAGE][(id - 1) % MF__TYPE_PAGE];
}

/* Called with names_lock held; `id` is the next one. */
static bool remember_type(mf__env *env, uint32_t id, mf_bytes name) {
  mf__type ***page = &env->type_pages[(id - 1) / MF__TYPE_PAGE];
  if (!*page) *page = calloc(MF__TYPE_PAGE, sizeof **page);
  mf__type *type = malloc(sizeof *type + name.size);
  if (!*page || !type || !mf__map_reserve(&env->type_ids, 1)) {
    free(type);
    return false;
  }
  type->size = (uint32_t)name.size;
  memcpy(type->name, name.data, name.size);
  (*page)[(id - 1) % MF__TYPE_PAGE] = type;
  mf__map_set(&env->type_ids, mf__bytes(type->name, type->size), id);
  atomic_store_explicit(&env->type_count, id, memory_order_release);
  return true;
}

static int load_types_locked(mf__view *view, mf_error *error) {
  mf__env *env = view->env;
  MDB_stat stat;
  int rc = mdb_stat(view->db, env->types, &stat);
  if (rc != 0) return mf__fail_db(error, rc, env->path);
  for (size_t id = env->type_count + 1; id <= stat.ms_entries; id++) {
    MDB_val key = {sizeof id, &id}, value;
    rc = id > MF_TYPES_MAX ? MDB_NOTFOUND : mdb_get(view->db, env->types, &key, &value);
    if (rc != 0) return mf__fail_db(error, rc, env->path);
    mf_bytes name = from_db(value);
    if (!mf__unseal(&name, mf__bytes(&id, sizeof id),
                    mf__seal_seed(env->record.seed, MF__IN_TYPES)))
      return mf__corrupt_index(error, env, "the table of event types");
    if (!remember_type(env, (uint32_t)id, name))
      return mf__fail(error, MF_NO_MEMORY, "%s: no memory for the event types", env->path);
  }
  return MF_OK;
}

int mf__load_types(mf__view *view, mf_error *error) {
  pthread_mutex_lock(&view->env->names_lock);
  int status = load_types_locked(view, error);
  pthread_mutex_unlock(&view->env->names_lock);
  return status;
}

int mf__type_of(mf__view *view, uint64_t id, mf_bytes *name, mf_error *error) {
  mf_txn *txn = view->staged;
  if (txn && id > txn->base_type_id && id <= txn->base_type_id + txn->type_count) {
    *name = txn->types[id - txn->base_type_id - 1];
    return MF_OK;
  }
  const mf__type *type = mf__type_by_id(view->env, id);
  if (!type) {
    int status = mf__load_types(view, error);
    if (status != MF_OK) return status;
    type = mf__type_by_id(view->env, id);
  }
  if (!type) return mf__corrupt_index(error, view->env, "the table of event types");
  *name = mf__bytes(type->name, type->size);
  return MF_OK;
}

int mf__type_id(mf__view *view, mf_bytes name, uint32_t *id, mf_error *error) {
  uint64_t value = 0;
  mf_txn *txn = view->staged;
  *id = 0;
  pthread_mutex_lock(&view->env->names_lock);
  bool found = mf__map_get(&view->env->type_ids, name, &value);
  int status = MF_OK;
  if (!found) {
    status = load_types_locked(view, error);
    found = status == MF_OK && mf__map_get(&view->env->type_ids, name, &value);
  }
  pthread_mutex_unlock(&view->env->names_lock);
  /* A type that others have committed since: here its number may be taken by a staged one. */
  if (found && txn && value > txn->base_type_id) found = false;
  if (found)
    *id = (uint32_t)value;
  else if (status == MF_OK && txn && mf__map_get(&txn->type_ids, name, &value))
    *id = (uint32_t)value;
  return status;
}

/* ---- names of streams ---- */

static int stored_name(mf__view *view, uint64_t id, mf_bytes *name, mf_error *error) {
  size_t wanted = (size_t)id;
  MDB_val key = {sizeof wanted, &wanted}, value;
  int rc = mdb_get(view->db, view->env->names, &key, &value);
  if (rc != 0 && rc != MDB_NOTFOUND) return mf__fail_db(error, rc, view->env->path);
  if (rc == 0) *name = from_db(value);
  if (rc != 0 || !mf__unseal(name, mf__bytes(&wanted, sizeof wanted),
                             mf__seal_seed(view->env->record.seed, MF__IN_NAMES)))
    return mf__corrupt_index(error, view->env, "the table of stream names");
  return MF_OK;
}

/* With names_lock held: the cached name of a stream, looked up where another one has its place. */
static int cached_name(mf__view *view, uint64_t id, const mf__cached_name **out, mf_error *error) {
  mf__env *env = view->env;
  mf_bytes name;
  if (!env->names_cache) env->names_cache = calloc(MF__NAME_CACHE, sizeof *env->names_cache);
  if (!env->names_cache) return MF_NO_MEMORY;
  mf__cached_name *cached = &env->names_cache[id % MF__NAME_CACHE];
  *out = cached;
  if (cached->id == id && id != 0) return MF_OK;
  int status = stored_name(view, id, &name, error);
  if (status != MF_OK) return status;
  char *kept = realloc(cached->name, name.size ? name.size : 1);
  if (!kept) return MF_NO_MEMORY;
  memcpy(kept, name.data, name.size);
  *cached = (mf__cached_name){id, kept, (uint32_t)name.size};
  return MF_OK;
}

int mf__stream_name(mf__view *view, uint64_t id, mf__buffer *copy, mf_error *error) {
  mf__env *env = view->env;
  mf_txn *txn = view->staged;
  mf_bytes name;
  int status = MF_OK;
  if (txn && id > txn->base_stream_id) {
    if (id - txn->base_stream_id > txn->created_count)
      return mf__corrupt_index(error, env, "the table of stream names");
    name = txn->streams[txn->created[id - txn->base_stream_id - 1]].name;
    if (!mf__buffer_add(copy, name.data, name.size)) status = MF_NO_MEMORY;
  } else {
    pthread_mutex_lock(&env->names_lock);
    const mf__cached_name *cached;
    status = cached_name(view, id, &cached, error);
    if (status == MF_OK && !mf__buffer_add(copy, cached->name, cached->size)) status = MF_NO_MEMORY;
    pthread_mutex_unlock(&env->names_lock);
  }
  if (status == MF_NO_MEMORY)
    return mf__fail(error, MF_NO_MEMORY, "%s: no memory for a stream's name", env->path);
  return status;
}
