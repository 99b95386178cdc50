/* Stands in for the sandbox until that is there: a plain Lua state, which protects from nothing. */
#include "sandbox.h"
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
struct mfr_sandbox {
  lua_State *L;
  mfr_state *state;
  const mfr_source *source;
  mfr_sandbox_logger *print;
  void *print_context;
};
static int open_all(lua_State *L) {
  luaL_openlibs(L);
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  return 0;
}
static int run(lua_State *L, mfr_sandbox *s, const char *name, const char *source, size_t size) {
  lua_pushfstring(L, "@%s", name);
  if (luaL_loadbufferx(L, source, size, lua_tostring(L, -1), "t") != LUA_OK) return lua_error(L);
  int n = 0;
  if (s->source->params) n = mfr_decode(L, s->state, s->source->params, s->source->params_size);
  lua_call(L, n, 1);
  return 1;
}
static int my_require(lua_State *L) {
  mfr_sandbox *s = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = luaL_checkstring(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) != LUA_TNIL) return 1;
  lua_pop(L, 1);
  char path[300], chunk[200];
  snprintf(chunk, 200, "%s.lua", name);
  snprintf(path, 300, "%s/%s", s->source->folder ? s->source->folder : ".", chunk);
  FILE *f = fopen(path, "r");
  if (!f) return luaL_error(L, "there is no module \"%s\"", name);
  static char text[1 << 20];
  size_t n = fread(text, 1, sizeof text, f);
  fclose(f);
  run(L, s, chunk, text, n);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, 2, name);
  return 1;
}
static int my_print(lua_State *L) {
  mfr_sandbox *s = lua_touserdata(L, lua_upvalueindex(1));
  size_t n;
  const char *t = luaL_tolstring(L, 1, &n);
  if (s->print) s->print(s->print_context, t, n);
  return 0;
}
mfr_sandbox *mfr_sandbox_new(const mfr_limits *limits) {
  (void)limits;
  mfr_sandbox *s = calloc(1, sizeof *s);
  s->L = luaL_newstate();
  lua_pushcfunction(s->L, open_all);
  lua_pcall(s->L, 0, 0, 0);
  s->state = mfr_find(s->L);
  lua_pushlightuserdata(s->L, s);
  lua_pushcclosure(s->L, my_require, 1);
  lua_setglobal(s->L, "require");
  lua_pushlightuserdata(s->L, s);
  lua_pushcclosure(s->L, my_print, 1);
  lua_setglobal(s->L, "print");
  return s;
}
void mfr_sandbox_free(mfr_sandbox *s) {
  if (s) {
    lua_close(s->L);
    free(s);
  }
}
lua_State *mfr_sandbox_lua(mfr_sandbox *s) {
  return s->L;
}
mfr_state *mfr_sandbox_state(mfr_sandbox *s) {
  return s->state;
}
void mfr_sandbox_set_limits(mfr_sandbox *s, const mfr_limits *limits) {
  (void)s;
  (void)limits;
}
void mfr_sandbox_set_log(mfr_sandbox *s, mfr_sandbox_logger *print, void *context) {
  s->print = print;
  s->print_context = context;
}
static int load_body(lua_State *L) {
  mfr_sandbox *s = lua_touserdata(L, 1);
  return run(L, s, s->source->name, s->source->text, s->source->size);
}
int mfr_sandbox_load(mfr_sandbox *s, const mfr_source *source) {
  s->source = source;
  lua_pushcfunction(s->L, load_body);
  lua_pushlightuserdata(s->L, s);
  return lua_pcall(s->L, 1, 1, 0) == LUA_OK ? MF_OK : MF_SCRIPT_ERROR;
}
int mfr_sandbox_call(mfr_sandbox *s, lua_CFunction body, void *argument) {
  lua_pushlightuserdata(s->L, s->state);
  lua_pushcclosure(s->L, body, 1);
  lua_pushlightuserdata(s->L, argument);
  return lua_pcall(s->L, 1, LUA_MULTRET, 0) == LUA_OK ? MF_OK : MF_SCRIPT_ERROR;
}
void mfr_sandbox_credit(lua_State *L, const mfr_state *state, int64_t events, bool looking) {
  (void)L;
  (void)state;
  (void)events;
  (void)looking;
}
void mfr_sandbox_charge(lua_State *L, const mfr_state *state, int64_t instructions) {
  (void)L;
  (void)state;
  (void)instructions;
}
void mfr_push_view(lua_State *L, mfr_state *state, int index) {
  (void)state;
  lua_pushvalue(L, index);
}
void mfr_plain_decider(lua_State *L, mfr_state *state, int index) {
  (void)L;
  (void)state;
  (void)index;
}
