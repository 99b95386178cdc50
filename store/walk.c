/*
 * Walks the pages of an LMDB 0.9 file without LMDB, which trusts what it maps: a damaged page
 * number leads it out of the file, a damaged page size divides by zero. Here every number that was
 * read is checked before it is used, each page is entered at most once (so that cycles end and a
 * page that two owners claim is found out), and damage is reported and walked around. The bytes
 * come from a descriptor, a page at a time, or from memory. Offsets are those of LMDB's data
 * version 1.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  PAGE_HEADER = 16,
  NODE_HEADER = 8,
  PAGE_FLAGS = 10,
  PAGE_LOWER = 12,
  PAGE_UPPER = 14,
  PAGE_RUN = 12, /* of an overflow page: how many pages follow one another */

  META_MAGIC = PAGE_HEADER,
  META_VERSION = META_MAGIC + 4,
  META_DBS = META_MAGIC + 24, /* after the map's address and size */
  META_MAIN = META_DBS + MF__TREE_SIZE,
  META_LAST_PAGE = META_MAIN + MF__TREE_SIZE,
  META_TXN = META_LAST_PAGE + 8,
  META_SIZE = META_TXN + 8,

  FLAG_BRANCH = 1,
  FLAG_LEAF = 2,
  FLAG_OVERFLOW = 4,
  FLAG_META = 8,
  NODE_BIG = 1,
  NODE_DB = 2,

  MAX_PAGE = 65536,
  MAX_KEY = 511
};

ssize_t mf__source_read(const mf__source *source, void *buffer, size_t size, uint64_t offset) {
  if (source->fd >= 0) return mf__file_read(source->fd, buffer, size, offset);
  if (size == 0 || offset >= source->size) return 0;
  if (size > source->size - offset) size = (size_t)(source->size - offset);
  memcpy(buffer, source->memory + offset, size);
  return (ssize_t)size;
}

static bool read_whole(const mf__source *source, void *buffer, size_t size, uint64_t offset) {
  return mf__source_read(source, buffer, size, offset) == (ssize_t)size;
}

/* ---- meta pages and the records of trees ---- */

void mf__tree_read(const uint8_t *p, mf__tree *tree) {
  tree->pad = mf__u32_read(p);
  tree->flags = mf__u16_read(p + 4);
  tree->depth = mf__u16_read(p + 6);
  tree->branch_pages = mf__u64_read(p + 8);
  tree->leaf_pages = mf__u64_read(p + 16);
  tree->overflow_pages = mf__u64_read(p + 24);
  tree->entries = mf__u64_read(p + 32);
  tree->root = mf__u64_read(p + 40);
}

static bool read_meta(const mf__source *source, uint64_t number, uint64_t offset, mf__meta *m) {
  uint8_t page[META_SIZE];
  if (!read_whole(source, page, sizeof page, offset)) return false;
  if (mf__u64_read(page) != number || mf__u16_read(page + PAGE_FLAGS) != FLAG_META) return false;
  if (mf__u32_read(page + META_MAGIC) != 0xBEEFC0DE || mf__u32_read(page + META_VERSION) != 1)
    return false;
  mf__tree_read(page + META_DBS, &m->free);
  mf__tree_read(page + META_MAIN, &m->main);
  /* Among the flags of the free list's tree LMDB keeps those of the environment that made the file,
   * and two of our own stand for nothing here. */
  m->free.flags &= ~(uint32_t)MDB_NOSUBDIR;
  m->page_size = m->free.pad;
  m->last_page = mf__u64_read(page + META_LAST_PAGE);
  m->txn = mf__u64_read(page + META_TXN);
  return m->page_size >= 512 && m->page_size <= MAX_PAGE &&
         (m->page_size & (m->page_size - 1)) == 0 && m->last_page >= 1 &&
         m->last_page < (uint64_t)1 << 48;
}

/* The page size is what stands in the meta page that may be damaged: every size is tried. */
static bool find_second_meta(const mf__source *source, mf__meta *m) {
  for (uint64_t size = 512; size <= MAX_PAGE; size *= 2)
    if (read_meta(source, 1, size, m) && m->page_size == size) return true;
  return false;
}

/* The flags that a file of ours has; others would change how LMDB maps and reads it. */
static bool plain(const mf__meta *m) {
  return m->free.flags == MDB_INTEGERKEY && m->main.flags == 0 && m->main.pad == 0;
}

/*
 * LMDB writes the two meta pages in turn, those of even transactions to the first and those of odd
 * ones to the second; so they tell of transactions that follow one another. A new file has two of
 * transaction 0.
 */
static bool in_turn(const mf__meta m[2]) {
  if (m[0].txn == 0 && m[1].txn == 0) return true;
  if (m[0].txn % 2 != 0 || m[1].txn % 2 != 1) return false;
  return m[0].txn > m[1].txn ? m[0].txn - m[1].txn == 1 : m[1].txn - m[0].txn == 1;
}

mf__metas mf__metas_read(const mf__source *source) {
  mf__metas metas;
  memset(&metas, 0, sizeof metas);
  metas.readable[0] = read_meta(source, 0, 0, &metas.meta[0]);
  metas.readable[1] = metas.readable[0]
                          ? read_meta(source, 1, metas.meta[0].page_size, &metas.meta[1]) &&
                                metas.meta[1].page_size == metas.meta[0].page_size
                          : find_second_meta(source, &metas.meta[1]);
  metas.sound = metas.readable[0] && metas.readable[1] && in_turn(metas.meta) &&
                plain(&metas.meta[0]) && plain(&metas.meta[1]);
  bool second = metas.readable[1] && (!metas.readable[0] || metas.meta[1].txn > metas.meta[0].txn);
  metas.newest = second ? 1 : 0;
  return metas;
}

/* ---- pages ---- */

/* A page in memory, its header and the place of its nodes checked. */
typedef struct page {
  const uint8_t *bytes;
  uint32_t size, flags, count, upper;
} page;

typedef struct node {
  uint32_t flags, size; /* size: what it takes of its page */
  uint64_t child;       /* of a branch */
  mf_bytes key, value;  /* value: as it stands in the page */
  uint64_t value_size;  /* what it says itself */
} node;

/* NULL, or what is wrong. */
static const char *open_page(const uint8_t *bytes, uint64_t size, uint64_t number, page *p) {
  uint32_t lower = mf__u16_read(bytes + PAGE_LOWER);
  p->bytes = bytes;
  p->size = (uint32_t)size;
  p->flags = mf__u16_read(bytes + PAGE_FLAGS);
  p->upper = mf__u16_read(bytes + PAGE_UPPER);
  if (size == MAX_PAGE && p->upper == 0) p->upper = MAX_PAGE;
  p->count = 0;
  if (mf__u64_read(bytes) != number) return "it bears another page's number";
  if (p->flags != FLAG_BRANCH && p->flags != FLAG_LEAF) return "it is no page of a tree";
  if (lower < PAGE_HEADER || lower % 2 != 0 || lower > p->upper || p->upper > p->size)
    return "the bounds in its header make no sense";
  p->count = (lower - PAGE_HEADER) / 2;
  return NULL;
}

static bool read_node(const page *p, uint32_t i, node *n) {
  uint32_t offset = mf__u16_read(p->bytes + PAGE_HEADER + 2 * i);
  if (offset < p->upper || offset + NODE_HEADER > p->size) return false;
  const uint8_t *at = p->bytes + offset;
  uint64_t low = mf__u16_read(at), high = mf__u16_read(at + 2);
  uint32_t key_size = mf__u16_read(at + 6);
  uint32_t room = p->size - offset - NODE_HEADER;
  if (key_size > room || key_size > MAX_KEY) return false;
  n->flags = mf__u16_read(at + 4);
  n->child = low | high << 16 | (uint64_t)n->flags << 32;
  n->key = mf__bytes(at + NODE_HEADER, key_size);
  n->value_size = low | high << 16;
  uint64_t here = p->flags == FLAG_BRANCH ? 0 : n->flags & NODE_BIG ? 8 : n->value_size;
  if (here > room - key_size) return false;
  n->value = mf__bytes(at + NODE_HEADER + key_size, (size_t)here);
  n->size = (uint32_t)((NODE_HEADER + key_size + here + 1) & ~(uint64_t)1);
  if (p->flags == FLAG_BRANCH) return true;
  if (key_size == 0 || (n->flags & ~(uint32_t)(NODE_BIG | NODE_DB))) return false;
  return n->flags != (NODE_BIG | NODE_DB) && (n->flags != NODE_DB || here == MF__TREE_SIZE);
}

/* LMDB packs the nodes of a page without gaps, and moves them by that rule. */
static bool packed(const page *p) {
  uint8_t taken[MAX_PAGE / 2 / 8];
  memset(taken, 0, p->size / 2 / 8);
  uint64_t total = 0;
  for (uint32_t i = 0; i < p->count; i++) {
    node n;
    uint32_t offset = mf__u16_read(p->bytes + PAGE_HEADER + 2 * i);
    if (offset % 2 != 0 || !read_node(p, i, &n) || offset + n.size > p->size) return false;
    for (uint32_t at = offset / 2; at < (offset + n.size) / 2; at++) {
      if (taken[at / 8] & 1 << at % 8) return false;
      taken[at / 8] |= (uint8_t)(1 << at % 8);
    }
    total += n.size;
  }
  return total == p->size - p->upper;
}

/* ---- walking ---- */

/* One tree that is being walked. */
typedef struct climb {
  mf__walk *walk;
  const mf__tree *tree;
  const mf__visitor *visitor;
  uint8_t owner;
  bool integers; /* its keys are integers */
  bool damaged, stopped;
  bool any; /* a key was seen */
  uint64_t branches, leaves, overflows, entries;
  uint8_t last_key[MAX_KEY];
  size_t last_size;
} climb;

static void problem(climb *c, uint64_t number, const char *why) {
  c->damaged = true;
  if (c->visitor->problem) c->visitor->problem(c->visitor->context, number, why);
}

static int compare_keys(const climb *c, mf_bytes a, mf_bytes b) {
  if (c->integers) {
    uint64_t x = mf__u64_read(a.data), y = mf__u64_read(b.data);
    return (x > y) - (x < y);
  }
  int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Takes `count` pages into possession; reports what speaks against it. */
static bool claim(climb *c, uint64_t first, uint64_t count, uint64_t from) {
  mf__walk *walk = c->walk;
  char why[128];
  if (first < 2 || count == 0 || first > walk->meta.last_page ||
      count > walk->meta.last_page - first + 1) {
    snprintf(why, sizeof why, "it refers to page %llu, and the last page is %llu",
             (unsigned long long)first, (unsigned long long)walk->meta.last_page);
    problem(c, from, why);
    return false;
  }
  if (first + count > walk->pages) {
    snprintf(why, sizeof why, "it refers to page %llu, which lies beyond the file's end",
             (unsigned long long)(first + count - 1));
    problem(c, from, why);
    return false;
  }
  for (uint64_t i = first; i < first + count; i++)
    if (walk->owner[i]) {
      snprintf(why, sizeof why, "it refers to page %llu, which has another use already",
               (unsigned long long)i);
      problem(c, from, why);
      return false;
    }
  memset(walk->owner + first, c->owner, (size_t)count);
  walk->done += count;
  if (walk->progress && !walk->progress(walk->progress_context, walk->done, walk->pages))
    c->stopped = true;
  return true;
}

/* A value that has pages of its own. *value is left absent when it is not read. */
static bool big_value(climb *c, const node *n, uint64_t number, bool read, uint64_t *first,
                      mf_bytes *value) {
  mf__walk *walk = c->walk;
  uint64_t size = walk->meta.page_size;
  uint64_t needed = (PAGE_HEADER + n->value_size + size - 1) / size;
  uint8_t header[PAGE_HEADER];
  *first = mf__u64_read(n->value.data);
  *value = mf__bytes(NULL, 0);
  bool look = read || walk->depth == MF__WALK_ALL;
  uint64_t run = needed;
  if ((look || c->visitor->read_heads) && *first >= 2 && *first < walk->pages) {
    if (!read_whole(&walk->source, header, sizeof header, *first * size)) {
      problem(c, *first, "it cannot be read");
      return false;
    }
    run = mf__u32_read(header + PAGE_RUN);
    if (mf__u64_read(header) != *first || mf__u16_read(header + PAGE_FLAGS) != FLAG_OVERFLOW ||
        run < needed) {
      problem(c, *first, "it should hold a long value, and its header says otherwise");
      run = needed;
    }
  }
  if (!claim(c, *first, run, number)) return false;
  c->overflows += run;
  if (!look) return true;
  walk->value.size = 0;
  if (!mf__buffer_reserve(&walk->value, (size_t)n->value_size)) {
    walk->no_memory = c->stopped = true;
    return false;
  }
  if (!read_whole(&walk->source, walk->value.data, (size_t)n->value_size,
                  *first * size + PAGE_HEADER)) {
    problem(c, *first, "it cannot be read");
    return false;
  }
  *value = mf__bytes(walk->value.data, (size_t)n->value_size);
  return true;
}

static void visit_leaf(climb *c, const page *p, uint64_t number, bool rightmost) {
  for (uint32_t i = 0; i < p->count && !c->stopped; i++) {
    node n;
    if (!read_node(p, i, &n) || (c->integers && n.key.size != 8)) {
      problem(c, number, "one of its entries makes no sense");
      continue;
    }
    if (c->any && compare_keys(c, mf__bytes(c->last_key, c->last_size), n.key) >= 0)
      problem(c, number, "its keys are out of order");
    memcpy(c->last_key, n.key.data, n.key.size);
    c->last_size = n.key.size;
    c->any = true;
    c->entries++;
    uint64_t within = (uint64_t)((const uint8_t *)n.value.data - p->bytes);
    mf__entry entry = {n.key,
                       n.value,
                       number,
                       0,
                       number * c->walk->meta.page_size + within,
                       n.value_size,
                       n.flags == NODE_DB,
                       false};
    if (n.flags == NODE_BIG) {
      bool last = rightmost && i + 1 == p->count;
      bool read = c->visitor->read_values || last;
      entry.missing = !big_value(c, &n, number, read, &entry.overflow, &entry.value);
      entry.place = entry.overflow * c->walk->meta.page_size + PAGE_HEADER;
    }
    if (!c->stopped && c->visitor->entry && !c->visitor->entry(c->visitor->context, &entry))
      c->stopped = true;
  }
}

static void visit_page(climb *c, uint64_t number, uint64_t from, uint32_t depth, mf_bytes low,
                       mf_bytes high, bool rightmost);

/* What a branch says of the keys below it. A number of another size was told, and says nothing. */
static mf_bytes bound(const climb *c, const node *n) {
  return c->integers && n->key.size != 8 ? mf__bytes(NULL, 0) : n->key;
}

static void visit_branch(climb *c, const page *p, uint64_t number, uint32_t depth, mf_bytes low,
                         mf_bytes high, bool rightmost) {
  mf_bytes from = low;
  for (uint32_t i = 0; i < p->count && !c->stopped; i++) {
    node n, next;
    if (!read_node(p, i, &n)) {
      problem(c, number, "one of its references makes no sense");
      continue;
    }
    /* The first key of a branch is not looked at, and may be empty. */
    if (i > 0) from = bound(c, &n);
    mf_bytes to = high;
    if (i + 1 < p->count && read_node(p, i + 1, &next)) to = bound(c, &next);
    visit_page(c, n.child, number, depth + 1, from, to, rightmost && i + 1 == p->count);
  }
}

static bool within(const climb *c, const page *p, mf_bytes low, mf_bytes high) {
  node n;
  uint32_t first = p->flags == FLAG_BRANCH ? 1 : 0;
  for (uint32_t i = first; i < p->count; i++) {
    if (!read_node(p, i, &n)) return true; /* reported elsewhere */
    if (c->integers && n.key.size != 8) return false;
    if (n.key.size == 0) return false;
    if (low.data && compare_keys(c, low, n.key) > 0) return false;
    if (high.data && compare_keys(c, n.key, high) >= 0) return false;
  }
  return true;
}

static void visit_page(climb *c, uint64_t number, uint64_t from, uint32_t depth, mf_bytes low,
                       mf_bytes high, bool rightmost) {
  mf__walk *walk = c->walk;
  page p;
  if (depth >= MF__TREE_DEPTH) {
    problem(c, number, "the tree is deeper than a tree can be");
    return;
  }
  if (!claim(c, number, 1, from)) return;
  uint64_t size = walk->meta.page_size;
  if (!walk->levels[depth] && !(walk->levels[depth] = malloc((size_t)size))) {
    walk->no_memory = c->stopped = true;
    return;
  }
  if (!read_whole(&walk->source, walk->levels[depth], (size_t)size, number * size)) {
    problem(c, number, "it cannot be read");
    return;
  }
  const char *wrong = open_page(walk->levels[depth], size, number, &p);
  if (wrong) {
    problem(c, number, wrong);
    return;
  }
  bool leaf = p.flags == FLAG_LEAF;
  if (leaf)
    c->leaves++;
  else
    c->branches++;
  /* LMDB leaves a branch of the free list with one reference while it makes room for that list. */
  uint32_t least = leaf || c->owner == MF__OWNER_FREE_TREE ? 1 : 2;
  if (p.count < least) problem(c, number, "it is emptier than a page may be");
  if (leaf != (depth + 1 == c->tree->depth))
    problem(c, number, "it stands at another depth than its kind should");
  if (!packed(&p)) problem(c, number, "its entries overlap or leave gaps");
  if (!within(c, &p, low, high)) problem(c, number, "its keys are not those that lead to it");
  if (leaf)
    visit_leaf(c, &p, number, rightmost);
  else
    visit_branch(c, &p, number, depth, low, high, rightmost);
}

bool mf__walk_tree(mf__walk *walk, const mf__tree *tree, uint8_t owner,
                   const mf__visitor *visitor) {
  climb *c = calloc(1, sizeof *c);
  if (!c) {
    walk->no_memory = true;
    return false;
  }
  c->walk = walk;
  c->tree = tree;
  c->visitor = visitor;
  c->owner = owner;
  c->integers = (tree->flags & MDB_INTEGERKEY) != 0;
  if ((tree->flags & ~(uint32_t)MDB_INTEGERKEY) != 0)
    problem(c, 0, "the tree's record has flags that no Moonfold file has");
  if (tree->root != MF__NO_PAGE)
    visit_page(c, tree->root, 0, 0, mf__bytes(NULL, 0), mf__bytes(NULL, 0), true);
  else if (tree->depth != 0)
    problem(c, 0, "the tree's record names no first page, and a depth");
  if (!c->stopped && !c->damaged &&
      (c->branches != tree->branch_pages || c->leaves != tree->leaf_pages ||
       c->overflows != tree->overflow_pages || c->entries != tree->entries))
    problem(c, 0, "the tree has other numbers of pages or entries than its record says");
  bool stopped = c->stopped;
  free(c);
  return !stopped;
}

/* ---- the free list, and the sum of all pages ---- */

typedef struct freeing {
  mf__walk *walk;
  const mf__visitor *visitor;
} freeing;

static void free_problem(void *context, uint64_t number, const char *why) {
  const mf__visitor *visitor = ((freeing *)context)->visitor;
  if (visitor->problem) visitor->problem(visitor->context, number, why);
}

/* Pages that the file does not have are told by the free list alone, each of them once. */
static bool note_behind(mf__walk *walk, uint64_t number) {
  uint64_t i = number - walk->pages;
  if (!walk->behind) return true; /* too many, which is told at the end */
  if (walk->behind[i / 8] & 1u << i % 8) return false;
  walk->behind[i / 8] |= (uint8_t)(1u << i % 8);
  walk->behind_free++;
  return true;
}

/* An entry of the free list: the pages that a transaction has given back, in descending order. */
static bool add_free(void *context, const mf__entry *entry) {
  freeing *f = context;
  mf__walk *walk = f->walk;
  const uint8_t *p = entry->value.data;
  if (entry->missing || !p) return true;
  uint64_t room = entry->value.size / 8, count = room > 0 ? mf__u64_read(p) : 0;
  if (mf__u64_read(entry->key.data) > walk->meta.txn)
    free_problem(f, entry->page, "pages are listed as free since a transaction that never was");
  if (entry->value.size % 8 != 0 || count >= room) {
    free_problem(f, entry->page, "an entry of the free list makes no sense");
    return true;
  }
  uint64_t before = UINT64_MAX;
  for (uint64_t i = 1; i <= count; i++) {
    uint64_t number = mf__u64_read(p + 8 * i);
    if (number >= before || number < 2 || number > walk->meta.last_page) {
      free_problem(f, entry->page, "an entry of the free list makes no sense");
      return true;
    }
    before = number;
    walk->free++;
    if (number >= walk->pages) { /* taken and given back, and never written */
      if (!note_behind(walk, number))
        free_problem(f, entry->page, "a page behind the file's end is listed as free twice");
      continue;
    }
    if (walk->owner[number]) {
      free_problem(f, number, "it is in use, and listed as free");
      continue;
    }
    walk->owner[number] = MF__OWNER_FREE;
    walk->done++;
  }
  return true;
}

bool mf__walk_free(mf__walk *walk, const mf__visitor *visitor) {
  freeing f = {walk, visitor};
  mf__visitor list = {&f, add_free, free_problem, true, false};
  mf__tree tree = walk->meta.free;
  tree.flags = MDB_INTEGERKEY; /* whatever a damaged meta page says, which is told elsewhere */
  return mf__walk_tree(walk, &tree, MF__OWNER_FREE_TREE, &list);
}

static uint64_t pages_behind(const mf__walk *walk) {
  return walk->meta.last_page + 1 > walk->pages ? walk->meta.last_page + 1 - walk->pages : 0;
}

void mf__walk_unaccounted(mf__walk *walk, const mf__visitor *visitor) {
  uint64_t lost = pages_behind(walk) - walk->behind_free, first = lost ? walk->pages : 0;
  char why[128];
  for (uint64_t i = walk->pages; i-- > 2;)
    if (!walk->owner[i]) {
      lost++;
      first = i;
    }
  if (lost == 0 || !visitor->problem) return;
  snprintf(why, sizeof why, "it is neither in use nor listed as free (%llu such pages)",
           (unsigned long long)lost);
  visitor->problem(visitor->context, first, why);
}

/* ---- pages on their own ---- */

uint32_t mf__leaf_entries(const mf__source *source, uint64_t page_size, uint64_t number,
                          uint8_t *bytes, mf__entry *entries, uint32_t most) {
  page p;
  uint32_t count = 0;
  uint64_t size = page_size;
  if (!read_whole(source, bytes, (size_t)size, number * size)) return 0;
  /* Its number may be another: pages that changed places are looked at where they stand. */
  const char *wrong = open_page(bytes, size, mf__u64_read(bytes), &p);
  if (wrong || p.flags != FLAG_LEAF) return 0;
  for (uint32_t i = 0; i < p.count && count < most; i++) {
    node n;
    if (!read_node(&p, i, &n)) continue;
    mf__entry *entry = &entries[count++];
    bool big = n.flags == NODE_BIG;
    uint64_t first = big ? mf__u64_read(n.value.data) : 0;
    uint64_t place = big ? first * size + PAGE_HEADER
                         : number * size + (uint64_t)((const uint8_t *)n.value.data - bytes);
    if (big && (first < 2 || first >= source->size / size)) {
      count--;
      continue;
    }
    *entry = (mf__entry){n.key,
                         big ? mf__bytes(NULL, 0) : n.value,
                         number,
                         first,
                         place,
                         n.value_size,
                         n.flags == NODE_DB,
                         false};
  }
  return count;
}

bool mf__is_long_value(const uint8_t *start) {
  return mf__u16_read(start + PAGE_FLAGS) == FLAG_OVERFLOW;
}

/* ---- beginning and ending a walk ---- */

bool mf__walk_begin(mf__walk *walk, const mf__source *source, const mf__meta *meta,
                    mf__walk_depth depth) {
  memset(walk, 0, sizeof *walk);
  walk->source = *source;
  walk->meta = *meta;
  walk->depth = depth;
  walk->pages = source->size / meta->page_size;
  if (walk->pages > meta->last_page + 1) walk->pages = meta->last_page + 1;
  if (walk->pages < 2) walk->pages = 2;
  walk->owner = calloc((size_t)walk->pages, 1);
  if (!walk->owner) return false;
  uint64_t behind = pages_behind(walk);
  if (behind > 0 && behind <= source->size / 8) { /* or they are not all listed */
    walk->behind = calloc((size_t)behind / 8 + 1, 1);
    if (!walk->behind) return false;
  }
  walk->owner[0] = walk->owner[1] = MF__OWNER_META;
  walk->done = 2;
  return true;
}

void mf__walk_end(mf__walk *walk) {
  for (size_t i = 0; i < MF__TREE_DEPTH; i++)
    free(walk->levels[i]);
  mf__buffer_free(&walk->value);
  free(walk->owner);
  free(walk->behind);
  memset(walk, 0, sizeof *walk);
}
