/*
 * Small pieces of a large file: read rather than touched in LMDB's map.
 *
 * The first touch of a mapped page is a page fault, for which the kernel maps the whole window
 * around it, or what it has of that; a pread() of a few hundred bytes takes about a quarter of the
 * time. In a small file every window is soon mapped, and a touch costs nothing any more. In a large
 * one (a store of 50,000,000 events has 180,000 windows) nearly every event that is read somewhere
 * would be a first touch; and where the page is not even in the page cache, the fault fetches 128
 * KiB from the disk.
 *
 * So in a file of more than MF__COLD_FROM bytes the first pieces wanted of a window are read: as
 * many as cost what the fault costs, so that nothing costs more than twice what it would have, had
 * the future been known (index.c saves one of the two that an event takes). After that the window
 * is touched. What is larger than MF__COLD_MOST, like the blocks of a log that is read through, is
 * touched at once.
 *
 * What a read transaction sees in the file nobody writes over while it is open, and reads and maps
 * share their pages: the bytes are the same. All are verified afterwards, wherever they came from.
 */
#include "internal.h"

#include <stdlib.h>

#ifndef MF__COLD_FROM /* bytes of the file; specs set it to 0 */
#define MF__COLD_FROM ((uint64_t)4 << 30)
#endif

enum {
  WINDOW = 65536, /* what Linux maps around a fault */
  PIECES = 4      /* that are read of a window */
};

void mf__cold_forget(mf__env *env) {
  free(env->pieces);
  env->pieces = NULL;
  env->map = NULL;
}

/* LMDB does not tell where it has mapped the file, but each page begins with its number. NULL: this
 * is none, or its number is damaged. */
static const uint8_t *map_around(const mf__env *env, int fd, const uint8_t *value) {
  enum { PAGE_HEADER = 16, COMPARED = 4096 };
  uint8_t stored[COMPARED];
  const uint8_t *within = value - PAGE_HEADER; /* a value with pages of its own begins there */
  const uint8_t *page = within - (uintptr_t)within % env->page_size;
  uint64_t number = mf__u64_read(page);
  size_t size = env->page_size < COMPARED ? env->page_size : COMPARED;
  if (number > (uint64_t)1 << 48) return NULL;
  uint64_t place = number * env->page_size;
  bool same =
      mf__file_read(fd, stored, size, place) == (ssize_t)size && memcmp(stored, page, size) == 0;
  return same ? page - place : NULL;
}

static void learn_map(mf__view *view, size_t mapped) {
  mf__env *env = view->env;
  mdb_filehandle_t fd;
  MDB_val key, value;
  if (mdb_env_get_fd(env->db, &fd) != 0) return;
  if (mdb_cursor_get(view->log, &key, &value, MDB_FIRST) != 0) return;
  const uint8_t *map = map_around(env, fd, value.mv_data);
  if (!map) return;
  pthread_mutex_lock(&env->slots_lock);
  if (!env->map) env->pieces = calloc(mapped / WINDOW + 1, sizeof *env->pieces);
  if (!env->map && env->pieces) {
    env->map_fd = fd;
    env->mapped = mapped;
    env->map = map;
  }
  pthread_mutex_unlock(&env->slots_lock);
}

void mf__cold_begin(mf__view *view) {
  mf__env *env = view->env;
  MDB_envinfo info;
  if (env->memory_fd >= 0 || env->map) return;
  mdb_env_info(env->db, &info);
  if (((uint64_t)info.me_last_pgno + 1) * env->page_size > MF__COLD_FROM)
    learn_map(view, info.me_mapsize);
}

/* Whether a piece is to be read. Two threads may count one piece for two; that is no harm. */
static bool count_piece(mf__env *env, size_t place, size_t size) {
  bool cold = false;
  for (size_t i = place / WINDOW; i <= (place + size - 1) / WINDOW; i++) {
    unsigned pieces = atomic_load_explicit(&env->pieces[i], memory_order_relaxed);
    if (pieces >= PIECES) continue;
    pieces = size > MF__COLD_MOST ? PIECES : pieces + 1;
    atomic_store_explicit(&env->pieces[i], (uint8_t)pieces, memory_order_relaxed);
    cold = true;
  }
  return cold && size <= MF__COLD_MOST;
}

bool mf__cold_read(mf__view *view, const void *at, size_t size, void *out) {
  mf__env *env = view->env;
  const uint8_t *map = env->map, *start = at;
  if (!map || !view->slot || size == 0 || start < map) return false;
  size_t place = (size_t)(start - map);
  if (place >= env->mapped || size > env->mapped - place) return false; /* in a page of its own */
  return count_piece(env, place, size) &&
         mf__file_read(env->map_fd, out, size, place) == (ssize_t)size;
}
