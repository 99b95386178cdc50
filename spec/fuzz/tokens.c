/* Fuzzes the lexer of Lua: its tokens stand in the source, one behind the other, and it takes every
 * text that Lua compiles. */
#include "tokens.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool compiles(const char *source, size_t size) {
  lua_State *L = luaL_newstate();
  bool fine = L && luaL_loadbufferx(L, source, size, "=x", "t") == LUA_OK;
  if (L) lua_close(L);
  return fine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mfr_lexer lexer;
  mfr_token token;
  const char *source = (const char *)data, *before = source;
  volatile char last = 0;
  mfr_lexer_init(&lexer, source, size);
  while (mfr_lexer_next(&lexer, &token)) {
    if (token.text < before || token.text + token.size > source + size) abort();
    if (token.value_size) last = token.value[token.value_size - 1];
    before = token.text + token.size;
  }
  (void)last;
  bool refused = lexer.error != NULL;
  mfr_lexer_free(&lexer);
  /* luaL_loadbuffer() knows no byte order mark and no first line with '#'. */
  if (refused && size > 0 && data[0] != '#' && data[0] != 0xEF && compiles(source, size)) abort();
  return 0;
}
