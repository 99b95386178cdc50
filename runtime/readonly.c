/*
 * Tables that scripts can read and not write.
 *
 * What a script made while it loaded is frozen in place: the contents of a table move into another
 * one, which the script cannot reach, and the table itself stays as an empty one whose metatable
 * reads from there. So reading costs Lua's own detour over __index, and there is nothing that one
 * call could leave behind for the next. The state that decide is given is veiled by views, which
 * are made as it is looked at. Both hold what is behind them under a key that no script can name;
 * mfr_see_through() finds it.
 */
#include "library.h"

#include <math.h>
#include <stdio.h>

static const char behind_key = 0;   /* table -> what is behind it */
static const char views_key = 0;    /* view -> views of this state, by the table behind */
static const char parent_key = 0;   /* view -> the view that it was reached from, */
static const char name_key = 0;     /* and by which key */
static const char original_key = 0; /* copy of a metatable -> the script's own */
static const char veiled_key = 0;   /* copy of a metatable -> the one of views */
static const char plain_key = 0;    /* frozen decider -> its copy in plain tables */

const void *mfr_behind_key(void) {
  return &behind_key;
}

/* Pushes what is behind the table. [-0, +1|0] */
static bool push_behind(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return false;
  lua_pop(L, 1);
  if (lua_rawgetp(L, index, &behind_key) == LUA_TTABLE) return true;
  lua_pop(L, 1);
  return false;
}

bool mfr_see_through(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (!push_behind(L, index)) return false;
  lua_replace(L, index);
  return true;
}

static bool is_view(lua_State *L, int index) {
  bool view = lua_rawgetp(L, index, &views_key) != LUA_TNIL;
  lua_pop(L, 1);
  return view;
}

/* ---- metatables of scripts ---- */

/* The metatable in force is a copy that the script cannot reach: what Lua would act on behind the
 * meter's back (__gc, __mode, __close) cannot be added to it later. */

static void refuse_fields(lua_State *L, int table) {
  static const char *const refused[] = {"__gc", "__mode", "__close", "__metatable"};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    lua_pushstring(L, refused[i]);
    if (lua_rawget(L, table) != LUA_TNIL)
      luaL_error(L, "a script's metatable cannot have %s: what it does depends on the run",
                 refused[i]);
    lua_pop(L, 1);
  }
}

/* Copies the metamethods of the table at `from` to the one at `to`. */
static void copy_metamethods(lua_State *L, int from, int to, bool script) {
  int64_t count = 0;
  if (script) refuse_fields(L, from);
  for (lua_pushnil(L); lua_next(L, from); lua_pop(L, 1), count++) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    if (name[0] != '_' || name[1] != '_') continue;
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, to);
  }
  mfr_charge(L, count);
}

/* Replaces the script's metatable on top by the copy in force. */
static void use_copy(lua_State *L) {
  int original = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->copies_ref);
  lua_pushvalue(L, original);
  bool known = lua_rawget(L, -2) == LUA_TTABLE;
  if (!known) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, original);
    lua_rawsetp(L, -2, &original_key);
    lua_pushvalue(L, original);
    lua_pushvalue(L, -2);
    lua_rawset(L, original + 1);
  }
  /* 2: the copies, 3: the copy */
  bool frozen = push_behind(L, original);
  if (!frozen) lua_pushvalue(L, original);
  if (!known || !frozen) {
    copy_metamethods(L, original + 3, original + 2, true);
    lua_pushnil(L); /* views have one of their own, made from this one */
    lua_rawsetp(L, original + 2, &veiled_key);
  }
  lua_pushvalue(L, original + 2);
  lua_replace(L, original);
  lua_settop(L, original);
}

void mfr_set_script_metatable(lua_State *L, int table) {
  table = lua_absindex(L, table);
  luaL_checkstack(L, 12, "metatable");
  if (lua_type(L, -1) == LUA_TTABLE) {
    mfr_sandbox_of(L)->metatables = true;
    use_copy(L);
  }
  lua_setmetatable(L, table);
}

/* Pushes the script's own metatable, given the copy at index. [-0, +1|0] */
static bool push_original(lua_State *L, int copy) {
  if (lua_rawgetp(L, copy, &original_key) == LUA_TTABLE) return true;
  lua_pop(L, 1);
  return false;
}

static void push_view(lua_State *L, int table, int views);

void mfr_push_script_metatable(lua_State *L, int index) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, "metatable");
  bool behind = push_behind(L, index);
  bool has = lua_getmetatable(L, behind ? -1 : index);
  bool known = has && push_original(L, -1);
  if (has) lua_remove(L, known ? -2 : -1);
  if (behind) lua_remove(L, known ? -2 : -1);
  if (!known) lua_pushnil(L);
  if (!known || !is_view(L, index)) return;
  if (push_behind(L, -1)) { /* read-only already */
    lua_pop(L, 1);
    return;
  }
  lua_rawgetp(L, index, &views_key);
  push_view(L, lua_gettop(L) - 1, lua_gettop(L));
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* Stack: 1 the read-only table, 2 the key, 3 what is behind the table, which lacks the key: pushes
 * what the __index of its metatable makes of it. A function is given the read-only table. */
static void inherited(lua_State *L) {
  if (!lua_getmetatable(L, 3)) {
    lua_pushnil(L);
    return;
  }
  if (!push_original(L, -1)) { /* a metatable of ours */
    lua_pop(L, 1);
    lua_pushvalue(L, 2);
    lua_gettable(L, 3);
    return;
  }
  lua_pop(L, 1);
  lua_pushliteral(L, "__index");
  lua_rawget(L, -2);
  if (lua_isnil(L, -1)) return;
  if (lua_type(L, -1) == LUA_TFUNCTION) {
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    return;
  }
  if (is_view(L, 1) && !push_behind(L, -1)) { /* made by evolve: it is of the state, too */
    lua_rawgetp(L, 1, &views_key);
    push_view(L, lua_gettop(L) - 1, lua_gettop(L));
  } else if (is_view(L, 1))
    lua_pop(L, 1);
  lua_pushvalue(L, 2);
  lua_gettable(L, -2);
}

static int readonly_len(lua_State *L) {
  lua_settop(L, 1);
  lua_pushinteger(L, mfr_length(L, 1));
  return 1;
}

bool mfr_is_readonly_len(lua_State *L, int index) {
  return lua_tocfunction(L, index) == readonly_len;
}

/* Sets what every metatable of read-only tables has, in the one on top. */
static void set_readonly(lua_State *L, lua_CFunction newindex) {
  lua_pushcfunction(L, newindex);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushliteral(L, "__len");
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pushcfunction(L, readonly_len);
    lua_setfield(L, -3, "__len");
  }
  lua_pop(L, 1);
}

/* ---- frozen tables ---- */

static int refuse_frozen(lua_State *L) {
  return luaL_error(L, "this table was made while the script loaded and is read-only since: keep "
                       "what changes in the state");
}

static int frozen_newindex(lua_State *L) {
  return refuse_frozen(L);
}

static int refuse_library(lua_State *L) {
  return luaL_error(L, "the libraries and the globals are read-only: keep functions of your own in "
                       "local variables");
}

static int library_newindex(lua_State *L) {
  return refuse_library(L);
}

static bool is_frozen_by_script(lua_State *L, int index) {
  lua_getmetatable(L, index);
  lua_pushliteral(L, "__newindex");
  lua_rawget(L, -2);
  bool is = lua_tocfunction(L, -1) == frozen_newindex;
  lua_pop(L, 2);
  return is;
}

static int frozen_index(lua_State *L) {
  lua_settop(L, 2);
  lua_rawgetp(L, 1, &behind_key);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 3) == LUA_TNIL) inherited(L);
  return 1;
}

/* Stack of a freeze: what is still to be looked at, and what was. */
typedef struct freezer {
  int work;
  lua_Integer count;
  int seen, upvalues; /* functions; upvalues by their identity */
} freezer;

/* Takes note of the value on top: [-1, +0]. */
static void visit(lua_State *L, freezer *f) {
  int type = lua_type(L, -1);
  bool wanted = type == LUA_TTABLE || (type == LUA_TFUNCTION && !lua_iscfunction(L, -1));
  if (wanted && type == LUA_TTABLE && push_behind(L, -1)) {
    lua_pop(L, 1);
    wanted = false;
  }
  if (wanted) {
    lua_pushvalue(L, -1);
    wanted = lua_rawget(L, f->seen) == LUA_TNIL;
    lua_pop(L, 1);
  }
  if (!wanted) {
    lua_pop(L, 1);
    return;
  }
  lua_pushvalue(L, -1);
  lua_pushboolean(L, 1);
  lua_rawset(L, f->seen);
  lua_rawseti(L, f->work, ++f->count);
}

/* Remembers upvalue n of the function on top, and visits it. */
static bool visit_upvalue(lua_State *L, freezer *f, int n) {
  if (!lua_getupvalue(L, -1, n)) return false;
  const void *id = lua_upvalueid(L, -2, n);
  if (lua_rawgetp(L, f->upvalues, id) == LUA_TNIL) {
    lua_pushboolean(L, 1);
    lua_rawsetp(L, f->upvalues, id);
    lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->upvalues_ref);
    lua_Integer size = (lua_Integer)lua_rawlen(L, -1);
    lua_pushvalue(L, -4);
    lua_rawseti(L, -2, size + 1);
    lua_pushinteger(L, n);
    lua_rawseti(L, -2, size + 2);
    lua_pushvalue(L, -3);
    if (lua_isnil(L, -1)) { /* no holes */
      lua_pop(L, 1);
      lua_pushlightuserdata(L, mfr_sandbox_of(L));
    }
    lua_rawseti(L, -2, size + 3);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  visit(L, f);
  return true;
}

/* Moves all that is in `from` to `to` and visits it. */
static void move_contents(lua_State *L, freezer *f, int from, int to) {
  int64_t count = 0;
  for (lua_pushnil(L); lua_next(L, from); count++) {
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, to);
    visit(L, f);
    lua_pushvalue(L, -1);
    visit(L, f);
  }
  for (lua_pushnil(L); lua_next(L, from);) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, from);
  }
  mfr_charge(L, 10 + 10 * count);
}

/* Freezes the table on top: [-1, +0]. */
static void freeze_table(lua_State *L, freezer *f) {
  int table = lua_gettop(L), behind = table + 1, meta = table + 2;
  bool inherits = false;
  lua_pushvalue(L, table);
  lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->copies_ref);
  lua_insert(L, -2);
  if (lua_rawget(L, -2) == LUA_TTABLE) /* it is a metatable: what came late to it counts now */
    copy_metamethods(L, table, lua_gettop(L), true);
  lua_settop(L, table);
  lua_createtable(L, (int)lua_rawlen(L, table), 0);
  lua_newtable(L);
  move_contents(L, f, table, behind);
  if (lua_getmetatable(L, table)) {
    inherits = push_original(L, -1);
    if (inherits) {
      visit(L, f);
      copy_metamethods(L, meta + 1, meta, false);
    }
    lua_setmetatable(L, behind);
  }
  if (inherits)
    lua_pushcfunction(L, frozen_index);
  else
    lua_pushvalue(L, behind);
  lua_setfield(L, meta, "__index");
  set_readonly(L, mfr_sandbox_of(L)->running ? frozen_newindex : library_newindex);
  lua_pushvalue(L, behind);
  lua_rawsetp(L, table, &behind_key);
  lua_setmetatable(L, table);
  lua_settop(L, table - 1);
}

void mfr_freeze(lua_State *L) {
  luaL_checkstack(L, 30, "freeze");
  int value = lua_gettop(L);
  freezer f = {value + 1, 0, value + 2, value + 3};
  for (int i = 0; i < 2; i++)
    lua_newtable(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->upvalue_ids_ref);
  lua_pushvalue(L, value);
  visit(L, &f);
  while (f.count > 0) {
    lua_rawgeti(L, f.work, f.count);
    lua_pushnil(L);
    lua_rawseti(L, f.work, f.count--);
    if (lua_type(L, -1) == LUA_TTABLE)
      freeze_table(L, &f);
    else {
      for (int n = 1; visit_upvalue(L, &f, n);)
        n++;
      lua_pop(L, 1);
    }
  }
  lua_settop(L, value - 1);
}

/* Whether the two values on top are the same; a NaN is itself here. */
static bool are_same(lua_State *L) {
  if (lua_rawequal(L, -1, -2)) return true;
  return lua_type(L, -1) == LUA_TNUMBER && lua_type(L, -2) == LUA_TNUMBER &&
         isnan(lua_tonumber(L, -1)) && isnan(lua_tonumber(L, -2));
}

bool mfr_upvalues_unchanged(lua_State *L) {
  int top = lua_gettop(L);
  const char *changed = NULL;
  lua_Integer function = 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->upvalues_ref);
  lua_Integer size = (lua_Integer)lua_rawlen(L, top + 1);
  for (lua_Integer i = 1; i <= size; i += 3) {
    lua_rawgeti(L, top + 1, i);
    lua_rawgeti(L, top + 1, i + 1);
    int n = (int)lua_tointeger(L, -1);
    const char *name = lua_getupvalue(L, -2, n);
    lua_rawgeti(L, top + 1, i + 2);
    if (lua_touserdata(L, -1) == mfr_sandbox_of(L)) {
      lua_pop(L, 1);
      lua_pushnil(L);
    }
    if (!are_same(L)) {
      changed = name;
      function = i;
      lua_setupvalue(L, top + 2, n);
    }
    lua_settop(L, top + 1);
  }
  if (changed) {
    lua_Debug info;
    lua_rawgeti(L, top + 1, function);
    lua_getinfo(L, ">S", &info);
    lua_pushfstring(L,
                    "%s: the local variable \"%s\", outside of the functions, was changed by a "
                    "call: the next one would see it. What must last belongs into the state",
                    info.short_src, changed);
    lua_replace(L, top + 1);
  }
  lua_settop(L, changed ? top + 1 : top);
  return !changed;
}

/* ---- views of a state ---- */

enum { PATH = 200 };

/* Puts a key before the path. What has no room for it is "...". */
static void add_to_path(lua_State *L, int key, char *path) {
  char longer[PATH + 80];
  if (lua_type(L, key) == LUA_TSTRING)
    snprintf(longer, sizeof longer, ".%.60s%s", lua_tostring(L, key), path);
  else if (lua_isinteger(L, key))
    snprintf(longer, sizeof longer, "[%lld]%s", (long long)lua_tointeger(L, key), path);
  else
    snprintf(longer, sizeof longer, "[%s]%s", luaL_typename(L, key), path);
  if (strlen(longer) < PATH)
    strcpy(path, longer);
  else if (strncmp(path, "...", 3) != 0 && strlen(path) + 4 < PATH) {
    memmove(path + 3, path, strlen(path) + 1);
    memcpy(path, "...", 3);
  }
}

/* The path by which the script has come to the view. [-0, +0] */
static void find_path(lua_State *L, int view, char *path) {
  luaL_checkstack(L, 6, "path");
  lua_pushvalue(L, view);
  while (lua_rawgetp(L, -1, &parent_key) != LUA_TNIL) {
    lua_rawgetp(L, -2, &name_key);
    add_to_path(L, lua_gettop(L), path);
    lua_pop(L, 1);
    lua_remove(L, -2);
  }
  lua_pop(L, 2);
}

/*
 * Whether a call of the function on top leaves no trace. An iterator does. What a function of the
 * script can change is its upvalues: those of the file are looked after (see
 * mfr_upvalues_unchanged()), those of a function that evolve has made are not.
 */
static bool leaves_no_trace(lua_State *L) {
  if (lua_iscfunction(L, -1)) {
    bool iterator = lua_getupvalue(L, -1, 1) && lua_isinteger(L, -1);
    if (lua_type(L, -1) != LUA_TFUNCTION || iterator) lua_pop(L, 1);
    return !iterator;
  }
  int function = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->upvalue_ids_ref);
  bool fine = true;
  for (int n = 1; fine; n++) {
    void *id = lua_getupvalue(L, function, n) ? lua_upvalueid(L, function, n) : NULL;
    if (!id) break;
    fine = lua_rawgetp(L, function + 1, id) != LUA_TNIL;
    lua_settop(L, function + 1);
  }
  lua_settop(L, function);
  return fine;
}

/* The value on top, which was found by the key at 2, is none that decide must not have. */
static void check_found(lua_State *L) {
  if (lua_type(L, -1) != LUA_TFUNCTION || leaves_no_trace(L)) return;
  char path[PATH] = "";
  add_to_path(L, 2, path);
  find_path(L, 1, path);
  luaL_error(L,
             "state%s is a function that evolve has made, which remembers what it was called "
             "with: a state holds values. Functions stand at the top of the file",
             path);
}

static int view_index(lua_State *L) {
  lua_settop(L, 2);
  lua_rawgetp(L, 1, &behind_key);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 3) == LUA_TNIL && lua_getmetatable(L, 3)) {
    lua_settop(L, 3);
    inherited(L);
  }
  if (lua_type(L, -1) != LUA_TTABLE) {
    check_found(L);
    return 1;
  }
  int value = lua_gettop(L);
  if (push_behind(L, value)) { /* read-only already */
    lua_settop(L, value);
    return 1;
  }
  lua_rawgetp(L, 1, &views_key);
  push_view(L, value, value + 1);
  if (lua_rawgetp(L, -1, &parent_key) != LUA_TNIL) {
    lua_pop(L, 1);
    return 1;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, -2, &parent_key);
  lua_pushvalue(L, 2);
  lua_rawsetp(L, -2, &name_key);
  return 1;
}

static int refuse_view(lua_State *L, int view, int key) {
  char path[PATH] = "";
  if (key) add_to_path(L, key, path);
  find_path(L, view, path);
  const char *calling = mfr_sandbox_of(L)->state->calling;
  if (calling && strcmp(calling, "decide") != 0)
    return luaL_error(L, "%s must not change the state (state%s): it only looks at it", calling,
                      path);
  return luaL_error(L,
                    "decide must not change the state (state%s): return an event, and let evolve "
                    "do it",
                    path);
}

static int view_newindex(lua_State *L) {
  return refuse_view(L, 1, 2);
}

/* Makes a metatable of views: [-0, +1]. */
static void new_view_metatable(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, view_index);
  lua_setfield(L, -2, "__index");
  set_readonly(L, view_newindex);
}

/* Metamethods are called by Lua itself: they are looked at before. */
static void check_metamethods(lua_State *L, int table) {
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    if (lua_type(L, -1) == LUA_TFUNCTION && !leaves_no_trace(L))
      luaL_error(L, "the state has a metatable with a function that evolve has made, which "
                    "remembers what it was called with: make the metatable at the top of the file");
}

/* Pushes the metatable for a view of the table, whose own may have metamethods of the script. */
static void push_view_metatable(lua_State *L, int table) {
  if (!lua_getmetatable(L, table)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->view_ref);
    return;
  }
  if (!push_original(L, -1)) {
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->view_ref);
    return;
  }
  lua_pop(L, 1);
  int copy = lua_gettop(L);
  if (lua_rawgetp(L, copy, &veiled_key) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
    copy_metamethods(L, copy, copy + 1, false);
    check_metamethods(L, copy + 1);
    lua_pushcfunction(L, view_index);
    lua_setfield(L, -2, "__index");
    set_readonly(L, view_newindex);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, copy, &veiled_key);
  }
  lua_remove(L, copy);
}

/* Pushes the view of a table: one and the same for as long as the state is looked at. [-0, +1] */
static void push_view(lua_State *L, int table, int views) {
  luaL_checkstack(L, 8, "view");
  lua_pushvalue(L, table);
  if (lua_rawget(L, views) != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushvalue(L, table);
  lua_rawsetp(L, -2, &behind_key);
  lua_pushvalue(L, views);
  lua_rawsetp(L, -2, &views_key);
  push_view_metatable(L, table);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, table);
  lua_pushvalue(L, -2);
  lua_rawset(L, views);
}

void mfr_push_view(lua_State *L, mfr_state *state, int index) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, "view");
  bool plain = lua_type(L, index) == LUA_TTABLE && state->sandbox;
  if (!plain || push_behind(L, index)) {
    if (plain) lua_pop(L, 1);
    lua_pushvalue(L, index);
    return;
  }
  lua_createtable(L, 0, 4);
  push_view(L, index, lua_gettop(L));
  lua_remove(L, -2);
}

void mfr_check_writable(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (!push_behind(L, index)) return;
  lua_pop(L, 1);
  if (is_view(L, index)) refuse_view(L, index, 0);
  if (is_frozen_by_script(L, index))
    refuse_frozen(L);
  else
    refuse_library(L);
}

/* ---- plain copies for the host ---- */

/* Replaces the table on top by a copy; `copies` tells which were copied before. */
static void thaw(lua_State *L, int copies, int depth) {
  if (lua_type(L, -1) != LUA_TTABLE) return;
  if (depth == MFR_DEPTH_MAX) luaL_error(L, "tables are nested more than 128 deep");
  luaL_checkstack(L, 8, "copy");
  mfr_see_through(L, -1);
  int table = lua_gettop(L);
  lua_pushvalue(L, table);
  if (lua_rawget(L, copies) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, table);
    lua_pushvalue(L, -2);
    lua_rawset(L, copies);
    if (lua_getmetatable(L, table)) {
      if (push_original(L, -1))
        lua_pop(L, 2);
      else
        lua_setmetatable(L, table + 1);
    }
    for (lua_pushnil(L); lua_next(L, table);) {
      mfr_charge(L, 4);
      thaw(L, copies, depth + 1);
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, table + 1);
    }
  }
  lua_replace(L, table);
}

void mfr_thaw(lua_State *L) {
  lua_newtable(L);
  lua_insert(L, -2);
  thaw(L, lua_gettop(L) - 1, 0);
  lua_remove(L, -2);
}

bool mfr_plain_decider(lua_State *L, mfr_state *state, int index) {
  index = lua_absindex(L, index);
  if (!state->sandbox || lua_type(L, index) != LUA_TTABLE) return false;
  luaL_checkstack(L, 8, "decider");
  int top = lua_gettop(L);
  bool frozen = push_behind(L, index), lasting = frozen && !is_view(L, index);
  if (frozen && lua_rawgetp(L, index, &plain_key) == LUA_TNIL) {
    lua_pop(L, 1);
    mfr_thaw(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, index, &plain_key);
  } else if (!frozen) {
    lua_pushvalue(L, index);
    mfr_thaw(L);
  }
  lua_replace(L, index);
  lua_settop(L, top);
  return lasting;
}

void mfr_readonly_open(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  new_view_metatable(L);
  sandbox->view_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  sandbox->copies_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_newtable(L);
  sandbox->upvalues_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_newtable(L);
  sandbox->upvalue_ids_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
