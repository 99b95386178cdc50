/*
 * Specs of the runtime's C API (runtime.h), as a host without Lua uses it, and of runtimes in
 * several threads on one store. Prints TAP. Also built under ThreadSanitizer.
 */
#include "check.h"
#include "runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- scripts ---- */

static const char cart[] =
    "local moonfold = require 'moonfold'\n"
    "local most = ... and (...).most or 100\n"
    "return {\n"
    "  name = 'cart', category = 'cart', initial_state = { total = 0 },\n"
    "  evolve = {\n"
    "    ItemAdded = function(cart, event)\n"
    "      if event.data.price == 13 then error 'thirteen' end\n"
    "      cart.total = cart.total + event.data.price\n"
    "    end,\n"
    "    Named = function(cart, event) cart.name = event.data end,\n"
    "  },\n"
    "  decide = {\n"
    "    AddItem = function(command, cart)\n"
    "      if cart.total + command.data.price > most then\n"
    "        moonfold.reject('full', 'it is full', { total = cart.total })\n"
    "      end\n"
    "      return moonfold.event('ItemAdded', command.data)\n"
    "    end,\n"
    "    Name = function() return moonfold.event('Named', '\\xff\\0') end,\n"
    "    Nothing = function() end,\n"
    "    Wrong = function() return moonfold.event('ItemAded') end,\n"
    "    Hang = function() while true do end end,\n"
    "    Eat = function() local t = {} while true do t[#t + 1] = { t } end end,\n"
    "    Say = function(command) print('hello ' .. command.data) end,\n"
    "  },\n"
    "}\n";

static const char shelf[] = "return { category = 'shelf', initial_state = 0,\n"
                            "  evolve = { Put = function(n) return n + 1 end },\n"
                            "  decide = { Put = function() return { type = 'Put' } end,\n"
                            "    Fail = function() error('it fails') end,\n"
                            "    Refuse = function() require('moonfold').reject('no') end } }\n";

static char said[256];

static void note(void *context, const mf_log_line *line) {
  (void)context;
  snprintf(said, sizeof said, "%s|%s|%s|%lld", line->text, line->phase, line->stream,
           (long long)line->position);
}

static mf_runtime *new_runtime(mf_store *store) {
  mf_runtime_options options = {0};
  mf_runtime *runtime;
  options.size = sizeof options;
  options.log = note;
  if (mf_runtime_new(store, &options, &runtime, NULL) != MF_OK) exit(2);
  return runtime;
}

static mf_runtime *with_cart(mf_store *store) {
  mf_error error;
  mf_runtime *runtime = new_runtime(store);
  if (mf_load_string(runtime, "cart.lua", cart, strlen(cart), NULL, &error) != MF_OK) {
    fprintf(stderr, "%s\n", error.message);
    exit(2);
  }
  return runtime;
}

/* One command; the result is the caller's to free. */
static int send(mf_runtime *runtime, const char *stream, const char *type, const char *data,
                mf_result *result) {
  mf_command command = MF_COMMAND_INIT;
  command.type = type;
  command.data = data;
  return mf_handle(runtime, stream, &command, result, NULL);
}

/* The same, when only the status is wanted. */
static int quick(mf_runtime *runtime, const char *stream, const char *type, const char *data) {
  mf_result result;
  int status = send(runtime, stream, type, data, &result);
  mf_result_free(&result);
  return status;
}

static int64_t version_of(mf_store *store, const char *stream) {
  int64_t version = -1;
  mf_stream_version(store, NULL, (mf_bytes){stream, strlen(stream)}, &version, NULL);
  return version;
}

/* ---- commands and states ---- */

static void commands_lead_to_events(mf_store *store) {
  mf_runtime *runtime = with_cart(store);
  mf_result result;
  int status = send(runtime, "cart-1", "AddItem", "{\"price\": 30}", &result);
  check(status == MF_OK && result.event_count == 1 && result.version == 1 && result.created &&
            result.last_position == 1,
        "a command is handled, and the result tells versions and positions");
  check(has(result.state, "{\"total\":30}"), "the state comes as JSON");
  check(has(result.events, "\"type\":\"ItemAdded\"") && has(result.events, "{\"price\":30}") &&
            has(result.events, "\"stream_position\":1"),
        "the events come as a JSON array, as they are read");
  mf_result_free(&result);
  mf_result_free(&result);
  check(result.state == NULL, "a result may be freed twice");
  status = send(runtime, "cart-1", "Nothing", NULL, &result);
  check(status == MF_OK && result.event_count == 0 && strcmp(result.events, "[]") == 0 &&
            result.last_position == 0 && result.version == 1,
        "a command that comes to nothing records nothing");
  mf_result_free(&result);
  status = send(runtime, "cart-1", "AddItem", "{\"price\": 9007199254740993}", &result);
  check(status == MF_REJECTED && has(result.reason, "full") && has(result.message, "it is full") &&
            strcmp(result.detail, "{\"total\":30}") == 0 && !result.state,
        "a refusal is no error, and tells reason, message and detail");
  check(mf_runtime_error(runtime)->code == MF_OK, "and leaves no error behind");
  mf_result_free(&result);
  status = send(runtime, "cart-1", "Name", NULL, &result);
  check(status == MF_OK && has(result.state, "{\"$base64\":\"/wA=\"}"),
        "bytes that are no text come as base64");
  mf_result_free(&result);
  mf_runtime_free(runtime);
}

static void states_are_folded(mf_store *store) {
  mf_runtime *runtime = with_cart(store);
  mf_result result;
  quick(runtime, "cart-2", "AddItem", "{\"price\": 1}");
  quick(runtime, "cart-2", "AddItem", "{\"price\": 2}");
  int status = mf_aggregate(runtime, "cart-2", MF_LAST, &result, NULL);
  check(status == MF_OK && strcmp(result.state, "{\"total\":3}") == 0 && result.version == 2 &&
            result.exists,
        "a state is folded");
  mf_result_free(&result);
  status = mf_aggregate(runtime, "cart-2", 1, &result, NULL);
  check(status == MF_OK && strcmp(result.state, "{\"total\":1}") == 0 && result.version == 1,
        "as it was at a version");
  mf_result_free(&result);
  status = mf_aggregate(runtime, "cart-none", MF_LAST, &result, NULL);
  check(status == MF_OK && strcmp(result.state, "{\"total\":0}") == 0 && result.version == 0 &&
            !result.exists,
        "of a stream that does not exist it is the initial one");
  mf_result_free(&result);
  check(mf_aggregate(runtime, "cart-2", -1, &result, NULL) == MF_INVALID_ARGUMENT,
        "negative versions are refused");
  mf_runtime_free(runtime);
}

static void ids_and_expectations(mf_store *store) {
  mf_runtime *runtime = with_cart(store);
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  mf_error error;
  command.type = "AddItem";
  command.data = "{\"price\": 5}";
  command.id = "c-1";
  command.metadata = "{\"correlation_id\": \"k-1\"}";
  command.time = 77;
  command.expected_version = MF_STREAM_DOES_NOT_EXIST;
  int status = mf_handle(runtime, "cart-3", &command, &result, NULL);
  check(status == MF_OK && has(result.events, "\"causation_id\":\"c-1\"") &&
            has(result.events, "\"correlation_id\":\"k-1\""),
        "events tell which command caused them");
  mf_result_free(&result);
  status = mf_handle(runtime, "cart-3", &command, &result, NULL);
  check(status == MF_OK && result.version == 1 && result.event_count == 1 &&
            version_of(store, "cart-3") == 1,
        "the same command again answers with the original result");
  mf_result_free(&result);
  command.data = "{\"price\": 6}";
  check(mf_handle(runtime, "cart-3", &command, &result, &error) == MF_ID_CONFLICT,
        "another command under its id is refused");
  command.id = NULL;
  status = mf_handle(runtime, "cart-3", &command, &result, &error);
  check(status == MF_VERSION_CONFLICT && error.code == status && error.current_version == 1,
        "an expectation that fails tells the real version");
  command.expected_version = 1;
  command.dry_run = true;
  command.no_state = true;
  status = mf_handle(runtime, "cart-3", &command, &result, NULL);
  check(status == MF_OK && result.event_count == 1 && !result.state &&
            version_of(store, "cart-3") == 1,
        "a dry run decides and records nothing");
  mf_result_free(&result);
  mf_runtime_free(runtime);
}

static void no_command_is_refused(mf_store *store) {
  mf_runtime *runtime = with_cart(store);
  mf_result result;
  mf_error error;
  int status = mf_handle(runtime, "cart-3", NULL, &result, &error);
  check(status == MF_INVALID_ARGUMENT && strstr(error.message, "command: "),
        "without a command there is an error, which says so");
  mf_runtime_free(runtime);
}

static void transactions_join(mf_store *store) {
  mf_runtime *runtime = with_cart(store);
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  mf_txn *txn;
  command.type = "AddItem";
  command.data = "{\"price\": 5}";
  mf_begin(store, &txn, NULL);
  command.txn = txn;
  int fine = mf_handle(runtime, "cart-4", &command, &result, NULL) == MF_OK;
  mf_result_free(&result);
  command.data = "{\"price\": 13}"; /* evolve fails */
  fine = fine && mf_handle(runtime, "cart-4", &command, &result, NULL) == MF_SCRIPT_ERROR;
  mf_result_free(&result);
  command.data = "{\"price\": 6}";
  fine = fine && mf_handle(runtime, "cart-5", &command, &result, NULL) == MF_OK;
  mf_result_free(&result);
  fine = fine && version_of(store, "cart-4") == 0 && mf_commit(txn, NULL) == MF_OK;
  check(fine && version_of(store, "cart-4") == 1 && version_of(store, "cart-5") == 1,
        "in a transaction of the host, what succeeded commits together, and what failed left no "
        "trace");
  mf_runtime_free(runtime);
}

/* The runtime is not told what becomes of a transaction of the host. Here others record as many
 * events as were in it, so that versions tell nothing. */
static void aborted_transactions(mf_store *store) {
  mf_runtime *runtime = with_cart(store), *other = with_cart(store);
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  mf_txn *txn;
  int fine = quick(runtime, "cart-70", "AddItem", "{\"price\": 1}") == MF_OK;
  mf_begin(store, &txn, NULL);
  command.txn = txn;
  command.type = "AddItem";
  command.data = "{\"price\": 20}";
  for (int i = 0; i < 2; i++) {
    fine = fine && mf_handle(runtime, "cart-70", &command, &result, NULL) == MF_OK &&
           result.version == i + 2;
    mf_result_free(&result);
  }
  mf_abort(txn);
  for (int i = 0; i < 2; i++)
    fine = fine && quick(other, "cart-70", "AddItem", "{\"price\": 3}") == MF_OK;
  fine = fine && mf_aggregate(runtime, "cart-70", MF_LAST, &result, NULL) == MF_OK &&
         result.version == 3 && has(result.state, "\"total\":7");
  mf_result_free(&result);
  check(fine, "a state that holds what the host has aborted is used for nothing");
  mf_runtime_free(runtime);
  mf_runtime_free(other);
}

/* ---- failures ---- */

static void failures_tell_the_place(mf_store *store) {
  mf_runtime *runtime = with_cart(store);
  mf_result result;
  mf_error error;
  mf_command command = MF_COMMAND_INIT;
  command.type = "AddItem";
  command.data = "{\"price\": 13}";
  int status = mf_handle(runtime, "cart-6", &command, &result, &error);
  const mf_script_error *told = mf_runtime_error(runtime);
  check(status == MF_SCRIPT_ERROR && error.code == status && has(error.message, "thirteen") &&
            has(told->file, "cart.lua") && told->line == 7 && has(told->stream, "cart-6") &&
            told->position == 1 && has(told->event_type, "ItemAdded") &&
            has(told->traceback, "cart.lua:7"),
        "a script error tells file, line, stream, event and traceback");
  check(version_of(store, "cart-6") == 0 && !result.events, "and nothing was recorded");
  status = send(runtime, "cart-6", "AdItem", NULL, &result);
  check(status == MF_UNKNOWN_COMMAND_TYPE && has(mf_runtime_error(runtime)->message, "AddItem"),
        "an unknown type of command is answered with the nearest");
  status = send(runtime, "cart-6", "Wrong", NULL, &result);
  check(status == MF_UNKNOWN_EVENT_TYPE && has(mf_runtime_error(runtime)->message, "ItemAdded"),
        "so is an event that nobody knows");
  status = send(runtime, "crat-6", "AddItem", NULL, &result);
  check(status == MF_INVALID_ARGUMENT && has(mf_runtime_error(runtime)->message, "cart"),
        "and a stream of an unknown category");
  status = send(runtime, "cart-6", "AddItem", "{\"price\": }", &result);
  check(status == MF_INVALID_ARGUMENT && has(mf_runtime_error(runtime)->message, "column 11"),
        "JSON that is none is refused, with the place");
  status = send(runtime, "cart-6", NULL, NULL, &result);
  check(status == MF_INVALID_ARGUMENT, "so is a command without a type");
  check(quick(runtime, "cart-6", "AddItem", "{\"price\": 1}") == MF_OK,
        "the next call is as good as ever");
  mf_runtime_free(runtime);
}

static void limits_hold(mf_store *store) {
  mf_runtime_options options = {0};
  mf_runtime *runtime;
  mf_result result;
  options.size = sizeof options;
  options.budget = 100000;
  options.memory = 1 << 20;
  mf_runtime_new(store, &options, &runtime, NULL);
  mf_load_string(runtime, "cart.lua", cart, strlen(cart), NULL, NULL);
  int status = send(runtime, "cart-7", "Hang", NULL, &result);
  const mf_script_error *told = mf_runtime_error(runtime);
  check(status == MF_BUDGET_EXCEEDED && has(told->stream, "cart-7") &&
            has(told->command_type, "Hang") && has(told->message, "decide of command Hang"),
        "a script that never ends is ended, and the place is told");
  status = send(runtime, "cart-7", "Eat", NULL, &result);
  check(status == MF_BUDGET_EXCEEDED && has(mf_runtime_error(runtime)->command_type, "Eat"),
        "so is one that eats memory");
  check(quick(runtime, "cart-7", "AddItem", "{\"price\": 1}") == MF_OK &&
            version_of(store, "cart-7") == 1,
        "the store and the next call are unharmed");
  mf_runtime_free(runtime);
}

static void print_is_logged(mf_store *store) {
  mf_runtime *runtime = with_cart(store);
  int status = quick(runtime, "cart-8", "Say", "\"Ada\"");
  check(status == MF_OK && strcmp(said, "hello Ada|decide|cart-8|0") == 0,
        "what a script prints goes to the host's log, with its place");
  mf_runtime_free(runtime);
}

/* ---- loading ---- */

static void write_file(const char *folder, const char *name, const char *text) {
  char path[400];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  if (!file || fputs(text, file) < 0 || fclose(file) != 0) exit(2);
}

static void folders_are_domains(mf_store *store, const char *folder) {
  char rules[300], broken[300];
  mf_error error;
  mf_result result;
  snprintf(rules, sizeof rules, "%s/rules", folder);
  snprintf(broken, sizeof broken, "%s/broken", folder);
  if (mkdir(rules, 0700) != 0 || mkdir(broken, 0700) != 0) exit(2);
  write_file(rules, "cart.lua", cart);
  write_file(rules, "shelf.lua", shelf);
  write_file(rules, "library.lua", "return { tax = 19 }");
  write_file(rules, "cart_spec.lua", "error 'a spec is no script'");
  write_file(broken, "a.lua", "return { category = 'fine', initial_state = 0, evolve = {} }");
  write_file(broken, "b.lua", "return {\n  category = ,\n}");
  mf_runtime *runtime = new_runtime(store);
  check(mf_load(runtime, rules, "{\"most\": 10}", &error) == MF_OK,
        "a folder is loaded, but for its libraries and specs");
  check(quick(runtime, "shelf-1", "Put", NULL) == MF_OK &&
            quick(runtime, "cart-9", "AddItem", "{\"price\": 11}") == MF_REJECTED,
        "streams find their deciders by category, and params reach the scripts");
  check(mf_load(runtime, rules, NULL, &error) == MF_INVALID_ARGUMENT &&
            has(error.message, "same category"),
        "a category that is taken is refused");
  int status = mf_load(runtime, broken, NULL, &error);
  const mf_script_error *told = mf_runtime_error(runtime);
  check(status == MF_SCRIPT_ERROR && has(told->file, "b.lua") && told->line == 2 &&
            has(error.message, "b.lua:2:"),
        "a syntax error tells file and line");
  check(send(runtime, "fine-1", "X", NULL, &result) == MF_INVALID_ARGUMENT,
        "and nothing of that folder is loaded");
  check(mf_load(runtime, "/nowhere/at/all", NULL, &error) == MF_NOT_FOUND, "a missing one is told");
  check(mf_load(runtime, "", NULL, &error) == MF_INVALID_ARGUMENT, "an empty path is refused");
  check(mf_load_string(runtime, "x.lua", "return {}", 9, "{", &error) == MF_INVALID_ARGUMENT,
        "so are params that are no JSON");
  check(mf_load_string(runtime, "x.lua", "return 1", 8, NULL, &error) == MF_INVALID_ARGUMENT &&
            has(error.message, "initial_state"),
        "what returns no decider is answered with one");
  check(mf_load_string(runtime, "x.lua", "return { initial_state = 0, evolve = {} }", 41, NULL,
                       &error) == MF_INVALID_ARGUMENT &&
            has(error.message, "category"),
        "a decider that no stream finds is refused");
  check(quick(runtime, "shelf-1", "Put", NULL) == MF_OK, "what was loaded before still works");
  mf_runtime_free(runtime);
  mf_runtime_free(NULL);
}

/* ---- threads ---- */

enum { THREADS = 4, COMMANDS = 200 };

typedef struct job {
  mf_store *store;
  int index, fine;
} job;

/* Each thread has a runtime of its own; all write to a stream of theirs and to a common one. */
static void *work(void *argument) {
  job *j = argument;
  char stream[32];
  mf_runtime *runtime;
  mf_result result;
  j->fine = mf_runtime_new(j->store, NULL, &runtime, NULL) == MF_OK &&
            mf_load_string(runtime, "shelf.lua", shelf, strlen(shelf), NULL, NULL) == MF_OK;
  snprintf(stream, sizeof stream, "shelf-thread-%d", j->index);
  for (int i = 0; j->fine && i < COMMANDS; i++) {
    const char *name = i % 2 ? stream : "shelf-common";
    j->fine = quick(runtime, name, "Put", NULL) == MF_OK;
    if (i % 5 == 0) j->fine = j->fine && quick(runtime, name, "Fail", NULL) == MF_SCRIPT_ERROR;
    if (i % 7 == 0) j->fine = j->fine && quick(runtime, name, "Refuse", NULL) == MF_REJECTED;
  }
  int status = mf_aggregate(runtime, stream, MF_LAST, &result, NULL);
  j->fine = j->fine && status == MF_OK && atoi(result.state) == COMMANDS / 2;
  mf_result_free(&result);
  mf_runtime_free(runtime);
  return NULL;
}

static void threads_have_runtimes(mf_store *store, const char *sentence) {
  pthread_t threads[THREADS];
  job jobs[THREADS];
  int fine = 1;
  for (int i = 0; i < THREADS; i++) {
    jobs[i] = (job){store, i, 0};
    if (pthread_create(&threads[i], NULL, work, &jobs[i]) != 0) exit(2);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    fine = fine && jobs[i].fine;
  }
  check(fine && version_of(store, "shelf-common") == THREADS * COMMANDS / 2, sentence);
}

static void threads_share_commits(const char *folder) {
  char path[300];
  mf_store *store;
  mf_open_options options = {.size = sizeof options, .durability = MF_RELAXED};
  snprintf(path, sizeof path, "%s/shared.fold", folder);
  if (mf_open(path, &options, &store, NULL) != MF_OK) exit(2);
  threads_have_runtimes(store, "where commits are synced, threads share them, and what fails "
                               "leaves the others alone");
  if (mf_close(store) != MF_OK) exit(2);
}

int main(void) {
  char folder[] = "/tmp/moonfold-spec-XXXXXX", command[300];
  mf_store *store;
  if (!mkdtemp(folder) || mf_open(":memory:", NULL, &store, NULL) != MF_OK) return 2;
  commands_lead_to_events(store);
  states_are_folded(store);
  ids_and_expectations(store);
  no_command_is_refused(store);
  transactions_join(store);
  aborted_transactions(store);
  failures_tell_the_place(store);
  limits_hold(store);
  print_is_logged(store);
  folders_are_domains(store, folder);
  threads_have_runtimes(
      store,
      "runtimes in several threads decide on one store, each command on what came before it");
  threads_share_commits(folder);
  check(mf_close(store) == MF_OK, "and the store closes");
  snprintf(command, sizeof command, "rm -rf %s", folder);
  if (system(command) != 0) return 2;
  printf("1..%d\n", number);
  return failures != 0;
}
