/*
 * What trust costs: appending to a tamper-evident store against one without a hash chain; verifying
 * a store against reading its file.
 */
#include "bench.h"

#include <fcntl.h>
#include <unistd.h>

static mf_store *open_tamper_evident(const char *path) {
  mf_error failure;
  mf_store *store;
  mf_open_options options = {.size = sizeof options, .durability = MF_NONE, .tamper_evident = true};
  MF(mf_open(path, &options, &store, &failure));
  return store;
}

static void measure_append(const bench *b, writer *chained, writer *plain, size_t batch) {
  samples ours, yard;
  uint64_t events = (b->quick ? 20 : 60) * (uint64_t)(batch == 1 ? 50 : 1) * batch;
  for (int run = 0; run < b->runs; run++) {
    double start = cpu();
    append_events(chained, events, batch);
    double middle = cpu();
    append_events(plain, events, batch);
    ours.of[run] = (middle - start) / (double)events;
    yard.of[run] = (cpu() - middle) / (double)events;
  }
  report(b, "trust", &ours, "ns/event", &yard, "without a chain",
         "tamper-evident append, %zu a commit", batch);
}

static void read_file(const char *path) {
  static char buffer[1 << 16];
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail("open", path);
  while (read(fd, buffer, sizeof buffer) > 0) {
  }
  close(fd);
}

static void measure_verify(const bench *b, const char *path) {
  samples ours, yard;
  mf_error failure;
  mf_verify_report found;
  for (int run = 0; run < b->runs; run++) {
    double start = cpu();
    MF(mf_verify(path, NULL, &found, &failure));
    double middle = cpu();
    read_file(path);
    ours.of[run] = (middle - start) / (double)found.events;
    yard.of[run] = (cpu() - middle) / (double)found.events;
  }
  report(b, "trust", &ours, "ns/event", &yard, "reading the file", "verify, %lld events",
         (long long)found.events);
}

int main(int argc, char **argv) {
  static const size_t batches[] = {1, 1000};
  bench b = bench_start(argc, argv);
  char path[512];
  writer chained = {open_tamper_evident(file_in(&b, "chained.fold")), 100, 0};
  snprintf(path, sizeof path, "%s", file_in(&b, "plain.fold"));
  writer plain = {open_store(path, MF_NONE), 100, 0};
  append_events(&chained, 10000, 1000);
  append_events(&plain, 10000, 1000);
  for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
    measure_append(&b, &chained, &plain, batches[i]);
  close_store(chained.store);
  close_store(plain.store);
  measure_verify(&b, path);
  return 0;
}
