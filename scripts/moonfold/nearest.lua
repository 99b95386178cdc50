--- What somebody may have meant: the nearest of some names. For the scripts that come with Moonfold.

local nearest = {}

--- How many letters must be added, dropped, changed or swapped with their neighbour to make one word of the other.
--- Gives up, and returns more than `limit`, as soon as that is certain.
function nearest.distance(a, b, limit)
  limit = limit or math.huge
  if math.abs(#a - #b) > limit then return limit + 1 end
  local before, previous, current = {}, {}, {}
  for j = 0, #b do previous[j] = j end
  for i = 1, #a do
    current[0] = i
    local least = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local steps = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (same and 0 or 1))
      local swapped = i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j)
      if swapped then steps = math.min(steps, before[j - 2] + 1) end
      current[j] = steps
      if steps < least then least = steps end
    end
    if least > limit + 1 then return limit + 1 end
    before, previous, current = previous, current, before
  end
  return previous[#b]
end

--- The one of `names` (a list, or a function that gives one after the other) that looks most like `name`, or nil when
--- none looks like it at all. Capitals count little.
function nearest.of(name, names)
  local best, least = nil, math.max(2, #name // 3) + 1
  local wanted = name:lower()
  local function consider(candidate)
    local steps = nearest.distance(wanted, candidate:lower(), least)
    if candidate:lower() == wanted then steps = 0 end
    if steps < least then best, least = candidate, steps end
  end
  if type(names) == "table" then
    for _, candidate in ipairs(names) do consider(candidate) end
  else
    for candidate in names do consider(candidate) end
  end
  return best
end

return nearest
