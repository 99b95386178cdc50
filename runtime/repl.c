/*
 * What the REPL needs of a terminal, for the table `host` of the binary: editing a line with
 * libedit, its history, single keys, the terminal's height. What is completed and printed is
 * decided by scripts/moonfold/repl.
 *
 * Lua is called from inside libedit (completion, news while the user thinks): always in a protected
 * call, because an error that jumped over libedit would leave the terminal raw.
 */
#include "repl.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <lauxlib.h>
#include <locale.h>
#include <langinfo.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, NEWS_MILLISECONDS = 100, PROMPT_MAX = 512 };

/* One terminal, one editor. */
static struct {
  EditLine *line;
  History *history;
  lua_State *L;
  int complete, news; /* references to Lua functions, or LUA_NOREF */
  bool interrupted;
  struct winsize size;
  char prompt[PROMPT_MAX];
  unsigned char typed[4096]; /* read, but not yet taken */
  size_t begin, end;
} editor = {.complete = LUA_NOREF, .news = LUA_NOREF};

static char *prompt(EditLine *line) {
  (void)line;
  return editor.prompt;
}

/* ---- reading what is typed ---- */

/* The terminal may have been resized while nobody looked. */
static void notice_size(void) {
  struct winsize now;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) != 0) return;
  if (now.ws_col == editor.size.ws_col && now.ws_row == editor.size.ws_row) return;
  editor.size = now;
  el_resize(editor.line);
}

/* Prints what Lua has to tell above the line that is being edited. Returns whether there may be
 * more: while nobody watches, nobody needs to be woken ten times a second. */
static bool print_news(void) {
  lua_State *L = editor.L;
  lua_rawgeti(L, LUA_REGISTRYINDEX, editor.news);
  int rc = lua_pcall(L, 0, 1, 0);
  bool watching = rc != LUA_OK || !lua_isnil(L, -1);
  if (rc == LUA_OK && lua_isstring(L, -1) && lua_rawlen(L, -1) > 0) {
    printf("\r\033[J%s", lua_tostring(L, -1));
    fflush(stdout);
    el_set(editor.line, EL_REFRESH);
  }
  lua_pop(L, 1);
  return watching;
}

/* Whether Ctrl-C was pressed: main.c's handler has set a hook. It may have come just before the
 * waiting began, which then did not end. */
static bool is_interrupted(void) {
  if (!lua_gethook(editor.L)) return false;
  errno = EINTR;
  return true;
}

/* Waits until there is something to read; false when a signal came first. */
static bool wait_for_input(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  bool watching = editor.news != LUA_NOREF;
  for (;;) {
    int rc = poll(&input, 1, watching ? NEWS_MILLISECONDS : -1);
    if (is_interrupted() || rc < 0) return false;
    if (rc > 0) return true;
    watching = print_news();
  }
}

static bool fill(void) {
  if (editor.begin < editor.end) return true;
  if (!wait_for_input()) {
    editor.interrupted = errno == EINTR;
    return false;
  }
  ssize_t size = read(STDIN_FILENO, editor.typed, sizeof editor.typed);
  if (size <= 0) {
    editor.interrupted = size < 0 && errno == EINTR;
    return false;
  }
  editor.begin = 0;
  editor.end = (size_t)size;
  return true;
}

/* Whether much more stands right behind the character that was taken last: then a tab is no wish
 * for completion. */
static bool is_pasted(void) {
  enum { MOST_TYPED = 16 };
  size_t left = editor.end - editor.begin;
  const unsigned char *rest = editor.typed + editor.begin;
  return left > MOST_TYPED || memchr(rest, '\n', left) || memchr(rest, '\r', left);
}

/* The next character, for libedit: 1, or 0 at the end, or -1. */
static int next_character(EditLine *line, wchar_t *out) {
  mbstate_t state;
  memset(&state, 0, sizeof state);
  (void)line;
  for (;;) {
    if (!fill()) return editor.interrupted ? -1 : 0;
    notice_size();
    char byte = (char)editor.typed[editor.begin++];
    size_t rc = mbrtowc(out, &byte, 1, &state);
    if (rc == (size_t)-2) continue; /* a character of more bytes */
    if (rc == (size_t)-1) {         /* no text: the byte itself */
      *out = (unsigned char)byte;
      memset(&state, 0, sizeof state);
    }
    if (*out == L'\t' && is_pasted()) *out = L' ';
    return 1;
  }
}

/* ---- completion ---- */

/* Words in columns under the line. They are at `list` of the stack, count > 1. */
static void print_words(lua_State *L, int list, lua_Integer count) {
  size_t widest = 1;
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    size_t size = lua_rawlen(L, -1);
    if (size > widest) widest = size;
    lua_pop(L, 1);
  }
  int columns = editor.size.ws_col / (int)(widest + 2);
  if (columns < 1) columns = 1;
  putchar('\n');
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    bool last = i % columns == 0 || i == count;
    printf("%s", lua_tostring(L, -1));
    if (last)
      putchar('\n');
    else
      printf("%*s", (int)(widest + 2 - lua_rawlen(L, -1)), "");
    lua_pop(L, 1);
  }
  fflush(stdout);
}

/* How many bytes all words of the list begin with. */
static size_t common(lua_State *L, int list, lua_Integer count) {
  lua_rawgeti(L, list, 1);
  size_t size = lua_rawlen(L, -1);
  const char *first = lua_tostring(L, -1);
  for (lua_Integer i = 2; i <= count; i++) {
    lua_rawgeti(L, list, i);
    const char *word = lua_tostring(L, -1);
    size_t same = 0;
    while (same < size && word[same] == first[same])
      same++;
    size = same;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  while (size > 0 && ((unsigned char)first[size] & 0xC0) == 0x80)
    size--; /* not inside a character */
  return size;
}

/* How many characters, as libedit counts them, some bytes are. */
static int characters(const char *text, size_t size) {
  int count = 0;
  for (size_t i = 0; i < size; i++)
    if (((unsigned char)text[i] & 0xC0) != 0x80) count++;
  return count;
}

/* Arguments: the line before and after the cursor as (line, cursor); calls Lua's completion and
 * puts what all words have in common into the line. Returns what libedit should do. */
static int complete_body(lua_State *L) {
  const LineInfo *info = el_line(editor.line);
  size_t before = (size_t)(info->cursor - info->buffer);
  lua_rawgeti(L, LUA_REGISTRYINDEX, editor.complete);
  lua_pushlstring(L, info->buffer, (size_t)(info->lastchar - info->buffer));
  lua_pushinteger(L, (lua_Integer)before);
  lua_call(L, 2, 2);
  size_t from = (size_t)luaL_checkinteger(L, -1) - 1;
  int list = lua_gettop(L) - 1;
  luaL_checktype(L, list, LUA_TTABLE);
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  int result = CC_REFRESH_BEEP;
  if (count > 0 && from <= before) {
    size_t given = before - from, size = common(L, list, count);
    lua_rawgeti(L, list, 1);
    const char *word = lua_tostring(L, -1);
    if (size > given || count == 1) {
      lua_pushlstring(L, word, size);
      if (count == 1 && size > 0 && word[size - 1] != '/') {
        lua_pushliteral(L, " ");
        /* Behind a dot command's word a blank helps; inside Lua it may be in the way. */
        if (info->buffer[0] == '.')
          lua_concat(L, 2);
        else
          lua_pop(L, 1);
      }
      el_deletestr(editor.line, characters(info->buffer + from, given));
      el_insertstr(editor.line, lua_tostring(L, -1));
      result = CC_REFRESH;
    } else {
      print_words(L, list, count);
      result = CC_REDISPLAY;
    }
  }
  lua_pushinteger(L, result);
  return 1;
}

static unsigned char complete(EditLine *line, int key) {
  lua_State *L = editor.L;
  int result = CC_REFRESH_BEEP;
  (void)line;
  (void)key;
  if (editor.complete == LUA_NOREF) return CC_REFRESH_BEEP;
  lua_pushcfunction(L, complete_body);
  if (lua_pcall(L, 0, 1, 0) == LUA_OK) result = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return (unsigned char)result;
}

/* ---- the editor ---- */

/* Characters of more than one byte need a locale that has them. Only the kind of characters is set:
 * numbers and order stay those of C. */
static void know_characters(void) {
  setlocale(LC_CTYPE, "");
  if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

static bool make_editor(void) {
  HistEvent event;
  if (editor.line) return true;
  know_characters();
  editor.history = history_init();
  editor.line = el_init("moonfold", stdin, stdout, stderr);
  if (!editor.history || !editor.line) return false;
  history(editor.history, &event, H_SETSIZE, HISTORY_LINES);
  history(editor.history, &event, H_SETUNIQUE, 1);
  el_set(editor.line, EL_PROMPT, prompt);
  el_set(editor.line, EL_EDITOR, "emacs");
  el_set(editor.line, EL_SIGNAL, 0);
  el_set(editor.line, EL_HIST, history, editor.history);
  el_set(editor.line, EL_GETCFN, next_character);
  el_set(editor.line, EL_ADDFN, "moonfold-complete", "Completes the word before the cursor",
         complete);
  el_set(editor.line, EL_BIND, "^I", "moonfold-complete", NULL);
  el_set(editor.line, EL_BIND, "^R", "em-inc-search-prev", NULL);
  el_set(editor.line, EL_BIND, "\\e[1~", "ed-move-to-beg", NULL);
  el_set(editor.line, EL_BIND, "\\e[4~", "ed-move-to-end", NULL);
  el_set(editor.line, EL_BIND, "\\e[H", "ed-move-to-beg", NULL);
  el_set(editor.line, EL_BIND, "\\e[F", "ed-move-to-end", NULL);
  el_set(editor.line, EL_BIND, "\\e[3~", "ed-delete-next-char", NULL);
  el_set(editor.line, EL_BIND, "\\e[1;5C", "em-next-word", NULL);
  el_set(editor.line, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
  el_source(editor.line, NULL); /* the user's own ~/.editrc */
  return true;
}

/* host.edit_start(complete, news): complete(line, cursor) -> words, from; news() -> text, asked for
 * ten times a second while a line is edited; nil when there will be none for this line. */
static int edit_start(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  editor.L = L;
  editor.news = luaL_ref(L, LUA_REGISTRYINDEX);
  editor.complete = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* host.edit(prompt) -> line; nil and "end" or "interrupted" */
static int edit(lua_State *L) {
  int size = 0;
  snprintf(editor.prompt, sizeof editor.prompt, "%s", luaL_checkstring(L, 1));
  if (!make_editor()) return luaL_error(L, "the terminal cannot be used");
  fflush(stdout);
  editor.L = L;
  editor.interrupted = false;
  notice_size();
  const char *line = el_gets(editor.line, &size);
  if (line && size > 0 && !editor.interrupted) {
    lua_pushlstring(L, line, (size_t)size);
    return 1;
  }
  if (editor.interrupted) {
    lua_sethook(L, NULL, 0, 0); /* it was meant for the line, not for what runs next */
    editor.begin = editor.end = 0;
    el_reset(editor.line);
    fputs("^C\n", stdout);
    fflush(stdout);
  }
  lua_pushnil(L);
  lua_pushstring(L, editor.interrupted ? "interrupted" : "end");
  return 2;
}

/* host.edit_remember(line): puts it into the history */
static int edit_remember(lua_State *L) {
  HistEvent event;
  if (!make_editor()) return 0;
  history(editor.history, &event, H_ENTER, luaL_checkstring(L, 1));
  return 0;
}

/* ---- the terminal ---- */

/* host.height() -> lines of the terminal, nil where there is none */
static int height(lua_State *L) {
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return 0;
  lua_pushinteger(L, size.ws_row);
  return 1;
}

/* host.read_key() -> one key as it is typed; nil at the end */
static int read_key(lua_State *L) {
  struct termios before, raw;
  if (editor.begin < editor.end) {
    lua_pushlstring(L, (const char *)&editor.typed[editor.begin++], 1);
    return 1;
  }
  if (tcgetattr(STDIN_FILENO, &before) != 0) return 0;
  raw = before;
  raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
  char key;
  ssize_t size = read(STDIN_FILENO, &key, 1);
  tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
  if (size != 1) return 0;
  lua_pushlstring(L, &key, 1);
  return 1;
}

/* ---- files ---- */

/* host.private_file(path) -> whether there is such a file now, which only its owner may read */
static int private_file(lua_State *L) {
  int file = open(luaL_checkstring(L, 1), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  lua_pushboolean(L, file >= 0 && fchmod(file, 0600) == 0);
  if (file >= 0) close(file);
  return 1;
}

/* host.modified(path) -> what changes when the file is written to; nil when it is not there */
static int modified(lua_State *L) {
  struct stat status;
  if (stat(luaL_checkstring(L, 1), &status) != 0) return 0;
  lua_pushfstring(L, "%I.%I %I", (lua_Integer)status.st_mtim.tv_sec,
                  (lua_Integer)status.st_mtim.tv_nsec, (lua_Integer)status.st_size);
  return 1;
}

static const luaL_Reg functions[] = {{"edit", edit},
                                     {"edit_start", edit_start},
                                     {"edit_remember", edit_remember},
                                     {"height", height},
                                     {"read_key", read_key},
                                     {"private_file", private_file},
                                     {"modified", modified},
                                     {NULL, NULL}};

void mfr_repl_open(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}

void mfr_repl_close(void) {
  if (editor.line) el_end(editor.line);
  if (editor.history) history_end(editor.history);
  editor.line = NULL;
  editor.history = NULL;
}
