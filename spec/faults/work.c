/* Operations: everything about one follows from (seed, writer, number). */
#include "faults.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* SplitMix64, of Steele, Lea and Flood (2014). */
uint64_t chance_next(chance *c) {
  uint64_t z = (c->state += 0x9e3779b97f4a7c15u);
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

uint64_t chance_below(chance *c, uint64_t limit) {
  return chance_next(c) % limit;
}

static chance chance_of(const operation *op, uint64_t salt) {
  chance c = {op->seed};
  c.state ^= chance_next(&c) + ((uint64_t)op->writer << 40) + ((uint64_t)op->number << 8) + salt;
  chance_next(&c);
  return c;
}

/* Mostly one event, now and then so many that a commit fills several blocks. */
static uint32_t count_of(chance *c) {
  uint64_t dice = chance_below(c, 100);
  if (dice < 60) return 1;
  if (dice < 85) return 2 + (uint32_t)chance_below(c, 4);
  if (dice < 97) return 10 + (uint32_t)chance_below(c, 60);
  return 200 + (uint32_t)chance_below(c, 200);
}

bool is_tamper_evident(uint64_t from) {
  return from % 2 == 1;
}

void make_op(uint64_t from, uint32_t writer, uint32_t number, operation *out) {
  memset(out, 0, sizeof *out);
  out->seed = from;
  out->writer = writer;
  out->number = number;
  chance c = chance_of(out, 0);
  out->kind = (op_kind)chance_below(&c, OP_TRANSACTION + 1);
  if (writer == PROBE) out->kind = OP_EXPECTED;
  out->parts = out->kind == OP_TRANSACTION ? 2 + (uint32_t)chance_below(&c, PARTS_MAX - 1) : 1;
  for (uint32_t i = 0; i < out->parts; i++) {
    out->counts[i] = writer == PROBE ? 1 : count_of(&c);
    out->total += out->counts[i];
    if (out->kind == OP_EXPECTED) /* a stream that only this writer appends to */
      snprintf(out->streams[i], sizeof out->streams[i], "own-%u", writer);
    else if (chance_below(&c, 10) == 0)
      snprintf(out->streams[i], sizeof out->streams[i], "once-%u-%u-%u", writer, number, i);
    else
      snprintf(out->streams[i], sizeof out->streams[i], "shared-%u", (unsigned)chance_below(&c, 8));
  }
}

/* Short texts, and some that need several pages. */
static size_t filler_of(chance *c) {
  uint64_t dice = chance_below(c, 1000);
  if (dice < 800) return (size_t)chance_below(c, 200);
  if (dice < 990) return (size_t)chance_below(c, 1500);
  return (size_t)chance_below(c, TEXT_MAX - 100);
}

void make_event(const operation *op, uint32_t index, made_event *out) {
  chance c = chance_of(op, 1 + (uint64_t)index);
  mf_new_event *event = &out->event;
  memset(event, 0, sizeof *event);
  int size = snprintf(out->type, sizeof out->type, "Type%u", (unsigned)chance_below(&c, 20));
  event->type = (mf_bytes){out->type, (size_t)size};
  size_t filler = filler_of(&c);
  size = snprintf(out->data, 64, "%u.%u.%u:", op->writer, op->number, index);
  for (size_t i = 0; i < filler; i++)
    out->data[(size_t)size + i] = (char)chance_next(&c);
  event->data = (mf_bytes){out->data, (size_t)size + filler};
  if (chance_below(&c, 4) == 0) {
    size = snprintf(out->metadata, sizeof out->metadata, "metadata %" PRIu64, chance_next(&c));
    event->metadata = (mf_bytes){out->metadata, (size_t)size};
  }
  if (op->kind == OP_IDS) {
    size = snprintf(out->id, sizeof out->id, "id-%u-%u-%u", op->writer, op->number, index);
    event->message_id = (mf_bytes){out->id, (size_t)size};
  }
}

bool read_header(mf_bytes data, uint32_t *writer, uint32_t *number, uint32_t *index) {
  char text[64];
  int end = 0;
  size_t size = data.size < sizeof text - 1 ? data.size : sizeof text - 1;
  memcpy(text, data.data, size);
  text[size] = '\0';
  return sscanf(text, "%u.%u.%u:%n", writer, number, index, &end) == 3 && end > 0 &&
         *writer < WRITERS_MAX;
}

/* The events from `first` on, in memory that the caller frees. */
static mf_new_event *make_events(const operation *op, uint32_t first, uint32_t count,
                                 made_event **texts) {
  mf_new_event *events = sure_realloc(NULL, count * sizeof *events);
  *texts = sure_realloc(NULL, count * sizeof **texts);
  for (uint32_t i = 0; i < count; i++) {
    make_event(op, first + i, &(*texts)[i]);
    events[i] = (*texts)[i].event;
  }
  return events;
}

static mf_bytes stream_of(const operation *op, uint32_t part) {
  return (mf_bytes){op->streams[part], strlen(op->streams[part])};
}

static void set_options(const operation *op, mf_append_options *options, char id[48]) {
  if (op->kind != OP_COMMAND) return;
  int size = snprintf(id, 48, "command-%u-%u", op->writer, op->number);
  options->command_id = (mf_bytes){id, (size_t)size};
  memset(options->command_digest, (int)(op->number & 0xff), 16);
}

static int expect_version(mf_store *store, const operation *op, mf_append_options *options,
                          mf_error *error) {
  if (op->kind != OP_EXPECTED) return MF_OK;
  return mf_stream_version(store, NULL, stream_of(op, 0), &options->expected_version, error);
}

static int append_part(mf_store *store, mf_txn *txn, const operation *op, uint32_t part,
                       uint32_t first, mf_append_result *result, mf_error *error) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  made_event *texts;
  char id[48];
  set_options(op, &options, id);
  int status = expect_version(store, op, &options, error);
  if (status != MF_OK) return status;
  mf_new_event *events = make_events(op, first, op->counts[part], &texts);
  mf_bytes stream = stream_of(op, part);
  status =
      txn ? mf_append(txn, stream, events, op->counts[part], &options, result, error)
          : mf_append_to_stream(store, stream, events, op->counts[part], &options, result, error);
  free(events);
  free(texts);
  return status;
}

static int run_transaction(mf_store *store, const operation *op, mf_append_result *result,
                           mf_error *error) {
  mf_txn *txn;
  uint32_t first = 0;
  int status = mf_begin(store, &txn, error);
  if (status != MF_OK) return status;
  for (uint32_t part = 0; status == MF_OK && part < op->parts; part++) {
    status = append_part(store, txn, op, part, first, result, error);
    first += op->counts[part];
  }
  if (status == MF_OK) return mf_commit(txn, error);
  mf_abort(txn);
  return status;
}

int run_op(mf_store *store, const operation *op, int64_t *position, mf_error *error) {
  mf_append_result result = {0};
  int status = op->kind == OP_TRANSACTION ? run_transaction(store, op, &result, error)
                                          : append_part(store, NULL, op, 0, 0, &result, error);
  *position = result.last_position;
  return status;
}

bool repeats_op(mf_store *store, const operation *op, int64_t position, char *why, size_t size) {
  mf_append_result result = {0};
  mf_error error;
  if (op->kind != OP_IDS && op->kind != OP_COMMAND) return true;
  int status = append_part(store, NULL, op, 0, 0, &result, &error);
  if (status == MF_OK && result.repeated && result.last_position == position) return true;
  snprintf(why, size,
           "operation %u.%u given again: %s, repeated %d, position %" PRId64 " for %" PRId64,
           op->writer, op->number, status == MF_OK ? "ok" : error.message, result.repeated,
           result.last_position, position);
  return false;
}

/* ---- the witness ---- */

fate *witness_of(witness *w, uint32_t writer, uint32_t number) {
  while (number >= w->writers[writer].capacity) {
    uint32_t more = w->writers[writer].capacity ? 2 * w->writers[writer].capacity : 64;
    fate *fates = sure_realloc(w->writers[writer].fates, more * sizeof *fates);
    memset(fates + w->writers[writer].capacity, 0,
           (more - w->writers[writer].capacity) * sizeof *fates);
    w->writers[writer].fates = fates;
    w->writers[writer].capacity = more;
  }
  if (number >= w->writers[writer].count) w->writers[writer].count = number + 1;
  return &w->writers[writer].fates[number];
}

void witness_sent(witness *w, uint32_t writer, uint32_t number) {
  witness_of(w, writer, number)->state = SENT;
}

void witness_told(witness *w, uint32_t writer, uint32_t number, int status, int64_t position) {
  fate *f = witness_of(w, writer, number);
  f->state = status == MF_OK ? ACKNOWLEDGED : FAILED;
  f->position = position;
  f->moment = journal_length();
}

void witness_free(witness *w) {
  for (int i = 0; i < WRITERS_MAX; i++)
    free(w->writers[i].fates);
  memset(w, 0, sizeof *w);
}
