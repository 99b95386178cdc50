/* A Lua state with the module in it, for the targets that need one. */
#ifndef STATE_H
#define STATE_H

#include "../../runtime/host.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>

int luaopen_moonfold(lua_State *L);

/* A new one now and then, so that what is left behind in one does not fill the memory. */
enum { RUNS_PER_STATE = 50000 };

static lua_State *new_state(void) {
  lua_State *L = luaL_newstate();
  if (!L) exit(2);
  luaL_openlibs(L);
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  lua_settop(L, 0);
  return L;
}

typedef struct input {
  const uint8_t *data;
  size_t size;
  void (*body)(lua_State *L, mfr_state *state, const uint8_t *data, size_t size);
} input;

static int in_lua(lua_State *L) {
  const input *in = lua_touserdata(L, 1);
  in->body(L, mfr_find(L), in->data, in->size);
  return 0;
}

/* Runs the body in a protected call: an error is a fine answer. */
__attribute__((unused)) static void run_in_state(const input *in) {
  static lua_State *L;
  static int runs;
  if (!L || ++runs % RUNS_PER_STATE == 0) {
    if (L) lua_close(L);
    L = new_state();
  }
  lua_pushcfunction(L, in_lua);
  lua_pushlightuserdata(L, (void *)(uintptr_t)in);
  lua_pcall(L, 1, 0, 0);
  lua_settop(L, 0);
}

#endif
