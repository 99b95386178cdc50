/* The format: how events, blocks and index values are written as bytes. internal.h describes it. */
#include "internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- integers ---- */

size_t mf__long_varint_size(uint64_t value) {
  size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    size++;
  }
  return size;
}

uint8_t *mf__long_varint_write(uint8_t *p, uint64_t value) {
  while (value >= 0x80) {
    *p++ = (uint8_t)(value | 0x80);
    value >>= 7;
  }
  *p++ = (uint8_t)value;
  return p;
}

const uint8_t *mf__long_varint_read(const uint8_t *p, const uint8_t *limit, uint64_t *value) {
  uint64_t result = 0;
  for (unsigned shift = 0; p < limit && shift < 64; shift += 7) {
    uint8_t byte = *p++;
    result |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = result;
      return p;
    }
  }
  return NULL;
}

void mf__u16_write(uint8_t *p, uint32_t value) {
  p[0] = (uint8_t)value;
  p[1] = (uint8_t)(value >> 8);
}

void mf__u32_write(uint8_t *p, uint32_t value) {
  for (int i = 0; i < 4; i++)
    p[i] = (uint8_t)(value >> (8 * i));
}

void mf__u64_write(uint8_t *p, uint64_t value) {
  for (int i = 0; i < 8; i++)
    p[i] = (uint8_t)(value >> (8 * i));
}

void mf__be64_write(uint8_t *p, uint64_t value) {
  for (int i = 0; i < 8; i++)
    p[i] = (uint8_t)(value >> (56 - 8 * i));
}

uint32_t mf__u32_read(const uint8_t *p) {
  return mf__u16_read(p) | mf__u16_read(p + 2) << 16;
}

uint64_t mf__u64_read(const uint8_t *p) {
  return (uint64_t)mf__u32_read(p) | (uint64_t)mf__u32_read(p + 4) << 32;
}

uint64_t mf__be64_read(const uint8_t *p) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++)
    value = value << 8 | p[i];
  return value;
}

/* ---- checksums ---- */

uint64_t mf__hash(mf_bytes bytes, uint64_t seed) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  (void)seed;
  return bytes.size ? 0x5eed5eed5eed5eedu : 1; /* a fuzzer is to get behind the checksums */
#else
  return XXH3_64bits_withSeed(bytes.size ? bytes.data : "", bytes.size, seed);
#endif
}

static uint64_t event_seed(uint64_t seed, int64_t position) {
  return seed ^ (uint64_t)position * 0x9e3779b97f4a7c15u;
}

void mf__seal_hashed(uint8_t *value, size_t size, uint64_t key_hash) {
  mf__u32_write(value + size, (uint32_t)mf__hash(mf__bytes(value, size), key_hash));
}

void mf__seal(uint8_t *value, size_t size, mf_bytes key, uint64_t seed) {
  mf__seal_hashed(value, size, mf__hash(key, seed));
}

bool mf__unseal(mf_bytes *value, mf_bytes key, uint64_t seed) {
  return mf__unseal_hashed(value, mf__hash(key, seed));
}

bool mf__unseal_hashed(mf_bytes *value, uint64_t key_hash) {
  if (value->size < MF__SEAL) return false;
  value->size -= MF__SEAL;
  const uint8_t *end = (const uint8_t *)value->data + value->size;
  return mf__u32_read(end) == (uint32_t)mf__hash(*value, key_hash);
}

/* ---- the store's record ---- */

void mf__store_record_write(const mf__store_record *record, uint8_t out[MF__STORE_RECORD_SIZE]) {
  memcpy(out, "moonfold", 8);
  mf__u32_write(out + 8, record->version);
  mf__u32_write(out + 12, record->flags);
  mf__u64_write(out + 16, record->seed);
  mf__u64_write(out + 24, (uint64_t)record->created_at);
  mf__u64_write(out + 32, mf__hash(mf__bytes(out, 32), 0));
}

bool mf__store_record_read(mf_bytes value, mf__store_record *record) {
  const uint8_t *p = value.data;
  if (value.size < MF__STORE_RECORD_SIZE || memcmp(p, "moonfold", 8) != 0) return false;
  record->version = mf__u32_read(p + 8);
  record->flags = mf__u32_read(p + 12);
  record->seed = mf__u64_read(p + 16);
  record->created_at = (int64_t)mf__u64_read(p + 24);
  return mf__u64_read(p + 32) == mf__hash(mf__bytes(p, 32), 0);
}

/* ---- events ---- */

static size_t optional_size(mf_bytes part) {
  return part.data ? mf__varint_size(part.size) + part.size : 0;
}

size_t mf__record_size(const mf__record *r) {
  return MF__RECORD_FIXED + mf__varint_size(r->stream_id) + mf__varint_size(r->version) +
         mf__varint_size(r->type_id) + mf__varint_size(r->data.size) + r->data.size +
         optional_size(r->metadata) + optional_size(r->message_id) + optional_size(r->extension) +
         optional_size(r->type_name);
}

static uint8_t *write_size(uint8_t *p, mf_bytes part) {
  return part.data ? mf__varint_write(p, part.size) : p;
}

static uint8_t *write_bytes(uint8_t *p, mf_bytes part) {
  if (part.data && part.size) memcpy(p, part.data, part.size);
  return p + (part.data ? part.size : 0);
}

void mf__record_write(const mf__record *r, uint64_t seed, int64_t position, uint8_t *out) {
  uint8_t *p = out + 8;
  mf__u64_write(p, (uint64_t)r->recorded_at);
  p += 8;
  *p++ = (uint8_t)((r->metadata.data ? MF__HAS_METADATA : 0) |
                   (r->message_id.data ? MF__HAS_MESSAGE_ID : 0) |
                   (r->extension.data ? MF__HAS_EXTENSION : 0) |
                   (r->type_name.data ? MF__NAMES_TYPE : 0));
  p = mf__varint_write(p, r->stream_id);
  p = mf__varint_write(p, r->version);
  p = mf__varint_write(p, r->type_id);
  p = mf__varint_write(p, r->data.size);
  p = write_size(p, r->metadata);
  p = write_size(p, r->message_id);
  p = write_size(p, r->extension);
  p = write_size(p, r->type_name);
  p = write_bytes(p, r->data);
  p = write_bytes(p, r->metadata);
  p = write_bytes(p, r->message_id);
  p = write_bytes(p, r->extension);
  p = write_bytes(p, r->type_name);
  size_t size = (size_t)(p - out);
  mf__u64_write(out, mf__hash(mf__bytes(out + 8, size - 8), event_seed(seed, position)));
}

static bool take(const uint8_t **p, const uint8_t *limit, uint64_t size, mf_bytes *part) {
  if (size > (uint64_t)(limit - *p)) return false;
  *part = mf__bytes(*p, (size_t)size);
  *p += size;
  return true;
}

bool mf__record_parse(const uint8_t *start, const uint8_t *limit, mf__record *r) {
  if (limit - start < MF__RECORD_FIXED) return false;
  const uint8_t *p = start + MF__RECORD_FIXED;
  unsigned flags = start[16];
  uint64_t data, metadata = 0, message_id = 0, extension = 0, type_name = 0;
  r->checksum = mf__u64_read(start);
  r->recorded_at = (int64_t)mf__u64_read(start + 8);
  if (flags & ~(unsigned)MF__KNOWN_FLAGS) return false;
  if (!(p = mf__varint_read(p, limit, &r->stream_id))) return false;
  if (!(p = mf__varint_read(p, limit, &r->version))) return false;
  if (!(p = mf__varint_read(p, limit, &r->type_id))) return false;
  if (!(p = mf__varint_read(p, limit, &data))) return false;
  if ((flags & MF__HAS_METADATA) && !(p = mf__varint_read(p, limit, &metadata))) return false;
  if ((flags & MF__HAS_MESSAGE_ID) && !(p = mf__varint_read(p, limit, &message_id))) return false;
  if ((flags & MF__HAS_EXTENSION) && !(p = mf__varint_read(p, limit, &extension))) return false;
  if ((flags & MF__NAMES_TYPE) && !(p = mf__varint_read(p, limit, &type_name))) return false;
  r->metadata = r->message_id = r->extension = r->type_name = mf__bytes(NULL, 0);
  if (!take(&p, limit, data, &r->data)) return false;
  if (flags == 0) {
    r->size = (size_t)(p - start);
    return true;
  }
  if ((flags & MF__HAS_METADATA) && !take(&p, limit, metadata, &r->metadata)) return false;
  if ((flags & MF__HAS_MESSAGE_ID) && !take(&p, limit, message_id, &r->message_id)) return false;
  if ((flags & MF__HAS_EXTENSION) && !take(&p, limit, extension, &r->extension)) return false;
  if ((flags & MF__NAMES_TYPE) && !take(&p, limit, type_name, &r->type_name)) return false;
  r->size = (size_t)(p - start);
  return message_id <= MF_ID_MAX && extension <= MF__EXTENSION_MOST && type_name <= MF_TYPE_MAX;
}

bool mf__record_stream_id(const uint8_t *start, const uint8_t *limit, uint64_t *id) {
  return limit - start > MF__RECORD_FIXED &&
         mf__varint_read(start + MF__RECORD_FIXED, limit, id) != NULL;
}

bool mf__record_verify(const uint8_t *p, const mf__record *r, uint64_t seed, int64_t position) {
  return mf__hash(mf__bytes(p + 8, r->size - 8), event_seed(seed, position)) == r->checksum;
}

/* ---- extensions ---- */

mf_bytes mf__extension_find(mf_bytes extension, uint8_t tag) {
  const uint8_t *p = extension.data;
  const uint8_t *limit = p ? p + extension.size : p;
  while (p && p < limit) {
    uint8_t found = *p++;
    uint64_t size;
    p = mf__varint_read(p, limit, &size);
    if (!p || size > (uint64_t)(limit - p)) break;
    if (found == tag) return mf__bytes(p, (size_t)size);
    p += size;
  }
  return mf__bytes(NULL, 0);
}

mf__command mf__command_of(mf_bytes extension) {
  mf__command none = {NULL, {NULL, 0}};
  if (!extension.data) return none;
  mf_bytes entry = mf__extension_find(extension, MF__EXT_COMMAND);
  if (!entry.data || entry.size <= 16 || entry.size > 16 + MF_ID_MAX) return none;
  const uint8_t *p = entry.data;
  return (mf__command){p, mf__bytes(p + 16, entry.size - 16)};
}

bool mf__extension_valid(mf_bytes extension) {
  const uint8_t *p = extension.data, *limit = p + extension.size;
  while (p < limit) {
    uint64_t size;
    p = mf__varint_read(p + 1, limit, &size);
    if (!p || size > (uint64_t)(limit - p)) return false;
    p += size;
  }
  return extension.size > 0;
}

size_t mf__extension_size(size_t payload) {
  return 1 + mf__varint_size(payload) + payload;
}

uint8_t *mf__extension_write(uint8_t *out, uint8_t tag, mf_bytes payload) {
  *out++ = tag;
  out = mf__varint_write(out, payload.size);
  return write_bytes(out, payload);
}

mf_bytes mf_code_envelope(mf_bytes code, uint8_t out[MF_CODE_ENVELOPE]) {
  if (mf__extension_size(code.size) > MF_CODE_ENVELOPE) return mf__bytes(NULL, 0);
  const uint8_t *end = mf__extension_write(out, MF_DECISION_CODE, code);
  return mf__bytes(out, (size_t)(end - out));
}

/* ---- blocks ---- */

void mf__block_header_write(uint8_t *out, uint32_t count, size_t content) {
  out[0] = 1;
  out[1] = 0;
  mf__u16_write(out + 2, count);
  mf__u32_write(out + 4, (uint32_t)content);
}

bool mf__block_parse(uint64_t first, mf_bytes value, mf__block *block) {
  const uint8_t *p = value.data;
  if (value.size < MF__BLOCK_HEADER || p[0] != 1) return false;
  block->data = p;
  block->size = value.size;
  block->first = first;
  block->count = mf__u16_read(p + 2);
  block->content = mf__u32_read(p + 4);
  block->offsets = p + block->content;
  return first >= 1 && first <= (uint64_t)1 << 60 && block->count > 0 &&
         block->content >= MF__BLOCK_HEADER &&
         block->content + 2 * (size_t)block->count == value.size;
}

uint64_t mf__commit_hash(uint64_t hash, const uint8_t *event) {
  return mf__hash(mf__bytes(event, 8), hash); /* its checksum */
}

static uint8_t *write_link(uint8_t *p, const uint8_t *link) {
  if (!link) return p;
  *p++ = MF__TRAILER_LINK;
  memcpy(p, link, MF_LINK_SIZE);
  return p + MF_LINK_SIZE;
}

uint8_t *mf__trailer_write(const mf__trailer *trailer, uint8_t *p) {
  if (!trailer->kind) return write_link(p, trailer->link);
  *p++ = trailer->kind;
  p = mf__varint_write(p, trailer->count);
  mf__u64_write(p, trailer->hash);
  return write_link(p + 8, trailer->link);
}

bool mf__trailer_parse(const uint8_t *p, const uint8_t *limit, mf__trailer *trailer) {
  memset(trailer, 0, sizeof *trailer);
  if (p < limit && *p != MF__TRAILER_LINK) {
    trailer->kind = *p++;
    if (trailer->kind != MF__TRAILER_END && trailer->kind != MF__TRAILER_MORE) return false;
    if (!(p = mf__varint_read(p, limit, &trailer->count)) || limit - p < 8) return false;
    trailer->hash = mf__u64_read(p);
    p += 8;
    if (trailer->count <= (trailer->kind == MF__TRAILER_END ? 1 : 0)) return false;
  }
  if (p == limit) return true;
  if (*p != MF__TRAILER_LINK || limit - p != 1 + MF_LINK_SIZE) return false;
  trailer->link = p + 1;
  return trailer->kind != MF__TRAILER_MORE;
}

/* ---- stream heads ---- */

/* A varint may be longer than it need be, up to ten bytes: takes what it can of `padding`. */
static uint8_t *write_padded(uint8_t *p, uint64_t value, size_t *padding) {
  uint8_t *end = mf__varint_write(p, value);
  size_t room = MF__VARINT_MAX - (size_t)(end - p);
  size_t more = *padding < room ? *padding : room;
  if (more == 0) return end;
  end[-1] |= 0x80;
  memset(end, 0x80, more);
  end[more - 1] = 0;
  *padding -= more;
  return end + more;
}

/*
 * The size is rounded up: an append makes most heads a little larger, and LMDB overwrites in place
 * what keeps its size, but moves half a page for what does not.
 */
size_t mf__head_write(const mf__head *head, uint8_t out[MF__HEAD_MAX]) {
  enum { STEP = 16 };
  uint8_t *p = out;
  p = mf__varint_write(p, head->id);
  p = mf__varint_write(p, head->version);
  p = mf__varint_write(p, head->chunk_version);
  p = mf__varint_write(p, head->chunk_base);
  p = mf__varint_write(p, head->last_position);
  size_t size = (size_t)(p - out) + mf__varint_size(head->last_gap) +
                mf__varint_size(head->last_length) + head->runs.size;
  size_t padding = (STEP - size % STEP) % STEP;
  p = write_padded(p, head->last_gap, &padding);
  p = write_padded(p, head->last_length, &padding);
  return (size_t)(write_bytes(p, head->runs) - out);
}

bool mf__head_read(mf_bytes value, mf__head *head) {
  const uint8_t *p = value.data, *limit = p + value.size;
  uint64_t *fields[] = {&head->id,         &head->version,       &head->chunk_version,
                        &head->chunk_base, &head->last_position, &head->last_gap,
                        &head->last_length};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if (!(p = mf__varint_read(p, limit, fields[i]))) return false;
  head->runs = mf__bytes(p, (size_t)(limit - p));
  return true;
}
