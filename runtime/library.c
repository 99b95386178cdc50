/*
 * The environment of scripts: what is in it, and what to use instead of what is not. Reading an
 * unknown global is an error, and so is making one in a call.
 */
#include "library.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what is missing on purpose ---- */

typedef struct advice {
  const char *name, *text;
} advice;

#define NO_CLOCK "scripts have no clock: use command.time, or event.recorded_at"
#define NO_CHANCE "it differs in every run: use context:random(m, n) in decide"
#define INEXACT "its last bit differs between processors: use integers, a table, or math.sqrt"
#define NO_FUNCTIONS                                                                               \
  "the program that loads them gives them no functions (mf_add_function in C, the option host of " \
  "moonfold.load_decider in Lua); the tools of the command line have none to give: load such "     \
  "scripts in a program, for `moonfold run`"
#define NO_HOST "scripts do not reach their host: what they need comes in commands and events"

static const advice advices[] = {
    {"host", NO_FUNCTIONS},
    {"os", NO_HOST},
    {"os.time", NO_CLOCK},
    {"os.clock", NO_CLOCK},
    {"os.date", NO_CLOCK},
    {"os.difftime", NO_CLOCK},
    {"io", NO_HOST},
    {"debug", NO_HOST},
    {"package", "modules of the script's own folder are found by require(\"name\")"},
    {"coroutine", "a coroutine would escape the meter: write a function"},
    {"load", "code comes from files: use require"},
    {"loadstring", "code comes from files: use require"},
    {"loadfile", "code comes from files: use require"},
    {"dofile", "code comes from files: use require"},
    {"collectgarbage", "memory is not a script's business"},
    {"xpcall", "use pcall"},
    {"warn", "use print: it goes to the host's log"},
    {"_G", "globals are what the file has made while it loaded: use a local table"},
    {"unpack", "it is table.unpack"},
    {"moonfold", "say local moonfold = require(\"moonfold\") at the top of the file"},
    {"reject", "it is moonfold.reject, after local moonfold = require(\"moonfold\")"},
    {"command", "decide's functions are given it: function(command, state, context)"},
    {"context", "decide's functions are given it: function(command, state, context)"},
    {"event", "evolve's functions are given it: function(state, event)"},
    {"state", "evolve's functions are given it, function(state, event), and decide's, "
              "function(command, state, context)"},
    {"math.random", NO_CHANCE},
    {"math.randomseed", NO_CHANCE},
    {"math.sin", INEXACT},
    {"math.cos", INEXACT},
    {"math.tan", INEXACT},
    {"math.asin", INEXACT},
    {"math.acos", INEXACT},
    {"math.atan", INEXACT},
    {"math.exp", INEXACT},
    {"math.log", INEXACT},
    {"math.pow", INEXACT},
    {"string.dump", NO_HOST},
    {"string.pack", "what it makes differs between machines: use string.format"},
    {"string.unpack", "what it reads differs between machines: use string.match"},
    {"string.packsize", "it differs between machines"},
    {"moonfold.open", "a script opens no store: decide looks at other streams through its context"},
    {"moonfold.load_decider", "use require"},
    {NULL, NULL}};

static const char *advice_for(const char *name) {
  for (const advice *a = advices; a->name; a++)
    if (strcmp(a->name, name) == 0) return a->text;
  return NULL;
}

static int missing(lua_State *L, const char *name, const char *text) {
  return luaL_error(L, "there is no %s in scripts: %s", name, text);
}

/* __index of a library. Upvalue 1: its name. What nobody would expect is nil, as ever. */
static int unknown_field(lua_State *L) {
  char name[64];
  const char *library = lua_tostring(L, lua_upvalueindex(1));
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  snprintf(name, sizeof name, "%s.%.40s", library, lua_tostring(L, 2));
  const char *text = advice_for(name);
  if (text) return missing(L, name, text);
  text = advice_for(library);
  return text ? missing(L, name, text) : 0;
}

void mfr_guard(lua_State *L, const char *name) {
  lua_createtable(L, 0, 1);
  lua_pushstring(L, name);
  lua_pushcclosure(L, unknown_field, 1);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

/* ---- globals ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Pushes the names of the table's fields, in order: which of two equally near ones is told must not
 * depend on hashes. [-0, +1] */
static const char **push_names(lua_State *L, int table) {
  size_t count = 0, n = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    count++;
  mfr_charge(L, 1000 + 50 * (int64_t)count);
  const char **names = lua_newuserdatauv(L, (count + 1) * sizeof *names, 0);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) names[n++] = lua_tostring(L, -2);
  names[n] = NULL;
  qsort(names, n, sizeof *names, compare_names);
  return names;
}

/* __index of the values of the globals, which have none of this name. */
static int unknown_global(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *name = lua_tostring(L, 2), *text = advice_for(name);
  if (text) return missing(L, name, text);
  const char *nearest = mfr_nearest(name, push_names(L, 1));
  if (nearest)
    return luaL_error(L, "there is no global \"%s\": did you mean \"%s\"?", name, nearest);
  return luaL_error(L, "there is no global \"%s\"", name);
}

/* __newindex. Upvalue 1: the values of the globals. */
static int new_global(lua_State *L) {
  lua_settop(L, 3);
  if (mfr_sandbox_of(L)->loading) {
    lua_rawset(L, lua_upvalueindex(1));
    return 0;
  }
  const char *name = mfr_tostring(L, 2, NULL);
  return luaL_error(
      L,
      "a global \"%s\" is written here, which other calls would see: was \"local %s\" "
      "meant? What must last belongs into the state",
      name, name);
}

/* The environment itself is empty: all reading goes to the values, all writing through
 * __newindex. */
void mfr_push_environment(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  lua_newtable(L);
  int environment = lua_gettop(L), values = environment + 1;
  lua_createtable(L, 0, 64);
  lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->library_ref);
  mfr_copy_fields(L, values + 1, values);
  lua_pop(L, 1);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, unknown_global);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, values);
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, values);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, values);
  lua_pushcclosure(L, new_global, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, values);
  lua_rawsetp(L, environment, mfr_behind_key());
  lua_setmetatable(L, environment);
  lua_settop(L, environment);
}

/* ---- opening ---- */

static const char *const math_names[] = {"abs",        "ceil", "floor",      "fmod", "huge", "max",
                                         "maxinteger", "min",  "mininteger", "modf", "pi",   "sqrt",
                                         "tointeger",  "type", "ult",        NULL};

void mfr_open_math(lua_State *L) {
  mfr_pick(L, luaopen_math, math_names);
}

static void push_nothing(lua_State *L) {
  lua_newtable(L);
}

/* The metatable of strings: methods, and arithmetic on numerals, which is Lua's own. */
static void set_string_methods(lua_State *L, int string) {
  lua_pushliteral(L, "");
  if (!lua_getmetatable(L, -1)) lua_newtable(L);
  lua_pushvalue(L, string);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/* Pushes the table of all that scripts have from the start. */
void mfr_library_open(lua_State *L) {
  static const struct {
    const char *name;
    void (*open)(lua_State *L);
  } libraries[] = {{"string", mfr_open_string}, {"table", mfr_open_table},  {"math", mfr_open_math},
                   {"utf8", mfr_open_utf8},     {"os", push_nothing},       {"io", push_nothing},
                   {"debug", push_nothing},     {"coroutine", push_nothing}};
  mfr_open_base(L);
  int all = lua_gettop(L);
  mfr_push_length_operator(L);
  lua_setfield(L, all, "__length");
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    libraries[i].open(L);
    if (strcmp(libraries[i].name, "string") == 0) set_string_methods(L, lua_gettop(L));
    mfr_guard(L, libraries[i].name);
    lua_pushvalue(L, -1);
    lua_setfield(L, all, libraries[i].name);
    mfr_freeze(L);
  }
}
