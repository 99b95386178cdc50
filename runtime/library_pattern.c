/*
 * find, match, gmatch, gsub: Lua's patterns, matched by a matcher of our own, because Lua's cannot
 * be bounded from outside and follows the locale. Every step is charged; classes are those of
 * ASCII.
 */
#include "library.h"

#include <lualib.h>

enum { CAPTURES_MAX = 32, DEPTH_MAX = 200, STEPS = 256 };
enum { OPEN = -1, POSITION = -2 }; /* in place of a capture's size */

typedef struct matcher {
  lua_State *L;
  const char *text, *end; /* the subject */
  const char *pattern_end;
  int depth, steps;
  int level; /* captures, closed or not */
  struct {
    const char *start;
    ptrdiff_t size;
  } captures[CAPTURES_MAX];
} matcher;

static void step(matcher *m) {
  if (++m->steps < STEPS) return;
  mfr_charge(m->L, m->steps);
  m->steps = 0;
}

/* ---- one character ---- */

static bool is_letter(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(int c) {
  return c >= '0' && c <= '9';
}

static bool is_hexadecimal(int c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool in_class(int c, int class) {
  bool in;
  switch (class | 0x20) {
  case 'a':
    in = is_letter(c);
    break;
  case 'c':
    in = c < 0x20 || c == 0x7f;
    break;
  case 'd':
    in = is_digit(c);
    break;
  case 'g':
    in = c > 0x20 && c < 0x7f;
    break;
  case 'l':
    in = c >= 'a' && c <= 'z';
    break;
  case 'p':
    in = c > 0x20 && c < 0x7f && !is_letter(c) && !is_digit(c);
    break;
  case 's':
    in = c == ' ' || (c >= '\t' && c <= '\r');
    break;
  case 'u':
    in = c >= 'A' && c <= 'Z';
    break;
  case 'w':
    in = is_letter(c) || is_digit(c);
    break;
  case 'x':
    in = is_hexadecimal(c);
    break;
  default: /* an escaped character stands for itself */
    return c == class;
  }
  return class & 0x20 ? in : !in;
}

/* Where the item that begins at p ends: a character, %x or a [set]. */
static const char *item_end(matcher *m, const char *p) {
  if (*p == '%') {
    if (p + 1 == m->pattern_end) luaL_error(m->L, "malformed pattern (ends with '%%')");
    return p + 2;
  }
  if (*p++ != '[') return p;
  if (p < m->pattern_end && *p == '^') p++;
  for (const char *first = p; p < m->pattern_end && (*p != ']' || p == first); p++) {
    step(m);
    if (*p == '%') p++;
  }
  if (p >= m->pattern_end) luaL_error(m->L, "malformed pattern (missing ']')");
  return p + 1;
}

/* Whether c is in the set that begins at p and ends (after its bracket) at `end`. */
static bool in_set(matcher *m, int c, const char *p, const char *end) {
  bool in = true;
  end--;
  if (*++p == '^') {
    in = false;
    p++;
  }
  while (p < end) {
    step(m);
    if (*p == '%') {
      if (in_class(c, (unsigned char)p[1])) return in;
      p += 2;
    } else if (p + 2 < end && p[1] == '-') {
      if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2]) return in;
      p += 3;
    } else if ((unsigned char)*p++ == c)
      return in;
  }
  return !in;
}

static bool is_single(matcher *m, const char *s, const char *p, const char *end) {
  step(m);
  if (s >= m->end) return false;
  int c = (unsigned char)*s;
  switch (*p) {
  case '.':
    return true;
  case '%':
    return in_class(c, (unsigned char)p[1]);
  case '[':
    return in_set(m, c, p, end);
  default:
    return (unsigned char)*p == c;
  }
}

/* ---- the rest of a pattern, at a place of the subject: where the match ends, or NULL ---- */

static const char *match(matcher *m, const char *s, const char *p);

static const char *match_most(matcher *m, const char *s, const char *p, const char *end) {
  ptrdiff_t n = 0;
  while (is_single(m, s + n, p, end))
    n++;
  for (; n >= 0; n--) {
    const char *result = match(m, s + n, end + 1);
    if (result) return result;
  }
  return NULL;
}

static const char *match_least(matcher *m, const char *s, const char *p, const char *end) {
  for (;; s++) {
    const char *result = match(m, s, end + 1);
    if (result) return result;
    if (!is_single(m, s, p, end)) return NULL;
  }
}

/* %bxy */
static const char *match_balance(matcher *m, const char *s, const char *p) {
  if (m->pattern_end - p < 2) luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
  if (s >= m->end || *s != *p) return NULL;
  int open = 1;
  while (++s < m->end) {
    step(m);
    if (*s == p[1]) {
      if (--open == 0) return s + 1;
    } else if (*s == p[0])
      open++;
  }
  return NULL;
}

/* %f[set] */
static const char *match_frontier(matcher *m, const char *s, const char *p) {
  if (p >= m->pattern_end || *p != '[')
    luaL_error(m->L, "malformed pattern (missing '[' after '%%f')");
  const char *end = item_end(m, p);
  int before = s == m->text ? 0 : (unsigned char)s[-1];
  int after = s == m->end ? 0 : (unsigned char)*s;
  if (in_set(m, before, p, end) || !in_set(m, after, p, end)) return NULL;
  return match(m, s, end);
}

/* %1 to %9 */
static const char *match_back(matcher *m, const char *s, int digit) {
  int index = digit - '1';
  if (index < 0 || index >= m->level || m->captures[index].size == OPEN)
    luaL_error(m->L, "invalid capture index %%%d", index + 1);
  ptrdiff_t size = m->captures[index].size;
  if (size < 0) return NULL; /* a position */
  mfr_charge(m->L, size / 16);
  if (m->end - s < size || memcmp(m->captures[index].start, s, (size_t)size) != 0) return NULL;
  return s + size;
}

static const char *match_open(matcher *m, const char *s, const char *p) {
  bool position = p < m->pattern_end && *p == ')';
  if (m->level >= CAPTURES_MAX) luaL_error(m->L, "too many captures");
  m->captures[m->level].start = s;
  m->captures[m->level].size = position ? POSITION : OPEN;
  m->level++;
  const char *result = match(m, s, position ? p + 1 : p);
  if (!result) m->level--;
  return result;
}

static const char *match_close(matcher *m, const char *s, const char *p) {
  int index = m->level - 1;
  while (index >= 0 && m->captures[index].size != OPEN)
    index--;
  if (index < 0) luaL_error(m->L, "invalid pattern capture");
  m->captures[index].size = s - m->captures[index].start;
  const char *result = match(m, s, p);
  if (!result) m->captures[index].size = OPEN;
  return result;
}

/* An item, and what may say how often it occurs. *more: the match goes on at the next of both. */
static const char *match_item(matcher *m, const char **s, const char **p, bool *more) {
  const char *end = item_end(m, *p);
  char suffix = '\0';
  if (end < m->pattern_end) suffix = *end;
  *more = false;
  switch (suffix) {
  case '*':
    return match_most(m, *s, *p, end);
  case '+':
    return is_single(m, *s, *p, end) ? match_most(m, *s + 1, *p, end) : NULL;
  case '-':
    return match_least(m, *s, *p, end);
  case '?':
    if (is_single(m, *s, *p, end)) {
      const char *result = match(m, *s + 1, end + 1);
      if (result) return result;
    }
    *more = true;
    *p = end + 1;
    return NULL;
  default:
    *more = is_single(m, *s, *p, end);
    *s += *more;
    *p = end;
    return NULL;
  }
}

/* What begins with % and is no class. *handled: it was one of these. */
static const char *match_special(matcher *m, const char *s, const char *p, bool *handled) {
  int kind = p + 1 < m->pattern_end ? p[1] : 0;
  *handled = true;
  if (kind == 'b') {
    s = match_balance(m, s, p + 2);
    return s ? match(m, s, p + 4) : NULL;
  }
  if (kind == 'f') return match_frontier(m, s, p + 2);
  if (is_digit(kind)) {
    s = match_back(m, s, kind);
    return s ? match(m, s, p + 2) : NULL;
  }
  *handled = false;
  return NULL;
}

static const char *match_on(matcher *m, const char *s, const char *p) {
  bool more = true;
  while (more) {
    if (p >= m->pattern_end) return s;
    step(m);
    if (*p == '(') return match_open(m, s, p + 1);
    if (*p == ')') return match_close(m, s, p + 1);
    if (*p == '$' && p + 1 == m->pattern_end) return s == m->end ? s : NULL;
    if (*p == '%') {
      bool handled;
      const char *result = match_special(m, s, p, &handled);
      if (handled) return result;
    }
    const char *result = match_item(m, &s, &p, &more);
    if (!more) return result;
  }
  return NULL;
}

static const char *match(matcher *m, const char *s, const char *p) {
  if (++m->depth > DEPTH_MAX) luaL_error(m->L, "pattern too complex");
  const char *result = match_on(m, s, p);
  m->depth--;
  return result;
}

/* Tries the pattern at one place. */
static const char *try_at(matcher *m, const char *s, const char *pattern) {
  m->level = 0;
  m->depth = 0;
  return match(m, s, pattern);
}

static void start(matcher *m, lua_State *L, const char *text, size_t size,
                  const char *pattern_end) {
  m->L = L;
  m->text = text;
  m->end = text + size;
  m->pattern_end = pattern_end;
  m->steps = 10;
  m->level = m->depth = 0;
}

/* ---- captures ---- */

/* Pushes capture i; the whole match stands for the first when there is none. */
static void push_capture(matcher *m, int i, const char *s, const char *end) {
  if (i >= m->level) {
    if (i != 0) luaL_error(m->L, "invalid capture index %%%d", i + 1);
    lua_pushlstring(m->L, s, (size_t)(end - s));
    return;
  }
  ptrdiff_t size = m->captures[i].size;
  if (size == OPEN) luaL_error(m->L, "unfinished capture");
  if (size == POSITION)
    lua_pushinteger(m->L, m->captures[i].start - m->text + 1);
  else
    lua_pushlstring(m->L, m->captures[i].start, (size_t)size);
}

static int push_captures(matcher *m, const char *s, const char *end) {
  int count = m->level == 0 && s ? 1 : m->level;
  luaL_checkstack(m->L, count + 2, "too many captures");
  for (int i = 0; i < count; i++)
    push_capture(m, i, s, end);
  return count;
}

/* ---- find and match ---- */

/* The offset that an `init` means; more than the size: none. */
static size_t offset_of(lua_Integer init, size_t size) {
  if (init > 0) return (size_t)init - 1;
  if (init == 0 || init < -(lua_Integer)size) return 0;
  return size - (size_t)(-init);
}

static bool is_plain(const char *pattern, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (pattern[i] && strchr("^$*+?.([%-", pattern[i])) return false;
  return true;
}

static int find_plain(lua_State *L, mfr_text text, size_t offset, mfr_text wanted) {
  mfr_charge(L, 10 + (int64_t)((text.size - offset) + wanted.size) / 8);
  const char *at = wanted.size == 0
                       ? text.data + offset
                       : memmem(text.data + offset, text.size - offset, wanted.data, wanted.size);
  if (!at) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, at - text.data + 1);
  lua_pushinteger(L, at - text.data + (lua_Integer)wanted.size);
  return 2;
}

static int search(lua_State *L, bool find) {
  mfr_text text, pattern;
  text.data = luaL_checklstring(L, 1, &text.size);
  pattern.data = luaL_checklstring(L, 2, &pattern.size);
  size_t offset = offset_of(luaL_optinteger(L, 3, 1), text.size);
  if (offset > text.size) {
    lua_pushnil(L);
    return 1;
  }
  mfr_charge(L, 10 + (int64_t)pattern.size / 8);
  if (find && (lua_toboolean(L, 4) || is_plain(pattern.data, pattern.size)))
    return find_plain(L, text, offset, pattern);
  matcher m;
  start(&m, L, text.data, text.size, pattern.data + pattern.size);
  bool anchor = pattern.size > 0 && *pattern.data == '^';
  const char *p = pattern.data + anchor;
  for (const char *s = text.data + offset; s <= m.end; s++) {
    const char *end = try_at(&m, s, p);
    if (end) {
      mfr_charge(L, m.steps);
      if (!find) return push_captures(&m, s, end);
      lua_pushinteger(L, s - text.data + 1);
      lua_pushinteger(L, end - text.data);
      return push_captures(&m, NULL, NULL) + 2;
    }
    if (anchor) break;
  }
  mfr_charge(L, m.steps);
  lua_pushnil(L);
  return 1;
}

static int string_find(lua_State *L) {
  return search(L, true);
}

static int string_match(lua_State *L) {
  return search(L, false);
}

/* ---- gmatch ---- */

typedef struct places {
  size_t next, last; /* where to look on, and where the last match ended; SIZE_MAX: there is none */
} places;

/* Upvalues: 1 the call, 2 the text, 3 the pattern, 4 the places. */
static int next_match(lua_State *L) {
  size_t size, pattern_size;
  mfr_check_iterator(L);
  const char *text = lua_tolstring(L, lua_upvalueindex(2), &size);
  const char *pattern = lua_tolstring(L, lua_upvalueindex(3), &pattern_size);
  places *at = lua_touserdata(L, lua_upvalueindex(4));
  matcher m;
  start(&m, L, text, size, pattern + pattern_size);
  for (; at->next <= size; at->next++) {
    const char *s = text + at->next, *end = try_at(&m, s, pattern);
    if (!end || (size_t)(end - text) == at->last) continue;
    at->next = at->last = (size_t)(end - text);
    mfr_charge(L, m.steps);
    return push_captures(&m, s, end);
  }
  mfr_charge(L, m.steps);
  return 0;
}

static int string_gmatch(lua_State *L) {
  size_t size;
  luaL_checklstring(L, 1, &size);
  luaL_checkstring(L, 2);
  size_t offset = offset_of(luaL_optinteger(L, 3, 1), size);
  lua_settop(L, 2);
  places *at = lua_newuserdatauv(L, sizeof *at, 0);
  at->next = offset > size ? size + 1 : offset;
  at->last = SIZE_MAX;
  mfr_push_iterator(L, next_match, 3);
  return 1;
}

/* ---- gsub ---- */

/* Adds the replacement text at index 3, in which % has captures. */
static void add_text(matcher *m, luaL_Buffer *out, const char *s, const char *end) {
  size_t size;
  const char *text = lua_tolstring(m->L, 3, &size);
  mfr_charge(m->L, 1 + (int64_t)size / 2);
  for (size_t i = 0; i < size; i++) {
    if (text[i] != '%') {
      luaL_addchar(out, text[i]);
      continue;
    }
    char c = ++i < size ? text[i] : '\0';
    if (c == '%')
      luaL_addchar(out, '%');
    else if (c == '0')
      luaL_addlstring(out, s, (size_t)(end - s));
    else if (is_digit(c)) {
      push_capture(m, c - '1', s, end);
      luaL_tolstring(m->L, -1, NULL);
      lua_remove(m->L, -2);
      luaL_addvalue(out);
    } else
      luaL_error(m->L, "invalid use of '%%' in replacement string");
  }
}

/* Adds what the table or function at index 3 makes of the match. */
static void add_value(matcher *m, luaL_Buffer *out, const char *s, const char *end) {
  lua_State *L = m->L;
  if (lua_type(L, 3) == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_call(L, push_captures(m, s, end), 1);
  } else {
    push_capture(m, 0, s, end);
    lua_gettable(L, 3);
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    luaL_addlstring(out, s, (size_t)(end - s));
    return;
  }
  if (!lua_isstring(L, -1)) luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  luaL_addvalue(out);
}

static int string_gsub(lua_State *L) {
  size_t size, pattern_size;
  const char *text = luaL_checklstring(L, 1, &size);
  const char *pattern = luaL_checklstring(L, 2, &pattern_size);
  int type = lua_type(L, 3);
  luaL_argexpected(
      L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE,
      3, "string/function/table");
  lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)size + 1), count = 0;
  lua_settop(L, 3);
  bool anchor = pattern_size > 0 && *pattern == '^';
  const char *p = pattern + anchor, *s = text, *last = NULL;
  matcher m;
  luaL_Buffer out;
  start(&m, L, text, size, pattern + pattern_size);
  mfr_charge(L, 10 + (int64_t)size / 8);
  luaL_buffinit(L, &out);
  while (count < most) {
    const char *end = try_at(&m, s, p);
    if (end && end != last) {
      count++;
      if (type == LUA_TFUNCTION || type == LUA_TTABLE)
        add_value(&m, &out, s, end);
      else
        add_text(&m, &out, s, end);
      s = last = end;
    } else if (s < m.end)
      luaL_addchar(&out, *s++);
    else
      break;
    if (anchor) break;
  }
  luaL_addlstring(&out, s, (size_t)(m.end - s));
  mfr_charge(L, m.steps);
  luaL_pushresult(&out);
  lua_pushinteger(L, count);
  return 2;
}

static const luaL_Reg functions[] = {{"find", string_find},
                                     {"gmatch", string_gmatch},
                                     {"gsub", string_gsub},
                                     {"match", string_match},
                                     {NULL, NULL}};

void mfr_open_patterns(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
