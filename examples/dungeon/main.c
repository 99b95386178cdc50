/* Playing. A key becomes a command, the rules decide, the store remembers, the screen shows. */
#include "dungeon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const char help[] =
    "usage: dungeon [SAVE]                 play; the save is a store, dungeon.fold by default\n"
    "       dungeon --bot TURNS [SAVE]     a bot plays so many turns; prints the hash of the "
    "state\n"
    "       dungeon --replay [SAVE]        look back at a game, turn by turn\n"
    "       dungeon --compare SAVE SAVE    where two games diverge\n"
    "       --rules FOLDER                 the rules, examples/dungeon/rules by default\n";

static const char keys[] = "arrows or hjkl: walk, fight   .: rest   d: drink   >: descend   u: "
                           "take back   r: replay   q: quit";

/* ---- the terminal ---- */

static struct termios before;
static bool raw;

static void restore(void) {
  if (raw) tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

/* Keys one by one, where there is a terminal; from a pipe they come as they are. */
static void take_keys(void) {
  if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0) return;
  struct termios now = before;
  now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
  raw = tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
  atexit(restore);
}

static void clear(void) {
  if (isatty(STDOUT_FILENO)) printf("\033[H\033[2J");
}

int read_key(void) {
  static const char letters[] = "DCABHF";
  static const int codes[] = {KEY_LEFT, KEY_RIGHT, KEY_UP, KEY_DOWN, KEY_HOME, KEY_END};
  fflush(stdout);
  int c = getchar();
  while (c == '\n')
    c = getchar();
  if (c == '\033' && getchar() == '[') {
    const char *at = strchr(letters, getchar());
    c = at && *at ? codes[at - letters] : ' ';
  }
  clear();
  return c == EOF ? -1 : c;
}

/* ---- the game ---- */

int fail(const game *g, const char *what, const mf_error *error) {
  const mf_script_error *script = g->runtime ? mf_runtime_error(g->runtime) : NULL;
  fprintf(stderr, "dungeon: %s: %s (%s)\n", what, error->message, mf_code(error->code));
  if (script && script->traceback) fprintf(stderr, "%s\n", script->traceback);
  return 1;
}

/* The result becomes what is shown. */
static void show(game *g, mf_result *result) {
  mf_result_free(&g->result);
  g->result = *result;
  g->state = result->state_value;
  g->events = result->events_value;
  g->version = result->version;
}

bool command(game *g, const char *type, const char *key, const char *value) {
  mf_command c = MF_COMMAND_INIT;
  mf_result result;
  mf_error error;
  char data[160];
  snprintf(data, sizeof data, "{\"%s\": \"%s\"}", key ? key : "", value ? value : "");
  c.type = type;
  c.data = key ? data : NULL;
  if (g->clock) c.time = g->clock++;
  g->notice[0] = '\0';
  int status = mf_handle(g->runtime, g->stream, &c, &result, &error);
  if (status == MF_OK) {
    show(g, &result);
    return true;
  }
  /* A script with a mistake in it loses nothing either: mend it, and go on. */
  snprintf(g->notice, sizeof g->notice, "%s",
           status == MF_REJECTED ? result.message : error.message);
  mf_result_free(&result);
  return false;
}

bool look_at(game *g, int64_t version) {
  mf_result result;
  mf_error error;
  if (mf_aggregate(g->runtime, g->stream, version, &result, &error) != MF_OK) {
    snprintf(g->notice, sizeof g->notice, "%s", error.message);
    return false;
  }
  g->notice[0] = '\0';
  show(g, &result);
  return true;
}

/* Rules that were edited meanwhile are in force from now on. The old ones go on when there is a
 * mistake in them, which is shown until it is mended. */
static void take_new_rules(game *g) {
  bool changed;
  mf_error error;
  if (mf_reload(g->runtime, &changed, &error) != MF_OK) {
    g->broken = true;
    snprintf(g->rules, sizeof g->rules, "The old rules go on: %s\n", error.message);
  } else if (changed) {
    g->broken = false;
    snprintf(g->rules, sizeof g->rules, "The rules have changed.\n");
    look_at(g, MF_LAST); /* the same events may make another state */
  } else if (!g->broken)
    g->rules[0] = '\0';
}

/* Streams are dungeon-1, dungeon-2, ...: each game that was resumed is one more. The last one is
 * played. */
static bool name_stream(game *g, bool next) {
  int64_t version;
  for (int i = 1;; i++) {
    char stream[64];
    snprintf(stream, sizeof stream, "dungeon-%d", i);
    if (mf_stream_version(g->store, NULL, (mf_bytes){stream, strlen(stream)}, &version, NULL) !=
        MF_OK)
      return false;
    if (version == 0 && (next || i == 1)) strcpy(g->stream, stream);
    if (version == 0) return true;
    if (!next) strcpy(g->stream, stream);
  }
}

bool resume_from(game *g, const char *from, int64_t version) {
  mf_command c = MF_COMMAND_INIT;
  mf_result result;
  mf_error error;
  char old[64], data[160];
  strcpy(old, g->stream);
  snprintf(data, sizeof data, "{\"stream\": \"%s\", \"version\": %lld}", from, (long long)version);
  c.type = "Resume";
  c.data = data;
  if (!name_stream(g, true) || mf_handle(g->runtime, g->stream, &c, &result, &error) != MF_OK) {
    strcpy(g->stream, old);
    return false;
  }
  show(g, &result);
  snprintf(g->notice, sizeof g->notice, "The game goes on from there.");
  return true;
}

/* The version at which the turn before `version` ended, in the stream; 0: it was the first. */
static int64_t turn_before(const game *g, const char *stream, int64_t version) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_bytes types[] = {{"LevelEntered", 12}, {"TurnEnded", 9}, {"GameResumed", 11}};
  mf_reader *reader;
  mf_event event;
  mf_error error;
  options.stream = (mf_bytes){stream, strlen(stream)};
  options.types = types;
  options.type_count = 3;
  options.backwards = true;
  options.to = version - 1;
  if (mf_reader_open(g->store, NULL, &options, &reader, &error) != MF_OK) return 0;
  bool found = mf_reader_next(reader, &event, &error) == MF_OK;
  version = found ? event.version : 0;
  mf_reader_close(reader);
  return version;
}

/* A game that was resumed began in another stream: finds which, and from where. */
static bool origin_of(const game *g, char stream[64], int64_t *version) {
  mf_read_options options = MF_READ_OPTIONS_INIT;
  mf_reader *reader;
  mf_event event;
  mf_error error;
  options.stream = (mf_bytes){stream, strlen(stream)};
  options.max_count = 1;
  if (mf_reader_open(g->store, NULL, &options, &reader, &error) != MF_OK) return false;
  bool found = mf_reader_next(reader, &event, &error) == MF_OK;
  mf_value data = found ? mf_value_of(event.data) : (mf_value){NULL, NULL};
  mf_bytes name = mf_value_string(mf_value_field(data, "stream"));
  *version = mf_value_integer(mf_value_field(data, "version"), 0);
  found = name.size > 0 && name.size < 64;
  if (found) {
    memcpy(stream, name.data, name.size);
    stream[name.size] = '\0';
  }
  mf_reader_close(reader);
  return found;
}

/* The last turn is taken back: the game goes on from before it, in a stream of its own. */
static void take_back(game *g) {
  char stream[64];
  int64_t from = g->version, version;
  strcpy(stream, g->stream);
  while ((version = turn_before(g, stream, from)) == 0)
    if (!origin_of(g, stream, &from)) break;
  if (version == 0 || !resume_from(g, stream, version))
    snprintf(g->notice, sizeof g->notice, "There is nothing to take back.");
}

static void act(game *g, int key) {
  switch (key) {
  case KEY_LEFT:
  case 'h':
    command(g, "Move", "direction", "west");
    break;
  case KEY_RIGHT:
  case 'l':
    command(g, "Move", "direction", "east");
    break;
  case KEY_UP:
  case 'k':
    command(g, "Move", "direction", "north");
    break;
  case KEY_DOWN:
  case 'j':
    command(g, "Move", "direction", "south");
    break;
  case '.':
    command(g, "Rest", NULL, NULL);
    break;
  case 'd':
    command(g, "Drink", NULL, NULL);
    break;
  case '>':
    command(g, "Descend", NULL, NULL);
    break;
  case 'n':
    command(g, "Begin", "name", "Hero");
    break;
  case 'u':
    take_back(g);
    break;
  case 'r':
    replay(g);
    break;
  default:
    g->notice[0] = '\0';
  }
}

static void play(game *g) {
  take_keys();
  clear();
  if (!g->version) command(g, "Begin", "name", "Hero");
  for (int key = ' '; key != 'q' && key != -1; key = read_key()) {
    take_new_rules(g);
    act(g, key);
    draw(g, is_playing(g) ? keys : "n: a new game   u: take back   r: replay   q: quit");
  }
}

/* ---- the bot ---- */

static void print_hash(mf_value state) {
  mf_bytes bytes = mf_value_bytes(state); /* equal states have equal bytes */
  uint64_t hash = 0xcbf29ce484222325u;    /* FNV-1a */
  for (size_t i = 0; i < bytes.size; i++)
    hash = (hash ^ ((const uint8_t *)bytes.data)[i]) * 0x100000001b3u;
  printf("%016llx\n", (unsigned long long)hash);
}

/* Chance is seeded by the command, and its time is part of that: with times of its own the bot
 * plays the same game wherever it plays. */
static int let_bot_play(game *g, long turns) {
  g->clock = 1;
  for (long i = 0; i < turns; i++) {
    if (bot_move(g)) continue;
    fprintf(stderr, "dungeon: the bot is stuck in turn %ld: %s\n", i, g->notice);
    return 1;
  }
  print_hash(g->state);
  return 0;
}

/* ---- beginning and end ---- */

static int run(const char *save, const char *rules, const char *mode, long turns) {
  game g = {0};
  mf_error error;
  mf_open_options options = {.size = sizeof options};
  mf_runtime_options how = {.size = sizeof how, .values = true};
  int status;
  if (turns) options.durability = MF_NONE;
  if (mf_open(save, &options, &g.store, &error) != MF_OK)
    return fail(&g, "opening the save", &error);
  if (mf_runtime_new(g.store, &how, &g.runtime, &error) != MF_OK ||
      mf_load(g.runtime, rules, NULL, &error) != MF_OK)
    status = fail(&g, "loading the rules", &error);
  else {
    status = name_stream(&g, false) && look_at(&g, MF_LAST) ? 0 : 1;
    if (status == 0 && turns)
      status = let_bot_play(&g, turns);
    else if (status == 0 && strcmp(mode, "--replay") == 0) {
      take_keys();
      replay(&g);
    } else if (status == 0)
      play(&g);
  }
  mf_result_free(&g.result);
  mf_runtime_free(g.runtime);
  mf_close(g.store);
  return status;
}

int main(int argc, char **argv) {
  const char *rules = "examples/dungeon/rules", *mode = "", *saves[2] = {"dungeon.fold", NULL};
  int count = 0;
  long turns = 0;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--rules") == 0 && i + 1 < argc)
      rules = argv[++i];
    else if (strcmp(argv[i], "--bot") == 0 && i + 1 < argc)
      turns = strtol(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--replay") == 0 || strcmp(argv[i], "--compare") == 0)
      mode = argv[i];
    else if (argv[i][0] == '-' || count == 2) {
      fputs(help, strcmp(argv[i], "--help") == 0 ? stdout : stderr);
      return strcmp(argv[i], "--help") == 0 ? 0 : 2;
    } else
      saves[count++] = argv[i];
  }
  if (strcmp(mode, "--compare") != 0) return run(saves[0], rules, mode, turns);
  if (count == 2) return compare(saves[0], saves[1], "dungeon-1");
  fputs(help, stderr);
  return 2;
}
