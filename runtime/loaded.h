/*
 * Deciders that were loaded from script files.
 *
 *   domain.c     scripts that were loaded together, into one sandbox; their deciders and categories
 *   code.c       the code of a decider: sources, digests, and what a store keeps of it
 *   kept.c       commands that are kept with what came of them
 *   watch.c      whether files have changed
 *   cache.c      states that were folded before
 *   functions.c  functions of the host that scripts may call
 *   crossing.c   calls into a sandbox, and what crosses its border: values, events, errors
 *   loaded.c     what a Lua host sees: moonfold.load_decider, store:use
 *   runtime.c    what a C host sees: runtime.h
 *   queue.c      its commands that do not wait for the disk
 *   subscription.c, step.c   its events as they come, and work in slices
 *
 * The same C code serves table deciders in the host's state H and loaded ones in the sandbox's
 * state S. Nothing else is shared between the two: values cross as the codec's bytes, errors as
 * code, message and fields.
 */
#ifndef MF_RUNTIME_LOADED_H
#define MF_RUNTIME_LOADED_H

#include "digest.h"
#include "internal.h"
#include "sandbox.h"

typedef struct mfr_domain mfr_domain;

/* ---- watch.c ---- */

typedef struct mfr_stamp mfr_stamp;

typedef struct mfr_watch {
  mfr_stamp *stamps;
  size_t count;
  bool lost; /* there was no memory for one more: it may have changed */
} mfr_watch;

void mfr_watch_add(mfr_watch *watch, const char *path); /* as the file is now */
/* Whether a file has changed, or may have: what was written just before it was added cannot be told
 * from what was written just after. `in_doubt`: says so at once, and whenever it is asked; else
 * when the file has not been written to for 100 ms. */
typedef enum mfr_change { MFR_SAME, MFR_IN_DOUBT, MFR_CHANGED } mfr_change;
mfr_change mfr_watch_changed(const mfr_watch *watch, bool in_doubt);
/* The files of `from`, as they were when they were added there, take the place of those of `watch`,
 * or, where it is not known that they are all, are added to them; those are looked at anew. */
void mfr_watch_move(mfr_watch *watch, mfr_watch *from);
void mfr_watch_merge(mfr_watch *watch, mfr_watch *from);
void mfr_watch_free(mfr_watch *watch);

/* One decider of a domain. It lives as long as the domain. */
typedef struct mfr_loaded {
  mfr_domain *domain;
  int ref;          /* the decider's table, in the registry of S */
  const char *name; /* strings of S, which the decider's table keeps; may be NULL */
  const char *category;
  const char *path; /* of its file */
  const char *file; /* the same, relative to the domain's folder, for messages */
  bool decides;     /* it has decide */
  mfr_digests digests;
  mfr_buffer code;              /* what a store keeps of it, encoded */
  uint64_t kept_in;             /* number of the host's store that has it */
  const char *snapshot_refusal; /* why its states cannot be stored; NULL: they can. Static */
} mfr_loaded;

/* ---- functions.c ---- */

/* A function of the host that scripts may call. */
typedef struct mfr_function {
  struct mfr_functions *all;
  mf_host_function given; /* its strings are our own */
  mf_builder *results[2];
} mfr_function;

typedef struct mfr_functions {
  size_t count;
  mfr_function **list;
  bool twice;   /* each call is made twice, and the results compared */
  bool running; /* the host's code runs, called by ours: it may not call back */
} mfr_functions;

/* Copies one into the list. False: no memory. */
bool mfr_functions_add(mfr_functions *functions, const mf_host_function *function);
void mfr_functions_free(mfr_functions *functions);
/* NULL: there is none of this name. The list may be NULL. */
const mfr_function *mfr_functions_find(const mfr_functions *functions, const char *name);
/* Gives them to the scripts that are loaded from now on. The list must outlive the sandbox. */
int mfr_functions_open(mfr_sandbox *sandbox, const mfr_functions *functions);

/* Which commands are kept. */
typedef struct mfr_keeping {
  bool on;
  int64_t count, age; /* at most so many, and none older than so many microseconds; negative: all */
} mfr_keeping;

typedef struct mfr_load_options {
  mfr_limits limits;
  mfr_allocator allocator;
  mfr_keeping keeping;
  int64_t cache; /* states to keep; negative: the default; 0: none */
  bool no_snapshots;
  mfr_buffer params;              /* encoded; no size: none */
  const mfr_functions *functions; /* of the host; NULL: none. Outlive the domain */
  /* Called for each line that a script prints. It must not call into the domain. */
  void (*log)(void *context, const char *line, size_t size, const mfr_call *call);
  void *log_context;
} mfr_load_options;

/* A sandbox with nothing in it. NULL: no memory. `params` is copied. */
mfr_domain *mfr_domain_new(const mfr_load_options *options);
void mfr_domain_free(mfr_domain *domain);
lua_State *mfr_domain_lua(const mfr_domain *domain);
mfr_state *mfr_domain_state(const mfr_domain *domain);

/*
 * Loads a file or every script of a folder; or source text, with a name for messages. All or
 * nothing: on failure a status is returned, mfr_push_failure() tells more, and the domain is only
 * good for being freed.
 */
int mfr_domain_load(mfr_domain *domain, const char *path);
int mfr_domain_load_string(mfr_domain *domain, const char *name, const char *source, size_t size);

/* Another domain, with nothing in it, of the same options. NULL: no memory. */
mfr_domain *mfr_domain_again(const mfr_domain *domain);
/* The files that were read, also where loading failed. */
mfr_watch *mfr_domain_watch(mfr_domain *domain);
/* Whether its files are known to hold something else, which could not be taken over. */
bool mfr_domain_is_stale(const mfr_domain *domain);
void mfr_domain_set_stale(mfr_domain *domain, bool stale);
/* Whether both have the same deciders of the very same sources. */
bool mfr_domain_same(const mfr_domain *a, const mfr_domain *b);
/* The decider of a file. NULL: it has none. */
const mfr_loaded *mfr_domain_find(const mfr_domain *domain, const char *path);
/* Puts an error of the domain's own into the place of its last failure; returns the status. */
int mfr_domain_fail(mfr_domain *domain, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

size_t mfr_domain_count(const mfr_domain *domain);
const mfr_loaded *mfr_domain_decider(const mfr_domain *domain, size_t i);
bool mfr_domain_is_folder(const mfr_domain *domain);
const char *mfr_domain_path(const mfr_domain *domain); /* what was loaded, as it was named */

/* The decider of these domains whose category the stream has, the longest that fits; or NULL. */
const mfr_loaded *mfr_owner_of(mfr_domain *const *domains, size_t count, mfr_text stream);
/* The decider that has exactly this category, or NULL. */
const mfr_loaded *mfr_has_category(mfr_domain *const *domains, size_t count, const char *category);
/* Why there is none, and which categories there are. */
void mfr_say_no_owner(mfr_domain *const *domains, size_t count, mfr_text stream, char message[512]);

/* Runs `body` in S, protected and metered, with `argument` as a light userdata. */
int mfr_domain_call(mfr_domain *domain, lua_CFunction body, void *argument);
/* In S: pushes what the last failed call raised, as an error object that tells the place. Raises
 * when memory is out. [-0, +1] */
void mfr_push_failure(lua_State *S, mfr_domain *domain);
/* Takes the buffer over: what scripts receive as `...`. */
void mfr_domain_set_params(mfr_domain *domain, mfr_buffer *params);

/* The Lua state that calls, for `print`. */
void mfr_domain_set_host(mfr_domain *domain, lua_State *L);
lua_State *mfr_domain_host(const mfr_domain *domain);

/* ---- code.c ---- */

/* The source texts of a script and of what it requires, while it loads; then what they gave. */
typedef struct mfr_sources {
  mfr_state *state;
  const mfr_source *script;
  mf_bytes params;
  mfr_chunk *chunks;
  size_t count;
  bool failed;
  mfr_digests digests;
  mfr_buffer code;
} mfr_sources;

void mfr_sources_begin(mfr_sources *sources, mfr_state *state, mfr_source *script);
void mfr_sources_free(mfr_sources *sources);
void mfr_push_digest(lua_State *L, const void *bytes); /* as hexadecimal digits */
/* Whether the store that the domain works for is known to keep the decider's code. */
bool mfr_code_is_kept(const mfr_loaded *loaded);
void mfr_note_code_kept(const mfr_loaded *loaded);
/* Pushes what the decider computes that is not the same on all processors: a list of { path, line }
 * where its source has `^`. [-0, +1] */
void mfr_push_inexact(lua_State *L, mfr_state *state, const mfr_loaded *loaded);
int mfr_code(lua_State *L);  /* store:code */
int mfr_codes(lua_State *L); /* store:codes */

int mfr_kept(lua_State *L);           /* store:kept */
int mfr_drop_snapshots(lua_State *L); /* store:drop_snapshots */

/* ---- kept.c ---- */

/* A command that is about to be decided. */
typedef struct mfr_asked {
  int command;               /* stack index */
  int64_t version, position; /* of its stream and the log */
  int64_t recorded_at;
  const uint8_t *seed; /* 16 bytes */
} mfr_asked;

/* What came of it. */
typedef struct mfr_answered {
  size_t events;
  int64_t first_position;
} mfr_answered;

const mfr_keeping *mfr_keeping_of(const mfr_loaded *loaded);
void mfr_keeping_option(lua_State *L, const mfr_state *state, int index, mfr_keeping *out);
bool mfr_keeps_commands(const mfr_call *call);
/* Begins the record of a command; tells what its context has looked at; ends it, when its events
 * are staged. */
void mfr_kept_begin(lua_State *L, mfr_state *state, mfr_call *call, const mfr_asked *asked);
void mfr_kept_reads(lua_State *L, const mfr_state *state, int context);
void mfr_kept_accept(lua_State *L, mfr_state *state, mfr_call *call, const mfr_answered *answer);
/* Of a call that was refused, when what it staged is gone: keeps its command. Raises nothing. */
/* Bounds what is kept, from the transaction's commit on. */
void mfr_kept_bound(mf_txn *txn, const mfr_keeping *keeping, int64_t now);
int mfr_kept_refusal(const mfr_loaded *loaded, mfr_store *store, mfr_call *call, mf_error *error);

/* ---- cache.c ---- */

typedef struct mfr_cache mfr_cache;

/* At most so many states, and none but the newest beyond so many bytes of the sandbox. NULL: no
 * memory. */
mfr_cache *mfr_cache_new(size_t most, size_t memory);
void mfr_cache_free(mfr_cache *cache);
/* Lets all states go. */
void mfr_cache_clear(lua_State *L, mfr_cache *cache);
/* Whether states are kept that the call does not need: of other streams, or two of its own. */
bool mfr_cache_has_others(const mfr_cache *cache, const mfr_call *call);

/* Prepares a decider's parts for what follows, when the call is that of a loaded one. */
void mfr_know_decider(lua_State *L, const mfr_state *state, const mfr_call *call, int decider,
                      mfr_decider *d);
/*
 * Puts the newest state that is known, at `most` or before, into its place, and returns its
 * version; else the initial one, and 0.
 */
int64_t mfr_recall(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d, int64_t most);
/* To be called before something is folded into the state: if it is the one that is kept, it is not
 * to be found until it is remembered again. */
void mfr_forget(lua_State *L, mfr_state *state, const mfr_call *call, const mfr_decider *d);
/* Keeps the state, at this version. `decided`: it holds events that the call itself has staged. */
void mfr_remember(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d,
                  int64_t version, bool decided);
/* mfr_encode(); false, and nothing added, where that would raise. */
bool mfr_try_encode(lua_State *L, mfr_state *state, mfr_buffer *out, int index);
/* Encodes a state for mfr_decode_exactly(), if that loses nothing of it; else returns why not. */
const char *mfr_encode_state(lua_State *L, mfr_state *state, mfr_buffer *out, int index);
/* Take a snapshot when one is due: in the transaction of the call, or in one of its own. */
void mfr_snapshot_with(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d,
                       int64_t version);
void mfr_snapshot_alone(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d,
                        int64_t version);
bool mfr_takes_snapshots(const mfr_loaded *loaded);
/* Why the last snapshot that was due was not taken; NULL: it was. */
void mfr_note_refusal(const mfr_loaded *loaded, const char *why);

/* ---- crossing.c ---- */

/* An event as a copy of its bytes, for a buffer that another state reads. */
void mfr_keep_event(lua_State *L, mfr_buffer *out, const mf_event *event);
/* Reads it back; returns where the next one begins. It points into the buffer. */
size_t mfr_kept_event(const mfr_buffer *buffer, size_t at, mfr_text stream, mf_event *event);
/* A value, or nil, with its size before it. [-0, +0] and [-0, +1] */
void mfr_encode_sized(lua_State *L, mfr_state *state, mfr_buffer *out, int index, const char *path);
void mfr_decode_sized(lua_State *L, mfr_state *state, const mfr_buffer *in, size_t *at);
/* mfr_decode() of bytes that are our own. [-0, +1] */
void mfr_decode_here(lua_State *L, mfr_state *state, const void *data, size_t size);

/*
 * Runs `stage` in the sandbox of a decider, for a call of the host's store: the transaction that is
 * open there is used here, and stays open when the stage has done its part, for the host to commit.
 * Its arguments: call, the store as S sees it, the decider's table, and `in` and `work` as light
 * userdata. An error there is raised here, with everything that the call has done taken back.
 */
void mfr_enter(lua_State *L, mfr_state *state, const mfr_loaded *loaded, mfr_call *call,
               lua_CFunction stage, const mfr_buffer *in, void *work);
/* The same without a Lua host: returns a status. `store` may be NULL where the stage needs none. */
int mfr_domain_enter(const mfr_loaded *loaded, mfr_store *store, mfr_call *call,
                     lua_CFunction stage, const mfr_buffer *in, void *work);
int mfr_status_of(const char *code); /* of an error object */
/* Pushes on L what the last failed call in S raised, as an error object. [-0, +1] */
void mfr_cross_error(lua_State *L, mfr_state *state, mfr_domain *domain, int status);

/* ---- for C hosts: values cross as JSON, or encoded ---- */

/* What is asked of a fold, and what it has come to; all that is made is the caller's to free. */
typedef struct mfr_c_fold {
  int64_t to;
  bool values; /* the state is left encoded */
  bool exists;
  int64_t version;
  mfr_buffer state; /* JSON, or encoded */
} mfr_c_fold;

/* Stages of mfr_domain_enter(), whose `work` they are. */
int mfr_c_fold_stage(lua_State *S); /* fold.c; work: mfr_c_fold */

/* Handles a command for the store, and commits; `values`: the result holds values. Returns a
 * status; `error` is filled where it was the commit that failed, its code else 0, and then the
 * failure is the domain's. handle.c */
int mfr_c_handle(const mfr_loaded *loaded, mfr_store *store, mfr_text stream,
                 const mf_command *command, bool values, mf_result *result, mf_error *error);

/* Appends the value at index, encoded or as JSON with a NUL behind it, to a buffer that no error
 * frees. Raises. */
void mfr_value_into(lua_State *L, mfr_state *state, mfr_buffer *out, bool encoded, int index,
                    const char *path);

/* Hands a buffer over to a result: as a value, or as text. */
void mfr_give_result(const mfr_buffer *buffer, bool value, char **text, mf_value *out);

/* MF_OK, or MF_INVALID_ARGUMENT: a script of the runtime has called the host, which calls it. */
int mfr_runtime_is_inside(const mf_runtime *runtime, mf_error *error);

/* What the runtime does until this is called with NULL, it does in the transaction. runtime.c */
void mfr_runtime_join(mf_runtime *runtime, mf_txn *txn);
/*
 * The transaction holds what is queued, and states that are folded in it may be used again in the
 * next one of the same queue. `queue` tells queues apart, and a queue before a conflict from the
 * same after it. `empty`: nothing is queued, so what was is committed.
 */
void mfr_runtime_join_queue(mf_runtime *runtime, mf_txn *txn, int64_t queue, bool empty);
void mfr_runtime_leave_queue(mf_runtime *runtime);
void mfr_runtime_forget_queued(mf_runtime *runtime); /* the states that were folded in it */
mf_store *mfr_runtime_store(const mf_runtime *runtime);
mfr_keeping mfr_runtime_keeping(const mf_runtime *runtime); /* which commands are kept */

/* ---- step.c ---- */

/* The work that mf_step() has to do for a runtime. */
typedef struct mfr_steps {
  char **streams; /* to be folded, the first one first */
  size_t count;
  mf_subscription *subscriptions;
  int64_t reached; /* the version that the first stream's state stands at */
  int restarts;    /* of that fold, because its state was not kept */
} mfr_steps;

mfr_steps *mfr_runtime_steps(mf_runtime *runtime);
void mfr_free_steps(mfr_steps *steps);
void mfr_add_subscription(mfr_steps *steps, mf_subscription *subscription);
void mfr_remove_subscription(mfr_steps *steps, mf_subscription *subscription);
int64_t mfr_monotonic(void); /* microseconds since some point */

/* Folds until the deadline, and keeps the state. In: where it stood. runtime.c, fold.c */
typedef struct mfr_c_warm {
  int64_t deadline;
  int64_t start, version; /* of the state, before and after */
  bool finished;
} mfr_c_warm;

int mfr_c_warm_stage(lua_State *S);
int mfr_check_owner(mf_runtime *runtime, const char *stream, mf_error *error);
int mfr_runtime_warm(mf_runtime *runtime, const char *stream, mfr_c_warm *warm, mf_error *error);

/* Hands the next event to the subscription's callback: MF_DONE when there is none for now. */
int mfr_subscription_deliver(mf_subscription *subscription, mf_error *error);
mf_subscription **mfr_subscription_next(mf_subscription *subscription); /* the runtime's list */

/* ---- loaded.c ---- */

/* The loaded decider at index, or NULL when it is anything else. */
const mfr_loaded *mfr_to_loaded(lua_State *L, const mfr_state *state, int index);
/* Raises where it cannot do what is asked of it. */
void mfr_check_loaded(lua_State *L, const mfr_state *state, const mfr_loaded *loaded, bool decides);
/*
 * Where the arguments (store, stream, decider, ...) of the call lack the decider, because the store
 * has a domain in use, the one whose category the stream has is put in its place.
 */
void mfr_find_decider(lua_State *L, mfr_state *state, int store, mfr_text stream, bool handling);
int mfr_load_decider(lua_State *L); /* moonfold.load_decider */
int mfr_use(lua_State *L);          /* store:use */
void mfr_loaded_open(lua_State *L, mfr_state *state);

#endif
