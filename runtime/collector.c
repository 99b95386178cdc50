/*
 * When the garbage of a sandbox is collected. What a collection takes depends on all that the
 * sandbox holds, on states that are kept for other streams, too: that is no fault of the script
 * whose call it falls into, nor may a script get much more time for itself by making its states
 * large. So we collect before Lua does, at points where we can look at the clock, and what it took
 * is not charged, up to a part of the call's own time. Lua's collector stays on behind that, for
 * what makes much garbage in one go.
 *
 * What is young is collected when a share of what there is was added. All of it is collected, which
 * a large state makes long, when about as much was added as was left of the last time: in a call
 * only if that fits into what the call may have for it, and else when the call is over.
 */
#include "library.h"

enum {
  YOUNG = 128 << 10, /* bytes: more garbage than that leaves the processor's caches */
  USUAL = 20,        /* percent that are added until what is young is collected; at least one */
  LUAS_YOUNG = 100,  /* the same for Lua's collector, */
  LUAS_FULL = 1000,  /* and until it collects everything */
  PER_BYTE = 4,      /* nanoseconds that a byte may take in a full collection, on a slow machine */
};

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Everything was collected: when it will be again. About half of what memory is left is for the
 * next call. */
static void note_full(mfr_sandbox *sandbox) {
  size_t used = mfr_pool_used(sandbox->pool), memory = sandbox->limits.memory;
  size_t room = memory > used ? (memory - used) / 2 : 0;
  sandbox->full_at = used + least(used, room > used / 16 ? room : used / 16);
}

/* How much is added until what is young is collected again: the more, the less of it was garbage
 * this time. A state that grows is gone through each time. */
static void pace(mfr_sandbox *sandbox, size_t before) {
  size_t used = mfr_pool_used(sandbox->pool), added = before - least(sandbox->remains, before);
  bool grows = before - least(used, before) < added / 2;
  sandbox->young = grows ? sandbox->young * 2 : sandbox->young / 2;
}

static void note(mfr_sandbox *sandbox) {
  size_t used = mfr_pool_used(sandbox->pool);
  size_t share = least(used / 100 * USUAL, YOUNG);
  if (share < used / 100) share = used / 100;
  if (sandbox->young < share) sandbox->young = share;
  sandbox->young = least(sandbox->young, used / 2);
  sandbox->remains = used;
  sandbox->young_at = used + sandbox->young;
  sandbox->due = false;
  mfr_pool_mark(sandbox->pool, sandbox->young_at);
}

static void collect(mfr_sandbox *sandbox, bool all) {
  size_t before = mfr_pool_used(sandbox->pool);
  lua_gc(sandbox->S, all ? LUA_GCCOLLECT : LUA_GCSTEP, 0);
  if (all)
    note_full(sandbox);
  else
    pace(sandbox, before);
  note(sandbox);
}

void mfr_collector_open(mfr_sandbox *sandbox) {
  lua_gc(sandbox->S, LUA_GCGEN, LUAS_YOUNG, LUAS_FULL);
  collect(sandbox, true);
}

void mfr_collector_start(mfr_sandbox *sandbox) {
  sandbox->due = false;
  mfr_pool_mark(sandbox->pool, sandbox->young_at);
}

void mfr_collector_stop(mfr_sandbox *sandbox) {
  size_t used = mfr_pool_used(sandbox->pool);
  if (used >= sandbox->full_at)
    collect(sandbox, true);
  else if (used >= sandbox->young_at)
    collect(sandbox, false);
}

void mfr_collect_due(mfr_sandbox *sandbox) {
  size_t used = mfr_pool_used(sandbox->pool);
  int64_t start = mfr_meter_clock();
  collect(sandbox,
          used >= sandbox->full_at && mfr_meter_affords(sandbox, (int64_t)used * PER_BYTE));
  mfr_meter_collected(sandbox, mfr_meter_clock() - start);
}

void mfr_sandbox_collect(const mfr_state *state) {
  mfr_sandbox *sandbox = state->sandbox;
  int64_t start = mfr_meter_clock();
  collect(sandbox, true);
  mfr_meter_given(sandbox, mfr_meter_clock() - start);
}
