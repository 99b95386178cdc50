/* Fuzzes all of salvage: the input is a whole file. What comes of it must be a sound store, which
 * mf_salvage() verifies itself: its refusing its own work is a finding. */
#include "file.h"
#include "store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64], new_path[80];

static void clean(void) {
  unlink(path);
  unlink(new_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mf_error error;
  if (!*path) {
    snprintf(path, sizeof path, "/dev/shm/moonfold-fuzz-salvage-%d", (int)getpid());
    snprintf(new_path, sizeof new_path, "%s.new", path);
    atexit(clean);
  }
  clean();
  write_file(path, data, size);
  int status = mf_salvage(path, new_path, NULL, NULL, &error);
  if (status != MF_OK && status != MF_CORRUPT) {
    fprintf(stderr, "%d: %s\n", status, error.message);
    abort();
  }
  if (status == MF_CORRUPT && !strstr(error.message, "nowhere")) {
    fprintf(stderr, "%s\n", error.message);
    abort();
  }
  return 0;
}
