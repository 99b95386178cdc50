/*
 * What the files of the sandbox share.
 *
 *   sandbox.c          making a sandbox, loading scripts, calling into it
 *   meter.c            the budget of a call: instructions, bulk work, the thread's clock
 *   collector.c        when garbage is collected, and who is charged for it
 *   readonly.c         tables that scripts can read and not write
 *   library.c          the environment of scripts: what is in it, and what to use instead of the
 * rest library_base.c     pairs, next, pcall, setmetatable, tostring, ... library_string.c string,
 * utf8 library_pattern.c  find, match, gmatch, gsub library_table.c    table require.c modules of
 * scripts
 *
 * The libraries run only in a sandbox's state, which they find through mfr_sandbox_of().
 */
#ifndef MF_RUNTIME_LIBRARY_H
#define MF_RUNTIME_LIBRARY_H

#include "sandbox.h"

#include <locale.h>

enum {
  MFR_STRING_MAX = 1 << 20, /* bytes of a script's string */
  MFR_UNPACK_MAX = 10000,   /* values that one call returns */
  MFR_PCALLS_MAX = 100,     /* pcall in pcall */
  MFR_LARGE_STATE = 1 << 20 /* bytes: beyond, a collection takes its time */
};

/* A module that is being loaded, and the one that has required it. */
typedef struct mfr_requiring {
  const char *module;
  const struct mfr_requiring *outer;
} mfr_requiring;

struct mfr_sandbox {
  lua_State *S;
  mfr_state *state;
  mfr_pool *pool;
  mfr_limits limits;
  locale_t c_locale, host_locale; /* the host's, while a call runs */
  mfr_sandbox_logger *logger;
  void *logger_context;
  size_t young_at, full_at; /* bytes held at which what is young, and everything, is collected */
  size_t remains;           /* bytes that the last collection left */
  size_t young;             /* that are added until the next */

  /* The call that runs. */
  bool running, loading;
  bool spent;          /* the budget is gone: whatever runs on raises */
  bool starved;        /* it has failed for want of memory */
  uint32_t raised;     /* statuses of the error objects made in it: a script may change a code */
  int64_t left;        /* instructions */
  int64_t unclocked;   /* charged since the clock was read */
  bool clocked;        /* the clock was read, and the next is an absolute time */
  int64_t clock_limit; /* the thread's clock, in ns, at the end of its time */
  int64_t clock_rests; /* until then, by the wall's clock, it cannot be over */
  int64_t clock_per_event;
  int64_t collecting; /* what collections may still add to clock_limit */
  int64_t refused_at; /* by the wall's clock: Lua began to collect for want of memory */
  bool due;           /* what is young is to be collected */
  int64_t looked;     /* events credited for what a decision looked at */
  int64_t call;       /* number of the call of a script's function: iterators live for one, */
  int64_t calls;      /* and of those there were: states, which are kept or not, hold none */
  int period;         /* instructions between hooks */
  bool hooked;        /* the hook is set: not while a function runs that needs none */
  bool metatables;    /* a script has set one, ever: any instruction may call */
  int pcalls;
  const mfr_source *source; /* while it loads */
  const char *impure;       /* a function of the host that was found to be so in this call */
  const struct mfr_functions *functions; /* of the host; NULL: none */
  const mfr_requiring *requiring;

  /* References into the registry. */
  int exceeded_ref, memory_ref; /* error objects for when there is no memory for one */
  int view_ref;                 /* the metatable of views */
  int copies_ref;               /* metatable of a script -> the copy that is in force; weak keys */
  int upvalues_ref;             /* what the upvalues of scripts hold between calls, */
  int upvalue_ids_ref;          /* and which these are */
  int library_ref;              /* the environment that scripts' own are made from */
  int modules_ref;              /* modules that all scripts share */
};

static inline mfr_sandbox *mfr_sandbox_of(lua_State *L) {
  return *(mfr_sandbox **)lua_getextraspace(L);
}

/* ---- meter.c ---- */

void mfr_meter_start(mfr_sandbox *sandbox);
void mfr_meter_stop(mfr_sandbox *sandbox);
void mfr_charge(lua_State *L, int64_t instructions); /* raises budget_exceeded */
void mfr_charge_bytes(lua_State *L, size_t bytes);
/* While items of a list are read or written, which may go through long chains of metatables: looks
 * at the clock now and then. `number`: of the item. */
void mfr_charge_items(lua_State *L, int64_t number);
/* For work whose cost cannot be told: looks at the clock; the second, if the state is large enough
 * to matter. */
void mfr_charge_time(lua_State *L);
void mfr_charge_unknown(lua_State *L);
int mfr_exceeded(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For collections, whose time the call has in addition, but for a bound: a clock in nanoseconds;
 * whether so much is left of that; so much was taken. */
int64_t mfr_meter_clock(void);
bool mfr_meter_affords(const mfr_sandbox *sandbox, int64_t time);
void mfr_meter_collected(mfr_sandbox *sandbox, int64_t time);
void mfr_meter_given(mfr_sandbox *sandbox, int64_t time); /* without a bound */

/* ---- collector.c ---- */

void mfr_collector_open(mfr_sandbox *sandbox);
void mfr_collector_start(mfr_sandbox *sandbox); /* a call */
void mfr_collector_stop(mfr_sandbox *sandbox);  /* collects after it, if it is time to */
void mfr_collect_due(mfr_sandbox *sandbox);     /* in a call */

/* ---- readonly.c ---- */

void mfr_readonly_open(lua_State *L);
/* The key that a read-only table holds under what is behind it. */
const void *mfr_behind_key(void);
/* Whether the function at index is the __len of read-only tables. */
bool mfr_is_readonly_len(lua_State *L, int index);
/* Raises when the table at index is one that must not be written to. */
void mfr_check_writable(lua_State *L, int index);
/* Sets the metatable on top to the table below it, as setmetatable does. [-1, +0] */
void mfr_set_script_metatable(lua_State *L, int table);
/* Pushes the metatable as the script knows it, or nil. [-0, +1] */
void mfr_push_script_metatable(lua_State *L, int index);
/* Makes everything that can be reached from the value on top read-only, for good. [-1, +0] */
void mfr_freeze(lua_State *L);
/* Replaces the value on top by a copy in plain tables; functions stay. [-1, +1] */
void mfr_thaw(lua_State *L);
/* Sees to it that no local variable of a script, outside of its functions, was changed by the call;
 * puts back what was. False: a message is pushed. [-0, +0|1] */
bool mfr_upvalues_unchanged(lua_State *L);
/* Raises when a script has left something for the next call, or looked at what differs from call to
 * call; and lets go of the states that were folded so. */
void mfr_check_left_behind(lua_State *L);

/* ---- libraries ---- */

/* Each pushes a table of functions. [-0, +1] */
void mfr_library_open(lua_State *L); /* the environment */
void mfr_open_base(lua_State *L);
void mfr_open_string(lua_State *L);
void mfr_open_utf8(lua_State *L);
void mfr_open_table(lua_State *L);
void mfr_open_math(lua_State *L);
void mfr_open_patterns(lua_State *L); /* adds to the table on top. [-0, +0] */

/* Pushes a table of the fields named, of the library that `opener` makes. [-0, +1] */
void mfr_pick(lua_State *L, lua_CFunction opener, const char *const *names);
/* Pushes a function that charges for the length of its first argument, then is the C function on
 * top. [-1, +1] */
void mfr_charged(lua_State *L);
/* tostring, without addresses: [-0, +1]. */
const char *mfr_tostring(lua_State *L, int index, size_t *size);
/* The length of a list: __len, or the border that is found from 1 on, whatever the table's past. */
lua_Integer mfr_length(lua_State *L, int index);
lua_Integer mfr_border(lua_State *L, int index); /* without asking __len */
/* Pushes what stands for the operator # in scripts, as the left operand of ^. [-0, +1] */
void mfr_push_length_operator(lua_State *L);
/* Pushes an iterator that lives for one call: `function` with `upvalues` values from the stack,
 * after the number of the call. */
void mfr_push_iterator(lua_State *L, lua_CFunction function, int upvalues);
void mfr_check_iterator(lua_State *L); /* raises in a later call */
/* Pushes the environment for a script. [-0, +1] */
void mfr_push_environment(lua_State *L);
/* Gives the table on top, a library, a metatable that tells what to use instead of what it lacks.
 */
void mfr_guard(lua_State *L, const char *name);
int mfr_require(lua_State *L);
/* Pushes the function of a chunk of text. Its upvalue 1 is the environment. [-0, +1] */
void mfr_load_text(lua_State *L, const char *text, size_t size, const char *chunk_name);
/* Takes out of the error on top which line of which file it tells of: a script that went on from
 * there would depend on its layout. */
void mfr_forget_place(lua_State *L);

#endif
