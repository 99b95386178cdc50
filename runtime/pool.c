/*
 * A pool allocator for Lua states: the binary's own and those of scripts. Folding makes and drops
 * small blocks by the million; here each size of up to 256 bytes has a list of free blocks, cut
 * from large chunks, which spares malloc's bookkeeping. Chunks are given back when the state is
 * closed. Larger blocks are the allocator's, which is malloc or the host's own. What Lua holds may
 * be limited.
 */
#include "pool.h"

#include <lua.h>
#include <stdint.h>
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
  mfr_allocator allocator; /* where chunks and larger blocks come from */
  block *free_blocks[MOST / STEP];
  chunk *chunks;
  char *rest; /* what is left of the newest chunk */
  size_t left;
  size_t used, limit, string_limit; /* bytes that Lua holds, and may hold */
  int refusals;
  bool failed; /* there was no memory */
  mfr_pool_watcher *watcher;
  void *watcher_context;
};

static void *use_malloc(void *context, void *p, size_t old_size, size_t size) {
  (void)context;
  (void)old_size;
  if (size) return realloc(p, size);
  free(p);
  return NULL;
}

static void *allocate(const mfr_pool *pool, void *p, size_t old_size, size_t size) {
  return pool->allocator.allocate(pool->allocator.context, p, old_size, size);
}

mfr_pool *mfr_pool_new(const mfr_allocator *given) {
  mfr_allocator allocator = given && given->allocate ? *given : (mfr_allocator){use_malloc, NULL};
  mfr_pool *pool = allocator.allocate(allocator.context, NULL, 0, sizeof *pool);
  if (!pool) return NULL;
  memset(pool, 0, sizeof *pool);
  pool->allocator = allocator;
  mfr_pool_limit(pool, 0, 0);
  return pool;
}

void mfr_pool_limit(mfr_pool *pool, size_t bytes, size_t string) {
  pool->limit = bytes ? bytes : SIZE_MAX;
  pool->string_limit = string ? string : SIZE_MAX;
}

size_t mfr_pool_used(const mfr_pool *pool) {
  return pool->used;
}

bool mfr_pool_refused(const mfr_pool *pool) {
  return pool->refusals > 0;
}

bool mfr_pool_failed(const mfr_pool *pool) {
  return pool->failed;
}

void mfr_pool_forgive(mfr_pool *pool) {
  pool->refusals = 0;
  pool->failed = false;
}

void mfr_pool_watch(mfr_pool *pool, mfr_pool_watcher *watcher, void *context) {
  pool->watcher = watcher;
  pool->watcher_context = context;
}

void mfr_pool_free(mfr_pool *pool) {
  while (pool->chunks) {
    chunk *next = pool->chunks->next;
    allocate(pool, pool->chunks, sizeof *next + CHUNK, 0);
    pool->chunks = next;
  }
  mfr_allocator allocator = pool->allocator;
  allocator.allocate(allocator.context, pool, sizeof *pool, 0);
}

static size_t list_of(size_t size) {
  return (size - 1) / STEP; /* of 0: none */
}

static void *cut(mfr_pool *pool, size_t size) {
  if (pool->left < size) {
    chunk *fresh = allocate(pool, NULL, 0, sizeof *fresh + CHUNK);
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

static void release(mfr_pool *pool, void *p, size_t size) {
  if (size == 0) return;
  pool->used -= size;
  if (size <= MOST)
    give(pool, p, size);
  else
    allocate(pool, p, size, 0);
}

/* Whether Lua may have `more` bytes, in a block of `size`. */
static bool allowed(mfr_pool *pool, size_t more, size_t size, bool is_string) {
  /* What a string's header takes is not counted as its bytes. */
  bool fits = pool->used <= pool->limit && more <= pool->limit - pool->used &&
              (!is_string || size <= pool->string_limit || size - pool->string_limit <= 32);
  if (fits && pool->refusals < MFR_POOL_REFUSALS) return true;
  pool->refusals++;
  return false;
}

static void *given(mfr_pool *pool, void *p, size_t more, size_t size, bool is_string) {
  if (!p) {
    pool->failed = true;
    return NULL;
  }
  pool->used += more;
  if (size > MFR_POOL_LARGE && pool->watcher) pool->watcher(pool->watcher_context, size, is_string);
  return p;
}

/* `kind` is that of the object, LUA_TSTRING among them. */
static void *fresh(mfr_pool *pool, size_t kind, size_t size) {
  if (size == 0 || !allowed(pool, size, size, kind == LUA_TSTRING)) return NULL;
  void *p = size <= MOST ? take(pool, size) : allocate(pool, NULL, 0, size);
  return given(pool, p, size, size, kind == LUA_TSTRING);
}

static void *shrunk(mfr_pool *pool, void *p, size_t old_size, size_t size) {
  void *moved = size <= MOST ? take(pool, size) : allocate(pool, p, old_size, size);
  if (!moved) return p; /* Lua takes for granted that shrinking works */
  if (size <= MOST) {
    memcpy(moved, p, size);
    release(pool, p, old_size);
    pool->used += size;
  } else
    pool->used -= old_size - size;
  return moved;
}

static void *grown(mfr_pool *pool, void *p, size_t old_size, size_t size) {
  size_t more = size - old_size;
  if (!allowed(pool, more, size, false)) return NULL;
  if (old_size > MOST) return given(pool, allocate(pool, p, old_size, size), more, size, false);
  void *fresh_block = size <= MOST ? take(pool, size) : allocate(pool, NULL, 0, size);
  void *moved = given(pool, fresh_block, size, size, false);
  if (!moved) return NULL;
  memcpy(moved, p, old_size);
  release(pool, p, old_size);
  return moved;
}

/* Lua's allocator; when `p` is NULL, old_size tells a kind of object and no size. */
void *mfr_pool_alloc(void *context, void *p, size_t old_size, size_t size) {
  mfr_pool *pool = context;
  /* What a fold does all the time first: small blocks come and go. */
  if (!p && size - 1 < MOST && size <= pool->string_limit && pool->refusals == 0) {
    block *b = pool->free_blocks[(size - 1) / STEP];
    if (b && pool->used + size <= pool->limit) {
      pool->free_blocks[(size - 1) / STEP] = b->next;
      pool->used += size;
      return b;
    }
  }
  if (!p) return fresh(pool, old_size, size);
  if (size == 0) {
    release(pool, p, old_size);
    return NULL;
  }
  if (old_size <= MOST && size <= MOST && list_of(old_size) == list_of(size)) {
    pool->used += size - old_size;
    return p;
  }
  return size <= old_size ? shrunk(pool, p, old_size, size) : grown(pool, p, old_size, size);
}
