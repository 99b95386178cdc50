/*
 * What a Lua host sees of loaded deciders: moonfold.load_decider, store:use, and the objects that
 * they return.
 */
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAST = 3 }; /* domains that are kept when others take their place */

/* A domain, as a userdata of the host. User values: see DOMAIN_FIELDS. */
typedef struct host_domain {
  mfr_domain *domain;
  mfr_state *state;
  int log_ref;                        /* in the host's registry; LUA_NOREF: nobody listens */
  bool automatic;                     /* loaded again when a file has changed */
  mfr_functions functions;            /* that scripts may call */
  struct lua_function *lua_functions; /* the same, as functions of the host's state */
  unsigned generation;                /* goes up when another domain takes the place of this one */
  mfr_domain *past[PAST];             /* the newest first, with the states that they keep */
} host_domain;

/* User values of a domain: what can be read of it (path, and the list of its deciders), why it
 * could not be loaded again (nil: it could), and the stores' lists of domains in use that it has
 * come to be in: a table with weak keys, or nil. */
enum { DOMAIN_FIELDS = 1, DOMAIN_PROBLEM, DOMAIN_LISTS, DOMAIN_VALUES = DOMAIN_LISTS };

/* A decider: user values 1 the domain, 2 what can be read of it. */
typedef struct host_decider {
  const mfr_loaded *loaded; /* as long as host->domain is there, in this generation */
  host_domain *host;
  unsigned generation;
  char path[]; /* of its file */
} host_decider;

static void set_decider_fields(lua_State *L, mfr_state *state, int index, const mfr_loaded *loaded);
static void set_domain_fields(lua_State *L, mfr_state *state, int index);

/* Another domain has taken the place of the one that the decider was in: finds it there. */
static void follow(lua_State *L, host_decider *decider, int index) {
  decider->loaded = mfr_domain_find(decider->host->domain, decider->path);
  decider->generation = decider->host->generation;
  if (decider->loaded) set_decider_fields(L, decider->host->state, index, decider->loaded);
}

const mfr_loaded *mfr_to_loaded(lua_State *L, const mfr_state *state, int index) {
  host_decider *decider = mfr_to_class(L, index, state->decider_ref);
  /* The domain goes before its deciders do when the host's state is closed, and finalizers may
   * still call. */
  if (!decider || !decider->host->domain) return NULL;
  if (decider->generation != decider->host->generation) follow(L, decider, index);
  return decider->loaded;
}

void mfr_check_loaded(lua_State *L, const mfr_state *state, const mfr_loaded *loaded,
                      bool decides) {
  if (decides && !loaded->decides)
    mfr_misuse(L, state, "decider.decide",
               "%s has none, so it can be folded and cannot handle commands", loaded->file);
}

/* ---- print ---- */

typedef struct printed {
  host_domain *host;
  const char *line;
  size_t size;
  const mfr_call *call;
} printed;

/* Argument: what was printed. Calls the log function with the line and where it comes from. */
static int call_log(lua_State *L) {
  const printed *p = lua_touserdata(L, 1);
  const mfr_call *call = p->call;
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->host->log_ref);
  lua_pushlstring(L, p->line, p->size);
  lua_newtable(L);
  if (call && call->phase) {
    mfr_set_string(L, "phase", call->phase, strlen(call->phase));
    mfr_describe_failure(L, call);
  }
  lua_call(L, 2, 0);
  return 0;
}

/* Called while the sandbox runs: nothing may be raised through it. */
static void log_line(void *context, const char *line, size_t size, const mfr_call *call) {
  printed p = {context, line, size, call};
  lua_State *L = mfr_domain_host(p.host->domain);
  if (p.host->log_ref == LUA_NOREF || !lua_checkstack(L, 4)) return;
  lua_pushcfunction(L, call_log);
  lua_pushlightuserdata(L, &p);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  const char *problem = lua_tostring(L, -1);
  lua_warning(L, "moonfold: the log function failed: ", 1);
  lua_warning(L, problem ? problem : "its error is no text", 0);
  lua_pop(L, 1);
}

/* ---- functions of the host ---- */

typedef struct lua_function {
  struct lua_function *next;
  host_domain *host;
  int ref; /* of the function, in the host's registry */
} lua_function;

typedef struct function_call {
  const lua_function *function;
  mf_value arguments;
  mf_builder *result;
} function_call;

/* Argument: the call. */
static int call_host_function(lua_State *L) {
  const function_call *call = lua_touserdata(L, 1);
  mfr_state *state = call->function->host->state;
  int count = (int)mf_value_count(call->arguments);
  luaL_checkstack(L, count + 8, "arguments");
  mfr_buffer *out = mfr_borrow(L, state);
  lua_rawgeti(L, LUA_REGISTRYINDEX, call->function->ref);
  for (mf_each each = mf_value_each(call->arguments); mf_each_next(&each);) {
    mf_bytes bytes = mf_value_bytes(each.value);
    mfr_decode_here(L, state, bytes.data, bytes.size);
  }
  lua_call(L, count, 1);
  if (lua_isnil(L, -1)) return 0;
  mfr_encode(L, state, out, -1, "result");
  const uint8_t *bytes = (const uint8_t *)out->data;
  mf_build_value(call->result, (mf_value){bytes, bytes + out->size});
  mfr_give_back(state, out);
  return 0;
}

/* Called while the sandbox runs: nothing may be raised through it. */
static int run_host_function(void *context, mf_value arguments, mf_builder *result,
                             mf_error *error) {
  const lua_function *function = context;
  function_call call = {function, arguments, result};
  lua_State *L = mfr_domain_host(function->host->domain);
  mfr_state *state = function->host->state;
  const char *calling = state->calling;
  if (!lua_checkstack(L, 4)) return MF_NO_MEMORY;
  state->calling = "a function of the host";
  lua_pushcfunction(L, call_host_function);
  lua_pushlightuserdata(L, &call);
  int rc = lua_pcall(L, 1, 0, 0);
  state->calling = calling;
  if (rc == LUA_OK) return MF_OK;
  const char *problem = luaL_tolstring(L, -1, NULL);
  snprintf(error->message, sizeof error->message, "%s", problem);
  lua_pop(L, 2);
  return MF_SCRIPT_ERROR;
}

/* Adds the function on top to the domain's. [-1, +0] */
static void add_function(lua_State *L, const mfr_state *state, host_domain *host, const char *name,
                         const char *version) {
  if (!mfr_is_name(name, strlen(name)))
    mfr_misuse(L, state, "options.host",
               "\"%.40s\" is no name of a function: letters, digits and _, at most 40", name);
  if (lua_type(L, -1) != LUA_TFUNCTION)
    mfr_misuse(L, state, "options.host", "%s: a function is needed, this is %s", name,
               luaL_typename(L, -1));
  lua_function *function = calloc(1, sizeof *function);
  if (!function) mfr_raise_no_memory(L);
  function->host = host;
  function->ref = LUA_NOREF;
  function->next = host->lua_functions;
  host->lua_functions = function;
  function->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  mf_host_function given = {sizeof given, name, version, 0, run_host_function, function};
  if (!mfr_functions_add(&host->functions, &given)) mfr_raise_no_memory(L);
}

/* The options `host` and `host_version` of the table at index. */
static void function_options(lua_State *L, const mfr_state *state, int index, host_domain *host) {
  int top = lua_gettop(L);
  if (lua_getfield(L, index, "host_version") != LUA_TNIL)
    mfr_check_string(L, state, top + 1, "options.host_version");
  const char *version = lua_tostring(L, top + 1);
  if (lua_getfield(L, index, "host") != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TTABLE)
      mfr_misuse(L, state, "options.host", "a table of functions is needed, this is %s",
                 luaL_typename(L, -1));
    for (lua_pushnil(L); lua_next(L, top + 2);) {
      if (lua_type(L, -2) != LUA_TSTRING)
        mfr_misuse(L, state, "options.host", "its keys are names of functions, this is %s",
                   luaL_typename(L, -2));
      add_function(L, state, host, lua_tostring(L, -2), version);
    }
  }
  lua_settop(L, top);
}

/* When nothing can call them any more. */
static void free_functions(lua_State *L, host_domain *host) {
  mfr_functions_free(&host->functions);
  while (host->lua_functions) {
    lua_function *function = host->lua_functions;
    host->lua_functions = function->next;
    luaL_unref(L, LUA_REGISTRYINDEX, function->ref);
    free(function);
  }
}

/* ---- loading ---- */

static const char *const load_options[] = {"params",        "reload",       "budget",     "memory",
                                           "keep_commands", "cache",        "snapshots",  "log",
                                           "host",          "host_version", "check_host", NULL};

/* How many states are kept: a number, or false for none. */
static int64_t cache_option(lua_State *L, const mfr_state *state, int index) {
  int type = lua_getfield(L, index, "cache");
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (type == LUA_TBOOLEAN) return on ? 0 : -1;
  int64_t states = mfr_option_count(L, state, index, "cache", 0);
  return states == 0 && type != LUA_TNIL ? -1 : states;
}

/* A limit; 0, which stands for the default, when it is not given. */
static int64_t limit_option(lua_State *L, const mfr_state *state, int index, const char *name) {
  char path[40];
  int64_t value = mfr_option_count(L, state, index, name, -1);
  snprintf(path, sizeof path, "options.%s", name);
  if (value == 0) mfr_misuse(L, state, path, "it is at least 1");
  return value < 0 ? 0 : value;
}

/* Reads the options; the buffer of params is left on the stack. [-0, +1] */
static void check_load_options(lua_State *L, mfr_state *state, int index, host_domain *host,
                               mfr_load_options *out) {
  memset(out, 0, sizeof *out);
  out->log = log_line;
  out->log_context = host;
  mfr_buffer *params = mfr_borrow(L, state);
  if (!mfr_check_options(L, state, index, "options", load_options)) return;
  out->limits.instructions = limit_option(L, state, index, "budget");
  out->limits.memory = (size_t)limit_option(L, state, index, "memory");
  mfr_keeping_option(L, state, index, &out->keeping);
  out->cache = cache_option(L, state, index);
  function_options(L, state, index, host);
  out->functions = &host->functions;
  host->functions.twice = mfr_option_boolean(L, state, index, "check_host", false);
  out->no_snapshots = !mfr_option_boolean(L, state, index, "snapshots", true);
  host->automatic = mfr_option_boolean(L, state, index, "reload", false);
  if (lua_getfield(L, index, "params") != LUA_TNIL)
    mfr_encode(L, state, params, -1, "options.params");
  out->params = *params;
  if (lua_getfield(L, index, "log") == LUA_TFUNCTION)
    host->log_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  else if (!lua_isnil(L, -1))
    mfr_misuse(L, state, "options.log", "a function is needed, this is %s", luaL_typename(L, -1));
  else
    lua_pop(L, 1);
  lua_pop(L, 1);
}

static mfr_text check_path(lua_State *L, const mfr_state *state, int index) {
  mfr_text path = mfr_check_string(L, state, index, "path");
  if (path.size == 0 || strlen(path.data) != path.size)
    mfr_misuse(L, state, "path", "a path is not empty and has no NUL");
  return path;
}

static int load_files(lua_State *L, mfr_state *state, mfr_domain *domain, const char *path) {
  const char *calling = state->calling;
  state->calling = "a script's print";
  mfr_domain_set_host(domain, L);
  int status = mfr_domain_load(domain, path);
  state->calling = calling;
  return status;
}

/* Loads what the path names, with the options behind it. [-0, +1]: the domain */
static host_domain *load_domain(lua_State *L, mfr_state *state, int index) {
  mfr_load_options options;
  mfr_text path = check_path(L, state, index);
  host_domain *host = lua_newuserdatauv(L, sizeof *host, DOMAIN_VALUES);
  memset(host, 0, sizeof *host);
  host->log_ref = LUA_NOREF;
  host->state = state;
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->domain_ref);
  lua_setmetatable(L, -2);
  check_load_options(L, state, index + 1, host, &options);
  host->domain = mfr_domain_new(&options);
  if (!host->domain) {
    mfr_push_error(L, state, MF_NO_MEMORY, "no memory for a sandbox");
    lua_error(L);
  }
  int status = load_files(L, state, host->domain, path.data);
  if (status != MF_OK) {
    mfr_cross_error(L, state, host->domain, status);
    lua_error(L);
  }
  lua_pop(L, 1); /* the buffer of params */
  return host;
}

/* ---- upcasters of a loaded decider, as functions of the host ---- */

typedef struct upcasting {
  mfr_text type;
  mfr_buffer *out;
} upcasting;

/* In the sandbox. Arguments: call, store, decider, the event as bytes, the upcasting. */
static int upcast_stage(lua_State *S) {
  mfr_state *state = mfr_of(S);
  const mfr_buffer *in = lua_touserdata(S, 4);
  upcasting *u = lua_touserdata(S, 5);
  lua_getfield(S, 3, "upcast");
  lua_pushlstring(S, u->type.data, u->type.size);
  lua_rawget(S, -2);
  mfr_decode_here(S, state, in->data, in->size);
  mfr_call_script(S, state, lua_touserdata(S, 1), "upcast", 1, 1);
  u->out->size = 0;
  if (!lua_isnil(S, -1)) mfr_encode_event(S, state, u->out, -1);
  return 0;
}

/* Upvalues: the state, the decider, the type. Argument: an event. */
static int upcast_here(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  upcasting u;
  lua_settop(L, 1);
  if (lua_type(L, 1) != LUA_TTABLE)
    mfr_misuse(L, state, "event", "an event is needed, this is %s", mfr_type_name(L, 1));
  u.type.data = lua_tolstring(L, lua_upvalueindex(3), &u.type.size);
  call.event.type = (mf_bytes){u.type.data, u.type.size};
  lua_getfield(L, 1, "stream_name");
  if (lua_type(L, 2) == LUA_TSTRING) call.stream.data = lua_tolstring(L, 2, &call.stream.size);
  lua_getfield(L, 1, "stream_position");
  call.event.version = lua_tointeger(L, 3);
  lua_getfield(L, 1, "global_position");
  call.event.position = lua_tointeger(L, 4);
  mfr_buffer *in = mfr_borrow(L, state);
  mfr_encode_event(L, state, in, 1);
  u.out = mfr_borrow(L, state);
  const mfr_loaded *loaded = mfr_to_loaded(L, state, lua_upvalueindex(2));
  if (!loaded) mfr_misuse(L, state, "upcast", "its decider is gone: the program is ending");
  mfr_enter(L, state, loaded, &call, upcast_stage, in, &u);
  if (u.out->size)
    mfr_decode_here(L, state, u.out->data, u.out->size);
  else
    lua_pushnil(L);
  mfr_give_back(state, in);
  mfr_give_back(state, u.out);
  return 1;
}

typedef struct upcast_types {
  const mfr_loaded *loaded;
  mfr_buffer types;   /* each with its size */
  mfr_buffer handled; /* the types that evolve and decide know: event_types, command_types */
} upcast_types;

/* In the sandbox: adds a table by type to the one on top, where handlers are a table. [-0, +0] */
static void add_types(lua_State *S, int decider, const char *handlers, const char *field) {
  int top = lua_gettop(S);
  if (lua_getfield(S, decider, handlers) == LUA_TTABLE) {
    lua_newtable(S);
    for (lua_pushnil(S); lua_next(S, top + 1); lua_pop(S, 1)) {
      lua_pushvalue(S, -2);
      lua_pushboolean(S, lua_toboolean(S, -2));
      lua_rawset(S, top + 2);
    }
    lua_setfield(S, top, field);
  }
  lua_settop(S, top);
}

/* In the sandbox. */
static int list_upcasters(lua_State *S) {
  upcast_types *list = lua_touserdata(S, 1);
  lua_rawgeti(S, LUA_REGISTRYINDEX, list->loaded->ref);
  lua_newtable(S);
  add_types(S, 2, "evolve", "event_types");
  add_types(S, 2, "decide", "command_types");
  mfr_encode_sized(S, mfr_find(S), &list->handled, -1, "types");
  lua_settop(S, 2);
  if (lua_getfield(S, 2, "upcast") != LUA_TTABLE) return 0;
  for (lua_pushnil(S); lua_next(S, 3); lua_pop(S, 1))
    mfr_encode_sized(S, mfr_find(S), &list->types, -2, "type");
  return 0;
}

/* Arguments: the list, the decider, its fields. Sets upcast and the types in them. */
static int set_upcasters(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const upcast_types *list = lua_touserdata(L, 1);
  size_t handled = 0;
  mfr_decode_sized(L, state, &list->handled, &handled);
  mfr_copy_fields(L, lua_gettop(L), 3);
  lua_pop(L, 1);
  if (list->types.size == 0) return 0;
  lua_newtable(L);
  for (size_t at = 0; at < list->types.size;) {
    mfr_decode_sized(L, state, &list->types, &at);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, upcast_here, 3);
    lua_rawset(L, -3);
  }
  lua_setfield(L, 3, "upcast");
  return 0;
}

/* ---- deciders ---- */

/* The decider on top, its fields below it. [-0, +0] */
static void add_upcasters(lua_State *L, mfr_state *state, const mfr_loaded *loaded) {
  upcast_types list = {loaded, {NULL, 0, 0}, {NULL, 0, 0}};
  int decider = lua_gettop(L);
  int status = mfr_domain_call(loaded->domain, list_upcasters, &list);
  lua_pushlightuserdata(L, state);
  lua_pushcclosure(L, set_upcasters, 1);
  lua_pushlightuserdata(L, &list);
  lua_pushvalue(L, decider);
  lua_pushvalue(L, decider - 1);
  int rc = status == MF_OK ? lua_pcall(L, 3, 0, 0) : LUA_OK;
  mfr_buffer_free(&list.types);
  mfr_buffer_free(&list.handled);
  if (status != MF_OK) mfr_cross_error(L, state, loaded->domain, status);
  if (status != MF_OK || rc != LUA_OK) lua_error(L);
}

/* Sets what can be read of the decider at index. [-0, +0] */
static void set_decider_fields(lua_State *L, mfr_state *state, int index,
                               const mfr_loaded *loaded) {
  luaL_checkstack(L, 12, "decider");
  lua_pushvalue(L, index);
  lua_createtable(L, 0, 8);
  if (loaded->name) mfr_set_string(L, "name", loaded->name, strlen(loaded->name));
  if (loaded->category) mfr_set_string(L, "category", loaded->category, strlen(loaded->category));
  mfr_set_string(L, "path", loaded->path, strlen(loaded->path));
  const mfr_digests *digests = &loaded->digests;
  mfr_push_digest(L, digests->script);
  lua_setfield(L, -2, "digest");
  mfr_push_digest(L, digests->fold);
  lua_setfield(L, -2, "fold_digest");
  if (*digests->doubt) mfr_set_string(L, "fold_doubt", digests->doubt, strlen(digests->doubt));
  lua_insert(L, -2);
  add_upcasters(L, state, loaded);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, 2);
  lua_pop(L, 1);
}

/* Pushes the object for a decider of the domain at index `domain`. [-0, +1] */
static void push_decider(lua_State *L, mfr_state *state, int domain, const mfr_loaded *loaded) {
  size_t size = strlen(loaded->path) + 1;
  luaL_checkstack(L, 10, "decider");
  host_decider *decider = lua_newuserdatauv(L, sizeof *decider + size, 2);
  decider->loaded = loaded;
  decider->host = lua_touserdata(L, domain);
  decider->generation = decider->host->generation;
  memcpy(decider->path, loaded->path, size);
  lua_pushvalue(L, domain);
  lua_setiuservalue(L, -2, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->decider_ref);
  lua_setmetatable(L, -2);
  set_decider_fields(L, state, lua_gettop(L), loaded);
}

int mfr_load_decider(lua_State *L) {
  mfr_state *state = mfr_of(L);
  lua_settop(L, 2);
  host_domain *host = load_domain(L, state, 1);
  if (mfr_domain_is_folder(host->domain))
    mfr_misuse(L, state, "path", "\"%.200s\" is a folder: store:use(folder) takes all its deciders",
               lua_tostring(L, 1));
  push_decider(L, state, lua_gettop(L), mfr_domain_decider(host->domain, 0));
  return 1;
}

/* ---- loading again ---- */

/* A decider that is in use must still be there. */
static int check_all_there(mfr_domain *domain, mfr_domain *fresh) {
  for (size_t i = 0; i < mfr_domain_count(domain); i++) {
    const mfr_loaded *loaded = mfr_domain_decider(domain, i);
    if (!mfr_domain_find(fresh, loaded->path))
      return mfr_domain_fail(fresh, MF_INVALID_ARGUMENT,
                             "%s returns no decider any more, and its old one is in use",
                             loaded->path);
  }
  return MF_OK;
}

/* A decider of `mine` whose category one of `other`, *taken, has, too; or NULL. */
static const mfr_loaded *find_taken(const mfr_domain *mine, mfr_domain *other,
                                    const mfr_loaded **taken) {
  for (size_t i = 0; i < mfr_domain_count(mine); i++) {
    const mfr_loaded *one = mfr_domain_decider(mine, i);
    *taken = one->category ? mfr_has_category(&other, 1, one->category) : NULL;
    if (*taken) return one;
  }
  return NULL;
}

#define CATEGORY_IN_USE "the category \"%.80s\" is in use: %.200s has it, and so has %.200s"

/* The other domains of a store's list (on top) that has the domain must not have a category of the
 * fresh one. [-0, +0] */
static int check_list(lua_State *L, const host_domain *host, mfr_domain *fresh) {
  int status = MF_OK, list = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  bool in_use = false;
  for (lua_Integer i = 1; i <= count; i++, lua_pop(L, 1)) {
    lua_rawgeti(L, list, i);
    const host_domain *other = lua_touserdata(L, -1);
    const mfr_loaded *taken, *mine = NULL;
    in_use |= other == host;
    if (other != host && other->domain) mine = find_taken(fresh, other->domain, &taken);
    if (mine)
      status = mfr_domain_fail(fresh, MF_INVALID_ARGUMENT, CATEGORY_IN_USE, mine->category,
                               taken->path, mine->path);
  }
  return in_use ? status : MF_OK;
}

/* What the domain at index would become must not have a category that another domain has which the
 * same store uses. */
static int check_categories(lua_State *L, int index, mfr_domain *fresh) {
  const host_domain *host = lua_touserdata(L, index);
  int status = MF_OK, top = lua_gettop(L);
  luaL_checkstack(L, 8, "reload");
  if (lua_getiuservalue(L, index, DOMAIN_LISTS) == LUA_TTABLE)
    for (lua_pushnil(L); status == MF_OK && lua_next(L, top + 1);) {
      lua_pop(L, 1);
      status = check_list(L, host, fresh);
    }
  lua_settop(L, top);
  return status;
}

/* The domain that takes the place of the present one: the fresh one, or one of the past that is the
 * same and has kept its states. */
static void replace_domain(host_domain *host, mfr_domain *fresh) {
  size_t i = 0;
  while (i < PAST && !(host->past[i] && mfr_domain_same(host->past[i], fresh)))
    i++;
  mfr_domain *next = fresh;
  if (i < PAST) {
    next = host->past[i];
    mfr_watch_move(mfr_domain_watch(next), mfr_domain_watch(fresh));
    mfr_domain_free(fresh);
  } else
    mfr_domain_free(host->past[--i]);
  memmove(&host->past[1], &host->past[0], i * sizeof host->past[0]);
  host->past[0] = host->domain;
  host->domain = next;
  host->generation++;
}

/* Brings the list of deciders up to date, where there is one: those that were there stay the same
 * objects. */
static void update_domain_fields(lua_State *L, mfr_state *state, int index) {
  bool in_use = lua_getiuservalue(L, index, DOMAIN_FIELDS) == LUA_TTABLE;
  lua_pop(L, 1);
  if (in_use) set_domain_fields(L, state, index);
}

/* Loads the domain at index again. On failure the old one goes on, and an error object is pushed;
 * *changed: there is other code now. [-0, +1|0] */
static int load_again(lua_State *L, mfr_state *state, int index, bool *changed) {
  host_domain *host = lua_touserdata(L, index);
  *changed = false;
  mfr_domain *fresh = mfr_domain_again(host->domain);
  if (!fresh) {
    mfr_push_error(L, state, MF_NO_MEMORY, "no memory for a sandbox");
    return MF_NO_MEMORY;
  }
  mfr_domain_set_host(host->domain, L); /* through it the log function is found */
  int status = load_files(L, state, fresh, mfr_domain_path(host->domain));
  if (status == MF_OK) status = check_all_there(host->domain, fresh);
  if (status == MF_OK) status = check_categories(L, index, fresh);
  if (status != MF_OK) {
    mfr_cross_error(L, state, fresh, status);
    mfr_watch_merge(mfr_domain_watch(host->domain), mfr_domain_watch(fresh));
    mfr_domain_free(fresh);
  } else if (mfr_domain_same(host->domain, fresh)) {
    mfr_watch_move(mfr_domain_watch(host->domain), mfr_domain_watch(fresh));
    mfr_domain_free(fresh);
  } else {
    replace_domain(host, fresh);
    *changed = true;
  }
  lua_pushvalue(L, status == MF_OK ? index : -1);
  if (status == MF_OK) {
    lua_pop(L, 1);
    lua_pushnil(L);
  } else
    lua_getfield(L, -1, "message");
  lua_setiuservalue(L, index, DOMAIN_PROBLEM);
  if (status != MF_OK) lua_pop(L, 1);
  return status;
}

/* decider:reload(), domain:reload(): whether there is other code now. */
static int reload(lua_State *L) {
  mfr_state *state = mfr_of(L);
  bool changed;
  if (state->calling)
    mfr_misuse(L, state, "decider", "code cannot be loaded again from %s", state->calling);
  lua_settop(L, 1);
  if (mfr_to_loaded(L, state, 1))
    lua_getiuservalue(L, 1, 1);
  else if (mfr_to_class(L, 1, state->domain_ref))
    lua_pushvalue(L, 1);
  else
    mfr_misuse(L, state, "decider",
               "a loaded decider is needed, this is %s: is it "
               "decider:reload(), with a colon?",
               mfr_type_name(L, 1));
  if (load_again(L, state, 2, &changed) != MF_OK) return lua_error(L);
  if (changed) update_domain_fields(L, state, 2);
  lua_pushboolean(L, changed);
  return 1;
}

/* Argument: why the code could not be loaded again; the log function is told. */
static int tell_problem(lua_State *L) {
  lua_newtable(L);
  lua_pushliteral(L, "reload");
  lua_setfield(L, -2, "phase");
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushfstring(L, "the old code goes on: %s", lua_tostring(L, 1));
  lua_pushvalue(L, 2);
  lua_call(L, 2, 0);
  return 0;
}

/* Loads the domain at index again if that is asked for and a file has changed. What does not load
 * is told, and the old code goes on. */
static void keep_up(lua_State *L, mfr_state *state, int index) {
  host_domain *host = lua_touserdata(L, index);
  bool changed;
  int top = lua_gettop(L);
  if (!host->automatic || !host->domain || state->calling ||
      !mfr_watch_changed(mfr_domain_watch(host->domain), true))
    return;
  luaL_checkstack(L, 10, "reload");
  index = lua_absindex(L, index);
  if (load_again(L, state, index, &changed) == MF_OK) {
    if (changed) update_domain_fields(L, state, index);
  } else if (host->log_ref != LUA_NOREF) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, host->log_ref);
    lua_pushcclosure(L, tell_problem, 1);
    lua_getfield(L, top + 1, "message");
    lua_pcall(L, 1, 0, 0);
  }
  lua_settop(L, top);
}

/* ---- what can be read of a decider ---- */

/* What is not the same from one look to the next, what can be called, and what takes time. [-0, +1]
 */
static void push_changing_field(lua_State *L, const mfr_loaded *loaded) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(name, "snapshot_refusal") == 0)
    lua_pushstring(L, loaded->snapshot_refusal);
  else if (strcmp(name, "reload_problem") == 0) {
    lua_getiuservalue(L, 1, 1);
    lua_getiuservalue(L, -1, DOMAIN_PROBLEM);
  } else if (strcmp(name, "reload") == 0) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, reload, 1);
  } else if (strcmp(name, "inexact") == 0)
    mfr_push_inexact(L, mfr_of(L), loaded);
  else
    lua_pushnil(L);
}

static int decider_index(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const mfr_loaded *loaded = mfr_to_loaded(L, state, 1);
  if (!loaded) return 0;
  lua_getiuservalue(L, 1, 2);
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  if (lua_isnil(L, -1)) push_changing_field(L, loaded);
  return 1;
}

static int next_field(lua_State *L) {
  lua_settop(L, 2);
  return lua_next(L, 1) ? 2 : 0;
}

static int decider_pairs(lua_State *L) {
  if (!mfr_to_loaded(L, mfr_of(L), 1)) return 0;
  lua_pushcfunction(L, next_field);
  lua_newtable(L);
  lua_getiuservalue(L, 1, 2);
  mfr_copy_fields(L, lua_gettop(L), lua_gettop(L) - 1);
  lua_pop(L, 1);
  lua_pushnil(L);
  return 3;
}

static int decider_newindex(lua_State *L) {
  return mfr_misuse(L, mfr_of(L), "decider", "a loaded decider is changed by changing its script");
}

static int decider_tostring(lua_State *L) {
  const mfr_loaded *loaded = mfr_to_loaded(L, mfr_of(L), 1);
  if (!loaded) {
    lua_pushliteral(L, "moonfold decider (gone)");
    return 1;
  }
  const char *name = loaded->name ? loaded->name : loaded->category;
  lua_pushfstring(L, name ? "moonfold decider \"%s\" (%s)" : "moonfold decider%s (%s)",
                  name ? name : "", loaded->path);
  return 1;
}

/* ---- domains in use ---- */

static host_domain *to_domain(lua_State *L, const mfr_state *state, int index) {
  host_domain *host = mfr_to_class(L, index, state->domain_ref);
  return host && host->domain ? host : NULL;
}

/* Pushes the object of the decider: one of the list at index, or a new one. [-0, +1] */
static void push_known_decider(lua_State *L, mfr_state *state, int domain, int list,
                               const mfr_loaded *loaded) {
  for (lua_Integer i = 1; lua_rawgeti(L, list, i) == LUA_TUSERDATA; i++) {
    if (mfr_to_loaded(L, state, lua_gettop(L)) == loaded) return;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  push_decider(L, state, domain, loaded);
}

static void set_domain_fields(lua_State *L, mfr_state *state, int index) {
  const host_domain *host = lua_touserdata(L, index);
  size_t count = mfr_domain_count(host->domain);
  int top = lua_gettop(L);
  luaL_checkstack(L, 10, "domain");
  if (lua_getiuservalue(L, index, DOMAIN_FIELDS) == LUA_TTABLE)
    lua_getfield(L, -1, "deciders");
  else
    lua_newtable(L);
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  lua_createtable(L, 0, 2);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    push_known_decider(L, state, index, top + 1, mfr_domain_decider(host->domain, i));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "deciders");
  const char *path = mfr_domain_path(host->domain);
  mfr_set_string(L, "path", path, strlen(path));
  lua_setiuservalue(L, index, DOMAIN_FIELDS);
  lua_settop(L, top);
}

/* A category of the domain that one of the list (at index) has, too, is refused; but a domain of
 * the same path takes the place of the old one. Returns that place. */
static lua_Integer place_of(lua_State *L, const mfr_state *state, int list,
                            const host_domain *host) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, list), place = count + 1;
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    const host_domain *other = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!other->domain ||
        strcmp(mfr_domain_path(other->domain), mfr_domain_path(host->domain)) == 0) {
      place = i;
      continue;
    }
    const mfr_loaded *taken, *mine = find_taken(host->domain, other->domain, &taken);
    if (mine)
      mfr_misuse(L, state, "path", CATEGORY_IN_USE, mine->category, taken->path, mine->path);
  }
  return place;
}

/* The domain at index is in a store's list. */
static void note_list(lua_State *L, int index, int list) {
  if (lua_getiuservalue(L, index, DOMAIN_LISTS) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, DOMAIN_LISTS);
  }
  lua_pushvalue(L, list);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

static void must_have_categories(lua_State *L, const mfr_state *state, const host_domain *host) {
  for (size_t i = 0; i < mfr_domain_count(host->domain); i++)
    if (mfr_domain_decider(host->domain, i)->category) return;
  const char *file = mfr_domain_decider(host->domain, 0)->file;
  mfr_misuse(
      L, state, "path",
      "%.200s has no category, so no stream finds it: add category = \"cart\" for the streams "
      "cart-*, or use moonfold.load_decider",
      file);
}

/* Arguments: store, path, options. */
int mfr_use(lua_State *L) {
  mfr_state *state = mfr_of(L);
  lua_settop(L, 3);
  mfr_check_store(L, state, 1);
  host_domain *host = load_domain(L, state, 2);
  must_have_categories(L, state, host);
  set_domain_fields(L, state, 4);
  if (lua_getiuservalue(L, 1, MFR_STORE_DOMAINS) != LUA_TTABLE) {
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, MFR_STORE_DOMAINS);
    lua_replace(L, 5);
  }
  lua_Integer place = place_of(L, state, 5, host);
  note_list(L, 4, 5);
  lua_pushvalue(L, 4);
  lua_rawseti(L, 5, place);
  lua_settop(L, 4);
  return 1;
}

/* Pushes the object of a decider that is in the domain at index. [-0, +1|0] */
static bool push_member(lua_State *L, const mfr_state *state, int index, const mfr_loaded *loaded) {
  const host_domain *host = lua_touserdata(L, index);
  if (host->domain != loaded->domain) return false;
  lua_getiuservalue(L, index, 1);
  lua_getfield(L, -1, "deciders");
  for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
    if (mfr_to_loaded(L, state, lua_gettop(L)) == loaded) break;
    lua_pop(L, 1);
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
  return true;
}

/* Pushes the decider in use that owns the stream, or raises. `list`: index of the domains. */
static void push_owner(lua_State *L, mfr_state *state, int list, mfr_text stream) {
  char message[512];
  size_t length = (size_t)lua_rawlen(L, list), count = 0;
  mfr_domain **domains = lua_newuserdatauv(L, (length + 1) * sizeof *domains, 0);
  for (size_t i = 0; i < length; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    keep_up(L, state, lua_gettop(L));
    mfr_domain *domain = ((const host_domain *)lua_touserdata(L, -1))->domain;
    if (domain) domains[count++] = domain;
    lua_pop(L, 1);
  }
  const mfr_loaded *owner = mfr_owner_of(domains, count, stream);
  if (!owner) {
    mfr_say_no_owner(domains, count, stream, message);
    mfr_misuse(L, state, "stream", "%s", message);
    return;
  }
  for (lua_Integer i = 1; i <= (lua_Integer)length; i++) {
    lua_rawgeti(L, list, i);
    if (push_member(L, state, lua_gettop(L), owner)) return;
    lua_pop(L, 1);
  }
}

/* Whether the table at index is meant as a command or a list of commands. */
static bool is_commands(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE) return false;
  lua_pushliteral(L, "type");
  bool typed = lua_rawget(L, index) != LUA_TNIL;
  lua_pop(L, 1);
  return typed || lua_rawlen(L, index) > 0;
}

static bool is_empty(lua_State *L, int index) {
  lua_pushnil(L);
  if (!lua_next(L, index)) return true;
  lua_pop(L, 2);
  return false;
}

/* Whether the arguments are those of a call that leaves the decider out. */
static bool lacks_decider(lua_State *L, bool handling) {
  if (handling) {
    if (is_commands(L, 3)) return true;
    return lua_type(L, 3) == LUA_TTABLE && is_empty(L, 3) && !is_commands(L, 4);
  }
  if (lua_isnoneornil(L, 3)) return true;
  if (lua_type(L, 3) != LUA_TTABLE || !lua_isnoneornil(L, 4)) return false;
  static const char *const parts[] = {"initial_state", "evolve"};
  for (int i = 0; i < 2; i++) {
    bool there = lua_getfield(L, 3, parts[i]) != LUA_TNIL;
    lua_pop(L, 1);
    if (there) return false;
  }
  return true;
}

void mfr_find_decider(lua_State *L, mfr_state *state, int store, mfr_text stream, bool handling) {
  if (mfr_to_loaded(L, state, 3)) {
    lua_getiuservalue(L, 3, 1);
    keep_up(L, state, lua_gettop(L));
    lua_pop(L, 1);
    return;
  }
  if (!lacks_decider(L, handling)) return;
  luaL_checkstack(L, 10, "decider");
  if (lua_getiuservalue(L, store, MFR_STORE_DOMAINS) != LUA_TTABLE) {
    lua_pop(L, 1);
    if (handling && is_commands(L, 3))
      mfr_misuse(L, state, "decider",
                 "this is a command, and a decider comes before it; it can be left out after "
                 "store:use(folder)");
    return;
  }
  if (lua_gettop(L) > 3 && lua_isnil(L, 3)) lua_remove(L, 3); /* nil in the decider's place */
  int list = lua_gettop(L);
  push_owner(L, state, list, stream);
  lua_insert(L, 3);
  lua_settop(L, list); /* one more than the arguments */
}

/* domain:decider_of(stream): the decider that owns the stream, or nil. */
static int decider_of(lua_State *L) {
  mfr_state *state = mfr_of(L);
  if (!to_domain(L, state, 1))
    mfr_misuse(L, state, "domain", "a domain is needed, this is %s", mfr_type_name(L, 1));
  mfr_text stream = mfr_check_stream(L, state, 2);
  lua_settop(L, 2);
  mfr_domain *domain = to_domain(L, state, 1)->domain;
  const mfr_loaded *owner = mfr_owner_of(&domain, 1, stream);
  if (!owner || !push_member(L, state, 1, owner)) lua_pushnil(L);
  return 1;
}

static int domain_index(lua_State *L) {
  mfr_state *state = mfr_of(L);
  if (!to_domain(L, state, 1)) return 0;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  bool owner = strcmp(name, "decider_of") == 0;
  if (owner || strcmp(name, "reload") == 0) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, owner ? decider_of : reload, 1);
    return 1;
  }
  if (strcmp(name, "reload_problem") == 0) {
    lua_getiuservalue(L, 1, DOMAIN_PROBLEM);
    return 1;
  }
  if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE) return 0;
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  return 1;
}

static int domain_tostring(lua_State *L) {
  const host_domain *host = to_domain(L, mfr_of(L), 1);
  if (!host) {
    lua_pushliteral(L, "moonfold domain (gone)");
    return 1;
  }
  lua_pushfstring(L, "moonfold domain \"%s\" (", mfr_domain_path(host->domain));
  for (size_t i = 0; i < mfr_domain_count(host->domain); i++) {
    const mfr_loaded *loaded = mfr_domain_decider(host->domain, i);
    const char *name = loaded->category ? loaded->category : loaded->file;
    lua_pushfstring(L, i ? ", %s" : "%s", name);
    lua_concat(L, 2);
  }
  lua_pushliteral(L, ")");
  lua_concat(L, 2);
  return 1;
}

static int domain_gc(lua_State *L) {
  host_domain *host = lua_touserdata(L, 1);
  mfr_domain_free(host->domain);
  host->domain = NULL;
  for (int i = 0; i < PAST; i++) {
    mfr_domain_free(host->past[i]);
    host->past[i] = NULL;
  }
  free_functions(L, host);
  luaL_unref(L, LUA_REGISTRYINDEX, host->log_ref);
  host->log_ref = LUA_NOREF;
  return 0;
}

static const luaL_Reg no_methods[] = {{NULL, NULL}};
static const luaL_Reg decider_meta[] = {{"__index", decider_index},
                                        {"__newindex", decider_newindex},
                                        {"__pairs", decider_pairs},
                                        {"__tostring", decider_tostring},
                                        {NULL, NULL}};
static const luaL_Reg domain_meta[] = {
    {"__gc", domain_gc}, {"__index", domain_index}, {"__tostring", domain_tostring}, {NULL, NULL}};

void mfr_loaded_open(lua_State *L, mfr_state *state) {
  mfr_class(L, "moonfold.decider", no_methods, decider_meta);
  state->decider_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  mfr_class(L, "moonfold.domain", no_methods, domain_meta);
  state->domain_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
