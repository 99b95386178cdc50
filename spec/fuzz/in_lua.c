/*
 * The targets that are written in Lua: SCRIPT is a chunk that is given the module, the table `host`
 * of the command line, and the tools below, and returns a function that is called with each input.
 * It catches what may fail: an error that it raises is a finding, and so is a call of tools.fail().
 */
#include "../../store/internal.h"
#include "state.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- tools ---- */

/* fail(text): a finding. */
static int tool_fail(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  fprintf(stderr, "%s\n", lua_tostring(L, -1));
  abort();
}

/* decode(bytes, exactly) -> whether they are an encoding (of a state, in a snapshot), and of which
 * value */
static int tool_decode(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  bool fine = lua_toboolean(L, 2) ? mfr_decode_exactly(L, mfr_find(L), bytes, size)
                                  : mfr_decode(L, mfr_find(L), bytes, size);
  lua_pushboolean(L, fine);
  if (!fine) return 1;
  lua_insert(L, -2);
  return 2;
}

/* canonical(bytes) -> whether they are an encoding as the store writes it */
static int tool_canonical(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  lua_pushboolean(L, mfr_is_canonical(bytes, size));
  return 1;
}

/* put(store, kind, key, value) -> whether LMDB takes the key. Makes this, sealed, the only entry of
 * a kind of what stands beside the log: 0 code, 1 snapshots, 2 commands. */
static int tool_put(lua_State *L) {
  mfr_store *store = mfr_check_store(L, mfr_find(L), 1);
  mf_txn *txn;
  size_t key_size, size;
  int kind = (int)luaL_checkinteger(L, 2);
  const char *key = luaL_checklstring(L, 3, &key_size), *value = luaL_checklstring(L, 4, &size);
  uint8_t *sealed = lua_newuserdatauv(L, size + MF__SEAL, 0);
  if (mf_begin(store->store, &txn, NULL) != MF_OK) abort();
  MDB_dbi dbi = txn->view.env->beside[kind];
  memcpy(sealed, value, size);
  mf__seal(sealed, size, mf__bytes(key, key_size),
           mf__seal_seed(txn->view.env->record.seed, MF__IN_BESIDE + kind));
  MDB_val db_key = {key_size, (void *)(uintptr_t)key}, db_value = {size + MF__SEAL, sealed};
  int rc = mdb_drop(txn->view.db, dbi, 0);
  if (rc == 0) rc = mdb_put(txn->view.db, dbi, &db_key, &db_value, 0);
  txn->dropped = true; /* it was written past the staging */
  if (rc != 0) mf_abort(txn);
  if (rc == 0 && mf_commit(txn, NULL) != MF_OK) abort();
  lua_pushboolean(L, rc == 0);
  return 1;
}

/* append(store, stream, bytes): an event whose data is these bytes, whatever they are */
static int tool_append(lua_State *L) {
  mfr_store *store = mfr_check_store(L, mfr_find(L), 1);
  size_t name_size, size;
  const char *name = luaL_checklstring(L, 2, &name_size), *data = luaL_checklstring(L, 3, &size);
  mf_new_event event = {{"Happened", 8}, {data, size}, {NULL, 0}, {NULL, 0}};
  mf_bytes stream = mf__bytes(name, name_size);
  if (mf_append_to_stream(store->store, stream, &event, 1, NULL, NULL, NULL) != MF_OK) abort();
  return 0;
}

/* reseed(store): gives a memory store the seed 1, so that its generated ids are known before */
static int tool_reseed(lua_State *L) {
  mfr_store *store = mfr_check_store(L, mfr_find(L), 1);
  store->seed = store->store->env->record.seed = 1;
  return 0;
}

/* generated(id) -> the position of a store of the seed 1 that generates this id, and that id; or
 * nothing */
static int tool_generated(lua_State *L) {
  size_t size;
  char text[37];
  const char *id = luaL_checklstring(L, 1, &size);
  int64_t position = mf__generated_position(1, mf__bytes(id, size));
  if (position == 0) return 0;
  mf__generated_id(1, position, text);
  lua_pushinteger(L, position);
  lua_pushlstring(L, text, 36);
  return 2;
}

/* base64(bytes) -> text; bytes(text) -> bytes or nil */
static int tool_base64(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  char *text = lua_newuserdatauv(L, mfr_base64_size(size) + 1, 0);
  mfr_base64_write(text, (const uint8_t *)bytes, size);
  lua_pushlstring(L, text, mfr_base64_size(size));
  return 1;
}

static int tool_bytes(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  return mfr_push_base64(L, text, size);
}

/* ---- running ---- */

static int traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

static int set_up(lua_State *L) {
  static const luaL_Reg tools[] = {{"fail", tool_fail},           {"decode", tool_decode},
                                   {"canonical", tool_canonical}, {"put", tool_put},
                                   {"append", tool_append},       {"reseed", tool_reseed},
                                   {"generated", tool_generated}, {"base64", tool_base64},
                                   {"bytes", tool_bytes},         {NULL, NULL}};
  if (luaL_loadfile(L, SCRIPT) != LUA_OK) return lua_error(L);
  luaopen_moonfold(L);
  lua_newtable(L);
  mfr_host_open(L);
  luaL_newlib(L, tools);
  lua_call(L, 3, 1);
  return 1;
}

static lua_State *make(void) {
  lua_State *L = new_state();
  lua_pushcfunction(L, traceback);
  lua_pushcfunction(L, set_up);
  if (lua_pcall(L, 0, 1, 1) == LUA_OK) return L;
  fprintf(stderr, "%s\n", lua_tostring(L, -1));
  exit(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lua_State *L;
  static int runs;
  if (L && ++runs % RUNS_PER_STATE == 0) {
    lua_close(L);
    L = NULL;
  }
  if (!L) L = make();
  lua_pushvalue(L, 2);
  lua_pushlstring(L, size ? (const char *)data : "", size);
  if (lua_pcall(L, 1, 0, 1) == LUA_OK) return 0;
  fprintf(stderr, "%s\n", lua_tostring(L, -1));
  abort();
}
