/* What the binary gives the REPL of a terminal: see repl.c, which only the binary contains. */
#ifndef MF_RUNTIME_REPL_H
#define MF_RUNTIME_REPL_H

#include <lua.h>
#include <stdbool.h>

/* Adds functions to the table `host`, which is on top of the stack. [-0, +0] */
void mfr_repl_open(lua_State *L);
/* Gives the terminal back as it was. */
void mfr_repl_close(void);

#endif
