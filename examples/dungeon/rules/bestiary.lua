--- What lives in the dungeon and what lies about in it. Change a number while the game runs, and the next turn knows.

return {
  --- By kind: the letter on the map, the depth from which it is met, and what it can do.
  monsters = {
    rat = { letter = "r", from = 1, health = 4, attack = 2, defence = 0, experience = 2 },
    bat = { letter = "b", from = 1, health = 3, attack = 3, defence = 1, experience = 3, erratic = true },
    goblin = { letter = "g", from = 2, health = 8, attack = 4, defence = 1, experience = 6 },
    orc = { letter = "o", from = 3, health = 14, attack = 6, defence = 2, experience = 12 },
    troll = { letter = "T", from = 4, health = 24, attack = 9, defence = 3, experience = 30 },
  },

  --- What a level may hold beside gold: how likely it is, out of the sum of all.
  items = {
    { kind = "potion", weight = 6 },
    { kind = "sword", weight = 1 },
    { kind = "armour", weight = 1 },
  },

  potion_heals = 12,
  hero = { health = 20, attack = 4, defence = 1 },
  --- The experience at which a hero rises from a level to the next.
  next_level = function(level) return 10 * level * level end,
  --- The amulet lies here. Whoever takes it has won.
  last_depth = 5,
}
