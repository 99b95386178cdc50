/*
 * Specs of what a host gives a runtime and changes while it runs (runtime.h): functions for
 * scripts, memory, a clock, and rules that are edited. Prints TAP. Also built under
 * ThreadSanitizer.
 */
#include "check.h"
#include "runtime.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/moonfold-embedding-XXXXXX";

static mf_store *open_store(const char *path) {
  mf_store *store;
  mf_error error;
  if (mf_open(path, NULL, &store, &error) == MF_OK) return store;
  fprintf(stderr, "%s\n", error.message);
  exit(2);
}

static mf_runtime *new_runtime(mf_store *store, const mf_runtime_options *given) {
  mf_runtime_options options = {.size = sizeof options, .values = true};
  mf_runtime *runtime;
  mf_error error;
  if (given) options = *given;
  if (mf_runtime_new(store, &options, &runtime, &error) == MF_OK) return runtime;
  fprintf(stderr, "%s\n", error.message);
  exit(2);
}

/* Handles a command; the state's n, or the status when it is none of success. */
static int64_t act(mf_runtime *runtime, const char *stream, const char *type, const char *data,
                   mf_error *error) {
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  command.type = type;
  command.data = data;
  int status = mf_handle(runtime, stream, &command, &result, error);
  int64_t n =
      status == MF_OK ? mf_value_integer(mf_value_field(result.state_value, "n"), -99) : status;
  mf_result_free(&result);
  return n;
}

/* ---- functions of the host ---- */

static const char hero[] =
    "local moonfold = require 'moonfold'\n"
    "return { category = 'hero', initial_state = { n = 0, list = { 1, 2 } },\n"
    "  evolve = { Counted = function(state, event) state.n = state.n + event.data end },\n"
    "  decide = {\n"
    "    Add = function(command, state)\n"
    "      return moonfold.event('Counted', host.add(command.data[1], command.data[2]))\n"
    "    end,\n"
    "    Count = function(command, state)\n"
    "      return moonfold.event('Counted', host.count(state.list, nil, { a = 'b' }, nil))\n"
    "    end,\n"
    "    Nothing = function() if host.nothing() == nil then\n"
    "      return moonfold.event('Counted', 7) end end,\n"
    "    Fail = function() host.fail() end,\n"
    "    Catch = function() return moonfold.event('Counted', #select(2, pcall(host.fail))) end,\n"
    "    Break = function() host.break_off() end,\n"
    "    Unknown = function() host.ad() end,\n"
    "    Write = function() host.add = nil end,\n"
    "    Hand = function() host.add(function() end) end,\n"
    "    Toss = function() return moonfold.event('Counted', host.toss()) end,\n"
    "    Hide = function() pcall(host.toss) return moonfold.event('Counted', 1) end,\n"
    "    Back = function() host.back() end,\n"
    "    Costly = function() for _ = 1, 100 do host.costly() end end,\n"
    "  },\n"
    "}\n";

static int add(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)error;
  ++*(int *)context;
  mf_build_integer(result, mf_value_integer(mf_value_slot(arguments, 1), -1) +
                               mf_value_integer(mf_value_slot(arguments, 2), -1));
  return MF_OK;
}

/* How many arguments, and 100 for each that is null, 1000 for each element of the first. */
static int count(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)context;
  (void)error;
  int64_t n = (int64_t)mf_value_count(arguments);
  for (mf_each each = mf_value_each(arguments); mf_each_next(&each);)
    if (mf_value_kind(each.value) == MF_NULL) n += 100;
  n += 1000 * (int64_t)mf_value_count(mf_value_slot(arguments, 1));
  mf_build_integer(result, n);
  return MF_OK;
}

static int nothing(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)context;
  (void)arguments;
  (void)result;
  (void)error;
  return MF_OK;
}

static int fail(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)context;
  (void)arguments;
  (void)result;
  snprintf(error->message, sizeof error->message, "no way there");
  return MF_NOT_FOUND;
}

static int break_off(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)context;
  (void)arguments;
  (void)error;
  mf_build_list(result);
  return MF_OK;
}

/* Not pure. */
static int toss(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  (void)arguments;
  (void)error;
  mf_build_integer(result, ++*(int *)context);
  return MF_OK;
}

typedef struct calling {
  mf_runtime *runtime;
  mf_queue *queue;
  int wrong;
} calling;

/* Calls everything that must be refused. */
static int back(void *context, mf_value arguments, mf_builder *result, mf_error *error) {
  calling *c = context;
  mf_command command = MF_COMMAND_INIT;
  mf_result given;
  (void)arguments;
  (void)result;
  command.type = "Nothing";
  c->wrong += mf_handle(c->runtime, "hero-2", &command, &given, error) != MF_INVALID_ARGUMENT;
  c->wrong += mf_aggregate(c->runtime, "hero-2", MF_LAST, &given, error) != MF_INVALID_ARGUMENT;
  c->wrong += mf_load(c->runtime, folder, NULL, error) != MF_INVALID_ARGUMENT;
  c->wrong += mf_reload(c->runtime, NULL, error) != MF_INVALID_ARGUMENT;
  c->wrong += mf_queue_handle(c->queue, c->runtime, "hero-2", &command, &given, NULL, error) !=
              MF_INVALID_ARGUMENT;
  c->wrong += mf_queue_aggregate(c->queue, c->runtime, "hero-2", MF_LAST, &given, error) !=
              MF_INVALID_ARGUMENT;
  return MF_INVALID_ARGUMENT;
}

static int calls, tosses;

static mf_runtime *with_functions(mf_store *store, const char *version, bool twice, calling *c) {
  mf_runtime_options options = {.size = sizeof options, .values = true, .check_functions = twice};
  mf_runtime *runtime = new_runtime(store, &options);
  const mf_host_function functions[] = {
      {sizeof *functions, "add", version, 0, add, &calls},
      {sizeof *functions, "count", NULL, 0, count, NULL},
      {sizeof *functions, "nothing", NULL, 0, nothing, NULL},
      {sizeof *functions, "fail", NULL, 0, fail, NULL},
      {sizeof *functions, "break_off", NULL, 0, break_off, NULL},
      {sizeof *functions, "toss", NULL, 0, toss, &tosses},
      {sizeof *functions, "back", NULL, 0, back, c},
      {sizeof *functions, "costly", NULL, 1000000, nothing, NULL},
  };
  mf_error error;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    if (mf_add_function(runtime, &functions[i], &error) != MF_OK) exit(2);
  if (mf_load_string(runtime, "hero.lua", hero, sizeof hero - 1, NULL, &error) == MF_OK)
    return runtime;
  fprintf(stderr, "%s\n", error.message);
  exit(2);
}

static void functions(void) {
  mf_store *store = open_store(":memory:");
  calling c = {NULL, NULL, 0};
  mf_runtime *runtime = c.runtime = with_functions(store, "1", false, &c);
  mf_error error;
  mf_queue_new(store, NULL, &c.queue, &error);
  check(act(runtime, "hero-1", "Add", "[2, 40]", &error) == 42,
        "a script calls a function of its host, with values there and back");
  check(act(runtime, "hero-2", "Count", NULL, &error) == 2204,
        "parts of the state cross over, and nil becomes null");
  check(act(runtime, "hero-3", "Nothing", NULL, &error) == 7,
        "a function that makes no value returns nil");
  check(act(runtime, "hero-4", "Fail", NULL, &error) == MF_SCRIPT_ERROR &&
            has(error.message, "host.fail: no way there") &&
            has(mf_runtime_error(runtime)->file, "hero.lua") &&
            mf_runtime_error(runtime)->line == 13,
        "one that fails fails the script, with its message, at the line that called it");
  check(act(runtime, "hero-4", "Catch", NULL, &error) > 10, "and a script can catch that");
  check(act(runtime, "hero-5", "Break", NULL, &error) == MF_SCRIPT_ERROR &&
            has(error.message, "host.break_off made no value"),
        "a value that has no end is told");
  check(act(runtime, "hero-5", "Unknown", NULL, &error) == MF_SCRIPT_ERROR &&
            has(error.message, "no function \"ad\": did you mean \"add\"?"),
        "a name that is misspelt is told, with the nearest");
  check(act(runtime, "hero-5", "Write", NULL, &error) == MF_SCRIPT_ERROR &&
            act(runtime, "hero-1", "Add", "[1, 1]", &error) == 44,
        "the table of functions is read-only");
  check(act(runtime, "hero-5", "Hand", NULL, &error) == MF_INVALID_ARGUMENT &&
            has(error.message, "host.add, argument 1"),
        "what is no value does not cross over");
  check(act(runtime, "hero-5", "Costly", NULL, &error) == MF_BUDGET_EXCEEDED,
        "what a function costs is charged");
  check(act(runtime, "hero-5", "Back", NULL, &error) == MF_SCRIPT_ERROR && c.wrong == 0 &&
            c.runtime && act(runtime, "hero-1", "Add", "[0, 0]", &error) == 44,
        "a function that calls the runtime or its queue is refused, and nothing is broken by it");
  mf_host_function late = {sizeof late, "late", NULL, 0, add, NULL};
  check(mf_add_function(runtime, &late, &error) == MF_INVALID_ARGUMENT &&
            has(error.message, "loaded already"),
        "a function that comes after the scripts is refused");
  mf_queue_free(c.queue, NULL);
  mf_runtime_free(runtime);
  mf_close(store);
}

static void purity(void) {
  mf_store *store = open_store(":memory:");
  mf_runtime *runtime = with_functions(store, "1", true, NULL);
  mf_error error;
  int64_t position = -1;
  calls = 0;
  check(act(runtime, "hero-1", "Add", "[1, 2]", &error) == 3 && calls == 2,
        "where functions are checked, each is called twice");
  check(act(runtime, "hero-2", "Toss", NULL, &error) == MF_SCRIPT_ERROR &&
            has(error.message, "host.toss is not pure"),
        "and one that gives two results is found out");
  check(act(runtime, "hero-2", "Hide", NULL, &error) == MF_SCRIPT_ERROR &&
            has(error.message, "host.toss is not pure") &&
            mf_last_position(store, NULL, &position, NULL) == MF_OK && position == 1,
        "also when the script catches the error; and nothing is recorded");
  check(act(runtime, "hero-1", "Add", "[1, 2]", &error) == 6, "the next command is none the worse");
  mf_runtime_free(runtime);
  mf_close(store);
}

static void misuse(void) {
  mf_store *store = open_store(":memory:");
  mf_runtime *runtime = new_runtime(store, NULL);
  mf_error error;
  mf_host_function f = {sizeof f, "add", NULL, 0, add, NULL}, again = f, bad = f, none = f;
  bad.name = "no name";
  none.call = NULL;
  check(mf_add_function(runtime, &f, &error) == MF_OK &&
            mf_add_function(runtime, &again, &error) == MF_INVALID_ARGUMENT &&
            has(error.message, "already"),
        "two functions of one name are refused");
  check(mf_add_function(runtime, &bad, &error) == MF_INVALID_ARGUMENT &&
            mf_add_function(runtime, &none, &error) == MF_INVALID_ARGUMENT,
        "so are names that Lua has not, and functions that are not there");
  mf_runtime_free(runtime);
  runtime = new_runtime(store, NULL);
  static const char lonely[] = "return { category = 'a', initial_state = host.x(), evolve = {} }";
  check(mf_load_string(runtime, "a.lua", lonely, sizeof lonely - 1, NULL, &error) ==
                MF_SCRIPT_ERROR &&
            has(error.message, "mf_add_function"),
        "a script that finds no host is told what is missing");
  mf_runtime_free(runtime);
  mf_close(store);
}

/* ---- digests ---- */

/* The digest of the code that decided the stream's last event, 16 bytes. */
static void code_of(mf_store *store, const char *stream, uint8_t digest[MF_DIGEST_SIZE]) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  memset(digest, 0, MF_DIGEST_SIZE);
  options.stream = (mf_bytes){stream, strlen(stream)};
  options.backwards = true;
  if (mf_reader_open(store, NULL, &options, &reader, NULL) != MF_OK) return;
  if (mf_reader_next(reader, &event, NULL) == MF_OK) {
    mf_bytes code = mf_event_decision(&event, MF_DECISION_CODE);
    if (code.size == MF_DIGEST_SIZE) memcpy(digest, code.data, code.size);
  }
  mf_reader_close(reader);
}

static const char *const bodies[] = {"host.add(1, 1)", "select(1, host).add(1, 1)", "2"};

/* The digest of a script that uses `add` in the way `body`, in these versions of the functions. */
static void digest_with(mf_store *store, const char *body, const char *one, const char *other,
                        uint8_t digest[MF_DIGEST_SIZE]) {
  char script[400];
  mf_runtime *runtime = new_runtime(store, NULL);
  mf_host_function f = {sizeof f, "add", one, 0, add, &calls};
  mf_host_function g = {sizeof g, "other", other, 0, nothing, NULL};
  mf_error error;
  mf_add_function(runtime, &f, &error);
  mf_add_function(runtime, &g, &error);
  int size = snprintf(script, sizeof script,
                      "return { category = 'hero', initial_state = { n = 0 },\n"
                      "evolve = { Counted = function(s, e) s.n = s.n + e.data end },\n"
                      "decide = { Count = function()\n"
                      "return { type = 'Counted', data = %s } end } }",
                      body);
  if (mf_load_string(runtime, "hero.lua", script, (size_t)size, NULL, &error) != MF_OK ||
      act(runtime, "hero-digest", "Count", NULL, &error) < 0) {
    fprintf(stderr, "%s\n", error.message);
    exit(2);
  }
  mf_runtime_free(runtime);
  code_of(store, "hero-digest", digest);
}

/* Whether another version of one function, and of the other, makes another digest. */
static void compare_digests(mf_store *store, const char *body, bool *add_matters,
                            bool *other_matters) {
  uint8_t plain[MF_DIGEST_SIZE], with_add[MF_DIGEST_SIZE], with_other[MF_DIGEST_SIZE];
  digest_with(store, body, "1", "1", plain);
  digest_with(store, body, "2", "1", with_add);
  digest_with(store, body, "1", "2", with_other);
  *add_matters = memcmp(plain, with_add, sizeof plain) != 0;
  *other_matters = memcmp(plain, with_other, sizeof plain) != 0;
}

static void digests(void) {
  mf_store *store = open_store(":memory:");
  bool one, other;
  compare_digests(store, bodies[0], &one, &other);
  check(one && !other, "the version of a function is part of the digest of a script that uses it");
  compare_digests(store, bodies[1], &one, &other);
  check(one && other, "where it cannot be told which are used, all are");
  compare_digests(store, bodies[2], &one, &other);
  check(!one && !other, "and where none is, none");
  mf_close(store);
}

/* A fold whose function changes must not meet the snapshot of the one before. */
static void snapshots(void) {
  static const char rules[] =
      "return { category = 'hero', initial_state = { n = 0 },\n"
      "evolve = { Counted = function(s, e) s.n = s.n + host.add(e.data, 0) end },\n"
      "decide = { Count = function() return { type = 'Counted', data = 1 } end } }";
  char path[300];
  snprintf(path, sizeof path, "%s/snapshots.fold", folder);
  mf_open_options how = {.size = sizeof how, .durability = MF_NONE};
  mf_store *store;
  mf_error error;
  int64_t n[3] = {0, 0, 0}, before[3] = {0, 0, 0};
  mf_open(path, &how, &store, &error);
  for (int round = 0; round < 3; round++) {
    mf_runtime *runtime = new_runtime(store, NULL);
    mf_host_function f = {sizeof f, "add", round == 1 ? "2" : "1", 0, add, &calls};
    mf_add_function(runtime, &f, &error);
    mf_load_string(runtime, "hero.lua", rules, sizeof rules - 1, NULL, &error);
    for (int i = 0; round == 0 && i < 1100; i++)
      act(runtime, "hero-long", "Count", NULL, &error);
    calls = 0;
    n[round] = act(runtime, "hero-long", "Count", NULL, &error);
    before[round] = calls;
    mf_runtime_free(runtime);
  }
  mf_close(store);
  check(n[2] == 1103 && before[1] >= 1101 && before[2] < 1000,
        "a snapshot is used by a function of the same version, and by no other");
}

/* ---- memory ---- */

typedef struct arena {
  size_t held, most, blocks, wrong;
  int64_t left; /* allocations until it has no more; negative: never */
} arena;

/* Checks what it is told of old sizes. */
static void *arena_allocate(void *context, void *pointer, size_t old_size, size_t size) {
  arena *a = context;
  size_t *block = pointer ? (size_t *)pointer - 2 : NULL;
  if (block && *block != old_size) a->wrong++;
  if (!block && old_size != 0) a->wrong++;
  if (size == 0) {
    if (!block) return NULL;
    a->held -= *block;
    a->blocks--;
    free(block);
    return NULL;
  }
  if (size > old_size && a->left >= 0 && a->left-- == 0) {
    a->left = 0;
    return NULL;
  }
  size_t *moved = realloc(block, size + 2 * sizeof *moved);
  if (!moved) return NULL;
  a->held += size - old_size;
  a->blocks += !block;
  if (a->held > a->most) a->most = a->held;
  *moved = size;
  return moved + 2;
}

static void memory(void) {
  static const char rules[] =
      "return { category = 'hero', initial_state = { n = 0 },\n"
      "evolve = { Counted = function(s, e) s.n = s.n + 1 s[s.n] = ('x'):rep(e.data) end },\n"
      "decide = { Count = function(c) return { type = 'Counted', data = c.data } end } }";
  arena a = {0, 0, 0, 0, -1};
  mf_store *store = open_store(":memory:");
  mf_runtime_options options = {
      .size = sizeof options, .values = true, .allocate = arena_allocate, .allocate_context = &a};
  mf_runtime *runtime = new_runtime(store, &options);
  mf_error error;
  int fine = mf_load_string(runtime, "hero.lua", rules, sizeof rules - 1, NULL, &error) == MF_OK;
  for (int i = 1; fine && i <= 50; i++)
    fine = act(runtime, "hero-1", "Count", "2000", &error) == i;
  check(fine && a.most > 200000 && a.wrong == 0,
        "scripts live in the memory that the host gives, and sizes are told truly");
  a.left = 0;
  fine = act(runtime, "hero-1", "Count", "900000", &error) == MF_NO_MEMORY;
  a.left = -1;
  check(fine && act(runtime, "hero-1", "Count", "1", &error) == 51,
        "when it gives none, nothing is recorded, and the next command finds all as it was");
  mf_runtime_free(runtime);
  check(a.blocks == 0 && a.held == 0, "it gets back all of it");
  mf_close(store);
}

/* ---- a clock ---- */

static int64_t ticks(void *context) {
  return ++*(int64_t *)context;
}

static void clocks(void) {
  int64_t now = 1000;
  mf_open_options how = {.size = sizeof how, .clock = ticks, .clock_context = &now};
  static const char rules[] =
      "return { category = 'hero', initial_state = { n = 0 },\n"
      "evolve = { Timed = function(s, e) s.n = e.data end },\n"
      "decide = { Time = function(c) return { type = 'Timed', data = c.time } end } }";
  mf_store *store;
  mf_error error;
  mf_open(":memory:", &how, &store, &error);
  mf_runtime *runtime = new_runtime(store, NULL);
  mf_load_string(runtime, "hero.lua", rules, sizeof rules - 1, NULL, &error);
  int64_t first = act(runtime, "hero-1", "Time", NULL, &error);
  int64_t second = act(runtime, "hero-1", "Time", NULL, &error);
  check(first > 1000 && first < 1100 && second > first && second < 1200,
        "commands without a time have it from the clock of the store");
  mf_runtime_free(runtime);
  mf_close(store);
}

/* ---- rules that are edited ---- */

static void write_file(const char *name, const char *text) {
  char path[400];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  if (!file) exit(2);
  fputs(text, file);
  fclose(file);
}

static void write_rules(const char *name, const char *category, const char *by) {
  char text[500];
  snprintf(text, sizeof text,
           "local numbers = require 'numbers'\n"
           "return { category = '%s', initial_state = { n = 0 },\n"
           "evolve = { Counted = function(s, e) s.n = s.n + e.data end },\n"
           "decide = { Count = function() return { type = 'Counted', data = %s } end } }\n",
           category, by);
  write_file(name, text);
}

static void reloading(void) {
  char path[300];
  bool changed = true;
  mf_error error;
  mf_store *store = open_store(":memory:");
  mf_runtime *runtime = new_runtime(store, NULL);
  snprintf(path, sizeof path, "%s/rules", folder);
  if (mkdir(path, 0700) != 0) exit(2);
  write_file("rules/numbers.lua", "return { by = 1 }\n");
  write_rules("rules/hero.lua", "hero", "numbers.by");
  write_rules("rules/foe.lua", "foe", "-numbers.by");
  if (mf_load(runtime, path, NULL, &error) != MF_OK) exit(2);
  check(act(runtime, "hero-1", "Count", NULL, &error) == 1 &&
            mf_reload(runtime, &changed, &error) == MF_OK && !changed,
        "where nothing was edited, nothing is loaded again");
  write_file("rules/numbers.lua", "return { by = 10 }\n");
  check(act(runtime, "hero-1", "Count", NULL, &error) == 2 &&
            mf_reload(runtime, &changed, &error) == MF_OK && changed &&
            act(runtime, "hero-1", "Count", NULL, &error) == 12 &&
            act(runtime, "foe-1", "Count", NULL, &error) == -10,
        "after an edit, of a module too, the next command uses the new code, and states go on");
  write_rules("rules/hero.lua", "hero", "oops(");
  int status = mf_reload(runtime, &changed, &error);
  check(status == MF_SCRIPT_ERROR && !changed && has(error.message, "hero.lua:4") &&
            has(mf_runtime_error(runtime)->file, "hero.lua") &&
            mf_runtime_error(runtime)->line == 4,
        "what does not load is told, with file and line");
  check(act(runtime, "hero-1", "Count", NULL, &error) == 22 &&
            mf_reload(runtime, &changed, &error) == MF_OK && !changed,
        "the old code goes on, and it is told once");
  write_rules("rules/foe.lua", "foe", "-2");
  check(mf_reload(runtime, &changed, &error) == MF_SCRIPT_ERROR &&
            act(runtime, "foe-1", "Count", NULL, &error) == -20,
        "while one script does not load, no other is taken over");
  write_rules("rules/hero.lua", "hero", "100000");
  check(mf_reload(runtime, &changed, &error) == MF_OK && changed &&
            act(runtime, "hero-1", "Count", NULL, &error) == 100022 &&
            act(runtime, "foe-1", "Count", NULL, &error) == -22,
        "when it is mended, all are");
  write_rules("rules/foe.lua", "enemy", "-2");
  check(mf_reload(runtime, &changed, &error) == MF_INVALID_ARGUMENT &&
            has(error.message, "\"foe\"") && act(runtime, "foe-1", "Count", NULL, &error) == -24,
        "a category does not lose its decider");
  unlink(strcat(path, "/foe.lua"));
  write_rules("rules/enemy.lua", "foe", "-200000");
  check(mf_reload(runtime, &changed, &error) == MF_OK && changed &&
            act(runtime, "foe-1", "Count", NULL, &error) == -200024,
        "but a decider may move to another file");
  mf_runtime_free(runtime);
  mf_close(store);
}

/* Two loads are one to mf_reload(). */
static void reloading_two(void) {
  char one[300], other[300];
  bool changed;
  mf_error error;
  mf_store *store = open_store(":memory:");
  mf_runtime *runtime = new_runtime(store, NULL);
  snprintf(one, sizeof one, "%s/one.lua", folder);
  snprintf(other, sizeof other, "%s/other.lua", folder);
  write_file("numbers.lua", "return {}");
  write_rules("one.lua", "one", "1");
  write_rules("other.lua", "other", "1");
  static const char text[] = "return { category = 'text', initial_state = 0, evolve = {} }";
  if (mf_load(runtime, one, NULL, &error) != MF_OK ||
      mf_load(runtime, other, NULL, &error) != MF_OK ||
      mf_load_string(runtime, "text.lua", text, sizeof text - 1, NULL, &error) != MF_OK)
    exit(2);
  write_rules("one.lua", "one", "1000");
  write_rules("other.lua", "text", "1000");
  check(mf_reload(runtime, &changed, &error) == MF_INVALID_ARGUMENT &&
            act(runtime, "one-1", "Count", NULL, &error) == 1 &&
            act(runtime, "other-1", "Count", NULL, &error) == 1,
        "what was loaded separately is taken over together, or not at all");
  write_rules("other.lua", "other", "10000");
  check(mf_reload(runtime, &changed, &error) == MF_OK && changed &&
            act(runtime, "one-1", "Count", NULL, &error) == 1001 &&
            act(runtime, "other-1", "Count", NULL, &error) == 10001,
        "also what was not edited again since it failed");
  unlink(one);
  check(mf_reload(runtime, &changed, &error) == MF_NOT_FOUND &&
            act(runtime, "one-1", "Count", NULL, &error) == 2001,
        "a file that is gone is told, and its code goes on");
  write_rules("one.lua", "one", "1000000");
  check(mf_reload(runtime, &changed, &error) == MF_OK && changed &&
            act(runtime, "one-1", "Count", NULL, &error) == 1002001,
        "and it is taken over when it is there again");
  mf_runtime_free(runtime);
  mf_close(store);
}

/* ---- kept commands ---- */

static const char gate[] = "local moonfold = require 'moonfold'\n"
                           "return { category = 'gate', initial_state = { n = 0 },\n"
                           "  evolve = { Opened = function(state) state.n = state.n + 1 end },\n"
                           "  decide = {\n"
                           "    Open = function() return moonfold.event('Opened') end,\n"
                           "    Force = function() moonfold.reject('locked') end,\n"
                           "  },\n"
                           "}\n";

static mf_runtime *gate_runtime(mf_store *store, const mf_runtime_options *options) {
  mf_error error;
  mf_runtime *runtime = new_runtime(store, options);
  if (mf_load_string(runtime, "gate.lua", gate, sizeof gate - 1, NULL, &error) != MF_OK) exit(2);
  return runtime;
}

/* How many commands are kept of streams that begin so, and of these how many with `outcome`. */
static int kept(mf_store *store, const char *prefix, const char *outcome) {
  mf_commands *commands;
  mf_kept_command command;
  int n = 0;
  mf_commands_open(store, INT64_MIN + 1, (mf_bytes){prefix, strlen(prefix)}, &commands, NULL);
  while (mf_commands_next(commands, &command, NULL) == MF_OK)
    n += memmem(command.command.data, command.command.size, outcome, strlen(outcome)) != NULL;
  mf_commands_close(commands);
  return n;
}

static void kept_commands(mf_durability durability) {
  char path[300];
  mf_error error;
  mf_store *store;
  mf_txn *txn;
  mf_result result;
  mf_command command = MF_COMMAND_INIT;
  mf_open_options how = {.size = sizeof how, .durability = durability};
  mf_runtime_options options = {.size = sizeof options, .values = true, .keep_commands = true};
  snprintf(path, sizeof path, "%s/kept-%d.fold", folder, (int)durability);
  if (mf_open(path, &how, &store, &error) != MF_OK) exit(2);
  mf_runtime *keeping = gate_runtime(store, &options), *not_keeping = gate_runtime(store, NULL);
  act(keeping, "gate-1", "Open", NULL, &error);
  act(not_keeping, "gate-1", "Open", NULL, &error);
  check(act(keeping, "gate-1", "Force", NULL, &error) == MF_REJECTED &&
            act(not_keeping, "gate-1", "Force", NULL, &error) == MF_REJECTED &&
            kept(store, "gate-1", "accepted") == 1 && kept(store, "gate-1", "rejected") == 1,
        "a runtime that is told to keeps its commands, refused ones too, and no other does");
  mf_begin(store, &txn, &error);
  command.txn = txn;
  command.type = "Open";
  mf_handle(keeping, "gate-2", &command, &result, &error);
  mf_result_free(&result);
  command.type = "Force";
  bool refused = mf_handle(keeping, "gate-2", &command, &result, &error) == MF_REJECTED;
  mf_result_free(&result);
  mf_abort(txn);
  check(refused && kept(store, "gate-2", "gate") == 0 && kept(store, "gate-2", "ed") == 0,
        "what is handled in a transaction of the host is kept with it, or not at all");
  options.keep_count = 3;
  mf_runtime *bounded = gate_runtime(store, &options);
  for (int i = 0; i < 4; i++) {
    act(bounded, "gate-3", "Open", NULL, &error);
    act(bounded, "gate-3", "Force", NULL, &error);
  }
  check(kept(store, "", "ed") == 3 && kept(store, "gate-3", "rejected") == 2,
        "a bound on their number lets the oldest go");
  options.keep_count = -1;
  mf_runtime *none = keeping;
  check(mf_runtime_new(store, &options, &none, &error) == MF_INVALID_ARGUMENT && !none &&
            has(error.message, "keep_count"),
        "a negative bound is refused");
  options.keep_count = 0;
  options.keep_age = 1;
  mf_runtime *aged = gate_runtime(store, &options);
  command.txn = NULL;
  command.type = "Open";
  act(aged, "gate-4", "Open", NULL, &error);
  act(aged, "gate-4", "Open", NULL, &error);
  check(kept(store, "gate-3", "ed") == 0 && kept(store, "gate-4", "accepted") >= 1,
        "a bound on their age, too");
  options.size = offsetof(mf_runtime_options, keep_commands);
  mf_runtime *older = gate_runtime(store, &options);
  act(older, "gate-5", "Open", NULL, &error);
  check(kept(store, "gate-5", "ed") == 0, "a host that knows nothing of it keeps nothing");
  mf_runtime_free(keeping);
  mf_runtime_free(not_keeping);
  mf_runtime_free(bounded);
  mf_runtime_free(aged);
  mf_runtime_free(older);
  mf_close(store);
}

int main(void) {
  char command[300];
  if (!mkdtemp(folder)) return 2;
  kept_commands(MF_FULL);
  kept_commands(MF_NONE);
  functions();
  purity();
  misuse();
  digests();
  snapshots();
  memory();
  clocks();
  reloading();
  reloading_two();
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) failures++;
  printf("1..%d\n", number);
  return failures > 0;
}
