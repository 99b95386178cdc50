/*
 * A fold that lists what is wrong with it, for moonfold.check: events without the shape that is
 * declared for them or without a handler, handlers that write to their event, states that break the
 * invariant. Of each kind (and each type without a handler) the first is told, and how many there
 * are.
 */
#include "loaded.h"

/* Adds to the finding of this kind; the first time [-0, +1]: the table that stands for it. */
static bool note(lua_State *L, const mfr_call *call, const mfr_decider *d, const char *kind,
                 mfr_text type) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 10, "finding");
  bool by_type = type.data && strcmp(kind, "no_handler") == 0;
  lua_pushfstring(L, "%s ", kind);
  lua_pushlstring(L, type.data ? type.data : "", by_type ? type.size : 0);
  lua_concat(L, 2);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, d->findings) == LUA_TTABLE) {
    lua_getfield(L, -1, "count");
    lua_Integer count = lua_tointeger(L, -1);
    lua_pop(L, 1);
    mfr_set_integer(L, "count", count + 1);
    lua_settop(L, top);
    return false;
  }
  lua_pop(L, 1);
  lua_createtable(L, 0, 7);
  lua_pushvalue(L, -1);
  lua_insert(L, top + 1);
  lua_rawset(L, d->findings);
  mfr_set_string(L, "kind", kind, strlen(kind));
  mfr_set_integer(L, "position", call->event.version);
  mfr_set_integer(L, "count", 1);
  if (type.data) mfr_set_string(L, "event_type", type.data, type.size);
  return true;
}

/*
 * What an event was before its handler saw it: the bytes of data and metadata, those of the store
 * or, of an upcast event, in the first of the two buffers behind the findings; and how many fields
 * it had.
 */
typedef struct original {
  mf_bytes data, metadata;
  lua_Integer fields;
} original;

static lua_Integer count_fields(lua_State *L, int table) {
  lua_Integer count = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    count++;
  return count;
}

/* Appends the encoding of a field of the event, without metamethods; nothing when it is absent. */
static mf_bytes encode_field(lua_State *L, mfr_state *state, const mfr_decider *d, int event,
                             mfr_field field, mfr_buffer *out) {
  size_t at = out->size;
  mfr_push_field_name(L, d->events, field);
  if (lua_rawget(L, event) != LUA_TNIL) mfr_encode(L, state, out, -1, mfr_field_name(field));
  lua_pop(L, 1);
  return (mf_bytes){out->data + at, out->size - at};
}

static original original_of(lua_State *L, mfr_state *state, const mfr_call *call,
                            const mfr_decider *d, int event, bool upcast) {
  original was = {call->event.data, call->event.metadata, count_fields(L, event)};
  mfr_buffer *buffer = lua_touserdata(L, d->findings + 1);
  if (!upcast) return was;
  buffer->size = 0;
  was.data = encode_field(L, state, d, event, MFR_DATA, buffer);
  size_t size = was.data.size;
  was.metadata = encode_field(L, state, d, event, MFR_METADATA, buffer);
  was.data = (mf_bytes){buffer->data, size}; /* it may have moved */
  return was;
}

static bool same_bytes(mf_bytes a, mf_bytes b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Whether a field has the encoding that it had. What cannot be stored, which a handler may have put
 * there, has none. */
static bool is_field_still(lua_State *L, mfr_state *state, const mfr_decider *d, int event,
                           mfr_field field, mf_bytes was) {
  mfr_buffer *buffer = lua_touserdata(L, d->findings + 2);
  bool encoded = true;
  buffer->size = 0;
  mfr_push_field_name(L, d->events, field);
  if (lua_rawget(L, event) != LUA_TNIL) encoded = mfr_try_encode(L, state, buffer, lua_gettop(L));
  lua_pop(L, 1);
  return encoded && same_bytes(was, (mf_bytes){buffer->data, buffer->size});
}

static bool is_integer_still(lua_State *L, const mfr_decider *d, int event, mfr_field field,
                             int64_t value) {
  mfr_push_field_name(L, d->events, field);
  bool same = lua_rawget(L, event) == LUA_TNUMBER && lua_tointeger(L, -1) == value;
  lua_pop(L, 1);
  return same;
}

/* Whether a text of the event is the one that it was; `index`: where that stands. */
static bool is_text_still(lua_State *L, const mfr_decider *d, int event, mfr_field field,
                          int index) {
  mfr_push_field_name(L, d->events, field);
  lua_rawget(L, event);
  bool same = lua_rawequal(L, -1, index);
  lua_pop(L, 1);
  return same;
}

/* Whether the event is what it was. `type`: stack index of its type. */
static bool is_unchanged(lua_State *L, mfr_state *state, const mfr_call *call, const mfr_decider *d,
                         int event, int type, const original *was, bool upcast) {
  if (!is_field_still(L, state, d, event, MFR_DATA, was->data)) return false;
  if (!is_field_still(L, state, d, event, MFR_METADATA, was->metadata)) return false;
  if (count_fields(L, event) != was->fields || !is_text_still(L, d, event, MFR_TYPE, type))
    return false;
  if (upcast) return true; /* it has what the upcaster gave it */
  mfr_push_stream_name(L, d->events, call->event.stream);
  bool same = is_text_still(L, d, event, MFR_STREAM_NAME, lua_gettop(L));
  lua_pop(L, 1);
  return same && is_integer_still(L, d, event, MFR_STREAM_POSITION, call->event.version) &&
         is_integer_still(L, d, event, MFR_GLOBAL_POSITION, call->event.position) &&
         is_integer_still(L, d, event, MFR_RECORDED_AT, call->event.recorded_at);
}

/* Whether the field that is on top holds a table, which whoever reads it may write to. [-1, +0] */
static bool is_table(lua_State *L) {
  bool table = lua_type(L, -1) == LUA_TTABLE;
  lua_pop(L, 1);
  return table;
}

bool mfr_only_reads(lua_State *L, const mfr_decider *d, const mfr_usage *usage, int event) {
  bool table = false;
  if (usage->data_kept) return false;
  if (usage->fields & 1u << MFR_METADATA) {
    mfr_push_field_name(L, d->events, MFR_METADATA);
    lua_rawget(L, event);
    if (is_table(L)) return false;
  }
  if (!(usage->fields & 1u << MFR_DATA)) return true;
  mfr_push_field_name(L, d->events, MFR_DATA);
  if (lua_rawget(L, event) == LUA_TTABLE)
    for (int i = 0; i < usage->count && !table; i++) {
      lua_pushlstring(L, usage->names[i].data, usage->names[i].size);
      lua_rawget(L, -2);
      table = is_table(L);
    }
  lua_pop(L, 1);
  return !table;
}

/* Sets a field of the table on top to an encoded value, which may be absent. */
static void set_encoded(lua_State *L, mfr_state *state, const char *field, mf_bytes bytes) {
  if (bytes.size && mfr_decode(L, state, bytes.data, bytes.size)) lua_setfield(L, -2, field);
}

/* Sets the raw fields of the event in the table on top; what cannot be stored is told as such. */
static void copy_storable(lua_State *L, mfr_state *state, const mfr_decider *d, int event) {
  mfr_buffer *buffer = lua_touserdata(L, d->findings + 2);
  int to = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, event); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    buffer->size = 0;
    lua_pushvalue(L, -2);
    if (mfr_try_encode(L, state, buffer, to + 2))
      lua_pushvalue(L, to + 2);
    else
      lua_pushfstring(L, "a %s that cannot be stored", luaL_typename(L, to + 2));
    lua_rawset(L, to);
  }
}

/* The finding is on top: what was written, as far as it can be stored. */
static void tell_mutation(lua_State *L, mfr_state *state, const mfr_decider *d, int event, int type,
                          const original *was) {
  int finding = lua_gettop(L);
  lua_createtable(L, 0, 3);
  set_encoded(L, state, "data", was->data);
  set_encoded(L, state, "metadata", was->metadata);
  lua_pushvalue(L, type);
  lua_setfield(L, -2, "type");
  lua_setfield(L, finding, "before");
  lua_newtable(L);
  copy_storable(L, state, d, event);
  for (int i = 0; i < MFR_FIELDS; i++) { /* what it has beside data is told where it is new */
    bool told = i == MFR_TYPE || i == MFR_DATA || i == MFR_METADATA;
    if (told) continue;
    lua_pushnil(L);
    lua_setfield(L, finding + 1, mfr_field_name((mfr_field)i));
  }
  lua_setfield(L, finding, "after");
}

/* The handler and the event are on top, its type below: [-2, +0]. */
static void evolve_and_compare(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d,
                               mfr_text type, bool upcast) {
  int event = lua_gettop(L), handler = event - 1, type_index = event - 2;
  const mfr_usage *usage = mfr_usage_of(L, state, handler);
  bool compared = !usage || !mfr_only_reads(L, d, usage, event);
  original was = {{NULL, 0}, {NULL, 0}, 0};
  if (compared) was = original_of(L, state, call, d, event, upcast);
  lua_pushvalue(L, handler);
  lua_pushvalue(L, d->state);
  lua_pushvalue(L, event);
  mfr_call_script(L, state, call, "evolve", 2, 1);
  if (lua_isnil(L, -1))
    lua_pop(L, 1);
  else
    lua_replace(L, d->state);
  if (compared && !is_unchanged(L, state, call, d, event, type_index, &was, upcast) &&
      note(L, call, d, "mutated_event", type))
    tell_mutation(L, state, d, event, type_index, &was);
  lua_settop(L, handler - 1);
}

/* The event on top. */
static void inspect_shape(lua_State *L, const mfr_state *state, const mfr_call *call,
                          const mfr_decider *d, mfr_text type) {
  int top = lua_gettop(L);
  lua_getfield(L, top, "data");
  if (!mfr_has_shape(L, state, d->event_shapes, type, top + 1) && note(L, call, d, "shape", type)) {
    lua_pushvalue(L, top + 2);
    lua_setfield(L, -2, "path");
    lua_pushvalue(L, top + 3);
    lua_setfield(L, -2, "message");
  }
  lua_settop(L, top);
}

void mfr_inspect_state(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d) {
  int top = lua_gettop(L);
  mfr_text type = {call->event.type.data, call->event.type.size};
  if (!d->invariant || mfr_invariant_holds(L, state, call, d)) return;
  if (note(L, call, d, "invariant", type)) {
    luaL_tolstring(L, top + 1, NULL);
    lua_setfield(L, -2, "message");
  }
  lua_settop(L, top);
}

void mfr_inspect_event(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d) {
  int top = lua_gettop(L);
  bool upcasts = lua_type(L, top) == LUA_TBOOLEAN && lua_toboolean(L, top);
  mfr_text type;
  mfr_push_event(L, state, &call->event, d->events, d->types);
  if (upcasts) mfr_upcast(L, state, call, d->upcast);
  lua_getfield(L, top + 1, "type");
  type.data = lua_tolstring(L, -1, &type.size);
  lua_insert(L, top); /* keeps the text */
  lua_remove(L, top + 1);
  if (d->event_shapes) inspect_shape(L, state, call, d, type);
  if (d->evolve_is_table) {
    lua_pushvalue(L, top);
    lua_gettable(L, d->evolve);
  } else
    lua_pushvalue(L, d->evolve);
  int handler = lua_type(L, -1);
  lua_insert(L, -2);
  if (handler == LUA_TFUNCTION)
    evolve_and_compare(L, state, call, d, type, upcasts);
  else if (handler == LUA_TNIL)
    note(L, call, d, "no_handler", type);
  lua_settop(L, top);
  mfr_inspect_state(L, state, call, d);
  lua_settop(L, top - 1);
}
