/*
 * Whether a history could be that of one log. Each call is known with the time at which it began
 * and ended, and with what it returned. The history is linearizable (Herlihy and Wing) when every
 * call can be given a moment between the two so that, in the order of these moments, each returned
 * what was true.
 *
 * Appends tell their positions, and so their order. What remains to be found is a moment for each,
 * none before that of an earlier one. A call that saw n events of a stream, or of the log, was made
 * after the append that brought the nth and before the one that brought the next: it bounds the
 * moments of these two, and of the appends themselves each has bounds of its own. There are such
 * moments exactly when no append must come later than one behind it may.
 */
#include "faults.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct order {
  const call *calls;
  size_t count, append_count;
  const call **appends;                /* by position, from 1 */
  int64_t *earliest, *latest;          /* of each append's moment */
  size_t *places[HISTORY_STREAMS + 1]; /* of each event of a stream, and of the log: the append that
                                    brought it */
  int64_t lengths[HISTORY_STREAMS + 1];
  char *why;
  size_t size;
} order;

static bool wrong(order *o, const call *c, const char *what) {
  snprintf(o->why, o->size,
           "a call on stream %d (status %d, version %" PRId64 ", position %" PRId64 "): %s",
           c->stream, c->status, c->version, c->position, what);
  return false;
}

static int by_position(const void *a, const void *b) {
  int64_t p = (*(const call *const *)a)->position, q = (*(const call *const *)b)->position;
  return (p > q) - (p < q);
}

static void sort_appends(order *o) {
  int64_t events = 0;
  o->appends = sure_realloc(NULL, (o->count + 2) * sizeof *o->appends);
  for (size_t i = 0; i < o->count; i++)
    if (o->calls[i].kind == CALL_APPEND && o->calls[i].status == MF_OK) {
      o->appends[++o->append_count] = &o->calls[i];
      events += o->calls[i].events;
    }
  qsort(o->appends + 1, o->append_count, sizeof *o->appends, by_position);
  for (int s = 0; s <= HISTORY_STREAMS; s++)
    o->places[s] = sure_realloc(NULL, ((size_t)events + 1) * sizeof **o->places);
}

/* Positions and versions are those that follow from the order. */
static bool counts_right(order *o) {
  for (size_t i = 1; i <= o->append_count; i++) {
    const call *c = o->appends[i];
    int64_t before = o->lengths[c->stream];
    for (int64_t n = 0; n < c->events; n++) {
      o->places[c->stream][++o->lengths[c->stream]] = i;
      o->places[HISTORY_LOG][++o->lengths[HISTORY_LOG]] = i;
    }
    if (c->position != o->lengths[HISTORY_LOG])
      return wrong(o, c, "its positions were given twice, or some before were not given at all");
    if (c->version != o->lengths[c->stream])
      return wrong(o, c, "its stream had another version at this position");
    if (c->expected >= 0 && c->expected != before)
      return wrong(o, c, "it expected another version, and was not refused");
  }
  return true;
}

static void bound(order *o, size_t append, int64_t earliest, int64_t latest) {
  if (append < 1 || append > o->append_count) return;
  if (earliest > o->earliest[append]) o->earliest[append] = earliest;
  if (latest < o->latest[append]) o->latest[append] = latest;
}

/* The appends between which the log may stand for who sees so many events: behind `first`, up to
 * `last`. */
static bool narrow(order *o, int32_t stream, int64_t seen, size_t *first, size_t *last) {
  if (seen < 0 || seen > o->lengths[stream]) return false;
  size_t from = seen > 0 ? o->places[stream][seen] : 0;
  size_t to = seen < o->lengths[stream] ? o->places[stream][seen + 1] - 1 : o->append_count;
  if (from > *first) *first = from;
  if (to < *last) *last = to;
  return *first <= *last;
}

static bool sees(order *o, const call *c) {
  size_t first = 0, last = o->append_count;
  bool whole = c->kind == CALL_LOG || narrow(o, c->stream, c->version, &first, &last);
  if (c->kind != CALL_VERSION && c->kind != CALL_APPEND)
    whole = whole && narrow(o, HISTORY_LOG, c->position, &first, &last);
  if (!whole) return wrong(o, c, "it saw what never was, or a part of an append");
  bound(o, first, INT64_MIN, c->ended);
  bound(o, last + 1, c->began, INT64_MAX);
  return true;
}

static bool bounds_of(order *o) {
  for (size_t i = 0; i < o->count; i++) {
    const call *c = &o->calls[i];
    if (c->kind == CALL_APPEND && c->status == MF_OK) continue;
    if (c->kind == CALL_APPEND
            ? c->status != MF_VERSION_CONFLICT || c->expected < 0 || c->version == c->expected
            : c->status != MF_OK)
      return wrong(o, c, "it failed, and had no reason to");
    if (!sees(o, c)) return false;
  }
  return true;
}

static bool has_moments(order *o) {
  int64_t earliest = INT64_MIN;
  for (size_t i = 1; i <= o->append_count; i++) {
    if (o->earliest[i] > earliest) earliest = o->earliest[i];
    if (earliest > o->latest[i])
      return wrong(o, o->appends[i],
                   "somebody saw it, or what came behind it, before it was there, or did not see "
                   "it when it had been");
  }
  return true;
}

bool history_holds(const call *calls, size_t count, char *why, size_t size) {
  order o = {.calls = calls, .count = count, .why = why, .size = size};
  sort_appends(&o);
  bool fine = counts_right(&o);
  o.earliest = sure_realloc(NULL, (count + 2) * sizeof *o.earliest);
  o.latest = sure_realloc(NULL, (count + 2) * sizeof *o.latest);
  for (size_t i = 1; i <= o.append_count; i++) {
    o.earliest[i] = o.appends[i]->began;
    o.latest[i] = o.appends[i]->ended;
  }
  fine = fine && bounds_of(&o) && has_moments(&o);
  for (int s = 0; s <= HISTORY_STREAMS; s++)
    free(o.places[s]);
  free(o.appends);
  free(o.earliest);
  free(o.latest);
  return fine;
}

/* ---- the checker is checked ---- */

enum { CALLS = 6 };

typedef struct model {
  int64_t versions[HISTORY_STREAMS], length;
} model;

/* Whether the call would have returned this now; does it. */
static bool would(model *m, const call *c) {
  bool conflict =
      c->kind == CALL_APPEND && c->expected >= 0 && c->expected != m->versions[c->stream];
  if (c->kind == CALL_APPEND) {
    if (conflict != (c->status == MF_VERSION_CONFLICT)) return false;
    if (conflict) return c->version == m->versions[c->stream];
    m->length += c->events;
    m->versions[c->stream] += c->events;
    return c->version == m->versions[c->stream] && c->position == m->length;
  }
  return c->status == MF_OK && (c->kind == CALL_LOG || c->version == m->versions[c->stream]) &&
         (c->kind == CALL_VERSION || c->position == m->length);
}

/* Tries every order that the times allow. */
static bool some_order_fits(const call *calls, size_t count, unsigned done, model m) {
  if (done == (1u << count) - 1) return true;
  for (size_t i = 0; i < count; i++) {
    bool next = !(done >> i & 1);
    for (size_t j = 0; next && j < count; j++)
      next = (done >> j & 1) || calls[j].ended >= calls[i].began;
    model after = m;
    if (next && would(&after, &calls[i]) && some_order_fits(calls, count, done | 1u << i, after))
      return true;
  }
  return false;
}

/* A history as it may have been. */
static void dream(chance *c, call *calls) {
  model m = {{0}, 0};
  for (int i = 0; i < CALLS; i++) {
    call *k = &calls[i];
    memset(k, 0, sizeof *k);
    int64_t moment = 10 * i;
    k->began = moment - (int64_t)chance_below(c, 25);
    k->ended = moment + (int64_t)chance_below(c, 25);
    k->kind = (call_kind)(chance_below(c, 2) ? CALL_APPEND : chance_below(c, 4));
    k->stream = (int32_t)chance_below(c, 2);
    k->events = 1 + (int32_t)chance_below(c, 2);
    k->expected = chance_below(c, 3) ? (int64_t)chance_below(c, 4) : MF_NO_CONCURRENCY_CHECK;
    if (k->kind == CALL_APPEND && k->expected >= 0 && k->expected != m.versions[k->stream]) {
      k->status = MF_VERSION_CONFLICT;
    } else if (k->kind == CALL_APPEND) {
      m.versions[k->stream] += k->events;
      m.length += k->events;
    }
    k->version = m.versions[k->stream];
    k->position = m.length;
  }
}

/* Tells a lie about one call, or two. */
static void lie(chance *c, call *calls) {
  call *k = &calls[chance_below(c, CALLS)], *l = &calls[chance_below(c, CALLS)], swap;
  switch (chance_below(c, 5)) {
  case 0:
    k->version += chance_below(c, 2) ? 1 : -1;
    break;
  case 1:
    k->position += chance_below(c, 2) ? 1 : -1;
    break;
  case 2:
    k->began = k->ended = k->began + (int64_t)chance_below(c, 40) - 20;
    break;
  case 3:
    k->status = k->status == MF_OK ? MF_VERSION_CONFLICT : MF_OK;
    break;
  default:
    swap = *k;
    k->began = l->began;
    k->ended = l->ended;
    l->began = swap.began;
    l->ended = swap.ended;
  }
}

static int agrees_with_all_orders(void) {
  char why[256] = "";
  chance c = {seed};
  int held = 0, broken = 0;
  bool fine = true;
  for (int i = 0; fine && i < 20000; i++) {
    call calls[CALLS];
    dream(&c, calls);
    for (uint64_t lies = chance_below(&c, 3); lies > 0; lies--)
      lie(&c, calls);
    bool expected = some_order_fits(calls, CALLS, 0, (model){{0}, 0});
    fine = history_holds(calls, CALLS, why, sizeof why) == expected;
    if (!fine && expected == false) snprintf(why, sizeof why, "it overlooks history %d", i);
    expected ? held++ : broken++;
  }
  int failed = tell(fine && held > 1000 && broken > 1000,
                    "the checker of histories agrees with one that tries every order", why);
  printf("# %d histories hold, %d do not\n", held, broken);
  return failed;
}

#define APPENDED(from, to, s, v, p)                                                                \
  { from, to, -1, v, p, s, MF_OK, 1, CALL_APPEND }
#define SEEN(from, to, s, v)                                                                       \
  { from, to, -1, v, 0, s, MF_OK, 0, CALL_VERSION }
#define LOG_SEEN(from, to, p)                                                                      \
  { from, to, -1, 0, p, 0, MF_OK, 0, CALL_LOG }

static const struct {
  const char *name;
  call calls[4];
} forged[] = {
    {"a read that is older than one before it, while the append goes on",
     {APPENDED(0, 100, 0, 1, 1), SEEN(10, 20, 0, 1), SEEN(30, 40, 0, 0)}},
    {"a read that does not see an append which had ended",
     {APPENDED(0, 10, 0, 1, 1), SEEN(20, 30, 0, 0)}},
    {"a read of what was appended only later", {SEEN(0, 10, 0, 1), APPENDED(20, 30, 0, 1, 1)}},
    {"a lost update: two appends that made the same version",
     {APPENDED(0, 10, 0, 1, 1), APPENDED(5, 15, 0, 1, 2)}},
    {"two appends at the same position", {APPENDED(0, 10, 0, 1, 1), APPENDED(5, 15, 1, 1, 1)}},
    {"a hole in the log", {APPENDED(0, 10, 0, 1, 1), APPENDED(20, 30, 0, 2, 3)}},
    {"positions against the order of versions",
     {APPENDED(0, 30, 0, 1, 2), APPENDED(0, 30, 0, 2, 1)}},
    {"an append that stands before one which had ended when it began",
     {APPENDED(0, 10, 0, 1, 2), APPENDED(20, 30, 1, 1, 1)}},
    {"two streams that two readers see in different orders",
     {APPENDED(0, 100, 0, 1, 1), APPENDED(0, 100, 1, 1, 2), SEEN(10, 20, 1, 1),
      SEEN(30, 40, 0, 0)}},
    {"a log that ends behind what a stream, read later, has not",
     {APPENDED(0, 100, 0, 1, 1), LOG_SEEN(10, 20, 1), SEEN(30, 40, 0, 0)}},
    {"a part of an append", {{0, 100, -1, 2, 2, 0, MF_OK, 2, CALL_APPEND}, SEEN(10, 20, 0, 1)}},
    {"an expectation that was not met",
     {APPENDED(0, 10, 0, 1, 1), {20, 30, 0, 2, 2, 0, MF_OK, 1, CALL_APPEND}}},
    {"a conflict that there was not",
     {APPENDED(0, 10, 0, 1, 1), {20, 30, 1, 1, 0, 0, MF_VERSION_CONFLICT, 1, CALL_APPEND}}},
    {"a stream and the log of one snapshot that are of different moments",
     {APPENDED(0, 100, 0, 1, 1),
      APPENDED(0, 100, 1, 1, 2),
      {0, 100, -1, 0, 1, 0, MF_OK, 0, CALL_SNAPSHOT}}}};

static int finds_forgeries(void) {
  char why[256] = "", told[256];
  for (size_t i = 0; !*why && i < sizeof forged / sizeof *forged; i++) {
    size_t n = 0;
    while (n < 4 && forged[i].calls[n].ended > 0)
      n++;
    if (history_holds(forged[i].calls, n, told, sizeof told))
      snprintf(why, sizeof why, "it overlooks %s", forged[i].name);
  }
  return tell(!*why, "the checker of histories finds forged ones", why);
}

int checker(void) {
  return agrees_with_all_orders() + finds_forgeries();
}
