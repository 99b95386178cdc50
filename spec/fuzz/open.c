/* Fuzzes an ordinary open of a file, reading all of it, and appending to it: what LMDB meets there
 * must not make it crash. The input is a whole file. */
#include "store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64], lock_path[80];

static void clean(void) {
  unlink(path);
  unlink(lock_path);
}

static void write_file(const uint8_t *data, size_t size) {
  if (!*path) {
    snprintf(path, sizeof path, "/dev/shm/moonfold-fuzz-%d", (int)getpid());
    snprintf(lock_path, sizeof lock_path, "%s-lock", path);
    atexit(clean);
  }
  clean();
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) exit(2);
  close(fd);
}

static void read_events(mf_store *store, mf_bytes stream, bool backwards) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  options.stream = stream;
  options.backwards = backwards;
  if (mf_reader_open(store, NULL, &options, &reader, NULL) != MF_OK) return;
  for (int i = 0; i < 10000 && mf_reader_next(reader, &event, NULL) == MF_OK; i++) {
  }
  mf_reader_close(reader);
}

static void read_streams(mf_store *store) {
  mf_streams *streams;
  mf_bytes name;
  int64_t version;
  char copy[MF_STREAM_NAME_MAX];
  if (mf_streams_open(store, NULL, (mf_bytes){"", 0}, &streams, NULL) != MF_OK) return;
  for (int i = 0; i < 1000 && mf_streams_next(streams, &name, &version, NULL) == MF_OK; i++) {
    memcpy(copy, name.data, name.size);
    read_events(store, (mf_bytes){copy, name.size}, i % 2);
  }
  mf_streams_close(streams);
}

static void append(mf_store *store) {
  mf_new_event events[40];
  mf_bytes stream = {"stream", 6};
  for (int i = 0; i < 40; i++)
    events[i] = (mf_new_event){{"T", 1}, {"data that is not short", 22}, {NULL, 0}, {NULL, 0}};
  events[0].message_id = (mf_bytes){"id-2", 4};
  mf_append_to_stream(store, stream, events, 40, NULL, NULL, NULL);
  mf_append_to_stream(store, stream, events + 1, 1, NULL, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mf_open_options options;
  mf_store *store;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.no_create = true;
  options.durability = MF_NONE;
  write_file(data, size);
  if (mf_open(path, &options, &store, NULL) != MF_OK) return 0;
  read_events(store, (mf_bytes){NULL, 0}, false);
  read_events(store, (mf_bytes){NULL, 0}, true);
  read_streams(store);
  append(store);
  mf_close(store);
  return 0;
}
