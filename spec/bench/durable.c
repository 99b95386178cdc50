/*
 * Appending with sync, wall time for each commit: against D, which appends the same bytes to a file
 * and calls fdatasync, and against bare LMDB with the same number of commits and the same flags.
 */
#include "bench.h"

#include <fcntl.h>
#include <unistd.h>

#define COMMITS_MAX 100

static void append_file(int fd, size_t batch) {
  static unsigned char bytes[BATCH_MAX * PAYLOAD];
  for (size_t i = 0; i < batch; i++)
    memcpy(bytes + i * PAYLOAD, payload(i).data, PAYLOAD);
  SYS(write(fd, bytes, batch * PAYLOAD));
  SYS(fdatasync(fd));
}

static size_t commits(const bench *b, size_t batch) {
  size_t normal = batch >= 1000 ? 15 : batch >= 64 ? 45 : COMMITS_MAX;
  return b->quick ? normal / 3 : normal;
}

/* The three take turns commit by commit, because a disk is quick now and slow then; a run's number
 * is the median of its commits. */
static void measure(const bench *b, writer *w, bare *yard, int fd, const char *level,
                    size_t batch) {
  samples d, ours, puts;
  size_t count = commits(b, batch);
  append_batch(w, batch); /* warm up */
  for (int run = 0; run < b->runs; run++) {
    double times[3][COMMITS_MAX];
    for (size_t i = 0; i < count; i++) {
      double t0 = wall();
      append_file(fd, batch);
      double t1 = wall();
      append_batch(w, batch);
      double t2 = wall();
      bare_append(yard, batch, batch);
      times[0][i] = t1 - t0, times[1][i] = t2 - t1, times[2][i] = wall() - t2;
    }
    d.of[run] = median(times[0], count) / 1e3;
    ours.of[run] = median(times[1], count) / 1e3;
    puts.of[run] = median(times[2], count) / 1e3;
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
  writer w = {open_store(path, MF_NONE), streams, 0};
  append_events(&w, 20000, BATCH_MAX);
  close_store(w.store);
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
      close_store(w.store);
      bare_close(&yard);
    }
  }
  close(fd);
  return 0;
}
