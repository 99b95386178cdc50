/*
 * handle, attempt, decide: a command meets the state of its stream, and what the decider decides is
 * recorded.
 *
 * What is cold is folded before the write lock is taken; inside the write transaction only the tail
 * that others have appended meanwhile is folded, the expectation is checked, decide runs, its
 * events are staged and folded, the result is made, and the transaction commits. So there is no
 * conflict to retry, and whatever fails on the way records nothing.
 */
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

/* A command as it is worked on; the Lua values stand in the table of commands. */
typedef struct command {
  mfr_text type, id;
  int64_t time;
  uint8_t digest[16]; /* of type, data and metadata: the same command */
  bool known;         /* recorded before */
  struct {
    size_t at, size; /* in work.bytes; no size: absent */
  } data, metadata;
  size_t recorded; /* events that it has led to in this call */
  mf_command_record record;
} command;

typedef struct work {
  mfr_call call; /* first: the protected body is given its address */
  bool record;   /* false: decide only */
  bool want_state, check_invariant;
  bool list; /* a list of commands was given */
  int64_t expected_version;
  mfr_text expected_name;    /* when it was given as a string */
  int64_t version, position; /* of the stream and the log, as the work goes on */
  int64_t current;           /* of the stream, when the transaction had begun */
  int64_t first_version;     /* when it began */
  int64_t last;              /* version to decide at; MF_LAST: the present */
  int64_t time;
  /* The commands, encoded; of a loaded decider, from `events_at` on, the recorded events, which
   * then stand in no Lua list, and from `state_at` on the encoded state. NULL for a C host. */
  mfr_buffer *bytes;
  size_t events_at, state_at;
  bool kept; /* events go there */
  int64_t last_position;
  bool created;
  int aside;        /* stack index of a buffer; see put_aside() */
  int put_aside;    /* 1: it holds the state as it was; -1: that cannot be stored */
  size_t deciding;  /* which command */
  uint8_t seed[16]; /* of the last decision's chance */
  uint8_t envelope[MF_CODE_ENVELOPE]; /* tells the code that decides */
  int64_t recorded;                   /* events */
  size_t count;
  command commands[];
} work;

/* Stack of the body. */
enum { CALL = 1, STORE, DECIDER, COMMANDS, WORK };

/* ---- commands ---- */

static const char *const command_keys[] = {"type", "data", "metadata", "command_id", "time", NULL};

/* Where the texts of a command are kept, which the work points at: a script may take them out of
 * its command, and a finalizer out of the caller's. */
typedef struct keeper {
  int index; /* on the stack: a table, or a userdata with user values; 0: the caller keeps them */
  int slot;  /* of the type; that of the id is the next one */
} keeper;

/* [-1, +0] */
static void keep_text(lua_State *L, const keeper *k, int slot) {
  if (k->index == 0)
    lua_pop(L, 1);
  else if (lua_type(L, k->index) == LUA_TTABLE)
    lua_rawseti(L, k->index, slot);
  else
    lua_setiuservalue(L, k->index, slot);
}

static mfr_text text_field(lua_State *L, const mfr_state *state, int table, const char *path,
                           const char *name, size_t most, bool required, const keeper *k,
                           int slot) {
  char field_path[MFR_PATH_MAX];
  mfr_text text = {NULL, 0};
  lua_pushstring(L, name);
  int type = lua_rawget(L, table);
  if (type == LUA_TNIL && !required) {
    lua_pop(L, 1);
    return text;
  }
  if (type == LUA_TSTRING) text.data = lua_tolstring(L, -1, &text.size);
  if (text.size < 1 || text.size > most) mfr_join(field_path, path, name);
  if (type != LUA_TSTRING)
    mfr_misuse(L, state, field_path, "a string is needed, this is %s",
               type == LUA_TNIL ? "nothing" : lua_typename(L, type));
  if (text.size < 1 || text.size > most)
    mfr_misuse(L, state, field_path, "it has 1 to %zu bytes, this one has %zu", most, text.size);
  keep_text(L, k, slot);
  return text;
}

/* Adds what `encode` makes of a field of the command to the buffer. Its size, 0 when it is absent.
 */
static size_t encode_field(lua_State *L, mfr_state *state, mfr_buffer *out, int table,
                           const char *path, const char *field) {
  size_t before = out->size;
  lua_pushstring(L, field);
  bool there = lua_rawget(L, table) != LUA_TNIL;
  if (there)
    mfr_encode_field(L, state, out, -1, path, field);
  else
    mfr_encode_absent(L, state, out);
  lua_pop(L, 1);
  return there ? out->size - before : 0;
}

/* Encodes the command, and digests that. */
static void digest_command(lua_State *L, mfr_state *state, int table, const char *path,
                           mfr_buffer *out, command *c) {
  size_t start = out->size;
  encode_field(L, state, out, table, path, "type");
  c->data.at = out->size;
  c->data.size = encode_field(L, state, out, table, path, "data");
  c->metadata.at = out->size;
  c->metadata.size = encode_field(L, state, out, table, path, "metadata");
  mfr_hash_bytes(out->data + start, out->size - start, c->digest);
}

/* Checks the command on top and encodes it into the buffer. */
static void check_command(lua_State *L, mfr_state *state, const char *path, int64_t now,
                          mfr_buffer *buffer, const keeper *k, command *out) {
  char field_path[MFR_PATH_MAX];
  int given = lua_gettop(L);
  if (lua_type(L, given) != LUA_TTABLE)
    mfr_misuse(L, state, path, "a command is a table { type = ..., data = ... }, this is %s",
               mfr_type_name(L, given));
  mfr_check_options(L, state, given, path, command_keys);
  memset(out, 0, sizeof *out);
  out->type = text_field(L, state, given, path, "type", MF_TYPE_MAX, true, k, k->slot);
  out->id = text_field(L, state, given, path, "command_id", MF_ID_MAX, false, k, k->slot + 1);
  lua_pushliteral(L, "metadata");
  int type = lua_rawget(L, given);
  if (type != LUA_TNIL && type != LUA_TTABLE) {
    mfr_join(field_path, path, "metadata");
    mfr_misuse(L, state, field_path, "metadata is a table, this is %s", lua_typename(L, type));
  }
  lua_pushliteral(L, "time");
  type = lua_rawget(L, given);
  if (type != LUA_TNIL && !lua_isinteger(L, -1)) {
    mfr_join(field_path, path, "time");
    mfr_misuse(L, state, field_path,
               "microseconds since the epoch are needed, an integer: this is %s",
               type == LUA_TNUMBER ? "a float" : lua_typename(L, type));
  }
  out->time = type == LUA_TNIL ? now : lua_tointeger(L, -1);
  digest_command(L, state, given, path, buffer, out);
  lua_settop(L, given);
}

/* Replaces the command on top, which was checked, by the one that decide sees, with its time. */
static void copy_command(lua_State *L, const command *c) {
  int given = lua_gettop(L);
  lua_createtable(L, 0, 5);
  for (size_t i = 0; command_keys[i]; i++) {
    lua_pushstring(L, command_keys[i]);
    lua_pushvalue(L, -1);
    lua_rawget(L, given);
    lua_rawset(L, -3);
  }
  mfr_set_integer(L, "time", c->time);
  lua_replace(L, given);
}

static bool is_empty(lua_State *L, int table) {
  lua_pushnil(L);
  if (lua_next(L, table) == 0) return true;
  lua_pop(L, 2);
  return false;
}

/* Whether the commands at an index are one; raises when they are neither that nor a list. */
static bool is_single(lua_State *L, const mfr_state *state, int index) {
  if (lua_type(L, index) != LUA_TTABLE)
    mfr_misuse(L, state, "command",
               "a command { type = ..., data = ... } or a list of commands is needed, this is %s",
               mfr_type_name(L, index));
  lua_pushliteral(L, "type");
  size_t length = (size_t)lua_rawlen(L, index), keys = 0;
  bool single = lua_rawget(L, index) != LUA_TNIL || (length == 0 && !is_empty(L, index));
  lua_pop(L, 1);
  if (single) return true;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    keys++;
  if (keys != length)
    mfr_misuse(L, state, "command", "a list of commands has the keys 1 to n and no others");
  return false;
}

/* Pushes the work. [-0, +1] */
static work *new_work(lua_State *L, size_t count, bool list, keeper *k) {
  work *w = lua_newuserdatauv(L, sizeof *w + count * sizeof *w->commands, list ? 1 : 2);
  memset(w, 0, sizeof *w);
  w->count = count;
  w->list = list;
  *k = (keeper){lua_gettop(L), 1};
  if (!list) return w;
  lua_createtable(L, (int)(2 * count), 0);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, k->index, 1);
  k->index++;
  return w;
}

/*
 * Pushes the list of commands, or nil where `listed` is false, and the work; the commands are
 * encoded into the buffer. [-0, +2]
 */
static work *check_commands(lua_State *L, mfr_state *state, int index, int64_t now,
                            mfr_buffer *buffer, bool listed) {
  char path[32] = "command";
  bool single = is_single(L, state, index);
  size_t count = single ? 1 : (size_t)lua_rawlen(L, index);
  keeper k;
  if (listed)
    lua_createtable(L, (int)count, 0);
  else
    lua_pushnil(L);
  int list = lua_gettop(L);
  work *w = new_work(L, count, !single, &k);
  for (size_t i = 0; i < count; i++, k.slot += 2) {
    if (single)
      lua_pushvalue(L, index);
    else {
      lua_rawgeti(L, index, (lua_Integer)i + 1);
      snprintf(path, sizeof path, "commands[%zu]", i + 1);
    }
    check_command(L, state, path, now, buffer, &k, &w->commands[i]);
    if (listed) {
      copy_command(L, &w->commands[i]);
      lua_rawseti(L, list, (lua_Integer)i + 1);
    }
    lua_settop(L, k.index);
  }
  lua_settop(L, list + 1);
  return w;
}

/* ---- recorded before? ---- */

static void id_used(lua_State *L, mfr_state *state, const work *w, const command *c) {
  mfr_push_error(L, state, MF_ID_CONFLICT,
                 "command id \"%.80s\" was used before on stream \"%.80s\", for another command",
                 c->id.data, w->call.stream.data);
  mfr_set_string(L, "id", c->id.data, c->id.size);
  mfr_set_string(L, "stream", w->call.stream.data, w->call.stream.size);
  lua_error(L);
}

static void find_commands(lua_State *L, mfr_state *state, work *w) {
  mf_error error;
  mf_bytes stream = {w->call.stream.data, w->call.stream.size};
  for (size_t i = 0; i < w->count; i++) {
    command *c = &w->commands[i];
    if (!c->id.data) continue;
    int status = mf_find_command(w->call.txn, stream, (mf_bytes){c->id.data, c->id.size},
                                 &c->record, &error);
    if (status < 0) {
      mfr_push_store_error(L, state, &error, stream.data, stream.size, 0);
      lua_error(L);
    }
    c->known = status == MF_OK && (!w->call.past || c->record.last_position <= w->call.as_of);
    if (c->known && memcmp(c->record.digest, c->digest, 16) != 0) id_used(L, state, w, c);
  }
}

/* Whether an earlier command of the list is the same and has led to events: it is not handled
 * again. */
static bool repeats(lua_State *L, mfr_state *state, const work *w, const command *c) {
  for (const command *other = w->commands; c->id.data && other < c; other++) {
    if (other->recorded == 0 || other->id.size != c->id.size ||
        memcmp(other->id.data, c->id.data, c->id.size) != 0)
      continue;
    if (memcmp(other->digest, c->digest, 16) != 0) id_used(L, state, w, c);
    return true;
  }
  return false;
}

static bool all_known(const work *w) {
  for (size_t i = 0; i < w->count; i++)
    if (!w->commands[i].known) return false;
  return w->count > 0;
}

/* Adds an event to the outcome: to the list at `list`, or to w->bytes. */
static void add_event(lua_State *L, mfr_state *state, work *w, const mfr_decider *d, int list,
                      const mf_event *event) {
  if (w->kept) {
    mfr_keep_event(L, w->bytes, event);
    return;
  }
  mfr_push_event(L, state, event, d->events, d->types);
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* Adds events first..last of the stream, as recorded, to the outcome. */
static void add_recorded(lua_State *L, mfr_state *state, work *w, const mfr_decider *d, int list,
                         int64_t first, int64_t last) {
  mfr_range range = {MF_READ_OPTIONS_INIT, 0};
  mf_event event;
  range.options.stream = (mf_bytes){w->call.stream.data, w->call.stream.size};
  range.options.from = first;
  range.options.to = last;
  mfr_open_reader(L, state, &w->call, &range);
  while (mfr_next(L, state, &w->call, &event))
    add_event(L, state, w, d, list, &event);
  mfr_close_reader(&w->call);
}

/* ---- folding the stream ---- */

/* Folds from w->version on, up to `to`; in the call's transaction, or without one. */
static void fold_stream(lua_State *L, mfr_state *state, work *w, mfr_decider *d, int64_t to,
                        int64_t expected_version, int expected) {
  mfr_range range = {MF_READ_OPTIONS_INIT, expected};
  range.options.stream = (mf_bytes){w->call.stream.data, w->call.stream.size};
  range.options.from = w->version + 1;
  range.options.to = to;
  range.options.expected_version = expected_version;
  mfr_open_reader(L, state, &w->call, &range);
  int64_t current = mf_reader_version(w->call.reader), start = w->version;
  if (current < start) { /* a look at the store as it was before */
    mfr_close_reader(&w->call);
    d->identity = NULL;
    w->version = start = 0;
    mfr_initial_state(L, state, &w->call, d);
    range.options.from = 1;
    mfr_open_reader(L, state, &w->call, &range);
  }
  if (current > start) mfr_forget(L, state, &w->call, d);
  w->version = mfr_fold(L, state, &w->call, d, start);
  if (w->version > start && to == w->last) mfr_remember(L, state, &w->call, d, w->version, false);
}

static int64_t version_of(lua_State *L, const mfr_state *state, const work *w) {
  mf_error error;
  int64_t version;
  mf_bytes stream = {w->call.stream.data, w->call.stream.size};
  mf_txn *txn = w->call.txn ? w->call.txn : w->call.store->txn;
  int status = mf_stream_version(mfr_live(L, state, w->call.store), txn, stream, &version, &error);
  if (status == MF_OK) return version;
  mfr_push_store_error(L, state, &error, stream.data, stream.size, 0);
  lua_error(L);
  return 0;
}

/* ---- deciding ---- */

static void unknown_type(lua_State *L, mfr_state *state, work *w, int status, int table,
                         const char *type, size_t size, const char *what) {
  const char *names[201];
  size_t n = 0;
  type = lua_pushlstring(L, type, size); /* ends with a NUL, which bytes in a buffer do not */
  lua_pushnil(L);
  while (n < 200 && lua_next(L, table)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING) names[n++] = lua_tostring(L, -1);
  }
  names[n] = NULL;
  const char *nearest = mfr_nearest(type, names);
  mfr_push_error(L, state, status, "%s \"%.80s\" on stream \"%.80s\"%s%s%s", what, type,
                 w->call.stream.data, nearest ? ": did you mean \"" : "", nearest ? nearest : "",
                 nearest ? "\"?" : "");
  mfr_set_string(L, "type", type, size);
  mfr_set_string(L, "stream", w->call.stream.data, w->call.stream.size);
  lua_error(L);
}

/* Pushes decide, or its function for this type of command. */
static void push_decide(lua_State *L, mfr_state *state, work *w, const mfr_decider *d,
                        const command *c) {
  lua_pushvalue(L, d->decide);
  if (lua_type(L, -1) == LUA_TFUNCTION) return;
  lua_pushlstring(L, c->type.data, c->type.size);
  lua_gettable(L, d->decide);
  if (lua_type(L, -1) != LUA_TFUNCTION)
    unknown_type(L, state, w, MF_UNKNOWN_COMMAND_TYPE, d->decide, c->type.data, c->type.size,
                 "decide has no function for the command");
  lua_remove(L, -2);
}

/* The seed of chance: the command, its id and time, the stream and its version. The same roll the
 * same dice. */
static void seed_of(lua_State *L, mfr_state *state, const work *w, const command *c,
                    uint8_t seed[16]) {
  mfr_buffer *buffer = mfr_borrow(L, state);
  lua_createtable(L, 5, 0);
  lua_pushlstring(L, (const char *)c->digest, 16);
  lua_rawseti(L, -2, 1);
  lua_pushlstring(L, w->call.stream.data, w->call.stream.size);
  lua_rawseti(L, -2, 2);
  lua_pushinteger(L, w->version);
  lua_rawseti(L, -2, 3);
  lua_pushinteger(L, c->time);
  lua_rawseti(L, -2, 4);
  lua_pushlstring(L, c->id.data ? c->id.data : "", c->id.size);
  lua_rawseti(L, -2, 5);
  mfr_encode(L, state, buffer, -1, "command");
  mfr_hash_bytes(buffer->data, buffer->size, seed);
  mfr_give_back(state, buffer);
  lua_pop(L, 2);
}

/* What the context is given: the work begins with its call. */
static void make_seed(lua_State *L, mfr_state *state, const mfr_call *call, uint8_t seed[16]) {
  const work *w = (const work *)(const void *)call;
  seed_of(L, state, w, &w->commands[w->deciding], seed);
}

/* The data of a command must have the shape that is declared for its type: before decide. */
static void check_command_shape(lua_State *L, mfr_state *state, const work *w, const mfr_decider *d,
                                size_t i) {
  int top = lua_gettop(L);
  lua_rawgeti(L, COMMANDS, (lua_Integer)i + 1);
  lua_getfield(L, -1, "data");
  if (!mfr_has_shape(L, state, d->command_shapes, w->commands[i].type, top + 2)) {
    if (w->list)
      lua_pushfstring(L, "commands[%I].%s", (lua_Integer)i + 1, lua_tostring(L, top + 3));
    else
      lua_pushfstring(L, "command.%s", lua_tostring(L, top + 3));
    mfr_misuse(L, state, lua_tostring(L, -1), "%s", lua_tostring(L, top + 4));
  }
  lua_settop(L, top);
}

/* Events that decide made are checked, too, and then the decider is at fault. */
static void check_event_shapes(lua_State *L, mfr_state *state, const work *w, const mfr_decider *d,
                               const mf_new_event *events, size_t count, int decided) {
  int top = lua_gettop(L);
  for (size_t k = 0; k < count; k++, lua_settop(L, top)) {
    mfr_text type = {events[k].type.data, events[k].type.size}, by = w->call.command_type;
    lua_rawgeti(L, decided, (lua_Integer)k + 1);
    lua_getfield(L, -1, "data");
    if (mfr_has_shape(L, state, d->event_shapes, type, top + 2)) continue;
    lua_pushfstring(L, "events[%I].%s", (lua_Integer)k + 1, lua_tostring(L, top + 3));
    lua_replace(L, top + 3);
    lua_pushlstring(L, type.data, type.size);
    mfr_push_error(L, state, MF_SCRIPT_ERROR,
                   "decide of command %.80s on stream \"%.80s\" made an event %.80s that lacks its "
                   "declared shape: %s: %s",
                   by.data, w->call.stream.data, lua_tostring(L, -1), lua_tostring(L, top + 3),
                   lua_tostring(L, top + 4));
    mfr_set_string(L, "stream", w->call.stream.data, w->call.stream.size);
    mfr_set_string(L, "command_type", by.data, by.size);
    mfr_set_string(L, "event_type", type.data, type.size);
    lua_pushvalue(L, top + 3);
    lua_setfield(L, -2, "path");
    lua_error(L);
  }
}

static void begin_record(lua_State *L, mfr_state *state, work *w, size_t i) {
  lua_rawgeti(L, COMMANDS, (lua_Integer)i + 1);
  mfr_asked asked = {lua_gettop(L), w->version, w->position, w->time, w->seed};
  seed_of(L, state, w, &w->commands[i], w->seed);
  mfr_kept_begin(L, state, &w->call, &asked);
  lua_pop(L, 1);
}

/* Calls decide and pushes the context that it was given and what it returned. [-0, +2] */
static void call_decide(lua_State *L, mfr_state *state, work *w, const mfr_decider *d, size_t i) {
  const command *c = &w->commands[i];
  memset(&w->call.event, 0, sizeof w->call.event);
  w->call.command_type = c->type;
  w->deciding = i;
  if (w->record && mfr_keeps_commands(&w->call)) begin_record(L, state, w, i);
  mfr_push_context(L, state, &w->call, STORE, make_seed);
  push_decide(L, state, w, d, c);
  lua_rawgeti(L, COMMANDS, (lua_Integer)i + 1);
  w->call.phase = "decide";
  mfr_push_view(L, state, d->state);
  lua_pushvalue(L, -4);
  mfr_call_script(L, state, &w->call, "decide", 3, 2);
  if (!lua_isnil(L, -1)) {
    w->call.phase = "decide";
    luaL_error(L, "it returned two values: several events are one list, { { type = ... }, { type = "
                  "... } }");
  }
  lua_pop(L, 1);
  if (state->sandbox) mfr_see_through(L, -1);
  mfr_end_context(&w->call);
  int type = lua_type(L, -1);
  if (type == LUA_TTABLE || type == LUA_TNIL) return;
  w->call.phase = "decide";
  luaL_error(L, "it returned a %s: it returns an event, a list of events, or nothing",
             lua_typename(L, type));
}

/* Copies the metadata of the event on top (or makes it), with what the command passes on. */
static void add_causation(lua_State *L, const command *c, int command_index) {
  int event = lua_gettop(L);
  lua_newtable(L);
  int metadata = lua_gettop(L);
  lua_pushliteral(L, "metadata");
  if (lua_rawget(L, event) == LUA_TTABLE) {
    mfr_see_through(L, metadata + 1);
    mfr_copy_fields(L, metadata + 1, metadata);
  }
  lua_settop(L, metadata);
  if (c->id.data) mfr_set_string(L, "causation_id", c->id.data, c->id.size);
  lua_getfield(L, metadata, "correlation_id");
  lua_getfield(L, command_index, "metadata");
  if (lua_isnil(L, -2) && lua_type(L, -1) == LUA_TTABLE) {
    lua_getfield(L, -1, "correlation_id");
    lua_setfield(L, metadata, "correlation_id");
  }
  lua_settop(L, metadata);
  lua_newtable(L);
  mfr_copy_fields(L, event, metadata + 1);
  lua_pushvalue(L, metadata);
  lua_setfield(L, metadata + 1, "metadata");
  lua_replace(L, event);
  lua_settop(L, event);
}

static bool passes_on(lua_State *L, const command *c, int command_index) {
  if (c->id.data) return true;
  lua_getfield(L, command_index, "metadata");
  bool passes = lua_type(L, -1) == LUA_TTABLE && lua_getfield(L, -1, "correlation_id") != LUA_TNIL;
  lua_settop(L, command_index);
  return passes;
}

/* What decide returned (on top) becomes a list of events with their causation. */
static void normalise(lua_State *L, const command *c, size_t i) {
  int decided = lua_gettop(L);
  if (lua_isnil(L, decided)) {
    lua_newtable(L);
    lua_replace(L, decided);
    return;
  }
  lua_pushliteral(L, "type");
  if (lua_rawget(L, decided) != LUA_TNIL) {
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, decided);
    lua_rawseti(L, -2, 1);
    lua_replace(L, decided);
  }
  lua_settop(L, decided);
  lua_rawgeti(L, COMMANDS, (lua_Integer)i + 1);
  if (passes_on(L, c, decided + 1)) {
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, decided);) {
      if (lua_type(L, -1) == LUA_TTABLE) {
        mfr_see_through(L, -1);
        add_causation(L, c, decided + 1);
      }
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, decided + 2);
    }
    lua_replace(L, decided);
  }
  lua_settop(L, decided);
}

/* A type that evolve does not know must not be kept for ever. */
static void check_types(lua_State *L, mfr_state *state, work *w, const mfr_decider *d,
                        const mf_new_event *events, size_t count) {
  if (!d->evolve_is_table) return;
  for (size_t i = 0; i < count; i++) {
    lua_pushlstring(L, events[i].type.data, events[i].type.size);
    bool known = lua_gettable(L, d->evolve) != LUA_TNIL;
    lua_pop(L, 1);
    if (!known && d->upcast) {
      lua_pushlstring(L, events[i].type.data, events[i].type.size);
      known = lua_rawget(L, d->upcast) != LUA_TNIL;
      lua_pop(L, 1);
    }
    if (!known)
      unknown_type(L, state, w, MF_UNKNOWN_EVENT_TYPE, d->evolve, events[i].type.data,
                   events[i].type.size, "evolve has no handler for the decided event");
  }
}

/* How a loaded decider came to its decision, for the record: its code, its chance if it asked for
 * any, and what it looked at. Returns the buffer that the last stands in, or NULL: [-0, +1] */
static mfr_buffer *describe_decision(lua_State *L, mfr_state *state, work *w, int context,
                                     mf_append_options *options) {
  const mfr_context *used = lua_touserdata(L, context);
  options->code = (mf_bytes){w->call.loaded->digests.script, MF_DIGEST_SIZE};
  if (used->chance) {
    seed_of(L, state, w, &w->commands[w->deciding], w->seed);
    options->seed = (mf_bytes){w->seed, sizeof w->seed};
  }
  if (lua_getiuservalue(L, context, MFR_CONTEXT_READS) != LUA_TTABLE) return NULL;
  mfr_buffer *reads = mfr_borrow(L, state);
  mfr_encode(L, state, reads, -2, "reads");
  if (reads->size > 0 && reads->size <= MF_EXTENSION_MAX)
    options->reads = (mf_bytes){reads->data, reads->size};
  return reads;
}

/* The code that decides is kept in the store. */
static void keep_code(lua_State *L, mfr_state *state, const work *w) {
  mf_error error;
  bool committed;
  const mfr_loaded *loaded = w->call.loaded;
  if (mfr_code_is_kept(loaded)) return;
  mf_bytes code = {loaded->code.data, loaded->code.size};
  if (mf_put_code(w->call.txn, loaded->digests.script, code, &committed, &error) != MF_OK)
    mfr_raise_store_error(L, state, &error);
  if (committed) mfr_note_code_kept(loaded);
}

static void record(lua_State *L, mfr_state *state, work *w, const command *c, int context,
                   const mf_new_event *events, size_t count, mf_append_result *result) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_error error;
  mfr_buffer *reads = NULL;
  int top = lua_gettop(L);
  if (w->call.loaded) reads = describe_decision(L, state, w, context, &options);
  options.recorded_at = w->time;
  if (c->id.data) {
    options.command_id = (mf_bytes){c->id.data, c->id.size};
    memcpy(options.command_digest, c->digest, 16);
  }
  mf_bytes stream = {w->call.stream.data, w->call.stream.size};
  int status = mf_append(w->call.txn, stream, events, count, &options, result, &error);
  if (reads) mfr_give_back(state, reads);
  lua_settop(L, top);
  if (status == MF_OK && w->call.loaded) keep_code(L, state, w);
  if (status == MF_OK) return;
  mfr_push_store_error(L, state, &error, stream.data, stream.size, 0);
  mfr_set_event_id(L, &error, events);
  lua_error(L);
}

/* The event as it will be read: fresh tables from the recorded bytes, whatever the decider does
 * with its own. */
static mf_event as_recorded(work *w, const mf_new_event *new, int64_t version, int64_t position) {
  mf_event event = {0};
  event.stream = (mf_bytes){w->call.stream.data, w->call.stream.size};
  event.type = new->type;
  event.data = new->data;
  event.metadata = new->metadata;
  event.message_id = new->message_id;
  event.version = version;
  event.position = position;
  event.recorded_at = w->time;
  if (w->call.loaded) {
    mf_bytes code = {w->call.loaded->digests.script, MF_DIGEST_SIZE};
    event.envelope = mf_code_envelope(code, w->envelope);
  }
  return event;
}

/*
 * Of a command that is only looked at, the events are folded and forgotten again. What was folded
 * before them, and would have to be folded again for the next look, is put aside as bytes.
 */
static void put_aside(lua_State *L, mfr_state *state, work *w, const mfr_decider *d) {
  if (!d->identity || w->put_aside) return;
  bool lossless = !mfr_encode_state(L, state, lua_touserdata(L, w->aside), d->state);
  w->put_aside = lossless ? 1 : -1;
}

/* Keeps the state as it is now; after a look, as it was before. */
static void keep_state(lua_State *L, mfr_state *state, work *w, mfr_decider *d) {
  if (w->record) {
    mfr_snapshot_with(L, state, &w->call, d, w->version);
    mfr_remember(L, state, &w->call, d, w->version, true);
    return;
  }
  if (w->put_aside <= 0) return;
  const mfr_buffer *bytes = lua_touserdata(L, w->aside);
  mfr_decider before = *d;
  if (!mfr_decode_exactly(L, state, bytes->data, bytes->size)) return;
  before.state = lua_gettop(L);
  mfr_remember(L, state, &w->call, &before, w->first_version, false);
  lua_pop(L, 1);
}

static void keep_accepted(lua_State *L, mfr_state *state, work *w, size_t count,
                          const mf_append_result *appended) {
  mfr_answered answer = {appended->repeated ? 0 : count,
                         appended->last_position - (int64_t)count + 1};
  mfr_kept_accept(L, state, &w->call, &answer);
}

/* Decides command i, records the events, folds them, and adds them to the list at `result`. */
static void decide_one(lua_State *L, mfr_state *state, work *w, mfr_decider *d, size_t i,
                       int result) {
  mf_new_event *events;
  const command *c = &w->commands[i];
  int top = lua_gettop(L);
  if (d->command_shapes) check_command_shape(L, state, w, d, i);
  call_decide(L, state, w, d, i);
  normalise(L, c, i);
  int decided = lua_gettop(L);
  mfr_buffer *buffer = mfr_borrow(L, state);
  w->call.phase = "decided";
  size_t count = mfr_check_events(L, state, buffer, decided, "events", &events);
  w->call.phase = NULL;
  check_types(L, state, w, d, events, count);
  if (d->event_shapes) check_event_shapes(L, state, w, d, events, count, decided);
  mf_append_result appended = {w->version, 0, w->position, false, false};
  if (w->call.past) { /* the log has gone on: nothing is staged at its end */
    appended.version += (int64_t)count;
    appended.last_position += (int64_t)count;
  } else if (count > 0)
    record(L, state, w, c, decided - 1, events, count, &appended);
  if (state->keeping) keep_accepted(L, state, w, count, &appended);
  if (appended.repeated) { /* message ids of the decider's own, recorded before */
    add_recorded(L, state, w, d, result, appended.first_version, appended.version);
    lua_settop(L, top);
    return;
  }
  int64_t version = appended.version - (int64_t)count;
  int64_t position = appended.last_position - (int64_t)count;
  mf_event one, *recorded = &one;
  if (count > 1) recorded = lua_newuserdatauv(L, count * sizeof *recorded, 0);
  for (size_t k = 0; k < count; k++) {
    int64_t offset = (int64_t)k + 1;
    recorded[k] = as_recorded(w, &events[k], version + offset, position + offset);
    add_event(L, state, w, d, result, &recorded[k]);
  }
  w->call.command_type = (mfr_text){NULL, 0};
  d->check_invariant = w->check_invariant && d->invariant;
  if (count > 0 && !w->record) put_aside(L, state, w, d);
  if (count > 0) mfr_forget(L, state, &w->call, d);
  for (size_t k = 0; k < count; k++)
    mfr_fold_one(L, state, &w->call, d, &recorded[k]);
  d->check_invariant = false;
  w->version = version + (int64_t)count;
  w->position = position + (int64_t)count;
  w->recorded += (int64_t)count;
  w->commands[i].recorded = count;
  mfr_give_back(state, buffer);
  lua_settop(L, top);
}

/* ---- the body ---- */

/* Every command was recorded before: the original result, with the state as it was after it. */
static void answer_again(lua_State *L, mfr_state *state, work *w, mfr_decider *d, int result) {
  const mf_command_record *last = &w->commands[w->count - 1].record;
  for (size_t i = 0; i < w->count; i++)
    add_recorded(L, state, w, d, result, w->commands[i].record.first_version,
                 w->commands[i].record.last_version);
  if (w->want_state) {
    w->version = 0;
    d->identity = NULL; /* a look at the past */
    mfr_initial_state(L, state, &w->call, d);
    fold_stream(L, state, w, d, last->last_version, MF_NO_CONCURRENCY_CHECK, 0);
  }
  w->version = last->last_version;
  w->created = w->commands[0].record.first_version == 1;
  w->last_position = last->last_position;
}

/* Pushes the expectation as it was given. */
static int push_expected(lua_State *L, const work *w) {
  if (w->expected_name.data)
    lua_pushlstring(L, w->expected_name.data, w->expected_name.size);
  else if (w->expected_version >= 0)
    lua_pushinteger(L, w->expected_version);
  else
    lua_pushnil(L);
  return lua_gettop(L);
}

/* The same for a look at the past, where the expectation is one of the version that was. */
static void fold_past(lua_State *L, mfr_state *state, work *w, mfr_decider *d) {
  mf_error error = {MF_VERSION_CONFLICT, 0, SIZE_MAX, ""};
  int64_t wanted = w->expected_version;
  if (w->version < w->last)
    fold_stream(L, state, w, d, w->last, MF_NO_CONCURRENCY_CHECK, push_expected(L, w));
  if (wanted == MF_NO_CONCURRENCY_CHECK || wanted == w->version ||
      (wanted == MF_STREAM_EXISTS && w->version > 0))
    return;
  error.current_version = w->version;
  snprintf(error.message, sizeof error.message, "the stream was at version %lld then",
           (long long)w->version);
  mfr_push_store_error(L, state, &error, w->call.stream.data, w->call.stream.size,
                       push_expected(L, w));
  lua_error(L);
}

static void decide_all(lua_State *L, mfr_state *state, work *w, mfr_decider *d, int result) {
  mf_error error;
  int64_t wanted = w->expected_version;
  bool expected = wanted == MF_NO_CONCURRENCY_CHECK || wanted == w->version;
  if (w->call.past)
    fold_past(L, state, w, d);
  else if (w->version == 0 || !expected || w->current != w->version)
    fold_stream(L, state, w, d, MF_LAST, wanted, push_expected(L, w));
  w->first_version = w->version;
  int status =
      mf_last_position(mfr_live(L, state, w->call.store), w->call.txn, &w->position, &error);
  if (status != MF_OK) mfr_raise_store_error(L, state, &error);
  if (w->call.past && w->position > w->call.as_of) w->position = w->call.as_of;
  for (size_t i = 0; i < w->count; i++) {
    if (w->commands[i].known)
      add_recorded(L, state, w, d, result, w->commands[i].record.first_version,
                   w->commands[i].record.last_version);
    else if (!repeats(L, state, w, &w->commands[i]))
      decide_one(L, state, w, d, i, result);
  }
  mfr_check_rolled(L, state, w->call.rolls);
  w->created = w->first_version == 0 && w->recorded > 0;
  w->last_position = w->record && w->recorded > 0 ? w->position : 0;
  if (w->recorded > 0) keep_state(L, state, w, d);
}

/* A stage that ran out of memory runs again when there is more. */
static void begin_anew(work *w) {
  w->version = w->position = w->first_version = w->last_position = w->recorded = 0;
  w->put_aside = 0;
  w->created = false;
  if (w->bytes) w->bytes->size = w->events_at;
  for (size_t i = 0; i < w->count; i++) {
    w->commands[i].known = false;
    w->commands[i].recorded = 0;
  }
  if (w->call.rolls) w->call.rolls->next = 0;
}

/*
 * Begins the transaction, and looks where the stream stands. What is cold is folded before the
 * write lock is taken, or after it was let go again; a few events more are folded just as well
 * while others wait.
 */
static void begin(lua_State *L, mfr_state *state, work *w, mfr_decider *d) {
  enum { FEW = 16 };
  bool alone = w->record && !w->call.store->txn;
  if (alone && w->version == 0) fold_stream(L, state, w, d, MF_LAST, MF_NO_CONCURRENCY_CHECK, 0);
  mfr_call_begin(L, state, &w->call, w->record);
  w->current = version_of(L, state, w);
  if (!alone || w->current <= w->version + FEW) return;
  mfr_call_release(&w->call);
  fold_stream(L, state, w, d, MF_LAST, MF_NO_CONCURRENCY_CHECK, 0);
  mfr_call_begin(L, state, &w->call, w->record);
  w->current = version_of(L, state, w);
}

/*
 * Everything but the commit, which is the caller's, once the result stands where it is wanted.
 * Leaves the list of events on top. The stack begins as the body's does.
 */
static void stage(lua_State *L, mfr_state *state, work *w, mfr_decider *d) {
  mfr_unpack_decider(L, DECIDER, STORE, d);
  mfr_know_decider(L, state, &w->call, DECIDER, d);
  begin_anew(w);
  w->last = mfr_past_version(L, state, &w->call);
  w->version = mfr_recall(L, state, &w->call, d, w->last);
  begin(L, state, w, d);
  find_commands(L, state, w);
  if (d->identity && !w->record) {
    mfr_borrow(L, state);
    w->aside = lua_gettop(L);
  }
  lua_newtable(L);
  int result = lua_gettop(L);
  if (all_known(w))
    answer_again(L, state, w, d, result);
  else
    decide_all(L, state, w, d, result);
  lua_settop(L, result);
}

static void commit(lua_State *L, mfr_state *state, work *w) {
  if (w->record)
    mfr_call_commit(L, state, &w->call);
  else
    mfr_call_release(&w->call);
}

/* The list of events on top becomes the result, without its state. */
static void set_result(lua_State *L, const work *w) {
  lua_createtable(L, 0, 5);
  lua_insert(L, -2);
  lua_setfield(L, -2, "events");
  mfr_set_integer(L, "next_expected_stream_version", w->version);
  lua_pushboolean(L, w->created);
  lua_setfield(L, -2, "created_new_stream");
  if (w->last_position) mfr_set_integer(L, "last_event_global_position", w->last_position);
}

/* Arguments: call, store, decider, list of commands, work. */
static int body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  work *w = lua_touserdata(L, WORK);
  mfr_decider d;
  stage(L, state, w, &d);
  set_result(L, w);
  if (w->want_state) {
    lua_pushvalue(L, d.state);
    lua_setfield(L, -2, "state");
  }
  commit(L, state, w);
  return 1;
}

/* ---- loaded deciders: staged in the sandbox, answered here ---- */

/* Pushes the list of commands, in the sandbox. */
static void decode_commands(lua_State *S, mfr_state *state, const work *w) {
  lua_createtable(S, (int)w->count, 0);
  for (size_t i = 0; i < w->count; i++) {
    const command *c = &w->commands[i];
    lua_createtable(S, 0, 5);
    mfr_set_string(S, "type", c->type.data, c->type.size);
    if (c->id.data) mfr_set_string(S, "command_id", c->id.data, c->id.size);
    mfr_set_integer(S, "time", c->time);
    if (c->data.size) {
      mfr_decode_here(S, state, w->bytes->data + c->data.at, c->data.size);
      lua_setfield(S, -2, "data");
    }
    if (c->metadata.size) {
      mfr_decode_here(S, state, w->bytes->data + c->metadata.at, c->metadata.size);
      lua_setfield(S, -2, "metadata");
    }
    lua_rawseti(S, -2, (lua_Integer)i + 1);
  }
}

/* In the sandbox. Arguments: call, store, decider, nothing, work. */
static int loaded_stage(lua_State *S) {
  mfr_state *state = mfr_of(S);
  work *w = lua_touserdata(S, WORK);
  mfr_decider d;
  decode_commands(S, state, w);
  lua_replace(S, COMMANDS);
  stage(S, state, w, &d);
  w->state_at = w->bytes->size;
  if (w->want_state) mfr_encode(S, state, w->bytes, d.state, "state");
  return 0;
}

static void push_kept_events(lua_State *L, mfr_state *state, const work *w) {
  mf_event event;
  size_t at = w->events_at;
  lua_createtable(L, w->recorded > 0 && w->recorded < 1000 ? (int)w->recorded : 0, 0);
  int list = lua_gettop(L);
  lua_getiuservalue(L, STORE, MFR_STORE_EVENTS);
  lua_getiuservalue(L, STORE, MFR_STORE_TYPES);
  for (lua_Integer i = 1; at < w->state_at; i++) {
    at = mfr_kept_event(w->bytes, at, w->call.stream, &event);
    mfr_push_event(L, state, &event, list + 1, list + 2);
    lua_rawseti(L, list, i);
  }
  lua_settop(L, list);
}

/* Arguments: call, store, decider, nothing, work. */
static int loaded_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  work *w = lua_touserdata(L, WORK);
  w->kept = true;
  mfr_enter(L, state, mfr_to_loaded(L, state, DECIDER), &w->call, loaded_stage, NULL, w);
  push_kept_events(L, state, w);
  set_result(L, w);
  if (w->want_state) {
    mfr_decode_here(L, state, w->bytes->data + w->state_at, w->bytes->size - w->state_at);
    lua_setfield(L, -2, "state");
  }
  commit(L, state, w);
  mfr_give_back(state, w->bytes);
  return 1;
}

/* ---- a C host's command: in the sandbox from the beginning ---- */

typedef struct c_job {
  work *w;
  const mf_command *command;
  bool values;
  mfr_buffer events, state;
  size_t event_count;
} c_job;

/* Sets a field of the table on top to the value of JSON text, or to a value that is given as such.
 */
static void set_given(lua_State *S, mfr_state *state, const char *field, const char *json,
                      mf_value value) {
  if (json)
    mfr_parse_json(S, state, json, strlen(json), true, 1);
  else if (value.at)
    mfr_decode_here(S, state, value.at, mf_value_bytes(value).size);
  else
    return;
  lua_setfield(S, -2, field);
}

/* In the sandbox. Arguments: call, store, decider, nothing, c_job. */
static int c_stage(lua_State *S) {
  mfr_state *state = mfr_of(S);
  c_job *job = lua_touserdata(S, WORK);
  const mf_command *given = job->command;
  mfr_decider d;
  job->events.size = job->state.size = 0;
  lua_createtable(S, 0, 5);
  mfr_set_string(S, "type", given->type, strlen(given->type));
  if (given->id) mfr_set_string(S, "command_id", given->id, strlen(given->id));
  set_given(S, state, "data", given->data, given->data_value);
  set_given(S, state, "metadata", given->metadata, given->metadata_value);
  if (given->time != MF_NOW) mfr_set_integer(S, "time", given->time);
  /* The work points at these two, which a script may take out of its command. */
  lua_getfield(S, -1, "type");
  lua_getfield(S, -2, "command_id");
  lua_pushvalue(S, -3);
  keeper by_caller = {0, 0};
  mfr_buffer *buffer = mfr_borrow(S, state);
  lua_insert(S, -2);
  check_command(S, state, "command", job->w->time, buffer, &by_caller, &job->w->commands[0]);
  mfr_give_back(state, buffer);
  copy_command(S, &job->w->commands[0]);
  lua_createtable(S, 1, 0);
  lua_insert(S, -2);
  lua_rawseti(S, -2, 1);
  lua_replace(S, COMMANDS);
  stage(S, state, job->w, &d);
  job->event_count = (size_t)lua_rawlen(S, -1);
  lua_rawgeti(S, LUA_REGISTRYINDEX, state->array_ref);
  lua_setmetatable(S, -2); /* [], when it is empty */
  mfr_value_into(S, state, &job->events, job->values, lua_gettop(S), "events");
  if (job->w->want_state) mfr_value_into(S, state, &job->state, job->values, d.state, "state");
  return 0;
}

static int c_commit(work *w, mf_error *error) {
  mf_txn *txn = w->call.txn;
  if (!w->record) {
    mfr_call_release(&w->call);
    return MF_OK;
  }
  if (!w->call.own) {
    mfr_outcome_end(&w->call.outcome, true);
    return MF_OK;
  }
  w->call.own = false;
  int status = mf_commit(txn, error);
  mfr_outcome_end(&w->call.outcome, status == MF_OK);
  return status;
}

int mfr_c_handle(const mfr_loaded *loaded, mfr_store *store, mfr_text stream,
                 const mf_command *given, bool values, mf_result *result, mf_error *error) {
  work *w = calloc(1, sizeof *w + sizeof *w->commands);
  *error = (mf_error){w ? MF_OK : MF_NO_MEMORY, 0, SIZE_MAX, "no memory for a command"};
  if (!w) return MF_NO_MEMORY;
  c_job job = {w, given, values, {NULL, 0, 0}, {NULL, 0, 0}, 0};
  w->count = 1;
  w->record = !given->dry_run;
  w->want_state = !given->no_state;
  w->expected_version = given->expected_version;
  w->time = mf_now(store->store);
  w->call.store = store;
  w->call.stream = stream;
  int status = mfr_domain_enter(loaded, store, &w->call, c_stage, NULL, &job);
  if (status == MF_OK)
    status = c_commit(w, error);
  else
    mfr_call_release(&w->call);
  if (status == MF_OK) {
    mfr_give_result(&job.events, values, &result->events, &result->events_value);
    mfr_give_result(&job.state, values, &result->state, &result->state_value);
    result->event_count = job.event_count;
    result->version = w->version;
    result->last_position = w->last_position;
    result->created = w->created;
  } else {
    mfr_buffer_free(&job.events);
    mfr_buffer_free(&job.state);
  }
  free(w);
  return status;
}

/* ---- handle, decide, attempt ---- */

static const char *const handle_options[] = {"expected_stream_version", "state", "check_invariant",
                                             "rolls", NULL};
static const char *const decide_options[] = {
    "expected_stream_version", "state", "check_invariant", "rolls", "as_of", NULL};

static int handle(lua_State *L, bool recording) {
  mfr_state *state = mfr_of(L);
  mfr_store *store = mfr_check_store(L, state, 1);
  mfr_text stream = mfr_check_stream(L, state, 2);
  mfr_find_decider(L, state, 1, stream, true);
  lua_settop(L, 5);
  const mfr_loaded *loaded = mfr_to_loaded(L, state, 3);
  if (loaded)
    mfr_check_loaded(L, state, loaded, true);
  else
    mfr_check_decider(L, state, 3, "decider", true);
  mfr_check_options(L, state, 5, "options", recording ? handle_options : decide_options);
  bool want_state = mfr_option_boolean(L, state, 5, "state", true);
  bool check_invariant = mfr_option_boolean(L, state, 5, "check_invariant", false);
  int64_t expected_version = mfr_check_expected(L, state, 5);
  mfr_text expected_name = {NULL, 0};
  if (lua_type(L, 6) == LUA_TSTRING) expected_name.data = lua_tolstring(L, 6, &expected_name.size);
  if (recording && !store->txn && mf_store_read_only(store->store)) { /* a dry run may */
    mfr_push_error(L, state, MF_READ_ONLY,
                   "%s was opened for reading only: store:decide(...) works", store->path);
    return lua_error(L);
  }
  int64_t time = mfr_clock(L, state, 1);
  mfr_live(L, state, store); /* the clock may have closed it */
  if (time == MF_NOW) time = mf_now(store->store);
  mfr_buffer *bytes = mfr_borrow(L, state);
  work *w = check_commands(L, state, 4, time, bytes, !loaded);
  w->bytes = bytes;
  w->events_at = bytes->size;
  w->call.store = store;
  w->call.stream = stream;
  w->record = recording;
  w->want_state = want_state;
  w->check_invariant = check_invariant;
  w->expected_version = expected_version;
  w->expected_name = expected_name;
  w->time = time;
  w->call.as_of = recording ? -1 : mfr_option_count(L, state, 5, "as_of", -1);
  w->call.past = w->call.as_of >= 0;
  w->call.rolls = mfr_check_rolls(L, state, 5);
  /* 1 store, 2 stream, 3 decider, 4 given, 5 options, 6 expectation, 7 the buffer, 8 commands,
   * (nil for a loaded decider, whose own are made in its sandbox), 9 work, 10 rolls */
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 3);
  lua_pushvalue(L, 8);
  lua_pushvalue(L, 9);
  return mfr_protect(L, state, &w->call, loaded ? loaded_body : body, 4, 1);
}

int mfr_handle(lua_State *L) {
  return handle(L, true);
}

int mfr_decide(lua_State *L) {
  return handle(L, false);
}

/* handle, but a refusal is returned. */
int mfr_attempt(lua_State *L) {
  mfr_state *state = mfr_of(L);
  int arguments = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, mfr_handle, 1);
  lua_insert(L, 1);
  if (lua_pcall(L, arguments, 1, 0) == LUA_OK) return 1;
  if (strcmp(mfr_error_code(L, state, -1), "rejected") != 0) return lua_error(L);
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}
