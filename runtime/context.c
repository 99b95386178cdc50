/*
 * What a decide function may look at beside its stream: other streams, in the same transaction, and
 * chance. It is a userdata without fields of its own, and of no use once the decision is made.
 */
#include "loaded.h"

#include <stdio.h>

static mfr_context *check_context(lua_State *L, mfr_state *state) {
  mfr_context *context = mfr_to_class(L, 1, state->context_ref);
  if (!context)
    mfr_misuse(L, state, "context",
               "the context is needed, this is %s: is it context:method(...), "
               "with a colon?",
               mfr_type_name(L, 1));
  if (!context->call)
    mfr_misuse(L, state, "context", "the decision that it was made for is over: do not keep it");
  return context;
}

/* ---- other streams ---- */

/* Notes that the decision rests on a version of a stream. */
static void note_read(lua_State *L, int context, mfr_text stream, int64_t version) {
  if (lua_getiuservalue(L, context, MFR_CONTEXT_READS) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, context, MFR_CONTEXT_READS);
  }
  lua_pushlstring(L, stream.data, stream.size);
  lua_pushinteger(L, version);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  mfr_kept_reads(L, mfr_of(L), context);
}

/* Whether the decision looks at the stream for the first time; a look that fails is one, too. */
static bool is_first_look(lua_State *L, int context, mfr_text stream) {
  int top = lua_gettop(L);
  if (lua_getiuservalue(L, context, MFR_CONTEXT_LOOKED) != LUA_TTABLE) {
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, context, MFR_CONTEXT_LOOKED);
  }
  lua_pushlstring(L, stream.data, stream.size);
  lua_pushvalue(L, -1);
  bool first = lua_rawget(L, -3) == LUA_TNIL;
  lua_pop(L, 1);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_settop(L, top);
  return first;
}

/* Arguments: call, context, stream, decider, options. */
static int look_body(lua_State *L) {
  mfr_call *call = lua_touserdata(L, 1);
  call->looking = is_first_look(L, 2, call->stream) ? MFR_LOOKS : MFR_LOOKS_AGAIN;
  lua_getiuservalue(L, 2, MFR_CONTEXT_STORE);
  mfr_aggregate(L, mfr_of(L), call, lua_gettop(L), 4, 5);
  lua_getfield(L, -1, "current_stream_version");
  note_read(L, 2, call->stream, lua_tointeger(L, -1));
  lua_pop(L, 1);
  return 1;
}

static int context_aggregate_stream(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  lua_settop(L, 4);
  const mfr_context *context = check_context(L, state);
  call.store = context->call->store;
  call.txn = context->call->txn;
  call.past = context->call->past;
  call.as_of = context->call->as_of;
  call.decision = context->call;
  mfr_sandbox_charge(L, state, 500);
  call.stream = mfr_check_stream(L, state, 2);
  if (state->sandbox) call.lasting = mfr_plain_decider(L, state, 3);
  if (!mfr_to_loaded(L, state, 3)) mfr_check_decider(L, state, 3, "decider", false);
  mfr_check_options(L, state, 4, "options", mfr_aggregate_options);
  return mfr_protect(L, state, &call, look_body, 4, 1);
}

static int context_stream_exists(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_error error;
  int64_t version;
  mfr_context *context = check_context(L, state);
  mfr_sandbox_charge(L, state, 200);
  mfr_text stream = mfr_check_stream(L, state, 2);
  int status = mf_stream_version(mfr_live(L, state, context->call->store), context->call->txn,
                                 (mf_bytes){stream.data, stream.size}, &version, &error);
  if (status != MF_OK) {
    mfr_push_store_error(L, state, &error, stream.data, stream.size, 0);
    return lua_error(L);
  }
  if (context->call->past) {
    mfr_call look = {0};
    look.store = context->call->store;
    look.txn = context->call->txn;
    look.stream = stream;
    look.past = true;
    look.as_of = context->call->as_of;
    version = mfr_past_version(L, state, &look);
  }
  note_read(L, 1, stream, version);
  lua_pushboolean(L, version > 0);
  return 1;
}

/* ---- chance ---- */

static uint64_t rotate(uint64_t x, int n) {
  return x << n | x >> (64 - n);
}

/* xoshiro256** of Blackman and Vigna (2018), which Lua's own math.random uses as well. */
static uint64_t next_random(uint64_t s[4]) {
  uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

/* Evenly distributed from 0 to `most`: what falls beyond is thrown again. */
static uint64_t random_up_to(uint64_t s[4], uint64_t most) {
  uint64_t mask = most, value;
  for (int shift = 1; shift < 64; shift *= 2)
    mask |= mask >> shift;
  do
    value = next_random(s) & mask;
  while (value > most);
  return value;
}

static int64_t check_bound(lua_State *L, const mfr_state *state, int index, const char *what) {
  if (!lua_isinteger(L, index))
    mfr_misuse(L, state, what, "an integer is needed, this is %s",
               lua_type(L, index) == LUA_TNUMBER ? "a float" : mfr_type_name(L, index));
  return lua_tointeger(L, index);
}

/* Instead of chance, what a spec says; it must be what chance could give. */
static int next_roll(lua_State *L, const mfr_state *state, mfr_rolls *rolls, bool whole,
                     int64_t low, int64_t high) {
  char path[48];
  size_t i = rolls->next;
  if (i == rolls->count)
    mfr_misuse(L, state, "options.rolls", "decide rolls once more than the %zu that are given", i);
  snprintf(path, sizeof path, "options.rolls[%zu]", i + 1);
  rolls->next++;
  if (!whole) {
    double number = rolls->values[i].number;
    if (rolls->values[i].is_integer ? rolls->values[i].integer != 0 : number < 0 || number >= 1)
      mfr_misuse(L, state, path, "random() is asked: a number from 0 to below 1 is needed");
    lua_pushnumber(L, rolls->values[i].is_integer ? 0 : number);
    return 1;
  }
  int64_t value = rolls->values[i].integer;
  if (!rolls->values[i].is_integer || value < low || value > high)
    mfr_misuse(L, state, path, "random(%lld, %lld) is asked: an integer between them is needed",
               (long long)low, (long long)high);
  lua_pushinteger(L, value);
  return 1;
}

mfr_rolls *mfr_check_rolls(lua_State *L, const mfr_state *state, int index) {
  char path[48];
  if (lua_isnoneornil(L, index) || lua_getfield(L, index, "rolls") == LUA_TNIL) {
    if (lua_isnoneornil(L, index)) lua_pushnil(L);
    return NULL;
  }
  if (lua_type(L, -1) != LUA_TTABLE)
    mfr_misuse(L, state, "options.rolls", "a list of numbers is needed, this is %s",
               luaL_typename(L, -1));
  size_t count = (size_t)lua_rawlen(L, -1);
  mfr_rolls *rolls = lua_newuserdatauv(L, sizeof *rolls + count * sizeof *rolls->values, 0);
  memset(rolls, 0, sizeof *rolls + count * sizeof *rolls->values);
  rolls->count = count;
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, -2, (lua_Integer)i + 1);
    snprintf(path, sizeof path, "options.rolls[%zu]", i + 1);
    if (lua_type(L, -1) != LUA_TNUMBER)
      mfr_misuse(L, state, path, "a number is needed, this is %s", luaL_typename(L, -1));
    rolls->values[i].is_integer = lua_isinteger(L, -1);
    rolls->values[i].integer = lua_tointeger(L, -1);
    rolls->values[i].number = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  lua_remove(L, -2);
  return rolls;
}

void mfr_check_rolled(lua_State *L, const mfr_state *state, const mfr_rolls *rolls) {
  if (rolls && rolls->next < rolls->count)
    mfr_misuse(L, state, "options.rolls", "%zu are given, and decide rolled %zu times",
               rolls->count, rolls->next);
}

/* 16 bytes of seed become the 32 of the generator. */
static void start_generator(lua_State *L, mfr_state *state, mfr_context *context) {
  uint8_t bytes[17];
  context->make_seed(L, state, context->call, bytes);
  for (uint8_t i = 0; i < 2; i++) {
    uint8_t digest[16];
    bytes[16] = i;
    mfr_hash_bytes(bytes, sizeof bytes, digest);
    for (size_t k = 0; k < 2; k++) {
      uint64_t word = 0;
      for (size_t j = 0; j < 8; j++)
        word = word << 8 | digest[8 * k + j];
      context->random[2 * i + k] = word;
    }
  }
  context->random[0] |= 1; /* never all zero */
  context->chance = true;
}

static int context_random(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_context *context = check_context(L, state);
  int arguments = lua_gettop(L) - 1;
  if (!context->chance) start_generator(L, state, context);
  if (arguments == 0 && context->call->rolls)
    return next_roll(L, state, context->call->rolls, false, 0, 0);
  if (arguments == 0) {
    lua_pushnumber(L, (double)(next_random(context->random) >> 11) * 0x1p-53);
    return 1;
  }
  int64_t low = arguments > 1 ? check_bound(L, state, 2, "m") : 1;
  int64_t high = check_bound(L, state, arguments > 1 ? 3 : 2, arguments > 1 ? "n" : "m");
  if (low > high)
    mfr_misuse(L, state, arguments > 1 ? "n" : "m", "the interval from %lld to %lld is empty",
               (long long)low, (long long)high);
  if (context->call->rolls) return next_roll(L, state, context->call->rolls, true, low, high);
  uint64_t value = random_up_to(context->random, (uint64_t)high - (uint64_t)low);
  lua_pushinteger(L, (lua_Integer)((uint64_t)low + value));
  return 1;
}

/* ---- making one ---- */

static int read_only(lua_State *L) {
  return mfr_misuse(L, mfr_of(L), "context",
                    "it is read-only: keep what changes in the state, by events");
}

void mfr_push_context(lua_State *L, mfr_state *state, mfr_call *call, int store,
                      void (*make_seed)(lua_State *L, mfr_state *state, const mfr_call *call,
                                        uint8_t seed[16])) {
  mfr_context *context = lua_newuserdatauv(L, sizeof *context, MFR_CONTEXT_LOOKED);
  context->call = NULL;
  context->chance = false;
  context->make_seed = make_seed;
  lua_pushvalue(L, store);
  lua_setiuservalue(L, -2, MFR_CONTEXT_STORE);
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->context_ref);
  lua_setmetatable(L, -2);
  context->call = call;
  call->context = context;
}

void mfr_end_context(mfr_call *call) {
  if (call->context) call->context->call = NULL;
  call->context = NULL;
}

static int context_tostring(lua_State *L) {
  lua_pushliteral(L, "moonfold context");
  return 1;
}

static const luaL_Reg methods[] = {{"aggregate_stream", context_aggregate_stream},
                                   {"stream_exists", context_stream_exists},
                                   {"random", context_random},
                                   {NULL, NULL}};

static const luaL_Reg meta[] = {
    {"__tostring", context_tostring}, {"__newindex", read_only}, {NULL, NULL}};

void mfr_context_open(lua_State *L, mfr_state *state) {
  mfr_class(L, "moonfold.context", methods, meta);
  state->context_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
