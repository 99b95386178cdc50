local support = require "support"

--- Runs busted, with our helper, on a spec file of this content.
local function busted(specs)
  local file = support.write(support.path("fixture_spec.lua"), [[
    local moonfold = require "moonfold"
    local function filled()
      local store = moonfold.open(":memory:")
      store:append_to_stream("a", { { type = "A" }, { type = "A" } })
      return store
    end
  ]] .. specs)
  local command = "lua5.4 $(command -v busted) --ignore-lua --helper=spec/helper.lua --output=plainTerminal"
  return support.shell(("%s --lpath=%s --cpath=%s %s")
    :format(command, support.quote(package.path), support.quote(package.cpath), support.quote(file)))
end

local function fails_with(message, specs)
  local run = busted(specs)
  assert.not_equal(0, run.status)
  assert.matches(message, run.stdout, 1, true)
end

describe("the helper of the specs", function()
  it("lets a spec pass that closes what it opens", function()
    local run = busted [[it("is tidy", function()
      local store <close> = filled()
      for event in store:events("a") do assert.equal("A", event.type) break end
    end)]]
    assert.matches("1 success / 0 failures / 0 errors", run.stdout, 1, true)
    assert.equal(0, run.status)
  end)

  it("fails a spec that leaves a store open, and names both", function()
    local specs = [[it("forgets its store", function() filled() end)]]
    fails_with("forgets its store", specs)
    fails_with('left behind: moonfold store ":memory:" (open)', specs)
  end)

  it("fails a spec that closes the store under an unfinished iterator", function()
    fails_with('left behind: moonfold store ":memory:" (closed, 1 iterator', [[
      local kept
      it("forgets its iterator", function()
        local store <close> = filled()
        kept = table.pack(store:events("a"))
        kept[1](kept[2], kept[3])
      end)]])
  end)

  it("fails a spec that leaves an iterator in the store of its whole file", function()
    fails_with('(open, 1 iterator', [[describe("a shared store", function()
      local store, kept
      setup(function() store = filled() end)
      teardown(function() store:close() end)
      it("is iterated for ever", function()
        kept = table.pack(store:events("a"))
        kept[1](kept[2], kept[3])
      end)
    end)]])
  end)

  it("fails a file that leaves the store of its setup open", function()
    fails_with('left behind: moonfold store ":memory:" (open)', [[describe("a shared store", function()
      local store
      setup(function() store = filled() end)
      it("is used", function() assert.is_true(store:stream_exists("a")) end)
    end)]])
  end)

  it("closes what a spec left, so that the next spec is judged on its own", function()
    local run = busted [[
      it("forgets its store", function() filled() end)
      it("is tidy", function() end)
    ]]
    assert.matches("2 successes / 0 failures / 1 error", run.stdout, 1, true)
  end)
end)
