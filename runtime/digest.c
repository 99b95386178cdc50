/*
 * Digests of loaded deciders. digest.h tells what they promise.
 *
 * First every chunk becomes tokens, in canonical bytes, with the places of its functions and of its
 * compile-time constants (`local x <const> = 1` is no upvalue: the compiler puts the value into the
 * code). Then the values that a fold reaches are walked, and what is found is written into a buffer
 * whose hash is the digest.
 */
#include "digest.h"
#include "library.h"
#include "loaded.h"
#include "tokens.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
  DIGEST_FORMAT = 1,
  /* Part of every fold's digest: to be raised when the codec, or a function of the script library,
   * comes to give other results. */
  FOLD_SEMANTICS = 2,
  DEPTH_MAX = 400
};

/* ---- sources ---- */

typedef struct item { /* a token */
  size_t offset;      /* of its canonical bytes */
  int line;
  uint8_t kind;
  uint8_t shape; /* what the rest wants to know of it */
} item;

enum { OTHER, FUNCTION, LOCAL, OPENS, ELSE, UNTIL, END, STATEMENT, ACCESS, REQUIRE, HOST, ENV };

typedef struct span { /* a function */
  int first_line, last_line;
  size_t from, to; /* its tokens: from <= i < to */
} span;

typedef struct constant { /* of `local NAME <const> = ...` */
  size_t name;            /* a token */
  size_t from, to;        /* the tokens of the whole statement, at least */
  size_t end;             /* of its scope: a token */
  size_t until;           /* of the `repeat` around it, whose condition still sees it; 0: none */
} constant;

typedef struct visible { /* from where a function stands */
  size_t constant;
  bool named; /* by it, or by another one that is */
} visible;

typedef struct source {
  const mfr_chunk *chunk;
  size_t from, to; /* tokens */
  size_t first_span, end_span;
  size_t first_constant, end_constant;
} source;

typedef struct walk {
  lua_State *L;
  mfr_state *state;
  mfr_buffer *bytes, *items, *spans, *constants, *sources, *used, *out;
  int names, seen; /* stack indices */
  lua_Integer visited;
  int depth;
  char *doubt;
} walk;

static void add(walk *w, mfr_buffer *buffer, const void *data, size_t size) {
  if (!mfr_buffer_reserve(buffer, size)) mfr_raise_no_memory(w->L);
  if (size) memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
}

static void add_byte(walk *w, mfr_buffer *buffer, int byte) {
  char c = (char)byte;
  add(w, buffer, &c, 1);
}

static void add_u64(walk *w, mfr_buffer *buffer, uint64_t value) {
  char bytes[8];
  for (int i = 0; i < 8; i++)
    bytes[i] = (char)(value >> (8 * i));
  add(w, buffer, bytes, 8);
}

static void add_text(walk *w, mfr_buffer *buffer, const char *text, size_t size) {
  add_u64(w, buffer, size);
  add(w, buffer, text, size);
}

/* Buffers of elements. */
static item *item_at(const walk *w, size_t i) {
  return (item *)(void *)w->items->data + i;
}

static span *span_at(const walk *w, size_t i) {
  return (span *)(void *)w->spans->data + i;
}

static constant *constant_at(const walk *w, size_t i) {
  return (constant *)(void *)w->constants->data + i;
}

static size_t constant_count(const walk *w) {
  return w->constants->size / sizeof(constant);
}

static source *source_at(const walk *w, size_t i) {
  return (source *)(void *)w->sources->data + i;
}

static size_t item_count(const walk *w) {
  return w->items->size / sizeof(item);
}

static mf_bytes item_bytes(const walk *w, size_t i) {
  size_t from = item_at(w, i)->offset;
  size_t to = i + 1 < item_count(w) ? item_at(w, i + 1)->offset : w->bytes->size;
  return (mf_bytes){w->bytes->data + from, to - from};
}

static uint8_t shape_of(const mfr_token *token) {
  static const struct {
    const char *text;
    uint8_t kind, shape;
  } shapes[] = {{"function", MFR_TOKEN_KEYWORD, FUNCTION},
                {"local", MFR_TOKEN_KEYWORD, LOCAL},
                {"if", MFR_TOKEN_KEYWORD, OPENS},
                {"do", MFR_TOKEN_KEYWORD, OPENS},
                {"repeat", MFR_TOKEN_KEYWORD, OPENS},
                {"until", MFR_TOKEN_KEYWORD, UNTIL},
                {"end", MFR_TOKEN_KEYWORD, END},
                {"else", MFR_TOKEN_KEYWORD, ELSE},
                {"elseif", MFR_TOKEN_KEYWORD, ELSE},
                {"return", MFR_TOKEN_KEYWORD, STATEMENT},
                {"for", MFR_TOKEN_KEYWORD, STATEMENT},
                {"while", MFR_TOKEN_KEYWORD, STATEMENT},
                {"goto", MFR_TOKEN_KEYWORD, STATEMENT},
                {"break", MFR_TOKEN_KEYWORD, STATEMENT},
                {".", MFR_TOKEN_SYMBOL, ACCESS},
                {":", MFR_TOKEN_SYMBOL, ACCESS},
                {"require", MFR_TOKEN_NAME, REQUIRE},
                {"host", MFR_TOKEN_NAME, HOST},
                {"_ENV", MFR_TOKEN_NAME, ENV}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    if (mfr_token_is(token, (mfr_token_kind)shapes[i].kind, shapes[i].text)) return shapes[i].shape;
  return OTHER;
}

static void add_token(walk *w, const mfr_token *token) {
  item it = {w->bytes->size, token->line, (uint8_t)token->kind, shape_of(token)};
  add(w, w->items, &it, sizeof it);
  add_byte(w, w->bytes, (int)token->kind);
  if (token->kind == MFR_TOKEN_INTEGER)
    add_u64(w, w->bytes, (uint64_t)token->integer);
  else
    add_text(w, w->bytes, token->value, token->value_size);
}

/* The line by which Lua knows the function whose keyword is token i: that of the keyword in
 * `function name()`, else that of the parenthesis. */
static int line_defined(const walk *w, size_t i) {
  size_t next = i + 1 < item_count(w) ? i + 1 : i;
  if (item_at(w, next)->kind != MFR_TOKEN_NAME) return item_at(w, next)->line;
  bool is_local = i > 0 && item_at(w, i - 1)->shape == LOCAL;
  return is_local && i + 2 < item_count(w) ? item_at(w, i + 2)->line : item_at(w, i)->line;
}

static bool is_symbol(const walk *w, size_t i, char symbol) {
  if (i >= item_count(w) || item_at(w, i)->kind != MFR_TOKEN_SYMBOL) return false;
  mf_bytes bytes = item_bytes(w, i);
  return bytes.size == 10 && ((const char *)bytes.data)[9] == symbol;
}

/* The end of the statement `local ...` at i. A constant expression has no keyword that begins a
 * statement, so that this is never too early. */
static size_t statement_end(const walk *w, const source *s, size_t i) {
  for (i++; i < s->to; i++) {
    uint8_t shape = item_at(w, i)->shape;
    if (shape != OTHER && shape < ACCESS) break;
  }
  return i;
}

/* Notes the constants of the statement `local ...` at i. */
static void find_constants(walk *w, const source *s, size_t i) {
  size_t to = 0;
  for (size_t j = i + 1; j < s->to && item_at(w, j)->kind == MFR_TOKEN_NAME;) {
    bool attributed = is_symbol(w, j + 1, '<');
    if (attributed) {
      if (!to) to = statement_end(w, s, i);
      constant found = {j, i, to, 0, 0};
      add(w, w->constants, &found, sizeof found);
    }
    j += attributed ? 4 : 1;
    if (!is_symbol(w, j, ',')) break;
    j++;
  }
}

/* The block ends at the token i: so does the scope of its constants. */
static void end_scopes(walk *w, const source *s, size_t opener, size_t i) {
  bool until = i < s->to && item_at(w, i)->shape == UNTIL;
  for (size_t n = constant_count(w); n > s->first_constant; n--) {
    constant *c = constant_at(w, n - 1);
    if (c->from < opener) break;
    if (until && !c->until) c->until = i;
    if (!until && !c->end) c->end = i;
  }
}

/* Finds the functions and the constants: each `end` or `until` closes what was opened last. */
static void find_blocks(walk *w, const source *s) {
  mfr_buffer *open = w->used; /* a stack of tokens */
  size_t opener = s->from;
  open->size = 0;
  for (size_t i = s->from; i < s->to; i++) {
    uint8_t shape = item_at(w, i)->shape;
    if (shape == LOCAL) find_constants(w, s, i);
    if (shape == FUNCTION || shape == OPENS) add(w, open, &i, sizeof i);
    if ((shape != ELSE && shape != END && shape != UNTIL) || open->size == 0) continue;
    memcpy(&opener, open->data + open->size - sizeof opener, sizeof opener);
    end_scopes(w, s, opener, i);
    if (shape == ELSE) continue;
    open->size -= sizeof opener;
    if (item_at(w, opener)->shape != FUNCTION) continue;
    span found = {line_defined(w, opener), item_at(w, i)->line, opener, i + 1};
    add(w, w->spans, &found, sizeof found);
  }
  end_scopes(w, s, s->from, s->to);
}

/* ---- doubt ---- */

/* False, for the caller to return: the fold cannot be told from the rest of the script. */
static void note_doubt(walk *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define in_doubt(...) (note_doubt(__VA_ARGS__), false)

static void note_doubt(walk *w, const char *format, ...) {
  if (*w->doubt) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(w->doubt, sizeof((mfr_digests *)0)->doubt, format, arguments);
  va_end(arguments);
  for (char *p = w->doubt; *p; p++)
    if ((unsigned char)*p < 0x20) *p = ' ';
}

static void read_source(walk *w, const mfr_chunk *chunk) {
  mfr_lexer lexer;
  mfr_token token;
  source s = {chunk, item_count(w), 0, w->spans->size / sizeof(span), 0, constant_count(w), 0};
  /* The lexer's memory is freed before anything is raised: room is made first. */
  mfr_lexer_init(&lexer, chunk->source, chunk->size);
  while (mfr_lexer_next(&lexer, &token)) {
    bool room = mfr_buffer_reserve(w->items, sizeof(item)) &&
                mfr_buffer_reserve(w->bytes, token.value_size + 16);
    if (!room) {
      mfr_lexer_free(&lexer);
      mfr_raise_no_memory(w->L);
    }
    add_token(w, &token);
  }
  if (lexer.error) note_doubt(w, "%s cannot be read as Lua", chunk->name);
  mfr_lexer_free(&lexer);
  s.to = item_count(w);
  find_blocks(w, &s);
  s.end_span = w->spans->size / sizeof(span);
  s.end_constant = constant_count(w);
  add(w, w->sources, &s, sizeof s);
}

/* ---- values ---- */

/* What a value is, in the digest. */
enum {
  NIL = 'n',
  FALSE = 'f',
  TRUE = 't',
  INTEGER = 'i',
  FLOAT = 'd',
  STRING = 's',
  TABLE = '{',
  CLOSE = '}',
  METATABLE = 'm',
  ARRAY = 'a',
  CODE = 'F',
  UPVALUE = 'u',
  KNOWN = 'L',
  AGAIN = 'r'
};

static bool add_value(walk *w, int index);
static bool add_object(walk *w, int index, bool globals);

typedef struct table_key {
  int type;
  bool is_integer;
  lua_Integer integer;
  lua_Number number;
  const char *text;
  size_t size;
} table_key;

static int compare_keys(const void *left, const void *right) {
  const table_key *a = left, *b = right;
  if (a->type != b->type) return a->type < b->type ? -1 : 1;
  if (a->type == LUA_TSTRING) {
    int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);
    if (order != 0) return order;
    return a->size == b->size ? 0 : a->size < b->size ? -1 : 1;
  }
  if (a->is_integer != b->is_integer) return a->is_integer ? -1 : 1;
  if (a->is_integer) return a->integer == b->integer ? 0 : a->integer < b->integer ? -1 : 1;
  return a->number == b->number ? 0 : a->number < b->number ? -1 : 1;
}

/* Reads the key at -1; false where it is none that can be sorted. */
static bool read_key(lua_State *L, table_key *key) {
  memset(key, 0, sizeof *key);
  key->type = lua_type(L, -1);
  switch (key->type) {
  case LUA_TSTRING:
    key->text = lua_tolstring(L, -1, &key->size);
    return true;
  case LUA_TNUMBER:
    key->is_integer = lua_isinteger(L, -1);
    if (key->is_integer)
      key->integer = lua_tointeger(L, -1);
    else
      key->number = lua_tonumber(L, -1);
    return true;
  case LUA_TBOOLEAN:
    key->is_integer = true;
    key->integer = lua_toboolean(L, -1);
    return true;
  default:
    return false;
  }
}

static void push_key(lua_State *L, const table_key *key) {
  if (key->type == LUA_TSTRING)
    lua_pushlstring(L, key->text, key->size);
  else if (key->type == LUA_TBOOLEAN)
    lua_pushboolean(L, (int)key->integer);
  else if (key->is_integer)
    lua_pushinteger(L, key->integer);
  else
    lua_pushnumber(L, key->number);
}

static void add_number(walk *w, int index) {
  lua_State *L = w->L;
  if (lua_isinteger(L, index)) {
    add_byte(w, w->out, INTEGER);
    add_u64(w, w->out, (uint64_t)lua_tointeger(L, index));
    return;
  }
  double number = lua_tonumber(L, index);
  uint64_t bits; /* of a NaN, too: `..` shows its sign */
  memcpy(&bits, &number, sizeof bits);
  add_byte(w, w->out, FLOAT);
  add_u64(w, w->out, bits);
}

/* Collects the sorted keys of the table at index in a userdata. [-0, +1], or NULL and nothing. */
static table_key *sorted_keys(lua_State *L, int index, size_t *count) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    n++;
  table_key *keys = lua_newuserdatauv(L, n * sizeof *keys + 1, 0);
  *count = 0;
  for (lua_pushnil(L); lua_next(L, index);) {
    lua_pop(L, 1);
    if (!read_key(L, &keys[(*count)++])) {
      lua_pop(L, 2);
      return NULL;
    }
  }
  qsort(keys, *count, sizeof *keys, compare_keys);
  return keys;
}

/* The metatable of a table: one of ours (moonfold.array), or the script's. */
static bool add_metatable(walk *w, int index) {
  lua_State *L = w->L;
  if (mfr_has_metatable(L, index, w->state->array_ref)) {
    add_byte(w, w->out, ARRAY);
    return true;
  }
  if (w->state->sandbox)
    mfr_push_script_metatable(L, index);
  else if (!lua_getmetatable(L, index))
    lua_pushnil(L);
  bool fine = true;
  if (!lua_isnil(L, -1)) {
    add_byte(w, w->out, METATABLE);
    fine = add_value(w, lua_gettop(L));
  }
  lua_pop(L, 1);
  return fine;
}

static bool add_table(walk *w, int index) {
  lua_State *L = w->L;
  size_t count;
  add_byte(w, w->out, TABLE);
  /* Of a list with holes the length depends on how it was made. */
  add_u64(w, w->out, lua_rawlen(L, index));
  const table_key *keys = sorted_keys(L, index, &count);
  if (!keys)
    return in_doubt(w, "evolve reaches a table with a key that is no string, number or boolean");
  bool fine = true;
  for (size_t i = 0; fine && i < count; i++) {
    push_key(L, &keys[i]);
    fine = add_value(w, lua_gettop(L));
    lua_rawget(L, index);
    fine = fine && add_value(w, lua_gettop(L));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  add_byte(w, w->out, CLOSE);
  return fine && add_metatable(w, index);
}

/* ---- functions ---- */

static void add_items(walk *w, size_t from, size_t to) {
  if (from == to) return;
  size_t start = item_at(w, from)->offset;
  mf_bytes last = item_bytes(w, to - 1);
  const char *end = (const char *)last.data + last.size;
  add_text(w, w->out, w->bytes->data + start, (size_t)(end - (w->bytes->data + start)));
}

/* Notes in w->used the constants that a function at the token `from` sees, by their number. Those
 * inside of it are among its tokens. */
static size_t find_visible(walk *w, const source *s, size_t from) {
  w->used->size = 0;
  for (size_t i = s->first_constant; i < s->end_constant; i++) {
    const constant *c = constant_at(w, i);
    visible found = {i, false};
    if (c->from < from && from < c->end) add(w, w->used, &found, sizeof found);
  }
  return w->used->size / sizeof(visible);
}

/* Marks those of the visible constants that the tokens name. */
static void mark_named(walk *w, size_t count, size_t from, size_t to) {
  visible *all = (visible *)(void *)w->used->data;
  for (size_t i = from; i < to; i++) {
    if (item_at(w, i)->kind != MFR_TOKEN_NAME) continue;
    if (i > from && item_at(w, i - 1)->shape == ACCESS) continue;
    mf_bytes name = item_bytes(w, i);
    for (size_t k = 0; k < count; k++) {
      mf_bytes other = item_bytes(w, constant_at(w, all[k].constant)->name);
      if (name.size == other.size && memcmp(name.data, other.data, name.size) == 0)
        all[k].named = true;
    }
  }
}

/* Adds the statements of the compile-time constants that a function names, and of those that these
 * name in turn, in their order: of equal names the last one counts. */
static bool add_constants(walk *w, const source *s, size_t from, size_t to) {
  size_t count = find_visible(w, s, from);
  if (count == 0) return true;
  const visible *all = (const visible *)(const void *)w->used->data;
  mark_named(w, count, from, to);
  for (size_t k = count; k-- > 0;) { /* they name earlier ones only */
    const constant *c = constant_at(w, all[k].constant);
    if (all[k].named) mark_named(w, count, c->from, c->to);
  }
  for (size_t k = 0; k < count; k++) {
    const constant *c = constant_at(w, all[k].constant);
    if (!all[k].named) continue;
    if (c->until && from > c->until)
      return in_doubt(w,
                      "%s:%d: whether a function behind the loop uses this constant of its "
                      "cannot be told: rename it",
                      s->chunk->name + 1, item_at(w, c->name)->line);
    add_items(w, c->from, c->to);
  }
  return true;
}

/* The source of this name; NULL where there is none, or another one of that name. */
static const source *find_source(const walk *w, const char *name) {
  const source *found = NULL;
  for (size_t i = 0; i < w->sources->size / sizeof(source); i++) {
    const source *other = source_at(w, i);
    if (strcmp(other->chunk->name, name) != 0) continue;
    if (found && (found->chunk->size != other->chunk->size ||
                  memcmp(found->chunk->source, other->chunk->source, other->chunk->size) != 0))
      return NULL;
    found = other;
  }
  return found;
}

/* The function of these lines; NULL where there is none, or more than one. */
static const span *find_span(const walk *w, const source *s, const lua_Debug *info) {
  const span *found = NULL;
  for (size_t i = s->first_span; i < s->end_span; i++) {
    const span *other = span_at(w, i);
    if (other->first_line != info->linedefined || other->last_line != info->lastlinedefined)
      continue;
    if (found) return NULL;
    found = other;
  }
  return found;
}

/* The tokens of a function. */
static bool find_code(walk *w, const lua_Debug *info, const source **s, size_t *from, size_t *to) {
  *s = find_source(w, info->source);
  if (!*s) return in_doubt(w, "which source %s is cannot be told", info->short_src);
  *from = (*s)->from;
  *to = (*s)->to;
  if (strcmp(info->what, "main") == 0) return true;
  const span *found = find_span(w, *s, info);
  if (!found)
    return in_doubt(w, "%s:%d: which function it is cannot be told: give each a line of its own",
                    info->short_src, info->linedefined);
  *from = found->from;
  *to = found->to;
  return true;
}

/* `require` and `_ENV` in a function reach what no upvalue tells of. */
static bool reaches_more(const walk *w, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    uint8_t shape = item_at(w, i)->shape;
    if (shape == ENV) return true;
    if (shape == REQUIRE && !(i > from && item_at(w, i - 1)->shape == ACCESS)) return true;
  }
  return false;
}

/* Whether the key (on top) was seen before; it is numbered when not. [-1, +0] */
static bool seen_before(walk *w) {
  lua_State *L = w->L;
  lua_pushvalue(L, -1);
  if (lua_rawget(L, w->seen) != LUA_TNIL) {
    add_byte(w, w->out, AGAIN);
    add_u64(w, w->out, (uint64_t)lua_tointeger(L, -1));
    lua_pop(L, 2);
    return true;
  }
  lua_pop(L, 1);
  lua_pushinteger(L, ++w->visited);
  lua_rawset(L, w->seen);
  return false;
}

static bool add_upvalues(walk *w, int index) {
  lua_State *L = w->L;
  const char *name;
  for (int i = 1; (name = lua_getupvalue(L, index, i)); i++) {
    add_byte(w, w->out, UPVALUE);
    add_text(w, w->out, name, strlen(name));
    /* A function that does not name _ENV itself reaches only the globals that its tokens name. */
    bool globals = strcmp(name, "_ENV") == 0 && lua_type(L, -1) == LUA_TTABLE;
    lua_pushlightuserdata(L, lua_upvalueid(L, index, i)); /* shared, or only equal? */
    bool fine = seen_before(w) ||
                (globals ? add_object(w, lua_gettop(L), true) : add_value(w, lua_gettop(L)));
    lua_pop(L, 1);
    if (!fine) return false;
  }
  return true;
}

static bool add_function(walk *w, int index) {
  lua_State *L = w->L;
  lua_Debug info;
  const source *s;
  size_t from, to;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">S", &info);
  if (lua_iscfunction(L, index))
    return in_doubt(w, "evolve reaches a C function that the script library does not name");
  if (!find_code(w, &info, &s, &from, &to)) return false;
  if (reaches_more(w, from, to))
    return in_doubt(w, "%s:%d: it names require or _ENV: do that at the top of the script",
                    info.short_src, info.linedefined);
  add_byte(w, w->out, CODE);
  add_items(w, from, to);
  return add_constants(w, s, from, to) && add_upvalues(w, index);
}

/* ---- the script library ---- */

/* Whether the tables at the two indices hold the same. */
static bool same_content(lua_State *L, int a, int b) {
  int top = lua_gettop(L);
  for (int pass = 0; pass < 2; pass++) {
    int one = pass == 0 ? a : b, other = pass == 0 ? b : a;
    for (lua_pushnil(L); lua_next(L, one); lua_pop(L, 1)) {
      lua_pushvalue(L, -2);
      lua_rawget(L, other);
      bool same = lua_rawequal(L, -1, -2);
      lua_pop(L, 1);
      if (same) continue;
      lua_settop(L, top);
      return false;
    }
  }
  return true;
}

/* 1: the value belongs to the library, and its name was added; 0: it does not; -1: doubt. By
 * require, and by the environment but for `globals`, a function reaches whatever was loaded. */
static int add_library(walk *w, int index, bool globals) {
  lua_State *L = w->L;
  size_t size;
  if (!w->names) return 0;
  int top = lua_gettop(L);
  lua_pushvalue(L, index);
  if (lua_rawget(L, w->names) != LUA_TSTRING) {
    lua_pop(L, 1);
    return 0;
  }
  const char *name = lua_tolstring(L, -1, &size);
  bool fine = true, all = strcmp(name, "require") == 0 || (strcmp(name, "_ENV") == 0 && !globals);
  if (lua_type(L, index) == LUA_TTABLE &&
      lua_rawgetp(L, w->names, lua_topointer(L, index)) == LUA_TTABLE) {
    lua_pushvalue(L, index);
    mfr_see_through(L, -1);
    fine = same_content(L, top + 2, top + 3);
  }
  add_byte(w, w->out, KNOWN);
  add_text(w, w->out, name, size);
  lua_settop(L, top);
  if (fine && !all) return 1;
  note_doubt(w, "%s",
             all ? "evolve reaches require or _ENV by another name"
                 : "the script has globals of its own: make them local");
  return -1;
}

static void name_value(lua_State *L, int names, int index, const char *name);

/* Names what the table at index holds, in sorted order, because what has two names keeps the first
 * one. Keys that are no strings are of no interest. */
static void name_content(lua_State *L, int names, int index, const char *name) {
  size_t count;
  int top = lua_gettop(L);
  luaL_checkstack(L, 12, "names");
  lua_pushvalue(L, index);
  mfr_see_through(L, -1);
  const table_key *keys = sorted_keys(L, top + 1, &count);
  for (size_t i = 0; keys && i < count; i++) {
    if (keys[i].type != LUA_TSTRING) continue;
    push_key(L, &keys[i]);
    const char *key = lua_tostring(L, -1);
    lua_pushvalue(L, -1);
    int type = lua_rawget(L, top + 1), value = lua_gettop(L);
    if (type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA)
      name_value(L, names, value, *name ? lua_pushfstring(L, "%s.%s", name, key) : key);
    lua_settop(L, value - 2);
  }
  lua_settop(L, top);
}

static void name_value(lua_State *L, int names, int index, const char *name) {
  lua_pushvalue(L, index);
  bool known = lua_rawget(L, names) != LUA_TNIL;
  lua_pop(L, 1);
  if (known) return;
  lua_pushvalue(L, index);
  lua_pushstring(L, name);
  lua_rawset(L, names);
  if (lua_type(L, index) == LUA_TTABLE) name_content(L, names, index, name);
}

void mfr_name_library(lua_State *L, int names, int index, const char *name) {
  names = lua_absindex(L, names);
  index = lua_absindex(L, index);
  luaL_checkstack(L, 10, "names");
  name_value(L, names, index, name);
}

void mfr_name_environment(lua_State *L, int names, int index, int library) {
  names = lua_absindex(L, names);
  index = lua_absindex(L, index);
  lua_pushvalue(L, library);
  lua_rawsetp(L, names, lua_topointer(L, index));
  lua_pushvalue(L, index);
  lua_pushliteral(L, "_ENV");
  lua_rawset(L, names);
}

/* ---- the walk ---- */

static bool add_object(walk *w, int index, bool globals) {
  lua_State *L = w->L;
  int type = lua_type(L, index), known = add_library(w, index, globals);
  if (known != 0) return known > 0;
  lua_pushvalue(L, index);
  if (seen_before(w)) return true;
  if (type == LUA_TTABLE) return add_table(w, index);
  if (type == LUA_TFUNCTION) return add_function(w, index);
  return in_doubt(w, "evolve reaches a %s", lua_typename(L, type));
}

/* Adds the value at index, an absolute one. [-0, +0] */
static bool add_value(walk *w, int index) {
  lua_State *L = w->L;
  size_t size;
  const char *text;
  int type = lua_type(L, index);
  luaL_checkstack(L, 12, "digest");
  switch (type) {
  case LUA_TNIL:
    add_byte(w, w->out, NIL);
    return true;
  case LUA_TBOOLEAN:
    add_byte(w, w->out, lua_toboolean(L, index) ? TRUE : FALSE);
    return true;
  case LUA_TNUMBER:
    add_number(w, index);
    return true;
  case LUA_TSTRING:
    text = lua_tolstring(L, index, &size);
    add_byte(w, w->out, STRING);
    add_text(w, w->out, text, size);
    return true;
  default:
    if (w->depth++ > DEPTH_MAX) return in_doubt(w, "what evolve reaches is nested too deep");
    bool fine = add_object(w, index, false);
    w->depth--;
    return fine;
  }
}

/* ---- functions of the host ---- */

/* Whether the script uses the function: by its name, or in a way that does not tell which. */
static bool uses(const walk *w, const char *name) {
  size_t size = strlen(name);
  for (size_t i = 0; i < item_count(w); i++) {
    uint8_t shape = item_at(w, i)->shape;
    if (shape == ENV) return true;
    if (shape != HOST) continue;
    if (i + 2 >= item_count(w) || item_at(w, i + 1)->shape != ACCESS) return true;
    mf_bytes used = item_bytes(w, i + 2); /* the kind, the size, the name */
    if (used.size == size + 9 && memcmp((const char *)used.data + 9, name, size) == 0) return true;
  }
  return false;
}

static int compare_functions(const void *left, const void *right) {
  return strcmp((*(const mfr_function *const *)left)->given.name,
                (*(const mfr_function *const *)right)->given.name);
}

/* Adds the names and versions of those that the script uses. Where there are none, nothing. */
static void add_host_functions(walk *w) {
  const mfr_functions *all = w->state->sandbox ? w->state->sandbox->functions : NULL;
  if (!all) return;
  const mfr_function **order = lua_newuserdatauv(w->L, all->count * sizeof *order, 0);
  for (size_t i = 0; i < all->count; i++)
    order[i] = all->list[i];
  qsort(order, all->count, sizeof *order, compare_functions);
  for (size_t i = 0; i < all->count; i++) {
    const mf_host_function *f = &order[i]->given;
    if (!uses(w, f->name)) continue;
    add_text(w, w->out, "host", 4);
    add_text(w, w->out, f->name, strlen(f->name));
    add_text(w, w->out, f->version, strlen(f->version));
  }
  lua_pop(w->L, 1);
}

/* What a fold depends on. */
static bool add_fold(walk *w, int decider) {
  static const char *const parts[] = {"initial_state", "evolve", "upcast"};
  lua_State *L = w->L;
  if (lua_getmetatable(L, decider)) {
    lua_pop(L, 1);
    return in_doubt(w, "the decider has a metatable");
  }
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    lua_pushstring(L, parts[i]);
    lua_rawget(L, decider);
    add_text(w, w->out, parts[i], strlen(parts[i]));
    bool fine = add_value(w, lua_gettop(L));
    lua_pop(L, 1);
    if (!fine) return false;
  }
  return true;
}

static int compare_chunks(const void *left, const void *right) {
  const char *a = (*(const source *const *)left)->chunk->module;
  const char *b = (*(const source *const *)right)->chunk->module;
  return strcmp(a ? a : "", b ? b : "");
}

/* All tokens, the script's first, then the modules' by name; and the parameters. */
static void digest_script(walk *w, mf_bytes params, uint8_t digest[16]) {
  size_t count = w->sources->size / sizeof(source);
  const source **order = lua_newuserdatauv(w->L, (count + 1) * sizeof *order, 0);
  for (size_t i = 0; i < count; i++)
    order[i] = source_at(w, i);
  qsort(order, count, sizeof *order, compare_chunks);
  w->out->size = 0;
  add_u64(w, w->out, DIGEST_FORMAT);
  for (size_t i = 0; i < count; i++) {
    const char *module = order[i]->chunk->module;
    add_text(w, w->out, module ? module : "", module ? strlen(module) : 0);
    add_u64(w, w->out, order[i]->to - order[i]->from);
    add_items(w, order[i]->from, order[i]->to);
  }
  add_text(w, w->out, params.size ? params.data : "", params.size);
  add_host_functions(w);
  mfr_hash_bytes(w->out->data, w->out->size, digest);
  lua_pop(w->L, 1);
}

static void digest_fold(walk *w, int decider, const uint8_t script[16], uint8_t digest[16]) {
  w->out->size = 0;
  add_u64(w, w->out, DIGEST_FORMAT);
  add_u64(w, w->out, FOLD_SEMANTICS);
  size_t start = w->out->size;
  add_host_functions(w);
  if (*w->doubt || !add_fold(w, decider)) {
    lua_settop(w->L, w->seen);
    w->out->size = start;
    add_text(w, w->out, "script", 6);
    add(w, w->out, script, 16);
  }
  mfr_hash_bytes(w->out->data, w->out->size, digest);
}

void mfr_digest(lua_State *L, mfr_state *state, const mfr_digested *what, const mfr_chunk *chunks,
                size_t count, mfr_digests *digests) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 20, "digest");
  digests->doubt[0] = '\0';
  walk w = {.L = L, .state = state, .names = what->names, .doubt = digests->doubt};
  mfr_buffer **buffers[] = {&w.bytes,   &w.items, &w.spans, &w.constants,
                            &w.sources, &w.used,  &w.out};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
    *buffers[i] = mfr_borrow(L, state);
  lua_newtable(L);
  w.seen = lua_gettop(L);
  for (size_t i = 0; i < count; i++)
    read_source(&w, &chunks[i]);
  digest_script(&w, what->params, digests->script);
  digest_fold(&w, what->decider, digests->script, digests->fold);
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
    mfr_give_back(state, *buffers[i]);
  lua_settop(L, top);
}
