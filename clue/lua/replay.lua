-- Reads entries of a channel's log, oldest first.
--
-- KEYS  1 log  2 head            (clue/keys.py)
-- ARGV  1 this cluster  2 where the channel lives if nothing is stored (home.lua)
--       3 first id (as XRANGE takes it: "(" in front excludes it)  4 last id  5 entries at most
-- Returns where the channel lives, when it is not here; else { id, { "p", prev, "d", publication }, ... }

local away = elsewhere(redis.call('HGET', KEYS[2], 'home'), ARGV[1], ARGV[2])
if away then
  return away
end
local flat = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[4], 'COUNT', ARGV[5])) do
  flat[#flat + 1] = entry[1]
  flat[#flat + 1] = entry[2]
end
return flat
