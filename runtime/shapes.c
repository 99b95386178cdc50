/*
 * Shapes: what a decider declares of the data of its events and commands, and the check of a value
 * against it; and its invariant.
 *
 *   "string" "integer" "number" "boolean" "table" "null" "any"      a kind
 *   "integer|null"  "'red'|'green'"                                 one of several; texts in quotes
 *   "string?"  ["address?"] = { ... }                               may be absent
 *   { sku = "string", quantity = "integer" }                        these fields and no others
 *   { "string" }  { { sku = "string" } }                            a list
 *   { ["*"] = "integer" }  ["[integer]"]  ["[string]"]              any other key, or of that type
 *
 * The declared tables are walked as they are: nothing is compiled, so nothing goes stale, and a
 * shape may contain itself. A value is checked without making anything (fits); only one that does
 * not fit is walked again, in sorted order, to tell the first problem (explain).
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  A_STRING = 1,
  AN_INTEGER = 2,
  A_FLOAT = 4,
  A_BOOLEAN = 8,
  A_TABLE = 16,
  A_NULL = 32,
  ABSENT = 64, /* not in `any` */
  ANY = A_STRING | AN_INTEGER | A_FLOAT | A_BOOLEAN | A_TABLE | A_NULL,
  KEYS_MOST = 200 /* keys that are looked at for a message */
};

static const struct {
  const char *name;
  size_t size;
  const char *article; /* for messages: "a string" */
  unsigned kinds;
} kinds[] = {
    {"string", 6, "a string", A_STRING},
    {"integer", 7, "an integer", AN_INTEGER},
    {"number", 6, "a number", AN_INTEGER | A_FLOAT},
    {"boolean", 7, "true or false", A_BOOLEAN},
    {"table", 5, "a table", A_TABLE},
    {"any", 3, "a value", ANY},
    {"null", 4, "moonfold.null", A_NULL},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- kinds as they are written: "integer|null?" ---- */

typedef struct alternative {
  const char *text; /* the word, or what stands between the quotes */
  size_t size;
  unsigned kinds; /* 0: a text in quotes, or a mistake */
  bool quoted;
} alternative;

static const char *skip_blanks(const char *p) {
  while (*p == ' ')
    p++;
  return p;
}

static unsigned kind_named(const char *word, size_t size) {
  for (size_t i = 0; i < KINDS; i++)
    if (kinds[i].size == size && memcmp(kinds[i].name, word, size) == 0) return kinds[i].kinds;
  return 0;
}

/* Reads one alternative and the "|" behind it; false at the end. */
static bool next_alternative(const char **text, alternative *out) {
  const char *p = skip_blanks(*text);
  memset(out, 0, sizeof *out);
  if (!*p) return false;
  out->text = p;
  if (p[0] == '?' && !*skip_blanks(p + 1)) {
    out->size = 1;
    out->kinds = ABSENT;
    *text = p + 1;
    return true;
  }
  if (*p == '\'' || *p == '"') {
    const char *end = strchr(p + 1, *p);
    out->quoted = end != NULL;
    out->text += out->quoted;
    p = end ? end : p + strlen(p);
    out->size = (size_t)(p - out->text);
    p += out->quoted;
  } else {
    p += strcspn(p, "|?' \"");
    out->size = (size_t)(p - out->text);
    out->kinds = kind_named(out->text, out->size);
  }
  p = skip_blanks(p);
  const char *next = *p == '|' ? p + 1 : p;
  bool more = next > p && *skip_blanks(next);
  bool last = !*p || (*p == '?' && !*skip_blanks(p + 1));
  if (!more && !last) out->kinds = 0, out->quoted = false;
  *text = out->kinds || out->quoted ? next : p + strlen(p);
  return true;
}

static unsigned kind_of(lua_State *L, const mfr_state *state, int index) {
  switch (lua_type(L, index)) {
  case LUA_TSTRING:
    return A_STRING;
  case LUA_TNUMBER:
    return lua_isinteger(L, index) ? AN_INTEGER : A_FLOAT;
  case LUA_TBOOLEAN:
    return A_BOOLEAN;
  case LUA_TTABLE:
    return A_TABLE;
  case LUA_TNIL:
    return ABSENT;
  default:
    return lua_touserdata(L, index) == state->null ? A_NULL : 0;
  }
}

static bool is_kind(lua_State *L, const mfr_state *state, const char *text, int value) {
  unsigned kind = kind_of(L, state, value);
  alternative a;
  while (next_alternative(&text, &a)) {
    if (a.kinds & kind) return true;
    if (!a.quoted || kind != A_STRING) continue;
    size_t size;
    const char *given = lua_tolstring(L, value, &size);
    if (size == a.size && memcmp(given, a.text, size) == 0) return true;
  }
  return false;
}

/* ---- whether a value fits: absolute indices; the stack is left as it was, but for tables that
 * were read-only ones of a sandbox ---- */

/* In a sandbox the work is paid for: a list of many tables meets a shape of many fields. */
static void charge(lua_State *L, const mfr_state *state, size_t steps) {
  mfr_sandbox_charge(L, state, 10 * (int64_t)steps);
}

typedef enum rest { NO_REST, ANY_KEY, INTEGER_KEYS, STRING_KEYS } rest;

static rest rest_of(const char *key) {
  if (key[0] != '*' && key[0] != '[') return NO_REST;
  if (strcmp(key, "*") == 0) return ANY_KEY;
  if (strcmp(key, "[integer]") == 0) return INTEGER_KEYS;
  return strcmp(key, "[string]") == 0 ? STRING_KEYS : NO_REST;
}

/* Pushes the name of the field that a key declares; whether "?" says that it may be absent. */
static bool push_field_name(lua_State *L, int key) {
  size_t size;
  const char *text = lua_tolstring(L, key, &size);
  bool optional = size > 1 && text[size - 1] == '?';
  if (optional)
    lua_pushlstring(L, text, size - 1);
  else
    lua_pushvalue(L, key);
  return optional;
}

static bool fits(lua_State *L, const mfr_state *state, int shape, int value);

static bool list_fits(lua_State *L, const mfr_state *state, int shape, int value) {
  int top = lua_gettop(L);
  lua_Unsigned count = 0, length = lua_rawlen(L, value);
  lua_rawgeti(L, shape, 1);
  bool fine = true;
  for (lua_pushnil(L); fine && lua_next(L, value); lua_settop(L, top + 2)) {
    count++;
    fine = lua_isinteger(L, -2) && fits(L, state, top + 1, top + 3);
  }
  lua_settop(L, top);
  charge(L, state, count);
  return fine && count == length;
}

/* Whether the shape declares the field whose name is at `key`. */
static bool declares(lua_State *L, int shape, int key) {
  if (lua_type(L, key) != LUA_TSTRING) return false;
  lua_pushvalue(L, key);
  bool declared = lua_rawget(L, shape) != LUA_TNIL && rest_of(lua_tostring(L, key)) == NO_REST;
  lua_pop(L, 1);
  if (declared) return true;
  lua_pushfstring(L, "%s?", lua_tostring(L, key));
  declared = lua_rawget(L, shape) != LUA_TNIL;
  lua_pop(L, 1);
  return declared;
}

static bool key_allowed(lua_State *L, int key, rest kind) {
  return kind == ANY_KEY || (kind == INTEGER_KEYS) == (lua_type(L, key) == LUA_TNUMBER);
}

/* The fields that no name declares: each must fit the shape at `element`. */
static bool rest_fits(lua_State *L, const mfr_state *state, int shape, int value, int element,
                      rest kind) {
  int top = lua_gettop(L);
  size_t steps = 0;
  bool fine = true;
  for (lua_pushnil(L); fine && lua_next(L, value); lua_settop(L, top + 1)) {
    steps++;
    if (declares(L, shape, top + 1)) continue;
    fine = key_allowed(L, top + 1, kind) && fits(L, state, element, top + 2);
  }
  lua_settop(L, top);
  charge(L, state, steps);
  return fine;
}

static size_t count_keys(lua_State *L, int table) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    count++;
  return count;
}

/* One field that the shape declares: its key at `key`, its shape above. Counts it when it is there.
 */
static bool field_fits(lua_State *L, const mfr_state *state, int value, int key, size_t *present) {
  bool optional = push_field_name(L, key);
  if (lua_rawget(L, value) == LUA_TNIL && optional) return true;
  *present += !lua_isnil(L, key + 2);
  return fits(L, state, key + 1, key + 2);
}

static bool record_fits(lua_State *L, const mfr_state *state, int shape, int value) {
  int top = lua_gettop(L);
  size_t present = 0, steps = 0;
  rest kind = NO_REST;
  bool fine = true;
  lua_pushnil(L); /* the shape of the rest */
  for (lua_pushnil(L); fine && lua_next(L, shape); lua_settop(L, top + 2)) {
    steps++;
    rest found = lua_type(L, top + 2) == LUA_TSTRING ? rest_of(lua_tostring(L, top + 2)) : NO_REST;
    if (found != NO_REST) {
      kind = found;
      lua_replace(L, top + 1);
    } else
      fine = lua_type(L, top + 2) == LUA_TSTRING && field_fits(L, state, value, top + 2, &present);
  }
  lua_settop(L, top + 1);
  if (fine && kind != NO_REST)
    fine = rest_fits(L, state, shape, value, top + 1, kind);
  else if (fine)
    fine = count_keys(L, value) == present;
  charge(L, state, steps + present);
  lua_settop(L, top);
  return fine;
}

static bool is_list_shape(lua_State *L, int shape) {
  bool list = lua_rawgeti(L, shape, 1) != LUA_TNIL;
  lua_pop(L, 1);
  return list;
}

static bool fits(lua_State *L, const mfr_state *state, int shape, int value) {
  int type = lua_type(L, shape);
  if (type == LUA_TSTRING) return is_kind(L, state, lua_tostring(L, shape), value);
  if (type != LUA_TTABLE || lua_type(L, value) != LUA_TTABLE) return false;
  luaL_checkstack(L, 12, "shape");
  if (state->sandbox) mfr_see_through(L, value); /* a script's constant */
  if (is_list_shape(L, shape)) return list_fits(L, state, shape, value);
  return record_fits(L, state, shape, value);
}

/* ---- why it does not: [-0, +2] the path and the problem ---- */

/* Leaves the two values on top, the path and the problem, right above what was there before. */
static void keep_two(lua_State *L, int top) {
  int last = lua_gettop(L);
  lua_pushvalue(L, last - 1);
  lua_pushvalue(L, last);
  lua_replace(L, top + 2);
  lua_replace(L, top + 1);
  lua_settop(L, top + 2);
}

static int compare_texts(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The string keys of a table, sorted, and NULL behind them; they live as long as the table does. */
static size_t sorted_keys(lua_State *L, int table, const char *names[KEYS_MOST + 1]) {
  size_t n = 0;
  for (lua_pushnil(L); n < KEYS_MOST && lua_next(L, table); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) names[n++] = lua_tostring(L, -2);
  lua_settop(L, n < KEYS_MOST ? lua_gettop(L) : lua_gettop(L) - 1);
  qsort(names, n, sizeof *names, compare_texts);
  names[n] = NULL;
  return n;
}

/* Pushes text between quotes, cut, with nothing in it that a terminal would obey. */
static void push_quoted(lua_State *L, const char *text, size_t size) {
  enum { MOST = 40 };
  char copy[MOST + 1];
  size_t n = size > MOST ? MOST : size;
  while (n < size && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
    n--; /* not in the middle of a character */
  bool utf8 = mfr_is_utf8(text, n);
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)text[i];
    copy[i] = c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : text[i];
  }
  copy[n] = 0;
  lua_pushfstring(L, "\"%s%s\"", copy, n < size ? "..." : "");
}

/* Pushes what a value is: `the string "3"`, "2.5", "a table". */
static void push_description(lua_State *L, const mfr_state *state, int value) {
  size_t size;
  const char *text;
  switch (kind_of(L, state, value)) {
  case A_STRING:
    text = lua_tolstring(L, value, &size);
    push_quoted(L, text, size);
    lua_pushfstring(L, "the string %s", lua_tostring(L, -1));
    lua_remove(L, -2);
    break;
  case AN_INTEGER:
  case A_FLOAT:
    lua_pushfstring(L, "the %s %s", lua_isinteger(L, value) ? "integer" : "float",
                    luaL_tolstring(L, value, NULL));
    lua_remove(L, -2);
    break;
  case A_BOOLEAN:
    lua_pushstring(L, lua_toboolean(L, value) ? "true" : "false");
    break;
  case A_NULL:
    lua_pushliteral(L, "moonfold.null");
    break;
  default:
    lua_pushfstring(L, "a %s", luaL_typename(L, value));
  }
}

/* Adds a step to the path at an index and pushes the new one: ".sku", "[3]", "[\"odd key\"]". */
static void push_step(lua_State *L, int path, int key) {
  size_t size;
  if (lua_type(L, key) != LUA_TSTRING) {
    lua_pushfstring(L, "%s[%s]", lua_tostring(L, path), luaL_tolstring(L, key, NULL));
    lua_remove(L, -2);
    return;
  }
  const char *text = lua_tolstring(L, key, &size);
  if (mfr_is_name(text, size)) {
    lua_pushfstring(L, "%s.%s", lua_tostring(L, path), text);
    return;
  }
  push_quoted(L, text, size);
  lua_pushfstring(L, "%s[%s]", lua_tostring(L, path), lua_tostring(L, -1));
  lua_remove(L, -2);
}

/* Adds what is needed to the buffer on top: `a string`, `"red" or "green"`. */
static void add_needs(lua_State *L, luaL_Buffer *out, const char *text) {
  alternative a;
  for (bool first = true; next_alternative(&text, &a); first = false) {
    if (a.kinds & ABSENT && !(a.kinds & ANY)) continue;
    if (!first) luaL_addstring(out, " or ");
    if (a.quoted) {
      push_quoted(L, a.text, a.size);
      luaL_addvalue(out);
    }
    for (size_t i = 0; !a.quoted && i < KINDS; i++)
      if (kinds[i].kinds == a.kinds) luaL_addstring(out, kinds[i].article);
  }
}

/* Pushes `: did you mean "red"?` for a text that is near one of those in quotes, or "". */
static __attribute__((noinline)) void push_near_choice(lua_State *L, const char *text, int value) {
  const char *names[KEYS_MOST + 1], *nearest = NULL;
  int top = lua_gettop(L);
  size_t n = 0;
  alternative a;
  luaL_checkstack(L, KEYS_MOST + 8, "shape");
  while (n < KEYS_MOST && next_alternative(&text, &a))
    if (a.quoted) names[n++] = lua_pushlstring(L, a.text, a.size);
  names[n] = NULL;
  if (lua_type(L, value) == LUA_TSTRING) nearest = mfr_nearest(lua_tostring(L, value), names);
  lua_pushfstring(L, nearest ? ": did you mean \"%s\"?" : "", nearest);
  lua_insert(L, top + 1);
  lua_settop(L, top + 1);
}

static void explain_kind(lua_State *L, const mfr_state *state, int shape, int value) {
  luaL_Buffer out;
  const char *text = lua_tostring(L, shape);
  push_near_choice(L, text, value);
  if (lua_isnil(L, value))
    lua_pushnil(L);
  else
    push_description(L, state, value);
  int description = lua_gettop(L);
  luaL_buffinit(L, &out);
  if (lua_isnil(L, value)) luaL_addstring(&out, "it is missing: ");
  add_needs(L, &out, text);
  luaL_addstring(&out, " is needed");
  luaL_pushresult(&out);
  if (!lua_isnil(L, value))
    lua_pushfstring(L, "%s, this is %s%s", lua_tostring(L, -1), lua_tostring(L, description),
                    lua_tostring(L, description - 1));
  lua_replace(L, description - 1);
  lua_settop(L, description - 1);
}

static void explain(lua_State *L, const mfr_state *state, int shape, int value, int path);

static void explain_list(lua_State *L, const mfr_state *state, int shape, int value, int path) {
  lua_Integer length = (lua_Integer)lua_rawlen(L, value);
  int top = lua_gettop(L);
  lua_rawgeti(L, shape, 1);
  for (lua_Integer i = 1; i <= length; i++) {
    lua_rawgeti(L, value, i);
    if (!fits(L, state, top + 1, top + 2)) {
      lua_pushinteger(L, i);
      push_step(L, path, top + 3);
      explain(L, state, top + 1, top + 2, top + 4);
      return;
    }
    lua_settop(L, top + 1);
  }
  lua_pushvalue(L, path);
  lua_pushliteral(L, "a list is needed, which has the keys 1 to n and no others");
}

/* Names of the declared fields, without their "?", for the nearest one. */
static __attribute__((noinline)) void push_unknown(lua_State *L, int shape, const char *name) {
  const char *names[KEYS_MOST + 1];
  size_t n = sorted_keys(L, shape, names);
  luaL_checkstack(L, KEYS_MOST + 8, "shape");
  for (size_t i = 0; i < n; i++) {
    lua_pushstring(L, names[i]);
    push_field_name(L, lua_gettop(L));
    lua_remove(L, -2);
    names[i] = lua_tostring(L, -1);
  }
  const char *nearest = name ? mfr_nearest(name, names) : NULL;
  if (nearest) {
    lua_pushfstring(L, "there is no such field: did you mean \"%s\"?", nearest);
    return;
  }
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  luaL_addstring(&out, "there is no such field: ");
  if (n == 0) luaL_addstring(&out, "there are none");
  if (n > 0) luaL_addstring(&out, n == 1 ? "there is " : "there are ");
  for (size_t i = 0; i < n; i++) {
    if (i > 0) luaL_addstring(&out, ", ");
    luaL_addstring(&out, names[i]);
  }
  luaL_pushresult(&out);
}

/* Pushes the least key of the value that the shape neither declares nor lets pass; false: none. */
static bool push_stranger(lua_State *L, const mfr_state *state, int shape, int value, int element,
                          rest kind) {
  int top = lua_gettop(L);
  lua_pushnil(L); /* the least so far */
  for (lua_pushnil(L); lua_next(L, value); lua_settop(L, top + 2)) {
    if (declares(L, shape, top + 2)) continue;
    if (kind != NO_REST && key_allowed(L, top + 2, kind) && fits(L, state, element, top + 3))
      continue;
    bool comparable = lua_type(L, top + 2) == lua_type(L, top + 1);
    if (lua_type(L, top + 2) == LUA_TSTRING) /* of NULs a byte takes 9 ns */
      mfr_sandbox_charge(L, state, (int64_t)lua_rawlen(L, top + 2) / 2);
    bool less = comparable ? lua_compare(L, top + 2, top + 1, LUA_OPLT)
                           : lua_isnil(L, top + 1) || lua_type(L, top + 2) == LUA_TNUMBER;
    if (!less) continue;
    lua_pushvalue(L, top + 2);
    lua_replace(L, top + 1);
  }
  lua_settop(L, top + 1);
  if (!lua_isnil(L, top + 1)) return true;
  lua_pop(L, 1);
  return false;
}

static void explain_stranger(lua_State *L, const mfr_state *state, int shape, int value, int path,
                             int element, rest kind) {
  int key = lua_gettop(L);
  push_step(L, path, key);
  if (kind == NO_REST)
    push_unknown(L, shape, lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : NULL);
  else if (!key_allowed(L, key, kind)) {
    push_description(L, state, key);
    lua_pushfstring(L, "its key must be %s, this is %s",
                    kind == INTEGER_KEYS ? "an integer" : "a string", lua_tostring(L, -1));
  } else {
    lua_pushvalue(L, key);
    lua_rawget(L, value);
    explain(L, state, element, key + 2, key + 1);
    return;
  }
  lua_pushvalue(L, key + 1);
  lua_insert(L, -2);
}

/*
 * Pushes the first declared field, by name, that is missing or does not fit: its key, its shape,
 * its name, its value. Not inlined, so that the names take no room while its parts are explained.
 */
static __attribute__((noinline)) bool push_misfit(lua_State *L, const mfr_state *state, int shape,
                                                  int value) {
  const char *names[KEYS_MOST + 1];
  int top = lua_gettop(L);
  sorted_keys(L, shape, names);
  for (const char **name = names; *name; name++, lua_settop(L, top)) {
    if (rest_of(*name) != NO_REST) continue;
    lua_pushstring(L, *name);
    lua_pushvalue(L, -1);
    lua_rawget(L, shape);
    bool optional = push_field_name(L, top + 1);
    lua_pushvalue(L, -1);
    bool absent = lua_rawget(L, value) == LUA_TNIL;
    if (!(absent && optional) && !fits(L, state, top + 2, top + 4)) return true;
  }
  return false;
}

static void explain_field(lua_State *L, const mfr_state *state, int shape, int value, int path) {
  int top = lua_gettop(L);
  if (push_misfit(L, state, shape, value)) {
    push_step(L, path, top + 3);
    explain(L, state, top + 2, top + 4, top + 5);
    return;
  }
  lua_pushvalue(L, path);
  lua_pushliteral(L, "it does not have the declared shape");
}

/* Unknown names come first: a misspelt field is a missing one, too. */
static void explain_record(lua_State *L, const mfr_state *state, int shape, int value, int path) {
  static const char *const keys[] = {"*", "[integer]", "[string]"};
  rest kind = NO_REST;
  lua_pushnil(L);
  int element = lua_gettop(L);
  for (int i = 0; i < 3; i++) {
    lua_pushstring(L, keys[i]);
    if (lua_rawget(L, shape) == LUA_TNIL) {
      lua_pop(L, 1);
      continue;
    }
    kind = rest_of(keys[i]);
    lua_replace(L, element);
  }
  if (push_stranger(L, state, shape, value, element, kind))
    explain_stranger(L, state, shape, value, path, element, kind);
  else
    explain_field(L, state, shape, value, path);
}

/* A table was declared, and this is none. */
static void explain_no_table(lua_State *L, const mfr_state *state, int shape, int value) {
  if (lua_type(L, shape) != LUA_TTABLE) {
    lua_pushfstring(L, "its declared shape is a %s", luaL_typename(L, shape));
    return;
  }
  const char *needed = is_list_shape(L, shape) ? "a list is needed" : "a table is needed";
  if (lua_isnil(L, value)) {
    lua_pushfstring(L, "it is missing: %s", needed);
    return;
  }
  push_description(L, state, value);
  lua_pushfstring(L, "%s, this is %s", needed, lua_tostring(L, -1));
}

/* Every part that is called here leaves the path and the problem on top. */
static void explain(lua_State *L, const mfr_state *state, int shape, int value, int path) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 16, "shape");
  if (state->sandbox) mfr_see_through(L, value);
  if (lua_type(L, shape) == LUA_TTABLE && lua_type(L, value) == LUA_TTABLE) {
    if (is_list_shape(L, shape))
      explain_list(L, state, shape, value, path);
    else
      explain_record(L, state, shape, value, path);
  } else {
    if (lua_type(L, shape) == LUA_TSTRING)
      explain_kind(L, state, shape, value);
    else
      explain_no_table(L, state, shape, value);
    lua_pushvalue(L, path);
    lua_insert(L, -2);
  }
  keep_two(L, top);
}

/* Pushes the shape that is declared for a type; false, and nothing pushed, when none is. */
static bool push_shape(lua_State *L, int shapes, const char *type, size_t size) {
  lua_pushlstring(L, type, size);
  if (lua_rawget(L, shapes) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

bool mfr_has_shape(lua_State *L, const mfr_state *state, int shapes, mfr_text type, int value) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 12, "shape");
  if (!push_shape(L, shapes, type.data, type.size)) return true;
  lua_pushvalue(L, value);
  if (lua_isnil(L, -1) && lua_type(L, top + 1) == LUA_TTABLE && !is_list_shape(L, top + 1)) {
    lua_newtable(L); /* no data is as good as no fields */
    lua_replace(L, top + 2);
  }
  bool fine = fits(L, state, top + 1, top + 2);
  if (!fine) {
    lua_pushliteral(L, "data");
    explain(L, state, top + 1, top + 2, top + 3);
    keep_two(L, top);
  } else
    lua_settop(L, top);
  return fine;
}

/* ---- declarations ---- */

static void check_shape(lua_State *L, const mfr_state *state, int shape, const char *path, int seen,
                        int depth);

static void check_kind(lua_State *L, const mfr_state *state, const char *text, const char *path) {
  const char *names[KINDS + 1], *rest_of_text = text;
  alternative a;
  bool some = false;
  for (size_t i = 0; i < KINDS; i++)
    names[i] = kinds[i].name;
  names[KINDS] = NULL;
  for (; next_alternative(&rest_of_text, &a); some = some || !(a.kinds & ABSENT)) {
    if (a.kinds || a.quoted) continue;
    const char *word = lua_pushlstring(L, a.text, a.size);
    const char *nearest = kind_named(word, a.size) ? NULL : mfr_nearest(word, names);
    if (nearest)
      mfr_misuse(L, state, path, "there is no kind \"%.40s\": did you mean \"%s\"?", word, nearest);
    break;
  }
  if (some && (a.kinds || a.quoted || !a.text)) return;
  mfr_misuse(L, state, path,
             "\"%.80s\" is no shape: kinds are string, integer, number, boolean, table, null and "
             "any; | stands between alternatives, ? at the end, and texts in 'quotes'; a list is { "
             "shape }",
             text);
}

static void check_key(lua_State *L, const mfr_state *state, int shape, int key, const char *path,
                      int *rests) {
  if (lua_type(L, key) != LUA_TSTRING)
    mfr_misuse(L, state, path, "a shape's keys are the names of fields, and one is a %s",
               luaL_typename(L, key));
  const char *name = lua_tostring(L, key);
  *rests += rest_of(name) != NO_REST;
  if (*rests > 1)
    mfr_misuse(L, state, path, "it has one of [\"*\"], [\"[integer]\"] and [\"[string]\"] at most");
  if (name[0] == '[' && rest_of(name) == NO_REST)
    mfr_misuse(L, state, path,
               "[\"%.40s\"] is no key of a map: there are [\"*\"], "
               "[\"[integer]\"] and [\"[string]\"]",
               name);
  bool optional = push_field_name(L, key);
  lua_rawget(L, shape);
  bool twice = optional && !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (twice)
    mfr_misuse(L, state, path, "it has the field \"%.40s\" twice, with ? and without", name);
}

static void check_fields(lua_State *L, const mfr_state *state, int shape, const char *path,
                         int seen, int depth) {
  int top = lua_gettop(L), rests = 0;
  lua_pushstring(L, path);
  bool list = is_list_shape(L, shape);
  if (list && count_keys(L, shape) > 1)
    mfr_misuse(L, state, path,
               "the shape of a list has one element, which is for all: { \"string\" }");
  for (lua_pushnil(L); lua_next(L, shape); lua_settop(L, top + 2)) {
    if (!list) check_key(L, state, shape, top + 2, path, &rests);
    push_step(L, top + 1, top + 2);
    check_shape(L, state, top + 3, lua_tostring(L, -1), seen, depth + 1);
  }
  lua_settop(L, top);
}

/* A shape may contain itself, as a tree does: `seen` holds those that were checked. */
static void check_shape(lua_State *L, const mfr_state *state, int shape, const char *path, int seen,
                        int depth) {
  int type = lua_type(L, shape);
  luaL_checkstack(L, 12, "shape");
  if (type == LUA_TSTRING) {
    check_kind(L, state, lua_tostring(L, shape), path);
    return;
  }
  if (type != LUA_TTABLE)
    mfr_misuse(L, state, path,
               "a kind, such as \"string\", or a table of fields is needed, this is %s",
               luaL_typename(L, shape));
  if (depth > MFR_DEPTH_MAX) mfr_misuse(L, state, path, "it is nested more than 128 tables deep");
  lua_pushvalue(L, shape);
  bool known = lua_rawget(L, seen) != LUA_TNIL;
  lua_pop(L, 1);
  if (known) return;
  lua_pushvalue(L, shape);
  lua_pushboolean(L, 1);
  lua_rawset(L, seen);
  check_fields(L, state, shape, path, seen, depth);
}

/* A type that the handlers lack is a slip of the pen, or an event that is never folded. */
static void check_declared(lua_State *L, const mfr_state *state, int handlers, int type,
                           const char *path, const char *what) {
  const char *names[KEYS_MOST + 1];
  if (lua_type(L, handlers) != LUA_TTABLE) return;
  lua_pushvalue(L, type);
  bool known = lua_gettable(L, handlers) != LUA_TNIL;
  lua_pop(L, 1);
  if (known) return;
  sorted_keys(L, handlers, names);
  const char *nearest = mfr_nearest(lua_tostring(L, type), names);
  mfr_misuse(L, state, path, "%s has no function for it%s%s%s", what,
             nearest ? ": did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

/* Checks the shapes at an index, of which nothing is known yet. */
static void check_shapes(lua_State *L, const mfr_state *state, int shapes, int handlers,
                         const char *path, const char *what) {
  int top = lua_gettop(L);
  if (lua_type(L, shapes) != LUA_TTABLE)
    mfr_misuse(L, state, path, "a table of shapes by type is needed, this is %s",
               luaL_typename(L, shapes));
  lua_newtable(L); /* top + 1: those that were seen, because a shape may contain itself */
  lua_pushstring(L, path);
  for (lua_pushnil(L); lua_next(L, shapes); lua_settop(L, top + 3)) {
    if (lua_type(L, top + 3) != LUA_TSTRING)
      mfr_misuse(L, state, path, "it maps types to shapes, and one of its keys is a %s",
                 luaL_typename(L, top + 3));
    push_step(L, top + 2, top + 3);
    check_declared(L, state, handlers, top + 3, lua_tostring(L, -1), what);
    check_shape(L, state, top + 4, lua_tostring(L, -1), top + 1, 1);
  }
  lua_settop(L, top);
}

void mfr_check_shapes(lua_State *L, const mfr_state *state, int decider, const char *what,
                      const char *field, const char *handlers) {
  int top = lua_gettop(L);
  if (lua_getfield(L, decider, field) == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  luaL_checkstack(L, 16, "shape");
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->shapes_ref);
  lua_pushvalue(L, top + 1);
  if (lua_rawget(L, top + 2) == LUA_TNIL) {
    lua_pushfstring(L, "%s.%s", what, field);
    lua_getfield(L, decider, handlers);
    check_shapes(L, state, top + 1, top + 5, lua_tostring(L, top + 4), handlers);
    lua_pushvalue(L, top + 1);
    lua_pushboolean(L, 1);
    lua_rawset(L, top + 2);
  }
  lua_settop(L, top);
}

/* ---- the invariant ---- */

bool mfr_invariant_holds(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, "invariant");
  lua_pushvalue(L, d->invariant);
  mfr_push_view(L, state, d->state);
  mfr_call_script(L, state, call, "invariant", 1, 2);
  int type = lua_type(L, top + 1);
  bool holds = type == LUA_TNIL || (type == LUA_TBOOLEAN && lua_toboolean(L, top + 1));
  if (holds) {
    lua_settop(L, top);
    return true;
  }
  if (type == LUA_TBOOLEAN) /* false, message; else the message alone */
    lua_remove(L, top + 1);
  lua_settop(L, top + 1);
  if (lua_isnil(L, top + 1)) {
    lua_pushliteral(L, "it returned false");
    lua_replace(L, top + 1);
  }
  return false;
}

void mfr_check_invariant(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d) {
  if (mfr_invariant_holds(L, state, call, d)) return;
  call->phase = "invariant";
  lua_error(L);
}

void mfr_shapes_open(lua_State *L, mfr_state *state) {
  lua_newtable(L); /* what was found well-formed; its keys are weak */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  state->shapes_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
