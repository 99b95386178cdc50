/*
 * What a C host sees: runtime.h. A runtime is a store and the domains that were loaded into it;
 * each load has a sandbox of its own, so that one that fails is thrown away as a whole. Nothing
 * here raises: what can runs in a protected call of a sandbox.
 */
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

/* What is told of a failure: strings, in this order, and numbers. */
static const char *const detail_fields[] = {"message",      "file", "stream",    "event_type",
                                            "command_type", "path", "traceback", "reason"};
enum { MESSAGE, FILE_NAME, STREAM, EVENT_TYPE, COMMAND_TYPE, PATH, TRACEBACK, REASON, DETAILS };

typedef struct details {
  char *strings[DETAILS];
  mfr_buffer detail; /* what was given to moonfold.reject: JSON, or encoded */
  mf_script_error told;
  int64_t current; /* MF_VERSION_CONFLICT */
} details;

struct mf_runtime {
  mf_runtime_options options;
  mfr_store *store;
  size_t count;
  mfr_domain **domains;
  details failure;
  char *problem;           /* why scripts could not be loaded again; NULL: they could */
  mfr_functions functions; /* of the host; `running` while it is called, print's log included */
  int64_t queue;           /* whose events the states hold that were folded in it */
  mfr_outcome *queued;     /* of those events; NULL: there are none */
  mfr_steps steps;
};

/* ---- failures ---- */

static void forget_failure(details *d) {
  for (int i = 0; i < DETAILS; i++)
    free(d->strings[i]);
  mfr_buffer_free(&d->detail);
  memset(d, 0, sizeof *d);
}

static void tell(details *d, int status) {
  mf_script_error *told = &d->told;
  told->code = status;
  told->message = d->strings[MESSAGE] ? d->strings[MESSAGE] : mf_strerror(status);
  told->file = d->strings[FILE_NAME];
  told->stream = d->strings[STREAM];
  told->event_type = d->strings[EVENT_TYPE];
  told->command_type = d->strings[COMMAND_TYPE];
  told->path = d->strings[PATH];
  told->traceback = d->strings[TRACEBACK];
}

/* Fills the caller's mf_error from what is known. Returns the status. */
static int report(const mf_runtime *runtime, int status, mf_error *error) {
  if (!error || status >= 0) return status;
  *error = (mf_error){status, runtime->failure.current, SIZE_MAX, ""};
  snprintf(error->message, sizeof error->message, "%s", runtime->failure.told.message);
  return status;
}

__attribute__((format(printf, 4, 5))) static int refuse(mf_runtime *runtime, int status,
                                                        mf_error *error, const char *format, ...) {
  char message[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  forget_failure(&runtime->failure);
  runtime->failure.strings[MESSAGE] = strdup(message);
  tell(&runtime->failure, status);
  return report(runtime, status, error);
}

/* While the host's own code runs, called by a script, the runtime is in the middle of something. */
int mfr_runtime_is_inside(const mf_runtime *runtime, mf_error *error) {
  if (!runtime->functions.running) return MF_OK;
  if (error)
    *error = (mf_error){MF_INVALID_ARGUMENT, 0, SIZE_MAX,
                        "the runtime is called from a function that its script has called: such a "
                        "function computes, and the log function only notes the line"};
  return MF_INVALID_ARGUMENT;
}

typedef struct collecting {
  mfr_domain *domain;
  details *out;
  bool values;
} collecting;

static int64_t integer_of(lua_State *S, const char *field) {
  lua_getfield(S, 2, field);
  int64_t value = lua_tointeger(S, -1);
  lua_pop(S, 1);
  return value;
}

/* In S: copies what the error object tells. */
static int collect(lua_State *S) {
  const collecting *c = lua_touserdata(S, 1);
  details *d = c->out;
  mfr_push_failure(S, c->domain);
  for (int i = 0; i < DETAILS; i++) {
    lua_getfield(S, 2, detail_fields[i]);
    if (lua_type(S, -1) == LUA_TSTRING) d->strings[i] = strdup(lua_tostring(S, -1));
    lua_pop(S, 1);
  }
  d->told.line = (int)integer_of(S, "line");
  d->told.position = integer_of(S, "position");
  d->current = integer_of(S, "current");
  if (lua_getfield(S, 2, "detail") != LUA_TNIL)
    mfr_value_into(S, mfr_domain_state(c->domain), &d->detail, c->values, lua_gettop(S), "detail");
  return 0;
}

/* The domain's last call failed: notes why. */
static int domain_failed(mf_runtime *runtime, mfr_domain *domain, int status, mf_error *error) {
  collecting c = {domain, &runtime->failure, runtime->options.values};
  mfr_domain_call(domain, collect, &c); /* what does not fit into memory is left out */
  tell(&runtime->failure, status);
  return report(runtime, status, error);
}

const mf_script_error *mf_runtime_error(const mf_runtime *runtime) {
  static const mf_script_error none = {
      MF_OK, "no call has failed", NULL, 0, NULL, 0, NULL, NULL, NULL, NULL};
  return runtime->failure.told.message ? &runtime->failure.told : &none;
}

/* ---- runtimes ---- */

int mf_runtime_new(mf_store *store, const mf_runtime_options *options, mf_runtime **runtime,
                   mf_error *error) {
  mf_runtime *r = calloc(1, sizeof *r);
  *runtime = NULL;
  if (r) r->store = calloc(1, sizeof *r->store + 1);
  if (!r || !r->store) {
    free(r);
    if (error) *error = (mf_error){MF_NO_MEMORY, 0, SIZE_MAX, "no memory for a runtime"};
    return MF_NO_MEMORY;
  }
  /* A host that was compiled for an older, shorter structure leaves the rest at 0. */
  if (options && options->size <= sizeof r->options) memcpy(&r->options, options, options->size);
  if (r->options.keep_count < 0 || r->options.keep_age < 0) {
    mf_runtime_free(r);
    if (error)
      *error = (mf_error){MF_INVALID_ARGUMENT, 0, SIZE_MAX,
                          "options.keep_count, options.keep_age: they are not negative"};
    return MF_INVALID_ARGUMENT;
  }
  r->functions.twice = r->options.check_functions;
  r->store->store = store;
  r->store->seed = mf_store_seed(store);
  r->store->number = 1;
  *runtime = r;
  return MF_OK;
}

void mf_runtime_free(mf_runtime *runtime) {
  if (!runtime) return;
  for (size_t i = 0; i < runtime->count; i++)
    mfr_domain_free(runtime->domains[i]);
  free(runtime->domains);
  mfr_functions_free(&runtime->functions);
  free(runtime->problem);
  forget_failure(&runtime->failure);
  mfr_outcome_end(&runtime->queued, false);
  mfr_free_steps(&runtime->steps);
  free(runtime->store);
  free(runtime);
}

void mfr_runtime_join(mf_runtime *runtime, mf_txn *txn) {
  runtime->store->txn = txn;
}

void mfr_runtime_join_queue(mf_runtime *runtime, mf_txn *txn, int64_t queue, bool empty) {
  if (runtime->queue != queue || empty) mfr_outcome_end(&runtime->queued, runtime->queue == queue);
  if (!runtime->queued) runtime->queued = mfr_outcome_new(NULL);
  runtime->queue = queue;
  runtime->store->txn = txn;
  runtime->store->outcome = runtime->queued;
  runtime->store->dry_run = true; /* it is a read transaction */
}

void mfr_runtime_leave_queue(mf_runtime *runtime) {
  runtime->store->txn = NULL;
  runtime->store->outcome = NULL;
  runtime->store->dry_run = false;
}

void mfr_runtime_forget_queued(mf_runtime *runtime) {
  runtime->store->outcome = NULL;
  mfr_outcome_end(&runtime->queued, false);
}

mfr_keeping mfr_runtime_keeping(const mf_runtime *runtime) {
  const mf_runtime_options *o = &runtime->options;
  return (mfr_keeping){o->keep_commands, o->keep_count ? o->keep_count : -1,
                       o->keep_age ? o->keep_age : -1};
}

mf_store *mfr_runtime_store(const mf_runtime *runtime) {
  return runtime->store->store;
}

mfr_steps *mfr_runtime_steps(mf_runtime *runtime) {
  return &runtime->steps;
}

/* ---- loading ---- */

static void log_line(void *context, const char *text, size_t size, const mfr_call *call) {
  mf_runtime *runtime = context;
  char stream[MF_STREAM_NAME_MAX + 1] = "";
  mf_log_line line = {text, size, NULL, NULL, 0};
  if (!runtime->options.log) return;
  if (call && call->phase) {
    memcpy(stream, call->stream.data, call->stream.size);
    line.phase = call->phase;
    line.stream = stream;
    if (call->event.position && strcmp(call->phase, "decide") != 0)
      line.position = call->event.version;
  }
  runtime->functions.running = true;
  runtime->options.log(runtime->options.log_context, &line);
  runtime->functions.running = false;
}

typedef struct parsing {
  mfr_state *state;
  const char *json;
  mfr_buffer out;
} parsing;

static int parse_params(lua_State *S) {
  parsing *p = lua_touserdata(S, 1);
  mfr_parse_json(S, p->state, p->json, strlen(p->json), true, 1);
  mfr_encode(S, p->state, &p->out, -1, "params");
  return 0;
}

static int set_params(mfr_domain *domain, const char *json) {
  parsing p = {mfr_domain_state(domain), json, {NULL, 0, 0}};
  int status = mfr_domain_call(domain, parse_params, &p);
  if (status == MF_OK)
    mfr_domain_set_params(domain, &p.out);
  else
    mfr_buffer_free(&p.out);
  return status;
}

static int refuse_category(mf_runtime *runtime, const mfr_loaded *one, const mfr_loaded *other,
                           mf_error *error) {
  return refuse(runtime, MF_INVALID_ARGUMENT, error,
                "%.200s and %.200s have the same category \"%.100s\": a stream belongs to one "
                "decider",
                one->path, other->path, one->category);
}

/* A category that is taken, and a domain without any, are refused. */
static int check_categories(mf_runtime *runtime, mfr_domain *domain, mf_error *error) {
  size_t categories = 0;
  for (size_t i = 0; i < mfr_domain_count(domain); i++) {
    const mfr_loaded *loaded = mfr_domain_decider(domain, i);
    if (!loaded->category) continue;
    categories++;
    const mfr_loaded *other = mfr_has_category(runtime->domains, runtime->count, loaded->category);
    if (other) return refuse_category(runtime, other, loaded, error);
  }
  if (categories > 0) return MF_OK;
  return refuse(runtime, MF_INVALID_ARGUMENT, error,
                "%.200s has no category, so no stream finds it: add category = \"cart\" for the "
                "streams cart-*",
                mfr_domain_path(domain));
}

/* Takes the domain over, or frees it. */
static int add_domain(mf_runtime *runtime, mfr_domain *domain, mf_error *error) {
  int status = check_categories(runtime, domain, error);
  mfr_domain **more = NULL;
  if (status == MF_OK) {
    more = realloc(runtime->domains, (runtime->count + 1) * sizeof *more);
    if (!more) status = refuse(runtime, MF_NO_MEMORY, error, "no memory to load scripts");
  }
  if (!more) {
    mfr_domain_free(domain);
    return status;
  }
  runtime->domains = more;
  runtime->domains[runtime->count++] = domain;
  return MF_OK;
}

/* A path, or a name and source text. */
typedef struct loading {
  const char *path, *name, *source, *params;
  size_t size;
} loading;

static int load(mf_runtime *runtime, const loading *what, mf_error *error) {
  mfr_load_options options;
  if (mfr_runtime_is_inside(runtime, error) != MF_OK) return MF_INVALID_ARGUMENT;
  memset(&options, 0, sizeof options);
  options.functions = &runtime->functions;
  options.allocator = (mfr_allocator){runtime->options.allocate, runtime->options.allocate_context};
  options.limits.instructions = runtime->options.budget;
  options.limits.memory = runtime->options.memory;
  options.keeping = mfr_runtime_keeping(runtime);
  options.log = log_line;
  options.log_context = runtime;
  forget_failure(&runtime->failure);
  mfr_domain *domain = mfr_domain_new(&options);
  if (!domain) return refuse(runtime, MF_NO_MEMORY, error, "no memory for a sandbox");
  int status = what->params ? set_params(domain, what->params) : MF_OK;
  if (status == MF_OK)
    status = what->path ? mfr_domain_load(domain, what->path)
                        : mfr_domain_load_string(domain, what->name, what->source, what->size);
  if (status == MF_OK) return add_domain(runtime, domain, error);
  status = domain_failed(runtime, domain, status, error);
  mfr_domain_free(domain);
  return status;
}

int mf_load(mf_runtime *runtime, const char *path, const char *params, mf_error *error) {
  loading what = {path ? path : "", NULL, NULL, params, 0};
  return load(runtime, &what, error);
}

int mf_load_string(mf_runtime *runtime, const char *name, const char *source, size_t size,
                   const char *params, mf_error *error) {
  loading what = {NULL, name, source, params, size};
  if (!name || !source)
    return refuse(runtime, MF_INVALID_ARGUMENT, error, "a name and a source text are needed");
  return load(runtime, &what, error);
}

/* ---- loading again ---- */

/* What is loaded stands in `fresh` by index; NULL: that domain has not changed. */
static void free_fresh(mf_runtime *runtime, mfr_domain **fresh) {
  for (size_t i = 0; i < runtime->count; i++)
    mfr_domain_free(fresh[i]);
  free(fresh);
}

/* The decider of a category that streams belong to must still be there, in whatever file. */
static int check_all_there(mf_runtime *runtime, mfr_domain *old, mfr_domain *fresh,
                           mf_error *error) {
  for (size_t i = 0; i < mfr_domain_count(old); i++) {
    const mfr_loaded *loaded = mfr_domain_decider(old, i);
    if (loaded->category && !mfr_has_category(&fresh, 1, loaded->category))
      return refuse(runtime, MF_INVALID_ARGUMENT, error,
                    "%.200s has a decider of the category \"%.100s\" no more, and streams belong "
                    "to it",
                    loaded->path, loaded->category);
  }
  return MF_OK;
}

/* No two of what will be loaded have one category. */
static int check_fresh(mf_runtime *runtime, mfr_domain **fresh, mf_error *error) {
  for (size_t i = 0; i < runtime->count; i++) {
    if (!fresh[i]) continue;
    int status = check_all_there(runtime, runtime->domains[i], fresh[i], error);
    for (size_t k = 0; status == MF_OK && k < mfr_domain_count(fresh[i]); k++) {
      const mfr_loaded *loaded = mfr_domain_decider(fresh[i], k);
      for (size_t j = 0; loaded->category && j < runtime->count; j++) {
        mfr_domain *other = fresh[j] ? fresh[j] : runtime->domains[j];
        const mfr_loaded *taken = j == i ? NULL : mfr_has_category(&other, 1, loaded->category);
        if (taken) return refuse_category(runtime, taken, loaded, error);
      }
    }
    if (status != MF_OK) return status;
  }
  return MF_OK;
}

static mfr_change any_has_changed(const mf_runtime *runtime) {
  mfr_change most = MFR_SAME;
  for (size_t i = 0; i < runtime->count && most != MFR_CHANGED; i++) {
    mfr_change change = mfr_watch_changed(mfr_domain_watch(runtime->domains[i]), false);
    if (change > most) most = change;
  }
  return most;
}

/* Whether this was told before; it is noted. */
static bool told_before(mf_runtime *runtime) {
  char *now = strdup(runtime->failure.told.message);
  bool before = now && runtime->problem && strcmp(now, runtime->problem) == 0;
  free(runtime->problem);
  runtime->problem = now;
  return before;
}

/* Loads what has changed, and what had changed when it could not be taken over. */
static int load_fresh(mf_runtime *runtime, mfr_domain **fresh, mf_error *error) {
  for (size_t i = 0; i < runtime->count; i++) {
    mfr_domain *domain = runtime->domains[i];
    if (!mfr_domain_is_stale(domain) && !mfr_watch_changed(mfr_domain_watch(domain), false))
      continue;
    fresh[i] = mfr_domain_again(domain);
    if (!fresh[i]) return refuse(runtime, MF_NO_MEMORY, error, "no memory for a sandbox");
    int status = mfr_domain_load(fresh[i], mfr_domain_path(domain));
    if (status != MF_OK) return domain_failed(runtime, fresh[i], status, error);
  }
  return check_fresh(runtime, fresh, error);
}

/* Whether that brought other code. */
static bool replace_all(mf_runtime *runtime, mfr_domain **fresh) {
  bool changed = false;
  for (size_t i = 0; i < runtime->count; i++) {
    mfr_domain *domain = runtime->domains[i];
    if (!fresh[i]) continue;
    mfr_domain_set_stale(domain, false);
    if (mfr_domain_same(domain, fresh[i])) {
      mfr_watch_move(mfr_domain_watch(domain), mfr_domain_watch(fresh[i]));
      continue;
    }
    runtime->domains[i] = fresh[i];
    fresh[i] = domain; /* to be freed */
    changed = true;
  }
  return changed;
}

/* The files were looked at, as they are now. */
static void keep_all(mf_runtime *runtime, mfr_domain **fresh) {
  for (size_t i = 0; i < runtime->count; i++) {
    if (!fresh[i]) continue;
    mfr_watch_merge(mfr_domain_watch(runtime->domains[i]), mfr_domain_watch(fresh[i]));
    mfr_domain_set_stale(runtime->domains[i], true);
  }
}

int mf_reload(mf_runtime *runtime, bool *changed, mf_error *error) {
  if (changed) *changed = false;
  int status = mfr_runtime_is_inside(runtime, error);
  mfr_change change = status == MF_OK ? any_has_changed(runtime) : MFR_SAME;
  if (change == MFR_SAME) return status;
  forget_failure(&runtime->failure);
  mfr_domain **fresh = calloc(runtime->count, sizeof *fresh);
  if (!fresh) return refuse(runtime, MF_NO_MEMORY, error, "no memory to load scripts");
  status = load_fresh(runtime, fresh, error);
  bool other = status == MF_OK && replace_all(runtime, fresh);
  if (status != MF_OK) keep_all(runtime, fresh);
  if (changed) *changed = other;
  free_fresh(runtime, fresh);
  if (status != MF_OK) return told_before(runtime) && change == MFR_IN_DOUBT ? MF_OK : status;
  free(runtime->problem);
  runtime->problem = NULL;
  return MF_OK;
}

/* ---- functions of the host ---- */

int mf_add_function(mf_runtime *runtime, const mf_host_function *given, mf_error *error) {
  mf_host_function function = {0};
  int status = mfr_runtime_is_inside(runtime, error);
  if (status != MF_OK) return status;
  if (given->size <= sizeof function) memcpy(&function, given, given->size);
  if (!function.name || !mfr_is_name(function.name, strlen(function.name)))
    return refuse(runtime, MF_INVALID_ARGUMENT, error,
                  "function.name: letters, digits and _, at most 40, and no digit first");
  if (!function.call)
    return refuse(runtime, MF_INVALID_ARGUMENT, error, "function.call: it is missing");
  if (mfr_functions_find(&runtime->functions, function.name))
    return refuse(runtime, MF_INVALID_ARGUMENT, error, "there is a function \"%s\" already",
                  function.name);
  if (runtime->count > 0)
    return refuse(runtime, MF_INVALID_ARGUMENT, error,
                  "scripts are loaded already: add \"%s\" before them", function.name);
  if (mfr_functions_add(&runtime->functions, &function)) return MF_OK;
  return refuse(runtime, MF_NO_MEMORY, error, "no memory for a function");
}

/* ---- commands and states ---- */

/* The decider that owns the stream, or NULL and a failure. */
static const mfr_loaded *owner_of(mf_runtime *runtime, const char *stream, mf_error *error) {
  char message[512];
  mfr_text name = {stream, stream ? strlen(stream) : 0};
  if (mfr_runtime_is_inside(runtime, error) != MF_OK) return NULL;
  forget_failure(&runtime->failure);
  if (name.size < 1 || name.size > MF_STREAM_NAME_MAX) {
    refuse(runtime, MF_INVALID_ARGUMENT, error, "a stream's name has 1 to %d bytes, this has %zu",
           MF_STREAM_NAME_MAX, name.size);
    return NULL;
  }
  const mfr_loaded *owner = mfr_owner_of(runtime->domains, runtime->count, name);
  if (owner) return owner;
  mfr_say_no_owner(runtime->domains, runtime->count, name, message);
  refuse(runtime, MF_INVALID_ARGUMENT, error, "%s", message);
  return NULL;
}

void mfr_give_result(const mfr_buffer *buffer, bool value, char **text, mf_value *out) {
  const uint8_t *bytes = (const uint8_t *)buffer->data;
  if (value && bytes)
    *out = (mf_value){bytes, bytes + buffer->size};
  else
    *text = buffer->data;
}

static void take(char **to, char **from) {
  *to = *from;
  *from = NULL;
}

typedef struct handling {
  mf_runtime *runtime;
  const mfr_loaded *loaded;
  mfr_text stream;
  const mf_command *command;
  mf_result *result;
  int status; /* of the script's part */
  bool shared;
  mfr_outcome *outcome; /* of the transaction that is shared, in this try */
} handling;

/* mf_work. The error says nothing where it is the sandbox that knows of the failure. */
static int handle_in(mf_txn *txn, void *context, mf_error *error) {
  handling *h = context;
  mf_result_free(h->result); /* of a try before, whose commit failed */
  mfr_runtime_join(h->runtime, txn);
  if (h->shared) {
    mfr_outcome_end(&h->outcome, false);
    h->outcome = mfr_outcome_new(NULL);
    h->runtime->store->outcome = h->outcome;
  }
  h->status = mfr_c_handle(h->loaded, h->runtime->store, h->stream, h->command,
                           h->runtime->options.values, h->result, error);
  mfr_runtime_join(h->runtime, NULL);
  if (h->shared) h->runtime->store->outcome = NULL;
  /* A refusal that is kept is committed; without, a piece of work that fails leaves nothing. */
  bool kept = h->shared && h->status == MF_REJECTED && h->runtime->options.keep_commands;
  return kept ? MF_OK : h->status;
}

/*
 * Where commits are synced, commands that wait together share one: then the whole call is a piece
 * of work, which runs in whichever thread leads, while this one sleeps. Where they are not, sharing
 * gains nothing, and the fold that goes before the write lock would be lost.
 */
static int handle_alone_or_shared(handling *h, mf_error *error) {
  mf_store *store = h->runtime->store->store;
  mf_txn *given = h->command->txn;
  if (given || h->command->dry_run || mf_store_durability(store) == MF_NONE)
    return handle_in(given, h, error);
  memset(error, 0, sizeof *error);
  h->shared = true;
  int status = mf_transact(store, handle_in, h, error);
  mfr_outcome_end(&h->outcome, status == MF_OK);
  if (status < 0 && h->status >= 0) mf_result_free(h->result); /* the commit failed */
  return status == MF_OK ? h->status : status;
}

int mf_handle(mf_runtime *runtime, const char *stream, const mf_command *given, mf_result *result,
              mf_error *error) {
  mf_command command = MF_COMMAND_INIT;
  mf_error commit;
  memset(result, 0, sizeof *result);
  const mfr_loaded *loaded = owner_of(runtime, stream, error);
  if (!loaded) return MF_INVALID_ARGUMENT;
  if (given && given->size <= sizeof command) memcpy(&command, given, given->size);
  if (!command.type)
    return refuse(runtime, MF_INVALID_ARGUMENT, error, "%s: a string is needed",
                  given ? "command.type" : "command");
  if (!loaded->decides)
    return refuse(runtime, MF_INVALID_ARGUMENT, error,
                  "%s has no decide, so it can be folded and cannot handle commands", loaded->file);
  handling h = {runtime, loaded, {stream, strlen(stream)}, &command, result, MF_OK, false, NULL};
  int status = handle_alone_or_shared(&h, &commit);
  if (status == MF_OK) return MF_OK;
  if (commit.code != MF_OK) return refuse(runtime, commit.code, error, "%s", commit.message);
  status = domain_failed(runtime, loaded->domain, status, error);
  if (status != MF_REJECTED) return status;
  details *d = &runtime->failure;
  take(&result->reason, &d->strings[REASON]);
  take(&result->message, &d->strings[MESSAGE]);
  mfr_give_result(&d->detail, runtime->options.values, &result->detail, &result->detail_value);
  memset(&d->detail, 0, sizeof d->detail);
  forget_failure(d);
  return MF_REJECTED;
}

int mf_aggregate(mf_runtime *runtime, const char *stream, int64_t to, mf_result *result,
                 mf_error *error) {
  mfr_call call = {0};
  mfr_c_fold fold = {to, runtime->options.values, false, 0, {NULL, 0, 0}};
  memset(result, 0, sizeof *result);
  const mfr_loaded *loaded = owner_of(runtime, stream, error);
  if (!loaded) return MF_INVALID_ARGUMENT;
  if (to < 0)
    return refuse(runtime, MF_INVALID_ARGUMENT, error, "to: %lld is negative", (long long)to);
  call.stream = (mfr_text){stream, strlen(stream)};
  int status = mfr_domain_enter(loaded, runtime->store, &call, mfr_c_fold_stage, NULL, &fold);
  mfr_call_release(&call);
  if (status != MF_OK) {
    mfr_buffer_free(&fold.state);
    return domain_failed(runtime, loaded->domain, status, error);
  }
  mfr_give_result(&fold.state, fold.values, &result->state, &result->state_value);
  result->version = fold.version;
  result->exists = fold.exists;
  return MF_OK;
}

int mfr_check_owner(mf_runtime *runtime, const char *stream, mf_error *error) {
  return owner_of(runtime, stream, error) ? MF_OK : MF_INVALID_ARGUMENT;
}

int mfr_runtime_warm(mf_runtime *runtime, const char *stream, mfr_c_warm *warm, mf_error *error) {
  mfr_call call = {0};
  const mfr_loaded *loaded = owner_of(runtime, stream, error);
  if (!loaded) return MF_INVALID_ARGUMENT;
  call.stream = (mfr_text){stream, strlen(stream)};
  call.deadline = warm->deadline;
  int status = mfr_domain_enter(loaded, runtime->store, &call, mfr_c_warm_stage, NULL, warm);
  mfr_call_release(&call);
  return status == MF_OK ? MF_OK : domain_failed(runtime, loaded->domain, status, error);
}

static void free_value(mf_value value) {
  free((void *)(uintptr_t)value.at); /* the result's own, whatever the type says */
}

void mf_result_free(mf_result *result) {
  if (!result) return;
  free(result->events);
  free(result->state);
  free(result->reason);
  free(result->message);
  free(result->detail);
  free_value(result->events_value);
  free_value(result->state_value);
  free_value(result->detail_value);
  memset(result, 0, sizeof *result);
}
