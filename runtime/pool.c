/*
 * A pool allocator for the binary's Lua state. Folding makes and drops small blocks by the million;
 * here each size of up to 256 bytes has a list of free blocks, cut from large chunks, which spares
 * malloc's bookkeeping. Chunks are given back when the state is closed. Larger blocks are malloc's.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum { STEP = 16, MOST = 256, CHUNK = 64 * 1024 };

typedef struct block {
  struct block *next;
} block;

typedef struct chunk {
  struct chunk *next;
  max_align_t bytes[];
} chunk;

struct mfr_pool {
  block *free_blocks[MOST / STEP];
  chunk *chunks;
  char *rest; /* what is left of the newest chunk */
  size_t left;
};

mfr_pool *mfr_pool_new(void) {
  return calloc(1, sizeof(mfr_pool));
}

void mfr_pool_free(mfr_pool *pool) {
  while (pool->chunks) {
    chunk *next = pool->chunks->next;
    free(pool->chunks);
    pool->chunks = next;
  }
  free(pool);
}

static size_t list_of(size_t size) {
  return (size + STEP - 1) / STEP - 1;
}

static void *cut(mfr_pool *pool, size_t size) {
  if (pool->left < size) {
    chunk *fresh = malloc(sizeof *fresh + CHUNK);
    if (!fresh) return NULL;
    fresh->next = pool->chunks;
    pool->chunks = fresh;
    pool->rest = (char *)fresh->bytes;
    pool->left = CHUNK;
  }
  void *p = pool->rest;
  pool->rest += size;
  pool->left -= size;
  return p;
}

static void *take(mfr_pool *pool, size_t size) {
  size_t list = list_of(size);
  block *b = pool->free_blocks[list];
  if (!b) return cut(pool, (list + 1) * STEP);
  pool->free_blocks[list] = b->next;
  return b;
}

static void give(mfr_pool *pool, void *p, size_t size) {
  block *b = p;
  b->next = pool->free_blocks[list_of(size)];
  pool->free_blocks[list_of(size)] = b;
}

/* Lua's allocator; when `p` is NULL, old_size tells a kind of object and no size. */
void *mfr_pool_alloc(void *context, void *p, size_t old_size, size_t size) {
  mfr_pool *pool = context;
  if (!p) {
    if (size == 0) return NULL;
    return size <= MOST ? take(pool, size) : malloc(size);
  }
  if (size == 0) {
    if (old_size == 0) return NULL;
    if (old_size <= MOST)
      give(pool, p, old_size);
    else
      free(p);
    return NULL;
  }
  if (old_size > MOST && size > MOST) return realloc(p, size);
  if (old_size <= MOST && size <= MOST && list_of(old_size) == list_of(size)) return p;
  void *moved = size <= MOST ? take(pool, size) : malloc(size);
  if (!moved) return old_size >= size ? p : NULL; /* Lua takes for granted that shrinking works */
  memcpy(moved, p, old_size < size ? old_size : size);
  if (old_size <= MOST)
    give(pool, p, old_size);
  else
    free(p);
  return moved;
}
