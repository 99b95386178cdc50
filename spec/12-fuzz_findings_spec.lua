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
end)
