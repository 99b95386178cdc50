--- The REPL at work: the sessions in spec/transcripts/repl, run again and compared.
--
-- The first line of a transcript is the command behind "$ "; what stands behind a prompt is typed; all else is what the
-- REPL prints, in a pipe of 100 columns. Each runs in a new folder, which holds shop.fold (a store), rules/ (domain
-- scripts) and other small files. MOONFOLD_WRITE=1 in the environment writes the transcripts anew: read the difference.

local lfs = require "lfs"
local repl = require "repl"
local support = require "support"

local folder_of_transcripts = "spec/transcripts/repl"

describe("the REPL", function()
  for name in lfs.dir(folder_of_transcripts) do
    if name:find("%.txt$") then
      it("does what " .. name .. " shows", function()
        local path = folder_of_transcripts .. "/" .. name
        local transcript = support.read(path)
        local really = repl.play(transcript, repl.stage())
        if os.getenv("MOONFOLD_WRITE") then return support.write(path, really) end
        assert.are.equal(transcript, really)
      end)
    end
  end

  it("has a transcript for every dot command", function()
    local played = {}
    for name in lfs.dir(folder_of_transcripts) do
      if name:find("%.txt$") then
        for line in support.read(folder_of_transcripts .. "/" .. name):gmatch("[^\n]+") do
          local dot = (repl.typed(line) or ""):match("^%.(%a+)")
          if dot then played[dot] = true end
        end
      end
    end
    for _, dot in ipairs(require "moonfold.repl.dots") do
      assert.is_true(played[dot.name] or dot.name == "echo", "no transcript types ." .. dot.name)
    end
  end)
end)
