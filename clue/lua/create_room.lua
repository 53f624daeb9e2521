-- Makes a temporary room, if there is none of that name. Who makes it moderates it.
--
-- KEYS  1 head  2 room  3 roles            (clue/keys.py)
-- ARGV  1 this cluster  2 where the room lives if nothing is stored (home.lua)
--       3 login and 4 id of the owner  5 "1": it takes invited users only
--       6 login and id of each invited user, and so on
-- Returns where the room lives, when it is not here; else { 1 when it was made, 0 when it was there; its owner's login }

local head = redis.call('HMGET', KEYS[1], 'home', 'version')
local away = elsewhere(head[1], ARGV[1], ARGV[2])
if away then
  return away
end
local owner = redis.call('HGET', KEYS[2], 'owner')
if owner then
  return { 0, owner }
end
local now = time_ms()
local version = next_version(head[2] or '0')
redis.call('HSET', KEYS[1], 'version', version)
-- The id comes from the same clock: far above all users' ids, and nobody else's.
redis.call('HSET', KEYS[2], 'room_id', version, 'owner', ARGV[3], 'invite_only', ARGV[5], 'empty_since', text_of(now))
for i = 6, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[i + 1], 'invited ' .. ARGV[i])
end
redis.call('HSET', KEYS[3], ARGV[4], 'mod ' .. ARGV[3])
return { 1, ARGV[3] }
