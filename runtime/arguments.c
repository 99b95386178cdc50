/* Reading arguments and options tables. What is wrong is named, with where it stands and what may
 * be meant. */
#include "internal.h"

#include <stdio.h>

bool mfr_has_metatable(lua_State *L, int index, int ref) {
  if (!lua_getmetatable(L, index)) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void *mfr_to_class(lua_State *L, int index, int ref) {
  bool is_one = lua_type(L, index) == LUA_TUSERDATA && mfr_has_metatable(L, index, ref);
  return is_one ? lua_touserdata(L, index) : NULL;
}

void mfr_copy_fields(lua_State *L, int from, int to) {
  for (lua_pushnil(L); lua_next(L, from);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, to);
  }
}

const char *mfr_type_name(lua_State *L, int index) {
  return lua_isnone(L, index) ? "nothing" : luaL_typename(L, index);
}

/* Edits (insert, delete, replace, swap neighbours) that turn a into b; both are short. */
static size_t distance(const char *a, size_t m, const char *b, size_t n) {
  enum { MOST = 40 };
  size_t rows[3][MOST + 1];
  if (m > MOST || n > MOST) return SIZE_MAX;
  size_t *before = rows[0], *last = rows[1], *now = rows[2];
  for (size_t j = 0; j <= n; j++)
    last[j] = j;
  for (size_t i = 1; i <= m; i++) {
    now[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < best) best = last[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
          before[j - 2] + 1 < best)
        best = before[j - 2] + 1;
      now[j] = best;
    }
    size_t *spare = before;
    before = last;
    last = now;
    now = spare;
  }
  return last[n];
}

/* Whether the letters of `part` stand in `whole` in this order: "expected_version" in
 * "expected_stream_version". */
static bool is_abbreviation(const char *part, const char *whole) {
  if (strlen(part) < 4) return false;
  for (; *part; part++, whole++) {
    whole = strchr(whole, *part);
    if (!whole) return false;
  }
  return true;
}

const char *mfr_nearest(const char *name, const char *const *names) {
  const char *nearest = NULL;
  size_t size = strlen(name), best = size / 3 + 1;
  const char *longer = NULL;
  for (; *names; names++) {
    if (!longer && is_abbreviation(name, *names)) longer = *names;
    size_t d = distance(name, size, *names, strlen(*names));
    if (d <= best && d < strlen(*names)) {
      nearest = *names;
      best = d > 0 ? d - 1 : 0;
    }
  }
  return nearest ? nearest : longer;
}

mfr_text mfr_check_string(lua_State *L, const mfr_state *state, int index, const char *what) {
  mfr_text text = {NULL, 0};
  if (lua_type(L, index) != LUA_TSTRING)
    mfr_misuse(L, state, what, "a string is needed, this is %s", mfr_type_name(L, index));
  text.data = lua_tolstring(L, index, &text.size);
  return text;
}

mfr_text mfr_check_path(lua_State *L, const mfr_state *state, int index, const char *what) {
  mfr_text path = mfr_check_string(L, state, index, what);
  if (strlen(path.data) != path.size || path.size == 0)
    mfr_misuse(L, state, what, "a path is not empty and has no NUL");
  return path;
}

mfr_text mfr_check_stream(lua_State *L, const mfr_state *state, int index) {
  mfr_text stream = mfr_check_string(L, state, index, "stream");
  if (stream.size < 1 || stream.size > MF_STREAM_NAME_MAX)
    mfr_misuse(L, state, "stream", "a stream's name has 1 to %d bytes, this one has %zu",
               MF_STREAM_NAME_MAX, stream.size);
  return stream;
}

static void unknown_option(lua_State *L, const mfr_state *state, const char *what,
                           const char *const *names) {
  char path[128];
  if (lua_type(L, -2) != LUA_TSTRING) {
    mfr_misuse(L, state, what, "keys are names, and one of these is a %s", luaL_typename(L, -2));
    return;
  }
  const char *name = lua_tostring(L, -2);
  const char *nearest = mfr_nearest(name, names);
  snprintf(path, sizeof path, "%s.%.80s", what, name);
  bool options = strcmp(what, "options") == 0;
  if (nearest)
    mfr_misuse(L, state, path, "unknown %s \"%.80s\": did you mean \"%s\"?",
               options ? "option" : "key", name, nearest);
  char all[512] = "";
  for (size_t i = 0; names[i]; i++)
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", names[i]);
  mfr_misuse(L, state, path, "unknown %s \"%.80s\": there %s %s", options ? "option" : "key", name,
             names[0] && names[1] ? "are" : "is", all[0] ? all : "none here");
}

bool mfr_among(const char *name, const char *const *names) {
  for (; *names; names++) /* most differ in their first letter */
    if (**names == *name && strcmp(*names, name) == 0) return true;
  return false;
}

void mfr_join(char out[MFR_PATH_MAX], const char *path, const char *name) {
  size_t size = strnlen(path, 60), more = strnlen(name, MFR_PATH_MAX - 62);
  memcpy(out, path, size);
  out[size] = '.';
  memcpy(out + size + 1, name, more);
  out[size + 1 + more] = '\0';
}

bool mfr_check_options(lua_State *L, const mfr_state *state, int index, const char *what,
                       const char *const *names) {
  if (lua_isnoneornil(L, index)) return false;
  if (lua_type(L, index) != LUA_TTABLE)
    mfr_misuse(L, state, what, "a table is needed, this is %s", mfr_type_name(L, index));
  lua_pushnil(L);
  while (lua_next(L, index)) {
    bool known = lua_type(L, -2) == LUA_TSTRING && mfr_among(lua_tostring(L, -2), names);
    if (!known) unknown_option(L, state, what, names);
    lua_pop(L, 1);
  }
  return true;
}

static void option_path(char path[64], const char *name) {
  snprintf(path, 64, "options.%s", name);
}

/* Pushes the option; false (and nothing pushed) when it is not given. */
static bool get_option(lua_State *L, int index, const char *name) {
  if (lua_isnoneornil(L, index)) return false;
  lua_pushstring(L, name);
  if (lua_rawget(L, index) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

bool mfr_option_boolean(lua_State *L, const mfr_state *state, int index, const char *name,
                        bool otherwise) {
  char path[64];
  if (!get_option(L, index, name)) return otherwise;
  if (lua_type(L, -1) != LUA_TBOOLEAN) {
    option_path(path, name);
    mfr_misuse(L, state, path, "true or false is needed, this is %s", luaL_typename(L, -1));
  }
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

int64_t mfr_option_count(lua_State *L, const mfr_state *state, int index, const char *name,
                         int64_t otherwise) {
  char path[64];
  if (!get_option(L, index, name)) return otherwise;
  option_path(path, name);
  if (!lua_isinteger(L, -1))
    mfr_misuse(L, state, path, "an integer is needed, this is %s",
               lua_type(L, -1) == LUA_TNUMBER ? "a float" : luaL_typename(L, -1));
  int64_t value = lua_tointeger(L, -1);
  if (value < 0) mfr_misuse(L, state, path, "%lld is negative", (long long)value);
  lua_pop(L, 1);
  return value;
}

/* Leaves the expectation as it was given on the stack ([-0, +1], nil when there is none). */
int64_t mfr_check_expected(lua_State *L, const mfr_state *state, int index) {
  static const char *const names[] = {"STREAM_EXISTS", "STREAM_DOES_NOT_EXIST",
                                      "NO_CONCURRENCY_CHECK", NULL};
  const char *path = "options.expected_stream_version";
  if (!get_option(L, index, "expected_stream_version")) {
    lua_pushnil(L);
    return MF_NO_CONCURRENCY_CHECK;
  }
  if (lua_isinteger(L, -1)) {
    if (lua_tointeger(L, -1) < 0)
      mfr_misuse(L, state, path, "%lld is negative: versions begin at 0",
                 (long long)lua_tointeger(L, -1));
    return lua_tointeger(L, -1);
  }
  if (lua_type(L, -1) != LUA_TSTRING)
    mfr_misuse(L, state, path,
               "a version (an integer) or one of moonfold.STREAM_EXISTS, "
               "STREAM_DOES_NOT_EXIST, NO_CONCURRENCY_CHECK is needed, this is %s",
               lua_type(L, -1) == LUA_TNUMBER ? "a float" : luaL_typename(L, -1));
  const char *name = lua_tostring(L, -1);
  if (strcmp(name, names[0]) == 0) return MF_STREAM_EXISTS;
  if (strcmp(name, names[1]) == 0) return MF_STREAM_DOES_NOT_EXIST;
  if (strcmp(name, names[2]) == 0) return MF_NO_CONCURRENCY_CHECK;
  const char *nearest = mfr_nearest(name, names);
  return mfr_misuse(L, state, path, "unknown expectation \"%.80s\"%s%s%s", name,
                    nearest ? ": did you mean \"" : "", nearest ? nearest : "",
                    nearest ? "\"?"
                            : ": there are STREAM_EXISTS, STREAM_DOES_NOT_EXIST, "
                              "NO_CONCURRENCY_CHECK");
}
