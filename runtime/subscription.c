/*
 * Subscriptions: the log as it goes on. A reader fixes its end when it is opened and holds nothing
 * between calls, so a subscription is a reader, and another one when that has come to its end and
 * the log has not. Asking whether it has costs less than a microsecond.
 */
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

struct mf_subscription {
  mf_subscription *next; /* of the runtime that delivers */
  mf_runtime *runtime;
  mf_store *store;
  mf_reader *reader; /* NULL: nothing was left when it was last asked */
  int64_t position;  /* up to here everything was handed out, or not asked for */
  size_t type_count;
  mf_bytes *types, prefix;
  int (*deliver)(void *context, const mf_event *event);
  void *context;
};

static int no_memory(mf_error *error) {
  if (error) *error = (mf_error){MF_NO_MEMORY, 0, SIZE_MAX, "no memory for a subscription"};
  return MF_NO_MEMORY;
}

static bool copy_text(mf_bytes *to, mf_bytes from) {
  if (!from.data) return true;
  char *copy = malloc(from.size + 1);
  if (!copy) return false;
  if (from.size) memcpy(copy, from.data, from.size);
  *to = (mf_bytes){copy, from.size};
  return true;
}

static bool copy_options(mf_subscription *s, const mf_subscription_options *options) {
  s->deliver = options->deliver;
  s->context = options->context;
  if (!copy_text(&s->prefix, options->prefix)) return false;
  if (!options->types) return true;
  s->types = calloc(options->type_count + 1, sizeof *s->types);
  for (; s->types && s->type_count < options->type_count; s->type_count++)
    if (!copy_text(&s->types[s->type_count], options->types[s->type_count])) return false;
  return s->types != NULL;
}

int mf_subscribe(mf_store *store, const mf_subscription_options *given, mf_subscription **out,
                 mf_error *error) {
  mf_subscription_options options = {.size = sizeof options};
  int64_t last;
  *out = NULL;
  if (given && given->size <= sizeof options) memcpy(&options, given, given->size);
  int status = mf_last_position(store, NULL, &last, error); /* tells of a closed store, too */
  if (status != MF_OK) return status;
  mf_subscription *s = calloc(1, sizeof *s);
  if (!s) return no_memory(error);
  s->store = store;
  s->position = options.after == MF_LAST ? last : options.after;
  if (!copy_options(s, &options)) {
    mf_subscription_free(s);
    return no_memory(error);
  }
  s->runtime = options.runtime;
  if (s->runtime) mfr_add_subscription(mfr_runtime_steps(s->runtime), s);
  *out = s;
  return MF_OK;
}

mf_subscription **mfr_subscription_next(mf_subscription *s) {
  return &s->next;
}

void mf_subscription_free(mf_subscription *s) {
  if (!s) return;
  if (s->runtime) mfr_remove_subscription(mfr_runtime_steps(s->runtime), s);
  mf_reader_close(s->reader);
  for (size_t i = 0; i < s->type_count; i++)
    free((void *)(uintptr_t)s->types[i].data);
  free(s->types);
  free((void *)(uintptr_t)s->prefix.data);
  free(s);
}

int64_t mf_subscription_position(const mf_subscription *s) {
  return s->position;
}

/* MF_DONE: nothing has been appended since. */
static int open_reader(mf_subscription *s, mf_error *error) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  int64_t last;
  int status = mf_last_position(s->store, NULL, &last, error);
  if (status != MF_OK) return status;
  if (last <= s->position) return MF_DONE;
  options.from = s->position + 1;
  options.types = s->types;
  options.type_count = s->type_count;
  return mf_reader_open(s->store, NULL, &options, &s->reader, error);
}

static bool is_wanted(const mf_subscription *s, const mf_event *event) {
  return event->stream.size >= s->prefix.size &&
         (s->prefix.size == 0 || memcmp(event->stream.data, s->prefix.data, s->prefix.size) == 0);
}

/* The next event of the reader that is wanted; MF_DONE at its end, and then it is closed. */
static int read_on(mf_subscription *s, mf_event *event, mf_error *error) {
  int status;
  while ((status = mf_reader_next(s->reader, event, error)) == MF_OK && !is_wanted(s, event))
    s->position = event->position;
  if (status == MF_OK) return status;
  if (status == MF_DONE && mf_reader_version(s->reader) > s->position)
    s->position = mf_reader_version(s->reader); /* what follows was not asked for */
  mf_reader_close(s->reader);
  s->reader = NULL;
  return status;
}

/* The next event, which is not counted as handed out yet. */
static int peek(mf_subscription *s, mf_event *event, mf_error *error) {
  for (;;) {
    if (!s->reader) {
      int status = open_reader(s, error);
      if (status != MF_OK) return status;
    }
    int status = read_on(s, event, error);
    if (status != MF_DONE) return status;
  }
}

int mf_subscription_next(mf_subscription *s, mf_event *event, mf_error *error) {
  int status = peek(s, event, error);
  if (status == MF_OK) s->position = event->position;
  return status;
}

int mfr_subscription_deliver(mf_subscription *s, mf_error *error) {
  mf_event event;
  int status = peek(s, &event, error);
  if (status != MF_OK || !s->deliver) return status;
  status = s->deliver(s->context, &event);
  if (status == MF_OK)
    s->position = event.position;
  else { /* it comes again */
    mf_reader_close(s->reader);
    s->reader = NULL;
    if (error && status < 0) {
      *error = (mf_error){status, 0, SIZE_MAX, ""};
      snprintf(error->message, sizeof error->message, "a subscriber failed: %s",
               mf_strerror(status));
    }
  }
  return status;
}
