-- The exit statuses, with what they mean: for the program, its help and its manual page.

local status = {
  fine = 0, failed = 1, usage = 2, refused = 3, conflict = 4, lossy = 5, found = 6, interrupted = 130,

  meanings = {
    { 0, "fine" },
    { 1, "it failed: what went wrong is on standard error, after its code" },
    { 2, "it was called wrongly" },
    { 3, "the decider refused the command (rejected)" },
    { 4, "a conflict: version_conflict or id_conflict" },
    { 5, "salvage recovered a part" },
    { 6, "check found something" },
    { 130, "it was interrupted" },
  },
}

--- By error code; a code that is missing here is a failure.
status.of_code = {
  rejected = status.refused,
  version_conflict = status.conflict,
  id_conflict = status.conflict,
}

return status
