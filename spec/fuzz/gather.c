/* Fuzzes what salvage finds in a file: the input is a whole file. */
#include "../../store/internal.h"
#include "file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mf__source source = {-1, data, size};
  mf__remains remains;
  mf_error error;
  mf__gather(&source, &remains, "input", &error);
  mf__remains_free(&remains);
  return 0;
}
