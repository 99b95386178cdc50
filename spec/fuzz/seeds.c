/* Makes seeds for the fuzz targets in a folder: seeds FOLDER. It is built like they are, with a
 * checksum that is always the same, so that what they change is looked at behind the checksums. */
#include "../damage/sample.h"

#include <sys/stat.h>
#include <unistd.h>

static void make_folder(const char *folder, const char *target, char *out, size_t size) {
  snprintf(out, size, "%s/%s", folder, target);
  mkdir(out, 0755);
}

static void store_of(const char *folder, int64_t events, mf_durability durability) {
  char path[400], lock[420];
  mf_open_options options;
  mf_store *store;
  mf_txn *txn;
  mf_error error;
  snprintf(path, sizeof path, "%s/%lld-events", folder, (long long)events);
  snprintf(lock, sizeof lock, "%s-lock", path);
  unlink(path);
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.durability = durability;
  if (mf_open(path, &options, &store, &error) != MF_OK) sample_die("open", &error);
  for (int64_t position = 1; position <= events;) {
    if (mf_begin(store, &txn, &error) != MF_OK) sample_die("begin", &error);
    int64_t count = sample_commit(position);
    for (; count > 0 && position <= events; count--, position++)
      if (sample_append(txn, position, &error) != MF_OK) sample_die("append", &error);
    if (mf_commit(txn, &error) != MF_OK) sample_die("commit", &error);
  }
  mf_close(store);
  unlink(lock);
}

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

static void texts(const char *folder, const char *const *list) {
  char name[32];
  for (int i = 0; list[i]; i++) {
    snprintf(name, sizeof name, "text-%d", i);
    piece(folder, name, list[i], strlen(list[i]));
  }
}

int main(int argc, char **argv) {
  static const int64_t sizes[] = {0, 1, 30, 200, SAMPLE_EVENTS};
  static const char *const json[] = {
      "{\"a\":[1,2.5,-3e10,\"\\u00e9\\ud83d\\ude00\"],\"b\":{\"$base64\":\"//8=\"}}",
      "{\"$map\":[[1,\"one\"],[\"two\",null]]}", "[[],{},true,false,null,9223372036854775807]",
      NULL};
  static const char *const lua[] = {
      "local a <const> = 0x1p4 // 3 ~= [==[ long ]] ]==] .. '\\x41\\u{1F600}\\z  b'\n--[[ c ]] "
      "return a",
      "return function(...) for i = 1, 10, 2 do goto e ::e:: end return ... end", "x=1//2>>3~4",
      NULL};
  static const uint8_t encoded[] = {0x83, 0xa1, 'a', 0x01, 0xa1, 'b', 0x92, 0xc0, 0xcb, 0x3f, 0xf8,
                                    0,    0,    0,   0,    0,    0,   0xa1, 'c',  0xd9, 0x21};
  char folder[360], path[420];
  if (argc != 2) return 2;
  mkdir(argv[1], 0755);
  make_folder(argv[1], "verify", folder, sizeof folder);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    store_of(folder, sizes[i], MF_NONE);
  snprintf(path, sizeof path, "%s/%d-events", folder, SAMPLE_EVENTS);
  make_folder(argv[1], "record", folder, sizeof folder);
  blocks(path, folder);
  static const char *const files[] = {"open", "gather", "salvage"};
  for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
    make_folder(argv[1], files[k], folder, sizeof folder);
    for (size_t i = 0; i + 1 < sizeof sizes / sizeof *sizes; i++)
      store_of(folder, sizes[i], MF_NONE);
  }
  make_folder(argv[1], "payload", folder, sizeof folder);
  piece(folder, "map", encoded, sizeof encoded);
  make_folder(argv[1], "json", folder, sizeof folder);
  texts(folder, json);
  make_folder(argv[1], "tokens", folder, sizeof folder);
  texts(folder, lua);
  return 0;
}
