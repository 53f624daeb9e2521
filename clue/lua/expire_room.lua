-- Ends a temporary room in which nobody has been for some time.
--
-- KEYS  1 head  2 room  3 edges  4 what the keys of the sets of chatters begin with, then all other keys of the room
--       (clue/keys.py)
-- ARGV  1 this cluster  2 where the room lives if nothing is stored (home.lua)
--       3 how long it may be empty, ms
-- Returns where the room lives, when it is not here; else 1 when it has ended, or there is none, 0 when it stays

local away = elsewhere(redis.call('HGET', KEYS[1], 'home'), ARGV[1], ARGV[2])
if away then
  return away
end
local room = redis.call('HMGET', KEYS[2], 'owner', 'empty_since')
if not room[1] then
  return 1
end
local now = time_ms()
for _, run in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], now, '+inf')) do
  if redis.call('EXISTS', KEYS[4] .. run) == 1 then
    redis.call('HDEL', KEYS[2], 'empty_since')
    return 0
  end
end
if not room[2] then
  redis.call('HSET', KEYS[2], 'empty_since', text_of(now))
  return 0
end
if now - tonumber(room[2]) < tonumber(ARGV[3]) then
  return 0
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], unpack(KEYS, 5))
return 1
