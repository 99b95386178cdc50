--- The pictures of README.md are what the programs of today print.

local picture = require "picture"
local repl = require "repl"
local support = require "support"

describe("the picture of the REPL", function()
  it("is made from its transcript", function()
    local run = repl.stage()
    local transcript = support.read("spec/pictures/repl.txt")
    local session = repl.play(transcript, function(command)
      return run("export CLICOLOR_FORCE=1\n" .. command)
    end)
    local made, plain = picture.of_session(session), session:gsub("\27%[%d*m", "")
    if os.getenv("MOONFOLD_WRITE") then
      support.write("spec/pictures/repl.svg", made)
      support.write("spec/pictures/repl.txt", plain)
    end
    assert.are.equal(support.read("spec/pictures/repl.txt"), plain)
    assert.is_true(support.read("spec/pictures/repl.svg") == made,
      "it is out of date; run: MOONFOLD_WRITE=1 busted spec/65-pictures_spec.lua")
  end)

  it("stands in README.md", function()
    assert.matches("](spec/pictures/repl.svg)", support.read("README.md"), 1, true)
  end)
end)

describe("the picture of the timeline", function()
  it("is what moonfold timeline draws of that shop, and stands in README.md", function()
    local run = repl.stage()
    local made = run("moonfold timeline shop.fold")
    if os.getenv("MOONFOLD_WRITE") then support.write("spec/pictures/timeline.svg", made) end
    assert.is_true(support.read("spec/pictures/timeline.svg") == made,
      "it is out of date; run: MOONFOLD_WRITE=1 busted spec/65-pictures_spec.lua")
    assert.matches("](spec/pictures/timeline.svg)", support.read("README.md"), 1, true)
  end)
end)

describe("a picture of a session", function()
  it("has its colours, and nothing else of the terminal's language", function()
    local made = picture.of_session("$ moonfold <x>\nshop> 1 < 2\n\27[2mdim\27[0m & \27[36mblue\27[0m\n")
    assert.matches('<tspan class="prompt">shop&gt; </tspan><tspan class="typed">1 &lt; 2</tspan>', made, 1, true)
    assert.matches('<tspan class="c2">dim</tspan> &amp; <tspan class="c36">blue</tspan>', made, 1, true)
    assert.is_nil(made:find("\27", 1, true))
  end)
end)
