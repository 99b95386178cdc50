/*
 * Specs of the sandbox in C: what cannot be reached through the Lua API. Prints TAP and ends with
 * status 1 when one fails.
 */
#include "library.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int number, failures;

static void check(bool fine, const char *sentence) {
  printf("%s %d - %s\n", fine ? "ok" : "not ok", ++number, sentence);
  fflush(stdout);
  failures += !fine;
}

static mfr_sandbox *new_or_die(const mfr_limits *limits) {
  mfr_sandbox *sandbox = mfr_sandbox_new(limits);
  if (sandbox) return sandbox;
  fputs("no memory\n", stderr);
  exit(2);
}

static char message[1024];

/* Takes the error off the stack. */
static void take_message(mfr_sandbox *sandbox) {
  lua_State *S = mfr_sandbox_lua(sandbox);
  lua_getfield(S, -1, "message");
  snprintf(message, sizeof message, "%s", lua_tostring(S, -1) ? lua_tostring(S, -1) : "");
  lua_settop(S, 0);
}

/* Loads a script. What it returned is on the stack, or its error's message is taken. */
static int load(mfr_sandbox *sandbox, const char *text) {
  mfr_source source = {.name = "spec.lua", .text = text, .size = strlen(text)};
  int status = mfr_sandbox_load(sandbox, &source);
  message[0] = '\0';
  if (status != MF_OK) take_message(sandbox);
  return status;
}

/* Calls the function that is referred to; its result becomes text. */
static int call_body(lua_State *S) {
  lua_rawgeti(S, LUA_REGISTRYINDEX, *(int *)lua_touserdata(S, 1));
  lua_call(S, 0, 1);
  mfr_tostring(S, -1, NULL);
  return 1;
}

static int call(mfr_sandbox *sandbox, int function) {
  lua_State *S = mfr_sandbox_lua(sandbox);
  int status = mfr_sandbox_call(sandbox, call_body, &function);
  if (status != MF_OK)
    take_message(sandbox);
  else
    snprintf(message, sizeof message, "%s", lua_tostring(S, -1));
  lua_settop(S, 0);
  return status;
}

/* Loads a script that returns a function, and refers to that; 0: it does not load. */
static int load_function(mfr_sandbox *sandbox, const char *text) {
  if (load(sandbox, text) != MF_OK) return 0;
  return luaL_ref(mfr_sandbox_lua(sandbox), LUA_REGISTRYINDEX);
}

static double cpu(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  if (argc > 1) { /* tries a script: what it returns is called */
    mfr_sandbox *sandbox = new_or_die(NULL);
    for (int i = 1; i < argc; i++) {
      double start = cpu();
      int function = load_function(sandbox, argv[i]);
      int status = function ? call(sandbox, function) : MF_SCRIPT_ERROR;
      printf("%-16s %6.2f ms  %s\n", function ? mf_code(status) : "(load)", cpu() - start, message);
    }
    mfr_sandbox_free(sandbox);
    return 0;
  }
  mfr_sandbox *sandbox = new_or_die(NULL);
  int function = load_function(sandbox, "return function() return 1 + 1 end");
  check(function && call(sandbox, function) == MF_OK && strcmp(message, "2") == 0,
        "a script's function is called");
  function = load_function(sandbox, "return function() while true do end end");
  check(call(sandbox, function) == MF_BUDGET_EXCEEDED, "a loop that never ends is ended");
  mfr_sandbox_free(sandbox);
  return failures > 0;
}
