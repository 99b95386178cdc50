/* The module's table: what `require "moonfold"` returns. */
#include "loaded.h"

mfr_state *mfr_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* Where the registry keeps the module's table; and, at the next one, its state. */
static const char keys[2] = {'t', 's'};

mfr_state *mfr_find(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[1]);
  mfr_state *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

void mfr_set_functions(lua_State *L, const luaL_Reg *functions) {
  lua_pushvalue(L, lua_upvalueindex(1));
  luaL_setfuncs(L, functions, 1);
}

void mfr_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta) {
  lua_createtable(L, 0, 8);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  mfr_set_functions(L, meta);
  if (!methods[0].name) return;
  lua_newtable(L);
  mfr_set_functions(L, methods);
  lua_setfield(L, -2, "__index");
}

static int state_gc(lua_State *L) {
  mfr_state *state = lua_touserdata(L, 1);
  mfr_buffer_free(&state->spare);
  return 0;
}

static const luaL_Reg functions[] = {{"open", mfr_open},
                                     {"event", mfr_event},
                                     {"command", mfr_command},
                                     {"reject", mfr_reject},
                                     {"array", mfr_array},
                                     {"hash", mfr_hash},
                                     {"to_json", mfr_to_json},
                                     {"from_json", mfr_from_json},
                                     {"load_decider", mfr_load_decider},
                                     {"verify", mfr_verify},
                                     {"salvage", mfr_salvage},
                                     {"compact", mfr_compact},
                                     {NULL, NULL}};

static const char *const expectations[] = {"STREAM_EXISTS", "STREAM_DOES_NOT_EXIST",
                                           "NO_CONCURRENCY_CHECK"};

/* Runs with the state as upvalue 1. */
static int open_module(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_errors_open(L, state);
  mfr_codec_open(L, state);
  mfr_shapes_open(L, state);
  mfr_usage_open(L, state);
  mfr_context_open(L, state);
  mfr_iterators_open(L, state);
  mfr_stores_open(L, state);
  mfr_loaded_open(L, state);
  if (luaL_loadstring(L, "") != LUA_OK) return lua_error(L);
  state->run_hooks_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_createtable(L, 0, 16);
  mfr_set_functions(L, functions);
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->null_ref);
  lua_setfield(L, -2, "null");
  lua_pushliteral(L, "Moonfold " MF_VERSION);
  lua_setfield(L, -2, "_VERSION");
  for (size_t i = 0; i < sizeof expectations / sizeof *expectations; i++) {
    lua_pushstring(L, expectations[i]);
    lua_setfield(L, -2, expectations[i]);
  }
  mfr_scripts_open(L);
  return 1;
}

int luaopen_moonfold(lua_State *L) {
  /* One module per state, however often it is opened: moonfold.null must be one value. */
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &keys[0]) == LUA_TTABLE) return 1;
  lua_pop(L, 1);
  mfr_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  memset(state, 0, sizeof *state);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[1]);
  lua_pushcclosure(L, open_module, 1);
  lua_call(L, 0, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &keys[0]);
  return 1;
}
