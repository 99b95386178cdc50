/*
 * The Lua files of scripts/, inside the binary and the module: `require "moonfold.spec"` finds
 * scripts/moonfold/spec.lua. With MOONFOLD_SCRIPTS=folder in the environment they are read from
 * there instead, for those who work on them. build/embedded.c is made by the Makefile.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Upvalue 1: the index of the script. Arguments: the module's name, and what the searcher gave. */
static int load_script(lua_State *L) {
  const mfr_script *script = &mfr_scripts[lua_tointeger(L, lua_upvalueindex(1))];
  const char *folder = getenv("MOONFOLD_SCRIPTS");
  int rc = LUA_OK;
  if (folder) {
    lua_pushfstring(L, "%s%s", folder, script->path + strlen("scripts"));
    rc = luaL_loadfilex(L, lua_tostring(L, -1), "t");
  }
  if (!folder || rc == LUA_ERRFILE) { /* templates.lua, which the build makes, is in no folder */
    lua_pushfstring(L, "@%s", script->path);
    rc = luaL_loadbufferx(L, script->source, script->size, lua_tostring(L, -1), "t");
  }
  if (rc != LUA_OK) return lua_error(L);
  lua_pushstring(L, script->module);
  lua_pushstring(L, script->path);
  lua_call(L, 2, 1);
  return 1;
}

int mfr_open_script(lua_State *L, int index) {
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  lua_pop(L, 1);
  lua_pushinteger(L, index);
  lua_pushcclosure(L, load_script, 1);
  lua_call(L, 0, 1);
  return 1;
}

void mfr_scripts_open(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (lua_Integer i = 0; mfr_scripts[i].module; i++) {
    if (lua_getfield(L, -1, mfr_scripts[i].module) == LUA_TNIL) {
      lua_pushinteger(L, i);
      lua_pushcclosure(L, load_script, 1);
      lua_setfield(L, -3, mfr_scripts[i].module);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}
