/*
 * Processes that share a piece of work, for the command line: each is a fork of this one, runs a
 * Lua function and sends texts, which the parent gathers. They are to be forked before a store is
 * opened, because a store does not survive that.
 *
 * No worker outlives its parent: one that sends to nobody is ended by SIGPIPE, and whoever is
 * interrupted ends those that it has.
 */
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS_MOST = 64, READ_SIZE = 1 << 16, LOOK_EVERY = 100 /* ms */ };

#define CLASS "moonfold.worker"

typedef struct worker {
  pid_t pid;     /* 0: it was waited for */
  int fd;        /* where its texts come from; -1: closed */
  mfr_buffer in; /* what has come, and is no whole text yet */
} worker;

/* ---- in the worker ---- */

static void write_all(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) _exit(EXIT_FAILURE);
    bytes += written;
    size -= (size_t)written;
  }
}

/* send(text). Upvalue: the pipe. */
static int send(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  uint64_t length = size;
  int fd = (int)lua_tointeger(L, lua_upvalueindex(1));
  write_all(fd, (const char *)&length, sizeof length);
  write_all(fd, text, size);
  return 0;
}

static void work(lua_State *L, int fd) {
  signal(SIGINT, SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
  lua_settop(L, 1);
  lua_pushinteger(L, fd);
  lua_pushcclosure(L, send, 1);
  int rc = lua_pcall(L, 1, 0, 0);
  _exit(rc == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE); /* and runs nothing of the parent's */
}

/* ---- in the parent ---- */

/* host.fork(f) -> worker, in which f(send) runs. */
static int host_fork(lua_State *L) {
  int ends[2];
  luaL_checktype(L, 1, LUA_TFUNCTION);
  worker *w = lua_newuserdatauv(L, sizeof *w, 0);
  *w = (worker){0, -1, {NULL, 0, 0}};
  luaL_setmetatable(L, CLASS);
  fflush(NULL); /* or it would be written twice */
  if (pipe(ends) != 0) return luaL_error(L, "a pipe: %s", strerror(errno));
  pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    work(L, ends[1]);
  }
  close(ends[1]);
  w->fd = ends[0];
  if (pid < 0) return luaL_error(L, "another process: %s", strerror(errno));
  w->pid = pid;
  return 1;
}

/* How it ended: NULL for well. */
static const char *reap(worker *w) {
  int status = 0;
  if (w->fd >= 0) close(w->fd);
  w->fd = -1;
  mfr_buffer_free(&w->in);
  if (w->pid == 0) return NULL;
  while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
    ;
  w->pid = 0;
  if (WIFSIGNALED(status)) return strsignal(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? NULL : "it failed";
}

/* It is ended, whatever it does. */
static int worker_close(lua_State *L) {
  worker *w = luaL_checkudata(L, 1, CLASS);
  if (w->pid) kill(w->pid, SIGKILL);
  reap(w);
  return 0;
}

/* Reads what there is. False at the end. */
static bool read_some(lua_State *L, worker *w) {
  mfr_need_room(L, mfr_of(L), &w->in, READ_SIZE);
  ssize_t size = read(w->fd, w->in.data + w->in.size, READ_SIZE);
  if (size < 0) return errno == EINTR || errno == EAGAIN;
  w->in.size += (size_t)size;
  return size > 0;
}

/* Gives the texts that are whole to the function at index 2. */
static void deliver(lua_State *L, worker *w) {
  size_t at = 0;
  uint64_t length;
  while (w->in.size - at >= sizeof length) {
    memcpy(&length, w->in.data + at, sizeof length);
    if (w->in.size - at - sizeof length < length) break;
    lua_pushvalue(L, 2);
    lua_pushlstring(L, w->in.data + at + sizeof length, (size_t)length);
    at += sizeof length + (size_t)length;
    lua_call(L, 1, 0);
  }
  if (at == 0) return;
  memmove(w->in.data, w->in.data + at, w->in.size - at);
  w->in.size -= at;
}

/* host.gather(workers, f): f(text) for every text that one of them sends, until all have ended.
 * Raises when one ended badly. */
static int host_gather(lua_State *L) {
  struct pollfd polled[WORKERS_MOST];
  worker *workers[WORKERS_MOST];
  int count = (int)luaL_len(L, 1), open = count;
  luaL_argcheck(L, count <= WORKERS_MOST, 1, "too many workers");
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, 1, i + 1);
    workers[i] = luaL_checkudata(L, -1, CLASS);
    lua_pop(L, 1);
  }
  while (open > 0) {
    for (int i = 0; i < count; i++)
      polled[i] = (struct pollfd){workers[i]->fd, POLLIN, 0}; /* a negative one is passed over */
    int ready = poll(polled, (nfds_t)count, LOOK_EVERY);
    lua_rawgeti(L, LUA_REGISTRYINDEX, mfr_of(L)->run_hooks_ref); /* Ctrl-C raises here */
    lua_call(L, 0, 0);
    for (int i = 0; ready > 0 && i < count; i++) {
      if (!polled[i].revents) continue;
      bool more = read_some(L, workers[i]);
      deliver(L, workers[i]);
      if (more) continue;
      open--;
      const char *problem = reap(workers[i]);
      if (problem) return luaL_error(L, "a process that shared the work ended: %s", problem);
    }
  }
  return 0;
}

/* host.cores() -> processors that work */
static int host_cores(lua_State *L) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  lua_pushinteger(L, cores < 1 ? 1 : cores > WORKERS_MOST ? WORKERS_MOST : cores);
  return 1;
}

static const luaL_Reg functions[] = {
    {"fork", host_fork}, {"gather", host_gather}, {"cores", host_cores}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", worker_close}, {"__close", worker_close}, {NULL, NULL}};

void mfr_workers_open(lua_State *L) {
  luaL_newmetatable(L, CLASS);
  luaL_setfuncs(L, meta, 0);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 1);
}
