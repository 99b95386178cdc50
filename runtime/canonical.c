/*
 * Looking at encoded values without making Lua values of them: whether bytes are the canonical
 * encoding of a value, and where a value ends. Payloads may have been written by a C host, in any
 * form: only what is canonical can be shown as JSON and come back byte for byte.
 */
#include "internal.h"

#include <math.h>

typedef struct scan {
  const uint8_t *p, *end;
} scan;

static bool take(scan *s, unsigned size, uint64_t *value) {
  if ((size_t)(s->end - s->p) < size) return false;
  *value = 0;
  for (unsigned i = 0; i < size; i++)
    *value = *value << 8 | *s->p++;
  return true;
}

/* Integers take their shortest form. */
static bool scan_integer(scan *s, unsigned tag) {
  static const uint64_t least_positive[] = {0x80, 0x100, 0x10000, 0x100000000};
  static const int64_t most_negative[] = {-33, -129, -32769, -2147483649};
  uint64_t n;
  if (tag < 0x80 || tag >= 0xe0) return true;
  if (tag >= 0xcc && tag <= 0xcf)
    return take(s, 1u << (tag - 0xcc), &n) && n >= least_positive[tag - 0xcc] && n <= INT64_MAX;
  unsigned size = 1u << (tag - 0xd0), shift = 64 - 8 * size;
  return take(s, size, &n) && (int64_t)(n << shift) >> shift <= most_negative[tag - 0xd0];
}

static bool scan_float(scan *s) {
  uint64_t n;
  double value;
  if (!take(s, 8, &n)) return false;
  memcpy(&value, &n, sizeof value);
  return isfinite(value);
}

/* The size of a string or a container, in its shortest form. `wide`: tags from here on have 1, 2, 4
 * bytes (8, 16, 32 bits) of size; `least`: of the first. */
static bool scan_size(scan *s, unsigned width, uint64_t least, uint64_t *size) {
  return take(s, width, size) && *size >= least;
}

static bool scan_text(scan *s, unsigned tag, mf_bytes *text) {
  static const uint64_t least_str[] = {32, 256, 65536}, least_bin[] = {0, 256, 65536};
  uint64_t size;
  bool bin = tag >= 0xc4 && tag <= 0xc6;
  if (tag >= 0xa0 && tag <= 0xbf)
    size = tag & 0x1f;
  else if (!(bin ? scan_size(s, 1u << (tag - 0xc4), least_bin[tag - 0xc4], &size)
                 : scan_size(s, 1u << (tag - 0xd9), least_str[tag - 0xd9], &size)))
    return false;
  if (size > (uint64_t)(s->end - s->p)) return false;
  *text = (mf_bytes){s->p, (size_t)size};
  s->p += size;
  return mfr_is_utf8(text->data, text->size) != bin;
}

static bool is_text(unsigned tag) {
  return (tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xd9 && tag <= 0xdb) ||
         (tag >= 0xc4 && tag <= 0xc6);
}

static bool is_integer(unsigned tag) {
  return tag < 0x80 || tag >= 0xe0 || (tag >= 0xcc && tag <= 0xd3);
}

static int64_t integer_at(const uint8_t *p) {
  unsigned tag = *p++;
  if (tag < 0x80) return tag;
  if (tag >= 0xe0) return (int64_t)tag - 256;
  unsigned size = 1u << (tag & 3), shift = 64 - 8 * size;
  uint64_t n = 0;
  for (unsigned i = 0; i < size; i++)
    n = n << 8 | *p++;
  return tag >= 0xd0 ? (int64_t)(n << shift) >> shift : (int64_t)n;
}

typedef struct key {
  bool integer;
  int64_t number;
  mf_bytes text;
} key;

static bool scan_key(scan *s, key *k) {
  if (s->p == s->end) return false;
  const uint8_t *at = s->p;
  unsigned tag = *s->p++;
  k->integer = is_integer(tag);
  if (k->integer) {
    if (!scan_integer(s, tag)) return false;
    k->number = integer_at(at);
    return true;
  }
  return is_text(tag) && scan_text(s, tag, &k->text);
}

/* Integers by value, then strings by bytes; no key twice. */
static bool in_order(const key *a, const key *b) {
  if (a->integer || b->integer) return a->integer && (!b->integer || a->number < b->number);
  size_t size = a->text.size < b->text.size ? a->text.size : b->text.size;
  int order = size ? memcmp(a->text.data, b->text.data, size) : 0;
  return order < 0 || (order == 0 && a->text.size < b->text.size);
}

static bool scan_value(scan *s, int depth);

static bool scan_map(scan *s, uint64_t count, int depth) {
  key before = {0}, k = {0};
  bool like_list = count > 0; /* keys 1 to n: that would be a list */
  for (uint64_t i = 0; i < count; i++) {
    if (!scan_key(s, &k) || (i > 0 && !in_order(&before, &k)) || !scan_value(s, depth))
      return false;
    like_list = like_list && k.integer && k.number == (int64_t)i + 1;
    before = k;
  }
  return !like_list;
}

static bool scan_list(scan *s, uint64_t count, int depth) {
  for (uint64_t i = 0; i < count; i++)
    if (!scan_value(s, depth)) return false;
  return true;
}

static bool scan_value(scan *s, int depth) {
  mf_bytes text;
  uint64_t n;
  if (s->p == s->end) return false;
  unsigned tag = *s->p++;
  if (is_integer(tag)) return scan_integer(s, tag);
  if (is_text(tag)) return scan_text(s, tag, &text);
  if (tag == 0xc0 || tag == 0xc2 || tag == 0xc3) return true;
  if (tag == 0xcb) return scan_float(s);
  if (depth == MFR_DEPTH_MAX) return false;
  if (tag >= 0x90 && tag <= 0x9f) return scan_list(s, tag & 0xf, depth + 1);
  if (tag >= 0x80 && tag <= 0x8f) return scan_map(s, tag & 0xf, depth + 1);
  if (tag == 0xdc || tag == 0xdd)
    return scan_size(s, tag == 0xdc ? 2 : 4, tag == 0xdc ? 16 : 65536, &n) &&
           scan_list(s, n, depth + 1);
  if (tag == 0xde || tag == 0xdf)
    return scan_size(s, tag == 0xde ? 2 : 4, tag == 0xde ? 16 : 65536, &n) &&
           scan_map(s, n, depth + 1);
  return false;
}

bool mfr_is_canonical(const void *data, size_t size) {
  scan s = {data, (const uint8_t *)data + size};
  return scan_value(&s, 0) && s.p == s.end;
}

static uint64_t size_at(const uint8_t *p, unsigned width) {
  uint64_t n = 0;
  for (unsigned i = 0; i < width; i++)
    n = n << 8 | p[i];
  return n;
}

static const uint8_t *skip_many(const uint8_t *p, uint64_t count) {
  while (count-- > 0)
    p = mfr_skip(p);
  return p;
}

const uint8_t *mfr_skip(const uint8_t *p) {
  unsigned tag = *p++;
  if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3) return p;
  if (tag <= 0x8f) return skip_many(p, 2 * (tag & 0xf));
  if (tag <= 0x9f) return skip_many(p, tag & 0xf);
  if (tag <= 0xbf) return p + (tag & 0x1f);
  if (tag == 0xcb) return p + 8;
  if (tag >= 0xcc && tag <= 0xd3) return p + (1u << (tag & 3));
  if (tag >= 0xd9 && tag <= 0xdb) return p + (1u << (tag - 0xd9)) + size_at(p, 1u << (tag - 0xd9));
  if (tag >= 0xc4 && tag <= 0xc6) return p + (1u << (tag - 0xc4)) + size_at(p, 1u << (tag - 0xc4));
  unsigned width = tag == 0xdc || tag == 0xde ? 2 : 4;
  return skip_many(p + width, size_at(p, width) * (tag >= 0xde ? 2 : 1));
}
