/*
 * Specs of the sandbox in C: what cannot be reached through the Lua API, above all memory that runs
 * out. Prints TAP and ends with status 1 when one fails. Called with a number it prints what a
 * sandbox costs instead, for the benchmarks.
 *
 * It is linked so that every allocation of the runtime, the store and the Lua states of scripts
 * passes here (--wrap=malloc and others), to be made to fail.
 */
#include "check.h"
#include "library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocations that fail ---- */

static long until_failure = -1; /* allocations that still succeed; -1: none fails */
static long to_fail;            /* how many fail then */
static bool has_failed;

static bool fails(void) {
  if (until_failure < 0) return false;
  if (until_failure > 0) {
    until_failure--;
    return false;
  }
  has_failed = true;
  if (to_fail-- > 0) return true;
  until_failure = -1;
  return false;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_mfr_pool_alloc(void *pool, void *p, size_t old_size, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_mfr_pool_alloc(void *pool, void *p, size_t old_size, size_t size);

void *__wrap_malloc(size_t size) {
  return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size) {
  return fails() ? NULL : __real_realloc(p, size);
}

/* Small blocks never reach malloc. Lua takes for granted that shrinking works. */
void *__wrap_mfr_pool_alloc(void *pool, void *p, size_t old_size, size_t size) {
  if (size > 0 && (!p || size > old_size) && fails()) return NULL;
  return __real_mfr_pool_alloc(pool, p, old_size, size);
}

/* ---- scripts ---- */

static mfr_sandbox *new_or_die(const mfr_limits *limits) {
  mfr_sandbox *sandbox = mfr_sandbox_new(limits, NULL);
  if (sandbox) return sandbox;
  fputs("no memory\n", stderr);
  exit(2);
}

static char message[1024];

/* Takes the error off the stack. */
static void take_message(mfr_sandbox *sandbox) {
  lua_State *S = mfr_sandbox_lua(sandbox);
  lua_getfield(S, -1, "message");
  snprintf(message, sizeof message, "%s", lua_tostring(S, -1) ? lua_tostring(S, -1) : "");
  lua_settop(S, 0);
}

/* Loads a script that returns a function, and refers to that; 0: it does not load. */
static int load(mfr_sandbox *sandbox, const char *text) {
  mfr_source source = {.name = "spec.lua", .text = text, .size = strlen(text)};
  message[0] = '\0';
  if (mfr_sandbox_load(sandbox, &source) == MF_OK)
    return luaL_ref(mfr_sandbox_lua(sandbox), LUA_REGISTRYINDEX);
  take_message(sandbox);
  return 0;
}

static int call_body(lua_State *S) {
  lua_rawgeti(S, LUA_REGISTRYINDEX, *(int *)lua_touserdata(S, 1));
  lua_call(S, 0, 1);
  mfr_tostring(S, -1, NULL);
  return 1;
}

/* Calls the function that is referred to; its result, or its error's message, is left as text. */
static int call(mfr_sandbox *sandbox, int function) {
  lua_State *S = mfr_sandbox_lua(sandbox);
  int status = mfr_sandbox_call(sandbox, call_body, &function);
  if (status != MF_OK)
    take_message(sandbox);
  else
    snprintf(message, sizeof message, "%s", lua_tostring(S, -1));
  lua_settop(S, 0);
  return status;
}

/* ---- calls ---- */

static int nested_body(lua_State *S) {
  mfr_sandbox *sandbox = mfr_sandbox_of(S);
  int function = *(int *)lua_touserdata(S, 1);
  lua_pushboolean(S, mfr_sandbox_call(sandbox, call_body, &function) == MF_OK);
  return 1;
}

static int locale_body(lua_State *S) {
  lua_pushboolean(S, uselocale((locale_t)0) == mfr_sandbox_of(S)->c_locale);
  return 1;
}

static void check_calls(void) {
  mfr_sandbox *sandbox = new_or_die(NULL);
  lua_State *S = mfr_sandbox_lua(sandbox);
  int two = load(sandbox, "return function() return 1 + 1 end");
  int endless = load(sandbox, "return function() while true do end end");
  int hungry = load(sandbox, "return function() local t = {} while true do t[#t + 1] = {} end end");
  check(call(sandbox, two) == MF_OK && strcmp(message, "2") == 0, "a script's function is called");
  check(call(sandbox, endless) == MF_BUDGET_EXCEEDED, "a loop that never ends is ended");
  check(call(sandbox, hungry) == MF_BUDGET_EXCEEDED, "a table that grows for ever is stopped");
  check(call(sandbox, two) == MF_OK, "after that the state is as good as ever");
  check(mfr_pool_used(sandbox->pool) < 8 << 20, "and the garbage of what failed is gone");
  check(load(sandbox, "return +") == 0 && strstr(message, "spec.lua:1:"),
        "a syntax error names file and line");
  check(load(sandbox, "local x") == 0 && strstr(message, "returned nothing"),
        "a script that returns nothing is told what its last line is");
  check(mfr_sandbox_call(sandbox, nested_body, &endless) == MF_BUDGET_EXCEEDED,
        "a call in a call has no budget of its own");
  lua_settop(S, 0);
  locale_t before = uselocale((locale_t)0);
  mfr_sandbox_call(sandbox, locale_body, NULL);
  check(lua_toboolean(S, -1) && uselocale((locale_t)0) == before,
        "scripts run under the C locale, and their host goes on under its own");
  mfr_sandbox_free(sandbox);
  mfr_sandbox_free(NULL);
}

/* Leaves garbage of a size, and fails. */
static int failing_body(lua_State *L) {
  lua_newuserdatauv(L, *(size_t *)lua_touserdata(L, 1), 0);
  return luaL_error(L, "refused");
}

/* A table that does not hold its values. */
static void push_weak(lua_State *S) {
  lua_newtable(S);
  lua_newtable(S);
  lua_pushliteral(S, "v");
  lua_setfield(S, -2, "__mode");
  lua_setmetatable(S, -2);
}

/* Whether what nobody holds is still there after a call that has failed. */
static bool is_left(mfr_sandbox *sandbox, size_t garbage) {
  lua_State *S = mfr_sandbox_lua(sandbox);
  mfr_sandbox_collect(mfr_sandbox_state(sandbox));
  lua_gc(S, LUA_GCSTOP); /* only who asks for a collection gets one */
  push_weak(S);
  lua_newtable(S);
  lua_setfield(S, -2, "nobody's");
  mfr_sandbox_call(sandbox, failing_body, &garbage);
  lua_pop(S, 1);
  bool left = lua_getfield(S, -1, "nobody's") == LUA_TTABLE;
  lua_pop(S, 2);
  lua_gc(S, LUA_GCRESTART);
  return left;
}

static void check_garbage(void) {
  mfr_sandbox *sandbox = new_or_die(NULL);
  lua_State *S = mfr_sandbox_lua(sandbox);
  lua_newuserdatauv(S, (size_t)8 << 20, 0); /* as states that are kept */
  check(is_left(sandbox, 1000),
        "a refusal does not collect what the sandbox holds: there are many");
  check(!is_left(sandbox, (size_t)2 << 20), "a failure that leaves much garbage does");
  mfr_sandbox_free(sandbox);
}

/* ---- collections ---- */

typedef struct timed {
  int64_t time, with_collection; /* nanoseconds that a call has, before and after a collection */
  bool left;                     /* what nobody holds is still there after that */
} timed;

/* Whether the table that is noted as nobody's is still there. */
static bool is_there(lua_State *S) {
  lua_getfield(S, LUA_REGISTRYINDEX, "weak");
  bool there = lua_getfield(S, -1, "nobody's") == LUA_TTABLE;
  lua_pop(S, 2);
  return there;
}

/* Lets go of what is old, makes much that is garbage afterwards, and collects when it is time to.
 */
static int timed_body(lua_State *S) {
  timed *t = lua_touserdata(S, 1);
  mfr_sandbox *sandbox = mfr_sandbox_of(S);
  t->time = sandbox->clock_limit;
  lua_pushnil(S);
  lua_setfield(S, LUA_REGISTRYINDEX, "holder");
  lua_newtable(S);
  for (int i = 1; mfr_pool_used(sandbox->pool) < sandbox->full_at; i++) {
    lua_createtable(S, 1000, 0);
    lua_rawseti(S, -2, i);
  }
  check(sandbox->due, "a call is told when there is much garbage");
  mfr_collect_due(sandbox);
  t->with_collection = sandbox->clock_limit;
  t->left = is_there(S);
  return 0;
}

static int hold_body(lua_State *S) {
  lua_newuserdatauv(S, *(size_t *)lua_touserdata(S, 1), 0);
  lua_setfield(S, LUA_REGISTRYINDEX, "held");
  push_weak(S);
  lua_newtable(S);
  lua_pushvalue(S, -1);
  lua_setfield(S, LUA_REGISTRYINDEX, "holder");
  lua_setfield(S, -2, "nobody's");
  lua_setfield(S, LUA_REGISTRYINDEX, "weak");
  return 0;
}

static void check_collections(void) {
  timed of[2];
  size_t held[2] = {1000, (size_t)20 << 20};
  bool left_after[2];
  for (int i = 0; i < 2; i++) {
    mfr_sandbox *sandbox = new_or_die(NULL);
    mfr_sandbox_call(sandbox, hold_body, &held[i]);
    mfr_sandbox_collect(mfr_sandbox_state(sandbox));
    mfr_sandbox_call(sandbox, timed_body, &of[i]);
    left_after[i] = is_there(mfr_sandbox_lua(sandbox));
    mfr_sandbox_free(sandbox);
  }
  check(of[0].time == of[1].time, "a call has no more time for what the sandbox holds");
  for (int i = 0; i < 2; i++)
    check(of[i].with_collection > of[i].time && of[i].with_collection <= of[i].time / 3 * 4,
          "a collection in a call is not charged to it, up to a third of its time");
  check(!of[0].left, "everything is collected in a call where that is soon done");
  check(of[1].left && !left_after[1], "where it is not, it waits until the call is over");
}

static void count_lines(void *context, const char *text, size_t size) {
  (void)text;
  *(size_t *)context += size;
}

static void check_print(void) {
  size_t printed = 0;
  mfr_sandbox *sandbox = new_or_die(NULL);
  int print = load(sandbox, "return function() print('one', 2, nil, {}) end");
  call(sandbox, print);
  mfr_sandbox_set_log(sandbox, count_lines, &printed);
  call(sandbox, print);
  check(printed == strlen("one\t2\tnil\ttable"), "print goes to the host's log, without addresses");
  mfr_sandbox_free(sandbox);
}

/* A sandbox that waits needs little: what is made anew with each is not paid for in each. */
static void check_size(void) {
  mfr_sandbox *sandbox = new_or_die(NULL);
  check(mfr_pool_used(sandbox->pool) < 256 << 10, "an idle sandbox holds less than 256 KiB");
  mfr_sandbox_free(sandbox);
}

/* ---- memory that runs out ---- */

static const char cart[] =
    "local moonfold = require 'moonfold'\n"
    "local Class = {} Class.__index = Class\n"
    "function Class:count() local n = 0 for _ in pairs(self.items) do n = n + 1 end return n end\n"
    "local limits = { most = 100, names = { 'a', 'b' } }\n"
    "return { category = 'cart',\n"
    "  initial_state = function() return setmetatable({ items = {}, log = '' }, Class) end,\n"
    "  evolve = { Added = function(cart, event)\n"
    "    local data = event.data\n"
    "    cart.items[data.sku] = (cart.items[data.sku] or 0) + data.n\n"
    "    cart.log = cart.log .. ('%s %d;'):format(data.sku, data.n)\n"
    "  end },\n"
    "  decide = { Add = function(command, cart)\n"
    "    local skus = {}\n"
    "    for sku in command.data.list:gmatch('%a+') do skus[#skus + 1] = sku end\n"
    "    table.sort(skus)\n"
    "    pcall(function() cart.items.x = 1 end)\n"
    "    pcall(error, { 'harmless' })\n"
    "    if cart:count() > limits.most then moonfold.reject('full') end\n"
    "    local events = {}\n"
    "    for i, sku in ipairs(skus) do\n"
    "      events[i] = moonfold.event('Added', { sku = sku, n = i, seen = cart.items })\n"
    "    end\n"
    "    return events\n"
    "  end } }\n";

static mf_store *store;

static mf_runtime *load_cart(int *status) {
  mf_runtime *runtime = NULL;
  mf_error error;
  *status = mf_runtime_new(store, NULL, &runtime, &error);
  if (*status == MF_OK)
    *status = mf_load_string(runtime, "cart.lua", cart, sizeof cart - 1, NULL, &error);
  if (*status == MF_OK) return runtime;
  /* That there is no room for Lua's stack to grow is told in these words. */
  if (*status == MF_SCRIPT_ERROR && strstr(error.message, "stack overflow")) *status = MF_NO_MEMORY;
  mf_runtime_free(runtime);
  return NULL;
}

static int add(mf_runtime *runtime, const char *stream, mf_result *result) {
  mf_command command = MF_COMMAND_INIT;
  mf_error error;
  command.type = "Add";
  command.data = "{\"list\":\"pear apple fig\"}";
  return mf_handle(runtime, stream, &command, result, &error);
}

static bool is_of_memory(int status) {
  return status == MF_NO_MEMORY || status == MF_BUDGET_EXCEEDED;
}

/* One step of a sweep: does its work, and tells whether it failed as it should or succeeded. */
typedef bool step(mf_runtime *runtime, const char *stream);

static bool load_step(mf_runtime *runtime, const char *stream) {
  (void)runtime;
  (void)stream;
  int status;
  mf_runtime *made = load_cart(&status);
  mf_runtime_free(made);
  return made || is_of_memory(status);
}

static bool decide_step(mf_runtime *runtime, const char *stream) {
  mf_result result;
  int status = add(runtime, stream, &result);
  bool told = status == MF_OK && result.event_count == 3 && result.events && result.state;
  mf_result_free(&result);
  return told || is_of_memory(status);
}

static bool fold_step(mf_runtime *runtime, const char *stream) {
  mf_result result;
  mf_error error;
  (void)stream;
  static int64_t to; /* earlier and earlier, so that no state that was kept is of use */
  to = to > 30 ? to - 1 : 90;
  int status = mf_aggregate(runtime, "cart-long", to, &result, &error);
  bool told = status == MF_OK && result.version == to && result.state;
  mf_result_free(&result);
  return told || is_of_memory(status);
}

/* What the runtime does when nothing fails: three events on a new stream. */
static bool works(mf_runtime *runtime, const char *stream) {
  mf_result result;
  mf_error error;
  int64_t before, after;
  mf_bytes name = {stream, strlen(stream)};
  mf_stream_version(store, NULL, name, &before, &error);
  bool fine = (before == 0 || before == 3) && add(runtime, stream, &result) == MF_OK;
  fine = fine && result.event_count == 3 && result.version == before + 3;
  mf_result_free(&result);
  mf_stream_version(store, NULL, name, &after, &error);
  return fine && after == before + 3;
}

/* Fails allocation after allocation: one at a time (twice, because Lua tries again), or all from
 * then on. Returns how many there were; -1: something went wrong. */
static long sweep(mf_runtime *runtime, step *work, const char *name, bool for_ever) {
  char stream[64];
  for (long n = 0;; n++) {
    snprintf(stream, sizeof stream, "cart-%s-%d-%ld", name, for_ever, n);
    has_failed = false;
    to_fail = for_ever ? 1L << 40 : 2;
    until_failure = n;
    bool fine = work(runtime, stream);
    until_failure = -1;
    if (!fine || (has_failed && runtime && !works(runtime, stream))) {
      printf("# %s: allocation %ld\n", name, n);
      return -1;
    }
    if (!has_failed) return n;
  }
}

static void check_memory(void) {
  mf_open_options options = {.size = sizeof options};
  mf_error error;
  int status;
  if (mf_open(":memory:", &options, &store, &error) != MF_OK) exit(2);
  mf_runtime *runtime = load_cart(&status);
  mf_result result;
  for (int i = 0; i < 30; i++) {
    add(runtime, "cart-long", &result);
    mf_result_free(&result);
  }
  for (int for_ever = 0; for_ever < 2; for_ever++) {
    check(sweep(NULL, load_step, "load", for_ever) > 100,
          "memory that runs out anywhere in loading is told, and nothing leaks");
    check(sweep(runtime, decide_step, "decide", for_ever) > 100,
          "memory that runs out anywhere in handling a command leaves no trace");
    check(sweep(runtime, fold_step, "fold", for_ever) > 20,
          "memory that runs out anywhere in folding is told, and the next call works");
  }
  mf_runtime_free(runtime);
  mf_close(store);
}

int main(void) {
  check_calls();
  check_garbage();
  check_collections();
  check_print();
  check_size();
  check_memory();
  return failures > 0;
}
