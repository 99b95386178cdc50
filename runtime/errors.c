/* Error objects: tables with `code`, `message`, `where` and fields by code, whose tostring reads
 * well. */
#include "sandbox.h"

#include <stdarg.h>
#include <stdio.h>

/* __tostring: "file:line: code: message". */
static int error_tostring(lua_State *L) {
  lua_getfield(L, 1, "where");
  lua_getfield(L, 1, "code");
  lua_getfield(L, 1, "message");
  const char *where = lua_tostring(L, 2), *code = lua_tostring(L, 3), *text = lua_tostring(L, 4);
  lua_pushfstring(L, "%s%s%s: %s", where ? where : "", where ? ": " : "", code ? code : "error",
                  text ? text : "");
  return 1;
}

void mfr_errors_open(lua_State *L, mfr_state *state) {
  lua_createtable(L, 0, 3);
  lua_pushliteral(L, "moonfold.error");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  state->error_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Sets `where` to the line of the nearest Lua function that is being called from. */
static void set_where(lua_State *L) {
  lua_Debug frame;
  for (int level = 0; lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.currentline <= 0) continue;
    lua_pushfstring(L, "%s:%d", frame.short_src, frame.currentline);
    lua_setfield(L, -2, "where");
    return;
  }
}

static void new_error(lua_State *L, const mfr_state *state, int status, const char *message) {
  luaL_checkstack(L, 8, "error");
  if (state->sandbox) mfr_sandbox_raised(state->sandbox, status);
  lua_createtable(L, 0, 6);
  lua_pushstring(L, mf_code(status));
  lua_setfield(L, -2, "code");
  lua_pushstring(L, message);
  lua_setfield(L, -2, "message");
  set_where(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->error_ref);
  lua_setmetatable(L, -2);
}

void mfr_push_error(lua_State *L, const mfr_state *state, int status, const char *format, ...) {
  char message[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  new_error(L, state, status, message);
}

void mfr_set_string(lua_State *L, const char *field, const char *value, size_t size) {
  lua_pushlstring(L, value, size);
  lua_setfield(L, -2, field);
}

void mfr_set_integer(lua_State *L, const char *field, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, field);
}

int mfr_raise_no_memory(lua_State *L) {
  mfr_push_error(L, mfr_find(L), MF_NO_MEMORY, "no memory");
  return lua_error(L);
}

int mfr_misuse(lua_State *L, const mfr_state *state, const char *path, const char *format, ...) {
  char message[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  /* "unknown option ..." names the culprit itself. */
  if (strncmp(message, "unknown ", 8) == 0)
    lua_pushstring(L, message);
  else
    lua_pushfstring(L, "%s: %s", path, message);
  new_error(L, state, MF_INVALID_ARGUMENT, lua_tostring(L, -1));
  lua_pushstring(L, path);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

/* "unknown option" of the store has no path; what the store says about an event of a batch names
 * that event. */
static void push_store_path(lua_State *L, const mf_error *error, size_t size) {
  if (error->event_index != SIZE_MAX)
    lua_pushfstring(L, "events[%I]", (lua_Integer)error->event_index + 1);
  else if (size == 0 || size > MF_STREAM_NAME_MAX)
    lua_pushliteral(L, "stream");
  else
    lua_pushnil(L);
}

void mfr_push_store_error(lua_State *L, const mfr_state *state, const mf_error *error,
                          const char *stream, size_t stream_size, int expected) {
  new_error(L, state, error->code, error->message);
  if (stream) mfr_set_string(L, "stream", stream, stream_size);
  if (error->code == MF_VERSION_CONFLICT) {
    mfr_set_integer(L, "current", error->current_version);
    if (expected) {
      lua_pushvalue(L, expected);
      lua_setfield(L, -2, "expected");
    }
  }
  if (error->code == MF_INVALID_ARGUMENT && stream) {
    push_store_path(L, error, stream_size);
    lua_setfield(L, -2, "path");
  }
}

int mfr_raise_store_error(lua_State *L, const mfr_state *state, const mf_error *error) {
  mfr_push_store_error(L, state, error, NULL, 0, 0);
  return lua_error(L);
}

void mfr_set_event_id(lua_State *L, const mf_error *error, const mf_new_event *events) {
  if (error->code != MF_ID_CONFLICT || error->event_index == SIZE_MAX) return;
  const mf_bytes *id = &events[error->event_index].message_id;
  mfr_set_string(L, "id", id->data, id->size);
}

bool mfr_is_error(lua_State *L, const mfr_state *state, int index) {
  return lua_type(L, index) == LUA_TTABLE && mfr_has_metatable(L, index, state->error_ref);
}

const char *mfr_error_code(lua_State *L, const mfr_state *state, int index) {
  if (!mfr_is_error(L, state, index)) return "";
  index = lua_absindex(L, index);
  lua_pushliteral(L, "code");
  lua_rawget(L, index);
  const char *code = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  lua_pop(L, 1); /* the table keeps it */
  return code;
}
