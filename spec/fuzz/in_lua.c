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

/* What stands in the bytes that `record` is given: a flag byte, a size, and so many bytes of data,
 * which also serve for what the flags ask for. */
static bool record_one(mf_txn *txn, unsigned flags, mf_bytes data) {
  enum { METADATA = 8, MESSAGE_ID = 16, COMMAND_ID = 32, CODE = 64, KEPT = 128 };
  static const uint8_t digest[MF_DIGEST_SIZE] = "0123456789abcde";
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_new_event events[4];
  size_t count = 1 + flags % 4;
  mf_bytes stream = mf__bytes(flags & 4 ? "a" : "\xff", 1), id = data;
  if (id.size > MF_ID_MAX) id.size = MF_ID_MAX;
  for (size_t i = 0; i < count; i++)
    events[i] = (mf_new_event){{"Happened", 8}, data, {NULL, 0}, {NULL, 0}};
  if (flags & METADATA) events[count - 1].metadata = data;
  if ((flags & MESSAGE_ID) && id.size > 0) events[0].message_id = id;
  if ((flags & COMMAND_ID) && id.size > 0) options.command_id = options.seed = id;
  if (options.seed.size > MF__SEED_MAX) options.seed.size = MF__SEED_MAX;
  if (flags & CODE) options.code = mf__bytes(digest, sizeof digest);
  if ((flags & CODE) && mf_put_code(txn, digest, data, NULL, NULL) != MF_OK) return false;
  options.recorded_at = (int64_t)data.size * 1234567;
  mf_kept_command kept = {options.recorded_at, stream, data};
  if ((flags & KEPT) && mf_keep_command(txn, &kept, NULL) != MF_OK) return false;
  int status = mf_append(txn, stream, events, count, &options, NULL, NULL);
  return status == MF_OK || status == MF_ID_CONFLICT;
}

/* record(store, bytes): events and what stands beside them, as the bytes say. */
static int tool_record(lua_State *L) {
  mfr_store *store = mfr_check_store(L, mfr_find(L), 1);
  size_t left;
  const uint8_t *p = (const uint8_t *)luaL_checklstring(L, 2, &left);
  mf_txn *txn;
  if (mf_begin(store->store, &txn, NULL) != MF_OK) abort();
  while (left >= 2) {
    size_t size = p[1] < left - 2 ? p[1] : left - 2;
    if (!record_one(txn, p[0], mf__bytes(p + 2, size))) abort();
    p += 2 + size;
    left -= 2 + size;
  }
  if (mf_commit(txn, NULL) != MF_OK) abort();
  return 0;
}

static bool same(mf_bytes a, mf_bytes b) {
  return !a.data == !b.data && mf__same(a, b);
}

static bool same_commands(mf_store *stores[2], const mf_event *event) {
  mf_command_record records[2];
  int status[2];
  for (int i = 0; i < 2; i++) {
    mf_txn *txn;
    if (mf_begin_read(stores[i], &txn, NULL) != MF_OK) abort();
    status[i] = mf_find_command(txn, event->stream, event->command_id, &records[i], NULL);
    mf_abort(txn);
  }
  return status[0] == MF_OK && status[1] == MF_OK &&
         memcmp(records[0].digest, records[1].digest, sizeof records[0].digest) == 0 &&
         records[0].first_version == records[1].first_version &&
         records[0].last_version == records[1].last_version &&
         records[0].last_position == records[1].last_position;
}

static bool same_events(mf_store *stores[2]) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *readers[2];
  mf_event a, b;
  int one = MF_OK, other = MF_OK;
  bool fine = true;
  for (int i = 0; i < 2; i++)
    if (mf_reader_open(stores[i], NULL, &options, &readers[i], NULL) != MF_OK) abort();
  while (fine) {
    one = mf_reader_next(readers[0], &a, NULL);
    other = mf_reader_next(readers[1], &b, NULL);
    if (one != MF_OK || other != MF_OK) break;
    fine = same(a.stream, b.stream) && same(a.type, b.type) && mf__same(a.data, b.data) &&
           same(a.metadata, b.metadata) && same(a.message_id, b.message_id) &&
           same(a.envelope, b.envelope) && a.version == b.version && a.position == b.position &&
           a.recorded_at == b.recorded_at && (!a.command_id.data || same_commands(stores, &a));
  }
  for (int i = 0; i < 2; i++)
    mf_reader_close(readers[i]);
  return fine && one == MF_DONE && other == MF_DONE;
}

static bool same_beside(mf_store *stores[2]) {
  mf_commands *lists[2];
  mf_kept_command a, b;
  mf_code_record codes[2];
  uint8_t after[MF_DIGEST_SIZE];
  int one = MF_OK, other = MF_OK;
  bool fine = true;
  for (int i = 0; i < 2; i++)
    if (mf_commands_open(stores[i], INT64_MIN, mf__bytes("", 0), &lists[i], NULL) != MF_OK) abort();
  while (fine && one == MF_OK) {
    one = mf_commands_next(lists[0], &a, NULL);
    other = mf_commands_next(lists[1], &b, NULL);
    fine = one == other && (one != MF_OK || (a.time == b.time && mf__same(a.stream, b.stream) &&
                                             mf__same(a.command, b.command)));
  }
  for (int i = 0; i < 2; i++)
    mf_commands_close(lists[i]);
  one = MF_OK;
  for (int n = 0; fine && one == MF_OK; n++) {
    one = mf_next_code(stores[0], n ? after : NULL, &codes[0], NULL);
    other = mf_next_code(stores[1], n ? after : NULL, &codes[1], NULL);
    fine = one == other;
    if (!fine || one != MF_OK) break;
    fine = memcmp(codes[0].digest, codes[1].digest, MF_DIGEST_SIZE) == 0 &&
           mf__same(codes[0].code, codes[1].code);
    memcpy(after, codes[0].digest, sizeof after);
    mf_free(codes[0].code);
    mf_free(codes[1].code);
  }
  return fine;
}

/* same(store, other) -> whether they hold the same */
static int tool_same(lua_State *L) {
  mf_store *stores[2];
  for (int i = 0; i < 2; i++)
    stores[i] = mfr_check_store(L, mfr_find(L), i + 1)->store;
  lua_pushboolean(L, same_events(stores) && same_beside(stores));
  return 1;
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
  static const luaL_Reg tools[] = {
      {"fail", tool_fail},     {"decode", tool_decode}, {"canonical", tool_canonical},
      {"put", tool_put},       {"append", tool_append}, {"record", tool_record},
      {"same", tool_same},     {"reseed", tool_reseed}, {"generated", tool_generated},
      {"base64", tool_base64}, {"bytes", tool_bytes},   {NULL, NULL}};
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
