-- Reads entries of a channel's log, oldest first.
--
-- KEYS  1 log            (clue/keys.py)
-- ARGV  1 first id (as XRANGE takes it: "(" in front excludes it)  2 last id  3 entries at most
-- Returns { id, { "p", prev, "d", publication }, ... }

local flat = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
  flat[#flat + 1] = entry[1]
  flat[#flat + 1] = entry[2]
end
return flat
