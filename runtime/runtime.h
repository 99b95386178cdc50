/*
 * Moonfold's runtime: Lua on top of the store.
 *
 * For now it offers one function: the opener of the Lua module. A C host that embeds Lua registers
 * it,
 *
 *     luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
 *     lua_pop(L, 1);
 *
 * and its scripts then find `require "moonfold"` and everything that comes with it
 * ("moonfold.spec", "moonfold.domain.cart", ...). The module keeps no state outside the lua_State:
 * any number of states may have it, each used by one thread at a time. It raises errors as Lua
 * does, by longjmp: call it in a protected call.
 *
 * A state that is inside a write transaction (in the function given to store:transaction) must not
 * be abandoned: the transaction belongs to the thread, and other writers of the file wait for it.
 */
#ifndef MOONFOLD_RUNTIME_H
#define MOONFOLD_RUNTIME_H

#include "store.h"

#include <lua.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pushes the module's table. Effect on the stack: [-0, +1]. */
MF_API int luaopen_moonfold(lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
