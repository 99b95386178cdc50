-- Loads the text of a decider: what the targets that are written in Lua share. They are given the module.

return function(moonfold)
  return function(text, options)
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    local decider = moonfold.load_decider(path, options)
    os.remove(path)
    return decider
  end
end
