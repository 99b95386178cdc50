/*
 * Lua values <-> JSON (RFC 8259), for the edges: command line, export, C hosts. Both directions are
 * ours, because no packaged library keeps everything that must be kept here: json-c cuts keys at a
 * NUL, saturates large integers and accepts what is no JSON; lua-cjson makes floats of integers.
 */
#include "internal.h"

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

static void write_value(luaL_Buffer *out, source *s, bool key);

static void write_string(luaL_Buffer *out, source *s, size_t size) {
  write_escaped(out, (const char *)s->p, size);
  s->p += size;
}

static void write_integer(luaL_Buffer *out, long long value, bool key) {
  char text[32];
  snprintf(text, sizeof text, key ? "\"%lld\"" : "%lld", value);
  luaL_addstring(out, text);
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
    write_integer(out, tag, key);
  else if (tag >= 0xe0)
    write_integer(out, (long long)tag - 256, key);
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
    write_integer(out, (long long)number(s, 1u << (tag - 0xcc)), key);
  else if (tag >= 0xd0 && tag <= 0xd3) {
    unsigned size = 1u << (tag - 0xd0), shift = 64 - 8 * size;
    write_integer(out, (long long)(number(s, size) << shift) >> shift, key);
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
  size_t size;
  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *text = lua_tolstring(L, -1, &size);
    if (!mfr_is_utf8(text, size))
      mfr_misuse(L, state, path, "JSON text is UTF-8, and this string is not");
    return;
  }
  if (lua_type(L, -1) != LUA_TTABLE) return;
  luaL_checkstack(L, 6, "value");
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) {
      const char *key = lua_tolstring(L, -2, &size);
      if (!mfr_is_utf8(key, size))
        mfr_misuse(L, state, path, "JSON text is UTF-8, and one of its keys is not");
      snprintf(deeper, sizeof deeper, "%s.%.60s", path, key);
    } else
      snprintf(deeper, sizeof deeper, "%s[%lld]", path, (long long)lua_tointeger(L, -2));
    refuse_bytes(L, state, deeper);
  }
}

int mfr_to_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  luaL_Buffer out;
  mfr_check_value(L, state, 1);
  lua_settop(L, 1);
  mfr_buffer *buffer = mfr_borrow(L, state);
  mfr_encode(L, state, buffer, 1, "value");
  lua_pushvalue(L, 1);
  refuse_bytes(L, state, "value");
  source s = {(const unsigned char *)buffer->data};
  luaL_buffinit(L, &out);
  write_value(&out, &s, false);
  luaL_pushresult(&out);
  mfr_give_back(state, buffer);
  return 1;
}

/* ---- parsing ---- */

typedef struct parser {
  lua_State *L;
  mfr_state *state;
  mfr_buffer *text; /* the string that is being read */
  const char *start, *p, *end;
  int depth;
} parser;

/* Raises invalid_argument with the line and column (in bytes, from 1) of `at`. */
static int refuse(parser *j, const char *at, const char *why) {
  size_t line = 1, column = 1;
  for (const char *p = j->start; p < at; p++) {
    column++;
    if (*p != '\n') continue;
    line++;
    column = 1;
  }
  return mfr_misuse(j->L, j->state, "text", "line %zu, column %zu: %s", line, column, why);
}

static void skip_space(parser *j) {
  while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r'))
    j->p++;
}

static bool take(parser *j, char c) {
  if (j->p >= j->end || *j->p != c) return false;
  j->p++;
  return true;
}

static int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* The four digits behind \u. */
static unsigned parse_unit(parser *j) {
  unsigned unit = 0;
  for (int i = 0; i < 4; i++) {
    int digit = j->p < j->end ? digit_of(*j->p) : -1;
    if (digit < 0) refuse(j, j->p, "\\u is followed by four hexadecimal digits");
    unit = unit << 4 | (unsigned)digit;
    j->p++;
  }
  return unit;
}

static void add_code_point(mfr_buffer *out, unsigned c) {
  char *p = out->data + out->size;
  if (c < 0x80)
    *p++ = (char)c;
  else {
    if (c < 0x800)
      *p++ = (char)(0xc0 | c >> 6);
    else {
      if (c < 0x10000)
        *p++ = (char)(0xe0 | c >> 12);
      else {
        *p++ = (char)(0xf0 | c >> 18);
        *p++ = (char)(0x80 | (c >> 12 & 0x3f));
      }
      *p++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *p++ = (char)(0x80 | (c & 0x3f));
  }
  out->size = (size_t)(p - out->data);
}

static unsigned parse_escape(parser *j) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  const char *at = j->p - 1;
  const char *found = j->p < j->end && *j->p ? strchr(names, *j->p) : NULL;
  if (found) {
    j->p++;
    return (unsigned char)values[found - names];
  }
  if (!take(j, 'u'))
    refuse(j, at, "no such escape: there are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
  unsigned unit = parse_unit(j);
  if (unit < 0xd800 || unit > 0xdfff) return unit;
  if (unit > 0xdbff || !take(j, '\\') || !take(j, 'u'))
    refuse(j, at, "half of a surrogate pair stands alone");
  unsigned low = parse_unit(j);
  if (low < 0xdc00 || low > 0xdfff) refuse(j, at, "half of a surrogate pair stands alone");
  return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

/* Pushes the string that begins here. */
static void parse_string(parser *j) {
  const char *at = j->p++;
  mfr_buffer *out = j->text;
  out->size = 0;
  for (;;) {
    if (j->p >= j->end) refuse(j, at, "the string that begins here does not end");
    unsigned char c = (unsigned char)*j->p++;
    if (c == '"') break;
    if (c < 0x20) refuse(j, j->p - 1, "a control character in a string is written as an escape");
    if (!mfr_buffer_reserve(out, 4)) {
      mfr_push_error(j->L, j->state, MF_NO_MEMORY, "no memory to parse JSON");
      lua_error(j->L);
    }
    if (c == '\\')
      add_code_point(out, parse_escape(j));
    else
      out->data[out->size++] = (char)c;
  }
  lua_pushlstring(j->L, out->size ? out->data : "", out->size);
}

static bool digits(parser *j) {
  const char *at = j->p;
  while (j->p < j->end && *j->p >= '0' && *j->p <= '9')
    j->p++;
  return j->p > at;
}

static void parse_number(parser *j) {
  const char *at = j->p;
  bool is_float = false;
  take(j, '-');
  if (!take(j, '0') && !digits(j)) refuse(j, at, "no value begins like this");
  if (take(j, '.')) {
    is_float = true;
    if (!digits(j)) refuse(j, at, "a decimal point is followed by digits");
  }
  if (take(j, 'e') || take(j, 'E')) {
    is_float = true;
    if (!take(j, '-')) take(j, '+');
    if (!digits(j)) refuse(j, at, "an exponent has digits");
  }
  /* What JSON calls a number Lua can read: its own conversion does not depend on the locale. */
  lua_pushlstring(j->L, at, (size_t)(j->p - at));
  lua_stringtonumber(j->L, lua_tostring(j->L, -1));
  lua_remove(j->L, -2);
  if (!is_float && !lua_isinteger(j->L, -1))
    refuse(j, at, "the integer does not fit 64 bits with a sign");
  if (is_float && !isfinite(lua_tonumber(j->L, -1)))
    refuse(j, at, "the number is too large for a float");
}

static void parse_value(parser *j);

static void enter(parser *j) {
  if (++j->depth > MFR_DEPTH_MAX) refuse(j, j->p, "values are nested at most 128 deep");
  luaL_checkstack(j->L, 6, "JSON");
  j->p++;
  skip_space(j);
}

static void parse_array(parser *j) {
  const char *at = j->p;
  enter(j);
  lua_newtable(j->L);
  if (take(j, ']')) {
    lua_rawgeti(j->L, LUA_REGISTRYINDEX, j->state->array_ref);
    lua_setmetatable(j->L, -2);
  } else {
    for (lua_Integer i = 1;; i++) {
      parse_value(j);
      lua_rawseti(j->L, -2, i);
      if (take(j, ']')) break;
      if (j->p >= j->end) refuse(j, at, "the array that begins here does not end");
      if (!take(j, ',')) refuse(j, j->p, "a comma or ] is needed");
      skip_space(j);
    }
  }
  j->depth--;
}

static void parse_object(parser *j) {
  const char *at = j->p;
  enter(j);
  lua_newtable(j->L);
  while (!take(j, '}')) {
    if (j->p >= j->end) refuse(j, at, "the object that begins here does not end");
    const char *key = j->p;
    if (*j->p != '"') refuse(j, j->p, "a key is a string in double quotes");
    parse_string(j);
    lua_pushvalue(j->L, -1);
    if (lua_rawget(j->L, -3) != LUA_TNIL) refuse(j, key, "the key stands twice in this object");
    lua_pop(j->L, 1);
    skip_space(j);
    if (!take(j, ':')) refuse(j, j->p, "a key is followed by a colon");
    parse_value(j);
    lua_rawset(j->L, -3);
    if (take(j, ',')) {
      skip_space(j);
      if (j->p < j->end && *j->p == '}') refuse(j, j->p, "a comma is followed by another key");
    } else if (j->p < j->end && *j->p != '}')
      refuse(j, j->p, "a comma or } is needed");
  }
  j->depth--;
}

static bool take_word(parser *j, const char *word) {
  size_t size = strlen(word);
  if ((size_t)(j->end - j->p) < size || memcmp(j->p, word, size) != 0) return false;
  j->p += size;
  return true;
}

/* Pushes the value that begins here or behind space, and skips the space behind it. */
static void parse_value(parser *j) {
  skip_space(j);
  if (j->p >= j->end) refuse(j, j->p, "a value is missing at the end");
  if (*j->p == '{')
    parse_object(j);
  else if (*j->p == '[')
    parse_array(j);
  else if (*j->p == '"')
    parse_string(j);
  else if (take_word(j, "true"))
    lua_pushboolean(j->L, 1);
  else if (take_word(j, "false"))
    lua_pushboolean(j->L, 0);
  else if (take_word(j, "null"))
    lua_rawgeti(j->L, LUA_REGISTRYINDEX, j->state->null_ref);
  else
    parse_number(j);
  skip_space(j);
}

int mfr_from_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text text = mfr_check_string(L, state, 1, "text");
  lua_settop(L, 1);
  luaL_checkstack(L, 10, "JSON");
  if (!mfr_is_utf8(text.data, text.size))
    mfr_misuse(L, state, "text", "JSON text is UTF-8, and this is not");
  mfr_buffer *buffer = mfr_borrow(L, state);
  parser j = {L, state, buffer, text.data, text.data, text.data + text.size, 0};
  parse_value(&j);
  if (j.p < j.end) refuse(&j, j.p, "something follows the value");
  mfr_give_back(state, buffer);
  return 1;
}
