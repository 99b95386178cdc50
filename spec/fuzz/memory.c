/*
 * LMDB allocates 3 MiB for every environment that is opened, and a sanitizer maps and unmaps these
 * anew each time, with the shadow of them: half of the time of targets that open stores. So these
 * two blocks, and nothing else, are kept for the next one. What is found of LMDB's own mistakes in
 * them is lost; it is not built with sanitizers anyway.
 */
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

/* The list of dirty pages, and a list of page numbers: of 131,071 entries each. */
enum { DIRTY = 131072 * 16, NUMBERS = 131073 * 8, KEPT = 8 };

typedef struct kept {
  void *block;
  size_t size;
  int used;
} kept;

static kept blocks[KEPT];

static void *take(size_t size) {
  for (int i = 0; i < KEPT; i++) {
    kept *k = &blocks[i];
    if (!k->block) *k = (kept){__real_malloc(size), size, 0};
    if (!k->block || k->used || k->size != size) continue;
    k->used = 1;
    return k->block;
  }
  return __real_malloc(size);
}

void *__wrap_malloc(size_t size) {
  return size == NUMBERS ? take(size) : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  if (count * size != DIRTY || size != 16) return __real_calloc(count, size);
  void *block = take(DIRTY);
  if (block) memset(block, 0, 4096); /* it is a list, with its length in front */
  return block;
}

void __wrap_free(void *p) {
  for (int i = 0; p && i < KEPT; i++)
    if (blocks[i].block == p) {
      blocks[i].used = 0;
      return;
    }
  __real_free(p);
}

void *__wrap_realloc(void *p, size_t size) {
  for (int i = 0; p && i < KEPT; i++)
    if (blocks[i].block == p) {
      void *copy = __real_malloc(size);
      if (!copy) return NULL;
      memcpy(copy, p, size < blocks[i].size ? size : blocks[i].size);
      blocks[i].used = 0;
      return copy;
    }
  return __real_realloc(p, size);
}
