/*
 * A stream as it was when the log had come to a position: events never change, so that the past is
 * the stream up to a version. It is found by halving: positions grow along a stream.
 */
#include "internal.h"

/* The global position of an event of the stream. */
static int64_t position_of(lua_State *L, mfr_state *state, mfr_call *call, int64_t version) {
  mfr_range range = {MF_READ_OPTIONS_INIT, 0};
  mf_event event;
  range.options.stream = (mf_bytes){call->stream.data, call->stream.size};
  range.options.from = range.options.to = version;
  mfr_open_reader(L, state, call, &range);
  int64_t position = mfr_next(L, state, call, &event) ? event.position : INT64_MAX;
  mfr_close_reader(call);
  return position;
}

int64_t mfr_past_version(lua_State *L, mfr_state *state, mfr_call *call) {
  mf_error error;
  mf_bytes stream = {call->stream.data, call->stream.size};
  mf_txn *txn = call->txn ? call->txn : call->store->txn;
  int64_t high;
  if (!call->past) return MF_LAST;
  if (mf_stream_version(mfr_live(L, state, call->store), txn, stream, &high, &error) != MF_OK) {
    mfr_push_store_error(L, state, &error, stream.data, stream.size, 0);
    lua_error(L);
  }
  /* At `low` it was there already; what stands above `high` was not. The end is near, mostly. */
  int64_t low = 0;
  for (int64_t step = 1; low < high; step *= 2) {
    int64_t middle =
        high - step < low + (high - low) / 2 ? low + (high - low + 1) / 2 : high - step + 1;
    if (position_of(L, state, call, middle) <= call->as_of)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}
