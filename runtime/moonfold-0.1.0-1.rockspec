-- For those who keep their Lua modules with luarocks; in a clone of the repository:
--   luarocks --lua-version 5.4 make runtime/moonfold-0.1.0-1.rockspec
rockspec_format = "3.0"
package = "moonfold"
version = "0.1.0-1"
source = { url = "file://moonfold-0.1.0.tar.gz" } -- `luarocks make` builds what is here
description = {
  summary = "An event store that runs your Lua rules",
  detailed = "Streams of events in one LMDB file, and Lua functions that fold them into states and decide on commands.",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.4, < 5.5" }
external_dependencies = {
  LMDB = { header = "lmdb.h", library = "lmdb" },
  XXHASH = { header = "xxhash.h" },
}
build = {
  type = "make",
  build_target = "module",
  install_target = "install-module",
  install_variables = { MODULE_DIR = "$(LIBDIR)" },
}
