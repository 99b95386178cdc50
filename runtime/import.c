/*
 * Lines become events again. What an export wrote makes the same store, byte for byte: what the
 * store has already is compared, the rest is appended. Other lines are new events.
 */
#include "host.h"

#include <stdio.h>

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
  mfr_need_room(im->L, im->state, im->bytes, size + 1);
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

/* Raises invalid_argument about a field: `"type" is text`. `at`: the key to point at, or NULL. */
static void bad_field(importer *im, const char *at, const char *key, const char *what) {
  char why[96];
  snprintf(why, sizeof why, "\"%s\" %s", key, what);
  bad_line(im, at, why);
}

static part text_field(importer *im, const char *key, bool needed) {
  part p = {0, 0, false};
  if (!get_field(im, key)) {
    if (needed) bad_field(im, NULL, key, "is missing");
    return p;
  }
  if (lua_type(im->L, -1) != LUA_TSTRING) bad_field(im, key, key, "is text");
  size_t size;
  const char *text = lua_tolstring(im->L, -1, &size);
  p = keep(im, text, size);
  lua_pop(im->L, 1);
  return p;
}

static int64_t integer_field(importer *im, const char *key, int64_t otherwise) {
  if (!get_field(im, key)) return otherwise;
  if (!lua_isinteger(im->L, -1)) bad_field(im, key, key, "is a whole number");
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

static bool text_is_time(lua_State *L, int index, int64_t *time) {
  size_t size;
  if (lua_type(L, index) != LUA_TSTRING) return false;
  const char *text = lua_tolstring(L, index, &size);
  return strlen(text) == size && mfr_read_time(text, time);
}

static int64_t time_field(importer *im) {
  const char *key = "recorded_at";
  int64_t time = MF_NOW;
  if (!get_field(im, key)) return time;
  if (lua_isinteger(im->L, -1))
    time = lua_tointeger(im->L, -1);
  else if (!text_is_time(im->L, -1, &time))
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
  mfr_need_room(im->L, im->state, im->events, sizeof event);
  memcpy(im->events->data + im->events->size, &event, sizeof event);
  im->events->size += sizeof event;
  if (++im->count == im->wanted) flush_append(im);
}

/* The code of a digest, which the line that is parsed holds. */
static void add_code(importer *im) {
  uint8_t digest[MF_DIGEST_SIZE];
  mf_error error;
  part hex = text_field(im, "kept_code", true);
  part code = payload_field(im, "data", "data_base64");
  if (!code.present) bad_line(im, NULL, "\"data\" is missing: the code");
  char text[2 * MF_DIGEST_SIZE + 1] = "";
  if (hex.size == sizeof text - 1) memcpy(text, im->bytes->data + hex.at, hex.size);
  if (!mfr_read_hex(text, digest, sizeof digest))
    bad_line(im, "kept_code", "a digest has 32 hexadecimal digits");
  if (mf_put_code(im->call->txn, digest, bytes_of(im, code), NULL, &error) != MF_OK)
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
  part command = payload_field(im, "data", "data_base64");
  if (!command.present) bad_line(im, NULL, "\"data\" is missing: the command");
  mf_kept_command kept = {time_field(im), bytes_of(im, im->stream), bytes_of(im, command)};
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
  if (mf_last_position(call->store->store, call->txn, &im.position, &error) != MF_OK)
    mfr_raise_store_error(L, state, &error);
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
  mfr_close_reader(call);
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
int mfr_host_import(lua_State *L) {
  return mfr_host_call(L, import_body, 4, 4);
}
