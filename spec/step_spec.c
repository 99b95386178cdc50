/*
 * Specs of work in slices and of subscriptions (runtime.h). Prints TAP. Also built under
 * ThreadSanitizer.
 */
#include "check.h"
#include "runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char counter[] =
    "return {\n"
    "  category = 'counter', initial_state = { n = 0 },\n"
    "  evolve = { Counted = function(state, event)\n"
    "    print 'folded'\n"
    "    if event.data == 13 then error 'thirteen' end\n"
    "    state.n = state.n + 1\n"
    "  end },\n"
    "  decide = { Count = function() return { type = 'Counted', data = 1 } end },\n"
    "}\n";

static int folded; /* how often evolve ran */

static void count_line(void *context, const mf_log_line *line) {
  (void)context;
  folded += strcmp(line->text, "folded") == 0;
}

static mf_store *new_store(void) {
  mf_store *store;
  mf_error error;
  if (mf_open(":memory:", NULL, &store, &error) == MF_OK) return store;
  fprintf(stderr, "%s\n", error.message);
  exit(2);
}

static mf_runtime *new_runtime(mf_store *store) {
  mf_runtime_options options = {.size = sizeof options, .values = true, .log = count_line};
  mf_runtime *runtime;
  mf_error error;
  if (mf_runtime_new(store, &options, &runtime, &error) == MF_OK &&
      mf_load_string(runtime, "counter.lua", counter, sizeof counter - 1, NULL, &error) == MF_OK)
    return runtime;
  fprintf(stderr, "%s\n", error.message);
  exit(2);
}

static void append(mf_store *store, const char *stream, const char *type, int count, uint8_t data) {
  for (int i = 0; i < count; i++) {
    mf_new_event event = {.type = {type, strlen(type)}, .data = {&data, 1}};
    mf_append_to_stream(store, (mf_bytes){stream, strlen(stream)}, &event, 1, NULL, NULL, NULL);
  }
}

/* ---- folds ---- */

static void folds_in_slices(void) {
  mf_store *store = new_store();
  mf_runtime *runtime = new_runtime(store);
  mf_error error;
  append(store, "counter-1", "Counted", 100, 1);
  folded = 0;
  check(mf_step(runtime, 1000, &error) == MF_DONE && folded == 0,
        "where nothing is asked for, a step has nothing to do");
  int fine = mf_warm(runtime, "counter-1", &error) == MF_OK &&
             mf_warm(runtime, "counter-1", &error) == MF_OK;
  check(fine && folded == 0, "asking for a fold does nothing yet, and asking twice is asking once");
  int steps = 0;
  for (int status = MF_OK; status == MF_OK; steps++) {
    int before = folded;
    status = mf_step(runtime, 0, &error);
    fine = fine && (status == MF_OK || status == MF_DONE) && folded - before <= 1;
  }
  check(fine && folded == 100 && steps == 100,
        "without time a step folds one event, and no event twice");
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  command.type = "Count";
  fine = mf_handle(runtime, "counter-1", &command, &result, &error) == MF_OK && folded == 101 &&
         mf_value_integer(mf_value_field(result.state_value, "n"), 0) == 101;
  mf_result_free(&result);
  check(fine, "afterwards a command folds what it decides, and nothing else");
  append(store, "counter-2", "Counted", 50, 1);
  mf_warm(runtime, "counter-2", &error);
  check(mf_step(runtime, 10000000, &error) == MF_DONE && folded == 151,
        "with time enough one step does it all");
  mf_runtime_free(runtime);
  mf_close(store);
}

static void folds_that_fail(void) {
  mf_store *store = new_store();
  mf_runtime *runtime = new_runtime(store);
  mf_error error;
  append(store, "counter-1", "Counted", 3, 1);
  append(store, "counter-1", "Counted", 1, 13);
  append(store, "counter-2", "Counted", 1, 1);
  check(mf_warm(runtime, "nobody-1", &error) == MF_INVALID_ARGUMENT,
        "a stream that nobody owns is refused");
  mf_warm(runtime, "counter-1", &error);
  mf_warm(runtime, "counter-2", &error);
  folded = 0;
  int fine =
      mf_step(runtime, 10000000, &error) == MF_SCRIPT_ERROR && strstr(error.message, "thirteen");
  check(fine && mf_step(runtime, 10000000, &error) == MF_DONE && folded == 5,
        "a fold that fails is told and given up, and the next goes on");
  mf_warm(runtime, "counter-1", &error);
  mf_runtime_free(runtime); /* with a fold that was not done */
  mf_close(store);
}

/* ---- subscriptions ---- */

typedef struct seen {
  int count;
  int64_t last;
  bool ordered;
  int answer; /* what the callback returns, when it is not MF_OK, once `stop` events were seen */
  int stop;
} seen;

static int see(void *context, const mf_event *event) {
  seen *s = context;
  if (s->answer && s->count == s->stop) return s->answer;
  s->ordered = s->ordered && event->position > s->last;
  s->last = event->position;
  s->count++;
  return MF_OK;
}

static void polls(void) {
  mf_store *store = new_store();
  mf_subscription *all, *some, *later;
  mf_event event;
  mf_error error;
  mf_bytes types[] = {{"Other", 5}};
  mf_subscription_options options = {
      .size = sizeof options, .types = types, .type_count = 1, .prefix = {"a-", 2}};
  mf_subscription_options end = {.size = sizeof end, .after = MF_LAST};
  append(store, "a-1", "Counted", 2, 1);
  append(store, "a-1", "Other", 1, 1);
  append(store, "b-1", "Other", 1, 1);
  int fine = mf_subscribe(store, NULL, &all, &error) == MF_OK &&
             mf_subscribe(store, &options, &some, &error) == MF_OK &&
             mf_subscribe(store, &end, &later, &error) == MF_OK;
  for (int64_t i = 1; i <= 4; i++)
    fine = fine && mf_subscription_next(all, &event, &error) == MF_OK && event.position == i &&
           mf_subscription_position(all) == i;
  check(fine && mf_subscription_next(all, &event, &error) == MF_DONE,
        "events come in the order of the log, until there are no more");
  check(mf_subscription_next(some, &event, &error) == MF_OK && event.position == 3 &&
            mf_subscription_next(some, &event, &error) == MF_DONE &&
            mf_subscription_position(some) == 4,
        "types and a prefix choose among them, and what is passed over counts as seen");
  check(mf_subscription_next(later, &event, &error) == MF_DONE &&
            mf_subscription_position(later) == 4,
        "who begins at the end gets nothing old");
  append(store, "a-2", "Other", 1, 1);
  check(mf_subscription_next(all, &event, &error) == MF_OK && event.position == 5 &&
            mf_subscription_next(some, &event, &error) == MF_OK && event.position == 5 &&
            mf_subscription_next(later, &event, &error) == MF_OK && event.position == 5 &&
            event.stream.size == 3 && memcmp(event.stream.data, "a-2", 3) == 0,
        "all get what is appended later");
  mf_subscription_free(all);
  mf_subscription_options behind = {.size = sizeof behind, .after = 3};
  mf_subscribe(store, &behind, &all, &error);
  check(mf_subscription_next(all, &event, &error) == MF_OK && event.position == 4,
        "a position is gone on behind");
  mf_subscription_free(all);
  mf_subscription_free(some);
  mf_subscription_free(later);
  mf_subscription_free(NULL);
  mf_close(store);
}

static void delivers(void) {
  mf_store *store = new_store();
  mf_runtime *runtime = new_runtime(store);
  mf_subscription *subscription, *other;
  mf_error error;
  seen s = {.ordered = true}, t = {.ordered = true};
  mf_subscription_options options = {
      .size = sizeof options, .runtime = runtime, .deliver = see, .context = &s};
  append(store, "a-1", "Counted", 10, 1);
  mf_subscribe(store, &options, &subscription, &error);
  int fine = 1;
  for (int i = 1; i <= 10; i++)
    fine = fine && mf_step(runtime, 0, &error) == MF_OK && s.count == i;
  check(fine && mf_step(runtime, 0, &error) == MF_DONE && s.ordered,
        "without time a step hands out one event");
  options.context = &t;
  mf_subscribe(store, &options, &other, &error);
  append(store, "a-1", "Counted", 5, 1);
  check(mf_step(runtime, 10000000, &error) == MF_DONE && s.count == 15 && t.count == 15,
        "every subscription gets every event");
  t.answer = MF_BUSY;
  t.stop = 16;
  append(store, "a-1", "Counted", 3, 1);
  fine = mf_step(runtime, 10000000, &error) == MF_BUSY && t.count == 16;
  t.answer = 0;
  check(fine && mf_step(runtime, 10000000, &error) == MF_DONE && t.count == 18 && t.ordered &&
            s.count == 18,
        "what a callback could not take comes back, and again");
  mf_subscription_free(subscription);
  append(store, "a-1", "Counted", 1, 1);
  check(mf_step(runtime, 10000000, &error) == MF_DONE && s.count == 18 && t.count == 19,
        "a subscription that was freed is not served");
  mf_subscription_free(other);
  mf_runtime_free(runtime);
  mf_close(store);
}

/* ---- another thread writes ---- */

enum { EVENTS = 300 };

static void *write_events(void *store) {
  append(store, "a-1", "Counted", EVENTS, 1);
  return NULL;
}

static void follows_others(void) {
  mf_store *store = new_store();
  mf_subscription *subscription;
  mf_event event;
  mf_error error;
  pthread_t thread;
  int64_t next = 1;
  mf_subscribe(store, NULL, &subscription, &error);
  pthread_create(&thread, NULL, write_events, store);
  while (next <= EVENTS) {
    int status = mf_subscription_next(subscription, &event, &error);
    if (status == MF_DONE) status = mf_wait(store, next, NULL, NULL, &error) < 0 ? -1 : MF_DONE;
    if (status < 0 || (status == MF_OK && event.position != next++)) break;
  }
  pthread_join(thread, NULL);
  check(next == EVENTS + 1, "what another thread appends is seen, without a gap");
  mf_subscription_free(subscription);
  mf_close(store);
}

int main(void) {
  folds_in_slices();
  folds_that_fail();
  polls();
  delivers();
  follows_others();
  printf("1..%d\n", number);
  return failures > 0;
}
