/*
 * Values for C hosts: reading and making them in the store's encoding, without Lua and without
 * text. What Lua values become of it is in codec.c; that a value is canonical is checked in
 * canonical.c.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>

/* ---- reading ---- */

static const mf_value absent = {NULL, NULL};

/* The head of a value, taken apart. `size`: of a string in bytes, of a container in elements; 0 for
 * scalars. */
typedef struct head {
  mf_kind kind;
  uint64_t bits; /* of a scalar */
  size_t size;
  const uint8_t *body; /* behind the head */
} head;

static uint64_t big_endian(const uint8_t *p, unsigned size) {
  uint64_t n = 0;
  for (unsigned i = 0; i < size; i++)
    n = n << 8 | p[i];
  return n;
}

static head scalar(mf_kind kind, uint64_t bits, const uint8_t *body) {
  return (head){kind, bits, 0, body};
}

static head sized(mf_kind kind, const uint8_t *at, unsigned width) {
  return (head){kind, 0, (size_t)big_endian(at + 1, width), at + 1 + width};
}

static head integer(const uint8_t *at, unsigned tag) {
  if (tag < 0x80) return scalar(MF_INTEGER, tag, at + 1);
  if (tag >= 0xe0) return scalar(MF_INTEGER, (uint64_t)((int64_t)tag - 256), at + 1);
  unsigned size = 1u << (tag <= 0xcf ? tag - 0xcc : tag - 0xd0), shift = 64 - 8 * size;
  uint64_t n = big_endian(at + 1, size);
  if (tag >= 0xd0) n = (uint64_t)((int64_t)(n << shift) >> shift);
  return scalar(MF_INTEGER, n, at + 1 + size);
}

/* The bytes were checked by mf_value_of(), or made by a builder. */
static head head_of(const uint8_t *at) {
  unsigned tag = *at;
  if (tag < 0x80 || tag >= 0xe0 || (tag >= 0xcc && tag <= 0xd3)) return integer(at, tag);
  if (tag <= 0x8f) return (head){MF_MAP, 0, tag & 0xf, at + 1};
  if (tag <= 0x9f) return (head){MF_LIST, 0, tag & 0xf, at + 1};
  if (tag <= 0xbf) return (head){MF_STRING, 0, tag & 0x1f, at + 1};
  switch (tag) {
  case 0xc0:
    return scalar(MF_NULL, 0, at + 1);
  case 0xc2:
  case 0xc3:
    return scalar(MF_BOOLEAN, tag & 1, at + 1);
  case 0xcb:
    return scalar(MF_FLOAT, big_endian(at + 1, 8), at + 9);
  case 0xc4:
  case 0xc5:
  case 0xc6:
    return sized(MF_STRING, at, 1u << (tag - 0xc4));
  case 0xd9:
  case 0xda:
  case 0xdb:
    return sized(MF_STRING, at, 1u << (tag - 0xd9));
  case 0xdc:
  case 0xdd:
    return sized(MF_LIST, at, 2u << (tag - 0xdc));
  default:
    return sized(MF_MAP, at, 2u << (tag - 0xde));
  }
}

static mf_value value_at(const uint8_t *at) {
  return (mf_value){at, mfr_skip(at)};
}

mf_value mf_value_of(mf_bytes encoded) {
  if (!encoded.data || encoded.size == 0 || !mfr_is_canonical(encoded.data, encoded.size))
    return absent;
  return (mf_value){encoded.data, (const uint8_t *)encoded.data + encoded.size};
}

mf_bytes mf_value_bytes(mf_value v) {
  return (mf_bytes){v.at, (size_t)(v.end - v.at)};
}

mf_kind mf_value_kind(mf_value v) {
  return v.at ? head_of(v.at).kind : MF_ABSENT;
}

bool mf_value_boolean(mf_value v, bool otherwise) {
  if (!v.at) return otherwise;
  head h = head_of(v.at);
  return h.kind == MF_BOOLEAN ? h.bits != 0 : otherwise;
}

int64_t mf_value_integer(mf_value v, int64_t otherwise) {
  if (!v.at) return otherwise;
  head h = head_of(v.at);
  return h.kind == MF_INTEGER ? (int64_t)h.bits : otherwise;
}

double mf_value_number(mf_value v, double otherwise) {
  if (!v.at) return otherwise;
  head h = head_of(v.at);
  if (h.kind == MF_INTEGER) return (double)(int64_t)h.bits;
  if (h.kind != MF_FLOAT) return otherwise;
  double number;
  memcpy(&number, &h.bits, sizeof number);
  return number;
}

mf_bytes mf_value_string(mf_value v) {
  if (!v.at) return (mf_bytes){NULL, 0};
  head h = head_of(v.at);
  return h.kind == MF_STRING ? (mf_bytes){h.body, h.size} : (mf_bytes){NULL, 0};
}

bool mf_value_is(mf_value v, const char *text) {
  mf_bytes string = mf_value_string(v);
  return string.data && string.size == strlen(text) && memcmp(string.data, text, string.size) == 0;
}

size_t mf_value_count(mf_value v) {
  if (!v.at) return 0;
  head h = head_of(v.at);
  return h.kind == MF_LIST || h.kind == MF_MAP ? h.size : 0;
}

mf_each mf_value_each(mf_value v) {
  mf_each each = {absent, absent, 0, NULL, NULL, 0, false};
  each.left = mf_value_count(v);
  if (each.left == 0) return each;
  head h = head_of(v.at);
  each.next = h.body;
  each.end = v.end;
  each.map = h.kind == MF_MAP;
  each.index = SIZE_MAX; /* the first step makes it 0 */
  return each;
}

bool mf_each_next(mf_each *each) {
  if (each->left == 0) return false;
  each->left--;
  each->index++;
  if (each->map) {
    each->key = value_at(each->next);
    each->next = each->key.end;
  }
  each->value = value_at(each->next);
  each->next = each->value.end;
  return true;
}

mf_value mf_value_field(mf_value map, const char *name) {
  size_t size = strlen(name);
  if (mf_value_kind(map) != MF_MAP) return absent;
  head h = head_of(map.at);
  const uint8_t *p = h.body;
  for (size_t i = 0; i < h.size; i++) {
    head key = head_of(p);
    p = key.body + key.size;
    if (key.kind == MF_STRING && key.size == size && memcmp(key.body, name, size) == 0)
      return value_at(p);
    p = mfr_skip(p);
  }
  return absent;
}

mf_value mf_value_slot(mf_value map, int64_t wanted) {
  if (mf_value_kind(map) == MF_LIST) { /* what Lua counts from 1 */
    mf_each each = mf_value_each(map);
    while (mf_each_next(&each))
      if ((int64_t)each.index == wanted - 1) return each.value;
    return absent;
  }
  if (mf_value_kind(map) != MF_MAP) return absent;
  for (mf_each each = mf_value_each(map); mf_each_next(&each);)
    if (mf_value_kind(each.key) == MF_INTEGER && mf_value_integer(each.key, 0) == wanted)
      return each.value;
  return absent;
}

/* ---- making ---- */

typedef struct level {
  size_t start; /* where its head will stand, in the bytes */
  size_t count; /* of values so far; in a map keys are counted, too */
  bool map;
} level;

struct mf_builder {
  mfr_buffer bytes, sorted;
  const char *problem;
  bool finished;
  int depth;
  level levels[MFR_DEPTH_MAX];
};

mf_builder *mf_builder_new(void) {
  return calloc(1, sizeof(mf_builder));
}

void mf_builder_free(mf_builder *b) {
  if (!b) return;
  mfr_buffer_free(&b->bytes);
  mfr_buffer_free(&b->sorted);
  free(b);
}

void mf_build_reset(mf_builder *b) {
  b->bytes.size = 0;
  b->problem = NULL;
  b->finished = false;
  b->depth = 0;
}

static void fail(mf_builder *b, const char *problem) {
  if (!b->problem) b->problem = problem;
}

static void add(mf_builder *b, mfr_buffer *to, const void *data, size_t size) {
  if (b->problem) return;
  if (!mfr_buffer_reserve(to, size)) {
    fail(b, "no memory");
    return;
  }
  if (size) memcpy(to->data + to->size, data, size);
  to->size += size;
}

static void add_number(mf_builder *b, mfr_buffer *to, unsigned tag, uint64_t value, unsigned size) {
  uint8_t bytes[9] = {(uint8_t)tag};
  for (unsigned i = 0; i < size; i++)
    bytes[size - i] = (uint8_t)(value >> 8 * i);
  add(b, to, bytes, 1 + size);
}

/* A value or a key is about to be added: is it its turn? */
static bool due(mf_builder *b, bool key) {
  if (b->depth == 0) {
    if (b->finished || key)
      fail(b, key ? "a key outside of a map" : "a second value behind the first");
    b->finished = true;
    return !b->problem;
  }
  level *l = &b->levels[b->depth - 1];
  if (key != (l->map && l->count % 2 == 0))
    fail(b, key ? "a key where a value is due" : "a value where a key is due");
  l->count++;
  return !b->problem;
}

static void add_integer(mf_builder *b, int64_t n) {
  uint64_t u = (uint64_t)n;
  if (n >= -32 && n < 0x80)
    add_number(b, &b->bytes, (unsigned)(n & 0xff), 0, 0);
  else if (n >= 0) {
    unsigned width = n <= UINT8_MAX ? 0 : n <= UINT16_MAX ? 1 : n <= UINT32_MAX ? 2 : 3;
    add_number(b, &b->bytes, 0xcc + width, u, 1u << width);
  } else {
    unsigned width = n >= INT8_MIN ? 0 : n >= INT16_MIN ? 1 : n >= INT32_MIN ? 2 : 3;
    add_number(b, &b->bytes, 0xd0 + width, u, 1u << width);
  }
}

static void add_string(mf_builder *b, const char *text, size_t size) {
  bool utf8 = mfr_is_utf8(text, size);
  if (size > UINT32_MAX) {
    fail(b, "a string of more than 4 GiB");
    return;
  }
  if (utf8 && size < 32)
    add_number(b, &b->bytes, 0xa0 | (unsigned)size, 0, 0);
  else {
    unsigned width = size <= UINT8_MAX ? 0 : size <= UINT16_MAX ? 1 : 2;
    add_number(b, &b->bytes, (utf8 ? 0xd9u : 0xc4u) + width, size, 1u << width);
  }
  add(b, &b->bytes, text, size);
}

void mf_build_null(mf_builder *b) {
  if (due(b, false)) add_number(b, &b->bytes, 0xc0, 0, 0);
}

void mf_build_boolean(mf_builder *b, bool value) {
  if (due(b, false)) add_number(b, &b->bytes, value ? 0xc3 : 0xc2, 0, 0);
}

void mf_build_integer(mf_builder *b, int64_t value) {
  if (due(b, false)) add_integer(b, value);
}

void mf_build_number(mf_builder *b, double value) {
  uint64_t bits;
  if (!isfinite(value)) fail(b, "a number that is not finite");
  memcpy(&bits, &value, sizeof bits);
  if (due(b, false)) add_number(b, &b->bytes, 0xcb, bits, 8);
}

void mf_build_string(mf_builder *b, mf_bytes value) {
  if (due(b, false)) add_string(b, value.data, value.size);
}

void mf_build_text(mf_builder *b, const char *value) {
  if (due(b, false)) add_string(b, value, strlen(value));
}

/* How many lists and maps stand in one another. */
static int depth_of(mf_value v) {
  int most = 0;
  mf_kind kind = mf_value_kind(v);
  if (kind != MF_LIST && kind != MF_MAP) return 0;
  for (mf_each each = mf_value_each(v); mf_each_next(&each);) {
    int depth = depth_of(each.value);
    if (depth > most) most = depth;
  }
  return most + 1;
}

void mf_build_value(mf_builder *b, mf_value value) {
  if (!value.at) fail(b, "a value that is absent");
  if (value.at && b->depth + depth_of(value) > MFR_DEPTH_MAX) fail(b, "more than 128 levels");
  if (due(b, false)) add(b, &b->bytes, value.at, (size_t)(value.end - value.at));
}

void mf_build_key(mf_builder *b, const char *name) {
  if (due(b, true)) add_string(b, name, strlen(name));
}

void mf_build_slot(mf_builder *b, int64_t key) {
  if (due(b, true)) add_integer(b, key);
}

static void open_level(mf_builder *b, bool map) {
  if (!due(b, false)) return;
  if (b->depth == MFR_DEPTH_MAX) {
    fail(b, "more than 128 levels");
    return;
  }
  b->levels[b->depth++] = (level){b->bytes.size, 0, map};
}

void mf_build_list(mf_builder *b) {
  open_level(b, false);
}

void mf_build_map(mf_builder *b) {
  open_level(b, true);
}

/* ---- closing a container: its entries are there, its head is not, and a map's keys are to be
 * sorted ---- */

typedef struct field {
  const uint8_t *key, *end; /* the key, and the end of its value */
} field;

/* Integer keys first, by value; then strings, by bytes. */
static int compare_fields(const void *a, const void *b) {
  head x = head_of(((const field *)a)->key), y = head_of(((const field *)b)->key);
  if (x.kind != y.kind) return x.kind == MF_INTEGER ? -1 : 1;
  if (x.kind == MF_INTEGER) {
    int64_t m = (int64_t)x.bits, n = (int64_t)y.bits;
    return (m > n) - (m < n);
  }
  int order = memcmp(x.body, y.body, x.size < y.size ? x.size : y.size);
  return order ? order : (x.size > y.size) - (x.size < y.size);
}

/* A map with the keys 1 to n is a list: there is one way to write a value. */
static bool is_list(const field *fields, size_t count) {
  head last = head_of(fields[count - 1].key);
  return last.kind == MF_INTEGER && last.bits == count && (int64_t)head_of(fields[0].key).bits == 1;
}

static void add_count(mf_builder *b, mfr_buffer *to, bool list, size_t count) {
  if (count > UINT32_MAX)
    fail(b, "more than 4,294,967,295 elements");
  else if (count < 16)
    add_number(b, to, (list ? 0x90u : 0x80u) | (unsigned)count, 0, 0);
  else
    add_number(b, to, (list ? 0xdcu : 0xdeu) + (count > UINT16_MAX), count,
               count > UINT16_MAX ? 4 : 2);
}

static void sort_fields(mf_builder *b, field *fields, size_t count, const uint8_t *at) {
  for (size_t i = 0; i < count; i++) {
    fields[i].key = at;
    at = fields[i].end = mfr_skip(mfr_skip(at));
  }
  qsort(fields, count, sizeof *fields, compare_fields);
  for (size_t i = 1; i < count; i++)
    if (compare_fields(&fields[i - 1], &fields[i]) == 0) fail(b, "two equal keys in one map");
}

/* Writes the finished map into `sorted`. */
static void sort_map(mf_builder *b, const uint8_t *start, size_t count) {
  field few[32];
  field *fields = count <= 32 ? few : malloc(count * sizeof *fields);
  if (!fields) {
    fail(b, "no memory");
    return;
  }
  sort_fields(b, fields, count, start);
  bool list = is_list(fields, count);
  add_count(b, &b->sorted, list, count);
  for (size_t i = 0; i < count; i++) {
    const uint8_t *from = list ? mfr_skip(fields[i].key) : fields[i].key;
    add(b, &b->sorted, from, (size_t)(fields[i].end - from));
  }
  if (fields != few) free(fields);
}

void mf_build_end(mf_builder *b) {
  if (b->depth == 0) fail(b, "an end where nothing was begun");
  if (b->problem) return;
  level *l = &b->levels[--b->depth];
  if (l->map && l->count % 2 != 0) fail(b, "a key without a value");
  size_t count = l->map ? l->count / 2 : l->count;
  const uint8_t *start = (const uint8_t *)b->bytes.data + l->start;
  b->sorted.size = 0;
  if (b->problem) return;
  if (l->map && count > 0)
    sort_map(b, start, count);
  else {
    add_count(b, &b->sorted, !l->map, count);
    if (count > 0) add(b, &b->sorted, start, b->bytes.size - l->start);
  }
  b->bytes.size = l->start;
  add(b, &b->bytes, b->sorted.data, b->sorted.size);
}

mf_value mf_builder_value(const mf_builder *b) {
  if (b->problem || b->depth > 0 || !b->finished) return absent;
  const uint8_t *bytes = (const uint8_t *)b->bytes.data;
  return (mf_value){bytes, bytes + b->bytes.size};
}

bool mfr_builder_begun(const mf_builder *b) {
  return b->finished;
}

const char *mf_builder_problem(const mf_builder *b) {
  return b->problem;
}
