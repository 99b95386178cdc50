/*
 * The binary. `moonfold run FILE [ARGS]` is a Lua interpreter with the module inside; `moonfold
 * FILE.lua` is the same. main() only makes a state and runs pmain() in a protected call, so that
 * every error ends in one place.
 */
#include "pool.h"
#include "runtime.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exit statuses. */
enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char help[] =
    "Moonfold: an event store that runs your Lua rules.\n"
    "\n"
    "usage: moonfold run FILE [ARGS...]   run a Lua program; require \"moonfold\" works in it\n"
    "       moonfold FILE.lua [ARGS...]   the same\n"
    "       moonfold run - [ARGS...]      run the program on standard input\n"
    "       moonfold --version            print versions\n"
    "       moonfold --help               print this\n"
    "\n"
    "ARGS are in the table `arg` and in `...`, as with lua. Ctrl-C raises an error in the program, "
    "so that its\n"
    "stores are closed; a second one ends it at once.\n"
    "Exit status: 0 fine, 1 the program failed, 2 it was called wrongly.\n"
    "\n"
    "MOONFOLD_SCRIPTS=FOLDER reads the Lua files that come with Moonfold from a folder, not from "
    "the binary.\n"
    "LUA_PATH, LUA_CPATH: where other Lua packages are found.\n"
    "\n"
    "Example:\n"
    "  moonfold run examples/shopping_cart/main.lua\n";

/* ---- Ctrl-C ---- */

static lua_State *running;

static void stop(lua_State *L, lua_Debug *frame) {
  (void)frame;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted");
}

/* Only sets a hook, which is all that a signal handler may do to a state; the next instruction
 * raises. */
static void on_interrupt(int signal_number) {
  signal(signal_number, SIG_DFL);
  lua_sethook(running, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void catch_interrupt(lua_State *L, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler; /* without SA_RESTART: a wait must return */
  sigemptyset(&action.sa_mask);
  running = L;
  sigaction(SIGINT, &action, NULL);
}

/* ---- running a program ---- */

static int add_traceback(lua_State *L) {
  if (!lua_isstring(L, 1) && !luaL_getmetafield(L, 1, "__tostring")) {
    lua_pushfstring(L, "(the error is a %s)", luaL_typename(L, 1));
    return 1;
  }
  luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, lua_tostring(L, -1), 1);
  if (lua_istable(L, 1) && lua_getfield(L, 1, "traceback") == LUA_TSTRING)
    lua_pushfstring(L, "%s\nin the script:\n%s", lua_tostring(L, -2), lua_tostring(L, -1));
  else if (lua_istable(L, 1))
    lua_pop(L, 1);
  return 1;
}

static void set_arg(lua_State *L, int argc, char **argv, int script) {
  lua_createtable(L, argc - script, script + 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

static int report(lua_State *L) {
  const char *message = lua_tostring(L, -1);
  fflush(stdout);
  fprintf(stderr, "moonfold: %s\n", message ? message : "(no message)");
  return EXIT_FAILED;
}

static int run_file(lua_State *L, int argc, char **argv, int script) {
  const char *file = strcmp(argv[script], "-") == 0 ? NULL : argv[script];
  set_arg(L, argc, argv, script);
  if (luaL_loadfile(L, file) != LUA_OK) return report(L);
  int base = lua_gettop(L);
  for (int i = script + 1; i < argc; i++)
    lua_pushstring(L, argv[i]);
  lua_pushcfunction(L, add_traceback);
  lua_insert(L, base);
  catch_interrupt(L, on_interrupt);
  int rc = lua_pcall(L, argc - script - 1, 0, base);
  catch_interrupt(L, SIG_DFL);
  return rc == LUA_OK ? EXIT_FINE : report(L);
}

/* Warnings of Lua ("@on" and "@off" are ignored: they are always shown), such as an error in a
 * finalizer. */
static void print_warning(void *context, const char *message, int to_be_continued) {
  static bool continued;
  (void)context;
  if (!continued && !to_be_continued && message[0] == '@') return;
  fprintf(stderr, "%s%s%s", continued ? "" : "Lua warning: ", message, to_be_continued ? "" : "\n");
  continued = to_be_continued;
}

static int print_version(void) {
  printf("Moonfold %s, %s\n", MF_VERSION, LUA_RELEASE);
  return EXIT_FINE;
}

static int usage(const char *problem, const char *what) {
  fprintf(stderr, "moonfold: %s%s%s\nTry: moonfold --help\n", problem, what ? " " : "",
          what ? what : "");
  return EXIT_USAGE;
}

static bool ends_with_lua(const char *name) {
  size_t size = strlen(name);
  return size > 4 && strcmp(name + size - 4, ".lua") == 0;
}

static int run_command(lua_State *L, int argc, char **argv) {
  const char *first = argc > 1 ? argv[1] : NULL;
  if (!first) {
    fputs(help, stdout);
    return EXIT_USAGE;
  }
  if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0) {
    fputs(help, stdout);
    return EXIT_FINE;
  }
  if (strcmp(first, "--version") == 0 || strcmp(first, "-v") == 0) return print_version();
  if (strcmp(first, "run") == 0) {
    if (argc < 3) return usage("run needs the path of a Lua file, or -", NULL);
    if (strcmp(argv[2], "--help") == 0) {
      fputs(help, stdout);
      return EXIT_FINE;
    }
    return run_file(L, argc, argv, 2);
  }
  if (ends_with_lua(first)) return run_file(L, argc, argv, 1);
  if (first[0] == '-') return usage("unknown option", first);
  return usage("there is one command, \"run\", and Lua files end in .lua; this is neither:", first);
}

/* Arguments: argc, argv. Returns the exit status. */
static int pmain(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  luaL_checkversion(L);
  luaL_openlibs(L);
  /* So that the scripts that come with it can be required before the module itself was. */
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  lua_pop(L, 1);
  lua_gc(L, LUA_GCGEN, 0, 0); /* folding makes much short-lived garbage */
  lua_pushinteger(L, run_command(L, argc, argv));
  return 1;
}

int main(int argc, char **argv) {
  mfr_pool *pool = mfr_pool_new();
  lua_State *L = pool ? lua_newstate(mfr_pool_alloc, pool) : NULL;
  if (!L) {
    fputs("moonfold: no memory\n", stderr);
    return EXIT_FAILED;
  }
  lua_setwarnf(L, print_warning, L);
  lua_pushcfunction(L, pmain);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  int status = EXIT_FAILED;
  if (lua_pcall(L, 2, 1, 0) == LUA_OK)
    status = (int)lua_tointeger(L, -1);
  else
    report(L);
  lua_close(L);
  mfr_pool_free(pool);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "moonfold: writing output: %s\n", strerror(errno));
    if (status == EXIT_FINE) status = EXIT_FAILED;
  }
  return status;
}
