/*
 * States that were folded before. A domain keeps those that it used last, as Lua values in its
 * sandbox: by store, decider and stream, each with the version that it stands at. What is new is
 * folded on top of it. Of a stream whose past is looked at there are two: the newest one stays, and
 * the one that was looked at last is where a walk through the past goes on. A state of the longest
 * streams is also kept in the store, as a snapshot, by the digest of the fold.
 *
 * That a kept state is the right one rests on this: it stands at a version of a stream whose events
 * never change; its decider is the same, because another script, or another text of it, is another
 * domain; a fold has no other sources, because what scripts reach is read-only after loading. What
 * remains:
 *  - evolve may fail midway, and have changed the state by then: so a state is forgotten before
 *    something is folded into it, and remembered after.
 *  - Events may never be committed. A state that holds such events remembers whose they are, an
 *    mfr_outcome, and is used by nobody else until they are committed.
 *  - decide may try to change it: it is given a read-only view, also of what it looks at in other
 *    streams.
 */
#include "library.h"
#include "loaded.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- outcomes ---- */

enum { OPEN, COMMITTED, UNDONE };

/* What becomes of the events of a call, or of a transaction, which is the parent of its calls. */
struct mfr_outcome {
  int references, is;
  mfr_outcome *parent;
};

mfr_outcome *mfr_outcome_new(mfr_outcome *parent) {
  mfr_outcome *outcome = malloc(sizeof *outcome);
  if (!outcome) return NULL;
  *outcome = (mfr_outcome){1, OPEN, parent};
  if (parent) parent->references++;
  return outcome;
}

static void release(mfr_outcome *outcome) {
  while (outcome && --outcome->references == 0) {
    mfr_outcome *parent = outcome->parent;
    free(outcome);
    outcome = parent;
  }
}

void mfr_outcome_end(mfr_outcome **outcome, bool committed) {
  if (!*outcome) return;
  (*outcome)->is = committed ? COMMITTED : UNDONE;
  release(*outcome);
  *outcome = NULL;
}

/* ---- the table ---- */

typedef struct cached {
  uint64_t hash, store;
  const void *decider;
  char *stream;
  size_t size;
  bool past; /* beside a newer state of the same stream */
  int64_t version;
  int64_t snapshot, due; /* as in mfr_decider */
  bool usable;           /* else the state is being changed, or was when something failed */
  mfr_outcome *outcome;  /* of events that the state holds; NULL: all are committed */
  uint32_t next;         /* of the same bucket */
  uint32_t newer, older;
} cached;

enum { BUCKETS_PER_ENTRY = 2 };
static const uint32_t NONE = UINT32_MAX;

struct mfr_cache {
  size_t most, count, bucket_count;
  cached *entries;
  uint32_t *buckets;
  uint32_t newest, oldest, free;
  int states_ref; /* in the registry: a table, index of the entry + 1 -> state */
  size_t memory;  /* of the sandbox, beyond which states are let go */
};

mfr_cache *mfr_cache_new(size_t most, size_t memory) {
  mfr_cache *cache = calloc(1, sizeof *cache);
  if (!cache) return NULL;
  cache->most = most < 2 ? 2 : most; /* one is in use while another comes */
  cache->memory = memory;
  cache->bucket_count = BUCKETS_PER_ENTRY * cache->most;
  cache->entries = calloc(cache->most, sizeof *cache->entries);
  cache->buckets = malloc(cache->bucket_count * sizeof *cache->buckets);
  cache->newest = cache->oldest = cache->free = NONE;
  cache->states_ref = LUA_NOREF;
  if (!cache->entries || !cache->buckets) {
    mfr_cache_free(cache);
    return NULL;
  }
  for (size_t i = 0; i < cache->bucket_count; i++)
    cache->buckets[i] = NONE;
  return cache;
}

static void empty(cached *e) {
  release(e->outcome);
  free(e->stream);
  memset(e, 0, sizeof *e);
}

void mfr_cache_free(mfr_cache *cache) {
  if (!cache) return;
  for (size_t i = 0; cache->entries && i < cache->most; i++)
    empty(&cache->entries[i]);
  free(cache->entries);
  free(cache->buckets);
  free(cache);
}

static uint32_t *bucket_of(mfr_cache *cache, uint64_t hash) {
  return &cache->buckets[hash % cache->bucket_count];
}

static uint64_t hash_of(uint64_t store, const void *decider, mfr_text stream) {
  uint64_t hash = 14695981039346656037u ^ store ^ (uint64_t)(uintptr_t)decider; /* FNV-1a */
  for (size_t i = 0; i < stream.size; i++)
    hash = (hash ^ (uint8_t)stream.data[i]) * 1099511628211u;
  return hash ^ hash >> 29;
}

static cached *find(mfr_cache *cache, const mfr_call *call, const void *decider, bool past) {
  uint64_t store = call->store->number;
  mfr_text stream = call->stream;
  uint64_t hash = hash_of(store, decider, stream);
  for (uint32_t i = *bucket_of(cache, hash); i != NONE; i = cache->entries[i].next) {
    cached *e = &cache->entries[i];
    if (e->hash == hash && e->store == store && e->decider == decider && e->past == past &&
        e->size == stream.size && memcmp(e->stream, stream.data, stream.size) == 0)
      return e;
  }
  return NULL;
}

static uint32_t index_of(const mfr_cache *cache, const cached *e) {
  return (uint32_t)(e - cache->entries);
}

static void unlink_age(mfr_cache *cache, cached *e) {
  if (e->newer != NONE)
    cache->entries[e->newer].older = e->older;
  else
    cache->newest = e->older;
  if (e->older != NONE)
    cache->entries[e->older].newer = e->newer;
  else
    cache->oldest = e->newer;
}

static void link_newest(mfr_cache *cache, cached *e) {
  uint32_t i = index_of(cache, e);
  e->newer = NONE;
  e->older = cache->newest;
  if (cache->newest != NONE) cache->entries[cache->newest].newer = i;
  cache->newest = i;
  if (cache->oldest == NONE) cache->oldest = i;
}

/* The entry goes; its state stays in the table until another takes its place. */
static void drop(mfr_cache *cache, cached *e) {
  uint32_t i = index_of(cache, e), *at = bucket_of(cache, e->hash);
  while (*at != i)
    at = &cache->entries[*at].next;
  *at = e->next;
  unlink_age(cache, e);
  empty(e);
  e->next = cache->free;
  cache->free = i;
  cache->count--;
}

static void push_states(lua_State *L, mfr_cache *cache) {
  if (cache->states_ref == LUA_NOREF) {
    lua_newtable(L);
    cache->states_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, cache->states_ref);
}

/* The entry goes, and its state with it. */
static void evict(lua_State *L, mfr_cache *cache, cached *e) {
  lua_Integer slot = (lua_Integer)index_of(cache, e) + 1;
  drop(cache, e);
  push_states(L, cache);
  lua_pushboolean(L, 0); /* no hole: the table stays an array */
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
}

static cached *add(lua_State *L, mfr_cache *cache, const mfr_call *call, const void *decider,
                   bool past) {
  uint64_t store = call->store->number;
  mfr_text stream = call->stream;
  char *name = malloc(stream.size + 1);
  if (!name) return NULL;
  memcpy(name, stream.data, stream.size);
  if (cache->count == cache->most) evict(L, cache, &cache->entries[cache->oldest]);
  uint32_t i = cache->free;
  if (i != NONE)
    cache->free = cache->entries[i].next;
  else
    i = (uint32_t)cache->count;
  cached *e = &cache->entries[i];
  memset(e, 0, sizeof *e);
  e->hash = hash_of(store, decider, stream);
  e->store = store;
  e->decider = decider;
  e->stream = name;
  e->size = stream.size;
  e->past = past;
  uint32_t *bucket = bucket_of(cache, e->hash);
  e->next = *bucket;
  *bucket = i;
  link_newest(cache, e);
  cache->count++;
  return e;
}

/* Half of the states, the oldest, go when the sandbox holds too much: scripts need the rest. */
static void make_room(lua_State *L, const mfr_state *state) {
  mfr_cache *cache = state->cache;
  size_t used = mfr_sandbox_used(state);
  if (used <= cache->memory || cache->count < 2) return;
  for (size_t left = (cache->count + 1) / 2; left > 0; left--)
    evict(L, cache, &cache->entries[cache->oldest]);
  mfr_sandbox_collect(state);
}

bool mfr_cache_has_others(const mfr_cache *cache, const mfr_call *call) {
  const mfr_text *own = &call->stream;
  for (uint32_t i = cache ? cache->newest : NONE; i != NONE; i = cache->entries[i].older) {
    const cached *e = &cache->entries[i];
    if (e->past || e->store != call->store->number || e->size != own->size ||
        memcmp(e->stream, own->data, own->size) != 0)
      return true;
  }
  return false;
}

void mfr_cache_clear(lua_State *L, mfr_cache *cache) {
  if (!cache || cache->count == 0) return;
  while (cache->count > 0)
    drop(cache, &cache->entries[cache->newest]);
  luaL_unref(L, LUA_REGISTRYINDEX, cache->states_ref);
  cache->states_ref = LUA_NOREF;
}

/* ---- whose events a state holds ---- */

/* Whether the call may use the state: all of its events are committed, or its own transaction's. */
static bool holds(const mfr_call *call, cached *e) {
  const mfr_outcome *own = call->looking ? call->decision->outcome : call->outcome;
  for (const mfr_outcome *o = e->outcome; o; o = o->parent) {
    if (o->is == COMMITTED) continue;
    return o->is == OPEN && (o == own || o == call->store->outcome);
  }
  release(e->outcome);
  e->outcome = NULL;
  return true;
}

/* ---- recalling, forgetting, remembering ---- */

/* Finds a snapshot and puts its state into its place. Its version, or 0. */
static int64_t recall_snapshot(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d,
                               int64_t most) {
  mf_snapshot found;
  mf_error error;
  int top = lua_gettop(L);
  mfr_buffer *bytes = mfr_borrow(L, state);
  mf_txn *txn = call->txn ? call->txn : call->store->txn;
  mf_bytes stream = {call->stream.data, call->stream.size};
  int status = mf_find_snapshot(mfr_live(L, state, call->store), txn, stream,
                                d->loaded->digests.fold, most, &found, &error);
  bool copied = status == MF_OK && mfr_buffer_reserve(bytes, found.state.size);
  if (copied) memcpy(bytes->data, found.state.data, found.state.size);
  if (status == MF_OK) mf_free(found.state);
  bool fine =
      copied && mfr_decode_exactly(L, state, bytes->data, found.state.size) && !lua_isnil(L, -1);
  if (fine) lua_replace(L, d->state);
  mfr_give_back(state, bytes);
  lua_settop(L, top);
  return fine ? found.version : 0;
}

/* The entry whose state the call may use, or go on from; one that it may not is dropped. */
static cached *find_held(mfr_cache *cache, const mfr_call *call, const mfr_decider *d, bool past) {
  cached *e = find(cache, call, d->identity, past);
  if (!e || holds(call, e)) return e;
  drop(cache, e);
  return NULL;
}

static bool reaches(const cached *e, int64_t most) {
  return e && e->usable && e->version <= most;
}

/* A state of the past may stand far before the newest snapshot: its version, or 0. */
static int64_t snapshot_behind(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d,
                               const cached *e, int64_t most) {
  enum { FAR = 1000 };
  if (!e->past || !d->snapshots || most - e->version < FAR) return 0;
  int64_t version = recall_snapshot(L, state, call, d, most);
  if (version > d->snapshot) d->snapshot = version;
  return version > e->version ? version : 0;
}

int64_t mfr_recall(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d, int64_t most) {
  mfr_cache *cache = state->cache;
  d->snapshot = d->due = 0;
  if (d->identity && cache) {
    cached *e = find_held(cache, call, d, false); /* dropped: so was a snapshot of those events */
    if (e) {
      d->snapshot = e->snapshot;
      d->due = e->due;
    }
    if (!reaches(e, most)) e = find_held(cache, call, d, true);
    int64_t nearer = reaches(e, most) ? snapshot_behind(L, state, call, d, e, most) : 0;
    if (nearer > 0) return nearer;
    if (reaches(e, most)) {
      unlink_age(cache, e);
      link_newest(cache, e);
      push_states(L, cache);
      lua_rawgeti(L, -1, (lua_Integer)index_of(cache, e) + 1);
      lua_replace(L, d->state);
      lua_pop(L, 1);
      return e->version;
    }
  }
  int64_t version = d->snapshots ? recall_snapshot(L, state, call, d, most) : 0;
  if (version > d->snapshot) d->snapshot = version;
  if (version == 0) mfr_initial_state(L, state, call, d);
  return version;
}

void mfr_forget(lua_State *L, mfr_state *state, const mfr_call *call, const mfr_decider *d) {
  if (!d->identity || !state->cache) return;
  for (int past = 0; past < 2; past++) {
    cached *e = find(state->cache, call, d->identity, past);
    if (!e || !e->usable) continue;
    push_states(L, state->cache);
    lua_rawgeti(L, -1, (lua_Integer)index_of(state->cache, e) + 1);
    e->usable = !lua_rawequal(L, -1, d->state);
    lua_pop(L, 2);
  }
}

/* The outcome of what the call stages itself. */
static mfr_outcome *own_outcome(mfr_call *call) {
  if (!call->outcome) call->outcome = mfr_outcome_new(call->store->outcome);
  return call->outcome;
}

/* Whether the stream's events up to the version are committed. In a transaction some may be staged:
 * by an earlier call, or, for what a decision looks at, by an earlier command of its own call. */
static bool is_committed(const mfr_call *call, int64_t version) {
  int64_t committed;
  if (!call->store->txn && !call->looking) return true;
  /* What is staged in a read transaction may meanwhile be outnumbered by what others commit. */
  bool writes = !call->store->txn || (call->store->outcome && !call->store->dry_run);
  if (!writes || (call->looking && !call->decision->write)) return false;
  mf_bytes stream = {call->stream.data, call->stream.size};
  return mf_stream_version(call->store->store, NULL, stream, &committed, NULL) == MF_OK &&
         committed == version;
}

void mfr_remember(lua_State *L, mfr_state *state, mfr_call *call, const mfr_decider *d,
                  int64_t version, bool decided) {
  mfr_cache *cache = state->cache;
  if (!d->identity || !cache || version == 0) return;
  mfr_outcome *outcome = NULL;
  if (decided || !is_committed(call, version)) {
    outcome = decided         ? own_outcome(call)
              : call->looking ? own_outcome(call->decision)
                              : call->store->outcome;
    /* In a transaction of a C host, whose end nobody tells, and where memory is short. */
    if (!outcome || (call->store->txn && !call->store->outcome)) return;
  }
  cached *e = find(cache, call, d->identity, false);
  bool past = e && e->usable && e->version > version && holds(call, e);
  past = past || d->behind;
  if (past) e = find(cache, call, d->identity, true);
  if (!e) {
    make_room(L, state);
    e = add(L, cache, call, d->identity, past);
  }
  if (!e) return;
  e->usable = false;
  lua_Integer slot = (lua_Integer)index_of(cache, e) + 1;
  push_states(L, cache);
  lua_pushvalue(L, d->state);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
  if (outcome) outcome->references++;
  release(e->outcome);
  e->outcome = outcome;
  e->version = version;
  e->snapshot = d->snapshot;
  e->due = d->due;
  e->usable = true;
}

/* ---- states that can be stored ---- */

typedef struct inspection {
  lua_State *L;
  const mfr_state *state;
  int seen; /* stack index */
  int depth;
  const char *why;
} inspection;

/* Whether the value on top is the same after it was encoded and decoded. */
static bool inspect(inspection *in) {
  lua_State *L = in->L;
  int value = lua_gettop(L), type = lua_type(L, value);
  if (type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING)
    return true;
  if (type == LUA_TUSERDATA && lua_touserdata(L, value) == in->state->null) return true;
  if (type != LUA_TTABLE) {
    in->why = "it holds a function or something else that cannot be stored";
    return false;
  }
  if (++in->depth > MFR_DEPTH_MAX) {
    in->why = "it is nested more than 128 deep, or holds itself";
    return false;
  }
  if (lua_getmetatable(L, value)) {
    bool ours = mfr_has_metatable(L, value, in->state->array_ref);
    lua_pop(L, 1);
    if (!ours) {
      in->why = "a table in it has a metatable, or belongs to the script and is read-only";
      return false;
    }
  }
  lua_pushvalue(L, value);
  if (lua_rawget(L, in->seen) != LUA_TNIL) {
    in->why = "one table stands in two places of it";
    return false;
  }
  lua_pushvalue(L, value);
  lua_pushboolean(L, 1);
  lua_rawset(L, in->seen);
  lua_settop(L, value);
  luaL_checkstack(L, 8, "state");
  for (lua_pushnil(L); lua_next(L, value); lua_pop(L, 1))
    if (!inspect(in)) return false;
  in->depth--;
  return true;
}

/* Calls `encoding` with two arguments, the pointer and the value at index; false: it has raised. */
static bool try(lua_State *L, mfr_state *state, lua_CFunction encoding, void *pointer, int index) {
  index = lua_absindex(L, index);
  lua_pushlightuserdata(L, state);
  lua_pushcclosure(L, encoding, 1);
  lua_pushlightuserdata(L, pointer);
  lua_pushvalue(L, index);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

static int encode(lua_State *L) {
  mfr_encode(L, mfr_of(L), lua_touserdata(L, 1), 2, "value");
  return 0;
}

bool mfr_try_encode(lua_State *L, mfr_state *state, mfr_buffer *out, int index) {
  size_t before = out->size;
  bool fine = try(L, state, encode, out, index);
  if (!fine) out->size = before;
  return fine;
}

typedef struct storing {
  mfr_buffer *out;
  const char *why; /* not */
} storing;

/* What keeps a state is not the script's work: it costs none of its budget. */
static int encode_state(lua_State *L) {
  mfr_state *state = mfr_of(L);
  storing *s = lua_touserdata(L, 1);
  inspection in = {L, state, 3, 0, NULL};
  lua_newtable(L);
  lua_pushvalue(L, 2);
  inspect(&in);
  s->why = in.why;
  if (!in.why) mfr_encode_exactly(L, state, s->out, 2, "state");
  return 0;
}

const char *mfr_encode_state(lua_State *L, mfr_state *state, mfr_buffer *out, int index) {
  storing s = {out, NULL};
  luaL_checkstack(L, 10, "state");
  if (try(L, state, encode_state, &s, index)) return s.why;
  return "it holds a key or a number that cannot be stored (NaN, infinity, a boolean key), or is "
         "too large to be copied";
}

/* ---- snapshots ---- */

/*
 * One is taken when EVERY events were folded since the last one, and for each of these it may have
 * BYTES: so what snapshots cost stays a part of what the events cost. A state that grows with its
 * stream has them in growing distances.
 */
enum { EVERY = 1000, BYTES = 16, READ_EVERY = 10000 };

/* Encodes the state when a snapshot is due; the buffer is left on the stack then. [-0, +1|0] */
static mfr_buffer *due(lua_State *L, mfr_state *state, mfr_decider *d, int64_t version,
                       int64_t every) {
  int64_t since = version - d->snapshot;
  if (!d->snapshots || since < every || version < d->due) return NULL;
  mfr_check_left_behind(L); /* a wrong state would outlast the call that fails */
  mfr_buffer *bytes = mfr_borrow(L, state);
  const char *why = mfr_encode_state(L, state, bytes, d->state);
  mfr_note_refusal(d->loaded, why);
  if (!why && (int64_t)bytes->size <= BYTES * since) return bytes;
  d->due = why ? version + every : d->snapshot + (int64_t)bytes->size / BYTES;
  mfr_give_back(state, bytes);
  lua_pop(L, 1);
  return NULL;
}

void mfr_snapshot_with(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d,
                       int64_t version) {
  mf_error error;
  mfr_buffer *bytes = due(L, state, d, version, EVERY);
  if (!bytes) return;
  mf_bytes stream = {call->stream.data, call->stream.size};
  int status = mf_put_snapshot(call->txn, stream, d->loaded->digests.fold, version,
                               (mf_bytes){bytes->data, bytes->size}, &error);
  mfr_give_back(state, bytes);
  lua_pop(L, 1);
  if (status == MF_OK)
    d->snapshot = version;
  else
    d->due = version + EVERY; /* perhaps the disk has room then */
}

void mfr_snapshot_alone(lua_State *L, mfr_state *state, mfr_call *call, mfr_decider *d,
                        int64_t version) {
  mf_txn *txn;
  mf_store *store = call->store->store;
  if (call->txn || call->store->txn || !store || mf_store_read_only(store)) return;
  mfr_buffer *bytes = due(L, state, d, version, READ_EVERY);
  if (!bytes) return;
  mf_bytes stream = {call->stream.data, call->stream.size};
  if (mf_try_begin(store, &txn, NULL) == MF_OK) {
    mf_relax(txn);
    int status = mf_put_snapshot(txn, stream, d->loaded->digests.fold, version,
                                 (mf_bytes){bytes->data, bytes->size}, NULL);
    if (status == MF_OK)
      status = mf_commit(txn, NULL);
    else
      mf_abort(txn);
    if (status == MF_OK)
      d->snapshot = version;
    else
      d->due = version + READ_EVERY; /* as above; it is not encoded in vain for every read */
  }
  mfr_give_back(state, bytes);
  lua_pop(L, 1);
}

void mfr_know_decider(lua_State *L, const mfr_state *state, const mfr_call *call, int decider,
                      mfr_decider *d) {
  if (!call->loaded) return;
  d->loaded = call->loaded;
  if (state->cache) d->identity = lua_topointer(L, decider);
  d->snapshots = mfr_takes_snapshots(call->loaded);
}
