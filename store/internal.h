/*
 * What the files of the store share. Nothing here is public.
 *
 *   status.c    statuses, error messages; the one place that knows LMDB's codes and errno
 *   platform.c  what depends on the operating system: files, locks, following a file, clock
 *   record.c    how events, blocks and index values are written as bytes (the format)
 *   map.c       a hash map from bytes to integers, and an arena
 *   walk.c      walks the pages of a file without LMDB
 *   check.c     looks at a file before LMDB does, and at its trees before LMDB enters them
 *   env.c       environments (one per file and process), open and close, growth, read views
 *   cold.c      reads small pieces of a large file without touching its map
 *   index.c     lookups in a view: stream heads, postings, blocks, names, types, ids
 *   chain.c     the hash chain over commits of a tamper-evident store
 *   txn.c       write transactions: staging and commit
 *   beside.c    what stands beside the log, as keys and sealed values: staging and look-ups
 *   code.c, snapshots.c, commands.c   the three kinds of it
 *   group.c     single appends and pieces of work: those that wait together share one commit
 *   reader.c    reading events and listing streams, a copied batch at a time
 *   follow.c    wait and backup
 *   stats.c     where the space goes, and who reads
 *   compact.c   replaces a file by a compacted copy
 *   verify.c    checks everything, without LMDB
 *   gather.c    finds what is left in a damaged file
 *   salvage.c   makes a store of that
 */
#ifndef MF_INTERNAL_H
#define MF_INTERNAL_H

#include "store.h"

#include <blake2.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/* ---- status.c ---- */

/* Fills *error (may be NULL) and returns `code`. */
int mf__fail(mf_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Translates an LMDB return code or errno into a status and a message that begins with `what`. */
int mf__fail_db(mf_error *error, int rc, const char *what);
/* "cart-1" in quotes, made printable and short enough for a message. Returns buffer. */
#define MF__QUOTED 96
const char *mf__quote(mf_bytes text, char buffer[MF__QUOTED]);
/* Statuses that doom a transaction. */
bool mf__dooms(int status);

/* ---- platform.c ---- */

typedef struct mf__file_id {
  uint64_t device, inode;
} mf__file_id;

enum { MF__LOCK_FULL, MF__LOCK_RELAXED, MF__LOCK_NONE }; /* which byte of the file is locked */

int mf__file_open(const char *path, bool write, bool create, int *fd);
int mf__file_stat(int fd, mf__file_id *id, uint64_t *size, bool *regular);
ssize_t mf__file_read(int fd, void *buffer, size_t size, uint64_t offset);
int mf__file_extend(int fd, uint64_t from, uint64_t to); /* never shrinks the file */
/* Room for the first `size` bytes of a file, which is made where it is missing, and does not grow.
 */
int mf__file_reserve(const char *path, uint64_t size);
uint64_t mf__file_room(int fd); /* bytes that its disk has left */
void mf__file_close(int fd);
int mf__file_sync(int fd);
int mf__folder_sync(const char *path_of_file);
int mf__file_exists(const char *path);
int mf__file_create_new(const char *path, int *fd);            /* EEXIST when it exists */
int mf__file_publish(const char *temporary, const char *path); /* EEXIST when path exists */
/* The same, and the new name is synced; what fails leaves nothing at path. */
int mf__file_publish_synced(const char *temporary, const char *path);
void mf__file_remove(const char *path);
int mf__memory_file(int *fd, char path[64]);
int mf__lock_shared(int fd, int which);
void mf__unlock(int fd, int which);
/* Tells that the file is in use. EAGAIN: somebody has claimed it alone. */
int mf__claim(int fd);
/* Claims the file for those who use the lock file at `lock_path`. EBUSY: others use another one. */
int mf__claim_lock_file(int fd, const char *lock_path);
/* Claims it for the holder of `fd` alone, who has claimed it before. EAGAIN: others have it open.
 */
int mf__claim_alone(int fd);
int mf__file_duplicate(int fd, int *copy);                     /* locks are shared by both */
int mf__file_replace(const char *temporary, const char *path); /* what is at path is gone */
int mf__file_like(const char *path, int fd);                   /* gives it fd's mode and owner */
char *mf__real_path(const char *path);                         /* malloc'ed; NULL: errno tells */
bool mf__lock_held_by_other(int fd, int which);
uint64_t mf__file_limit(void);     /* the largest file that this process may make */
bool mf__can_map(uint64_t size);   /* whether so much address space is left */
int64_t mf__clock_now(void);       /* microseconds since the epoch */
int64_t mf__clock_monotonic(void); /* microseconds since some point */
void mf__yield(void);
void mf__pause(int64_t time); /* microseconds */
uint64_t mf__random_u64(void);
/* Tells the process that made something from those that it forked. */
typedef struct mf__birthmark {
  int process;
  int *page;
} mf__birthmark;

mf__birthmark mf__birthmark_new(void);
void mf__birthmark_free(mf__birthmark *mark);
bool mf__born_here(const mf__birthmark *mark);
/* Following a file that others write: the descriptor becomes readable when it was written to. */
int mf__follow_open(int file, int *fd);
/* Waits at most `timeout` microseconds (< 0: for ever). 0, or EINTR when a signal arrived. */
int mf__follow_wait(int fd, int64_t timeout, bool *written);

/* ---- check.c ---- */

typedef enum mf__file_kind {
  MF__FILE_NEW,       /* empty, or its creation was cut short: nothing was ever recorded in it */
  MF__FILE_MOONFOLD,  /* has our record; its version is in *version */
  MF__FILE_FOREIGN,   /* something else */
  MF__FILE_TRUNCATED, /* ours, or LMDB's, but shorter than what it says */
  MF__FILE_DAMAGED,
  MF__FILE_UNSEEN /* there was no memory to look at it */
} mf__file_kind;

mf__file_kind mf__check_file(int fd, uint32_t *version);

/* ---- map.c ---- */

typedef struct mf__arena {
  struct mf__arena_block *blocks;
  size_t used, capacity; /* of the newest block */
} mf__arena;

void *mf__arena_alloc(mf__arena *arena, size_t size); /* NULL when out of memory */
void *mf__arena_copy(mf__arena *arena, const void *data, size_t size);
void mf__arena_reset(mf__arena *arena);
void mf__arena_free(mf__arena *arena);

typedef struct mf__map_entry {
  const void *key; /* owned by the caller; NULL: free */
  size_t size;
  uint64_t hash;
  uint64_t value;
} mf__map_entry;

typedef struct mf__map {
  mf__map_entry *entries;
  size_t capacity, count;
  uint64_t seed; /* of the keys' hashes */
} mf__map;

/* For look-ups of one key in one map after another; `seed` is the map's. */
bool mf__map_get(const mf__map *map, mf_bytes key, uint64_t *value);
bool mf__map_get_hashed(const mf__map *map, mf_bytes key, uint64_t hash, uint64_t *value);
bool mf__map_reserve(mf__map *map, size_t additional);        /* false: no memory */
void mf__map_set(mf__map *map, mf_bytes key, uint64_t value); /* after mf__map_reserve */
void mf__map_set_hashed(mf__map *map, mf_bytes key, uint64_t hash, uint64_t value);
void mf__map_remove(mf__map *map, mf_bytes key);
void mf__map_clear(mf__map *map);
void mf__map_free(mf__map *map);

/* Growing bytes. */
typedef struct mf__buffer {
  uint8_t *data;
  size_t size, capacity;
} mf__buffer;

bool mf__buffer_reserve(mf__buffer *buffer, size_t additional);
bool mf__buffer_add(mf__buffer *buffer, const void *data, size_t size);
void mf__buffer_free(mf__buffer *buffer);

/* ---- walk.c: the pages of the file, without LMDB ---- */

typedef struct mf__source {
  int fd;                /* read with pread(), or -1: */
  const uint8_t *memory; /* the whole file */
  uint64_t size;         /* of the file */
} mf__source;

/* Like pread(): less than `size` at the end. */
ssize_t mf__source_read(const mf__source *source, void *buffer, size_t size, uint64_t offset);

enum { MF__TREE_SIZE = 48, MF__TREE_DEPTH = 32 };
#define MF__NO_PAGE UINT64_MAX

/* LMDB's record of a database, which is a tree of pages. */
typedef struct mf__tree {
  uint32_t pad, flags, depth;
  uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
} mf__tree;

void mf__tree_read(const uint8_t *bytes, mf__tree *tree); /* MF__TREE_SIZE of them */

typedef struct mf__meta {
  uint64_t page_size, last_page, txn;
  mf__tree free, main;
} mf__meta;

typedef struct mf__metas {
  mf__meta meta[2];
  bool readable[2];
  bool sound; /* both are readable, and tell of transactions that follow one another */
  int newest; /* of those that are readable */
} mf__metas;

mf__metas mf__metas_read(const mf__source *source);

/* An entry of a leaf. Valid during the visit. */
typedef struct mf__entry {
  mf_bytes key, value; /* value.data NULL: it has pages of its own, which were not read */
  uint64_t page;       /* the leaf's number */
  uint64_t overflow;   /* the first of the value's own pages, or 0 */
  uint64_t place;      /* where the value stands in the file, */
  uint64_t size;       /* and its size, whether it was read or not */
  bool tree;           /* the value is the record of a database */
  bool missing;        /* the value's pages are damaged, which was reported */
} mf__entry;

typedef struct mf__visitor {
  void *context;
  bool (*entry)(void *context, const mf__entry *entry); /* may be NULL; false ends the walk */
  void (*problem)(void *context, uint64_t page, const char *why); /* page 0: the tree's record */
  bool read_values; /* also those that have pages of their own; else only the tree's last one */
  bool read_heads; /* of those that are not read the beginning, which tells how many pages they have
                    */
} mf__visitor;

/* Who a page belongs to; trees that are neither have numbers from MF__OWNER_FIRST on. */
enum { MF__OWNER_META = 1, MF__OWNER_FREE, MF__OWNER_FREE_TREE, MF__OWNER_MAIN, MF__OWNER_FIRST };

typedef enum mf__walk_depth {
  MF__WALK_TREES, /* pages that hold only a long value are counted, not looked at */
  MF__WALK_ALL
} mf__walk_depth;

typedef struct mf__walk {
  mf__source source;
  mf__meta meta;
  mf__walk_depth depth;
  uint8_t *owner;  /* of each page that the file has */
  uint8_t *behind; /* a bit for each page behind its end: whether it is listed as free; or NULL */
  uint64_t behind_free;
  uint64_t pages, done, free;
  uint8_t *levels[MF__TREE_DEPTH]; /* the pages from the root to where the walk stands */
  mf__buffer value;
  bool (*progress)(void *context, uint64_t done, uint64_t total); /* may be NULL; false: stop */
  void *progress_context;
  bool no_memory;
} mf__walk;

/*
 * The entries of a page on its own, wherever it belongs, in which only what it takes to read them
 * is checked: for who looks for what is left. Returns how many there are; `bytes` is a page's room.
 */
uint32_t mf__leaf_entries(const mf__source *source, uint64_t page_size, uint64_t number,
                          uint8_t *bytes, mf__entry *entries, uint32_t most);
/* Whether the page says that a long value begins in it, 16 bytes from its start. */
bool mf__is_long_value(const uint8_t *page);

bool mf__walk_begin(mf__walk *walk, const mf__source *source, const mf__meta *meta,
                    mf__walk_depth depth); /* false: no memory */
void mf__walk_end(mf__walk *walk);
/* Visits the entries of a tree in order. False: it was stopped, or memory has run out. */
bool mf__walk_tree(mf__walk *walk, const mf__tree *tree, uint8_t owner, const mf__visitor *visitor);
/* The same for the free list: what it lists must not be in use. After the other trees. */
bool mf__walk_free(mf__walk *walk, const mf__visitor *visitor);
/* Reports pages that nobody owns. After everything else. */
void mf__walk_unaccounted(mf__walk *walk, const mf__visitor *visitor);

/* ---- record.c: the format ---- */

/*
 * The file is an LMDB environment. Its databases:
 *
 * - (main)    "moonfold" -> the store's record (mf__store_record), beside the names of the other
 *             databases
 * - log       position of the first event (MDB_INTEGERKEY) -> block of events
 * - streams   stream name -> head: id, version, and the newest chunk of its postings
 * - names     stream id (MDB_INTEGERKEY) -> sealed stream name
 * - postings  stream id, first version (both big-endian) -> sealed chunk: the positions of older
 *             events
 * - types     type id (MDB_INTEGERKEY) -> sealed type name
 * - ids       'm' message id -> position; 'c' stream id, command id -> command record; both sealed
 *
 * "Sealed": followed by 4 bytes of checksum, seeded by the store's seed, the database (see
 * mf__seal_seed) and a hash of the key.
 * Integers are little-endian; varint is LEB128.
 *
 * Block:  u8 format (1), u8 flags (0), u16 count, u32 size of header and content, content, count *
 * u16 offsets. The content is events back to back. After the last event that a commit puts into a
 * block stand its trailers, each beginning with its kind:
 *   1  the commit ends here: varint count of its events, u64 hash over their checksums
 *   3  it goes on in the next block: the same of its events so far
 *   2  the commit's link in the hash chain of a tamper-evident store (see chain.c)
 * A commit of one event has neither 1 nor 3. So of any block it can be told which of its events
 * belong to a commit that is not whole in it. A block that small commits rewrite until it is full
 * has at most MF__BLOCK_SMALL bytes, two pages: a longer run of free pages takes LMDB too long to
 * find. Large commits write blocks of up to MF__BLOCK_LARGE.
 *
 * Event:  u64 checksum of the rest (XXH3, seeded by the store's seed and the position, so that an
 * event that stands in the wrong place is found out), i64 recorded_at, u8 flags, varint stream id,
 * varint version, varint type id, varint data size, and for each of MF__HAS_METADATA,
 * MF__HAS_MESSAGE_ID, MF__HAS_EXTENSION, MF__NAMES_TYPE a varint size; then data, metadata, message
 * id, extension, and the name of its type, which stands with the first event of a type: were it in
 * one page of the file only, that page would be worth all events.
 *         Extension: a list of (u8 tag, varint size, bytes). Tags: 1 command (id and digest), 2
 * what the caller gave, 3 digest of the code that decided, 4 what the decision read, 5 its seed.
 * Every event of an append has 3, only the first one the others. Unknown tags are skipped.
 *
 * Beside the log, in databases that opening adds to a file that lacks them, all sealed:
 * - code       digest (16 bytes) -> i64 first seen, code
 * - snapshots  stream id (big-endian), digest (16), version (big-endian) -> u64 checksum of the
 *              stream's event of that version, i64 taken at, state. A stream has at most one of
 *              each digest, and at most MF_SNAPSHOTS_KEPT
 * - commands   time (big-endian, its sign bit flipped), u64 number (big-endian: LMDB's transaction
 *              id << 24 | number in the transaction) -> varint size of the stream's name, name,
 *              command
 *
 * Positions of a stream's events are stored as runs: (varint gap from the end of the run before,
 * varint length).
 */
enum {
  MF__FORMAT_VERSION = 1,
  MF__BLOCK_HEADER = 8,
  MF__BLOCK_SMALL =
      2 * 4096 - 16, /* an LMDB overflow value of two pages: 16 bytes of page header */
  MF__BLOCK_LARGE = 16 * 4096 - 16, /* offsets fit u16 */
  MF__LARGE_COMMIT = 4 * 8192,      /* from so many bytes on, a commit writes large blocks */
  MF__CHUNK_MAX = 128,              /* bytes of runs in a chunk of postings */
  MF__VARINT_MAX = 10,
  MF__TRAILER_MAX = 1 + MF__VARINT_MAX + 8 + 1 + MF_LINK_SIZE,
  MF__SEED_MAX = 64,
  MF__EXTENSION_MOST = 2 * MF_EXTENSION_MAX + 512, /* with the command's id and the decision */
  MF__RECORD_FIXED = 17,
  MF__SEAL = 4
};

enum {
  MF__HAS_METADATA = 1,
  MF__HAS_MESSAGE_ID = 2,
  MF__HAS_EXTENSION = 4,
  MF__NAMES_TYPE = 8,
  MF__KNOWN_FLAGS = 15
};

enum { MF__EXT_COMMAND = 1, MF__EXT_CALLER = 2 }; /* further: mf_decision_part */

/* What stands beside the log. */
enum { MF__CODE, MF__SNAPSHOTS, MF__COMMANDS, MF__BESIDE };
enum { MF__BESIDE_KEY_MAX = 32 };

typedef struct mf__store_record {
  uint32_t version;
  uint32_t flags; /* a reader that does not know one of them must refuse */
  uint64_t seed;
  int64_t created_at;
} mf__store_record;

enum { MF__CHAINED = 1, MF__KNOWN_STORE_FLAGS = 1 }; /* flags: it is tamper-evident */

enum { MF__STORE_RECORD_SIZE = 8 + 4 + 4 + 8 + 8 + 8 };
void mf__store_record_write(const mf__store_record *record, uint8_t out[MF__STORE_RECORD_SIZE]);
bool mf__store_record_read(mf_bytes value, mf__store_record *record);

/* A parsed event; all bytes point into the record. */
typedef struct mf__record {
  uint64_t checksum;
  int64_t recorded_at;
  uint64_t stream_id, version, type_id;
  mf_bytes data, metadata, message_id, extension, type_name;
  size_t size; /* of the whole record */
} mf__record;

size_t mf__record_size(const mf__record *record); /* what mf__record_write will take */
void mf__record_write(const mf__record *record, uint64_t seed, int64_t position, uint8_t *out);
/* False when the bytes up to `limit` are no record. Does not verify the checksum. */
bool mf__record_parse(const uint8_t *p, const uint8_t *limit, mf__record *record);
/* Only the stream's id, for those who need no more; nor does this verify anything. */
bool mf__record_stream_id(const uint8_t *p, const uint8_t *limit, uint64_t *id);
bool mf__record_verify(const uint8_t *p, const mf__record *record, uint64_t seed, int64_t position);
mf_bytes mf__extension_find(mf_bytes extension, uint8_t tag);
/* The entry of the command; the id is absent when there is none. */
typedef struct mf__command {
  const uint8_t *digest;
  mf_bytes id;
} mf__command;

mf__command mf__command_of(mf_bytes extension);
/* Whether the bytes are a list of entries, each of them whole. */
bool mf__extension_valid(mf_bytes extension);
size_t mf__extension_size(size_t payload); /* of one tagged entry */
uint8_t *mf__extension_write(uint8_t *out, uint8_t tag, mf_bytes payload);

typedef struct mf__block {
  const uint8_t *data;
  const uint8_t *offsets; /* the table's, in the block or a copy */
  size_t size, content;   /* content: where the offset table begins */
  uint64_t first;         /* position of the first event */
  uint32_t count;
} mf__block;

bool mf__block_parse(uint64_t first, mf_bytes value, mf__block *block);
void mf__block_header_write(uint8_t *out, uint32_t count, size_t content);

enum { MF__TRAILER_END = 1, MF__TRAILER_LINK = 2, MF__TRAILER_MORE = 3 };

/* All trailers behind an event. */
typedef struct mf__trailer {
  uint8_t kind; /* MF__TRAILER_END or MF__TRAILER_MORE; 0: neither */
  uint64_t count, hash;
  const uint8_t *link; /* in the block; NULL: there is none */
} mf__trailer;

/* The hash of a commit goes from the store's seed over its events, in order. */
uint64_t mf__commit_hash(uint64_t hash, const uint8_t *event);
uint8_t *mf__trailer_write(const mf__trailer *trailer, uint8_t *p);
/* What stands between a record's end and the next one's begin. False when it makes no sense. */
bool mf__trailer_parse(const uint8_t *p, const uint8_t *limit, mf__trailer *trailer);

size_t mf__long_varint_size(uint64_t value);
uint8_t *mf__long_varint_write(uint8_t *p, uint64_t value);
const uint8_t *mf__long_varint_read(const uint8_t *p, const uint8_t *limit, uint64_t *value);

/* Nearly all are of one byte. */
static inline size_t mf__varint_size(uint64_t value) {
  return value < 0x80 ? 1 : mf__long_varint_size(value);
}

static inline uint8_t *mf__varint_write(uint8_t *p, uint64_t value) {
  if (value >= 0x80) return mf__long_varint_write(p, value);
  *p = (uint8_t)value;
  return p + 1;
}

/* NULL when there is none before `limit`. Nearly all have one byte or two. */
static inline const uint8_t *mf__varint_read(const uint8_t *p, const uint8_t *limit,
                                             uint64_t *value) {
  if (p < limit && p[0] < 0x80) {
    *value = p[0];
    return p + 1;
  }
  if (limit - p >= 2 && p[1] < 0x80) {
    *value = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
    return p + 2;
  }
  return mf__long_varint_read(p, limit, value);
}

/* A run of a stream's positions, in a chunk of them. NULL: there is none. */
static inline const uint8_t *mf__run_read(const uint8_t *p, const uint8_t *limit, uint64_t *gap,
                                          uint64_t *length) {
  p = mf__varint_read(p, limit, gap);
  return p ? mf__varint_read(p, limit, length) : NULL;
}

void mf__u16_write(uint8_t *p, uint32_t value);
void mf__u32_write(uint8_t *p, uint32_t value);
void mf__u64_write(uint8_t *p, uint64_t value);
void mf__be64_write(uint8_t *p, uint64_t value);
static inline uint32_t mf__u16_read(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}
uint32_t mf__u32_read(const uint8_t *p);
uint64_t mf__u64_read(const uint8_t *p);
uint64_t mf__be64_read(const uint8_t *p);
/* The bytes of events i to j (inclusive) of a block; false when the offsets make no sense. */
static inline bool mf__block_slice(const mf__block *block, uint32_t i, uint32_t j,
                                   mf_bytes *slice) {
  size_t start = mf__u16_read(block->offsets + 2 * (size_t)i);
  size_t end =
      j + 1 < block->count ? mf__u16_read(block->offsets + 2 * (size_t)(j + 1)) : block->content;
  if (start < MF__BLOCK_HEADER || start >= end || end > block->content) return false;
  *slice = (mf_bytes){block->data + start, end - start};
  return true;
}

uint64_t mf__hash(mf_bytes bytes, uint64_t seed);

/* Each sealed database has a seed of its own, so that an entry of one is none of another. Those
 * beside the log follow one another: MF__IN_BESIDE + MF__CODE ... */
enum { MF__IN_STREAMS, MF__IN_NAMES, MF__IN_POSTINGS, MF__IN_TYPES, MF__IN_IDS, MF__IN_BESIDE };
static inline uint64_t mf__seal_seed(uint64_t seed, int database) {
  return seed + (uint64_t)database * 0xd6e8feb86659fd93u;
}

/* Writes the 4 bytes of a seal behind value; verifies it and cuts it off. */
void mf__seal(uint8_t *value, size_t size, mf_bytes key, uint64_t seed);
bool mf__unseal(mf_bytes *value, mf_bytes key, uint64_t seed);
/* The same with mf__hash(key, seed), where that is known. */
void mf__seal_hashed(uint8_t *value, size_t size, uint64_t key_hash);
bool mf__unseal_hashed(mf_bytes *value, uint64_t key_hash);

/* A stream as its head tells it. `runs` are those of the newest chunk but the last one. */
typedef struct mf__head {
  uint64_t id, version;
  uint64_t chunk_version;         /* the version of the chunk's first event */
  uint64_t chunk_base;            /* the position of the stream's event before that, or 0 */
  uint64_t last_position;         /* of the stream's last event */
  uint64_t last_gap, last_length; /* the last run */
  mf_bytes runs;
} mf__head;

enum { MF__HEAD_MAX = 7 * MF__VARINT_MAX + MF__CHUNK_MAX + 2 * 10 + MF__SEAL };
size_t mf__head_write(const mf__head *head, uint8_t out[MF__HEAD_MAX]); /* without the seal */
bool mf__head_read(mf_bytes value, mf__head *head);

/* ---- check.c, the part that knows the format ---- */

/* What a database of ours is like, by its name. */
typedef struct mf__database {
  const char *name;
  bool integers; /* MDB_INTEGERKEY */
  int sealed;    /* MF__IN_STREAMS ...: how its values are sealed; -1: they are not */
  bool vital;    /* a broken seal is a reason to refuse the file */
} mf__database;

/* NULL: a database that this version does not know. */
const mf__database *mf__database_find(mf_bytes name);

enum { MF__DATABASES_MAX = 16 };

/* What the main database holds. */
typedef struct mf__contents {
  bool found; /* our record, and it is whole: */
  mf__store_record record;
  size_t count;
  struct {
    char name[16];
    const mf__database *kind; /* or NULL */
    mf__tree tree;
  } databases[MF__DATABASES_MAX];
} mf__contents;

/* Walks the main database. False: it was stopped, or memory has run out. */
bool mf__walk_main(mf__walk *walk, mf__contents *contents, const mf__visitor *problems);
const mf__tree *mf__contents_find(const mf__contents *contents, const char *name);

/*
 * Whether LMDB can be trusted with the pages of a transaction that a reader pins: all trees, seals
 * and the free list, but for what takes pages of its own. Where that would take long (`always` is
 * false and the trees have more than MF__CHECK_PAGES pages) nothing is looked at. MF_OK, or
 * MF_CORRUPT with what is wrong.
 */
enum { MF__CHECK_PAGES = 2048 };
int mf__check_pages(const mf__source *source, const mf__meta *meta, bool always, const char *path,
                    mf_error *error);

/* ---- verify.c ---- */

/* mf_verify() of a source. `meta`: that of a transaction that is pinned, or NULL for the newest. */
int mf__verify(const mf__source *source, const mf__meta *meta, const char *path,
               const mf_verify_options *options, mf_verify_report *report, mf_error *error);

/* ---- gather.c: what is left in a damaged file ---- */

/* A block of the log. */
typedef struct mf__piece {
  uint64_t first; /* its position, as its key says; 0: not known */
  uint64_t count; /* as its header says */
  uint64_t place; /* in the file */
  uint32_t size;
} mf__piece;

typedef struct mf__pieces {
  mf__piece *list; /* by position */
  size_t count, capacity;
  uint64_t longest; /* the most events that one of them has */
} mf__pieces;

typedef struct mf__lost_stream {
  mf_bytes name;
  uint64_t version; /* that its head tells; 0: it has none */
  uint64_t seen;    /* of the last event that was recovered */
} mf__lost_stream;

typedef struct mf__remains {
  mf__source source;
  mf__store_record record;
  uint64_t page_size, last; /* last: a position that the log has reached, from what can be read */
  uint64_t room;            /* bytes that the file has, or had before it was cut off */
  bool damaged;             /* something of the trees cannot be walked */
  bool end_known; /* `last` is where the log ends: what is behind it was never committed */
  bool log_whole, streams_whole; /* every entry of these trees was met and understood */
  mf__pieces log;                /* what the tree of the log leads to */
  mf__pieces others;        /* blocks that stand elsewhere: lost ones, and those of earlier days */
  mf__lost_stream *streams; /* by id */
  size_t stream_capacity;
  mf_bytes *types; /* by id */
  size_t type_capacity;
  mf__map commands; /* key of the ids database -> how many events the command recorded */
  mf__contents contents;
  mf__meta meta;
  mf__arena arena;
  bool no_memory;
} mf__remains;

/* MF_OK, MF_CORRUPT when not even the store's record is to be found, or MF_NO_MEMORY. */
int mf__gather(const mf__source *source, mf__remains *remains, const char *path, mf_error *error);
void mf__remains_free(mf__remains *remains);
/* Notes the name of a type, if it has none yet. False: no type can have that id or name. */
bool mf__remains_type(mf__remains *remains, uint64_t id, mf_bytes name);

/* ---- chain.c: the hash chain over commits ---- */

typedef struct mf__chain {
  blake2b_state state;
  uint64_t count;
} mf__chain;

/* Of an event, whose stream and type have these names. */
void mf__event_digest(const mf__record *record, mf_bytes stream, mf_bytes type,
                      uint8_t digest[MF_LINK_SIZE]);
/* The link behind `before` (zeros, where there is none), of a commit of these events. */
void mf__chain_begin(mf__chain *chain, const uint8_t before[MF_LINK_SIZE]);
void mf__chain_add(mf__chain *chain, const uint8_t digest[MF_LINK_SIZE]);
void mf__chain_end(mf__chain *chain, uint8_t link[MF_LINK_SIZE]);
/* The link of the commit that a block ends with; false when it has none. */
bool mf__last_link(const mf__block *block, uint8_t link[MF_LINK_SIZE]);

/* ---- env.c ---- */

enum { MF__COLD_MOST = 4096 }; /* bytes of a piece that cold.c reads */

/* A read transaction and its cursors, kept for the next reader. */
typedef struct mf__slot {
  MDB_txn *txn;
  MDB_cursor *log, *postings;
  struct mf__slot *next;
  uint8_t piece[MF__COLD_MOST]; /* of the block that was looked up last: its offsets, or an event */
  size_t astray; /* by how many bytes guesses where an event stands were wrong lately, times 8 */
} mf__slot;

typedef struct mf__type {
  uint32_t size;
  char name[];
} mf__type;

enum { MF__TYPE_PAGE = 1024, MF__TYPE_PAGES = MF_TYPES_MAX / MF__TYPE_PAGE };
enum { MF__NAME_CACHE = 131072 };

typedef struct mf__cached_name {
  uint64_t id; /* of the stream; 0: free */
  char *name;
  uint32_t size;
} mf__cached_name;

/* One open file. Shared by all handles of this process that opened it. */
typedef struct mf__env {
  struct mf__env *next;
  mf__file_id id;
  int references;
  mf__birthmark birthmark;
  char *path;
  int memory_fd;  /* of a memory store, else -1 */
  int file_fd;    /* of a file, with the claim on its lock file, else -1 */
  bool read_only; /* the file may not be written by this process */
  bool claimed;   /* it is about to be replaced: nobody else may share this */
  MDB_env *db;
  MDB_dbi log, streams, names, postings, types, ids;
  MDB_dbi beside[MF__BESIDE];
  bool has_beside; /* an old file that may only be read lacks those databases */
  mf__store_record record;
  size_t page_size;
  uint64_t extended_pages; /* the file is known to have so many */
  uint64_t swept_pages;    /* as many as there were when dead readers were looked for */

  pthread_rwlock_t gate;   /* readers hold it for a batch; growing the map excludes them */
  pthread_mutex_t writing; /* held by the thread that has the write transaction */
  _Atomic(int64_t) writer; /* that thread, or 0 */

  _Atomic(const uint8_t *) map; /* where LMDB has mapped the file, or NULL: see cold.c */
  size_t mapped;                /* bytes */
  int map_fd;
  _Atomic(uint8_t) *pieces; /* for each window of the map: how many were read of it */
  struct mf_txn *txn;       /* the write transaction's memory, kept for the next one */

  pthread_mutex_t queue_lock; /* guards what stands here: see group.c */
  pthread_cond_t queue_moved;
  struct mf__request *queue, **queue_end;
  size_t queue_length, last_group; /* requests that wait; that shared the last commit */
  bool leading;                    /* a thread is writing for the others */

  pthread_mutex_t slots_lock;
  mf__slot *slots;
  struct mf_txn *reading; /* the open read transactions */

  pthread_mutex_t names_lock; /* guards the caches below */
  _Atomic(uint32_t) type_count;
  mf__type **type_pages[MF__TYPE_PAGES];
  mf__map type_ids;
  mf__cached_name *names_cache; /* MF__NAME_CACHE of them, made by the first reader of the log */

  pthread_mutex_t commit_lock; /* with `committed`, for those who wait in this process */
  pthread_cond_t committed;
} mf__env;

struct mf_store {
  mf__env *env;
  int fd; /* for the durability locks; -1 for a memory store */
  int lock;
  mf_durability durability;
  bool read_only;
  _Atomic(bool) closed;
  _Atomic(int) references; /* the handle, its readers and transactions */
  int64_t (*clock)(void *);
  void *clock_context;
};

int mf__store_usable(const mf_store *store, mf_error *error); /* closed? forked? */
void mf__store_retain(mf_store *store);
void mf__store_release(mf_store *store);
int64_t mf__thread_id(void);
/* Makes room for `bytes` more before a write transaction begins. Called with env->writing held. */
int mf__env_make_room(mf__env *env, uint64_t bytes, mf_error *error);
/*
 * Takes the file from everybody else: MF_BUSY where others have it open, in this process or
 * another. Until `claim` is closed, which outlives the store, whoever opens it is told MF_BUSY.
 */
int mf__env_claim_alone(mf_store *store, int *claim);
/* Writes a compacted copy of what is committed to a new file, and syncs it. */
int mf__copy_store(mf__env *env, const char *path, mf_error *error);
/* The meta page of a transaction that a reader pins: it is there until the second commit after. */
bool mf__pinned_meta(const mf__source *source, size_t txn, mf__meta *meta);
/* The file must not be shorter than LMDB's last page says, or a truncated file could not be told
 * from it. */
void mf__env_settle(mf__env *env);

/* What a read looks at: a read transaction, or a write transaction with what it has staged. */
typedef struct mf__view {
  mf__env *env;
  MDB_txn *db;
  MDB_cursor *log, *postings; /* of a write transaction, postings is opened by its first look-up */
  MDB_cursor *heads; /* of a write transaction: neighbours are found from where it stands */
  mf__slot *slot;
  struct mf_txn *staged; /* or NULL */
} mf__view;

int mf__view_begin(mf__env *env, mf__view *view, mf_error *error);
void mf__view_end(mf__view *view);

/* ---- cold.c: small pieces of a large file ---- */

/*
 * Reads a piece of a page, as the view has it at `at`, to `out`, where that is cheaper than to
 * touch it. False: it is not, or cannot be done; touch it.
 */
bool mf__cold_read(mf__view *view, const void *at, size_t size, void *out);
void mf__cold_begin(mf__view *view); /* when a read view begins */
void mf__cold_forget(mf__env *env);  /* before the map moves: nobody reads */

/* ---- index.c ---- */

/* Returns MF_OK with *found telling whether the stream exists. head->runs points into the view or
 * the staging. */
int mf__view_head(mf__view *view, mf_bytes stream, mf__head *head, bool *found, mf_error *error);
/* `hash`: that of the name, with the store's seed. */
int mf__stored_head(mf__view *view, mf_bytes stream, uint64_t hash, mf__head *head, bool *found,
                    mf_error *error);
int mf__view_last_position(mf__view *view, int64_t *position, mf_error *error);
/* An event of which stream and version are known. */
typedef struct mf__sought {
  uint64_t stream_id, version;
  mf_bytes record; /* set when it was found before its block's offsets were looked at */
} mf__sought;

/* The block that holds a position, and maybe its event (NULL: none is sought), in which case the
 * block's offsets are not to be used. Valid until the next call with the same view. */
int mf__view_block(mf__view *view, int64_t position, mf__sought *sought, mf__block *block,
                   mf_error *error);
/* The chunk of stored postings of a stream that holds `version`: its first version, base and runs.
 */
int mf__view_chunk(mf__view *view, uint64_t stream_id, uint64_t version, uint64_t *first,
                   uint64_t *base, mf_bytes *runs, mf_error *error);
/* One record, verified, wherever it stands: in the file or staged. */
int mf__view_record(mf__view *view, int64_t position, mf__record *record, mf_error *error);
/* Looks up a key of `ids`. */
int mf__view_id(mf__view *view, mf_bytes key, mf_bytes *value, bool *found, mf_error *error);

int mf__load_types(mf__view *view, mf_error *error);
const mf__type *mf__type_by_id(mf__env *env, uint64_t id); /* NULL: not loaded */
int mf__type_of(mf__view *view, uint64_t id, mf_bytes *name, mf_error *error);
/* 0 when no event of this type was ever recorded. */
int mf__type_id(mf__view *view, mf_bytes name, uint32_t *id, mf_error *error);
/* The name of a stream, copied to *copy's end. */
int mf__stream_name(mf__view *view, uint64_t id, mf__buffer *copy, mf_error *error);

int mf__corrupt_event(mf_error *error, const mf__env *env, int64_t position, const char *why);
int mf__corrupt_index(mf_error *error, const mf__env *env, const char *what);

/* The 16 bytes of generated ids. */
void mf__generated_id(uint64_t seed, int64_t position, char text[37]);
/* The position whose generated id this is, or 0. */
int64_t mf__generated_position(uint64_t seed, mf_bytes id);

/* ---- txn.c ---- */

typedef struct mf__staged_event {
  size_t offset;
  size_t size;
} mf__staged_event;

/* Runs of postings, in the arena. */
typedef struct mf__runs {
  uint8_t *data;
  size_t size, capacity;
} mf__runs;

typedef struct mf__staged_stream {
  mf_bytes name; /* in the arena */
  mf__head head; /* as it will be, but for the runs */
  mf__runs runs;
  uint64_t stored_version;
  uint64_t hash; /* of the name, with the store's seed */
} mf__staged_stream;

/* A value to be put beside the log. */
typedef struct mf__beside_put {
  uint8_t key[MF__BESIDE_KEY_MAX];
  size_t key_size;
  uint8_t *value; /* sealed */
  size_t size;
} mf__beside_put;

typedef struct mf__beside_puts {
  mf__beside_put *list;
  size_t count, capacity;
} mf__beside_puts;

/* What a stream's staging was before an append. */
typedef struct mf__undo {
  size_t stream; /* index into streams */
  size_t runs_size;
  mf__head head;
} mf__undo;

#define MF__NOT_KNOWN UINT64_MAX /* not asked yet, because nothing is staged that is new */

struct mf_txn {
  mf_store *store;
  struct mf_txn *next; /* of a read transaction: in env->reading */
  int64_t thread;
  mf__view view;
  mf_durability
      durability; /* of the commit: the strongest that those who share it have asked for */
  bool write;
  int doomed;
  int64_t base_position;                 /* the log's end when the transaction began */
  uint64_t base_stream_id, base_type_id; /* how many are stored, or: */
  mf_bytes last_type;                    /* the stored type that was staged last, and its id */
  uint32_t last_type_id;

  mf__buffer bytes; /* staged records, back to back */
  mf__staged_event *events;
  uint8_t (*digests)[MF_LINK_SIZE]; /* of the events, where there is a hash chain */
  size_t digest_capacity;
  size_t event_count, event_capacity;
  mf__staged_stream *streams;
  size_t stream_count, stream_capacity;
  size_t *created; /* indices into streams, by id - base_stream_id - 1 */
  size_t created_count, created_capacity;
  mf__map stream_index; /* name -> index into streams; hashed with the store's seed */
  mf_bytes *types;      /* new ones; ids from base_type_id + 1 */
  size_t type_count, type_capacity;
  mf__map type_ids;
  mf__map ids; /* key of the ids database -> index into id_values */
  mf_bytes *id_keys, *id_values;
  size_t id_count, id_capacity;
  mf__undo *undo;
  size_t undo_count, undo_capacity;
  mf__arena arena;
  mf__beside_puts beside[MF__BESIDE];
  size_t beside_bytes;                    /* of their values */
  int64_t commands_most, commands_oldest; /* bounds; see mf_bound_commands() */
  bool dropped;                           /* something beside the log was dropped directly */
};

const uint8_t *mf__staged_record(const mf_txn *txn, int64_t position, size_t *size);
const mf__staged_stream *mf__staged_find(const mf_txn *txn, mf_bytes stream);
void mf__txn_memory_free(mf_txn *txn);
int mf__txn_usable(mf_txn *txn, mf_error *error);
/* Remembers what dooms a write transaction; returns status. */
int mf__txn_note(mf_txn *txn, int status);
bool mf__reads_here(mf__env *env); /* whether this thread has a read transaction open */
int mf__check_writable(mf_store *store, mf_error *error);
int mf__check_name(mf_bytes name, mf_error *error);
int mf__check_expectation(mf_bytes stream, int64_t expected, int64_t current, mf_error *error);

int mf__begin(mf_store *store, bool wait, mf_txn **txn, mf_error *error);

/* ---- beside.c ---- */

/* Stages a value: `head`, then `body`. */
int mf__beside_stage(mf_txn *txn, int kind, mf_bytes key, mf_bytes head, mf_bytes body,
                     mf_error *error);
/* A stored value, unsealed, in the view. A broken seal is MF_CORRUPT. */
int mf__beside_get(mf__view *view, int kind, mf_bytes key, mf_bytes *value, bool *found,
                   mf_error *error);
/* Whether key and value, unsealed, are such as this kind has. */
bool mf__beside_fits(int kind, mf_bytes key, mf_bytes value);
bool mf__beside_unseal(const mf__beside_put *put, uint64_t seed, mf_bytes *value);
void mf__beside_rollback(mf_txn *txn, const size_t counts[MF__BESIDE]);
void mf__beside_free(mf_txn *txn);
int mf__beside_open(mf__env *env, MDB_txn *txn, unsigned create); /* the databases; LMDB's code */
int mf__beside_create(mf__env *env, mf_error *error); /* in an old file, before it is written to */
int mf__beside_write(mf_txn *txn);                    /* LMDB's code */
bool mf__beside_any(const mf_txn *txn);
int mf__snapshots_prune(mf_txn *txn, const mf__beside_put *put); /* after it was put */
int mf__commands_write(mf_txn *txn);
bool mf__copy(mf_bytes from, mf_bytes *to); /* false: no memory */

/* Runs a look-up in the transaction's view, or in one of its own. */
#define MF__IN_VIEW(store, txn, view, error, call)                                                 \
  do {                                                                                             \
    mf__view own_view;                                                                             \
    int in_view_status = (txn) ? mf__txn_usable(txn, error) : mf__store_usable(store, error);      \
    if (in_view_status != MF_OK) return in_view_status;                                            \
    if (txn) {                                                                                     \
      mf__view *view = &(txn)->view;                                                               \
      return mf__txn_note(txn, call);                                                              \
    }                                                                                              \
    in_view_status = mf__view_begin((store)->env, &own_view, error);                               \
    if (in_view_status != MF_OK) return in_view_status;                                            \
    mf__view *view = &own_view;                                                                    \
    in_view_status = (call);                                                                       \
    mf__view_end(&own_view);                                                                       \
    return in_view_status;                                                                         \
  } while (0)

static inline mf_bytes mf__bytes(const void *data, size_t size) {
  mf_bytes b = {data, size};
  return b;
}

static inline bool mf__same(mf_bytes a, mf_bytes b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
