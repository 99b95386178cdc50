/*
 * Calls into a sandbox, and what crosses its border. Both states are Lua's, and an error of one
 * must never jump through the other's frames: S is entered by a protected call, and what comes back
 * is bytes in a buffer that belongs to neither.
 */
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- bytes ---- */

static void add_bytes(lua_State *L, mfr_buffer *out, const void *data, size_t size) {
  if (!mfr_buffer_reserve(out, size)) mfr_raise_no_memory(L);
  if (size) memcpy(out->data + out->size, data, size);
  out->size += size;
}

void mfr_keep_event(lua_State *L, mfr_buffer *out, const mf_event *event) {
  const mf_bytes *parts[] = {&event->type, &event->data, &event->metadata, &event->message_id,
                             &event->envelope};
  add_bytes(L, out, event, sizeof *event);
  for (int i = 0; i < 5; i++)
    if (parts[i]->data) add_bytes(L, out, parts[i]->data, parts[i]->size);
}

size_t mfr_kept_event(const mfr_buffer *buffer, size_t at, mfr_text stream, mf_event *event) {
  mf_bytes *parts[] = {&event->type, &event->data, &event->metadata, &event->message_id,
                       &event->envelope};
  memcpy(event, buffer->data + at, sizeof *event);
  at += sizeof *event;
  for (int i = 0; i < 5; i++) {
    if (!parts[i]->data) continue;
    parts[i]->data = buffer->data + at;
    at += parts[i]->size;
  }
  event->stream = (mf_bytes){stream.data, stream.size};
  event->extension = (mf_bytes){NULL, 0};
  return at;
}

void mfr_encode_sized(lua_State *L, mfr_state *state, mfr_buffer *out, int index,
                      const char *path) {
  size_t size = 0, at = out->size;
  index = lua_absindex(L, index);
  add_bytes(L, out, &size, sizeof size);
  if (!lua_isnil(L, index)) mfr_encode(L, state, out, index, path);
  size = out->size - at - sizeof size;
  memcpy(out->data + at, &size, sizeof size);
}

void mfr_decode_sized(lua_State *L, mfr_state *state, const mfr_buffer *in, size_t *at) {
  size_t size;
  memcpy(&size, in->data + *at, sizeof size);
  *at += sizeof size;
  if (size)
    mfr_decode_here(L, state, in->data + *at, size);
  else
    lua_pushnil(L);
  *at += size;
}

void mfr_value_into(lua_State *L, mfr_state *state, mfr_buffer *out, bool as_is, int index,
                    const char *path) {
  if (as_is) {
    mfr_encode(L, state, out, index, path);
    return;
  }
  mfr_buffer *encoded = mfr_borrow(L, state);
  mfr_encode(L, state, encoded, index < 0 ? index - 1 : index, path);
  mfr_json_write(L, state, out, encoded->data, MFR_JSON_TAGGED);
  add_bytes(L, out, "", 1); /* it ends with a NUL */
  mfr_give_back(state, encoded);
  lua_pop(L, 1);
}

void mfr_decode_here(lua_State *L, mfr_state *state, const void *data, size_t size) {
  if (!mfr_decode(L, state, data, size)) luaL_error(L, "no room on the stack for a value");
}

/* ---- errors ---- */

typedef struct kept_error {
  mfr_domain *domain;
  int status;
  mfr_buffer fields; /* name, value, name, value, ... each with its size */
} kept_error;

int mfr_status_of(const char *code) {
#define STATUS(name, value, text, meaning)                                                         \
  if (strcmp(code, text) == 0) return MF_##name;
  MF_STATUS_MAP(STATUS)
#undef STATUS
  return MF_SCRIPT_ERROR;
}

/* Arguments: the buffer, the value. */
static int keep_value(lua_State *S) {
  mfr_encode_sized(S, mfr_find(S), lua_touserdata(S, 1), 2, "error");
  return 0;
}

/* The value on top, or as text where it is none that can cross. */
static void keep_field(lua_State *S, mfr_buffer *fields) {
  size_t before = fields->size;
  lua_pushcfunction(S, keep_value);
  lua_pushlightuserdata(S, fields);
  lua_pushvalue(S, -3);
  if (lua_pcall(S, 2, 0, 0) == LUA_OK) return;
  lua_pop(S, 1);
  fields->size = before;
  luaL_tolstring(S, -1, NULL);
  mfr_encode_sized(S, mfr_find(S), fields, -1, "error");
  lua_pop(S, 1);
}

static int keep_error(lua_State *S) {
  kept_error *kept = lua_touserdata(S, 1);
  mfr_push_failure(S, kept->domain);
  kept->status = mfr_status_of(mfr_error_code(S, mfr_find(S), 2));
  for (lua_pushnil(S); lua_next(S, 2); lua_pop(S, 1)) {
    if (lua_type(S, -2) != LUA_TSTRING) continue;
    lua_pushvalue(S, -2);
    mfr_encode_sized(S, mfr_find(S), &kept->fields, -1, "error");
    lua_pop(S, 1);
    keep_field(S, &kept->fields);
  }
  return 0;
}

/* Arguments: the kept error, the state. Returns the error object. */
static int make_error(lua_State *L) {
  kept_error *kept = lua_touserdata(L, 1);
  mfr_state *state = lua_touserdata(L, 2);
  mfr_push_error(L, state, kept->status, "%s", mf_strerror(kept->status));
  for (size_t at = 0; at < kept->fields.size;) {
    mfr_decode_sized(L, state, &kept->fields, &at);
    mfr_decode_sized(L, state, &kept->fields, &at);
    lua_rawset(L, -3);
  }
  return 1;
}

void mfr_cross_error(lua_State *L, mfr_state *state, mfr_domain *domain, int status) {
  kept_error kept = {domain, status, {NULL, 0, 0}};
  if (mfr_domain_call(domain, keep_error, &kept) != MF_OK) {
    kept.status = status; /* not even the error fits: its code does */
    kept.fields.size = 0;
  }
  lua_pushcfunction(L, make_error);
  lua_pushlightuserdata(L, &kept);
  lua_pushlightuserdata(L, state);
  lua_pcall(L, 2, 1, 0); /* protected, so that the buffer is freed; a failure is an error, too */
  mfr_buffer_free(&kept.fields);
}

/* ---- calls ---- */

void mfr_enter(lua_State *L, mfr_state *state, const mfr_loaded *loaded, mfr_call *call,
               lua_CFunction stage, const mfr_buffer *in, void *work) {
  const char *calling = state->calling;
  luaL_checkstack(L, 8, "sandbox");
  state->calling = "a script's print";
  mfr_domain_set_host(loaded->domain, L);
  int status = mfr_domain_enter(loaded, call->store, call, stage, in, work);
  state->calling = calling;
  call->phase = NULL;
  if (status == MF_OK) return;
  mfr_cross_error(L, state, loaded->domain, status);
  lua_error(L);
}
