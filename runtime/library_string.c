/*
 * string and utf8: Lua's own functions, charged before they run for what they do in C, without
 * addresses and without what differs between processors. What deals with patterns is in
 * library_pattern.c.
 */
#include "library.h"

#include <lualib.h>
#include <math.h>

/* Upvalue 1: a C function of Lua's, which needs no upvalue itself. */
static int charged(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) mfr_charge(L, 1 + (int64_t)lua_rawlen(L, 1) / 4);
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

void mfr_charged(lua_State *L) {
  lua_pushcclosure(L, charged, 1);
}

void mfr_pick(lua_State *L, lua_CFunction opener, const char *const *names) {
  lua_newtable(L);
  lua_pushcfunction(L, opener);
  lua_call(L, 0, 1);
  for (; *names; names++) {
    lua_getfield(L, -1, *names);
    lua_setfield(L, -3, *names);
  }
  lua_pop(L, 1);
}

static int string_rep(lua_State *L) {
  size_t size, between;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_Integer n = luaL_checkinteger(L, 2);
  const char *separator = luaL_optlstring(L, 3, "", &between);
  if (n <= 0 || size + between == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if (n > MFR_STRING_MAX || (size_t)n > MFR_STRING_MAX / (size + between))
    return luaL_error(L, "resulting string too large: at most %d bytes", MFR_STRING_MAX);
  size_t total = (size_t)n * size + (size_t)(n - 1) * between;
  mfr_charge(L, n + (int64_t)total / 16);
  luaL_Buffer buffer;
  char *p = luaL_buffinitsize(L, &buffer, total);
  while (n-- > 0) {
    memcpy(p, text, size);
    p += size;
    if (n == 0) break;
    memcpy(p, separator, between);
    p += between;
  }
  luaL_pushresultsize(&buffer, total);
  return 1;
}

static int string_byte(lua_State *L) {
  size_t size;
  luaL_checklstring(L, 1, &size);
  lua_Integer first = luaL_optinteger(L, 2, 1), last = luaL_optinteger(L, 3, first);
  if (size > MFR_UNPACK_MAX && last != first) {
    lua_Integer n = (lua_Integer)size;
    lua_Integer from = first < 0 ? n + first + 1 : first, to = last < 0 ? n + last + 1 : last;
    if (from < 1) from = 1;
    if (to > n) to = n;
    if (to - from >= MFR_UNPACK_MAX)
      return luaL_error(L, "string slice too long: at most %d bytes at once", MFR_UNPACK_MAX);
  }
  mfr_charge(L, 1);
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* ---- format ---- */

/* Prepares the argument for a conversion of Lua's own format. */
static void prepare(lua_State *L, int argument, char conversion) {
  switch (conversion) {
  case 's':
    luaL_checkany(L, argument);
    if (lua_type(L, argument) == LUA_TSTRING) return;
    mfr_tostring(L, argument, NULL);
    lua_replace(L, argument);
    return;
  case 'p':
    luaL_error(L, "'%%p' shows an address, which is another one in every run");
    return;
  case 'a':
  case 'A':
  case 'e':
  case 'E':
  case 'f':
  case 'F':
  case 'g':
  case 'G':
    if (lua_type(L, argument) != LUA_TNUMBER || !isnan(lua_tonumber(L, argument))) return;
    lua_pushnumber(L, fabs(lua_tonumber(L, argument))); /* its sign is the processor's */
    lua_replace(L, argument);
    return;
  default:
    return;
  }
}

static int string_format(lua_State *L) {
  size_t size, total = 0;
  const char *p = luaL_checklstring(L, 1, &size), *end = p + size;
  int top = lua_gettop(L), argument = 1;
  while (p < end) {
    if (*p++ != '%') continue;
    if (p < end && *p == '%') {
      p++;
      continue;
    }
    while (p < end && strchr("-+#0 .123456789", *p) && *p)
      p++;
    if (p == end || ++argument > top) break; /* Lua's own tells what is wrong */
    prepare(L, argument, *p++);
    lua_settop(L, top);
    total += lua_type(L, argument) == LUA_TSTRING ? lua_rawlen(L, argument) : 100;
  }
  mfr_charge(L, 10 + (int64_t)((size + total) / 4));
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* ---- opening ---- */

static const char *const string_names[] = {"byte",    "char", "format", "len", "lower",
                                           "reverse", "sub",  "upper",  NULL};
static const char *const string_charged[] = {"lower", "reverse", "upper", NULL};
static const char *const utf8_names[] = {"char", "charpattern", "codepoint", "codes",
                                         "len",  "offset",      NULL};
static const char *const utf8_charged[] = {"codepoint", "len", "offset", NULL};

static void charge_for(lua_State *L, const char *const *names) {
  for (; *names; names++) {
    lua_getfield(L, -1, *names);
    mfr_charged(L);
    lua_setfield(L, -2, *names);
  }
}

static void wrap(lua_State *L, const char *name, lua_CFunction function) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, function, 1);
  lua_setfield(L, -2, name);
}

void mfr_open_string(lua_State *L) {
  mfr_pick(L, luaopen_string, string_names);
  charge_for(L, string_charged);
  wrap(L, "byte", string_byte);
  wrap(L, "format", string_format);
  lua_pushcfunction(L, string_rep);
  lua_setfield(L, -2, "rep");
  mfr_open_patterns(L);
}

void mfr_open_utf8(lua_State *L) {
  mfr_pick(L, luaopen_utf8, utf8_names);
  charge_for(L, utf8_charged);
}
