--- spec/fuzz/usage.lua writes deciders that use their events in every way that Lua has. `make fuzz` tries many more.

local usage = dofile "spec/fuzz/usage.lua"

describe("random deciders", function()
  it("come to the states of plain Lua in the sandbox, with a cache, without one, and from snapshots", function()
    local report = usage.run { rounds = 300, seed = os.time() }
    assert.same({}, report.different)
    assert.is_true(report.same > 500, "they hardly ever come to a state")
    assert.is_true(report.snapshots > 0, "no snapshot was ever used")
  end)
end)
