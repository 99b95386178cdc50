/* Fuzzes the JSON parser: what it takes comes out as JSON that reads back as the same value. */
#include "state.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(lua_State *L, mfr_state *state, const uint8_t *data, size_t size) {
  size_t length;
  mfr_parse_json(L, state, (const char *)data, size, true, 1);
  mfr_push_json(L, state, lua_gettop(L), MFR_JSON_EXACT);
  int first = lua_gettop(L);
  const char *text = lua_tolstring(L, first, &length);
  mfr_parse_json(L, state, text, length, true, 1);
  mfr_push_json(L, state, lua_gettop(L), MFR_JSON_EXACT);
  if (lua_rawequal(L, -1, first)) return;
  fprintf(stderr, "%s\nbecame\n%s\n", text, lua_tostring(L, -1));
  abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input in = {data, size, parse};
  run_in_state(&in);
  return 0;
}
