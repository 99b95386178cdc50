std = "lua54"
max_line_length = 120
files["spec"] = { std = "+busted" }
files["scripts/domain/*_spec.lua"] = { std = "+busted" }
files["examples/**/*_spec.lua"] = { std = "+busted" }
files["scripts/moonfold/ffi.lua"] = { std = "luajit" }
files["examples/love"] = { std = "luajit+love" }
files["examples/love/rules"] = { std = "lua54" }
files["spec/luajit.lua"] = { std = "luajit" }
files[".busted"] = { std = "lua54" }
files["spec/hostile.lua"] = { max_line_length = false } -- one attempt a line
files["spec/41-sandbox_library_spec.lua"] = { max_line_length = false }
exclude_files = { "build", "build-*" }
