function love.conf(t)
  t.identity = "moonfold-garden"
  t.window.title = "A garden that remembers"
  t.window.width, t.window.height = 800, 600
  for _, module in ipairs { "audio", "sound", "joystick", "physics", "video" } do t.modules[module] = false end
end
