/*
 * A lexer of Lua 5.4: a source text becomes tokens, as the compiler would see them. Comments and
 * layout are gone; a string is its value, whatever escapes it was written with; an integer is its
 * value, in decimal or hexadecimal. It needs no Lua state, and allocates only for strings that do
 * not stand in the source as they are.
 *
 *     mfr_lexer lexer;
 *     mfr_token token;
 *     mfr_lexer_init(&lexer, source, size);
 *     while (mfr_lexer_next(&lexer, &token)) ...
 *     if (lexer.error) ...
 *     mfr_lexer_free(&lexer);
 *
 * It tells tokens, not syntax: a text that it accepts may still be no program. Every text that Lua
 * compiles is accepted.
 */
#ifndef MF_RUNTIME_TOKENS_H
#define MF_RUNTIME_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mfr_token_kind {
  MFR_TOKEN_NAME,
  MFR_TOKEN_KEYWORD,
  MFR_TOKEN_INTEGER,
  MFR_TOKEN_FLOAT, /* its value is told by the text alone */
  MFR_TOKEN_STRING,
  MFR_TOKEN_SYMBOL /* operators and punctuation */
} mfr_token_kind;

typedef struct mfr_token {
  mfr_token_kind kind;
  int line, last_line; /* where it begins and ends, from 1 */
  const char *text;    /* as it stands in the source, which must outlive the token */
  size_t size;
  /* A string's value: in the source, or in the lexer until its next call. Else the same as text. */
  const char *value;
  size_t value_size;
  int64_t integer; /* of an integer */
} mfr_token;

typedef struct mfr_lexer {
  const char *p, *end;
  int line;
  const char *error; /* what is wrong on `line`, or NULL. Static */
  char *buffer;      /* the value of a string with escapes */
  size_t used, capacity;
} mfr_lexer;

/* Begins at the start of a source text, behind a byte order mark and a first line that begins with
 * '#', as Lua's loader of files does. */
void mfr_lexer_init(mfr_lexer *lexer, const char *source, size_t size);
/* The next token. False: the text is at its end, or lexer->error says what is wrong. */
bool mfr_lexer_next(mfr_lexer *lexer, mfr_token *token);
void mfr_lexer_free(mfr_lexer *lexer);

/* Whether the token is this name, keyword or symbol. */
bool mfr_token_is(const mfr_token *token, mfr_token_kind kind, const char *text);

#endif
