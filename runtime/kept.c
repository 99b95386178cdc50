/*
 * Kept commands: what was asked, and what came of it. The record of a command is begun before it is
 * decided, because a script may change what it is given, and is finished by the decision: in the
 * transaction of the events, or, when it is refused, in one of its own.
 */
#include "loaded.h"

#include <stdlib.h>

/* In the registry, while a command is decided: its record; the versions that the decision read. */
static const char record_key = 0, reads_key = 0;

bool mfr_keeps_commands(const mfr_call *call) {
  return call->loaded && mfr_keeping_of(call->loaded)->on;
}

static void set_copy(lua_State *L, const mfr_state *state, int record, int command,
                     const char *field) {
  if (lua_getfield(L, command, field) != LUA_TNIL) {
    mfr_copy_value(L, state, lua_gettop(L), field);
    lua_setfield(L, record, field);
  }
  lua_settop(L, record);
}

void mfr_kept_begin(lua_State *L, mfr_state *state, mfr_call *call, const mfr_asked *asked) {
  static const char *const fields[] = {"type", "data", "metadata", "command_id", "time"};
  luaL_checkstack(L, 10, "command");
  lua_createtable(L, 0, 16);
  int record = lua_gettop(L);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    set_copy(L, state, record, asked->command, fields[i]);
  mfr_set_integer(L, "stream_version", asked->version);
  mfr_set_integer(L, "global_position", asked->position);
  mfr_push_digest(L, call->loaded->digests.script);
  lua_setfield(L, record, "code_digest");
  mfr_push_digest(L, asked->seed);
  lua_setfield(L, record, "seed");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &record_key);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &reads_key);
  call->recorded_at = asked->recorded_at;
  state->keeping = call;
}

void mfr_kept_reads(lua_State *L, const mfr_state *state, int context) {
  if (!state->keeping) return;
  lua_getiuservalue(L, context, MFR_CONTEXT_READS);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &reads_key);
}

/* Pushes the record, with what was read. [-0, +1] */
static void push_record(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &record_key);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &reads_key);
  lua_setfield(L, -2, "reads");
}

void mfr_kept_bound(mf_txn *txn, const mfr_keeping *keeping, int64_t now) {
  if (keeping->count < 0 && keeping->age < 0) return;
  mf_bound_commands(txn, keeping->count, keeping->age < 0 ? INT64_MIN : now - keeping->age);
}

void mfr_kept_accept(lua_State *L, mfr_state *state, mfr_call *call, const mfr_answered *answer) {
  mf_error error;
  state->keeping = NULL;
  push_record(L);
  lua_pushliteral(L, "accepted");
  lua_setfield(L, -2, "outcome");
  mfr_set_integer(L, "events", (lua_Integer)answer->events);
  if (answer->events > 0) mfr_set_integer(L, "first_position", answer->first_position);
  mfr_buffer *bytes = mfr_borrow(L, state);
  mfr_encode(L, state, bytes, -2, "command");
  mf_kept_command kept = {
      call->recorded_at, {call->stream.data, call->stream.size}, {bytes->data, bytes->size}};
  int status = mf_keep_command(call->txn, &kept, &error);
  if (status == MF_OK) mfr_kept_bound(call->txn, mfr_keeping_of(call->loaded), call->recorded_at);
  mfr_give_back(state, bytes);
  lua_pop(L, 2);
  if (status == MF_OK) return;
  mfr_push_store_error(L, state, &error, call->stream.data, call->stream.size, 0);
  lua_error(L);
}

/* Called by moonfold.reject, with the error on top. The record is finished, should this be the
 * decision: the script may still catch it. */
void mfr_kept_reject(lua_State *L, mfr_state *state) {
  static const char *const fields[] = {"reason", "message", "detail"};
  mfr_call *call = state->keeping;
  int top = lua_gettop(L);
  luaL_checkstack(L, 10, "command");
  push_record(L);
  lua_pushliteral(L, "rejected");
  lua_setfield(L, -2, "outcome");
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_getfield(L, top, fields[i]);
    lua_setfield(L, -2, fields[i]);
  }
  call->refusal.size = 0;
  if (!mfr_try_encode(L, state, &call->refusal, -1)) { /* a detail that cannot be stored */
    lua_pushnil(L);
    lua_setfield(L, -2, "detail");
    mfr_try_encode(L, state, &call->refusal, -1);
  }
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushnil(L);
    lua_setfield(L, -2, fields[i]);
  }
  lua_settop(L, top);
}

int mfr_kept_refusal(const mfr_loaded *loaded, mfr_store *store, mfr_call *call, mf_error *error) {
  mf_kept_command kept = {call->recorded_at,
                          {call->stream.data, call->stream.size},
                          {call->refusal.data, call->refusal.size}};
  mf_txn *txn = store->txn;
  int status = txn ? MF_OK : mf_begin(store->store, &txn, error);
  if (status != MF_OK) return status;
  status = mf_keep_command(txn, &kept, error);
  if (status == MF_OK) mfr_kept_bound(txn, mfr_keeping_of(loaded), call->recorded_at);
  if (store->txn) return status;
  if (status == MF_OK) return mf_commit(txn, error);
  mf_abort(txn);
  return status;
}

/* ---- reading them ---- */

void mfr_push_kept(lua_State *L, mfr_state *state, const mf_kept_command *kept) {
  if (!mfr_decode(L, state, kept->command.data, kept->command.size) ||
      lua_type(L, -1) != LUA_TTABLE) {
    mfr_push_error(L, state, MF_CORRUPT, "a command that is kept is no encoded value");
    lua_error(L);
  }
  mfr_set_string(L, "stream_name", kept->stream.data, kept->stream.size);
  mfr_set_integer(L, "recorded_at", kept->time);
}

/* The option keep_commands: true, or { max_count=, max_age= }. */
void mfr_keeping_option(lua_State *L, const mfr_state *state, int index, mfr_keeping *out) {
  static const char *const names[] = {"max_count", "max_age", NULL};
  *out = (mfr_keeping){false, -1, -1};
  int type = lua_getfield(L, index, "keep_commands"), options = lua_gettop(L);
  out->on = lua_toboolean(L, -1);
  if (type != LUA_TTABLE) {
    lua_pop(L, 1);
    mfr_option_boolean(L, state, index, "keep_commands", false);
    return;
  }
  mfr_check_options(L, state, options, "options.keep_commands", names);
  out->count = mfr_option_count(L, state, options, "max_count", -1);
  if (lua_getfield(L, options, "max_age") != LUA_TNIL) {
    lua_Number seconds = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(seconds > 0) || seconds > 9e9)
      mfr_misuse(L, state, "options.keep_commands.max_age", "seconds are needed, more than 0");
    out->age = (int64_t)(seconds * 1e6);
  }
  lua_settop(L, options - 1);
}
