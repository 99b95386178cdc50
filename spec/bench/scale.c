/*
 * What an operation costs as the store grows: events of 100 to 300 bytes of data in interleaved
 * streams (one for ten events, at most 100,000), commits of 1000, no sync. Stores of every size are
 * open at once and take turns; the yardstick of each is the store a tenth of its size. With
 * SCALE=50000000 in the environment there are two: one of 1,000,000 events, the yardstick, and one
 * of so many (12 GB of disk).
 */
#include "bench.h"

#include <fcntl.h>
#include <unistd.h>

enum { APPEND, LOG, SCATTERED, OPEN, OPERATIONS };

static const char *const names[OPERATIONS] = {"append", "log read", "scattered read", "open"};
static const char *const units[OPERATIONS] = {"ns/event", "ns/event", "ns/event", "us"};

typedef struct sized {
  uint64_t events;
  char path[600];
  writer writer;
  samples of[OPERATIONS];
} sized;

static void build(const bench *b, sized *s, uint64_t events) {
  char name[32];
  uint64_t streams = events / 10 < 100000 ? events / 10 : 100000;
  snprintf(name, sizeof name, "scale-%llu.fold", (unsigned long long)events);
  snprintf(s->path, sizeof s->path, "%s", file_in(b, name));
  s->events = events;
  s->writer = (writer){open_store(s->path, MF_NONE), streams, 0};
  append_events(&s->writer, events, BATCH_MAX);
}

/* Brings the file into the page cache: what a disk takes is no cost of the store's. Nothing is
 * mapped by that. */
static void cache(const sized *s) {
  static char bytes[1 << 20];
  ssize_t size;
  int fd = open(s->path, O_RDONLY);
  SYS(fd);
  while ((size = read(fd, bytes, sizeof bytes)) > 0)
    continue;
  SYS(size);
  close(fd);
}

static double append_cost(sized *s) {
  uint64_t events = 10000;
  double start = cpu();
  append_events(&s->writer, events, BATCH_MAX);
  return (cpu() - start) / (double)events;
}

/* At most 500,000 events, from the middle on. */
static double log_cost(const sized *s) {
  int64_t from = (int64_t)s->events / 2, to = from + 500000;
  double start = cpu();
  uint64_t events = read_all(s->writer.store, (mf_bytes){NULL, 0}, from, to);
  return (cpu() - start) / (double)events;
}

/* Streams picked at random, each read whole. */
static double scattered_cost(const sized *s, uint64_t *seed) {
  char name[32];
  uint64_t events = 0;
  double start = cpu();
  while (events < 20000)
    events += read_all(s->writer.store, stream_name(name, random_next(seed) % s->writer.streams), 1,
                       MF_LAST);
  return (cpu() - start) / (double)events;
}

static double open_cost(const sized *s) {
  double times[5];
  for (int i = 0; i < 5; i++) {
    double start = wall();
    close_store(open_store(s->path, MF_FULL));
    times[i] = (wall() - start) / 1e3;
  }
  return median(times, 5);
}

int main(int argc, char **argv) {
  static sized stores[4];
  uint64_t sizes[] = {10000, 100000, 1000000, 10000000};
  bench b = bench_start(argc, argv);
  int count = b.quick ? 2 : b.full ? 4 : 3;
  const char *wanted = getenv("SCALE"), *yardstick = wanted ? "1000000 events" : "a tenth";
  if (wanted) {
    count = 2;
    sizes[0] = 1000000;
    sizes[1] = strtoull(wanted, NULL, 10);
  }
  uint64_t seed = 88172645463325252u;
  sizes_vary = true;
  for (int i = 0; i < count; i++)
    build(&b, &stores[i], sizes[i]);
  for (int i = 0; i < count; i++)
    cache(&stores[i]), scattered_cost(&stores[i], &seed), log_cost(&stores[i]); /* warm up */
  for (int run = 0; run < b.runs; run++) {
    for (int i = 0; i < count; i++) {
      stores[i].of[APPEND].of[run] = append_cost(&stores[i]);
      stores[i].of[LOG].of[run] = log_cost(&stores[i]);
      stores[i].of[SCATTERED].of[run] = scattered_cost(&stores[i], &seed);
    }
  }
  for (int i = 0; i < count; i++)
    close_store(stores[i].writer.store);
  for (int run = 0; run < b.runs; run++)
    for (int i = 0; i < count; i++)
      stores[i].of[OPEN].of[run] = open_cost(&stores[i]);
  for (int op = 0; op < OPERATIONS; op++)
    for (int i = 0; i < count; i++)
      report(&b, "scale", &stores[i].of[op], units[op], i > 0 ? &stores[i - 1].of[op] : NULL,
             i > 0 ? yardstick : "", "%s, %llu events", names[op],
             (unsigned long long)stores[i].events);
  return 0;
}
