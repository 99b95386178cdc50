/*
 * aggregate_streams: many folds, for which the log is read once, in its order, however scattered
 * over it the streams are. A sandbox is entered once for those that follow one another in it; what
 * fails is told in its place, and the others are folded.
 */
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_BYTES = 32 << 20 }; /* of events in memory */

typedef struct job {
  mfr_text stream;          /* a key of the table of streams */
  const mfr_loaded *loaded; /* NULL: a table's */
  int64_t to;
  size_t reader;
  bool inspect;
} job;

/* A userdata. */
typedef struct many {
  mfr_call call;
  bool want_state, want_hash;
  mfr_buffer *out; /* what came of the jobs of a sandbox, up to `done` */
  size_t done;
  mf_reader **readers;
  size_t reader_count;
  size_t at, count; /* jobs */
  job jobs[];
} many;

/* Stack of aggregate_streams. */
enum { STORE = 1, FOLDS, OPTIONS, MANY, OUT, STREAMS, DECIDERS, RESULTS };

static int release(lua_State *L) {
  many *m = lua_touserdata(L, 1);
  for (size_t i = 0; m->readers && i < m->reader_count; i++)
    mf_reader_close(m->readers[i]);
  free(m->readers);
  m->readers = NULL;
  return 0;
}

/* ---- what is asked for ---- */

static void check_job(lua_State *L, mfr_state *state, many *m, size_t i) {
  static const char *const names[] = {"stream", "decider", "to", "inspect", NULL};
  char path[MFR_PATH_MAX];
  job *j = &m->jobs[i];
  int fold = lua_gettop(L) + 1;
  snprintf(path, sizeof path, "folds[%zu]", i + 1);
  lua_rawgeti(L, FOLDS, (lua_Integer)i + 1);
  if (!mfr_check_options(L, state, fold, path, names))
    mfr_misuse(L, state, path,
               "a table { stream = ..., decider = ... } is needed, this is nothing");
  lua_getfield(L, fold, "stream");
  j->stream = mfr_check_stream(L, state, fold + 1);
  lua_getfield(L, fold, "decider");
  snprintf(path, sizeof path, "folds[%zu].decider", i + 1);
  j->loaded = mfr_to_loaded(L, state, fold + 2);
  if (!j->loaded) mfr_check_decider(L, state, fold + 2, path, false);
  lua_rawseti(L, DECIDERS, (lua_Integer)i + 1);
  j->to = mfr_option_count(L, state, fold, "to", MF_LAST);
  j->inspect = mfr_option_boolean(L, state, fold, "inspect", false);
  lua_pushvalue(L, fold + 1);
  if (lua_rawget(L, STREAMS) == LUA_TNIL) {
    lua_pushvalue(L, fold + 1);
    lua_pushinteger(L, (lua_Integer)m->reader_count++);
    lua_rawset(L, STREAMS);
    j->reader = m->reader_count - 1;
  } else
    j->reader = (size_t)lua_tointeger(L, -1);
  lua_settop(L, fold - 1);
}

/* Reads what the jobs need, as far as there is room for it. */
static void read_streams(lua_State *L, const mfr_state *state, const mfr_store *store, many *m) {
  mf_error error;
  size_t count = m->reader_count;
  if (count == 0) return;
  mf_bytes *streams = lua_newuserdatauv(L, count * sizeof *streams, 0);
  int64_t *to = lua_newuserdatauv(L, count * sizeof *to, 0);
  memset(to, 0, count * sizeof *to);
  for (size_t i = 0; i < m->count; i++) {
    const job *j = &m->jobs[i];
    streams[j->reader] = (mf_bytes){j->stream.data, j->stream.size};
    if (j->to > to[j->reader]) to[j->reader] = j->to;
  }
  mf_store *live = mfr_live(L, state, store);
  m->readers = calloc(count, sizeof(mf_reader *));
  if (!m->readers) mfr_raise_no_memory(L);
  int status =
      mf_readers_open(live, store->txn, streams, to, count, MOST_BYTES, m->readers, &error);
  if (status != MF_OK) {
    mfr_push_store_error(L, state, &error, NULL, 0, 0);
    lua_error(L);
  }
  lua_pop(L, 2);
}

/* ---- in a sandbox ---- */

/* The state and the findings are on top. [-0, +0] */
static void put_result(lua_State *S, mfr_state *state, const many *m, int64_t version) {
  mfr_buffer *out = m->out;
  uint8_t hash[16] = {0};
  int top = lua_gettop(S);
  if (m->want_hash) {
    size_t at = out->size;
    mfr_encode(S, state, out, top - 1, "state");
    mfr_hash_bytes(out->data + at, out->size - at, hash);
    out->size = at;
  }
  if (!mfr_buffer_reserve(out, sizeof hash + sizeof version)) mfr_raise_no_memory(S);
  memcpy(out->data + out->size, &version, sizeof version);
  memcpy(out->data + out->size + sizeof version, hash, sizeof hash);
  out->size += sizeof hash + sizeof version;
  if (!m->want_state) {
    lua_pushnil(S);
    lua_replace(S, top - 1);
  }
  mfr_encode_sized(S, state, out, top - 1, "state");
  mfr_encode_sized(S, state, out, top, "findings");
}

/* Arguments: call, store, the first job's decider, nothing, many. */
static int stage(lua_State *S) {
  mfr_state *state = mfr_of(S);
  mfr_call *call = lua_touserdata(S, 1);
  many *m = lua_touserdata(S, 5);
  const mfr_domain *domain = m->jobs[m->at].loaded->domain;
  m->out->size = m->done;
  for (; m->at < m->count; m->at++) {
    const job *j = &m->jobs[m->at];
    if (!j->loaded || j->loaded->domain != domain) break;
    call->stream = j->stream;
    call->loaded = j->loaded;
    call->gathered = m->readers[j->reader];
    lua_rawgeti(S, LUA_REGISTRYINDEX, j->loaded->ref);
    put_result(S, state, m, mfr_fold_stream(S, state, call, 2, 6, j->to, j->inspect));
    mfr_sandbox_renew(S, state);
    m->done = m->out->size;
    lua_settop(S, 5);
  }
  return 0;
}

/* ---- results ---- */

/* Of the table on top. */
static void set_hash(lua_State *L, const uint8_t hash[16]) {
  static const char digits[] = "0123456789abcdef";
  char text[32];
  for (int i = 0; i < 16; i++) {
    text[2 * i] = digits[hash[i] >> 4];
    text[2 * i + 1] = digits[hash[i] & 15];
  }
  mfr_set_string(L, "hash", text, sizeof text);
}

/* Takes the results of a sandbox, from that of job `first` on. */
static void take_results(lua_State *L, mfr_state *state, many *m, size_t first) {
  for (size_t at = 0, i = first; at < m->done; i++) {
    int64_t version;
    lua_createtable(L, 0, 4);
    memcpy(&version, m->out->data + at, sizeof version);
    mfr_set_integer(L, "current_stream_version", version);
    at += sizeof version;
    if (m->want_hash) set_hash(L, (const uint8_t *)m->out->data + at);
    at += 16;
    mfr_decode_sized(L, state, m->out, &at);
    lua_setfield(L, -2, "state");
    mfr_decode_sized(L, state, m->out, &at);
    lua_setfield(L, -2, "findings");
    lua_rawseti(L, RESULTS, (lua_Integer)i + 1);
  }
  m->done = m->out->size = 0;
}

/* ---- in this state ---- */

/* Arguments: call, store, decider, many. Returns the result. */
static int table_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const many *m = lua_touserdata(L, 4);
  const job *j = &m->jobs[m->at];
  int64_t version = mfr_fold_stream(L, state, lua_touserdata(L, 1), 2, 3, j->to, j->inspect);
  int findings = lua_gettop(L), its_state = findings - 1;
  lua_createtable(L, 0, 4);
  if (m->want_hash) {
    uint8_t hash[16];
    mfr_buffer *buffer = mfr_borrow(L, state);
    mfr_encode(L, state, buffer, its_state, "state");
    mfr_hash_bytes(buffer->data, buffer->size, hash);
    mfr_give_back(state, buffer);
    lua_pop(L, 1);
    set_hash(L, hash);
  }
  mfr_set_integer(L, "current_stream_version", version);
  if (m->want_state) {
    lua_pushvalue(L, its_state);
    lua_setfield(L, -2, "state");
  }
  lua_pushvalue(L, findings);
  lua_setfield(L, -2, "findings");
  return 1;
}

/* Arguments: call, store, decider, many. */
static int loaded_body(lua_State *L) {
  many *m = lua_touserdata(L, 4);
  mfr_enter(L, mfr_of(L), m->jobs[m->at].loaded, &m->call, stage, NULL, m);
  lua_pushnil(L);
  return 1;
}

/* Does the next job, or those that follow one another in its sandbox. Arguments: store, decider,
 * many. Returns the job's result, or nil where there are bytes. */
static int work(lua_State *L) {
  mfr_state *state = mfr_of(L);
  many *m = lua_touserdata(L, 3);
  const job *j = &m->jobs[m->at];
  memset(&m->call, 0, sizeof m->call);
  m->call.store = mfr_check_store(L, state, 1);
  m->call.stream = j->stream;
  m->call.gathered = m->readers[j->reader];
  return mfr_protect(L, state, &m->call, j->loaded ? loaded_body : table_body, 3, 1);
}

/* What failed is on top: it is the result of the job, and the next one's turn. [-1, +0] */
static void fail_job(lua_State *L, many *m) {
  lua_createtable(L, 0, 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, "failure");
  lua_rawseti(L, RESULTS, (lua_Integer)++m->at);
}

static void do_jobs(lua_State *L, mfr_state *state, many *m) {
  while (m->at < m->count) {
    size_t first = m->at;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, work, 1);
    lua_pushvalue(L, STORE);
    lua_rawgeti(L, DECIDERS, (lua_Integer)first + 1);
    lua_pushlightuserdata(L, m);
    bool fine = lua_pcall(L, 3, 1, 0) == LUA_OK;
    if (m->jobs[first].loaded) take_results(L, state, m, first);
    if (!fine)
      fail_job(L, m);
    else if (m->jobs[first].loaded)
      lua_pop(L, 1);
    else
      lua_rawseti(L, RESULTS, (lua_Integer)++m->at);
  }
}

int mfr_aggregate_streams(lua_State *L) {
  static const char *const names[] = {"state", "hash", NULL};
  mfr_state *state = mfr_of(L);
  const mfr_store *store = mfr_check_store(L, state, 1);
  lua_settop(L, OPTIONS);
  if (lua_type(L, FOLDS) != LUA_TTABLE)
    mfr_misuse(L, state, "folds", "a list of { stream = ..., decider = ... } is needed, this is %s",
               mfr_type_name(L, FOLDS));
  mfr_check_options(L, state, OPTIONS, "options", names);
  luaL_checkstack(L, 20, "folds");
  size_t count = lua_rawlen(L, FOLDS);
  many *m = lua_newuserdatauv(L, sizeof *m + count * sizeof *m->jobs, 0);
  memset(m, 0, sizeof *m + count * sizeof *m->jobs);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, release);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, MANY);
  m->want_state = mfr_option_boolean(L, state, OPTIONS, "state", true);
  m->want_hash = mfr_option_boolean(L, state, OPTIONS, "hash", false);
  m->out = mfr_borrow(L, state);
  lua_newtable(L);
  lua_createtable(L, (int)count, 0);
  lua_createtable(L, (int)count, 0);
  for (; m->count < count; m->count++)
    check_job(L, state, m, m->count);
  read_streams(L, state, store, m);
  do_jobs(L, state, m);
  lua_pushcfunction(L, release);
  lua_pushvalue(L, MANY);
  lua_call(L, 1, 0);
  mfr_give_back(state, m->out);
  return 1;
}
