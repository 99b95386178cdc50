/* Memory that a transaction uses: an arena, growing bytes, and a hash map from bytes to integers.
 */
#include "internal.h"

#include <stdlib.h>

struct mf__arena_block {
  struct mf__arena_block *next;
  max_align_t bytes[];
};

enum { ARENA_BLOCK = 16384 };

void *mf__arena_alloc(mf__arena *arena, size_t size) {
  size = (size + 15) & ~(size_t)15;
  if (!arena->blocks || arena->capacity - arena->used < size) {
    size_t capacity = size > ARENA_BLOCK ? size : ARENA_BLOCK;
    struct mf__arena_block *block = malloc(sizeof *block + capacity);
    if (!block) return NULL;
    block->next = arena->blocks;
    arena->blocks = block;
    arena->used = 0;
    arena->capacity = capacity;
  }
  void *p = (char *)arena->blocks->bytes + arena->used;
  arena->used += size;
  return p;
}

void *mf__arena_copy(mf__arena *arena, const void *data, size_t size) {
  void *p = mf__arena_alloc(arena, size ? size : 1);
  if (p && size) memcpy(p, data, size);
  return p;
}

/* Keeps the newest block, so that the next small transaction allocates nothing. */
void mf__arena_reset(mf__arena *arena) {
  if (!arena->blocks) return;
  struct mf__arena_block *block = arena->blocks->next;
  while (block) {
    struct mf__arena_block *next = block->next;
    free(block);
    block = next;
  }
  arena->blocks->next = NULL;
  arena->used = 0;
  if (arena->capacity > ARENA_BLOCK) mf__arena_free(arena);
}

void mf__arena_free(mf__arena *arena) {
  struct mf__arena_block *block = arena->blocks;
  while (block) {
    struct mf__arena_block *next = block->next;
    free(block);
    block = next;
  }
  memset(arena, 0, sizeof *arena);
}

static mf__map_entry *slot_of(const mf__map *map, mf_bytes key, uint64_t hash) {
  size_t mask = map->capacity - 1;
  for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
    mf__map_entry *entry = &map->entries[i];
    if (!entry->key) return entry;
    if (entry->hash == hash && mf__same(mf__bytes(entry->key, entry->size), key)) return entry;
  }
}

bool mf__map_get(const mf__map *map, mf_bytes key, uint64_t *value) {
  return map->count > 0 && mf__map_get_hashed(map, key, mf__hash(key, map->seed), value);
}

bool mf__map_get_hashed(const mf__map *map, mf_bytes key, uint64_t hash, uint64_t *value) {
  if (map->count == 0) return false;
  const mf__map_entry *entry = slot_of(map, key, hash);
  if (!entry->key) return false;
  *value = entry->value;
  return true;
}

bool mf__map_reserve(mf__map *map, size_t additional) {
  size_t capacity = map->capacity ? map->capacity : 16;
  while ((map->count + additional) * 2 > capacity)
    capacity *= 2;
  if (capacity == map->capacity) return true;
  mf__map larger = {calloc(capacity, sizeof(mf__map_entry)), capacity, map->count, map->seed};
  if (!larger.entries) return false;
  for (size_t i = 0; i < map->capacity; i++) {
    const mf__map_entry *entry = &map->entries[i];
    if (entry->key) *slot_of(&larger, mf__bytes(entry->key, entry->size), entry->hash) = *entry;
  }
  free(map->entries);
  *map = larger;
  return true;
}

void mf__map_set(mf__map *map, mf_bytes key, uint64_t value) {
  mf__map_set_hashed(map, key, mf__hash(key, map->seed), value);
}

void mf__map_set_hashed(mf__map *map, mf_bytes key, uint64_t hash, uint64_t value) {
  mf__map_entry *entry = slot_of(map, key, hash);
  if (!entry->key) map->count++;
  *entry = (mf__map_entry){key.data, key.size, hash, value};
}

void mf__map_remove(mf__map *map, mf_bytes key) {
  if (map->count == 0) return;
  mf__map_entry *entry = slot_of(map, key, mf__hash(key, map->seed));
  if (!entry->key) return;
  map->count--;
  size_t mask = map->capacity - 1, hole = (size_t)(entry - map->entries);
  /* Entries behind the hole that belong at or before it move up, so that a search never meets a gap
   * too early. */
  for (size_t i = (hole + 1) & mask; map->entries[i].key; i = (i + 1) & mask) {
    size_t home = (size_t)map->entries[i].hash & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    map->entries[hole] = map->entries[i];
    hole = i;
  }
  map->entries[hole].key = NULL;
}

void mf__map_clear(mf__map *map) {
  enum { KEPT = 1024, ROOMY = 16 };
  if (map->count == 0) return;
  /* Memory that was much used will be again; to clear what was hardly used takes too long. */
  if (map->capacity > KEPT && map->capacity > ROOMY * map->count) {
    mf__map_free(map);
    return;
  }
  memset(map->entries, 0, map->capacity * sizeof *map->entries);
  map->count = 0;
}

void mf__map_free(mf__map *map) {
  free(map->entries);
  *map = (mf__map){.seed = map->seed};
}

bool mf__buffer_reserve(mf__buffer *buffer, size_t additional) {
  if (buffer->capacity - buffer->size >= additional) return true;
  size_t capacity = buffer->capacity ? buffer->capacity * 2 : 256;
  while (capacity - buffer->size < additional)
    capacity *= 2;
  uint8_t *data = realloc(buffer->data, capacity);
  if (!data) return false;
  buffer->data = data;
  buffer->capacity = capacity;
  return true;
}

bool mf__buffer_add(mf__buffer *buffer, const void *data, size_t size) {
  if (size == 0) return true;
  if (!mf__buffer_reserve(buffer, size)) return false;
  memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
  return true;
}

void mf__buffer_free(mf__buffer *buffer) {
  free(buffer->data);
  memset(buffer, 0, sizeof *buffer);
}
