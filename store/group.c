/*
 * Group commit. A commit that is synced costs the same for one append as for a hundred. So single
 * appends are requests in a queue: the first thread that finds nobody leading takes the write lock,
 * and once it has it, writes everything that has queued up meanwhile in one transaction. Each
 * request succeeds or fails on its own, and sees those before it.
 */
#include "internal.h"

typedef struct mf__request {
  struct mf__request *next;
  mf_store *store;
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

/* Appends every request and commits. Returns the commit's status, which is that of all requests
 * that were appended. */
static int write_requests(mf_txn *txn, mf__request *first, mf_error *error) {
  bool any = false;
  for (mf__request *r = first; r; r = r->next) {
    r->status = mf_append(txn, r->stream, r->events, r->count, &r->options, &r->result, &r->error);
    if (mf__dooms(r->status)) txn->doomed = MF_OK; /* it left no trace: the others go on */
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

int mf_append_to_stream(mf_store *store, mf_bytes stream, const mf_new_event *events, size_t count,
                        const mf_append_options *given, mf_append_result *result, mf_error *error) {
  mf__request own = {NULL, store, stream, events, count, MF_APPEND_OPTIONS_INIT,
                     {0},  {0},   0,      false};
  mf__env *env = store->env;
  int status = mf__check_writable(store, error);
  if (status != MF_OK) return status;
  if (given)
    memcpy(&own.options, given,
           given->size < sizeof own.options ? given->size : sizeof own.options);
  /* Each asks its own clock, on its own thread. */
  if (own.options.recorded_at == MF_NOW) own.options.recorded_at = mf_now(store);
  pthread_mutex_lock(&env->queue_lock);
  enqueue(env, &own);
  while (!own.done && env->leading)
    pthread_cond_wait(&env->queue_moved, &env->queue_lock);
  if (!own.done) {
    env->leading = true;
    pthread_mutex_unlock(&env->queue_lock);
    lead(env, &own);
    pthread_mutex_lock(&env->queue_lock);
    env->leading = false;
    pthread_cond_broadcast(&env->queue_moved);
  }
  pthread_mutex_unlock(&env->queue_lock);
  if (own.status == MF_OK && result) *result = own.result;
  if (own.status != MF_OK && error) *error = own.error;
  return own.status;
}
