/* Specs of the digests of deciders. Prints TAP. */
#include "check.h"
#include "digest.h"
#include "tokens.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- loading ---- */

typedef struct text {
  const char *source;
  const char *module; /* the source of the module "rules", which the script may require; or NULL */
  const char *params; /* a Lua expression; or NULL */
} text;

/* Arguments: script, digests. Upvalue 1: the module's state. */
static int digest(lua_State *L) {
  mfr_state *state = lua_touserdata(L, lua_upvalueindex(1));
  const text *s = lua_touserdata(L, 1);
  mfr_digests *digests = lua_touserdata(L, 2);
  const char *module = s->module ? s->module : "";
  mfr_chunk chunks[] = {{"@script.lua", NULL, s->source, strlen(s->source)},
                        {"@rules.lua", "rules", module, strlen(module)}};
  lua_newtable(L);
  mfr_digested what = {0, 3, {NULL, 0}};
  lua_pushglobaltable(L);
  lua_newtable(L);
  mfr_copy_fields(L, 4, 5);
  mfr_name_library(L, what.names, 5, "");
  mfr_name_environment(L, what.names, 4, 5);
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  mfr_name_library(L, what.names, lua_gettop(L), "moonfold");
  mfr_buffer *params = mfr_borrow(L, state);
  if (s->module) {
    if (luaL_loadbuffer(L, chunks[1].source, chunks[1].size, "@rules.lua") != LUA_OK)
      return lua_error(L);
    lua_call(L, 0, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "rules");
  }
  if (luaL_loadbuffer(L, chunks[0].source, chunks[0].size, "@script.lua") != LUA_OK)
    return lua_error(L);
  if (s->params) {
    lua_pushfstring(L, "return %s", s->params);
    if (luaL_dostring(L, lua_tostring(L, -1)) != LUA_OK) return lua_error(L);
    lua_remove(L, -2);
    mfr_encode(L, state, params, -1, "params");
    what.params = (mf_bytes){params->data, params->size};
  }
  lua_call(L, s->params ? 1 : 0, 1);
  what.decider = lua_gettop(L);
  mfr_digest(L, state, &what, chunks, s->module ? 2 : 1, digests);
  return 0;
}

static bool loaded, must_load = true;

static mfr_digests digests_of(text s) {
  mfr_digests digests;
  memset(&digests, 0, sizeof digests);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "moonfold", luaopen_moonfold, 0);
  lua_getfield(L, -1, "hash");
  lua_getupvalue(L, -1, 1);
  lua_pushcclosure(L, digest, 1);
  lua_pushlightuserdata(L, &s);
  lua_pushlightuserdata(L, &digests);
  loaded = lua_pcall(L, 2, 0, 0) == LUA_OK;
  if (!loaded && must_load) {
    printf("# %s\n", lua_tostring(L, -1));
    exit(2);
  }
  lua_close(L);
  return digests;
}

static bool same(const uint8_t a[16], const uint8_t b[16]) {
  return memcmp(a, b, 16) == 0;
}

/* ---- what may change, and what then does ---- */

enum { NOTHING, SCRIPT, BOTH };

static void compare_scripts(const char *sentence, int changes, text one, text other) {
  mfr_digests a = digests_of(one), b = digests_of(other);
  bool script = !same(a.script, b.script), fold = !same(a.fold, b.fold);
  bool fine = script == (changes != NOTHING) && fold == (changes == BOTH) && !*a.doubt;
  check(fine, sentence);
  if (fine) return;
  printf("# the script's digest %s, the fold's %s%s%s\n", script ? "changed" : "did not change",
         fold ? "changed" : "did not change", *a.doubt ? "; doubt: " : "", a.doubt);
}

static void compare(const char *sentence, int changes, const char *one, const char *other) {
  compare_scripts(sentence, changes, (text){one, NULL, NULL}, (text){other, NULL, NULL});
}

#define WITH(locals, evolve)                                                                       \
  locals "\nreturn { initial_state = {}, evolve = {\nAdded = function(state, event)\n" evolve      \
         "\nend },\ndecide = function()\nend }"

#define BODY(evolve) WITH("", evolve)

static void layout(void) {
  compare("comments and layout change neither digest", NOTHING, BODY("state.n = 1"),
          "-- a comment\n\n" BODY("state  .n --[[ more ]] =\n\n 1"));
  compare("how a string or an integer is written changes neither", NOTHING,
          BODY("state.n = 'a16' .. 16"), BODY("state.n = \"\\97\\x316\" .. 0x10"));
}

static void functions(void) {
  compare("another value in evolve changes both", BOTH, BODY("state.n = 1"), BODY("state.n = 2"));
  compare("1 is not 1.0", BOTH, BODY("state.n = 1"), BODY("state.n = 1.0"));
  compare("a string is not a number", BOTH, BODY("state.n = 1"), BODY("state.n = '1'"));
  compare("a name is not a string", BOTH, BODY("state.n = x"), BODY("state.n = 'x'"));
  compare("a label that stands elsewhere changes both", BOTH,
          BODY("goto out\nstate.n = 1\n::out::\nstate.n = 2"),
          BODY("goto out\n::out::\nstate.n = 1\nstate.n = 2"));
  compare("an attribute changes both", BOTH, BODY("local x <const> = f()\nstate.n = x"),
          BODY("local x <close> = f()\nstate.n = x"));
  compare("what decide does changes the script's digest only", SCRIPT,
          "local price = 1\nreturn { initial_state = {}, evolve = {},\ndecide = function()\nreturn "
          "price end }",
          "local price = 2\nreturn { initial_state = {}, evolve = {},\ndecide = function()\nreturn "
          "2 * price end }");
  compare("a handler under another type changes both", BOTH,
          "local function f(s)\ns.n = 1\nend\nreturn { initial_state = {}, evolve = { A = f } }",
          "local function f(s)\ns.n = 1\nend\nreturn { initial_state = {}, evolve = { B = f } }");
  compare("false for a type is not nothing", BOTH,
          "return { initial_state = {}, evolve = { A = false } }",
          "return { initial_state = {}, evolve = { } }");
  compare("the initial state changes both", BOTH,
          "return { initial_state = { n = 1 }, evolve = {} }",
          "return { initial_state = { n = 1.0 }, evolve = {} }");
  compare("an upcaster changes both", BOTH,
          "return { initial_state = {}, evolve = {}, upcast = { A = function(e)\nreturn e\nend } }",
          "return { initial_state = {}, evolve = {}, upcast = { A = function(e)\nreturn { e }\nend "
          "} }");
}

static void upvalues(void) {
  compare("an upvalue is its value, not how it was written", SCRIPT,
          WITH("local step = 2", "state.n = step"), WITH("local step = 1 + 1", "state.n = step"));
  compare("another value of an upvalue changes both", BOTH,
          WITH("local step = 2", "state.n = step"), WITH("local step = 3", "state.n = step"));
  compare("a constant of the compiler is no upvalue, and changes both", BOTH,
          WITH("local step <const> = 2", "state.n = step"),
          WITH("local step <const> = 3", "state.n = step"));
  compare("so does one that it is made of", BOTH,
          WITH("local base <const> = 2\nlocal step <const> = 2 * base", "state.n = step"),
          WITH("local base <const> = 3\nlocal step <const> = 2 * base", "state.n = step"));
  compare(
      "one that evolve does not name changes the script's digest only", SCRIPT,
      WITH("local price <const> = 2\nlocal step <const> = 2", "state.n = step; state.price = 1"),
      WITH("local price <const> = 3\nlocal step <const> = 2", "state.n = step; state.price = 1"));
  compare("a function that evolve calls changes both", BOTH,
          WITH("local function f(x)\nreturn x\nend", "state.n = f(1)"),
          WITH("local function f(x)\nreturn -x\nend", "state.n = f(1)"));
  compare("one that it does not call changes the script's digest only", SCRIPT,
          WITH("local function f(x)\nreturn x\nend", "state.n = 1"),
          WITH("local function f(x)\nreturn -x\nend", "state.n = 1"));
  compare("a table that evolve reaches is its content", SCRIPT,
          WITH("local t = { a = 1, b = { 2 } }", "state.n = t"),
          WITH("local t = { b = {} }\nt.a, t.b[1] = 1, 2", "state.n = t"));
  compare("a function in such a table changes both", BOTH,
          WITH("local t = { f = function()\nreturn 1\nend }", "state.n = t.f()"),
          WITH("local t = { f = function()\nreturn 2\nend }", "state.n = t.f()"));
  compare("its metatable changes both", BOTH,
          WITH("local t = setmetatable({}, { __index = { n = 1 } })", "state.n = t.n"),
          WITH("local t = setmetatable({}, { __index = { n = 2 } })", "state.n = t.n"));
  compare("one table reached twice is not two that are equal", BOTH,
          WITH("local a = {}\nlocal b = a", "a.n = 1\nstate.n = b.n"),
          WITH("local a = {}\nlocal b = {}", "a.n = 1\nstate.n = b.n"));
#define COUNTER                                                                                    \
  "local function make()\nlocal n = 0\nreturn function()\nn = n + 1\nend,\nfunction(s)\ns.n = n\n" \
  "end\nend\n"
  compare("an upvalue that two functions share is not two that are equal", BOTH,
          COUNTER "local a, b = make()\nreturn { initial_state = {}, evolve = { A = a, B = b } }",
          COUNTER "local a = make()\nlocal _, b = make()\nreturn { initial_state = {}, evolve = { "
                  "A = a, B = b } }");
  compare("the length of a list with holes depends on how it was made", BOTH,
          WITH("local t = { 1, nil, 3 }", "state.n = #t"),
          WITH("local t = { 1 }\nt[3] = 3", "state.n = #t"));
  compare("what reaches itself is digested", SCRIPT,
          WITH("local t = {}\nt.t = t\nlocal function f()\nreturn f, t\nend", "state.n = f"),
          WITH("local u = 1\nlocal t = {}\nt.t = t\nlocal function f()\nreturn f, t\nend",
               "state.n = f"));
  compare("a function of the library is its name", BOTH,
          WITH("local f = math.floor", "state.n = f(1)"),
          WITH("local f = math.ceil", "state.n = f(1)"));
  compare(
      "functions that share their first line, not their last, are told apart", BOTH,
      "local f, g = function()\nreturn 1 end, function()\nreturn 2\nend\nreturn { initial_state "
      "= {}, evolve = { A = f } }",
      "local f, g = function()\nreturn 1 end, function()\nreturn 2\nend\nreturn { initial_state "
      "= {}, evolve = { A = g } }");
}

static void modules(void) {
  const char *main = "local rules = require 'rules'\nreturn { initial_state = {}, evolve = { A = "
                     "function(s)\ns.n = rules.step\nend }, decide = function()\nend }";
  const char *other = "local rules = require 'rules'\nreturn { initial_state = {}, evolve = { A = "
                      "function(s)\ns.n = 1\nend }, decide = function()\nreturn rules\nend }";
  compare_scripts("what evolve reaches in a module changes both", BOTH,
                  (text){main, "return { step = 1 }", NULL},
                  (text){main, "return { step = 2 }", NULL});
  compare_scripts("what only decide reaches changes the script's digest only", SCRIPT,
                  (text){other, "return { step = 1 }", NULL},
                  (text){other, "return { step = 2 }", NULL});
  const char *params =
      "local p = ...\nlocal step = p.step\nreturn { initial_state = {}, evolve = { "
      "A = function(s)\ns.n = step\nend }, decide = function()\nreturn p\nend }";
  compare_scripts("parameters that evolve reaches change both", BOTH,
                  (text){params, NULL, "{ step = 1 }"}, (text){params, NULL, "{ step = 2 }"});
  compare_scripts("parameters that only decide reaches change the script's digest only", SCRIPT,
                  (text){params, NULL, "{ step = 1 }"},
                  (text){params, NULL, "{ step = 1, price = 2 }"});
}

/* ---- doubt ---- */

static void doubt(const char *sentence, const char *source, const char *why) {
  mfr_digests digests = digests_of((text){source, NULL, NULL});
  check(strstr(digests.doubt, why) != NULL, sentence);
  if (!strstr(digests.doubt, why)) printf("# doubt: %s\n", digests.doubt);
}

static void doubts(void) {
  doubt("two functions on the same lines cannot be told apart",
        "return { initial_state = function() return {} end, evolve = { A = function() end } }",
        "which function");
  doubt("globals of the script's own are doubtful",
        "function step() return 1 end\nreturn { initial_state = {}, evolve = { A = "
        "function(s)\ns.n = "
        "step()\nend } }",
        "globals");
  doubt("so is a global of the library that was replaced",
        "tostring = print\nreturn { initial_state = {}, evolve = { A = function(s)\ns.n = "
        "tostring(1)\nend } }",
        "globals");
  doubt("so is require in a function",
        "return { initial_state = {}, evolve = { A = function(s)\ns.n = require('x').n\nend } }",
        "require");
  doubt("so is a function whose source is not known",
        "local f = load('return 1')\nreturn { initial_state = {}, evolve = { A = f } }", "source");
  doubt("so is a key that is a table",
        "local t = { [{}] = 1 }\nreturn { initial_state = {}, evolve = { A = function(s)\ns.n = t\n"
        "end } }",
        "key");
  doubt("so is a coroutine",
        "local t = coroutine.create(print)\nreturn { initial_state = {}, evolve = { A = "
        "function(s)\ns.n = t\nend } }",
        "thread");
  mfr_digests a =
      digests_of((text){"return { initial_state = {}, evolve = { A = load('return 1') } }", 0, 0});
  mfr_digests b =
      digests_of((text){"return { initial_state = {}, evolve = { A = load('return 2') } }", 0, 0});
  check(!same(a.fold, b.fold), "in doubt the fold's digest is that of the whole script");
  mfr_digests c = digests_of((text){BODY("return state"), NULL, NULL});
  check(!same(c.fold, c.script), "the fold's digest is never the script's");
}

/* ---- the domain scripts, changed token by token ---- */

enum { SOURCE_MOST = 1 << 16 };

static char *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  char *source = calloc(1, SOURCE_MOST);
  if (!file || !source || fread(source, 1, SOURCE_MOST - 1, file) == 0) exit(2);
  fclose(file);
  return source;
}

/* The script with token number `changed` changed (-1: none), one token to a line where `apart`.
 * False: there is no such token. */
static bool write_again(const char *source, int changed, bool apart, char *out) {
  mfr_lexer lexer;
  mfr_token token;
  const char *end = source;
  bool found = changed < 0;
  mfr_lexer_init(&lexer, source, strlen(source));
  for (int i = 0; mfr_lexer_next(&lexer, &token); i++) {
    if (!apart) out += sprintf(out, "%.*s", (int)(token.text - end), end);
    if (apart) *out++ = '\n';
    end = token.text + token.size;
    if (i == changed && token.kind == MFR_TOKEN_INTEGER) {
      out += sprintf(out, "%lld", (long long)token.integer + 1);
      found = true;
    } else if (i == changed && token.kind == MFR_TOKEN_STRING && *token.text != '[') {
      out += sprintf(out, "%.*sx%c", (int)token.size - 1, token.text, *token.text);
      found = true;
    } else
      out += sprintf(out, "%.*s", (int)token.size, token.text);
  }
  mfr_lexer_free(&lexer);
  *out = '\0';
  return found;
}

static void domain_script(const char *path) {
  char sentence[200];
  char *source = read_file(path), *again = malloc(2 * SOURCE_MOST);
  if (!again) exit(2);
  mfr_digests before = digests_of((text){source, NULL, NULL});
  write_again(source, -1, true, again);
  mfr_digests after = digests_of((text){again, NULL, NULL});
  snprintf(sentence, sizeof sentence, "%s: one token to a line, the digests are the same", path);
  check(same(before.script, after.script) && same(before.fold, after.fold) && !*after.doubt,
        sentence);
  if (*after.doubt) printf("# doubt: %s\n", after.doubt);
  int changes = 0, unseen = 0, folds = 0;
  must_load = false;
  for (int i = 0; i < 5000; i++) {
    if (!write_again(source, i, false, again)) continue;
    mfr_digests other = digests_of((text){again, NULL, NULL});
    if (!loaded) continue; /* a module of another name */
    changes++;
    unseen += same(before.script, other.script);
    folds += !same(before.fold, other.fold);
  }
  snprintf(sentence, sizeof sentence, "%s: every other number and string changes the script's",
           path);
  must_load = true;
  check(changes > 0 && unseen == 0, sentence);
  printf("# %d changes, %d of them to the fold\n", changes, folds);
  free(source);
  free(again);
}

int main(int argc, char **argv) {
  layout();
  functions();
  upvalues();
  modules();
  doubts();
  for (int i = 1; i < argc; i++)
    domain_script(argv[i]);
  printf("1..%d\n", number);
  return failures != 0;
}
