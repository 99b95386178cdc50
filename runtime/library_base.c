/*
 * The basic functions of scripts that cannot be Lua's own: pairs and next go in the order of the
 * keys, pcall stops neither the meter nor the host's troubles and tells no lines, tostring tells no
 * addresses, and all of them know read-only tables.
 */
#include "library.h"

#include <lualib.h>
#include <math.h>
#include <stdlib.h>

/* ---- the order of keys: numbers, then strings by bytes, then booleans ---- */

typedef struct key {
  const char *text; /* NULL: a number or a boolean */
  size_t size;
  lua_Integer integer;
  lua_Number number;
  bool is_float, is_boolean;
  int index; /* in the list of keys */
} key;

static int rank(const key *k) {
  return k->text ? 1 : k->is_boolean ? 2 : 0;
}

static int compare_float(lua_Integer i, lua_Number n) {
  if (n >= 0x1p63) return -1;
  if (n < -0x1p63) return 1;
  lua_Integer whole = (lua_Integer)n;
  if (i != whole) return i < whole ? -1 : 1;
  lua_Number rest = n - (lua_Number)whole;
  return rest > 0 ? -1 : rest < 0;
}

static int compare_numbers(const key *a, const key *b) {
  if (a->is_float && b->is_float) return (a->number > b->number) - (a->number < b->number);
  if (b->is_float) return compare_float(a->integer, b->number);
  if (a->is_float) return -compare_float(b->integer, a->number);
  return (a->integer > b->integer) - (a->integer < b->integer);
}

static int compare_keys(const void *x, const void *y) {
  const key *a = x, *b = y;
  if (rank(a) != rank(b)) return rank(a) - rank(b);
  if (!a->text) return compare_numbers(a, b);
  int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);
  return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* Reads the key at stack index -1. */
static void read_key(lua_State *L, key *k) {
  memset(k, 0, sizeof *k);
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    k->text = lua_tolstring(L, -1, &k->size);
    return;
  case LUA_TBOOLEAN:
    k->is_boolean = true;
    k->integer = lua_toboolean(L, -1);
    return;
  case LUA_TNUMBER:
    k->is_float = !lua_isinteger(L, -1);
    if (k->is_float)
      k->number = lua_tonumber(L, -1);
    else
      k->integer = lua_tointeger(L, -1);
    return;
  default:
    luaL_error(L, "a key is no number, string or boolean: such a table has no order to be gone "
                  "through in");
  }
}

/* ---- pairs ---- */

/* Counts what the table holds; tells whether Lua goes through it as 1 to n. */
static lua_Integer count_keys(lua_State *L, int table, bool *list) {
  lua_Integer count = 0;
  *list = true;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    count++;
    if (*list && !(lua_isinteger(L, -2) && lua_tointeger(L, -2) == count)) *list = false;
  }
  mfr_charge(L, 10 + count);
  mfr_charge_unknown(L);
  return count;
}

/* Upvalues: 1 the call, 2 the table, 3 the position, 4 the last. */
static int next_item(lua_State *L) {
  mfr_check_iterator(L);
  lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
  for (lua_Integer i = lua_tointeger(L, lua_upvalueindex(3)) + 1; i <= last; i++) {
    lua_pushinteger(L, i);
    if (lua_geti(L, lua_upvalueindex(2), i) == LUA_TNIL) { /* removed meanwhile */
      lua_pop(L, 2);
      continue;
    }
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(3));
    return 2;
  }
  lua_pushinteger(L, last);
  lua_replace(L, lua_upvalueindex(3));
  lua_pushnil(L);
  return 1;
}

typedef struct walk {
  lua_Integer at, count;
  key keys[];
} walk;

/* Upvalues: 1 the call, 2 the table, 3 the keys, 4 the walk. */
static int next_key(lua_State *L) {
  mfr_check_iterator(L);
  walk *w = lua_touserdata(L, lua_upvalueindex(4));
  while (w->at < w->count) {
    lua_rawgeti(L, lua_upvalueindex(3), w->keys[w->at++].index);
    lua_pushvalue(L, -1);
    if (lua_gettable(L, lua_upvalueindex(2)) != LUA_TNIL) return 2;
    lua_pop(L, 2);
  }
  lua_pushnil(L);
  return 1;
}

static int64_t sorting(lua_Integer n) {
  int64_t steps = 4;
  for (lua_Integer m = n; m > 1; m /= 2)
    steps += 3;
  return n * steps;
}

/* Pushes the list of the table's keys as they come, and the walk over them in order. [-0, +2] */
static void push_walk(lua_State *L, int table, lua_Integer count) {
  mfr_charge(L, sorting(count));
  lua_createtable(L, (int)count, 0);
  walk *w = lua_newuserdatauv(L, sizeof *w + (size_t)count * sizeof *w->keys, 0);
  w->at = 0;
  w->count = count;
  int list = lua_gettop(L) - 1;
  size_t bytes = 0;
  int n = 0;
  lua_pushnil(L);
  while (n < count && lua_next(L, table)) {
    lua_pop(L, 1);
    key *k = &w->keys[n++];
    read_key(L, k);
    k->index = n;
    bytes += k->size;
    lua_pushvalue(L, -1);
    lua_rawseti(L, list, n);
  }
  lua_settop(L, list + 1);
  mfr_charge_bytes(L, bytes);
  qsort(w->keys, (size_t)n, sizeof *w->keys, compare_keys);
}

/* Whether its __pairs is the host's. */
static bool is_event(lua_State *L, int index) {
  bool event = lua_type(L, index) == LUA_TTABLE && luaL_getmetafield(L, index, "moonfold.event");
  if (event) lua_pop(L, 1);
  return event;
}

static int base_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 3);
    if (!is_event(L, 1)) return 3;
    lua_pushvalue(L, 3); /* all of its fields, in a plain table: in order, too */
    lua_replace(L, 1);
    lua_settop(L, 1);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, 1);
  mfr_see_through(L, 2);
  bool list;
  lua_Integer count = count_keys(L, 2, &list);
  lua_pushvalue(L, 1);
  if (list) {
    lua_pushinteger(L, 0);
    lua_pushinteger(L, count);
    mfr_push_iterator(L, next_item, 3);
  } else {
    push_walk(L, 2, count);
    mfr_push_iterator(L, next_key, 3);
  }
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

/* next: the key that follows in the same order. */
static int base_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  key after, best = {0}, k;
  bool first = lua_isnil(L, 2), found = false;
  int64_t count = 10;
  if (!first) read_key(L, &after);
  lua_pushvalue(L, 1);
  mfr_see_through(L, 3);
  lua_pushnil(L); /* 4: the best key */
  for (lua_pushnil(L); lua_next(L, 3); count++) {
    lua_pop(L, 1);
    read_key(L, &k);
    if ((first || compare_keys(&k, &after) > 0) && (!found || compare_keys(&k, &best) < 0)) {
      best = k;
      found = true;
      lua_pushvalue(L, -1);
      lua_replace(L, 4);
    }
  }
  mfr_charge(L, count);
  mfr_charge_unknown(L);
  if (!found) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushvalue(L, 4);
  lua_gettable(L, 1);
  return 2;
}

/* ---- pcall ---- */

/* What a script may not go on from: the end of its budget, and what is the host's trouble. */
static bool is_fatal(lua_State *L, const mfr_sandbox *sandbox, int rc);

/* A script_error that tells of another error. */
static bool is_cause_fatal(lua_State *L, const mfr_sandbox *sandbox) {
  luaL_checkstack(L, 4, "cause");
  lua_pushliteral(L, "cause");
  lua_rawget(L, -2);
  bool fatal = lua_type(L, -1) == LUA_TSTRING && is_fatal(L, sandbox, LUA_ERRRUN);
  lua_pop(L, 1);
  return fatal;
}

static bool is_fatal(lua_State *L, const mfr_sandbox *sandbox, int rc) {
  /* Misuse is not among them: which of two mistakes is told may depend on hashes. */
  static const char *const harmless[] = {"rejected", "script_error"};
  if (sandbox->spent || rc == LUA_ERRMEM || rc == LUA_ERRERR) return true;
  if (lua_type(L, -1) == LUA_TSTRING) {
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    return strcmp(text, "not enough memory") == 0 ||
           (size >= 14 && size < 400 && strstr(text, "stack overflow") != NULL);
  }
  const char *code = mfr_error_code(L, sandbox->state, -1);
  if (!*code) return false;
  for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
    if (strcmp(code, harmless[i]) == 0) return is_cause_fatal(L, sandbox);
  return true;
}

static int base_pcall(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  luaL_checkany(L, 1);
  if (sandbox->pcalls >= MFR_PCALLS_MAX)
    return mfr_exceeded(L, "pcall in pcall in pcall ...: at most %d deep", MFR_PCALLS_MAX);
  mfr_charge(L, 10);
  const char *calling = sandbox->state->calling;
  int64_t call = sandbox->call;
  const mfr_requiring *requiring = sandbox->requiring;
  int pcalls = sandbox->pcalls++;
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  int rc = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  sandbox->pcalls = pcalls;
  mfr_sandbox_leave(sandbox->state);
  sandbox->state->calling = calling;
  sandbox->call = call;
  sandbox->requiring = requiring;
  if (rc == LUA_OK) return lua_gettop(L);
  if (is_fatal(L, sandbox, rc)) return lua_error(L);
  mfr_forget_place(L);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* ---- metatables, raw access ---- */

static int base_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  mfr_check_writable(L, 1);
  lua_settop(L, 2);
  mfr_set_script_metatable(L, 1);
  return 1;
}

static int base_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_type(L, 1) != LUA_TTABLE) return 0;
  mfr_push_script_metatable(L, 1);
  return 1;
}

static int base_rawget(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  bool veiled = mfr_see_through(L, 3);
  lua_pushvalue(L, 2);
  lua_rawget(L, 3);
  if (veiled && lua_type(L, -1) == LUA_TTABLE) { /* as a view of its own, if need be */
    lua_pushvalue(L, 2);
    lua_gettable(L, 1);
  }
  return 1;
}

static int base_rawset(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 3);
  mfr_check_writable(L, 1);
  lua_settop(L, 3);
  lua_rawset(L, 1);
  return 1;
}

static int base_rawlen(lua_State *L) {
  luaL_argexpected(L, lua_type(L, 1) == LUA_TTABLE || lua_type(L, 1) == LUA_TSTRING, 1,
                   "table or string");
  lua_settop(L, 1);
  if (lua_type(L, 1) == LUA_TSTRING) {
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
    return 1;
  }
  lua_pushinteger(L, mfr_border(L, 1));
  return 1;
}

/* ---- tostring, print ---- */

const char *mfr_tostring(lua_State *L, int index, size_t *size) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 4, "tostring");
  if (luaL_callmeta(L, index, "__tostring")) {
    if (!lua_isstring(L, -1)) luaL_error(L, "'__tostring' must return a string");
    return lua_tolstring(L, -1, size);
  }
  switch (lua_type(L, index)) {
  case LUA_TNUMBER: /* a NaN has a sign on some processors */
    if (!lua_isinteger(L, index) && isnan(lua_tonumber(L, index)))
      lua_pushliteral(L, "nan");
    else {
      lua_pushvalue(L, index);
      lua_tostring(L, -1);
    }
    break;
  case LUA_TSTRING:
    lua_pushvalue(L, index);
    break;
  case LUA_TBOOLEAN:
    lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
    break;
  case LUA_TNIL:
    lua_pushliteral(L, "nil");
    break;
  default:
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) break;
    lua_settop(L, lua_gettop(L)); /* nothing, or a name that is no string, is left */
    lua_pushstring(L, luaL_typename(L, index));
  }
  return lua_tolstring(L, -1, size);
}

void mfr_sandbox_tostring(lua_State *L, int index) {
  mfr_tostring(L, index, NULL);
}

static int base_tostring(lua_State *L) {
  luaL_checkany(L, 1);
  mfr_tostring(L, 1, NULL);
  return 1;
}

static int base_print(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  int count = lua_gettop(L);
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (int i = 1; i <= count; i++) {
    if (i > 1) luaL_addchar(&buffer, '\t');
    mfr_tostring(L, i, NULL);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  mfr_charge(L, 100 + (int64_t)size);
  if (!sandbox->logger) return 0;
  uselocale(sandbox->host_locale);
  sandbox->logger(sandbox->logger_context, text, size);
  uselocale(sandbox->c_locale);
  return 0;
}

/* ---- iterators ---- */

void mfr_push_iterator(lua_State *L, lua_CFunction function, int upvalues) {
  lua_pushinteger(L, mfr_sandbox_of(L)->call);
  lua_insert(L, -(upvalues + 1));
  lua_pushcclosure(L, function, upvalues + 1);
}

void mfr_check_iterator(lua_State *L) {
  if (lua_tointeger(L, lua_upvalueindex(1)) != mfr_sandbox_of(L)->call)
    luaL_error(L, "this iterator was made in an earlier call: make a new one");
}

/* ---- opening ---- */

/* tonumber of long strings is what reading them costs. */
static const char *const charged[] = {"tonumber", NULL};
static const char *const unchanged[] = {"assert",   "error", "ipairs",   "rawequal", "select",
                                        "tonumber", "type",  "_VERSION", NULL};
static const luaL_Reg functions[] = {{"getmetatable", base_getmetatable},
                                     {"next", base_next},
                                     {"pairs", base_pairs},
                                     {"pcall", base_pcall},
                                     {"print", base_print},
                                     {"rawget", base_rawget},
                                     {"rawlen", base_rawlen},
                                     {"rawset", base_rawset},
                                     {"setmetatable", base_setmetatable},
                                     {"tostring", base_tostring},
                                     {NULL, NULL}};

void mfr_open_base(lua_State *L) {
  mfr_pick(L, luaopen_base, unchanged);
  for (int i = 0; charged[i]; i++) {
    lua_getfield(L, -1, charged[i]);
    mfr_charged(L);
    lua_setfield(L, -2, charged[i]);
  }
  luaL_setfuncs(L, functions, 0);
}
