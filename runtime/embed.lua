-- Writes C source that holds Lua files: lua5.4 runtime/embed.lua FILE... > build/embedded.c
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

print("/* Made by runtime/embed.lua from the files of scripts/. */")
print("#include <stddef.h>")
local entries = {}
for i, path in ipairs(arg) do
  local file = assert(io.open(path, "rb"))
  local source = file:read("a")
  file:close()
  print(("static const unsigned char source_%d[] = {%s,0};"):format(i, bytes_of(source)))
  local entry = '{"%s", "%s", (const char *)source_%d, %d},'
  entries[i] = entry:format(module_of(path), path, i, #source)
end
print("typedef struct mfr_script { const char *module, *path, *source; size_t size; } mfr_script;")
print("extern const mfr_script mfr_scripts[];")
print("const mfr_script mfr_scripts[] = {" .. table.concat(entries, "\n") .. "{NULL, NULL, NULL, 0}};")
