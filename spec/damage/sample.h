/*
 * A small store whose every event can be computed from its position, so that whoever reads one back
 * can tell whether it is right. It has what a store can have: events alone and in commits of many,
 * long and short ones, ids of messages and commands, streams enough for trees of several levels,
 * and code, snapshots and kept commands beside them, short ones and some with pages of their own.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "store.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_TIME ((int64_t)1700000000000000) /* of position 0; a millisecond each */
enum { SAMPLE_LARGE = 16000 }; /* events, each in a stream of its own with a long name */
enum { SAMPLE_EVENTS = 900, SAMPLE_STREAMS = 90, SAMPLE_TYPES = 7, SAMPLE_LONG = 9000 };

/* What the store is like: to be set before it is built, and as it is looked at. */
static struct {
  int64_t events;
  bool large; /* so many pages of trees that opening it does not look at them */
  bool tamper_evident;
} sample_store = {SAMPLE_EVENTS, false, false};

typedef struct sample {
  char stream[400], type[64], message_id[64], command_id[64];
  uint8_t data[SAMPLE_LONG], metadata[64];
  size_t data_size, metadata_size;
  int64_t recorded_at;
} sample;

static mf_bytes sample_bytes(const void *data, size_t size) {
  mf_bytes bytes = {data, size};
  return bytes;
}

static mf_bytes sample_text(const char *text) {
  return sample_bytes(text, strlen(text));
}

static uint32_t sample_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 33);
}

/* The event at a position. What it lacks is "" or has size 0. */
static void sample_event(int64_t position, sample *s) {
  uint64_t state = (uint64_t)position * 977;
  memset(s, 0, sizeof *s);
  uint32_t stream = sample_random(&state) % SAMPLE_STREAMS;
  snprintf(s->stream, sizeof s->stream, "stream-%u-with-a-name-of-some-length", stream);
  if (sample_store.large)
    snprintf(s->stream, sizeof s->stream, "%08u-%0380d", stream * 7919u ^ (uint32_t)position, 0);
  snprintf(s->type, sizeof s->type, "Happened%u", sample_random(&state) % SAMPLE_TYPES);
  s->data_size = sample_random(&state) % 120;
  if (position % 150 == 77) s->data_size = SAMPLE_LONG;
  for (size_t i = 0; i < s->data_size; i++)
    s->data[i] = (uint8_t)sample_random(&state);
  if (position % 5 == 1) s->metadata_size = 1 + sample_random(&state) % 60;
  for (size_t i = 0; i < s->metadata_size; i++)
    s->metadata[i] = (uint8_t)sample_random(&state);
  if (position % 7 == 2)
    snprintf(s->message_id, sizeof s->message_id, "id-%lld", (long long)position);
  if (position % 11 == 3)
    snprintf(s->command_id, sizeof s->command_id, "command-%lld", (long long)position);
  s->recorded_at = SAMPLE_TIME + position * 1000;
}

/* How many events the commit has that begins with this position. */
static int64_t sample_commit(int64_t position) {
  static const int64_t sizes[] = {1, 1, 3, 1, 17, 1, 1, 150, 1};
  int64_t first = 1;
  for (size_t i = 0;; i++) {
    int64_t size = sizes[i % (sizeof sizes / sizeof *sizes)];
    if (position < first + size) return first + size - position;
    first += size;
  }
}

static int sample_append(mf_txn *txn, int64_t position, mf_error *error) {
  static sample s;
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_new_event event;
  sample_event(position, &s);
  memset(&event, 0, sizeof event);
  event.type = sample_text(s.type);
  event.data = sample_bytes(s.data, s.data_size);
  if (s.metadata_size) event.metadata = sample_bytes(s.metadata, s.metadata_size);
  if (*s.message_id) event.message_id = sample_text(s.message_id);
  if (*s.command_id) {
    options.command_id = sample_text(s.command_id);
    memset(options.command_digest, (int)(position % 251), 16);
    options.extension = sample_text("what the caller gave");
  }
  options.recorded_at = s.recorded_at;
  return mf_append(txn, sample_text(s.stream), &event, 1, &options, NULL, error);
}

/* Puts something of each kind beside the event at a position. */
static int sample_beside(mf_txn *txn, int64_t position, mf_error *error) {
  static char text[SAMPLE_LONG];
  static sample s;
  uint8_t digest[MF_DIGEST_SIZE] = {(uint8_t)(position / 60)};
  int64_t version;
  sample_event(position, &s);
  memset(text, 'a' + (int)(position % 26), sizeof text);
  mf_bytes stream = sample_text(s.stream),
           body = sample_bytes(text, (size_t)(position * 11 % 8000));
  mf_kept_command command = {position, stream, body};
  int status = mf_put_code(txn, digest, body, NULL, error);
  if (status == MF_OK) status = mf_stream_version(NULL, txn, stream, &version, error);
  if (status == MF_OK) status = mf_put_snapshot(txn, stream, digest, version, body, error);
  if (status == MF_OK) status = mf_keep_command(txn, &command, error);
  return status;
}

static void sample_die(const char *what, const mf_error *error) {
  fprintf(stderr, "%s: %s\n", what, error->message);
  exit(2);
}

/* Makes the store. */
__attribute__((unused)) static void sample_build(const char *path, mf_durability durability) {
  mf_open_options options;
  mf_store *store;
  mf_txn *txn;
  mf_error error;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.durability = durability;
  options.tamper_evident = sample_store.tamper_evident;
  if (mf_open(path, &options, &store, &error) != MF_OK) sample_die("open", &error);
  for (int64_t position = 1; position <= sample_store.events;) {
    int64_t count = sample_commit(position);
    if (mf_begin(store, &txn, &error) != MF_OK) sample_die("begin", &error);
    for (; count > 0 && position <= sample_store.events; count--, position++)
      if (sample_append(txn, position, &error) != MF_OK ||
          (!sample_store.large && position % 30 == 4 &&
           sample_beside(txn, position, &error) != MF_OK))
        sample_die("append", &error);
    if (mf_commit(txn, &error) != MF_OK) sample_die("commit", &error);
  }
  if (mf_close(store) != MF_OK) exit(2);
}

static bool sample_same(mf_bytes found, const void *data, size_t size) {
  return found.size == size && (size == 0 || memcmp(found.data, data, size) == 0);
}

/* Where an event was recorded, wherever it stands now. */
__attribute__((unused)) static int64_t sample_position(const mf_event *event) {
  return (event->recorded_at - SAMPLE_TIME) / 1000;
}

/* Whether an event is the one that was recorded at `original`. */
__attribute__((unused)) static bool sample_is(const mf_event *event, int64_t original) {
  static sample s;
  sample_event(original, &s);
  return sample_same(event->stream, s.stream, strlen(s.stream)) &&
         sample_same(event->type, s.type, strlen(s.type)) &&
         sample_same(event->data, s.data, s.data_size) &&
         sample_same(event->metadata, s.metadata, s.metadata_size) &&
         (!*s.message_id || sample_same(event->message_id, s.message_id, strlen(s.message_id))) &&
         event->recorded_at == s.recorded_at;
}

#endif
