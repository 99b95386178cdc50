/*
 * Scripts that were loaded together, into one sandbox. Loading is all or nothing: a domain that
 * fails to load is thrown away as a whole, so that there is never half of one.
 */
#include "loaded.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PATH_MOST = 4096, DECIDERS_MOST = 1000, SCRIPT_MOST = 16 << 20 };

struct mfr_domain {
  mfr_sandbox *sandbox;
  lua_State *S;
  mfr_state *state; /* of S */
  mfr_load_options options;
  lua_State *host; /* the Lua host's, while it calls */
  bool running;
  char loading[256];     /* the file's name, or "" */
  mfr_call *call;        /* while it runs for one */
  mfr_store *store;      /* the one that S sees: a userdata of S, open only during a call */
  int store_ref;         /* the same, in S's registry */
  uint64_t store_number; /* of the host's store whose types it knows */
  int slot;              /* of S's registry: what a loaded chunk returned, or what failed */
  size_t count;
  mfr_loaded **deciders;
  mfr_watch watch;        /* its files */
  bool stale;             /* they hold something else */
  char path[PATH_MOST];   /* as it was named */
  char folder[PATH_MOST]; /* where `require` looks; "": nowhere */
};

/* ---- calls ---- */

static void print_line(void *context, const char *line, size_t size) {
  const mfr_domain *domain = context;
  if (domain->options.log)
    domain->options.log(domain->options.log_context, line, size, domain->call);
}

int mfr_domain_call(mfr_domain *domain, lua_CFunction body, void *argument) {
  int status = mfr_sandbox_call(domain->sandbox, body, argument);
  if (status != MF_OK) lua_rawseti(domain->S, LUA_REGISTRYINDEX, domain->slot);
  return status;
}

void mfr_domain_set_params(mfr_domain *domain, mfr_buffer *params) {
  mfr_buffer_free(&domain->options.params);
  domain->options.params = *params;
  memset(params, 0, sizeof *params);
}

void mfr_domain_set_host(mfr_domain *domain, lua_State *L) {
  domain->host = L;
}

lua_State *mfr_domain_host(const mfr_domain *domain) {
  return domain->host;
}

static bool is_folder(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* ---- making, freeing ---- */

/* In S: what is needed later without being allocated then. */
static int prepare(lua_State *S) {
  mfr_domain *domain = lua_touserdata(S, 1);
  lua_pushboolean(S, 0);
  domain->slot = luaL_ref(S, LUA_REGISTRYINDEX);
  domain->store = mfr_new_store(S, domain->state, (mfr_text){"", 0});
  domain->store_ref = luaL_ref(S, LUA_REGISTRYINDEX);
  return 0;
}

/* States may take half of the memory that the scripts have: they are let go when it is needed. */
static bool make_cache(mfr_domain *domain) {
  enum { STATES = 4096 };
  static const mfr_limits defaults = MFR_LIMITS_DEFAULT;
  const mfr_load_options *o = &domain->options;
  if (o->cache < 0) return true;
  size_t memory = o->limits.memory ? o->limits.memory : defaults.memory;
  domain->state->cache = mfr_cache_new(o->cache ? (size_t)o->cache : STATES, memory / 2);
  return domain->state->cache != NULL;
}

mfr_domain *mfr_domain_new(const mfr_load_options *options) {
  mfr_domain *domain = calloc(1, sizeof *domain);
  if (!domain) return NULL;
  domain->options = *options;
  domain->options.params = (mfr_buffer){NULL, 0, 0};
  domain->sandbox = mfr_sandbox_new(&options->limits, &options->allocator);
  size_t size = options->params.size;
  if (!domain->sandbox || (size && !mfr_buffer_reserve(&domain->options.params, size))) {
    mfr_domain_free(domain);
    return NULL;
  }
  if (size) memcpy(domain->options.params.data, options->params.data, size);
  domain->options.params.size = size;
  domain->S = mfr_sandbox_lua(domain->sandbox);
  domain->state = mfr_sandbox_state(domain->sandbox);
  mfr_sandbox_set_log(domain->sandbox, print_line, domain);
  if (make_cache(domain) && mfr_sandbox_call(domain->sandbox, prepare, domain) == MF_OK &&
      mfr_functions_open(domain->sandbox, options->functions) == MF_OK)
    return domain;
  mfr_domain_free(domain);
  return NULL;
}

static void free_loaded(mfr_loaded *loaded) {
  mfr_buffer_free(&loaded->code);
  free(loaded);
}

void mfr_domain_free(mfr_domain *domain) {
  if (!domain) return;
  if (domain->state) mfr_cache_free(domain->state->cache);
  mfr_sandbox_free(domain->sandbox);
  for (size_t i = 0; i < domain->count; i++)
    free_loaded(domain->deciders[i]);
  free(domain->deciders);
  mfr_buffer_free(&domain->options.params);
  mfr_watch_free(&domain->watch);
  free(domain);
}

mfr_domain *mfr_domain_again(const mfr_domain *domain) {
  return mfr_domain_new(&domain->options);
}

bool mfr_domain_is_stale(const mfr_domain *domain) {
  return domain->stale;
}

void mfr_domain_set_stale(mfr_domain *domain, bool stale) {
  domain->stale = stale;
}

mfr_watch *mfr_domain_watch(mfr_domain *domain) {
  return &domain->watch;
}

const mfr_loaded *mfr_domain_find(const mfr_domain *domain, const char *path) {
  for (size_t i = 0; i < domain->count; i++)
    if (strcmp(domain->deciders[i]->path, path) == 0) return domain->deciders[i];
  return NULL;
}

bool mfr_domain_same(const mfr_domain *a, const mfr_domain *b) {
  bool same = a->count == b->count;
  for (size_t i = 0; same && i < a->count; i++) {
    const mfr_loaded *one = a->deciders[i], *other = mfr_domain_find(b, one->path);
    same = other && one->code.size == other->code.size &&
           memcmp(one->code.data, other->code.data, one->code.size) == 0;
  }
  return same;
}

lua_State *mfr_domain_lua(const mfr_domain *domain) {
  return domain->S;
}

mfr_state *mfr_domain_state(const mfr_domain *domain) {
  return domain->state;
}

size_t mfr_domain_count(const mfr_domain *domain) {
  return domain->count;
}

const mfr_loaded *mfr_domain_decider(const mfr_domain *domain, size_t i) {
  return domain->deciders[i];
}

const char *mfr_domain_path(const mfr_domain *domain) {
  return domain->path;
}

bool mfr_domain_is_folder(const mfr_domain *domain) {
  return is_folder(domain->path);
}

/* ---- which decider a stream belongs to ---- */

/* The length of the category when the stream is one of it ("cart-1" of "cart"), else 0. */
static size_t category_of(const mfr_loaded *loaded, mfr_text stream) {
  if (!loaded->category) return 0;
  size_t size = strlen(loaded->category);
  bool one = stream.size > size && stream.data[size] == '-' &&
             memcmp(stream.data, loaded->category, size) == 0;
  return one ? size : 0;
}

const mfr_loaded *mfr_has_category(mfr_domain *const *domains, size_t count, const char *category) {
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < domains[i]->count; k++) {
      const char *other = domains[i]->deciders[k]->category;
      if (other && strcmp(other, category) == 0) return domains[i]->deciders[k];
    }
  return NULL;
}

const mfr_loaded *mfr_owner_of(mfr_domain *const *domains, size_t count, mfr_text stream) {
  const mfr_loaded *owner = NULL;
  size_t longest = 0;
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < domains[i]->count; k++) {
      size_t size = category_of(domains[i]->deciders[k], stream);
      if (size <= longest) continue;
      longest = size;
      owner = domains[i]->deciders[k];
    }
  return owner;
}

void mfr_say_no_owner(mfr_domain *const *domains, size_t count, mfr_text stream,
                      char message[512]) {
  enum { MOST = 100 };
  const char *names[MOST + 1];
  char all[256] = "", prefix[MF_STREAM_NAME_MAX + 1];
  size_t n = 0;
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < domains[i]->count && n < MOST; k++)
      if (domains[i]->deciders[k]->category) names[n++] = domains[i]->deciders[k]->category;
  names[n] = NULL;
  for (size_t i = 0; i < n; i++)
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.60s", i ? ", " : "", names[i]);
  const char *dash = memchr(stream.data, '-', stream.size);
  size_t size = dash ? (size_t)(dash - stream.data) : stream.size;
  snprintf(prefix, sizeof prefix, "%.*s", (int)size, stream.data);
  const char *nearest = mfr_nearest(prefix, names);
  if (n == 0)
    snprintf(message, 512, "no decider with a category is loaded, so \"%.80s\" belongs to none",
             stream.data);
  else if (!dash)
    snprintf(
        message, 512,
        "\"%.80s\" belongs to no category: a decider of the category \"%.60s\" has the streams "
        "\"%.60s-...\"",
        stream.data, nearest ? nearest : names[0], nearest ? nearest : names[0]);
  else
    snprintf(message, 512, "no decider in use has the category of \"%.80s\"%s%.60s%s; there %s %s",
             stream.data, nearest ? ": did you mean \"" : "", nearest ? nearest : "",
             nearest ? "-...\"?" : "", n == 1 ? "is" : "are", all);
}

/* ---- failures ---- */

/* "cart.lua:12: ..." gives the fields file and line of the error on top. */
static void set_place(lua_State *S, const char *text) {
  const char *colon = text;
  while ((colon = strchr(colon, ':')) != NULL) {
    char *end;
    long line = strtol(colon + 1, &end, 10);
    if (end > colon + 1 && (*end == ':' || *end == '\0') &&
        !memchr(text, '\n', (size_t)(colon - text))) {
      mfr_set_string(S, "file", text, (size_t)(colon - text));
      mfr_set_integer(S, "line", line);
      return;
    }
    colon++;
  }
}

static const char *text_of(lua_State *S, const char *field) {
  lua_pushstring(S, field);
  lua_rawget(S, -2);
  const char *text = lua_type(S, -1) == LUA_TSTRING ? lua_tostring(S, -1) : NULL;
  lua_pop(S, 1); /* the error keeps it */
  return text;
}

/* What was running is told by the call: a handler of messages is not run when memory is out. */
static void add_place(lua_State *S, const mfr_call *call) {
  char where[400] = "";
  if (!call || text_of(S, "stream")) return;
  if (!call->phase) { /* what was found when the script was through */
    if (call->stream.data) mfr_set_string(S, "stream", call->stream.data, call->stream.size);
    return;
  }
  int size = call->stream.size > 80 ? 80 : (int)call->stream.size;
  mfr_describe_failure(S, call);
  if (call->event.position != 0 && strcmp(call->phase, "decide") != 0)
    snprintf(where, sizeof where, "%s of event %lld (%.*s) of stream \"%.*s\": ", call->phase,
             (long long)call->event.version, (int)call->event.type.size,
             (const char *)call->event.type.data, size, call->stream.data);
  else if (call->command_type.data)
    snprintf(where, sizeof where, "%s of command %.*s on stream \"%.*s\": ", call->phase,
             (int)call->command_type.size, call->command_type.data, size, call->stream.data);
  lua_pushfstring(S, "%s%s", where, text_of(S, "message"));
  lua_setfield(S, -2, "message");
}

/* What fails while a script is loaded says in which. */
static void add_file(lua_State *S, const char *file) {
  const char *message = text_of(S, "message");
  if (strncmp(message, file, strlen(file)) == 0) return;
  lua_pushfstring(S, "%s: %s", file, message);
  lua_setfield(S, -2, "message");
  if (!text_of(S, "file")) mfr_set_string(S, "file", file, strlen(file));
}

void mfr_push_failure(lua_State *S, mfr_domain *domain) {
  mfr_state *state = domain->state;
  lua_rawgeti(S, LUA_REGISTRYINDEX, domain->slot);
  if (!mfr_is_error(S, state, -1)) {
    const char *text = luaL_tolstring(S, -1, NULL);
    mfr_push_error(S, state, MF_SCRIPT_ERROR, "%s", text);
    set_place(S, text);
    lua_replace(S, -3);
    lua_pop(S, 1);
  }
  if (*domain->loading) add_file(S, domain->loading);
  const char *code = mfr_error_code(S, state, -1);
  if (strcmp(code, "budget_exceeded") == 0 || strcmp(code, "no_memory") == 0 ||
      strcmp(code, "script_error") == 0)
    add_place(S, domain->call);
  if (text_of(S, "file")) return;
  const char *cause = text_of(S, "cause"), *where = text_of(S, "where");
  if (cause) set_place(S, cause);
  if (!text_of(S, "file") && where) set_place(S, where);
}

/* In S: what failed becomes an error object that says all that is known now. */
static int settle_body(lua_State *S) {
  mfr_domain *domain = lua_touserdata(S, 1);
  mfr_push_failure(S, domain);
  lua_rawseti(S, LUA_REGISTRYINDEX, domain->slot);
  return 0;
}

static int settle(mfr_domain *domain, int status) {
  if (status != MF_OK) mfr_domain_call(domain, settle_body, domain);
  domain->call = NULL;
  *domain->loading = '\0';
  return status;
}

/* Puts an error of our own into the slot. */
typedef struct failure {
  mfr_domain *domain;
  int status;
  char message[1024];
} failure;

static int fail_body(lua_State *S) {
  const failure *f = lua_touserdata(S, 1);
  mfr_push_error(S, f->domain->state, f->status, "%s", f->message);
  return lua_error(S);
}

int mfr_domain_fail(mfr_domain *domain, int status, const char *format, ...) {
  failure f = {domain, status, ""};
  va_list args;
  va_start(args, format);
  vsnprintf(f.message, sizeof f.message, format, args);
  va_end(args);
  mfr_domain_call(domain, fail_body, &f);
  return status;
}

/* ---- files ---- */

/* Reads a whole file. False: errno tells. */
static bool read_file(const char *path, mfr_buffer *out) {
  struct stat status;
  if (stat(path, &status) != 0) return false;
  if (!S_ISREG(status.st_mode)) { /* a pipe would never end */
    errno = ENOTSUP;
    return false;
  }
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  size_t n;
  do {
    if (out->size > SCRIPT_MOST || !mfr_buffer_reserve(out, 1 << 16)) {
      fclose(file);
      errno = out->size > SCRIPT_MOST ? EFBIG : ENOMEM;
      return false;
    }
    n = fread(out->data + out->size, 1, out->capacity - out->size, file);
    out->size += n;
  } while (n > 0);
  int failed = ferror(file) ? errno : 0;
  fclose(file);
  errno = failed;
  return failed == 0;
}

static bool ends_with(const char *text, const char *end) {
  size_t size = strlen(text), n = strlen(end);
  return size > n && strcmp(text + size - n, end) == 0;
}

/* ---- from what a script returned to a decider ---- */

static const char lines[] = "\n    return {\n      category = \"cart\",\n"
                            "      initial_state = { total = 0 },\n"
                            "      evolve = { ItemAdded = function(state, event) state.total = "
                            "state.total + event.data.price end },\n"
                            "      decide = { AddItem = function(command) return { type = "
                            "\"ItemAdded\", data = command.data } end },\n    }";

typedef struct adoption {
  mfr_domain *domain;
  const char *file; /* for messages */
  bool must;        /* what is no decider is a mistake, not a library */
  mfr_loaded *loaded;
} adoption;

static bool has(lua_State *S, const char *field) {
  bool there = lua_getfield(S, -1, field) != LUA_TNIL;
  lua_pop(S, 1);
  return there;
}

static bool looks_like_decider(lua_State *S) {
  if (lua_type(S, -1) != LUA_TTABLE) return false;
  return has(S, "category") || has(S, "initial_state") + has(S, "evolve") + has(S, "decide") >= 2;
}

/* A string of the decider on top, which the registry keeps from now on. */
static const char *keep_text(lua_State *S, const char *field) {
  if (lua_getfield(S, -1, field) == LUA_TNIL) {
    lua_pop(S, 1);
    return NULL;
  }
  const char *text = lua_tostring(S, -1);
  luaL_ref(S, LUA_REGISTRYINDEX);
  return text;
}

static void check_parts(lua_State *S, const adoption *a) {
  mfr_state *state = a->domain->state;
  if (lua_type(S, -1) != LUA_TTABLE)
    mfr_misuse(S, state, "decider", "the script returned %s: a decider's script ends like this%s",
               lua_isnil(S, -1) ? "nothing" : luaL_typename(S, -1), lines);
  if (!has(S, "evolve"))
    mfr_misuse(S, state, "decider.evolve",
               "it is missing: it says what an event makes of the state, for example\n"
               "    evolve = {\n"
               "      ItemAdded = function(state, event) state.total = state.total + "
               "event.data.price end,\n    }");
  mfr_check_decider(S, state, lua_gettop(S), "decider", has(S, "decide"));
  if (!has(S, "category")) return;
  lua_getfield(S, -1, "category");
  size_t size;
  const char *category = lua_tolstring(S, -1, &size);
  if (size == 0 || strlen(category) != size)
    mfr_misuse(S, state, "decider.category",
               "it is the beginning of stream names: it is not empty");
  lua_pop(S, 1);
}

static void refuse_circle(lua_State *S, const mfr_state *state, const char *const *types,
                          int count) {
  char all[512] = "";
  for (int i = 0; i <= count; i++)
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.60s", i ? " becomes " : "",
             types[i % count]);
  mfr_misuse(S, state, "decider.upcast", "upcasters turn types round in a circle: %s", all);
}

/*
 * Upcasters are functions, but each can be asked what it makes of an event without data. Where that
 * leads round in a circle, the script is refused now and not when such an event is met. Errors are
 * no matter: an upcaster may need the data.
 */
static void check_upcasters(lua_State *S, const adoption *a) {
  enum { STEPS_MOST = 32 };
  const char *seen[STEPS_MOST + 1];
  int decider = lua_gettop(S);
  if (lua_getfield(S, decider, "upcast") != LUA_TTABLE) {
    lua_settop(S, decider);
    return;
  }
  luaL_checkstack(S, 2 * STEPS_MOST + 10, "upcast");
  for (lua_pushnil(S); lua_next(S, decider + 1);) {
    lua_pop(S, 1);
    lua_pushvalue(S, -1); /* the type, as it changes; each stays on the stack */
    int n = 0;
    while (n < STEPS_MOST) {
      seen[n++] = lua_tostring(S, -1);
      lua_pushvalue(S, -1);
      if (lua_rawget(S, decider + 1) != LUA_TFUNCTION) break;
      lua_createtable(S, 0, 3);
      lua_pushstring(S, seen[n - 1]);
      lua_setfield(S, -2, "type");
      lua_newtable(S);
      lua_setfield(S, -2, "data");
      lua_newtable(S);
      lua_setfield(S, -2, "metadata");
      if (lua_pcall(S, 1, 1, 0) != LUA_OK || lua_type(S, -1) != LUA_TTABLE) break;
      if (lua_getfield(S, -1, "type") != LUA_TSTRING) break;
      lua_remove(S, -2);
      const char *type = lua_tostring(S, -1);
      if (strcmp(type, seen[n - 1]) == 0) break;
      for (int i = 0; i < n; i++)
        if (strcmp(type, seen[i]) == 0) refuse_circle(S, a->domain->state, seen + i, n - i);
    }
    lua_settop(S, decider + 2);
  }
  lua_settop(S, decider);
}

/* In S: the value in the slot becomes a decider, or is found to be none. */
static int adopt(lua_State *S) {
  adoption *a = lua_touserdata(S, 1);
  lua_rawgeti(S, LUA_REGISTRYINDEX, a->domain->slot);
  if (!a->must && !looks_like_decider(S)) return 0;
  check_parts(S, a);
  check_upcasters(S, a);
  a->loaded->name = keep_text(S, "name");
  a->loaded->category = keep_text(S, "category");
  a->loaded->decides = has(S, "decide");
  a->loaded->file = lua_pushstring(S, a->file);
  luaL_ref(S, LUA_REGISTRYINDEX);
  if (is_folder(a->domain->path))
    a->loaded->path = lua_pushfstring(S, "%s/%s", a->domain->path, a->file);
  else
    a->loaded->path = lua_pushstring(S, a->domain->path);
  luaL_ref(S, LUA_REGISTRYINDEX);
  a->loaded->ref = luaL_ref(S, LUA_REGISTRYINDEX);
  return 0;
}

static int check_category(mfr_domain *domain, const mfr_loaded *loaded) {
  const mfr_loaded *other =
      loaded->category ? mfr_has_category(&domain, 1, loaded->category) : NULL;
  if (!other) return MF_OK;
  return mfr_domain_fail(domain, MF_INVALID_ARGUMENT,
                         "%s and %s have the same category \"%s\": a stream belongs to one decider",
                         other->file, loaded->file, loaded->category);
}

/* The files that a script was made from, and the folder, where others may come to be. */
static void watch(mfr_domain *domain, const mfr_sources *sources) {
  char path[2 * PATH_MOST];
  if (!*domain->folder) return;
  mfr_watch_add(&domain->watch, domain->folder);
  for (size_t i = 0; i < sources->count; i++) {
    snprintf(path, sizeof path, "%s/%s", domain->folder, sources->chunks[i].name + 1);
    mfr_watch_add(&domain->watch, path);
  }
}

/* Runs a chunk, and adopts what it returns. */
static int load_chunk(mfr_domain *domain, const char *file, const char *source, size_t size,
                      bool must) {
  adoption a = {domain, file, must, NULL};
  const mfr_buffer *params = &domain->options.params;
  mfr_source script = {0};
  mfr_sources sources;
  script.name = file;
  script.text = source;
  script.size = size;
  script.folder = *domain->folder ? domain->folder : NULL;
  script.params = params->size ? params->data : NULL;
  script.params_size = params->size;
  snprintf(domain->loading, sizeof domain->loading, "%s", file);
  mfr_sources_begin(&sources, domain->state, &script);
  int status = mfr_sandbox_load(domain->sandbox, &script);
  lua_rawseti(domain->S, LUA_REGISTRYINDEX, domain->slot); /* the value, or the error */
  watch(domain, &sources);
  if (status != MF_OK) {
    mfr_sources_free(&sources);
    return status;
  }
  mfr_loaded **more = realloc(domain->deciders, (domain->count + 1) * sizeof *more);
  if (more) domain->deciders = more;
  a.loaded = calloc(1, sizeof *a.loaded);
  if (!more || !a.loaded) {
    free(a.loaded);
    mfr_sources_free(&sources);
    return mfr_domain_fail(domain, MF_NO_MEMORY, "no memory to load %s", file);
  }
  a.loaded->domain = domain;
  a.loaded->digests = sources.digests;
  a.loaded->code = sources.code;
  sources.code = (mfr_buffer){NULL, 0, 0};
  mfr_sources_free(&sources);
  status = mfr_domain_call(domain, adopt, &a);
  if (status == MF_OK) *domain->loading = '\0';
  if (status == MF_OK && a.loaded->path) status = check_category(domain, a.loaded);
  if (status == MF_OK && a.loaded->path)
    domain->deciders[domain->count++] = a.loaded;
  else
    free_loaded(a.loaded);
  return status;
}

/* ---- a file, a folder, a string ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t count) {
  for (size_t i = 0; i < count; i++)
    free(names[i]);
  free(names);
}

/* The scripts of a folder, sorted, without their specs. False: errno tells. */
static bool list_scripts(const char *path, char ***names, size_t *count) {
  DIR *folder = opendir(path);
  const struct dirent *entry;
  *names = NULL;
  *count = 0;
  if (!folder) return false;
  while ((entry = readdir(folder)) != NULL) {
    const char *name = entry->d_name;
    if (name[0] == '.' || !ends_with(name, ".lua") || ends_with(name, "_spec.lua")) continue;
    char **more = realloc(*names, (*count + 1) * sizeof **names);
    char *copy = strdup(name);
    if (more) *names = more;
    if (!more || !copy) {
      free(copy);
      free_names(*names, *count);
      closedir(folder);
      errno = ENOMEM;
      return false;
    }
    (*names)[(*count)++] = copy;
  }
  closedir(folder);
  if (*count) qsort(*names, *count, sizeof **names, compare_names);
  return true;
}

static int unreadable(mfr_domain *domain, const char *path) {
  int code = errno;
  if (code == ENOENT || code == ENOTDIR)
    return mfr_domain_fail(domain, MF_NOT_FOUND, "there is no file or folder \"%s\"", path);
  if (code == ENOMEM)
    return mfr_domain_fail(domain, MF_NO_MEMORY, "no memory to read \"%s\"", path);
  if (code == ENOTSUP)
    return mfr_domain_fail(domain, MF_INVALID_ARGUMENT, "\"%s\" is neither a file nor a folder",
                           path);
  return mfr_domain_fail(domain, MF_IO, "\"%s\" cannot be read: %s", path, strerror(code));
}

/* Reads a script of the domain's folder and loads it. */
static int load_script(mfr_domain *domain, const char *path, const char *file, bool must) {
  mfr_buffer source = {NULL, 0, 0};
  int status = read_file(path, &source) ? load_chunk(domain, file, source.data, source.size, must)
                                        : unreadable(domain, path);
  mfr_buffer_free(&source);
  return status;
}

static int load_folder(mfr_domain *domain) {
  char **names, path[PATH_MOST + 260];
  size_t count;
  int status = MF_OK;
  if (!list_scripts(domain->path, &names, &count)) return unreadable(domain, domain->path);
  for (size_t i = 0; status == MF_OK && i < count; i++) {
    snprintf(path, sizeof path, "%s/%s", domain->path, names[i]);
    status = load_script(domain, path, names[i], false);
  }
  if (status == MF_OK && domain->count == 0)
    status = mfr_domain_fail(
        domain, MF_INVALID_ARGUMENT,
        "there is no decider in the folder \"%s\": it has %zu script%s, and none returns a "
        "table like this%s",
        domain->path, count, count == 1 ? "" : "s", lines);
  free_names(names, count);
  return status;
}

static int load_file(mfr_domain *domain) {
  const char *slash = strrchr(domain->path, '/'), *file = slash ? slash + 1 : domain->path;
  snprintf(domain->folder, sizeof domain->folder, "%.*s", slash ? (int)(slash - domain->path) : 1,
           slash ? domain->path : ".");
  if (slash == domain->path) memcpy(domain->folder, "/", 2);
  return load_script(domain, domain->path, file, true);
}

int mfr_domain_load(mfr_domain *domain, const char *path) {
  size_t size = strlen(path);
  if (size == 0 || size >= PATH_MOST)
    return mfr_domain_fail(domain, MF_INVALID_ARGUMENT, "a path has 1 to %d bytes", PATH_MOST - 1);
  memcpy(domain->path, path, size + 1);
  if (!is_folder(path)) return settle(domain, load_file(domain));
  memcpy(domain->folder, path, size + 1);
  return settle(domain, load_folder(domain));
}

int mfr_domain_load_string(mfr_domain *domain, const char *name, const char *source, size_t size) {
  snprintf(domain->path, sizeof domain->path, "%s", name);
  return settle(domain, load_chunk(domain, domain->path, source, size, true));
}

/* ---- calls on behalf of a store ---- */

bool mfr_code_is_kept(const mfr_loaded *loaded) {
  return loaded->kept_in == loaded->domain->store_number;
}

static mfr_loaded *own(const mfr_loaded *loaded) {
  size_t i = 0;
  while (loaded->domain->deciders[i] != loaded)
    i++;
  return loaded->domain->deciders[i];
}

void mfr_note_code_kept(const mfr_loaded *loaded) {
  own(loaded)->kept_in = loaded->domain->store_number;
}

void mfr_note_refusal(const mfr_loaded *loaded, const char *why) {
  own(loaded)->snapshot_refusal = why;
}

const mfr_keeping *mfr_keeping_of(const mfr_loaded *loaded) {
  return &loaded->domain->options.keeping;
}

bool mfr_takes_snapshots(const mfr_loaded *loaded) {
  return !loaded->domain->options.no_snapshots;
}

typedef struct entry {
  const mfr_loaded *loaded;
  mfr_call *call;
  lua_CFunction stage;
  const mfr_buffer *in;
  void *work;
  uint64_t number;
} entry;

/* What is known of the types of one store is wrong for another. */
static void adapt_store(lua_State *S, mfr_domain *domain, uint64_t number) {
  if (domain->store_number == number) return;
  domain->store_number = 0; /* should the next lines fail */
  mfr_events_open(S, domain->store->seed);
  lua_setiuservalue(S, -2, MFR_STORE_EVENTS);
  lua_newtable(S);
  lua_setiuservalue(S, -2, MFR_STORE_TYPES);
  domain->store_number = domain->store->number = number;
}

static int enter(lua_State *S) {
  entry *e = lua_touserdata(S, 1);
  mfr_domain *domain = e->loaded->domain;
  lua_settop(S, 0);
  luaL_checkstack(S, 12, "call");
  lua_rawgeti(S, LUA_REGISTRYINDEX, domain->store_ref);
  adapt_store(S, domain, e->number);
  lua_rawgeti(S, LUA_REGISTRYINDEX, e->loaded->ref);
  lua_pushlightuserdata(S, (void *)(uintptr_t)e->in);
  lua_pushlightuserdata(S, e->work);
  mfr_protect(S, domain->state, e->call, e->stage, 4, 0);
  return 0;
}

int mfr_domain_enter(const mfr_loaded *loaded, mfr_store *store, mfr_call *call,
                     lua_CFunction stage, const mfr_buffer *in, void *work) {
  mfr_domain *domain = loaded->domain;
  entry e = {loaded, call, stage, in, work, store ? store->number : domain->store_number};
  if (domain->running)
    return mfr_domain_fail(domain, MF_INVALID_ARGUMENT,
                           "%s is running: it cannot be called from its own print", domain->path);
  if (store) {
    domain->store->store = store->store;
    domain->store->txn = store->txn;
    domain->store->seed = store->seed;
    domain->store->outcome = store->outcome;
    domain->store->dry_run = store->dry_run;
  }
  domain->running = true;
  domain->call = call;
  call->loaded = loaded;
  call->store = domain->store;
  int status = mfr_domain_call(domain, enter, &e);
  /* Memory that states take which may be needed later is given up for what is needed now. */
  if (status != MF_OK && mfr_sandbox_ran_out(domain->sandbox) &&
      mfr_cache_has_others(domain->state->cache, call)) {
    mfr_cache_clear(domain->S, domain->state->cache);
    mfr_sandbox_collect(domain->state);
    status = mfr_domain_call(domain, enter, &e);
  }
  call->store = store;
  domain->running = false;
  domain->store->store = NULL;
  domain->store->txn = NULL;
  domain->store->outcome = NULL;
  domain->state->keeping = NULL;
  if (status == MF_REJECTED && call->refusal.size > 0) {
    mf_error error;
    if (mfr_kept_refusal(loaded, store, call, &error) != MF_OK)
      status = mfr_domain_fail(domain, error.code, "the refused command could not be kept: %s",
                               error.message);
  }
  mfr_buffer_free(&call->refusal);
  return settle(domain, status);
}
