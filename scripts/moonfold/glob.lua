--- Patterns with * and ?, as a shell has them. For the scripts that come with Moonfold.

--- Tells whether a name fits, and gives what all names that fit begin with. A word without * and ? is that beginning.
return function(word)
  local prefix = (word or ""):match("^[^*?]*")
  if not word or prefix == word then
    return function(name) return name:sub(1, #prefix) == prefix end, prefix
  end
  local pattern = "^" .. word:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
  return function(name) return name:find(pattern) ~= nil end, prefix
end
