/*
 * A Lua module for the benchmarks that run in the moonfold binary: what the same work costs in C,
 * on the store and on bare LMDB, and the clock. `require "yardstick"`
 *
 *   cpu()                         CPU time of the process, in nanoseconds
 *   open(store, bare)             copies every event's payload of the store to a new file of LMDB:
 *                                 a tree from stream names to the first event's number, and one
 * from numbers to payloads. The events of a stream must stand together bare_read(streams, count)
 * reads `count` streams picked at random of those numbered from 0; store_read(streams, count) the
 * same through the store's reader. Both return nanoseconds of CPU for one stream commit(count)
 * `count` commits of one put of 200 bytes; nanoseconds for one handle(count)               what a
 * command must do to the file, `count` times: a stream's head is read, an event of 100 bytes joins
 * the last block of a log, the head is written, and it is committed; nanoseconds for one
 * fill(count)                   makes that log `count` blocks longer before close()
 */
#include "bench.h"

#include <lauxlib.h>
#include <lua.h>

static struct {
  mf_store *store;
  MDB_env *env;
  MDB_txn *read;
  MDB_dbi names, events, puts, blocks;
  uint64_t next, seed;
} yard = {.seed = 88172645463325252u};

static int lua_cpu(lua_State *L) {
  lua_pushnumber(L, cpu());
  return 1;
}

static void copy_events(void) {
  mf_error failure;
  mf_reader *reader;
  mf_event event;
  MDB_txn *txn;
  mf_read_options options = MF_READ_OPTIONS_INIT;
  DB(mdb_txn_begin(yard.env, NULL, 0, &txn));
  MF(mf_reader_open(yard.store, NULL, &options, &reader, &failure));
  while (mf_reader_next(reader, &event, &failure) == MF_OK) {
    uint64_t number = (uint64_t)event.position;
    MDB_val key = {sizeof number, &number};
    MDB_val value = {event.data.size, (void *)(uintptr_t)event.data.data};
    DB(mdb_put(txn, yard.events, &key, &value, MDB_APPEND));
    if (event.version > 1) continue;
    MDB_val name = {event.stream.size, (void *)(uintptr_t)event.stream.data};
    DB(mdb_put(txn, yard.names, &name, &key, 0));
  }
  mf_reader_close(reader);
  DB(mdb_txn_commit(txn));
}

static int lua_open(lua_State *L) {
  MDB_txn *txn;
  yard.store = open_store(luaL_checkstring(L, 1), MF_DURABILITY_ANY);
  DB(mdb_env_create(&yard.env));
  DB(mdb_env_set_mapsize(yard.env, (size_t)64 << 30));
  DB(mdb_env_set_maxdbs(yard.env, 4));
  DB(mdb_env_open(yard.env, luaL_checkstring(L, 2), MDB_NOSUBDIR | MDB_NOSYNC, 0644));
  DB(mdb_txn_begin(yard.env, NULL, 0, &txn));
  DB(mdb_dbi_open(txn, "names", MDB_CREATE, &yard.names));
  DB(mdb_dbi_open(txn, "events", MDB_CREATE | MDB_INTEGERKEY, &yard.events));
  DB(mdb_dbi_open(txn, "puts", MDB_CREATE | MDB_INTEGERKEY, &yard.puts));
  DB(mdb_dbi_open(txn, "blocks", MDB_CREATE | MDB_INTEGERKEY, &yard.blocks));
  DB(mdb_txn_commit(txn));
  copy_events();
  DB(mdb_txn_begin(yard.env, NULL, MDB_RDONLY, &yard.read));
  mdb_txn_reset(yard.read);
  return 0;
}

/* One stream: its first number, then its ten payloads with a cursor. */
static unsigned read_ten(mf_bytes name) {
  unsigned sum = 0;
  MDB_cursor *cursor;
  MDB_val key = {name.size, (void *)(uintptr_t)name.data}, value;
  DB(mdb_txn_renew(yard.read));
  DB(mdb_get(yard.read, yard.names, &key, &value));
  DB(mdb_cursor_open(yard.read, yard.events, &cursor));
  DB(mdb_cursor_get(cursor, &value, &key, MDB_SET_KEY));
  for (int i = 0; i < 10; i++) {
    sum += ((const unsigned char *)key.mv_data)[key.mv_size - 1];
    if (mdb_cursor_get(cursor, &value, &key, MDB_NEXT) != 0) break;
  }
  mdb_cursor_close(cursor);
  mdb_txn_reset(yard.read);
  return sum;
}

static int lua_bare_read(lua_State *L) {
  uint64_t streams = (uint64_t)luaL_checkinteger(L, 1);
  lua_Integer count = luaL_checkinteger(L, 2);
  volatile unsigned sink = 0;
  char name[32];
  double start = cpu();
  for (lua_Integer i = 0; i < count; i++)
    sink += read_ten(stream_name(name, random_next(&yard.seed) % streams));
  lua_pushnumber(L, (cpu() - start) / (double)count);
  return 1;
}

static int lua_store_read(lua_State *L) {
  uint64_t streams = (uint64_t)luaL_checkinteger(L, 1);
  lua_Integer count = luaL_checkinteger(L, 2);
  char name[32];
  double start = cpu();
  for (lua_Integer i = 0; i < count; i++)
    read_all(yard.store, stream_name(name, random_next(&yard.seed) % streams), 1, MF_LAST);
  lua_pushnumber(L, (cpu() - start) / (double)count);
  return 1;
}

static int lua_commit(lua_State *L) {
  lua_Integer count = luaL_checkinteger(L, 1);
  double start = cpu();
  for (lua_Integer i = 0; i < count; i++) {
    MDB_txn *txn;
    uint64_t number = ++yard.next;
    mf_bytes bytes = payload(number);
    MDB_val key = {sizeof number, &number};
    MDB_val value = {bytes.size, (void *)(uintptr_t)bytes.data};
    DB(mdb_txn_begin(yard.env, NULL, 0, &txn));
    DB(mdb_put(txn, yard.puts, &key, &value, MDB_APPEND));
    DB(mdb_txn_commit(txn));
  }
  lua_pushnumber(L, (cpu() - start) / (double)count);
  return 1;
}

/* The last block with one event more, or a new one when it is full. */
static void extend_log(MDB_txn *txn, uint64_t number, mf_bytes event) {
  enum { FULL = 2 * 4096 - 16 };
  char copy[FULL];
  MDB_cursor *cursor;
  MDB_val key = {0, NULL}, last = {0, NULL};
  DB(mdb_cursor_open(txn, yard.blocks, &cursor));
  bool fits =
      mdb_cursor_get(cursor, &key, &last, MDB_LAST) == 0 && last.mv_size + event.size <= FULL;
  if (fits)
    memcpy(copy, last.mv_data, last.mv_size);
  else {
    key = (MDB_val){sizeof number, &number};
    last.mv_size = 0;
  }
  MDB_val value = {last.mv_size + event.size, NULL};
  DB(mdb_cursor_put(cursor, &key, &value, MDB_RESERVE | (fits ? 0 : MDB_APPEND)));
  memcpy(value.mv_data, copy, last.mv_size);
  memcpy((char *)value.mv_data + last.mv_size, event.data, event.size);
  mdb_cursor_close(cursor);
}

/* Fills the log of handle() with so many full blocks, 100 in a commit. */
static int lua_fill(lua_State *L) {
  static char block[2 * 4096 - 16];
  lua_Integer count = luaL_checkinteger(L, 1);
  MDB_txn *txn = NULL;
  for (lua_Integer i = 0; i < count; i++) {
    uint64_t number = ++yard.next;
    MDB_val key = {sizeof number, &number}, value = {sizeof block, block};
    if (i % 100 == 0) DB(mdb_txn_begin(yard.env, NULL, 0, &txn));
    DB(mdb_put(txn, yard.blocks, &key, &value, MDB_APPEND));
    if (i % 100 == 99 || i + 1 == count) DB(mdb_txn_commit(txn));
  }
  return 0;
}

static int lua_handle(lua_State *L) {
  lua_Integer count = luaL_checkinteger(L, 1);
  static char stream[] = "stream";
  char head[40] = {0};
  double start = cpu();
  for (lua_Integer i = 0; i < count; i++) {
    MDB_txn *txn;
    uint64_t number = ++yard.next;
    mf_bytes event = {payload(number).data, 100};
    MDB_val key = {sizeof stream, stream}, value = {sizeof head, head};
    DB(mdb_txn_begin(yard.env, NULL, 0, &txn));
    if (mdb_get(txn, yard.names, &key, &value) == 0) memcpy(head, value.mv_data, sizeof head);
    memcpy(head, &number, sizeof number);
    extend_log(txn, number, event);
    value = (MDB_val){sizeof head, head};
    DB(mdb_put(txn, yard.names, &key, &value, 0));
    DB(mdb_txn_commit(txn));
  }
  lua_pushnumber(L, (cpu() - start) / (double)count);
  return 1;
}

static int lua_close_all(lua_State *L) {
  (void)L;
  mdb_txn_abort(yard.read);
  mdb_env_close(yard.env);
  close_store(yard.store);
  return 0;
}

int luaopen_yardstick(lua_State *L);

__attribute__((visibility("default"))) int luaopen_yardstick(lua_State *L) {
  static const luaL_Reg functions[] = {{"cpu", lua_cpu},
                                       {"open", lua_open},
                                       {"bare_read", lua_bare_read},
                                       {"commit", lua_commit},
                                       {"handle", lua_handle},
                                       {"fill", lua_fill},
                                       {"store_read", lua_store_read},
                                       {"close", lua_close_all},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
