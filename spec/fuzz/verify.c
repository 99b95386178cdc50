/* Fuzzes the walker and everything that verify knows: the input is a whole file. */
#include "../../store/internal.h"
#include "file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t told;

static void problem(void *context, const mf_problem *problem) {
  (void)context;
  told += strlen(problem->message) + problem->stream.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mf__source source = {-1, data, size};
  mf_verify_options options = {sizeof options, NULL, problem, NULL, NULL, 0};
  mf_verify_report report;
  mf_error error;
  mf__verify(&source, NULL, "input", &options, &report, &error);
  mf__metas metas = mf__metas_read(&source);
  if (metas.readable[metas.newest])
    mf__check_pages(&source, &metas.meta[metas.newest], false, "input", &error);
  return 0;
}
