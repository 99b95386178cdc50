/*
 * The budget of a call into a sandbox. Lua's count hook takes off the instructions that ran;
 * functions of the library charge for what they do in C before they do it; blocks of memory are
 * charged by their size; and the thread's own clock catches what none of them knows of. When the
 * budget is gone every further instruction raises, which no pcall of a script can stop.
 */
#include "library.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum {
  PERIOD = 1000,      /* instructions between hooks */
  FINE_PERIOD = 4,    /* where strings are so long that one instruction may take ten milliseconds */
  COMPARED = 4 << 20, /* bytes of strings that may be compared between hooks */
  CLOCK_EVERY = 2000, /* instructions between looks at the clock */
  BYTES_PER_INSTRUCTION = 16,
  DECODING = 25,  /* nanoseconds that a byte of an event may take, on a slow machine */
  COLLECTING = 3, /* the part of a call's time that is added for collections, at most: a third */
  LOOKED_MOST = 1000 * 1000, /* events that a decision may look at and have credited */
};

/* Sanitizers make everything slower, but not what is meant by a second. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOWER = 5 };
#else
enum { SLOWER = 1 };
#endif

static int64_t thread_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t mfr_meter_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Credits are the host's limits times the events of its store: they may be without end. */
static int64_t more(int64_t a, int64_t b) {
  return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t times(int64_t a, int64_t b) {
  return b > 0 && a > INT64_MAX / b ? INT64_MAX : a * b;
}

/* The thread's clock is a system call, the other is none, and does not go slower. */
static bool time_is_up(mfr_sandbox *sandbox) {
  int64_t now = mfr_meter_clock();
  if (now < sandbox->clock_rests) return false;
  int64_t used = thread_clock();
  if (!sandbox->clocked) { /* reading it costs as much as a short call: most never come here */
    sandbox->clocked = true;
    sandbox->clock_limit = more(sandbox->clock_limit, used);
  }
  int64_t left = sandbox->clock_limit - used;
  if (left < 0) return true;
  sandbox->clock_rests = more(now, left);
  return false;
}

static void on_count(lua_State *L, lua_Debug *frame);

static void set_period(mfr_sandbox *sandbox, int period) {
  sandbox->period = period;
  sandbox->hooked = true;
  lua_sethook(sandbox->S, on_count, LUA_MASKCOUNT, period);
}

/* Comparing two strings is one instruction; of those that are made of NULs a byte takes 9 ns. */
static int period_for(size_t string) {
  size_t most = COMPARED / string;
  return most < FINE_PERIOD ? FINE_PERIOD : most < PERIOD ? (int)most : PERIOD;
}

int mfr_exceeded(lua_State *L, const char *format, ...) {
  char message[256];
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  sandbox->spent = true;
  set_period(sandbox, 1);
  mfr_push_error(L, sandbox->state, MF_BUDGET_EXCEEDED, "%s", message);
  return lua_error(L);
}

static void check_clock(lua_State *L, mfr_sandbox *sandbox) {
  sandbox->unclocked = 0;
  if (time_is_up(sandbox))
    mfr_exceeded(L,
                 "the script took more than its time (%lld ms): is there a loop that never ends?",
                 (long long)sandbox->limits.cpu_microseconds / 1000);
}

void mfr_charge(lua_State *L, int64_t instructions) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  if (!sandbox->running) return;
  if (sandbox->spent || instructions > sandbox->left) {
    sandbox->left = 0;
    mfr_exceeded(L,
                 "the script ran more than its budget of %lld instructions: is there a loop that "
                 "never ends?",
                 (long long)sandbox->limits.instructions);
  }
  sandbox->left -= instructions;
  sandbox->unclocked += instructions;
  if (sandbox->unclocked >= CLOCK_EVERY) check_clock(L, sandbox);
}

void mfr_charge_bytes(lua_State *L, size_t bytes) {
  mfr_charge(L, (int64_t)(bytes / BYTES_PER_INSTRUCTION));
}

void mfr_charge_items(lua_State *L, int64_t number) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  if (sandbox->running && sandbox->metatables && (number & 63) == 0) check_clock(L, sandbox);
}

void mfr_charge_time(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  if (sandbox->running) check_clock(L, sandbox);
}

void mfr_charge_unknown(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  if (sandbox->running && mfr_pool_used(sandbox->pool) > MFR_LARGE_STATE) check_clock(L, sandbox);
}

static void on_count(lua_State *L, lua_Debug *frame) {
  (void)frame;
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  if (sandbox->period < PERIOD) sandbox->unclocked = CLOCK_EVERY;
  mfr_charge(L, sandbox->period);
  if (sandbox->due) mfr_collect_due(sandbox);
}

/* The next instruction raises when the budget is gone: the allocator cannot. */
static void on_large_block(mfr_sandbox *sandbox, size_t size, bool is_string) {
  if (size > MFR_POOL_LARGE) sandbox->left -= (int64_t)(size / BYTES_PER_INSTRUCTION);
  int period = is_string ? period_for(size) : PERIOD;
  if (sandbox->left < 0) /* the next instruction raises */
    set_period(sandbox, 1);
  else if (period < sandbox->period)
    set_period(sandbox, period);
}

void mfr_meter_given(mfr_sandbox *sandbox, int64_t time) {
  sandbox->clock_limit = more(sandbox->clock_limit, time);
}

static void add_time(mfr_sandbox *sandbox, int64_t time) {
  mfr_meter_given(sandbox, time);
  sandbox->collecting = more(sandbox->collecting, time / COLLECTING);
}

bool mfr_meter_affords(const mfr_sandbox *sandbox, int64_t time) {
  return times(time, SLOWER) <= sandbox->collecting;
}

void mfr_meter_collected(mfr_sandbox *sandbox, int64_t time) {
  if (time > sandbox->collecting) time = sandbox->collecting;
  sandbox->collecting -= time;
  mfr_meter_given(sandbox, time);
}

/* Called by the allocator. */
static void on_memory(void *context, mfr_pool_sight sight, size_t size) {
  mfr_sandbox *sandbox = context;
  if (!sandbox->running) return;
  if (sight == MFR_POOL_MARKED)
    sandbox->due = true;
  else if (sight == MFR_POOL_REFUSED)
    sandbox->refused_at = mfr_meter_clock();
  else if (sight == MFR_POOL_RETRIED)
    mfr_meter_collected(sandbox, mfr_meter_clock() - sandbox->refused_at);
  else
    on_large_block(sandbox, size, sight == MFR_POOL_STRING);
}

void mfr_meter_start(mfr_sandbox *sandbox) {
  const mfr_limits *limits = &sandbox->limits;
  sandbox->running = true;
  sandbox->spent = sandbox->starved = false;
  sandbox->raised = 0;
  sandbox->left = limits->instructions;
  sandbox->unclocked = 0;
  sandbox->clocked = false;
  sandbox->clock_limit = sandbox->collecting = 0;
  add_time(sandbox, times(limits->cpu_microseconds, 1000 * SLOWER));
  sandbox->clock_rests = 0;
  /* As many nanoseconds for an instruction as the call has for its own. */
  double per_event = (double)limits->cpu_microseconds * 1000 * SLOWER *
                     (double)limits->instructions_per_event / (double)limits->instructions;
  sandbox->clock_per_event = per_event < 0x1p62 ? (int64_t)per_event : INT64_MAX;
  sandbox->looked = 0;
  sandbox->pcalls = 0;
  sandbox->impure = NULL;
  sandbox->requiring = NULL;
  sandbox->call = ++sandbox->calls;
  mfr_pool_forgive(sandbox->pool);
  mfr_pool_limit(sandbox->pool, limits->memory, MFR_STRING_MAX);
  mfr_pool_watch(sandbox->pool, on_memory, sandbox);
  mfr_collector_start(sandbox);
  set_period(sandbox, period_for(mfr_pool_longest(sandbox->pool)));
}

/* What is done after a call, such as making its error object, is not measured. */
void mfr_meter_stop(mfr_sandbox *sandbox) {
  sandbox->running = false;
  lua_sethook(sandbox->S, NULL, 0, 0);
  mfr_pool_watch(sandbox->pool, NULL, NULL);
  mfr_pool_limit(sandbox->pool, 0, 0);
}

void mfr_sandbox_credit(lua_State *L, const mfr_state *state, const mf_event *event,
                        mfr_looking looking) {
  mfr_sandbox *sandbox = state->sandbox;
  if (!sandbox || !sandbox->running) return;
  if (sandbox->due) mfr_collect_due(sandbox);
  if (looking) {
    sandbox->looked++;
    if (looking == MFR_LOOKS_AGAIN || sandbox->looked > LOOKED_MOST) {
      mfr_charge(L, 100); /* what decoding it takes */
      return;
    }
  }
  int64_t decoding = (int64_t)(event->data.size + event->metadata.size) * DECODING * SLOWER;
  sandbox->left = more(sandbox->left, sandbox->limits.instructions_per_event);
  add_time(sandbox, more(decoding, sandbox->clock_per_event));
}

/*
 * A function without loops and calls is bounded by its own length. It runs without the hook, unless
 * that would come anyway (strings are long) or an instruction may call (metatables).
 */
static void unhook(lua_State *L, const mfr_state *state, int instructions) {
  mfr_sandbox *sandbox = state->sandbox;
  if (instructions == 0 || sandbox->metatables || instructions > sandbox->period) {
    mfr_sandbox_leave(state);
    return;
  }
  if (sandbox->period < PERIOD) sandbox->unclocked = CLOCK_EVERY;
  mfr_charge(L, instructions);
  if (!sandbox->hooked) return;
  sandbox->hooked = false;
  lua_sethook(L, NULL, 0, 0);
}

int64_t mfr_sandbox_enter(lua_State *L, const mfr_state *state, int instructions) {
  mfr_sandbox *sandbox = state->sandbox;
  if (sandbox->due) mfr_collect_due(sandbox);
  int64_t outer = sandbox->call;
  unhook(L, state, instructions);
  sandbox->call = ++sandbox->calls;
  return outer;
}

void mfr_sandbox_return(const mfr_state *state, int64_t outer) {
  state->sandbox->call = outer;
}

void mfr_sandbox_leave(const mfr_state *state) {
  mfr_sandbox *sandbox = state->sandbox;
  if (sandbox->running && !sandbox->hooked) set_period(sandbox, sandbox->period);
}

void mfr_sandbox_charge(lua_State *L, const mfr_state *state, int64_t instructions) {
  if (state->sandbox) mfr_charge(L, instructions);
}

size_t mfr_sandbox_used(const mfr_state *state) {
  return state->sandbox ? mfr_pool_used(state->sandbox->pool) : 0;
}
