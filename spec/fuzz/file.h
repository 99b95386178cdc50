/*
 * For the targets whose input is a whole file: how it is changed. Bytes that are inserted or
 * removed move every page behind them, and nothing is left to look at; so most changes stay within
 * the bytes of a page that mean something, and some exchange pages.
 */
#ifndef FILE_H
#define FILE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data, size_t size, const uint8_t *other,
                                 size_t other_size, uint8_t *out, size_t out_size, unsigned seed);

enum { PAGE = 4096, PAGE_HEADER = 16, WINDOW = 24 };

static uint32_t chance_state;

static size_t chance(size_t below) {
  chance_state = chance_state * 1664525 + 1013904223;
  return (chance_state >> 8) % below;
}

static size_t u16_at(const uint8_t *p) {
  return p[0] | (size_t)p[1] << 8;
}

/* A place in the page that means something: its head, the offsets of its entries, or one of them.
 */
static size_t place_in(const uint8_t *page, size_t number) {
  if (number < 2) return chance(PAGE_HEADER + 136); /* LMDB's meta pages */
  size_t lower = u16_at(page + 12), upper = u16_at(page + 14);
  size_t entries = lower > PAGE_HEADER && lower < PAGE ? (lower - PAGE_HEADER) / 2 : 0;
  size_t what = chance(8);
  if (what == 0) return chance(PAGE_HEADER);
  if (what == 1 && entries) return PAGE_HEADER + chance(2 * entries);
  if (what < 6 && entries) { /* the beginning of an entry: its sizes, its key */
    size_t at = u16_at(page + PAGE_HEADER + 2 * chance(entries)) + chance(40);
    if (at < PAGE) return at;
  }
  if (what < 7 && upper < PAGE) return upper + chance(PAGE - upper);
  return chance(PAGE);
}

static void change_page(uint8_t *data, size_t size) {
  uint8_t window[WINDOW];
  size_t number = chance(size / PAGE), length = 1 + chance(WINDOW);
  size_t at = number * PAGE + place_in(data + number * PAGE, number);
  if (at + length > size) length = size - at;
  memcpy(window, data + at, length);
  size_t changed = LLVMFuzzerMutate(window, length, length);
  memcpy(data + at, window, changed < length ? changed : length);
}

/* Puts the number of a page, or one near it, where eight bytes are aligned as LMDB aligns them. */
static void change_number(uint8_t *data, size_t size) {
  size_t number = chance(size / PAGE);
  size_t at = number * PAGE + (place_in(data + number * PAGE, number) & ~(size_t)1);
  uint64_t value = chance(size / PAGE + 2);
  if (at + 8 <= size) memcpy(data + at, &value, chance(2) ? 8 : 2);
}

static void exchange_pages(uint8_t *data, size_t size) {
  size_t from = chance(size / PAGE), to = chance(size / PAGE);
  if (from != to) memcpy(data + to * PAGE, data + from * PAGE, PAGE);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  chance_state = seed;
  size_t what = size < 2 * PAGE ? 0 : chance(32);
  if (what == 0) return LLVMFuzzerMutate(data, size, max_size);
  if (what == 1) return chance(4) ? size : size / PAGE * PAGE - chance(2) * PAGE;
  for (size_t times = 1 + chance(4); times > 0; times--) {
    if (what == 2)
      exchange_pages(data, size);
    else if (what < 8)
      change_number(data, size);
    else
      change_page(data, size);
  }
  return size;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *data, size_t size, const uint8_t *other,
                                 size_t other_size, uint8_t *out, size_t out_size, unsigned seed) {
  chance_state = seed;
  size_t pages = (size < other_size ? size : other_size) / PAGE;
  if (size > out_size) size = out_size;
  memcpy(out, data, size);
  for (size_t times = 1 + chance(4); pages > 0 && times > 0; times--) {
    size_t from = chance(pages) * PAGE, to = chance(4) ? from : chance(pages) * PAGE;
    if (to + PAGE <= size) memcpy(out + to, other + from, PAGE);
  }
  return size;
}

/* Puts the input into the file. */
__attribute__((unused)) static void write_file(const char *path, const uint8_t *data, size_t size) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) exit(2);
  close(fd);
}

#endif
