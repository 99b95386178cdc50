/*
 * What code is, for those who keep something that depends on it. A loaded decider has two digests:
 *
 *   script  all tokens of the script and of everything that it required, its parameters, and the
 *           names and versions of the functions of the host that it uses: "who decided this?"
 *   fold    what initial_state, evolve and upcast reach: the key of cached states and snapshots
 *
 * Comments and layout change neither. What can change the outcome of a fold changes `fold`; where
 * that cannot be told, `fold` stands for the whole script, and `doubt` says why.
 *
 * A function is its tokens, the compile-time constants that it names, and its upvalues by value; a
 * table is its content in sorted order, with its metatable; a value that is reached twice is told
 * from two that are equal. What belongs to the script library is its name. All this is looked at
 * once, after the script has run: upvalues that change later are hidden state, which no digest
 * can see.
 */
#ifndef MF_RUNTIME_DIGEST_H
#define MF_RUNTIME_DIGEST_H

#include "internal.h"

/* A source text that was loaded. */
typedef struct mfr_chunk {
  const char *name;   /* the chunk's name as lua_load() was given it, such as "@cart.lua" */
  const char *module; /* the name that it was required by; NULL: the script itself */
  const char *source;
  size_t size;
} mfr_chunk;

typedef struct mfr_digests {
  uint8_t script[16], fold[16];
  char doubt[200]; /* why `fold` stands for the whole script; or empty */
} mfr_digests;

/* What is digested. */
typedef struct mfr_digested {
  int decider; /* its stack index */
  int names;   /* that of a table made by mfr_name_library(); 0: nothing belongs to the library */
  mf_bytes params; /* encoded; absent: none */
} mfr_digested;

/*
 * Notes, in the table at `names`, that the value at `index` belongs to the script library, under
 * this name, and so does all that its tables hold. It must not change any more.
 */
void mfr_name_library(lua_State *L, int names, int index, const char *name);
/* Notes that the table at `index` is an environment of scripts, which holds what the table at
 * `library` does; when the script has added globals to it, that is a doubt. */
void mfr_name_environment(lua_State *L, int names, int index, int library);

/* Effect on the stack: [-0, +0]. Raises only for want of memory, or where params is no plain value.
 */
void mfr_digest(lua_State *L, mfr_state *state, const mfr_digested *what, const mfr_chunk *chunks,
                size_t count, mfr_digests *digests);

#endif
