/* A pool allocator for Lua states; see pool.c. One state, and so one thread, uses a pool. */
#ifndef MF_RUNTIME_POOL_H
#define MF_RUNTIME_POOL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mfr_pool mfr_pool;

/* Where memory comes from: like a lua_Alloc, but old_size is that of the block, or 0. NULL: malloc.
 */
typedef struct mfr_allocator {
  void *(*allocate)(void *context, void *p, size_t old_size, size_t size);
  void *context;
} mfr_allocator;

mfr_pool *mfr_pool_new(const mfr_allocator *allocator);                  /* NULL: no memory */
void mfr_pool_free(mfr_pool *pool);                                      /* after lua_close() */
void *mfr_pool_alloc(void *pool, void *p, size_t old_size, size_t size); /* a lua_Alloc */

/*
 * The bytes that Lua may hold at most, and the bytes of its longest string; 0: as many as there
 * are. A block beyond them is refused, and Lua then collects its garbage and tries once more. Each
 * refusal costs a whole collection: after MFR_POOL_REFUSALS since mfr_pool_forgive() nothing more
 * is given.
 */
enum { MFR_POOL_REFUSALS = 4 };
void mfr_pool_limit(mfr_pool *pool, size_t bytes, size_t string);
size_t mfr_pool_used(const mfr_pool *pool);
/* Whether blocks were refused because of the limit, or because there was no memory. */
bool mfr_pool_refused(const mfr_pool *pool);
bool mfr_pool_failed(const mfr_pool *pool);
void mfr_pool_forgive(mfr_pool *pool);
/* No string that Lua holds is longer than this. */
size_t mfr_pool_longest(const mfr_pool *pool);

enum { MFR_POOL_LARGE = 16 * 1024, MFR_POOL_LONG = 4 * 1024 };
typedef enum mfr_pool_sight {
  MFR_POOL_BLOCK,   /* one of more than 16 KiB is given: told before Lua has it, */
  MFR_POOL_STRING,  /* as is one of more than 4 KiB for a string */
  MFR_POOL_MARKED,  /* Lua holds more than was marked; told once */
  MFR_POOL_REFUSED, /* a block was refused, and Lua collects everything now, */
  MFR_POOL_RETRIED, /* and has done so */
} mfr_pool_sight;
/* What is told of a pool; it must not use the Lua state, but for hooks. `size`: of the block. */
typedef void mfr_pool_watcher(void *context, mfr_pool_sight sight, size_t size);
void mfr_pool_watch(mfr_pool *pool, mfr_pool_watcher *watcher, void *context);
void mfr_pool_mark(mfr_pool *pool, size_t bytes);

#endif
