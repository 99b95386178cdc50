/*
 * Fuzzes values as a C host reads and makes them. The first byte of the input says which: the rest
 * is an encoding, whose values, found one by one and built anew, give the same bytes; or it is what
 * is told to a builder, which gives a canonical encoding or says what is wrong.
 */
#include "../../runtime/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static mf_builder *builder;

/* ---- reading ---- */

static void same(mf_value a, mf_value b) {
  mf_bytes x = mf_value_bytes(a), y = mf_value_bytes(b);
  if (!a.at || !b.at || x.size != y.size || memcmp(x.data, y.data, x.size) != 0) abort();
}

/* A name that C can hold. */
static bool as_name(mf_bytes text, char out[64]) {
  if (text.size >= 64 || memchr(text.data, 0, text.size)) return false;
  memcpy(out, text.data, text.size);
  out[text.size] = '\0';
  return true;
}

static void rebuild(mf_value value);

/* False: a key of it cannot be given to the builder. */
static bool can_rebuild(mf_value value) {
  char name[64];
  for (mf_each each = mf_value_each(value); mf_each_next(&each);) {
    bool map = mf_value_kind(value) == MF_MAP;
    if (map && mf_value_kind(each.key) == MF_STRING && !as_name(mf_value_string(each.key), name))
      return false;
    if (!can_rebuild(each.value)) return false;
  }
  return true;
}

static void rebuild_map(mf_value value) {
  char name[64];
  mf_build_map(builder);
  for (mf_each each = mf_value_each(value); mf_each_next(&each);) {
    if (mf_value_kind(each.key) == MF_INTEGER) {
      same(mf_value_slot(value, mf_value_integer(each.key, 0)), each.value);
      mf_build_slot(builder, mf_value_integer(each.key, 0));
    } else if (as_name(mf_value_string(each.key), name)) {
      same(mf_value_field(value, name), each.value);
      mf_build_key(builder, name);
    }
    rebuild(each.value);
  }
  mf_build_end(builder);
}

static void rebuild_list(mf_value value) {
  mf_build_list(builder);
  for (mf_each each = mf_value_each(value); mf_each_next(&each);) {
    if (each.index < 8) same(mf_value_slot(value, (int64_t)each.index + 1), each.value);
    rebuild(each.value);
  }
  mf_build_end(builder);
}

static void rebuild(mf_value value) {
  switch (mf_value_kind(value)) {
  case MF_NULL:
    mf_build_null(builder);
    break;
  case MF_BOOLEAN:
    mf_build_boolean(builder, mf_value_boolean(value, false));
    break;
  case MF_INTEGER:
    mf_build_integer(builder, mf_value_integer(value, 0));
    break;
  case MF_FLOAT:
    mf_build_number(builder, mf_value_number(value, 0));
    break;
  case MF_STRING:
    mf_build_string(builder, mf_value_string(value));
    break;
  case MF_LIST:
    rebuild_list(value);
    break;
  case MF_MAP:
    rebuild_map(value);
    break;
  default:
    abort();
  }
}

static void read_encoding(const uint8_t *data, size_t size) {
  mf_value value = mf_value_of((mf_bytes){data, size});
  if (!value.at != !mfr_is_canonical(data, size)) abort();
  if (!value.at || !can_rebuild(value)) return;
  rebuild(value);
  same(mf_builder_value(builder), value);
  mf_build_reset(builder);
  mf_build_value(builder, value);
  same(mf_builder_value(builder), value);
}

/* ---- making ---- */

typedef struct told {
  const uint8_t *p, *end;
} told;

static int64_t take(told *t, size_t size) {
  uint64_t n = 0;
  for (size_t i = 0; i < size && t->p < t->end; i++)
    n = n << 8 | *t->p++;
  return (int64_t)n;
}

static mf_bytes take_text(told *t) {
  size_t size = (size_t)take(t, 1) % 40, left = (size_t)(t->end - t->p);
  if (size > left) size = left;
  mf_bytes text = {t->p, size};
  t->p += size;
  return text;
}

static void build_one(told *t) {
  char name[64] = "";
  double number;
  int64_t n;
  switch (take(t, 1) % 12) {
  case 0:
    mf_build_null(builder);
    break;
  case 1:
    mf_build_boolean(builder, take(t, 1) % 2);
    break;
  case 2:
    mf_build_integer(builder, (int8_t)take(t, 1));
    break;
  case 3:
    mf_build_integer(builder, take(t, 8));
    break;
  case 4:
    n = take(t, 8);
    memcpy(&number, &n, sizeof number);
    mf_build_number(builder, number);
    break;
  case 5:
    mf_build_string(builder, take_text(t));
    break;
  case 6:
    mf_build_list(builder);
    break;
  case 7:
    mf_build_map(builder);
    break;
  case 8:
    as_name(take_text(t), name);
    mf_build_key(builder, name);
    break;
  case 9:
    mf_build_slot(builder, (int8_t)take(t, 1));
    break;
  case 10:
    mf_build_slot(builder, take(t, 8));
    break;
  default:
    mf_build_end(builder);
  }
}

static void make(const uint8_t *data, size_t size) {
  told t = {data, data + size};
  while (t.p < t.end && !mf_builder_problem(builder))
    build_one(&t);
  while (!mf_builder_problem(builder) && !mf_builder_value(builder).at &&
         mfr_builder_begun(builder))
    mf_build_end(builder);
  mf_value value = mf_builder_value(builder);
  if (!value.at != (mf_builder_problem(builder) || !mfr_builder_begun(builder))) abort();
  mf_bytes bytes = mf_value_bytes(value);
  if (value.at && !mfr_is_canonical(bytes.data, bytes.size)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!builder && !(builder = mf_builder_new())) exit(2);
  mf_build_reset(builder);
  if (size == 0) return 0;
  if (*data % 2)
    read_encoding(data + 1, size - 1);
  else
    make(data + 1, size - 1);
  return 0;
}
