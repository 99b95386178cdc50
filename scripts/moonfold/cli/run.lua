-- run FILE [ARGS...]: main.c runs the program when the command line has left the stack.

return function(call)
  local file = call.arguments.file
  local arguments = call.arguments.args or {}
  arguments[0] = file
  if file == "-" then return nil, false, arguments end
  local kind = call.host.kind(file)
  if not kind then call:fail("not_found", ("there is no file %s"):format(file)) end
  if kind == "folder" then call:fail("invalid_argument", ("%s is a folder: name a file in it"):format(file)) end
  if call.is_store(file) then
    call:usage(("%s is a store: moonfold %s explores it, and a program opens it"):format(file, file))
  end
  return nil, file, arguments
end
