/* Looking back. A state is a fold of events, so every moment of a game is still there: the scrubber
 * only asks for it. */
#include "dungeon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the scrubber ---- */

/* The versions at which turns ended. */
static int64_t *turns_of(const game *g, size_t *count) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_bytes types[] = {
      {"LevelEntered", 12}, {"TurnEnded", 9}, {"HeroDied", 8}, {"GameWon", 7}, {"GameResumed", 11}};
  mf_reader *reader;
  mf_event event;
  mf_error error;
  int64_t *turns = NULL;
  size_t capacity = 0;
  *count = 0;
  options.stream = (mf_bytes){g->stream, strlen(g->stream)};
  options.types = types;
  options.type_count = sizeof types / sizeof *types;
  if (mf_reader_open(g->store, NULL, &options, &reader, &error) != MF_OK) return NULL;
  while (mf_reader_next(reader, &event, &error) == MF_OK) {
    if (*count == capacity) {
      capacity = capacity ? 2 * capacity : 256;
      int64_t *more = realloc(turns, capacity * sizeof *turns);
      if (!more) break;
      turns = more;
    }
    turns[(*count)++] = event.version;
  }
  mf_reader_close(reader);
  return turns;
}

static void draw_scrubber(const game *g, size_t at, size_t count) {
  char bar[41], footer[160];
  memset(bar, '-', 40);
  bar[40] = '\0';
  bar[count > 1 ? at * 39 / (count - 1) : 0] = 'o';
  snprintf(footer, sizeof footer,
           "|%s| %zu of %zu   left, right: a turn   home, end   p: play on from here   q: back",
           bar, at + 1, count);
  draw(g, footer);
}

void replay(game *g) {
  size_t count, at;
  int64_t *turns = turns_of(g, &count), now = g->version;
  bool going = count > 0;
  for (at = count ? count - 1 : 0; going;) {
    if (!look_at(g, turns[at])) break;
    draw_scrubber(g, at, count);
    switch (read_key()) {
    case KEY_LEFT:
    case 'h':
      at -= at > 0;
      break;
    case KEY_RIGHT:
    case 'l':
      at += at + 1 < count;
      break;
    case KEY_HOME:
    case '0':
      at = 0;
      break;
    case KEY_END:
    case '$':
      at = count - 1;
      break;
    case 'p':
      resume_from(g, g->stream, turns[at]);
      now = g->version;
      going = false;
      break;
    case 'q':
    case -1:
      going = false;
    }
  }
  look_at(g, now);
  free(turns);
}

/* ---- comparing two saves ---- */

static mf_reader *open_save(const char *path, const char *stream, mf_store **store) {
  mf_open_options options = {.size = sizeof options, .read_only = true};
  mf_read_options range = MF_READ_OPTIONS_INIT;
  mf_reader *reader = NULL;
  mf_error error;
  range.stream = (mf_bytes){stream, strlen(stream)};
  if (mf_open(path, &options, store, &error) != MF_OK ||
      mf_reader_open(*store, NULL, &range, &reader, &error) != MF_OK)
    fprintf(stderr, "dungeon: %s\n", error.message);
  return reader;
}

static bool same(mf_bytes a, mf_bytes b) {
  return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static void show(const char *path, bool there, const mf_event *event) {
  if (!there)
    printf("  %s: ends\n", path);
  else
    printf("  %s: %.*s\n", path, (int)event->type.size, (const char *)event->type.data);
}

static int compare_readers(mf_reader *a, mf_reader *b, const char *one, const char *other) {
  mf_event x, y;
  mf_error error;
  for (int64_t version = 1;; version++) {
    bool has_x = mf_reader_next(a, &x, &error) == MF_OK,
         has_y = mf_reader_next(b, &y, &error) == MF_OK;
    if (!has_x && !has_y) {
      printf("the same game: %lld events\n", (long long)version - 1);
      return 0;
    }
    if (has_x && has_y && same(x.type, y.type) && same(x.data, y.data)) continue;
    printf("the same up to event %lld; then\n", (long long)version - 1);
    show(one, has_x, &x);
    show(other, has_y, &y);
    return 1;
  }
}

int compare(const char *one, const char *other, const char *stream) {
  mf_store *stores[2] = {NULL, NULL};
  mf_reader *a = open_save(one, stream, &stores[0]),
            *b = a ? open_save(other, stream, &stores[1]) : NULL;
  int status = a && b ? compare_readers(a, b, one, other) : 2;
  mf_reader_close(a);
  mf_reader_close(b);
  mf_close(stores[0]);
  mf_close(stores[1]);
  return status;
}
