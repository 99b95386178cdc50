/* Events as lines: fields with tabs between them, JSON, and what import makes the same store of. */
#include "host.h"
#include "loaded.h"

#include <stdio.h>

/* ---- as JSON ---- */

static void put(lua_State *L, const mfr_state *state, mfr_buffer *out, const char *text) {
  size_t size = strlen(text);
  mfr_need_room(L, state, out, size);
  memcpy(out->data + out->size, text, size);
  out->size += size;
}

static void put_integer(lua_State *L, const mfr_state *state, mfr_buffer *out, const char *key,
                        int64_t value) {
  char text[96];
  snprintf(text, sizeof text, "%s%lld", key, (long long)value);
  put(L, state, out, text);
}

static void put_base64(lua_State *L, const mfr_state *state, mfr_buffer *out, mf_bytes bytes) {
  size_t size = mfr_base64_size(bytes.size);
  put(L, state, out, "\"");
  mfr_need_room(L, state, out, size);
  mfr_base64_write(out->data + out->size, bytes.data, bytes.size);
  out->size += size;
  put(L, state, out, "\"");
}

/* Whether an import takes the JSON of an encoding for what it is: metadata is an object there. */
static bool comes_back(const char *name, mf_bytes encoded) {
  mf_value value = mf_value_of(encoded);
  mf_kind kind = mf_value_kind(value);
  return value.at && (strcmp(name, "metadata") != 0 || kind == MF_MAP || kind == MF_LIST);
}

/* A payload as JSON, or, when it was not written by the runtime and JSON could not bring it back,
 * its bytes. */
static void put_payload(lua_State *L, const mfr_state *state, mfr_buffer *out, const char *name,
                        mf_bytes payload, int tags) {
  char key[64];
  bool canonical = tags == MFR_JSON_EXACT ? comes_back(name, payload)
                                          : mfr_is_canonical(payload.data, payload.size);
  snprintf(key, sizeof key, ",\"%s%s\":", name, canonical ? "" : "_base64");
  put(L, state, out, key);
  if (canonical)
    mfr_json_write(L, state, out, payload.data, tags);
  else
    put_base64(L, state, out, payload);
}

static void put_time(lua_State *L, const mfr_state *state, mfr_buffer *out, int64_t time) {
  char text[MFR_TIME_TEXT], quoted[MFR_TIME_TEXT + 2];
  if (!mfr_write_time(time, text)) {
    put_integer(L, state, out, ",\"recorded_at\":", time);
    return;
  }
  snprintf(quoted, sizeof quoted, "\"%s\"", text);
  put(L, state, out, ",\"recorded_at\":");
  put(L, state, out, quoted);
}

/* Which code decided, where the event tells. */
static void put_code(lua_State *L, mfr_state *state, mfr_buffer *out, const mf_event *event) {
  if (!event->envelope.data) return;
  mf_bytes code = mf_event_decision(event, MF_DECISION_CODE);
  if (code.size != MF_DIGEST_SIZE) return;
  mfr_push_digest(L, code.data);
  put(L, state, out, ",\"code_digest\":\"");
  put(L, state, out, lua_tostring(L, -1));
  put(L, state, out, "\"");
  lua_pop(L, 1);
}

/* How many events the append had that this is the first of. */
static int64_t append_length(lua_State *L, mfr_state *state, mfr_call *call,
                             const mf_event *event) {
  mf_command_record record;
  mf_error error;
  if (!event->command_id.data) return 1;
  int status = mf_find_command(call->txn, event->stream, event->command_id, &record, &error);
  if (status < 0) {
    mfr_push_store_error(L, state, &error, event->stream.data, event->stream.size, 0);
    lua_error(L);
  }
  bool found = status == MF_OK && record.first_version == event->version;
  return found ? record.last_version - record.first_version + 1 : 1;
}

/* The line of an event. Exactly: with what stands beside it, so that an import gives the same. */
static void put_event(lua_State *L, mfr_state *state, mfr_buffer *out, mfr_call *call,
                      const mf_event *event, bool exact) {
  char id[MF_ID_MAX + 1];
  int tags = exact ? MFR_JSON_EXACT : MFR_JSON_TAGGED;
  size_t id_size = mf_message_id(call->store->seed, event, id);
  put_integer(L, state, out, "{\"global_position\":", event->position);
  put(L, state, out, ",\"stream_name\":");
  mfr_json_write_string(L, state, out, event->stream);
  put_integer(L, state, out, ",\"stream_position\":", event->version);
  put(L, state, out, ",\"type\":");
  mfr_json_write_string(L, state, out, event->type);
  put_time(L, state, out, event->recorded_at);
  put(L, state, out, ",\"message_id\":");
  mfr_json_write_string(L, state, out, (mf_bytes){id, id_size});
  if (!exact) put_code(L, state, out, event);
  if (event->data.size) put_payload(L, state, out, "data", event->data, tags);
  if (event->metadata.data) put_payload(L, state, out, "metadata", event->metadata, tags);
  if (exact && event->envelope.data) {
    put(L, state, out, ",\"envelope\":");
    put_base64(L, state, out, event->envelope);
    int64_t length = append_length(L, state, call, event);
    if (length > 1) put_integer(L, state, out, ",\"append\":", length);
  }
  put(L, state, out, "}\n");
}

/* ---- as fields with tabs between them ---- */

/* How many bytes a valid character takes that begins here; 0: none does. */
static size_t character_at(const char *text, size_t left) {
  unsigned char c = (unsigned char)*text;
  size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  return size <= left && mfr_is_utf8(text, size) ? size : 0;
}

/* A name on one line: what is no printable UTF-8, and the backslash, are escaped. */
static void put_printable(lua_State *L, const mfr_state *state, mfr_buffer *out, mf_bytes name) {
  const char *text = name.data;
  for (size_t i = 0; i < name.size;) {
    size_t size = character_at(text + i, name.size - i);
    unsigned char c = (unsigned char)text[i];
    char escaped[8] = "";
    if (size == 0 || c < 0x20 || c == 0x7f)
      snprintf(escaped, sizeof escaped, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\x%02x", c);
    else if (c == '\\')
      strcpy(escaped, "\\\\");
    else {
      mfr_need_room(L, state, out, size);
      memcpy(out->data + out->size, text + i, size);
      out->size += size;
    }
    if (*escaped) put(L, state, out, escaped);
    i += size ? size : 1;
  }
}

/* host.printable(name) -> text on one line */
int mfr_host_printable(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text name = mfr_check_string(L, state, 1, "name");
  mfr_buffer *out = mfr_borrow(L, state);
  put_printable(L, state, out, (mf_bytes){name.data, name.size});
  lua_pushlstring(L, out->size ? out->data : "", out->size);
  mfr_give_back(state, out);
  return 1;
}

static void put_field_payload(lua_State *L, const mfr_state *state, mfr_buffer *out,
                              mf_bytes payload) {
  put(L, state, out, "\t");
  if (payload.size == 0) return;
  if (mfr_is_canonical(payload.data, payload.size))
    mfr_json_write(L, state, out, payload.data, MFR_JSON_TAGGED);
  else
    mfr_json_write_bytes(L, state, out, payload);
}

static void put_fields(lua_State *L, mfr_state *state, mfr_buffer *out, const mf_event *event) {
  char time[MFR_TIME_TEXT];
  mfr_write_time(event->recorded_at, time);
  put_integer(L, state, out, "", event->position);
  put(L, state, out, "\t");
  put_printable(L, state, out, event->stream);
  put_integer(L, state, out, "\t", event->version);
  put(L, state, out, "\t");
  put(L, state, out, time);
  put(L, state, out, "\t");
  put_printable(L, state, out, event->type);
  put_field_payload(L, state, out, event->data);
  put_field_payload(L, state, out, event->metadata);
  put(L, state, out, "\n");
}

/* ---- lines ---- */

typedef struct line_options {
  enum { STYLE_FIELDS, STYLE_JSON, STYLE_EXACT } style;
  int64_t since, until, most; /* until: exclusive; most: events */
  size_t bytes;               /* about so many are made at once */
} line_options;

static int64_t line_option(lua_State *L, int index, const char *name, int64_t otherwise) {
  lua_getfield(L, index, name);
  int64_t value = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

static void check_line_options(lua_State *L, int index, line_options *options) {
  static const char *const styles[] = {"fields", "json", "exact", NULL};
  luaL_checktype(L, index, LUA_TTABLE);
  lua_getfield(L, index, "style");
  options->style = (unsigned)luaL_checkoption(L, -1, NULL, styles);
  lua_pop(L, 1);
  options->since = line_option(L, index, "since", INT64_MIN);
  options->until = line_option(L, index, "until", INT64_MAX);
  options->most = line_option(L, index, "max", INT64_MAX);
  options->bytes = (size_t)line_option(L, index, "bytes", 1 << 18);
}

/* Arguments: call, store, stream or nil, options, line options. */
static int lines_body(lua_State *L) {
  enum { LOOKED_AT_MOST = 200000 }; /* events that are not shown: then Lua may look at Ctrl-C */
  mfr_state *state = mfr_of(L);
  mfr_call *call = lua_touserdata(L, 1);
  line_options options;
  mfr_range range;
  mf_event event;
  bool more = true;
  int64_t count = 0, looked = 0, last = 0;
  check_line_options(L, 5, &options);
  mfr_check_range(L, state, 4, lua_isnil(L, 3) ? mfr_log_options : mfr_read_options, &range);
  range.options.stream = (mf_bytes){call->stream.data, call->stream.size};
  mfr_call_begin(L, state, call, false);
  mfr_open_reader(L, state, call, &range);
  mfr_buffer *out = mfr_borrow(L, state);
  while (out->size < options.bytes && count < options.most && looked++ < LOOKED_AT_MOST &&
         (more = mfr_next(L, state, call, &event))) {
    last = call->stream.data ? event.version : event.position;
    if (event.recorded_at < options.since || event.recorded_at >= options.until) continue;
    if (options.style == STYLE_FIELDS)
      put_fields(L, state, out, &event);
    else
      put_event(L, state, out, call, &event, options.style == STYLE_EXACT);
    count++;
  }
  mfr_call_release(call);
  lua_pushlstring(L, out->size ? out->data : "", out->size);
  mfr_give_back(state, out);
  lua_pushinteger(L, count);
  lua_pushinteger(L, last);
  lua_pushboolean(L, more && count < options.most);
  return 4;
}

/*
 * host.lines(store, stream or nil, options, lines) -> text, count, last, more
 * Events, one a line; `options` are those of store:events, `lines` = { style = "fields", "json" or
 * "exact", since =, until =, max =, bytes = }. `last` is the position of the last event that was
 * looked at, in its stream or in the log, from which a next call goes on.
 */
int mfr_host_lines(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  lua_settop(L, 4);
  call.store = mfr_check_store(L, state, 1);
  if (!lua_isnil(L, 2)) call.stream = mfr_check_stream(L, state, 2);
  return mfr_protect(L, state, &call, lines_body, 4, 4);
}
/* ---- what stands beside the log ---- */

/*
 * host.code_line(store, after or nil) -> line, digest; nothing after the last one
 * A piece of code that decided, in the order of the digests.
 */
int mfr_host_code_line(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const mfr_store *store = mfr_check_store(L, state, 1);
  uint8_t after[MF_DIGEST_SIZE];
  mf_code_record record;
  mf_error error;
  char hex[2 * MF_DIGEST_SIZE + 1];
  bool first = lua_isnoneornil(L, 2);
  if (!first && !mfr_read_hex(luaL_checkstring(L, 2), after, sizeof after))
    return luaL_argerror(L, 2, "no digest");
  mfr_buffer *out = mfr_borrow(L, state), *code = mfr_borrow(L, state);
  int status = mf_next_code(store->store, first ? NULL : after, &record, &error);
  if (status < 0) mfr_raise_store_error(L, state, &error);
  if (status == MF_DONE) return 0;
  /* What the store gave is freed before anything can raise. */
  bool fine = mfr_buffer_reserve(code, record.code.size + 1);
  if (fine && record.code.size) memcpy(code->data, record.code.data, record.code.size);
  mf_free(record.code);
  if (!fine) mfr_need_room(L, state, code, record.code.size + 1);
  mfr_write_hex(hex, record.digest, sizeof record.digest);
  put(L, state, out, "{\"kept_code\":\"");
  put(L, state, out, hex);
  put(L, state, out, "\"");
  put_payload(L, state, out, "data", (mf_bytes){code->data, record.code.size}, MFR_JSON_EXACT);
  put(L, state, out, "}\n");
  lua_pushlstring(L, out->data, out->size);
  lua_pushstring(L, hex);
  return 2;
}

/* Arguments: store, the listing (a light userdata), the function. */
static int command_lines_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_commands *commands = lua_touserdata(L, 1);
  mf_kept_command kept;
  mf_error error;
  int status;
  mfr_buffer *out = mfr_borrow(L, state);
  while ((status = mf_commands_next(commands, &kept, &error)) == MF_OK) {
    out->size = 0;
    put(L, state, out, "{\"kept_command\":true,\"stream_name\":");
    mfr_json_write_string(L, state, out, kept.stream);
    put_time(L, state, out, kept.time);
    put_payload(L, state, out, "data", kept.command, MFR_JSON_EXACT);
    put(L, state, out, "}\n");
    lua_pushvalue(L, 2);
    lua_pushlstring(L, out->data, out->size);
    lua_call(L, 1, 0);
  }
  if (status < 0) mfr_raise_store_error(L, state, &error);
  return 0;
}

/* host.command_lines(store, write): hands the line of every kept command to the function. */
int mfr_host_command_lines(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_commands *commands;
  mf_error error;
  const mfr_store *store = mfr_check_store(L, state, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, command_lines_body, 1);
  if (mf_commands_open(store->store, INT64_MIN, (mf_bytes){NULL, 0}, &commands, &error) != MF_OK)
    mfr_raise_store_error(L, state, &error);
  lua_pushlightuserdata(L, commands);
  lua_pushvalue(L, 2);
  int status = lua_pcall(L, 2, 0, 0);
  mf_commands_close(commands);
  return status == LUA_OK ? 0 : lua_error(L);
}
