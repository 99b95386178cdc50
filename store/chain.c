/*
 * The hash chain of a tamper-evident store: each commit's link is a hash of the link before and of
 * everything that the commit recorded. So one link, written down elsewhere, stands for all of the
 * history up to it: nobody can change any of that and come to the same link. It is taken over what
 * events mean (names, not the numbers that stand for them), so equal histories have equal links.
 */
#include "internal.h"

static void add_u64(blake2b_state *state, uint64_t value) {
  uint8_t bytes[8];
  mf__u64_write(bytes, value);
  blake2b_update(state, bytes, sizeof bytes);
}

/* With its size, so that no two lists of parts are the same bytes. */
static void add_part(blake2b_state *state, mf_bytes part) {
  add_u64(state, part.data ? part.size : UINT64_MAX);
  if (part.data && part.size) blake2b_update(state, part.data, part.size);
}

void mf__event_digest(const mf__record *record, mf_bytes stream, mf_bytes type,
                      uint8_t digest[MF_LINK_SIZE]) {
  blake2b_state state;
  blake2b_init(&state, MF_LINK_SIZE);
  add_u64(&state, record->version);
  add_u64(&state, (uint64_t)record->recorded_at);
  add_part(&state, stream);
  add_part(&state, type);
  add_part(&state, mf__bytes(record->data.size ? record->data.data : "", record->data.size));
  add_part(&state, record->metadata);
  add_part(&state, record->message_id);
  add_part(&state, record->extension);
  blake2b_final(&state, digest, MF_LINK_SIZE);
}

void mf__chain_begin(mf__chain *chain, const uint8_t before[MF_LINK_SIZE]) {
  blake2b_init(&chain->state, MF_LINK_SIZE);
  blake2b_update(&chain->state, before, MF_LINK_SIZE);
  chain->count = 0;
}

void mf__chain_add(mf__chain *chain, const uint8_t digest[MF_LINK_SIZE]) {
  blake2b_update(&chain->state, digest, MF_LINK_SIZE);
  chain->count++;
}

void mf__chain_end(mf__chain *chain, uint8_t link[MF_LINK_SIZE]) {
  add_u64(&chain->state, chain->count);
  blake2b_final(&chain->state, link, MF_LINK_SIZE);
}

bool mf__last_link(const mf__block *block, uint8_t link[MF_LINK_SIZE]) {
  mf_bytes slice;
  mf__record record;
  mf__trailer trailer;
  if (!mf__block_slice(block, block->count - 1, block->count - 1, &slice)) return false;
  const uint8_t *p = slice.data, *limit = p + slice.size;
  if (!mf__record_parse(p, limit, &record) ||
      !mf__trailer_parse(p + record.size, limit, &trailer) || !trailer.link)
    return false;
  memcpy(link, trailer.link, MF_LINK_SIZE);
  return true;
}
