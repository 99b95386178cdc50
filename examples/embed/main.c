/* The smallest useful host: hands one command to the rules in rules/, and shows what came of it.
 *
 *     ./embed hero-ada PickUp '{"gold": 5}'
 *     ./embed hero-ada Buy '{"item": "potion", "price": 3}'
 *     ./embed hero-ada                                        only shows the state
 */
#include <moonfold/runtime.h>

#include <stdio.h>

static int fail(const mf_error *error) {
  fprintf(stderr, "%s: %s\n", mf_code(error->code), error->message);
  return 1;
}

static int show(int status, const mf_result *result, const mf_error *error) {
  if (status < 0) return fail(error);
  if (status == MF_REJECTED)
    printf("refused (%s): %s\n", result->reason, result->message);
  else
    printf("version %lld: %s\n", (long long)result->version, result->state);
  return 0;
}

static int run(mf_runtime *runtime, int argc, char **argv) {
  mf_result result;
  mf_error error;
  int status;
  if (argc == 2)
    status = mf_aggregate(runtime, argv[1], MF_LAST, &result, &error);
  else {
    mf_command command = MF_COMMAND_INIT;
    command.type = argv[2];
    command.data = argc > 3 ? argv[3] : NULL;
    status = mf_handle(runtime, argv[1], &command, &result, &error);
  }
  status = show(status, &result, &error);
  mf_result_free(&result);
  return status;
}

int main(int argc, char **argv) {
  mf_store *store = NULL;
  mf_runtime *runtime = NULL;
  mf_error error;
  int status = 1;
  if (argc < 2) {
    fputs("usage: embed STREAM [TYPE [DATA]], as: embed hero-ada PickUp '{\"gold\": 5}'\n", stderr);
    return 2;
  }
  if (mf_open("game.fold", NULL, &store, &error) != MF_OK ||
      mf_runtime_new(store, NULL, &runtime, &error) != MF_OK ||
      mf_load(runtime, "rules", NULL, &error) != MF_OK)
    fail(&error);
  else
    status = run(runtime, argc, argv);
  mf_runtime_free(runtime);
  return mf_close(store) == MF_OK ? status : 1;
}
