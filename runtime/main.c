/*
 * The binary. It is small on purpose: signals, warnings, exit statuses, and a table `host` of what
 * Lua cannot do by itself. What the program does is decided by scripts/moonfold/cli, which is
 * given that table and its arguments and returns the exit status. main() only makes a state and
 * runs pmain() in a protected call, so that every error ends in one place.
 */
#include "host.h"
#include "pool.h"
#include "repl.h"

#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_FINE = 0, EXIT_FAILED = 1 };

/* ---- Ctrl-C ---- */

static lua_State *running;
static volatile sig_atomic_t interrupts;
static volatile sig_atomic_t guarded; /* host.guard() is under way */

/* Raises once, so that what the error passes can be closed; from the second Ctrl-C in a guarded
 * call on it raises again and again, because the first one was caught. */
static void stop(lua_State *L, lua_Debug *frame) {
  (void)frame;
  if (!guarded || interrupts < 2) lua_sethook(L, NULL, 0, 0);
  if (interrupts > 0) luaL_error(L, "interrupted"); /* else it was dealt with long ago */
}

static void stop_soon(lua_State *L) {
  lua_sethook(L, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* Only sets a hook, which is all that a signal handler may do to a state; the next instruction
 * raises. */
static void on_interrupt(int signal_number) {
  interrupts++;
  if (!guarded || interrupts > 3) signal(signal_number, SIG_DFL);
  stop_soon(running);
}

static void handle_signal(int signal_number, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler; /* without SA_RESTART: a wait must return */
  sigemptyset(&action.sa_mask);
  sigaction(signal_number, &action, NULL);
}

/* Whoever touches a page of a mapped file that cannot be read is ended: this says why. The page is
 * touched again after it, and then it happens. */
static void on_unreadable_page(int signal_number) {
  static const char told[] = "moonfold: io: a page of the store's file cannot be read: its disk "
                             "fails, or somebody has made "
                             "the file shorter; `moonfold verify STORE` tells what is lost, and "
                             "`moonfold salvage STORE NEW` "
                             "saves the rest\n";
  signal(signal_number, SIG_DFL);
  if (write(STDERR_FILENO, told, sizeof told - 1) < 0) return; /* there is nobody to tell */
}

/* host.interrupts() -> how often Ctrl-C was pressed. */
static int host_interrupts(lua_State *L) {
  lua_pushinteger(L, interrupts);
  return 1;
}

/* host.catch_interrupts(): after one was dealt with, the next raises again. */
static int host_catch_interrupts(lua_State *L) {
  running = L;
  interrupts = 0;
  handle_signal(SIGINT, on_interrupt);
  return 0;
}

/*
 * host.guard(f, ...) -> what pcall gives. Ctrl-C ends f and not the program, whatever f catches;
 * one who presses it a fifth time means the program.
 */
static int host_guard(lua_State *L) {
  luaL_checkany(L, 1);
  host_catch_interrupts(L);
  guarded = 1;
  int rc = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  guarded = 0;
  lua_sethook(L, NULL, 0, 0);
  host_catch_interrupts(L);
  lua_pushboolean(L, rc == LUA_OK);
  lua_insert(L, 1);
  return lua_gettop(L);
}

/*
 * Runs a coroutine: hooks are those of a coroutine, so Ctrl-C has to know which one runs. One that
 * was stopped stops the one that resumed it, too. Upvalues: what resumes it; the coroutine, or nil
 * where that is the first argument.
 */
static int resume_watched(lua_State *L) {
  bool wrapped = lua_isthread(L, lua_upvalueindex(2));
  if (!wrapped) luaL_checktype(L, 1, LUA_TTHREAD);
  lua_State *outer = running, *inner = lua_tothread(L, wrapped ? lua_upvalueindex(2) : 1);
  sig_atomic_t before = interrupts;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  running = inner;
  int rc = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  running = outer;
  if (interrupts != before) stop_soon(L);
  if (rc == LUA_OK) return lua_gettop(L);
  if (wrapped && lua_type(L, -1) == LUA_TSTRING) { /* as coroutine.wrap does it */
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

/* Upvalue: coroutine.wrap, whose functions keep their coroutine in an upvalue. */
static int wrap_watched(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  if (!lua_getupvalue(L, -1, 1)) lua_pushnil(L);
  lua_pushcclosure(L, resume_watched, 2);
  return 1;
}

/* Puts both in place of the library's own. */
static void watch_coroutines(lua_State *L) {
  lua_getglobal(L, "coroutine");
  lua_getfield(L, -1, "resume");
  lua_pushnil(L);
  lua_pushcclosure(L, resume_watched, 2);
  lua_setfield(L, -2, "resume");
  lua_getfield(L, -1, "wrap");
  lua_pushcclosure(L, wrap_watched, 1);
  lua_setfield(L, -2, "wrap");
  lua_pop(L, 1);
}

/*
 * Waits until there is something to read; false when Ctrl-C came first, or before. A signal that
 * arrives just before a read would not end it: it is let through only while this waits.
 */
static bool wait_for_input(int fd) {
  struct pollfd input = {fd, POLLIN, 0};
  sigset_t interrupt, before;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &interrupt, &before);
  bool ready = interrupts == 0 && ppoll(&input, 1, NULL, &before) >= 0;
  sigprocmask(SIG_SETMASK, &before, NULL);
  return ready;
}

/*
 * host.read(file, size) -> bytes, ended; nil and a message when it fails
 * So many bytes, or what there is to the end, past the file's buffer: use nothing else on it.
 */
static int host_read(lua_State *L) {
  luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  size_t size = (size_t)luaL_checkinteger(L, 2), taken = 0;
  bool ended = false;
  luaL_Buffer out;
  luaL_argcheck(L, stream->closef != NULL, 1, "the file is closed");
  int fd = fileno(stream->f);
  char *bytes = luaL_buffinitsize(L, &out, size);
  while (taken < size && !ended && wait_for_input(fd)) {
    ssize_t n = read(fd, bytes + taken, size - taken);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return luaL_fileresult(L, 0, NULL);
    if (n > 0) taken += (size_t)n;
    ended = n == 0;
  }
  luaL_pushresultsize(&out, taken);
  lua_pushboolean(L, ended);
  return 2;
}

/* host.ignore_broken_pipes(): writing to a reader that is gone fails with EPIPE, instead of ending
 * the process. */
static int host_ignore_broken_pipes(lua_State *L) {
  (void)L;
  handle_signal(SIGPIPE, SIG_IGN);
  return 0;
}

/* host.reader_gone() -> whether standard output is a pipe that nobody reads any more. */
static int host_reader_gone(lua_State *L) {
  struct pollfd output = {STDOUT_FILENO, 0, 0};
  lua_pushboolean(L, poll(&output, 1, 0) > 0 && (output.revents & (POLLERR | POLLNVAL)));
  return 1;
}

/* ---- terminal, files, time ---- */

/* host.is_terminal(0|1|2) -> boolean: standard input, output, error */
static int host_is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* host.width() -> columns of the terminal, nil where there is none */
static int host_width(lua_State *L) {
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 0;
  lua_pushinteger(L, size.ws_col);
  return 1;
}

/* host.kind(path) -> "file", "folder", "other"; nil where there is nothing */
static int host_kind(lua_State *L) {
  struct stat status;
  if (stat(luaL_checkstring(L, 1), &status) != 0) return 0;
  lua_pushstring(L, S_ISREG(status.st_mode)   ? "file"
                    : S_ISDIR(status.st_mode) ? "folder"
                                              : "other");
  lua_pushinteger(L, (lua_Integer)status.st_size);
  return 2;
}

/* host.list(folder) -> the names in it, sorted, without "." and ".."; nil and a message */
static int host_list(lua_State *L) {
  struct dirent **names;
  const char *folder = luaL_checkstring(L, 1);
  int count = scandir(folder, &names, NULL, NULL), kept = 0;
  if (count < 0) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", folder, strerror(errno));
    return 2;
  }
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    const char *name = names[i]->d_name;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
      lua_pushstring(L, name);
      lua_rawseti(L, -2, ++kept);
    }
    free(names[i]);
  }
  free(names);
  lua_getglobal(L, "table");
  lua_getfield(L, -1, "sort");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 0);
  lua_pop(L, 1);
  return 1;
}

/* host.make_folder(path) -> true; nil and a message */
static int host_make_folder(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lua_pushboolean(L, 1);
  if (mkdir(path, 0777) == 0) return 1;
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", path, strerror(errno));
  return 2;
}

/* host.monotonic() -> seconds since some point, never set back */
static int host_monotonic(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
  return 1;
}

/* host.now() -> microseconds since the epoch */
static int host_now(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000 + now.tv_nsec / 1000);
  return 1;
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

static int report(lua_State *L) {
  const char *message = lua_tostring(L, -1);
  fflush(stdout);
  fprintf(stderr, "moonfold: %s\n", message ? message : "(no message)");
  return EXIT_FAILED;
}

/* Runs a Lua program as `lua` would: [file or nil, arguments] are on the stack, above `base`. It
 * runs here and not below the scripts of the command line, so that tracebacks show only itself. */
static int run_program(lua_State *L, int base) {
  int file = base + 1, arguments = base + 2;
  lua_pushvalue(L, arguments);
  lua_setglobal(L, "arg");
  lua_pushcfunction(L, add_traceback);
  int handler = lua_gettop(L);
  if (luaL_loadfile(L, lua_tostring(L, file)) != LUA_OK) return report(L);
  int count = (int)lua_rawlen(L, arguments);
  luaL_checkstack(L, count, "too many arguments");
  for (int i = 1; i <= count; i++)
    lua_rawgeti(L, arguments, i);
  return lua_pcall(L, count, 0, handler) == LUA_OK ? EXIT_FINE : report(L);
}

static const luaL_Reg host_functions[] = {{"interrupts", host_interrupts},
                                          {"catch_interrupts", host_catch_interrupts},
                                          {"guard", host_guard},
                                          {"ignore_broken_pipes", host_ignore_broken_pipes},
                                          {"reader_gone", host_reader_gone},
                                          {"read", host_read},
                                          {"is_terminal", host_is_terminal},
                                          {"width", host_width},
                                          {"kind", host_kind},
                                          {"list", host_list},
                                          {"make_folder", host_make_folder},
                                          {"monotonic", host_monotonic},
                                          {"now", host_now},
                                          {NULL, NULL}};

/* ---- the state ---- */

/* Warnings of Lua ("@on" and "@off" are ignored: they are always shown), such as an error in a
 * finalizer. */
static void print_warning(void *context, const char *message, int to_be_continued) {
  static bool continued;
  (void)context;
  if (!continued && !to_be_continued && message[0] == '@') return;
  fprintf(stderr, "%s%s%s", continued ? "" : "Lua warning: ", message, to_be_continued ? "" : "\n");
  continued = to_be_continued;
}

/* Arguments: argc, argv. Returns the exit status, which the scripts decide: they return it, or nil
 * and a Lua program to run in their place, with its arguments. */
static int pmain(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  luaL_checkversion(L);
  luaL_openlibs(L);
  watch_coroutines(L);
  /* So that the scripts that come with it can be required before the module itself was. */
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  lua_gc(L, LUA_GCGEN, 0, 0); /* folding makes much short-lived garbage */
  lua_settop(L, 0);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonfold.cli.main");
  lua_call(L, 1, 1);
  luaL_newlib(L, host_functions);
  mfr_host_open(L);
  mfr_repl_open(L);
  lua_createtable(L, argc, 0);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_call(L, 2, 3);
  if (lua_isnil(L, 1))
    lua_pushinteger(L, run_program(L, 1));
  else
    lua_settop(L, 1);
  return 1;
}

/* What was written last may meet a full disk; a reader that is gone (`| head`) is no failure. */
static int end_output(int status) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return status;
  if (errno == EPIPE || status != EXIT_FINE) return status;
  fprintf(stderr, "moonfold: io: writing output: %s\n", strerror(errno));
  return EXIT_FAILED;
}

/* Ends as one who was interrupted should, so that a shell's loop ends, too: its $? is 130. */
static void die_interrupted(void) {
  signal(SIGINT, SIG_DFL);
  raise(SIGINT);
}

int main(int argc, char **argv) {
  mfr_pool *pool = mfr_pool_new(NULL);
  lua_State *L = pool ? lua_newstate(mfr_pool_alloc, pool) : NULL;
  if (!L) {
    fputs("moonfold: no_memory: there is no memory to begin with\n", stderr);
    return EXIT_FAILED;
  }
  handle_signal(SIGBUS, on_unreadable_page);
  lua_setwarnf(L, print_warning, L);
  lua_pushcfunction(L, pmain);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  int status = EXIT_FAILED;
  if (lua_pcall(L, 2, 1, 0) == LUA_OK)
    status = (int)lua_tointeger(L, -1);
  else
    report(L);
  signal(SIGINT, SIG_DFL);
  mfr_repl_close();
  lua_close(L);
  mfr_pool_free(pool);
  status = end_output(status);
  if (status != EXIT_FINE && interrupts > 0) die_interrupted();
  return status;
}
