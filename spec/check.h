/* What the specs in C share: a sentence about behaviour and whether it holds, as a line of TAP,
 * which spec/run.lua counts. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int number, failures;

static inline void check(bool fine, const char *sentence) {
  printf("%s %d - %s\n", fine ? "ok" : "not ok", ++number, sentence);
  fflush(stdout); /* what was said before a crash is seen */
  failures += !fine;
}

static inline bool has(const char *text, const char *part) {
  return text && strstr(text, part) != NULL;
}

#endif
