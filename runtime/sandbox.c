/* Making a sandbox, loading scripts into it, calling it. See sandbox.h. */
#include "library.h"
#include "loaded.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- errors ---- */

static int status_of(const char *code) {
  static const struct {
    int status;
    const char *code;
  } codes[] = {
#define ROW(name, value, text, meaning) {value, text},
      MF_STATUS_MAP(ROW)
#undef ROW
  };
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (strcmp(codes[i].code, code) == 0) return codes[i].status;
  return MF_SCRIPT_ERROR;
}

/* Lua's own error for an allocation that failed, which may have been raised again. */
static bool is_of_memory(lua_State *L, int index) {
  return lua_type(L, index) == LUA_TSTRING &&
         strcmp(lua_tostring(L, index), "not enough memory") == 0;
}

/* Message handler: what is no error object becomes a script_error with its traceback. */
static int describe(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  if (mfr_is_error(L, sandbox->state, 1) || sandbox->spent || is_of_memory(L, 1)) return 1;
  bool text = lua_type(L, 1) == LUA_TSTRING;
  mfr_push_error(L, sandbox->state, MF_SCRIPT_ERROR, text ? "%s" : "the error is a %s",
                 text ? lua_tostring(L, 1) : luaL_typename(L, 1));
  luaL_traceback(L, L, NULL, 1);
  lua_setfield(L, -2, "traceback");
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "cause");
  return 1;
}

/* Argument: the error, which was not made into an object for lack of something. */
static int make_error(lua_State *L) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  bool text = lua_type(L, 1) == LUA_TSTRING;
  mfr_push_error(L, sandbox->state, MF_SCRIPT_ERROR, text ? "%s" : "the error is a %s",
                 text ? lua_tostring(L, 1) : luaL_typename(L, 1));
  return 1;
}

static uint32_t bit_of(int status) {
  return (uint32_t)1 << (status + 20);
}

void mfr_sandbox_raised(mfr_sandbox *sandbox, int status) {
  sandbox->raised |= bit_of(status);
}

/* Arguments: the error object, in which a script may have put a code of its own, or no message; and
 * the status that it is to have. */
static int mend_error(lua_State *L) {
  lua_pushliteral(L, "code");
  lua_pushstring(L, mf_code((int)lua_tointeger(L, 2)));
  lua_rawset(L, 1);
  lua_pushliteral(L, "message");
  if (lua_rawget(L, 1) != LUA_TSTRING) {
    lua_pushliteral(L, "message");
    lua_pushliteral(L, "the script raised an error whose message it had taken away");
    lua_rawset(L, 1);
  }
  lua_settop(L, 1);
  return 1;
}

/* The status of the error object on top. A script can catch one and change it, so a code counts
 * only if an error of that code was made in this call; what else there is becomes a script_error.
 */
static int trusted_status(mfr_sandbox *sandbox) {
  lua_State *L = sandbox->S;
  int status = status_of(mfr_error_code(L, sandbox->state, -1));
  bool failure = status < 0 || status == MF_REJECTED;
  if (!failure || !(sandbox->raised & bit_of(status))) status = MF_SCRIPT_ERROR;
  lua_pushcfunction(L, mend_error);
  lua_insert(L, -2);
  lua_pushinteger(L, status);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK) return status;
  lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->memory_ref);
  lua_replace(L, -2);
  return MF_NO_MEMORY;
}

/* Replaces the error on top by an error object and returns its status. */
static int settle_error(mfr_sandbox *sandbox, int rc) {
  lua_State *L = sandbox->S;
  bool object = mfr_is_error(L, sandbox->state, -1);
  bool memory = rc == LUA_ERRMEM || is_of_memory(L, -1);
  /* "stack overflow" among them: Lua says so, too, when there is no memory for a larger one. */
  bool script = object && strcmp(mfr_error_code(L, sandbox->state, -1), "script_error") == 0;
  if (mfr_pool_failed(sandbox->pool) && (memory || sandbox->spent || script)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->memory_ref);
    lua_replace(L, -2);
    return MF_NO_MEMORY;
  }
  if (memory || (sandbox->spent && !object)) {
    sandbox->starved = mfr_pool_refused(sandbox->pool);
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->exceeded_ref);
    lua_replace(L, -2);
    return MF_BUDGET_EXCEEDED;
  }
  if (!object) {
    lua_pushcfunction(L, make_error);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
      lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->memory_ref);
      lua_replace(L, -2);
    }
  }
  return trusted_status(sandbox);
}

/* ---- calling ---- */

typedef struct job {
  lua_CFunction body;
  void *argument;
} job;

void mfr_check_left_behind(lua_State *L) {
  const mfr_sandbox *sandbox = mfr_sandbox_of(L);
  bool unchanged = mfr_upvalues_unchanged(L);
  if (unchanged && !sandbox->impure) return;
  mfr_cache_clear(L, sandbox->state->cache); /* states that were folded so are wrong */
  if (sandbox->impure)
    luaL_error(L, "host.%s is not pure: called twice, it gave two results", sandbox->impure);
  lua_error(L);
}

static void check_end(lua_State *L, const mfr_sandbox *sandbox) {
  if (sandbox->spent) mfr_exceeded(L, "the budget of the call is gone");
  mfr_check_left_behind(L);
}

/* Argument: the job. */
static int run_job(lua_State *L) {
  const job *j = lua_touserdata(L, 1);
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  lua_settop(L, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, sandbox); /* the state, as a value */
  lua_pushcclosure(L, j->body, 1);
  lua_pushlightuserdata(L, j->argument);
  lua_call(L, 1, LUA_MULTRET);
  int results = lua_gettop(L);
  check_end(L, sandbox);
  return results;
}

void mfr_sandbox_renew(lua_State *L, const mfr_state *state) {
  check_end(L, state->sandbox);
  mfr_collector_stop(state->sandbox);
  mfr_meter_start(state->sandbox);
}

/* Only puts back what was changed. */
static int restore(lua_State *L) {
  mfr_upvalues_unchanged(L);
  return 0;
}

static int protected_call(mfr_sandbox *sandbox, const job *j) {
  lua_State *L = sandbox->S;
  int base = lua_gettop(L);
  if (!lua_checkstack(L, LUA_MINSTACK)) return LUA_ERRMEM;
  lua_pushcfunction(L, describe);
  lua_pushcfunction(L, run_job);
  lua_pushlightuserdata(L, (void *)(uintptr_t)j);
  int rc = lua_pcall(L, 1, LUA_MULTRET, base + 1);
  lua_remove(L, base + 1);
  return rc;
}

static int after_failure(mfr_sandbox *sandbox, int rc) {
  lua_State *L = sandbox->S;
  int status = settle_error(sandbox, rc);
  sandbox->state->calling = NULL;
  sandbox->spent = false;
  lua_pushcfunction(L, restore);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK) lua_pop(L, 1);
  return status;
}

int mfr_sandbox_call(mfr_sandbox *sandbox, lua_CFunction body, void *argument) {
  job j = {body, argument};
  if (sandbox->running) { /* inside a call: it has one budget */
    int rc = protected_call(sandbox, &j);
    return rc == LUA_OK ? MF_OK : settle_error(sandbox, rc);
  }
  sandbox->host_locale = uselocale(sandbox->c_locale);
  mfr_meter_start(sandbox);
  int rc = protected_call(sandbox, &j);
  mfr_meter_stop(sandbox);
  int status = rc == LUA_OK ? MF_OK : after_failure(sandbox, rc);
  mfr_collector_stop(sandbox);
  uselocale(sandbox->host_locale);
  return status;
}

bool mfr_sandbox_ran_out(const mfr_sandbox *sandbox) {
  return sandbox->starved;
}

/* ---- loading ---- */

/*
 * The operator # tells a border of a table, which one is up to Lua where there are holes, and
 * depends on the hashes of strings. So scripts have one of our own: "#" becomes "__length^", whose
 * left operand does the work. Of the binary operators only ^ binds like a prefix one does: tighter
 * than all others on its left, and it takes another ^ on its right along.
 */
static bool push_with_length(lua_State *L, const char *text, size_t size) {
  static const char head[] = "local __length=__length ", operator[] = " __length^";
  mfr_lexer lexer;
  mfr_token token;
  luaL_Buffer out;
  const char *done = text;
  luaL_buffinit(L, &out);
  luaL_addlstring(&out, head, sizeof head - 1);
  mfr_lexer_init(&lexer, text, size);
  while (mfr_lexer_next(&lexer, &token)) {
    if (!mfr_token_is(&token, MFR_TOKEN_SYMBOL, "#")) continue;
    luaL_addlstring(&out, done, (size_t)(token.text - done));
    luaL_addlstring(&out, operator, sizeof operator- 1);
    done = token.text + 1;
  }
  bool replaces = done != text && !lexer.error;
  mfr_lexer_free(&lexer);
  luaL_addlstring(&out, done, (size_t)(text + size - done));
  luaL_pushresult(&out);
  if (!replaces) lua_pop(L, 1);
  return replaces;
}

typedef struct pieces {
  const char *text;
  size_t left;
} pieces;

/* The compiler runs no instructions: the clock is looked at whenever it wants to read on. A name
 * may have to be looked for in hundreds of functions around it. */
static const char *next_piece(lua_State *L, void *data, size_t *size) {
  enum { PIECE = 256 };
  pieces *p = data;
  mfr_charge_time(L);
  const char *piece = p->text;
  *size = p->left < PIECE ? p->left : PIECE;
  p->text += *size;
  p->left -= *size;
  return piece;
}

/* In the registry: the names by which messages tell where in the scripts something happened. */
static const char places[] = "moonfold.places";

/* Notes the name of the chunk on top. [-0, +0] */
static void note_place(lua_State *L) {
  lua_Debug info;
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">S", &info);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, places);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, info.short_src);
  lua_pop(L, 1);
}

void mfr_load_text(lua_State *L, const char *text, size_t size, const char *chunk_name) {
  static const char mark[] = "\xef\xbb\xbf";
  if (size >= 3 && memcmp(text, mark, 3) == 0) {
    text += 3;
    size -= 3;
  }
  if (size > 0 && *text == '#') /* "#!/usr/bin/lua": a comment, as in lua */
    while (size > 0 && *text != '\n') {
      text++;
      size--;
    }
  mfr_charge(L, (int64_t)size * 4);
  bool replaced = push_with_length(L, text, size);
  if (replaced) text = lua_tolstring(L, -1, &size);
  pieces p = {text, size};
  if (lua_load(L, next_piece, &p, chunk_name, "t") != LUA_OK) {
    const char *problem = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (strstr(problem, "'}' expected"))
      lua_pushfstring(L, "%s: is there a comma missing before it?", problem);
    lua_error(L);
  }
  if (replaced) lua_remove(L, -2);
  note_place(L);
}

/* How many bytes of the message tell a place in the scripts: "cart.lua:12: ". */
static size_t place_size(lua_State *L, const char *text) {
  size_t name = 0, digits = 0, end = 0;
  while (name < LUA_IDSIZE && text[name] && !end) {
    if (text[name++] != ':') continue;
    digits = strspn(text + name, "0123456789");
    if (digits > 0 && strncmp(text + name + digits, ": ", 2) == 0) end = name + digits + 2;
  }
  if (!end) return 0;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, places);
  lua_pushlstring(L, text, name - 1);
  bool known = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return known ? end : 0;
}

void mfr_forget_place(lua_State *L) {
  int error = lua_gettop(L);
  size_t size;
  luaL_checkstack(L, 6, "error");
  if (mfr_is_error(L, mfr_sandbox_of(L)->state, error)) {
    static const char *const fields[] = {"where", "traceback"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
      lua_pushstring(L, fields[i]);
      lua_pushnil(L);
      lua_rawset(L, error);
    }
  }
  if (lua_type(L, error) != LUA_TSTRING) return;
  const char *text = lua_tolstring(L, error, &size);
  size_t place = place_size(L, text);
  if (place == 0) return;
  lua_pushlstring(L, text + place, size - place);
  lua_replace(L, error);
}

/* Everything that the script can still reach becomes read-only. */
static void freeze_all(lua_State *L, int environment, int loaded, int result) {
  lua_newtable(L);
  int roots = lua_gettop(L);
  lua_Integer count = 0;
  lua_pushvalue(L, environment);
  mfr_see_through(L, -1);
  lua_pushvalue(L, loaded);
  for (int table = roots + 1; table <= roots + 2; table++)
    for (lua_pushnil(L); lua_next(L, table);)
      lua_rawseti(L, roots, ++count);
  lua_settop(L, roots);
  lua_pushvalue(L, result);
  lua_rawseti(L, roots, ++count);
  mfr_freeze(L);
}

/* Pushes the table of modules that a script has from the start, and gives it its require. */
static void push_modules(lua_State *L, int environment) {
  lua_newtable(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_sandbox_of(L)->modules_ref);
  lua_setfield(L, -2, "moonfold");
  lua_pushvalue(L, environment);
  mfr_see_through(L, -1);
  lua_pushvalue(L, environment);
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, mfr_require, 2);
  lua_setfield(L, -2, "require");
  lua_pop(L, 1);
}

static int load_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const mfr_source *source = lua_touserdata(L, 1);
  mfr_push_environment(L);
  push_modules(L, 2);
  lua_pushfstring(L, "@%s", source->name);
  mfr_load_text(L, source->text, source->size, lua_tostring(L, 4));
  lua_pushvalue(L, 2);
  lua_setupvalue(L, -2, 1);
  int arguments = 0;
  if (source->params) {
    if (!mfr_decode(L, state, source->params, source->params_size))
      return mfr_misuse(L, state, "params", "they are no encoded value");
    arguments = 1;
  }
  lua_call(L, arguments, 1);
  if (lua_isnil(L, -1))
    return luaL_error(L,
                      "%s returned nothing: its last line is \"return { initial_state = ..., "
                      "evolve = ..., decide = ... }\"",
                      source->name);
  int result = lua_gettop(L);
  if (source->made) source->made(source->context, L, 2);
  freeze_all(L, 2, 3, result);
  lua_settop(L, result);
  mfr_thaw(L);
  return 1;
}

int mfr_sandbox_load(mfr_sandbox *sandbox, const mfr_source *source) {
  sandbox->loading = true;
  sandbox->source = source;
  int status = mfr_sandbox_call(sandbox, load_body, (void *)(uintptr_t)source);
  sandbox->loading = false;
  sandbox->source = NULL;
  return status;
}

/* ---- making ---- */

/* What scripts see of the module. */
static void open_pure_module(lua_State *L, int module) {
  static const char *const names[] = {"event", "command", "reject",    "null",     "array",
                                      "hash",  "to_json", "from_json", "_VERSION", NULL};
  lua_newtable(L);
  for (int i = 0; names[i]; i++) {
    lua_getfield(L, module, names[i]);
    lua_setfield(L, -2, names[i]);
  }
  mfr_guard(L, "moonfold");
  lua_pushvalue(L, -1);
  mfr_sandbox_of(L)->modules_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  mfr_freeze(L);
}

static int keep_error(lua_State *L, int code, const char *text) {
  mfr_push_error(L, mfr_sandbox_of(L)->state, code, "%s", text);
  return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int open_sandbox(lua_State *L) {
  mfr_sandbox *sandbox = lua_touserdata(L, 1);
  luaL_checkversion(L);
  lua_settop(L, 0);
  lua_pushcfunction(L, luaopen_moonfold);
  lua_call(L, 0, 1);
  lua_getfield(L, 1, "hash");
  lua_getupvalue(L, 2, 1); /* the module's state is upvalue 1 of all its functions */
  sandbox->state = lua_touserdata(L, 3);
  sandbox->state->sandbox = sandbox;
  lua_rawsetp(L, LUA_REGISTRYINDEX, sandbox);
  lua_settop(L, 1);
  mfr_readonly_open(L);
  mfr_library_open(L);
  sandbox->library_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  open_pure_module(L, 1);
  sandbox->exceeded_ref = keep_error(L, MF_BUDGET_EXCEEDED,
                                     "the script used more memory than it may: is there a table or "
                                     "a string that grows without end?");
  sandbox->memory_ref = keep_error(L, MF_NO_MEMORY, "no memory for the script");
  /* What the libraries have left there is nobody's business. */
  lua_newtable(L);
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  mfr_collector_open(sandbox);
  return 0;
}

void mfr_sandbox_set_limits(mfr_sandbox *sandbox, const mfr_limits *limits) {
  static const mfr_limits defaults = MFR_LIMITS_DEFAULT;
  mfr_limits *own = &sandbox->limits;
  *own = limits ? *limits : defaults;
  if (own->instructions <= 0) own->instructions = defaults.instructions;
  if (own->instructions_per_event <= 0)
    own->instructions_per_event = defaults.instructions_per_event;
  if (own->memory == 0) own->memory = defaults.memory;
  if (own->cpu_microseconds <= 0) {
    own->cpu_microseconds = defaults.cpu_microseconds;
    /* Who allows more instructions allows the time that they take. */
    if (own->instructions > defaults.instructions)
      own->cpu_microseconds = (int64_t)((double)defaults.cpu_microseconds *
                                        (double)own->instructions / (double)defaults.instructions);
  }
}

mfr_sandbox *mfr_sandbox_new(const mfr_limits *limits, const mfr_allocator *allocator) {
  mfr_sandbox *sandbox = calloc(1, sizeof *sandbox);
  if (!sandbox) return NULL;
  mfr_sandbox_set_limits(sandbox, limits);
  sandbox->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  sandbox->pool = mfr_pool_new(allocator);
  if (sandbox->pool) sandbox->S = lua_newstate(mfr_pool_alloc, sandbox->pool);
  if (sandbox->c_locale && sandbox->S) {
    *(mfr_sandbox **)lua_getextraspace(sandbox->S) = sandbox;
    lua_pushcfunction(sandbox->S, open_sandbox);
    lua_pushlightuserdata(sandbox->S, sandbox);
    if (lua_pcall(sandbox->S, 1, 0, 0) == LUA_OK) return sandbox;
  }
  mfr_sandbox_free(sandbox);
  return NULL;
}

void mfr_sandbox_free(mfr_sandbox *sandbox) {
  if (!sandbox) return;
  if (sandbox->S) lua_close(sandbox->S);
  if (sandbox->pool) mfr_pool_free(sandbox->pool);
  if (sandbox->c_locale) freelocale(sandbox->c_locale);
  free(sandbox);
}

lua_State *mfr_sandbox_lua(mfr_sandbox *sandbox) {
  return sandbox->S;
}

mfr_state *mfr_sandbox_state(mfr_sandbox *sandbox) {
  return sandbox->state;
}

void mfr_sandbox_set_log(mfr_sandbox *sandbox, mfr_sandbox_logger *logger, void *context) {
  sandbox->logger = logger;
  sandbox->logger_context = context;
}
