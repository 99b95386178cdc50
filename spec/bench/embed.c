/*
 * What a host in C pays: values against JSON text on a hot path, a start with a script of 200
 * lines, a look for rules that were edited, a function of the host, and a queued command on a long
 * stream. The stores are in memory, so that no disk is in the numbers.
 */
#include "bench.h"
#include "runtime.h"

#include <lauxlib.h>
#include <lualib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A hero with a bag of 50 things: 2 KB as JSON. */
static const char rules[] =
    "local moonfold = require 'moonfold'\n"
    "local bag = {}\n"
    "for i = 1, 50 do bag[i] = { kind = 'thing', weight = i, worn = i % 2 == 0 } end\n"
    "local function twice(n) return n + n end\n"
    "return { category = 'hero', initial_state = { x = 0, y = 0, bag = bag },\n"
    "  evolve = { Moved = function(hero, event) hero.x, hero.y = event.data.x, event.data.y end "
    "},\n"
    "  decide = {\n"
    "    Move = function(command) return moonfold.event('Moved', command.data) end,\n"
    "    Lua = function() local n = 0 for i = 1, 1000 do n = n + twice(i) end end,\n"
    "    Host = function() local n = 0 for i = 1, 1000 do n = n + host.twice(i) end end,\n"
    "    Nothing = function() end,\n"
    "  } }\n";

static int twice(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)context;
  (void)error;
  mf_build_integer(result, 2 * mf_value_integer(mf_value_slot(arguments, 1), 0));
  return MF_OK;
}

typedef struct host {
  mf_store *store;
  mf_runtime *runtime;
  mf_builder *data;
  bool values;
} host;

static host open_host(bool values) {
  mf_runtime_options options = {.size = sizeof options, .values = values};
  mf_host_function function = {sizeof function, "twice", "1", 0, twice, NULL};
  mf_error failure;
  host h = {open_store(":memory:", MF_NONE), NULL, mf_builder_new(), values};
  MF(mf_runtime_new(h.store, &options, &h.runtime, &failure));
  MF(mf_add_function(h.runtime, &function, &failure));
  MF(mf_load_string(h.runtime, "hero.lua", rules, sizeof rules - 1, NULL, &failure));
  return h;
}

static void close_host(host *h) {
  mf_builder_free(h->data);
  mf_runtime_free(h->runtime);
  close_store(h->store);
}

static void handle(host *h, mf_queue *queue, mf_command *command) {
  mf_result result;
  mf_error failure;
  if (queue)
    MF(mf_queue_handle(queue, h->runtime, "hero-1", command, &result, NULL, &failure));
  else
    MF(mf_handle(h->runtime, "hero-1", command, &result, &failure));
  mf_result_free(&result);
}

/* ---- values and JSON ---- */

/* Five fields; what comes back is the state. */
static void move(host *h, mf_queue *queue, int n) {
  static const char *const names[] = {"x", "y", "speed", "turn", "layer"};
  mf_command command = MF_COMMAND_INIT;
  char json[200];
  command.type = "Move";
  if (h->values) {
    mf_build_reset(h->data);
    mf_build_map(h->data);
    for (int i = 0; i < 5; i++) {
      mf_build_key(h->data, names[i]);
      mf_build_integer(h->data, n + i);
    }
    mf_build_end(h->data);
    command.data_value = mf_builder_value(h->data);
  } else {
    snprintf(json, sizeof json, "{\"x\":%d,\"y\":%d,\"speed\":%d,\"turn\":%d,\"layer\":%d}", n,
             n + 1, n + 2, n + 3, n + 4);
    command.data = json;
  }
  handle(h, queue, &command);
}

static double cost_of_moves(bool values, int count) {
  host h = open_host(values);
  for (int i = 0; i < 100; i++)
    move(&h, NULL, i);
  double start = cpu();
  for (int i = 0; i < count; i++)
    move(&h, NULL, i);
  double cost = (cpu() - start) / count / 1e3;
  close_host(&h);
  return cost;
}

/* ---- a start ---- */

static char long_script[40000];

static void write_script(const char *path) {
  size_t size = 0;
  size += (size_t)sprintf(long_script, "local rules = {}\n");
  for (int i = 0; i < 39; i++)
    size +=
        (size_t)sprintf(long_script + size,
                        "function rules.rule%d(state, event)\n"
                        "  local data = event.data\n"
                        "  if data.kind == 'k%d' then state.count = (state.count or 0) + 1 end\n"
                        "  state.last = { kind = data.kind, by = %d }\n"
                        "end\n",
                        i, i, i);
  size += (size_t)sprintf(long_script + size,
                          "return { category = 'hero', initial_state = {},\n"
                          "  evolve = { Happened = rules.rule1 },\n"
                          "  decide = { Do = function() return { type = 'Happened' } end },\n}\n");
  FILE *file = fopen(path, "w");
  if (!file) fail(path, "cannot be written");
  fputs(long_script, file);
  fclose(file);
}

static double cost_of_start(const bench *b, const char *script) {
  mf_runtime *runtime;
  mf_error failure;
  double start = wall();
  mf_store *store = open_store(file_in(b, "start.fold"), MF_NONE);
  MF(mf_runtime_new(store, NULL, &runtime, &failure));
  MF(mf_load(runtime, script, NULL, &failure));
  double cost = (wall() - start) / 1e3;
  mf_runtime_free(runtime);
  close_store(store);
  return cost;
}

static double cost_of_lua(const char *script) {
  double start = wall();
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (luaL_dofile(L, script) != LUA_OK) fail(script, lua_tostring(L, -1));
  double cost = (wall() - start) / 1e3;
  lua_close(L);
  return cost;
}

/* ---- a look for edits ---- */

static double cost_of_look(const char *script, int count) {
  struct stat status;
  bool changed;
  mf_runtime *runtime;
  mf_error failure;
  mf_store *store = open_store(":memory:", MF_NONE);
  MF(mf_runtime_new(store, NULL, &runtime, &failure));
  MF(mf_load(runtime, script, NULL, &failure));
  double start = cpu();
  for (int i = 0; i < count; i++)
    MF(mf_reload(runtime, &changed, &failure));
  double cost = (cpu() - start) / count / 1e3;
  SYS(stat(script, &status));
  mf_runtime_free(runtime);
  close_store(store);
  return cost;
}

static double cost_of_stat(const char *script, int count) {
  struct stat status;
  double start = cpu();
  for (int i = 0; i < count; i++)
    SYS(stat(script, &status));
  return (cpu() - start) / count / 1e3;
}

/* ---- functions of the host ---- */

/* Nanoseconds of one of the 1000 calls. */
static double cost_of_calls(host *h, const char *type, int count) {
  mf_command command = MF_COMMAND_INIT;
  double costs[2];
  for (int pass = 0; pass < 2; pass++) {
    command.type = pass ? type : "Nothing";
    command.no_state = true;
    double start = cpu();
    for (int i = 0; i < count; i++)
      handle(h, NULL, &command);
    costs[pass] = (cpu() - start) / count;
  }
  return (costs[1] - costs[0]) / 1000;
}

/* ---- a queue ---- */

static double cost_of_queued(int before, int count) {
  host h = open_host(true);
  mf_queue_options options = {sizeof options, 1000000};
  mf_queue *queue;
  mf_error failure;
  for (int i = 0; i < before; i++)
    move(&h, NULL, i);
  MF(mf_queue_new(h.store, &options, &queue, &failure));
  move(&h, queue, 0);
  double cost = 0;
  for (int i = 0; i < count; i++) {
    double start = clock_of(CLOCK_THREAD_CPUTIME_ID); /* the writer's is its own */
    move(&h, queue, i);
    cost += clock_of(CLOCK_THREAD_CPUTIME_ID) - start;
    if (i % 8 == 7) MF(mf_queue_flush(queue, NULL, &failure)); /* as a disk that keeps up */
  }
  MF(mf_queue_free(queue, &failure));
  close_host(&h);
  return cost / count / 1e3;
}

int main(int argc, char **argv) {
  bench b = bench_start(argc, argv);
  samples value = {{0}}, yard = {{0}};
  int count = b.quick ? 2000 : 20000;
  const char *script = file_in(&b, "hero.lua");
  char path[600];
  snprintf(path, sizeof path, "%s", script);
  write_script(path);
  for (int run = 0; run < b.runs; run++) {
    value.of[run] = cost_of_moves(true, count);
    yard.of[run] = cost_of_moves(false, count);
  }
  report(&b, "embed", &value, "us", &yard, "JSON", "command of 5 fields, state of 2 KB, values");
  for (int run = 0; run < b.runs; run++) {
    value.of[run] = cost_of_start(&b, path);
    yard.of[run] = cost_of_lua(path);
  }
  report(&b, "embed", &value, "us", &yard, "bare Lua", "store opened, script of 200 lines loaded");
  for (int run = 0; run < b.runs; run++) {
    value.of[run] = cost_of_look(path, count);
    yard.of[run] = cost_of_stat(path, count);
  }
  report(&b, "embed", &value, "us", &yard, "one stat", "look for edited rules, 1 file in a folder");
  host h = open_host(true);
  for (int run = 0; run < b.runs; run++) {
    value.of[run] = cost_of_calls(&h, "Host", count / 100);
    yard.of[run] = cost_of_calls(&h, "Lua", count / 100);
  }
  close_host(&h);
  report(&b, "embed", &value, "ns", &yard, "call of a Lua function", "call of a host's function");
  for (int run = 0; run < b.runs; run++) {
    value.of[run] = cost_of_queued(count, 2000);
    yard.of[run] = cost_of_queued(20, 2000);
  }
  report(&b, "embed", &value, "us", &yard, "20 events", "queued command after %d events", count);
  unlink(path);
  unlink(file_in(&b, "start.fold"));
  return 0;
}
