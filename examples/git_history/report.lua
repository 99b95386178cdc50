--- Folds the streams with the two deciders, and prints what comes out.

local tables = require "tables"

local TOP, WIDTH = 10, 80

local function fold_all(store, decider)
  local states = {}
  for stream in store:streams(decider.category .. "-") do
    states[#states + 1] = store:aggregate_stream(stream, decider).state
  end
  return states
end

-- The greatest first; equal ones by name, so that one history always prints the same tables.
local function greatest_first(value, name)
  return function(a, b)
    if a[value] ~= b[value] then
      return a[value] > b[value]
    end
    return a[name] < b[name]
  end
end

-- Who wrote how much of these lines, and how many authors it takes to make more than half of them: the bus factor.
-- Were they all hit by one bus, most of the code would have lost its author.
local function ownership(authors)
  local shares, total = {}, 0
  for author, lines in pairs(authors) do
    shares[#shares + 1] = { author = author, lines = lines }
    total = total + lines
  end
  table.sort(shares, greatest_first("lines", "author"))
  local bus_factor, lines = 0, 0
  while bus_factor < #shares and lines * 2 <= total do
    bus_factor = bus_factor + 1
    lines = lines + shares[bus_factor].lines
  end
  return { owner = shares[1], total = total, bus_factor = bus_factor }
end

local function living(files)
  local alive = {}
  for _, file in ipairs(files) do
    if file.alive then
      alive[#alive + 1] = file
    end
  end
  return alive
end

local function add(counts, key, number)
  counts[key] = (counts[key] or 0) + number
end

-- What a list of files adds up to; owned counts the files whose owner an author is.
local function survey(files)
  local sum = { lines = 0, authors = {}, owned = {} }
  for _, file in ipairs(files) do
    sum.lines = sum.lines + file.lines
    for author, lines in pairs(file.authors) do
      add(sum.authors, author, lines)
    end
    add(sum.owned, ownership(file.authors).owner.author, 1)
  end
  return sum
end

local function names_of(authors)
  local names = {}
  for _, state in ipairs(authors) do
    names[state.author] = state.name ~= "" and state.name or state.author
  end
  return names
end

local function print_table(columns, states, row)
  local rows = {}
  for i = 1, math.min(TOP, #states) do
    rows[i] = row(states[i])
  end
  if #rows > 0 then
    io.write("\n", tables.render(columns, rows, WIDTH))
  end
end

local FILE_COLUMNS = {
  { title = "File", keep = "end" },
  { title = "Lines", right = true },
  { title = "Churn", right = true },
  { title = "Commits", right = true },
  { title = "Bus", right = true },
  { title = "Owner", max = 14 },
  { title = "Share", right = true },
}

local function print_files(files, names)
  table.sort(files, greatest_first("churn", "path"))
  print_table(FILE_COLUMNS, files, function(file)
    local has = ownership(file.authors)
    local owner, share = "", ""
    if has.total > 0 then
      owner, share = names[has.owner.author], ("%d%%"):format(100 * has.owner.lines // has.total)
    end
    return { file.path, file.binary and "binary" or file.lines, file.churn, file.commits, has.bus_factor, owner, share }
  end)
end

local AUTHOR_COLUMNS = {
  { title = "Author" },
  { title = "Commits", right = true },
  { title = "Merges", right = true },
  { title = "Added", right = true },
  { title = "Removed", right = true },
  { title = "Owns", right = true },
  { title = "First", max = 7 },
  { title = "Last", max = 7 },
}

-- A commit may claim to have been made at any time, or at none.
local function month(time)
  local ok, text = pcall(os.date, "!%Y-%m", time)
  return time and ok and text or "?"
end

local function print_authors(authors, names, owned)
  table.sort(authors, greatest_first("commits", "author"))
  print_table(AUTHOR_COLUMNS, authors, function(state)
    return { names[state.author], state.commits, state.merges, state.added, state.removed,
      owned[state.author] or 0, month(state.first), month(state.last) }
  end)
end

local function count(number, noun)
  return ("%s %s%s"):format(tables.thousands(number), noun, number == 1 and "" or "s")
end

local function print_summary(files, authors, alive, lines)
  local commits = 0
  for _, state in ipairs(authors) do
    commits = commits + state.commits
  end
  io.write(("%s by %s to %s. Today: %s with %s.\n"):format(count(commits, "commit"), count(#authors, "author"),
    count(#files, "file"), count(#alive, "file"), count(lines, "line")))
end

local function print_bus_factor(authors, names)
  local has = ownership(authors)
  if has.total > 0 then
    local others = has.bus_factor > 1 and " and " .. count(has.bus_factor - 1, "other") or ""
    io.write(("\nBus factor %d: %s%s wrote more than half of today's lines.\n"):format(has.bus_factor,
      tables.cut(tables.printable(names[has.owner.author]), 20), others))
  end
end

local function report(store, file, author)
  local files, authors = fold_all(store, file), fold_all(store, author)
  local alive, names = living(files), names_of(authors)
  local today = survey(alive)
  print_summary(files, authors, alive, today.lines)
  print_files(alive, names)
  print_authors(authors, names, today.owned)
  print_bus_factor(today.authors, names)
end

return report
