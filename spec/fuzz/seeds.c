/* Makes seeds for the fuzz targets in a folder: seeds FOLDER. It is built like they are, with a
 * checksum that is always the same, so that what they change is looked at behind the checksums. */
#include "../damage/sample.h"

#include <sys/stat.h>
#include <unistd.h>

static void make_folder(const char *folder, const char *target, char *out, size_t size) {
  snprintf(out, size, "%s/%s", folder, target);
  mkdir(out, 0755);
}

static mf_store *open_new(const char *path, bool tamper_evident) {
  char lock[420];
  mf_open_options options;
  mf_store *store;
  mf_error error;
  snprintf(lock, sizeof lock, "%s-lock", path);
  unlink(path);
  unlink(lock);
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.durability = MF_NONE;
  options.tamper_evident = tamper_evident;
  if (mf_open(path, &options, &store, &error) != MF_OK) sample_die("open", &error);
  return store;
}

static void close_new(const char *path, mf_store *store) {
  char lock[420];
  snprintf(lock, sizeof lock, "%s-lock", path);
  mf_close(store);
  unlink(lock);
}

static void store_of(const char *folder, int64_t events) {
  char path[400];
  mf_txn *txn;
  mf_error error;
  snprintf(path, sizeof path, "%s/%lld-events", folder, (long long)events);
  mf_store *store = open_new(path, false);
  for (int64_t position = 1; position <= events;) {
    if (mf_begin(store, &txn, &error) != MF_OK) sample_die("begin", &error);
    int64_t count = sample_commit(position);
    for (; count > 0 && position <= events; count--, position++)
      if (sample_append(txn, position, &error) != MF_OK) sample_die("append", &error);
    if (mf_commit(txn, &error) != MF_OK) sample_die("commit", &error);
  }
  close_new(path, store);
}

/* ---- a store that has everything ---- */

/* What a commit of it keeps beside the log. */
static int keep(mf_txn *txn, int number, mf_error *error) {
  uint8_t digest[MF_DIGEST_SIZE] = {(uint8_t)(number % 3)};
  mf_kept_command kept = {1700000000000000 + number, {"stream", 6}, {"\x81\xa1n\x01", 4}};
  int status = mf_put_code(txn, digest,
                           sample_text("\x81\xa4name\xa4"
                                       "cart"),
                           NULL, error);
  if (status == MF_OK)
    status = mf_put_snapshot(txn, sample_text("stream"), digest, number + 1,
                             sample_bytes("\x81\xa1n\x01", 4), error);
  return status == MF_OK ? mf_keep_command(txn, &kept, error) : status;
}

/* One event of a stream, and one of another between it and the next one: so its positions are many
 * runs, which do not all fit into the stream's head. */
static int append_everything(mf_txn *txn, int number, mf_error *error) {
  static uint8_t big[SAMPLE_LONG];
  char id[32], stream[32];
  mf_append_options options = MF_APPEND_OPTIONS_INIT;
  mf_new_event event = {
      sample_text("Happened"), sample_text("\x81\xa1n\x01"), {NULL, 0}, {NULL, 0}};
  static const uint8_t code[MF_DIGEST_SIZE];
  snprintf(id, sizeof id, "command-%d", number);
  if (number % 9 == 0) options.command_id = sample_text(id);
  if (number % 9 == 1) options.code = sample_bytes(code, sizeof code);
  if (number % 9 == 2) options.seed = sample_text("seed");
  options.recorded_at = 1700000000000000 + number;
  int status = mf_append(txn, sample_text("stream"), &event, 1, &options, NULL, error);
  if (status != MF_OK) return status;
  snprintf(id, sizeof id, "id-%d", number);
  if (number % 5 == 0) event.message_id = sample_text(id);
  if (number == 40) event.data = sample_bytes(big, sizeof big);
  snprintf(stream, sizeof stream, "other-%d", number % 4);
  options = (mf_append_options)MF_APPEND_OPTIONS_INIT;
  options.recorded_at = 1700000000000000 + number;
  return mf_append(txn, sample_text(stream), &event, 1, &options, NULL, error);
}

static void store_of_everything(const char *folder, const char *name, bool tamper_evident) {
  enum { COMMITS = 90 };
  char path[400];
  mf_txn *txn;
  mf_error error;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  mf_store *store = open_new(path, tamper_evident);
  for (int i = 0; i < COMMITS; i++) {
    int status = mf_begin(store, &txn, &error);
    if (status == MF_OK) status = append_everything(txn, i, &error);
    if (status == MF_OK && i % 10 == 0) status = keep(txn, i, &error);
    if (status != MF_OK) sample_die("append", &error);
    if (mf_commit(txn, &error) != MF_OK) sample_die("commit", &error);
  }
  close_new(path, store);
}

static void files(const char *folder, size_t sizes) {
  static const int64_t events[] = {0, 1, 30, 200, SAMPLE_EVENTS};
  for (size_t i = 0; i < sizes; i++)
    store_of(folder, events[i]);
  store_of_everything(folder, "everything", false);
  store_of_everything(folder, "tamper-evident", true);
}

/* ---- pieces ---- */

static void piece(const char *folder, const char *name, const void *data, size_t size) {
  char path[400];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) exit(2);
}

/* Blocks, as they stand in the pages of a store. */
static void blocks(const char *from, const char *folder) {
  static uint8_t page[8192];
  char name[32];
  FILE *file = fopen(from, "rb");
  if (!file) exit(2);
  for (int i = 0; fread(page, 1, sizeof page, file) > 4096; i++) {
    fseek(file, -4096, SEEK_CUR);
    if (page[10] != 4) continue; /* not the first page of a long value */
    uint32_t content, count = page[18] | (uint32_t)page[19] << 8;
    memcpy(&content, page + 20, 4);
    if (page[16] != 1 || content + 2 * count > sizeof page - 16) continue;
    snprintf(name, sizeof name, "block-%d", i);
    piece(folder, name, page + 16, content + 2 * count);
  }
  fclose(file);
}

typedef struct seed {
  const void *data;
  size_t size;
} seed;

#define SEED(literal)                                                                              \
  { literal, sizeof literal - 1 }

/* With each of so many first bytes, which some targets have before what they decode; 0: without. */
static void pieces(const char *root, const char *target, const seed *list, int first_bytes) {
  char folder[360], name[64];
  uint8_t bytes[1024];
  make_folder(root, target, folder, sizeof folder);
  for (int i = 0; list[i].data; i++) {
    if (first_bytes == 0) {
      snprintf(name, sizeof name, "seed-%d", i);
      piece(folder, name, list[i].data, list[i].size);
    }
    for (int first = 0; first < first_bytes; first++) {
      snprintf(name, sizeof name, "seed-%d-%d", first, i);
      bytes[0] = (uint8_t)first;
      memcpy(bytes + 1, list[i].data, list[i].size);
      piece(folder, name, bytes, list[i].size + 1);
    }
  }
}

static const seed json[] = {
    SEED("{\"a\":[1,2.5,-3e10,\"\\u00e9\\ud83d\\ude00\"],\"b\":{\"$base64\":\"//8=\"}}"),
    SEED("{\"$map\":[[1,\"one\"],[\"two\",null]]}"),
    SEED("[[],{},true,false,null,9223372036854775807]"),
    {NULL, 0}};

static const seed lua[] = {
    SEED("local a <const> = 0x1p4 // 3 ~= [==[ long ]] ]==] .. '\\x41\\u{1F600}\\z  b'\n"
         "--[[ c ]] return a"),
    SEED("return function(...) for i = 1, 10, 2 do goto e ::e:: end return ... end"),
    SEED("x=1//2>>3~4"),
    {NULL, 0}};

/* MessagePack. */
static const seed payloads[] = {
    SEED("\x83\xa1"
         "a\x01\xa1"
         "b\x92\xc0\xcb\x3f\xf8\0\0\0\0\0\0\xa1"
         "c\x21"),
    SEED("\x82\xa1"
         "a\x05\xa4list\x82\x01\xa1x\xa1x\xc3"), /* fields that scripts use */
    SEED("\x82\xa1"
         "b\xc2\xa4list\x93\xcd\x01\0\xd1\xff\0\xc4\x02\xff\xfe"),
    SEED("\x83\xff\xa1y\x02\xcf\x7f\xff\xff\xff\xff\xff\xff\xff\xa1k\x80"),
    SEED("\xdc\0\x10\0\1\2\3\4\5\6\7\x8\x9\xa\xb\xc\xd\xe\xf"),
    SEED("\xd9\x20"
         "12345678901234567890123456789012"),
    {NULL, 0}};

/* A checksum, which is always the same in this build, a time, and the state. */
#define SNAPSHOT "\xed\x5e\xed\x5e\xed\x5e\xed\x5e\0\0\0\0\0\0\0\0"
static const seed snapshots[] = {SEED(SNAPSHOT "\x82\xa3sum\x05\xa4last\x02"),
                                 SEED(SNAPSHOT "\xc0"),
                                 SEED(SNAPSHOT "\xa1x"),
                                 SEED(SNAPSHOT "\x93\x01\x02\x03"),
                                 SEED(SNAPSHOT),
                                 SEED("\xed\x5e"),
                                 {NULL, 0}};

/* The size of a key, the key, and the value: code, which begins with a time, or a command, which
 * begins with the name of its stream. */
static const seed kept[] = {SEED("\x10"
                                 "0123456789abcdef"
                                 "\1\0\0\0\0\0\0\0"
                                 "\x82\xa4name\xa1"
                                 "a\xa4path\xa1"
                                 "b"),
                            SEED("\x10"
                                 "\x80\x06\x0a\x24\x18\x1e\x40\0\0\0\0\0\0\0\0\1"
                                 "\x06stream\x82\xa4type\xa3"
                                 "Add"
                                 "\xa7outcome\xa8"
                                 "accepted"),
                            SEED("\x20"
                                 "01234567"
                                 "0123456789abcdef"
                                 "\0\0\0\0\0\0\0\x02" SNAPSHOT "\xc0"),
                            {NULL, 0}};

#define HEADER "{\"moonfold_export\":1,\"seed\":\"0000000000000001\",\"from\":1,\"to\":2}\n"
static const seed imports[] = {
    SEED("{\"stream_name\":\"s\",\"type\":\"A\",\"data\":{\"n\":1}}\n"
         "{\"stream_name\":\"s\",\"type\":\"A\",\"data_base64\":\"//8=\","
         "\"metadata\":{\"$map\":[[7,1]]},\"recorded_at\":\"2026-11-25T18:30:00.5+01:00\"}"),
    SEED(HEADER "{\"global_position\":1,\"stream_name\":\"s\",\"stream_position\":1,\"type\":\"A\","
                "\"recorded_at\":\"2026-11-25T18:28:40.123456Z\",\"message_id\":\"mine\"}\n"
                "{\"global_position\":2,\"stream_name\":{\"$base64\":\"/w==\"},"
                "\"stream_position\":1,\"type\":\"B\",\"recorded_at\":5,\"message_id\":\"i\"}\n"),
    SEED(HEADER
         "{\"stream_name\":\"s\",\"type\":\"A\",\"recorded_at\":1,\"append\":2,"
         "\"envelope\":\"ARUAAAAAAAAAAAAAAAAAAAAAAGNtZC0x\"}\n"
         "{\"stream_name\":\"s\",\"type\":\"A\",\"recorded_at\":1}\n"
         "{\"kept_code\":\"000102030405060708090a0b0c0d0e0f\",\"data\":{\"name\":\"a\"}}\n"
         "{\"kept_command\":true,\"stream_name\":\"s\",\"recorded_at\":1,\"data\":{\"type\":\"A\"}}"
         "\n"),
    {NULL, 0}};

/* What is recorded in a store: flags, a size, data. */
static const seed recorded[] = {
    SEED("\x80\x22\x03id1\xfb\x06\x82\xa1k\x01\xa1l\x02\x73\x01\xc0\x17\x02\xff\xfe"),
    SEED("\x80\x01\x01\xc0"),
    {NULL, 0}};

static const seed short_texts[] = {
    SEED("2026-11-25 18:28:40.5+01:00"),
    SEED("2024-02-29T00:00Z"),
    SEED("aGVsbG8="),
    SEED("00112233445566778899aabbccddeeff"),
    SEED("12345678"),
    SEED("7:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
    SEED("f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    SEED("caf\xc3\xa9 \\ \xff\n\x7f"),
    SEED("\x05store\0--max=5\0--since\0"
         "2026-01-01\0"),
    {NULL, 0}};

/* What a builder is told. */
static const seed built[] = {SEED("\x07\x08\x01"
                                  "a\x02\x05\x08\x01"
                                  "b\x06\x00\x01\x01\x0b\x0b"),
                             SEED("\x07\x09\x01\x05\x02hi\x09\x02\x04\x3f\xf8\0\0\0\0\0\0\x0b"),
                             {NULL, 0}};

int main(int argc, char **argv) {
  static const char *const targets[] = {"verify", "open", "gather", "salvage"};
  char folder[360], path[420];
  if (argc != 2) return 2;
  mkdir(argv[1], 0755);
  for (size_t k = 0; k < sizeof targets / sizeof *targets; k++) {
    make_folder(argv[1], targets[k], folder, sizeof folder);
    files(folder, k == 0 ? 5 : 4);
  }
  make_folder(argv[1], "verify", folder, sizeof folder);
  snprintf(path, sizeof path, "%s/%d-events", folder, SAMPLE_EVENTS);
  make_folder(argv[1], "record", folder, sizeof folder);
  blocks(path, folder);
  pieces(argv[1], "payload", payloads, 0);
  pieces(argv[1], "json", json, 0);
  pieces(argv[1], "tokens", lua, 0);
  pieces(argv[1], "value", payloads, 2);
  pieces(argv[1], "value", built, 1);
  pieces(argv[1], "snapshot", snapshots, 21);
  pieces(argv[1], "kept", kept, 3);
  pieces(argv[1], "import", imports, 2);
  pieces(argv[1], "import", recorded, 0);
  pieces(argv[1], "fold", payloads, 6);
  pieces(argv[1], "text", short_texts, 8);
  return 0;
}
