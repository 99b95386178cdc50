/*
 * Specs of values for C hosts: what a builder makes is canonical and reads back as what was put in.
 * Prints TAP.
 */
#include "check.h"
#include "runtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mf_value field(mf_value v, const char *name) {
  return mf_value_field(v, name);
}

static void builds_and_reads(void) {
  mf_builder *b = mf_builder_new();
  mf_build_map(b);
  mf_build_key(b, "name");
  mf_build_text(b, "Ada");
  mf_build_key(b, "health");
  mf_build_integer(b, -7);
  mf_build_key(b, "luck");
  mf_build_number(b, 2.0);
  mf_build_key(b, "alive");
  mf_build_boolean(b, true);
  mf_build_key(b, "nothing");
  mf_build_null(b);
  mf_build_key(b, "bag");
  mf_build_list(b);
  for (int i = 1; i <= 20; i++)
    mf_build_integer(b, (int64_t)1 << 3 * i);
  mf_build_end(b);
  mf_build_key(b, "slots");
  mf_build_map(b);
  mf_build_slot(b, 300);
  mf_build_text(b, "sword");
  mf_build_slot(b, -1);
  mf_build_text(b, "hidden");
  mf_build_end(b);
  mf_build_end(b);
  mf_value v = mf_builder_value(b);
  check(mf_builder_problem(b) == NULL && mf_value_of(mf_value_bytes(v)).at == v.at,
        "what a builder makes is the canonical encoding, whatever the order of the keys");
  check(mf_value_is(field(v, "name"), "Ada") && mf_value_integer(field(v, "health"), 0) == -7 &&
            mf_value_boolean(field(v, "alive"), false) &&
            mf_value_kind(field(v, "nothing")) == MF_NULL,
        "fields are found by name");
  check(mf_value_kind(field(v, "luck")) == MF_FLOAT && mf_value_integer(field(v, "luck"), 5) == 5 &&
            mf_value_number(field(v, "luck"), 0) == 2.0 &&
            mf_value_number(field(v, "health"), 0) == -7.0,
        "a whole float stays a float, and an integer is taken for a number");
  check(mf_value_is(mf_value_slot(field(v, "slots"), 300), "sword") &&
            mf_value_is(mf_value_slot(field(v, "slots"), -1), "hidden") &&
            mf_value_kind(mf_value_slot(field(v, "slots"), 2)) == MF_ABSENT &&
            mf_value_integer(mf_value_slot(field(v, "bag"), 1), 0) == 8,
        "integer keys are found, in lists they count from 1");
  int64_t sum = 0;
  size_t indices = 0;
  for (mf_each each = mf_value_each(field(v, "bag")); mf_each_next(&each);) {
    sum += mf_value_integer(each.value, 0);
    indices += each.index;
  }
  int64_t expected = 0;
  for (int i = 1; i <= 20; i++)
    expected += (int64_t)1 << 3 * i;
  check(mf_value_count(field(v, "bag")) == 20 && sum == expected && indices == 190,
        "a list is walked in order");
  mf_builder_free(b);
}

static void absent_is_harmless(void) {
  mf_value none = {NULL, NULL};
  check(mf_value_kind(none) == MF_ABSENT &&
            mf_value_kind(field(field(none, "a"), "b")) == MF_ABSENT &&
            mf_value_integer(none, 3) == 3 && mf_value_string(none).data == NULL &&
            mf_value_count(none) == 0 && !mf_value_is(none, "") &&
            mf_value_number(none, 1.5) == 1.5 && mf_value_boolean(none, true),
        "what is not there can be asked everything");
  mf_each each = mf_value_each(none);
  check(!mf_each_next(&each), "and has no elements");
  static const uint8_t bad[][4] = {
      {0x81, 0xa1, 'a'}, {0xcc, 0x05}, {0xc1}, {0xa5, 'a'}, {0x01, 0x02}};
  static const size_t sizes[] = {3, 2, 1, 2, 2};
  int refused = 0;
  for (size_t i = 0; i < 5; i++)
    refused += mf_value_of((mf_bytes){bad[i], sizes[i]}).at == NULL;
  check(refused == 5, "bytes that are no canonical encoding are no value");
}

static const char *problem_of(void (*steps)(mf_builder *)) {
  static mf_builder *b;
  mf_builder_free(b);
  b = mf_builder_new();
  steps(b);
  return mf_builder_value(b).at ? "" : mf_builder_problem(b) ? mf_builder_problem(b) : "unfinished";
}

static void key_in_list(mf_builder *b) {
  mf_build_list(b);
  mf_build_key(b, "a");
}

static void value_for_key(mf_builder *b) {
  mf_build_map(b);
  mf_build_integer(b, 1);
}

static void no_value(mf_builder *b) {
  mf_build_map(b);
  mf_build_key(b, "a");
  mf_build_end(b);
}

static void twice(mf_builder *b) {
  mf_build_map(b);
  for (int i = 0; i < 2; i++) {
    mf_build_key(b, "a");
    mf_build_null(b);
  }
  mf_build_end(b);
}

static void too_many_ends(mf_builder *b) {
  mf_build_end(b);
}

static void two_values(mf_builder *b) {
  mf_build_null(b);
  mf_build_null(b);
}

static void not_a_number(mf_builder *b) {
  mf_build_number(b, NAN);
}

static void too_deep(mf_builder *b) {
  for (int i = 0; i < 129; i++)
    mf_build_list(b);
}

static void unfinished(mf_builder *b) {
  mf_build_list(b);
}

static void mistakes(void) {
  check(strstr(problem_of(key_in_list), "a key where") &&
            strstr(problem_of(value_for_key), "where a key"),
        "a key and a value each have their turn");
  check(strstr(problem_of(no_value), "without a value") &&
            strstr(problem_of(twice), "equal keys") &&
            strstr(problem_of(too_many_ends), "nothing was begun") &&
            strstr(problem_of(two_values), "second value"),
        "other mistakes are named");
  check(strstr(problem_of(not_a_number), "finite") && strstr(problem_of(too_deep), "128") &&
            strcmp(problem_of(unfinished), "unfinished") == 0,
        "so are NaN, too many levels, and what was not finished");
  mf_builder *b = mf_builder_new();
  twice(b);
  mf_build_reset(b);
  mf_build_map(b);
  mf_build_slot(b, 1);
  mf_build_text(b, "one");
  mf_build_slot(b, 2);
  mf_build_text(b, "two");
  mf_build_end(b);
  check(mf_value_kind(mf_builder_value(b)) == MF_LIST,
        "after a reset it works again; keys 1 to n make a list");
  mf_builder_free(b);
}

/* ---- random values, against what was put in ---- */

static uint64_t state = 1;

static uint64_t dice(uint64_t n) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (state >> 33) % n;
}

/* Puts a value that follows from the dice; with `v`, reads it back instead and compares. */
static int walk(mf_builder *b, mf_value v, int depth) {
  char text[80];
  uint64_t kind = dice(depth < 5 ? 7 : 5), n = dice(40);
  switch (kind) {
  case 0: {
    int64_t value =
        (int64_t)((dice(1u << 30) << 34 | dice(1u << 30) << 4) >> dice(64)) * (dice(2) ? 1 : -1);
    if (b) mf_build_integer(b, value);
    return b || mf_value_integer(v, value + 1) == value;
  }
  case 1: {
    double value = (double)dice(1u << 30) / 1024;
    if (b) mf_build_number(b, value);
    return b || mf_value_number(v, -1) == value;
  }
  case 2: {
    size_t size = (size_t)dice(sizeof text);
    for (size_t i = 0; i < size; i++)
      text[i] = (char)dice(256);
    mf_bytes bytes = {text, size};
    if (b) mf_build_string(b, bytes);
    mf_bytes read = mf_value_string(v);
    return b || (read.data && read.size == size && memcmp(read.data, text, size) == 0);
  }
  case 3:
    if (b) mf_build_boolean(b, n % 2);
    return b || mf_value_boolean(v, n % 2 == 0) == (n % 2 != 0);
  case 4:
    if (b) mf_build_null(b);
    return b || mf_value_kind(v) == MF_NULL;
  case 5: {
    int fine = 1;
    if (b) mf_build_list(b);
    for (uint64_t i = 0; i < n; i++)
      fine &= walk(b, mf_value_slot(v, (int64_t)i + 1), depth + 1);
    if (b) mf_build_end(b);
    return fine && (b || mf_value_count(v) == n);
  }
  default: {
    int fine = 1;
    uint64_t turn = dice(1000);
    if (b) mf_build_map(b);
    for (uint64_t i = 0; i < n; i++) {
      snprintf(text, sizeof text, "key %u", (unsigned)((i * 37 + turn) % 1000));
      if (b) mf_build_key(b, text);
      fine &= walk(b, mf_value_field(v, text), depth + 1);
    }
    if (b) mf_build_end(b);
    return fine && (b || mf_value_count(v) == n);
  }
  }
}

static void random_values(void) {
  mf_builder *b = mf_builder_new(), *copy = mf_builder_new();
  mf_value none = {NULL, NULL};
  int fine = 1;
  for (uint64_t seed = 1; fine && seed <= 2000; seed++) {
    mf_build_reset(b);
    state = seed;
    walk(b, none, 0);
    mf_value v = mf_builder_value(b);
    state = seed;
    fine = v.at && mf_value_of(mf_value_bytes(v)).at && walk(NULL, v, 0);
    mf_build_reset(copy);
    mf_build_value(copy, v);
    mf_bytes x = mf_value_bytes(v), y = mf_value_bytes(mf_builder_value(copy));
    fine = fine && x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    if (!fine) printf("# seed %llu\n", (unsigned long long)seed);
  }
  check(fine, "2000 random values come back as they were put in, and copies are equal");
  mf_builder_free(b);
  mf_builder_free(copy);
}

/* A value of so many lists in one another, in a builder of its own. */
static mf_builder *nested(int depth) {
  mf_builder *b = mf_builder_new();
  for (int i = 0; i < depth; i++)
    mf_build_list(b);
  for (int i = 0; i < depth; i++)
    mf_build_end(b);
  return b;
}

static void copies_are_not_too_deep(void) {
  int fine = 1;
  mf_builder *inner = nested(100);
  for (int outer = 27; outer <= 29; outer++) {
    mf_builder *b = mf_builder_new();
    for (int i = 0; i < outer; i++)
      mf_build_list(b);
    mf_build_value(b, mf_builder_value(inner));
    for (int i = 0; i < outer; i++)
      mf_build_end(b);
    mf_value v = mf_builder_value(b);
    fine = fine && (outer == 29 ? !v.at && strstr(mf_builder_problem(b), "128")
                                : mf_value_of(mf_value_bytes(v)).at != NULL);
    mf_builder_free(b);
  }
  mf_builder_free(inner);
  check(fine, "a value that is copied into another may not make it too deep");
}

int main(void) {
  builds_and_reads();
  absent_is_harmless();
  mistakes();
  random_values();
  copies_are_not_too_deep();
  printf("1..%d\n", number);
  return failures > 0;
}
