/* Statuses and error messages. The one place that translates LMDB's codes and errno. */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *mf_code(int status) {
  switch (status) {
#define CASE(name, value, code, text)                                                              \
  case value:                                                                                      \
    return code;
    MF_STATUS_MAP(CASE)
#undef CASE
  default:
    return "unknown";
  }
}

const char *mf_strerror(int status) {
  switch (status) {
#define CASE(name, value, code, text)                                                              \
  case value:                                                                                      \
    return text;
    MF_STATUS_MAP(CASE)
#undef CASE
  default:
    return "unknown status";
  }
}

int mf__fail(mf_error *error, int code, const char *format, ...) {
  if (!error) return code;
  error->code = code;
  error->current_version = 0;
  error->event_index = SIZE_MAX;
  va_list args;
  va_start(args, format);
  vsnprintf(error->message, sizeof error->message, format, args);
  va_end(args);
  return code;
}

static int status_of(int rc) {
  switch (rc) {
  case MDB_SUCCESS:
    return MF_OK;
  case MDB_CORRUPTED:
  case MDB_PAGE_NOTFOUND:
  case MDB_BAD_VALSIZE:
  case MDB_INVALID:
  case MDB_INCOMPATIBLE:
  case MDB_NOTFOUND:
    return MF_CORRUPT;
  case MDB_VERSION_MISMATCH:
    return MF_INCOMPATIBLE_FORMAT;
  case MDB_READERS_FULL:
  case EBUSY:
  case EAGAIN:
    return MF_BUSY;
  case ENOSPC:
  case EDQUOT:
  case EFBIG: /* RLIMIT_FSIZE, or the most that the filesystem allows */
    return MF_DISK_FULL;
  case ENOMEM:
  case MDB_MAP_FULL:
  case MDB_TXN_FULL:
    return MF_NO_MEMORY;
  case ENOENT:
  case ENOTDIR:
    return MF_NOT_FOUND;
  case EACCES:
  case EPERM:
  case EROFS:
    return MF_READ_ONLY;
  default:
    return MF_IO;
  }
}

int mf__fail_db(mf_error *error, int rc, const char *what) {
  int status = status_of(rc);
  if (status == MF_OK) return MF_OK;
  if (rc == MDB_READERS_FULL)
    return mf__fail(error, status,
                    "%s: every reader slot of the file is taken; close readers, or wait", what);
  if (rc == MDB_PANIC)
    return mf__fail(error, status,
                    "%s: a write or sync failed, and this handle can no longer tell what stands in "
                    "the file: close the store and open it again",
                    what);
  return mf__fail(error, status, "%s: %s", what, mdb_strerror(rc));
}

const char *mf__quote(mf_bytes text, char buffer[MF__QUOTED]) {
  const unsigned char *p = text.data;
  size_t out = 0;
  buffer[out++] = '"';
  for (size_t i = 0; i < text.size; i++) {
    if (out > MF__QUOTED - 12) { /* room for an escape, the dots, the quote and the NUL */
      memcpy(buffer + out, "...", 3);
      out += 3;
      break;
    }
    if (p[i] < 0x20 || p[i] == 0x7f)
      out += (size_t)snprintf(buffer + out, 5, "\\x%02x", p[i]);
    else
      buffer[out++] = (char)p[i];
  }
  buffer[out++] = '"';
  buffer[out] = '\0';
  return buffer;
}

bool mf__dooms(int status) {
  return status == MF_DISK_FULL || status == MF_IO || status == MF_CORRUPT ||
         status == MF_NO_MEMORY;
}
