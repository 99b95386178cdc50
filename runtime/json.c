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
 * A value is first encoded as MessagePack, which checks it, sorts its keys and finds cycles; JSON
 * is written from there. So there is one traversal that knows what can be stored.
 */
typedef struct writer {
  lua_State *L;
  const mfr_state *state;
  mfr_buffer *out;
  const uint8_t *p;
  int tags;
} writer;

static char *more(writer *w, size_t size) {
  if (!mfr_buffer_reserve(w->out, size)) {
    mfr_push_error(w->L, w->state, MF_NO_MEMORY, "no memory to write JSON");
    lua_error(w->L);
  }
  return w->out->data + w->out->size;
}

static void add_bytes(writer *w, const char *bytes, size_t size) {
  memcpy(more(w, size), bytes, size);
  w->out->size += size;
}

static void add_text(writer *w, const char *text) {
  add_bytes(w, text, strlen(text));
}

static uint64_t number(writer *w, unsigned size) {
  uint64_t n = 0;
  for (unsigned i = 0; i < size; i++)
    n = n << 8 | *w->p++;
  return n;
}

static void add_escape(writer *w, unsigned char c) {
  static const char plain[] = "\"\\\n\t\r", letters[] = "\"\\ntr";
  char escape[8];
  const char *found = strchr(plain, c);
  if (found && c)
    snprintf(escape, sizeof escape, "\\%c", letters[found - plain]);
  else
    snprintf(escape, sizeof escape, "\\u%04x", c);
  add_text(w, escape);
}

/* Strings are copied in runs of what needs no escape. */
static void write_escaped(writer *w, const char *text, size_t size) {
  size_t run = 0;
  add_text(w, "\"");
  for (size_t i = 0; i < size; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) continue;
    add_bytes(w, text + run, i - run);
    add_escape(w, c);
    run = i + 1;
  }
  add_bytes(w, text + run, size - run);
  add_text(w, "\"");
}

/* The shortest decimal that reads back as the same double, always recognisable as a float. */
static void write_double(writer *w, double value) {
  char text[40];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  for (char *p = text; *p; p++)
    if (*p == ',') *p = '.'; /* a host's locale */
  if (!strpbrk(text, ".e")) strcat(text, ".0");
  add_text(w, text);
}

void mfr_base64_write(char *out, const uint8_t *bytes, size_t size) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < size; i += 3) {
    unsigned b1 = i + 1 < size ? bytes[i + 1] : 0, b2 = i + 2 < size ? bytes[i + 2] : 0;
    unsigned n = (unsigned)bytes[i] << 16 | b1 << 8 | b2;
    *out++ = digits[n >> 18];
    *out++ = digits[n >> 12 & 63];
    *out++ = i + 1 < size ? digits[n >> 6 & 63] : '=';
    *out++ = i + 2 < size ? digits[n & 63] : '=';
  }
}

static void write_base64(writer *w, const uint8_t *bytes, size_t size) {
  add_text(w, "{\"$base64\":\"");
  mfr_base64_write(more(w, mfr_base64_size(size)), bytes, size);
  w->out->size += mfr_base64_size(size);
  add_text(w, "\"}");
}

static void write_value(writer *w, bool key);

static void write_integer(writer *w, long long value, bool key) {
  char text[32];
  snprintf(text, sizeof text, key ? "\"%lld\"" : "%lld", value);
  add_text(w, text);
}

static void write_list(writer *w, size_t count) {
  add_text(w, "[");
  for (size_t i = 0; i < count; i++) {
    if (i) add_text(w, ",");
    write_value(w, false);
  }
  add_text(w, "]");
}

/* Whether the map whose first key is next is no JSON object, or would be taken for a tag. */
static bool is_tagged(const writer *w, size_t count) {
  const uint8_t *p = w->p;
  if (w->tags == MFR_JSON_PLAIN || count == 0) return false;
  /* Integer keys come first. */
  bool integer = *p < 0x80 || *p >= 0xe0 || (*p >= 0xcc && *p <= 0xd3);
  if (w->tags == MFR_JSON_EXACT && integer) return true;
  if (count == 1 && ((*p == 0xa7 && memcmp(p + 1, "$base64", 7) == 0) ||
                     (*p == 0xa4 && memcmp(p + 1, "$map", 4) == 0)))
    return true;
  for (size_t i = 0; i < count; i++) {
    if (*p >= 0xc4 && *p <= 0xc6) return true; /* a key that is no UTF-8 */
    p = mfr_skip(mfr_skip(p));
  }
  return false;
}

/* A map as a list of pairs. */
static void write_pairs(writer *w, size_t count) {
  add_text(w, "{\"$map\":[");
  for (size_t i = 0; i < count; i++) {
    add_text(w, i ? ",[" : "[");
    write_value(w, false);
    add_text(w, ",");
    write_value(w, false);
    add_text(w, "]");
  }
  add_text(w, "]}");
}

static void write_map(writer *w, size_t count) {
  if (is_tagged(w, count)) {
    write_pairs(w, count);
    return;
  }
  add_text(w, "{");
  for (size_t i = 0; i < count; i++) {
    if (i) add_text(w, ",");
    write_value(w, true);
    add_text(w, ":");
    write_value(w, false);
  }
  add_text(w, "}");
}

static void write_string(writer *w, size_t size) {
  write_escaped(w, (const char *)w->p, size);
  w->p += size;
}

static void write_bin(writer *w, size_t size) {
  write_base64(w, w->p, size);
  w->p += size;
}

/* The bytes are our own encoder's, or were found to be like them: only the forms that it writes
 * occur. */
static void write_value(writer *w, bool key) {
  unsigned tag = *w->p++;
  if (tag < 0x80)
    write_integer(w, tag, key);
  else if (tag >= 0xe0)
    write_integer(w, (long long)tag - 256, key);
  else if (tag >= 0xa0 && tag <= 0xbf)
    write_string(w, tag & 0x1f);
  else if (tag >= 0x90 && tag <= 0x9f)
    write_list(w, tag & 0xf);
  else if (tag >= 0x80 && tag <= 0x8f)
    write_map(w, tag & 0xf);
  else if (tag == 0xc0)
    add_text(w, "null");
  else if (tag == 0xc2 || tag == 0xc3)
    add_text(w, tag == 0xc3 ? "true" : "false");
  else if (tag >= 0xcc && tag <= 0xcf)
    write_integer(w, (long long)number(w, 1u << (tag - 0xcc)), key);
  else if (tag >= 0xd0 && tag <= 0xd3) {
    unsigned size = 1u << (tag - 0xd0), shift = 64 - 8 * size;
    write_integer(w, (long long)(number(w, size) << shift) >> shift, key);
  } else if (tag >= 0xd9 && tag <= 0xdb)
    write_string(w, (size_t)number(w, 1u << (tag - 0xd9)));
  else if (tag >= 0xc4 && tag <= 0xc6)
    write_bin(w, (size_t)number(w, 1u << (tag - 0xc4)));
  else if (tag == 0xdc || tag == 0xdd)
    write_list(w, (size_t)number(w, tag == 0xdc ? 2 : 4));
  else if (tag == 0xde || tag == 0xdf)
    write_map(w, (size_t)number(w, tag == 0xde ? 2 : 4));
  else if (tag == 0xcb) {
    uint64_t bits = number(w, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    write_double(w, value);
  }
}

void mfr_json_write(lua_State *L, const mfr_state *state, mfr_buffer *out, const void *encoded,
                    int tags) {
  writer w = {L, state, out, encoded, tags};
  write_value(&w, false);
}

void mfr_json_write_bytes(lua_State *L, const mfr_state *state, mfr_buffer *out, mf_bytes bytes) {
  writer w = {L, state, out, NULL, MFR_JSON_TAGGED};
  write_base64(&w, bytes.data, bytes.size);
}

void mfr_json_write_string(lua_State *L, const mfr_state *state, mfr_buffer *out, mf_bytes text) {
  writer w = {L, state, out, NULL, MFR_JSON_TAGGED};
  if (mfr_is_utf8(text.data, text.size))
    write_escaped(&w, text.data, text.size);
  else
    write_base64(&w, text.data, text.size);
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
  if (state->sandbox) mfr_see_through(L, -1);
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

int mfr_push_json(lua_State *L, mfr_state *state, int index, int tags) {
  mfr_buffer *buffer = mfr_borrow(L, state);
  mfr_encode(L, state, buffer, index, "value");
  if (tags == MFR_JSON_PLAIN) {
    lua_pushvalue(L, index);
    refuse_bytes(L, state, "value");
    lua_pop(L, 1);
  }
  mfr_buffer *out = mfr_borrow(L, state);
  mfr_json_write(L, state, out, buffer->data, tags);
  lua_pushlstring(L, out->data, out->size);
  mfr_give_back(state, out);
  mfr_give_back(state, buffer);
  return 1;
}

int mfr_to_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_check_value(L, state, 1);
  lua_settop(L, 1);
  return mfr_push_json(L, state, 1, MFR_JSON_PLAIN);
}

/* ---- parsing ---- */

typedef struct parser {
  lua_State *L;
  mfr_state *state;
  mfr_buffer *text; /* the string that is being read */
  const char *start, *p, *end;
  size_t line; /* of the text's beginning */
  int depth;
  bool tags; /* objects that stand for what JSON lacks are read as that */
} parser;

/* Raises invalid_argument with the line and column (in bytes, from 1) of `at`. */
static int refuse(parser *j, const char *at, const char *why) {
  size_t line = j->line, column = 1;
  for (const char *p = j->start; p < at; p++) {
    column++;
    if (*p != '\n') continue;
    line++;
    column = 1;
  }
  return mfr_misuse(j->L, j->state, "text", "line %zu, column %zu: %s", line, column, why);
}

/* Names the first line that is no UTF-8, and where in it. */
static void refuse_bad_utf8(parser *j) {
  const char *good = j->start;
  for (size_t step = (size_t)(j->end - j->start); step > 0; step /= 2)
    while ((size_t)(j->end - good) >= step &&
           mfr_is_utf8(j->start, (size_t)(good - j->start) + step))
      good += step;
  refuse(j, good, "JSON text is UTF-8, and this is not");
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
  while (j->p < j->end && *j->p != '"' && *j->p != '\\' && (unsigned char)*j->p >= 0x20)
    j->p++;
  if (j->p < j->end && *j->p == '"') { /* most have no escapes, and are pushed as they stand */
    lua_pushlstring(j->L, at + 1, (size_t)(j->p++ - at - 1));
    return;
  }
  j->p = at + 1;
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

static int base64_digit(unsigned char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool mfr_push_base64(lua_State *L, const char *text, size_t size) {
  luaL_Buffer out;
  if (size % 4 != 0) return false;
  char *bytes = luaL_buffinitsize(L, &out, size);
  char *p = bytes;
  size_t padding = size == 0 ? 0 : (size_t)(text[size - 1] == '=') + (text[size - 2] == '=');
  for (size_t i = 0; i < size; i += 4) {
    unsigned n = 0;
    for (size_t k = i; k < i + 4; k++) {
      int digit = k < size - padding ? base64_digit((unsigned char)text[k]) : 0;
      if (digit < 0) {
        luaL_pushresultsize(&out, 0);
        lua_pop(L, 1);
        return false;
      }
      n = n << 6 | (unsigned)digit;
    }
    *p++ = (char)(n >> 16);
    *p++ = (char)(n >> 8);
    *p++ = (char)n;
  }
  luaL_pushresultsize(&out, (size_t)(p - bytes) - padding);
  return true;
}

/* Replaces the list of pairs on top by the map that it stands for; false: it is no such list. */
static bool pairs_to_map(parser *j) {
  lua_State *L = j->L;
  int list = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  lua_newtable(L);
  for (lua_Integer i = 1; i <= count; i++) {
    bool fine = lua_rawgeti(L, list, i) == LUA_TTABLE && lua_rawlen(L, -1) == 2;
    if (fine) {
      lua_rawgeti(L, list + 2, 1);
      lua_rawgeti(L, list + 2, 2);
      fine = lua_type(L, -2) == LUA_TSTRING || lua_isinteger(L, -2);
    }
    if (fine) {
      lua_pushvalue(L, -2);
      fine = lua_rawget(L, list + 1) == LUA_TNIL;
      lua_pop(L, 1);
    }
    if (!fine) {
      lua_settop(L, list);
      return false;
    }
    lua_rawset(L, list + 1);
    lua_settop(L, list + 1);
  }
  lua_replace(L, list);
  return true;
}

/* {"$base64": "..."} and {"$map": [[key, value], ...]} stand for bytes and for a map with keys that
 * are no text. The object is on top. */
static void read_tag(parser *j) {
  lua_State *L = j->L;
  size_t size;
  int object = lua_gettop(L);
  lua_pushnil(L);
  lua_next(L, object);
  const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
  bool fine = false;
  if (strcmp(key, "$base64") == 0 && lua_type(L, -1) == LUA_TSTRING) {
    const char *text = lua_tolstring(L, -1, &size);
    fine = mfr_push_base64(L, text, size);
  } else if (strcmp(key, "$map") == 0 && lua_type(L, -1) == LUA_TTABLE)
    fine = pairs_to_map(j);
  if (fine) lua_replace(L, object);
  lua_settop(L, object);
}

/* Room that an object gets at once: growing to it takes three allocations. */
#define FIELDS_EXPECTED 4

static void parse_object(parser *j) {
  const char *at = j->p;
  size_t keys = 0;
  bool tag = false;
  enter(j);
  luaL_checkstack(j->L, 10, "JSON");
  lua_createtable(j->L, 0, j->p < j->end && *j->p != '}' ? FIELDS_EXPECTED : 0);
  while (!take(j, '}')) {
    if (j->p >= j->end) refuse(j, at, "the object that begins here does not end");
    const char *key = j->p;
    if (*j->p != '"') refuse(j, j->p, "a key is a string in double quotes");
    if (keys++ == 0) tag = j->tags && j->end - j->p > 1 && j->p[1] == '$';
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
  if (tag && keys == 1) read_tag(j);
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

void mfr_parse_json(lua_State *L, mfr_state *state, const char *text, size_t size, bool tags,
                    size_t line) {
  luaL_checkstack(L, 10, "JSON");
  mfr_buffer *buffer = mfr_borrow(L, state);
  parser j = {L, state, buffer, text, text, text + size, line, 0, tags};
  if (!mfr_is_utf8(text, size)) refuse_bad_utf8(&j);
  parse_value(&j);
  if (j.p < j.end) refuse(&j, j.p, "something follows the value");
  mfr_give_back(state, buffer);
  lua_remove(L, -2); /* the buffer */
}

int mfr_from_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text text = mfr_check_string(L, state, 1, "text");
  mfr_sandbox_charge(L, state, 10 + 2 * (int64_t)text.size);
  lua_settop(L, 1);
  mfr_parse_json(L, state, text.data, text.size, false, 1);
  return 1;
}
