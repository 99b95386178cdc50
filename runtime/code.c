/*
 * The code of loaded deciders: its sources are collected while it loads, digested once the script
 * has run, and kept in every store in which it decides something.
 */
#include "library.h"
#include "loaded.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- collecting ---- */

/* One allocation: the chunk, then its name, module and text. False: no memory. */
static bool add_chunk(mfr_sources *s, const char *module, const char *name, const char *text,
                      size_t size) {
  size_t names = strlen(name) + 2, modules = module ? strlen(module) + 1 : 0;
  mfr_chunk *chunks = realloc(s->chunks, (s->count + 1) * sizeof *chunks);
  if (chunks) s->chunks = chunks;
  char *p = chunks ? malloc(names + modules + size + 1) : NULL;
  if (!p) return false;
  mfr_chunk *chunk = &s->chunks[s->count++];
  *chunk = (mfr_chunk){p, module ? p + names : NULL, p + names + modules, size};
  snprintf(p, names, "@%s", name);
  if (module) memcpy(p + names, module, modules);
  if (size) memcpy(p + names + modules, text, size);
  return true;
}

static void note_module(void *context, const char *module, const char *name, const char *text,
                        size_t size) {
  mfr_sources *s = context;
  if (!add_chunk(s, module, name, text, size)) s->failed = true;
}

/* Pushes the table of what belongs to the script library, which is the same for all scripts but
 * for the environment. [-0, +1] */
static int push_names(lua_State *L, int environment) {
  const mfr_sandbox *sandbox = mfr_sandbox_of(L);
  lua_newtable(L);
  int names = lua_gettop(L);
  lua_newtable(L);
  int library = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->library_ref);
  mfr_copy_fields(L, lua_gettop(L), library);
  lua_pushvalue(L, environment);
  mfr_see_through(L, -1);
  lua_pushliteral(L, "require");
  lua_rawget(L, -2);
  if (lua_tocfunction(L, -1) == mfr_require) lua_setfield(L, library, "require");
  mfr_name_library(L, names, library, "");
  mfr_name_environment(L, names, environment, library);
  lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->modules_ref);
  mfr_name_library(L, names, lua_gettop(L), "moonfold");
  lua_settop(L, names);
  return names;
}

/* What a store keeps of it: { name, path, params, sources = { { path, module, text }, ... } }. */
static void encode_code(lua_State *L, mfr_sources *s, int decider) {
  lua_createtable(L, 0, 4);
  int code = lua_gettop(L);
  lua_pushliteral(L, "name");
  if (lua_rawget(L, decider) == LUA_TSTRING) lua_setfield(L, code, "name");
  lua_settop(L, code);
  lua_pushstring(L, s->script->name);
  lua_setfield(L, code, "path");
  if (s->params.size && mfr_decode(L, s->state, s->params.data, s->params.size))
    lua_setfield(L, code, "params");
  lua_createtable(L, (int)s->count, 0);
  for (size_t i = 0; i < s->count; i++) {
    const mfr_chunk *chunk = &s->chunks[i];
    lua_createtable(L, 0, 3);
    lua_pushstring(L, chunk->name + 1);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, chunk->module);
    lua_setfield(L, -2, "module");
    lua_pushlstring(L, chunk->source, chunk->size);
    lua_setfield(L, -2, "text");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, code, "sources");
  mfr_encode(L, s->state, &s->code, code, "code");
  lua_settop(L, code - 1);
}

static void digest(void *context, lua_State *L, int environment) {
  mfr_sources *s = context;
  int decider = lua_gettop(L);
  if (lua_type(L, decider) != LUA_TTABLE) return; /* the rest of loading says what is wrong */
  if (s->failed) mfr_raise_no_memory(L);
  luaL_checkstack(L, 20, "digest");
  mfr_digested what = {decider, push_names(L, environment), s->params};
  mfr_digest(L, s->state, &what, s->chunks, s->count, &s->digests);
  encode_code(L, s, decider);
  lua_settop(L, decider);
}

void mfr_sources_begin(mfr_sources *s, mfr_state *state, mfr_source *script) {
  memset(s, 0, sizeof *s);
  s->state = state;
  s->script = script;
  s->params = (mf_bytes){script->params, script->params_size};
  s->failed = !add_chunk(s, NULL, script->name, script->text, script->size);
  script->required = note_module;
  script->made = digest;
  script->context = s;
}

void mfr_sources_free(mfr_sources *s) {
  for (size_t i = 0; i < s->count; i++)
    free((void *)(uintptr_t)s->chunks[i].name);
  free(s->chunks);
  mfr_buffer_free(&s->code);
  memset(s, 0, sizeof *s);
}

/* ---- what differs between processors ---- */

/* Whether the power that was just read has 2 for its exponent: Lua multiplies then. */
static bool is_square(mfr_lexer lexer) {
  mfr_token token;
  lexer.buffer = NULL; /* a look ahead, with memory of its own */
  lexer.used = lexer.capacity = 0;
  bool two =
      mfr_lexer_next(&lexer, &token) && token.kind == MFR_TOKEN_INTEGER && token.integer == 2;
  bool square =
      two && !(mfr_lexer_next(&lexer, &token) && mfr_token_is(&token, MFR_TOKEN_SYMBOL, "^"));
  mfr_lexer_free(&lexer);
  return square;
}

/* Adds the powers of a source to the list on top. [-0, +0] */
static void add_powers(lua_State *L, const char *path, const char *text, size_t size) {
  mfr_lexer lexer;
  mfr_token token;
  int last = 0;
  mfr_lexer_init(&lexer, text, size);
  while (mfr_lexer_next(&lexer, &token)) {
    if (!mfr_token_is(&token, MFR_TOKEN_SYMBOL, "^") || token.line == last || is_square(lexer))
      continue;
    last = token.line;
    mfr_lexer_free(&lexer); /* what follows may raise; it makes itself a new buffer */
    lexer.capacity = lexer.used = 0;
    lua_createtable(L, 0, 2);
    mfr_set_string(L, "path", path, strlen(path));
    mfr_set_integer(L, "line", token.line);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  }
  mfr_lexer_free(&lexer);
}

void mfr_push_inexact(lua_State *L, mfr_state *state, const mfr_loaded *loaded) {
  lua_newtable(L);
  int list = lua_gettop(L);
  luaL_checkstack(L, 10, "sources");
  mfr_decode_here(L, state, loaded->code.data, loaded->code.size);
  lua_getfield(L, -1, "sources");
  int sources = lua_gettop(L);
  for (lua_Integer i = 1; lua_rawgeti(L, sources, i) == LUA_TTABLE; i++) {
    size_t size;
    lua_getfield(L, -1, "path");
    lua_getfield(L, -2, "text");
    const char *text = lua_tolstring(L, -1, &size);
    lua_pushvalue(L, list);
    add_powers(L, lua_tostring(L, sources + 2), text, size);
    lua_settop(L, sources);
  }
  lua_settop(L, list);
}

/* ---- digests as text ---- */

enum { HEX = 2 * MF_DIGEST_SIZE };

void mfr_push_digest(lua_State *L, const void *bytes) {
  static const char digits[] = "0123456789abcdef";
  const uint8_t *digest_bytes = bytes;
  char text[HEX];
  for (int i = 0; i < MF_DIGEST_SIZE; i++) {
    text[2 * i] = digits[digest_bytes[i] >> 4];
    text[2 * i + 1] = digits[digest_bytes[i] & 15];
  }
  lua_pushlstring(L, text, HEX);
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

static bool read_digest(mfr_text text, uint8_t digest_bytes[MF_DIGEST_SIZE]) {
  if (text.size != HEX) return false;
  for (int i = 0; i < MF_DIGEST_SIZE; i++) {
    int high = hex_value(text.data[2 * i]), low = hex_value(text.data[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest_bytes[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

/* ---- code that a store keeps ---- */

/* The record with bytes of its own, which the userdata frees. [-0, +1] */
static int record_gc(lua_State *L) {
  mf_code_record *record = lua_touserdata(L, 1);
  mf_free(record->code);
  record->code = (mf_bytes){NULL, 0};
  return 0;
}

static mf_code_record *push_record(lua_State *L) {
  mf_code_record *record = lua_newuserdatauv(L, sizeof *record, 0);
  memset(record, 0, sizeof *record);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, record_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return record;
}

/* Pushes what is known of it as a table. [-0, +1] */
static void push_code(lua_State *L, mfr_state *state, const mf_code_record *record) {
  if (!mfr_decode(L, state, record->code.data, record->code.size) ||
      lua_type(L, -1) != LUA_TTABLE) {
    mfr_push_error(L, state, MF_CORRUPT, "the code that is kept is no encoded value");
    lua_error(L);
  }
  mfr_push_digest(L, record->digest);
  lua_setfield(L, -2, "digest");
  mfr_set_integer(L, "first_seen", record->first_seen);
}

/* store:code(digest) -> { digest, name, path, first_seen, params, sources } or nil */
int mfr_code(lua_State *L) {
  mfr_state *state = mfr_of(L);
  uint8_t digest_bytes[MF_DIGEST_SIZE];
  mf_error error;
  const mfr_store *store = mfr_check_store(L, state, 1);
  mfr_text text = mfr_check_string(L, state, 2, "digest");
  if (!read_digest(text, digest_bytes))
    mfr_misuse(L, state, "digest", "a digest is %d hexadecimal digits, as in event.code_digest",
               HEX);
  mf_code_record *record = push_record(L);
  int status = mf_find_code(store->store, store->txn, digest_bytes, record, &error);
  if (status < 0) mfr_raise_store_error(L, state, &error);
  if (status == MF_DONE)
    lua_pushnil(L);
  else
    push_code(L, state, record);
  return 1;
}

/* store:codes() -> a list of what store:code() returns, without the sources, the oldest first */
int mfr_codes(lua_State *L) {
  mfr_state *state = mfr_of(L);
  uint8_t after[MF_DIGEST_SIZE];
  mf_error error;
  const mfr_store *store = mfr_check_store(L, state, 1);
  lua_settop(L, 1);
  lua_newtable(L);
  mf_code_record *record = push_record(L);
  int status;
  for (lua_Integer count = 0;;) {
    status = mf_next_code(store->store, count ? after : NULL, record, &error);
    if (status != MF_OK) break;
    memcpy(after, record->digest, sizeof after);
    push_code(L, state, record);
    mf_free(record->code);
    record->code = (mf_bytes){NULL, 0};
    lua_pushnil(L);
    lua_setfield(L, -2, "sources");
    lua_Integer at = ++count; /* into its place by time */
    for (; at > 1; at--) {
      lua_rawgeti(L, 2, at - 1);
      lua_getfield(L, -1, "first_seen");
      bool later = lua_tointeger(L, -1) > record->first_seen;
      lua_pop(L, 1);
      if (!later) {
        lua_pop(L, 1);
        break;
      }
      lua_rawseti(L, 2, at);
    }
    lua_rawseti(L, 2, at);
  }
  if (status < 0) mfr_raise_store_error(L, state, &error);
  lua_settop(L, 2);
  return 1;
}

/* ---- what else stands beside the log ---- */

/* store:kept() -> { codes, snapshots, commands }, each with its bytes */
int mfr_kept(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_error error;
  mf_beside_stats stats;
  const mfr_store *store = mfr_check_store(L, state, 1);
  if (mf_beside(store->store, &stats, &error) != MF_OK) mfr_raise_store_error(L, state, &error);
  lua_createtable(L, 0, 6);
  mfr_set_integer(L, "codes", stats.codes);
  mfr_set_integer(L, "code_bytes", stats.code_bytes);
  mfr_set_integer(L, "snapshots", stats.snapshots);
  mfr_set_integer(L, "snapshot_bytes", stats.snapshot_bytes);
  mfr_set_integer(L, "commands", stats.commands);
  mfr_set_integer(L, "command_bytes", stats.command_bytes);
  return 1;
}

/* store:drop_snapshots([fold_digest]) -> how many there were */
int mfr_drop_snapshots(lua_State *L) {
  mfr_state *state = mfr_of(L);
  uint8_t digest_bytes[MF_DIGEST_SIZE];
  mf_error error;
  int64_t count;
  const mfr_store *store = mfr_check_store(L, state, 1);
  bool all = lua_isnoneornil(L, 2);
  if (!all && !read_digest(mfr_check_string(L, state, 2, "fold_digest"), digest_bytes))
    mfr_misuse(L, state, "fold_digest",
               "a digest is %d hexadecimal digits, as in decider.fold_digest", HEX);
  if (store->txn)
    mfr_misuse(L, state, "store",
               "snapshots are not dropped in a transaction: it would wait for itself");
  if (mf_drop_snapshots(store->store, all ? NULL : digest_bytes, &count, &error) != MF_OK)
    mfr_raise_store_error(L, state, &error);
  lua_pushinteger(L, count);
  return 1;
}
