-- What the fuzz targets (make fuzz) have found, each as a behaviour.

local moonfold = require "moonfold"
local support = require "support"

describe("fuzzing has shown that", function()
  it("an object that begins with a key of a tag keeps its other keys", function()
    local path = support.path()
    moonfold.open(path):close()
    local append = ("%s append %s s Noted %s"):format(support.program(), support.quote(path),
      support.quote '{"$base64": "//8=", "other": 1}')
    assert.equal(0, support.shell(append).status)
    local store <close> = moonfold.open(path)
    assert.same({ ["$base64"] = "//8=", other = 1 }, store:read_stream("s").events[1].data)
  end)

  it("an entry of the free list that is empty is told, and nothing behind it is read", function()
    local path = support.path()
    do
      local store <close> = moonfold.open(path)
      for i = 1, 20 do store:append_to_stream("s", { type = "Noted", data = ("x"):rep(i * 100) }) end
    end
    local bytes = support.read(path)
    -- The free list's root, as the meta page of the newest transaction names it; there, its first entry.
    local first, second = ("<I8"):unpack(bytes, 145), ("<I8"):unpack(bytes, 4096 + 145)
    local root = ("<I8"):unpack(bytes, (first > second and 0 or 4096) + 81) * 4096
    local node = root + ("<I2"):unpack(bytes, root + 17)
    assert.equal(8, (("<I2"):unpack(bytes, node + 7)))
    local file <close> = assert(io.open(path, "r+b"))
    file:seek("set", node)
    file:write("\0\0\0\0")
    file:flush()
    assert.is_true(moonfold.verify(path).parts.pages > 0)
  end)

  -- The newest meta page of a file: where it stands, and the number of the last page that it tells.
  local function newest_meta(bytes)
    local first, second = ("<I8"):unpack(bytes, 145), ("<I8"):unpack(bytes, 4096 + 145)
    local meta = first > second and 0 or 4096
    return meta, (("<I8"):unpack(bytes, meta + 137))
  end

  it("pages behind a file's end that nobody has given back are told: they would be lost for good", function()
    local path = support.path()
    do
      local store <close> = moonfold.open(path)
      store:append_to_stream("s", { type = "Noted" })
    end
    assert.is_true(moonfold.verify(path).sound)
    local meta, last = newest_meta(support.read(path))
    do
      local file <close> = assert(io.open(path, "r+b"))
      file:seek("set", meta + 136)
      file:write(("<I8"):pack(last + 4096))
    end
    local report = moonfold.verify(path)
    assert.is_false(report.sound)
    assert.matches("neither in use nor listed as free %(4096 such pages%)", report.problems[1].message)
  end)

  it("a link with NULs in it is no link", function()
    local path = support.path()
    moonfold.open(path, { tamper_evident = true }):close()
    local link = "1:" .. ("0"):rep(63) .. "\0"
    assert.error_matches(function() moonfold.verify(path, { link = link }) end, "a link is POSITION:HEX")
  end)

  describe("importing", function()
    local function import(path, lines, ...)
      local file = support.path()
      support.write(file, table.concat(lines, "\n") .. "\n")
      return support.shell(("%s import %s %s %s"):format(support.program(), support.quote(path), support.quote(file),
        table.concat({ ... }, " ")))
    end

    it("refuses a first line that does not tell where the export begins", function()
      local path = support.path()
      local answer = import(path, { '{"moonfold_export":1,"seed":"0000000000000001","to":1}',
        '{"stream_name":"s","type":"Noted"}' })
      assert.equal(1, answer.status)
      assert.matches("line 1, column 1: this is no first line of an export", answer.stderr, 1, true)
    end)

    it("takes no text for a time that has more behind a NUL", function()
      local path = support.path()
      local answer = import(path, { '{"stream_name":"s","type":"Noted","recorded_at":"2026-11-25\\u0000never"}' })
      assert.equal(1, answer.status)
      assert.matches('"recorded_at" is a time', answer.stderr, 1, true)
    end)

    it("takes back metadata that a C host recorded and that is no object", function()
      local path, copy, exported = support.path(), support.path(), support.path()
      import(path, { '{"stream_name":"s","type":"Noted","metadata_base64":"Cw=="}' }) -- 11
      local text = support.shell(support.program() .. " export " .. support.quote(path)).stdout
      assert.matches('"metadata_base64":"Cw=="', text, 1, true)
      support.write(exported, text)
      local answer = support.shell(("%s import %s %s"):format(support.program(), support.quote(copy),
        support.quote(exported)))
      assert.equal(0, answer.status, answer.stderr)
    end)

    -- What a C host records need not be a value of ours: bytes, for which the command line has a form.
    it("gives what export, log, tail and stats can tell, whatever the last event's data is", function()
      local path, copy, exported = support.path(), support.path(), support.path()
      import(path, { '{"stream_name":"s","type":"Noted","data":{"n":1}}',
        '{"stream_name":"s","type":"Noted","data_base64":"//8="}' })
      local function run(...)
        local answer = support.shell(support.program() .. " " .. table.concat({ ... }, " "))
        assert.equal(0, answer.status, answer.stderr)
        return answer.stdout
      end
      local quoted = support.quote(path)
      local text = run("export", quoted)
      assert.matches('"data_base64":"//8="', text, 1, true)
      assert.matches('{"$base64":"//8="}', run("log", quoted), 1, true)
      assert.matches('{"$base64":"//8="}', run("tail", quoted, "--max", "1"), 1, true)
      assert.matches("events%s+2\n", run("stats", quoted))
      support.write(exported, text)
      run("import", support.quote(copy), support.quote(exported))
      assert.equal(text, run("export", support.quote(copy)))
    end)
  end)
end)
