/* faults MODE [--seed N] [--rounds N] [--folder F]: one kind of trouble, or all of them. Prints
 * TAP. */
#include "faults.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *folder = "/tmp";
uint64_t seed;
int rounds = 1;

static int number;

int tell(bool fine, const char *sentence, const char *why) {
  printf("%s %d - %s\n", fine ? "ok" : "not ok", ++number, sentence);
  if (!fine) printf("# %s\n", why);
  fflush(stdout);
  return !fine;
}

void fresh_store(char path[256]) {
  static int stores;
  snprintf(path, 256, "%s/faults-%d-%d.fold", folder, (int)getpid(), ++stores);
  remove_store(path);
}

void remove_store(const char *path) {
  char lock[300];
  snprintf(lock, sizeof lock, "%s-lock", path);
  unlink(path);
  unlink(lock);
}

static const struct {
  const char *name;
  int (*run)(void);
} modes[] = {{"power", power},     {"errors", errors},     {"operations", operations},
             {"disk", small_disk}, {"kill", kill_writers}, {"concurrency", concurrency},
             {"checker", checker}};

enum { MODES = sizeof modes / sizeof *modes };

static int usage(void) {
  fprintf(stderr, "usage: faults all");
  for (size_t i = 0; i < MODES; i++)
    fprintf(stderr, "|%s", modes[i].name);
  fprintf(stderr, " [--seed N] [--rounds N] [--folder FOLDER]\n");
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc % 2 != 0) return usage();
  seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
  for (int i = 2; i < argc; i += 2) {
    if (strcmp(argv[i], "--seed") == 0)
      seed = strtoull(argv[i + 1], NULL, 0);
    else if (strcmp(argv[i], "--rounds") == 0)
      rounds = atoi(argv[i + 1]);
    else if (strcmp(argv[i], "--folder") == 0)
      folder = realpath(argv[i + 1], NULL); /* as the system names it */
    else
      return usage();
  }
  if (!folder) return usage();
  printf("# seed %llu, rounds %d\n", (unsigned long long)seed, rounds);
  fflush(stdout);
  int failures = 0, run = 0;
  for (size_t i = 0; i < MODES; i++) {
    if (strcmp(argv[1], modes[i].name) != 0 && strcmp(argv[1], "all") != 0) continue;
    failures += modes[i].run();
    run++;
  }
  if (!run) return usage();
  printf("1..%d\n", number);
  return failures > 0;
}
