--- The example pricing_rules: the transcript in its README is played in a copy of its folder, and compared.
--- MOONFOLD_WRITE=1 in the environment writes it anew.

local moonfold = require "moonfold"
local support = require "support"

local quote = support.quote
local source = "examples/pricing_rules"


-- A copy of the folder: run(command) -> what it writes.
local function stage()
  local folder = support.folder()
  assert(support.shell(("cp -r %s/. %s"):format(source, quote(folder))).status == 0)
  local setting = ([[cd %s
    unset LUA_PATH LUA_INIT LUA_CPATH LD_PRELOAD
    export PATH=%s:$PATH LC_ALL=C.UTF-8
    exec 2>&1
  ]]):format(quote(folder), quote(support.program():match("^(.*)/")))
  return function(command) return support.shell(setting .. command).stdout end, folder
end

local function played(readme, run)
  return (readme:gsub("```console\n(.-)```", function(block)
    local parts = {}
    for line in block:gmatch("[^\n]+") do
      local command = line:match("^%$ (.*)$")
      if command then parts[#parts + 1] = line .. "\n" .. run(command) end
    end
    return "```console\n" .. table.concat(parts) .. "```"
  end))
end

describe("the example pricing_rules", function()
  it("does what its README shows", function()
    local readme = support.read(source .. "/README.md")
    local really = played(readme, (stage()))
    if os.getenv("MOONFOLD_WRITE") then return support.write(source .. "/README.md", really) end
    assert.equal(readme, really)
  end)

  it("says what it takes", function()
    local run = stage()
    assert.matches("say one of: sell STORE FOLDER, .*", run "moonfold run main.lua 2>&1")
    assert.matches("try takes STORE NEW OLD", run "moonfold run main.lua try shop.fold november 2>&1")
  end)

  it("keeps what its quotes were made by", function()
    local run, folder = stage()
    run "moonfold new quote --like pricing"
    run "moonfold run main.lua sell shop.fold october"
    run "moonfold run main.lua sell shop.fold november"
    local store <close> = moonfold.open(folder .. "/shop.fold", { read_only = true })
    assert.equal(2, #store:codes())
    local prices = {}
    for event in store:events "quote-1" do
      prices[#prices + 1] = store:code(event.code_digest).params.prices[event.data.product]
    end
    assert.same({ 300, 550, 320, 550 }, prices)
    assert.equal(16, store:kept().commands)
  end)
end)
