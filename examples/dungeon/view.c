/* Drawing: a game as text. Only what the hero can see is shown of what moves. */
#include "dungeon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 80, HEIGHT = 24, SIGHT = 9 };

static int64_t number(mf_value v, const char *name) {
  return mf_value_integer(mf_value_field(v, name), 0);
}

static mf_bytes row_of(mf_value map, int64_t y) {
  return mf_value_string(mf_value_slot(map, y));
}

static bool blocks(mf_value map, int64_t x, int64_t y) {
  mf_bytes row = row_of(map, y);
  return x < 1 || (size_t)x > row.size || ((const char *)row.data)[x - 1] == '#';
}

/* Walks the straight line between two places (Bresenham's); walls are in the way. */
static bool sees(mf_value map, int64_t x, int64_t y, int64_t to_x, int64_t to_y) {
  int64_t dx = llabs(to_x - x), dy = -llabs(to_y - y);
  int64_t step_x = x < to_x ? 1 : -1, step_y = y < to_y ? 1 : -1, error = dx + dy;
  if (dx > SIGHT || -dy > SIGHT) return false;
  while (x != to_x || y != to_y) {
    int64_t twice = 2 * error;
    if (twice >= dy) {
      error += dy;
      x += step_x;
    }
    if (twice <= dx) {
      error += dx;
      y += step_y;
    }
    if ((x != to_x || y != to_y) && blocks(map, x, y)) return false;
  }
  return true;
}

static void put(char screen[HEIGHT][WIDTH + 1], mf_value thing, mf_value map, mf_value hero,
                char c) {
  int64_t x = number(thing, "x"), y = number(thing, "y");
  if (x < 1 || x > WIDTH || y < 1 || y > HEIGHT) return;
  if (sees(map, number(hero, "x"), number(hero, "y"), x, y)) screen[y - 1][x - 1] = c;
}

static char letter_of_item(mf_value item) {
  mf_value kind = mf_value_field(item, "kind");
  return mf_value_is(kind, "gold")     ? '$'
         : mf_value_is(kind, "potion") ? '!'
         : mf_value_is(kind, "sword")  ? '/'
         : mf_value_is(kind, "armour") ? '['
                                       : '"';
}

static char letter_of_monster(mf_value monster) {
  mf_bytes kind = mf_value_string(mf_value_field(monster, "kind"));
  if (kind.size == 0) return '?';
  char first = ((const char *)kind.data)[0];
  return first == 't' ? 'T' : first;
}

static int draw_map(const game *g, char screen[HEIGHT][WIDTH + 1]) {
  mf_value map = mf_value_field(g->state, "map"), hero = mf_value_field(g->state, "hero");
  int rows = 0;
  for (mf_each each = mf_value_each(map); mf_each_next(&each) && rows < HEIGHT; rows++) {
    mf_bytes row = mf_value_string(each.value);
    size_t size = row.size < WIDTH ? row.size : WIDTH;
    memcpy(screen[rows], row.data, size);
    screen[rows][size] = '\0';
  }
  for (mf_each each = mf_value_each(mf_value_field(g->state, "items")); mf_each_next(&each);)
    put(screen, each.value, map, hero, letter_of_item(each.value));
  for (mf_each each = mf_value_each(mf_value_field(g->state, "monsters")); mf_each_next(&each);)
    put(screen, each.value, map, hero, letter_of_monster(each.value));
  put(screen, hero, map, hero, '@');
  return rows;
}

/* One event as a sentence; nothing for what the map shows by itself. */
static void tell(mf_value event) {
  mf_value type = mf_value_field(event, "type"), data = mf_value_field(event, "data");
  mf_bytes kind = mf_value_string(mf_value_field(data, "kind"));
  int size = (int)kind.size;
  const char *text = kind.data;
  if (mf_value_is(type, "MonsterHit"))
    printf("You hit the %.*s for %lld. ", size, text, (long long)number(data, "damage"));
  else if (mf_value_is(type, "HeroHit"))
    printf("The %.*s hits you for %lld. ", size, text, (long long)number(data, "damage"));
  else if (mf_value_is(type, "MonsterKilled"))
    printf("The %.*s dies. ", size, text);
  else if (mf_value_is(type, "ItemTaken"))
    printf("You take %lld %.*s. ", (long long)number(data, "amount"), size, text);
  else if (mf_value_is(type, "PotionDrunk"))
    printf("The potion gives you %lld health. ", (long long)number(data, "healed"));
  else if (mf_value_is(type, "HeroRose"))
    printf("You rise to level %lld. ", (long long)number(data, "level"));
  else if (mf_value_is(type, "LevelEntered"))
    printf("You enter level %lld of the dungeon. ", (long long)number(data, "depth"));
  else if (mf_value_is(type, "HeroDied"))
    printf("You die. ");
  else if (mf_value_is(type, "GameWon"))
    printf("The amulet is yours: you have won! ");
}

void draw(const game *g, const char *footer) {
  static char screen[HEIGHT][WIDTH + 1];
  mf_value hero = mf_value_field(g->state, "hero");
  int rows = draw_map(g, screen);
  for (int i = 0; i < rows; i++)
    printf("%s\n", screen[i]);
  printf("turn %lld  depth %lld  health %lld/%lld  attack %lld  defence %lld  level %lld  gold "
         "%lld  potions %lld\n",
         (long long)number(g->state, "turn"), (long long)number(g->state, "depth"),
         (long long)number(hero, "health"), (long long)number(hero, "most_health"),
         (long long)number(hero, "attack"), (long long)number(hero, "defence"),
         (long long)number(hero, "level"), (long long)number(hero, "gold"),
         (long long)number(hero, "potions"));
  for (mf_each each = mf_value_each(g->events); mf_each_next(&each);)
    tell(each.value);
  printf("%s\n%s%s\n", g->notice, g->rules, footer);
}
