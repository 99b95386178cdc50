/*
 * Appending with sync, wall time for each commit: against D, which appends the same bytes to a file
 * and calls fdatasync, and against bare LMDB with the same number of commits and the same flags.
 */
#include "bench.h"

#include <fcntl.h>
#include <unistd.h>

static void append_file(int fd, uint64_t total, size_t batch) {
  static unsigned char bytes[BATCH_MAX * PAYLOAD];
  for (size_t i = 0; i < batch; i++)
    memcpy(bytes + i * PAYLOAD, payload(i).data, PAYLOAD);
  for (uint64_t i = 0; i < total; i += batch) {
    SYS(write(fd, bytes, batch * PAYLOAD));
    SYS(fdatasync(fd));
  }
}

static uint64_t commits(const bench *b, size_t batch) {
  uint64_t normal = batch >= 1000 ? 12 : batch >= 64 ? 40 : 80;
  return b->quick ? normal / 4 : normal;
}

static void measure(const bench *b, writer *w, bare *yard, int fd, const char *level,
                    size_t batch) {
  samples ours, d, puts;
  double count = (double)commits(b, batch) * 1e3; /* us */
  uint64_t events = commits(b, batch) * batch;
  append_batch(w, batch); /* warm up */
  for (int run = 0; run < b->runs; run++) {
    double t0 = wall();
    append_file(fd, events, batch);
    double t1 = wall();
    append_events(w, events, batch);
    double t2 = wall();
    bare_append(yard, events, batch);
    d.of[run] = (t1 - t0) / count;
    ours.of[run] = (t2 - t1) / count;
    puts.of[run] = (wall() - t2) / count;
  }
  const char *plural = w->streams == 1 ? "" : "s";
  unsigned long long streams = w->streams;
  report(b, "durable", &ours, "us/commit", &d, "D", "%s, %llu stream%s, %zu a commit", level,
         streams, plural, batch);
  report(b, "durable", &ours, "us/commit", &puts, "LMDB", "%s, %llu stream%s, %zu a commit", level,
         streams, plural, batch);
}

/* Fills the store without sync first, so that the streams exist and the tree has its depth. */
static void prepare(const char *path, uint64_t streams) {
  mf_error failure;
  writer w = {open_store(path, MF_NONE), streams, 0};
  append_events(&w, 20000, BATCH_MAX);
  MF(mf_close(w.store));
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    mf_durability durability;
    unsigned flags;
  } levels[] = {{"full", MF_FULL, 0}, {"relaxed", MF_RELAXED, MDB_NOMETASYNC}};
  static const uint64_t streams[] = {1, 10000};
  static const size_t batches[] = {1, 10, 64, 100, 1000};
  bench b = bench_start(argc, argv);
  mf_error failure;
  int fd = open(file_in(&b, "durable.raw"), O_CREAT | O_WRONLY | O_APPEND, 0644);
  SYS(fd);
  for (size_t s = 0; s < 2; s++) {
    char name[32];
    snprintf(name, sizeof name, "durable-%zu.fold", s);
    const char *path = file_in(&b, name);
    prepare(path, streams[s]);
    for (size_t l = 0; l < 2; l++) {
      snprintf(name, sizeof name, "durable-%zu-%zu.mdb", s, l);
      bare yard = bare_open(file_in(&b, name), levels[l].flags);
      writer w = {open_store(path, levels[l].durability), streams[s], 0};
      for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
        measure(&b, &w, &yard, fd, levels[l].name, batches[i]);
      MF(mf_close(w.store));
      bare_close(&yard);
    }
  }
  close(fd);
  return 0;
}
