-- Reads what decisions in a channel are made on, all of one version.
--
-- KEYS  1 head  2 room  3 bans  4 roles  5 first            (clue/keys.py)
-- ARGV  1 this cluster  2 where the channel lives if nothing is stored (home.lua)
--       3 version of the room that the caller has ("": none), then user ids
-- Returns where the channel lives, when it is not here; else
--         { version, head seq ("0": no log), { field, value, ... of the room; empty when it is that version },
--           { ban ("": none), roles ("": none), day of the first message ("": none), ... for each user id in order } }

local head = redis.call('HMGET', KEYS[1], 'version', 'seq', 'home')
local away = elsewhere(head[3], ARGV[1], ARGV[2])
if away then
  return away
end
local version = head[1] or '0'
local users = {}
for i = 4, #ARGV do
  users[#users + 1] = redis.call('HGET', KEYS[3], ARGV[i]) or ''
  users[#users + 1] = redis.call('HGET', KEYS[4], ARGV[i]) or ''
  users[#users + 1] = redis.call('HGET', KEYS[5], ARGV[i]) or ''
end
return { version, head[2] or '0', version == ARGV[3] and {} or redis.call('HGETALL', KEYS[2]), users }
