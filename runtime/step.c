/*
 * Work in slices, for hosts that draw frames: long folds, and events for subscribers. Everything
 * that is done here stops after an event, because the deadline stands in the call.
 */
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int64_t mfr_monotonic(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- what there is to do ---- */

void mfr_free_steps(mfr_steps *steps) {
  for (size_t i = 0; i < steps->count; i++)
    free(steps->streams[i]);
  free(steps->streams);
}

/* At the end, so that the oldest is served first. */
void mfr_add_subscription(mfr_steps *steps, mf_subscription *subscription) {
  mf_subscription **at = &steps->subscriptions;
  while (*at)
    at = mfr_subscription_next(*at);
  *mfr_subscription_next(subscription) = NULL;
  *at = subscription;
}

void mfr_remove_subscription(mfr_steps *steps, mf_subscription *subscription) {
  mf_subscription **at = &steps->subscriptions;
  while (*at && *at != subscription)
    at = mfr_subscription_next(*at);
  if (*at) *at = *mfr_subscription_next(subscription);
}

static int no_memory(mf_error *error) {
  if (error) *error = (mf_error){MF_NO_MEMORY, 0, SIZE_MAX, "no memory to ask for a fold"};
  return MF_NO_MEMORY;
}

static int add_stream(mfr_steps *steps, const char *stream, mf_error *error) {
  for (size_t i = 0; i < steps->count; i++)
    if (strcmp(steps->streams[i], stream) == 0) return MF_OK;
  char **more = realloc(steps->streams, (steps->count + 1) * sizeof *more);
  if (!more) return no_memory(error);
  steps->streams = more;
  more[steps->count] = strdup(stream);
  if (!more[steps->count]) return no_memory(error);
  steps->count++;
  return MF_OK;
}

int mf_warm(mf_runtime *runtime, const char *stream, mf_error *error) {
  int status = mfr_check_owner(runtime, stream, error);
  return status == MF_OK ? add_stream(mfr_runtime_steps(runtime), stream, error) : status;
}

/* ---- doing it ---- */

static void first_is_done(mfr_steps *steps) {
  free(steps->streams[0]);
  steps->count--;
  memmove(steps->streams, steps->streams + 1, steps->count * sizeof *steps->streams);
  steps->reached = 0;
  steps->restarts = 0;
}

/* Folds the first stream that was asked for until the deadline. */
static int fold_some(mf_runtime *runtime, int64_t deadline, mf_error *error) {
  enum { RESTARTS_MAX = 3 };
  mfr_steps *steps = mfr_runtime_steps(runtime);
  mfr_c_warm warm = {deadline, 0, 0, false};
  int status = mfr_runtime_warm(runtime, steps->streams[0], &warm, error);
  /* A state that other states have driven out of the cache is folded from its beginning: that must
   * not go on for ever. */
  if (warm.start < steps->reached) steps->restarts++;
  steps->reached = warm.version;
  if (status != MF_OK || warm.finished || steps->restarts > RESTARTS_MAX) first_is_done(steps);
  return status;
}

/* Hands out one event, of the subscription that has waited longest; MF_DONE when none has any. */
static int deliver_one(mfr_steps *steps, mf_error *error) {
  for (mf_subscription *s = steps->subscriptions; s; s = *mfr_subscription_next(s)) {
    int status = mfr_subscription_deliver(s, error);
    if (status == MF_DONE) continue;
    mfr_remove_subscription(steps, s);
    mfr_add_subscription(steps, s);
    return status;
  }
  return MF_DONE;
}

int mf_step(mf_runtime *runtime, int64_t max_microseconds, mf_error *error) {
  mfr_steps *steps = mfr_runtime_steps(runtime);
  int64_t deadline = mfr_monotonic() + (max_microseconds > 0 ? max_microseconds : 0);
  do {
    int status = deliver_one(steps, error);
    if (status == MF_DONE && steps->count == 0) return MF_DONE;
    if (status == MF_DONE) status = fold_some(runtime, deadline, error);
    if (status != MF_OK) return status;
  } while (mfr_monotonic() < deadline);
  return steps->count == 0 && !steps->subscriptions ? MF_DONE : MF_OK;
}
