/* What a store holds, for the command line: sizes, readers, events by type and by code. */
#include "host.h"

static void set_reading(lua_State *L, const mf_stats *stats) {
  int told = stats->readers < MF_READERS_TOLD ? stats->readers : MF_READERS_TOLD;
  lua_createtable(L, told, 0);
  for (int i = 0; i < told; i++) {
    lua_createtable(L, 0, 2);
    mfr_set_integer(L, "process", stats->reading[i].process);
    mfr_set_integer(L, "commits_behind", stats->reading[i].commits_behind);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "reading");
}

/* Sets the field `snapshots_by_code`: { digest =, snapshots =, bytes = }, ... */
static void set_snapshots(lua_State *L, const mfr_state *state, mf_store *store) {
  enum { MOST = 64 };
  mf_snapshot_stats list[MOST];
  mf_error error;
  size_t count;
  char hex[2 * MF_DIGEST_SIZE + 1];
  if (mf_snapshots_by_digest(store, list, MOST, &count, &error) != MF_OK)
    mfr_raise_store_error(L, state, &error);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 0, 3);
    mfr_write_hex(hex, list[i].digest, MF_DIGEST_SIZE);
    mfr_set_string(L, "digest", hex, strlen(hex));
    mfr_set_integer(L, "snapshots", list[i].snapshots);
    mfr_set_integer(L, "bytes", list[i].bytes);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "snapshots_by_code");
}

/* host.stats(store) -> table with the fields of mf_stats */
int mfr_host_stats(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const mfr_store *store = mfr_check_store(L, state, 1);
  mf_stats stats = {.size = sizeof stats};
  mf_error error;
  if (mf_stats_of(store->store, &stats, &error) != MF_OK) mfr_raise_store_error(L, state, &error);
  lua_createtable(L, 0, 16);
  mfr_set_integer(L, "events", stats.events);
  mfr_set_integer(L, "streams", stats.streams);
  mfr_set_integer(L, "types", stats.types);
  mfr_set_integer(L, "created_at", stats.created_at);
  mfr_set_integer(L, "format", stats.format);
  mfr_set_integer(L, "page_size", stats.page_size);
  mfr_set_integer(L, "file_bytes", (lua_Integer)stats.file_bytes);
  mfr_set_integer(L, "used_bytes", (lua_Integer)stats.used_bytes);
  mfr_set_integer(L, "free_bytes", (lua_Integer)stats.free_bytes);
  mfr_set_integer(L, "pinned_bytes", (lua_Integer)stats.pinned_bytes);
  mfr_set_integer(L, "log_bytes", (lua_Integer)stats.log_bytes);
  mfr_set_integer(L, "index_bytes", (lua_Integer)stats.index_bytes);
  mfr_set_integer(L, "reader_slots", stats.reader_slots);
  mfr_set_integer(L, "readers", stats.readers);
  if (stats.tamper_evident && stats.events > 0) {
    mfr_push_link(L, stats.events, stats.link);
    lua_setfield(L, -2, "link");
  }
  set_reading(L, &stats);
  set_snapshots(L, state, store->store);
  return 1;
}

/* Adds to a field of the table at index. */
static void add_to(lua_State *L, int index, const char *field, lua_Integer more) {
  lua_getfield(L, index, field);
  lua_Integer sum = lua_tointeger(L, -1) + more;
  lua_pop(L, 1);
  lua_pushinteger(L, sum);
  lua_setfield(L, index, field);
}

typedef struct tally {
  lua_Integer events, bytes;
} tally;

/* Adds what was counted for a type to census[type]. */
static void settle(lua_State *L, int census, const char *type, size_t size, tally *t) {
  if (t->events == 0) return;
  lua_pushlstring(L, type, size);
  if (lua_gettable(L, census) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, type, size);
    lua_pushvalue(L, -2);
    lua_settable(L, census);
  }
  add_to(L, lua_gettop(L), "events", t->events);
  add_to(L, lua_gettop(L), "bytes", t->bytes);
  lua_pop(L, 1);
  *t = (tally){0, 0};
}

/* The text of the digest of the code that decided the event, "" when nothing is known of it. */
static void code_of(const mf_event *event, char hex[2 * MF_DIGEST_SIZE + 1]) {
  mf_bytes code = mf_event_decision(event, MF_DECISION_CODE);
  *hex = '\0';
  if (code.size == MF_DIGEST_SIZE) mfr_write_hex(hex, code.data, code.size);
}

/* Arguments: call, store, from, to, census by type, census by code. */
static int census_body(lua_State *L) {
  enum { BY_TYPE = 5, BY_CODE };
  mfr_state *state = mfr_of(L);
  mfr_call *call = lua_touserdata(L, 1);
  mfr_range range = {MF_READ_OPTIONS_INIT, 0};
  mf_event event;
  char type[MF_TYPE_MAX], code[2 * MF_DIGEST_SIZE + 1] = "", hex[2 * MF_DIGEST_SIZE + 1];
  size_t type_size = 0;
  tally of_type = {0, 0}, of_code = {0, 0};
  range.options.from = lua_tointeger(L, 3);
  range.options.to = lua_tointeger(L, 4);
  mfr_open_reader(L, state, call, &range);
  while (mfr_next(L, state, call, &event)) {
    if (event.type.size != type_size || memcmp(event.type.data, type, type_size) != 0) {
      settle(L, BY_TYPE, type, type_size, &of_type);
      type_size = event.type.size;
      memcpy(type, event.type.data, type_size);
    }
    code_of(&event, hex);
    if (strcmp(hex, code) != 0) {
      settle(L, BY_CODE, code, strlen(code), &of_code);
      strcpy(code, hex);
    }
    lua_Integer bytes = (lua_Integer)(event.data.size + event.metadata.size);
    of_type = (tally){of_type.events + 1, of_type.bytes + bytes};
    of_code = (tally){of_code.events + 1, of_code.bytes + bytes};
  }
  settle(L, BY_TYPE, type, type_size, &of_type);
  settle(L, BY_CODE, code, strlen(code), &of_code);
  mfr_close_reader(call);
  return 0;
}

/*
 * host.census(store, from, to, types, codes): adds to types[type] how many events of the log from
 * one position to another have this type, and how many bytes of data and metadata; and the same to
 * codes[digest of the code that decided], "" where nothing is known of it.
 */
int mfr_host_census(lua_State *L) {
  return mfr_host_call(L, census_body, 5, 0);
}

/* Arguments: call, store, from, to, counts. */
static int busy_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call *call = lua_touserdata(L, 1);
  mfr_range range = {MF_READ_OPTIONS_INIT, 0};
  mf_event event;
  range.options.from = lua_tointeger(L, 3);
  range.options.to = lua_tointeger(L, 4);
  mfr_open_reader(L, state, call, &range);
  while (mfr_next(L, state, call, &event)) {
    lua_pushlstring(L, event.stream.data, event.stream.size);
    lua_pushvalue(L, -1);
    lua_Integer count = lua_rawget(L, 5) == LUA_TNUMBER ? lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    lua_pushinteger(L, count + 1);
    lua_rawset(L, 5);
  }
  mfr_close_reader(call);
  return 0;
}

/* host.busy(store, from, to, counts): adds to counts[stream] how many events of the log from one
 * position to another it has. */
int mfr_host_busy(lua_State *L) {
  return mfr_host_call(L, busy_body, 4, 0);
}

/* Arguments: call, store. */
static int span_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call *call = lua_touserdata(L, 1);
  lua_pushinteger(L, 0);
  for (int backwards = 0; backwards < 2; backwards++) {
    mfr_range range = {MF_READ_OPTIONS_INIT, 0};
    mf_event event;
    range.options.max_count = 1;
    range.options.backwards = backwards != 0;
    mfr_open_reader(L, state, call, &range);
    if (mfr_next(L, state, call, &event)) {
      lua_pushinteger(L, event.position);
      lua_replace(L, 3);
      lua_pushinteger(L, event.recorded_at);
    } else
      lua_pushnil(L);
    mfr_close_reader(call);
  }
  return 3;
}

/* host.span(store) -> the log's last position, 0 when it is empty; when its first and its last
 * event were recorded. Whatever their data is: it is not decoded. */
int mfr_host_span(lua_State *L) {
  return mfr_host_call(L, span_body, 1, 3);
}
