/* Fuzzes what decodes the store's own records: blocks, events, trailers, heads, seals, ids. */
#include "../../store/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sum; /* so that every byte is really read */

static void touch(mf_bytes bytes) {
  const uint8_t *p = bytes.data;
  for (size_t i = 0; p && i < bytes.size; i++)
    sum += p[i];
}

static void event(mf_bytes slice) {
  mf__record record;
  mf__trailer trailer;
  uint64_t id;
  const uint8_t *p = slice.data, *limit = p + slice.size;
  mf__record_stream_id(p, limit, &id);
  if (!mf__record_parse(p, limit, &record)) return;
  if (record.size > slice.size) abort();
  mf__record_verify(p, &record, 1, 1);
  touch(record.data);
  touch(record.metadata);
  touch(record.message_id);
  touch(record.extension);
  for (int tag = 0; tag < 8; tag++)
    touch(mf__extension_find(record.extension, (uint8_t)tag));
  mf__trailer_parse(p + record.size, limit, &trailer);
}

static void block(mf_bytes value) {
  mf__block b;
  mf_bytes slice;
  if (!mf__block_parse(1, value, &b)) return;
  for (uint32_t i = 0; i < b.count; i++)
    if (mf__block_slice(&b, i, i, &slice)) event(slice);
  if (mf__block_slice(&b, 0, b.count - 1, &slice)) touch(slice);
}

static void head(mf_bytes value) {
  mf__head h;
  if (mf__head_read(value, &h)) touch(h.runs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mf__store_record store;
  mf_bytes value = mf__bytes(data, size), sealed = value;
  block(value);
  event(value);
  head(value);
  mf__store_record_read(value, &store);
  mf__unseal(&sealed, mf__bytes("key", 3), 1);
  mf__generated_position(1, value);
  return 0;
}
