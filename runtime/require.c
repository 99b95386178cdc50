/*
 * require of scripts: modules of the script's own folder, run as the script itself is, and the pure
 * ones that come with the runtime. A module's name has no way out of the folder, and neither has a
 * symbolic link.
 */
#include "library.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { SOURCE_MAX = 1 << 20 };

/* Upvalue 1 of a script's own require: what it has loaded, by name. */

static void check_name(lua_State *L, const char *name, size_t size) {
  bool fine = size > 0 && size < 200 && strlen(name) == size;
  for (size_t i = 0; fine && i < size; i++) {
    char c = name[i];
    bool dot = c == '.' && i > 0 && i + 1 < size && name[i - 1] != '.';
    fine = dot || c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
  }
  if (!fine)
    luaL_error(L,
               "a module's name is made of letters, digits, _ and -, with dots for folders: \"%s\" "
               "is none",
               name);
}

/* Whether the file that the path leads to is in the folder. */
static bool inside(const char *folder, const char *path) {
  char *whole = realpath(folder, NULL), *file = realpath(path, NULL);
  size_t size = whole ? strlen(whole) : 0;
  bool is = whole && file && strncmp(whole, file, size) == 0 &&
            (file[size] == '/' || (size == 1 && whole[0] == '/'));
  free(whole);
  free(file);
  return is;
}

/* Pushes the text of the file, or returns why not. [-0, +1|0] */
static const char *read_file(lua_State *L, const char *folder, const char *path) {
  struct stat status;
  if (stat(path, &status) != 0) return "there is no such file in the script's folder";
  if (!inside(folder, path)) return "it leads out of the script's folder";
  if (!S_ISREG(status.st_mode)) return "it is not a file";
  if (status.st_size > SOURCE_MAX) return "it is larger than 1 MiB";
  size_t size = (size_t)status.st_size;
  char *text = lua_newuserdatauv(L, size + 1, 0);
  FILE *file = fopen(path, "rb");
  if (!file) {
    lua_pop(L, 1);
    return "it cannot be read";
  }
  size_t got = fread(text, 1, size, file);
  fclose(file);
  lua_pushlstring(L, text, got);
  lua_remove(L, -2);
  return NULL;
}

/* Pushes the chunk of a module in the folder, ready to be called. [-0, +1] */
static void load_from_folder(lua_State *L, const char *module) {
  const mfr_source *source = mfr_sandbox_of(L)->source;
  if (!source->folder)
    luaL_error(L, "module \"%s\" is not found: this script has no folder", module);
  lua_pushfstring(L, "%s.lua", luaL_gsub(L, module, ".", "/"));
  lua_remove(L, -2);
  const char *name = lua_tostring(L, -1);
  lua_pushfstring(L, "%s/%s", source->folder, name);
  const char *path = lua_tostring(L, -1);
  const char *problem = read_file(L, source->folder, path);
  if (problem) luaL_error(L, "module \"%s\" (%s) is not found: %s", module, name, problem);
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  if (source->required) source->required(source->context, module, name, text, size);
  lua_pushfstring(L, "@%s", name);
  mfr_load_text(L, text, size, lua_tostring(L, -1));
  lua_replace(L, -5);
  lua_pop(L, 3);
}

/* Pushes the chunk of a module that comes with the runtime. [-0, +1|0] */
static bool load_shipped(lua_State *L, const char *module) {
  static const char pure[] = "moonfold.domain.";
  if (strncmp(module, pure, sizeof pure - 1) != 0) return false;
  for (const mfr_script *script = mfr_scripts; script->module; script++) {
    if (strcmp(script->module, module) != 0) continue;
    const mfr_source *source = mfr_sandbox_of(L)->source;
    if (source->required)
      source->required(source->context, module, script->path, script->source, script->size);
    lua_pushfstring(L, "@%s", script->path);
    mfr_load_text(L, script->source, script->size, lua_tostring(L, -1));
    lua_remove(L, -2);
    return true;
  }
  return false;
}

static void run(lua_State *L, const char *module, int environment, int loaded) {
  mfr_sandbox *sandbox = mfr_sandbox_of(L);
  mfr_requiring requiring = {module, sandbox->requiring};
  sandbox->requiring = &requiring;
  if (!load_shipped(L, module)) load_from_folder(L, module);
  lua_pushvalue(L, environment);
  lua_setupvalue(L, -2, 1);
  lua_pushstring(L, module);
  lua_call(L, 1, 1);
  sandbox->requiring = requiring.outer;
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, loaded, module);
}

/* Upvalues: 1 the script's environment, 2 the modules it has loaded. */
int mfr_require(lua_State *L) {
  size_t size;
  const char *name = luaL_checklstring(L, 1, &size);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, lua_upvalueindex(2));
  check_name(L, name, size);
  if (lua_getfield(L, 3, name) != LUA_TNIL) return 1;
  for (const mfr_requiring *r = mfr_sandbox_of(L)->requiring; r; r = r->outer)
    if (strcmp(r->module, name) == 0)
      return luaL_error(L, "module \"%s\" requires itself, by way of others", name);
  if (!mfr_sandbox_of(L)->loading)
    return luaL_error(
        L, "require \"%s\" at the top of the file: modules are loaded with the script", name);
  lua_pop(L, 1);
  run(L, name, 2, 3);
  return 1;
}
