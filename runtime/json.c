/*
 * Lua values <-> JSON, for the edges: command line, export, C hosts. json-c parses, because it
 * keeps 64-bit integers and tells integers from floats; the writer is ours, because it sorts keys
 * and names what JSON cannot hold.
 */
#include "internal.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- writing ---- */

/*
 * The value is first encoded as MessagePack, which checks it, sorts its keys and finds cycles; JSON
 * is written from there. So there is one traversal that knows what can be stored.
 */
typedef struct source {
  const unsigned char *p;
} source;

static uint64_t number(source *s, unsigned size) {
  uint64_t n = 0;
  for (unsigned i = 0; i < size; i++)
    n = n << 8 | *s->p++;
  return n;
}

static void write_escaped(luaL_Buffer *out, const char *text, size_t size) {
  luaL_addchar(out, '"');
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    char escape[8];
    if (c == '"' || c == '\\') {
      luaL_addchar(out, '\\');
      luaL_addchar(out, (char)c);
    } else if (c == '\n')
      luaL_addlstring(out, "\\n", 2);
    else if (c == '\t')
      luaL_addlstring(out, "\\t", 2);
    else if (c == '\r')
      luaL_addlstring(out, "\\r", 2);
    else if (c < 0x20 || c == 0x7f) {
      snprintf(escape, sizeof escape, "\\u%04x", c);
      luaL_addstring(out, escape);
    } else
      luaL_addchar(out, (char)c);
  }
  luaL_addchar(out, '"');
}

/* The shortest decimal that reads back as the same double, always recognisable as a float. */
static void write_double(luaL_Buffer *out, double value) {
  char text[40];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  for (char *p = text; *p; p++)
    if (*p == ',') *p = '.'; /* a host's locale */
  if (!strpbrk(text, ".e")) strcat(text, ".0");
  luaL_addstring(out, text);
}

static void write_integer(luaL_Buffer *out, long long value) {
  char text[32];
  snprintf(text, sizeof text, "%lld", value);
  luaL_addstring(out, text);
}

static void write_value(luaL_Buffer *out, source *s, bool key);

static void write_string(luaL_Buffer *out, source *s, size_t size) {
  write_escaped(out, (const char *)s->p, size);
  s->p += size;
}

static void write_number(luaL_Buffer *out, long long value, bool key) {
  if (key) luaL_addchar(out, '"');
  write_integer(out, value);
  if (key) luaL_addchar(out, '"');
}

static void write_list(luaL_Buffer *out, source *s, size_t count) {
  luaL_addchar(out, '[');
  for (size_t i = 0; i < count; i++) {
    if (i) luaL_addchar(out, ',');
    write_value(out, s, false);
  }
  luaL_addchar(out, ']');
}

static void write_map(luaL_Buffer *out, source *s, size_t count) {
  luaL_addchar(out, '{');
  for (size_t i = 0; i < count; i++) {
    if (i) luaL_addchar(out, ',');
    write_value(out, s, true);
    luaL_addchar(out, ':');
    write_value(out, s, false);
  }
  luaL_addchar(out, '}');
}

/* The bytes are our own encoder's: only the forms that it writes occur. */
static void write_value(luaL_Buffer *out, source *s, bool key) {
  unsigned tag = *s->p++;
  if (tag < 0x80)
    write_number(out, tag, key);
  else if (tag >= 0xe0)
    write_number(out, (long long)tag - 256, key);
  else if (tag >= 0xa0 && tag <= 0xbf)
    write_string(out, s, tag & 0x1f);
  else if (tag >= 0x90 && tag <= 0x9f)
    write_list(out, s, tag & 0xf);
  else if (tag >= 0x80 && tag <= 0x8f)
    write_map(out, s, tag & 0xf);
  else if (tag == 0xc0)
    luaL_addstring(out, "null");
  else if (tag == 0xc2 || tag == 0xc3)
    luaL_addstring(out, tag == 0xc3 ? "true" : "false");
  else if (tag >= 0xcc && tag <= 0xcf)
    write_number(out, (long long)number(s, 1u << (tag - 0xcc)), key);
  else if (tag >= 0xd0 && tag <= 0xd3) {
    unsigned size = 1u << (tag - 0xd0), shift = 64 - 8 * size;
    write_number(out, (long long)(number(s, size) << shift) >> shift, key);
  } else if (tag == 0xd9)
    write_string(out, s, (size_t)number(s, 1));
  else if (tag == 0xda)
    write_string(out, s, (size_t)number(s, 2));
  else if (tag == 0xdb)
    write_string(out, s, (size_t)number(s, 4));
  else if (tag == 0xdc || tag == 0xdd)
    write_list(out, s, (size_t)number(s, tag == 0xdc ? 2 : 4));
  else if (tag == 0xde || tag == 0xdf)
    write_map(out, s, (size_t)number(s, tag == 0xde ? 2 : 4));
  else if (tag == 0xcb) {
    uint64_t bits = number(s, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    write_double(out, value);
  }
}

/* JSON is UTF-8: a string of other bytes is refused, with its path. */
static void refuse_bytes(lua_State *L, const mfr_state *state, const char *path) {
  char deeper[256];
  if (lua_type(L, -1) == LUA_TSTRING) {
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    if (!mfr_is_utf8(text, size))
      mfr_misuse(L, state, path, "JSON text is UTF-8, and this string is not");
  } else if (lua_type(L, -1) == LUA_TTABLE) {
    luaL_checkstack(L, 6, "value");
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      if (lua_type(L, -2) == LUA_TSTRING) {
        size_t size;
        const char *key = lua_tolstring(L, -2, &size);
        if (!mfr_is_utf8(key, size))
          mfr_misuse(L, state, path, "JSON text is UTF-8, and one of its keys is not");
        snprintf(deeper, sizeof deeper, "%s.%.60s", path, key);
      } else
        snprintf(deeper, sizeof deeper, "%s[%lld]", path, (long long)lua_tointeger(L, -2));
      refuse_bytes(L, state, deeper);
      lua_pop(L, 1);
    }
  }
}

int mfr_to_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  luaL_Buffer out;
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  state->scratch.size = 0;
  mfr_encode(L, state, 1, "value");
  refuse_bytes(L, state, "value");
  source s = {(const unsigned char *)state->scratch.data};
  luaL_buffinit(L, &out);
  write_value(&out, &s, false);
  luaL_pushresult(&out);
  return 1;
}

/* ---- parsing ---- */

/* Frees what json-c has made when an error is raised on the way. */
typedef struct parsed {
  struct json_tokener *tokener;
  struct json_object *object;
} parsed;

static int parsed_free(lua_State *L) {
  parsed *p = lua_touserdata(L, 1);
  if (p->object) json_object_put(p->object);
  if (p->tokener) json_tokener_free(p->tokener);
  p->object = NULL;
  p->tokener = NULL;
  return 0;
}

static void push_json(lua_State *L, mfr_state *state, struct json_object *object) {
  luaL_checkstack(L, 6, "JSON");
  switch (json_object_get_type(object)) {
  case json_type_null:
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->null_ref);
    break;
  case json_type_boolean:
    lua_pushboolean(L, json_object_get_boolean(object));
    break;
  case json_type_int:
    if (json_object_get_uint64(object) > INT64_MAX && json_object_get_int64(object) >= 0)
      mfr_misuse(L, state, "text", "the integer %s does not fit 64 bits with a sign",
                 json_object_to_json_string(object));
    lua_pushinteger(L, json_object_get_int64(object));
    break;
  case json_type_double:
    if (!isfinite(json_object_get_double(object)))
      mfr_misuse(L, state, "text", "a number is too large for a float");
    lua_pushnumber(L, json_object_get_double(object));
    break;
  case json_type_string:
    lua_pushlstring(L, json_object_get_string(object), (size_t)json_object_get_string_len(object));
    break;
  case json_type_array: {
    size_t count = json_object_array_length(object);
    lua_createtable(L, (int)count, 0);
    if (count == 0) {
      lua_rawgeti(L, LUA_REGISTRYINDEX, state->array_ref);
      lua_setmetatable(L, -2);
    }
    for (size_t i = 0; i < count; i++) {
      push_json(L, state, json_object_array_get_idx(object, i));
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    break;
  }
  default: {
    lua_createtable(L, 0, json_object_object_length(object));
    json_object_object_foreach(object, key, value) {
      lua_pushstring(L, key);
      push_json(L, state, value);
      lua_rawset(L, -3);
    }
  }
  }
}

/* Where a byte stands: line and column, from 1. */
static void place_of(const char *text, size_t offset, size_t *line, size_t *column) {
  *line = *column = 1;
  for (size_t i = 0; i < offset; i++) {
    if (text[i] == '\n') {
      ++*line;
      *column = 1;
    } else
      ++*column;
  }
}

int mfr_from_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text text = mfr_check_string(L, state, 1, "text");
  lua_settop(L, 1);
  parsed *p = lua_newuserdatauv(L, sizeof *p, 0);
  memset(p, 0, sizeof *p);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, parsed_free);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, parsed_free);
  lua_setfield(L, -2, "__close");
  lua_setmetatable(L, 2);
  lua_toclose(L, 2);
  if (text.size >= INT32_MAX) mfr_misuse(L, state, "text", "more than 2 GiB of JSON");
  if (!mfr_is_utf8(text.data, text.size))
    mfr_misuse(L, state, "text", "JSON text is UTF-8, and this is not");
  p->tokener = json_tokener_new_ex(MFR_DEPTH_MAX + 1);
  if (!p->tokener) {
    mfr_push_error(L, state, MF_NO_MEMORY, "no memory to parse JSON");
    return lua_error(L);
  }
  json_tokener_set_flags(p->tokener, JSON_TOKENER_STRICT);
  /* With the NUL behind the text, so that a number at its end is complete. */
  p->object = json_tokener_parse_ex(p->tokener, text.data, (int)text.size + 1);
  enum json_tokener_error problem = json_tokener_get_error(p->tokener);
  size_t end = json_tokener_get_parse_end(p->tokener);
  if (problem != json_tokener_success || end < text.size) {
    size_t line, column;
    place_of(text.data, end < text.size ? end : text.size, &line, &column);
    mfr_misuse(L, state, "text", "no JSON at line %zu, column %zu: %s", line, column,
               problem == json_tokener_continue  ? "it ends too early"
               : problem == json_tokener_success ? "something follows its end"
                                                 : json_tokener_error_desc(problem));
  }
  push_json(L, state, p->object);
  return 1;
}
