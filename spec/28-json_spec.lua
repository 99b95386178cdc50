local moonfold = require "moonfold"
local support = require "support"

local to_json, from_json = moonfold.to_json, moonfold.from_json

describe("to_json", function()
  it("writes the simple values", function()
    assert.equal("true", to_json(true))
    assert.equal("false", to_json(false))
    assert.equal("null", to_json(moonfold.null))
    assert.equal('"moon"', to_json "moon")
    assert.equal("7", to_json(7))
  end)

  it("writes lists, maps and nothing between their parts", function()
    assert.equal("[1,2,[3]]", to_json { 1, 2, { 3 } })
    assert.equal('{"a":{"b":[true,null]}}', to_json { a = { b = { true, moonfold.null } } })
  end)

  it("tells an empty list from an empty map by its mark", function()
    assert.equal("{}", to_json {})
    assert.equal("[]", to_json(moonfold.array()))
    assert.equal('{"list":[],"map":{}}', to_json { map = {}, list = moonfold.array {} })
  end)

  it("sorts keys by their bytes", function()
    assert.equal('{"":0,"A":1,"a":2,"a b":3,"aa":4,"b":5,"é":6}',
      to_json { ["é"] = 6, b = 5, aa = 4, ["a b"] = 3, a = 2, A = 1, [""] = 0 })
  end)

  it("writes the same text whatever the order in which keys were set", function()
    local one, other = {}, {}
    for i = 1, 200 do one["key" .. i] = i end
    for i = 200, 1, -1 do other["key" .. i] = i end
    assert.equal(to_json(one), to_json(other))
  end)

  it("shows integer keys as strings", function()
    assert.equal('{"3":"sword"}', to_json { [3] = "sword" })
    assert.equal('{"slots":{"-1":true}}', to_json { slots = { [-1] = true } })
  end)

  it("writes integers exactly, to the last of 64 bits", function()
    assert.equal("9007199254740993", to_json(9007199254740993))
    assert.equal("9223372036854775807", to_json(math.maxinteger))
    assert.equal("-9223372036854775808", to_json(math.mininteger))
    assert.equal("[0,-1]", to_json { 0, -1 })
  end)

  it("writes a float so that it is seen to be one", function()
    for _, x in ipairs { 0.0, 1.0, -3.0, 1e15, 2.0 ^ 53, 2.0 ^ 63, 1e22, 1e100, -1e300 } do
      local text = to_json(x)
      assert.matches("[.eE]", text)
      assert.equal("float", math.type(from_json(text)), text)
    end
    assert.equal("1.0", to_json(1.0))
    assert.equal("-0.0", to_json(-0.0))
  end)

  it("writes the shortest text from which a float comes back the same", function()
    assert.equal("0.1", to_json(0.1))
    assert.equal("2.5", to_json(2.50))
    assert.equal("0.3333333333333333", to_json(1 / 3))
    assert.equal("0.30000000000000004", to_json(0.1 + 0.2))
    for _, x in ipairs { math.pi, 1 / 7, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 123456.789e3 } do
      assert.equal(x, from_json(to_json(x)))
      assert.equal(-x, from_json(to_json(-x)))
    end
  end)

  it("escapes what JSON wants escaped, and nothing of what UTF-8 can say", function()
    assert.equal([["\"\\"]], to_json '"\\')
    assert.equal('"Grüße, 月 😀"', to_json "Grüße, 月 😀")
    for byte = 0, 31 do
      local text = to_json(string.char(byte))
      assert.is_nil(text:find("%c"))
      assert.equal(string.char(byte), from_json(text))
    end
    assert.equal("a/b\127", from_json(to_json "a/b\127"))
  end)

  it("refuses text that is no UTF-8, and says where it is", function()
    for _, text in ipairs { "\255", "a\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80" } do
      support.fails("invalid_argument", { path = "value" }, to_json, text)
      support.fails("invalid_argument", { path = "value.items[2].name" }, to_json,
        { items = { { name = "good" }, { name = text } } })
      support.fails("invalid_argument", nil, to_json, { [text] = 1 })
    end
  end)

  it("refuses what JSON has no word for, and says where it is", function()
    for _, value in ipairs { 0 / 0, math.huge, -math.huge, print, io.stdout, coroutine.create(print) } do
      support.fails("invalid_argument", { path = "value" }, to_json, value)
      support.fails("invalid_argument", { path = "value.a[2]" }, to_json, { a = { 1, value } })
    end
    support.fails("invalid_argument", { path = "value" }, to_json, nil)
    support.fails("invalid_argument", nil, to_json, { [1.5] = 1 })
  end)

  it("writes 128 levels and refuses 129", function()
    local function nested(depth)
      local value = 1
      for _ = 1, depth do value = { value } end
      return value
    end
    assert.equal(("["):rep(128) .. "1" .. ("]"):rep(128), to_json(nested(128)))
    support.fails("invalid_argument", nil, to_json, nested(129))
  end)
end)

describe("from_json", function()
  it("reads the simple values", function()
    assert.is_true(from_json "true")
    assert.is_false(from_json "false")
    assert.is_true(from_json "null" == moonfold.null)
    assert.equal("moon", from_json '"moon"')
    assert.equal("", from_json '""')
  end)

  it("reads lists and maps", function()
    assert.same({ 1, { 2, { a = "b" } } }, from_json '[1,[2,{"a":"b"}]]')
    assert.same({ a = { b = { true, false } } }, from_json ' { "a" : { "b" : [ true , false ] } } ')
  end)

  it("keeps null in lists and maps", function()
    local value = from_json '{"list":[1,null,3],"none":null}'
    assert.equal(3, #value.list)
    assert.is_true(value.list[2] == moonfold.null)
    assert.is_true(value.none == moonfold.null)
  end)

  it("keeps an empty list apart from an empty map", function()
    assert.equal('{"list":[],"map":{}}', to_json(from_json '{"map":{},"list":[]}'))
    assert.equal("[[],{}]", to_json(from_json "[[],{}]"))
  end)

  it("reads numbers without point and exponent as integers, exactly", function()
    for text, n in pairs {
      ["0"] = 0, ["-1"] = -1, ["9007199254740993"] = 9007199254740993,
      ["9223372036854775807"] = math.maxinteger, ["-9223372036854775808"] = math.mininteger,
    } do
      assert.equal(n, from_json(text))
      assert.equal("integer", math.type(from_json(text)))
    end
  end)

  it("reads numbers with point or exponent as floats", function()
    for text, x in pairs { ["1.0"] = 1.0, ["-0.0"] = -0.0, ["1e2"] = 100.0, ["2.50"] = 2.5, ["1E-2"] = 0.01 } do
      assert.equal(x, from_json(text))
      assert.equal("float", math.type(from_json(text)))
    end
    assert.equal(-math.huge, 1 / from_json "-0.0")
  end)

  it("never makes another integer of one that needs more than 64 bits", function()
    for _, text in ipairs { "9223372036854775808", "-9223372036854775809", "18446744073709551616" } do
      local read, value = pcall(from_json, text)
      assert.is_true(not read or math.type(value) == "float", text)
    end
  end)

  it("never makes an infinity", function()
    local read, value = pcall(from_json, "1e999")
    assert.is_true(not read or value < math.huge)
  end)

  it("understands escapes", function()
    assert.equal('"\\/\b\f\n\r\t', from_json [["\"\\\/\b\f\n\r\t"]])
    assert.equal("é月", from_json [["\u00e9\u6708"]])
    assert.equal("😀", from_json [["\ud83d\ude00"]])
    assert.equal("a\0b", from_json [["a\u0000b"]])
    assert.same({ ["a\0b"] = 1 }, from_json [[{"a\u0000b":1}]])
  end)

  it("keeps keys as the strings that they are", function()
    assert.same({ ["3"] = 1 }, from_json '{"3":1}')
    assert.same({ [""] = 1 }, from_json '{"":1}')
  end)

  local bad = {
    "", " ", "{", "[1", "[1,", "[1,]", "[,1]", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", "{'a':1}", "'a'", '"a', "tru",
    "nul", "True", "NULL", "nan", "NaN", "Infinity", "-Infinity", "-", "+1", "01", "1.", ".5", "1e", "0x10", "1 2",
    "[1] x", "[1]]", "1,", "/* c */ 1", "// c\n1", "# c", '"\\x41"', '"\\u12"', '"a\nb"', '"\0"', "1\0",
    '"\255"', "undefined", "{1:2}", "[1 2]", '{"a" 1}',
    '{"a":1,"a":2}', '{"a":1 "b":2}', "[1,,2]", "{,}", '"\\ud83d"', '"\\ude00\\ud83d"', '"\\q"', "--1", "- 1",
    "1e+", "\0",
  }
  for _, text in ipairs(bad) do
    it(("refuses %q, which is no JSON"):format(text):gsub("\\\n", "\\n"), function()
      support.fails("invalid_argument", { path = "text" }, from_json, text)
    end)
  end

  it("says where a text goes wrong", function()
    local failure = support.fails("invalid_argument", { path = "text" }, from_json, '{"a":1,\n"b":oops}')
    assert.matches("%d", failure.message)
  end)

  it("reads 128 levels and refuses 129", function()
    local function nested(depth) return ("["):rep(depth) .. ("]"):rep(depth) end
    assert.equal(nested(128), to_json(from_json(nested(128))))
    support.fails("invalid_argument", nil, from_json, nested(129))
    support.fails("invalid_argument", nil, from_json, nested(100000))
    local wide = "[" .. ("[{}],"):rep(500) .. "[]]"
    assert.equal(501, #from_json(wide))
  end)
end)

describe("JSON", function()
  it("that is read and written again is the same, once it is in order", function()
    for _, text in ipairs {
      '{"a":[1,2.5,"x",null,true,{"b":{}}],"z":[]}', "[[[]]]", '{"price":12.0,"seen":9007199254740993}',
      '["\\u0000","é"]', "[-0.0,0.0,0]",
    } do
      assert.equal(text, to_json(from_json(text)))
    end
  end)

  it("goes through a store unchanged", function()
    local store <close> = moonfold.open(":memory:")
    local text = '{"a":[1,1.0,"1",null,[],{}],"b":{"c":-0.0}}'
    store:append_to_stream("a", moonfold.event("Imported", from_json(text)))
    assert.equal(text, to_json(store:read_stream("a").events[1].data))
  end)

  it("may be long", function()
    local list = {}
    for i = 1, 50000 do list[i] = { id = i, name = "name " .. i, price = i / 4 } end
    assert.same(list, from_json(to_json(list)))
  end)
end)
