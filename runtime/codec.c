/*
 * Lua values <-> MessagePack (https://msgpack.org, the specification of 2017). The encoding is
 * canonical: equal values have equal bytes. Integers take their shortest form, floats are always 64
 * bits, maps are sorted (integer keys by value, then strings by bytes), text that is UTF-8 is `str`
 * and any other string `bin`; nil stands for moonfold.null.
 */
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- buffers ---- */

void mfr_buffer_free(mfr_buffer *buffer) {
  free(buffer->data);
  memset(buffer, 0, sizeof *buffer);
}

static int buffer_gc(lua_State *L) {
  mfr_buffer_free(lua_touserdata(L, 1));
  return 0;
}

mfr_buffer *mfr_borrow(lua_State *L, mfr_state *state) {
  luaL_checkstack(L, 4, "buffer");
  mfr_buffer *buffer = lua_newuserdatauv(L, sizeof *buffer, 0);
  memset(buffer, 0, sizeof *buffer);
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->buffer_ref);
  lua_setmetatable(L, -2);
  *buffer = state->spare;
  memset(&state->spare, 0, sizeof state->spare);
  buffer->size = 0;
  return buffer;
}

void mfr_give_back(mfr_state *state, mfr_buffer *buffer) {
  enum { MOST_KEPT = 1 << 20 };
  if (state->spare.data || buffer->capacity > MOST_KEPT)
    mfr_buffer_free(buffer);
  else
    state->spare = *buffer;
  memset(buffer, 0, sizeof *buffer);
}

bool mfr_buffer_reserve(mfr_buffer *buffer, size_t more) {
  if (buffer->capacity - buffer->size >= more) return true;
  size_t capacity = buffer->capacity ? buffer->capacity : 1024;
  while (capacity - buffer->size < more)
    capacity *= 2;
  char *data = realloc(buffer->data, capacity);
  if (!data) return false;
  buffer->data = data;
  buffer->capacity = capacity;
  return true;
}

/* The byte that MessagePack never uses. */
enum { NEVER_USED = 0xc1 };

/* ---- encoding ---- */

typedef struct step {
  const char *text; /* a key, or NULL: the integer */
  size_t size;
  lua_Integer integer;
  const void *table;
} step;

typedef struct map_key {
  const char *text; /* NULL: an integer */
  size_t size;
  lua_Integer integer;
} map_key;

typedef struct encoder {
  lua_State *L;
  mfr_state *state;
  mfr_buffer *out;
  const char *path, *field; /* where the value stands; the field may be NULL */
  int depth, most;
  bool exact;   /* see mfr_encode_exactly() */
  size_t limit; /* of the buffer's bytes, where that is exact */
  step steps[MFR_DEPTH_MAX + 2];
} encoder;

bool mfr_is_name(const char *text, size_t size) {
  if (size == 0 || size > 40 || (text[0] >= '0' && text[0] <= '9')) return false;
  for (size_t i = 0; i < size; i++) {
    char c = text[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
      return false;
  }
  return true;
}

static void write_step(char *out, size_t room, const step *s) {
  if (!s->text)
    snprintf(out, room, "[%lld]", (long long)s->integer);
  else if (mfr_is_name(s->text, s->size))
    snprintf(out, room, ".%.*s", (int)s->size, s->text);
  else {
    int size = s->size > 40 ? 40 : (int)s->size;
    snprintf(out, room, "[\"%.*s%s\"]", size, s->text, s->size > 40 ? "..." : "");
    for (char *p = out; *p; p++)
      if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f) *p = '?';
  }
}

/* Raises invalid_argument with the path of the value that is being encoded. */
static void refuse(encoder *e, const char *why) {
  char path[512];
  size_t used = (size_t)snprintf(path, sizeof path, "%s", e->path);
  if (e->field) {
    mfr_join(path, e->path, e->field);
    used = strlen(path);
  }
  for (int i = 0; i < e->depth && used < sizeof path - 80; i++) {
    if (i >= 8 && i < e->depth - 4) {
      if (i == 8) used += (size_t)snprintf(path + used, sizeof path - used, "...");
      continue;
    }
    write_step(path + used, sizeof path - used, &e->steps[i]);
    used += strlen(path + used);
  }
  mfr_misuse(e->L, e->state, path, "%s", why);
}

static unsigned char *room_for(encoder *e, size_t size) {
  mfr_buffer *buffer = e->out;
  if (e->exact && (buffer->size > e->limit || size > e->limit - buffer->size))
    refuse(e, "it takes much more room as bytes than as tables");
  /* What a script gives may be a few tables that stand for billions. */
  if (buffer->capacity - buffer->size < size && !e->exact)
    mfr_sandbox_charge(e->L, e->state, (int64_t)(buffer->size / 2 + size / 16));
  if (!mfr_buffer_reserve(buffer, size)) {
    mfr_push_error(e->L, e->state, MF_NO_MEMORY, "no memory to encode a value");
    lua_error(e->L);
  }
  unsigned char *p = (unsigned char *)buffer->data + buffer->size;
  buffer->size += size;
  return p;
}

/* A tag byte and `size` bytes of a big-endian number. */
static void put_number(encoder *e, unsigned tag, uint64_t value, unsigned size) {
  unsigned char *p = room_for(e, 1 + size);
  *p++ = (unsigned char)tag;
  for (unsigned i = size; i-- > 0;)
    *p++ = (unsigned char)(value >> (8 * i));
}

static void put_integer(encoder *e, lua_Integer n) {
  uint64_t u = (uint64_t)n;
  if (n >= 0) {
    if (n < 0x80)
      put_number(e, (unsigned)n, 0, 0);
    else if (n <= UINT8_MAX)
      put_number(e, 0xcc, u, 1);
    else if (n <= UINT16_MAX)
      put_number(e, 0xcd, u, 2);
    else if (n <= UINT32_MAX)
      put_number(e, 0xce, u, 4);
    else
      put_number(e, 0xcf, u, 8);
  } else if (n >= -32)
    put_number(e, (unsigned)(n & 0xff), 0, 0);
  else if (n >= INT8_MIN)
    put_number(e, 0xd0, u, 1);
  else if (n >= INT16_MIN)
    put_number(e, 0xd1, u, 2);
  else if (n >= INT32_MIN)
    put_number(e, 0xd2, u, 4);
  else
    put_number(e, 0xd3, u, 8);
}

static void put_float(encoder *e, lua_Number n) {
  uint64_t bits;
  if (isnan(n)) refuse(e, "NaN cannot be stored");
  if (isinf(n)) refuse(e, "an infinite number cannot be stored");
  memcpy(&bits, &n, sizeof bits);
  put_number(e, 0xcb, bits, 8);
}

/* Well-formed UTF-8 of Unicode: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
bool mfr_is_utf8(const char *text, size_t size) {
  const unsigned char *p = (const unsigned char *)text, *end = p + size;
  while (p < end) {
    if (*p < 0x80) {
      p++;
      continue;
    }
    unsigned more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
    if (*p < 0xc2 || *p > 0xf4 || (size_t)(end - p) <= more) return false;
    unsigned char low = 0x80, high = 0xbf;
    if (*p == 0xe0) low = 0xa0;
    if (*p == 0xed) high = 0x9f;
    if (*p == 0xf0) low = 0x90;
    if (*p == 0xf4) high = 0x8f;
    if (p[1] < low || p[1] > high) return false;
    for (unsigned i = 2; i <= more; i++)
      if ((p[i] & 0xc0) != 0x80) return false;
    p += more + 1;
  }
  return true;
}

static void put_string(encoder *e, const char *text, size_t size) {
  bool utf8 = mfr_is_utf8(text, size);
  if (size > UINT32_MAX) refuse(e, "a string of more than 4 GiB cannot be stored");
  if (utf8 && size < 32)
    put_number(e, 0xa0 | (unsigned)size, 0, 0);
  else if (size <= UINT8_MAX)
    put_number(e, utf8 ? 0xd9 : 0xc4, size, 1);
  else if (size <= UINT16_MAX)
    put_number(e, utf8 ? 0xda : 0xc5, size, 2);
  else
    put_number(e, utf8 ? 0xdb : 0xc6, size, 4);
  memcpy(room_for(e, size), text, size);
}

static void put_count(encoder *e, bool list, size_t count) {
  if (count < 16)
    put_number(e, (list ? 0x90u : 0x80u) | (unsigned)count, 0, 0);
  else if (count <= UINT16_MAX)
    put_number(e, list ? 0xdc : 0xde, count, 2);
  else
    put_number(e, list ? 0xdd : 0xdf, count, 4);
}

static void put_value(encoder *e);

static int compare_keys(const void *a, const void *b) {
  const map_key *x = a, *y = b;
  if (!x->text || !y->text) {
    if (!x->text && !y->text) return (x->integer > y->integer) - (x->integer < y->integer);
    return x->text ? 1 : -1;
  }
  int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
  return order ? order : (x->size > y->size) - (x->size < y->size);
}

static void set_step(encoder *e, const char *text, size_t size, lua_Integer integer) {
  step *s = &e->steps[e->depth - 1];
  s->text = text;
  s->size = size;
  s->integer = integer;
}

/* Counts the keys of the table on top, and tells whether they are 1 to n. Refuses keys that cannot
 * be stored. */
static size_t count_keys(encoder *e, bool *list) {
  lua_State *L = e->L;
  size_t count = 0, length = (size_t)lua_rawlen(L, -1);
  *list = true;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    count++;
    if (lua_isinteger(L, -1)) {
      lua_Integer key = lua_tointeger(L, -1);
      if (key < 1 || (lua_Unsigned)key > length) *list = false;
    } else if (lua_type(L, -1) == LUA_TSTRING)
      *list = false;
    else {
      char why[128];
      snprintf(why, sizeof why, "a key is a %s: keys are strings and integers",
               lua_type(L, -1) == LUA_TNUMBER ? "float" : luaL_typename(L, -1));
      e->depth--; /* the table is at fault, not one of its values */
      refuse(e, why);
    }
  }
  if (count != length) *list = false;
  return count;
}

static void put_list(encoder *e, size_t count) {
  put_count(e, true, count);
  for (size_t i = 1; i <= count; i++) {
    set_step(e, NULL, 0, (lua_Integer)i);
    lua_rawgeti(e->L, -1, (lua_Integer)i);
    put_value(e);
    lua_pop(e->L, 1);
  }
}

static void put_key(encoder *e, const map_key *key) {
  set_step(e, key->text, key->size, key->integer);
  if (key->text)
    put_string(e, key->text, key->size);
  else
    put_integer(e, key->integer);
}

static void put_map(encoder *e, size_t count) {
  lua_State *L = e->L;
  put_count(e, false, count);
  /* A userdata, so that an error on the way frees it. */
  map_key *keys = lua_newuserdatauv(L, count * sizeof *keys, 0);
  lua_insert(L, -2); /* below the table */
  size_t n = 0;
  lua_pushnil(L);
  while (n < count && lua_next(L, -2)) {
    lua_pop(L, 1);
    map_key *key = &keys[n++];
    key->text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &key->size) : NULL;
    key->integer = key->text ? 0 : lua_tointeger(L, -1);
  }
  /* A finalizer may have changed the table since its keys were counted. */
  if (n < count || lua_next(L, -2)) refuse(e, "the table was changed while it was being stored");
  qsort(keys, n, sizeof *keys, compare_keys);
  for (size_t i = 0; i < n; i++) {
    put_key(e, &keys[i]);
    if (keys[i].text)
      lua_pushlstring(L, keys[i].text, keys[i].size);
    else
      lua_pushinteger(L, keys[i].integer);
    lua_rawget(L, -2);
    put_value(e);
    lua_pop(L, 1);
  }
  lua_remove(L, -2);
}

/* ---- small tables: what stands in them is taken out in one pass ---- */

enum { FEW = 12 };

typedef struct pair {
  map_key key;
  int value; /* stack index; the key stands before it */
} pair;

typedef struct pairs {
  size_t count;
  pair of[FEW];
} pairs;

/* Keys are in order but for the last one, which finds its place. */
static void place_last(pairs *few) {
  size_t i = few->count - 1;
  pair last = few->of[i];
  for (; i > 0 && compare_keys(&few->of[i - 1].key, &last.key) > 0; i--)
    few->of[i] = few->of[i - 1];
  few->of[i] = last;
}

/* Pushes the pairs of the table on top, and notes them by their keys. False, and nothing pushed,
 * when they are many, a list's, or not such as can be stored. */
static bool take_pairs(lua_State *L, pairs *few) {
  int table = lua_gettop(L);
  few->count = 0;
  lua_pushnil(L);
  while (lua_next(L, table)) {
    int value = lua_gettop(L);
    if (few->count == FEW || lua_type(L, value - 1) != LUA_TSTRING) {
      lua_settop(L, table);
      return false;
    }
    pair *next = &few->of[few->count++];
    next->key.text = lua_tolstring(L, value - 1, &next->key.size);
    next->key.integer = 0;
    next->value = value;
    place_last(few);
    lua_pushvalue(L, value - 1);
  }
  return true;
}

static void put_pairs(encoder *e, const pairs *few) {
  put_count(e, false, few->count);
  for (size_t i = 0; i < few->count; i++) {
    put_key(e, &few->of[i].key);
    lua_pushvalue(e->L, few->of[i].value);
    put_value(e);
    lua_pop(e->L, 1);
  }
}

static bool is_event(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) return false;
  lua_pushliteral(L, "moonfold.event");
  lua_rawget(L, -2);
  bool event = lua_toboolean(L, -1);
  lua_pop(L, 2);
  return event;
}

static void put_table(encoder *e) {
  lua_State *L = e->L;
  if (e->state->sandbox) {
    mfr_see_through(L, -1);
    if (!e->exact) mfr_sandbox_charge(L, e->state, 16);
  }
  const void *table = lua_topointer(L, -1);
  for (int i = 0; i < e->depth; i++)
    if (e->steps[i].table == table) refuse(e, "a table contains itself: that cannot be stored");
  if (e->depth == e->most) refuse(e, "values are nested at most 128 tables deep");
  luaL_checkstack(L, 8 + 2 * FEW, "value");
  bool plain = !lua_getmetatable(L, -1);
  if (!plain) lua_pop(L, 1);
  if (!plain && is_event(L, -1)) mfr_flatten_event(L);
  e->steps[e->depth].table = table;
  e->depth++;
  pairs few;
  int top = lua_gettop(L);
  if (plain && take_pairs(L, &few)) {
    put_pairs(e, &few);
    lua_settop(L, top);
    e->depth--;
    return;
  }
  bool list;
  size_t count = count_keys(e, &list);
  bool marked = !plain && mfr_has_metatable(L, -1, e->state->array_ref);
  if (marked && !list) {
    e->depth--;
    refuse(e, "it is marked as an array and has keys other than 1 to n");
  }
  if (count > 0 && marked && e->exact) put_number(e, NEVER_USED, 0, 0);
  if (count > 0 ? list : marked)
    put_list(e, count);
  else
    put_map(e, count);
  e->depth--;
}

/* Encodes the value on top, which stays. */
static void put_value(encoder *e) {
  lua_State *L = e->L;
  size_t size;
  switch (lua_type(L, -1)) {
  case LUA_TBOOLEAN:
    put_number(e, lua_toboolean(L, -1) ? 0xc3 : 0xc2, 0, 0);
    break;
  case LUA_TNUMBER:
    if (lua_isinteger(L, -1))
      put_integer(e, lua_tointeger(L, -1));
    else
      put_float(e, lua_tonumber(L, -1));
    break;
  case LUA_TSTRING: {
    const char *text = lua_tolstring(L, -1, &size);
    put_string(e, text, size);
    break;
  }
  case LUA_TTABLE:
    put_table(e);
    break;
  case LUA_TUSERDATA:
    if (lua_touserdata(L, -1) == e->state->null) {
      put_number(e, 0xc0, 0, 0);
      break;
    }
    /* fall through */
  default: {
    char why[64];
    mfr_refuse_foreign(L, e->state, -1);
    snprintf(why, sizeof why, "a %s cannot be stored", luaL_typename(L, -1));
    refuse(e, why);
  }
  }
}

void mfr_encode_absent(lua_State *L, mfr_state *state, mfr_buffer *out) {
  encoder e;
  e.L = L;
  e.state = state;
  e.out = out;
  e.exact = false;
  put_number(&e, NEVER_USED, 0, 0);
}

static void encode(lua_State *L, mfr_state *state, mfr_buffer *out, int index, const char *path,
                   const char *field, int most, bool exact) {
  encoder e;
  e.L = L;
  e.state = state;
  e.out = out;
  e.path = path;
  e.field = field;
  e.depth = 0;
  e.most = most;
  e.exact = exact;
  e.limit = out->size + 4 * mfr_sandbox_used(state) + ((size_t)1 << 20);
  luaL_checkstack(L, 8, "value");
  lua_pushvalue(L, index);
  size_t before = out->size;
  put_value(&e);
  lua_pop(L, 1);
  if (!exact) mfr_sandbox_charge(L, state, (int64_t)(out->size - before) / 2);
}

void mfr_encode(lua_State *L, mfr_state *state, mfr_buffer *out, int index, const char *path) {
  encode(L, state, out, index, path, NULL, MFR_DEPTH_MAX, false);
}

void mfr_encode_field(lua_State *L, mfr_state *state, mfr_buffer *out, int index, const char *path,
                      const char *field) {
  encode(L, state, out, index, path, field, MFR_DEPTH_MAX, false);
}

void mfr_encode_exactly(lua_State *L, mfr_state *state, mfr_buffer *out, int index,
                        const char *path) {
  encode(L, state, out, index, path, NULL, MFR_DEPTH_MAX, true);
}

void mfr_encode_event(lua_State *L, mfr_state *state, mfr_buffer *out, int index) {
  encode(L, state, out, index, "event", NULL, MFR_DEPTH_MAX + 1, false);
}

/* ---- decoding ---- */

typedef struct decoder {
  lua_State *L;
  mfr_state *state;
  const unsigned char *p, *end;
  int keys;   /* stack index of the table of cached keys */
  bool exact; /* see mfr_encode_exactly() */
} decoder;

static bool get_number(decoder *d, unsigned size, uint64_t *value) {
  if ((size_t)(d->end - d->p) < size) return false;
  uint64_t n = 0;
  for (unsigned i = 0; i < size; i++)
    n = n << 8 | *d->p++;
  *value = n;
  return true;
}

/* Reads the head of a string; false when it is none. */
static bool get_string(decoder *d, unsigned tag, const char **text, size_t *size) {
  uint64_t n;
  if (tag >= 0xa0 && tag <= 0xbf)
    n = tag & 0x1f;
  else if (tag == 0xd9 || tag == 0xc4) {
    if (!get_number(d, 1, &n)) return false;
  } else if (tag == 0xda || tag == 0xc5) {
    if (!get_number(d, 2, &n)) return false;
  } else if (tag == 0xdb || tag == 0xc6) {
    if (!get_number(d, 4, &n)) return false;
  } else
    return false;
  if (n > (uint64_t)(d->end - d->p)) return false;
  *text = (const char *)d->p;
  *size = (size_t)n;
  d->p += n;
  return true;
}

static bool get_integer(decoder *d, unsigned tag, lua_Integer *value) {
  uint64_t n;
  if (tag < 0x80)
    *value = tag;
  else if (tag >= 0xe0)
    *value = (lua_Integer)tag - 256;
  else if (tag >= 0xcc && tag <= 0xcf) {
    if (!get_number(d, 1u << (tag - 0xcc), &n) || n > INT64_MAX) return false;
    *value = (lua_Integer)n;
  } else if (tag >= 0xd0 && tag <= 0xd3) {
    unsigned size = 1u << (tag - 0xd0);
    if (!get_number(d, size, &n)) return false;
    unsigned shift = 64 - 8 * size;
    *value = (lua_Integer)(n << shift) >> shift;
  } else
    return false;
  return true;
}

/*
 * Pushes a map key. Keys recur from event to event: the last ones are kept as Lua strings in a
 * table, found by a cheap hash, which spares interning them again.
 */
static void push_key(decoder *d, const char *text, size_t size) {
  if (size == 0 || size > MFR_KEY_MAX) {
    lua_pushlstring(d->L, text, size);
    return;
  }
  unsigned hash = (unsigned)size * 31 + (unsigned char)text[0];
  hash = hash * 31 + (unsigned char)text[size / 2];
  hash = hash * 31 + (unsigned char)text[size - 1];
  hash = (hash ^ hash >> 9) % MFR_KEY_SLOTS;
  mfr_key *key = &d->state->keys[hash];
  if (key->size == size && memcmp(key->bytes, text, size) == 0) {
    lua_rawgeti(d->L, d->keys, (lua_Integer)hash + 1);
    return;
  }
  lua_pushlstring(d->L, text, size);
  key->size = 0; /* should the next line fail */
  lua_pushvalue(d->L, -1);
  lua_rawseti(d->L, d->keys, (lua_Integer)hash + 1);
  memcpy(key->bytes, text, size);
  key->size = (uint8_t)size;
}

static bool get_value(decoder *d, int depth);

/* How many elements to make room for: a damaged count must not allocate more than the bytes can
 * hold. */
static int presize(const decoder *d, uint64_t count, unsigned least) {
  uint64_t most = (uint64_t)(d->end - d->p) / least;
  uint64_t n = count < most ? count : most;
  return n > 4096 ? 4096 : (int)n; /* what is larger grows as it comes */
}

/* Marks the table on top as an array. */
static void mark(const decoder *d) {
  lua_rawgeti(d->L, LUA_REGISTRYINDEX, d->state->array_ref);
  lua_setmetatable(d->L, -2);
}

static bool get_list(decoder *d, uint64_t count, int depth) {
  lua_createtable(d->L, presize(d, count, 1), 0);
  if (count == 0) mark(d);
  for (uint64_t i = 1; i <= count; i++) {
    if (!get_value(d, depth)) return false;
    lua_rawseti(d->L, -2, (lua_Integer)i);
  }
  return true;
}

/* The most common case of get_string(): text of less than 32 bytes. */
static bool get_short_string(decoder *d, unsigned tag, const char **text, size_t *size) {
  size_t n = tag & 0x1f;
  if ((tag & 0xe0) != 0xa0 || n > (size_t)(d->end - d->p)) return false;
  *text = (const char *)d->p;
  *size = n;
  d->p += n;
  return true;
}

static bool get_map(decoder *d, uint64_t count, int depth) {
  lua_createtable(d->L, 0, presize(d, count, 2));
  for (uint64_t i = 0; i < count; i++) {
    const char *text;
    size_t size;
    lua_Integer integer;
    if (d->p == d->end) return false;
    unsigned tag = *d->p++;
    if (get_short_string(d, tag, &text, &size) || get_string(d, tag, &text, &size))
      push_key(d, text, size);
    else if (get_integer(d, tag, &integer))
      lua_pushinteger(d->L, integer);
    else
      return false;
    if (!get_value(d, depth)) return false;
    lua_rawset(d->L, -3);
  }
  return true;
}

static bool get_marked(decoder *d, int depth) {
  if (!get_value(d, depth) || lua_type(d->L, -1) != LUA_TTABLE) return false;
  mark(d);
  return true;
}

/* On false, something may have been pushed: mfr_decode() restores the stack. */
static bool get_value(decoder *d, int depth) {
  lua_State *L = d->L;
  const char *text;
  size_t size;
  lua_Integer integer;
  uint64_t n;
  if (d->p == d->end) return false;
  unsigned tag = *d->p++;
  if (tag < 0x80) {
    lua_pushinteger(L, (lua_Integer)tag);
    return true;
  }
  if (get_short_string(d, tag, &text, &size)) {
    lua_pushlstring(L, text, size);
    return true;
  }
  if (get_integer(d, tag, &integer)) {
    lua_pushinteger(L, integer);
    return true;
  }
  if (get_string(d, tag, &text, &size)) {
    lua_pushlstring(L, text, size);
    return true;
  }
  if (tag == 0xc2 || tag == 0xc3) {
    lua_pushboolean(L, tag == 0xc3);
    return true;
  }
  if (tag == 0xcb || tag == 0xca) {
    if (!get_number(d, tag == 0xcb ? 8 : 4, &n)) return false;
    double value;
    if (tag == 0xcb)
      memcpy(&value, &n, sizeof value);
    else {
      float single;
      uint32_t bits = (uint32_t)n;
      memcpy(&single, &bits, sizeof single);
      value = (double)single;
    }
    lua_pushnumber(L, value);
    return true;
  }
  if (tag == 0xc0) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, d->state->null_ref);
    return true;
  }
  if (depth > MFR_DEPTH_MAX || !lua_checkstack(L, 6)) return false;
  if (tag >= 0x90 && tag <= 0x9f) return get_list(d, tag & 0xf, depth + 1);
  if (tag >= 0x80 && tag <= 0x8f) return get_map(d, tag & 0xf, depth + 1);
  if (tag == 0xdc || tag == 0xdd)
    return get_number(d, tag == 0xdc ? 2 : 4, &n) && get_list(d, n, depth + 1);
  if (tag == 0xde || tag == 0xdf)
    return get_number(d, tag == 0xde ? 2 : 4, &n) && get_map(d, n, depth + 1);
  if (tag == NEVER_USED && d->exact) return get_marked(d, depth + 1);
  return false;
}

static bool decode(lua_State *L, mfr_state *state, const void *data, size_t size, bool exact) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 8, "value");
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->key_cache_ref);
  decoder d = {L, state, data, (const unsigned char *)data + size, top + 1, exact};
  if (get_value(&d, 0) && d.p == d.end) {
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return true;
  }
  lua_settop(L, top);
  return false;
}

bool mfr_decode(lua_State *L, mfr_state *state, const void *data, size_t size) {
  return decode(L, state, data, size, false);
}

bool mfr_decode_exactly(lua_State *L, mfr_state *state, const void *data, size_t size) {
  return decode(L, state, data, size, true);
}

/* ---- decoding a part ---- */

/* Steps over one value, however deep it is nested. */
static bool skip_value(decoder *d) {
  for (uint64_t left = 1; left > 0; left--) {
    const char *text;
    size_t size;
    uint64_t n = 0;
    lua_Integer integer;
    if (d->p == d->end) return false;
    unsigned tag = *d->p++;
    bool map = (tag >= 0x80 && tag <= 0x8f) || tag == 0xde || tag == 0xdf;
    if (get_integer(d, tag, &integer) || get_string(d, tag, &text, &size)) continue;
    if (tag == 0xc0 || tag == 0xc2 || tag == 0xc3) continue;
    if (tag == 0xca || tag == 0xcb) {
      if (!get_number(d, tag == 0xcb ? 8 : 4, &n)) return false;
      continue;
    }
    if (tag >= 0x80 && tag <= 0x9f)
      n = tag & 0xf;
    else if (tag >= 0xdc && tag <= 0xdf) {
      if (!get_number(d, tag & 1 ? 4 : 2, &n)) return false;
    } else
      return false;
    if (n > (uint64_t)(d->end - d->p)) return false;
    left += map ? 2 * n : n;
  }
  return true;
}

/* The number of elements, when the next value is a map. */
static bool get_map_head(decoder *d, uint64_t *count) {
  if (d->p == d->end) return false;
  unsigned tag = *d->p;
  if (tag >= 0x80 && tag <= 0x8f) {
    d->p++;
    *count = tag & 0xf;
    return true;
  }
  if (tag != 0xde && tag != 0xdf) return false;
  d->p++;
  return get_number(d, tag == 0xde ? 2 : 4, count);
}

/* Which of the names this key is, or -1; `next` is tried first, because keys come in order. */
static int find_name(const mfr_usage *usage, int next, const char *text, size_t size) {
  for (int k = 0; k < usage->count; k++) {
    int i = next + k < usage->count ? next + k : next + k - usage->count;
    const mfr_text *name = &usage->names[i];
    if (name->size == size && memcmp(name->data, text, size) == 0) return i;
  }
  return -1;
}

static bool get_fields(decoder *d, uint64_t count, const mfr_usage *usage, int table, int names,
                       int first) {
  lua_State *L = d->L;
  uint32_t seen = 0;
  int next = 0;
  for (uint64_t i = 0; i < count; i++) {
    const char *text;
    size_t size;
    lua_Integer integer;
    int which = -1;
    if (d->p == d->end) return false;
    unsigned tag = *d->p++;
    if (get_string(d, tag, &text, &size))
      which = find_name(usage, next, text, size);
    else if (!get_integer(d, tag, &integer))
      return false;
    if (which < 0) {
      if (!skip_value(d)) return false;
      continue;
    }
    lua_rawgeti(L, names, first + which);
    if (!get_value(d, 1)) return false;
    lua_rawset(L, table);
    seen |= 1u << which;
    next = which + 1 < usage->count ? which + 1 : 0;
  }
  for (int i = 0; i < usage->count; i++) {
    if (seen >> i & 1) continue;
    lua_rawgeti(L, names, first + i);
    lua_pushnil(L);
    lua_rawset(L, table);
  }
  return d->p == d->end;
}

int mfr_decode_fields(lua_State *L, mfr_state *state, const void *data, size_t size,
                      const mfr_usage *usage, int table, int names, int first) {
  uint64_t count;
  decoder d = {L, state, data, (const unsigned char *)data + size, 0, false};
  if (!get_map_head(&d, &count)) return 0;
  int top = lua_gettop(L);
  luaL_checkstack(L, 8, "value");
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->key_cache_ref);
  d.keys = top + 1;
  bool done = get_fields(&d, count, usage, table, names, first);
  lua_settop(L, top);
  return done ? 1 : -1;
}

/* ---- hashes, arrays, copies ---- */

void mfr_hash_bytes(const void *data, size_t size, uint8_t digest[16]) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
  memcpy(digest, canonical.digest, 16);
}

void mfr_check_value(lua_State *L, const mfr_state *state, int index) {
  if (lua_isnoneornil(L, index))
    mfr_misuse(L, state, "value", "a value is needed, this is %s", mfr_type_name(L, index));
}

int mfr_hash(lua_State *L) {
  mfr_state *state = mfr_of(L);
  uint8_t digest[16];
  char text[33];
  mfr_check_value(L, state, 1);
  mfr_buffer *buffer = mfr_borrow(L, state);
  mfr_encode(L, state, buffer, 1, "value");
  mfr_hash_bytes(buffer->data, buffer->size, digest);
  mfr_give_back(state, buffer);
  for (int i = 0; i < 16; i++)
    snprintf(text + 2 * i, 3, "%02x", digest[i]);
  lua_pushlstring(L, text, 32);
  return 1;
}

int mfr_array(lua_State *L) {
  mfr_state *state = mfr_of(L);
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  if (lua_type(L, 1) != LUA_TTABLE)
    mfr_misuse(L, state, "array", "a table is needed, this is %s", mfr_type_name(L, 1));
  if (lua_getmetatable(L, 1)) {
    if (!mfr_has_metatable(L, 1, state->array_ref))
      mfr_misuse(L, state, "array", "the table has a metatable of its own: mark a plain one");
    lua_pop(L, 1);
  }
  lua_settop(L, 1);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    if (!lua_isinteger(L, -2))
      mfr_misuse(L, state, "array", "an array has the keys 1 to n, and this table has a %s",
                 luaL_typename(L, -2));
  lua_rawgeti(L, LUA_REGISTRYINDEX, state->array_ref);
  lua_setmetatable(L, 1);
  return 1;
}

static void copy_value(lua_State *L, const mfr_state *state, int depth, const char *path) {
  if (lua_type(L, -1) != LUA_TTABLE) return;
  if (depth == MFR_DEPTH_MAX)
    mfr_misuse(L, state, path, "it is nested more than 128 tables deep, or contains itself");
  luaL_checkstack(L, 8, "value");
  if (state->sandbox) mfr_see_through(L, -1);
  mfr_sandbox_charge(L, state, 10);
  lua_newtable(L);
  if (mfr_has_metatable(L, -2, state->array_ref)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->array_ref);
    lua_setmetatable(L, -2);
  }
  lua_pushnil(L);
  while (lua_next(L, -3)) {
    copy_value(L, state, depth + 1, path);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
  lua_remove(L, -2);
}

void mfr_copy_value(lua_State *L, const mfr_state *state, int index, const char *path) {
  lua_pushvalue(L, index);
  copy_value(L, state, 0, path);
}

/* ---- opening ---- */

static int null_tostring(lua_State *L) {
  lua_pushliteral(L, "null");
  return 1;
}

void mfr_codec_open(lua_State *L, mfr_state *state) {
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, buffer_gc);
  lua_setfield(L, -2, "__gc");
  state->buffer_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  state->null = lua_newuserdatauv(L, 1, 0);
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "moonfold.null");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, null_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_setmetatable(L, -2);
  state->null_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "moonfold.array");
  lua_setfield(L, -2, "__name");
  state->array_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_createtable(L, MFR_KEY_SLOTS, 0);
  for (int i = 1; i <= MFR_KEY_SLOTS; i++) {
    lua_pushboolean(L, 0); /* so that it stays an array */
    lua_rawseti(L, -2, i);
  }
  state->key_cache_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
