/* Opening a store, and those of its methods that run no script: append, read, look-ups,
 * transaction, wait, backup. */
#include "loaded.h"

#include <math.h>
#include <stdio.h>

static const char store_class[] = "moonfold.store";

/* ---- the store at the front of every method ---- */

static mfr_store *to_store(lua_State *L, const mfr_state *state, int index) {
  mfr_store *store = mfr_to_class(L, index, state->store_ref);
  if (!store)
    mfr_misuse(L, state, "store",
               "a store is needed, this is %s: is it store:method(...), with a "
               "colon?",
               mfr_type_name(L, index));
  return store;
}

mfr_store *mfr_check_store(lua_State *L, mfr_state *state, int index) {
  mfr_store *store = to_store(L, state, index);
  if (state->calling)
    mfr_misuse(L, state, "store",
               "a store cannot be called from %s: what it needs to know it sees through its "
               "arguments%s",
               state->calling,
               strcmp(state->calling, "decide") == 0 ? ", or looks up through context" : "");
  mfr_live(L, state, store);
  return store;
}

mf_store *mfr_live(lua_State *L, const mfr_state *state, const mfr_store *store) {
  if (store->store) return store->store;
  mfr_push_error(L, state, MF_CLOSED, "the store \"%s\" is closed", store->path);
  lua_error(L);
  return NULL;
}

static void refuse_in_transaction(lua_State *L, const mfr_state *state, const mfr_store *store,
                                  const char *method) {
  if (store->txn)
    mfr_misuse(L, state, "store", "%s cannot be called inside a transaction: call it after",
               method);
}

int64_t mfr_clock(lua_State *L, mfr_state *state, int index) {
  if (lua_getiuservalue(L, index, MFR_STORE_CLOCK) != LUA_TFUNCTION) {
    lua_pop(L, 1);
    return MF_NOW;
  }
  const char *before = state->calling;
  state->calling = "clock";
  int rc = lua_pcall(L, 0, 1, 0);
  state->calling = before;
  if (rc != LUA_OK) lua_error(L);
  if (!lua_isinteger(L, -1))
    mfr_misuse(L, state, "options.clock",
               "the clock returns microseconds since the epoch as an integer, this returned %s",
               lua_type(L, -1) == LUA_TNUMBER ? "a float" : luaL_typename(L, -1));
  int64_t time = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return time;
}

static int raise_store_error(lua_State *L, const mfr_state *state, const mf_error *error,
                             mfr_text stream, int expected) {
  mfr_push_store_error(L, state, error, stream.data, stream.size, expected);
  return lua_error(L);
}

/* ---- calls that hold something ---- */

void mfr_call_release(mfr_call *call) {
  mfr_close_reader(call);
  mfr_end_context(call);
  if (call->own)
    mf_abort(call->txn);
  else if (call->saved)
    mf_rollback(call->txn, call->savepoint);
  call->own = call->saved = false;
  call->txn = NULL;
  mfr_outcome_end(&call->outcome, false);
}

/* Adds what is known of the place where a script failed. */
void mfr_describe_failure(lua_State *L, const mfr_call *call) {
  if (call->stream.data) mfr_set_string(L, "stream", call->stream.data, call->stream.size);
  bool event = call->event.position != 0 && strcmp(call->phase, "decide") != 0;
  if (event && strcmp(call->phase, "initial_state") != 0) {
    mfr_set_integer(L, "position", call->event.version);
    mfr_set_string(L, "event_type", call->event.type.data, call->event.type.size);
  }
  if (call->command_type.data)
    mfr_set_string(L, "command_type", call->command_type.data, call->command_type.size);
}

/* The error object at 1, of what decide has returned, tells who did. */
static int blame_decide(lua_State *L, const mfr_call *call, const char *code) {
  if (strcmp(code, "invalid_argument") != 0) return 1;
  mfr_describe_failure(L, call);
  int size = call->stream.size > 80 ? 80 : (int)call->stream.size;
  char where[256];
  snprintf(where, sizeof where,
           "decide of command %.*s on stream \"%.*s\" returned no event that "
           "can be recorded: ",
           (int)call->command_type.size, call->command_type.data, size, call->stream.data);
  lua_pushstring(L, where);
  lua_getfield(L, 1, "message");
  lua_concat(L, 2);
  lua_setfield(L, 1, "message");
  return 1;
}

/*
 * Message handler. What a script raises becomes a script_error that tells stream, event and
 * traceback; error objects pass unchanged, but for a refusal outside decide. Upvalues: the state,
 * the call.
 */
static int on_error(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const mfr_call *call = lua_touserdata(L, lua_upvalueindex(2));
  const char *code = mfr_error_code(L, state, 1);
  bool deciding = call->phase && strcmp(call->phase, "decide") == 0;
  if (!call->phase) return 1;
  if (strcmp(call->phase, "decided") == 0) return blame_decide(L, call, code);
  if (*code && (strcmp(code, "rejected") != 0 || deciding)) {
    if (strcmp(code, "rejected") != 0 || !call->stream.data) return 1;
    lua_getfield(L, 1, "stream");
    bool told = !lua_isnil(L, -1);
    lua_settop(L, 1);
    if (!told) mfr_set_string(L, "stream", call->stream.data, call->stream.size);
    return 1;
  }
  char where[256] = "";
  int size = call->stream.size > 80 ? 80 : (int)call->stream.size;
  if (call->event.position != 0 && !deciding)
    snprintf(where, sizeof where, " of event %lld (%.*s) of stream \"%.*s\"",
             (long long)call->event.version, (int)call->event.type.size,
             (const char *)call->event.type.data, size, call->stream.data);
  else if (call->command_type.data && deciding)
    snprintf(where, sizeof where, " of command %.*s on stream \"%.*s\"",
             (int)call->command_type.size, call->command_type.data, size, call->stream.data);
  else
    snprintf(where, sizeof where, " for stream \"%.*s\"", size,
             call->stream.data ? call->stream.data : "");
  if (state->sandbox)
    mfr_sandbox_tostring(L, 1); /* scripts may catch it: without addresses */
  else
    luaL_tolstring(L, 1, NULL);
  mfr_push_error(L, state, MF_SCRIPT_ERROR, "%s%s failed: %s%s", call->phase, where,
                 lua_tostring(L, -1), *code ? " (only decide can refuse)" : "");
  mfr_describe_failure(L, call);
  luaL_traceback(L, L, NULL, 1);
  lua_setfield(L, -2, "traceback");
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "cause");
  return 1;
}

/* The event's bytes go with the reader; where a script failed is still to be told. */
static void keep_event_type(mfr_call *call) {
  mf_bytes *type = &call->event.type;
  if (!call->phase) { /* no script has failed; the last event's bytes may be gone already */
    memset(&call->event, 0, sizeof call->event);
    return;
  }
  if (!type->data || type->data == call->event_type) return;
  if (type->size > sizeof call->event_type) type->size = sizeof call->event_type;
  memcpy(call->event_type, type->data, type->size);
  type->data = call->event_type;
}

int mfr_protect(lua_State *L, mfr_state *state, mfr_call *call, lua_CFunction body, int arguments,
                int results) {
  int base = lua_gettop(L) - arguments;
  const char *calling = state->calling;
  luaL_checkstack(L, 4, "call");
  lua_pushlightuserdata(L, state);
  lua_pushlightuserdata(L, call);
  lua_pushcclosure(L, on_error, 2);
  lua_insert(L, base + 1);
  lua_pushlightuserdata(L, state);
  lua_pushcclosure(L, body, 1);
  lua_insert(L, base + 2);
  lua_pushlightuserdata(L, call);
  lua_insert(L, base + 3);
  int rc = lua_pcall(L, arguments + 1, results, base + 1);
  state->calling = calling;
  if (rc != LUA_OK) {
    keep_event_type(call);
    mfr_call_release(call);
    return lua_error(L);
  }
  lua_remove(L, base + 1);
  return lua_gettop(L) - base;
}

void mfr_call_script(lua_State *L, mfr_state *state, mfr_call *call, const char *phase,
                     int arguments, int results) {
  const char *outer = state->calling;
  int64_t outer_number = 0;
  call->phase = phase;
  state->calling = phase;
  if (state->sandbox) outer_number = mfr_sandbox_enter(L, state, call->bounded);
  call->bounded = 0;
  lua_call(L, arguments, results);
  if (state->sandbox) mfr_sandbox_return(state, outer_number);
  state->calling = outer;
  call->phase = NULL;
}

static void call_failed(lua_State *L, mfr_state *state, mfr_call *call, const mf_error *error,
                        int expected) {
  raise_store_error(L, state, error, call->stream, expected);
}

void mfr_call_begin(lua_State *L, mfr_state *state, mfr_call *call, bool write) {
  mf_error error;
  call->write = write;
  if (call->store->txn) {
    call->txn = call->store->txn;
    call->saved = true;
    call->savepoint = mf_save(call->txn);
    return;
  }
  mf_store *store = mfr_live(L, state, call->store);
  int status =
      write ? mf_begin(store, &call->txn, &error) : mf_begin_read(store, &call->txn, &error);
  if (status != MF_OK) call_failed(L, state, call, &error, 0);
  call->own = true;
}

void mfr_call_commit(lua_State *L, mfr_state *state, mfr_call *call) {
  mf_error error;
  mf_txn *txn = call->txn;
  call->txn = NULL;
  call->saved = false;
  int status = MF_OK;
  if (call->own && !call->write)
    mf_abort(txn);
  else if (call->own)
    status = mf_commit(txn, &error);
  call->own = false;
  mfr_outcome_end(&call->outcome, status == MF_OK);
  if (status != MF_OK) call_failed(L, state, call, &error, 0);
}

/* ---- ranges and readers ---- */

const char *const mfr_read_options[] = {
    "from", "to", "max_count", "types", "backwards", "expected_stream_version", "upcast", NULL};
const char *const mfr_log_options[] = {"from",      "to",     "max_count", "types",
                                       "backwards", "upcast", NULL};

/* Reads options.types, a list of strings, into a userdata that is left on the stack. */
static void check_types(lua_State *L, const mfr_state *state, int index, mf_read_options *options) {
  char path[64];
  if (lua_isnoneornil(L, index) || (lua_getfield(L, index, "types"), lua_isnil(L, -1))) {
    if (lua_isnoneornil(L, index)) lua_pushnil(L);
    return;
  }
  int list = lua_gettop(L);
  if (lua_type(L, list) != LUA_TTABLE)
    mfr_misuse(L, state, "options.types", "a list of event types is needed, this is %s",
               luaL_typename(L, list));
  size_t count = (size_t)lua_rawlen(L, list), keys = 0;
  lua_pushnil(L);
  while (lua_next(L, list)) {
    keys++;
    lua_pop(L, 1);
  }
  if (keys != count) mfr_misuse(L, state, "options.types", "a list of event types is needed");
  mf_bytes *types = lua_newuserdatauv(L, (count + 1) * sizeof *types, 1);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, list, (lua_Integer)i + 1);
    snprintf(path, sizeof path, "options.types[%zu]", i + 1);
    mfr_text text = mfr_check_string(L, state, lua_gettop(L), path);
    types[i] = (mf_bytes){text.data, text.size};
    lua_pop(L, 1);
  }
  lua_pushvalue(L, list);
  lua_setiuservalue(L, -2, 1); /* the strings live as long as the array */
  lua_remove(L, list);
  options->types = types;
  options->type_count = count;
}

/* Leaves two values on the stack: the array of types, and the expectation as given. */
void mfr_check_range(lua_State *L, mfr_state *state, int index, const char *const *names,
                     mfr_range *range) {
  mf_read_options defaults = MF_READ_OPTIONS_INIT;
  mfr_check_options(L, state, index, "options", names);
  range->options = defaults;
  range->options.from = mfr_option_count(L, state, index, "from", 1);
  range->options.to = mfr_option_count(L, state, index, "to", MF_LAST);
  range->options.max_count = mfr_option_count(L, state, index, "max_count", -1);
  range->options.backwards = mfr_option_boolean(L, state, index, "backwards", false);
  if (!lua_isnoneornil(L, index)) {
    lua_getfield(L, index, "upcast");
    mfr_check_upcast(L, state, -1, "options.upcast");
    lua_pop(L, 1);
  }
  check_types(L, state, index, &range->options);
  range->options.expected_version = mfr_check_expected(L, state, index);
  range->expected = lua_gettop(L);
}

void mfr_open_reader(lua_State *L, mfr_state *state, mfr_call *call, const mfr_range *range) {
  mf_error error;
  mf_txn *txn = call->txn ? call->txn : call->store->txn;
  if (call->gathered) {
    mf_reader_rewind(call->gathered, range->options.from, range->options.to);
    call->reader = call->gathered;
    return;
  }
  int status =
      mf_reader_open(mfr_live(L, state, call->store), txn, &range->options, &call->reader, &error);
  if (status != MF_OK) call_failed(L, state, call, &error, range->expected);
}

void mfr_close_reader(mfr_call *call) {
  mf_reader_close(call->reader);
  call->reader = NULL;
}

bool mfr_next(lua_State *L, mfr_state *state, mfr_call *call, mf_event *event) {
  mf_error error;
  int status = mf_reader_next(call->reader, event, &error);
  if (status < 0) call_failed(L, state, call, &error, 0);
  return status == MF_OK;
}

/* ---- append_to_stream ---- */

static const char *const append_options[] = {"expected_stream_version", NULL};

static void set_append_result(lua_State *L, const mf_append_result *result) {
  /* Every key stands in the table already: nothing here allocates, so nothing can fail. */
  mfr_set_integer(L, "next_expected_stream_version", result->version);
  lua_pushboolean(L, result->created);
  lua_setfield(L, -2, "created_new_stream");
  if (result->last_position)
    mfr_set_integer(L, "last_event_global_position", result->last_position);
  else {
    lua_pushnil(L);
    lua_setfield(L, -2, "last_event_global_position");
  }
}

static int append_to_stream(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_append_result result = {0, 0, 1, false, false};
  mf_new_event *events;
  mf_error error;
  lua_settop(L, 4);
  mfr_store *store = mfr_check_store(L, state, 1);
  mfr_text stream = mfr_check_stream(L, state, 2);
  mfr_check_options(L, state, 4, "options", append_options);
  options.expected_version = mfr_check_expected(L, state, 4);
  int expected = lua_gettop(L);
  options.recorded_at = mfr_clock(L, state, 1);
  mfr_check_store(L, state, 1); /* the clock may have closed it */
  mfr_buffer *buffer = mfr_borrow(L, state);
  size_t count = mfr_check_events(L, state, buffer, 3, "events", &events);
  lua_createtable(L, 0, 4);
  set_append_result(L, &result); /* the result is made before the commit */
  mf_bytes name = {stream.data, stream.size};
  mfr_live(L, state, store);
  int status = store->txn ? mf_append(store->txn, name, events, count, &options, &result, &error)
                          : mf_append_to_stream(store->store, name, events, count, &options,
                                                &result, &error);
  if (status != MF_OK) {
    mfr_push_store_error(L, state, &error, stream.data, stream.size, expected);
    mfr_set_event_id(L, &error, events);
    return lua_error(L);
  }
  mfr_give_back(state, buffer);
  set_append_result(L, &result);
  return 1;
}

/* ---- read_stream ---- */

static void push_stream_values(lua_State *L, int store, int *events, int *types) {
  lua_getiuservalue(L, store, MFR_STORE_EVENTS);
  lua_getiuservalue(L, store, MFR_STORE_TYPES);
  *types = lua_gettop(L);
  *events = *types - 1;
}

/* Arguments: call, store, stream, options. */
static int read_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call *call = lua_touserdata(L, 1);
  mfr_range range;
  mf_event event;
  int events, types, upcast = 0;
  mfr_check_range(L, state, 4, mfr_read_options, &range);
  range.options.stream = (mf_bytes){call->stream.data, call->stream.size};
  push_stream_values(L, 2, &events, &types);
  if (!lua_isnil(L, 4) && lua_getfield(L, 4, "upcast") != LUA_TNIL) upcast = lua_gettop(L);
  mfr_open_reader(L, state, call, &range);
  lua_createtable(L, 0, 3);
  lua_newtable(L);
  for (lua_Integer i = 1; mfr_next(L, state, call, &event); i++) {
    mfr_push_event(L, state, &event, events, types);
    call->event = event;
    if (upcast) mfr_upcast(L, state, call, upcast);
    lua_rawseti(L, -2, i);
  }
  lua_setfield(L, -2, "events");
  mfr_set_integer(L, "current_stream_version", mf_reader_version(call->reader));
  lua_pushboolean(L, mf_reader_version(call->reader) > 0);
  lua_setfield(L, -2, "stream_exists");
  mfr_close_reader(call);
  return 1;
}

static int read_stream(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  lua_settop(L, 3);
  call.store = mfr_check_store(L, state, 1);
  call.stream = mfr_check_stream(L, state, 2);
  return mfr_protect(L, state, &call, read_body, 3, 1);
}

/* ---- look-ups ---- */

static int64_t version_of(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_error error;
  int64_t version;
  mfr_store *store = mfr_check_store(L, state, 1);
  mfr_text stream = mfr_check_stream(L, state, 2);
  int status = mf_stream_version(store->store, store->txn, (mf_bytes){stream.data, stream.size},
                                 &version, &error);
  if (status != MF_OK) raise_store_error(L, state, &error, stream, 0);
  return version;
}

static int stream_exists(lua_State *L) {
  lua_pushboolean(L, version_of(L) > 0);
  return 1;
}

static int stream_version(lua_State *L) {
  lua_pushinteger(L, version_of(L));
  return 1;
}

/* ---- transaction ---- */

static void end_transaction(mfr_store *store) {
  mfr_end_iterators(store);
  store->txn = NULL;
}

/* Commits, or aborts, and says so to those who keep states that hold its events. */
static int finish_transaction(mfr_store *store, mf_txn *txn, bool commit, mf_error *error) {
  int status = MF_OK;
  if (commit)
    status = mf_commit(txn, error);
  else
    mf_abort(txn);
  mfr_outcome_end(&store->outcome, commit && status == MF_OK);
  return status;
}

static int transaction(lua_State *L) {
  static const char *const names[] = {"dry_run", NULL};
  mfr_state *state = mfr_of(L);
  mf_error error;
  mfr_text none = {NULL, 0};
  lua_settop(L, 3);
  mfr_store *store = mfr_check_store(L, state, 1);
  if (lua_type(L, 2) != LUA_TFUNCTION)
    mfr_misuse(L, state, "function", "a function is needed, this is %s", mfr_type_name(L, 2));
  mfr_check_options(L, state, 3, "options", names);
  bool dry_run = mfr_option_boolean(L, state, 3, "dry_run", false);
  refuse_in_transaction(L, state, store, "transaction");
  lua_settop(L, 2);
  luaL_checkstack(L, 20, "transaction");
  lua_pushvalue(L, 1);
  /* A dry run reads a snapshot and stages on top of it: it waits for no writer, and is never
   * committed. */
  int status = dry_run ? mf_begin_read(store->store, &store->txn, &error)
                       : mf_begin(store->store, &store->txn, &error);
  if (status != MF_OK) return raise_store_error(L, state, &error, none, 0);
  store->outcome = mfr_outcome_new(NULL);
  store->dry_run = dry_run;
  /* No continuation: a yield across this call is refused by Lua, so that a transaction cannot be
   * left open. */
  int rc = lua_pcall(L, 1, LUA_MULTRET, 0);
  mf_txn *txn = store->txn;
  end_transaction(store);
  status = finish_transaction(store, txn, rc == LUA_OK && !dry_run, &error);
  if (rc != LUA_OK) return lua_error(L); /* the function's own error, unchanged */
  if (status != MF_OK) return raise_store_error(L, state, &error, none, 0);
  return lua_gettop(L) - 1; /* what the function returned: only the store stands below */
}

/* ---- wait, backup ---- */

static int64_t check_timeout(lua_State *L, const mfr_state *state, int index) {
  if (lua_isnoneornil(L, index)) return -1;
  if (lua_type(L, index) != LUA_TNUMBER)
    mfr_misuse(L, state, "timeout", "seconds are needed, this is %s", luaL_typename(L, index));
  lua_Number seconds = lua_tonumber(L, index);
  if (!(seconds >= 0)) mfr_misuse(L, state, "timeout", "it is not negative");
  return seconds > 9e9 ? -1 : (int64_t)ceil(seconds * 1e6);
}

static int wait(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_error error;
  mfr_text none = {NULL, 0};
  bool interrupted;
  mfr_store *store = mfr_check_store(L, state, 1);
  if (!lua_isinteger(L, 2))
    mfr_misuse(L, state, "position", "an integer is needed, this is %s",
               lua_type(L, 2) == LUA_TNUMBER ? "a float" : mfr_type_name(L, 2));
  int64_t position = lua_tointeger(L, 2);
  if (position < 0) mfr_misuse(L, state, "position", "%lld is negative", (long long)position);
  int64_t timeout = check_timeout(L, state, 3);
  refuse_in_transaction(L, state, store, "wait");
  do {
    int status =
        mf_wait(store->store, position, timeout < 0 ? NULL : &timeout, &interrupted, &error);
    if (status < 0) return raise_store_error(L, state, &error, none, 0);
    if (status == MF_OK || !interrupted) {
      lua_pushboolean(L, status == MF_OK);
      return 1;
    }
    /* A signal: its handler may have set a debug hook (lua's Ctrl-C does), which only running Lua
     * code obeys. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->run_hooks_ref);
    lua_call(L, 0, 0);
    mfr_check_store(L, state, 1);
  } while (timeout != 0);
  lua_pushboolean(L, 0);
  return 1;
}

static int backup(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_error error;
  mfr_store *store = mfr_check_store(L, state, 1);
  mfr_text path = mfr_check_path(L, state, 2, "path");
  refuse_in_transaction(L, state, store, "backup");
  if (mf_backup(store->store, path.data, &error) != MF_OK) {
    mfr_push_store_error(L, state, &error, NULL, 0, 0);
    if (error.code == MF_INVALID_ARGUMENT) mfr_set_string(L, "path", "path", 4);
    return lua_error(L);
  }
  return 0;
}

/* ---- closing ---- */

static int close_store(lua_State *L, mfr_state *state, mfr_store *store) {
  if (!store->store) return 0;
  if (store->txn) { /* only when the state itself is being closed */
    mf_txn *txn = store->txn;
    end_transaction(store);
    finish_transaction(store, txn, false, NULL);
  }
  int status = mf_close(store->store);
  if (status == MF_BUSY) /* a finalizer, while a command is being handled */
    return mfr_misuse(L, state, "store", "a call on it is under way: close it after");
  store->store = NULL;
  if (status == MF_OK) return 0;
  mfr_push_error(L, state, status, "closing \"%s\": %s", store->path, mf_strerror(status));
  return lua_error(L);
}

static int store_close(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_store *store = to_store(L, state, 1);
  if (!store->store) return 0;
  mfr_check_store(L, state, 1);
  refuse_in_transaction(L, state, store, "close");
  return close_store(L, state, store);
}

static int store_gc(lua_State *L) {
  mfr_state *state = mfr_of(L);
  return close_store(L, state, to_store(L, state, 1));
}

static int store_tostring(lua_State *L) {
  const mfr_store *store = to_store(L, mfr_of(L), 1);
  lua_pushfstring(L, "moonfold store \"%s\" (%s", store->path, store->store ? "open" : "closed");
  if (store->txn) {
    lua_pushliteral(L, ", in a transaction");
    lua_concat(L, 2);
  }
  if (store->iterators > 0) {
    lua_pushfstring(L, ", %d iterator%s%s", store->iterators, store->iterators > 1 ? "s" : "",
                    store->store ? "" : " left");
    lua_concat(L, 2);
  }
  lua_pushliteral(L, ")");
  lua_concat(L, 2);
  return 1;
}

/* ---- opening ---- */

static mf_durability check_durability(lua_State *L, const mfr_state *state, int index) {
  static const char *const names[] = {"full", "relaxed", "none", NULL};
  const char *path = "options.durability";
  if (lua_isnoneornil(L, index) || lua_getfield(L, index, "durability") == LUA_TNIL)
    return MF_DURABILITY_ANY;
  mfr_text text = mfr_check_string(L, state, lua_gettop(L), path);
  for (int i = 0; names[i]; i++)
    if (strcmp(text.data, names[i]) == 0) return (mf_durability)(MF_FULL + i);
  const char *nearest = mfr_nearest(text.data, names);
  mfr_misuse(L, state, path, "unknown durability \"%.40s\": %s%s%s", text.data,
             nearest ? "did you mean \"" : "there are full, relaxed and none",
             nearest ? nearest : "", nearest ? "\"?" : "");
  return MF_FULL;
}

/* Makes the userdata with everything that can fail for want of memory before the file is opened. */
mfr_store *mfr_new_store(lua_State *L, const mfr_state *state, mfr_text path) {
  mfr_store *store = lua_newuserdatauv(L, sizeof *store + path.size + 1, MFR_STORE_VALUES);
  memset(store, 0, sizeof *store);
  memcpy(store->path, path.data, path.size + 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->store_ref);
  lua_setmetatable(L, -2);
  lua_newtable(L);
  lua_setiuservalue(L, -2, MFR_STORE_TYPES);
  return store;
}

static mfr_store *new_store(lua_State *L, mfr_state *state, mfr_text path, int options) {
  mfr_store *store = mfr_new_store(L, state, path);
  store->number = ++state->stores;
  if (!lua_isnoneornil(L, options)) {
    lua_getfield(L, options, "clock");
    lua_setiuservalue(L, -2, MFR_STORE_CLOCK);
  }
  return store;
}

int mfr_open(lua_State *L) {
  static const char *const names[] = {"create", "read_only",      "durability",
                                      "clock",  "tamper_evident", NULL};
  mfr_state *state = mfr_of(L);
  mf_open_options options = {.size = sizeof options};
  mf_error error;
  lua_settop(L, 2);
  mfr_text path = mfr_check_string(L, state, 1, "path");
  if (path.size == 0 || strlen(path.data) != path.size)
    mfr_misuse(L, state, "path",
               "a path is not empty and has no NUL: name a file, or \":memory:\"");
  if (mfr_check_options(L, state, 2, "options", names)) {
    options.no_create = !mfr_option_boolean(L, state, 2, "create", true);
    options.read_only = mfr_option_boolean(L, state, 2, "read_only", false);
    options.tamper_evident = mfr_option_boolean(L, state, 2, "tamper_evident", false);
    options.durability = check_durability(L, state, 2);
    if (lua_getfield(L, 2, "clock") != LUA_TNIL && lua_type(L, -1) != LUA_TFUNCTION)
      mfr_misuse(L, state, "options.clock", "a function is needed, this is %s",
                 luaL_typename(L, -1));
  }
  if (state->calling)
    mfr_misuse(L, state, "store", "a store cannot be opened from %s", state->calling);
  mfr_store *store = new_store(L, state, path, 2);
  int status = mf_open(path.data, &options, &store->store, &error);
  if (status == MF_NO_MEMORY || status == MF_IO) {
    /* Stores that nobody closed hold address space and descriptors, which the collector knows
     * nothing of. */
    lua_gc(L, LUA_GCCOLLECT, 0);
    status = mf_open(path.data, &options, &store->store, &error);
  }
  if (status != MF_OK) {
    mfr_push_store_error(L, state, &error, NULL, 0, 0);
    if (error.code == MF_INVALID_ARGUMENT)
      mfr_set_string(L, "path", "path", 4);
    else
      mfr_set_string(L, "file", path.data, path.size);
    return lua_error(L);
  }
  store->seed = mf_store_seed(store->store);
  mfr_events_open(L, store->seed);
  lua_setiuservalue(L, -2, MFR_STORE_EVENTS);
  return 1;
}

static const luaL_Reg methods[] = {{"append_to_stream", append_to_stream},
                                   {"read_stream", read_stream},
                                   {"events", mfr_events_iterator},
                                   {"all_events", mfr_all_events},
                                   {"aggregate_stream", mfr_aggregate_stream},
                                   {"aggregate_streams", mfr_aggregate_streams},
                                   {"stream_exists", stream_exists},
                                   {"stream_version", stream_version},
                                   {"streams", mfr_streams},
                                   {"handle", mfr_handle},
                                   {"attempt", mfr_attempt},
                                   {"decide", mfr_decide},
                                   {"transaction", transaction},
                                   {"use", mfr_use},
                                   {"wait", wait},
                                   {"backup", backup},
                                   {"code", mfr_code},
                                   {"codes", mfr_codes},
                                   {"kept", mfr_kept},
                                   {"commands", mfr_commands},
                                   {"drop_snapshots", mfr_drop_snapshots},
                                   {"close", store_close},
                                   {NULL, NULL}};

static const luaL_Reg meta[] = {
    {"__gc", store_gc}, {"__close", store_close}, {"__tostring", store_tostring}, {NULL, NULL}};

void mfr_stores_open(lua_State *L, mfr_state *state) {
  mfr_class(L, store_class, methods, meta);
  state->store_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
