/*
 * aggregate_stream: folds the events of a stream into a state. Events come from the reader one by
 * one, each decoded onto the Lua stack and given to evolve; no list is made. The read transaction
 * is let go before evolve runs.
 */
#include "loaded.h"

#include <stdio.h>

const char *const mfr_aggregate_options[] = {"from",
                                             "to",
                                             "max_count",
                                             "types",
                                             "backwards",
                                             "expected_stream_version",
                                             "upcast",
                                             "initial_state",
                                             "trace",
                                             "check_shapes",
                                             "check_invariant",
                                             "inspect",
                                             NULL};

/* ---- deciders ---- */

static const char *const decider_keys[] = {"name",      "category", "initial_state", "evolve",
                                           "decide",    "upcast",   "events",        "commands",
                                           "invariant", NULL};

static void check_handlers(lua_State *L, const mfr_state *state, const char *path,
                           bool may_ignore) {
  if (lua_type(L, -1) == LUA_TFUNCTION) return;
  if (lua_type(L, -1) != LUA_TTABLE)
    mfr_misuse(L, state, path, "a function, or a table of functions by type, is needed: this is %s",
               lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1));
  int table = lua_gettop(L);
  lua_pushnil(L);
  while (lua_next(L, table)) {
    bool ignored = may_ignore && lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    if (lua_type(L, -2) != LUA_TSTRING)
      mfr_misuse(L, state, path, "it maps types to functions, and one of its keys is a %s",
                 luaL_typename(L, -2));
    if (lua_type(L, -1) != LUA_TFUNCTION && !ignored) {
      char key_path[160];
      snprintf(key_path, sizeof key_path, "%.60s.%.80s", path, lua_tostring(L, -2));
      mfr_misuse(L, state, key_path, "a function%s is needed, this is %s",
                 may_ignore ? " (or false: recorded, changes nothing)" : "", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
  }
}

/* events, commands, invariant */
static void check_declarations(lua_State *L, mfr_state *state, int index, const char *what) {
  int top = lua_gettop(L);
  char path[64];
  mfr_check_shapes(L, state, index, what, "events", "evolve");
  mfr_check_shapes(L, state, index, what, "commands", "decide");
  int type = lua_getfield(L, index, "invariant");
  if (type != LUA_TNIL && type != LUA_TFUNCTION) {
    snprintf(path, sizeof path, "%s.invariant", what);
    mfr_misuse(L, state, path, "a function of the state is needed, this is %s",
               lua_typename(L, type));
  }
  lua_settop(L, top);
}

void mfr_check_decider(lua_State *L, mfr_state *state, int index, const char *what, bool decides) {
  char path[64];
  if (lua_type(L, index) != LUA_TTABLE)
    mfr_misuse(L, state, what,
               "a table { initial_state = ..., evolve = ...%s } is needed, this is %s",
               decides ? ", decide = ..." : "", mfr_type_name(L, index));
  mfr_check_options(L, state, index, what, decider_keys);
  for (int i = 0; i < 2; i++) { /* name and category */
    snprintf(path, sizeof path, "%s.%s", what, decider_keys[i]);
    if (lua_getfield(L, index, decider_keys[i]) != LUA_TNIL)
      mfr_check_string(L, state, lua_gettop(L), path);
    lua_pop(L, 1);
  }
  check_declarations(L, state, index, what);
  snprintf(path, sizeof path, "%s.initial_state", what);
  if (lua_getfield(L, index, "initial_state") == LUA_TNIL)
    mfr_misuse(L, state, path,
               "it is missing: give a value, such as {}, or a function that returns one");
  snprintf(path, sizeof path, "%s.evolve", what);
  lua_getfield(L, index, "evolve");
  check_handlers(L, state, path, true);
  if (decides) {
    snprintf(path, sizeof path, "%s.decide", what);
    lua_getfield(L, index, "decide");
    check_handlers(L, state, path, false);
    lua_pop(L, 1);
  }
  snprintf(path, sizeof path, "%s.upcast", what);
  lua_getfield(L, index, "upcast");
  mfr_check_upcast(L, state, -1, path);
  lua_pop(L, 3);
}

/* Pushes a field; its stack index, or 0 (and nothing pushed) when it is nil. */
static int push_field(lua_State *L, int index, const char *name) {
  if (lua_getfield(L, index, name) != LUA_TNIL) return lua_gettop(L);
  lua_pop(L, 1);
  return 0;
}

void mfr_unpack_decider(lua_State *L, int index, int store, mfr_decider *decider) {
  luaL_checkstack(L, 20, "decider");
  lua_pushnil(L);
  decider->state = lua_gettop(L);
  decider->initial_state = push_field(L, index, "initial_state");
  decider->evolve = push_field(L, index, "evolve");
  decider->decide = push_field(L, index, "decide");
  decider->upcast = push_field(L, index, "upcast");
  decider->trace = 0;
  decider->loaded = NULL;
  decider->identity = NULL;
  decider->snapshots = decider->behind = false;
  decider->snapshot = decider->due = 0;
  decider->event_shapes = push_field(L, index, "events");
  decider->command_shapes = push_field(L, index, "commands");
  decider->invariant = push_field(L, index, "invariant");
  decider->check_shapes = decider->check_invariant = false;
  decider->findings = 0;
  decider->alone = false;
  decider->given = 0;
  memset(decider->plans, 0, sizeof decider->plans);
  decider->evolve_is_table = lua_type(L, decider->evolve) == LUA_TTABLE;
  lua_newtable(L);
  decider->handlers = lua_gettop(L);
  lua_getiuservalue(L, store, MFR_STORE_EVENTS);
  decider->events = lua_gettop(L);
  lua_getiuservalue(L, store, MFR_STORE_TYPES);
  decider->types = lua_gettop(L);
}

/* ---- folding ---- */

void mfr_initial_state(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *decider) {
  memset(&call->event, 0, sizeof call->event);
  if (lua_type(L, decider->initial_state) == LUA_TFUNCTION) {
    lua_pushvalue(L, decider->initial_state);
    mfr_call_script(L, state, call, "initial_state", 0, 1);
    if (lua_isnil(L, -1)) {
      call->phase = "initial_state";
      luaL_error(L, "it returned nothing: a state is any value but nil");
    }
  } else
    mfr_copy_value(L, state, decider->initial_state, "initial_state");
  lua_replace(L, decider->state);
}

/* ---- handlers ---- */

/*
 * What evolve and upcast say of a type is asked once for each fold; types have small numbers, so
 * that the answer stands in an array. It is a function, `false` where there is nothing to do,
 * `true` for "upcast it, then ask again", or a plan.
 *
 * A plan is made for a handler that is known not to keep its event, once a fold has proved long
 * enough to be worth it. It is a table: the handler, its event and that event's data, which serve
 * again and again, and from PLAN_NAMES on the names of the fields of data that the handler reads.
 */
enum { PLAN_HANDLER = 1, PLAN_EVENT, PLAN_DATA, PLAN_USAGE, PLAN_NAMES, WORTH_A_PLAN = 24 };

static void resolve_handler(lua_State *L, const mf_event *event, const mfr_decider *d) {
  lua_pushlstring(L, event->type.data, event->type.size);
  int type = lua_gettop(L);
  if (d->upcast) {
    lua_pushvalue(L, type);
    if (lua_rawget(L, d->upcast) != LUA_TNIL) {
      lua_pushboolean(L, 1);
      lua_replace(L, type);
      lua_settop(L, type);
      return;
    }
    lua_pop(L, 1);
  }
  if (!d->evolve_is_table)
    lua_pushvalue(L, d->evolve);
  else {
    lua_pushvalue(L, type);
    if (lua_gettable(L, d->evolve) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_pushboolean(L, 0);
    }
  }
  lua_replace(L, type);
}

/* The event of a plan, with what stays the same for all events of its type: [-0, +1]. */
static void push_plan_event(lua_State *L, const mf_event *event, const mfr_decider *d) {
  lua_createtable(L, 0, MFR_FIELDS);
  mfr_push_field_name(L, d->events, MFR_TYPE);
  lua_pushlstring(L, event->type.data, event->type.size);
  lua_rawset(L, -3);
  mfr_push_field_name(L, d->events, MFR_STREAM_NAME);
  mfr_push_stream_name(L, d->events, event->stream);
  lua_rawset(L, -3);
  lua_pushvalue(L, d->events);
  lua_setmetatable(L, -2);
}

/* Replaces the handler on top by a plan, when it is one that does not keep its event. */
static void plan(lua_State *L, mfr_state *state, mfr_decider *d, const mf_event *event) {
  luaL_checkstack(L, 10, "plan");
  int handler = lua_gettop(L);
  const mfr_usage *usage = mfr_usage_of(L, state, handler);
  if (!usage) {
    lua_pop(L, 1);
    return;
  }
  lua_createtable(L, PLAN_NAMES + usage->count, 0);
  lua_insert(L, -2);
  lua_getiuservalue(L, -1, MFR_USAGE_NAMES);
  for (int i = 1; i <= usage->count; i++) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, handler + 1, PLAN_NAMES + i - 1);
  }
  lua_pop(L, 1);
  lua_rawseti(L, handler + 1, PLAN_USAGE); /* keeps it alive */
  push_plan_event(L, event, d);
  lua_rawseti(L, handler + 1, PLAN_EVENT);
  lua_createtable(L, 0, usage->count);
  lua_rawseti(L, handler + 1, PLAN_DATA);
  lua_pushvalue(L, handler);
  lua_rawseti(L, handler + 1, PLAN_HANDLER);
  lua_replace(L, handler);
  d->plans[event->type_id % MFR_PLANS] = (mfr_plan){event->type_id, usage, false};
}

/* Pushes the answer for the event's type and returns its Lua type. */
static int push_handler(lua_State *L, mfr_state *state, const mf_event *event, mfr_decider *d) {
  if (event->type_id == 0) {
    resolve_handler(L, event, d);
    return lua_type(L, -1);
  }
  int type = lua_rawgeti(L, d->handlers, event->type_id);
  if (type != LUA_TNIL) return type;
  lua_pop(L, 1);
  resolve_handler(L, event, d);
  if (d->given >= WORTH_A_PLAN && !d->check_shapes && !(d->findings && d->event_shapes) &&
      d->plans[event->type_id % MFR_PLANS].type_id == 0 && lua_type(L, -1) == LUA_TFUNCTION)
    plan(L, state, d, event);
  lua_pushvalue(L, -1);
  lua_rawseti(L, d->handlers, event->type_id);
  return lua_type(L, -1);
}

/* The fold has become long: asks again, to make plans. */
static void forget_handlers(lua_State *L, mfr_decider *d) {
  lua_newtable(L);
  lua_replace(L, d->handlers);
}

/* Sets a field of the event on top. */
static void set_plan_integer(lua_State *L, const mfr_decider *d, mfr_field field, int64_t value) {
  mfr_push_field_name(L, d->events, field);
  lua_pushinteger(L, value);
  lua_rawset(L, -3);
}

static void set_plan_data(lua_State *L, mfr_state *state, const mfr_decider *d, mfr_plan *p,
                          const mf_event *event, int table) {
  int its_event = lua_gettop(L), found = 0;
  if (!p->usage->data_kept && event->data.size) {
    lua_rawgeti(L, table, PLAN_DATA);
    found = mfr_decode_fields(L, state, event->data.data, event->data.size, p->usage, its_event + 1,
                              table, PLAN_NAMES);
  }
  if (found != 1 || !p->data_set) {
    mfr_push_field_name(L, d->events, MFR_DATA);
    if (found == 1)
      lua_pushvalue(L, its_event + 1);
    else
      mfr_push_data(L, state, event); /* no map, or damaged: then this raises */
    lua_rawset(L, its_event);
    p->data_set = found == 1;
  }
  lua_settop(L, its_event);
}

/* Pushes the event of the plan at `table`, filled with what the handler reads of this event. */
static void push_planned(lua_State *L, mfr_state *state, const mfr_decider *d, mfr_plan *p,
                         const mf_event *event, int table) {
  unsigned fields = p->usage->fields;
  lua_rawgeti(L, table, PLAN_EVENT);
  if (fields & 1u << MFR_DATA) set_plan_data(L, state, d, p, event, table);
  if (fields & 1u << MFR_STREAM_POSITION)
    set_plan_integer(L, d, MFR_STREAM_POSITION, event->version);
  if (fields & (1u << MFR_GLOBAL_POSITION | 1u << MFR_MESSAGE_ID)) /* the id is made from it */
    set_plan_integer(L, d, MFR_GLOBAL_POSITION, event->position);
  if (fields & 1u << MFR_RECORDED_AT) set_plan_integer(L, d, MFR_RECORDED_AT, event->recorded_at);
  if (fields & 1u << MFR_CODE_DIGEST) {
    mfr_push_field_name(L, d->events, MFR_CODE_DIGEST);
    mfr_push_code_digest(L, state, d->events, event);
    lua_rawset(L, -3);
  }
  if (fields & 1u << MFR_METADATA) {
    mfr_push_field_name(L, d->events, MFR_METADATA);
    mfr_push_metadata(L, state, event);
    lua_rawset(L, -3);
  }
  if (fields & 1u << MFR_MESSAGE_ID) {
    mfr_push_field_name(L, d->events, MFR_MESSAGE_ID);
    if (event->message_id.data)
      lua_pushlstring(L, event->message_id.data, event->message_id.size);
    else
      lua_pushnil(L);
    lua_rawset(L, -3);
  }
}

static void set_plan_text(lua_State *L, const mfr_decider *d, mfr_field field) {
  mfr_push_field_name(L, d->events, field);
  lua_insert(L, -2);
  lua_rawset(L, -3);
}

/* Calls the handler, with the state and the event, which stand on top of the stack: [-3, +0]. */
static void evolve(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d) {
  mfr_call_script(L, state, call, "evolve", 2, 1);
  if (lua_isnil(L, -1))
    lua_pop(L, 1); /* the handler has changed the state in place */
  else
    lua_replace(L, d->state);
}

/* The event on top has been upcast: finds the handler of its new type. [-0, +1]: handler below
 * event */
static bool handler_of_upcast(lua_State *L, const mfr_decider *d) {
  if (!d->evolve_is_table)
    lua_pushvalue(L, d->evolve);
  else {
    lua_getfield(L, -1, "type");
    lua_gettable(L, d->evolve);
  }
  lua_insert(L, -2);
  if (lua_type(L, -2) == LUA_TFUNCTION) return true;
  lua_pop(L, 2);
  return false;
}

/* The event on top, as it is after upcast, must have the shape that is declared for its type. */
static void check_shape(lua_State *L, const mfr_state *state, const mfr_call *call,
                        const mfr_decider *d) {
  int top = lua_gettop(L);
  size_t size;
  lua_getfield(L, top, "type");
  const char *name = lua_tolstring(L, -1, &size);
  mfr_text type = {name, size};
  lua_getfield(L, top, "data");
  if (!mfr_has_shape(L, state, d->event_shapes, type, top + 2)) {
    mfr_push_error(L, state, MF_SCRIPT_ERROR,
                   "event %lld (%.80s) of stream \"%.80s\" lacks its declared shape: %s: %s",
                   (long long)call->event.version, name, call->stream.data,
                   lua_tostring(L, top + 3), lua_tostring(L, top + 4));
    mfr_set_string(L, "stream", call->stream.data, call->stream.size);
    mfr_set_integer(L, "position", call->event.version);
    mfr_set_string(L, "event_type", name, size);
    lua_pushvalue(L, top + 3);
    lua_setfield(L, -2, "path");
    lua_error(L);
  }
  lua_settop(L, top);
}

/* What a handler cannot be given at once: an event to upcast, or one whose shape is checked. The
 * handler, or what stands for one, is on top: [-1, +0]. */
static void upcast_and_evolve(lua_State *L, mfr_state *state, mfr_call *call,
                              const mfr_decider *d) {
  int type = lua_type(L, -1);
  bool ignored = type == LUA_TBOOLEAN && !lua_toboolean(L, -1);
  mfr_push_event(L, state, &call->event, d->events, d->types);
  if (type == LUA_TBOOLEAN) {
    lua_remove(L, -2);
    if (!ignored) mfr_upcast(L, state, call, d->upcast);
    if (d->check_shapes) check_shape(L, state, call, d);
    if (!handler_of_upcast(L, d)) return;
  } else
    check_shape(L, state, call, d);
  lua_pushvalue(L, d->state);
  lua_insert(L, -2);
  evolve(L, state, call, d);
}

/* The plan is on top: [-1, +0]. False, and nothing is done but [-1, +1], the handler: it is not
 * known that the event stays what it is. */
static bool evolve_planned(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d,
                           bool inspected) {
  int table = lua_gettop(L);
  mfr_plan *its_plan = &d->plans[call->event.type_id % MFR_PLANS];
  lua_rawgeti(L, table, PLAN_HANDLER);
  lua_pushvalue(L, d->state);
  push_planned(L, state, d, its_plan, &call->event, table);
  if (inspected && !mfr_only_reads(L, d, its_plan->usage, lua_gettop(L))) {
    lua_settop(L, table + 1);
    lua_remove(L, table);
    return false;
  }
  call->bounded = its_plan->usage->instructions;
  evolve(L, state, call, d);
  lua_pop(L, 1);
  return true;
}

/* The same for an inspection, which looks at the event before and after, where it must. The answer
 * of push_handler() is on top: [-1, +0]. */
static void inspect_event(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d) {
  if (lua_type(L, -1) == LUA_TTABLE && evolve_planned(L, state, call, d, true))
    mfr_inspect_state(L, state, call, d);
  else
    mfr_inspect_event(L, state, call, d);
  if (++d->given == WORTH_A_PLAN) forget_handlers(L, d);
}

/*
 * An event that a command leads to comes alone, and no fold gets long enough to be worth a plan of
 * its own. So what the tables of a plan are for a fold, those that stay with the handler's usage
 * are for all such events of a loaded decider, whose handlers stay the same. Nothing in them is old
 * when the handler sees it: all that it reads is set for each event.
 */
static void push_lasting_plan(lua_State *L, const mfr_usage *usage, int its_usage) {
  if (lua_getiuservalue(L, its_usage, MFR_USAGE_PLAN) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, PLAN_NAMES + usage->count, 0);
  lua_createtable(L, 0, MFR_FIELDS);
  lua_rawseti(L, -2, PLAN_EVENT);
  lua_createtable(L, 0, usage->count);
  lua_rawseti(L, -2, PLAN_DATA);
  lua_getiuservalue(L, its_usage, MFR_USAGE_NAMES);
  for (int i = 1; i <= usage->count; i++) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -3, PLAN_NAMES + i - 1);
  }
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, its_usage, MFR_USAGE_PLAN);
}

/* Folds call->event, whose handler is on top: [-1, +0]. False, and nothing is done, when that may
 * keep its event. */
static bool evolve_alone(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d) {
  enum { MOST_KEPT = 4096 };
  const mf_event *event = &call->event;
  int handler = lua_gettop(L), its_usage = handler + 1, table = handler + 2;
  const mfr_usage *usage = mfr_usage_of(L, state, handler);
  if (!usage) {
    lua_settop(L, handler);
    return false;
  }
  mfr_plan its_plan = {0, usage, false};
  push_lasting_plan(L, usage, its_usage);
  lua_rawgeti(L, table, PLAN_EVENT);
  if (usage->fields & 1u << MFR_TYPE) {
    lua_pushlstring(L, event->type.data, event->type.size);
    set_plan_text(L, d, MFR_TYPE);
  }
  if (usage->fields & 1u << MFR_STREAM_NAME) {
    mfr_push_stream_name(L, d->events, event->stream);
    set_plan_text(L, d, MFR_STREAM_NAME);
  }
  lua_pushvalue(L, d->events);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  lua_pushvalue(L, handler);
  lua_pushvalue(L, d->state);
  push_planned(L, state, d, &its_plan, event, table);
  call->bounded = usage->instructions;
  evolve(L, state, call, d);
  if (event->data.size + event->metadata.size > MOST_KEPT) { /* it is not held on to */
    lua_pushnil(L);
    lua_setiuservalue(L, its_usage, MFR_USAGE_PLAN);
  }
  lua_settop(L, handler - 1);
  return true;
}

/* Folds call->event. */
static void fold_event(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d) {
  const mf_event *event = &call->event;
  if (state->sandbox) mfr_sandbox_credit(L, state, event, call->looking);
  int type = push_handler(L, state, event, d);
  if (d->findings) {
    inspect_event(L, state, call, d);
    return;
  }
  if (d->check_shapes || type == LUA_TBOOLEAN) {
    if (!d->check_shapes && !lua_toboolean(L, -1)) {
      lua_pop(L, 1); /* not even decoded */
      return;
    }
    upcast_and_evolve(L, state, call, d);
  } else if (type == LUA_TTABLE)
    evolve_planned(L, state, call, d, false);
  else if (!d->alone || !evolve_alone(L, state, call, d)) {
    lua_pushvalue(L, d->state);
    mfr_push_event(L, state, event, d->events, d->types);
    evolve(L, state, call, d);
    if (++d->given == WORTH_A_PLAN) forget_handlers(L, d);
  }
  if (d->check_invariant) mfr_check_invariant(L, state, call, d);
}

/* ---- tracing: which events change a part of the state ---- */

/* Pushed by take_trace(), from mfr_decider.trace on. `SPARE` takes turns with `CURRENT`. */
enum { TRACE_KEYS, TRACE_FOUND, TRACE_CURRENT, TRACE_SPARE };

/* Pushes the part of the state that the keys lead to, or nil. [-0, +1] */
static void push_part(lua_State *L, const mfr_decider *d) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, d->trace + TRACE_KEYS);
  lua_pushvalue(L, d->state);
  for (lua_Integer i = 1; i <= count && !lua_isnil(L, -1); i++) {
    if (lua_type(L, -1) == LUA_TTABLE) {
      lua_rawgeti(L, d->trace + TRACE_KEYS, i);
      lua_gettable(L, -2);
    } else
      lua_pushnil(L);
    lua_remove(L, -2);
  }
}

/* Encodes the part into a buffer, in place of what it held. */
static void encode_part(lua_State *L, mfr_state *state, const mfr_decider *d, mfr_buffer *buffer) {
  buffer->size = 0;
  push_part(L, d);
  if (!lua_isnil(L, -1)) mfr_encode(L, state, buffer, -1, "state");
  lua_pop(L, 1);
}

/* Notes { version, value } when the part is not what it was. An absent part has no bytes. */
static void trace(lua_State *L, mfr_state *state, const mfr_decider *d, int64_t version) {
  mfr_buffer *current = lua_touserdata(L, d->trace + TRACE_CURRENT);
  mfr_buffer *next = lua_touserdata(L, d->trace + TRACE_SPARE);
  encode_part(L, state, d, next);
  if (next->size == current->size &&
      (next->size == 0 || memcmp(next->data, current->data, next->size) == 0))
    return;
  lua_createtable(L, 0, 2);
  mfr_set_integer(L, "version", version);
  if (next->size > 0 && mfr_decode(L, state, next->data, next->size)) lua_setfield(L, -2, "value");
  lua_rawseti(L, d->trace + TRACE_FOUND, (lua_Integer)lua_rawlen(L, d->trace + TRACE_FOUND) + 1);
  lua_pushvalue(L, d->trace + TRACE_CURRENT);
  lua_pushvalue(L, d->trace + TRACE_SPARE);
  lua_replace(L, d->trace + TRACE_CURRENT);
  lua_replace(L, d->trace + TRACE_SPARE);
}

int64_t mfr_fold(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *decider,
                 int64_t version) {
  luaL_checkstack(L, LUA_MINSTACK, "fold");
  while (mfr_next(L, state, call, &call->event)) {
    fold_event(L, state, call, decider);
    version = call->event.version;
    if (decider->trace) trace(L, state, decider, version);
    if (call->deadline && mfr_monotonic() >= call->deadline) break;
  }
  if (state->sandbox) mfr_sandbox_leave(state);
  mfr_close_reader(call);
  return version;
}

void mfr_fold_one(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *decider,
                  const mf_event *event) {
  luaL_checkstack(L, LUA_MINSTACK, "fold");
  call->event = *event;
  decider->alone = decider->loaded && state->sandbox;
  fold_event(L, state, call, decider);
  decider->alone = false;
  if (state->sandbox) mfr_sandbox_leave(state);
}

/* ---- aggregate_stream ---- */

/* The version at which the state stands: the range's end, not the last event that changed
 * something. */
static int64_t standing(const mfr_range *range, int64_t current, int64_t last) {
  if (range->options.types || range->options.max_count >= 0) return last;
  if (range->options.from > current) return last;
  return range->options.to < current ? range->options.to : current;
}

/* Goes on from a state of an earlier fold, which is on top, or nil. [-0, +0] */
static void take_initial_state(lua_State *L, mfr_state *state, mfr_decider *decider) {
  if (lua_isnil(L, -1)) return;
  if (lua_type(L, -1) == LUA_TFUNCTION)
    mfr_misuse(L, state, "options.initial_state", "a state is needed, this is a function");
  decider->initial_state = lua_gettop(L);
}

/* Watches the part of the state that the list of keys on top leads to; nil: none. What is needed
 * for that is left on the stack: [-0, +3|0]. */
static void take_trace(lua_State *L, mfr_state *state, mfr_decider *decider) {
  if (lua_isnil(L, -1)) return;
  if (lua_type(L, -1) != LUA_TTABLE)
    mfr_misuse(L, state, "options.trace",
               "a list of keys is needed, such as { \"items\", 2 }: this is %s",
               luaL_typename(L, -1));
  decider->trace = lua_gettop(L);
  lua_newtable(L);
  mfr_borrow(L, state);
  mfr_borrow(L, state);
  encode_part(L, state, decider, lua_touserdata(L, decider->trace + TRACE_CURRENT));
}

/* What is asked of a fold, and what it has come to. */
typedef struct folding {
  mfr_range range;
  mfr_text expected_name; /* the expectation, when it was given as a string */
  bool check_shapes, check_invariant, inspect;
  bool from_a_state; /* the fold begins with one that was given */
  int64_t past;      /* version of the stream that is looked at; MF_LAST: the real one */
  int64_t version;
  bool exists;
  mfr_buffer *out; /* of a loaded decider: the state, the trace and the findings */
} folding;

static void check_folding(lua_State *L, mfr_state *state, int options, folding *f) {
  memset(f, 0, sizeof *f);
  mfr_check_range(L, state, options, mfr_aggregate_options, &f->range);
  if (f->range.options.backwards)
    mfr_misuse(L, state, "options.backwards", "a state is folded forwards: leave it out");
  f->check_shapes = mfr_option_boolean(L, state, options, "check_shapes", false);
  f->check_invariant = mfr_option_boolean(L, state, options, "check_invariant", false);
  f->inspect = mfr_option_boolean(L, state, options, "inspect", false);
}

/* Whether the fold is one of a whole stream, from its beginning, that leaves nothing but a state.
 */
static bool is_ordinary(lua_State *L, const folding *f, const mfr_decider *d) {
  const mf_read_options *o = &f->range.options;
  return (d->identity || d->snapshots) && !f->from_a_state && lua_isnil(L, -1) && o->from <= 1 &&
         o->to >= 1 && o->max_count < 0 && !o->types && !d->check_shapes && !d->check_invariant &&
         !f->inspect;
}

/* The stream's version; in a look at the past, the one that it had. */
static int64_t version_in_sight(const mfr_call *call, const folding *f) {
  int64_t version = mf_reader_version(call->reader);
  return version < f->past ? version : f->past;
}

/* Goes on from the newest state that is known. */
static void fold_rest(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d, folding *f) {
  mfr_range rest = f->range;
  int64_t start = mfr_recall(L, state, call, d, rest.options.to);
  rest.options.from = start + 1;
  mfr_open_reader(L, state, call, &rest);
  int64_t current = version_in_sight(call, f);
  bool goes_on = current > start && rest.options.to > start;
  /* A look at the store as it was before; or the decision has seen the state that would change. */
  if (current < start || (goes_on && start > 0 && call->looking == MFR_LOOKS_AGAIN)) {
    mfr_close_reader(call);
    d->identity = NULL;
    start = 0;
    mfr_initial_state(L, state, call, d);
    mfr_open_reader(L, state, call, &f->range);
  }
  if (goes_on) mfr_forget(L, state, call, d);
  int64_t last = mfr_fold(L, state, call, d, start);
  d->behind = rest.options.to < current;
  if (last > start) {
    mfr_snapshot_alone(L, state, call, d, last);
    mfr_remember(L, state, call, d, last, false);
  }
  f->version = standing(&f->range, current, last);
  f->exists = current > 0;
}

/* The list of keys to trace, or nil, is on top; it and what belongs to it stay on the stack. The
 * state stands at decider->state. */
static void fold_range(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *decider,
                       folding *f) {
  f->range.options.stream = (mf_bytes){call->stream.data, call->stream.size};
  f->past = mfr_past_version(L, state, call);
  if (f->range.options.to > f->past) f->range.options.to = f->past;
  decider->check_shapes = f->check_shapes && decider->event_shapes;
  decider->check_invariant = f->check_invariant && decider->invariant;
  if (is_ordinary(L, f, decider)) {
    fold_rest(L, state, call, decider, f);
    return;
  }
  if (f->inspect) {
    lua_newtable(L); /* and two buffers behind it; the trace stays on top */
    mfr_borrow(L, state);
    mfr_borrow(L, state);
    lua_rotate(L, -4, -1);
    decider->findings = lua_gettop(L) - 3;
  }
  mfr_initial_state(L, state, call, decider);
  take_trace(L, state, decider);
  if (decider->findings) mfr_inspect_state(L, state, call, decider);
  if (decider->check_invariant) mfr_check_invariant(L, state, call, decider);
  mfr_open_reader(L, state, call, &f->range);
  int64_t current = version_in_sight(call, f);
  int64_t last = mfr_fold(L, state, call, decider, 0);
  f->version = standing(&f->range, current, last);
  f->exists = current > 0;
}

/* Pushes an option, or nil. [-0, +1] */
static void push_option(lua_State *L, int options, const char *name) {
  if (lua_isnoneornil(L, options))
    lua_pushnil(L);
  else
    lua_getfield(L, options, name);
}

/* On top: the state, and the trace and the findings, or nil. [-3, +1] */
static void push_result(lua_State *L, const folding *f) {
  int top = lua_gettop(L);
  lua_createtable(L, 0, 5);
  lua_insert(L, top - 2);
  lua_setfield(L, top - 2, "findings");
  lua_setfield(L, top - 2, "trace");
  lua_setfield(L, top - 2, "state");
  mfr_set_integer(L, "current_stream_version", f->version);
  lua_pushboolean(L, f->exists);
  lua_setfield(L, -2, "stream_exists");
}

/* ---- a loaded decider's state is folded in its sandbox ---- */

static void push_trace(lua_State *L, const mfr_decider *decider) {
  if (decider->trace)
    lua_pushvalue(L, decider->trace + TRACE_FOUND);
  else
    lua_pushnil(L);
}

static void push_findings(lua_State *L, const mfr_decider *decider) {
  if (decider->findings)
    lua_pushvalue(L, decider->findings);
  else
    lua_pushnil(L);
}

/* In the sandbox. Arguments: call, store, decider, initial state and trace as bytes, folding. */
static int loaded_fold(lua_State *S) {
  mfr_state *state = mfr_of(S);
  const mfr_buffer *in = lua_touserdata(S, 4);
  folding *f = lua_touserdata(S, 5);
  mfr_decider decider;
  size_t at = 0;
  mfr_unpack_decider(S, 3, 2, &decider);
  mfr_know_decider(S, state, lua_touserdata(S, 1), 3, &decider);
  f->out->size = 0;
  if (f->expected_name.data)
    lua_pushlstring(S, f->expected_name.data, f->expected_name.size);
  else
    lua_pushinteger(S, f->range.options.expected_version);
  f->range.expected = lua_gettop(S);
  mfr_decode_sized(S, state, in, &at);
  f->from_a_state = !lua_isnil(S, -1);
  take_initial_state(S, state, &decider);
  mfr_decode_sized(S, state, in, &at);
  fold_range(S, state, lua_touserdata(S, 1), &decider, f);
  mfr_encode_sized(S, state, f->out, decider.state, "state");
  push_trace(S, &decider);
  mfr_encode_sized(S, state, f->out, -1, "trace");
  push_findings(S, &decider);
  mfr_encode_sized(S, state, f->out, -1, "findings");
  return 0;
}

static void aggregate_loaded(lua_State *L, mfr_state *state, mfr_call *call,
                             const mfr_loaded *loaded, int options) {
  folding f;
  size_t at = 0;
  push_option(L, options, "upcast");
  if (!lua_isnil(L, -1))
    mfr_misuse(L, state, "options.upcast",
               "a loaded decider has its own: functions stay on their side of the sandbox");
  check_folding(L, state, options, &f);
  if (lua_type(L, f.range.expected) == LUA_TSTRING)
    f.expected_name.data = lua_tolstring(L, f.range.expected, &f.expected_name.size);
  mfr_buffer *in = mfr_borrow(L, state);
  push_option(L, options, "initial_state");
  mfr_encode_sized(L, state, in, -1, "options.initial_state");
  push_option(L, options, "trace");
  mfr_encode_sized(L, state, in, -1, "options.trace");
  f.out = mfr_borrow(L, state);
  mfr_enter(L, state, loaded, call, loaded_fold, in, &f);
  for (int i = 0; i < 3; i++)
    mfr_decode_sized(L, state, f.out, &at);
  push_result(L, &f);
  mfr_give_back(state, in);
  mfr_give_back(state, f.out);
}

int64_t mfr_fold_stream(lua_State *L, mfr_state *state, mfr_call *call, int store,
                        int decider_index, int64_t to, bool inspect) {
  static const mf_read_options defaults = MF_READ_OPTIONS_INIT;
  mfr_decider decider;
  folding f;
  memset(&f, 0, sizeof f);
  f.range.options = defaults;
  f.range.options.to = to;
  f.inspect = inspect;
  mfr_unpack_decider(L, decider_index, store, &decider);
  mfr_know_decider(L, state, call, decider_index, &decider);
  lua_pushnil(L); /* no trace */
  fold_range(L, state, call, &decider, &f);
  lua_pushvalue(L, decider.state);
  push_findings(L, &decider);
  return f.version;
}

/* In the sandbox, for a C host. Arguments: call, store, decider, nothing, mfr_c_fold. */
int mfr_c_fold_stage(lua_State *S) {
  static const mf_read_options defaults = MF_READ_OPTIONS_INIT;
  mfr_state *state = mfr_of(S);
  mfr_c_fold *c = lua_touserdata(S, 5);
  mfr_decider decider;
  folding f;
  memset(&f, 0, sizeof f);
  f.range.options = defaults;
  f.range.options.to = c->to;
  mfr_unpack_decider(S, 3, 2, &decider);
  mfr_know_decider(S, state, lua_touserdata(S, 1), 3, &decider);
  c->state.size = 0;
  lua_pushnil(S); /* no trace */
  fold_range(S, state, lua_touserdata(S, 1), &decider, &f);
  mfr_value_into(S, state, &c->state, c->values, decider.state, "state");
  c->version = f.version;
  c->exists = f.exists;
  return 0;
}

/* In the sandbox, for mf_step(). Arguments: call, store, decider, nothing, mfr_c_warm. */
int mfr_c_warm_stage(lua_State *S) {
  static const mf_read_options defaults = MF_READ_OPTIONS_INIT;
  mfr_state *state = mfr_of(S);
  mfr_call *call = lua_touserdata(S, 1);
  mfr_c_warm *warm = lua_touserdata(S, 5);
  mfr_decider decider;
  mfr_range range = {defaults, 0};
  mfr_unpack_decider(S, 3, 2, &decider);
  mfr_know_decider(S, state, call, 3, &decider);
  warm->start = mfr_recall(S, state, call, &decider, MF_LAST);
  range.options.stream = (mf_bytes){call->stream.data, call->stream.size};
  range.options.from = warm->start + 1;
  mfr_open_reader(S, state, call, &range);
  int64_t current = mf_reader_version(call->reader);
  if (current > warm->start) mfr_forget(S, state, call, &decider);
  warm->version = mfr_fold(S, state, call, &decider, warm->start);
  warm->finished = warm->version >= current || !decider.identity;
  if (warm->version > warm->start) {
    if (warm->finished) mfr_snapshot_alone(S, state, call, &decider, warm->version);
    mfr_remember(S, state, call, &decider, warm->version, false);
  }
  return 0;
}

/* ---- in this state ---- */

void mfr_aggregate(lua_State *L, mfr_state *state, mfr_call *call, int store, int decider_index,
                   int options) {
  folding f;
  mfr_decider decider;
  const mfr_loaded *loaded = mfr_to_loaded(L, state, decider_index);
  if (loaded) {
    aggregate_loaded(L, state, call, loaded, options);
    return;
  }
  mfr_unpack_decider(L, decider_index, store, &decider);
  if (call->lasting && state->cache) decider.identity = lua_topointer(L, decider_index);
  push_option(L, options, "upcast");
  if (!lua_isnil(L, -1)) {
    decider.upcast = lua_gettop(L);
    decider.identity = NULL;
  }
  push_option(L, options, "initial_state");
  if (!lua_isnil(L, -1)) decider.identity = NULL;
  take_initial_state(L, state, &decider);
  check_folding(L, state, options, &f);
  push_option(L, options, "trace");
  fold_range(L, state, call, &decider, &f);
  if (state->sandbox)
    mfr_push_view(L, state, decider.state); /* it may be kept */
  else
    lua_pushvalue(L, decider.state);
  push_trace(L, &decider);
  push_findings(L, &decider);
  push_result(L, &f);
}

/* Arguments: call, store, decider, options. */
static int aggregate_body(lua_State *L) {
  mfr_aggregate(L, mfr_of(L), lua_touserdata(L, 1), 2, 3, 4);
  return 1;
}

int mfr_aggregate_stream(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  call.store = mfr_check_store(L, state, 1);
  call.stream = mfr_check_stream(L, state, 2);
  mfr_find_decider(L, state, 1, call.stream, false);
  lua_settop(L, 4);
  if (!mfr_to_loaded(L, state, 3)) mfr_check_decider(L, state, 3, "aggregate", false);
  mfr_check_options(L, state, 4, "options", mfr_aggregate_options);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 3);
  lua_pushvalue(L, 4);
  return mfr_protect(L, state, &call, aggregate_body, 3, 1);
}
