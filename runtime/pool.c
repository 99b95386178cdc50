/*
 * A pool allocator for Lua states: the binary's own and those of scripts. Folding makes and drops
 * small blocks by the million; here each size of up to 256 bytes has a list of free blocks, cut
 * from large chunks, which spares malloc's bookkeeping. Chunks are given back when the state is
 * closed. Larger blocks are the allocator's, which is malloc or the host's own, behind a head that
 * tells strings from the rest. What Lua holds may be limited.
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

typedef struct large {
  union {
    bool is_string;
    struct large *next; /* of the stranded */
  };
  size_t size; /* of the bytes, as the allocator knows it */
  max_align_t bytes[];
} large;

struct mfr_pool {
  mfr_allocator allocator; /* where chunks and larger blocks come from */
  block *free_blocks[MOST / STEP];
  chunk *chunks;
  large *stranded; /* they serve as small blocks; see shrunk() */
  char *rest;      /* what is left of the newest chunk */
  size_t left;
  size_t used, limit, string_limit;     /* bytes that Lua holds, and may hold */
  size_t mark, quiet;                   /* where it is told of, and what is below that and limit */
  unsigned strings[8 * sizeof(size_t)]; /* large ones that live, by the power of two above them */
  int refusals;
  bool failed;  /* there was no memory */
  bool refused; /* a block, just now: Lua collects, and tries again */
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
  pool->mark = SIZE_MAX;
  mfr_pool_limit(pool, 0, 0);
  return pool;
}

void mfr_pool_mark(mfr_pool *pool, size_t bytes) {
  pool->mark = bytes;
  pool->quiet = bytes < pool->limit ? bytes : pool->limit;
}

void mfr_pool_limit(mfr_pool *pool, size_t bytes, size_t string) {
  pool->limit = bytes ? bytes : SIZE_MAX;
  pool->string_limit = string ? string : SIZE_MAX;
  mfr_pool_mark(pool, pool->mark);
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

static int power_of(size_t size) {
  int power = 0;
  while (size > (size_t)1 << power)
    power++;
  return power;
}

size_t mfr_pool_longest(const mfr_pool *pool) {
  for (int power = 31; (size_t)1 << power > MOST; power--)
    if (pool->strings[power] > 0) return (size_t)1 << power;
  return MOST;
}

void mfr_pool_forgive(mfr_pool *pool) {
  pool->refusals = 0;
  pool->failed = pool->refused = false;
}

void mfr_pool_watch(mfr_pool *pool, mfr_pool_watcher *watcher, void *context) {
  pool->watcher = watcher;
  pool->watcher_context = context;
}

static void give_back(mfr_pool *pool, large *head) {
  allocate(pool, head, sizeof *head + head->size, 0);
}

void mfr_pool_free(mfr_pool *pool) {
  while (pool->chunks) {
    chunk *next = pool->chunks->next;
    allocate(pool, pool->chunks, sizeof *next + CHUNK, 0);
    pool->chunks = next;
  }
  while (pool->stranded) {
    large *next = pool->stranded->next;
    give_back(pool, pool->stranded);
    pool->stranded = next;
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

static large *head_of(void *p) {
  return (large *)(void *)((char *)p - offsetof(large, bytes));
}

static void *take_large(mfr_pool *pool, size_t size, bool is_string) {
  if (size > SIZE_MAX / 2) return NULL;
  large *head = allocate(pool, NULL, 0, sizeof *head + size);
  if (!head) return NULL;
  head->is_string = is_string;
  head->size = size;
  if (is_string) pool->strings[power_of(size)]++;
  return head->bytes;
}

/* Strings do not change their size. */
static void *resize_large(mfr_pool *pool, void *p, size_t size) {
  if (size > SIZE_MAX / 2) return NULL;
  large *head = head_of(p);
  head = allocate(pool, head, sizeof *head + head->size, sizeof *head + size);
  if (!head) return NULL;
  head->size = size;
  return head->bytes;
}

static void release(mfr_pool *pool, void *p, size_t size) {
  if (size == 0) return;
  pool->used -= size;
  if (size <= MOST) {
    give(pool, p, size);
    return;
  }
  large *head = head_of(p);
  if (head->is_string) pool->strings[power_of(size)]--;
  give_back(pool, head);
}

static void tell(const mfr_pool *pool, mfr_pool_sight sight, size_t size) {
  if (pool->watcher) pool->watcher(pool->watcher_context, sight, size);
}

/* Whether Lua may have `more` bytes, in a block of `size`. */
static bool allowed(mfr_pool *pool, size_t more, size_t size, bool is_string) {
  if (pool->refused) { /* a collection for want of memory allocates nothing itself */
    pool->refused = false;
    tell(pool, MFR_POOL_RETRIED, size);
  }
  /* What a string's header takes is not counted as its bytes. */
  bool fits = pool->used <= pool->limit && more <= pool->limit - pool->used &&
              (!is_string || size <= pool->string_limit || size - pool->string_limit <= 32);
  if (fits && pool->refusals < MFR_POOL_REFUSALS) return true;
  pool->refusals++;
  pool->refused = true;
  tell(pool, MFR_POOL_REFUSED, size);
  return false;
}

static void *given(mfr_pool *pool, void *p, size_t more, size_t size, bool is_string) {
  if (!p) {
    pool->failed = true;
    return NULL;
  }
  pool->used += more;
  if (size > (is_string ? MFR_POOL_LONG : MFR_POOL_LARGE))
    tell(pool, is_string ? MFR_POOL_STRING : MFR_POOL_BLOCK, size);
  if (pool->used > pool->mark) {
    mfr_pool_mark(pool, SIZE_MAX);
    tell(pool, MFR_POOL_MARKED, size);
  }
  return p;
}

/* `kind` is that of the object, LUA_TSTRING among them. */
static void *fresh(mfr_pool *pool, size_t kind, size_t size) {
  if (size == 0 || !allowed(pool, size, size, kind == LUA_TSTRING)) return NULL;
  void *p = size <= MOST ? take(pool, size) : take_large(pool, size, kind == LUA_TSTRING);
  return given(pool, p, size, size, kind == LUA_TSTRING);
}

/* Lua takes for granted that shrinking works. Where there is no memory for a small block, the large
 * one becomes one where it stands. */
static void *strand(mfr_pool *pool, void *p) {
  large *head = head_of(p);
  head->next = pool->stranded;
  pool->stranded = head;
  return p;
}

static void *shrunk(mfr_pool *pool, void *p, size_t old_size, size_t size) {
  if (size > MOST) {
    void *same = resize_large(pool, p, size);
    pool->used -= old_size - size;
    return same ? same : p;
  }
  void *moved = take(pool, size);
  if (moved) {
    memcpy(moved, p, size);
    release(pool, p, old_size);
    pool->used += size;
    return moved;
  }
  pool->used -= old_size - size;
  return strand(pool, p);
}

static void *grown(mfr_pool *pool, void *p, size_t old_size, size_t size) {
  size_t more = size - old_size;
  if (!allowed(pool, more, size, false)) return NULL;
  if (old_size > MOST) return given(pool, resize_large(pool, p, size), more, size, false);
  void *moved = size <= MOST ? take(pool, size) : take_large(pool, size, false);
  moved = given(pool, moved, size, size, false);
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
    if (b && pool->used + size <= pool->quiet) {
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
