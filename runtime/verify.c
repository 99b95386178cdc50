/* moonfold.verify and moonfold.salvage: what mf_verify() and mf_salvage() find, as tables. */
#include "host.h"
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PROBLEMS = 100 }; /* in the list; all are counted */

/* Problems are collected in C: nothing may raise before the store's function has returned. */
typedef struct found {
  int64_t position;
  uint64_t page;
  mf_part part;
  size_t stream_size;
  char stream[MF_STREAM_NAME_MAX];
  char message[256];
} found;

typedef struct verifying {
  lua_State *L;
  int progress; /* the stack index of what is called */
  bool arguments, failed;
  found *problems;
  int count;
} verifying;

static bool on_progress(void *context, uint64_t done, uint64_t total) {
  verifying *v = context;
  lua_pushvalue(v->L, v->progress);
  if (v->arguments) {
    lua_pushinteger(v->L, (lua_Integer)done);
    lua_pushinteger(v->L, (lua_Integer)total);
  }
  v->failed =
      lua_pcall(v->L, v->arguments ? 2 : 0, 0, 0) != LUA_OK; /* its error stays on the top */
  return !v->failed;
}

static void on_problem(void *context, const mf_problem *problem) {
  verifying *v = context;
  if (v->count == MOST_PROBLEMS) return;
  found *one = &v->problems[v->count++];
  one->position = problem->position;
  one->page = problem->page;
  one->part = problem->part;
  one->stream_size =
      problem->stream.size > MF_STREAM_NAME_MAX ? MF_STREAM_NAME_MAX : problem->stream.size;
  if (one->stream_size) memcpy(one->stream, problem->stream.data, one->stream_size);
  snprintf(one->message, sizeof one->message, "%s", problem->message);
}

void mfr_push_link(lua_State *L, int64_t position, const uint8_t link[MF_LINK_SIZE]) {
  char hex[2 * MF_LINK_SIZE + 1];
  mfr_write_hex(hex, link, MF_LINK_SIZE);
  lua_pushfstring(L, "%I:%s", (LUAI_UACINT)position, hex);
}

static void push_problem(lua_State *L, const found *one) {
  const char *part = mf_part_name(one->part);
  lua_createtable(L, 0, 4);
  mfr_set_string(L, "part", part, strlen(part));
  mfr_set_string(L, "message", one->message, strlen(one->message));
  if (one->position) mfr_set_integer(L, "position", one->position);
  if (one->page) mfr_set_integer(L, "page", (lua_Integer)one->page);
  if (one->stream_size) mfr_set_string(L, "stream", one->stream, one->stream_size);
}

static void push_report(lua_State *L, const verifying *v, const mf_verify_report *report) {
  lua_Integer sum = 0;
  lua_createtable(L, 0, 13);
  mfr_set_integer(L, "events", report->events);
  mfr_set_integer(L, "commits", report->commits);
  mfr_set_integer(L, "streams", report->streams);
  mfr_set_integer(L, "types", report->types);
  mfr_set_integer(L, "ids", report->ids);
  mfr_set_integer(L, "beside", report->beside);
  mfr_set_integer(L, "bytes", (lua_Integer)report->bytes);
  mfr_set_integer(L, "pages", (lua_Integer)report->pages);
  mfr_set_integer(L, "free_pages", (lua_Integer)report->free_pages);
  lua_createtable(L, 0, MF_PARTS);
  for (int i = 0; i < MF_PARTS; i++) {
    mfr_set_integer(L, mf_part_name((mf_part)i), report->problems[i]);
    sum += report->problems[i];
  }
  lua_setfield(L, -2, "parts");
  mfr_set_integer(L, "problem_count", sum);
  lua_pushboolean(L, sum == 0);
  lua_setfield(L, -2, "sound");
  lua_pushboolean(L, report->tamper_evident);
  lua_setfield(L, -2, "tamper_evident");
  if (report->tamper_evident && report->events > 0) {
    mfr_push_link(L, report->events, report->link);
    lua_setfield(L, -2, "link");
  }
  lua_createtable(L, v->count, 0);
  for (int i = 0; i < v->count; i++) {
    push_problem(L, &v->problems[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "problems");
}

/* Leaves what is to be called at index `at`: the caller's function, or one that lets Ctrl-C in. */
static void check_progress(lua_State *L, mfr_state *state, int options, const char *const *names,
                           verifying *v) {
  bool given = mfr_check_options(L, state, options, "options", names);
  int type = given ? lua_getfield(L, options, "progress") : LUA_TNIL;
  if (type != LUA_TNIL && type != LUA_TFUNCTION)
    mfr_misuse(L, state, "options.progress", "a function is needed, this is %s",
               lua_typename(L, type));
  v->arguments = type == LUA_TFUNCTION;
  if (!v->arguments) lua_rawgeti(L, LUA_REGISTRYINDEX, state->run_hooks_ref);
  v->progress = lua_gettop(L);
}

/* Raises what ended the work, if it is neither well done nor well known. */
static void check_outcome(lua_State *L, const mfr_state *state, const verifying *v, int status,
                          const mf_error *error, mfr_text path) {
  if (v->failed) lua_error(L); /* of the caller's function, on the top */
  if (status == MF_OK || status == MF_CORRUPT) return;
  mfr_push_store_error(L, state, error, NULL, 0, 0);
  mfr_set_string(L, "file", path.data, path.size);
  lua_error(L);
}

/* options.link: "POSITION:HEX". False: there is none. */
static bool check_link(lua_State *L, const mfr_state *state, int options,
                       uint8_t link[MF_LINK_SIZE], int64_t *position) {
  static const char digits[] = "0123456789abcdef";
  if (lua_isnoneornil(L, options) || lua_getfield(L, options, "link") == LUA_TNIL) return false;
  mfr_text text = mfr_check_string(L, state, lua_gettop(L), "options.link");
  char *colon;
  errno = 0;
  *position = strtoll(text.data, &colon, 10);
  bool fine = errno == 0 && *position > 0 && *colon == ':' &&
              text.size == (size_t)(colon - text.data) + 1 + 2 * MF_LINK_SIZE;
  for (size_t i = 0; fine && i < MF_LINK_SIZE; i++) {
    const char *high = strchr(digits, colon[1 + 2 * i]), *low = strchr(digits, colon[2 + 2 * i]);
    fine = high && low && *high && *low; /* strchr() finds a NUL, too */
    if (fine) link[i] = (uint8_t)((high - digits) << 4 | (low - digits));
  }
  if (!fine)
    mfr_misuse(L, state, "options.link",
               "a link is POSITION:HEX, as verify and \"moonfold stats\" tell it");
  return true;
}

int mfr_verify(lua_State *L) {
  mfr_state *state = mfr_of(L);
  verifying v = {L, 0, false, false, NULL, 0};
  mf_verify_options options = {sizeof options, on_progress, on_problem, &v, NULL, 0};
  uint8_t link[MF_LINK_SIZE];
  mf_verify_report report;
  mf_error error;
  lua_settop(L, 2);
  mfr_text path = mfr_check_path(L, state, 1, "path");
  if (state->calling)
    mfr_misuse(L, state, "path", "a store cannot be verified from %s", state->calling);
  v.problems = lua_newuserdatauv(L, MOST_PROBLEMS * sizeof *v.problems, 0);
  static const char *const names[] = {"progress", "link", NULL};
  check_progress(L, state, 2, names, &v);
  if (check_link(L, state, 2, link, &options.link_position)) options.link = link;
  luaL_checkstack(L, 8, "verify");
  int status = mf_verify(path.data, &options, &report, &error);
  check_outcome(L, state, &v, status, &error, path);
  push_report(L, &v, &report);
  return 1;
}

/* ---- salvage ---- */

enum { MOST_LOSSES = 1000 };

typedef struct loss {
  int64_t first, last;
  size_t stream_size;
  char stream[MF_STREAM_NAME_MAX];
  const char *why; /* static, or NULL */
} loss;

typedef struct salvaging {
  verifying work; /* what is called */
  loss *losses;
  int count;
  lua_Integer all;
} salvaging;

static bool on_salvage_progress(void *context, uint64_t done, uint64_t total) {
  return on_progress(&((salvaging *)context)->work, done, total);
}

static void on_loss(void *context, const mf_loss *lost) {
  salvaging *v = context;
  v->all++;
  if (v->count == MOST_LOSSES) return;
  loss *one = &v->losses[v->count++];
  *one = (loss){lost->first, lost->last, lost->stream.size, {0}, lost->why};
  if (one->stream_size) memcpy(one->stream, lost->stream.data, one->stream_size);
}

static void push_loss(lua_State *L, const loss *one) {
  lua_createtable(L, 0, 4);
  mfr_set_integer(L, "from", one->first);
  mfr_set_integer(L, "to", one->last);
  if (one->stream_size) mfr_set_string(L, "stream", one->stream, one->stream_size);
  if (one->why) mfr_set_string(L, "why", one->why, strlen(one->why));
}

int mfr_salvage(lua_State *L) {
  mfr_state *state = mfr_of(L);
  salvaging v = {{L, 0, false, false, NULL, 0}, NULL, 0, 0};
  mf_salvage_options options = {sizeof options, on_salvage_progress, on_loss, &v};
  mf_salvage_report report;
  mf_error error;
  lua_settop(L, 3);
  mfr_text path = mfr_check_path(L, state, 1, "path");
  mfr_text new_path = mfr_check_path(L, state, 2, "new_path");
  if (state->calling)
    mfr_misuse(L, state, "path", "a store cannot be salvaged from %s", state->calling);
  v.losses = lua_newuserdatauv(L, MOST_LOSSES * sizeof *v.losses, 0);
  static const char *const names[] = {"progress", NULL};
  check_progress(L, state, 3, names, &v.work);
  luaL_checkstack(L, 8, "salvage");
  int status = mf_salvage(path.data, new_path.data, &options, &report, &error);
  if (status == MF_CORRUPT) { /* nothing could be recovered: no result to tell of */
    mfr_push_store_error(L, state, &error, NULL, 0, 0);
    mfr_set_string(L, "file", path.data, path.size);
    return lua_error(L);
  }
  check_outcome(L, state, &v.work, status, &error, path);
  lua_createtable(L, 0, 6);
  mfr_set_integer(L, "events", report.events);
  mfr_set_integer(L, "commits", report.commits);
  mfr_set_integer(L, "lost_events", report.lost);
  lua_pushboolean(L, report.renumbered);
  lua_setfield(L, -2, "renumbered");
  mfr_set_integer(L, "loss_count", v.all);
  lua_createtable(L, v.count, 0);
  for (int i = 0; i < v.count; i++) {
    push_loss(L, &v.losses[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "losses");
  return 1;
}

/* ---- compact ---- */

int mfr_compact(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_error error;
  mfr_text path = mfr_check_path(L, state, 1, "path");
  if (state->calling)
    mfr_misuse(L, state, "path", "a store cannot be compacted from %s", state->calling);
  if (mf_compact(path.data, &error) == MF_OK) return 0;
  mfr_push_store_error(L, state, &error, NULL, 0, 0);
  mfr_set_string(L, "file", path.data, path.size);
  return lua_error(L);
}
