/* Fuzzes the decoding of payloads (MessagePack) onto a Lua stack. What is canonical must decode,
 * and encode to the same bytes again. */
#include "state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(lua_State *L, mfr_state *state, const uint8_t *data, size_t size) {
  bool canonical = mfr_is_canonical(data, size);
  int top = lua_gettop(L);
  if (!mfr_decode(L, state, data, size)) {
    if (canonical || lua_gettop(L) != top) abort();
    return;
  }
  if (lua_gettop(L) != top + 1) abort();
  if (!canonical) return;
  mfr_buffer *out = mfr_borrow(L, state);
  mfr_encode(L, state, out, top + 1, "value");
  if (out->size != size || memcmp(out->data, data, size) != 0) abort();
  if (mfr_skip(data) != data + size) abort();
  mfr_give_back(state, out);
  mfr_push_json(L, state, top + 1, MFR_JSON_EXACT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input in = {data, size, decode};
  run_in_state(&in);
  return 0;
}
