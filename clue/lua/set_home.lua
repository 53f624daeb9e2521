-- Lists a channel's home in the shared directory, unless a later move is listed.
--
-- KEYS  1 homes  2 version            (clue/keys.py)
-- ARGV  1 channel  2 home: "<cluster> <move>"  3 its move  4 "1": it lives where its name says, and needs no entry
-- Returns 1 when the list has changed, else 0

local listed = redis.call('HGET', KEYS[1], ARGV[1])
if listed and (string.match(listed, ' (%S+)$') or '') > ARGV[3] then
  return 0
end
local changed
if ARGV[4] == '1' then
  changed = redis.call('HDEL', KEYS[1], ARGV[1]) == 1
else
  changed = listed ~= ARGV[2]
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
if changed then
  redis.call('SET', KEYS[2], next_version(redis.call('GET', KEYS[2]) or '0'))
end
return changed and 1 or 0
