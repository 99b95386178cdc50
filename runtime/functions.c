/*
 * Functions of the host that scripts may call: the table `host` of their environment. They are part
 * of what a script computes, so they have to be pure; nobody can prove that of a function in C, but
 * much is done to find those that are not:
 *  - values cross as copies, so that a function can change nothing of the script's;
 *  - while one runs, the runtime refuses to be called;
 *  - where it is asked for, each is called twice, and a difference fails the command.
 * Which of them a script uses, and in which version, is part of its digests; see digest.c.
 */
#include "library.h"
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

enum { COST = 100, ARGUMENTS_MAX = 100 };

/* ---- the list ---- */

static void free_function(mfr_function *f) {
  if (!f) return;
  free((void *)(uintptr_t)f->given.name);
  free((void *)(uintptr_t)f->given.version);
  mf_builder_free(f->results[0]);
  mf_builder_free(f->results[1]);
  free(f);
}

static mfr_function *new_function(mfr_functions *functions, const mf_host_function *given) {
  mfr_function *f = calloc(1, sizeof *f);
  if (!f) return NULL;
  f->all = functions;
  f->given = *given;
  f->given.name = strdup(given->name);
  f->given.version = strdup(given->version ? given->version : "");
  f->results[0] = mf_builder_new();
  f->results[1] = mf_builder_new();
  if (f->given.cost <= 0) f->given.cost = COST;
  if (f->given.name && f->given.version && f->results[0] && f->results[1]) return f;
  free_function(f);
  return NULL;
}

bool mfr_functions_add(mfr_functions *functions, const mf_host_function *given) {
  mfr_function **more = realloc(functions->list, (functions->count + 1) * sizeof *more);
  if (more) functions->list = more;
  mfr_function *f = more ? new_function(functions, given) : NULL;
  if (f) functions->list[functions->count++] = f;
  return f != NULL;
}

void mfr_functions_free(mfr_functions *functions) {
  for (size_t i = 0; i < functions->count; i++)
    free_function(functions->list[i]);
  free(functions->list);
  memset(functions, 0, sizeof *functions);
}

const mfr_function *mfr_functions_find(const mfr_functions *functions, const char *name) {
  for (size_t i = 0; functions && i < functions->count; i++)
    if (strcmp(functions->list[i]->given.name, name) == 0) return functions->list[i];
  return NULL;
}

/* ---- calling one ---- */

/* The arguments, as one encoded list. A missing value in the middle becomes null. */
static void encode_arguments(lua_State *L, mfr_state *state, const char *name, mfr_buffer *out) {
  char path[80];
  int count = lua_gettop(L) - 1; /* the buffer is on top */
  if (count > ARGUMENTS_MAX)
    luaL_error(L, "host.%s: at most %d arguments cross over", name, ARGUMENTS_MAX);
  if (!mfr_buffer_reserve(out, 4)) mfr_raise_no_memory(L);
  if (count < 16)
    out->data[out->size++] = (char)(0x90 | count);
  else {
    out->data[out->size++] = (char)0xdc;
    out->data[out->size++] = 0;
    out->data[out->size++] = (char)count;
  }
  for (int i = 1; i <= count; i++) {
    snprintf(path, sizeof path, "host.%s, argument %d", name, i);
    if (!lua_isnil(L, i)) {
      mfr_encode(L, state, out, i, path);
      continue;
    }
    if (!mfr_buffer_reserve(out, 1)) mfr_raise_no_memory(L);
    out->data[out->size++] = (char)0xc0;
  }
}

/* Calls it once; raises what it reports. */
static mf_value call_once(lua_State *L, mfr_function *f, mf_builder *result, mf_value arguments) {
  mf_error error = {MF_OK, 0, SIZE_MAX, ""};
  mf_build_reset(result);
  f->all->running = true;
  int status = f->given.call(f->given.context, arguments, result, &error);
  f->all->running = false;
  const char *problem = mf_builder_problem(result);
  if (status == MF_NO_MEMORY || (problem && strcmp(problem, "no memory") == 0))
    mfr_raise_no_memory(L);
  if (status != MF_OK)
    luaL_error(L, "host.%s: %s", f->given.name,
               *error.message ? error.message : mf_strerror(status));
  mf_value value = mf_builder_value(result);
  if (!value.at && (problem || mfr_builder_begun(result)))
    luaL_error(L, "host.%s made no value: %s", f->given.name,
               problem ? problem : "a list or a map has no end");
  return value;
}

static bool same(mf_value a, mf_value b) {
  mf_bytes x = mf_value_bytes(a), y = mf_value_bytes(b);
  return x.size == y.size && (x.size == 0 || memcmp(x.data, y.data, x.size) == 0);
}

/* Upvalues: 1 the state, 2 the function. Arguments: plain values. */
static int call_function(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_function *f = lua_touserdata(L, lua_upvalueindex(2));
  mfr_charge(L, f->given.cost);
  mfr_buffer *in = mfr_borrow(L, state);
  encode_arguments(L, state, f->given.name, in);
  mfr_charge_bytes(L, in->size);
  const uint8_t *bytes = (const uint8_t *)in->data;
  mf_value arguments = {bytes, bytes + in->size};
  mf_value result = call_once(L, f, f->results[0], arguments);
  if (f->all->twice && !same(result, call_once(L, f, f->results[1], arguments))) {
    mfr_sandbox_of(L)->impure = f->given.name; /* whatever the script makes of the error */
    return luaL_error(L, "host.%s is not pure: called twice, it gave two results", f->given.name);
  }
  mfr_give_back(state, in);
  lua_settop(L, 0);
  if (!result.at) return 0;
  mf_bytes made = mf_value_bytes(result);
  mfr_charge_bytes(L, made.size);
  mfr_decode_here(L, state, made.data, made.size);
  return 1;
}

/* ---- the table `host` ---- */

/* __index. Upvalue 1: the functions. */
static int unknown_function(lua_State *L) {
  const mfr_functions *functions = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = luaL_tolstring(L, 2, NULL);
  const char **names = lua_newuserdatauv(L, (functions->count + 1) * sizeof *names, 0);
  for (size_t i = 0; i < functions->count; i++)
    names[i] = functions->list[i]->given.name;
  names[functions->count] = NULL;
  const char *nearest = mfr_nearest(name, names);
  return luaL_error(L, "the host has no function \"%s\"%s%s%s", name,
                    nearest ? ": did you mean \"" : "", nearest ? nearest : "",
                    nearest ? "\"?" : "");
}

/* In S. Argument: the functions. */
static int open_functions(lua_State *L) {
  const mfr_functions *functions = lua_touserdata(L, 1);
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  lua_createtable(L, 0, (int)functions->count);
  for (size_t i = 0; i < functions->count; i++) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, sandbox);
    lua_pushlightuserdata(L, functions->list[i]);
    lua_pushcclosure(L, call_function, 2);
    lua_setfield(L, 2, functions->list[i]->given.name);
  }
  lua_createtable(L, 0, 1);
  lua_pushlightuserdata(L, (void *)(uintptr_t)functions);
  lua_pushcclosure(L, unknown_function, 1);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, 2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->library_ref);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "host");
  lua_pop(L, 1);
  mfr_freeze(L);
  return 0;
}

int mfr_functions_open(mfr_sandbox *sandbox, const mfr_functions *functions) {
  if (!functions || functions->count == 0) return MF_OK;
  sandbox->functions = functions;
  return mfr_sandbox_call(sandbox, open_functions, (void *)(uintptr_t)functions);
}
