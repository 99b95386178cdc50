/*
 * Specs of the lexer: tokens_spec FILE... Prints TAP. Lua's own compiler is the judge: what it
 * accepts, the lexer accepts, and the tokens written out again, without comments and layout,
 * compile to the same code.
 */
#include "check.h"
#include "tokens.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a text in short form: "name:x int:5 ..." ---- */

typedef struct text {
  char *data;
  size_t size, capacity;
} text;

static void add(text *t, const char *data, size_t size) {
  while (t->capacity - t->size < size + 1) {
    t->capacity = t->capacity ? 2 * t->capacity : 4096;
    t->data = realloc(t->data, t->capacity);
    if (!t->data) abort();
  }
  memcpy(t->data + t->size, data, size);
  t->size += size;
  t->data[t->size] = '\0';
}

static void add_token(text *t, const mfr_token *token) {
  static const char *const kinds[] = {"name", "key", "int", "float", "str", "sym"};
  char value[64];
  add(t, kinds[token->kind], strlen(kinds[token->kind]));
  add(t, ":", 1);
  if (token->kind == MFR_TOKEN_INTEGER)
    add(t, value, (size_t)snprintf(value, sizeof value, "%lld", (long long)token->integer));
  else
    add(t, token->value, token->value_size);
  add(t, value, (size_t)snprintf(value, sizeof value, "@%d ", token->line));
}

static char *tokens_of(const char *source, size_t size) {
  mfr_lexer lexer;
  mfr_token token;
  text t = {NULL, 0, 0};
  add(&t, "", 0);
  mfr_lexer_init(&lexer, source, size);
  while (mfr_lexer_next(&lexer, &token))
    add_token(&t, &token);
  if (lexer.error) add(&t, lexer.error, strlen(lexer.error));
  mfr_lexer_free(&lexer);
  return t.data;
}

static void expect(const char *sentence, const char *source, const char *tokens) {
  char *found = tokens_of(source, strlen(source));
  check(strcmp(found, tokens) == 0, sentence);
  if (strcmp(found, tokens) != 0) printf("# expected %s\n# found    %s\n", tokens, found);
  free(found);
}

static void known_texts(void) {
  expect("names, keywords and symbols are told apart, each with its line",
         "local x =\n y.end_ // 2 ~= ...",
         "key:local@1 name:x@1 sym:=@1 name:y@2 sym:.@2 name:end_@2 sym://@2 int:2@2 sym:~=@2 "
         "sym:...@2 ");
  expect("comments of both kinds and a first line with # are no tokens",
         "#!/usr/bin/lua\n-- a\n--[[ b\n ]] x --[==[ ]] ]==] y --[=z\nz",
         "name:x@4 name:y@4 name:z@5 ");
  expect("an integer is its value, however it is written", "16 0x10 0X10 9223372036854775807",
         "int:16@1 int:16@1 int:16@1 int:9223372036854775807@1 ");
  expect("hexadecimal integers wrap around, decimal ones that do not fit are floats",
         "0xffffffffffffffff 9223372036854775808 1.0 1e2 0x.8p1 .5 3.",
         "int:-1@1 float:9223372036854775808@1 float:1.0@1 float:1e2@1 float:0x.8p1@1 float:.5@1 "
         "float:3.@1 ");
  expect("a string is its value, however it is written",
         "'a\\98\\x63\\u{64}' \"abcd\" [[abcd]] [==[\nabcd]==] 'ab\\z\n  cd' \"\\\"\"",
         "str:abcd@1 str:abcd@1 str:abcd@1 str:abcd@1 str:abcd@2 str:\"@3 ");
  expect("every end of a line in a string is one newline", "[[a\r\nb\rc\n\rd]] '\\\r\n' x",
         "str:a\nb\nc\nd@1 str:\n@4 name:x@5 ");
  expect("a long bracket closes at its own level only", "[=[ ]] ]==] ]=] [[]]",
         "str: ]] ]==] @1 str:@1 ");
  expect("a string that does not end is an error", "'abc\ndef'", "unfinished string");
  expect("a comment that does not end is an error", "x --[[ abc", "name:x@1 unfinished comment");
  expect("a number that touches a letter is an error", "12ab", "malformed number");
  expect("a number with two points is an error", "1..2", "malformed number");
  expect("an escape that Lua does not know is an error", "'\\q'", "invalid escape sequence");
  expect("a character that Lua does not use is an error", "a $ b", "name:a@1 unexpected character");
  expect("an empty text has no tokens", "", "");
}

/* ---- against Lua's compiler ---- */

static int write_dump(lua_State *L, const void *data, size_t size, void *to) {
  (void)L;
  add(to, data, size);
  return 0;
}

/* The code without names, or nothing when the text is no program. */
static text compile(lua_State *L, const char *source, size_t size) {
  text code = {NULL, 0, 0};
  if (luaL_loadbufferx(L, source, size, "=text", "t") == LUA_OK) lua_dump(L, write_dump, &code, 1);
  lua_pop(L, 1);
  return code;
}

/* The tokens on their lines, with a space between them; strings and numbers by value. */
static bool write_again(lua_State *L, const char *source, size_t size, text *out) {
  mfr_lexer lexer;
  mfr_token token;
  int line = 1;
  char integer[32];
  mfr_lexer_init(&lexer, source, size);
  while (mfr_lexer_next(&lexer, &token)) {
    for (; line < token.line; line++)
      add(out, "\n", 1);
    if (token.kind == MFR_TOKEN_STRING && token.line == token.last_line) {
      lua_getglobal(L, "string");
      lua_getfield(L, -1, "format");
      lua_pushliteral(L, "%q");
      lua_pushlstring(L, token.value, token.value_size);
      lua_call(L, 2, 1);
      size_t quoted;
      const char *q = lua_tolstring(L, -1, &quoted);
      for (size_t i = 0; i < quoted; i++) /* %q writes newlines as they are */
        if (q[i] == '\n')
          add(out, "n", 1);
        else
          add(out, q + i, 1);
      lua_pop(L, 2);
    } else if (token.kind == MFR_TOKEN_INTEGER)
      add(out, integer,
          (size_t)snprintf(integer, sizeof integer, "0x%llx", (unsigned long long)token.integer));
    else
      add(out, token.text, token.size);
    add(out, " ", 1);
    line = token.last_line;
  }
  bool fine = !lexer.error;
  mfr_lexer_free(&lexer);
  return fine;
}

/* 0: Lua refuses the text; 1: the tokens are right; -1: they are not. */
static int agrees(lua_State *L, const char *source, size_t size) {
  const char *body = source; /* as the loader of files does */
  if (size > 0 && *source == '#') {
    const char *newline = memchr(source, '\n', size);
    body = newline ? newline : source + size;
  }
  text code = compile(L, body, size - (size_t)(body - source));
  text again = {NULL, 0, 0};
  bool accepted = write_again(L, source, size, &again);
  int result = 0;
  if (code.data) {
    text second = compile(L, again.data ? again.data : "", again.size);
    bool same =
        accepted && second.size == code.size && memcmp(second.data, code.data, code.size) == 0;
    result = same ? 1 : -1;
    free(second.data);
  }
  free(code.data);
  free(again.data);
  return result;
}

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) return NULL;
  char *data = malloc(1 << 20);
  *size = data ? fread(data, 1, 1 << 20, file) : 0;
  fclose(file);
  return data;
}

static uint64_t seed = 1;

static size_t chance(size_t below) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(seed >> 33) % below;
}

/* A few bytes of the text are changed, doubled or taken out. */
static void mutate(char *data, size_t *size) {
  static const char bytes[] = "\"'[]=-\\\n\r.0x1eEpP~/<>:;{}()az_#\xc3 ";
  for (size_t n = 1 + chance(3); n > 0 && *size > 2; n--) {
    size_t at = chance(*size - 1);
    if (chance(3) == 0) {
      memmove(data + at, data + at + 1, *size - at - 1);
      --*size;
    } else
      data[at] = bytes[chance(sizeof bytes - 1)];
  }
}

static void against_the_compiler(int count, char **files) {
  enum { MUTANTS = 60 };
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  int wrong = 0, compiled = 0, mutants = 0, wrong_mutants = 0;
  for (int i = 0; i < count; i++) {
    size_t size;
    char *source = read_file(files[i], &size);
    if (!source) continue;
    int verdict = agrees(L, source, size);
    compiled += verdict != 0;
    wrong += verdict < 0;
    if (verdict < 0) printf("# %s\n", files[i]);
    char *copy = malloc(size + 1);
    for (int m = 0; copy && m < MUTANTS; m++) {
      size_t length = size > 6000 ? 6000 : size; /* the start of a long text */
      memcpy(copy, source, length);
      mutate(copy, &length);
      verdict = copy[0] == '#' ? 0 : agrees(L, copy, length);
      mutants += verdict != 0;
      wrong_mutants += verdict < 0;
      if (verdict < 0) printf("# a mutant of %s, number %d\n", files[i], m);
    }
    free(copy);
    free(source);
  }
  lua_close(L);
  printf("# %d files, %d mutants that Lua compiles\n", compiled, mutants);
  check(compiled > 0 && wrong == 0, "the tokens of every Lua file here compile to the same code");
  check(mutants > 100 && wrong_mutants == 0,
        "so do those of files with random damage, where Lua still compiles them");
}

int main(int argc, char **argv) {
  known_texts();
  against_the_compiler(argc - 1, argv + 1);
  printf("1..%d\n", number);
  return failures != 0;
}
