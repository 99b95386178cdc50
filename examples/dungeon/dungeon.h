/* A dungeon in a terminal. The rules are Lua (rules/), the save is a store, and this is the rest:
 * main.c plays, view.c draws, bot.c thinks for who has no hands, replay.c looks back. */
#ifndef DUNGEON_H
#define DUNGEON_H

#include <moonfold/runtime.h>

typedef struct game {
  mf_store *store;
  mf_runtime *runtime;
  char stream[64];
  mf_result result; /* of the last call that was accepted: the state and the events point into it */
  mf_value state, events;
  int64_t version;
  int64_t clock;    /* the time of the next command; 0: the real one */
  char notice[512]; /* what to tell the player beside what happened */
  char rules[600];  /* what became of rules that were edited */
  bool broken;      /* they could not be loaded */
} game;

/* ---- main.c ---- */

/* What the player wants. False when the rules refuse; game->notice says why. */
bool command(game *g, const char *type, const char *key, const char *value);
/* Shows the game as it was at a version. */
bool look_at(game *g, int64_t version);
/* Goes on from a version of one stream in a new one. */
bool resume_from(game *g, const char *from, int64_t version);
int fail(const game *g, const char *what, const mf_error *error);
int read_key(void); /* a character, KEY_LEFT and its like, or -1 at the end of the input */
enum { KEY_LEFT = 256, KEY_RIGHT, KEY_UP, KEY_DOWN, KEY_HOME, KEY_END };

static inline bool is_playing(const game *g) {
  return mf_value_is(mf_value_field(g->state, "status"), "playing");
}

/* ---- view.c ---- */

void draw(const game *g, const char *footer);

/* ---- bot.c ---- */

/* Makes one move. False when the rules refused it. */
bool bot_move(game *g);

/* ---- replay.c ---- */

void replay(game *g);
/* Says at which event two saves begin to differ. Returns 0 when they do not, else 1. */
int compare(const char *one, const char *other, const char *stream);

#endif
