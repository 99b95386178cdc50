/*
 * Specs of running out of memory, in loading, folding and handling: each allocation of a call is
 * made to fail once, one call after the other, and then each and all that follow. Whatever fails:
 * the call says so, nothing of it is recorded, nothing is leaked (valgrind and the sanitizers
 * look), and the next call works. Prints TAP. Built with --wrap for malloc and its like.
 */
#include "check.h"
#include "runtime.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocations that fail ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);

static long left = -1; /* allocations until one fails; negative: none does */
static int failed;     /* how many have */
static bool for_ever;  /* all that follow fail, too */

static bool fails(void) {
  if (left < 0 || left-- > 0) return false;
  if (for_ever) left = 0;
  failed++;
  return true;
}

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size) {
  return fails() ? NULL : __real_realloc(p, size);
}

/* A host's Lua allocates through the same door. */
static void *lua_memory(void *context, void *p, size_t old_size, size_t size) {
  (void)context;
  if (size == 0) {
    free(p);
    return NULL;
  }
  if (p && size <= old_size) return p; /* shrinking never fails */
  return fails() ? NULL : __real_realloc(p, size);
}

/* ---- what is tried ---- */

static const char script[] =
    "local moonfold = require 'moonfold'\n"
    "return { category = 'a', initial_state = { list = {} },\n"
    "  evolve = { Put = function(state, event) state.list[math.min(#state.list + 1, 2)] = "
    "event.data end },\n"
    "  upcast = { Old = function(event) return { type = 'Put', data = event.data } end },\n"
    "  decide = { Put = function(command, state, context)\n"
    "    local n = #context:aggregate_stream('a-2', { initial_state = {}, evolve = {} }).state\n"
    "    return { moonfold.event('Put', command.data), moonfold.event('Old', { n = n }) }\n"
    "  end, Refuse = function() moonfold.reject('no', 'I will not', { 1, 2 }) end,\n"
    "  Fail = function() error 'failed' end } }\n";

static mf_store *store;

static int64_t version_of(const char *stream) {
  int64_t version = -1;
  mf_stream_version(store, NULL, (mf_bytes){stream, strlen(stream)}, &version, NULL);
  return version;
}

/* A trial returns whether the call succeeded; *sound becomes false when it broke a promise. */
typedef bool trial(void *context, bool *sound);

/* Fails the first allocation, the second, ... until a call needs no more. */
static void sweep(trial *try, void *context, bool all_that_follow, const char *sentence) {
  bool sound = true;
  long tried = 0;
  for (long n = 0; n < 100000 && sound; n++) {
    for_ever = all_that_follow;
    failed = 0;
    left = n;
    bool fine = try(context, &sound);
    left = -1;
    if (failed == 0 && fine) break;
    if (failed == 0) sound = false; /* it must work when nothing fails */
    tried++;
    if (!try(context, &sound)) sound = false; /* and so must the next call */
  }
  printf("# %ld allocations were made to fail\n", tried);
  check(sound && tried > 0, sentence);
}

static bool c_handle(void *context, bool *sound) {
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  int64_t before = version_of("a-1");
  long armed = left;
  left = armed;
  command.type = "Put";
  command.data = "{\"text\": \"hello\", \"n\": [1, 2, 3]}";
  int status = mf_handle(context, "a-1", &command, &result, NULL);
  left = -1;
  if (status == MF_OK && (!result.events || !result.state || result.event_count != 2))
    *sound = false;
  mf_result_free(&result);
  if (version_of("a-1") != before + (status == MF_OK ? 2 : 0)) *sound = false;
  if (status != MF_OK && status != MF_NO_MEMORY) *sound = false;
  return status == MF_OK;
}

/* A stream that stays as it is: what is long would make each trial longer. */
static bool c_dry_run(void *context, bool *sound) {
  static const char *const types[] = {"Put", "Refuse", "Fail"};
  static const int expected[] = {MF_OK, MF_REJECTED, MF_SCRIPT_ERROR};
  bool fine = true;
  for (int i = 0; i < 3; i++) {
    mf_command command = MF_COMMAND_INIT;
    mf_result result;
    command.type = types[i];
    command.data = "7";
    command.dry_run = true;
    int status = mf_handle(context, "a-3", &command, &result, NULL);
    if (status != expected[i] && status != MF_NO_MEMORY) *sound = false;
    fine = fine && status == expected[i];
    mf_result_free(&result);
  }
  return fine;
}

static bool c_aggregate(void *context, bool *sound) {
  mf_result result;
  int status = mf_aggregate(context, "a-2", MF_LAST, &result, NULL);
  if (status == MF_OK && strcmp(result.state, "{\"list\":[1,2]}") != 0) *sound = false;
  if (status != MF_OK && status != MF_NO_MEMORY) *sound = false;
  mf_result_free(&result);
  return status == MF_OK;
}

static bool c_load(void *context, bool *sound) {
  mf_runtime *runtime = NULL;
  (void)context;
  int status = mf_runtime_new(store, NULL, &runtime, NULL);
  if (status == MF_OK)
    status = mf_load_string(runtime, "a.lua", script, strlen(script), "{\"p\": [1]}", NULL);
  if (status != MF_OK && status != MF_NO_MEMORY) {
    printf("# %s: %s\n", mf_code(status), runtime ? mf_runtime_error(runtime)->message : "");
    *sound = false;
  }
  mf_runtime_free(runtime);
  return status == MF_OK;
}

static int pass(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)context;
  (void)error;
  mf_build_value(result, mf_value_slot(arguments, 1));
  return MF_OK;
}

/* A runtime with a function, a script that calls it, and a command that does. */
static bool c_function(void *context, bool *sound) {
  static const char text[] =
      "return { category = 'f', initial_state = 0, evolve = { Put = function(s, e) return e.data "
      "end },\n"
      "  decide = { Put = function(c) return { type = 'Put', data = host.pass(c.data) } end } }\n";
  mf_host_function function = {sizeof function, "pass", "1", 0, pass, NULL};
  mf_command command = MF_COMMAND_INIT;
  mf_result result = {0};
  mf_runtime *runtime = NULL;
  (void)context;
  int status = mf_runtime_new(store, NULL, &runtime, NULL);
  if (status == MF_OK) status = mf_add_function(runtime, &function, NULL);
  if (status == MF_OK) status = mf_load_string(runtime, "f.lua", text, sizeof text - 1, NULL, NULL);
  command.type = "Put";
  command.data = "{\"text\": \"hello\"}";
  command.dry_run = true;
  if (status == MF_OK) status = mf_handle(runtime, "f-1", &command, &result, NULL);
  if (status == MF_OK && strcmp(result.state, "{\"text\":\"hello\"}") != 0) *sound = false;
  if (status != MF_OK && status != MF_NO_MEMORY) *sound = false;
  left = -1; /* Lua cannot run all finalizers where there is no memory at all */
  mf_result_free(&result);
  mf_runtime_free(runtime);
  return status == MF_OK;
}

typedef struct queued {
  mf_queue *queue;
  mf_runtime *runtime;
} queued;

/* Here, or in the thread that writes. */
static bool c_queue(void *context, bool *sound) {
  const queued *q = context;
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  int64_t before = version_of("a-4");
  command.type = "Put";
  command.data = "[1, 2]";
  int status = mf_queue_handle(q->queue, q->runtime, "a-4", &command, &result, NULL, NULL);
  bool out = failed > 0;
  int flushed = mf_queue_flush(q->queue, NULL, NULL);
  left = -1;
  if (flushed != MF_OK && !(out || failed > 0)) *sound = false;
  if (mf_queue_flush(q->queue, NULL, NULL) != MF_OK) *sound = false;
  int64_t after = before + (status == MF_OK ? 2 : 0);
  if (version_of("a-4") != after || (status == MF_OK && result.version != after)) *sound = false;
  if (status != MF_OK && status != MF_NO_MEMORY) *sound = false;
  mf_result_free(&result);
  return status == MF_OK && flushed == MF_OK;
}

typedef struct edited {
  mf_runtime *runtime;
  const char *file;
  int edits;
} edited;

static bool c_reload(void *context, bool *sound) {
  edited *e = context;
  bool changed = false;
  long armed = left;
  left = -1;
  FILE *out = fopen(e->file, "w");
  if (!out) exit(2);
  fprintf(out, "-- %d\n%s", ++e->edits, script);
  fclose(out);
  left = armed;
  int status = mf_reload(e->runtime, &changed, NULL);
  left = -1;
  if (status != MF_OK && status != MF_NO_MEMORY) *sound = false;
  if (!c_aggregate(e->runtime, sound)) *sound = false; /* by the old code, or by the new */
  return status == MF_OK && changed;
}

/* ---- a host that is Lua itself ---- */

static const char host[] =
    "local moonfold = require 'moonfold'\n"
    "local path, script = ...\n"
    "store = moonfold.open(path)\n"
    "local file = assert(io.open(script, 'r')) file:close()\n"
    "function load() decider = moonfold.load_decider(script) end\n"
    "load()\n"
    "local put = { type = 'Put', data = { text = 'hello', list = { 1, 2 } } }\n"
    "function handle()\n"
    "  local result = store:handle('b-1', decider, put)\n"
    "  assert(#result.events == 2 and result.state.list)\n"
    "end\n"
    "function again() store:transaction(function() handle() end) end\n"
    "function read()\n"
    "  for event in store:events('b-2', { upcast = decider.upcast }) do assert(event.type == "
    "'Put') end\n"
    "end\n"
    "function use() store:use(script) store:aggregate_stream('a-2') end\n"
    "store:append_to_stream('b-2', { { type = 'Old', data = 1 }, { type = 'Put', data = 2 } })\n";

typedef struct lua_host {
  lua_State *L;
  const char *function;
  int events; /* that a success records */
} lua_host;

static bool lua_call_one(void *context, bool *sound) {
  lua_host *h = context;
  int64_t before = version_of("b-1");
  lua_settop(h->L, 0);
  lua_rawgeti(h->L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  long armed = left;
  left = -1;
  lua_getfield(h->L, 1, h->function);
  left = armed;
  int rc = lua_pcall(h->L, 0, 0, 0);
  left = -1;
  if (version_of("b-1") != before + (rc == LUA_OK ? h->events : 0)) *sound = false;
  if (rc != LUA_OK) {
    const char *message = luaL_tolstring(h->L, -1, NULL);
    if (!strstr(message, "memory")) {
      printf("# %s\n", message);
      *sound = false;
    }
  }
  return rc == LUA_OK;
}

static void sweep_lua(lua_State *L, const char *function, int events, const char *sentence) {
  lua_host h = {L, function, events};
  lua_gc(L, LUA_GCCOLLECT);
  sweep(lua_call_one, &h, false, sentence);
}

static lua_State *open_host(const char *path, const char *file) {
  lua_State *L = lua_newstate(lua_memory, NULL);
  luaL_openlibs(L);
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  lua_pop(L, 1);
  if (luaL_loadstring(L, host) != LUA_OK) exit(2);
  lua_pushstring(L, path);
  lua_pushstring(L, file);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(2);
  }
  return L;
}

int main(void) {
  char folder[] = "/tmp/moonfold-spec-XXXXXX", path[100], file[100], command[300];
  mf_open_options options = {0};
  mf_runtime *runtime;
  if (!mkdtemp(folder)) return 2;
  options.size = sizeof options;
  options.durability = MF_NONE;
  snprintf(path, sizeof path, "%s/store.fold", folder);
  snprintf(file, sizeof file, "%s/a.lua", folder);
  FILE *out = fopen(file, "w");
  if (!out || fputs(script, out) < 0 || fclose(out) != 0) return 2;
  if (mf_open(path, &options, &store, NULL) != MF_OK) return 2;
  mf_new_event past[] = {{{"Old", 3}, {"\1", 1}, {NULL, 0}, {NULL, 0}},
                         {{"Put", 3}, {"\2", 1}, {NULL, 0}, {NULL, 0}}};
  mf_append_to_stream(store, (mf_bytes){"a-2", 3}, past, 2, NULL, NULL, NULL);

  sweep(c_load, NULL, false, "loading a script survives any allocation that fails");
  sweep(c_load, NULL, true, "and any that all others after it fail with");
  if (mf_runtime_new(store, NULL, &runtime, NULL) != MF_OK ||
      mf_load_string(runtime, "a.lua", script, strlen(script), NULL, NULL) != MF_OK)
    return 2;
  sweep(c_aggregate, runtime, false, "so does folding");
  sweep(c_aggregate, runtime, true, "whatever follows");
  sweep(c_dry_run, runtime, false, "so do deciding, refusing and failing");
  sweep(c_dry_run, runtime, true, "whatever follows");
  sweep(c_handle, runtime, false, "a command whose memory ran out was not recorded");
  sweep(c_handle, runtime, true, "whatever follows");
  sweep(c_function, NULL, false, "functions of the host come and are called, or memory is told");
  sweep(c_function, NULL, true, "whatever follows");
  queued q = {NULL, runtime};
  if (mf_queue_new(store, NULL, &q.queue, NULL) != MF_OK) return 2;
  sweep(c_queue, &q, false, "a queued command is written, or was never decided");
  sweep(c_queue, &q, true, "whatever follows");
  mf_queue_free(q.queue, NULL);
  mf_runtime_free(runtime);
  edited e = {NULL, file, 0};
  if (mf_runtime_new(store, NULL, &e.runtime, NULL) != MF_OK ||
      mf_load(e.runtime, file, NULL, NULL) != MF_OK)
    return 2;
  sweep(c_reload, &e, false,
        "rules are loaded again, or the old ones go on; the next edit is seen");
  sweep(c_reload, &e, true, "whatever follows");
  mf_runtime_free(e.runtime);

  lua_State *L = open_host(path, file);
  sweep_lua(L, "load", 0, "a Lua host survives it while it loads");
  sweep_lua(L, "read", 0, "while it reads through the upcasters of a script");
  sweep_lua(L, "use", 0, "while it takes a domain in use, and folds");
  sweep_lua(L, "handle", 2, "a command that it handled is recorded exactly when it was told so");
  sweep_lua(L, "again", 2, "in a transaction, too");
  lua_close(L);
  check(mf_close(store) == MF_OK, "nothing is left open");
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) return 2;
  printf("1..%d\n", number);
  return failures != 0;
}
