/* Events: from Lua tables to what the store appends, and from what the store reads to Lua tables.
 */
#include "host.h"
#include "loaded.h"

#include <stdio.h>

/* ---- events that were read ---- */

/* __index of an event: the text of a generated message id is made when it is asked for. */
static int event_index(lua_State *L) {
  char text[MF_ID_MAX + 1];
  mf_event event = {0};
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "message_id") != 0) return 0;
  lua_pushliteral(L, "global_position");
  lua_rawget(L, 1);
  if (!lua_isinteger(L, -1)) return 0;
  event.position = lua_tointeger(L, -1);
  size_t size = mf_message_id((uint64_t)lua_tointeger(L, lua_upvalueindex(1)), &event, text);
  lua_pushlstring(L, text, size);
  return 1;
}

void mfr_flatten_event(lua_State *L) {
  int event = lua_gettop(L);
  lua_createtable(L, 0, 9);
  mfr_copy_fields(L, event, event + 1);
  lua_pushliteral(L, "message_id");
  lua_pushvalue(L, -1);
  lua_gettable(L, event);
  lua_rawset(L, event + 1);
  lua_remove(L, event);
}

static int next_pair(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  return lua_next(L, 1) ? 2 : 0;
}

/* __pairs of an event: what was recorded and what the store has added. */
static int event_pairs(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_pushcfunction(L, next_pair);
  lua_insert(L, 1);
  mfr_flatten_event(L);
  lua_pushnil(L);
  return 3;
}

/* The names of an event's fields and the stream's name that was used last stand in the metatable's
 * array: fetched from there they cost less than interning them for every event. */
static const char *const field_names[MFR_FIELDS] = {"type",
                                                    "data",
                                                    "metadata",
                                                    "message_id",
                                                    "stream_name",
                                                    "stream_position",
                                                    "global_position",
                                                    "recorded_at",
                                                    "code_digest"};
/* Behind them: what was used last. */
enum { LAST_STREAM = MFR_FIELDS + 1, LAST_DIGEST, LAST_DIGEST_TEXT };

const char *mfr_field_name(mfr_field field) {
  return field_names[field];
}

void mfr_push_field_name(lua_State *L, int events, mfr_field field) {
  lua_rawgeti(L, events, (lua_Integer)field + 1);
}

void mfr_events_open(lua_State *L, uint64_t seed) {
  lua_createtable(L, LAST_DIGEST_TEXT, 4);
  for (int i = 0; i < MFR_FIELDS; i++) {
    lua_pushstring(L, field_names[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushliteral(L, "");
  lua_rawseti(L, -2, LAST_STREAM);
  lua_pushliteral(L, "");
  lua_rawseti(L, -2, LAST_DIGEST);
  lua_pushliteral(L, "moonfold.event");
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 1); /* how the codec knows an event */
  lua_setfield(L, -2, "moonfold.event");
  lua_pushinteger(L, (lua_Integer)seed);
  lua_pushcclosure(L, event_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, event_pairs);
  lua_setfield(L, -2, "__pairs");
}

static void push_type(lua_State *L, const mf_event *event, int types) {
  if (event->type_id != 0 && lua_rawgeti(L, types, event->type_id) != LUA_TNIL) return;
  if (event->type_id != 0) lua_pop(L, 1);
  lua_pushlstring(L, event->type.data, event->type.size);
  if (event->type_id == 0) return;
  lua_pushvalue(L, -1);
  lua_rawseti(L, types, event->type_id);
}

/* ---- bytes of C hosts ---- */

/* What stands for a payload that is no encoded value, where events are shown to people: a userdata
 * with these user values. */
enum { FOREIGN_BYTES = 1, FOREIGN_MESSAGE };
static const char foreign_class[] = "moonfold.bytes";

/* What is told to who needs the value. [-0, +1] */
static const char *push_foreign_message(lua_State *L, const mf_event *event, const char *what) {
  const char *stream = lua_pushlstring(L, event->stream.data, event->stream.size);
  const char *type = lua_pushlstring(L, event->type.data, event->type.size);
  lua_pushfstring(L,
                  "the %s of the event at position %I (%s@%I, %s) is not MessagePack: a C host has "
                  "recorded bytes that only it can read. \"moonfold export\" shows them; a decider "
                  "goes on whose evolve is a table that says false for %s",
                  what, (LUAI_UACINT)event->position, stream, (LUAI_UACINT)event->version, type,
                  type);
  lua_replace(L, -3);
  lua_pop(L, 1);
  return lua_tostring(L, -1);
}

static int raise_foreign(lua_State *L, const mfr_state *state, const char *message) {
  mfr_push_error(L, state, MF_CORRUPT, "%s", message);
  return lua_error(L);
}

static int foreign_tostring(lua_State *L) {
  luaL_checkudata(L, 1, foreign_class);
  lua_getiuservalue(L, 1, FOREIGN_BYTES);
  lua_Integer size = (lua_Integer)lua_rawlen(L, -1);
  lua_pushfstring(L, "<%I byte%s, not MessagePack>", (LUAI_UACINT)size, size == 1 ? "" : "s");
  return 1;
}

void mfr_refuse_foreign(lua_State *L, const mfr_state *state, int index) {
  if (!luaL_testudata(L, index, foreign_class)) return;
  lua_getiuservalue(L, index, FOREIGN_MESSAGE);
  raise_foreign(L, state, lua_tostring(L, -1));
}

/* value.bytes; who takes it for a value is told what it is. */
static int foreign_index(lua_State *L) {
  luaL_checkudata(L, 1, foreign_class);
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "bytes") != 0)
    mfr_refuse_foreign(L, mfr_find(L), 1);
  lua_getiuservalue(L, 1, FOREIGN_BYTES);
  return 1;
}

static void push_payload(lua_State *L, mfr_state *state, const mf_event *event, mf_bytes payload,
                         const char *what) {
  static const luaL_Reg meta[] = {
      {"__tostring", foreign_tostring}, {"__index", foreign_index}, {NULL, NULL}};
  if (mfr_decode(L, state, payload.data, payload.size)) return;
  luaL_checkstack(L, 6, "event");
  const char *message = push_foreign_message(L, event, what);
  if (!state->shows_foreign) raise_foreign(L, state, message);
  lua_newuserdatauv(L, 0, FOREIGN_MESSAGE);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, FOREIGN_MESSAGE);
  lua_pushlstring(L, payload.data, payload.size);
  lua_setiuservalue(L, -2, FOREIGN_BYTES);
  if (luaL_newmetatable(L, foreign_class)) luaL_setfuncs(L, meta, 0);
  lua_setmetatable(L, -2);
}

/* host.show_foreign() */
int mfr_host_show_foreign(lua_State *L) {
  mfr_of(L)->shows_foreign = true;
  return 0;
}

void mfr_push_stream_name(lua_State *L, int events, mf_bytes name) {
  size_t size;
  lua_rawgeti(L, events, LAST_STREAM);
  const char *last = lua_tolstring(L, -1, &size);
  if (size == name.size && memcmp(last, name.data, size) == 0) return;
  lua_pop(L, 1);
  lua_pushlstring(L, name.data, name.size);
  lua_pushvalue(L, -1);
  lua_rawseti(L, events, LAST_STREAM);
}

void mfr_push_metadata(lua_State *L, mfr_state *state, const mf_event *event) {
  if (event->metadata.size)
    push_payload(L, state, event, event->metadata, "metadata");
  else
    lua_pushnil(L);
}

void mfr_push_data(lua_State *L, mfr_state *state, const mf_event *event) {
  if (event->data.size)
    push_payload(L, state, event, event->data, "data");
  else
    lua_pushnil(L);
}

void mfr_push_code_digest(lua_State *L, const mfr_state *state, int events, const mf_event *event) {
  size_t size;
  mf_bytes code = {NULL, 0};
  if (event->envelope.data && !state->sandbox) code = mf_event_decision(event, MF_DECISION_CODE);
  if (code.size != MF_DIGEST_SIZE) {
    lua_pushnil(L);
    return;
  }
  lua_rawgeti(L, events, LAST_DIGEST);
  const char *last = lua_tolstring(L, -1, &size);
  bool same = size == code.size && memcmp(last, code.data, size) == 0;
  lua_pop(L, 1);
  if (same) {
    lua_rawgeti(L, events, LAST_DIGEST_TEXT);
    return;
  }
  lua_pushlstring(L, code.data, code.size);
  lua_rawseti(L, events, LAST_DIGEST);
  mfr_push_digest(L, code.data);
  lua_pushvalue(L, -1);
  lua_rawseti(L, events, LAST_DIGEST_TEXT);
}

static void set_integer_field(lua_State *L, int events, mfr_field field, int64_t value) {
  mfr_push_field_name(L, events, field);
  lua_pushinteger(L, value);
  lua_rawset(L, -3);
}

void mfr_push_event(lua_State *L, mfr_state *state, const mf_event *event, int events, int types) {
  luaL_checkstack(L, 6, "event");
  lua_createtable(L, 0, MFR_FIELDS - 1);
  mfr_push_field_name(L, events, MFR_TYPE);
  push_type(L, event, types);
  lua_rawset(L, -3);
  if (event->data.size) {
    mfr_push_field_name(L, events, MFR_DATA);
    mfr_push_data(L, state, event);
    lua_rawset(L, -3);
  }
  if (event->metadata.size) {
    mfr_push_field_name(L, events, MFR_METADATA);
    mfr_push_metadata(L, state, event);
    lua_rawset(L, -3);
  }
  if (event->message_id.data) {
    mfr_push_field_name(L, events, MFR_MESSAGE_ID);
    lua_pushlstring(L, event->message_id.data, event->message_id.size);
    lua_rawset(L, -3);
  }
  mfr_push_field_name(L, events, MFR_STREAM_NAME);
  mfr_push_stream_name(L, events, event->stream);
  lua_rawset(L, -3);
  set_integer_field(L, events, MFR_STREAM_POSITION, event->version);
  set_integer_field(L, events, MFR_GLOBAL_POSITION, event->position);
  set_integer_field(L, events, MFR_RECORDED_AT, event->recorded_at);
  if (event->envelope.data && !state->sandbox) {
    mfr_push_field_name(L, events, MFR_CODE_DIGEST);
    mfr_push_code_digest(L, state, events, event);
    lua_rawset(L, -3);
  }
  lua_pushvalue(L, events);
  lua_setmetatable(L, -2);
}

/* ---- upcasting ---- */

void mfr_check_upcast(lua_State *L, const mfr_state *state, int index, const char *path) {
  if (lua_isnoneornil(L, index)) return;
  if (mfr_to_class(L, index, state->decider_ref))
    mfr_misuse(L, state, path, "a table of functions by event type is needed: say decider.upcast");
  if (lua_type(L, index) != LUA_TTABLE)
    mfr_misuse(L, state, path, "a table of functions by event type is needed, this is %s",
               mfr_type_name(L, index));
  index = lua_absindex(L, index);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      mfr_misuse(L, state, path, "it maps event types to functions, and one of its keys is a %s",
                 luaL_typename(L, -2));
    if (lua_type(L, -1) != LUA_TFUNCTION) {
      char key_path[160];
      snprintf(key_path, sizeof key_path, "%.60s.%.80s", path, lua_tostring(L, -2));
      mfr_misuse(L, state, key_path, "a function is needed, this is %s", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
  }
}

/*
 * The upcaster's event (on top, the old one below it) keeps what the store knows of the old one:
 * [-1, +1]. It is copied, because an upcaster may return one and the same table for many events.
 */
static void inherit(lua_State *L) {
  static const char *const fields[] = {"stream_name", "stream_position", "global_position",
                                       "recorded_at", "message_id"};
  int old = lua_gettop(L) - 1, made = old + 1, copy = old + 2;
  if (lua_rawequal(L, old, made)) return;
  lua_createtable(L, 0, 8);
  mfr_copy_fields(L, made, copy);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushstring(L, fields[i]);
    lua_rawget(L, old);
    lua_setfield(L, copy, fields[i]);
  }
  if (lua_getmetatable(L, old)) lua_setmetatable(L, copy);
  lua_replace(L, made);
}

void mfr_upcast(lua_State *L, mfr_state *state, mfr_call *call, int upcast) {
  luaL_checkstack(L, 12, "upcast");
  for (int i = 0; i < MFR_UPCASTS_MAX; i++) {
    int event = lua_gettop(L);
    lua_getfield(L, event, "type");
    lua_pushvalue(L, -1);
    lua_rawget(L, upcast);
    if (lua_isnil(L, -1)) {
      lua_settop(L, event);
      return;
    }
    lua_pushvalue(L, event);
    mfr_call_script(L, state, call, "upcast", 1, 1);
    call->phase = "upcast";
    if (state->sandbox) mfr_see_through(L, -1);
    if (lua_type(L, -1) != LUA_TTABLE)
      luaL_error(L, "the upcaster returned %s: it returns an event, { type = ..., data = ... }",
                 lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1));
    lua_pushvalue(L, event);
    lua_insert(L, -2);
    inherit(L);
    lua_pushliteral(L, "type");
    if (lua_rawget(L, -2) != LUA_TSTRING)
      luaL_error(L, "the upcaster returned an event without a type");
    call->phase = NULL;
    bool same = lua_rawequal(L, -1, event + 1);
    lua_pop(L, 1);
    lua_replace(L, event);
    lua_settop(L, event);
    if (same) return;
  }
  call->phase = "upcast";
  luaL_error(L, "upcasters turn this type into another for ever");
}

/* ---- events to append ---- */

static const char *const event_keys[] = {"type", "data", "metadata", "message_id", NULL};
/* What the store adds to an event that is read: ignored when that is appended again. */
static const char *const added_keys[] = {"stream_name", "stream_position", "global_position",
                                         "recorded_at", "code_digest",     NULL};

static void check_keys(lua_State *L, const mfr_state *state, int event, const char *path) {
  lua_pushnil(L);
  while (lua_next(L, event)) {
    lua_pop(L, 1);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (!name)
      mfr_misuse(L, state, path, "an event's keys are names, and one of these is a %s",
                 luaL_typename(L, -1));
    if (mfr_among(name, event_keys) || mfr_among(name, added_keys)) continue;
    char key_path[160];
    const char *nearest = mfr_nearest(name, event_keys);
    snprintf(key_path, sizeof key_path, "%.60s.%.80s", path, name);
    if (nearest)
      mfr_misuse(L, state, key_path, "unknown key \"%.80s\": did you mean \"%s\"?", name, nearest);
    mfr_misuse(L, state, key_path,
               "unknown key \"%.80s\": an event has type, data, metadata and message_id", name);
  }
}

static mf_bytes check_text(lua_State *L, const mfr_state *state, const char *path, const char *name,
                           size_t most) {
  char text_path[MFR_PATH_MAX];
  size_t size = 0;
  bool is_text = lua_type(L, -1) == LUA_TSTRING;
  const char *text = is_text ? lua_tolstring(L, -1, &size) : NULL;
  if (size < 1 || size > most) mfr_join(text_path, path, name);
  if (!is_text)
    mfr_misuse(L, state, text_path, "a string is needed, this is %s",
               lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1));
  if (size < 1 || size > most)
    mfr_misuse(L, state, text_path, "it has 1 to %zu bytes, this one has %zu", most, size);
  lua_pop(L, 1); /* the event keeps it */
  return (mf_bytes){text, size};
}

/* Copies a string into the buffer; like all of these, its place is set when the buffer has stopped
 * moving. */
static mf_bytes keep_text(lua_State *L, mfr_state *state, mfr_buffer *buffer, mf_bytes text) {
  if (!text.data) return text;
  if (!mfr_buffer_reserve(buffer, text.size)) {
    mfr_push_error(L, state, MF_NO_MEMORY, "no memory to encode an event");
    lua_error(L);
  }
  memcpy(buffer->data + buffer->size, text.data, text.size);
  buffer->size += text.size;
  return text;
}

/* Encodes a field of the event into the buffer. */
static mf_bytes encode_field(lua_State *L, mfr_state *state, mfr_buffer *buffer, int event,
                             const char *path, const char *name) {
  size_t before = buffer->size;
  mf_bytes bytes = {NULL, 0};
  lua_pushstring(L, name);
  if (lua_rawget(L, event) != LUA_TNIL) {
    mfr_encode_field(L, state, buffer, -1, path, name);
    bytes = (mf_bytes){"", buffer->size - before};
  }
  lua_pop(L, 1);
  return bytes;
}

static void check_event(lua_State *L, mfr_state *state, mfr_buffer *buffer, int event,
                        const char *path, mf_new_event *out) {
  if (lua_type(L, event) != LUA_TTABLE)
    mfr_misuse(L, state, path, "an event is a table { type = ..., data = ... }, this is %s",
               mfr_type_name(L, event));
  if (state->sandbox) mfr_see_through(L, event);
  check_keys(L, state, event, path);
  lua_pushliteral(L, "type");
  lua_rawget(L, event);
  out->type = keep_text(L, state, buffer, check_text(L, state, path, "type", MF_TYPE_MAX));
  lua_pushliteral(L, "message_id");
  out->message_id = (mf_bytes){NULL, 0};
  if (lua_rawget(L, event) != LUA_TNIL)
    out->message_id =
        keep_text(L, state, buffer, check_text(L, state, path, "message_id", MF_ID_MAX));
  else
    lua_pop(L, 1);
  out->data = encode_field(L, state, buffer, event, path, "data");
  lua_pushliteral(L, "metadata");
  int type = lua_rawget(L, event);
  if (type != LUA_TNIL && type != LUA_TTABLE) {
    char field_path[MFR_PATH_MAX];
    mfr_join(field_path, path, "metadata");
    mfr_misuse(L, state, field_path, "metadata is a table, this is %s", luaL_typename(L, -1));
  }
  lua_pop(L, 1);
  out->metadata = encode_field(L, state, buffer, event, path, "metadata");
  if (out->data.size + out->metadata.size > MF_EVENT_MAX)
    mfr_misuse(L, state, path, "an event has at most 64 MiB (%zu bytes) encoded, this one has %zu",
               MF_EVENT_MAX, out->data.size + out->metadata.size);
}

/* Points the events at their bytes, in the order in which check_event() has put them into the
 * buffer. */
static void place_fields(const mfr_buffer *buffer, mf_new_event *events, size_t count) {
  const char *p = buffer->data;
  for (size_t i = 0; i < count; i++) {
    mf_bytes *fields[] = {&events[i].type, &events[i].message_id, &events[i].data,
                          &events[i].metadata};
    for (int k = 0; k < 4; k++) {
      if (!fields[k]->data) continue;
      fields[k]->data = p;
      p += fields[k]->size;
    }
  }
}

/* The number of events in the list at index; refuses what is neither list nor event. */
static size_t check_list(lua_State *L, const mfr_state *state, int index, const char *what) {
  size_t length = (size_t)lua_rawlen(L, index);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    if (!lua_isinteger(L, -1)) {
      const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
      if (name && mfr_among(name, event_keys))
        mfr_misuse(L, state, what, "it has \"%s\" and no \"type\": every event has a type", name);
      mfr_misuse(L, state, what,
                 "an event { type = ... } or a list of events is needed, this table has the key %s",
                 name ? name : luaL_typename(L, -1));
    }
    lua_Integer key = lua_tointeger(L, -1);
    if (key < 1 || (size_t)key > length)
      mfr_misuse(L, state, what, "the list has a hole before [%lld]", (long long)key);
  }
  return length;
}

static bool has_a_name(lua_State *L, int table) {
  lua_pushnil(L);
  if (!lua_next(L, table)) return false;
  bool name = lua_type(L, -2) == LUA_TSTRING;
  lua_pop(L, 2);
  return name;
}

/* "events[12]": made for every event that is appended, whether or not it is ever shown. */
static void item_path(char out[MFR_PATH_MAX], const char *what, size_t i) {
  char digits[20], *first = digits + sizeof digits;
  size_t size = strnlen(what, 60);
  for (; i > 0; i /= 10)
    *--first = (char)('0' + i % 10);
  size_t count = (size_t)(digits + sizeof digits - first);
  memcpy(out, what, size);
  out[size] = '[';
  memcpy(out + size + 1, first, count);
  memcpy(out + size + 1 + count, "]", 2);
}

size_t mfr_check_events(lua_State *L, mfr_state *state, mfr_buffer *buffer, int index,
                        const char *what, mf_new_event **out) {
  char path[MFR_PATH_MAX];
  if (lua_type(L, index) != LUA_TTABLE)
    mfr_misuse(L, state, what, "an event { type = ... } or a list of events is needed, this is %s",
               mfr_type_name(L, index));
  lua_pushliteral(L, "type");
  /* A table of names is meant as an event, even where "type" is misspelt. */
  bool single =
      lua_rawget(L, index) != LUA_TNIL || (lua_rawlen(L, index) == 0 && has_a_name(L, index));
  lua_pop(L, 1);
  size_t count = single ? 1 : check_list(L, state, index, what);
  mf_new_event *events = lua_newuserdatauv(L, (count + 1) * sizeof *events, 0);
  for (size_t i = 0; i < count; i++) {
    if (single)
      lua_pushvalue(L, index);
    else {
      lua_rawgeti(L, index, (lua_Integer)i + 1);
      item_path(path, what, i + 1);
    }
    check_event(L, state, buffer, lua_gettop(L), single ? what : path, &events[i]);
    lua_pop(L, 1);
  }
  place_fields(buffer, events, count);
  *out = events;
  return count;
}

/* ---- moonfold.event, moonfold.command, moonfold.reject ---- */

static int message(lua_State *L, const char *what) {
  char path[MFR_PATH_MAX];
  mfr_state *state = mfr_of(L);
  mfr_join(path, what, "type");
  mfr_text type = mfr_check_string(L, state, 1, path);
  if (type.size < 1 || type.size > MF_TYPE_MAX)
    mfr_misuse(L, state, path, "it has 1 to %d bytes, this one has %zu", MF_TYPE_MAX, type.size);
  lua_settop(L, 3);
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "type");
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "data");
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "metadata");
  return 1;
}

int mfr_event(lua_State *L) {
  return message(L, "event");
}

int mfr_command(lua_State *L) {
  return message(L, "command");
}

int mfr_reject(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text reason = mfr_check_string(L, state, 1, "reason");
  if (reason.size == 0) mfr_misuse(L, state, "reason", "it is empty: a refusal has a reason");
  if (!lua_isnoneornil(L, 2)) mfr_check_string(L, state, 2, "message");
  lua_settop(L, 3);
  mfr_push_error(L, state, MF_REJECTED, "%s",
                 lua_isnil(L, 2) ? lua_tostring(L, 1) : lua_tostring(L, 2));
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "reason");
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "detail");
  if (state->keeping) mfr_kept_reject(L, state);
  return lua_error(L);
}
