/* Exact text of events, for the command line: export, import, JSON. */
#include "host.h"
#include "internal.h"

/* host.nearest(name, names) -> the nearest of the names, or nil */
static int host_nearest(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_Integer count = luaL_len(L, 2);
  const char **names = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *names, 0);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, 2, i);
    names[i - 1] = luaL_checkstring(L, -1);
    lua_pop(L, 1);
  }
  names[count] = NULL;
  const char *nearest = mfr_nearest(name, names);
  if (!nearest) return 0;
  lua_pushstring(L, nearest);
  return 1;
}

/* host.json(value) -> JSON, also of bytes that are no UTF-8 */
static int host_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_check_value(L, state, 1);
  lua_settop(L, 1);
  return mfr_push_json(L, state, 1, MFR_JSON_TAGGED);
}

/* host.parse_json(text) -> value */
static int host_parse_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text text = mfr_check_string(L, state, 1, "text");
  lua_settop(L, 1);
  mfr_parse_json(L, state, text.data, text.size, true);
  return 1;
}

static const luaL_Reg functions[] = {
    {"nearest", host_nearest}, {"json", host_json}, {"parse_json", host_parse_json}, {NULL, NULL}};

void mfr_host_open(lua_State *L) {
  lua_pushfstring(L, "Moonfold %s, %s", MF_VERSION, LUA_RELEASE);
  lua_setfield(L, -2, "version");
  /* The state of the module, which every function of it has as its upvalue. */
  luaopen_moonfold(L);
  lua_getfield(L, -1, "open");
  lua_getupvalue(L, -1, 1);
  lua_replace(L, -3);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 1);
}
