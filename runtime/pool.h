/* A pool allocator for Lua states; see pool.c. One state, and so one thread, uses a pool. */
#ifndef MF_RUNTIME_POOL_H
#define MF_RUNTIME_POOL_H

#include <stddef.h>

typedef struct mfr_pool mfr_pool;

mfr_pool *mfr_pool_new(void);                                            /* NULL: no memory */
void mfr_pool_free(mfr_pool *pool);                                      /* after lua_close() */
void *mfr_pool_alloc(void *pool, void *p, size_t old_size, size_t size); /* a lua_Alloc */

#endif
