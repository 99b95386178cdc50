--- The LÖVE game, drawn on a screen that nobody sees, and looked at.

local support = require "support"

--- The picture as numbers: pixel(x, y) -> red, green, blue.
local function look_at(file)
  local picture = support.shell("pngtopnm " .. support.quote(file)).stdout
  local width, height, start = picture:match("^P6%s+(%d+)%s+(%d+)%s+255%s()")
  assert(start, "no picture")
  return tonumber(width), tonumber(height), function(x, y)
    return picture:byte(start + 3 * (y * width + x), start + 3 * (y * width + x) + 2)
  end
end

describe("examples/love", function()
  local folder, width, height, pixel

  lazy_setup(function()
    folder = support.shell("mktemp -d").stdout:gsub("\n", "")
    local shown = support.shell(('unset LD_PRELOAD; export LUA_PATH="build/luajit/?.lua;;" HOME=%s '
      .. "MOONFOLD_LIB=$PWD/build/libmoonfold.so; timeout 60 xvfb-run -a love examples/love --demo %s/shot.png")
      :format(folder, folder))
    assert.equal(0, shown.status, shown.stderr)
    width, height, pixel = look_at(folder .. "/shot.png")
  end)

  lazy_teardown(function()
    assert.matches("^/tmp/", folder)
    support.shell("rm -rf " .. support.quote(folder))
  end)

  --- How many pixels of a part of the picture a test holds for.
  local function count(from_y, to_y, test)
    local found = 0
    for y = from_y, to_y do
      for x = 0, width - 1 do
        if test(pixel(x, y)) then found = found + 1 end
      end
    end
    return found
  end

  it("fills its window", function()
    assert.equal(800, width)
    assert.equal(600, height)
  end)

  it("shows flowers with their petals of many colours", function()
    local function is_yolk(red, green, blue) return red > 245 and green > 220 and blue < 90 end
    local function is_petal(red, green, blue)
      return math.max(red, green, blue) > 240 and math.min(red, green, blue) < 70 and not is_yolk(red, green, blue)
    end
    assert.is_true(count(0, 540, is_yolk) > 10 * 40)
    assert.is_true(count(0, 540, is_petal) > 10 * 150)
  end)

  it("shows the slider where the past is looked at", function()
    local at = 60 + 680 * 36 // 48
    local function is_golden(x)
      local red, green, blue = pixel(x, 563)
      return math.abs(red - 242) < 4 and math.abs(green - 191) < 4 and math.abs(blue - 77) < 4
    end
    assert.is_true(is_golden(at))
    assert.is_true(is_golden(70))
    assert.is_false(is_golden(at + 30))
  end)

  it("tells the present from the past", function()
    local function is_bright(red, green, blue) return red > 200 and green > 200 and blue > 200 end
    assert.is_true(count(576, 592, is_bright) > 100)
  end)
end)
