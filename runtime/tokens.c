/* The lexer of Lua 5.4. The rules are those of the reference manual, section 3.1. */
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

/* ---- characters: by ASCII, whatever the locale ---- */

static bool is_digit(int c) {
  return c >= '0' && c <= '9';
}

static bool is_letter(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static int hex_value(int c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

static bool is_newline(int c) {
  return c == '\n' || c == '\r';
}

static bool is_space(int c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The character `offset` further on, or -1 behind the end. */
static int peek(const mfr_lexer *l, size_t offset) {
  return offset < (size_t)(l->end - l->p) ? (unsigned char)l->p[offset] : -1;
}

static bool fail(mfr_lexer *l, const char *what) {
  l->error = what;
  return false;
}

/* "\n", "\r", "\r\n" and "\n\r" each end one line. */
static void skip_newline(mfr_lexer *l) {
  int first = peek(l, 0), second = peek(l, 1);
  l->p += is_newline(second) && second != first ? 2 : 1;
  l->line++;
}

/* ---- the value of a string ---- */

static bool add(mfr_lexer *l, const char *bytes, size_t size) {
  if (l->capacity - l->used < size) {
    size_t capacity = l->capacity ? l->capacity : 64;
    while (capacity - l->used < size)
      capacity *= 2;
    char *buffer = realloc(l->buffer, capacity);
    if (!buffer) return fail(l, "no memory for a string");
    l->buffer = buffer;
    l->capacity = capacity;
  }
  if (size) memcpy(l->buffer + l->used, bytes, size);
  l->used += size;
  return true;
}

static bool add_byte(mfr_lexer *l, int byte) {
  char c = (char)byte;
  return add(l, &c, 1);
}

/* As the manual has it: up to six bytes, values below 2^31. */
static bool add_utf8(mfr_lexer *l, uint32_t code) {
  char bytes[6];
  size_t n = 0;
  uint32_t first = 0x3f;
  if (code < 0x80) return add_byte(l, (int)code);
  do {
    bytes[5 - n++] = (char)(0x80 | (code & 0x3f));
    code >>= 6;
    first >>= 1;
  } while (code > first);
  bytes[5 - n] = (char)((~first << 1) | code);
  return add(l, bytes + 5 - n, n + 1);
}

static bool hexadecimal_escape(mfr_lexer *l) {
  int high = hex_value(peek(l, 1)), low = high < 0 ? -1 : hex_value(peek(l, 2));
  if (low < 0) return fail(l, "hexadecimal digit expected after \\x");
  l->p += 3;
  return add_byte(l, high << 4 | low);
}

static bool unicode_escape(mfr_lexer *l) {
  uint32_t code = 0;
  if (peek(l, 1) != '{' || hex_value(peek(l, 2)) < 0) return fail(l, "missing digits in \\u{...}");
  l->p += 2;
  for (int digit; (digit = hex_value(peek(l, 0))) >= 0; l->p++) {
    if (code > 0x7ffffff) return fail(l, "UTF-8 value too large");
    code = code << 4 | (uint32_t)digit;
  }
  if (peek(l, 0) != '}') return fail(l, "missing '}' in \\u{...}");
  l->p++;
  return add_utf8(l, code);
}

static bool decimal_escape(mfr_lexer *l) {
  int value = 0;
  if (!is_digit(peek(l, 0))) return fail(l, "invalid escape sequence");
  for (int i = 0; i < 3 && is_digit(peek(l, 0)); i++)
    value = 10 * value + (*l->p++ - '0');
  return value > 255 ? fail(l, "decimal escape too large") : add_byte(l, value);
}

static void skip_spaces(mfr_lexer *l) {
  for (int c; is_space(c = peek(l, 0));)
    if (is_newline(c))
      skip_newline(l);
    else
      l->p++;
}

/* Behind a backslash. */
static bool escape(mfr_lexer *l) {
  static const char letters[] = "abfnrtv\\\"'", values[] = "\a\b\f\n\r\t\v\\\"'";
  int c = peek(l, 0);
  const char *letter = c > 0 ? strchr(letters, c) : NULL;
  if (letter) {
    l->p++;
    return add_byte(l, values[letter - letters]);
  }
  if (is_newline(c)) {
    skip_newline(l);
    return add_byte(l, '\n');
  }
  if (c == 'z') {
    l->p++;
    skip_spaces(l);
    return true;
  }
  if (c == 'x') return hexadecimal_escape(l);
  if (c == 'u') return unicode_escape(l);
  return decimal_escape(l);
}

/* The value is in the source as long as nothing has been added to the buffer. */
static bool short_string(mfr_lexer *l, mfr_token *token) {
  char quote = *l->p++;
  const char *plain = l->p;
  bool copied = false;
  l->used = 0;
  for (;;) {
    while (l->p < l->end && *l->p != quote && *l->p != '\\' && !is_newline(*l->p))
      l->p++;
    if (l->p == l->end || is_newline(*l->p)) return fail(l, "unfinished string");
    if (*l->p == quote) break;
    if (!add(l, plain, (size_t)(l->p - plain))) return false;
    copied = true;
    l->p++;
    if (!escape(l)) return false;
    plain = l->p;
  }
  if (copied && !add(l, plain, (size_t)(l->p - plain))) return false;
  token->value = copied ? l->buffer : plain;
  token->value_size = copied ? l->used : (size_t)(l->p - plain);
  l->p++;
  return true;
}

/* ---- long brackets ---- */

/* The level of the long bracket that opens here, or -1. */
static int long_level(const mfr_lexer *l) {
  size_t level = 0;
  while (peek(l, 1 + level) == '=')
    level++;
  return peek(l, 1 + level) == '[' ? (int)level : -1;
}

static bool closes(const mfr_lexer *l, int level) {
  for (int i = 0; i < level; i++)
    if (peek(l, 1 + (size_t)i) != '=') return false;
  return peek(l, 1 + (size_t)level) == ']';
}

/* Only a carriage return must be rewritten: every end of a line is "\n" in the value. */
static bool long_bracket(mfr_lexer *l, int level, mfr_token *token) {
  l->p += level + 2;
  if (is_newline(peek(l, 0))) skip_newline(l);
  const char *plain = l->p;
  bool copied = false;
  l->used = 0;
  for (;;) {
    while (l->p < l->end && *l->p != ']' && !is_newline(*l->p))
      l->p++;
    if (l->p == l->end) return fail(l, token ? "unfinished long string" : "unfinished comment");
    if (*l->p == ']') {
      if (closes(l, level)) break;
      l->p++;
      continue;
    }
    const char *before = l->p;
    skip_newline(l);
    if (!token || (*before == '\n' && l->p - before == 1)) continue;
    if (!add(l, plain, (size_t)(before - plain)) || !add_byte(l, '\n')) return false;
    copied = true;
    plain = l->p;
  }
  if (token) {
    if (copied && !add(l, plain, (size_t)(l->p - plain))) return false;
    token->value = copied ? l->buffer : plain;
    token->value_size = copied ? l->used : (size_t)(l->p - plain);
  }
  l->p += level + 2;
  return true;
}

static void skip_line(mfr_lexer *l) {
  while (l->p < l->end && !is_newline(*l->p))
    l->p++;
}

/* Skips spaces and comments. */
static bool skip_blank(mfr_lexer *l) {
  for (;;) {
    skip_spaces(l);
    if (peek(l, 0) != '-' || peek(l, 1) != '-') return true;
    l->p += 2;
    int level = peek(l, 0) == '[' ? long_level(l) : -1;
    if (level < 0)
      skip_line(l);
    else if (!long_bracket(l, level, NULL))
      return false;
  }
}

/* ---- numbers ---- */

/* Digits of the base from *p on; how many. */
static size_t digits(const char **p, const char *end, bool hexadecimal) {
  const char *start = *p;
  while (*p < end && (hexadecimal ? hex_value(**p) >= 0 : is_digit(**p)))
    ++*p;
  return (size_t)(*p - start);
}

/* Whether the numeral is well formed; *floating: it has a point or an exponent. */
static bool well_formed(const char *p, const char *end, bool hexadecimal, bool *floating) {
  size_t count = digits(&p, end, hexadecimal);
  *floating = false;
  if (p < end && *p == '.') {
    *floating = true;
    p++;
    count += digits(&p, end, hexadecimal);
  }
  if (count == 0) return false;
  if (p < end && (*p | 0x20) == (hexadecimal ? 'p' : 'e')) {
    *floating = true;
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    if (digits(&p, end, false) == 0) return false;
  }
  return p == end;
}

/* A hexadecimal integer wraps around; a decimal one that does not fit is a float. */
static bool integer_value(const char *p, const char *end, bool hexadecimal, int64_t *value) {
  uint64_t sum = 0;
  for (; p < end; p++) {
    uint64_t digit = (uint64_t)hex_value(*p);
    if (!hexadecimal && sum > ((uint64_t)INT64_MAX - digit) / 10) return false;
    sum = sum * (hexadecimal ? 16 : 10) + digit;
  }
  *value = (int64_t)sum;
  return true;
}

static bool number(mfr_lexer *l, mfr_token *token) {
  const char *start = l->p;
  bool hexadecimal = *start == '0' && (peek(l, 1) | 0x20) == 'x', floating;
  char exponent = hexadecimal ? 'p' : 'e';
  l->p += hexadecimal ? 2 : 0;
  for (int c; (c = peek(l, 0)) >= 0;) {
    if ((c | 0x20) == exponent) {
      l->p++;
      if (peek(l, 0) == '+' || peek(l, 0) == '-') l->p++;
    } else if (hex_value(c) >= 0 || c == '.')
      l->p++;
    else
      break;
  }
  if (is_letter(peek(l, 0))) return fail(l, "malformed number");
  const char *body = start + (hexadecimal ? 2 : 0);
  if (!well_formed(body, l->p, hexadecimal, &floating)) return fail(l, "malformed number");
  bool fits = !floating && integer_value(body, l->p, hexadecimal, &token->integer);
  token->kind = fits ? MFR_TOKEN_INTEGER : MFR_TOKEN_FLOAT;
  return true;
}

/* ---- names and symbols ---- */

static bool is_keyword(const char *text, size_t size) {
  static const char *const keywords[] = {"and",   "break", "do",       "else", "elseif", "end",
                                         "false", "for",   "function", "goto", "if",     "in",
                                         "local", "nil",   "not",      "or",   "repeat", "return",
                                         "then",  "true",  "until",    "while"};
  if (size < 2 || size > 8) return false;
  for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
    if (keywords[i][0] == text[0] && strlen(keywords[i]) == size &&
        memcmp(keywords[i], text, size) == 0)
      return true;
  return false;
}

/* How many characters the symbol has that begins here; 0: there is none. */
static size_t symbol_size(const mfr_lexer *l) {
  int first = peek(l, 0), second = peek(l, 1);
  switch (first) {
  case '.':
    return second != '.' ? 1 : peek(l, 2) == '.' ? 3 : 2;
  case '=':
  case '~':
    return second == '=' ? 2 : 1;
  case '<':
  case '>':
    return second == '=' || second == first ? 2 : 1;
  case '/':
  case ':':
    return second == first ? 2 : 1;
  default:
    return first > 0 && strchr("+-*%^#&|(){}[];,", first) ? 1 : 0;
  }
}

static bool symbol(mfr_lexer *l, mfr_token *token) {
  token->kind = MFR_TOKEN_SYMBOL;
  size_t size = symbol_size(l);
  l->p += size;
  return size > 0 || fail(l, "unexpected character");
}

static bool name(mfr_lexer *l, mfr_token *token) {
  const char *start = l->p;
  while (is_letter(peek(l, 0)) || is_digit(peek(l, 0)))
    l->p++;
  bool keyword = is_keyword(start, (size_t)(l->p - start));
  token->kind = keyword ? MFR_TOKEN_KEYWORD : MFR_TOKEN_NAME;
  return true;
}

static bool scan(mfr_lexer *l, mfr_token *token) {
  int c = peek(l, 0);
  if (is_letter(c)) return name(l, token);
  if (is_digit(c) || (c == '.' && is_digit(peek(l, 1)))) return number(l, token);
  token->kind = MFR_TOKEN_STRING;
  if (c == '"' || c == '\'') return short_string(l, token);
  if (c == '[') {
    int level = long_level(l);
    if (level >= 0) return long_bracket(l, level, token);
    if (peek(l, 1) == '=') return fail(l, "invalid long string delimiter");
  }
  return symbol(l, token);
}

/* ---- public ---- */

void mfr_lexer_init(mfr_lexer *lexer, const char *source, size_t size) {
  *lexer = (mfr_lexer){source, source + size, 1, NULL, NULL, 0, 0};
  if (size >= 3 && memcmp(source, "\xEF\xBB\xBF", 3) == 0) lexer->p += 3;
  if (peek(lexer, 0) == '#') skip_line(lexer);
}

bool mfr_lexer_next(mfr_lexer *l, mfr_token *token) {
  if (l->error || !skip_blank(l) || l->p == l->end) return false;
  const char *start = l->p;
  token->line = l->line;
  token->value = NULL;
  token->integer = 0;
  if (!scan(l, token)) return false;
  token->last_line = l->line;
  token->text = start;
  token->size = (size_t)(l->p - start);
  if (!token->value) {
    token->value = token->text;
    token->value_size = token->size;
  }
  return true;
}

void mfr_lexer_free(mfr_lexer *lexer) {
  free(lexer->buffer);
  lexer->buffer = NULL;
}

bool mfr_token_is(const mfr_token *token, mfr_token_kind kind, const char *text) {
  size_t size = strlen(text);
  return token->kind == kind && token->size == size && memcmp(token->text, text, size) == 0;
}
