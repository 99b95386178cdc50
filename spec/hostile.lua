--- What hostile scripts may try, for spec/40-sandbox_hostile_spec.lua and the benchmark: a list of
--- { what, body, outcome, before = text at the top of the file }.
--
-- The body is a function's, called in the sandbox at default limits. Outcomes: "budget_exceeded"; "fails", a script's
-- ordinary error whose message has the pattern in `says` (`loading`: it does not even load); or "ends", which returns without harm.

local hostile = {}

local function try(what, outcome, body, more)
  local entry = { what = what, outcome = outcome, body = body }
  for key, value in pairs(more or {}) do entry[key] = value end
  hostile[#hostile + 1] = entry
end

local OUT, FAILS, ENDS = "budget_exceeded", "fails", "ends"

-- ## Time: loops, calls, errors

try("an empty loop", OUT, "while true do end")
try("a loop with goto", OUT, "::top:: goto top")
try("a loop that repeats until false", OUT, "repeat until false")
try("a for loop over all integers", OUT, "for i = math.mininteger, math.maxinteger do end")
try("a for loop of floats that never advances", OUT, "for i = 1e308, 1e309, 0.5 do end")
try("a loop in pcall", OUT, "pcall(function() while true do end end)")
try("a loop in pcall in a loop", OUT, "while true do pcall(function() while true do end end) end")
try("pcall of itself", OUT, "local function f() return pcall(f) end f()")
try("a tree of pcalls", OUT, "local function f() pcall(f) pcall(f) end f()")
try("a tree of pcalls with errors", OUT, "local function f() pcall(f) pcall(f) error('x') end pcall(f)")
try("pcall of pcall", OUT, "local t = {} for i = 1, 250 do t[i] = pcall end pcall(table.unpack(t))")
try("endless recursion", OUT, "local function f() return 1 + f() end f()")
try("endless recursion in pcall", OUT, "local function f() return 1 + f() end while true do pcall(f) end")
try("endless tail calls", OUT, "local function f() return f() end f()")
try("recursion through a metamethod", FAILS,
  "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) return t[1]", { says = "stack overflow" })
try("recursion through __concat, __lt, __len, __call", FAILS, [[
  local mt = {}
  for _, name in ipairs { "__concat", "__lt", "__le", "__len", "__unm", "__add", "__call" } do
    mt[name] = function(a, b) return a .. b end
  end
  local t = setmetatable({}, mt)
  while true do pcall(function() return t .. t end) end]], { says = "stack overflow" })
try("__index that is itself", FAILS, "local t = {} t.__index = t setmetatable(t, t) return t.x",
  { says = "loop" })
try("long chains of __index", OUT, [[
  local t = {}
  for i = 1, 1990 do t = setmetatable({}, { __index = t }) end
  while true do local x = t.x end]])
try("long chains of __newindex", OUT, [[
  local t = {}
  for i = 1, 1990 do t = setmetatable({}, { __newindex = t }) end
  while true do t.x = nil end]])
try("an error whose __tostring never ends", OUT,
  "error(setmetatable({}, { __tostring = function() while true do end end }))")
try("tostring that never ends", OUT, "tostring(setmetatable({}, { __tostring = function() while true do end end }))")
try("an iterator that never ends", OUT, "for _ in function() return 1 end do end")
try("pairs with a __pairs that never ends", OUT,
  "for _ in pairs(setmetatable({}, { __pairs = function() return function() return 1 end end })) do end")
try("error in error in error", OUT, [[
  local function f(e) error(setmetatable({}, { __tostring = function() return f(e) end })) end
  while true do pcall(f) end]])
try("a function of all that there is to call", OUT, "while true do select(-1, table.unpack({}, 1, 9000)) end")
try("varargs that are passed on and on", OUT, [[
  local function f(...) return f(...) end
  f(table.unpack({}, 1, 9000))]])
try("varargs that grow", FAILS, [[
  local function f(...) return f(1, ...) end
  f(table.unpack({}, 1, 9999))]], { outcome = OUT })

-- ## Memory

try("a table that grows", OUT, "local t = {} while true do t[#t + 1] = {} end")
try("a table that grows in pcall", OUT, [[
  local t = {}
  while true do pcall(function() while true do t[#t + 1] = { t } end end) end]])
try("a string that doubles", OUT, "local s = 'x' while true do s = s .. s end")
try("a string that doubles in pcall", OUT, "local s = 'x' while true do pcall(function() s = s .. s end) end")
try("many long strings", OUT, "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000000) .. i end")
try("a table with a large key", OUT, "local t = {} for i = 1, 1e9 do t[i * 1000] = i end")
try("a table that is filled from behind", OUT, "local t = {} for i = 1e9, 1, -1 do t[i] = i end")
try("closures that keep each other", OUT, "local f while true do local g = f f = function() return g end end")
try("a table that is rehashed again and again", OUT, [[
  local t, n = {}, 262144
  for i = 1, n do t["k" .. i] = i end
  for i = 1, 1e9 do t["k" .. i] = nil t["k" .. i + n] = i end]])
try("the edge of memory, again and again", OUT, [[
  local keep = {}
  pcall(function() while true do keep[#keep + 1] = ("x"):rep(100) .. #keep end end)
  while true do local t = { {}, {}, {} } end]])
try("a deep nest of tables, to be encoded", FAILS, [[
  local t = {}
  for i = 1, 1000 do t = { t } end
  return t]], { says = "128" })
try("a few tables that stand for billions, hashed", OUT, [[
  local t = {}
  for i = 1, 100 do t = { t, t } end
  return moonfold.hash(t)]])
try("a few tables that stand for billions, as JSON", OUT, [[
  local t = {}
  for i = 1, 100 do t = { t, t } end
  return moonfold.to_json(t)]])
try("a few tables that stand for billions, in an event", OUT, [[
  local t = {}
  for i = 1, 100 do t = { t, t } end
  return t]])
try("JSON that is parsed and parsed", OUT, [[
  local text = "[" .. ("[1,2,3],"):rep(10000) .. "1]"
  while true do moonfold.from_json(text) end]])
try("a hash of much, again and again", OUT, [[
  local t = {}
  for i = 1, 100000 do t[i] = i end
  while true do moonfold.hash(t) end]])

-- ## Strings and patterns

try("comparing long strings", OUT, [[
  local a, b = ("x"):rep(1048576), ("x"):rep(1048575) .. "x"
  while true do local _ = a == b end]])
try("ordering long strings", OUT, [[
  local a, b = ("x"):rep(1000000), ("x"):rep(1000000) .. "y"
  while true do local _ = a < b end]])
try("ordering strings of NULs", OUT, [[
  local a, b = ("\0"):rep(1000000), ("\0"):rep(1000000) .. "y"
  while true do local _ = a < b end]])
try("ordering strings of NULs that the file has", OUT, "while true do local _ = a < b end",
  { before = 'local a, b = ("\\0"):rep(1000000), ("\\0"):rep(999999) .. "y"' })
try("ordering strings of NULs that are not quite long", OUT, [[
  local a, b = ("\0"):rep(16000), ("\0"):rep(15999) .. "y"
  while true do local _ = a < b end]])
try("arithmetic on long numerals that the file has", OUT, "while true do local _ = s + 1 end",
  { before = "local s = ('9'):rep(1000000)" })
try("arithmetic on long numerals", OUT, "local s = ('9'):rep(1000000) while true do local _ = s + 1 end")
try("bits of long numerals", OUT, "local s = '1' .. ('0'):rep(1000000) while true do local _ = pcall(function() return s | 1 end) end")
try("tonumber of long numerals", OUT, "local s = ('9'):rep(1000000) while true do tonumber(s) end")
try("tonumber of long blanks", OUT, "local s = (' '):rep(1000000) while true do tonumber(s) tonumber(s, 36) end")
try("a long string as a key", OUT, "local s, t = ('x'):rep(1000000), {} while true do t[s .. 'y'] = 1 end")
try("rep of nothing", ENDS, "return (''):rep(1 << 62), (''):rep(1 << 62, '')")
try("rep of too much", FAILS, "return ('x'):rep(1 << 40)", { says = "too large" })
try("rep with an overflow", FAILS, "return ('x'):rep(math.maxinteger, 'yyyyyyyy')", { says = "too large" })
try("rep again and again", OUT, "while true do local _ = ('x'):rep(1000000) end")
try("format with a huge width", FAILS, "return ('%99999d'):format(1)", { says = "invalid" })
try("format with many widths", OUT, "local f = ('%99.99f'):rep(200) local t = {} for i = 1, 200 do t[i] = 1e308 end\n"
  .. "while true do f:format(table.unpack(t)) end")
try("format of long strings", OUT, "local s = ('x'):rep(100000) while true do ('%s%s%q'):format(s, s, s) end")
try("format of an address", FAILS, "return ('%p'):format({})", { says = "address" })
try("upper, lower, reverse, sub of long strings", OUT,
  "local s = ('x'):rep(1000000) while true do s:upper():lower():reverse():sub(2) end")
try("byte of a long string", FAILS, "return ('x'):rep(1000000):byte(1, -1)", { says = "too long" })
try("bytes again and again", OUT, "local s = ('x'):rep(9000) while true do s:byte(1, -1) end")
try("char of many bytes", OUT, "local t = { ('x'):rep(9000):byte(1, -1) } while true do string.char(table.unpack(t)) end")
try("a pattern of many stars", OUT, "return (('a'):rep(30)):find(('a*'):rep(30) .. 'b')")
try("a pattern of many question marks", OUT, "return (('a'):rep(30)):find(('a?'):rep(30) .. ('a'):rep(30) .. 'b')")
try("a pattern of many minuses", OUT, "return (('a'):rep(3000)):find(('.-'):rep(6) .. 'b')")
try("a pattern that starts anywhere", OUT, "return (('a'):rep(1000000)):find('.-b')")
try("a balanced pattern", OUT, "return (('('):rep(1000000)):find('%b()')")
try("a pattern with back references", OUT, "return (('a'):rep(100000)):find('(a*)(a*)(a*)%1%2%3b')")
try("a pattern with a long set", OUT, "return (('a'):rep(100000)):find('[' .. ('b'):rep(100000) .. ']')")
try("a pattern that is too deep", FAILS, "return (('a'):rep(1000)):find(('(a)'):rep(40))", { says = "captures" })
try("a frontier with a long set", OUT, "return (('a'):rep(100000)):find('%f[' .. ('b'):rep(100000) .. ']')")
try("gsub with a callback that never ends", OUT, "('a'):gsub('a', function() while true do end end)")
try("gsub that makes much of little", OUT, "return (('a'):rep(1000)):gsub('a', ('b'):rep(10000))")
try("gsub of nothing, everywhere", OUT, "local s = ('a'):rep(100000) while true do s:gsub('', 'x') end")
try("gmatch of nothing, everywhere", OUT, "local s = ('a'):rep(100000) while true do for _ in s:gmatch('') do end end")
try("find of plain text", OUT, "local s = ('a'):rep(1000000) while true do s:find('b', 1, true) end")
try("find of a long needle", OUT, [[
  local s, needle = ('a'):rep(1000000), ('a'):rep(500000) .. 'b'
  while true do s:find(needle, 1, true) end]])
try("utf8 of long strings", OUT, "local s = ('é'):rep(100000) while true do utf8.len(s) utf8.offset(s, -1) end")
try("utf8 codepoints of a long string", FAILS, "return utf8.codepoint(('x'):rep(1000000), 1, -1)", { says = "too" })
try("utf8.char of many", OUT, "local t = {} for i = 1, 9000 do t[i] = 0x7fffffff end while true do utf8.char(table.unpack(t)) end")
try("concat of much", OUT, "local t = {} for i = 1, 100 do t[i] = ('x'):rep(100000) end return table.concat(t)")
try("concat of many, again and again", OUT, [[
  local t = {}
  for i = 1, 100000 do t[i] = "x" end
  while true do table.concat(t) end]])
try("concat with a long separator", OUT, "local t, s = { 1, 2, 3 }, ('x'):rep(1000) while true do table.concat(t, s, 1, 3) end")
try("concat of a range of holes", FAILS, "return table.concat({}, '', 1, math.maxinteger)", { says = "invalid value" })
try("concat of objects that say they are long", OUT, [[
  local t = setmetatable({}, { __len = function() return 1 << 50 end, __index = function() return "x" end })
  return table.concat(t)]])

-- ## Tables

try("insert into what says it is long", OUT, [[
  local t = setmetatable({}, { __len = function() return 1 << 50 end })
  table.insert(t, 1, "x")]])
for what, call in pairs { insert = "table.insert(t, 1, 'x')", remove = "table.remove(t, 1)", sort = "table.sort(t)",
  unpack = "while true do table.unpack(t, 1, 9999) end", move = "while true do table.move(t, 1, 1000000, 1, {}) end",
  concat = "table.concat(t)" } do
  try(what .. " of what reads its items through a long chain", OUT, ([[
    local t = %s
    for i = 1, 1980 do t = setmetatable({}, { __index = t }) end
    t = setmetatable({}, { __index = t, __len = function() return 1000000 end })
    %s]]):format(what == "concat" and "(function() local l = {} for i = 1, 50000 do l[i] = 'x' end return l end)()" or "{}", call))
end
try("insert at the front of a long list", OUT, [[
  local t = {}
  for i = 1, 1000000 do t[i] = i end
  while true do table.insert(t, 1, 0) end]])
try("remove from the front of a long list", OUT, [[
  local t = {}
  for i = 1, 1000000 do t[i] = i end
  while true do table.remove(t, 1) end]])
try("a length that is none", FAILS, "table.insert(setmetatable({}, { __len = function() return -1 end }), 1)",
  { says = "length" })
try("move of all integers", OUT, "table.move({}, 1, math.maxinteger - 1, 2)")
try("move with an overflow", FAILS, "table.move({}, math.mininteger, math.maxinteger, 2)", { says = "too many" })
try("move onto itself, again and again", OUT, "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.move(t, 1, 1e5, 2) end")
try("unpack of all integers", FAILS, "return table.unpack({}, 1, math.maxinteger)", { says = "too many" })
try("unpack with an overflow", FAILS, "return table.unpack({}, math.mininteger, math.maxinteger)", { says = "too many" })
try("unpack again and again", OUT, "while true do table.unpack({}, 1, 9000) end")
try("sort with a comparison that never ends", OUT, "table.sort({ 1, 2 }, function() while true do end end)")
try("sort with comparisons that contradict each other", ENDS, [[
  local t = {}
  for i = 1, 1000 do t[i] = i end
  table.sort(t, function() return true end)
  local n = 0
  table.sort(t, function(a, b) n = n + 1 return n % 3 == 0 end)
  return #t]])
try("sort that changes its list", ENDS, [[
  local t = {}
  for i = 1, 100 do t[i] = i end
  table.sort(t, function(a, b) t[#t + 1] = 1 t[1] = nil return a < b end)]])
try("sort of much", OUT, "local t = {} for i = 1, 1e6 do t[i] = -i end while true do table.sort(t) end")
try("sort of long strings of NULs", OUT, [[
  local a, b, t = ("\0"):rep(1000000), ("\0"):rep(1000000) .. "y", {}
  for i = 1, 3000 do t[i] = i % 2 == 0 and a or b end
  table.sort(t)]])
try("sort of what cannot be compared", FAILS, "table.sort { 1, 'x', {} }", { says = "compare" })
try("next on an emptied table", OUT, [[
  local t = {}
  for i = 1, 500000 do t["k" .. i] = i end
  for i = 1, 500000 do t["k" .. i] = nil end
  while true do next(t) end]])
try("pairs on an emptied table", OUT, [[
  local t = {}
  for i = 1, 500000 do t["k" .. i] = i end
  for i = 1, 500000 do t["k" .. i] = nil end
  while true do pairs(t) end]])
try("pairs of much, again and again", OUT, [[
  local t = {}
  for i = 1, 100000 do t["k" .. i] = i end
  while true do for _ in pairs(t) do break end end]])
try("next through a large table", OUT, [[
  local t, k = {}, nil
  for i = 1, 100000 do t["k" .. i] = i end
  repeat k = next(t, k) until not k]])
try("a hash of an emptied table", OUT, [[
  local t = {}
  for i = 1, 500000 do t["k" .. i] = i end
  for i = 1, 500000 do t["k" .. i] = nil end
  while true do moonfold.hash(t) end]])
try("lengths of long lists", OUT, "local t = {} for i = 1, 1e6 do t[i] = i end while true do local _ = #t end")
try("a list with a hole at its end, measured again and again", OUT, [[
  local t = {}
  for i = 1, 1000000 do t[i] = i end
  for i = 1000000, 2, -1 do t[i] = nil end
  while true do local _ = #t end]])
try("tables that are made and dropped", OUT, "while true do local _ = { 1, 2, 3, { 4, 5 } } end")
try("metatables that are made and dropped", OUT, "while true do setmetatable({}, { __index = {} }) end")
try("a metatable of many fields, set again and again", OUT, [[
  local mt = {}
  for i = 1, 100000 do mt["k" .. i] = i end
  while true do setmetatable({}, mt) end]])

-- ## Printing

try("print without end", OUT, "while true do print('x') end")
try("print of much", OUT, "local s = ('x'):rep(1000000) while true do print(s, s, s) end")

-- ## Ways out

for _, name in ipairs { "os", "io", "debug", "package", "coroutine" } do
  try(name, FAILS, ("return %s.x"):format(name), { says = "there is no " .. name })
end
for _, name in ipairs { "load", "loadstring", "loadfile", "dofile", "collectgarbage", "xpcall", "_G", "getfenv", "newproxy" } do
  try(name, FAILS, ("return %s"):format(name), { says = "there is no " })
end
try("string.dump", FAILS, "return string.dump(function() end)", { says = "there is no string.dump" })
try("the metatable of strings", ENDS, "assert(getmetatable('') == nil)")
try("the string library through a string", FAILS, "('').rep = nil", { says = "attempt to index" })
try("a new string method", FAILS, "string.evil = print", { says = "read%-only" })
try("another table.insert", FAILS, "rawset(table, 'insert', print)", { says = "read%-only" })
try("a metatable for the libraries", FAILS, "setmetatable(string, {})", { says = "read%-only" })
try("a metatable for the globals", FAILS, "setmetatable(_ENV, {})", { says = "read%-only" })
try("a global through _ENV", FAILS, "_ENV.x = 1", { says = "local" })
try("a global through rawset", FAILS, "rawset(_ENV, 'x', 1)", { says = "read%-only" })
try("an environment of one's own", ENDS, "local _ENV = {} x = 1 return x")
try("another module table", FAILS, "moonfold.event = print", { says = "read%-only" })
try("a store", FAILS, "return moonfold.open('/tmp/x')", { says = "opens no store" })
try("the file system", FAILS, "return require('os')", { says = "module" })
try("a module out of the folder", FAILS, "return require('../x')", { says = "module" })
try("bytecode", FAILS, "return require('bytecode')", { loading = true, before = "require 'bytecode'",
  files = { ["bytecode.lua"] = string.dump(function() end) } })
for _, field in ipairs { "__gc", "__mode", "__close", "__metatable" } do
  try(field, FAILS, ("setmetatable({}, { %s = 'k' })"):format(field), { says = field })
end
try("a finalizer that comes late", ENDS, [[
  local mt = {}
  setmetatable({}, mt)
  mt.__gc = function() while true do end end
  for i = 1, 100000 do local _ = {} end]])
try("a variable to be closed", FAILS, [[
  local mt = {}
  local t = setmetatable({}, mt)
  mt.__close = function() while true do end end
  local x <close> = t]], { says = "non%-closable" })
try("an address of a table", ENDS, "assert(tostring({}) == 'table') assert(('%s'):format({}) == 'table')")
try("an address of a function", ENDS, "assert(tostring(print) == 'function') assert(tostring(function() end) == 'function')")
try("an address in the name of a global", ENDS, [[
  for _, key in ipairs { {}, print, function() end } do
    local _, e = pcall(function() _ENV[key] = 1 end)
    assert(e:find('"' .. type(key) .. '"') and not e:find("0x"), e)
  end]])
try("an address in an error", ENDS, [[
  local _, e = pcall(function() local t = {} return t < t end)
  assert(not e:find("0x"), e)
  _, e = pcall(function() return {} .. "" end)
  assert(not e:find("0x"), e)
  _, e = pcall(error, {})
  assert(type(e) == "table")
  _, e = pcall(ipairs)
  assert(not e:find("0x"), e)]])
try("a path in an error", ENDS, "local _, e = pcall(error, 'x', 2) assert(not e:find('/'), e) return e")
try("the sign of a NaN", ENDS, "assert(tostring(0/0) == tostring(-(0/0))) assert(('%f'):format(0/0) == ('%f'):format(-(0/0)))")

-- ## What one call leaves behind for the next

try("a local variable of the file", FAILS, "n = n + 1 return n", { before = "local n = 0", says = '"n"' })
try("a table of the file", FAILS, "t[1] = 1", { before = "local t = {}", says = "read%-only" })
try("a table in a table of the file", FAILS, "t.a.b.c = 1", { before = "local t = { a = { b = {} } }", says = "read%-only" })
try("a table that a closure keeps", FAILS, "return f()", { before = "local f do local t = {} f = function() t[1] = 1 end end",
  says = "read%-only" })
try("a table in a metatable", FAILS, "getmetatable(o).__index.x = 1", { before = "local o = setmetatable({}, { __index = {} })",
  says = "read%-only" })
try("a table by table.insert", FAILS, "table.insert(t, 1)", { before = "local t = {}", says = "read%-only" })
try("a table by table.sort", FAILS, "table.sort(t)", { before = "local t = { 2, 1 }", says = "read%-only" })
try("a table by table.move", FAILS, "table.move({ 1 }, 1, 1, 1, t)", { before = "local t = {}", says = "read%-only" })
try("an object's __newindex", FAILS, "o.x = 1", { before = "local o = setmetatable({}, { __newindex = rawset })",
  says = "read%-only" })
try("an object's __index that remembers", FAILS, "return o.x", {
  before = "local o = setmetatable({}, { __index = function(o, k) o[k] = 1 return 1 end })", says = "read%-only" })
try("an iterator of an earlier call", FAILS, "return f()", { before = "local f = pairs { 1, 2, 3 }", says = "earlier call" })
try("a match of an earlier call", FAILS, "return f()", { before = "local f = ('abc'):gmatch('.')", says = "earlier call" })
try("a parameter", FAILS, "top.x = 1", { params = { x = 0 }, says = "read%-only" })
try("the state", FAILS, "state.x = 1", { says = "must not change the state" })
try("the state, deep", FAILS, "state.a.b[1] = 1", { state = "{ a = { b = {} } }", says = "state%.a%.b%[1%]" })
try("the state, by rawset", FAILS, "rawset(state, 'x', 1)", { says = "must not change the state" })
try("the state, by table.insert", FAILS, "table.insert(state, 1)", { says = "must not change the state" })
try("the state, by table.sort", FAILS, "table.sort(state.a)", { state = "{ a = { 2, 1 } }", says = "must not change the state" })
try("the state, by a metatable", FAILS, "setmetatable(state, {})", { says = "must not change the state" })
try("the state, by moonfold.array", FAILS, "moonfold.array(state)", { says = "metatable" })
try("the state, through what pairs gives", FAILS, "for _, v in pairs(state) do v.x = 1 end",
  { state = "{ a = {} }", says = "state%.a" })
try("the state, through what ipairs gives", FAILS, "for _, v in ipairs(state) do v.x = 1 end",
  { state = "{ {} }", says = "state%[1%]" })
try("the state, through what next gives", FAILS, "local _, v = next(state) v.x = 1",
  { state = "{ a = {} }", says = "state%.a" })
try("the state, through what rawget gives", FAILS, "rawget(state, 'a').x = 1",
  { state = "{ a = {} }", says = "state%.a" })
try("the state, through what unpack gives", FAILS, "local v = table.unpack(state) v.x = 1",
  { state = "{ {} }", says = "state%[1%]" })
try("the state, through the metatable that it was given", FAILS, "getmetatable(state).__index.x = 1",
  { state = "function() return setmetatable({}, { __index = {} }) end", says = "must not change the state" })
try("the state, through a table in that metatable", FAILS, "state.a.x = 1",
  { state = "function() return setmetatable({}, { __index = { a = {} } }) end", says = "state%.a%.x" })
try("the state, through its class", FAILS, "state:set()", {
  before = "local C = {} C.__index = C function C:set() self.x = 1 end", state = "function() return setmetatable({}, C) end",
  says = "must not change the state" })
try("the state, through an __index of its class", FAILS, "return state.x", {
  before = "local C = { __index = function(s, k) s[k] = 1 return 1 end }", state = "function() return setmetatable({}, C) end",
  says = "must not change the state" })

return hostile
