/*
 * What the binary gives the scripts of the command line beyond the public Lua API. main.c makes the
 * table `host`; files of the runtime add to it what needs the store itself:
 *
 *   transfer.c  exact text of events: export, import, JSON of values that plain JSON cannot hold
 */
#ifndef MF_RUNTIME_HOST_H
#define MF_RUNTIME_HOST_H

#include "runtime.h"

#include <lua.h>

/* Adds functions to the table `host`, which is on top of the stack. [-0, +0] */
void mfr_host_open(lua_State *L);

#endif
