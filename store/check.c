/*
 * Looks at a file before LMDB does. LMDB trusts what it maps: a damaged page size divides by zero,
 * a truncated file is a SIGBUS, a damaged page leads anywhere. So both meta pages, the file's size
 * and our own record are read here first, and what is not ours is recognised without leaving a lock
 * file beside it. Once the file is open and its pages are pinned, the trees are walked.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the main database ---- */

/* A damaged snapshot is as good as none, and no reason to refuse the file. */
static const mf__database databases[] = {
    {"log", true, -1, true},
    {"streams", false, MF__IN_STREAMS, true},
    {"names", true, MF__IN_NAMES, true},
    {"postings", false, MF__IN_POSTINGS, true},
    {"types", true, MF__IN_TYPES, true},
    {"ids", false, MF__IN_IDS, true},
    {"code", false, MF__IN_BESIDE + MF__CODE, true},
    {"snapshots", false, MF__IN_BESIDE + MF__SNAPSHOTS, false},
    {"commands", false, MF__IN_BESIDE + MF__COMMANDS, true},
};

const mf__database *mf__database_find(mf_bytes name) {
  for (size_t i = 0; i < sizeof databases / sizeof *databases; i++)
    if (mf__same(name, mf__bytes(databases[i].name, strlen(databases[i].name))))
      return &databases[i];
  return NULL;
}

typedef struct listing {
  mf__contents *contents;
  const mf__visitor *problems;
} listing;

static void list_problem(void *context, uint64_t page, const char *why) {
  const mf__visitor *problems = ((listing *)context)->problems;
  if (problems && problems->problem) problems->problem(problems->context, page, why);
}

static bool list_entry(void *context, const mf__entry *entry) {
  mf__contents *c = ((listing *)context)->contents;
  if (!entry->tree) {
    if (mf__same(entry->key, mf__bytes("moonfold", 8)) && !entry->overflow)
      c->found = mf__store_record_read(entry->value, &c->record);
    return true;
  }
  if (entry->key.size >= sizeof c->databases->name || c->count == MF__DATABASES_MAX ||
      memchr(entry->key.data, 0, entry->key.size)) {
    list_problem(context, entry->page, "it names a database that no Moonfold file has");
    return true;
  }
  memcpy(c->databases[c->count].name, entry->key.data, entry->key.size);
  c->databases[c->count].name[entry->key.size] = '\0';
  mf__tree *tree = &c->databases[c->count].tree;
  const mf__database *kind = mf__database_find(entry->key);
  mf__tree_read(entry->value.data, tree);
  if (kind && tree->flags != (kind->integers ? MDB_INTEGERKEY : 0)) {
    list_problem(context, entry->page, "the record of a database has flags that it never had");
    tree->flags = kind->integers ? MDB_INTEGERKEY : 0;
  }
  c->databases[c->count++].kind = kind;
  return true;
}

bool mf__walk_main(mf__walk *walk, mf__contents *contents, const mf__visitor *problems) {
  listing list = {contents, problems};
  mf__visitor visitor = {&list, list_entry, list_problem, true, false};
  memset(contents, 0, sizeof *contents);
  return mf__walk_tree(walk, &walk->meta.main, MF__OWNER_MAIN, &visitor);
}

const mf__tree *mf__contents_find(const mf__contents *contents, const char *name) {
  for (size_t i = 0; i < contents->count; i++)
    if (strcmp(contents->databases[i].name, name) == 0) return &contents->databases[i].tree;
  return NULL;
}

/* ---- before LMDB opens the file ---- */

/* Whose file this is. Somebody else's main database may be of any size: a few entries are enough.
 */
typedef struct search {
  bool ours, damaged;
  uint32_t version;
  int left;
} search;

static bool search_entry(void *context, const mf__entry *entry) {
  search *s = context;
  if (!mf__same(entry->key, mf__bytes("moonfold", 8))) return --s->left > 0;
  mf_bytes value = entry->value;
  if (!value.data || entry->tree || value.size < 12 || memcmp(value.data, "moonfold", 8) != 0)
    return false;
  mf__store_record record;
  s->ours = true;
  if (mf__store_record_read(value, &record))
    s->version = record.version;
  else
    s->damaged = true;
  return false;
}

static void search_problem(void *context, uint64_t page, const char *why) {
  (void)page;
  (void)why;
  ((search *)context)->damaged = true;
}

static mf__file_kind find_record(const mf__source *source, const mf__meta *m, uint32_t *version) {
  search s = {false, false, 0, 64};
  mf__visitor visitor = {&s, search_entry, search_problem, false, false};
  mf__walk walk;
  if (m->main.root == MF__NO_PAGE) return m->txn <= 1 ? MF__FILE_NEW : MF__FILE_FOREIGN;
  if (!mf__walk_begin(&walk, source, m, MF__WALK_TREES)) return MF__FILE_UNSEEN;
  mf__walk_tree(&walk, &m->main, MF__OWNER_MAIN, &visitor);
  bool seen = !walk.no_memory;
  mf__walk_end(&walk);
  if (!seen) return MF__FILE_UNSEEN;
  if (s.ours && !s.damaged) *version = s.version;
  return s.damaged ? MF__FILE_DAMAGED : s.ours ? MF__FILE_MOONFOLD : MF__FILE_FOREIGN;
}

static mf__file_kind unreadable(const mf__source *source, const mf__metas *metas) {
  uint8_t head[24];
  bool ours = mf__source_read(source, head, sizeof head, 0) == (ssize_t)sizeof head &&
              mf__u32_read(head + 16) == 0xBEEFC0DE;
  if (ours && source->size < 8192) return MF__FILE_TRUNCATED;
  return metas->readable[0] || metas->readable[1] || ours ? MF__FILE_DAMAGED : MF__FILE_FOREIGN;
}

static mf__file_kind check_once(int fd, uint32_t *version, uint64_t *txn) {
  mf__file_id id;
  mf__source source = {fd, NULL, 0};
  bool regular;
  *txn = 0;
  if (mf__file_stat(fd, &id, &source.size, &regular) != 0) return MF__FILE_DAMAGED;
  if (source.size == 0) return MF__FILE_NEW;
  mf__metas metas = mf__metas_read(&source);
  if (!metas.readable[0] || !metas.readable[1]) return unreadable(&source, &metas);
  const mf__meta *m = &metas.meta[metas.newest];
  *txn = m->txn;
  mf__file_kind kind = find_record(&source, m, version);
  if (kind == MF__FILE_FOREIGN || kind == MF__FILE_UNSEEN) return kind;
  /*
   * LMDB counts pages that it took and gave back in one transaction, and never wrote: a file may
   * rightly be shorter than its last page, when a process was killed before mf__env_settle(). It is
   * whole when every page in use is there.
   */
  int status = MF_OK;
  if ((m->last_page + 1) * m->page_size > source.size)
    status = mf__check_pages(&source, m, true, "", NULL);
  if (status != MF_OK) return status == MF_NO_MEMORY ? MF__FILE_UNSEEN : MF__FILE_TRUNCATED;
  return metas.sound ? kind : MF__FILE_DAMAGED;
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

/* ---- once it is open ---- */

/* The first thing that is wrong. */
typedef struct finding {
  bool found;
  uint64_t page;
  char why[160];
  const char *tree; /* that is being walked */
  const mf__database *kind;
  uint64_t seed;
} finding;

static void note(void *context, uint64_t page, const char *why) {
  finding *f = context;
  if (f->found) return;
  f->found = true;
  f->page = page;
  snprintf(f->why, sizeof f->why, "%s", why);
}

static bool check_seal(void *context, const mf__entry *entry) {
  finding *f = context;
  mf_bytes value = entry->value;
  if (entry->missing) return false;
  if (value.data && f->kind && f->kind->sealed >= 0 && f->kind->vital &&
      !mf__unseal(&value, entry->key, mf__seal_seed(f->seed, f->kind->sealed)))
    note(f, entry->page, "an entry's checksum differs");
  return !f->found;
}

static bool walk_everything(mf__walk *walk, mf__contents *contents, finding *f, bool always) {
  mf__visitor visitor = {f, check_seal, note, false, false};
  uint64_t tree_pages = 0;
  f->tree = "the list of databases";
  if (!mf__walk_main(walk, contents, &visitor)) return false;
  if (!contents->found) note(f, 0, "the store's own record is damaged");
  f->seed = contents->record.seed;
  for (size_t i = 0; i < contents->count; i++) {
    const mf__tree *tree = &contents->databases[i].tree;
    /* A value in pages of its own is looked at, too: at the first of them. */
    uint64_t values = tree->overflow_pages < tree->entries ? tree->overflow_pages : tree->entries;
    tree_pages += tree->leaf_pages + values;
  }
  if (!always && walk->pages > MF__CHECK_PAGES && tree_pages > MF__CHECK_PAGES) return true;
  for (size_t i = 0; i < contents->count && !f->found; i++) {
    f->tree = contents->databases[i].name;
    f->kind = contents->databases[i].kind;
    /* LMDB gives back as many pages as a value's first one tells, be they others'. Of the log only
     * the last value is ever replaced, which is read. */
    visitor.read_heads = strcmp(f->tree, "log") != 0;
    uint8_t owner = (uint8_t)(MF__OWNER_FIRST + i);
    if (!mf__walk_tree(walk, &contents->databases[i].tree, owner, &visitor)) return false;
  }
  if (f->found) return true;
  f->tree = "the free list";
  visitor.read_heads = false;
  if (!mf__walk_free(walk, &visitor)) return false;
  if (!f->found) mf__walk_unaccounted(walk, &visitor);
  return true;
}

int mf__check_pages(const mf__source *source, const mf__meta *meta, bool always, const char *path,
                    mf_error *error) {
  mf__walk walk;
  mf__contents contents;
  finding f;
  memset(&f, 0, sizeof f);
  bool memory = mf__walk_begin(&walk, source, meta, MF__WALK_TREES);
  if (memory) {
    walk_everything(&walk, &contents, &f, always);
    memory = !walk.no_memory;
    mf__walk_end(&walk);
  }
  if (!memory) return mf__fail(error, MF_NO_MEMORY, "%s: no memory to look at its pages", path);
  if (!f.found) return MF_OK;
  return mf__fail(error, MF_CORRUPT,
                  "%s is damaged: page %llu, %s: %s; \"moonfold verify\" tells more, restore a "
                  "backup or use \"moonfold salvage\"",
                  path, (unsigned long long)f.page, f.tree, f.why);
}
