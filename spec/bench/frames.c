/*
 * A game's frames: what the commands of a frame take, when they are queued and when each waits for
 * the disk, with durability full. The 99.9th percentile is what a player notices. Frames follow one
 * another every 4 ms, four times as fast as a game's, so that the disk has less time.
 */
#include "bench.h"
#include "runtime.h"

#include <unistd.h>

enum { FRAMES_MAX = 1000, COMMANDS = 3 };

static const char rules[] =
    "local moonfold = require 'moonfold'\n"
    "return { category = 'hero', initial_state = { x = 0, y = 0, steps = 0 },\n"
    "  evolve = { Moved = function(hero, event)\n"
    "    hero.x, hero.y, hero.steps = event.data.x, event.data.y, hero.steps + 1 end },\n"
    "  decide = { Move = function(command, hero)\n"
    "    return moonfold.event('Moved', { x = hero.x + command.data.dx, y = hero.y }) end } }\n";

typedef struct game {
  mf_store *store;
  mf_runtime *runtime;
  mf_queue *queue; /* NULL: every command waits */
  mf_builder *data;
} game;

static game open_game(const bench *b, bool queued) {
  mf_runtime_options options = {.size = sizeof options, .values = true};
  mf_error failure;
  game g = {open_store(file_in(b, "frames.fold"), MF_FULL), NULL, NULL, mf_builder_new()};
  MF(mf_runtime_new(g.store, &options, &g.runtime, &failure));
  MF(mf_load_string(g.runtime, "hero.lua", rules, sizeof rules - 1, NULL, &failure));
  if (queued) MF(mf_queue_new(g.store, NULL, &g.queue, &failure));
  return g;
}

static void close_game(const bench *b, game *g) {
  mf_error failure;
  MF(mf_queue_free(g->queue, &failure));
  mf_runtime_free(g->runtime);
  mf_builder_free(g->data);
  close_store(g->store);
  unlink(file_in(b, "frames.fold"));
}

static void move(game *g) {
  mf_command command = MF_COMMAND_INIT;
  mf_result result;
  mf_error failure;
  mf_build_reset(g->data);
  mf_build_map(g->data);
  mf_build_key(g->data, "dx");
  mf_build_integer(g->data, 1);
  mf_build_end(g->data);
  command.type = "Move";
  command.data_value = mf_builder_value(g->data);
  if (g->queue)
    MF(mf_queue_handle(g->queue, g->runtime, "hero-1", &command, &result, NULL, &failure));
  else
    MF(mf_handle(g->runtime, "hero-1", &command, &result, &failure));
  mf_result_free(&result);
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The median and the 99.9th percentile of what a frame's commands take, in microseconds. */
static void play(const bench *b, bool queued, double *median, double *worst) {
  static double times[FRAMES_MAX];
  size_t frames = b->quick ? 200 : FRAMES_MAX;
  game g = open_game(b, queued);
  double next = wall();
  for (size_t i = 0; i < frames; i++) {
    double start = wall();
    for (int k = 0; k < COMMANDS; k++)
      move(&g);
    times[i] = (wall() - start) / 1e3;
    next += 4e6;
    double left = next - wall();
    if (left > 0) usleep((useconds_t)(left / 1e3));
  }
  close_game(b, &g);
  qsort(times, frames, sizeof *times, compare);
  *median = times[frames / 2];
  *worst = times[frames - 1 - frames / 1000];
}

int main(int argc, char **argv) {
  bench b = bench_start(argc, argv);
  samples medians[2], worsts[2];
  int runs = b.runs < 3 ? b.runs : 3; /* each takes four seconds */
  for (int run = 0; run < runs; run++)
    for (int queued = 0; queued < 2; queued++)
      play(&b, queued, &medians[queued].of[run], &worsts[queued].of[run]);
  b.runs = runs;
  report(&b, "frames", &medians[1], "us", &medians[0], "each waits",
         "frame, %d commands queued, median", COMMANDS);
  report(&b, "frames", &worsts[1], "us", &worsts[0], "each waits",
         "frame, %d commands queued, 99.9 %%", COMMANDS);
  return 0;
}
