-- Plants bugs in copies of the store and sees the harness find each: lua5.4 spec/faults/plant.lua BUILD CC
--
-- A harness that finds nothing is worth nothing. Each bug is one replacement in one file; where the text to replace
-- does not stand exactly once any more, that is a failure too. Prints TAP.

local build, compiler = arg[1] or "build", arg[2] or "gcc"

local bugs = {
  {
    name = "acknowledges what it has not committed", mode = "kill", file = "txn.c",
    from = "rc = commit_db(txn);",
    to = "rc = txn->base_position % 7 == 3 ? (mdb_txn_abort(txn->view.db), 0) : commit_db(txn);",
  },
  {
    name = "skips the sync", mode = "power", file = "txn.c",
    from = "mdb_env_set_flags(env->db, MDB_NOSYNC, level == MF_NONE);",
    to = "(void)level; mdb_env_set_flags(env->db, MDB_NOSYNC, 1);",
  },
  {
    name = "syncs for many only as much as the weakest of them has asked for", mode = "power", file = "group.c",
    from = "txn->durability = stronger(txn->durability, r->store->durability);",
    to = "if (r->store->durability > txn->durability) txn->durability = r->store->durability;",
  },
  {
    name = "does not sync the name of a new store", mode = "power", file = "env.c",
    from = "  int rc = mf__folder_sync(env->path);",
    to = "  int rc = 0;",
  },
  {
    name = "drops a posting", mode = "kill", file = "txn.c",
    from = "  mf__be64_write(key, head->id);",
    to = "  if (head->chunk_version > 1) return 0;\n  mf__be64_write(key, head->id);",
  },
  {
    name = "loses the end of a tail that it merges", mode = "power", file = "txn.c",
    from = "return MDB_CORRUPTED;\n  *usable = true;",
    to = "return MDB_CORRUPTED;\n  if (tail->count > 5) tail->count--;\n  *usable = true;",
  },
  {
    name = "forgets an id", mode = "power", file = "txn.c",
    from = "rc == 0 && i < txn->id_count; i++)",
    to = "rc == 0 && i + 1 < txn->id_count; i++)",
  },
  {
    name = "leaves an event out of its hash chain", mode = "concurrency", file = "txn.c",
    from = "    mf__chain_add(&chain, txn->digests[i]);",
    to = "    if (i != 1) mf__chain_add(&chain, txn->digests[i]);",
  },
  {
    name = "writes a backup under its name before it is whole", mode = "kill", file = "follow.c",
    from = "  status = mf__copy_store(store->env, temporary, error);",
    to = "  status = mf__copy_store(store->env, path, error);\n  if (status == MF_OK) {\n    free(temporary);\n"
      .. "    return MF_OK;\n  }",
  },
  {
    name = "salvages what was written and never committed", mode = "kill", file = "gather.c",
    from = "r->end_known = r->log_whole && r->streams_whole ? heads == log : r->log_whole || r->streams_whole;",
    to = "r->end_known = false;",
  },
  {
    name = "calls a copy whole that it has not synced", mode = "operations", file = "follow.c",
    from = "  if (rc == 0) rc = mf__file_sync(fd);",
    to = "",
  },
  {
    name = "leaves a backup that it has called failed", mode = "operations", file = "platform.c",
    from = "if (rc == 0 && (rc = mf__folder_sync(path)) != 0) unlink(path);",
    to = "if (rc == 0) rc = mf__folder_sync(path);",
  },
  {
    name = "overlooks a conflict", mode = "concurrency", file = "txn.c",
    from = "bool met = expected == MF_NO_CONCURRENCY_CHECK ||",
    to = "bool met = expected == MF_NO_CONCURRENCY_CHECK || expected + 1 == current ||",
  },
  {
    name = "keeps what a failed commit has written", mode = "errors", file = "txn.c",
    from = "status = rc == 0 ? MF_OK : commit_failure(txn, rc, txn->bytes.size + 65536, error);",
    to = "status = rc == 0 && txn->base_position % 5 != 2 ? MF_OK "
      .. ": mf__fail(error, MF_IO, \"planted\");",
  },
}

local TRIES = 5

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function count(text, part)
  local n, at = 0, 1
  while true do
    local first, last = text:find(part, at, true)
    if not first then return n end
    n, at = n + 1, last + 1
  end
end

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local output = pipe:read("a")
  return pipe:close() == true, output
end

--- Makes a copy of the store with the bug in it. False and why, when that is impossible.
local function plant(bug, folder)
  assert(run(("rm -rf %s && mkdir -p %s && cp store/*.[ch] %s"):format(folder, folder, folder)))
  local path = folder .. "/" .. bug.file
  local source = read(path)
  local times = count(source, bug.from)
  if times ~= 1 then
    return false, ("its text stands %d times in store/%s: plant it anew"):format(times, bug.file)
  end
  local first, last = source:find(bug.from, 1, true)
  local file = assert(io.open(path, "wb"))
  file:write(source:sub(1, first - 1), bug.to, source:sub(last + 1))
  file:close()
  local make = "make --no-print-directory -s BUILD=%s CC='%s' FAULTS_STORE=%s %s/faults/faults"
  return run(make:format(folder, compiler, folder, folder))
end

local function is_found(bug, folder)
  local planted, output = plant(bug, folder)
  if not planted then return false, output end
  -- Where a process is killed, it is a matter of luck what it was about: more on a machine that is busy.
  for seed = 7, 7 + TRIES - 1 do
    local fine
    fine, output = run(("%s/faults/faults %s --seed %d --folder %s"):format(folder, bug.mode, seed, folder))
    if not fine and output:find("\nnot ok ", 1, true) then return true end
    if not fine then break end
  end
  return false, "it was not found\n" .. output
end

local failures = 0
for i, bug in ipairs(bugs) do
  local found, why = is_found(bug, ("%s/faults/bug-%d"):format(build, i))
  print(("%s %d - a store that %s is found out (%s)"):format(found and "ok" or "not ok", i, bug.name, bug.mode))
  if not found then
    failures = failures + 1
    print("# " .. why:gsub("\n", "\n# "))
  end
  io.stdout:flush()
end
print("1.." .. #bugs)
os.exit(failures == 0)
