/* The functions that the runtime adds to the table `host` of the command line; see host.h. */
#include "host.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what several files need ---- */

void mfr_write_hex(char *out, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

bool mfr_read_hex(const char *text, uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    unsigned value;
    if (!isxdigit((unsigned char)text[2 * i]) || !isxdigit((unsigned char)text[2 * i + 1]))
      return false;
    sscanf(text + 2 * i, "%2x", &value);
    bytes[i] = (uint8_t)value;
  }
  return text[2 * size] == '\0';
}

void mfr_need_room(lua_State *L, const mfr_state *state, mfr_buffer *out, size_t size) {
  if (mfr_buffer_reserve(out, size)) return;
  mfr_push_error(L, state, MF_NO_MEMORY, "no memory for the text of an event");
  lua_error(L);
}

/* ---- values and stores ---- */

/* host.json(value) -> JSON, also of bytes that are no UTF-8 */
static int host_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_check_value(L, state, 1);
  lua_settop(L, 1);
  return mfr_push_json(L, state, 1, MFR_JSON_TAGGED);
}

/* host.parse_json(text) -> value */
static int host_parse_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text text = mfr_check_string(L, state, 1, "text");
  lua_settop(L, 1);
  mfr_parse_json(L, state, text.data, text.size, true, 1);
  return 1;
}
/* host.seed(store) -> 16 hexadecimal digits, from which generated ids come */
static int host_seed(lua_State *L) {
  char text[24];
  const mfr_store *store = mfr_check_store(L, mfr_of(L), 1);
  snprintf(text, sizeof text, "%016llx", (unsigned long long)store->seed);
  lua_pushstring(L, text);
  return 1;
}

/* host.create(path, seed): makes an empty store with a seed. */
static int host_create(lua_State *L) {
  mf_open_options options = {.size = sizeof options};
  mf_store *store;
  mf_error error;
  options.seed = strtoull(luaL_checkstring(L, 2), NULL, 16);
  int status = mf_open(luaL_checkstring(L, 1), &options, &store, &error);
  if (status == MF_OK) {
    mf_close(store);
    return 0;
  }
  return mfr_raise_store_error(L, mfr_of(L), &error);
}

/* ---- the table ---- */

int mfr_host_call(lua_State *L, lua_CFunction body, int arguments, int results) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  lua_settop(L, arguments);
  call.store = mfr_check_store(L, state, 1);
  return mfr_protect(L, state, &call, body, arguments, results);
}

static const luaL_Reg functions[] = {{"json", host_json},
                                     {"parse_json", host_parse_json},
                                     {"time", mfr_host_time},
                                     {"parse_time", mfr_host_parse_time},
                                     {"lines", mfr_host_lines},
                                     {"printable", mfr_host_printable},
                                     {"show_foreign", mfr_host_show_foreign},
                                     {"import", mfr_host_import},
                                     {"code_line", mfr_host_code_line},
                                     {"command_lines", mfr_host_command_lines},
                                     {"seed", host_seed},
                                     {"create", host_create},
                                     {"stats", mfr_host_stats},
                                     {"census", mfr_host_census},
                                     {"busy", mfr_host_busy},
                                     {"span", mfr_host_span},
                                     {NULL, NULL}};
void mfr_host_open(lua_State *L) {
  lua_pushfstring(L, "Moonfold %s, %s", MF_VERSION, LUA_RELEASE);
  lua_setfield(L, -2, "version");
  /* The state of the module, which every function of it has as its upvalue. */
  luaopen_moonfold(L);
  lua_getfield(L, -1, "open");
  lua_getupvalue(L, -1, 1);
  lua_replace(L, -3);
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_insert(L, -3);
  luaL_setfuncs(L, functions, 1);
  lua_insert(L, -2);
  mfr_workers_open(L);
}
