-- Writes C source that holds Lua files: lua5.4 runtime/embed.lua FILE... [--texts FILE...] > build/embedded.c
-- scripts/moonfold/spec.lua becomes the module moonfold.spec, scripts/domain/cart.lua moonfold.domain.cart.

local function module_of(path)
  local name = path:match("^scripts/(.+)%.lua$"):gsub("/", ".")
  if name:find("^moonfold%.") then return name end
  return "moonfold." .. name
end

local function bytes_of(source)
  local lines = {}
  for start = 1, #source, 24 do
    lines[#lines + 1] = table.concat({ source:byte(start, start + 23) }, ",")
  end
  return table.concat(lines, ",\n")
end

print [[
/* Made by runtime/embed.lua from the files of scripts/. */
#include "internal.h"
]]

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

-- Scripts, and after "--texts" files that are data: a module that returns their texts by name.
local scripts, texts = {}, nil
for _, path in ipairs(arg) do
  if path == "--texts" then
    texts = {}
  elseif texts then
    texts[#texts + 1] = ("  [%q] = %q,\n"):format(path:match("[^/]+$"), read(path))
  else
    scripts[#scripts + 1] = { path = path, source = read(path) }
  end
end
scripts[#scripts + 1] = { path = "scripts/moonfold/templates.lua",
  source = "-- Made by runtime/embed.lua.\nreturn {\n" .. table.concat(texts or {}) .. "}\n" }

local entries = {}
for i, script in ipairs(scripts) do
  local path, source = script.path, script.source
  local module = module_of(path)
  print(("static const unsigned char source_%d[] = {%s,0};"):format(i, bytes_of(source)))
  -- A stock Lua that looks for moonfold.spec finds moonfold.so and calls this.
  local opener = "luaopen_" .. module:gsub("%.", "_")
  print(("MF_API int %s(lua_State *L);"):format(opener))
  print(("int %s(lua_State *L) { return mfr_open_script(L, %d); }"):format(opener, i - 1))
  local entry = '{"%s", "%s", (const char *)source_%d, %d},'
  entries[i] = entry:format(module, path, i, #source)
end
print("const mfr_script mfr_scripts[] = {" .. table.concat(entries, "\n") .. "{NULL, NULL, NULL, 0}};")
