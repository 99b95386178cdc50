/*
 * Group commit: of single appends, and of pieces of work that are given a transaction. A commit
 * that is synced costs the same for one append as for a hundred. So single appends are requests in
 * a queue: the first thread that finds nobody leading takes the write lock, and once it has it,
 * writes everything that has queued up meanwhile in one transaction. Each request succeeds or fails
 * on its own, and sees those before it.
 */
#include "internal.h"

typedef struct mf__request {
  struct mf__request *next;
  mf_store *store;
  mf_work *work; /* NULL: an append, of what follows */
  void *context;
  mf_bytes stream;
  const mf_new_event *events;
  size_t count;
  mf_append_options options;
  mf_append_result result;
  mf_error error;
  int status;
  bool done;
} mf__request;

enum { MOST_REQUESTS = 1024 }; /* in one commit */

/*
 * Those whose commit has just ended are about to come back with their next append: a moment's
 * patience lets them share this one. Not for commits that are not synced, which cost less than the
 * wait.
 */
static void let_others_in(mf__env *env, mf_durability level) {
  enum { PATIENCE = 32 };
  if (level == MF_NONE) return;
  for (int i = 0; i < PATIENCE; i++) {
    pthread_mutex_lock(&env->queue_lock);
    bool enough = env->queue_length >= env->last_group;
    pthread_mutex_unlock(&env->queue_lock);
    if (enough) return;
    mf__yield();
  }
}

/* Takes the oldest requests out of the queue. */
static mf__request *take_requests(mf__env *env) {
  pthread_mutex_lock(&env->queue_lock);
  mf__request *first = env->queue, **end = &env->queue;
  size_t taken = 0;
  for (; taken < MOST_REQUESTS && *end; taken++)
    end = &(*end)->next;
  env->queue_length -= taken;
  env->last_group = taken;
  mf__request *rest = *end;
  *end = NULL;
  env->queue = rest;
  if (!rest) env->queue_end = &env->queue;
  pthread_mutex_unlock(&env->queue_lock);
  return first;
}

/* The strongest promise that somebody who shares the commit was given. */
static mf_durability stronger(mf_durability a, mf_durability b) {
  return a < b ? a : b; /* MF_FULL < MF_RELAXED < MF_NONE */
}

/* A piece of work that fails leaves nothing behind, whatever it did before. */
static int run_work(mf_txn *txn, mf__request *r) {
  mf_savepoint before = mf_save(txn);
  memset(&r->error, 0, sizeof r->error);
  int status = r->work(txn, r->context, &r->error);
  if (status == MF_OK && txn->doomed) status = mf__txn_usable(txn, &r->error);
  if (status != MF_OK) mf_rollback(txn, before);
  return status;
}

/* Appends every request and commits. Returns the commit's status, which is that of all requests
 * that were appended. */
static int write_requests(mf_txn *txn, mf__request *first, mf_error *error) {
  bool any = false;
  for (mf__request *r = first; r; r = r->next) {
    if (r->work)
      r->status = run_work(txn, r);
    else
      r->status =
          mf_append(txn, r->stream, r->events, r->count, &r->options, &r->result, &r->error);
    txn->doomed = MF_OK; /* what failed left no trace: the others go on */
    if (r->status != MF_OK) continue;
    txn->durability = stronger(txn->durability, r->store->durability);
    any = true;
  }
  if (any) return mf_commit(txn, error);
  mf_abort(txn);
  return MF_OK;
}

static void write_alone(mf__request *r) {
  mf_txn *txn;
  mf_error error;
  mf__request *next = r->next;
  r->next = NULL;
  r->status = mf_begin(r->store, &txn, &r->error);
  int status = r->status == MF_OK ? write_requests(txn, r, &error) : MF_OK;
  if (status != MF_OK) {
    r->status = status;
    r->error = error;
  }
  r->next = next;
}

/* When the commit of many fails (one of them may be what fills the disk), each is tried on its own.
 */
static void write_group(mf_txn *txn, mf__request *first) {
  mf_error error;
  int status = write_requests(txn, first, &error);
  for (mf__request *r = first; status != MF_OK && r; r = r->next) {
    if (r->status != MF_OK) continue;
    r->status = status;
    r->error = error;
    if (first->next) write_alone(r);
  }
}

static void finish(mf__env *env, mf__request *first) {
  pthread_mutex_lock(&env->queue_lock);
  while (first) {
    mf__request *next = first->next; /* once it is done, its thread may return and it is gone */
    first->done = true;
    first = next;
  }
  pthread_mutex_unlock(&env->queue_lock);
}

/* Writes for all who wait, until the leader's own request is done. */
static void lead(mf__env *env, mf__request *own) {
  while (!own->done) {
    mf_txn *txn;
    int status = mf_begin(own->store, &txn, &own->error);
    let_others_in(env, own->store->durability);
    mf__request *first = take_requests(env);
    if (status == MF_OK)
      write_group(txn, first);
    else {
      for (mf__request *r = first; r; r = r->next) {
        r->status = status;
        r->error = own->error;
      }
    }
    finish(env, first);
  }
}

static void enqueue(mf__env *env, mf__request *request) {
  request->next = NULL;
  *env->queue_end = request;
  env->queue_end = &request->next;
  env->queue_length++;
}

/* Has the request written, by this thread or another one. */
static int submit(mf__env *env, mf__request *own, mf_error *error) {
  pthread_mutex_lock(&env->queue_lock);
  enqueue(env, own);
  while (!own->done && env->leading)
    pthread_cond_wait(&env->queue_moved, &env->queue_lock);
  if (!own->done) {
    env->leading = true;
    pthread_mutex_unlock(&env->queue_lock);
    lead(env, own);
    pthread_mutex_lock(&env->queue_lock);
    env->leading = false;
    pthread_cond_broadcast(&env->queue_moved);
  }
  pthread_mutex_unlock(&env->queue_lock);
  if (own->status != MF_OK && error) *error = own->error;
  return own->status;
}

int mf_append_to_stream(mf_store *store, mf_bytes stream, const mf_new_event *events, size_t count,
                        const mf_append_options *given, mf_append_result *result, mf_error *error) {
  mf__request own = {.store = store,
                     .stream = stream,
                     .events = events,
                     .count = count,
                     .options = MF_APPEND_OPTIONS_INIT};
  int status = mf__check_writable(store, error);
  if (status != MF_OK) return status;
  if (given)
    memcpy(&own.options, given,
           given->size < sizeof own.options ? given->size : sizeof own.options);
  /* Each asks its own clock, on its own thread. */
  if (own.options.recorded_at == MF_NOW) own.options.recorded_at = mf_now(store);
  status = submit(store->env, &own, error);
  if (status == MF_OK && result) *result = own.result;
  return status;
}

int mf_transact(mf_store *store, mf_work *work, void *context, mf_error *error) {
  mf__request own = {.store = store, .work = work, .context = context};
  int status = mf__check_writable(store, error);
  return status == MF_OK ? submit(store->env, &own, error) : status;
}
