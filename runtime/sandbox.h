/*
 * A sandbox: a Lua state of its own for domain scripts, with an allow-listed environment, a meter
 * and a limit of memory. The module is open in it (see luaopen_moonfold()), so that the C functions
 * of the runtime run in it as they do in the host's state; scripts see only its pure part.
 *
 * One thread at a time uses a sandbox. Nothing here raises, but for what is called from inside
 * mfr_sandbox_call().
 */
#ifndef MF_RUNTIME_SANDBOX_H
#define MF_RUNTIME_SANDBOX_H

#include "internal.h"
#include "pool.h"

typedef struct mfr_sandbox mfr_sandbox;

/* What one call of mfr_sandbox_call() or mfr_sandbox_load() may use. 0 stands for the default. */
typedef struct mfr_limits {
  int64_t instructions;           /* of Lua's machine; bulk work in C is charged as such */
  int64_t instructions_per_event; /* more for each event that is folded; mfr_sandbox_credit() */
  size_t memory;                  /* bytes that the state holds at most */
  int64_t cpu_microseconds;       /* of the thread: a backstop, which grows with the events as the
                                     instructions do */
} mfr_limits;

#define MFR_LIMITS_DEFAULT                                                                         \
  { 10 * 1000 * 1000, 2000, (size_t)64 << 20, 60 * 1000 }

/* NULL limits: the defaults; NULL allocator: malloc. NULL result: no memory. */
mfr_sandbox *mfr_sandbox_new(const mfr_limits *limits, const mfr_allocator *allocator);
void mfr_sandbox_free(mfr_sandbox *sandbox); /* NULL is fine */
lua_State *mfr_sandbox_lua(mfr_sandbox *sandbox);
mfr_state *mfr_sandbox_state(mfr_sandbox *sandbox);
/* An error object with this status was made: see settle_error(). */
void mfr_sandbox_raised(mfr_sandbox *sandbox, int status);
void mfr_sandbox_set_limits(mfr_sandbox *sandbox, const mfr_limits *limits);

/* Where `print` of scripts goes, without a newline; NULL, the default: nowhere. The text is
 * borrowed. The callback may look at mfr_sandbox_call()'s work, and must not use the state. */
typedef void mfr_sandbox_logger(void *context, const char *text, size_t size);
void mfr_sandbox_set_log(mfr_sandbox *sandbox, mfr_sandbox_logger *logger, void *context);

/* A script to load. */
typedef struct mfr_source {
  const char *name; /* of the chunk, as messages show it: short, never a machine's path */
  const char *text;
  size_t size;
  const char *folder; /* where `require` finds the modules of the script; NULL: it has none */
  const void *params; /* an encoded value, which the script gets as `...`; NULL: none */
  size_t params_size;
  /* Told of every module in Lua that is required, as it is loaded; may be NULL. */
  void (*required)(void *context, const char *module, const char *name, const char *text,
                   size_t size);
  /* Shown what the script returned, on top, and its environment, before they are made read-only;
   * it may raise. [-0, +0]. May be NULL. */
  void (*made)(void *context, lua_State *L, int environment);
  void *context;
} mfr_source;

/*
 * Runs a script. On MF_OK what it returned is on the state's stack: plain tables, which the script
 * has no way to, of the functions that it made. All that the script itself still reaches is
 * read-only from then on. Otherwise an error object is on the stack: script_error,
 * budget_exceeded, no_memory.
 */
int mfr_sandbox_load(mfr_sandbox *sandbox, const mfr_source *source);

/*
 * Calls body(S), whose upvalue 1 is the state's mfr_state, as mfr_of() wants it, and whose one
 * argument is `argument`, a light userdata; in a protected call, with a fresh budget, under the C
 * locale. MF_OK: the body's results are on the stack. Otherwise the error object is: budget and
 * memory are told apart, and the state can be used again.
 */
int mfr_sandbox_call(mfr_sandbox *sandbox, lua_CFunction body, void *argument);
/* Whether the last call failed because it was refused memory. */
bool mfr_sandbox_ran_out(const mfr_sandbox *sandbox);

/* From inside a call: mfr_sandbox_credit(), mfr_sandbox_charge(), mfr_push_view(),
 * mfr_see_through(), mfr_plain_decider(); see internal.h. */

#endif
