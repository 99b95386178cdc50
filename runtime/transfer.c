/* Exact text of events, for the command line: export, import, JSON. */
#include "host.h"
#include "internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* host.json(value) -> JSON, also of bytes that are no UTF-8 */
static int host_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_check_value(L, state, 1);
  lua_settop(L, 1);
  return mfr_push_json(L, state, 1, MFR_JSON_TAGGED);
}

/* host.parse_json(text) -> value */
static int host_parse_json(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_text text = mfr_check_string(L, state, 1, "text");
  lua_settop(L, 1);
  mfr_parse_json(L, state, text.data, text.size, true, 1);
  return 1;
}

/* ---- times: microseconds since the epoch <-> ISO 8601 ---- */

enum { SECOND = 1000000, DAY = 86400 };

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar; years begin in March for
 * this. */
static int64_t days_of(int64_t year, int month, int day) {
  if (month <= 2) {
    year--;
    month += 12;
  }
  int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * (month - 3) + 2) / 5 +
         day - 719469;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
  int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int of_year = (int)(of_era - (365 * years + years / 4 - years / 100));
  int from_march = (5 * of_year + 2) / 153;
  *day = of_year - (153 * from_march + 2) / 5 + 1;
  *month = from_march < 10 ? from_march + 3 : from_march - 9;
  *year = years + era * 400 + (*month <= 2);
}

enum { TIME_TEXT = 48 };

/* "2026-11-25T18:28:40.123456Z". False outside the years 0 to 9999, which have no such text. */
static bool write_time(int64_t time, char text[TIME_TEXT]) {
  int64_t seconds = time / SECOND, micros = time % SECOND, year;
  int month, day;
  if (micros < 0) {
    micros += SECOND;
    seconds--;
  }
  int64_t days = seconds / DAY, of_day = seconds % DAY;
  if (of_day < 0) {
    of_day += DAY;
    days--;
  }
  date_of(days, &year, &month, &day);
  snprintf(text, TIME_TEXT, "%04lld-%02d-%02dT%02d:%02d:%02d.%06dZ", (long long)year, month, day,
           (int)(of_day / 3600), (int)(of_day / 60 % 60), (int)(of_day % 60), (int)micros);
  return year >= 0 && year <= 9999;
}

/* Takes `count` digits. */
static bool take_digits(const char **p, int count, int most, int *value) {
  *value = 0;
  for (int i = 0; i < count; i++, (*p)++) {
    if (**p < '0' || **p > '9') return false;
    *value = *value * 10 + (**p - '0');
  }
  return *value <= most;
}

static bool take_char(const char **p, const char *any) {
  if (!**p || !strchr(any, **p)) return false;
  (*p)++;
  return true;
}

static bool take_date(const char **p, int64_t *days) {
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int year, month, day;
  if (!take_digits(p, 4, 9999, &year) || !take_char(p, "-") || !take_digits(p, 2, 12, &month) ||
      !take_char(p, "-") || !take_digits(p, 2, 31, &day) || month < 1 || day < 1)
    return false;
  bool leap = month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
  if (day > lengths[month - 1] + leap) return false;
  *days = days_of(year, month, day);
  return true;
}

/* Digits behind the point beyond microseconds are cut off. */
static bool take_fraction(const char **p, int *micros) {
  int scale = SECOND / 10;
  *micros = 0;
  if (!take_char(p, ".")) return true;
  if (**p < '0' || **p > '9') return false;
  for (; **p >= '0' && **p <= '9'; (*p)++, scale /= 10)
    *micros += scale * (**p - '0');
  return true;
}

static bool take_zone(const char **p, int *offset) {
  int hours, minutes;
  *offset = 0;
  if (!**p || take_char(p, "Zz")) return true;
  int sign = **p == '-' ? -1 : 1;
  if (!take_char(p, "+-") || !take_digits(p, 2, 23, &hours)) return false;
  take_char(p, ":");
  if (!take_digits(p, 2, 59, &minutes)) return false;
  *offset = sign * (hours * 3600 + minutes * 60);
  return true;
}

/* "2026-11-25", "2026-11-25T18:28", "2026-11-25 18:28:40.5+01:00"; UTC where no zone is named. */
static bool read_time(const char *text, int64_t *time) {
  const char *p = text;
  int64_t days;
  int hour = 0, minute = 0, second = 0, micros = 0, offset = 0;
  if (!take_date(&p, &days)) return false;
  if (*p) {
    if (!take_char(&p, "Tt ") || !take_digits(&p, 2, 23, &hour) || !take_char(&p, ":") ||
        !take_digits(&p, 2, 59, &minute))
      return false;
    if (take_char(&p, ":") && (!take_digits(&p, 2, 59, &second) || !take_fraction(&p, &micros)))
      return false;
    if (!take_zone(&p, &offset)) return false;
  }
  *time = (days * DAY + hour * 3600 + minute * 60 + second - offset) * SECOND + micros;
  return *p == '\0';
}

/* host.time(microseconds) -> text */
static int host_time(lua_State *L) {
  char text[TIME_TEXT];
  write_time(luaL_checkinteger(L, 1), text);
  lua_pushstring(L, text);
  return 1;
}

/* host.parse_time(text) -> microseconds, or nil when it is no time */
static int host_parse_time(lua_State *L) {
  size_t size;
  int64_t time;
  const char *text = luaL_checklstring(L, 1, &size);
  if (strlen(text) != size || !read_time(text, &time)) return 0;
  lua_pushinteger(L, time);
  return 1;
}

/* ---- events to lines ---- */

static void room(lua_State *L, const mfr_state *state, mfr_buffer *out, size_t size) {
  if (mfr_buffer_reserve(out, size)) return;
  mfr_push_error(L, state, MF_NO_MEMORY, "no memory for the text of an event");
  lua_error(L);
}

static void put(lua_State *L, const mfr_state *state, mfr_buffer *out, const char *text) {
  size_t size = strlen(text);
  room(L, state, out, size);
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
  room(L, state, out, size);
  mfr_base64_write(out->data + out->size, bytes.data, bytes.size);
  out->size += size;
  put(L, state, out, "\"");
}

/* A payload as JSON, or, when it was not written by the runtime and JSON could not bring it back,
 * its bytes. */
static void put_payload(lua_State *L, const mfr_state *state, mfr_buffer *out, const char *name,
                        mf_bytes payload, int tags) {
  char key[64];
  bool canonical = mfr_is_canonical(payload.data, payload.size);
  snprintf(key, sizeof key, ",\"%s%s\":", name, canonical ? "" : "_base64");
  put(L, state, out, key);
  if (canonical)
    mfr_json_write(L, state, out, payload.data, tags);
  else
    put_base64(L, state, out, payload);
}

static void put_time(lua_State *L, const mfr_state *state, mfr_buffer *out, int64_t time) {
  char text[TIME_TEXT], quoted[TIME_TEXT + 2];
  if (!write_time(time, text)) {
    put_integer(L, state, out, ",\"recorded_at\":", time);
    return;
  }
  snprintf(quoted, sizeof quoted, "\"%s\"", text);
  put(L, state, out, ",\"recorded_at\":");
  put(L, state, out, quoted);
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

/* ---- events as fields with tabs between them ---- */

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
      room(L, state, out, size);
      memcpy(out->data + out->size, text + i, size);
      out->size += size;
    }
    if (*escaped) put(L, state, out, escaped);
    i += size ? size : 1;
  }
}

/* host.printable(name) -> text on one line */
static int host_printable(lua_State *L) {
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
  char time[TIME_TEXT];
  write_time(event->recorded_at, time);
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
  options->style = luaL_checkoption(L, -1, NULL, styles);
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
static int host_lines(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  lua_settop(L, 4);
  call.store = mfr_check_store(L, state, 1);
  if (!lua_isnil(L, 2)) call.stream = mfr_check_stream(L, state, 2);
  return mfr_protect(L, state, &call, lines_body, 4, 4);
}

/* ---- what stands beside the log ---- */

static void write_hex(char *out, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static bool read_hex(const char *text, uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    unsigned value;
    if (!isxdigit((unsigned char)text[2 * i]) || !isxdigit((unsigned char)text[2 * i + 1]))
      return false;
    sscanf(text + 2 * i, "%2x", &value);
    bytes[i] = (uint8_t)value;
  }
  return text[2 * size] == '\0';
}

static void raise_plain(lua_State *L, const mfr_state *state, const mf_error *error) {
  mfr_push_store_error(L, state, error, NULL, 0, 0);
  lua_error(L);
}

/*
 * host.code_line(store, after or nil) -> line, digest; nothing after the last one
 * A piece of code that decided, in the order of the digests.
 */
static int host_code_line(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const mfr_store *store = mfr_check_store(L, state, 1);
  uint8_t after[MF_DIGEST_SIZE];
  mf_code_record record;
  mf_error error;
  char hex[2 * MF_DIGEST_SIZE + 1];
  bool first = lua_isnoneornil(L, 2);
  if (!first && !read_hex(luaL_checkstring(L, 2), after, sizeof after))
    return luaL_argerror(L, 2, "no digest");
  mfr_buffer *out = mfr_borrow(L, state);
  int status = mf_next_code(store->store, first ? NULL : after, &record, &error);
  if (status < 0) raise_plain(L, state, &error);
  if (status == MF_DONE) return 0;
  write_hex(hex, record.digest, sizeof record.digest);
  bool fine = mfr_buffer_reserve(out, 6 * record.code.size + 256);
  if (fine) {
    put(L, state, out, "{\"kept_code\":\"");
    put(L, state, out, hex);
    put(L, state, out, "\",\"source\":");
    mfr_json_write_string(L, state, out, record.code);
    put(L, state, out, "}\n");
  }
  mf_free(record.code);
  if (!fine) room(L, state, out, SIZE_MAX / 4);
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
    put(L, state, out, "{\"kept_command\":");
    put_base64(L, state, out, kept.command);
    put(L, state, out, ",\"stream_name\":");
    mfr_json_write_string(L, state, out, kept.stream);
    put_time(L, state, out, kept.time);
    put(L, state, out, "}\n");
    lua_pushvalue(L, 2);
    lua_pushlstring(L, out->data, out->size);
    lua_call(L, 1, 0);
  }
  if (status < 0) raise_plain(L, state, &error);
  return 0;
}

/* host.command_lines(store, write): hands the line of every kept command to the function. */
static int host_command_lines(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mf_commands *commands;
  mf_error error;
  const mfr_store *store = mfr_check_store(L, state, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, command_lines_body, 1);
  if (mf_commands_open(store->store, INT64_MIN, (mf_bytes){NULL, 0}, &commands, &error) != MF_OK)
    raise_plain(L, state, &error);
  lua_pushlightuserdata(L, commands);
  lua_pushvalue(L, 2);
  int status = lua_pcall(L, 2, 0, 0);
  mf_commands_close(commands);
  return status == LUA_OK ? 0 : lua_error(L);
}

/* ---- lines to events ---- */

/* Where a field of an event stands among the bytes that were collected. */
typedef struct part {
  size_t at, size;
  bool present;
} part;

typedef struct line_event {
  part type, data, metadata, message_id;
} line_event;

typedef struct importer {
  lua_State *L;
  mfr_state *state;
  mfr_call *call;
  bool as_new;              /* the events are recorded behind what there is, wherever they stood */
  size_t line;              /* number of the line */
  const char *text, *limit; /* the line */
  int event;                /* stack index of its table */
  mfr_buffer *bytes;        /* fields of the events of one append, */
  mfr_buffer *events;       /* and the events */
  size_t count, wanted;     /* how many there are, and how many the append has */
  part stream, envelope;    /* of the append */
  int64_t recorded_at;
  int64_t position;   /* of the log's end, as it will be */
  int64_t stored_end; /* of the log when the call began: what stands before is compared */
  lua_Integer recorded, repeated;
} importer;

/* Raises invalid_argument: the line, and the column of the key (or of the line's beginning). */
static void bad_line(importer *im, const char *key, const char *why) {
  char quoted[64];
  size_t column = 1;
  snprintf(quoted, sizeof quoted, "\"%s\"", key ? key : "");
  const char *found =
      key ? memmem(im->text, (size_t)(im->limit - im->text), quoted, strlen(quoted)) : NULL;
  if (found) column = (size_t)(found - im->text) + 1;
  mfr_misuse(im->L, im->state, "text", "line %zu, column %zu: %s", im->line, column, why);
}

static part keep(importer *im, const void *data, size_t size) {
  room(im->L, im->state, im->bytes, size + 1);
  part p = {im->bytes->size, size, true};
  if (size) memcpy(im->bytes->data + p.at, data, size);
  im->bytes->size += size;
  return p;
}

static mf_bytes bytes_of(const importer *im, part p) {
  if (!p.present) return (mf_bytes){NULL, 0};
  return (mf_bytes){im->bytes->data + p.at, p.size};
}

/* Pushes a field of the line; false, and nothing pushed, when it is absent. */
static bool get_field(importer *im, const char *key) {
  lua_pushstring(im->L, key);
  if (lua_rawget(im->L, im->event) != LUA_TNIL) return true;
  lua_pop(im->L, 1);
  return false;
}

static part text_field(importer *im, const char *key, bool needed) {
  char why[96];
  part p = {0, 0, false};
  if (!get_field(im, key)) {
    snprintf(why, sizeof why, "\"%s\" is missing", key);
    if (needed) bad_line(im, NULL, why);
    return p;
  }
  snprintf(why, sizeof why, "\"%s\" is text", key);
  if (lua_type(im->L, -1) != LUA_TSTRING) bad_line(im, key, why);
  size_t size;
  const char *text = lua_tolstring(im->L, -1, &size);
  p = keep(im, text, size);
  lua_pop(im->L, 1);
  return p;
}

static int64_t integer_field(importer *im, const char *key, int64_t otherwise) {
  char why[96];
  if (!get_field(im, key)) return otherwise;
  snprintf(why, sizeof why, "\"%s\" is a whole number", key);
  if (!lua_isinteger(im->L, -1)) bad_line(im, key, why);
  int64_t value = lua_tointeger(im->L, -1);
  lua_pop(im->L, 1);
  return value;
}

static part base64_field(importer *im, const char *key) {
  part p = {0, 0, false};
  if (!get_field(im, key)) return p;
  size_t size;
  const char *text = lua_type(im->L, -1) == LUA_TSTRING ? lua_tolstring(im->L, -1, &size) : NULL;
  if (!text || !mfr_push_base64(im->L, text, size)) bad_line(im, key, "this is no base64");
  text = lua_tolstring(im->L, -1, &size);
  p = keep(im, text, size);
  lua_pop(im->L, 2);
  return p;
}

static part payload_field(importer *im, const char *key, const char *base64_key) {
  if (!get_field(im, key)) return base64_field(im, base64_key);
  if (strcmp(key, "metadata") == 0 && lua_type(im->L, -1) != LUA_TTABLE)
    bad_line(im, key, "\"metadata\" is an object");
  part p = {im->bytes->size, 0, true};
  mfr_encode(im->L, im->state, im->bytes, lua_gettop(im->L), key);
  p.size = im->bytes->size - p.at;
  lua_pop(im->L, 1);
  return p;
}

static int64_t time_field(importer *im) {
  const char *key = "recorded_at";
  int64_t time = MF_NOW;
  if (!get_field(im, key)) return time;
  if (lua_isinteger(im->L, -1))
    time = lua_tointeger(im->L, -1);
  else if (lua_type(im->L, -1) != LUA_TSTRING || !read_time(lua_tostring(im->L, -1), &time))
    bad_line(im, key, "\"recorded_at\" is a time as in \"2026-11-25T18:30:00Z\"");
  lua_pop(im->L, 1);
  return time;
}

/* Only these keys: a misspelt one must not lose what it holds. */
static void check_keys(importer *im) {
  static const char *const known[] = {"global_position",
                                      "stream_name",
                                      "stream_position",
                                      "type",
                                      "recorded_at",
                                      "message_id",
                                      "data",
                                      "metadata",
                                      "data_base64",
                                      "metadata_base64",
                                      "envelope",
                                      "append",
                                      NULL};
  lua_State *L = im->L;
  for (lua_pushnil(L); lua_next(L, im->event); lua_pop(L, 1)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    size_t i = 0;
    while (known[i] && strcmp(known[i], key) != 0)
      i++;
    if (known[i]) continue;
    char why[160];
    const char *nearest = mfr_nearest(key, known);
    snprintf(why, sizeof why, "unknown key \"%.60s\"%s%s%s", key,
             nearest ? ": did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    bad_line(im, key, why);
  }
}

/* Generated ids are not stored: the store makes them from its seed and the position. */
static void forget_generated_id(importer *im, line_event *event, int64_t position) {
  char text[MF_ID_MAX + 1];
  mf_event generated = {.position = position};
  if (im->as_new || !event->message_id.present) return;
  size_t size = mf_message_id(im->call->store->seed, &generated, text);
  mf_bytes id = bytes_of(im, event->message_id);
  if (id.size == size && memcmp(id.data, text, size) == 0) event->message_id.present = false;
}

static bool same(mf_bytes a, mf_bytes b) {
  return a.size == b.size && !a.data == !b.data &&
         (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* What the store has already must be the same: so an import can be repeated, and resumed. */
static void compare(importer *im, const line_event *event, int64_t position, int64_t version) {
  mf_event stored;
  if (!im->call->reader) {
    mfr_range range = {MF_READ_OPTIONS_INIT, 0};
    range.options.from = position;
    range.options.to = im->stored_end;
    mfr_open_reader(im->L, im->state, im->call, &range);
  }
  bool found = mfr_next(im->L, im->state, im->call, &stored) && stored.position == position;
  mf_bytes data = bytes_of(im, event->data);
  if (found && same(stored.stream, bytes_of(im, im->stream)) && stored.version == version &&
      same(stored.type, bytes_of(im, event->type)) && stored.data.size == data.size &&
      (data.size == 0 || memcmp(stored.data.data, data.data, data.size) == 0) &&
      same(stored.metadata, bytes_of(im, event->metadata)) &&
      same(stored.message_id, bytes_of(im, event->message_id)) &&
      stored.recorded_at == im->recorded_at && same(stored.envelope, bytes_of(im, im->envelope)))
    return;
  bad_line(im, "global_position",
           "the store has another event at this position: it is not the "
           "beginning of what is imported");
}

static void raise_append_error(importer *im, const mf_error *error) {
  mf_bytes stream = bytes_of(im, im->stream);
  mf_error told = *error;
  snprintf(told.message, sizeof told.message, "text: line %zu, column 1: %.450s", im->line,
           error->message);
  mfr_push_store_error(im->L, im->state, &told, stream.data, stream.size, 0);
  lua_error(im->L);
}

/* Appends what was collected. */
static void flush_append(importer *im) {
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_append_result result;
  mf_error error;
  lua_State *L = im->L;
  mf_new_event one, *events = &one;
  const line_event *collected = (const void *)im->events->data;
  int top = lua_gettop(L);
  if (im->count > 1) events = lua_newuserdatauv(L, im->count * sizeof *events, 0);
  for (size_t i = 0; i < im->count; i++)
    events[i] =
        (mf_new_event){bytes_of(im, collected[i].type), bytes_of(im, collected[i].data),
                       bytes_of(im, collected[i].metadata), bytes_of(im, collected[i].message_id)};
  options.recorded_at = im->recorded_at;
  options.envelope = bytes_of(im, im->envelope);
  int status = mf_append(im->call->txn, bytes_of(im, im->stream), events, im->count, &options,
                         &result, &error);
  if (status != MF_OK) raise_append_error(im, &error);
  if (result.repeated)
    im->repeated += (lua_Integer)im->count;
  else {
    im->recorded += (lua_Integer)im->count;
    im->position += (int64_t)im->count;
  }
  lua_settop(L, top);
}

/* Begins an append with this line. */
static void begin_append(importer *im) {
  im->bytes->size = im->events->size = 0;
  im->count = 0;
  im->stream = text_field(im, "stream_name", true);
  im->recorded_at = time_field(im);
  im->envelope = im->as_new ? (part){0, 0, false} : base64_field(im, "envelope");
  int64_t wanted = im->as_new ? 1 : integer_field(im, "append", 1);
  if (wanted < 1) bad_line(im, "append", "\"append\" is the number of events, at least 1");
  im->wanted = (size_t)wanted;
}

/* Whether a line goes on with the append that was begun. */
static void check_continues(importer *im) {
  part stream = text_field(im, "stream_name", true);
  if (!same(bytes_of(im, stream), bytes_of(im, im->stream)) || time_field(im) != im->recorded_at)
    bad_line(im, "stream_name",
             "this event should belong to the append that an earlier line began");
}

/* The event of a line, parsed, is on top. */
static void add_event(importer *im) {
  check_keys(im);
  if (im->count == im->wanted)
    begin_append(im);
  else
    check_continues(im);
  line_event event;
  event.type = text_field(im, "type", true);
  event.data = payload_field(im, "data", "data_base64");
  event.metadata = payload_field(im, "metadata", "metadata_base64");
  event.message_id = text_field(im, "message_id", false);
  int64_t next = im->position + (int64_t)im->count + 1;
  int64_t position = integer_field(im, "global_position", next);
  if (!im->as_new && position > next)
    bad_line(im, "global_position", "events are missing before this one");
  forget_generated_id(im, &event, position);
  if (!im->as_new && position <= im->stored_end) {
    compare(im, &event, position, integer_field(im, "stream_position", 0));
    im->repeated++;
    im->count = im->wanted = 0; /* compared one by one, whatever append they belong to */
    im->envelope.present = false;
    return;
  }
  if (!im->as_new && position < next)
    bad_line(im, "global_position", "this position stood in an earlier line");
  room(im->L, im->state, im->events, sizeof event);
  memcpy(im->events->data + im->events->size, &event, sizeof event);
  im->events->size += sizeof event;
  if (++im->count == im->wanted) flush_append(im);
}

/* The code of a digest, which the line that is parsed holds. */
static void add_code(importer *im) {
  uint8_t digest[MF_DIGEST_SIZE];
  mf_error error;
  part hex = text_field(im, "kept_code", true);
  part source = text_field(im, "source", true);
  char text[2 * MF_DIGEST_SIZE + 1] = "";
  if (hex.size == sizeof text - 1) memcpy(text, im->bytes->data + hex.at, hex.size);
  if (!read_hex(text, digest, sizeof digest))
    bad_line(im, "kept_code", "a digest has 32 hexadecimal digits");
  if (mf_put_code(im->call->txn, digest, bytes_of(im, source), NULL, &error) != MF_OK)
    raise_append_error(im, &error);
}

/* Whether the store keeps this very command already. */
static bool keeps_command(importer *im, const mf_kept_command *wanted) {
  mf_commands *commands;
  mf_kept_command kept;
  mf_error error;
  bool found = false;
  if (mf_commands_open(im->call->store->store, wanted->time, wanted->stream, &commands, &error) !=
      MF_OK)
    raise_append_error(im, &error);
  while (!found && mf_commands_next(commands, &kept, &error) == MF_OK && kept.time == wanted->time)
    found = same(kept.stream, wanted->stream) && same(kept.command, wanted->command);
  mf_commands_close(commands);
  return found;
}

static void add_command(importer *im) {
  mf_error error;
  im->stream = text_field(im, "stream_name", true);
  im->envelope = base64_field(im, "kept_command");
  mf_kept_command kept = {time_field(im), bytes_of(im, im->stream), bytes_of(im, im->envelope)};
  if (kept.time == MF_NOW) bad_line(im, NULL, "\"recorded_at\" is missing");
  if (keeps_command(im, &kept)) return;
  if (mf_keep_command(im->call->txn, &kept, &error) != MF_OK) raise_append_error(im, &error);
}

/* Whether the line is no event but something that stands beside the log; it is taken then. */
static bool add_beside(importer *im) {
  static const struct {
    const char *key;
    void (*add)(importer *);
  } kinds[] = {{"kept_code", add_code}, {"kept_command", add_command}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (!get_field(im, kinds[i].key)) continue;
    lua_pop(im->L, 1);
    if (im->count != im->wanted)
      bad_line(im, kinds[i].key, "an append that an earlier line began has more events");
    im->bytes->size = 0;
    kinds[i].add(im);
    return true;
  }
  return false;
}

static void import_line(importer *im) {
  lua_State *L = im->L;
  int top = lua_gettop(L);
  mfr_parse_json(L, im->state, im->text, (size_t)(im->limit - im->text), true, im->line);
  if (*(im->text + strspn(im->text, " \t\r")) != '{')
    bad_line(im, NULL, "a line is one JSON object, an event");
  im->event = lua_gettop(L);
  if (!add_beside(im)) add_event(im);
  lua_settop(L, top);
}

/* Arguments: call, store, text, the number of its first line, as_new. */
static int import_body(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call *call = lua_touserdata(L, 1);
  mfr_text text = mfr_check_string(L, state, 3, "text");
  mf_error error;
  importer im = {.L = L, .state = state, .call = call, .line = (size_t)lua_tointeger(L, 4)};
  im.as_new = lua_toboolean(L, 5);
  mfr_call_begin(L, state, call, true);
  if (mf_last_position(call->store->store, call->txn, &im.position, &error) != MF_OK) {
    mfr_push_store_error(L, state, &error, NULL, 0, 0);
    return lua_error(L);
  }
  im.stored_end = im.position;
  im.bytes = mfr_borrow(L, state);
  im.events = mfr_borrow(L, state);
  const char *p = text.data, *end = p + text.size, *done = p;
  size_t lines = 0;
  lua_Integer recorded = 0, repeated = 0;
  for (const char *newline; p < end && (newline = memchr(p, '\n', (size_t)(end - p))); im.line++) {
    im.text = p;
    im.limit = newline;
    p = newline + 1;
    if (im.text < im.limit) import_line(&im);
    lines++;
    if (im.count != im.wanted) continue;
    done = p;
    recorded = (lua_Integer)lines;
  }
  lines = (size_t)recorded;
  repeated = im.repeated;
  mf_reader_close(call->reader);
  call->reader = NULL;
  mfr_call_commit(L, state, call);
  mfr_give_back(state, im.bytes);
  lua_pushinteger(L, done - text.data);
  lua_pushinteger(L, (lua_Integer)lines);
  lua_pushinteger(L, im.recorded);
  lua_pushinteger(L, repeated);
  return 4;
}

/*
 * host.import(store, text, line, as_new) -> bytes, lines, recorded, repeated
 * Records the events of the whole lines at the beginning of `text`, in one transaction: all, or,
 * when it raises, none. `line` is the number of the first. An append that the text ends within is
 * left for the next call: `bytes` and `lines` tell how much was taken.
 */
static int host_import(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  lua_settop(L, 4);
  call.store = mfr_check_store(L, state, 1);
  return mfr_protect(L, state, &call, import_body, 4, 4);
}

/* host.seed(store) -> 16 hexadecimal digits, from which generated ids come */
static int host_seed(lua_State *L) {
  char text[24];
  const mfr_store *store = mfr_check_store(L, mfr_of(L), 1);
  snprintf(text, sizeof text, "%016llx", (unsigned long long)store->seed);
  lua_pushstring(L, text);
  return 1;
}

/* host.create(path, seed): makes an empty store with a seed. */
static int host_create(lua_State *L) {
  mf_open_options options = {sizeof options, false, false, MF_DURABILITY_ANY, NULL, NULL, 0};
  mf_store *store;
  mf_error error;
  options.seed = strtoull(luaL_checkstring(L, 2), NULL, 16);
  int status = mf_open(luaL_checkstring(L, 1), &options, &store, &error);
  if (status == MF_OK) {
    mf_close(store);
    return 0;
  }
  mfr_push_store_error(L, mfr_of(L), &error, NULL, 0, 0);
  return lua_error(L);
}

/* ---- what a store holds ---- */

static void set_reading(lua_State *L, const mf_stats *stats) {
  int told = stats->readers < MF_READERS_TOLD ? stats->readers : MF_READERS_TOLD;
  lua_createtable(L, told, 0);
  for (int i = 0; i < told; i++) {
    lua_createtable(L, 0, 2);
    mfr_set_integer(L, "process", stats->reading[i].process);
    mfr_set_integer(L, "commits_behind", stats->reading[i].commits_behind);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "reading");
}

/* host.stats(store) -> table with the fields of mf_stats */
static int host_stats(lua_State *L) {
  mfr_state *state = mfr_of(L);
  const mfr_store *store = mfr_check_store(L, state, 1);
  mf_stats stats = {.size = sizeof stats};
  mf_error error;
  if (mf_stats_of(store->store, &stats, &error) != MF_OK) {
    mfr_push_store_error(L, state, &error, NULL, 0, 0);
    return lua_error(L);
  }
  lua_createtable(L, 0, 16);
  mfr_set_integer(L, "events", stats.events);
  mfr_set_integer(L, "streams", stats.streams);
  mfr_set_integer(L, "types", stats.types);
  mfr_set_integer(L, "created_at", stats.created_at);
  mfr_set_integer(L, "format", stats.format);
  mfr_set_integer(L, "page_size", stats.page_size);
  mfr_set_integer(L, "file_bytes", (lua_Integer)stats.file_bytes);
  mfr_set_integer(L, "used_bytes", (lua_Integer)stats.used_bytes);
  mfr_set_integer(L, "free_bytes", (lua_Integer)stats.free_bytes);
  mfr_set_integer(L, "pinned_bytes", (lua_Integer)stats.pinned_bytes);
  mfr_set_integer(L, "log_bytes", (lua_Integer)stats.log_bytes);
  mfr_set_integer(L, "index_bytes", (lua_Integer)stats.index_bytes);
  mfr_set_integer(L, "reader_slots", stats.reader_slots);
  mfr_set_integer(L, "readers", stats.readers);
  set_reading(L, &stats);
  mf_beside_stats beside;
  if (mf_beside(store->store, &beside, &error) != MF_OK) raise_plain(L, state, &error);
  mfr_set_integer(L, "codes", beside.codes);
  mfr_set_integer(L, "code_bytes", beside.code_bytes);
  mfr_set_integer(L, "snapshots", beside.snapshots);
  mfr_set_integer(L, "snapshot_bytes", beside.snapshot_bytes);
  mfr_set_integer(L, "kept_commands", beside.commands);
  mfr_set_integer(L, "kept_command_bytes", beside.command_bytes);
  return 1;
}

/* Adds to a field of the table at index. */
static void add_to(lua_State *L, int index, const char *field, lua_Integer more) {
  lua_getfield(L, index, field);
  lua_Integer sum = lua_tointeger(L, -1) + more;
  lua_pop(L, 1);
  lua_pushinteger(L, sum);
  lua_setfield(L, index, field);
}

typedef struct tally {
  lua_Integer events, bytes;
} tally;

/* Adds what was counted for a type to census[type]. */
static void settle(lua_State *L, int census, const char *type, size_t size, tally *t) {
  if (t->events == 0) return;
  lua_pushlstring(L, type, size);
  if (lua_gettable(L, census) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, type, size);
    lua_pushvalue(L, -2);
    lua_settable(L, census);
  }
  add_to(L, lua_gettop(L), "events", t->events);
  add_to(L, lua_gettop(L), "bytes", t->bytes);
  lua_pop(L, 1);
  *t = (tally){0, 0};
}

/* The text of the digest of the code that decided the event, "" when nothing is known of it. */
static void code_of(const mf_event *event, char hex[2 * MF_DIGEST_SIZE + 1]) {
  mf_bytes code = mf_event_decision(event, MF_DECISION_CODE);
  *hex = '\0';
  if (code.size == MF_DIGEST_SIZE) write_hex(hex, code.data, code.size);
}

/* Arguments: call, store, from, to, census by type, census by code. */
static int census_body(lua_State *L) {
  enum { BY_TYPE = 5, BY_CODE };
  mfr_state *state = mfr_of(L);
  mfr_call *call = lua_touserdata(L, 1);
  mfr_range range = {MF_READ_OPTIONS_INIT, 0};
  mf_event event;
  char type[MF_TYPE_MAX], code[2 * MF_DIGEST_SIZE + 1] = "", hex[2 * MF_DIGEST_SIZE + 1];
  size_t type_size = 0;
  tally of_type = {0, 0}, of_code = {0, 0};
  range.options.from = lua_tointeger(L, 3);
  range.options.to = lua_tointeger(L, 4);
  mfr_open_reader(L, state, call, &range);
  while (mfr_next(L, state, call, &event)) {
    if (event.type.size != type_size || memcmp(event.type.data, type, type_size) != 0) {
      settle(L, BY_TYPE, type, type_size, &of_type);
      type_size = event.type.size;
      memcpy(type, event.type.data, type_size);
    }
    code_of(&event, hex);
    if (strcmp(hex, code) != 0) {
      settle(L, BY_CODE, code, strlen(code), &of_code);
      strcpy(code, hex);
    }
    lua_Integer bytes = (lua_Integer)(event.data.size + event.metadata.size);
    of_type = (tally){of_type.events + 1, of_type.bytes + bytes};
    of_code = (tally){of_code.events + 1, of_code.bytes + bytes};
  }
  settle(L, BY_TYPE, type, type_size, &of_type);
  settle(L, BY_CODE, code, strlen(code), &of_code);
  mf_reader_close(call->reader);
  call->reader = NULL;
  return 0;
}

/*
 * host.census(store, from, to, types, codes): adds to types[type] how many events of the log from
 * one position to another have this type, and how many bytes of data and metadata; and the same to
 * codes[digest of the code that decided], "" where nothing is known of it.
 */
static int host_census(lua_State *L) {
  mfr_state *state = mfr_of(L);
  mfr_call call = {0};
  lua_settop(L, 5);
  call.store = mfr_check_store(L, state, 1);
  return mfr_protect(L, state, &call, census_body, 5, 0);
}

static const luaL_Reg functions[] = {{"json", host_json},
                                     {"parse_json", host_parse_json},
                                     {"time", host_time},
                                     {"parse_time", host_parse_time},
                                     {"lines", host_lines},
                                     {"printable", host_printable},
                                     {"import", host_import},
                                     {"code_line", host_code_line},
                                     {"command_lines", host_command_lines},
                                     {"seed", host_seed},
                                     {"create", host_create},
                                     {"stats", host_stats},
                                     {"census", host_census},
                                     {NULL, NULL}};

void mfr_host_open(lua_State *L) {
  lua_pushfstring(L, "Moonfold %s, %s", MF_VERSION, LUA_RELEASE);
  lua_setfield(L, -2, "version");
  /* The state of the module, which every function of it has as its upvalue. */
  luaopen_moonfold(L);
  lua_getfield(L, -1, "open");
  lua_getupvalue(L, -1, 1);
  lua_replace(L, -3);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 1);
}
