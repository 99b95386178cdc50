/*
 * Looks at a file before LMDB does. LMDB trusts what it maps: a damaged page size divides by zero,
 * a truncated file is a SIGBUS. So both meta pages, the file's size and our own record are read
 * here with plain reads, and what is not ours is recognised without leaving a lock file beside it.
 * Offsets are those of LMDB 0.9's data version 1.
 */
#include "internal.h"

#include <stdlib.h>

enum {
  PAGE_HEADER = 16,
  NODE_HEADER = 8,
  META_MAGIC = PAGE_HEADER,
  META_VERSION = META_MAGIC + 4,
  META_DBS = META_MAGIC + 24, /* after the map's address and size */
  DB_SIZE = 48,
  DB_ROOT = 40,
  META_MAIN = META_DBS + DB_SIZE,
  META_LAST_PAGE = META_MAIN + DB_SIZE,
  META_TXN = META_LAST_PAGE + 8,
  META_SIZE = META_TXN + 8,

  FLAG_BRANCH = 1,
  FLAG_LEAF = 2,
  FLAG_META = 8,
  NODE_BIG = 1,
  NODE_DB = 2,

  MAX_PAGE = 65536,
  MAX_DEPTH = 32
};

static const uint64_t no_page = UINT64_MAX;

typedef struct meta {
  uint64_t page_size, main_root, last_page, txn;
  uint64_t free_root;
} meta;

/* Reads one meta page; false when it is none. */
static bool read_meta(int fd, uint64_t offset, meta *m) {
  uint8_t page[META_SIZE];
  if (mf__file_read(fd, page, sizeof page, offset) != (ssize_t)sizeof page) return false;
  if (!(mf__u16_read(page + 10) & FLAG_META)) return false;
  if (mf__u32_read(page + META_MAGIC) != 0xBEEFC0DE || mf__u32_read(page + META_VERSION) != 1)
    return false;
  m->page_size = mf__u32_read(page + META_DBS);
  m->free_root = mf__u64_read(page + META_DBS + DB_ROOT);
  m->main_root = mf__u64_read(page + META_MAIN + DB_ROOT);
  m->last_page = mf__u64_read(page + META_LAST_PAGE);
  m->txn = mf__u64_read(page + META_TXN);
  return m->page_size >= 512 && m->page_size <= MAX_PAGE &&
         (m->page_size & (m->page_size - 1)) == 0 && m->last_page >= 1;
}

/* The newest of the two meta pages. Sets *damaged when only one of them can be read. */
static bool newest_meta(int fd, meta *m, bool *damaged) {
  meta first, second;
  *damaged = false;
  if (!read_meta(fd, 0, &first)) {
    /* The second stands one page further, and the page size is what we cannot know: try all. */
    for (uint64_t size = 512; size <= MAX_PAGE; size *= 2)
      if (read_meta(fd, size, &second) && second.page_size == size) *damaged = true;
    return false;
  }
  if (!read_meta(fd, first.page_size, &second) || second.page_size != first.page_size) {
    *damaged = true;
    return false;
  }
  *m = second.txn > first.txn ? second : first;
  return true;
}

typedef struct page {
  uint64_t size;
  uint32_t flags, count;
  uint8_t bytes[MAX_PAGE];
} page;

static bool read_page(int fd, const meta *m, uint64_t number, page *p) {
  if (number < 2 || number > m->last_page) return false;
  p->size = m->page_size;
  if (mf__file_read(fd, p->bytes, p->size, number * p->size) != (ssize_t)p->size) return false;
  uint32_t lower = mf__u16_read(p->bytes + 12);
  p->flags = mf__u16_read(p->bytes + 10);
  if (mf__u64_read(p->bytes) != number || lower < PAGE_HEADER || lower > p->size) return false;
  if (!(p->flags & (FLAG_BRANCH | FLAG_LEAF))) return false;
  p->count = (lower - PAGE_HEADER) / 2;
  return true;
}

typedef struct node {
  uint32_t flags;
  uint64_t child; /* of a branch */
  mf_bytes key;
  const uint8_t *data;
  uint64_t data_size, available;
} node;

static bool read_node(const page *p, uint32_t i, node *n) {
  uint32_t offset = mf__u16_read(p->bytes + PAGE_HEADER + 2 * i);
  if (offset + NODE_HEADER > p->size) return false;
  const uint8_t *at = p->bytes + offset;
  uint64_t low = mf__u16_read(at), high = mf__u16_read(at + 2);
  uint32_t key_size = mf__u16_read(at + 6);
  n->flags = mf__u16_read(at + 4);
  if (offset + NODE_HEADER + key_size > p->size) return false;
  n->key = mf__bytes(at + NODE_HEADER, key_size);
  n->data = at + NODE_HEADER + key_size;
  n->available = p->size - offset - NODE_HEADER - key_size;
  n->data_size = low | high << 16;
  n->child = low | high << 16 | (uint64_t)n->flags << 32;
  return true;
}

/* Finds our record in the main database, which is small enough to be one leaf. */
static mf__file_kind find_record(int fd, const meta *m, page *p, uint32_t *version) {
  if (m->main_root == no_page) return m->txn <= 1 ? MF__FILE_NEW : MF__FILE_FOREIGN;
  if (!read_page(fd, m, m->main_root, p)) return MF__FILE_DAMAGED;
  if (!(p->flags & FLAG_LEAF)) return MF__FILE_FOREIGN;
  for (uint32_t i = 0; i < p->count; i++) {
    node n;
    if (!read_node(p, i, &n)) return MF__FILE_DAMAGED;
    if (!mf__same(n.key, mf__bytes("moonfold", 8))) continue;
    if ((n.flags & (NODE_BIG | NODE_DB)) || n.data_size > n.available || n.data_size < 12)
      return MF__FILE_FOREIGN;
    if (memcmp(n.data, "moonfold", 8) != 0) return MF__FILE_FOREIGN;
    *version = mf__u32_read(n.data + 8);
    return MF__FILE_MOONFOLD;
  }
  return MF__FILE_FOREIGN;
}

/*
 * Raises *highest to the last page that the tree under `number` uses; false when it makes no sense.
 * *left is how many pages may still be looked at: a tree has no more than the file.
 */
static bool highest_page(int fd, const meta *m, uint64_t number, int depth, uint64_t *left,
                         uint64_t *highest) {
  if (number == no_page) return true;
  if (depth > MAX_DEPTH || *left == 0) return false;
  --*left;
  page *p = malloc(sizeof *p);
  if (!p) return false;
  bool fine = read_page(fd, m, number, p);
  if (fine && number > *highest) *highest = number;
  for (uint32_t i = 0; fine && i < p->count; i++) {
    node n;
    fine = read_node(p, i, &n);
    if (!fine) break;
    if (p->flags & FLAG_BRANCH) {
      fine = highest_page(fd, m, n.child, depth + 1, left, highest);
    } else if (n.flags & NODE_BIG) {
      if (n.available < 8)
        fine = false;
      else {
        uint64_t first = mf__u64_read(n.data);
        uint64_t pages = (PAGE_HEADER + n.data_size + m->page_size - 1) / m->page_size;
        if (first > m->last_page || first + pages - 1 > m->last_page)
          fine = false;
        else if (first + pages - 1 > *highest)
          *highest = first + pages - 1;
      }
    } else if (n.flags & NODE_DB) {
      fine = n.data_size >= DB_SIZE && n.available >= DB_SIZE &&
             highest_page(fd, m, mf__u64_read(n.data + DB_ROOT), depth + 1, left, highest);
    }
  }
  free(p);
  return fine;
}

/*
 * LMDB counts pages that it took and gave back in one transaction, and never wrote: a file may
 * rightly be shorter than its last page, when a process was killed before mf__env_settle(). It is
 * whole when every page in use is there.
 */
static bool all_used_pages_are_there(int fd, const meta *m, uint64_t size) {
  uint64_t highest = 1, left = size / m->page_size + 1;
  if (!highest_page(fd, m, m->main_root, 0, &left, &highest)) return false;
  if (!highest_page(fd, m, m->free_root, 0, &left, &highest)) return false;
  return (highest + 1) * m->page_size <= size;
}

static mf__file_kind check_once(int fd, uint32_t *version, uint64_t *txn) {
  mf__file_id id;
  uint64_t size;
  bool regular, damaged;
  meta m;
  *txn = 0;
  if (mf__file_stat(fd, &id, &size, &regular) != 0) return MF__FILE_DAMAGED;
  if (size == 0) return MF__FILE_NEW;
  if (!newest_meta(fd, &m, &damaged)) {
    uint8_t head[META_VERSION];
    bool ours = mf__file_read(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
                mf__u32_read(head + META_MAGIC) == 0xBEEFC0DE;
    if (ours && size < 8192) return MF__FILE_TRUNCATED;
    return damaged || ours ? MF__FILE_DAMAGED : MF__FILE_FOREIGN;
  }
  *txn = m.txn;
  page *p = malloc(sizeof *p);
  if (!p) return MF__FILE_DAMAGED;
  bool short_file = (m.last_page + 1) * m.page_size > size;
  mf__file_kind kind = find_record(fd, &m, p, version);
  free(p);
  if (short_file && kind != MF__FILE_FOREIGN && !all_used_pages_are_there(fd, &m, size))
    return MF__FILE_TRUNCATED;
  return kind;
}

mf__file_kind mf__check_file(int fd, uint32_t *version) {
  /* Others may be writing: what looks wrong is looked at again for as long as the file changes
   * under us. */
  mf__file_kind kind = MF__FILE_DAMAGED;
  uint64_t before = UINT64_MAX;
  for (int i = 0; i < 100; i++) {
    uint64_t txn;
    kind = check_once(fd, version, &txn);
    if (kind == MF__FILE_MOONFOLD || kind == MF__FILE_NEW) break;
    if (txn == before && i >= 2) break;
    before = txn;
    mf__pause(1000);
  }
  return kind;
}
