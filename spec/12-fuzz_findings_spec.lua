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
end)
