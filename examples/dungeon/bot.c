/* A player without hands: it walks the shortest way to what it wants, drinks when it must, and
 * never thinks ahead. */
#include "dungeon.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH = 80, HEIGHT = 24, PLACES = WIDTH * HEIGHT };

static const char *const names[] = {"north", "south", "west", "east"};
static const int step_x[] = {0, 0, -1, 1}, step_y[] = {-1, 1, 0, 0};

typedef struct plan {
  bool open[PLACES], wanted[PLACES];
  int place, stairs; /* of the hero; -1: no stairs */
} plan;

static int64_t number(mf_value v, const char *name) {
  return mf_value_integer(mf_value_field(v, name), 0);
}

static int place_of(int64_t x, int64_t y) {
  return x >= 0 && x < WIDTH && y >= 0 && y < HEIGHT ? (int)(y * WIDTH + x) : 0;
}

static void want(plan *p, mf_value things) {
  for (mf_each each = mf_value_each(things); mf_each_next(&each);)
    p->wanted[place_of(number(each.value, "x"), number(each.value, "y"))] = true;
}

static void look_around(const game *g, plan *p) {
  memset(p, 0, sizeof *p);
  p->stairs = -1;
  for (mf_each each = mf_value_each(mf_value_field(g->state, "map")); mf_each_next(&each);) {
    mf_bytes row = mf_value_string(each.value);
    for (size_t x = 0; x < row.size; x++) {
      char tile = ((const char *)row.data)[x];
      int place = place_of((int64_t)x + 1, (int64_t)each.index + 1);
      p->open[place] = tile != '#';
      if (tile == '>') p->stairs = place;
    }
  }
  mf_value hero = mf_value_field(g->state, "hero");
  p->place = place_of(number(hero, "x"), number(hero, "y"));
  want(p, mf_value_field(g->state, "items"));
  want(p, mf_value_field(g->state, "monsters"));
}

/* The first step of the shortest way to a wanted place, or -1. Breadth first, so ties are always
 * the same. */
static int first_step(const plan *p) {
  static int queue[PLACES];
  static signed char first[PLACES];
  size_t head = 0, tail = 0;
  memset(first, -1, sizeof first);
  queue[tail++] = p->place;
  while (head < tail) {
    int place = queue[head++];
    if (p->wanted[place] && place != p->place) return first[place];
    for (int way = 0; way < 4; way++) {
      int next = place + step_y[way] * WIDTH + step_x[way];
      if (next < 0 || next >= PLACES || !p->open[next] || first[next] >= 0 || next == p->place)
        continue;
      first[next] = place == p->place ? (signed char)way : first[place];
      queue[tail++] = next;
    }
  }
  return -1;
}

bool bot_move(game *g) {
  static plan p;
  mf_value hero = mf_value_field(g->state, "hero");
  if (!is_playing(g)) return command(g, "Begin", "name", "Bot");
  if (number(hero, "health") < 9 && number(hero, "potions") > 0)
    return command(g, "Drink", NULL, NULL);
  look_around(g, &p);
  int way = first_step(&p);
  if (way < 0 && p.stairs == p.place) return command(g, "Descend", NULL, NULL);
  if (way < 0 && p.stairs >= 0) {
    p.wanted[p.stairs] = true;
    way = first_step(&p);
  }
  return way < 0 ? command(g, "Rest", NULL, NULL) : command(g, "Move", "direction", names[way]);
}
