/*
 * table: bounded, charged, and the same in every process. A list's length is the border that is
 * found from 1 on, sort is stable and bears comparisons that contradict each other.
 */
#include "library.h"

#include <lualib.h>

#define LENGTH_MAX ((lua_Integer)1 << 53)

/*
 * The border that is found from 1 on, by doubling. Lua's own depends on how large the table's array
 * happens to be, which, where there are holes, depends on the hashes of strings: another one in
 * every process.
 */
lua_Integer mfr_border(lua_State *L, int index) {
  lua_pushvalue(L, index);
  mfr_see_through(L, -1);
  int list = lua_gettop(L);
  lua_Integer low = 0, high = 1;
  while (lua_rawgeti(L, list, high) != LUA_TNIL && high < LENGTH_MAX) {
    lua_pop(L, 1);
    low = high;
    high *= 2;
  }
  lua_settop(L, list);
  while (high - low > 1) {
    lua_Integer middle = low + (high - low) / 2;
    if (lua_rawgeti(L, list, middle) == LUA_TNIL)
      high = middle;
    else
      low = middle;
    lua_pop(L, 1);
  }
  lua_settop(L, list - 1);
  return low;
}

lua_Integer mfr_length(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (luaL_getmetafield(L, index, "__len") == LUA_TNIL) return mfr_border(L, index);
  bool readonly = mfr_is_readonly_len(L, -1);
  lua_pop(L, 1);
  if (readonly) return mfr_border(L, index);
  lua_Integer length = luaL_len(L, index);
  if (length < 0 || length > LENGTH_MAX) luaL_error(L, "the length of this object is no length");
  return length;
}

/* __len, or the border. Arguments: what stands for the operator (see mfr_load_text()), the value.
 */
static int length(lua_State *L) {
  lua_settop(L, 2);
  if (lua_type(L, 1) != LUA_TUSERDATA)
    return luaL_error(L, "attempt to perform arithmetic on this");
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 2));
    return 1;
  }
  if (lua_type(L, 2) != LUA_TTABLE)
    return luaL_error(L, "attempt to get length of a %s value", luaL_typename(L, 2));
  if (luaL_getmetafield(L, 2, "__len") != LUA_TNIL && !mfr_is_readonly_len(L, -1)) {
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    return 1;
  }
  lua_pushinteger(L, mfr_length(L, 2));
  return 1;
}

void mfr_push_length_operator(lua_State *L) {
  lua_newuserdatauv(L, 1, 0);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, length);
  lua_setfield(L, -2, "__pow");
  lua_pushliteral(L, "length");
  lua_setfield(L, -2, "__name");
  lua_setmetatable(L, -2);
}

static lua_Integer check_list(lua_State *L, bool writes) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (writes) mfr_check_writable(L, 1);
  return mfr_length(L, 1);
}

/* Moves the items first..last of the list by one: up or down. */
static void shift(lua_State *L, lua_Integer first, lua_Integer last, int by) {
  if (first > last) return;
  mfr_charge(L, 2 * (last - first));
  lua_Integer i = by > 0 ? last : first;
  for (lua_Integer n = last - first; n >= 0; n--, i -= by) {
    mfr_charge_items(L, n);
    lua_geti(L, 1, i);
    lua_seti(L, 1, i + by);
  }
}

static int table_insert(lua_State *L) {
  int arguments = lua_gettop(L);
  lua_Integer size = check_list(L, true);
  if (arguments != 2 && arguments != 3)
    return luaL_error(L, "wrong number of arguments to 'insert'");
  lua_Integer place = arguments == 3 ? luaL_checkinteger(L, 2) : size + 1;
  luaL_argcheck(L, place >= 1 && (lua_Unsigned)place - 1 <= (lua_Unsigned)size, 2,
                "position out of bounds");
  shift(L, place, size, 1);
  lua_settop(L, arguments);
  lua_seti(L, 1, place);
  return 0;
}

static int table_remove(lua_State *L) {
  lua_Integer size = check_list(L, true);
  lua_Integer place = luaL_optinteger(L, 2, size);
  if (place != size)
    luaL_argcheck(L, (lua_Unsigned)place - 1 <= (lua_Unsigned)size, 2, "position out of bounds");
  lua_geti(L, 1, place);
  shift(L, place + 1, size, -1);
  lua_pushnil(L);
  lua_seti(L, 1, place < size ? size : place);
  return 1;
}

static int table_concat(lua_State *L) {
  luaL_Buffer buffer;
  size_t size = 0;
  lua_Integer last = check_list(L, false);
  const char *separator = luaL_optlstring(L, 2, "", &size);
  lua_Integer i = luaL_optinteger(L, 3, 1);
  last = luaL_optinteger(L, 4, last);
  lua_settop(L, 2);
  luaL_buffinit(L, &buffer);
  for (; i <= last; i++) {
    size_t item;
    mfr_charge_items(L, i);
    if (lua_geti(L, 1, i), !lua_isstring(L, -1))
      luaL_error(L, "invalid value (a %s) at index %I in table for 'concat'", luaL_typename(L, -1),
                 (LUAI_UACINT)i);
    if (lua_type(L, -1) == LUA_TNUMBER) { /* a NaN has a sign on some processors */
      mfr_tostring(L, -1, NULL);
      lua_remove(L, -2);
    }
    lua_tolstring(L, -1, &item);
    mfr_charge(L, 2 + (int64_t)((item + size) / 16));
    luaL_addvalue(&buffer);
    if (i == last) break; /* it may be the largest integer */
    luaL_addlstring(&buffer, separator, size);
  }
  luaL_pushresult(&buffer);
  return 1;
}

static int table_unpack(lua_State *L) {
  lua_Integer first = luaL_optinteger(L, 2, 1);
  lua_Integer last = lua_isnoneornil(L, 3) ? (luaL_checktype(L, 1, LUA_TTABLE), mfr_length(L, 1))
                                           : luaL_checkinteger(L, 3);
  if (first > last) return 0;
  lua_Unsigned count = (lua_Unsigned)last - (lua_Unsigned)first;
  if (count >= MFR_UNPACK_MAX)
    return luaL_error(L, "too many results to unpack: at most %d", MFR_UNPACK_MAX);
  mfr_charge(L, (int64_t)count);
  luaL_checkstack(L, (int)count + 1, "unpack");
  for (lua_Unsigned i = 0; i <= count; i++) {
    mfr_charge_items(L, (int64_t)i);
    lua_geti(L, 1, (lua_Integer)((lua_Unsigned)first + i));
  }
  return (int)count + 1;
}

static int table_pack(lua_State *L) {
  int count = lua_gettop(L);
  mfr_charge(L, count);
  lua_createtable(L, count, 1);
  lua_insert(L, 1);
  for (int i = count; i >= 1; i--)
    lua_seti(L, 1, i);
  lua_pushinteger(L, count);
  lua_setfield(L, 1, "n");
  return 1;
}

static int table_move(lua_State *L) {
  lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);
  lua_Integer place = luaL_checkinteger(L, 4);
  int to = lua_isnoneornil(L, 5) ? 1 : 5;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, to, LUA_TTABLE);
  mfr_check_writable(L, to);
  if (last < first) {
    lua_pushvalue(L, to);
    return 1;
  }
  luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3, "too many elements to move");
  lua_Integer count = last - first + 1;
  luaL_argcheck(L, place <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
  mfr_charge(L, count);
  bool down = place > last || place <= first || (to != 1 && !lua_rawequal(L, 1, to));
  for (lua_Integer n = 0; n < count; n++) {
    lua_Integer i = down ? n : count - 1 - n;
    mfr_charge_items(L, n);
    lua_geti(L, 1, first + i);
    lua_seti(L, to, place + i);
  }
  lua_pushvalue(L, to);
  return 1;
}

/* ---- sort: a merge sort, from the bottom up ---- */

/* Stack: 1 the list, 2 the comparison or nil, 3 and 4 the items. */

/* Comparing strings of a megabyte may take ten milliseconds: see period_for() in meter.c. */
static void charge_comparison(lua_State *L, int a, int b) {
  if (lua_type(L, a) == LUA_TSTRING && lua_rawlen(L, a) > MFR_POOL_LONG &&
      lua_type(L, b) == LUA_TSTRING && lua_rawlen(L, b) > MFR_POOL_LONG)
    mfr_charge_time(L);
}

static bool is_less(lua_State *L, int a, int b) {
  if (lua_isnil(L, 2)) {
    charge_comparison(L, a, b);
    return lua_compare(L, a, b, LUA_OPLT);
  }
  lua_pushvalue(L, 2);
  lua_pushvalue(L, a < 0 ? a - 1 : a);
  lua_pushvalue(L, b < 0 ? b - 2 : b);
  lua_call(L, 2, 1);
  bool less = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return less;
}

/* Merges from[low..middle) and from[middle..high) into to[low..high). */
static void merge(lua_State *L, int from, int to, lua_Integer low, lua_Integer middle,
                  lua_Integer high) {
  lua_Integer left = low, right = middle;
  mfr_charge(L, 3 * (high - low));
  for (lua_Integer out = low; out < high; out++) {
    if (left < middle) lua_rawgeti(L, from, left);
    if (right < high) lua_rawgeti(L, from, right);
    bool take_right = left == middle;
    if (left < middle && right < high) {
      take_right = is_less(L, -1, -2); /* equal ones keep their order */
      if (take_right)
        lua_remove(L, -2);
      else
        lua_pop(L, 1);
    }
    lua_rawseti(L, to, out);
    if (take_right)
      right++;
    else
      left++;
  }
}

static int table_sort(lua_State *L) {
  lua_Integer size = check_list(L, true);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  if (size < 2) return 0;
  luaL_argcheck(L, size < 1 << 24, 1, "array too big");
  mfr_charge(L, 4 * size);
  lua_settop(L, 2);
  lua_createtable(L, (int)size, 0);
  lua_createtable(L, (int)size, 0);
  for (lua_Integer i = 1; i <= size; i++) {
    mfr_charge_items(L, i);
    lua_geti(L, 1, i);
    lua_rawseti(L, 3, i);
  }
  int from = 3, to = 4;
  for (lua_Integer width = 1; width < size; width *= 2) {
    for (lua_Integer low = 1; low <= size; low += 2 * width) {
      lua_Integer middle = low + width > size + 1 ? size + 1 : low + width;
      lua_Integer high = middle + width > size + 1 ? size + 1 : middle + width;
      merge(L, from, to, low, middle, high);
    }
    int other = from;
    from = to;
    to = other;
  }
  for (lua_Integer i = 1; i <= size; i++) {
    mfr_charge_items(L, i);
    lua_rawgeti(L, from, i);
    lua_seti(L, 1, i);
  }
  return 0;
}

static const luaL_Reg functions[] = {{"concat", table_concat}, {"insert", table_insert},
                                     {"move", table_move},     {"pack", table_pack},
                                     {"remove", table_remove}, {"sort", table_sort},
                                     {"unpack", table_unpack}, {NULL, NULL}};

void mfr_open_table(lua_State *L) {
  luaL_newlib(L, functions);
}
