local sandboxed = require "sandboxed"

--- What a body returns outside of the sandbox.
local function plain(body)
  return assert(load(body, "@script.lua"))()
end

local function pack(...) return { n = select("#", ...), ... } end

--- Expressions that mean the same in the sandbox as in Lua.
local same = {
  strings = {
    "('abc'):byte(1, -1)", "('abc'):byte(-1)", "('abc'):byte(10)", "string.char()", "string.char(65, 66)",
    "('%d|%5.1f|%-5s|%05d|%x|%q|%g|%i|%c|%%'):format(3, 2.25, 'ab', 42, 255, 'a\\n\"', 1e15, 7, 65)",
    "('%s %s %s'):format(nil, true, 1.5)", "('%q'):format(1 / 3)", "('%a'):format(0.5)", "('%10.3s|'):format('abcdef')",
    "('%s'):format(setmetatable({}, { __tostring = function() return 'me' end }))",
    "('x'):rep(3, ', ')", "('x'):rep(0)", "('x'):rep(-1)", "('ab'):rep(1)", "('Hello'):upper():lower():reverse():len()",
    "('hello'):sub(2, -2)", "('hello'):sub(-100, 100)", "('a,b,c'):find(',', 1, true)", "('a.b'):find('.', 2, true)",
    "('abc'):find('')", "('abc'):find('', 10)", "('abc'):find('b', -1)", "('key = value'):match('^(%w+)%s*=%s*(%w+)$')",
    "('hello world'):gsub('o', '0')", "('hello'):gsub('', '-')", "('abc'):gsub('%w', '%0%0')", "('abc'):gsub('b', { b = 1 })",
    "('abc'):gsub('b', function() return false end)", "('x = 1'):gsub('(%w) = (%w)', '%2 = %1')",
    "('THE (quick) fox'):find('%((%a+)%)')", "('  trim '):match('^%s*(.-)%s*$')", "('2024-01-31'):match('(%d+)-(%d+)-(%d+)')",
    "('a'):rep(3):gsub('a', '%%')", "#('\\0\\0')", "'a' .. 1 .. 2.5", "'10' + 5", "'0x10' * 2", "10 .. ''", "-'2'",
    "('%5s'):format('é')", "'a' < 'b', 'a' < 'B', 'Z' < 'a', '' < 'a', 'a\\0b' < 'a\\0c'",
  },
  utf8 = { "utf8.char(72, 228, 8364)", "utf8.len('häß')", "utf8.codepoint('häß', 1, -1)", "utf8.offset('häß', 3)",
    "utf8.len('\\xff')", "utf8.charpattern" },
  numbers = {
    "tostring(1e15)", "tostring(2^53)", "tostring(-0.0)", "1e100", "3 // 2, -3 // 2, 3 % -2, 5.5 // 2", "tostring(7 // 0.0), -7 % 0.3",
    "math.floor(-3.5), math.ceil(-3.5), math.abs(-3)", "math.max(1, 2.5), math.min(3, -1)", "math.fmod(-6, 4)", "math.modf(3.75)",
    "math.sqrt(2)", "math.tointeger(3.0), math.tointeger(3.5), math.type(1), math.type(1.0), math.type('1')", "math.ult(1, -1)",
    "tostring(math.huge), tostring(-math.huge), math.pi, math.maxinteger, math.mininteger", "tonumber('0x1p4'), tonumber('1e1'), tonumber(' 10 ')",
    "tonumber('z', 36), tonumber('8', 8), tonumber('1010', 2), tonumber('abc')", "math.maxinteger + 1 == math.mininteger",
    "1 << 63, 1 << 64, -1 >> 1, 5 & 3, 5 | 3, 5 ~ 3, ~5", "100000000000000000000", "0x7fffffffffffffff + 1",
  },
  tables = {
    "table.concat({ 1, 2.5, 'x' }, ', ')", "table.concat({}, 'x')", "table.concat({ 1, 2, 3 }, '-', 2, 3)", "table.unpack({ 1, 2, 3 })",
    "table.unpack({ 1, 2, 3 }, 2)", "table.unpack({ 1, nil, 3 }, 1, 3)", "table.pack(1, nil, 3).n", "select('#', nil, nil)",
    "select(-1, 1, 2, 3)", "select(2, 'a', 'b', 'c')", "#table.move({ 1, 2, 3 }, 1, 3, 2)",
    "table.concat(table.move({ 1, 2, 3, 4 }, 2, 4, 1), ',')", "table.concat(table.move({ 1, 2, 3 }, 1, 3, 1, {}), ',')",
    "(function() local t = { 1, 2, 3 } table.insert(t, 1, 0) table.insert(t, 5) return table.concat(t, ',') end)()",
    "(function() local t = { 1, 2, 3 } return table.remove(t, 1), table.remove(t), table.remove(t, 2), #t end)()",
    "(function() local t = {} return table.remove(t), #t end)()",
    "(function() local t = { 3, 1, 2 } table.sort(t) return table.concat(t, ',') end)()",
    "(function() local t = { 'b', 'a', 'C' } table.sort(t) return table.concat(t, ',') end)()",
    "(function() local t = { 3, 1, 2.5 } table.sort(t, function(a, b) return a > b end) return table.concat(t, ',') end)()",
    "next({}), next({ 5 })", "rawlen({ 1, 2 }), rawlen('abc'), rawget({ x = 1 }, 'x'), rawequal('a', 'a')",
    "(function() local t = rawset({}, 'x', 1) return t.x end)()", "type(nil), type({}), type(print), type('')", "#{ n = 1, 1, 2 }",
    "(function() local n = 0 for i, v in ipairs({ 1, 2, nil, 4 }) do n = n + i * v end return n end)()",
  },
  lengths = {
    "#'abc' + 1, -#'ab', 2 ^ #'ab', (#'ab') ^ 2, 3 * #'ab' // 2, #{ 1, 2 } .. 'x', not #{}", "#[[a#b]], # 'x', #--[[#]]'xy', ('#'):len()",
    "(function() local t = { a = { 1, 2 }, f = function() return 'abc' end } return #t.a, #t.f(), #t['a'], #(t.a), #t.a - #t.f() end)()",
    "#setmetatable({}, { __len = function() return 'long' end })", "(function() local t = {} for i = 1, 100 do t[#t + 1] = i end return #t end)()",
    "(function()return#'abc'end)()", "1<#'ab'and#'ab'or 0", "-2 ^ -#'a', 2 ^ -#'abc', #setmetatable({}, { __pow = function() return 'four' end }) ^ 2",
  },
  metatables = {
    "setmetatable({}, { __index = { x = 5 } }).x", "setmetatable({}, { __index = function(_, k) return k .. '!' end }).x",
    "(setmetatable({}, { __call = function(_, a) return a * 2 end }))(4)", "#setmetatable({}, { __len = function() return 7 end })",
    "setmetatable({ 1 }, { __add = function(a, b) return a[1] + b end }) + 2", "tostring(setmetatable({}, { __name = 'Cart' })) ~= nil",
    "(function() local t = setmetatable({}, { __newindex = function(t, k, v) rawset(t, k, v * 2) end }) t.x = 2 return t.x end)()",
    "(function() local mt = { x = 1 } return getmetatable(setmetatable({}, mt)) == mt end)()",
    "getmetatable({}) == nil, setmetatable(setmetatable({}, {}), nil) ~= nil",
    "(function() local o = {} for k, v in pairs(setmetatable({}, { __pairs = function() return next, { a = 1 } end })) do o[#o + 1] = k .. v end "
      .. "return o[1] end)()",
    "setmetatable({}, { __eq = function() return true end }) == setmetatable({}, {})",
    "setmetatable({ 1 }, { __lt = function(a, b) return a[1] < b[1] end }) < setmetatable({ 2 }, {})",
    "(setmetatable({}, { __concat = function(_, b) return 'c' .. b end })) .. 'd'",
  },
  errors = {
    "pcall(error, 'x', 0)", "pcall(error, { code = 1 }) == false", "select(2, pcall(function() error('x') end))",
    "select(2, pcall(function() local x = nil; return x.y end))", "select(2, pcall(function() return 1 + {} end))",
    "select(2, pcall(assert, false, 'no'))", "select(2, pcall(assert, nil))", "assert(1, 2)", "select(2, pcall(error))",
    "pcall(function(...) return ... end, 1, 2)", "select(2, pcall(function() error('x', 2) end))",
    "select(2, pcall(function() return ('x').rep() end))", "select(2, pcall(function() return ('x'):bad() end))",
  },
}

describe("in the sandbox as in Lua:", function()
  for topic, expressions in pairs(same) do
    for _, expression in ipairs(expressions) do
      it(topic .. ": " .. expression, function()
        local body = "return " .. expression
        local expected, got = pack(plain(body)), pack(sandboxed.run(body))
        for i = 1, expected.n do
          local value = expected[i]
          if type(value) == "string" then value = value:gsub("^script.lua:%d+: ", "") end -- pcall tells no lines
          assert.same(value, got[i])
          assert.equal(math.type(value), math.type(got[i]))
        end
        assert.equal(expected.n, got.n)
      end)
    end
  end
end)
