/* find, match, gmatch, gsub. */
#include "library.h"

#include <lualib.h>

static const char *const names[] = {"find", "match", "gmatch", "gsub", NULL};

void mfr_open_patterns(lua_State *L) {
  mfr_pick(L, luaopen_string, names);
  for (int i = 0; names[i]; i++) {
    lua_getfield(L, -1, names[i]);
    lua_setfield(L, -3, names[i]);
  }
  lua_pop(L, 1);
}
