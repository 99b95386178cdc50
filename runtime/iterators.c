/* events, all_events, streams: iterators for the generic for, which closes them on every way out.
 */
#include "internal.h"

/* A userdata. User values: 1 the store, 2 the metatable of events, 3 type names, 4 the upcast table
 * or nil. */
typedef struct mfr_iterator {
  mfr_store *store; /* NULL: closed */
  mf_reader *reader;
  mf_streams *streams;
  mf_commands *commands;
  bool in_transaction;
  struct mfr_iterator *next; /* of those made in the transaction */
} mfr_iterator;

enum { ITERATOR_STORE = 1, ITERATOR_EVENTS, ITERATOR_TYPES, ITERATOR_UPCAST, ITERATOR_VALUES = 4 };

static void unlink_iterator(mfr_iterator *it) {
  if (!it->in_transaction) return;
  for (mfr_iterator **at = &it->store->in_transaction; *at; at = &(*at)->next)
    if (*at == it) {
      *at = it->next;
      break;
    }
  it->in_transaction = false;
}

static void close_iterator(mfr_iterator *it) {
  if (!it->store) return;
  unlink_iterator(it);
  mf_reader_close(it->reader);
  mf_streams_close(it->streams);
  mf_commands_close(it->commands);
  it->store->iterators--;
  it->store = NULL;
  it->reader = NULL;
  it->streams = NULL;
  it->commands = NULL;
}

void mfr_end_iterators(mfr_store *store) {
  while (store->in_transaction)
    close_iterator(store->in_transaction);
}

static int iterator_close(lua_State *L) {
  const mfr_state *state = mfr_of(L);
  mfr_iterator *it = mfr_to_class(L, 1, state->event_iterator_ref);
  if (!it) it = mfr_to_class(L, 1, state->stream_iterator_ref);
  if (it) close_iterator(it);
  return 0;
}

static mfr_iterator *check_iterator(lua_State *L, const mfr_state *state, int ref) {
  mfr_iterator *it = mfr_to_class(L, 1, ref);
  if (!it)
    mfr_misuse(L, state, "iterator",
               "it is called by for ... in, with what store:events and "
               "its like return; this is %s",
               mfr_type_name(L, 1));
  return it;
}

/* ---- events ---- */

static int raise_and_close(lua_State *L, mfr_state *state, mfr_iterator *it,
                           const mf_error *error) {
  close_iterator(it);
  return mfr_raise_store_error(L, state, error);
}

/*
 * Arguments: call, iterator, event, its stream, its type. The two strings stand here for the
 * messages: the upcaster may close the iterator and change the event.
 */
static int upcast_body(lua_State *L) {
  mfr_call *call = lua_touserdata(L, 1);
  size_t size;
  call->stream.data = lua_tolstring(L, 4, &call->stream.size);
  call->event.type.data = lua_tolstring(L, 5, &size);
  call->event.type.size = size;
  lua_getiuservalue(L, 2, ITERATOR_UPCAST);
  lua_pushvalue(L, 3);
  mfr_upcast(L, mfr_of(L), call, 6);
  return 1;
}

/* While a script runs, an iterator that it was given must not be moved. */
static void refuse_in_script(lua_State *L, const mfr_state *state) {
  if (state->calling) mfr_misuse(L, state, "iterator", "it cannot be used in %s", state->calling);
}

static int next_event(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_event event;
  mf_error error;
  lua_settop(L, 1);
  mfr_iterator *it = check_iterator(L, state, state->event_iterator_ref);
  if (!it->store) return 0;
  refuse_in_script(L, state);
  int status = mf_reader_next(it->reader, &event, &error);
  if (status < 0) return raise_and_close(L, state, it, &error);
  if (status == MF_DONE) {
    close_iterator(it);
    return 0;
  }
  lua_getiuservalue(L, 1, ITERATOR_EVENTS);
  lua_getiuservalue(L, 1, ITERATOR_TYPES);
  mfr_push_event(L, state, &event, 2, 3);
  if (lua_getiuservalue(L, 1, ITERATOR_UPCAST) == LUA_TNIL) {
    lua_pop(L, 1);
    return 1;
  }
  lua_pop(L, 1);
  mfr_call call = {0};
  call.event = event;
  lua_pushvalue(L, 1);
  lua_insert(L, -2);
  lua_pushlstring(L, event.stream.data, event.stream.size);
  lua_pushlstring(L, event.type.data, event.type.size);
  return mfr_protect(L, state, &call, upcast_body, 4, 1);
}

/* Makes an iterator that is closed already; it opens when everything that can fail has been done.
 */
static mfr_iterator *new_iterator(lua_State *L, int ref) {
  mfr_iterator *it = lua_newuserdatauv(L, sizeof *it, ITERATOR_VALUES);
  memset(it, 0, sizeof *it);
  lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, ITERATOR_STORE);
  return it;
}

static void iterator_opened(mfr_iterator *it, mfr_store *store) {
  it->store = store;
  store->iterators++;
  if (!store->txn) return;
  it->in_transaction = true;
  it->next = store->in_transaction;
  store->in_transaction = it;
}

/* Returns next, iterator, nil, iterator (to be closed). The iterator is on top. */
static int return_iterator(lua_State *L, lua_CFunction next) {
  int it = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, next, 1);
  lua_pushvalue(L, it);
  lua_pushnil(L);
  lua_pushvalue(L, it);
  return 4;
}

static int open_events(lua_State *L, mfr_state *state, mfr_store *store, mfr_text stream,
                       int options, const char *const *names) {
  mfr_range range;
  mf_error error;
  luaL_checkstack(L, 20, "iterator");
  mfr_check_range(L, state, options, names, &range);
  range.options.stream = (mf_bytes){stream.data, stream.size};
  mfr_iterator *it = new_iterator(L, state->event_iterator_ref);
  lua_getiuservalue(L, 1, MFR_STORE_EVENTS);
  lua_setiuservalue(L, -2, ITERATOR_EVENTS);
  lua_getiuservalue(L, 1, MFR_STORE_TYPES);
  lua_setiuservalue(L, -2, ITERATOR_TYPES);
  if (!lua_isnil(L, options)) {
    lua_getfield(L, options, "upcast");
    lua_setiuservalue(L, -2, ITERATOR_UPCAST);
  }
  int status =
      mf_reader_open(mfr_live(L, state, store), store->txn, &range.options, &it->reader, &error);
  if (status != MF_OK) {
    mfr_push_store_error(L, state, &error, stream.data, stream.size, range.expected);
    return lua_error(L);
  }
  iterator_opened(it, store);
  return return_iterator(L, next_event);
}

int mfr_events_iterator(lua_State *L) {
  mfr_state *state = mfr_of(L);
  lua_settop(L, 3);
  mfr_store *store = mfr_check_store(L, state, 1);
  mfr_text stream = mfr_check_stream(L, state, 2);
  return open_events(L, state, store, stream, 3, mfr_read_options);
}

int mfr_all_events(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text none = {NULL, 0};
  lua_settop(L, 2);
  mfr_store *store = mfr_check_store(L, state, 1);
  return open_events(L, state, store, none, 2, mfr_log_options);
}

/* ---- streams ---- */

static int next_stream(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_bytes name;
  mf_error error;
  int64_t version;
  mfr_iterator *it = check_iterator(L, state, state->stream_iterator_ref);
  if (!it->store) return 0;
  refuse_in_script(L, state);
  int status = mf_streams_next(it->streams, &name, &version, &error);
  if (status < 0) return raise_and_close(L, state, it, &error);
  if (status == MF_DONE) {
    close_iterator(it);
    return 0;
  }
  lua_pushlstring(L, name.data, name.size);
  lua_pushinteger(L, version);
  return 2;
}

int mfr_streams(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_error error;
  mfr_text prefix = {"", 0};
  lua_settop(L, 2);
  mfr_store *store = mfr_check_store(L, state, 1);
  if (!lua_isnil(L, 2)) prefix = mfr_check_string(L, state, 2, "prefix");
  luaL_checkstack(L, 10, "iterator");
  mfr_iterator *it = new_iterator(L, state->stream_iterator_ref);
  int status = mf_streams_open(mfr_live(L, state, store), store->txn,
                               (mf_bytes){prefix.data, prefix.size}, &it->streams, &error);
  if (status != MF_OK) mfr_raise_store_error(L, state, &error);
  iterator_opened(it, store);
  return return_iterator(L, next_stream);
}

/* ---- kept commands ---- */

static int next_command(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_kept_command kept;
  mf_error error;
  mfr_iterator *it = check_iterator(L, state, state->stream_iterator_ref);
  if (!it->store) return 0;
  refuse_in_script(L, state);
  int status = mf_commands_next(it->commands, &kept, &error);
  if (status < 0) return raise_and_close(L, state, it, &error);
  if (status == MF_DONE) {
    close_iterator(it);
    return 0;
  }
  mfr_push_kept(L, state, &kept);
  return 1;
}

int mfr_commands(lua_State *L) {
  static const char *const names[] = {"since", "prefix", NULL};
  mfr_state *state = mfr_of(L);
  mf_error error;
  mfr_text prefix = {"", 0};
  int64_t since = INT64_MIN;
  lua_settop(L, 2);
  mfr_store *store = mfr_check_store(L, state, 1);
  if (mfr_check_options(L, state, 2, "options", names)) {
    if (lua_getfield(L, 2, "prefix") != LUA_TNIL)
      prefix = mfr_check_string(L, state, 3, "options.prefix");
    if (lua_getfield(L, 2, "since") != LUA_TNIL) {
      if (!lua_isinteger(L, 4))
        mfr_misuse(L, state, "options.since",
                   "microseconds since the epoch are needed, an integer: this is %s",
                   lua_type(L, 4) == LUA_TNUMBER ? "a float" : luaL_typename(L, 4));
      since = lua_tointeger(L, 4);
    }
  }
  luaL_checkstack(L, 10, "iterator");
  mfr_iterator *it = new_iterator(L, state->stream_iterator_ref);
  int status = mf_commands_open(mfr_live(L, state, store), since,
                                (mf_bytes){prefix.data, prefix.size}, &it->commands, &error);
  if (status != MF_OK) mfr_raise_store_error(L, state, &error);
  iterator_opened(it, store);
  return return_iterator(L, next_command);
}

static const luaL_Reg no_methods[] = {{NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", iterator_close}, {"__close", iterator_close}, {NULL, NULL}};

void mfr_iterators_open(lua_State *L, mfr_state *state) {
  mfr_class(L, "moonfold.events", no_methods, meta);
  state->event_iterator_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  mfr_class(L, "moonfold.streams", no_methods, meta);
  state->stream_iterator_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
